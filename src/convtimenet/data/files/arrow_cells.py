"""Split delimited text with pyarrow: the same cells as from Python's csv module, but faster."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute, csv

from convtimenet.data.columns import CellColumn
from convtimenet.data.files.dialect import Dialect
from convtimenet.data.text.numbers import MISSING

__all__ = ["ArrowCells", "cut"]

pc: Any = compute  # its functions are generated at import, unknown to type checkers
_LONGEST = 131_072  # longest cell in bytes that Python's csv module accepts


def cut(
    content: bytes,
    first: Sequence[str],
    dialect: Dialect,
    names: Sequence[str],
    place: Callable[[int], str],
) -> list[CellColumn] | None:
    """The columns of UTF-8 text, with its first lines in `first`; None if it must be read with
    Python's csv module."""
    quoted = b'"' in content
    mark = re.escape(dialect.delimiter)
    # quotes in the middle of a cell, doubled ones, comments, a header over several lines
    if b"\n#" in content or (quoted and (b'""' in content or _stray(mark).search(content))):
        return None
    if len(set(names)) < len(names) or dialect.commented or dialect.delimiter == " ":
        return None
    if any(line.count('"') % 2 for line in first[: dialect.header + 1]):
        return None
    try:
        table = csv.read_csv(
            pa.py_buffer(content),
            read_options=csv.ReadOptions(column_names=list(names), skip_rows=dialect.header + 1),
            parse_options=csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=quoted),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
                null_values=[],
            ),
        )
    except pa.ArrowException:
        return None
    columns = table.columns
    if not table.num_rows or any(_longest(column) >= _LONGEST for column in columns):
        return None
    if quoted and (content[content.rstrip().rfind(b"\n") + 1 :].count(b'"') % 2 or _spans(columns)):
        return None
    if pc.any(pc.equal(columns[0], "")).as_py() and _has_empty_row(columns):
        return None
    return [ArrowCells(n, c, place) for n, c in zip(names, columns, strict=True)]


def _spans(columns: Sequence[Any]) -> bool:
    """Whether any cell spans several lines: it may have taken in other rows."""
    ends = (pc.match_substring(column, end) for column in columns for end in "\r\n")
    return any(pc.any(found).as_py() for found in ends)


def _has_empty_row(columns: Sequence[Any]) -> bool:
    """Whether any row consists only of delimiters."""
    empty = pc.equal(columns[0], "")
    for column in columns[1:]:
        empty = pc.and_(empty, pc.equal(pc.utf8_trim_whitespace(column), ""))
    return bool(pc.any(empty).as_py())


def _stray(mark: str) -> re.Pattern[bytes]:
    """A quote that neither starts nor ends a cell."""
    return re.compile(rf'[^{mark}\r\n]"[^{mark}\r\n]'.encode())


def _longest(column: Any) -> int:
    return pc.max(pc.binary_length(column)).as_py() or 0


class ArrowCells(CellColumn):
    """A text column stored as a pyarrow array; null cells are None."""

    def __init__(self, name: str, array: Any, place: Callable[[int], str]):
        super().__init__(name, (), place)
        array = pa.chunked_array([array]) if isinstance(array, pa.Array) else array
        plain = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
        self.array = array if plain else array.cast(pa.large_string())
        self._cells: list[Any] | None = None

    def __len__(self) -> int:
        return len(self.array)

    def cells(self) -> Sequence[Any]:
        if self._cells is None:
            cells: list[Any] = self.array.to_pylist()
            self._cells = cells
        return self._cells

    def head(self) -> list[Any]:
        return CellColumn(self.name, self.array[:1000].to_pylist()).head()

    def coded(self) -> tuple[np.ndarray, list[Any]]:
        if self._coded is None:
            array = self.array
            if array.null_count:  # dictionaries with nulls cannot be unified
                array = pa.chunked_array([array.combine_chunks()])
            coded = pc.dictionary_encode(array, null_encoding="encode")
            coded = coded if coded.num_chunks < 2 else coded.unify_dictionaries()
            of = [chunk.indices.to_numpy() for chunk in coded.chunks]
            labels: list[Any] = coded.chunk(0).dictionary.to_pylist() if of else []
            self._coded = np.concatenate([np.empty(0, np.int64), *of]), labels
        return self._coded

    def plain(self) -> np.ndarray | None:
        try:
            return pc.cast(self.array, pa.float64()).to_numpy()
        except pa.ArrowInvalid:
            pass
        plain = pc.utf8_lower(pc.utf8_trim_whitespace(self.array))
        missing = pc.is_in(plain, value_set=pa.array(sorted(MISSING)))
        known = pc.if_else(missing, pa.scalar(None, pa.string()), self.array)
        try:
            return pc.cast(known, pa.float64()).to_numpy()
        except pa.ArrowInvalid:
            return super().plain()  # numbers with spaces, signs and so on
