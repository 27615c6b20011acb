"""Format forecasts as text: significant digits only, and times in the format of the source.

A forecast is computed in float32 and scaled by the spread of its series, so it has about six
significant digits relative to that spread. A value is rounded at the finest of three places: its
own sixth digit, the sixth digit of the range of its series (needed for values near 4.5e6 that vary
by 0.1), and the last decimal of the source. Digits before the decimal point are never rounded, and
rounding never reverses the order of two values of a channel.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from convtimenet.data.time.steps import DAY
from convtimenet.data.time.timestamps import iso_times

if TYPE_CHECKING:
    from convtimenet.data.time.frequency import Frequency

__all__ = ["decimals_for", "decimals_of", "own_decimals", "shortened", "written_times"]

DIGITS = 6


def decimals_for(size: float) -> int:
    """Number of decimals for `DIGITS` significant digits; 0 for zero and non-finite numbers."""
    if not size or not math.isfinite(size):
        return 0
    return max(0, DIGITS - 1 - math.floor(math.log10(abs(size))))


def decimals_of(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The minimum number of decimals for forecasts of these values.

    Parameters
    ----------
    values : ndarray, shape (T, C)
        The values of the source; NaN where missing.
    first : ndarray, shape (S,)
        First row of each series.

    Returns
    -------
    ndarray, shape (S, C)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        span = np.fmax.reduceat(values, first) - np.fmin.reduceat(values, first)
    by_span = np.array([[decimals_for(one) for one in row] for row in span.tolist()])
    return np.maximum(by_span, [own_decimals(column) or 0 for column in values.T])


def own_decimals(values: np.ndarray) -> int | None:
    """The largest number of decimals in the values; None if it exceeds `DIGITS`, because such
    digits come from a computation."""
    known = values[np.isfinite(values)]
    with np.errstate(over="ignore"):
        exact = (d for d in range(DIGITS + 1) if (np.round(known, d) == known).all())
        return next(exact, None)


def shortened(value: float, least: int = 0) -> float:
    """A number rounded to `DIGITS` significant digits, but to at least `least` decimals."""
    return round(value, max(least, decimals_for(value))) if math.isfinite(value) else value


def written_times(
    times: np.ndarray, time_zone: str | None, frequency: Frequency, sample: str = ""
) -> list[str]:
    """Time stamps as ISO 8601 text; only dates if the frequency is a whole number of days.

    Parameters
    ----------
    sample
        A time stamp of the source. The result follows its choice of a space or "T" before the time,
        and of whether to write seconds.
    """
    texts = iso_times(times, time_zone)
    if times.dtype.kind == "i":
        return texts
    whole_days = frequency.unit != "ns" or frequency.count % DAY == 0
    if time_zone is None and whole_days and (times.astype("M8[D]") == times).all():
        return [text[:10] for text in texts]
    if re.search(r"\d \d", sample):
        texts = [text.replace("T", " ", 1) for text in texts]
    clock = re.search(r":\d\d(:\d\d)?", sample)
    if clock and not clock[1] and all(re.match(r":00(?!\.)", text[16:]) for text in texts):
        texts = [text[:16] + text[19:] for text in texts]
    return texts
