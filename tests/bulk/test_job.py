"""Jobs: every series forecast once, however often they are stopped; what fails is named."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forked import Forked
from long_tables import long_table, names

from convtimenet import BulkForecaster, ConvTimeNetForecaster, predict_parquet, processes
from convtimenet.bulk import engines, parts, predictor
from convtimenet.bulk.local import map_parts
from convtimenet.bulk.places import place_of
from convtimenet.bulk.record import plan_of_job
from convtimenet.bulk.runs import series_starts, source_facts
from convtimenet.cli.main import main
from convtimenet.errors import (
    ArtefactError,
    ConfigError,
    DataError,
    EngineError,
    MissingExtraError,
)
from convtimenet.files import locked


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    table = long_table(names(10, 40))
    pq.write_table(table[:500], folder / "a.parquet")
    pq.write_table(table[500:], folder / "b.parquet")
    return folder


def _run(model: Path, data: Path | str, out: Path, **settings):
    return predict_parquet(model, data, out, **{"rows_per_part": 200, "verbose": 0, **settings})


def test_a_job_is_the_prediction_of_the_whole_table(model_folder, model, data, tmp_path) -> None:
    found = _run(model_folder, data, tmp_path / "out", level=[80, 95])
    assert (found.series, found.rows, found.parts, found.done) == (30, 1200, 6, 6)
    forecasts = pq.read_table(tmp_path / "out")
    whole = model.predict(long_table(names(10, 40)), level=[80, 95])
    assert forecasts.schema.equals(whole.schema)
    assert forecasts.select([0, 1]).equals(whole.select([0, 1]))
    for name in whole.column_names[2:]:
        np.testing.assert_allclose(forecasts[name], whole[name], rtol=1e-5)


def test_addresses_are_written_like_paths(model_folder, data, tmp_path) -> None:
    import fsspec

    _run(model_folder, data, tmp_path / "here")
    memory, there = fsspec.filesystem("memory"), "memory://written/there"
    for path in data.iterdir():
        memory.pipe(f"/written/data/{path.name}", path.read_bytes())
    for done in (6, 0):
        found = predict_parquet(
            model_folder, "memory://written/data", there, rows_per_part=200, verbose=0
        )
        assert found.done == done
    files = sorted(path.rpartition("/")[2] for path in memory.ls("/written/there", detail=False))
    assert files == ["_job.json", *(f"part-{i:06d}.parquet" for i in range(6))]
    for name in files[1:]:
        content = memory.cat(f"/written/there/{name}")
        assert content == (tmp_path / "here" / name).read_bytes()
    with pytest.raises(ConfigError, match="whose files are read"):
        predict_parquet(model_folder, "memory://written", f"{there}2", verbose=0)


def test_what_is_half_written_at_an_address_is_removed(model_folder, data) -> None:
    import fsspec

    memory, there = fsspec.filesystem("memory"), "memory://killed/out"
    settings: Any = {"rows_per_part": 600, "verbose": 0}
    predict_parquet(model_folder, data, there, **settings)
    kept = sorted(memory.find("/killed/out"))
    for name in (".part-000000.parquet.1.tmp", "._job.json.1.tmp", "_failed/.part-0.json.1.tmp"):
        memory.pipe(f"/killed/out/{name}", b"PAR1")
    assert predict_parquet(model_folder, data, there, **settings).skipped == 2
    assert sorted(memory.find("/killed/out")) == kept


def test_an_address_of_this_machine_is_a_path(model_folder, data, tmp_path) -> None:
    """Also for the lock, and for another call with the path."""
    out = tmp_path / "out it"
    settings = {"rows_per_part": np.int64(200), "h": np.int64(3), "verbose": 0}
    found = predict_parquet(model_folder, data.as_uri(), out.as_uri(), **settings)
    assert (found.folder, found.done) == (str(out), 6)
    with locked(out / "_lock"), pytest.raises(ConfigError, match="is in use by process"):
        predict_parquet(model_folder, data.as_uri(), out.as_uri(), **settings)
    assert predict_parquet(model_folder, data, out, rows_per_part=200, h=3, verbose=0).skipped == 6


def test_finished_parts_are_not_done_again(model_folder, data, tmp_path) -> None:
    out = tmp_path / "out"
    _run(model_folder, data, out)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    whole = (out / "part-000002.parquet").read_bytes()
    (out / "part-000002.parquet").unlink()
    (out / "_failed").mkdir()
    for left in (
        ".part-000002.parquet.1.tmp",
        "._job.json.1.tmp",
        "_failed/.part-000002.json.1.tmp",
    ):
        (out / left).write_bytes(whole[:100])
    again = _run(model_folder, data, out)
    assert (again.done, again.skipped, again.series) == (1, 5, 5)
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    assert [name for name in before if before[name] != after[name]] == ["part-000002.parquet"]
    assert (out / "part-000002.parquet").read_bytes() == whole
    assert not list(out.rglob(".*"))


@pytest.mark.parametrize("key", ["files", "parts"])
@pytest.mark.parametrize("value", [3, [3], [[]], [{}], {}, None])
def test_what_describes_no_job_is_named(tmp_path, key, value) -> None:
    folder, settings = place_of(str(tmp_path)), {"files": [], "future": None}
    (tmp_path / "_job.json").write_text(
        json.dumps({"files": [], "future": None, "parts": []} | {key: value})
    )
    with pytest.raises(ConfigError, match=r"_job\.json does not describe a job; choose another"):
        plan_of_job(folder, settings, folder, None, None)


def test_another_job_is_refused(model_folder, data, tmp_path) -> None:
    out = tmp_path / "out"
    _run(model_folder, data, out, level=[80])
    with pytest.raises(ConfigError, match=r"level: expected \[80.0\], found \[90.0\]; choose"):
        _run(model_folder, data, out, level=[90])
    with pytest.raises(ConfigError, match="rows_per_part: expected 200, found 300"):
        predict_parquet(model_folder, data, out, level=[80], rows_per_part=300, verbose=0)
    pq.write_table(long_table(names(60, 62)), data / "c.parquet")
    with pytest.raises(ConfigError, match=r"the input, .*: expected 2 files, found .*c\.parquet"):
        _run(model_folder, data, out, level=[80])
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").touch()
    with pytest.raises(ConfigError, match=r"no forecasts of this job, such as notes\.txt"):
        _run(model_folder, data, other)
    assert os.listdir(other) == ["notes.txt"]


@pytest.mark.parametrize("at", ["a part's beginning", "a part"])
@pytest.mark.parametrize("kept", [True, False])
def test_a_job_has_one_model(model, data, tmp_path, monkeypatch, at, kept) -> None:
    """Another model is saved in the folder while a job runs. A worker that has loaded the job's
    goes on with it; a new one finds only the other."""
    place = model.save(tmp_path / "model")
    other = model.predict(long_table(names(10, 40)))["ConvTimeNet"]
    digest = hashlib.sha256((place / "manifest.json").read_bytes()).hexdigest()
    done = []

    def save_anew() -> None:
        done.append(None)
        if len(done) == 3:
            ConvTimeNetForecaster(h=7, quality="fast", verbose=0).fit(
                long_table(names(50, 60), rows=80, seed=5)
            ).save(place)
            if not kept:
                predictor._loaded.clear()

    def local(work, parts, workers, address, tick):
        def after(part):
            found = work(part)
            save_anew()
            return found

        return map_parts(after, parts, workers, address, tick)  # pyright: ignore[reportArgumentType]

    def starts(ids):
        save_anew()
        return series_starts(ids)

    if at == "a part":
        monkeypatch.setattr("convtimenet.bulk.work.series_starts", starts)
    else:
        monkeypatch.setitem(engines.ENGINES, "local", local)
    out = tmp_path / "out"
    if kept:
        assert _run(place, data, out).failed == {}
        found = pq.read_table(out)["ConvTimeNet"]
        np.testing.assert_allclose(found, other, rtol=1e-5)
    else:
        with pytest.raises(ConfigError, match=f"SHA-256 {digest}, found .*another was saved"):
            _run(place, data, out)
        assert len(list(out.glob("*.parquet"))) == (3 if at != "a part" else 2)
        assert not (out / "_failed").exists()
    assert json.loads((out / "_job.json").read_text())["model"] == digest


@pytest.mark.parametrize("scheme", ["", "memory:/"])
def test_what_others_put_among_the_forecasts_is_refused(
    model_folder, data, tmp_path, scheme
) -> None:
    """Whoever reads the folder would read it, too: at the beginning and when a job goes on."""
    import fsspec

    files = fsspec.filesystem("memory" if scheme else "file", auto_mkdir=True)
    settings: Any = {"rows_per_part": 600, "verbose": 0}
    rows = (data / "a.parquet").read_bytes()
    out, place = f"{scheme}{tmp_path}/out", f"{tmp_path}/out"
    files.pipe_file(f"{place}/region=eu/part-000000.parquet", rows)
    with pytest.raises(ConfigError, match=r"such as region=eu/part-000000\.parquet, and would be"):
        predict_parquet(model_folder, data, out, **settings)
    assert len(files.find(place)) == 1
    files.rm(place, recursive=True)
    files.pipe_file(f"{place}/_old/x.parquet", rows)
    assert predict_parquet(model_folder, data, out, **settings).done == 2
    for name in ("x.parquet", "part-000002.parquet", "old/part-000001.parquet"):
        files.pipe_file(f"{place}/{name}", rows)
        with pytest.raises(ConfigError, match=f"no forecasts of this job, such as {name}"):
            predict_parquet(model_folder, data, out, **settings)
        files.rm_file(f"{place}/{name}")
    assert predict_parquet(model_folder, data, out, **settings).skipped == 2


@pytest.mark.parametrize("rows", [40, 1000])
def test_ids_that_match_one_series_are_refused(model_folder, model, tmp_path, rows) -> None:
    """As for a frame, whether or not they come into one part."""
    known, path = names(0, 3), tmp_path / "x.parquet"
    for ids, alike in (
        ([*known, "other", f"{known[1]} "], True),
        ([*known, "other", "other "], False),
    ):
        table = long_table(ids)
        pq.write_table(table, path)
        out = tmp_path / str(alike)
        if not alike:
            assert _run(model_folder, path, out, rows_per_part=rows).series == 5
            continue
        told = f"the ids {known[1]!r} and {ids[-1]!r} both match the series {known[1]!r}"
        with pytest.raises(DataError, match=told):
            _run(model_folder, path, out, rows_per_part=rows)
        assert not out.exists()
        with pytest.raises(DataError, match=told):
            model.predict(table)


def test_series_that_fail_do_not_stop_the_others(model_folder, model, tmp_path) -> None:
    table = long_table(names(0, 15)).to_pandas()
    table["y"] = table["y"].map("{:.6f}".format)
    table.loc[table["unique_id"] == "s0007", "y"] = "n/k"
    table.loc[(table["unique_id"] == "s0009"), "ds"] = pd.Timestamp("2024-01-01")
    data, out = tmp_path / "data.parquet", tmp_path / "out"
    table.to_parquet(data)
    found = _run(model_folder, data, out)
    assert sorted(found.failed) == ["s0007", "s0009"]
    assert "n/k" in found.failed["s0007"]
    assert "2024-01-01" in found.failed["s0009"]
    assert (found.parts, found.done, found.failed_parts, found.series) == (3, 2, 1, 13)
    told = json.loads((out / "_failed" / "part-000001.json").read_text())
    assert told == {"part": "part-000001", "failed": found.failed}
    forecasts = pq.read_table(out).to_pandas()
    good = [name for name in names(0, 15) if name not in found.failed]
    assert forecasts["unique_id"].tolist() == np.repeat(good, 7).tolist()
    expected = model.predict(table[table["unique_id"].isin(good)].reset_index(drop=True))
    np.testing.assert_allclose(forecasts["ConvTimeNet"], expected["ConvTimeNet"], rtol=1e-5)
    again = _run(model_folder, data, out)  # tried again
    assert (again.skipped, again.failed) == (2, found.failed)


@pytest.mark.parametrize("first", ["a", "b"])
@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y"])
def test_texts_of_all_parts_are_read_by_one_rule(
    model_folder, model, tmp_path, first, form
) -> None:
    """Also by the next run: in one part every date and number could be read in another way."""
    open_, clear = long_table(names(0, 10), 9).to_pandas(), long_table(names(10, 20)).to_pandas()
    open_["y"] = open_["y"].map(lambda y: float(round(2000 + abs(y))))
    clear["y"] += 2000.5
    table = pd.concat([open_, clear] if first == "a" else [clear, open_], ignore_index=True)
    expected = model.predict(table)
    table["ds"] = table["ds"].dt.strftime(form)
    table["y"] = [f"{y:_.3f}".replace(".", ",").replace("_", ".") for y in table["y"]]
    table["y"] = table["y"].str.replace(",000", "")
    assert table["y"].str.fullmatch(r"2\.0\d\d").sum() == 90
    data, out = tmp_path / "data.parquet", tmp_path / "out"
    table.to_parquet(data)
    assert _run(model_folder, data, out, rows_per_part=90).failed == {}
    found = pq.read_table(out).to_pandas()
    assert (found["ds"] == expected["ds"]).all()
    np.testing.assert_allclose(found["ConvTimeNet"], expected["ConvTimeNet"], rtol=1e-4)
    parts = sorted(out.glob("part-*.parquet"))
    assert len(parts) > 2
    (parts[0] if first == "a" else parts[-1]).unlink()
    assert _run(model_folder, data, out, rows_per_part=90).failed == {}
    assert pq.read_table(out).to_pandas().equals(found)


@pytest.mark.parametrize("content", [b"xx", b"", None])
def test_a_damaged_part_is_done_again(model_folder, data, tmp_path, content) -> None:
    """Also one whose end is cut off."""
    out = tmp_path / "out"
    _run(model_folder, data, out)
    expected, path = pq.read_table(out), out / "part-000003.parquet"
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    found = _run(model_folder, data, out)
    assert (found.done, found.skipped) == (1, 5)
    assert pq.read_table(out).equals(expected)


def test_a_part_without_a_good_series_is_given_up(model_folder, tmp_path) -> None:
    table = long_table(names(0, 50), 4).to_pandas()
    table["y"] = "?"
    table.to_parquet(tmp_path / "data.parquet")
    found = _run(model_folder, tmp_path / "data.parquet", tmp_path / "out")
    assert len(found.failed) == 50
    assert found.failed["s0049"].startswith("not tried")
    assert not list((tmp_path / "out").glob("*.parquet"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.rename(columns={"y": "z"}), r"the table lacks the channels 'y'; it has 'z'"),
        (
            lambda t: t.assign(ds=range(len(t))),
            "whole numbers as time stamps, the model was fitted",
        ),
        (lambda t: t.assign(ds=t["ds"].dt.tz_localize("UTC")), "time zone 'UTC', those that the"),
        (
            lambda t: t.assign(y="abc"),
            "row 0: expected a number, found 'abc'; write numbers, or leave the column out",
        ),
    ],
)
def test_what_no_series_of_the_files_could_be_read_with_is_refused(
    model_folder, tmp_path, change, told
) -> None:
    """Before anything is written, with a remedy that a job has."""
    change(long_table(names(0, 30)).to_pandas()).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(DataError, match=rf"data\.parquet: .*{told}") as error:
        _run(model_folder, tmp_path / "data.parquet", tmp_path / "out")
    assert "_col" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (lambda t: t.assign(ds=pd.Timestamp("2024-01-01")), 8),  # no series is right
        (lambda t: t.assign(y=None), 8),
        (lambda t: t.assign(y=t["y"].astype(str).where(t["unique_id"] > "s0005", "abc")), 6),
    ],
)
def test_what_single_series_lack_is_no_reason_not_to_begin(
    model_folder, tmp_path, change, failed
) -> None:
    change(long_table(names(0, 8), 10).to_pandas()).to_parquet(tmp_path / "data.parquet")
    found = _run(model_folder, tmp_path / "data.parquet", tmp_path / "out")
    assert (len(found.failed), found.series) == (failed, 8 - failed)


@pytest.mark.parametrize("number", [20, 49])
def test_many_bad_series_at_the_beginning_stop_no_others(model_folder, tmp_path, number) -> None:
    table, bad = long_table(names(0, 50)).to_pandas(), names(0, number)
    table.loc[table["unique_id"].isin(bad), "ds"] = pd.Timestamp("2024-01-01")
    table.to_parquet(tmp_path / "data.parquet")
    found = predict_parquet(model_folder, tmp_path / "data.parquet", tmp_path / "out", verbose=0)
    assert sorted(found.failed) == bad
    assert not any("not tried" in why for why in found.failed.values())
    assert found.series == 50 - number


def test_a_damaged_file_fails_its_parts_only(model_folder, data, tmp_path) -> None:
    out = tmp_path / "out"
    _run(model_folder, data, out)
    for number in (0, 5):
        (out / f"part-00000{number}.parquet").unlink()
    path = data / "b.parquet"
    content, stamp = path.read_bytes(), path.stat()
    path.write_bytes(content[:4] + bytes(len(content) - 4))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    found = _run(model_folder, data, out)
    assert (found.done, found.skipped, list(found.failed)) == (1, 4, ["part-000005"])
    assert "b.parquet: not readable as Parquet" in found.failed["part-000005"]


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_file_that_changes_while_a_job_runs_fails_its_parts(
    model_folder, data, tmp_path, monkeypatch, when
) -> None:
    """Even if it has as many bytes and rows, before it is read or while it is."""
    changed = pq.read_table(data / "b.parquet")
    changed = changed.set_column(2, "y", pa.array(changed["y"].to_numpy() + 1000))
    size = (data / "b.parquet").stat().st_size
    read, open_input = parts.read_pieces, parts.opened

    def replace(number: int) -> None:
        if number == 4:
            pq.write_table(changed, data / "b.parquet")
            assert (data / "b.parquet").stat().st_size == size

    def before(pieces, columns=None):
        replace(begun.append(None) or len(begun))
        return read(pieces, columns)

    @contextmanager
    def during(file, parquet):
        with open_input(file, parquet) as found:
            yield found
            replace(begun.append(None) or len(begun))

    begun: list[None] = []
    of, new = ("read_pieces", before) if when == "before" else ("opened", during)
    monkeypatch.setattr(parts, of, new)
    found = _run(model_folder, data, tmp_path / "out")
    assert found.series + 5 * len(found.failed) == 30
    assert "part-000005" in found.failed
    for why in found.failed.values():
        assert re.search(r"b\.parquet: expected the file .* when the job began, found another", why)
    assert max(pq.read_table(tmp_path / "out")["ConvTimeNet"].to_pylist()) < 100


@pytest.mark.parametrize("known", ["created", "etag", "nothing"])
def test_changed_files_are_seen_where_there_is_no_time_of_change(data, monkeypatch, known) -> None:
    """By what else the file system knows, or by the statistics in the Parquet footer."""
    import fsspec

    memory = fsspec.filesystem("memory")
    own = memory.info

    def info(path: str, **settings) -> dict:
        found = own(path, **settings)
        tag = hashlib.md5(memory.store[path].getvalue()).hexdigest() if found["size"] else ""
        return {name: found[name] for name in ("name", "size", "type")} | (
            {"ETag": tag} if known == "etag" else {}
        )

    if known != "created":
        monkeypatch.setattr(memory, "info", info)
    table = pq.read_table(data / "a.parquet")
    states = []
    for more in (0.0, 1000.0):
        with memory.open(f"/state/{known}.parquet", "wb") as file:
            pq.write_table(table.set_column(2, "y", pa.array(table["y"].to_numpy() + more)), file)
        source = place_of(f"memory://state/{known}.parquet")
        states.append(source_facts(source))
        assert source_facts(source) == states[-1]
    (first,), (second,) = states
    assert first["bytes"] == second["bytes"]
    assert first["changed"] != second["changed"]
    assert first["changed"].startswith({"etag": "ETag ", "nothing": "footer "}.get(known, known))


@pytest.mark.parametrize("rows", [200, 10**6])
@pytest.mark.parametrize("lacking", ["a", "b"])
def test_a_file_without_a_column_is_refused(data, model_folder, tmp_path, lacking, rows) -> None:
    """However the rows are split: in one part with others, its values would be missing ones."""
    path, out = data / f"{lacking}.parquet", tmp_path / "out"
    pq.write_table(pq.read_table(path).drop_columns(["y"]), path)
    other = "b" if lacking == "a" else "a"
    with pytest.raises(DataError, match=rf"{lacking}\.parquet: .*'y' as in .*{other}\.parquet"):
        predict_parquet(model_folder, data, out, rows_per_part=rows, verbose=0)
    assert not list(out.glob("*.parquet"))


def test_a_file_may_have_columns_of_its_own(data, model_folder, tmp_path) -> None:
    path = data / "b.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("note", pa.array(["x"] * len(table))), path)
    pq.write_table(table[:0].drop_columns(["y"]), data / "empty.parquet")
    assert _run(model_folder, data, tmp_path / "out").series == 30


def test_wrong_settings_fail_before_anything_is_written(model_folder, data, tmp_path) -> None:
    out = tmp_path / "out"
    for settings, message in (
        ({"engine": "loca"}, r"found 'loca'; did you mean local\?"),
        ({"engine": None}, "engine: expected local, .* found None"),
        ({"id_col": ""}, "id_col: expected a column, found ''"),
        ({"verbose": None}, "verbose must be"),
        ({"rows_per_part": 0}, "rows_per_part must be a whole number"),
        ({"rows_per_part": 1.5}, "rows_per_part must be a whole number"),
        ({"rows_per_part": "5"}, "rows_per_part must be a whole number"),
        ({"rows_per_part": None}, "rows_per_part must be a whole number"),
        ({"workers": 2.5}, "workers must be a whole number"),
        ({"workers": "2"}, "workers must be a whole number"),
        ({"level": [0.8]}, "levels are in per cent"),
        ({"h": 0}, "h, the steps"),
        ({"h": 8, "level": [80]}, "intervals are limited"),
        ({"workers": 0}, "workers must be"),
        ({"address": "tcp://x"}, "the local engine has no cluster"),
        ({"future": data}, "the model has no futr_exog"),
    ):
        with pytest.raises(ConfigError, match=message):
            _run(model_folder, data, out, **settings)
    with pytest.raises(ConfigError, match="data: expected a place, found ''"):
        _run(model_folder, "", out)
    for given, message in (
        ([data], "data: expected a place as text, found list; .* or a pattern such as folder/"),
        (7, "data: expected a place as text, found int; give its name$"),
    ):
        with pytest.raises(ConfigError, match=message):
            _run(model_folder, given, out)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match="expected the id column 'shop'"):
        _run(model_folder, data, out, id_col="shop")
    with pytest.raises(ArtefactError, match="no model folder"):
        _run(tmp_path / "none", data, out)
    with pytest.raises(DataError, match="no such file"):
        _run(model_folder, tmp_path / "none", out)
    assert not out.exists()


def test_processes_that_train_together_run_no_job(
    model_folder, data, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(ConfigError, match="a job of forecasts expects a process of its own"):
        _run(model_folder, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_forecasts_are_not_written_among_the_data(model_folder, data, tmp_path) -> None:
    """The second call would read them as series."""
    (tmp_path / "link").symlink_to(data)
    inside = data / "forecasts"
    for source, out in (
        (data, data),
        (data, inside),
        (data, data / ".." / data.name / "f"),
        (data, tmp_path / "link" / "f"),
        (data.as_uri(), inside),
        (data, inside.as_uri()),
        (data / "**" / "*.parquet", inside),
        (data.parent / "*", inside),
        (tmp_path / "link" / "*" / "*.parquet", inside),
        (data / "**" / "*.parquet", tmp_path / "link" / "f"),
    ):
        if "*" in str(source):
            (data / "more").mkdir(exist_ok=True)
            pq.write_table(long_table(names(80, 81)), data / "more" / "c.parquet")
        with pytest.raises(ConfigError, match=r"whose files are read: .*choose a folder beside it"):
            _run(model_folder, source, out)
    assert sorted(path.name for path in data.iterdir()) == ["a.parquet", "b.parquet", "more"]


def test_forecasts_may_be_beside_the_data(model_folder, data) -> None:
    """Where the source does not match them."""
    assert _run(model_folder, data / "*.parquet", data / "forecasts").done == 6
    assert _run(model_folder, data / "*.parquet", data / "forecasts").skipped == 6


def test_processes_need_no_guard_of_the_callers_script(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from operator import attrgetter\n"
        "from convtimenet.bulk.engines import engine\n"
        "from convtimenet.bulk.parts import Part\n"
        "parts = [Part(name, 1, 1, ()) for name in 'abc']\n"
        "print(sorted(engine('local')(attrgetter('name'), parts, 2, None, lambda done: None)))\n"
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert run.stdout == "['a', 'b', 'c']\n", run.stderr


@pytest.mark.parametrize("engine", ["ray", "spark", "dask"])
def test_an_engine_that_is_missing_is_named(
    model_folder, data, tmp_path, engine, monkeypatch
) -> None:
    for name in ("ray", "ray.data", "pyspark", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"convtimenet\[{engine}\]"):
        _run(model_folder, data, tmp_path / "out", engine=engine)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Attempted to run task x on 4 workers", "Attempted to run task x on 4 workers"),
        (
            "Traceback:\n  File x\na.b.ConfigError: no model\n\nThe above exception was the direct "
            "cause of:\n\n  File y\nray.UserCodeException: failed: x\nTo retry set y.",
            "a.b.ConfigError: no model",
        ),
        ("o1.x\n: Spark: no\n\tat a.b(C)\nCaused by: why\n\t... 1 more", "Caused by: why"),
        ("", "no text"),
    ],
)
def test_what_an_engine_raises_is_told_in_a_line(
    model_folder, data, tmp_path, monkeypatch, capsys, said, told
) -> None:
    class KilledWorker(Exception):
        pass

    def fail(work, parts, *settings):
        work(parts[0])
        raise KilledWorker(said)

    monkeypatch.setitem(sys.modules, "distributed", engines)
    monkeypatch.setitem(engines.ENGINES, "dask", fail)
    out = tmp_path / "out"
    given = ["predict", str(model_folder), str(data), "--out", str(out), "--quiet"]
    given += ["--rows_per_part", "600"]
    assert main([*given, "--engine", "dask"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        f"convtimenet: the engine dask failed: KilledWorker: {told}; finished parts are kept"
    )
    assert main(given) == 0
    assert "1 done, 1 done earlier" in capsys.readouterr().out


def _fake_spark(monkeypatch, active: bool) -> list[str]:
    """A session that runs, in this thread or in another one; returns what is done to it."""
    done: list[str] = []

    def fail(*given):
        raise RuntimeError("no such cluster")

    context = SimpleNamespace(master="local[2]", setLogLevel=done.append)
    session = SimpleNamespace(sparkContext=context, range=fail, stop=lambda: done.append("stopped"))
    sql, spark = ModuleType("pyspark.sql"), ModuleType("pyspark")
    builder = SimpleNamespace(getOrCreate=lambda: session)
    spark.SparkContext = SimpleNamespace(_active_spark_context=context)  # pyright: ignore[reportAttributeAccessIssue]
    sql.SparkSession = SimpleNamespace(  # pyright: ignore[reportAttributeAccessIssue]
        getActiveSession=lambda: session if active else None, builder=builder
    )
    monkeypatch.setitem(sys.modules, "pyspark", spark)
    monkeypatch.setitem(sys.modules, "pyspark.sql", sql)
    return done


@pytest.mark.parametrize("active", [True, False])
def test_a_session_that_runs_stays_as_it_is(
    model_folder, data, tmp_path, monkeypatch, active
) -> None:
    """Also one of another thread: a process has one context."""
    done = _fake_spark(monkeypatch, active)
    with pytest.raises(EngineError, match="no such cluster"):
        _run(model_folder, data, tmp_path / "out", engine="spark")
    assert done == []


@pytest.mark.parametrize("address", [None, "auto", "10.0.0.1:6379", "ray://other:10001"])
def test_a_cluster_of_ray_that_is_connected_stays_as_it_is(
    model_folder, data, tmp_path, monkeypatch, address
) -> None:
    def fail(*given, **settings):
        assert (context.enable_progress_bars, logger.level) == (False, logging.ERROR)
        raise RuntimeError("no such cluster")

    context, logger = SimpleNamespace(enable_progress_bars=True), logging.getLogger("ray.data")
    ray, ray_data = ModuleType("ray"), ModuleType("ray.data")
    of = SimpleNamespace(gcs_address="10.0.0.1:6379")
    for name, value in {
        "is_initialized": lambda: True,
        "get_runtime_context": lambda: of,
        "cluster_resources": lambda: {"CPU": 2.0},
        "shutdown": lambda: pytest.fail("shut down"),
        "data": ray_data,
    }.items():
        setattr(ray, name, value)
    ray_data.DataContext = SimpleNamespace(get_current=lambda: context)  # pyright: ignore[reportAttributeAccessIssue]
    ray_data.from_items = fail  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", ray_data)
    other = address == "ray://other:10001"
    with pytest.raises(
        ConfigError if other else EngineError,
        match="connected to, '10.0.0.1:6379'; leave the address out" if other else "no such",
    ):
        _run(model_folder, data, tmp_path / "out", engine="ray", address=address)
    assert (context.enable_progress_bars, logger.level) == (True, logging.NOTSET)


def test_the_address_of_another_session_is_refused(
    model_folder, data, tmp_path, monkeypatch
) -> None:
    _fake_spark(monkeypatch, active=True)
    with pytest.raises(ConfigError, match=r"'spark://x:7077' .* whose master is 'local\[2\]'"):
        _run(model_folder, data, tmp_path / "out", engine="spark", address="spark://x:7077")


def test_errors_of_this_package_pass_an_engine(model_folder, data, tmp_path, monkeypatch) -> None:
    def fail(*given):
        raise ArtefactError("no model")

    monkeypatch.setitem(sys.modules, "distributed", engines)
    monkeypatch.setitem(engines.ENGINES, "dask", fail)
    with pytest.raises(ArtefactError, match=r"^no model$"):
        _run(model_folder, data, tmp_path / "out", engine="dask")


def test_a_killed_job_goes_on(model_folder, data, tmp_path) -> None:
    """Killed for good after its first parts; the next run does the rest, and all is there once."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    _run(model_folder, data, whole)
    code = (
        "import sys, time\n"
        "from convtimenet.bulk import job, work\n"
        "write = work.write_bytes\n"
        "def slow(place, content):\n"
        "    write(place, content)\n"
        "    time.sleep(0.5 if 'part-' in place.path else 0)\n"
        "work.write_bytes = slow\n"
        "job.predict_parquet(*sys.argv[1:], rows_per_part=200, verbose=0)\n"
    )
    places = [str(model_folder), str(data), str(out)]
    process, end = Forked(code, *places), time.monotonic() + 60
    while len(list(out.glob("part-*.parquet"))) < 2:
        assert process.running()
        assert time.monotonic() < end
        time.sleep(0.02)
    with pytest.raises(ConfigError, match=f"in use by process {process.pid}"):
        _run(model_folder, data, out)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert 2 <= (before := len(list(out.glob("part-*.parquet")))) < 6
    found = _run(model_folder, data, out)
    assert (found.skipped, found.done) == (before, 6 - before)
    assert pq.read_table(out).equals(pq.read_table(whole))


