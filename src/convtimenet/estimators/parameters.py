"""Parameters: unknown names are errors that suggest the nearest known one; training settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import fields
from functools import wraps
from os import PathLike
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from convtimenet import processes
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.errors import ConfigError, ParameterError
from convtimenet.estimators.presets.derived import UNUSED_IF_FAST
from convtimenet.names import did_you_mean, listed, meant
from convtimenet.training.checkpoint import check_folder, seed_of

EXOGENOUS = frozenset({"hist_exog", "futr_exog", "stat_exog", "stat_categories"})
# settings of `ModelConfig` that the data and the estimator's parameters determine
DECIDED = EXOGENOUS | {
    *("head", "context_length", "outputs", "channels", "mixed_channels", "members", "pretrained"),
    "theta",
}

_GROUPS = {
    "model": [f.name for f in fields(ModelConfig) if f.name not in DECIDED],
    "training": [f.name for f in fields(TrainConfig)],
}

_TWICE = {
    **{name: name for name in ("batch_size", "lr", "time_limit", "precision", "device")},
    "epochs": "n_epochs",
    "seed": "random_state",
}
"""Parameters by the setting of `TrainConfig` that they give."""
_USUAL = {"precision": "fp32", "device": "auto", "random_state": 2023}


class NamedParameters(BaseEstimator):
    """Base of estimators with the mappings `model` and `training` among their parameters.

    scikit-learn reads parameters from the constructor's signature, so it stays explicit; a
    subclass's constructor and public methods are wrapped for better messages than "unexpected
    keyword argument".
    """

    model: Mapping[str, Any] | None
    training: Mapping[str, Any] | None
    n_epochs: int | None
    batch_size: int | None
    lr: float | None
    time_limit: float | None
    precision: str
    device: str
    random_state: int | np.random.RandomState | None
    init_from: Any

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "__init__" in vars(cls):
            cls.__init__ = _with_parameter_errors(cls.__init__)
        for name in dir(cls):
            found = inspect.getattr_static(cls, name)
            own = found.__func__ if isinstance(found, classmethod) else found
            ours = inspect.isfunction(own) and own.__module__.startswith("convtimenet.")
            if ours and not name.startswith("_") and not hasattr(own, "checked"):
                wrapped = _with_parameter_errors(own)
                setattr(cls, name, classmethod(wrapped) if own is not found else wrapped)

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, as in scikit-learn.

        Raises
        ------
        ParameterError
            If there is no parameter of a given name.
        """
        known = self._get_param_names()
        for name in params:
            own, _, inner = name.partition("__")
            if own not in known or (inner and not hasattr(getattr(self, own), "set_params")):
                raise ParameterError(_no_parameter(type(self).__name__, name, known))
        return super().set_params(**params)

    def _network_settings(self) -> dict[str, Any]:
        """What is given that only a trained network uses, by name; None where it is not given."""
        found = {name: getattr(self, name) for name in UNUSED_IF_FAST}
        found["precision"] = None if found["precision"] == "fp32" else found["precision"]
        kernels = self._settings("model").get("kernel_sizes")
        found["init_from"] = self.init_from
        found["pretrain()"] = getattr(self, "pretrained_", None)
        return {**found, "model={'kernel_sizes': ...}": kernels or None}

    def _settings(self, group: str) -> Mapping[str, Any]:
        """The settings in the parameter `model` or `training`.

        Raises
        ------
        ConfigError
            If it is not a mapping, or holds an unknown setting.
        """
        given = getattr(self, group)
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            raise ConfigError(
                f"{group} must be a mapping from setting to value, found {given!r}; write it as "
                f"{group}={{{_GROUPS[group][0]!r}: ...}}"
            )
        for name in given:
            if name not in _GROUPS[group] and name not in DECIDED:
                other = next(one for one in _GROUPS if one != group)
                hint = _hint(str(name), [group, "", other], self._get_param_names(), group)
                raise ConfigError(f"{group}={{...}} has no setting {name!r}; {hint}")
        return given

    def _fixed(self) -> set[str]:
        """Names of the settings of the user's own, which hold for every member of a portfolio."""
        return {*self._settings("model"), *self._settings("training")}

    def _train_config(
        self, preset: Mapping[str, Any], resume: str | PathLike[str] | None
    ) -> TrainConfig:
        """The preset's training settings with the estimator's own on top.

        Raises
        ------
        CheckpointError
            If `resume` cannot be a folder of checkpoints.
        ConfigError
            If a setting is wrong, or is given by a parameter and in `training` with other values.
        """
        for setting, value in self._settings("training").items():
            name = given_by(self, setting)
            if name is not None and getattr(self, name) != value:
                raise ConfigError(
                    f"{name}={getattr(self, name)!r} and training={{{setting!r}: {value!r}}} are "
                    "the same setting with two values; leave one of them out"
                )
        if resume is not None:
            check_folder(resume)
        own = {
            "epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "time_limit": self.time_limit,
        }
        fixed = {"precision": self.precision, "device": self.device, "seed": self._seed(resume)}
        given = {name: value for name, value in own.items() if value is not None}
        return TrainConfig.from_dict({**preset, **fixed, **given, **self._settings("training")})

    def _seed(self, resume: str | PathLike[str] | None) -> Any:
        """`random_state` as an integer seed, drawn if it is a `RandomState` or None; a resumed
        training keeps the seed it started with."""
        given = self.random_state
        started = None
        if given is None and resume is not None:
            started = seed_of(resume)
        if started is None and (given is None or isinstance(given, np.random.RandomState)):
            started = int(check_random_state(given).randint(2**31))
        return given if started is None else int(processes.of_first(started))


