"""Times as they really are: every zone, every usual way to write a stamp, steps in any type."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convtimenet import ConvTimeNetForecaster
from convtimenet.data.forecast_tables import future_frame, write_csv
from convtimenet.data.tables import Table, read_table
from convtimenet.data.text.reading import TimeReading
from convtimenet.data.text.times import parse_times
from convtimenet.data.time.frequency import Frequency
from convtimenet.data.time.inferred import infer_shared_frequency
from convtimenet.data.time.steps import frequency_name
from convtimenet.errors import ConfigError, DataError

UTC_HOURS = pd.date_range("2024-03-30 20:00", periods=4, freq="h", tz="UTC")
NAIVE = UTC_HOURS.tz_localize(None).to_numpy()
NEXT = pd.Timestamp("2024-03-31 00:00", tz="UTC")


def in_zone(kind: str, zone: str) -> Any:
    stamps = UTC_HOURS.tz_convert(zone)
    if kind == "index":
        return pd.DataFrame({"y": range(4)}, index=stamps)
    if kind == "pandas":
        return pd.DataFrame({"ds": stamps, "y": range(4)})
    if kind == "arrow":
        column = pa.array(NAIVE).cast(pa.timestamp("us")).cast(pa.timestamp("us", zone))
        return pa.table({"ds": column, "y": range(4)})
    utc = pl.col("ds").dt.replace_time_zone("UTC")
    return pl.DataFrame({"ds": NAIVE, "y": range(4)}).with_columns(utc.dt.convert_time_zone(zone))


KINDS = ["pandas", "index", "polars", "arrow"]


@pytest.mark.parametrize("every", [len(KINDS), pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_zone_goes_in_and_comes_back(kind: str, every: int) -> None:
    """Each in one kind of table, the kinds in turn; each in all of them takes minutes."""
    zones = sorted(zoneinfo.available_timezones())
    assert len(zones) > 500
    for zone in zones[KINDS.index(kind) % every :: every]:
        try:
            source = in_zone(kind, zone)
        except pl.exceptions.ComputeError:  # polars knows neither of these two
            assert zone in ("Factory", "localtime"), zone
            continue
        table = read_table(source)
        assert table.time_zone == zone
        found = future_frame(table, np.ones((1, 1)))
        if kind == "index":
            assert found.index.dtype == source.index.dtype, zone
            stamp = found.index[0]
        elif kind == "arrow":
            assert found.schema.field("ds").type == source.schema.field("ds").type, zone
            stamp = found["ds"][0].as_py()
        else:
            assert found["ds"].dtype == source["ds"].dtype, zone
            stamp = found["ds"][0]
        assert pd.Timestamp(stamp) == NEXT, zone


def csv(folder: Path, stamps: list[str], name: str = "date", mark: str = ",") -> Path:
    path = folder / "x.csv"
    quoted = [f'"{stamp}"' if mark in stamp else stamp for stamp in stamps]
    rows = [f"{stamp}{mark}{i}" for i, stamp in enumerate(quoted)]
    path.write_text("\n".join([f"{name}{mark}y", *rows]) + "\n")
    return path


def dates(form: str, start: str, freq: str, n: int = 8) -> tuple[list[str], list[str]]:
    stamps = pd.date_range(start, periods=n, freq=freq)
    return stamps.strftime(form).tolist(), stamps.strftime("%Y-%m-%dT%H:%M:%S").tolist()


FORMS: dict[str, tuple[str, str, str, str]] = {
    "months": ("%Y-%m", "1949-01-01", "MS", "1MS"),
    "months after a slash": ("%Y/%m", "1949-01-01", "MS", "1MS"),
    "months first": ("%m/%Y", "1949-01-01", "MS", "1MS"),
    "names of months": ("%b %Y", "1949-01-01", "MS", "1MS"),
    "full names of months": ("%B %Y", "1949-01-01", "MS", "1MS"),
    "names with a hyphen": ("%b-%Y", "1949-01-01", "MS", "1MS"),
    "Eurostat's months": ("%YM%m", "1949-01-01", "MS", "1MS"),
    "American days": ("%m/%d/%Y", "2024-01-28", "D", "1D"),
    "American hours": ("%m/%d/%Y %I:%M %p", "2024-01-31 08:00", "h", "1h"),
    "American seconds": ("%m/%d/%Y %I:%M:%S %p", "2024-01-31 08:00", "h", "1h"),
    "European days": ("%d/%m/%Y", "2024-01-28", "D", "1D"),
    "German days": ("%d.%m.%Y", "2024-01-28", "D", "1D"),
    "German hours": ("%d.%m.%Y %H:%M", "2024-01-28", "h", "1h"),
    "days with names": ("%d %b %Y", "2024-01-28", "D", "1D"),
    "Oracle's days": ("%d-%b-%Y", "2024-01-28", "D", "1D"),
    "names first": ("%b %d, %Y", "2024-01-28", "D", "1D"),
    "full names first": ("%B %d, %Y", "2024-01-28", "D", "1D"),
    "compact": ("%Y%m%dT%H%M%S", "2024-01-28", "h", "1h"),
    "compact with a space": ("%Y%m%d %H:%M", "2024-01-28", "h", "1h"),
    "German days with spaces": ("%d. %m. %Y", "2024-01-28", "D", "1D"),
    "days with their names": ("%a %Y-%m-%d", "2024-01-28", "D", "1D"),
    "European days with their names": ("%a %d/%m/%Y", "2024-01-28", "D", "1D"),
    "an underscore before the clock": ("%Y-%m-%d_%H:%M", "2024-01-28", "h", "1h"),
    "clocks with a dot": ("%d.%m.%Y %H.%M", "2024-01-28", "h", "1h"),
    "French clocks": ("%d/%m/%Y %Hh%M", "2024-01-28", "h", "1h"),
    "months after an underscore": ("%Y_%m", "1949-01-01", "MS", "1MS"),
    "months with an M": ("%Y-M%m", "1949-01-01", "MS", "1MS"),
    "years and dots": ("%Y.%m.%d", "2024-01-28", "D", "1D"),
    "weeks": ("%G-W%V", "2024-01-01", "W-MON", "1W"),
    "days of weeks": ("%G-W%V-%u", "2024-01-01", "D", "1D"),
    "whole months": ("%Y%m", "2024-06-01", "MS", "1MS"),
    "whole days": ("%Y%m%d", "2024-01-28", "D", "1D"),
    "whole years": ("%Y", "1949-01-01", "YS", "12MS"),
    "whole hours": ("%Y%m%d%H", "2024-01-28", "h", "1h"),
    "seconds since 1970": ("%s", "2024-01-28", "h", "1h"),
}


@pytest.mark.parametrize("form", FORMS)
def test_ways_to_write_a_stamp(tmp_path: Path, form: str) -> None:
    code, start, freq, name = FORMS[form]
    texts, expected = dates(code, start, freq)
    if code == "%s":
        texts = [
            str(int(stamp.timestamp())) for stamp in pd.date_range(start, periods=8, freq=freq)
        ]
    sources = [csv(tmp_path, texts), pd.DataFrame({"date": texts, "y": range(8)})]
    if texts[0].isdigit():
        numbers = list(map(int, texts))
        sources += [pd.DataFrame({"date": numbers, "y": range(8)})]
        sources += [pl.DataFrame({"date": numbers, "y": range(8)})]
        long = {"unique_id": ["a"] * 8 + ["b"] * 8, "date": numbers * 2, "y": range(16)}
        sources += [pa.table(long)]
    for source in sources:
        table = read_table(source)
        assert table.times[:8].astype("M8[s]").astype(str).tolist() == expected
        assert table.frequency.name == name
        assert table.time_zone is None


UTC_FORMS = ["%Y-%m-%d %H:%M:%S UTC", "%a, %d %b %Y %H:%M:%S +0000", "%a, %d %b %Y %H:%M:%S GMT",
             "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S+00:00"]  # fmt: skip


@pytest.mark.parametrize("form", UTC_FORMS)
def test_stamps_of_utc(tmp_path: Path, form: str) -> None:
    texts, expected = dates(form, "2024-01-31", "h")
    table = read_table(csv(tmp_path, texts))
    assert table.time_zone == "UTC"
    assert table.times.astype("M8[s]").astype(str).tolist() == expected


@pytest.mark.parametrize(
    "texts", [["1949Q1", "1949Q2", "1949Q3"], ["1949-Q1", "1949-Q2", "1949-Q3"],
              ["Q1 1949", "Q2 1949", "Q3 1949"], ["1949 Q1", "1949 Q2", "1949 Q3"],
              ["1Q1949", "2Q1949", "3Q1949"], ["1949/Q1", "1949/Q2", "1949/Q3"]]
)  # fmt: skip
def test_quarters(texts: list[str]) -> None:
    table = read_table(pd.DataFrame({"date": texts, "y": [1, 2, 3]}))
    assert table.times.astype("M8[D]").astype(str).tolist() == [
        "1949-01-01",
        "1949-04-01",
        "1949-07-01",
    ]
    assert table.frequency.name == "3MS"


@pytest.mark.parametrize("form", ["{}/{:02}", "{}-{:02}", "{}{:02}"])
def test_years_that_end_in_the_next_are_no_months(form: str) -> None:
    texts = [form.format(year, year % 100 + 1) for year in range(2000, 2012)]
    with pytest.raises(DataError, match=f"{texts[0]}.* may be .*year.* or .*month.* as 2000, or"):
        parse_times(texts, str)
    months = parse_times(["2000-01", "2001-02", "2002-04"], str)
    assert (months.times == np.array(["2000-01", "2001-02", "2002-04"], "M8[M]")).all()


def test_months_that_may_be_quarters_are_refused() -> None:
    texts = [f"{year}-{quarter}" for year in (2019, 2020) for quarter in (1, 2, 3, 4)]
    with pytest.raises(DataError, match=r"'2019-1' may be a quarter or a month: write .* 2019Q1"):
        parse_times(texts, str)
    found = parse_times(texts, str, TimeReading(format="%Y-%m")).times
    assert found[3] == np.datetime64("2019-04-01")


@pytest.mark.parametrize(
    "form", ["{0}-W{1}", "{0} W{1}", "{0}W{1:02d}", "W{1:02d}/{0}", "W{1} {0}"]
)
def test_weeks(form: str) -> None:
    texts = [
        form.format(*day.isocalendar()[:2])
        for day in pd.date_range("2023-12-18", periods=4, freq="7D")
    ]
    found = parse_times(texts, str).times
    assert (found == np.arange("2023-12-18", "2024-01-15", 7, dtype="M8[D]")).all()


@pytest.mark.parametrize(
    "text",
    ["2024-01-{:02d}/2024-01-30", "2024-01-{:02d} to 2024-01-30", "{:02d}.01.2024 - 30.01.2024"],
)
def test_of_ranges_the_beginning_is_taken(tmp_path: Path, text: str) -> None:
    table = read_table(csv(tmp_path, [text.format(day) for day in (8, 15, 22)]))
    assert (table.times == np.arange("2024-01-08", "2024-01-29", 7, dtype="M8[D]")).all()
    assert "are read as their start" in " ".join(table.notices)


def test_whole_numbers_and_seconds_with_a_point() -> None:
    found = parse_times(["1990.0", "1991.0"], str)
    assert found.times.astype("M8[Y]").astype(str).tolist() == ["1990", "1991"]
    found = parse_times(["1706400000.0", "1706400000.5"], str)
    assert found.times[1] == np.datetime64("2024-01-28T00:00:00.5")
    assert "read as seconds since 1970" in found.notices[0]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["24/01/25", "24/01/26"], "time_format='%d/%m/%y' or time_format='%y/%m/%d'"),
        (["24/01/25", "32/01/26"], "time_format='%y/%m/%d' (--"),
        (["01.2024", "02.2024"], "time_format='%m.%Y'"),
        (["2023-49", "2023-50"], "pass the strptime format of"),
        (["2024-10-27 02:00 CEST"], "write a UTC offset such as +01:00 instead of 'CEST'"),
        (["06:30", "07:30"], "a time of day needs a date"),
        (["2024-01-01", "Total"], "remove the row if it is a total"),
    ],
)
def test_remedies_for_what_reads_as_no_stamp(texts: list[str], said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        parse_times(texts, str)


def test_the_end_of_a_day_is_the_next_days_beginning() -> None:
    texts = [f"2024-01-31 {hour:02d}:00" for hour in range(22, 25)]
    found = parse_times(texts, str).times
    assert found[-1] == np.datetime64("2024-02-01")
    with pytest.raises(DataError, match="'2024-01-31 24:30' is not a time stamp"):
        parse_times([*texts, "2024-01-31 24:30"], str)


def test_noon_and_midnight() -> None:
    texts = ["01/31/2024 12:00 AM", "01/31/2024 12:30 PM", "1/31/2024 1:00 p.m."]
    found = parse_times(texts, str).times.astype("M8[m]").astype(str).tolist()
    assert found == ["2024-01-31T00:00", "2024-01-31T12:30", "2024-01-31T13:00"]
    with pytest.raises(DataError, match="is not a time stamp"):
        parse_times(["01/31/2024 13:00 PM"], str)


@given(st.datetimes(dt.datetime(1800, 1, 1), dt.datetime(2099, 1, 1)), st.sampled_from([*FORMS]))
def test_a_stamp_reads_back(stamp: dt.datetime, form: str) -> None:
    code = FORMS[form][0]
    if code == "%s" or (stamp.day <= 12 and code.startswith(("%m/%d", "%d/%m", "%d.", "%a %d/"))):
        return
    text = stamp.strftime(code)
    whole = dt.datetime.strptime(text + ("-1" if code == "%G-W%V" else ""),
                                 code + ("-%u" if code == "%G-W%V" else ""))  # fmt: skip
    assert parse_times([text], str).times[0] == np.datetime64(whole, "us")


def test_days_and_months_that_other_stamps_decide() -> None:
    for texts, third in (
        (["01/02/2024", "02/02/2024", "13/02/2024"], "2024-02-13"),
        (["01/02/2024", "01/03/2024", "01/13/2024"], "2024-01-13"),
        (["01/01/2024", "02/02/2024", "03/03/2024"], "2024-03-03"),
    ):
        assert parse_times(texts, str).times[2] == np.datetime64(third)
    with pytest.raises(DataError, match="has the day first and '01/13/2024' the month"):
        parse_times(["13/02/2024", "01/13/2024"], str)


def test_dots_have_the_day_first_and_it_is_said() -> None:
    found = parse_times(["01.02.2024", "01.03.2024"], str)
    assert found.times[0] == np.datetime64("2024-02-01")
    assert "'01.02.2024' is read with the day first; pass dayfirst=False" in found.notices[0]
    other = parse_times(["01.02.2024", "01.03.2024"], str, TimeReading(dayfirst=False))
    assert other.times[0] == np.datetime64("2024-01-02")


class TestOptions:
    def test_formats(self, tmp_path):
        texts, expected = dates("%d/%m/%y %H.%M", "2024-01-31", "h")
        table = read_table(csv(tmp_path, texts), time_format="%d/%m/%y %H.%M")
        assert table.times.astype("M8[s]").astype(str).tolist() == expected
        zoned = [f"{text} +0530" for text in texts]
        table = read_table(csv(tmp_path, zoned), time_format="%d/%m/%y %H.%M %z")
        assert table.time_zone == "+05:30"

    @pytest.mark.parametrize(
        ("form", "unit"), [("unix-s", 1), ("unix-ms", 1e3), ("unix-us", 1e6), ("unix-ns", 1e9)]
    )
    def test_numbers_since_1970(self, tmp_path, form, unit):
        numbers = [int(unit * (946684800 + 60 * i)) for i in range(4)]
        for source in (
            csv(tmp_path, list(map(str, numbers))),
            pd.DataFrame({"date": numbers, "y": range(4)}),
            pl.DataFrame({"date": numbers, "y": range(4)}),
        ):
            table = read_table(source, time_format=form)
            assert table.times[1] == np.datetime64("2000-01-01T00:01")
            assert table.frequency.name == "1min"

    def test_fractions_since_1970(self):
        frame = pd.DataFrame({"date": [0.5, 1.0, 1.5], "y": [1, 2, 3]})
        table = read_table(frame, time_format="unix-s")
        assert table.times[0] == np.datetime64("1970-01-01T00:00:00.5")
        assert table.frequency.name == "500ms"

    def test_of_an_estimator(self, tmp_path):
        texts, _ = dates("%d/%m/%y", "2024-01-31", "D", 40)
        path = tmp_path / "x.csv"
        path.write_text(
            "date;y\n" + "".join(f"{t};1,{i:03d}\n" for i, t in enumerate(texts)), "utf-8"
        )
        tiny = {"d_model": 8, "d_ff": 8, "kernel_sizes": (3,)}
        model = ConvTimeNetForecaster(
            2, 8, model=tiny, n_epochs=1, verbose=0, device="cpu",
            time_format="%d/%m/%y", dayfirst=True, decimal=",", freq=dt.timedelta(days=1),
        )  # fmt: skip
        found = model.fit(path).predict()
        assert found.times[0] == np.datetime64("2024-03-11")
        assert 0.5 < float(found.values[0, 0]) < 1.5
        again = ConvTimeNetForecaster.load(model.save(tmp_path / "model"))
        assert again.get_params()["freq"] == "1D"
        np.testing.assert_array_equal(again.predict(path).values, found.values)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"time_format": "%d.%m."}, "a format with a year such as .*unix-s.*found '%d.%m.'"),
            ({"time_format": 5}, "time_format must be text"),
            ({"dayfirst": "yes"}, "dayfirst must be True, False or None, found 'yes'"),
        ],
    )
    def test_that_are_none(self, options, message):
        with pytest.raises(ConfigError, match=message):
            read_table(pd.DataFrame({"date": ["2024-01-01"] * 2, "y": [1, 2]}), **options)


class TestWholeNumbers:
    """Whole numbers that are all dates are no steps; they come back as they came."""

    @pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame, pa.table])
    def test_they_come_back(self, library):
        found = future_frame(
            read_table(library({"ds": [202410, 202411, 202412], "y": [1, 2, 3]})), np.ones((2, 1))
        )
        column = found["ds"]
        assert (column.to_pylist() if library is pa.table else list(column)) == [202501, 202502]

    def test_in_files(self, tmp_path):
        table = read_table(csv(tmp_path, ["20241230", "20241231"]))
        write_csv(tmp_path / "out.csv", future_frame(table, np.ones((1, 1))))
        assert (tmp_path / "out.csv").read_text() == "date,y\n20250101,1\n"

    def test_they_are_steps_where_one_is_no_date(self):
        for numbers in ([202411, 202412, 202413], [20240130, 20240131, 20240132], [1, 2, 3]):
            table = read_table(pd.DataFrame({"ds": numbers, "y": [1, 2, 3]}))
            assert (table.frequency.name, table.times.tolist()) == ("1", numbers)

    @pytest.mark.parametrize(
        ("numbers", "said"),
        [
            ([20193, 20194, 20201, 20202], "quarters (YYYYQ): write them as 2019Q1"),
            ([202351, 202352, 202401, 202402], "weeks (YYYYWW): write them as 2023-W01"),
            ([240130, 240131, 240201, 240202], "time_format='%y%m%d'"),
            ([30012024, 31012024, 1022024, 2022024], "time_format='%d%m%Y'"),
            ([202004, 202101, 202102, 202103], "months: write quarters as 2020Q1"),
            ([20240130, 20240131, 20240132, 20240201], "20240132 is not; correct it"),
            ([1811, 1812, 1901, 1902], "months (YYMM): pass time_format='%y%m'"),
            ([911, 912, 1001, 1002], "months (YYMM): pass time_format='%y%m'"),
            ([2011, 2012, 2101, 2102], "months (YYMM): pass time_format='%y%m'"),
            ([2024013022, 2024013023, 2024013025, 2024013101], "2024013025 is not"),
        ],
    )
    def test_codes_that_no_counter_goes_on_with_are_refused(self, numbers, said):
        frame = pd.DataFrame({"ds": numbers, "y": range(len(numbers))})
        with pytest.raises(DataError, match=re.escape(said)):
            read_table(frame)
        steps = parse_times(list(map(str, numbers)), str, TimeReading(steps=True))
        assert steps.times.tolist() == numbers

    def test_the_formats_they_are_refused_with_read_them(self, tmp_path):
        days = np.arange("2008-12-30", "2009-01-03", dtype="M8[D]")
        frame = pd.DataFrame({"ds": [81230, 81231, 90101, 90102], "y": range(4)})
        assert (read_table(frame, time_format="%y%m%d").times == days).all()
        path = csv(tmp_path, ["30122008", "31122008", "01012009", "02012009"])
        with pytest.raises(DataError, match="time_format='%d%m%Y'"):
            read_table(path)
        assert (read_table(path, time_format="%d%m%Y").times == days).all()

    @pytest.mark.parametrize(
        ("unit", "step"), [("ms", "D"), ("s", "D"), ("us", "MS"), ("s", "10min")]
    )
    @pytest.mark.parametrize("first", ["1952-01-01", "1990-01-01", "2001-09-08"])
    def test_numbers_since_1970_before_they_have_ten_digits(self, unit, step, first):
        stamps = pd.date_range(first, periods=300, freq=step)
        numbers = stamps.to_numpy().astype(f"M8[{unit}]").astype(np.int64)
        table = read_table(pd.DataFrame({"ds": numbers[:-1], "y": np.arange(299.0)}))
        assert (table.times == stamps[:-1].to_numpy()).all()
        assert future_frame(table, np.ones((1, 1)))["ds"].tolist() == [numbers[-1]]
        assert "seconds since 1970; pass a whole number as freq" in table.notices[0]

    @pytest.mark.parametrize("step", [60, 1000, 3600, 60_000, 3_600_000, 86_400_000])
    def test_time_that_has_passed_is_no_date(self, step):
        numbers = np.arange(300) * step
        assert parse_times(list(map(str, numbers)), str).times.tolist() == numbers.tolist()

    def test_days_of_excel_are_said_to_be_steps(self):
        frame = pd.DataFrame({"ds": range(45_292, 45_296), "y": range(4)})
        table = read_table(frame)
        assert table.times.tolist() == [45_292, 45_293, 45_294, 45_295]
        assert "if they are Excel day numbers" in table.notices[0]
        assert read_table(frame, frequency=1).notices == ()

    def test_days_of_the_year_and_the_hour_24(self, tmp_path):
        table = read_table(csv(tmp_path, ["2023364", "2023365", "2024001"]))
        assert (table.times == np.arange("2023-12-30", "2024-01-02", dtype="M8[D]")).all()
        write_csv(tmp_path / "out.csv", future_frame(table, np.ones((1, 1))))
        assert (tmp_path / "out.csv").read_text() == "date,y\n2024002,1\n"
        table = read_table(csv(tmp_path, ["2024123123", "2024123124", "2025010101"]))
        assert (table.times == np.arange("2024-12-31T23", "2025-01-01T02", dtype="M8[h]")).all()

    def test_they_are_steps_where_freq_says_so(self):
        frame = pd.DataFrame({"ds": [2000, 2001, 2002], "y": [1, 2, 3]})
        assert read_table(frame, frequency=1).times.tolist() == [2000, 2001, 2002]
        assert read_table(frame).notices == (
            "column 'ds': times like 2000 are read as years; pass a whole number as freq to read "
            "them as integer steps",
        )

    def test_a_model_of_steps_goes_on_counting(self):
        tiny = {"d_model": 8, "d_ff": 8, "kernel_sizes": (3,)}
        model = ConvTimeNetForecaster(2, 8, model=tiny, n_epochs=1, verbose=0, device="cpu")
        model.fit(pd.DataFrame({"ds": range(995, 1060), "y": np.sin(np.arange(65))}))
        found = model.predict(pd.DataFrame({"ds": range(1990, 2010), "y": np.arange(20.0)}))
        assert found["ds"].tolist() == [2010, 2011]
        assert model.tail_.frequency.name == "1"


class TestSeveralColumns:
    TIMES = pd.date_range("2024-01-31 20:00", periods=8, freq="h")

    def check(self, table: Table, name: str, *used: str) -> None:
        assert table.times.astype("M8[s]").tolist() == self.TIMES.to_pydatetime().tolist()
        assert (table.channels, table.time_name) == (("y",), name)
        told = ", ".join(repr(one) for one in used)
        assert f"the columns {told} are combined into the time column {name!r}" in table.notices

    @pytest.mark.parametrize("form", ["%d/%m/%Y;%H:%M:%S", "%Y-%m-%d;%H:%M", "%Y-%m-%d;%I:%M %p"])
    def test_date_and_time(self, tmp_path, form):
        rows = [f"{text};{i}" for i, text in enumerate(self.TIMES.strftime(form))]
        path = tmp_path / "x.csv"
        path.write_text("\n".join(["Date;Time;y", *rows]))
        self.check(read_table(path), "Date", "Date", "Time")

    def test_typed_dates_and_times(self, tmp_path):
        day, clock = self.TIMES.normalize(), self.TIMES.time
        frame = pd.DataFrame({"date": day, "time": clock, "y": range(8)})
        self.check(read_table(frame), "date", "date", "time")
        frame.to_excel(tmp_path / "x.xlsx", index=False)
        self.check(read_table(tmp_path / "x.xlsx"), "date", "date", "time")

    def test_parts(self, tmp_path):
        parts = {p: getattr(self.TIMES, p) for p in ("year", "month", "day", "hour")}
        frame = pd.DataFrame({**parts, "y": range(8)})
        self.check(read_table(frame), "date", *parts)
        self.check(read_table(pl.from_pandas(frame)), "date", *parts)
        frame.to_csv(tmp_path / "x.csv", index=False)
        self.check(read_table(tmp_path / "x.csv"), "date", *parts)

    @pytest.mark.parametrize(
        ("second", "cells", "last", "step"),
        [
            ("Quarter", ["3", "4", "1", "2"], "2024-04-01", "3MS"),
            ("qtr", ["Q3", "Q4", "Q1", "Q2"], "2024-04-01", "3MS"),
            ("Week", ["51", "52", "1", "2"], "2024-01-08", "1W"),
            ("doy", ["364", "365", "1", "2"], "2024-01-02", "1D"),
            ("Period", ["M11", "M12", "M01", "M02"], "2024-02-01", "1MS"),
            ("Mo", ["11", "12", "1", "2"], "2024-02-01", "1MS"),
        ],
    )
    def test_years_and_parts_of_them(self, second, cells, last, step):
        frame = pd.DataFrame({"Year": [2023, 2023, 2024, 2024], second: cells, "y": range(4)})
        table = read_table(frame)
        assert (table.channels, table.frequency.name) == (("y",), step)
        assert table.times[-1] == np.datetime64(last)
        assert f"the columns 'Year', '{second}' are combined" in " ".join(table.notices)

    def test_hours_by_other_names(self):
        frame = pd.DataFrame({"Date": ["2024-01-30"] * 3 + ["2024-01-31"] * 3,
                              "Hour Ending": [22, 23, 24, 1, 2, 3], "y": range(6)})  # fmt: skip
        times = read_table(frame).times
        assert (times == np.arange("2024-01-30T22", "2024-01-31T04", dtype="M8[h]")).all()

    def test_date_and_hour(self):
        day = self.TIMES.strftime("%Y-%m-%d")
        frame = pd.DataFrame({"date": day, "Hour": self.TIMES.hour, "y": range(8)})
        self.check(read_table(frame), "date", "date", "Hour")

    def test_an_hour_beside_whole_stamps_is_a_column(self):
        frame = pd.DataFrame({"date": self.TIMES, "hour": self.TIMES.hour, "y": range(8)})
        assert read_table(frame).channels == ("hour", "y")


class TestOffsets:
    """Stamps of a file come back with the offsets that they came with."""

    def test_one_offset(self, tmp_path):
        texts = [f"2024-01-0{i}T00:00:00+02:00" for i in range(1, 9)]
        table = read_table(csv(tmp_path, texts))
        assert (table.time_zone, table.frequency.name, table.notices) == ("+02:00", "1D", ())
        write_csv(tmp_path / "out.csv", future_frame(table, np.ones((1, 1))))
        assert (tmp_path / "out.csv").read_text() == "date,y\n2024-01-09T00:00:00+02:00,1\n"

    def test_two_offsets(self, tmp_path):
        stamps = pd.date_range("2024-03-30 20:00", periods=9, freq="h", tz="Europe/Berlin")
        table = read_table(csv(tmp_path, [stamp.isoformat() for stamp in stamps]))
        assert table.time_zone == "+02:00"
        assert table.notices == (
            "column 'date': the time stamps have the UTC offsets +01:00, +02:00: forecasts have "
            "the last one, +02:00",
        )
        write_csv(tmp_path / "out.csv", future_frame(table, np.ones((1, 1))))
        assert "2024-03-31T06:00:00+02:00" in (tmp_path / "out.csv").read_text()

    @pytest.mark.parametrize(("offset", "zone"), [("+02:00", "Etc/GMT-2"), ("+05:30", "UTC")])
    def test_in_polars(self, offset, zone):
        texts = [f"2024-01-0{i}T00:00:00{offset}" for i in range(1, 5)]
        found = future_frame(
            read_table(pl.DataFrame({"ds": texts, "y": range(4)})), np.ones((1, 1))
        )
        assert found["ds"].dtype == pl.Datetime("ns", zone)
        assert found["ds"][0] == dt.datetime.fromisoformat(f"2024-01-05T00:00:00{offset}")


PANDAS_STEPS = (
    *("BMS", "BME", "BQS", "BQE", "BYS", "BYE", "2BME", "SMS", "SME", "2SMS", "bh", "B"),
    *("MS", "ME", "D", "h", "15min", "QS-FEB", "QE-DEC", "QE-NOV", "YE-JUN", "YS-APR", "W-WED"),
)


def test_hours_that_a_clock_shows_twice(tmp_path: Path) -> None:
    berlin = pd.date_range("2024-10-26 22:00", periods=8, freq="h", tz="Europe/Berlin")
    with pytest.raises(DataError, match=r"2024-10-27T02:00:00 .* write the time stamps in UTC"):
        read_table(csv(tmp_path, berlin.strftime("%Y-%m-%d %H:%M").tolist()))
    table = read_table(csv(tmp_path, [stamp.isoformat() for stamp in berlin]))  # the remedy
    assert (table.times == berlin.tz_convert(None).to_numpy()).all()
    with pytest.raises(DataError, match="average them"):
        read_table(csv(tmp_path, ["2024-10-26 02:00", "2024-10-26 02:00", "2024-10-26 03:00"]))


def test_series_on_other_days_of_the_month_and_weeks_of_a_quarter() -> None:
    starts, ends = (pd.date_range("2024-01-01", periods=4, freq=freq) for freq in ("MS", "ME"))
    long = pd.DataFrame({"unique_id": ["a"] * 4 + ["b"] * 4, "ds": [*starts, *ends], "y": range(8)})
    with pytest.raises(
        DataError, match=r"the series 'a' starts at 2024-01-01.* same day of the month"
    ):
        read_table(long)
    weeks = pd.to_datetime(["2024-01-28", "2024-02-25", "2024-03-31", "2024-04-28", "2024-05-26"])
    with pytest.raises(DataError, match="number the rows 0, 1, 2"):
        read_table(pd.DataFrame({"ds": weeks, "y": range(5)}))


class TestFrequencies:
    @pytest.mark.parametrize("name", PANDAS_STEPS)
    def test_pandas_steps(self, name):
        stamps = pd.date_range("2020-01-01", periods=60, freq=name).to_numpy().astype("M8[ns]")
        for freq in (name, pd.tseries.frequencies.to_offset(name)):
            frequency = Frequency.asked(freq, stamps)
            frequency.check(stamps)
            np.testing.assert_array_equal(frequency.future(stamps[29], 30), stamps[30:])
            assert Frequency.parse(frequency.name) == frequency

    @pytest.mark.parametrize("name", ["BMS", "BME", "BQE", "SMS", "SME"])
    def test_they_are_found(self, name):
        stamps = pd.date_range("2020-01-01", periods=30, freq=name).to_numpy().astype("M8[ns]")
        assert infer_shared_frequency(stamps, np.array([0, len(stamps)])) == Frequency.asked(
            name, stamps
        )

    @pytest.mark.parametrize(
        ("old", "new"),
        [("H", "1h"), ("T", "1min"), ("S", "1s"), ("L", "1ms"), ("U", "1us"), ("N", "1ns"),
         ("M", "1ME"), ("Q", "3ME"), ("A", "12ME"), ("Y", "12ME"), ("AS", "12MS"), ("BM", "1BME"),
         ("BQ", "3BME"), ("A-DEC", "12ME"), ("AS-JAN", "12MS"), ("Q-DEC", "3ME"), ("BH", "1bh"),
         ("SM", "1SME"), ("1h30min", "90min"), ("1h30m", "90min"), ("1d12h", "36h"),
         ("15m", "15min"), ("1w", "1W"), ("3i", "3")],
    )  # fmt: skip
    def test_old_and_other_names(self, old, new):
        assert Frequency.parse(old).name == new

    @pytest.mark.parametrize(
        ("freq", "name"),
        [
            (1, "1"),
            (np.int64(5), "5"),
            (pd.Timedelta("1h"), "1h"),
            (pd.Timedelta("1h").as_unit("s"), "1h"),
            (pd.Timedelta(7, unit="ns"), "7ns"),
            (dt.timedelta(minutes=15), "15min"),
            (np.timedelta64(90, "s"), "90s"),
            (np.timedelta64(1, "W"), "1W"),
            (np.timedelta64(3, "M"), "3mo"),
            (pd.offsets.Hour(), "h"),
            (pd.offsets.MonthBegin(), "MS"),
            (pd.offsets.Week(weekday=2), "W-WED"),
        ],
    )
    def test_own_types(self, freq, name):
        assert frequency_name(freq) == name

    @pytest.mark.parametrize(
        "freq",
        [1.5, True, 0, -1, None, [], dt.timedelta(0), pd.Timedelta(-1, "h"), pd.NaT,
         np.timedelta64("NaT"), np.timedelta64(5), pd.DateOffset(months=1), pd.offsets.CDay(),
         object()],
    )  # fmt: skip
    def test_that_are_none(self, freq):
        with pytest.raises(ConfigError, match=r"freq.*(pass|leave)"):
            frequency_name(freq)
        if freq is not None:
            with pytest.raises(ConfigError):
                read_table(pd.DataFrame({"ds": pd.date_range("2024", periods=3), "y": 1}),
                           frequency=freq)  # fmt: skip

    @pytest.mark.parametrize(
        ("day", "name"), [("2024-01-01", "1MS"), ("2024-01-31", "1ME"), ("2024-01-15", "1M@15")]
    )
    def test_polars_months_take_their_day_from_the_stamps(self, day, name):
        first = np.array([day], dtype="M8[ns]")
        stamps = Frequency.parse(name).grid(np.repeat(first, 9), np.arange(9))
        assert Frequency.asked("1mo", stamps).name == name
        assert Frequency.asked(np.timedelta64(1, "M"), stamps).name == name

    @pytest.mark.parametrize(
        ("name", "stamps"),
        [
            ("W-WED", pd.date_range("2024-01-07", periods=9, freq="W-SUN")),
            ("QS-FEB", pd.date_range("2024-01-01", periods=9, freq="QS-JAN")),
            ("QE-NOV", pd.date_range("2024-03-31", periods=9, freq="QE-DEC")),
            ("YE-JUN", pd.date_range("2020-12-31", periods=5, freq="YE-DEC")),
            ("M", pd.date_range("2024-01-01", periods=9, freq="MS")),
            ("BME", pd.date_range("2024-01-01", periods=9, freq="MS")),
        ],
    )
    def test_a_contradiction_is_refused(self, name, stamps):
        with pytest.raises(DataError, match=rf"do not fit the frequency|{name}|regular"):
            read_table(pd.DataFrame({"ds": stamps, "y": range(len(stamps))}), frequency=name)

    def test_weekdays_are_those_of_the_local_clock(self):
        stamps = pd.date_range("2024-01-03", periods=9, freq="W-WED", tz="Asia/Tokyo")
        frame = pd.DataFrame({"ds": stamps, "y": range(9)})
        assert read_table(frame, frequency="W-WED").frequency.name == "1W"
        with pytest.raises(DataError, match="is in WED"):
            read_table(frame, frequency="W-TUE")
