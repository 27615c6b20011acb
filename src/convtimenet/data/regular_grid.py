"""Make rows regular: sort them, put each series on a grid, and add missing rows as NaN.

A wide table is a single series. Missing values stay NaN here: only the reader of the values knows
which rows it may see, and fills gaps from those alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convtimenet.data.codes import code_notices, far_notices
from convtimenet.data.dated_values import date_notices
from convtimenet.data.sources.by_role import Columns
from convtimenet.data.time.frequency import Frequency
from convtimenet.data.time.inferred import infer_shared_frequency
from convtimenet.data.time.steps import HOUR
from convtimenet.data.time.timestamps import SET_BACK, may_be_set_back, show_time
from convtimenet.errors import DataError
from convtimenet.files.maps import ranges
from convtimenet.wording import advice, listing

__all__ = ["Change", "Regular", "make_regular", "together"]

_MOST_GROWTH = 20  # most rows added per row read


@dataclass(frozen=True, kw_only=True)
class Change:
    """Missing rows, or missing values of a channel: what notices tell.

    Attributes
    ----------
    channel
        None for missing rows.
    missing, infinite
        Their numbers.
    series
        The ids of the series, those with the most missing rows first; None for a wide table.
    most
        The number of missing rows of each of them.
    told
        The end of the notice.
    """

    channel: str | None
    missing: int
    infinite: int = 0
    series: tuple[Any, ...] | None = None
    most: tuple[int, ...] = ()
    told: str = ""

    def __str__(self) -> str:
        if self.channel is None:
            what = f"{self.missing} {'row is' if self.missing == 1 else 'rows are'} missing"
            what += self.told
        else:
            kinds = [(self.missing, "missing"), (self.infinite, "infinite")]
            what = " and ".join(f"{count} {kind}" for count, kind in kinds if count)
            several = "s" if self.missing + self.infinite > 1 else ""
            what = f"channel {self.channel!r}: {what} value{several}"
        if self.series is not None:
            comma = "," if self.channel is None else ""
            what += f"{comma} in {len(self.series)} series ({listing(self.series, limit=3)})"
        return what if self.channel is None else what + self.told

    @property
    def notice(self) -> str:
        """A sentence about it."""
        return f"{self}: their values are treated as missing" if self.channel is None else str(self)


def together(changes: Sequence[Change]) -> list[Change]:
    """The changes of parts of a table as those of the whole."""
    found: dict[str | None, Change] = {}
    for one in changes:
        if (before := found.get(one.channel)) is None:
            found[one.channel] = one
            continue
        most = (*before.most, *one.most)
        series = (*(before.series or ()), *(one.series or ()))
        order = sorted(range(len(most)), key=lambda i: -most[i]) if most else range(len(series))
        found[one.channel] = replace(
            before,
            missing=before.missing + one.missing,
            infinite=before.infinite + one.infinite,
            series=tuple(series[i] for i in order),
            most=tuple(most[i] for i in order) if most else (),
        )
    return sorted(found.values(), key=lambda one: one.channel is not None)


@dataclass(frozen=True, kw_only=True)
class Regular:
    """T rows of S series, one series after the other, each without gaps in time."""

    times: np.ndarray
    values: np.ndarray
    """(T, C), NaN where missing."""
    lengths: np.ndarray
    frequency: Frequency
    covariates: dict[str, np.ndarray]
    notices: tuple[str, ...]
    changes: tuple[Change, ...]
    """What `notices` does not tell yet."""


def make_regular(
    columns: Columns,
    frequency: Any,
    *,
    fill: float | None = None,
) -> Regular:
    """Sort rows, infer or check the frequency and add missing rows; missing values become NaN.

    Parameters
    ----------
    frequency
        The expected frequency; None to infer it.
    fill
        Value for missing values; None to leave them NaN.

    Raises
    ------
    DataError
        If time stamps repeat or are off the grid, or a series has no number in a channel.
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
    named = {f"channel {one!r}": columns.values[:, i] for i, one in enumerate(columns.channels)}
    named |= {f"covariate {one!r}": values for one, values in columns.covariates.items()}
    notices += code_notices(named)
    by_channel = dict(zip(columns.channels, columns.values.T, strict=True))
    notices += date_notices(by_channel, times, bounds)
    notices += far_notices(by_channel, times, bounds, columns.ids, zone)
    changes = []
    if grown.sum() > len(times):
        changes.append(_absent(columns, bounds, grown, expected))
        ends = np.cumsum(grown)
        at = steps + np.repeat(ends - grown, lengths)
        first = np.repeat(times[bounds[:-1]], grown)
        full = expected.grid(first, ranges(np.zeros_like(grown), grown), zone)
        full[at] = times
        times, lengths = full, grown
        values = _spread(values, at, len(full))
        covariates = {name: _spread(one, at, len(full)) for name, one in covariates.items()}
    changes += _missing(replace(columns, values=values), lengths, fill)
    return Regular(
        times=times,
        values=values,
        lengths=lengths,
        frequency=expected,
        covariates=covariates,
        notices=tuple(notices),
        changes=tuple(changes),
    )


