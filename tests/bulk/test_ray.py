"""Ray: the engine of the command, the object in a pipeline of Ray Data, a worker that is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="runs in .cache/ray-venv: make scale")
pytest.importorskip("ray.data")

from at_scale import below, check_command, check_loss, check_same, write_some  # noqa: E402

from convtimenet import BulkForecaster  # noqa: E402

pytestmark = pytest.mark.scale


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


def test_the_command(model_folder: Path, tmp_path: Path) -> None:
    check_command("ray", model_folder, tmp_path)
    assert not ray.is_initialized()


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("kind", ["pandas", "pyarrow"])
def test_in_a_pipeline(model_folder: Path, tmp_path: Path, kind: str) -> None:
    table = write_some(tmp_path / "data")
    rows = ray.data.read_parquet(str(tmp_path / "data"))
    found = rows.repartition(3, keys=["unique_id"]).map_batches(
        BulkForecaster(model_folder, level=[80]), batch_size=None, batch_format=kind
    )
    check_same(found.to_pandas(), model_folder, table, [80])


@pytest.mark.usefixtures("cluster")
def test_as_actors(model_folder: Path, tmp_path: Path) -> None:
    table = write_some(tmp_path / "data")
    rows = ray.data.read_parquet(str(tmp_path / "data"))
    found = rows.repartition(3, keys=["unique_id"]).map_batches(
        BulkForecaster,
        fn_constructor_args=(str(model_folder),),
        concurrency=1,  # the other core is for reading
        batch_size=None,
        batch_format="pandas",
    )
    check_same(found.to_pandas(), model_folder, table, [])


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker(model_folder: Path, tmp_path: Path) -> None:
    check_loss(
        model_folder, tmp_path, lambda: below(os.getpid(), "ray::MapWorker"), engine="ray",
        workers=2,
    )  # fmt: skip
