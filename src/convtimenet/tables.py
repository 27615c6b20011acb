"""Wide tables in, one row per time stamp and one column per channel; forecasts back out.

`read_table` turns what a user has (a CSV or Parquet file, a pandas, polars or pyarrow frame, an
array) into one clean `Table`. `future_frame` turns forecasts into the user's kind of object again.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.csvfile import listing
from convtimenet.errors import DataError
from convtimenet.files import whole_file
from convtimenet.frequency import Frequency, infer_frequency
from convtimenet.sources import Origin, read_source
from convtimenet.timestamps import iso_times, show_time

__all__ = [
    "Origin",
    "Table",
    "future_frame",
    "future_table",
    "read_table",
    "select_channels",
    "write_csv",
]

logger = logging.getLogger(__name__)

_FILE = Origin("file")


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """T regular time steps of C channels.

    Attributes
    ----------
    times : ndarray, shape (T,)
        datetime64[ns] (in UTC if there is a time zone) or int64, increasing by `frequency`.
    values : ndarray, shape (T, C)
        float64, finite, in the units of the source.
    channels : tuple of str
        C names.
    time_name : str
        Name of the time column.
    frequency : Frequency
        The step between rows; ``Frequency.parse(frequency.name)`` gives it back.
    time_zone : str or None
        Zone of the caller's stamps.
    origin : Origin
        What the table was read from.
    notices : tuple of str
        What reading changed: rows sorted, values filled.
    """

    times: np.ndarray
    values: np.ndarray
    channels: tuple[str, ...]
    time_name: str
    frequency: Frequency
    time_zone: str | None = None
    origin: Origin = _FILE
    notices: tuple[str, ...] = ()
    known: np.ndarray | None = None
    """(T, C), False where a value was filled; None where none was."""


def read_table(
    source: Any,
    *,
    time_col: str | None = None,
    target_cols: Sequence[str] | None = None,
    frequency: str | None = None,
) -> Table:
    """Read a wide table and make it regular, sorted and complete.

    Rows are sorted by time. Missing and infinite values are filled by linear interpolation in time,
    before the first and after the last known value by the nearest one. Each change is logged and
    kept in ``Table.notices``. The source itself is not modified.

    Parameters
    ----------
    source : path, frame or ndarray
        A ``.csv``, ``.csv.gz`` or ``.parquet`` file; a pandas, polars or pyarrow frame; or an array
        of shape (T,) or (T, C), whose times are 0 to T-1 and whose channels are "0", "1", ...
    time_col : str, optional
        The time column. By default a pandas ``DatetimeIndex``, else a column named date, ds, time,
        timestamp or datetime, else the only column that holds dates.
    target_cols : sequence of str, optional
        The channels, in this order. By default every column but the time.
    frequency : str, optional
        The step, such as ``"15min"`` or ``"MS"``, checked against the stamps; found if not given.

    Raises
    ------
    DataError
        If the source cannot be read, its times are absent, repeated or irregular, or a channel is
        absent, empty or holds text.
    MissingExtraError
        If pyarrow is needed for a Parquet file and not installed.
    """
    targets = [target_cols] if isinstance(target_cols, str) else target_cols
    if targets is not None:
        _check_targets(list(targets))
    expected = None if frequency is None else Frequency.parse(frequency)
    columns = read_source(source, time_col, targets)
    if len(columns.times) < 2:
        raise DataError(f"expected at least 2 rows, found {len(columns.times)}")
    notices = list(columns.notices)

    order = np.argsort(columns.times, kind="stable")
    times, values = columns.times[order], columns.values[order]
    if (order[1:] < order[:-1]).any():
        notices.append("rows sorted by time")
    _check_duplicates(times, columns.time_zone)
    if expected is None:
        expected = infer_frequency(times, columns.time_zone)
    else:
        expected.check(times, columns.time_zone)
    known = np.isfinite(values)
    notices += _fill(times, values, columns.channels)
    for notice in notices:
        logger.warning(notice)
    return Table(
        times=times,
        values=values,
        channels=columns.channels,
        time_name=columns.time_name,
        frequency=expected,
        time_zone=columns.time_zone,
        origin=columns.origin,
        notices=tuple(notices),
        known=None if known.all() else known,
    )


def select_channels(table: Table, channels: Sequence[str]) -> Table:
    """The same table with these channels in this order.

    Raises
    ------
    DataError
        If a channel does not exist (each is named) or is asked for twice.
    """
    _check_targets(list(channels))
    missing = [name for name in channels if name not in table.channels]
    if missing:
        raise DataError(
            f"the table lacks the channels {listing(missing)}; it has {listing(table.channels)}"
        )
    at = [table.channels.index(name) for name in channels]
    known = None if table.known is None else table.known[:, at]
    return replace(table, values=table.values[:, at], channels=tuple(channels), known=known)


def future_table(table: Table, values: np.ndarray) -> Table:
    """The h rows that follow `table`, as a table.

    Parameters
    ----------
    values : ndarray, shape (h, C)
        Forecasts in the order and units of the table's channels.

    Raises
    ------
    DataError
        If the shape of `values` is another.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(table.channels):
        raise DataError(
            f"expected forecasts of shape (rows, {len(table.channels)}), found {values.shape}"
        )
    times = table.frequency.future(table.times[-1], len(values), table.time_zone)
    return replace(table, times=times, values=values, notices=(), known=None)


