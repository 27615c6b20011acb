"""Fit and score a model on a registered data set or on a user's own, and say what was done."""

from __future__ import annotations

import csv
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from convtimenet import __version__, datasets
from convtimenet.base import ConvTimeNetEstimator
from convtimenet.cases import Cases
from convtimenet.classifier import ConvTimeNetClassifier
from convtimenet.config import Protocol, TrainConfig
from convtimenet.errors import ConfigError, DataError
from convtimenet.files import whole_file
from convtimenet.forecaster import ConvTimeNetForecaster, check_steps
from convtimenet.frequency import Frequency
from convtimenet.metrics import ForecastEvaluation, Scores
from convtimenet.model import count_parameters
from convtimenet.parts import Rows
from convtimenet.presets import PAPER
from convtimenet.published import Published, published
from convtimenet.tables import Table


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one fit and its test gave; `to_dict` is what ``--json`` writes."""

    dataset: str
    task: str
    horizon: int | None
    preset: str
    protocol: str
    seed: int
    scores: Scores
    baseline: Scores
    """Repeating the last value, or always naming the largest training class."""
    n_test: int
    """Test windows or test cases."""
    best_epoch: int
    stopped: str
    epochs: int
    train_seconds: float
    parameters: int
    device: str
    versions: dict[str, str]
    model: dict[str, Any]
    training: dict[str, Any]
    history: dict[str, Any]
    notices: list[str]
    published: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dumps``."""
        return asdict(self)


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {
        "convtimenet": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


REPORT_OF_LONG = "the report shows one series; give a wide table, or leave the report out"


@dataclass(frozen=True, kw_only=True)
class ForecastRun:
    """A fitted forecaster with the table and test it was scored on."""

    result: Result
    model: ConvTimeNetForecaster
    table: Table
    evaluation: ForecastEvaluation | None
    """None where no rows were kept for a test."""

    def write_report(self, path: str | Path) -> Path:
        """Write the HTML page of this run.

        Raises
        ------
        DataError
            If no rows were kept for a test, or the table is a long one.
        """
        from convtimenet.report import forecast_report

        if self.evaluation is None:
            raise DataError("no rows were kept for a test, so there is nothing to report")
        if self.table.long:
            raise DataError(REPORT_OF_LONG)
        result = self.result
        return forecast_report(
            path,
            self.model,
            self.table,
            self.evaluation,
            title=f"{result.dataset}, {result.horizon} steps ahead",
            facts=facts(result),
            published=comparison(result),
        )


@dataclass(frozen=True, kw_only=True)
class ClassificationRun:
    """A fitted classifier with the cases it was scored on."""

    result: Result
    model: ConvTimeNetClassifier
    cases: Cases

    def write_report(self, path: str | Path) -> Path:
        """Write the HTML page of this run."""
        from convtimenet.report import classification_report

        return classification_report(
            path,
            self.model,
            self.cases,
            title=f"{self.result.dataset}, classification",
            facts=facts(self.result),
            published=comparison(self.result),
        )


def evaluate_dataset(
    name: str,
    *,
    h: int | None = None,
    preset: str = "paper",
    protocol: Protocol = "honest",
    settings: Mapping[str, Any] | None = None,
    resume: str | Path | None = None,
) -> ForecastRun | ClassificationRun:
    """Fit and score a registered data set on its official split.

    Parameters
    ----------
    name
        A registered name or alias (`convtimenet.datasets.names`).
    h
        Horizon for forecasting sets; the paper's shortest by default.
    preset
        "paper" for its hyper-parameters, "auto" for those derived from the data.
    protocol
        "honest" or "paper", see `TrainConfig.protocol`.
    settings
        Further parameters of the estimator.
    resume
        Folder of checkpoints to go on from and to write, as for ``fit``.

    Raises
    ------
    DatasetError
        If the set is unknown, absent and unreachable.
    ConfigError
        If a setting is out of range or the paper has no preset for the set.
    """
    if preset not in ("paper", "auto"):
        raise ConfigError(f"preset must be 'paper' or 'auto', found {preset!r}")
    info = datasets.info(name)
    given = dict(settings or {})
    given["training"] = {**(given.get("training") or {}), "protocol": protocol}
    given["preset"] = info.name if preset == "paper" else preset
    if info.task == "forecasting":
        return _forecasting(info.name, h, protocol, given, resume)
    if h is not None:
        raise ConfigError(f"{info.name} is a classification set and has no horizon; leave h out")
    return _classification(info.name, protocol, given, resume)


def _forecasting(
    name: str,
    h: int | None,
    protocol: str,
    settings: dict[str, Any],
    resume: str | Path | None,
) -> ForecastRun:
    data = datasets.load_forecasting(name)
    info = datasets.info(name)
    assert isinstance(info, datasets.ForecastingInfo)
    table = Table(
        times=data.times.astype("datetime64[ns]"),
        values=data.values,
        channels=data.names,
        time_name="date",
        frequency=Frequency.parse(info.frequency),
    )
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
    )


