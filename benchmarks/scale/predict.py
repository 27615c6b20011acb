"""Time, memory and outputs of forecasting many series with `convtimenet predict`.

    python benchmarks/scale/predict.py --n 1000000 --engines local --json FILE
    python benchmarks/scale/predict.py --n 100000 --engines local ray spark dask --json FILE

Writes N series of 500 days as Parquet files, fits a model with quality "fast" to some others, then
runs the command with each engine in the environment that `make scale` makes for it, and once more
locally, where it is killed half-way and started again. The outputs of all runs are compared byte by
byte. CPU seconds and memory are sampled from /proc (Linux), over all processes of a run.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import convtimenet
from convtimenet.bench.machine import commit_of_package, processor
from convtimenet.processes import cores

ROOT = Path(__file__).resolve().parents[2]
ROWS, H, SEED = 500, 28, 2023
PER_FILE = 20_000  # series
LOOK = 0.5  # seconds between samples


def series(first: int, end: int) -> pa.Table:
    """Series [first, end): a level, a week's season and noise; the same whatever the range is."""
    days = np.datetime64("2024-01-01", "us") + np.arange(ROWS) * np.timedelta64(1, "D")
    values = np.empty((end - first, ROWS), dtype=np.float32)
    for at in range(first, end, 1000):
        rng = np.random.default_rng([SEED, at])
        n = min(1000, end - at)
        level, size, phase = rng.uniform([20, 1, 0], [200, 15, 7], size=(n, 3)).T[..., None]
        season = size * np.sin(2 * np.pi * (np.arange(ROWS) + phase) / 7)
        noise = size * rng.standard_normal((n, ROWS), dtype=np.float32)
        values[at - first : at - first + n] = level + season + noise
    ids = pa.array([f"item-{i:08d}" for i in range(first, end)])
    codes = pa.array(np.repeat(np.arange(end - first, dtype=np.int32), ROWS))
    return pa.table(
        {
            "unique_id": pa.DictionaryArray.from_arrays(codes, ids),
            "ds": np.tile(days, end - first),
            "y": values.ravel(),
        }
    ).cast(pa.schema({"unique_id": pa.string(), "ds": pa.timestamp("us"), "y": pa.float32()}))


def generate(folder: Path, n: int) -> None:
    """Write N series, a file at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, n, PER_FILE):
        path = folder / f"{first // PER_FILE:05d}.parquet"
        if not path.exists():
            partial = path.with_suffix(".tmp")
            pq.write_table(series(first, min(n, first + PER_FILE)), partial)
            partial.rename(path)


def fitted(folder: Path) -> Path:
    """A model with quality "fast", fitted to series that are not forecast."""
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier run, and maybe of other code
    model = convtimenet.ConvTimeNetForecaster(h=H, quality="fast", verbose=0)
    return model.fit(series(10**8, 10**8 + 1000)).save(folder)


def tree(pid: int) -> Iterator[tuple[int, str, float, float]]:
    """The processes of a run: id, command, CPU seconds, resident megabytes."""
    parents: dict[int, tuple[int, str, float]] = {}
    tick = os.sysconf("SC_CLK_TCK")
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            text = Path(entry.path, "stat").read_text()
        except OSError:  # it has ended
            continue
        name, _, rest = text.partition("(")[2].rpartition(")")
        of = rest.split()
        parents[int(entry.name)] = int(of[1]), name, (int(of[11]) + int(of[12])) / tick
    wanted = {pid}
    while new := {one for one, of in parents.items() if of[0] in wanted} - wanted:
        wanted |= new
    for one in wanted & parents.keys():
        try:
            pages = int(Path(f"/proc/{one}/statm").read_text().split()[1])
        except OSError:
            continue
        yield one, parents[one][1], parents[one][2], pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(command: list[str], kill_at: tuple[Path, int] | None = None) -> dict[str, Any]:
    """Run a command to its end, or until a folder holds that many parts, and measure it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    begin, load = time.monotonic(), os.getloadavg()[0]
    cpu: dict[int, float] = {}
    peak: dict[int, float] = {}
    names: dict[int, str] = {}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    killed = False
    while process.poll() is None:
        for pid, name, seconds, megabytes in tree(process.pid):
            cpu[pid] = seconds
            peak[pid] = max(peak.get(pid, 0.0), megabytes)
            names[pid] = name
        if kill_at is not None and len(list(kill_at[0].glob("part-*.parquet"))) >= kill_at[1]:
            os.killpg(process.pid, signal.SIGKILL)
            killed = True
            process.wait()
            break
        time.sleep(LOOK)
    told = process.stdout.read() if process.stdout else ""
    if process.returncode and not killed:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    workers = [mb for pid, mb in peak.items() if pid != process.pid and names[pid] != "java"]
    java = [mb for pid, mb in peak.items() if names[pid] == "java"]
    return {
        "seconds": round(time.monotonic() - begin, 1),
        "cpu_seconds": round(sum(cpu.values()), 1),
        "peak_mb_of_the_command": round(peak[process.pid]),
        "peak_mb_of_a_worker": round(max(workers, default=0.0)),
        "peak_mb_of_java": round(max(java, default=0.0)),
        "load_before_and_after": [round(load, 1), round(os.getloadavg()[0], 1)],
        "said": [line for line in told.splitlines() if not line.startswith("forecasts: ")],
    }


