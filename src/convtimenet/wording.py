"""Column names, as users give them and in messages, and other words of several places.

What to do about an error depends on who reads it: `advice` has the words for each.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape
from numbers import Integral
from typing import Any, Literal

from convtimenet.errors import ConfigError

__all__ = [
    "advice",
    "column_names",
    "flag",
    "html_table",
    "listing",
    "networks",
    "share_text",
    "unknown_column",
    "written_for",
]

Reader = Literal["caller", "client", "page"]
"""Who reads messages: callers of Python or the command line, who have options; clients of the HTTP
server and of jobs on files, who can only give something else; users of the page of
``convtimenet app``, who have its controls."""
_READER: ContextVar[Reader] = ContextVar("reader", default="caller")


@contextmanager
def written_for(reader: Reader) -> Iterator[None]:
    """Messages that are made here, in this thread, are for this reader."""
    before = _READER.set(reader)
    try:
        yield
    finally:
        _READER.reset(before)


def advice(options: str, client: str, page: str | None = None) -> str:
    """The part of a message that depends on who reads it.

    Parameters
    ----------
    options
        For callers of Python or the command line; the only place for names of options.
    client
        For clients of the HTTP server and of jobs on files.
    page
        For users of the page, with the names of its controls; None where it has none for this, and
        what is said to clients holds.
    """
    return {"caller": options, "client": client, "page": client if page is None else page}[
        _READER.get()
    ]


def unknown_column(name: Any, names: Sequence[str], option: str) -> str:
    """Message for an unknown column that an option names, with the closest existing name."""
    lower = {known.lower(): known for known in names}
    text = str(name).lower()
    hint = ""
    if cut := [one for known, one in lower.items() if known.startswith(f"{text},")]:
        hint = f"; did you mean {cut[0]!r}?" + advice(
            f" On the command line: {shlex.quote(_in_list(cut[:1]))}", ""
        )
    elif near := difflib.get_close_matches(text, list(lower), n=1, cutoff=0.6):
        hint = f"; did you mean {lower[near[0]]!r}?"
    said = f"there is no column {name!r}{hint} (found: {listing(names)})"
    return advice(f"{option}: ", "") + said


def flag(name: str, value: str | Sequence[str]) -> str:
    """A flag and its value, a name or a list of names, as a shell takes them."""
    text = value if isinstance(value, str) else _in_list(value)
    return f"--{name}{'=' if text.startswith('-') else ' '}{shlex.quote(text)}"


def _in_list(names: Sequence[str]) -> str:
    """Names as a,b, in quotes where a name needs them."""
    needs = re.compile(r'[,"\n]|^\[|^$')
    return ",".join(
        '"' + one.replace('"', '""') + '"' if needs.search(one) else one for one in map(str, names)
    )


def listing(names: Sequence[Any], limit: int = 20) -> str:
    """Column names for a message, the first `limit` of them."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(repr(name) for name in names[:limit]) + more


def column_names(setting: str, value: Any) -> tuple[str, ...]:
    """Normalise column names: a string for one, a list, tuple, set or array for several, or None.

    Raises
    ------
    ConfigError
        If the value is anything else.
    """
    if value is None or isinstance(value, str):
        return () if value is None else (value,)
    wrong = isinstance(value, (bytes, Mapping, Iterator)) or not isinstance(value, Iterable)
    names = [] if wrong else list(value)
    if wrong or not all(
        isinstance(name, (str, Integral, tuple)) and not isinstance(name, bool) for name in names
    ):
        raise ConfigError(
            f"{setting} must be a column name or a list of column names, found {value!r}"
        )
    if isinstance(value, (set, frozenset)):
        names.sort(key=str)  # the order of a set differs between processes
    return tuple(map(str, names))


def networks(weights: Sequence[float]) -> str:
    """How many networks a model averages, and with which weights."""
    return f"{len(weights)}, with the weights {', '.join(f'{one:.2f}' for one in weights)}"


def share_text(share: float) -> str:
    """A share of something in per cent: two decimals, below 1 % three digits."""
    return f"{100 * share:{'.2f' if share >= 0.01 else '.3g'}} %"


def html_table(
    caption: str, rows: Sequence[Sequence[Any]], columns: Sequence[str] | None = None
) -> str:
    """A small table for a notebook, without style or scripts. The first cell of a row is its
    header; floats are shown with four digits, and all text is escaped."""

    def cell(value: Any) -> str:
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        return escape(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", "\ufffd", text))

    head = "".join(f"<th>{cell(one)}</th>" for one in columns or ())
    body = "".join(
        f"<tr><th>{cell(first)}</th>{''.join(f'<td>{cell(one)}</td>' for one in rest)}</tr>"
        for first, *rest in rows
    )
    head = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f"<table><caption>{cell(caption)}</caption>{head}<tbody>{body}</tbody></table>"
