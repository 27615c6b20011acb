"""Small and odd but legitimate tables: each gives what its plain twin gives, or a clear error."""

from __future__ import annotations

import datetime
import re
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from convtimenet import ConvTimeNetForecaster
from convtimenet.data.tables import Table, read_table
from convtimenet.errors import DataError

T = 40
COUNTS = np.arange(T) * 7 % 5
DAYS = pd.date_range("2024-01-01", periods=T, freq="D")
GAPS = np.where(COUNTS == 3, np.nan, COUNTS)


def forecast(source: Any, **settings) -> Any:
    tiny = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5)}
    given = {"h": 3, "input_size": 8, "model": tiny, "n_epochs": 1, "device": "cpu", "verbose": 0}
    return ConvTimeNetForecaster(**(given | settings)).fit(source).predict()


def daily(values: Any, **columns) -> pd.DataFrame:
    return pd.DataFrame({"ds": DAYS, "y": values, **columns})


def panel(a: Any = "a", b: Any = "b", dtype: Any = None) -> pd.DataFrame:
    ids = pd.Series([a] * T + [b] * T, dtype=dtype)
    return pd.DataFrame({"unique_id": ids, "ds": [*DAYS] * 2, "y": [*COUNTS, *COUNTS[::-1]]})


def csv(folder: Path, cells: Any, header: str = "ds,y", times: Any = None, mark: str = ",") -> Path:
    stamps = DAYS.strftime("%Y-%m-%d") if times is None else times
    lines = [f"{stamp}{mark}{cell}" for stamp, cell in zip(stamps, cells, strict=True)]
    path = folder / "table.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def berlin(freq: str, start: str = "2024-03-10") -> pd.DatetimeIndex:
    return pd.date_range(start, periods=T, freq=freq, tz="Europe/Berlin")


def offsets(freq: str, start: str = "2024-03-10") -> list[str]:
    return [stamp.isoformat() for stamp in berlin(freq, start)]


TEXT = [str(float(count)) for count in COUNTS]
MIXED = pd.Series([*COUNTS[:20].tolist(), *TEXT[20:]], dtype=object)

ALIKE: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "small integers": (lambda: daily(COUNTS.astype("int8")), lambda: daily(COUNTS * 1.0)),
    "large integers": (
        lambda: daily(COUNTS.astype("uint64") + np.uint64(2**63)),
        lambda: daily(COUNTS.astype("uint64") * 1.0 + 2.0**63),
    ),
    "half precision": (lambda: daily(COUNTS.astype("float16")), lambda: daily(COUNTS * 1.0)),
    "integers with gaps": (
        lambda: daily(pd.array(GAPS, dtype="Int64")),
        lambda: daily(GAPS),
    ),
    "truth values": (lambda: daily(COUNTS > 2), lambda: daily((COUNTS > 2) * 1.0)),
    "truth values with gaps": (
        lambda: daily(pd.array(np.where(COUNTS == 3, np.nan, COUNTS > 2), dtype="boolean")),
        lambda: daily(np.where(COUNTS == 3, np.nan, COUNTS > 2)),
    ),
    "numbers as text": (lambda: daily(TEXT), lambda: daily(COUNTS * 1.0)),
    "some numbers as text": (lambda: daily(MIXED), lambda: daily(COUNTS * 1.0)),
    "text with words for missing": (
        lambda: daily(["NA" if t == "3.0" else t for t in TEXT]),
        lambda: daily(GAPS),
    ),
    "numbers as a categorical": (lambda: daily(pd.Categorical(TEXT)), lambda: daily(COUNTS * 1.0)),
    "decimals": (
        lambda: daily(pd.Series([Decimal(t) for t in TEXT], dtype=object)),
        lambda: daily(COUNTS * 1.0),
    ),
    "rows from the newest to the oldest": (
        lambda: daily(COUNTS * 1.0)[::-1].reset_index(drop=True),
        lambda: daily(COUNTS * 1.0),
    ),
    "a masked array": (
        lambda: np.ma.masked_array(COUNTS, mask=COUNTS == 3),
        lambda: GAPS,
    ),
    "an array of truth values": (lambda: COUNTS > 2, lambda: (COUNTS > 2) * 1.0),
    "an array by columns": (
        lambda: np.asfortranarray(np.stack([COUNTS, COUNTS[::-1]], axis=1)),
        lambda: np.stack([COUNTS, COUNTS[::-1]], axis=1) * 1.0,
    ),
}


