"""Numbers as people write them, read: decimal points and commas, marks between thousands.

``1,234`` is 1.234 to one half of the world and 1234 to the other. What a mark means is decided by
the cells of the column that have one reading only, then by those of the whole file, and refused
where neither decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from convtimenet.errors import ConfigError, DataError

__all__ = [
    "MISSING",
    "NotANumber",
    "check_decimal",
    "decimal_of",
    "is_missing",
    "may_be_thousands",
    "number_of",
    "plain_numbers",
    "read_numbers",
    "two_readings",
]

_WORDS = frozenset({"", "nan", "na", "n/a", "null", "none", "#n/a", "<na>", "nat"})
_MARKS = frozenset({".", "-", "?", "--", "..", "...", ":", "n.a.", "\\n", "(null)"}) | {
    f"#{error}" for error in ("div/0!", "value!", "ref!", "num!", "name?", "null!")
}
MISSING = _WORDS | _MARKS

_SPACES = "[ \u00a0\u202f\u2009'\u2019]"  # what may stand between thousands beside the other mark
_SIGNS = "%\u2030$\u20ac\u00a3\u00a5\u20b9"  # of parts and currencies, before or behind a number
_SIGNED = re.compile(
    rf"(\(?)\s*([-+]?)\s*([{_SIGNS}]?)\s*([^{_SIGNS}()]+?)\s*([{_SIGNS}]?)\s*(\)?)"
)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}", re.ASCII)


def _pattern(decimal: str, between: str) -> re.Pattern[str]:
    thousands = rf"[1-9]\d{{0,2}}(?:(?:{between}\d{{3}})+|(?:{_SPACES}\d{{3}})+)(?:{decimal}\d*)?"
    if between == ",":  # 12,34,567 in India
        thousands += rf"|[1-9]\d?(?:,\d\d)+,\d{{3}}(?:{decimal}\d*)?"
    plain = rf"(?:\d+(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][+-]?\d+)?"
    return re.compile(rf"[+-]?(?:{thousands}|{plain})", re.ASCII)


_WRITTEN = {".": _pattern(r"\.", ","), ",": _pattern(",", r"\.")}
_REMOVED = {".": re.compile(rf",|{_SPACES}"), ",": re.compile(rf"\.|{_SPACES}")}
_NAMES = {".": "decimal point", ",": "decimal comma"}
_WITH_COMMAS = re.compile(r"[+-]?\d[\d.,]*")


class NotANumber(DataError):
    """A cell is text, whatever mark numbers have."""


def check_decimal(decimal: Any) -> None:
    """Refuse a decimal mark that is none.

    Raises
    ------
    ConfigError
        If it is neither None, "." nor ",".
    """
    if decimal is not None and decimal not in (".", ","):
        raise ConfigError(f"decimal must be '.' or ',', found {decimal!r}; leave it out if unsure")


def is_missing(cell: Any) -> bool:
    """Whether a cell of numbers says that its value is missing."""
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in MISSING)


def plain_numbers(cells: Sequence[Any]) -> np.ndarray | None:
    """Numbers (R,) of cells that are all such as Python reads, or missing; else None."""
    try:
        # float() also accepts the underscores of Python source, which no table means
        if not any("_" in cell for cell in cells if cell is not None):
            return np.array(list(map(float, cells)), dtype=np.float64)
    except (TypeError, ValueError):
        pass  # some cells are missing, or written in another way
    values = np.empty(len(cells))
    for i, cell in enumerate(cells):
        number = _plain(cell)
        if number is None:
            return None
        values[i] = number
    return values


def _plain(cell: Any) -> float | None:
    if is_missing(cell):
        return np.nan
    if isinstance(cell, (Real, Decimal, np.bool_)):
        return float(cell)
    if not isinstance(cell, str) or "_" in cell:
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def decimal_of(columns: Iterable[Iterable[Any]]) -> str | None:
    """The decimal mark that the cells of several columns agree on; None where they do not."""
    found = set()
    for cells in columns:
        for cell in cells:
            found.add(_sure(cell))
    found.discard(None)
    return found.pop() if len(found) == 1 else None


def _unsigned(text: str) -> tuple[str, str]:
    """A number without the sign of its currency or of per cent, minus as Python writes it, and that
    sign; other texts as they are."""
    match = _SIGNED.fullmatch(text.strip().replace("\u2212", "-"))
    if match is None:
        return text, ""
    opened, minus, before, number, behind, closed = match.groups()
    if bool(opened) != bool(closed) or (before and behind) or (opened and minus):
        return text, ""
    if number[-1:] == "-" and not (minus or opened):  # as SAP writes it
        minus, number = "-", number[:-1].rstrip()
    plain = ("-" if opened else minus) + number
    return (plain, before or behind) if _readings(plain) else (text, "")


def may_be_thousands(values: np.ndarray, texts: Iterable[Any]) -> str | None:
    """A text such as 1.050 that may be 1050 beside whole numbers of three digits; None where there
    is none, or where other texts decide it.

    Parameters
    ----------
    values
        The numbers with a decimal point, NaN where missing.
    texts
        The different cells they are of.
    """
    size = np.abs(values[np.isfinite(values)])
    broken = size % 1 != 0
    if not len(size) or size.max() >= 1000 or broken.all() or (size[broken] < 1).any():
        return None
    if np.median(size[~broken]) < 100:
        return None
    if (np.abs(size[broken] * 1000 - np.rint(size[broken] * 1000)) > 1e-6).any():
        return None
    pointed = [t for t in texts if isinstance(t, str) and "." in t and not is_missing(t)]
    fits = all(_THOUSANDS.fullmatch(text.strip()) for text in pointed)
    return pointed[0].strip() if pointed and fits else None


def _readings(cell: Any) -> tuple[str, ...]:
    """The decimal marks with which a text is a number."""
    text = cell.strip()
    return tuple(mark for mark, pattern in _WRITTEN.items() if pattern.fullmatch(text))


def _sure(cell: Any) -> str | None:
    """The only decimal mark with which a cell is a number."""
    if not isinstance(cell, str) or not ("." in cell or "," in cell):
        return None
    readings = _readings(_unsigned(cell)[0])
    return readings[0] if len(readings) == 1 else None


def read_numbers(
    name: str,
    cells: Sequence[Any],
    place: Callable[[int], str],
    decimal: str | None,
    elsewhere: Callable[[], str | None],
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Numbers (R,), NaN where missing, and what was decided of them.

    Parameters
    ----------
    name, place
        The column's name and where a cell is, for messages.
    decimal
        The decimal mark, if the caller says it.
    elsewhere
        Finds the decimal mark of the whole file.

    Raises
    ------
    DataError
        If a cell is no number, naming it, or the decimal mark is not known.
    """
    cells, said_of_signs = _without_signs(name, cells, place)
    texts = {cell for cell in cells if isinstance(cell, str) and not is_missing(cell)}
    typed = any(not isinstance(cell, str) and not is_missing(cell) for cell in cells)
    marked = {text for text in texts if "." in text or "," in text}
    sure = {_sure(text) for text in marked} - {None}
    if none := {text for text in texts if not _readings(text) and number_of(text, ".") is None}:
        i = next(i for i, cell in enumerate(cells) if cell in none)
        raise _no_number(
            name, place(i), cells[i], None, all_text=len(none) == len(texts) and not typed
        )
    said, notices = decimal, ()
    if decimal is None:
        decimal, notices = _decided(name, cells, place, marked, sure, elsewhere)
    values = np.empty(len(cells))
    known: dict[Any, float] = {}
    for i, cell in enumerate(cells):
        if not isinstance(cell, str):
            number = _plain(cell)
            if number is None:
                raise _no_number(name, place(i), str(cell), None)
            values[i] = number
            continue
        number = known.get(cell)
        if number is None:
            number = number_of(cell, decimal)
            if number is None:
                raise _no_number(name, place(i), cell, said)
            known[cell] = number
        values[i] = number
    return values, (*notices, *said_of_signs)


