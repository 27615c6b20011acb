"""``convtimenet bench``: run the cells of a matrix, list those left to run, or report on them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from convtimenet.cli.outputs import make_console, took, wrote
from convtimenet.errors import ConfigError, DataError
from convtimenet.files import check_writable
from convtimenet.progress import clock

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from convtimenet.bench.matrix import Cell, Matrix

_UNUSED = {
    "run": {"report": None},
    "report": {"jobs": None, "threads": 1, "dry_run": False, "quiet": False},
}
"""Flags that an action has no use for, with their defaults."""


def bench_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet bench`."""
    add = parser.add_argument
    add("action", type=Literal["run", "report"], help="measure cells, or write tables and pictures")
    add("matrix", type=str, metavar="FILE", help="the matrix of cells, as TOML")
    add(
        "--only",
        type=str,
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="cells to run or show, as 'ridge:ETTh1-*' or 'convtimenet.paper:*:honest:1'",
    )
    add(
        "--out",
        type=str | None,
        metavar="FILE",
        help="JSON lines file of results; by default NAME.jsonl in the folder set in the matrix",
    )
    add(
        "--report",
        type=str | None,
        metavar="FOLDER",
        help="folder of the report; by default that of the JSON lines",
    )
    add("--jobs", type=int | None, help="cells to run at the same time; by default one per core")
    add("--threads", type=int, default=1, help="threads per cell")
    add("--dry_run", action="store_true", help="list the cells to run, and their estimated cost")
    add("--quiet", action="store_true", help="show no progress")


def run_bench(flags: Any) -> None:
    """Run the cells of a matrix, or report on them."""
    begin = time.monotonic()
    for name in ("jobs", "threads"):
        if flags[name] is not None and flags[name] < 1:
            raise ConfigError(f"--{name} must be at least 1, found {flags[name]}")
    unused = _UNUSED[flags.action]
    if useless := [name for name, default in unused.items() if flags[name] != default]:
        raise ConfigError(
            f"bench {flags.action} has no use for --{', --'.join(useless)}; leave it out"
        )
    from convtimenet.bench.matrix import Matrix

    matrix, console = Matrix.read(flags.matrix), make_console()
    out = Path(flags.out or matrix.results)
    chosen = matrix.only(flags.only)
    if flags.action == "report":
        from convtimenet.bench.report import write_report

        for what, where in write_report(matrix, chosen, out, Path(flags.report or out.parent)):
            wrote(console, what, where)
        return
    if flags.dry_run:
        _list_cells(matrix, chosen, out)
        return
    from convtimenet.bench.runs import run
    from convtimenet.processes import cores

    check_writable("--out", out)
    errors = run(
        matrix,
        out,
        only=flags.only,
        jobs=flags.jobs or max(1, cores() // flags.threads),
        threads=flags.threads,
        verbose=0 if flags.quiet else 1,
    )
    wrote(console, f"results of {len(chosen) - len(errors)} cells", out)
    took(console, begin)
    if errors:
        raise DataError(
            f"{len(errors)} cells failed, the first with: {next(iter(errors.values()))}; the same "
            "command tries them again"
        )


def _list_cells(matrix: Matrix, chosen: Sequence[Cell], out: Path) -> None:
    """Print the cells to run and their estimated cost."""
    from convtimenet.bench.runs import Plan

    console, plan = make_console(), Plan.of(matrix, chosen, out)
    for cell, seconds in plan.costs.items():
        known = "unknown cost" if seconds is None else f"about {clock(seconds)} of CPU time"
        known += ", as its result is of other settings or data" if cell.key in plan.outdated else ""
        console.print(f"{cell.key}: {known}", soft_wrap=True)
    unknown = sum(seconds is None for seconds in plan.costs.values())
    if plan.taken:
        console.print(f"{len(plan.taken)} cells have run for other files and are taken from there")
    console.print(
        f"{len(plan.left)} of {len(chosen)} cells to run: about "
        f"{clock(sum(filter(None, plan.costs.values())))} of CPU time"
        + (f", and {unknown} of unknown cost" if unknown else "")
    )
