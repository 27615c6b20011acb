"""In the child process: what a table holds, and a run on it.

Nothing here is a second way to forecast: these are the calls of ``convtimenet forecast``.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.callbacks import Callback
from convtimenet.data.columns import CellColumn, Column, Grid
from convtimenet.data.files import check_path, is_columnar, read_columnar, read_grid
from convtimenet.data.forecast_tables import table_times, write_csv
from convtimenet.data.tables import Table, read_table
from convtimenet.data.time.inferred import season_of
from convtimenet.data.time.words import step_words
from convtimenet.errors import DataError, SeveralSeriesError
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.estimators.forecasting.pretraining import FitKind
from convtimenet.runs.forecasting import (
    check_future,
    default_horizon,
    forecast_table,
    horizon_reason,
    kind_of_run,
)
from convtimenet.runs.result import comparison, units
from convtimenet.serving.workbench import charts, recipe
from convtimenet.serving.workbench.asked import QUALITIES, SERIES
from convtimenet.wording import listing

_HEAD = 6  # cells of a column that are shown
_MOST_COLUMNS = 200
_ROWS = 60  # of the forecast that is shown as a table
TEST = 0.2
"""Part of the rows, or of the cases, that gives the scores."""

Columns = dict[str, Any]
"""Parameters of the forecaster about the columns of a table."""


def look(path: str, columns: Columns) -> dict[str, Any]:
    """What a file holds. What cannot be read as asked is an "error" beside the columns."""
    check_path(path)
    found: dict[str, Any] = {"columns": []}
    try:
        found["columns"] = first_cells(Path(path))
        table, columns = _read(path, columns)
    except DataError as error:
        return found | {"error": str(error), "chosen": columns}
    h, names = default_horizon(table), {name for name, _ in found["columns"]}
    begin, end = table.times.min(), table.times.max()
    shown = replace(table, times=np.array([begin, end]), rows=None)
    return found | {
        "needed": columns,
        "chosen": {
            **columns,
            # one that is made, of several columns or of row numbers, cannot be chosen
            "time_col": table.time_name if table.time_name in names else columns["time_col"],
            "id_col": table.id_name,
            "target_cols": list(table.channels),
        },
        "step": step_words(table.frequency),
        "series": len(table.lengths),
        "rows": len(table.times),
        "span": table_times(shown),
        "season": season_of(table.frequency),
        "missing": int(np.isnan(table.values).sum()),
        "notices": list(table.notices),
        "horizon": h,
        "reason": horizon_reason(table, h),
        "kinds": _kinds(table, columns),
        "chart": charts.first_lines(table),
        "drawn": charts.drawn_words(table),
    }


def _kinds(table: Table, columns: Columns) -> list[tuple[int, dict[str, FitKind]]]:
    """What a run of each quality will do, and from how many steps to forecast on."""

    @cache
    def kinds(h: int) -> dict[str, FitKind]:
        models = {q: ConvTimeNetForecaster(h, quality=q, **columns) for q in QUALITIES}
        return {q: kind_of_run(model, table, TEST) for q, model in models.items()}

    def between(a: int, b: int) -> list[int]:
        """Where it changes behind `a`, up to `b`."""
        if kinds(a) == kinds(b):
            return []
        half = (a + b) // 2
        return [b] if half == a else [*between(a, half), *between(half, b)]

    most = int(table.lengths.max())
    known = sorted({1, most, *(min(most, 2**k) for k in range(17))})
    changes = [at for a, b in pairwise(known) for at in between(a, b)]
    return [(h, kinds(h)) for h in (1, *changes)]


def forecast(
    path: str,
    future: str | None,
    plan: str | None,
    name: str,
    columns: Columns,
    h: int,
    level: list[float],
    quality: str,
    device: str,
    folder: str,
    callbacks: Sequence[Callback],
) -> dict[str, Any]:
    """Fit, score, forecast and write everything that can be downloaded into `folder`; the user
    calls the file of the `future` values `plan`."""
    levels, out = level or None, new_folder(folder)
    model = ConvTimeNetForecaster(
        h, quality=quality, device=device, verbose=1, callbacks=callbacks, **columns
    )
    table = model.read(path)
    check_future(model, table, future)
    run = forecast_table(model, table, test_fraction=TEST, dataset=name, level=levels)
    ahead = model.predict(table, future, level=levels)
    write_csv(out / "forecast.csv", ahead, source=model.adapt(table))
    run = replace(run, future=ahead)
    pack(run.model.save(out / "model"), out)
    run.write_report(out / "report.html")
    result = run.result
    notices = [*dict.fromkeys([*table.notices, *result.notices, *ahead.notices])]
    return {
        "kind": "table",
        "task": "forecast",
        "title": f"{name}: {h} steps ahead",
        "notices": notices,
        "scores": units(result) or (comparison(result) if result.scores else []),
        "table": _forecast_rows(out / "forecast.csv"),
        "chart": charts.write_lines(out / SERIES, table, ahead, level),
        "drawn": charts.drawn_words(table, pick=True),
        "series": len(table.lengths) * len(table.channels),
        **recipe.of_table(name, columns, h, level, quality, plan),
    }


def new_folder(name: str) -> Path:
    """An empty folder for what a run writes."""
    out = Path(name)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return out


def pack(model: Path, out: Path) -> None:
    """The model's folder as one file."""
    shutil.make_archive(str(out / "model"), "zip", out, model.name)


