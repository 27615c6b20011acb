"""Whatever holds a user's table, brought to one form: times, channels and a matrix of numbers."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.csvfile import listing, read_csv_columns, text_in_column, unknown_column
from convtimenet.errors import DataError, MissingExtraError
from convtimenet.timestamps import FIRST_YEAR, LAST_YEAR, looks_like_date, parse_times

__all__ = ["Columns", "Origin", "read_source"]

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
    """

    kind: str
    time_dtype: Any = None
    indexed: bool = False


@dataclass(frozen=True, kw_only=True)
class Columns:
    """A source once its columns are known: times unsorted, values with gaps."""

    times: np.ndarray
    values: np.ndarray
    channels: tuple[str, ...]
    time_name: str
    time_zone: str | None
    origin: Origin
    notices: tuple[str, ...] = ()


def read_source(source: Any, time_col: str | None, targets: Sequence[str] | None) -> Columns:
    """Read any source that ``tables.read_table`` takes; see there."""
    if isinstance(source, (str, Path)):
        path = Path(source)
        name = path.name.lower()
        if not name.endswith((".csv", ".csv.gz", ".parquet")):
            raise DataError(f"{path}: expected a .csv, .csv.gz or .parquet file")
        if not path.is_file():
            raise DataError(f"{path}: there is no such file; check the path")
        if not name.endswith(".parquet"):
            return _from_csv(path, time_col, targets)
        columns = _from_frame(_read_parquet(path), time_col, targets)
        return replace(columns, origin=Origin("file"))
    if isinstance(source, np.ndarray):
        return _from_array(source, time_col, targets)
    return _from_frame(source, time_col, targets)


