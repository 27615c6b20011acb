"""Channels of whole numbers that are dates: told of, and left as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convtimenet.data.tables import read_table

DAYS = pd.date_range("2024-01-25", periods=12)
COUNTS = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8])


def table_with(stamps: Any, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"date": stamps, "y": COUNTS, **columns})


def said(name: str, first: int, what: str) -> str:
    return (
        f"channel {name!r}: its numbers, such as {first}, are {what} that move with the times; "
        "leave it out with target_cols=[...] if it is not to be forecast"
    )


MOVING = {
    "the same day": ([int(f"{d:%Y%m%d}") for d in DAYS], "dates"),
    "a due day": ([int(f"{d + pd.Timedelta('30D'):%Y%m%d}") for d in DAYS], "dates"),
    "seconds": ((DAYS.astype("int64") // 10**9).tolist(), "seconds since 1970"),
    "milliseconds": ((DAYS.astype("int64") // 10**6).tolist(), "milliseconds since 1970"),
    "seconds of another zone": (
        (DAYS.astype("int64") // 10**9 + 3_600).tolist(),
        "seconds since 1970",
    ),
}


@pytest.mark.parametrize("case", list(MOVING))
@pytest.mark.parametrize("kind", ["csv", "pandas", "gaps"])
def test_dates_as_channels_are_told_of(case, kind, tmp_path):
    numbers, what = MOVING[case]
    if DAYS.dtype != "datetime64[ns]" and "second" in case:
        stamps = DAYS.as_unit("ns").astype("int64")
        size = 10**9 if what.startswith("seconds") else 10**6
        numbers = (stamps // size + (3_600 if "zone" in case else 0)).tolist()
    frame = table_with(DAYS, booked=numbers)
    if kind == "gaps":
        frame["booked"] = frame["booked"].astype(float).where(np.arange(12) != 3)
    source: Any = frame
    if kind == "csv":
        source = tmp_path / "x.csv"
        frame.to_csv(source, index=False)
    table = read_table(source)
    assert table.channels == ("y", "booked")
    assert [one for one in table.notices if "move" in one] == [said("booked", numbers[0], what)]
    known = np.isfinite(table.values[:, 1])
    assert table.values[known, 1].tolist() == [n for n, k in zip(numbers, known, strict=True) if k]
    assert not any("move" in one for one in read_table(source, target_cols=["y"]).notices)


def test_months_of_several_series():
    months = pd.date_range("2023-10-01", periods=6, freq="MS")
    codes = [int(f"{m:%Y%m}") for m in months]
    one = {"ds": months, "y": COUNTS[:6], "month": codes}
    frame = pd.concat([pd.DataFrame({"unique_id": i, **one}) for i in "ab"])
    table = read_table(frame, target_cols=["y", "month"])
    assert table.notices == (said("month", 202310, "dates"),)


@pytest.mark.parametrize(
    "values",
    [
        COUNTS,
        COUNTS + 20240100,  # dates that do not move with the times
        np.full(12, 20240101),
        np.arange(12) + 20240125,  # day 32
        np.arange(12) * 86_400,  # time passed
        np.arange(12) + 1_700_000_000,
        np.arange(12) + 20240125.5,
        np.repeat([202401, 202402], 6),
        np.arange(12) + 10**17,
        np.where(np.arange(12) == 0, 1, np.nan),
    ],
)
def test_other_numbers_are_values(values):
    assert not any("move" in one for one in read_table(table_with(DAYS, x=values)).notices)


@given(st.lists(st.integers(0, 10**14), min_size=12, max_size=12))
def test_numbers_without_order_are_values(numbers):
    falls = (np.diff(numbers) < 0).any()
    notices = read_table(table_with(np.arange(12), x=numbers)).notices
    assert not (falls and any("move" in one for one in notices))