def fit_forecaster(
    model: ConvTimeNetForecaster,
    table: Table,
    split: tuple[Rows, Rows] | None,
    end: Rows,
    *,
    dataset: str,
    protocol: str = "honest",
    resume: str | Path | None = None,
) -> ForecastRun:
    """Fit on the rows before `split`, score every window with targets in [split[1], end).

    Without a split the model has all rows and nothing is scored.
    """
    begin = time.perf_counter()
    model.fit(table, split=split, resume=resume)
    seconds = time.perf_counter() - begin
    evaluation = None
    if split is not None:
        evaluation = model.evaluate(table, first_row=split[1], end=end)
    result = _result(
        model,
        dataset=dataset,
        task="forecasting",
        horizon=model.h,
        protocol=protocol,
        scores=evaluation.scores if evaluation else {},
        baseline=evaluation.naive if evaluation else {},
        n_test=evaluation.n_windows if evaluation else 0,
        seconds=seconds,
    )
    return ForecastRun(result=result, model=model, table=table, evaluation=evaluation)


def _classification(
    name: str, protocol: str, settings: dict[str, Any], resume: str | Path | None
) -> ClassificationRun:
    train, test = datasets.load_classification(name)
    model = ConvTimeNetClassifier(**settings)
    return fit_classifier(model, train, test, dataset=name, protocol=protocol, resume=resume)


def fit_classifier(
    model: ConvTimeNetClassifier,
    train: Cases,
    test: Cases,
    *,
    dataset: str,
    protocol: str = "honest",
    resume: str | Path | None = None,
) -> ClassificationRun:
    """Fit on labelled cases and score on others; under the paper protocol those also choose the
    epoch."""
    check_alike(train, test)
    begin = time.perf_counter()
    model.fit(train, valid=(test, test.labels) if protocol == "paper" else None, resume=resume)
    seconds = time.perf_counter() - begin
    assert train.labels is not None
    test = model.read(test)
    assert test.labels is not None
    predicted = model.predict(test)
    labels, counts = np.unique(train.labels, return_counts=True)
    result = _result(
        model,
        dataset=dataset,
        task="classification",
        horizon=None,
        protocol=protocol,
        scores={
            "accuracy": float(np.mean(predicted == test.labels)),
            "balanced_accuracy": _balanced_accuracy(test.labels, predicted),
        },
        baseline={"accuracy": float(np.mean(test.labels == labels[counts.argmax()]))},
        n_test=len(predicted),
        seconds=seconds,
    )
    of_test = [f"test: {notice}" for notice in test.notices if notice not in result.notices]
    result = replace(result, notices=[*result.notices, *of_test])
    return ClassificationRun(result=result, model=model, cases=test)


def check_alike(train: Cases, test: Cases) -> None:
    """Find out before training that the test cases cannot be classified.

    Raises
    ------
    DataError
        If their number of channels is another.
    """
    expected, found = train.values.shape[1], test.values.shape[1]
    if expected != found:
        raise DataError(
            f"the training cases have {expected} channels, the test cases {found}; give both the "
            "same channels in the same order"
        )


