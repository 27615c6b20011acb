"""Find the id and target columns, and check that the rows of a series belong together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from convtimenet.data.columns import CellColumn, Grid, Ids
from convtimenet.data.sources.time_column import TIME_NAMES
from convtimenet.data.text.numbers import is_missing, is_number
from convtimenet.data.text.stamp_forms import looks_like_date
from convtimenet.data.time.timestamps import SET_BACK, may_be_set_back, show_time
from convtimenet.errors import DataError, SeveralSeriesError
from convtimenet.wording import advice, flag, listing, unknown_column

__all__ = [
    "ID_NAME",
    "TARGET_NAME",
    "check_apart",
    "check_one_series",
    "find_id",
    "find_targets",
    "is_written_index",
    "without_index",
]

ID_NAME, TARGET_NAME = "unique_id", "y"  # Nixtla's names of the columns of a long table
_INDEX = re.compile(r"__index_level_\d+__|Unnamed: 0(?:\.\d+)?|")
_ROW_NUMBERS = ("index", "level_0", "rownames", "row_names")
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


def find_id(names: Sequence[str], id_col: Any) -> str | None:
    """Name of the id column of a long table; None for a wide one."""
    if id_col is None:
        return ID_NAME if ID_NAME in names else None
    if id_col not in names:
        raise DataError(unknown_column(id_col, names, "id_col"))
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
            raise DataError(unknown_column(name, names, "covariates"))
        if name in taken:
            raise DataError(f"covariates: {name!r} is the {taken[name]}; leave it out")
    taken |= dict.fromkeys(covariates, "covariate")
    notices = ()
    if targets is None:
        targets = [name for name in names if name not in taken]
        if "" in targets:
            raise DataError(
                "a column has no name; name or remove it"
                + advice(
                    ", or list the channels as target_cols=[...]",
                    "",
                    ", or choose the columns 'to forecast'",
                )
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
                    f"the target is the column {TARGET_NAME!r}; ignored: {listing(unused)}"
                ) + advice(
                    " (use target_cols=[...] for several targets)",
                    "",
                    " (choose 'to forecast' for several targets)",
                )
            else:
                told = f"the targets are the columns {listing(targets)}" + advice(
                    " (use target_cols=[...] to select some)", "", " (choose 'not used' for others)"
                )
            notices = (told,)
    absent = [name for name in targets if name not in names]
    if absent and hint is not None:
        there = listing([name for name in names if name not in taken]) or "no others"
        raise DataError(f"the table lacks the channels {listing(absent)}; it has {there}{hint}")
    for name in targets:
        if name in absent:
            raise DataError(unknown_column(name, names, "target_cols"))
        if name in taken:
            raise DataError(
                advice("target_cols: ", "") + f"{name!r} is the {taken[name]}; leave it out"
            )
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
                "this looks like several series; "
                + advice(
                    f"pass id_col={name!r} ({flag('id_col', name)}) and target_cols={targets!r} "
                    f"({flag('target_cols', targets)}), or some of them",
                    f"rename the column to {ID_NAME!r}, or send each series in a request of its "
                    "own",
                    f"choose 'series' for {name!r}",
                ),
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
        f"{what}: this looks like several series; "
        + advice(
            "join the two into one id column, in pandas with "
            f"table['unique_id'] = {join}, and pass id_col='unique_id' (--id_col unique_id) and "
            "target_cols=[...]",
            "send each series in a request of its own, or join the two columns into the one with "
            "the ids",
            "join the two into one column of the file, and choose 'series' for it",
        )
    )


def _keys(grid: Grid, names: Sequence[str], often: bool) -> dict[str, np.ndarray]:
    """Candidate id columns, text first, with the label of each row as a number (R,). A column of
    times of day is none: it parts the rows of a day."""
    texts, numbers = {}, {}
    for name in names:
        column = grid[name]
        if column.holds_clocks():
            continue
        if isinstance(column, CellColumn):
            of, labels = column.coded()
            some = [str(label) for label in labels if not is_missing(label)][:20]
            text = any(not is_number(label) and not looks_like_date(label) for label in some)
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
        elif often and all(is_number(label, whole=True) for label in some):
            numbers[name] = of
    return texts | numbers


def _apart(of: np.ndarray, labels: np.ndarray) -> bool:
    """Whether rows with the same number all have different labels."""
    return len(np.unique(of * (int(labels.max()) + 1) + labels)) == len(of)


def _number_columns(grid: Grid, names: Sequence[str]) -> list[str]:
    found = []
    for name in names:
        column = grid[name]
        labels = column.coded()[1][:20] if isinstance(column, CellColumn) else []
        if all(is_missing(label) or is_number(str(label)) for label in labels):
            found.append(name)
    return found
