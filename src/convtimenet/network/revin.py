"""RevIN: reversible instance normalisation (SPEC section 1).

Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convtimenet._shapes import Bool, Float
from convtimenet.network.kernels import native

__all__ = ["FEW", "RevIN", "known_moments", "last_known"]

FEW = 4
"""Known values; of fewer the deviation is far too small, and so is what is measured by it."""


class RevIN(nn.Module):
    """Instance normalisation over the context, and its inverse (SPEC section 1).

    Parameters
    ----------
    subtract_last
        Subtract the last value instead of the mean; the scale stays the standard deviation.
    affine_channels
        Channels with a learnable scale and shift, 0 for none.
    """

    def __init__(self, subtract_last: bool = False, affine_channels: int = 0):
        super().__init__()
        self.subtract_last = subtract_last
        self.affine = affine_channels > 0
        if self.affine:
            self.weight = nn.Parameter(torch.ones(affine_channels, 1))
            self.bias = nn.Parameter(torch.zeros(affine_channels, 1))

    def forward(
        self, x: Float[Tensor, "B C L"], known: Bool[Tensor, "B C L"] | None = None
    ) -> tuple[Float[Tensor, "B C L"], tuple[Float[Tensor, "B C 1"], Float[Tensor, "B C 1"]]]:
        """Normalise; also return the (centre, scale) for `inverse`. Masked points (`known` False)
        are excluded from both and set to zero."""
        if known is None and native.usable(x) and not torch.is_grad_enabled():
            x, centre, scale = native.standardise(x, 1e-5, self.subtract_last)
            return (x * self.weight + self.bias if self.affine else x), (centre, scale)
        fixed = x.detach()
        if known is None and x.shape[0] == 0:
            known = torch.ones_like(x, dtype=torch.bool)  # torch's variance warns about empty input
        if known is None:
            mean, variance = fixed.mean(-1, keepdim=True), fixed.var(-1, keepdim=True, correction=0)
        else:
            mean, variance = known_moments(fixed, known)
        scale = (variance + 1e-5).sqrt()
        # gradients flow through the last value but not through the mean, as in the authors' code
        centre = last_known(x, known) if self.subtract_last else mean
        x = (x - centre) / scale
        if self.affine:
            x = x * self.weight + self.bias
        if known is not None:
            x = torch.where(known, x, 0.0)
        return x, (centre, scale)

    def inverse(
        self,
        y: Float[Tensor, "B C H"],
        statistics: tuple[Float[Tensor, "B C 1"], Float[Tensor, "B C 1"]],
    ) -> Float[Tensor, "B C H"]:
        """Convert the head's output back to the units of the context."""
        centre, scale = statistics
        if self.affine:
            y = (y - self.bias) / (self.weight + 1e-10)
        return y * scale + centre


def known_moments(
    x: Float[Tensor, "B C L"], known: Bool[Tensor, "B C L"]
) -> tuple[Float[Tensor, "B C 1"], Float[Tensor, "B C 1"]]:
    """Mean and population variance of the observed points; both 0 if there are none."""
    count = known.sum(-1, keepdim=True).clamp(min=1)
    mean = torch.where(known, x, 0.0).sum(-1, keepdim=True) / count
    off = torch.where(known, x - mean, 0.0)
    return mean, off.square().sum(-1, keepdim=True) / count


def last_known(
    x: Float[Tensor, "R C L"], known: Bool[Tensor, "R C L"] | None
) -> Float[Tensor, "R C 1"]:
    """The last observed value of every channel; the first value if none is observed."""
    if known is None:
        return x[..., -1:]
    steps = torch.arange(x.shape[-1], device=x.device)
    return x.gather(-1, torch.where(known, steps, 0).amax(-1, keepdim=True))
