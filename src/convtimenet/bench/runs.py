"""Run all cells of a matrix that have no result with their settings yet, each in a fresh process.

A fresh process makes peak memory and CPU seconds those of the cell alone, and a crash costs only
one cell. A cell's line is written when it finishes, so a killed run can be resumed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from convtimenet import __version__
from convtimenet.bench import lines
from convtimenet.bench.matrix import Cell, Matrix
from convtimenet.errors import ConfigError
from convtimenet.progress import clock, showing

__all__ = ["estimate", "run"]


def run(
    matrix: Matrix,
    out: Path,
    *,
    only: Sequence[str] = (),
    jobs: int = 1,
    threads: int = 1,
    verbose: int = 1,
) -> dict[str, str]:
    """Run the cells that have no result yet.

    Parameters
    ----------
    out
        The JSON Lines file.
    only
        Patterns of cell names, see `Matrix.only`.
    jobs, threads
        Number of parallel cells, and threads per cell.

    Returns
    -------
    dict
        Errors by cell name; the next run retries these cells.

    Raises
    ------
    ConfigError
        If another process writes `out`, or a pattern matches no cell.
    """
    chosen = matrix.only(only)
    with lines.alone(out):
        found, outdated = lines.of_matrix(matrix, lines.read(out))
        others = _other_results(out)
        for cell in chosen:
            same = others.get(_fit_of(asdict(cell), matrix.fingerprint(cell)))
            # the name of a set of the matrix is local to it
            if cell.key not in found and same is not None and cell.dataset not in matrix.sets:
                found[cell.key] = {**same, "cell": asdict(cell)}
                lines.add(out, found[cell.key])
        left = [cell for cell in chosen if cell.key not in found]
        again = sum(cell.key in outdated for cell in left)
        costs = {cell: estimate(cell, found) or 60.0 for cell in left}
        errors: dict[str, str] = {}
        with showing("bench", verbose, at_once=True) as task:
            task.expect(round(sum(costs.values())))
            task.say(f"{len(chosen) - len(left)} of {len(chosen)} cells have a result in {out}")
            if again:
                task.say(f"{again} have one with other settings than now, and are run again")
            running: dict[Connection, tuple[Cell, BaseProcess]] = {}
            try:
                while left or running:
                    while left and len(running) < jobs:
                        started = left.pop(0)
                        connection, process = _start(matrix, started, threads)
                        running[connection] = started, process
                        task.at = ", ".join(cell.key for cell, _ in running.values())
                    for ready in wait(list(running)):
                        assert isinstance(ready, Connection)
                        cell, process = running.pop(ready)
                        line = _result(cell, ready, process)
                        lines.add(out, line)
                        task.advance(costs[cell])
                        task.say(_said(cell, line))
                        if "error" in line:
                            errors[cell.key] = line["error"]
            finally:
                for _, process in running.values():
                    process.kill()
        return errors


def estimate(cell: Cell, found: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Estimated CPU seconds of a cell, from the most similar results; None without any."""
    results = [(Cell(**line["cell"]), line) for line in found.values()]
    for alike in (
        lambda one: (one.who, one.where) == (cell.who, cell.where),
        lambda one: (one.model, one.where) == (cell.model, cell.where),
        lambda one: (one.who, one.dataset) == (cell.who, cell.dataset),
        lambda one: (one.model, one.horizon is None) == (cell.model, cell.horizon is None),
    ):
        seconds = [sum(line["cpu_seconds"].values()) for one, line in results if alike(one)]
        if seconds:
            return statistics.median(seconds)
    return None


def _other_results(out: Path) -> dict[str, dict[str, Any]]:
    """Results of the other files in the folder by `_fit_of`, so that no fit is run twice; those of
    this version and commit, since defaults change and with them what the same settings mean, and
    those with the paper's settings, which golden values hold. Changes that are not committed and
    code outside of a checkout have no name, so nothing is known to be of the same."""
    from convtimenet.bench.measure import commit_of_package

    commit, found = commit_of_package(), {}
    named = commit is not None and not commit.endswith("+")
    for path in sorted(out.parent.glob("*.jsonl")):
        try:
            own = [] if path == out else lines.read(path)
        except ConfigError:  # the file of something else, which happens to lie there
            continue
        for line in own:
            if "scores" not in line or "model" not in line:
                continue
            settled = line["model"]["settings"].get("preset") == "paper"
            code = line.get("versions", {}).get("convtimenet"), line.get("commit")
            if settled or (named and code == (__version__, commit)):
                found[_fit_of(line["cell"], line["model"])] = {**line, "taken_from": path.name}
    return found


def _fit_of(cell: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> str:
    """What is fitted to what, whatever a matrix calls the model."""
    return json.dumps([fingerprint, {**cell, "model": None, "variant": None}], sort_keys=True)


def _start(matrix: Matrix, cell: Cell, threads: int) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    # forking from a server that has done only the imports starts each process quickly
    context.set_forkserver_preload(["convtimenet.bench.measure"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(matrix, cell, threads, theirs))
    # numerical libraries read it on import
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        process.start()
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
    theirs.close()
    return ours, process


def _work(matrix: Matrix, cell: Cell, threads: int, answer: Connection) -> None:
    """Run a cell; the target of its process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        from convtimenet.bench.measure import measure

        line = measure(matrix, cell, threads)
    except Exception as error:  # noqa: BLE001 - any error of a model is the cell's result
        last = traceback.extract_tb(error.__traceback__)[-1]
        line = {
            "cell": asdict(cell),
            "error": f"{type(error).__name__}: {error}",
            "where": f"{Path(last.filename).name}:{last.lineno}",
        }
    answer.send(line)


def _end_with_parent() -> None:
    """Exit with the parent: when a run is killed, its cells must not keep running."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _result(cell: Cell, connection: Connection, process: BaseProcess) -> dict[str, Any]:
    try:
        line = connection.recv()
    except EOFError:
        line = None
    connection.close()
    process.join()
    if line is not None:
        return line
    code = process.exitcode
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    return {"cell": asdict(cell), "error": f"its process ended with {how}, without a result"}


def _said(cell: Cell, line: Mapping[str, Any]) -> str:
    if "error" in line:
        return f"{cell.key}: failed: {line['error']}"
    name, score = next(iter(line["scores"].items()))
    seconds = sum(line["cpu_seconds"].values())
    return f"{cell.key}: {name} {score:.4f}, {clock(seconds)} of CPU time"
