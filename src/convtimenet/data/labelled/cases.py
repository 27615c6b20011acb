"""Read labelled series from arrays, lists and files into one padded array.

Shapes: n cases, C channels, L time steps of the longest case.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.data.codes import code_notices
from convtimenet.data.files import check_local
from convtimenet.data.files.arff_file import read_arff
from convtimenet.data.files.case_file import CaseFile, Task
from convtimenet.data.files.case_grid import CaseColumns
from convtimenet.data.files.case_table import read_case_table
from convtimenet.data.files.npz_file import read_npz
from convtimenet.data.files.raw import COMPRESSED
from convtimenet.data.files.ts_file import read_ts
from convtimenet.data.labelled.frames import (
    channels_of,
    detached,
    fitted_order,
    frame_of,
    is_nested,
    named_cases,
    nested_cases,
    one_frame,
    real_array,
    rows_as_cases,
    same_columns,
    without_index,
)
from convtimenet.data.labelled.labels import label_vector
from convtimenet.errors import DataError
from convtimenet.wording import advice, column_names

__all__ = ["Cases", "as_cases", "cases_in_csv", "in_channel_order", "joined", "read_cases"]

log = logging.getLogger(__name__)

_MOST_PADDED = 2**26  # values of padded cases; of more, padding must not be most
_TEXTS = {
    ".ts": read_ts,
    ".arff": read_arff,
    ".csv": read_case_table,
    ".tsv": read_case_table,
    ".txt": read_case_table,
}


@dataclass(frozen=True)
class Cases:
    """A set of cases, one series each, with or without labels.

    Attributes
    ----------
    values : ndarray of float32 or float64, shape (n, C, L)
        The values as given, float32 if that represents them all. Missing values and positions
        after the end of a case are NaN.
    lengths : ndarray of int64, shape (n,)
        Time steps of the longest channel of each case; the largest is L.
    labels : ndarray of shape (n,) or None
        The labels as given.
    notices : tuple of str
        What reading changed, one sentence each.
    channels : tuple of str or None
        The C channel names, if the data have any.
    task : {"classify", "regress"} or None
        Whether the labels are classes or numbers to predict, if the data say so.
    ids : tuple of str or None
        What the file calls the n cases, if it names them.
    """

    values: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray | None
    notices: tuple[str, ...]
    channels: tuple[str, ...] | None = None
    task: Task | None = None
    ids: tuple[str, ...] | None = None

    def subset(self, index: np.ndarray) -> Cases:
        """The cases with these numbers, or where a mask (n,) is True; L is that of the longest."""
        labels = None if self.labels is None else self.labels[index]
        ids = None if self.ids is None else tuple(np.array(self.ids, object)[index])
        lengths = self.lengths[index]
        values = np.ascontiguousarray(self.values[index][:, :, : lengths.max(initial=1)])
        return replace(self, values=values, lengths=lengths, labels=labels, ids=ids)


def as_cases(X: Any, y: Any = None) -> Cases:
    """Combine series of equal or unequal length into one padded array.

    Parameters
    ----------
    X : array of shape (n, C, L) or (n, L), or sequence of arrays of shape (C, L_i) or (L_i,)
        Real numbers; never modified. An array with two axes, or an item of a sequence with one
        axis, has a single channel. In a sequence of frames (pandas, polars, pyarrow) each frame is
        a case, with time in the rows and channels in the columns. In a single frame each row is a
        case: of one channel, or, if the cells hold series, of one channel per column; a column
        named id, label or similar has that role, as in a file (`files.case_table`). A column
        that is not numbered among others that are (sep beside t0, t1) is refused: in a file it
        would be the label. NaN at the end of all channels means that the case ends earlier; any
        other NaN is a missing value and is kept (see `gaps_left` and `filled`).
    y : array-like of shape (n,), optional
        Labels of any type; they replace those of a frame.

    Returns
    -------
    Cases
        The notices say how many channels end before the longest channel of their case, and whether
        columns were reordered to match the first case.

    Raises
    ------
    DataError
        If there are no cases, channels or time steps, a case has no finite value, cases differ
        in their number of channels or their column names, columns may be no steps, values are not
        real or exceed float32, or the labels do not match the cases.
    """
    if hasattr(X, "toarray"):
        raise DataError("X is a sparse matrix; expected a dense array; use X.toarray()")
    if isinstance(X, Mapping):
        raise DataError(
            f"X must be an array or a list of arrays; found {type(X).__name__}; give its values, "
            "as in list(X.values()), and y in the same order"
        )
    found = named_cases(X := detached(X))
    cases = _finished(*_values(X)) if found is None else _from_file(found)
    return cases if y is None else replace(cases, labels=label_vector(y, len(cases.values)))


def _values(X: Any) -> tuple[np.ndarray, tuple[str, ...] | None, list[str]]:
    """Padded values (n, C, L), the channel names if there are any, and notices."""
    frame, notices = frame_of(X), []
    if frame is not None:
        (frame,), notices = without_index([frame])
    if frame is not None and is_nested(frame):
        series, names, told = nested_cases(frame)
        return _stacked(series), names, [*notices, *told]
    if frame is not None:
        X = rows_as_cases(frame)
    elif hasattr(X, "__array__") and not hasattr(X, "ndim"):
        X = np.asarray(X)
    ndim = getattr(X, "ndim", None)
    if ndim == 2 and np.asarray(X).dtype == object and any(map(np.ndim, np.asarray(X).flat[:1])):
        return _stacked([channels_of(row, f"case {i}") for i, row in enumerate(X)]), None, []
    if ndim is not None and not (ndim == 1 and np.asarray(X).dtype == object):
        array = real_array(X, "X")
        if array.ndim not in (2, 3):
            raise DataError(
                "X must have shape (n, C, L) or (n, L), or be a list of arrays (C, L_i); found an "
                f"array of shape {array.shape}. Reshape your data to cases x channels x time"
            )
        _check_not_empty(array.shape)
        return _floats(array[:, None, :] if array.ndim == 2 else array), None, notices
    if isinstance(X, Iterable) and not isinstance(X, str | bytes):
        return _listed(list(X))
    raise DataError(
        f"X must be an array or a list of arrays; found {type(X).__name__}; "
        "pass cases x channels x time"
    )


def _listed(items: list[Any]) -> tuple[np.ndarray, tuple[str, ...] | None, list[str]]:
    """The same for a sequence of cases."""
    frames = [frame_of(item) for item in items]
    others = [i for i, frame in enumerate(frames) if frame is None]
    if len(others) == len(items):
        return _stacked([_one_case(item, i) for i, item in enumerate(items)]), None, []
    if others:
        raise DataError(
            f"cases must all be frames, time in the rows, or all arrays (C, L_i); found "
            f"{type(items[others[0]]).__name__} as case {others[0]} among frames; convert it"
        )
    frames, left_out = without_index(frames)
    read = [one_frame(frame, f"case {i}") for i, frame in enumerate(frames)]
    taken, notices = same_columns([names for _, names in read])
    series = [
        case if order is None else case[order] for (case, _), order in zip(read, taken, strict=True)
    ]
    return _stacked(series), read[0][1], [*left_out, *notices]


def read_cases(
    path: str | Path,
    label_col: str | None = None,
    *,
    id_col: str | None = None,
    ignored_cols: Any = None,
    labelled: bool = True,
) -> Cases:
    """Read the cases of a file.

    Parameters
    ----------
    path : str or Path
        A `.ts` or `.arff` file of the UEA, UCR and TSER archives; a `.csv`, `.tsv` or `.txt` table
        with one case per row or in long form (`convtimenet.data.files.case_table`); any of these
        compressed as `.gz`, `.zip`, `.xz` or `.bz2`; or an `.npz` with the arrays ``X`` (see
        `as_cases`) and, if there are labels, ``y``. Pickled objects are never loaded.
    label_col : str, optional
        The label column of a table, if it is not detected.
    id_col : str, optional
        The column of a table that names the cases, if it is not detected; of rows with the same
        name each is a time step of one case.
    ignored_cols : str or list of str, optional
        Columns of a table that are neither labels nor values.
    labelled : bool
        Whether labels are expected; where they are not, there is no notice if there are none.

    Returns
    -------
    Cases
        The labels of a `.ts` file are strings with ``@classLabel true``, numbers with
        ``@targetLabel true``, else None. Those of an `.arff` file are strings if the attribute
        lists its values. Those of a table are integers, floats or strings, as written.

    Raises
    ------
    DataError
        If the file does not exist, has another format, is damaged, or holds unusable cases; for a
        text file the message gives the line.
    """
    check_local(path)
    path = Path(path).expanduser()
    name = path.name.lower()
    packed = Path(name).suffix in COMPRESSED
    kind = Path(Path(name).stem if packed else name).suffix
    if path.is_dir():
        raise DataError(f"expected a file at {path}; found a folder; give one of the files in it")
    if kind not in (*_TEXTS, ".npz") or (kind == ".npz" and packed):
        raise DataError(
            f"expected a file ending in {', '.join(_TEXTS)} (or these with "
            f"{', '.join(COMPRESSED)}) or .npz; found {path.name!r}; convert it"
            + advice(", or pass arrays to as_cases", "")
        )
    if not path.is_file():
        raise DataError(f"expected a file at {path}; found none; check the path")
    table = _TEXTS.get(kind) is read_case_table
    chosen = CaseColumns(label_col, id_col, column_names("ignored_cols", ignored_cols), labelled)
    if chosen.named() and not table:
        raise DataError(
            advice(chosen.named()[0][1], "the choice of columns")
            + f" names a column of a table, but {path.name} already defines its labels; leave it "
            "out"
        )
    if kind == ".npz":
        return as_cases(*read_npz(path))
    found = read_case_table(path, chosen) if table else _TEXTS[kind](path)
    if not len(found.series):
        raise DataError(
            f"{path}: expected at least one case; found an empty file; add one per line"
        )
    return _from_file(found)


def cases_in_csv(name: str, content: bytes) -> Cases:
    """The cases of a `.csv` table that is in memory; `name` is what messages call it."""
    return _from_file(read_case_table(Path(f"{name}.csv"), raw=content))


def _from_file(found: CaseFile) -> Cases:
    values = _stacked(found.series)
    made = _finished(values, found.channels, found.notices)
    return replace(made, labels=found.labels, task=found.task, ids=found.ids)


def joined(parts: Sequence[Cases]) -> Cases:
    """The cases of several sets with the same channels as one, without labels."""
    if len(parts) == 1:
        return parts[0]
    n, longest = sum(len(one.values) for one in parts), max(one.values.shape[2] for one in parts)
    kind = np.result_type(*(one.values.dtype for one in parts))
    values, at = np.full((n, parts[0].values.shape[1], longest), np.nan, kind), 0
    for one in parts:
        values[at : at + len(one.values), :, : one.values.shape[2]] = one.values
        at += len(one.values)
    return Cases(
        values=values,
        lengths=np.concatenate([one.lengths for one in parts]),
        labels=None,
        notices=tuple(dict.fromkeys(notice for one in parts for notice in one.notices)),
        channels=parts[0].channels,
    )


def in_channel_order(cases: Cases, channels: tuple[str, ...] | None) -> Cases:
    """Cases with their channels in the order of the fitted ones, as `fitted_order` finds it.

    Raises
    ------
    DataError
        As `fitted_order`.
    """
    order = fitted_order(cases.channels, channels)
    if channels is None or order is None:
        return cases
    notice = f"channels were reordered as in training: {', '.join(channels)}"
    notices = (*cases.notices, notice)
    return replace(cases, values=cases.values[:, order], channels=channels, notices=notices)


def _one_case(item: Any, index: int) -> np.ndarray:
    array = real_array(item, f"case {index}")
    if array.ndim not in (1, 2):
        raise DataError(
            f"case {index} must have shape (C, L) or (L,); found {array.shape}; "
            "pass one array per case"
        )
    return array[None] if array.ndim == 1 else array


def _check_not_empty(shape: tuple[int, ...]) -> None:
    if 0 in shape:
        raise DataError(
            "expected at least one case, one channel and one time step; "
            f"found an empty set of shape {shape}; "
            + advice("check how X was selected", "add what is missing")
        )


def _floats(array: np.ndarray) -> np.ndarray:
    """The values as float32 if their type fits, else as float64.

    Raises
    ------
    DataError
        If a value exceeds float32, in which the network reads unscaled values.
    """
    single = np.result_type(array, np.float32) == np.float32
    values = array.astype(np.float32 if single else np.float64)
    size = np.abs(values, where=np.isfinite(values), out=np.zeros_like(values))
    if size.max() > np.finfo(np.float32).max:
        raise DataError(
            f"numbers must fit float32 (at most {np.finfo(np.float32).max:.2g}); found "
            f"{size.max():.3g}; rescale the series first"
        )
    return values


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Pad arrays of shape (C, L_i) with NaN at the end to one of shape (n, C, L)."""
    if not arrays:
        _check_not_empty((0,))
    for i, array in enumerate(arrays):
        _check_not_empty((len(arrays), *array.shape))
        if len(array) != len(arrays[0]):
            raise DataError(
                f"all cases must have the same number of channels; found {len(arrays[0])} in case "
                f"0 and {len(array)} in case {i}; leave out or add channels"
            )
    longest = max(array.shape[1] for array in arrays)
    padded = len(arrays) * len(arrays[0]) * longest
    if padded > max(_MOST_PADDED, 20 * sum(array.size for array in arrays)):
        raise DataError(
            f"the longest case has {longest} steps, and padding all {len(arrays)} cases to it "
            f"would take {padded} values; leave out cases of such a length, or split them"
        )
    given = [_floats(array) for array in arrays]
    values = np.full(
        (len(given), len(given[0]), longest), np.nan, np.result_type(*(one.dtype for one in given))
    )
    for case, array in zip(values, given, strict=True):
        case[:, : array.shape[1]] = array
    return values


def _finished(
    values: np.ndarray, channels: tuple[str, ...] | None, notices: Sequence[str]
) -> Cases:
    """Find the length of each case of (n, C, L) and build the `Cases`, without labels."""
    empty = np.flatnonzero(~np.isfinite(values).any(axis=(1, 2)))
    if len(empty):
        raise DataError(
            f"every case needs a finite value; found none in case {empty[0]} (all missing or "
            f"infinite; {len(empty)} such cases in total); leave them out"
        )
    present = ~np.isnan(values)
    own = np.where(present, np.arange(1, values.shape[2] + 1, dtype=np.int32), 0).max(axis=2)
    lengths = own.max(axis=1).astype(np.int64)
    values = np.ascontiguousarray(values[:, :, : lengths.max()])
    short = int((own < lengths[:, None]).sum())
    if short:
        notices = [*notices, f"{short} channels end before the longest channel of their case"]
    names = channels or range(values.shape[1])
    named = {f"channel {one!r}": values[:, c] for c, one in enumerate(names)}
    notices = [*notices, *code_notices(named)]
    for notice in notices:
        log.warning(notice)
    return Cases(values, lengths, None, tuple(notices), channels)
