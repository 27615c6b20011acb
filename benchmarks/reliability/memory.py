"""Peak memory of forecasting many series with one small model.

    python benchmarks/reliability/memory.py                   # 100,000 series
    python benchmarks/reliability/memory.py --n 10000

A model for any number of channels is saved, and a fresh process loads it and forecasts a table of N
channels. Reported are its peak resident memory, its memory before the call, and the size of the
table. --json writes the results.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from convtimenet import ConvTimeNetForecaster
from convtimenet.runs.result import versions

ROWS, HORIZON = 96, 24


def main() -> None:
    """Save a model, measure a process that forecasts with it, write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, default=100_000, help="series")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--model", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.model is not None:
        print(json.dumps(measured(given.model, given.n)))
        return
    waves = np.sin(np.arange(400)[:, None] / np.array([3.0, 5.0]))
    with tempfile.TemporaryDirectory() as folder:
        model = ConvTimeNetForecaster(
            h=HORIZON, input_size=ROWS, scale=False, n_epochs=1, device="cpu", verbose=0
        ).fit(waves)
        saved = str(model.save(Path(folder) / "model"))
        command = [sys.executable, __file__, "--n", str(given.n), "--model", saved]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    config = model.network_.config
    result = {
        "command": " ".join(["python", "benchmarks/reliability/memory.py", *sys.argv[1:]]),
        "versions": versions(),
        "series": given.n,
        "context": ROWS,
        "horizon": HORIZON,
        "network": {"d_model": config.d_model, "blocks": len(config.kernel_sizes)},
        **found,
    }
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{given.n} series: {found['peak_mib']} MiB, {found['seconds']} s")


def measured(folder: str, n: int) -> dict[str, float]:
    """Forecast n series and measure this process."""
    model = ConvTimeNetForecaster.load(folder, device="cpu")
    table = np.random.default_rng(0).normal(size=(ROWS, n)).cumsum(0)
    model.forecast(table[:, :10])  # warm-up: loads what the first use loads
    before, begin = peak(), time.monotonic()
    answers = model.forecast(table)
    assert answers.shape == (HORIZON, n)
    assert np.isfinite(answers).all()
    return {
        "table_mib": round(table.nbytes / 2**20),
        "before_mib": before,
        "peak_mib": peak(),
        "seconds": round(time.monotonic() - begin, 1),
    }


def peak() -> int:
    """Largest resident memory so far, MiB (Linux counts in KiB, macOS in bytes)."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20


if __name__ == "__main__":
    main()
