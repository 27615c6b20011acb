"""Our models beside each of the others: how often ahead, and by how much on average."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from scipy.stats import t

from convtimenet.bench.report.costs import geometric_mean, relative_mase
from convtimenet.bench.report.document import Table
from convtimenet.bench.report.summary import Column, Grid, Result, Results, Task

__all__ = ["Duel", "between", "duels", "in_short", "listed"]

_SCORES: tuple[tuple[Task, str], ...] = (
    ("forecasting", "MSE"),
    ("classification", "accuracy"),
    ("small series", "MASE"),
)


LEAST = 3
"""Sets or series of an interval: that of two is too wide to say anything."""
_LEVEL = 0.95


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
    interval
        The 95 % interval of the difference; None with fewer than `LEAST` sets or series.
    """

    ours: Column
    peer: Column
    named: int
    ahead: int
    behind: int
    equal: int
    difference: float
    interval: tuple[float, float] | None = None

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
                row
                for row in grid.rows
                if (row, own) in grid.results and (row, peer) in grid.results
            ]
            if both:
                pairs = [
                    (value(grid.results[row, own]), value(grid.results[row, peer])) for row in both
                ]
                series = [row.dataset.partition("@")[0] for row in both]
                less = task != "classification"
                found.append(_duel(own, peer, len(both), pairs, series, less=less))
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
            "difference in percentage points. In brackets: a 95 % interval, Student's t over the "
            "sets, or over the series of small series; horizons of a set and cut-offs of a series "
            f"depend on each other and count once. None with fewer than {LEAST} sets.",
            *([f"Without a result beside ours: {'; '.join(absent)}."] if absent else []),
        ],
    )
    return [*told, table]


def _values(task: Task) -> Callable[[Result], float]:
    if task == "small series":  # a set without a MASE gives no comparison
        return lambda result: math.nan if (one := relative_mase(result)) is None else one
    return lambda result: result.mean("accuracy" if task == "classification" else "mse")


def _duel(
    ours: Column,
    peer: Column,
    named: int,
    pairs: Sequence[tuple[float, float]],
    series: Sequence[Hashable],
    *,
    less: bool,
) -> Duel:
    """`series` says which pairs are of one set or series, and so depend on each other."""
    finite = [all(map(math.isfinite, pair)) for pair in pairs]
    known = [pair for pair, kept in zip(pairs, finite, strict=True) if kept]
    of = [one for one, kept in zip(series, finite, strict=True) if kept]
    equal = sum(math.isclose(a, b, rel_tol=1e-9) for a, b in known)
    lower = sum(a < b and not math.isclose(a, b, rel_tol=1e-9) for a, b in known)
    higher = len(known) - equal - lower
    ahead, behind = (lower, higher) if less else (higher, lower)
    difference, interval = math.nan, None
    if known and not less:
        differences = [100 * (a - b) for a, b in known]
        difference, interval = statistics.fmean(differences), _interval(differences, of)
    elif known and all(a > 0 and b > 0 for a, b in known):
        difference = 100 * (geometric_mean([a / b for a, b in known]) - 1)
        logs = _interval([math.log(a / b) for a, b in known], of)
        interval = logs and (100 * math.expm1(logs[0]), 100 * math.expm1(logs[1]))
    return Duel(ours, peer, named, ahead, behind, equal, difference, interval)


def _interval(values: Sequence[float], of: Sequence[Hashable]) -> tuple[float, float] | None:
    """The interval of a mean whose values depend on each other within sets.

    Student's t over the sets, each with the sum of its deviations from the mean; with as many
    values in every set that is the interval of the mean of the sets' means.
    """
    mean = statistics.fmean(values)
    sums: dict[Hashable, float] = {}
    for value, one in zip(values, of, strict=True):
        sums[one] = sums.get(one, 0.0) + value - mean
    n = len(sums)
    if n < LEAST:
        return None
    error = math.sqrt(n / (n - 1) * sum(one**2 for one in sums.values())) / len(values)
    half = float(t.ppf((1 + _LEVEL) / 2, n - 1)) * error
    return mean - half, mean + half


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
    mean += f" ({between(duel.interval)})" if duel.interval else ""
    return [*names, compared, str(duel.ahead), str(duel.behind), str(duel.equal), mean]


def between(interval: tuple[float, float]) -> str:
    """An interval as "-19.4 to +2.8"."""
    low, high = interval
    return f"{low:+.1f} to {high:+.1f}"


def listed(words: Sequence[str]) -> str:
    """Words as "a, b and c"."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
