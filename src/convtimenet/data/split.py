"""Which rows of each series train, which choose the epoch and which are scored."""

from __future__ import annotations

import numpy as np

from convtimenet.data.tables import Table
from convtimenet.data.wording import listing
from convtimenet.errors import DataError

__all__ = ["Rows", "hold_back", "scored_rows", "split_rows"]

Rows = int | np.ndarray
"""Row numbers within a series: one for all series, or (S,)."""


def split_rows(
    split: tuple[Rows, Rows] | None, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (S,) where the training part and the validation part of each series end.

    Raises
    ------
    DataError
        If they do not lie in that order within every series.
    """
    if split is None:
        return lengths, lengths
    if len(split) == 2:
        train_end, valid_end = (np.broadcast_to(one, lengths.shape) for one in split)
        if ((train_end > 0) & (train_end <= valid_end) & (valid_end <= lengths)).all():
            return train_end, valid_end
    rows = f"the table's {lengths[0]}" if len(lengths) == 1 else "each series"
    raise DataError(
        f"split must be rows (train_end, valid_end) in that order within {rows}, found {split}"
    )


def hold_back(table: Table, fraction: float, L: int, H: int) -> tuple[np.ndarray, list[str]]:
    """Where the training part of each series ends, (S,), if the last part of it, and of those with
    room for it, chooses the epoch; and what to say about it."""
    lengths = table.lengths
    if fraction == 0:
        return lengths, []
    part = np.maximum(H, np.round(fraction * lengths).astype(np.int64))
    short = lengths - part < L + H
    notices = []
    if short.all():
        rows = f"{lengths[0]} rows are" if not table.long else "the rows of every series are"
        notices.append(f"{rows} too few to hold some back: training runs all its epochs")
    elif short.any():
        notices.append(
            f"{short.sum()} of {len(lengths)} series ({listing(table.ids[short].tolist(), 3)}) are "
            "too short to hold rows back and train whole"
        )
    return np.where(short, lengths, lengths - part), notices


def scored_rows(table: Table, first: Rows | None, end: Rows | None) -> tuple[Rows, Rows]:
    """Rows [first, end) of each series whose targets are scored; all of them by default. Of some
    series there may be none.

    Raises
    ------
    DataError
        If they do not lie in that order within every series.
    """
    lengths = table.lengths
    start, stop = (0 if first is None else first), (lengths if end is None else end)
    ordered = (np.asarray(start) >= 0) & np.less_equal(start, stop) & (stop <= lengths)
    if ordered.all() and np.less(start, stop).any():
        return start, stop
    rows = "each series" if table.long else f"the table's {lengths[0]} rows"
    shown = stop if table.long else np.atleast_1d(stop)[0]
    raise DataError(
        f"first_row and end must be in that order within {rows}, found {start} and {shown}"
    )
