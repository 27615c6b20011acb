"""What the configs share: JSON in and out, and checks of single values."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields
from numbers import Integral, Real
from typing import Any, Self, TypeGuard

from convtimenet.errors import ConfigError
from convtimenet.names import did_you_mean

__all__ = [
    "Settings",
    "is_number",
    "is_whole",
    "require",
    "require_choice",
    "require_whole",
    "whole_number",
]


def require(valid: bool, setting: str, expected: str, found: object) -> None:
    if not valid:
        raise ConfigError(f"{setting} must be {expected}, found {found!r}")


def require_whole(settings: Any, name: str, minimum: int) -> None:
    """Check an integer setting, and convert NumPy integers to Python's."""
    value = getattr(settings, name)
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    expected = f"a whole number of at least {minimum}"
    require(whole and int(value) >= minimum, name, expected, value)
    object.__setattr__(settings, name, int(value))


def is_whole(value: object, minimum: int) -> bool:
    """Whether it is a whole number, of any type (2 or 2.0), of at least `minimum`."""
    if not is_number(value):
        return False
    return (isinstance(value, Integral) or float(value).is_integer()) and value >= minimum


def whole_number(name: str, value: Any, minimum: int = 1) -> int:
    """A whole number of any type (2 or 2.0) as Python's.

    Raises
    ------
    ConfigError
        If it is none, or below `minimum`.
    """
    expected = f"a whole number of at least {minimum}"
    require(is_whole(value, minimum), name, expected, value)
    return int(value)


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool)


def require_choice(setting: str, found: object, choices: tuple[object, ...]) -> None:
    require(found in choices, setting, "one of " + ", ".join(map(repr, choices)), found)


class Settings:
    """Conversion to and from JSON; settings unknown to this version are rejected."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; infinity becomes the largest finite float."""
        text = json.dumps(asdict(self))  # type: ignore[call-overload]
        return json.loads(text, parse_constant=lambda _: sys.float_info.max)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from the output of `to_dict`.

        Raises
        ------
        ConfigError
            If a setting is unknown, out of range, or missing without a default.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"{cls.__name__} needs a mapping from setting to value, found "
                f"{type(values).__name__}"
            )
        known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
        for name in values:
            if name not in known:
                hint = did_you_mean(str(name), known)
                raise ConfigError(f"{cls.__name__} has no setting {name!r}; {hint}")
        try:
            return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
        except TypeError as error:
            raise ConfigError(f"{cls.__name__}: {error}") from error
