"""Hypothesis strategies: what users' files, frames, arrays and settings may look like at worst."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import fields
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from convtimenet.config import ModelConfig, TrainConfig

NAMES = st.sampled_from(["date", "ds", "time", "a", "b", "wind [m/s]", "", " a", "é", "0", "a,b"])
STEPS = st.sampled_from(["1h", "15min", "1D", "1W", "MS", "ME", "B", "QE", "3", "1ns", "x", "0h"])
ODD = st.sampled_from(
    [0.0, -0.0, 1.0, 1e30, -1e30, 1e-30, 1e300, 1e38, 5e-324, np.nan, np.inf, -np.inf]
)
NUMBERS = st.floats(-100, 100) | ODD
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@st.composite
def stamps(draw: st.DrawFn, rows: int) -> pd.DatetimeIndex:
    """Time stamps that are mostly regular."""
    zone = draw(st.sampled_from([None, None, "UTC", "Europe/Berlin", "America/Lima", "+02:00"]))
    start = draw(st.sampled_from(["2024-03-30", "1990-01-31", "2024-10-26 12:00", "2200-12-31"]))
    step = draw(st.sampled_from(["h", "15min", "D", "W", "MS", "ME", "B", "7s", "QE"]))
    times = pd.date_range(start, periods=rows, freq=step, tz=zone)
    what = draw(st.sampled_from(["as is"] * 9 + ["shuffled", "repeated", "gap", "missing"]))
    if what == "shuffled":
        return pd.DatetimeIndex(times[::-1])
    if what == "missing" and rows:
        return pd.DatetimeIndex([pd.NaT, *times[1:]])
    if what == "repeated" and rows:
        return pd.DatetimeIndex([times[0], *times[:-1]])
    if what == "gap" and rows > 2:
        return pd.DatetimeIndex([*times[:-1], times[-1] + pd.Timedelta("1D")])
    return pd.DatetimeIndex(times)


@st.composite
def csv_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A name and its content, from a fine table to noise."""
    if draw(st.integers(0, 9)) == 0:
        content = draw(st.binary(max_size=60))
    else:
        rows, columns = draw(st.integers(0, 3) | st.integers(3, 12)), draw(st.integers(1, 3))
        separator = draw(st.sampled_from([",", ",", ",", ",", ";", "\t", "|"]))
        head = [draw(st.sampled_from(["date", "ds", "when"]))] + [f"c{i}" for i in range(columns)]
        if draw(st.integers(0, 5)) == 0:
            head = draw(st.lists(NAMES, max_size=4))
        written = draw(st.sampled_from(["iso", "text", "integer"]))
        times = draw(stamps(rows))
        iso = [stamp.isoformat() for stamp in times]
        cell = NUMBERS.map(repr)
        if draw(st.integers(0, 3)) == 0:
            cell |= st.sampled_from(["", "NaN", "na", "x", "1,5", "1_0", '"', '"1"', "\x00", "٣"])
        lines = [separator.join(head)]
        for i in range(rows):
            first = {"iso": iso[i], "text": str(times[i]), "integer": str(i)}[written]
            if draw(st.integers(0, 40)) == 0:
                first = draw(st.text(max_size=12))
            n = columns if draw(st.integers(0, 40)) else draw(st.integers(0, 4))
            lines.append(separator.join([first, *(draw(cell) for _ in range(n))]))
        end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n"]))
        text = end.join(lines) + draw(st.sampled_from(["", end]))
        encoding = draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "latin-1", "utf-16"]))
        content = text.encode(encoding, errors="replace")
    if draw(st.integers(0, 4)) == 0:
        return "table.csv.gz", draw(damage(gzip.compress(content, mtime=0)))
    return draw(st.sampled_from(["table.csv", "table.csv", "table.CSV"])), content


@st.composite
def damage(draw: st.DrawFn, content: bytes) -> bytes:
    """The same bytes, or some changed or lost."""
    changed = bytearray(content)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        if changed:
            changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    if draw(st.integers(0, 5)) == 0:
        del changed[draw(st.integers(0, len(changed))) :]
    return bytes(changed)


