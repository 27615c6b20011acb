"""The network on CPU through fused kernels, in float32: ``kernels.cpp`` trains, ``encode.cpp``
predicts, ``patches.cpp`` computes the features of random patches.

`convtimenet.network.kernels.library` finds the compiled code; where there is none, the plain torch
code of `convtimenet.network.model` computes the same more slowly. The feed-forward network runs
over chunks of tokens that stay in the core's cache, and its hidden values are recomputed in the
backward pass instead of stored.

Shape legend: `convtimenet._shapes`; M = R x N tokens.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convtimenet import processes
from convtimenet._shapes import Bool, Float
from convtimenet.devices import generator, part_of
from convtimenet.errors import ConfigError
from convtimenet.network.kernels.library import library

_CHUNK_VALUES = 131_072  # hidden values per chunk: two such buffers fit in the L2 cache
_GROUP_VALUES = 131_072  # token values that go through all blocks together, likewise


Statistics = tuple[Tensor, Tensor]
"""Mean (D,) and unbiased variance (D,) of a batch."""


class TrainWeights(NamedTuple):
    """Weights of a `convtimenet.network.model.Block`, in order of use."""

    kernel: Float[Tensor, "D k"]
    kernel_bias: Float[Tensor, " D"]
    a1: Float[Tensor, ""] | None
    """Scale of the residual branch; None for an unscaled residual."""
    gamma1: Float[Tensor, " D"]
    beta1: Float[Tensor, " D"]
    widen: Float[Tensor, "F D"]
    widen_bias: Float[Tensor, " F"]
    narrow: Float[Tensor, "D F"]
    narrow_bias: Float[Tensor, " D"]
    a2: Float[Tensor, ""] | None
    gamma2: Float[Tensor, " D"]
    beta2: Float[Tensor, " D"]


class EncoderWeights(NamedTuple):
    """Weights of a block in inference form, `convtimenet.network.inference.FusedBlock`."""

    weight: Tensor
    bias: Tensor
    s1: Tensor
    c1: Tensor
    t1: Tensor
    widen_weight: Tensor
    widen_bias: Tensor
    s2: Tensor
    narrow_weight: Tensor
    narrow_bias: Tensor
    eight: tuple[Tensor, ...] | None
    """Values, scale and sums of both matrices in 8 bits."""


def usable(u: Tensor) -> bool:
    """Whether the kernels are available and accept a tensor: float32, on CPU, not being traced."""
    return (
        u.device.type == "cpu"
        and u.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and u.numel() > u.shape[0]  # for a single value BatchNorm raises its own error
        and library() is not None
    )


def _call(name: str, *arguments: Any) -> None:
    """Call a kernel with tensors as pointers and integers as int64; appends the thread count.

    Raises
    ------
    MemoryError
        If the kernel cannot allocate its working memory.
    """
    loaded = library()
    assert loaded is not None
    converted: list[Any] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            converted.append(ctypes.c_void_p(argument.data_ptr()))
        elif argument is None:
            converted.append(ctypes.c_void_p())
        elif isinstance(argument, int):
            converted.append(ctypes.c_int64(argument))
        else:
            converted.append(argument)
    if getattr(loaded, name)(*converted, ctypes.c_int(torch.get_num_threads())):
        raise MemoryError(f"memory ran out in the kernel {name}")


def _chunks(M: int, hidden: int) -> range:
    """First column of each chunk; the range's step is the chunk size."""
    return range(0, M, max(64, _CHUNK_VALUES // hidden))


class _TrainBlock(torch.autograd.Function):
    """A whole block in training mode; computes the same as `Block.forward`."""

    @staticmethod
    def forward(
        ctx: Any,
        u: Float[Tensor, "D R N"],
        kernel: Float[Tensor, "D k"],
        kernel_bias: Float[Tensor, " D"],
        a1: Float[Tensor, ""],
        gamma1: Float[Tensor, " D"],
        beta1: Float[Tensor, " D"],
        widen: Float[Tensor, "F D"],
        widen_bias: Float[Tensor, " F"],
        narrow: Float[Tensor, "D F"],
        narrow_bias: Float[Tensor, " D"],
        a2: Float[Tensor, ""],
        gamma2: Float[Tensor, " D"],
        beta2: Float[Tensor, " D"],
        dropout: float,
        eps: float,
        seeds: tuple[int, int, int],
        begin: int,
        mask: Float[Tensor, "R N"] | None,
        total: float,
    ) -> tuple[Tensor, ...]:
        D, R, N = u.shape
        F, M = widen.shape[0], R * N
        u, kernel = u.contiguous(), kernel.contiguous()
        p, epsilon = ctypes.c_double(dropout), ctypes.c_float(eps)
        count = ctypes.c_double(max(total, 1))
        x1, v, x2, w = (torch.empty_like(u) for _ in range(4))
        mean1, variance1, mean2, variance2 = (u.new_empty(D) for _ in range(4))
        several = processes.count() > 1  # then the norms need what the others have computed
        _call(
            "conv_forward", D, R, N, kernel.shape[1], u, kernel, kernel_bias,
            ctypes.c_float(float(a1)), p, seeds[0], begin, gamma1, beta1, epsilon, mask, count, x1,
            None if several else v, mean1, variance1,
        )  # fmt: skip
        everyone = max(total, 1)
        if several:
            everyone = _pooled(mean1, variance1, total)
            _call("norm_forward", D, M, x1, gamma1, beta1, epsilon, mask, mean1, variance1, v)
        columns = _chunks(M, F)
        hidden = u.new_empty(F * min(M, columns.step))
        flat, branch = v.view(D, M), x2.view(D, M)
        for first in columns:
            part = flat[:, first : first + columns.step]
            n = part.shape[1]
            h = torch.mm(widen, part, out=hidden[: F * n].view(F, n))
            _call("gelu_forward", F, n, h, widen_bias, p, seeds[1], begin + first)
            torch.mm(narrow, h, out=branch[:, first : first + n])
        _call(
            "residual_forward", D, M, v, x2, narrow_bias, ctypes.c_float(float(a2)), p, seeds[2],
            begin, gamma2, beta2, epsilon, mask, count, None if several else w, mean2, variance2,
        )  # fmt: skip
        if several:
            _pooled(mean2, variance2, total)
            _call("norm_forward", D, M, x2, gamma2, beta2, epsilon, mask, mean2, variance2, w)
        ctx.save_for_backward(
            u, kernel, kernel_bias, a1, gamma1, widen, widen_bias, narrow, narrow_bias, a2, gamma2,
            x1, v, x2, mean1, variance1, mean2, variance2, mask,
        )  # fmt: skip
        ctx.settings = dropout, eps, seeds, begin, everyone
        unbiased = everyone / max(everyone - 1, 1)
        seen = mean1, variance1 * unbiased, mean2, variance2 * unbiased
        ctx.mark_non_differentiable(*seen)
        return w, *seen

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        if torch.is_grad_enabled():  # the result would be treated as a constant
            raise ConfigError(
                "the fused CPU kernels have no second derivative, and backward was called with "
                "create_graph=True; set CONVTIMENET_NATIVE=0 in the environment before Python "
                "starts to use plain torch code"
            )
        (
            u, kernel, kernel_bias, a1, gamma1, widen, widen_bias, narrow, narrow_bias, a2, gamma2,
            x1, v, x2, mean1, variance1, mean2, variance2, mask,
        ) = ctx.saved_tensors  # fmt: skip
        dropout, eps, seeds, begin, total_weight = ctx.settings
        D, R, N = u.shape
        F, M = widen.shape[0], R * N
        p, epsilon = ctypes.c_double(dropout), ctypes.c_float(eps)
        count = ctypes.c_double(total_weight)
        g = gradients[0].clone(memory_format=torch.contiguous_format)
        through = torch.empty_like(g)
        g_gamma2, g_beta2, sums = (u.new_empty(D) for _ in range(3))
        _call(
            "residual_backward", D, M, x2, p, seeds[2], begin, gamma2, epsilon, mask, count, mean2,
            variance2, _slopes(x2, g, mask, mean2), g, through, sums, g_gamma2, g_beta2,
        )  # fmt: skip
        # `through` is the gradient of the scaled branch a2 pair(v), so that of a2 is
        # <through, pair(v)>, which equals <outer, narrow> + <sums, bias> without storing pair(v).
        outer, g_widen = torch.zeros_like(narrow), torch.zeros_like(widen)
        g_widen_bias = torch.zeros_like(widen_bias)
        scaled, transposed = (a2 * narrow).T.contiguous(), widen.T.contiguous()
        columns = _chunks(M, F)
        hidden = u.new_empty(2, F * min(M, columns.step))
        flat, branch, total = v.view(D, M), through.view(D, M), g.view(D, M)
        for first in columns:
            part, behind = (t[:, first : first + columns.step] for t in (flat, branch))
            n = part.shape[1]
            h = torch.mm(widen, part, out=hidden[0, : F * n].view(F, n))
            g_h = torch.mm(scaled, behind, out=hidden[1, : F * n].view(F, n))
            _call(
                "gelu_backward", F, n, h, g_h, widen_bias, p, seeds[1], begin + first, g_widen_bias
            )
            outer.addmm_(behind, h.T)
            g_widen.addmm_(g_h, part.T)
            total[:, first : first + n].addmm_(transposed, g_h)
        g_a2 = (outer * narrow).sum() + (sums * narrow_bias).sum()
        g_kernel, g_kernel_bias = torch.empty_like(kernel), torch.empty_like(kernel_bias)
        g_gamma1, g_beta1 = torch.empty_like(gamma1), torch.empty_like(gamma1)
        g_a1 = torch.empty(D, dtype=torch.float64)
        _call(
            "conv_backward", D, R, N, kernel.shape[1], u, kernel, kernel_bias,
            ctypes.c_float(float(a1)), p, seeds[0], begin, gamma1, epsilon, mask, count, x1, mean1,
            variance1, _slopes(x1, g, mask, mean1), g, g_kernel, g_kernel_bias, g_a1, g_gamma1,
            g_beta1,
        )  # fmt: skip
        return (
            g, g_kernel, g_kernel_bias, g_a1.sum().to(u.dtype), g_gamma1, g_beta1, g_widen,
            g_widen_bias, a2 * outer, a2 * sums, g_a2, g_gamma2, g_beta2, *(None,) * 6,
        )  # fmt: skip


def _pooled(mean: Float[Tensor, " D"], variance: Float[Tensor, " D"], total: float) -> float:
    """Make the statistics of this process's tokens those of all processes, in place; returns the
    number of all unmasked tokens."""
    first, second = mean.double(), variance.double()
    own = total * torch.cat([first, second + first.square(), first.new_ones(1)])
    first, second, count = processes.add_up(own).split([len(mean), len(mean), 1])
    count.clamp_(min=1)
    first /= count
    mean.copy_(first)
    variance.copy_((second / count - first.square()).clamp(min=0))
    return float(count)


def _slopes(
    x: Float[Tensor, "D R N"],
    g: Float[Tensor, "D R N"],
    mask: Float[Tensor, "R N"] | None,
    mean: Float[Tensor, " D"],
) -> Float[Tensor, "D two"] | None:
    """What the gradients of the norm's inputs need of all processes; None if there is one."""
    if processes.count() == 1:
        return None
    D, M = len(x), x[0].numel()
    own = torch.empty(D, 2, dtype=torch.float64)
    _call("norm_slopes", D, M, x, g, mask, mean, own)
    return processes.add_up(own)


class _Interpolate(torch.autograd.Function):
    """`convtimenet.network.patches.interpolate`, without gradients for the series itself."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "R C T"],
        left: Float[Tensor, "R N"],
        right: Float[Tensor, "R N"],
        patch_size: int,
        patch_stride: int,
    ) -> Float[Tensor, "R N P C"]:
        R, C, T = x.shape
        N = left.shape[1]
        by_time = x.transpose(1, 2).contiguous()
        out = x.new_empty(R, N, patch_size, C)
        needed = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        slope = torch.empty_like(out) if needed else None
        _call(
            "interpolate", R, T, C, N, patch_size, patch_stride, by_time, left.contiguous(),
            right.contiguous(), out, slope,
        )  # fmt: skip
        ctx.save_for_backward(slope)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        (slope,) = ctx.saved_tensors
        offset = (gradients[0] * slope).sum(-1)  # (R, N, P): gradient of the sampling positions
        P = offset.shape[-1]
        steps = torch.arange(P, dtype=offset.dtype) / (P - 1)
        right = offset @ steps
        return None, offset.sum(-1) - right, right, None, None


def interpolate(
    x: Float[Tensor, "R C T"],
    left: Float[Tensor, "R N"],
    right: Float[Tensor, "R N"],
    patch_size: int,
    patch_stride: int,
) -> Float[Tensor, "R N P C"]:
    """See `convtimenet.network.patches.interpolate`."""
    return _Interpolate.apply(x, left, right, patch_size, patch_stride)


def train_block(
    u: Float[Tensor, "D R N"],
    weights: TrainWeights,
    dropout: float,
    eps: float,
    mask: Bool[Tensor, "R N"] | None = None,
) -> tuple[Float[Tensor, "D R N"], Statistics, Statistics]:
    """`Block.forward` in training mode; also returns the batch statistics of both norms."""
    one = u.new_ones(())
    a1, a2 = (one if scale is None else scale for scale in (weights.a1, weights.a2))
    M = u[0].numel()
    weight = None if mask is None else mask.float().contiguous()
    total = float(M if weight is None else weight.sum())
    numbers = torch.randint(2**62, (3,), generator=generator())
    begin = part_of(M)[0].start  # numbers are drawn for the tokens of a whole batch
    w, mean1, variance1, mean2, variance2 = _TrainBlock.apply(
        u, *weights._replace(a1=a1, a2=a2), dropout, eps, tuple(numbers.tolist()), begin, weight,
        total,
    )  # fmt: skip
    return w, (mean1, variance1), (mean2, variance2)


def encode(
    blocks: Sequence[EncoderWeights],
    u: Float[Tensor, "D R N"],
    mask: Bool[Tensor, "R N"] | None = None,
) -> Float[Tensor, "D R N"]:
    """Pass tokens through all blocks; each computes the same as `FusedBlock.forward`."""
    D, R, N = u.shape
    u = u.contiguous()
    numbers: list[int] = []
    for block in blocks:
        *values, eight = block
        numbers += [block.weight.shape[1], *(value.data_ptr() for value in values)]
        numbers += [value.data_ptr() for value in eight or ()] or [0] * 6
    # series per group: as many as fit in the cache, but at least one group per thread
    series = max(1, min(32, _GROUP_VALUES // (D * N), -(-R // torch.get_num_threads())))
    w = u.new_empty(R, D, N)  # a row's tokens are contiguous, as the head reads them
    table = (ctypes.c_int64 * len(numbers))(*numbers)
    hidden = blocks[0].widen_weight.shape[0]
    weight = None if mask is None else mask.float().contiguous()
    _call("encode", D, R, N, hidden, series, len(blocks), table, u, weight, w)
    return w.transpose(0, 1)


def gelu(
    x: Float[Tensor, "*shape"], scale: Tensor | None = None, shift: Tensor | None = None
) -> Float[Tensor, "*shape"]:
    """scale GELU(x) + shift, with scale and shift along the first axis.

    Accurate to 3e-6 and several times faster than torch. Overwrites `x` if it is contiguous.
    """
    y = x.contiguous()
    rows = 1 if scale is None else y.shape[0]
    _call("gelu", rows, y.numel() // rows, y, scale, shift)
    return y


def standardise(
    x: Float[Tensor, "B C L"], eps: float, subtract_last: bool
) -> tuple[Float[Tensor, "B C L"], Float[Tensor, "B C 1"], Float[Tensor, "B C 1"]]:
    """Normalised series, centre and scale, as in `convtimenet.network.revin.RevIN.forward`."""
    B, C, L = x.shape
    x = x.contiguous()  # `empty_like` would otherwise keep strides the kernel does not support
    y, centre, scale = torch.empty_like(x), x.new_empty(B, C, 1), x.new_empty(B, C, 1)
    _call(
        "standardise", B * C, L, x, ctypes.c_float(eps),
        ctypes.c_int(subtract_last), y, centre, scale,
    )  # fmt: skip
    return y, centre, scale


def patch_features(
    x: Float[Tensor, "B c T"],
    weight: Float[Tensor, "c P K"],
    levels: Float[Tensor, "three K"],
    stretch: int,
    places: Tensor | None,
    out: Float[Tensor, "B features"],
) -> None:
    """Write the features of a group of random patches to the columns `out`; computes the same as
    `convtimenet.network.random_patches.PatchFeatures` for series that are already padded."""
    B, c, T = x.shape
    P, K = weight.shape[1:]
    where = None if places is None else places.to(torch.int64).contiguous()
    _call(
        "patch_features", B, c, T, P, K, stretch, x.contiguous(), weight, levels.contiguous(),
        where, out.stride(0), out,
    )  # fmt: skip
