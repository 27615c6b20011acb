"""Hypothesis strategies: users' files, frames, arrays and settings, most of them as they should be,
the rest with one or two faults.

What is drawn says which faults it has; without any it must go through, and where that is simple it
says what must come of it.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable
from dataclasses import fields
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from convtimenet.cli.parser import _NO_FLAG
from convtimenet.config import ModelConfig, TrainConfig

Faults = frozenset[str]

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
MISSING = np.nan


class Given(NamedTuple):
    """What a way in is called with."""

    value: Any
    faults: Faults = frozenset()
    expected: Any = None
    """What must come of it if it has no faults; None where nothing in particular is known."""


def faults_of(*names: str) -> st.SearchStrategy[Faults]:
    """None most of the time, else one or two of these."""
    some = st.sampled_from(names)
    one, two = st.sets(some, min_size=1, max_size=1), st.sets(some, min_size=1, max_size=2)
    return st.sampled_from((0, 0, 0, 0, 0, 1, 1, 2)).flatmap(
        lambda n: (st.just(set[str]()), one, two)[n].map(frozenset)
    )


# times and tables ---------------------------------------------------------------------------------

STAMP_FAULTS = ("local text", "shuffled", "repeated", "gap", "missing stamp")


@st.composite
def stamps(
    draw: st.DrawFn, rows: int, faults: Iterable[str] = (), text: bool = False
) -> pd.DatetimeIndex:
    """Regular time stamps, but for the faults.

    Text carries offsets, not the zone in which days and months are regular; so do the plain
    datetimes that other libraries than pandas are given.
    """
    zones = [None, None, "UTC", "UTC"]
    if not text or "local text" in faults:
        zones += ["Europe/Berlin", "America/Lima", "+02:00"]
    zone = draw(st.sampled_from(zones))
    start = draw(st.sampled_from(["2024-03-30", "1990-01-31", "2024-10-26 12:00", "2200-12-31"]))
    step = draw(st.sampled_from(["h", "15min", "D", "W", "MS", "ME", "B", "7s", "QE"]))
    times = pd.date_range(start, periods=rows, freq=step, tz=zone)
    if "shuffled" in faults:
        times = times[::-1]
    if "missing stamp" in faults and rows:
        times = pd.DatetimeIndex([pd.NaT, *times[1:]])
    if "repeated" in faults and rows:
        times = pd.DatetimeIndex([times[0], *times[:-1]])
    if "gap" in faults and rows > 2:
        times = pd.DatetimeIndex([*times[:-1], times[-1] + pd.Timedelta("1D")])
    return pd.DatetimeIndex(times)


@st.composite
def options(draw: st.DrawFn, time: str | None, channels: list[str], odd: bool) -> dict[str, Any]:
    """How a table is to be read; with `odd` in any way."""
    if odd:
        return draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "time_col": NAMES,
                    "target_cols": st.lists(NAMES, max_size=2) | NAMES,
                    "frequency": STEPS,
                },
            )
        )
    chosen: dict[str, Any] = {}
    if time is not None and draw(st.booleans()):
        chosen["time_col"] = time
    if channels and draw(st.integers(0, 3)) == 0:
        chosen["target_cols"] = list(reversed(channels))
    return chosen


CSV_FAULTS = (
    *STAMP_FAULTS,
    *("few rows", "any names", "any separator", "any cell", "any stamp", "cells", "any encoding"),
    *("damage", "noise", "options", "empty column"),
)


@st.composite
def csv_files(draw: st.DrawFn) -> Given:
    """(name, content, how to read it) of a table; expected are its values, NaN where missing."""
    faults = draw(faults_of(*CSV_FAULTS))
    rows = draw(st.integers(0, 2) if "few rows" in faults else st.integers(3, 12))
    columns = draw(st.integers(1, 3))
    separator = draw(st.sampled_from("|: " if "any separator" in faults else ",,,;\t"))
    time = draw(st.sampled_from(["date", "ds", "time", "timestamp"]))
    channels = [f"c{i}" for i in range(columns)]
    head = [time, *channels]
    if "any names" in faults:
        head = draw(st.lists(NAMES, max_size=4))
    written = draw(st.sampled_from(["iso", "text", "integer"]))
    times = draw(stamps(rows, faults, text=True))
    numbers = np.array(
        [[draw(st.floats(-100, 100)) for _ in channels] for _ in range(rows)], np.float64
    ).reshape(rows, columns)
    for row in range(1, rows):  # the first stays, so that no column is empty
        if draw(st.integers(0, 4)) == 0:
            numbers[row, draw(st.integers(0, columns - 1))] = draw(ODD)
    if "empty column" in faults:
        numbers[:, 0] = MISSING
    empty = draw(st.sampled_from(["", "NaN", "na", "null", " "]))
    cells = [[empty if np.isnan(x) else repr(float(x)) for x in row] for row in numbers]
    if "any cell" in faults and rows:
        odd = st.sampled_from(["x", "1,5", "1_0", '"', '"1"', "\x00", "٣"])
        cells[draw(st.integers(0, rows - 1))][0] = draw(odd)
    if "cells" in faults and rows:
        cells[draw(st.integers(0, rows - 1))] = ["1"] * draw(st.integers(0, 4))
    firsts = [{"iso": t.isoformat(), "text": str(t), "integer": str(i)}[written]
              for i, t in enumerate(times)]  # fmt: skip
    if "any stamp" in faults and rows:
        firsts[draw(st.integers(0, rows - 1))] = draw(st.text(max_size=12))
    lines = [head, *([first, *row] for first, row in zip(firsts, cells, strict=True))]
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\n\n"]))
    text = end.join(separator.join(line) for line in lines) + draw(st.sampled_from(["", end]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig"]))
    if "any encoding" in faults:
        text, encoding = text.replace("\n", "\r"), draw(st.sampled_from(["latin-1", "utf-16"]))
    content = draw(st.binary(max_size=60)) if "noise" in faults else text.encode(encoding)
    name = draw(st.sampled_from(["table.csv", "table.csv", "table.CSV", "table.csv.gz"]))
    if name.endswith("gz"):
        content = gzip.compress(content, mtime=0)
    if "damage" in faults:
        content = draw(damage(content))
    how = draw(options(time, channels, "options" in faults))
    expected = numbers[:, ::-1] if "target_cols" in how else numbers
    return Given((name, content, how), faults, expected)


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


FRAME_FAULTS = (
    *STAMP_FAULTS,
    *("few rows", "odd column", "odd times", "odd form", "options", "any names"),
)


@st.composite
def frames(draw: st.DrawFn) -> Given:
    """(frame, how to read it): pandas, polars or pyarrow; expected are its values."""
    faults = draw(faults_of(*FRAME_FAULTS))
    rows = draw(st.integers(0, 2) if "few rows" in faults else st.integers(3, 12))
    kind = draw(st.sampled_from(["stamps", "stamps", "text", "integers"]))
    library = draw(st.sampled_from(["pandas", "pandas", "polars", "pyarrow"]))
    text = kind == "text" or library != "pandas"
    times, plain = draw(stamps(rows, faults, text)), np.arange(rows)
    if "odd times" in faults:
        kind = draw(st.sampled_from(["dates", "floats", "spans", "nothing"]))
    first: Any = {
        "stamps": times,
        "text": [str(t) for t in times],
        "integers": plain,
        "dates": [None if t is pd.NaT else t.date() for t in times],
        "floats": plain.astype(float),
        "spans": pd.to_timedelta(plain, unit="h"),
        "nothing": [None] * rows,
    }[kind]
    time = draw(st.sampled_from(["date", "ds", "Time"]))
    usual = [
        plain * 0.5,
        plain.astype(np.float32),
        plain.astype(np.int8),
        [None if i == 2 else float(i) for i in range(rows)],
        np.where(plain == 1, np.inf, plain),
        np.where(plain == 1, 1e300, plain),
    ]
    odd: list[Any] = [
        plain > 2,
        [str(i) for i in plain],
        ["x"] * rows,
        [None] * rows,
        [Decimal("1.5")] * rows,
        np.full(rows, np.nan),
        [[1.0]] * rows,
        times,
    ]
    names = NAMES if "any names" in faults else st.sampled_from(["a", "b", "wind [m/s]", "é", "0"])
    columns: dict[str, Any] = {time: first}
    for name in draw(st.lists(names, min_size=1, max_size=3, unique=True)):
        columns[name] = draw(st.sampled_from(usual))
    channels = [name for name in columns if name != time]
    if "odd column" in faults and channels:
        columns[channels[0]] = draw(st.sampled_from(odd))
    how = draw(options(time, channels, "options" in faults))
    frame = draw(_frame(library, columns, faults))
    if frame is None:  # what pandas cannot hand over is no frame of the other library either
        frame, columns = pl.DataFrame({"date": [1, 2, 3], "a": [1.0, 2.0, 3.0]}), {"a": [1, 2, 3]}
        channels, how = ["a"], {}
    order = how.get("target_cols", channels)
    expected = None
    if not faults:
        expected = np.stack([np.array(columns[n], dtype=np.float64) for n in order], axis=1)
    return Given((frame, how), faults, expected)


@st.composite
def _frame(draw: st.DrawFn, library: str, columns: dict[str, Any], faults: Faults) -> Any:
    """Columns as a frame of a library; None where it refuses them."""
    if library != "pandas":
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
            return None
    frame = pd.DataFrame(columns)
    if any(isinstance(values, list) and [1.0] in values for values in columns.values()):
        return frame  # pandas cannot hash lists, which the other forms ask for
    if "odd form" not in faults:
        dates = pd.api.types.is_datetime64_any_dtype(frame.iloc[:, 0])
        indexed = dates and draw(st.booleans())
        return frame.set_index(frame.columns[0]) if indexed else frame
    form = draw(st.sampled_from(["levels", "twice", "category", "object"]))
    if form == "levels":
        return frame.set_index([frame.columns[0], pd.Index(range(len(frame)))])
    if form == "twice":
        return pd.concat([frame, frame], axis=1)
    if form == "category":
        return frame.astype({frame.columns[-1]: "category"})
    return frame.astype(object)


def arrays(most: int = 3, side: int = 12) -> st.SearchStrategy[np.ndarray]:
    """Arrays of any shape and type."""
    shapes = hnp.array_shapes(min_dims=0, max_dims=most, min_side=0, max_side=side)
    types = ["f8", "f4", "f2", "i1", "u8", "?", "c8", "M8[s]", "m8[s]", "U3", "S2"]
    any_type = hnp.arrays(st.sampled_from(types), shapes)
    return any_type | hnp.arrays(np.float64, shapes, elements=NUMBERS)


@st.composite
def array_tables(draw: st.DrawFn) -> Given:
    """(array, how to read it)."""
    faults = draw(faults_of("any array", "no array", "options"))
    rows, channels = draw(st.integers(2, 12)), draw(st.integers(1, 3))
    array = draw(table_arrays(rows, channels, draw(units(1e300))))
    array = array[:, 0] if draw(st.booleans()) else array
    expected = array.reshape(len(array), -1)
    array = array.astype(draw(st.sampled_from([np.float64, ">f8"])))
    if "any array" in faults:
        array = draw(arrays())
    if "no array" in faults:
        array = draw(JSON)
    return Given((array, draw(options(None, [], "options" in faults))), faults, expected)


Unit = tuple[float, float]


def units(largest: float = 1e30) -> st.SearchStrategy[Unit]:
    """Deviation and level of numbers."""
    scales = st.sampled_from([1.0, 1.0, 1.0, 0.0, 1e-30, largest])
    return st.tuples(scales, st.sampled_from([0.0, 0.0, 0.0, 1e6, -1e30]))


@st.composite
def table_arrays(draw: st.DrawFn, rows: int, channels: int, unit: Unit) -> np.ndarray:
    """(T, C) numbers, a few missing; the first row is there."""
    scale, shift = unit
    seed = draw(st.integers(0, 2**16))
    values = np.random.default_rng(seed).normal(size=(rows, channels)) * scale + shift
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        if rows > 1:
            at = draw(st.integers(1, rows - 1)), draw(st.integers(0, channels - 1))
            values[at] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    return values


# labelled cases -----------------------------------------------------------------------------------

CASE_FAULTS = ("anything", "channels", "huge", "nothing known", "no cases")


@st.composite
def case_sets(
    draw: st.DrawFn,
    faults: Iterable[str] = (),
    least: int = 1,
    channels: int = 0,
    unit: Unit | None = None,
) -> Any:
    """Cases: one array, or arrays of unequal length; without a unit each in its own."""
    if "anything" in faults:
        return draw(arrays() | st.lists(arrays(2, 5), max_size=4) | JSON)
    if "no cases" in faults:
        return draw(st.sampled_from([[], np.empty((0, 1, 5)), np.empty((3, 0, 5)), [[]]]))
    n, channels = draw(st.integers(least, least + 7)), channels or draw(st.integers(1, 2))
    lengths = [draw(st.integers(2, 12)) for _ in range(n)]
    if draw(st.booleans()):
        lengths = [lengths[0]] * n
    cases = [draw(table_arrays(length, channels, unit or draw(units()))).T for length in lengths]
    if "huge" in faults:
        cases[0][0, 0] = 1e300
    if "nothing known" in faults:
        cases[0][:] = np.nan
    if "channels" in faults:
        cases[-1] = np.concatenate([cases[-1]] * 2)
    elif len(set(lengths)) == 1 and draw(st.booleans()):
        return np.stack(cases)
    return cases


LABEL_FAULTS = ("count", "any labels", "mixed labels")


@st.composite
def labels(draw: st.DrawFn, n: int, faults: Iterable[str] = ()) -> Any:
    """Labels of many types, two classes in turn and some more of either."""
    if "any labels" in faults:
        return draw(arrays(2) | JSON)
    n += "count" in faults
    pools: list[tuple[Any, Any]] = [("a", "b"), (0, 1), (True, False), (1.5, -2.0)]
    if "mixed labels" in faults:
        pools = [("a", 1), (None, "a"), (np.nan, 1.0), ("a", "a"), (b"a", b"b")]
    pool = draw(st.sampled_from(pools))
    chosen = [pool[i % 2] if i < 6 else draw(st.sampled_from(pool)) for i in range(n)]
    form = draw(st.sampled_from(["list", "array", "object", "series"]))
    if form == "series":
        return pd.Series(chosen)
    if form == "list":
        return chosen
    return np.array(chosen, dtype=object) if form == "object" else np.array(chosen)


@st.composite
def cases_inputs(draw: st.DrawFn) -> Given:
    """(X, y or None)."""
    faults = draw(faults_of(*CASE_FAULTS, *LABEL_FAULTS))
    X = draw(case_sets(faults))
    n = len(X) if isinstance(X, list) or getattr(X, "ndim", 0) else 2
    y = draw(labels(n, faults)) if faults & {*LABEL_FAULTS} or draw(st.booleans()) else None
    return Given((X, y), faults)


TS_FAULTS = ("header line", "case line", "odd header", "class", "damage", "no cases", "channels")


@st.composite
def ts_files(draw: st.DrawFn) -> Given:
    """(name, content) in the archive's format; expected are the cases' values."""
    faults = draw(faults_of(*TS_FAULTS))
    n, channels = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    labelled = draw(st.booleans())
    classes = draw(st.sampled_from(["true a b", "true", "TRUE b a"])) if labelled else "false"
    header = [
        "@problemName x",
        f"@univariate {str(channels == 1).lower()}",
        f"@dimensions {channels}",
        f"@classLabel {classes}",
        "@data",
    ]
    if draw(st.booleans()):
        header.insert(0, "# a comment")
    if "header line" in faults:
        header[draw(st.integers(0, len(header) - 1))] = draw(st.text(max_size=10))
    if "odd header" in faults:
        odd = ["@timestamps true", "@targetlabel true", "@", "@dimensions", "@dimensions ²"]
        header.insert(draw(st.integers(0, len(header) - 1)), draw(st.sampled_from(odd)))
    cases, lines = [], []
    for _ in range(0 if "no cases" in faults else n):
        length = draw(st.integers(1, 6))
        case = np.array(
            [[draw(st.floats(-100, 100, width=32)) for _ in range(length)] for _ in range(channels)]
        )
        if length > 2 and draw(st.integers(0, 3)) == 0:
            case[0, 1] = np.nan
        missing = draw(st.sampled_from(["?", "NaN"]))
        cells = [[missing if np.isnan(x) else repr(float(x)) for x in row] for row in case]
        series = [",".join(row) for row in cells]
        lines.append(":".join([*series, draw(st.sampled_from("ab"))] if labelled else series))
        cases.append(case)
    if lines and "channels" in faults:
        lines[-1] = "1,2:" + lines[-1]
    if lines and "class" in faults:
        lines[-1] = lines[-1][:-1] + draw(st.sampled_from(["c", ":", ""]))
    if lines and "case line" in faults:
        lines[-1] = draw(st.text("01:,?ab. e-", max_size=20) | st.text(max_size=10))
    content = "\n".join(header + lines).encode("utf-8", errors="replace")
    name = draw(st.sampled_from(["cases.ts", "cases.ts", "cases.ts.gz"]))
    if name.endswith("gz"):
        content = gzip.compress(content, mtime=0)
    return Given((name, draw(damage(content)) if "damage" in faults else content), faults, cases)


@st.composite
def npz_files(draw: st.DrawFn) -> Given:
    """(name, content) of archives of arrays; expected are the cases' values."""
    faults = draw(faults_of("any arrays", "no X", "labels", "not npz", "noise", "damage"))
    n, length = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    X = np.stack([draw(table_arrays(length, 2, draw(units()))).T for _ in range(n)])
    made: dict[str, Any] = {"X": X}
    if draw(st.booleans()):
        made["y"] = np.arange(n)
    if "any arrays" in faults:
        made |= {name: draw(arrays(3, 5)) for name in draw(st.sets(st.sampled_from("Xyz")))}
    if "labels" in faults:
        made["y"] = np.arange(n + 1)
    if "no X" in faults:
        del made["X"]
    file = io.BytesIO()
    if "not npz" in faults:
        np.save(file, draw(arrays(3, 5)))
    else:
        draw(st.sampled_from([np.savez, np.savez_compressed]))(file, **made)
    content = draw(st.binary(max_size=60)) if "noise" in faults else file.getvalue()
    content = draw(damage(content)) if "damage" in faults else content
    return Given(("cases.npz", content), faults, list(X))


