"""Run and measure one cell in this process."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import resource
import sys
import time
from dataclasses import asdict
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

__all__ = ["measure"]

_PACKAGES = (
    *("torch", "numpy", "scikit-learn", "aeon", "neuralforecast", "sktime", "statsforecast"),
    "statsmodels",
)


def measure(matrix: Matrix, cell: Cell, threads: int) -> dict[str, Any]:
    """Fit, predict and score; returns the line of the cell.

    Returns
    -------
    dict
        "cell", "command", "model" (entry and settings), "data" (`Matrix.data`), "scores",
        "naive" (scores of the seasonal-naive forecast, or of predicting the largest training
        class), "n_test",
        "cpu_seconds" and "wall_seconds" (fit and predict), "parameters", "macs",
        "peak_memory_mib", "predictions" (SHA-256), "config", "chosen",
        "notices", "versions", "commit", "machine", "date".
    """
    torch.set_num_threads(threads)
    fit = imported(matrix.path, matrix.models[cell.model]["entry"])
    problem = _problem(matrix, cell)
    warm_up = getattr(sys.modules[fit.__module__], "warm_up", None)
    if warm_up is not None:  # compile before the clock starts
        warm_up(cell.model)
    torch.manual_seed(cell.seed)  # for networks that use torch's global generator
    data = matrix.data(cell)
    begin = _clocks()
    fitted: Fitted = fit(problem, cell.seed, **matrix.settings(cell))
    middle = _clocks()
    predicted = fitted.predict()
    end = _clocks()
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
            "fit": round(middle[number] - begin[number], 3),
            "predict": round(end[number] - middle[number], 3),
        }
    return line | {
        "parameters": fitted.parameters,
        "macs": fitted.macs(),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "predictions": hash_of(predicted),
        "config": dict(fitted.config),
        "chosen": dict(fitted.chosen),
        "notices": list(fitted.notices),
        "versions": _versions(),
        "commit": commit_of_package(),
        "machine": {"processor": processor(), "threads": threads},
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
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


def _clocks() -> tuple[float, float]:
    """CPU seconds of this process and its children so far, and a wall clock."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime, time.perf_counter()


def _versions() -> dict[str, str]:
    found = {"convtimenet": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        if name.replace("scikit-learn", "sklearn") in sys.modules:
            found[name] = importlib.metadata.version(name)
    return found
