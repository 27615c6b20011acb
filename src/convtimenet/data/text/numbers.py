"""Parse numbers with decimal points or commas, and with thousands separators.

``1,234`` may be 1.234 or 1234. The decimal mark is inferred from unambiguous cells of the column,
then from those of the whole file; if there are none, that is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np

from convtimenet.errors import ConfigError, DataError
from convtimenet.wording import advice, flag

__all__ = [
    "MISSING",
    "NotANumber",
    "Numbers",
    "check_decimal",
    "decimal_of",
    "is_missing",
    "is_number",
    "number_of",
    "odd_notice",
    "odd_one",
    "plain_numbers",
    "read_numbers",
    "rounded_notice",
    "two_readings",
    "unsigned",
]

_WORDS = frozenset({"", "nan", "na", "n/a", "null", "none", "#n/a", "<na>", "nat"})
_DASHES = frozenset({"-", "\u2013", "\u2014"})
_MARKS = frozenset({".", "?", "--", "..", "...", ":", "n.a.", "\\n", "(null)"}) | _DASHES
_MARKS |= {"k.a.", "k. a.", "entf.", "s.o.", "#nv", "#n/v", "#nombre!"}  # of Germany and France
_MARKS |= {f"#{error}" for error in ("div/0!", "value!", "ref!", "num!", "name?", "null!")}
MISSING = _WORDS | _MARKS

_SPACES = "[ \u00a0\u202f\u2009'\u2019]"  # thousands separators besides "." and ","
_SIGNS = "%\u2030$\u20ac\u00a3\u00a5\u20b9"  # percent and currency signs, before or after a number
_SIGNED = re.compile(
    rf"(\(?)\s*([-+]?)\s*([{_SIGNS}]?)\s*([^{_SIGNS}()]+?)\s*([{_SIGNS}]?)\s*(\)?)"
)


def _pattern(decimal: str, between: str) -> re.Pattern[str]:
    thousands = rf"[1-9]\d{{0,2}}(?:(?:{between}\d{{3}})+|(?:{_SPACES}\d{{3}})+)(?:{decimal}\d*)?"
    if between == ",":  # 12,34,567 in India
        thousands += rf"|[1-9]\d?(?:,\d\d)+,\d{{3}}(?:{decimal}\d*)?"
    plain = rf"(?:\d+(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][+-]?\d+)?"
    return re.compile(rf"[+-]?(?:{thousands}|{plain})", re.ASCII)


_WRITTEN = {".": _pattern(r"\.", ","), ",": _pattern(",", r"\.")}
_REMOVED = {".": re.compile(rf",|{_SPACES}"), ",": re.compile(rf"\.|{_SPACES}")}
_NAMES = {".": "decimal point", ",": "decimal comma"}
_DIGITS = re.compile(r"[+-]?\d{16,309}", re.ASCII)
_EXACT = 2**53  # float64 holds every whole number up to this one
_WITH_COMMAS = re.compile(r"[+-]?\d[\d.,]*")


class NotANumber(DataError):
    """A cell is not a number with any decimal mark."""


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """The number format: as set by the caller, or as inferred from the whole file."""

    decimal: str | None = None
    elsewhere: Callable[[], str | None] = lambda: None
    commas: bool = True
    """Whether any cell of the file may have a decimal comma."""
    delimiter: str = ","
    """What separates its cells."""
    dated: Callable[[], bool] = lambda: False
    """Whether its dates are written as where the comma is the decimal mark."""


def check_decimal(decimal: Any) -> None:
    """Reject an invalid decimal mark.

    Raises
    ------
    ConfigError
        If it is neither None, "." nor ",".
    """
    if decimal is not None and decimal not in (".", ","):
        raise ConfigError(
            f"decimal must be '.' or ',', found {decimal!r}; leave it out to infer it"
        )


def is_number(text: str, whole: bool = False) -> bool:
    """Whether a text is a number, with marks of any kind unless it must be whole."""
    try:
        return float(text).is_integer() or not whole
    except ValueError:
        return bool(re.fullmatch(r"[+-]?[\d.,]+", text)) and not whole


def is_missing(cell: Any) -> bool:
    """Whether a cell of a number column stands for a missing value."""
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in MISSING)


def plain_numbers(cells: Sequence[Any]) -> np.ndarray | None:
    """Numbers (R,) if every cell is missing or a number in Python notation, else None."""
    try:
        # float() accepts underscores as in Python source, which tables do not use
        if not any("_" in cell for cell in cells if cell is not None):
            return np.array(list(map(float, cells)), dtype=np.float64)
    except (TypeError, ValueError):
        pass  # some cells are missing or in another notation
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
        try:
            return float(cell)
        except OverflowError:  # a whole number beyond float64
            return np.inf if cell == abs(cell) else -np.inf
    if not isinstance(cell, str) or "_" in cell:
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def decimal_of(columns: Iterable[Iterable[Any]]) -> str | None:
    """The decimal mark on which the cells of several columns agree; None if they do not."""
    found = set()
    for cells in columns:
        for cell in cells:
            found.add(_sure(cell))
    found.discard(None)
    return found.pop() if len(found) == 1 else None


def unsigned(text: str) -> str:
    """A number without its currency or percent sign; other texts are not changed."""
    return _unsigned(text)[0]


def _unsigned(text: str) -> tuple[str, str]:
    """A number without its currency or percent sign and with a standard minus, and that sign; other
    texts are not changed."""
    match = _SIGNED.fullmatch(text.strip().replace("\u2212", "-"))
    if match is None:
        return text, ""
    opened, minus, before, number, behind, closed = match.groups()
    if bool(opened) != bool(closed) or (before and behind) or (opened and minus):
        return text, ""
    if number[-1:] == "-" and not (minus or opened):  # SAP writes a trailing minus
        minus, number = "-", number[:-1].rstrip()
    plain = ("-" if opened else minus) + number
    return (plain, before or behind) if _readings(plain) else (text, "")


def _readings(cell: Any) -> tuple[str, ...]:
    """The decimal marks with which a text is a valid number."""
    text = cell.strip()
    return tuple(mark for mark, pattern in _WRITTEN.items() if pattern.fullmatch(text))


def _sure(cell: Any) -> str | None:
    """The decimal mark of a cell if it is unambiguous, else None."""
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
    """Numbers (R,), NaN where missing, and notices.

    Parameters
    ----------
    name, place
        The name of the column and the position of a cell, for messages.
    decimal
        The decimal mark, if set by the caller.
    elsewhere
        Infers the decimal mark of the whole file.

    Raises
    ------
    DataError
        If a cell is not a number (the message gives it), or the decimal mark cannot be inferred.
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
    dashes = (cell.strip() for cell in cells if isinstance(cell, str))
    if dash := next((cell for cell in dashes if cell in _DASHES), None):
        notices += (
            f"column {name!r}: {dash!r} is read as a missing value; write 0 where it stands for "
            "zero, as in Excel's formats of accounting",
        )
    return values, (*notices, *said_of_signs)


