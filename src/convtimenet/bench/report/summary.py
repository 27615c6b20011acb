"""Results grouped: a column per model, a row per set and horizon, averaged over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from convtimenet.bench.lines import of_matrix
from convtimenet.bench.lines import read as read_lines
from convtimenet.bench.matrix import Cell, Matrix
from convtimenet.config import Protocol
from convtimenet.errors import DataError

__all__ = [
    "SCORES", "Column", "Grid", "Line", "Result", "Results", "Row", "Task", "best", "columns_of",
    "complete", "tasks",
]  # fmt: skip

Task = Literal["forecasting", "classification", "small series"]
Line = Mapping[str, Any]

SCORES: dict[str, tuple[str, bool]] = {
    "mse": ("MSE", True),
    "mae": ("MAE", True),
    "accuracy": ("accuracy", False),
}
"""The name of a score, and whether lower is better."""


class Row(NamedTuple):
    """A set, and the horizon if it is a forecasting set."""

    dataset: str
    horizon: int | None

    @property
    def label(self) -> str:
        return self.dataset if self.horizon is None else f"{self.dataset}-{self.horizon}"


@dataclass(frozen=True)
class Column:
    """A model with variants that never share a set and horizon.

    Attributes
    ----------
    deterministic
        Whether no variant's scores depend on the seed.
    """

    title: str
    model: str
    variants: tuple[str, ...]
    deterministic: bool

    def holds(self, who: str) -> bool:
        """Whether ``model.variant`` belongs to this column."""
        model, _, variant = who.partition(".")
        return model == self.model and variant in self.variants


@dataclass(frozen=True)
class Result:
    """The results of one model in one row, over all seeds.

    Attributes
    ----------
    variant
        Variant of the model.
    named
        Number of seeds in the matrix.
    lines
        Lines of the seeds that have scores.
    failed
        Whether one of the other seeds ended with an error.
    """

    variant: str
    named: int
    lines: tuple[Line, ...]
    failed: bool

    def mean(self, score: str) -> float:
        """Mean over seeds; NaN if there are none or one is not finite."""
        values = self._values(score)
        return float(np.mean(values)) if values else math.nan

    def sd(self, score: str) -> float | None:
        """Sample standard deviation over seeds; None for fewer than two."""
        values = self._values(score)
        if len(values) < 2:
            return None
        return 0.0 if len(set(values)) == 1 else float(np.std(values, ddof=1))

    def _values(self, score: str) -> list[float]:
        found = [line["scores"].get(score) for line in self.lines]
        return [math.nan if value is None else float(value) for value in found]

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of fit and predict, averaged over seeds."""
        return float(np.mean([sum(line["cpu_seconds"].values()) for line in self.lines]))

    @property
    def missing(self) -> str:
        """What a table shows instead of a score if no seed has a result."""
        return "failed" if self.failed else "not run"


