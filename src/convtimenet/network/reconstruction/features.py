"""Features of cases by the weights that come with the package, for one linear map on top.

Each channel of a case is read by itself, resampled to two lengths, because a patch of 16 steps is
much of a short recording and little of a long one. The features are the mean, maximum and deviation
over the tokens after several blocks; they stand beside those of random patches, with the same share
in the variance of all. docs/design/pretrained.md says how they were chosen.

Shape legend: `convtimenet._shapes`; T steps of a view, M channels or sums of channels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from convtimenet._shapes import Bool, Float
from convtimenet.config import ModelConfig
from convtimenet.network.random_patches import PatchFeatures, RandomPatches
from convtimenet.network.reconstruction.network import SIZES, Reconstructor
from convtimenet.network.reconstruction.seasons import channels_of

__all__ = ["LENGTHS", "PretrainedCases", "PretrainedFeatures"]

LENGTHS = (128, 512)
"""Steps of the views, whole numbers of patches."""
_READ = (0, 2, 4, 6)
"""Blocks after which tokens are pooled; 0 for the patches themselves."""
_POOLS = 3
_MOST_CHANNELS = 8
_GROUPS_EACH = 3  # groups of random patches for each of them
_SPREAD = 2.0  # of values scaled to [-1, 1] in the units that the network reads
_FARTHEST = 30.0  # of those


class PretrainedFeatures(nn.Module):
    """Features (B, outputs) of cases (B, C, L); `draw_levels` must precede their use.

    Of more than 8 channels (fewer with few groups of random patches, which there are of many cases)
    the views' features are added up with drawn signs into 8 sums, so that their number stays in
    bounds. Padding after the end of a case changes nothing; missing values are unknown to the
    network, and linearly interpolated values beside them too.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.patches = PatchFeatures(config)
        own = ModelConfig.forecasting(context_length=max(LENGTHS), horizon=1, **SIZES)
        self.network = Reconstructor(own).requires_grad_(False)
        C, D = config.channels, own.d_model
        M = min(C, _MOST_CHANNELS, max(1, config.random_patches // _GROUPS_EACH))
        signs = torch.where(torch.empty(C).uniform_() < 0.5, -1.0, 1.0)
        place = torch.empty(C).uniform_().argsort() % M
        sums = nn.functional.one_hot(place, M).T * signs
        self.sums = nn.Buffer(torch.eye(C) if M == C else sums.contiguous())
        """(M, C), what each sum takes of each channel."""
        sizes = self.patches.outputs, M * len(LENGTHS) * len(_READ) * _POOLS * D
        self.outputs = sum(sizes)
        self.emphasis = np.repeat([(self.outputs / n / 2) ** 0.5 for n in sizes], sizes)
        """(outputs,) deviation of each feature once standardised."""

    def forward(
        self, x: Float[Tensor, "B C L"], known: Bool[Tensor, "B C L"] | None = None
    ) -> Float[Tensor, "B outputs"]:
        patches = self.patches(x, known)
        if known is None:
            known = torch.ones_like(x, dtype=torch.bool)
        return torch.cat([patches, self._of_tokens(x, known)], dim=1)

    def draw_levels(
        self,
        x: Float[Tensor, "B C L"],
        known: Bool[Tensor, "B C L"] | None,
        generator: torch.Generator,
    ) -> None:
        """As `PatchFeatures.draw_levels`."""
        self.patches.draw_levels(x, known, generator)

    def _of_tokens(
        self, x: Float[Tensor, "B C L"], known: Bool[Tensor, "B C L"]
    ) -> Float[Tensor, "B features"]:
        x = (_SPREAD * x).clamp(-_FARTHEST, _FARTHEST)
        found = []
        for length in LENGTHS:
            view, seen = resampled(x, known, length)
            for tokens in self.tokens(view.flatten(0, 1), seen.flatten(0, 1)):
                # where nothing is known the root of 0 would have no gradient
                spread = tokens.var(-1, correction=0).clamp(min=1e-20).sqrt()
                found += [tokens.mean(-1), tokens.amax(-1), spread]
        pooled = torch.stack(found).unflatten(-1, x.shape[:2])  # (kinds, D, B, C)
        return torch.einsum("kdbc,mc->bmkd", pooled, self.sums).flatten(1)

    def tokens(
        self, x: Float[Tensor, "R T"], seen: Bool[Tensor, "R T"]
    ) -> Iterator[Float[Tensor, "D R N"]]:
        """The network's tokens of series without a season after each block that is read."""
        network = self.network
        u = network.embedding(network.read(channels_of(x, seen, (1, 1))))
        for number, block in enumerate([None, *network.blocks]):
            u = u if block is None else block(u)
            if number in _READ:
                yield u


def resampled(
    x: Float[Tensor, "B C L"], known: Bool[Tensor, "B C L"], length: int
) -> tuple[Float[Tensor, "B C T"], Bool[Tensor, "B C T"]]:
    """Cases, up to their last known value, stretched or shrunk to `length` steps by linear
    interpolation, and where both values beside a step are known; others are 0."""
    numbers = torch.arange(known.shape[-1], device=x.device)
    last = torch.where(known.any(1), numbers, 0).amax(-1, keepdim=True)
    at = torch.arange(length, device=x.device, dtype=x.dtype) / (length - 1) * last
    low = at.floor().long()
    share, high = (at - low)[:, None], torch.minimum(low + 1, last)
    low, high = (one[:, None].expand(-1, x.shape[1], -1) for one in (low, high))
    seen = known.gather(-1, low) & known.gather(-1, high)
    values = torch.lerp(x.gather(-1, low), x.gather(-1, high), share)
    return torch.where(seen, values, 0.0), seen


class PretrainedCases(RandomPatches):
    """A linear map of `PretrainedFeatures`, solved in closed form, for classification and
    regression."""

    embedding: PretrainedFeatures

    def __init__(self, config: ModelConfig):
        super().__init__(config, PretrainedFeatures(config))

    def tune(self, on: bool) -> None:
        """Whether training changes the weights of the package, below the map as it was solved."""
        network = self.embedding.network  # its answers are no features
        for part in (network.embedding, network.blocks):
            part.requires_grad_(on)
        self.project.requires_grad_(not on)
