"""The parts of ConvTimeNet, in the order data passes through them.

After `DeformablePatch` the tokens stay in one layout, (D, R, N): width first, so that the
pointwise products, the depthwise convolution and the norms all run over contiguous memory and
no layer transposes its input.

Where points are padding or missing, `Extent` says which tokens of a row count. Those that do not
are zero between layers, so that a convolution sees past a row's own end what it sees past the end
of the tensor, and the norms and the pooling leave them out.

Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convtimenet import native
from convtimenet._shapes import Bool, Float, Int
from convtimenet.config import Padding, PredictorInit
from convtimenet.memory import recomputing


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
        """Normalise; also return the (centre, scale) that `inverse` needs. Points that are not
        `known` are left out of both and become zero."""
        if known is None and native.usable(x) and not torch.is_grad_enabled():
            x, centre, scale = native.standardise(x, 1e-5, self.subtract_last)
            return (x * self.weight + self.bias if self.affine else x), (centre, scale)
        fixed = x.detach()
        if known is None:
            mean, variance = fixed.mean(-1, keepdim=True), fixed.var(-1, keepdim=True, correction=0)
        else:
            mean, variance = known_moments(fixed, known)
        scale = (variance + 1e-5).sqrt()
        # gradients pass through the last value but not through the mean, as in the golden files
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
        """Bring the head's output back to the units of the context."""
        centre, scale = statistics
        if self.affine:
            y = (y - self.bias) / (self.weight + 1e-10)
        return y * scale + centre


def known_moments(
    x: Float[Tensor, "B C L"], known: Bool[Tensor, "B C L"]
) -> tuple[Float[Tensor, "B C 1"], Float[Tensor, "B C 1"]]:
    """Mean and population variance of the known points; 0 and 0 where there is none."""
    count = known.sum(-1, keepdim=True).clamp(min=1)
    mean = torch.where(known, x, 0.0).sum(-1, keepdim=True) / count
    off = torch.where(known, x - mean, 0.0)
    return mean, off.square().sum(-1, keepdim=True) / count


def last_known(
    x: Float[Tensor, "R C L"], known: Bool[Tensor, "R C L"] | None
) -> Float[Tensor, "R C 1"]:
    """The newest value of every channel; its first where none is known."""
    if known is None:
        return x[..., -1:]
    steps = torch.arange(x.shape[-1], device=x.device)
    return x.gather(-1, torch.where(known, steps, 0).amax(-1, keepdim=True))


class Extent(NamedTuple):
    """What belongs to each row of a batch that is padded or has gaps."""

    end: Int[Tensor, " R"]
    """Time steps up to the last at which a channel is known."""
    counted: Bool[Tensor, "R N"]
    """Tokens of which any point is known."""
    first: Int[Tensor, " R"]
    """First time step that the row's patches may read: where its first such token starts."""
    last: Int[Tensor, " R"]
    """Last one: where the patches end that the row would have if it stood alone."""


