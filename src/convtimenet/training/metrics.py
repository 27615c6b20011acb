"""Scores over a whole set of examples, summed on the device and read back once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convtimenet.batch import Batch
from convtimenet.config import Head
from convtimenet.data.windows import Examples
from convtimenet.network.memory import Parts
from convtimenet.progress import counted
from convtimenet.training.losses import Loss, point_forecast

Scores = dict[str, float]


def wide(device: torch.device) -> torch.dtype:
    """Number format of sums: float64, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def number_sums(output: Tensor, target: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Sums over a batch whose means are MSE and MAE per value."""
    error = (output - target).to(weight.dtype)
    return {"mse": (error.square() * weight).sum(), "mae": (error.abs() * weight).sum()}


def class_sums(output: Tensor, target: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Sums over a batch whose means are cross-entropy and accuracy per case."""
    loss = F.cross_entropy(output.float(), target, reduction="none")
    right = output.argmax(-1) == target
    return {"loss": (loss * weight).sum(), "accuracy": (right * weight).sum()}


SUMS: dict[Head, Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]] = {
    "forecast": number_sums,
    "classify": class_sums,
    "regress": number_sums,
}


def outputs(
    model: nn.Module, examples: Examples, batch_size: int, device: torch.device
) -> Iterator[tuple[Tensor, Batch]]:
    """Output and examples, batch by batch, in evaluation mode and without gradients.

    Where memory does not suffice for a batch at once, its output is computed in parts.
    """
    model.eval()
    parts = Parts("scoring")
    order = torch.arange(len(examples), device=device)
    with torch.inference_mode():
        for index in counted(order.split(batch_size)):
            results = parts.run(
                len(index), lambda part, index=index: _output(model, examples.batch(index[part]))
            )
            output = results[0] if len(results) == 1 else torch.cat(results)
            yield output, examples.batch(index)


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
) -> Scores:
    """Mean scores over all examples.

    Parameters
    ----------
    drop_last
        Leave out an incomplete last batch, as the authors' scripts do (SPEC section 6).
    loss
        A further score, under its name, where the head's own do not have it.
    """
    totals: dict[str, Tensor] = {}
    count = torch.zeros((), device=device, dtype=wide(device))
    for done, (output, batch) in enumerate(outputs(model, examples, batch_size, device)):
        if drop_last and len(output) < batch_size and done:
            break
        weight = torch.ones_like(batch.y, dtype=count.dtype)
        if batch.weight is not None:
            weight *= batch.weight
        point = point_forecast(output, loss.quantiles) if loss is not None else output
        sums = SUMS[head](point, batch.y, weight)
        if loss is not None and loss.name not in sums:
            sums[loss.name] = (loss.values(output, batch.y, reduction="none") * weight).sum()
        for name, value in sums.items():
            totals[name] = totals.get(name, 0.0) + value
        count += weight.sum()
    return {name: float(total / count) for name, total in totals.items()}


@dataclass(frozen=True, kw_only=True)
class IntervalScores:
    """How intervals of one level did.

    Attributes
    ----------
    level
        Nominal coverage in per cent.
    coverage
        Share of truths inside, over all windows, channels and steps.
    coverage_per_step, width_per_step
        (H,) each: by step ahead.
    coverage_per_channel
        By channel.
    width
        Mean width, in the units of the scores.
    interval_score
        Mean of ``width + 2 / (1 - level) * distance outside`` (Gneiting and Raftery, "Strictly
        Proper Scoring Rules, Prediction, and Estimation", JASA 102, 2007); smaller is better.
    """

    level: float
    coverage: float
    width: float
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
        "mse" and "mae" in training standard deviations (as papers report them), in the data's
        units without scaling; means over all windows, channels and steps.
    naive
        The same for repeating the last value.
    n_windows, n_values
        Windows of all series, and known values in them that were scored: not those of a channel of
        whose context nothing is known.
    mse_per_window, starts
        (n,) each: mean squared error, and the first context row of the window in the table.
    mse_per_step
        (H,): mean squared error by step ahead.
    mae_per_channel
        Mean absolute error of each channel in its own units.
    intervals
        Coverage and width of the intervals, one entry per level.
    """

    scores: Scores
    naive: Scores
    n_windows: int
    n_values: int
    mse_per_window: np.ndarray
    starts: np.ndarray
    mse_per_step: np.ndarray
    mae_per_channel: dict[str, float]
    intervals: tuple[IntervalScores, ...] = ()


class ForecastSums:
    """Error sums over windows, on the device: (C, H) each, and two of the naive forecast."""

    def __init__(self, channels: int, horizon: int, device: torch.device):
        dtype = wide(device)
        self.squared, self.count = (
            torch.zeros(channels, horizon, device=device, dtype=dtype) for _ in range(2)
        )
        self.absolute = torch.zeros(channels, device=device, dtype=dtype)
        self.in_units = torch.zeros(channels, device=device, dtype=dtype)
        self.naive = torch.zeros(2, device=device, dtype=dtype)

    def add(
        self, output: Tensor, target: Tensor, last: Tensor, counted: Tensor | None, unit: Tensor
    ) -> Tensor:
        """Take in a batch (B, C, H), and return the mean squared error of each window (B,); `unit`
        (C, 1) or (B, C, 1) brings errors to the data's own units."""
        dtype = self.squared.dtype
        weight = torch.ones_like(target) if counted is None else counted
        error, off = ((y - target).to(dtype) * weight for y in (output, last))
        self.squared += error.square().sum(0)
        self.absolute += error.abs().sum((0, 2))
        self.in_units += (error.abs() * unit).sum((0, 2))
        self.count += weight.sum(0)
        self.naive += torch.stack([off.square().sum(), off.abs().sum()])
        return error.square().sum((1, 2)) / weight.sum((1, 2)).clamp(min=1)


def confusion(truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts (K, K): row = true class, column = predicted class."""
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts
