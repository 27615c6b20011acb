"""Read cases from arrays, and from frames of any library: one case per frame, one case per row, or
one series per cell."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.data.files.case_file import CaseFile
from convtimenet.data.files.case_grid import IDS, LABELS, CaseGrid
from convtimenet.data.files.case_table import cases_of, check_numbered
from convtimenet.data.files.stamped import moments_of, numbers_of, on_grid
from convtimenet.data.sources.roles import is_written_index
from convtimenet.errors import DataError
from convtimenet.names import key_of
from convtimenet.wording import advice, listing

__all__ = [
    "channels_of",
    "detached",
    "fitted_order",
    "frame_of",
    "is_nested",
    "named_cases",
    "nested_cases",
    "one_frame",
    "real_array",
    "rows_as_cases",
    "same_columns",
    "values_of",
    "without_index",
]


def frame_of(item: Any) -> Any:
    """A frame (pandas, polars, pyarrow, ...) as a narwhals frame, or None for anything else.

    Raises
    ------
    DataError
        If two of its columns have the same name.
    """
    # ask the type: the attribute of a lazy frame would trigger a computation
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
            "two columns of a frame have the same name, expected unique names; rename one of them"
        ) from error


def without_index(frames: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """The frames without columns that are a written index, and a notice about them."""
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
    """A frame with time in the rows and channels in the columns: (C, L) float64, and names."""
    columns = [_floats(column, f"{place}, column {column.name!r}") for column in _columns(frame)]
    return np.array(columns).reshape(len(columns), len(frame)), _names(frame)


def rows_as_cases(frame: Any) -> np.ndarray:
    """A frame with one univariate case per row: (n, L) float64.

    Raises
    ------
    DataError
        If a cell is no number, or a column is not numbered as others are, which in a file would be
        the label.
    """
    columns = [_floats(column, f"column {column.name!r}") for column in _columns(frame)]
    check_numbered(_names(frame), "X")
    return np.array(columns).reshape(len(columns), len(frame)).T


def named_cases(X: Any) -> CaseFile | None:
    """The cases of a frame with columns of ids or labels, which their names tell, as of a file with
    these columns; None for anything else.

    Raises
    ------
    DataError
        As `read_case_table`.
    """
    frame = frame_of(X)
    if frame is None or is_nested(frame):
        return None
    (frame,), notices = without_index([frame])
    if not _names_or_labels(frame):
        return None
    places = [f"row {i}" for i in range(len(frame))]
    grid = _FrameGrid(
        names=_names(frame),
        rows=[],
        places=places,
        decimal=".",
        path=Path("X"),
        notices=tuple(notices),
        option=False,
        guess=False,
        columns=_columns(frame),
    )
    return cases_of(grid)


def values_of(X: Any) -> Any:
    """A frame with a case per row without its columns of ids, labels and a written index; None if
    it has several rows per id, and anything else as it is."""
    frame = frame_of(X)
    if frame is None:
        return X
    (frame,), _ = without_index([frame])
    named = _names_or_labels(frame)
    ids = [name for name in named if key_of(str(name)) in IDS]
    if ids and not is_nested(frame) and frame[ids[0]].n_unique() < len(frame):
        return None
    return frame.drop(named).to_native()


def _names_or_labels(frame: Any) -> list[str]:
    """The columns of ids and labels, by their names; none if nothing else could be the data."""
    found = [name for name in frame.columns if key_of(str(name)) in IDS | LABELS]
    return found if len(found) < len(frame.columns) else []


@dataclass(frozen=True)
class _FrameGrid(CaseGrid):
    """The cells of a frame."""

    columns: list[Any] = field(default_factory=list)
    texts: dict[int, list[str]] = field(default_factory=dict)
    """Columns as text, made on demand."""
    values: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict)
    """Numbers (n, columns), made on demand."""

    def column(self, at: int) -> list[str]:
        if at not in self.texts:
            cells = self.columns[at].to_list()
            self.texts[at] = ["" if cell is None else str(cell) for cell in cells]
        return self.texts[at]

    def numbers(self, row: int, columns: Sequence[int]) -> np.ndarray:
        key = tuple(columns)
        if key not in self.values:
            read = [(one := self.columns[at], f"column {one.name!r}") for at in key]
            self.values[key] = np.stack([_floats(*each) for each in read], axis=1)
        return self.values[key][row]

    def points(self, columns: Sequence[int]) -> list[str]:
        return []  # numbers of a frame have no decimal mark


def is_nested(frame: Any) -> bool:
    """Whether the cells of a frame are series, or its index has a case level and a time level."""
    if _levels(frame) > 1:
        return True
    return bool(len(frame)) and any(_is_series(column[0]) for column in _columns(frame))


def nested_cases(frame: Any) -> tuple[list[Any], tuple[str, ...], list[str]]:
    """The cases (C, L_i) of a nested frame, the channel names, which are its columns, and notices.

    Either each row is a case and each cell the series of a channel; or, in pandas, the last level
    of the index is time and the levels before it identify the case. Steps of these that have no
    row are NaN.

    Raises
    ------
    DataError
        If a time occurs twice in a case, or times are not regular.
    """
    if _levels(frame) < 2:
        rows = zip(*(column.to_list() for column in _columns(frame)), strict=True)
        cases = [channels_of(cells, f"case {i}") for i, cells in enumerate(rows)]
        return cases, _names(frame), []
    index = frame.to_native().index
    levels = [index.get_level_values(i) for i in range(index.nlevels)]
    owner = list(zip(*levels[:-1], strict=True))
    numbers: dict[Any, int] = {}
    of = np.array([numbers.setdefault(one, len(numbers)) for one in owner])
    values, names = one_frame(frame, "the frame")
    moments, notices = _moments(levels[-1])
    order = np.lexsort((_ranks(levels[-1]) if moments is None else moments, of))
    ends = np.cumsum(np.bincount(of))[:-1]
    cases = np.split(values[:, order], ends, axis=1)
    if moments is None:
        return cases, names, notices
    stamps = [[one] * len(values) for one in np.split(moments[order], ends)]
    places = [f"the frame, case {', '.join(map(str, one))}" for one in numbers]
    cases, told = on_grid(stamps, [list(one) for one in cases], places)
    return cases, names, [*notices, *told]


def _moments(level: Any) -> tuple[np.ndarray | None, list[str]]:
    """The times (R,) of the last level of an index as integers, and notices; None for labels that
    are no times, whose rows keep their order."""
    if level.hasnans:
        raise DataError("the frame: a time of the index is missing; every row needs one")
    if level.dtype.kind == "M":
        zone = getattr(level, "tz", None)
        local = level if zone is None else level.tz_convert(None)
        return moments_of(local.to_numpy().astype("M8[ns]")), []
    if hasattr(level, "asi8"):  # periods and durations
        return np.asarray(level.asi8), []
    labels = level.tolist()
    ordered = getattr(level, "ordered", False)
    if ordered or not all(isinstance(one, (str, Real)) for one in labels):
        return None, []
    # a float such as 0.1 + 0.2 counts as the number that it stands for
    texts = [one.strip() if isinstance(one, str) else f"{one:.12g}" for one in labels]
    if level.dtype.kind in "iu":
        texts = list(map(str, labels))
    try:
        return numbers_of(texts, ["the frame"] * len(texts))
    except DataError:
        if not isinstance(labels[0], str):
            raise
    return None, []


def _ranks(level: Any) -> np.ndarray:
    """Numbers (R,) that increase along labels without times: text has no order but that of its
    rows."""
    text = not getattr(level, "ordered", False) and all(isinstance(x, str) for x in level.tolist())
    return np.arange(len(level)) if text else np.argsort(level.argsort())


def channels_of(cells: Sequence[Any], place: str) -> np.ndarray:
    """A case (C, L) from a sequence of channels; shorter ones are padded with NaN at the end.

    Raises
    ------
    DataError
        If a channel is not a series of numbers.
    """
    rows = []
    for c, cell in enumerate(cells):
        try:
            rows.append(np.asarray(detached(cell), dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{place}, channel {c}: X must hold real numbers; found {error}; convert it"
            ) from error
        if rows[-1].ndim != 1:
            raise DataError(
                f"{place}, channel {c}: expected a series of numbers, found {type(cell).__name__} "
                f"{str(cell)[:40]!r}; give a series for every channel of every case, or leave the "
                "column out"
            )
    case = np.full((len(rows), max(map(len, rows))), np.nan)
    for channel, row in zip(case, rows, strict=True):
        channel[: len(row)] = row
    return case


def same_columns(named: Sequence[tuple[str, ...]]) -> tuple[list[np.ndarray | None], list[str]]:
    """For each case the order of channels that matches the first case, None if it already does;
    and a notice.

    Raises
    ------
    DataError
        If the cases do not all have the same columns.
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
                "or leave out those that are not channels"
            )
    moved = sum(one is not None for one in taken)
    said = f"{moved} cases have their columns in a different order; columns are matched by name"
    return taken, [said] if moved else []


def detached(item: Any) -> Any:
    """A tensor of any device, graph and precision as an array; anything else as it is."""
    if not hasattr(type(item), "detach"):
        return item
    item = item.detach().cpu()
    try:
        return np.asarray(item)
    except TypeError:  # a kind of number that numpy lacks, such as bfloat16
        return np.asarray(item.float())


def real_array(item: Any, what: str) -> np.ndarray:
    """The item as an array of real numbers, not copied where possible.

    Raises
    ------
    DataError
        If it is not rectangular, or holds anything else.
    """
    lists = isinstance(item, (list, tuple))
    item = [detached(one) for one in item] if lists else detached(item)
    try:
        array = np.ma.filled(item.astype(float), np.nan) if np.ma.isMA(item) else np.asarray(item)
    except ValueError as error:
        raise DataError(
            f"{what} must be rectangular, channels x time; found channels of unequal length; "
            "fill the shorter ones with NaN at the end"
        ) from error
    if array.dtype.kind == "O":
        with suppress(TypeError, ValueError):  # numbers and None in a table of mixed columns
            array = array.astype(float)
    if array.dtype.kind not in "biuf":
        complex_ = "Complex data not supported: " if array.dtype.kind == "c" else ""
        raise DataError(
            f"{complex_}{what} must hold real numbers; found dtype {array.dtype}; convert it, for "
            "example with numpy.asarray(..., dtype=float)"
        )
    return array


