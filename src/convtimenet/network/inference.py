"""Convert a copy of a trained network to its inference form."""

from __future__ import annotations

import copy
from typing import NamedTuple, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convtimenet._shapes import Bool, Float, Int
from convtimenet.config import Precision
from convtimenet.network.ensemble import Ensemble, networks_in
from convtimenet.network.kernels import native
from convtimenet.network.layers import TokenBatchNorm, banded_conv
from convtimenet.network.model import Block, Blocks, ConvTimeNet
from convtimenet.network.other import OtherNetwork

Network = TypeVar("Network", bound=ConvTimeNet | OtherNetwork)


class EightBits(NamedTuple):
    """An 8-bit matrix: integers in -127..127 times one scale per row."""

    values: Int[Tensor, "rows columns"]
    scale: Float[Tensor, " rows"]
    sums: Float[Tensor, " rows"]
    """Sum of each row, including the scale."""


def eight_bits(matrix: Float[Tensor, "rows columns"]) -> EightBits:
    """Quantise a matrix to 8 bits, on the CPU."""
    matrix = matrix.cpu()
    scale = matrix.abs().amax(1).clamp(min=1e-30) / 127
    whole = torch.round(matrix / scale[:, None])
    return EightBits(whole.to(torch.int8).contiguous(), scale, scale * whole.sum(1))


class FusedBlock(nn.Module):
    """A `Block` with merged kernels and folded BatchNorm and residual scales:

    v = s1 u + c1 GELU(conv(u)) + t1,  w = s2 v + pointwise'(v).

    Shares no memory with the block.
    """

    s1: Tensor
    c1: Tensor
    t1: Tensor
    s2: Tensor

    def __init__(self, block: Block):
        super().__init__()
        self.native = block.native
        weight, bias = block.conv.merged()
        self.weight, self.bias = nn.Buffer(_copied(weight)), nn.Buffer(_copied(bias))
        s1, t1, self.norm_conv = _folded(block.norm_conv, weight)
        s2, t2, self.norm_pointwise = _folded(block.norm_pointwise, weight)
        self.s1, self.t1 = nn.Buffer(s1[:, None, None]), nn.Buffer(t1[:, None, None])
        self.c1 = nn.Buffer((s1 * _scale(block.add_conv.scale))[:, None, None])
        self.s2 = nn.Buffer(s2[:, None])
        widen, narrow = block.pointwise.widen, block.pointwise.narrow
        a2 = s2 * _scale(block.add_pointwise.scale)
        self.widen_weight = nn.Buffer(_copied(widen.weight))
        self.widen_bias = nn.Buffer(_copied(widen.bias[:, None]))
        self.narrow_weight = nn.Buffer(a2[:, None] * narrow.weight)
        self.narrow_bias = nn.Buffer((a2 * narrow.bias + t2)[:, None])
        self.eight: tuple[EightBits, EightBits] | None = None

    def forward(
        self, u: Float[Tensor, "D R N"], mask: Bool[Tensor, "R N"] | None = None
    ) -> Float[Tensor, "D R N"]:
        flat = self.convolved(u).flatten(1)
        hidden = F.gelu(torch.addmm(self.widen_bias, self.widen_weight, flat))
        kept = torch.addcmul(self.narrow_bias, self.s2, flat)
        w = self.norm_pointwise(torch.addmm(kept, self.narrow_weight, hidden).view_as(u))
        return w if mask is None else torch.where(mask, w, 0.0)

    def reduce(self) -> None:
        """Make the CPU kernel compute the pointwise products in 8 bits."""
        if not any(width % 8 for width in self.widen_weight.shape):
            self.eight = eight_bits(self.widen_weight), eight_bits(self.narrow_weight)

    def kernel_weights(self) -> native.EncoderWeights:
        """Weights as the CPU kernel expects them."""
        eight = None if self.eight is None else (*self.eight[0], *self.eight[1])
        return native.EncoderWeights(
            self.weight, self.bias, self.s1, self.c1, self.t1, self.widen_weight, self.widen_bias,
            self.s2, self.narrow_weight, self.narrow_bias, eight,
        )  # fmt: skip

    def convolved(self, u: Float[Tensor, "D R N"]) -> Float[Tensor, "D R N"]:
        """The first half of the block: v above."""
        conv = F.gelu(banded_conv(u, self.weight, self.bias))
        return self.norm_conv(torch.addcmul(torch.addcmul(self.t1, self.s1, u), self.c1, conv))