@pytest.mark.parametrize("case", ALIKE)
def test_it_gives_what_its_twin_gives(case):
    odd, plain = ALIKE[case]
    found, expected = forecast(odd()), forecast(plain())
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected)
    else:
        np.testing.assert_array_equal(found, expected)


STAMPS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "one column and an index without a name": (
        lambda: pd.DataFrame({"y": COUNTS}, index=DAYS),
        ["2024-02-10", "2024-02-11", "2024-02-12"],
    ),
    "days of a zone over a clock change": (
        lambda: pd.DataFrame({"y": COUNTS}, index=berlin("D", "2024-02-21")),
        ["2024-04-01T00:00+02:00", "2024-04-02T00:00+02:00", "2024-04-03T00:00+02:00"],
    ),
    "ends of months": (
        lambda: daily(COUNTS).assign(ds=pd.date_range("2020-10-31", periods=T, freq="ME")),
        ["2024-02-29", "2024-03-31", "2024-04-30"],
    ),
    "the 30th of every month": (
        lambda: daily(COUNTS).assign(
            ds=[min(end, end.replace(day=min(30, end.day))) for end in
                pd.date_range("2020-10-31", periods=T, freq="ME")]
        ),
        ["2024-02-29", "2024-03-30", "2024-04-30"],
    ),
    "Sundays": (
        lambda: daily(COUNTS).assign(ds=pd.date_range("2024-01-07", periods=T, freq="W")),
        ["2024-10-13", "2024-10-20", "2024-10-27"],
    ),
    "dates as objects": (
        lambda: daily(COUNTS).assign(ds=DAYS.date),
        ["2024-02-10", "2024-02-11", "2024-02-12"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STAMPS)
def test_its_stamps_go_on(case):
    source, expected = STAMPS[case]
    found = forecast(source())
    times = found.get("ds", found.index)
    assert [pd.Timestamp(time) for time in times] == [pd.Timestamp(time) for time in expected]
    assert np.isfinite(found["y"]).all()


class TestPanels:
    def test_a_series_of_one_point_among_long_ones(self):
        lone = pd.DataFrame({"unique_id": ["c"], "ds": [DAYS[5]], "y": [100.0]})
        found = forecast(pd.concat([panel(), lone]))
        assert found["unique_id"].tolist() == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
        own = found[found["unique_id"] == "c"]
        assert own["ds"].tolist() == [DAYS[6], DAYS[7], DAYS[8]]
        # nothing but its level is known of it
        assert own["ConvTimeNet"].to_numpy() == pytest.approx(100, abs=1)

    @pytest.mark.parametrize(
        "ids", [("x", "y", "category"), (10, 2, "category"), (10, 2, object), (10, 2, "int8")]
    )
    def test_ids_come_back_as_they_were(self, ids):
        a, b, dtype = ids
        found = forecast(panel(a, b, dtype))
        assert found["unique_id"].dtype == panel(a, b, dtype)["unique_id"].dtype
        assert found["unique_id"].tolist() == [a] * 3 + [b] * 3
        plain = forecast(panel())
        np.testing.assert_array_equal(found["ConvTimeNet"], plain["ConvTimeNet"])

    def test_an_id_as_a_number_and_as_text_is_not_one_series(self):
        with pytest.raises(DataError, match=r"'unique_id': different ids become '1' as text"):
            forecast(panel(1, "1", object))

    @pytest.mark.parametrize("ids", [(1.5, 2.0), (pd.Timedelta("1h"), pd.Timedelta("2h"))])
    def test_ids_that_are_neither(self, ids):
        with pytest.raises(DataError, match=r"ids as text or whole numbers, found .*astype\(str\)"):
            forecast(panel(*ids))

    def test_a_covariate_of_numbers_as_objects_is_one_of_numbers(self):
        numbers = pd.Series([None if c == 3 else c for c in COUNTS.tolist()], dtype=object)
        settings = {"target_cols": ["y"], "hist_exog": ["x"]}
        found = forecast(daily(COUNTS, x=numbers), **settings)
        pd.testing.assert_frame_equal(found, forecast(daily(COUNTS, x=GAPS), **settings))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no times": (
        lambda: pd.DataFrame({"y": COUNTS}),
        r"no time column found.*time_col=\.\.\. with one of 'y', or values without times as an arr",
    ),
    "two columns of one name": (
        lambda: pd.DataFrame(np.ones((T, 2)), index=DAYS, columns=["y", "y"]),
        r"two columns have the same name; rename one",
    ),
    "times as fractions": (
        lambda: daily(COUNTS).assign(ds=np.arange(T) * 1.0),
        r"'ds': expected dates or integers as times, found Float64; convert it",
    ),
    "ids and times in the index": (
        lambda: panel().set_index(["unique_id", "ds"]),
        r"the index holds 'unique_id', 'ds', expected columns; .*frame\.reset_index\(\)",
    ),
    "several levels of other names in the index": (
        lambda: panel().set_axis(["id", "t", "y"], axis=1).set_index(["id", "t"]),
        r"the index holds 'id', 't', expected columns; .*frame\.reset_index\(\)",
    ),
    "ids in the index": (
        lambda: panel().set_index("unique_id"),
        r"the index holds 'unique_id', expected columns",
    ),
    "whole numbers as times in the index": (
        lambda: pd.DataFrame({"y": COUNTS}, index=pd.RangeIndex(T, name="time")),
        r"the index holds 'time', expected columns",
    ),
    "a decimal comma among numbers": (
        lambda: daily([*TEXT[:-1], "1,5"]),
        r"'y', row 39: expected a number, found '1,5'; write numbers with a decimal point",
    ),
    "complex numbers": (lambda: daily(COUNTS + 0j), r"'y': expected numbers, found complex128"),
    "an array of objects": (
        lambda: COUNTS.astype(object),
        r"expected an array of numbers, found dtype object; convert it with astype\(float\)",
    ),
    "days of the text's own clock": (
        lambda: pl.DataFrame({"ds": offsets("D"), "y": COUNTS}),
        r"'ds' without offsets.*tz_convert\('Europe/Berlin'\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_a_remedy(case):
    source, message = REFUSED[case]
    with pytest.raises(DataError, match=message):
        forecast(source())


class TestFiles:
    @pytest.mark.parametrize("mark", [",", ";"])
    def test_decimal_commas(self, tmp_path, mark):
        cells = [f'"{text.replace(".", ",")}"' for text in TEXT]
        table = read_table(csv(tmp_path, cells, header=f"ds{mark}y", mark=mark))
        np.testing.assert_array_equal(table.values[:, 0], COUNTS)

    def test_marks_between_thousands(self, tmp_path):
        cells = [f'"1,{count:03d}.5"' for count in COUNTS]
        table = read_table(csv(tmp_path, cells))
        np.testing.assert_array_equal(table.values[:, 0], COUNTS + 1000.5)

    def test_a_dash_among_formatted_numbers_is_said(self, tmp_path):
        cells = [f'"1,{count:03d}.5"' for count in COUNTS]
        cells[3] = '" - "'
        table = read_table(csv(tmp_path, cells))
        assert np.flatnonzero(np.isnan(table.values[:, 0])).tolist() == [3]
        assert table.notices[0].startswith("column 'y': '-' is read as a missing value; write 0")

    def test_truth_values(self, tmp_path):
        with pytest.raises(DataError, match="found 'False'; write 1 and 0"):
            read_table(csv(tmp_path, COUNTS > 2))

    def test_no_header_line_is_no_row_lost(self, tmp_path):
        with pytest.raises(DataError, match=r"expected a header line .*found '2023-12-31' in it"):
            read_table(csv(tmp_path, COUNTS, header="2023-12-31,4"))

    def test_the_index_that_pandas_writes_is_no_channel(self, tmp_path):
        path = tmp_path / "table.csv"
        daily(COUNTS).to_csv(path)
        table = read_table(path)
        assert table.channels == ("y",)
        assert "ignored the index of a frame that was written as a column" in table.notices[0]
        np.testing.assert_array_equal(
            read_table(path, target_cols=["y"]).values[:, 0], COUNTS.astype(float)
        )
        # a time column without a name is none the worse
        pd.DataFrame({"y": COUNTS}, index=DAYS).to_csv(path)
        assert read_table(path).channels == ("y",)

    @pytest.mark.parametrize("freq", ["D", "MS"])
    @pytest.mark.parametrize("long", [False, True])
    def test_offsets_over_a_clock_change(self, tmp_path, freq, long):
        """Whose clock it is cannot be known from offsets: many zones share them."""
        times = offsets(freq)
        if long:
            path = csv(tmp_path, COUNTS, "unique_id,ds,y", [f"a,{time}" for time in times])
        else:
            path = csv(tmp_path, COUNTS, times=times)
        told = (
            r"UTC offsets \+01:00, \+02:00 and are not regular in UTC.*write column 'ds' without "
            r"offsets, or .* pd\.to_datetime\(column, utc=True\)\.dt\.tz_convert"
        )
        with pytest.raises(DataError, match=told):
            read_table(path)
        # both remedies work
        naive = csv(tmp_path, COUNTS, times=[time[:19] for time in times])
        assert read_table(naive).times[0] == np.datetime64(times[0][:19])
        zoned = pd.to_datetime(pd.Series(times), utc=True).dt.tz_convert("Europe/Berlin")
        table = read_table(pd.DataFrame({"ds": zoned, "y": COUNTS}))
        assert (table.time_zone, table.frequency.name[1]) == ("Europe/Berlin", freq[0])

    def test_hours_with_offsets_are_read_over_a_clock_change(self, tmp_path):
        path = csv(tmp_path, COUNTS, times=offsets("h", "2024-03-30"))
        table = read_table(path)
        assert (table.time_zone, table.frequency.name, len(table.times)) == ("+02:00", "1h", T)
        assert "have the UTC offsets +01:00, +02:00: forecasts have" in table.notices[0]
        found = forecast(path)
        assert isinstance(found, Table)
        assert found.times[0] == np.datetime64("2024-03-31T15:00")

    def test_one_offset_and_a_true_gap_are_told_of_as_ever(self, tmp_path):
        times = offsets("D", "2024-01-01")[:-1] + offsets("D", "2024-01-02")[-1:]
        times[-1] = times[-1].replace("02-10", "02-11")
        table = read_table(csv(tmp_path, COUNTS, times=times))
        assert (
            table.notices[0]
            == "2 rows are missing at a frequency of 1D: their values are treated as missing"
        )
        times[-1] = times[-1].replace("T00", "T07")
        with pytest.raises(DataError, match=r"not regular: .*found a step of 79h, to 2024-02-11"):
            read_table(csv(tmp_path, COUNTS, times=times))


def test_a_sheet_is_read_to_its_end_whatever_its_dimension_says(tmp_path):
    """Exporters write an outdated dimension, or that of the first cell."""
    frame = pd.DataFrame({"date": pd.date_range("2024-01-01", periods=30), "a": np.arange(30.0)})
    frame.assign(b=frame["a"] * 2).to_excel(tmp_path / "true.xlsx", index=False)
    for said in ("A1:B11", "A1"):
        with (
            zipfile.ZipFile(tmp_path / "true.xlsx") as true,
            zipfile.ZipFile(tmp_path / "said.xlsx", "w") as made,
        ):
            for name in true.namelist():
                content = true.read(name)
                if name.endswith("sheet1.xml"):
                    content, n = re.subn(
                        rb'(<dimension ref=")[^"]*', rf"\g<1>{said}".encode(), content
                    )
                    assert n == 1
                made.writestr(name, content)
        table = read_table(tmp_path / "said.xlsx")
        assert table.channels == ("a", "b")
        np.testing.assert_array_equal(table.values[:, 1], np.arange(30) * 2)


def hours_of_ten() -> pd.DataFrame:
    """Two days of ten hourly series, in the order of time, and the hour as a column."""
    times = pd.date_range("2024-01-01", periods=48, freq="h")
    rows = [(f"s{k}", one, one.hour, k + j) for j, one in enumerate(times) for k in range(10)]
    return pd.DataFrame(rows, columns=["unique_id", "ds", "hour", "y"])


@pytest.mark.parametrize("order", [["ds", "unique_id"], ["unique_id", "ds"]])
@pytest.mark.parametrize("covariates", [[], ["hour"]])
def test_an_hour_beside_time_stamps_is_no_part_of_them(order, covariates):
    """Whatever the order of the rows: the first may all be of one midnight."""
    table = read_table(hours_of_ten().sort_values(order), covariates=covariates)
    assert (table.frequency.name, len(table.ids), len(table.times)) == ("1h", 10, 480)
    if covariates:
        np.testing.assert_array_equal(table.covariates["hour"][:48], [*range(24)] * 2)


def test_hours_of_a_daily_panel_are_values():
    """Days repeat in other series, not in one: shops that are open for 8 or 24 hours."""
    days = pd.date_range("2024-01-01", periods=31).repeat(3)
    frame = pd.DataFrame({"unique_id": [*"abc"] * 31, "ds": days, "hours": [8, 24, 12] * 31})
    table = read_table(frame.assign(y=1.0, sunrise="07:13"), covariates=["sunrise"])
    assert str(table.times[0]).startswith("2024-01-01T00:00")
    assert table.channels == ("y",)
    assert read_table(frame.assign(y=1.0), target_cols=["hours"]).channels == ("hours",)
    one = pd.DataFrame({"unique_id": ["a", "b"], "ds": days[:1].repeat(2), "hour": 0, "y": 1.0})
    assert len(read_table(one, covariates=["hour"], frequency="h").times) == 2


def test_minutes_beside_dates_can_be_the_target():
    frame = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=9), "time": np.arange(9.0)})
    table = read_table(frame, target_cols=["time"])
    assert (table.channels, table.frequency.name) == (("time",), "1D")


