"""Linear effects of covariates known ahead, solved in closed form.

Regressed are the errors of a simple forecast, the mean of the last two seasons before the horizon,
on the same difference of the covariates: level, trend and season, which the rest of the network
forecasts, cancel on both sides, and what a covariate tells about a step that far ahead is left. A
covariate that only repeats the season cancels too and gets no effect.

Shape legend: `convtimenet._shapes`; K covariate columns, n differences.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from convtimenet.data.covariates import Encoder
from convtimenet.data.windows import Scaler, Windows
from convtimenet.files.maps import blocks, empty
from convtimenet.network.covariate_embedding import CovariateEffects
from convtimenet.network.ensemble import Ensemble, networks_in
from convtimenet.training.closed_form.search import surely
from convtimenet.training.closed_form.sliding import read_rows

__all__ = ["Effect", "covariate_effects", "solve_effects", "without_effects"]

_PENALTIES = (1e-4, 1e-3, 1e-2, 0.1, 1.0)
"""Times the number of differences, on the squared effect of one standard deviation."""
_BLOCKS = 5
_FEWEST = 10  # differences, below which nothing is solved for
_ASKED = 1.0  # standard errors by which effects must predict the blocks better than none


def solve_effects(effects: CovariateEffects, windows: Windows, season: int) -> None:
    """Set the effects, each channel's from the rows that windows lie in: a ridge regression whose
    penalty has the smallest squared error over five blocks of time, and none where that is not
    surely better than no effects."""
    assert windows.exogenous is not None
    covariates, known = windows.exogenous.futr, read_rows(windows)
    bounds = windows.exogenous.bounds.cpu().numpy()
    found = np.zeros(effects.weight.shape)
    for c, (own, seen) in enumerate(zip(windows.values, known, strict=True)):
        parts = [
            _differences(
                own[a:b].cpu().double().numpy(),
                covariates[:, a:b].cpu().double().numpy(),
                seen[a:b],
                season,
                windows.horizon,
            )
            for a, b in pairwise(bounds)
        ]
        y, x, block = (np.concatenate(one) for one in zip(*parts, strict=True))
        if len(y) >= _FEWEST:
            found[c] = _regression(y, x, block)
    with torch.no_grad():
        effects.weight.copy_(torch.from_numpy(found))


def without_effects(effects: CovariateEffects, windows: Windows) -> Windows:
    """The same windows of the series without the effects."""
    assert windows.exogenous is not None
    found = copy.copy(windows)
    values, weight = windows.values, effects.weight.detach().to(windows.values)
    mapped = windows.mapped and values.device.type == "cpu"
    left = torch.empty_like(values)
    if mapped:
        left = torch.from_numpy(empty(values.shape, np.float32, mapped))
    for one in blocks(values.shape[1]):
        left[:, one] = values[:, one] - weight @ windows.exogenous.futr[:, one]
        if windows.mask is not None:
            left[:, one] = torch.where(windows.mask[:, one], left[:, one], 0.0)
    found.values = left
    found.all = left.unfold(1, windows.context_length + windows.horizon, 1)
    return found


def _differences(
    y: np.ndarray, x: np.ndarray, known: np.ndarray, season: int, horizon: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of one channel (T,) of a series and its covariates (K, T): the differences (n,) and (n, K)
    from the mean of the same step of the last two seasons before a horizon that ends at the step,
    or of the one of them that is known, and the block (n,) of each."""
    rows = np.flatnonzero(known)
    if not len(rows):
        return np.empty(0), np.empty((0, len(x))), np.empty(0, dtype=np.int64)
    first, last = rows[0], rows[-1] + 1
    y, x, known = y[first:last], x[:, first:last], known[first:last]
    seasons = -(-horizon // season)
    # at least half of the rows, where there are that many, must have something to differ from
    seasons = max(1, min(seasons, len(y) // (2 * season)))
    total, sums, count = np.zeros_like(y), np.zeros_like(x), np.zeros(len(y))
    for lag in (seasons * season, (seasons + 1) * season):
        if lag < len(y):
            there = known[:-lag]
            total[lag:] += np.where(there, y[:-lag], 0.0)
            sums[:, lag:] += np.where(there, x[:, :-lag], 0.0)
            count[lag:] += there
    both = known & (count > 0)
    each = count[both]
    block = np.flatnonzero(both) * _BLOCKS // len(y)
    return y[both] - total[both] / each, (x[:, both] - sums[:, both] / each).T, block


def _regression(y: np.ndarray, x: np.ndarray, block: np.ndarray) -> np.ndarray:
    """(K,) the effects; none if no block can be predicted from the others."""
    own = [block == number for number in np.unique(block)]
    if len(own) < 2:
        return np.zeros(x.shape[1])
    squares = [x[one].T @ x[one] for one in own]
    products = [x[one].T @ y[one] for one in own]
    square, product = np.sum(squares, axis=0), np.sum(products, axis=0)
    best, gains = None, np.zeros(len(own))
    for penalty in _PENALTIES:
        errors = []
        for one, s, p in zip(own, squares, products, strict=True):
            found = _solution(square - s, product - p, penalty * (len(y) - one.sum()))
            errors.append(np.square(y[one]).sum() - np.square(y[one] - x[one] @ found).sum())
        if np.sum(errors) > gains.sum():
            best, gains = penalty, np.array(errors)
    if best is None or not surely(gains, _ASKED):
        return np.zeros(x.shape[1])
    return _solution(square, product, best * len(y))


def _solution(square: np.ndarray, product: np.ndarray, penalty: float) -> np.ndarray:
    return np.linalg.solve(square + penalty * np.eye(len(square)), product)


@dataclass(frozen=True)
class Effect:
    """A linear effect of a covariate known ahead.

    Attributes
    ----------
    name
        Of the covariate.
    category
        For text, the category; None for a number.
    values
        (C,) what one unit of the number, or the category, adds to each channel: in the data's
        units, or for series that are scaled by themselves in standard deviations of the series.
    """

    name: str
    category: str | None
    values: np.ndarray


def covariate_effects(network: Any, encoder: Encoder, scaler: Scaler) -> list[Effect]:
    """The effects of a fitted network, in the order of the covariates; empty without any. Calendar
    features, which go round, are left out. What a trained network makes of covariates comes on
    top."""
    shares = network.weights.tolist() if isinstance(network, Ensemble) else [1.0]
    found = [
        share * one.effects.weight.double().cpu().numpy()
        for one, share in zip(networks_in(network), shares, strict=True)
        if one.effects is not None
    ]
    if not found:
        return []
    scale = scaler.scale if scaler.scale.ndim == 2 else np.ones((1, 1))
    weight = np.asarray(np.stack(found).sum(0) * scale)  # (C, K)
    effects, at = [], 0
    for column in encoder.futr:
        if column.categories is None:
            effects.append(Effect(column.name, None, weight[:, at] / column.scale))
        else:
            effects += [
                Effect(column.name, category, weight[:, at + k])
                for k, category in enumerate(column.categories)
            ]
        at += column.width
    return effects
