"""Tables of `impute` and `detect`: read, checked, as rows of one channel, and given back.

Shape legend: `convtimenet._shapes`; R rows, which are the channels of all series: the row of
channel c of series s is s C + c.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from convtimenet.data.forecast_tables import as_read, free_names, key_names
from convtimenet.data.tables import Table, read_table
from convtimenet.data.time.inferred import season_of
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.filling.windows import LONGEST
from convtimenet.estimators.forecasting.forecasts import check_steps
from convtimenet.progress import reading, showing
from convtimenet.wording import advice, listing

__all__ = ["Scaled", "as_given", "check_season", "gaps_of", "read", "scaled_rows"]

log = logging.getLogger(__name__)


class Scaled(NamedTuple):
    """A row (T,) in units in which its known values have a mean of 0 and a deviation of 1."""

    values: np.ndarray
    """0 where missing."""
    known: np.ndarray
    centre: float
    scale: float
    """0 if all known values are the same."""


def read(X: Any, verbose: int, **columns: Any) -> Table:
    """The table of `X`; `columns` are the parameters of `read_table` about columns.

    Raises
    ------
    DataError
        If it cannot be read, or a channel of a series has no known value.
    ConfigError
        If `X` is a `Table` and there are parameters about columns.
    """
    if isinstance(X, Table):
        given = [name for name, value in columns.items() if value is not None]
        if given:
            names = ["frequency" if name == "freq" else name for name in given]
            raise ConfigError(
                f"a Table has been read already, so {listing(given)} would change nothing; give "
                f"{listing(names)} to read_table"
            )
        table = X
    else:
        with showing(reading(X), verbose, busy=True):
            table = read_table(X, frequency=columns.pop("freq"), **columns)
    values, C = np.isfinite(table.values), len(table.channels)
    some = np.add.reduceat(values, table.bounds[:-1], axis=0, dtype=np.int64) > 0
    if not some.all():
        names = [
            f"{table.channels[c]} of {table.ids.tolist()[s]}" if table.long else table.channels[c]
            for s, c in zip(*np.nonzero(~some), strict=True)
        ]
        raise DataError(
            f"expected at least one known value in each of {len(some) * C} channels, found none in "
            f"{listing(names, 3)}; leave them out{advice(' (target_cols)', '')}, or give rows that "
            "have values"
        )
    return table


def check_season(season: Any, table: Table) -> tuple[int, list[str]]:
    """The season in steps, as given or that of the table's step, 1 for none; and notices."""
    if season is None:
        steps = season_of(table.frequency)
    else:
        check_steps("season", season)
        steps = int(season)
    if steps <= LONGEST:
        return steps, []
    return 1, [
        f"a season of {steps:,} steps is read as none: no more than {LONGEST:,} are read at once; "
        "take means over longer steps, or give the season inside it"
    ]


def gaps_of(table: Table) -> np.ndarray:
    """The gaps of a table, (n, 3): the first row, the one behind the last, and the channel; none
    goes on from one series into the next."""
    missing = ~np.isfinite(table.values)
    same = np.ones(len(missing) + 1, dtype=bool)  # whether a row is of the series before it
    same[table.bounds] = False
    begins, ends = missing.copy(), missing.copy()
    begins[1:] &= ~(missing[:-1] & same[1:-1, None])
    ends[:-1] &= ~(missing[1:] & same[1:-1, None])
    (channel, first), (_, last) = np.nonzero(begins.T), np.nonzero(ends.T)
    return np.stack([first, last + 1, channel], axis=1)


def scaled_rows(table: Table) -> list[Scaled]:
    """The rows of a table."""
    return [
        _scaled(np.asarray(table.values[first:end, c]))
        for first, end in zip(table.bounds[:-1], table.bounds[1:], strict=True)
        for c in range(len(table.channels))
    ]


def _scaled(values: np.ndarray) -> Scaled:
    known = np.isfinite(values)
    some = values[known]
    if some.min() == some.max():
        return Scaled(np.zeros(len(values)), known, float(some[0]), 0.0)
    unit = np.abs(some).max()  # squares of it neither overflow nor vanish
    centre, scale = unit * (some / unit).mean(), unit * (some / unit).std()
    found = np.zeros(len(values))
    found[known] = (some - centre) / scale
    return Scaled(found, known, float(centre), float(scale))


def as_given(table: Table, parts: Mapping[str, np.ndarray], *, flags: Sequence[str] = ()) -> Any:
    """The rows of a table with several columns for each channel, as the type it was read from.

    Parameters
    ----------
    parts
        (T, C) by the end of the column names; "" for the channels' own.
    flags
        Ends of columns that hold 1, 0 or NaN: in frames True or False.
    """
    notices: list[str] = []
    own = [*parts][1:]
    made = [f"{channel}-{end}" for channel in table.channels for end in own]
    free, notices = free_names(made, [*key_names(table), *table.channels])
    for notice in notices:
        log.warning(notice)
    names, columns, switches = [], [], {}
    for c, channel in enumerate(table.channels):
        ends = (channel, *free[c * len(own) : (c + 1) * len(own)])
        for name, end in zip(ends, parts, strict=True):
            names.append(name)
            columns.append(parts[end][:, c].astype(np.float64))
            if end in flags:
                switches[name] = parts[end][:, c] == 1
    origin = table.origin
    found = replace(
        table,
        values=np.stack(columns, axis=1),
        channels=tuple(names),
        time_zone=origin.time_zone or table.time_zone,
        origin=replace(origin, time_zone=None),
        notices=(*table.notices, *notices),
        covariates={},
    )
    return as_read(found, switches)