def _sorted(columns: Columns) -> tuple[Columns, list[str]]:
    """Sort rows by series and time."""
    times, series = columns.times, columns.series
    notices = list(columns.notices)
    if series is None:
        order = np.argsort(times, kind="stable")
        moved = bool((order[1:] < order[:-1]).any())
    elif _in_order(times, series):
        return replace(columns, values=columns.values.copy()), notices
    else:
        order = np.lexsort((times, series))
        # interleaved series are common and need no notice; rows out of time order do
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
    # always copy: infinite values become NaN in place
    return replace(columns, values=columns.values[order]), notices


def _in_order(times: np.ndarray, series: np.ndarray) -> bool:
    """Whether the rows are already sorted by series and time."""
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
    set_back = zone is None and may_be_set_back(times[at])
    if columns.series is None:
        remedy = SET_BACK if set_back else "keep one row for each, or average them"
        raise DataError(
            f"duplicate time stamps: {first} is the first of {len(np.unique(times[at]))} that "
            f"occur more than once; {remedy}"
        )
    remedy = (
        SET_BACK if set_back else "keep one row for each series and time stamp, or average them"
    )
    raise DataError(
        f"duplicate time stamps: {first} occurs more than once in the series "
        f"{_named(columns, np.unique(columns.series[at]))}; {remedy}"
    )


@contextmanager
def _clock_changes(columns: Columns) -> Iterator[None]:
    """Explain the error if time stamps with several UTC offsets are irregular in UTC, or if they
    are midnights of a zone, written in UTC."""
    try:
        yield
    except DataError as error:
        in_pandas = advice(
            "set the time zone, in pandas with pd.to_datetime(column, utc=True)"
            ".dt.tz_convert('Europe/Berlin')",
            "",
        )
        if columns.time_zone in (None, "UTC") and (hours := _midnights(columns.times)):
            raise DataError(
                f"the time stamps are at {hours}, as the midnights of a zone whose clocks change "
                "are in UTC: these days have 23 or 25 hours; "
                + (in_pandas or "write the dates of that zone alone, such as 2024-01-31")
            ) from error
        if len(columns.offsets) < 2:
            raise
        raise DataError(
            f"the time stamps have the UTC offsets {', '.join(columns.offsets)} and are not "
            "regular in UTC: a day with a clock change has 23 or 25 hours, and the time zone "
            f"cannot be inferred from offsets; write column {columns.time_name!r} without offsets"
            + (in_pandas and f", or read the file into a frame and {in_pandas}")
        ) from error


def _midnights(times: np.ndarray) -> str:
    """The two hours at which all time stamps are, if only clock changes part them."""
    if times.dtype.kind != "M":
        return ""
    different = np.unique(times)
    clocks = (different - different.astype("datetime64[D]")).astype("timedelta64[m]")
    hours, often = np.unique(clocks, return_counts=True)
    apart = np.timedelta64(60, "m")
    if len(hours) != 2 or hours[1] - hours[0] not in (apart, 23 * apart) or often.min() < 3:
        return ""  # one or two may be stray
    if np.diff(different).min() < 23 * apart:
        return ""
    return " and ".join(f"{int(one) // 60:02d}:{int(one) % 60:02d}" for one in hours.astype(int))


def _steps(columns: Columns, bounds: np.ndarray, frequency: Frequency) -> np.ndarray:
    """The number of steps from the first row of the series to each row, (T,)."""
    times, zone = columns.times, columns.time_zone
    if (frequency.unit == "step") != (times.dtype.kind == "i"):
        frequency.check(times, zone)  # raises
    first = np.repeat(times[bounds[:-1]], np.diff(bounds))
    steps = frequency.steps(first, times, zone)
    off = np.flatnonzero(steps < 0)
    if len(off):
        at = int(off[0])
        begin = int(bounds[np.searchsorted(bounds, at, side="right") - 1])
        if columns.series is None or at == begin:
            # a gapless grid up to this row, so that `check` reports this time stamp; its last part
            # is enough, and a gap before it may be of any length
            end = steps[at - 1] + 1 if at > begin else 0
            before = np.arange(max(0, end - 64), end)
            grid = frequency.grid(first[at : at + 1], before, zone)
            if columns.series is not None:
                series = _named(columns, columns.series[at : at + 1])
                raise DataError(
                    f"the series {series} starts at {show_time(times[at], zone)}, which does not "
                    f"fit the frequency {frequency.name}; use the same day of the month in all "
                    "series"
                    + advice(
                        ", or pass their frequency as freq=...", "", ", or enter it as the step"
                    )
                )
            frequency.check(np.append(grid, times[at]), zone)
        assert columns.series is not None
        series = _named(columns, np.unique(columns.series[off]))
        raise DataError(
            f"the time stamps are not regular in the series {series}: "
            f"{show_time(times[at], zone)} is not a whole number of steps of {frequency.name} "
            f"after {show_time(first[at], zone)}; "
            + advice("pass freq=..., or ", "", "enter the step, or ")
            + "resample the series"
        )
    return steps


