"""Convert any source of a table to times, channels and a matrix of numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.data.columns import Column, Grid, Ids
from convtimenet.data.files import check_path, is_columnar, read_columnar, read_grid
from convtimenet.data.frame_columns import Origin, column_of, period_of, stamp_type
from convtimenet.data.roles import (
    check_apart,
    check_one_series,
    find_id,
    find_targets,
    find_time,
    without_index,
)
from convtimenet.data.text.numbers import check_decimal
from convtimenet.data.text.reading import TimeReading, Times
from convtimenet.errors import DataError
from convtimenet.wording import listing

__all__ = ["Columns", "FilePart", "Origin", "Wanted", "read_source"]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The columns to read from a source, None to detect them, and the format of its cells."""

    time: Any = None
    targets: Sequence[Any] | None = None
    id: Any = None
    covariates: Sequence[Any] = ()
    texts: frozenset[str] = frozenset()
    """The covariates that are text in a fitted model."""
    usual_time: str | None = None
    """Name of the time column to prefer if `time` is None."""
    hint: str | None = None
    """Added to the error if the targets of a fitted model are missing."""
    reading: TimeReading = field(default_factory=TimeReading)
    decimal: str | None = None

    def named(self, names: dict[Any, str]) -> Wanted:
        """The same with the caller's column labels replaced by names."""

        def name(label: Any) -> Any:
            label = tuple(label) if isinstance(label, list) else label
            return names.get(label, label)

        return replace(
            self,
            time=name(self.time),
            id=name(self.id),
            targets=None if self.targets is None else [name(one) for one in self.targets],
            covariates=[name(one) for one in self.covariates],
        )


