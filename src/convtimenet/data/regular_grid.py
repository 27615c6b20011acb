"""Rows as they were read, made regular: sorted, on one grid per series, gaps filled and counted.

A wide table is the case of one series, and the only one that may not leave rows out: there a
missing time stamp concerns every channel, and is more often a mistake than a gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convtimenet.data.frequency import Frequency, infer_frequency, infer_shared_frequency
from convtimenet.data.sources import Columns
from convtimenet.data.timestamps import show_time
from convtimenet.data.wording import listing
from convtimenet.errors import DataError

__all__ = ["Regular", "make_regular", "ranges"]

_MOST_GROWTH = 20  # rows that gaps may add, per row that was read


@dataclass(frozen=True, kw_only=True)
class Regular:
    """T rows of S series, one series after the other, each without a gap in time."""

    times: np.ndarray
    values: np.ndarray
    """(T, C), finite."""
    known: np.ndarray
    """(T, C), False where a value was filled."""
    lengths: np.ndarray
    frequency: Frequency
    covariates: dict[str, np.ndarray]
    notices: tuple[str, ...]


def ranges(first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The whole numbers of several half-open ranges, (S,) and (S,), one range after the other."""
    lengths = end - first
    ends = np.cumsum(lengths)
    return np.arange(lengths.sum()) + np.repeat(end - ends, lengths)


def make_regular(columns: Columns, frequency: Any) -> Regular:
    """Sort rows, find or check the step, add absent rows of long tables and fill gaps.

    Raises
    ------
    DataError
        If stamps repeat or lie off the grid, or a series has no number in a channel.
    """
    columns, notices = _sorted(columns)
    times, zone = columns.times, columns.time_zone
    expected = None
    if frequency is not None:
        periods = columns.origin.period is not None
        expected = Frequency.asked(frequency, times, zone, periods=periods)
    wide = columns.series is None
    lengths = np.array([len(times)]) if columns.series is None else np.bincount(columns.series)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    _check_duplicates(columns, bounds)
    values, covariates = columns.values, columns.covariates
    if wide:
        with _clock_changes(columns):
            if expected is None:
                expected = infer_frequency(times, zone)
            else:
                expected.check(times, zone)
    else:
        with _clock_changes(columns):
            if expected is None:
                expected = infer_shared_frequency(times, bounds, zone)
            steps = _steps(columns, bounds, expected)
        grown = steps[bounds[1:] - 1] + 1
        if grown.sum() > len(times):
            notices.append(_absent(columns, lengths, grown, expected))
            ends = np.cumsum(grown)
            at = steps + np.repeat(ends - grown, lengths)
            first = np.repeat(times[bounds[:-1]], grown)
            full = expected.grid(first, ranges(np.zeros_like(grown), grown), zone)
            full[at] = times
            times, lengths = full, grown
            values = _spread(values, at, len(full))
            covariates = {name: _spread(one, at, len(full)) for name, one in covariates.items()}
            bounds = np.concatenate([[0], ends])
    known = np.isfinite(values)
    notices += _fill(replace(columns, times=times, values=values), known, bounds)
    return Regular(
        times=times,
        values=values,
        known=known,
        lengths=lengths,
        frequency=expected,
        covariates=covariates,
        notices=tuple(notices),
    )


def _sorted(columns: Columns) -> tuple[Columns, list[str]]:
    """Rows by series, then by time."""
    times, series = columns.times, columns.series
    notices = list(columns.notices)
    if series is None:
        order = np.argsort(times, kind="stable")
        moved = bool((order[1:] < order[:-1]).any())
    elif _in_order(times, series):
        return replace(columns, values=columns.values.copy()), notices
    else:
        order = np.lexsort((times, series))
        # rows of several series in turns are a usual order, rows back in time are not
        before = np.argsort(series, kind="stable")
        moved = bool((order != before).any())
    if moved:
        notices.append("rows sorted by time")
    if (order[1:] < order[:-1]).any():
        columns = replace(
            columns,
            times=times[order],
            series=None if series is None else series[order],
            covariates={name: one[order] for name, one in columns.covariates.items()},
        )
    # a copy in any case: gaps are filled in place
    return replace(columns, values=columns.values[order]), notices


def _in_order(times: np.ndarray, series: np.ndarray) -> bool:
    """Whether rows are by series and then by time as they are."""
    on = series[1:] == series[:-1]
    later = np.where(on, times[1:] >= times[:-1], series[1:] > series[:-1])
    return bool(later.all())


def _check_duplicates(columns: Columns, bounds: np.ndarray) -> None:
    times, zone = columns.times, columns.time_zone
    repeated = times[1:] == times[:-1]
    repeated[bounds[1:-1] - 1] = False
    at = np.flatnonzero(repeated)
    if not len(at):
        return
    first = show_time(times[int(at[0])], zone)
    if columns.series is None:
        raise DataError(
            f"duplicate time stamps: {first} is the first of {len(np.unique(times[at]))} that "
            "occur more than once; keep one row for each, or average them"
        )
    raise DataError(
        f"duplicate time stamps: {first} occurs more than once in the series "
        f"{_named(columns, np.unique(columns.series[at]))}; keep one row for each series and "
        "stamp, or average them"
    )


