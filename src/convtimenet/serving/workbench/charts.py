"""In the child process: the lines of the page's charts of a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.data.forecast_tables import table_times
from convtimenet.data.table_rows import crop, select_series
from convtimenet.data.tables import Table

_LINES, _POINTS = 4, 1500  # of the preview
_BEFORE = 100  # fewest steps that are shown before a forecast

Lines = list[dict[str, Any]]
"""Of a series: what is known, then the forecast with the "bounds" of its intervals."""


def first_lines(table: Table) -> Lines:
    """The end of what is known, of the first series and channels."""
    series, channels = _first(table)
    shown = select_series(table, np.arange(series))
    each = _each(shown, None, (), _POINTS, channels)
    return [line for lines in each for line in lines]


def write_lines(path: Path, table: Table, ahead: Table, levels: Sequence[float]) -> Lines:
    """The lines of the first series and channels, with their forecast. The file gets those of all:
    their names on its first line, then a line of JSON for each."""
    steps, C = max(_BEFORE, 5 * int(ahead.lengths[0])), len(table.channels)
    names = [_name(table, s, c) for s, c in product(range(len(table.lengths)), range(C))]
    series, channels = _first(table)
    shown: Lines = []
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(names) + "\n")
        for number, lines in enumerate(_each(table, ahead, levels, steps, C)):
            file.write(json.dumps(lines) + "\n")
            s, c = divmod(number, C)
            shown += lines if s < series and c < channels else []
    return shown


def drawn_words(table: Table, pick: bool = False) -> str:
    """That some are not drawn, and whether they can be picked; empty if all are drawn."""
    S, C = len(table.lengths), len(table.channels)
    series, channels = _first(table)
    if (series, channels) == (S, C):
        return ""
    what = f"columns of the first {series} of {S:,} series" if table.long else "columns"
    drawn, every = channels, C
    if C == 1:
        what, drawn, every = "series", series, S
    return f"Drawn: the first {drawn} of {every:,} {what}.{' Any can be picked.' * pick}"


def _each(
    table: Table, ahead: Table | None, levels: Sequence[float], steps: int, channels: int
) -> Iterator[Lines]:
    """The lines of the first channels of each series: its last steps, and the forecast."""
    end, n = crop(table, table.lengths - steps, table.lengths), len(levels)
    times, after = table_times(end), [] if ahead is None else table_times(ahead)
    bounds, bounds_after = end.bounds, () if ahead is None else ahead.bounds
    for s, c in product(range(len(table.lengths)), range(channels)):
        rows = slice(*bounds[s : s + 2])
        name = _name(table, s, c)
        lines = [{"name": name, "x": times[rows], "y": _plain(end.values[rows, c])}]
        if ahead is not None:
            rows, K = slice(*bounds_after[s : s + 2]), 1 + 2 * n
            # columns of a channel: the forecast, then its bounds from lowest to highest
            own = [_plain(one) for one in ahead.values[rows, c * K : (c + 1) * K].T]
            intervals = [
                {"level": level, "lo": own[n - k], "hi": own[n + 1 + k]}
                for k, level in enumerate(sorted(levels))
            ]
            forecast = {"name": f"{name}, forecast", "x": after[rows], "y": own[0]}
            lines.append({**forecast, "bounds": intervals, "ahead": True})
        yield lines


def _name(table: Table, s: int, c: int) -> str:
    return table.channels[c] if not table.long else f"{table.ids[s]}, {table.channels[c]}"


def _first(table: Table) -> tuple[int, int]:
    """Numbers of series, and of channels of each, that are drawn."""
    S, C = len(table.lengths), len(table.channels)
    return min(_LINES, S), min(max(1, _LINES // S), C)


def _plain(values: np.ndarray) -> list[float | None]:
    known = values.tolist()
    return [None if v != v else v for v in known] if np.isnan(values).any() else known
