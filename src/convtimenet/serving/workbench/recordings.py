"""In the child process: what labelled recordings hold, a run on them, labels of new ones."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.callbacks import Callback
from convtimenet.data.columns import Grid
from convtimenet.data.files import read_grid
from convtimenet.data.files.case_table import steps_among
from convtimenet.data.files.raw import decoded, read_bytes, unpacked_name
from convtimenet.data.labelled.cases import Cases, read_cases
from convtimenet.data.text.numbers import number_of
from convtimenet.data.text.stamp_forms import looks_like_date
from convtimenet.errors import DataError
from convtimenet.estimators.case_input import check_task
from convtimenet.estimators.classifier import ConvTimeNetClassifier
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.estimators.loading import load_model
from convtimenet.estimators.regressor import ConvTimeNetRegressor
from convtimenet.runs.answers import write_classes, write_numbers
from convtimenet.runs.labelled import fit_labelled, hold_out
from convtimenet.runs.result import comparison
from convtimenet.serving.workbench import recipe, tables
from convtimenet.serving.workbench.asked import Columns
from convtimenet.serving.workbench.tables import TEST, new_folder, pack

_SEED = 2023
_EACH, _LINES = 2, 8  # cases of a class in the preview, and of all
_MOST_CLASSES = 20  # of whole numbers; with more, they are numbers to predict
_SHOWN_CLASSES = 20
_ROWS = 200  # of the answers that are shown
_NAMES = 100  # first and last columns that may be given a role
_TABLES = (".csv", ".tsv", ".txt")
_LABELS = {"label", "labels", "class", "classes", "category", "case_id", "caseid"}

Roles = dict[str, Any]
"""Parameters of `read_cases` about columns."""


def kind(path: str) -> dict[str, str]:
    """What a file holds, by its ending (but that of its packing) and the names in its first
    line. A column of classes or categories may also be one of a table."""
    name = unpacked_name(path)
    labelled = name.endswith((".ts", ".arff", ".npz"))
    if name.endswith(_TABLES):
        with suppress(DataError):  # reading it says so
            first = decoded(read_bytes(Path(path))[0])[0].lstrip("\ufeff").split("\n", 1)[0].lower()
            names = {one.strip(' "\r') for one in re.split(r"[,;\t|]", first)}
            labelled = bool(_LABELS & names) and not _is_only_a_table(path)
    return {"kind": "recordings" if labelled else "table"}


def _is_only_a_table(path: str) -> bool:
    """Whether a file can be read as rows over time, and not as recordings."""
    try:
        read_cases(path)
    except DataError:
        return "error" not in tables.look(path, Columns().given())
    return False


def look(path: str, roles: Roles) -> dict[str, Any]:
    """What a file of cases holds. What cannot be read is an "error" beside the columns."""
    grid, names, others = _grid(path), [], []
    if grid is not None:
        names, numbered = list(grid.names), steps_among(grid.names)
        # without a header line the names are numbers
        others = [n for i, n in enumerate(names) if i not in numbered and number_of(n, ".") is None]
        others = _ends(others)
    found: dict[str, Any] = {
        "columns": [] if grid is None else tables.cells_of(grid, others),
        "names": [*dict.fromkeys([*_ends(names), *others])],
        "chosen": roles,
    }
    try:
        cases = read_cases(path, **roles)
    except DataError as error:
        return found | {"error": str(error)}
    if cases.labels is None:
        return found | {
            "error": "expected a label for each recording, found none; choose their column, or "
            "name it 'label'"
        }
    labels, counts = np.unique(cases.labels, return_counts=True)
    return found | {
        "task": _task(cases, len(labels)),
        "cases": len(cases.values),
        "channels": cases.values.shape[1],
        "lengths": [int(cases.lengths.min()), int(cases.lengths.max())],
        "classes": [[str(a), int(n)] for a, n in zip(labels, counts, strict=True)][:_SHOWN_CLASSES],
        "more_classes": max(0, len(labels) - _SHOWN_CLASSES),
        "missing": int(np.isnan(cases.values).sum()),
        # more likely a table that could not be read
        "doubtful": int(cases.lengths.max()) == 1
        or all(looks_like_date(str(one)) for one in labels),
        "notices": list(cases.notices),
        "chart": _chart(cases, labels),
    }


def _doubtful(cases: Cases, labels: np.ndarray) -> bool:
    """Whether a file is more likely a table that could not be read: recordings of one step, or
    dates as their labels."""
    return int(cases.lengths.max()) == 1 or all(looks_like_date(str(one)) for one in labels)


def _grid(path: str) -> Grid | None:
    """The columns of a table of cases; None for the files of the archives, which have none."""
    with suppress(DataError, ValueError):
        if unpacked_name(path).endswith(_TABLES):
            return read_grid(Path(path))
    return None


def _ends(names: list[str]) -> list[str]:
    """The first and the last of many names."""
    return names if len(names) <= 2 * _NAMES else names[:_NAMES] + names[-_NAMES:]


def train(
    path: str,
    name: str,
    task: str,
    roles: Roles,
    quality: str,
    device: str,
    folder: str,
    callbacks: Sequence[Callback],
) -> dict[str, Any]:
    """Fit, score and write everything that can be downloaded into `folder`."""
    out, classify = new_folder(folder), task == "classify"
    cases = read_cases(path, **roles)
    estimator = ConvTimeNetClassifier if classify else ConvTimeNetRegressor
    check_task(cases, estimator.task)
    model = estimator(
        quality=quality, device=device, random_state=_SEED, verbose=1, callbacks=callbacks
    )
    if classify and cases.labels is not None:
        model.check_labels(cases.labels)
    rest, test = hold_out(cases, TEST, _SEED, classes=classify)
    run = fit_labelled(model, rest, test, dataset=name)
    pack(run.model.save(out / "model"), out)
    run.write_report(out / "report.html")
    return {
        "kind": "recordings",
        "task": task,
        "title": f"{name}: {'classes' if classify else 'numbers'}",
        "notices": list(run.result.notices),
        "scores": comparison(run.result),
        **recipe.of_recordings(name, task, roles, quality),
    }


def label(path: str, folder: str, device: str, roles: Roles) -> dict[str, Any]:
    """Classes or numbers of new cases, by the model of a run; they may lack columns with a role."""
    grid = _grid(path)
    names = () if grid is None else grid.names
    own = {key: roles[key] if roles[key] in names else None for key in ("label_col", "id_col")}
    ignored = [name for name in roles["ignored_cols"] if name in names]
    out = Path(folder)
    model = load_model(out / "model", device)
    model.set_params(verbose=0)
    assert not isinstance(model, ConvTimeNetForecaster)
    cases = model.read(read_cases(path, **own, ignored_cols=ignored, labelled=False))
    if isinstance(model, ConvTimeNetClassifier):
        probabilities = model.predict_proba(cases)
        answers = write_classes(out / "answers.csv", model, cases)
        head = ["recording", "class", "probability"]
        rows = [
            [str(answer), f"{100 * float(p.max()):.1f} %"]
            for answer, p in zip(answers.tolist(), probabilities, strict=True)
        ]
    else:
        answers = write_numbers(out / "answers.csv", model, cases)
        head = ["recording", "number"]
        rows = [[f"{answer:.5g}"] for answer in answers.tolist()]
    with (out / "answers.csv").open(encoding="utf-8", newline="") as file:
        names = [row[0] for row in csv.reader(file)][1:]  # the file calls them so
    rows = [[name, *row] for name, row in zip(names, rows, strict=True)]
    table = {"head": head, "rows": rows[:_ROWS], "total": len(rows)}
    return {"table": table, "notices": list(cases.notices)}


def _task(cases: Cases, different: int) -> str:
    """Whether the labels look like classes or numbers; the user may say otherwise."""
    assert cases.labels is not None
    if cases.task is not None:
        return cases.task
    kind = cases.labels.dtype.kind
    many = different > min(_MOST_CLASSES, len(cases.labels) // 2)
    return "regress" if kind == "f" or (kind in "iu" and many) else "classify"


def _chart(cases: Cases, labels: np.ndarray) -> list[dict[str, Any]]:
    """The first channel of a few cases with different labels."""
    assert cases.labels is not None
    lines: list[dict[str, Any]] = []
    for one in labels[: _LINES // _EACH]:
        for i in np.flatnonzero(cases.labels == one)[:_EACH]:
            values = cases.values[i, 0, : cases.lengths[i]].tolist()
            y = [v if v == v else None for v in values]
            lines.append({"name": str(one), "x": list(range(len(y))), "y": y})
    return lines
