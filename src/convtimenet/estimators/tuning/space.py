"""What a search varies: parameters with their ranges, derived from the data or given by the user.

A parameter is named like the setting it decides: "input_size" (forecasters), "model.d_model",
"training.lr". Three more suit settings to each other: "relative_stride", the stride as a fraction
of the patch size; "blocks", the number of kernels; and "largest_kernel", the fraction of the
patches that the last of them spans.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Protocol

import numpy as np

from convtimenet.config import Head, ModelConfig, TrainConfig
from convtimenet.errors import ConfigError
from convtimenet.estimators.parameters import DECIDED
from convtimenet.estimators.presets.derived import kernels_for
from convtimenet.names import did_you_mean
from convtimenet.settings import is_number

__all__ = ["Facts", "Range", "Space", "Suggestions", "derived", "given"]

_FEW = 500
"""Windows or cases below which smaller networks are searched."""
_WIDE = 16
"""Patches from which the largest kernel may span only some of them."""


class Suggestions(Protocol):
    """The methods of Optuna's trial that are used."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...
    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int: ...
    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float: ...


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, whole ones if both are; the same probability for every factor
    instead of every difference if `log`."""

    low: float
    high: float
    log: bool = False


Values = tuple[Any, ...] | Range
"""The choices for a parameter, or their range."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the space is derived from: the data and the estimator's default settings."""

    head: Head
    contexts: tuple[int, ...]
    """Contexts to choose from, the default's first; of labelled cases their length alone."""
    season: int
    """Steps of a season; 1 without one."""
    examples: int
    """Windows or cases in the training split."""
    model: Mapping[str, Any]
    """Default settings of `ModelConfig`, as far as they are known before training."""
    training: Mapping[str, Any]
    """The same of `TrainConfig`."""
    patches: Callable[[int], tuple[int, int]]
    """Default patch size and stride for a context."""

    def default(self, name: str) -> Any:
        """Value of a setting such as "model.dropout" by default."""
        group, _, setting = name.partition(".")
        config = ModelConfig if group == "model" else TrainConfig
        return getattr(self, group).get(setting, getattr(config, setting, None))


_DECIDES = {
    "relative_stride": "model.patch_stride",
    "blocks": "model.kernel_sizes",
    "largest_kernel": "model.kernel_sizes",
}
"""Parameters that are no settings, and the setting that each decides."""


_NOT_SEARCHED = {
    "training.validation_fraction": "what is held out and scored",
    "training.protocol": "what is scored, and by which score an epoch is kept",
    "training.refit": "whether there is a second training, which trials never have",
    "training.seed": "chance, and which labelled cases are held out",
    "training.device": "where it runs",
    "training.memory_budget": "what is kept in memory",
    "training.checkpoint_seconds": "when checkpoints are written",
}
"""Settings in which trials must not differ, and what each decides: not how well a network trains.
"""


def _decides(name: str) -> str:
    return _DECIDES.get(name, name)


