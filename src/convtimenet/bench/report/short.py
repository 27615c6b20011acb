"""Our models beside each of the others: how often ahead, and by how much on average."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from convtimenet.bench.report.costs import geometric_mean, relative_mase
from convtimenet.bench.report.document import Table
from convtimenet.bench.report.summary import Column, Grid, Result, Results, Task

__all__ = ["Duel", "duels", "in_short", "listed"]

_SCORES: tuple[tuple[Task, str], ...] = (
    ("forecasting", "MSE"),
    ("classification", "accuracy"),
    ("small series", "MASE"),
)


@dataclass(frozen=True)
class Duel:
    """One of our models beside one other, over the rows in which both have a result.

    Attributes
    ----------
    named
        Number of rows of the matrix that name both.
    ahead, behind, equal
        Number of rows by the means over seeds.
    difference
        Ours less the other's: of errors in per cent, from the geometric mean of their ratios; of
        accuracy in percentage points. NaN without a row, or if an error is 0.
    """

    ours: Column
    peer: Column
    named: int
    ahead: int
    behind: int
    equal: int
    difference: float

    @property
    def rows(self) -> int:
        return self.ahead + self.behind + self.equal

    @property
    def always_equal(self) -> bool:
        """Whether the scores are equal in every row, if there are any."""
        return 0 < self.equal == self.rows


def duels(grid: Grid, ours: Sequence[str], task: Task) -> list[Duel]:
    """Every column of the models `ours` beside every column of the other models."""
    value = _values(task)
    found = []
    for own in (column for column in grid.columns if column.model in ours):
        for peer in (column for column in grid.columns if column.model not in ours):
            both = [
                (grid.results[row, own], grid.results[row, peer])
                for row in grid.rows
                if (row, own) in grid.results and (row, peer) in grid.results
            ]
            if both:
                pairs = [(value(one), value(other)) for one, other in both]
                found.append(_duel(own, peer, len(both), pairs, less=task != "classification"))
    return found


def in_short(several: Sequence[Results]) -> list[str | Table]:
    """A sentence for each of our models and task, then a table; empty if none is ours."""
    told: list[str | Table] = []
    rows: list[list[str]] = []
    absent: dict[str, None] = {}
    for results in several:
        by_task = results.by_task()
        for task, score in _SCORES:
            found = duels(results.grid(by_task.get(task, [])), results.matrix.ours, task)
            for own in dict.fromkeys(duel.ours for duel in found):
                mine = [duel for duel in found if duel.ours == own]
                told.append(_sentence(own, mine, task, score))
                rows += [_cells(duel, task, score) for duel in mine if duel.rows]
                absent |= {f"{duel.peer.title} ({task})": None for duel in mine if not duel.rows}
    if not rows:
        return told
    table = Table(
        caption="Ours beside each other model",
        columns=["Task", "Ours", "Other", "Compared", "Ahead", "Behind", "Equal", "On average"],
        rows=rows,
        texts=3,
        notes=[
            "Compared: sets and horizons in which both have a result, of those that the matrix "
            "names for both; scores are means over seeds, and small differences count too. On "
            "average: of errors from the geometric mean of their ratios, of accuracy from the mean "
            "difference in percentage points.",
            *([f"Without a result beside ours: {'; '.join(absent)}."] if absent else []),
        ],
    )
    return [*told, table]


def _values(task: Task) -> Callable[[Result], float]:
    if task == "small series":  # a set without a MASE gives no comparison
        return lambda result: math.nan if (one := relative_mase(result)) is None else one
    return lambda result: result.mean("accuracy" if task == "classification" else "mse")


def _duel(
    ours: Column, peer: Column, named: int, pairs: Sequence[tuple[float, float]], *, less: bool
) -> Duel:
    known = [pair for pair in pairs if all(map(math.isfinite, pair))]
    equal = sum(math.isclose(a, b, rel_tol=1e-9) for a, b in known)
    lower = sum(a < b and not math.isclose(a, b, rel_tol=1e-9) for a, b in known)
    higher = len(known) - equal - lower
    ahead, behind = (lower, higher) if less else (higher, lower)
    difference = math.nan
    if known and not less:
        difference = 100 * statistics.fmean(a - b for a, b in known)
    elif known and all(a > 0 and b > 0 for a, b in known):
        difference = 100 * (geometric_mean([a / b for a, b in known]) - 1)
    return Duel(ours, peer, named, ahead, behind, equal, difference)


def _sentence(own: Column, found: Sequence[Duel], task: Task, score: str) -> str:
    """Whose score is higher, whose is lower, and whose is equal."""
    ordered = sorted(found, key=lambda duel: -abs(duel.difference))
    same = [duel for duel in ordered if duel.difference == 0 or duel.always_equal]
    unequal = [duel for duel in ordered if duel not in same]
    parts = []
    for word, sign in (("higher", 1), ("lower", -1)):
        those = [duel for duel in unequal if duel.difference * sign > 0]
        if those:
            each = listed([f"{duel.peer.title} ({_how(duel, task)})" for duel in those])
            parts.append(f"{word} than that of {each}")
    if same:
        parts.append(f"equal to that of {listed([duel.peer.title for duel in same])}")
    text = f"{task.capitalize()}: on average the {score} of {own.title} is "
    compared = any(duel.rows for duel in found)
    none = (
        "not compared, as an error of 0 has no ratio" if compared else "not compared with any yet"
    )
    text += ", and ".join(parts) or none
    return f"{text}. {'Higher' if task == 'classification' else 'Lower'} is better."


def _how(duel: Duel, task: Task) -> str:
    unit = " points" if task == "classification" else " %"
    return f"by {abs(duel.difference):.1f}{unit}; ahead in {duel.ahead} of {duel.rows}"


def _cells(duel: Duel, task: Task, score: str) -> list[str]:
    names = [f"{task.capitalize()}, {score}", duel.ours.title, duel.peer.title]
    compared = str(duel.rows) if duel.rows == duel.named else f"{duel.rows} of {duel.named}"
    unit = " points" if task == "classification" else " %"
    mean = f"{duel.difference:+.1f}{unit}" if math.isfinite(duel.difference) else ""
    return [*names, compared, str(duel.ahead), str(duel.behind), str(duel.equal), mean]


def listed(words: Sequence[str]) -> str:
    """Words as "a, b and c"."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
