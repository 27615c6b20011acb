"""Classifiers with so many labelled cases of each class; the other training cases are not read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from peers import features

from convtimenet.bench import models
from convtimenet.bench.models import Fitted
from convtimenet.bench.problems import CasesProblem


def classifier(problem: CasesProblem, seed: int, *, cases: int, **settings: Any) -> Fitted:
    """Our classifier."""
    return _told(models.classifier(of_each_class(problem, cases, seed), seed, **settings), cases)


def minirocket(problem: CasesProblem, seed: int, *, cases: int) -> Fitted:
    """MiniRocket with its ridge classifier."""
    return _told(features.minirocket(of_each_class(problem, cases, seed), seed), cases)


def of_each_class(problem: CasesProblem, cases: int, seed: int) -> CasesProblem:
    """The problem with so many training cases of each class, or all where there are fewer, drawn
    with the seed. The test cases stay the same."""
    labels = problem.train.labels
    assert labels is not None
    order = np.random.default_rng(seed).permutation(len(labels))
    some = [order[labels[order] == one][:cases] for one in np.unique(labels)]
    return replace(problem, train=problem.train.subset(np.sort(np.concatenate(some))))


def warm_up(model: str) -> None:
    """As the module of the model does."""
    (features if model in features.MODELS else models).warm_up(model)


def _told(fitted: Fitted, cases: int) -> Fitted:
    return replace(fitted, config={**fitted.config, "cases_of_each_class": cases})
