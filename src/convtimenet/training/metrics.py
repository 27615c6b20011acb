"""Scores over a whole data set, summed on the device and read back once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from convtimenet import processes
from convtimenet.batch import Batch
from convtimenet.config import Head
from convtimenet.data.windows import Examples
from convtimenet.network.memory import Parts
from convtimenet.progress import counted
from convtimenet.training.losses import Loss, point_forecast
from convtimenet.training.objectives import OBJECTIVES

Scores = dict[str, float]


def wide(device: torch.device) -> torch.dtype:
    """Dtype of accumulated sums: float64 if the device supports it."""
    return torch.float32 if device.type == "mps" else torch.float64


def outputs(
    model: nn.Module,
    examples: Examples,
    batch_size: int,
    device: torch.device,
    which: slice = slice(None),
) -> Iterator[tuple[Tensor, Batch]]:
    """Outputs and examples, batch by batch, in evaluation mode and without gradients.

    If a whole batch does not fit in memory, its output is computed in parts.

    Parameters
    ----------
    which
        The batches to compute.
    """
    model.eval()
    parts = Parts("scoring")
    order = torch.arange(len(examples), device=device)
    with torch.inference_mode():
        for index in counted(order.split(batch_size)[which]):
            results = parts.run(
                len(index), lambda part, index=index: _output(model, examples.batch(index[part]))
            )
            output = results[0] if len(results) == 1 else torch.cat(results)
            yield output, examples.batch(index)


def own_batches(n: int, batch_size: int) -> slice:
    """The batches of n examples that this process computes, of those that train together: all of
    them where there is not a whole one for each."""
    if processes.count() == 1 or n < processes.count() * batch_size:
        return slice(None)
    return slice(processes.rank(), None, processes.count())


def _output(model: nn.Module, batch: Batch) -> Tensor:
    return model(*batch.inputs).float()


def evaluate(
    model: nn.Module,
    examples: Examples,
    head: Head,
    batch_size: int,
    device: torch.device,
    drop_last: bool = False,
    loss: Loss | None = None,
    together: bool = False,
) -> Scores:
    """Mean scores over all examples.

    Parameters
    ----------
    drop_last
        Leave out an incomplete last batch, as the authors' scripts do (SPEC section 6).
    loss
        An additional score, reported under its name unless the head's scores include it.
    together
        Share the batches among the processes that train together, of which all must ask.
    """
    totals: dict[str, Tensor] = {}
    count = torch.zeros((), device=device, dtype=wide(device))
    which = own_batches(len(examples), batch_size) if together else slice(None)
    for output, batch in outputs(model, examples, batch_size, device, which):
        if drop_last and len(output) < batch_size < len(examples):
            break
        weight = torch.ones_like(batch.y, dtype=count.dtype)
        if batch.weight is not None:
            weight *= batch.weight
        point = point_forecast(output, loss.quantiles) if loss is not None else output
        sums = OBJECTIVES[head].sums(point, batch.y, weight)
        if loss is not None and loss.name not in sums:
            sums[loss.name] = (loss.values(output, batch.y, reduction="none") * weight).sum()
        for name, value in sums.items():
            totals[name] = totals.get(name, 0.0) + value
        count += weight.sum()
    if which != slice(None):
        for total in (count, *totals.values()):
            processes.add_up(total)
    return {name: float(total / count) for name, total in totals.items()}


@dataclass(frozen=True, kw_only=True)
class IntervalScores:
    """Coverage and width of the intervals of one level.

    Attributes
    ----------
    level
        Nominal coverage in per cent.
    coverage
        Share of true values inside, over all windows, channels and steps.
    coverage_per_step, width_per_step
        (H,) each: by step ahead.
    coverage_per_channel
        By channel.
    width
        Mean width, in the units of the scores.
    width_in_units
        Mean width in the data's units.
    interval_score
        Mean of ``width + 2 / (1 - level) * distance outside`` (Gneiting and Raftery, "Strictly
        Proper Scoring Rules, Prediction, and Estimation", JASA 102, 2007); smaller is better.
    """

    level: float
    coverage: float
    width: float
    width_in_units: float
    interval_score: float
    coverage_per_step: np.ndarray
    width_per_step: np.ndarray
    coverage_per_channel: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class ForecastEvaluation:
    """Errors of every window of a table.

    Attributes
    ----------
    scores
        "mse" and "mae" in training standard deviations (as in the literature), or in the data's
        units without scaling; means over all windows, channels and steps.
    naive
        The same for the seasonal-naive forecast, which repeats the last `season` steps before each
        window's horizon, or the last observed value where those are missing.
    in_units, naive_in_units
        Scores of both forecasts in the data's units: "mae", "rmse"; "mase", the mean over series
        and channels of the absolute error divided by that of the seasonal-naive forecast on the
        rows before the scored ones (omitted where those repeat exactly or are too few); "wape", the
        sum of absolute errors divided by the sum of absolute values (omitted if all are 0).
    season
        Season length in steps.
    n_windows, n_values
        Number of windows of all series with a value to score, and of observed values scored in
        them; channels without an observed value in the context are not scored.
    mse_per_window, starts
        (n,) each, of all windows: mean squared error, NaN without a value to score, and the first
        context row of the window in the table.
    mse_per_step
        (H,): mean squared error by step ahead; NaN where no value was scored.
    rmse_per_step_in_units
        (H,): its root in the data's units, in which that of one channel is drawn.
    mae_per_channel, naive_mae_per_channel
        Mean absolute error of each channel in its own units.
    intervals
        Coverage and width of the intervals, one entry per level.
    """

    scores: Scores
    naive: Scores
    in_units: Scores
    naive_in_units: Scores
    season: int
    n_windows: int
    n_values: int
    mse_per_window: np.ndarray
    starts: np.ndarray
    mse_per_step: np.ndarray
    rmse_per_step_in_units: np.ndarray
    mae_per_channel: dict[str, float]
    naive_mae_per_channel: dict[str, float]
    intervals: tuple[IntervalScores, ...] = ()


class ErrorSums:
    """Sums of one forecast's errors over windows of S series, on the device."""

    def __init__(self, series: int, channels: int, horizon: int, device: torch.device):
        dtype = wide(device)
        self.squared = torch.zeros(channels, horizon, device=device, dtype=dtype)
        self.absolute = torch.zeros(channels, device=device, dtype=dtype)
        self.squared_in_units = torch.zeros(horizon, device=device, dtype=dtype)
        self.in_units = torch.zeros(series, channels, device=device, dtype=dtype)

    def add(self, error: Tensor, unit: Tensor, series: Tensor) -> None:
        """Add the errors (B, C, H) of a batch, 0 where masked; `series` (B,) are their indices."""
        own = error * unit
        self.squared += error.square().sum(0)
        self.absolute += error.abs().sum((0, 2))
        self.squared_in_units += own.square().sum((0, 1))
        self.in_units.index_add_(0, series, own.abs().sum(2))

    def scores(self, count: Tensor) -> Scores:
        """Means over `count` values, in the units of the batches."""
        return {"mse": float(self.squared.sum() / count), "mae": float(self.absolute.sum() / count)}

    def scores_in_units(self, counts: Tensor, size: Tensor, scale: Tensor) -> Scores:
        """Means in the data's units.

        Parameters
        ----------
        counts
            (S, C) number of values scored.
        size
            The sum of their absolute values.
        scale
            (S, C) scale of MASE; NaN or 0 where undefined.
        """
        total = counts.sum()
        found = {
            "mae": float(self.in_units.sum() / total),
            "rmse": float((self.squared_in_units.sum() / total).sqrt()),
        }
        scaled = (counts > 0) & (scale > 0)
        if scaled.any():
            found["mase"] = float((self.in_units / counts / scale)[scaled].mean())
        if size > 0:
            found["wape"] = float(self.in_units.sum() / size)
        return found


class ForecastSums:
    """Error sums of a forecast and of the seasonal-naive forecast over windows, on the device."""

    def __init__(self, series: int, channels: int, horizon: int, device: torch.device):
        dtype = wide(device)
        self.ours = ErrorSums(series, channels, horizon, device)
        self.naive = ErrorSums(series, channels, horizon, device)
        self.count = torch.zeros(channels, horizon, device=device, dtype=dtype)
        self.by_series = torch.zeros(series, channels, device=device, dtype=dtype)
        self.size = torch.zeros((), device=device, dtype=dtype)

    def add(
        self,
        output: Tensor,
        naive: Tensor,
        target: Tensor,
        counted: Tensor | None,
        centre: Tensor,
        unit: Tensor,
        series: Tensor,
    ) -> Tensor:
        """Add a batch (B, C, H) and return the mean squared error of each window (B,), NaN where
        no value counts; `centre` and `unit`, (C, 1) or (B, C, 1), convert values to the data's
        units."""
        dtype = self.count.dtype
        weight = torch.ones_like(target) if counted is None else counted
        error, off = ((y - target).to(dtype) * weight for y in (output, naive))
        self.ours.add(error, unit, series)
        self.naive.add(off, unit, series)
        self.count += weight.sum(0)
        self.by_series.index_add_(0, series, weight.sum(2).to(dtype))
        self.size += ((target * unit + centre).abs() * weight).sum()
        return error.square().sum((1, 2)) / weight.sum((1, 2))

    def tensors(self) -> list[Tensor]:
        """All sums."""
        found = [self.count, self.by_series, self.size]
        return [*found, *vars(self.ours).values(), *vars(self.naive).values()]


def confusion(truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts (K, K): row = true class, column = predicted class."""
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts
