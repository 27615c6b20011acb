"""Time reading a large long table, compared with pandas and pyarrow.

    python benchmarks/speed/reading.py --json benchmarks/results/reading.json

Runs are interleaved and medians compared. Besides ``pandas.read_csv(engine="pyarrow")`` alone,
"the same work" also converts the rows to one float64 matrix, sorted by series and time, with
datetime64 stamps and integer series codes, which is the minimum that `read_table` does.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from convtimenet.data.files import delimited
from convtimenet.data.tables import read_table


def write_table(path: Path, rows: int, series: int) -> None:
    """A long table: id, hour, value with six digits."""
    each = rows // series
    times = np.datetime64("2020-01-01T00:00:00") + np.arange(each).astype("m8[h]")
    texts = np.char.replace(times.astype(str), "T", " ")
    values = np.random.default_rng(0).normal(100, 10, rows).round(6)
    with path.open("w", encoding="utf-8") as file:
        file.write("unique_id,ds,y\n")
        for s in range(series):
            rest = zip(texts.tolist(), values[s * each : (s + 1) * each].tolist(), strict=True)
            file.writelines(f"store-{s},{t},{v}\n" for t, v in rest)


def same_work(path: Path) -> Any:
    """The pandas equivalent of our table."""
    frame = pd.read_csv(path, engine="pyarrow")
    frame["ds"] = pd.to_datetime(frame["ds"])
    of, ids = pd.factorize(frame["unique_id"])
    frame = frame.assign(unique_id=of).sort_values(["unique_id", "ds"])
    return frame["ds"].to_numpy("M8[ns]"), frame[["y"]].to_numpy(), ids


def without_pyarrow(path: Path) -> Any:
    """`read_table` with Python's csv reader."""
    large, delimited._LARGE = delimited._LARGE, 2**62
    try:
        return read_table(path)
    finally:
        delimited._LARGE = large


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the raw times to this file")
    given = parser.parse_args()
    runs: dict[str, Callable[[Path], Any]] = {
        "pandas, read_csv alone": lambda path: pd.read_csv(path, engine="pyarrow"),
        "pandas, the same work": same_work,
        "read_table": read_table,
        "read_table without pyarrow": without_pyarrow,
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.csv"
        write_table(path, given.rows, given.series)
        for turn in range(given.rounds + 1):
            for name, run in runs.items():
                begin = time.perf_counter()
                run(path)
                if turn:  # the first one warms up
                    seconds[name].append(time.perf_counter() - begin)
        size = path.stat().st_size
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ours = medians["read_table"]
    found = {
        "rows": given.rows,
        "series": given.series,
        "bytes": size,
        "machine": platform.processor() or platform.machine(),
        "pandas": pd.__version__,
        "seconds": seconds,
        "medians": medians,
        "ratio to read_csv alone": ours / medians["pandas, read_csv alone"],
        "ratio to the same work": ours / medians["pandas, the same work"],
    }
    print(json.dumps({key: value for key, value in found.items() if key != "seconds"}, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
