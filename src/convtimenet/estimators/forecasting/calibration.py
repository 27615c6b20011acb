"""Radii of prediction intervals by level, and which levels so many windows allow.

How far truths lie from forecasts is measured in `convtimenet.estimators.forecasting.intervals`.
Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from convtimenet.errors import ConfigError, DataError
from convtimenet.wording import advice

__all__ = [
    "DEFAULT_LEVELS",
    "Calibration",
    "band_names",
    "check_horizon",
    "check_levels",
    "check_reach",
]

DEFAULT_LEVELS = (80.0, 95.0)
_GRID = np.array([*range(1, 100), 99.5, 99.9])
_NORMAL = np.array([NormalDist().inv_cdf(0.5 + level / 200) for level in _GRID])  # deviations
# Windows less than a horizon apart share targets. A channel has its own radii if it is known in at
# least this many horizons of windows, and this many windows; all others share those of all values.
_OWN_HORIZONS, _OWN_WINDOWS = 20, 200


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
    def with_own(cls, found: Calibration | None, horizon: int) -> tuple[Calibration, list[str]]:
        """The calibration of a quantile head that was right for other series, and a notice: levels
        that there were too few windows for have the head's own quantiles, and at least the width
        of those that could be calibrated; all do where even the lowest usual level could not."""
        radii, reach, windows = np.tile(_NORMAL[:, None, None], (1, 1, horizon)), 0.0, 0
        if found is not None and found.reaches(DEFAULT_LEVELS[0]):
            known = np.isfinite(found.radii)
            widest = np.where(known, found.radii, 0).max(0)
            radii = np.where(known, found.radii, np.maximum(radii, widest))
            windows, reach = found.windows, found.reach
        notices = []
        if reach < DEFAULT_LEVELS[-1]:
            levels = f"intervals above {reach:g} %" if reach else "intervals"
            notices = [f"{levels} are the network's own: there are too few rows to calibrate them"]
        return cls(radii.astype(np.float32), windows), notices

    def extended(self) -> tuple[Calibration, list[str]]:
        """The same up to the highest usual level, and a notice if there were too few windows for
        it, but enough for the lowest usual one: further levels are as much wider than the highest
        calibrated one as those of normal errors."""
        reach, last = self.reach, _at(DEFAULT_LEVELS[-1])
        if not DEFAULT_LEVELS[0] <= reach < DEFAULT_LEVELS[-1]:
            return self, []
        at, radii = _at(reach), self.radii.copy()
        further = self.radii[at] * (_NORMAL[at : last + 1, None, None] / _NORMAL[at])
        known = radii[at : last + 1]
        filled = np.where(np.isfinite(known), known, further)
        radii[at : last + 1] = np.maximum.accumulate(filled)
        notice = (
            f"intervals above {reach:g} % are extrapolated from these as for normal errors: there "
            f"are only {self.windows} windows to calibrate them with"
        )
        return Calibration(radii, self.windows), [notice]

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

    @property
    def reach(self) -> float:
        """The highest level that there were enough windows for, 0 if none."""
        return max((one for one in _GRID if self.reaches(one)), default=0.0)

    def reaches(self, level: float) -> bool:
        """Whether there were enough windows for this level."""
        at = np.searchsorted(_GRID, level - 1e-9)
        return bool(at < len(_GRID) and np.isfinite(self.radii[at]).all())


def check_reach(levels: Sequence[float], windows: int, channels: int, horizon: int) -> None:
    """Check before training that `fit` has intervals of these levels if it calibrates on this
    number of windows; missing values may still make them too few.

    Raises
    ------
    ConfigError
        If a level is not above 0 and at most 99.9.
    DataError
        If there are too few windows for it.
    """
    values = windows if windows >= _least_own(horizon) else windows * channels
    possible = [one for one in _GRID if _needed(one) <= values]
    if values >= _needed(DEFAULT_LEVELS[0]):  # as `Calibration.extended`
        possible = [one for one in _GRID if one <= max(possible[-1], DEFAULT_LEVELS[-1])]
    for level in levels:
        if _GRID[_at(level)] not in possible:
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
