"""Run all cells of a matrix that have no result with their settings yet, each in a fresh process.

A fresh process makes peak memory and CPU seconds those of the cell alone, and a crash costs only
one cell. A cell's line is written when it finishes, so a killed run can be resumed; a long cell
goes on from its checkpoints.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from convtimenet import __version__
from convtimenet.bench import lines, unfinished
from convtimenet.bench.estimates import Costs
from convtimenet.bench.machine import commit_of_package
from convtimenet.bench.matrix import Cell, Matrix
from convtimenet.errors import ConfigError
from convtimenet.progress import clock, showing

__all__ = ["Plan", "run"]


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
        If another process writes `out`, a pattern matches no cell, or a cell cannot run.
    """
    chosen = matrix.only(only)
    with lines.alone(out):
        plan = Plan.of(matrix, chosen, out)
        for line in plan.taken:
            lines.add(out, line)
        left = list(plan.left)
        again = sum(cell.key in plan.outdated for cell in left)
        costs = {cell: seconds or 60.0 for cell, seconds in plan.costs.items()}
        errors: dict[str, str] = {}
        with showing("bench", verbose, at_once=True) as task:
            task.expect(round(sum(costs.values())))
            task.say(f"{len(chosen) - len(left)} of {len(chosen)} cells have a result in {out}")
            if again:
                task.say(
                    f"{again} have one with other settings or data than now, and are run again"
                )
            running: dict[Connection, tuple[Cell, BaseProcess]] = {}
            try:
                while left or running:
                    while left and len(running) < jobs:
                        started = left.pop(0)
                        kept = unfinished.folder_of(out, matrix, started, plan.costs[started])
                        if kept is not None and kept.exists():
                            task.say(f"{started.key} goes on from where it was stopped")
                        connection, process = _start(matrix, started, threads, kept)
                        running[connection] = started, process
                        task.at = ", ".join(cell.key for cell, _ in running.values())
                    for ready in wait(list(running)):
                        assert isinstance(ready, Connection)
                        cell, process = running.pop(ready)
                        line = _result(cell, ready, process)
                        lines.add(out, line)
                        if "error" not in line or "where" in line:  # not if it was killed
                            unfinished.remove(out, cell)
                        task.advance(costs[cell])
                        task.say(_said(cell, line))
                        if "error" in line:
                            errors[cell.key] = line["error"]
            finally:
                for _, process in running.values():
                    process.kill()
        return errors


@dataclass(frozen=True)
class Plan:
    """What a run of a matrix has to do.

    Attributes
    ----------
    taken
        Lines of other files for cells that have none here, so that no fit is run twice.
    left
        The cells to run, in their order.
    outdated
        Names of cells that have only results of other settings.
    costs
        Estimated CPU seconds of the cells to run; None where nothing like them has run.
    """

    taken: list[dict[str, Any]]
    left: list[Cell]
    outdated: list[str]
    costs: dict[Cell, float | None]

    @classmethod
    def of(cls, matrix: Matrix, chosen: Sequence[Cell], out: Path) -> Plan:
        """The plan for some cells of a matrix, with the results that lie in `out` and beside it.

        Raises
        ------
        ConfigError
            If a cell cannot run (`Matrix.check_runnable`).
        """
        found, outdated = lines.of_matrix(matrix, lines.read(out))
        beside = _lines_beside(out)
        others, taken = _same_fits(beside), []
        for cell in chosen:
            same = others.get(_fit_of(asdict(cell), matrix.fingerprint(cell)))
            # the name of a set of the matrix is local to it
            if cell.key not in found and same is not None and cell.dataset not in matrix.sets:
                found[cell.key] = {**same, "cell": asdict(cell)}
                taken.append(found[cell.key])
        left = [cell for cell in chosen if cell.key not in found]
        matrix.check_runnable(left)
        costs = Costs(found.values(), beside)
        return cls(
            taken, left, outdated, {one: costs.of(one, matrix.fingerprint(one)) for one in left}
        )


def _lines_beside(out: Path) -> list[dict[str, Any]]:
    """The lines with scores of the other files in the folder."""
    found: list[dict[str, Any]] = []
    for path in sorted(out.parent.glob("*.jsonl")):
        try:
            own = [] if path == out else lines.read(path)
        except ConfigError:  # the file of something else, which happens to lie there
            continue
        found += [
            {**line, "taken_from": path.name}
            for line in own
            if "scores" in line and "model" in line
        ]
    return found


def _same_fits(beside: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Results on registered sets by `_fit_of` that count here too: those of this version and
    commit, since defaults change and with them what the same settings mean, and those with the
    paper's settings, which golden values hold. Changes that are not committed and code outside of a
    checkout have no name, so nothing is known to be of the same."""
    commit, found = commit_of_package(), {}
    named = commit is not None and not commit.endswith("+")
    for line in beside:
        settled = line["model"]["settings"].get("preset") == "paper"
        code = line.get("versions", {}).get("convtimenet"), line.get("commit")
        if line.get("data") is None and (settled or (named and code == (__version__, commit))):
            found[_fit_of(line["cell"], line["model"])] = line
    return found


def _fit_of(cell: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> str:
    """What is fitted to what, whatever a matrix calls the model."""
    return json.dumps([fingerprint, {**cell, "model": None, "variant": None}], sort_keys=True)


def _start(
    matrix: Matrix, cell: Cell, threads: int, kept: Path | None
) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    # forking from a server that has done only the imports starts each process quickly
    context.set_forkserver_preload(["convtimenet.bench.measure"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(matrix, cell, threads, kept, theirs))
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


def _work(matrix: Matrix, cell: Cell, threads: int, kept: Path | None, answer: Connection) -> None:
    """Run a cell; the target of its process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        from convtimenet.bench.measure import measure

        line = measure(matrix, cell, threads, kept)
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
