"""Training memory with 862 channels and batches of 32 windows, under several budgets.

    python benchmarks/speed/wide_memory.py --json benchmarks/results/wide-memory.json

The paper's network for Traffic (context 336, horizon 96) trains on a generated table for a few
batches, each budget in its own process: predicted peak, measured peak and time. For comparison, a
training step of the authors' network (sktime's port), as `speed.py` times it, with `--authors`
windows, because 32 do not fit into 24 GB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing.cases import CASES
from timing.contestants import BASELINE, build
from timing.machine import high_water, machine, versions

from convtimenet import ConvTimeNetForecaster

CHANNELS, BATCH, BATCHES = 862, 32, 3
CONTEXT, HORIZON = 336, 96


def main() -> None:
    """Measure every budget and the authors' step; print and save the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budgets", nargs="+", type=float, default=[16, 4, 2], help="GiB")
    parser.add_argument("--authors", type=int, default=8, help="windows in the authors' batch")
    parser.add_argument("--json", type=Path, required=True, help="write the results to this file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(2)
    if given.one:
        print(json.dumps(authors(given.authors) if given.one == "authors" else ours(given.one)))
        return
    records = []
    for one in (*map(str, given.budgets), "authors"):
        command = [sys.executable, __file__, "--one", one, "--authors", str(given.authors)]
        command += ["--json", str(given.json)]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        records.append(json.loads(found.splitlines()[-1]))
        print(records[-1], flush=True)
    report = {
        "command": "python benchmarks/speed/wide_memory.py "
        + " ".join(["--json", given.json.name, "--budgets", *map(str, given.budgets)])
        + f" --authors {given.authors}",
        "machine": machine(),
        "versions": versions(),
        "records": records,
    }
    given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def ours(budget: str) -> dict[str, Any]:
    """A fit of a few batches within a budget (GiB)."""
    rows = CONTEXT + HORIZON - 1 + BATCH * BATCHES
    table = np.random.default_rng(0).normal(size=(rows, CHANNELS)).cumsum(0)
    training = {"memory_budget": float(budget), "epochs": 1, "batch_size": BATCH}
    model = ConvTimeNetForecaster(HORIZON, CONTEXT, preset="Traffic", training=training, verbose=0)
    before, begin = high_water(reset=True), time.monotonic()
    model.fit(table, split=(rows, rows))
    seconds = time.monotonic() - begin
    predicted = model.history_.predicted_peak
    assert predicted is not None
    return {
        "model": "convtimenet",
        "budget_gib": float(budget),
        "windows": BATCH,
        "predicted_gb": predicted / 1e9,
        "peak_gb": (high_water() - before) / 1e9,
        "seconds_per_batch": seconds / BATCHES,
    }


def authors(windows: int) -> dict[str, Any]:
    """Two steps of the authors' network."""
    step = build(BASELINE, replace(CASES["F2"], batch=windows), "train").step
    before = high_water(reset=True)
    step()
    begin = time.monotonic()
    step()
    return {
        "model": "authors",
        "windows": windows,
        "peak_gb": (high_water() - before) / 1e9,
        "seconds_per_batch": time.monotonic() - begin,
    }


if __name__ == "__main__":
    main()
