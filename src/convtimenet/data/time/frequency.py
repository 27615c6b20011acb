"""The frequency of a table: its name, its time stamps, and whether others fit it.

There are seven units. ``"ns"`` is a fixed length in nanoseconds, ``"month"`` a number of calendar
months on one day of the month, ``"business month"`` one on the first or last weekday of the month,
``"half month"`` the 1st and 15th or the 15th and the last day, ``"business"`` a number of weekdays
(Monday to Friday), ``"business hour"`` a number of hours that start between 9:00 and 16:00 on
weekdays, and ``"step"`` a difference of integers for tables without dates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convtimenet.data.time.steps import (
    DAY,
    HOUR,
    MONTH_END,
    MONTHS,
    WEEKDAYS,
    NamedStep,
    Unit,
    frequency_name,
    name_of,
    parse_name,
)
from convtimenet.data.time.timestamps import LAST_YEAR, show_time, to_local, to_utc
from convtimenet.errors import DataError
from convtimenet.wording import advice

__all__ = ["Frequency", "day_of_month"]

_OPENS, _OPEN_HOURS = 9, 8  # pandas' business hours begin at 9:00, the last at 16:00
_YEARS_PER_UNIT: dict[Unit, float] = {
    "ns": 1 / (365.25 * DAY),
    "month": 1 / 12,
    "business month": 1 / 12,
    "half month": 1 / 24,
    "business": 7 / (5 * 365.25),
    "business hour": 7 / (5 * 365.25 * _OPEN_HOURS),
}


@dataclass(frozen=True)
class Frequency:
    """The step between neighbouring time stamps.

    Parameters
    ----------
    unit : {"ns", "month", "business month", "half month", "business", "business hour", "step"}
        The unit, see the module docstring.
    count : int
        Number of units per step, at least 1.
    day : int
        For months the day of the month, 1 to 31. Shorter months use their last day, so 31 means the
        end of the month. For business months and half months 1 (start of the month) or 31 (end of
        the month).
    """

    unit: Unit
    count: int
    day: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise DataError(f"a frequency needs a count of at least 1, found {self.count}")
        if self.unit == "month" and not 1 <= self.day <= MONTH_END:
            raise DataError(f"a monthly frequency needs a day from 1 to 31, found {self.day}")

    @classmethod
    def parse(cls, name: str) -> Frequency:
        """Parse a name, see `convtimenet.data.time.steps.parse_name`.

        The phase comes from the time stamps: an anchor (``"W-SUN"``, ``"QS-OCT"``) is ignored, and
        months in polars notation get day 1. `asked` checks the anchor and finds the day.

        Raises
        ------
        DataError
            If the name is not known.
        """
        step = parse_name(name)
        by_stamps = step.unit == "month" and not step.day and "@" not in name
        return cls(step.unit, step.count, 1 if by_stamps else step.day)

    @classmethod
    def asked(
        cls,
        freq: Any,
        times: np.ndarray,
        time_zone: str | None = None,
        *,
        periods: bool = False,
    ) -> Frequency:
        """The frequency given by the caller, of any type, for a table with these time stamps.

        With `periods` the time stamps are starts of periods, which pandas names after their ends.

        Raises
        ------
        ConfigError
            If it has a type that cannot be a frequency (`frequency_name`).
        DataError
            If its name is unknown, or the weekdays or months of the time stamps do not match its
            anchor.
        """
        name = frequency_name(freq)
        step = parse_name(name)
        if times.dtype.kind == "i":
            return cls.parse(name)
        local = to_local(times, time_zone)
        if periods and step.unit == "month":
            return cls("month", step.count, day_of_month(local))
        if step.anchor is not None and not periods:
            _check_anchor(name, step, local)
        if step.unit == "month" and not step.day and "@" not in name:
            return cls("month", step.count, day_of_month(local))
        return cls(step.unit, step.count, step.day)

    @property
    def name(self) -> str:
        """Short name, such as ``"15min"`` or ``"1MS"``, that `parse` accepts."""
        return name_of(self.unit, self.count, self.day)

    def __str__(self) -> str:
        return self.name

    def future(
        self, last: np.datetime64 | np.int64 | int, n: int, time_zone: str | None = None
    ) -> np.ndarray:
        """Time stamps that follow `last`.

        Parameters
        ----------
        last : datetime64 or int
            The last known stamp, in UTC if `time_zone` is given.
        n : int
            Number of time stamps to generate.
        time_zone : str, optional
            Steps of whole days, months and business days keep the local time of this zone; a local
            time that does not exist because of a clock change is moved forward by the length of the
            change. Shorter steps are counted in UTC.

        Returns
        -------
        ndarray, shape (n,)
            datetime64[ns] (in UTC if `time_zone` is given), or int64 for integer steps.

        Raises
        ------
        DataError
            If a time stamp would lie after the year 2261.
        """
        return self.after(np.array([last]), n, time_zone)[0]

    def after(self, last: np.ndarray, n: int, time_zone: str | None = None) -> np.ndarray:
        """Like `future` for several last time stamps, (S,) to (S, n)."""
        if self.unit == "step":
            return last.astype(np.int64)[:, None] + self.count * np.arange(1, n + 1)
        stamps = last.astype("datetime64[ns]")
        # datetime64[ns] overflows silently
        years = n * self.count * _YEARS_PER_UNIT[self.unit]
        latest = stamps.max()
        if latest.astype("datetime64[Y]").astype(int) + 1970 + years > LAST_YEAR:
            raise DataError(
                f"{n} rows in steps of {self.name} after {show_time(latest, time_zone)} go beyond "
                f"the year {LAST_YEAR}; ask for fewer"
            )
        return self._walk(stamps[:, None], np.arange(1, n + 1), time_zone)

    def grid(
        self, first: np.ndarray, steps: np.ndarray, time_zone: str | None = None
    ) -> np.ndarray:
        """Stamps `steps` steps after `first`, (T,) each."""
        if self.unit == "step":
            return first + self.count * steps
        return self._walk(first, steps, time_zone)

    def steps(
        self, first: np.ndarray, times: np.ndarray, time_zone: str | None = None
    ) -> np.ndarray:
        """The number of steps from the first time stamp of a series to each time stamp.

        Parameters
        ----------
        first, times : ndarray, shape (T,)
            Increasing along each series; `first` may be a single time stamp, (1,).

        Returns
        -------
        ndarray, shape (T,)
            int64, -1 for a time stamp that is not on the grid that starts at `first`.
        """
        if self.unit == "step":
            whole, rest = np.divmod(times - first, self.count)
            return np.where(rest == 0, whole, -1)
        zone = self._zone(time_zone)
        if self.unit == "ns" and zone in (None, "UTC"):
            whole, rest = np.divmod((times - first).astype(np.int64), self.count)
            return np.where(rest == 0, whole, -1)
        start, local = _local(first, zone), to_local(times, zone)
        if self.unit == "ns":
            whole = (local - start).astype(np.int64) // self.count
        else:
            whole = (self._ordinal(local) - self._ordinal(start)) // self.count
        grid = self._walk(first, whole, time_zone)
        off = grid != times
        if zone and off.any():
            # an hour repeated by a clock change matches either occurrence
            off[off] = to_local(grid[off], zone) != local[off]
        return np.where(off, -1, whole)

    def check(self, times: np.ndarray, time_zone: str | None = None) -> None:
        """Check that `times`, shape (T,), increasing, are one step apart.

        Raises
        ------
        DataError
            If they are not, naming the first irregular time stamp, or if the frequency is for
            integers and the times are dates, or the reverse.
        """
        if (self.unit == "step") != (times.dtype.kind == "i"):
            kind = "integers" if times.dtype.kind == "i" else "dates"
            raise DataError(
                f"frequency {self.name!r} does not fit a time column of {kind}; expected "
                + ("a bare number such as '1'" if kind == "integers" else "a name such as '1h'")
            )
        at = self._first_break(times, time_zone)
        if at < len(times):
            raise DataError(self._explain(times, at, time_zone))

    def _walk(self, start: np.ndarray, steps: np.ndarray, time_zone: str | None) -> np.ndarray:
        """The time stamps `steps` steps after `start`; the two are broadcast."""
        zone = self._zone(time_zone)
        local = _local(start, zone)
        days = local.astype("datetime64[D]")
        clock = local - days
        if self.unit == "ns":
            whole, rest = divmod(self.count, DAY)
            dates = days + whole * steps
            clock = clock + (rest * steps).astype("timedelta64[ns]")
        elif self.unit == "business":
            dates = np.busday_offset(days, self.count * steps, roll="backward")
        elif self.unit == "business hour":
            days = np.busday_offset(days, 0, roll="backward")
            hour = clock // np.timedelta64(HOUR, "ns") - _OPENS + self.count * steps
            dates = np.busday_offset(days, hour // _OPEN_HOURS, roll="backward")
            clock = clock % np.timedelta64(HOUR, "ns")
            clock = clock + ((hour % _OPEN_HOURS + _OPENS) * HOUR).astype("timedelta64[ns]")
        elif self.unit == "half month":
            halves = self._ordinal(local) + self.count * steps
            months = (halves // 2).astype("datetime64[M]")
            first, second = (1, 15) if self.day == 1 else (15, MONTH_END)
            dates = _day_in(months, np.where(halves % 2 == 0, first, second))
        else:
            months = local.astype("datetime64[M]") + self.count * steps
            dates = _day_in(months, np.asarray(self.day))
            if self.unit == "business month":
                roll = "forward" if self.day == 1 else "backward"
                dates = np.busday_offset(dates, 0, roll=roll)
        return to_utc(dates.astype("datetime64[ns]") + clock, zone)

    def _ordinal(self, local: np.ndarray) -> np.ndarray:
        """The calendar unit of local time stamps as a consecutive number."""
        months = local.astype("datetime64[M]").astype(np.int64)
        if self.unit in ("month", "business month"):
            return months
        days = local.astype("datetime64[D]")
        if self.unit == "half month":
            day = (days - local.astype("datetime64[M]")).astype(np.int64) + 1
            return 2 * months + (day >= 15 if self.day == 1 else day > 15)
        count = np.busday_count(np.datetime64(0, "D"), days).astype(np.int64)
        if self.unit == "business":
            return count
        hour = (local - days) // np.timedelta64(HOUR, "ns")
        return count * _OPEN_HOURS + np.clip(hour - _OPENS, 0, _OPEN_HOURS - 1)

    def _first_break(self, times: np.ndarray, time_zone: str | None) -> int:
        """Index of the first time stamp off the grid that starts at ``times[0]``, T if there is
        none."""
        wrong = self.steps(times[:1], times, time_zone) != np.arange(len(times))
        return int(np.argmax(wrong)) if wrong.any() else len(times)

    @property
    def keeps_clock(self) -> bool:
        """Whether steps keep the local time of a zone: those of whole days or longer do, and those
        of business hours."""
        return self.unit not in ("ns", "step") or (self.unit == "ns" and self.count % DAY == 0)

    def _zone(self, time_zone: str | None) -> str | None:
        """The zone whose local time the steps keep, None for steps counted in UTC."""
        return time_zone if self.keeps_clock else None

    def _explain(self, times: np.ndarray, at: int, time_zone: str | None) -> str:
        if self.unit == "step":
            expected = str(int(times[0]) + at * self.count)
        else:
            expected = show_time(self._walk(times[:1], np.array([at]), time_zone)[0], time_zone)
        found = show_time(times[at], time_zone)
        if at == 0:
            return (
                f"the time stamps do not fit the frequency {self.name!r}: expected the first one "
                f"to be {expected}, found {found}; "
                + advice(
                    "pass the frequency of the table, or leave it out to infer it",
                    "send time stamps that fit it",
                    "enter the step of the table, or leave it empty to infer it",
                )
            )
        gap = times[at] - times[at - 1]
        unit = "step" if self.unit == "step" else "ns"
        hint = (
            f"; whole days are counted in local time of {time_zone}, so convert the column to UTC "
            "if its steps are regular in UTC"
            if time_zone not in (None, "UTC")
            else ""
        )
        return (
            f"the time stamps are not regular: after {show_time(times[at - 1], time_zone)} "
            f"expected a step of {self.name}, to {expected}, found a step of "
            f"{Frequency(unit, int(gap.astype(np.int64))).name}, to {found}; add the missing rows "
            "(their values may be empty), resample the table to a fixed step, keep only a regular "
            "part of it, or number the rows 0, 1, 2, ... in the time column if the length of the "
            f"steps does not matter{hint}"
        )


def _check_anchor(name: str, step: NamedStep, local: np.ndarray) -> None:
    """Reject time stamps at other weekdays or months than those of an anchor such as W-WED or
    QS-FEB."""
    assert step.anchor is not None
    kind, at = step.anchor
    if kind == "weekday":
        # 1970-01-01 was a Thursday
        found, cycle = (local.astype("datetime64[D]").astype(np.int64) + 3) % 7, 7
        names, expected = WEEKDAYS, np.full(len(found), at)
    else:
        found, cycle = local.astype("datetime64[M]").astype(np.int64) % 12, 12
        cycle = 3 if step.count % 12 else 12
        names, expected = MONTHS, found + (at - 1 - found) % cycle
    off = np.flatnonzero((found - expected) % cycle)
    if len(off):
        base = name.rpartition("-")[0]
        stamp, is_at = show_time(local[int(off[0])]), names[int(found[off[0]])]
        raise DataError(
            f"the time stamps do not fit the frequency {name!r}: {stamp} is in {is_at}; "
            + advice(
                f"pass freq={base!r}, which accepts any anchor, or freq='{base}-{is_at}'",
                "send time stamps that fit it",
                f"enter {base} as the step, which accepts any anchor, or {base}-{is_at}",
            )
        )


def day_of_month(local: np.ndarray) -> int:
    """The day of the month of monthly time stamps, 31 for month ends."""
    days, months = local.astype("datetime64[D]"), local.astype("datetime64[M]")
    at_end = days + 1 == (months + 1).astype("datetime64[D]")
    return MONTH_END if at_end.all() else int((days - months).astype(int).max()) + 1


def _local(stamps: np.ndarray, zone: str | None) -> np.ndarray:
    """Local times; the first moment of a day is midnight, also where clocks skip that."""
    local = to_local(stamps, zone)
    if zone in (None, "UTC"):
        return local
    begins = local.astype("datetime64[D]").astype("datetime64[ns]")
    return np.where(to_utc(begins, zone) == stamps, begins, local)


def _day_in(months: np.ndarray, day: np.ndarray) -> np.ndarray:
    """The given day of each month, or the last day of shorter months."""
    starts = months.astype("datetime64[D]")
    lengths = (months + 1).astype("datetime64[D]") - starts
    return starts + np.minimum(lengths, day.astype("timedelta64[D]")) - 1