def fitted_order(
    found: tuple[str, ...] | None, fitted: tuple[str, ...] | None
) -> np.ndarray | None:
    """The order of channels named `found` that matches those named `fitted`; None if it already
    does, if either have no names, and if one has names and the other only its numbers.

    Raises
    ------
    DataError
        If they are as many, but have other names.
    """
    if fitted is None or found is None or found == fitted or len(found) != len(fitted):
        return None
    if set(found) == set(fitted):
        return np.array([found.index(name) for name in fitted])
    if tuple(map(str, range(len(found)))) in (found, fitted):
        return None
    raise DataError(
        f"the model was fitted to cases with the channels {', '.join(fitted)}; found "
        f"{', '.join(found)}; rename them, or "
        + advice("give arrays (C, L) in the fitted order", "send lists in the fitted order as JSON")
    )


def _levels(frame: Any) -> int:
    """Number of index levels; 1 outside pandas."""
    return getattr(getattr(frame.to_native(), "index", None), "nlevels", 1)


def _columns(frame: Any) -> list[Any]:
    return list(frame.iter_columns())


def _names(frame: Any) -> tuple[str, ...]:
    return tuple(map(str, frame.columns))


def _is_series(cell: Any) -> bool:
    return not isinstance(cell, (str, bytes)) and hasattr(cell, "__len__")


def _floats(column: Any, place: str) -> np.ndarray:
    """A column as float64, with NaN for null."""
    import narwhals.stable.v2 as nw

    dtype = column.dtype
    if dtype.is_numeric() or isinstance(dtype, nw.Boolean):
        return np.array(column.cast(nw.Float64).to_numpy(), dtype=np.float64)
    remedy = "convert it, or leave the column out"
    if dtype.is_temporal():
        remedy = "time is not a channel: leave the column out, the order of the rows is enough"
    elif isinstance(dtype, (nw.Object, nw.Unknown)) or column.is_null().all():
        try:  # numbers and None, or only None
            return np.array(column.to_list(), dtype=np.float64)
        except (TypeError, ValueError):
            pass
    raise DataError(f"{place}: X must hold real numbers; found {dtype}; {remedy}")
