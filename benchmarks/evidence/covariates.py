"""Effect of covariates: a known effect in generated data, ETTh1, ETTh2 and Weather.

    python benchmarks/evidence/covariates.py
    python benchmarks/evidence/covariates.py --linear
    python benchmarks/evidence/covariates.py --fast

Writes docs/results/variants/covariates.json, by default with three seeds; with --linear,
covariates_linear.json with ridge regressions on the same inputs; with --fast, covariates_fast.json
with quality="fast" and no setting but the horizon: closed form, linear effects of covariates known
ahead.

Settings are those of preset "auto" unless stated otherwise. Contexts have 96 steps, the official
training and validation splits fit the weights and select the epoch, and the test split is scored
once.

Generated: y = a weekly season + 3 promo + noise of 0.1, 30 % of the days promoted, known ahead.
ETTh1 and ETTh2: the oil temperature (OT) 24 and 96 hours ahead, alone, with calendar features
(hour, day of the week, month), and with the six loads, as past covariates or known ahead.
Weather, hourly means (-9999 is missing): air temperature with solar radiation, and relative
humidity with air temperature, 24 hours ahead.

Covariates "known ahead" are the values actually measured over the horizon, so the gain is an upper
bound of what a plan or a forecast would give.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge

from convtimenet import ConvTimeNetForecaster, datasets
from convtimenet.data.tables import Table
from convtimenet.data.time.frequency import Frequency
from convtimenet.runs.result import versions

SHOWN = ("valid_mse", "mse", "mae")
OUT = Path(__file__).resolve().parents[2] / "docs" / "results" / "variants" / "covariates.json"


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


def hourly(
    target: str,
    hours: np.ndarray,
    channels: dict[str, np.ndarray],
    split: tuple[int, int],
    end: int,
) -> tuple[Table, tuple[int, int], int]:
    """One channel, (T,), with all of them as covariates; NaN is missing."""
    table = Table(
        times=hours.astype("datetime64[ns]"),
        values=channels[target][:, None],
        channels=(target,),
        time_name="date",
        frequency=Frequency.parse("1h"),
        covariates=channels,
    )
    return table, split, end


def ett(name: str) -> tuple[Table, tuple[int, int], int]:
    """The oil temperature of ETTh1 or ETTh2."""
    data = datasets.load_forecasting(name)
    channels = dict(zip(data.names, data.values.T, strict=True))
    return hourly("OT", data.times, channels, (data.train_end, data.val_end), data.test_end)


def weather(target: str) -> tuple[Table, tuple[int, int], int]:
    """One channel of Weather as hourly means, which remove its repeated stamp and its gap of 100
    minutes."""
    data = datasets.load_forecasting("Weather")
    of_row = data.times.astype("datetime64[h]")
    at = (of_row - of_row[0]).astype(np.int64)
    channels = {}
    for name, values in zip(data.names, data.values.T, strict=True):
        known = values > -9990
        with np.errstate(invalid="ignore"):  # 0 / 0 if an hour has no value
            sums = np.bincount(at[known], values[known], minlength=at[-1] + 1)
            channels[name.split(" (")[0]] = sums / np.bincount(at[known], minlength=at[-1] + 1)
    split = int(at[data.train_end]), int(at[data.val_end])
    return hourly(target, of_row[0] + np.arange(at[-1] + 1), channels, split, int(at[-1]) + 1)


LOADS = ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL"]
CALENDAR = {"calendar": ["hour", "dayofweek", "month"]}
DAY: dict[str, Any] = {"h": 24, "input_size": 96}
Made = Callable[[int], tuple[Table, tuple[int, int], int]]
CASES: dict[str, tuple[Made, dict[str, Any], dict[str, dict[str, Any]]]] = {
    "generated": (
        generated,
        {"h": 7, "input_size": 28, "n_epochs": 20, "lr": 2e-3},
        {"none": {}, "promo known ahead": {"futr_exog": ["promo"]}},
    ),
    "ETTh1, OT, 24 h": (
        lambda seed: ett("ETTh1"),
        DAY | {"n_epochs": 5},
        {
            "none": {},
            "calendar": CALENDAR,
            "loads": {"hist_exog": LOADS},
            "loads and calendar": {"hist_exog": LOADS} | CALENDAR,
            "loads known ahead": {"futr_exog": LOADS},
        },
    ),
    "ETTh1, OT, 96 h": (
        lambda seed: ett("ETTh1"),
        DAY | {"h": 96},
        {"none": {}, "loads known ahead": {"futr_exog": LOADS}},
    ),
    "ETTh2, OT, 24 h": (
        lambda seed: ett("ETTh2"),
        DAY | {"n_epochs": 5},
        {"none": {}, "loads known ahead": {"futr_exog": LOADS}},
    ),
    "Weather, T, 24 h": (
        lambda seed: weather("T"),
        DAY | {"n_epochs": 20},
        {
            "none": {},
            "SWDR": {"hist_exog": ["SWDR"]},
            "SWDR known ahead": {"futr_exog": ["SWDR"]},
        },
    ),
    "Weather, rh, 24 h": (
        lambda seed: weather("rh"),
        DAY | {"n_epochs": 20},
        {"none": {}, "T": {"hist_exog": ["T"]}, "T known ahead": {"futr_exog": ["T"]}},
    ),
}


def score(case: str, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Fit one variant and score its test split."""
    table, split, end = CASES[case][0](seed)
    model = ConvTimeNetForecaster(**settings, random_state=seed, verbose=0)
    model.fit(table, split=split)
    found = model.evaluate(table, first_row=split[1], end=end)
    history = model.history_
    return {
        "case": case,
        "seed": seed,
        "settings": settings,
        **found.scores,
        "valid_mse": history.epochs[history.best_epoch - 1].valid["mse"],
        "windows": found.n_windows,
        "best_epoch": history.best_epoch,
        "model": model.network_.config.to_dict(),
        "training": model.train_config_.to_dict(),
    }