def _absent(
    columns: Columns, bounds: np.ndarray, grown: np.ndarray, frequency: Frequency
) -> Change:
    lengths = np.diff(bounds)
    added = grown - lengths
    worst = np.argsort(-added, kind="stable")[: int((added > 0).sum())]
    series = None if columns.series is None else tuple(_ids(columns)[worst].tolist())
    found = Change(
        channel=None,
        missing=int(added.sum()),
        series=series,
        most=() if series is None else tuple(added[worst].tolist()),
        told=f" at a frequency of {frequency.name}{_closed(columns, bounds, grown, frequency)}",
    )
    if added.sum() > _MOST_GROWTH * lengths.sum():
        raise DataError(
            f"{found}: that is more than {_MOST_GROWTH} times the {lengths.sum()} rows found; "
            "correct stray time stamps, or "
            + advice("pass freq=...", "leave out the rows before the gap")
        )
    return found


def _closed(columns: Columns, bounds: np.ndarray, grown: np.ndarray, frequency: Frequency) -> str:
    """What to do if hourly rows are at business hours only."""
    times, zone = columns.times, columns.time_zone
    if frequency != Frequency("ns", HOUR):
        return ""
    first = np.repeat(times[bounds[:-1]], np.diff(bounds))
    steps = Frequency("business hour", 1).steps(first, times, zone)
    if (steps < 0).any() or (steps[bounds[1:] - 1] + 1 == grown).all():
        return ""
    found = " (all rows are at business hours: {} if the others are no time steps)"
    return advice(found.format("pass freq='bh'"), "", found.format("enter bh as the step"))


def _spread(values: np.ndarray, at: np.ndarray, rows: int) -> np.ndarray:
    """Place the rows at positions `at`, with missing values in between."""
    missing = None if values.dtype == object else np.nan
    full = np.full((rows, *values.shape[1:]), missing, dtype=values.dtype)
    full[at] = values
    return full


def _named(columns: Columns, series: np.ndarray) -> str:
    """The ids of the first few series, and the number of others."""
    return listing(_ids(columns)[series].tolist(), limit=3)


def _ids(columns: Columns) -> np.ndarray:
    assert columns.ids is not None
    return columns.ids


def _missing(columns: Columns, lengths: np.ndarray, fill: float | None) -> list[Change]:
    """Replace missing and infinite values of (T, C) by NaN or `fill`, in place; return their
    numbers."""
    values, starts = columns.values, np.cumsum(lengths) - lengths
    known = np.isfinite(values)
    _check_empty(columns, starts, np.add.reduceat(known, starts, axis=0, dtype=np.int64) == 0)
    changes = []
    if known.all():
        return changes
    series = np.repeat(np.arange(len(lengths)), lengths)
    for i in np.flatnonzero(~known.all(axis=0)).tolist():
        gaps, column = np.flatnonzero(~known[:, i]), values[:, i]
        infinite, of = int(np.isinf(column[gaps]).sum()), None
        if columns.series is not None:
            of = tuple(_ids(columns)[np.unique(series[gaps])].tolist())
        changes.append(
            Change(
                channel=columns.channels[i],
                missing=len(gaps) - infinite,
                infinite=infinite,
                series=of,
                told="" if fill is None else f", replaced by {fill:g}",
            )
        )
        column[gaps] = np.nan if fill is None else fill
    return changes


def _check_empty(columns: Columns, starts: np.ndarray, empty: np.ndarray) -> None:
    """Reject series without any number, given their first rows (S,) and `empty` (S, C)."""
    if not empty.any():
        return
    infinite = np.add.reduceat(np.isinf(columns.values), starts, axis=0, dtype=np.int64)[empty]
    lengths = np.diff(starts, append=len(columns.values))
    kind = "missing or infinite" if infinite.any() else "missing"
    if (infinite == np.broadcast_to(lengths[:, None], empty.shape)[empty]).all():
        kind = "infinite"
    channels = [columns.channels[i] for i in np.flatnonzero(empty.any(axis=0))]
    if columns.series is None:
        raise DataError(
            f"no numbers in {listing(channels)}: every value is {kind}; "
            + advice(
                "leave these channels out with target_cols=[...]",
                "send rows in which they have values",
                "choose 'not used' for these columns",
            )
        )
    raise DataError(
        f"no numbers in {listing(channels)} in the series "
        f"{_named(columns, np.flatnonzero(empty.any(axis=1)))}: every value is {kind}; leave "
        "these series out"
    )
