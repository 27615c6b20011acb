"""Read Monash ``.tsf`` files (one series per line, frequency in the header) as long tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convtimenet.data.columns import ArrayColumn, CellColumn, Column, Grid
from convtimenet.data.files.raw import decoded, lines_of
from convtimenet.data.text.numbers import is_missing
from convtimenet.data.text.reading import TimeReading
from convtimenet.data.text.times import parse_times
from convtimenet.data.time.frequency import Frequency
from convtimenet.errors import DataError

_STEPS = {
    "yearly": "y",
    "quarterly": "q",
    "monthly": "mo",
    "weekly": "W",
    "daily": "D",
    "hourly": "h",
    "half_hourly": "30min",
    "minutely": "min",
    "secondly": "s",
}
_SEVERAL = re.compile(r"(\d+)_(minute|second|hour|day|week|month)s?")
_ONE = {"minute": "min", "second": "s", "hour": "h", "day": "D", "week": "W", "month": "mo"}
_WITH_HYPHENS = re.compile(r"\d{4}-\d\d-\d\d \d\d-\d\d-\d\d")
_STAMPS = TimeReading(format="%Y-%m-%d %H-%M-%S")


@dataclass(frozen=True, kw_only=True)
class _Head:
    attributes: tuple[tuple[str, str], ...]
    frequency: str | None
    first: int
    """Number of lines before the first series."""


def read_tsf(path: Path, content: bytes) -> Grid:
    """Read the series as columns unique_id, ds and y, and one for each other attribute.

    Raises
    ------
    DataError
        If a line does not match the header; the message gives the line.
    """
    text, notices = decoded(content)
    lines = lines_of(text)
    head = _head(path, lines)
    names = [name for name, _ in head.attributes]
    values, lengths, given = [], [], []
    for number, line in enumerate(lines[head.first :], head.first + 1):
        if not line.strip() or line.startswith("#"):
            continue
        *attributes, cells = line.split(":")
        if len(attributes) != len(names):
            raise DataError(
                f"{path}, line {number}: expected {len(names)} attributes before the values, found "
                f"{len(attributes)}; correct the line"
            )
        values.append(_numbers(path, number, cells.split(",")))
        lengths.append(len(values[-1]))
        given.append(attributes)
    if not values:
        raise DataError(f"{path}: expected series below @data, found none; add one")
    rows = np.array(lengths)
    columns: dict[str, Column] = {}
    for i, (name, kind) in enumerate(head.attributes):
        cells = [attributes[i] for attributes in given]
        if kind == "date":
            columns["ds"] = _times(path, cells, rows, head)
        else:
            key = "unique_id" if "unique_id" not in columns and kind == "string" else name
            columns[key] = CellColumn(key, np.repeat(np.array(cells, dtype=object), rows).tolist())
    if "unique_id" not in columns:
        numbers = np.repeat(np.arange(len(rows)), rows)
        columns["unique_id"] = ArrayColumn("unique_id", numbers, kind="Int64")
    if "ds" not in columns:
        steps = np.concatenate([np.arange(n) for n in lengths])
        columns["ds"] = ArrayColumn("ds", steps, kind="Int64")
    columns["y"] = ArrayColumn("y", np.concatenate(values), kind="Float64")
    return Grid(
        names=tuple(columns),
        make=columns.__getitem__,
        rows=int(rows.sum()),
        commas=False,
        notices=notices,
    )


def _head(path: Path, lines: list[str]) -> _Head:
    attributes, frequency = [], None
    for i, line in enumerate(lines):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        tag = words[0].lower()
        if tag == "@data":
            return _Head(attributes=tuple(attributes), frequency=frequency, first=i + 1)
        if tag == "@attribute" and len(words) == 3:
            attributes.append((words[1], words[2].lower()))
        elif tag == "@frequency" and len(words) == 2:
            frequency = words[1].lower()
        elif not tag.startswith("@"):
            break
    raise DataError(
        f"{path}: expected header lines that start with @, and @data above the series; found none; "
        "add them, or save the table as .csv"
    )


def _numbers(path: Path, line: int, cells: list[str]) -> np.ndarray:
    try:
        return np.array([np.nan if is_missing(cell) else float(cell) for cell in cells])
    except ValueError as error:
        raise DataError(f"{path}, line {line}: {error}; correct the line") from None


def _times(path: Path, cells: list[str], rows: np.ndarray, head: _Head) -> ArrayColumn:
    """The time stamps of each series, generated from its first one."""
    several = _SEVERAL.fullmatch(head.frequency or "")
    name = f"{several[1]}{_ONE[several[2]]}" if several else _STEPS.get(head.frequency or "")
    if name is None:
        raise DataError(
            f"{path}: expected @frequency with one of {', '.join(_STEPS)}, or a name such as "
            f"10_minutes, found {head.frequency or 'none'}; add the line or correct it"
        )
    own = all(_WITH_HYPHENS.fullmatch(cell.strip()) for cell in cells)
    reading = _STAMPS if own else None
    first = parse_times(cells, lambda i: f"{path}, series {i}", reading).times
    ends = np.cumsum(rows)
    found = np.empty(int(rows.sum()), dtype="datetime64[ns]")
    for start, end, n in zip(first, ends.tolist(), rows.tolist(), strict=True):
        step = Frequency.asked(name, start[None])  # months keep the day of each series
        found[end - n : end] = step.grid(np.full(n, start), np.arange(n))
    return ArrayColumn("ds", found, kind="Datetime")
