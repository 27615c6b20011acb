"""Products of contexts and targets, summed over windows without building them.

For windows that slide by one step, the sum of x[i] x[j] is a difference of two running sums of
v[t] v[t + j - i], one running sum for each lag. So all windows of a long table cost as much as one
pass over it for each lag, and nothing is left out. The few windows of a short series are built and
multiplied, which is quicker. Processes that train together share the lags.

Shape legend: `convtimenet._shapes`; K = L + H steps of a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from convtimenet import processes
from convtimenet.data.windows import Windows
from convtimenet.files.maps import CHUNK, blocks, empty

__all__ = ["Series", "Sums", "read_rows", "runs_of", "series_of", "sums_over"]

_MOST = 4 * 10**8
"""Running sums read for one set of windows; of more, series are left out, evenly spaced."""
_FEW = 2**20
"""Numbers in the windows of a series up to which they are built."""


@dataclass(frozen=True, eq=False)
class Series:
    """One channel of the series that windows are cut from.

    Attributes
    ----------
    values
        (T,) float64, gaps inside a series filled by interpolation, 0 in rows of no window.
    whole
        (T,) whether the value is known or filled: between the first and the last known one.
    known
        (T,) whether it is known: contexts end with a known value, so that no gap is filled from
        values behind the end of its context.
    targets
        (T,) the values as targets: of one that is missing the next known one of its phase of the
        season, or the next one, which tells of the future as it would, and not of the context.
    """

    values: np.ndarray
    whole: np.ndarray
    known: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over windows of products of their values, before any centring.

    Attributes
    ----------
    products
        (K, K), for each pair of steps of the window.
    count
        Windows of one channel.
    context
        L
    """

    products: np.ndarray
    count: int
    context: int

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.products + other.products, self.count + other.count, self.context)

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.products - other.products, self.count - other.count, self.context)

    def shortened(self, context: int) -> Sums:
        """The same targets with only the last `context` steps before them."""
        cut = self.context - context
        return Sums(self.products[cut:, cut:], self.count, context)

    def centred(
        self, weights: np.ndarray, steps: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums after a centre of each context was subtracted from its window.

        Parameters
        ----------
        weights
            (L,) that give the centre: 1 / L each for the mean.
        steps
            (n,) steps ahead, from 0.

        Returns
        -------
        square, cross, targets
            (L, L) and (L, n) products of context with context and with targets, (n,) squared
            targets.
        """
        L = self.context
        inside, between = self.products[:L, :L], self.products[:L, L + steps]
        by_centre = inside @ weights  # (L,) context times centre
        own = float(weights @ by_centre)
        square = inside - by_centre[:, None] - by_centre + own
        of_targets = weights @ between
        cross = between - by_centre[:, None] - of_targets + own
        ahead = self.products[L + steps, L + steps]
        return square, cross, np.maximum(ahead - 2 * of_targets + own, 0.0)


def read_rows(windows: Windows) -> np.ndarray:
    """(C, T) the known values of the rows that windows lie in."""
    read = empty((windows.values.shape[1],), bool, windows.mapped)
    read[:] = False
    K = windows.context_length + windows.horizon
    for first, last in zip(*runs_of(windows.starts.cpu().numpy()), strict=True):
        read[first : last + K] = True
    if windows.mask is None:
        return np.broadcast_to(read, windows.values.shape)
    known = empty(windows.values.shape, bool, windows.mapped)
    for one in blocks(len(read)):
        known[:, one] = read[one] & windows.mask[:, one].cpu().numpy()
    return known


def series_of(windows: Windows, season: int) -> list[Series]:
    """The channels of the rows that windows lie in. Nothing outside those rows is read."""
    K = windows.context_length + windows.horizon
    runs = list(zip(*runs_of(windows.starts.cpu().numpy()), strict=True))
    found = []
    for values, seen in zip(windows.values, read_rows(windows), strict=True):
        filled = empty(seen.shape, np.float64, windows.mapped)
        for rows in blocks(len(seen)):
            filled[rows] = np.where(seen[rows], values[rows].cpu().double().numpy(), 0.0)
        if windows.mask is None:
            found.append(Series(filled, seen, seen, filled))
            continue
        whole = empty(seen.shape, bool, windows.mapped)
        whole[:], targets = seen, filled
        for first, last in runs:
            rows = np.flatnonzero(seen[first : last + K]) + first
            if len(rows) and len(rows) < rows[-1] + 1 - rows[0]:
                inner = np.arange(rows[0], rows[-1] + 1)
                if targets is filled:  # without gaps they are one, and are summed over once
                    targets = empty(seen.shape, np.float64, windows.mapped)
                    targets[:] = filled
                targets[inner] = filled[rows[0] + _next_known(seen[inner], season)]
                filled[inner] = np.interp(inner, rows, values[rows].cpu().double().numpy())
                whole[inner] = True
        found.append(Series(filled, whole, seen, targets))
    return found


def _next_known(known: np.ndarray, season: int) -> np.ndarray:
    """For each of the rows (n,), the last of which is known, the known one that stands for it as a
    target: itself, or the next one in its phase of the season, unless that is more than two
    seasons behind the next one."""
    n = len(known)
    own = np.where(known, np.arange(n), n)
    after = np.minimum.accumulate(own[::-1])[::-1]
    if season < 2:
        return after
    rows = np.full(-(-n // season) * season, n)
    rows[:n] = own
    phase = np.minimum.accumulate(rows.reshape(-1, season)[::-1], axis=0)[::-1].reshape(-1)[:n]
    return np.where(phase <= np.minimum(after + 2 * season, n - 1), phase, after)


def sums_over(
    series: Sequence[Series], sets: Sequence[np.ndarray], context: int, horizon: int
) -> list[Sums]:
    """Sums over sets of windows, each given by their sorted first steps (n,); windows that are not
    whole in a channel, or whose context does not end with a known value, are left out there.

    Running sums are computed for some rows at once, between windows, and go on from one block of
    rows to the next. Of several processes each computes some of the lags, so the sums are those of
    one process to the last bit.

    Raises
    ------
    ProcessError
        If another process has other windows, or is gone.
    """
    K = context + horizon
    described = {"steps": K, "channels": len(series), "windows": [len(one) for one in sets]}
    processes.check_same("the data or the settings", described)
    lags = range(processes.rank(), K, processes.count())
    totals = [np.zeros((K, K)) for _ in sets]
    counts = [0] * len(sets)
    steps = np.arange(K)
    ahead = steps - steps[:, None]
    mine = (ahead >= 0) & (ahead % processes.count() == processes.rank())
    for one in series:
        usable = [_usable(one, starts, context, K) for starts in sets]
        if sum(map(len, usable)) * K <= _FEW:
            for number, starts in enumerate(usable):
                counts[number] += len(starts)
                totals[number] += np.where(mine, _products(one, starts, context, horizon), 0.0)
            continue
        bounds = []
        for number, starts in enumerate(usable):
            first, last = runs_of(starts)
            most = max(1, _MOST // (K * K))
            if len(first) > most:
                chosen = np.linspace(0, len(first) - 1, most).round().astype(np.int64)
                first, last = first[chosen], last[chosen]
            counts[number] += int((last - first + 1).sum())
            bounds.append((first, last + 1))
        own = [[_Rows() for _ in range(K)] for _ in sets]
        pairs = [(one.values, one.values)]
        if one.targets is not one.values:
            pairs += [(one.values, one.targets), (one.targets, one.targets)]
        before = np.zeros((len(pairs), K))
        for begin, end in pairwise(_cuts(bounds, K, len(one.values))):
            read = [[np.asarray(of[begin : end + K]) for of in pair] for pair in pairs]
            within = []
            for first, last in bounds:
                a, b = np.searchsorted(first, (begin, end))
                within.append((first[a:b] - begin, last[a:b] - begin))
            for lag in lags:
                sums = []
                for number, (values, others) in enumerate(read):
                    ahead = others[lag : lag + end - begin]
                    running = np.concatenate(
                        [before[number, lag : lag + 1], values[: len(ahead)] * ahead]
                    )
                    np.cumsum(running, out=running)
                    before[number, lag] = running[-1]
                    sums.append(running)
                # pairs of steps within the context, of the context and the horizon, within that
                cuts = [0, K - lag]
                if len(pairs) > 1:
                    cuts = [0, max(0, context - lag), min(context, K - lag), K - lag]
                for rows, (first, last) in zip(own, within, strict=True):
                    if len(first):
                        parts = [
                            _between(running, first, last, low, high)
                            for running, (low, high) in zip(sums, pairwise(cuts), strict=True)
                        ]
                        rows[lag].add(np.concatenate(parts, axis=1) if parts[1:] else parts[0])
        for total, rows in zip(totals, own, strict=True):
            for lag in lags:
                steps = np.arange(K - lag)
                total[steps, steps + lag] += rows[lag].sum()
    totals = [*processes.summed(np.stack(totals))]
    for total in totals:
        lower = np.tril_indices(K, -1)
        total[lower] = total.T[lower]
    return [Sums(total, count, context) for total, count in zip(totals, counts, strict=True)]


def _products(series: Series, starts: np.ndarray, context: int, horizon: int) -> np.ndarray:
    """(K, K) sums over the windows that start at these steps, from the windows themselves."""
    at = starts[:, None] + np.arange(context + horizon)
    windows = series.values[at]
    windows[:, context:] = series.targets[at[:, context:]]
    return windows.T @ windows


class _Rows:
    """The sum of the rows of a matrix that comes in parts, in the same order of additions as that
    of the whole."""

    def __init__(self):
        self.parts: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        if rows.shape[1] == 1:  # numpy adds a single column in pairs
            self.parts.append(rows)
        else:
            self.parts = [np.concatenate([*self.parts, rows]).sum(0, keepdims=True)]

    def sum(self) -> np.ndarray | float:
        return np.concatenate(self.parts).sum(0) if self.parts else 0.0


def _usable(series: Series, starts: np.ndarray, context: int, K: int) -> np.ndarray:
    """The windows without a gap that is not filled, whose contexts end with a known value."""
    found = []
    for some in blocks(len(starts)):
        own = starts[some]
        begin = own[0]
        gaps = np.concatenate([[0], np.cumsum(~series.whole[begin : own[-1] + K])])
        whole = gaps[own + K - begin] == gaps[own - begin]
        found.append(own[whole & series.known[own + context - 1]])
    if sum(map(len, found)) == len(starts):
        return starts
    return np.concatenate(found)


def _cuts(bounds: Sequence[tuple[np.ndarray, np.ndarray]], K: int, rows: int) -> list[int]:
    """Rows to cut a series at, `CHUNK` or more apart, where no window of any run [first, end) lies
    on both sides."""
    first = np.concatenate([one for one, _ in bounds])
    order = np.argsort(first, kind="stable")
    reach = np.concatenate([end for _, end in bounds])[order] - 1 + K
    first, reach = first[order], np.maximum.accumulate(reach)
    between = first[1:][first[1:] >= reach[:-1]]
    found = [0]
    while len(between):
        between = between[np.searchsorted(between, found[-1] + CHUNK) :]
        found += between[:1].tolist()
    return [*found, rows]


def runs_of(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last of each run of consecutive numbers."""
    if not len(starts):
        return starts, starts
    gap = np.empty(len(starts) - 1, dtype=bool)
    for one in blocks(len(gap)):
        gap[one] = np.diff(starts[one.start : one.stop + 1]) != 1
    return starts[np.append(True, gap)], starts[np.append(gap, True)]


def _between(
    running: np.ndarray, first: np.ndarray, end: np.ndarray, low: int, high: int
) -> np.ndarray:
    """Sums over windows first to end - 1 of each run, (runs, n) for the steps from low to high."""
    if len(first) == 1:
        f, e = int(first[0]), int(end[0])
        return (running[e + low : e + high] - running[f + low : f + high])[None]
    steps = np.arange(low, high)
    return running[end[:, None] + steps] - running[first[:, None] + steps]