@st.composite
def frames(draw: st.DrawFn) -> Any:
    """A pandas, polars or pyarrow frame with columns of many types."""
    rows = draw(st.integers(0, 3) | st.integers(3, 12))
    times = draw(stamps(rows))
    plain = np.arange(rows)
    kind = draw(st.sampled_from(["stamps"] * 4 + ["text", "integers", "dates", "floats", "spans"]))
    first: Any = {
        "stamps": times,
        "text": [str(t) for t in times],
        "integers": plain,
        "dates": [None if t is pd.NaT else t.date() for t in times],
        "floats": plain.astype(float),
        "spans": pd.to_timedelta(plain, unit="h"),
    }[kind]
    columns: dict[str, Any] = {draw(st.sampled_from(["date", "ds", "when", "x"])): first}
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        columns[name] = draw(
            st.sampled_from(
                [
                    plain * 0.5,
                    plain.astype(np.float32),
                    plain.astype(np.int8),
                    plain > 2,
                    [str(i) for i in plain],
                    ["x"] * rows,
                    [None] * rows,
                    [None if i == 3 else float(i) for i in plain],
                    [Decimal("1.5")] * rows,
                    np.where(plain == 1, np.inf, plain),
                    np.where(plain == 1, 1e300, plain),
                    np.full(rows, np.nan),
                    [[1.0]] * rows,
                    times,
                ]
            )
        )
    library = draw(st.sampled_from(["pandas", "pandas", "polars", "pyarrow"]))
    if library != "pandas":
        # what pandas cannot hand over is no frame of the other library either
        plain_columns = {
            name: values.to_pydatetime().tolist()
            if isinstance(values, pd.DatetimeIndex)
            else values
            for name, values in columns.items()
        }
        maker = pl.DataFrame if library == "polars" else pa.table
        try:
            return maker(plain_columns)
        except (TypeError, ValueError, pl.exceptions.PolarsError, OverflowError):
            return maker({"date": [1, 2, 3], "a": [1.0, 2.0, 3.0]})
    frame = pd.DataFrame(columns)
    if any(isinstance(values, list) and [1.0] in values for values in columns.values()):
        return frame  # pandas cannot hash lists, which the other forms ask for
    form = draw(
        st.sampled_from(["columns"] * 3 + ["index", "levels", "twice", "category", "object"])
    )
    if form == "index":
        return frame.set_index(frame.columns[0])
    if form == "levels":
        return frame.set_index([frame.columns[0], pd.Index(range(rows))])
    if form == "twice":
        return pd.concat([frame, frame], axis=1)
    if form == "category":
        return frame.astype({frame.columns[-1]: "category"})
    return frame.astype(object) if form == "object" else frame


def arrays(most: int = 3, side: int = 12) -> st.SearchStrategy[np.ndarray]:
    """Arrays of any shape and type."""
    shapes = hnp.array_shapes(min_dims=0, max_dims=most, min_side=0, max_side=side)
    types = ["f8", "f4", "f2", "i1", "u8", "?", "c8", "M8[s]", "m8[s]", "U3", "S2"]
    any_type = hnp.arrays(st.sampled_from(types), shapes)
    return any_type | hnp.arrays(np.float64, shapes, elements=NUMBERS)


@st.composite
def table_arrays(draw: st.DrawFn, rows: int, channels: int = 2) -> np.ndarray:
    """(T, C) numbers, some of them odd."""
    scale = draw(st.sampled_from([1.0, 1.0, 0.0, 1e-30, 1e30, 1e300]))
    seed = draw(st.integers(0, 2**16))
    shift = draw(st.sampled_from([0.0, 0.0, 1e6, -1e30]))
    values = np.random.default_rng(seed).normal(size=(rows, channels)) * scale + shift
    for _ in range(draw(st.integers(0, 2))):
        if values.size:
            at = draw(st.integers(0, values.size - 1))
            values.flat[at] = draw(ODD)
    return values


@st.composite
def cases_inputs(draw: st.DrawFn, usual: bool = False) -> Any:
    """Cases: one array, or arrays of unequal length; with `usual` mostly usable ones."""
    if not usual and draw(st.booleans()):
        return draw(arrays() | st.lists(arrays(2, 5), max_size=4) | JSON)
    n, channels = draw(st.integers(1, 8)), draw(st.integers(1, 2))
    lengths = [draw(st.integers(1, 12)) for _ in range(n)]
    if draw(st.booleans()):
        lengths = [lengths[0]] * n
    cases = [draw(table_arrays(length, channels)).T for length in lengths]
    if len(set(lengths)) == 1 and draw(st.booleans()):
        return np.stack(cases)
    if draw(st.integers(0, 9)) == 0:
        cases[-1] = cases[-1][:1]
    return cases


@st.composite
def labels(draw: st.DrawFn, n: int) -> Any:
    """Labels of many types, mostly as many as cases."""
    if draw(st.integers(0, 9)) == 0:
        return draw(arrays(2) | JSON)
    n += draw(st.sampled_from([0] * 9 + [1]))
    pool: tuple[Any, Any] = draw(
        st.sampled_from(
            [("a", "b"), (0, 1), (True, False), (1.5, -2.0), (b"a", b"b"), ("a", 1), (None, "a")]
        )
    )
    chosen = [draw(st.sampled_from(pool)) for _ in range(n)]
    form = draw(st.sampled_from(["list", "array", "object", "series"]))
    if form == "series":
        return pd.Series(chosen)
    if form == "list":
        return chosen
    return np.array(chosen, dtype=object) if form == "object" else np.array(chosen)


