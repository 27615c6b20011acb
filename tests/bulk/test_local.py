"""Processes of this machine: the engine of the command, processes that are lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from at_scale import below, check_command, check_loss
from forked import Forked
from long_tables import long_table, names

from convtimenet import ConvTimeNetForecaster, predict_parquet

COMMAND = "import sys; from convtimenet.cli.main import main; main(sys.argv[1:])"
LOKY = "popen_loky"
"""In the command lines of the processes that work."""


@pytest.mark.scale
def test_the_command(model_folder: Path, tmp_path: Path) -> None:
    check_command("local", model_folder, tmp_path)


@pytest.mark.scale
def test_a_killed_process(model_folder: Path, tmp_path: Path) -> None:
    check_loss(model_folder, tmp_path, lambda: below(os.getpid(), LOKY), engine="local", workers=2)


def test_killed_processes(model: ConvTimeNetForecaster, model_folder: Path, tmp_path: Path) -> None:
    """One that is killed is replaced. All end with the one that started them, and what they left
    is gone on with, to the prediction of the whole table."""
    table = long_table(names(0, 3000))
    data, out = tmp_path / "data.parquet", tmp_path / "out"
    pq.write_table(table, data)
    given = ["predict", model_folder, data, "--out", out, "--workers", 2, "--quiet"]
    parent = Forked(COMMAND, *given, "--rows_per_part", 400)

    def written(more_than: int) -> int:
        while (found := len(list(out.glob("part-*.parquet")))) <= more_than:
            assert parent.running(), parent.communicate()
            time.sleep(0.01)
        return found

    def workers() -> list[psutil.Process]:
        return psutil.Process(parent.pid).children(recursive=True)

    written(0)
    first = [one for one in workers() if LOKY in " ".join(one.cmdline())]
    assert len(first) == 2
    first[0].kill()
    assert not psutil.wait_procs(first, timeout=60)[1]
    written(written(0))  # by others
    second = workers()
    assert len(second) >= 2
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert not psutil.wait_procs(second, timeout=60)[1]
    left = len(list(out.glob("part-*.parquet")))
    assert 1 < left < 300
    found = predict_parquet(model_folder, data, out, rows_per_part=400, verbose=0)
    assert (found.parts, found.done, found.skipped) == (300, 300 - left, left)
    assert pq.read_table(out).equals(model.predict(table))
    assert not list(out.glob(".*"))
