"""Read one column of any source as times, ids, numbers or a covariate, in numpy.

`CellColumn` holds raw cells: the text of a file, or the objects of a sheet or frame. `ArrayColumn`
holds values that already have a type. Errors name the column and the row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from numbers import Integral
from typing import Any, Protocol

import numpy as np

from convtimenet.data.text.numbers import (
    NotANumber,
    Numbers,
    decimal_of,
    is_missing,
    odd_notice,
    odd_one,
    plain_numbers,
    read_numbers,
    rounded_notice,
    two_readings,
    unsigned,
)
from convtimenet.data.text.points import pointed_notice, points_in
from convtimenet.data.text.reading import TimeReading, Times
from convtimenet.data.text.stamp_forms import is_clock, looks_like_date
from convtimenet.data.text.times import parse_times
from convtimenet.data.text.whole_times import read_whole
from convtimenet.data.time.timestamps import FIRST_YEAR, LAST_YEAR
from convtimenet.errors import DataError
from convtimenet.wording import advice

__all__ = ["ArrayColumn", "CellColumn", "Column", "Grid", "Ids", "numbered", "row_place"]

_SHOWN = 8  # number of cells used to detect the type of a column
_POINTED_DATE = re.compile(r"\s*\d{1,2}\.\d{1,2}\.\d{2,4}\b")


@dataclass(frozen=True, kw_only=True)
class Ids:
    """The number of the series of each of R rows, (R,), and the S ids in the order of their first
    rows: whole numbers or text. If the source has other ids, such as booleans or UUIDs, `own` maps
    the ids to those."""

    of: np.ndarray
    ids: np.ndarray
    own: dict[Any, Any] | None = None


class Column(Protocol):
    """The interface of a column of a source."""

    name: str

    @property
    def place(self) -> Callable[[int], str]:
        """The position of a row, for messages."""
        ...

    def holds_dates(self) -> bool:
        """Whether it holds dates, or text that can be parsed as dates."""
        ...

    def holds_clocks(self) -> bool:
        """Whether it holds times of day."""
        ...

    def labels(self) -> list[Any] | None:
        """The cells if they may be labels (text or whole numbers), else None; a column of text
        gives each different cell once."""
        ...

    def texts(self) -> list[str]:
        """Every cell as text."""
        ...

    def first_texts(self, n: int) -> list[str]:
        """The first n cells as text."""
        ...

    def times(self, reading: TimeReading) -> Times:
        """Time stamps (R,)."""
        ...

    def ids(self) -> Ids:
        """Ids (R,)."""
        ...

    def numbers(self, how: Numbers) -> tuple[np.ndarray, tuple[str, ...]]:
        """Numbers (R,), float64 with NaN, and notices."""
        ...

    def covariate(self, how: Numbers, text: bool) -> tuple[np.ndarray, tuple[str, ...]]:
        """Numbers, or text as objects with None, and notices; `text` if it is text in a fitted
        model."""
        ...


@dataclass
class Grid:
    """The columns of a source, created on first use.

    Attributes
    ----------
    names
        The column names as text, in order.
    make
        Creates the column with a given name.
    rows
        Number of rows.
    commas
        Whether any cell may have a decimal comma.
    delimiter
        What separates the cells of a file.
    notices
        What was inferred or changed when reading the source.
    """

    names: tuple[str, ...]
    make: Callable[[str], Column]
    rows: int
    commas: bool = True
    delimiter: str = ","
    notices: tuple[str, ...] = ()
    _made: dict[str, Column] = field(default_factory=dict, repr=False)
    _decimal: list[str | None] = field(default_factory=list, repr=False)

    def __getitem__(self, name: str) -> Column:
        if name not in self._made:
            self._made[name] = self.make(name)
        return self._made[name]

    def numbers(self, decimal: str | None, besides: Sequence[str]) -> Numbers:
        """The number format, inferred from all columns except `besides`."""

        def elsewhere() -> str | None:
            if not self._decimal:
                columns = (self[name] for name in self.names if name not in besides)
                cells = (column.coded()[1] for column in columns if isinstance(column, CellColumn))
                self._decimal.append(decimal_of(cells))
            return self._decimal[0]

        def dated() -> bool:
            first = (text for name in self.names for text in self[name].first_texts(1))
            return any(map(_POINTED_DATE.match, first))

        return Numbers(
            decimal=decimal,
            elsewhere=elsewhere,
            commas=self.commas,
            delimiter=self.delimiter,
            dated=dated,
        )


def row_place(row: int, first: int = 0) -> str:
    """The position of a row of a frame whose first one has a number, for messages."""
    return f"row {first + row}"


@dataclass
class CellColumn:
    """R raw cells: text, numbers, dates or None.

    Subclasses may store them differently; they override `coded`, `cells` and `plain`.
    """

    name: str
    cells_given: Sequence[Any] = ()
    place: Callable[[int], str] = field(default=row_place)
    typed: bool = False
    """Whether the source itself distinguishes text from numbers."""
    _coded: tuple[np.ndarray, list[Any]] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.cells_given)

    def cells(self) -> Sequence[Any]:
        """All R cells."""
        return self.cells_given

    def head(self) -> list[Any]:
        """The first cells that are not missing."""
        cells = self.cells()[:1000]
        return [cell for cell in cells if not is_missing(cell)][:_SHOWN]

    def coded(self) -> tuple[np.ndarray, list[Any]]:
        """The unique cells in order of appearance, and the index of each row's cell among them."""
        if self._coded is None:
            self._coded = numbered(self.cells())
        return self._coded

    def plain(self) -> np.ndarray | None:
        """Numbers (R,) if every cell is missing or a number in Python notation, else None."""
        return plain_numbers(self.cells())

    def holds_dates(self) -> bool:
        head = self.head()
        return bool(head) and all(
            isinstance(cell, date) or (isinstance(cell, str) and looks_like_date(cell))
            for cell in head
        )

    def holds_clocks(self) -> bool:
        head = self.head()
        return bool(head) and all(not isinstance(c, date) and is_clock(str(c)) for c in head)

    def labels(self) -> list[Any] | None:
        _, different = self.coded()
        return different

    def texts(self) -> list[str]:
        return ["" if cell is None else str(cell) for cell in self.cells()]

    def first_texts(self, n: int) -> list[str]:
        return [str(cell) for cell in self.head()[:n]]

    def times(self, reading: TimeReading) -> Times:
        of, different = self.coded()
        first = np.unique(of, return_index=True)[1]
        missing = [i for i, cell in enumerate(different) if cell is None or cell != cell]
        if missing or "" in different:
            at = missing[0] if missing else different.index("")
            raise DataError(
                f"column {self.name!r}, {self.place(int(first[at]))}: the time stamp is missing; "
                "every row needs one"
            )
        texts = [_time_text(cell) for cell in different]
        found = parse_times(texts, lambda i: self._at(int(first[i])), reading)
        return Times(
            times=found.times[of],
            zone=found.zone,
            offsets=found.offsets,
            form=found.form,
            notices=tuple(f"column {self.name!r}: {notice}" for notice in found.notices),
            dayfirst=found.dayfirst,
        )

    def _at(self, row: int) -> str:
        return f"column {self.name!r}, {self.place(row)}"

    def ids(self) -> Ids:
        of, different = self.coded()
        for i, label in enumerate(different):
            if label is None or label == "" or label != label:
                at = self.place(int(np.argmax(of == i)))
                raise _id_missing(self.name, at)
        return _ids_of(self.name, of, different)

    def numbers(self, how: Numbers) -> tuple[np.ndarray, tuple[str, ...]]:
        plain = self.plain() if how.decimal != "," else None
        if plain is not None and not (how.commas and self._marks_are_open(how)):
            told = rounded_notice(self.name, plain, lambda: self.coded()[1])
            return plain, (*told, *self._points(how))
        values, told = read_numbers(self.name, self.cells(), self.place, how.decimal, how.elsewhere)
        return values, (*told, *self._points(how))

    def _points(self, how: Numbers) -> tuple[str, ...]:
        """Reject points that may separate thousands, if no other cell settles it; a notice where
        little speaks for that."""
        if how.decimal is not None:
            return ()
        found = points_in(self.coded()[1], how.delimiter, how.dated)
        if found is None or how.elsewhere() is not None:
            return ()
        if found.refused:
            texts = (unsigned(str(cell).strip()) for cell in self.cells())
            row = next(i for i, text in enumerate(texts) if text == found.text)
            raise two_readings(self.name, self.place(row), found.text)
        return (pointed_notice(self.name, found.text),)

    def _marks_are_open(self, how: Numbers) -> bool:
        """Whether the file has decimal commas, so that points may separate thousands."""
        return how.decimal is None and how.elsewhere() == ","

    def covariate(self, how: Numbers, text: bool) -> tuple[np.ndarray, tuple[str, ...]]:
        notices, text = (), text or self.typed
        if not (text and any(isinstance(cell, str) for cell in self.cells())):
            try:
                return self.numbers(how)
            except NotANumber:
                odd = odd_one(self.coded()[1])
            if odd is not None:
                row = next(i for i, cell in enumerate(self.cells()) if cell == odd)
                notices = (odd_notice(self.name, self.place(row), odd),)
        # "None" and "NA" may be categories: in text only an empty cell is missing
        cells = ("" if c is None or c != c else str(c).strip() for c in self.cells())
        return np.array([c or None for c in cells], object), notices


