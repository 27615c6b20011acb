"""Long tables for the tests of jobs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def long_table(ids: list, rows: int = 40, seed: int = 0) -> pa.Table:
    """Series of `rows` days each, one after the other."""
    rng = np.random.default_rng(seed)
    days = np.datetime64("2024-01-01", "us") + np.arange(rows) * np.timedelta64(1, "D")
    week = np.sin(2 * np.pi * np.arange(rows) / 7)
    values = 5 + week + rng.normal(size=(len(ids), rows))
    return pa.table(
        {
            "unique_id": np.repeat(np.array(ids), rows),
            "ds": np.tile(days, len(ids)),
            "y": values.ravel(),
        }
    )


def names(first: int, end: int) -> list[str]:
    return [f"s{i:04d}" for i in range(first, end)]
