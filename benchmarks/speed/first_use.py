"""Time the first forecast of a fresh process, and the instruction-set levels of a wheel.

    make wheel
    python benchmarks/speed/first_use.py --json benchmarks/results/kernels-first-use-DATE.json

First use: a small forecaster is saved, and each measurement is a fresh process that loads it and
forecasts twice. Compared, interleaved: the wheel, an empty cache with a compiler, the cache filled
by that, and plain torch. CPU seconds include the compiler. Levels: one process loads the wheel's
libraries that the processor supports, one compiled for it (`-march=native`) and plain torch, and
times a training step and inference in float32 and in eight bits, interleaved: 32 windows of 7
channels, 336 to 96 steps, one thread, CPU time of the process. Takes two minutes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from convtimenet import ConvTimeNetForecaster, ModelConfig
from convtimenet.network.inference import fuse
from convtimenet.network.kernels import build, library
from convtimenet.network.model import ConvTimeNet

_FIRST = """
import os, sys, time
import torch
from convtimenet import ConvTimeNetForecaster, warm_up
torch.set_num_threads(1)
model = ConvTimeNetForecaster.load(sys.argv[1])
clock, cpu = time.perf_counter(), sum(os.times()[:4])
model.predict()
first = time.perf_counter() - clock, sum(os.times()[:4]) - cpu
clock = time.perf_counter()
model.predict()
print(*first, time.perf_counter() - clock, warm_up().level)
"""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    given = parser.parse_args()
    wheels = list(Path("dist").glob("convtimenet-*_x86_64.whl"))
    if len(wheels) != 1:
        raise SystemExit(f"expected one wheel in dist/, found {len(wheels)}; run `make wheel`")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with zipfile.ZipFile(wheels[0]) as archive:
            archive.extractall(folder / "wheel")
        record = {
            "date": datetime.now(UTC).date().isoformat(),
            "command": f"python benchmarks/speed/first_use.py --runs {given.runs}",
            "torch": torch.__version__,
            "processor": _processor(),
            "load": os.getloadavg()[0],
            "wheel": {"name": wheels[0].name, "bytes": wheels[0].stat().st_size},
            "first_use": _first_use(folder, given.runs),
            "levels": _levels(folder, 2 * given.runs),
        }
    text = json.dumps(record, indent=1)
    print(text)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")


def _processor() -> str:
    lines = build.CPUINFO.read_text(encoding="utf-8").splitlines()
    name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{name}, fits {' '.join(level.name for level in build.fitting())}"


def _first_use(folder: Path, runs: int) -> dict[str, object]:
    """Seconds of the first and the second forecast, and the level in use."""
    waves = np.sin(np.arange(500)[:, None] / np.arange(2, 9))
    model = ConvTimeNetForecaster(h=96, input_size=336, n_epochs=1, device="cpu", verbose=0)
    model.fit(waves).save(folder / "model")
    bare = folder / "bare"  # the same package without its libraries
    with zipfile.ZipFile(next(Path("dist").glob("*.whl"))) as archive:
        archive.extractall(bare, [name for name in archive.namelist() if "/built/" not in name])
    cases: dict[str, dict[str, str]] = {
        "wheel": {"PYTHONPATH": str(folder / "wheel")},
        "compiled at first use": {"PYTHONPATH": str(bare)},
        "compiled before": {"PYTHONPATH": str(bare)},
        "plain torch": {"PYTHONPATH": str(bare), "CONVTIMENET_NATIVE": "0"},
    }
    seen: dict[str, list[dict[str, object]]] = {name: [] for name in cases}
    for run in range(runs):
        for name, environment in cases.items():
            cache = folder / f"cache-{run}"
            done = subprocess.run(
                [sys.executable, "-c", _FIRST, str(folder / "model")],
                env=os.environ | environment | {"XDG_CACHE_HOME": str(cache)},
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            clock, cpu, second, level = done.stdout.split()
            seen[name].append(
                {
                    "level": level,
                    "clock": round(float(clock), 4),
                    "cpu": round(float(cpu), 4),
                    "second_clock": round(float(second), 4),
                }
            )
    return {
        name: {
            "level": found[0]["level"],
            **{
                key: statistics.median(float(str(one[key])) for one in found)
                for key in ("clock", "cpu", "second_clock")
            },
            "runs": found,
        }
        for name, found in seen.items()
    }


def _levels(folder: Path, rounds: int) -> dict[str, object]:
    """CPU milliseconds of the same work with each library."""
    alone = folder / "native.so"
    build.compile_library(alone, build.compiler_words(), build.NATIVE)
    shipped = folder / "wheel" / "convtimenet" / "network" / "kernels" / "built"
    paths = {level.name: shipped / f"{level.name}.so" for level in build.fitting()}
    handles: dict[str, ctypes.CDLL | None] = {
        name: ctypes.CDLL(str(path)) for name, path in {"native": alone, **paths}.items()
    }
    handles["plain torch"] = None
    torch.manual_seed(0)
    model = ConvTimeNet(
        ModelConfig.forecasting(
            context_length=336, horizon=96, d_model=64, d_ff=256, kernel_sizes=(29, 31, 37, 43)
        )
    )
    x = torch.randn(32, 7, 336)
    whole, eight = fuse(model.eval()), fuse(model, "int8")
    model.train()

    def step() -> None:
        model.zero_grad()
        model(x).square().mean().backward()

    work: dict[str, Callable[[], object]] = {
        "training step": step,
        "answers, float32": torch.inference_mode()(lambda: whole(x)),
        "answers, int8": torch.inference_mode()(lambda: eight(x)),
    }
    seen = {what: {name: [] for name in handles} for what in work}
    for _ in range(rounds + 1):
        for name, handle in handles.items():
            library._used = library.Kernels(name, handle=handle)
            for what, run in work.items():
                start = time.process_time()
                run()
                seen[what][name].append(round(1e3 * (time.process_time() - start), 3))
    return {
        what: {
            name: {"median": statistics.median(times[1:]), "runs": times[1:]}
            for name, times in found.items()
        }
        for what, found in seen.items()
    }


if __name__ == "__main__":
    main()
