"""Labelled series: from arrays, lists and files to one padded array.

Shapes: n cases, C channels, L time steps of the longest case.
"""

from __future__ import annotations

import gzip
import logging
import re
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.errors import DataError

__all__ = ["Cases", "as_cases", "filled", "gaps_left", "read_cases"]

log = logging.getLogger(__name__)

_SUFFIXES = (".ts", ".ts.gz", ".npz")


@dataclass(frozen=True, kw_only=True)
class Cases:
    """A set of series, one per case, with or without a label each.

    Attributes
    ----------
    values : ndarray of float32, shape (n, C, L)
        Missing values and positions past a case's own length are NaN.
    lengths : ndarray of int64, shape (n,)
        Time steps of the longest channel of each case; L is the largest of them.
    labels : ndarray of shape (n,) or None
        The labels as they were given.
    notices : tuple of str
        What was changed on the way, one sentence each.
    """

    values: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray | None
    notices: tuple[str, ...]

    def subset(self, index: np.ndarray) -> Cases:
        """The cases of these numbers, or where a mask (n,) is true."""
        labels = None if self.labels is None else self.labels[index]
        return replace(self, values=self.values[index], lengths=self.lengths[index], labels=labels)


def as_cases(X: Any, y: Any = None) -> Cases:
    """Bring series of equal or unequal length into one padded array.

    Parameters
    ----------
    X : array of shape (n, C, L) or (n, L), or sequence of arrays of shape (C, L_i) or (L_i,)
        Real numbers; never modified. Two axes in an array, or one axis in an item of a sequence,
        mean one channel. NaN up to the end of all channels means that the case ends earlier; NaN
        elsewhere is a missing value and stays (see `gaps_left` and `filled`).
    y : array-like of shape (n,), optional
        Labels of any type.

    Returns
    -------
    Cases
        A notice says how many channels end before the longest channel of their case.

    Raises
    ------
    DataError
        If there are no cases, channels or time steps, a case has no finite number, cases differ
        in their number of channels, numbers are not real or exceed float32, or the labels do not
        match the cases.
    """
    if hasattr(X, "toarray"):
        raise DataError("X is a sparse matrix; expected a dense array; use X.toarray()")
    if hasattr(X, "__array__") and not hasattr(X, "ndim"):
        X = np.asarray(X)
    ndim = getattr(X, "ndim", None)
    if ndim is not None and not (ndim == 1 and np.asarray(X).dtype == object):
        array = _real(X, "X")
        if array.ndim not in (2, 3):
            raise DataError(
                "X must have shape (n, C, L) or (n, L), or be a list of arrays (C, L_i); found an "
                f"array of shape {array.shape}. Reshape your data to cases x channels x time"
            )
        _check_not_empty(array.shape)
        values = _float32(array[:, None, :] if array.ndim == 2 else array)
    elif isinstance(X, Iterable) and not isinstance(X, str | bytes):
        values = _stacked([_one_case(item, i) for i, item in enumerate(X)])
    else:
        raise DataError(
            f"X must be an array or a list of arrays; found {type(X).__name__}; "
            "pass cases x channels x time"
        )
    return _finished(values, None if y is None else _labels(y, len(values)))


def read_cases(path: str | Path) -> Cases:
    """Read the cases of a file.

    Parameters
    ----------
    path : str or Path
        A `.ts` or `.ts.gz` text of the UEA/UCR archive, or an `.npz` with the arrays ``X``
        (see `as_cases`) and, if there are labels, ``y``. Pickled objects are never loaded.

    Returns
    -------
    Cases
        Labels of a `.ts` file are strings under ``@classLabel true``, numbers under
        ``@targetLabel true``, else None.

    Raises
    ------
    DataError
        If the file is absent, of another kind, damaged, or holds cases that cannot be used; the
        message gives the line of a `.ts` file.
    """
    path = Path(path)
    if not path.name.lower().endswith(_SUFFIXES):
        raise DataError(
            f"expected a file ending in {', '.join(_SUFFIXES)}; found {path.name!r}; "
            "convert it, or pass arrays to as_cases"
        )
    if not path.is_file():
        raise DataError(f"expected a file at {path}; found none; check the path")
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        # Comments in old archive files are not always UTF-8; the numbers are plain ASCII.
        with opener(path, "rt", encoding="utf-8-sig", errors="replace") as lines:
            values, labels = _parse_ts(lines, path)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"expected a whole gzip file at {path}; found damage ({error}); copy or fetch it again"
        ) from error
    return _finished(values, labels)


