"""The rows after the end of a table: their covariates, from a plan.

Shape legend: `convtimenet._shapes`; S series, h steps ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convtimenet.data.agreement import Labels, Terms, match_ids
from convtimenet.data.sources.by_role import Columns, Wanted
from convtimenet.data.sources.read import read_source
from convtimenet.data.tables import Table
from convtimenet.data.time.timestamps import show_time
from convtimenet.errors import DataError
from convtimenet.wording import advice, listing

__all__ = ["columns_of", "read_plan", "rows_ahead"]

_PLAN = "the plan"


def read_plan(future: Any, table: Table, wanted: Wanted) -> Columns:
    """The rows of a plan, given as a `Table` or anything `read_table` accepts; no rows for None."""
    if future is None:
        return Columns.without_rows(table.times, table.time_zone, wanted.covariates)
    if isinstance(future, Table):
        return columns_of(future)
    return read_source(future, wanted)


def columns_of(table: Table) -> Columns:
    """The rows of a table in the form they have before they are made regular."""
    return Columns(
        times=table.times,
        values=table.values,
        channels=table.channels,
        time_name=table.time_name,
        time_zone=table.time_zone,
        origin=table.origin,
        series=np.repeat(np.arange(len(table.lengths)), table.lengths),
        ids=table.ids,
        id_name=table.id_name,
        covariates=table.covariates,
    )


def rows_ahead(
    table: Table, steps: int, ahead: int, given: Columns, names: Sequence[str], terms: Terms
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The covariates of the rows after the end of every series, taken from a plan, and notices.

    Parameters
    ----------
    steps
        Number of rows after each series for which the plan must be complete.
    ahead
        Number of rows to return, at least `steps`; later rows that the plan lacks are missing.
    given
        The plan: rows of any series and time stamps, in any order. Other rows than those ahead are
        ignored.
    names
        The columns to read.

    Returns
    -------
    dict of ndarray, shape (S, ahead)
        Same types as in `Table.covariates`.

    Raises
    ------
    DataError
        If the time stamps are not of the table's kind, a row is repeated, or a value of the first
        `steps` rows is missing; the message names the columns, the first missing time stamp and
        its series.
    """
    given = terms.stamps(given, _PLAN)
    series, notices = _series_of(table, given)
    notices = [*given.notices, *notices]
    rows = np.flatnonzero(series >= 0)
    last = table.times[table.bounds[1:] - 1]
    at = np.empty(0, dtype=np.int64)
    if len(rows):
        zone = table.time_zone
        at = table.frequency.steps(last[series[rows]], given.times[rows], zone) - 1
    here = (at >= 0) & (at < ahead)
    rows, at = rows[here], at[here]
    place = series[rows] * ahead + at
    shape = (len(last), ahead)
    order = np.argsort(place, kind="stable")
    twice = np.flatnonzero(place[order][1:] == place[order][:-1])
    if len(twice):
        row = int(rows[order[twice[0]]])
        raise DataError(
            f"{_PLAN} has more than one row for {show_time(given.times[row], given.time_zone)}"
            f"{_in_series(table, int(series[row]))}; keep one row for each series and time stamp"
        )
    columns = {}
    for name in names:
        if name not in given.covariates:
            raise DataError(
                f"{_PLAN} lacks the covariate {name!r}; it has {listing([*given.covariates])}"
            )
        columns[name] = given.covariates[name][rows]
    columns, told = terms.covariates(columns, _PLAN)
    found = {}
    absent = np.zeros(shape, dtype=bool)
    lacking = []
    for name, values in columns.items():
        text = terms.categories[name] is not None
        full = np.full(shape, None if text else np.nan, dtype=object if text else np.float64)
        full.reshape(-1)[place] = values
        found[name] = full
        none = full == np.array(None) if text else np.isnan(full)
        if none[:, :steps].any():
            lacking.append(name)
        absent |= none
    if lacking:
        raise _lacking(table, lacking, absent[:, :steps], given)
    beyond = int(absent.any(axis=0).sum())
    if beyond:
        notices.append(
            f"{_PLAN} lacks some values in the last {beyond} of {ahead} steps that the model "
            "reads: numbers are replaced by their mean in training, texts are treated as missing"
        )
    return found, [*notices, *told]


def _series_of(table: Table, given: Columns) -> tuple[np.ndarray, list[str]]:
    """The number of the table's series for each row of a plan, -1 if the table lacks it."""
    S = len(table.lengths)
    if given.series is None:
        if S > 1:
            raise DataError(
                f"{_PLAN} lacks the id column {table.id_name!r}; expected rows for each of the {S} "
                "series; add the column"
            )
        return np.zeros(len(given.times), dtype=np.int64), []
    assert given.ids is not None
    if not table.long and given.id_name is not None:
        if len(given.ids) > 1:
            raise DataError(
                f"{_PLAN} has {len(given.ids)} series in its column {given.id_name!r}, but the "
                "table is a single series without ids; give the rows of one series"
            )
        return np.zeros(len(given.times), dtype=np.int64), []
    numbers, notices = match_ids(given.ids, Labels(table.ids.tolist()), _PLAN)
    others = given.ids[numbers < 0].tolist()
    if others and (numbers >= 0).any():
        told = listing(others, 5)
        notices = [*notices, f"{_PLAN} has rows of series without a history, not forecast: {told}"]
    return numbers[given.series] if len(given.series) else given.series, notices


def _in_series(table: Table, series: int) -> str:
    return f" in the series {table.ids.tolist()[series]!r}" if table.long else ""


def _lacking(table: Table, names: Sequence[str], absent: np.ndarray, given: Columns) -> DataError:
    """The error for missing covariates in the rows ahead (S, steps)."""
    series, at = (int(n[0]) for n in np.nonzero(absent))
    steps = absent.shape[1]
    last = table.times[table.bounds[1:] - 1][series]
    stamp = show_time(table.frequency.future(last, steps, table.time_zone)[at], table.time_zone)
    has = ""
    remedy = advice(
        "pass them as predict(future=...)",
        'send them as "future" in the JSON body',
        "give their file below 'Values known ahead'",
    )
    if len(given.times):
        remedy = "add the missing rows or values"
        if given.origin.kind == "numpy":
            remedy = (
                "the rows of an array are numbered from 0, like those of the table: give a frame "
                f"with the rows ahead and their row numbers in a column {table.time_name!r}"
            )
        first, final = (
            show_time(t, given.time_zone) for t in (given.times.min(), given.times.max())
        )
        has = f"; the plan has rows from {first} to {final}"
        if table.long and given.ids is not None:
            has += f" of the series {listing(given.ids.tolist(), 3)}"
    return DataError(
        f"future values of {listing(names)} are needed for {steps} steps ahead; the first missing "
        f"is at {stamp}{_in_series(table, series)}, {int(absent.sum())} rows are incomplete{has}; "
        f"{remedy}"
    )
