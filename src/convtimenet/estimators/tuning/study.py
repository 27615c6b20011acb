"""Trials of a search, kept in a place that several processes may share (`places`).

A trial whose process has died is put back at the front of the queue with the same values. Numbers
of trials are given out by Optuna, one after the other. Where no lock keeps processes apart, each
looks again once it has taken a trial, and gives it up if there were enough before it: so the number
of results is exact everywhere.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np

from convtimenet.errors import CheckpointError, MissingExtraError
from convtimenet.estimators.tuning.places import place_of, reached
from convtimenet.estimators.tuning.space import Space
from convtimenet.files import json_text, plain

__all__ = ["Study", "Trial"]

log = logging.getLogger(__name__)

_PATIENCE = 60.0  # seconds to wait for a study that another process has begun to create
_QUEUED = "fixed_params"
"""Optuna's name of the values that a trial was queued with."""
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
    _where: str | None

    def report(self, score: float, epoch: int) -> bool:
        """Note the validation score of an epoch; True if the trial should be pruned. The default
        never is, so that there is always a result."""
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            with reached(self._where):
                self._own.report(score, epoch)
                return not self.default and self._own.should_prune()
        except UpdateFinishedTrialError:  # another process took this one for dead
            return True


class Study:
    """All trials of a search.

    Parameters
    ----------
    storage
        A file or a URL; None keeps them in memory.
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
        storage: str | os.PathLike[str] | None,
        about: Mapping[str, Any],
        space: Space,
        seed: int,
    ):
        try:
            import optuna
        except ImportError as error:
            raise MissingExtraError("optuna", "tune", "a search") from error
        self._optuna, self.seed, self.worker = optuna, seed, uuid4().hex
        self.space, self._states = space, optuna.trial.TrialState
        about = json.loads(json_text({**about, "space": space.to_dict()}))
        self._place = place_of(storage)
        self.where = self._place.shown
        """For messages; None in memory."""
        self._held = ExitStack()
        self._held.callback(optuna.logging.set_verbosity, optuna.logging.get_verbosity())
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            self._open(about)
        except BaseException:
            self.close()
            raise

    def _open(self, about: Mapping[str, Any]) -> None:
        """Open the study, or create it."""
        optuna = self._optuna
        with self._reached(), self._place.alone():
            given = {
                "storage": self._place.open(),
                "study_name": self._place.study_name,
                "pruner": optuna.pruners.MedianPruner(_COMPARED),
            }
            try:
                self._study = optuna.create_study(**given)
                found = None
            except optuna.exceptions.DuplicatedStudyError:
                self._study = optuna.load_study(**given)
                found = self._about()
            if found is None:
                self._study.set_user_attr("about", about)
            elif found != about:
                other = [name for name in about if about[name] != found.get(name)]
                raise CheckpointError(
                    f"{self.where} holds a search with other {' and '.join(other)}; give the same "
                    "as then, or another file or name"
                )
            self._place.begin(self.worker)

    def _about(self) -> Mapping[str, Any] | None:
        """What is searched in the study. On a server its creator may not have said so yet; None if
        that has died."""
        end = time.monotonic() + (_PATIENCE if self._place.awaited else 0.0)
        while (found := self._study.user_attrs.get("about")) is None and time.monotonic() < end:
            time.sleep(0.2)
        return found

    def close(self) -> None:
        """Let go of the trials that this process has claimed."""
        self._held.close()
        self._place.close()

    # --- claims ----------------------------------------------------------------------------------

    def claim(self, trials: int, *, only_default: bool = False) -> Trial | None:
        """The next trial, if fewer than `trials` are done or being done; of the default settings or
        none if `only_default`."""
        with self._reached(), self._place.alone():
            for one in self._all(self._states.RUNNING):
                if not self._place.alive(one):
                    log.warning("trial %d died with its process and is repeated", one.number)
                    self._put_back(one)
            if len(self.finished) + len(self._all(self._states.RUNNING)) >= trials:
                return None
            own = self._next(only_default)
            if own is None:
                return None
            if self._before(own.number) >= trials:
                self._give_up(self._frozen(own.number))
                return None
            # a function of seed and number, so that processes with the same seed differ
            seed = int(np.random.SeedSequence([self.seed, own.number]).generate_state(1)[0])
            tpe = self._optuna.samplers.TPESampler(seed=seed, n_startup_trials=_RANDOM)
            self._study.sampler = tpe
            default = bool(own.user_attrs.get("default"))
            # the default's values are noted for the sampler, but not set
            values = self.space.suggest(own, self.space.default if default else None)
            found = {} if default else self.space.settings(values)
            own.set_user_attr("settings", plain(found))
            self._place.claimed(own)
        return Trial(own.number, found, default, own, self.where)

    def complete(self, trial: Trial, score: float, **facts: Any) -> None:
        """Note the score of a trial, which is a failure if it is not finite."""
        if math.isfinite(score):
            self._tell(trial, facts, values=score)
        else:
            self.fail(trial, "the validation score is not finite", **facts)

    def prune(self, trial: Trial, **facts: Any) -> None:
        """Note that a trial was pruned."""
        self._tell(trial, facts, state=self._states.PRUNED)

    def fail(self, trial: Trial, error: str, **facts: Any) -> None:
        """Note that a trial failed; it is not repeated."""
        self._tell(trial, {**facts, "error": error}, state=self._states.FAIL)

    def give_back(self, trial: Trial) -> None:
        """Put a trial that was not finished back at the front of the queue."""
        self._place.claimed(None)
        with self._reached(), self._place.alone():
            self._put_back(self._frozen(trial.number))

    def _tell(self, trial: Trial, facts: Mapping[str, Any], **result: Any) -> None:
        """Note the end of a trial, unless another process took this one for dead."""
        self._place.claimed(None)
        with self._reached():
            try:
                for name, value in facts.items():
                    trial._own.set_user_attr(name, value)
            except self._optuna.exceptions.UpdateFinishedTrialError:
                log.warning("trial %d is repeated by another process meanwhile", trial.number)
            else:
                self._study.tell(trial.number, **result)

    def _put_back(self, one: Any) -> None:
        """End a trial without a result, and queue its values."""
        if self._void(one):
            default = {"default": True} if one.user_attrs.get("default") else {}
            values = one.params or one.system_attrs.get(_QUEUED, {})
            self._study.enqueue_trial(values, user_attrs=default)

    def _give_up(self, one: Any) -> None:
        """End a trial that was one too many; values from the queue go back there."""
        if _QUEUED in one.system_attrs:
            self._put_back(one)
        else:
            self._void(one)

    def _void(self, one: Any) -> bool:
        """End a trial without a result; False if another process has."""
        try:
            self._study.tell(one.number, state=self._states.FAIL)
        except (ValueError, self._optuna.exceptions.UpdateFinishedTrialError):
            return False
        return True

    def _next(self, only_default: bool) -> Any:
        """A trial from the queue, or a new one; None if only the default is wanted, and begun. The
        default is queued first, and again if the process that had it died; where two did that at
        once, the second one is void."""
        if not self._default_before(len(self._all())):
            self._study.enqueue_trial(self.space.default, user_attrs={"default": True})
        while not only_default or self._default_waits():
            own = self._study.ask()
            own.set_user_attr("worker", self.worker)
            default = own.user_attrs.get("default")
            if default and self._default_before(own.number):
                self._void(self._frozen(own.number))
            elif only_default and not default:  # before it in the queue
                self._give_up(self._frozen(own.number))
            else:
                return own
        return None

    def _default_waits(self) -> bool:
        """Whether the default is in the queue."""
        return any(one.user_attrs.get("default") for one in self._all(self._states.WAITING))

    def _default_before(self, number: int) -> bool:
        """Whether a trial before this one has the default settings, and has not ended without a
        result."""
        return any(
            one.number < number
            and one.user_attrs.get("default")
            and (one.state != self._states.FAIL or "error" in one.user_attrs)
            for one in self._all()
        )

    def _before(self, number: int) -> int:
        """How many trials before this one have a result or are running."""
        running = self._all(self._states.RUNNING)
        return sum(one.number < number for one in (*self.finished, *running))

    def _frozen(self, number: int) -> Any:
        """Optuna's record of a trial."""
        return self._study.get_trials(deepcopy=False)[number]

    # --- what there is ---------------------------------------------------------------------------

    @property
    def finished(self) -> list[Any]:
        """Optuna's record of every trial with a result: complete, pruned or failed. Trials that
        died or were given back are not among them."""
        states = self._states
        found = self._all(states.COMPLETE, states.PRUNED, states.FAIL)
        return [one for one in found if one.state != states.FAIL or "error" in one.user_attrs]

    @property
    def tried_default(self) -> bool:
        """Whether the default settings have a result, which may be that they have no score."""
        return any(one.user_attrs.get("default") for one in self.finished)

    @property
    def others(self) -> int:
        """Number of trials that other processes are running, or died running."""
        running = self._all(self._states.RUNNING)
        return sum(one.user_attrs.get("worker") != self.worker for one in running)

    def _all(self, *states: Any) -> Sequence[Any]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _reached(self) -> AbstractContextManager[None]:
        return reached(self.where)