def given_by(estimator: Any, setting: str) -> str | None:
    """The parameter that gives a setting of `TrainConfig`, if it is not at its default."""
    name = _TWICE.get(setting)
    if name is None or getattr(estimator, name) in (None, _USUAL.get(name)):
        return None
    return name


def unfitted(estimator: Any, **changes: Any) -> Any:
    """A new estimator with the parameters of another one, but for `changes`, and with the encoder
    of its `pretrain`.

    Unlike scikit-learn's `clone` it shares the parameters: callbacks are told of its trainings, and
    a fitted `init_from` stays fitted. A random state alone is copied, so that drawing seeds leaves
    that of the other one as it is.
    """
    given = {**estimator.get_params(deep=False), **changes}
    if isinstance(given["random_state"], np.random.RandomState):
        given["random_state"] = deepcopy(given["random_state"])
    fresh = type(estimator)(**given)
    if hasattr(estimator, "pretrained_"):
        fresh.pretrained_ = estimator.pretrained_
    return fresh


def _with_parameter_errors(call: Callable[..., Any]) -> Callable[..., Any]:
    """A constructor or method that raises `ParameterError` for wrong parameters."""

    @wraps(call)
    def checked(self: Any, *values: Any, **given: Any) -> Any:
        try:
            return call(self, *values, **given)
        except TypeError as error:
            signature = inspect.signature(call)
            try:
                signature.bind(self, *values, **given)
            except TypeError as wrong:
                is_init, known = call.__name__ == "__init__", list(signature.parameters)[1:]
                kind = (self if isinstance(self, type) else type(self)).__name__
                kind = kind if is_init else f"{kind}.{call.__name__}"
                unknown = [name for name in given if name not in known]
                message = f"{kind}: {wrong}"
                if unknown and is_init:
                    message = _no_parameter(kind, unknown[0], known)
                elif unknown and known:
                    message = f"{kind} has no parameter {unknown[0]!r}; "
                    message += did_you_mean(unknown[0], known)
                elif known:
                    message += f"; give parameters by name, as {known[0]}=..."
                raise ParameterError(message) from None
            raise error

    checked.checked = True  # type: ignore[attr-defined]
    return checked


def _no_parameter(kind: str, name: str, known: Iterable[str]) -> str:
    hint = _hint(name, ["", "model", "training"], known, "")
    return f"{kind} has no parameter {name!r}; {hint}"


def _hint(name: str, order: list[str], parameters: Iterable[str], inside: str) -> str:
    """A suggestion of the parameter or setting that was probably meant, as it must be written.

    Parameters
    ----------
    order
        The groups to search, in order; "" for the parameters themselves.
    inside
        The group in which the user gave the name.
    """
    parameters = list(parameters)
    known = [[f"{one}.{name}" for name in _GROUPS[one]] if one else parameters for one in order]
    found = meant(name, *known)
    if found is None:
        return f"expected one of {listed(_GROUPS[inside] if inside else parameters)}"
    group, _, setting = found.rpartition(".")
    if group == inside:
        return f"did you mean {setting}?"
    if group:
        return f"did you mean {group}={{{setting!r}: ...}}?"
    return f"did you mean the parameter {setting}=... of the estimator?"
