"""How time stamps, times of day and ranges of them are written."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = [
    "FORMS",
    "MONTHS",
    "beginning",
    "by_start",
    "clock_starts",
    "is_clock",
    "is_stamp",
    "looks_like_date",
]

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_REST = ("uary", "ruary", "ch", "il", "", "e", "y", "ust", "t?ember|t", "ober", "ember", "ember")
_MON = "|".join(rf"{m}(?:{r})?" for m, r in zip(MONTHS, _REST, strict=True))
_MON = rf"(?P<mon>(?:{_MON}))\.?"
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_CLOCK = (
    r"(?P<H>\d{1,2})(?:[:.h]?(?P<M>\d\d)(?:[:.]?(?P<S>\d\d)(?:[.,](?P<f>\d{1,9}))?)?)?"
    r"(?:\s*(?P<ap>[ap])\.?m\.?)?"
)
_TIME = rf"(?:(?:T|_|,?\s+){_CLOCK}(?:\s*(?P<z>Z|UTC|GMT|(?:UTC|GMT)?[+-]\d\d(?::?\d\d)?))?)?"
_TIME += r"(?:\s*(?P<utc>Z|UTC|GMT))?"


def _form(date: str, time: str = _TIME) -> re.Pattern[str]:
    return re.compile(date + time, re.IGNORECASE | re.ASCII)


_DAYS = (
    _form(rf"{_WEEKDAY}(?P<y>\d{{4}})(?P<s>[-/.])(?P<m>\d{{1,2}})(?P=s)(?P<d>\d{{1,2}})"),
    _form(rf"{_WEEKDAY}(?P<a>\d{{1,2}})(?P<s>[-/.]) ?(?P<b>\d{{1,2}})(?P=s) ?(?P<y>\d{{4}})"),
    _form(rf"{_WEEKDAY}(?P<d>\d{{1,2}})[-/ .]+{_MON}[-/ ,]+(?P<y>\d{{4}})"),
    _form(rf"{_WEEKDAY}{_MON}[- ]+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<y>\d{{4}})"),
    _form(r"(?P<y>\d{4})(?P<m>\d\d)(?P<d>\d\d)", r"T" + _CLOCK + r"(?P<z>Z|[+-]\d\d(?::?\d\d)?)?"),
    _form(r"(?P<y>\d{4})(?P<m>\d\d)(?P<d>\d\d)", r"\s+" + _CLOCK),
)
_PERIODS = (
    _form(r"(?P<y>\d{4})(?:[-/_]|[-/_ ]?M)(?P<m>\d{1,2})", ""),
    _form(r"(?P<m>\d{1,2})[-/](?P<y>\d{4})", ""),
    _form(rf"{_MON}[-/ ,]*(?P<y>\d{{4}})", ""),
    _form(rf"(?P<y>\d{{4}})[-/ ]*{_MON}", ""),
    _form(r"(?P<y>\d{4})[-/_ ]?Q(?P<q>[1-4])", ""),
    _form(r"Q(?P<q>[1-4])[-/ ]?(?P<y>\d{4})", ""),
    _form(r"(?P<q>[1-4])Q[-/ ]?(?P<y>\d{4})", ""),
    _form(r"(?P<y>\d{4})[-/ ]?W(?P<w>\d{1,2})(?:-?(?P<wd>[1-7]))?", ""),
    _form(r"W(?P<w>\d{1,2})[-/ ](?P<y>\d{4})", ""),
)
FORMS = (*_DAYS, *_PERIODS)
_RANGE = re.compile(r"\s+[-\u2013\u2014]\s+|\s+(?:to|bis)\s+|/(?=\d{4}-)")
_CLOCK_RANGE = re.compile(r"\s*[-\u2013\u2014]\s*|\s+(?:to|bis)\s+")
_AT_CLOCK = re.compile(_CLOCK, re.IGNORECASE | re.ASCII)


def looks_like_date(text: str) -> bool:
    """Whether `text` is written like a date (integers are not)."""
    text = text.strip()
    return is_stamp(text) or beginning(text) is not None


def is_stamp(text: str) -> bool:
    """Whether `text` is a whole date, with or without a time."""
    return any(form.fullmatch(text) for form in FORMS)


def beginning(text: str) -> str | None:
    """The start of a range such as 2024-01-01/2024-01-07 or 2024-01-01 06:30 - 06:45; None for
    other texts."""
    ends = _RANGE.split(text)
    if len(ends) != 2 or not is_stamp(ends[0]):
        return None
    return ends[0] if is_stamp(ends[1]) or _is_one_clock(ends[1]) else None


def is_clock(text: str) -> bool:
    """Whether `text` is written like a time of day, such as 06:30, 6:30 PM or 24:00, or like a
    range of them (06:30 - 06:45)."""
    return _clock(text) is not None


def clock_starts(texts: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Times of day as text, ranges as their start, and a notice of those; other texts stay."""
    starts = {text: _clock(text) for text in dict.fromkeys(texts)}
    ranges = [text for text, start in starts.items() if start not in (None, text.strip())]
    told = (by_start(ranges[0].strip()),) if ranges else ()
    return [starts[text] or text for text in texts], told


def _clock(text: str) -> str | None:
    """A time of day, of a range its start; None for other texts."""
    ends = _CLOCK_RANGE.split(text.strip())
    return ends[0] if len(ends) < 3 and all(map(_is_one_clock, ends)) else None


def _is_one_clock(text: str) -> bool:
    match = _AT_CLOCK.fullmatch(text)
    return match is not None and (":" in text or match["ap"] is not None)


def by_start(text: str) -> str:
    """The notice of ranges."""
    return f"ranges such as {text!r} are read as their start"
