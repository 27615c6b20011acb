"""Training and validation splits of tables and of labelled cases, and the rows to score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from convtimenet.data.agreement import Labels, match_ids
from convtimenet.data.table_rows import pieces
from convtimenet.data.tables import Table
from convtimenet.data.time.timestamps import show_time
from convtimenet.errors import DataError
from convtimenet.wording import listing

__all__ = [
    "FittedRows",
    "Rows",
    "hold_back",
    "scored_rows",
    "split_cases",
    "split_rows",
    "typical_size",
]

Rows = int | np.ndarray
"""Row numbers within a series: one for all series, or (S,)."""


def split_rows(
    split: tuple[Rows, Rows] | None, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The rows (S,) at which the training split and the validation split of each series end.

    Raises
    ------
    DataError
        If they are no whole numbers, or not in that order within every series.
    """
    if split is None:
        return lengths, lengths
    if isinstance(split, (Sequence, np.ndarray)) and len(split) == 2:
        train_end, valid_end = (
            np.broadcast_to(_whole(what, one, lengths), lengths.shape)
            for what, one in zip(("split: train_end", "split: valid_end"), split, strict=True)
        )
        if ((train_end > 0) & (train_end <= valid_end) & (valid_end <= lengths)).all():
            return train_end, valid_end
    rows = f"the table's {lengths[0]}" if len(lengths) == 1 else "each series"
    raise DataError(
        f"split must be rows (train_end, valid_end) in that order within {rows}, found {split}"
    )


def typical_size(rows: np.ndarray) -> tuple[int, int]:
    """The size of a table whose series have so many `rows` (S,): the rows of the series that its
    median row lies in, and how many series of that length hold as many rows in all, at least 1.

    Counted by rows, a few rows of each of many new series change nothing for those that hold the
    data, and one long series nothing for many short ones.
    """
    ordered = np.sort(rows.clip(min=1))
    total = ordered.cumsum()
    typical = int(ordered[np.searchsorted(2 * total, total[-1])])
    return typical, max(1, round(int(total[-1]) / typical))


def hold_back(table: Table, fraction: float, L: int, H: int) -> tuple[np.ndarray, list[str]]:
    """Use the last part of each series as validation split, if the series is long enough.

    Returns the rows at which the training split of each series ends, (S,), and notices.
    """
    lengths = table.lengths
    if fraction == 0:
        return lengths, []
    part = np.maximum(H, np.round(fraction * lengths).astype(np.int64))
    short = lengths - part < L + H
    notices = []
    if short.all():
        rows = f"{lengths[0]} rows are" if not table.long else "the rows of every series are"
        notices.append(f"{rows} too few for a validation split: nothing is scored")
    elif short.any():
        notices.append(
            f"{short.sum()} of {len(lengths)} series ({listing(table.ids[short].tolist(), 3)}) are "
            "too short for a validation split: all their rows are used for training"
        )
    return np.where(short, lengths, lengths - part), notices


def scored_rows(table: Table, first: Rows | None, end: Rows | None) -> tuple[Rows, Rows]:
    """Rows [first, end) of each series whose targets are scored; all rows by default. Some series,
    but not all, may have none.

    Raises
    ------
    DataError
        If they are no whole numbers, or not in that order within every series.
    """
    lengths = table.lengths
    start = 0 if first is None else _whole("first_row", first, lengths)
    stop = lengths if end is None else _whole("end", end, lengths)
    ordered = (np.asarray(start) >= 0) & np.less_equal(start, stop) & (stop <= lengths)
    if ordered.all() and np.less(start, stop).any():
        return start, stop
    rows = "each series" if table.long else f"the table's {lengths[0]} rows"
    shown = stop if table.long else np.atleast_1d(stop)[0]
    raise DataError(
        f"first_row and end must be in that order within {rows}, found {start} and {shown}"
    )


def _whole(what: str, rows: Any, lengths: np.ndarray) -> Rows:
    """Row numbers as whole ones, 2.0 as 2: one, or one for each series (S,)."""
    found, series = np.asarray(rows), len(lengths)
    if found.dtype.kind == "f" and (np.abs(found) < 2**53).all() and (found % 1 == 0).all():
        found = found.astype(np.int64)
    if found.dtype.kind in "iu" and found.shape in ((), (1,), (series,)):
        return int(found) if found.ndim == 0 else found.astype(np.int64)
    each = f" or {series} of them, one for each series," if series > 1 else ""
    remedy = "give a number of rows"
    if found.dtype.kind == "f" and ((found > 0) & (found < 1)).all():
        share, n = float(found.flat[0]), int(lengths[0])
        remedy = f"rows are no shares: instead of {share:g} give {round(share * n)} of {n} rows"
    raise DataError(f"{what} must be a whole number{each or ','} found {rows!r}; {remedy}")