@dataclass(frozen=True)
class FilePart:
    """Some rows of a file with typed columns, as a pyarrow table, and the number of the first."""

    rows: Any
    first: int


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns read from a source: times not sorted, values with gaps.

    Attributes
    ----------
    series : ndarray, shape (R,), optional
        For a long source, the number of the series that each row belongs to.
    ids : ndarray, shape (S,), optional
        The ids of the series, in the order of their first rows.
    covariates : dict
        (R,) each: float64 with NaN, or text as objects with None.
    offsets : tuple of str
        The UTC offsets found in time stamps written as text.
    """

    times: np.ndarray
    values: np.ndarray
    channels: tuple[str, ...]
    time_name: str
    time_zone: str | None
    origin: Origin
    notices: tuple[str, ...] = ()
    series: np.ndarray | None = None
    ids: np.ndarray | None = None
    id_name: str | None = None
    covariates: dict[str, np.ndarray] = field(default_factory=dict)
    offsets: tuple[str, ...] = ()

    def of_file(self) -> Columns:
        """The same as read from a file with typed columns."""
        kept = {name: getattr(self.origin, name) for name in ("time_form", "dayfirst")}
        return replace(self, origin=Origin("file", **kept))

    @classmethod
    def without_rows(
        cls, times: np.ndarray, time_zone: str | None, covariates: Sequence[str]
    ) -> Columns:
        """An instance without rows, with the type of time stamps of `times`."""
        return cls(
            times=times[:0],
            values=np.empty((0, 0)),
            channels=(),
            time_name="",
            time_zone=time_zone,
            origin=Origin("none"),
            series=np.empty(0, dtype=np.int64),
            ids=np.empty(0, dtype=object),
            covariates={name: np.empty(0) for name in covariates},
        )


def read_source(source: Any, wanted: Wanted) -> Columns:
    """Read any source accepted by ``tables.read_table``, or the cells of a file as a `Grid`."""
    check_decimal(wanted.decimal)
    if isinstance(source, (str, Path)):
        check_path(source)
        if is_columnar(source):
            return _from_frame(read_columnar(source), wanted).of_file()
        grid = read_grid(Path(source).expanduser())
        wanted = wanted.named({})
        return _from_grid(grid, wanted, Origin("file"))
    if isinstance(source, FilePart):
        return _from_frame(source.rows, wanted, source.first).of_file()
    if isinstance(source, Grid):
        return _from_grid(source, wanted.named({}), Origin("file"))
    if isinstance(source, np.ndarray):
        return _from_array(source, wanted)
    return _from_frame(source, wanted)


def _from_grid(
    grid: Grid,
    wanted: Wanted,
    origin: Origin,
    index: Column | None = None,
    values_only: bool = False,
) -> Columns:
    """The columns of a grid by role; `index` holds the times if no column does."""
    time = wanted.usual_time if wanted.time is None else wanted.time
    names, notices = without_index(grid, time, wanted.id, wanted.targets, wanted.covariates)
    id_name = None if values_only else find_id(names, wanted.id)
    if index is not None:
        time_column, time_names = index, ()
    else:
        time_column, time_names, told = find_time(
            grid,
            names,
            wanted.time,
            id_name,
            wanted.usual_time,
            (*(wanted.targets or ()), *wanted.covariates),
        )
        notices += told
    channels, told = find_targets(
        names, time_names, id_name, wanted.targets, wanted.covariates, grid, wanted.hint
    )
    notices += told
    times = time_column.times(wanted.reading)
    if origin.kind == "file":
        origin = replace(origin, written=next(iter(time_column.first_texts(1)), ""))
    ids = None if id_name is None else grid[id_name].ids()
    rest = [name for name in names if name not in (*time_names, id_name)]
    if ids is None and channels:  # the rows of a plan are checked against their table later
        check_one_series(grid, times.times, rest, channels)
    elif ids is not None:
        check_apart(grid, times.times, ids, rest, id_name)
    how = grid.numbers(wanted.decimal, (*time_names, *([id_name] if id_name else [])))
    values = np.empty((len(times.times), len(channels)))
    for i, name in enumerate(channels):
        values[:, i], told = grid[name].numbers(how)
        notices += told
    covariates = {}
    for name in wanted.covariates:
        covariates[name], told = grid[name].covariate(how, name in wanted.texts)
        notices += told
    return _columns(times, values, channels, time_column.name, origin, ids, id_name, covariates,
                    (*grid.notices, *times.notices, *notices))  # fmt: skip


def _columns(
    times: Times,
    values: np.ndarray,
    channels: tuple[str, ...],
    time_name: str,
    origin: Origin,
    ids: Ids | None,
    id_name: str | None,
    covariates: dict[str, np.ndarray],
    notices: tuple[str, ...],
) -> Columns:
    own = None if ids is None else ids.own
    return Columns(
        times=times.times,
        values=values,
        channels=channels,
        time_name=time_name,
        time_zone=times.zone,
        origin=replace(origin, time_form=times.form, dayfirst=times.dayfirst, id_labels=own),
        notices=notices,
        series=None if ids is None else ids.of,
        ids=None if ids is None else ids.ids,
        id_name=id_name,
        covariates=covariates,
        offsets=times.offsets,
    )


def _from_array(array: np.ndarray, wanted: Wanted) -> Columns:
    for what, name in (("time_col", wanted.time), ("id_col", wanted.id)):
        if name is not None:
            raise DataError(f"an array has no column {name!r}; leave out {what} or pass a frame")
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise DataError(
            f"expected an array of shape (T,) or (T, C), found {array.shape}; reshape it to one "
            "row per time step"
        )
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"expected an array of numbers, found dtype {array.dtype}; convert it with "
            "astype(float)"
        )
    values = array.reshape(len(array), -1).astype(np.float64)
    if isinstance(values, np.ma.MaskedArray):
        values = values.filled(np.nan)
    names = tuple(str(i) for i in range(values.shape[1]))
    wanted = wanted.named(dict(enumerate(names)))
    if absent := [one for one in (*(wanted.targets or ()), *wanted.covariates) if one not in names]:
        raise DataError(
            f"the columns of an array are named by number, here {names[0]!r} to {names[-1]!r}, "
            f"found {listing(absent, 3)}; give a frame with columns of these names"
        )
    channels, notices = find_targets(names, (), None, wanted.targets, wanted.covariates)
    return Columns(
        times=np.arange(len(values), dtype=np.int64),
        values=values[:, [names.index(name) for name in channels]],
        channels=channels,
        time_name="time",
        time_zone=None,
        origin=Origin("numpy"),
        notices=notices,
        covariates={name: values[:, names.index(name)] for name in wanted.covariates},
    )


def _from_frame(source: Any, wanted: Wanted, first: int = 0) -> Columns:
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
    columns = _from_grid(grid, wanted, Origin(frame.implementation.value), time_column)
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
    columns = _from_grid(grid, wanted, origin, column_of(held, time_name), values_only=True)
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
    """Reject a pandas frame whose index holds ids, or times that are not dates."""
    import narwhals.stable.v2 as nw

    from convtimenet.data.roles import ID_NAME, TIME_NAMES

    index = nw.maybe_get_index(frame)
    if index is None or (wanted.time is not None and wanted.time in names):
        return
    sought = {wanted.id or ID_NAME, wanted.time, *TIME_NAMES} - {None, *names}
    held = [name for name in index.names if name in sought]
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
