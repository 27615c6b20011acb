"""A small model, shared by the tests of jobs."""

from __future__ import annotations

from pathlib import Path

import pytest
from long_tables import long_table, names

from convtimenet import ConvTimeNetForecaster


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = ConvTimeNetForecaster(h=7, quality="fast", verbose=0)
    model.fit(long_table(names(0, 20), rows=80))
    return model.save(tmp_path_factory.mktemp("model") / "saved")


@pytest.fixture
def model(model_folder: Path) -> ConvTimeNetForecaster:
    return ConvTimeNetForecaster.load(model_folder, device="cpu").set_params(verbose=0)
