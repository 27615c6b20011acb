"""Whatever holds a user's table, brought to one form: times, channels and a matrix of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.data.csv_file import listing, read_csv_columns, unknown_column
from convtimenet.data.frame_columns import (
    frame_any,
    frame_floats,
    frame_ids,
    frame_times,
    holds_dates,
    numbered,
    text_times,
)
from convtimenet.data.timestamps import looks_like_date
from convtimenet.errors import DataError, MissingExtraError

__all__ = ["Columns", "Origin", "Wanted", "read_source"]

_ID_NAME, _TARGET_NAME = "unique_id", "y"  # Nixtla's names of the columns of a long table
_TIME_NAMES = ("date", "ds", "time", "timestamp", "datetime")


@dataclass(frozen=True)
class Origin:
    """What a table was read from, so that forecasts can be handed back as the same kind.

    Attributes
    ----------
    kind : str
        ``"numpy"``, ``"file"``, or the name of a dataframe library.
    time_dtype : narwhals type, optional
        Type of the caller's time column, for frames.
    indexed : bool
        Whether the times were the index of a pandas frame.
    id_dtype : narwhals type, optional
        Type of the caller's id column, for long frames.
    written : str
        The first time stamp as a file has it.
    """

    kind: str
    time_dtype: Any = None
    indexed: bool = False
    id_dtype: Any = None
    written: str = ""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which columns a source shall be read for; None where that is to be found out."""

    time: str | None = None
    targets: Sequence[str] | None = None
    id: str | None = None
    covariates: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Columns:
    """A source once its columns are known: times unsorted, values with gaps.

    Attributes
    ----------
    series : ndarray, shape (R,), optional
        Of a long source: the number of the series that each row belongs to.
    ids : ndarray, shape (S,), optional
        The series' ids, in the order of their first rows.
    covariates : dict
        (R,) each: float64 with NaN, or text as objects with None.
    offsets : tuple of str
        The UTC offsets that stamps written as text carried.
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

    @classmethod
    def without_rows(cls, times: np.ndarray, covariates: Sequence[str]) -> Columns:
        """No rows, of stamps like `times`."""
        return cls(
            times=times[:0],
            values=np.empty((0, 0)),
            channels=(),
            time_name="",
            time_zone=None,
            origin=Origin("none"),
            series=np.empty(0, dtype=np.int64),
            ids=np.empty(0, dtype=object),
            covariates={name: np.empty(0) for name in covariates},
        )


def read_source(source: Any, wanted: Wanted) -> Columns:
    """Read any source that ``tables.read_table`` takes; see there."""
    if isinstance(source, (str, Path)):
        path = Path(source)
        name = path.name.lower()
        if not name.endswith((".csv", ".csv.gz", ".parquet")):
            raise DataError(
                f"{path}: expected a table in a .csv, .csv.gz or .parquet file, found "
                f"{'a folder' if path.is_dir() else f'the ending {path.suffix!r}'}; save it as one"
            )
        if not path.is_file():
            raise DataError(f"{path}: there is no such file; check the path")
        if not name.endswith(".parquet"):
            return _from_csv(path, wanted)
        columns = _from_frame(_read_parquet(path), wanted)
        return replace(columns, origin=Origin("file"))
    if isinstance(source, np.ndarray):
        return _from_array(source, wanted)
    return _from_frame(source, wanted)


def _from_csv(path: Path, wanted: Wanted) -> Columns:
    csv = read_csv_columns(path)
    id_name = _find_id(csv.names, wanted.id)
    dates = [n for n in csv.names if n != id_name and looks_like_date(csv.cells[n][0])]
    time_name = _find_time(csv.names, wanted.time, dates)
    channels, notices = _find_targets(csv.names, time_name, id_name, wanted)
    times, zone, offsets = text_times(csv.cells[time_name], time_name, lambda i: csv.places[i])
    if csv.encoding != "utf-8":
        notices += ("the file is not UTF-8 and was read as Latin-1; check the channel names",)
    series, ids = (None, None) if id_name is None else numbered(csv.cells[id_name])
    if id_name is not None and "" in csv.cells[id_name]:
        place = csv.places[csv.cells[id_name].index("")]
        raise DataError(f"column {id_name!r}, {place}: the id is missing; every row needs one")
    return Columns(
        times=times,
        values=csv.floats(channels),
        channels=channels,
        time_name=time_name,
        time_zone=zone,
        origin=Origin("file", written=csv.cells[time_name][0]),
        notices=notices,
        series=series,
        ids=ids,
        id_name=id_name,
        covariates={name: csv.any(name) for name in wanted.covariates},
        offsets=offsets,
    )


def _read_parquet(path: Path) -> Any:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", "reading a Parquet file") from error
    try:
        return parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not readable as Parquet: {error}") from error


def _from_array(array: np.ndarray, wanted: Wanted) -> Columns:
    for what, name in (("time_col", wanted.time), ("id_col", wanted.id)):
        if name is not None:
            raise DataError(f"an array has no column {name!r}; leave out {what} or pass a frame")
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise DataError(f"expected an array of shape (T,) or (T, C), found {array.shape}")
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"expected an array of numbers, found dtype {array.dtype}; convert it, with "
            "astype(float) if it holds numbers"
        )
    values = array.reshape(len(array), -1).astype(np.float64)
    if isinstance(values, np.ma.MaskedArray):
        values = values.filled(np.nan)
    names = tuple(str(i) for i in range(values.shape[1]))
    channels, notices = _find_targets(names, None, None, wanted)
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


def _from_frame(source: Any, wanted: Wanted) -> Columns:
    import narwhals.stable.v2 as nw
    from narwhals.exceptions import DuplicateError

    try:
        frame = nw.from_native(source, eager_only=True)
        series = {str(one.name): one for one in frame.iter_columns()}
    except DuplicateError as error:
        found = " ".join(str(error).split())
        raise DataError(f"two columns have the same name; rename one of them: {found}") from error
    except TypeError:
        raise DataError(
            "expected a file path, a pandas, polars or pyarrow frame held in memory, or a numpy "
            f"array; found {type(source).__module__}.{type(source).__qualname__} (collect a lazy "
            "frame, turn a series into a frame first)"
        ) from None
    names = tuple(series)
    if len(names) < len(frame.columns):
        raise DataError(f"two columns have the same name as text; rename one: {listing(names)}")
    index = _datetime_index(frame)
    if index is None:
        _check_index(frame, names, wanted)
    if len(frame) == 0:
        raise DataError(f"expected rows, found an empty frame with the columns {listing(names)}")
    id_name = _find_id(names, wanted.id)
    by_index = wanted.time is None or wanted.time not in names
    if index is not None and by_index and wanted.time in (None, index.name):
        time_name, time_series = str(index.name or "time"), index
        channels, notices = _find_targets(names, None, id_name, wanted)
    else:
        dates = [n for n, one in series.items() if n != id_name and holds_dates(one)]
        time_name = _find_time(names, wanted.time, dates)
        time_series = series[time_name]
        channels, notices = _find_targets(names, time_name, id_name, wanted)
    times, zone, offsets = frame_times(time_series, time_name)
    dtype = time_series.dtype
    numbers_of, ids = frame_ids(series[id_name], id_name) if id_name else (None, None)
    id_dtype = series[id_name].dtype if id_name else None
    return Columns(
        times=times,
        values=np.array([frame_floats(series[name], name) for name in channels])
        .reshape(len(channels), len(frame))
        .T.copy(),
        channels=channels,
        time_name=time_name,
        time_zone=zone,
        origin=Origin(
            frame.implementation.value,
            dtype if dtype.is_temporal() or dtype.is_integer() else None,
            time_series is index,
            id_dtype,
        ),
        notices=notices,
        series=numbers_of,
        ids=ids,
        id_name=id_name,
        covariates={name: frame_any(series[name], name) for name in wanted.covariates},
        offsets=offsets,
    )


def _check_index(frame: Any, names: Sequence[str], wanted: Wanted) -> None:
    """Refuse a pandas frame whose index holds the ids, or times that are no dates."""
    import narwhals.stable.v2 as nw

    index = nw.maybe_get_index(frame)
    if index is None or (wanted.time is not None and wanted.time in names):
        return
    if type(index).__name__ == "PeriodIndex":
        raise DataError(
            "the index holds periods, expected dates; convert it with "
            "frame.set_axis(frame.index.to_timestamp())"
        )
    sought = {wanted.id or _ID_NAME, wanted.time, *_TIME_NAMES} - {None, *names}
    held = [name for name in index.names if name in sought]
    if held:
        raise DataError(
            f"the index holds {listing(held)}, expected columns; make it some with "
            "frame.reset_index()"
        )


def _datetime_index(frame: Any) -> Any:
    """The index of a pandas frame as a series if it holds dates, else None."""
    import narwhals.stable.v2 as nw

    index = nw.maybe_get_index(frame)
    if index is None or getattr(index, "nlevels", 1) > 1:
        return None
    series = nw.from_native(index.to_series(), series_only=True)
    return series if isinstance(series.dtype, nw.Datetime) else None


def _find_time(names: Sequence[str], time_col: str | None, dates: Sequence[str]) -> str:
    """Name of the time column; `dates` are the columns that hold dates."""
    if time_col is not None:
        if time_col not in names:
            raise DataError(f"time_col: {unknown_column(time_col, names)}")
        return time_col
    by_name = [name for wanted in _TIME_NAMES for name in names if name.lower() == wanted]
    if by_name:
        return by_name[0]
    if len(dates) == 1:
        return dates[0]
    found = (
        f"several columns hold dates: {listing(dates)}"
        if dates
        else "no column holds dates like 2020-01-31"
    )
    raise DataError(
        f"no time column found: none is named {', '.join(_TIME_NAMES)}, and {found}; pass "
        f"time_col=... with one of {listing(names)}, or values without times as an array"
    )


def _find_id(names: Sequence[str], id_col: str | None) -> str | None:
    """Name of the column that says which series a row belongs to; None for a wide table."""
    if id_col is None:
        return _ID_NAME if _ID_NAME in names else None
    if id_col not in names:
        raise DataError(f"id_col: {unknown_column(id_col, names)}")
    return id_col


def _find_targets(
    names: Sequence[str], time_name: str | None, id_name: str | None, wanted: Wanted
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The channels, and a notice of columns that are not used."""
    taken = {time_name: "time column", id_name: "id column"}
    for name in wanted.covariates:
        if name not in names:
            raise DataError(f"covariates: {unknown_column(name, names)}")
        if name in taken:
            raise DataError(f"covariates: {name!r} is the {taken[name]}; leave it out")
    taken |= dict.fromkeys(wanted.covariates, "covariate")
    notices = ()
    targets = wanted.targets
    if targets is None:
        targets = [name for name in names if name not in taken]
        if "" in targets:
            raise DataError(
                "a column has no name; name or remove it (pandas writes its index so unless told "
                "to_csv(index=False)), or list the channels as target_cols=[...]"
            )
        if not targets:
            raise DataError(f"expected value columns beside the time, found {listing(names)} only")
        if id_name is not None and _TARGET_NAME in targets and len(targets) > 1:
            unused = [name for name in targets if name != _TARGET_NAME]
            targets = [_TARGET_NAME]
            notices = (
                f"the column {_TARGET_NAME!r} is forecast; not used: {listing(unused)} "
                "(target_cols=[...] names several targets)",
            )
    for name in targets:
        if name not in names:
            raise DataError(f"target_cols: {unknown_column(name, names)}")
        if name in taken:
            raise DataError(f"target_cols: {name!r} is the {taken[name]}; leave it out")
    return tuple(targets), notices
