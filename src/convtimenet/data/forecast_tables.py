"""Forecasts as tables, as frames of the kind that was read, and as CSV files.

Shape legend: `convtimenet._shapes`; S series, h steps ahead.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from convtimenet.data.files.written import decimals_of, shortened, written_times
from convtimenet.data.frame_columns import labelled, stamps_like
from convtimenet.data.tables import Table
from convtimenet.data.text.whole_times import to_whole
from convtimenet.errors import DataError
from convtimenet.files import whole_file

__all__ = [
    "MODEL",
    "NAIVE",
    "as_read",
    "forecast_names",
    "free_names",
    "future_frame",
    "future_table",
    "id_series",
    "key_names",
    "stamps",
    "table_times",
    "write_csv",
    "write_rows",
]

MODEL = "ConvTimeNet"
NAIVE = "SeasonalNaive"


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
