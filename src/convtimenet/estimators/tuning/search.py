"""`tune`: search for the settings with the best score on the validation split."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral
from os import PathLike
from typing import Any, NoReturn

from convtimenet import processes
from convtimenet.callbacks import AbandonTraining, TrainingProgress, checked
from convtimenet.errors import ConfigError, ConvTimeNetError, DataError, ProcessError
from convtimenet.estimators.base import ConvTimeNetEstimator
from convtimenet.estimators.parameters import given_by, unfitted
from convtimenet.estimators.presets.derived import PRETRAINED, TUNED
from convtimenet.estimators.pretrained import Pretrained, encoder_of
from convtimenet.estimators.tuning.problem import problem_of
from convtimenet.estimators.tuning.result import TuneResult, result_of
from convtimenet.estimators.tuning.space import Space, derived, given
from convtimenet.estimators.tuning.study import Study, Trial
from convtimenet.files import plain
from convtimenet.progress import Task, clock, quiet, showing
from convtimenet.settings import is_number, require
from convtimenet.training.checkpoint import data_hash
from convtimenet.training.interrupt import Terminated

__all__ = ["Search", "tune"]

log = logging.getLogger(__name__)

_PRUNED_FROM = 0.25  # of the epochs
_LOOK_EVERY = 0.5  # seconds between looks at trials of other processes


def tune(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    trials: int = 20,
    time_limit: float | None = None,
    storage: str | PathLike[str] | None = None,
    seed: int = 2023,
    space: Mapping[str, Any] | None = None,
    **fit: Any,
) -> TuneResult:
    """Search for the settings of an estimator with the best score on the validation split (extra
    ``tune``), then fit it with them.

    Each trial is a first training on the training split with other settings. Its score is that of
    the estimator's `scores_`: MASE of a forecaster (MAE where that is undefined), cross-entropy of
    a classifier, mean squared error of a regressor. The first trial has the estimator's own
    settings, so the result is never worse than those on the validation split; as the best of many,
    its score there is optimistic. Trials that look worse than the median of others are stopped
    early.

    Parameters
    ----------
    estimator
        A forecaster, classifier or regressor with ``quality="auto"``; it is not changed. What is
        set on it, in `model`, `training` or its parameters, is not searched.
    X, y
        As for the estimator's ``fit``.
    trials
        Number of trials, with those that `storage` holds already.
    time_limit
        Seconds after which no trial starts and a running one is given up after its epoch. The
        first trial and the final training are always finished.
    storage
        A file for the trials, or the URL of a database or of Optuna's gRPC proxy, as
        "postgresql://user@host/database#name" (docs/tune.md). The same call continues a search that
        was stopped or killed, and several processes may share one. None keeps them in memory.
    seed
        Seed of the suggestions, and `random_state` of every training if the estimator's is not a
        number.
    space
        Parameters to search instead of those derived from the data
        (`convtimenet.estimators.tuning.space`): by name a list of choices or a range (low, high),
        as in ``{"training.lr": (1e-4, 1e-2), "model.d_model": [32, 64]}``. Not what decides which
        rows or cases are scored, such as "training.validation_fraction".
    fit
        More arguments of the estimator's ``fit``, such as `split`, `valid` or `sample_weight`.

    Returns
    -------
    TuneResult

    Raises
    ------
    ConfigError
        If there is nothing to search, a parameter of `space` is unknown or fixed, a setting is out
        of range, or this process is one of several that train together.
    DataError
        If the data cannot be used, or are too few for a validation split.
    CheckpointError
        If `storage` holds another search, or cannot be reached.
    MissingExtraError
        If optuna is not installed.
    KeyboardInterrupt, Terminated
        If SIGINT or SIGTERM stopped the search after a training step; the trial is repeated when
        the search goes on.

    Examples
    --------
    >>> import numpy as np
    >>> from convtimenet import ConvTimeNetForecaster, tune
    >>> waves = np.sin(np.arange(300)[:, None] / np.array([3.0, 5.0]))
    >>> model = ConvTimeNetForecaster(h=12, n_epochs=1, verbose=0)
    >>> found = tune(model, waves, trials=2, space={"training.lr": (1e-4, 1e-2)})
    >>> found.model.predict().shape
    (12, 2)
    """
    _check_amount(trials, time_limit)
    with Search(estimator, X, y, storage=storage, seed=seed, space=space, fit=fit) as search:
        search.run(trials, time_limit)
        found = search.result()
    return replace(found, model=unfitted(search.estimator, **found.settings).fit(X, y, **fit))


class Search:
    """A search that can be asked for its result at any time; parameters as for `tune`."""

    def __init__(
        self,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        storage: str | PathLike[str] | None = None,
        seed: int = 2023,
        space: Mapping[str, Any] | None = None,
        fit: Mapping[str, Any] | None = None,
    ):
        processes.check_alone("a search for settings")
        _check_quality(estimator)
        if not isinstance(estimator.random_state, Integral):  # the same split in every trial
            estimator = unfitted(estimator, random_state=seed)
        self.estimator, self.problem = estimator, problem_of(estimator, X, y, dict(fit or {}))
        facts, own, start = self.problem.facts, fixed_settings(estimator), _encoder(estimator)
        encoder = {} if start is None else start.architecture
        fixed = {**{f"model.{name}": value for name, value in encoder.items()}, **own}
        found = derived(facts, fixed) if space is None else given(space, facts, fixed, own)
        if not found:
            raise ConfigError(
                "there is nothing to search: every parameter is set on the estimator or fixed by "
                "its encoder, or a table of few rows leaves no choice; name parameters with "
                "space={...}"
            )
        about = {"data": self.problem.data, "settings": _about(estimator, start)}
        self.study = Study(storage, about, Space(found, facts, fixed), seed)

    def __enter__(self) -> Search:
        return self

    def __exit__(self, *error: object) -> None:
        self.study.close()

    def run(self, trials: int, time_limit: float | None = None) -> None:
        """Run trials until there are so many, or time is over. Waits for those that other processes
        are running, and repeats them if they die; when time is over, only for the default, unless
        there is a result."""
        _check_amount(trials, time_limit)
        end = None if time_limit is None else time.monotonic() + time_limit
        with showing("search, trial", self.estimator.verbose, at_once=True) as task:
            task.expect(trials, done=min(trials, len(self.study.finished)))
            while True:
                self._show(task, end)
                late = end is not None and time.monotonic() >= end
                if late and (self.best is not None or self.study.tried_default):
                    return
                trial = self.study.claim(trials, only_default=late)
                if trial is not None:
                    self._one(trial, end)
                elif not self.study.others:
                    return
                else:
                    time.sleep(_LOOK_EVERY)

    def result(self) -> TuneResult:
        """The result of the trials so far; without a model.

        Raises
        ------
        DataError
            If no trial has ended with a score.
        """
        best = self.best
        if best is None:
            raise DataError(
                "no trial has ended with a score, so there is no result; continue the search, with "
                "more trials or time"
            )
        settings = nested(self.estimator, best.user_attrs["settings"])
        return result_of(settings, self.study.finished, best)

    @property
    def best(self) -> Any:
        """Optuna's record of the best trial, of equal ones the first; None without one."""
        complete = [one for one in self.study.finished if "metric" in one.user_attrs]
        return min(complete, key=lambda one: (one.value, one.number), default=None)

    def _show(self, task: Task, end: float | None) -> None:
        """Show how many trials are done, the time left for the search, and a new best trial."""
        task.done = float(min(task.total, len(self.study.finished)))
        left = [] if task.left is None else [task.left]
        left += [] if end is None else [max(0.0, end - time.monotonic())]
        if left:
            task.label = f"search, {clock(min(left))} left, trial"
        best = self.best
        if best is not None:
            note = f"trial {best.number}: {best.user_attrs['metric']} {best.value:.4g}"
            if note != task.note:
                task.note = note
                default = best.user_attrs.get("default")
                task.say(f"{note}, {'default settings' if default else 'the best so far'}")
        task.advance(0)

    def _one(self, trial: Trial, end: float | None) -> None:
        """Train and score a trial."""
        same = [one for one in self.study.finished if _same(one, trial)]
        if same:
            facts = {name: same[0].user_attrs[name] for name in ("metric", "epochs")}
            self.study.complete(trial, same[0].value, **facts, seconds=0.0)
            return
        begin = time.monotonic()
        watch = _Watch(trial, self.problem.compared, end)
        try:
            told = [*checked(self.estimator.callbacks), watch]
            settings = nested(self.estimator, trial.settings)
            model = unfitted(self.estimator, **settings, callbacks=told)
            # notices about the data are for the final training, and what is counted within a trial
            # is no trial
            with quiet(), showing("", model.verbose):
                self.problem.fit(model)
            metric, score = self.problem.score(model)
        except _Pruned:
            self.study.prune(trial, epochs=watch.epochs, seconds=_since(begin))
        except _OutOfTime:
            self.study.give_back(trial)
        except (KeyboardInterrupt, Terminated) as stop:
            self.study.give_back(trial)
            self._stopped(stop)
        except (ConvTimeNetError, AbandonTraining) as error:
            # the user's own settings; or processes that began to train together meanwhile
            if trial.default or isinstance(error, ProcessError):
                self.study.give_back(trial)
                raise
            log.error("trial %d failed: %s", trial.number, error)
            self.study.fail(trial, str(error), epochs=watch.epochs, seconds=_since(begin))
        except BaseException:
            self.study.give_back(trial)
            raise
        else:
            facts = {"metric": metric, "epochs": watch.epochs, "seconds": _since(begin)}
            self.study.complete(trial, score, **facts)

    def _stopped(self, stop: BaseException) -> NoReturn:
        """Raise the signal's exception, with a message on what is kept."""
        kept = "nothing is kept; give a file as storage= to be able to continue"
        if self.study.where is not None:
            n = len(self.study.finished)
            kept = f"{n} trials are kept in {self.study.where}, and the same call continues"
        name = "SIGTERM" if isinstance(stop, Terminated) else "SIGINT"
        message = f"{name} stopped the search: {kept}"
        log.warning(message)
        raise type(stop)(message) from stop


