"""Answers as text: enough digits and no more, in the order and the times of the source."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convtimenet.data.files.written import decimals_of, shortened, written_times
from convtimenet.data.forecast_tables import future_table, write_csv
from convtimenet.data.tables import read_table
from convtimenet.data.time.frequency import Frequency


def decimals(*values: float) -> int:
    return int(decimals_of(np.array(values)[:, None], np.array([0]))[0, 0])


@pytest.mark.parametrize(
    ("source", "answer", "written"),
    [
        ([112, 118, 622], 411.23456789, "411.235"),
        ([5, 6, 5], 5.123456789, "5.12346"),
        ([0.1, 0.2, 0.3], 0.2123456789, "0.212346"),
        ([4500000.0, 4500000.25], 4500000.0712345678, "4500000.071235"),
        ([1e9, 2e9], 1234567890.4321, "1234567890.0"),  # digits before the point stay
        ([19.99, 250000.5], 123456.789, "123456.79"),  # as many decimals as the source
        ([1e-5, 1000.0], 1.23456789e-5, "1.23457e-05"),  # a small value stays apart from zero
        ([7, 7, 7], 7.0, "7.0"),
        ([np.nan, 7, 8], 7.123456789, "7.12346"),
        ([np.nan, np.nan], 7.123456789, "7.12346"),
        ([-3.0, -2.0], -2.5000004, "-2.5"),
        ([0.0, 0.0], 0.0, "0.0"),
    ],
)
def test_digits(source, answer, written):
    assert repr(shortened(answer, decimals(*source))) == written


def test_not_a_number_stays_so():
    assert np.isnan(shortened(np.nan, 3))
    assert shortened(np.inf) == np.inf


@given(
    st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=6),
    st.floats(-1e12, 1e12),
    st.floats(-1e12, 1e12),
)
def test_rounding_keeps_the_order_and_costs_next_to_nothing(source, first, second):
    least = decimals(*source)
    low, high = sorted([first, second])
    assert shortened(low, least) <= shortened(high, least)
    span = max(source) - min(source)
    for value in (low, high):
        lost = abs(shortened(value, least) - value)
        assert lost <= max(5e-6 * abs(value), 1e-300) * 1.001
        assert lost <= 0.5
        assert span == 0 or lost <= max(0.5e-5 * span, 2e-16 * abs(value)) or span > 1e6


@given(st.lists(st.decimals(-9999, 9999, places=2), min_size=1, max_size=5))
def test_what_the_source_can_say_is_said(cells):
    least = decimals(*map(float, cells))
    assert [shortened(float(cell), least) for cell in cells] == [float(cell) for cell in cells]


def times(step: str, first: str, sample: str = "", zone: str | None = None) -> list[str]:
    frequency = Frequency.parse(step)
    start = np.datetime64(first, "ns")
    ahead = frequency.future(start, 2, zone)
    return written_times(ahead, zone, frequency, sample)


@pytest.mark.parametrize(
    ("step", "first", "sample", "expected"),
    [
        ("1D", "2024-01-31", "2024-01-01", ["2024-02-01", "2024-02-02"]),
        ("1D", "2024-01-31", "2024-01-01 00:00:00", ["2024-02-01", "2024-02-02"]),
        ("1W", "2024-01-01", "", ["2024-01-08", "2024-01-15"]),
        ("MS", "2023-12-01", "", ["2024-01-01", "2024-02-01"]),
        ("QE", "2023-12-31", "", ["2024-03-31", "2024-06-30"]),
        ("B", "2024-01-05", "", ["2024-01-08", "2024-01-09"]),
        ("1D", "2024-01-31T06:00", "", ["2024-02-01T06:00:00", "2024-02-02T06:00:00"]),
        ("1h", "2024-01-31T22:00", "", ["2024-01-31T23:00:00", "2024-02-01T00:00:00"]),
        (
            "1h",
            "2024-01-31T22:00",
            "2016-07-01 00:00:00",
            ["2024-01-31 23:00:00", "2024-02-01 00:00:00"],
        ),
        ("1h", "2024-01-31T22:00", "2016/7/1 0:00", ["2024-01-31 23:00", "2024-02-01 00:00"]),
        ("1h", "2024-01-31T22:00", "2016-07-01T00:00", ["2024-01-31T23:00", "2024-02-01T00:00"]),
        (
            "30s",
            "2024-01-31T22:00",
            "2016-07-01T00:00",
            ["2024-01-31T22:00:30", "2024-01-31T22:01:00"],
        ),
        (
            "500ms",
            "2024-01-31T22:00",
            "2016-07-01T00:00",
            ["2024-01-31T22:00:00.500", "2024-01-31T22:00:01.000"],
        ),
    ],
)
def test_times(step, first, sample, expected):
    assert times(step, first, sample) == expected


def test_times_with_a_zone_keep_their_offsets():
    found = times("1D", "2024-03-29T23:00", "2024-01-01 00:00+01:00", "Europe/Berlin")
    assert found == ["2024-03-31 00:00+01:00", "2024-04-01 00:00+02:00"]


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_a_long_forecast_has_the_digits_of_each_series(tmp_path):
    lines = ["unique_id,ds,y"]
    for name, level, step in (("big", 4500000, 0.1), ("small", 0, 0.001), ("many", 0, 50000)):
        lines += [f"{name},2024-01-{i + 1:02d},{level + (i % 3) * step}" for i in range(9)]
    source = tmp_path / "in.csv"
    source.write_text("\n".join(lines))
    table = read_table(source)
    noise = 1.23456789e-5 * np.arange(1, 7)
    values = np.repeat([4500000, 0, 30000], 2) + noise
    future = future_table(table, values[:, None])
    write_csv(tmp_path / "out.csv", future, source=table)
    assert rows_of(tmp_path / "out.csv") == [
        ["unique_id", "ds", "ConvTimeNet"],
        ["big", "2024-01-10", "4500000.000012"],
        ["big", "2024-01-11", "4500000.000025"],
        ["small", "2024-01-10", "3.7037e-05"],
        ["small", "2024-01-11", "4.93827e-05"],
        ["many", "2024-01-10", "30000.0"],
        ["many", "2024-01-11", "30000.0"],
    ]
    write_csv(tmp_path / "exact.csv", future)
    found = [float(row[2]) for row in rows_of(tmp_path / "exact.csv")[1:]]
    assert found == values.tolist()
