"""Run some cells of the committed results again, and compare.

    python benchmarks/evidence/recheck.py         # the cheapest cell of every variant
    python benchmarks/evidence/recheck.py --n 40  # the 40 cheapest, every variant in turn
    python benchmarks/evidence/recheck.py --only 'convtimenet.paper:ETTh1-96'
    python benchmarks/evidence/recheck.py --ours  # our own qualities only; also: make accuracy

The same predictions agree. Others do where the score lies within the spread of the seeds, three
standard deviations over the committed ones, or within 3 % where fewer than three are committed.
Another machine or another torch gives other last digits, from which trained networks drift apart,
also where all seeds give the same score: the tolerance is at least two test cases of an accuracy,
and 0.1 % of an error. Each line says its tolerance and what it is. Exits with 1 where a score does
not agree.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from convtimenet.bench import lines
from convtimenet.bench.matrix import Cell, Matrix
from convtimenet.bench.runs import run

HERE = Path(__file__).resolve().parent
MATRICES = ("matrix.toml", "small.toml")
DEVIATIONS = 3
LEAST_SEEDS = 3
SHARE = 0.03  # with fewer seeds
LEAST_CASES = 2
LEAST_SHARE = 0.001


def main() -> int:
    """Run, compare and say so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--n", type=int, help="cells of each matrix; by default one of every variant"
    )
    parser.add_argument("--only", nargs="+", default=[], help="these cells, as for bench run")
    parser.add_argument("--matrix", nargs="+", default=MATRICES, help="files beside this one")
    parser.add_argument("--ours", action="store_true", help="only models that a matrix calls ours")
    given = parser.parse_args()
    differing = 0
    for name in given.matrix:
        matrix = Matrix.read(HERE / name)
        kept, _ = lines.of_matrix(matrix, lines.read(matrix.results))
        cells = [cell for cell in matrix.cells if cell.key in kept]
        if given.ours:
            cells = [cell for cell in cells if cell.model in matrix.ours]
        if given.only:
            chosen = [one for one in cells if any(map(one.fits, given.only))]
        else:
            chosen = cheapest(cells, kept, given.n)
        if not chosen:
            continue
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "again.jsonl"
            errors = run(matrix, out, only=[cell.key for cell in chosen])
            again = lines.by_key(lines.read(out))
        for cell in chosen:
            if cell.key in errors:
                differing += 1
                print(f"{cell.key}: failed: {errors[cell.key]}")
                continue
            agrees, said = compared(cell, kept, again[cell.key])
            differing += not agrees
            print(f"{cell.key}: {said}")
    print(
        f"{differing} cells differ" if differing else "all cells agree with the committed results"
    )
    return 1 if differing else 0


def cheapest(cells: list[Cell], kept: dict[str, dict[str, Any]], n: int | None) -> list[Cell]:
    """The cheapest cells, one of every model's every variant before a second of any."""
    queues: dict[str, list[Cell]] = defaultdict(list)
    for cell in sorted(cells, key=lambda one: sum(kept[one.key]["cpu_seconds"].values())):
        queues[cell.who].append(cell)
    rounds = max(map(len, queues.values()), default=0)
    in_turn = [q[i] for i in range(rounds) for q in queues.values() if i < len(q)]
    return in_turn[: len(queues) if n is None else n]


def compared(
    cell: Cell, kept: dict[str, dict[str, Any]], again: dict[str, Any]
) -> tuple[bool, str]:
    """Whether a result agrees with the committed one, and how."""
    before = kept[cell.key]
    name, old = next(iter(before["scores"].items()))
    new = again["scores"][name]
    if again["predictions"] == before["predictions"]:
        return True, f"{name} {new:.4f}, the same predictions"
    allowed, why = tolerance(cell, kept)
    agrees = abs(new - old) <= allowed * (1 + 1e-9)  # two cases are two cases
    where = "within" if agrees else "BEYOND"
    return agrees, f"{name} {new:.4f}, committed {old:.4f}: {where} {allowed:.4f} ({why})"


def tolerance(cell: Cell, kept: dict[str, dict[str, Any]]) -> tuple[float, str]:
    """How far a score may lie from the committed one, and what that is."""
    before = kept[cell.key]
    name, old = next(iter(before["scores"].items()))
    seeds = [
        line["scores"][name]
        for line in kept.values()
        if {**line["cell"], "seed": 0} == {**before["cell"], "seed": 0}
    ]
    if len(seeds) >= LEAST_SEEDS:
        allowed = DEVIATIONS * statistics.stdev(seeds)
        why = f"{DEVIATIONS} deviations of {len(seeds)} seeds"
    else:
        allowed, why = SHARE * abs(old), f"{100 * SHARE:g} %, fewer than {LEAST_SEEDS} seeds"
    if name == "accuracy":
        least, told = LEAST_CASES / before["n_test"], f"{LEAST_CASES} test cases"
    else:
        least, told = LEAST_SHARE * abs(old), f"{100 * LEAST_SHARE:g} %"
    return (allowed, why) if allowed >= least else (least, told)


if __name__ == "__main__":
    sys.exit(main())
