"""Files larger than memory: read in parts, and the same model as from the same rows in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from convtimenet import maps
from convtimenet.data.large import parts
from convtimenet.data.tables import Table, read_table

HOURS = np.datetime64("2024-01-01", "us") + np.arange(400) * np.timedelta64(1, "h")


@pytest.fixture
def small_parts(monkeypatch, tmp_path_factory) -> Path:
    """Any file of a long table is large, and its parts are small. Returns the folder of temporary
    files."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(parts, "LARGE", 1)
    monkeypatch.setattr(parts, "_CELLS", 800)
    monkeypatch.setattr(maps, "CHUNK", 200)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def panel(lengths: tuple[int, ...] = (90, 60, 110, 75, 130), gaps: bool = True) -> pa.Table:
    """A long table with covariates; with gaps also missing values and a missing row."""
    random = np.random.default_rng(0)
    rows = {name: [] for name in ("unique_id", "ds", "y", "price", "kind", "size")}
    for s, n in enumerate(lengths):
        y = 50 * s + 10 * np.sin(np.arange(n) * 2 * np.pi / 24) + random.normal(size=n)
        if gaps and s in (1, 3):
            y[[5, 17, 30 + s]] = np.nan
        rows["unique_id"] += [f"s{s}"] * n
        rows["ds"].append(HOURS[s : s + n])
        rows["y"].append(y)
        rows["price"].append(random.normal(size=n) + s)
        rows["kind"] += random.choice(["a", "b", "c"], n).tolist()
        rows["size"] += [float(s)] * n
    table = pa.table(
        {name: np.concatenate(v) if name in ("ds", "y", "price") else v for name, v in rows.items()}
    )
    return pa.concat_tables([table[:100], table[101:]]) if gaps else table


def same(one: Table, other: Table) -> None:
    assert (one.ids == other.ids).all()
    assert one.ids.dtype == other.ids.dtype
    for name in ("channels", "time_name", "frequency", "time_zone", "origin", "notices", "id_name"):
        assert getattr(one, name) == getattr(other, name), name
    assert (one.lengths == other.lengths).all()
    assert one.times.dtype == other.times.dtype
    assert (one.times == other.times).all()
    assert one.values.tobytes() == other.values.tobytes()
    for name, values in one.covariates.items():
        theirs = other.covariates[name]
        assert values.dtype == theirs.dtype
        if values.dtype == object:
            assert values.tolist() == theirs.tolist()
        else:
            assert values.tobytes() == theirs.tobytes()


READ: dict[str, Any] = {"target_cols": ["y"], "covariates": ["price", "kind", "size"]}


def in_memory(path: Any, monkeypatch, **how: Any) -> Table:
    with monkeypatch.context() as patch:
        patch.setattr(parts, "LARGE", 10**12)
        return read_table(path, **how)


@pytest.mark.parametrize("rows", [1000, 90, 37])
def test_a_table_read_in_parts_is_that_of_the_whole_file(tmp_path, small_parts, monkeypatch, rows):
    path = tmp_path / "x.parquet"
    parquet.write_table(panel(), path, row_group_size=rows)
    table = read_table(path, **READ)
    assert maps.is_mapped(table.values)
    same(table, in_memory(path, monkeypatch, **READ))
    assert any("7 missing values in 2 series ('s1', 's3')" in one for one in table.notices)
    assert any("1 row is missing" in one for one in table.notices)
    assert [*small_parts.iterdir()] == []  # a table that is in use has no file with a name either
