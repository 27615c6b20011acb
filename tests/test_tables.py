"""Tables from files, frames and arrays, and forecasts back."""

from __future__ import annotations

import datetime as dt
import gzip
import logging
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from common import DATA
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyarrow import parquet

from convtimenet.data.files import read_grid
from convtimenet.data.forecast_tables import future_frame, write_csv
from convtimenet.data.table_rows import select_channels
from convtimenet.data.tables import Table, read_table
from convtimenet.data.text.numbers import Numbers
from convtimenet.data.time.frequency import Frequency
from convtimenet.errors import DataError, MissingExtraError

HOURS = np.arange("2021-01-01T00", "2021-01-01T05", dtype="datetime64[h]").astype("datetime64[ns]")
CSV = "date,a,b\n" + "".join(f"2021-01-01 0{i}:00,{i}.5,{-i}\n" for i in range(5))
VALUES = np.array([[i + 0.5, -i] for i in range(5)])
FORECAST = np.array([[1.0, 2.0], [3.0, 4.0]])


def save(folder: Path, text: str | bytes, name: str = "x.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def make(values: np.ndarray, start: str = "2021-01-01", step: str = "1h") -> Table:
    frequency = Frequency.parse(step)
    first = np.datetime64(start, "ns")
    times = np.concatenate([[first], frequency.future(first, len(values) - 1)])
    channels = tuple(f"c{i}" for i in range(values.shape[1]))
    return Table(
        times=times, values=values, channels=channels, time_name="date", frequency=frequency
    )


def pandas_frame() -> pd.DataFrame:
    return pd.DataFrame({"when": pd.to_datetime(HOURS), "a": VALUES[:, 0], "b": VALUES[:, 1]})


def assert_is_the_example(table: Table) -> None:
    np.testing.assert_array_equal(table.times, HOURS)
    assert table.times.dtype == np.dtype("datetime64[ns]")
    np.testing.assert_array_equal(table.values, VALUES)
    assert table.values.dtype == np.float64
    assert table.channels == ("a", "b")
    assert table.frequency.name == "1h"
    assert table.notices == ()


# Files


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        CSV.replace("\n", "\r\n"),
        CSV.replace(",", ";"),
        CSV.replace(",", "\t"),
        "\ufeff" + CSV,
        CSV.replace("date", "Timestamp"),
        CSV.replace("date", "when"),
        CSV.replace("\n", "\n\n"),
        CSV.replace("2021-01-01 0", "2021/1/1 "),
        CSV.replace("2021-01-01", '"2021-01-01').replace(":00", ':00"'),
    ],
)
def test_csv(tmp_path: Path, text: str) -> None:
    table = read_table(str(save(tmp_path, text)))
    assert_is_the_example(table)
    assert table.time_zone is None


def test_gzipped_csv(tmp_path: Path) -> None:
    assert_is_the_example(read_table(save(tmp_path, gzip.compress(CSV.encode()), "x.csv.gz")))


def test_parquet(tmp_path: Path) -> None:
    pl.from_pandas(pandas_frame()).write_parquet(tmp_path / "x.parquet")
    table = read_table(tmp_path / "x.parquet")
    assert_is_the_example(table)
    assert isinstance(future_frame(table, FORECAST), Table)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet.write_table(pa.table({"date": HOURS, "a": VALUES[:, 0]}), tmp_path / "x.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pyarrow.*convtimenet\[parquet\]"):
        read_table(tmp_path / "x.parquet")


def test_latin1_is_read_with_a_notice(tmp_path: Path) -> None:
    table = read_table(save(tmp_path, CSV.replace("a", "T (°C)", 2).encode("latin-1")))
    assert "T (°C)" in table.channels[0] + table.time_name
    assert "Latin-1" in table.notices[0]


def test_offsets_are_kept(tmp_path: Path) -> None:
    table = read_table(save(tmp_path, CSV.replace(":00,", ":00+02:00,")))
    assert table.time_zone == "+02:00"
    np.testing.assert_array_equal(table.times, HOURS - np.timedelta64(2, "h"))


