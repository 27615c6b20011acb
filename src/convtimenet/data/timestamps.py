"""Time stamps as text and on the wall clocks of time zones.

Inside the package a stamp is datetime64[ns], in UTC where its table has a time zone, or an int64.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from convtimenet.errors import DataError

__all__ = [
    "iso_times",
    "looks_like_date",
    "offsets_in",
    "parse_times",
    "show_time",
    "to_local",
    "to_utc",
]

_DATE = re.compile(
    r"(\d{4})([-/])(\d{1,2})\2(\d{1,2})"
    r"(?:[T ](\d{1,2}):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?\s?(Z|[+-]\d\d(?::?\d\d)?)?)?"
)
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d\d):?(\d\d)?")
FIRST_YEAR, LAST_YEAR = 1678, 2261  # whole years that datetime64[ns] can hold
_MINUTE = 60_000_000_000


def parse_times(texts: Sequence[str], places: Sequence[str]) -> tuple[np.ndarray, str | None]:
    """Read time stamps written as text.

    ISO 8601 dates and times (``T`` or a space between, fractional seconds, ``Z`` or an offset such
    as ``+02:00``), the same with slashes (``1990/1/1 0:00``), and integers.

    Parameters
    ----------
    texts : sequence of str
        T cells.
    places : sequence of str
        Where each cell is, for messages, such as ``"line 7"``.

    Returns
    -------
    times : ndarray, shape (T,)
        int64 if all are integers, else datetime64[ns].
    time_zone : str or None
        ``"UTC"`` if the texts carry offsets, which are then taken off.

    Raises
    ------
    DataError
        If a text is no time stamp, naming it and its place, or only some carry an offset.
    """
    texts = [text.strip() for text in texts]
    if texts and _INTEGER.fullmatch(texts[0]):
        for text, place in zip(texts, places, strict=True):
            if not _INTEGER.fullmatch(text):
                raise DataError(
                    f"{place}: expected an integer time like {texts[0]}, found {text!r}"
                )
        return np.array([int(text) for text in texts], dtype=np.int64), None
    iso, offsets = [], []
    for text, place in zip(texts, places, strict=True):
        match = _DATE.fullmatch(text)
        if match is None or not FIRST_YEAR <= int(match[1]) <= LAST_YEAR:
            raise DataError(_not_a_time(text, place))
        year, _, month, day, hour, minute, second, fraction, offset = match.groups()
        iso.append(
            f"{year}-{month:0>2}-{day:0>2}T{hour or '0':0>2}:{minute or '00'}:{second or '00'}"
            f".{fraction or '0'}"
        )
        offsets.append(offset)
    times = _numpy_times(iso, texts, places)
    bare = offsets.count(None)
    if bare == len(offsets):
        return times, None
    if bare:
        at = next(i for i, offset in enumerate(offsets) if (offset is None) != (offsets[0] is None))
        raise DataError(
            f"{places[at]}: some time stamps carry a UTC offset and some do not: {texts[0]!r} and "
            f"{texts[at]!r}; write all of them in one way"
        )
    return times - np.array([_offset(o) for o in offsets], dtype="timedelta64[ns]"), "UTC"


def looks_like_date(text: str) -> bool:
    """Whether `text` is written like a date (integers are not)."""
    return _DATE.fullmatch(text.strip()) is not None


def offsets_in(texts: Sequence[str]) -> tuple[str, ...]:
    """The different UTC offsets of stamps that `parse_times` can read, as written."""
    matches = (_DATE.fullmatch(text.strip()) for text in texts)
    return tuple(sorted({match[9] for match in matches if match is not None and match[9]}))


def _numpy_times(iso: list[str], texts: Sequence[str], places: Sequence[str]) -> np.ndarray:
    try:
        return np.array(iso, dtype="datetime64[ns]")
    except ValueError:  # such as 30 February; numpy does not say which
        for text, one, place in zip(texts, iso, places, strict=True):
            try:
                np.datetime64(one)
            except ValueError:
                raise DataError(_not_a_time(text, place)) from None
        raise


def _not_a_time(text: str, place: str) -> str:
    return (
        f"{place}: {text!r} is not a time stamp; expected one like 2020-01-31, 2020-01-31 06:30, "
        f"2020-01-31T06:30:00Z, 2020/1/31 6:30 or an integer, from {FIRST_YEAR} to {LAST_YEAR}"
    )


def _offset(text: str) -> int:
    """Nanoseconds of ``Z``, ``+hh``, ``+hhmm`` or ``+hh:mm``."""
    if text == "Z":
        return 0
    minutes = int(text[1:3]) * 60 + int(text[3:].lstrip(":") or 0)
    return (-minutes if text[0] == "-" else minutes) * _MINUTE


def show_time(time: np.datetime64 | np.int64, time_zone: str | None = None) -> str:
    """One stamp (in UTC if `time_zone` is given) as ISO 8601 text, with its offset."""
    if not isinstance(time, np.datetime64):
        return str(int(time))
    return iso_times(np.array([time]), time_zone)[0]


def iso_times(times: np.ndarray, time_zone: str | None = None) -> list[str]:
    """ISO 8601 texts of `times`, shape (T,), to the second or as fine as any of them needs."""
    if times.dtype.kind == "i":
        return [str(time) for time in times.tolist()]
    unit = next(u for u in ("s", "ms", "us", "ns") if (times.astype(f"M8[{u}]") == times).all())
    local = to_local(times, time_zone)
    texts: list[str] = local.astype(f"datetime64[{unit}]").astype(str).tolist()
    if time_zone is None:
        return texts
    minutes = ((local - times).astype(np.int64) // _MINUTE).tolist()
    return [f"{text}{_show_offset(m)}" for text, m in zip(texts, minutes, strict=True)]


def _show_offset(minutes: int) -> str:
    sign, size = "-" if minutes < 0 else "+", abs(minutes)
    return f"{sign}{size // 60:02d}:{size % 60:02d}" if minutes else "Z"


def to_local(times: np.ndarray, time_zone: str | None) -> np.ndarray:
    """Wall clock of `time_zone` at UTC `times`, both (T,) datetime64[ns]; no zone: as they are."""
    if time_zone in (None, "UTC"):
        return times
    zone = _zone(time_zone)
    seconds, of = np.unique(times.astype("datetime64[s]").astype(np.int64), return_inverse=True)
    clocks = [datetime.fromtimestamp(s, UTC).astimezone(zone) for s in seconds.tolist()]
    return times + _deltas(clocks)[of]


def to_utc(local: np.ndarray, time_zone: str | None) -> np.ndarray:
    """Inverse of `to_local`; a skipped hour moves forward, of a repeated one the first counts."""
    if time_zone in (None, "UTC"):
        return local
    zone = _zone(time_zone)
    clocks, of = np.unique(local.astype("datetime64[s]"), return_inverse=True)
    return local - _deltas([clock.replace(tzinfo=zone) for clock in clocks.tolist()])[of]


def _deltas(clocks: list[datetime]) -> np.ndarray:
    offsets = [clock.utcoffset() or timedelta(0) for clock in clocks]
    return np.array(offsets, dtype="timedelta64[us]").astype("timedelta64[ns]")


def _zone(name: str) -> tzinfo:
    match = _OFFSET.fullmatch(name)
    if match:
        return timezone(
            timedelta(microseconds=_offset("".join(p or "" for p in match.groups())) // 1000)
        )
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise DataError(
            f"unknown time zone {name!r}; convert the time column to UTC or to a named zone such "
            "as 'Europe/Berlin' (where a system has no zone database: pip install tzdata)"
        ) from None
