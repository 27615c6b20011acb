"""What the tests of the engines share; Ray, Spark and Dask run in environments of their own."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from long_tables import long_table, names

from convtimenet import ConvTimeNetForecaster, predict_parquet
from convtimenet.bulk.job import Engine
from convtimenet.cli.main import main

MANY = 24_000


def write_some(folder: Path, files: int = 4) -> pa.Table:
    """Forty series in files of whole series; returns all rows."""
    folder.mkdir()
    for number in range(files):
        pq.write_table(
            long_table(names(10 * number, 10 * number + 10), seed=number),
            folder / f"{number}.parquet",
        )
    return pa.concat_tables(pq.read_table(path) for path in sorted(folder.iterdir()))


def check_command(engine: Engine, model: Path, tmp_path: Path, **settings: str) -> None:
    """The command writes with the engine what it writes without one, and then skips it."""
    write_some(tmp_path / "data")
    given = ["predict", str(model), str(tmp_path / "data"), "--rows_per_part", "150"]
    given += ["--level", "80", "--quiet"]
    assert main([*given, "--out", str(tmp_path / "alone")]) == 0
    own = ["--out", str(tmp_path / engine), "--engine", engine, "--workers", "2"]
    for name, value in settings.items():
        own += [f"--{name}", value]
    assert main([*given, *own]) == 0
    files = sorted(path.name for path in (tmp_path / "alone").glob("*.parquet"))
    assert len(files) == 11
    for name in files:
        ours, theirs = tmp_path / "alone" / name, tmp_path / engine / name
        assert ours.read_bytes() == theirs.read_bytes()
    again = predict_parquet(
        model, tmp_path / "data", tmp_path / engine, level=[80], rows_per_part=150, engine=engine,
        verbose=0,
    )  # fmt: skip
    assert (again.done, again.skipped) == (0, 11)


def check_same(found: Any, model: Path, table: pa.Table, level: list[float]) -> None:
    """A pandas frame of forecasts holds those of a whole table, in any order of the series."""
    expected = ConvTimeNetForecaster.load(model, device="cpu").predict(
        table.to_pandas(), level=level
    )
    found = found.sort_values(["unique_id", "ds"], ignore_index=True)
    assert found.columns.tolist() == expected.columns.tolist()
    assert found["unique_id"].tolist() == expected["unique_id"].tolist()
    assert (found["ds"].to_numpy() == expected["ds"].to_numpy()).all()
    for name in expected.columns[2:]:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)


def check_loss(
    model: Path, tmp_path: Path, victim: Callable[[], psutil.Process | None], **settings: Any
) -> None:
    """A worker is killed once the first part is there; every series is forecast once all the
    same."""
    data, out = tmp_path / "data.parquet", tmp_path / "out"
    pq.write_table(long_table([f"s{i:05d}" for i in range(MANY)]), data)
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.is_set():
            if out.exists() and list(out.glob("part-*.parquet")):
                process = victim()
                if process is not None:
                    process.send_signal(signal.SIGKILL)
                    killed.append(len(list(out.glob("part-*.parquet"))))
                    return
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        found = predict_parquet(
            model, data, out, rows_per_part=40 * MANY // 24, verbose=0, **settings
        )
    finally:
        over.set()
        thread.join()
    assert killed
    assert killed[0] < found.parts
    assert (found.parts, found.done, found.failed, found.series) == (24, 24, {}, MANY)
    forecasts = pq.read_table(out)
    assert len(forecasts) == 7 * MANY
    counts = pc.value_counts(forecasts["unique_id"]).field("counts")  # pyright: ignore[reportAttributeAccessIssue]
    assert len(counts) == MANY
    assert set(counts.to_pylist()) == {7}


def below(pid: int, named: str) -> psutil.Process | None:
    """A process below another one with this text in its command line, the first to be found."""
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if named in " ".join(process.cmdline()) or named in process.name():
                return process
        except psutil.Error:
            continue
    return None
