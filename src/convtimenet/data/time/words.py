"""A number of steps in words, for reports and the page."""

from __future__ import annotations

from convtimenet.data.time.frequency import Frequency

__all__ = ["step_note", "step_words", "steps"]

_SECOND = 1_000_000_000
_FIXED = {
    "week": 7 * 86_400 * _SECOND,
    "day": 86_400 * _SECOND,
    "hour": 3_600 * _SECOND,
    "minute": 60 * _SECOND,
    "second": _SECOND,
    "millisecond": 1_000_000,
    "microsecond": 1_000,
    "nanosecond": 1,
}
"""Nouns of fixed lengths, longest first, in nanoseconds."""
_NOUNS = {"half month": "half month", "business": "business day", "business hour": "business hour"}


def steps(h: int, frequency: Frequency) -> str:
    """A number of steps with their noun: "12 months", "24 steps of 15 minutes"."""
    n, noun = _length(frequency)
    if n == 1:
        return _counted(h, noun)
    return f"{_counted(h, 'step')} of {_counted(n, noun)}"


def step_note(frequency: Frequency) -> str:
    """The length of a step in brackets, after "steps": " (1 step = 1 hour)"; empty for integers."""
    return "" if frequency.unit == "step" else f" (1 step = {step_words(frequency)})"


def step_words(frequency: Frequency) -> str:
    """The length of a step: "1 day", "15 minutes"; of integers their difference."""
    return str(frequency.count) if frequency.unit == "step" else _counted(*_length(frequency))


def _length(frequency: Frequency) -> tuple[int, str]:
    """A step as a number of something; integers have no other name than "step"."""
    unit, count = frequency.unit, frequency.count
    if unit == "step":
        return 1, "step"
    if unit in _NOUNS:
        return count, _NOUNS[unit]
    if unit == "ns":
        noun = next(one for one, length in _FIXED.items() if count % length == 0)
        return count // _FIXED[noun], noun
    if count == 3:
        return 1, "quarter"
    return (count, "month") if count % 12 else (count // 12, "year")


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
