"""The network that a config describes."""

from __future__ import annotations

from convtimenet.config import ModelConfig
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.random_patches import RandomPatches

__all__ = ["network_of"]


def network_of(config: ModelConfig) -> ConvTimeNet | RandomPatches:
    """A new network with drawn weights."""
    return RandomPatches(config) if config.random_patches else ConvTimeNet(config)
