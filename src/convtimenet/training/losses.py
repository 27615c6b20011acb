"""Training losses, weighted per target."""

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
    """A weighted loss, also used as the validation score that selects the epoch.

    Attributes
    ----------
    name
        Name of the validation score.
    values
        ``values(output, target, reduction=...)`` with the signature of torch's losses: "none" gives
        one value per target, "mean" their mean.
    quantiles
        Quantiles along the second-to-last axis of the output; empty for a point forecast.
    """

    name: str
    values: Callable[..., Tensor]
    quantiles: tuple[float, ...] = ()

    def __call__(self, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """Weighted mean over the targets; `weight` broadcasts to them, None weights all equally."""
        if weight is None:
            return self.values(output, target, reduction="mean")
        each = self.values(output, target, reduction="none")
        weight = weight.expand_as(each)
        return (each * weight).sum() / weight.sum().clamp(min=1e-12)


def pinball_values(
    output: Tensor, target: Tensor, quantiles: tuple[float, ...], reduction: str = "mean"
) -> Tensor:
    """Pinball loss, averaged over the quantiles.

    ``max(q (y - f), (q - 1) (y - f))`` for quantile q, forecast f and target y: its mean is
    minimised when f is the q-quantile of y (Koenker and Bassett, "Regression Quantiles",
    Econometrica 46, 1978). At q = 0.5 it is half the absolute error.

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
    # created on the target's device: copying the quantiles there would synchronise
    filled = (torch.full((), q, dtype=target.dtype, device=target.device) for q in quantiles)
    q = torch.stack(list(filled))[:, None]
    error = target.unsqueeze(-2) - output
    each = torch.maximum(q * error, (q - 1) * error).mean(-2)
    return each.mean() if reduction == "mean" else each


mse = Loss("mse", F.mse_loss)
"""Mean squared error; minimised by the mean."""
mae = Loss("mae", F.l1_loss)
"""Mean absolute error; minimised by the median."""
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
    """The median (B, C, H) of quantiles (B, C, Q, H); outputs without quantiles are unchanged."""
    return output.select(-2, quantiles.index(0.5)) if quantiles else output


def loss_of(model: ModelConfig, training: TrainConfig) -> Loss:
    """The training loss for a model's head.

    Raises
    ------
    ConfigError
        If a point loss is set and the network does not make point forecasts.
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
