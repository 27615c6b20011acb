"""Time from an empty environment to a forecast on the page of `convtimenet app`.

    python benchmarks/serving/first_forecast.py --json benchmarks/serving/first_forecast.json

Creates a virtual environment, installs this folder with its extras, starts the page and has a
browser drop a file of 160 rows on it and train with quality "fast". Needs playwright and chromium
in the environment that runs this script.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "serving"))


def main() -> None:
    """Measure, print, and write the seconds of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pip", default="", help="further arguments of pip install")
    given = parser.parse_args()
    from browsing import drop, page, weekly

    marks = {"begin": time.monotonic()}
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder, "venv", "bin", "python")
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
        marks["environment"] = time.monotonic()
        install = [python, "-m", "pip", "install", "-q", "-c", "constraints.txt", ".[all]"]
        subprocess.run([*install, *given.pip.split()], cwd=ROOT, check=True)
        marks["pip install"] = time.monotonic()
        app = subprocess.Popen(
            [python.parent / "convtimenet", "app", "--no-browser", "--port", "0"],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        )
        assert app.stdout is not None
        address = app.stdout.readline().split()[1]
        marks["start"] = time.monotonic()
        with page(address) as one:
            drop(one, "sales.csv", weekly())
            one.locator("#preview .main-svg").first.wait_for(timeout=120_000)
            marks["file read"] = time.monotonic()
            one.locator("#start").click()
            one.locator("#forecast .main-svg").first.wait_for(timeout=120_000)
            marks["forecast shown"] = time.monotonic()
        app.terminate()
        app.wait(30)
        app.stdout.close()
    times = [*marks.values()]
    parts = {
        name: round(end - begin, 1)
        for name, begin, end in zip([*marks][1:], times, times[1:], strict=False)
    }
    found = {"seconds": parts, "all": round(times[-1] - times[0], 1), "cores": os.cpu_count()}
    found["pip"] = given.pip
    found["chromium"] = subprocess.run(
        [shutil.which("chromium") or "chromium", "--version"], capture_output=True, text=True
    ).stdout.strip()
    print(json.dumps(found, indent=1))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
