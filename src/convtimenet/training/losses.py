"""Training losses, weighted per target, and sums of scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor


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
        (B, C, H), or (B, C, Q, H) for a target of each quantile.

    Returns
    -------
    (B, C, H), or the mean of all.
    """
    # created on the target's device: copying the quantiles there would synchronise
    filled = (torch.full((), q, dtype=target.dtype, device=target.device) for q in quantiles)
    q = torch.stack(list(filled))[:, None]
    error = (target if target.dim() == output.dim() else target.unsqueeze(-2)) - output
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


def nt_xent_values(
    output: Tensor, target: Tensor, temperature: float, reduction: str = "mean"
) -> Tensor:
    """Cross-entropy of finding a case by another view of it among all views of the batch.

    NT-Xent: the scores are cosines of encodings divided by the temperature (Chen et al., "A Simple
    Framework for Contrastive Learning of Visual Representations", ICML 2020, arXiv:2002.05709).

    Parameters
    ----------
    output
        (B, 2, K), encodings of two views of each case.
    target
        Not used: the cases are their own targets.

    Returns
    -------
    (B,), the mean of both views' losses, or the mean of all.
    """
    z = F.normalize(output.float(), dim=-1).transpose(0, 1).flatten(0, 1)
    n = len(z)
    own = torch.eye(n, dtype=torch.bool, device=z.device)
    scores = (z @ z.T / temperature).masked_fill(own, -torch.inf)
    partner = torch.arange(n, device=z.device).roll(n // 2)
    each = F.cross_entropy(scores, partner, reduction="none").view(2, -1).mean(0)
    return each.mean() if reduction == "mean" else each


nt_xent = Loss("contrast", partial(nt_xent_values, temperature=0.2))
"""Which view belongs to which; minimised by encodings that tell cases apart and views together."""


# --- targets of a network that learns from another -----------------------------------------------

TAUGHT = 0.8
"""Share of the other network's answers in the targets; the rest is the truth."""


def between_numbers(answers: Tensor, y: Tensor) -> Tensor:
    """Numbers y (B, ...), moved towards answers of the same shape; or towards quantiles
    (B, C, Q, H), which gives each of them a target of its own."""
    return torch.lerp(y if y.dim() == answers.dim() else y.unsqueeze(-2), answers, TAUGHT)


def between_classes(answers: Tensor, y: Tensor) -> Tensor:
    """Class shares (B, K): those of the class numbers y (B,), moved towards the probabilities of
    class scores (B, K)."""
    return torch.lerp(F.one_hot(y, answers.shape[-1]).to(answers), answers.softmax(-1), TAUGHT)


# --- sums of scores ------------------------------------------------------------------------------


def number_sums(output: Tensor, target: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Sums over a batch whose means are MSE and MAE per value."""
    error = (output - target).to(weight.dtype)
    return {"mse": (error.square() * weight).sum(), "mae": (error.abs() * weight).sum()}


def class_sums(output: Tensor, target: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Sums over a batch whose means are cross-entropy and accuracy per case."""
    loss = F.cross_entropy(output.float(), target, reduction="none")
    right = output.argmax(-1) == target
    return {"loss": (loss * weight).sum(), "accuracy": (right * weight).sum()}


def no_sums(output: Tensor, target: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """No score but the loss."""
    return {}