# settings -----------------------------------------------------------------------------------------

MODEL_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "patch_size": st.integers(2, 48),
    "patch_stride": st.integers(1, 32),
    "padding": st.sampled_from(["repeat", "zeros", "none"]),
    "deformable": st.booleans(),
    "predictor_init": st.sampled_from(["last_zero", "zero", "default"]),
    "embed_norm": st.booleans(),
    "d_model": st.integers(1, 64),
    "d_ff": st.integers(1, 64),
    "kernel_sizes": st.lists(st.integers(3, 40), min_size=1, max_size=4),
    "small_kernel": st.integers(0, 3),
    "norm": st.sampled_from(["batch", "layer"]),
    "residual": st.sampled_from(["learnable", "plain"]),
    "residual_init": st.floats(-1, 1),
    "dropout": st.floats(0, 0.9),
    "head_dropout": st.floats(0, 0.9),
    "pooling": st.sampled_from(["flatten", "max", "mean"]),
    "masks": st.booleans(),
}
TRAIN_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "protocol": st.sampled_from(["honest", "paper"]),
    "epochs": st.integers(1, 400),
    "batch_size": st.integers(1, 400),
    "epoch_size": st.none() | st.integers(1, 10**6),
    "loss": st.sampled_from([None, "mse", "mae", "huber"]),
    "huber_delta": st.floats(1e-3, 10),
    "lr": st.floats(1e-8, 10),
    "lr_hold": st.integers(0, 10),
    "lr_decay": st.floats(0.01, 1),
    "lr_every": st.integers(1, 10),
    "weight_decay": st.floats(0, 1),
    "clip_norm": st.none() | st.floats(1e-3, 10),
    "patience": st.none() | st.integers(1, 10),
    "validation_fraction": st.floats(0, 0.9),
    "refit": st.booleans(),
    "time_limit": st.none() | st.floats(1, 1e6),
    "checkpoint_seconds": st.floats(0, 1e6),
    "precision": st.sampled_from(["fp32", "bf16"]),
}
OWN_VALUES = {ModelConfig: MODEL_VALUES, TrainConfig: TRAIN_VALUES}


