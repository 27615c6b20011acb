"""Deformable patches: from series to tokens (SPEC section 2).

If points are padded or missing, `Extent` holds the token mask of each row and the range its patches
may read.

Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convtimenet._shapes import Bool, Float, Int
from convtimenet.config import Padding, PredictorInit
from convtimenet.network.kernels import native

__all__ = ["DeformablePatch", "Extent", "interpolate", "spanned"]


class Extent(NamedTuple):
    """Token mask and readable range of each row, for a batch with padding or gaps."""

    end: Int[Tensor, " R"]
    """Length up to and including the last step at which any channel is observed."""
    mask: Bool[Tensor, "R N"]
    """Tokens with at least one observed point."""
    first: Int[Tensor, " R"]
    """First time step the row's patches may read: the start of its first unmasked token."""
    last: Int[Tensor, " R"]
    """Last time step they may read: the end of the row's last patch if it were not batched."""


class DeformablePatch(nn.Module):
    """Split series into patches that shift and stretch with the data ("DePatch", SPEC section 2).

    Sampling positions are stored as offsets from whole time steps, in float32 or wider even under
    autocast: absolute or half-precision positions lose the fraction that interpolation needs.

    Parameters
    ----------
    channels, patch_size, patch_stride
        C, P and S.
    padding
        Padding up to a whole patch: the last value, zeros, or none.
    d_model
        D.
    deformable
        False keeps every patch at its anchor.
    predictor_init
        Initialisation of the offset predictor (`ModelConfig.predictor_init`).
    """

    predictor_width = 64

    def __init__(
        self,
        *,
        channels: int,
        patch_size: int,
        patch_stride: int,
        padding: Padding,
        d_model: int,
        deformable: bool,
        predictor_init: PredictorInit,
    ):
        super().__init__()
        self.patch_size, self.patch_stride, self.padding = patch_size, patch_stride, padding
        self.project = nn.Linear(patch_size * channels, d_model)
        self.predict = None
        if deformable:
            self.predict = nn.Sequential(
                nn.Linear(channels * patch_size, self.predictor_width),
                nn.GELU(),
                nn.Linear(self.predictor_width, 2),
            )
            zeroed = {"default": (), "last_zero": (2,), "zero": (0, 2)}[predictor_init]
            for layer in zeroed:
                for parameter in self.predict[layer].parameters():
                    nn.init.zeros_(parameter)

    def forward(
        self, x: Float[Tensor, "R C L"], extent: Extent | None = None
    ) -> Float[Tensor, "D R N"]:
        """Sample patches and project them to the token width."""
        patches = self.sample(self.pad(x, extent), extent)
        R, N = patches.shape[:2]
        weight, bias = self.project.weight, self.project.bias
        flat = patches.flatten(2).flatten(0, 1)
        return torch.addmm(bias[:, None], weight, flat.T).unflatten(1, (R, N))

    def extent(self, known: Bool[Tensor, "R C L"]) -> Extent:
        """Token mask and readable range of each row, as if it were not batched with others."""
        L, P, S = known.shape[-1], self.patch_size, self.patch_stride
        steps = torch.arange(L, device=known.device)
        some = known.any(1)
        end = torch.where(some, steps + 1, 0).amax(-1)
        whole = torch.div(end - P, S, rounding_mode="floor")  # `ModelConfig.patches_in`
        n_tokens = (whole + (1 if self.padding == "none" else 2)).clamp(min=1)
        # padding up to a row's own last patch counts as observed
        own = some | ((steps >= end[:, None]) & (end[:, None] > 0))
        if self.padding != "none":
            own = torch.cat([own, (end > 0)[:, None].expand(-1, self._missing(L))], dim=-1)
        mask = own.unfold(-1, P, S).any(-1)
        mask &= torch.arange(mask.shape[1], device=known.device) < n_tokens[:, None]
        first = mask.to(torch.uint8).argmax(-1) * S
        return Extent(end, mask, first, torch.maximum(end, (n_tokens - 1) * S + P) - 1)

    def _missing(self, length: int) -> int:
        """Padding needed after `length` steps to fill the last patch."""
        P, S = self.patch_size, self.patch_stride
        return max(0, (length - P) // S + 1) * S + P - length

    def pad(
        self, x: Float[Tensor, "R C L"], extent: Extent | None = None
    ) -> Float[Tensor, "R C padded"]:
        """Pad the end up to a whole patch; with `extent`, from each row's own end."""
        if self.padding == "none":
            return x
        extra = self._missing(x.shape[-1])
        if self.padding == "zeros":
            return F.pad(x, (0, extra))
        if extent is None:
            return torch.cat([x, x[..., -1:].expand(-1, -1, extra)], dim=-1)
        end = extent.end[:, None, None]
        newest = x.gather(-1, (end - 1).clamp(min=0).expand(-1, x.shape[1], 1))
        x = F.pad(x, (0, extra))
        return torch.where(torch.arange(x.shape[-1], device=x.device) < end, x, newest)

    def sample(
        self, x: Float[Tensor, "R C padded"], extent: Extent | None = None
    ) -> Float[Tensor, "R N P C"]:
        """Sample the P points of every patch, with linear interpolation for deformable patches."""
        if self.predict is None:
            return self.uniform(x).permute(0, 2, 3, 1)
        with torch.autocast(x.device.type, enabled=False):
            left, right = self.boxes(x, extent)
            if native.usable(x) and not x.requires_grad:
                return native.interpolate(x, left, right, self.patch_size, self.patch_stride)
            return interpolate(x, left, right, self.patch_size, self.patch_stride)

    def uniform(self, x: Float[Tensor, "R C padded"]) -> Float[Tensor, "R C N P"]:
        """Uniform patches, as a view of `x`."""
        return x.unfold(-1, self.patch_size, self.patch_stride)

    def boxes(
        self, x: Float[Tensor, "R C padded"], extent: Extent | None = None
    ) -> tuple[Float[Tensor, "R N"], Float[Tensor, "R N"]]:
        """Left and right edge of every patch, in time steps from the start of the uniform patch.

        Uniform patches have left = 0, right = P - 1. Edges are clamped to the series, or to the
        row's own range where it is padded.
        """
        assert self.predict is not None
        half = (self.patch_size - 1) / 2
        plain = self.uniform(x).transpose(1, 2)
        rows, N = plain.shape[:2]
        # copied at once: the view overlaps itself, and a matmul would copy it row by row
        offsets = self.predict(plain.flatten(2).flatten(0, 1).contiguous()).view(rows, N, 2)
        shift, stretch = offsets.unbind(-1)
        reach = F.relu(stretch + half)
        start = torch.arange(shift.shape[-1], device=x.device) * self.patch_stride
        lowest, highest = -start, x.shape[-1] - 1 - start
        if extent is not None:
            lowest, highest = (edge[:, None] - start for edge in (extent.first, extent.last))
        lowest, highest = lowest.to(x.dtype), highest.to(x.dtype)
        centre = shift + half
        left = torch.minimum(torch.maximum(centre - reach, lowest), highest)
        right = torch.minimum(torch.maximum(centre + reach, lowest), highest)
        return left, right


def spanned(mask: Bool[Tensor, "*rows n"]) -> Bool[Tensor, "*rows n"]:
    """All from the first to the last place of each row where the mask is True."""
    count = mask.cumsum(-1)
    return (count > 0) & ((count < count[..., -1:]) | mask)


def interpolate(
    x: Float[Tensor, "R C T"],
    left: Float[Tensor, "R N"],
    right: Float[Tensor, "R N"],
    patch_size: int,
    patch_stride: int,
) -> Float[Tensor, "R N P C"]:
    """Sample P evenly spaced points of each patch by linear interpolation between neighbours.

    Parameters
    ----------
    left, right
        Edges in time steps from the start i S of the uniform patch, inside the series.
    """
    R, C, T = x.shape
    N = left.shape[1]
    steps = torch.arange(patch_size, device=x.device, dtype=x.dtype) / (patch_size - 1)
    offset = left[..., None] + (right - left)[..., None] * steps
    first = torch.arange(N, device=x.device) * patch_stride
    # rounding may put a position at the start slightly before it
    floor = torch.maximum(offset.detach().floor(), -first[:, None])
    # The last point has no right neighbour; its weight is zero, so any index will do.
    below = (floor.long() + first[:, None]).clamp(0, T - 1)
    above = (below + 1).clamp(max=T - 1)
    rows = torch.arange(R, device=x.device)[:, None, None] * T
    by_time = x.transpose(1, 2).reshape(R * T, C)
    low = by_time[rows + below]
    high = by_time[rows + above]
    return torch.lerp(low, high, (offset - floor)[..., None])