def filled(cases: Cases) -> Cases:
    """Replace missing values inside the cases' own lengths.

    Parameters
    ----------
    cases : Cases
        Not modified.

    Returns
    -------
    Cases
        NaN and infinite values before the end of a case come from linear interpolation along
        time, at either end from the nearest finite value; a notice, which is logged too, gives
        their number. The padding past the end stays NaN. Without missing values, `cases` itself.

    Raises
    ------
    DataError
        If a channel of a case has no finite number.
    """
    steps, missing = np.arange(cases.values.shape[2]), _missing(cases)
    if not missing.any():
        return cases
    unusable = np.argwhere(~np.isfinite(cases.values).any(axis=2))
    if len(unusable):
        i, c = unusable[0]
        raise DataError(
            f"every channel of every case needs a number to be filled from; found none in channel "
            f"{c} of case {i} (entirely NaN; {len(unusable)} such channels in all); leave the case "
            "or channel out, or use a network with masks=True"
        )
    values = cases.values.copy()
    for i, c in np.argwhere(missing.any(axis=2)):
        gap = missing[i, c]
        known = np.isfinite(values[i, c])
        values[i, c, gap] = np.interp(steps[gap], steps[known], values[i, c, known])
    notice = f"{int(missing.sum())} missing or infinite values were interpolated along time"
    log.warning(notice)
    return replace(cases, values=values, notices=(*cases.notices, notice))


def gaps_left(cases: Cases) -> Cases:
    """Leave missing values missing, for a network that masks them.

    Returns
    -------
    Cases
        Infinite values become NaN, and a notice, which is logged too, gives the number of values
        missing before the end of their case. Without any, `cases` itself.
    """
    missing = int(_missing(cases).sum())
    if not missing:
        return cases
    values = np.where(np.isinf(cases.values), np.float32(np.nan), cases.values)
    notice = f"{missing} missing or infinite values are masked"
    log.warning(notice)
    return replace(cases, values=values, notices=(*cases.notices, notice))


def _missing(cases: Cases) -> np.ndarray:
    """Which values (n, C, L) before the end of their case are NaN or infinite."""
    inside = np.arange(cases.values.shape[2]) < cases.lengths[:, None, None]
    return ~np.isfinite(cases.values) & inside


def _real(item: Any, what: str) -> np.ndarray:
    """The item as an array of real numbers, not copied where possible."""
    try:
        array = np.ma.filled(item.astype(float), np.nan) if np.ma.isMA(item) else np.asarray(item)
    except ValueError as error:
        raise DataError(
            f"{what} must be rectangular, channels x time; found channels of unequal length; "
            "fill the shorter ones with NaN at the end"
        ) from error
    if array.dtype.kind == "O" and array.ndim > 1:
        with suppress(TypeError, ValueError):  # numbers and None in a table of mixed columns
            array = array.astype(float)
    if array.dtype.kind not in "biuf":
        complex_ = "Complex data not supported: " if array.dtype.kind == "c" else ""
        raise DataError(
            f"{complex_}{what} must hold real numbers; found dtype {array.dtype}; convert it, for "
            "example with numpy.asarray(..., dtype=float)"
        )
    return array


def _one_case(item: Any, index: int) -> np.ndarray:
    array = _real(item, f"case {index}")
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
            f"found an empty set of shape {shape}; check how X was selected"
        )


def _float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if np.any(np.isinf(values) & np.isfinite(array)):
        raise DataError(
            f"numbers must fit float32 (at most {np.finfo(np.float32).max:.2g}); found "
            f"{np.abs(array[np.isfinite(array)]).max():.3g}; rescale the series first"
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
    values = np.full((len(arrays), len(arrays[0]), longest), np.nan, np.float32)
    for case, array in zip(values, arrays, strict=True):
        case[:, : array.shape[1]] = _float32(array)
    return values


def _labels(y: Any, n: int) -> np.ndarray:
    labels = np.asarray(y)
    if labels.ndim != 1:
        raise DataError(
            f"labels must have shape ({n},); found {labels.shape}; flatten them with numpy.ravel"
        )
    if len(labels) != n:
        raise DataError(
            f"expected one label per case; found {len(labels)} labels for {n} cases; "
            "pass X and y of the same selection"
        )
    for i, label in enumerate(labels.tolist()):
        if label is None or type(label).__name__ in ("NAType", "NaTType") or label != label:
            raise DataError(
                f"every case needs a label; found none for case {i}; leave the case out"
            )
    return labels


def _finished(values: np.ndarray, labels: np.ndarray | None) -> Cases:
    """Find the lengths of cases (n, C, L)."""
    empty = np.flatnonzero(~np.isfinite(values).any(axis=(1, 2)))
    if len(empty):
        raise DataError(
            f"every case needs a number; found none in case {empty[0]} (entirely NaN; {len(empty)} "
            "such cases in all); leave them out"
        )
    present = ~np.isnan(values)
    own = np.where(present, np.arange(1, values.shape[2] + 1, dtype=np.int32), 0).max(axis=2)
    lengths = own.max(axis=1).astype(np.int64)
    values = np.ascontiguousarray(values[:, :, : lengths.max()])
    short = int((own < lengths[:, None]).sum())
    notices = (f"{short} channels end before their case does",) if short else ()
    for notice in notices:
        log.warning(notice)
    return Cases(values=values, lengths=lengths, labels=labels, notices=notices)


# what numpy and zipfile answer damage with; NotImplementedError is a RuntimeError
_NPZ_DAMAGE = (
    *(ValueError, EOFError, TypeError, RuntimeError, OSError),
    *(zipfile.BadZipFile, zlib.error),
)


def _read_npz(path: Path) -> Cases:
    # Opened here: numpy leaves a damaged file open.
    with path.open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in ("X", "y") if key in archive}
                found = sorted(archive.files)
        except _NPZ_DAMAGE as error:
            # numpy answers a bare .npy or pickled file with an array or a ValueError about pickles.
            raise DataError(
                f"expected an .npz of plain arrays at {path}; found damage or pickled objects; "
                "save X padded with NaN and y as numbers or text using numpy.savez"
            ) from error
    if "X" not in arrays:
        raise DataError(
            f"expected an array named 'X' in {path}; found {found}; save it with "
            "numpy.savez(path, X=..., y=...)"
        )
    return as_cases(arrays["X"], arrays.get("y"))


