"""The rows after the end of a table: their covariates from a plan, forecasts as frames and files.

Shape legend: `convtimenet._shapes`; S series, h steps ahead.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from convtimenet.data.agreement import Labels, Terms, match_ids
from convtimenet.data.files.written import decimals_of, shortened, written_times
from convtimenet.data.frame_columns import labelled, stamps_like
from convtimenet.data.sources import Columns, Wanted, read_source
from convtimenet.data.tables import Table
from convtimenet.data.text.whole_times import to_whole
from convtimenet.data.timestamps import show_time
from convtimenet.errors import DataError
from convtimenet.files import whole_file
from convtimenet.wording import listing

__all__ = [
    "MODEL",
    "NAIVE",
    "as_read",
    "columns_of",
    "forecast_names",
    "free_names",
    "future_frame",
    "future_table",
    "id_series",
    "key_names",
    "read_plan",
    "rows_ahead",
    "stamps",
    "table_times",
    "write_csv",
    "write_rows",
]

MODEL = "ConvTimeNet"
NAIVE = "SeasonalNaive"
_PLAN = "the plan"


# --- future covariates ---------------------------------------------------------------------------


def read_plan(future: Any, table: Table, wanted: Wanted) -> Columns:
    """The rows of a plan, given as a `Table` or anything `read_table` accepts; no rows for None."""
    if future is None:
        return Columns.without_rows(table.times, table.time_zone, wanted.covariates)
    if isinstance(future, Table):
        return columns_of(future)
    return read_source(future, wanted)


def columns_of(table: Table) -> Columns:
    """The rows of a table in the form they have before they are made regular."""
    return Columns(
        times=table.times,
        values=table.values,
        channels=table.channels,
        time_name=table.time_name,
        time_zone=table.time_zone,
        origin=table.origin,
        series=np.repeat(np.arange(len(table.lengths)), table.lengths),
        ids=table.ids,
        id_name=table.id_name,
        covariates=table.covariates,
    )


def rows_ahead(
    table: Table, steps: int, ahead: int, given: Columns, names: Sequence[str], terms: Terms
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The covariates of the rows after the end of every series, taken from a plan, and notices.

    Parameters
    ----------
    steps
        Number of rows after each series for which the plan must be complete.
    ahead
        Number of rows to return, at least `steps`; later rows that the plan lacks are missing.
    given
        The plan: rows of any series and time stamps, in any order. Other rows than those ahead are
        ignored.
    names
        The columns to read.

    Returns
    -------
    dict of ndarray, shape (S, ahead)
        Same types as in `Table.covariates`.

    Raises
    ------
    DataError
        If the time stamps are not of the table's kind, a row is repeated, or a value of the first
        `steps` rows is missing; the message names the columns, the first missing time stamp and
        its series.
    """
    given = terms.stamps(given, _PLAN)
    series, notices = _series_of(table, given)
    notices = [*given.notices, *notices]
    rows = np.flatnonzero(series >= 0)
    last = table.times[table.bounds[1:] - 1]
    at = np.empty(0, dtype=np.int64)
    if len(rows):
        zone = table.time_zone
        at = table.frequency.steps(last[series[rows]], given.times[rows], zone) - 1
    here = (at >= 0) & (at < ahead)
    rows, at = rows[here], at[here]
    place = series[rows] * ahead + at
    shape = (len(last), ahead)
    order = np.argsort(place, kind="stable")
    twice = np.flatnonzero(place[order][1:] == place[order][:-1])
    if len(twice):
        row = int(rows[order[twice[0]]])
        raise DataError(
            f"{_PLAN} has more than one row for {show_time(given.times[row], given.time_zone)}"
            f"{_in_series(table, int(series[row]))}; keep one row for each series and time stamp"
        )
    columns = {}
    for name in names:
        if name not in given.covariates:
            raise DataError(
                f"{_PLAN} lacks the covariate {name!r}; it has {listing([*given.covariates])}"
            )
        columns[name] = given.covariates[name][rows]
    columns, told = terms.covariates(columns, _PLAN)
    found = {}
    absent = np.zeros(shape, dtype=bool)
    lacking = []
    for name, values in columns.items():
        text = terms.categories[name] is not None
        full = np.full(shape, None if text else np.nan, dtype=object if text else np.float64)
        full.reshape(-1)[place] = values
        found[name] = full
        none = full == np.array(None) if text else np.isnan(full)
        if none[:, :steps].any():
            lacking.append(name)
        absent |= none
    if lacking:
        raise _lacking(table, lacking, absent[:, :steps], given)
    beyond = int(absent.any(axis=0).sum())
    if beyond:
        notices.append(
            f"{_PLAN} lacks some values in the last {beyond} of {ahead} steps that the model "
            "reads: numbers are replaced by their mean in training, texts are treated as missing"
        )
    return found, [*notices, *told]


