"""Shared code for files of labelled cases: the result type, text, numbers and labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from convtimenet.data.files.raw import decoded, read_bytes
from convtimenet.data.text.numbers import number_of
from convtimenet.errors import DataError

__all__ = ["CaseFile", "Task", "labels_in", "number_in", "text_of"]

Task = Literal["classify", "regress"]
MISSING = frozenset({"", "?", "nan", "na", "n/a", "null", "none", "."})
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,17})")


@dataclass(frozen=True)
class CaseFile:
    """The content of a file of n cases.

    Attributes
    ----------
    series : sequence of ndarray
        n arrays (C, L_i) of float64; NaN where a value is missing.
    labels : ndarray of shape (n,) or None
    task : {"classify", "regress"} or None
        Whether the labels are classes or numbers to predict, if the file says so.
    channels : tuple of str or None
        The C channel names, if the file has any.
    notices : tuple of str
        What was inferred when reading it.
    ids : tuple of str or None
        What the file calls its n cases, if it names them.
    """

    series: Sequence[np.ndarray]
    labels: np.ndarray | None
    task: Task | None = None
    channels: tuple[str, ...] | None = None
    notices: tuple[str, ...] = ()
    ids: tuple[str, ...] | None = None


def text_of(path: Path) -> str:
    """The decompressed and decoded text of a file.

    Raises
    ------
    DataError
        If it cannot be read or is damaged.
    """
    return decoded(read_bytes(path)[0])[0]


def number_in(cell: str, decimal: str = ".") -> float:
    """A cell as a number, NaN if it is missing.

    Raises
    ------
    ValueError
        If it is text.
    """
    text = cell.strip()
    if text.lower() in MISSING:
        return np.nan
    if decimal == "." and "_" not in text:  # the common case; float() also accepts underscores
        with suppress(ValueError):
            return float(text)
    number = number_of(text, decimal)
    if number is None:
        raise ValueError(f"could not convert string to float: {text!r}")
    return number


def labels_in(
    cells: Sequence[str], places: Sequence[str], path: Path, decimal: str = "."
) -> np.ndarray | None:
    """Labels of a file that does not declare their type, with an inferred type: integers, floats or
    text; None if no case has a label.

    Raises
    ------
    DataError
        If only some cases have a label.
    """
    texts = [cell.strip() for cell in cells]
    missing = [text.lower() in MISSING for text in texts]
    if all(missing):
        return None
    if any(missing):
        raise DataError(
            f"{path}, {places[missing.index(True)]}: every case needs a label; found "
            f"{texts[missing.index(True)]!r}; leave the case out, or rename its label"
        )
    if all(_WHOLE.fullmatch(text) for text in texts):
        return np.array(list(map(int, texts)), dtype=np.int64)
    if any(re.fullmatch(r"[+-]?0\d+", text) for text in texts):  # codes, not numbers
        return np.array(texts)
    try:
        numbers = np.array([number_in(text, decimal) for text in texts])
    except ValueError:
        return np.array(texts)
    whole = np.isfinite(numbers).all() and (np.abs(numbers) < 2**53).all()
    return numbers.astype(np.int64) if whole and (numbers == np.rint(numbers)).all() else numbers
