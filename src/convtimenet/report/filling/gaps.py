"""Sections about filled gaps. Shape legend: `convtimenet._shapes`; K columns of a channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convtimenet.data.tables import Table
from convtimenet.estimators.filling.answers import gaps_of
from convtimenet.report import _interactive as interactive
from convtimenet.report import _plots as plots
from convtimenet.report._html import Section, count, digits_for, rounded
from convtimenet.report.filling.drawn import (
    CLOSE,
    SHOWN,
    Shown,
    Told,
    among,
    between,
    closer,
    columns_of,
    first_rows,
    overview,
    shown,
)

_SHADES = 60  # of a plot


@dataclass(frozen=True)
class _Gaps:
    """How filled gaps are drawn."""

    levels: Sequence[str]
    peaks: ClassVar[Sequence[int]] = (0,)

    def traces(self, form: str) -> list[interactive.Figure]:
        return interactive.gap_traces(self.levels, form)

    def values(self, one: Shown) -> list[list]:
        return interactive.gap_values(one.columns, one.marked)

    def layout(self, one: Shown, xlabel: str) -> interactive.Figure:
        return interactive.marked_layout(xlabel, one.channel, one.columns, _shades(one))

    def picture(self, one: Shown, xlabel: str) -> str:
        drawn = one.times, one.columns, one.marked
        return plots.filled_gaps(*drawn, ylabel=one.channel, xlabel=xlabel)


def impute_sections(table: Table, filled: Table) -> list[Section]:
    """The gaps of a table, filled.

    Parameters
    ----------
    table, filled
        The table given to `impute`, and its result.

    Raises
    ------
    DataError
        If `filled` belongs to another table.
    """
    columns = columns_of(table, filled)
    K = columns.shape[-1]
    levels = [name.rpartition("-")[2].rstrip("_") for name in filled.channels[K // 2 + 1 : K]]
    missing, gaps = ~np.isfinite(table.values), gaps_of(table)
    if not len(gaps):
        return [Section("gaps", "The gaps", "<p>No value of the table is missing.</p>")]
    series = np.searchsorted(table.bounds, gaps[:, 0], side="right") - 1
    where = sorted({(int(s), int(c)) for s, c in zip(series, gaps[:, 2], strict=True)})
    found = [_gaps_told(shown(table, columns, missing, *at), levels) for at in where[:SHOWN]]
    overall = f"{count(int(missing.sum()), 'value')} in {count(len(gaps), 'gap')} filled, in "
    overall += f"{len(where):,} of {among(table)}."
    head = [table.time_name, "filled", *(f"{a} % {b}" for a in levels for b in ("from", "to"))]
    note = "Filled values are orange"
    note += f", with bands of their {' and '.join(levels)} % intervals." if levels else "."
    kind = _Gaps(levels)
    sections = [
        overview(
            kind,
            table,
            found,
            len(where),
            Section("gaps", "The gaps", overall),
            heads=("Filled values", head, "All gaps", ["series", "missing", "gaps", "longest"]),
            note=note,
        )
    ]
    close = []
    for at in np.argsort(gaps[:, 0] - gaps[:, 1], kind="stable")[:CLOSE]:
        first, end, c = gaps[at].tolist()
        one, begin = shown(table, columns, missing, int(series[at]), c), table.bounds[series[at]]
        span = int(first - begin), int(end - begin)
        close.append((one, span, f"{count(end - first, 'value')}, {between(one, span)}"))
    return sections + closer(kind, table, close, Section("longest", "The longest gaps", ""))


def _gaps_told(one: Shown, levels: Sequence[str]) -> Told:
    spans, n, L = one.spans(), int(one.marked.sum()), len(levels)
    longest = max(spans, key=lambda span: span[1] - span[0])
    length = longest[1] - longest[0]
    words = f"{count(n, 'value')} filled, {between(one, longest)}."
    if len(spans) > 1:
        words = f"{count(n, 'value')} in {count(len(spans), 'gap')} filled. The longest has "
        words += f"{count(length, 'value')}, {between(one, longest)}."
    order = [0, *(at for k in range(L) for at in (L - k, L + 1 + k))]
    digits = digits_for(one.columns)
    rows = [
        [stamp, *(rounded(value, digits) for value in values[order].tolist())]
        for stamp, values in first_rows(one, np.flatnonzero(one.marked))
    ]
    return Told(one, words, rows, [one.name, f"{n:,}", f"{len(spans):,}", f"{length:,}"])


def _shades(one: Shown) -> list[tuple]:
    """Where the longest gaps are, for shading: from the value before to the one behind."""
    spans = sorted(one.spans(), key=lambda span: span[0] - span[1])[:_SHADES]
    last = len(one.times) - 1
    ends = [at for first, end in spans for at in (max(0, first - 1), min(end, last))]
    x = one[ends].x()
    return list(zip(x[::2], x[1::2], strict=True))
