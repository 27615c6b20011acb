"""Two tables that meet: the one a model was fitted to, and any that comes afterwards.

A table to forecast, a plan of covariates known ahead, a test table: each must say the same in the
same way. What differs only in its writing is converted, with a notice (time zones, labels and ids
as numbers or as text); what contradicts is refused. Nothing else in the package compares two
tables.

Shape legend: `convtimenet._shapes`; S series, T rows.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from convtimenet.data.frequency import Frequency
from convtimenet.data.sources import Columns, Origin
from convtimenet.data.text.numbers import is_missing
from convtimenet.data.timestamps import to_local
from convtimenet.errors import DataError
from convtimenet.wording import listing

__all__ = ["Labels", "Terms", "category_of", "match_ids", "spelling", "unseen_ids"]

_UTC = frozenset({"UTC", "Etc/UTC", "GMT", "Etc/GMT", "Zulu", "Z", "+00:00", "UTC+00:00"})
_WHOLE = re.compile(r"-?(0|[1-9]\d*)(\.0)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_UUID = re.compile(r"\{?[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}?")
_LONGEST = 40  # characters of what may be a number
_EXACT = 2**53  # from here on whole numbers in float64 stand for their neighbours too
_LARGEST_SINGLE = float(np.finfo(np.float32).max)
_TRUTH = {"true": 1.0, "false": 0.0}


# --- labels and ids ------------------------------------------------------------------------------


def spelling(label: Any) -> str:
    """What all writings of one label or id have in common: 1, 1.0, "1" and "1.0" are one, and
    True, "True" and "true", 0.1 in float32 and "0.1", and a UUID in capitals. Other texts are what
    they are: "01" is not "1", and the version "1.10" not "1.1"."""
    text = str(label).strip()
    if _WHOLE.fullmatch(text) and len(text) < _LONGEST:
        return str(int(text.removesuffix(".0")))
    if text.lower() in _TRUTH:
        return text.lower()
    if isinstance(label, float) and abs(label) < _LARGEST_SINGLE:
        single = np.float32(label)
        if float(single) == label:  # a column of float32 has no other digits
            text = str(single)
    if not isinstance(label, str):
        return _value(text)
    return text.strip("{}").lower() if _UUID.fullmatch(text) else text


def _value(text: str) -> str:
    """What is left of a text that is read as a number: "01" and "1e0" become 1."""
    if not _NUMBER.fullmatch(text) or len(text) >= _LONGEST:
        return text
    if _INTEGER.fullmatch(text):
        return str(int(text))
    value = float(text)
    return str(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(value)


class Labels:
    """Known labels or ids, to be found under any of their writings.

    A text is the known one of the same `spelling`. A number may be any text that reads as it, such
    as one with zeros in front: reading a file takes them away.
    """

    def __init__(self, known: Sequence[Any]):
        self.known = list(known)
        self._exact = {(isinstance(one, str), one): i for i, one in enumerate(self.known)}

    @cached_property
    def _spelt(self) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        """Numbers of the known labels by their spelling, and by what they read as; most tables
        write theirs as training did and never ask."""
        spelt, values = defaultdict(list), defaultdict(list)
        for i, one in enumerate(self.known):
            key = spelling(one)
            spelt[key].append(i)
            values[_value(key)].append(i)
        return spelt, values

    @property
    def truth(self) -> bool:
        """Whether they are true and false, or one of these."""
        return self._spelt[0].keys() <= _TRUTH.keys()

    def find(self, label: Any) -> list[int]:
        """Numbers of the known labels that it may be: none for a new one, several where that is
        not clear."""
        exact = self._exact.get((isinstance(label, str), label))
        if exact is not None:
            return [exact]
        spelt, values = self._spelt
        key = spelling(label)
        same = values.get(_value(key), [])
        if not isinstance(label, str):
            return same
        numbers = [i for i in same if not isinstance(self.known[i], str)]
        return sorted({*spelt.get(key, []), *numbers})

    def near(self, label: Any) -> str | None:
        """The known label whose writing is nearest to that of a new one."""
        lower = {str(one).strip().lower(): str(one) for one in reversed(self.known)}
        text = str(label).strip().lower()
        values = {_value(key): of for key, of in lower.items()}
        if (same := lower.get(text) or values.get(_value(text))) is not None:
            return same
        found = difflib.get_close_matches(text, list(lower)[:1000], n=1, cutoff=0.75)
        return lower[found[0]] if found else None


def match_ids(given: np.ndarray, labels: Labels, what: str) -> tuple[np.ndarray, list[str]]:
    """The number (n,) of the known series that each given id means, -1 for a new one, and what to
    say about it.

    Raises
    ------
    DataError
        If an id may mean several series, or several ids one.
    """
    ids = given.tolist()
    remedy = "write the ids as in the table that the model was fitted to"
    found = np.full(len(ids), -1, dtype=np.int64)
    taken: dict[int, Any] = {}
    differing = []
    for i, one in enumerate(ids):
        numbers = labels.find(one)
        if not numbers:
            continue
        if len(numbers) > 1:
            raise DataError(
                f"{what}: the id {one!r} may be any of "
                f"{listing([labels.known[n] for n in numbers], 3)}; {remedy}"
            )
        number = numbers[0]
        if number in taken:
            raise DataError(
                f"{what}: the ids {taken[number]!r} and {one!r} may both be the series "
                f"{labels.known[number]!r}; {remedy}"
            )
        taken[number] = one
        found[i] = number
        if spelling(one) != spelling(labels.known[number]):
            differing.append(f"{one!r} as {labels.known[number]!r}")
    notices = []
    if differing:
        notices.append(f"{what}: ids are read as the numbers that they are ({_few(differing)})")
    return found, notices


def unseen_ids(given: np.ndarray, numbers: np.ndarray, labels: Labels) -> list[str]:
    """What to say of series that training did not see, by the `numbers` that `match_ids` gave."""
    new = [one for one, number in zip(given.tolist(), numbers.tolist(), strict=True) if number < 0]
    if not new:
        return []
    told = [_with_near(one, labels) for one in new[:3]]
    return [
        f"{len(new)} of {len(given)} series were not seen in training ({_few(told, len(new))}); "
        "they are scaled by their own values"
    ]


def category_of(labels: Labels, value: Any, name: str) -> int | None:
    """The number of the training category that a value is; None for a new one.

    Raises
    ------
    DataError
        If it may be several of them.
    """
    found = labels.find(value)
    # a frame's booleans are numbers by now, and text in a file
    if not found and labels.truth and (truth := spelling(value)) in ("0", "1"):
        found = labels.find(str(truth == "1"))
    if len(found) > 1:
        raise DataError(
            f"covariate {name!r}: {value!r} may be any of the categories "
            f"{listing([labels.known[i] for i in found], 3)} of training; write it as there"
        )
    return found[0] if found else None


def _few(told: Sequence[str], total: int | None = None) -> str:
    """A few texts, and how many more."""
    total = len(told) if total is None else total
    return ", ".join(told[:3]) + (f" and {total - 3} more" if total > 3 else "")


def _with_near(label: Any, labels: Labels) -> str:
    near = labels.near(label)
    return repr(label) if near is None else f"{label!r}, did you mean {near!r}?"


# --- terms ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the table that a model was fitted to settles for every table that it meets later.

    Attributes
    ----------
    frequency
        Its step.
    dated
        Whether its time stamps are dates; whole numbers else.
    time_zone
        Their zone.
    clock
        The time of day (ns) of its last stamp in that zone, 0 without dates.
    origin
        What it was read from.
    categories
        Of each covariate: the texts that training saw, or None for numbers.
    time_name
        Name of its time column.
    reads_times
        Whether the model reads what hangs on the stamps themselves: calendar features or covariates
        known ahead.
    """

    frequency: Frequency
    dated: bool
    time_zone: str | None
    clock: int
    origin: Origin
    categories: Mapping[str, tuple[str, ...] | None]
    time_name: str
    reads_times: bool

    @property
    def texts(self) -> frozenset[str]:
        """Names of the covariates that are text."""
        return frozenset(name for name, one in self.categories.items() if one is not None)

    def stamps(self, columns: Columns, what: str = "the table") -> Columns:
        """Rows whose time stamps are of the kind that training had, on its clock where they keep
        it.

        Raises
        ------
        DataError
            If one has dates and the other whole numbers, or one a time zone and the other none.
        """
        dated, zone = columns.times.dtype.kind == "M", columns.time_zone
        if dated != self.dated:
            return self._without_stamps(columns, dated, what)
        if (zone is None) != (self.time_zone is None):
            raise DataError(self._zone_remedy(columns, what))
        if zone is None or self.time_zone is None or _same_zone(zone, self.time_zone):
            return columns
        notice = (
            f"{what} is in the time zone {zone}, the model was fitted in {self.time_zone}: the "
            "same instants are read, calendar features are those of the clock of training"
        )
        columns = replace(columns, notices=(*columns.notices, notice))
        if not len(columns.times) or not self.frequency.keeps_clock:
            return columns
        local = to_local(columns.times, self.time_zone)
        if (local - local.astype("M8[D]") == np.timedelta64(self.clock, "ns")).all():
            # whole days of the clock of training, which need not be whole days elsewhere
            origin = replace(columns.origin, time_zone=zone)
            columns = replace(columns, time_zone=self.time_zone, origin=origin)
        return columns

    def covariates(
        self, given: Mapping[str, np.ndarray], what: str = "the table"
    ) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """Covariates with the kinds and labels of training, and what to say of them.

        Raises
        ------
        DataError
            If there is text where training had numbers that does not read as one, or a label may be
            several categories.
        """
        found, notices = dict(given), []
        for name, values in given.items():
            if name not in self.categories:
                continue
            categories = self.categories[name]
            if categories is None:
                if values.dtype == object:
                    found[name] = _numbers(name, values, what)
                continue
            labels = Labels(categories)
            found[name], unseen = _categories(name, values, labels)
            if unseen:
                told = [_with_near(one, labels) for one in list(unseen)[:3]]
                notices.append(
                    f"covariate {name!r}: {sum(unseen.values())} rows of {what} hold categories "
                    f"that training did not see ({_few(told, len(unseen))}); they are read as none"
                )
        return found, tuple(notices)

    def step(
        self, frequency: Frequency, times: np.ndarray, lengths: np.ndarray, zone: str | None
    ) -> Frequency:
        """The step of a regular table, where it is that of training.

        Raises
        ------
        DataError
            If it is another.
        """
        ours = self.frequency
        if (ours.unit == "step") != (times.dtype.kind == "i"):
            return frequency  # of an array, see `stamps`
        if (frequency.unit, frequency.count) == (ours.unit, ours.count):
            return frequency
        # a short stretch may fit both: Monday to Friday are days and business days
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        within = np.arange(len(times)) - np.repeat(starts, lengths)
        if (ours.steps(np.repeat(times[starts], lengths), times, zone) == within).all():
            return ours
        raise DataError(
            f"the table has steps of {frequency.name}, the model was fitted to steps of "
            f"{ours.name}; resample the table to {ours.name}, or fit a model to steps of "
            f"{frequency.name}"
        )

    def _without_stamps(self, columns: Columns, dated: bool, what: str) -> Columns:
        array = "numpy" in (columns.origin.kind, self.origin.kind)
        if not array or self.reads_times:
            kinds = ("whole numbers", "dates")
            raise DataError(
                f"{what} has {kinds[dated]} as time stamps, the model was fitted to "
                f"{kinds[self.dated]}; give {what} the time stamps of training, in a column "
                f"{self.time_name!r}"
            )
        notice = (
            f"an array has no time stamps: the rows of {what} are taken as steps of "
            f"{self.frequency.name}, as in training"
        )
        return replace(columns, notices=(*columns.notices, notice))

    def _zone_remedy(self, columns: Columns, what: str) -> str:
        zone, kind, name = columns.time_zone, columns.origin.kind, columns.time_name
        indexed = columns.origin.indexed
        if zone is None:
            said = (
                f"the time stamps of {what} lack a time zone, those that the model was fitted to "
                f"are in {self.time_zone!r}; say in which zone they are, "
            )
            return said + {
                "pandas": f"with frame.tz_localize({self.time_zone!r})"
                if indexed
                else f"with frame[{name!r}] = pd.to_datetime(frame[{name!r}]).dt.tz_localize("
                f"{self.time_zone!r})",
                "polars": f"with frame.with_columns(pl.col({name!r}).dt.replace_time_zone("
                f"{self.time_zone!r}))",
                "pyarrow": f"with pyarrow.compute.assume_timezone(table[{name!r}], "
                f"{self.time_zone!r})",
            }.get(kind, "by writing each with its UTC offset, as 2024-01-31T06:30:00+01:00")
        said = (
            f"the time stamps of {what} are in the time zone {zone!r}, those that the model was "
            f"fitted to have none; if those were on the clock of {zone}, take the zone off "
        )
        rest = "; if not, convert it to theirs first"
        return (
            said
            + {
                "pandas": "with frame.tz_localize(None)"
                if indexed
                else f"with frame[{name!r}] = pd.to_datetime(frame[{name!r}]).dt.tz_localize(None)",
                "polars": f"with frame.with_columns(pl.col({name!r}).dt.replace_time_zone(None))",
                "pyarrow": f"with pyarrow.compute.local_timestamp(table[{name!r}])",
            }.get(kind, "by writing them without Z or UTC offset")
            + rest
        )


