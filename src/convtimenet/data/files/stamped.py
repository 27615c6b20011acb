"""Place cases with time stamps on a regular grid."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from itertools import chain
from pathlib import Path

import numpy as np

from convtimenet.data.text.stamp_forms import is_clock
from convtimenet.data.text.times import parse_times
from convtimenet.data.text.whole_times import like_clocks
from convtimenet.data.time.steps import DAY
from convtimenet.errors import DataError

__all__ = ["moments_of", "numbers_of", "on_equal_steps", "on_grid"]

_MOST_EMPTY = 10
"""Largest ratio of grid steps to values; above it the time stamps are not regular."""
_OPTIONS = re.compile(r"; |: pass |, or pass ")
"""Where messages about tables go on to their options."""


def on_equal_steps(
    stamps: Sequence[Sequence[Sequence[str]]],
    values: Sequence[Sequence[np.ndarray]],
    places: Sequence[str],
    path: Path,
) -> tuple[list[np.ndarray], list[str]]:
    """Place values on a grid with the greatest common step of all time stamps.

    Parameters
    ----------
    stamps, values
        For each channel of each case, equally many of both.
    places
        Position of each case in the file.

    Returns
    -------
    Cases (C, L_i), NaN at steps without a value, and notices. Each case starts at its own first
    time stamp.

    Raises
    ------
    DataError
        If a time stamp is invalid or occurs twice in a channel, or they are not regular.
    """
    every = [text for case in stamps for channel in case for text in channel]
    per_case = [sum(map(len, case)) for case in stamps]
    where = list(
        chain.from_iterable([place] * n for place, n in zip(places, per_case, strict=True))
    )
    numbers, notices = numbers_of(every, [f"{path}, {place}" for place in where])
    parts = iter(np.split(numbers, np.cumsum([len(one) for case in stamps for one in case])))
    moments = [[next(parts) for _ in case] for case in stamps]
    series, told = on_grid(moments, values, [f"{path}, {place}" for place in places])
    return series, [*notices, *told]


def on_grid(
    stamps: Sequence[Sequence[np.ndarray]],
    values: Sequence[Sequence[np.ndarray]],
    places: Sequence[str],
) -> tuple[list[np.ndarray], list[str]]:
    """Place values whose time stamps are integers of a common unit, as `on_equal_steps` does."""
    moments = []
    for own, place in zip(stamps, places, strict=True):
        if any(len(np.unique(one)) < len(one) for one in own):
            raise DataError(
                f"{place}: a time stamp occurs twice in a channel; keep one value for each time "
                "stamp"
            )
        begin = min((int(one.min()) for one in own if len(one)), default=0)
        moments.append([one - begin for one in own])
    step = int(np.gcd.reduce(np.concatenate([one for case in moments for one in case]))) or 1
    lengths = [
        1 + max((int(one.max()) // step for one in case if len(one)), default=0) for case in moments
    ]
    count = sum(len(one) for case in moments for one in case)
    slots = sum(length * len(case) for length, case in zip(lengths, moments, strict=True))
    if slots > _MOST_EMPTY * max(1, count):
        raise DataError(
            f"{places[0].partition(', ')[0]}: the time stamps are not regular: expected equal "
            f"steps, found {count} values on {slots} steps of their greatest common length; "
            "resample the series to equal steps"
        )
    series = []
    for case, known, length in zip(moments, values, lengths, strict=True):
        array = np.full((len(case), length), np.nan)
        for row, at, numbers_of in zip(array, case, known, strict=True):
            row[at // step] = numbers_of
        series.append(array)
    empty = slots - count
    said = f"{empty} steps between time stamps have no value and are treated as missing"
    return series, [said] if empty else []


def numbers_of(texts: list[str], places: list[str]) -> tuple[np.ndarray, list[str]]:
    """Time stamps written as text as integers in a common unit, and notices.

    Raises
    ------
    DataError
        If one is invalid; `places` are their positions.
    """
    source = places[0].partition(", ")[0] if places else ""
    try:
        exact = [Decimal(text) for text in texts]
    except InvalidOperation:
        return _dates(texts, places)
    if not all(one.is_finite() for one in exact):
        raise DataError(f"{source}: a time stamp is missing; every value needs one")
    places_behind = max((-int(one.as_tuple().exponent) for one in exact), default=0)
    scale = Decimal(10) ** max(0, places_behind)
    whole = [int(one * scale) for one in exact]
    if max(map(abs, whole), default=0) >= 2**62:
        raise DataError(f"{source}: time stamps have too many digits; round them")
    numbers = np.array(whole, dtype=np.int64)
    if places_behind > 0:
        return numbers, []
    if like_clocks(numbers):
        raise DataError(
            f"{source}: time stamps like {texts[0]} may be hours and minutes (HHMM); write them as "
            "09:30, or count the steps as 0, 1, 2, ..."
        )
    return _dates(list(map(str, whole)), places)


def _dates(texts: list[str], places: list[str]) -> tuple[np.ndarray, list[str]]:
    """Dates and whole numbers as `moments_of` gives them, and notices."""
    if all(map(is_clock, texts)):
        texts = [f"2000-01-01 {text.strip()}" for text in texts]
    try:
        found = parse_times(texts, places.__getitem__)
    except DataError as error:  # the option that the message names does not exist for cases
        what = _OPTIONS.split(str(error))[0].removesuffix(", and all time stamps are ambiguous")
        raise DataError(
            f"{what}; write time stamps as 2020-01-31 06:30, or as numbers 0, 1, 2, ..."
        ) from error
    notices = [_OPTIONS.split(notice)[0] for notice in found.notices]
    return moments_of(found.times), notices


def moments_of(times: np.ndarray) -> np.ndarray:
    """Times as integers: nanoseconds, or months if all dates are at the same point of their month;
    numbers as they are."""
    if times.dtype.kind != "M":
        return times
    for shift in (np.timedelta64(0, "ns"), np.timedelta64(DAY, "ns")):
        months = (times + shift).astype("datetime64[M]")
        if len(set((times + shift - months).tolist())) == 1:
            return months.astype(np.int64)
    return times.astype(np.int64)
