"""Find the column of the time stamps, or those whose texts make them together."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from convtimenet.data.columns import CellColumn, Column, Grid
from convtimenet.data.text.numbers import is_number
from convtimenet.data.text.stamp_forms import clock_starts, looks_like_date
from convtimenet.data.time.steps import months_across
from convtimenet.errors import DataError
from convtimenet.names import key_of
from convtimenet.wording import advice, listing, unknown_column

__all__ = ["TIME_NAMES", "find_time", "may_tell_times"]

TIME_NAMES = ("date", "ds", "time", "timestamp", "datetime")
_PARTS = ("year", "month", "day", "hour", "minute", "second")
_ALIASES = {"yr": "year", "mo": "month", "mon": "month", "dy": "day", "hr": "hour", "hours": "hour"}
_WITHIN_A_YEAR = {  # columns combined with a year column: separator and most digits
    "quarter": ("Q", 1), "qtr": ("Q", 1), "week": ("-W", 2), "isoweek": ("-W", 2), "doy": ("", 3),
    "dayofyear": ("", 3), "yday": ("", 3), "period": ("M", 2),
}  # fmt: skip
_CLOCKS = frozenset({"time", "clock", "clocktime", "timeofday", "daytime", "uhrzeit", "heure"})
_HOURS = frozenset({"hour", "hours", "hr", "he", "hourending"})
_ODD_CELLS = 3  # number of different cells that are no dates, in a column of dates


def find_time(
    grid: Grid,
    names: Sequence[str],
    time_col: Any,
    id_name: str | None,
    usual: str | None = None,
    values: Collection[str] = (),
    counted: bool = False,
) -> tuple[Column, tuple[str, ...], tuple[str, ...]]:
    """The time column, the names of the columns it is built from, and notices; a column named
    `usual` is preferred, and those of `values` hold something else. Where there is none, the rows
    of each series may be `counted`."""
    if time_col is not None:
        if time_col not in names:
            raise DataError(unknown_column(time_col, names, "time_col"))
        return grid[time_col], (time_col,), ()
    dates = [name for name in names if name != id_name and grid[name].holds_dates()]
    by_name = [name for wanted in TIME_NAMES for name in names if name.lower() == wanted]
    if set(names).difference(values).intersection(dates + by_name):
        names = [name for name in names if name not in values]
        dates, by_name = ([one for one in found if one in names] for found in (dates, by_name))
    if usual is not None and usual in names:
        by_name.insert(0, usual)
    name = by_name[0] if by_name else None
    clock = name is not None and len(dates) == 1 and grid[name].holds_clocks()
    if name is None or clock:
        name = dates[0] if len(dates) == 1 else None
    if name is not None:
        return _with_clock(grid, names, name, id_name)
    lower = {one.lower(): one for one in reversed(names)}
    lower = {_ALIASES[key]: one for key, one in lower.items() if key in _ALIASES} | lower
    parts = [part for part in _PARTS if part in lower]
    if len(parts) > 1 and parts[0] == "year" and not dates:
        kept = [lower[part] for i, part in enumerate(parts) if parts[: i + 1] == [*_PARTS[: i + 1]]]
        if len(kept) > 1:
            return _together(grid, kept, _from_parts(grid, kept))
    if "year" in lower and not dates:
        year = lower["year"]
        for one in (one for one in names if one not in (year, id_name)):
            texts = _within_a_year(grid, year, one)
            if texts is not None:
                return _together(grid, [year, one], texts)
        return grid[year], (year,), months_across(names)
    if not dates:
        _check_odd_rows(grid, [name for name in names if name != id_name])
        if counted:
            return _row_numbers(grid, names, id_name)
    found = (
        f"several columns hold dates: {listing(dates)}"
        if dates
        else "no column holds dates like 2020-01-31"
    )
    if len(names) == 1:
        found += (
            ", and there is only one column: add one of times or of 0, 1, 2, ... (if the delimiter "
            "is not , ; | or a tab, declare it in a first line such as sep=^)"
        )
    if all(is_number(name) for name in names):
        found += ", and the column names are numbers: add a header line if they are data"
    raise DataError(
        f"no time column found: none is named {', '.join(TIME_NAMES)}, and {found}; "
        + advice(
            f"pass time_col=... with one of {listing(names)}, or values without times as an array"
            + ("" if dates else _OR_COUNTED.format("pass freq=1 (--freq 1)")),
            "name the column of times 'time', or as in training",
            "choose 'time' for the one that holds the times"
            + ("" if dates else _OR_COUNTED.format("enter 1 as the step")),
        )
    )


_OR_COUNTED = "; if there are none, {} to number the rows 0, 1, 2, ..."


def may_tell_times(name: str) -> bool:
    """Whether a column of numbers may be one of times beside a time column, by its name."""
    return name.lower() in TIME_NAMES or key_of(name) in _HOURS


def _row_numbers(
    grid: Grid, names: Sequence[str], id_name: str | None
) -> tuple[Column, tuple[str, ...], tuple[str, ...]]:
    """The numbers of the rows, of each series of its own, as a time column."""
    column = grid[names[0]]
    ids = [""] * len(column.texts()) if id_name is None else grid[id_name].texts()
    found: dict[str, int] = {}
    numbers = []
    for one in ids:
        numbers.append(found.get(one, 0))
        found[one] = numbers[-1] + 1
    told = "no column holds times, so the rows are numbered 0, 1, 2, ..."
    if all(is_number(name) for name in names):
        told += "; the column names are numbers: add a header line if they are data"
    return CellColumn("time", numbers, column.place), (), (told,)


def _check_odd_rows(grid: Grid, names: Sequence[str]) -> None:
    """Reject a column of dates with a few cells that are none, as rulers and totals have."""
    for name in names:
        column = grid[name]
        if not isinstance(column, CellColumn):
            continue
        of, labels = column.coded()
        none = [i for i, label in enumerate(labels) if not looks_like_date(str(label))]
        if 0 < len(none) <= _ODD_CELLS and len(labels) > 10 * len(none):
            date = next(i for i in range(len(labels)) if i not in none)
            row = int(np.flatnonzero(of == none[0])[0])
            raise DataError(
                f"no time column found: {name!r} holds dates like {labels[date]}, "
                f"but {labels[none[0]]!r} in {column.place(row)}; remove the row if it is a total "
                "or a ruler line, or correct it"
            )


def _with_clock(
    grid: Grid, names: Sequence[str], name: str, id_name: str | None
) -> tuple[Column, tuple[str, ...], tuple[str, ...]]:
    """A date column, combined with a time-of-day column if there is one."""
    day = grid[name]
    others = [one for one in names if one not in (name, id_name)]
    clocks = [one for one in others if grid[one].holds_clocks()]
    hours = [one for one in others if key_of(one) in _HOURS]
    if not (clocks or len(hours) == 1) or not day.holds_dates():
        return day, (name,), ()
    days = _day_texts(day)
    if any(":" in text for text in days):
        return day, (name,), ()
    ids = [""] * len(days) if id_name is None else grid[id_name].texts()
    repeat = len(set(zip(ids, days, strict=True))) < len(days)
    told = len(clocks) == 1 and key_of(clocks[0]) in _CLOCKS  # else a daily table may have sunrises
    if clocks and (told or repeat):
        # the start, if there are a start and an end
        clock, notices = clock_starts(grid[clocks[0]].texts())
    else:
        clock = _hours(grid, hours[0]) if len(hours) == 1 and repeat else None
        if clock is None:
            return day, (name,), ()
        clocks, notices = hours, ()
    texts = [f"{d} {c}" for d, c in zip(days, clock, strict=True)]
    column, used, told = _together(grid, [name, clocks[0]], texts)
    return column, used, (*told, *(f"column {clocks[0]!r}: {one}" for one in notices))


def _together(
    grid: Grid, names: list[str], texts: list[str]
) -> tuple[Column, tuple[str, ...], tuple[str, ...]]:
    place = grid[names[0]].place
    name = "date" if names[0].lower() == "year" else names[0]
    told = f"the columns {listing(names)} are combined into the time column {name!r}"
    return CellColumn(name, texts, place), tuple(names), (told,)


def _day_texts(column: Column) -> list[str]:
    """Dates as text, without the time 00:00:00 that typed dates have."""
    return [re.sub(r"[T ]00:00:00$", "", text.strip()) for text in column.texts()]


def _hours(grid: Grid, name: str) -> list[str] | None:
    """Hours of the day as text, or None if the column holds anything else."""
    texts = grid[name].texts()
    if not all(text.strip().isdecimal() and int(text) <= 24 for text in set(texts)):
        return None
    return [f"{int(text):02d}:00" for text in texts]


def _from_parts(grid: Grid, names: list[str]) -> list[str]:
    """ISO 8601 texts from the columns year, month, day and so on."""
    cells = [[text.strip().removesuffix(".0") for text in grid[name].texts()] for name in names]
    marks = ("", "-", "-", " ", ":", ":")
    texts = cells[0]
    for mark, column in zip(marks[1:], cells[1:], strict=False):
        texts = [f"{text}{mark}{cell:0>2}" for text, cell in zip(texts, column, strict=True)]
    return [f"{text}:00" for text in texts] if len(names) == 4 else texts


def _within_a_year(grid: Grid, year: str, name: str) -> list[str] | None:
    """Years combined with quarters, weeks or days of the year, as text; None if the column holds
    none of these."""
    mark, digits = _WITHIN_A_YEAR.get(key_of(name), ("", 0))
    if not digits:
        return None
    written = re.compile(rf"(?:{mark[-1:]})?(\d{{1,{digits}}})(?:\.0)?", re.IGNORECASE)
    parts = [written.fullmatch(text.strip()) for text in grid[name].texts()]
    if not all(parts) or (mark == "M" and "M" not in grid[name].first_texts(1)[0].upper()):
        return None
    years = [text.strip().removesuffix(".0") for text in grid[year].texts()]
    return [
        f"{y}{mark}{part[1].zfill(digits)}" for y, part in zip(years, parts, strict=True) if part
    ]
