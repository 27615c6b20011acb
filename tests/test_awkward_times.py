"""Time stamps that few tables have: clocks that change at midnight, business months of a zone,
fractions of seconds, narrow integers, impossible offsets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from convtimenet import ConvTimeNetForecaster
from convtimenet.data.tables import Table, read_table
from convtimenet.errors import DataError, SeveralSeriesError


def table_of(stamps: pd.DatetimeIndex, **settings: Any) -> Table:
    frame = pd.DataFrame({"ds": stamps, "y": np.arange(float(len(stamps)))})
    return read_table(frame, **settings)


def local(times: np.ndarray, zone: str) -> list[str]:
    stamps = pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(zone)
    return [stamp.strftime("%m-%d %H:%M") for stamp in stamps]


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("America/Santiago", "2024-09-08"),
        ("Africa/Cairo", "2024-04-26"),
        ("America/Sao_Paulo", "2018-11-04"),
    ],
)
def test_days_of_a_zone_whose_clock_changes_at_midnight(zone, change):
    days = pd.date_range(pd.Timestamp(change) - pd.Timedelta(days=30), change).tz_localize(
        zone, nonexistent="shift_forward"
    )
    assert days.hour[-1] == 1
    table = table_of(days)
    after = table.frequency.future(table.times[-1], 2, zone)
    assert [one[-5:] for one in local(after, zone)] == ["00:00", "00:00"]
    begins = pd.date_range(change, periods=30).tz_localize(zone, nonexistent="shift_forward")
    assert table_of(begins).frequency.name == "1D"
    assert len(table_of(begins).times) == 30


@pytest.mark.parametrize("freq", ["BME", "BMS", "SMS", "SME", "bh", "MS", "B"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_calendar_steps_keep_the_clock_of_a_zone(freq, zone):
    stamps = pd.date_range("2023-01-02", periods=60, freq=freq, tz=zone)
    for given in ({"frequency": freq}, *([] if freq == "bh" else [{}])):
        table = table_of(stamps[:50], **given)
        after = table.frequency.future(table.times[-1], 10, zone)
        assert local(after, zone) == [one.strftime("%m-%d %H:%M") for one in stamps[50:]]


@pytest.mark.parametrize("step", [0.1, 0.02, 0.5])
def test_seconds_with_fractions(step, tmp_path):
    seconds = [f"{1706659200 + i * step:.6f}".rstrip("0").rstrip(".") for i in range(40)]
    path = tmp_path / "fast.csv"
    path.write_text("t,y\n" + "".join(f"{one},{i}\n" for i, one in enumerate(seconds)))
    ways: tuple[dict[str, Any], ...] = ({}, {"time_format": "unix-s"})
    for given in ways:
        table = read_table(path, time_col="t", **given)
        assert set(np.diff(table.times).astype(np.int64)) == {round(step * 1e9)}
        assert str(table.times[0]) == "2024-01-31T00:00:00.000000000"


def test_an_offset_is_below_a_day(tmp_path):
    path = tmp_path / "far.csv"
    rows = "".join(f"2024-01-0{i}T00:00:00+99:00,{i}\n" for i in range(1, 9))
    path.write_text(f"date,y\n{rows}")
    with pytest.raises(DataError, match=r"line 2.*UTC offset \+99:00 is over a day"):
        read_table(path)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_steps_go_on_beyond_a_narrow_type(library):
    make = pd.DataFrame if library == "pandas" else pl.DataFrame
    frame = make({"ds": np.arange(120, dtype=np.int8), "y": np.sin(np.arange(120.0))})
    forecast = ConvTimeNetForecaster.pretrained(h=12, verbose=0).predict(frame)
    assert list(forecast["ds"]) == list(range(120, 132))
    short = make({"ds": np.arange(100, dtype=np.int8), "y": np.sin(np.arange(100.0))})
    within = ConvTimeNetForecaster.pretrained(h=12, verbose=0).predict(short)
    assert str(within["ds"].dtype).lower() == "int8"


def test_a_clock_of_a_daily_table_is_part_of_its_stamps_only_if_called_so(tmp_path):
    path = tmp_path / "days.csv"
    rows = "".join(f"2024-03-{i:02},07:{59 - i},{i}\n" for i in range(1, 25))
    path.write_text(f"date,sunrise,y\n{rows}")
    table = read_table(path, target_cols=["y"])
    assert table.frequency.name == "1D"
    assert str(table.times[0]) == "2024-03-01T00:00:00.000000000"
    path.write_text("date,time,y\n" + "".join(f"2024-03-{i:02},07:30,{i}\n" for i in range(1, 25)))
    assert str(read_table(path).times[0]) == "2024-03-01T07:30:00.000000000"
    twice = "".join(f"2024-03-{i:02},{h:02}:00,{i}\n" for i in range(1, 25) for h in (0, 12))
    path.write_text(f"date,measured,y\n{twice}")
    assert read_table(path).frequency.name == "12h"


def test_the_name_of_a_zone_beside_repeated_hours_is_no_id(tmp_path):
    hours = pd.date_range("2024-10-24", periods=96, freq="h", tz="Europe/Berlin")
    zones = [hour.tzname() for hour in hours]
    frame = pd.DataFrame({"ts": hours.tz_localize(None), "tz": zones, "x": range(96)})
    for sites in ("", "AB"):
        long = pd.concat([frame.assign(site=site) for site in sites]) if sites else frame
        long.to_csv(tmp_path / "x.csv", index=False)
        said = "2024-10-27T02:00:00 is the first that repeats; these are .* 'tz' tells them apart"
        with pytest.raises(DataError, match=said):
            read_table(tmp_path / "x.csv", target_cols=["x"], id_col="site" if sites else None)
    # stores whose hours all repeat are series
    night = hours.tz_localize(None)[74:78].drop_duplicates()
    stores = pd.DataFrame({"ts": [*night] * 2, "store": ["a"] * 3 + ["b"] * 3, "x": range(6)})
    with pytest.raises(SeveralSeriesError, match="pass id_col='store'"):
        read_table(stores)


@pytest.mark.parametrize(("zone", "naive"), [("Europe/Berlin", False), ("Europe/London", True)])
def test_midnights_of_a_zone_that_are_written_in_utc(zone, naive):
    days = pd.date_range("2024-03-01", periods=40, tz=zone).tz_convert("UTC")
    hours = "22:00 and 23:00" if zone == "Europe/Berlin" else "00:00 and 23:00"
    said = f"the time stamps are at {hours}, as the midnights of a zone .*; set the time zone, .*'"
    with pytest.raises(DataError, match=said):
        table_of(days.tz_localize(None) if naive else days)
    assert table_of(days.tz_convert(zone)).frequency.name == "1D"
    # hours that differ by an hour are another matter
    with pytest.raises(DataError, match="not regular"):
        table_of(pd.DatetimeIndex([*days[:20], *(days[20:25] + pd.Timedelta("30min"))]))


def test_a_row_for_each_year_and_a_column_for_each_month_is_said(tmp_path):
    months = pd.date_range("2024-01-01", periods=12, freq="MS").strftime("%b").tolist()
    frame = pd.DataFrame({"Year": range(2000, 2012)} | dict.fromkeys(months, range(12)))
    said = "the columns 'Jan' to 'Dec' are read as a yearly channel for each month"
    for table, expected in ((frame, 1), (frame.drop(columns="Mar"), 0)):
        table.to_csv(tmp_path / "x.csv", index=False)
        notices = read_table(tmp_path / "x.csv").notices
        assert sum(one.startswith(said) for one in notices) == expected


RANGES = ["{} - {}", "{}-{}", "{}\u2013{}", "{} \u2014 {}", "{} bis {}", "{} to {}"]


@pytest.mark.parametrize("form", RANGES)
@pytest.mark.parametrize("head", ["Date,Time,Sales", "Datum,Uhrzeit,Menge", "day,period,y"])
@pytest.mark.parametrize("step", ["1h", "15min"])
def test_clock_ranges_beside_a_date(form, head, step, tmp_path):
    begins = pd.date_range("2024-01-15", periods=200, freq=step)
    ends = begins + pd.Timedelta(step)
    clocks = [form.format(f"{a:%H:%M}", f"{b:%H:%M}") for a, b in zip(begins, ends, strict=True)]
    rows = [f"{a:%Y-%m-%d},{c},{i}" for i, (a, c) in enumerate(zip(begins, clocks, strict=True))]
    (tmp_path / "x.csv").write_text("\n".join([head, *rows]))
    table = read_table(tmp_path / "x.csv")
    np.testing.assert_array_equal(table.times, begins.to_numpy().astype("datetime64[ns]"))
    assert table.frequency.name == step
    assert table.channels == (head.split(",")[2],)
    assert table.notices[-1].endswith(f"ranges such as {clocks[0]!r} are read as their start")


@pytest.mark.parametrize("form", [*RANGES[:1], *RANGES[3:]])
@pytest.mark.parametrize("end", ["%Y-%m-%d %H:%M", "%H:%M"])
def test_ranges_in_one_column(form, end, tmp_path):
    begins = pd.date_range("2024-01-15", periods=30, freq="h")
    stamps = [
        form.format(f"{a:%Y-%m-%d %H:%M}", (a + pd.Timedelta("1h")).strftime(end)) for a in begins
    ]
    (tmp_path / "x.csv").write_text("\n".join(["t,y", *(f"{one},1" for one in stamps)]))
    table = read_table(tmp_path / "x.csv")
    np.testing.assert_array_equal(table.times, begins.to_numpy().astype("datetime64[ns]"))
    assert f"ranges such as {stamps[0]!r} are read as their start" in table.notices[0]


@pytest.mark.parametrize("clock", ["{0:02d}:00", "{0:02d}:00 - {1:02d}:00"])
def test_clocks_are_no_series(clock):
    """The dates have a clock of their own, and times of day are no ids."""
    hours = range(24)
    rows = [
        (f"2024-01-{d:02d} 00:00", clock.format(h, h + 1), 24 * d + h + 0.5)
        for d in range(1, 9)
        for h in hours
    ]
    frame = pd.DataFrame(rows, columns=["date", "slot", "y"])
    with pytest.raises(DataError, match="duplicate time stamps: 2024-01-01") as caught:
        read_table(frame, target_cols=["y"])
    assert not isinstance(caught.value, SeveralSeriesError)


@pytest.mark.parametrize("second", ["23:59:60", "23:59:60Z", "23:59:60.5", "00:59:60+01:00"])
def test_leap_seconds_are_named(second, tmp_path):
    zone = second[8:] if second[8:9] in ("Z", "+") else ""
    stamps = [f"2016-12-31 {one}" for one in (f"23:59:58{zone}", f"23:59:59{zone}", second)]
    (tmp_path / "x.csv").write_text("\n".join(["ds,y", *(f"{one},1" for one in stamps)]))
    with pytest.raises(DataError, match=r"line 4: .*is not a time stamp; .*it is a leap second"):
        read_table(tmp_path / "x.csv")


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
@pytest.mark.parametrize("ids", [1, 2])
def test_hours_of_business_are_told_of(zone, ids):
    stamps = pd.date_range("2024-01-08 09:00", periods=80, freq="bh", tz=zone)
    frames = [pd.DataFrame({"unique_id": i, "ds": stamps, "y": 1.0}) for i in range(ids)]
    frame = pd.concat(frames).reset_index(drop=True)
    told = "all rows are at business hours: pass freq='bh' if the others are no time steps"
    table = read_table(frame)
    assert told in table.notices[0]
    assert len(table.times) == ids * (11 * 24 + 8)
    assert len(read_table(frame, frequency="bh").times) == ids * 80
    assert read_table(frame, frequency="bh").notices == ()
    later = frame.assign(ds=frame["ds"] + pd.Timedelta("2h"))  # to 18:00
    assert told not in read_table(later).notices[0]
    day = frame[frame["ds"] < frame["ds"].min() + pd.Timedelta("8h")]
    assert told not in read_table(day.drop(index=day.index[[2]])).notices[0]
