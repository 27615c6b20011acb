"""Tables of the cost of models, and of small series by group."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from convtimenet.bench.report.document import Table
from convtimenet.bench.report.summary import Grid, Line, Result, Row

__all__ = ["cost_table", "geometric_mean", "small_series_table"]


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
    return Table(
        caption=caption,
        columns=heads,
        rows=rows,
        notes=[
            "Medians over the cells of each model; models may have different cells. CPU seconds: "
            "fit and predict. MACs: multiply-adds of one forecast of all channels, or of one case. "
            "Memory: the whole process, including libraries and data."
        ],
    )


def small_series_table(grid: Grid, groups: Mapping[str, str]) -> Table:
    """Errors relative to the seasonal-naive forecast, by group; `groups` is by set."""
    by_group: dict[str, list[Row]] = {}
    for row in grid.rows:
        by_group.setdefault(groups[row.dataset], []).append(row)
    if len(by_group) > 1:
        by_group["All groups"] = list(grid.rows)
    body = []
    for group, rows in by_group.items():
        for column in grid.columns:
            named = [
                result for row in rows if (result := grid.results.get((row, column))) is not None
            ]
            if not named:
                continue
            found = [ratio for ratio in map(_relative_mase, named) if ratio is not None]
            if found:
                better = sum(ratio < 1 for ratio in found) / len(found)
                cells = [f"{geometric_mean(found):.3f}", f"{100 * better:.0f} %"]
            else:
                failed = any(result.failed for result in named)
                cells = ["failed" if failed else "not run", ""]
            of = "" if len(found) == len(named) else f" of {len(named)}"
            body.append([group, column.title, *cells, f"{len(found)}{of}"])
    return Table(
        caption="Relative MASE by group",
        columns=["Group", "Model", "Relative MASE", "Better than naive", "Sets"],
        rows=body,
        texts=2,
        notes=[
            "Relative MASE: the model's MASE divided by that of the seasonal-naive forecast on the "
            "same set and horizon, as a geometric mean over them; below 1 is better than naive. "
            "Sets without a MASE, or with a naive MASE of 0, are not included."
        ],
    )


def geometric_mean(values: Sequence[float] | np.ndarray) -> float:
    """The geometric mean of numbers from 0."""
    if min(values) == 0:
        return 0.0
    return math.exp(statistics.fmean(map(math.log, values)))


def _relative_mase(result: Result) -> float | None:
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
