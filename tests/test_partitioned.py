"""Several files that are one table: the same files and types for whoever trains and forecasts."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import dataset, parquet

from convtimenet import ConvTimeNetForecaster, predict_parquet
from convtimenet.bulk.places import parquet_files, place_of, seen_below, would_read
from convtimenet.data.files import is_columnar
from convtimenet.data.files.columnar import open_dataset
from convtimenet.data.tables import read_table
from convtimenet.errors import ConfigError, DataError

DAYS = np.datetime64("2024-01-01", "us") + np.arange(80) * np.timedelta64(1, "D")


def rows_of(series: str, rows: int = 4, first: float = 0) -> pa.Table:
    values = np.arange(first, first + rows, dtype=float)
    return pa.table({"unique_id": [series] * rows, "ds": DAYS[:rows], "y": values})


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A folder with links to a folder, to a file, to folders it is in and to one not seen."""
    place = tmp_path / "sales"
    for folder, name, first in (("sales/region=eu", "a", 0), ("us", "b", 10), (".", "c", 20)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        parquet.write_table(rows_of(name, first=first), tmp_path / folder / f"{name}.parquet")
    for link, target in (
        ("region=us", "../us"), ("region=eu/up", ".."), ("here", "."), (".old", "../us"),
        ("c.parquet", "../c.parquet"),
    ):  # fmt: skip
        (place / link).symlink_to(target)
    return place


def listed(source: str) -> list[list[str]]:
    """The files of a source, as each of those finds them who list files."""
    trained = open_dataset(source)
    assert is_columnar(source)
    ids = trained.to_table()["unique_id"].unique().to_pylist()
    forecast = [Path(one.place.path).stem for one, _ in parquet_files(place_of(source))]
    return [ids, [Path(one).stem for one in trained.files], forecast]


@pytest.mark.parametrize(
    ("source", "files"),
    [
        ("{}", "cab"),
        ("{}/", "cab"),
        ("file://{}", "cab"),
        ("file:{}", "cab"),
        ("local://{}", "cab"),
        ("{}/*", "cab"),
        ("{}/region=*", "ab"),
        ("{}/region=us", "b"),
        ("{}/region=*/*.parquet", "ab"),
        ("file://{}/region=*/?.parquet", "ab"),
        ("{}/**/*.parquet", "cab"),
        ("file://{}/**/[ab].parquet", "ab"),
        ("{}/*.parquet", "c"),
    ],
)
def test_links_are_followed_by_all_who_list_files(
    linked: Path, monkeypatch, source: str, files: str
) -> None:
    assert listed(source.format(linked)) == [[*files]] * 3
    if ":" not in source:
        monkeypatch.chdir(linked)
        assert listed(source.format(".")) == [[*files]] * 3


def test_a_linked_folder_is_read_as_any_other(linked: Path, monkeypatch) -> None:
    ours = [str(one.relative_to(linked)) for one in sorted(linked.rglob("*.parquet"))]
    assert ours == ["c.parquet", "region=eu/a.parquet"]  # which is not how to list them
    for link in ("here", "region=eu/up"):
        (linked / link).unlink()  # pyarrow goes round in them
    theirs = [str(Path(one).relative_to(linked)) for one in dataset.dataset(linked).files]
    assert theirs == seen_below(place_of(str(linked))) == [*ours, "region=us/b.parquet"]
    monkeypatch.chdir(linked)
    for source in (str(linked), f"file://{linked}", ".", "*"):
        table = read_table(source, target_cols=["y"], covariates=["region"])
        assert table.ids.tolist() == ["c", "a", "b"]
        assert table.values[:, 0].tolist() == [20, 21, 22, 23, 0, 1, 2, 3, 10, 11, 12, 13]
        assert table.covariates["region"].tolist() == [None] * 4 + ["eu"] * 4 + ["us"] * 4


def test_links_to_each_other_end(tmp_path: Path) -> None:
    """Each file is found by each of its names that passes no folder twice."""
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "other").symlink_to(f"../{other}")
        parquet.write_table(rows_of(name), tmp_path / name / f"{name}.parquet")
    names = ["a/a.parquet", "a/other/b.parquet", "b/b.parquet", "b/other/a.parquet"]
    assert seen_below(place_of(str(tmp_path))) == names
    assert open_dataset(tmp_path).files == [str(tmp_path / name) for name in names]
    with pytest.raises(DataError, match="duplicate"):
        read_table(tmp_path)


