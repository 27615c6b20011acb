"""Convert the columns of a frame of any library to `Column` objects, and back."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from convtimenet.data.columns import ArrayColumn, CellColumn, Column, row_place
from convtimenet.data.text.whole_times import to_whole
from convtimenet.data.time.timestamps import offset_of

__all__ = [
    "Origin",
    "as_frame",
    "column_of",
    "labelled",
    "period_of",
    "stamp_type",
    "stamps_like",
]


@dataclass(frozen=True)
class Origin:
    """What a table was read from, so that forecasts can be returned as the same type.

    Attributes
    ----------
    kind : str
        ``"numpy"``, ``"file"``, or the name of a dataframe library.
    time_dtype : narwhals type, optional
        Type of the time column of a frame.
    time_native : str, optional
        Name of that type in pandas, if it is an extension type.
    indexed : bool
        Whether the times were the index of a pandas frame or series.
    id_dtype : narwhals type, optional
        Type of the id column of a long frame.
    series : bool
        Whether the source was a series, i.e. a table of one channel.
    period : str, optional
        Frequency of the times, if they were pandas periods.
    time_form : str, optional
        How dates were encoded as whole numbers (`convtimenet.data.text.whole_times`).
    dayfirst : bool, optional
        Whether dates written as text have the day before the month, if both come before the year.
    id_native : optional
        The pandas or pyarrow type of the ids, which is more specific than the narwhals type.
    id_labels : dict, optional
        The original ids by the ids of the table, if they are neither text nor whole numbers.
    time_zone : str, optional
        Time zone of the source, if the table uses another one.
    written : str
        The first time stamp as written in a file.
    labels : tuple of (str, object)
        The original column labels that differ from the column names used here: whole numbers,
        tuples, and None for an index or a series without a name.
    axis : tuple
        The names of the levels of the pandas column index, if any is named.
    """

    kind: str
    time_dtype: Any = None
    time_native: str | None = None
    indexed: bool = False
    id_dtype: Any = None
    series: bool = False
    period: str | None = None
    time_form: str | None = None
    dayfirst: bool | None = None
    id_native: Any = None
    id_labels: Mapping[Any, Any] | None = None
    time_zone: str | None = None
    written: str = ""
    labels: tuple[tuple[str, Any], ...] = ()
    axis: tuple[Any, ...] = ()


def column_of(series: Any, name: str, first: int = 0) -> Column:
    """A narwhals series as a `Column`, whose first row is called `first` in messages."""
    column = _column_of(series, name)
    column.place = partial(row_place, first=first)
    return column


def _column_of(series: Any, name: str) -> ArrayColumn | CellColumn:
    import narwhals.stable.v2 as nw

    kind = getattr(series.to_native(), "type", None)  # pyarrow; narwhals knows no dictionary type
    if str(kind).startswith("dictionary"):
        plain = series.to_native().cast(kind.value_type)  # pyright: ignore[reportOptionalMemberAccess]
        series = nw.from_native(plain, series_only=True)
    if str(kind) == "date64[ms]":
        series = nw.from_native(series.to_native().cast("timestamp[ms]"), series_only=True)
    dtype = series.dtype
    if series.is_null().all():  # has no useful type in some libraries
        empty = np.full(len(series), np.nan)
        return ArrayColumn(name, empty, np.ones(len(series), bool), _kind(series))
    if isinstance(dtype, nw.String) and "pyarrow" in sys.modules:
        return _arrow_cells(series, name)
    if isinstance(dtype, (nw.String, nw.Categorical, nw.Enum, nw.Object)):
        cells = series.to_list()
        if isinstance(dtype, nw.Object):
            null = series.is_null().to_list()
            cells = [None if no else _single(cell) for cell, no in zip(cells, null, strict=True)]
        return CellColumn(name, cells, typed=True)
    if isinstance(dtype, nw.Time):
        return CellColumn(name, series.to_list(), typed=True)
    missing = series.is_null().to_numpy()
    none = missing if missing.any() else None
    if dtype.is_numeric() or isinstance(dtype, nw.Boolean):
        whole = dtype.is_integer() and not isinstance(dtype, (nw.UInt64, nw.UInt128, nw.Int128))
        if none is None and (whole or isinstance(dtype, nw.Boolean)):
            return ArrayColumn(name, series.to_numpy(), None, str(dtype))
        if dtype.is_integer():
            low, high = int(series.min()), int(series.max())
            if none is None and low >= -(2**63) and high < 2**63:
                return ArrayColumn(name, series.cast(nw.Int64).to_numpy(), None, str(dtype))
            if max(-low, high) > 2**53:  # float64 would round them
                cells = zip(series.to_list(), missing.tolist(), strict=True)
                return CellColumn(name, [None if no else cell for cell, no in cells], typed=True)
        values = np.array(series.cast(nw.Float64).to_numpy(), dtype=np.float64)
        return ArrayColumn(name, values, none, str(dtype))
    zone = None
    if isinstance(dtype, nw.Date):
        series = series.cast(nw.Datetime("us"))
    elif isinstance(dtype, nw.Datetime):
        zone = dtype.time_zone
        if zone is not None:
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    else:
        if str(kind) == "extension<arrow.uuid>":
            return CellColumn(name, series.to_native().to_pylist(), typed=True)
        native = _native_stamps(series)
        if native is None:
            return ArrayColumn(name, None, none, _kind(series))
        series, zone = native
    return ArrayColumn(name, series.to_numpy(), none, _kind(series), zone)


def _single(cell: Any) -> Any:
    """A cell; lists, arrays and mappings, which have no hash to tell them apart, as text."""
    return str(cell) if getattr(cell, "__hash__", None) is None else cell


def period_of(series: Any) -> str | None:
    """The frequency of a column of pandas periods; None for any other column."""
    dtype = str(getattr(series.to_native(), "dtype", ""))
    return dtype[len("period[") : -1] if dtype.startswith("period[") else None


def stamp_type(series: Any) -> Any:
    """The narwhals type of a time column, also for types that narwhals does not know."""
    import narwhals.stable.v2 as nw

    if isinstance(series.dtype, nw.Unknown):
        native = _native_stamps(series)
        if native is not None and native[1] is not None:
            return nw.Datetime(native[0].dtype.time_unit, native[1])
    dtype = series.dtype
    return dtype if dtype.is_temporal() or dtype.is_integer() else None


def _native_stamps(series: Any) -> tuple[Any, str | None] | None:
    """Time stamps in UTC and their zone, from pandas itself: narwhals parses the zone from the name
    of the type and does not accept offsets. A period becomes its start."""
    import narwhals.stable.v2 as nw

    native = series.to_native()
    if period_of(series) is not None:
        return nw.from_native(native.dt.to_timestamp(), series_only=True), None
    zone = getattr(getattr(native, "dtype", None), "tz", None)
    if zone is None:
        return None
    local = native.dt.tz_convert("UTC").dt.tz_localize(None)
    return nw.from_native(local, series_only=True), getattr(zone, "zone", None) or str(zone)


def _arrow_cells(series: Any, name: str) -> CellColumn:
    from convtimenet.data.files.arrow_cells import ArrowCells

    cells = ArrowCells(name, series.to_arrow(), row_place)
    cells.typed = True
    return cells


def _kind(series: Any) -> str:
    """The type of a column for a message; the native one if narwhals does not know it."""
    import narwhals.stable.v2 as nw

    if not isinstance(series.dtype, nw.Unknown):
        return str(series.dtype)
    native = series.to_native()
    return str(getattr(native, "dtype", None) or native.type)


def stamps_like(origin: Origin, name: str, times: np.ndarray, time_zone: str | None) -> Any:
    """Times (T,) of a `Table` as a narwhals series of the source's type."""
    import narwhals.stable.v2 as nw

    backend: Any = origin.kind
    if origin.time_form is not None:
        times = to_whole(times, origin.time_form)
    found = nw.new_series(name, times, backend=backend)
    if origin.period is not None:
        return nw.from_native(found.to_native().dt.to_period(origin.period), series_only=True)
    if time_zone is not None and origin.time_form is None:
        if backend == "polars" and time_zone.startswith(("+", "-")):
            time_zone = _named_offset(time_zone)
        found = found.dt.replace_time_zone("UTC").dt.convert_time_zone(time_zone)
    if origin.time_dtype is not None:
        if times.dtype.kind == "i" and origin.time_dtype.is_integer() and len(times):
            own = np.iinfo(str(origin.time_dtype).lower())
            if times.min() < own.min or times.max() > own.max:
                return found  # the steps go on beyond a narrow type
        found = found.cast(origin.time_dtype)
    if origin.time_native is not None and origin.time_dtype is not None:
        found = nw.from_native(found.to_native().astype(origin.time_native), series_only=True)
    return found


