"""Notices about a finished training."""

from __future__ import annotations

from torch import nn

from convtimenet.network.layers import Residual, TokenBatchNorm
from convtimenet.training.history import History

__all__ = ["notices_of"]

_DEAD_SCALE = 1e-6  # Adam moves a residual scale by about the learning rate per step
_EXPLODED_VARIANCE = 1e8  # tokens are of order 1


def notices_of(model: nn.Module, history: History) -> list[str]:
    """Notices about skipped steps, split batches and the failure signs known from the paper."""
    notes = []
    if history.skipped:
        back = f", and training rolled back to earlier weights {history.rollbacks} time(s)"
        notes.append(
            f"{history.skipped} of {history.steps} training steps were skipped because the loss "
            f"or its gradients were not finite{back if history.rollbacks else ''}"
        )
    if history.parts > 1:
        notes.append(
            f"memory ran out, so each batch was split into {history.parts} parts: the gradients "
            "are those of the whole batch, but BatchNorm saw each part separately"
        )
    residuals = [module for module in model.modules() if isinstance(module, Residual)]
    scales = [module.scale.item() for module in residuals if module.scale is not None]
    dead = sum(abs(scale) < _DEAD_SCALE for scale in scales)
    if dead:
        notes.append(
            f"{dead} of {len(scales)} residual scales ended near 0, so those parts of the network "
            "do nothing; train longer or with a larger lr or residual_init"
        )
    for name, module in model.named_modules():
        if isinstance(module, TokenBatchNorm) and module.running_var is not None:
            largest = float(module.running_var.max())
            if largest > _EXPLODED_VARIANCE:
                notes.append(
                    f"the running variance of {name} grew to {largest:.1e}; values of order 1 are "
                    "usual; try a smaller lr or a clip_norm"
                )
    return notes
