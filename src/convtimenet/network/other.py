"""Wrapper to use any other network in training, evaluation and the estimators."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from convtimenet.config import ModelConfig

__all__ = ["OtherNetwork"]


class OtherNetwork(nn.Module):
    """Another network with the interface of `ConvTimeNet`, so that it is trained and scored alike.

    Parameters
    ----------
    network
        Maps (B, C, L) to (B, C, H) for forecasting, to (B, K) for classification or regression.
    config
        The head, L and H or K, as set by the estimator. Its other settings are not used.
    """

    recompute = False
    alike = True
    """Whether every step computes the same, so that a CUDA graph may hold it."""

    def __init__(self, network: nn.Module, config: ModelConfig):
        super().__init__()
        self.embedding, self.config = network, config

    def forward(self, x: Tensor, *masks_and_covariates: Any) -> Tensor:
        """The wrapped network's output; masks and covariates are ignored."""
        return self.embedding(x)
