"""Read wide and long tables.

A wide table has one row per time stamp and one column per channel. A long table has one row per
series and time stamp, with the series in an id column. Both become a `Table` of S series of C
channels, stored one after the other; a wide table has S = 1. `read_table` accepts a file, a frame,
a series or an array; `convtimenet.data.forecast_tables` converts forecasts back to that type.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from convtimenet.data.agreement import Terms
from convtimenet.data.frame_columns import Origin, as_frame
from convtimenet.data.large.joined import joined
from convtimenet.data.large.parts import PartsError, large_table
from convtimenet.data.large.sharing import Sharing
from convtimenet.data.regular_grid import Regular, make_regular
from convtimenet.data.sources.by_role import Columns, Wanted
from convtimenet.data.sources.read import FilePart, read_source
from convtimenet.data.text.reading import TimeReading
from convtimenet.data.time.frequency import Frequency
from convtimenet.data.time.steps import frequency_name, parse_name
from convtimenet.data.time.timestamps import show_in
from convtimenet.errors import ConfigError, DataError
from convtimenet.files.maps import blocks, is_mapped
from convtimenet.settings import require_choice
from convtimenet.wording import column_names, html_table, listing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Origin", "Table", "read_table"]

logger = logging.getLogger(__name__)

_FILE = Origin("file")
_SHOWN_ROWS, _SHOWN_CHANNELS = 5, 10
"""Of a table in a notebook: first and last rows, and columns."""


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
        sharing = Sharing(self.mapped)
        known = sharing.empty(self.values.shape, bool)
        for one in sharing.own(rows):
            known[one] = np.isfinite(self.values[one])
        sharing.wait()
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

    def plot(self, number: int | str = 0, channel: int = 0) -> Figure:
        """Draw one series and channel, with the bounds of intervals that a forecast has: as
        `convtimenet.plot` of this table."""
        from convtimenet import plot

        return plot(self, number, channel)

    def _repr_html_(self) -> str:
        """A small table for notebooks: the first and last rows."""
        T, C = len(self.times), min(len(self.channels), _SHOWN_CHANNELS)
        ends = T > 2 * _SHOWN_ROWS
        shown = np.r_[:_SHOWN_ROWS, T - _SHOWN_ROWS : T] if ends else np.arange(T)
        of = np.searchsorted(self.bounds, shown, side="right") - 1
        rows = []
        for row, series in zip(shown, of, strict=True):
            cells: list[Any] = [self.ids[series]] if self.long else []
            cells.append(show_in(self.times[shown], self.times[row], self.time_zone))
            values = self.values[row, :C].tolist()
            rows.append([*cells, *("" if np.isnan(one) else f"{one:.6g}" for one in values)])
        head = [*([self.id_name] if self.long else []), self.time_name, *self.channels[:C]]
        if ends:
            rows.insert(_SHOWN_ROWS, ["..."] * len(head))
        many = f"{len(self.lengths):,} series, " if self.long else ""
        what = f"Table: {many}{T:,} rows in steps of {self.frequency.name}, channels"
        return html_table(f"{what} {listing(self.channels, limit=8)}", rows, head)

    def to_frame(self, library: str = "pandas") -> Any:
        """The rows as a frame of "pandas", "polars" or "pyarrow": ids, times, channels.

        Raises
        ------
        ConfigError
            If it is another library.
        """
        require_choice("library", library, ("pandas", "polars", "pyarrow"))
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
        A file: delimited text (``.csv``, ``.tsv``, ``.txt``), ``.xlsx``, ``.parquet``, ``.pq``,
        ``.feather``, ``.arrow``, ``.ipc``, ``.jsonl``, ``.ndjson``, ``.json`` or ``.tsf``, text
        also compressed as ``.gz``, ``.zip``, ``.xz`` or ``.bz2``. Several Parquet or Arrow files: a
        folder, a glob pattern, or a URL of `fsspec` such as ``"s3://bucket/table"``; a long table
        of more than 128 MiB is read in parts and kept in temporary files
        (`convtimenet.data.large`). A pandas, polars or pyarrow frame or series. Or an array of
        shape (T,) or (T, C), with times 0 to T-1 and channels "0", "1", ...
    time_col : str, optional
        The time column. By default a pandas ``DatetimeIndex`` or ``PeriodIndex``, else a column
        named date, ds, time, timestamp or datetime, else the only column that holds dates (combined
        with a column of times of day, if there is one, or of ranges of them, which are read as
        their start), else the columns year, month, day and so on, else, with `frequency` 1, the
        numbers 0, 1, 2, ... of the rows of each series.
    target_cols : sequence of str, optional
        The channels, in this order. By default every column except the time column; in a long
        table the column "y" if there is one, else every column except time and id.
    frequency : str, int, timedelta or offset, optional
        The step, such as ``"15min"``, ``"MS"``, ``1`` for whole numbers or ``pd.Timedelta("1h")``
        (`convtimenet.data.time.steps.frequency_name`), checked against the time stamps. Inferred
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
        check_targets(targets)
    _check_fill(fill)
    steps = frequency is not None and parse_name(frequency_name(frequency)).unit == "step"
    counted = steps  # whole numbers are asked for
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
        counted=counted,
        hint=hint,
        reading=TimeReading(format=time_format, dayfirst=dayfirst, steps=steps, usual=usual),
        decimal=decimal,
    )
    parts = large_table(source, wanted)

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


def _check_fill(fill: Any) -> None:
    number = isinstance(fill, (int, float, np.number)) and not isinstance(fill, bool)
    if fill is not None and not (number and np.isfinite(fill)):
        raise ConfigError(
            f"fill must be a finite number to replace missing values with, such as 0, found "
            f"{fill!r}; leave it out to mask them"
        )


def check_targets(targets: Sequence[str]) -> None:
    repeated = [name for i, name in enumerate(targets) if name in targets[:i]]
    if repeated or not targets:
        found = f"{repeated[0]!r} twice" if repeated else "none"
        raise DataError(f"expected one or more different channel names, found {found}")
