"""Check that a new table matches the one a model was fitted to.

A table to forecast, a table of future covariates (the plan) and a test table must all match the
training table. Differences in notation only (time zones, labels and ids as numbers or as text) are
converted, with a notice; contradictions are errors. All comparisons of tables are in this module.

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

from convtimenet.data.sources.by_role import Columns
from convtimenet.data.sources.read import Origin
from convtimenet.data.text.numbers import is_missing
from convtimenet.data.time.frequency import Frequency
from convtimenet.data.time.timestamps import to_local
from convtimenet.errors import DataError
from convtimenet.wording import listing

__all__ = ["Labels", "Terms", "category_of", "match_ids", "spelling", "unseen_ids"]

_UTC = frozenset({"UTC", "Etc/UTC", "GMT", "Etc/GMT", "Zulu", "Z", "+00:00", "UTC+00:00"})
_WHOLE = re.compile(r"-?(0|[1-9]\d*)(\.0)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_UUID = re.compile(r"\{?[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}?")
_LONGEST = 40  # longest text that is read as a number
_EXACT = 2**53  # from here on float64 cannot represent every whole number
_LARGEST_SINGLE = float(np.finfo(np.float32).max)
_TRUTH = {"true": 1.0, "false": 0.0}


# --- labels and ids ------------------------------------------------------------------------------


def spelling(label: Any) -> str:
    """The canonical spelling of a label or id. These are equal: 1, 1.0, "1" and "1.0"; True, "True"
    and "true"; 0.1 in float32 and "0.1"; a UUID in upper and lower case. Any other text is kept:
    "01" differs from "1", and the version "1.10" from "1.1"."""
    text = str(label).strip()
    if _WHOLE.fullmatch(text) and len(text) < _LONGEST:
        return str(int(text.removesuffix(".0")))
    if text.lower() in _TRUTH:
        return text.lower()
    if isinstance(label, float) and abs(label) < _LARGEST_SINGLE:
        single = np.float32(label)
        if float(single) == label:  # the value came from a float32 column
            text = str(single)
    if not isinstance(label, str):
        return _value(text)
    return text.strip("{}").lower() if _UUID.fullmatch(text) else text


def _value(text: str) -> str:
    """The text after a round trip through a number: "01" and "1e0" become "1"."""
    if not _NUMBER.fullmatch(text) or len(text) >= _LONGEST:
        return text
    if _INTEGER.fullmatch(text):
        return str(int(text))
    value = float(text)
    return str(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(value)


class Labels:
    """Known labels or ids that can be looked up in any spelling.

    A text matches the known label with the same `spelling`. A number matches any text with its
    value, also one with leading zeros, because reading a file removes those.
    """

    def __init__(self, known: Sequence[Any]):
        self.known = list(known)
        self._exact = {(isinstance(one, str), one): i for i, one in enumerate(self.known)}

    @cached_property
    def _spelt(self) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        """The numbers of the known labels by spelling and by value; built only on demand, because
        most tables spell their labels as in training."""
        spelt, values = defaultdict(list), defaultdict(list)
        for i, one in enumerate(self.known):
            key = spelling(one)
            spelt[key].append(i)
            values[_value(key)].append(i)
        return spelt, values

    @property
    def truth(self) -> bool:
        """Whether every known label is true or false."""
        return self._spelt[0].keys() <= _TRUTH.keys()

    def find(self, label: Any) -> list[int]:
        """The numbers of the known labels that match: none for a new label, several if the match
        is ambiguous."""
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
        """The known label that is spelt most like a new one, if any is similar."""
        lower = {str(one).strip().lower(): str(one) for one in reversed(self.known)}
        text = str(label).strip().lower()
        values = {_value(key): of for key, of in lower.items()}
        if (same := lower.get(text) or values.get(_value(text))) is not None:
            return same
        found = difflib.get_close_matches(text, list(lower)[:1000], n=1, cutoff=0.75)
        return lower[found[0]] if found else None


def match_ids(given: np.ndarray, labels: Labels, what: str) -> tuple[np.ndarray, list[str]]:
    """The number (n,) of the known series that each given id matches, -1 for a new one, and
    notices.

    Raises
    ------
    DataError
        If an id matches several series, or several ids match one.
    """
    ids = given.tolist()
    remedy = "write the ids as in the training table"
    found = np.full(len(ids), -1, dtype=np.int64)
    taken: dict[int, Any] = {}
    differing = []
    for i, one in enumerate(ids):
        numbers = labels.find(one)
        if not numbers:
            continue
        if len(numbers) > 1:
            raise DataError(
                f"{what}: the id {one!r} could be any of "
                f"{listing([labels.known[n] for n in numbers], 3)}; {remedy}"
            )
        number = numbers[0]
        if number in taken:
            raise DataError(
                f"{what}: the ids {taken[number]!r} and {one!r} both match the series "
                f"{labels.known[number]!r}; {remedy}"
            )
        taken[number] = one
        found[i] = number
        if spelling(one) != spelling(labels.known[number]):
            differing.append(f"{one!r} as {labels.known[number]!r}")
    notices = []
    if differing:
        notices.append(f"{what}: ids are matched by value ({_few(differing)})")
    return found, notices


def unseen_ids(given: np.ndarray, numbers: np.ndarray, labels: Labels) -> list[str]:
    """Notices about series not seen in training, given the `numbers` from `match_ids`."""
    new = [one for one, number in zip(given.tolist(), numbers.tolist(), strict=True) if number < 0]
    if not new:
        return []
    told = [_with_near(one, labels) for one in new[:3]]
    return [
        f"{len(new)} of {len(given)} series were not seen in training ({_few(told, len(new))}); "
        "they are scaled with their own statistics"
    ]


def category_of(labels: Labels, value: Any, name: str) -> int | None:
    """The number of the training category that a value matches; None for a new one.

    Raises
    ------
    DataError
        If it matches several.
    """
    found = labels.find(value)
    # booleans arrive as numbers from a frame and as text from a file
    if not found and labels.truth and (truth := spelling(value)) in ("0", "1"):
        found = labels.find(str(truth == "1"))
    if len(found) > 1:
        raise DataError(
            f"covariate {name!r}: {value!r} could be any of the training categories "
            f"{listing([labels.known[i] for i in found], 3)}; write it exactly as in training"
        )
    return found[0] if found else None


def _few(told: Sequence[str], total: int | None = None) -> str:
    """Up to three texts, and the number of others."""
    total = len(told) if total is None else total
    return ", ".join(told[:3]) + (f" and {total - 3} more" if total > 3 else "")


def _with_near(label: Any, labels: Labels) -> str:
    near = labels.near(label)
    return repr(label) if near is None else f"{label!r}, did you mean {near!r}?"


# --- terms ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The properties of the training table that every later table must match.

    Attributes
    ----------
    frequency
        Step between rows.
    dated
        Whether the time stamps are dates; otherwise they are whole numbers.
    time_zone
        Time zone of the time stamps.
    clock
        Time of day (ns) of the last time stamp in that zone, 0 without dates.
    origin
        What the table was read from.
    categories
        For each covariate: the texts seen in training, or None for numbers.
    time_name
        Name of the time column.
    reads_times
        Whether the model depends on the time stamps themselves, through calendar features or
        future covariates.
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
        """Check the kind of time stamps, and move them to the time zone of training if they fall
        on the same time of day there.

        Raises
        ------
        DataError
            If only one of the tables has dates, or only one has a time zone.
        """
        dated, zone = columns.times.dtype.kind == "M", columns.time_zone
        if dated != self.dated:
            return self._without_stamps(columns, dated, what)
        if (zone is None) != (self.time_zone is None):
            raise DataError(self._zone_remedy(columns, what))
        if zone is None or self.time_zone is None or _same_zone(zone, self.time_zone):
            return columns
        notice = (
            f"{what} is in the time zone {zone}, the model was fitted in {self.time_zone}: time "
            "stamps are converted, and calendar features use the time zone of training"
        )
        columns = replace(columns, notices=(*columns.notices, notice))
        if not len(columns.times) or not self.frequency.keeps_clock:
            return columns
        local = to_local(columns.times, self.time_zone)
        if (local - local.astype("M8[D]") == np.timedelta64(self.clock, "ns")).all():
            # whole days in the time zone of training may not be whole days in another
            origin = replace(columns.origin, time_zone=zone)
            columns = replace(columns, time_zone=self.time_zone, origin=origin)
        return columns

    def covariates(
        self, given: Mapping[str, np.ndarray], what: str = "the table", first: int = 0
    ) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """Covariates converted to the types and categories of training, and notices; for messages
        `what` they are of, and the number of the `first` row.

        Raises
        ------
        DataError
            If training had numbers and a text is not one, or a label matches several categories.
        """
        found, notices = dict(given), []
        for name, values in given.items():
            if name not in self.categories:
                continue
            categories = self.categories[name]
            if categories is None:
                if values.dtype == object:
                    found[name] = _numbers(name, values, what, first)
                continue
            labels = Labels(categories)
            found[name], unseen = _categories(name, values, labels)
            if unseen:
                told = [_with_near(one, labels) for one in list(unseen)[:3]]
                notices.append(
                    f"covariate {name!r}: {sum(unseen.values())} rows of {what} hold categories "
                    f"not seen in training ({_few(told, len(unseen))}); they are treated as missing"
                )
        return found, tuple(notices)

    def step(
        self, frequency: Frequency, times: np.ndarray, lengths: np.ndarray, zone: str | None
    ) -> Frequency:
        """The frequency of a regular table, checked against that of training.

        Raises
        ------
        DataError
            If it differs.
        """
        ours = self.frequency
        if (ours.unit == "step") != (times.dtype.kind == "i"):
            return frequency  # an array, see `stamps`
        if (frequency.unit, frequency.count) == (ours.unit, ours.count):
            return frequency
        # a short table may fit both: Monday to Friday are days and business days
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
                f"{kinds[self.dated]}; give {what} the same kind of time stamps as the training "
                f"table, in a column {self.time_name!r}"
            )
        notice = (
            f"an array has no time stamps: the rows of {what} are assumed to be "
            f"{self.frequency.name} apart, as in training"
        )
        return replace(columns, notices=(*columns.notices, notice))

    def _zone_remedy(self, columns: Columns, what: str) -> str:
        zone, kind, name = columns.time_zone, columns.origin.kind, columns.time_name
        indexed = columns.origin.indexed
        if zone is None:
            said = (
                f"the time stamps of {what} lack a time zone, those that the model was fitted to "
                f"are in {self.time_zone!r}; set their zone, "
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
            f"fitted to have none; if the training data are in local time of {zone}, remove the "
            "zone "
        )
        rest = "; otherwise convert to the time zone of the training data first"
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


def _numbers(name: str, values: np.ndarray, what: str, first: int) -> np.ndarray:
    """Text parsed as numbers (T,)."""
    found = np.full(len(values), np.nan)
    for i, value in enumerate(values.tolist()):
        text = "" if value is None else str(value).strip()
        if text.lower() in _TRUTH:
            found[i] = _TRUTH[text.lower()]
        elif _NUMBER.fullmatch(text):
            found[i] = float(text)
        elif not is_missing(text):
            raise DataError(
                f"covariate {name!r}: expected numbers as in training, found {text!r} in row "
                f"{first + i} of {what}; write numbers with a decimal point, or leave it empty"
            )
    return found


def _categories(name: str, values: np.ndarray, labels: Labels) -> tuple[np.ndarray, dict[str, int]]:
    """Values (T,) in the spelling of training, None where missing; and the number of occurrences
    of each category not seen in training."""
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