class FusedBlocks(Blocks):
    """All blocks in inference form; the CPU kernel passes a few series through all at a time."""

    def __init__(self, *blocks: FusedBlock):
        super().__init__(*blocks)
        self.native = all(block.native for block in blocks)

    def forward(
        self,
        input: Float[Tensor, "D R N"],
        mask: Bool[Tensor, "R N"] | None = None,
        again: bool = False,
    ) -> Float[Tensor, "D R N"]:
        if self.native and native.usable(input) and not input.requires_grad:
            weights = [cast(FusedBlock, block).kernel_weights() for block in self]
            return native.encode(weights, input, mask)
        return super().forward(input, mask)


class FusedGELU(nn.Module):
    """GELU, followed by the evaluation-mode BatchNorm, if any, as a multiply-add per channel."""

    scale: Tensor | None
    shift: Tensor | None

    def __init__(self, norm: TokenBatchNorm | None = None):
        super().__init__()
        scale = shift = None
        if norm is not None:
            scale, shift = (t[:, None, None] for t in _folded(norm, norm.weight)[:2])
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """May overwrite `x`."""
        if native.usable(x) and not x.requires_grad:
            return native.gelu(x, self.scale, self.shift)
        if self.scale is None or self.shift is None:
            return F.gelu(x)
        return torch.addcmul(self.shift, self.scale, F.gelu(x))


def fuse(model: Network, precision: Precision = "fp32") -> Network:
    """Copy a network in inference form: the same function as ``model.eval()``, but faster.

    Kernels are merged, and BatchNorm and residual scales folded into the adjacent weights (SPEC
    section 3). LayerNorm cannot be folded and stays. The copy cannot be trained further; the
    original is unchanged. Of an `Ensemble` each member is fused; another `OtherNetwork`, or a
    network with other blocks, is only copied and put in evaluation mode.

    Parameters
    ----------
    model
        A trained network, of any kind.
    precision
        "int8" computes the pointwise products in 8 bits if the network runs in the CPU kernels and
        its widths are multiples of 8; otherwise they stay float.
    """
    if isinstance(model, OtherNetwork):
        fused = copy.deepcopy(model).eval().requires_grad_(False)
        if isinstance(fused, Ensemble):
            fused.embedding = nn.ModuleList(fuse(one, precision) for one in networks_in(fused))
        return fused
    if not all(isinstance(block, Block) for block in model.blocks):  # fused, or the user's own
        return copy.deepcopy(model).eval().requires_grad_(False)
    # copying takes longer than the rest, and the blocks are made anew
    fused = copy.deepcopy(model, {id(model.blocks): Blocks()}).eval().requires_grad_(False)
    with torch.no_grad():
        blocks = [FusedBlock(cast(Block, block)) for block in model.blocks]
    if precision == "int8":
        for block in blocks:
            block.reduce()
    fused.blocks = FusedBlocks(*blocks)
    if fused.embedding.patch.predict is not None:
        fused.embedding.patch.predict[1] = FusedGELU()
    if isinstance(fused.embedding.norm, TokenBatchNorm):
        fused.embedding.activation = FusedGELU(fused.embedding.norm)
        fused.embedding.norm = None
    return fused


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _scale(parameter: Tensor | None) -> Tensor | float:
    return 1.0 if parameter is None else parameter


def _folded(norm: nn.Module, like: Tensor) -> tuple[Tensor, Tensor, nn.Module]:
    """Scale (D,) and shift (D,) of a norm, and the module still to be applied after them."""
    D = like.shape[0]
    if not isinstance(norm, TokenBatchNorm):
        kept = copy.deepcopy(norm).eval().requires_grad_(False)
        return like.new_ones(D), like.new_zeros(D), kept
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale, nn.Identity()
