"""One table from parts of whole series, its rows in memory-mapped files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np

from convtimenet.data.large.parts import Parts, PartsError, reappearing
from convtimenet.data.regular_grid import Change, Regular, together
from convtimenet.data.sources.by_role import Columns, Wanted
from convtimenet.data.sources.read import FilePart
from convtimenet.data.time.frequency import Frequency
from convtimenet.errors import DataError
from convtimenet.files.maps import Growing
from convtimenet.wording import listing

__all__ = ["joined"]

Read = Callable[[FilePart, Wanted, Frequency | None], tuple[Columns, Regular]]


def joined(parts: Parts, wanted: Wanted, read: Read) -> tuple[Columns, Regular]:
    """What `read` gives for a whole file, from its parts; it is also given the step of the first
    part, for series too short to have one.

    The parts must agree in what is inferred from their rows: the step, the kind and the zone of the
    time stamps, the columns. Text covariates are in memory, eight bytes a row; all other rows are
    in files.

    Raises
    ------
    PartsError
        If parts do not agree, or rows of a series lie apart.
    DataError
        As `read`; or if the disk is full.
    """
    with ExitStack() as stack:
        return _joined(parts, wanted, read, stack)


def _joined(parts: Parts, wanted: Wanted, read: Read, stack: ExitStack) -> tuple[Columns, Regular]:
    rows: _Rows | None = None
    first: Columns | None = None
    facts: Mapping[str, tuple[Any, str]] = {}
    seen: set[Any] = set()
    lengths, ids, notices, changes, offsets = [], [], {}, [], {}
    labels: dict[Any, Any] = {}
    begin = 0
    for part in parts:
        usual = None if rows is None else rows.frequency
        columns, regular = read(FilePart(part, begin), wanted, usual)
        begin += len(part)
        assert columns.ids is not None
        found = _facts(columns, regular, parts.texts)
        if first is None or rows is None:
            _check_texts(parts, wanted, columns)
            first, rows = columns, _Rows(columns, regular, parts.texts)
            stack.callback(rows.close)
            facts = {name: (value, _REMEDIES[name]) for name, value in found.items()}
            texts = wanted.texts | (parts.texts & {*wanted.covariates})
            wanted = replace(wanted, targets=list(columns.channels), texts=frozenset(texts))
        for name, (value, remedy) in facts.items():
            if found[name] != value:
                raise PartsError(
                    f"{parts.path}: the {name} is {value} in its first rows and {found[name]} in "
                    f"those of {listing(columns.ids.tolist(), 3)}; {remedy}"
                )
        reappearing(columns.ids.tolist(), seen, columns.id_name, parts.path)
        rows.append(regular)
        lengths.append(regular.lengths)
        ids.append(columns.ids)
        notices |= dict.fromkeys(regular.notices)
        changes += regular.changes
        offsets |= dict.fromkeys(columns.offsets)
        labels |= columns.origin.id_labels or {}
    if first is None or rows is None:
        raise DataError(f"{parts.path}: expected rows, found none; give at least two")
    regular = rows.regular(np.concatenate(lengths), tuple(notices), together(changes))
    origin = replace(first.origin, id_labels=labels or None)
    columns = replace(
        first, ids=np.concatenate(ids), offsets=tuple(offsets), origin=origin, series=None,
        times=regular.times, values=regular.values, covariates=regular.covariates,
    )  # fmt: skip
    return columns, regular


_FREQ = "pass the step of the table as freq=..."
_STAMPS = "write them all in one way, as time stamps of one type"
_REMEDIES = {
    "step": _FREQ,
    "kind of the time stamps": _STAMPS,
    "format of the time stamps": f"{_STAMPS}, or pass time_format=... or freq=1 for whole numbers",
    "time zone": f"{_STAMPS} and zone",
    "time column": "pass its name as time_col=...",
    "reading of the time stamps": "pass dayfirst=... or time_format=...",
    "type of the ids": "write them all as text or as whole numbers",
}


def _facts(columns: Columns, regular: Regular, texts: frozenset[str]) -> dict[str, Any]:
    """What the parts of a file must agree in; `texts` are the columns that hold text."""
    assert columns.ids is not None
    name = columns.time_name
    told = [one for one in columns.notices if one.startswith(f"column {name!r}")]
    dated, text = columns.times.dtype.kind == "M", columns.ids.dtype == object
    frequency = regular.frequency
    return {
        "reading of the time stamps": told if name in texts and told else "clear",
        "kind of the time stamps": "dates" if dated else "whole numbers",
        "format of the time stamps": columns.origin.time_form or "their own",
        "time zone": columns.time_zone or "none",
        "step": f"{frequency.name} (day {frequency.day})" if frequency.day else frequency.name,
        "time column": repr(name),
        "type of the ids": "text" if text else "whole numbers",
    }


def _check_texts(parts: Parts, wanted: Wanted, columns: Columns) -> None:
    """Reject numbers written as text whose decimal mark the whole column would have to tell."""
    written = [name for name in columns.channels if name in parts.texts]
    if written and wanted.decimal is None:
        raise PartsError(
            f"{parts.path}: expected numbers in {listing(written)}, found text, whose decimal mark "
            'cannot be inferred from a part of the rows; pass decimal="." or ",", or write numbers'
        )


class _Rows:
    """Rows of a regular table, appended to files."""

    def __init__(self, columns: Columns, regular: Regular, texts: frozenset[str]):
        self.frequency = regular.frequency
        self.times = Growing(regular.times.dtype)
        self.values = Growing(np.float64, (len(columns.channels),))
        self.numbers = {
            name: Growing(np.float64) for name in regular.covariates if name not in texts
        }
        self.texts: dict[str, list[np.ndarray]] = {
            name: [] for name in regular.covariates if name in texts
        }
        self.same: dict[Any, Any] = {None: None}
        """One object for each different text."""

    def append(self, regular: Regular) -> None:
        self.times.append(regular.times)
        self.values.append(regular.values)
        for name, of in self.numbers.items():
            of.append(regular.covariates[name])
        for name, of in self.texts.items():
            of.append(self._one_of_each(regular.covariates[name]))

    def _one_of_each(self, texts: np.ndarray) -> np.ndarray:
        if texts.dtype != object:  # a part without any
            return np.full(len(texts), None, dtype=object)
        found = [self.same.setdefault(text, text) for text in texts.tolist()]
        return np.array(found, dtype=object)

    def close(self) -> None:
        for one in (self.times, self.values, *self.numbers.values()):
            one.close()

    def regular(
        self, lengths: np.ndarray, notices: tuple[str, ...], changes: list[Change]
    ) -> Regular:
        numbers = {name: one.array() for name, one in self.numbers.items()}
        texts = {name: np.concatenate(one) for name, one in self.texts.items()}
        return Regular(
            times=self.times.array(),
            values=self.values.array(),
            lengths=lengths,
            frequency=self.frequency,
            covariates=numbers | texts,
            notices=notices,
            changes=tuple(changes),
        )
