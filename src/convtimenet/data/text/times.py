"""Parse time stamps, written as text or whole numbers, to datetime64.

A column has one format: the first one that matches every time stamp. Ambiguous dates (03/04/2024)
are resolved by other time stamps of the column; if none does, that is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from convtimenet.data.text.rare_formats import formats_of
from convtimenet.data.text.reading import TimeReading, Times
from convtimenet.data.text.stamp_forms import (
    FORMS,
    MONTHS,
    beginning,
    by_start,
    is_clock,
    is_stamp,
)
from convtimenet.data.text.whole_times import EPOCHS, other_than_months, read_whole, time_formats
from convtimenet.data.time.timestamps import FIRST_YEAR, LAST_YEAR, days_of, offset_of, weeks_of
from convtimenet.errors import DataError
from convtimenet.wording import advice

__all__ = ["parse_times"]

Place = Callable[[int], str]

_WHOLE = re.compile(r"([+-]?\d{1,18})\.0*")
_SECONDS = re.compile(r"\d{10}(?:\.\d+)?")
_ZONE_NAME = re.compile(r".*\d\s*\[?([A-Z]{3,5}|[A-Z][a-z]+/\w+)\]?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,18}|\d{19}")
_LEAP = re.compile(r".*[ T_]\d\d:?\d\d:?60(?:[.,]\d+)?(?:Z|\D.*)?", re.ASCII)
_SECOND = 1_000_000_000


def parse_times(texts: Sequence[str], place: Place, reading: TimeReading | None = None) -> Times:
    """Parse time stamps written as text.

    Supported are ISO 8601 (fractional seconds, ``Z`` or an offset, ``UTC``, weeks as 2024-W01),
    years first with slashes or dots, days or months first (31/01/2024, 1/31/2024 6:30 PM), month
    names (31 Jan 2024, Jan 1949, RFC 2822), months (1949-01), quarters (1949Q1), and whole numbers
    that are all dates (20240131, 202401, 1949, seconds since 1970). Other whole numbers are steps.

    Parameters
    ----------
    texts
        T cells.
    place
        Gives the position of a cell for messages, such as ``"line 7"``.
    reading
        The format set by the caller.

    Raises
    ------
    DataError
        If a text is not a time stamp (the message gives it and its position), only some have an
        offset, or day and month cannot be distinguished.
    """
    reading = reading or TimeReading()
    texts = [text.strip() for text in texts]
    if all(map(_WHOLE.fullmatch, texts)):  # integers that became floats in a column with gaps
        texts = [text.partition(".")[0] for text in texts]
    pointed = any("." in text for text in texts)  # perhaps seconds with fractions
    whole = bool(texts) and not pointed and _INTEGER.fullmatch(texts[0]) is not None
    if whole and (reading.format is None or reading.steps or reading.format in EPOCHS):
        return _whole(texts, place, reading)
    if reading.format is not None:
        return _by_format(texts, place, reading.format)
    if pointed and all(map(_SECONDS.fullmatch, texts)):
        told = (f"times like {texts[0]} are read as seconds since 1970",)
        return replace(_fractions(texts, place, "unix-s"), notices=told)
    plain = _plain_iso(texts)
    if plain is not None:
        return Times(times=plain)
    begins = [] if not texts or is_stamp(texts[0]) else list(map(beginning, texts))
    if begins and None not in begins:
        found = _by_form([one for one in begins if one], place, reading)
        return replace(found, notices=(*found.notices, by_start(texts[0])))
    return _by_form(texts, place, reading)


def _whole(texts: Sequence[str], place: Place, reading: TimeReading) -> Times:
    for i, text in enumerate(texts):
        if not _INTEGER.fullmatch(text):
            raise DataError(f"{place(i)}: expected an integer time like {texts[0]}, found {text!r}")
    try:
        numbers = np.array([int(text) for text in texts], dtype=np.int64)
    except OverflowError:
        i = max(range(len(texts)), key=lambda i: int(texts[i]))
        raise DataError(f"{place(i)}: {texts[i]} is too large for a time stamp") from None
    times, form, notices = read_whole(numbers, reading.format, reading.steps)
    return Times(times=times, form=form, notices=notices)


def _plain_iso(texts: Sequence[str]) -> np.ndarray | None:
    """Fast path for time stamps that are all written as 2024-01-31, 2024-01-31 06:30 or
    2024-01-31 06:30:00; None for any others."""
    array = np.array(texts)
    width = array.dtype.itemsize // 4
    if width not in (10, 16, 19):
        return None
    letters = array.view(np.uint32).reshape(len(array), width)
    layout = "0000-00-00 00:00:00"[:width]
    marks = [i for i, mark in enumerate(layout) if mark != "0"]
    digits = letters[:, [i for i, mark in enumerate(layout) if mark == "0"]]
    if (digits - ord("0") > 9).any():  # unsigned: characters before "0" wrap to large numbers
        return None
    expected = np.array([ord(layout[i]) for i in marks], dtype=np.uint32)
    off = letters[:, marks] != expected
    if width > 10:
        between = letters[:, 10]
        off[:, 2] = (between != ord(" ")) & (between != ord("T"))
    if off.any():
        return None
    years = (digits[:, :4] - ord("0")) @ np.array([1000, 100, 10, 1])
    if years.min() < FIRST_YEAR or years.max() > LAST_YEAR:
        return None
    try:
        return array.astype("datetime64[ns]")
    except ValueError:  # e.g. 30 February or 24:00
        return None


def _by_form(texts: Sequence[str], place: Place, reading: TimeReading) -> Times:
    forms = [form for form in FORMS if texts and form.fullmatch(texts[0])]
    if not forms:
        raise _not_a_time(texts[0], place(0), texts)
    most: list[re.Match[str] | None] = []
    for form in forms:
        matches = [form.fullmatch(text) for text in texts]
        if all(matches):
            return _stamps([one for one in matches if one], texts, place, reading)
        most = most or matches
    raise _not_a_time(texts[most.index(None)], place(most.index(None)))


def _stamps(
    matches: Sequence[re.Match[str]], texts: Sequence[str], place: Place, reading: TimeReading
) -> Times:
    parts = matches[0].re.groupindex

    def numbers(name: str, default: int) -> np.ndarray:
        if name not in parts:
            return np.full(len(matches), default)
        return np.array([int(match[name] or default) for match in matches], dtype=np.int64)

    year, notices, dayfirst = numbers("y", 1970), (), None
    month, day = numbers("m", 1), numbers("d", 1)
    if "mon" in parts:
        month = np.array([MONTHS.index(match["mon"][:3].lower()) + 1 for match in matches])
    if "q" in parts:
        month = 3 * numbers("q", 1) - 2
    if "a" in parts:
        day, month, notices = _day_and_month(matches, texts, place, reading)
        dayfirst = None if (day == month).all() else bool((day == numbers("a", 1)).all())
    dated = {"d", "b", "mon"} & {*parts} or "m" not in parts
    if not dated and (other := other_than_months(year, month)):
        raise DataError(
            f"{place(0)}: {texts[0]!r} may be a {other[0]} or a month: write {other[0]}s as "
            f"{other[1]}, or "
            + advice(
                "for months pass time_format='%Y-%m', with the separators of the file",
                "months with their first day, as 2024-01-01",
            )
        )
    days, wrong = days_of(year, month, day)
    if "w" in parts:
        days, wrong = weeks_of(year, numbers("w", 1), numbers("wd", 1))
    hour, minute, second = numbers("H", 0), numbers("M", 0), numbers("S", 0)
    if "ap" in parts:
        half = np.array([(match["ap"] or "").lower() for match in matches])
        wrong |= (half != "") & ((hour < 1) | (hour > 12))
        hour = np.where(half == "", hour, hour % 12 + 12 * (half == "p"))
    # 24:00 is the end of a day
    wrong |= (hour > 24) | (minute > 59) | (second > 59) | ((hour == 24) & (minute + second > 0))
    wrong |= (year < FIRST_YEAR) | (year > LAST_YEAR)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise _not_a_time(texts[i], place(i))
    clock = (hour * 3600 + minute * 60 + second) * _SECOND
    if "f" in parts:
        clock += np.array([int((match["f"] or "0").ljust(9, "0")) for match in matches])
    times = days.astype("datetime64[ns]") + clock.astype("timedelta64[ns]")
    offsets = [None] * len(matches)
    if "z" in parts:
        utc = "utc" in parts
        offsets = [match["z"] or (match["utc"] if utc else None) for match in matches]
    return replace(_with_offsets(times, offsets, texts, place, notices), dayfirst=dayfirst)


def _with_offsets(
    times: np.ndarray,
    offsets: Sequence[str | None],
    texts: Sequence[str],
    place: Place,
    notices: tuple[str, ...] = (),
) -> Times:
    """Convert local times to UTC with their UTC offsets, given as text."""
    bare = offsets.count(None)
    if bare == len(offsets):
        return Times(times=times, notices=notices)
    if bare:
        at = next(i for i, offset in enumerate(offsets) if (offset is None) != (offsets[0] is None))
        raise DataError(
            f"{place(at)}: some time stamps have a UTC offset and some do not: {texts[0]!r} and "
            f"{texts[at]!r}; use the same format for all"
        )
    known = {offset: offset_of(offset) for offset in {*offsets} if offset is not None}
    if far := [offset for offset, shift in known.items() if abs(shift) >= 86_400 * _SECOND]:
        at = place(min(map(offsets.index, far)))
        raise DataError(f"{at}: the UTC offset {far[0]} is over a day; correct it")
    shifts = np.array([known[o] for o in offsets if o is not None], dtype="timedelta64[ns]")
    utc = times - shifts
    zone = _zone_name(int(shifts[int(np.argmax(utc))].astype(np.int64)))
    written = tuple(sorted({_zone_name(shift) for shift in known.values()}))
    if len(written) > 1:
        notices += (
            f"the time stamps have the UTC offsets {', '.join(written)}: forecasts have the last "
            f"one, {zone}",
        )
    return Times(times=utc, zone=zone, offsets=written, notices=notices)


def _zone_name(nanoseconds: int) -> str:
    """A UTC offset as ``"+02:00"``, or ``"UTC"`` if it is 0."""
    minutes = abs(nanoseconds) // (60 * _SECOND)
    sign = "-" if nanoseconds < 0 else "+"
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}" if minutes else "UTC"


def _day_and_month(
    matches: Sequence[re.Match[str]], texts: Sequence[str], place: Place, reading: TimeReading
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Days, months and notices for time stamps that have both before the year."""
    first, second = (np.array([int(match[name]) for match in matches]) for name in ("a", "b"))
    by_day, by_month = (first, second, ()), (second, first, ())
    if reading.dayfirst is not None:
        chosen = by_day if reading.dayfirst else by_month
        way = "day" if reading.dayfirst else "month"
        if (chosen[1] > 12).any():
            i = int(np.argmax(chosen[1] > 12))
            raise DataError(
                f"{place(i)}: {texts[i]!r} is invalid with "
                + advice(
                    f"dayfirst={bool(reading.dayfirst)} (month {int(chosen[1][i])}); pass "
                    f"dayfirst={not reading.dayfirst}",
                    f"the {way} first, as the model reads it; write dates as 2024-01-31",
                    f"the {way} first, as it is chosen; choose 'as detected' for 03/04/2024",
                )
            )
        return chosen
    if (first > 12).any() and (second > 12).any():
        i, k = int(np.argmax(first > 12)), int(np.argmax(second > 12))
        raise DataError(
            f"{place(i)}: {texts[i]!r} has the day first and {texts[k]!r} the month; use the same "
            "format for all time stamps"
        )
    if (first > 12).any() or (first == second).all():
        return by_day
    if (second > 12).any():
        return by_month
    i = int(np.argmax(first != second))
    if reading.usual is not None:
        way = "day" if reading.usual else "month"
        told = f"{texts[i]!r} is read with the {way} first, as in the training table"
        return (*(by_day if reading.usual else by_month)[:2], (told,))
    # dates with dots have the day first by convention
    if matches[0]["s"] == ".":
        told = f"{texts[i]!r} is read with the day first; " + advice(
            "pass dayfirst=False if the month comes first",
            "write dates as 2024-01-31 if the month comes first",
            "choose that 03/04/2024 is in March if the month comes first",
        )
        return (*by_day[:2], (told,))
    a, b, year = int(first[i]), int(second[i]), matches[i]["y"]
    shown = [f"{d} {MONTHS[m - 1].title()} {year}" for d, m in ((a, b), (b, a))]
    raise DataError(
        f"{place(i)}: {texts[i]!r} may be {shown[0]} or {shown[1]}, and all time stamps are "
        "ambiguous; "
        + advice(
            f"pass dayfirst=True (--dayfirst true) for {shown[0]}, dayfirst=False "
            f"(--dayfirst false) for {shown[1]}",
            "write dates as 2024-01-31",
            f"choose that 03/04/2024 is in April for {shown[0]}, in March for {shown[1]}",
        )
    )


