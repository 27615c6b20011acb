"""Detect the dialect of a delimited text file from its first lines."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convtimenet.data.text.rows import is_value, rows_of
from convtimenet.errors import DataError

__all__ = [
    "Dialect",
    "find_delimiter",
    "find_dialect",
    "header_at",
    "is_remark",
    "named_twice",
    "said_delimiter",
]

_DELIMITERS = (",", ";", "\t", "|")
_SAID = re.compile(r"sep=(.)\s*", re.IGNORECASE)
_SAMPLE = 100  # number of rows used to detect the delimiter


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """The layout of a delimited text file.

    Attributes
    ----------
    delimiter
        Delimiter between cells.
    header
        Number of lines before the header line.
    commented
        Whether the header line starts with ``#``, as numpy writes it.
    comments
        Number of comment lines before the header.
    titles
        Number of title lines before the header.
    """

    delimiter: str
    header: int = 0
    commented: bool = False
    comments: int = 0
    titles: int = 0


def find_dialect(lines: list[str]) -> Dialect:
    """Detect the dialect of a file from its first lines."""
    before, comments = 0, []
    said = None
    for i, line in enumerate(lines):
        mark = said_delimiter(line) if said is None and before == 0 else None
        if mark is not None:
            said = mark
        elif line.lstrip().startswith("#"):
            comments.append(i)
        elif line.strip():
            break
        before = i + 1
    sample = [line for line in lines[before:] if line.strip() and not line.startswith("#")]
    delimiter = said or find_delimiter(sample)
    if comments and sample:
        head = lines[comments[-1]].lstrip().lstrip("#").strip()
        first = next(rows_of([sample[0]], delimiter), [])
        names = next(rows_of([head], delimiter), [])
        if len(names) == len(first) > 1 and any(is_value(cell) for cell in first):
            return Dialect(
                delimiter=delimiter,
                header=comments[-1],
                commented=True,
                comments=len(comments) - 1,
            )
    titles = _titles(lines[before:], delimiter)
    return Dialect(
        delimiter=delimiter, header=before + titles, comments=len(comments), titles=titles
    )


def said_delimiter(line: str) -> str | None:
    """The delimiter declared by a first line such as ``sep=;``, else None."""
    match = _SAID.fullmatch(line.strip("\r\n"))
    return None if match is None else match[1]


def is_remark(line: str, first: str) -> bool:
    """Whether a line that starts with "#" or "%" is a comment: not if it has as many cells as the
    first line with any, unless a space follows."""
    line = line.lstrip()
    if not line.startswith(("#", "%")):
        return False
    cells, expected = (sum(map(text.count, ",;\t|")) for text in (line, first))
    return cells != expected or not cells or line[1:2] == " "


def find_delimiter(lines: Sequence[str]) -> str:
    """Detect the delimiter from lines with cells.

    The best delimiter splits the most rows into the same number of cells; ties go to the one that
    gives the most cells. Spaces are used if no other delimiter splits the rows and they split all
    rows into the same number of cells.
    """
    some = list(lines[:_SAMPLE])
    fits = {mark: _fit(some, mark) for mark in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda mark: fits[mark])
    if fits[best][1] == 0 and _fit(some, " ")[0] == 1:
        return " "
    return best


def header_at(rows: Sequence[Sequence[str]]) -> int:
    """The index of the header row: the first row, or the one below title rows of a single cell."""
    filled = [sum(bool(cell.strip()) for cell in row) for row in rows]
    if not filled or sorted(filled)[len(filled) // 2] < 2:
        return 0
    at = next((i for i, cells in enumerate(filled) if cells > 1), 0)
    return 0 if any(is_value(cell) for cell in rows[at]) else at


def named_twice(path: Path | str, name: str, below: Iterable[Any]) -> DataError:
    """The error for two columns of one name; `below` are the cells of the next row."""
    cells = ["" if cell is None else str(cell).strip() for cell in below]
    shown = [cell for cell in cells if cell]
    if shown and not any(map(is_value, shown)):
        return DataError(
            f"{path}: two columns are named {name!r}, and the row below holds no values "
            f"({', '.join(map(repr, shown[:3]))}): the header has several rows; write a single "
            "one, in pandas with frame.columns = ['_'.join(map(str, c)) for c in frame.columns] "
            "before it is saved"
        )
    return DataError(f"{path}: two columns are named {name!r}; rename one of them")


def _titles(lines: Sequence[str], delimiter: str) -> int:
    """Number of title lines before the header."""
    some = [(i, line) for i, line in enumerate(lines) if line.strip()][:_SAMPLE]
    if any(line.count('"') % 2 for _, line in some):
        return 0  # a cell spans several lines
    try:
        at = header_at(list(rows_of([line for _, line in some], delimiter)))
    except csv.Error:
        return 0
    return some[at][0] if at else 0


def _fit(sample: list[str], delimiter: str) -> tuple[float, int]:
    """The most common number of cells per row (above 1), preceded by the fraction of rows that
    have it."""
    try:
        counts = Counter(len(row) for row in rows_of(sample, delimiter) if row)
    except csv.Error:
        return 0.0, 0
    several = {cells: rows for cells, rows in counts.items() if cells > 1}
    if not several:
        return 0.0, 0
    cells = max(several, key=lambda one: (several[one], one))
    return several[cells] / sum(counts.values()), cells
