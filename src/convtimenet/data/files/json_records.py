"""Read JSON: one record per line, a list of records, or columns by name."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from convtimenet.data.columns import CellColumn, Grid
from convtimenet.data.files.raw import check_cells, decoded, lines_of
from convtimenet.data.text.stamp_forms import looks_like_date
from convtimenet.errors import DataError

__all__ = ["grid_of", "read_json", "unlike_keys"]

_SINCE_1970 = re.compile(r"-?\d{10,13}")  # as pandas writes a date index
_SHAPES = (
    'expected records such as {"date": "2024-01-31", "a": 1.5}, one per line or in a list, or '
    'columns such as {"date": [...], "a": [...]}'
)


def unlike_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of a JSON text with these members, for ``object_pairs_hook``: of two with one key
    the parser would keep the last.

    Raises
    ------
    ValueError
        If a key occurs twice.
    """
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:64]!r} twice in one object")
    return value


def read_json(path: Path, content: bytes) -> Grid:
    """Read a JSON file.

    Raises
    ------
    DataError
        If it is not JSON of one of these forms; for invalid JSON the message gives the line.
    """
    text, notices = decoded(content)
    try:
        value, place = json.loads(text, object_pairs_hook=unlike_keys), _record
        if isinstance(value, dict) and not all(isinstance(v, (list, dict)) for v in value.values()):
            value = [value]  # a single record
    except ValueError as error:
        value, place = _lines(path, text, error)
    return grid_of(path, value, place, notices)


def _record(row: int) -> str:
    return f"record {row}"


def grid_of(
    path: Path | str,
    value: Any,
    place: Callable[[int], str] = _record,
    notices: tuple[str, ...] = (),
) -> Grid:
    """The cells of parsed JSON: a list of records, or columns by name.

    Parameters
    ----------
    path
        What it is called in messages.
    place
        The position of a record, for messages.

    Raises
    ------
    DataError
        If it has another form.
    """
    if isinstance(value, dict):
        columns = _by_key(path, value)
        if len({len(cells) for cells in columns.values()}) > 1:
            raise DataError(f"{path}: the columns have different numbers of rows; {_SHAPES}")
    elif isinstance(value, list) and all(isinstance(record, dict) for record in value):
        names = list(dict.fromkeys(name for record in value for name in record))
        check_cells(path, len(value), len(names))
        columns = {name: [record.get(name) for record in value] for name in names}
    else:
        raise DataError(
            f"{path}: {_SHAPES}; found other JSON; use one of these forms, or save it as .csv"
        )
    if not columns or not next(iter(columns.values())):
        raise DataError(f"{path}: {_SHAPES}; found none; write at least two records")
    for name, cells in columns.items():
        if any(isinstance(cell, (list, dict)) for cell in cells):
            columns[name] = [None if cell is None else json.dumps(cell) for cell in cells]
    return Grid(
        names=tuple(columns),
        make=lambda name: CellColumn(name, columns[name], place),
        rows=len(next(iter(columns.values()))),
        notices=notices,
    )


def _by_key(path: Path | str, value: dict[str, Any]) -> dict[str, Any]:
    """Columns given as mappings from row key to cell, aligned by key; keys that are times become a
    time column."""
    if not all(isinstance(cells, dict) for cells in value.values()):
        return {
            str(name): [*cells.values()] if isinstance(cells, dict) else cells
            for name, cells in value.items()
        }
    keys = list(dict.fromkeys(key for cells in value.values() for key in cells))
    check_cells(path, len(keys), len(value))
    columns = {name: [cells.get(key) for key in keys] for name, cells in value.items()}
    dated = all(looks_like_date(key) for key in keys) or all(map(_SINCE_1970.fullmatch, keys))
    if dated and "time" not in columns:
        columns = {"time": keys, **columns}
    return columns


def _lines(path: Path, text: str, whole: ValueError) -> tuple[Any, Callable[[int], str]]:
    """One record per line."""
    records, lines = [], []
    for number, line in enumerate(lines_of(text), 1):
        if line.strip():
            try:
                records.append(json.loads(line, object_pairs_hook=unlike_keys))
            except ValueError as error:
                first = not records
                raise DataError(
                    f"{path}, line {number}: not readable as JSON: {whole if first else error}; "
                    f"{_SHAPES}; correct the line"
                ) from error
            lines.append(number)
    return records, lambda row: f"line {lines[row]}"