def _series_of(table: Table, given: Columns) -> tuple[np.ndarray, list[str]]:
    """The number of the table's series for each row of a plan, -1 if the table lacks it."""
    S = len(table.lengths)
    if given.series is None:
        if S > 1:
            raise DataError(
                f"{_PLAN} lacks the id column {table.id_name!r}; expected rows for each of the {S} "
                "series; add the column"
            )
        return np.zeros(len(given.times), dtype=np.int64), []
    assert given.ids is not None
    if not table.long and given.id_name is not None:
        if len(given.ids) > 1:
            raise DataError(
                f"{_PLAN} has {len(given.ids)} series in its column {given.id_name!r}, but the "
                "table is a single series without ids; give the rows of one series"
            )
        return np.zeros(len(given.times), dtype=np.int64), []
    numbers, notices = match_ids(given.ids, Labels(table.ids.tolist()), _PLAN)
    others = given.ids[numbers < 0].tolist()
    if others and (numbers >= 0).any():
        told = listing(others, 5)
        notices = [*notices, f"{_PLAN} has rows of series without a history, not forecast: {told}"]
    return numbers[given.series] if len(given.series) else given.series, notices


def _in_series(table: Table, series: int) -> str:
    return f" in the series {table.ids.tolist()[series]!r}" if table.long else ""


def _lacking(table: Table, names: Sequence[str], absent: np.ndarray, given: Columns) -> DataError:
    """The error for missing covariates in the rows ahead (S, steps)."""
    series, at = (int(n[0]) for n in np.nonzero(absent))
    steps = absent.shape[1]
    last = table.times[table.bounds[1:] - 1][series]
    stamp = show_time(table.frequency.future(last, steps, table.time_zone)[at], table.time_zone)
    has, remedy = "", "pass them as predict(future=...)"
    if len(given.times):
        remedy = "add the missing rows or values"
        if given.origin.kind == "numpy":
            remedy = (
                "the rows of an array are numbered from 0, like those of the table: give a frame "
                f"with the rows ahead and their row numbers in a column {table.time_name!r}"
            )
        first, final = (
            show_time(t, given.time_zone) for t in (given.times.min(), given.times.max())
        )
        has = f"; the plan has rows from {first} to {final}"
        if table.long and given.ids is not None:
            has += f" of the series {listing(given.ids.tolist(), 3)}"
    return DataError(
        f"future values of {listing(names)} are needed for {steps} steps ahead; the first missing "
        f"is at {stamp}{_in_series(table, series)}, {int(absent.sum())} rows are incomplete{has}; "
        f"{remedy}"
    )


# --- forecasts -----------------------------------------------------------------------------------


