"""What a linear map of the context is solved towards, and how firmly.

The map minimises the squared errors of the training windows plus a penalty on its distance from a
simple forecast: with little data it is that forecast (the last value, the last season, exponential
smoothing), with much data it is least squares. Simple forecast and penalty have the smallest
squared error over five blocks of windows, each predicted by a map fitted to the others without
their neighbours (Bergmeir, Hyndman and Koo, 2018, on why that is valid for autoregression). Errors
count in the units of the training loss.

Shape legend: `convtimenet._shapes`; n windows of one channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from convtimenet.data.windows import Windows
from convtimenet.files.maps import among, blocks
from convtimenet.training.closed_form.classical import repeated, smoothed, smoothings
from convtimenet.training.closed_form.sliding import Series, Sums, series_of, sums_over

__all__ = ["PENALTIES", "Search", "Start", "best_start", "surely", "views"]

PENALTIES = tuple(10.0**power for power in range(-1, 7))
_BLOCKS = 5
_STEPS = 24  # steps of the horizon that the choice is made by
_AVERAGED = 8  # of the best smoothing forecasts
_HORIZONS = 8  # windows that do not overlap; fewer cannot tell contexts or channels apart


@dataclass(frozen=True, eq=False)
class Start:
    """What the map is solved towards, and how firmly.

    Attributes
    ----------
    name
        Of the simple forecast.
    weight
        (L, H) its map.
    penalty
        On the squared distance; infinite for the simple forecast itself.
    errors
        Squared error in each block, as parts of the mean over all, in the units of the training
        loss.
    context
        L
    maps
        The maps that predicted the blocks, each for some steps of the horizon.
    """

    name: str
    weight: np.ndarray
    penalty: float
    errors: np.ndarray
    context: int
    maps: list[np.ndarray]

    @property
    def error(self) -> float:
        """Mean squared error over the blocks."""
        return float(self.errors.sum())


def views(context: int, season: int) -> list[int]:
    """Ends of a context that a forecast may average over: a quarter and a half, but two and four
    seasons at least, and the whole."""
    short = (max(2 * season, context // 4), max(4 * season, context // 2), context)
    return sorted({max(1, min(context, own)) for own in short})


def best_start(windows: Sequence[Windows], season: int, subtract_last: bool = False) -> Start:
    """The simple forecast, the penalty and the context with the smallest error over the blocks; one
    of the later contexts only if it is `surely` better.

    Parameters
    ----------
    windows
        All training windows of each context, in the order of preference. Errors are those of the
        targets that the longest context has too; the other windows only help to predict them.
    """
    longest = max(windows, key=lambda own: own.context_length)
    search = Search(series_of(longest, season), longest, season, subtract_last)
    if len(longest) * len(longest.values) < _HORIZONS * longest.horizon:
        windows = windows[:1]
    # channels of one table err together: with few horizons in time the blocks are too much alike
    asked = 0.5 if len(longest) >= _HORIZONS * longest.horizon else 1.0
    chosen: Start | None = None
    for own in windows:
        found = search.best(own.context_length, own)
        if chosen is None or surely(chosen.errors - found.errors, asked):
            chosen = found
    assert chosen is not None
    return chosen


def surely(gains: np.ndarray, standard_errors: float) -> bool:
    """Whether a gain, given by block (n,), exceeds so many of its standard errors."""
    return bool(gains.sum() > standard_errors * gains.std() * len(gains) ** 0.5)


class Search:
    """The blocks of some windows, and what is solved from them."""

    def __init__(
        self,
        series: Sequence[Series],
        windows: Windows,
        season: int,
        subtract_last: bool,
    ):
        """
        Parameters
        ----------
        series
            The channels to read, of those that `series_of` gives for the windows.
        """
        L, H = windows.context_length, windows.horizon
        self.horizon, self.season, self.subtract_last = H, season, subtract_last
        steps = np.linspace(0, H - 1, min(H, _STEPS)).round().astype(np.int64)
        self.steps = np.unique(steps)
        starts = windows.starts.cpu().numpy()
        parts = np.array_split(starts, min(_BLOCKS, len(starts)))
        self.starts, self.context = starts, L
        self.targets = [(int(part[0]) + L, int(part[-1]) + L) for part in parts]
        borders = [
            starts[near & ((starts < part[0]) | (starts > part[-1]))]
            for part, near in zip(parts, self._near(starts, L), strict=True)
        ]
        found = sums_over(series, [*parts, *borders], L, H)
        blocks, borders = found[: len(parts)], found[len(parts) :]
        self.total = sum(blocks[1:], start=blocks[0])
        others = [self.total - one - near for one, near in zip(blocks, borders, strict=True)]
        self.penalties = PENALTIES
        self.folds = list(zip(blocks, others, strict=True))
        """Each block, and what it is predicted from."""
        if any(one.count < 1 for one in others):  # too few to learn anything from
            self.folds, self.penalties = [(self.total, self.total)], ()

    def _near(self, starts: np.ndarray, L: int) -> Iterator[np.ndarray]:
        """For each block, whether the targets of windows (n,) with a context of L steps overlap its
        own."""
        away = L + self.horizon
        for first, last in self.targets:
            yield (starts > first - away) & (starts < last - L + self.horizon)

    def best(self, L: int, windows: Windows | None = None) -> Start:
        """The best simple forecast and penalty for a context of L steps; the blocks are predicted
        also from what windows of that context have beside the targets of the blocks."""
        if not self.total.count:
            nothing = np.zeros((L, self.horizon))
            return Start("the mean of the context", nothing, np.inf, np.array([np.nan]), L, [])
        grid = _smoothing_maps(L, self.steps, self.season)
        errors: dict[tuple[str, float], list[float]] = {}
        maps: dict[tuple[str, float], list[np.ndarray]] = {}
        for block, others in self._folds(L, windows):
            known, scored = self._centred(others, L), self._centred(block, L)
            spectrum = np.linalg.eigh(known.square) if self.penalties else None
            simple = self._simple(L, self.steps, grid[known.best_of(grid)])
            found = {(name, np.inf): start for name, start in simple.items()}
            if spectrum is not None:
                for name, start in simple.items():
                    solved = known.solutions(start, self.penalties, spectrum)
                    found |= {(name, penalty): one for penalty, one in solved.items()}
            for which, error in zip(found, scored.errors([*found.values()]), strict=True):
                errors.setdefault(which, []).append(error)
                maps.setdefault(which, []).append(found[which])
        name, penalty = best = min(errors, key=lambda one: sum(errors[one]))
        ahead = np.arange(self.horizon)
        chosen = self._centred(self.total, L).best_of(grid)
        smooth = _smoothing_maps(L, ahead, self.season, chosen)
        everything = self._simple(L, ahead, smooth)[name]
        mean = np.array(errors[best]) / self.total.count / len(self.steps)
        return Start(name, everything, penalty, mean, L, maps[best])

    def _folds(self, L: int, windows: Windows | None) -> list[tuple[Sums, Sums]]:
        """The folds with further examples beside what each block is predicted from."""
        if windows is None or not self.penalties:
            return self.folds
        starts = windows.starts.cpu().numpy()
        early = np.concatenate(
            [
                starts[one][~among(starts[one] + (L - self.context), self.starts)]
                for one in blocks(len(starts))
            ]
        )
        if not len(early):
            return self.folds
        sets = [early, *(early[near] for near in self._near(early, L))]
        more, *overlapping = sums_over(series_of(windows, self.season), sets, L, self.horizon)
        return [
            (block.shortened(L), others.shortened(L) + more - near)
            for (block, others), near in zip(self.folds, overlapping, strict=True)
        ]

    def towards(
        self, L: int, starts: Sequence[tuple[np.ndarray, Sequence[np.ndarray]]]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The map (L, H) of these series, solved towards one of others, and its gain (blocks,) in
        squared error over the first of them; None if there is too little to solve from.

        Parameters
        ----------
        starts
            Maps (L, H) to solve towards, each with the maps (L, n) that stand for it in the blocks.
        """
        if self.total.count < _HORIZONS * self.horizon or not self.penalties:
            return None
        errors: dict[tuple[int, float], list[float]] = {}
        for number, (block, others) in enumerate(self.folds):
            known, scored = self._centred(others, L), self._centred(block, L)
            spectrum = np.linalg.eigh(known.square)
            found: dict[tuple[int, float], np.ndarray] = {}
            for which, (_, maps) in enumerate(starts):
                solved = known.solutions(maps[number], self.penalties, spectrum)
                found[which, np.inf] = maps[number]
                found |= {(which, penalty): one for penalty, one in solved.items()}
            for one, error in zip(found, scored.errors([*found.values()]), strict=True):
                errors.setdefault(one, []).append(error)
        which, penalty = best = min(errors, key=lambda one: sum(errors[one]))
        gain = np.subtract(errors[0, np.inf], errors[best])
        return self._solved(self.total, L, starts[which][0], penalty), gain

    def errors_of(self, maps: Sequence[np.ndarray]) -> np.ndarray:
        """`Start.errors` of maps (L, n), one for each block."""
        found = [
            self._centred(block, len(one)).errors([one])[0]
            for (block, _), one in zip(self.folds, maps, strict=True)
        ]
        return np.array(found) / max(1, self.total.count) / len(self.steps)

    def mean(self, maps: Sequence[np.ndarray], L: int) -> np.ndarray:
        """The mean of maps of ends of a context, as a map (L, n) of all of it."""
        total = np.zeros((L, maps[0].shape[1]))
        for one in maps:
            # the centre of an end is linear in it too: its weights make the sum 1
            raw = one + (1 - one.sum(0)) * self.centre(len(one))[:, None]
            total[L - len(one) :] += raw / len(maps)
        return total

    def solution(self, start: Start) -> np.ndarray:
        """The map (L, H) solved from all blocks."""
        return self._solved(self.total, start.context, start.weight, start.penalty)

    def _solved(self, sums: Sums, L: int, start: np.ndarray, penalty: float) -> np.ndarray:
        if np.isinf(penalty):
            return start
        centred = self._centred(sums, L, np.arange(self.horizon))
        return centred.solutions(start, [penalty], np.linalg.eigh(centred.square))[penalty]

    def _centred(self, sums: Sums, L: int, steps: np.ndarray | None = None) -> _Centred:
        steps = self.steps if steps is None else steps
        return _Centred(*sums.shortened(L).centred(self.centre(L), steps))

    def centre(self, L: int) -> np.ndarray:
        """Weights (L,) of the context's values in its centre."""
        return np.eye(L)[-1] if self.subtract_last else np.full(L, 1 / L)

    def _simple(self, L: int, ahead: np.ndarray, smooth: np.ndarray) -> dict[str, np.ndarray]:
        """The simple forecasts (L, n) for some steps ahead, with the best exponential smoothings
        (P, L, n)."""
        found = {"the mean of the context": repeated("mean", L, ahead, 1)}
        found["the last value"] = repeated("last", L, ahead, 1)
        if 1 < self.season <= L:
            found["the last season"] = repeated("season", L, ahead, self.season)
            found["the mean of the last season"] = repeated("season mean", L, ahead, self.season)
        found["exponential smoothing"] = smooth[0]
        found["a mean of exponential smoothings"] = smooth.mean(0)
        return found