def test_integer_times_and_chosen_columns(tmp_path: Path) -> None:
    path = save(tmp_path, "step,note,a,b\n10,x,1,2\n20,y,3,4\n30,z,5,7\n")
    table = read_table(path, time_col="step", target_cols=["b", "a"])
    np.testing.assert_array_equal(table.times, [10, 20, 30])
    np.testing.assert_array_equal(table.values, [[2, 1], [4, 3], [7, 5]])
    assert (table.channels, table.time_name, table.frequency.name) == (("b", "a"), "step", "10")


def test_missing_and_infinite_cells_are_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cells = ["", "1", "NaN", "NA", "4", "inf", "null"]
    text = "date,a,b\n" + "".join(f"2021-01-0{i + 1},{c},{i}\n" for i, c in enumerate(cells))
    with caplog.at_level(logging.WARNING, "convtimenet.data.tables"):
        table = read_table(save(tmp_path, text))
    nan = np.nan
    np.testing.assert_array_equal(table.values[:, 0], [nan, 1, nan, nan, 4, nan, nan])
    np.testing.assert_array_equal(table.values[:, 1], np.arange(7))
    assert table.notices == ("channel 'a': 4 missing and 1 infinite values",)
    assert tuple(caplog.messages) == table.notices


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ([3, -999, 5, -999, 4.5], "-999 repeats"),
        ([3000, -99, 5000, -99, 0], "-99 repeats"),  # alone negative
        ([-2, 9999, 5, 9999, 7], "9999 repeats"),
        ([np.nan, -99.9, 5, -99.9, 7], "-99.9 repeats"),
        ([1, -9999, 5, 9999, 9999, -9999], "-9999 and 9999 repeat"),
        ([3, 4, 5, 6], None),
        ([-998, -999, -999, -990], None),  # among the others
        ([900, 999, 999, 800], None),
        ([0, 99, 0, 99, 0], None),  # two values only
        ([3, -998, 5, -998, 4], None),
    ],
)
def test_codes_of_missing_values_are_noticed_and_left_as_they_are(
    values: list[float], codes: str | None
) -> None:
    values = values * 4
    frame = pd.DataFrame({"a": values, "b": range(len(values)), "c": values})
    frame["date"] = pd.date_range("2021", periods=len(values))
    table = read_table(frame, target_cols=["a", "b"], covariates=["c"])
    told = [one for one in table.notices if "codes of missing values" in one]
    named = [f"{kind}: {codes} far" for kind in ("channel 'a'", "covariate 'c'")]
    assert [one.partition(" from")[0] for one in told] == (named if codes else [])
    np.testing.assert_array_equal(table.values[:, 0], values)


def test_a_number_of_nines_that_occurs_once_or_among_few_is_a_value() -> None:
    assert read_table(np.array([1.0, 2, 3, 4, -999, 5, 6, 7, 8, 9])).notices == ()
    assert read_table(np.array([1.0, 2, 3, -999, 5, -999, 7])).notices == ()


def far(values: np.ndarray, **columns: Any) -> list[str]:
    days = [np.datetime64("2024-01-01") + t % 60 for t in range(len(values))]
    found = read_table(
        pd.DataFrame({"ds": days, "y": values, **columns}), target_cols=["y"]
    ).notices
    return [one for one in found if "if this is an error" in one]