def _by_format(texts: Sequence[str], place: Place, form: str) -> Times:
    """Parse time stamps in the format given by the caller."""
    if form in EPOCHS:
        return _fractions(texts, place, form)
    found, offsets = [], []
    for i, text in enumerate(texts):
        try:
            stamp = datetime.strptime(text, form)
        except ValueError:
            raise DataError(
                f"{place(i)}: {text!r} does not match {_format(form)}; expected a time stamp like "
                f"{datetime(2024, 1, 31, 18, 30).strftime(form)!r}; "
                + advice("correct the format, or leave it out to infer it", "write it so")
            ) from None
        if not FIRST_YEAR <= stamp.year <= LAST_YEAR:
            raise _not_a_time(text, place(i))
        shift = stamp.utcoffset()
        seconds = None if shift is None else int(shift.total_seconds())
        offsets.append(None if seconds is None else _zone_name(seconds * _SECOND))
        found.append(stamp.replace(tzinfo=None))
    times = np.array(found, dtype="datetime64[us]").astype("datetime64[ns]")
    return _with_offsets(times, offsets, texts, place)


def _fractions(texts: Sequence[str], place: Place, form: str) -> Times:
    """Parse numbers since 1970 that may have fractions."""
    seconds = np.empty(len(texts))
    for i, text in enumerate(texts):
        try:
            seconds[i] = float(text)
        except ValueError:
            raise DataError(
                f"{place(i)}: {text!r} is not a number, as {_format(form)} requires; "
                + advice("correct the format, or leave it out to infer it", "write one")
            ) from None
    whole = np.floor(seconds)
    times, _, _ = read_whole(whole.astype(np.int64), form, False)
    rest = np.round((seconds - whole) * (EPOCHS[form] / 1000))  # float64 holds no more digits
    return Times(times=times + rest.astype("timedelta64[us]"))


