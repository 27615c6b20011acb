"""JSON and CSV of requests: read strictly and counted before they are expanded, and written.

Cells are counted first because a few bytes can claim many: records that each have another key make
a table of their square.
"""

from __future__ import annotations

import json
from encodings import normalize_encoding
from encodings.aliases import aliases
from typing import Any

import numpy as np

from convtimenet.data.columns import Grid
from convtimenet.data.files.delimited import read_delimited
from convtimenet.data.files.json_records import grid_of, unlike_keys
from convtimenet.data.files.raw import check_text
from convtimenet.data.forecast_tables import table_times
from convtimenet.data.labelled.cases import Cases, as_cases, cases_in_csv
from convtimenet.data.tables import Table
from convtimenet.data.text.whole_times import to_whole
from convtimenet.errors import DataError
from convtimenet.serving.refusals import Refused
from convtimenet.serving.settings import MOST_CELLS, MOST_COLUMNS

# others are not looked up: Python would keep every name that it does not know
_CHARSETS = frozenset({*aliases, *aliases.values(), "koi8_u", "cp874"})


def parsed(body: bytes) -> Any:
    """The value of a JSON body.

    Raises
    ------
    DataError
        If it is not JSON in UTF-8, with a BOM or without; NaN and Infinity are not. If an object
        has a key twice.
    """
    try:
        text = body.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_no_number, object_pairs_hook=unlike_keys)
        if b"\\ud" in body.lower():  # half of a surrogate pair is no text that can be written
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (ValueError, RecursionError) as error:
        found = "values nested too deeply" if isinstance(error, RecursionError) else error
        raise DataError(
            f"the body: expected JSON in UTF-8, found {found}; correct it, with null for missing "
            "values"
        ) from None


def _no_number(text: str) -> Any:
    raise ValueError(f"{text}, which is no number in JSON")


