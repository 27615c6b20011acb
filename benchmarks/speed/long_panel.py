"""Fit and forecast a long panel: time and memory compared with neuralforecast's PatchTST.

    python benchmarks/speed/long_panel.py --json docs/results/variants/long_panel.json

5,000 generated series of 500 days; both read the same frame, train on the same number of windows of
the same context and horizon in batches of the same size, and forecast every series once. Every turn
(A B A B) runs in its own process, so that peak memory is separate. Needs the environment of `make
conformance` (neuralforecast); PatchTST has neuralforecast's default sizes.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

CONTEXT, HORIZON, BATCH = 112, 28, 256
CONTESTANTS = ("convtimenet", "PatchTST")


def panel(series: int, rows: int) -> pd.DataFrame:
    """Weekly seasons with individual amplitude, level and phase, a slow wave, and noise."""
    random = np.random.default_rng(0)
    t = np.arange(rows)
    size, level, phase = random.uniform([[1], [5], [0]], [[4], [50], [7]], (3, series))[..., None]
    y = level + size * (np.sin(2 * np.pi * (t + phase) / 7) + np.sin(t / 60 + phase))
    y += random.normal(0, 0.5, y.shape)
    return pd.DataFrame(
        {
            "unique_id": np.repeat([f"s{i}" for i in range(series)], rows),
            "ds": np.tile(pd.date_range("2024-01-01", periods=rows), series),
            "y": y.ravel(),
        }
    )


def ours(frame: pd.DataFrame, windows: int) -> Any:
    """Fit, then forecast."""
    from convtimenet import ConvTimeNetForecaster

    model = ConvTimeNetForecaster(
        HORIZON, CONTEXT, n_epochs=1, batch_size=BATCH,
        training={"epoch_size": windows, "validation_fraction": 0.0},
    ).fit(frame)  # fmt: skip
    return model, model.predict


def patchtst(frame: pd.DataFrame, windows: int) -> Any:
    """Fit, then forecast."""
    from neuralforecast import NeuralForecast  # pyright: ignore[reportMissingImports]
    from neuralforecast.models import PatchTST  # pyright: ignore[reportMissingImports]

    network = PatchTST(
        h=HORIZON, input_size=CONTEXT, max_steps=windows // BATCH, windows_batch_size=BATCH,
        inference_windows_batch_size=BATCH, batch_size=32, random_seed=1, accelerator="cpu",
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
    )  # fmt: skip
    model = NeuralForecast(models=[network], freq="D")
    model.fit(frame)
    return model, model.predict


def turn(contestant: str, series: int, rows: int, windows: int) -> dict[str, float]:
    """One fit and forecast in this process."""
    frame = panel(series, rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    _, predict = (ours if contestant == "convtimenet" else patchtst)(frame, windows)
    fitted = time.perf_counter()
    found = predict()
    done = time.perf_counter()
    name = next(c for c in found.columns if c not in ("unique_id", "ds"))
    assert len(found) == series * HORIZON
    future = panel(series, rows + HORIZON).groupby("unique_id", sort=False).tail(HORIZON)
    both = future.merge(found.reset_index(), on=["unique_id", "ds"])
    assert len(both) == len(found)
    return {
        "fit_s": fitted - begin,
        "predict_s": done - fitted,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "before_gib": before / 2**20,
        "mae": float(np.abs(both["y"].to_numpy() - both[name].to_numpy()).mean()),
    }


def main() -> None:
    """Run the turns in separate processes, and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--series", type=int, default=5000)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--windows", type=int, default=32_768)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--turn", choices=CONTESTANTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.turn:
        logging.disable(logging.INFO)
        found = turn(given.turn, given.series, given.rows, given.windows)
        print("RESULT", json.dumps(found))
        return
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
    sizes = [f"--{k}={getattr(given, k)}" for k in ("series", "rows", "windows")]
    for _ in range(given.rounds):
        for name in CONTESTANTS:
            command = [sys.executable, __file__, "--turn", name, *sizes]
            threads = {"OMP_NUM_THREADS": str(given.threads)}
            output = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | threads
            ).stdout
            line = next(x for x in output.splitlines() if x.startswith("RESULT "))
            turns[name].append(json.loads(line.removeprefix("RESULT ")))
            print(name, turns[name][-1], flush=True)
    medians = {
        name: {key: statistics.median(one[key] for one in found) for key in found[0]}
        for name, found in turns.items()
    }
    packages = ("convtimenet", "torch", "neuralforecast", "pandas", "numpy")
    record = {
        "command": " ".join(["python", "benchmarks/speed/long_panel.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "load": os.getloadavg(),
        },
        "versions": {name: version(name) for name in packages},
        "series": given.series,
        "rows": given.rows,
        "windows": given.windows,
        "context": CONTEXT,
        "horizon": HORIZON,
        "batch": BATCH,
        "threads": given.threads,
        "turns": turns,
        "medians": medians,
    }
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