@pytest.mark.parametrize("link", ["d.parquet", "region=de", "region=eu/d.parquet"])
@pytest.mark.parametrize("source", ["{}", "file://{}", "{}/**/*.parquet", "{}/*"])
def test_a_link_that_leads_nowhere_is_refused(linked: Path, link: str, source: str) -> None:
    """It may be a disk that is not there, and its rows would be missing."""
    (linked / link).symlink_to("nowhere")
    for read in (read_table, lambda path: parquet_files(place_of(path))):
        with pytest.raises(DataError, match=f"{link}: .*a link to nowhere, which is not there"):
            read(source.format(linked))
    assert listed(f"{linked}/region=us/*.parquet") == [["b"]] * 3  # elsewhere it does not matter


def test_links_at_an_address_are_refused(linked: Path) -> None:
    """What is behind them cannot be told there."""
    for read in (read_table, lambda path: parquet_files(place_of(path))):
        with pytest.raises(DataError, match="links are not followed at an address"):
            read(f"simplecache::file://{linked}")


def test_addresses_of_this_machine_are_read_as_written_or_quoted(tmp_path: Path) -> None:
    for name in ("a b", "a%20b", "c%20d"):
        (tmp_path / name).mkdir()
        parquet.write_table(rows_of(name), tmp_path / name / "x.parquet")
    for written, name in (("a b", "a b"), ("a%20b", "a%20b"), ("c%20d", "c%20d")):
        assert listed(f"file://{tmp_path}/{written}")[0] == [name]
    (tmp_path / "a%20b").rename(tmp_path / "e")
    assert listed(f"file://localhost{tmp_path}/a%20b")[0] == ["a b"]


def test_forecasts_are_not_written_where_a_link_leads_to(linked: Path, tmp_path: Path) -> None:
    for out, pattern, reads in (
        ("us/out", "", True),
        ("us/out", "/region=*", True),
        ("us/out", "/region=*/*.parquet", False),
        ("us/out", "/region=us", True),
        ("us/out", "/c.parquet", False),
        ("out", "", False),
    ):
        target = place_of(str(tmp_path / out / "part-000000.parquet"))
        assert would_read(place_of(f"{linked}{pattern}"), target) is reads, (out, pattern)


TEXT, LARGE = pa.string(), pa.large_string()
CATEGORY = pa.dictionary(pa.int32(), TEXT)
GOES_TOGETHER = [
    ("unique_id", TEXT, LARGE, LARGE),
    ("unique_id", TEXT, pa.string_view(), TEXT),
    ("unique_id", CATEGORY, TEXT, TEXT),
    ("unique_id", LARGE, CATEGORY, LARGE),
    ("ds", pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("us")),
    ("ds", pa.timestamp("ns", "UTC"), pa.timestamp("us", "UTC"), pa.timestamp("ns", "UTC")),
    ("y", pa.int64(), pa.float64(), pa.float64()),
    ("y", pa.int8(), pa.int32(), pa.int32()),
    ("y", pa.float32(), pa.int32(), pa.float64()),
    ("y", pa.decimal128(9, 1), pa.float32(), pa.float64()),
    ("y", pa.decimal128(9, 1), pa.int64(), pa.decimal128(38, 1)),
]