def first_cells(path: Path) -> list[list[Any]]:
    """Names of the first columns of a file, each with its cells in the first rows."""
    if not is_columnar(path):
        grid = read_grid(path)
        return cells_of(grid, list(grid.names)[:_MOST_COLUMNS])
    frame = read_columnar(path)
    names = [str(name) for name in frame.column_names][:_MOST_COLUMNS]
    return [[name, _shown(frame[at][:_HEAD].to_pylist())] for at, name in enumerate(names)]


def cells_of(grid: Grid, names: Sequence[str]) -> list[list[Any]]:
    """Names of columns, each with its cells in the first rows."""
    return [[name, _shown(_first_rows(grid[name]))] for name in names]


def _shown(cells: Sequence[Any]) -> list[str]:
    return ["" if one is None or one != one else str(one)[:40] for one in cells]


def _first_rows(column: Column) -> Sequence[Any]:
    """The first cells of a column, also those that are missing."""
    if isinstance(column, CellColumn):
        return column.cells()[:_HEAD]
    return column.first_texts(_HEAD)


def _numbers(path: Path) -> dict[str, bool | None]:
    """Whether the first values of each column of a file are numbers; None if it has no value."""
    if is_columnar(path):
        frame = read_columnar(path)
        names = [str(name) for name in frame.column_names]
        known = [frame[at].drop_null()[:_HEAD].to_pylist() for at in range(len(names))]
    else:
        grid = read_grid(path)
        names = list(grid.names)
        known = [grid[name].first_texts(_HEAD) for name in names]
    return {
        name: all(_is_number(str(one)) for one in of) if any(map(str, of)) else None
        for name, of in zip(names, known, strict=True)
    }


def _listed(names: Any) -> list[str]:
    return list(names or ())


def _read(path: str, columns: Columns) -> tuple[Table, Columns]:
    """A table, with columns chosen where it cannot be read without: the id column of several
    series, and number columns beside columns of text."""
    try:
        return _read_as(path, columns), columns
    except SeveralSeriesError as error:
        if columns["id_col"] is not None:
            raise
        taken = {*_listed(columns["futr_exog"]), *_listed(columns["hist_exog"]), error.id_col}
        targets = columns["target_cols"] or [n for n in error.target_cols if n not in taken]
        columns = {**columns, "id_col": error.id_col, "target_cols": targets or None}
        notice = f"time stamps repeat, so the rows are read as one series per {error.id_col!r}"
        table = _left_out(_read_as(path, columns), columns, _numbers(Path(path)))
        return _noticed(table, notice), columns
    except DataError:
        if columns["target_cols"] is not None:
            raise
        number = _numbers(Path(path))
        numbers = [name for name, is_one in number.items() if is_one]
        if not numbers:
            raise
        with suppress(DataError):
            columns = {**columns, "target_cols": numbers}
            return _left_out(_read_as(path, columns), columns, number), columns
        raise


def _left_out(table: Table, columns: Columns, number: dict[str, bool | None]) -> Table:
    """With notices of the columns that are not used as they are no numbers."""
    used = {table.time_name, columns["id_col"], *_listed(columns["futr_exog"])}
    used |= {*_listed(columns["hist_exog"])}
    for kind, held in (("are empty", None), ("hold text or dates", False)):
        if left := [n for n, is_one in number.items() if is_one is held and n not in used]:
            table = _noticed(table, f"columns that {kind} are not forecast: {listing(left)}")
    return table


def _noticed(table: Table, notice: str) -> Table:
    return replace(table, notices=(notice, *table.notices))


def _is_number(cell: str) -> bool:
    return not cell or cell.replace(",", "").replace(".", "").lstrip("+-").isdigit()


def _read_as(path: str, columns: Columns) -> Table:
    given = {k: v for k, v in columns.items() if k not in ("futr_exog", "hist_exog", "freq")}
    covariates = [*_listed(columns["futr_exog"]), *_listed(columns["hist_exog"])]
    return read_table(path, frequency=columns["freq"], covariates=covariates, **given)


def _forecast_rows(path: Path) -> dict[str, Any]:
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    return {"head": head, "rows": rows[:_ROWS], "total": len(rows)}
