"""Our estimators from new weights, and from an encoder that was pre-trained on the training split.

Cells of the same set and seed share the encoder: its finished training lies in .cache/pretrain.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import few_cases

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster
from convtimenet.bench import models
from convtimenet.bench.models import Fitted
from convtimenet.bench.problems import CasesProblem, ForecastProblem
from convtimenet.data.table_rows import crop

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "pretrain"


def classifier(
    problem: CasesProblem, seed: int, *, share: float, start: str = "new", **settings: Any
) -> Fitted:
    """Train on the labels of a share of the training cases, from new weights or from an encoder
    that was pre-trained on all of them without labels.

    Parameters
    ----------
    start
        "new", or the objective of pre-training.
    """
    few = few_cases.part_of(problem, share, seed)
    if start == "new":
        return _told(models.classifier(few, seed, **settings), few, share, {})
    own = ConvTimeNetClassifier(preset=problem.name, random_state=seed, verbose=0, device="cpu")
    folder = CACHE / f"{problem.name}-{start}-{seed}"
    encoder = own.pretrain(problem.train, objective=start, resume=folder).pretrained_  # type: ignore
    fitted = models.classifier(few, seed, init_from=encoder, **settings)
    return _told(fitted, few, share, _of(encoder))


def forecaster(
    problem: ForecastProblem, seed: int, *, start: str = "new", n_epochs: int = 10, **settings: Any
) -> Fitted:
    """Train from new weights, or from an encoder that was pre-trained on the training rows for so
    many epochs."""
    if start == "new":
        return models.forecaster(problem, seed, **settings)
    own = ConvTimeNetForecaster(
        problem.horizon, preset=problem.name, random_state=seed, verbose=0, device="cpu"
    )
    assert problem.train_end is not None
    folder = CACHE / f"{problem.name}-{problem.horizon}-{n_epochs}-{seed}"
    own.pretrain(
        crop(problem.table, 0, problem.valid_end),
        split=(problem.train_end, problem.valid_end),
        n_epochs=n_epochs,
        resume=folder,
    )
    encoder = own.pretrained_
    fitted = models.forecaster(problem, seed, init_from=encoder, **settings)
    return replace(fitted, chosen={**fitted.chosen, **_of(encoder)})


def _told(fitted: Fitted, few: CasesProblem, share: float, more: dict[str, Any]) -> Fitted:
    assert few.train.labels is not None
    own = {"share": share, "n_train": len(few.train.labels)}
    return replace(fitted, config={**fitted.config, **own}, chosen={**fitted.chosen, **more})


def _of(encoder: Any) -> dict[str, Any]:
    history = encoder.history
    losses = [epoch.train_loss for epoch in history.epochs]
    return {"pretraining": {"seconds": round(history.seconds, 2), "loss": losses}}


warm_up = models.warm_up
