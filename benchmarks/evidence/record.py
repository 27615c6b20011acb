"""The file that a script of this folder writes: its figures, and what they were measured with."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from convtimenet.bench.machine import commit_of_package, processor
from convtimenet.files import json_text, whole_file


def write_record(path: Path, **figures: Any) -> None:
    """Write figures as JSON, below the command that made them, date, commit and processor."""
    script = f"benchmarks/evidence/{Path(sys.argv[0]).name}"
    measured = {
        "command": " ".join(["python", script, *sys.argv[1:]]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit_of_package(),
        "processor": processor(),
    }
    with whole_file(path) as file:
        file.write(json_text(measured | figures, indent=1) + "\n")
