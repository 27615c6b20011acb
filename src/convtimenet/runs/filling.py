"""Gaps of a table filled, and its values scored: the results with their files and reports."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.data.files.written import decimals_of, own_decimals, shortened
from convtimenet.data.forecast_tables import write_csv
from convtimenet.data.tables import Table
from convtimenet.data.time.words import step_words
from convtimenet.estimators.filling.answers import check_season, gaps_of
from convtimenet.estimators.filling.detect import detect
from convtimenet.estimators.filling.impute import impute
from convtimenet.estimators.forecasting.calibration import check_levels
from convtimenet.progress import clock
from convtimenet.runs.result import versions

__all__ = ["DetectRun", "ImputeRun", "detect_table", "impute_table"]


@dataclass(frozen=True, kw_only=True)
class ImputeRun:
    """A table and the same without gaps, as `impute` returns it."""

    table: Table
    filled: Table
    dataset: str
    facts: dict[str, str]
    """For display, by label."""

    @property
    def words(self) -> str:
        """How much was filled."""
        missing = int((~np.isfinite(self.table.values)).sum())
        return f"{missing:,} values in {len(gaps_of(self.table)):,} gaps filled"

    def write_csv(self, path: str | Path) -> None:
        """Write the table without gaps: what was filled is rounded to the decimals of its channel,
        or to the digits that it supports if its own come from a computation; known values stay as
        they are."""
        write_csv(path, _rounded(self.filled, self.table))

    def write_report(self, path: str | Path) -> Path:
        """Write the HTML report of this run."""
        from convtimenet.report import impute_report

        title = f"{self.dataset}: gaps filled"
        return impute_report(path, self.table, self.filled, title=title, facts=self.facts)


@dataclass(frozen=True, kw_only=True)
class DetectRun:
    """A table and the same with scores, as `detect` returns it."""

    table: Table
    scored: Table
    alpha: float
    dataset: str
    facts: dict[str, str]
    """For display, by label."""

    @property
    def columns(self) -> np.ndarray:
        """(T, C, 4): value, score, p-value, and 1 where a value is flagged."""
        return self.scored.values.reshape(*self.table.values.shape, 4)

    @property
    def words(self) -> str:
        """How much was flagged."""
        known = int(np.isfinite(self.columns[..., 1]).sum())
        flagged = int((self.columns[..., 3] == 1).sum())
        return f"{flagged:,} of {known:,} values flagged, with p <= {self.alpha:g}"

    def farthest(self, most: int) -> list[tuple[int, int]]:
        """Row and channel of the flagged values with the highest scores, the highest first."""
        rows, channels = np.nonzero(self.columns[..., 3] == 1)
        order = np.argsort(-self.columns[rows, channels, 1], kind="stable")[:most]
        return list(zip(rows[order].tolist(), channels[order].tolist(), strict=True))

    def write_csv(self, path: str | Path) -> None:
        """Write the table with its scores."""
        write_csv(path, self.scored)

    def write_report(self, path: str | Path) -> Path:
        """Write the HTML report of this run."""
        from convtimenet.report import detect_report

        title = f"{self.dataset}: values far off"
        return detect_report(path, self.table, self.scored, title=title, facts=self.facts)


def impute_table(
    table: Table,
    *,
    dataset: str,
    level: Any = None,
    season: int | None = None,
    device: str = "auto",
    verbose: int = 1,
) -> ImputeRun:
    """Fill the gaps of a table.

    Parameters
    ----------
    table
        As from `convtimenet.data.tables.read_table`.
    dataset
        Its name, for display.
    level, season, device, verbose
        As for `impute`.

    Raises
    ------
    DataError, ConfigError
        As `impute`.
    """
    begin = time.monotonic()
    shared = {"season": season, "device": device, "verbose": verbose}
    filled = impute(_as_file(table), level=level, **shared)
    levels = () if level is None else check_levels(level)
    own = {"Intervals": ", ".join(f"{one:g} %" for one in levels) or "none"}
    facts = _facts(table, filled, dataset, season, begin, own)
    return ImputeRun(table=table, filled=filled, dataset=dataset, facts=facts)


def detect_table(
    table: Table,
    *,
    dataset: str,
    alpha: float = 0.01,
    method: str = "reconstruction",
    season: int | None = None,
    device: str = "auto",
    verbose: int = 1,
) -> DetectRun:
    """Score the values of a table, and flag those far off.

    Parameters
    ----------
    table, dataset
        As for `impute_table`.
    alpha, method, season, device, verbose
        As for `detect`.

    Raises
    ------
    DataError, ConfigError
        As `detect`.
    """
    begin = time.monotonic()
    shared = {"season": season, "device": device, "verbose": verbose}
    scored = detect(_as_file(table), alpha=alpha, method=method, **shared)
    own = {"Method": method, "Flagged": f"p <= {alpha:g}"}
    facts = _facts(table, scored, dataset, season, begin, own)
    return DetectRun(table=table, scored=scored, alpha=alpha, dataset=dataset, facts=facts)


def _as_file(table: Table) -> Table:
    """The table as if read from a file, so that the result is a `Table`."""
    return replace(table, origin=replace(table.origin, kind="file"))


def _facts(
    table: Table,
    found: Table,
    dataset: str,
    season: int | None,
    begin: float,
    own: dict[str, str],
) -> dict[str, str]:
    steps, _ = check_season(season, table)
    rows = f"{len(table.times):,} of {len(table.channels):,} channels"
    facts = {
        "Data": dataset,
        "Rows": f"{rows}, {len(table.lengths):,} series" if table.long else rows,
        "Step": step_words(table.frequency),
        "Season": f"{steps:,} steps" if steps > 1 else "none",
        **own,
        "Model": "the network that comes with the package; nothing was trained",
        "Time": clock(time.monotonic() - begin),
        "Versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }
    if found.notices:
        facts["Notices"] = "; ".join(found.notices)
    return facts


def _rounded(filled: Table, table: Table) -> Table:
    """What was filled, as `ImputeRun.write_csv` rounds it."""
    each = len(filled.channels) // len(table.channels)
    least = decimals_of(table.values, table.bounds[:-1]).repeat(table.lengths, axis=0)
    own = [own_decimals(column) for column in table.values.T]
    values = filled.values.copy()
    for row, channel in np.argwhere(~np.isfinite(table.values)).tolist():
        here = slice(channel * each, (channel + 1) * each)
        decimals, digits = own[channel], int(least[row, channel])
        values[row, here] = [
            shortened(one, digits) if decimals is None else round(one, decimals)
            for one in values[row, here].tolist()
        ]
    return replace(filled, values=values)
