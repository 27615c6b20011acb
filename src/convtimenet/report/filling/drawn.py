"""What reports of gaps and of scores share: rows of a series, every series as a plot with its
table, spans from close by.

Shape legend: `convtimenet._shapes`; K columns of a channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np

from convtimenet.data.tables import Table
from convtimenet.data.time.timestamps import to_local
from convtimenet.errors import DataError
from convtimenet.report import _interactive as interactive
from convtimenet.report._canvas import beside
from convtimenet.report._html import (
    Section,
    clean,
    count,
    escaped,
    figure,
    grid,
    live,
    long_card,
    picked,
    score_table,
)
from convtimenet.report._windows import name_of, time_label
from convtimenet.report._words import at_time

SHOWN = 200
"""Series or channels to pick from."""
CLOSE = 6
"""Spans from close by."""
AROUND = 24
"""Fewest rows on either side of them."""
_MOST_AROUND = 200
_DRAWN = 4  # static pictures
_ROWS = 200  # of a table
_POINTS, _FEWEST, _MOST = 30_000, 200, 2000  # of all plots, and of each

Span = tuple[int, int]
"""First row and the one behind the last."""


@dataclass(frozen=True, eq=False)
class Shown:
    """Rows of one channel of one series.

    Attributes
    ----------
    times
        (T,) in local time.
    unit
        In which they are written: that of all times of the series, see `interactive.unit_of`.
    columns
        (T, K): the value, then its bounds from lowest to highest; or its score, its p-value and the
        smallest score that is flagged in the series.
    marked
        (T,) True where a value was filled or flagged.
    """

    name: str
    channel: str
    times: np.ndarray
    unit: str
    columns: np.ndarray
    marked: np.ndarray

    def __getitem__(self, rows: slice | np.ndarray | list[int]) -> Shown:
        """Some of the rows."""
        parts = {name: getattr(self, name)[rows] for name in ("times", "columns", "marked")}
        return replace(self, **parts)

    def x(self) -> list[Any]:
        """The times (T,) for plots."""
        return interactive.stamps(self.times, self.unit)

    def stamps(self) -> list[str]:
        """The times (T,) for readers."""
        return [str(one).replace("T", " ") for one in self.x()]

    def spans(self) -> list[Span]:
        """The marked rows, those beside each other together."""
        change = np.diff(self.marked.astype(np.int8), prepend=0, append=0)
        first, end = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
        return list(zip(first.tolist(), end.tolist(), strict=True))


class Kind(Protocol):
    """How a kind of result is drawn."""

    peaks: ClassVar[Sequence[int]]
    """Columns whose extremes stay in the plot of a long series."""

    def traces(self, form: str) -> list[interactive.Figure]:
        """Traces without values, whose hover labels have numbers of this form."""
        ...

    def values(self, one: Shown) -> list[list]:
        """Their values."""
        ...

    def layout(self, one: Shown, xlabel: str) -> interactive.Figure:
        """The layout."""
        ...

    def picture(self, one: Shown, xlabel: str) -> str:
        """The static picture."""
        ...


@dataclass(frozen=True)
class Told:
    """A series with what the page says of it: a sentence, the rows of its table, its row of the
    table of all."""

    one: Shown
    words: str
    rows: list[list[str]]
    summary: list[str]


def columns_of(table: Table, found: Table) -> np.ndarray:
    """(T, C, K) of a result, in the order of its columns."""
    K, rest = divmod(len(found.channels), len(table.channels))
    if rest or found.channels[::K] != table.channels or len(found.times) != len(table.times):
        raise DataError(
            "the result has other channels or rows than the table; give the result of this table"
        )
    return found.values.reshape(*table.values.shape, K)


def shown(table: Table, columns: np.ndarray, marked: np.ndarray, s: int, c: int) -> Shown:
    here = slice(int(table.bounds[s]), int(table.bounds[s + 1]))
    times = to_local(table.times[here], table.time_zone)
    return Shown(
        name_of(table, s, c),
        table.channels[c],
        times,
        interactive.unit_of(times),
        columns[here, c],
        marked[here, c],
    )


def among(table: Table) -> str:
    C = len(table.channels)
    each = f" with {count(C, 'channel')} each" if C > 1 else ""
    return f"{len(table.lengths):,} series{each}" if table.long else count(C, "channel")


def between(one: Shown, span: Span) -> str:
    """The times of a span: "at A", "on A" or "from A to B"."""
    first, last = one[[span[0], span[1] - 1]].stamps()
    return at_time(first) if span[1] - span[0] == 1 else f"from {first} to {last}"


def first_rows(one: Shown, at: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Times and columns of the first of some rows."""
    few = one[at[:_ROWS]]
    return zip(few.stamps(), few.columns, strict=True)


