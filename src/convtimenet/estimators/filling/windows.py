"""Quantiles of hidden values of series of any length, by the network that comes with the package.

Shape legend: `convtimenet._shapes`; n values that are asked for, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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

__all__ = ["LONGEST", "Row", "quantiles_of", "windows_of"]

LONGEST = 2048
"""Steps that the network reads at once."""
_STRIDE = 1536  # between windows of a longer series: a quarter of each is also in the next
_PATCH: int = SIZES["patch_size"]
_AT_ONCE = 2**16  # steps of a batch
_FARTHEST = 30.0  # deviations from the mean that are read


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


def quantiles_of(rows: Sequence[Row], season: int, device: torch.device) -> list[np.ndarray]:
    """Quantiles (n, Q) of the steps of each row that are asked for, each from the window in which
    it has most on both sides."""
    starts = [np.cumsum(row.asked) - 1 for row in rows]
    found = [np.empty((int(row.asked.sum()), len(QUANTILES))) for row in rows]
    windows = [one for number, row in enumerate(rows) for one in windows_of(number, row)]
    network = _network(str(device))
    with torch.inference_mode():
        for batch in counted(list(_batches(windows))):
            answers = _answers(network, rows, batch, season, device)
            for one, answer in zip(batch, answers, strict=True):
                at = one.asked - one.end  # counted from the end, where all windows of a batch agree
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
    T, asked = len(row.values), np.flatnonzero(row.asked)
    starts = np.array([*range(0, max(1, T - LONGEST), _STRIDE), max(0, T - LONGEST)])
    starts = np.unique(starts)
    # the window in whose middle a step is; of two the first
    middles = starts + min(T, LONGEST) / 2
    nearest = np.searchsorted((middles[1:] + middles[:-1]) / 2, asked)
    parts = np.split(asked, np.searchsorted(nearest, range(1, len(starts))))
    for first, own in zip(starts.tolist(), parts, strict=True):
        if len(own):
            yield _Window(number, first, min(T, first + LONGEST), own)


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
        here = slice(one.first, one.end)
        known[i, one.first - one.end :] = rows[one.row].known[here]
        within[i, one.first - one.end :] = True
        x[i, one.first - one.end :] = rows[one.row].values[here]
    x[~known] = 0.0
    count = known.sum(-1, keepdims=True).clip(1)
    centre = x.sum(-1, keepdims=True) / count
    scale = np.sqrt((np.square(x - centre) * known).sum(-1, keepdims=True) / count + 1e-10)
    scaled = np.where(known, (x - centre) / scale, 0.0).clip(-_FARTHEST, _FARTHEST)
    read = torch.from_numpy(scaled).float().to(device)
    seen, there = torch.from_numpy(known).to(device), torch.from_numpy(within).to(device)
    channels = channels_of(read, seen, (season, long_season(season)))
    answers = network(channels, there[:, None])[:, 0].cpu().double().numpy()
    return answers * scale[..., None] + centre[..., None]
