"""A batch of examples, as the data modules pass it to the training loop.

Shape legend: see `convtimenet._shapes`; K is the number of covariate columns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor


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
