"""Points that may separate thousands: where the comma is the decimal mark, 1.050 is 1050.

Numbers in Python notation are read with a decimal point. Whether that may be wrong is judged by the
form of the cells, not by their values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from convtimenet.data.text.numbers import is_missing, number_of, unsigned
from convtimenet.wording import advice

__all__ = ["Points", "pointed_notice", "points_in"]

_POINTED = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}", re.ASCII)
_SMALL = re.compile(r"[+-]?\d{1,3}", re.ASCII)
_ENDLESS = re.compile(r"[+-]?(inf|infinity|nan)", re.IGNORECASE)


@dataclass(frozen=True)
class Points:
    """A number whose point may separate thousands, without its currency sign, and whether so much
    speaks for that that it must not be read with a decimal point."""

    text: str
    refused: bool


def points_in(
    cells: Iterable[Any], delimiter: str = ",", dated: Callable[[], bool] = lambda: False
) -> Points | None:
    """Numbers of a column such as 1.050 that may be 1050; None if there are none, if another text
    settles it, or if nothing speaks for it.

    A text settles it with another number of digits behind its point, with 0 before it, or with four
    digits and no mark. Numbers without a point, such as 85 or 0, show that decimals are not fixed.

    Parameters
    ----------
    cells
        The cells, which are all numbers or missing. Repetitions count once.
    delimiter
        What separates the cells of the file. Where it is a semicolon, commas are likely in numbers.
    dated
        Whether dates are written as where the comma is the decimal mark (31.12.2024).
    """
    first, whole, typed = "", set(), set()
    for cell in cells:
        if is_missing(cell):
            continue
        if isinstance(cell, (Real, Decimal)):  # it has no written form that could settle it
            typed.add(abs(cell))
            continue
        text = str(cell).strip()
        if not _SMALL.fullmatch(text) and not _POINTED.fullmatch(text):
            text = unsigned(text)
        if _SMALL.fullmatch(text):
            whole.add(abs(int(text)))
        elif _POINTED.fullmatch(text):
            first = first or text
        elif not _ENDLESS.fullmatch(text):
            return None
    if not first:
        return None
    typed = {cell for cell in map(_float, typed) if np.isfinite(cell)}
    others = [number for number in whole | typed if number]  # zeros say nothing
    alike = bool(others) and float(np.median(others)) >= 100
    typed_whole = bool(typed) and all(number % 1 == 0 for number in typed)
    mixed = bool(whole or typed)
    commas = (delimiter == ";" and bool(whole)) or ((mixed or delimiter != ",") and dated())
    if alike or typed_whole or commas:
        return Points(first, refused=True)
    return Points(first, refused=False) if mixed or delimiter != "," or dated() else None


def _float(cell: Any) -> float:
    try:
        return float(cell)
    except OverflowError:  # a whole number beyond float64
        return np.inf


def pointed_notice(name: str, text: str) -> str:
    """The notice for a column of numbers such as 12.500, which might be thousands."""
    comma, point = number_of(text, ","), number_of(text, ".")
    return (
        f"column {name!r}: {text!r} is read as {point:.15g}, as all its numbers have three digits "
        "after a point; "
    ) + advice(
        f"pass decimal=',' (--decimal ,) if it is {comma:.15g}",
        f"write {comma:.15g} if the point separates thousands",
        f"choose 'comma' as the decimal mark if it is {comma:.15g}",
    )
