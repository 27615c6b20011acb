"""Whole numbers that float64 rounds: told of in whatever holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from convtimenet.data.tables import read_table

DAYS = pd.date_range("2024-01-25", periods=12)
FAR = [2**60 + i for i in range(12)]
ROUNDED = (
    f"column 'x': {2**60 + 1} is read as {2**60}, because float64 holds whole numbers only to "
    "2**53; subtract a constant from the column if their differences matter"
)


def sources(values: list[int | None]) -> dict[str, Any]:
    days = DAYS.strftime("%Y-%m-%d").tolist()
    return {
        "pandas": pd.DataFrame({"ds": days, "x": pd.array(values, "Int64")}),
        "objects": pd.DataFrame({"ds": days, "x": pd.Series(values, dtype=object)}),
        "polars": pl.DataFrame({"ds": days, "x": values}),
        "pyarrow": pa.table({"ds": days, "x": values}),
    }


@pytest.mark.parametrize("kind", ["pandas", "objects", "polars", "pyarrow", "csv", "numpy"])
@pytest.mark.parametrize("gap", [False, True])
def test_numbers_that_are_rounded_are_told_of(kind, gap, tmp_path):
    values: list[int | None] = [None if gap and i == 5 else one for i, one in enumerate(FAR)]
    if kind == "numpy":
        table = read_table(np.array(FAR))
        assert table.notices == (ROUNDED.replace("'x'", "'0'"),)
        return
    source = sources(values)[kind] if kind != "csv" else tmp_path / "x.csv"
    if kind == "csv":
        sources(values)["polars"].write_csv(source)
    table = read_table(source)
    assert table.notices[0] == ROUNDED
    expected = [np.nan if one is None else float(one) for one in values]
    np.testing.assert_array_equal(table.values[:, 0], expected)


@pytest.mark.parametrize("kind", ["pandas", "objects", "polars", "pyarrow"])
@pytest.mark.parametrize("size", [2**53 - 12, 2**60])
def test_numbers_that_float64_holds_need_no_word(kind, size):
    values = [size + (i * 512 if size > 2**53 else i) for i in range(12)]
    table = read_table(sources([*values])[kind])
    assert table.notices == ()
    assert table.values[:, 0].tolist() == values
    assert read_table(np.array(values) * 1.0).notices == ()


def test_unsigned_numbers_and_masks():
    far = np.array([2**63 + i for i in range(12)], dtype=np.uint64)
    assert "9223372036854775809 is read as 9223372036854775808" in read_table(far).notices[0]
    frame = pd.DataFrame({"ds": DAYS, "x": far})
    assert "9223372036854775809 is read as 9223372036854775808" in read_table(frame).notices[0]
    masked = np.ma.array(FAR, mask=np.arange(12) == 1)
    assert f"{2**60 + 2} is read as {2**60}" in read_table(masked).notices[0]