def _without_signs(
    name: str, cells: Sequence[Any], place: Callable[[int], str]
) -> tuple[Sequence[Any], tuple[str, ...]]:
    """Strip the currency or percent sign, which all cells must share; return a notice too."""
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
                    f"column {name!r}, {place(i)}: some numbers have the sign {first!r}, but "
                    f"{cell!r} has none or another; use the same format for all"
                )
    told = tuple(f"column {name!r}: removed {sign!r} from the numbers" for sign in signs)
    return [plain[c][0] if isinstance(c, str) and c in plain else c for c in cells], told


def _decided(
    name: str,
    cells: Sequence[Any],
    place: Callable[[int], str],
    marked: set[str],
    sure: set[str | None],
    elsewhere: Callable[[], str | None],
) -> tuple[str, tuple[str, ...]]:
    """The decimal mark of a column, and a notice if some cells are ambiguous."""
    if len(sure) == 1:
        (decimal,) = sure
        assert decimal is not None
    elif sure:
        return ".", ()  # contradictory: the first cell with a comma becomes an error
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
        f"column {name!r}: numbers are read with a {_NAMES[decimal]}, as in other "
        f"{'cells' if sure else 'columns'}: {example!r} is {number_of(example, decimal):.15g}"
    )
    return decimal, (told,)


def number_of(cell: str, decimal: str) -> float | None:
    """A text as a number with this decimal mark, NaN if missing; None if it is not a number."""
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
    """The error for a number with an ambiguous decimal mark; `option` says whether the caller can
    pass `decimal`."""
    comma, point = number_of(text, ","), number_of(text, ".")
    remedy = written = f"write {comma:.15g} or {point:.15g}, with a decimal point"
    if option:
        remedy = advice(
            f"pass decimal=',' (--decimal ,) for {comma:.15g}, decimal='.' (--decimal .) for "
            f"{point:.15g}",
            written,
            f"choose 'comma' as the decimal mark for {comma:.15g}, 'point' for {point:.15g}",
        )
    what = f"column {name!r}" if option else name
    return DataError(
        f"{what}, {place}: {text!r} may be {comma:.15g} or {point:.15g}, and no other cell shows "
        f"which; {remedy}"
    )


