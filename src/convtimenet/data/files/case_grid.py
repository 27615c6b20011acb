"""The cells of a delimited text file of labelled cases: its delimiter, decimal mark and header."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from convtimenet.data.files.case_file import number_in
from convtimenet.data.files.dialect import find_delimiter, is_remark, said_delimiter
from convtimenet.data.files.raw import lines_of
from convtimenet.data.text.numbers import decimal_of, number_of, two_readings, unsigned
from convtimenet.data.text.points import points_in
from convtimenet.data.text.rows import LineRows, Rows, StrayQuote, WholeRows
from convtimenet.errors import DataError
from convtimenet.names import key_of
from convtimenet.wording import advice

__all__ = ["DETECTED", "IDS", "LABELS", "CaseColumns", "CaseGrid", "read_grid"]

LABELS = frozenset(
    {"label", "labels", "class", "classes", "classlabel", "target", "targets", "category"}
)
IDS = frozenset(
    {"case", "caseid", "caseno", "id", "instance", "instanceid", "series", "seriesid", "sample",
     "sampleid", "uniqueid", "index", "unnamed:0", ""}
)  # fmt: skip
_COUNTED = 5
"""This many evenly spaced numbers in the first row can make it a header."""


@dataclass(frozen=True)
class CaseColumns:
    """What the caller says about the columns of a file; the rest is detected."""

    label_col: str | None = None
    id_col: str | None = None
    """The column that names the cases."""
    ignored_cols: tuple[str, ...] = ()
    labelled: bool = True
    """Whether labels are expected; else there is no notice if there are none."""

    def named(self) -> list[tuple[str, str]]:
        """The columns that it names, each with the option that does."""
        given = {key: value for key, value in vars(self).items() if key != "labelled"}
        return [
            (one, f"{key} (--{key})")
            for key, value in given.items()
            for one in ((value,) if isinstance(value, str) else value or ())
        ]


DETECTED = CaseColumns()
"""Nothing is said."""


@dataclass(frozen=True)
class CaseGrid:
    """The cells of a file; without a header, rows may have unequal lengths."""

    names: tuple[str, ...] | None
    rows: list[list[str]]
    places: list[str]
    decimal: str
    path: Path
    notices: tuple[str, ...] = ()
    delimiter: str = ","
    """What separates its cells."""
    option: bool = True
    """Whether the caller can say what the columns are."""
    guess: bool = True
    """Whether a column may be the label although it is not named so."""

    def column(self, at: int) -> list[str]:
        return [row[at] for row in self.rows]

    def without(self, ignored: Sequence[str]) -> CaseGrid:
        """The same without some columns."""
        if not ignored or self.names is None:
            return self
        kept = [i for i, name in enumerate(self.names) if name not in ignored]
        rows = [[row[i] for i in kept] for row in self.rows]
        return replace(self, names=tuple(self.names[i] for i in kept), rows=rows)

    def numeric(self, at: int) -> bool:
        return all(_is_number(row[at], self.decimal) for row in self.rows)

    def text(self, at: int) -> bool:
        """Whether no cell of a column is a number."""
        return not any(_is_number(row[at], self.decimal) for row in self.rows)

    def whole(self, at: int) -> bool:
        """Whether every cell of a column is a whole number."""
        return all(re.fullmatch(r"\s*[+-]?\d+\s*", row[at]) for row in self.rows)

    def labels_may_be(self, at: int) -> bool:
        """Whether the text of a column may be labels; where none are needed, numbers among the text
        say that it is wrong cells."""
        return not self.numeric(at) if self.option else self.text(at)

    def numbers(self, row: int, columns: Sequence[int]) -> np.ndarray:
        """The cells of a row as float64."""
        cells = [self.rows[row][at] for at in columns]
        if self.decimal == "." and "_" not in "".join(cells):
            try:
                return np.array(list(map(float, cells)))
            except ValueError:
                pass  # some are missing or text: convert them one by one
        found = np.empty(len(columns))
        for k, at in enumerate(columns):
            try:
                found[k] = number_in(cells[k], self.decimal)
            except ValueError:
                column = at + 1 if self.names is None else repr(self.names[at])
                raise DataError(
                    f"{self.path}, {self.places[row]}, column {column}: expected a number, found "
                    f"{cells[k][:40]!r}; correct it, or "
                    + advice(
                        "leave the column out; if the column is the label, name it 'label' in a "
                        "header line",
                        "leave it empty if the value is missing",
                        "choose 'not used' for the column; if it is the label, choose it as such "
                        "or name it 'label' in a header line",
                    )
                ) from None
        return found

    def points(self, columns: Sequence[int]) -> list[str]:
        """Reject cells of columns whose points may separate thousands, as columns of a table do; a
        notice where little speaks for that. Short rows lack the last of the columns."""
        if self.decimal != ".":
            return []
        cells = (row[at] for row in self.rows for at in columns if at < len(row))
        found = points_in(cells, self.delimiter)
        if found is None or decimal_of(self.rows) is not None:
            return []
        text = found.text
        if found.refused:
            row = next(
                i
                for i, cells in enumerate(self.rows)
                if any(unsigned(cells[at].strip()) == text for at in columns if at < len(cells))
            )
            raise two_readings(self.path.name, self.places[row], text, option=False)
        return [
            f"numbers like {text} are read with a decimal point; write {text.replace('.', '')} "
            "if the point separates thousands"
        ]


def read_grid(
    path: Path, text: str, chosen: CaseColumns = DETECTED, option: bool = True
) -> CaseGrid:
    """Split the text of a file into cells; `chosen` are the columns that the caller names, and
    `option` whether one could.

    Raises
    ------
    DataError
        If it holds no cases, rows do not fit the header, or the decimal mark is ambiguous.
    """
    lines, numbers = [], []
    for number, line in enumerate(lines_of(text), start=1):
        if line.strip() and not is_remark(line, lines[0] if lines else ""):
            lines.append(line)
            numbers.append(f"line {number}")
    said = said_delimiter(lines[0]) if lines else None
    if said:
        lines, numbers = lines[1:], numbers[1:]
    if not lines:
        raise DataError(
            f"{path}: expected labelled cases, found an empty file; "
            + advice("check the path", "send some", "give another one")
        )
    if lines[0].lstrip().startswith("@"):
        raise DataError(
            f"{path}: found the header of a .ts or .arff file ({lines[0].strip()[:40]!r}); "
            + advice(
                "give the file the extension .ts or .arff",
                "send the cases as CSV or JSON",
                "give the file the extension .ts or .arff",
            )
        )
    delimiter = said or find_delimiter(lines)
    if not any(delimiter in line for line in lines):
        delimiter = " "  # rows of unequal length, which `find_delimiter` does not accept
    rows, places, notices = _split(lines, numbers, delimiter, path)
    plain = delimiter == "," and not any('"' in line for line in lines)
    decimal = "." if plain else _decimal(rows, places, path)
    names = None
    header, told = _header(rows, decimal, {name for name, _ in chosen.named()})
    if header:
        names = tuple(cell.strip() for cell in rows[0])
        rows, places = rows[1:], places[1:]
        _check_header(names, rows, places, path)
        nothing = {i for i, name in enumerate(names) if not name and not any(r[i] for r in rows)}
        if nothing:  # a delimiter at the end of every line makes an empty column
            names = tuple(name for i, name in enumerate(names) if i not in nothing)
            rows = [[cell for i, cell in enumerate(row) if i not in nothing] for row in rows]
    told = notices + told
    return CaseGrid(names, rows, places, decimal, path, told, delimiter, option)


def _decimal(rows: list[list[str]], places: list[str], path: Path) -> str:
    """The decimal mark, inferred from unambiguous cells."""
    marked = [[cell for cell in row if "," in cell] for row in rows]
    if not any(marked):
        return "."
    found = decimal_of(rows)
    if found is not None:
        return found
    for row, place in zip(marked, places, strict=True):
        for cell in row:
            if number_of(cell, ",") is not None:
                raise two_readings(path.name, place, cell.strip(), option=False)
    return "."


def _split(
    lines: list[str], numbers: list[str], delimiter: str, path: Path
) -> tuple[list[list[str]], list[str], tuple[str, ...]]:
    """The cells of each row, its position, and notices; quoted cells may span several lines."""
    if delimiter == " ":
        return [line.split() for line in lines], numbers, ()
    ends, notices = [line + "\n" for line in lines], ()
    width = len(next(LineRows(lines, delimiter, skip_space=True)))
    try:
        try:
            rows, places = _filled(WholeRows(ends, delimiter, width, skip_space=True), numbers)
        except StrayQuote as stray:
            # if the file is a table line by line, the quote is a character
            rows, places = _filled(LineRows(ends, delimiter, skip_space=True), numbers)
            place = numbers[stray.line - 1]
            if any(len(row) != width for row in rows):
                raise DataError(f"{path}, {place}: {stray}") from None
            notices = (stray.notice(place),)
        if not rows:
            raise csv.Error("all cells are empty")
    except csv.Error as error:
        raise DataError(f"{path}: not readable as a table: {error}; correct the file") from error
    return rows, places, notices


def _filled(reader: Rows, numbers: list[str]) -> tuple[list[list[str]], list[str]]:
    """The rows that are not empty, and their positions."""
    rows, places = [], []
    for row in reader:
        if any(cell.strip() for cell in row):
            rows.append(row)
            places.append(numbers[reader.line_num - 1])
    return rows, places


def _is_number(cell: str, decimal: str) -> bool:
    try:
        number_in(cell, decimal)
    except ValueError:
        return False
    return True


def _header(rows: list[list[str]], decimal: str, named: set[str]) -> tuple[bool, tuple[str, ...]]:
    """Whether the first row is a header: text above numbers, `named` or known names, or evenly
    numbered steps; and a notice if only its numbers say so."""
    first, below = [cell.strip() for cell in rows[0]], rows[1:]
    text = [not _is_number(cell, decimal) for cell in first]
    if any(text[1:-1]) or (len(first) > 1 and text[0] and text[-1]):
        return True, ()
    for at in (0, -1):
        if text[at] and below and all(row and _is_number(row[at], decimal) for row in below):
            return True, ()
    if named & set(first):
        return True, ()
    words = [at for at in (0, -1) if text[at]]
    if any(first[at] == row[at].strip() for at in words for row in below if row):
        return False, ()  # it comes again below: a class, not the name of a column
    if any(key_of(first[at]) in LABELS | IDS for at in words):
        return True, ()
    steps = [cell for cell, word in zip(first, text, strict=True) if cell and not word]
    counts = [str(i) for i in range(len(steps) + 1)]
    blank = [at for at in (0, -1) if not first[at]]
    if blank and not words and steps in (counts[:-1], counts[1:]):
        return True, ()  # the index of a frame has no name
    alike = [len(row) == len(first) and not _even(row, decimal) for row in below]
    if len(steps) < _COUNTED or not _even(steps, decimal) or not below or not (words or all(alike)):
        return False, ()
    told = (
        f"the first line ({', '.join(first[:3])}, ...) is taken for a header; if it is a case, "
        "write a line of column names above it"
    )
    return True, (told,)


def _even(cells: Sequence[str], decimal: str) -> bool:
    """Whether numbers increase by the same step."""
    try:
        apart = np.diff([number_in(cell, decimal) for cell in cells if cell.strip()])
    except ValueError:
        return False
    return bool(len(apart)) and bool(apart[0] > 0) and np.allclose(apart, apart[0], rtol=1e-6)


def _check_header(
    names: tuple[str, ...], rows: list[list[str]], places: list[str], path: Path
) -> None:
    if not rows:
        raise DataError(f"{path}: expected cases below the header line, found none")
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise DataError(f"{path}: two columns are named {twice[0]!r}; rename one of them")
    for row, place in zip(rows, places, strict=True):
        if len(row) != len(names):
            raise DataError(
                f"{path}, {place}: expected {len(names)} cells as in the header, found {len(row)}; "
                "leave the cells after the end of a short case empty"
            )
