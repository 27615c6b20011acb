"""Quantiles of hidden values of series of any length, by the network that comes with the package.

Shape legend: `convtimenet._shapes`; n values that are asked for, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from convtimenet.config import ModelConfig
from convtimenet.devices import for_loading
from convtimenet.network.reconstruction.network import QUANTILES, SIZES, Reconstructor
from convtimenet.network.reconstruction.seasons import channels_of, long_season
from convtimenet.network.reconstruction.weights import load_pretrained
from convtimenet.progress import counted

__all__ = ["LONGEST", "REACH", "Row", "quantiles_of", "windows_of"]

LONGEST = 2048
"""Steps that the network reads at once."""
_STRIDE = 1536  # between windows of a longer series: a quarter of each is also in the next
_PATCH: int = SIZES["patch_size"]
_AT_ONCE = 2**16  # steps of a batch
_FARTHEST = 30.0  # deviations from the mean that are read
_LONG = LONGEST // 2  # steps of a gap in whose middle a window would hold too little
REACH = LONGEST // 4
"""Steps into a longer gap, from each of its ends, that the network is asked for."""
_FEWEST = 8  # known values that tell the level and the spread of a window


@dataclass(frozen=True, eq=False)
class Row:
    """A series of one channel, (T,), of which only the known steps are read, and the steps that
    are asked for."""

    values: np.ndarray
    known: np.ndarray
    asked: np.ndarray


class _Window(NamedTuple):
    row: int
    first: int
    end: int
    asked: np.ndarray
    """Steps of the row."""
    backwards: bool = False
    """Whether the last step is read first: the network sees far ahead, and less far back."""


class _LongGap(NamedTuple):
    first: int
    before: int
    """The end of what is answered from before it."""
    behind: int
    """The beginning of what is answered from behind it."""
    end: int


def quantiles_of(rows: Sequence[Row], season: int, device: torch.device) -> list[np.ndarray]:
    """Quantiles (n, Q) of the steps of each row that are asked for, each from the window in which
    it has most on both sides. Farther than `REACH` inside a gap that leaves a window too little to
    read, the season of what is answered goes on."""
    gaps = [_long_gaps(row) for row in rows]
    near = [_near(row, of) if of else row for row, of in zip(rows, gaps, strict=True)]
    found = _read(near, season, device)
    return [
        _carried_on(row, read.asked, answers, of, season) if of else answers
        for row, read, answers, of in zip(rows, near, found, gaps, strict=True)
    ]


def _read(rows: Sequence[Row], season: int, device: torch.device) -> list[np.ndarray]:
    """The network's quantiles (n, Q)."""
    starts = [np.cumsum(row.asked) - 1 for row in rows]
    found = [np.empty((int(row.asked.sum()), len(QUANTILES))) for row in rows]
    windows = [one for number, row in enumerate(rows) for one in windows_of(number, row)]
    network = _network(str(device))
    with torch.inference_mode():
        for batch in counted(list(_batches(windows))):
            answers = _answers(network, rows, batch, season, device)
            for one, answer in zip(batch, answers, strict=True):
                # counted from the end, where all windows of a batch agree
                at = one.first - 1 - one.asked if one.backwards else one.asked - one.end
                found[one.row][starts[one.row][one.asked]] = answer[:, at].T
    return found


@cache
def _network(device: str) -> Reconstructor:
    with for_loading():
        network = Reconstructor(ModelConfig.forecasting(context_length=LONGEST, horizon=1, **SIZES))
    load_pretrained(network)
    return network.eval().to(device)


def windows_of(number: int, row: Row) -> Iterator[_Window]:
    """The windows of a row that are needed."""
    T, asked = len(row.values), row.asked.copy()
    for gap in _long_gaps(row):
        # as much of what is known as a window holds
        for steps, first, backwards in (
            (np.arange(gap.first, gap.before), gap.before - LONGEST, False),
            (np.arange(gap.behind, gap.end), gap.behind, True),
        ):
            asked[steps] = False
            if len(steps):
                yield _Window(number, max(0, first), min(T, first + LONGEST), steps, backwards)
    asked = np.flatnonzero(asked)
    starts = np.array([*range(0, max(1, T - LONGEST), _STRIDE), max(0, T - LONGEST)])
    starts = np.unique(starts)
    # the window in whose middle a step is; of two the first
    middles = starts + min(T, LONGEST) / 2
    nearest = np.searchsorted((middles[1:] + middles[:-1]) / 2, asked)
    parts = np.split(asked, np.searchsorted(nearest, range(1, len(starts))))
    for first, own in zip(starts.tolist(), parts, strict=True):
        if len(own):
            yield _Window(number, first, min(T, first + LONGEST), own)


def _long_gaps(row: Row) -> list[_LongGap]:
    """The gaps of a row that are longer than `_LONG` and have steps that are asked for."""
    change = np.diff(row.known.astype(np.int8), prepend=1, append=1)
    first, end = np.flatnonzero(change == -1), np.flatnonzero(change == 1)
    asked, T = np.concatenate([[0], np.cumsum(row.asked)]), len(row.known)
    long = (end - first > _LONG) & (asked[end] > asked[first]) & row.known.any()
    return [
        _LongGap(a, a + REACH if a > 0 else a, b - REACH if b < T else b, b)
        for a, b in zip(first[long].tolist(), end[long].tolist(), strict=True)
    ]


