"""Read frames and series of pandas, polars and pyarrow, with their index and column labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from convtimenet.data.columns import Grid
from convtimenet.data.frame_columns import Origin, column_of, period_of, stamp_type
from convtimenet.data.sources.by_role import Columns, Wanted, from_grid
from convtimenet.data.sources.roles import ID_NAME
from convtimenet.data.sources.time_column import TIME_NAMES
from convtimenet.errors import DataError
from convtimenet.wording import listing

__all__ = ["from_frame"]


def from_frame(source: Any, wanted: Wanted, first: int = 0) -> Columns:
    import narwhals.stable.v2 as nw
    from narwhals.exceptions import DuplicateError

    one = _as_series(source)
    if one is not None:
        return _from_series(one, wanted)
    labels: dict[str, Any] = {}
    axis = _axis_of(source)
    try:
        if _labels_of(source) is not None:
            source, labels = _with_names(source)
        frame = nw.from_native(source, eager_only=True)
        series = {str(one.name): one for one in frame.iter_columns()}
    except DuplicateError as error:
        found = " ".join(str(error).split())
        raise DataError(f"two columns have the same name; rename one of them: {found}") from error
    except TypeError:
        raise DataError(
            "expected a file path, an in-memory pandas, polars or pyarrow frame or series, or a "
            f"numpy array; found {type(source).__module__}.{type(source).__qualname__}; collect a "
            "lazy frame, convert a list with np.array"
        ) from None
    wanted = wanted.named({label: name for name, label in labels.items()})
    names = tuple(series)
    index = _date_index(frame)
    if index is None:
        _check_index(frame, names, wanted)
    if len(frame) == 0:
        raise DataError(
            f"expected rows, found an empty frame with the columns {listing(names)}; give at least "
            "two rows"
        )
    grid = Grid(names, lambda name: column_of(series[name], name, first), len(frame))
    by_index = wanted.time is None or wanted.time not in names
    time_column, indexed = None, False
    if index is not None and by_index and wanted.time in (None, index.name, str(index.name)):
        name = "time" if index.name is None else str(index.name)
        if index.name is None or not isinstance(index.name, str):
            labels[name] = index.name
        time_column, indexed = column_of(index, name), True
    columns = from_grid(grid, wanted, Origin(frame.implementation.value), time_column)
    held = index if indexed else series.get(columns.time_name)
    ids = None if columns.id_name is None else series[columns.id_name]
    used = {columns.time_name, columns.id_name, *columns.channels}
    origin = replace(
        columns.origin,
        time_dtype=None if held is None or period_of(held) else stamp_type(held),
        period=None if held is None else period_of(held),
        indexed=indexed,
        id_dtype=None if ids is None else ids.dtype,
        id_native=None if ids is None else _native_type(ids),
        axis=axis,
        time_native=None if held is None else _extension(held),
        labels=tuple((name, label) for name, label in labels.items() if name in used),
    )
    return replace(columns, origin=origin)


def _native_type(series: Any) -> Any:
    """The pandas or pyarrow data type of a column; None for other libraries."""
    native = series.to_native()
    return getattr(
        native, {"pandas": "dtype", "pyarrow": "type"}.get(series.implementation.value, ""), None
    )


def _as_series(source: Any) -> Any:
    """A series of any library as a narwhals series, None for anything else."""
    import narwhals.stable.v2 as nw

    try:
        return nw.from_native(source, series_only=True)
    except TypeError:
        return None


def _from_series(series: Any, wanted: Wanted) -> Columns:
    """Read a series as a univariate table. The index of a pandas series holds the times (dates or
    whole numbers); other series are numbered from 0."""
    import narwhals.stable.v2 as nw

    name = "y" if series.name in (None, "") else str(series.name)
    labels = {} if name == series.name else {name: series.name}
    index = nw.maybe_get_index(series)
    if index is not None and index.nlevels > 1:
        raise DataError(
            f"the index holds {listing(index.names)}, expected one level of times; convert it to "
            "columns with series.reset_index()"
        )
    steps = nw.new_series("time", np.arange(len(series)), backend=series.implementation)
    held, indexed = steps, False
    if index is not None:
        as_series = nw.from_native(index.to_series(), series_only=True)
        column = column_of(as_series, "time")
        if not (column.holds_dates() or as_series.dtype.is_integer()):
            raise DataError(
                "the index of the series holds neither dates nor whole numbers; convert it with "
                "series.set_axis(pd.to_datetime(series.index)) or series.reset_index(drop=True)"
            )
        held, indexed = as_series, True
    time_label = getattr(index, "name", None)
    time_name = "time" if time_label is None else str(time_label)
    if indexed and time_label != time_name:
        labels[time_name] = time_label
    if time_name == name:
        raise DataError(f"the series and its index are both named {name!r}; rename one of them")
    if wanted.targets not in (None, [], ()) and list(wanted.targets) not in ([name], [series.name]):
        raise DataError(f"target_cols: the series is named {name!r}; leave target_cols out")
    if len(series) == 0:
        raise DataError("expected rows, found an empty series; give at least two")
    grid = Grid((name,), lambda name: column_of(series, name), len(series))
    # a plan with a single covariate has no targets
    wanted = replace(wanted, time=None, id=None, targets=() if wanted.targets == () else None)
    origin = Origin(series.implementation.value)
    columns = from_grid(grid, wanted, origin, column_of(held, time_name), values_only=True)
    period = period_of(held)
    origin = replace(
        columns.origin,
        series=True,
        indexed=indexed,
        time_dtype=None if period or not indexed else stamp_type(held),
        period=period,
        labels=tuple(labels.items()),
    )
    return replace(columns, origin=origin)


def _extension(series: Any) -> str | None:
    """The type of a pandas column with a nullable integer or pyarrow type, else None."""
    dtype = str(_native_type(series)) if series.implementation.is_pandas() else ""
    return dtype if re.fullmatch(r"U?Int\d+|.*\[pyarrow\]", dtype) else None


def _axis_of(source: Any) -> tuple[Any, ...]:
    """The names of the column levels of a pandas frame; empty for other frames."""
    import narwhals.stable.v2 as nw

    pandas = nw.dependencies.is_pandas_like_dataframe(source)
    names = tuple(source.columns.names) if pandas else ()
    return names if any(name is not None for name in names) else ()


def _labels_of(source: Any) -> list[Any] | None:
    """The column labels of a pandas frame if any is not text, else None."""
    import narwhals.stable.v2 as nw

    if not nw.dependencies.is_pandas_like_dataframe(source):
        return None
    labels = source.columns.tolist()
    return None if all(type(label) is str for label in labels) else labels


def _with_names(frame: Any) -> tuple[Any, dict[str, Any]]:
    """A pandas frame with column labels converted to text, and the original labels."""
    labels = frame.columns.tolist()
    names = [str(label) for label in labels]
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise DataError(f"two columns have the same name as text, {twice[0]!r}; rename one of them")
    changed = {n: label for n, label in zip(names, labels, strict=True) if type(label) is not str}
    return frame.set_axis(names, axis=1), changed


def _check_index(frame: Any, names: Sequence[str], wanted: Wanted) -> None:
    """Reject a pandas frame whose index holds ids, times that are no dates, or several levels."""
    import narwhals.stable.v2 as nw

    index = nw.maybe_get_index(frame)
    if index is None or (wanted.time is not None and wanted.time in names):
        return
    sought = {wanted.id or ID_NAME, wanted.time, *TIME_NAMES} - {None, *names}
    levels = getattr(index, "nlevels", 1)
    held = [name for name in index.names if levels > 1 or name in sought]
    if held:
        raise DataError(
            f"the index holds {listing(held)}, expected columns; convert it to columns with "
            "frame.reset_index()"
        )


def _date_index(frame: Any) -> Any:
    """The index of a pandas frame as a series if it holds dates or periods, else None."""
    import narwhals.stable.v2 as nw

    index = nw.maybe_get_index(frame)
    if index is None or getattr(index, "nlevels", 1) > 1 or len(index) == 0:
        return None
    series = nw.from_native(index.to_series(), series_only=True)
    if isinstance(series.dtype, (nw.Datetime, nw.Unknown)):
        return series if column_of(series, "time").holds_dates() else None
    return None