@st.composite
def settings(draw: st.DrawFn, kind: type[ModelConfig] | type[TrainConfig]) -> dict[str, Any]:
    """Settings in their range."""
    own = OWN_VALUES[kind]
    names = draw(st.lists(st.sampled_from(sorted(own)), max_size=5, unique=True))
    return {name: draw(own[name]) for name in names}


@st.composite
def odd_settings(draw: st.DrawFn, kind: type[ModelConfig] | type[TrainConfig]) -> dict[str, Any]:
    """One or two settings of any value and name."""
    names = st.sampled_from([field.name for field in fields(kind)]) | st.text(max_size=5)
    texts = ["forecast", "classify", "repeat", "zeros", "batch", "learnable", "fp32", "cpu"]
    value = JSON | st.integers(-3, 400) | st.floats(0, 1) | st.sampled_from(texts)
    return draw(st.dictionaries(names, value, min_size=1, max_size=2))


@st.composite
def configs(draw: st.DrawFn, kind: type[ModelConfig] | type[TrainConfig]) -> Given:
    """What may stand where a config is read; expected is the same."""
    faults = draw(faults_of("any settings", "head missing"))
    chosen = draw(settings(kind))
    if kind is ModelConfig:
        usual: list[dict[str, Any]] = [
            {"head": "forecast", "context_length": 48, "outputs": 3},
            {"head": "classify", "context_length": 48, "outputs": 3, "channels": 4, "revin": False},
            {"head": "regress", "context_length": 48, "outputs": 1, "revin": False},
        ]
        chosen = draw(st.sampled_from(usual)) | chosen
        if "head missing" in faults:
            del chosen["head"]
    if "any settings" in faults:
        chosen |= draw(odd_settings(kind))
    return Given(chosen, faults, chosen)


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
def config_files(draw: st.DrawFn) -> Given:
    """A file for the command line's --config; the table has 80 rows, and whole numbers as times."""
    faults = draw(faults_of("noise", "any flags", "any group"))
    if "noise" in faults:
        yaml = st.text(":-{}[]&*!#|>'\"\n ab1", max_size=30).map(str.encode)
        return Given(draw(st.binary(max_size=40) | yaml), faults)
    usual: dict[str, st.SearchStrategy[Any]] = {
        "h": st.integers(1, 4),
        "input_size": st.integers(4, 12),
        "preset": st.just("auto"),
        "seed": st.integers(0, 2**31),
        "device": st.sampled_from(["auto", "cpu"]),
        "time_col": st.just("time"),
        "target_cols": st.just(["a"]),
        "quiet": st.booleans(),
    }
    names = draw(st.lists(st.sampled_from(sorted(usual)), max_size=4, unique=True))
    flags: dict[str, Any] = {"h": 2} | {name: draw(usual[name]) for name in names}
    if "any flags" in faults:
        odd = st.sampled_from(["h", "input_size", "freq", "preset", "seed", "device", "x"])
        flags |= draw(st.dictionaries(odd, JSON | st.integers(1, 30), min_size=1, max_size=2))
    for group, kind in (("model", ModelConfig), ("training", TrainConfig)):
        if draw(st.booleans()):
            drawn = draw(settings(kind))
            flags[group] = {name: drawn[name] for name in drawn if name not in _NO_FLAG}
    if "any group" in faults:
        group = draw(st.sampled_from(["model", "training"]))
        kind = {"model": ModelConfig, "training": TrainConfig}[group]
        flags[group] = draw(odd_settings(kind) | JSON)
    return Given(json.dumps(flags).encode(), faults)


