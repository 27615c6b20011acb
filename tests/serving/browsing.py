"""`convtimenet app` in a process of its own, and a browser before it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from convtimenet.serving.workbench.samples import SAMPLES

FLAGS = ["no-sandbox", "disable-gpu", "disable-quic", "no-first-run"]
FLAGS += ["disable-background-networking", "disable-component-update", "disable-sync"]
OTHER = {"shake": "swipe", "swipe": "lift", "lift": "shake"}
DROP = """([box, name, text]) => {
  const data = new DataTransfer();
  data.items.add(new File([text], name));
  document.querySelector(box).dispatchEvent(
    new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


@contextmanager
def app(folder: Path) -> Iterator[App]:
    """A server; ended at the end, when its files must be gone."""
    one = App(folder)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGTERM)
        one.process.wait(30)
        one.output.close()
        one.http.close()
        one.wait_for(lambda: not one.files())


class App:
    """A running `convtimenet app` whose temporary files are below `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "convtimenet", "app", "--port", "0", "--no-browser"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.output: Any = self.process.stdout
        self.address = self.output.readline().split()[1]
        self.http = httpx.Client(
            base_url=self.address, headers={"origin": self.address}, timeout=120
        )

    def files(self) -> list[Path]:
        """Folders of uploads."""
        return list(self.folder.glob("convtimenet-app-*"))

    def state(self) -> Any:
        return self.http.get("/app/state").json()

    def put(self, name: str, content: str | bytes, slot: str = "data") -> httpx.Response:
        return self.http.put(f"/app/{slot}", params={"name": name}, content=content)

    def train(self, **settings: Any) -> Any:
        """The state after a run."""
        self.http.post("/app/train", json=settings).raise_for_status()
        self.wait_for(lambda: self.state()["job"]["state"] != "running")
        return self.state()

    @staticmethod
    def wait_for(true: Callable[[], Any], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end
            time.sleep(0.05)


@contextmanager
def page(address: str, ready: str = "shownLook !== null", **context: Any) -> Iterator[Any]:
    """A page in a browser, which asks no other address and has nothing to complain about."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium; `make .cache/chromium` installs it")
    from playwright.sync_api import sync_playwright

    said: list[str] = []
    asked: list[str] = []
    with sync_playwright() as started:
        flags = [f"--{flag}" for flag in FLAGS]
        browser = started.chromium.launch(executable_path=chromium, args=flags)
        one = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **context})
        one.on("console", lambda message: said.append(f"{message.text} {message.location['url']}"))
        one.on("pageerror", lambda error: said.append(str(error)))
        one.on("request", lambda request: asked.append(request.url))
        one.goto(address)
        # asked again and again from here, as the page lets no text be evaluated later on
        App.wait_for(lambda: one.evaluate(ready))
        # the browser would note that the report of the run before goes while it is being loaded
        if one.locator("#report[src]").count():
            one.frame_locator("#report").locator("h1").wait_for(state="attached")
        yield one
        browser.close()
    # a browser notes every refusal; the page shows it
    refusals = [f"the server responded with a status of {code}" for code in (401, 409, 422)]
    complaints = [line for line in said if not any(one in line for one in refusals)]
    assert not complaints, complaints
    elsewhere = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert not elsewhere, elsewhere


def drop(one: Any, name: str, text: str, box: str = "#drop") -> None:
    """Drop a file of text on a box of the page."""
    one.evaluate(DROP, [box, name, text])


def weekly(rows: int = 160, gap: int | None = None) -> str:
    """A table with a row per day, as CSV; the row `gap` is missing."""
    days = np.datetime64("2024-01-01") + np.arange(rows)
    values = np.round(50 + 10 * np.sin(2 * np.pi * np.arange(rows) / 7) + np.arange(rows) / 10, 2)
    lines = [f"{day},{value}" for day, value in zip(days, values, strict=True)]
    return "date,units\n" + "\n".join(line for i, line in enumerate(lines) if i != gap) + "\n"


def mislabelled() -> tuple[str, list[int]]:
    """120 gestures as CSV, and the numbers of those that have the `OTHER` label, which cannot be
    learnt."""
    head, *rows = SAMPLES["gestures"].content().splitlines()
    wrong = [*range(1, 120, 5)]
    for at in wrong:
        label, cells = rows[at].split(",", 1)
        rows[at] = f"{OTHER[label]},{cells}"
    return "\n".join([head, *rows]) + "\n", wrong
