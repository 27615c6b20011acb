"""Comparison of models over many sets: mean ranks, Friedman test, Nemenyi critical difference.

Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range

__all__ = ["LEVEL", "Ranking", "critical_difference", "mean_ranks", "ranking"]

LEVEL = 0.05


@dataclass(frozen=True)
class Ranking:
    """The ranking of k models over n sets.

    Attributes
    ----------
    ranks
        (k,) mean ranks; 1 is the best.
    sets
        n.
    p
        p-value of the Friedman test.
    difference
        Nemenyi critical difference: smaller differences of mean ranks are not significant.
    alike
        Maximal groups of models, from best to worst, without significant differences.
    """

    ranks: np.ndarray
    sets: int
    p: float
    difference: float
    alike: tuple[tuple[int, ...], ...]


def mean_ranks(scores: np.ndarray, *, less: bool) -> np.ndarray:
    """Mean ranks (k,) of scores (n, k); ties get the mean of their ranks."""
    return rankdata(scores if less else -scores, axis=1).mean(axis=0)


def critical_difference(models: int, sets: int) -> float:
    """The Nemenyi critical difference at the 5 % level."""
    q = studentized_range.ppf(1 - LEVEL, models, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(models * (models + 1) / (6 * sets)))


def ranking(scores: np.ndarray, *, less: bool) -> Ranking:
    """The ranking by scores (n, k), k >= 3 and n >= 2.

    If the Friedman test finds no difference, all models form one group.
    """
    n, k = scores.shape
    ranks = mean_ranks(scores, less=less)
    equal = bool((scores == scores[:, :1]).all())
    p = 1.0 if equal else float(friedmanchisquare(*scores.T).pvalue)
    difference = critical_difference(k, n)
    order: list[int] = np.argsort(ranks, kind="stable").tolist()
    alike = _runs(order, ranks, difference) if p < LEVEL else (tuple(order),)
    return Ranking(ranks, n, p, difference, alike)


def _runs(order: list[int], ranks: np.ndarray, difference: float) -> tuple[tuple[int, ...], ...]:
    found: list[tuple[int, ...]] = []
    end_before = 0
    for start in range(len(order)):
        end = start
        while end < len(order) and ranks[order[end]] - ranks[order[start]] < difference:
            end += 1
        if end - start > 1 and end > end_before:
            found.append(tuple(order[start:end]))
            end_before = end
    return tuple(found)
