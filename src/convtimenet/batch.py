"""A batch of examples, as the data modules pass it to the training loop.

Shape legend: see `convtimenet._shapes`; K is the number of covariate columns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from convtimenet._shapes import Bool, Float, Int


class Covariates(NamedTuple):
    """Covariates of a batch; None for each kind the network does not use. Missing numbers are
    filled with zero, their mean."""

    hist: Tensor | None = None
    """(B, K, L), known only up to the end of the context."""
    futr: Tensor | None = None
    """(B, K, L + H), known in advance over the horizon."""
    stat: Tensor | None = None
    """(B, K), numeric values constant over the series."""
    categories: Tensor | None = None
    """(B, K) int64, categories constant over the series; 0 for one not seen in training."""


class Batch(NamedTuple):
    """One batch of examples, on the training device."""

    x: Tensor
    """(B, C, L), the network's input."""
    y: Tensor
    """Targets: (B, C, H) values, (B,) class indices or (B, K) class shares."""
    weight: Tensor | None = None
    """Non-negative weight of each target, broadcastable to values of a loss; None weights all
    equally."""
    known: Tensor | None = None
    """(B, C, L) observed mask, False where `x` is padded or missing; None if all are observed."""
    covariates: Covariates | None = None
    """Covariates of the series; None for a network without covariates."""

    def part(self, part: slice) -> Batch:
        """Some of the examples."""
        covariates = self.covariates
        if covariates is not None:
            covariates = Covariates(*(None if one is None else one[part] for one in covariates))
        weight, known = (None if one is None else one[part] for one in (self.weight, self.known))
        return Batch(self.x[part], self.y[part], weight, known, covariates)

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Positional arguments for the network's forward pass."""
        if self.covariates is not None:
            return self.x, self.known, self.covariates
        return (self.x,) if self.known is None else (self.x, self.known)


def fill_contexts(
    x: Float[Tensor, "*rows L"], known: Bool[Tensor, "*rows L"]
) -> Float[Tensor, "*rows L"]:
    """Fill the gaps of each context from its own observed values only, so nothing after its end
    leaks in: linear interpolation between two observed values, the nearest one at either end. A
    context without an observed value is not changed."""
    L = x.shape[-1]
    steps = torch.arange(L, device=x.device)
    before, after = neighbours(known)
    left = torch.where(before < 0, after, before).clamp(max=L - 1)
    right = torch.where(after == L, before, after).clamp(min=0)
    low, high = x.gather(-1, left), x.gather(-1, right)
    share = (steps - left).to(x.dtype) / (right - left).clamp(min=1)
    return torch.where(known | ~known.any(-1, keepdim=True), x, low + share * (high - low))


def neighbours(
    known: Bool[Tensor, "*rows L"],
) -> tuple[Int[Tensor, "*rows L"], Int[Tensor, "*rows L"]]:
    """The nearest observed steps at or before each step, -1 for none, and at or after it, L for
    none."""
    L = known.shape[-1]
    steps = torch.arange(L, device=known.device).expand(known.shape)
    count = known.cumsum(-1)  # graphs have this, and no running maximum
    # where the first, second, ... observed value is; what is missing writes behind them all
    at = torch.full_like(steps[..., :1], L).expand(*known.shape[:-1], L + 1)
    at = at.scatter(-1, torch.where(known, count - 1, L), steps)
    before = torch.where(count > 0, at.gather(-1, (count - 1).clamp(min=0)), -1)
    return before, torch.where(known, steps, at.gather(-1, count))
