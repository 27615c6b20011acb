"""Convert time stamps to and from local time, and to ISO 8601 text.

Inside the package a time stamp is datetime64[ns] (in UTC if its table has a time zone) or int64.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from convtimenet.errors import DataError

__all__ = [
    "FIRST_YEAR",
    "LAST_YEAR",
    "SET_BACK",
    "days_of",
    "iso_times",
    "may_be_set_back",
    "offset_of",
    "show_in",
    "show_time",
    "to_local",
    "to_utc",
    "weeks_of",
]

_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d\d):?(\d\d)?", re.IGNORECASE)
FIRST_YEAR, LAST_YEAR = 1678, 2261  # whole years that datetime64[ns] can hold
SET_BACK = (
    "these are hours of Sunday nights, which occur twice when clocks are set back: write the time "
    "stamps in UTC or with their UTC offsets, such as 2024-10-27T02:00:00+01:00"
)
"""What to do about time stamps that repeat and of which `may_be_set_back` is true."""
_MINUTE = 60_000_000_000


def offset_of(text: str) -> int:
    """The UTC offset of ``Z``, ``UTC``, ``+hh``, ``+hhmm``, ``+hh:mm`` or ``UTC+hh``, in
    nanoseconds."""
    match = _OFFSET.fullmatch(text)
    if match is None:
        return 0
    minutes = int(match[2]) * 60 + int(match[3] or 0)
    return (-minutes if match[1] == "-" else minutes) * _MINUTE


def show_time(time: np.datetime64 | np.int64, time_zone: str | None = None) -> str:
    """One time stamp (in UTC if `time_zone` is given) as ISO 8601 text, with its UTC offset."""
    if not isinstance(time, np.datetime64):
        return str(int(time))
    return iso_times(np.array([time]), time_zone)[0]


def show_in(times: np.ndarray, time: np.datetime64 | np.int64, time_zone: str | None) -> str:
    """One stamp for readers: `show_time`, but only the date if all of `times` are at midnight."""
    if not isinstance(time, np.datetime64):
        return show_time(time)
    local = to_local(np.append(times, time), time_zone)
    if (local.astype("datetime64[D]") == local).all():
        return str(local[-1].astype("datetime64[D]"))
    return show_time(time, time_zone)


def iso_times(times: np.ndarray, time_zone: str | None = None) -> list[str]:
    """ISO 8601 texts of `times`, shape (T,), in seconds or the finest unit that any of them
    needs."""
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
    """Convert UTC `times` to local time, both (T,) datetime64[ns]; unchanged without a zone."""
    if time_zone in (None, "UTC"):
        return times
    zone = _zone(time_zone)
    seconds, of = np.unique(times.astype("datetime64[s]").astype(np.int64), return_inverse=True)
    clocks = [datetime.fromtimestamp(s, UTC).astimezone(zone) for s in seconds.tolist()]
    return times + _deltas(clocks)[of]


def to_utc(local: np.ndarray, time_zone: str | None) -> np.ndarray:
    """Inverse of `to_local`. A skipped local time moves forward; a repeated one is the first."""
    if time_zone in (None, "UTC"):
        return local
    zone = _zone(time_zone)
    clocks, of = np.unique(local.astype("datetime64[s]"), return_inverse=True)
    return local - _deltas([clock.replace(tzinfo=zone) for clock in clocks.tolist()])[of]


def may_be_set_back(times: np.ndarray) -> bool:
    """Whether all time stamps are in hours that clock changes may repeat: Sundays from 0 to 3."""
    if times.dtype.kind != "M":
        return False
    days = times.astype("datetime64[D]")
    hours = (times - days).astype("timedelta64[h]").astype(int)
    sundays = (days.astype(np.int64) + 4) % 7 == 0
    months = days.astype("datetime64[M]").astype(np.int64) % 12 + 1
    return bool((sundays & (hours <= 3) & np.isin(months, (3, 4, 9, 10, 11))).all()) and bool(
        (days != times).any()
    )


def _deltas(clocks: list[datetime]) -> np.ndarray:
    offsets = [clock.utcoffset() or timedelta(0) for clock in clocks]
    return np.array(offsets, dtype="timedelta64[us]").astype("timedelta64[ns]")


def _zone(name: str) -> tzinfo:
    if _OFFSET.fullmatch(name):
        return timezone(timedelta(microseconds=offset_of(name) // 1000))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise DataError(
            f"unknown time zone {name!r}; convert the time column to UTC or to a named zone such "
            "as 'Europe/Berlin' (if the system has no time zone database: pip install tzdata)"
        ) from None


def days_of(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Days as datetime64, and a mask of those that do not exist."""
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]")
    lengths = ((months + 1).astype("datetime64[D]") - first).astype(np.int64)
    wrong = (month < 1) | (month > 12) | (day < 1) | (day > lengths)
    return first + (day - 1).astype("timedelta64[D]"), wrong


def weeks_of(year: np.ndarray, week: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Days of ISO weeks, and a mask of those that do not exist."""
    found, wrong = np.zeros(len(year), dtype="datetime64[D]"), np.zeros(len(year), dtype=bool)
    for i, (y, w, d) in enumerate(zip(year.tolist(), week.tolist(), day.tolist(), strict=True)):
        try:
            found[i] = np.datetime64(date.fromisocalendar(y, w, d))
        except ValueError:
            wrong[i] = True
    return found, wrong
