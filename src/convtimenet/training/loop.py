"""The training loop, shared by all tasks."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from convtimenet import processes
from convtimenet.callbacks import Callback, TrainingProgress, after_epoch
from convtimenet.config import TrainConfig
from convtimenet.data.windows import Examples, Windows
from convtimenet.devices import RandomNumbers, autocast
from convtimenet.errors import TrainingError
from convtimenet.network.inference import fuse
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.other import OtherNetwork, restore_torch_numbers, torch_numbers
from convtimenet.network.reconstruction.features import PretrainedCases
from convtimenet.progress import Task, showing
from convtimenet.training.batches import check_alike, epoch_order, training_batches
from convtimenet.training.budget import fit_memory
from convtimenet.training.checkpoint import Checkpoint, Checkpoints
from convtimenet.training.closed_form.solve import grant, is_solved, solve, solve_streams
from convtimenet.training.history import Epoch, History
from convtimenet.training.interrupt import StopRequest
from convtimenet.training.metrics import Scores, evaluate, outputs
from convtimenet.training.notices import notices_of
from convtimenet.training.objectives import OBJECTIVES
from convtimenet.training.progress import end_note, epoch_note, start_note
from convtimenet.training.step import Step

log = logging.getLogger(__name__)

_MAX_SKIPPED_IN_A_ROW = 5
"""Consecutive skipped steps after which training rolls back to the last good snapshot."""
_MAX_ROLLBACKS = 3
_SNAPSHOT_EVERY = 500  # steps between snapshots of good weights; each epoch also starts with one
_READ_EVERY = 50  # steps between reads of the step's counters, where a read is expensive


def train(
    model: ConvTimeNet | OtherNetwork,
    examples: Examples,
    valid: Examples | None,
    config: TrainConfig,
    *,
    device: torch.device,
    numbers: RandomNumbers | None = None,
    verbose: int = 1,
    label: str = "training",
    checkpoints: Checkpoints | None = None,
    stop: StopRequest | None = None,
    callbacks: Sequence[Callback] = (),
) -> History:
    """Train a network in place and restore the weights of its best epoch.

    Parameters
    ----------
    model, device
        The network and its device, which must also be that of the examples.
    examples
        The training examples.
    valid
        The validation split (used to select the epoch); None trains to the end.
    config
        Training settings; schedule, clipping and stopping follow SPEC section 5.
    numbers
        Random state for dropout; by default a new one from the config's seed.
    verbose
        0 shows nothing, 1 the progress, 2 also one line per epoch (`convtimenet.progress`).
    label
        Name of the run in the progress display.
    checkpoints
        Where checkpoints are written, and read to resume from the newest one; a finished run is
        not repeated.
    stop
        Ends training after the current step once its signal is set: the state is saved, and the
        best weights are restored if an epoch was finished (`History.best_epoch`).
    callbacks
        Called after every epoch; their exceptions are those of `convtimenet.callbacks`.

    Returns
    -------
    History

    Raises
    ------
    TrainingError
        If no epoch gave finite weights and scores.
    CheckpointError
        If the checkpoints belong to another run, are damaged, or are in use by another process.
    ProcessError
        If processes that train together have other data or settings, or one is gone.
    OutOfMemoryError
        If there is not enough memory for the smallest part of a batch.
    """
    stop = stop or StopRequest()
    shown: dict[str, Any] = {"verbose": verbose, "label": label}
    with processes.watched():
        check_alike(model.config, examples, valid, config)
        if is_solved(model, valid, config):
            history = solve(model, examples, valid, config, device, stop, checkpoints, **shown)
        else:
            numbers = numbers or RandomNumbers(config.seed, device)
            history = History(device=str(device))
            with nullcontext() if checkpoints is None else checkpoints.alone():
                found = None if checkpoints is None else checkpoints.newest()
                if found is None and not solve_streams(model, examples, config.seed, stop, **shown):
                    history.stopped = f"stopped by {stop.name}"
                else:
                    if isinstance(model, PretrainedCases):
                        model.tune(True)
                    run = _Training(
                        model, examples, valid, config, device, numbers, checkpoints, stop
                    )
                    if found is None or not run.resumed(found):
                        run.all_epochs(callbacks, **shown)
                    run.step.release()
                    history = run.history
            if history.best_epoch:
                grant(model, examples, valid, config, device, history)
            model.eval()
        history.seconds = processes.of_first(history.seconds)
        stop.agree()
    return history


class _Training:
    """State of a training run, and the methods that advance, save and restore it."""

    def __init__(
        self,
        model: ConvTimeNet | OtherNetwork,
        examples: Examples,
        valid: Examples | None,
        config: TrainConfig,
        device: torch.device,
        numbers: RandomNumbers,
        checkpoints: Checkpoints | None,
        stop: StopRequest,
    ):
        self.model, self.examples, self.valid, self.config = model, examples, valid, config
        self.device, self.numbers = device, numbers
        self.checkpoints, self.stop = checkpoints, stop
        # key from when this was torch's global state, so that old checkpoints stay readable
        self.random = "random" if device.type == "cpu" else f"random.{device.type}"
        numbers.apart(processes.rank())
        objective, paper = OBJECTIVES[model.config.head], config.protocol == "paper"
        self.drop_last = paper and objective.paper_drops_last
        self.history = History(device=str(device))
        smallest = fit_memory(model, examples, config, device, self.history)
        self.step = Step(model, examples, config, device, smallest)
        # The epoch is selected by the validation value of the training loss. The authors'
        # classification script uses accuracy, which is coarse for few cases.
        self.selected_by = (objective.paper_score if paper else None) or self.step.loss.name
        self.keeps_last = valid is None or config.schedule == "cosine"
        self.order = torch.Generator().manual_seed(config.seed)
        self.order_state = self.order.get_state()
        """State of `order` before the current epoch's order was drawn."""
        self.lr, self.rate_factor = config.lr, 1.0
        self.epoch, self.position = 1, 0
        """The current epoch, counted from 1, and the number of its batches done."""
        self.best_score, self.best, self.waited = float("inf"), _copies(model.state_dict()), 0
        self.good: dict[str, Tensor] = {}
        """Snapshot of weights and optimiser that gave a finite step; empty before the first."""
        self.good_age = 0
        self.interrupted = self.out_of_time = False
        self.begin = self.epoch_begin = self.saved = time.monotonic()

    # --- the loop --------------------------------------------------------------------------------

    def all_epochs(self, callbacks: Sequence[Callback], verbose: int, label: str) -> None:
        """Train until the end or a stop request."""
        history, config = self.history, self.config
        each = torch.arange(config.examples_per_epoch(len(self.examples)))
        steps = len(training_batches(each, config))
        with showing(label, verbose, at_once=True) as task:
            task.expect(steps * config.epochs, done=(self.epoch - 1) * steps + self.position)
            alone = task.outer is None  # no notes for each of many runs
            if alone:
                what = "windows" if isinstance(self.examples, Windows) else "cases"
                examples = f"{len(self.examples):,} {what}"
                task.say(start_note(label, examples, steps, config, history))
            while not history.stopped:
                task.at = f"epoch {self.epoch}/{config.epochs}"
                epochs = len(history.epochs)
                self._epoch(task)
                if len(history.epochs) == epochs:  # stopped within the epoch
                    continue
                if verbose > 1:
                    task.say(f"{label}, epoch {self.epoch - 1}: {epoch_note(history)}")
                told = partial(after_epoch, callbacks, self._progress(label))
                history.stopped = processes.text_of_first(told) or history.stopped
            history.seconds = time.monotonic() - self.begin
            if alone and not self.interrupted:
                task.say(end_note(label, history))
        if self.interrupted:
            if history.best_epoch:
                self.model.load_state_dict(self.best)
            return
        good = history.best_epoch and all(v.isfinite().all() for v in self.best.values())
        if good:
            self.model.load_state_dict(self.best)
        if not good or (self.keeps_last and not self._finite_outputs()):
            raise TrainingError(
                f"training did not converge: {history.stopped}, and no earlier epoch gave finite "
                f"weights and scores; use an lr below {config.lr:g} or a clip_norm (found "
                f"{config.clip_norm})"
            )
        history.notes += notices_of(self.model, history)
        if self.checkpoints is not None:
            state = {f"model.{name}": value for name, value in self.best.items()}
            state |= torch_numbers(self.model)  # the next training of the call goes on from it
            self.checkpoints.save(Checkpoint(state, {"done": True, "history": history.to_dict()}))

    def _epoch(self, task: Task) -> None:
        """Run one epoch, or the rest of it after resuming."""
        step, history = self.step, self.history
        self.lr = self.config.learning_rate(self.epoch) * self.rate_factor
        step.set_rate(self.lr)
        step.set_mode()
        if self.position == 0:
            self.epoch_begin = time.monotonic()
            self.good_age = _SNAPSHOT_EVERY
            step.begin_epoch()
        order = epoch_order(len(self.examples), self.config, self.order)
        for index in training_batches(order.to(self.device), self.config)[self.position :]:
            self._one_step(index)
            self.position += 1
            task.advance()
            if step.reads_back and not history.epochs:
                task.note = f"train loss {float(step.total) / max(1, int(step.seen)):.4g} so far"
            if history.stopped:
                return
            due = self._agree(self.config.checkpoint_seconds)
            if self.stop.signal:
                self.interrupted, history.stopped = True, f"stopped by {self.stop.name}"
            if due or self.interrupted:
                self._save_state()
            if self.interrupted:
                return
            if self.out_of_time:
                break
        task.at += ", validation" if self.valid is not None else ""
        self._end_epoch()
        task.note = epoch_note(history)
        log.info("epoch %d: %s", self.epoch - 1, epoch_note(history))
        # short epochs do not each need a file
        if not history.stopped and self._agree(self.config.checkpoint_seconds / 10):
            self._save_state()

    def _one_step(self, index: Tensor) -> None:
        """Train on one batch, and roll back after too many skipped steps in a row."""
        step, history = self.step, self.history
        copy = _copies(step.state()) if self.good_age >= _SNAPSHOT_EVERY else None
        with self.numbers.in_use():
            step(index)
        history.steps += 1
        history.parts = step.parts.count
        self.good_age += 1
        if copy is None and not step.reads_back and history.steps % _READ_EVERY:
            return
        history.skipped, in_a_row = step.counts[1:].tolist()
        if copy is not None and in_a_row == 0:
            self.good, self.good_age = copy, 0
        if in_a_row >= _MAX_SKIPPED_IN_A_ROW:
            self._roll_back()

    def _roll_back(self) -> None:
        steps = _MAX_SKIPPED_IN_A_ROW
        reason = f"the loss or its gradients were not finite in {steps} steps in a row"
        if not self.good:
            self.history.stopped = f"{reason} from the first step on"
        elif self.history.rollbacks == _MAX_ROLLBACKS:
            self.history.stopped = (
                f"{reason} for the {_MAX_ROLLBACKS + 1}th time, although the learning rate was "
                "halved each time"
            )
        else:
            self.history.rollbacks += 1
            self.rate_factor /= 2
            self.lr /= 2
            self.step.load(self.good)
            self.step.run.zero_()
            self.step.set_rate(self.lr)
            log.warning("%s: rolled back to earlier weights and halved the learning rate", reason)

    def _end_epoch(self) -> None:
        """Score the epoch, keep its weights if they are the best, and decide whether to stop."""
        step, history, config = self.step, self.history, self.config
        history.skipped, in_a_row = step.counts[1:].tolist()
        scores: Scores = {}
        if self.valid is not None:
            with autocast(self.device, config), showing("validation", verbose=0):
                scores = evaluate(
                    self._fused(),
                    self.valid,
                    self.model.config.head,
                    config.batch_size,
                    self.device,
                    self.drop_last,
                    self.step.loss,
                    together=True,
                )
        seen = int(step.seen)
        loss = float(step.total) / seen if seen else float("nan")
        seconds = time.monotonic() - self.epoch_begin
        history.epochs.append(Epoch(self.epoch, loss, scores, self.lr, seconds))
        if not seen:  # all steps were skipped, so nothing was trained
            score = float("inf")
        elif not self.keeps_last:
            score = scores[self.selected_by] * (-1 if self.selected_by == "accuracy" else 1)
        else:  # keep the last epoch unless its last step broke the weights
            score = -self.epoch if in_a_row == 0 or self._finite_outputs() else float("inf")
        # on another kind of CPU the last bits differ, and all have to stop after the same epoch
        score = processes.of_first(score)
        if score < self.best_score:
            self.best_score, self.waited = score, 0
            self.best = _copies(self.model.state_dict())
            history.best_epoch = self.epoch
        else:
            self.waited += 1
        self.epoch, self.position = self.epoch + 1, 0
        self.order_state = self.order.get_state()
        self._agree()
        if self.out_of_time:
            history.stopped = f"time limit of {config.time_limit} s"
        elif config.patience is not None and self.waited >= config.patience:
            history.stopped = f"no better validation {self.selected_by} for {self.waited} epochs"
        elif self.epoch > config.epochs:
            history.stopped = f"all {config.epochs} epochs done"

    def _progress(self, label: str) -> TrainingProgress:
        """What callbacks are told after an epoch."""
        history, last = self.history, self.history.epochs[-1]
        return TrainingProgress(
            training=label,
            epoch=last.epoch,
            epochs=self.config.epochs,
            steps=history.steps,
            train_loss=last.train_loss,
            valid=dict(last.valid),
            loss=self.step.loss.name,
            lr=last.lr,
            seconds=last.seconds,
            best_epoch=history.best_epoch,
        )

    def _finite_outputs(self) -> bool:
        """Whether the network's outputs on a training batch are finite."""
        with autocast(self.device, self.config):
            found = outputs(self._fused(), self.examples, self.config.batch_size, self.device)
            return bool(next(found)[0].isfinite().all())

    def _fused(self) -> ConvTimeNet | OtherNetwork:
        """The trained part of the network, fused."""
        fused = fuse(self.model)
        if isinstance(fused, ConvTimeNet):
            fused.patches = None
        return fused

    def _agree(self, save_after: float = float("inf")) -> bool:
        """Note a signal and the end of the time limit, in all processes alike; whether the state is
        to be saved, because the last save is more than so many seconds ago."""
        now, limit = time.monotonic(), self.config.time_limit
        due = self.checkpoints is not None and now - self.saved >= save_after
        late = limit is not None and now - self.begin > limit
        self.stop.signal, late, due = processes.agreed(
            max(self.stop.signal, self.stop.received), late, due
        )
        self.out_of_time = bool(late)
        return bool(due)

    # --- saving and resuming ---------------------------------------------------------------------

    def _save_state(self) -> None:
        if self.checkpoints is None:
            return
        now, step = time.monotonic(), self.step
        self.history.seconds = now - self.begin
        tensors = {
            **step.state(),
            **{f"best.{name}": value for name, value in self.best.items()},
            **{f"good.{name}": value for name, value in self.good.items()},
            "order": self.order_state,
            **self._random_states(),
            **torch_numbers(self.model),
            "total": step.total,
            "counts": step.counts,
        }
        values = {
            "done": False,
            "history": {**self.history.to_dict(), "stopped": ""},
            "epoch": self.epoch,
            "position": self.position,
            "epoch_seconds": now - self.epoch_begin,
            "best_score": self.best_score,
            "waited": self.waited,
            "good_age": self.good_age,
            "rate_factor": self.rate_factor,
        }
        self.checkpoints.save(Checkpoint(tensors, values))
        self.saved = time.monotonic()

    def _random_states(self) -> dict[str, Tensor]:
        """The random states of all processes: of the first without a number."""
        own = self.numbers.state()
        states = [own] if self.numbers.common else processes.all_of(own)
        return {f"{self.random}.{n}" if n else self.random: one for n, one in enumerate(states)}

    def resumed(self, found: Checkpoint) -> bool:
        """Resume from a checkpoint; True if training had already ended."""
        tensors, values = found.tensors, found.values
        self.history = History.from_dict(values["history"])
        restore_torch_numbers(tensors)
        if values["done"]:
            self.model.load_state_dict(found.under("model."))
            log.info("training had already ended: its weights are loaded from the checkpoint")
            return True
        self.step.load(tensors)
        self.best = _copies(found.under("best."), self.device)
        self.good = _copies(found.under("good."), self.device)
        self.step.total.copy_(tensors["total"])
        self.step.counts.copy_(tensors["counts"])
        self.step.parts.count = self.history.parts
        self.order_state = tensors["order"].clone()
        self.order.set_state(self.order_state)
        number = 0 if self.numbers.common else processes.rank()
        own = f"{self.random}.{number}" if number else self.random
        if own in tensors:  # not if there were fewer processes
            self.numbers.go_on_from(tensors[own])
        self.epoch, self.position = values["epoch"], values["position"]
        best, self.waited = values["best_score"], values["waited"]
        self.best_score = float("inf") if best is None else best  # None: no usable epoch yet
        self.good_age, self.rate_factor = values["good_age"], values["rate_factor"]
        self.begin = self.saved - self.history.seconds
        self.epoch_begin = self.saved - values["epoch_seconds"]
        log.info("training resumes in epoch %d after %d batches", self.epoch, self.position)
        return False


def _copies(state: dict[str, Tensor], device: torch.device | None = None) -> dict[str, Tensor]:
    return {name: v.detach().to(device or v.device, copy=True) for name, v in state.items()}