@st.composite
def ts_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """Text of the archive's format, with its mistakes."""
    n, channels = draw(st.integers(0, 6)), draw(st.integers(1, 3))
    header = [
        "@problemName x",
        f"@univariate {str(channels == 1).lower()}",
        f"@dimensions {channels}",
        f"@classLabel {draw(st.sampled_from(['true a b', 'true', 'false', 'TRUE a b', 'true a']))}",
        "@data",
    ]
    for _ in range(draw(st.integers(0, 2))):
        where = draw(st.integers(0, len(header) - 1))
        odd = st.sampled_from(
            [
                "@timestamps true",
                "@targetlabel true",
                "@",
                "@dimensions",
                "# x",
                "@dimensions ²",
                "",
            ]
        )
        header[where] = draw(odd | st.text(max_size=10))
    number = NUMBERS.map(repr) | st.sampled_from(["1", "2", "?", "NaN"])
    lines = []
    for _ in range(n):
        series = [",".join(draw(st.lists(number, min_size=1, max_size=6))) for _ in range(channels)]
        lines.append(":".join([*series, draw(st.sampled_from("ab"))]))
        if draw(st.integers(0, 15)) == 0:
            lines[-1] = draw(st.text("01:,?ab. e-", max_size=20) | st.text(max_size=10))
    content = "\n".join(header + lines).encode("utf-8", errors="replace")
    if draw(st.integers(0, 4)) == 0:
        return "cases.ts.gz", draw(damage(gzip.compress(content, mtime=0)))
    return "cases.ts", draw(damage(content)) if draw(st.integers(0, 6)) == 0 else content


@st.composite
def npz_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """Archives of arrays, whole and damaged."""
    made: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from(["X", "y", "z"]), max_size=3, unique=True)):
        made[name] = draw(arrays(3, 5))
    if draw(st.integers(0, 3)):
        n = draw(st.integers(1, 4))
        made = {"X": np.stack([draw(table_arrays(5)).T for _ in range(n)]), "y": np.arange(n)} | (
            made if draw(st.integers(0, 3)) == 0 else {}
        )
    file = io.BytesIO()
    form = draw(st.sampled_from(["npz"] * 4 + ["compressed", "npy", "bytes"]))
    if form == "bytes":
        return "cases.npz", draw(st.binary(max_size=60))
    if form == "npy":
        np.save(file, draw(arrays(3, 5)))
    else:
        (np.savez if form == "npz" else np.savez_compressed)(file, **made)
    return "cases.npz", draw(damage(file.getvalue()))


@st.composite
def settings(draw: st.DrawFn, kind: type[ModelConfig] | type[TrainConfig]) -> Any:
    """What may stand where a config is read: mostly its own names, with any values."""
    names = st.sampled_from([field.name for field in fields(kind)])
    value = (
        JSON
        | st.integers(-3, 400)
        | st.floats(0, 1)
        | st.sampled_from(
            [
                "forecast",
                "classify",
                "repeat",
                "zeros",
                "batch",
                "learnable",
                "flatten",
                "fp32",
                "cpu",
            ]
        )
    )
    chosen = draw(st.dictionaries(names | st.text(max_size=5), value, max_size=5))
    if kind is ModelConfig and draw(st.booleans()):
        usual = {"head": "forecast", "context_length": 48, "outputs": 3}
        return usual | chosen
    return chosen


@st.composite
def changed_json(draw: st.DrawFn, content: bytes) -> bytes:
    """A JSON object with some of its values replaced, left out, or added."""
    value = json.loads(content)
    for _ in range(draw(st.integers(1, 2))):
        at: Any = value
        while isinstance(at, dict) and at:
            name = draw(st.sampled_from(sorted(at)))
            inner = at[name]
            if not isinstance(inner, dict) or not inner or draw(st.integers(0, 2)) == 0:
                if draw(st.integers(0, 4)) == 0:
                    del at[name]
                else:
                    near = st.sampled_from([0, 1, 2, -1, 10**9, 10**30, "", "x", "|O", [], {}])
                    at[name] = draw(near | JSON)
                break
            at = inner
    return json.dumps(value).encode()


@st.composite
def config_files(draw: st.DrawFn) -> bytes:
    """A file for the command line's --config."""
    if draw(st.integers(0, 4)) == 0:
        return draw(
            st.binary(max_size=40) | st.text(":-{}[]&*!#|>'\"\n ab1", max_size=30).map(str.encode)
        )
    flags: dict[str, Any] = draw(
        st.dictionaries(
            st.sampled_from(
                ["h", "input_size", "freq", "preset", "seed", "device", "time_col", "x"]
            ),
            JSON | st.integers(1, 30) | st.sampled_from(["auto", "cpu", "1h", "date", "ETTh1"]),
            max_size=3,
        )
    )
    for group, kind in (("model", ModelConfig), ("training", TrainConfig)):
        if draw(st.booleans()):
            flags[group] = draw(settings(kind) | JSON)
    return json.dumps(flags).encode()
