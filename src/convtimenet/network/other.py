"""Wrapper to use any other network in training, evaluation and the estimators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from convtimenet.config import ModelConfig

__all__ = ["OtherNetwork", "restore_torch_numbers", "torch_numbers"]

_NUMBERS = "random.torch"


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


def torch_numbers(network: nn.Module) -> dict[str, Tensor]:
    """State of torch's own generator, from which networks of other libraries draw on a CPU, for a
    checkpoint; nothing for our networks, which draw from the generator of their training."""
    if type(network) is not OtherNetwork or next(network.parameters()).device.type != "cpu":
        return {}
    return {_NUMBERS: torch.default_generator.get_state()}


def restore_torch_numbers(tensors: Mapping[str, Tensor]) -> None:
    """Restore the state that `torch_numbers` gave, if it gave one."""
    if _NUMBERS in tensors:
        torch.default_generator.set_state(tensors[_NUMBERS])