WAVE = 50 + 10 * np.sin(np.arange(60.0))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({10: 1e6}, "1000000 at 2024-01-11 lies"),
        ({0: -4e5}, "-400000 at 2024-01-01 lies"),
        ({59: 50 * 100.0}, "5000 at 2024-02-29 lies"),  # its decimal point was lost
        ({3: 1e6, 40: -1e7}, "1000000 at 2024-01-04, -10000000 at 2024-02-10 lie"),
        ({3: 1e6, 9: 2e6, 40: 3e6}, "2024-01-04, 2000000 at 2024-01-10, 3000000 at 2024-02-10 lie"),
        ({3: np.nan, 10: 1e6}, "1000000 at 2024-01-11 lies"),
        ({}, None),
        ({10: 500}, None),  # a spike
        (dict.fromkeys(range(30, 60), 1e6), None),  # another level
        (dict.fromkeys((3, 4, 5, 6), 1e6), None),  # too many
    ],
)
def test_values_far_from_all_others_are_noticed(
    changes: dict[int, float], told: str | None
) -> None:
    """1e6 among values near 50 got no word."""
    values = WAVE.copy()
    values[list(changes)] = list(changes.values())
    found = far(values)
    assert len(found) == (told is not None)
    cells = "the cell" if told and "lies" in told else "these cells"
    end = f"{told} far from all other values; leave {cells} empty if this is an error"
    assert all(one.startswith("channel 'y': ") and one.endswith(end) for one in found)


def test_values_are_compared_with_those_of_their_series() -> None:
    ids = np.repeat(["a", "b", "c"], 60)
    values = np.concatenate([WAVE, 1e5 * WAVE, np.zeros(60)])
    assert far(values, unique_id=ids) == []
    values[70] = 5e10
    values[130] = 1  # of constant values anything is far
    assert far(values, unique_id=ids) == [
        "channel 'y': 50000000000 at 2024-01-11 of 'b' lies far from all other values of the "
        "series; leave the cell empty if this is an error"
    ]


def test_a_level_that_moves_at_the_end_a_few_values_and_codes_are_not_far() -> None:
    fixed = np.full(60, 8.28)
    fixed[1::2] += 1e-9
    fixed[57:] = 8.1
    assert far(fixed) == []
    few = np.arange(29.0)
    few[3] = 1e6
    assert far(few) == []
    coded = WAVE.copy()
    coded[[3, 9, 20, 40, 41]] = -999
    assert far(coded) == []
    coded[10] = 1e6
    assert [one.partition(" lies")[0] for one in far(coded)] == [
        "channel 'y': 1000000 at 2024-01-11"
    ]


def others(notices: tuple[str, ...]) -> tuple[str, ...]:
    """Without those of codes and of what is far, which generated numbers may be."""
    return tuple(one for one in notices if " far from all other" not in one)


@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=9),
        elements=st.one_of(st.floats(-1e6, 1e6), st.sampled_from([np.nan, np.inf, -np.inf])),
    )
)
def test_what_is_missing_is_nan_and_the_rest_as_it_was(array: np.ndarray) -> None:
    known = np.isfinite(array)
    if not known.any(axis=0).all():
        infinite = np.isinf(array[:, ~known.any(axis=0)])
        kind = "missing or infinite" if infinite.any() else "missing"
        kind = "infinite" if infinite.all() else kind
        with pytest.raises(DataError, match=f"every value is {kind};"):
            read_table(array)
        return
    before = array.copy()
    table = read_table(array)
    np.testing.assert_array_equal(table.values, np.where(known, array, np.nan))
    np.testing.assert_array_equal(table.known if table.known is not None else known, known)
    np.testing.assert_array_equal(array, before)
    assert len(others(table.notices)) == int((~known).any(axis=0).sum())


@given(st.permutations(range(5)))
def test_order_of_rows_does_not_matter(order: list[int]) -> None:
    frame = pandas_frame().iloc[list(order)]
    before = frame.copy()
    table = read_table(frame)
    np.testing.assert_array_equal(table.times, HOURS)
    np.testing.assert_array_equal(table.values, VALUES)
    assert table.notices == (() if order == sorted(order) else ("rows sorted by time",))
    pd.testing.assert_frame_equal(frame, before)


@settings(max_examples=50)
@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=6),
        # a whole number is written without the sign of -0.0
        elements=st.floats(allow_nan=False, allow_infinity=False).map(lambda one: one + 0.0),
    ),
    st.sampled_from(["1h", "250ms", "1D", "1MS", "1B", "7ns"]),
)
def test_written_tables_read_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, step: str
) -> None:
    table = make(values, step=step)
    path = tmp_path_factory.mktemp("written") / "x.csv"
    write_csv(path, table)
    again = read_table(path, frequency=step)
    np.testing.assert_array_equal(again.times, table.times)
    assert again.values.tobytes() == values.tobytes()
    assert (again.channels, again.frequency) == (table.channels, table.frequency)
    assert others(again.notices) == ()


# Frames


@pytest.mark.parametrize("convert", [lambda f: f, pl.from_pandas, pa.Table.from_pandas])
def test_frames_come_back_as_they_were(convert) -> None:
    source = convert(pandas_frame())
    table = read_table(source)
    assert_is_the_example(table)
    future = future_frame(table, FORECAST)
    assert type(future) is type(source)
    expected = convert(
        pd.DataFrame(
            {
                "when": pd.to_datetime(["2021-01-01T05", "2021-01-01T06"]).astype("M8[ns]"),
                "a": [1.0, 3.0],
                "b": [2.0, 4.0],
            }
        )
    )
    if isinstance(future, pd.DataFrame):
        pd.testing.assert_frame_equal(future, expected)
    else:
        assert future.equals(expected)


def test_pandas_index_comes_back_as_index() -> None:
    frame = pandas_frame().set_index("when")
    table = read_table(frame)
    assert_is_the_example(table)
    assert table.time_name == "when"
    both = pd.concat([frame, future_frame(table, FORECAST)])
    assert isinstance(both.index, pd.DatetimeIndex)
    assert both.index.name == "when"
    assert both.index.to_numpy()[-1] == np.datetime64("2021-01-01T06")
    np.testing.assert_array_equal(both.to_numpy(), np.concatenate([VALUES, FORECAST]))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("convert", [lambda f: f, pa.Table.from_pandas])
def test_time_resolution_is_kept(convert, unit: str) -> None:
    frame = pandas_frame()
    source = convert(frame.assign(when=frame["when"].astype(f"M8[{unit}]")))
    future = future_frame(read_table(source), FORECAST)
    if isinstance(future, pa.Table):
        assert future.schema.field("when").type == pa.timestamp(unit)
    else:
        assert future["when"].dtype == np.dtype(f"M8[{unit}]")


@pytest.mark.parametrize("convert", [lambda f: f, pl.from_pandas, pa.Table.from_pandas])
def test_zones_are_kept_over_a_clock_change(convert) -> None:
    when = pd.date_range("2024-03-28", periods=4, freq="D", tz="Europe/Berlin")
    source = convert(pd.DataFrame({"when": when, "a": range(4), "b": range(4)}))
    table = read_table(source)
    assert (table.frequency.name, table.time_zone) == ("1D", "Europe/Berlin")
    assert table.times[0] == np.datetime64("2024-03-27T23:00")
    column = future_frame(table, FORECAST)["when"]
    stamps = column.to_pylist() if isinstance(source, pa.Table) else list(column)
    assert [stamp.isoformat() for stamp in stamps] == [
        "2024-04-01T00:00:00+02:00",
        "2024-04-02T00:00:00+02:00",
    ]


def test_fixed_offset_zone_is_kept() -> None:
    when = pd.date_range("2024-03-28", periods=4, freq="D", tz=dt.timezone(dt.timedelta(hours=2)))
    future = future_frame(read_table(pd.DataFrame({"when": when, "a": range(4)})), FORECAST[:, :1])
    assert future["when"][0].isoformat() == "2024-04-01T00:00:00+02:00"


def test_polars_dates_stay_dates() -> None:
    days = [dt.date(2021, 1, 31), dt.date(2021, 2, 28), dt.date(2021, 3, 31)]
    table = read_table(pl.DataFrame({"ds": days, "x": [1, 2, 3]}))
    assert table.frequency.name == "1ME"
    assert future_frame(table, np.ones((1, 1)))["ds"].to_list() == [dt.date(2021, 4, 30)]