def future_frame(table: Table, values: np.ndarray) -> Any:
    """Forecasts as the kind of object that `table` was read from.

    Parameters
    ----------
    values : ndarray, shape (h, C)
        Forecasts in the order and units of the table's channels.

    Returns
    -------
    frame, Table or ndarray
        A frame of the caller's library with the time column, in the caller's type and zone (text
        becomes dates), then the channels; a pandas frame that came with its times as the index
        gets them so. For a file a `Table`, which `write_csv` takes; for an array an array (h, C).

    Raises
    ------
    DataError
        If the shape of `values` is another than (h, C).
    """
    future = future_table(table, values)
    if table.origin.kind == "file":
        return future
    if table.origin.kind == "numpy":
        return future.values
    import narwhals.stable.v2 as nw

    backend: Any = table.origin.kind
    times = nw.new_series(table.time_name, future.times, backend=backend)
    if table.time_zone is not None:
        times = times.dt.replace_time_zone("UTC").dt.convert_time_zone(table.time_zone)
    if table.origin.time_dtype is not None:
        times = times.cast(table.origin.time_dtype)
    channels = {name: future.values[:, i] for i, name in enumerate(table.channels)}
    if table.origin.indexed:
        return nw.maybe_set_index(nw.from_dict(channels, backend=backend), index=times).to_native()
    # Not in one from_dict: for pandas that would lose the time zone.
    frame = nw.from_dict(channels, backend=backend).with_columns(times)
    return frame.select(table.time_name, *table.channels).to_native()


def write_csv(path: str | Path, table: Table) -> None:
    """Write a table as CSV: ISO 8601 times (with their offset, if there is a zone), exact numbers.

    The file appears whole or not at all: it is written beside its place and then moved there.

    Raises
    ------
    DataError
        If the name does not end in ``.csv`` or the folder does not exist.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise DataError(f"expected a file name that ends in .csv, found {path.name!r}")
    stamps = iso_times(table.times, table.time_zone)
    with whole_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([table.time_name, *table.channels])
        # csv writes a float by its repr, which reads back to the same bits.
        for stamp, row in zip(stamps, table.values.tolist(), strict=True):
            writer.writerow([stamp, *row])


def _check_targets(targets: Sequence[str]) -> None:
    repeated = [name for i, name in enumerate(targets) if name in targets[:i]]
    if repeated or not targets:
        found = f"{repeated[0]!r} twice" if repeated else "none"
        raise DataError(f"expected one or more different channel names, found {found}")


def _check_duplicates(times: np.ndarray, time_zone: str | None) -> None:
    repeated = np.flatnonzero(times[1:] == times[:-1])
    if len(repeated):
        first = show_time(times[int(repeated[0])], time_zone)
        raise DataError(
            f"duplicate time stamps: {first} is the first of "
            f"{len(np.unique(times[repeated]))} that occur more than once; keep one row for each, "
            "or average them"
        )


def _fill(times: np.ndarray, values: np.ndarray, channels: Sequence[str]) -> list[str]:
    """Fill the gaps of `values`, shape (T, C), in place; say how many in which channel."""
    known = np.isfinite(values)
    empty = [name for i, name in enumerate(channels) if not known[:, i].any()]
    if empty:
        raise DataError(
            f"no numbers in {listing(empty)}: every value is missing; leave such channels out with "
            "target_cols=[...]"
        )
    elapsed = (times - times[0]).astype(np.float64)
    notices = []
    for i in np.flatnonzero(~known.all(axis=0)).tolist():
        column, here = values[:, i], known[:, i]
        infinite = int(np.isinf(column).sum())
        kinds = [(int((~here).sum()) - infinite, "missing"), (infinite, "infinite")]
        what = ", ".join(f"{count} {kind}" for count, kind in kinds if count)
        notices.append(f"channel {channels[i]!r}: filled by interpolation in time: {what}")
        column[~here] = np.interp(elapsed[~here], elapsed[here], column[here])
    return notices