# --- the object that travels ---------------------------------------------------------------------


def test_the_forecaster_is_small_and_loads_once(model_folder, model, monkeypatch) -> None:
    monkeypatch.setattr(predictor, "_loaded", {})
    forecaster = pickle.loads(pickle.dumps(BulkForecaster(model_folder, level=[80])))
    assert len(pickle.dumps(forecaster)) < 500
    assert not predictor._loaded
    table = long_table(names(0, 3))
    for kind in (table, table.to_pandas()):
        found, expected = forecaster(kind), model.predict(kind, level=[80])
        assert type(found) is type(kind)
        assert found.equals(expected)
    loaded = forecaster.loaded()
    assert BulkForecaster(str(model_folder)).loaded() is loaded
    model.save(model_folder)  # a newer model takes its place
    assert forecaster.loaded() is not loaded


@pytest.mark.parametrize("settings", [{"level": 80}, {"h": 9}])
def test_frames_without_rows_have_the_same_columns(model_folder, settings) -> None:
    forecaster = BulkForecaster(model_folder, **settings)
    table = long_table(names(0, 2))
    assert forecaster(table[:0]).schema.equals(forecaster(table).schema)
    frame = table.to_pandas()
    assert forecaster(frame[:0]).dtypes.equals(forecaster(frame).dtypes)


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_a_frame_without_rows_has_times_where_others_have_texts(model_folder, kind) -> None:
    table = long_table(names(0, 1))
    table = table.set_column(1, "ds", table["ds"].cast(pa.date32()).cast(pa.string()))
    pl = pytest.importorskip("polars")  # not in the environments of `make scale`
    frame = {"pandas": table.to_pandas, "polars": lambda: pl.from_arrow(table)}.get(
        kind, lambda: table
    )()
    forecaster = BulkForecaster(model_folder)
    full, empty = forecaster(frame), forecaster(frame[:0])
    if kind == "pandas":
        assert empty.dtypes.equals(full.dtypes)
    else:
        assert empty.schema == full.schema
    assert len(empty) == 0


