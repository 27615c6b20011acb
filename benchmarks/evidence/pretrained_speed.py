"""Milliseconds a series without training, ours and Fracast's in turn; and a cold start.

python benchmarks/evidence/pretrained_speed.py --json benchmarks/results/pretrained-speed.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from convtimenet.bench.machine import processor
from convtimenet.config import ModelConfig
from convtimenet.network.reconstruction.network import SIZES
from convtimenet.network.reconstruction.pretrained import PretrainedForecaster
from convtimenet.runs.result import versions
from convtimenet.training.closed_form.guard import CHEAP

SERIES, ROUNDS, ROWS = 16, 5, 120
CASES = ((128, 24), (512, 96), (2048, 96))
COLD = """
import time
import pandas as pd
from convtimenet import ConvTimeNetForecaster
assert len(ConvTimeNetForecaster.pretrained(12).predict(pd.read_csv({path!r}))) == 12
print(time.process_time(), flush=True)
"""


def ours(context: int, horizon: int) -> Callable[[np.ndarray], None]:
    config = ModelConfig.forecasting(context_length=context, horizon=horizon, season=24, **SIZES)
    network = PretrainedForecaster(config).eval()
    if context <= CHEAP:  # in all four ways, the dearest of what the guard may choose
        network.logarithms.fill_(0.5)
        network.drift.fill_(0.5)

    def forecast(rows: np.ndarray) -> None:
        with torch.inference_mode():
            network(torch.from_numpy(rows)[:, None])

    return forecast


def main() -> int:
    """Measure and write."""
    from fracast import FracastModel  # pyright: ignore[reportMissingImports]

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    theirs = FracastModel.from_pretrained(weights="fp32")
    numbers, runs = np.random.default_rng(0), []
    for context, horizon in CASES:
        rows = numbers.normal(size=(SERIES, context)).cumsum(-1).astype(np.float32)
        mine, took = ours(context, horizon), {"ours": [], "fracast": []}
        for _ in range(ROUNDS + 1):
            begin = time.process_time()
            mine(rows)
            middle = time.process_time()
            theirs.forecast_batch(rows, horizon=horizon)
            took["fracast"].append(time.process_time() - middle)
            took["ours"].append(middle - begin)
        each = {name: 1e3 * statistics.median(own[1:]) / SERIES for name, own in took.items()}
        runs.append({"context": context, "horizon": horizon, **each})
    summary = {
        "command": "python benchmarks/evidence/pretrained_speed.py",
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "versions": versions(),
        "runs": runs,
        "cold": cold(),
    }
    flags.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return 0


def cold() -> dict[str, float]:
    """From starting Python to the first forecast, wall and CPU; its end is not counted."""
    import pandas as pd

    wall, cpu = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/sales.csv"
        times = pd.date_range("2012-01-01", periods=ROWS, freq="MS")
        sales = 50 + 10 * np.sin(np.arange(ROWS) / 2) + np.arange(ROWS) / 4
        pd.DataFrame({"month": times, "sales": sales}).to_csv(path, index=False)
        for _ in range(5):
            begin = time.monotonic()
            command = [sys.executable, "-c", COLD.format(path=path)]
            with subprocess.Popen(
                command, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            ) as process:
                assert process.stdout is not None
                cpu.append(float(process.stdout.readline()))
                wall.append(time.monotonic() - begin)
    seconds, used = statistics.median(wall), statistics.median(cpu)
    return {"rows": ROWS, "rounds": len(wall), "seconds": seconds, "cpu": used}


if __name__ == "__main__":
    sys.exit(main())
