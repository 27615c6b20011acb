"""Real recordings from aeon's wheel, which contains them as package data.

A wheel is a zip file: the members needed are read from it, and aeon itself is not installed.
aeon is published under the BSD 3-clause licence.
"""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np

from convtimenet.data.tables import Table
from convtimenet.data.time.frequency import Frequency
from convtimenet.errors import DatasetError

_MEMBERS = "aeon/datasets/data"
_SAMPLE = 1_000_000_000 // 64  # nanoseconds


def unpack_cases(wheels: Path, name: str, home: Path) -> None:
    """Extract the training and test cases of a classification set into a data folder."""
    for part in ("TRAIN", "TEST"):
        target = home / "classification" / name / f"{name}_{part}.ts"
        content = _member(wheels, f"{name}/{target.name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        half_written = target.with_suffix(".part")
        half_written.write_bytes(content)
        half_written.replace(target)


def daphnet(wheels: Path) -> Table:
    """Part of a Daphnet recording: accelerations at ankle, leg and trunk of a walking person.

    110 s at 64 Hz, three axes each, in thousandths of g. The file truncates times to milliseconds;
    here they are exact again. The label column is dropped.
    """
    text = _member(wheels, "Daphnet_S06R02E0/S06R02E0.csv").decode()
    header, *rows = csv.reader(text.splitlines())
    start = np.datetime64(rows[0][0], "ns")
    return Table(
        times=start + np.arange(len(rows)) * np.timedelta64(_SAMPLE, "ns"),
        values=np.array([row[1:-1] for row in rows], dtype=np.float64),
        channels=tuple(header[1:-1]),
        time_name=header[0],
        frequency=Frequency("ns", _SAMPLE),
    )


def _member(wheels: Path, name: str) -> bytes:
    found = sorted(wheels.glob("aeon-*.whl"))
    if not found:
        raise DatasetError(f"expected aeon's wheel in {wheels}, found none; run: make demo")
    try:
        with zipfile.ZipFile(found[-1]) as wheel:
            return wheel.read(f"{_MEMBERS}/{name}")
    except (zipfile.BadZipFile, KeyError) as error:
        raise DatasetError(
            f"{found[-1]} is damaged ({error}); delete it and run: make demo"
        ) from error