def _parse_ts(lines: Iterable[str], path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Values padded with NaN, shape (n, C, L), and labels, shape (n,), of a `.ts` text."""
    numbered = (
        (number, line)
        for number, line in enumerate((line.strip() for line in lines), start=1)
        if line and not line.startswith("#")
    )
    header = _ts_header(numbered, path)
    class_label = header.get("classlabel", "").split()
    numbers = header.get("targetlabel", "").lower().startswith("true")
    labelled = numbers or (bool(class_label) and class_label[0].lower() == "true")
    classes = set(class_label[1:])
    dimensions = header.get("dimensions", "")
    channels = int(dimensions) if re.fullmatch(r"\d{1,9}", dimensions) else None
    if header.get("univariate", "").lower() == "true":
        channels = 1

    arrays: list[np.ndarray] = []
    labels: list[str | float] = []
    for number, line in numbered:
        fields = line.split(":")
        if labelled:
            label = fields.pop().strip()
            if not numbers and classes and label not in classes:
                raise DataError(
                    f"line {number} of {path} must end in one of the labels of its @classLabel "
                    f"line; found {label[:40]!r}; correct the line or the header"
                )
            labels.append(_ts_target(label, number, path) if numbers else label)
        channels = len(fields) if channels is None else channels
        if len(fields) != channels:
            raise DataError(
                f"line {number} of {path} must have {channels} channels separated by ':' like the "
                f"header or the lines before; found {len(fields)}; correct the line"
            )
        rows = [_ts_numbers(field, number, path) for field in fields]
        case = np.full((channels, max(map(len, rows))), np.nan)
        for channel, row in zip(case, rows, strict=True):
            channel[: len(row)] = row
        arrays.append(_float32(case))
    values = _stacked(arrays)
    return values, np.asarray(labels) if labelled else None


def _ts_header(numbered: Iterable[tuple[int, str]], path: Path) -> dict[str, str]:
    """The lower-cased ``@key value`` pairs up to ``@data``; leaves the cases in `numbered`."""
    header: dict[str, str] = {}
    for number, line in numbered:
        key, *value = line.split(maxsplit=1)
        key = key.lower()
        if key == "@data":
            break
        if not key.startswith("@"):
            raise DataError(
                f"expected header lines starting with '@' and then @data in {path}; found line "
                f"{number} before @data: {line[:40]!r}; is this a .ts file?"
            )
        header[key[1:]] = "".join(value)
    else:
        raise DataError(
            f"expected a line @data in {path}; found the end of the file; is this a .ts file?"
        )
    if header.get("timestamps", "").lower().startswith("true"):
        raise DataError(
            f"{path} says @timestamps true, which is not read; expected values without time "
            "stamps; resample to equal steps"
        )
    if all(header.get(k, "").lower().startswith("true") for k in ("classlabel", "targetlabel")):
        raise DataError(
            f"{path} says both @classLabel true and @targetLabel true; expected one of them, for a "
            "line ends in one label; correct the header"
        )
    return header


def _ts_target(text: str, number: int, path: Path) -> float:
    try:
        target = float(text)
    except ValueError:
        target = np.nan
    if not np.isfinite(target):
        raise DataError(
            f"line {number} of {path} must end in a number, the target; found {text[:40]!r}; "
            "correct the line or leave the case out"
        )
    return target


def _ts_numbers(text: str, number: int, path: Path) -> list[float]:
    try:
        return list(map(float, text.replace("?", "nan").split(",")))
    except ValueError as error:
        raise DataError(
            f"line {number} of {path} must hold numbers separated by ',' ('?' where missing); "
            f"found something else ({error}); correct the line"
        ) from error
