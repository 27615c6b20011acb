"""Random patches fitted in closed form: ridge regression on their features.

The penalty is the one with the smallest leave-one-out error, which needs no second fit. A class is
a target of 1 and -1; the scores become logits by the factor under which the leave-one-out scores
have the smallest log loss, so that probabilities come from cases that were not fitted. As in Platt
(1999), targets of that loss stay off 0 and 1 as if each class had one more case of either kind.

Beside the blocks of a network, the answers are mixed with those of its head. The share of the head
is the posterior mean given the validation split: with few cases it stays near a third, with many it
is the best one.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import RidgeCV
from torch import Tensor, nn

from convtimenet.config import Head, TrainConfig
from convtimenet.data.windows import Examples, LabelledCases
from convtimenet.devices import autocast
from convtimenet.errors import TrainingError
from convtimenet.network.inference import fuse
from convtimenet.network.model import PRIOR_SHARE, ConvTimeNet
from convtimenet.network.random_patches import RandomPatches
from convtimenet.progress import counted, showing
from convtimenet.training.history import History
from convtimenet.training.interrupt import StopRequest
from convtimenet.training.metrics import outputs

__all__ = ["fit_patches", "posterior_share", "share_of_head"]

PENALTIES = 10.0 ** np.linspace(-3, 3, 10)
"""Of the standardised features, times a hundredth of their number."""
_FOR_LEVELS = 32  # cases
_BATCH = 64
_FACTORS = 2.0 ** np.arange(-2, 8, 0.25)
_SHARES = np.linspace(0, 1, 51)[1:-1]
_PRIOR = 2, 2 / PRIOR_SHARE - 2
"""Of the share: a beta distribution whose mean is that without a validation split."""


def fit_patches(
    network: RandomPatches,
    examples: LabelledCases,
    seed: int,
    stop: StopRequest,
    *,
    verbose: int = 1,
    label: str = "training",
) -> History:
    """Draw the levels of the patches and solve for the linear map, in place.

    Parameters
    ----------
    network
        On the device of the examples.
    examples
        All training cases.
    seed
        Seed of the levels, and of the cases that they are drawn from.
    stop
        Ends the work between two batches once its signal is set.

    Returns
    -------
    History
        One epoch, whose training loss is that of the leave-one-out answers; none if it was
        stopped.

    Raises
    ------
    TrainingError
        If the features are not finite.
    """
    begin = time.monotonic()
    n = len(examples)
    device = examples.x.device
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad(), showing(label, verbose) as task:
        batch = examples.batch(torch.randperm(n, generator=numbers)[:_FOR_LEVELS].to(device))
        network.embedding.draw_levels(batch.x, batch.known, numbers)
        task.say_alone(
            f"{label}: {n:,} cases, {network.embedding.outputs:,} features, in closed form"
        )
        parts = []
        for first in counted(range(0, n, _BATCH)):
            if stop.signal:
                return History(device=str(device), stopped=f"stopped by {stop.name}")
            batch = examples.batch(torch.arange(first, min(n, first + _BATCH), device=device))
            parts.append(network.embedding(batch.x, batch.known).cpu())
        loss = _solve(network, torch.cat(parts).numpy(), examples)
    return History.solved(loss, str(device), time.monotonic() - begin)


def _solve(network: RandomPatches, features: np.ndarray, examples: LabelledCases) -> float:
    """Set the linear map; returns the loss of the leave-one-out answers."""
    if not np.isfinite(features).all():
        raise TrainingError(
            "the features of the training cases are not finite; expected values within the range "
            "of float32, rescale the cases"
        )
    y = examples.y.cpu()
    classes = network.config.head == "classify"
    K = network.config.outputs
    targets = (2.0 * F.one_hot(y, K) - 1.0 if classes else y).double().numpy()
    weight = None if examples.weight is None else examples.weight.cpu().double().numpy().reshape(-1)
    centre = features.mean(0, dtype=np.float64)
    spread = features.std(0, dtype=np.float64)
    varies = spread > 1e-6 * np.maximum(np.abs(centre), 1e-6)
    spread = np.where(varies, spread, 1.0) / network.embedding.emphasis
    standard = np.where(varies, (features - centre) / spread, 0.0)
    if len(standard) > 1:
        ridge = RidgeCV(
            alphas=PENALTIES * standard.shape[1] / 100,
            scoring="neg_mean_squared_error",
            store_cv_results=True,
        ).fit(standard, targets, weight)
        chosen = int(np.argmin(np.abs(ridge.alphas - ridge.alpha_)))
        left_out = np.reshape(ridge.cv_results_[..., chosen], targets.shape)
        slopes = np.asarray(ridge.coef_, dtype=np.float64).reshape(K, -1)
        level = np.asarray(ridge.intercept_, dtype=np.float64).reshape(K)
    else:  # nothing to learn from one case but its answer
        left_out, slopes, level = targets, np.zeros((K, standard.shape[1])), targets[0]
    factor = 1.0
    if classes:
        losses = [_log_loss(left_out * factor, y.numpy(), weight) for factor in _FACTORS]
        factor, loss = float(_FACTORS[np.argmin(losses)]), min(losses)
    else:
        loss = float(np.average(np.square(left_out - targets).mean(1), weights=weight))
    slopes = slopes / spread * factor
    network.project.weight.copy_(torch.from_numpy(slopes))
    network.project.bias.copy_(torch.from_numpy(level * factor - slopes @ centre))
    return loss


def _log_loss(scores: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
    """Mean log loss of the softmax of scores (n, K) for classes (n,)."""
    n, K = scores.shape
    other = 1 / (n / K + 2) / max(1, K - 1)
    targets = np.full((n, K), other)
    targets[np.arange(n), y] = 1 - (K - 1) * other
    top = scores.max(1, keepdims=True)
    total = np.log(np.exp(scores - top).sum(1)) + top[:, 0]
    return float(np.average(total - (targets * scores).sum(1), weights=weight))


def share_of_head(
    network: ConvTimeNet, valid: Examples, config: TrainConfig, device: torch.device
) -> float:
    """Set the share of the head in the mixture with the random patches to its posterior mean given
    the validation split; returns it."""
    head, stream, y, weight = [], [], [], []
    with autocast(device, config):
        for output, batch in outputs(_Both(fuse(network)), valid, config.batch_size, device):
            one, other = output.double().cpu().unbind(1)
            each = torch.ones(len(output)) if batch.weight is None else batch.weight.view(-1)
            head.append(one)
            stream.append(other)
            y.append(batch.y.cpu())
            weight.append(each.cpu().double())
    parts = [torch.cat(part) for part in (head, stream, y, weight)]
    share = posterior_share(network.config.head, *parts)
    network.granted.fill_(share)
    return share


def posterior_share(kind: Head, head: Tensor, stream: Tensor, y: Tensor, weight: Tensor) -> float:
    """Posterior mean of the share of one of two answers (n, K) in their mixture.

    The likelihood of a share is that of the targets y given the mixture: of classes with its
    probabilities, of numbers with normal errors of the mean squared size. Weighted cases (n,) count
    as many as equal ones with the same variance of a mean.
    """
    n = float(weight.sum().square() / weight.square().sum())
    found = []
    for share in _SHARES:
        mixture = torch.lerp(stream, head, float(share))
        if kind == "classify":
            each = F.cross_entropy(mixture, y, reduction="none")
        else:
            each = (mixture - y).square().mean(1)
        loss = (each * weight).sum() / weight.sum()
        found.append(loss if kind == "classify" else loss.clamp(min=1e-12).log() / 2)
    a, b = _PRIOR
    prior = torch.from_numpy((a - 1) * np.log(_SHARES) + (b - 1) * np.log(1 - _SHARES))
    posterior = (prior - n * torch.stack(found)).softmax(0)
    return float(posterior @ torch.from_numpy(_SHARES))


class _Both(nn.Module):
    """Answers (B, 2, K) of a fused network: of the head alone, and of the random patches alone."""

    def __init__(self, network: ConvTimeNet):
        super().__init__()
        self.stream, network.patches = network.patches, None
        self.head = network

    def forward(self, *inputs: Any) -> Tensor:
        assert self.stream is not None
        return torch.stack([self.head(*inputs).float(), self.stream(*inputs)], dim=1)