@dataclass(frozen=True, eq=False)
class FittedRows:
    """The rows that the weights were fitted to, so that they are not mistaken for new ones.

    Attributes
    ----------
    last
        (S,) time stamp of the last fitted row of each series.
    rows
        (S,) number of fitted rows.
    ids
        (S,) ids of the series.
    prints
        (n,) a hash of each fitted row of a wide table (`_prints`), to recognise rows without time
        stamps; None for a long table.
    numbered
        Whether the time stamps are row numbers, which start at 0 for any rows.
    """

    last: np.ndarray
    rows: np.ndarray
    ids: np.ndarray
    prints: np.ndarray | None
    numbered: bool

    @classmethod
    def of(cls, table: Table, rows: np.ndarray) -> FittedRows:
        """The first `rows` (S,) of each series of a table."""
        last = table.times[table.bounds[:-1] + rows - 1]
        prints = None if table.long else _prints(table.values[: rows[0]])
        return cls(last, rows.copy(), table.ids, prints, _numbered(table))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The arrays that a saved model stores."""
        arrays = {"fitted.last": self.last.astype(np.int64), "fitted.rows": self.rows}
        return arrays if self.prints is None else arrays | {"fitted.prints": self.prints}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], tail: Table) -> FittedRows | None:
        """Inverse of `to_arrays`, given the end of the fitted table; None if nothing was stored.

        Raises
        ------
        ValueError
            If the arrays are inconsistent.
        """
        if "fitted.last" not in arrays:
            return None
        last, rows, prints = (arrays.get(f"fitted.{name}") for name in ("last", "rows", "prints"))
        begin = arrays.get("fitted.begin")  # earlier versions stored the values of the first rows
        for one in (last, rows):
            if one is None or one.dtype.kind != "i" or one.shape != tail.ids.shape:
                raise ValueError("expected the last fitted row of every series, and their number")
        assert last is not None
        assert rows is not None
        if begin is not None and (begin.ndim != 2 or begin.shape[1] != len(tail.channels)):
            raise ValueError(f"first fitted values of the shape {begin.shape}")
        if prints is None and begin is not None:
            prints = _prints(begin)
        if prints is not None and (prints.dtype != np.int32 or prints.ndim != 1 or tail.long):
            raise ValueError(f"expected a number for each fitted row, found {prints.shape}")
        stamps = last.astype(tail.times.dtype)
        return cls(stamps, rows, tail.ids, prints, _numbered(tail))

    def behind(self, table: Table, first: Rows | None, end: Rows | None) -> tuple[Rows, list[str]]:
        """The first row of each series in [first, end) that the weights were not fitted to, where
        calibration starts; and a notice about rows left out.

        Raises
        ------
        DataError
            If no row is left.
        """
        start, stop = scored_rows(table, first, end)
        behind = np.minimum(np.maximum(start, self._fitted(table)), stop)
        left_out = int((behind - start).sum())
        if not left_out:
            return start, []
        if (behind >= stop).all():
            last = show_time(self.last.max(), table.time_zone)
            raise DataError(
                f"the weights were fitted to all {left_out} rows given, up to {last}: errors there "
                "are smaller than on new rows, and intervals would be too narrow; give later rows, "
                "or fit with a validation_fraction above 0 and leave calibrate out"
            )
        return behind, [
            f"{left_out} of the rows given are left out of the calibration: the weights were "
            "fitted to them"
        ]

    def seen(self, table: Table, first: Rows | None, end: Rows | None) -> int:
        """The number of rows in [first, end) of a table that the weights were fitted to."""
        start, stop = scored_rows(table, first, end)
        return int((np.minimum(self._fitted(table), stop) - start).clip(min=0).sum())

    def reach(self, table: Table, first: Rows) -> bool:
        """Whether the weights were fitted to any row of a table at or after `first`."""
        first = _whole("first_row", first, table.lengths)
        return bool((np.minimum(first, table.lengths) < self._fitted(table)).any())

    def _fitted(self, table: Table) -> np.ndarray:
        """The number of rows at the start of each series that the weights were fitted to, (S,)."""
        stamped = not self.numbered and not _numbered(table)
        if stamped and self.last.dtype.kind == table.times.dtype.kind:
            of, _ = match_ids(table.ids, Labels(self.ids.tolist()), "the table")
            found = []
            for here, piece in pieces(table):
                until = np.repeat(self.last[of[here]], piece.lengths)
                fitted = (piece.times <= until) & np.repeat(of[here] >= 0, piece.lengths)
                found.append(np.add.reduceat(fitted, piece.bounds[:-1], dtype=np.int64))
            return np.concatenate(found)
        if self.prints is None or len(table.lengths) > 1:
            return np.zeros(len(table.lengths), dtype=np.int64)
        begin = _begins_at(self.prints, _prints(table.values))
        return np.minimum(0 if begin is None else self.rows - begin, table.lengths)


def _numbered(table: Table) -> bool:
    """Whether a table's time stamps are, or may be, row numbers: those of arrays, and of series
    without dates."""
    origin = table.origin
    return origin.kind == "numpy" or (origin.series and table.times.dtype.kind == "i")


def _prints(values: np.ndarray) -> np.ndarray:
    """A hash of each row of (T, C), in float32 because either table may have been stored so."""
    with np.errstate(over="ignore"):
        single = np.where(np.isnan(values), np.nan, values + 0.0).astype(np.float32)  # no -0.0
    found = np.zeros(len(values), dtype=np.uint64)
    for channel in np.ascontiguousarray(single.T).view(np.uint32):
        found = (found ^ channel) * np.uint64(0x9E3779B97F4A7C15)
        found ^= found >> np.uint64(32)
    return (found & np.uint64(0x7FFFFFFF)).astype(np.int32)


def _begins_at(ours: np.ndarray, given: np.ndarray) -> int | None:
    """The index in `ours` at which `given` starts, negative if it starts earlier; None if they do
    not overlap, or if several indices fit as well, as those of rows that repeat do. The first
    shared rows must be equal, as many as tell enough, and most of what tells something after them.
    """
    values, counts = np.unique(ours, return_counts=True)
    our_bits, given_bits = (_bits(rows, values, counts) for rows in (ours, given))
    enough = _CHANCE + np.log2(len(ours) + len(given))
    before = [-int(row) for row in _places(given, ours, our_bits, enough)]
    found: dict[int, tuple[float, float]] = {}
    for begin in sorted({*before, *_places(ours, given, given_bits, enough).tolist()}):
        first, second = max(begin, 0), max(-begin, 0)
        shared = min(len(ours) - first, len(given) - second)
        n = min(_COMPARED, shared)
        one, other = slice(first, first + n), slice(second, second + n)
        bits = np.maximum(our_bits[one], given_bits[other])
        agreed, total = bits[ours[one] == given[other]].sum(), bits.sum()
        if agreed > _SAME * total:
            found[begin] = agreed, agreed / total
    most = max((agreed for agreed, _ in found.values()), default=0.0)
    shares = {begin: share for begin, (agreed, share) in found.items() if 2 * agreed > most}
    best = [begin for begin, share in shares.items() if share == max(shares.values())]
    return best[0] if len(best) == 1 else None


def _bits(rows: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """How much each of `rows` tells about where it comes from: the rarer it is among rows that have
    so many `counts` of `values`, the more. One that repeats the row before it tells nothing."""
    at = np.searchsorted(values, rows).clip(max=len(values) - 1)
    found = np.log2(counts.sum() / np.where(values[at] == rows, counts[at], 1))
    found[1:][rows[1:] == rows[:-1]] = 0
    return found


def _places(rows: np.ndarray, begin: np.ndarray, bits: np.ndarray, enough: float) -> np.ndarray:
    """The positions in `rows` at which the first rows of `begin` occur, as many as have `enough`
    bits; none if all of them have fewer."""
    n = max(_LEAST, int(np.searchsorted(bits.cumsum(), enough)) + 1)
    at = np.arange(len(rows) - n + 1 if n <= len(begin) else 0)
    for i in np.argsort(-bits[:n]):  # most of the positions go with the rarest row
        if bits[i] == 0 or not len(at):
            break
        at = at[rows[at + i] == begin[i]]
    return at


_LEAST = 8  # rows
_CHANCE = 16  # bits: one pair of tables in 2^16 shares so many by chance
_COMPARED = 1000
_SAME = 0.9


def split_cases(
    n: int,
    strata: np.ndarray | None,
    fraction: float,
    seed: int,
    has: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, str] | None:
    """Draw a validation split from n labelled cases.

    Parameters
    ----------
    strata
        (n,) class of each case, for a stratified split; None for an unstratified one.
    fraction
        Fraction of the cases to draw.
    has
        (n, K) bool, properties that at least one training case must have: if a property is left
        without one, a case that has it is put back.

    Returns
    -------
    The numbers of the training cases and of the drawn cases, both in order, and a notice or "".
    The only case of a class stays in training. None if fewer than two other classes are left, or
    too few cases for every class to be in both splits.
    """
    everything = np.arange(n)
    classes, of = np.zeros(1), np.zeros(n, dtype=np.int64)
    if strata is not None:
        classes, of = np.unique(strata, return_inverse=True)
    counts = np.bincount(of)
    single = counts[of] == 1
    others = everything[~single]
    groups = int((counts > 1).sum())
    size = max(groups, round(fraction * len(others)))
    if groups < (1 if strata is None else 2) or size > len(others) - groups:
        return None
    _, drawn = train_test_split(
        others,
        test_size=size,
        stratify=None if strata is None else of[others],
        random_state=seed,
    )
    trains = np.ones(n, dtype=bool)
    trains[drawn] = False
    absent = [of == one for one in np.setdiff1d(of, of[trains])]
    for owners in [*absent, *([] if has is None else has.T)]:
        if owners.any() and not owners[trains].any():
            trains[np.argmax(owners)] = True
    if trains.all():
        return None
    note = ""
    if single.any():
        names = listing(classes[counts == 1].tolist(), 5)
        note = f"class(es) {names} have a single case each, which stays in training"
    return everything[trains], everything[~trains], note