@contextmanager
def _clock_changes(columns: Columns) -> Iterator[None]:
    """Say what to do where stamps with several UTC offsets turn out irregular in UTC."""
    try:
        yield
    except DataError as error:
        if len(columns.offsets) < 2:
            raise
        raise DataError(
            f"the time stamps carry the UTC offsets {', '.join(columns.offsets)} and are not "
            "regular in UTC: where clocks change a day has 23 or 25 hours, and offsets do not say "
            f"which zone's clock it is; write column {columns.time_name!r} without offsets, or "
            "read the file into a frame and name the zone, in pandas with "
            "pd.to_datetime(column, utc=True).dt.tz_convert('Europe/Berlin')"
        ) from error


def _steps(columns: Columns, bounds: np.ndarray, frequency: Frequency) -> np.ndarray:
    """Steps of each row after its series' first one, (T,)."""
    times, zone = columns.times, columns.time_zone
    if (frequency.unit == "step") != (times.dtype.kind == "i"):
        frequency.check(times, zone)  # says what does not fit
    first = np.repeat(times[bounds[:-1]], np.diff(bounds))
    steps = frequency.steps(first, times, zone)
    off = np.flatnonzero(steps < 0)
    if len(off):
        assert columns.series is not None
        at = int(off[0])
        series = _named(columns, np.unique(columns.series[off]))
        raise DataError(
            f"the time stamps are not regular in the series {series}: "
            f"{show_time(times[at], zone)} is no whole number of steps of {frequency.name} after "
            f"{show_time(first[at], zone)}; pass the step as freq=..., or resample the series"
        )
    return steps


def _absent(columns: Columns, lengths: np.ndarray, grown: np.ndarray, frequency: Frequency) -> str:
    added = grown - lengths
    worst = np.argsort(-added, kind="stable")[: int((added > 0).sum())]
    told = (
        f"{added.sum()} rows are absent at a step of {frequency.name}, in {len(worst)} series "
        f"({_named(columns, worst)})"
    )
    if added.sum() > _MOST_GROWTH * lengths.sum():
        raise DataError(
            f"{told}: that is more than {_MOST_GROWTH} times the {lengths.sum()} rows found; "
            "correct stray time stamps, or pass the step as freq=..."
        )
    return f"{told}: taken as missing values"


def _spread(values: np.ndarray, at: np.ndarray, rows: int) -> np.ndarray:
    """Put rows at their places, with missing values between them."""
    missing = None if values.dtype == object else np.nan
    full = np.full((rows, *values.shape[1:]), missing, dtype=values.dtype)
    full[at] = values
    return full


def _named(columns: Columns, series: np.ndarray) -> str:
    """A few of the series by their ids, and how many more."""
    assert columns.ids is not None
    return listing(columns.ids[series].tolist(), limit=3)


def _fill(columns: Columns, known: np.ndarray, bounds: np.ndarray) -> list[str]:
    """Fill the gaps of the values (T, C) in place by linear interpolation in time within their
    series, before the first and after the last known value by the nearest one; say how many."""
    times, values, channels = columns.times, columns.values, columns.channels
    _check_empty(columns, np.add.reduceat(known, bounds[:-1], axis=0, dtype=np.int64) == 0)
    notices = []
    if known.all():
        return notices
    rows, lengths = np.arange(len(times)), np.diff(bounds)
    series = np.repeat(np.arange(len(lengths)), lengths)
    elapsed = (times - times[0]).astype(np.float64)
    for i in np.flatnonzero(~known.all(axis=0)).tolist():
        here, column = known[:, i], values[:, i]
        gaps = np.flatnonzero(~here)
        infinite = int(np.isinf(column).sum())
        before = np.maximum.accumulate(np.where(here, rows, -1))[gaps]
        after = np.minimum.accumulate(np.where(here, rows, len(rows))[::-1])[::-1][gaps]
        left = np.where(before >= bounds[series[gaps]], before, after)
        right = np.where(after < bounds[series[gaps] + 1], after, before)
        span = elapsed[right] - elapsed[left]
        slope = (column[right] - column[left]) / np.where(span > 0, span, 1)
        kinds = [(len(gaps) - infinite, "missing"), (infinite, "infinite")]
        what = " and ".join(f"{count} {kind}" for count, kind in kinds if count)
        column[gaps] = slope * (elapsed[gaps] - elapsed[left]) + column[left]
        notice = f"channel {channels[i]!r}: {what} value{'s' if len(gaps) > 1 else ''}"
        if columns.series is not None:
            concerned = np.unique(series[gaps])
            notice += f" in {len(concerned)} series ({_named(columns, concerned)})"
        notices.append(notice)
    return notices


def _check_empty(columns: Columns, empty: np.ndarray) -> None:
    """Refuse series without a number, by `empty` (S, C)."""
    if not empty.any():
        return
    channels = [columns.channels[i] for i in np.flatnonzero(empty.any(axis=0))]
    if columns.series is None:
        raise DataError(
            f"no numbers in {listing(channels)}: every value is missing; leave such channels out "
            "with target_cols=[...]"
        )
    raise DataError(
        f"no numbers in {listing(channels)} in the series "
        f"{_named(columns, np.flatnonzero(empty.any(axis=1)))}: every value is missing; leave such "
        "series out"
    )
