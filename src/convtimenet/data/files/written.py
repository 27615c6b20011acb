"""How answers are written as text: as many digits as say something, times as the source has them.

A forecast comes from float32 numbers scaled by the spread of its series, so six digits of that
spread are all that it knows. A value is rounded at the finest of three places: its own sixth digit,
the sixth digit of its series' range (of values near 4.5e6 that move by 0.1, the second tells them
apart), and the last decimal of the source. Digits before the point are never rounded away, and
rounding never changes the order of two values of a channel.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from convtimenet.data.timestamps import iso_times

if TYPE_CHECKING:
    from convtimenet.data.frequency import Frequency

__all__ = ["decimals_for", "decimals_of", "shortened", "written_times"]

DIGITS = 6
_DAY = 86_400_000_000_000  # nanoseconds


def decimals_for(size: float) -> int:
    """Decimals that show `DIGITS` digits of a number of that size; 0 for none and no number."""
    if not size or not math.isfinite(size):
        return 0
    return max(0, DIGITS - 1 - math.floor(math.log10(abs(size))))


def decimals_of(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Decimals that answers for these values need at least.

    Parameters
    ----------
    values : ndarray, shape (T, C)
        The source's numbers; NaN is a missing one.
    first : ndarray, shape (S,)
        First row of each series.

    Returns
    -------
    ndarray, shape (S, C)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        span = np.fmax.reduceat(values, first) - np.fmin.reduceat(values, first)
    by_span = np.array([[decimals_for(one) for one in row] for row in span.tolist()])
    return np.maximum(by_span, [_own_decimals(column) for column in values.T])


def _own_decimals(values: np.ndarray) -> int:
    """The most decimals that the numbers are written with; 0 if it is more than `DIGITS`, for such
    digits were not chosen by anybody."""
    known = values[np.isfinite(values)]
    with np.errstate(over="ignore"):
        exact = (d for d in range(DIGITS + 1) if (np.round(known, d) == known).all())
        return next(exact, 0)


def shortened(value: float, least: int = 0) -> float:
    """A number rounded to `DIGITS` digits, and to no fewer decimals than `least`."""
    return round(value, max(least, decimals_for(value))) if math.isfinite(value) else value


def written_times(
    times: np.ndarray, time_zone: str | None, frequency: Frequency, sample: str = ""
) -> list[str]:
    """Time stamps as ISO 8601 text; dates alone where the step is of whole days.

    Parameters
    ----------
    sample
        A stamp as the source has it. Times follow it in what ISO 8601 leaves open: a space or a
        "T" before the clock, seconds or none.
    """
    texts = iso_times(times, time_zone)
    if times.dtype.kind == "i":
        return texts
    whole_days = frequency.unit != "ns" or frequency.count % _DAY == 0
    if time_zone is None and whole_days and (times.astype("M8[D]") == times).all():
        return [text[:10] for text in texts]
    if re.search(r"\d \d", sample):
        texts = [text.replace("T", " ", 1) for text in texts]
    clock = re.search(r":\d\d(:\d\d)?", sample)
    if clock and not clock[1] and all(re.match(r":00(?!\.)", text[16:]) for text in texts):
        texts = [text[:16] + text[19:] for text in texts]
    return texts
