"""Read `.ts` files of the UEA, UCR and TSER archives: one case per line, channels separated by
colons."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from convtimenet.data.files.case_file import CaseFile, Task, text_of
from convtimenet.data.files.raw import lines_of
from convtimenet.data.files.stamped import on_equal_steps
from convtimenet.errors import DataError

__all__ = ["read_ts"]

_BETWEEN = re.compile(r":(?![^(]*\))")  # a colon outside (stamp, value)
_PAIR = re.compile(r"\s*\(([^()]*),([^(),]*)\)\s*(?:,|$)")


def read_ts(path: Path) -> CaseFile:
    """Read the cases of a `.ts` file, compressed or not.

    Labels are text with ``@classLabel true``, numbers with ``@targetLabel true``, else None. With
    ``@timestamps true`` values are pairs (time stamp, value), which are placed on a regular grid.

    Raises
    ------
    DataError
        If the file is damaged or has another format; the message gives the line.
    """
    numbered = (
        (number, line)
        for number, line in enumerate(map(str.strip, lines_of(text_of(path))), start=1)
        if line and not line.startswith(("#", "%"))
    )
    header = _header(numbered, path)
    class_label = header.get("classlabel", "").split()
    numbers = _says(header, "targetlabel")
    labelled = numbers or _says(header, "classlabel")
    stamped = _says(header, "timestamps")
    classes = set(class_label[1:])
    dimensions = header.get("dimensions", "")
    channels = int(dimensions) if re.fullmatch(r"\d{1,9}", dimensions) else None
    if _says(header, "univariate"):
        channels = 1

    cases: list[list[np.ndarray]] = []
    stamps: list[list[list[str]]] = []
    labels: list[str | float] = []
    places: list[str] = []
    for number, line in numbered:
        fields = _BETWEEN.split(line) if stamped else line.split(":")
        if labelled:
            labels.append(_label(fields.pop().strip(), numbers, classes, number, path))
        if not fields:
            raise DataError(
                f"line {number} of {path} must hold a case and its label, separated by ':'; found "
                f"{line[:40]!r}; correct the line, or write @classLabel false in the header"
            )
        channels = len(fields) if channels is None else channels
        if len(fields) != channels:
            hint = "correct the line"
            if not labelled and len(fields) == channels + 1:
                hint += ", or write @classLabel true in the header if it ends in a label"
            raise DataError(
                f"line {number} of {path} must have {channels} channels separated by ':' like the "
                f"header or the lines before; found {len(fields)}; {hint}"
            )
        if stamped:
            pairs = [_pairs(field, number, path) for field in fields]
            stamps.append([[stamp for stamp, _ in channel] for channel in pairs])
            fields = [",".join(value for _, value in channel) for channel in pairs]
        cases.append([_numbers(field, number, path, labelled) for field in fields])
        places.append(f"line {number}")
    notices: list[str] = []
    if stamped and cases:
        series, notices = on_equal_steps(stamps, cases, places, path)
    else:
        series = [_padded(rows) for rows in cases]
        notices = _contradictions(header, series)
    task: Task | None = None
    if labelled:
        task = "regress" if numbers else "classify"
    return CaseFile(
        series=series,
        labels=np.asarray(labels) if labelled else None,
        task=task,
        notices=tuple(notices),
    )


def _says(header: dict[str, str], key: str) -> bool:
    return header.get(key, "").lower().startswith("true")


def _header(numbered: Iterable[tuple[int, str]], path: Path) -> dict[str, str]:
    """The lower-cased ``@key value`` pairs up to ``@data``; leaves the cases in `numbered`."""
    header: dict[str, str] = {}
    for number, line in numbered:
        key, *value = line.split(maxsplit=1)
        key = key.lower()
        if key == "@data":
            break
        if not key.startswith("@"):
            remedy = (
                f"write a line @data before line {number}, the first case"
                if header
                else "is this a .ts file?"
            )
            raise DataError(
                f"expected header lines starting with '@' and then @data in {path}; found line "
                f"{number} before @data: {line[:40]!r}; {remedy}"
            )
        header[key[1:]] = "".join(value)
    else:
        raise DataError(
            f"expected a line @data in {path}; found the end of the file; is this a .ts file?"
        )
    if "attribute" in header:
        raise DataError(
            f"expected the header of a .ts file in {path}; found @attribute lines, which .arff "
            "files have; rename the file to end in .arff"
        )
    if _says(header, "classlabel") and _says(header, "targetlabel"):
        raise DataError(
            f"{path} has both @classLabel true and @targetLabel true; expected one of them, "
            "because a line ends in one label; correct the header"
        )
    return header


def _label(text: str, numbers: bool, classes: set[str], number: int, path: Path) -> str | float:
    if not numbers:
        if not text or (classes and text not in classes):
            declared = "one of the labels of its @classLabel line" if classes else "a label"
            raise DataError(
                f"line {number} of {path} must end in {declared}; found {text[:40]!r}; correct the "
                "line or the header"
            )
        return text
    try:
        target = float(text)
    except ValueError:
        target = np.nan
    if not np.isfinite(target):
        raise DataError(
            f"line {number} of {path} must end in a number, the target; found {text[:40]!r}; "
            "correct the line or leave the case out"
        )
    return target


def _pairs(field: str, number: int, path: Path) -> list[tuple[str, str]]:
    """The (time stamp, value) pairs of a channel."""
    pairs, end = [], 0
    while end < len(field.rstrip()):
        match = _PAIR.match(field, end)
        if match is None:
            raise DataError(
                f"line {number} of {path} must hold pairs (time stamp,value) separated by ',', "
                f"because of @timestamps true; found {field[end : end + 40].strip()!r}; "
                "correct the line, or write @timestamps false"
            )
        pairs.append((match[1].strip().strip("\"'"), match[2]))
        end = match.end()
    return pairs


def _numbers(text: str, number: int, path: Path, labelled: bool) -> np.ndarray:
    if not text.strip() and labelled:
        text = "?"
    try:
        return np.array(list(map(float, text.replace("?", "nan").split(","))))
    except ValueError as error:
        hint = "correct the line"
        if not labelled:
            hint += ", or write @classLabel true in the header if it ends in a label"
        raise DataError(
            f"line {number} of {path} must hold numbers separated by ',' ('?' where missing); "
            f"found something else ({error}); {hint}"
        ) from error


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    case = np.full((len(rows), max(map(len, rows))), np.nan)
    for channel, row in zip(case, rows, strict=True):
        channel[: len(row)] = row
    return case


def _contradictions(header: dict[str, str], series: list[np.ndarray]) -> list[str]:
    """Notices if the lengths of the cases contradict the header."""
    lengths = {case.shape[1] for case in series}
    said = header.get("serieslength", "").strip()
    if not _says(header, "equallength") or not lengths:
        return []
    if len(lengths) > 1:
        return [
            f"the header says @equalLength true, cases have {min(lengths)} to {max(lengths)} steps"
        ]
    if said.isdecimal() and int(said) > 0 and lengths != {int(said)}:
        return [f"the header says @seriesLength {said}, cases have {lengths.pop()} steps"]
    return []
