"""The number format a network computes in, which may differ from the requested one."""

from __future__ import annotations

import torch

from convtimenet.config import ModelConfig, Precision
from convtimenet.network.kernels import native


def precision_on(
    device: torch.device, asked: Precision, config: ModelConfig
) -> tuple[Precision, str]:
    """Number format used on a device, and a notice if it is not the requested one.

    The fused CPU kernels compute in float32. Predictions with them are faster than with torch in
    bf16 (which takes 1.1 to 1.9 times as long with AVX-512 bf16; training 0.8 to 1.3 times), and a
    training step needs less memory, so bf16 does not disable them.
    """
    kernels = device.type == "cpu" and config.norm == "batch" and native.library() is not None
    if asked != "bf16" or not kernels:
        return asked, ""
    return "fp32", (
        "precision='bf16' is replaced by 'fp32' on this CPU: the fused float32 kernels need less "
        "memory and predict faster; use bf16 on GPUs"
    )
