"""Fit a table of 10,000,000 rows: memory and time, read in parts and read as a frame.

    OMP_NUM_THREADS=1 python benchmarks/scale/train_large.py --json scale-train.json

Writes generated series of 1,000 hours to one Parquet file, series by series, and fits it
with quality "fast", the last 3 % held out, and with "auto", bounded to one epoch of 2,048 windows,
one held-out window of each series and no second training. Each fit is in a process of its own: from
the file, which is read in parts whatever its size, and from a pyarrow table of its rows, if the
memory is enough for it; and by two processes together from the file, of which the first is
described. A thread samples /proc/self/status every 50 ms. The hash of a model is over its weights,
scaler and forecasts. Runs that the JSON file has of the same rows, fits, packages and commit are
not repeated; a file of others, or of code that is not committed, is begun anew.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convtimenet import processes
from convtimenet.bench.machine import commit_of_package
from convtimenet.data.large import parts
from convtimenet.network.memory import available

HORIZON, ROWS = 24, 1_000
FRAME, BASE = 140, 4e8
"""Bytes that a fit to a frame takes: for each row (135 measured), and for Python and torch."""
FITS: dict[str, dict[str, Any]] = {
    "fast": {"quality": "fast", "training": {"validation_fraction": 0.03}},
    "auto": {
        "quality": "auto",
        "n_epochs": 1,
        "refit": False,
        "training": {"epoch_size": 2048, "validation_fraction": 0.001},
    },
}
WAYS = ("in parts", "frame", "two processes")
SAME = ("rows", "fits", "commit", "versions", "threads")
"""What the runs of a record have in common."""


def left_out(rows: int, free: float) -> dict[str, str]:
    """Ways that need more than the free bytes of memory, with the reason."""
    need = FRAME * rows + BASE
    if need <= free:
        return {}
    sizes = f"about {need / 2**30:,.0f} GiB, and {free / 2**30:,.0f} GiB are free"
    return {"frame": f"not run: {rows:,} rows as a frame need {sizes}"}


def known_runs(path: Path | None, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs in a file, if they are what would be run now; else none."""
    commit = facts["commit"]
    if path and path.exists() and commit is not None and not commit.endswith("+"):
        known = json.loads(path.read_text(encoding="utf-8"))
        if all(known.get(name) == facts[name] for name in SAME):
            return known["runs"]
    return []


def write(path: Path, series: int) -> None:
    """Daily seasons of individual amplitude, level and phase, and noise; seeded for each series."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema(
        [("unique_id", pa.string()), ("ds", pa.timestamp("us")), ("y", pa.float64())]
    )
    hours = np.datetime64("2024-01-01", "us") + np.arange(ROWS) * np.timedelta64(1, "h")
    with parquet.ParquetWriter(path, schema) as file:
        for first in range(0, series, 100):
            numbers = range(first, min(series, first + 100))
            values = []
            for number in numbers:
                random = np.random.default_rng(number)
                size, level, phase = random.uniform([1, 5, 0], [4, 50, 24])
                season = np.sin(2 * np.pi * (np.arange(ROWS) + phase) / 24)
                values.append(level + size * season + random.normal(0, 0.5, ROWS))
            ids = np.repeat([f"s{number:07d}" for number in numbers], ROWS)
            columns = [ids.tolist(), np.tile(hours, len(numbers)), np.concatenate(values)]
            file.write_table(pa.table(columns, schema=schema))


def sample(peaks: dict[str, int], done: threading.Event) -> None:
    """The largest numbers of kB in the lines of /proc/self/status about resident memory."""
    while not done.wait(0.05):
        for line in Path("/proc/self/status").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in ("VmRSS", "RssAnon", "RssFile", "RssShmem"):
                peaks[name] = max(peaks.get(name, 0), int(rest.split()[0]))


def child(path: Path, way: str, quality: str) -> dict[str, Any]:
    """Fit and forecast once."""
    from pyarrow import parquet

    from convtimenet import ConvTimeNetForecaster

    peaks: dict[str, int] = {}
    done = threading.Event()
    thread = threading.Thread(target=sample, args=(peaks, done), daemon=True)
    thread.start()
    begin, cpu = time.perf_counter(), time.process_time()
    parts.LARGE = 1  # else a small file would be read as a whole
    source = parquet.read_table(path) if way == "frame" else str(path)
    model = ConvTimeNetForecaster(HORIZON, verbose=0, **FITS[quality]).fit(source)
    seconds, used = time.perf_counter() - begin, time.process_time() - cpu
    forecast = model.forecast_table(model.tail_)
    done.set()
    thread.join()
    each = [float(one) for one in processes.all_of(torch.tensor([used]))]
    digest = hashlib.sha256()
    for one in model.network_.state_dict().values():
        digest.update(one.detach().numpy().tobytes())
    for one in (model.scaler_.centre, model.scaler_.scale, forecast):
        digest.update(np.ascontiguousarray(one).tobytes())
    return {
        "way": way,
        "quality": quality,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used, 1),
        "cpu_seconds_of_each_process": [round(one, 1) for one in each],
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "sampled_peak_mib": {name: round(kb / 1024) for name, kb in peaks.items()},
        "series": len(model.tail_.ids),
        "windows": model.n_examples_,
        "context": model.network_.config.context_length,
        "network": type(model.network_).__name__,
        "model_sha256": digest.hexdigest(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--rows", type=int, default=10_000_000, help=f"made up to series of {ROWS:,}"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, help="where the file is written, and kept")
    parser.add_argument("--qualities", nargs="+", default=[*FITS])
    parser.add_argument("--ways", nargs="+", default=[*WAYS])
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.child:
        together = processes.started_by_torchrun()
        with processes.joined() if together else contextlib.nullcontext():
            found = child(Path(flags.child[0]), *flags.child[1:])
            if processes.leads():
                print(json.dumps(found))
        return
    series = -(-flags.rows // ROWS)
    facts: dict[str, Any] = {
        "rows": series * ROWS,
        "fits": FITS,
        "commit": commit_of_package(),
        "versions": {n: version(n) for n in ("convtimenet", "torch", "numpy", "pyarrow")},
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
    }
    runs = known_runs(flags.json, facts)
    without = left_out(facts["rows"], available(torch.device("cpu")))
    for way in set(flags.ways) & set(without):
        print(f"{way}: {without[way]}", flush=True)
    pairs = [
        (quality, way)
        for quality, way in product(flags.qualities, flags.ways)
        if way not in without
        and not any((one["quality"], one["way"]) == (quality, way) for one in runs)
    ]
    print(f"{facts['rows']:,} rows: {len(runs)} runs known, {len(pairs)} to do", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = (flags.folder or Path(folder)) / f"series-{series}.parquet"
        if pairs and not path.exists():
            write(path, series)
        for quality, way in pairs:
            start = [sys.executable]
            if way == "two processes":
                start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
            command = [*start, __file__, "--child", str(path), way, quality]
            found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            runs.append(json.loads(found.stdout.splitlines()[-1]))
            print(json.dumps(runs[-1]), flush=True)
            record = {
                "command": " ".join(["python benchmarks/scale/train_large.py", *sys.argv[1:]]),
                "date": datetime.now(UTC).date().isoformat(),
                "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared with other work",
                **facts,
                "file_bytes": path.stat().st_size,
                "left_out": without,
                "runs": runs,
            }
            if flags.json:
                flags.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
