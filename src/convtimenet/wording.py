"""Names of columns in messages."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

__all__ = ["listing", "unknown_column"]


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
