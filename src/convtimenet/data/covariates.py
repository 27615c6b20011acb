"""Encode covariates as numbers for the network.

Numbers are standardised with training statistics. A text covariate that varies over time is one-hot
encoded; a static one becomes a category number, for which the network has an embedding. Missing
values and categories not seen in training are encoded as 0 and contribute nothing.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from convtimenet.data.agreement import Terms
from convtimenet.data.covariate_column import Column
from convtimenet.data.future import columns_of
from convtimenet.data.tables import Table
from convtimenet.data.time.steps import DAY
from convtimenet.data.time.timestamps import to_local
from convtimenet.errors import ConfigError, DataError
from convtimenet.files.maps import blocks
from convtimenet.wording import advice, column_names, listing

__all__ = [
    "CALENDAR",
    "NO_COVARIATES",
    "Encoder",
    "agreed",
    "calendar_names",
    "terms_of",
    "usual_calendar",
]

logger = logging.getLogger(__name__)

_MOST_CATEGORIES = 100  # each becomes a column


def _since(unit: str) -> Callable[[np.ndarray], np.ndarray]:
    """Nanoseconds since the last full `unit`."""
    return lambda times: (times - times.astype(f"M8[{unit}]")).astype(np.int64)


CALENDAR: dict[str, tuple[float, Callable[[np.ndarray], np.ndarray]]] = {
    "minute": (3_600e9, _since("h")),
    "hour": (DAY, _since("D")),
    # 1970-01-01 was a Thursday; phases do not matter
    "dayofweek": (7, lambda times: times.astype("M8[D]").astype(np.int64)),
    "dayofmonth": (31 * DAY, _since("M")),
    "month": (12, lambda times: times.astype("M8[M]").astype(np.int64)),
    "dayofyear": (365.2425 * DAY, _since("Y")),
}
"""Calendar features: the period, and the position of a (local) time stamp in the same unit."""


def usual_calendar(table: Table) -> tuple[str, ...]:
    """The default calendar features for a table's frequency."""
    frequency = table.frequency
    if frequency.unit in ("month", "business month", "half month"):
        return ("month",)
    if frequency.unit == "business" or (frequency.unit == "ns" and frequency.count >= DAY):
        return ("dayofweek", "dayofmonth", "month")
    return ("hour", "dayofweek", "month")