def test_a_cell_that_makes_numbers_categories_is_told(tmp_path):
    prices = [f"{10 + i % 30 * 0.25:.2f}" for i in range(60)]
    prices[17] = "12.5O"
    frame = pd.DataFrame({"date": pd.date_range("2024-01-01", periods=60), "y": 1.0})
    for cells, told in ((prices, True), (["a", "b", "1"] * 20, False)):
        frame.assign(price=cells).to_csv(tmp_path / "p.csv", index=False)
        table = read_table(tmp_path / "p.csv", covariates=["price"], target_cols=["y"])
        assert table.covariates["price"][2] == cells[2]
        expected = "because of '12.5O' in line 19; if they are numbers, correct such cells"
        assert any(expected in one for one in table.notices) is told


@pytest.mark.parametrize("ids", [["001", "002"], ["01", "1"], ["7", "11"], ["01", "x"]])
def test_keys_of_folders_keep_their_zeros(tmp_path, ids):
    frame = pd.DataFrame(
        {"ds": [*pd.date_range("2024-01-01", periods=9)] * 2, "y": np.arange(18.0)}
    )
    frame = frame.assign(unique_id=np.repeat(ids, 9), kind=3)
    frame.to_parquet(tmp_path / "set", partition_cols=["kind", "unique_id"], index=False)
    table = read_table(tmp_path / "set", target_cols=["y"], covariates=["kind"])
    assert sorted(map(str, table.ids)) == sorted(ids)
    assert (table.ids.dtype == np.int64) == (ids == ["7", "11"])
    assert (table.covariates["kind"] == 3).all()
    own = {one: read_table(frame[frame.unique_id == one], target_cols=["y"]).values for one in ids}
    for k, one in enumerate(table.ids):
        np.testing.assert_array_equal(table.values[9 * k : 9 * k + 9], own[str(one)])


def test_typed_clock_times_are_combined_with_their_dates(tmp_path):
    days = pd.date_range("2024-01-01", periods=5).repeat(24).date
    clocks = [datetime.time(hour) for hour in range(24)] * 5
    frame = pd.DataFrame({"date": days, "time": clocks, "v": np.arange(120.0)})
    frame.to_parquet(tmp_path / "t.parquet")
    for source in (frame, tmp_path / "t.parquet", pl.read_parquet(tmp_path / "t.parquet")):
        table = read_table(source)
        assert (table.frequency.name, table.channels, len(table.times)) == ("1h", ("v",), 120)


@pytest.mark.parametrize("cell", [[1, 2], np.arange(2), {"a": 1}])
def test_cells_that_hold_several_values_are_no_traceback(cell):
    times = pd.date_range("2024-01-01", periods=20)
    frame = pd.DataFrame({"ds": times, "y": np.arange(20.0), "tags": [cell] * 20})
    with pytest.raises(DataError, match="duplicate time stamps"):
        read_table(pd.concat([frame, frame]), target_cols=["y"])
    assert read_table(frame, id_col="tags", target_cols=["y"]).ids.tolist() == [str(cell)]
