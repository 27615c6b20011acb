"""Cases out of frames and columns of any library: a frame a case, a row a case, or cells that
hold a series each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convtimenet.data.roles import is_written_index
from convtimenet.errors import DataError
from convtimenet.wording import listing

__all__ = [
    "channels_of",
    "frame_of",
    "is_nested",
    "nested_cases",
    "one_frame",
    "rows_as_cases",
    "same_columns",
    "without_index",
]


def frame_of(item: Any) -> Any:
    """A frame (pandas, polars, pyarrow, ...) for narwhals, or None where it is none.

    Raises
    ------
    DataError
        If two of its columns have the same name.
    """
    # asked of its type: a lazy frame would be computed
    if not hasattr(type(item), "columns"):
        return None
    import narwhals.stable.v2 as nw
    from narwhals.exceptions import DuplicateError

    try:
        frame = nw.from_native(item, pass_through=True)
        frame = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
        return frame if isinstance(frame, nw.DataFrame) else None
    except DuplicateError as error:
        raise DataError(
            "two columns of a frame have the same name, expected one for each; rename one of them"
        ) from error


def without_index(frames: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """Frames without the columns under which programs write their index, and what to say of it."""
    found, left_out = [], {}
    for frame in frames:
        written = [name for name in frame.columns if is_written_index(str(name))]
        written = [name for name in written if name != ""]
        kept = len(written) == len(frame.columns)
        left_out |= {} if kept else dict.fromkeys(written)
        found.append(frame if kept or not written else frame.drop(written))
    told = f"ignored the index of a frame that was written as a column: {listing([*left_out])}"
    return found, [told] if left_out else []


def one_frame(frame: Any, place: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """A frame whose rows are time and whose columns are channels: (C, L) float64, and names."""
    columns = [_floats(column, f"{place}, column {column.name!r}") for column in _columns(frame)]
    return np.array(columns).reshape(len(columns), len(frame)), _names(frame)


def rows_as_cases(frame: Any) -> np.ndarray:
    """A frame with a case of one channel in every row: (n, L) float64."""
    columns = [_floats(column, f"column {column.name!r}") for column in _columns(frame)]
    return np.array(columns).reshape(len(columns), len(frame)).T


def is_nested(frame: Any) -> bool:
    """Whether a frame's cells are series, or its rows steps of cases (an index of two levels)."""
    if _levels(frame) > 1:
        return True
    return bool(len(frame)) and any(_is_series(column[0]) for column in _columns(frame))


def nested_cases(frame: Any) -> tuple[list[Any], tuple[str, ...]]:
    """Cases (C, L_i) of a nested frame, and the channels' names, its columns.

    Either a row is a case and each cell the series of a channel; or, in pandas, the last level of
    the index is time and those before tell the cases apart.
    """
    if _levels(frame) > 1:
        index = frame.to_native().index
        levels = [index.get_level_values(i) for i in range(index.nlevels)]
        owner = list(zip(*levels[:-1], strict=True))
        numbers: dict[Any, int] = {}
        of = np.array([numbers.setdefault(one, len(numbers)) for one in owner])
        values, names = one_frame(frame, "the frame")
        order = np.lexsort((np.argsort(levels[-1].argsort()), of))
        ends = np.cumsum(np.bincount(of))[:-1]
        return np.split(values[:, order], ends, axis=1), names
    rows = zip(*(column.to_list() for column in _columns(frame)), strict=True)
    return [channels_of(cells, f"case {i}") for i, cells in enumerate(rows)], _names(frame)


def channels_of(cells: Sequence[Any], place: str) -> np.ndarray:
    """A case (C, L) whose channels are given one by one, the shorter ones NaN at the end.

    Raises
    ------
    DataError
        If one is no series of numbers.
    """
    rows = []
    for c, cell in enumerate(cells):
        try:
            rows.append(np.asarray(cell, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{place}, channel {c}: X must hold real numbers; found {error}; convert it"
            ) from error
        if rows[-1].ndim != 1:
            raise DataError(
                f"{place}, channel {c}: expected a series of numbers, found {type(cell).__name__} "
                f"{str(cell)[:40]!r}; give every channel of every case one, or leave the column out"
            )
    case = np.full((len(rows), max(map(len, rows))), np.nan)
    for channel, row in zip(case, rows, strict=True):
        channel[: len(row)] = row
    return case


def same_columns(named: Sequence[tuple[str, ...]]) -> tuple[list[np.ndarray | None], list[str]]:
    """How the channels of each case must be taken so that all have the first one's, None for as
    they are; and what to say about it.

    Raises
    ------
    DataError
        If a case has other columns.
    """
    first, taken = named[0], []
    for i, names in enumerate(named):
        if names == first:
            taken.append(None)
        elif set(names) == set(first):
            taken.append(np.array([names.index(name) for name in first]))
        else:
            raise DataError(
                f"the columns of every case are its channels and must be the same; found "
                f"{', '.join(first)} in case 0 and {', '.join(names)} in case {i}; rename them, "
                "or leave out those that are no channels"
            )
    moved = sum(one is not None for one in taken)
    said = f"{moved} cases have their columns in another order than the first; read by name"
    return taken, [said] if moved else []


def _levels(frame: Any) -> int:
    """Levels of the index, which only pandas has."""
    return getattr(getattr(frame.to_native(), "index", None), "nlevels", 1)


def _columns(frame: Any) -> list[Any]:
    return list(frame.iter_columns())


def _names(frame: Any) -> tuple[str, ...]:
    return tuple(map(str, frame.columns))


def _is_series(cell: Any) -> bool:
    return not isinstance(cell, (str, bytes)) and hasattr(cell, "__len__")


def _floats(column: Any, place: str) -> np.ndarray:
    """A column as float64, NaN where it is null."""
    import narwhals.stable.v2 as nw

    dtype = column.dtype
    if dtype.is_numeric() or isinstance(dtype, nw.Boolean):
        return np.array(column.cast(nw.Float64).to_numpy(), dtype=np.float64)
    remedy = "convert it, or leave the column out"
    if dtype.is_temporal():
        remedy = "time is no channel: leave the column out, the rows' order says it"
    elif isinstance(dtype, (nw.Object, nw.Unknown)) or column.is_null().all():
        try:  # numbers beside None, or nothing
            return np.array(column.to_list(), dtype=np.float64)
        except (TypeError, ValueError):
            pass
    raise DataError(f"{place}: X must hold real numbers; found {dtype}; {remedy}")