def _time_text(cell: Any) -> str:
    if isinstance(cell, datetime) and cell.tzinfo is None:
        return cell.isoformat(sep=" ")
    return str(cell)


def _ids_of(name: str, of: np.ndarray, labels: list[Any]) -> Ids:
    """Ids from the label number of each row (R,) and the labels, of any type."""
    fractions = [one for one in labels if isinstance(one, float) and not one.is_integer()]
    if fractions:
        raise _no_ids(name, f"the number {fractions[0]}")
    if all(isinstance(one, (Integral, float)) and not isinstance(one, bool) for one in labels):
        whole = list(map(int, labels))
        if all(-(2**63) <= one < 2**63 for one in whole):
            return Ids(of=of, ids=np.array(whole, dtype=np.int64))
    texts = list(map(str, labels))
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise DataError(
            f"column {name!r}: different ids become {twice!r} as text, such as a number and the "
            "same number as text; use one type for all ids"
        )
    plain = all(isinstance(one, str) for one in labels)
    own = None if plain else dict(zip(texts, labels, strict=True))
    return Ids(of=of, ids=np.array(texts, dtype=object), own=own)


def _no_ids(name: str, found: str) -> DataError:
    return DataError(
        f"column {name!r}: expected ids as text or whole numbers, found {found}; convert it, in "
        "pandas with astype(int) or astype(str)"
    )


