"""Scores over a whole set of examples, summed on the device and read back once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convtimenet.config import Head
from convtimenet.windows import Examples

Scores = dict[str, float]


def wide(device: torch.device) -> torch.dtype:
    """Number format of sums: float64, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def forecast_sums(output: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Sums over a batch whose means are MSE and MAE per value."""
    error = output - target
    return {
        "mse": error.square().sum(dtype=wide(output.device)),
        "mae": error.abs().sum(dtype=wide(output.device)),
    }


def class_sums(output: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Sums over a batch whose means are cross-entropy and accuracy per case."""
    right = (output.argmax(-1) == target).sum(dtype=wide(output.device))
    return {
        "loss": F.cross_entropy(output.float(), target, reduction="sum").to(wide(output.device)),
        "accuracy": right,
    }


SUMS: dict[Head, Callable[[Tensor, Tensor], dict[str, Tensor]]] = {
    "forecast": forecast_sums,
    "classify": class_sums,
}


def outputs(
    model: nn.Module, examples: Examples, batch_size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Output and target, batch by batch, in evaluation mode and without gradients."""
    model.eval()
    order = torch.arange(len(examples), device=device)
    with torch.inference_mode():
        for index in order.split(batch_size):
            x, y = examples.batch(index)
            yield model(x).float(), y


def evaluate(
    model: nn.Module,
    examples: Examples,
    head: Head,
    batch_size: int,
    device: torch.device,
    drop_last: bool = False,
) -> Scores:
    """Mean scores over all examples.

    Parameters
    ----------
    drop_last
        Leave out an incomplete last batch, as the authors' scripts do (SPEC section 6).
    """
    totals: dict[str, Tensor] = {}
    count = 0
    for output, target in outputs(model, examples, batch_size, device):
        if drop_last and len(output) < batch_size and count:
            break
        for name, value in SUMS[head](output, target).items():
            totals[name] = totals.get(name, 0.0) + value
        count += target.numel()
    return {name: float(total) / count for name, total in totals.items()}


def confusion(truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts (K, K): row = true class, column = predicted class."""
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts
