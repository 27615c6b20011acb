"""One reader for whatever holds a table: files as they are written, the caller's own labels."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import subprocess
import sys
import uuid
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet

from convtimenet import ConvTimeNetForecaster
from convtimenet.data.files import check_path, delimited, is_columnar
from convtimenet.data.forecast_tables import future_frame
from convtimenet.data.tables import Table, read_table
from convtimenet.errors import ConfigError, DataError

DAYS = [f"2024-01-{day:02d}" for day in range(1, 9)]
VALUES = [1.5, 2.25, 3.0, 1234.5, 5.0, -6.0, 7.125, 8.0]


def save(folder: Path, content: str | bytes, name: str = "x.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return path


def written(mark: str = ",", cells: list[str] | None = None, head: str | None = None) -> str:
    cells = [str(value) for value in VALUES] if cells is None else cells
    head = f"date{mark}y" if head is None else head
    rows = [f"{day}{mark}{cell}" for day, cell in zip(DAYS, cells, strict=False)]
    return "\n".join([head, *rows]) + "\n"


def commas(values: list[float] = VALUES) -> list[str]:
    return [str(value).replace(".", ",") for value in values]


PLAIN = written()

LAYOUTS: dict[str, tuple[Any, str]] = {
    "commas": (PLAIN, "x.csv"),
    "semicolons": (written(";"), "x.csv"),
    "tabs": (written("\t"), "x.tsv"),
    "bars": (written("|"), "x.txt"),
    "semicolons and decimal commas": (written(";", commas()), "x.csv"),
    "tabs and decimal commas": (written("\t", commas()), "x.tsv"),
    "bars and decimal commas": (written("|", commas()), "x.csv"),
    "decimal commas in quotes": (written(",", [f'"{cell}"' for cell in commas()]), "x.csv"),
    "points between thousands": (
        written(";", [f"{v:,}".translate(str.maketrans(",.", ".,")) for v in VALUES]),
        "x.csv",
    ),
    "spaces between thousands": (
        written(";", [f"{v:,}".replace(",", "\u202f").replace(".", ",") for v in VALUES]),
        "x.csv",
    ),
    "apostrophes between thousands": (
        written(",", [f"{v:,}".replace(",", "'") for v in VALUES]),
        "x.csv",
    ),
    "commas between thousands": (written(";", [f"{v:,}" for v in VALUES]), "x.csv"),
    "a word for the delimiter": ("sep=;\n" + written(";", commas()), "x.csv"),
    "comments above": ("# made by a program\n#\n" + PLAIN, "x.csv"),
    "comments with commas": (
        "# a, b\n" + PLAIN.replace("2024-01-03", "# c, d\n2024-01-03"),
        "x.csv",
    ),
    "a header behind the mark of comments": ("# " + PLAIN, "x.csv"),
    "a delimiter at the end": (PLAIN.replace("\n", ",\n"), "x.csv"),
    "a delimiter at the end of rows": (PLAIN.replace("\n", ",\n").replace("y,", "y"), "x.csv"),
    "rows of delimiters": (PLAIN.replace("2024-01-04", ",\n2024-01-04") + ",\n", "x.csv"),
    "a title": ("Sales of 2024\n\n" + PLAIN, "x.csv"),
    "a title with delimiters": ("Sales of 2024;\n;\n" + written(";", commas()), "x.csv"),
    "blanks": (PLAIN.replace(",", "    "), "x.txt"),
    "a word in capitals": ("SEP=|\n" + written("|"), "x.csv"),
    "blank lines": (PLAIN.replace("\n", "\n\n"), "x.csv"),
    "UTF-8 with a mark": (("\ufeff" + PLAIN).encode(), "x.csv"),
    "UTF-32": (PLAIN.encode("utf-32"), "x.csv"),
    "UTF-16": (PLAIN.encode("utf-16"), "x.csv"),
    "UTF-16, big end first": (("\ufeff" + PLAIN).encode("utf-16-be"), "x.csv"),
    "UTF-16 without a mark": (PLAIN.encode("utf-16-le"), "x.csv"),
    "gzip": (gzip.compress(PLAIN.encode()), "x.csv.gz"),
    "xz": (lzma.compress(PLAIN.encode()), "x.csv.xz"),
    "bzip2": (bz2.compress(written("\t").encode()), "x.tsv.bz2"),
    "JSON lines": (
        "".join(f'{{"date": "{d}", "y": {v}}}\n' for d, v in zip(DAYS, VALUES, strict=True)),
        "x.jsonl",
    ),
    "JSON records": (pd.DataFrame({"date": DAYS, "y": VALUES}).to_json(orient="records"), "x.json"),
    "JSON columns": (pd.DataFrame({"date": DAYS, "y": VALUES}).to_json(), "x.json"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fast", [False, True])
def test_layouts_of_one_table(tmp_path: Path, layout: str, fast: bool, monkeypatch) -> None:
    monkeypatch.setattr(delimited, "_LARGE", 0 if fast else 2**62)
    content, name = LAYOUTS[layout]
    table = read_table(save(tmp_path, content, name))
    assert table.values[:, 0].tolist() == VALUES
    assert table.channels == ("y",)
    assert table.time_name == "date"
    assert table.times.astype("M8[D]").astype(str).tolist() == DAYS


def test_a_title_is_said(tmp_path: Path) -> None:
    table = read_table(save(tmp_path, "Sales of 2024\n\n" + PLAIN))
    assert table.notices == ("skipped the lines above the header: 'Sales of 2024'",)
    book = tmp_path / "x.xlsx"
    with pd.ExcelWriter(book) as writer:
        pd.DataFrame({"Notes": ["one", "two"]}).to_excel(writer, sheet_name="about", index=False)
        frame = pd.DataFrame({"date": pd.to_datetime(DAYS), "y": VALUES})
        frame.to_excel(writer, sheet_name="data", index=False, startrow=2)
        writer.sheets["data"].cell(1, 1, "Sales of 2024")
        writer.sheets["data"].merge_cells("A1:B1")
    table = read_table(book)
    assert table.values[:, 0].tolist() == VALUES
    assert table.notices == ("skipped the rows above the header: 'Sales of 2024'",)


def test_zip_of_one_file(tmp_path: Path) -> None:
    for name, inner in (("x.csv.zip", "x.csv"), ("y.zip", "folder/y.txt")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(inner, written("|"))
            archive.writestr("__MACOSX/._x", b"\0")
        assert read_table(tmp_path / name).values[:, 0].tolist() == VALUES


@pytest.mark.parametrize("kind", ["xlsx", "parquet", "feather", "arrow", "ipc"])
def test_other_kinds_of_files(tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame({"date": pd.to_datetime(DAYS), "y": VALUES})
    path = tmp_path / f"x.{kind}"
    if kind == "xlsx":
        frame.to_excel(path, index=False)
    elif kind == "parquet":
        frame.to_parquet(path)
    elif kind == "ipc":
        table = pa.Table.from_pandas(frame)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    else:
        frame.to_feather(path, compression="uncompressed")
    table = read_table(path)
    assert table.values[:, 0].tolist() == VALUES
    assert table.times.astype("M8[D]").astype(str).tolist() == DAYS
    assert isinstance(future_frame(table, np.ones((1, 1))), Table)


def test_a_workbook_of_several_sheets_says_which_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.xlsx"
    with pd.ExcelWriter(path) as writer:
        pd.DataFrame().to_excel(writer, sheet_name="cover")
        pd.DataFrame({"date": DAYS, "y": commas()}).to_excel(writer, sheet_name="a", index=False)
        pd.DataFrame({"date": DAYS, "y": 0}).to_excel(writer, sheet_name="b", index=False)
    table = read_table(path)
    assert table.values[:, 0].tolist() == VALUES
    assert table.notices == ("read the sheet 'a'; ignored: 'b'",)


def test_a_hidden_sheet_is_read_only_if_there_is_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x.xlsx"
    with pd.ExcelWriter(path) as writer:
        pd.DataFrame({"date": DAYS, "y": 0}).to_excel(writer, sheet_name="old", index=False)
        pd.DataFrame({"date": DAYS, "y": VALUES}).to_excel(writer, sheet_name="new", index=False)
        writer.sheets["old"].sheet_state = "hidden"
        writer.book.active = 1
    table = read_table(path)
    assert table.values[:, 0].tolist() == VALUES
    assert table.notices == ("read the sheet 'new'; ignored: 'old' (hidden)",)
    with pd.ExcelWriter(path) as writer:
        pd.DataFrame({"date": DAYS, "y": VALUES}).to_excel(writer, sheet_name="a", index=False)
        pd.DataFrame().to_excel(writer, sheet_name="cover")
        writer.sheets["a"].sheet_state = "veryHidden"
        writer.book.active = 1
    assert read_table(path).notices == ("read the sheet 'a' (hidden)",)


def test_formulas_without_results_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.xlsx"
    frame = pd.DataFrame({"date": [f"=DATE(2024,1,{i})" for i in range(1, 9)], "y": VALUES})
    frame.to_excel(path, index=False, sheet_name="s")
    said = (
        r"sheet 's', row 2: .*found the formula '=DATE\(2024,1,1\)' without a stored result; open"
    )
    with pytest.raises(DataError, match=said):
        read_table(path)


TSF = """# of Monash
@relation x
@attribute series_name string
@attribute start_timestamp date
@attribute state string
@frequency {frequency}
@horizon 2
@missing true
@equallength false
@data
T1:{first}:NSW:1,2,?,4
T2:1950-03-01 00-00-00:VIC:5.5,6,7
"""


@pytest.mark.parametrize(
    ("frequency", "step", "second"),
    [
        ("monthly", "1MS", "1949-02-01"),
        ("quarterly", "3MS", "1949-04-01"),
        ("yearly", "12MS", "1950-01-01"),
        ("weekly", "1W", "1949-01-08"),
        ("10_minutes", "10min", "1949-01-01T00:10"),
        ("half_hourly", "30min", "1949-01-01T00:30"),
    ],
)
def test_tsf_is_a_long_table(tmp_path: Path, frequency: str, step: str, second: str) -> None:
    text = TSF.format(frequency=frequency, first="1949-01-01 00-00-00")
    table = read_table(save(tmp_path, text, "x.tsf"), target_cols=["y"], covariates=["state"])
    assert (table.id_name, table.ids.tolist()) == ("unique_id", ["T1", "T2"])
    assert table.lengths.tolist() == [4, 3]
    assert table.frequency.name == step
    assert table.times[1] == np.datetime64(second)
    assert table.times[4] == np.datetime64("1950-03-01")
    assert table.values[[0, 1, 3, 4, 5, 6], 0].tolist() == [1, 2, 4, 5.5, 6, 7]
    assert table.known is not None
    assert table.known[:, 0].tolist() == [True, True, False, True, True, True, True]
    assert table.covariates["state"].tolist() == ["NSW"] * 4 + ["VIC"] * 3


def test_tsf_without_stamps_counts_steps(tmp_path: Path) -> None:
    text = "@relation x\n@attribute series_name string\n@data\na:1,2,3\nb:4,5\n"
    table = read_table(save(tmp_path, text, "x.tsf"))
    assert table.times.tolist() == [0, 1, 2, 0, 1]
    assert table.frequency.name == "1"


@pytest.mark.parametrize("fast", [False, True])
def test_words_for_missing(tmp_path: Path, fast: bool, monkeypatch) -> None:
    monkeypatch.setattr(delimited, "_LARGE", 0 if fast else 2**62)
    words = ("", "NA", "N/A", "n/a", "null", "None", "NaN", "nan", ".", "-", "?", "#N/A",
             "--", "..", ":", "n.a.", r"\N", "#DIV/0!", "#VALUE!",
             "#NV", "#NOMBRE!", "#N/V", "k.A.", "k. A.", "K.A.", "\u2013", " \u2014 ", "entf.",
             "s.o.")  # fmt: skip
    for word in words:
        table = read_table(save(tmp_path, written(cells=["1", word, "3", "4"])))
        assert table.known is not None
        assert table.known[:, 0].tolist() == [True, False, True, True]


class TestNumbers:
    """What a mark means is decided by cells with one reading, or refused."""

    @pytest.mark.parametrize(
        ("cells", "values"),
        [
            (["1,234", "0,5", "7"], [1.234, 0.5, 7]),
            (["1.234", "0,5", "7"], [1234, 0.5, 7]),
            (["1,234", "0.5", "7"], [1234, 0.5, 7]),
            (["1.234.567", "1.234", "7"], [1234567, 1234, 7]),
            (["1,234,567", "1,234", "7"], [1234567, 1234, 7]),
            (["1.234,5", "2", "-3,25"], [1234.5, 2, -3.25]),
            (["1,234.5", "2", "+3.25"], [1234.5, 2, 3.25]),
            (["0,123", "5,678", "7"], [0.123, 5.678, 7]),
            (["1,5e3", "2", "inf"], [1500, 2, np.nan]),
            (["1\u2019234,50", "2", "3"], [1234.5, 2, 3]),
            (["12,34,567.50", "2", "3"], [1234567.5, 2, 3]),
            (["12,5 %", "0", "-3%"], [12.5, 0, -3]),
            (["$1,234.50", "-$2", "($3)"], [1234.5, -2, -3]),
            (["1.234,50 \u20ac", "2 \u20ac", "\u22123,5 \u20ac"], [1234.5, 2, -3.5]),
            (["(1,234.50)", "2-", "3"], [-1234.5, -2, 3]),
            (["850", "1.5", "1.050"], [850, 1.5, 1.05]),
        ],
    )
    def test_by_the_column(self, tmp_path, cells, values):
        table = read_table(save(tmp_path, written(";", cells)))
        np.testing.assert_array_equal(table.values[:, 0], values)

    def test_signs_are_said_and_must_be_the_same(self, tmp_path):
        table = read_table(save(tmp_path, written(";", ["5%", "6%", "", "8%"])))
        assert table.values[:, 0].tolist()[:2] == [5, 6]
        assert table.notices[0] == "column 'y': removed '%' from the numbers"
        for cells in (["5%", "6", "7%"], ["$5", "\u20ac6", "$7"]):
            with pytest.raises(DataError, match=r"line 3: some numbers have the sign '.', but"):
                read_table(save(tmp_path, written(";", cells)))

    def test_points_that_may_stand_between_thousands(self, tmp_path):
        path = save(tmp_path, written(";", ["850", "920", "1.050"]))
        with pytest.raises(DataError, match=r"line 4: '1.050' may be 1050 or 1.05"):
            read_table(path)
        assert read_table(path, decimal=",").values[:, 0].tolist() == [850, 920, 1050]
        assert read_table(path, decimal=".").values[:, 0].tolist() == [850, 920, 1.05]

    def test_points_in_every_number(self, tmp_path):
        """Written by hand in German it is thousands, by a logger it is three decimals."""
        cells = ["12.500", "13.537", "9.004", "10.120"]
        german = "Datum;Stueck\n" + "".join(f"0{i}.01.2025;{c}\n" for i, c in enumerate(cells, 1))
        path = save(tmp_path, german)
        with pytest.raises(DataError, match=r"line 2: '12.500' may be 12500 or 12.5, and no other"):
            read_table(path)
        assert read_table(path, decimal=",").values[:, 0].tolist() == [12500, 13537, 9004, 10120]
        assert read_table(path, decimal=".").values[:, 0].tolist() == [12.5, 13.537, 9.004, 10.12]
        settled = save(tmp_path, german.replace("9.004", "0.904"))
        assert read_table(settled).values[:, 0].tolist() == [12.5, 13.537, 0.904, 10.12]
        logged = read_table(save(tmp_path, written(";", cells)))
        assert logged.values[:, 0].tolist() == [12.5, 13.537, 9.004, 10.12]
        assert "'12.500' is read as 12.5" in logged.notices[0]
        assert read_table(save(tmp_path, written(",", cells))).notices == ()

    @pytest.mark.parametrize(
        ("cell", "said"), [("5 kg", "without a unit"), ("[1, 2]", "one record for each time step")]
    )
    def test_what_to_do_about_cells_that_are_none(self, tmp_path, cell, said):
        with pytest.raises(DataError, match=said):
            read_table(save(tmp_path, written(";", [cell] * 4)))

    @pytest.mark.parametrize(
        ("cell", "other", "value"),
        [("1.234", "0,5", 1234.0), ("1,234", "0,5", 1.234), ("1,234", "0.5", 1234.0)],
    )
    def test_by_the_other_columns(self, tmp_path, cell, other, value):
        cells = [f"{cell};{other}"] * 4
        table = read_table(save(tmp_path, written(";", cells, "date;y;x")), target_cols=["y"])
        assert table.values[:, 0].tolist() == [value] * 4
        assert f"{cell!r} is {value:.15g}" in table.notices[0]

    def test_of_frames(self):
        cells = ["1.234", "0,5", "7", None]
        views = {
            name: pa.array(c, pa.string_view()) for name, c in (("date", DAYS[:4]), ("y", cells))
        }
        frames = [
            make({"date": DAYS[:4], "y": cells}) for make in (pd.DataFrame, pl.DataFrame, pa.table)
        ]
        for frame in (
            *frames,
            pa.table(views),
            pd.DataFrame({"date": DAYS[:4], "y": cells}, dtype=object),
        ):
            table = read_table(frame)
            assert table.values[:3, 0].tolist() == [1234, 0.5, 7]

    def test_a_text_covariate_with_commas_is_text(self, tmp_path):
        cells = ["1;a,b", "2;c", "3;1,234", "4;"]
        table = read_table(save(tmp_path, written(";", cells, "date;y;k")), covariates=["k"])
        assert table.covariates["k"].tolist() == ["a,b", "c", "1,234", None]

    def test_an_option_that_is_none(self, tmp_path):
        with pytest.raises(ConfigError, match=r"decimal must be '.' or ',', found ';'"):
            read_table(save(tmp_path, PLAIN), decimal=";")


def paneled(n: int = 40, quote: str = "") -> str:
    rows = [
        f"{quote}{s}{quote},2024-01-01 {h:02d}:30:00,{v}"
        for s in ("a", "ü")
        for h, v in enumerate(np.random.default_rng(1).normal(size=24).tolist())
    ]
    return "unique_id,ds,y\n" + "\n".join(rows[: n or None]) + "\n"


class TestEngines:
    """pyarrow cuts large files, Python's reader others: the same tables, the same errors."""

    @staticmethod
    def both(path: Path, monkeypatch, **options) -> list[Any]:
        found = []
        for large in (0, 2**62):
            monkeypatch.setattr(delimited, "_LARGE", large)
            try:
                found.append(read_table(path, **options))
            except DataError as error:
                found.append(str(error))
        return found

    @pytest.mark.parametrize(
        "text",
        [
            paneled(),
            paneled(quote='"'),
            paneled().replace("\n", "\r\n"),
            paneled().replace("\n", "\n\n"),
            paneled().replace(",", ";").replace(".", ","),
            paneled().replace("a,", '"a ""b"" c",'),
            paneled().replace("a,", 'a"b,'),
            paneled().replace("a,", '"a,b",'),
            paneled().replace("a,", '"a\nb",'),
            paneled().replace("a,", "#a,"),
            paneled().replace("a,", "# a,"),
            "# x\n" + paneled(),
            paneled().replace("2024-01-01 05:30:00,", "2024-01-01 05:30:00,+"),
            paneled().replace("-0.", " -0."),
            paneled().replace("05:30:00,", "05:30:00,NA "),
            paneled().replace("05:30:00,", "05:30:00,x"),
            paneled().replace("05:30:00,", "05:30:00,1_"),
            paneled().replace("05:30:00,", "05:30:00,0x1f"),
            paneled().replace("05:30:00,", "05:30:00,1,"),
            paneled().replace("05:30:00,", "05:30,"),
            paneled().replace("05:30:00,", "25:30:00,"),
            paneled().replace("ü", ""),
            paneled().replace("ds", "y"),
            paneled() + "a\n",
            paneled() + "\0",
            paneled() + '"a',
            paneled().replace("a,", '"a,', 1),
            paneled().replace("a,", '"a,', 3),
            paneled().replace("ü,", '"ü",').replace("a,", '"a,b,', 1),
            paneled().replace("05:30:00,", "05:30:00," + "1" * 140_000),
            "\n\n" + paneled(),
        ],
    )
    def test_they_agree(self, tmp_path, monkeypatch, text):
        fast, slow = self.both(save(tmp_path, text), monkeypatch)
        self.compare(fast, slow)

    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["a", "b", '"a"', 'a"', '"a', "", "#", " a"]),
                st.sampled_from(["1", "2.5", ".", "1e3", '"3"', "1,5", "x", "", "nan", "\u0661"]),
            ),
            min_size=1,
            max_size=6,
        ),
        st.sampled_from(["\n", "\r\n", "\n\n"]),
    )
    def test_they_agree_on_odd_cells(self, tmp_path, monkeypatch, rows, end):
        lines = [f"{a},2024-01-{i + 1:02d},{v}" for i, (a, v) in enumerate(rows)]
        text = end.join(["unique_id,ds,y", *lines]) + end
        self.compare(*self.both(save(tmp_path, text), monkeypatch))

    @staticmethod
    def compare(fast: Any, slow: Any) -> None:
        assert type(fast) is type(slow), (fast, slow)
        if isinstance(slow, str):
            assert fast == slow
            return
        assert fast.values.tobytes() == slow.values.tobytes()
        np.testing.assert_array_equal(fast.times, slow.times)
        assert fast.ids.tolist() == slow.ids.tolist()
        assert fast.lengths.tolist() == slow.lengths.tolist()
        assert (fast.channels, fast.notices) == (slow.channels, slow.notices)

    def test_large_files_go_to_pyarrow(self, tmp_path, monkeypatch):
        from convtimenet.data.files import arrow_cells

        taken = []
        cut = arrow_cells.cut
        monkeypatch.setattr(arrow_cells, "cut", lambda *a: taken.append(cut(*a)) or taken[-1])
        monkeypatch.setattr(delimited, "_LARGE", 0)
        read_table(save(tmp_path, paneled(quote='"')))
        assert taken
        assert taken[0] is not None

    def test_without_pyarrow_the_same_is_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr(delimited, "_LARGE", 0)
        expected = read_table(save(tmp_path, paneled()))
        monkeypatch.setattr(delimited.importlib.util, "find_spec", lambda name: None)
        self.compare(read_table(save(tmp_path, paneled())), expected)


class TestLabels:
    """The caller's own labels come back."""

    INDEX = pd.date_range("2024-01-01", periods=8)

    @staticmethod
    def ahead(source: Any, **options) -> Any:
        table = read_table(source, **options)
        return future_frame(table, np.ones((2 * len(table.lengths), len(table.channels))))

    def test_whole_numbers(self):
        frame = pd.DataFrame({3: VALUES, 1: VALUES}, index=self.INDEX)
        found = self.ahead(frame)
        assert found.columns.tolist() == [3, 1]
        assert all(type(label) is int for label in found.columns.tolist())
        assert self.ahead(frame, target_cols=[1]).columns.tolist() == [1]

    def test_whole_numbers_as_time_column(self):
        frame = pd.DataFrame({0: self.INDEX, 1: VALUES})
        assert self.ahead(frame, time_col=0).columns.tolist() == [0, 1]

    def test_several_levels(self):
        labels = pd.MultiIndex.from_tuples([("a", "x"), ("b", 2)])
        frame = pd.DataFrame(np.ones((8, 2)), index=self.INDEX, columns=labels)
        found = self.ahead(frame)
        pd.testing.assert_index_equal(found.columns, labels)
        assert self.ahead(frame, target_cols=[("b", 2)]).columns.tolist() == [("b", 2)]

    def test_an_index_without_a_name_stays_so(self):
        found = self.ahead(pd.DataFrame({"y": VALUES}, index=self.INDEX))
        assert found.index.name is None
        assert isinstance(found.index, pd.DatetimeIndex)

    @pytest.mark.parametrize("step", ["M", "Q-DEC", "D", "Y-DEC", "W-SUN", "h"])
    def test_periods(self, step):
        index = pd.period_range("2024-01-01", periods=8, freq=step, name="when")
        found = self.ahead(pd.DataFrame({"y": VALUES}, index=index))
        expected = pd.period_range(index[-1] + 1, periods=2, freq=step, name="when")
        pd.testing.assert_index_equal(found.index, expected)
        named = read_table(pd.DataFrame({"y": VALUES}, index=index), frequency=step)
        assert named.frequency == read_table(pd.DataFrame({"y": VALUES}, index=index)).frequency
        column = self.ahead(pd.DataFrame({"ds": index, "y": VALUES}))
        assert column["ds"].tolist() == expected.tolist()

    def test_series_of_pandas(self):
        for name in ("sales", None, 7):
            found = self.ahead(pd.Series(VALUES, index=self.INDEX, name=name))
            assert isinstance(found, pd.Series)
            assert found.name == name
            assert found.index.tolist() == [pd.Timestamp("2024-01-09"), pd.Timestamp("2024-01-10")]
        steps = self.ahead(pd.Series(VALUES))
        assert steps.index.tolist() == [8, 9]
        periods = self.ahead(pd.Series(VALUES, index=self.INDEX.to_period("D")))
        assert isinstance(periods.index, pd.PeriodIndex)

    @pytest.mark.parametrize(
        "dtype", ["Int64", "int32[pyarrow]", "timestamp[ms][pyarrow]", "date32[day][pyarrow]"]
    )
    def test_pandas_extension_types_of_times(self, dtype):
        whole = "nt" in dtype
        times = pd.Series(range(8)) if whole else pd.Series(self.INDEX)
        if "date" in dtype:
            times = times.dt.date
        frame = pd.DataFrame({"ds": times.astype(dtype), "y": VALUES})
        found = self.ahead(frame)
        assert found["ds"].dtype == frame["ds"].dtype
        two = pd.Series([8, 9] if whole else pd.to_datetime(["2024-01-09", "2024-01-10"]))
        two = two.dt.date if "date" in dtype else two
        assert found["ds"].tolist() == two.astype(dtype).tolist()

    def test_days_in_milliseconds_of_pyarrow(self):
        days = pa.array(self.INDEX.date).cast(pa.date64())
        assert read_table(pa.table({"ds": days, "y": VALUES})).times.tolist() == [
            int(day.value) for day in self.INDEX.as_unit("ns")
        ]

    def test_lazy_frames_are_refused_unread(self):
        lazy = pl.DataFrame({"ds": list(DAYS), "y": VALUES}).lazy()
        with pytest.raises(DataError, match="collect a lazy frame"):
            read_table(lazy)

    def test_series_of_polars(self):
        found = self.ahead(pl.Series("sales", VALUES))
        assert isinstance(found, pl.Series)
        assert (found.name, found.to_list()) == ("sales", [1, 1])
        assert self.ahead(pl.Series(VALUES)).name == ""

    def test_chunked_arrays_of_pyarrow(self):
        found = self.ahead(pa.chunked_array([VALUES[:3], VALUES[3:]]))
        assert isinstance(found, pa.ChunkedArray)
        assert found.to_pylist() == [1, 1]

    def test_names_of_the_columns_own_levels(self, tmp_path):
        labels = pd.MultiIndex.from_tuples([("a", "x"), ("b", 2)], names=["plant", None])
        for columns in (labels, pd.Index(["a", "b"], name="plant"), pd.Index([1, 2], name=0)):
            frame = pd.DataFrame(np.ones((8, 2)), index=self.INDEX, columns=columns)
            assert list(self.ahead(frame).columns.names) == list(columns.names)

    @pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
    def test_uuids(self, library):
        ids = [uuid.UUID(int=1), uuid.UUID(int=2)]
        rows = {"unique_id": [ids[0]] * 8 + [ids[1]] * 8, "ds": [*DAYS] * 2, "y": VALUES * 2}
        source = (
            pd.DataFrame(rows)
            if library is pd.DataFrame
            else pl.DataFrame(rows, schema_overrides={"unique_id": pl.Object})
        )
        assert list(self.ahead(source)["unique_id"]) == [ids[0]] * 2 + [ids[1]] * 2

    def test_they_are_kept_in_a_saved_model(self, tmp_path):
        index = pd.period_range("2020-01", periods=40, freq="M")
        labels = pd.MultiIndex.from_tuples([("a", "x"), ("b", 2)], names=["plant", 1])
        waves = np.sin(np.arange(80).reshape(40, 2))
        frame = pd.DataFrame(waves, index=index, columns=labels)
        tiny = {"d_model": 8, "d_ff": 8, "kernel_sizes": (3,)}
        kinds = {
            "frame": frame,
            "series": pd.Series(waves[:, 0], index=index, name=4),
            "numbers": pd.DataFrame({"ds": range(1980, 2020), "y": waves[:, 0]}),
        }
        for name, source in kinds.items():
            model = ConvTimeNetForecaster(
                2, 8, model=tiny, n_epochs=1, verbose=0, device="cpu", freq=pd.offsets.MonthBegin()
                if name != "numbers" else None,
            )  # fmt: skip
            before = model.fit(source).predict()
            after = ConvTimeNetForecaster.load(model.save(tmp_path / name)).predict()
            same = pd.testing.assert_series_equal if name == "series" else None
            (same or pd.testing.assert_frame_equal)(after, before)
            if name == "numbers":
                assert before["ds"].tolist() == [2020, 2021]


class TestWrittenIndexes:
    """Index columns that programs write are not data."""

    FRAME = pd.DataFrame({"date": pd.to_datetime(DAYS), "y": VALUES})

    def check(self, path: Path, label: str) -> None:
        table = read_table(path)
        assert table.channels == ("y",)
        told = f"ignored the index of a frame that was written as a column: {label}"
        assert told in table.notices

    def test_of_parquet(self, tmp_path):
        self.FRAME.sort_values("y").to_parquet(tmp_path / "x.parquet")
        self.check(tmp_path / "x.parquet", "'__index_level_0__'")
        read = parquet.read_table(tmp_path / "x.parquet")
        assert read_table(read).channels == ("y",)
        assert read_table(pl.from_arrow(read)).channels == ("y",)

    def test_of_csv(self, tmp_path):
        self.FRAME.to_csv(tmp_path / "x.csv")
        self.check(tmp_path / "x.csv", "''")
        again = pd.read_csv(tmp_path / "x.csv")
        assert read_table(again).channels == ("y",)
        again.to_csv(tmp_path / "x.csv")
        self.check(tmp_path / "x.csv", "'', 'Unnamed: 0'")

    def test_of_workbooks(self, tmp_path):
        self.FRAME.to_excel(tmp_path / "x.xlsx")
        self.check(tmp_path / "x.xlsx", "''")

    def test_dates_in_it_are_the_times(self, tmp_path):
        frame = self.FRAME.set_index("date").rename_axis(None)
        frame.sort_values("y").to_parquet(tmp_path / "x.parquet")
        table = read_table(tmp_path / "x.parquet")
        assert (table.channels, table.time_name) == (("y",), "__index_level_0__")

    @pytest.mark.parametrize("name", ["index", "level_0", "rownames"])
    def test_of_a_reset_one(self, name, tmp_path):
        order = self.FRAME.sort_values("y", ascending=False)
        for numbers in (range(8), range(1, 9), order.index):
            frame = order.assign(**{name: list(numbers)})
            frame.to_csv(tmp_path / "x.csv", index=False)
            self.check(tmp_path / "x.csv", repr(name))
            for one in (frame, pl.from_pandas(frame)):
                assert read_table(one).channels == ("y",)

    def test_columns_of_that_name_that_are_data(self):
        for numbers in (VALUES, range(2, 10), [0, 0, 1, 2, 3, 4, 5, 6], np.arange(8) / 2):
            table = read_table(self.FRAME.assign(index=list(numbers)))
            assert table.channels == ("y", "index")
        times = self.FRAME[["y"]].reset_index()
        assert read_table(times, time_col="index").channels == ("y",)
        with pytest.raises(DataError, match=r"time_col=\.\.\. with one of 'index', 'y'"):
            read_table(times)

    def test_it_may_be_asked_for(self):
        table = read_table(self.FRAME.assign(**{"Unnamed: 0": 1.0}), target_cols=["Unnamed: 0"])
        assert table.channels == ("Unnamed: 0",)


class TestPanels:
    def test_what_is_taken_as_targets_is_said(self, tmp_path):
        rows = [f"{s},{day},{i},{i / 2}" for s in "AB" for i, day in enumerate(DAYS)]
        path = save(tmp_path, "\n".join(["store,date,units,price", *rows]))
        table = read_table(path, id_col="store")
        assert table.channels == ("units", "price")
        assert "the targets are the columns 'units', 'price'" in table.notices[0]
        assert read_table(path, id_col="store", target_cols=["units"]).notices == ()

    def test_a_stamp_that_repeats_by_mistake_is_no_panel(self, tmp_path):
        text = PLAIN + "2024-01-08,9\n"
        with pytest.raises(DataError, match="duplicate time stamps: 2024-01-08"):
            read_table(save(tmp_path, text))


def test_a_folder_of_parquet_files_is_one_table(tmp_path: Path) -> None:
    frame = pd.DataFrame({"unique_id": ["a"] * 8 + ["b"] * 8, "ds": DAYS * 2, "y": range(16)})
    parquet.write_to_dataset(pa.table(frame), tmp_path / "t", partition_cols=["unique_id"])
    (tmp_path / "t" / "_SUCCESS").touch()
    table = read_table(tmp_path / "t")
    assert table.ids.tolist() == ["a", "b"]
    assert table.values[:, 0].tolist() == list(range(16))