def digest(folder: Path) -> str:
    """SHA-256 of all forecasts, in the order of the parts."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("part-*.parquet")):
        found.update(path.read_bytes())
    return found.hexdigest()


def main() -> None:
    """Measure, and write after each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20_000, help="series")
    parser.add_argument("--engines", nargs="+", default=["local", "ray", "spark", "dask"])
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--rows_per_part", type=int, default=1_000_000)
    parser.add_argument("--no_kill", action="store_true", help="without the run that is killed")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "scale")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    data, out = given.folder / f"series-{given.n}", given.folder / "forecasts"
    begin = time.monotonic()
    generate(data, given.n)
    model = fitted(given.folder / "model")
    size = sum(path.stat().st_size for path in data.glob("*.parquet"))
    found: dict[str, Any] = {
        "command": " ".join(["python benchmarks/scale/predict.py", *sys.argv[1:]]),
        "version": convtimenet.__version__,
        "commit": commit_of_package(),
        "date": datetime.date.today().isoformat(),
        "machine": {"processor": processor(), "cores": cores()},
        "packages": {name: version(name) for name in ("torch", "pyarrow", "numpy")},
        "series": given.n,
        "rows": given.n * ROWS,
        "h": H,
        "megabytes_of_input": round(size / 2**20),
        "seconds_to_write_input_and_fit": round(time.monotonic() - begin, 1),
        "runs": {},
    }

    def measured(name: str, command: list[str], kill_at: int | None = None) -> None:
        print(f"{name}: {' '.join(command)}", flush=True)
        result = run(command, None if kill_at is None else (out, kill_at))
        if kill_at is None:
            result["sha256"] = digest(out)
        else:
            result["parts_when_killed"] = len(list(out.glob("part-*.parquet")))
        found["runs"][name] = result
        digests = {one["sha256"] for one in found["runs"].values() if "sha256" in one}
        found["outputs_equal"] = len(digests) == 1
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(result), flush=True)

    settings = [str(model), str(data), "--out", str(out), "--quiet"]
    settings += ["--rows_per_part", str(given.rows_per_part), "--workers", str(given.workers)]
    for engine in given.engines:
        python = sys.executable
        if engine != "local":
            python = str(ROOT / ".cache" / f"{engine}-venv" / "bin" / "python")
        command = [python, "-m", "convtimenet", "predict", *settings, "--engine", engine]
        shutil.rmtree(out, ignore_errors=True)
        measured(engine, command)
    if not given.no_kill:
        parts = -(-given.n * ROWS // given.rows_per_part)
        command = [sys.executable, "-m", "convtimenet", "predict", *settings]
        shutil.rmtree(out, ignore_errors=True)
        measured("killed", command, max(1, parts // 2))
        measured("resumed", command)
    shutil.rmtree(out, ignore_errors=True)


if __name__ == "__main__":
    main()
