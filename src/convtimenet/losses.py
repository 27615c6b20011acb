"""What training minimises: losses of a batch, each target counted by its weight."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from convtimenet.config import Head

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def mse(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Mean squared error of the values that count."""
    if weight is None:
        return F.mse_loss(output, target)
    return _mean(F.mse_loss(output, target, reduction="none"), weight)


def cross_entropy(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Mean cross-entropy of the cases that count."""
    if weight is None:
        return F.cross_entropy(output, target)
    return _mean(F.cross_entropy(output, target, reduction="none"), weight)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    weight = weight.expand_as(values)
    return (values * weight).sum() / weight.sum().clamp(min=1e-12)


LOSSES: dict[Head, Loss] = {"forecast": mse, "classify": cross_entropy, "regress": mse}
