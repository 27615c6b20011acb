"""Read the columns of a grid by their roles: times, ids, channels and covariates."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from convtimenet.data.columns import Column, Grid, Ids
from convtimenet.data.frame_columns import Origin
from convtimenet.data.sources.roles import (
    ID_NAME,
    TARGET_NAME,
    check_apart,
    check_one_series,
    find_id,
    find_targets,
    without_index,
)
from convtimenet.data.sources.time_column import TIME_NAMES, find_time, may_tell_times
from convtimenet.data.text.reading import TimeReading, Times

__all__ = ["Columns", "Wanted", "from_grid"]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The columns to read from a source, None to detect them, and the format of its cells."""

    time: Any = None
    targets: Sequence[Any] | None = None
    id: Any = None
    covariates: Sequence[Any] = ()
    texts: frozenset[str] = frozenset()
    """The covariates that are text in a fitted model."""
    usual_time: str | None = None
    """Name of the time column to prefer if `time` is None."""
    counted: bool = False
    """Whether rows are numbered where there is no time column."""
    hint: str | None = None
    """Added to the error if the targets of a fitted model are missing."""
    reading: TimeReading = field(default_factory=TimeReading)
    decimal: str | None = None

    def named(self, names: dict[Any, str]) -> Wanted:
        """The same with the caller's column labels replaced by names."""

        def name(label: Any) -> Any:
            label = tuple(label) if isinstance(label, list) else label
            return names.get(label, label)

        return replace(
            self,
            time=name(self.time),
            id=name(self.id),
            targets=None if self.targets is None else [name(one) for one in self.targets],
            covariates=[name(one) for one in self.covariates],
        )

    def needed(self, common: Collection[str], others: Mapping[str, bool]) -> set[str]:
        """Which columns that only some files of a table have are read, or may be.

        Parameters
        ----------
        common
            The columns that all files have.
        others
            The others, and whether they hold numbers.
        """
        targets, id_name = self.targets, ID_NAME if self.id is None else self.id
        if targets is None and id_name in common and TARGET_NAME in common:
            targets = [TARGET_NAME]
        timed = self.time is not None
        if targets is None or not (timed or self._has_times(common)):
            return {*others}
        asked = {*targets, *self.covariates, id_name, self.time, self.usual_time}
        return {
            name
            for name, number in others.items()
            if name in asked or not (timed or (number and not may_tell_times(name)))
        }

    def _has_times(self, names: Collection[str]) -> bool:
        """Whether one of the columns is the time column by its name."""
        return self.usual_time in names or any(one.lower() in TIME_NAMES for one in names)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns read from a source: times not sorted, values with gaps.

    Attributes
    ----------
    series : ndarray, shape (R,), optional
        For a long source, the number of the series that each row belongs to.
    ids : ndarray, shape (S,), optional
        The ids of the series, in the order of their first rows.
    covariates : dict
        (R,) each: float64 with NaN, or text as objects with None.
    offsets : tuple of str
        The UTC offsets found in time stamps written as text.
    """

    times: np.ndarray
    values: np.ndarray
    channels: tuple[str, ...]
    time_name: str
    time_zone: str | None
    origin: Origin
    notices: tuple[str, ...] = ()
    series: np.ndarray | None = None
    ids: np.ndarray | None = None
    id_name: str | None = None
    covariates: dict[str, np.ndarray] = field(default_factory=dict)
    offsets: tuple[str, ...] = ()

    def of_file(self) -> Columns:
        """The same as read from a file with typed columns."""
        kept = {name: getattr(self.origin, name) for name in ("time_form", "dayfirst")}
        return replace(self, origin=Origin("file", **kept))

    @classmethod
    def without_rows(
        cls, times: np.ndarray, time_zone: str | None, covariates: Sequence[str]
    ) -> Columns:
        """An instance without rows, with the type of time stamps of `times`."""
        return cls(
            times=times[:0],
            values=np.empty((0, 0)),
            channels=(),
            time_name="",
            time_zone=time_zone,
            origin=Origin("none"),
            series=np.empty(0, dtype=np.int64),
            ids=np.empty(0, dtype=object),
            covariates={name: np.empty(0) for name in covariates},
        )


def from_grid(
    grid: Grid,
    wanted: Wanted,
    origin: Origin,
    index: Column | None = None,
    values_only: bool = False,
) -> Columns:
    """The columns of a grid by role; `index` holds the times if no column does."""
    time = wanted.usual_time if wanted.time is None else wanted.time
    names, notices = without_index(grid, time, wanted.id, wanted.targets, wanted.covariates)
    id_name = None if values_only else find_id(names, wanted.id)
    if index is not None:
        time_column, time_names = index, ()
    else:
        time_column, time_names, told = find_time(
            grid,
            names,
            wanted.time,
            id_name,
            wanted.usual_time,
            (*(wanted.targets or ()), *wanted.covariates),
            wanted.counted,
        )
        notices += told
    channels, told = find_targets(
        names, time_names, id_name, wanted.targets, wanted.covariates, grid, wanted.hint
    )
    notices += told
    times = time_column.times(wanted.reading)
    if origin.kind == "file":
        origin = replace(origin, written=next(iter(time_column.first_texts(1)), ""))
    ids = None if id_name is None else grid[id_name].ids()
    rest = [name for name in names if name not in (*time_names, id_name)]
    if ids is None and channels:  # the rows of a plan are checked against their table later
        check_one_series(grid, times.times, rest, channels)
    elif ids is not None:
        check_apart(grid, times.times, ids, rest, id_name)
    how = grid.numbers(wanted.decimal, (*time_names, *([id_name] if id_name else [])))
    values = np.empty((len(times.times), len(channels)))
    for i, name in enumerate(channels):
        values[:, i], told = grid[name].numbers(how)
        notices += told
    covariates = {}
    for name in wanted.covariates:
        covariates[name], told = grid[name].covariate(how, name in wanted.texts)
        notices += told
    return _columns(times, values, channels, time_column.name, origin, ids, id_name, covariates,
                    (*grid.notices, *times.notices, *notices))  # fmt: skip


def _columns(
    times: Times,
    values: np.ndarray,
    channels: tuple[str, ...],
    time_name: str,
    origin: Origin,
    ids: Ids | None,
    id_name: str | None,
    covariates: dict[str, np.ndarray],
    notices: tuple[str, ...],
) -> Columns:
    own = None if ids is None else ids.own
    return Columns(
        times=times.times,
        values=values,
        channels=channels,
        time_name=time_name,
        time_zone=times.zone,
        origin=replace(origin, time_form=times.form, dayfirst=times.dayfirst, id_labels=own),
        notices=notices,
        series=None if ids is None else ids.of,
        ids=None if ids is None else ids.ids,
        id_name=id_name,
        covariates=covariates,
        offsets=times.offsets,
    )
