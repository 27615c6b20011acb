"""Embedding of covariates into the tokens of a series.

Covariates are split into uniform patches on the grid of the target's patches, projected to the
token width and added to the target's token at the same position. Future covariates extend past the
context: their patches over the horizon become additional tokens, so that the depthwise convolutions
mix future and past, and the head reads both. Static covariates are added to every token of their
series. Nothing here lets one target read another.

Beside that, covariates known ahead may have linear effects: a regression whose rest is forecast
(Pankratz, "Forecasting with dynamic regression models", 1991). The effect of each step's covariates
is taken out of the context, and the effect of the horizon's is added to the forecast. Few rows tell
a linear effect that a trained network would not find in them; it is solved for in
`convtimenet.training.closed_form.effects`.

Shape legend: see `convtimenet._shapes`; K is the number of covariate columns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convtimenet._shapes import Bool, Float
from convtimenet.batch import Covariates
from convtimenet.config import ModelConfig


class CovariateEmbedding(nn.Module):
    """Add covariates to tokens."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        D, P = config.d_model, config.patch_size
        self.patch_size, self.patch_stride = P, config.patch_stride
        self.further = config.n_tokens - config.n_patches
        """Tokens after those of the context."""
        self.hist = nn.Linear(config.hist_exog * P, D) if config.hist_exog else None
        self.futr = nn.Linear(config.futr_exog * P, D) if config.futr_exog else None
        self.stat = nn.Linear(config.stat_exog, D) if config.stat_exog else None
        # row 0, for categories not seen in training, adds nothing
        self.tables = nn.ModuleList(
            nn.Embedding(n + 1, D, padding_idx=0) for n in config.stat_categories
        )

    def forward(
        self,
        u: Float[Tensor, "D R N"],
        covariates: Covariates,
        mask: Bool[Tensor, "R M"] | None = None,
    ) -> Float[Tensor, "D R M"]:
        """Add covariates to the N context tokens and append the M - N horizon tokens."""
        N = u.shape[-1]
        added = []
        if self.hist is not None and covariates.hist is not None:
            of_context = self._tokens(covariates.hist, self.hist, N)
            added.append(F.pad(of_context, (0, self.further)))
        if self.futr is not None and covariates.futr is not None:
            added.append(self._tokens(covariates.futr, self.futr, N + self.further))
        if self.stat is not None and covariates.stat is not None:
            added.append(self.stat(covariates.stat).T[..., None])
        if covariates.categories is not None:
            for table, numbers in zip(self.tables, covariates.categories.unbind(-1), strict=True):
                added.append(table(numbers).T[..., None])
        u = F.pad(u, (0, self.further))
        for one in added:  # (D, B, N) to every channel of its window
            u = u + one.repeat_interleave(u.shape[1] // max(1, one.shape[1]), dim=1)
        return u if mask is None else torch.where(mask, u, 0.0)

    def mask(self, mask: Bool[Tensor, "R N"] | None) -> Bool[Tensor, "R M"] | None:
        """The token mask extended over the horizon, whose tokens are never masked."""
        return None if mask is None else F.pad(mask, (0, self.further), value=True)

    def _tokens(self, values: Tensor, project: nn.Linear, n: int) -> Tensor:
        """(B, K, T) to (D, B, n): n patches from the first step on, repeating the last value."""
        needed = (n - 1) * self.patch_stride + self.patch_size
        missing = max(0, needed - values.shape[-1])
        last = values[..., -1:].expand(-1, -1, missing)
        values = torch.cat([values, last], dim=-1)[..., :needed]
        patches = values.unfold(-1, self.patch_size, self.patch_stride).transpose(1, 2)
        return project(patches.flatten(2)).permute(2, 0, 1)


class CovariateEffects(nn.Module):
    """Effects (C, K) of covariates known ahead on each channel, which training leaves as they
    are."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        weight = torch.zeros(config.effects, config.futr_exog)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(
        self, x: Float[Tensor, "B C L"], covariates: Covariates | None
    ) -> tuple[Float[Tensor, "B C L"], Float[Tensor, "B C H"] | float]:
        """The context without the effects, and the effects over the horizon; those of missing
        covariates are 0."""
        if covariates is None or covariates.futr is None:
            return x, 0.0
        with torch.autocast(x.device.type, enabled=False):
            effects = torch.einsum("ck,bkt->bct", self.weight, covariates.futr.float())
        return x - effects[..., : x.shape[-1]], effects[..., x.shape[-1] :]


def effects_of(config: ModelConfig) -> CovariateEffects | None:
    """The effects that a config asks for, None without covariates known ahead."""
    return CovariateEffects(config) if config.effects and config.futr_exog else None
