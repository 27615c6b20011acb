"""Callbacks of training, and loggers for TensorBoard and MLflow.

    from convtimenet.callbacks import TensorBoard
    ConvTimeNetForecaster(h=24, callbacks=[TensorBoard("logs")]).fit("sales.csv")

A callback is any object with a method ``on_epoch_end(progress)``. It may end a training by raising
`StopTraining`, or the whole call of `fit` by raising `AbandonTraining`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from convtimenet.errors import ConfigError, MissingExtraError

__all__ = [
    "AbandonTraining",
    "Callback",
    "MLflow",
    "StopTraining",
    "TensorBoard",
    "TrainingProgress",
]


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """A training after one of its epochs."""

    training: str
    """Which training of the call: "training"; "training on all data", the second one (`refit`);
    "fold1" and so on, which calibrate intervals without a validation split. With quality="best"
    also the member: "training, member 2 of 6"."""
    epoch: int
    """Counted from 1."""
    epochs: int
    """Maximum number of epochs."""
    steps: int
    """Steps since the start of the training."""
    train_loss: float
    """Mean over the examples of the epoch; NaN if all steps were skipped."""
    valid: Mapping[str, float]
    """Scores on the validation split, in the units the network sees: "mse" and "mae" of forecasts
    and numbers, "loss" (cross-entropy) and "accuracy" of classes, and the training loss. Of the
    trained network, before it is mixed with random patches. Empty without a validation split, so
    also in the second training."""
    loss: str
    """Name of the training loss among the validation scores."""
    lr: float
    """Learning rate of the epoch."""
    seconds: float
    """Duration of the epoch."""
    best_epoch: int
    """The epoch whose weights would be kept if training ended now; 0 if there is none yet."""

    @property
    def scores(self) -> dict[str, float]:
        """Training loss, validation scores and learning rate by name, for loggers."""
        valid = {f"valid {name}": score for name, score in self.valid.items()}
        return {"train loss": self.train_loss, **valid, "lr": self.lr}


@runtime_checkable
class Callback(Protocol):
    """What training calls after each epoch.

    Every training of a call reports: the first one; with quality="best" each member, one after the
    other or, with `n_jobs`, each in another process and to a copy of its own; then the second
    training on all data (of each member), whose epochs begin at 1 again and have no validation
    scores; and trainings for the calibration of intervals.
    `TrainingProgress.training` tells them apart. Nothing is reported by quality="fast", which
    trains no network, nor for epochs from before a training was resumed.
    """

    def on_epoch_end(self, progress: TrainingProgress) -> None:
        """Take note of an epoch.

        Raises
        ------
        StopTraining
            To end this training here and keep its best epoch, as when `patience` runs out. Other
            trainings of the call are not affected.
        AbandonTraining
            To end `fit` at once: see there. Any other exception does the same.
        """
        ...


class StopTraining(Exception):
    """Raised by a callback to end the current training and keep its best epoch."""


class AbandonTraining(Exception):
    """Raised by a callback to end `fit`, which raises it to its caller.

    If the first training (or with quality="best" one of its members) is abandoned, an estimator
    that was fitted before keeps that state, and a new one stays unfitted. Later trainings leave the
    result of the first, as after Ctrl-C.
    """


def checked(callbacks: object) -> tuple[Callback, ...]:
    """The callbacks of an estimator.

    Raises
    ------
    ConfigError
        If they are not objects with `on_epoch_end`.
    """
    if callbacks is None:
        return ()
    found: list[Any] = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
    wrong = [one for one in found if isinstance(one, type) or not isinstance(one, Callback)]
    if wrong or not isinstance(callbacks, (list, tuple)):
        raise ConfigError(
            "callbacks must be a list of objects with a method on_epoch_end(progress), found "
            f"{(wrong or found)[0]!r}; write it as callbacks=[TensorBoard('logs')]"
        )
    return tuple(found)


def after_epoch(callbacks: Iterable[Callback], progress: TrainingProgress) -> str:
    """Call every callback; returns why one of them stops the training, "" if none does."""
    reason = ""
    for callback in callbacks:
        try:
            callback.on_epoch_end(progress)
        except StopTraining as stop:
            said = f": {stop}" if str(stop) else ""
            reason = reason or f"stopped by {type(callback).__name__}{said}"
    return reason


class TensorBoard:
    """Write the scores of every epoch for TensorBoard (extra ``tensorboard``).

    Each training is a run of its own in the folder: "training", "training-on-all-data", and
    "training-2" if there is a "training" already.

    Parameters
    ----------
    folder
        Folder of the runs; created when the first epoch ends.

    Raises
    ------
    MissingExtraError
        When the first epoch ends, if tensorboard is not installed.
    """

    def __init__(self, folder: str | PathLike[str]):
        self.folder = Path(folder)
        self._writers: dict[str, tuple[Any, int]] = {}

    def on_epoch_end(self, progress: TrainingProgress) -> None:
        """Write the scores of an epoch to disk."""
        writer, last = self._writers.get(progress.training, (None, 0))
        if progress.epoch <= last:  # the same training of another fit
            writer.close()
            writer = None
        if writer is None:
            writer = _summary_writer(self._new_run(progress.training))
        self._writers[progress.training] = writer, progress.epoch
        for name, score in progress.scores.items():
            writer.add_scalar(name.replace(" ", "/"), score, progress.epoch)
        writer.flush()

    def close(self) -> None:
        """Close the files; a later epoch starts new runs."""
        for writer, _ in self._writers.values():
            writer.close()
        self._writers = {}

    def _new_run(self, training: str) -> Path:
        """A new folder for a training, also if other processes use the same one."""
        name = training.replace(",", "").replace(" ", "-")
        self.folder.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            run = self.folder / (name if number == 1 else f"{name}-{number}")
            try:
                run.mkdir()
            except FileExistsError:
                continue
            return run
        raise AssertionError

    def __getstate__(self) -> dict[str, Any]:
        """Copies, such as those of scikit-learn's `clone`, open files of their own."""
        return {"folder": self.folder, "_writers": {}}


def _summary_writer(run: Path) -> Any:
    try:
        from torch.utils.tensorboard import (  # pyright: ignore[reportMissingImports]
            SummaryWriter,
        )
    except ImportError as error:
        raise MissingExtraError("tensorboard", "tensorboard", "callbacks.TensorBoard") from error
    return SummaryWriter(str(run))


class MLflow:
    """Log the scores of every epoch to the active MLflow run (extra ``mlflow``).

    MLflow starts a run if none is active; ``with mlflow.start_run():`` around `fit` decides where
    and under which name. Metrics are named by training and score, as "training/valid mae".

    Raises
    ------
    MissingExtraError
        When the first epoch ends, if mlflow is not installed.
    """

    def on_epoch_end(self, progress: TrainingProgress) -> None:
        """Log the scores of an epoch."""
        try:
            import mlflow  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingExtraError("mlflow", "mlflow", "callbacks.MLflow") from error
        training = progress.training.replace(",", "")
        scores = {f"{training}/{name}": score for name, score in progress.scores.items()}
        mlflow.log_metrics(scores, step=progress.epoch)