def _balanced_accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean share of right answers over the classes that occur in `truth`."""
    return float(np.mean([np.mean(predicted[truth == label] == label) for label in set(truth)]))


def _result(model: ConvTimeNetEstimator, *, seconds: float, **known: Any) -> Result:
    history = model.history_
    others = published(known["dataset"], known["horizon"])
    return Result(
        **known,
        preset=model.preset,
        seed=model.train_config_.seed,
        best_epoch=history.best_epoch,
        stopped=history.stopped,
        epochs=len(history.epochs),
        train_seconds=round(seconds, 2),
        parameters=count_parameters(model.network_),
        device=history.device,
        versions=versions(),
        model=model.network_.config.to_dict(),
        training=model.train_config_.to_dict(),
        history=history.to_dict(),
        notices=list(model.notices_),
        published=[asdict(other) for other in others],
    )


def facts(result: Result) -> dict[str, str]:
    """What was done, as label and text, for people."""
    made = {
        "Data": result.dataset,
        "Protocol": result.protocol,
        "Hyper-parameters": result.preset,
        "Seed": str(result.seed),
        "Test": f"{result.n_test:,} {'windows' if result.task == 'forecasting' else 'cases'}",
        "Training": f"{result.train_seconds:.0f} s on {result.device}, best epoch "
        f"{result.best_epoch} of {result.epochs}: {result.stopped}",
        "Parameters": f"{result.parameters:,}",
        "Versions": ", ".join(f"{name} {number}" for name, number in result.versions.items()),
    }
    if result.notices:
        made["Notices"] = "; ".join(result.notices)
    return made


def comparison(result: Result) -> list[dict[str, str]]:
    """Our scores and those of others as rows of text, ours first."""
    kind = "windows" if result.task == "forecasting" else f"cases, epoch {result.best_epoch}"
    ours = Published(
        model="ConvTimeNet (this run)",
        scores={name: result.scores[name] for name in _SHOWN[result.task] if result.scores},
        counted=f"all {result.n_test:,} {kind}"
        if result.protocol == "honest"
        else f"{result.n_test:,} {kind}, paper protocol",
        source=f"{result.protocol} protocol, seed {result.seed}",
    )
    baseline = Published(
        model="repeat the last value" if result.task == "forecasting" else "largest class",
        scores=result.baseline,
        counted="the same",
        source="this run",
    )
    others = [Published(**other) for other in result.published]
    return [
        {"Model": row.model}
        | {_SHOWN[result.task][name]: f"{value:.4g}" for name, value in row.scores.items()}
        | {"Counted": row.counted, "Source": row.source}
        for row in (ours, baseline, *others)
    ]


_SHOWN = {
    "forecasting": {"mse": "MSE", "mae": "MAE"},
    "classification": {"accuracy": "Accuracy"},
}


def forecast_table(
    model: ConvTimeNetForecaster,
    table: Table,
    *,
    test_fraction: float,
    dataset: str,
    resume: str | Path | None = None,
) -> ForecastRun:
    """Fit a user's own table and score its last part, which training does not see.

    A table too short for that, or a `test_fraction` of 0, is trained on whole and not scored.

    Raises
    ------
    ConfigError
        If `test_fraction` is not at least 0 and below 1, or the horizon no number of steps.
    """
    if not 0 <= test_fraction < 1:
        raise ConfigError(f"test_fraction must be at least 0 and below 1, found {test_fraction}")
    check_steps("h, the horizon,", model.h)
    T, h = table.lengths, model.h
    test = np.round(test_fraction * T).astype(np.int64)
    valid_end = T - test
    fraction = (model.training or {}).get("validation_fraction", TrainConfig.validation_fraction)
    held = np.maximum(h, np.round(fraction * valid_end).astype(np.int64)) if fraction else 0
    train_end = valid_end - held
    usual = model.preset_for(max(1, int(np.median(train_end))), len(T)).context_length or 0
    context = model.input_size or max(2 * h, usual)
    kept = (test >= h) & (train_end >= context + h)
    # series without room for a test part train whole
    split = (np.where(kept, train_end, T), np.where(kept, valid_end, T))
    run = fit_forecaster(
        model, table, split if kept.any() else None, T, dataset=dataset, resume=resume
    )
    if not kept.all() and test_fraction:
        which = f"{T[0]} rows" if not table.long else f"the rows of {(~kept).sum()} series"
        notice = f"{which} are too few to keep a test part for a horizon of {h}: no scores"
        return replace(run, result=replace(run.result, notices=[*run.result.notices, notice]))
    return run


def hold_out(cases: Cases, fraction: float, seed: int) -> tuple[Cases, Cases]:
    """Split labelled cases into a training and a stratified test part.

    Raises
    ------
    DataError
        If there are no labels, or too few cases of a class.
    """
    if cases.labels is None:
        raise DataError("expected labelled cases to train on, found no labels in the file")
    numbers = np.arange(len(cases.labels))
    labels, counts = np.unique(cases.labels, return_counts=True)
    size = max(len(labels), round(fraction * len(numbers)))
    if not 0 < fraction < 1 or counts.min() < 2 or len(numbers) - size < len(labels):
        raise DataError(
            f"cannot hold out {fraction:g} of {len(numbers)} cases for the score: the class "
            f"{labels.tolist()[counts.argmin()]!r} has {counts.min()}; give a test file, or more "
            "cases"
        )
    train, test = train_test_split(
        numbers, test_size=size, stratify=cases.labels, random_state=seed
    )
    return _chosen(cases, np.sort(train)), _chosen(cases, np.sort(test))


def _chosen(cases: Cases, numbers: np.ndarray) -> Cases:
    labels = None if cases.labels is None else cases.labels[numbers]
    return replace(
        cases, values=cases.values[numbers], lengths=cases.lengths[numbers], labels=labels
    )


def classify_cases(model: ConvTimeNetClassifier, cases: Cases, path: str | Path) -> np.ndarray:
    """Write predicted class and probabilities of every case as CSV; returns the classes, (n,)."""
    probabilities = model.predict_proba(cases)
    predicted = model.classes_[probabilities.argmax(axis=1)]
    rows = zip(predicted.tolist(), probabilities.tolist(), strict=True)
    with whole_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", "class", *(f"p_{label}" for label in model.classes_.tolist())])
        writer.writerows([number, label, *p] for number, (label, p) in enumerate(rows))
    return predicted
