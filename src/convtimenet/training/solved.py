"""Networks that are solved in closed form instead of trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from convtimenet.config import TrainConfig
from convtimenet.data.windows import Examples, LabelledCases, Windows
from convtimenet.network.linear import LinearNetwork
from convtimenet.network.random_patches import RandomPatches
from convtimenet.training.checkpoint import Checkpoints
from convtimenet.training.closed_form import fit_patches
from convtimenet.training.history import History
from convtimenet.training.interrupt import StopRequest
from convtimenet.training.linear import fit_linear
from convtimenet.training.losses import loss_of
from convtimenet.training.metrics import evaluate

__all__ = ["solve"]


def solve(
    model: LinearNetwork | RandomPatches,
    examples: Examples,
    valid: Examples | None,
    config: TrainConfig,
    device: torch.device,
    stop: StopRequest,
    checkpoints: Checkpoints | None,
    **shown: Any,
) -> History:
    """Solve for the weights of a network in place, and score its only epoch on `valid`.

    Parameters
    ----------
    shown
        `verbose` and `label` of `convtimenet.training.loop.train`, as the others.
    """
    if isinstance(model, LinearNetwork):
        assert isinstance(examples, Windows)
        history = fit_linear(model, examples, stop, checkpoints=checkpoints, **shown)
    else:
        assert isinstance(examples, LabelledCases)
        seed = config.seed
        history = fit_patches(model, examples, seed, stop, checkpoints=checkpoints, **shown)
    if valid is not None and history.epochs:
        loss = loss_of(model.config, config)
        scores = evaluate(model, valid, model.config.head, config.batch_size, device, False, loss)
        history.epochs = [replace(history.epochs[0], valid=scores)]
    return history
