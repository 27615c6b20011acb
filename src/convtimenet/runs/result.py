"""What a fit and its test gave, for programs and for people."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from convtimenet import __version__
from convtimenet.datasets.published import Published, published
from convtimenet.estimators.base import ConvTimeNetEstimator
from convtimenet.files import plain
from convtimenet.network.model import count_parameters
from convtimenet.training.metrics import IntervalScores, Scores


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
    """Of the seasonal-naive forecast, or of always answering the largest class or the mean."""
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
    intervals: list[dict[str, Any]] = field(default_factory=list)
    """`IntervalScores` of every level that was asked for."""
    scores_in_units: Scores = field(default_factory=dict)
    """Of forecasts: "mae", "rmse", "mase" and "wape" in the data's units; `scores` are in training
    standard deviations, as papers report them."""
    baseline_in_units: Scores = field(default_factory=dict)
    season: int | None = None
    """Steps that the seasonal-naive forecast repeats."""
    forecast_from: str | None = None
    """What the forecasts of a run come from, where a second training made them."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dumps``; None where a number is not finite."""
        return plain(asdict(self))


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {
        "convtimenet": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def result_of(model: ConvTimeNetEstimator, *, seconds: float, **known: Any) -> Result:
    """The result of a fitted model; `known` are the fields that the model does not tell."""
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
    if result.forecast_from:
        made["Forecast from"] = result.forecast_from
    if result.notices:
        made["Notices"] = "; ".join(result.notices)
    return made


def naive_name(season: int | None) -> str:
    """What the seasonal-naive forecast does, for people."""
    repeats = "the last value" if season in (None, 1) else f"the last {season} steps"
    return f"seasonal naive: repeat {repeats}"


def units(result: Result) -> list[dict[str, str]]:
    """Scores of a forecaster in the data's units, beside those of the seasonal-naive forecast, as
    rows of text; nothing where there are none."""
    if not result.scores_in_units:
        return []
    rows = {"ConvTimeNet (this run)": result.scores_in_units}
    rows[naive_name(result.season)] = result.baseline_in_units
    return [{"Model": name} | scores_text(scores) for name, scores in rows.items()]


def scores_text(scores: Scores) -> dict[str, str]:
    """Scores in the data's units as text, by their usual names."""
    shown = {name: f"{scores[name]:.4g}" for name in ("mae", "rmse", "mase") if name in scores}
    if "wape" in scores:
        shown["wape"] = f"{100 * scores['wape']:.2f} %"
    return {name.upper(): text for name, text in shown.items()}


def comparison(result: Result) -> list[dict[str, str]]:
    """Our scores and those of others as rows of text, ours first."""
    kind = "windows" if result.task == "forecasting" else f"cases, epoch {result.best_epoch}"
    shown, constant = _SHOWN[result.task]
    ours = Published(
        model="ConvTimeNet (this run)",
        scores={name: result.scores[name] for name in shown if name in result.scores},
        counted=f"all {result.n_test:,} {kind}"
        if result.protocol == "honest"
        else f"{result.n_test:,} {kind}, paper protocol",
        source=f"{result.protocol} protocol, seed {result.seed}",
    )
    baseline = Published(
        model=constant or naive_name(result.season),
        scores=result.baseline,
        counted="the same",
        source="this run",
    )
    others = [Published(**other) for other in result.published]
    return [
        {"Model": row.model}
        | {shown[name]: f"{value:.4g}" for name, value in row.scores.items() if name in shown}
        | {"Counted": row.counted, "Source": row.source}
        for row in (ours, baseline, *others)
    ]


_SHOWN = {
    "forecasting": ({"mse": "MSE", "mae": "MAE"}, ""),
    "classification": ({"accuracy": "Accuracy"}, "largest class of training"),
    "regression": ({"mse": "MSE", "mae": "MAE", "r2": "R2"}, "mean of training"),
}
"""Of each task the scores that stand beside those of others, and the baseline."""


def plain_intervals(intervals: Sequence[IntervalScores]) -> list[dict[str, Any]]:
    """Scores of intervals, ready for ``json.dumps``."""
    return [
        {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in asdict(one).items()}
        for one in intervals
    ]


def coverage(result: Result) -> list[dict[str, str]]:
    """How often the intervals that were asked for held, as rows of text."""
    return [
        {
            "Interval": f"{one['level']:g} %",
            "Truths inside": f"{100 * one['coverage']:.1f} %",
            "Mean width": f"{one['width_in_units']:.4g}",
        }
        for one in result.intervals
    ]
