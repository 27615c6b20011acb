"""``convtimenet impute`` and ``convtimenet detect``: gaps filled, anomalies found."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from convtimenet.cli.columns import column_flags
from convtimenet.cli.outputs import (
    check_inputs,
    check_outputs,
    default_out,
    make_console,
    note,
    note_replaced,
    took,
    wrote,
)
from convtimenet.cli.settings import COLUMNS, verbose_of
from convtimenet.data.files import check_path

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser
    from rich.console import Console

    from convtimenet.data.tables import Table
    from convtimenet.runs.filling import DetectRun, ImputeRun

IMPUTE = """Fill the gaps of a table, with intervals.

Empty cells and rows that are missing from the regular steps are filled from the
known values on both sides; gaps at the end are forecast. Known values stay as
they are. Nothing is trained: weights that come with the package are trusted as
far as known values, hidden for trial, are filled better by them than by linear
interpolation.

Examples:
  convtimenet impute sales.csv --level 80
      all gaps filled, with the columns <channel>-lo-80 and <channel>-hi-80,
      written to sales-filled.csv
  convtimenet impute long.csv --id_col store --target_cols units --out whole.csv
      a long table of many series
  convtimenet impute meter.csv --season 96
      for a step whose season is not the usual one
  convtimenet impute sales.csv --level 80 --report report.html
      with a page that shows every gap"""

DETECT = """Find values of a table that the other values do not let expect.

Each known value is hidden and predicted from the others. Its score is the
distance from the prediction in units of the predicted spread, its p-value the
share of the values of the same channel and series with such a score. Values
with p <= alpha are flagged: alpha is the share of them to look at, whether or
not anything is wrong with them.

Examples:
  convtimenet detect sales.csv
      one value in a hundred flagged, with the columns <channel>-score,
      <channel>-p and <channel>-anomaly, written to sales-anomalies.csv
  convtimenet detect sales.csv --alpha 0.001 --method forecast
      one in a thousand; each value predicted from earlier ones only
  convtimenet detect sales.csv --report report.html
      with a page that shows the values and their scores
  convtimenet detect long.csv --id_col store --target_cols units --fill 0"""

_SHOWN = 5  # flagged values


def impute_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet impute`."""
    add = parser.add_argument
    add("data", type=str, help="table with gaps (CSV, Excel, Parquet, Arrow, JSON lines, .tsf)")
    column_flags(parser, "channels to fill, as a,b; all by default", fill=False)
    add(
        "--level",
        type=float,
        nargs="+",
        metavar="PERCENT",
        help="levels of intervals in per cent, as --level 80 95, whose bounds are written",
    )
    _shared_flags(parser, "the table without gaps as CSV; by default <data>-filled.csv here")


def detect_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet detect`."""
    add = parser.add_argument
    add("data", type=str, help="table (CSV, Excel, Parquet, Arrow, JSON lines, .tsf)")
    column_flags(parser, "channels to look at, as a,b; all by default", fill=True)
    add("--alpha", type=float, default=0.01, help="values with p <= alpha are flagged")
    add(
        "--method",
        type=Literal["reconstruction", "forecast"],
        default="reconstruction",
        help="predict each value from those on both sides, or from earlier ones only",
    )
    _shared_flags(parser, "the table with scores as CSV; by default <data>-anomalies.csv here")


def _shared_flags(parser: ArgumentParser, out: str) -> None:
    add = parser.add_argument
    add(
        "--season",
        type=int | None,
        help="season in steps, such as 24 for a day of hours; by default that of the step",
    )
    add("--out", type=str | None, metavar="FILE", help=out)
    add("--report", type=str | None, metavar="FILE", help="write an HTML report of the run")
    add("--device", type=str, default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps")
    add("--quiet", action="store_true", help="show no progress")


def run_impute(flags: Any) -> None:
    """Fill the gaps of a file."""
    begin = time.monotonic()
    out, replaced = _outputs(flags, "filled")
    from convtimenet.estimators.forecasting.calibration import check_levels
    from convtimenet.runs.filling import impute_table

    if flags.level is not None:
        check_levels(flags.level)
    console = _checked(flags, replaced)
    table = _table(console, flags)
    run = impute_table(table, level=flags.level, **_settings(flags))
    _show_notices(console, run.filled, table)
    run.write_csv(out)
    wrote(console, run.words, out)
    _write_report(console, flags, run)
    took(console, begin)


def run_detect(flags: Any) -> None:
    """Score and flag the values of a file."""
    begin = time.monotonic()
    out, replaced = _outputs(flags, "anomalies")
    import numpy as np

    from convtimenet.data.forecast_tables import table_times
    from convtimenet.estimators.filling.detect import check_alpha
    from convtimenet.runs.filling import detect_table

    check_alpha(flags.alpha)
    console = _checked(flags, replaced)
    table = _table(console, flags)
    run = detect_table(table, alpha=flags.alpha, method=flags.method, **_settings(flags))
    _show_notices(console, run.scored, table)
    run.write_csv(out)
    wrote(console, run.words, out)
    times, ids = table_times(table), np.repeat(table.ids, table.lengths)
    for row, channel in run.farthest(_SHOWN):
        value, score, p, _ = run.columns[row, channel].tolist()
        of = f" of {ids[row]}" if table.long else ""
        console.print(
            f"  {times[row]}  {table.channels[channel]}{of}: {value:.6g} "
            f"(score {score:.3g}, p {p:.2g})",
            soft_wrap=True,
        )
    _write_report(console, flags, run)
    took(console, begin)


def _outputs(flags: Any, what: str) -> tuple[str, list[str]]:
    """The output file, and which files will be replaced, once input and output can be used."""
    out = default_out(flags, flags.data, what)
    replaced = check_outputs(flags, flags.data, out=out)
    check_inputs(flags.data)
    check_path(flags.data)
    return out, replaced


def _checked(flags: Any, replaced: list[str]) -> Console:
    """The console, once the flags that both commands have can be used."""
    from convtimenet.devices import resolve_device
    from convtimenet.estimators.forecasting.forecasts import check_steps

    if flags.season is not None:
        check_steps("season", flags.season)
    resolve_device(flags.device)
    console = make_console()
    note_replaced(console, replaced)
    return console


def _table(console: Console, flags: Any) -> Table:
    from convtimenet.estimators.filling.answers import read

    columns = {name: flags.get(name) for name in COLUMNS}
    table = read(flags.data, verbose_of(flags), **columns)
    for notice in table.notices:
        note(console, notice)
    return table


def _settings(flags: Any) -> dict[str, Any]:
    settings = {"season": flags.season, "device": flags.device, "verbose": verbose_of(flags)}
    return {"dataset": Path(flags.data).name, **settings}


def _write_report(console: Console, flags: Any, run: ImputeRun | DetectRun) -> None:
    if flags.report:
        wrote(console, "report", run.write_report(flags.report))


def _show_notices(console: Console, found: Table, table: Table) -> None:
    for notice in found.notices[len(table.notices) :]:
        note(console, notice)
