"""Parse whole numbers as time stamps: dates such as 20240131, seconds since 1970, or steps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from convtimenet.errors import DataError
from convtimenet.wording import advice

__all__ = ["EPOCHS", "calendar_days", "like_clocks", "other_than_months", "read_whole", "to_whole"]

EPOCHS = {"unix-s": 10**9, "unix-ms": 10**6, "unix-us": 10**3, "unix-ns": 1}
"""Units of numbers since 1970, in nanoseconds."""

_FORMS = {8: "%Y%m%d", 6: "%Y%m", 4: "%Y", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_DAYS_FIRST = ("%d%m%Y", "%m%d%Y")
_OTHER_ORDERS = {5: ("%y%m%d",), 6: ("%y%m%d", "%d%m%y"), 7: _DAYS_FIRST, 8: _DAYS_FIRST}
_EPOCH_DIGITS = {10: "unix-s", 13: "unix-ms", 16: "unix-us", 19: "unix-ns"}
_EARLIEST, _LATEST = 1800, 2100  # numbers outside are more likely steps than years
_FIRST = 1700  # the same if a month follows the year
_MOST = 0.5  # if more than this fraction are dates, a number that is not one is an error
_EXCEL = 36_526, 54_788  # Excel's day numbers of 2000 to 2049
_DAY = 86_400  # seconds
_FEWEST = 4  # with fewer numbers a date code may as well be a counter
_READ_AS = {
    "%Y": "years",
    "%Y%m": "months (YYYYMM)",
    "%Y%m%d": "days (YYYYMMDD)",
    "%Y%j": "days of the year (YYYYDDD)",
    "unix-s": "seconds since 1970",
    "unix-ms": "milliseconds since 1970",
    "unix-us": "microseconds since 1970",
    "unix-ns": "nanoseconds since 1970",
}


def read_whole(
    numbers: np.ndarray, form: str | None, steps: bool
) -> tuple[np.ndarray, str | None, tuple[str, ...]]:
    """Parse whole numbers (T,), int64.

    Parameters
    ----------
    form
        The format set by the caller, see `TimeReading`.
    steps
        Whether to treat them as steps without checking for dates.

    Returns
    -------
    times
        datetime64[ns], or the numbers themselves for steps.
    form
        The format of the dates; None for steps.
    notices
        What was inferred.

    Raises
    ------
    DataError
        If a number does not match the given format, or the numbers are ambiguous.
    """
    if steps or not len(numbers):
        return numbers, None, ()
    if form in EPOCHS:
        return _since_1970(numbers, form), form, ()
    if form is not None:
        return _by_format(numbers, form), form, ()
    digits = len(str(int(numbers.max())))
    same = digits == len(str(int(numbers.min())))
    found, by_digits = None, _FORMS.get(digits) if same else None
    if by_digits == "%Y":
        _check_codes(np.unique(numbers), digits)
    if by_digits is not None:
        found = _calendar(numbers, by_digits)
    elif same and digits == 7:
        found, by_digits = _ordinal(numbers), "%Y%j"
    if found is None and (unit := _epoch(numbers)):
        found, by_digits = _since_1970(numbers, unit), unit
    if found is None:
        _check_codes(np.unique(numbers), digits)
    elif by_digits == "%Y%m" and (other := other_than_months(*np.divmod(numbers, 100))):
        raise DataError(
            f"times like {int(numbers[0])} may be {other[0]}s or months: write {other[0]}s as "
            f"{other[1]}, or "
            + advice(
                "pass time_format='%Y%m' (--time_format %Y%m) for months",
                "months with their first day, as 2024-01-01",
            )
        )
    if found is None and same and digits in _EPOCH_DIGITS:
        by_digits = _EPOCH_DIGITS[digits]
        found = _since_1970(numbers, by_digits)
    if found is None:
        excel = same and _EXCEL[0] <= int(numbers.min()) and int(numbers.max()) <= _EXCEL[1]
        told = (
            f"times like {int(numbers[0])} are read as integer steps; if they are Excel day "
            "numbers, format the column as a date in Excel and save the file again"
        )
        return numbers, None, (told,) if excel else ()
    assert by_digits is not None
    told = (
        f"times like {int(numbers[0])} are read as {_READ_AS.get(by_digits, 'dates')}; "
    ) + advice(
        "pass a whole number as freq to read them as integer steps",
        "number the rows from 0 if they are integer steps",
        "enter a whole number as the step to read them as integer steps",
    )
    return found, by_digits, (told,)


def to_whole(times: np.ndarray, form: str) -> np.ndarray:
    """Inverse of `read_whole`: datetime64[ns] to int64."""
    if form in EPOCHS:
        return times.astype(np.int64) // EPOCHS[form]
    stamps = times.astype("datetime64[us]").tolist()
    return np.array([int(stamp.strftime(form)) for stamp in stamps], dtype=np.int64)


def _since_1970(numbers: np.ndarray, form: str) -> np.ndarray:
    largest = (2**63 - 1) // EPOCHS[form]
    if (np.abs(numbers) > largest).any():
        far = int(numbers[np.argmax(np.abs(numbers))])
        finer = "unix-ms" if form == "unix-s" else "unix-ns"
        raise DataError(
            f"{far} is after the year 2261 "
            + advice(
                f"with time_format={form!r}; pass time_format={finer!r} if the numbers have a "
                "finer unit",
                f"in {form.removeprefix('unix-')} since 1970; correct it, or write the times as "
                "2024-01-31 18:30",
            )
        )
    return (numbers * EPOCHS[form]).astype("datetime64[ns]")


def _epoch(numbers: np.ndarray) -> str | None:
    """The unit of numbers since 1970 that are all whole minutes; None if they may be steps."""
    common = int(np.gcd.reduce(numbers))
    low, high = int(numbers.min()), int(numbers.max())
    for unit, size in EPOCHS.items():
        second = 10**9 // size
        step, rest = divmod(common, second)
        days = step % _DAY == 0
        if rest or step < 60 or step % 60 or step > 31 * _DAY or not (days or _DAY % step == 0):
            continue
        year = 365 * _DAY * second
        # numbers that count from 0 may be the time that has passed, unless they are long in days
        after = low >= year or low <= -year or (days and high >= year)
        if after and -70 * year <= low and high <= 131 * year:
            return unit
    return None


def _calendar(numbers: np.ndarray, form: str) -> np.ndarray | None:
    """Dates written without separators; None if the numbers are not dates.

    Raises
    ------
    DataError
        If most but not all of them are dates; the message names the first that is not.
    """
    parts, rest = [], numbers
    for _ in range(len(form) // 2 - 1):
        rest, part = np.divmod(rest, 100)
        parts.insert(0, part)
    parts += [np.full(len(numbers), least) for least in (1, 1, 0, 0, 0)[len(parts) :]]
    month, day, hour, minute, second = parts
    earliest = _EARLIEST if form == "%Y" else _FIRST
    fits = (rest >= earliest) & (rest <= _LATEST) & (month >= 1) & (month <= 12)
    months = ((rest - 1970) * 12 + month - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]")
    lengths = ((months + 1).astype("datetime64[D]") - first).astype(np.int64)
    fits &= (day >= 1) & (day <= lengths) & (minute <= 59) & (second <= 59)
    fits &= (hour <= 23) | ((hour == 24) & (minute + second == 0))  # 24:00 is the end of a day
    if not fits.all():
        if form != "%Y" and fits.mean() > _MOST and not _counts(numbers):
            wrong = int(numbers[np.argmin(fits)])
            raise DataError(
                f"most times are dates like {int(numbers[np.argmax(fits)])}, but {wrong} is not; "
                f"correct it, or {_as_steps('the numbers')}"
            )
        return None
    clock = ((hour * 60 + minute) * 60 + second) * 10**9
    days = first + (day - 1).astype("timedelta64[D]")
    return days.astype("datetime64[ns]") + clock.astype("timedelta64[ns]")


def calendar_days(numbers: np.ndarray) -> np.ndarray | None:
    """The dates of whole numbers that are all YYYYMMDD, or all YYYYMM; None for others."""
    digits = {len(str(int(one))) for one in (numbers.min(), numbers.max())}
    if digits not in ({8}, {6}):
        return None
    try:
        return _calendar(numbers, _FORMS[digits.pop()])
    except DataError:  # some are
        return None


def _ordinal(numbers: np.ndarray) -> np.ndarray | None:
    """Days of the year such as 2024031; None if any of the numbers is not one."""
    years, day = np.divmod(numbers, 1000)
    first = (years - 1970).astype("datetime64[Y]")
    lengths = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(np.int64)
    fits = (years >= _EARLIEST) & (years <= _LATEST) & (day >= 1) & (day <= lengths)
    if not fits.all():
        return None
    return (first.astype("datetime64[D]") + (day - 1).astype("timedelta64[D]")).astype(
        "datetime64[ns]"
    )


def _check_codes(numbers: np.ndarray, digits: int) -> None:
    """Reject numbers that all look like quarters, weeks or dates in another order and would be
    wrong as steps.

    Raises
    ------
    DataError
        If so, saying how to write or read them.
    """
    if len(numbers) < _FEWEST:
        return
    found = None
    if digits == 5 and _years_and(numbers, 10, 4):
        found = f"quarters (YYYYQ): write them as {_year(numbers, 10)}Q1"
    elif digits == 6 and _years_and(numbers, 100, 53):
        found = f"weeks (YYYYWW): write them as {_year(numbers, 100)}-W01"
    elif digits in (3, 4):
        years, months = np.divmod(numbers, 100)
        if len(set(years)) > 1 < len(set(np.diff(numbers))) and set(months) <= {*range(1, 13)}:
            found = "months (YYMM): " + advice(
                "pass time_format='%y%m' (--time_format %y%m), '%Y' for years",
                "write them as 2024-01-01, or years so",
            )
    else:
        fits = [form for form in _OTHER_ORDERS.get(digits, ()) if _all_dates(numbers, form)]
        if fits and not _counts(numbers):
            found = "dates: " + advice(
                f"pass {time_formats(fits)} (--time_format {fits[0]})", "write them as 2024-01-31"
            )
    if found:
        raise DataError(f"times like {int(numbers[0])} look like {found}, or {_as_steps('they')}")


def time_formats(forms: Sequence[str]) -> str:
    """The option for each of several formats."""
    return " or ".join(f"time_format={form!r}" for form in forms)


def _as_steps(what: str) -> str:
    """What to do if numbers that look like dates are none."""
    return advice(
        f"pass freq=1 (--freq 1) if {what} are steps",
        f"number the rows from 0 if {what} are steps",
        f"enter 1 as the step if {what} are steps",
    )


def other_than_months(years: np.ndarray, months: np.ndarray) -> tuple[str, str] | None:
    """What else years with a number behind them may be, and how to write the first: quarters, if
    the numbers are exactly 1 to 4, or years such as 2000/01; None if they are months."""
    if years.min() == years.max():
        return None
    if set(months.tolist()) == {1, 2, 3, 4}:
        return "quarter", f"{int(years[0])}Q1"
    return ("year", f"{int(years[0])}") if (months == (years + 1) % 100).all() else None


def like_clocks(numbers: np.ndarray) -> bool:
    """Whether all may be hours and minutes (HHMM), of which a step goes on at the full hour."""
    different = np.unique(numbers)
    hours, minutes = np.divmod(different, 100)
    if len(different) < _FEWEST or hours[0] < 0 or hours[-1] > 23 or minutes.max() > 59:
        return False
    apart, passed = np.diff(different), np.diff(hours * 60 + minutes)
    breaks = (np.diff(hours) > 0) & (apart != np.median(apart))
    return bool(breaks.any()) and bool((passed == np.median(passed))[breaks].mean() > _MOST)


def _counts(numbers: np.ndarray) -> bool:
    """Whether the numbers are consecutive."""
    different = np.unique(numbers)
    return len(different) > int(different[-1]) - int(different[0])


def _years_and(numbers: np.ndarray, size: int, most: int) -> bool:
    """Whether all are a year followed by a number from 1 to `most`, over several years."""
    years, part = np.divmod(numbers, size)
    fits = (years >= _EARLIEST) & (years <= _LATEST) & (part >= 1) & (part <= most)
    return bool(fits.all()) and bool(years.min() < years.max())


def _year(numbers: np.ndarray, size: int) -> int:
    return int(numbers[0]) // size


def _all_dates(numbers: np.ndarray, form: str) -> bool:
    try:
        found = _by_format(numbers, form)
    except DataError:
        return False
    years = found.astype("datetime64[Y]").astype(int) + 1970
    return bool((years >= _EARLIEST).all() and (years <= _LATEST).all())


def _by_format(numbers: np.ndarray, form: str) -> np.ndarray:
    found, width = [], len(datetime(2024, 1, 31).strftime(form))  # numbers lack leading zeros
    for number in numbers.tolist():
        try:
            found.append(datetime.strptime(str(number).zfill(width), form))
        except ValueError:
            raise DataError(
                f"the time {number} does not match "
                + advice(
                    f"time_format={form!r}; correct the format, or leave it out to infer it",
                    f"the format {form!r}, in which the model reads it; correct it",
                )
            ) from None
    return np.array(found, dtype="datetime64[us]").astype("datetime64[ns]")
