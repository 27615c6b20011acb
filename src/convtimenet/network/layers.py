"""Layers of the encoder blocks and the head.

Tokens have the layout (D, R, N), width first, so that the pointwise products, the depthwise
convolution and the norms all run over contiguous memory and no layer transposes its input.

Masked tokens (`convtimenet.network.patches.Extent`) are zero between layers, so that a convolution
sees the same past the end of a row as past the end of the tensor; norms and pooling skip them.

Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convtimenet import processes
from convtimenet._shapes import Bool, Float
from convtimenet.devices import generator, part_of
from convtimenet.network.memory import recomputing


class DepthwiseConv(nn.Module):
    """Depthwise 'same' convolution over tokens with a large and a small kernel in parallel.

    Both kernels are trained; the small one is padded to the size of the large one and their sum
    convolved once, which equals two parallel convolutions (SPEC section 3).
    """

    def __init__(self, width: int, kernel_size: int, small_kernel: int):
        super().__init__()
        self.kernel_size = kernel_size
        like = nn.Conv1d(width, width, kernel_size, groups=width)
        self.weight, self.bias = like.weight, like.bias
        self.small_weight = self.small_bias = None
        if small_kernel:
            like = nn.Conv1d(width, width, small_kernel, groups=width)
            self.small_weight, self.small_bias = like.weight, like.bias

    def merged(self) -> tuple[Float[Tensor, "D k"], Float[Tensor, " D"]]:
        """Kernel and bias equivalent to both branches."""
        weight, bias = self.weight[:, 0], self.bias
        assert bias is not None
        if self.small_weight is not None and self.small_bias is not None:
            small = self.small_weight[:, 0]
            left = (self.kernel_size - 1) // 2 - (small.shape[1] - 1) // 2
            right = self.kernel_size - small.shape[1] - left
            weight, bias = weight + F.pad(small, (left, right)), bias + self.small_bias
        return weight, bias

    def forward(self, u: Float[Tensor, "D R N"]) -> Float[Tensor, "D R N"]:
        """Convolve along N."""
        weight, bias = self.merged()
        return banded_conv(u, weight, bias)


def banded_conv(
    u: Float[Tensor, "D R N"], weight: Float[Tensor, "D k"], bias: Float[Tensor, " D"]
) -> Float[Tensor, "D R N"]:
    """Depthwise convolution with 'same' zero padding, as one matrix product per channel.

    The kernel becomes an N x N banded (Toeplitz) matrix. With few tokens this is much faster than
    a convolution, forward and backward; long rows are split into blocks that overlap by k - 1
    tokens, which bounds the work to about twice that of the convolution.
    """
    N, k = u.shape[-1], weight.shape[1]
    left = (k - 1) // 2
    block = _block_length(N, k)
    if block >= N:
        return torch.baddbmm(bias[:, None, None], u, _band(weight, N, N, left))
    blocks = -(-N // block)
    padded = F.pad(u, (left, blocks * block - N + k - 1 - left))
    rows = padded.unfold(-1, block + k - 1, block).flatten(1, 2)
    band = _band(weight, block + k - 1, block, 0)
    v = torch.baddbmm(bias[:, None, None], rows, band)
    return v.view(u.shape[0], u.shape[1], blocks * block)[..., :N]


def _block_length(n_tokens: int, kernel_size: int) -> int:
    """Tokens per block: all of them while the full matrix is less work."""
    block = max(32, kernel_size)
    return n_tokens if n_tokens <= 2 * (block + kernel_size) else block


def _band(
    weight: Float[Tensor, "D k"], rows: int, columns: int, left: int
) -> Float[Tensor, "D rows columns"]:
    """Matrices with entry [d, i, j] = weight[d, i - j + left], zero outside the kernel."""
    k = weight.shape[1]
    # offsets i - j + left run from left - columns + 1 to left + rows - 1
    line = F.pad(weight, (columns - 1 - left, left + rows - k))
    return line.unfold(1, columns, 1).flip(-1)


class TokenBatchNorm(nn.BatchNorm1d):
    """BatchNorm over D, with statistics over rows and unmasked tokens."""

    def forward(
        self, input: Float[Tensor, "D R N"], mask: Bool[Tensor, "R N"] | None = None
    ) -> Float[Tensor, "D R N"]:
        flat = input.flatten(1)[None]
        if input.numel() == 0:  # an empty batch has no statistics
            seen = self.running_mean, self.running_var
            return F.batch_norm(flat, *seen, self.weight, self.bias).view_as(input)
        if self.training and (mask is not None or processes.count() > 1):
            return self._weighted(input, mask)
        if not recomputing():
            return super().forward(flat).view_as(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        seen = self.running_mean.clone(), self.running_var.clone()
        again = F.batch_norm(flat, *seen, self.weight, self.bias, training=True, eps=self.eps)
        return again.view_as(input)

    def _weighted(
        self, input: Float[Tensor, "D R N"], mask: Bool[Tensor, "R N"] | None
    ) -> Float[Tensor, "D R N"]:
        """With the statistics of the unmasked tokens of all processes."""
        if mask is None:
            weight = self.weight.new_ones(input[0].numel())
        else:
            weight = mask.flatten().to(self.weight.dtype)
        count = processes.add_up(weight.sum()).clamp(min=1)
        with torch.autocast(input.device.type, enabled=False):
            u = input.flatten(1).to(weight.dtype)
            mean = summed(u @ weight) / count
            off = u - mean[:, None]
            variance = summed(off.square() @ weight) / count
            scale = self.weight * torch.rsqrt(variance + self.eps)
            v = torch.addcmul(self.bias[:, None], off, scale[:, None])
        with torch.no_grad():
            self.update(mean, variance * (count / (count - 1).clamp(min=1)))
        return v.to(input.dtype).view_as(input)

    def update(self, mean: Float[Tensor, " D"], variance: Float[Tensor, " D"]) -> None:
        """Update the running statistics with those of a batch (unbiased variance)."""
        if recomputing():
            return
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


class _Summed(torch.autograd.Function):
    """Sum over all processes; a change of the sum changes the loss of each of them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return processes.add_up(values.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        return processes.add_up(gradients[0].clone())


def summed(values: Tensor) -> Tensor:
    """Sum a tensor over all processes, with its gradient."""
    return values if processes.count() == 1 else _Summed.apply(values)


class TokenLayerNorm(nn.LayerNorm):
    """LayerNorm over D; each token is normalised by itself, so the mask is not needed."""

    def forward(
        self, input: Float[Tensor, "D R N"], mask: Bool[Tensor, "R N"] | None = None
    ) -> Float[Tensor, "D R N"]:
        return super().forward(input.movedim(0, -1)).movedim(-1, 0).contiguous()


class OwnDropout(nn.Dropout):
    """torch's dropout, sampled from the training run's generator (`convtimenet.devices`) on CPU;
    the first axis are the examples."""

    def forward(self, input: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        if self._as_in_torch(input) or generator() is None:
            return super().forward(input)
        part, whole = part_of(len(input))
        keep = input.new_empty(whole, *input.shape[1:]).bernoulli_(
            1 - self.p, generator=generator()
        )
        return input * keep[part].div_(1 - self.p)

    def _as_in_torch(self, input: Tensor) -> bool:
        """Whether to use torch's dropout: off the CPU, when compiling, or when it has no effect."""
        traced = torch.compiler.is_compiling()
        return traced or input.device.type != "cpu" or not self.training or self.p == 0


class Dropout(OwnDropout):
    """Dropout whose CPU path draws 16 random bits per value, four values per random number.

    torch's own draws one number per value, which took a third of a CPU training step. The
    probability is exact to 2 ** -16, and the scaling uses the rounded probability. The axes after
    the first are those of the examples.
    """

    def forward(self, input: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        if self._as_in_torch(input):
            return super().forward(input)
        D, M = len(input), input[0].numel()
        part, whole = part_of(M)
        numbers = torch.empty(-(-D * whole // 4), dtype=torch.int64)
        numbers.random_(-(2**63), None, generator=generator())
        bits = numbers.view(torch.int16)[: D * whole].view(D, whole)[:, part].view(input.shape)
        dropped = min(round(self.p * 2**16), 2**16 - 1)
        keep = bits >= dropped - 2**15
        return input * (keep.to(input.dtype) * (2**16 / (2**16 - dropped)))


class PointwisePair(nn.Module):
    """Feed-forward network on every token: D -> F, GELU, dropout, F -> D."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)
        self.dropout = Dropout(dropout)

    def forward(self, v: Float[Tensor, "D R N"]) -> Float[Tensor, "D R N"]:
        hidden = torch.addmm(self.widen.bias[:, None], self.widen.weight, v.flatten(1))
        hidden = self.dropout(F.gelu(hidden))
        return torch.addmm(self.narrow.bias[:, None], self.narrow.weight, hidden).view_as(v)


class Residual(nn.Module):
    """u + dropout(a * branch): a is learnable, or 1 for the plain residual (SPEC section 3)."""

    def __init__(self, dropout: float, init: float | None):
        super().__init__()
        self.dropout = Dropout(dropout)
        self.scale = None if init is None else nn.Parameter(torch.tensor(init))

    def forward(
        self, u: Float[Tensor, "D R N"], branch: Float[Tensor, "D R N"]
    ) -> Float[Tensor, "D R N"]:
        return u + self.dropout(branch if self.scale is None else self.scale * branch)


def median_and_spread(
    y: Float[Tensor, "B C Q H"], median: int
) -> tuple[Float[Tensor, "B C H"], Float[Tensor, "B C Q H"]]:
    """Split quantile outputs into the median and offsets from it, so that quantiles cannot cross.

    Except for the median, each row is a step outward from the neighbouring quantile, made positive
    by softplus; the offsets are cumulative sums of the steps.

    Parameters
    ----------
    y
        Output of the head.
    median
        Index of the median among the Q rows.
    """
    steps = F.softplus(y)
    below = -steps[:, :, :median].flip(2).cumsum(2).flip(2)
    above = steps[:, :, median + 1 :].cumsum(2)
    centre = y[:, :, median]
    return centre, torch.cat([below, torch.zeros_like(centre).unsqueeze(2), above], dim=2)
