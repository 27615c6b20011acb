"""No series of a test set lies in what the weights of the package were trained on.

The generators read no data; that nothing came in by another way, windows of both show.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import torch
from common import DATA, needs_data

from convtimenet.pretraining.examples import GeneratedSeries

WINDOW = 24
FEWEST = 16  # different values in a window that tells series apart
BATCHES, BATCH = 6, 64
FORECASTING = ("ETTh1", "ETTh2", "ETTm1", "exchange_rate", "national_illness", "weather")


def keys(series: np.ndarray, step: int) -> np.ndarray:
    """Windows (n,) of a series (T,) at any level and scale, as bytes that can be compared: of those
    that begin every `step` steps and are no constant, line of few values or gap."""
    if len(series) < WINDOW:
        return np.empty(0, dtype=f"V{2 * WINDOW}")
    windows = np.lib.stride_tricks.sliding_window_view(series, WINDOW)[::step].astype(np.float64)
    windows = windows[np.isfinite(windows).all(-1)]
    low, high = windows.min(-1, keepdims=True), windows.max(-1, keepdims=True)
    windows, low, high = (one[(high > low)[:, 0]] for one in (windows, low, high))
    scaled = np.rint((windows - low) / (high - low) * 1000).astype(np.int16)
    told = (np.diff(np.sort(scaled, axis=-1)) > 0).sum(-1) >= FEWEST
    return np.ascontiguousarray(scaled[told]).view(f"V{2 * WINDOW}")[:, 0]


def tables() -> Iterator[tuple[str, np.ndarray]]:
    """Names and values (T, C) of the test sets that are at hand."""
    for name in FORECASTING:
        path = DATA / "forecasting" / f"{name}.csv.gz"
        if path.is_file():
            yield name, pd.read_csv(path).select_dtypes("number").to_numpy()
    if find_spec("statsmodels"):
        for name in ("co2", "elnino", "macrodata", "nile", "sunspots"):
            frame = import_module(f"statsmodels.datasets.{name}").load_pandas().data
            values = frame.select_dtypes("number").to_numpy(float)
            yield name, values.reshape(-1, 1) if name == "elnino" else values


@pytest.fixture(scope="module")
def generated() -> set[bytes]:
    """Every window of the first series of the stream that the weights were trained on."""
    examples = GeneratedSeries(2**21, 0, 16)
    found: set[bytes] = set()
    for first in range(0, BATCHES * BATCH, BATCH):
        batch = examples.batch(torch.arange(first, first + BATCH))
        assert batch.known is not None
        for values, within in zip(batch.y[:, 0].numpy(), batch.known[:, 0].numpy(), strict=True):
            found.update(one.tobytes() for one in keys(values[within], 1))
    return found


def test_what_is_the_same_at_another_scale_is_found(generated):
    assert len(generated) > 50_000
    batch = GeneratedSeries(2**21, 0, 16).batch(torch.arange(BATCH))
    values = 1e3 + 7.0 * batch.y[0, 0].double().numpy()
    assert any(one.tobytes() in generated for one in keys(values, WINDOW))


@needs_data
def test_no_window_of_a_test_set_was_generated(generated):
    seen = {}
    for name, values in tables():
        for channel in values.T:
            # each run of twice the steps holds one of these windows
            own = keys(channel, WINDOW)
            seen[name] = seen.get(name, 0) + len(own)
            assert not any(one.tobytes() in generated for one in own), name
    assert sum(seen.values()) > 10_000