def _without_signs(
    name: str, cells: Sequence[Any], place: Callable[[int], str]
) -> tuple[Sequence[Any], tuple[str, ...]]:
    """Cells without the sign of a currency or of per cent, which all of them have, and a notice."""
    texts = {cell for cell in cells if isinstance(cell, str) and not is_missing(cell)}
    plain = {text: _unsigned(text) for text in texts}
    signs = {sign for _, sign in plain.values()} - {""}
    if signs:
        bare = {text for text, (number, sign) in plain.items() if not sign and _readings(number)}
        first = next(plain[c][1] for c in cells if c in texts and plain[c][1])
        for i, cell in enumerate(cells):
            other = cell in bare if isinstance(cell, str) else not is_missing(cell)
            if (other and _plain(cell) != 0) or (
                cell in texts and plain[cell][1] not in ("", first)
            ):
                raise DataError(
                    f"column {name!r}, {place(i)}: some numbers have the sign {first!r}, and "
                    f"{cell!r} has none or another; write all of them in one way"
                )
    told = tuple(f"column {name!r}: numbers are read without their {sign!r}" for sign in signs)
    return [plain[c][0] if isinstance(c, str) and c in plain else c for c in cells], told


def _decided(
    name: str,
    cells: Sequence[Any],
    place: Callable[[int], str],
    marked: set[str],
    sure: set[str | None],
    elsewhere: Callable[[], str | None],
) -> tuple[str, tuple[str, ...]]:
    """The decimal mark of a column, and what to say where not every cell decides it."""
    if len(sure) == 1:
        (decimal,) = sure
        assert decimal is not None
    elif sure:
        return ".", ()  # the first cell with a comma is refused
    else:
        either = {mark for text in marked for mark in ".," if mark in text and _readings(text)}
        if "," not in either:
            decimal = elsewhere() if either else "."
            decimal = decimal or "."
        else:
            found = elsewhere() if len(either) == 1 else None
            if found is None:
                raise _two_readings(name, cells, place)
            decimal = found
    other = "," if decimal == "." else "."
    between = sorted(text for text in marked if other in text and len(_readings(text)) == 2)
    comma = sorted(text for text in marked if "," in text and len(_readings(text)) == 2)
    shown = between or (comma if not sure else [])
    if not shown:
        return decimal, ()
    example = shown[0].strip()
    told = (
        f"column {name!r}: numbers are read with a {_NAMES[decimal]}, as other "
        f"{'cells of it' if sure else 'columns'} have: {example!r} is "
        f"{number_of(example, decimal):.15g}"
    )
    return decimal, (told,)