def _format(form: str) -> str:
    """The format that a caller has given for the column."""
    return advice(f"time_format={form!r}", f"the format {form!r}, in which the model reads it")


def _not_a_time(text: str, place: str, texts: Sequence[str] = ()) -> DataError:
    return DataError(
        f"{place}: {text!r} is not a time stamp; expected one like 2020-01-31, 2020-01-31 06:30, "
        f"2020-01-31T06:30:00Z, 31 Jan 2020, 2020-01, 2020Q1 or an integer, from {FIRST_YEAR} to "
        f"{LAST_YEAR}, all in the same format; {_remedy(text, texts)}"
    )


def _remedy(text: str, texts: Sequence[str]) -> str:
    """What to do about a text that is not a time stamp; suggests formats that match all texts."""
    if _LEAP.fullmatch(text):
        return "it is a leap second, which has no time stamp; remove the row"
    forms = formats_of([text, *texts[:1000]])
    if forms:
        ways = time_formats(forms)
        return advice(
            f"if the column has this format, pass {ways} (--time_format {forms[0]!r}); otherwise "
            "correct it",
            "write it as one of these",
        )
    named = _ZONE_NAME.fullmatch(text)
    if named and is_stamp(text[: named.start(1)].rstrip(" [")):
        return f"write a UTC offset such as +01:00 instead of {named[1]!r}, or leave it out"
    if is_clock(text):
        return "a time of day needs a date: write both, or add a column of dates"
    return advice(
        "correct it, remove the row if it is a total or a remark, or pass the strptime format of "
        "the column as time_format=... (--time_format)",
        "correct it, or remove the row if it is a total or a remark",
    )