def as_frame(
    library: str,
    ids: Mapping[str, np.ndarray],
    time_name: str,
    times: np.ndarray,
    time_zone: str | None,
    numbers: Mapping[str, np.ndarray],
) -> Any:
    """The columns of a table as a frame of "pandas", "polars" or "pyarrow", in this order."""
    import narwhals.stable.v2 as nw

    backend: Any = library
    keys = [nw.new_series(name, one.tolist(), backend=backend) for name, one in ids.items()]
    origin = Origin(library)
    keys.append(stamps_like(origin, time_name, times, time_zone))
    frame = nw.from_dict(numbers, backend=backend).with_columns(*keys)
    return frame.select(*(key.name for key in keys), *numbers).to_native()


def _named_offset(offset: str) -> str:
    """A UTC offset as a named zone, because polars supports only those; UTC if there is none."""
    hours, rest = divmod(offset_of(offset), 3_600 * 10**9)
    return "UTC" if rest or not -14 <= -hours <= 12 else f"Etc/GMT{-hours:+d}"


def labelled(native: Any, origin: Origin) -> Any:
    """Restore the original labels of a pandas frame or series, or of a polars series without a
    name."""
    own = dict(origin.labels)
    if origin.kind != "pandas":
        named = origin.series and hasattr(native, "alias")  # a polars series, not a frame
        return native.alias(own.get(native.name, native.name)) if named else native
    if origin.indexed and native.index.name in own:
        native.index.name = own[native.index.name]
    if origin.series and native.ndim == 1:
        native.name = own.get(native.name, native.name)
    elif native.ndim == 2:
        labels = [own.get(name, name) for name in native.columns]
        width = max((len(one) for one in labels if isinstance(one, tuple)), default=0)
        if width:  # "rolled" next to labels of several levels
            labels = [
                one if isinstance(one, tuple) else (one, *[""] * (width - 1)) for one in labels
            ]
            import pandas as pd

            native.columns = pd.MultiIndex.from_tuples(labels)
        elif own:
            native.columns = labels
        if len(origin.axis) == max(width, 1):
            native = native.rename_axis(columns=list(origin.axis))
    return native