def thinned(one: Shown, peaks: Sequence[int], most: int) -> Shown:
    """About as many rows as are to be drawn: of equal spans the extremes, and all that are marked,
    with what is beside them, if these are not too many."""
    T = len(one.times)
    if most >= T:
        return one
    near = beside(one.marked)
    kept = near if near.sum() <= most // 2 else np.zeros(T, dtype=bool)
    kept[[0, -1]] = True
    for rows in np.array_split(np.arange(T), most // (4 * len(peaks))):
        for column in peaks:
            values = one.columns[rows, column]
            if np.isfinite(values).any():
                kept[rows[[np.nanargmin(values), np.nanargmax(values)]]] = True
    return one[kept]


def overview(
    kind: Kind,
    table: Table,
    found: Sequence[Told],
    total: int,
    section: Section,
    *,
    heads: tuple[str, list[str], str, list[str]],
    note: str,
) -> Section:
    """Every series as a plot, and its table; the body of `section` is a sentence about all."""
    most = int(np.clip(_POINTS // len(found), _FEWEST, _MOST))
    drawn = [thinned(told.one, kind.peaks, most) for told in found]
    label, first = time_label(table), found[0]
    pictures = [
        figure(kind.picture(one, label), f"{one.name}: {told.words}", told.words, one.name)
        for one, told in zip(drawn[:_DRAWN], found, strict=False)
    ]
    plot = interactive.embedded(_plot(kind, drawn, found, label))
    words = f'<p class="outlook"><span>{escaped(first.words)}</span></p>'
    if len(table.lengths) * len(table.channels) > 1:  # of a single series both say the same
        words = f"<p>{escaped(section.body)}</p>{words}"
    if len(found) > 1:
        words = picked(section.body, first.one.name, first.words)
    shown = live(grid(pictures, "static"), f"{section.heading} of the series shown", plot)
    own, head, every, summary = heads
    rows = score_table(own, head, first.rows, numbers=True, kind="forecast")
    cards = [long_card(rows, f"{own} of ", first.one.name)]
    if len(found) > 1:
        rows = score_table(every, summary, [told.summary for told in found], numbers=True)
        cards.append(long_card(rows, every))
    if len(found) < total:
        note += f" Shown are the first {len(found)} of {total:,}."
    if any(len(one.times) < len(told.one.times) for one, told in zip(drawn, found, strict=True)):
        note += " Of long series, the extremes of short spans are drawn."
    if any(told.one.marked.sum() > _ROWS for told in found):
        note += f" Tables have up to {_ROWS} rows for a series."
    body = f'{words}<figure class="card">{shown}</figure>{grid(cards)}'
    return replace(section, body=f'{body}<p class="soft">{escaped(note)}</p>')


def _plot(
    kind: Kind, drawn: Sequence[Shown], found: Sequence[Told], label: str
) -> interactive.Figure:
    """One set of traces, and per series its values. Equal time axes are held once, in ``xs``."""
    xs: dict[tuple, int] = {}
    choices = []
    traces = kind.traces(interactive.form_of(np.concatenate([one.columns[:, 0] for one in drawn])))
    for one, told in zip(drawn, found, strict=True):
        x = xs.setdefault(tuple(one.x()), len(xs))
        choices.append(
            {
                "name": clean(one.name),
                "unit": interactive.label(one.channel),
                "words": clean(told.words),
                "x": [x] * len(traces),
                "y": kind.values(one),
                "rows": told.rows,
                "spans": [
                    (shape["x0"], shape["x1"]) for shape in kind.layout(told.one, label)["shapes"]
                ],
            }
        )
    layout = {"height": 380, **kind.layout(found[0].one, label)}
    return {"data": traces, "layout": layout, "choices": choices, "xs": [list(x) for x in xs]}


def closer(
    kind: Kind, table: Table, close: Sequence[tuple[Shown, Span, str]], section: Section
) -> list[Section]:
    """Spans of series with what is around them; none if that is all that there is."""
    label, cards = time_label(table), []
    for one, (first, end), words in close:
        around = int(np.clip(2 * (end - first), AROUND, _MOST_AROUND))
        here = slice(max(0, first - around), end + around)
        part = one[here]
        if len(part.times) == len(one.times):
            continue
        traces = kind.traces(interactive.form_of(part.columns[:, 0]))
        for trace, values in zip(traces, kind.values(part), strict=True):
            trace |= {"x": 0, "y": values}
        layout = kind.layout(part, label)
        layout["xaxis"]["nticks"] = 4
        layout["showlegend"] = False  # it is that of the plot above
        plot = {"data": traces, "layout": layout, "xs": [part.x()]}
        cards.append(
            figure(
                kind.picture(part, label),
                f"{one.name}: {words}.",
                f"{words}.",
                one.name,
                plot=interactive.embedded(plot),
            )
        )
    return [replace(section, body=grid(cards, "small"))] if cards else []
