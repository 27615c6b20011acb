"""Anomalies put into real series, found by `detect` and by simple scores: docs/detect.md.

    python benchmarks/evidence/anomalies.py  # measures; writes raw results and the page
    python benchmarks/evidence/anomalies.py --table  # writes the page only

The last 2,000 rows (ILI: all) of ETTh1, ETTh2, Exchange, Weather and ILI, and of their channels the
last two; no choice of `detect` was made by them. Into each, eight anomalies of one kind are put:
spikes of 3 to 6 standard deviations of the steps; spans of half to two seasons that are shifted by
1 to 2 standard deviations of the series, flat, or out of phase. A score is judged by its average
precision, and by F1 if as many values as are wrong are flagged. On the series as they are, the
share flagged at alpha is measured.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import torch
from gap_filling import SETS, evidence, grid, into_page, part_of, write
from sklearn.metrics import average_precision_score

import convtimenet

KINDS = ("spike", "shift", "flat", "phase")
PUT = 8  # anomalies in a series
CHANNELS = 2
ALPHAS = (0.01, 0.05)


def spoilt(y: np.ndarray, season: int, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The series (T,) with anomalies of a kind, and where they are."""
    rng = np.random.default_rng(seed)
    clean, y, there, T = y, y.copy(), np.zeros(len(y), dtype=bool), len(y)
    step, spread = np.diff(y).std(), y.std()
    for slot in range(PUT):
        at = int(T * (slot + 0.5) / PUT) + int(rng.integers(-T // 40, T // 40))
        sign, length = rng.choice([-1, 1]), int(rng.integers(max(4, season // 2), 2 * season + 1))
        here = slice(at, at + (1 if kind == "spike" else min(length, T // 40)))
        if kind == "spike":
            y[here] += sign * rng.uniform(3, 6) * step
        elif kind == "shift":
            y[here] += sign * rng.uniform(1, 2) * spread
        elif kind == "flat":
            y[here] = clean[at]
        else:
            late = max(2, season // 2)
            y[here] = clean[here.start - late : here.stop - late]
        there[here] = True
    return y, there


def simple_scores(y: np.ndarray, season: int) -> dict[str, np.ndarray]:
    """Scores (T,) to compare with: distance from the mean of the same phase, in its deviations,
    and from a running median, in running median distances."""
    series, phase = pd.Series(y), np.arange(len(y)) % season
    groups = series.groupby(phase)
    z = (series - groups.transform("mean")).abs() / groups.transform("std")
    width = max(25, 2 * season + 1)
    away = (series - series.rolling(width, center=True, min_periods=1).median()).abs()
    robust = away / (away.rolling(width, center=True, min_periods=1).median() + 1e-9)
    return {"seasonal z-score": z.to_numpy(), "rolling median/MAD": robust.to_numpy()}


def judged(score: np.ndarray, there: np.ndarray) -> dict[str, float]:
    """Average precision, and F1 with as many flags as there are wrong values; no score is 0."""
    score = np.nan_to_num(score)
    most = np.argsort(-score, kind="stable")[: there.sum()]
    return {
        "average_precision": float(average_precision_score(there, score)),
        "f1": float(there[most].mean()),
    }


def measure() -> None:
    """Measure all series and write the raw results."""
    cells, clean = [], []
    for name, season in SETS.items():
        names, values = part_of(name, last=True)
        for channel, y in list(zip(names, values.T, strict=True))[-CHANNELS:]:
            p = convtimenet.detect(y, season=season, verbose=0)["p"]
            for alpha in ALPHAS:
                share = float((p <= alpha).mean())
                clean.append({"set": name, "channel": channel, "alpha": alpha, "flagged": share})
            for number, kind in enumerate(KINDS):
                bad, there = spoilt(y, season, kind, number)
                begin = time.monotonic()
                scores = {
                    f"detect, {method}": convtimenet.detect(
                        bad, season=season, method=method, verbose=0
                    )["score"][:, 0]
                    for method in ("reconstruction", "forecast")
                }
                seconds = time.monotonic() - begin
                scores |= simple_scores(bad, season)
                cell = {"set": name, "channel": channel, "kind": kind, "seconds": seconds}
                cell |= {"wrong": int(there.sum()), "rows": len(y)}
                cells.append(cell | {"scores": {k: judged(v, there) for k, v in scores.items()}})
        print(name, flush=True)
    write("anomalies", {"cells": cells, "clean": clean})


def tables() -> str:
    """The tables of the page, as Markdown."""
    kept = evidence("anomalies")
    cells, clean = kept["cells"], kept["clean"]
    methods = [*cells[0]["scores"]]
    out = [kept["about"]]
    for figure, title in (("average_precision", "Average precision"), ("f1", "F1")):
        rows = []
        for kind in (*KINDS, "all"):
            some = [one for one in cells if kind in (one["kind"], "all")]
            means = [np.mean([one["scores"][m][figure] for one in some]) for m in methods]
            best = max(means)
            shown = [f"**{m:.3f}**" if m == best else f"{m:.3f}" for m in means]
            rows.append([kind, str(len(some)), *shown])
        out.append(f"{title}, mean over series:\n\n" + grid(["kind", "series", *methods], rows))
    rows = []
    for name in SETS:
        some = [one for one in cells if one["set"] == name]
        means = [np.mean([one["scores"][m]["average_precision"] for one in some]) for m in methods]
        rows.append([name, str(len(some)), *(f"{m:.3f}" for m in means)])
    head = ["set", "series", *methods]
    out.append("Average precision by set, all kinds:\n\n" + grid(head, rows))
    rows = []
    for alpha in ALPHAS:
        share = [one["flagged"] for one in clean if one["alpha"] == alpha]
        cut = [f"{100 * v:.2f} %" for v in (np.mean(share), min(share), max(share))]
        rows.append([f"{alpha:g}", str(len(share)), *cut])
    out.append(
        "Flagged in the series as they are:\n\n"
        + grid(["alpha", "series", "mean", "least", "most"], rows)
    )
    return "\n\n".join(out)


def main() -> None:
    """Measure, or only write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", action="store_true")
    torch.set_num_threads(1)
    if not parser.parse_args().table:
        measure()
    into_page("detect.md", tables())


if __name__ == "__main__":
    main()
