"""Products of contexts and targets, summed over windows without building them.

For windows that slide by one step, the sum of x[i] x[j] is a difference of two running sums of
v[t] v[t + j - i], one running sum for each lag. So all windows of a long table cost as much as one
pass over it for each lag, and nothing is left out.

Shape legend: `convtimenet._shapes`; K = L + H steps of a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convtimenet.data.windows import Windows

__all__ = ["Series", "Sums", "read_rows", "series_of", "sums_over"]

_MOST = 4 * 10**8
"""Running sums read for one set of windows; of more, series are left out, evenly spaced."""


@dataclass(frozen=True, eq=False)
class Series:
    """One channel of the series that windows are cut from.

    Attributes
    ----------
    values
        (T,) float64, gaps inside a series filled by interpolation, 0 in rows of no window.
    whole
        (T,) whether the value is known or filled: between the first and the last known one.
    """

    values: np.ndarray
    whole: np.ndarray


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
    read = np.zeros(windows.values.shape[1], dtype=bool)
    K = windows.context_length + windows.horizon
    for first, last in zip(*_runs(windows.starts.cpu().numpy()), strict=True):
        read[first : last + K] = True
    known = read & (True if windows.mask is None else windows.mask.cpu().numpy())
    return np.broadcast_to(known, windows.values.shape)


def series_of(windows: Windows) -> list[Series]:
    """The channels of the rows that windows lie in. Nothing outside those rows is read."""
    values = windows.values.cpu().double().numpy()
    K = windows.context_length + windows.horizon
    runs = list(zip(*_runs(windows.starts.cpu().numpy()), strict=True))
    found = []
    for one, seen in zip(values, read_rows(windows), strict=True):
        filled, whole = np.where(seen, one, 0.0), seen.copy()
        for first, last in runs if windows.mask is not None else ():
            rows = np.flatnonzero(seen[first : last + K]) + first
            if len(rows):
                inner = np.arange(rows[0], rows[-1] + 1)
                filled[inner] = np.interp(inner, rows, one[rows])
                whole[inner] = True
        found.append(Series(filled, whole))
    return found


def sums_over(
    series: Sequence[Series], sets: Sequence[np.ndarray], context: int, horizon: int
) -> list[Sums]:
    """Sums over sets of windows, each given by their sorted first steps (n,); windows that are not
    whole in a channel are left out there."""
    K = context + horizon
    totals = [np.zeros((K, K)) for _ in sets]
    counts = [0] * len(sets)
    for one in series:
        gaps = np.concatenate([[0], np.cumsum(~one.whole)])
        bounds = []
        for number, starts in enumerate(sets):
            first, last = _runs(starts[gaps[starts + K] == gaps[starts]])
            most = max(1, _MOST // (K * K))
            if len(first) > most:
                chosen = np.linspace(0, len(first) - 1, most).round().astype(np.int64)
                first, last = first[chosen], last[chosen]
            counts[number] += int((last - first + 1).sum())
            bounds.append((first, last + 1))
        for lag in range(K):
            ahead = one.values[lag:]
            running = np.concatenate([[0.0], np.cumsum(one.values[: len(ahead)] * ahead)])
            steps = np.arange(K - lag)
            for total, (first, end) in zip(totals, bounds, strict=True):
                total[steps, steps + lag] += _between(running, first, end, K - lag)
    for total in totals:
        lower = np.tril_indices(K, -1)
        total[lower] = total.T[lower]
    return [Sums(total, count, context) for total, count in zip(totals, counts, strict=True)]


def _runs(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last of each run of consecutive numbers."""
    if not len(starts):
        return starts, starts
    gap = np.diff(starts) != 1
    return starts[np.append(True, gap)], starts[np.append(gap, True)]


def _between(running: np.ndarray, first: np.ndarray, end: np.ndarray, n: int) -> np.ndarray:
    """Sums over windows first to end - 1 of each run, (n,) for the first n steps."""
    if len(first) == 1:
        f, e = int(first[0]), int(end[0])
        return running[e : e + n] - running[f : f + n]
    steps = np.arange(n)
    return (running[end[:, None] + steps] - running[first[:, None] + steps]).sum(0)