@pytest.mark.parametrize("series", [1, 3])
def test_a_stream_joins_every_row_once(model_folder, monkeypatch, series) -> None:
    """Also of a series that is longer than what is collected."""
    table = long_table(names(0, series), 120).to_pandas()
    frames = [table[at : at + 4] for at in range(0, len(table), 4)]
    joined, concat = [], pd.concat

    def counted(frames, **settings):
        found = concat(frames, **settings)
        joined.append(len(found))
        return found

    forecaster = BulkForecaster(model_folder)
    forecaster.loaded()
    monkeypatch.setattr(pd, "concat", counted)
    assert len(list(forecaster.stream(frames, rows=20))) == series
    assert [rows for rows in joined if rows > 7] == [120] * series  # 7 rows are a forecast


@pytest.mark.parametrize("size", [1, 33, 40, 1000])
def test_a_stream_may_cut_series(model_folder, model, size) -> None:
    table = long_table(names(0, 6)).to_pandas()
    frames = [table[at : at + size] for at in range(0, len(table), size)]
    found = list(BulkForecaster(model_folder).stream(iter(frames), rows=90))
    assert len(found) == 2 if size == 1000 else len(found) >= 3  # the last series may go on
    joined = pd.concat(found, ignore_index=True)
    expected = model.predict(table)
    assert joined[["unique_id", "ds"]].equals(expected[["unique_id", "ds"]])
    np.testing.assert_allclose(joined["ConvTimeNet"], expected["ConvTimeNet"], rtol=1e-5)
    assert list(BulkForecaster(model_folder).stream([])) == []


