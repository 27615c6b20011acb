"""Our classifier on a part of the training cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from convtimenet.bench import models
from convtimenet.bench.models import Fitted
from convtimenet.bench.problems import CasesProblem
from convtimenet.data.split import split_cases


def classifier(
    problem: CasesProblem, seed: int, *, share: float, preset: str = "paper", **settings: Any
) -> Fitted:
    """Train on a `part_of` the training cases."""
    problem = part_of(problem, share, seed)
    labels = problem.train.labels
    assert labels is not None
    # as names in their order: the classifier refuses numbers that are nearly all different, as
    # those of 25 classes in 28 cases are
    texts = np.char.mod("class %05d", np.unique(labels, return_inverse=True)[1])
    meanings = dict(zip(texts, labels, strict=True))
    problem = replace(problem, train=replace(problem.train, labels=texts))
    fitted = models.classifier(problem, seed, preset=preset, **settings)
    own = {"share": share, "n_train": len(labels)}
    return replace(
        fitted,
        predict=lambda: np.asarray([meanings[text] for text in fitted.predict()]),
        config={**fitted.config, **own},
    )


def part_of(problem: CasesProblem, share: float, seed: int) -> CasesProblem:
    """A share of the training cases, drawn class by class with the seed; one of each class where
    that is more. The test cases stay the same."""
    labels = problem.train.labels
    assert labels is not None
    if share == 1:
        return problem
    parts = split_cases(len(labels), labels, share, seed)
    chosen = parts[1] if parts else np.unique(labels, return_index=True)[1]
    return replace(problem, train=problem.train.subset(np.sort(chosen)))


warm_up = models.warm_up
