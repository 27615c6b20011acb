"""The network that a config describes."""

from __future__ import annotations

from convtimenet.config import ModelConfig
from convtimenet.network.ensemble import Ensemble
from convtimenet.network.linear import LinearNetwork
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.other import OtherNetwork
from convtimenet.network.random_patches import RandomPatches
from convtimenet.network.reconstruction.features import PretrainedCases
from convtimenet.network.reconstruction.pretrained import PretrainedForecaster
from convtimenet.network.smoothing import SmoothingNetwork

__all__ = ["network_of"]


def network_of(
    config: ModelConfig,
) -> ConvTimeNet | OtherNetwork:
    """A new network with drawn weights; those to be solved for are zero."""
    if config.members:
        return Ensemble(config, [network_of(one) for one in config.members])
    if config.pretrained:
        return (
            PretrainedForecaster(config) if config.head == "forecast" else PretrainedCases(config)
        )
    if config.kernel_sizes:
        return ConvTimeNet(config)
    if config.smoothings:
        return SmoothingNetwork(config)
    return RandomPatches(config) if config.random_patches else LinearNetwork(config)
