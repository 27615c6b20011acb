"""Frequency names: those of pandas (old and new) and polars, and their offset types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import numpy as np

from convtimenet.errors import ConfigError, DataError
from convtimenet.wording import advice

__all__ = [
    "DAY",
    "HOUR",
    "MONTHS",
    "WEEKDAYS",
    "NamedStep",
    "Unit",
    "frequency_name",
    "months_across",
    "name_of",
    "parse_name",
]

Unit = Literal["ns", "month", "business month", "half month", "business", "business hour", "step"]

HOUR = 3_600_000_000_000
"""In nanoseconds, as `DAY`."""
DAY = 24 * HOUR
_FIXED = {
    "W": 7 * DAY,
    "D": DAY,
    "h": HOUR,
    "min": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
MONTH_END = 31
_CALENDAR: dict[str, tuple[Unit, int, int]] = {
    "MS": ("month", 1, 1),
    "ME": ("month", 1, MONTH_END),
    "QS": ("month", 3, 1),
    "QE": ("month", 3, MONTH_END),
    "YS": ("month", 12, 1),
    "YE": ("month", 12, MONTH_END),
    "BMS": ("business month", 1, 1),
    "BME": ("business month", 1, MONTH_END),
    "BQS": ("business month", 3, 1),
    "BQE": ("business month", 3, MONTH_END),
    "BYS": ("business month", 12, 1),
    "BYE": ("business month", 12, MONTH_END),
    "SMS": ("half month", 1, 1),
    "SME": ("half month", 1, MONTH_END),
    "B": ("business", 1, 0),
    "bh": ("business hour", 1, 0),
    # polars: months on the day of the time stamps
    "mo": ("month", 1, 0),
    "q": ("month", 3, 0),
    "y": ("month", 12, 0),
}
_SPELLINGS = {
    "H": "h",
    "T": "min",
    "S": "s",
    "L": "ms",
    "U": "us",
    "N": "ns",
    "d": "D",
    "w": "W",
    "b": "B",
    "m": "min",
    "BH": "bh",
    "M": "ME",
    "Q": "QE",
    "A": "YE",
    "Y": "YE",
    "AS": "YS",
    "BM": "BME",
    "BQ": "BQE",
    "BA": "BYE",
    "BY": "BYE",
    "BAS": "BYS",
    "SM": "SME",
}
"""Aliases: pandas names before 2.2, and polars names."""

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_NAME = re.compile(r"(\d*)\s*([A-Za-z]*)(?:@(\d+))?(?:-([A-Za-z]{3}|15))?")
_PARTS = re.compile(r"(?:\d+\s*[A-Za-z]+){2,}")
_LARGEST = 2**63


@dataclass(frozen=True)
class NamedStep:
    """A parsed frequency name.

    Attributes
    ----------
    day
        As in `Frequency`; 0 for months on the day of the time stamps.
    anchor
        Required position of the time stamps: ``("weekday", 0 to 6)`` or ``("month", 1 to 12)``.
    """

    unit: Unit
    count: int
    day: int = 0
    anchor: tuple[str, int] | None = None


def parse_name(name: str) -> NamedStep:
    """Parse a name such as ``"15min"``, ``"1h30m"``, ``"W-WED"``, ``"QS-FEB"`` or ``"5"``.

    Raises
    ------
    DataError
        If the name is unknown.
    """
    text = name.strip()
    if _PARTS.fullmatch(text):
        parts = [parse_name(part) for part in re.findall(r"\d+\s*[A-Za-z]+", text)]
        if all(part.unit == "ns" for part in parts):
            return NamedStep("ns", sum(part.count for part in parts))
        raise _unknown(name)
    match = _NAME.fullmatch(text)
    number, code, day, anchor = match.groups() if match else ("", "", None, None)
    if code == "M" and day and not anchor:
        return NamedStep("month", int(number or 1), int(day))
    code, count = _SPELLINGS.get(code, code), int(number or 1)
    if count >= _LARGEST or day is not None:
        raise _unknown(name)
    if code in _FIXED and (anchor is None or (code == "W" and anchor.upper() in WEEKDAYS)):
        at = None if anchor is None else ("weekday", WEEKDAYS.index(anchor.upper()))
        return NamedStep("ns", count * _FIXED[code], anchor=at)
    if code in ("SMS", "SME") and anchor == "15":
        anchor = None  # pandas appends its default day
    if code in _CALENDAR:
        unit, months, month_day = _CALENDAR[code]
        if anchor is None:
            return NamedStep(unit, count * months, month_day)
        if code[-2:] in ("QS", "QE", "YS", "YE") and anchor.upper() in MONTHS:
            at = ("month", MONTHS.index(anchor.upper()) + 1)
            return NamedStep(unit, count * months, month_day, at)
    if number and code in ("", "i") and anchor is None:
        return NamedStep("step", count)
    raise _unknown(name)


def _unknown(name: str) -> DataError:
    known = ", ".join([*_FIXED, *(one for one in _CALENDAR if one not in ("mo", "q", "y"))])
    return DataError(
        f"unknown frequency {name!r}; expected an optional count followed by one of {known} "
        "(S and E: start and end of month, quarter, year), '1M@15' for the 15th of every "
        "month, or a bare number for integer steps"
        + advice("; leave freq out to infer it", "", "; leave the step empty to infer it")
    )


def name_of(unit: Unit, count: int, day: int) -> str:
    """Short name, such as ``"15min"`` or ``"1MS"``, that `parse_name` accepts."""
    if unit == "step":
        return str(count)
    if unit == "month":
        return f"{count}" + {1: "MS", MONTH_END: "ME"}.get(day, f"M@{day}")
    if unit != "ns":
        one = 1 if unit in ("business month", "half month") else 0
        code = next(c for c, known in _CALENDAR.items() if known == (unit, 1, day * one))
        return f"{count}{code}"
    code, size = next((c, s) for c, s in _FIXED.items() if count % s == 0)
    return f"{count // size}{code}"


def frequency_name(freq: Any) -> str:
    """The name of a frequency that is given as a name, a number, a timedelta or an offset.

    Parameters
    ----------
    freq
        Text (`parse_name`); a whole number for integer steps; a ``datetime.timedelta``,
        ``pandas.Timedelta`` or ``numpy.timedelta64``; a pandas offset such as
        ``pd.offsets.Hour()``.

    Raises
    ------
    ConfigError
        If it is none of these, or not a positive step.
    DataError
        If a name is unknown.
    """
    if isinstance(freq, str):
        parse_name(freq)
        return freq
    if isinstance(freq, (int, np.integer)) and not isinstance(freq, (bool, np.timedelta64)):
        if freq < 1:
            raise ConfigError(f"freq must be a step of at least 1, found {freq!r}; pass freq=1")
        return str(int(freq))
    length = _timedelta64(freq)
    if length is not None:
        return _name_of_length(freq, length)
    name = getattr(freq, "freqstr", None)
    if isinstance(name, str):
        try:
            parse_name(name)
        except DataError:
            raise ConfigError(
                f"freq={freq!r}: this offset is not supported; pass a supported name such as "
                "freq='D', 'B', 'MS' or 'ME', or leave freq out to infer it"
            ) from None
        return name
    raise ConfigError(
        "freq must be a name such as 'h', '15min' or 'MS', a whole number for integer steps, a "
        f"timedelta or a pandas offset, found {freq!r}; leave freq out to infer it"
    )


def _timedelta64(freq: Any) -> np.timedelta64 | None:
    """A timedelta of any library, None for anything else."""
    if isinstance(freq, np.timedelta64):
        return freq
    if isinstance(freq, timedelta):
        exact = getattr(freq, "to_timedelta64", None)  # pandas keeps nanoseconds
        return np.timedelta64(freq) if exact is None else exact()
    return None


def _name_of_length(freq: Any, length: np.timedelta64) -> str:
    unit, _ = np.datetime_data(length.dtype)
    if np.isnat(length) or unit == "generic":
        raise ConfigError(
            f"freq={freq!r} has no time unit; pass one such as np.timedelta64(1, 'h'), or freq=1 "
            "for integer steps"
        )
    if unit in ("Y", "M"):
        count, name = int(length.astype("m8[M]").astype(np.int64)), "mo"
    else:
        count, name = int(length.astype("m8[ns]").astype(np.int64)), ""
    if count < 1:
        raise ConfigError(f"freq must be a step forward in time, found {freq!r}; pass freq='1h'")
    return f"{count}{name}" if name else name_of("ns", count, 0)


def months_across(names: Sequence[str]) -> tuple[str, ...]:
    """A notice about a table with a row for each year if it has a column for each month."""
    months = [name for name in names if name.strip()[:3].upper() in MONTHS]
    if len({name.strip()[:3].upper() for name in months}) < len(MONTHS):
        return ()
    return (
        f"the columns {months[0]!r} to {months[-1]!r} are read as a yearly channel for each month; "
        "for one monthly series write a row for each month, such as 2024-01 and its value",
    )
