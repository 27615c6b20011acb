"""Small files that hold much are refused before they take the memory, whatever their kind."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pytest
from pyarrow import feather, ipc, parquet

from convtimenet.data.files import raw
from convtimenet.data.files.raw import reading_at_most
from convtimenet.data.labelled.cases import read_cases
from convtimenet.data.tables import read_table
from convtimenet.errors import DataError
from convtimenet.wording import written_for

MB = 2**20
ROWS = b"date,y\n" + b"".join(b"2024-01-02,%d\n" % i for i in range(5 * MB // 16))
STAMPED = pa.table({"date": pa.array(np.zeros(MB // 2, "M8[s]")), "y": np.zeros(MB // 2)})


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("rows.csv", ROWS)


def streamed(path: Path) -> None:
    with ipc.new_stream(str(path), STAMPED.schema) as file:
        file.write_table(STAMPED, 2**14)


def one_cell_far_right(path: Path) -> None:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for _ in range(60):
        sheet.append([1] + [None] * 16_000 + [1])
    book.save(path)


def long_sheet(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("xl/worksheets/sheet1.xml", ROWS)


def unlike_records(path: Path) -> None:
    path.write_text(json.dumps([{f"k{i}": 1} for i in range(1000)]))


def unlike_columns(path: Path) -> None:
    path.write_text(json.dumps({f"c{i}": {f"k{i}": 1} for i in range(1000)}))


BOMBS: dict[str, Callable[[Path], Any]] = {
    "a.csv.gz": lambda path: path.write_bytes(gzip.compress(ROWS)),
    "a.csv.bz2": lambda path: path.write_bytes(bz2.compress(ROWS, 1)),
    "a.csv.xz": lambda path: path.write_bytes(lzma.compress(ROWS, preset=0)),
    "a.zip": zipped,
    "a.ts.gz": lambda path: path.write_bytes(gzip.compress(ROWS)),
    "a.npz": lambda path: np.savez_compressed(path, X=np.zeros((1, 1, MB))),
    "a.parquet": lambda path: parquet.write_table(STAMPED, path),
    "a.feather": lambda path: feather.write_feather(STAMPED, path, compression="zstd"),
    "a.arrow": streamed,
    "long.xlsx": long_sheet,
    "wide.xlsx": one_cell_far_right,
    "records.json": unlike_records,
    "columns.json": unlike_columns,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_holds_much_is_not_read(tmp_path, name: str):
    """0.8 MB of .csv.gz took 2.4 GB."""
    path = tmp_path / name
    BOMBS[name](path)
    read = read_cases if ".ts" in name or ".npz" in name else read_table
    words = "^" + re.escape(str(path)) + ": expected a file of at most 4 MB once it is unpacked, "
    words += r"found at least (\d+(\.\d+)?) MB; give fewer rows or columns, or "
    with reading_at_most(4 * MB):
        tracemalloc.start()
        with pytest.raises(DataError, match=words + "read it on a machine with") as refused:
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        with written_for("page"), pytest.raises(DataError, match=words + "start the app with"):
            read(path)
    found = re.match(words, str(refused.value))
    assert found is not None
    assert 4 < float(found[1]) <= 9
    assert peak < 12 * MB + 2 * path.stat().st_size


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.bz2", "a.csv.xz", "a.zip"])
def test_what_fits_is_read(tmp_path, name: str, monkeypatch):
    rows = b"date,y\n2024-01-01,1\n2024-01-02,2.5\n"
    monkeypatch.setitem(globals(), "ROWS", rows)
    BOMBS[name](tmp_path / name)
    with reading_at_most(len(rows)):
        assert raw.read_bytes(tmp_path / name)[0] == rows
        assert read_table(tmp_path / name).values.tolist() == [[1.0], [2.5]]
    with reading_at_most(len(rows) - 1), pytest.raises(DataError, match="once it is unpacked"):
        read_table(tmp_path / name)


def test_members_of_a_file_are_read_one_after_the_other(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"date,y\n") + gzip.compress(b"2024-01-01,1\n") + bytes(5))
    assert raw.read_bytes(path) == (b"date,y\n2024-01-01,1\n", "a.csv")


def test_without_a_limit_it_is_a_quarter_of_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "a.csv.gz"
    BOMBS["a.csv.gz"](path)
    monkeypatch.setattr(raw, "machine_memory", lambda: 16 * MB)
    with pytest.raises(DataError, match="at most 4 MB once it is unpacked"):
        raw.read_bytes(path)
    monkeypatch.setattr(raw, "machine_memory", lambda: 24 * MB)
    assert raw.read_bytes(path)[0] == ROWS
    monkeypatch.setattr(raw, "machine_memory", lambda: None)  # not told, as by Windows
    assert raw.read_bytes(path)[0] == ROWS