@pytest.mark.parametrize("ending", [".parquet", ".PQ", ".arrow", ".feather"])
@pytest.mark.parametrize("how", ["{}", "file://{}", "{}/*", "{}/a*", "memory:/{}"])
def test_what_a_folder_holds(tmp_path: Path, ending: str, how: str) -> None:
    """The same as a path, an address and a pattern; what others put beside the data is none."""
    place, known = tmp_path / "t", ending in (".parquet", ".PQ")
    for name, first in (("a1", 0), ("a2/b", 4)):
        path = place / f"{name}{ending}"
        path.parent.mkdir(exist_ok=True, parents=True)
        rows = pa.table({"ds": DAYS[first : first + 4], "y": range(first, first + 4)})
        (parquet.write_table if known else feather.write_feather)(rows, str(path))
    for name in ("_SUCCESS", ".a1.crc", "_delta_log/0.json", "_spark_metadata/0", "a2/._b.txt"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("{}", encoding="utf-8")
    (place / ".old").mkdir()
    (place / ".old" / f"c{ending}").write_bytes(b"damaged")
    if how.startswith("memory"):
        fsspec.filesystem("memory").put(str(place), str(place), recursive=True)
    assert read_table(how.format(place)).values[:, 0].tolist() == list(range(8))


def test_a_column_of_a_file_counts_before_one_of_a_folder(tmp_path: Path) -> None:
    """As DuckDB's WRITE_PARTITION_COLUMNS writes them."""
    for name, code, first in (("a", "01", 0), ("b", "1", 4)):
        folder = tmp_path / f"unique_id={name}" / f"code={code}" / "size=3"
        folder.mkdir(parents=True)
        rows = pa.table({"ds": DAYS[:4], "unique_id": [name] * 4, "y": range(first, first + 4)})
        parquet.write_table(rows, folder / "x.parquet")
    table = read_table(tmp_path, target_cols=["y"], covariates=["code", "size"])
    assert table.ids.tolist() == ["a", "b"]
    assert table.values[:, 0].tolist() == list(range(8))
    assert table.covariates["code"].tolist() == ["01"] * 4 + ["1"] * 4
    assert table.covariates["size"].tolist() == [3] * 8


def test_chained_addresses(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"ds": DAYS[:4], "y": range(4)}), tmp_path / "x.parquet")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / "x.parquet", "x.parquet")
    fsspec.filesystem("memory").pipe_file("/chained/x.zip", (tmp_path / "x.zip").read_bytes())
    table = read_table("zip://x.parquet::memory://chained/x.zip")
    assert table.values[:, 0].tolist() == list(range(4))
    assert is_columnar("simplecache::memory://chained/x.parquet")
    assert not is_columnar("simplecache::memory://chained/x.zip")
    with pytest.raises(DataError, match="install that package"):
        read_table("some-thing+x://bucket/x.parquet")


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (gzip.compress(PLAIN.encode()), "x.csv", "found a gzip file: name it .csv.gz"),
        (b"PK\x03\x04...", "x.csv", "a zip file or workbook"),
        (b"PAR1...", "x.txt", "a Parquet file: name it .parquet"),
        (b"<!DOCTYPE html><html></html>", "x.csv", "a web page: download the file itself"),
    ],
    ids=["gzip", "zip", "Parquet", "HTML"],  # the bytes of gzip hold the time
)
def test_files_of_another_kind_are_named(tmp_path: Path, content: bytes, name: str, said) -> None:
    with pytest.raises(DataError, match=said):
        read_table(save(tmp_path, content, name))


