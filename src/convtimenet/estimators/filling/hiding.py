"""Predictions of hidden values from the known ones around them, and how far the network is trusted.

A network that was trained on other series knows the shape of a gap better than its level, which
the values on both sides show. So the values beside a gap are hidden as well, and the network's
answer is taken apart: how it departs from the straight line between its own answers for these two,
and how that line differs from the one between the values. Linear interpolation has neither part.
Which share of each is added, known values that are hidden for trial decide.

Shape legend: `convtimenet._shapes`; n hidden values, Q quantiles, K kinds of gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import torch

from convtimenet.estimators.filling.windows import Row, quantiles_of
from convtimenet.estimators.forecasting.intervals import Bands
from convtimenet.network.reconstruction.network import QUANTILES
from convtimenet.network.reconstruction.pretrained import drift_of

__all__ = [
    "EDGE",
    "KINDS",
    "Hidden",
    "Predicted",
    "Shares",
    "alike",
    "better",
    "beyond",
    "digest",
    "drifting",
    "kinds_of",
    "predicted",
]

_LENGTHS = (1, 4, 12)  # longest gaps of a kind
EDGE = len(_LENGTHS) + 1
"""The kind of a gap that has values on one side only."""
KINDS = EDGE + 1
_GROUPS = 4  # of gaps, if hiding what is beside all of them would leave too little
_LEFT = 2 / 3  # of the known values, at least
_GRID = np.array([(a, b) for a in np.linspace(0, 1, 5) for b in np.linspace(0, 1, 5) if b <= a])
_OF_OTHERS = 64  # values of a row that count as much as those of all rows
_LEAST, _WORST = 1e-9, 2.0


@dataclass(frozen=True, eq=False)
class Hidden:
    """A series of one channel, (T,), in units in which its known values have about unit deviation.

    Attributes
    ----------
    row
        Its number; several of them may belong to one.
    known
        What is read.
    asked
        Steps to predict, none of them known.
    """

    row: int
    values: np.ndarray
    known: np.ndarray
    asked: np.ndarray


@dataclass(frozen=True, eq=False)
class Predicted:
    """Predictions of n hidden values, those of all series one after the other.

    Attributes
    ----------
    row, kind
        (n,) the row of each and the kind of its gap.
    line
        (n,) linear interpolation; the nearest value where there is one side only.
    bend, level
        (n,) the two parts of the network's answer: with both it is its median.
    offsets
        (n, Q) its quantiles around the median.
    """

    row: np.ndarray
    kind: np.ndarray
    line: np.ndarray
    bend: np.ndarray
    level: np.ndarray
    offsets: np.ndarray

    def some(self, at: np.ndarray) -> Predicted:
        """Those of a mask (n,)."""
        parts = self.row, self.kind, self.line, self.bend, self.level, self.offsets
        return Predicted(*(one[at] for one in parts))

    def moved(self, at: np.ndarray, others: Predicted) -> Predicted:
        """The same with the line and the parts of others at some places, a mask (n,) or numbers;
        offsets stay."""
        line, bend, level = self.line.copy(), self.bend.copy(), self.level.copy()
        line[at], bend[at], level[at] = others.line, others.bend, others.level
        return replace(self, line=line, bend=bend, level=level)

    def bands(self, shares: np.ndarray) -> Bands:
        """The prediction with shares (n, 2) of the two parts, and its spread."""
        point = self.line + shares[:, 0] * self.bend + shares[:, 1] * self.level
        found = torch.from_numpy((point[:, None] + self.offsets).T[None, None])
        return Bands(found, torch.ones(1, 1, 1, dtype=torch.float64), QUANTILES)


def kinds_of(missing: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First steps and ends of the gaps of a series, (T,) True where a value is missing, and the
    kind of each."""
    change = np.diff(missing.astype(np.int8), prepend=0, append=0)
    first, end = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    kind = np.searchsorted(_LENGTHS, end - first)
    return first, end, np.where((first == 0) | (end == len(missing)), EDGE, kind)


def digest(values: np.ndarray, known: np.ndarray) -> int:
    """A number that stands for a series (T,), whatever its units: for the steps that are known and
    the order of their values. What is drawn or added up by it does not depend on where in a table
    the series is."""
    order = np.argsort(values[known], kind="stable").astype("<i8")
    both = len(known).to_bytes(8, "little") + np.packbits(known).tobytes() + order.tobytes()
    return int.from_bytes(blake2b(both, digest_size=16).digest(), "little")


