"""Split lines of delimited text into rows of cells, and find quotes that take in other rows.

A cell may begin with a quote that was meant as a character, such as that of ``"19 inch rack``. The
csv module then reads on to the next quote, or to the end of the file, and the rows between them
vanish in one cell.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from typing import Protocol

from convtimenet.data.text.stamp_forms import looks_like_date

__all__ = ["LineRows", "Rows", "StrayQuote", "WholeRows", "is_value", "rows_of"]

_NO_LETTERS = re.compile(r"[\W\d_]*\d[\W\d_]*")


class Rows(Protocol):
    """An iterator of rows of cells, with the number of lines read so far."""

    @property
    def line_num(self) -> int: ...
    def __iter__(self) -> Rows: ...
    def __next__(self) -> list[str]: ...


class StrayQuote(Exception):
    """A cell that begins with a quote takes in the rows below it.

    Attributes
    ----------
    line
        Number of the line, from 1, on which the quote opens.
    cell
        The text from the quote to the next delimiter.
    """

    def __init__(self, line: int, text: str, delimiter: str):
        self.line = line
        opened = text[text.rfind(f'{delimiter}"') + 1 :].rstrip("\r\n")
        self.cell = opened.split(delimiter)[0][:40]
        super().__init__(
            f"the quote in {self.cell!r} takes in the rows below; close it at the end of its cell, "
            "or remove it"
        )

    def notice(self, place: str) -> str:
        """What is said where the quote was read as a character after all."""
        return f"{place}: the quote in {self.cell!r} is never closed and is read as a character"


def rows_of(lines: Iterable[str], delimiter: str, *, skip_space: bool = False) -> Rows:
    """Split lines into rows of cells; consecutive spaces are one delimiter."""
    if delimiter == " ":
        lines = (" ".join(line.split()) for line in lines)
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=skip_space)


class WholeRows:
    """As `rows_of`, but a `StrayQuote` is raised where a quoted cell takes in other rows: it is
    open at the end, or each of its lines would be a row of `width` cells with data."""

    def __init__(
        self, lines: Iterable[str], delimiter: str, width: int, *, skip_space: bool = False
    ):
        self.delimiter, self.width, self.skip_space = delimiter, width, skip_space
        self._lines: list[str] = []  # those of the row
        self._usual: str | None = None  # a row on one line, below the first row
        self._reader = rows_of(self._kept(lines), delimiter, skip_space=skip_space)

    @property
    def line_num(self) -> int:
        return self._reader.line_num

    def __iter__(self) -> WholeRows:
        return self

    def __next__(self) -> list[str]:
        first = self._reader.line_num
        self._lines.clear()
        try:
            row = next(self._reader)
        except csv.Error as error:  # such as a cell too long
            if len(self._lines) > 1:
                raise StrayQuote(first + 1, self._lines[0], self.delimiter) from error
            raise
        if len(self._lines) == 1:
            self._usual = self._lines[0] if first else None
        elif self._lines[-1] == "" or self._takes_in_rows():
            raise StrayQuote(first + 1, self._lines[0], self.delimiter)
        return row

    def _kept(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            self._lines.append(line)
            yield line
        self._lines.append("")  # part of the last row only if a quote is open
        yield ""

    def _takes_in_rows(self) -> bool:
        first = self._alone(self._lines[0])
        if not 1 < self.width <= len(first):
            return False
        held = _held(first if self._usual is None else self._alone(self._usual))
        held = held or set(range(self.width))
        below = [line for line in self._lines[1:] if line.strip() and line[0] != "#"]
        alone = [self._alone(line) for line in below]
        return all(len(row) == self.width and held & _held(row) for row in alone)

    def _alone(self, line: str) -> list[str]:
        row = _alone(line, self.delimiter, self.skip_space)
        return row if any(row[self.width :]) else row[: self.width]


class LineRows:
    """As `rows_of`, but every line is a row: a quote not closed on its line is a character."""

    def __init__(self, lines: Iterable[str], delimiter: str, *, skip_space: bool = False):
        self.line_num = 0
        self._lines, self._layout = iter(lines), (delimiter, skip_space)

    def __iter__(self) -> LineRows:
        return self

    def __next__(self) -> list[str]:
        line = next(self._lines)
        self.line_num += 1
        return _alone(line, *self._layout)


def is_value(cell: str) -> bool:
    """Whether a cell holds data (a date or a number) rather than a column name."""
    if looks_like_date(cell):
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _held(row: list[str]) -> set[int]:
    """The cells that hold data."""
    cells = [cell.strip(' "') for cell in row]
    return {i for i, cell in enumerate(cells) if is_value(cell) or _NO_LETTERS.fullmatch(cell)}


def _alone(line: str, delimiter: str, skip_space: bool) -> list[str]:
    """The cells of a line by itself."""
    line = line.rstrip("\r\n")
    row, *end = rows_of([line, ""], delimiter, skip_space=skip_space)
    if end:
        return row
    cells = line.split() if delimiter == " " else line.split(delimiter)
    cells = [cell.lstrip(" ") for cell in cells] if skip_space else cells
    return [cell[1:-1].replace('""', '"') if re.fullmatch('".*"', cell) else cell for cell in cells]
