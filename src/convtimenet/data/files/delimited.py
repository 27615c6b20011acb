"""Read delimited text: ``.csv``, ``.tsv`` and ``.txt``.

Large files are split into cells by pyarrow if it is installed, others by Python's csv module. The
cells are interpreted by the same code, so both give the same table and the same errors. A file that
the two might split differently is read with the csv module.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from convtimenet.data.columns import CellColumn, Grid
from convtimenet.data.files.dialect import Dialect, find_dialect, named_twice
from convtimenet.data.files.raw import decoded
from convtimenet.data.text.rows import LineRows, Rows, StrayQuote, WholeRows, rows_of
from convtimenet.data.text.stamp_forms import looks_like_date
from convtimenet.errors import DataError

__all__ = ["read_delimited"]

_LARGE = 2**18  # bytes from which importing pyarrow pays off
_FIRST_LINES, _FIRST_PART = 300, 2**20
_SOME_ROWS = 4096


def read_delimited(path: Path | str, content: bytes) -> Grid:
    """Read a file with a header line and rows below it, without parsing its times.

    Raises
    ------
    DataError
        If it has no rows, repeats a column name, a row has more or fewer cells than the header, or
        the quotes of a cell take in other rows.
    """
    if content.isascii() and 0 not in content[:1000]:  # the common case, decoded only on demand
        text, notices = partial(str, content, "ascii"), ()
        head = _first_lines(content[: _FIRST_PART + 1].decode("ascii"), text)
    else:
        whole, notices = decoded(content)
        content, text = whole.encode(), lambda: whole
        head = _first_lines(whole[: _FIRST_PART + 1], text)
    dialect = find_dialect([line.rstrip("\r\n") for line in head])
    names = _names(path, head, dialect)
    body = _Body(path, text, dialect, len(names), b'"' in content)
    columns = None
    if len(content) >= _LARGE and importlib.util.find_spec("pyarrow") is not None:
        from convtimenet.data.files.arrow_cells import cut

        columns = cut(content, head, dialect, names, body.place)
    if columns is None:
        cells = body.cells()
        columns = [
            CellColumn(name, one, body.place) for name, one in zip(names, cells, strict=True)
        ]
    notices += body.notices
    skipped = body.comments + dialect.comments
    if skipped:
        notices += (f"skipped {skipped} comment lines (#)",)
    if dialect.titles:
        shown = next(
            line.strip() for line in head[dialect.header - dialect.titles :] if line.strip()
        )
        notices += (f"skipped the lines above the header: {shown[:60]!r}",)
    # a delimiter at the end of every line makes an empty column
    kept = {c.name: c for c in columns if c.name or c.coded()[1] != [""]}
    repeated = [c.name for c in columns if c.name in kept and kept[c.name] is not c]
    if repeated:
        raise named_twice(path, repeated[0], (c.cells()[0] for c in columns))
    quoted_commas = b'"' in content if dialect.delimiter == "," else b"," in content
    return Grid(
        names=tuple(kept),
        make=kept.__getitem__,
        rows=len(columns[0]),
        commas=quoted_commas,
        delimiter=dialect.delimiter,
        notices=notices,
    )


def _first_lines(part: str, text: Callable[[], str]) -> list[str]:
    """The first complete lines of a text, to detect its dialect."""
    lines = list(io.StringIO(part, newline=""))
    if len(part) > _FIRST_PART:
        if len(lines) < _FIRST_LINES // 100:  # very long lines
            return list(itertools.islice(io.StringIO(text(), newline=""), _FIRST_LINES))
        lines.pop()
    return lines[:_FIRST_LINES]


def _names(path: Path | str, head: list[str], dialect: Dialect) -> list[str]:
    """The header, checked."""
    lines = itertools.islice(head, dialect.header, None)
    if dialect.commented:
        lines = itertools.chain([next(lines).lstrip().lstrip("#").lstrip()], lines)
    width = len(next(LineRows([head[dialect.header]], dialect.delimiter))) if head else 0
    try:
        row = next(WholeRows(lines, dialect.delimiter, width), [])
    except StrayQuote as stray:
        raise _stray(path, dialect.header, stray) from None
    except csv.Error as error:
        raise _unreadable(path, dialect.header + 1, error) from error
    names = [name.strip() for name in row]
    if dates := [name for name in names if looks_like_date(name)]:
        raise DataError(
            f"{path}: expected a header line with column names, found {dates[0]!r} in it; "
            "write a header line, and put the times in one column"
        )
    return names


class _Body:
    """The rows below the header, split by the csv module on demand."""

    def __init__(
        self,
        path: Path | str,
        text: Callable[[], str],
        dialect: Dialect,
        width: int,
        quoted: bool,
    ):
        self.path, self.text, self.dialect, self.width = path, text, dialect, width
        self.quoted, self.by_line = quoted, False
        self.comments = 0
        self.notices: tuple[str, ...] = ()
        self._lines: list[int] = []

    def cells(self) -> list[list[str]]:
        """The cells of each column."""
        try:
            return self._cells()
        except StrayQuote as stray:
            # if the file is a table line by line, the quote is a character
            self.by_line = True
            self.notices = (stray.notice(f"line {self.dialect.header + stray.line}"),)
            try:
                return self._cells()
            except DataError:
                raise _stray(self.path, self.dialect.header, stray) from None

    def _cells(self) -> list[list[str]]:
        columns: list[list[str]] = [[] for _ in range(self.width)]
        rows = self._rows()
        # in chunks: the garbage collector visits every list that is alive
        while some := list(itertools.islice(rows, _SOME_ROWS)):
            for column, cells in zip(columns, zip(*some, strict=True), strict=True):
                column.extend(cells)
        if not columns or not columns[0]:
            found = "only a header line" if self.width else "an empty file"
            raise DataError(
                f"{self.path}: expected a header line and rows below it, found {found}; write "
                "at least two rows"
            )
        return columns

    def place(self, row: int) -> str:
        """The line on which a row ends."""
        if not self._lines:
            for _ in self._rows(lines=self._lines):
                pass
        return f"line {self._lines[row]}"

    def _rows(self, lines: list[int] | None = None) -> Iterator[list[str]]:
        stream = io.StringIO(self.text(), newline="")
        before = self.dialect.header
        for _ in range(before):
            next(stream)
        reader = self._reader(stream)
        width, comments = self.width, 0
        try:
            next(reader, None)
            for row in reader:
                if len(row) != width or row[0][:1] == "#":
                    if _is_comment(row, width):
                        comments += 1
                        continue
                    if not "".join(row).strip():
                        continue
                    if not any(row[width:]):  # a trailing delimiter
                        row = row[:width]
                    if len(row) != width:
                        raise self._ragged(before + reader.line_num, row)
                elif not row[0] and not "".join(row).strip():
                    continue  # only delimiters, as spreadsheets write empty rows
                if lines is not None:
                    lines.append(before + reader.line_num)
                yield row
        except csv.Error as error:
            raise _unreadable(self.path, before + reader.line_num, error) from error
        self.comments = comments

    def _reader(self, lines: Iterator[str]) -> Rows:
        if self.by_line:
            return LineRows(lines, self.dialect.delimiter)
        if self.quoted:
            return WholeRows(lines, self.dialect.delimiter, self.width)
        return rows_of(lines, self.dialect.delimiter)

    def _ragged(self, line: int, row: list[str]) -> DataError:
        mark = self.dialect.delimiter
        return DataError(
            f"{self.path}, line {line}: expected {self.width} cells as in the header, found "
            f"{len(row)}; quote cells that contain {mark!r}, correct the line, or remove it if it "
            "is a remark"
        )


def _is_comment(row: list[str], width: int) -> bool:
    """Whether a row is a comment. A row with as many cells as the header may be data that starts
    with "#", unless a space follows."""
    return bool(row) and row[0][:1] == "#" and (len(row) != width or row[0][:2] == "# ")


def _unreadable(path: Path | str, line: int, error: csv.Error) -> DataError:
    return DataError(f"{path}, line {line}: not readable as CSV: {error}; correct the line")


def _stray(path: Path | str, before: int, stray: StrayQuote) -> DataError:
    return DataError(f"{path}, line {before + stray.line}: {stray}")
