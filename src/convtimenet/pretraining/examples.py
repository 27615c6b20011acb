"""Series with hidden values, generated while training reads them and never stored.

Shape legend: `convtimenet._shapes`; T steps of context and what is hidden behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convtimenet.batch import Batch
from convtimenet.network.reconstruction.seasons import CHANNELS, channels_of
from convtimenet.network.revin import known_moments
from convtimenet.pretraining.series import drawn_seasons, generated

__all__ = ["GeneratedSeries"]

_LENGTHS = {48: 0.16, 96: 0.2, 192: 0.2, 384: 0.2, 768: 0.15, 1536: 0.07, 2768: 0.02}
"""Steps of a batch, and how often each is drawn."""
_GROUP = 16  # series of a batch with the same season and the same end of the context
_FEWEST = 8  # known steps
_LONGEST_CONTEXT = 2048
_GAPS = 0.2  # share of the groups in which spans in the middle are hidden, not the end
_LEAST_CHANGE, _MOST_CHANGE = 0.2, 2.0  # of a season, in deviations, that errors are weighed by
_FARTHEST = 30.0  # deviations


@dataclass(frozen=True)
class GeneratedSeries:
    """The examples of pre-training: `size` of them, each a function of `seed` and its number (and,
    for what a batch has in common, of the numbers beside it). An `Examples`.

    Attributes
    ----------
    patch
        P: lengths are whole numbers of patches, and what is hidden begins with one.
    """

    size: int
    seed: int
    patch: int

    def __len__(self) -> int:
        return self.size

    def batch(self, index: Tensor) -> Batch:
        """Channels (B, 11, T), values (B, 1, T), weights above 0 where they are hidden, and the
        range of each series."""
        numbers = index.tolist()
        rng = np.random.default_rng([self.seed, *numbers])
        lengths = np.array([*_LENGTHS])
        T = int(rng.choice(lengths, p=[*_LENGTHS.values()]))
        x = torch.zeros(len(numbers), CHANNELS, T)
        y, weight = torch.zeros(len(numbers), 1, T), torch.zeros(len(numbers), 1, T)
        within = torch.zeros(len(numbers), 1, T, dtype=torch.bool)
        for first in range(0, len(numbers), _GROUP):
            rows = slice(first, min(first + _GROUP, len(numbers)))
            R = rows.stop - rows.start
            L, hidden = self._lengths(rng, T)
            t = slice(T - L - hidden, T)
            x[rows, :, t], y[rows, 0, t], weight[rows, 0, t] = _group(rng, R, L, hidden)
            within[rows, 0, t] = True
        return Batch(x, y, weight, within)

    def _lengths(self, rng: np.random.Generator, T: int) -> tuple[int, int]:
        """Steps of the context, which fill its patches or not, and whole patches behind it."""
        patches = T // self.patch
        ahead = np.exp(rng.uniform(0, np.log(max(1, min(45, patches // 2)) + 0.99)))
        hidden = self.patch * int(ahead)
        most = min(T - hidden, _LONGEST_CONTEXT)
        return int(rng.integers(max(_FEWEST, most // 3), most + 1)), hidden


def _group(rng: np.random.Generator, R: int, L: int, hidden: int) -> tuple[Tensor, Tensor, Tensor]:
    """Channels (R, 11, T), values and weights (R, T) of series with the same seasons."""
    T = L + hidden
    season, long = drawn_seasons(rng, L)
    values = torch.from_numpy(generated(rng, R, T, season, long)).float()
    known = torch.from_numpy(_observed(rng, R, T))
    ends = T - L if rng.random() < _GAPS else 0
    seen = known.clone()
    if ends:
        seen &= torch.from_numpy(~_spans(rng, R, T))
    else:
        seen[:, L:] = False
    seen[:, 0] |= ~seen.any(-1)
    mean, variance = known_moments(values[:, None], seen[:, None])
    values = ((values - mean[:, 0]) / (variance[:, 0] + 1e-5).sqrt()).clamp(-_FARTHEST, _FARTHEST)
    x = channels_of(torch.where(seen, values, 0.0), seen, (season, long))
    change = (values[:, season:] - values[:, :-season]).abs().mean(-1, keepdim=True)
    weight = (known & ~seen) / change.clamp(_LEAST_CHANGE, _MOST_CHANGE)
    return x, values, weight


def _observed(rng: np.random.Generator, R: int, T: int) -> np.ndarray:
    """(R, T) False where a value is missing: in one series of eight single steps, spans or both."""
    share = np.where(rng.random((R, 1)) < 0.12, rng.uniform(0, 0.3, (R, 1)), 0.0)
    found = rng.random((R, T)) >= share
    spans = rng.random((R, 1)) < 0.05
    return found & ~(spans & _spans(rng, R, T))


def _spans(rng: np.random.Generator, R: int, T: int) -> np.ndarray:
    """(R, T) True in one to four spans of up to a sixth of the steps."""
    t, found = np.arange(T), np.zeros((R, T), dtype=bool)
    for number in range(4):
        first = rng.integers(0, T, (R, 1))
        length = np.exp(rng.uniform(0, np.log(max(2, T / 6)), (R, 1)))
        there = (rng.random((R, 1)) < 0.5) | (number == 0)
        found |= there & (t >= first) & (t < first + length)
    return found
