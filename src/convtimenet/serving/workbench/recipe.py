"""The Python and the command that do what a run on the page does."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any


def of_table(
    name: str,
    columns: dict[str, Any],
    h: int,
    level: list[float],
    quality: str,
    plan: str | None,
) -> dict[str, str]:
    """ "python" and "command" for a forecast of a table in the current folder; `plan` is the file
    there of the values known ahead. If it has the name of the table, the lines call it after it."""
    given = _given(columns)
    known = "".join(f", {k}={v!r}" for k, v in given.items())
    levels, stem = [_short(one) for one in level], stem_of(name)
    if plan == name:
        plan = f"{stem}-ahead{name.removeprefix(stem)}"
    ahead = f", {plan!r}" if plan else ""
    also = f", level={levels!r}" if levels else ""
    python = f"""from convtimenet import ConvTimeNetForecaster
from convtimenet.data.forecast_tables import write_csv
from convtimenet.runs.forecasting import forecast_table

model = ConvTimeNetForecaster({h}, quality={quality!r}{known})
table = model.read({name!r})
forecast_table(model, table, test_fraction=0.2, dataset={name!r}{also})
forecast = model.predict(table{ahead}{also})
write_csv({f"{stem}-forecast.csv"!r}, forecast, source=table)
"""
    words = ["convtimenet", "forecast", _file(name), "--h", str(h)]
    words += ["--pretrained"] if quality == "pretrained" else ["--quality", quality]
    if levels:
        words += ["--level", *map(str, levels)]
    words += _flags(given)
    if plan:
        words += [f"--future={plan}"]
    words += [f"--out={stem}-forecast.csv", "--report", "report.html", "--save", "model"]
    return {"python": python, "command": shlex.join(words)}


def of_filling(
    task: str, name: str, columns: dict[str, Any], settings: dict[str, Any], made: str
) -> dict[str, str]:
    """The same for `impute` or `detect`, whose table is called `made`."""
    given, settings = _given(columns), _given(settings)
    if "level" in settings:
        settings["level"] = [_short(one) for one in settings["level"]]
    out = f"{stem_of(name)}-{made}.csv"
    words = {"freq": "frequency"}
    known = "".join(f", {words.get(k, k)}={v!r}" for k, v in given.items())
    own = "".join(f", {k}={v!r}" for k, v in settings.items())
    python = f"""from convtimenet.data.tables import read_table
from convtimenet.runs.filling import {task}_table

table = read_table({name!r}{known})
run = {task}_table(table, dataset={name!r}{own})
run.write_csv({out!r})
run.write_report("report.html")
"""
    flags = ["convtimenet", task, _file(name)]
    for key, value in settings.items():
        flags += [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
    flags += [*_flags(given), f"--out={out}", "--report", "report.html"]
    return {"python": python, "command": shlex.join(flags)}


def of_recordings(name: str, task: str, roles: dict[str, Any], quality: str) -> dict[str, str]:
    """The same for labelled recordings."""
    kind = {"classify": "ConvTimeNetClassifier", "regress": "ConvTimeNetRegressor"}[task]
    given = _given(roles)
    also = "".join(f", {k}={v!r}" for k, v in given.items())
    split = "" if task == "classify" else ", classes=False"
    python = f"""from convtimenet import {kind}
from convtimenet.data.labelled.cases import read_cases
from convtimenet.runs.labelled import fit_labelled, hold_out

train, test = hold_out(read_cases({name!r}{also}), 0.2, 2023{split})
run = fit_labelled({kind}(quality={quality!r}), train, test, dataset={name!r})
run.write_report("report.html")
run.model.save("model")
"""
    words = ["convtimenet", task, _file(name), "--quality", quality]
    words += _flags(given)
    words += ["--report", "report.html", "--save", "model"]
    return {"python": python, "command": shlex.join(words)}


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """What was chosen."""
    return {k: v for k, v in settings.items() if v not in (None, [])}


def _flags(columns: dict[str, Any]) -> list[str]:
    """Flags about the columns of a table; names may begin with "-" and hold commas."""
    words = []
    for key, value in columns.items():
        if isinstance(value, list):
            plain = all(one == one.strip() and one[:1] != "[" and "," not in one for one in value)
            value = ",".join(value) if plain else json.dumps(value, ensure_ascii=False)
        words.append(f"--{key}={str(value).lower() if key == 'dayfirst' else value}")
    return words


def _file(name: str) -> str:
    """The name of a file, which is no flag."""
    return f"./{name}" if name.startswith("-") else name


def stem_of(name: str) -> str:
    """The name of a file without endings, for the files made from it."""
    return Path(name).name.split(".")[0] or "data"


def _short(number: float) -> float | int:
    return int(number) if float(number).is_integer() else number