@dataclass(frozen=True)
class Grid:
    """Results of one task under one protocol; pairs that are not in the matrix are absent."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    results: Mapping[tuple[Row, Column], Result]

    @classmethod
    def of(
        cls,
        columns: Iterable[Column],
        cells: Iterable[Cell],
        lines: Mapping[str, Line],
        failed: Iterable[str] = (),
        protocol: Protocol = "honest",
    ) -> Grid:
        """Group cells; `lines` is by cell key, `failed` holds cell keys."""
        failed = set(failed)
        groups: dict[tuple[Row, Column], list[Cell]] = {}
        order: dict[str, int] = {}
        columns = tuple(columns)
        for cell in cells:
            if cell.protocol == protocol:
                order.setdefault(cell.dataset, len(order))
                column = next(column for column in columns if column.holds(cell.who))
                groups.setdefault((Row(cell.dataset, cell.horizon), column), []).append(cell)
        results = {
            place: Result(
                variant=own[0].variant,
                named=len(own),
                lines=tuple(lines[cell.key] for cell in own if cell.key in lines),
                failed=any(cell.key in failed for cell in own),
            )
            for place, own in groups.items()
        }
        rows = sorted(
            {row for row, _ in results}, key=lambda row: (order[row.dataset], row.horizon or 0)
        )
        shown = {column for _, column in results}
        return cls(tuple(column for column in columns if column in shown), tuple(rows), results)

    def means(self, score: str) -> np.ndarray:
        """(rows, columns) means over seeds, NaN if there is no result."""
        return self._array(lambda result: result.mean(score))

    def cpu_seconds(self) -> np.ndarray:
        """(rows, columns) CPU seconds, NaN if there is no result."""
        return self._array(lambda result: result.cpu_seconds if result.lines else math.nan)

    def _array(self, value: Any) -> np.ndarray:
        none = math.nan
        return np.array(
            [
                [
                    none if (found := self.results.get((row, column))) is None else value(found)
                    for column in self.columns
                ]
                for row in self.rows
            ],
            dtype=float,
        ).reshape(len(self.rows), len(self.columns))


@dataclass(frozen=True)
class Results:
    """What has been measured of some cells of a matrix.

    Attributes
    ----------
    out
        The JSON Lines file.
    lines, failed
        The newest line of each cell that has scores, and the errors of the others, by cell key.
    outdated
        Cells that have only results with other settings or data than the matrix has now.
    """

    matrix: Matrix
    cells: Sequence[Cell]
    out: Path
    lines: Mapping[str, Line]
    failed: Mapping[str, str]
    outdated: Sequence[str] = ()

    @classmethod
    def read(cls, matrix: Matrix, cells: Sequence[Cell], out: Path) -> Results:
        """Read the JSON Lines file.

        Raises
        ------
        ConfigError
            If it cannot be read.
        DataError
            If it has no result or error for any of the cells.
        """
        every = read_lines(out)
        keys = {cell.key for cell in cells}
        counted, outdated = of_matrix(matrix, every)
        found = {key: line for key, line in counted.items() if key in keys}
        failed = {
            key: str(line["error"])
            for line in every
            if "error" in line and (key := Cell(**line["cell"]).key) in keys and key not in found
        }
        if not found and not failed:
            now = " with their present settings" if outdated else ""
            raise DataError(
                f"expected results in {out}, found none for the {len(cells)} cells{now}; run some "
                f"first: convtimenet bench run {matrix.path}"
            )
        return cls(matrix, cells, out, found, failed, [key for key in outdated if key in keys])

    def by_task(self) -> dict[Task, list[Cell]]:
        """The cells of each task."""
        return tasks(self.matrix, self.cells, self.lines)

    def grid(self, cells: Sequence[Cell]) -> Grid:
        """The results of cells of one task, under the honest protocol."""
        return Grid.of(columns_of(self.matrix, cells), cells, self.lines, self.failed)


def tasks(
    matrix: Matrix, cells: Iterable[Cell], lines: Mapping[str, Line]
) -> dict[Task, list[Cell]]:
    """Cells by task.

    Sets of a group are small series and appear only there. A set without a horizon is a
    classification set, unless its lines have no accuracy.
    """
    cells = tuple(cells)
    forecast = {
        cell.dataset
        for cell in cells
        if cell.horizon is not None
        or (cell.key in lines and "accuracy" not in lines[cell.key]["scores"])
    }
    found: dict[Task, list[Cell]] = {}
    for cell in cells:
        task: Task = "forecasting" if cell.dataset in forecast else "classification"
        if "group" in matrix.sets.get(cell.dataset, {}):
            task = "small series"
        found.setdefault(task, []).append(cell)
    return found


def columns_of(matrix: Matrix, cells: Iterable[Cell]) -> tuple[Column, ...]:
    """The columns of some cells, in the order of the matrix.

    Variants of a model share a column unless they have a set, horizon and protocol in common, or
    the matrix sets them apart.
    """
    places: dict[str, dict[str, set[tuple[str, str]]]] = {}
    for cell in cells:
        own = places.setdefault(cell.model, {}).setdefault(cell.variant, set())
        own.add((cell.where, cell.protocol))
    found = []
    for model, settings in matrix.models.items():
        groups: list[tuple[list[str], set[tuple[str, str]]]] = []
        for variant, where in places.get(model, {}).items():
            alone = {*settings.get("apart", [])}
            for variants, taken in groups:
                if not taken & where and alone.isdisjoint([variant, *variants]):
                    variants.append(variant)
                    taken |= where
                    break
            else:
                groups.append(([variant], set(where)))
        for variants, _ in groups:
            title = str(settings.get("title", model))
            if len(groups) > 1:
                title += f" ({', '.join(variants)})"
            model_is = settings.get("deterministic", False)
            deterministic = all(
                settings.get("variants", {}).get(one, {}).get("deterministic", model_is)
                for one in variants
            )
            found.append(Column(title, model, tuple(variants), deterministic))
    return tuple(found)


def complete(present: np.ndarray, must: int | None = None) -> tuple[list[int], list[int]]:
    """Rows and columns of a large block without missing results.

    Greedy: columns are removed one by one, each time the one whose removal leaves the most complete
    rows; the largest block found on the way is returned. Blocks have at least three columns, if
    there are that many.

    Parameters
    ----------
    present
        (rows, columns) bool.
    must
        A column that is never removed.
    """
    kept = list(range(present.shape[1]))
    least = min(3, len(kept))
    found: tuple[list[int], list[int]] = [], []
    while kept and len(kept) >= least:
        rows = np.flatnonzero(present[:, kept].all(axis=1)).tolist()
        if len(rows) * len(kept) > len(found[0]) * len(found[1]):
            found = rows, kept.copy()

        def gain(column: int) -> tuple[int, int, int]:
            others = [one for one in kept if one != column]
            without = int(present[:, others].all(axis=1).sum())
            return without, -int(present[:, column].sum()), column

        leaving = [column for column in kept if column != must]
        if not leaving:
            break
        kept.remove(max(leaving, key=gain))
    return found


def best(
    means: Sequence[float],
    spreads: Sequence[float | None],
    deterministic: Sequence[bool],
    *,
    less: bool,
) -> int | None:
    """The index of the best column, if it beats the second by more than the spread over seeds.

    Parameters
    ----------
    means
        A row of scores, NaN if there is none.
    spreads
        Standard deviations over seeds, None for a single seed. For a single seed of a model that
        depends on it, the largest of the row is used; for a deterministic model, 0.
    deterministic
        Whether each column's model is deterministic.
    less
        Whether lower is better.
    """
    known = [
        spread
        for spread, fixed in zip(spreads, deterministic, strict=True)
        if spread is not None and not fixed
    ]
    order = [int(i) for i in np.argsort(np.asarray(means) * (1 if less else -1), kind="stable")]
    order = [i for i in order if math.isfinite(means[i])]
    if not known or len(order) < 2:
        return None
    widths = [
        0.0 if fixed else max(known) if spread is None else spread
        for spread, fixed in zip(spreads, deterministic, strict=True)
    ]
    first, second = order[:2]
    apart = abs(means[first] - means[second]) > widths[first] + widths[second]
    return first if apart else None
