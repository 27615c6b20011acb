"""Rows, series and channels of a table as tables: parts, pieces, and rows added at either end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from convtimenet.data.large.sharing import Sharing
from convtimenet.data.tables import Table, check_targets
from convtimenet.errors import DataError
from convtimenet.files.maps import CHUNK, ranges, spans
from convtimenet.wording import listing

__all__ = [
    "crop",
    "in_memory",
    "in_pieces",
    "pad_front",
    "pieces",
    "select_channels",
    "select_series",
]


def select_channels(table: Table, channels: Sequence[str]) -> Table:
    """The same table with these channels in this order.

    Raises
    ------
    DataError
        If a channel does not exist (the error names each) or is listed twice.
    """
    check_targets(list(channels))
    if missing := [name for name in channels if name not in table.channels]:
        raise DataError(
            f"the table lacks the channels {listing(missing)}; it has {listing(table.channels)}"
        )
    at = [table.channels.index(name) for name in channels]
    return replace(table, values=table.values[:, at], channels=tuple(channels))


def select_series(table: Table, numbers: np.ndarray) -> Table:
    """The series with these numbers (n,), in this order."""
    starts, lengths = table.bounds[:-1][numbers], table.lengths[numbers]
    if not table.long or lengths.sum() <= CHUNK:
        rows = ranges(starts, starts + lengths)
        return replace(_take(table, rows, lengths), ids=table.ids[numbers])

    def taken(of: slice) -> Table:
        return _take(table, ranges(starts[of], starts[of] + lengths[of]), lengths[of])

    parts = ((slice(a, b), partial(taken, slice(a, b))) for a, b in spans(lengths))
    return replace(_together(table, lengths, parts), ids=table.ids[numbers])


def pieces(table: Table) -> Iterator[tuple[slice, Table]]:
    """A table in pieces of consecutive series that have a bounded number of rows together, or one
    series each: the numbers of the series, and their rows, not copied."""
    if not table.long or len(table.times) <= CHUNK:
        yield slice(None), table
        return
    bounds, lengths = table.bounds, table.lengths
    for first, last in spans(lengths):
        rows = slice(bounds[first], bounds[last])
        yield (
            slice(first, last),
            replace(
                table,
                times=np.asarray(table.times[rows]),
                values=np.asarray(table.values[rows]),
                covariates={name: one[rows] for name, one in table.covariates.items()},
                ids=table.ids[first:last],
                rows=lengths[first:last],
            ),
        )


def in_pieces(table: Table, lengths: np.ndarray, change: Callable[[slice, Table], Table]) -> Table:
    """What `change` makes of the `pieces` of a table, together; `lengths` (S,) are those of the
    result."""
    if not table.long or len(table.times) <= CHUNK:
        return change(slice(None), table)
    made = ((of, partial(change, of, piece)) for of, piece in pieces(table))
    return _together(table, lengths, made)


def _together(
    table: Table, lengths: np.ndarray, parts: Iterable[tuple[slice, Callable[[], Table]]]
) -> Table:
    """Consecutive series of a table, of these lengths (S,), from the numbers of some series and
    what makes them."""
    texts = {name for name, one in table.covariates.items() if one.dtype == object}
    sharing = Sharing(table.mapped, apart=bool(texts))  # texts lie in the memory of each process
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    rows = int(bounds[-1])
    times = sharing.empty((rows,), table.times.dtype)
    values = sharing.empty((rows, len(table.channels)), np.float64)
    covariates = {
        name: np.empty(rows, object) if name in texts else sharing.empty((rows,), one.dtype)
        for name, one in table.covariates.items()
    }
    for of, make in sharing.own(parts):
        found, here = make(), slice(bounds[of.start], bounds[of.stop])
        times[here], values[here] = found.times, found.values
        for name, one in covariates.items():
            one[here] = found.covariates[name]
    sharing.wait()
    return replace(table, times=times, values=values, covariates=covariates, rows=lengths)


def in_memory(table: Table) -> Table:
    """The same table without temporary files."""
    if not table.mapped:
        return table
    covariates = {name: np.array(one) for name, one in table.covariates.items()}
    times, values = np.array(table.times), np.array(table.values)
    return replace(table, times=times, values=values, covariates=covariates)


def crop(table: Table, first: int | np.ndarray, end: int | np.ndarray) -> Table:
    """Rows [first, end) of each series, counted from its own first row; scalars or (S,).

    Both are clipped to the series, so ``crop(table, table.lengths - L, table.lengths)`` gives its
    last L rows, or all of them if it is shorter. No series may end up without rows.
    """
    lengths = table.lengths
    first, end = np.clip(first, 0, lengths), np.clip(end, 0, lengths)
    assert (end > first).all()

    def change(of: slice, piece: Table) -> Table:
        starts, kept = piece.bounds[:-1], (end - first)[of]
        return _take(piece, ranges(starts + first[of], starts + end[of]), kept)

    return in_pieces(table, end - first, change)


def pad_front(table: Table, least: int | np.ndarray) -> Table:
    """Pad each series to at least `least` rows, one number or (S,): rows are added in front, with
    missing values and the first time stamp repeated."""
    lengths = np.maximum(table.lengths, least)
    if (lengths == table.lengths).all():
        return table
    return in_pieces(table, lengths, lambda of, piece: _padded(piece, lengths[of]))


def _padded(table: Table, lengths: np.ndarray) -> Table:
    bounds = table.bounds
    rows = ranges(bounds[:-1] - (lengths - table.lengths), bounds[1:])
    first = np.repeat(bounds[:-1], lengths)
    padded = _take(table, np.maximum(rows, first), lengths)
    padded.values[rows < first] = np.nan
    return padded


def _take(table: Table, rows: np.ndarray, lengths: np.ndarray) -> Table:
    """A copy of the rows with these numbers."""
    return replace(
        table,
        times=table.times[rows],
        values=table.values[rows],
        covariates={name: one[rows] for name, one in table.covariates.items()},
        rows=lengths if table.long else None,
    )


def extend(table: Table, steps: int) -> Table:
    """Append `steps` rows to each series: time stamps are filled in, values and covariates are
    missing."""
    bounds, lengths = table.bounds, table.lengths + steps
    rows = ranges(bounds[:-1], bounds[1:] + steps)
    ahead = rows >= np.repeat(bounds[1:], lengths)
    longer = _take(table, np.minimum(rows, np.repeat(bounds[1:] - 1, lengths)), lengths)
    last = table.times[bounds[1:] - 1]
    longer.times[ahead] = table.frequency.after(last, steps, table.time_zone).reshape(-1)
    longer.values[ahead] = np.nan
    for one in longer.covariates.values():
        one[ahead] = None if one.dtype == object else np.nan
    return longer
