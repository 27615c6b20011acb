"""Parts hold whole series, every row once."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from long_tables import long_table, names

from convtimenet.bulk.parts import Plan, plan_parts, read_part
from convtimenet.bulk.places import (
    child,
    file_system,
    names_in,
    place_of,
    read_bytes,
    remove,
    write_bytes,
)
from convtimenet.bulk.runs import series_starts
from convtimenet.errors import DataError


def _plan(source: str, *settings, **more) -> Plan:
    return plan_parts(place_of(source), *settings, **more)


def _all(source: str, rows: int, columns: list[str] | None = None) -> list[pa.Table]:
    return [read_part(part, columns) for part in _plan(source, "unique_id", rows).parts]


@pytest.mark.parametrize("group", [7, 1000])
def test_parts_are_whole_series_over_files(tmp_path: Path, group: int) -> None:
    table = long_table(names(0, 10))
    cut = 4 * 40 + 13  # a series goes on in the next file
    pq.write_table(table[:cut], tmp_path / "a.parquet", row_group_size=group)
    pq.write_table(table[cut:], tmp_path / "b.parquet", row_group_size=group)
    plan = _plan(str(tmp_path), "unique_id", 100)
    assert [part.name for part in plan.parts[:2]] == ["part-000000", "part-000001"]
    assert [part.rows for part in plan.parts] == [120, 80, 120, 80]
    assert [part.series for part in plan.parts] == [3, 2, 3, 2]
    assert [len(part.pieces) for part in plan.parts] == [1, 2, 1, 1]
    assert pa.concat_tables([read_part(part) for part in plan.parts]).equals(table)
    assert plan == _plan(str(tmp_path / "*.parquet"), "unique_id", 100)


def test_a_part_may_be_one_row_or_everything(tmp_path: Path) -> None:
    table = long_table(names(0, 3), rows=1)
    pq.write_table(table, tmp_path / "a.parquet")
    assert [len(one) for one in _all(str(tmp_path), 1)] == [1, 1, 1]
    assert [len(one) for one in _all(str(tmp_path), 10**9)] == [3]


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([3, 3, 1, 2], pa.int64()),
        pa.array(["3", "3", "1", "2"], pa.large_string()),
        pa.array(["3", "3", "1", "2"]).dictionary_encode(),
    ],
)
def test_ids_of_any_type(tmp_path: Path, ids: pa.Array) -> None:
    pq.write_table(pa.table({"unique_id": ids, "y": [1.0, 2, 3, 4]}), tmp_path / "a.parquet")
    found = _all(str(tmp_path / "a.parquet"), 1, ["y"])
    assert [one["y"].to_pylist() for one in found] == [[1, 2], [3], [4]]
    assert found[0].column_names == ["y"]


@pytest.mark.skipif(not hasattr(pa, "uuid"), reason="pyarrow has them since 18")
def test_ids_of_an_extension_type(tmp_path: Path) -> None:
    """As the values they stand for, which messages show."""
    ids = [UUID(int=3), UUID(int=3), UUID(int=1), UUID(int=2)]
    table = pa.table({"unique_id": pa.array(ids, pa.uuid()), "y": [1.0, 2, 3, 4]})
    pq.write_table(table, tmp_path / "a.parquet")
    found = _all(str(tmp_path), 1)
    assert [one["y"].to_pylist() for one in found] == [[1, 2], [3], [4]]
    assert found[0].equals(table[:2])
    assert series_starts(table["unique_id"]).tolist() == [0, 2, 3]
    pq.write_table(table[:1], tmp_path / "b.parquet")
    with pytest.raises(DataError, match=rf"found {re.escape(repr(ids[0]))} in two places"):
        _all(str(tmp_path), 1)


@pytest.mark.parametrize("of", [list, dict])
def test_ids_that_hold_several_values_are_refused(tmp_path: Path, of: type) -> None:
    ids = [["a"], ["b"]] if of is list else [{"a": 1}, {"a": 2}]
    pq.write_table(pa.table({"unique_id": ids, "y": [1.0, 2]}), tmp_path / "a.parquet")
    with pytest.raises(
        DataError, match=r"a\.parquet: expected ids as text .* found (list|struct)<"
    ):
        _all(str(tmp_path), 1)


def test_partitions_become_columns(tmp_path: Path) -> None:
    for number, place in enumerate(["shop=1/kind=a%20b", "shop=2/kind=c"]):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "_SUCCESS").touch()
        pq.write_table(long_table([f"s{number}"], 3), tmp_path / place / "x.parquet")
    tables = _all(str(tmp_path), 1)
    assert [one["shop"].to_pylist() for one in tables] == [[1] * 3, [2] * 3]
    assert tables[0]["kind"].to_pylist() == ["a b"] * 3
    parts = _plan(f"{tmp_path}/*/kind=c/*.parquet", "shop", 1).parts  # also as the id
    assert [(part.series, part.rows) for part in parts] == [(1, 3)]


def test_a_missing_value_in_the_name_of_a_folder(tmp_path: Path) -> None:
    """As Spark, Hive and pyarrow write it: missing, not a text among numbers."""
    table = pa.table({"unique_id": ["a", "b", "c"], "size": [1, None, 3], "kind": ["x", "y", None]})
    pq.write_to_dataset(table, tmp_path / "sales", partition_cols=["size", "kind"])
    for rows in (1, 100):
        found = pa.concat_tables(_all(str(tmp_path / "sales"), rows)).sort_by("unique_id")
        assert found.schema.field("size").type == pa.int64()
        assert found.to_pydict() == table.to_pydict()
    with pytest.raises(DataError, match="expected an id in every row, found none in row 0 of 'siz"):
        _plan(str(tmp_path / "sales"), "size", 100)


def test_partitions_above_the_source_and_folders_of_a_pattern(tmp_path: Path) -> None:
    for shop in (1, 2):
        place = tmp_path / "sales" / f"shop={shop}" / "kind=a"
        place.mkdir(parents=True)
        pq.write_table(long_table(["x"], 3).drop_columns(["unique_id"]), place / "x.parquet")
        (place / "notes.txt").touch()
    for source, shops in (
        ("sales", [1, 2]),
        ("sales/shop=*", [1, 2]),
        ("sales/shop=1", [1]),
        ("sales/shop=2/kind=a", [2]),
        ("sales/*/kind=a", [1, 2]),
        ("sales/shop=2/kind=a/x.parquet", [2]),
        ("sales/shop=2/*/x.parquet", [2]),
        ("sales/shop=[12]/**/*.parquet", [1, 2]),
    ):
        parts = _plan(str(tmp_path / source), "shop", 1).parts
        tables = [read_part(part) for part in parts]
        assert [one["shop"].to_pylist() for one in tables] == [[shop] * 3 for shop in shops]
        assert tables[0]["kind"].to_pylist() == ["a"] * 3


def test_an_address_is_read_like_a_path(tmp_path: Path) -> None:
    pq.write_table(long_table(names(0, 4), 5), tmp_path / "a.parquet")
    here, there = (_all(one, 10) for one in (str(tmp_path), tmp_path.as_uri()))
    assert here == there


def test_memory_addresses_are_opened_with_fsspec() -> None:
    import fsspec

    with fsspec.open("memory://in/a.parquet", "wb") as file:
        pq.write_table(long_table(names(0, 4), 5), file)
    assert sum(len(one) for one in _all("memory://in", 10)) == 20


def test_chained_addresses_and_schemes_of_any_kind() -> None:
    import fsspec

    with fsspec.open("memory://in/chained/a.parquet", "wb") as file:
        pq.write_table(long_table(names(0, 4), 5), file)
    assert sum(len(one) for one in _all("simplecache::memory://in/chained/a.parquet", 10)) == 20
    with pytest.raises(DataError, match="some-thing"):
        place_of("some-thing+x://bucket/x.parquet")
    assert place_of("a::b/x.parquet").local


def test_arrow_files_among_the_others_are_named(tmp_path: Path) -> None:
    table = long_table(names(0, 2), 5)
    for name in ("a.parquet", "_delta_log/0.parquet", ".b.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / name)
    (tmp_path / "README.md").touch()
    assert [len(one) for one in _all(str(tmp_path), 100)] == [10]
    (tmp_path / "b.arrow").touch()
    with pytest.raises(DataError, match=r"found .*b\.arrow; convert it to Parquet, or give a"):
        _plan(str(tmp_path), "unique_id", 100)
    assert [len(one) for one in _all(f"{tmp_path}/*.parquet", 100)] == [10]


@pytest.mark.parametrize("named", ["day=1 00%3A00", "region=North America", "region=Zürich", "a#1"])
@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_found_files_are_opened_whatever_their_names(tmp_path: Path, scheme, named) -> None:
    import fsspec

    place = f"{scheme}://{tmp_path}"
    with fsspec.open(f"{place}/{named}/a&b?c+.parquet", "wb", auto_mkdir=True) as file:
        pq.write_table(long_table(names(0, 4), 5), file)
    assert [len(one) for one in _all(place, 10)] == [10, 10]


@pytest.mark.parametrize(
    ("address", "path", "shown"),
    [
        (
            "s3://me:secret@bucket/my%20sales?region=eu-west-1&endpoint_override=localhost:9000",
            "bucket/my sales",
            "s3://bucket/my sales",
        ),
        ("gs://anonymous@bucket/sales", "bucket/sales", "gs://bucket/sales"),
        ("memory://", "", "memory://"),
    ],
)
def test_a_place_keeps_the_address_it_was_reached_by(address, path, shown) -> None:
    """With its login and options, which no message shows."""
    place = place_of(address)
    assert (place.path, str(place)) == (path, shown)
    below = child(child(place, "day=1 00%3A00"), "part#0.parquet")
    assert below.path == f"{path}/day=1 00%3A00/part#0.parquet".lstrip("/")
    assert below.root == address
    assert file_system(below) is file_system(place)
    assert "secret" not in f"{below} {below!r}"


def test_a_file_at_the_root_of_an_address() -> None:
    place = child(place_of("memory://"), "x.parquet")
    write_bytes(place, b"x")
    assert read_bytes(place_of("memory://x.parquet")) == b"x"


@pytest.mark.parametrize("name", ["d[1]", "d?x", "d*"])
def test_files_of_any_name_are_written_and_removed_at_an_address(name: str) -> None:
    """fsspec takes such names for patterns."""
    folder = place_of(f"memory://written/{name}")
    for one in ("x", "y"):
        write_bytes(child(folder, one), one.encode())
    assert names_in(folder) == ["x", "y"]
    assert read_bytes(child(folder, "y")) == b"y"
    remove(child(folder, "x"))
    assert names_in(folder) == ["y"]


@pytest.mark.parametrize("files", [1, 2])
def test_a_series_in_two_places_is_named(tmp_path: Path, files: int) -> None:
    table = long_table(["a", "b", "a"], 3)
    pq.write_table(table[: 9 if files == 1 else 6], tmp_path / "x.parquet")
    if files == 2:
        pq.write_table(table[6:], tmp_path / "y.parquet")
    place = "row 6 of .*x" if files == 1 else "row 0 of .*y"
    with pytest.raises(DataError, match=f"found 'a' in two places: .*row 0 .*{place}.*sort"):
        _plan(str(tmp_path), "unique_id", 4)


def test_what_cannot_be_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        _plan(str(tmp_path / "none"), "unique_id", 4)
    with pytest.raises(DataError, match="expected Parquet files"):
        _plan(str(tmp_path), "unique_id", 4)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match=r"bad.parquet: not readable as Parquet"):
        _plan(str(tmp_path), "unique_id", 4)
    (tmp_path / "sales.csv").write_text("date,y\n2024-01-01,1\n")
    with pytest.raises(DataError, match=r"sales.csv: not readable .*use `convtimenet forecast"):
        _plan(str(tmp_path / "sales.csv"), "unique_id", 4)
    table = long_table(["a"], 3)
    pq.write_table(table, tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="expected the id column 'shop', found the columns"):
        _plan(str(tmp_path), "shop", 4)
    holes = table.set_column(0, "unique_id", pa.array(["a", None, "a"]))
    pq.write_table(holes, tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=r"found none in row 1 of 'unique_id'"):
        _plan(str(tmp_path), "unique_id", 4)
    pq.write_table(table[:0], tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="expected rows"):
        _plan(str(tmp_path), "unique_id", 4)


def test_only_the_id_column_is_held(tmp_path: Path) -> None:
    """What planning holds grows with the series, not with the rows."""
    ids = np.repeat(np.arange(4), 500_000)
    pq.write_table(pa.table({"unique_id": ids, "y": np.zeros(len(ids))}), tmp_path / "a.parquet")
    before = pa.total_allocated_bytes()
    plan = _plan(str(tmp_path), "unique_id", 1_000_000)
    assert [part.rows for part in plan.parts] == [1_000_000] * 2
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_files_of_different_types(tmp_path: Path) -> None:
    """Categories are the texts they stand for; numbers and texts do not go together."""
    first, second = long_table(["a", "b"], 3), long_table(["c", "d"], 3)
    at = second.column_names.index("unique_id")
    coded = second.set_column(at, "unique_id", second["unique_id"].dictionary_encode())
    pq.write_table(first, tmp_path / "a.parquet")
    pq.write_table(coded, tmp_path / "b.parquet")
    (part,) = _plan(str(tmp_path), "unique_id", 100).parts
    assert read_part(part).equals(pa.concat_tables([first, second]))
    pq.write_table(second.set_column(2, "y", pa.array(["?"] * 6)), tmp_path / "b.parquet")
    (part,) = _plan(str(tmp_path), "unique_id", 100).parts
    with pytest.raises(DataError, match=r"a.parquet to .*b.parquet: .*with the same types"):
        read_part(part)


@pytest.mark.parametrize("rows", [1, 100])
def test_types_that_do_not_go_together_are_refused_however_rows_are_split(tmp_path, rows) -> None:
    table = long_table(["a", "b"], 3)
    pq.write_table(table[:3], tmp_path / "a.parquet")
    for name, values, fits in (
        ("y", pa.array([1, 2, 3]), True),
        ("y", pa.array(["1", "2", "3"]), False),
        ("ds", table["ds"][3:].cast(pa.timestamp("ns")), True),
        ("ds", table["ds"][3:].cast(pa.date32()), False),
        ("unique_id", pa.array(["b"] * 3).dictionary_encode(), True),
        ("unique_id", pa.array([2] * 3), False),
    ):
        other = table[3:].set_column(table.column_names.index(name), name, values)
        pq.write_table(other, tmp_path / "b.parquet")
        wanted = (["unique_id", "ds", "y"], ())
        if fits:
            parts = _plan(str(tmp_path), "unique_id", rows, wanted=wanted).parts
            assert sum(len(read_part(part)) for part in parts) == 6
        else:
            with pytest.raises(DataError, match=r"a\.parquet to .*b\.parquet: .* same types"):
                _plan(str(tmp_path), "unique_id", rows, wanted=wanted)


def test_all_columns_count_where_none_is_named(tmp_path: Path) -> None:
    """As for a model without scaling, which takes any channels."""
    table = long_table(["a", "b"], 3)
    pq.write_table(table[:3], tmp_path / "a.parquet")
    pq.write_table(table[3:].append_column("z", table["y"][3:]), tmp_path / "b.parquet")
    assert len(_plan(str(tmp_path), "unique_id", 100, wanted=(["y"], ())).parts) == 1
    with pytest.raises(DataError, match=r"a\.parquet: expected the columns 'z' as in .*b\.parquet"):
        _plan(str(tmp_path), "unique_id", 100, wanted=(None, ()))


def test_brackets_in_a_name_are_no_pattern(tmp_path: Path) -> None:
    for name in ("sales[1].parquet", "sales1.parquet"):
        pq.write_table(long_table([name], 3), tmp_path / name)
    for source, series in (
        ("sales[1].parquet", ["sales[1].parquet"]),
        ("sales[0-9].parquet", ["sales1.parquet"]),
    ):
        (part,) = _plan(str(tmp_path / source), "unique_id", 100).parts
        assert read_part(part)["unique_id"].unique().to_pylist() == series


def test_folder_names_that_only_look_like_numbers(tmp_path: Path) -> None:
    for value in ("\u00b2", "--5", "007"):
        (tmp_path / value / f"region={value}").mkdir(parents=True)
        pq.write_table(long_table(["a"], 3), tmp_path / value / f"region={value}" / "a.parquet")
        (part,) = _plan(str(tmp_path / value), "unique_id", 100).parts
        assert read_part(part)["region"].unique().to_pylist() == [value]
