"""Infer the step of a table from its time stamps, and the season from the step."""

from __future__ import annotations

import numpy as np

from convtimenet.data.time.frequency import Frequency, day_of_month
from convtimenet.data.time.steps import (
    DAY,
    HOUR,
    MONTH_END,
)
from convtimenet.data.time.timestamps import to_local
from convtimenet.errors import DataError
from convtimenet.wording import advice

__all__ = ["infer_shared_frequency", "season_of"]

_MOST_IN_A_DAY = 24 * 60  # a sensor with 64 values per second has no daily season


def infer_shared_frequency(
    times: np.ndarray, bounds: np.ndarray, time_zone: str | None = None
) -> Frequency:
    """Infer the common frequency of several series, which may have missing rows.

    Parameters
    ----------
    times : ndarray, shape (T,)
        The series one after the other, each strictly increasing.
    bounds : ndarray, shape (S + 1,)
        The first row of each series, and T.

    Returns
    -------
    Frequency
        The candidate whose grid contains the most time stamps, then the one with the fewest missing
        rows. Some time stamps may still be off the grid (`Frequency.steps`).

    Raises
    ------
    DataError
        If no series has two stamps.
    """
    inside = np.ones(len(times) - 1, dtype=bool)
    inside[bounds[1:-1] - 1] = False
    gaps = np.diff(times).astype(np.int64)[inside]
    if not len(gaps):
        raise DataError(
            "no series has two rows to infer the frequency from; "
            + advice("pass freq=...", "send at least two rows of one", "enter the step")
        )
    if times.dtype.kind == "i":
        return Frequency("step", _most_common(gaps))
    long = gaps.min() >= 23 * HOUR
    candidates = _candidates(to_local(times, time_zone) if long else times, inside)
    first = np.repeat(times[bounds[:-1]], np.diff(bounds))
    fits = []
    for frequency in candidates:
        steps = frequency.steps(first, times, time_zone)
        fits.append((int((steps >= 0).sum()), -int(steps[bounds[1:] - 1].sum())))
    return candidates[fits.index(max(fits))]


def _candidates(local: np.ndarray, inside: np.ndarray | slice = slice(None)) -> list[Frequency]:
    """Candidate frequencies of local time stamps, preferred ones first; `inside` selects the gaps
    within a series."""
    days = local.astype("datetime64[D]")
    gaps = np.diff(local).astype(np.int64)[inside]
    found = [Frequency("ns", max(_most_common(gaps), 1))]
    if gaps.min() >= 25 * DAY:  # the last weekdays of two months may be 26 days apart
        months = local.astype("datetime64[M]")
        count = max(_most_common(np.diff(months).astype(int)[inside]), 1)
        by_month = [Frequency("month", count, day_of_month(local))]
        if np.is_busday(days).all():
            by_month += [Frequency("business month", count, day) for day in (1, MONTH_END)]
        found = by_month + found
    elif gaps.min() >= 13 * DAY and gaps.max() <= 17 * DAY and gaps.min() < gaps.max():
        found += [Frequency("half month", 1, day) for day in (1, MONTH_END)]
    elif np.is_busday(days).all():
        between = np.busday_count(days[:-1], days[1:])[inside]
        found.append(Frequency("business", max(_most_common(between), 1)))
    return found


def _most_common(values: np.ndarray) -> int:
    unique, counts = np.unique(values, return_counts=True)
    return int(unique[np.argmax(counts)])


def season_of(frequency: Frequency) -> int:
    """The default season length in steps: a day for steps of a minute or more that divide it, a
    week for days and business days, a year for weeks, months and half months, a day for business
    hours, else 1, which repeats the last value."""
    if frequency.unit == "ns":
        if DAY // _MOST_IN_A_DAY <= frequency.count < DAY and DAY % frequency.count == 0:
            return DAY // frequency.count
        return {DAY: 7, 7 * DAY: 52}.get(frequency.count, 1)
    if frequency.unit == "business":
        return 5 if frequency.count == 1 else 1
    whole = {"month": 12, "business month": 12, "half month": 24, "business hour": 8}
    steps, rest = divmod(whole.get(frequency.unit, 1), frequency.count)
    return 1 if rest else steps
