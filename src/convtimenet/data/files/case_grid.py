"""The cells of a delimited text file of labelled cases: its delimiter, decimal mark and header."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convtimenet.data.files.case_file import number_in
from convtimenet.data.files.dialect import find_delimiter, is_remark, said_delimiter
from convtimenet.data.files.raw import lines_of
from convtimenet.data.text.numbers import decimal_of, number_of, two_readings
from convtimenet.errors import DataError

__all__ = ["IDS", "LABELS", "CaseGrid", "key_of", "read_grid"]

LABELS = frozenset(
    {"label", "labels", "class", "classes", "classlabel", "target", "targets", "category"}
)
IDS = frozenset(
    {"case", "caseid", "caseno", "id", "instance", "instanceid", "series", "seriesid", "sample",
     "sampleid", "uniqueid", "index", "unnamed:0", ""}
)  # fmt: skip
_COUNTED = 5
"""This many consecutive numbers in the first row make it a header, whatever its other cells are."""


@dataclass(frozen=True)
class CaseGrid:
    """The cells of a file; without a header, rows may have unequal lengths."""

    names: tuple[str, ...] | None
    rows: list[list[str]]
    places: list[str]
    decimal: str
    path: Path

    def column(self, at: int) -> list[str]:
        return [row[at] for row in self.rows]

    def numeric(self, at: int) -> bool:
        return all(_is_number(row[at], self.decimal) for row in self.rows)

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
                    f"{cells[k][:40]!r}; correct it, or leave the column out; if the column is "
                    "the label, name it 'label' in a header line"
                ) from None
        return found


def read_grid(path: Path, text: str) -> CaseGrid:
    """Split the text of a file into cells.

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
        raise DataError(f"{path}: expected labelled cases, found an empty file; check the path")
    if lines[0].lstrip().startswith("@"):
        raise DataError(
            f"{path}: found the header of a .ts or .arff file ({lines[0].strip()[:40]!r}); give "
            "the file the extension .ts or .arff"
        )
    delimiter = said or find_delimiter(lines)
    if not any(delimiter in line for line in lines):
        delimiter = " "  # rows of unequal length, which `find_delimiter` does not accept
    rows, places = _split(lines, numbers, delimiter, path)
    plain = delimiter == "," and not any('"' in line for line in lines)
    decimal = "." if plain else _decimal(rows, places, path)
    names = None
    if _has_header(rows, decimal):
        names = tuple(cell.strip() for cell in rows[0])
        rows, places = rows[1:], places[1:]
        _check_header(names, rows, places, path)
        nothing = {i for i, name in enumerate(names) if not name and not any(r[i] for r in rows)}
        if nothing:  # a delimiter at the end of every line makes an empty column
            names = tuple(name for i, name in enumerate(names) if i not in nothing)
            rows = [[cell for i, cell in enumerate(row) if i not in nothing] for row in rows]
    return CaseGrid(names, rows, places, decimal, path)


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
) -> tuple[list[list[str]], list[str]]:
    """The cells of each row, and its position; quoted cells may span several lines."""
    if delimiter == " ":
        return [line.split() for line in lines], numbers
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter, skipinitialspace=True)
    rows, places = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                places.append(numbers[reader.line_num - 1])
        if not rows:
            raise csv.Error("all cells are empty")
    except csv.Error as error:
        raise DataError(f"{path}: not readable as a table: {error}; correct the file") from error
    return rows, places


def _is_number(cell: str, decimal: str) -> bool:
    try:
        number_in(cell, decimal)
    except ValueError:
        return False
    return True


def _has_header(rows: list[list[str]], decimal: str) -> bool:
    """Whether the first row is a header: text above numbers, or consecutive step numbers."""
    first, below = rows[0], rows[1:]
    text = [not _is_number(cell, decimal) for cell in first]
    if any(text[1:-1]) or (len(first) > 1 and text[0] and text[-1]):
        return True
    for at in (0, -1):
        if text[at] and below and all(row and _is_number(row[at], decimal) for row in below):
            return True
    steps = [int(cell) for cell in first if cell.strip().isdecimal()]
    others = [cell for cell in first if not cell.strip().isdecimal()]
    counts = steps in (list(range(len(steps))), list(range(1, len(steps) + 1)))
    named = all(key_of(cell) in LABELS | IDS for cell in others)
    return bool(others) and len(others) < 3 and counts and (named or len(steps) >= _COUNTED)


def key_of(name: str) -> str:
    """A column name in lower case, without spaces, "_" and "-"."""
    return re.sub(r"[\s_-]", "", name.lower())


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
