"""Read a TOML file and refuse unknown settings."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convtimenet.errors import ConfigError
from convtimenet.names import meant

__all__ = ["check_names", "read_toml"]


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a file; `what` names it in errors.

    Raises
    ------
    ConfigError
        If it is missing or not TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(
            f"expected {what}, found none at {path} ({error.strerror}); check the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML, found {error}; correct that line") from error


def check_names(path: Path, where: str, found: Any, known: Sequence[str]) -> None:
    """Refuse unknown settings.

    Raises
    ------
    ConfigError
        If `found` is not a table, or has a name that is not in `known`.
    """
    if not isinstance(found, Mapping):
        raise ConfigError(f"{path}: {where} must be a table of settings, found {found!r}")
    for name in found:
        if name not in known:
            hint = meant(name, known)
            raise ConfigError(
                f"{path}: {where} has no setting {name!r}; "
                + (f"did you mean {hint}?" if hint else f"expected some of {', '.join(known)}")
            )
