"""Networks, and streams of networks, that are solved for or chosen instead of trained."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any, TypeGuard

import torch

from convtimenet.config import TrainConfig
from convtimenet.data.windows import Examples, LabelledCases, Windows
from convtimenet.network.linear import LinearNetwork
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.other import OtherNetwork
from convtimenet.network.random_patches import RandomPatches
from convtimenet.network.reconstruction.features import PretrainedCases
from convtimenet.network.reconstruction.pretrained import PretrainedForecaster
from convtimenet.network.reconstruction.weights import load_pretrained
from convtimenet.network.smoothing import SmoothingNetwork
from convtimenet.training.checkpoint import Checkpoint, Checkpoints
from convtimenet.training.closed_form.effects import solve_effects, without_effects
from convtimenet.training.closed_form.guard import fit_guard, keep, some_windows
from convtimenet.training.closed_form.linear import fit_linear, granted, solve_linear
from convtimenet.training.closed_form.patches import fit_patches, share_of_head
from convtimenet.training.closed_form.smoothing import fit_smoothing
from convtimenet.training.history import History
from convtimenet.training.interrupt import StopRequest
from convtimenet.training.metrics import evaluate
from convtimenet.training.objectives import loss_of

__all__ = ["grant", "is_solved", "solve", "solve_again", "solve_streams"]

Solved = LinearNetwork | SmoothingNetwork | RandomPatches | PretrainedForecaster
"""Networks without a trained part."""


def is_solved(model: Any, valid: Examples | None, config: TrainConfig) -> TypeGuard[Solved]:
    """Whether nothing of a network is trained: what is solved for is all of it, or it keeps the
    weights of the package, as a forecaster does where no validation split can tell if others are
    better."""
    if isinstance(model, PretrainedCases):
        return not config.encoder_rate
    tuned = isinstance(model, PretrainedForecaster) and config.encoder_rate > 0
    return isinstance(model, Solved) and (valid is None or not tuned)


def solve(
    model: Solved,
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
    checkpoints
        Where the solution is kept, and read from if it is there.
    shown
        `verbose` and `label` of `convtimenet.training.loop.train`, as the others.

    Raises
    ------
    CheckpointError
        If the checkpoints belong to another run, are damaged, or are in use by another process.
    """
    with nullcontext() if checkpoints is None else checkpoints.alone():
        found = None if checkpoints is None else checkpoints.newest()
        if found is not None:
            model.load_state_dict(found.tensors)
            history = History.from_dict(found.values["history"])
        else:
            history = _fitted(model, examples, config.seed, stop, **shown)
            if checkpoints is not None and history.epochs:
                values = {"done": True, "history": history.to_dict()}
                checkpoints.save(Checkpoint(model.state_dict(), values))
    model.eval()
    if valid is not None and history.epochs:
        if isinstance(model, PretrainedForecaster) and isinstance(valid, Windows):
            valid = some_windows(valid)
        loss = loss_of(model.config, config)
        head, size = model.config.head, config.batch_size
        scores = evaluate(model, valid, head, size, device, False, loss, together=True)
        history.epochs = [replace(history.epochs[0], valid=scores)]
    return history


def solve_streams(
    model: ConvTimeNet | OtherNetwork,
    examples: Examples,
    seed: int,
    stop: StopRequest,
    **shown: Any,
) -> bool:
    """Solve for what a network mixes with its head's answers, in place; False if it was stopped.

    Parameters
    ----------
    shown
        `verbose` and `label`, as for `solve`.
    """
    if isinstance(model, PretrainedForecaster):
        assert isinstance(examples, Windows)
        return bool(fit_guard(model, examples, stop, **shown).epochs)
    if isinstance(model, PretrainedCases):
        return bool(_fitted(model, examples, seed, stop, **shown).epochs)
    if not isinstance(model, ConvTimeNet):
        return True
    if isinstance(examples, Windows):
        examples = _without_effects(model, examples)
    if model.linear is not None:
        assert isinstance(examples, Windows)
        assert model.revin is not None
        solve_linear(model.linear, model.revin, examples, model.config.season)
    if model.patches is not None:
        assert isinstance(examples, LabelledCases)
        return bool(fit_patches(model.patches, examples, seed, stop, **shown).epochs)
    return True


def solve_again(
    model: ConvTimeNet | OtherNetwork,
    examples: Examples,
    seed: int,
    stop: StopRequest,
    **shown: Any,
) -> None:
    """Solve on other examples for all that is solved for in a network, in place; what was trained
    in it stays. Arguments as for `solve_streams`."""
    if isinstance(model, Solved):
        _fitted(model, examples, seed, stop, **shown)
    else:
        solve_streams(model, examples, seed, stop, **shown)
    model.eval()


def grant(
    model: ConvTimeNet | OtherNetwork,
    examples: Examples,
    valid: Examples | None,
    config: TrainConfig,
    device: torch.device,
    history: History,
) -> None:
    """Set how much counts of the head's answers, of what channels read in each other and of what
    fine-tuning changed, from the validation split if there is one, and record it; solve for the
    linear map of features that were fine-tuned."""
    if isinstance(model, PretrainedCases):
        assert isinstance(examples, LabelledCases)
        model.tune(False)
        fit_patches(model, examples, config.seed, StopRequest(), verbose=0)
    if isinstance(model, PretrainedForecaster) and isinstance(valid, Windows):
        keep(model, valid, config, device, history)
    if not isinstance(model, ConvTimeNet):
        return
    if model.patches is not None:
        if valid is not None:
            share_of_head(model, valid, config, device)
        history.granted = float(model.granted)
    elif valid is not None:
        history.granted, history.mixed = granted(model, valid, config, device)
        if not history.granted and model.config.covariates:
            history.notes.append(
                "on the validation split the trained network is no better than the linear stream "
                f"alone, which gives the forecasts and reads {_read(model)}"
            )


def _fitted(
    model: Solved,
    examples: Examples,
    seed: int,
    stop: StopRequest,
    **shown: Any,
) -> History:
    if isinstance(model, PretrainedForecaster):
        assert isinstance(examples, Windows)
        return fit_guard(model, examples, stop, **shown)
    if isinstance(model, (LinearNetwork, SmoothingNetwork)):
        assert isinstance(examples, Windows)
        examples = _without_effects(model, examples)
        if isinstance(model, LinearNetwork):
            return fit_linear(model, examples, stop, **shown)
        return fit_smoothing(model, examples, stop, **shown)
    assert isinstance(examples, LabelledCases)
    if isinstance(model, PretrainedCases):
        load_pretrained(model.embedding.network)
    return fit_patches(model, examples, seed, stop, **shown)


def _without_effects(
    model: ConvTimeNet | LinearNetwork | SmoothingNetwork, windows: Windows
) -> Windows:
    """Solve for the effects of covariates, if there are any, and take them out of the series."""
    if model.effects is None:
        return windows
    solve_effects(model.effects, windows, model.config.season)
    return without_effects(model.effects, windows)


def _read(model: ConvTimeNet) -> str:
    """What of the covariates has a say without the trained part."""
    if model.effects is not None and bool(model.effects.weight.any()):
        return "linear effects of the covariates known ahead only"
    return "no covariates"