def rounded_notice(
    name: str, values: np.ndarray, different: Callable[[], Iterable[Any]]
) -> tuple[str, ...]:
    """A notice for a column whose whole numbers float64 rounds.

    Parameters
    ----------
    values
        The column as float64, NaN where missing.
    different
        Gives its different cells, which are numbers or numbers in Python notation.
    """
    if not np.fmax.reduce(np.abs(values), axis=None, initial=0.0) >= _EXACT:
        return ()
    for cell in different():
        whole = _whole(cell)
        if whole is not None and abs(whole) >= _EXACT and int(float(whole)) != whole:
            return (
                f"column {name!r}: {whole} is read as {int(float(whole))}, because float64 holds "
                "whole numbers only to 2**53; subtract a constant from the column if their "
                "differences matter",
            )
    return ()


def _whole(cell: Any) -> int | None:
    """A cell that is written as a whole number which float64 holds, rounded or not."""
    if isinstance(cell, str) and not _DIGITS.fullmatch(cell.strip()):
        return None
    if not isinstance(cell, (str, Integral)) or isinstance(cell, bool):
        return None
    return whole if abs(whole := int(cell)) < 10**308 else None


def odd_one(different: Iterable[Any]) -> Any:
    """The first of a text column's different cells that is no number, if most of them are numbers;
    else None."""
    cells = [cell for cell in different if not is_missing(cell)]
    odd = [cell for cell in cells if not (isinstance(cell, Real) or _readings(str(cell)))]
    return odd[0] if odd and 2 * len(odd) < len(cells) else None


def odd_notice(name: str, place: str, text: str) -> str:
    """The notice for a column of numbers that a few other cells turn into categories."""
    return (
        f"column {name!r}: its values are read as categories, not as numbers, because of {text!r} "
        f"in {place}; if they are numbers, correct such cells, or leave them empty"
    )


def _no_number(
    name: str, place: str, text: str, decimal: str | None, all_text: bool = False
) -> DataError:
    kind = NotANumber
    remedy = advice(
        "correct the cell (an empty cell is missing) or leave the column out with "
        "target_cols=[...]",
        "correct the cell; an empty one is missing, and so is null in JSON",
        f"correct the cell (an empty cell is missing), or choose 'not used' for {name!r}",
    )
    if decimal is not None and _readings(text):
        kind, other = DataError, _readings(text)[0]
        remedy = advice(
            f"it does not have a {_NAMES[decimal]} as set by decimal={decimal!r}; pass "
            f"decimal={other!r}, or leave decimal out to infer it",
            f"the model reads numbers with a {_NAMES[decimal]}; write it so",
            f"it does not have a {_NAMES[decimal]}, the decimal mark that is chosen; choose "
            "another, or 'as detected'",
        )
    elif _WITH_COMMAS.fullmatch(text.strip()):
        kind = DataError
        remedy = (
            "write numbers with a decimal point, such as 1234.5, and no thousands separator (this "
            "column mixes commas and points)"
        )
    elif text.strip()[:1] in ("[", "{"):
        remedy = "write one record for each time step, with a single number in each cell"
    elif text.strip().lower() in ("true", "false"):
        remedy = "write 1 and 0"
    elif all_text and text.strip()[:1].isdigit():
        remedy = advice(
            "write numbers without a unit, or leave the column out with target_cols=[...]; if it "
            f"holds series ids, pass id_col={name!r} ({flag('id_col', name)})",
            "write numbers without a unit",
            f"write numbers without a unit, or choose 'not used' for {name!r}; 'series' if it "
            "holds series ids",
        )
    elif all_text:
        remedy = advice(
            f"if the column holds series ids, pass id_col={name!r} ({flag('id_col', name)}); "
            "otherwise leave it out with target_cols=[...]",
            "write numbers, or leave the column out if it is none of the model's",
            f"choose 'series' for {name!r} if it holds series ids, otherwise 'not used'",
        )
    return kind(f"column {name!r}, {place}: expected a number, found {text!r}; {remedy}")
