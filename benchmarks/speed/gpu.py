"""All checks and measurements that need a GPU, in at most eight minutes: `make gpu`.

    python benchmarks/speed/gpu.py  # to benchmarks/results/gpu-DEVICE.json
    python benchmarks/speed/gpu.py --out FOLDER --limit 480 --parts tests speed profile

The parts, each in its own process with its share of the time limit: the tests marked `gpu`;
training and evaluation of F1 and of 862 channels (F2x32) against the authors' network, with peak
memory (`speed.py --device cuda`); the kernels that dominate a training step. The file is rewritten
after each part, so an interruption only loses the part that was running. Without a CUDA device
it says so and changes nothing.

Nothing is installed: the interpreter needs torch with CUDA and this project's test packages; the
authors' network needs sktime. `make gpu-packages` downloads what a bare CUDA image lacks into
.cache/gpu-wheels; if that folder exists, `make gpu` unpacks it and adds it to the path.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SHARES = {"tests": 0.3, "speed": 0.6, "profile": 0.1}
"""Shares of the time limit; time left over by a part goes to the next."""
SHOWN = 20  # kernels of the profile


def gpu_name() -> str | None:
    """The device's name; None if torch finds none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def run(command: Sequence[str], seconds: float) -> dict[str, Any]:
    """A command's exit status, time and last lines; status None if it was stopped for its time."""
    started = time.monotonic()
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        printed, _ = process.communicate(timeout=max(1.0, seconds))
        status = process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        printed, _ = process.communicate()
        status = None
    print(printed, flush=True)
    return {
        "status": status,
        "seconds": round(time.monotonic() - started, 1),
        "lines": printed.splitlines()[-60:],
    }


def tests(seconds: float) -> dict[str, Any]:
    """The tests marked `gpu`."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    return {"tests": run(command, seconds)}


def speed(seconds: float) -> dict[str, Any]:
    """`speed.py` on the two cases; its report, possibly incomplete."""
    raw = Path(tempfile.mkdtemp()) / "speed.json"
    flags = ["--device", "cuda", "--case", "F1", "F2x32", "--phases", "train", "eval", "--memory"]
    flags += ["--models", "convtimenet", "authors", "--rounds", "5", "--turn", "0.2"]
    flags += ["--precision", "fp32", "bf16", "--json", str(raw)]
    found = run([sys.executable, str(ROOT / "benchmarks/speed/speed.py"), *flags], seconds)
    report = json.loads(raw.read_text(encoding="utf-8")) if raw.is_file() else {}
    shutil.rmtree(raw.parent)
    return {**report, "speed": {key: found[key] for key in ("status", "seconds")}}


def profile(seconds: float) -> dict[str, Any]:
    """Where a training step of F1 spends its time."""
    found = run([sys.executable, str(Path(__file__).resolve()), "--profile-here"], seconds)
    rows = [line for line in found["lines"] if line.startswith("{")]
    return {"profile": json.loads(rows[-1]) if rows else found}


def profile_here() -> None:
    """Print the profile as one line of JSON."""
    import torch
    from timing import machine
    from timing.cases import CASES
    from timing.contestants import OURS, Entry, build
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    machine.use("cuda")
    steps = {}
    for path in ("eager", "graph"):
        timed = build(Entry(OURS, path, "fp32"), CASES["F1"], "train")
        for _ in range(5):
            timed.step()
        torch.cuda.synchronize()
        with profiler(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            for _ in range(3):
                timed.step()
            torch.cuda.synchronize()
        kernels = sorted(seen.key_averages(), key=lambda one: -one.self_device_time_total)[:SHOWN]
        steps[path] = [
            {"kernel": one.key[:90], "calls": one.count // 3, "us": one.self_device_time_total / 3}
            for one in kernels
        ]
    print(json.dumps(steps))


def main(given: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--limit", type=float, default=480, help="seconds for everything")
    parser.add_argument("--parts", nargs="+", choices=[*SHARES], default=[*SHARES])
    parser.add_argument("--profile-here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    if options.profile_here:
        profile_here()
        return
    name = gpu_name()
    if name is None:
        print("no CUDA device here: nothing was run and nothing was changed")
        return
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / f"gpu-{slug}.json"
    report: dict[str, Any] = {}
    end = time.monotonic() + options.limit
    waiting = list(options.parts)
    while waiting:
        part = waiting.pop(0)
        left = end - time.monotonic()
        share = left * SHARES[part] / (SHARES[part] + sum(SHARES[one] for one in waiting))
        print(f"{part}: at most {share:.0f} s", flush=True)
        report |= {"tests": tests, "speed": speed, "profile": profile}[part](share)
        target.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written: {target}")


if __name__ == "__main__":
    main(sys.argv[1:])