def number_of(cell: str, decimal: str) -> float | None:
    """The number of a text with that decimal mark, NaN for a missing one; None if it is none."""
    text = cell.strip()
    if text.lower() in MISSING:
        return np.nan
    if _WRITTEN[decimal].fullmatch(text):
        return float(_REMOVED[decimal].sub("", text).replace(",", "."))
    if "." in text or "," in text or "_" in text:
        return None
    try:
        return float(text)  # inf
    except ValueError:
        return None


def _two_readings(name: str, cells: Sequence[Any], place: Callable[[int], str]) -> DataError:
    i = next(i for i, c in enumerate(cells) if isinstance(c, str) and "," in c and _readings(c))
    return two_readings(name, place(i), cells[i].strip())


def two_readings(name: str, place: str, text: str, option: bool = True) -> DataError:
    """The error for a number that no other cell decides the decimal mark of; `option` says whether
    the caller can."""
    comma, point = number_of(text, ","), number_of(text, ".")
    remedy = (
        f"pass decimal=',' (--decimal ,) for {comma:.15g}, decimal='.' (--decimal .) for "
        f"{point:.15g}"
        if option
        else f"write {comma:.15g} or {point:.15g}, with a decimal point"
    )
    what = f"column {name!r}" if option else name
    return DataError(
        f"{what}, {place}: {text!r} may be {comma:.15g} or {point:.15g}, and no other cell "
        f"decides it; {remedy}"
    )


def _no_number(
    name: str, place: str, text: str, decimal: str | None, all_text: bool = False
) -> DataError:
    kind = NotANumber
    remedy = (
        "correct the cell (an empty one counts as missing) or leave the column out with "
        "target_cols=[...]"
    )
    if decimal is not None and _readings(text):
        kind, other = DataError, _readings(text)[0]
        remedy = (
            f"it has no {_NAMES[decimal]}, as decimal={decimal!r} says; pass decimal={other!r}, or "
            "leave decimal out to have it found"
        )
    elif _WITH_COMMAS.fullmatch(text.strip()):
        kind = DataError
        remedy = (
            "write numbers with a decimal point, 1234.5, and nothing between thousands (cells of "
            "this column have a comma and a point for the same thing)"
        )
    elif text.strip()[:1] in ("[", "{"):
        remedy = "write one record for each time step, with a single number in each cell"
    elif text.strip().lower() in ("true", "false"):
        remedy = "write 1 and 0"
    elif all_text and text.strip()[:1].isdigit():
        remedy = (
            "write the numbers alone, without a unit, or leave the column out with "
            f"target_cols=[...]; if it tells series apart pass id_col={name!r} (--id_col {name})"
        )
    elif all_text:
        remedy = (
            f"if the column tells series apart pass id_col={name!r} (--id_col {name}), else leave "
            "it out with target_cols=[...]"
        )
    return kind(f"column {name!r}, {place}: expected a number, found {text!r}; {remedy}")
