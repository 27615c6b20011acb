"""The figures of `make scale`: which sizes they are of, and which runs are not repeated."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import train_large

ROOT = Path(__file__).parents[1]


@pytest.fixture
def measured(monkeypatch, tmp_path) -> Any:
    """Calls the script with pretended fits; returns the ways and qualities of those it ran."""
    ran: list[tuple[str, str]] = []
    monkeypatch.setattr(train_large, "commit_of_package", lambda: "abc")
    monkeypatch.setattr(train_large, "available", lambda device: 20e9)
    monkeypatch.setattr(train_large, "write", lambda path, series: path.write_text("x" * series))

    def fit(command: list[str], **given: Any) -> Any:
        way, quality = command[-2:]
        ran.append((quality, way))
        return SimpleNamespace(stdout=json.dumps({"way": way, "quality": quality}) + "\n")

    monkeypatch.setattr(train_large.subprocess, "run", fit)

    def call(*flags: str) -> list[tuple[str, str]]:
        ran.clear()
        given = ["train_large.py", "--json", str(tmp_path / "record.json"), *flags]
        monkeypatch.setattr(sys, "argv", given)
        train_large.main()
        return list(ran)

    return call


ALL = [(quality, way) for quality in ("fast", "auto") for way in train_large.WAYS]


def test_runs_of_other_rows_or_code_are_repeated(measured, monkeypatch, tmp_path):
    def record() -> dict[str, Any]:
        return json.loads((tmp_path / "record.json").read_text())

    assert measured("--rows", "1500", "--qualities", "fast") == ALL[:3]
    assert record()["file_bytes"] == 2
    assert measured("--rows", "2000") == ALL[3:]
    assert measured("--rows", "2000") == []
    assert (record()["rows"], record()["commit"], len(record()["runs"])) == (2000, "abc", 6)
    assert measured("--rows", "3000") == ALL
    assert (record()["rows"], len(record()["runs"])) == (3000, 6)
    for commit in ("def", "def+", "def+", None, None):
        monkeypatch.setattr(train_large, "commit_of_package", lambda commit=commit: commit)
        assert measured("--rows", "3000") == ALL, commit
    monkeypatch.setattr(train_large, "commit_of_package", lambda: "def")
    assert measured("--rows", "3000") == ALL
    monkeypatch.setitem(train_large.FITS, "auto", {"quality": "auto", "n_epochs": 2})
    assert measured("--rows", "3000") == ALL
    assert record()["fits"]["auto"]["n_epochs"] == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "17")
    assert measured("--rows", "3000") == ALL


def test_a_frame_larger_than_memory_is_left_out_and_said(measured, capsys, tmp_path):
    assert train_large.left_out(10_000_000, 2e9) == {}
    assert measured("--rows", "1000000000", "--qualities", "fast") == [ALL[0], ALL[2]]
    said = "not run: 1,000,000,000 rows as a frame need about 131 GiB, and 19 GiB are free"
    assert f"frame: {said}\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "record.json").read_text())["left_out"] == {"frame": said}


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("given", "series", "rows"), [([], 20_000, 200_000), (["N=1000000"], 1_000_000, 10_000_000)]
)
def test_sizes_and_order(given, series, rows):
    """Without N= a check; with a million the sizes of the docs."""
    command = ["make", "-n", "-C", str(ROOT), "scale", *given]
    bare = {"PATH": os.environ["PATH"]}  # without what a make that runs the tests was given
    shown = subprocess.run(command, env=bare, capture_output=True, text=True, check=True).stdout
    figures = re.findall(r"benchmarks/scale/(\w+)\.py(?: --(\w+) (\d+))?", shown)
    assert figures == [
        ("predict", "n", str(series)), ("train_large", "rows", str(rows)), ("processes", "", ""),
    ]  # fmt: skip
