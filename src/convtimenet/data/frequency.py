"""The step between the time stamps of a table: find it, name it, continue it.

A step is one of four kinds. ``"ns"`` is a fixed length in nanoseconds, ``"month"`` a number of
calendar months on one day of the month, ``"business"`` a number of days from Monday to Friday,
and ``"step"`` a difference of integers for tables without dates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from convtimenet.data.timestamps import LAST_YEAR, show_time, to_local, to_utc
from convtimenet.errors import DataError

__all__ = ["Frequency", "infer_frequency", "infer_shared_frequency", "season_of"]

_DAY = 86_400_000_000_000
_UNITS = {
    "W": 7 * _DAY,
    "D": _DAY,
    "h": 3_600_000_000_000,
    "min": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
_SPELLINGS = {"H": "h", "T": "min", "S": "s", "d": "D", "w": "W", "b": "B"}
_MONTH_END = 31
_YEARS_PER_UNIT = {"ns": 1 / (365.25 * _DAY), "month": 1 / 12, "business": 7 / (5 * 365.25)}
_MONTHS = {
    "MS": (1, 1),
    "ME": (1, _MONTH_END),
    "QS": (3, 1),
    "QE": (3, _MONTH_END),
    "YS": (12, 1),
    "YE": (12, _MONTH_END),
}
_NAME = re.compile(r"(\d*)\s*([A-Za-z]*)(?:@(\d+))?(-[A-Za-z]{3})?")


@dataclass(frozen=True)
class Frequency:
    """One step between neighbouring time stamps.

    Parameters
    ----------
    unit : {"ns", "month", "business", "step"}
        What is counted: nanoseconds, calendar months, days from Monday to Friday, or integers.
    count : int
        How many of them make one step, at least 1.
    day : int
        For months only: the day of the month, 1 to 31. Shorter months use their last day, so 31
        means the end of the month.
    """

    unit: Literal["ns", "month", "business", "step"]
    count: int
    day: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise DataError(f"a frequency needs a count of at least 1, found {self.count}")
        if self.unit == "month" and not 1 <= self.day <= _MONTH_END:
            raise DataError(f"a monthly frequency needs a day from 1 to 31, found {self.day}")

    @classmethod
    def parse(cls, name: str) -> Frequency:
        """Read a name such as ``"15min"``, ``"h"``, ``"1W"``, ``"MS"``, ``"QE"`` or ``"B"``.

        A bare number means integer steps and ``"1M@15"`` the 15th of every month. An anchor in the
        style of pandas (``"W-SUN"``, ``"QS-OCT"``) is accepted and not needed: the phase comes from
        the time stamps.

        Raises
        ------
        DataError
            If the name is not known.
        """
        match = _NAME.fullmatch(name.strip())
        number, code, day, anchor = match.groups() if match else ("", "", None, None)
        code = _SPELLINGS.get(code, code)
        count = int(number or 1)
        if not anchor or code[:1] in ("W", "Q", "Y"):
            if code == "M" and day and not anchor:
                return cls("month", count, int(day))
            if day is None and code in _UNITS:
                return cls("ns", count * _UNITS[code])
            if day is None and code in _MONTHS:
                months, month_day = _MONTHS[code]
                return cls("month", count * months, month_day)
            if day is None and code == "B":
                return cls("business", count)
            if day is None and not code and number:
                return cls("step", count)
        known = ", ".join([*_UNITS, "B", *_MONTHS])
        raise DataError(
            f"unknown frequency {name!r}; expected an optional count followed by one of {known} "
            "(S and E: start and end of month, quarter, year), '1M@15' for the 15th of every "
            "month, or a bare number for integer steps"
        )

    @property
    def name(self) -> str:
        """Short name, such as ``"15min"`` or ``"1MS"``; `parse` reads it back."""
        if self.unit == "step":
            return str(self.count)
        if self.unit == "business":
            return f"{self.count}B"
        if self.unit == "month":
            return f"{self.count}" + {1: "MS", _MONTH_END: "ME"}.get(self.day, f"M@{self.day}")
        code, size = next((c, s) for c, s in _UNITS.items() if self.count % s == 0)
        return f"{self.count // size}{code}"

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
            How many stamps to make.
        time_zone : str, optional
            Steps of whole days, months and business days keep the wall clock of this zone; a local
            time that a clock change skips moves forward by the length of that change. Shorter steps
            are counted in UTC.

        Returns
        -------
        ndarray, shape (n,)
            datetime64[ns] (in UTC if `time_zone` is given), or int64 for integer steps.

        Raises
        ------
        DataError
            If a stamp would lie beyond the year 2261.
        """
        return self.after(np.array([last]), n, time_zone)[0]

    def after(self, last: np.ndarray, n: int, time_zone: str | None = None) -> np.ndarray:
        """Time stamps that follow each of several, (S,) to (S, n); otherwise as `future`."""
        if self.unit == "step":
            return last.astype(np.int64)[:, None] + self.count * np.arange(1, n + 1)
        stamps = last.astype("datetime64[ns]")
        # Past its range datetime64[ns] wraps around without a word.
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
        """How many steps each stamp lies after its series' first one.

        Parameters
        ----------
        first, times : ndarray, shape (T,)
            Increasing along each series; `first` may be one stamp, (1,), for all.

        Returns
        -------
        ndarray, shape (T,)
            int64, -1 for a stamp off the grid that starts at `first`.
        """
        if self.unit == "step":
            whole, rest = np.divmod(times - first, self.count)
            return np.where(rest == 0, whole, -1)
        zone = self._zone(time_zone)
        start, local = to_local(first, zone), to_local(times, zone)
        if self.unit == "ns":
            whole = (local - start).astype(np.int64) // self.count
        elif self.unit == "month":
            whole = (local.astype("M8[M]") - start.astype("M8[M]")).astype(np.int64) // self.count
        else:
            days = np.busday_count(start.astype("M8[D]"), local.astype("M8[D]"))
            whole = days.astype(np.int64) // self.count
        grid = self._walk(first, whole, time_zone)
        off = grid != times
        if zone and off.any():
            # The clock shows a repeated hour twice; either reading of it will do.
            off[off] = to_local(grid[off], zone) != local[off]
        return np.where(off, -1, whole)

    def check(self, times: np.ndarray, time_zone: str | None = None) -> None:
        """Refuse `times`, shape (T,), increasing, unless each stamp is one step after the other.

        Raises
        ------
        DataError
            If a stamp is elsewhere, naming the first one, or if dates meet integer steps.
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
        """Stamps `steps` steps after `start`; the two broadcast."""
        zone = self._zone(time_zone)
        local = to_local(start, zone)
        days = local.astype("datetime64[D]")
        clock = local - days
        if self.unit == "ns":
            whole, rest = divmod(self.count, _DAY)
            dates = days + whole * steps
            clock = clock + (rest * steps).astype("timedelta64[ns]")
        elif self.unit == "business":
            dates = np.busday_offset(days, self.count * steps, roll="backward")
        else:
            months = local.astype("datetime64[M]") + self.count * steps
            dates = months.astype("datetime64[D]")
            lengths = (months + 1).astype("datetime64[D]") - dates
            dates = dates + np.minimum(lengths, np.timedelta64(self.day)) - 1
        return to_utc(dates.astype("datetime64[ns]") + clock, zone)

    def _first_break(self, times: np.ndarray, time_zone: str | None) -> int:
        """Index of the first stamp off the grid that starts at ``times[0]``, T if none is."""
        wrong = self.steps(times[:1], times, time_zone) != np.arange(len(times))
        return int(np.argmax(wrong)) if wrong.any() else len(times)

    def _zone(self, time_zone: str | None) -> str | None:
        """The zone whose wall clock these steps keep, None for steps counted in UTC."""
        return time_zone if self.unit != "ns" or self.count % _DAY == 0 else None

    def _explain(self, times: np.ndarray, at: int, time_zone: str | None) -> str:
        if self.unit == "step":
            expected = str(int(times[0]) + at * self.count)
        else:
            expected = show_time(self._walk(times[:1], np.array([at]), time_zone)[0], time_zone)
        found = show_time(times[at], time_zone)
        if at == 0:
            return (
                f"the time stamps do not fit the frequency {self.name!r}: expected the first one "
                f"to be {expected}, found {found}; pass the frequency of the table, or none to "
                "have it found"
            )
        gap = times[at] - times[at - 1]
        unit = "step" if self.unit == "step" else "ns"
        hint = (
            f"; whole days are counted on the clock of {time_zone}, so convert the column to UTC "
            "if its steps are meant in UTC"
            if time_zone not in (None, "UTC")
            else ""
        )
        return (
            f"the time stamps are not regular: after {show_time(times[at - 1], time_zone)} "
            f"expected a step of {self.name}, to {expected}, found a step of "
            f"{Frequency(unit, int(gap.astype(np.int64))).name}, to {found}; add the missing rows "
            "(their values may be empty), resample the table to a fixed step, or keep only one "
            f"regular stretch of it{hint}"
        )


def infer_frequency(times: np.ndarray, time_zone: str | None = None) -> Frequency:
    """Find the step of regular time stamps.

    Steps of 28 days and more are read as calendar months where they can be (1 July, 1 August,
    1 September are months, not 31 days).

    Parameters
    ----------
    times : ndarray, shape (T,)
        int64 or datetime64[ns], strictly increasing, T >= 2; in UTC if `time_zone` is given.
    time_zone : str, optional
        Zone whose wall clock steps of a day and longer keep.

    Raises
    ------
    DataError
        If there are fewer than two stamps, or they do not increase or are irregular; the message
        names the first stamp that breaks the most likely step.
    """
    if len(times) < 2:
        raise DataError(f"finding the frequency needs at least 2 time stamps, found {len(times)}")
    gaps = np.diff(times).astype(np.int64)
    if gaps.min() <= 0:
        raise DataError("the time stamps do not increase; sort them and drop repeated ones first")
    if times.dtype.kind == "i":
        candidates = [Frequency("step", _most_common(gaps))]
    else:
        # A day may last 23 hours in a zone, so anything shorter is not a matter of wall clocks.
        long = gaps.min() >= 23 * _UNITS["h"]
        candidates = _candidates(to_local(times, time_zone) if long else times)
    breaks = [frequency._first_break(times, time_zone) for frequency in candidates]
    best = candidates[int(np.argmax(breaks))]
    best.check(times, time_zone)
    return best


def infer_shared_frequency(
    times: np.ndarray, bounds: np.ndarray, time_zone: str | None = None
) -> Frequency:
    """Find the step that the stamps of several series share, where rows may be absent.

    Parameters
    ----------
    times : ndarray, shape (T,)
        The series one after the other, each strictly increasing.
    bounds : ndarray, shape (S + 1,)
        Where each series begins, and T.

    Returns
    -------
    Frequency
        Of the likely steps the one whose grid holds the most stamps, then the one that leaves the
        fewest rows absent. A stamp may still lie off it (`Frequency.steps`).

    Raises
    ------
    DataError
        If no series has two stamps.
    """
    inside = np.ones(len(times) - 1, dtype=bool)
    inside[bounds[1:-1] - 1] = False
    gaps = np.diff(times).astype(np.int64)[inside]
    if not len(gaps):
        raise DataError("no series has two rows to find the step from; pass freq=...")
    if times.dtype.kind == "i":
        return Frequency("step", _most_common(gaps))
    long = gaps.min() >= 23 * _UNITS["h"]
    candidates = _candidates(to_local(times, time_zone) if long else times, inside)
    first = np.repeat(times[bounds[:-1]], np.diff(bounds))
    fits = []
    for frequency in candidates:
        steps = frequency.steps(first, times, time_zone)
        fits.append((int((steps >= 0).sum()), -int(steps[bounds[1:] - 1].sum())))
    return candidates[fits.index(max(fits))]


def _candidates(local: np.ndarray, inside: np.ndarray | slice = slice(None)) -> list[Frequency]:
    """Possible steps of stamps on the wall clock, preferred ones first; `inside` chooses the
    neighbours that belong to one series."""
    days = local.astype("datetime64[D]")
    gaps = np.diff(local).astype(np.int64)[inside]
    found = [Frequency("ns", max(_most_common(gaps), 1))]
    if gaps.min() >= 27 * _DAY:
        months = local.astype("datetime64[M]")
        starts = months.astype("datetime64[D]")
        day = (days - starts).astype(int) + 1
        at_end = days + 1 == (months + 1).astype("datetime64[D]")
        count = max(_most_common(np.diff(months).astype(int)[inside]), 1)
        found.insert(0, Frequency("month", count, _MONTH_END if at_end.all() else int(day.max())))
    elif np.is_busday(days).all():
        between = np.busday_count(days[:-1], days[1:])[inside]
        found.append(Frequency("business", max(_most_common(between), 1)))
    return found


def _most_common(values: np.ndarray) -> int:
    unique, counts = np.unique(values, return_counts=True)
    return int(unique[np.argmax(counts)])


def season_of(frequency: Frequency) -> int:
    """Steps of the season that a step suggests: a day for steps that divide it, a week of days or
    of business days, a year of months, else 1, which repeats the last value."""
    if frequency.unit == "ns":
        if frequency.count < _DAY and _DAY % frequency.count == 0:
            return _DAY // frequency.count
        return {_DAY: 7, 7 * _DAY: 52}.get(frequency.count, 1)
    if frequency.unit == "business":
        return 5 if frequency.count == 1 else 1
    if frequency.unit == "month" and 12 % frequency.count == 0:
        return 12 // frequency.count
    return 1
