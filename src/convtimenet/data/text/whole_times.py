"""Whole numbers as time stamps: dates such as 20240131, seconds since 1970, steps."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from convtimenet.errors import DataError

__all__ = ["EPOCHS", "read_whole", "to_whole"]

EPOCHS = {"unix-s": 10**9, "unix-ms": 10**6, "unix-us": 10**3, "unix-ns": 1}
"""Names of numbers since 1970, and how many nanoseconds make one."""

_FORMS = {8: "%Y%m%d", 6: "%Y%m", 4: "%Y", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_EPOCH_DIGITS = {10: "unix-s", 13: "unix-ms", 16: "unix-us", 19: "unix-ns"}
_EARLIEST, _LATEST = 1800, 2100  # numbers outside are more likely steps than years
_READ_AS = {
    "%Y": "years",
    "%Y%m": "months (YYYYMM)",
    "%Y%m%d": "days (YYYYMMDD)",
    "unix-s": "seconds since 1970",
    "unix-ms": "milliseconds since 1970",
    "unix-us": "microseconds since 1970",
    "unix-ns": "nanoseconds since 1970",
}


def read_whole(
    numbers: np.ndarray, form: str | None, steps: bool
) -> tuple[np.ndarray, str | None, tuple[str, ...]]:
    """Read whole numbers (T,), int64.

    Parameters
    ----------
    form
        What the caller says they are, see `TimeReading`.
    steps
        Whether they are steps in any case.

    Returns
    -------
    times
        datetime64[ns], or the numbers themselves as steps.
    form
        How they say dates; None for steps.
    notices
        What was decided.

    Raises
    ------
    DataError
        If the form is given and a number does not fit it.
    """
    if steps or not len(numbers):
        return numbers, None, ()
    if form in EPOCHS:
        return _since_1970(numbers, form), form, ()
    if form is not None:
        return _by_format(numbers, form), form, ()
    digits = len(str(int(numbers.max())))
    if digits != len(str(int(numbers.min()))):
        return numbers, None, ()
    found, by_digits = None, _FORMS.get(digits)
    if by_digits is not None:
        found = _calendar(numbers, by_digits)
    if found is None and digits in _EPOCH_DIGITS:
        by_digits = _EPOCH_DIGITS[digits]
        found = _since_1970(numbers, by_digits)
    if found is None:
        return numbers, None, ()
    assert by_digits is not None
    told = (
        f"times like {int(numbers[0])} are read as {_READ_AS.get(by_digits, 'dates')}; a whole "
        "number as freq counts them as steps instead"
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
            f"{far} lies beyond the year 2261 as time_format={form!r} reads it; pass "
            f"time_format={finer!r} if the numbers are finer"
        )
    return (numbers * EPOCHS[form]).astype("datetime64[ns]")


def _calendar(numbers: np.ndarray, form: str) -> np.ndarray | None:
    """Dates written without marks; None if one of the numbers is none."""
    parts, rest = [], numbers
    for _ in range(len(form) // 2 - 1):
        rest, part = np.divmod(rest, 100)
        parts.insert(0, part)
    parts += [np.full(len(numbers), least) for least in (1, 1, 0, 0, 0)[len(parts) :]]
    month, day, hour, minute, second = parts
    if rest.min() < _EARLIEST or rest.max() > _LATEST or month.min() < 1 or month.max() > 12:
        return None
    months = ((rest - 1970) * 12 + month - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]")
    lengths = ((months + 1).astype("datetime64[D]") - first).astype(np.int64)
    if (day < 1).any() or (day > lengths).any() or max(minute.max(), second.max()) > 59:
        return None
    if hour.max() > 23:
        return None
    clock = ((hour * 60 + minute) * 60 + second) * 10**9
    days = first + (day - 1).astype("timedelta64[D]")
    return days.astype("datetime64[ns]") + clock.astype("timedelta64[ns]")


def _by_format(numbers: np.ndarray, form: str) -> np.ndarray:
    found = []
    for number in numbers.tolist():
        try:
            found.append(datetime.strptime(str(number), form))
        except ValueError:
            raise DataError(
                f"the time {number} is not written as time_format={form!r} says; correct the "
                "format, or leave it out to have it found"
            ) from None
    return np.array(found, dtype="datetime64[us]").astype("datetime64[ns]")
