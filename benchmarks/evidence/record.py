"""The file that a script of this folder writes: its figures, and what they were measured with."""

from __future__ import annotations

import argparse
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from convtimenet.bench.machine import commit_of_package, processor
from convtimenet.files import json_text, whole_file
from convtimenet.network.kernels import library


def start_record(about: str | None) -> Path:
    """The file that ``--json`` names, for a script that says `about` itself what it measures; from
    then on there are one thread, compiled kernels, and no notices between the figures."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", type=Path, required=True)
    path = parser.parse_args().json
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    library.warm_up()
    return path


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
