"""Rows as they were read, made regular: sorted, on one grid per series, gaps marked and counted.

A wide table is the case of one series. What is missing becomes NaN and stays NaN: whoever reads the
values knows which rows may be seen, and fills from those alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convtimenet.data.frequency import Frequency, infer_shared_frequency
from convtimenet.data.sources import Columns
from convtimenet.data.timestamps import show_time
from convtimenet.errors import DataError
from convtimenet.wording import listing

__all__ = ["Regular", "make_regular", "ranges"]

_MOST_GROWTH = 20  # rows that gaps may add, per row that was read


@dataclass(frozen=True, kw_only=True)
class Regular:
    """T rows of S series, one series after the other, each without a gap in time."""

    times: np.ndarray
    values: np.ndarray
    """(T, C), NaN where missing."""
    lengths: np.ndarray
    frequency: Frequency
    covariates: dict[str, np.ndarray]
    notices: tuple[str, ...]


def ranges(first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The whole numbers of several half-open ranges, (S,) and (S,), one range after the other."""
    lengths = end - first
    ends = np.cumsum(lengths)
    return np.arange(lengths.sum()) + np.repeat(end - ends, lengths)


def make_regular(
    columns: Columns,
    frequency: Any,
    *,
    fill: float | None = None,
) -> Regular:
    """Sort rows, find or check the step and add absent rows; what is missing becomes NaN.

    Parameters
    ----------
    frequency
        The step, checked; found if None.
    fill
        What missing values are, if a number stands for them.

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
    lengths = np.array([len(times)]) if columns.series is None else np.bincount(columns.series)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    _check_duplicates(columns, bounds)
    values, covariates = columns.values, columns.covariates
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
    notices += _missing(replace(columns, values=values), lengths, fill)
    return Regular(
        times=times,
        values=values,
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
    # a copy in any case: infinite values become NaN in place
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
    set_back = zone is None and _may_be_set_back(times[at])
    if columns.series is None:
        remedy = _SET_BACK if set_back else "keep one row for each, or average them"
        raise DataError(
            f"duplicate time stamps: {first} is the first of {len(np.unique(times[at]))} that "
            f"occur more than once; {remedy}"
        )
    remedy = _SET_BACK if set_back else "keep one row for each series and stamp, or average them"
    raise DataError(
        f"duplicate time stamps: {first} occurs more than once in the series "
        f"{_named(columns, np.unique(columns.series[at]))}; {remedy}"
    )


_SET_BACK = (
    "these are hours of Sunday nights, which occur twice where clocks are set back: write the "
    "stamps in UTC or with their offsets, such as 2024-10-27T02:00:00+01:00"
)


def _may_be_set_back(times: np.ndarray) -> bool:
    """Whether all stamps are in hours that a clock shows twice in a year: Sundays from 0 to 3."""
    if times.dtype.kind != "M":
        return False
    days = times.astype("datetime64[D]")
    hours = (times - days).astype("timedelta64[h]").astype(int)
    sundays = (days.astype(np.int64) + 4) % 7 == 0
    months = days.astype("datetime64[M]").astype(np.int64) % 12 + 1
    return bool((sundays & (hours <= 3) & np.isin(months, (3, 4, 9, 10, 11))).all()) and bool(
        (days != times).any()
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
        at = int(off[0])
        begin = int(bounds[np.searchsorted(bounds, at, side="right") - 1])
        if columns.series is None or at == begin:
            # the rows before it without their gaps, so that this stamp is the first off the grid
            before = np.arange(steps[at - 1] + 1 if at > begin else 0)
            grid = frequency.grid(first[at : at + 1], before, zone)
            if columns.series is not None:
                series = _named(columns, columns.series[at : at + 1])
                raise DataError(
                    f"the series {series} begins at {show_time(times[at], zone)}, which is no "
                    f"stamp of the step {frequency.name}; write the stamps of all series on the "
                    "same day of the month, or pass their step as freq=..."
                )
            frequency.check(np.append(grid, times[at]), zone)
        assert columns.series is not None
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
    are = "row is" if added.sum() == 1 else "rows are"
    told = f"{added.sum()} {are} absent at a step of {frequency.name}"
    if columns.series is not None:
        told += f", in {len(worst)} series ({_named(columns, worst)})"
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


def _missing(columns: Columns, lengths: np.ndarray, fill: float | None) -> list[str]:
    """Make infinite values of (T, C) missing, all missing ones `fill` if it is a number, in place;
    say how many there are."""
    values, starts = columns.values, np.cumsum(lengths) - lengths
    known = np.isfinite(values)
    _check_empty(columns, np.add.reduceat(known, starts, axis=0, dtype=np.int64) == 0)
    notices = []
    if known.all():
        return notices
    series = np.repeat(np.arange(len(lengths)), lengths)
    for i in np.flatnonzero(~known.all(axis=0)).tolist():
        gaps, column = np.flatnonzero(~known[:, i]), values[:, i]
        infinite = int(np.isinf(column[gaps]).sum())
        kinds = [(len(gaps) - infinite, "missing"), (infinite, "infinite")]
        what = " and ".join(f"{count} {kind}" for count, kind in kinds if count)
        notice = f"channel {columns.channels[i]!r}: {what} value{'s' if len(gaps) > 1 else ''}"
        if columns.series is not None:
            concerned = np.unique(series[gaps])
            notice += f" in {len(concerned)} series ({_named(columns, concerned)})"
        if fill is not None:
            notice += f", read as {fill:g}"
        notices.append(notice)
        column[gaps] = np.nan if fill is None else fill
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
