"""Random changes of labelled cases while a network trains on them: warped time, noise, and
mix-up (Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018, arXiv:1710.09412).

Everything is drawn on the device from the training run's random state, without a synchronisation,
so that a step can be resumed and captured as a CUDA graph.

Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from convtimenet._shapes import Bool, Float, Int
from convtimenet.batch import Batch
from convtimenet.config import Head, ModelConfig
from convtimenet.devices import generator

__all__ = ["augmented", "jittered", "mixed", "positions", "two_views", "warped"]

_UNWARPED = 0.25  # share of the cases
_STRETCHED = (0.8, 1.25)
_SHIFTED = 0.1  # of the length, half of the cases
_KNOTS = 6
_SPEED = 0.3  # standard deviation of the log of the speed at a knot
_NOISE = 0.1  # standard deviations of a channel
_MIXED, _LARGEST_SHARE = 0.5, 0.5  # share of the cases; of the partner


def augmented(batch: Batch, config: ModelConfig) -> Batch:
    """A batch of cases changed at random, with targets as the loss takes them: class shares
    (B, K) for the head "classify", else numbers (B, 1)."""
    x, known = _view(batch)
    B, head = len(x), config.head
    partner = _drawn(x, B).argsort()
    share = _LARGEST_SHARE * _drawn(x, B) * (_drawn(x, B) < _MIXED)
    y = batch.y
    if head == "classify" and not y.is_floating_point():  # else they are shares already
        y = F.one_hot(y, config.outputs).to(x.dtype)
    return mixed(batch._replace(x=x, y=y, known=known), partner, share, head)


def two_views(batch: Batch, config: ModelConfig) -> Batch:
    """Every case (B, C, L) changed at random in two ways, side by side (B, 2 C, L): the network
    reads groups of C channels as series of their own."""
    (x, known), (other, also) = _view(batch), _view(batch)
    both = None if known is None or also is None else torch.cat([known, also], 1)
    return batch._replace(x=torch.cat([x, other], 1), known=both)


def _view(batch: Batch) -> tuple[Float[Tensor, "B C L"], Bool[Tensor, "B C L"] | None]:
    """The cases with warped time and noise, and their observed mask."""
    x, known = batch.x, batch.known
    B = len(x)
    if known is not None:
        x = torch.where(known, x, 0.0)
    end = _ends(x, known)
    at = positions(end, x.shape[-1], _drawn(x, B, 3), _normal(x, B, _KNOTS))
    x, known = warped(x, known, at)
    noise = _normal(x, B, x.shape[1], 1), _drawn(x, B, 1, 1) * _normal(x, *x.shape)
    return jittered(x, known, *noise), known


def positions(
    end: Int[Tensor, " B"], length: int, drawn: Float[Tensor, "B 3"], knots: Float[Tensor, "B k"]
) -> Float[Tensor, "B L"]:
    """Where each step of a warped case is read: within the case, in order.

    Parameters
    ----------
    end
        Steps of each case; those after it stay as they are.
    length
        L
    drawn
        Uniform numbers: of the stretch, the shift, and whether there is a warp or a shift at all.
    knots
        Normal numbers: the log of the speed at evenly spaced steps.
    """
    L, last = length, (end - 1)[:, None].to(drawn.dtype)
    stretch, shift, which = drawn[:, :, None].unbind(1)
    speed = F.interpolate((_SPEED * knots).exp()[:, None], L, mode="linear", align_corners=True)
    speed = speed[:, 0]
    way = speed.cumsum(1) - speed[:, :1]
    at = way * last / way.gather(1, (end - 1)[:, None]).clamp(min=1e-6)
    low, high = map(log, _STRETCHED)
    moved = _SHIFTED * (2 * shift - 1) * last * (which > (1 + _UNWARPED) / 2)
    at = (at - last / 2) * (low + (high - low) * stretch).exp() + last / 2 + moved
    steps = torch.arange(L, device=end.device, dtype=drawn.dtype)
    at = torch.minimum(at.clamp(min=0), last)
    return torch.where((which < _UNWARPED) | (steps > last), steps, at)


def warped(
    x: Float[Tensor, "B C L"], known: Bool[Tensor, "B C L"] | None, at: Float[Tensor, "B L"]
) -> tuple[Float[Tensor, "B C L"], Bool[Tensor, "B C L"] | None]:
    """Cases read at other positions, linearly between two steps; known only if both are."""
    before, after = (
        where.long()[:, None].expand(-1, x.shape[1], -1) for where in (at.floor(), at.ceil())
    )
    y = torch.lerp(x.gather(2, before), x.gather(2, after), (at - at.floor())[:, None])
    if known is None:
        return y, None
    known = known.gather(2, before) & known.gather(2, after)
    return torch.where(known, y, 0.0), known


def jittered(
    x: Float[Tensor, "B C L"],
    known: Bool[Tensor, "B C L"] | None,
    scale: Float[Tensor, "B C 1"],
    noise: Float[Tensor, "B C L"],
) -> Float[Tensor, "B C L"]:
    """Channels scaled around their mean, and noise in units of their standard deviation over the
    batch; what is missing stays 0."""
    weight = torch.ones_like(x) if known is None else known.to(x.dtype)
    count = weight.sum((0, 2), keepdim=True).clamp(min=1)
    mean = (x * weight).sum((0, 2), keepdim=True) / count
    off = (x - mean) * weight
    spread = (off.square().sum((0, 2), keepdim=True) / count).sqrt()
    return x + _NOISE * (scale * off + noise * spread * weight)


def mixed(
    batch: Batch, partner: Int[Tensor, " B"], share: Float[Tensor, " B"], head: Head
) -> Batch:
    """Cases moved towards partners of the same batch, and targets likewise.

    A case keeps its own mask, and its own values where the partner's are missing. The weight of a
    mixed case is the mixture of both weights; of classes, each keeps its share of it.
    """
    x, y, weight, known = batch.x, batch.y, batch.weight, batch.known
    other = x[partner]
    if known is not None:
        other = torch.where(known[partner], other, x)
    x = torch.lerp(x, other, share[:, None, None])
    if known is not None:
        x = torch.where(known, x, 0.0)
    theirs = share[:, None]
    if weight is not None:
        both = torch.lerp(weight, weight[partner], share.view(-1, *[1] * (weight.ndim - 1)))
        if head == "classify":
            theirs = (share * weight[partner] / both)[:, None]
        weight = both
    return batch._replace(x=x, y=torch.lerp(y, y[partner], theirs), weight=weight)


def _ends(x: Tensor, known: Tensor | None) -> Int[Tensor, " B"]:
    """Steps of each case up to its last known value, at least 1."""
    L = x.shape[-1]
    if known is None:
        return torch.full((len(x),), L, device=x.device)
    steps = torch.arange(1, L + 1, device=x.device)
    return torch.where(known.any(1), steps, 1).amax(-1)


def _drawn(like: Tensor, *shape: int) -> Tensor:
    """Uniform numbers between 0 and 1."""
    return torch.empty(shape, dtype=like.dtype, device=like.device).uniform_(generator=generator())


def _normal(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device).normal_(generator=generator())