def derived(facts: Facts, fixed: Collection[str]) -> dict[str, Values]:
    """The parameters to search by default, without those that are `fixed`.

    - input_size: the contexts that the default chooses from (336, 512 and 720 steps, or those of
      short tables), half of the first, and four seasons.
    - model.patch_size: the default's, half and twice that, and a season; at most half the shortest
      context.
    - relative_stride: half a patch, or a whole one.
    - blocks, largest_kernel: 3, 6 or 9 blocks (with fewer than 500 examples 2, 4 or 6), whose
      largest kernel spans a quarter, half or all of the patches.
    - model.d_model: 32, 64 or 128 (with few examples 16, 32 or 64); d_ff is four times that.
    - model.dropout: 0 to 0.5. training.lr: a fifth to five times the default's.
    - training.loss: the absolute, squared or Huber error (forecasters of points).
    - model.pooling: mean or maximum (labelled cases).

    Where no network is trained by default, because a table has few rows, only the context.
    """
    shortest, longest = min(facts.contexts), max(facts.contexts)
    patch, few = facts.patches(longest)[0], facts.examples < _FEW
    found: dict[str, Values] = {}
    if facts.head == "forecast":
        found["input_size"] = facts.contexts
    if facts.default("model.kernel_sizes"):
        sizes = {patch // 2, patch, 2 * patch, facts.season}
        found["model.patch_size"] = tuple(sorted(p for p in sizes if 2 <= p <= shortest // 2))
        found["relative_stride"] = (0.5, 1.0)
        found["blocks"] = (2, 4, 6) if few else (3, 6, 9)
        if 2 * longest // patch >= _WIDE:
            found["largest_kernel"] = (0.25, 0.5, 1.0)
        found["model.d_model"] = (16, 32, 64) if few else (32, 64, 128)
        found["model.dropout"] = Range(0.0, 0.5)
        lr = facts.default("training.lr")
        found["training.lr"] = Range(lr / 5, lr * 5, log=True)
        if facts.head != "forecast":
            found["model.pooling"] = ("mean", "max")
        elif not facts.default("model.quantiles"):
            found["training.loss"] = ("mae", "mse", "huber")
    return {
        name: values
        for name, values in found.items()
        if _decides(name) not in fixed and (isinstance(values, Range) or len(values) > 1)
    }


def given(
    space: Mapping[str, Any], facts: Facts, fixed: Collection[str], own: Collection[str]
) -> dict[str, Values]:
    """The user's own parameters and ranges: a list of choices, or a pair (low, high).

    A range whose ends differ tenfold or more is searched by factors. Of the `fixed` settings the
    user has set the `own` on the estimator; the others are those of its encoder.

    Raises
    ------
    ConfigError
        If a parameter is unknown, fixed or not to be searched, or its values make no sense.
    """
    known = [f"model.{name}" for name in ModelConfig.__dataclass_fields__ if name not in DECIDED]
    known += [f"training.{name}" for name in TrainConfig.__dataclass_fields__]
    known += [*_DECIDES, *(["input_size"] if facts.head == "forecast" else [])]
    found: dict[str, Values] = {}
    for name, values in space.items():
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise ConfigError(f"there is no parameter {name!r} to search; {hint}")
        if name in _NOT_SEARCHED:
            raise ConfigError(
                f"{name} cannot be searched: it decides {_NOT_SEARCHED[name]}, not how well a "
                "network trains; set it on the estimator for all trials"
            )
        if (setting := _decides(name)) in fixed:
            by, remedy = "set on the estimator", "leave out one of the two"
            if setting not in own:
                by = "that of the encoder that training starts from"
                remedy = f"leave {name} out, or the encoder (init_from, pretrain())"
            raise ConfigError(f"{setting} is {by}, so {name} cannot be searched; {remedy}")
        if setting != name and setting in space:
            raise ConfigError(f"{name} and {setting} decide the same; search one of the two")
        found[name] = _values(name, values)
    if not found:
        raise ConfigError("space names no parameter; name some, or leave it out")
    return found


def _values(name: str, values: Any) -> Values:
    if isinstance(values, (list, tuple)):
        found = tuple(map(_plain_value, values))
        if isinstance(values, list) and found:
            return found
        if len(found) == 2 and all(map(is_number, found)):
            low, high = found
            if low < high:
                return Range(low, high, log=low > 0 and high / low >= 10)
    raise ConfigError(
        f"{name}: expected a list of choices, or a range as a pair (low, high), found {values!r}"
    )


def _plain_value(value: Any) -> Any:
    """A choice of any type as Python's own, which JSON and Optuna take: those of NumPy too."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain_value, value))
    if is_number(value):
        return int(value) if isinstance(value, Integral) else float(value)
    return value


@dataclass(frozen=True)
class Space:
    """The parameters that a search varies, and the settings that follow from their values."""

    parameters: Mapping[str, Values]
    facts: Facts
    fixed: Mapping[str, Any]
    """Settings that the user or an encoder has fixed, by name."""

    @property
    def default(self) -> dict[str, Any]:
        """The default's values of parameters that have them among theirs. Not of input_size, which
        a forecaster may choose itself when it is fitted."""
        usual = {"relative_stride": 0.5, "blocks": 6, "largest_kernel": 1.0}
        usual["model.patch_size"] = self.facts.patches(max(self.facts.contexts))[0]
        found = {}
        for name, values in self.parameters.items():
            value = usual.get(name)
            if value is None and "." in name:
                value = self.facts.default(name)
            if isinstance(values, Range):
                if is_number(value) and values.low <= value <= values.high:
                    found[name] = value
            elif value in values and _plain(values):
                found[name] = value
        return found

    def suggest(self, trial: Suggestions, names: Collection[str] | None = None) -> dict[str, Any]:
        """Values of the parameters for a trial; of all, or those with these names."""
        chosen = self.parameters if names is None else names
        return {name: _suggested(trial, name, self.parameters[name]) for name in chosen}

    def settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Settings by name for the values of a trial."""
        found = {name: value for name, value in values.items() if name not in _DECIDES}
        known = {**self.fixed, **found}
        context = known.get("input_size") or self.facts.contexts[0]
        patch, stride = self.facts.patches(context)
        patch, stride = (
            known.get("model.patch_size", patch),
            known.get("model.patch_stride", stride),
        )
        if {"model.patch_size", "relative_stride"} & {
            *values
        } and "model.patch_stride" not in known:
            stride = max(1, round(values.get("relative_stride", 0.5) * patch))
            found["model.patch_stride"] = stride
        if "model.d_model" in found and "model.d_ff" not in known:
            found["model.d_ff"] = 4 * found["model.d_model"]
        reshaped = {"model.patch_size", "model.patch_stride"} & {*found}
        if (reshaped or {"blocks", "largest_kernel"} & {*values}) and (
            "model.kernel_sizes" not in known
        ):
            patches = max(1, (context - patch) // stride + 2)
            span, least = values.get("largest_kernel", 1.0), known.get("model.small_kernel", 3)
            sizes = kernels_for(patches, values.get("blocks", 6), span)
            found["model.kernel_sizes"] = tuple(max(least, size) for size in sizes)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values, to compare with those of an earlier search."""
        return {
            name: vars(one) if isinstance(one, Range) else [*map(repr, one)]
            for name, one in self.parameters.items()
        }


def _suggested(trial: Suggestions, name: str, values: Values) -> Any:
    if isinstance(values, Range):
        low, high = values.low, values.high
        if isinstance(low, int) and isinstance(high, int):
            return trial.suggest_int(name, low, high, log=values.log)
        short = float(f"{trial.suggest_float(name, low, high, log=values.log):.3g}")
        return float(min(max(short, low), high))
    # Optuna keeps plain values only, so choices such as kernel sizes go by their number
    if _plain(values):
        return trial.suggest_categorical(name, values)
    return values[int(trial.suggest_categorical(name, list(range(len(values)))))]


def _plain(values: tuple[Any, ...]) -> bool:
    return all(one is None or isinstance(one, (bool, int, float, str)) for one in values)
