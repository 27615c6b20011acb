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

from convtimenet._shapes import Bool, Float
from convtimenet.batch import Covariates
from convtimenet.config import ModelConfig
from convtimenet.network.covariate_embedding import effects_of
from convtimenet.network.other import OtherNetwork
from convtimenet.network.revin import RevIN

__all__ = ["LinearNetwork", "LinearStream"]


class LinearStream(nn.Module):
    """Forecast (B, C, H) = context (B, C, L) times a matrix that training leaves as it is; one for
    all channels, or with `linear_channels` one for each."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        maps = (config.linear_channels,) if config.linear_channels else ()
        weight = torch.zeros(*maps, config.outputs, config.context_length)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: Float[Tensor, "B C L"]) -> Float[Tensor, "B C H"]:
        """Computed in float32 also under autocast: errors of the map are errors of the forecast."""
        with torch.autocast(x.device.type, enabled=False):
            if self.weight.dim() == 2:
                return F.linear(x.float(), self.weight)
            return torch.einsum("bcl,chl->bch", x.float(), self.weight)


class LinearNetwork(OtherNetwork):
    """The linear stream as a network of its own: RevIN, linear map, inverse RevIN.

    Input (B, C, L) and output (B, C, H) as those of `ConvTimeNet`; missing values read as the mean
    of the context.
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
        return self.embedding.inverse(self.linear(x), statistics) + ahead