def _same_zone(one: str, other: str) -> bool:
    return one == other or (one in _UTC and other in _UTC)


def _numbers(name: str, values: np.ndarray, what: str) -> np.ndarray:
    """Text as the numbers (T,) that it reads as."""
    found = np.full(len(values), np.nan)
    for i, value in enumerate(values.tolist()):
        text = "" if value is None else str(value).strip()
        if text.lower() in _TRUTH:
            found[i] = _TRUTH[text.lower()]
        elif _NUMBER.fullmatch(text):
            found[i] = float(text)
        elif not is_missing(text):
            raise DataError(
                f"covariate {name!r}: expected numbers as in training, found {text!r} in row {i} "
                f"of {what}; write numbers with a decimal point, or leave the cell empty"
            )
    return found


def _categories(name: str, values: np.ndarray, labels: Labels) -> tuple[np.ndarray, dict[str, int]]:
    """Values as training wrote their categories (T,), None where missing; and how often each of
    those occurs that training did not see."""
    of: dict[Any, str] = {}
    unseen: dict[str, int] = {}
    found = np.empty(len(values), dtype=object)
    for i, value in enumerate(values.tolist()):
        if value is None or value != value:
            continue
        if value not in of:
            number = category_of(labels, value, name)
            known = None if number is None else labels.known[number]
            of[value] = known or (value if isinstance(value, str) else spelling(value))
            if known is None:
                unseen.setdefault(of[value], 0)
        if of[value] in unseen:
            unseen[of[value]] += 1
        found[i] = of[value]
    return found, unseen
