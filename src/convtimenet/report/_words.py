"""A forecast in words: its mean, compared with the rows before it, and where it is highest.

A mean is true of any quantity; a sum is only given for whole numbers that are never negative, such
as counts. The rows before are the last h; if h is not a whole number of seasons, the same part of
the last seasons, because other rows would show the season instead of a change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from convtimenet.data.tables import Table
from convtimenet.data.time.frequency import Frequency
from convtimenet.data.time.inferred import season_of
from convtimenet.data.time.timestamps import to_local
from convtimenet.data.time.words import steps
from convtimenet.report._windows import when


@dataclass(frozen=True)
class Outlook:
    """What a forecast says of one series or channel."""

    words: str
    """One or two sentences, without the name."""
    mean: float
    change: str
    """The change of the mean, such as "+9 %" or "-2.3"; empty if it is unknown."""
    direction: int
    """1 if the mean rises, -1 if it falls, 0 if it does neither or that is unknown."""
    highest: str
    """Where the forecast is highest; empty for one step or a flat forecast."""


def three_digits(value: float) -> str:
    """A value in a sentence: three digits, all of them before the point."""
    return f"{value:,.0f}" if 100 <= abs(value) < 1e12 else f"{float(f'{value:.3g}'):.6g}"


def at_time(text: str) -> str:
    """A time after a preposition: "on 2026-07-01", "at 2026-07-01 12:00"."""
    return f"{'on' if re.fullmatch(r'[0-9-]{10}', text) else 'at'} {text}"


def _time(table: Table, row: int) -> str:
    """The time of a row after a preposition: "in July 2026" for months, "on 2026-07-01"."""
    if table.frequency.unit not in ("month", "business month"):
        return at_time(when(table, row))
    stamp = to_local(table.times[row : row + 1], table.time_zone)[0]
    month = stamp.astype("M8[M]").astype(object)
    if table.frequency.unit == "month" and table.frequency.count % 12 == 0:
        return f"in {month.year}"
    return f"in {month:%B} {month.year}"


def outlook(known: np.ndarray, future: Table, first: int, forecast: np.ndarray) -> Outlook:
    """Describe a forecast.

    Parameters
    ----------
    known
        (n,) all values of the series before the forecast, NaN where missing.
    future
        The table of the forecast, for its time stamps.
    first
        Row of `future` of the first step.
    forecast
        (h,) values.
    """
    h, mean = len(forecast), float(forecast.mean())
    seen = known[np.isfinite(known)]
    noise = _noise(seen)
    mean = 0.0 if abs(mean) < noise else mean
    counts = bool(len(seen)) and bool((seen >= 0).all() and (seen == np.round(seen)).all())
    if h == 1:
        words = f"Next step ({_time(future, first)}): {three_digits(mean)}"
    else:
        words = f"Next {steps(h, future.frequency)}: {three_digits(mean)} on average"
        if counts and forecast.min() >= 0:
            words += f" ({three_digits(float(forecast.sum()))} in all)"
    change, direction, told = compared(known, future.frequency, forecast)
    words += f"{told}."
    highest = ""
    if h > 1 and float(np.ptp(forecast)) > max(1e-3 * abs(mean), noise):
        top, low = int(forecast.argmax()), int(forecast.argmin())
        highest = when(future, first + top)
        highs, lows = (three_digits(float(forecast[at])) for at in (top, low))
        words += f" Highest {_time(future, first + top)} ({highs}), lowest "
        words += f"{_time(future, first + low)} ({lows})."
    return Outlook(words, mean, change, direction, highest)


def compared(known: np.ndarray, frequency: Frequency, forecast: np.ndarray) -> tuple[str, int, str]:
    """The change of the mean of a forecast (h,) from the rows before it, as `Outlook` has it, its
    direction, and both in words; empty where too few of these rows are known."""
    h, season = len(forecast), season_of(frequency)
    back = h if season <= 1 or h % season == 0 else -(-h // season) * season
    before = known[len(known) - back :][:h] if back <= len(known) else known[:0]
    at = np.isfinite(before)
    if not len(before) or at.mean() < 0.5:
        return "", 0, ""
    seen = known[np.isfinite(known)]
    mean, earlier = float(forecast.mean()), float(before[at].mean())
    change, direction, told = _change(mean, earlier, seen, forecast)
    span = steps(h, frequency).removeprefix("1 ")
    n = back // season if season > 1 else 1
    ago = "a season" if n == 1 else f"{n:,} seasons"
    then = f"in the {span} before" if back == h else f"in the same {span} {ago} earlier"
    words = f", {told} than {then}" if direction else f", as {then}"
    if not at.all():
        words += f" ({h - at.sum():,} of them missing)"
    return change, direction, words


def _change(
    mean: float, before: float, seen: np.ndarray, forecast: np.ndarray
) -> tuple[str, int, str]:
    """The change of a mean as a cell, its direction, and in words; in per cent where no value is
    negative and the mean is not many times that before, which may be hardly above 0."""
    not_negative = before > 0 and seen.min() >= 0 and forecast.min() >= 0
    if not_negative and mean <= _MOST_TIMES * before:
        share = round(100 * (mean / before - 1))
        side = int(np.sign(share))
        if share == -100 and mean > 0:
            return "< -99 %", side, "more than 99 % lower"
        return f"{share:+,d} %" if share else "0 %", side, f"{abs(share):,} % {_SIDES[side]}"
    off = mean - before
    least = max(0.005 * float(np.ptp(seen)), _noise(seen))
    side = 0 if abs(off) < least else int(np.sign(off))
    size = three_digits(abs(off))
    return f"{'-' if off < 0 else '+'}{size}" if side else "0", side, f"{size} {_SIDES[side]}"


def _noise(seen: np.ndarray) -> float:
    """How far forecasts of known values may be off by rounding alone: networks read float32. Where
    all are 0 their scale is 1."""
    largest = float(np.abs(seen).max(initial=0.0))
    return 1e-6 * largest if largest else 1e-5


_MOST_TIMES = 11  # 1,000 % higher
_SIDES = {1: "higher", -1: "lower", 0: "different"}
