"""A network that is not ours, in the form that training, evaluation and the estimators take."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from convtimenet.config import ModelConfig

__all__ = ["OtherNetwork"]


class OtherNetwork(nn.Module):
    """Another network behind our interface, so that it is trained and scored as ours is.

    Parameters
    ----------
    network
        Maps (B, C, L) to (B, C, H) for forecasts, to (B, K) for classes or numbers.
    config
        What the estimator decided: the head, L and H or K. Its other settings are not used.
    """

    recompute = False

    def __init__(self, network: nn.Module, config: ModelConfig):
        super().__init__()
        self.embedding, self.config = network, config

    def forward(self, x: Tensor, *masks_and_covariates: Any) -> Tensor:
        """The other network's output; it reads values alone."""
        return self.embedding(x)
