"""Read sheets of .xlsx files with openpyxl."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from convtimenet.data.columns import CellColumn, Grid
from convtimenet.data.files.dialect import header_at, named_twice
from convtimenet.data.files.raw import check_cells, check_size
from convtimenet.errors import DataError, MissingExtraError


def read_workbook(path: Path) -> Grid:
    """Read the first sheet that contains a table: a header row and rows below it. A hidden sheet is
    read only if no other contains one.

    Raises
    ------
    DataError
        If the file is damaged, no sheet contains a table, formulas have no stored results, or it
        holds more than may be read.
    MissingExtraError
        If openpyxl is not installed.
    """
    try:
        import openpyxl
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError as error:
        raise MissingExtraError("openpyxl", "excel", "reading a workbook") from error
    try:
        with zipfile.ZipFile(path) as packed:
            # of the file's own account: no more of a member is unpacked than it says
            check_size(path, sum(one.file_size for one in packed.infolist()))
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (zipfile.BadZipFile, InvalidFileException, KeyError, OSError) as error:
        raise DataError(
            f"{path}: not readable as a workbook: {error}; save it again as .xlsx, or as .csv"
        ) from error
    try:
        sheets = sorted(book.worksheets, key=_is_hidden)  # stable: else as in the file
        held = [
            (f"{sheet.title!r}{' (hidden)' if _is_hidden(sheet) else ''}", _rows(path, sheet))
            for sheet in sheets
        ]
    finally:
        book.close()
    found = [(sheet, rows) for sheet, rows in held if _is_table(rows)]
    if not found:
        _check_formulas(path)
        raise DataError(
            f"{path}: expected a sheet with a header row and rows below it, found none; add one"
        )
    (sheet, rows), *others = found
    notices = ()
    if others:
        notices = (f"read the sheet {sheet}; ignored: {', '.join(name for name, _ in others)}",)
    elif sheet.endswith("(hidden)"):
        notices = (f"read the sheet {sheet}",)
    at = header_at([["" if cell is None else str(cell) for cell in row] for _, row in rows[:100]])
    if at:
        shown = next(str(cell) for cell in rows[0][1] if cell is not None)
        notices += (f"skipped the rows above the header: {shown[:60]!r}",)
    return _grid(path, rows[at:], notices)


def _is_hidden(sheet: Any) -> bool:
    return sheet.sheet_state != "visible"


def _check_formulas(path: Path) -> None:
    """Reject formulas that were never calculated, as programs write them."""
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True)
    try:
        for sheet in book.worksheets:
            for i, row in _rows(path, sheet):
                for cell in row:
                    if isinstance(cell, str) and cell.startswith("="):
                        raise DataError(
                            f"{path}, sheet {sheet.title!r}, row {i}: expected values, found the "
                            f"formula {cell[:40]!r} without a stored result; open the file in "
                            "Excel or LibreOffice and save it"
                        )
    finally:
        book.close()


def _is_table(rows: list[tuple[int, tuple[Any, ...]]]) -> bool:
    """Whether there are at least two rows with at least two cells."""
    return sum(sum(cell is not None for cell in row) > 1 for _, row in rows) > 1


def _rows(path: Path, sheet: Any) -> list[tuple[int, tuple[Any, ...]]]:
    """The rows that are not empty, with their numbers in the sheet."""
    sheet.reset_dimensions()  # what a file says its size is may be outdated
    found, cells = [], 0
    for i, row in enumerate(sheet.iter_rows(values_only=True), 1):
        if any(cell is not None for cell in row):
            found.append((i, row))
            cells += len(row)  # one cell in the last column makes as many as there are columns
            check_cells(path, 1, cells)
    return found


def _grid(path: Path, rows: list[tuple[int, tuple[Any, ...]]], notices: tuple[str, ...]) -> Grid:
    (_, head), body = rows[0], rows[1:]
    places = [i for i, _ in body]
    columns: dict[str, list[Any]] = {}
    for k, name in enumerate(head):
        cells = [row[k] if k < len(row) else None for _, row in body]
        name = "" if name is None else str(name).strip()
        if not name and all(cell is None for cell in cells):
            continue
        if name in columns:
            raise named_twice(path, name, body[0][1])
        columns[name] = cells
    return Grid(
        names=tuple(columns),
        make=lambda name: CellColumn(name, columns[name], lambda row: f"row {places[row]}"),
        rows=len(body),
        notices=notices,
    )
