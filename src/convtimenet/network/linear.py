"""The linear stream: a linear map of the normalised context, solved in closed form.

One map serves all channels, or each has its own (Zeng et al., "Are Transformers effective for time
series forecasting?", AAAI 2023, arXiv:2205.13504, without their decomposition, which is itself
linear). `convtimenet.training.closed_form.linear` solves for it. In a `ConvTimeNet` its forecast is
added to the head's, before the normalisation is reversed; alone it is the network below.

Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convtimenet._shapes import Bool, Float, Int
from convtimenet.batch import Covariates, neighbours
from convtimenet.config import ModelConfig
from convtimenet.network.covariate_embedding import effects_of
from convtimenet.network.other import OtherNetwork
from convtimenet.network.revin import RevIN

__all__ = ["LinearNetwork", "LinearStream"]

_FADES = 2


class LinearStream(nn.Module):
    """Forecast (B, C, H) = context (B, C, L) times a matrix that training leaves as it is; one for
    all channels, or with `linear_channels` one for each."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        maps = (config.linear_channels,) if config.linear_channels else ()
        weight = torch.zeros(*maps, config.outputs, config.context_length)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(
        self, x: Float[Tensor, "B C L"], known: Bool[Tensor, "B C L"] | None = None
    ) -> Float[Tensor, "B C H"]:
        """Computed in float32 also under autocast: errors of the map are errors of the forecast.

        The newest values count most, so a gap is not read as the mean of the context. Between known
        values it is a line, which fades into the mean over `_FADES` steps; a gap at the end is what
        the map forecasts from the values before it.
        """
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            if known is None:
                return self._of(x)
            L, H = x.shape[-1], self.weight.shape[-2]
            x, last = _without_gaps(x, known)
            steps = torch.arange(L, device=x.device)
            earlier = steps - (L - 1 - last)
            moved = torch.where(earlier >= 0, x.gather(-1, earlier.clamp(min=0)), 0.0)
            ahead = (steps - last - 1).clamp(max=H - 1)
            forecast = self._of(moved).gather(-1, ahead.clamp(min=0))
            return self._of(torch.where(ahead >= 0, forecast, x))

    def _of(self, x: Float[Tensor, "B C L"]) -> Float[Tensor, "B C H"]:
        if self.weight.dim() == 2:
            return F.linear(x, self.weight)
        return torch.einsum("bcl,chl->bch", x, self.weight)


def _without_gaps(
    x: Float[Tensor, "B C L"], known: Bool[Tensor, "B C L"]
) -> tuple[Float[Tensor, "B C L"], Int[Tensor, "B C 1"]]:
    """Contexts, 0 where nothing is known, with their gaps filled up to the last known steps, and
    these, -1 where nothing is known."""
    L = x.shape[-1]
    steps = torch.arange(L, device=x.device)
    before, after = neighbours(known)
    low, high = x.gather(-1, before.clamp(min=0)), x.gather(-1, after.clamp(max=L - 1))
    share = (steps - before).to(x.dtype) / (after - before).clamp(min=1)
    away = torch.minimum(steps - before, after - steps)
    near = (1 - (away - 1) / _FADES).clamp(0, 1)
    inside = ~known & (before >= 0) & (after < L)
    return torch.where(inside, (low + share * (high - low)) * near, x), before[..., -1:]


class LinearNetwork(OtherNetwork):
    """The linear stream as a network of its own: RevIN, linear map, inverse RevIN.

    Input (B, C, L) and output (B, C, H) as those of `ConvTimeNet`; missing values read as
    in a `LinearStream`.
    """

    embedding: RevIN

    def __init__(self, config: ModelConfig):
        super().__init__(RevIN(config.revin_subtract_last), config)
        self.linear = LinearStream(config)
        self.effects = effects_of(config)

    def forward(
        self,
        x: Float[Tensor, "B C L"],
        known: Bool[Tensor, "B C L"] | None = None,
        covariates: Covariates | None = None,
        *_: object,
    ) -> Float[Tensor, "B C H"]:
        """The forecast, in the units of the input."""
        x, ahead = (x, 0.0) if self.effects is None else self.effects(x, covariates)
        if known is not None:
            x = torch.where(known, x, 0.0)
        x, statistics = self.embedding(x, known)
        return self.embedding.inverse(self.linear(x, known), statistics) + ahead
