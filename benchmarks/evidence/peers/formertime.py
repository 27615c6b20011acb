"""FormerTime, written from its paper and trained by our loop: no library has it.

Cheng et al., "FormerTime: Hierarchical Multi-Scale Representations for Multivariate Time Series
Classification", WWW 2023, arXiv:2302.09818. Sizes are the defaults of the authors' repository.

    series -> [slices -> positions by convolution -> encoder layers] x 3 -> mean -> classes

What the paper leaves open, or its repository does otherwise:

- A series shorter than a slice gets zeros behind its end. Steps behind the last whole slice are
  left out, as in the repository.
- Keys and values are shortened by a convolution over R tokens with stride R, zeros behind the last
  token, so that the network reads series of any length. The repository has a matrix over all time
  steps in its place.
- The positions' convolution is depthwise; the repository's mixes the channels.
- Heads are projected together, as in any multi-head attention; the repository leaves that out.
- Norms follow the residual sums, and residual branches have a learnable scale, as in the
  repository.
- Weights start as torch has it, and Adam has no weight decay (the repository: 0.01).

Legend: B batch, C channels, L time steps, N tokens, D width, R reduction rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from convtimenet.bench.models import Fitted, fitted_classifier
from convtimenet.bench.problems import CasesProblem
from convtimenet.config import ModelConfig
from convtimenet.errors import ConfigError
from convtimenet.network.layers import Dropout, Residual
from peers.networks import classifier_of

_SCALE = 1e-8
"""Where the scales of the residual branches start, so that 18 layers train without a warm-up."""


class SlicePartition(nn.Module):
    """Temporal slice partition: (B, C, L) to tokens (B, N, D), one for each slice."""

    def __init__(self, channels: int, width: int, size: int, stride: int):
        super().__init__()
        self.size = size
        self.project = nn.Conv1d(channels, width, size, stride)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """N = floor((L - size) / stride) + 1, at least 1."""
        x = F.pad(x, (0, max(0, self.size - x.shape[-1])))
        return self.norm(self.project(x).transpose(1, 2))


class ContextualPositions(nn.Module):
    """Contextual positional encoding: what a convolution sees around a token is added to it."""

    def __init__(self, width: int, kernel_size: int = 5):
        super().__init__()
        self.around = nn.Conv1d(width, width, kernel_size, padding="same", groups=width)

    def forward(self, u: Tensor) -> Tensor:
        """(B, N, D) to the same."""
        return u + self.around(u.transpose(1, 2)).transpose(1, 2)


class Reduction(nn.Module):
    """(B, N, D) to (B, N / R rounded up, D), normalised."""

    def __init__(self, width: int, rate: int):
        super().__init__()
        self.rate = rate
        self.shorten = nn.Conv1d(width, width, rate, rate)
        self.norm = nn.LayerNorm(width)

    def forward(self, u: Tensor) -> Tensor:
        """Each result stands for R tokens side by side."""
        rows = F.pad(u.transpose(1, 2), (0, -u.shape[1] % self.rate))
        return self.norm(self.shorten(rows).transpose(1, 2))


class ReductionAttention(nn.Module):
    """Temporal reduction attention: softmax(q k' / sqrt(d)) v with keys and values from a sequence
    R times shorter, so that the cost falls from N^2 to N^2 / R. Plain attention at R = 1."""

    def __init__(self, width: int, heads: int, rate: int, dropout: float):
        super().__init__()
        if width % heads:
            raise ConfigError(
                f"widths must be multiples of the number of heads, found {width} and {heads}; "
                "change one of them"
            )
        self.heads = heads
        self.reduce = Reduction(width, rate) if rate > 1 else nn.Identity()
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.join = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, u: Tensor) -> Tensor:
        """(B, N, D) to the same."""
        q = self._split(self.query(u))
        k, v = map(self._split, self.key_value(self.reduce(u)).chunk(2, dim=-1))
        # products written out: the fused CPU operation is not counted as multiply-adds
        weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
        return self.join((self.dropout(weights) @ v).transpose(1, 2).flatten(2))

    def _split(self, u: Tensor) -> Tensor:
        """(B, N, D) to (B, heads, N, D / heads)."""
        return u.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class EncoderLayer(nn.Module):
    """Reduction attention, then D -> 4 D -> D on every token, each behind a residual and a norm."""

    def __init__(self, width: int, heads: int, rate: int, dropout: float):
        super().__init__()
        self.attention = ReductionAttention(width, heads, rate, dropout)
        self.add_attention = Residual(dropout, _SCALE)
        self.norm_attention = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), Dropout(dropout)
        )
        self.add_feed_forward = Residual(dropout, _SCALE)
        self.norm_feed_forward = nn.LayerNorm(width)

    def forward(self, u: Tensor) -> Tensor:
        """(B, N, D) to the same."""
        v = self.norm_attention(self.add_attention(u, self.attention(u)))
        return self.norm_feed_forward(self.add_feed_forward(v, self.feed_forward(v)))


class FormerTime(nn.Module):
    """The network, (B, C, L) to class scores (B, K).

    Parameters
    ----------
    slices, strides
        Slice size and stride of every stage: time steps in the first, tokens of the stage before
        in the others. The authors choose the first for each set.
    widths, layers, rates
        D, encoder layers and R of every stage.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        slices: Sequence[int] = (16, 2, 2),
        strides: Sequence[int] = (8, 2, 2),
        widths: Sequence[int] = (64, 64, 64),
        layers: Sequence[int] = (6, 6, 6),
        rates: Sequence[int] = (2, 1, 1),
        heads: int = 4,
        dropout: float = 0.1,
    ):
        super().__init__()
        if len({len(each) for each in (slices, strides, widths, layers, rates)}) > 1:
            raise ConfigError(
                "slices, strides, widths, layers and rates need one entry for each stage, found "
                f"{slices}, {strides}, {widths}, {layers} and {rates}; give as many of each"
            )
        self.stages = nn.ModuleList()
        below = channels
        for size, stride, width, depth, rate in zip(
            slices, strides, widths, layers, rates, strict=True
        ):
            encoder = [EncoderLayer(width, heads, rate, dropout) for _ in range(depth)]
            first = SlicePartition(below, width, size, stride), ContextualPositions(width)
            self.stages.append(nn.Sequential(*first, *encoder))
            below = width
        self.head = nn.Linear(below, classes)

    def tokens(self, x: Tensor) -> list[Tensor]:
        """What every stage gives, (B, N, D) each."""
        found, rows = [], x.nan_to_num(0.0)
        for stage in self.stages:
            found.append(stage(rows))
            rows = found[-1].transpose(1, 2)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of the mean over the last stage's tokens."""
        return self.head(self.tokens(x)[-1].mean(1))


def formertime(
    problem: CasesProblem, seed: int, *, network: dict[str, Any] | None = None, **settings: Any
) -> Fitted:
    """`FormerTime` with sizes from `network`, trained by our loop."""

    def build(config: ModelConfig, channels: int, seed: int) -> nn.Module:
        return FormerTime(channels, config.outputs, **(network or {}))

    kind = classifier_of("FormerTime", build)
    return fitted_classifier(kind, problem, seed, preset="auto", **settings)
