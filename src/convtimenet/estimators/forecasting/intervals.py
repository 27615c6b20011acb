"""Prediction intervals by split-conformal calibration.

A fitted network forecasts windows that its weights were not fitted to; its errors there determine
how wide the intervals must be. Each error is measured relative to its window: in standard
deviations of the context or, with a quantile head, by the head's quantiles (conformalised quantile
regression). One table of radii therefore serves series of any scale. Shape legend:
`convtimenet._shapes`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convtimenet import processes
from convtimenet.data.windows import Windows
from convtimenet.errors import ConfigError, DataError
from convtimenet.network.revin import FEW, RevIN
from convtimenet.training.losses import point_forecast
from convtimenet.training.metrics import IntervalScores, outputs, own_batches, wide
from convtimenet.wording import advice

DEFAULT_LEVELS = (80.0, 95.0)
_GRID = np.array([*range(1, 100), 99.5, 99.9])
_MOST_VALUES = 2**24  # distances kept while calibrating; of more windows an even subset is used
# Windows less than a horizon apart share targets. A channel has its own radii if it is known in at
# least this many horizons of windows, and this many windows; all others share those of all values.
_OWN_HORIZONS, _OWN_WINDOWS = 20, 200
_LEAST_SCALE = 2e-5**0.5  # of what varies more than RevIN's own addend


@dataclass(frozen=True, eq=False)
class Calibration:
    """Radii of intervals per level, channel and step ahead.

    Attributes
    ----------
    radii
        (levels, G, H) float32, relative to each window's scale, for a fixed grid of levels from 1
        to 99.9 %; G is 1 if all channels share them. Infinite if there were too few windows.
    windows
        Number of windows used for the calibration; 0 for the own ones of a quantile head.
    """

    radii: np.ndarray
    windows: int

    @classmethod
    def of(
        cls, distances: np.ndarray, told: np.ndarray | None = None, *, shared: bool = False
    ) -> Calibration:
        """Finite-sample quantiles of distances (n, C, H), ignoring NaN, and also those that have no
        unit, `told` (n, C) False, unless there are no others; see `distances`.

        All channels share them if `shared`; else those that have known values in few windows.

        The radius of level a is the ``ceil((n + 1) a)``-th smallest of n distances: with it an
        interval covers an exchangeable new value with probability at least a (Vovk et al.,
        "Algorithmic Learning in a Random World", 2005; Lei et al., "Distribution-Free Predictive
        Inference for Regression", JASA 113, 2018).
        """
        windows, C, H = distances.shape
        if told is not None and np.isfinite(distances[told]).any():
            distances = np.where(told[..., None], distances, np.nan)
        known = np.isfinite(distances).sum(0).min(-1)
        own = np.full(C, False) if shared else known >= _least_own(H)
        if own.all():
            return cls(_radii(distances), windows)
        radii = _radii(distances.reshape(-1, 1, H))
        if own.any():
            radii = np.repeat(radii, C, axis=1)
            radii[:, own] = _radii(distances[:, own])
        return cls(radii, windows)

    @classmethod
    def completed(cls, found: Calibration | None, horizon: int) -> tuple[Calibration, list[str]]:
        """The calibration of a quantile head that was right for other series, and a notice: levels
        that there were too few windows for have the head's own quantiles, and at least the width
        of those that could be calibrated; all do where even the lowest usual level could not."""
        expected = np.array([NormalDist().inv_cdf(0.5 + level / 200) for level in _GRID])
        radii, reach, windows = np.tile(expected[:, None, None], (1, 1, horizon)), 0.0, 0
        if found is not None and found.reaches(DEFAULT_LEVELS[0]):
            known = np.isfinite(found.radii)
            widest = np.where(known, found.radii, 0).max(0)
            radii = np.where(known, found.radii, np.maximum(radii, widest))
            windows, reach = found.windows, max(one for one in _GRID if found.reaches(one))
        notices = []
        if reach < DEFAULT_LEVELS[-1]:
            levels = f"intervals above {reach:g} %" if reach else "intervals"
            notices = [f"{levels} are the network's own: there are too few rows to calibrate them"]
        return cls(radii.astype(np.float32), windows), notices

    def radius(self, level: float) -> np.ndarray:
        """Radii (G, H) of a level in per cent, rounded up to the grid of levels.

        Raises
        ------
        ConfigError
            If the level is not above 0 and at most 99.9.
        DataError
            If there were too few windows for it.
        """
        at = _at(level)
        if not self.reaches(level):
            raise _too_few(level, self.windows, [one for one in _GRID if self.reaches(one)])
        return self.radii[at]

    def check(self, channels: int, horizon: int) -> None:
        """Check radii that were read from a file.

        Raises
        ------
        ValueError
            If they are not ascending, of another shape, or below 0.
        """
        shapes = [(len(_GRID), groups, horizon) for groups in (1, channels)]
        if self.radii.dtype != np.float32 or self.radii.shape not in shapes:
            raise ValueError(f"radii of the shape {self.radii.shape}, expected {shapes[-1]}")
        if not (self.radii >= 0).all() or (self.radii[1:] < self.radii[:-1]).any():
            raise ValueError("radii that are below 0 or not ascending")
        if not isinstance(self.windows, int) or self.windows < 0:
            raise ValueError(f"a calibration with {self.windows!r} windows")

    def reaches(self, level: float) -> bool:
        """Whether there were enough windows for this level."""
        at = np.searchsorted(_GRID, level - 1e-9)
        return bool(at < len(_GRID) and np.isfinite(self.radii[at]).all())


def check_reach(levels: Sequence[float], windows: int, channels: int, horizon: int) -> None:
    """Check before training that this number of windows suffices for the levels; missing values
    may still make them too few.

    Raises
    ------
    ConfigError
        If a level is not above 0 and at most 99.9.
    DataError
        If there are too few windows for it.
    """
    values = windows if windows >= _least_own(horizon) else windows * channels
    possible = [one for one in _GRID if _needed(one) <= values]
    for level in levels:
        if values < _needed(_GRID[_at(level)]):
            raise _too_few(level, windows, possible)


def _radii(distances: np.ndarray) -> np.ndarray:
    """Radii (levels, G, H) of distances (n, G, H), infinite where too few are known."""
    ranked = np.sort(distances, axis=0)
    n = np.isfinite(ranked).sum(0)
    # rounded, because 0.07 * 100 > 7 in floating point
    rank = np.ceil(np.round((n + 1) * (_GRID[:, None, None] / 100), 9)).astype(int)
    taken = np.take_along_axis(ranked, np.clip(rank - 1, 0, len(ranked) - 1), axis=0)
    return np.where(rank <= n, taken, np.inf).astype(np.float32)


def _least_own(horizon: int) -> int:
    """Number of windows with known values from which a channel has its own radii."""
    return max(_OWN_WINDOWS, _OWN_HORIZONS * horizon)


def _at(level: float) -> int:
    """Index in the grid of a level in per cent, rounded up."""
    if not 0 < level <= _GRID[-1]:
        raise ConfigError(
            f"level must be in per cent, above 0 and at most {_GRID[-1]:g}; found {level!r}"
        )
    return int(np.searchsorted(_GRID, level - 1e-9))


def _needed(level: float) -> int:
    """Minimum number of values with a finite finite-sample quantile of this level."""
    return math.ceil(1 / (1 - level / 100) - 1e-9) - 1


def _too_few(level: float, windows: int, possible: Sequence[float]) -> DataError:
    """The error for a level that needs more windows; names the largest possible level."""
    rows = "give more rows"  # which clients cannot: those of training count
    remedy = f"{rows}, or use a shorter horizon"
    remedy = f"no level is possible: {advice(remedy, 'ask for no intervals', remedy)}"
    if possible:
        most = possible[-1]
        quantiles = f" (quantiles {0.5 - most / 200:g} and {0.5 + most / 200:g})"
        remedy = f"the largest possible level is {most:g}{advice('', quantiles, '')}; use that"
        remedy += advice(f", or {rows}", "", f", or {rows}")
    needed = _needed(_GRID[_at(level)])
    return DataError(
        f"an interval of {level:g} % needs at least {needed} calibration values per step, "
        f"and {windows} held-out windows give fewer: {remedy}"
    )


def check_levels(level: Any) -> tuple[float, ...]:
    """Levels in per cent, ascending, from a number or a sequence of them.

    Raises
    ------
    ConfigError
        If one is not a number between 0 and 100, or is a fraction such as 0.8.
    """
    given = list(level) if isinstance(level, (Sequence, np.ndarray)) else [level]
    for one in given:
        number = isinstance(one, (int, float, np.number)) and not isinstance(one, bool)
        if isinstance(one, str) or not number or not 0 < one < 100:
            raise ConfigError(
                f"level must be in per cent, between 0 and 100, such as [80, 95]; found {level!r}"
            )
        if one < 1:
            raise ConfigError(
                f"level holds {one:g}: levels are in per cent, such as [80, 95]; did you mean "
                f"{round(100 * one, 6):g}?"
            )
    return tuple(sorted({float(one) for one in given}))


def check_horizon(steps: int, H: int) -> None:
    """Check that a forecast with intervals ends within the trained horizon.

    Raises
    ------
    ConfigError
        If it does not.
    """
    if steps > H:
        raise ConfigError(
            f"intervals are limited to the trained horizon of {H} steps, found "
            + advice(
                f"h={steps}; use a smaller h, leave level out, or train with a larger h",
                f"{steps} to forecast; ask for fewer, or for no intervals",
            )
        )


def band_names(levels: Sequence[float]) -> list[str]:
    """Suffixes of the column names of a forecast and its bounds, as in Nixtla's libraries: for 80
    and 95 "", "lo-95", "lo-80", "hi-80", "hi-95"."""
    low = [f"lo-{level:g}" for level in reversed(levels)]
    return ["", *low, *(f"hi-{level:g}" for level in levels)]


def context_scale(x: Tensor, known: Tensor | None = None, usual: float = 0.0) -> Tensor:
    """Scale (B, C, 1) of windows with contexts (B, C, L), as RevIN computes it; where fewer than
    `FEW` values are known, at least the `usual` one of a series."""
    scale = _REVIN(x, known)[1][1]
    if known is None:
        return scale
    return torch.where(known.sum(-1, keepdim=True) < FEW, scale.clamp(min=usual), scale)


def _tell(x: Tensor, known: Tensor | None) -> Tensor:
    """(B, C) whether contexts (B, C, L) tell how far their values vary: not if they are constant,
    or hardly known."""
    told = context_scale(x, known) > _LEAST_SCALE
    if known is not None:
        told = told & (known.sum(-1, keepdim=True) >= min(FEW, x.shape[-1]))
    return told[..., 0]


_REVIN = RevIN()


class Bands:
    """A forecast, and how its errors are converted to distances on either side of it.

    For a point forecast a distance of 1 is `scale`, on both sides. For a quantile head the
    q-quantile is at the distance that it has from the median of a standard normal distribution;
    between quantiles distances are interpolated, beyond the outermost extrapolated. Intervals of a
    higher level therefore contain those of a lower one, and all contain the point forecast.

    Parameters
    ----------
    output
        Output of the network: (B, C, H), or (B, C, Q, H) with `quantiles`.
    scale
        (B, C, 1), see `context_scale`.
    """

    def __init__(self, output: Tensor, scale: Tensor, quantiles: tuple[float, ...]):
        self.point = point_forecast(output, quantiles)
        normal = NormalDist()
        sides: dict[int, list[tuple[float, Tensor]]] = {-1: [], 1: []}
        for i, q in sorted(enumerate(quantiles), key=lambda one: abs(one[1] - 0.5)):
            if q != 0.5:
                width = (output.select(-2, i) - self.point).abs()
                sides[1 if q > 0.5 else -1].append((abs(normal.inv_cdf(q)), width))
        plain = [(1.0, scale.expand_as(self.point))]
        self.below, self.above = sides[-1] or plain, sides[1] or plain

    def distance(self, truth: Tensor) -> Tensor:
        """Distances (B, C, H) >= 0 of the actual values from the forecast."""
        error = truth - self.point
        return torch.where(error < 0, _marked(-error, self.below), _marked(error, self.above))

    def bounds(self, radius: np.ndarray) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds (B, C, H) at `radius` (G, H)."""
        mark = torch.from_numpy(radius).to(self.point)
        return self.point - _length(mark, self.below), self.point + _length(mark, self.above)


def _marked(length: Tensor, marks: list[tuple[float, Tensor]]) -> Tensor:
    """Convert errors in the forecast's units to distances, by linear interpolation between `marks`
    (distance, length); inverse of `_length`."""
    found, inner, inner_mark = torch.zeros_like(length), torch.zeros_like(length), 0.0
    for i, (mark, width) in enumerate(marks):
        last = i == len(marks) - 1
        gap = (width - inner).clamp(min=1e-6)
        part = ((length - inner) / gap).clamp(0, None if last else 1)
        found = found + part * (mark - inner_mark)
        inner, inner_mark = width, mark
    return found


def _length(mark: Tensor, marks: list[tuple[float, Tensor]]) -> Tensor:
    """Convert distances to lengths in the forecast's units."""
    found, inner, inner_mark = torch.zeros_like(mark), 0.0, 0.0
    for i, (outer_mark, width) in enumerate(marks):
        last = i == len(marks) - 1
        part = ((mark - inner_mark) / (outer_mark - inner_mark)).clamp(0, None if last else 1)
        found = found + part * (width - inner).clamp(min=1e-6)
        inner, inner_mark = width, outer_mark
    return found


def calibrate(
    network: nn.Module,
    windows: Windows,
    quantiles: tuple[float, ...],
    batch_size: int,
    device: torch.device,
    *,
    shared: bool = False,
    together: bool = False,
) -> Calibration:
    """Calibrate intervals with a network's errors on windows.

    Parameters
    ----------
    network
        Fitted, and fused for inference.
    windows
        Windows that the weights were not fitted to.
    shared
        See `Calibration.of`.
    together
        See `distances`.

    Raises
    ------
    DataError
        If all of their target values are missing.
    """
    found, told = distances(network, windows, quantiles, batch_size, device, together)
    if not np.isfinite(found).any():
        raise DataError(
            "no value to calibrate intervals with: all of them are missing; give rows with known "
            "values"
        )
    return Calibration.of(found, told, shared=shared)


def distances(
    network: nn.Module,
    windows: Windows,
    quantiles: tuple[float, ...],
    batch_size: int,
    device: torch.device,
    together: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """How far the actual values of windows are from a network's forecasts. Of very many windows an
    evenly spaced subset is used.

    Returns
    -------
    distances
        (n, C, H), see `Bands`; NaN for missing values.
    told
        (n, C) whether the context says how far its values vary. One of zeros before the first sale
        does not: in its deviations any error is millions.

    Parameters
    ----------
    together
        Share the batches among the processes that train together, of which all must ask.
    """
    C, H = len(windows.all), windows.horizon
    some = windows.thinned(_MOST_VALUES // (C * H) + 1)
    which = own_batches(len(some), batch_size) if together else slice(None)
    found, told = np.zeros((len(some), C, H), np.float32), np.zeros((len(some), C), np.float32)
    firsts = range(0, len(some), batch_size)[which]
    own = outputs(network, some, batch_size, device, which)
    for first, (output, batch) in zip(firsts, own, strict=True):
        distance = Bands(output, context_scale(batch.x, batch.known), quantiles).distance(batch.y)
        if batch.weight is not None:
            distance = torch.where(batch.weight > 0, distance, torch.nan)
        here = slice(first, first + len(distance))
        found[here] = distance.cpu().numpy()
        told[here] = _tell(batch.x, batch.known).cpu().numpy()
    if which != slice(None):
        found, told = processes.summed(found), processes.summed(told)
    return found, told > 0


class IntervalSums:
    """Sums for the `IntervalScores` of one level, accumulated on the device."""

    def __init__(self, level: float, radius: np.ndarray, channels: int, device: torch.device):
        self.level, self.radius = level, radius
        shape = (4, channels, radius.shape[-1])  # inside, width, distance outside, width in units
        self.sums = torch.zeros(shape, device=device, dtype=wide(device))

    def add(
        self, bands: Bands, target: Tensor, weight: Tensor | None, unit: Tensor | None = None
    ) -> None:
        """Add a batch (B, C, H); `unit`, (C, 1) or (B, C, 1), scales widths to the data's units,
        None if they are in these units already."""
        low, high = bands.bounds(self.radius)
        outside = (low - target).clamp(min=0) + (target - high).clamp(min=0)
        width = (high - low).to(self.sums)
        own = width if unit is None else width * unit
        inside = (outside == 0).to(self.sums)
        each = torch.stack([inside, width, outside.to(self.sums), own])
        self.sums += (each if weight is None else each * weight).sum(1)

    def scores(self, count: Tensor, channels: Sequence[str]) -> IntervalScores:
        """Mean scores, given the number of known values (C, H)."""
        count = count.to(self.sums)
        inside, width, outside, own = (self.sums.sum((1, 2)) / count.sum()).tolist()
        per_step = (self.sums[:2].sum(1) / count.sum(0)).cpu().numpy()
        per_channel = (self.sums[0].sum(1) / count.sum(1)).tolist()
        return IntervalScores(
            level=self.level,
            coverage=inside,
            width=width,
            width_in_units=own,
            interval_score=width + 2 / (1 - self.level / 100) * outside,
            coverage_per_step=per_step[0],
            width_per_step=per_step[1],
            coverage_per_channel=dict(zip(channels, per_channel, strict=True)),
        )
