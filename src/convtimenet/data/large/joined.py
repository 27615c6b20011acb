"""One table from parts of whole series, its rows in memory-mapped files."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from convtimenet import processes
from convtimenet.data.large.parts import Parts, PartsError, reappearing
from convtimenet.data.large.sharing import Sharing
from convtimenet.data.regular_grid import Change, Regular, together
from convtimenet.data.sources.by_role import Columns, Wanted
from convtimenet.data.sources.read import FilePart
from convtimenet.data.time.frequency import Frequency
from convtimenet.errors import DataError
from convtimenet.files import json_text
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
    # texts lie in the memory of each process, and other ids are not what JSON can hold
    texts = not parts.texts.isdisjoint(wanted.covariates)
    sharing = Sharing(True, apart=texts or not parts.plain)
    found, error = _Found(parts, wanted, stack), None
    try:
        for kept, begin, part in _own(parts, sharing):
            found.add(kept, *read(FilePart(part, begin), *found.usual()))
    except DataError as one:
        if sharing.count == 1:
            raise
        error = one
    told = _all(found.told, error, parts, sharing) if sharing.count > 1 else [found.told]
    if found.first is None or found.rows is None:
        raise DataError(f"{parts.path}: expected rows, found none; give at least two")
    first, rows = found.first, found.rows
    regular = rows.regular(
        np.concatenate([np.asarray(one.lengths, dtype=np.int64) for one in told]),
        tuple(dict.fromkeys(notice for one in told for notice in one.notices)),
        together([change for one in told for change in one.changes]),
        [sum(one.lengths) for one in told],
        sharing,
    )
    assert first.ids is not None
    ids = np.array([label for one in told for label in one.ids], dtype=first.ids.dtype)
    offsets = dict.fromkeys(offset for one in told for offset in one.offsets)
    columns = replace(
        first, ids=ids, offsets=tuple(offsets), series=None,
        origin=replace(first.origin, id_labels=found.labels or None),
        times=regular.times, values=regular.values, covariates=regular.covariates,
    )  # fmt: skip
    return columns, regular


def _own(parts: Parts, sharing: Sharing) -> Iterator[tuple[bool, int, Any]]:
    """The parts that this process reads: whether it keeps the rows, the number of the first, and
    the part. All read the first part, with which the others have to agree."""
    if sharing.count == 1:
        begin = 0
        for part in parts:
            yield True, begin, part
            begin += len(part)
        return
    lengths = parts.lengths()
    begins = [0, *itertools.accumulate(lengths)]
    shares = [len(lengths) * number // sharing.count for number in range(sharing.count + 1)]
    first, end = shares[sharing.number], shares[sharing.number + 1]
    if first or first == end:
        yield from ((False, 0, part) for part in parts.some(lengths, 0, min(1, len(lengths))))
    for number, part in enumerate(parts.some(lengths, first, end), first):
        yield True, begins[number], part


@dataclass
class _Told:
    """What all processes have to know of the parts that one has read."""

    lengths: list[int] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    offsets: list[str] = field(default_factory=list)


class _Found:
    """The parts that a process has read."""

    def __init__(self, parts: Parts, wanted: Wanted, stack: ExitStack):
        self.parts, self.wanted, self.stack, self.told = parts, wanted, stack, _Told()
        self.first: Columns | None = None
        self.rows: _Rows | None = None
        self.facts: Mapping[str, tuple[Any, str]] = {}
        self.seen: set[Any] = set()
        self.labels: dict[Any, Any] = {}

    def usual(self) -> tuple[Wanted, Frequency | None]:
        """What to read in the next part, and the step of series too short to have one."""
        wanted = self.wanted
        if self.first is None or self.rows is None:
            return wanted, None
        texts = wanted.texts | (self.parts.texts & {*wanted.covariates})
        targets = list(self.first.channels)
        return replace(wanted, targets=targets, texts=frozenset(texts)), self.rows.frequency

    def add(self, kept: bool, columns: Columns, regular: Regular) -> None:
        """Check a part, and take its rows if they are to be kept."""
        parts, told = self.parts, self.told
        assert columns.ids is not None
        found = _facts(columns, regular, parts.texts)
        if self.first is None or self.rows is None:
            _check_texts(parts, self.wanted, columns)
            self.first, self.rows = columns, _Rows(columns, regular, parts.texts)
            self.stack.callback(self.rows.close)
            self.facts = {name: (value, _REMEDIES[name]) for name, value in found.items()}
        for name, (value, remedy) in self.facts.items():
            if found[name] != value:
                raise PartsError(
                    f"{parts.path}: the {name} is {value} in its first rows and {found[name]} in "
                    f"those of {listing(columns.ids.tolist(), 3)}; {remedy}"
                )
        if not kept:
            return
        reappearing(columns.ids.tolist(), self.seen, columns.id_name, parts.path)
        self.rows.append(regular)
        told.lengths += regular.lengths.tolist()
        told.ids += columns.ids.tolist()
        told.notices += regular.notices
        told.changes += regular.changes
        told.offsets += columns.offsets
        self.labels |= columns.origin.id_labels or {}


def _all(own: _Told, error: DataError | None, parts: Parts, sharing: Sharing) -> list[_Told]:
    """What every process has told, in the order of their parts.

    Raises
    ------
    DataError
        If one of them has failed; the same in all.
    """
    of_parts = isinstance(error, PartsError)
    message = json_text({"told": asdict(own), "error": [of_parts, str(error)] if error else None})
    found, seen = [], set()
    for data in processes.told(message.encode()):
        one = json.loads(data)
        if one["error"] is not None:
            of_parts, text = one["error"]
            raise (PartsError if of_parts else DataError)(text)
        told = one["told"]
        changes = told.pop("changes")
        for change in changes:
            for name in ("series", "most"):
                change[name] = None if change[name] is None else tuple(change[name])
        found.append(_Told(**told, changes=[Change(**change) for change in changes]))
        reappearing(found[-1].ids, seen, parts.id_name, parts.path)
    return found


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
        self,
        lengths: np.ndarray,
        notices: tuple[str, ...],
        changes: list[Change],
        rows: Sequence[int],
        sharing: Sharing,
    ) -> Regular:
        """All rows, those of the other processes too, given how many each has."""
        times, values, *numbers = (
            sharing.appended(one, rows) for one in (self.times, self.values, *self.numbers.values())
        )
        sharing.wait()
        texts = {name: np.concatenate(one) for name, one in self.texts.items()}
        return Regular(
            times=times,
            values=values,
            lengths=lengths,
            frequency=self.frequency,
            covariates=dict(zip(self.numbers, numbers, strict=True)) | texts,
            notices=notices,
            changes=tuple(changes),
        )
