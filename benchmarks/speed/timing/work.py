"""The minimum operations and bytes of our network, computed from its sizes.

M = R x N tokens; the other letters are those of `convtimenet._shapes`.
"""

from __future__ import annotations

from dataclasses import dataclass

from convtimenet.config import ModelConfig
from convtimenet.network.patches import DeformablePatch

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Work:
    """Work of one pass over a batch."""

    flops: int
    bytes: int


def taps(n_tokens: int, kernel_size: int) -> int:
    """Products of one channel's convolution: pairs (i, j) of tokens with 0 <= i, j < N and
    -left <= j - i <= k - 1 - left, where left = (k - 1) // 2. Zeros of the padding are not counted.
    """
    left = (kernel_size - 1) // 2
    right = kernel_size - 1 - left
    return sum(min(n_tokens - 1, i + right) - max(0, i - left) + 1 for i in range(n_tokens))


def forward(config: ModelConfig, rows: int, parameters: int) -> Work:
    """One forward pass over R rows.

    Two operations per product of a matrix product or convolution; elementwise work is not counted:

        flops = 2 (M p W + 2 M W     offset predictor, p = C P points a patch, W = 64
                   + M p D           projection
                   + sum_k D R taps(N, k) + depth 2 M D F
                   + R D N' K)       head, N' = N where it reads all tokens, else 1

    Bytes are those of this layout with everything fused that BatchNorm's statistics allow: series
    and outputs once, weights once, and of tokens (4 D M bytes) one write by the projection, a read
    and a write by each half of a block, and one read by the head.
    """
    D, F, N = config.d_model, config.d_ff, config.n_patches
    M, points, depth = rows * N, config.channels * config.patch_size, len(config.kernel_sizes)
    predictor = M * (points + 2) * DeformablePatch.predictor_width if config.deformable else 0
    convolutions = D * rows * sum(taps(N, k) for k in config.kernel_sizes)
    head = rows * D * (N if config.pooling == "flatten" else 1) * config.outputs
    products = predictor + M * points * D + convolutions + depth * 2 * M * D * F + head
    values = _series(config, rows) + parameters + (2 + 4 * depth) * D * M
    return Work(2 * products, FLOAT * values)


def step(config: ModelConfig, rows: int, parameters: int) -> Work:
    """One training step: forward, backward and Adam.

    Each product has two in the backward pass, one per factor, except that the series needs no
    gradient:

        flops = 3 forward - 2 M p W  (plain patches: - 2 M p D)

    Of tokens, each half of a block reads its input and writes its result before the norm; backward
    it reads the gradient, its input and that result and writes a gradient: 12 passes a block. The
    projection and the head add a pass each for their gradients. Adam reads value, gradient and two
    moments of each parameter and writes four numbers.
    """
    once = forward(config, rows, parameters)
    D, M, depth = config.d_model, rows * config.n_patches, len(config.kernel_sizes)
    points = config.channels * config.patch_size
    first = DeformablePatch.predictor_width if config.deformable else D
    values = _series(config, rows) + 8 * parameters + (4 + 12 * depth) * D * M
    return Work(3 * once.flops - 2 * M * points * first, FLOAT * values)


def _series(config: ModelConfig, rows: int) -> int:
    return rows * (config.channels * config.context_length + config.outputs)


def attainable_ms(work: Work, gflops: float, copy_gb_per_s: float) -> float:
    """The longer of computing at the matmul rate and moving data at the copy rate, in ms."""
    return max(work.flops / gflops, work.bytes / copy_gb_per_s) * 1e-6