class DeformablePatch(nn.Module):
    """Cut series into patches that move and stretch with the data ("DePatch", SPEC section 2).

    Sampling positions are kept as offsets from whole time steps and in float32 at least, under
    autocast too: absolute or half-precision positions lose the fraction that interpolation needs.

    Parameters
    ----------
    channels, patch_size, patch_stride
        C, P and S.
    padding
        What is appended up to a whole patch: the last value, zeros, or nothing.
    d_model
        D.
    deformable
        False keeps every patch at its anchor.
    predictor_init
        How the offset predictor starts (`ModelConfig.predictor_init`).
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
        """Patches, projected to the width of the tokens."""
        patches = self.sample(self.pad(x, extent), extent)
        R, N = patches.shape[:2]
        weight, bias = self.project.weight, self.project.bias
        return torch.addmm(bias[:, None], weight, patches.reshape(R * N, -1).T).view(-1, R, N)

    def extent(self, known: Bool[Tensor, "R C L"]) -> Extent:
        """Which tokens each row has, as if it stood alone, and which of them count."""
        L, P, S = known.shape[-1], self.patch_size, self.patch_stride
        steps = torch.arange(L, device=known.device)
        some = known.any(1)
        end = torch.where(some, steps + 1, 0).amax(-1)
        whole = torch.div(end - P, S, rounding_mode="floor")  # `ModelConfig.patches_in`
        n_tokens = (whole + (1 if self.padding == "none" else 2)).clamp(min=1)
        # what a row is padded with up to a whole patch is its own
        own = some | ((steps >= end[:, None]) & (end[:, None] > 0))
        if self.padding != "none":
            own = torch.cat([own, (end > 0)[:, None].expand(-1, self._missing(L))], dim=-1)
        counted = own.unfold(-1, P, S).any(-1)
        counted &= torch.arange(counted.shape[1], device=known.device) < n_tokens[:, None]
        first = counted.to(torch.uint8).argmax(-1) * S
        return Extent(end, counted, first, torch.maximum(end, (n_tokens - 1) * S + P) - 1)

    def _missing(self, length: int) -> int:
        """Time steps from `length` up to a whole number of strides."""
        P, S = self.patch_size, self.patch_stride
        return max(0, (length - P) // S + 1) * S + P - length

    def pad(
        self, x: Float[Tensor, "R C L"], extent: Extent | None = None
    ) -> Float[Tensor, "R C padded"]:
        """Fill the end, every row's own where it has one, up to a whole number of strides."""
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
        """Read the P points of every patch, by linear interpolation where patches deform."""
        if self.predict is None:
            return self.uniform(x).permute(0, 2, 3, 1)
        with torch.autocast(x.device.type, enabled=False):
            left, right = self.boxes(x, extent)
            if native.usable(x) and not x.requires_grad:
                return native.interpolate(x, left, right, self.patch_size, self.patch_stride)
            return interpolate(x, left, right, self.patch_size, self.patch_stride)

    def uniform(self, x: Float[Tensor, "R C padded"]) -> Float[Tensor, "R C N P"]:
        """Plain patches, a view of `x`."""
        return x.unfold(-1, self.patch_size, self.patch_stride)

    def boxes(
        self, x: Float[Tensor, "R C padded"], extent: Extent | None = None
    ) -> tuple[Float[Tensor, "R N"], Float[Tensor, "R N"]]:
        """Left and right edge of every patch, in time steps from its first plain point.

        Plain patching is left = 0, right = P - 1. Edges are clamped to the series, to what is a
        row's own where padding follows or precedes it.
        """
        assert self.predict is not None
        half = (self.patch_size - 1) / 2
        plain = self.uniform(x).transpose(1, 2)
        rows, N = plain.shape[:2]
        # a copy: the view overlaps itself, and a product would copy it row by row
        moves = self.predict(plain.reshape(rows * N, -1).contiguous()).view(rows, N, 2)
        shift, stretch = moves.unbind(-1)
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
        Edges in time steps from the patch's first plain point i S, inside the series.
    """
    R, C, T = x.shape
    N = left.shape[1]
    steps = torch.arange(patch_size, device=x.device, dtype=x.dtype) / (patch_size - 1)
    offset = left[..., None] + (right - left)[..., None] * steps
    first = torch.arange(N, device=x.device) * patch_stride
    # rounding may put a position at the very start a little before it
    floor = torch.maximum(offset.detach().floor(), -first[:, None])
    # The last point has no right neighbour; its weight there is zero, so any row will do.
    below = (floor.long() + first[:, None]).clamp(0, T - 1)
    above = (below + 1).clamp(max=T - 1)
    rows = torch.arange(R, device=x.device)[:, None, None] * T
    by_time = x.transpose(1, 2).reshape(R * T, C)
    low = by_time[rows + below]
    high = by_time[rows + above]
    return torch.lerp(low, high, (offset - floor)[..., None])


class DepthwiseConv(nn.Module):
    """Depthwise 'same' convolution over tokens with a large kernel and a small one inside it.

    Both kernels are trained; the small one is padded into the large one and the sum convolved
    once, which is the same function as two parallel convolutions (SPEC section 3).
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
        """One kernel and bias that do the work of both."""
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

    The kernel becomes an N x N banded (Toeplitz) matrix. With few tokens this is far quicker
    than a convolution, forward and backward; long rows are cut into blocks that overlap by
    k - 1 tokens, so that the work stays within about twice the convolution's own.
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
    """Tokens per block: all of them while the full matrix is the smaller work."""
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
    """BatchNorm over D, statistics over rows and the tokens that count."""

    def forward(
        self, input: Float[Tensor, "D R N"], counted: Bool[Tensor, "R N"] | None = None
    ) -> Float[Tensor, "D R N"]:
        if counted is not None and self.training:
            return self._of_counted(input, counted)
        flat = input.flatten(1)[None]
        if not recomputing():
            return super().forward(flat).view_as(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        seen = self.running_mean.clone(), self.running_var.clone()
        again = F.batch_norm(flat, *seen, self.weight, self.bias, training=True, eps=self.eps)
        return again.view_as(input)

    def _of_counted(
        self, input: Float[Tensor, "D R N"], counted: Bool[Tensor, "R N"]
    ) -> Float[Tensor, "D R N"]:
        weight = counted.flatten().to(self.weight.dtype)
        count = weight.sum().clamp(min=1)
        with torch.autocast(input.device.type, enabled=False):
            u = input.flatten(1).to(weight.dtype)
            mean = u @ weight / count
            off = u - mean[:, None]
            variance = off.square() @ weight / count
            scale = self.weight * torch.rsqrt(variance + self.eps)
            v = torch.addcmul(self.bias[:, None], off, scale[:, None])
        with torch.no_grad():
            self.update(mean, variance * (count / (count - 1).clamp(min=1)))
        return v.to(input.dtype).view_as(input)

    def update(self, mean: Float[Tensor, " D"], variance: Float[Tensor, " D"]) -> None:
        """Take a batch's statistics (unbiased variance) into the running ones."""
        if recomputing():
            return
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


class TokenLayerNorm(nn.LayerNorm):
    """LayerNorm over D, one token at a time, so that it matters not which others count."""

    def forward(
        self, input: Float[Tensor, "D R N"], counted: Bool[Tensor, "R N"] | None = None
    ) -> Float[Tensor, "D R N"]:
        return super().forward(input.movedim(0, -1)).movedim(-1, 0).contiguous()


class Dropout(nn.Dropout):
    """Dropout whose CPU path draws 16 random bits per value, four values from one number.

    torch's own draws one number per value, which took a third of a CPU training step. The
    probability is exact to 2 ** -16, and the scaling uses the probability really drawn with.
    """

    def forward(self, input: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        if input.device.type != "cpu" or not self.training or self.p == 0:
            return super().forward(input)
        numbers = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = numbers.view(torch.int16)[: input.numel()].view(input.shape)
        dropped = min(round(self.p * 2**16), 2**16 - 1)
        keep = bits >= dropped - 2**15
        return input * (keep.to(input.dtype) * (2**16 / (2**16 - dropped)))


class PointwisePair(nn.Module):
    """D -> F, GELU, dropout, F -> D on every token."""

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
    """Quantiles as a median and distances from it that cannot cross.

    Every value but the median's row is a step outward from the quantile before it, made positive
    by softplus; distances are sums of steps.

    Parameters
    ----------
    y
        The head's values.
    median
        Which of the Q rows is the median.
    """
    steps = F.softplus(y)
    below = -steps[:, :, :median].flip(2).cumsum(2).flip(2)
    above = steps[:, :, median + 1 :].cumsum(2)
    centre = y[:, :, median]
    return centre, torch.cat([below, torch.zeros_like(centre).unsqueeze(2), above], dim=2)
