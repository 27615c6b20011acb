"""Cells that pyarrow cut: the same as Python's reader gives, faster."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from convtimenet.data.columns import CellColumn
from convtimenet.data.files.dialect import Dialect
from convtimenet.data.text.numbers import MISSING

__all__ = ["ArrowCells", "cut"]

_LONGEST = 131_072  # bytes of a cell that Python's reader takes


def cut(
    text: str, dialect: Dialect, names: Sequence[str], place: Callable[[int], str]
) -> list[CellColumn] | None:
    """The columns of a text file; None where Python's reader shall look at it."""
    quoted = '"' in text
    mark = re.escape(dialect.delimiter)
    # quotes in the middle of a cell, doubled ones, comments, a header over several lines
    if "\n#" in text or (quoted and ('""' in text or _stray(mark).search(text))):
        return None
    if len(set(names)) < len(names) or dialect.commented:
        return None
    head = text.split("\n", dialect.header + 1)[: dialect.header + 1]
    if any(line.count('"') % 2 for line in head):
        return None
    try:
        table = csv.read_csv(
            pa.py_buffer(text.encode()),
            read_options=csv.ReadOptions(
                column_names=list(names), skip_rows=dialect.header + 1, block_size=2**22
            ),
            parse_options=csv.ParseOptions(
                delimiter=dialect.delimiter, newlines_in_values=quoted
            ),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
                null_values=[],
            ),
        )
    except (pa.ArrowException, UnicodeEncodeError):
        return None
    columns = [column.combine_chunks() for column in table.columns]
    if not table.num_rows or any(_longest(column) >= _LONGEST for column in columns):
        return None
    return [ArrowCells(n, c, place) for n, c in zip(names, columns, strict=True)]


def _stray(mark: str) -> re.Pattern[str]:
    """A quote that neither begins nor ends a cell."""
    return re.compile(rf'[^{mark}\r\n]"[^{mark}\r\n]')


def _longest(column: Any) -> int:
    return pc.max(pc.binary_length(column)).as_py() or 0


class ArrowCells(CellColumn):
    """A column of text as pyarrow holds it, None where it is null."""

    def __init__(self, name: str, array: Any, place: Callable[[int], str]):
        super().__init__(name, (), place)
        self.array = array
        self._cells: list[Any] | None = None

    def __len__(self) -> int:
        return len(self.array)

    def cells(self) -> Sequence[Any]:
        if self._cells is None:
            self._cells = self.array.to_pylist()
        return self._cells

    def head(self) -> list[Any]:
        return CellColumn(self.name, self.array[:1000].to_pylist()).head()

    def coded(self) -> tuple[np.ndarray, list[Any]]:
        if self._coded is None:
            coded = pc.dictionary_encode(self.array, null_encoding="encode")
            self._coded = coded.indices.to_numpy().astype(np.int64), coded.dictionary.to_pylist()
        return self._coded

    def plain(self) -> np.ndarray | None:
        try:
            return pc.cast(self.array, pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            pass
        plain = pc.utf8_lower(pc.utf8_trim_whitespace(self.array))
        missing = pc.is_in(plain, value_set=pa.array(sorted(MISSING)))
        known = pc.if_else(missing, pa.scalar(None, pa.string()), self.array)
        try:
            return pc.cast(known, pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            return super().plain()  # spaces, signs and other ways to write a number