def test_a_json_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """The last was read, and nothing said so."""
    columns = '{"date": ["2021-01-01", "2021-01-02"], "a": [1, 2], "a": [3, 4]}'
    with pytest.raises(DataError, match=r"line 1: .*the key 'a' twice"):
        read_table(save(tmp_path, columns, "x.json"))
    lines = '{"date": "2021-01-01", "a": 1}\n{"date": "2021-01-02", "a": 1, "a": 2}\n'
    with pytest.raises(DataError, match=r"line 2: .*the key 'a' twice"):
        read_table(save(tmp_path, lines, "x.jsonl"))


def test_json_columns_are_matched_by_their_keys(tmp_path: Path) -> None:
    keyed = '{"date": {"0": "2024-01-01", "1": "2024-01-02"}, "y": {"1": 2, "0": 1}}'
    assert read_table(save(tmp_path, keyed, "x.json")).values[:, 0].tolist() == [1, 2]
    frame = pd.DataFrame({"y": VALUES}, index=pd.to_datetime(DAYS))
    epochs = {str(stamp.value // 10**6): v for stamp, v in zip(frame.index, VALUES, strict=True)}
    for text in (str(frame.to_json(date_format="iso")), json.dumps({"y": epochs})):
        table = read_table(save(tmp_path, text, "x.json"))
        assert table.values[:, 0].tolist() == VALUES
        assert table.times.astype("M8[D]").astype(str).tolist() == DAYS


def test_stamps_of_tsf_files_in_iso_8601(tmp_path: Path) -> None:
    head = (
        "@attribute series_name string\n@attribute start_timestamp date\n@frequency daily\n@data\n"
    )
    table = read_table(save(tmp_path, head + "a:2024-01-01:1,2\n", "x.tsf"))
    assert table.times[1] == np.datetime64("2024-01-02")
    with pytest.raises(DataError, match="found none; add the line"):
        read_table(
            save(tmp_path, head.replace("@frequency daily\n", "") + "a:2024-01-01:1\n", "x.tsf")
        )


@pytest.mark.parametrize("path", ["https://example.org/x.csv", "s3://bucket/x.csv", "-"])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(DataError, match=r"download the file|write it to a file"):
        read_table(path)


def test_a_home_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path, PLAIN)
    assert read_table("~/x.csv").values[:, 0].tolist() == VALUES


def test_check_path(tmp_path: Path) -> None:
    for name in ("x.csv", "x.CSV.gz", "x.parquet", "x.tsf", "x.xlsx", "x.zip", "x.jsonl"):
        check_path(save(tmp_path, "", name))
    with pytest.raises(DataError, match=r"absent\.csv: there is no such file; check the path"):
        check_path(tmp_path / "absent.csv")
    with pytest.raises(DataError, match=r"found a folder; give one of the files in it"):
        check_path(tmp_path)
    with pytest.raises(
        DataError, match=r"in a \.csv, \.tsv.*\.tsf file .*found the extension '\.sav'"
    ):
        check_path(tmp_path / "x.sav")
    code = (
        "import sys; from convtimenet.data.files import check_path\n"
        "heavy = {'torch', 'numpy', 'pandas', 'pyarrow', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("dash", ["-", "\u2013", "\u2014"])
def test_a_dash_that_may_be_zero_is_told_of(tmp_path, dash):
    table = read_table(save(tmp_path, written(";", ["1,5", dash, "3,5", f" {dash} "])))
    np.testing.assert_array_equal(table.values[:, 0], [1.5, np.nan, 3.5, np.nan])
    assert table.notices[0].startswith(f"column 'y': {dash!r} is read as a missing value; write 0")
    assert read_table(save(tmp_path, written(";", ["\u22121,5", "-2", "3"]))).values[0, 0] == -1.5
