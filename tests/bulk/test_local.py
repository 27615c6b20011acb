"""Processes of this machine: the engine of the command, a process that is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

psutil = pytest.importorskip("psutil", reason="runs in environments of its own: make scale")

from at_scale import below, check_command, check_loss  # noqa: E402
from long_tables import long_table, names  # noqa: E402

pytestmark = pytest.mark.scale


def test_the_command(model_folder: Path, tmp_path: Path) -> None:
    check_command("local", model_folder, tmp_path)


def test_a_killed_process(model_folder: Path, tmp_path: Path) -> None:
    check_loss(
        model_folder, tmp_path, lambda: below(os.getpid(), "popen_loky"), engine="local", workers=2
    )


def test_processes_end_with_the_one_that_started_them(model_folder: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data.parquet", tmp_path / "out"
    pq.write_table(long_table(names(0, 5000)), data)
    command = [sys.executable, "-m", "convtimenet", "predict", str(model_folder), str(data)]
    command += ["--out", str(out), "--workers", "2", "--rows_per_part", "1000", "--quiet"]
    with subprocess.Popen(command) as process:
        while not list(out.glob("part-*.parquet")):
            assert process.poll() is None
            time.sleep(0.02)
        workers = psutil.Process(process.pid).children(recursive=True)
        assert len(workers) >= 2
        process.kill()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
    assert len(list(out.glob("part-*.parquet"))) < 200
    assert subprocess.run(command, check=False).returncode == 0
    assert len(pq.read_table(out)) == 7 * 5000
    assert not list(out.glob(".*"))
