"""The weights that come with the package."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from convtimenet.network.reconstruction.network import Reconstructor

__all__ = ["WEIGHTS", "load_pretrained"]

WEIGHTS = Path(__file__).with_name("weights.safetensors")
"""Half precision, about 0.9 MB; docs/pretrained.md says what they were trained on."""


def load_pretrained(network: Reconstructor) -> None:
    """Give a network the weights, in place; its sizes must be theirs
    (`convtimenet.estimators.presets.derived.pretrained_forecast`)."""
    network.load_state_dict(_weights())


@cache
def _weights() -> dict[str, Tensor]:
    stored = load_file(WEIGHTS)
    return {n: v.float() if v.dtype == torch.float16 else v for n, v in stored.items()}
