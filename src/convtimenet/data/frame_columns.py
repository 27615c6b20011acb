"""Columns of a frame, whatever library made it, as columns of ours."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from convtimenet.data.columns import ArrayColumn, CellColumn, Column

__all__ = ["column_of", "period_of"]


def column_of(series: Any, name: str) -> Column:
    """A narwhals Series as a column of ours."""
    import narwhals.stable.v2 as nw

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
        return CellColumn(name, cells)
    missing = series.is_null().to_numpy()
    none = missing if missing.any() else None
    if dtype.is_numeric() or isinstance(dtype, nw.Boolean):
        whole = dtype.is_integer() and not isinstance(dtype, (nw.UInt64, nw.UInt128, nw.Int128))
        if none is None and (whole or isinstance(dtype, nw.Boolean)):
            return ArrayColumn(name, series.to_numpy(), None, str(dtype))
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


def _arrow_cells(series: Any, name: str) -> Column:
    from convtimenet.data.columns import row_place
    from convtimenet.data.files.arrow_cells import ArrowCells

    array = series.to_arrow()
    if hasattr(array, "combine_chunks"):
        array = array.combine_chunks()
    return ArrowCells(name, array, row_place)


def _kind(series: Any) -> str:
    """The type of a column for a message, its library's own where narwhals knows none."""
    import narwhals.stable.v2 as nw

    known = not isinstance(series.dtype, nw.Unknown)
    return str(series.dtype if known else series.to_native().dtype)