def free_names(names: Sequence[str], taken: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Names for new columns that do not clash with existing ones: "_" is appended to a name that
    is taken, with a notice."""
    used, found, notices = set(taken), [], []
    for name in names:
        free = name
        while free in used:
            free += "_"
        if free != name:
            notices.append(
                f"a column {name!r} already exists: the forecast column of that name is called "
                f"{free!r}"
            )
        used.add(free)
        found.append(free)
    return tuple(found), notices


def forecast_names(table: Table) -> tuple[str, ...]:
    """Names of the forecast columns: the channels of a wide table; for a long table "ConvTimeNet",
    as in Nixtla's libraries, or "ConvTimeNet-<channel>" if there are several channels."""
    if not table.long:
        return table.channels
    names = [f"{MODEL}-{name}" for name in table.channels] if len(table.channels) > 1 else [MODEL]
    return free_names(names, key_names(table))[0]


def key_names(table: Table) -> tuple[str, ...]:
    """Names of the key columns: the id, if there is one, and the time."""
    return (table.time_name,) if table.id_name is None else (table.id_name, table.time_name)


def future_table(table: Table, values: np.ndarray, names: Sequence[str] | None = None) -> Table:
    """Forecasts of the h rows after each series of `table`, as a table.

    Parameters
    ----------
    values : ndarray, shape (S h, columns)
        Forecasts, one series after the other; (h, C) for a wide table.
    names : sequence of str, optional
        Names of the columns; by default `forecast_names`.

    Raises
    ------
    DataError
        If `values` has another shape.
    """
    values = np.asarray(values, dtype=np.float64)
    names = forecast_names(table) if names is None else tuple(names)
    S = len(table.lengths)
    if values.ndim != 2 or values.shape[1] != len(names) or len(values) % S:
        rows = f"{S} times rows" if table.long else "rows"
        raise DataError(f"expected forecasts of shape ({rows}, {len(names)}), found {values.shape}")
    h = len(values) // S
    last = table.times[table.bounds[1:] - 1]
    origin = table.origin
    return replace(
        table,
        times=table.frequency.after(last, h, table.time_zone).reshape(-1),
        time_zone=origin.time_zone or table.time_zone,
        origin=replace(origin, time_zone=None),
        values=values,
        channels=names,
        rows=np.full(S, h) if table.long else None,
        notices=(),
        covariates={},
    )


def future_frame(
    table: Table,
    values: np.ndarray,
    names: Sequence[str] | None = None,
    rolled: Mapping[str, np.ndarray] | None = None,
) -> Any:
    """Forecasts as the type of object that `table` was read from.

    Parameters
    ----------
    values, names
        As for `future_table`.
    rolled : dict of str to ndarray of bool, shape (h,), optional
        Extra columns for frames: the name, and for each step whether its context contains
        forecasts.

    Returns
    -------
    A pandas, polars or pyarrow frame, wide or long like the source and with the same types of time
    and id columns (or index); for a file a `Table` for `write_csv`; for an array an array (h, C).

    Raises
    ------
    DataError
        If `values` has another shape.
    """
    future = future_table(table, values, names)
    flags = {name: np.tile(own, len(table.lengths)) for name, own in (rolled or {}).items()}
    return as_read(future, flags)


def as_read(table: Table, flags: Mapping[str, np.ndarray] | None = None) -> Any:
    """A table as the type of object that it was read from.

    Parameters
    ----------
    flags : dict of str to ndarray of bool, shape (T,), optional
        Columns for frames: instead of the channel of that name, or behind all of them.
    """
    origin = table.origin
    if origin.kind == "file":
        return table
    if origin.kind == "numpy":
        return table.values
    import narwhals.stable.v2 as nw

    backend: Any = origin.kind
    times = stamps(table, table.time_name, table.times)
    if origin.series and len(table.channels) == 1:
        only = nw.new_series(table.channels[0], table.values[:, 0], backend=backend)
        if origin.indexed:
            only = nw.maybe_set_index(only, index=times)
        return labelled(only.to_native(), origin)
    columns: dict[str, np.ndarray] = dict(zip(table.channels, table.values.T, strict=True))
    columns |= flags or {}
    # adding the times to from_dict would lose the time zone in pandas
    frame = nw.from_dict(columns, backend=backend)
    if origin.kind != "pandas":  # where NaN is missing itself
        numbers = [name for name in table.channels if name not in (flags or {})]
        frame = frame.with_columns(nw.col(numbers).fill_nan(None))
    before: list[Any] = [times]
    if table.id_name is not None:
        before.insert(0, id_series(table, table.id_name, np.repeat(table.ids, table.lengths)))
    if origin.indexed:
        frame = frame.with_columns(*before[:-1]).select(
            *(one.name for one in before[:-1]), *columns
        )
        return labelled(nw.maybe_set_index(frame, index=times).to_native(), origin)
    frame = frame.with_columns(*before)
    return labelled(frame.select(*(one.name for one in before), *columns).to_native(), origin)


def id_series(table: Table, name: str, ids: np.ndarray) -> Any:
    """Ids of a table as a narwhals series of the source's type."""
    import narwhals.stable.v2 as nw

    labels = table.origin.id_labels or {}
    own = [labels.get(one, one) for one in ids.tolist()]
    origin = table.origin
    backend: Any = origin.kind
    if origin.id_native is None:
        return nw.new_series(name, own, origin.id_dtype, backend=backend)
    native: Any
    if origin.kind == "pandas":
        native = nw.new_series(name, own, backend=backend).to_native().astype(origin.id_native)
    else:
        import pyarrow

        native = pyarrow.chunked_array([pyarrow.array(own, type=origin.id_native)])
    return nw.from_native(native, series_only=True).alias(name)


def stamps(table: Table, name: str, times: np.ndarray) -> Any:
    """Times in the format of `Table.times` as a narwhals series of the source's type."""
    return stamps_like(table.origin, name, times, table.time_zone)


def write_csv(path: str | Path, table: Table, source: Table | None = None) -> None:
    """Write a table as CSV, with ISO 8601 times: with their UTC offset if there is a time zone,
    and as dates if the frequency is a whole number of days.

    The write is atomic: a temporary file is written next to the target and then moved into place.

    Parameters
    ----------
    source : Table, optional
        The table that `table` is a forecast of, with the same series and channels. Numbers are
        rounded to the digits it supports (see `convtimenet.data.files.written`); without it they
        are exact, and channels of whole numbers have no decimals.

    Raises
    ------
    DataError
        If the file name does not end in ``.csv`` or the folder does not exist.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise DataError(f"expected a file name that ends in .csv, found {path.name!r}")
    with whole_file(path) as file:
        write_rows(file, table, source)


def write_rows(file: TextIO, table: Table, source: Table | None = None) -> None:
    """Write a table as CSV to an open file, see `write_csv`; NaN as an empty cell."""
    head, columns = [table.time_name], [table_times(table)]
    if table.id_name is not None:
        head.insert(0, table.id_name)
        columns.insert(0, np.repeat(table.ids, table.lengths).tolist())
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*head, *table.channels])
    # csv writes floats with repr, which round-trips exactly
    for *cells, row in zip(*columns, _numbers(table, source), strict=True):
        writer.writerow([*cells, *("" if value != value else value for value in row)])


def table_times(table: Table) -> list[str]:
    """The time stamps of a table, (T,), as `write_csv` writes them."""
    form, written = table.origin.time_form, table.origin.written
    times = table.times if form is None else to_whole(table.times, form)
    return written_times(times, table.time_zone, table.frequency, written)


def _numbers(table: Table, source: Table | None) -> list[Sequence[float]]:
    """The values of a table, rounded to the digits that its source supports. Without one they are
    exact, and channels of whole numbers are written without decimals."""
    if source is None:
        return list(zip(*map(_exact, table.values.T), strict=True))
    rows: list[list[float]] = table.values.tolist()
    each, rest = divmod(len(table.channels), len(source.channels))
    assert not rest
    assert len(source.lengths) == len(table.lengths)
    least = decimals_of(source.values, source.bounds[:-1]).repeat(each, axis=1)
    of_rows = least.repeat(table.lengths, axis=0).tolist()
    return [list(map(shortened, *row)) for row in zip(rows, of_rows, strict=True)]


def _exact(values: np.ndarray) -> list[float]:
    known, found = np.isfinite(values), values.tolist()
    some = values[known]
    if not ((some == np.floor(some)) & (np.abs(some) < 2**53)).all():
        return found
    return [int(one) if there else one for one, there in zip(found, known.tolist(), strict=True)]
