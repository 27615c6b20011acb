"""Prediction intervals by split-conformal calibration.

A fitted network forecasts windows that its weights were not fitted to; its errors there determine
how wide the intervals must be. Each error is measured relative to its window: in standard
deviations of the context or, with a quantile head, by the head's quantiles (conformalised quantile
regression). One table of radii therefore serves series of any scale. Shape legend:
`convtimenet._shapes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor, nn

from convtimenet import processes
from convtimenet.data.windows import Windows
from convtimenet.errors import DataError
from convtimenet.estimators.forecasting.calibration import Calibration
from convtimenet.network.revin import FEW, RevIN
from convtimenet.training.losses import point_forecast
from convtimenet.training.metrics import IntervalScores, outputs, own_batches, wide

_MOST_VALUES = 2**24  # distances kept while calibrating; of more windows an even subset is used
_LEAST_SCALE = 2e-5**0.5  # of what varies more than RevIN's own addend


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
    """Convert distances to lengths in the forecast's units; 0 where all quantiles are one value, as
    those of a constant."""
    found, inner, inner_mark = torch.zeros_like(mark), 0.0, 0.0
    for i, (outer_mark, width) in enumerate(marks):
        last = i == len(marks) - 1
        part = ((mark - inner_mark) / (outer_mark - inner_mark)).clamp(0, None if last else 1)
        found = found + part * torch.where(width > 0, (width - inner).clamp(min=1e-6), 0.0)
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
