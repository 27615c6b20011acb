"""Turn a trained network into its inference form, once, on a copy."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convtimenet import native
from convtimenet._shapes import Bool, Float
from convtimenet.layers import TokenBatchNorm, banded_conv
from convtimenet.model import Block, ConvTimeNet


class FusedBlock(nn.Module):
    """A `Block` with its kernels merged and BatchNorm and residual scales folded away:

    v = s1 u + c1 GELU(conv(u)) + t1,  w = s2 v + pointwise'(v).
    """

    s1: Tensor
    c1: Tensor
    t1: Tensor
    s2: Tensor

    def __init__(self, block: Block):
        super().__init__()
        self.native = block.native
        weight, bias = block.conv.merged()
        self.weight, self.bias = nn.Buffer(weight.contiguous()), nn.Buffer(bias)
        s1, t1, self.norm_conv = _folded(block.norm_conv, weight)
        s2, t2, self.norm_pointwise = _folded(block.norm_pointwise, weight)
        self.s1, self.t1 = nn.Buffer(s1[:, None, None]), nn.Buffer(t1[:, None, None])
        self.c1 = nn.Buffer((s1 * _scale(block.add_conv.scale))[:, None, None])
        self.s2 = nn.Buffer(s2[:, None])
        widen, narrow = block.pointwise.widen, block.pointwise.narrow
        a2 = s2 * _scale(block.add_pointwise.scale)
        self.widen_weight, self.widen_bias = nn.Buffer(widen.weight), nn.Buffer(widen.bias[:, None])
        self.narrow_weight = nn.Buffer(a2[:, None] * narrow.weight)
        self.narrow_bias = nn.Buffer((a2 * narrow.bias + t2)[:, None])

    def forward(
        self, u: Float[Tensor, "D R N"], counted: Bool[Tensor, "R N"] | None = None
    ) -> Float[Tensor, "D R N"]:
        if counted is None and self.native and native.usable(u):
            return native.fused_block(self, u)
        conv = F.gelu(banded_conv(u, self.weight, self.bias))
        v = self.norm_conv(torch.addcmul(torch.addcmul(self.t1, self.s1, u), self.c1, conv))
        flat = v.flatten(1)
        hidden = F.gelu(torch.addmm(self.widen_bias, self.widen_weight, flat))
        kept = torch.addcmul(self.narrow_bias, self.s2, flat)
        w = self.norm_pointwise(torch.addmm(kept, self.narrow_weight, hidden).view_as(u))
        return w if counted is None else torch.where(counted, w, 0.0)


class FusedNorm(nn.Module):
    """Evaluation BatchNorm as one multiply-add over the width."""

    def __init__(self, norm: TokenBatchNorm):
        super().__init__()
        scale, shift, _ = _folded(norm, norm.weight)
        self.scale, self.shift = nn.Buffer(scale[:, None, None]), nn.Buffer(shift[:, None, None])

    def forward(
        self, u: Float[Tensor, "D R N"], counted: Bool[Tensor, "R N"] | None = None
    ) -> Float[Tensor, "D R N"]:
        return torch.addcmul(self.shift, self.scale, u)


def fuse(model: ConvTimeNet) -> ConvTimeNet:
    """Copy a network into its inference form: the same function as ``model.eval()``, quicker.

    Kernels are merged and BatchNorm and residual scales folded into the weights beside them
    (SPEC section 3). LayerNorm cannot be folded and stays. The copy cannot be trained further
    and the original is left alone.
    """
    fused = copy.deepcopy(model).eval().requires_grad_(False)
    fused.blocks = nn.Sequential(*(_fused(b) for b in fused.blocks))
    if isinstance(fused.embedding.norm, TokenBatchNorm):
        fused.embedding.norm = FusedNorm(fused.embedding.norm)
    return fused


def _fused(block: nn.Module) -> nn.Module:
    return FusedBlock(block) if isinstance(block, Block) else block


def _scale(parameter: Tensor | None) -> Tensor | float:
    return 1.0 if parameter is None else parameter


def _folded(norm: nn.Module, like: Tensor) -> tuple[Tensor, Tensor, nn.Module]:
    """Scale (D,), shift (D,) and what remains to be applied after them."""
    D = like.shape[0]
    if not isinstance(norm, TokenBatchNorm):
        return like.new_ones(D), like.new_zeros(D), norm
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale, nn.Identity()
