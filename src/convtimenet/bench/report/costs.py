"""Tables of the cost of models, and of small series by group."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from convtimenet.bench.report.document import Table
from convtimenet.bench.report.summary import Column, Grid, Line, Result, Row
from convtimenet.report._html import count

__all__ = [
    "cost_table", "fit_table", "geometric_mean", "processors", "relative_mase", "small_series_table"
]  # fmt: skip


def cost_table(grid: Grid, caption: str) -> Table:
    """Medians over all cells of each model."""
    rows = []
    for column in grid.columns:
        lines = [
            line
            for (_, own), result in grid.results.items()
            if own == column
            for line in result.lines
        ]
        if lines:
            rows.append(
                [
                    column.title,
                    str(len(lines)),
                    _median(lines, lambda line: sum(line["cpu_seconds"].values()), _seconds),
                    _median(lines, lambda line: line.get("parameters"), _large),
                    _median(lines, lambda line: line.get("macs"), _large),
                    _median(lines, lambda line: line.get("peak_memory_mib"), "{:,.0f}".format),
                ]
            )
    heads = ["Model", "Cells", "CPU seconds", "Parameters", "MACs", "Peak memory (MiB)"]
    notes = [
        "Medians over the cells of each model; models may have different cells. CPU seconds: fit "
        "and predict. MACs: multiply-adds of one forecast of all channels, or of one case. "
        "Memory: the whole process, including libraries and data."
    ]
    return Table(caption=caption, columns=heads, rows=rows, notes=[*notes, *processor_notes(grid)])


def processors(grid: Grid) -> dict[str, dict[Column, int]]:
    """The processors of a grid's results, each with its number of cells by model."""
    found: dict[str, dict[Column, int]] = {}
    for (_, column), result in grid.results.items():
        for line in result.lines:
            own = found.setdefault(str(line["machine"]["processor"]), {})
            own[column] = own.get(column, 0) + 1
    return found


def processor_notes(grid: Grid) -> list[str]:
    """Whose seconds are of which processor; none if all are of one."""
    found = processors(grid)
    if len(found) < 2:
        return []
    told = [
        f"{name}: "
        + ", ".join(
            f"{one.title} ({count(own[one], 'cell')})" for one in grid.columns if one in own
        )
        for name, own in sorted(found.items(), key=lambda item: -sum(item[1].values()))
    ]
    return [
        "CPU seconds were measured on different processors, so that those of different processors "
        f"cannot be compared exactly. {'. '.join(told)}."
    ]


def fit_table(grid: Grid, caption: str) -> Table:
    """CPU seconds of fit by row and model."""
    same = " Processors: as for the table above." if len(processors(grid)) > 1 else ""
    rows = []
    for row in grid.rows:
        cells = []
        for column in grid.columns:
            if (result := grid.results.get((row, column))) is None:
                cells.append("")
            elif not result.lines:
                cells.append(result.missing)
            else:
                cells.append(
                    _seconds(statistics.fmean(line["cpu_seconds"]["fit"] for line in result.lines))
                )
        rows.append([row.label, *cells])
    return Table(
        caption=caption,
        columns=["Set", *(column.title for column in grid.columns)],
        rows=rows,
        notes=[f"Means over seeds.{same}"],
    )


def small_series_table(grid: Grid, groups: Mapping[str, str]) -> Table:
    """Errors relative to the seasonal-naive forecast, by group; `groups` is by set."""
    by_group: dict[str, list[Row]] = {}
    for row in grid.rows:
        by_group.setdefault(groups[row.dataset], []).append(row)
    if len(by_group) > 1:
        by_group["All groups"] = list(grid.rows)
    body = [
        [group, str(len(rows)), *(_in_group(grid, rows, column) for column in grid.columns)]
        for group, rows in by_group.items()
    ]
    notes = [
        "MASE divided by that of the seasonal-naive forecast on the same set and horizon, as a "
        "geometric mean over them; below 1 is better than naive. In brackets: the share of sets "
        "with less than 1, and the number of sets where it is smaller than the group's, because "
        "sets without a MASE, or with a naive MASE of 0, are not included."
    ]
    for column in grid.columns:
        own = [result for (_, one), result in grid.results.items() if one == column]
        ran, named = sum(len(result.lines) for result in own), sum(one.named for one in own)
        if ran < named:
            notes.append(
                f"{column.title}: {ran} of {named} cells have run; a set's MASE is the mean over "
                "the seeds that have."
            )
    return Table(
        caption="Relative MASE by group",
        columns=["Group", "Sets", *(column.title for column in grid.columns)],
        rows=body,
        notes=notes,
    )


def _in_group(grid: Grid, rows: Sequence[Row], column: Column) -> str:
    named = [result for row in rows if (result := grid.results.get((row, column))) is not None]
    if missing := [result for result in named if not result.lines]:
        return "failed" if any(result.failed for result in missing) else "not run"
    found = [ratio for ratio in map(relative_mase, named) if ratio is not None]
    if not found:
        return ""
    better = sum(ratio < 1 for ratio in found) / len(found)
    kept = "" if len(found) == len(rows) else f"; {len(found)}"
    return f"{geometric_mean(found):.3f} ({100 * better:.0f} %{kept})"


def geometric_mean(values: Sequence[float] | np.ndarray) -> float:
    """The geometric mean of numbers from 0."""
    if min(values) == 0:
        return 0.0
    return math.exp(statistics.fmean(map(math.log, values)))


def relative_mase(result: Result) -> float | None:
    """MASE over the naive forecast's, seeds averaged first; None if undefined."""
    mean = result.mean("mase")
    naive = result.lines[0]["naive"].get("mase") if result.lines else None
    return mean / naive if naive and math.isfinite(mean) else None


def _median(
    lines: Sequence[Line], value: Callable[[Line], Any], text: Callable[[float], str]
) -> str:
    found = [number for number in map(value, lines) if number is not None]
    return text(statistics.median(found)) if found else "not counted"


def _seconds(value: float) -> str:
    if value < 0.1:
        return f"{value:.2g}"
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _large(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}"