def cast(table: pa.Table, name: str, of: pa.DataType) -> pa.Table:
    at, column = table.column_names.index(name), table[name]
    if pa.types.is_dictionary(of):
        return table.set_column(at, name, column.cast(of.value_type).dictionary_encode())
    return table.set_column(at, name, column.cast(of))


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("name", "first", "second", "both"), GOES_TOGETHER)
def test_types_of_files_go_together(tmp_path, name, first, second, both, swapped) -> None:
    """To the bit the table that one file with the common type gives."""
    (tmp_path / "x").mkdir()
    halves = rows_of("a"), rows_of("b", first=-9)
    first, second = (second, first) if swapped else (first, second)
    for file, rows, of in zip("ab", halves, (first, second), strict=True):
        parquet.write_table(cast(rows, name, of), tmp_path / "x" / f"{file}.parquet")
    parquet.write_table(cast(pa.concat_tables(halves), name, both), tmp_path / "whole.parquet")
    assert open_dataset(tmp_path / "x").schema.field(name).type == both
    ours, theirs = (read_table(tmp_path / one) for one in ("x", "whole.parquet"))
    assert ours.ids.tolist() == theirs.ids.tolist() == ["a", "b"]
    assert ours.times.dtype == theirs.times.dtype
    assert (ours.times == theirs.times).all()
    assert ours.values.tobytes() == theirs.values.tobytes()
    assert ours.values[:, 0].tolist() == [0, 1, 2, 3, -9, -8, -7, -6]
    assert (ours.time_zone, ours.frequency, ours.notices) == (
        theirs.time_zone, theirs.frequency, theirs.notices,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("y", pa.array(["1", "2", "3", "4"])),
        ("y", pa.array([True, False, True, True])),
        ("ds", pa.array(DAYS[:4], pa.timestamp("us", "UTC"))),
        ("ds", pa.array([str(one) for one in DAYS[:4]])),
        ("ds", pa.array(DAYS[:4]).cast(pa.date32())),
        ("unique_id", pa.array([1] * 4)),
        ("unique_id", pa.array([b"b"] * 4)),
    ],
)
def test_types_that_do_not_go_together_are_refused(tmp_path, name, cells) -> None:
    rows = rows_of("b")
    parquet.write_table(rows_of("a"), tmp_path / "a.parquet")
    at = rows.column_names.index(name)
    parquet.write_table(rows.set_column(at, name, cells), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=rf"a\.parquet to .*b\.parquet: .*'{name}' .*same types"):
        read_table(tmp_path)


def test_numbers_that_would_lose_digits_are_refused(tmp_path: Path) -> None:
    whole = pa.array([2**53 + 1, 1, 2, 3])
    parquet.write_table(rows_of("a").set_column(2, "y", whole), tmp_path / "a.parquet")
    parquet.write_table(cast(rows_of("b"), "y", pa.float64()), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"9007199254740993 not in range.* all with the same types"):
        read_table(tmp_path)
    cents = pa.array([Decimal("0.10")] * 4)
    parquet.write_table(rows_of("a").set_column(2, "y", cents), tmp_path / "a.parquet")
    parquet.write_table(cast(rows_of("b"), "y", pa.float32()), tmp_path / "b.parquet")
    assert read_table(tmp_path).values[:4, 0].tolist() == [0.1] * 4


def with_column(rows: pa.Table, name: str, cells: Any) -> pa.Table:
    return rows.append_column(name, pa.array(cells))