def test_text_and_object_times_are_parsed() -> None:
    for times in (["2021-01-01", "2021-01-02"], [dt.date(2021, 1, 1), dt.date(2021, 1, 2)]):
        table = read_table(pd.DataFrame({"day": times, "x": [1, 2]}))
        np.testing.assert_array_equal(table.times, np.array(["2021-01-01", "2021-01-02"], "M8[ns]"))
        assert future_frame(table, np.ones((1, 1)))["day"][0] == pd.Timestamp("2021-01-03")


def test_kinds_of_numbers() -> None:
    frame = pd.DataFrame(
        {
            "time": [1, 2, 3],
            "bool": [True, False, True],
            "maybe": pd.array([1, None, 3], dtype="Int64"),
            "decimal": [Decimal("1.5"), None, Decimal("2.5")],
            "float32": np.array([0.5, 1, 2], dtype=np.float32),
        }
    )
    table, nan = read_table(frame), np.nan
    rows = [[1, 1, 1.5, 0.5], [0, nan, nan, 1], [1, 3, 2.5, 2]]
    np.testing.assert_array_equal(table.values, rows)
    polars = pl.DataFrame({"time": [1, 2], "x": [Decimal("1.25"), Decimal("2.5")]})
    np.testing.assert_array_equal(read_table(polars).values, [[1.25], [2.5]])


# Arrays


def test_arrays() -> None:
    array = np.arange(6, dtype=np.int32)
    table = read_table(array)
    np.testing.assert_array_equal(table.times, np.arange(6))
    assert (table.channels, table.frequency.name) == (("0",), "1")
    wide = read_table(array.reshape(3, 2), target_cols=["1"])
    np.testing.assert_array_equal(wide.values, [[1], [3], [5]])
    np.testing.assert_array_equal(future_frame(wide, FORECAST[:, :1]), [[1], [3]])


def test_constant_channel_is_fine() -> None:
    assert read_table(np.ones(3)).notices == ()


# Mistakes


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "an empty file"),
        ("date,a\n", {}, "only a header line"),
        ("date,a\n2021-01-01,1\n", {}, "at least 2 rows, found 1"),
        ("x,y\n1,2\n3,4\n", {}, r"no time column found.*no column holds dates.*time_col.*'x', 'y'"),
        ("x,y\n2021-01-01,2021-01-01\n", {}, r"several columns hold dates: 'x', 'y'"),
        (CSV, {"time_col": "dat"}, r"time_col: .*no column 'dat'; did you mean 'date'\?"),
        (CSV, {"target_cols": ["A"]}, r"target_cols: .*no column 'A'; did you mean 'a'\?"),
        (CSV, {"target_cols": ["date"]}, "'date' is the time column"),
        (CSV, {"target_cols": []}, "one or more different channel names, found none"),
        (CSV, {"target_cols": ["a", "a"]}, "found 'a' twice"),
        (CSV, {"frequency": "1D"}, "expected a step of 1D.*found a step of 1h"),
        (CSV, {"frequency": "soon"}, "unknown frequency 'soon'"),
        (CSV.replace("03:00", "01:00").replace("04:00", "00:00"), {},
         "duplicate time stamps: 2021-01-01T00:00:00 is the first of 2"),
        (CSV.replace("04:00", "05:30").replace("03:00", "04:00"), {},
         "not regular: after 2021-01-01T04:00:00 expected a step of 1h.*found a step of 90min"),
        (CSV.replace("2.5", "high"), {}, "column 'a', line 4: expected a number, found 'high'.*"
         "target_cols"),
        (CSV.replace("2.5", '"1.234,5"'), {}, "write numbers with a decimal point, such as 1234.5"),
        (CSV.replace("2.5", "2_5"), {}, "column 'a', line 4: expected a number, found '2_5'"),
        (CSV.replace("2.5", ""). replace("3.5", "1_0"), {}, "line 5.*found '1_0'"),
        (CSV.replace("2.5", "2.5,9"), {}, "line 4: expected 3 cells as in the header, found 4"),
        (CSV.replace("b", "a"), {}, "two columns are named 'a'"),
        (CSV, {"id_col": "A"}, r"id_col: .*no column 'A'; did you mean 'a'\?"),
        (CSV, {"covariates": ["B"]}, r"covariates: .*no column 'B'; did you mean 'b'\?"),
        (CSV, {"covariates": ["date"]}, "covariates: 'date' is the time column; leave it out"),
        ("unique_id,ds,y\ns,2021-01-01,1\n,2021-01-02,2\n", {}, "'unique_id', line 3: the id is"),
        ("date,a\n", {}, "expected a header line and rows below it, found only a header line"),
        ("", {}, "expected a header line and rows below it, found an empty file"),
        (CSV.replace("2021-01-01 02:00", "noon"), {}, "column 'date', line 4: 'noon' is not a"),
        ("date,a,b\n2021-01-01,1,\n2021-01-02,2,NaN\n", {}, "no numbers in 'b'.*every value"),
        ("date\n2021-01-01\n2021-01-02\n", {}, "expected value columns besides the time"),
    ],
)  # fmt: skip
def test_csv_mistakes(tmp_path: Path, text: str, options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(save(tmp_path, text), **options)


def test_file_mistakes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.csv: there is no such file"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(
        DataError, match=r"x\.docx: expected a table .* found the extension '\.docx'"
    ):
        read_table(save(tmp_path, "", "x.docx"))
    with pytest.raises(DataError, match="damaged gzip file"):
        read_table(save(tmp_path, CSV, "x.csv.gz"))
    with pytest.raises(DataError, match="not readable as Parquet"):
        read_table(save(tmp_path, CSV, "x.parquet"))
    with pytest.raises(DataError, match=r"absent\.csv: cannot be read"):
        read_grid(tmp_path / "absent.csv")


