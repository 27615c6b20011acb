"""Find the time, id and target columns, and check that the rows of a series belong together."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from convtimenet.data.columns import CellColumn, Column, Grid, Ids
from convtimenet.data.text.numbers import is_missing
from convtimenet.data.text.steps import months_across
from convtimenet.data.text.times import looks_like_date
from convtimenet.data.timestamps import SET_BACK, may_be_set_back, show_time
from convtimenet.errors import DataError, SeveralSeriesError
from convtimenet.names import key_of
from convtimenet.wording import flag, listing, unknown_column

__all__ = [
    "ID_NAME",
    "TIME_NAMES",
    "check_apart",
    "check_one_series",
    "find_id",
    "find_targets",
    "find_time",
    "is_written_index",
    "without_index",
]

ID_NAME, TARGET_NAME = "unique_id", "y"  # Nixtla's names of the columns of a long table
TIME_NAMES = ("date", "ds", "time", "timestamp", "datetime")
_PARTS = ("year", "month", "day", "hour", "minute", "second")
_ALIASES = {"yr": "year", "mo": "month", "mon": "month", "dy": "day", "hr": "hour", "hours": "hour"}
_WITHIN_A_YEAR = {  # columns combined with a year column: separator and most digits
    "quarter": ("Q", 1), "qtr": ("Q", 1), "week": ("-W", 2), "isoweek": ("-W", 2), "doy": ("", 3),
    "dayofyear": ("", 3), "yday": ("", 3), "period": ("M", 2),
}  # fmt: skip
_CLOCKS = frozenset({"time", "clock", "clocktime", "timeofday", "daytime", "uhrzeit", "heure"})
_HOURS = frozenset({"hour", "hours", "hr", "he", "hourending"})
_INDEX = re.compile(r"__index_level_\d+__|Unnamed: 0(?:\.\d+)?|")
_ROW_NUMBERS = ("index", "level_0", "rownames", "row_names")
_ODD_CELLS = 3  # number of different cells that are no dates, in a column of dates
_MOST_KEYS = 8  # number of columns whose pairs are tried as ids
_OFTEN = 0.2  # fraction of repeated time stamps from which a number column may be an id


def without_index(
    grid: Grid, time: Any, id: Any, targets: Sequence[Any] | None, covariates: Sequence[Any]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The column names without those of a written frame index, unless they are requested or hold
    the dates; and a notice about the columns left out."""
    asked = {time, id, *(targets or ()), *covariates}
    written = [
        name
        for k, name in enumerate(grid.names)
        if name not in asked
        and (
            (is_written_index(name) and (name or k == 0) and not grid[name].holds_dates())
            or (name in _ROW_NUMBERS and _counts_rows(grid, name))
        )
    ]
    if not written or len(written) == len(grid.names):
        return grid.names, ()
    told = f"ignored the index of a frame that was written as a column: {listing(written)}"
    return tuple(name for name in grid.names if name not in written), (told,)


def is_written_index(name: str) -> bool:
    """Whether this is a name under which the index of a frame is written to files."""
    return _INDEX.fullmatch(name) is not None


def _counts_rows(grid: Grid, name: str) -> bool:
    """Whether a column just numbers the rows from 0 or 1, and the times are in another column."""
    labels = grid[name].labels()
    if labels is None or len(labels) != grid.rows:
        return False
    others = [one for one in grid.names if one != name]
    if not any(one.lower() in TIME_NAMES or grid[one].holds_dates() for one in others):
        return False
    try:
        numbers = sorted(int(str(label)) for label in labels)
    except ValueError:
        return False
    return numbers in (list(range(grid.rows)), list(range(1, grid.rows + 1)))