def test_threads_are_set_for_the_call_only(model_folder) -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        BulkForecaster(model_folder)(long_table(names(0, 2)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    with pytest.raises(ConfigError, match="threads"):
        BulkForecaster(model_folder, threads=0)


def test_what_a_worker_cannot_know_is_refused(model_folder) -> None:
    with pytest.raises(DataError, match="batch_format"):
        BulkForecaster(model_folder)({"y": np.zeros(3)})


# --- the command ---------------------------------------------------------------------------------


def test_the_command_says_what_it_did(model_folder, data, tmp_path, capsys) -> None:
    out = str(tmp_path / "out")
    given = ["predict", str(model_folder), str(data), "--out", out, "--rows_per_part", "200"]
    assert main([*given, "--level", "80"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "30 series of 1,200 rows in" in told
    assert "6 parts: 6 done, 0 done earlier, 0 with failures" in told
    assert "rows per second" in told
    assert out in told.replace(" ", "")
    assert main([*given, "--level", "80"]) == 0
    assert "6 parts: 0 done, 6 done earlier, 0 with failures" in capsys.readouterr().out
    assert main(given) == 2
    assert "level: expected [80.0], found []" in capsys.readouterr().err


def test_the_command_fails_if_a_series_does(model_folder, tmp_path, capsys) -> None:
    table = long_table(names(0, 3)).to_pandas()
    table.loc[table["unique_id"] == "s0001", "ds"] = pd.Timestamp("2024-01-01")
    table.to_parquet(tmp_path / "data.parquet")
    out = str(tmp_path / "out")
    assert main(["predict", str(model_folder), str(tmp_path / "data.parquet"), "--out", out]) == 2
    shown = capsys.readouterr()
    assert "2 series of 80 rows" in shown.out
    assert "1 failed and have no forecast: s0001: " in shown.err
    told = " ".join(shown.err.split())
    assert "and give another --out, as this one goes on only with unchanged files" in told
    long_table(names(0, 3)).to_pandas().to_parquet(tmp_path / "data.parquet")  # corrected
    again = ["predict", str(model_folder), str(tmp_path / "data.parquet"), "--out"]
    assert main([*again, out]) == 2
    assert main([*again, f"{out}2"]) == 0
    assert "3 series of 120 rows" in capsys.readouterr().out


def test_a_job_tells_nothing_of_the_training_table(tmp_path: Path, caplog) -> None:
    """Its first series is forecast to check the settings; what is said of it is no matter here."""
    rows = pa.concat_tables([long_table(["k0000"], 3), long_table(names(0, 4), 80)])
    model = ConvTimeNetForecaster(h=7, quality="fast", verbose=0).fit(rows).save(tmp_path / "model")
    pq.write_table(long_table(names(0, 4), 80), tmp_path / "x.parquet")
    with caplog.at_level("INFO", logger="convtimenet"):
        caplog.clear()
        found = _run(model, tmp_path / "x.parquet", tmp_path / "out", level=80)
    assert found.series == 4
    assert [one for one in caplog.messages if "k0000" in one or "known values" in one] == []
    with pytest.raises(ConfigError, match="level"):
        _run(model, tmp_path / "x.parquet", tmp_path / "p", level=200)
