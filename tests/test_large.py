"""Files larger than memory: read in parts, and the same model as from the same rows in memory."""

from __future__ import annotations

import errno
import gc
import io
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from convtimenet import ConvTimeNetForecaster
from convtimenet.data import table_rows
from convtimenet.data.covariate_column import Column
from convtimenet.data.covariates import NO_COVARIATES, terms_of
from convtimenet.data.large import parts
from convtimenet.data.tables import Table, read_table
from convtimenet.errors import DataError
from convtimenet.files import maps
from convtimenet.training.closed_form import sliding
from convtimenet.training.closed_form.sliding import Series, sums_over

HOURS = np.datetime64("2024-01-01", "us") + np.arange(400) * np.timedelta64(1, "h")


def work_on(rows: int, monkeypatch) -> None:
    """Work on so many rows at once."""
    for module in (maps, table_rows, sliding):
        monkeypatch.setattr(module, "CHUNK", rows)


@pytest.fixture
def small_parts(monkeypatch, tmp_path_factory) -> Path:
    """Any file of a long table is large, and its parts are small. Returns the folder of temporary
    files."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(parts, "LARGE", 1)
    monkeypatch.setattr(parts, "_CELLS", 800)
    work_on(200, monkeypatch)
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


def apart(path: Path, table: pa.Table, cuts: list[int]) -> None:
    """Write a table to several files, cut at these rows."""
    path.mkdir()
    for number, (a, b) in enumerate(pairwise([0, *cuts, len(table)])):
        parquet.write_table(table[a:b], path / f"part-{number:03d}.parquet")


@pytest.mark.parametrize("kind", ["folder", "hive", "pattern", "file URL", "memory URL", "arrow"])
def test_files_in_many_places(tmp_path, small_parts, monkeypatch, kind):
    rows = panel()
    source: Any = tmp_path / "x"
    if kind == "hive":
        parquet.write_to_dataset(rows, source, partition_cols=["unique_id"])
    elif kind == "arrow":
        source = tmp_path / "x.arrow"
        feather.write_feather(rows, source, chunksize=37, compression="uncompressed")
    else:
        apart(source, rows, [40, 150, 155])  # series go on in the next file
        (source / "_SUCCESS").touch()
    if kind == "pattern":
        source = f"{source}/part-*.parquet"
    elif kind == "file URL":
        source = f"file://{source}"
    elif kind == "memory URL":
        memory = fsspec.filesystem("memory")
        memory.put(str(source), "/bucket/x", recursive=True)
        source = "memory://bucket/x"
    table = read_table(source, **READ)
    assert maps.is_mapped(table.values)
    same(table, in_memory(source, monkeypatch, **READ))
    whole = tmp_path / "whole.parquet"
    parquet.write_table(rows, whole)
    same(table, in_memory(whole, monkeypatch, **READ))


def test_files_are_read_in_the_order_of_their_names(tmp_path, small_parts):
    rows = panel((60, 60, 60), gaps=False)
    (tmp_path / "x").mkdir()
    for name, first in (("b", 60), ("c", 0), ("a", 120)):
        parquet.write_table(rows[first : first + 60], tmp_path / "x" / f"{name}.parquet")
    assert read_table(tmp_path / "x", **READ).ids.tolist() == ["s2", "s1", "s0"]


def test_the_step_given_and_whole_numbers(tmp_path, small_parts, monkeypatch):
    rows = panel()
    numbers = rows.set_column(1, "ds", pa.array(np.arange(len(rows))))
    ids = pa.array([int(one[1:]) for one in rows["unique_id"].to_pylist()])
    numbers = numbers.set_column(0, "unique_id", ids)
    parquet.write_table(numbers, tmp_path / "x.parquet")
    parquet.write_table(rows, tmp_path / "y.parquet")
    for name, how in (("x", {}), ("y", {"frequency": "1h", "fill": 0})):
        path = tmp_path / f"{name}.parquet"
        same(read_table(path, **READ, **how), in_memory(path, monkeypatch, **READ, **how))


def refuse(path: Path, said: str, folder: Path, **how: Any) -> None:
    with pytest.raises(DataError, match=said):
        read_table(path, **(READ | how))
    assert [*folder.iterdir()] == []


def test_what_cannot_be_read_in_parts_is_read_as_a_whole(tmp_path, small_parts, monkeypatch):
    """One file a day with all series in each, as many systems write them."""
    rows = panel(gaps=False).sort_by([("ds", "ascending"), ("unique_id", "ascending")])
    apart(tmp_path / "x", rows, [100, 300])
    found = read_table(tmp_path / "x", **READ)
    assert not found.mapped
    assert any("as a whole" in one and "sorted by 'unique_id'" in one for one in found.notices)
    known = in_memory(tmp_path / "x", monkeypatch, **READ)
    assert np.array_equal(found.values, known.values)
    assert found.ids.tolist() == known.ids.tolist()


def test_what_cannot_be_read_in_parts_is_refused(tmp_path, small_parts, monkeypatch):
    monkeypatch.setattr(parts.Parts, "fits", False)
    rows = panel(gaps=False)
    other = panel((50,), gaps=False)
    daily = other.set_column(1, "ds", pa.array(HOURS[0] + np.arange(50) * np.timedelta64(1, "D")))
    last = pa.array(["z"] * 50)
    apart(tmp_path / "x", pa.concat_tables([rows, other]), [400])
    refuse(tmp_path / "x", r"the rows of the series 's0' lie apart.*sorted by 'unique_id'",
           small_parts)  # fmt: skip
    parquet.write_table(pa.concat_tables([rows, daily.set_column(0, "unique_id", last)]),
                        tmp_path / "y.parquet")  # fmt: skip
    refuse(tmp_path / "y.parquet", r"the step is 1h in its first rows and 1D? in those of 'z'; "
           r"pass the step of the table as freq=", small_parts)  # fmt: skip
    texts = [str(one) for one in rows["y"].to_pylist()]
    parquet.write_table(rows.set_column(2, "y", pa.array(texts)), tmp_path / "z.parquet")
    refuse(tmp_path / "z.parquet", "expected numbers in 'y', found text", small_parts)
    for name, changed, said in (
        ("columns", other.drop_columns(["price"]), r"expected the columns .*'price'.* found"),
        ("types", other.set_column(2, "y", pa.array(["1"] * 50)), "types of 'y' that go together"),
    ):
        apart(tmp_path / name, rows, [200])
        parquet.write_table(changed, tmp_path / name / "part-9.parquet")
        refuse(tmp_path / name, said, small_parts)
    feather.write_feather(rows, tmp_path / "x" / "a.arrow")
    refuse(tmp_path / "x", r"expected .parquet files, .* found '.arrow', '.parquet'", small_parts)
    (tmp_path / "x" / "notes.txt").touch()
    refuse(tmp_path / "x", "found a folder; give one of the files in it", small_parts)
    refuse(tmp_path / "none-*.parquet", "there is no such file", small_parts)
    refuse("memory://nowhere/x.parquet", "there is no such file", small_parts)  # type: ignore[arg-type]
    refuse("unheard://nowhere/x", "install that package", small_parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("column", "cell"),
    [("unique_id", None), ("ds", None), ("ds", "soon"), ("size", "large")],
)
def test_rows_in_messages_are_those_of_the_file(
    tmp_path, small_parts, monkeypatch, column, cell
) -> None:
    path, rows, at = tmp_path / "x.parquet", panel(gaps=False), 300
    terms = terms_of(read_table(rows, **READ), NO_COVARIATES)
    terms = replace(terms, categories={"size": None, "price": None, "kind": ("a", "b", "c")})
    cells = [one if cell is None else str(one) for one in rows[column].to_pylist()]
    cells[at] = cell
    number = rows.schema.get_field_index(column)
    parquet.write_table(rows.set_column(number, column, pa.array(cells)), path, row_group_size=90)
    with pytest.raises(DataError, match=rf"row {at}\b") as found:
        read_table(path, **READ, terms=terms)
    with pytest.raises(DataError) as known:
        in_memory(path, monkeypatch, **READ, terms=terms)
    assert str(found.value) == str(known.value)


def test_dates_that_only_some_rows_make_clear_are_refused(tmp_path, small_parts, monkeypatch):
    """Month and day with dots: rows up to the 12th alone would be read with the day first."""
    monkeypatch.setattr(parts.Parts, "fits", False)
    of = [(f"a{s}", day) for s in range(30) for day in range(1, 13)]
    of += [("b", day) for day in range(1, 31)]
    stamps = [f"01.{day:02d}.2024" for _, day in of]
    rows = pa.table({"unique_id": [one for one, _ in of], "ds": stamps, "y": np.ones(len(of))})
    parquet.write_table(rows, tmp_path / "x.parquet")
    refuse(tmp_path / "x.parquet", r"the reading of the time stamps is .*; pass dayfirst=",
           small_parts, covariates=())  # fmt: skip
    assert read_table(tmp_path / "x.parquet", dayfirst=False).frequency.name in ("D", "1D")


def test_a_full_disk_is_told_of(tmp_path, small_parts, monkeypatch):
    parquet.write_table(panel(), tmp_path / "x.parquet")

    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(maps, "_file", Full)
    refuse(tmp_path / "x.parquet", "make room, or set the environment variable TMPDIR", small_parts)


def test_wide_and_small_tables_are_read_as_a_whole(tmp_path, small_parts, monkeypatch):
    wide = pa.table({"ds": HOURS[:50], "a": np.arange(50.0)})
    parquet.write_table(wide, tmp_path / "x.parquet")
    assert not read_table(tmp_path / "x.parquet").mapped
    monkeypatch.setattr(parts, "LARGE", 2**27)
    parquet.write_table(panel(), tmp_path / "y.parquet")
    assert not read_table(tmp_path / "y.parquet", **READ).mapped


TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,), "patch_size": 4, "patch_stride": 2}
FITS: dict[str, dict[str, Any]] = {
    "linear": {"quality": "fast", "input_size": 24, "futr_exog": "price"},
    "smoothing": {"quality": "fast"},
    "network": {
        "input_size": 20,
        "model": TINY,
        "n_epochs": 1,
        "training": {"epoch_size": 64},
        "hist_exog": ["price", "kind"],
        "stat_exog": "size",
        "calendar": "hour",
    },
}


@pytest.mark.parametrize("kind", [*FITS])
def test_the_model_is_that_of_the_rows_in_memory(tmp_path, small_parts, monkeypatch, kind):
    path = tmp_path / "x.parquet"
    parquet.write_table(panel((70, 60, 66, 64)), path, row_group_size=90)

    def fit(folder: str) -> ConvTimeNetForecaster:
        model = ConvTimeNetForecaster(6, target_cols="y", verbose=0, **FITS[kind])
        model.fit(path).save(tmp_path / folder)
        return model

    ours = fit("ours")
    gc.collect()
    monkeypatch.setattr(parts, "LARGE", 10**12)
    work_on(2**20, monkeypatch)
    theirs = fit("theirs")
    assert not ours.tail_.mapped
    same(ours.tail_, theirs.tail_)
    assert ours.notices_ == theirs.notices_
    files = sorted((tmp_path / "ours").glob("*.safetensors"))
    assert files
    for one in files:
        assert one.read_bytes() == (tmp_path / "theirs" / one.name).read_bytes()
    weights = theirs.network_.state_dict()
    for name, one in ours.network_.state_dict().items():
        assert one.equal(weights[name]), name
    assert (ours.scaler_.centre == theirs.scaler_.centre).all()
    assert (ours.scaler_.scale == theirs.scaler_.scale).all()
    assert ours.scores_ == theirs.scores_
    assert [*small_parts.glob("convtimenet*")] == []


def test_a_fitted_model_reads_such_files_too(tmp_path, small_parts):
    path = tmp_path / "x.parquet"
    parquet.write_table(panel(gaps=False), path, row_group_size=90)
    settings = {"target_cols": "y", "quality": "fast", "input_size": 24, "verbose": 0}
    model = ConvTimeNetForecaster(6, **settings).fit(path)
    assert (model.predict(path).values == model.predict().values).all()
    found = model.evaluate(path, first_row=40)
    assert found.n_windows == model.evaluate(panel(gaps=False), first_row=40).n_windows
    assert found.scores == model.evaluate(panel(gaps=False), first_row=40).scores
    ours, theirs = (model.cross_validation(one) for one in (path, panel(gaps=False)))
    assert list(ours["ConvTimeNet"]) == theirs["ConvTimeNet"].to_pylist()


def test_checkpoints_are_of_the_same_data(tmp_path, small_parts, monkeypatch):
    path = tmp_path / "x.parquet"
    parquet.write_table(panel(), path)
    config = {"input_size": 20, "target_cols": "y", "model": TINY, "n_epochs": 1, "verbose": 0}
    ours = ConvTimeNetForecaster(6, **config, refit=False).fit(path, resume=tmp_path / "run")
    monkeypatch.setattr(parts, "LARGE", 10**12)
    theirs = ConvTimeNetForecaster(6, **config, refit=False).fit(path, resume=tmp_path / "run")
    assert theirs.history_.epochs == ours.history_.epochs  # read from the checkpoint


@pytest.mark.parametrize("gaps", [False, True])
def test_running_sums_do_not_depend_on_the_blocks(monkeypatch, gaps):
    monkeypatch.setattr(sliding, "_FEW", 0)
    random = np.random.default_rng(1)
    whole = random.random(4000) > 0.01
    values = np.where(whole, random.normal(size=4000) * 100, 0.0)
    known = whole & (random.random(4000) > 0.1) if gaps else whole
    one = Series(values, whole, known, values[::-1].copy() if gaps else values)
    starts = np.concatenate([np.arange(a, a + 90) for a in range(0, 3900, 130)])
    for context, horizon in ((20, 5), (1, 1), (2, 1)):
        for sets in ([starts], [starts[:1000], starts[1000:], starts[::7]]):
            found = sums_over([one, one], sets, context, horizon)
            with monkeypatch.context() as patch:
                work_on(300, patch)
                again = sums_over([one, one], sets, context, horizon)
            for ours, theirs in zip(again, found, strict=True):
                assert ours.count == theirs.count
                assert ours.products.tobytes() == theirs.products.tobytes()


@pytest.mark.parametrize("missing", [0, 3])
def test_statistics_of_a_covariate_are_those_of_numpy(monkeypatch, missing):
    values = np.random.default_rng(2).normal(5, 3, 5000)
    values[:missing] = np.nan
    monkeypatch.setattr(maps, "CHUNK", 300)
    column = Column.fit("x", values)
    assert column.centre == values[missing:].mean()
    assert column.scale == values[missing:].std()
