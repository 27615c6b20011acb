"""How a text file lays its cells out: found from its first rows, verified on all of them."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from convtimenet.data.text.times import looks_like_date

__all__ = ["Dialect", "find_dialect", "rows_of"]

_DELIMITERS = (",", ";", "\t", "|")
_SAID = re.compile(r"sep=(.)\s*")
_SAMPLE = 100  # rows that the delimiter is found from


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a file lays out its cells.

    Attributes
    ----------
    delimiter
        What stands between cells.
    header
        Lines before the one that holds the columns' names.
    commented
        Whether that line begins with ``#``, as numpy writes it.
    comments
        Lines of comment before it.
    """

    delimiter: str
    header: int = 0
    commented: bool = False
    comments: int = 0


def find_dialect(lines: list[str]) -> Dialect:
    """The dialect of a file by its first lines.

    The delimiter is the one that cuts the most rows into as many cells as the first, and of several
    such the one that gives the most cells.
    """
    before, comments = 0, []
    said = None
    for i, line in enumerate(lines):
        match = _SAID.fullmatch(line) if said is None and before == 0 else None
        if match is not None:
            said = match[1]
        elif line.lstrip().startswith("#"):
            comments.append(i)
        elif line.strip():
            break
        before = i + 1
    sample = [line for line in lines[before:] if line.strip() and not line.startswith("#")]
    delimiter = said or max(_DELIMITERS, key=lambda mark: _fit(sample[:_SAMPLE], mark))
    if comments and sample:
        head = lines[comments[-1]].lstrip().lstrip("#").strip()
        first = next(rows_of([sample[0]], delimiter), [])
        names = next(rows_of([head], delimiter), [])
        if len(names) == len(first) > 1 and any(_is_value(cell) for cell in first):
            return Dialect(
                delimiter=delimiter,
                header=comments[-1],
                commented=True,
                comments=len(comments) - 1,
            )
    return Dialect(delimiter=delimiter, header=before, comments=len(comments))


def rows_of(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """Rows of cells."""
    return csv.reader(lines, delimiter=delimiter)


def _fit(sample: list[str], delimiter: str) -> tuple[float, int]:
    """How well a delimiter fits: the part of the rows with as many cells as most, and how many."""
    try:
        counts = Counter(len(row) for row in rows_of(sample, delimiter) if row)
    except csv.Error:
        return 0.0, 0
    several = {cells: rows for cells, rows in counts.items() if cells > 1}
    if not several:
        return 0.0, 0
    cells = max(several, key=lambda one: (several[one], one))
    return several[cells] / sum(counts.values()), cells


def _is_value(cell: str) -> bool:
    """Whether a cell is of a row below the names."""
    if looks_like_date(cell):
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return True
