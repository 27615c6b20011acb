"""Read wide and long tables.

A wide table has one row per time stamp and one column per channel. A long table has one row per
series and time stamp, with the series in an id column. Both become a `Table` of S series of C
channels, stored one after the other; a wide table has S = 1. `read_table` accepts a file, a frame,
a series or an array; `convtimenet.data.future` converts forecasts back to the type the user passed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from convtimenet.data.agreement import Terms
from convtimenet.data.frame_columns import Origin, as_frame
from convtimenet.data.frequency import Frequency
from convtimenet.data.large.joined import joined
from convtimenet.data.large.parts import PartsError, large_table
from convtimenet.data.regular_grid import Regular, make_regular
from convtimenet.data.sources import Columns, FilePart, Wanted, read_source
from convtimenet.data.text.reading import TimeReading
from convtimenet.data.text.steps import frequency_name, parse_name
from convtimenet.errors import ConfigError, DataError
from convtimenet.files.maps import CHUNK, blocks, empty, is_mapped, ranges, spans
from convtimenet.wording import column_names, listing

__all__ = [
    "Origin",
    "Table",
    "crop",
    "in_memory",
    "in_pieces",
    "pad_front",
    "pieces",
    "read_table",
    "select_channels",
    "select_series",
]

logger = logging.getLogger(__name__)

_FILE = Origin("file")


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """T regular rows of C channels: one series, or S series stored one after the other.

    Attributes
    ----------
    times : ndarray, shape (T,)
        datetime64[ns] (in UTC if there is a time zone) or int64, increasing by `frequency` along
        each series.
    values : ndarray, shape (T, C)
        float64, in the units of the source, NaN where missing.
    channels : tuple of str
        C names.
    time_name : str
        Name of the time column.
    frequency : Frequency
        The step between rows; ``Frequency.parse(frequency.name)`` restores it.
    time_zone : str or None
        Time zone of the input's time stamps.
    origin : Origin
        What the table was read from.
    notices : tuple of str
        What reading changed or found, such as sorted rows or missing values.
    """

    times: np.ndarray
    values: np.ndarray
    channels: tuple[str, ...]
    time_name: str
    frequency: Frequency
    time_zone: str | None = None
    origin: Origin = _FILE
    notices: tuple[str, ...] = ()
    id_name: str | None = None
    """Name of the id column of a long table; None for a wide one."""
    ids: np.ndarray = field(default_factory=lambda: np.array([""], dtype=object))
    """(S,) ids, text or whole numbers, in the order of the series."""
    rows: np.ndarray | None = None
    """(S,) number of rows of each series; None if all rows belong to one series."""

    covariates: dict[str, np.ndarray] = field(default_factory=dict)
    """(T,) each, unscaled: float64 with NaN, or text as objects with None."""

    @cached_property
    def known(self) -> np.ndarray | None:
        """(T, C) observed mask, False where a value is missing; None if no value is."""
        rows = [*blocks(len(self.values))]
        if all(np.isfinite(self.values[one]).all() for one in rows):
            return None
        known = empty(self.values.shape, bool, self.mapped)
        for one in rows:
            known[one] = np.isfinite(self.values[one])
        return known

    @property
    def mapped(self) -> bool:
        """Whether the rows are in temporary files (`convtimenet.data.large`)."""
        return is_mapped(self.values)

    @property
    def long(self) -> bool:
        """Whether the table was read in long form; its forecasts are written the same way."""
        return self.id_name is not None

    @property
    def lengths(self) -> np.ndarray:
        """(S,) number of rows of each series."""
        return np.array([len(self.times)]) if self.rows is None else self.rows

    @property
    def bounds(self) -> np.ndarray:
        """(S + 1,): the first row of each series, and T."""
        return np.concatenate([[0], np.cumsum(self.lengths)])

    def to_frame(self, library: str = "pandas") -> Any:
        """The rows as a frame of "pandas", "polars" or "pyarrow": ids, times, channels."""
        ids = {} if self.id_name is None else {self.id_name: np.repeat(self.ids, self.lengths)}
        channels = dict(zip(self.channels, self.values.T, strict=True))
        return as_frame(library, ids, self.time_name, self.times, self.time_zone, channels)


def read_table(
    source: Any,
    *,
    time_col: str | None = None,
    target_cols: str | Sequence[str] | None = None,
    frequency: Any = None,
    id_col: str | None = None,
    covariates: str | Sequence[str] = (),
    time_format: str | None = None,
    dayfirst: bool | None = None,
    decimal: str | None = None,
    fill: float | None = None,
    terms: Terms | None = None,
    hint: str | None = None,
) -> Table:
    """Read a wide or long table and make it sorted and regular.

    Rows are sorted by series and time, and missing rows are added. The values of added rows, empty
    cells and infinite values are NaN in ``Table.values``. Each change is logged and recorded in
    ``Table.notices``. The source itself is not modified.

    Parameters
    ----------
    source : path, frame or ndarray
        A file: delimited text (``.csv``, ``.tsv``, ``.txt``), ``.xlsx``, ``.parquet``,
        ``.feather``, ``.arrow``, ``.ipc``, ``.jsonl``, ``.ndjson``, ``.json`` or ``.tsf``, text
        also compressed as ``.gz``, ``.zip``, ``.xz`` or ``.bz2``. Several Parquet or Arrow files: a
        folder, a glob pattern, or a URL of `fsspec` such as ``"s3://bucket/table"``; a long table
        of more than 128 MiB is read in parts and kept in temporary files
        (`convtimenet.data.large`). A pandas, polars or pyarrow frame or series. Or an array of
        shape (T,) or (T, C), with times 0 to T-1 and channels "0", "1", ...
    time_col : str, optional
        The time column. By default a pandas ``DatetimeIndex`` or ``PeriodIndex``, else a column
        named date, ds, time, timestamp or datetime, else the only column that holds dates (combined
        with a time-of-day column, if there is one), else the columns year, month, day and so on.
    target_cols : sequence of str, optional
        The channels, in this order. By default every column except the time column; in a long
        table the column "y" if there is one, else every column except time and id.
    frequency : str, int, timedelta or offset, optional
        The step, such as ``"15min"``, ``"MS"``, ``1`` for whole numbers or ``pd.Timedelta("1h")``
        (`convtimenet.data.text.steps.frequency_name`), checked against the time stamps. Inferred
        by default. All series of a long table share it, but may start at different times.
    id_col : str, optional
        The column with the series ids of a long table. By default "unique_id" if there is such a
        column.
    covariates : sequence of str, optional
        Columns to read as covariates.
    time_format : str, optional
        The format of the time stamps, if it cannot be inferred: a ``strptime`` format such as
        ``"%d.%m.%y"``, or ``"unix-s"``, ``"unix-ms"``, ``"unix-us"`` or ``"unix-ns"``.
    dayfirst : bool, optional
        Whether 03/04/2024 is in April (True) or in March (False), if the time stamps are ambiguous.
    decimal : {".", ","}, optional
        The decimal mark of numbers written as text, if the cells are ambiguous; the other character
        separates thousands.
    fill : float, optional
        The value to use for missing values, including those of missing rows: 0 if no row means
        that nothing was sold. By default they stay missing.
    terms : Terms, optional
        What a fitted model expects, if the table is read for one: the table must match it. A table
        too short to infer a frequency from gets the model's.
    hint : str, optional
        Added to the error if the target columns of a fitted model are missing.

    Raises
    ------
    DataError
        If the source cannot be read, its time stamps are missing, repeated or irregular, or a
        channel is missing, empty or holds text. Errors about series name some of them.
    ConfigError
        If `frequency`, `time_format`, `dayfirst`, `decimal` or `fill` is not valid.
    MissingExtraError
        If a file needs pyarrow or openpyxl and it is not installed.
    """
    targets = None if target_cols is None else list(column_names("target_cols", target_cols))
    if targets is not None:
        _check_targets(targets)
    _check_fill(fill)
    steps = frequency is not None and parse_name(frequency_name(frequency)).unit == "step"
    if frequency is None and terms is not None:
        steps = not terms.dated
    usual = None if terms is None else terms.origin.dayfirst
    wanted = Wanted(
        time=time_col,
        targets=targets,
        id=id_col,
        covariates=column_names("covariates", covariates),
        texts=frozenset() if terms is None else terms.texts,
        usual_time=None if terms is None else terms.time_name,
        hint=hint,
        reading=TimeReading(format=time_format, dayfirst=dayfirst, steps=steps, usual=usual),
        decimal=decimal,
    )
    parts = large_table(source, id_col)

    def read(rows: Any, wanted: Wanted, usual: Frequency | None) -> tuple[Columns, Regular]:
        return _regular(rows, wanted, frequency, usual, fill, terms)

    try:
        whole = parts is None
        columns, regular = read(source, wanted, None) if whole else joined(parts, wanted, read)
    except PartsError as error:
        if parts is None or not parts.fits:
            raise
        columns, regular = read(source, wanted, None)
        notice = f"read into memory as a whole, because not in parts: {error}"
        regular = replace(regular, notices=(*regular.notices, notice))
    notices = (*regular.notices, *(change.notice for change in regular.changes))
    for notice in notices:
        logger.warning(notice)
    missing = sum(one.missing + one.infinite for one in regular.changes if one.channel is not None)
    logger.info(
        "read %d series of %s, %d rows in steps of %s, %d values missing",
        len(regular.lengths),
        listing(columns.channels, limit=3),
        len(regular.times),
        regular.frequency.name,
        0 if fill is not None else missing,
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
        notices=notices,
        covariates=regular.covariates,
        **series,
    )


def _regular(
    source: Any,
    wanted: Wanted,
    frequency: Any,
    usual: Frequency | None,
    fill: float | None,
    terms: Terms | None,
) -> tuple[Columns, Regular]:
    """The columns of a source, and its regular rows; `usual` is the step of too few rows."""
    first = source.first if isinstance(source, FilePart) else 0
    columns = read_source(source, wanted)
    if terms is not None:
        usual, columns = usual or terms.frequency, terms.stamps(columns)
        agreed, notices = terms.covariates(columns.covariates, first=first)
        columns = replace(columns, covariates=agreed, notices=(*columns.notices, *notices))
    least = 2 if frequency is None and usual is None else 1
    if frequency is None and usual is not None and _most_rows(columns) < 2:
        frequency = usual.name
    if len(columns.times) < least:
        raise DataError(f"expected at least {least} rows, found {len(columns.times)}; give more")
    regular = make_regular(columns, frequency, fill=fill)
    if terms is not None:
        step = terms.step(regular.frequency, regular.times, regular.lengths, columns.time_zone)
        regular = replace(regular, frequency=step)
    return columns, regular


def _most_rows(columns: Columns) -> int:
    """Number of rows of the longest series."""
    return len(columns.times) if columns.series is None else int(np.bincount(columns.series).max())


def select_channels(table: Table, channels: Sequence[str]) -> Table:
    """The same table with these channels in this order.

    Raises
    ------
    DataError
        If a channel does not exist (the error names each) or is listed twice.
    """
    _check_targets(list(channels))
    if missing := [name for name in channels if name not in table.channels]:
        raise DataError(
            f"the table lacks the channels {listing(missing)}; it has {listing(table.channels)}"
        )
    at = [table.channels.index(name) for name in channels]
    return replace(table, values=table.values[:, at], channels=tuple(channels))


def select_series(table: Table, numbers: np.ndarray) -> Table:
    """The series with these numbers (n,), in this order."""
    starts = table.bounds[:-1][numbers]
    lengths = table.lengths[numbers]
    return replace(_take(table, ranges(starts, starts + lengths), lengths), ids=table.ids[numbers])


def pieces(table: Table) -> Iterator[tuple[slice, Table]]:
    """A table in pieces of consecutive series that have a bounded number of rows together, or one
    series each: the numbers of the series, and their rows, not copied."""
    if not table.long or len(table.times) <= CHUNK:
        yield slice(None), table
        return
    bounds, lengths = table.bounds, table.lengths
    for first, last in spans(lengths):
        rows = slice(bounds[first], bounds[last])
        yield (
            slice(first, last),
            replace(
                table,
                times=np.asarray(table.times[rows]),
                values=np.asarray(table.values[rows]),
                covariates={name: one[rows] for name, one in table.covariates.items()},
                ids=table.ids[first:last],
                rows=lengths[first:last],
            ),
        )


def in_pieces(table: Table, lengths: np.ndarray, change: Callable[[slice, Table], Table]) -> Table:
    """What `change` makes of the `pieces` of a table, together; `lengths` (S,) are those of the
    result."""
    if not table.long or len(table.times) <= CHUNK:
        return change(slice(None), table)
    mapped, at, rows = table.mapped, 0, int(lengths.sum())
    times = empty((rows,), table.times.dtype, mapped)
    values = empty((rows, len(table.channels)), np.float64, mapped)
    covariates = {
        name: empty((rows,), one.dtype, mapped and one.dtype != object)
        for name, one in table.covariates.items()
    }
    for of, piece in pieces(table):
        found = change(of, piece)
        here = slice(at, at + len(found.times))
        times[here], values[here] = found.times, found.values
        for name, one in covariates.items():
            one[here] = found.covariates[name]
        at = here.stop
    return replace(table, times=times, values=values, covariates=covariates, rows=lengths)


def in_memory(table: Table) -> Table:
    """The same table without temporary files."""
    if not table.mapped:
        return table
    covariates = {name: np.array(one) for name, one in table.covariates.items()}
    times, values = np.array(table.times), np.array(table.values)
    return replace(table, times=times, values=values, covariates=covariates)


def crop(table: Table, first: int | np.ndarray, end: int | np.ndarray) -> Table:
    """Rows [first, end) of each series, counted from its own first row; scalars or (S,).

    Both are clipped to the series, so ``crop(table, table.lengths - L, table.lengths)`` gives its
    last L rows, or all of them if it is shorter. No series may end up without rows.
    """
    lengths = table.lengths
    first, end = np.clip(first, 0, lengths), np.clip(end, 0, lengths)
    assert (end > first).all()

    def change(of: slice, piece: Table) -> Table:
        starts, kept = piece.bounds[:-1], (end - first)[of]
        return _take(piece, ranges(starts + first[of], starts + end[of]), kept)

    return in_pieces(table, end - first, change)


def pad_front(table: Table, least: int | np.ndarray) -> Table:
    """Pad each series to at least `least` rows, one number or (S,): rows are added in front, with
    missing values and the first time stamp repeated."""
    lengths = np.maximum(table.lengths, least)
    if (lengths == table.lengths).all():
        return table
    return in_pieces(table, lengths, lambda of, piece: _padded(piece, lengths[of]))


def _padded(table: Table, lengths: np.ndarray) -> Table:
    bounds = table.bounds
    rows = ranges(bounds[:-1] - (lengths - table.lengths), bounds[1:])
    first = np.repeat(bounds[:-1], lengths)
    padded = _take(table, np.maximum(rows, first), lengths)
    padded.values[rows < first] = np.nan
    return padded


def _take(table: Table, rows: np.ndarray, lengths: np.ndarray) -> Table:
    """A copy of the rows with these numbers."""
    return replace(
        table,
        times=table.times[rows],
        values=table.values[rows],
        covariates={name: one[rows] for name, one in table.covariates.items()},
        rows=lengths if table.long else None,
    )


def extend(table: Table, steps: int) -> Table:
    """Append `steps` rows to each series: time stamps are filled in, values and covariates are
    missing."""
    bounds, lengths = table.bounds, table.lengths + steps
    rows = ranges(bounds[:-1], bounds[1:] + steps)
    ahead = rows >= np.repeat(bounds[1:], lengths)
    longer = _take(table, np.minimum(rows, np.repeat(bounds[1:] - 1, lengths)), lengths)
    last = table.times[bounds[1:] - 1]
    longer.times[ahead] = table.frequency.after(last, steps, table.time_zone).reshape(-1)
    longer.values[ahead] = np.nan
    for one in longer.covariates.values():
        one[ahead] = None if one.dtype == object else np.nan
    return longer


def _check_fill(fill: Any) -> None:
    number = isinstance(fill, (int, float, np.number)) and not isinstance(fill, bool)
    if fill is not None and not (number and np.isfinite(fill)):
        raise ConfigError(
            f"fill must be a finite number to replace missing values with, such as 0, found "
            f"{fill!r}; leave it out to mask them"
        )


def _check_targets(targets: Sequence[str]) -> None:
    repeated = [name for i, name in enumerate(targets) if name in targets[:i]]
    if repeated or not targets:
        found = f"{repeated[0]!r} twice" if repeated else "none"
        raise DataError(f"expected one or more different channel names, found {found}")
