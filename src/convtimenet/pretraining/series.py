"""Generated series: trends, seasons, noise and what else tables hold, added, multiplied and bent.

No real series is read, so none of any test can have been seen. Each part is a function of a random
generator, the shape (R, T) and what it needs besides, and gives rows of about unit size.

Shape legend: `convtimenet._shapes`; R series, T steps.
"""

from __future__ import annotations

import numpy as np

__all__ = ["SEASONS", "drawn_seasons", "generated"]

Array = np.ndarray
SEASONS = {1: 12, 4: 10, 5: 4, 6: 2, 7: 14, 12: 14, 24: 20, 48: 5, 52: 7, 96: 6, 144: 3, 288: 1}
"""Season lengths in steps and how often each is drawn; of 100 two more are any length up to 60."""
_LONG = {4: 10, 5: 260, 6: 52, 7: 364, 24: 168, 48: 336, 96: 672, 144: 1008, 288: 2016}
_OFTEN = (0.6, 0.35, 0.9, 0.85, 0.5)  # trend, smooth part, noise, season and long season count
_SMALL = 1e-6


def drawn_seasons(rng: np.random.Generator, longest: int) -> tuple[int, int]:
    """The season of a group of series of at most `longest` steps, and a longer one."""
    lengths = np.array([*SEASONS, 0])
    shares = np.array([*SEASONS.values(), 2.0]) * (lengths <= longest / 2)
    season = int(rng.choice(lengths, p=shares / shares.sum()))
    season = season or int(rng.integers(2, max(2, min(60, longest // 2)) + 1))
    return season, _LONG.get(season, season)


def generated(rng: np.random.Generator, R: int, T: int, season: int, long: int) -> Array:
    """R series of T steps with seasons of `season` and `long` steps (if any), at any level and
    scale, float64."""
    parts = [_trend(rng, R, T), _smooth(rng, R, T), _noise(rng, R, T)]
    own = _own_season(rng, R, T, season)
    parts.append(_seasonal(rng, R, T, own))
    if long > season and long <= T:
        parts.append(_seasonal(rng, R, T, np.full(R, long)))
    sizes = np.exp(rng.normal(0.0, 1.2, (len(parts), R, 1)))
    often = np.array(_OFTEN[: len(parts)])[:, None, None]
    sizes *= np.where(rng.random((len(parts), R, 1)) < often, 1.0, 0.02)
    if season == 1:
        sizes[3] *= rng.choice([0.0, 1.0], (R, 1), p=[0.7, 0.3])
    sizes[2] *= rng.choice([0.1, 0.5, 1.0], (R, 1), p=[0.3, 0.4, 0.3])
    values = (np.stack(parts) * sizes).sum(0)
    values += _jumps(rng, R, T) * _with(rng, R, 0.15) * _spread(values)
    values = _bent(rng, values, season)
    values += _spikes(rng, R, T) * _with(rng, R, 0.12) * _spread(values)
    counts = rng.random(R) < 0.08
    if counts.any():
        values[counts] = _counts(rng, values[counts])
    return values


def _with(rng: np.random.Generator, R: int, share: float) -> Array:
    return (rng.random((R, 1)) < share).astype(float)


def _spread(values: Array) -> Array:
    return values.std(-1, keepdims=True) + _SMALL


def _unit(values: Array) -> Array:
    """Rows with a mean of 0 and a deviation of 1."""
    return (values - values.mean(-1, keepdims=True)) / _spread(values)


def _time(T: int) -> Array:
    return np.arange(T) / T


def _trend(rng: np.random.Generator, R: int, T: int) -> Array:
    """Straight, broken, saturating or exponential lines, and random walks with drift."""
    t = _time(T)[None]
    slope, kind = rng.normal(size=(R, 1)), rng.integers(0, 6, (R, 1))
    at, turn = rng.uniform(0.1, 0.9, (R, 1)), rng.normal(size=(R, 1))
    broken = slope * t + turn * np.maximum(t - at, 0)
    rate = np.exp(rng.normal(0.5, 0.8, (R, 1)))
    saturating = np.sign(slope) * (1 - np.exp(-rate * 3 * t))
    growing = np.sign(slope) * np.expm1(np.minimum(rate * t, 5.0)) / np.expm1(np.minimum(rate, 5.0))
    walk = rng.normal(size=(R, T)).cumsum(-1) + slope * np.arange(T) * 0.05
    integrated = _unit(rng.normal(size=(R, T)).cumsum(-1)).cumsum(-1)
    kinds = [slope * t, broken, saturating, growing, walk, integrated]
    return _unit(np.select([kind == n for n in range(len(kinds))], kinds))


def _smooth(rng: np.random.Generator, R: int, T: int) -> Array:
    """Gaussian processes, as sums of waves of random frequencies: with a squared exponential, a
    Matern-like or a narrow-band spectrum; and chirps."""
    waves = 8
    length = T * np.exp(rng.uniform(np.log(0.02), np.log(1.0), (R, 1)))
    normal = rng.normal(size=(R, waves)) / length
    heavy = rng.standard_t(2.5, size=(R, waves)) / length
    band = (1 + 0.05 * rng.normal(size=(R, waves))) * rng.uniform(1.5, 4.0, (R, 1)) / length
    kind = rng.integers(0, 3, (R, 1))
    frequency = np.select([kind == 0, kind == 1, kind == 2], [normal, heavy, band])
    frequency = np.clip(frequency, -0.4, 0.4)
    phase = rng.uniform(0, 2 * np.pi, (R, waves))
    t = np.arange(T)
    found = np.zeros((R, T))
    for wave in range(waves):
        found += np.cos(2 * np.pi * frequency[:, [wave]] * t + phase[:, [wave]])
    return _unit(found)


def _noise(rng: np.random.Generator, R: int, T: int) -> Array:
    """White, heavy-tailed or autoregressive noise, whose size may follow a slow wave."""
    shocks = rng.normal(size=(R, T))
    heavy = rng.random((R, 1)) < 0.2
    shocks = np.where(heavy, rng.standard_t(3.0, size=(R, T)), shocks)
    memory = rng.choice([0.0, 0.5, 0.9, 0.98], R, p=[0.4, 0.2, 0.25, 0.15])
    memory *= rng.uniform(0.8, 1.0, R)
    found = shocks.copy()
    if T > 1:
        from scipy.signal import lfilter

        for value in np.unique(memory[memory > 0]):
            rows = memory == value
            found[rows] = lfilter([1.0], [1.0, -value], shocks[rows], axis=-1)
    waving = _with(rng, R, 0.25)
    turns = rng.uniform(0.5, 4.0, (R, 1))
    size = np.exp(waving * np.sin(2 * np.pi * turns * _time(T) + rng.uniform(0, 6.3, (R, 1))))
    return _unit(found * size)


def _own_season(rng: np.random.Generator, R: int, T: int, season: int) -> Array:
    """(R,) the season that each series really has: of one in eight another one."""
    other = np.exp(rng.uniform(np.log(3), np.log(max(4, T / 2)), R)).astype(int).clip(2)
    strange = (rng.random(R) < 0.12) | (season == 1)
    return np.where(strange, other, season)


def _seasonal(rng: np.random.Generator, R: int, T: int, season: Array) -> Array:
    """A profile repeated, of few or many harmonics, of steps, of a peak or of a saw, drifting
    slowly in size."""
    t = np.arange(T)[None] + rng.integers(0, 10_000, (R, 1))
    phase = (t % season[:, None]) / season[:, None]  # (R, T) in [0, 1)
    harmonics = 6
    decay = rng.uniform(0.3, 2.5, (R, 1))
    weight = rng.normal(size=(R, harmonics)) / np.arange(1, harmonics + 1) ** decay
    shift = rng.uniform(0, 1, (R, harmonics))
    waves = np.zeros((R, T))
    for number in range(harmonics):
        waves += weight[:, [number]] * np.cos(
            2 * np.pi * ((number + 1) * phase + shift[:, [number]])
        )
    centre, width = rng.uniform(0, 1, (R, 1)), rng.uniform(0.02, 0.15, (R, 1))
    away = np.abs((phase - centre + 0.5) % 1 - 0.5)
    peak = np.exp(-0.5 * (away / width) ** 2)
    saw = (phase + centre) % 1
    square = (away < rng.uniform(0.1, 0.4, (R, 1))).astype(float)
    free = _free_profile(rng, R, season, t)
    day = np.maximum(np.cos(2 * np.pi * (phase - centre)) + rng.uniform(-0.5, 0.5, (R, 1)), 0)
    kinds = [waves, peak, saw, square, free, day, waves + 2 * peak]
    of = [0.34, 0.08, 0.06, 0.06, 0.24, 0.08, 0.14]
    kind = rng.choice(len(kinds), (R, 1), p=of)
    found = _unit(np.select([kind == n for n in range(len(kinds))], kinds))
    turns = rng.uniform(0.2, 3.0, (R, 1))
    drift = _with(rng, R, 0.4) * rng.uniform(0, 0.6, (R, 1))
    return found * (1 + drift * np.sin(2 * np.pi * turns * _time(T) + rng.uniform(0, 6.3, (R, 1))))


def _free_profile(rng: np.random.Generator, R: int, season: Array, t: Array) -> Array:
    """A value of its own for each phase, smoothed or not."""
    most = int(season.max())
    profile = rng.normal(size=(R, most))
    smooth = rng.random((R, 1)) < 0.6
    profile = np.where(smooth, profile.cumsum(-1), profile)
    # the walk closes where the season ends
    last = np.take_along_axis(profile, season[:, None] - 1, axis=-1)
    profile -= np.where(smooth, last * np.arange(most) / season[:, None], 0.0)
    return np.take_along_axis(profile, t % season[:, None], axis=-1)


def _jumps(rng: np.random.Generator, R: int, T: int) -> Array:
    """Levels that change at a few random steps."""
    at = rng.random((R, T)) < rng.uniform(0.5, 3.0, (R, 1)) / T
    return (at * rng.normal(0, 1.5, (R, T))).cumsum(-1)


def _spikes(rng: np.random.Generator, R: int, T: int) -> Array:
    """Single steps far from the others."""
    at = rng.random((R, T)) < np.exp(rng.uniform(np.log(0.002), np.log(0.03), (R, 1)))
    sign = np.where(
        rng.random((R, 1)) < 0.5, np.abs(rng.normal(4, 2, (R, T))), rng.normal(0, 4, (R, T))
    )
    return at * sign


def _bent(rng: np.random.Generator, values: Array, season: int) -> Array:
    """As they are; exponents, as of what multiplies; cut off at a floor; squares; whole numbers."""
    R = len(values)
    kind = rng.choice(5, (R, 1), p=[0.62, 0.2, 0.07, 0.05, 0.06])
    unit = _unit(values)
    power = rng.uniform(0.1, 0.9, (R, 1))
    exponent = np.exp(np.clip(power * unit, -6, 6))
    floor = np.maximum(unit, np.quantile(unit, rng.uniform(0.05, 0.6), axis=-1, keepdims=True))
    square = np.sign(unit) * unit**2
    whole = np.round(unit * np.exp(rng.uniform(0, 3, (R, 1))))
    return np.select([kind == n for n in range(5)], [unit, exponent, floor, square, whole])


def _counts(rng: np.random.Generator, values: Array) -> Array:
    """Counts whose rates the series are, many of them 0."""
    rate = np.exp(np.clip(_unit(values), -3, 3) + rng.uniform(-2, 2, (len(values), 1)))
    found = rng.poisson(np.clip(rate, 0, 1e4)).astype(float)
    return found * (rng.random(found.shape) < rng.choice([1.0, 0.5, 0.2], (len(values), 1)))
