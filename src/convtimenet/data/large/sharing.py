"""What several processes of one machine share out of a large table: each reads and computes some of
the series, and all see the result in one file."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from convtimenet import processes
from convtimenet.errors import DataError
from convtimenet.files.maps import Growing, blocks, empty, reserve

__all__ = ["Sharing"]

T = TypeVar("T")


class Sharing:
    """Arrays whose rows the processes of `processes.share` fill together.

    With one process, or for arrays in memory, each process has arrays of its own and fills all.

    Parameters
    ----------
    mapped
        Whether the arrays are in temporary files.
    apart
        Whether each process is to have its own all the same.
    """

    def __init__(self, mapped: bool, apart: bool = False):
        self.mapped = mapped
        self.number, self.count = 0, 1
        # other systems than these cannot remove the name of a file that is in use
        if mapped and not apart and os.name == "posix":
            self.number, self.count = processes.share()

    def own(self, pieces: Iterable[T]) -> Iterator[T]:
        """Those of the pieces of the work that this process does."""
        return itertools.islice(pieces, self.number, None, self.count)

    def empty(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        """An array to be filled, of which all see what each writes.

        Raises
        ------
        DataError
            If the disk is full.
        """
        shape, size = tuple(shape), int(np.prod(shape)) * np.dtype(dtype).itemsize
        if self.count == 1 or not size:
            return empty(shape, dtype, self.mapped)
        path, failed = "", ""
        if self.number == 0:
            try:
                path = _new_file(size)
            except DataError as error:
                failed = str(error)
        path, failed = json.loads(processes.told(json.dumps([path, failed]).encode())[0])
        if failed:
            raise DataError(failed)
        found = np.memmap(path, dtype=dtype, mode="r+", shape=shape)
        self.wait()
        if self.number == 0:
            os.unlink(path)  # the maps keep it
        return found

    def appended(self, own: Growing, rows: Sequence[int]) -> np.ndarray:
        """The rows of every process one behind the other, given how many each has.

        Raises
        ------
        DataError
            If the disk is full.
        """
        mine = own.array()
        if self.count == 1:
            return mine
        found = self.empty((sum(rows), *own.columns), own.dtype)
        here = found[sum(rows[: self.number]) :][: len(mine)]
        for one in blocks(len(mine)):
            here[one] = mine[one]
        return found

    def wait(self) -> None:
        """Wait until all processes have come here: what they wrote before can be read."""
        if self.count > 1:
            processes.told(b"")


def _new_file(size: int) -> str:
    """The path of a new temporary file. Its name is gone again before there is anything in it."""
    with tempfile.NamedTemporaryFile(prefix="convtimenet-", delete=False) as file:
        try:
            reserve(file, size)
        except DataError:
            os.unlink(file.name)
            raise
        return file.name