@pytest.mark.parametrize(
    ("name", "cells", "how", "reads"),
    [
        ("promo", [1, 0, 1, 0], {}, True),  # the target is y
        ("promo", [1, 0, 1, 0], {"target_cols": ["y"]}, True),
        ("promo", [1, 0, 1, 0], {"target_cols": ["y", "promo"]}, False),
        ("promo", [1, 0, 1, 0], {"covariates": ["promo"]}, False),
        ("note", ["x"] * 4, {}, False),  # texts may be times
        ("note", ["x"] * 4, {"time_col": "ds"}, True),
        ("hour", [0, 1, 2, 3], {}, False),
        ("hour", [0, 1, 2, 3], {"time_col": "ds"}, True),
        ("at", DAYS[:4], {}, False),
        ("shop", [0, 0, 1, 1], {"id_col": "shop"}, False),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_columns_that_only_some_files_have(tmp_path, name, cells, how, reads, last) -> None:
    rows = {"a": rows_of("a"), "b": rows_of("b", first=7)}
    rows["b" if last else "a"] = with_column(rows["b" if last else "a"], name, cells)
    for file, one in rows.items():
        parquet.write_table(one, tmp_path / f"{file}.parquet")
    if reads:
        table = read_table(tmp_path, **how)
        assert table.ids.tolist() == ["a", "b"]
        assert table.channels == ("y",)
        assert table.values[:, 0].tolist() == [0, 1, 2, 3, 7, 8, 9, 10]
    else:
        lacking = f"{'a' if last else 'b'}.parquet: expected the columns '{name}' as in"
        with pytest.raises(DataError, match=lacking):
            read_table(tmp_path, **how)


def test_without_names_to_go_by_all_columns_count(tmp_path: Path) -> None:
    wide = rows_of("a").drop_columns(["unique_id"])
    parquet.write_table(with_column(wide, "z", [1.0] * 4), tmp_path / "a.parquet")
    later = wide.set_column(0, "ds", pa.array(DAYS[4:8]))
    parquet.write_table(later, tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet: expected the columns 'z' as in .*a\.parquet"):
        read_table(tmp_path)
    assert read_table(tmp_path, target_cols=["y"]).values[:, 0].tolist() == [0, 1, 2, 3] * 2


def test_files_without_rows_have_no_columns(tmp_path: Path) -> None:
    parquet.write_table(rows_of("a"), tmp_path / "a.parquet")
    parquet.write_table(pa.table({"y": pa.array([], TEXT)}), tmp_path / "b.parquet")
    assert read_table(tmp_path).values[:, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("value", "known"), [("3000000000", 3000000000), ("7", 7), ("-1", -1), ("007", "007")]
)
def test_keys_of_folders_are_the_same_ids(tmp_path: Path, value: str, known: int | str) -> None:
    folder = tmp_path / f"unique_id={value}"
    folder.mkdir()
    parquet.write_table(rows_of("a").drop_columns(["unique_id"]), folder / "x.parquet")
    ((_, columns),) = parquet_files(place_of(str(tmp_path)))
    assert columns == {"unique_id": value}
    assert open_dataset(tmp_path).to_table()["unique_id"].to_pylist() == [known] * 4


def test_a_model_of_such_a_folder(tmp_path: Path) -> None:
    """Trained on and forecast by either way, as one file with the common types."""
    place, waves = tmp_path / "x", np.sin(np.arange(80) * 2 * np.pi / 7)
    (tmp_path / "us").mkdir(parents=True)
    (place / "region=eu").mkdir(parents=True)
    (place / "region=us").symlink_to(tmp_path / "us")
    halves = [
        rows_of(name, 80).set_column(2, "y", pa.array(np.round(waves * of)))
        for name, of in (("a", 10), ("b", 30))
    ]
    whole = pa.concat_tables(halves)
    first = cast(cast(halves[0], "y", pa.int32()), "ds", pa.timestamp("ms"))
    parquet.write_table(first, place / "region=eu" / "a.parquet")
    second = with_column(cast(halves[1], "unique_id", CATEGORY), "promo", [1] * 80)
    parquet.write_table(second, tmp_path / "us" / "b.parquet")
    parquet.write_table(whole, tmp_path / "whole.parquet")
    settings = {"quality": "fast", "target_cols": "y", "input_size": 14, "verbose": 0}
    ours, theirs = (
        ConvTimeNetForecaster(7, **settings).fit(one) for one in (place, tmp_path / "whole.parquet")
    )
    weights = theirs.network_.state_dict()
    for name, one in ours.network_.state_dict().items():
        assert one.equal(weights[name]), name
    known = theirs.predict(tmp_path / "whole.parquet")
    assert known.ids.tolist() == ["a", "b"]
    assert ours.predict(place).values.tobytes() == known.values.tobytes()
    saved = ours.save(tmp_path / "model")
    predict_parquet(saved, place, tmp_path / "out", rows_per_part=80, verbose=0)
    found = read_table(tmp_path / "out", target_cols=["ConvTimeNet"])
    assert found.ids.tolist() == ["a", "b"]
    assert found.values.tobytes() == known.values.tobytes()
    with pytest.raises(ConfigError, match="whose files are read"):
        predict_parquet(saved, place, tmp_path / "us" / "out", verbose=0)
