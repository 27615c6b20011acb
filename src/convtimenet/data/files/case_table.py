"""Read labelled cases from a delimited text file: one case per row, as in the UCR archive, or in
long form with one row per case and time step."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convtimenet.data.files.case_file import MISSING, CaseFile, labels_in, number_in, text_of
from convtimenet.data.files.dialect import find_delimiter, is_remark, said_delimiter
from convtimenet.data.files.raw import decoded, lines_of, unpacked_name
from convtimenet.data.files.stamped import on_equal_steps
from convtimenet.data.text.numbers import decimal_of, number_of, two_readings
from convtimenet.errors import DataError
from convtimenet.wording import unknown_column

__all__ = ["read_case_table"]

_LABELS = frozenset(
    {"label", "labels", "class", "classes", "classlabel", "target", "targets", "category"}
)
_IDS = frozenset(
    {"case", "caseid", "caseno", "id", "instance", "instanceid", "series", "seriesid", "sample",
     "sampleid", "uniqueid", "index", "unnamed:0", ""}
)  # fmt: skip
_TIMES = frozenset(
    {"time", "timestamp", "timestep", "step", "t", "date", "datetime", "ds", "readingid"}
)
_CHANNELS = frozenset({"dim", "dimid", "dimension", "channel", "channelid"})
_NUMBERED = re.compile(r"(?P<stem>.*?)[ _.-]*(?P<number>\d+)")
_NUMBER_FIRST = re.compile(r"(?P<number>\d+)[ _.-]+(?P<stem>.*\D)")
_COUNTED = 5
"""This many consecutive numbers in the first row make it a header, whatever its other cells are."""
_WITHOUT_NAMES = "name the label column 'label' in a header line"
_REMEDY = "pass its name as label_col (--label_col), or name it 'label' in the header line"


@dataclass(frozen=True)
class _Grid:
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


def read_case_table(path: Path, label: str | None = None, raw: bytes | None = None) -> CaseFile:
    """Read the cases of a delimited text file, .csv, .tsv or .txt, or of its content `raw`.

    With a header, the label column is the one named by `label`, else the one named label, class or
    target, else the only text column, or the only one whose name is not numbered like the others
    (t0, t1, ..., group). Rows with the same case id are one case, ordered by their time column.
    Without a header the label is the first column of .tsv and .txt files, as in the UCR archive,
    and the first or last of .csv files.

    Raises
    ------
    DataError
        If cells are not numbers (the message gives the line), or the label column is ambiguous.
    """
    grid = _grid(path, text_of(path) if raw is None else decoded(raw)[0])
    if label is not None and label not in (grid.names or ()):
        found = unknown_column(label, grid.names) if grid.names else "there is no header line"
        raise DataError(f"{path}: label_col (--label_col): {found}")
    if grid.names is None:
        return _headless(grid)
    keys = [_key(name) for name in grid.names]
    ids = [i for i, key in enumerate(keys) if key in _IDS]
    times = [i for i, key in enumerate(keys) if key in _TIMES]
    strong = [i for i, key in enumerate(keys) if key in _LABELS]
    if label is not None:
        strong = [grid.names.index(label)]
        ids = [i for i in ids if i not in strong]
        times = [i for i in times if i not in strong]
    if len(strong) > 1:
        names = " and ".join(repr(grid.names[i]) for i in strong)
        raise DataError(
            f"{path}: the columns {names} could both be the label; leave one of them out, or "
            "pass label_col (--label_col)"
        )
    below = [i for i, key in enumerate(keys) if key in _CHANNELS]
    if below and len(set(grid.column(below[0]))) < len(grid.rows):
        raise DataError(
            f"{path}: column {grid.names[below[0]]!r} has a row for each channel; write one column "
            "per channel instead, in pandas with table.pivot(index=[case, time], columns="
            f"{grid.names[below[0]]!r}, values=...)"
        )
    repeated = [i for i in ids if len(set(grid.column(i))) < len(grid.rows)]
    if repeated:
        others = [i for i in ids if i != repeated[0]]
        return _long(grid, repeated[0], times[:1], strong, {*others[:1]} if others else set())
    if times:
        raise DataError(
            f"{path}: found a time column {grid.names[times[0]]!r} but no column with case ids; "
            "for labelled cases name one 'case_id', or write one case per row; to forecast such a "
            "table use convtimenet forecast"
        )
    return _wide(grid, ids, strong)


# --- cells ---------------------------------------------------------------------------------------


def _grid(path: Path, text: str) -> _Grid:
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
    return _Grid(names, rows, places, decimal, path)


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
    named = all(_key(cell) in _LABELS | _IDS for cell in others)
    return bool(others) and len(others) < 3 and counts and (named or len(steps) >= _COUNTED)


def _key(name: str) -> str:
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


# --- one case per row ----------------------------------------------------------------------------


def _headless(grid: _Grid) -> CaseFile:
    shortest = min(map(len, grid.rows))
    if shortest < 2:
        at = [len(row) for row in grid.rows].index(shortest)
        raise DataError(
            f"{grid.path}, {grid.places[at]}: expected a label and numbers, found {shortest} "
            "cell(s); write one case per row, with values separated by ',' or tabs"
        )
    notices: list[str] = []
    ucr = not unpacked_name(grid.path.name).endswith(".csv")
    at = 0 if ucr else _label_without_name(grid)
    if at is None:
        notices.append(f"found no label column; if there is one, {_WITHOUT_NAMES}")
        return CaseFile(
            series=[grid.numbers(i, range(len(row)))[None] for i, row in enumerate(grid.rows)],
            labels=None,
            notices=tuple(notices),
        )
    labels = labels_in(grid.column(at), grid.places, grid.path, grid.decimal)
    if not ucr or (labels is not None and labels.dtype.kind == "f"):
        notices.append(f"the {'last' if at else 'first'} column is used as the label")
    series = []
    for i, row in enumerate(grid.rows):
        columns = range(1, len(row)) if at == 0 else range(len(row) - 1)
        series.append(grid.numbers(i, columns)[None])
    return CaseFile(series=series, labels=labels, notices=tuple(notices))


def _label_without_name(grid: _Grid) -> int | None:
    """The label column, first (0) or last (-1): the only text column of the two, else the only
    integer column; None if neither qualifies."""
    for test in (
        lambda at: not grid.numeric(at),
        lambda at: all(re.fullmatch(r"\s*[+-]?\d+\s*", cell) for cell in grid.column(at)),
    ):
        found = [at for at in (0, -1) if test(at)]
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(
                f"{grid.path}: the label may be the first or the last column; {_WITHOUT_NAMES}"
            )
    return None


def _wide(grid: _Grid, ids: list[int], strong: list[int]) -> CaseFile:
    assert grid.names is not None
    names, notices = grid.names, []
    rest = [i for i in range(len(names)) if i not in ids]
    label = strong[0] if strong else None
    if label is None:
        text = [i for i in rest if not grid.numeric(i)]
        odd = [i for i in rest if _NUMBERED.fullmatch(names[i]) is None]
        odd = odd if len(odd) < len(rest) else []
        found = text or odd
        if len(found) > 1:
            raise DataError(
                f"{grid.path}: any of the columns {', '.join(repr(names[i]) for i in found[:5])} "
                "may be the label; pass the right one as label_col (--label_col), and leave the "
                "others out"
            )
        if found:
            label = found[0]
            notices.append(f"the column {names[label]!r} is used as the label")
        else:
            notices.append(f"found no label column; if there is one, {_REMEDY}")
    values = [i for i in rest if i != label]
    channels, stems = _channels(names, values, grid.path)
    called = tuple(cell.strip() for cell in grid.column(ids[0])) if ids else None
    if ids:
        notices.append(f"the column {names[ids[0]]!r} names the cases")
    labels = None
    if label is not None:
        labels = labels_in(grid.column(label), grid.places, grid.path, grid.decimal)
    series = [
        np.stack([grid.numbers(i, columns) for columns in channels]) for i in range(len(grid.rows))
    ]
    return CaseFile(series, labels, channels=stems, notices=tuple(notices), ids=called)


def _channels(
    names: tuple[str, ...], values: list[int], path: Path
) -> tuple[list[list[int]], tuple[str, ...] | None]:
    """The columns of each channel, from their names (x_0, ..., y_0, ...), or a single channel with
    all columns."""
    if not values:
        raise DataError(f"{path}: expected numeric columns besides the label, found none; add one")
    parts = [_NUMBERED.fullmatch(names[i]) for i in values]
    if not any(parts):
        parts = [_NUMBER_FIRST.fullmatch(names[i]) for i in values]
    columns: dict[str, dict[int, int]] = {}
    for i, part in zip(values, parts, strict=True):
        if part is not None:
            columns.setdefault(part["stem"], {})[int(part["number"])] = i
    counted = {stem: one for stem, one in columns.items() if len(one) > 1}
    others = [names[i] for i, part in zip(values, parts, strict=True) if part is None]
    if others and counted:
        steps_of = next(iter(counted.values()))
        raise DataError(
            f"{path}: the columns {', '.join(map(repr, others[:5]))} are not numbered like "
            f"{names[min(steps_of.values())]!r}, so they may not be time steps; leave them out, "
            "name the column of case numbers 'case_id', or number them too"
        )
    steps = {tuple(sorted(one)) for one in columns.values()}
    if len(counted) > 1 and len(steps) > 1:
        raise DataError(
            f"{path}: the channels {', '.join(map(repr, list(counted)[:5]))} are numbered "
            "differently; give all the same steps, with empty cells where values are missing"
        )
    if (
        len(steps) > 1
        or len(counted) < len(columns)
        or sum(map(len, columns.values())) < len(values)
    ):
        return [values], None
    ordered = [[one[k] for k in sorted(one)] for one in columns.values()]
    return ordered, tuple(columns) if len(columns) > 1 else None


# --- long form -----------------------------------------------------------------------------------


def _long(
    grid: _Grid, case: int, time: list[int], strong: list[int], left_out: set[int]
) -> CaseFile:
    assert grid.names is not None
    names = grid.names
    numbers: dict[str, int] = {}
    of = np.array([numbers.setdefault(cell.strip(), len(numbers)) for cell in grid.column(case)])
    if missing := [
        i for i, cell in enumerate(grid.column(case)) if cell.strip().lower() in MISSING
    ]:
        raise DataError(
            f"{grid.path}, {grid.places[missing[0]]}: the case id in column {names[case]!r} is "
            "missing; every row needs one"
        )
    members = [np.flatnonzero(of == i) for i in range(len(numbers))]
    rest = [i for i in range(len(names)) if i not in (case, *time, *left_out)]
    notices = [f"rows with the same {names[case]!r} form one case"]
    label = _label_of_cases(grid, members, rest, strong, notices)
    values = [i for i in rest if i != label]
    if not values:
        raise DataError(f"{grid.path}: expected columns besides the label, found none; add one")
    places = [grid.places[rows[0]] for rows in members]
    series = [
        np.stack([grid.numbers(i, values) for i in rows.tolist()], axis=1) for rows in members
    ]
    if time:
        stamps = [[[grid.rows[i][time[0]].strip() for i in rows]] * len(values) for rows in members]
        series, said = on_equal_steps(stamps, [list(one) for one in series], places, grid.path)
        notices += said
    labels = None
    if label is not None:
        cells = [grid.rows[rows[0]][label] for rows in members]
        labels = labels_in(cells, places, grid.path, grid.decimal)
    channels = tuple(names[i] for i in values)
    return CaseFile(series, labels, None, channels, tuple(notices), tuple(numbers))


def _label_of_cases(
    grid: _Grid, members: list[np.ndarray], rest: list[int], strong: list[int], notices: list[str]
) -> int | None:
    """The label column, which is constant within each case."""
    assert grid.names is not None

    def differs(at: int) -> int | None:
        cells = [cell.strip() for cell in grid.column(at)]
        for rows in members:
            other = [i for i in rows if cells[i] != cells[rows[0]]]
            if other:
                return int(other[0])
        return None

    if strong:
        row = differs(strong[0])
        if row is not None:
            raise DataError(
                f"{grid.path}, {grid.places[row]}: the label in column {grid.names[strong[0]]!r} "
                "differs from earlier rows of the same case; correct it, or rename the column if "
                "it is not the label"
            )
        return strong[0]
    constant = [i for i in rest if differs(i) is None]
    text = [i for i in constant if not grid.numeric(i)]
    found = text if len(text) == 1 else constant
    if len(found) > 1:
        names = ", ".join(repr(grid.names[i]) for i in found[:5])
        raise DataError(
            f"{grid.path}: the columns {names} are constant within each case, and any may be the "
            "label; pass the right one as label_col (--label_col), and leave the others out"
        )
    if not found:
        notices.append(f"found no label column; if there is one, {_REMEDY}")
        return None
    notices.append(f"the column {grid.names[found[0]]!r} is used as the label")
    return found[0]