@dataclass(frozen=True, eq=False)
class _Centred:
    """`Sums.centred`."""

    square: np.ndarray
    cross: np.ndarray
    targets: np.ndarray

    def errors(self, maps: Sequence[np.ndarray]) -> list[float]:
        """Sums of squared errors of maps (L, n), from one product of matrices: one for each map
        would read `square` as often."""
        found = np.split(self.square @ np.concatenate(maps, axis=1), len(maps), axis=1)
        fitted = [
            (one * (product - 2 * self.cross)).sum()
            for one, product in zip(maps, found, strict=True)
        ]
        return np.maximum(fitted + self.targets.sum(), 0.0).tolist()

    def best_of(self, grid: np.ndarray) -> list[int]:
        """The best few maps of a grid (P, L, n)."""
        return np.argsort(self.errors([*grid]), kind="stable")[:_AVERAGED].tolist()

    def solutions(
        self, start: np.ndarray, penalties: Sequence[float], spectrum: tuple[np.ndarray, np.ndarray]
    ) -> dict[float, np.ndarray]:
        """The maps that minimise the squared errors plus each penalty on the distance from
        `start`, from the eigenvalues and eigenvectors of `square`."""
        values, vectors = spectrum
        left = vectors.T @ (self.cross - self.square @ start)
        values = values.clip(min=0)[:, None]
        parts = vectors @ np.concatenate([left / (values + one) for one in penalties], axis=1)
        found = np.split(parts, len(penalties), axis=1)
        return {one: start + part for one, part in zip(penalties, found, strict=True)}


def _smoothing_maps(
    L: int, ahead: np.ndarray, season: int, chosen: list[int] | None = None
) -> np.ndarray:
    """(P, L, n) the exponential smoothing forecasts of the grid, or those chosen from it."""
    kinds = [smoothings(False)] + ([smoothings(True)] if season > 1 and 2 * season <= L else [])
    numbers = range(sum(map(len, kinds))) if chosen is None else chosen
    found: dict[int, np.ndarray] = {}
    first = 0
    for grid in kinds:
        own = [number for number in numbers if first <= number < first + len(grid)]
        if own:
            maps = smoothed([grid[number - first] for number in own], L, ahead, season)
            found |= dict(zip(own, maps, strict=True))
        first += len(grid)
    return np.stack([found[number] for number in numbers])