def calendar_names(calendar: Any, table: Table) -> tuple[str, ...]:
    """The calendar features selected by a setting: True or "auto" for the defaults of the table's
    frequency, or one or several names."""
    if calendar is None or isinstance(calendar, (bool, np.bool_)):
        return usual_calendar(table) if calendar else ()
    names = column_names("calendar", calendar)
    return usual_calendar(table) if names == ("auto",) else names


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """The covariates of a fitted model."""

    hist: tuple[Column, ...] = ()
    futr: tuple[Column, ...] = ()
    stat: tuple[Column, ...] = ()
    calendar: tuple[str, ...] = ()
    time_zone: str | None = None
    """Time zone of the training rows, used for calendar features."""

    @classmethod
    def fit(
        cls,
        table: Table,
        hist: Sequence[str],
        futr: Sequence[str],
        stat: Sequence[str],
        calendar: Sequence[str],
        every: Table | None = None,
    ) -> Self:
        """Learn the encoding from a table of training rows; of numbers that do not vary there,
        from `every` row.

        Raises
        ------
        DataError
            If a column does not exist, is empty or has too many categories.
        ConfigError
            If a calendar feature is unknown, or the table has no dates.
        """
        if unknown := [name for name in calendar if name not in CALENDAR]:
            raise ConfigError(
                f"calendar must hold names of {', '.join(CALENDAR)}, found {listing(unknown)}"
            )
        if calendar and table.frequency.unit == "step":
            raise ConfigError(
                "calendar features need dates, found whole numbers as time stamps; leave calendar "
                "out or give dates"
            )

        def fitted(name: str) -> Column:
            found = Column.fit(name, _column(table, name))
            if found.constant and every is not None:
                return Column.fit(name, _column(every, name))
            return found

        made = [tuple(map(fitted, names)) for names in (hist, futr, stat)]
        for column in (*made[0], *made[1]):
            if column.width > _MOST_CATEGORIES:
                raise DataError(
                    f"covariate {column.name!r} has {column.width} categories, expected at most "
                    f"{_MOST_CATEGORIES}; convert numbers stored as text, or group rare categories"
                )
        return cls(
            hist=made[0],
            futr=made[1],
            stat=made[2],
            calendar=tuple(calendar),
            time_zone=table.time_zone,
        )

    @property
    def any(self) -> bool:
        """Whether there are any covariates."""
        return bool(self.hist or self.futr or self.stat or self.calendar)

    @property
    def sizes(self) -> dict[str, Any]:
        """The covariate sizes for `ModelConfig`."""
        texts = tuple(len(c.categories) for c in self.stat if c.categories is not None)
        return {
            "hist_exog": sum(column.width for column in self.hist),
            "futr_exog": sum(column.width for column in self.futr) + 2 * len(self.calendar),
            "stat_exog": len(self.stat) - len(texts),
            "stat_categories": texts,
        }

    @property
    def places(self) -> list[tuple[str, str, slice]]:
        """For each covariate its name, the field of `Covariates` that holds it, and its columns
        there."""
        widths = [(c.name, "hist", c.width) for c in self.hist]
        widths += [(c.name, "futr", c.width) for c in self.futr]
        widths += [(name, "futr", 2) for name in self.calendar]
        widths += [(c.name, "stat" if c.categories is None else "categories", 1) for c in self.stat]
        found, used = [], Counter[str]()
        for name, part, width in widths:
            found.append((name, part, slice(used[part], used[part] + width)))
            used[part] += width
        return found

    def notices(self, table: Table) -> list[str]:
        """Notices about missing values in a training table's covariates, about values that are
        lost beside far larger ones, and about covariates that do not vary."""
        told = self.missing(table)
        told += [
            f"covariate {column.name!r} is {column.low:.4g} in all rows, which tells nothing"
            for column in (*self.hist, *self.futr)
            if column.constant
        ]
        for column in (*self.hist, *self.futr, *self.stat):
            values = _column(table, column.name)
            if values.dtype != object and column.drowns(values):
                told.append(
                    f"covariate {column.name!r}: the network cannot tell its usual values apart, "
                    f"as they differ too little beside a standard deviation of {column.scale:.3g}; "
                    "correct far larger ones or leave them empty"
                )
        return told

    def unlike(self, covariates: Mapping[str, np.ndarray]) -> list[str]:
        """Notices about covariates to forecast from, those of rows ahead too, that are unlike
        those of training (`Column.unlike`)."""
        every = (*self.hist, *self.futr, *self.stat)
        told = [c.unlike(covariates[c.name]) for c in every if c.name in covariates]
        return [notice for notice in told if notice]

    def missing(self, table: Table) -> list[str]:
        """Notices about missing values in a table's covariates."""
        told = []
        for column in (*self.hist, *self.futr, *self.stat):
            values = _column(table, column.name)
            text = values.dtype == object
            missing = sum(
                sum(v is None for v in values[one]) if text else int(np.isnan(values[one]).sum())
                for one in blocks(len(values))
            )
            if missing:
                to = "treated as no category" if text else "replaced by the mean in training"
                found = f"all {missing}" if missing == len(values) else str(missing)
                told.append(f"covariate {column.name!r}: {found} values missing, {to}")
        return told

    def rows(self, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """Historical and future covariates of every row: (K, T) each, float64."""
        T = len(table.times)
        past = [column.rows(_column(table, column.name)) for column in self.hist]
        ahead = [column.rows(_column(table, column.name)) for column in self.futr]
        if self.calendar:
            local = to_local(table.times, self.time_zone)
            for name in self.calendar:
                period, since = CALENDAR[name]
                turn = 2 * np.pi * since(local) / period
                ahead.append(np.stack([np.sin(turn), np.cos(turn)]))
        empty = np.empty((0, T))
        return np.concatenate([empty, *past]), np.concatenate([empty, *ahead])

    def statics(self, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """Static numbers and categories of every series: (S, K) float64 and (S, K) int64.

        Raises
        ------
        DataError
            If a column varies within a series.
        """
        starts, found = table.bounds[:-1], {False: [], True: []}
        for column in self.stat:
            values = _column(table, column.name)
            text = values.dtype == object
            missing = np.array([v is None for v in values]) if text else np.isnan(values)
            numbers = column.numbers(values).astype(np.float64)
            lowest = np.minimum.reduceat(np.where(missing, np.inf, numbers), starts)
            highest = np.maximum.reduceat(np.where(missing, -np.inf, numbers), starts)
            varies = highest > lowest
            if varies.any():
                raise DataError(
                    f"{advice('stat_exog: ', '')}{column.name!r} varies within the series "
                    f"{listing(table.ids[varies].tolist(), 3)}; expected one value for each series"
                    + advice(", or list the column in hist_exog or futr_exog", "; correct it")
                )
            found[column.categories is not None].append(np.where(np.isinf(lowest), 0, lowest))
        S = len(starts)
        numbers, categories = (np.array(found[k]).reshape(-1, S).T for k in (False, True))
        return numbers, categories.astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``, without the time zone, which is stored with the tail."""
        values = asdict(self)
        del values["time_zone"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], time_zone: str | None = None) -> Self:
        """Inverse of `to_dict`, also after JSON."""
        kinds = {
            kind: tuple(
                Column(**{**c, "categories": c["categories"] and tuple(c["categories"])})
                for c in values[kind]
            )
            for kind in ("hist", "futr", "stat")
        }
        return cls(**kinds, calendar=tuple(values["calendar"]), time_zone=time_zone)


NO_COVARIATES = Encoder()


def terms_of(table: Table, encoder: Encoder) -> Terms:
    """The `Terms` of a training table."""
    dated, last = table.times.dtype.kind == "M", to_local(table.times[-1:], table.time_zone)
    return Terms(
        frequency=table.frequency,
        dated=dated,
        time_zone=table.time_zone,
        clock=int((last - last.astype("M8[D]")).astype(np.int64)[0]) if dated else 0,
        origin=table.origin,
        categories={c.name: c.categories for c in (*encoder.hist, *encoder.futr, *encoder.stat)},
        time_name=table.time_name,
        reads_times=bool(encoder.futr or encoder.calendar),
    )


def agreed(table: Table, terms: Terms) -> Table:
    """Match a table that was read without a model to what a fitted model expects.

    Raises
    ------
    DataError
        If it does not match.
    """
    if absent := [name for name in terms.categories if name not in table.covariates]:
        raise DataError(
            f"the table lacks the covariates {listing(absent)} that the model was fitted with; "
            + advice(
                f"read it with covariates={list(terms.categories)!r}, or pass the frame or file "
                "itself",
                "send them too",
            )
        )
    stamps = terms.stamps(columns_of(table)).notices
    covariates, told = terms.covariates(table.covariates)
    step = terms.step(table.frequency, table.times, table.lengths, table.time_zone)
    new = [one for one in (*stamps, *told) if one not in table.notices]
    for notice in new:
        logger.warning(notice)
    notices = (*table.notices, *new)
    return replace(table, covariates=covariates, frequency=step, notices=notices)


def _column(table: Table, name: str) -> np.ndarray:
    if name not in table.covariates:
        raise DataError(
            f"the table lacks the covariate {name!r}; it has {listing([*table.covariates])}"
        )
    return table.covariates[name]
