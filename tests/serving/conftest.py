"""Small models behind a server, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import SMALL, Web, hourly, monthly, shops, waves

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, ConvTimeNetRegressor
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
