"""Tables and cases that the models of these tests are trained on, and a client in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

import httpx
import numpy as np
import pandas as pd
from fastapi import FastAPI

from convtimenet.serving.engine import Engine
from convtimenet.serving.refusals import Refused

SMALL = {"model": {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,)}, "n_epochs": 1, "verbose": 0}
LOOPBACK = "http://127.0.0.1"


def hourly(rows: int = 120) -> pd.DataFrame:
    """A table of two channels."""
    t = np.arange(rows)
    times = pd.date_range("2024-01-01 00:00", periods=rows, freq="h")
    return pd.DataFrame({"date": times, "a": np.sin(t / 3) + 5, "b": 100 * np.cos(t / 5)})


def monthly(rows: int = 90) -> pd.DataFrame:
    """A table of one channel."""
    t = np.arange(rows)
    times = pd.date_range("2010-01-01", periods=rows, freq="MS")
    return pd.DataFrame({"month": times, "y": np.sin(t / 2) * 3 + 20})


def shops(rows: int = 60, h: int = 0) -> pd.DataFrame:
    """A long table with covariates, or its rows ahead."""
    parts = []
    for number, shop in enumerate(("north", "south", "west")):
        t = np.arange(rows + h)
        promo = (t % 7 == number).astype(float)
        parts.append(
            pd.DataFrame(
                {
                    "unique_id": shop,
                    "ds": pd.date_range("2024-03-01", periods=rows + h),
                    "y": np.sin(t / 3 + number) + 2 * promo + 10 * number,
                    "promo": promo,
                    "visitors": np.cos(t / 4 + number),
                }
            ).iloc[rows if h else 0 :]
        )
    return pd.concat(parts, ignore_index=True)


def waves(n: int = 24) -> list[np.ndarray]:
    """Cases (2, L_i) of unequal length."""
    return [
        np.stack([np.sin(np.arange(20 + i % 5) / (2 + i % 2) + i), np.cos(np.arange(20 + i % 5))])
        for i in range(n)
    ]


@asynccontextmanager
async def held(engine: Engine) -> AsyncIterator[None]:
    """Keep the computing thread busy, so that requests wait."""
    begun, released = threading.Event(), threading.Event()

    def wait() -> Any:
        begun.set()
        released.wait(60)
        raise Refused(422, "held")

    task = asyncio.ensure_future(engine.run(wait, lambda asked, found: None))
    task.add_done_callback(lambda done: done.exception())
    while not begun.is_set():
        await asyncio.sleep(0.001)
    try:
        yield
    finally:
        released.set()


class Web:
    """An application that runs in a thread, and a client of it."""

    def __init__(self, app: FastAPI):
        self.app, self.loop = app, asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.stack = AsyncExitStack()

    def run(self, coroutine: Any) -> Any:
        """The result of a coroutine in the application's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def __enter__(self) -> Self:
        self.thread.start()
        self.run(self.stack.enter_async_context(self.app.router.lifespan_context(self.app)))
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.web = httpx.AsyncClient(transport=transport, base_url=LOOPBACK)
        return self

    def __exit__(self, *error: object) -> None:
        self.run(self.web.aclose())
        self.run(self.stack.aclose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def get(self, path: str, **how: Any) -> httpx.Response:
        return self.run(self.web.get(path, **how))

    def head(self, path: str) -> httpx.Response:
        return self.run(self.web.head(path))

    def post(self, path: str, **how: Any) -> httpx.Response:
        return self.run(self.web.post(path, **how))
