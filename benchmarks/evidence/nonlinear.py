"""Whether one series of some 1,000 rows wants a network: generated ones that no linear map fits.

    python benchmarks/evidence/nonlinear.py --json benchmarks/results/nonlinear.json

A chaotic one without noise (Mackey and Glass, Science 197, 1977), a threshold autoregression, and
a wave that changes its form at random. Forecasts of 14 steps at 19 cut-offs behind the training
rows, three draws. docs/evidence/marks.md quotes the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from record import start_record, write_record

from convtimenet import ConvTimeNetForecaster

HORIZON, BEHIND, BETWEEN = 14, 140, 7
SIZES, DRAWS = (800, 1500), 3


def chaotic(n: int, draw: np.random.Generator) -> np.ndarray:
    """The equation of Mackey and Glass in steps of one, with a delay of 17."""
    delay = 17
    x = [1.2 + 0.1 * draw.normal()] * (delay + 1)
    for _ in range(n + 200):
        x.append(0.9 * x[-1] + 0.2 * x[-1 - delay] / (1 + x[-1 - delay] ** 10))
    return np.array(x[-n:])


def threshold(n: int, draw: np.random.Generator) -> np.ndarray:
    """An autoregression whose weights depend on the sign two steps ago."""
    x = [0.0, 0.0]
    for noise in draw.normal(0, 0.3, n + 100):
        near, far = x[-1], x[-2]
        step = 1.6 * near - 0.9 * far if far > 0 else 0.5 * near - 0.8 * far + 0.5
        x.append(step + noise)
    return np.array(x[-n:])


def switching(n: int, draw: np.random.Generator) -> np.ndarray:
    """A daily wave that is angular in some stretches of 100 steps."""
    t, angular = np.arange(n), (draw.random(n // 100 + 1) > 0.5).repeat(100)[:n]
    wave = np.sin(2 * np.pi * t / 24)
    other = 0.7 * np.sign(wave) + 0.3 * np.sin(2 * np.pi * t / 12)
    return np.where(angular, other, wave) + draw.normal(0, 0.1, n)


SERIES: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "chaotic": chaotic,
    "threshold": threshold,
    "switching": switching,
}


def errors(values: np.ndarray, rows: int, quality: str) -> dict[str, Any]:
    """Mean absolute error of forecasts behind `rows` rows, CPU seconds of fit and grant."""
    frame = pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=len(values)), "y": values})
    begin = time.process_time()
    model = ConvTimeNetForecaster(HORIZON, quality=quality, verbose=0, random_state=2023)
    model.fit(frame[:rows])
    taken = time.process_time() - begin
    ends = range(rows, len(values) - HORIZON + 1, BETWEEN)
    found = [
        np.abs(model.predict(frame[:end])["y"].to_numpy() - values[end : end + HORIZON]).mean()
        for end in ends
    ]
    granted = model.history_.granted if quality == "auto" else None
    return {"mae": float(np.mean(found)), "fit_cpu_s": round(taken, 1), "granted": granted}


def main() -> None:
    """Measure and write."""
    path = start_record(__doc__)
    lines = []
    for (name, series), rows, seed in product(SERIES.items(), SIZES, range(DRAWS)):
        values = series(rows + BEHIND, np.random.default_rng([rows, seed]))
        line = {"series": name, "rows": rows, "draw": seed}
        line |= {quality: errors(values, rows, quality) for quality in ("fast", "auto")}
        print(line, flush=True)
        lines.append(line)
    write_record(path, lines=lines)


if __name__ == "__main__":
    main()