def find_time(
    grid: Grid,
    names: Sequence[str],
    time_col: Any,
    id_name: str | None,
    usual: str | None = None,
    values: Collection[str] = (),
) -> tuple[Column, tuple[str, ...], tuple[str, ...]]:
    """The time column, the names of the columns it is built from, and notices; a column named
    `usual` is preferred, and those of `values` hold something else."""
    if time_col is not None:
        if time_col not in names:
            raise DataError(f"time_col: {unknown_column(time_col, names)}")
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
    elif all(_is_number(name) for name in names):
        found += ", and the column names are numbers: add a header line if they are data"
    raise DataError(
        f"no time column found: none is named {', '.join(TIME_NAMES)}, and {found}; pass "
        f"time_col=... with one of {listing(names)}, or values without times as an array"
    )


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
        clock = grid[clocks[0]].texts()  # the start, if there are a start and an end
    else:
        clock = _hours(grid, hours[0]) if len(hours) == 1 and repeat else None
        if clock is None:
            return day, (name,), ()
        clocks = hours
    texts = [f"{d} {c}" for d, c in zip(days, clock, strict=True)]
    return _together(grid, [name, clocks[0]], texts)


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


def find_id(names: Sequence[str], id_col: Any) -> str | None:
    """Name of the id column of a long table; None for a wide one."""
    if id_col is None:
        return ID_NAME if ID_NAME in names else None
    if id_col not in names:
        raise DataError(f"id_col: {unknown_column(id_col, names)}")
    return id_col


