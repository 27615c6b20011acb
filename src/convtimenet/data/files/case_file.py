"""What the files of labelled cases have in common: their text, and what is read out of it."""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from convtimenet.errors import DataError

__all__ = ["CaseFile", "Task", "labels_in", "number_in", "text_of"]

Task = Literal["classify", "regress"]
MISSING = frozenset({"", "?", "nan", "na", "n/a", "null", "none", "."})
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,17})")


@dataclass(frozen=True, kw_only=True)
class CaseFile:
    """What a file says of n cases.

    Attributes
    ----------
    series : sequence of ndarray
        n arrays (C, L_i) of float64; NaN where a value is missing.
    labels : ndarray of shape (n,) or None
    task : {"classify", "regress"} or None
        What the labels are, where the file says so.
    channels : tuple of str or None
        Their C names, where the file has some.
    notices : tuple of str
        What was decided in reading it.
    """

    series: Sequence[np.ndarray]
    labels: np.ndarray | None
    task: Task | None = None
    channels: tuple[str, ...] | None = None
    notices: tuple[str, ...] = ()


def text_of(path: Path) -> str:
    """The text of a file, unpacked where its name ends in .gz.

    Raises
    ------
    DataError
        If the packed file is damaged.
    """
    raw = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        try:
            raw = gzip.decompress(raw)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"expected a whole gzip file at {path}; found damage ({error}); copy or fetch it "
                "again"
            ) from error
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", errors="replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        # old archive files have comments in old encodings; Latin-1 reads any byte
        return raw.decode("latin-1")


def number_in(cell: str, decimal: str = ".") -> float:
    """The number of a cell, NaN for a missing one.

    Raises
    ------
    ValueError
        If it is text.
    """
    text = cell.strip()
    if text.lower() in MISSING:
        return np.nan
    if "_" in text:  # float() reads the underscores of Python source
        raise ValueError(f"could not convert string to float: {text!r}")
    return float(text if decimal == "." else text.replace(decimal, "."))


def labels_in(
    cells: Sequence[str], places: Sequence[str], path: Path, decimal: str = "."
) -> np.ndarray | None:
    """Labels of a file that does not say what they are, in the type that a frame would have:
    whole numbers, numbers, or text; None where every case lacks one.

    Raises
    ------
    DataError
        If only some cases have one.
    """
    texts = [cell.strip() for cell in cells]
    missing = [text.lower() in MISSING for text in texts]
    if all(missing):
        return None
    if any(missing):
        raise DataError(
            f"{path}, {places[missing.index(True)]}: every case needs a label; found none; leave "
            "the case out"
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
