"""Trainings of several networks: one after the other, or in several processes through joblib.

joblib starts the processes, on this machine or with a backend of Ray, Dask or Spark, and carries a
training there and its weights back. This process tells them whether to go on, in a folder that they
look into: in the one of the checkpoints, which machines of a cluster share, or a temporary one.

- The file "parent" is locked as long as this process lives; the system releases it with the
  process, however that ends. A training whose parent has died, or has written a signal's name into
  the file, ends after its step.
- The file of a training's number holds how much of it is done, for the progress display.

A machine that does not see the folder trains to the end of what it has begun.
"""

from __future__ import annotations

import logging
import platform
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from copy import deepcopy
from dataclasses import dataclass
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import numpy as np
import torch
from joblib import effective_n_jobs
from sklearn.utils.parallel import Parallel, delayed

from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.windows import Examples
from convtimenet.errors import CheckpointError, ConfigError, OutOfMemoryError, TrainingError
from convtimenet.estimators.parameters import unfitted
from convtimenet.estimators.pretrained import Pretrained
from convtimenet.files import locked
from convtimenet.processes import count as together
from convtimenet.progress import Display, Task, showing, shown_on
from convtimenet.training.checkpoint import only_process
from convtimenet.training.closed_form.solve import solve_again
from convtimenet.training.history import History
from convtimenet.training.interrupt import StopRequest, stop_requests

__all__ = [
    "Outcome",
    "Training",
    "at_once",
    "in_waves",
    "no_time_note",
    "solved_again",
    "stopped_message",
    "train_all",
]

_LOOK_EVERY = 0.3
"""Seconds between looks into the folder."""
_RUNNING, _PARENT = ".running-", "parent"
_SIGNALS = {one.name: one.value for one in (signal.SIGINT, signal.SIGTERM)}


@dataclass(frozen=True)
class Training:
    """One training of a network: settings, data, and what it is called."""

    config: ModelConfig
    train_config: TrainConfig
    examples: Examples
    valid: Examples | None
    device: torch.device
    phase: str
    """Name in the folder of checkpoints."""
    label: str
    """Name in the progress display and for callbacks."""
    seed: int
    """Seed that the whole call started with."""
    before: Any = None
    """The network of the first training, for a second one."""
    start: Pretrained | None = None
    """The encoder that new weights start from."""


Outcome = tuple[Any, History] | TrainingError | OutOfMemoryError | None
"""A trained network with its history, an error, or None for a training that was not begun."""


def at_once(n_jobs: int | None, trainings: int) -> int:
    """How many trainings run at the same time, as scikit-learn understands `n_jobs`; one where
    several processes train each network together.

    Raises
    ------
    ConfigError
        If `n_jobs` is not a number of processes.
    """
    if n_jobs is not None and (isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral)):
        raise ConfigError(f"n_jobs must be a number or None, found {n_jobs!r}; use n_jobs=2")
    if n_jobs == 0:
        raise ConfigError("n_jobs must not be 0; use -1 for as many as there are cores, or None")
    alone = trainings < 2 or together() > 1
    return 1 if alone else min(trainings, effective_n_jobs(cast(Any, n_jobs)))


def in_waves(seconds: Sequence[float], size: int) -> float:
    """Duration of trainings of which `size` start together, and the next when all have ended."""
    return sum(max(seconds[first : first + size]) for first in range(0, len(seconds), size))


def train_all(
    estimator: Any,
    trainings: Sequence[Training],
    resume: str | PathLike[str] | None,
    stop: StopRequest,
    processes: int,
    label: str,
) -> list[Outcome]:
    """Train networks in this process, until a stop or an error; or in several, with one thread
    each.

    Parameters
    ----------
    estimator
        A `ConvTimeNetEstimator`, which has the methods that train and build a network. Another
        process gets an unfitted copy, callbacks included.
    stop
        Its signal ends all trainings after their current step.
    processes
        Number of processes.
    label
        Name of all trainings together in the progress display.

    Returns
    -------
    In the order of the trainings; the first one is always begun.

    Raises
    ------
    CheckpointError
        As `convtimenet.training.loop.train`.
    TrainingError
        If a process died.
    """
    if processes > 1 and len(trainings) > 1:
        folder = None if resume is None else Path(resume).resolve()
        return _train_apart(estimator, trainings, folder, stop, processes, label)
    if resume is not None and together() == 1:
        with only_process(Path(resume)):
            _remove_left(Path(resume))
    outcomes: list[Outcome] = []
    for training in trainings:
        try:
            outcomes.append(estimator._train_network(training, resume, stop))
        except (TrainingError, OutOfMemoryError) as error:
            return [*outcomes, error]
        if stop.signal:
            break
    return outcomes


