"""Sections about scored values. Shape legend: `convtimenet._shapes`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import ClassVar

import numpy as np

from convtimenet.data.tables import Table
from convtimenet.report import _interactive as interactive
from convtimenet.report import _plots as plots
from convtimenet.report._html import Section, count, digits_for, rounded
from convtimenet.report._words import at_time, three_digits
from convtimenet.report.filling.drawn import (
    AROUND,
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


class _Scores:
    """How scored values are drawn."""

    peaks: ClassVar[Sequence[int]] = (0, 1)

    def traces(self, form: str) -> list[interactive.Figure]:
        return interactive.score_traces(form)

    def values(self, one: Shown) -> list[list]:
        value, score, _, limit = one.columns.T
        return interactive.score_values(value, score, one.marked, limit)

    def layout(self, one: Shown, xlabel: str) -> interactive.Figure:
        values = one.columns[:, 0]
        return interactive.marked_layout(xlabel, one.channel, values, [], below="score")

    def picture(self, one: Shown, xlabel: str) -> str:
        value, score, _, limit = one.columns.T
        drawn = one.times, value, score, one.marked, limit
        return plots.scored_values(*drawn, ylabel=one.channel, xlabel=xlabel)


def detect_sections(table: Table, scored: Table) -> list[Section]:
    """The values of a table, scored and flagged.

    Parameters
    ----------
    table, scored
        The table given to `detect`, and its result.

    Raises
    ------
    DataError
        If `scored` belongs to another table.
    """
    columns = columns_of(table, scored).copy()
    S, C = len(table.lengths), len(table.channels)
    flagged, scores = columns[..., 3] == 1, columns[..., 1]
    lowest = np.fmin.reduceat(np.where(flagged, scores, np.nan), table.bounds[:-1])
    columns[..., 3] = lowest.repeat(table.lengths, axis=0)
    every = ((s, c) for s in range(S) for c in range(C))
    found = [_scores_told(shown(table, columns, flagged, *at)) for at in islice(every, SHOWN)]
    known = int(np.isfinite(scores).sum())
    overall = f"{flagged.sum():,} of {count(known, 'value')} flagged, in {among(table)}."
    head = [table.time_name, "value", "score", "p"]
    summary = ["series", "flagged", "highest score", "at"]
    note = "Flagged values are orange; below are the scores, and dashed the smallest of a flagged "
    note += "value. One value in ten of each series has a score above 1."
    kind = _Scores()
    sections = [
        overview(
            kind,
            table,
            found,
            S * C,
            Section("flagged", "Flagged values", overall),
            heads=("Flagged values", head, "All series", summary),
            note=note,
        )
    ]
    rows, channels = np.nonzero(flagged)
    order = np.argsort(-scores[rows, channels], kind="stable")
    close = []
    for row, c in _apart(rows[order], channels[order], table):
        s = int(np.searchsorted(table.bounds, row, side="right")) - 1
        one, at = shown(table, columns, flagged, s, c), int(row - table.bounds[s])
        value, score, p, _ = one.columns[at].tolist()
        text = rounded(value, digits_for(one.columns[:, 0]))
        words = f"{text} {between(one, (at, at + 1))}: score {three_digits(score)}, "
        close.append((one, (at, at + 1), f"{words}p {p:.2g}"))
    return sections + closer(kind, table, close, Section("farthest", "Farthest off", ""))


def _scores_told(one: Shown) -> Told:
    scores = one.columns[:, 1]
    n, known = int(one.marked.sum()), int(np.isfinite(scores).sum())
    words, digits = f"{n:,} of {count(known, 'value')} flagged.", digits_for(one.columns[:, 0])
    summary = [one.name, f"{n:,}", "", ""]
    if known:
        top = int(np.nanargmax(scores))
        value, score = rounded(one.columns[top, 0], digits), three_digits(scores[top])
        (at,) = one[[top]].stamps()
        words += f" Farthest off: {value} {at_time(at)}, with a score of {score}."
        summary = [one.name, f"{n:,}", score, at]
    at = np.flatnonzero(one.marked)
    at = at[np.argsort(-scores[at], kind="stable")]
    rows = [
        [stamp, rounded(value, digits), three_digits(score), f"{p:.2g}"]
        for stamp, (value, score, p, _) in first_rows(one, at)
    ]
    return Told(one, words, rows, summary)


def _apart(rows: np.ndarray, channels: np.ndarray, table: Table) -> Iterator[tuple[int, int]]:
    """The first values that are not close to an earlier one of the same series and channel."""
    taken: list[tuple[int, tuple[int, int]]] = []
    series = np.searchsorted(table.bounds, rows, side="right")
    for row, s, c in zip(rows.tolist(), series.tolist(), channels.tolist(), strict=True):
        if len(taken) == CLOSE:
            return
        if all((s, c) != other or abs(row - at) > AROUND for at, other in taken):
            taken.append((row, (s, c)))
            yield row, c