def _check_amount(trials: int, time_limit: float | None) -> None:
    """Refuse a number of trials or seconds that cannot be.

    Raises
    ------
    ConfigError
        If one of them is out of range.
    """
    require(is_number(trials) and trials >= 1, "trials", "at least 1", trials)
    limited = time_limit is None or (is_number(time_limit) and time_limit >= 0)
    require(limited, "time_limit", "at least 0, or None", time_limit)


class _Pruned(AbandonTraining):
    """A trial looks worse than the others."""


class _OutOfTime(AbandonTraining):
    """The time of the search is over."""


class _Watch:
    """Callback that reports to the study and ends a trial early."""

    def __init__(self, trial: Trial, compared: str, end: float | None):
        self.trial, self.compared, self.end = trial, compared, end
        self.epochs = 0

    def on_epoch_end(self, progress: TrainingProgress) -> None:
        if progress.training != "training" or not progress.valid:
            return
        self.epochs = progress.epoch
        pruned = self.trial.report(progress.valid[self.compared], progress.epoch)
        last = progress.epoch == progress.epochs
        if not last and not self.trial.default:
            if self.end is not None and time.monotonic() >= self.end:
                raise _OutOfTime
            if pruned and _PRUNED_FROM * progress.epochs <= progress.epoch:
                raise _Pruned