def test_a_cell_beyond_the_readers_limit_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.csv, line 3: not readable as CSV: field larger"):
        read_table(save(tmp_path, CSV.replace("1.5", "1" * 200_000)))


def test_covariates_of_a_csv_are_numbers_or_text(tmp_path: Path) -> None:
    text = "date,a,n,t\n2021-01-01,1,1.5, wet\n2021-01-02,2,,\n2021-01-03,3,NA,dry\n"
    table = read_table(save(tmp_path, text), covariates=["n", "t"])
    np.testing.assert_array_equal(table.covariates["n"], [1.5, np.nan, np.nan])
    assert table.covariates["t"].tolist() == ["wet", None, "dry"]
    assert table.channels == ("a",)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (pl.DataFrame({"a": [], "date": []}), "expected rows, found an empty frame"),
        (pl.DataFrame({"date": HOURS, "a": ["x"] * 5}), "column 'a', row 0.*number, found 'x'"),
        (pl.DataFrame({"date": HOURS, "a": HOURS}), "column 'a': expected numbers, found Datetime"),
        (pl.DataFrame({"date": [1.5], "a": [1]}), "expected dates or integers as times"),
        (
            pl.DataFrame({"date": [1, None], "a": [1, 2]}),
            "'date', row 1: the time stamp is missing",
        ),
        (pl.DataFrame({"date": [dt.date(1066, 1, 1)], "a": [1]}), "years from 1678"),
        (pl.DataFrame({"x": [1]}).lazy(), "in-memory.*LazyFrame.*collect"),
        (pl.DataFrame({"time": [1, 2], "x": [None, None]}), "no numbers in 'x'.*every value"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "two columns have the same name.*'x'"),
        (pa.table([[1], [2]], names=["x", "x"]), "two columns have the same name.*'x'"),
        (pd.DataFrame([[1, 2]], columns=["1", 1]), "two columns have the same name.*'1'"),
        ([1, 2, 3], "found builtins.list"),
        (np.zeros((2, 2, 2)), r"shape \(T,\) or \(T, C\), found \(2, 2, 2\)"),
        (np.zeros((3, 0)), r"found \(3, 0\)"),
        (np.array(["a", "b"]), "array of numbers, found dtype <U1"),
        (np.zeros(1), "at least 2 rows, found 1"),
    ],
)
def test_frame_and_array_mistakes(source, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(source)


def test_an_array_has_no_time_column() -> None:
    with pytest.raises(DataError, match="an array has no column 'date'"):
        read_table(np.zeros(3), time_col="date")


# Channels and output


def test_select_channels() -> None:
    table = read_table(np.arange(6.0).reshape(2, 3))
    chosen = select_channels(table, ["2", "0"])
    assert chosen.channels == ("2", "0")
    np.testing.assert_array_equal(chosen.values, [[2, 0], [5, 3]])
    with pytest.raises(DataError, match=r"lacks the channels 'x', 'y'; it has '0', '1', '2'"):
        select_channels(table, ["x", "0", "y"])


def test_forecast_of_the_wrong_width() -> None:
    with pytest.raises(DataError, match=r"shape \(rows, 1\), found \(2, 2\)"):
        future_frame(read_table(np.zeros(3)), FORECAST)


def test_write_csv(tmp_path: Path) -> None:
    table = future_frame(read_table(save(tmp_path, CSV.replace(":00,", ":00Z,"))), FORECAST / 3)
    path = tmp_path / "out.csv"
    write_csv(path, table)
    assert path.read_text(encoding="utf-8") == (
        "date,a,b\n"
        "2021-01-01 05:00Z,0.3333333333333333,0.6666666666666666\n"
        "2021-01-01 06:00Z,1.0,1.3333333333333333\n"
    )


def test_write_csv_leaves_nothing_behind_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path, "precious")

    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_csv(path, make(np.zeros((2, 1))))
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]
    assert path.read_text() == "precious"


