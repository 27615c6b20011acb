"""Arrays in temporary files that the system maps into memory as they are read.

The files have no name (on Windows they are deleted when they are closed), so nothing is left behind
when an array is gone, however the process ended. They lie in the folder of `tempfile`, which the
environment variable TMPDIR sets.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from convtimenet.errors import DataError

__all__ = [
    "CHUNK",
    "Growing",
    "among",
    "blocks",
    "empty",
    "is_mapped",
    "ranges",
    "reserve",
    "spans",
]

CHUNK = 2**20
"""Rows that are worked on at once."""


class Growing:
    """Rows of numbers that are appended to a temporary file.

    Parameters
    ----------
    dtype
        Of the numbers.
    columns
        Shape of a row: () or (C,).
    """

    def __init__(self, dtype: Any, columns: tuple[int, ...] = ()):
        self.dtype, self.columns, self.rows = np.dtype(dtype), columns, 0
        self._file = _file()

    def append(self, rows: np.ndarray) -> None:
        """Append rows (n, *columns).

        Raises
        ------
        DataError
            If the disk is full.
        """
        assert rows.shape[1:] == self.columns
        data = np.ascontiguousarray(rows, dtype=self.dtype)
        with _room(data.nbytes):
            self._file.write(data.reshape(-1).view(np.uint8).data)
        self.rows += len(rows)

    def array(self) -> np.ndarray:
        """All rows, read only; the last call."""
        with _room(0):
            self._file.flush()
        shape = (self.rows, *self.columns)
        with self._file as file:  # the map keeps what it needs
            if not self.rows:  # a file without a byte cannot be mapped
                return np.empty(shape, self.dtype)
            return np.memmap(file, dtype=self.dtype, mode="r", shape=shape)

    def close(self) -> None:
        """Give up the file, if `array` was not called."""
        self._file.close()


def empty(shape: Sequence[int], dtype: Any, mapped: bool) -> np.ndarray:
    """An array to be filled: in a temporary file if it is to be `mapped`, else in memory.

    Raises
    ------
    DataError
        If the disk is full.
    """
    shape, size = tuple(shape), int(np.prod(shape)) * np.dtype(dtype).itemsize
    if not mapped or not size:
        return np.empty(shape, dtype)
    with _file() as file:
        reserve(file, size)
        return np.memmap(file, dtype=dtype, mode="r+", shape=shape)


def reserve(file: IO[bytes], size: int) -> None:
    """Give an empty file its size.

    Raises
    ------
    DataError
        If the disk is full.
    """
    with _room(size):
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is told now, not by SIGBUS
        else:
            file.truncate(size)


def is_mapped(values: np.ndarray) -> bool:
    """Whether an array lies in a file."""
    return isinstance(values, np.memmap)


def blocks(rows: int) -> Iterator[slice]:
    """Consecutive rows of an array, `CHUNK` at once."""
    for first in range(0, rows, CHUNK):
        yield slice(first, min(rows, first + CHUNK))


def spans(lengths: np.ndarray) -> Iterator[tuple[int, int]]:
    """Numbers [a, b) of consecutive series, given their lengths (S,), that have about `CHUNK` rows
    together, at least one series each."""
    ends, first = np.cumsum(lengths), 0
    while first < len(lengths):
        done = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
        yield first, last
        first = last


def ranges(first: np.ndarray, end: np.ndarray, mapped: bool = False) -> np.ndarray:
    """The integers of several half-open ranges with bounds (S,) and (S,), concatenated."""
    lengths = end - first
    found, at = empty((int(lengths.sum()),), np.int64, mapped), 0
    for a, b in spans(lengths):
        own = lengths[a:b]
        part = found[at : at + int(own.sum())]
        part[:] = np.repeat(end[a:b] - np.cumsum(own), own)
        part += np.arange(len(part))
        at += len(part)
    return found


def among(numbers: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Whether each of some numbers (n,) is among others, which are sorted."""
    at = np.searchsorted(known, numbers).clip(max=len(known) - 1)
    return known[at] == numbers


def _file() -> IO[bytes]:
    return tempfile.TemporaryFile(prefix="convtimenet-")


@contextmanager
def _room(size: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{tempfile.gettempdir()}: expected room for temporary files, of another {size:,} "
            f"bytes now, found {error.strerror}; make room, or set the environment variable TMPDIR "
            "to a folder with more"
        ) from error
