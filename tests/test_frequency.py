"""Steps between time stamps: found, named, checked and continued."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convtimenet.data.text.reading import Times
from convtimenet.data.text.times import parse_times as read_texts
from convtimenet.data.time.frequency import Frequency
from convtimenet.data.time.inferred import infer_shared_frequency
from convtimenet.data.time.timestamps import iso_times, to_local, to_utc
from convtimenet.errors import DataError

DAY = 86_400_000_000_000


def stamps(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[ns]")


def parse_times(texts: list[str]) -> Times:
    return read_texts(texts, lambda i: f"line {i + 2}")


def future(name: str, last: str, n: int, zone: str | None = None) -> list[str]:
    times = Frequency.parse(name).future(np.datetime64(last), n, zone)
    return times.astype("datetime64[m]").astype(str).tolist()


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("h", "1h"),
        ("1h", "1h"),
        ("H", "1h"),
        ("60min", "1h"),
        ("90min", "90min"),
        ("15T", "15min"),
        ("D", "1D"),
        ("7D", "1W"),
        ("W-SUN", "1W"),
        ("MS", "1MS"),
        ("ME", "1ME"),
        ("QS-OCT", "3MS"),
        ("2QE", "6ME"),
        ("YS", "12MS"),
        ("YE-DEC", "12ME"),
        ("M@15", "1M@15"),
        ("B", "1B"),
        ("250ms", "250ms"),
        ("5", "5"),
    ],
)
def test_names(written: str, name: str) -> None:
    assert Frequency.parse(written).name == str(Frequency.parse(written)) == name


units = st.one_of(
    st.builds(Frequency, st.just("ns"), st.integers(1, 400 * DAY)),
    st.builds(Frequency, st.just("month"), st.integers(1, 36), st.integers(1, 31)),
    st.builds(Frequency, st.sampled_from(["business", "step"]), st.integers(1, 9)),
)


@given(units)
def test_name_reads_back(frequency: Frequency) -> None:
    assert Frequency.parse(frequency.name) == frequency


@pytest.mark.parametrize("name", ["", "x", "CBMS", "h-SUN", "1h@3", "1.5h", "-1h"])
def test_unknown_name(name: str) -> None:
    with pytest.raises(DataError, match=r"unknown frequency .* expected .* min"):
        Frequency.parse(name)


@pytest.mark.parametrize("name", ["0h", "0", "M@0", "M@32"])
def test_name_out_of_range(name: str) -> None:
    with pytest.raises(DataError, match="needs"):
        Frequency.parse(name)


@pytest.mark.parametrize(
    ("name", "last", "expected"),
    [
        ("ME", "2024-01-31T00:00", ["2024-02-29T00:00", "2024-03-31T00:00", "2024-04-30T00:00"]),
        ("ME", "2023-01-31T23:30", ["2023-02-28T23:30", "2023-03-31T23:30", "2023-04-30T23:30"]),
        ("M@30", "2023-02-28T00:00", ["2023-03-30T00:00", "2023-04-30T00:00", "2023-05-30T00:00"]),
        ("QS", "2023-10-01T00:00", ["2024-01-01T00:00", "2024-04-01T00:00", "2024-07-01T00:00"]),
        ("YE", "2023-02-28T00:00", ["2024-02-29T00:00", "2025-02-28T00:00", "2026-02-28T00:00"]),
        ("B", "2024-01-04T10:00", ["2024-01-05T10:00", "2024-01-08T10:00", "2024-01-09T10:00"]),
        ("2B", "2024-01-04T10:00", ["2024-01-08T10:00", "2024-01-10T10:00", "2024-01-12T10:00"]),
        ("36h", "2024-02-28T12:00", ["2024-03-01T00:00", "2024-03-02T12:00", "2024-03-04T00:00"]),
        ("D", "2024-02-28T06:00", ["2024-02-29T06:00", "2024-03-01T06:00", "2024-03-02T06:00"]),
    ],
)
def test_future(name: str, last: str, expected: list[str]) -> None:
    assert future(name, last, 3) == expected


def test_future_of_integers() -> None:
    np.testing.assert_array_equal(Frequency.parse("5").future(10, 3), [15, 20, 25])
    assert (
        Frequency.parse("5").future(10, 0).shape
        == Frequency.parse("h").future(np.datetime64("2020-01-01"), 0).shape
        == (0,)
    )


def test_days_keep_the_wall_clock_and_hours_count_in_utc() -> None:
    # Berlin moves to summer time on 2024-03-31, 01:00 UTC.
    zone = "Europe/Berlin"
    assert future("D", "2024-03-30T11:00", 2, zone) == ["2024-03-31T10:00", "2024-04-01T10:00"]
    assert future("12h", "2024-03-30T11:00", 2, zone) == ["2024-03-30T23:00", "2024-03-31T11:00"]
    assert future("MS", "2024-02-29T23:00", 2, zone) == ["2024-03-31T22:00", "2024-04-30T22:00"]


def test_a_skipped_local_time_moves_forward() -> None:
    # 02:30 on 31 March does not exist in Berlin: 03:30 summer time is 01:30 UTC.
    assert future("D", "2024-03-30T01:30", 2, "Europe/Berlin") == [
        "2024-03-31T01:30",
        "2024-04-01T00:30",
    ]


@pytest.mark.parametrize(
    ("name", "n"), [("YS", 300), ("300D", 300_000), ("h", 10**9), ("B", 10**6)]
)
def test_future_beyond_the_range_is_refused(name: str, n: int) -> None:
    with pytest.raises(DataError, match="beyond the year 2261"):
        Frequency.parse(name).future(np.datetime64("2020-01-01"), n)


starts = st.integers(0, 2 * 10**18).map(lambda ns: np.datetime64(ns, "ns"))


def inferred(times: np.ndarray, time_zone: str | None = None) -> Frequency:
    """The step of one series, which has no gaps."""
    frequency = infer_shared_frequency(times, np.array([0, len(times)]), time_zone)
    frequency.check(times, time_zone)
    return frequency


@given(starts, st.integers(1, 27 * DAY), st.integers(2, 20), st.integers(1, 5))
def test_inferred_fixed_steps_continue(start, step: int, known: int, more: int) -> None:
    times = start + np.arange(known + more) * np.timedelta64(step, "ns")
    frequency = inferred(times[:known])
    assert frequency == Frequency("ns", step)
    np.testing.assert_array_equal(frequency.future(times[known - 1], more), times[known:])


@given(starts, st.integers(1, 12), st.integers(1, 31), st.integers(1, 5))
def test_inferred_months_continue(start, count: int, day: int, more: int) -> None:
    times = Frequency("month", count, day).future(start, 24 + more)
    known = times[:24]
    frequency = inferred(known)
    assert (frequency.unit, frequency.count) == ("month", count)
    month_days = known.astype("datetime64[D]") - known.astype("datetime64[M]")
    if month_days.max().astype(int) + 1 == day or day == 31:
        np.testing.assert_array_equal(frequency.future(known[-1], more), times[24:])


@given(starts, st.integers(1, 4), st.integers(1, 5))
def test_inferred_business_days_continue(start, count: int, more: int) -> None:
    times = Frequency("business", count).future(start, 12 + more)
    frequency = inferred(times[:12])
    assert frequency == Frequency("business", count)
    np.testing.assert_array_equal(frequency.future(times[11], more), times[12:])


@given(st.integers(-(10**12), 10**12), st.integers(1, 10**6), st.integers(2, 9))
def test_inferred_integers_continue(start: int, step: int, known: int) -> None:
    times = start + step * np.arange(known + 3)
    frequency = inferred(times[:known])
    np.testing.assert_array_equal(frequency.future(times[known - 1], 3), times[known:])


@given(
    starts,
    st.sampled_from(["1h", "15min", "1D", "1W", "1MS", "1ME", "1B"]),
    st.sampled_from(["Europe/Berlin", "America/New_York", "UTC", "+05:30"]),
)
def test_inferred_steps_continue_in_a_zone(start, name: str, zone: str) -> None:
    # On the hour, at noon or later, where no zone here changes its clocks.
    clock = start.astype("datetime64[D]") + np.timedelta64(13, "h")
    first = to_utc(clock.astype("datetime64[ns]")[None], zone)[0]
    times = Frequency.parse(name).future(first, 70, zone)
    frequency = inferred(times[:60], zone)
    assert frequency.name == name
    np.testing.assert_array_equal(frequency.future(times[59], 10, zone), times[60:])


def test_both_readings_of_a_repeated_hour_are_daily() -> None:
    # 02:30 happens twice in Berlin on 2024-10-27: at 00:30 and at 01:30 UTC.
    for second in ("2024-10-27T00:30", "2024-10-27T01:30"):
        times = stamps("2024-10-26T00:30", second, "2024-10-28T01:30", "2024-10-29T01:30")
        assert inferred(times, "Europe/Berlin").name == "1D"


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["2021-02-01", "2021-03-01"], "1MS"),
        (["2021-07-01", "2021-08-01", "2021-09-01"], "1MS"),
        (["2021-02-28", "2022-02-28", "2023-02-28"], "12ME"),
        (["2021-01-30", "2021-02-28", "2021-03-30"], "1M@30"),
        (["2021-01-04", "2021-01-11", "2021-01-18"], "1W"),
        (["2021-01-07", "2021-01-08", "2021-01-11"], "1B"),
        (["2021-01-04", "2021-01-05", "2021-01-06"], "1D"),
    ],
)
def test_inferred_names(texts: list[str], name: str) -> None:
    assert inferred(stamps(*texts)).name == name


def test_irregular_names_the_first_break() -> None:
    times = stamps("2021-01-01T00", "2021-01-01T01", "2021-01-01T02", "2021-01-01T05")
    with pytest.raises(
        DataError,
        match="after 2021-01-01T02:00:00 expected a step of 1h, to 2021-01-01T03:00:00, "
        "found a step of 3h, to 2021-01-01T05:00:00; add the missing rows",
    ):
        inferred(times)


def test_irregular_business_days_name_the_holiday() -> None:
    times = Frequency.parse("B").future(np.datetime64("2021-01-01"), 20)
    with pytest.raises(DataError, match="2021-01-15T00:00:00 expected a step of 1B"):
        inferred(np.delete(times, 10))


def test_irregular_integers() -> None:
    with pytest.raises(DataError, match="after 3 expected a step of 1, to 4, found a step of 6"):
        inferred(np.array([1, 2, 3, 9]))


def test_irregular_in_a_zone_shows_local_times_and_the_way_out() -> None:
    times = np.arange("2024-03-28", "2024-04-04", dtype="datetime64[D]").astype("datetime64[ns]")
    with pytest.raises(DataError, match=r"\+02:00.*local time of Europe/Berlin.*convert .* to UTC"):
        inferred(times, "Europe/Berlin")


def test_check_off_the_calendar() -> None:
    with pytest.raises(DataError, match="'1MS': expected the first one to be 2021-01-01"):
        Frequency.parse("MS").check(stamps("2021-01-15", "2021-02-15"))


def test_check_of_integers_against_dates() -> None:
    with pytest.raises(DataError, match="'1h' does not fit a time column of integers"):
        Frequency.parse("h").check(np.array([1, 2]))
    with pytest.raises(DataError, match="'1' does not fit a time column of dates"):
        Frequency.parse("1").check(stamps("2021-01-01", "2021-01-02"))


@pytest.mark.parametrize(
    ("text", "expected", "zone"),
    [
        ("2020-01-31", "2020-01-31", None),
        ("2020-01-31 06:30", "2020-01-31T06:30", None),
        (" 2020-01-31T06:30:15.25 ", "2020-01-31T06:30:15.250", None),
        ("1990/1/2 0:05", "1990-01-02T00:05", None),
        ("2020-01-31T06:30:00Z", "2020-01-31T06:30", "UTC"),
        ("2020-01-31 06:30:00+02:00", "2020-01-31T04:30", "+02:00"),
        ("2020-01-31T06:30-0530", "2020-01-31T12:00", "-05:30"),
        ("2020-01-31T06:30:00.000000001+01", "2020-01-31T05:30:00.000000001", "+01:00"),
    ],
)
def test_parse_times(text: str, expected: str, zone: str | None) -> None:
    found = parse_times([text])
    times, found_zone = found.times, found.zone
    assert times.dtype == np.dtype("datetime64[ns]")
    assert times[0] == np.datetime64(expected)
    assert found_zone == zone


@pytest.mark.parametrize(
    "text", ["31.01.2020", "2020-02-30", "2020-01-31T25:00", "", "now", "1500-01-01", "2020-1/3"]
)
def test_unparsable_times_name_line_and_text(text: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_times(["2020-01-30", text])
    assert str(caught.value).startswith(f"line 3: {text!r} is not a time stamp; expected one like")


def test_mixed_times_are_refused() -> None:
    with pytest.raises(DataError, match="line 3: some time stamps have a UTC offset"):
        parse_times(["2020-01-30T00:00Z", "2020-01-31"])
    with pytest.raises(DataError, match="line 3: expected an integer time like 1, found 'x'"):
        parse_times(["1", "x"])


@given(
    st.lists(starts, min_size=1, max_size=9),
    st.sampled_from([None, "UTC", "Europe/Berlin", "UTC-03:30"]),
)
def test_iso_times_read_back(times, zone: str | None) -> None:
    array = np.array(times)
    texts = iso_times(array, zone)
    again = parse_times(texts)
    np.testing.assert_array_equal(again.times, array)
    if zone in (None, "UTC", "UTC-03:30"):
        assert again.zone == {"UTC-03:30": "-03:30"}.get(zone or "", zone)


@given(st.lists(starts, min_size=1, max_size=9), st.sampled_from(["Asia/Kolkata", "+02:00"]))
def test_local_and_back(times, zone: str) -> None:
    array = np.array(times)
    np.testing.assert_array_equal(to_utc(to_local(array, zone), zone), array)


def test_unknown_zone() -> None:
    with pytest.raises(DataError, match="unknown time zone 'Mars/Olympus'"):
        to_local(stamps("2020-01-01"), "Mars/Olympus")