def test_write_csv_mistakes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ends in \.csv, found 'x\.txt'"):
        write_csv(tmp_path / "x.txt", make(np.zeros((2, 1))))
    with pytest.raises(DataError, match="absent does not exist; create it"):
        write_csv(tmp_path / "absent" / "x.csv", make(np.zeros((2, 1))))


def test_importing_loads_no_frame_library() -> None:
    code = (
        "import sys, convtimenet.data.tables; "
        "sys.exit(any(m in sys.modules for m in ('narwhals', 'pandas', 'polars', 'pyarrow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Published files


def data_file(name: str) -> Path:
    path = DATA / "forecasting" / name
    if not path.is_file():
        pytest.skip(f"{path} is absent; set CONVTIMENET_DATA to the folder of data sets")
    return path


def test_etth1() -> None:
    table = read_table(data_file("ETTh1.csv.gz"))
    assert table.values.shape == (17420, 7)
    assert table.channels == ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    assert table.frequency.name == "1h"
    assert table.times[0] == np.datetime64("2016-07-01T00:00")
    assert table.times[-1] == np.datetime64("2018-06-26T19:00")
    assert table.values[0, 0] == 5.827000141143799
    assert table.notices == ()


@pytest.mark.parametrize(
    ("name", "shape", "frequency"),
    [
        ("ETTm1.csv.gz", (69680, 7), "15min"),
        ("exchange_rate.csv.gz", (7588, 8), "1D"),
        ("national_illness.csv.gz", (966, 7), "1W"),
    ],
)
def test_other_published_files(name: str, shape: tuple[int, int], frequency: str) -> None:
    table = read_table(data_file(name))
    assert (table.values.shape, table.frequency.name) == (shape, frequency)
    assert [one for one in table.notices if "if this is an error" in one] == []


def test_weather_is_refused_but_its_columns_can_be_read() -> None:
    path = data_file("weather.csv.gz")
    with pytest.raises(DataError, match="duplicate time stamps: 2020-05-12T06:00:00"):
        read_table(path)
    grid = read_grid(path)
    values = np.stack([grid[name].numbers(Numbers())[0] for name in grid.names[1:]], axis=1)
    assert values.shape == (52696, 21)
    assert np.isfinite(values).all()
    assert grid["date"].texts()[0] == "2020-01-01 00:10:00"
    assert values[0, 0] == 1008.89