def nested(estimator: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of the estimator for settings by name."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        group, _, setting = name.rpartition(".")
        value = tuple(value) if isinstance(value, list) else value
        if group:
            found.setdefault(group, dict(getattr(estimator, group) or {}))[setting] = value
            if group == "training" and (name := given_by(estimator, setting)) is not None:
                found[name] = value  # which would contradict it
        else:
            found[name] = value
    return found


def fixed_settings(estimator: ConvTimeNetEstimator) -> dict[str, Any]:
    """The settings that the user has set on an estimator, by name."""
    own = {
        "input_size": getattr(estimator, "input_size", None),
        "training.epochs": estimator.n_epochs,
        "training.batch_size": estimator.batch_size,
        "training.lr": estimator.lr,
        "training.time_limit": estimator.time_limit,
    }
    found = {name: value for name, value in own.items() if value is not None}
    for group in ("model", "training"):
        settings = estimator._settings(group)
        found |= {f"{group}.{name}": value for name, value in settings.items()}
    return found


def _check_quality(estimator: Any) -> None:
    if not isinstance(estimator, ConvTimeNetEstimator):
        raise ConfigError(
            "expected a ConvTimeNetForecaster, ConvTimeNetClassifier or ConvTimeNetRegressor, "
            f"found {type(estimator).__name__}"
        )
    quality = getattr(estimator, "quality", "auto")
    why = {
        "fast": "trains no network whose settings could be searched",
        "best": "trains networks of several settings itself",
        PRETRAINED: "uses the weights that come with the package",
        TUNED: "fine-tunes the weights that come with the package",
    }
    if quality in why:
        raise ConfigError(f"quality={quality!r} {why[quality]}; use quality='auto'")


def _about(estimator: Any, start: Pretrained | None) -> dict[str, Any]:
    """What of an estimator and its encoder decides the results of trials, as plain values."""
    given = estimator.get_params(deep=False)
    free = ("callbacks", "verbose", "device", "n_jobs")
    found = {name: value for name, value in given.items() if name not in free}
    found.pop("init_from")
    if start is not None:
        found["init_from"] = data_hash(start.weights)
    return {"estimator": type(estimator).__name__, **plain(found, repr)}


def _encoder(estimator: ConvTimeNetEstimator) -> Pretrained | None:
    """The encoder that every trial starts from.

    Raises
    ------
    ConfigError
        If `init_from` has none, as the weights of the package.
    """
    given = None if estimator.init_from is None else encoder_of(estimator.init_from)
    return getattr(estimator, "pretrained_", given)


def _same(one: Any, trial: Trial) -> bool:
    """Whether a finished trial has the settings of another one."""
    return "metric" in one.user_attrs and one.user_attrs["settings"] == plain(trial.settings)


def _since(begin: float) -> float:
    return round(time.monotonic() - begin, 2)