def solved_again(
    networks: Sequence[Any],
    chosen: Sequence[bool],
    all_examples: Sequence[Examples],
    seed: int,
    stop: StopRequest,
    **shown: Any,
) -> list[Any]:
    """The networks, of which copies of those chosen are solved for on all examples, and the others
    are as they were; for the rest of the arguments see `solve_again`."""
    found = []
    for network, again, examples in zip(networks, chosen, all_examples, strict=True):
        if again and not stop.signal:
            network = deepcopy(network)
            solve_again(network, examples, seed, stop, **shown)
        found.append(network)
    stop.agree()
    return found


def no_time_note(solved: Sequence[bool]) -> str:
    """That the time limit left no time for the second training of networks, and which of them were
    solved for all the same."""
    note, count = "the time limit left no time to train again on all data", sum(solved)
    if count == len(solved):
        note += "; what is solved in closed form gives the answers, and was solved again on all"
    elif count:
        note += f"; {count} of {len(solved)} networks, which need no training, were fitted to all"
    return note


def stopped_message(
    stop: StopRequest, history: History, resume: str | PathLike[str] | None, seed: int | None
) -> str:
    """What is kept after a stop, and how to resume; `seed` if a repeated call would draw anew."""
    if history.weights:
        kept = f"the {len(history.weights)} networks trained so far are kept"
    elif history.best_epoch:
        kept = f"the weights of epoch {history.best_epoch}, the best so far, are kept"
    else:
        kept = "no epoch was finished, so there is no model"
    if resume is None:
        how = "to make training resumable, give a folder as resume="
    else:
        how = "" if seed is None else f"random_state={seed} and "
        how = f"the same call with {how}resume={str(resume)!r} resumes from here"
    return f"{stop.name} stopped the training: {kept}; {how}"


# --- in this process -----------------------------------------------------------------------------


def _train_apart(
    estimator: Any,
    trainings: Sequence[Training],
    resume: Path | None,
    stop: StopRequest,
    processes: int,
    label: str,
) -> list[Outcome]:
    """`train_all` in several processes."""
    copy = unfitted(estimator, init_from=None)  # each training has its encoder
    with ExitStack() as held:
        if resume is not None:
            held.enter_context(only_process(resume))
        folder, locks = held.enter_context(_folder(resume))
        task = held.enter_context(showing(label, estimator.verbose, at_once=True))
        task.expect(len(trainings))
        task.say(f"{label}: {len(trainings)} networks, {processes} at a time")
        held.enter_context(_telling(folder, stop, task, len(trainings)))
        level = logging.getLogger("convtimenet").level
        calls = [
            delayed(_train)(copy, one, resume, folder, locks, number, level)
            for number, one in enumerate(trainings)
        ]
        try:
            found = Parallel(n_jobs=processes)(calls)
        except BrokenExecutor as error:
            raise TrainingError(
                f"a process that trained a network died ({error}); if it was short of memory, use "
                "fewer n_jobs, and give a folder as resume= to go on from there"
            ) from error
    outcomes: list[Outcome] = []
    for one, result in zip(trainings, found, strict=True):
        if isinstance(result, tuple):
            weights, history, number = result
            stop.signal = stop.signal or number
            result = estimator._network_with(one, weights), history
        outcomes.append(result)
    return outcomes


@contextmanager
def _folder(resume: Path | None) -> Iterator[tuple[Path, bool]]:
    """The folder through which processes are told what to do, with the lock of its file held; and
    whether its file system has locks."""
    with nullcontext(resume) if resume else tempfile.TemporaryDirectory() as outer:
        _remove_left(Path(outer))
        folder = Path(outer) / f"{_RUNNING}{uuid4().hex}"
        folder.mkdir()
        with locked(folder / _PARENT):
            with locked(folder / _PARENT) as holder:
                locks = holder is not None
            try:
                yield folder, locks
            finally:
                shutil.rmtree(folder, ignore_errors=True)