# estimators ---------------------------------------------------------------------------------------

FORECAST_FAULTS = ("setting", "short", "unknown", "other", "huge", "stamps")


class Forecasts(NamedTuple):
    settings: dict[str, Any]
    form: str
    """What the table is: an array, a frame with stamps, or a long frame of two series."""
    fitted: np.ndarray
    other: np.ndarray
    step: str
    saved: bool
    """Whether to save and load the model too."""
    faults: Faults


@st.composite
def forecasts(draw: st.DrawFn) -> Forecasts:
    """A forecaster's settings, (T, C) rows to fit and others to forecast."""
    faults = draw(faults_of(*FORECAST_FAULTS))
    settings: dict[str, Any] = {
        "h": draw(st.integers(1, 4)),
        "input_size": draw(st.none() | st.integers(4, 16)),
        "scale": draw(st.sampled_from([True, True, False])),
        "batch_size": draw(st.sampled_from([None, None, 4, 8])),
        "lr": draw(st.sampled_from([None, None, 1e-2])),
        "precision": draw(st.sampled_from(["fp32"] * 5 + ["bf16"])),
        "random_state": draw(st.sampled_from([0, 2023, 2**31])),
    }
    if "setting" in faults:
        odd: dict[str, list[Any]] = {
            "h": [0, -1, 1.5, True, None, "3", 10**9],
            "input_size": [0, 10**9, "8", 1],
            "batch_size": [0, 1],
            "lr": [1e3, -1.0, float("nan")],
            "precision": ["fp8"],
            "random_state": [-1, 2**40, None],
        }
        name = draw(st.sampled_from(sorted(odd)))
        settings[name] = draw(st.sampled_from(odd[name]))
    channels = draw(st.integers(1, 2))
    largest = 1e30 if settings["scale"] else 1.0
    rows = draw(st.integers(2, 10) if "short" in faults else st.integers(40, 60))
    both = draw(table_arrays(rows + draw(st.integers(40, 60)), channels, draw(units(largest))))
    if not settings["scale"]:  # sizes that need scaling are refused without it
        both = np.clip(both, -1e6, 1e6)
    fitted, other = both[:rows].copy(), both[rows:].copy()
    if "unknown" in faults:
        fitted[:, 0] = np.nan
    if "huge" in faults:
        fitted[0, 0] = 1e300
    if "other" in faults:
        rows, channels = draw(st.integers(1, 20)), draw(st.integers(1, 3))
        other = draw(table_arrays(rows, channels, draw(units(1e300))))
    form = draw(st.sampled_from(["array", "frame", "long"]))
    step = draw(st.sampled_from(["h", "15min", "D", "MS", "B"]))
    return Forecasts(settings, form, fitted, other, step, draw(st.integers(0, 2)) == 0, faults)