def _id_missing(name: str, place: str) -> DataError:
    return DataError(f"column {name!r}, {place}: the id is missing; every row needs one")


@dataclass
class ArrayColumn:
    """R values of one type.

    Parameters
    ----------
    values
        float64, integers, or datetime64 (in UTC if there is a `zone`); None for an unsupported
        type.
    missing
        (R,) bool, True where a value is missing; None if none is.
    kind
        Name of the type, for messages.
    """

    name: str
    values: np.ndarray | None
    missing: np.ndarray | None = None
    kind: str = ""
    zone: str | None = None
    place: Callable[[int], str] = row_place

    def holds_dates(self) -> bool:
        return self.values is not None and self.values.dtype.kind == "M"

    def holds_clocks(self) -> bool:
        return False

    def labels(self) -> list[Any] | None:
        if self.values is None or self.values.dtype.kind not in "iu":
            return None
        return self.values.tolist()

    def texts(self) -> list[str]:
        if self.values is None:
            raise self._unfit("text")
        if self.values.dtype.kind == "M":
            return np.datetime_as_string(self.values.astype("datetime64[s]")).tolist()
        return [f"{value:.15g}" for value in self.values.tolist()]

    def first_texts(self, n: int) -> list[str]:
        part = None if self.values is None else self.values[:n]
        return ArrayColumn(self.name, part, kind=self.kind).texts()

    def times(self, reading: TimeReading) -> Times:
        self._need_all("time stamp")
        kind = "" if self.values is None else self.values.dtype.kind
        if self.values is None or (kind == "f" and reading.format is None) or kind == "b":
            raise DataError(
                f"column {self.name!r}: expected dates or integers as times, found {self.kind}; "
                "convert it, in pandas with pd.to_datetime(column), or column.astype(int) for "
                "whole numbers"
            )
        if kind == "f":
            return CellColumn(self.name, self.texts(), self.place).times(reading)
        if kind in "iu":
            whole = self.values.astype(np.int64)
            times, form, notices = read_whole(whole, reading.format, reading.steps)
            told = tuple(f"column {self.name!r}: {notice}" for notice in notices)
            return Times(times=times, form=form, notices=told)
        years = self.values.astype("datetime64[Y]").astype(int) + 1970
        if years.min() < FIRST_YEAR or years.max() > LAST_YEAR:
            raise DataError(
                f"column {self.name!r}: expected years from {FIRST_YEAR} to {LAST_YEAR}, found "
                f"{years.min()} to {years.max()}; remove the other rows"
            )
        return Times(times=self.values.astype("datetime64[ns]"), zone=self.zone)

    def _need_all(self, what: str) -> None:
        if self.missing is not None and self.missing.any():
            at = self.place(int(np.argmax(self.missing)))
            raise DataError(
                f"column {self.name!r}, {at}: the {what} is missing; every row needs one"
            )

    def ids(self) -> Ids:
        self._need_all("id")
        if self.values is None or self.values.dtype.kind == "M":
            raise _no_ids(self.name, self.kind)
        labels, first, of = np.unique(self.values, return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        return _ids_of(self.name, rank[of], labels[order].tolist())

    def numbers(self, how: Numbers) -> tuple[np.ndarray, tuple[str, ...]]:
        if self.values is None or self.values.dtype.kind == "M":
            raise self._unfit("numbers")
        values = self.values.astype(np.float64)
        if self.missing is not None:
            values[self.missing] = np.nan
        own = self.values
        if own.dtype.kind not in "iu":
            return values, ()
        return values, rounded_notice(self.name, values, lambda: map(int, own))

    def covariate(self, how: Numbers, text: bool) -> tuple[np.ndarray, tuple[str, ...]]:
        return self.numbers(how)

    def _unfit(self, what: str) -> DataError:
        return DataError(
            f"column {self.name!r}: expected {what}, found {self.kind}; convert it"
            + advice(" or leave it out with target_cols=[...]", "", ", or choose 'not used' for it")
        )


def numbered(labels: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
    """The label number of each row (R,), and the labels in the order of their first occurrence."""
    numbers: dict[Any, int] = {}
    of = [numbers.setdefault(label, len(numbers)) for label in labels]
    return np.array(of, dtype=np.int64), list(numbers)
