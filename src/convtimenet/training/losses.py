"""What training minimises: losses of a batch, each target counted by its weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.errors import ConfigError


@dataclass(frozen=True)
class Loss:
    """A loss of output, target and weight.

    Attributes
    ----------
    name
        The validation score that it is, and that chooses the epoch.
    values
        ``values(output, target, reduction=...)``, as torch's own losses: with "none" a value per
        target, with "mean" their mean.
    quantiles
        What the output forecasts, in the order of its last axis but one; none for a point.
    """

    name: str
    values: Callable[..., Tensor]
    quantiles: tuple[float, ...] = ()

    def __call__(self, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """Mean over the targets that count; `weight` broadcasts to them, None counts all alike."""
        if weight is None:
            return self.values(output, target, reduction="mean")
        each = self.values(output, target, reduction="none")
        weight = weight.expand_as(each)
        return (each * weight).sum() / weight.sum().clamp(min=1e-12)


def pinball_values(
    output: Tensor, target: Tensor, quantiles: tuple[float, ...], reduction: str = "mean"
) -> Tensor:
    """Pinball loss, averaged over the quantiles.

    ``max(q (y - f), (q - 1) (y - f))`` for quantile q, forecast f and target y: its mean is least
    where f is the q-quantile of y (Koenker and Bassett, "Regression Quantiles", Econometrica 46,
    1978). At q = 0.5 it is half the absolute error.

    Parameters
    ----------
    output
        (B, C, Q, H), one row per quantile.
    target
        (B, C, H).

    Returns
    -------
    (B, C, H), or the mean of all.
    """
    # filled where the target is: numbers brought to a device would make it wait
    filled = (torch.full((), q, dtype=target.dtype, device=target.device) for q in quantiles)
    q = torch.stack(list(filled))[:, None]
    error = target.unsqueeze(-2) - output
    each = torch.maximum(q * error, (q - 1) * error).mean(-2)
    return each.mean() if reduction == "mean" else each


mse = Loss("mse", F.mse_loss)
"""Mean squared error; its best forecast is the mean."""
mae = Loss("mae", F.l1_loss)
"""Mean absolute error; its best forecast is the median."""
cross_entropy = Loss("loss", F.cross_entropy)
"""Mean cross-entropy of class scores."""


def huber(delta: float) -> Loss:
    """Squared error up to `delta`, linear beyond: ``e^2 / 2`` for ``|e| <= delta``, else ``delta
    (|e| - delta / 2)`` (Huber, "Robust Estimation of a Location Parameter", 1964)."""
    return Loss("huber", partial(F.huber_loss, delta=delta))


def pinball(quantiles: tuple[float, ...]) -> Loss:
    """Pinball loss, averaged over `quantiles`; see `pinball_values`."""
    return Loss("pinball", partial(pinball_values, quantiles=quantiles), quantiles)


def point_forecast(output: Tensor, quantiles: tuple[float, ...]) -> Tensor:
    """The median (B, C, H) of quantiles (B, C, Q, H); an output without quantiles as it is."""
    return output.select(-2, quantiles.index(0.5)) if quantiles else output


def loss_of(model: ModelConfig, training: TrainConfig) -> Loss:
    """What a network of this kind is trained with.

    Raises
    ------
    ConfigError
        If a point loss is asked for and the network forecasts no single point.
    """
    if training.loss is not None and (model.head != "forecast" or model.quantiles):
        kind = "quantile heads train with the pinball loss"
        if model.head != "forecast":
            kind = f"the head {model.head!r} has a loss of its own"
        raise ConfigError(
            f"loss={training.loss!r} is for point forecasts, and {kind}; leave loss out"
        )
    if model.head == "classify":
        return cross_entropy
    if model.quantiles:
        return pinball(model.quantiles)
    return {"mse": mse, "mae": mae, "huber": huber(training.huber_delta)}[training.loss or "mse"]
