"""A small CSV reader: the cells of a file as text, columns of them as numbers."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convtimenet.data.timestamps import looks_like_date
from convtimenet.errors import DataError

__all__ = ["CsvColumns", "read_csv_columns"]

_WITH_COMMAS = re.compile(r"[+-]?\d[\d.,]*")
_MISSING = frozenset({"", "nan", "na", "null"})


@dataclass(frozen=True)
class CsvColumns:
    """The cells of one CSV file with R rows.

    Attributes
    ----------
    names : tuple of str
        The header, in file order.
    cells : dict of str to tuple of str
        The R cells of each column, as written.
    places : tuple of str
        Where each row is in the file, such as ``"line 7"``.
    encoding : str
        ``"utf-8"``, or ``"latin-1"`` for a file that is not UTF-8.
    """

    names: tuple[str, ...]
    cells: dict[str, tuple[str, ...]]
    places: tuple[str, ...]
    encoding: str

    def floats(self, names: Sequence[str]) -> np.ndarray:
        """Columns as numbers, shape (R, len(names)), float64; missing cells are NaN.

        Raises
        ------
        DataError
            If a column does not exist, or a cell is text: column, line and text are named.
        """
        for name in names:
            if name not in self.cells:
                raise DataError(unknown_column(name, self.names))
        columns = [_floats(name, self.cells[name], self.places) for name in names]
        return np.stack(columns, axis=1) if columns else np.empty((len(self.places), 0))

    def any(self, name: str) -> np.ndarray:
        """A column as numbers, or as text (objects, None for missing) if its cells are none."""
        cells = [None if c.strip().lower() in _MISSING else c.strip() for c in self.cells[name]]
        try:
            return np.array([np.nan if cell is None else float(cell) for cell in cells])
        except ValueError:
            return np.array(cells, dtype=object)


def read_csv_columns(path: str | Path) -> CsvColumns:
    """Read a ``.csv`` or ``.csv.gz`` file with a header line, without looking at its times.

    The delimiter is the commonest of comma, semicolon and tab in the header.

    Raises
    ------
    DataError
        If the file is absent, damaged, has no rows, repeats a column name, or a row has more or
        fewer cells than the header.
    """
    path = Path(path)
    text, encoding = _read_text(path)
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not readable as CSV: {error}") from error
    if len(rows) < 2:
        found = "only a header line" if rows else "an empty file"
        raise DataError(f"{path}: expected a header line and rows below it, found {found}")
    names = tuple(name.strip() for name in rows[0])
    if dates := [name for name in names if looks_like_date(name)]:
        raise DataError(
            f"{path}: expected a header line with the columns' names, found {dates[0]!r} in it; "
            "write a header line, and times downwards in one column"
        )
    repeated = [name for i, name in enumerate(names) if name in names[:i]]
    if repeated:
        raise DataError(f"{path}: two columns are named {repeated[0]!r}; rename one of them")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise DataError(
                f"{path}, line {line}: expected {len(names)} cells as in the header, found "
                f"{len(row)}; quote cells that contain {delimiter!r}"
            )
    cells = dict(zip(names, zip(*rows[1:], strict=True), strict=True))
    return CsvColumns(names, cells, tuple(f"line {line}" for line in lines[1:]), encoding)


def unknown_column(name: str, names: Sequence[str]) -> str:
    """Message for a column that does not exist, with the nearest name that does."""
    lower = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.6)
    hint = f"; did you mean {lower[near[0]]!r}?" if near else ""
    return f"there is no column {name!r}{hint} (found: {listing(names)})"


def listing(names: Sequence[str], limit: int = 20) -> str:
    """Column names for a message, the first `limit` of them."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(repr(name) for name in names[:limit]) + more


def text_in_column(name: str, place: str, text: str) -> DataError:
    """The error for a value column that holds text."""
    remedy = (
        "correct the cell (an empty one counts as missing) or leave the column out with "
        "target_cols=[...]"
    )
    if _WITH_COMMAS.fullmatch(text.strip()):
        remedy = "write numbers with a decimal point, 1234.5, and nothing between thousands"
    elif text.strip().lower() in ("true", "false"):
        remedy = "write 1 and 0"
    return DataError(f"column {name!r}, {place}: expected a number, found {text!r}; {remedy}")


def _read_text(path: Path) -> tuple[str, str]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    if path.name.lower().endswith(".gz"):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: damaged gzip file: {error}; fetch it again") from error
    try:
        return raw.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        # Published files carry unit signs in old encodings; Latin-1 reads any byte.
        return raw.decode("latin-1"), "latin-1"


def _floats(name: str, cells: Sequence[str], places: Sequence[str]) -> np.ndarray:
    try:
        # float() also accepts the underscores of Python source, which no table means.
        if "_" not in "".join(cells):
            return np.array(list(map(float, cells)), dtype=np.float64)
    except ValueError:
        pass  # some cells are empty or text: look at each
    values = np.empty(len(cells), dtype=np.float64)
    for i, cell in enumerate(cells):
        values[i] = number_in(name, places[i], cell)
    return values


def number_in(name: str, place: str, cell: str) -> float:
    """The number that a cell of a column holds, NaN for a missing one.

    Raises
    ------
    DataError
        If it is text: column, place and text are named.
    """
    text = cell.strip()
    try:
        if "_" in text:
            raise ValueError
        return np.nan if text.lower() in _MISSING else float(text)
    except ValueError:
        raise text_in_column(name, place, cell) from None
