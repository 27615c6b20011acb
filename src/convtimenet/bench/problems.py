"""The data that every model of a cell gets: the same rows or cases, split and scaled alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from convtimenet import datasets
from convtimenet.config import Protocol
from convtimenet.data.labelled.cases import Cases, read_cases
from convtimenet.data.table_rows import crop
from convtimenet.data.tables import Origin, Table
from convtimenet.data.time.inferred import season_of
from convtimenet.data.windows import Scaler, Windows
from convtimenet.datasets.registry import ForecastingInfo
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.presets.paper import PAPER
from convtimenet.runs.evaluation import registered_table
from convtimenet.runs.labelled import class_scores
from convtimenet.scores import seasonal_scale

__all__ = ["CasesProblem", "ForecastProblem", "Part", "Problem", "forecast_problem", "load"]

Part = Literal["train", "validation", "test"]
_SHARES = (0.7, 0.1)
"""Fractions of the training and validation splits of a set without an official split, as is usual
for such sets (SPEC section 5)."""


@dataclass(frozen=True, kw_only=True)
class ForecastProblem:
    """A table to forecast.

    Attributes
    ----------
    name, horizon, protocol
        As in the cell.
    table
        The rows, in the data's units.
    train_end
        End of the training split; the validation split ends at `valid_end`. None if each model
        splits the rows before `valid_end` by itself.
    valid_end, test_end
        Targets in rows [valid_end, test_end) are scored, all windows of them.
    scaler
        Mean and standard deviation of the training rows; all scores are in these units.
    scaled
        (C, T) float32, the values in those units.
    checkpoints
        Folder from which a training that was killed goes on; None keeps none.
    """

    name: str
    horizon: int
    protocol: Protocol
    table: Table
    train_end: int | None
    valid_end: int
    test_end: int
    scaler: Scaler
    scaled: torch.Tensor
    checkpoints: Path | None = None

    @property
    def season(self) -> int:
        """Steps that the seasonal-naive forecast repeats."""
        return season_of(self.table.frequency)

    def windows(self, part: Part, context: int) -> Windows:
        """All windows of `context` steps with targets in a part of the rows; contexts may start
        before it.

        Under the paper protocol the test windows of the last incomplete batch are left out
        (SPEC section 6).
        """
        assert self.train_end is not None or part == "test"
        bounds = (0, self.train_end or 0, self.valid_end, self.test_end)
        number = ("train", "validation", "test").index(part)
        first, end = list(pairwise(bounds))[number]
        found = Windows.between(self.scaled, context, self.horizon, first, end)
        if part == "test" and self.protocol == "paper":
            batch = PAPER[self.name].train["batch_size"] if self.name in PAPER else 32
            found.starts = found.starts[: max(1, len(found) // batch) * batch]
        return found

    def truth(self) -> np.ndarray:
        """(n, C, H) true values of the test windows, in scaled units."""
        windows = self.windows("test", 1)
        return windows.batch(torch.arange(len(windows))).y.numpy()

    def naive(self) -> np.ndarray:
        """(n, C, H) the seasonal-naive forecast of the test windows, in scaled units."""
        windows = self.windows("test", 1)
        season = min(self.season, int(windows.starts[0]) + 1)
        ahead = torch.arange(self.horizon) % season - season
        rows = windows.starts[:, None] + 1 + ahead
        return self.scaled[:, rows].transpose(0, 1).numpy()

    def scores(self, predicted: np.ndarray) -> dict[str, float]:
        """Means over all windows, channels and steps: "mse", "mae" in scaled units, and "mase".

        MASE is the mean over channels of the absolute error divided by the mean absolute change
        over a season in the rows before the first target; left out if no channel has one.
        """
        error = predicted.astype(np.float64) - self.truth()
        change = seasonal_scale(self.scaled[:, : self.valid_end].numpy(), self.season)
        by_channel = np.abs(error).mean(axis=(0, 2))
        found = {"mse": float(np.square(error).mean()), "mae": float(np.abs(error).mean())}
        if (moves := change > 0).any():
            found["mase"] = float((by_channel[moves] / change[moves]).mean())
        return found


@dataclass(frozen=True, kw_only=True)
class CasesProblem:
    """Labelled cases to classify.

    Attributes
    ----------
    name, protocol
        As in the cell.
    train, test
        The cases of the official split.
    checkpoints
        As in `ForecastProblem`.
    """

    name: str
    protocol: Protocol
    train: Cases
    test: Cases
    checkpoints: Path | None = None

    def filled(self, part: Literal["train", "test"]) -> tuple[np.ndarray, np.ndarray]:
        """Cases (n, C, L), padded with zeros at the end to equal length, and their labels (n,).

        For models that need equal lengths (SPEC section 5).
        """
        cases = self.train if part == "train" else self.test
        length = self.train.values.shape[2]
        values = np.zeros((*cases.values.shape[:2], length))
        kept = min(length, cases.values.shape[2])
        values[..., :kept] = np.nan_to_num(cases.values[..., :kept])
        assert cases.labels is not None
        return values, cases.labels

    def scores(self, predicted: np.ndarray) -> dict[str, float]:
        """Accuracy, and the mean recall over the classes."""
        assert self.test.labels is not None
        return class_scores(self.test.labels, predicted)


Problem = ForecastProblem | CasesProblem


def load(
    name: str, horizon: int | None, protocol: Protocol, path: str | Path | None = None
) -> Problem:
    """The problem of a cell.

    Parameters
    ----------
    name
        A registered set, or the name of the set at `path`.
    path
        A CSV table (training split: 70 % of its rows, validation split: 10 %), or a folder with one
        file of training cases and one of test cases, with TRAIN and TEST in their names.

    Raises
    ------
    ConfigError
        If a forecasting set comes without a horizon, or a classification set with one.
    DataError, DatasetError
        If the set cannot be read.
    """
    if path is not None:
        folder = Path(path)
        if folder.is_dir():
            return _cases_problem(name, horizon, protocol, *_parts(folder))
        return _table_problem(name, horizon, protocol, folder)
    info = datasets.info(name)
    if not isinstance(info, ForecastingInfo):
        return _cases_problem(info.name, horizon, protocol, *datasets.load_classification(name))
    data, table = registered_table(info.name)
    return forecast_problem(
        info.name, horizon, protocol, table, data.train_end, data.val_end, data.test_end
    )


def forecast_problem(
    name: str,
    horizon: int | None,
    protocol: Protocol,
    table: Table,
    train_end: int | None,
    valid_end: int,
    test_end: int,
) -> ForecastProblem:
    """A problem from a table and its split.

    Raises
    ------
    ConfigError
        If there is no horizon.
    DataError
        If the table holds several series or missing values.
    """
    if horizon is None:
        raise ConfigError(f"{name} is a forecasting set; the matrix needs horizons = [...] for it")
    if table.long or np.isnan(table.values).any():
        raise DataError(
            f"{name}: expected one series without missing values, which every model can read; "
            "fill the gaps, or make each series a set of its own"
        )
    values = table.values.T
    scaler = Scaler.standard(values[:, : valid_end if train_end is None else train_end])
    return ForecastProblem(
        name=name,
        horizon=horizon,
        protocol=protocol,
        table=replace(crop(table, 0, test_end), origin=Origin("file")),
        train_end=train_end,
        valid_end=valid_end,
        test_end=test_end,
        scaler=scaler,
        scaled=torch.from_numpy(scaler.apply(values)[:, :test_end]).float(),
    )


def _table_problem(
    name: str, horizon: int | None, protocol: Protocol, path: Path
) -> ForecastProblem:
    from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster

    table = ConvTimeNetForecaster(1).read(path)
    rows = len(table.values)
    train_end = round(_SHARES[0] * rows)
    return forecast_problem(
        name, horizon, protocol, table, train_end, train_end + round(_SHARES[1] * rows), rows
    )


def _parts(folder: Path) -> tuple[Cases, Cases]:
    """Training and test cases of a folder."""
    found: list[Any] = []
    for part in ("TRAIN", "TEST"):
        files = [path for path in sorted(folder.iterdir()) if part in path.stem.upper()]
        if len(files) != 1:
            raise DataError(
                f"expected one file in {folder} with {part} in its name, found "
                f"{', '.join(path.name for path in files) or 'none'}"
            )
        found.append(read_cases(files[0]))
    train, test = found
    return train, test


def _cases_problem(
    name: str, horizon: int | None, protocol: Protocol, train: Cases, test: Cases
) -> CasesProblem:
    if horizon is not None:
        raise ConfigError(f"{name} is a classification set and has no horizon; leave horizons out")
    if train.labels is None or test.labels is None:
        raise DataError(f"{name}: expected labels in both splits, found none in one; add them")
    return CasesProblem(name=name, protocol=protocol, train=train, test=test)
