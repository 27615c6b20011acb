"""What covariates add: a known effect in generated data, and ETTh1.

    python benchmarks/covariates.py

Writes docs/results/variants/covariates.json, by default of three seeds.

Generated: y = a weekly season + 3 promo + noise of 0.1, 30 % of the days promoted, known ahead.
ETTh1, official split, the oil temperature (OT), horizon 24, context 96, 5 epochs at most, else the
settings of preset "auto": alone, with calendar features (hour, day of the week, month), with the
six loads as past covariates, and with both. The held-back part chooses the epoch; the test part is
scored once.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet import ConvTimeNetForecaster, datasets
from convtimenet.frequency import Frequency
from convtimenet.result import versions
from convtimenet.tables import Table, select_channels

OUT = Path(__file__).resolve().parents[1] / "docs" / "results" / "variants" / "covariates.json"


def generated(seed: int) -> tuple[Table, tuple[int, int], int]:
    """1,000 days; rows of the split and of the end."""
    rng = np.random.default_rng(seed)
    promo = (rng.random(1000) < 0.3).astype(float)
    y = np.sin(2 * np.pi * np.arange(1000) / 7) + 3 * promo + rng.normal(scale=0.1, size=1000)
    first = np.datetime64("2020-01-01", "D")
    table = Table(
        times=(first + np.arange(1000)).astype("datetime64[ns]"),
        values=y[:, None],
        channels=("y",),
        time_name="ds",
        frequency=Frequency.parse("1D"),
        covariates={"promo": promo},
    )
    return table, (600, 800), 1000


def etth1() -> tuple[Table, tuple[int, int], int]:
    """ETTh1's OT, with its other channels as covariates."""
    data = datasets.load_forecasting("ETTh1")
    table = Table(
        times=data.times.astype("datetime64[ns]"),
        values=data.values,
        channels=data.names,
        time_name="date",
        frequency=Frequency.parse("1h"),
        covariates={name: data.values[:, data.names.index(name)] for name in LOADS},
    )
    return select_channels(table, ["OT"]), (data.train_end, data.val_end), data.test_end


LOADS = ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL"]
CALENDAR = {"calendar": ["hour", "dayofweek", "month"]}
CASES: dict[str, dict[str, dict[str, Any]]] = {
    "generated": {"series alone": {}, "promo known ahead": {"futr_exog": ["promo"]}},
    "ETTh1, OT": {
        "series alone": {},
        "calendar": CALENDAR,
        "loads": {"hist_exog": LOADS},
        "loads and calendar": {"hist_exog": LOADS} | CALENDAR,
    },
}


def score(case: str, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Fit one variant and score its test part."""
    if case == "generated":
        table, split, end = generated(seed)
        own: dict[str, Any] = {"h": 7, "input_size": 28, "n_epochs": 20, "lr": 2e-3}
        own["target_cols"] = ["y"]
    else:
        table, split, end = etth1()
        own = {"h": 24, "input_size": 96, "n_epochs": 5}
    model = ConvTimeNetForecaster(**own, **settings, random_state=seed)
    model.fit(table, split=split)
    found = model.evaluate(table, first_row=split[1], end=end)
    return {
        "case": case,
        "seed": seed,
        "settings": settings,
        **found.scores,
        "windows": found.n_windows,
        "best_epoch": model.history_.best_epoch,
        "model": model.network_.config.to_dict(),
        "training": model.train_config_.to_dict(),
    }


def main() -> None:
    """Run every variant with every seed and write what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    runs: list[dict[str, Any]] = []
    command = " ".join(["python benchmarks/covariates.py", *sys.argv[1:]])
    for case, variants in CASES.items():
        for name, settings in variants.items():
            for seed in given.seeds:
                runs.append({"variant": name, **score(case, settings, seed)})
                result = {"command": command, "versions": versions(), "runs": runs}
                given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            scores = [[run[k] for run in runs[-len(given.seeds) :]] for k in ("mse", "mae")]
            told = ", ".join(
                f"{k} {np.mean(s):.4f} +- {np.std(s):.4f}"
                for k, s in zip(("mse", "mae"), scores, strict=True)
            )
            sys.stdout.write(f"{case:22s} {name:20s} {told}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
