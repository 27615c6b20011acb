"""Dask: the engine of the command, the object in a pipeline, a worker that is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

dd = pytest.importorskip("dask.dataframe", reason="runs in .cache/dask-venv: make scale")
distributed = pytest.importorskip("distributed")

import psutil  # noqa: E402
from at_scale import check_command, check_loss, check_same, write_some  # noqa: E402

from convtimenet import BulkForecaster  # noqa: E402

pytestmark = pytest.mark.scale


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_the_command(model_folder: Path, tmp_path: Path) -> None:
    check_command("dask", model_folder, tmp_path)


def test_in_a_pipeline(model_folder: Path, tmp_path: Path, client) -> None:
    table = write_some(tmp_path / "data")
    forecaster = BulkForecaster(model_folder, level=[80])
    one = forecaster(table[:40].to_pandas())
    rows = dd.read_parquet(str(tmp_path / "data"))
    found = rows.shuffle("unique_id", npartitions=3).map_partitions(forecaster, meta=one.iloc[:0])
    check_same(found.compute(), model_folder, table, [80])


def test_a_killed_worker(model_folder: Path, tmp_path: Path, client) -> None:
    def victim() -> psutil.Process | None:
        busy = [name for name, keys in client.processing().items() if keys]
        pids = client.run(os.getpid, workers=busy[:1])
        return psutil.Process(next(iter(pids.values()))) if pids else None

    address = client.scheduler.address
    check_loss(model_folder, tmp_path, victim, engine="dask", address=address)