def _near(row: Row, gaps: Sequence[_LongGap]) -> Row:
    """The row with the steps that the network is asked for: of long gaps those near their ends."""
    asked = row.asked.copy()
    for gap in gaps:
        asked[gap.first : gap.end] = True
        asked[gap.before : gap.behind] = False
    return replace(row, asked=asked)


def _carried_on(
    row: Row, answered: np.ndarray, answers: np.ndarray, gaps: Sequence[_LongGap], season: int
) -> np.ndarray:
    """Quantiles (n, Q) of all that is asked for: inside long gaps the values of the same phase on
    both sides, each the more the nearer it is, with the spread of what is answered there."""
    middle = QUANTILES.index(0.5)
    median, offsets = row.values.astype(np.float64), np.zeros((len(row.known), len(QUANTILES)))
    median[answered] = answers[:, middle]
    offsets[answered] = answers - answers[:, [middle]]
    there, short = row.known | answered, season if season <= REACH else 1
    for gap in gaps:
        a, b = gap.before, gap.behind
        sides = []
        if gap.first < a:
            near = slice(a - REACH, a)
            sides.append((
                _again(median[:a], there[:a], season, b - a),
                _again(offsets[near], answered[near], short, b - a),
            ))  # fmt: skip
        if b < gap.end:
            near = slice(b, b + REACH)
            sides.append((
                _again(median[b:][::-1], there[b:][::-1], season, b - a)[::-1],
                _again(offsets[near][::-1], answered[near][::-1], short, b - a)[::-1],
            ))  # fmt: skip
        later = np.arange(1, b - a + 1) / (b - a + 1)
        (level, spread), (other, spread_there) = sides[0], sides[-1]
        median[a:b] = level + later * (other - level)
        offsets[a:b] = spread + later[:, None] * (spread_there - spread)
    return median[row.asked, None] + offsets[row.asked]


def _again(values: np.ndarray, there: np.ndarray, season: int, steps: int) -> np.ndarray:
    """So many steps behind values (n, ...), by the latest one of the same phase that is there; the
    last one where a phase has none."""
    at = np.where(there, np.arange(len(there)), -1)
    at = np.pad(at, (-len(at) % season, 0), constant_values=-1).reshape(-1, season).max(0)
    return values[np.where(at < 0, at.max(), at)[np.arange(steps) % season]]


def _batches(windows: Sequence[_Window]) -> Iterator[list[_Window]]:
    """Windows of about the same length together, so that little is padded."""
    batch: list[_Window] = []
    for one in sorted(windows, key=lambda one: one.first - one.end):
        longest = batch[0].end - batch[0].first if batch else 0
        if batch and (len(batch) + 1) * longest > _AT_ONCE:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


def _answers(
    network: Reconstructor,
    rows: Sequence[Row],
    batch: Sequence[_Window],
    season: int,
    device: torch.device,
) -> np.ndarray:
    """Quantiles (B, Q, T) of the windows, in the units of their rows; all end at the same step."""
    T = -(-max(one.end - one.first for one in batch) // _PATCH) * _PATCH
    x, known = np.zeros((len(batch), T)), np.zeros((len(batch), T), dtype=bool)
    within = np.zeros((len(batch), T), dtype=bool)
    for i, one in enumerate(batch):
        row, here, step = rows[one.row], slice(one.first, one.end), -1 if one.backwards else 1
        known[i, one.first - one.end :] = row.known[here][::step]
        within[i, one.first - one.end :] = True
        x[i, one.first - one.end :] = row.values[here][::step]
    x[~known] = 0.0
    count = known.sum(-1, keepdims=True).clip(1)
    centre = x.sum(-1, keepdims=True) / count
    variance = (np.square(x - centre) * known).sum(-1, keepdims=True) / count
    for i in np.flatnonzero(known.sum(-1) < _FEWEST).tolist():
        # too few to tell what is usual in the row
        all_of_it = rows[batch[i].row].values[rows[batch[i].row].known]
        if len(all_of_it) > known[i].sum():
            centre[i], variance[i] = all_of_it.mean(), all_of_it.var()
        if len(all_of_it) < _FEWEST:
            variance[i] = 1.0  # about that of all that is known of the row, trial or not
    scale = np.sqrt(variance + 1e-10)
    scaled = np.where(known, (x - centre) / scale, 0.0).clip(-_FARTHEST, _FARTHEST)
    read = torch.from_numpy(scaled).float().to(device)
    seen, there = torch.from_numpy(known).to(device), torch.from_numpy(within).to(device)
    channels = channels_of(read, seen, (season, long_season(season)))
    answers = network(channels, there[:, None])[:, 0].cpu().double().numpy()
    return answers * scale[..., None] + centre[..., None]
