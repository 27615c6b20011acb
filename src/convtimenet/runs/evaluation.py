"""Fit and score a model on a registered data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convtimenet import datasets
from convtimenet.config import Protocol
from convtimenet.data.tables import Table
from convtimenet.data.time.frequency import Frequency
from convtimenet.datasets.home import ForecastData
from convtimenet.datasets.registry import ForecastingInfo
from convtimenet.errors import ConfigError
from convtimenet.estimators.classifier import ConvTimeNetClassifier
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.estimators.presets.paper import PAPER
from convtimenet.runs.forecasting import ForecastRun, fit_forecaster
from convtimenet.runs.labelled import LabelledRun, fit_labelled


def evaluate_dataset(
    name: str,
    *,
    h: int | None = None,
    preset: str | None = None,
    quality: str | None = None,
    protocol: Protocol = "honest",
    settings: Mapping[str, Any] | None = None,
    resume: str | Path | None = None,
    level: Any = None,
    distil: bool = False,
) -> ForecastRun | LabelledRun:
    """Fit and score a registered data set on its official split.

    Parameters
    ----------
    name
        A registered name or alias (`convtimenet.datasets.names`).
    h
        Horizon for forecasting sets; by default the shortest in the paper.
    preset
        "paper" for the paper's hyper-parameters, "auto" for settings derived from the data. By
        default the paper's, or with `quality` those derived from the data.
    quality
        "fast", "auto" or "best", as for the estimators.
    protocol
        "honest" or "paper", see `TrainConfig.protocol`.
    settings
        Further parameters of the estimator.
    resume
        Folder of checkpoints to resume from and to write, as for ``fit``.
    level
        For forecasting sets: levels in per cent of intervals to score; the result holds their
        coverage and width.
    distil
        With quality="best": make one network of the ensemble, and score that.

    Raises
    ------
    DatasetError
        If the data set is unknown, or not in the data home and cannot be fetched.
    ConfigError
        If a setting is out of range, the paper has no preset for the data set, or has no such
        quality.
    """
    if preset is None:
        preset = "paper" if quality is None else "auto"
    if preset not in ("paper", "auto"):
        raise ConfigError(f"preset must be 'paper' or 'auto', found {preset!r}")
    info = datasets.info(name)
    given = dict(settings or {})
    given["training"] = {**(given.get("training") or {}), "protocol": protocol}
    given["preset"] = info.name if preset == "paper" else preset
    if quality is not None:
        given["quality"] = quality
    if info.task == "forecasting":
        return _forecasting(info.name, h, protocol, given, resume, level, distil)
    if h is not None:
        raise ConfigError(f"{info.name} is a classification set and has no horizon; leave h out")
    if level is not None:
        raise ConfigError(
            f"{info.name} is a classification set and has no intervals; leave level out"
        )
    return _classification(info.name, protocol, given, resume, distil)


def _forecasting(
    name: str,
    h: int | None,
    protocol: str,
    settings: dict[str, Any],
    resume: str | Path | None,
    level: Any,
    distil: bool,
) -> ForecastRun:
    data, table = registered_table(name)
    if h is None:
        h = PAPER[name].horizons[0] if name in PAPER else 96
    model = ConvTimeNetForecaster(h=h, **settings)
    return fit_forecaster(
        model,
        table,
        (data.train_end, data.val_end),
        data.test_end,
        dataset=name,
        protocol=protocol,
        resume=resume,
        level=level,
        distil=distil,
    )


def registered_table(name: str) -> tuple[ForecastData, Table]:
    """A registered forecasting set with its split, and its rows as a table.

    Raises
    ------
    DatasetError
        If it is not a forecasting set, or not in the data home and cannot be fetched.
    """
    data, info = datasets.load_forecasting(name), datasets.info(name)
    assert isinstance(info, ForecastingInfo)
    table = Table(
        times=data.times.astype("datetime64[ns]"),
        values=data.values,
        channels=data.names,
        time_name="date",
        frequency=Frequency.parse(info.frequency),
    )
    return data, table


def _classification(
    name: str, protocol: str, settings: dict[str, Any], resume: str | Path | None, distil: bool
) -> LabelledRun:
    train, test = datasets.load_classification(name)
    model = ConvTimeNetClassifier(**settings)
    return fit_labelled(
        model, train, test, dataset=name, protocol=protocol, resume=resume, distil=distil
    )