def written(value: Any) -> bytes:
    """A value as JSON, which every parser reads."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def grid_from(what: str, value: Any) -> Grid:
    """A table or plan in JSON: a list of records, columns by name, or the text of a CSV file.

    Raises
    ------
    DataError
        If it has another form.
    Refused
        If it has too many cells.
    """
    if isinstance(value, str):
        return csv_grid(what, value.encode())
    if isinstance(value, dict) and all(isinstance(one, (list, dict)) for one in value.values()):
        columns = value.values()
        keys: set[Any] = set()
        keys.update(*(one for one in columns if isinstance(one, dict)))
        longest = max((len(one) for one in columns if isinstance(one, list)), default=0)
        check_columns(what, len(value))
        check_cells(what, len(value) * max(longest, len(keys)))
    elif isinstance(value, list) and all(isinstance(one, dict) for one in value):
        names = set().union(*value)
        check_columns(what, len(names))
        check_cells(what, len(value) * len(names))
    else:
        raise DataError(
            f"{what}: expected records, columns by name, or the text of a CSV file, found "
            f"{type(value).__name__}; see /openapi.json"
        )
    return grid_of(what, value)


def in_utf8(content: bytes, charset: str | None) -> bytes:
    """The text of a body in UTF-8, given the charset of its Content-Type; without one as it is:
    what reads it finds out the encoding.

    Raises
    ------
    Refused
        If the charset is not known.
    DataError
        If the body is not in it.
    """
    if charset is None:
        return content
    name = normalize_encoding(charset).lower()
    try:
        if name not in _CHARSETS:
            raise LookupError
        return content.decode(name).encode()
    except LookupError:
        raise Refused(
            415,
            f"expected a charset such as utf-8 in the Content-Type, found {charset[:60]!r}; send "
            "the text in UTF-8",
        ) from None
    except UnicodeError as error:
        raise DataError(
            f"the body: expected text in {charset}, as the Content-Type says, found other bytes "
            f"({error}); correct the charset, or leave it out"
        ) from None


def csv_grid(what: str, content: bytes) -> Grid:
    """The cells of a table in CSV.

    Raises
    ------
    DataError
        If it is not CSV.
    Refused
        If it has too many cells.
    """
    check_columns(what, _check_csv(what, content))
    return read_delimited(what, content)


def csv_cases(what: str, content: bytes) -> Cases:
    """The cases of a CSV table, and errors as for `csv_grid`."""
    # here a column is a step of a case
    check_columns(what, _check_csv(what, content) // 4)
    return cases_in_csv(what, content)


def _check_csv(what: str, content: bytes) -> int:
    """Check what a CSV text claims; the number of cells in its longest line."""
    check_text(what, content)
    marks = (b",", b";", b"\t", b"|", b" ")
    check_cells(what, max(map(content.count, marks)) + content.count(b"\n"))
    lines = content.splitlines() or [b""]
    return 1 + max(max(map(line.count, marks)) for line in lines)


def cases_from(value: Any) -> Cases:
    """Cases in JSON: for each a list of numbers, or of channels; or the text of a CSV file.

    Raises
    ------
    DataError
        If they have another form.
    Refused
        If they have too many values.
    """
    if isinstance(value, str):
        return csv_cases("cases", value.encode())
    if not isinstance(value, list) or not all(isinstance(case, list) for case in value):
        raise DataError(
            "cases: expected a list with a list of numbers, or of channels, for each case, or the "
            f"text of a CSV file, found {type(value).__name__}; see /openapi.json"
        )
    return as_cases([_case(case, number) for number, case in enumerate(value)])


def _case(case: list[Any], number: int) -> np.ndarray:
    """A case (C, L); channels that end early are padded with NaN."""
    channels = case if case and isinstance(case[0], list) else [case]
    for one in channels:
        right = isinstance(one, list) and all(
            cell is None or (isinstance(cell, (int, float)) and not isinstance(cell, bool))
            for cell in one
        )
        if not right:
            raise DataError(
                f"cases: expected numbers, or null where missing, in case {number}, found another "
                "value; give a list of numbers, or a list of channels that are such lists"
            )
    longest = max(map(len, channels))
    check_cells("cases", len(channels) * longest)
    values = np.full((len(channels), longest), np.nan)
    for row, one in zip(values, channels, strict=True):
        try:
            row[: len(one)] = np.array(one, dtype=np.float64)
        except OverflowError as error:
            raise DataError(
                f"cases: expected numbers below 1.8e308, found a larger one in case {number}; "
                "rescale the case"
            ) from error
    return values


def check_cells(what: str, cells: int) -> None:
    """Refuse more cells than the server takes.

    Raises
    ------
    Refused
        If there are too many.
    """
    if cells > MOST_CELLS:
        raise Refused(
            413,
            f"{what}: expected at most {MOST_CELLS} cells, found {cells}; send it in parts",
        )


def check_columns(what: str, columns: int) -> None:
    """Refuse more columns than the server takes, as for `check_cells`."""
    if columns > MOST_COLUMNS:
        raise Refused(
            413,
            f"{what}: expected at most {MOST_COLUMNS} columns, found {columns}; send them in "
            "parts, or as rows of a long table",
        )


# --- answers -------------------------------------------------------------------------------------


def forecast_like(sent: Any, found: Table) -> Any:
    """A forecast as the JSON that its table was sent in: records, or columns."""
    columns: dict[str, list[Any]] = {}
    if found.id_name is not None:
        labels = found.origin.id_labels or {}
        own = [labels.get(one, one) for one in found.ids.tolist()]
        columns[found.id_name] = np.repeat(np.array(own, dtype=object), found.lengths).tolist()
    columns[found.time_name] = _times(sent, found)
    columns |= dict(zip(found.channels, found.values.T.tolist(), strict=True))
    if isinstance(sent, dict):
        return columns
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _times(sent: Any, found: Table) -> list[Any]:
    """Time stamps as they were sent: text, or whole numbers, which some clients write as 1.0."""
    first = _first_cell(sent, found.time_name)
    if isinstance(first, int) or (isinstance(first, float) and first.is_integer()):
        form = found.origin.time_form
        times = found.times if form is None else to_whole(found.times, form)
        if times.dtype.kind == "i":
            return times.tolist()
    return table_times(found)


def _first_cell(sent: Any, name: str) -> Any:
    if isinstance(sent, list):
        return sent[0].get(name)
    column = sent.get(name) or ()
    return next(iter(column.values() if isinstance(column, dict) else column), None)
