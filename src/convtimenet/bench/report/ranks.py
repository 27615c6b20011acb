"""Models compared over many sets: mean ranks, Friedman's test, Nemenyi's critical difference.

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
    """How k models rank over n sets.

    Attributes
    ----------
    ranks
        (k,) mean ranks, 1 the best.
    sets
        n.
    p
        Of Friedman's test that all are alike.
    difference
        Nemenyi's critical difference: mean ranks that lie less apart are not told apart.
    alike
        Longest runs of models, from the best to the worst, that are not told apart.
    """

    ranks: np.ndarray
    sets: int
    p: float
    difference: float
    alike: tuple[tuple[int, ...], ...]


def mean_ranks(scores: np.ndarray, *, less: bool) -> np.ndarray:
    """(k,) from scores (n, k); equal scores share the mean of their ranks."""
    return rankdata(scores if less else -scores, axis=1).mean(axis=0)


def critical_difference(models: int, sets: int) -> float:
    """Nemenyi's, at the level of 5 %."""
    q = studentized_range.ppf(1 - LEVEL, models, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(models * (models + 1) / (6 * sets)))


def ranking(scores: np.ndarray, *, less: bool) -> Ranking:
    """Of scores (n, k), k >= 3 and n >= 2.

    Where Friedman's test finds no difference, no two models are told apart.
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