def alike(keys: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each of the keys (n,), and where it is."""
    order = np.argsort(keys, kind="stable")
    found, first = np.unique(keys[order], return_index=True)
    yield from zip(found.tolist(), np.split(order, first[1:]), strict=True)


def predicted(series: Sequence[Hidden], season: int, device: torch.device) -> Predicted:
    """Predictions of what is asked for."""
    parts = [(one, number) for number, one in enumerate(series) for one in _apart(one)]
    rows = [Row(one.values, *_widened(one)) for one, _ in parts]
    answers = quantiles_of(rows, season, device)
    found = [_parts(one, row, q) for (one, _), row, q in zip(parts, rows, answers, strict=True)]
    # the parts of a series are groups of its gaps: back into the order of the steps
    number = np.concatenate([np.full(len(f[0]), n) for (_, n), f in zip(parts, found, strict=True)])
    step, row, kind, line, bend, level, offsets = (
        np.concatenate(f) for f in zip(*found, strict=True)
    )
    order = np.lexsort((step, number))
    return Predicted(*(one[order] for one in (row, kind, line, bend, level, offsets)))


def drifting(series: Sequence[Hidden], season: int, device: torch.device) -> Predicted:
    """Predictions of what lies beyond the first and the last known value of each series, by the
    series without its drift, which is carried on in either direction."""
    flat, lines = [], []
    for one in series:
        steps = np.arange(len(one.values), dtype=np.float64)
        values, known = (torch.from_numpy(part)[None] for part in (one.values, one.known))
        end = int(np.flatnonzero(one.known)[-1]) + 1  # from which the halves are counted
        slope = float(drift_of(values[:, :end], known[:, :end], season))
        lines.append((slope * steps)[one.asked])
        flat.append(replace(one, values=np.where(one.known, one.values - slope * steps, 0.0)))
    found = predicted(flat, season, device)
    found = replace(found, line=found.line + np.concatenate(lines))
    return found.some(found.kind == EDGE)


def beyond(one: Hidden) -> bool:
    """Whether anything that is asked for lies beyond the first or the last known value."""
    seen = np.flatnonzero(one.known)
    return bool(one.asked[: seen[0]].any() or one.asked[seen[-1] :].any())


def _apart(one: Hidden) -> list[Hidden]:
    """The series, or several times the same with a part of its gaps asked for, where hiding what is
    beside all of them would leave too little."""
    known, _ = _widened(one)
    if known.sum() >= _LEFT * one.known.sum():
        return [one]
    first, end, _ = kinds_of(~one.known)
    gap = np.repeat(np.arange(len(first)), end - first)
    group = np.full(len(one.known), -1)
    group[~one.known] = gap % _GROUPS
    masks = [one.asked & (group == number) for number in range(_GROUPS)]
    return [Hidden(one.row, one.values, one.known, mask) for mask in masks if mask.any()]


def _widened(one: Hidden) -> tuple[np.ndarray, np.ndarray]:
    """What the network may read, and what it is asked: also the known values beside."""
    first, end, _ = kinds_of(~one.known)
    there = np.add.reduceat(one.asked.astype(int), first) > 0 if len(first) else first > 0
    # `reduceat` also counts known steps behind a gap, none of which is asked for
    beside = np.zeros(len(one.known), dtype=bool)
    beside[first[there & (first > 0)] - 1] = True
    beside[end[there & (end < len(one.known))]] = True
    known = one.known & ~beside
    return (known, one.asked | beside) if known.any() else (one.known, one.asked | beside)


def _parts(one: Hidden, row: Row, quantiles: np.ndarray) -> tuple[np.ndarray, ...]:
    """Steps, rows, kinds, line, bend, level and offsets of what is asked for."""
    asked = np.flatnonzero(row.asked)
    hidden = one.asked[asked]
    median = quantiles[:, QUANTILES.index(0.5)]
    step, beside = asked[hidden], asked[~hidden]
    seen = np.flatnonzero(one.known)
    line = np.interp(step, seen, one.values[seen])
    chord = np.interp(step, beside, median[~hidden])
    first, end, kind = kinds_of(~one.known)
    kind = np.repeat(kind, end - first)[one.asked[~one.known]]
    offsets = (quantiles - median[:, None])[hidden]
    return (
        step,
        np.full(len(step), one.row),
        kind,
        line,
        median[hidden] - chord,
        chord - line,
        offsets,
    )


@dataclass(frozen=True, eq=False)
class Shares:
    """Shares of the two parts of the network's answer, (rows, K, 2), by trial."""

    values: np.ndarray

    @classmethod
    def chosen(cls, tried: Predicted, truth: np.ndarray, rows: int) -> Shares:
        """Those with the smallest error for each row and kind of gap, relative to that of linear
        interpolation; rows with few trials lean on the others. Of equals, and without trials, the
        smallest."""
        bent = tried.line[:, None] + np.stack([tried.bend, tried.level], -1) @ _GRID.T
        error = np.abs(bent - truth[:, None])  # (n, grid)
        cell = tried.row * KINDS + tried.kind
        total = np.zeros((rows * KINDS, len(_GRID)))
        np.add.at(total, cell, error)
        count = np.bincount(cell, minlength=rows * KINDS).reshape(rows, KINDS, 1)
        relative = total.reshape(rows, KINDS, -1) / (total[:, :1].reshape(rows, KINDS, 1) + _LEAST)
        relative = relative.clip(max=_WORST)  # so that no row decides for the others
        tried_rows = (count > 0).sum(0).clip(1)
        of_all = np.where(count > 0, relative, 0.0).sum(0) / tried_rows
        own = count / (count + _OF_OTHERS)
        return cls(_GRID[(own * relative + (1 - own) * of_all).argmin(-1)])

    def of(self, found: Predicted) -> np.ndarray:
        """(n, 2) for each prediction."""
        return self.values[found.row, found.kind]

    def errors(self, tried: Predicted, truth: np.ndarray) -> np.ndarray:
        """(n,) how far each prediction is from the truth."""
        point = tried.line + (self.of(tried) * np.stack([tried.bend, tried.level], -1)).sum(-1)
        return np.abs(point - truth)


def better(errors: np.ndarray, than: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
    """(rows,) whether the errors (n,) of a row's trials are smaller than the others of the same
    trials; rows with few trials lean on the others, and those without have none."""
    mine, others = (np.bincount(row, weights=one, minlength=rows) for one in (errors, than))
    count = np.bincount(row, minlength=rows)
    relative = ((mine + _LEAST) / (others + _LEAST)).clip(1 / _WORST, _WORST)
    of_all = relative[count > 0].mean() if len(row) else 1.0
    own = count / (count + _OF_OTHERS)
    return (count > 0) & (own * relative + (1 - own) * of_all < 1.0)