def _from_csv(path: Path, time_col: str | None, targets: Sequence[str] | None) -> Columns:
    csv = read_csv_columns(path)
    dates = [name for name in csv.names if looks_like_date(csv.cells[name][0])]
    time_name = _find_time(csv.names, time_col, dates)
    channels = _find_targets(csv.names, time_name, targets)
    times, zone = parse_times(
        csv.cells[time_name], [f"column {time_name!r}, {place}" for place in csv.places]
    )
    notices = ()
    if csv.encoding != "utf-8":
        notices = ("the file is not UTF-8 and was read as Latin-1; check the channel names",)
    return Columns(
        times=times,
        values=csv.floats(channels),
        channels=channels,
        time_name=time_name,
        time_zone=zone,
        origin=Origin("file"),
        notices=notices,
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


def _from_array(array: np.ndarray, time_col: str | None, targets: Sequence[str] | None) -> Columns:
    if time_col is not None:
        raise DataError(f"an array has no column {time_col!r}; leave out time_col or pass a frame")
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise DataError(f"expected an array of shape (T,) or (T, C), found {array.shape}")
    if array.dtype.kind not in "biuf":
        raise DataError(f"expected an array of numbers, found dtype {array.dtype}")
    values = array.reshape(len(array), -1).astype(np.float64)
    names = tuple(str(i) for i in range(values.shape[1]))
    channels = _find_targets(names, None, targets)
    return Columns(
        times=np.arange(len(values), dtype=np.int64),
        values=values[:, [names.index(name) for name in channels]],
        channels=channels,
        time_name="time",
        time_zone=None,
        origin=Origin("numpy"),
    )


def _from_frame(source: Any, time_col: str | None, targets: Sequence[str] | None) -> Columns:
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
    if len(frame) == 0:
        raise DataError(f"expected rows, found an empty frame with the columns {listing(names)}")
    by_index = time_col is None or time_col not in names
    if index is not None and by_index and time_col in (None, index.name):
        time_name, time_series = str(index.name or "time"), index
        channels = _find_targets(names, None, targets)
    else:
        dates = [name for name, one in series.items() if _holds_dates(one)]
        time_name = _find_time(names, time_col, dates)
        time_series = series[time_name]
        channels = _find_targets(names, time_name, targets)
    times, zone = _frame_times(time_series, time_name)
    dtype = time_series.dtype
    return Columns(
        times=times,
        values=np.stack([_frame_floats(series[name], name) for name in channels], axis=1),
        channels=channels,
        time_name=time_name,
        time_zone=zone,
        origin=Origin(
            frame.implementation.value,
            dtype if dtype.is_temporal() or dtype.is_integer() else None,
            time_series is index,
        ),
    )


def _datetime_index(frame: Any) -> Any:
    """The index of a pandas frame as a series if it holds dates, else None."""
    import narwhals.stable.v2 as nw

    index = nw.maybe_get_index(frame)
    if index is None or getattr(index, "nlevels", 1) > 1:
        return None
    series = nw.from_native(index.to_series(), series_only=True)
    return series if isinstance(series.dtype, nw.Datetime) else None


def _is_text(dtype: Any) -> bool:
    import narwhals.stable.v2 as nw

    return isinstance(dtype, (nw.String, nw.Categorical, nw.Enum, nw.Object))


def _holds_dates(series: Any) -> bool:
    import narwhals.stable.v2 as nw

    if isinstance(series.dtype, (nw.Datetime, nw.Date)):
        return True
    return _is_text(series.dtype) and looks_like_date(str(series[0]))


def _frame_times(series: Any, name: str) -> tuple[np.ndarray, str | None]:
    import narwhals.stable.v2 as nw

    dtype = series.dtype
    missing = series.is_null().to_numpy()
    if missing.any():
        raise DataError(
            f"column {name!r}, row {int(np.argmax(missing))}: the time stamp is missing; every row "
            "needs one"
        )
    if dtype.is_integer():
        return series.to_numpy().astype(np.int64), None
    if _is_text(dtype):
        places = [f"column {name!r}, row {i}" for i in range(len(series))]
        return parse_times([str(cell) for cell in series.to_list()], places)
    if isinstance(dtype, nw.Date):
        dtype, series = nw.Datetime("us"), series.cast(nw.Datetime("us"))
    if not isinstance(dtype, nw.Datetime):
        raise DataError(f"column {name!r}: expected dates or integers as times, found {dtype}")
    if dtype.time_zone is not None:
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    stamps = series.to_numpy()
    years = stamps.astype("datetime64[Y]").astype(int) + 1970
    if years.min() < FIRST_YEAR or years.max() > LAST_YEAR:
        raise DataError(
            f"column {name!r}: expected years from {FIRST_YEAR} to {LAST_YEAR}, found "
            f"{years.min()} to {years.max()}"
        )
    return stamps.astype("datetime64[ns]"), dtype.time_zone


def _frame_floats(series: Any, name: str) -> np.ndarray:
    import narwhals.stable.v2 as nw

    dtype = series.dtype
    if series.is_null().all():  # of no particular type in some libraries
        return np.full(len(series), np.nan)
    if dtype.is_numeric() or isinstance(dtype, nw.Boolean):
        return np.array(series.cast(nw.Float64).to_numpy(), dtype=np.float64)
    if not _is_text(dtype):
        raise DataError(
            f"column {name!r}: expected numbers, found {dtype}; convert it or leave it out with "
            "target_cols=[...]"
        )
    values = np.full(len(series), np.nan)
    cells = series.to_list()
    for i in np.flatnonzero(~series.is_null().to_numpy()):
        cell = cells[i]
        if not isinstance(cell, (numbers.Real, Decimal, np.bool_)):
            raise text_in_column(name, f"row {i}", str(cell))
        values[i] = float(cell)
    return values


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
        f"time_col=... with one of {listing(names)}"
    )


def _find_targets(
    names: Sequence[str], time_name: str | None, targets: Sequence[str] | None
) -> tuple[str, ...]:
    if targets is None:
        targets = [name for name in names if name != time_name]
        if not targets:
            raise DataError(f"expected value columns beside the time, found {listing(names)} only")
    for name in targets:
        if name not in names:
            raise DataError(f"target_cols: {unknown_column(name, names)}")
        if name == time_name:
            raise DataError(f"target_cols: {name!r} is the time column; leave it out")
    return tuple(targets)
