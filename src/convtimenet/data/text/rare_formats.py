"""Time formats that are only suggested in messages, because some of them are ambiguous."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

__all__ = ["formats_of"]

_FORMATS = (
    *(f"%d{mark}%m{mark}%y{clock}" for mark in "/.-" for clock in ("", " %H:%M", " %H:%M:%S")),
    *(f"%m{mark}%d{mark}%y{clock}" for mark in "/.-" for clock in ("", " %H:%M", " %H:%M:%S")),
    *(f"{clock} %d{mark}%m{mark}%Y" for mark in "/.-" for clock in ("%H:%M", "%H:%M:%S")),
    *("%y/%m/%d", "%y-%m-%d", "%d-%b-%y", "%d%b%Y", "%d%b%y", "%d %b %y", "%b-%y", "%b %y"),
    *("%b%y", "%b/%y", "%b'%y", "%y-%m", "%m.%Y", "%Y.%m", "%Y:%m", "%m/%y", "%Y-%j"),
    *("%Y-%m-%d-%H", "%Y%m%d:%H%M", "%Y-%m-%d %Hh"),
    *("%a %b %d %H:%M:%S %Y", "%d/%b/%Y:%H:%M:%S %z", "%Y:%m:%d %H:%M:%S", "%Y-%m-%d %H-%M-%S"),
)


def formats_of(texts: Sequence[str]) -> list[str]:
    """The known ``strptime`` formats that match all texts."""
    found = [form for form in _FORMATS if all(_has(text, form) for text in texts)]
    if not all(re.fullmatch(r"\d{4}-\d{3}", text) for text in texts):
        found = [form for form in found if form != "%Y-%j"]
    return found


def _has(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True
