"""Columns of a frame, whatever library made it, as columns of ours; and back."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from convtimenet.data.columns import ArrayColumn, CellColumn, Column, row_place
from convtimenet.data.text.whole_times import to_whole
from convtimenet.data.timestamps import offset_of

__all__ = ["Origin", "column_of", "labelled", "period_of", "stamp_type", "stamps_like"]


@dataclass(frozen=True)
class Origin:
    """What a table was read from, so that forecasts can be handed back as the same kind.

    Attributes
    ----------
    kind : str
        ``"numpy"``, ``"file"``, or the name of a dataframe library.
    time_dtype : narwhals type, optional
        Type of the caller's time column, for frames.
    time_native : str, optional
        The name of that type in pandas, where it is one of its extensions.
    indexed : bool
        Whether the times were the index of a pandas frame or series.
    id_dtype : narwhals type, optional
        Type of the caller's id column, for long frames.
    series : bool
        Whether it was a series, a table of one channel.
    period : str, optional
        The step of pandas' periods, where the times were such.
    time_form : str, optional
        How whole numbers said dates (`convtimenet.data.text.whole_times`).
    id_native : optional
        The type of the ids in the words of pandas or pyarrow, which say more.
    id_labels : dict, optional
        The caller's own ids by those of the table, where they are neither text nor whole numbers.
    time_zone : str, optional
        Zone of the caller's stamps, where the table keeps the clock of another.
    written : str
        The first time stamp as a file has it.
    labels : tuple of (str, object)
        The caller's own labels of columns, where they are not the text that names them here: whole
        numbers, tuples, and None for an index or a series without a name.
    axis : tuple
        The names that pandas has for the levels of these labels, if any has one.
    """

    kind: str
    time_dtype: Any = None
    time_native: str | None = None
    indexed: bool = False
    id_dtype: Any = None
    series: bool = False
    period: str | None = None
    time_form: str | None = None
    id_native: Any = None
    id_labels: Mapping[Any, Any] | None = None
    time_zone: str | None = None
    written: str = ""
    labels: tuple[tuple[str, Any], ...] = ()
    axis: tuple[Any, ...] = ()


def column_of(series: Any, name: str) -> Column:
    """A narwhals Series as a column of ours."""
    import narwhals.stable.v2 as nw

    kind = getattr(series.to_native(), "type", None)  # of pyarrow, whose dictionaries are no type
    if str(kind).startswith("dictionary"):
        plain = series.to_native().cast(kind.value_type)  # pyright: ignore[reportOptionalMemberAccess]
        series = nw.from_native(plain, series_only=True)
    if str(kind) == "date64[ms]":
        series = nw.from_native(series.to_native().cast("timestamp[ms]"), series_only=True)
    dtype = series.dtype
    if series.is_null().all():  # of no particular type in some libraries
        empty = np.full(len(series), np.nan)
        return ArrayColumn(name, empty, np.ones(len(series), bool), _kind(series))
    if isinstance(dtype, nw.String) and "pyarrow" in sys.modules:
        return _arrow_cells(series, name)
    if isinstance(dtype, (nw.String, nw.Categorical, nw.Enum, nw.Object)):
        cells = series.to_list()
        if isinstance(dtype, nw.Object):
            null = series.is_null().to_list()
            cells = [None if missing else cell for cell, missing in zip(cells, null, strict=True)]
        return CellColumn(name, cells, typed=True)
    missing = series.is_null().to_numpy()
    none = missing if missing.any() else None
    if dtype.is_numeric() or isinstance(dtype, nw.Boolean):
        whole = dtype.is_integer() and not isinstance(dtype, (nw.UInt64, nw.UInt128, nw.Int128))
        if none is None and (whole or isinstance(dtype, nw.Boolean)):
            return ArrayColumn(name, series.to_numpy(), None, str(dtype))
        if isinstance(dtype, (nw.UInt64, nw.UInt128, nw.Int128)) and series.max() >= 2**63:
            return CellColumn(name, series.to_list(), typed=True)  # float64 would round them
        values = np.array(series.cast(nw.Float64).to_numpy(), dtype=np.float64)
        if none is None and dtype.is_integer() and values.max() < 2**63:
            values = series.cast(nw.Int64).to_numpy()
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


def period_of(series: Any) -> str | None:
    """The step of a column of pandas' periods; None for any other column."""
    dtype = str(getattr(series.to_native(), "dtype", ""))
    return dtype[len("period[") : -1] if dtype.startswith("period[") else None


def stamp_type(series: Any) -> Any:
    """The narwhals type of a column's stamps, also where narwhals itself knows none."""
    import narwhals.stable.v2 as nw

    if isinstance(series.dtype, nw.Unknown):
        native = _native_stamps(series)
        if native is not None and native[1] is not None:
            return nw.Datetime(native[0].dtype.time_unit, native[1])
    dtype = series.dtype
    return dtype if dtype.is_temporal() or dtype.is_integer() else None


def _native_stamps(series: Any) -> tuple[Any, str | None] | None:
    """Stamps in UTC and their zone through the frame's own library: narwhals reads the zone out of
    the type's name, and knows names of letters only. Periods begin with their first stamp."""
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
    """The type of a column for a message, its library's own where narwhals knows none."""
    import narwhals.stable.v2 as nw

    if not isinstance(series.dtype, nw.Unknown):
        return str(series.dtype)
    native = series.to_native()
    return str(getattr(native, "dtype", None) or native.type)


def stamps_like(origin: Origin, name: str, times: np.ndarray, time_zone: str | None) -> Any:
    """Times (T,), as a `Table` has them, as a narwhals series of the kind that they came as."""
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
        found = found.cast(origin.time_dtype)
    if origin.time_native is not None and origin.time_dtype is not None:
        found = nw.from_native(found.to_native().astype(origin.time_native), series_only=True)
    return found


def _named_offset(offset: str) -> str:
    """A UTC offset as a zone with a name, where there is one (polars knows no others)."""
    hours, rest = divmod(offset_of(offset), 3_600 * 10**9)
    return "UTC" if rest or not -14 <= -hours <= 12 else f"Etc/GMT{-hours:+d}"


def labelled(native: Any, origin: Origin) -> Any:
    """A frame or series with the caller's own labels in place of their text: of pandas, and a
    series without a name of polars."""
    own = dict(origin.labels)
    if origin.kind != "pandas":
        named = origin.series and hasattr(native, "alias")  # a series of polars, no frame
        return native.alias(own.get(native.name, native.name)) if named else native
    if origin.indexed and native.index.name in own:
        native.index.name = own[native.index.name]
    if origin.series and native.ndim == 1:
        native.name = own.get(native.name, native.name)
    elif native.ndim == 2:
        labels = [own.get(name, name) for name in native.columns]
        width = max((len(one) for one in labels if isinstance(one, tuple)), default=0)
        if width:  # such as "rolled" beside labels of several levels
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
