"""Time importing the package and `--help`.

    python benchmarks/speed/startup.py --json benchmarks/results/startup-DATE.json

Each measurement is a fresh process; medians over interleaved runs. CPU seconds measure the
interpreter's work and are disturbed less by other processes than wall time. The first turn, which
fills the disk cache, is discarded.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

_TIMED = """
import time
{before}
clock, cpu = time.perf_counter(), time.process_time()
{timed}
print(time.perf_counter() - clock, time.process_time() - cpu)
"""
_HELP = """
import contextlib, io
from convtimenet.cli.main import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["--help"])
"""
CASES = {
    "import torch": ("", "import torch"),
    "import convtimenet, after torch": ("import torch", "import convtimenet"),
    "import the estimators, after torch": (
        "import torch",
        "from convtimenet import ConvTimeNetForecaster, ConvTimeNetClassifier",
    ),
    "the same, after torch and scikit-learn's base": (
        "import torch, sklearn.base, sklearn.model_selection",
        "from convtimenet import ConvTimeNetForecaster, ConvTimeNetClassifier",
    ),
    "import convtimenet.runtime": ("", "import convtimenet.runtime"),
    "import convtimenet.runtime and onnxruntime": (
        "",
        "import convtimenet.runtime, onnxruntime",
    ),
    "convtimenet --help": ("", _HELP),
}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    given = parser.parse_args()
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    for _ in range(given.runs + 1):
        for name, (before, timed) in CASES.items():
            code = _TIMED.format(before=before, timed=timed)
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            )
            clock, cpu = map(float, done.stdout.split())
            seen[name].append((clock, cpu))
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"python benchmarks/speed/startup.py --runs {given.runs}",
        "python": sys.version.split()[0],
        "seconds": {
            name: {
                "clock": round(statistics.median(clock for clock, _ in runs[1:]), 4),
                "cpu": round(statistics.median(cpu for _, cpu in runs[1:]), 4),
                "runs": [[round(value, 4) for value in run] for run in runs[1:]],
            }
            for name, runs in seen.items()
        },
    }
    text = json.dumps(record, indent=1)
    print(text)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
