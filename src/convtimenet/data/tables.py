"""Tables in, wide or long; forecasts back out.

A wide table has one row per time stamp and one column per channel. A long one has one row per
series and time stamp, and says in a column which series that is. Both become a `Table`: S series
of C channels, one after the other, where a wide table is the case S = 1. `read_table` reads what a
user has (a CSV or Parquet file, a pandas, polars or pyarrow frame, an array), `future_frame` turns
forecasts into the user's kind of object again.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.data.csv_file import listing
from convtimenet.data.frequency import Frequency
from convtimenet.data.regular_grid import make_regular, ranges
from convtimenet.data.sources import Origin, Wanted, read_source
from convtimenet.data.timestamps import iso_times
from convtimenet.errors import DataError
from convtimenet.files import whole_file

__all__ = [
    "Origin",
    "Table",
    "crop",
    "forecast_names",
    "future_frame",
    "future_table",
    "pad_front",
    "read_table",
    "select_channels",
    "select_series",
    "stamps",
    "write_csv",
]

logger = logging.getLogger(__name__)

_FILE = Origin("file")
MODEL = "ConvTimeNet"
NAIVE = "SeasonalNaive"


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """T regular rows of C channels: of one series, or of S series one after the other.

    Attributes
    ----------
    times : ndarray, shape (T,)
        datetime64[ns] (in UTC if there is a time zone) or int64, increasing by `frequency` along
        each series.
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
    id_name: str | None = None
    """Name of the id column of a long table; None for a wide one."""
    ids: np.ndarray = field(default_factory=lambda: np.array([""], dtype=object))
    """(S,) ids, text or whole numbers, in the order of the series."""
    rows: np.ndarray | None = None
    """(S,) rows of each series; None for one series of all rows."""

    covariates: dict[str, np.ndarray] = field(default_factory=dict)
    """(T,) each: float64 with NaN, or text as objects with None, as they were read."""

    @property
    def long(self) -> bool:
        """Whether the table came, and its forecasts go, in the long form."""
        return self.id_name is not None

    @property
    def lengths(self) -> np.ndarray:
        """(S,) rows of each series."""
        return np.array([len(self.times)]) if self.rows is None else self.rows

    @property
    def bounds(self) -> np.ndarray:
        """(S + 1,): the first row of each series, and T."""
        return np.concatenate([[0], np.cumsum(self.lengths)])


