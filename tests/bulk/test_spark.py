"""Spark: the engine of the command, the object in a pipeline, an executor that is lost."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sql = pytest.importorskip("pyspark.sql", reason="runs in .cache/spark-venv: make scale")

from at_scale import below, check_command, check_loss, check_same, write_some  # noqa: E402

from convtimenet import BulkForecaster, predict_parquet  # noqa: E402
from convtimenet.errors import ConfigError  # noqa: E402

pytestmark = pytest.mark.scale

COLUMNS = (
    "unique_id string, ds timestamp_ntz, ConvTimeNet double, "
    "`ConvTimeNet-lo-80` double, `ConvTimeNet-hi-80` double"
)


def test_the_command(model_folder: Path, tmp_path: Path) -> None:
    check_command("spark", model_folder, tmp_path)
    assert sql.SparkSession.getActiveSession() is None


def test_in_a_pipeline(model_folder: Path, tmp_path: Path) -> None:
    table = write_some(tmp_path / "data")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    # records of a batch that cut series
    session = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", "90").getOrCreate()
    try:
        rows = session.read.parquet(str(tmp_path / "data")).repartition(3, "unique_id")
        found = rows.sortWithinPartitions("unique_id", "ds").mapInPandas(
            BulkForecaster(model_folder, level=[80]).stream, COLUMNS
        )
        check_same(found.toPandas(), model_folder, table, [80])
        with pytest.raises(ConfigError, match=r"'spark://other:7077' .* master is 'local\[2\]'"):
            predict_parquet(
                model_folder, tmp_path / "data", tmp_path / "out", engine="spark",
                address="spark://other:7077", verbose=0,
            )  # fmt: skip
    finally:
        session.stop()


def test_a_killed_executor(model_folder: Path, tmp_path: Path) -> None:
    check_loss(
        model_folder, tmp_path, lambda: below(os.getpid(), "CoarseGrainedExecutorBackend"),
        engine="spark", address="local-cluster[2,1,1024]",
    )  # fmt: skip
