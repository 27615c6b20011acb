"""Classical forecasts as linear maps of the context: what the linear stream is solved towards.

Repeating the last value or the last season, the mean of a season, and additive exponential
smoothing with level, damped trend and season (Holt 1957, Winters 1960, Gardner and McKenzie 1985;
Hyndman et al., "Forecasting with exponential smoothing", 2008, the additive methods) are linear in
the context once their smoothing parameters are given. So each of them is a matrix.

Shape legend: `convtimenet._shapes`; P forecasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

__all__ = ["Smoothing", "repeated", "smoothed", "smoothings"]

_LEVELS = (0.05, 0.2, 0.4, 0.7, 0.95)
_TRENDS = (0.0, 0.05, 0.2)
_DAMPINGS = (0.85, 0.95, 1.0)
_SEASONS = (0.0, 0.15, 0.4)


class Smoothing(NamedTuple):
    """Parameters of exponential smoothing, each between 0 and 1."""

    level: float
    trend: float | None
    """None for no trend."""
    damping: float
    season: float | None
    """None for no season."""


def smoothings(seasonal: bool, trends: Sequence[float] = _TRENDS) -> list[Smoothing]:
    """The grid of parameters that is searched, with or without a season."""
    every = [(None, 1.0), *product(trends, _DAMPINGS)]
    seasons = _SEASONS if seasonal else (None,)
    return [
        Smoothing(level, trend, damping, season)
        for level, (trend, damping), season in product(_LEVELS, every, seasons)
    ]


def repeated(kind: str, context: int, ahead: np.ndarray, season: int) -> np.ndarray:
    """A forecast (L, n) that repeats values of the context.

    Parameters
    ----------
    kind
        "mean" of the context, "last" value, last "season", or "season mean": the mean of the last
        season.
    ahead
        (n,) steps ahead, from 0.
    season
        Steps of a season, at most L.
    """
    weight = np.zeros((context, len(ahead)))
    if kind == "mean":
        weight[:] = 1 / context
    elif kind == "last":
        weight[-1] = 1
    elif kind == "season":
        weight[context - season + ahead % season, np.arange(len(ahead))] = 1
    else:
        weight[-season:] = 1 / season
    return weight


def smoothed(grid: list[Smoothing], context: int, ahead: np.ndarray, season: int) -> np.ndarray:
    """Forecasts (P, L, n) by exponential smoothing, from the level, slope and seasonal indices of
    the first two seasons.

    The recursion runs backwards, from how a forecast depends on the last state to how it depends
    on the first, and every step gives the weight of one value.

    Parameters
    ----------
    grid
        Parameters of the P forecasts, all with a season or all without.
    ahead
        (n,) steps ahead, from 0.
    season
        Steps of a season; twice as many must fit in the context. Not read without one.
    """
    seasonal = grid[0].season is not None
    unit = np.eye(context)
    trended = np.array([[one.trend is not None] for one in grid])
    alpha, beta, phi, gamma = (
        np.array([[part or 0.0] for part in column])
        for column in zip(
            *((one.level, one.trend, one.damping, one.season) for one in grid), strict=True
        )
    )
    m = season if seasonal else 1
    if seasonal:
        first = unit[: 2 * m]
        slope = (unit[m : 2 * m].mean(0) - unit[:m].mean(0)) / m
        away = np.arange(2 * m)[:, None] - (2 * m - 1) / 2
        indices = (first - first.mean(0) - away * slope).reshape(2, m, context).mean(0)
        start = first.mean(0) - slope * ((2 * m - 1) / 2 + 1)
        start_flat = unit[:m].mean(0)
    else:
        n = min(context, 5) - 1
        slope = (unit[n] - unit[0]) / max(1, n)
        indices = np.zeros((1, context))
        start, start_flat = unit[0] - slope, unit[0]
    P, n = len(grid), len(ahead)
    of_level = np.ones((P, n))
    of_trend = np.cumsum(phi ** np.arange(1, int(ahead.max()) + 2), axis=1)[:, ahead]
    of_season = np.zeros((m, P, n))
    of_season[(context + ahead) % m, :, np.arange(n)] = 1
    weights = np.empty((P, context, n))
    for t in reversed(range(context)):
        # state' = state + gain (x - level - phi trend - season): what x weighs, others lose
        now = of_season[t % m]
        of_error = alpha * (of_level + beta * of_trend) + gamma * (1 - alpha) * now
        weights[:, t] = of_error
        of_trend = phi * (of_level + of_trend - of_error)
        of_level = of_level - of_error
        now -= of_error
    level = np.where(trended, start, start_flat)[..., None]
    trend = np.where(trended, slope, 0.0)[..., None]
    first = slice(np.flatnonzero(np.any([start, start_flat, slope, *indices], axis=0)).max() + 1)
    weights[:, first] += of_level[:, None] * level[:, first] + of_trend[:, None] * trend[:, first]
    weights[:, first] += np.tensordot(indices[:, first], of_season, (0, 0)).swapaxes(0, 1)
    return weights
