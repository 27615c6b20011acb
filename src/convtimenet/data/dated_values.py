"""Channels that are dates written as whole numbers: told of, and left as they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from convtimenet.data.text.whole_times import EPOCHS, calendar_days
from convtimenet.wording import advice

__all__ = ["date_notices"]

_SMALLEST = 10_000  # of dates as whole numbers, but seconds of the first hours of 1970
_LEAST = 4  # fewer different numbers may be dates by chance
_APART = 26 * 3_600 * 10**9  # most time between a row and its stamp in another zone


def date_notices(
    channels: Mapping[str, np.ndarray], times: np.ndarray, bounds: np.ndarray
) -> list[str]:
    """Notices of channels whose numbers are all dates and move with the time column: YYYYMMDD or
    YYYYMM that never fall, or seconds or milliseconds since 1970 that are the times themselves.

    Parameters
    ----------
    channels
        The values (T,) of each channel, NaN where missing.
    times, bounds
        Time stamps (T,), increasing along each series, and the first row of each series and T.
    """
    found, series = [], np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    for name, values in channels.items():
        known = np.isfinite(values)
        own = values[known]
        # most channels are told apart from dates without a look at all of their values
        if not len(own) or own[0] % 1 or abs(own[0]) < _SMALLEST:
            continue
        if (own % 1).any() or np.abs(own).max() >= 2**53:
            continue
        whole = own.astype(np.int64)
        told = _read_as(whole, times[known], series[known])
        if told:
            found.append(
                f"channel {name!r}: its numbers, such as {whole[0]}, are {told} that move with the "
                "times; "
                + advice(
                    "leave it out with target_cols=[...] if it is not to be forecast",
                    "they are read as values",
                    "choose 'not used' for it if it is not to be forecast",
                )
            )
    return found


def _read_as(whole: np.ndarray, times: np.ndarray, series: np.ndarray) -> str:
    """What numbers (T,) are; empty for values."""
    if len(np.unique(whole)) < _LEAST:
        return ""
    days = calendar_days(whole)
    if days is not None:
        falls = (np.diff(days).astype(np.int64) < 0) & (np.diff(series) == 0)
        return "" if falls.any() else "dates"
    if times.dtype.kind != "M":
        return ""
    for unit, called in (("unix-s", "seconds since 1970"), ("unix-ms", "milliseconds since 1970")):
        largest = (2**63 - 1) // EPOCHS[unit]
        if np.abs(whole).max() <= largest:
            off = whole * EPOCHS[unit] - times.astype("datetime64[ns]").astype(np.int64)
            if np.abs(off).max() <= _APART:
                return called
    return ""
