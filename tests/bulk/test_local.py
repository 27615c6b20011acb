"""Processes of this machine: the engine of the command, processes that are lost."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from at_scale import below, check_command, check_loss
from forked import Forked
from long_tables import long_table, names

from convtimenet import ConvTimeNetForecaster, predict_parquet
from convtimenet.bulk.work import Work
from convtimenet.cli.main import main
from convtimenet.errors import ConfigError

COMMAND = "import sys; from convtimenet.cli.main import main; main(sys.argv[1:])"
LOKY = "popen_loky"
"""In the command lines of the processes that work."""


class Poisoned(Work):
    """Ends its process with part 0 and 4."""

    bad = ("part-000000", "part-000004")

    def __call__(self, part):
        if part.name in self.bad:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(part)


class Hopeless(Poisoned):
    bad = tuple(f"part-00000{number}" for number in range(8))


@pytest.mark.scale
def test_the_command(model_folder: Path, tmp_path: Path) -> None:
    check_command("local", model_folder, tmp_path)


@pytest.mark.scale
def test_a_killed_process(model_folder: Path, tmp_path: Path) -> None:
    check_loss(model_folder, tmp_path, lambda: below(os.getpid(), LOKY), engine="local", workers=2)


def test_killed_processes(model: ConvTimeNetForecaster, model_folder: Path, tmp_path: Path) -> None:
    """One that is killed is replaced, not the others. All end with the one that started them, and
    what they left is gone on with, to the prediction of the whole table."""
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
    assert not psutil.wait_procs(first[:1], timeout=60)[1]
    written(written(0))  # by the other one, and a new one
    second = workers()
    assert first[1] in second
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


def test_parts_that_end_their_process_are_named_and_stop_no_others(
    model: ConvTimeNetForecaster, model_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    table = long_table(names(0, 40))
    data, out = tmp_path / "data.parquet", tmp_path / "out"
    pq.write_table(table, data)
    monkeypatch.setattr("convtimenet.bulk.job.Work", Poisoned)
    for done, skipped in ((6, 0), (0, 6)):
        found = predict_parquet(model_folder, data, out, rows_per_part=200, workers=2, verbose=0)
        assert (found.done, found.skipped, found.failed_parts, found.series) == (
            done, skipped, 2, 5 * done,
        )  # fmt: skip
        assert sorted(found.failed) == list(Poisoned.bad)
        told = found.failed["part-000004"]
        assert told.startswith("its process was killed (SIGKILL(-9)), also without others")
        assert f"5 series, from row 800 of {data} to row 999 of {data}: go on with more" in told
        for name in Poisoned.bad:
            kept = json.loads((out / "_failed" / f"{name}.json").read_text())
            assert kept == {"part": name, "failed": {name: found.failed[name]}}
    expected = model.predict(table)
    assert pq.read_table(out).equals(pa.concat_tables([expected[35:140], expected[175:]]))
    monkeypatch.undo()
    given = ["predict", str(model_folder), str(data), "--out", str(out), "--rows_per_part", "200"]
    assert main([*given, "--workers", "2", "--quiet"]) == 0
    assert pq.read_table(out).equals(expected)
    assert not list((out / "_failed").iterdir())


def test_a_job_ends_where_no_part_can_be_done(
    model_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    data, out = tmp_path / "data.parquet", tmp_path / "out"
    pq.write_table(long_table(names(0, 8)), data)
    monkeypatch.setattr("convtimenet.bulk.job.Work", Hopeless)
    with pytest.raises(ConfigError, match=r"first 3 parts ended its process, .*; 5 parts are left"):
        predict_parquet(model_folder, data, out, rows_per_part=40, workers=2, verbose=0)
    assert len(list((out / "_failed").iterdir())) == 3
