"""Run and measure one cell in this process."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convtimenet import __version__
from convtimenet.bench.checks import imported
from convtimenet.bench.machine import commit_of_package, processor
from convtimenet.bench.matrix import Cell, Matrix
from convtimenet.bench.models import Fitted
from convtimenet.bench.problems import CasesProblem, Problem, load
from convtimenet.bench.unfinished import Spent

__all__ = ["measure"]

_PACKAGES = (
    *("torch", "numpy", "scikit-learn", "aeon", "neuralforecast", "sktime", "statsforecast"),
    "statsmodels",
)


def measure(matrix: Matrix, cell: Cell, threads: int, folder: Path | None = None) -> dict[str, Any]:
    """Fit, predict and score; returns the line of the cell.

    Parameters
    ----------
    folder
        Where checkpoints and the time taken are kept, to go on from after a kill
        (`convtimenet.bench.unfinished`).

    Returns
    -------
    dict
        "cell", "command", "model" (entry and settings), "data" (`Matrix.data`), "scores",
        "naive" (scores of the seasonal-naive forecast, or of predicting the largest training
        class), "n_test",
        "cpu_seconds" and "wall_seconds" (fit and predict), "parameters", "macs",
        "peak_memory_mib", "predictions" (SHA-256), "config", "chosen",
        "notices", "versions", "commit", "machine", "date", and after kills their number, "kills":
        the seconds and the memory are then those of all starts together, steps since the last
        checkpoint twice.
    """
    torch.set_num_threads(threads)
    fit = imported(matrix.path, matrix.models[cell.model]["entry"])
    problem = _problem(matrix, cell)
    warm_up = getattr(sys.modules[fit.__module__], "warm_up", None)
    if warm_up is not None:  # compile before the clock starts
        warm_up(cell.model)
    torch.manual_seed(cell.seed)  # for networks that use torch's global generator
    data = matrix.data(cell)
    spent = Spent(folder)
    problem = replace(problem, checkpoints=spent.checkpoints)
    with spent.noted():
        fitted: Fitted = fit(problem, cell.seed, **matrix.settings(cell))
        middle = spent.clocks()
        predicted = fitted.predict()
        end = spent.clocks()
    scores = problem.scores(predicted)
    line: dict[str, Any] = {
        "cell": asdict(cell),
        "command": f"convtimenet bench run {matrix.path.name} --only {cell.key}",
        "model": matrix.fingerprint(cell),
        "data": data,
        "scores": scores,
        "naive": _naive(problem),
        "n_test": len(predicted),
    }
    for number, clock in enumerate(("cpu_seconds", "wall_seconds")):
        line[clock] = {
            "fit": round(middle[number], 3),
            "predict": round(end[number] - middle[number], 3),
        }
    return line | {
        "parameters": fitted.parameters,
        "macs": fitted.macs(),
        "peak_memory_mib": spent.peak(),
        "predictions": hash_of(predicted),
        "config": dict(fitted.config),
        "chosen": dict(fitted.chosen),
        "notices": list(fitted.notices),
        "versions": _versions(),
        "commit": commit_of_package(),
        "machine": {"processor": processor(), "threads": threads},
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        **({"kills": spent.kills} if spent.kills else {}),
    }


def hash_of(predicted: np.ndarray) -> str:
    """SHA-256 of forecasts as float32, or of labels as text."""
    if predicted.dtype.kind == "f":
        data = np.ascontiguousarray(predicted, dtype="<f4").tobytes()
    else:
        data = "\n".join(map(str, predicted.tolist())).encode()
    return hashlib.sha256(data).hexdigest()


def _problem(matrix: Matrix, cell: Cell) -> Problem:
    own = matrix.sets.get(cell.dataset, {})
    if "entry" in own:
        given = {name: value for name, value in own.items() if name != "entry"}
        return imported(matrix.path, own["entry"])(
            cell.dataset, cell.horizon, cell.protocol, **given
        )
    path = own.get("path")
    return load(cell.dataset, cell.horizon, cell.protocol, path and matrix.path.parent / Path(path))


def _naive(problem: Problem) -> dict[str, float]:
    if isinstance(problem, CasesProblem):
        assert problem.train.labels is not None
        assert problem.test.labels is not None
        labels, counts = np.unique(problem.train.labels, return_counts=True)
        return problem.scores(np.full(len(problem.test.labels), labels[counts.argmax()]))
    return problem.scores(problem.naive())


def _versions() -> dict[str, str]:
    found = {"convtimenet": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        if name.replace("scikit-learn", "sklearn") in sys.modules:
            found[name] = importlib.metadata.version(name)
    return found