class Labelled(NamedTuple):
    settings: dict[str, Any]
    X: Any
    y: Any
    other: Any
    saved: bool
    faults: Faults


@st.composite
def labelled(draw: st.DrawFn, numbers: bool = False) -> Labelled:
    """A classifier's settings, cases with labels and cases without; or a regressor's."""
    faults = draw(faults_of(*CASE_FAULTS, *LABEL_FAULTS, "setting", "other"))
    settings: dict[str, Any] = {
        "batch_size": draw(st.sampled_from([None, None, 4])),
        "lr": draw(st.sampled_from([None, None, 1e-2])),
        "training": draw(st.sampled_from([None, {"refit": True}, {"validation_fraction": 0}])),
    }
    if "setting" in faults:
        odd: dict[str, list[Any]] = {
            "batch_size": [0, 1],
            "lr": [1e3, 0.0],
            "training": [{"validation_fraction": 0.99}, {"epochs": 0}, {"x": 1}],
        }
        name = draw(st.sampled_from(sorted(odd)))
        settings[name] = draw(st.sampled_from(odd[name]))
    channels, unit = draw(st.integers(1, 2)), draw(units())
    X = draw(case_sets(faults, least=8, channels=channels, unit=unit))
    n = len(X) if isinstance(X, list) or getattr(X, "ndim", 0) else 2
    if numbers:
        y = np.random.default_rng(draw(st.integers(0, 9))).normal(size=n + ("count" in faults))
        y = draw(arrays(2) | JSON) if "any labels" in faults else y
    else:
        y = draw(labels(n, faults))
    other = draw(case_sets(channels=channels, unit=unit))
    if "other" in faults:
        other = draw(case_sets(draw(faults_of(*CASE_FAULTS)), channels=3))
    return Labelled(settings, X, y, other, draw(st.integers(0, 2)) == 0, faults)
