"""Names of columns: as users give them, and in messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

from convtimenet.errors import ConfigError

__all__ = ["column_names", "listing", "unknown_column"]


def unknown_column(name: Any, names: Sequence[str]) -> str:
    """Message for a column that does not exist, with the nearest name that does."""
    lower = {known.lower(): known for known in names}
    near = difflib.get_close_matches(str(name).lower(), list(lower), n=1, cutoff=0.6)
    hint = f"; did you mean {lower[near[0]]!r}?" if near else ""
    return f"there is no column {name!r}{hint} (found: {listing(names)})"


def listing(names: Sequence[Any], limit: int = 20) -> str:
    """Column names for a message, the first `limit` of them."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(repr(name) for name in names[:limit]) + more


def column_names(setting: str, value: Any) -> tuple[str, ...]:
    """Names of columns as a user gives them: one as text, several as a list, tuple, set or array;
    None for none.

    Raises
    ------
    ConfigError
        If they are something else.
    """
    if value is None or isinstance(value, str):
        return () if value is None else (value,)
    wrong = isinstance(value, (bytes, Mapping, Iterator)) or not isinstance(value, Iterable)
    names = [] if wrong else list(value)
    if wrong or not all(
        isinstance(name, (str, Integral, tuple)) and not isinstance(name, bool) for name in names
    ):
        raise ConfigError(
            f"{setting} must be the name of a column, or a list of names, found {value!r}"
        )
    if isinstance(value, (set, frozenset)):
        names.sort(key=str)  # their own order is another in every process
    return tuple(map(str, names))
