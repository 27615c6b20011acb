"""Random patches: the patches of the paper, drawn instead of trained.

A patch of P points stretched by the factor d samples every d-th step, so its projection is a
convolution of dilation d. Here weights are drawn once, and stretches run from 1 up to the length of
the series; what is learnt is one linear map of the features, solved in closed form
(`convtimenet.training.closed_form.patches`). The features of a patch are those of random
convolutional kernels: shares of responses above three levels (Dempster et al., "MiniRocket", KDD
2021, arXiv:2012.08791), their maximum (Dempster et al., "ROCKET", DMKD 2020, arXiv:1910.13051) and
their mean absolute value.

Shape legend: `convtimenet._shapes`; G groups of K patches, J sets of channels in each.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convtimenet._shapes import Bool, Float, Int
from convtimenet.config import ModelConfig
from convtimenet.network.kernels import native
from convtimenet.network.other import OtherNetwork

__all__ = ["POINTS", "PatchFeatures", "RandomPatches"]

POINTS = 9
"""P, points of a patch."""
_ONE_SET, _OF_SEVERAL = 64, 16
"""Patches that read the same channels: of one set for each group, of several."""
_LEVELS = 3
_FOR_LEVELS = 1024  # responses of each patch that its levels are drawn from
_MOST_CHANNELS = 9  # of one patch
_KINDS = _LEVELS + 2  # features of a patch


class _Plan(NamedTuple):
    """What the patches of a group share."""

    stretch: int
    """Steps from one point of a patch to the next."""
    channels: int
    """Number of channels a patch reads."""
    edges: bool
    """Also place patches that reach past the ends, where they read zeros."""
    changes: bool
    """Read first differences instead of values."""


def plans(groups: int, channels: int, length: int) -> list[_Plan]:
    """The plan of each group: stretches and channel numbers spread evenly on a log scale, every
    combination of `edges` and `changes` in turn."""
    longest = max(1.0, (length - 1) / (POINTS - 1))
    most = min(channels, _MOST_CHANNELS)
    found = []
    for g in range(groups):
        # steps by the golden ratio and by the root of two: even in each, and independent
        stretch = longest ** ((0.5 + g * 0.6180339887) % 1.0)
        count = (most + 1.0) ** ((g * 0.4142135624) % 1.0)
        edges, changes = divmod(g % 4, 2)
        found.append(_Plan(int(stretch), min(most, int(count)), bool(edges), bool(changes)))
    return found


class PatchFeatures(nn.Module):
    """Features of random patches, not standardised; `draw_levels` must precede their use."""

    emphasis = 1.0
    """Deviation of each feature once standardised."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.native = True
        self.plans = plans(config.random_patches, config.channels, config.context_length)
        self.sets = J = config.channel_sets
        self.each = K = J * _OF_SEVERAL if J > 1 else _ONE_SET
        """Patches of a group."""
        self.outputs = len(self.plans) * K * _KINDS
        for g, plan in enumerate(self.plans):
            weight = torch.empty(K, plan.channels, POINTS).normal_()
            weight = weight - weight.mean(-1, keepdim=True)
            order = torch.empty(J, config.channels).uniform_().argsort()
            some = order[:, : plan.channels].sort().values.flatten()
            self.register_buffer(f"weight_{g}", weight / weight.abs().sum((1, 2), keepdim=True))
            self.register_buffer(f"channels_{g}", some)
        self.levels = nn.Buffer(torch.zeros(len(self.plans), _LEVELS, K))

    def forward(
        self, x: Float[Tensor, "B C L"], known: Bool[Tensor, "B C L"] | None = None
    ) -> Float[Tensor, "B outputs"]:
        """Features of cases; padding after the end of a case does not change them, and missing
        values inside it count as zero, the middle of the scaled range."""
        x, end = _masked(x, known)
        if self.native and native.usable(x) and not x.requires_grad:
            return self._in_kernels(x, end)
        found = []
        for g, level in enumerate(self.levels):
            y, placed = self._responses(g, x, end)
            above = y[:, None] > level[:, :, None]  # (B, levels, K, T)
            if placed is None:
                shares, size, top = above.float().mean(-1), y.abs().mean(-1), y.amax(-1)
            else:
                count = placed.sum(-1, dtype=y.dtype)[:, None]
                here = placed[:, None]
                shares = (above & here[:, None]).sum(-1, dtype=y.dtype) / count[..., None]
                size = torch.where(here, y.abs(), 0.0).sum(-1) / count
                top = torch.where(here, y, -torch.inf).amax(-1)
            kinds = torch.cat([shares, top[:, None], size[:, None]], dim=1)
            found.append(kinds.unflatten(2, (self.sets, -1)).transpose(1, 2).flatten(1))
        return torch.cat(found, dim=1)

    def _in_kernels(self, x: Tensor, end: Tensor | None) -> Float[Tensor, "B outputs"]:
        """The same computed by the fused CPU kernel."""
        found = x.new_empty(len(x), self.outputs)
        J = self.sets
        columns = iter(found.split(self.outputs // (len(self.plans) * J), dim=1))
        for g, (plan, levels) in enumerate(zip(self.plans, self.levels, strict=True)):
            padded, places = self._placed(g, x, end)
            parts = padded.chunk(J, 1), self.get_buffer(f"weight_{g}").chunk(J), levels.chunk(J, 1)
            for own, weight, level in zip(*parts, strict=True):
                weight = weight.permute(1, 2, 0).contiguous()
                native.patch_features(own, weight, level, plan.stretch, places, next(columns))
        return found

    @torch.no_grad()
    def draw_levels(
        self,
        x: Float[Tensor, "B C L"],
        known: Bool[Tensor, "B C L"] | None,
        generator: torch.Generator,
    ) -> None:
        """Set each patch's three levels to quantiles of its responses to the cases `x`, one drawn
        from each third, midway between two responses so that rounding decides nothing."""
        x, end = _masked(x, known)
        for g in range(len(self.plans)):
            y, placed = self._responses(g, x, end)
            here = torch.ones_like(y[:, 0], dtype=torch.bool) if placed is None else placed
            case, place = here.nonzero(as_tuple=True)
            some = torch.rand(len(case), generator=generator).argsort()[:_FOR_LEVELS].to(x.device)
            found = y[case[some], :, place[some]].T.contiguous()
            # NumPy sorts several times as fast as torch, which also sorts the places
            responses = torch.from_numpy(np.sort(found.cpu().numpy(), axis=-1)).to(x.device)
            drawn = torch.rand(self.each, _LEVELS, generator=generator)
            share = (torch.arange(_LEVELS) + drawn) / _LEVELS
            last = responses.shape[-1] - 1
            at = (share * last).long().to(x.device)
            pair = responses.gather(1, at), responses.gather(1, (at + 1).clamp(max=last))
            self.levels[g] = torch.lerp(*pair, 0.5).T

    def _responses(
        self, g: int, x: Tensor, end: Tensor | None
    ) -> tuple[Float[Tensor, "B K T"], Bool[Tensor, "B T"] | None]:
        """Responses of the patches of a group at every place, and the places to count; None if
        all are."""
        padded, places = self._placed(g, x, end)
        weight, stretch = self.get_buffer(f"weight_{g}"), self.plans[g].stretch
        y = F.conv1d(padded, weight, dilation=stretch, groups=self.sets)
        if places is None:
            return y, None
        return y, torch.arange(y.shape[-1], device=y.device) < places[:, None]

    def _placed(
        self, g: int, x: Tensor, end: Tensor | None
    ) -> tuple[Float[Tensor, "B c T"], Int[Tensor, " B"] | None]:
        """What the patches of a group read, set by set, and at how many places of each case they
        count; None if at all."""
        plan = self.plans[g]
        x = x[:, self.get_buffer(f"channels_{g}")]
        if plan.changes and x.shape[-1] > 1:
            x = x.diff(dim=-1)
            if end is not None:  # the step from the last value to padding is none
                end = (end - 1).clamp(min=1)
                steps = torch.arange(x.shape[-1], device=x.device)
                x = torch.where(steps < end[:, None, None], x, 0.0)
        reach = (POINTS - 1) * plan.stretch
        if plan.edges or x.shape[-1] <= reach:
            return F.pad(x, (reach // 2, reach - reach // 2)), end
        return x, None if end is None else (end - reach).clamp(min=1)


def _masked(x: Tensor, known: Tensor | None) -> tuple[Tensor, Int[Tensor, " B"] | None]:
    """Series with zeros where nothing is known, and the length of each: steps up to its last known
    value, at least 1; None without a mask."""
    if known is None:
        return x, None
    steps = torch.arange(known.shape[-1], device=known.device)
    return torch.where(known, x, 0.0), torch.where(known.any(1), steps + 1, 1).amax(-1)


class RandomPatches(OtherNetwork):
    """A network of random patches and one linear map, for classification and regression; also the
    stream beside the blocks of a `ConvTimeNet`, whose inputs and outputs are the same.

    Parameters
    ----------
    features
        Others in place of a `PatchFeatures`, with its methods.
    """

    embedding: Any

    def __init__(self, config: ModelConfig, features: Any = None):
        features = PatchFeatures(config) if features is None else features
        super().__init__(features, config)
        self.project = nn.Linear(features.outputs, config.outputs)

    def forward(
        self, x: Float[Tensor, "B C L"], known: Bool[Tensor, "B C L"] | None = None, *_: object
    ) -> Float[Tensor, "B outputs"]:
        """Class scores (logits) or numbers; in float32 also under autocast, as when fitted."""
        with torch.autocast(x.device.type, enabled=False):
            return self.project(self.embed(x, known))

    def embed(
        self, x: Float[Tensor, "B C L"], known: Bool[Tensor, "B C L"] | None = None
    ) -> Float[Tensor, "B features"]:
        """What the linear map reads, in float32."""
        with torch.autocast(x.device.type, enabled=False):
            return self.embedding(x.float(), known)

    @property
    def embedded(self) -> int:
        """Numbers of an embedding."""
        return self.embedding.outputs
