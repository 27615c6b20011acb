"""In the child process: gaps of a table filled, its values scored: the calls of ``convtimenet
impute`` and ``convtimenet detect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convtimenet.data.tables import Table
from convtimenet.estimators.filling.answers import read
from convtimenet.runs.filling import DetectRun, ImputeRun, detect_table, impute_table
from convtimenet.serving.workbench import recipe
from convtimenet.serving.workbench.tables import Columns, new_folder


def impute(
    path: str,
    name: str,
    columns: Columns,
    level: list[float],
    season: int | None,
    device: str,
    folder: str,
) -> dict[str, Any]:
    """Fill the gaps, and write everything that can be downloaded into `folder`."""
    out, table = new_folder(folder), read(path, 1, **columns)
    settings = {"level": level or None, "season": season}
    run = impute_table(table, dataset=name, device=device, **settings)
    found = _found("impute", run, run.filled, out / "filled.csv")
    return found | recipe.of_filling("impute", name, columns, settings, "filled")


def detect(
    path: str,
    name: str,
    columns: Columns,
    alpha: float,
    method: str,
    season: int | None,
    device: str,
    folder: str,
) -> dict[str, Any]:
    """Score the values, and write everything that can be downloaded into `folder`."""
    out, table = new_folder(folder), read(path, 1, **columns)
    settings = {"alpha": alpha, "method": method, "season": season}
    run = detect_table(table, dataset=name, device=device, **settings)
    found = _found("detect", run, run.scored, out / "anomalies.csv")
    return found | recipe.of_filling("detect", name, columns, settings, "anomalies")


def _found(task: str, run: ImputeRun | DetectRun, table: Table, csv: Path) -> dict[str, Any]:
    """What the page shows of a run, once its files are written."""
    run.write_csv(csv)
    run.write_report(csv.with_name("report.html"))
    return {
        "kind": "table",
        "task": task,
        "title": f"{run.dataset}: {run.words}",
        "notices": list(table.notices),
        "scores": [],
    }