PENALTIES = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5]


def linear(case: str, ahead: list[str]) -> dict[str, Any]:
    """Ridge regression on a context minus its last value and on covariates known ahead, all in
    training deviations, with every second training window and the penalty chosen in validation."""
    make, own, _ = CASES[case]
    table, split, end = make(1)
    y, L, H = table.values[:, 0], own["input_size"], own["h"]
    y = (y - y[: split[0]].mean()) / y[: split[0]].std()
    given = [table.covariates[name] for name in ahead]
    columns = [(x - np.nanmean(x[: split[0]])) / np.nanstd(x[: split[0]]) for x in given]

    def part(first: int, end: int, step: int = 1) -> tuple[np.ndarray, np.ndarray]:
        starts = np.arange(max(0, first - L), end - L - H + 1, step)[:, None]
        context, now = y[starts + np.arange(L)], y[starts + L - 1]
        read = [np.nan_to_num(x)[starts + np.arange(L + H)] for x in columns]
        return np.hstack([context - now, *read]), y[starts + L + np.arange(H)] - now

    (x, y_train), valid, test = part(0, split[0], 2), part(*split), part(split[1], end)

    def squared(model: Ridge, inputs: np.ndarray, truth: np.ndarray) -> float:
        return float(np.mean((model.predict(inputs) - truth) ** 2))

    models = [Ridge(alpha=penalty).fit(x, y_train) for penalty in PENALTIES]
    best = min(models, key=lambda model: squared(model, *valid))
    return {
        "case": case,
        "futr_exog": ahead,
        "valid_mse": squared(best, *valid),
        "mse": squared(best, *test),
        "mae": float(np.mean(np.abs(best.predict(test[0]) - test[1]))),
        "penalty": best.alpha,
        "windows": len(test[0]),
    }


def main() -> None:
    """Run every variant with every seed and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--linear", action="store_true")
    parser.add_argument("--fast", action="store_true")
    given = parser.parse_args()
    runs: list[dict[str, Any]] = []
    command = " ".join(["python benchmarks/evidence/covariates.py", *sys.argv[1:]])
    if given.linear:
        for case, (_, _, variants) in CASES.items():
            named = [v["futr_exog"] for v in variants.values() if "futr_exog" in v]
            runs += [linear(case, ahead) for ahead in ([], *named)]
        result = {"command": command, "versions": versions(), "runs": runs}
        path = given.out.with_name("covariates_linear.json")
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        return
    out = given.out.with_name("covariates_fast.json") if given.fast else given.out
    for case, (_, own, variants) in CASES.items():
        own = {"h": own["h"], "quality": "fast"} if given.fast else own
        for name, settings in variants.items():
            if given.fast and "hist_exog" in settings:
                continue
            for seed in given.seeds:
                runs.append({"variant": name, **score(case, own | settings, seed)})
                result = {"command": command, "versions": versions(), "runs": runs}
                out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            scores = [[run[k] for run in runs[-len(given.seeds) :]] for k in SHOWN]
            told = ", ".join(
                f"{k} {np.mean(s):.4f} +- {np.std(s, ddof=1):.4f}"
                for k, s in zip(SHOWN, scores, strict=True)
            )
            sys.stdout.write(f"{case:18s} {name:20s} {told}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
