"""Result of a run: as JSON for programs, and as rows of text for display."""

from __future__ import annotations

import logging
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from convtimenet import __version__
from convtimenet.datasets.published import Published, published
from convtimenet.estimators.base import ConvTimeNetEstimator
from convtimenet.estimators.presets.derived import PRETRAINED, TUNED
from convtimenet.files import plain
from convtimenet.network.model import count_parameters
from convtimenet.training.metrics import IntervalScores, Scores
from convtimenet.wording import networks, share_text

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result of a run; ``--json`` writes `to_dict`."""

    dataset: str
    """What was scored."""
    task: str
    horizon: int | None
    preset: str
    protocol: str
    seed: int
    scores: Scores
    baseline: Scores
    """Scores of the seasonal-naive forecast, or of always predicting the largest class or the
    mean."""
    n_test: int
    """Number of test windows or test cases."""
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
    """`IntervalScores` of every requested level."""
    scores_in_units: Scores = field(default_factory=dict)
    """For forecasts "mae", "rmse", "mase" and "wape" in the data's units; `scores` are in training
    standard deviations, as papers report them."""
    baseline_in_units: Scores = field(default_factory=dict)
    season: int | None = None
    """Season of the seasonal-naive forecast, in steps."""
    forecast_from: str | None = None
    """A sentence about the second training; None if there was none."""
    trained_on: str | None = None
    """What it was trained on, if that is another set than the scored one."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; numbers that are not finite become None."""
        return plain(asdict(self))


def versions() -> dict[str, str]:
    """Versions of the packages that affect a result."""
    return {
        "convtimenet": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def distillable(model: ConvTimeNetEstimator) -> bool:
    """Whether a fitted model is an ensemble that can be distilled; if not, it gets a notice."""
    if not model.members_:
        notice = "a single network was trained, so there is no ensemble to distil"
        model.notices_ = (*model.notices_, notice)
        log.warning(notice)
    return bool(model.members_)


def result_of(model: ConvTimeNetEstimator, *, seconds: float, **known: Any) -> Result:
    """The result of a fitted model; `known` are the fields that do not come from the model."""
    history = model.history_
    others = published(known["dataset"], known["horizon"])
    return Result(
        **known,
        preset=_how(model),
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


def _how(model: ConvTimeNetEstimator) -> str:
    """The preset, or the quality if several networks or none were trained."""
    if model.members_:
        return "best"
    config, quality = model.network_.config, getattr(model, "quality", "fast")
    if config.pretrained:
        own = quality in (PRETRAINED, TUNED)
        return quality if own else f"{quality}: few rows, so {PRETRAINED}"
    if config.kernel_sizes:
        return model.preset
    why = "short series, so smoothing" if config.smoothings else "too few rows, so fast"
    return "fast" if quality == "fast" else f"{quality}: {why}"


def facts(result: Result) -> dict[str, str]:
    """Facts about the run as label and text, for display."""
    took = f"{result.train_seconds:.0f} s in all on {result.device}, scoring included; "
    if result.history["steps"]:
        n = result.epochs
        last = result.best_epoch == n
        took += f"last of {n} epochs kept: " if last else f"best epoch {result.best_epoch} of {n}: "
    scored = {"Data": result.dataset}
    if result.trained_on is not None:
        scored = {"Test data": result.dataset, "Training data": result.trained_on}
    made = {
        **scored,
        "Protocol": result.protocol,
        "Hyper-parameters": result.preset,
        "Seed": str(result.seed),
        "Test": f"{result.n_test:,} {'windows' if result.task == 'forecasting' else 'cases'}",
        "Training": took + result.stopped,
        "Parameters": f"{result.parameters:,}",
        "Versions": ", ".join(f"{name} {number}" for name, number in result.versions.items()),
    }
    if weights := result.history.get("weights"):
        made["Networks"] = networks(weights)
    if result.forecast_from:
        made["Forecasting model"] = result.forecast_from
    if result.notices:
        made["Notices"] = "; ".join(result.notices)
    return made


def naive_name(season: int | None) -> str:
    """Name of the seasonal-naive forecast, for display."""
    repeats = "the last value" if season in (None, 1) else f"the last {season} steps"
    return f"seasonal naive: repeat {repeats}"


def units(result: Result) -> list[dict[str, str]]:
    """Scores of a forecaster and of the seasonal-naive forecast in the data's units, as rows of
    text; empty if there are none."""
    if not result.scores_in_units:
        return []
    rows = {"ConvTimeNet (this run)": result.scores_in_units}
    rows[naive_name(result.season)] = result.baseline_in_units
    return [{"Model": name} | scores_text(scores) for name, scores in rows.items()]


def scores_text(scores: Scores) -> dict[str, str]:
    """Scores in the data's units as text, by display name."""
    shown = {name: f"{scores[name]:.4g}" for name in ("mae", "rmse", "mase") if name in scores}
    if "wape" in scores:
        shown["wape"] = share_text(scores["wape"])
    return {name.upper(): text for name, text in shown.items()}


def comparison(result: Result) -> list[dict[str, str]]:
    """Our scores, the baseline's and the published ones as rows of text, in this order."""
    kind = "windows" if result.task == "forecasting" else "cases"
    if result.task != "forecasting" and result.history["steps"]:
        kind += f", epoch {result.best_epoch}"
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
        counted="as above",
        source="this run",
    )
    others = [Published(**other) for other in result.published]
    return [
        {"Model": row.model}
        | {shown[name]: f"{value:.4g}" for name, value in row.scores.items() if name in shown}
        | {"Scored on": row.counted, "Source": row.source}
        for row in (ours, baseline, *others)
    ]


_SHOWN = {
    "forecasting": ({"mse": "MSE", "mae": "MAE"}, ""),
    "classification": ({"accuracy": "Accuracy"}, "largest training class"),
    "regression": ({"mse": "MSE", "mae": "MAE", "r2": "R2"}, "mean of the training targets"),
}
"""For each task the scores in the comparison, with display names, and the baseline's name."""


def plain_intervals(intervals: Sequence[IntervalScores]) -> list[dict[str, Any]]:
    """Scores of intervals as plain values for ``json.dumps``."""
    return [
        {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in asdict(one).items()}
        for one in intervals
    ]


def coverage(result: Result) -> list[dict[str, str]]:
    """Coverage and width of the requested intervals, as rows of text."""
    return [
        {
            "Interval": f"{one['level']:g} %",
            "Coverage": f"{100 * one['coverage']:.1f} %",
            "Mean width": f"{one['width_in_units']:.4g}",
        }
        for one in result.intervals
    ]