def find_targets(
    names: Sequence[str],
    time_names: Sequence[str],
    id_name: str | None,
    targets: Sequence[Any] | None,
    covariates: Sequence[Any],
    grid: Grid | None = None,
    hint: str | None = None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The channels, and a notice about the columns used; `hint` is added to the error if the
    channels of a fitted model are missing."""
    taken = dict.fromkeys(time_names, "time column") | {id_name: "id column"}
    for name in covariates:
        if name not in names:
            raise DataError(f"covariates: {unknown_column(name, names)}")
        if name in taken:
            raise DataError(f"covariates: {name!r} is the {taken[name]}; leave it out")
    taken |= dict.fromkeys(covariates, "covariate")
    notices = ()
    if targets is None:
        targets = [name for name in names if name not in taken]
        if "" in targets:
            raise DataError(
                "a column has no name; name or remove it, or list the channels as target_cols=[...]"
            )
        if not targets:
            raise DataError(
                f"expected value columns besides the time, found only {listing(names)}"
                f"{hint or '; add one'}"
            )
        if id_name is not None and len(targets) > 1:
            unused = [name for name in targets if name != TARGET_NAME]
            if TARGET_NAME in targets:
                targets = [TARGET_NAME]
                told = (
                    f"the target is the column {TARGET_NAME!r}; ignored: {listing(unused)} "
                    "(use target_cols=[...] for several targets)"
                )
            else:
                told = (
                    f"the targets are the columns {listing(targets)} (use target_cols=[...] to "
                    "select some)"
                )
            notices = (told,)
    absent = [name for name in targets if name not in names]
    if absent and hint is not None:
        there = listing([name for name in names if name not in taken]) or "no others"
        raise DataError(f"the table lacks the channels {listing(absent)}; it has {there}{hint}")
    for name in targets:
        if name in absent:
            raise DataError(f"target_cols: {unknown_column(name, names)}")
        if name in taken:
            raise DataError(f"target_cols: {name!r} is the {taken[name]}; leave it out")
    return tuple(targets), notices


def check_one_series(
    grid: Grid, times: np.ndarray, names: Sequence[str], channels: Sequence[str]
) -> None:
    """Reject rows of several series without an id column.

    Raises
    ------
    DataError
        If time stamps repeat and another column distinguishes the rows; the message suggests it as
        the id column.
    """
    stamps, of = np.unique(times, return_inverse=True)
    if len(stamps) == len(times):
        return
    often = len(times) - len(stamps) >= _OFTEN * len(times)
    keys = _keys(grid, names, often)
    for name, labels in keys.items():
        if _apart(of, labels):
            _check_clocks(times, np.zeros_like(of), name, labels)
            rest = [one for one in _number_columns(grid, names) if one != name]
            targets = [one for one in rest if one in channels] or rest
            raise SeveralSeriesError(
                f"time stamps repeat, and the column {name!r} distinguishes their rows: "
                f"this looks like several series; pass id_col={name!r} ({flag('id_col', name)}) "
                f"and target_cols={targets!r} ({flag('target_cols', targets)}), or some of them",
                name,
                targets,
            )
    for one, other in combinations(list(keys)[:_MOST_KEYS], 2):
        if _apart(of, keys[one] * (keys[other].max() + 1) + keys[other]):
            raise _joined(
                one,
                other,
                f"time stamps repeat, and the columns {one!r} and {other!r} together distinguish "
                "their rows",
            )


def check_apart(
    grid: Grid, times: np.ndarray, ids: Ids, names: Sequence[str], id_name: str | None
) -> None:
    """Reject ids that merge several series into one.

    Raises
    ------
    DataError
        If time stamps repeat within a series and another column distinguishes the rows; the
        message names it.
    """
    if len(names) < 2:
        return  # no column besides the target could distinguish them
    order = np.lexsort((times, ids.of))
    same = (np.diff(times[order]).astype(np.int64) == 0) & (np.diff(ids.of[order]) == 0)
    if not same.any():
        return
    _, of = np.unique(times, return_inverse=True)
    both = of * len(ids.ids) + ids.of
    often = int(same.sum()) >= _OFTEN * len(times)
    for name, labels in _keys(grid, names, often).items():
        if _apart(both, labels):
            _check_clocks(times, ids.of, name, labels)
            raise _joined(
                id_name,
                name,
                f"the series of {id_name!r} repeat time stamps, and the column {name!r} "
                "distinguishes their rows",
            )


def _check_clocks(times: np.ndarray, of: np.ndarray, name: str, labels: np.ndarray) -> None:
    """Reject hours that are repeated where clocks are set back, told apart by a column that else
    changes as seldom as clocks do, such as one of CEST and CET. `of` are the series of the rows."""
    order = np.lexsort((times, of))
    on = np.diff(of[order]) == 0
    repeated = on & (np.diff(times[order]).astype(np.int64) == 0)
    changes = on & (np.diff(labels[order]) != 0)
    stamps, n = times[order][1:][repeated], int(repeated.sum())
    seldom = 4 * n <= len(times) and int(changes.sum()) <= 3 * n + len(np.unique(of))
    if seldom and may_be_set_back(stamps):
        raise DataError(
            f"duplicate time stamps: {show_time(stamps[0])} is the first that repeats; {SET_BACK}; "
            f"the column {name!r} tells them apart, but is no series id"
        )


def _joined(one: Any, other: str, what: str) -> DataError:
    join = f"table[{one!r}].astype(str) + '/' + table[{other!r}].astype(str)"
    return DataError(
        f"{what}: this looks like several series; join the two into one id column, in pandas with "
        f"table['unique_id'] = {join}, and pass id_col='unique_id' (--id_col unique_id) and "
        "target_cols=[...]"
    )


def _keys(grid: Grid, names: Sequence[str], often: bool) -> dict[str, np.ndarray]:
    """Candidate id columns, text first, with the label of each row as a number (R,)."""
    texts, numbers = {}, {}
    for name in names:
        column = grid[name]
        if isinstance(column, CellColumn):
            of, labels = column.coded()
            some = [str(label) for label in labels if not is_missing(label)][:20]
            text = any(not _is_number(label) and not looks_like_date(label) for label in some)
        else:
            whole = column.labels()
            if whole is None:
                continue
            labels, of = np.unique(whole, return_inverse=True)
            some, text = [], False
        if not 1 < len(labels) <= len(of) // 2:
            continue
        if text:
            texts[name] = of
        elif often and all(_is_number(label, whole=True) for label in some):
            numbers[name] = of
    return texts | numbers


def _is_number(text: str, whole: bool = False) -> bool:
    try:
        return float(text).is_integer() or not whole
    except ValueError:
        return bool(re.fullmatch(r"[+-]?[\d.,]+", text)) and not whole


def _apart(of: np.ndarray, labels: np.ndarray) -> bool:
    """Whether rows with the same number all have different labels."""
    return len(np.unique(of * (int(labels.max()) + 1) + labels)) == len(of)


def _number_columns(grid: Grid, names: Sequence[str]) -> list[str]:
    found = []
    for name in names:
        column = grid[name]
        labels = column.coded()[1][:20] if isinstance(column, CellColumn) else []
        if all(is_missing(label) or _is_number(str(label)) for label in labels):
            found.append(name)
    return found
