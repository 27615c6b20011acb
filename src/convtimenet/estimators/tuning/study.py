"""Trials of a search, kept in a file that several processes may share.

The file is Optuna's journal: one line for each change, so that a kill loses at most the line that
was being written. Around it stand operating system locks, which end with their process:

- "claim" is held while a process looks for work, so that no two take the same trial;
- "journal" is held while a line is written, instead of Optuna's own lock, whose file would outlive
  a killed process;
- each process holds one of its own as long as it searches. A trial whose process no longer holds it
  has died, and is put back at the front of the queue with the same values.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from convtimenet.errors import CheckpointError, MissingExtraError
from convtimenet.estimators.tuning.space import Space
from convtimenet.files import json_text, locked, plain

__all__ = ["Study", "Trial"]

log = logging.getLogger(__name__)

_NAME = "convtimenet"
_PATIENCE = 60.0  # seconds to wait for a lock, which is held for fractions of one
_COMPARED = 5
"""Trials that run to the end before others are compared with them."""
_RANDOM = 6
"""Trials, with the default, before the results guide the suggestions."""


@dataclass(frozen=True)
class Trial:
    """A trial that this process has claimed."""

    number: int
    settings: Mapping[str, Any]
    """Settings to train with, by name; empty for the default."""
    default: bool
    _own: Any

    def report(self, score: float, epoch: int) -> bool:
        """Note the validation score of an epoch; True if the trial should be pruned. The default
        never is, so that there is always a result."""
        self._own.report(score, epoch)
        return not self.default and self._own.should_prune()


class Study:
    """All trials of a search.

    Parameters
    ----------
    path
        The file; None keeps them in memory.
    about
        Data and settings, as plain values; those of a study in the file must be the same, and so
        must the space.
    space
        What is searched.
    seed
        Seed of the suggestions.

    Raises
    ------
    CheckpointError
        If the file holds another search, or something else.
    MissingExtraError
        If optuna is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        about: Mapping[str, Any],
        space: Space,
        seed: int,
    ):
        try:
            import optuna
        except ImportError as error:
            raise MissingExtraError("optuna", "tune", "a search") from error
        self._optuna, self.seed, self.worker = optuna, seed, uuid4().hex
        self.space = space
        about = json.loads(json_text({**about, "space": space.to_dict()}))
        self.path = None if path is None else Path(path)
        self._held = ExitStack()
        self._held.callback(optuna.logging.set_verbosity, optuna.logging.get_verbosity())
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            self._open(about)
        except BaseException:
            self._held.close()
            raise

    def _open(self, about: Mapping[str, Any]) -> None:
        """Open the study in the file, or create it."""
        optuna = self._optuna
        pruner = optuna.pruners.MedianPruner(_COMPARED)
        with self._alone():
            storage = None
            if self.path is not None:
                storage = _journal(self.path, self._lock_file("journal"))
            self._study = optuna.create_study(
                storage=storage, study_name=_NAME, pruner=pruner, load_if_exists=True
            )
            found = self._study.user_attrs.get("about")
            if found is None:
                self._study.enqueue_trial(self.space.default, user_attrs={"default": True})
                self._study.set_user_attr("about", about)
            elif found != about:
                other = [name for name in about if about[name] != found.get(name)]
                raise CheckpointError(
                    f"{self.path} holds a search with other {' and '.join(other)}; give the same "
                    "as then, or another file"
                )
        if self.path is not None:
            self._held.enter_context(locked(self._lock_file(self.worker)))

    def close(self) -> None:
        """Let go of the trials that this process has claimed."""
        self._held.close()
        if self.path is not None:
            self._lock_file(self.worker).unlink(missing_ok=True)

    # --- claims ----------------------------------------------------------------------------------

    def claim(self, trials: int) -> Trial | None:
        """The next trial, if fewer than `trials` are done or being done."""
        states = self._optuna.trial.TrialState
        with self._alone():
            running = 0
            for one in self._all(states.RUNNING):
                if self._alive(one.user_attrs.get("worker")):
                    running += 1
                else:
                    log.warning("trial %d died with its process and is repeated", one.number)
                    self._put_back(one)
            if len(self.finished) + running >= trials:
                return None
            # a function of seed and number, so that processes with the same seed differ
            number = len(self._study.get_trials(deepcopy=False))
            seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
            tpe = self._optuna.samplers.TPESampler(seed=seed, n_startup_trials=_RANDOM)
            self._study.sampler = tpe
            own = self._study.ask()
            own.set_user_attr("worker", self.worker)
            default = bool(own.user_attrs.get("default"))
            # the default's values are noted for the sampler, but not set
            values = self.space.suggest(own, self.space.default if default else None)
            found = {} if default else self.space.settings(values)
            own.set_user_attr("settings", plain(found))
        return Trial(own.number, found, default, own)

    def complete(self, trial: Trial, score: float, **facts: Any) -> None:
        """Note the score of a trial, which is a failure if it is not finite."""
        if not math.isfinite(score):
            self.fail(trial, "the validation score is not finite", **facts)
            return
        self._note(trial, facts)
        self._study.tell(trial.number, score)

    def prune(self, trial: Trial, **facts: Any) -> None:
        """Note that a trial was pruned."""
        self._note(trial, facts)
        self._study.tell(trial.number, state=self._optuna.trial.TrialState.PRUNED)

    def fail(self, trial: Trial, error: str, **facts: Any) -> None:
        """Note that a trial failed; it is not repeated."""
        self._note(trial, {**facts, "error": error})
        self._study.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)

    def give_back(self, trial: Trial) -> None:
        """Put a trial that was not finished back at the front of the queue."""
        with self._alone():
            self._put_back(self._study.get_trials(deepcopy=False)[trial.number])

    def _note(self, trial: Trial, facts: Mapping[str, Any]) -> None:
        for name, value in facts.items():
            trial._own.set_user_attr(name, value)

    def _put_back(self, one: Any) -> None:
        default = {"default": True} if one.user_attrs.get("default") else {}
        self._study.enqueue_trial(one.params, user_attrs=default)
        self._study.tell(one.number, state=self._optuna.trial.TrialState.FAIL)

    # --- what there is ---------------------------------------------------------------------------

    @property
    def finished(self) -> list[Any]:
        """Optuna's record of every trial with a result: complete, pruned or failed. Trials that
        died or were given back are not among them."""
        states = self._optuna.trial.TrialState
        found = self._all(states.COMPLETE, states.PRUNED, states.FAIL)
        return [one for one in found if one.state != states.FAIL or "error" in one.user_attrs]

    @property
    def others(self) -> int:
        """Number of trials that other processes are running, or died running."""
        running = self._all(self._optuna.trial.TrialState.RUNNING)
        return sum(one.user_attrs.get("worker") != self.worker for one in running)

    def _all(self, *states: Any) -> Sequence[Any]:
        return self._study.get_trials(deepcopy=False, states=states)

    # --- locks -----------------------------------------------------------------------------------

    def _lock_file(self, name: str) -> Path:
        assert self.path is not None
        folder = self.path.with_name(f"{self.path.name}.locks")
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from claiming trials."""
        with ExitStack() as stack:
            if self.path is not None:
                _take(stack, self._lock_file("claim"))
            yield

    def _alive(self, worker: str | None) -> bool:
        """Whether a process still searches. Without a name it died while it claimed the trial."""
        if worker is None or worker == self.worker:
            return worker is not None
        file = self._lock_file(worker)
        with locked(file) as holder:
            alive = holder is not None
        if not alive:
            with suppress(OSError):
                file.unlink()
        return alive


def _journal(path: Path, lock: Path) -> Any:
    """Optuna's storage in a file."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if path.exists():
        with path.open("rb") as file:
            first = file.readline()
        if first and not first.startswith(b'{"op_code":'):  # nothing is written to other files
            raise CheckpointError(f"{path} is not the file of a search; name another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    own: Any = _JournalLock(path, lock)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=own))


class _JournalLock:
    """Lock of the journal, in the form that Optuna uses; also mends the file after a kill."""

    def __init__(self, path: Path, lock: Path):
        self.path, self.lock = path, lock
        self._stack = ExitStack()

    def acquire(self) -> bool:
        _take(self._stack, self.lock)
        with self.path.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if size and file.read(1) != b"\n":  # a line that was cut off by a kill
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self._stack.close()


def _take(stack: ExitStack, lock: Path) -> None:
    holder = stack.enter_context(locked(lock, wait=_PATIENCE))
    if holder is not None:
        stack.close()
        raise CheckpointError(
            f"{lock} has been locked by {holder} for {_PATIENCE:.0f} s; end that process"
        )
