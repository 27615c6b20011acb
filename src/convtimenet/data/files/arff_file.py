"""Read Weka's `.arff` files as used by the UEA and UCR archives: one case per line, label last."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convtimenet.data.files.case_file import CaseFile, Task, number_in, text_of
from convtimenet.data.files.raw import lines_of
from convtimenet.errors import DataError

__all__ = ["read_arff"]

_CELL = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,]*)\s*(,|$)""", re.DOTALL)
_ATTRIBUTE = re.compile(
    r"""@attribute\s+('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\S+)\s+(.+)""", re.IGNORECASE | re.DOTALL
)
_NUMBERS = ("numeric", "real", "integer")
_TARGETS = frozenset({"class", "classattribute", "label", "output", "target", "y"})


@dataclass(frozen=True)
class _Attribute:
    name: str
    kind: str
    """"number", "nominal" or "relational"."""
    classes: frozenset[str] = frozenset()


def read_arff(path: Path) -> CaseFile:
    """Read the cases of an `.arff` file, compressed or not.

    A line holds the numbers of a univariate case, or one quoted relational attribute whose rows are
    channels. The label is a nominal attribute, or a number with a name such as "target".

    Raises
    ------
    DataError
        If the file is damaged or has another format; the message gives the line.
    """
    numbered = (
        (number, line)
        for number, line in enumerate(map(str.strip, lines_of(text_of(path))), start=1)
        if line and not line.startswith("%")
    )
    attributes = _attributes(numbered, path)
    label = _label_of(attributes, path)
    values = [i for i in range(len(attributes)) if i != label]
    relational = [i for i in values if attributes[i].kind == "relational"]
    if relational and len(values) > 1:
        raise DataError(
            f"{path} must have one relational attribute and a label, found {len(values)} "
            "attributes besides the label; leave the others out"
        )
    series: list[np.ndarray] = []
    labels: list[str] = []
    for number, line in numbered:
        cells = _cells(line, number, path)
        if len(cells) != len(attributes):
            raise DataError(
                f"line {number} of {path} must have {len(attributes)} values, one per attribute; "
                f"found {len(cells)}; correct the line"
            )
        if label is not None:
            labels.append(_checked(cells[label], attributes[label], number, path))
        rows = [[cells[i] for i in values]]
        if relational:
            rows = [row.split(",") for row in re.split(r"\\n|\n", cells[relational[0]].strip())]
        series.append(_case(rows, number, path))
    found, task = _labels(labels, attributes, label, path)
    return CaseFile(series=series, labels=found, task=task)


def _attributes(numbered: Iterable[tuple[int, str]], path: Path) -> list[_Attribute]:
    """The attributes of the header; leaves the cases in `numbered`."""
    attributes: list[_Attribute] = []
    within = False
    for number, line in numbered:
        key = line.split(maxsplit=1)[0].lower()
        if key == "@data":
            break
        if key == "@end":
            within = False
        elif key == "@attribute" and not within:
            attributes.append(_attribute(line, number, path))
            within = attributes[-1].kind == "relational"
        elif not key.startswith("@"):
            raise DataError(
                f"expected lines starting with '@' and then @data in {path}; found line {number} "
                f"before @data: {line[:40]!r}; write a line @data before the first case"
            )
    else:
        raise DataError(
            f"expected a line @data in {path}; found the end of the file; is this an .arff file?"
        )
    if not attributes:
        raise DataError(
            f"expected @attribute lines in {path}; found none before @data; is this an .arff file?"
        )
    return attributes


def _attribute(line: str, number: int, path: Path) -> _Attribute:
    match = _ATTRIBUTE.fullmatch(line)
    name, kind = (_plain(match[1]), match[2].strip()) if match else ("", "")
    if kind.lower().split()[:1] and kind.lower().split()[0] in _NUMBERS:
        return _Attribute(name, "number")
    if kind.lower() == "relational":
        return _Attribute(name, "relational")
    if kind.startswith("{") and kind.endswith("}"):
        return _Attribute(name, "nominal", frozenset(_cells(kind[1:-1], number, path)))
    raise DataError(
        f"line {number} of {path}: expected a numeric or relational attribute, or a list of "
        f"classes in braces; found {line[:60]!r}; leave the attribute out"
    )


def _label_of(attributes: list[_Attribute], path: Path) -> int | None:
    nominal = [i for i, one in enumerate(attributes) if one.kind == "nominal"]
    if len(nominal) > 1:
        names = " and ".join(repr(attributes[i].name) for i in nominal)
        raise DataError(
            f"{path} must have one nominal attribute, the label; found {names}; leave the others "
            "out"
        )
    if nominal:
        return nominal[0]
    last = attributes[-1]
    alone = len(attributes) > 1 and attributes[0].kind == "relational"
    named = last.name.lower().replace("_", "") in _TARGETS
    return len(attributes) - 1 if last.kind == "number" and (named or alone) else None


def _cells(line: str, number: int, path: Path) -> list[str]:
    """The values of a line, without their quotes."""
    if line.startswith("{"):
        raise DataError(
            f"line {number} of {path} is in the sparse form {{index value, ...}}, which is not "
            "supported; save it as dense .arff (Weka's filter SparseToNonSparse)"
        )
    cells, end = [], 0
    while True:
        match = _CELL.match(line, end)
        if match is None:
            raise DataError(
                f"line {number} of {path} must hold values separated by ','; found "
                f"{line[end : end + 40]!r}; close quotes, and quote text that contains ','"
            )
        cells.append(_plain(match[1].strip()))
        end = match.end()
        if not match[2]:
            return cells


def _plain(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return re.sub(r"""\\(['"\\])""", r"\1", text[1:-1])
    return text


def _checked(text: str, attribute: _Attribute, number: int, path: Path) -> str:
    if text != "?" and attribute.kind == "nominal" and text not in attribute.classes:
        raise DataError(
            f"line {number} of {path} must have one of the classes of attribute "
            f"{attribute.name!r}; found {text[:40]!r}; correct the line or the header"
        )
    return text


def _case(rows: list[list[str]], number: int, path: Path) -> np.ndarray:
    if len(set(map(len, rows))) > 1:
        raise DataError(
            f"line {number} of {path} has channels of {min(map(len, rows))} to "
            f"{max(map(len, rows))} steps; expected equal lengths; pad with '?'"
        )
    try:
        return np.array([[number_in(cell) for cell in row] for row in rows])
    except ValueError as error:
        raise DataError(
            f"line {number} of {path} must hold numbers ('?' where missing); found something else "
            f"({error}); correct the line"
        ) from error


def _labels(
    texts: list[str], attributes: list[_Attribute], label: int | None, path: Path
) -> tuple[np.ndarray | None, Task | None]:
    if label is None or all(text == "?" for text in texts):
        return None, None
    if "?" in texts:
        raise DataError(
            f"{path}: every case needs a label; found none for case {texts.index('?')}; leave the "
            "case out"
        )
    if attributes[label].kind == "nominal":
        return np.array(texts), "classify"
    try:
        return np.array([float(text) for text in texts]), "regress"
    except ValueError as error:
        raise DataError(
            f"{path}: attribute {attributes[label].name!r} must be a number for every case; found "
            f"something else ({error}); correct the line"
        ) from error
