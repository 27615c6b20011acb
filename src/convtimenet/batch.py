"""What a network is given at a time: the tuple that data hands to the training loop.

Shape legend: `convtimenet._shapes`, and K columns of covariates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor


class Covariates(NamedTuple):
    """Covariates of a batch; None where the network has none of a kind. Zero stands for missing
    numbers, which is their mean."""

    hist: Tensor | None = None
    """(B, K, L), known up to now."""
    futr: Tensor | None = None
    """(B, K, L + H), known ahead."""
    stat: Tensor | None = None
    """(B, K), numbers that hold for the whole series."""
    categories: Tensor | None = None
    """(B, K) int64, categories that do; 0 for one that training did not see."""


class Batch(NamedTuple):
    """Examples drawn together, on the device that trains."""

    x: Tensor
    """(B, C, L), what the network reads."""
    y: Tensor
    """Targets: (B, C, H) values or (B,) class numbers."""
    weight: Tensor | None = None
    """What each target counts, broadcastable to `y` and not negative; None counts all alike."""
    known: Tensor | None = None
    """(B, C, L), False where a value of `x` is padding or missing; None where all are known."""
    covariates: Covariates | None = None
    """What goes with the series; None for a network without covariates."""

    @property
    def inputs(self) -> tuple[Any, ...]:
        """What the network is called with."""
        if self.covariates is not None:
            return self.x, self.known, self.covariates
        return (self.x,) if self.known is None else (self.x, self.known)
