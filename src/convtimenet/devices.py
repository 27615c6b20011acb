"""Devices, number formats and random numbers of a computation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from convtimenet.config import TrainConfig
from convtimenet.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """The device a setting means: "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises
    ------
    ConfigError
        If torch does not know the device or this machine lacks it.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"device must be 'auto' or a torch device of this machine, found {name!r} "
            f"({str(error).splitlines()[0]}); use device='auto'"
        ) from error
    return device


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Fix torch's random numbers inside and give the caller's back afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def autocast(device: torch.device, config: TrainConfig) -> torch.autocast:
    """Matrix products in the configured number format.

    A forward pass reads each weight once, so weights in that format are not kept: kept ones would
    outlive an optimisation step inside a user's own autocast.
    """
    enabled = config.precision == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)