def read_table(
    source: Any,
    *,
    time_col: str | None = None,
    target_cols: Sequence[str] | None = None,
    frequency: str | None = None,
    id_col: str | None = None,
    covariates: Sequence[str] = (),
) -> Table:
    """Read a table, wide or long, and make it regular, sorted and complete.

    Rows are sorted by series and time. Rows that a series of a long table leaves out are added with
    missing values; a wide table may leave none out. Missing and infinite values are filled by
    linear interpolation in time, before the first and after the last known value by the nearest
    one, and marked in ``Table.known``. Each change is logged and kept in ``Table.notices``. The
    source itself is not modified.

    Parameters
    ----------
    source : path, frame or ndarray
        A ``.csv``, ``.csv.gz`` or ``.parquet`` file; a pandas, polars or pyarrow frame; or an array
        of shape (T,) or (T, C), whose times are 0 to T-1 and whose channels are "0", "1", ...
    time_col : str, optional
        The time column. By default a pandas ``DatetimeIndex``, else a column named date, ds, time,
        timestamp or datetime, else the only column that holds dates.
    target_cols : sequence of str, optional
        The channels, in this order. By default every column but the time; of a long table the
        column "y" if there is one, else every column but time and id.
    frequency : str, optional
        The step, such as ``"15min"`` or ``"MS"``, checked against the stamps; found if not given.
        The series of a long table share it, each with its own first stamp.
    id_col : str, optional
        The column that says which series a row belongs to, which makes the table a long one. By
        default "unique_id" if there is such a column.
    covariates : sequence of str, optional
        Columns that are no channels but go with them.

    Raises
    ------
    DataError
        If the source cannot be read, its times are absent, repeated or irregular, or a channel is
        absent, empty or holds text. Errors about series name some of them.
    MissingExtraError
        If pyarrow is needed for a Parquet file and not installed.
    """
    targets = [target_cols] if isinstance(target_cols, str) else target_cols
    if targets is not None:
        _check_targets(list(targets))
    if frequency is not None:
        Frequency.parse(frequency)
    columns = read_source(
        source, Wanted(time=time_col, targets=targets, id=id_col, covariates=covariates)
    )
    if len(columns.times) < 2:
        raise DataError(f"expected at least 2 rows, found {len(columns.times)}")
    regular = make_regular(columns, frequency)
    for notice in regular.notices:
        logger.warning(notice)
    logger.info(
        "read %d series of %s, %d rows in steps of %s, %d values missing",
        len(regular.lengths),
        listing(columns.channels, limit=3),
        len(regular.times),
        regular.frequency.name,
        regular.known.size - int(regular.known.sum()),
    )
    series = {}
    if columns.ids is not None:
        series = {"id_name": columns.id_name, "ids": columns.ids, "rows": regular.lengths}
    return Table(
        times=regular.times,
        values=regular.values,
        channels=columns.channels,
        time_name=columns.time_name,
        frequency=regular.frequency,
        time_zone=columns.time_zone,
        origin=columns.origin,
        notices=regular.notices,
        known=None if regular.known.all() else regular.known,
        covariates=regular.covariates,
        **series,
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


def select_series(table: Table, numbers: np.ndarray) -> Table:
    """The series with these numbers (n,), in this order."""
    starts = table.bounds[:-1][numbers]
    lengths = table.lengths[numbers]
    return replace(_take(table, ranges(starts, starts + lengths), lengths), ids=table.ids[numbers])


def crop(table: Table, first: int | np.ndarray, end: int | np.ndarray) -> Table:
    """Rows [first, end) of each series, counted from its own first row; numbers or (S,).

    Both are cut to the series, so ``crop(table, table.lengths - L, table.lengths)`` gives its last
    L rows, or all of them. No series may end up without rows.
    """
    lengths = table.lengths
    first, end = np.clip(first, 0, lengths), np.clip(end, 0, lengths)
    assert (end > first).all()
    starts = table.bounds[:-1]
    return _take(table, ranges(starts + first, starts + end), end - first)


def pad_front(table: Table, least: int) -> Table:
    """The table with at least that many rows per series: short ones get unknown rows in front,
    whose values and stamps repeat the first ones."""
    short = np.maximum(0, least - table.lengths)
    if not short.any():
        return table
    bounds, lengths = table.bounds, table.lengths + short
    rows = ranges(bounds[:-1] - short, bounds[1:])
    first = np.repeat(bounds[:-1], lengths)
    padded = _take(table, np.maximum(rows, first), lengths)
    known = np.ones_like(padded.values, dtype=bool) if padded.known is None else padded.known
    return replace(padded, known=known & (rows >= first)[:, None])


def _take(table: Table, rows: np.ndarray, lengths: np.ndarray) -> Table:
    known = None if table.known is None else table.known[rows]
    return replace(
        table,
        times=table.times[rows],
        values=table.values[rows],
        known=None if known is None or known.all() else known,
        covariates={name: one[rows] for name, one in table.covariates.items()},
        rows=lengths if table.long else None,
    )


def extend(table: Table, steps: int) -> Table:
    """The table with that many rows behind each series: their stamps are known, their values and
    covariates are not."""
    bounds, lengths = table.bounds, table.lengths + steps
    rows = ranges(bounds[:-1], bounds[1:] + steps)
    ahead = rows >= np.repeat(bounds[1:], lengths)
    longer = _take(table, np.minimum(rows, np.repeat(bounds[1:] - 1, lengths)), lengths)
    known = np.ones_like(longer.values, dtype=bool) if longer.known is None else longer.known
    last = table.times[bounds[1:] - 1]
    longer.times[ahead] = table.frequency.after(last, steps, table.time_zone).reshape(-1)
    for one in longer.covariates.values():
        one[ahead] = None if one.dtype == object else np.nan
    return replace(longer, known=known & ~ahead[:, None])


def forecast_names(table: Table) -> tuple[str, ...]:
    """Names of the columns of forecasts: a wide table's channels; for a long table "ConvTimeNet",
    as Nixtla's libraries have it, and "ConvTimeNet-<channel>" where there are several."""
    if not table.long:
        return table.channels
    if len(table.channels) == 1:
        return (MODEL,)
    return tuple(f"{MODEL}-{name}" for name in table.channels)


def future_table(table: Table, values: np.ndarray, names: Sequence[str] | None = None) -> Table:
    """The h rows that follow each series of `table`, as a table.

    Parameters
    ----------
    values : ndarray, shape (S h, columns)
        Forecasts, one series after the other, (h, C) for a wide table.
    names : sequence of str, optional
        Names of the columns; by default `forecast_names`.

    Raises
    ------
    DataError
        If the shape of `values` is another.
    """
    values = np.asarray(values, dtype=np.float64)
    names = forecast_names(table) if names is None else tuple(names)
    S = len(table.lengths)
    if values.ndim != 2 or values.shape[1] != len(names) or len(values) % S:
        rows = f"{S} times rows" if table.long else "rows"
        raise DataError(f"expected forecasts of shape ({rows}, {len(names)}), found {values.shape}")
    h = len(values) // S
    last = table.times[table.bounds[1:] - 1]
    return replace(
        table,
        times=table.frequency.after(last, h, table.time_zone).reshape(-1),
        values=values,
        channels=names,
        rows=np.full(S, h) if table.long else None,
        notices=(),
        known=None,
        covariates={},
    )


def future_frame(
    table: Table,
    values: np.ndarray,
    names: Sequence[str] | None = None,
    rolled: np.ndarray | None = None,
) -> Any:
    """Forecasts as the kind of object that `table` was read from.

    Parameters
    ----------
    values, names
        As for `future_table`.
    rolled : ndarray of bool, shape (h,), optional
        Steps that rest on forecasts; frames get them as a column "rolled".

    Returns
    -------
    A pandas, polars or pyarrow frame in the form, wide or long, and with the kind of time and id
    column (or index) of the source; for a file the `Table`, which `write_csv` takes; for an array
    an array (h, C).

    Raises
    ------
    DataError
        If the shape of `values` is another.
    """
    future = future_table(table, values, names)
    origin = table.origin
    if origin.kind == "file":
        return future
    if origin.kind == "numpy":
        return future.values
    import narwhals.stable.v2 as nw

    backend: Any = origin.kind
    times = stamps(table, table.time_name, future.times)
    columns = {name: future.values[:, i] for i, name in enumerate(future.channels)}
    if rolled is not None:
        columns["rolled"] = np.tile(rolled, len(table.lengths))
    # Not in one from_dict: for pandas that would lose the time zone.
    frame = nw.from_dict(columns, backend=backend)
    before: list[Any] = [times]
    if table.id_name is not None:
        ids = np.repeat(table.ids, future.lengths)
        labels = nw.new_series(table.id_name, ids, origin.id_dtype, backend=backend)
        before.insert(0, labels)
    if origin.indexed:
        frame = frame.with_columns(*before[:-1]).select(
            *(one.name for one in before[:-1]), *columns
        )
        return nw.maybe_set_index(frame, index=times).to_native()
    frame = frame.with_columns(*before)
    return frame.select(*(one.name for one in before), *columns).to_native()


def stamps(table: Table, name: str, times: np.ndarray) -> Any:
    """Times, as `Table.times` has them, as a narwhals series of the source's own kind."""
    import narwhals.stable.v2 as nw

    backend: Any = table.origin.kind
    found = nw.new_series(name, times, backend=backend)
    if table.time_zone is not None:
        found = found.dt.replace_time_zone("UTC").dt.convert_time_zone(table.time_zone)
    if table.origin.time_dtype is not None:
        found = found.cast(table.origin.time_dtype)
    return found


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
    head, columns = [table.time_name], [iso_times(table.times, table.time_zone)]
    if table.id_name is not None:
        head.insert(0, table.id_name)
        columns.insert(0, np.repeat(table.ids, table.lengths).tolist())
    with whole_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*head, *table.channels])
        # csv writes a float by its repr, which reads back to the same bits.
        for *cells, row in zip(*columns, table.values.tolist(), strict=True):
            writer.writerow([*cells, *row])


def _check_targets(targets: Sequence[str]) -> None:
    repeated = [name for i, name in enumerate(targets) if name in targets[:i]]
    if repeated or not targets:
        found = f"{repeated[0]!r} twice" if repeated else "none"
        raise DataError(f"expected one or more different channel names, found {found}")
