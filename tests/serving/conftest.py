"""Small models behind a server, in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uvicorn
from served import SMALL, Web, hourly, monthly, shops, waves

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, ConvTimeNetRegressor
from convtimenet.serving import server
from convtimenet.serving.app import create_app
from convtimenet.serving.models import Models, load_models
from convtimenet.serving.settings import ServeSettings


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Saved models by name."""
    root = tmp_path_factory.mktemp("models")
    table = {"preset": "ETTh1", "refit": False, "h": 4, "input_size": 16, **SMALL}
    masked = {**table, "model": {**SMALL["model"], "masks": True}}
    found = {
        "hourly": ConvTimeNetForecaster(**masked).fit(hourly()),
        "monthly": ConvTimeNetForecaster(**masked).fit(monthly()),
        "shops": ConvTimeNetForecaster(**masked, futr_exog=["promo"], hist_exog=["visitors"]).fit(
            shops()
        ),
        "gestures": ConvTimeNetClassifier(**SMALL).fit(waves(), np.array(["up", "down"] * 12)),
        "sizes": ConvTimeNetRegressor(**SMALL).fit(
            [case[:1] for case in waves()], np.linspace(1, 9, 24)
        ),
    }
    return {name: model.save(root / name) for name, model in found.items()}


@pytest.fixture(scope="session")
def models(folders: dict[str, Path]) -> Models:
    return load_models([f"{name}={folder}" for name, folder in folders.items()], "cpu")


@pytest.fixture(scope="session")
def by_name(models: Models) -> dict[str, Any]:
    """The estimators behind the server."""
    return {one.name: one.model for one in models}


@pytest.fixture(scope="session")
def client(models: Models) -> Iterator[Web]:
    with Web(create_app(models)) as found:
        yield found


@pytest.fixture
def limited(models: Models) -> Iterator[Callable[..., Web]]:
    """Clients of servers with other settings."""
    with ExitStack() as opened:
        yield lambda **settings: opened.enter_context(
            Web(create_app(models, ServeSettings(**settings)))
        )


@pytest.fixture(scope="module")
def started() -> Iterator:
    """Start servers in threads; the address of each."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []
    opened = ExitStack()

    def start(models: Models, **settings) -> str:
        address: list[str] = []
        wanted = ServeSettings(port=0, **settings)
        config = server.config_of(create_app(models, wanted), wanted)
        one = server.Server(config, address.append)
        sockets = opened.enter_context(server.taken(wanted))
        thread = threading.Thread(target=one.run, args=(sockets,), daemon=True)
        thread.start()
        running.append((one, thread))
        while not address:
            assert thread.is_alive()
            time.sleep(0.01)
        return address[0]

    yield start
    for one, thread in running:
        one.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
    opened.close()


@pytest.fixture(scope="module")
def documented(started, tmp_path_factory) -> tuple[str, Path]:
    """The models that docs/serve.md speaks of, served; and a folder with its files."""
    folder = tmp_path_factory.mktemp("docs")
    days = pd.date_range("2024-01-01", periods=100)
    sales = pd.DataFrame({"date": days, "units": np.round(30 + 6 * np.sin(np.arange(100)))})
    sales.to_csv(folder / "sales.csv", index=False)
    sizes = {"h": 6, "input_size": 16, "preset": "ETTh1", "refit": False}
    masked = {**SMALL, "model": {**SMALL["model"], "masks": True}}
    ConvTimeNetForecaster(**sizes, **masked).fit(sales).save(folder / "sales-model")
    cases = [np.sin(np.arange(8 + i % 3) / (1 + i % 2))[None] for i in range(16)]
    labels = np.array(["up", "down"] * 8)
    ConvTimeNetClassifier(**SMALL).fit(cases, labels).save(folder / "gestures-model")
    names = [f"{name}={folder / name}-model" for name in ("sales", "gestures")]
    return started(load_models(names, "cpu")), folder