def _remove_left(outer: Path) -> None:
    """Remove such folders of runs that were killed with all their processes; the caller holds the
    lock of the folder around them."""
    for folder in outer.glob(f"{_RUNNING}*"):
        with suppress(OSError):  # one of the processes has just removed it
            with locked(folder / _PARENT) as holder:
                alive = holder is not None
            if not alive:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _telling(folder: Path, stop: StopRequest, task: Task, trainings: int) -> Iterator[None]:
    """Pass a stop on, and show how much is done, until the block ends."""
    over, told = threading.Event(), [""]

    def tell() -> None:
        while not over.wait(_LOOK_EVERY):
            if stop.signal and not told[0]:
                told[0] = stop.name
                (folder / _PARENT).write_text(stop.name)
            done = sum(_share(folder / str(number)) for number in range(trainings))
            task.advance(done - task.done)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _share(path: Path) -> float:
    try:
        return float(path.read_text() or 0)
    except OSError:
        return 0.0


# --- in the other process ------------------------------------------------------------------------


def _train(
    estimator: Any,
    training: Training,
    resume: Path | None,
    folder: Path,
    locks: bool,
    number: int,
    level: int,
) -> tuple[dict[str, np.ndarray], History, int] | TrainingError | OutOfMemoryError | None:
    """Train a network; returns its weights, its history, and the signal that stopped it or 0."""
    logger = logging.getLogger("convtimenet")
    before = torch.get_num_threads(), logger.level
    torch.set_num_threads(1)
    logger.setLevel(level)
    try:
        if resume is not None and not resume.exists():
            raise CheckpointError(
                f"{resume} is missing on {platform.node()}: resume must be a folder that all "
                "machines share; mount it there, or train without one"
            )
        with stop_requests() as stop, _obeying(folder / _PARENT, locks, stop):
            if stop.signal and number:
                return None
            with shown_on(lambda: _Told(folder / str(number))):
                network, history = estimator._train_network(training, resume, stop, within=True)
            weights = {n: one.detach().cpu().numpy() for n, one in network.state_dict().items()}
            return weights, history, stop.signal
    except (TrainingError, OutOfMemoryError) as error:
        return error
    finally:
        torch.set_num_threads(before[0])
        logger.setLevel(before[1])


@contextmanager
def _obeying(parent: Path, locks: bool, stop: StopRequest) -> Iterator[None]:
    """Set the signal of `stop` when the parent asks for it or dies, until the block ends."""
    if not parent.parents[1].exists():  # on another machine
        yield
        return
    over = threading.Event()

    def look() -> None:
        stop.signal = stop.signal or _signal_from(parent, locks)

    def keep_looking() -> None:
        while not stop.signal and not over.wait(_LOOK_EVERY):
            look()

    look()
    thread = threading.Thread(target=keep_looking, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _signal_from(parent: Path, locks: bool) -> int:
    """The signal that the parent has passed on; SIGTERM if it has died; else 0.

    Parameters
    ----------
    locks
        Whether the file system has locks.
    """
    try:
        if number := _SIGNALS.get(parent.read_text()):
            return number
        if not locks:
            return 0
        with locked(parent) as holder:
            alive = holder is not None
    except OSError:  # the parent has removed the folder
        return signal.SIGTERM
    if alive:
        return 0
    shutil.rmtree(parent.parent, ignore_errors=True)
    return signal.SIGTERM


class _Told:
    """A screen (`convtimenet.progress`): writes how much is done to a file."""

    def __init__(self, path: Path):
        self.path, self.written = path, 0.0

    def open(self, display: Display) -> None:
        """Nothing is shown here."""

    def moved(self, display: Display) -> None:
        share = None if display.task is None else display.task.share
        if share is not None and time.monotonic() - self.written >= _LOOK_EVERY:
            self.written = time.monotonic()
            with suppress(OSError):  # the folder is gone, or of another machine
                self.path.write_text(str(share))

    def say(self, line: str) -> None:
        """Nothing is shown here."""

    def close(self, display: Display, last: str) -> None:
        with suppress(OSError):
            self.path.write_text("1.0")
