"""The forecast of the network that comes with the package, in the units of the series.

Shape legend: `convtimenet._shapes`; R rows, T steps of context and horizon.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convtimenet._shapes import Bool, Float
from convtimenet.config import ModelConfig
from convtimenet.network.other import OtherNetwork
from convtimenet.network.reconstruction.network import Reconstructor
from convtimenet.network.reconstruction.seasons import channels_of, continued, long_season
from convtimenet.network.revin import known_moments

__all__ = ["PretrainedForecaster"]

_FARTHEST = 30.0  # deviations from the mean that are read
_BEYOND = 3.0  # how far outside the logarithms of the context those of a forecast may lie


class PretrainedForecaster(OtherNetwork):
    """Quantiles (B, C, Q, H), or with a point forecast their median (B, C, H), of contexts
    (B, C, L), each channel for itself.

    The answer is blended with the seasonal-naive forecast: `trusted` is the share of the network.
    Of contexts of positive values the network also reads logarithms, whose forecast has the share
    `logarithms` of its own.
    """

    embedding: Reconstructor

    def __init__(self, config: ModelConfig):
        super().__init__(Reconstructor(config), config)
        self.trusted = nn.Buffer(torch.ones(()))
        self.logarithms = nn.Buffer(torch.zeros(()))

    def forward(
        self,
        x: Float[Tensor, "B C L"],
        known: Bool[Tensor, "B C L"] | None = None,
        *_: object,
    ) -> Float[Tensor, "B C ..."]:
        rows = x.flatten(0, 1).float()
        there = torch.ones_like(rows, dtype=torch.bool) if known is None else known.flatten(0, 1)
        quantiles, naive = self.quantiles_and_naive(rows, there)
        if torch.compiler.is_exporting() or self.logarithms > 0:
            quantiles = quantiles.lerp(self.of_logarithms(rows, there, quantiles), self.logarithms)
        found = torch.lerp(naive[:, None], quantiles, self.trusted)
        return found.unflatten(0, x.shape[:2])

    def of_logarithms(
        self,
        rows: Float[Tensor, "R L"],
        known: Bool[Tensor, "R L"],
        otherwise: Float[Tensor, "R Q H"],
    ) -> Float[Tensor, "R Q H"]:
        """Exponentials of the network's quantiles of logarithms; for rows with a value that has
        none, others."""
        fits = (known.any(-1) & ((rows > 0) | ~known).all(-1))[:, None]
        logs = torch.where(fits & known, rows, 1.0).log()
        found, _ = self.quantiles_and_naive(logs, known)
        low = torch.where(known, logs, torch.inf).amin(-1)[:, None, None] - _BEYOND
        high = torch.where(known, logs, -torch.inf).amax(-1)[:, None, None] + _BEYOND
        return torch.where(fits[..., None], found.clamp(low, high).exp(), otherwise)

    def quantiles_and_naive(
        self, rows: Float[Tensor, "R L"], known: Bool[Tensor, "R L"]
    ) -> tuple[Float[Tensor, "R Q H"], Float[Tensor, "R H"]]:
        """The network's quantiles, and the seasonal-naive forecast."""
        config = self.config
        L, H, P = config.context_length, config.outputs, config.patch_size
        before, behind = -L % P, -H % P
        mean, variance = known_moments(rows[:, None], known[:, None])
        centre, scale = mean[:, 0], (variance[:, 0] + 1e-10).sqrt()
        scaled = ((rows - centre) / scale).clamp(-_FARTHEST, _FARTHEST)
        around = before, H + behind
        scaled, seen = F.pad(torch.where(known, scaled, 0.0), around), F.pad(known, around)
        steps = torch.arange(scaled.shape[-1], device=rows.device)
        first = torch.where(seen, steps, steps[-1]).amin(-1, keepdim=True)
        within = (steps >= first)[:, None]
        season = config.season
        x = channels_of(scaled, seen, (season, long_season(season)))
        ahead = slice(before + L, before + L + H)
        found = self.embedding(x, within)[:, 0, :, ahead]
        naive = continued(scaled, seen, season)[0][:, ahead]
        return found * scale[:, None] + centre[:, None], naive * scale + centre
