"""Measure whether, and how, a forecaster should train again on all rows before it forecasts.

    python benchmarks/evidence/refit.py             # all missing cells
    python benchmarks/evidence/refit.py --only us    # tables whose name starts with "us"
    python benchmarks/evidence/refit.py --us        # the last year of US employment
    python benchmarks/evidence/refit_page.py        # docs/refit.md from the kept cells

A cell is a table, a way to split it, a number of epochs, a seed and a method. The last H rows of
the table are held out completely: they score the forecast and select nothing. Of the rows before,
the split "forecast" holds out a fifth for scores and a fifth of the rest to select the epoch, as
``convtimenet forecast`` does; "fit" holds out only the latter, as ``fit`` does. Methods, all
starting from the same first run:

- none: the first run's best weights;
- retrain: a new network, trained on all rows up to the first run's best epoch;
- retrain-steps: the same, for the same number of steps (fewer epochs, because there are more rows);
- continue-<share>-<rate>: the best weights, trained further on all rows for that share of the steps
  to the best epoch, at that share of the learning rate;
- until-<steps>: the best weights, trained further on all rows at the full learning rate until both
  runs together have taken that many steps; only if the best epoch came earlier.

Networks, batch sizes and learning rates are those of the default preset where it trains a network;
tables of up to 2,000 rows, for which it is a closed form, are asked for that network. Rows are
capped, as listed with the tables, so that a cell takes seconds. Each cell adds one JSON line to
docs/results/refit/cells.jsonl; an interrupted run resumes where it stopped.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convtimenet import ConvTimeNetForecaster
from convtimenet.devices import RandomNumbers
from convtimenet.estimators.forecasting.plans import training_windows
from convtimenet.network.inference import fuse
from convtimenet.network.model import ConvTimeNet
from convtimenet.runs.forecasting import forecast_table
from convtimenet.runs.result import versions
from convtimenet.training.loop import train

DOCS = Path(__file__).resolve().parents[2] / "docs"
CELLS, US = (DOCS / "results" / "refit" / name for name in ("cells.jsonl", "us_employment.json"))
CPU = torch.device("cpu")
FIRST_ONLY = {"refit": False, "weight_decay": 0.0}
"""Settings of every first run. The second one is the default and changes nothing, but it is a
setting of a network, which is then trained also where the default is a closed form."""
CONTINUED_PLANS = ((0.3, 0.5), (0.3, 0.1), (1.0, 0.5), (1.0, 1.0), (2.0, 1.0))
"""Shares of the best epochs, and of the learning rate."""
UNTIL = (100, 200)


@dataclass(frozen=True)
class Case:
    """A table of real data, cut as it is used."""

    name: str
    read: Callable[[], np.ndarray]
    season: int
    h: int | None = None

    @property
    def horizon(self) -> int:
        """Two seasons, at most a fifth of the rows and 96 steps."""
        return self.h or max(1, min(2 * self.season, len(self.read()) // 5, 96))


# --- tables --------------------------------------------------------------------------------------


@cache
def public(name: str) -> np.ndarray:
    """A forecasting data set from the data folder, without its time column."""
    folder = Path(os.environ.get("CONVTIMENET_DATA", "~/.cache/convtimenet")).expanduser()
    with gzip.open(folder / "forecasting" / f"{name}.csv.gz", "rt") as file:
        return np.loadtxt(file, delimiter=",", skiprows=1, usecols=range(1, _WIDTH[name]), ndmin=2)


_WIDTH = {
    "ETTh1": 8,
    "ETTh2": 8,
    "ETTm1": 8,
    "exchange_rate": 9,
    "national_illness": 8,
    "weather": 22,
}


@cache
def vega(name: str) -> Any:
    """A table from the package vega-datasets, as a pandas frame."""
    import vega_datasets

    return getattr(vega_datasets.data, name)()


def us(rows: int, *columns: str) -> np.ndarray:
    """US employment without its last twelve months, which must not influence any choice."""
    frame = vega("us_employment")
    assert rows <= len(frame) - 12
    return frame[list(columns or frame.columns[1:])].to_numpy(float)[:rows]


def stock(*symbols: str) -> np.ndarray:
    """Monthly stock prices, for the months that all stocks have."""
    frame = vega("stocks")
    wide = frame.pivot(index="date", columns="symbol", values="price")
    return wide[list(symbols)].dropna().to_numpy(float)


def cases() -> list[Case]:
    """All tables, in the order they run."""
    found = [
        Case("us-table-108", lambda: us(108), 12, 12),
        Case("us-table-96", lambda: us(96), 12, 12),
        *(
            Case(f"us-{column}", lambda column=column: us(108, column), 12, 12)
            for column in ("nonfarm", "construction", "information", "government")
        ),
        Case("stocks-4", lambda: stock("AAPL", "AMZN", "IBM", "MSFT"), 12),
        Case("stocks-IBM", lambda: stock("IBM"), 12),
        Case("stocks-GOOG", lambda: stock("GOOG"), 12),
        Case("wheat", lambda: vega("wheat")[["wheat", "wages"]].dropna().to_numpy(float), 1, 5),
    ]
    weather = ["temp_max", "temp_min", "wind"]
    for name, columns, rows in (
        ("seattle-weather-3", weather, slice(None)),
        ("seattle-weather-year1", weather, slice(0, 365)),
        ("seattle-wind-year3", ["wind"], slice(731, 1096)),
        ("seattle-temp_max-2y", ["temp_max"], slice(0, 731)),
    ):
        found.append(
            Case(
                name,
                lambda c=columns, r=rows: vega("seattle_weather")[c].to_numpy(float)[r],
                7,
            )
        )
    for city, column in (("seattle_temps", "temp"), ("sf_temps", "temp")):
        for part, rows in (("winter", slice(0, 700)), ("summer", slice(4000, 5500))):
            found.append(
                Case(
                    f"{city}-{part}",
                    lambda n=city, c=column, r=rows: vega(n)[[c]].to_numpy(float)[r],
                    24,
                )
            )
    for name, source, columns, rows, season in (
        ("ETTh1-7-500", "ETTh1", slice(0, 7), slice(2000, 2500), 24),
        ("ETTh1-OT-1200", "ETTh1", slice(6, 7), slice(5000, 6200), 24),
        ("ETTh1-OT-tail300", "ETTh1", slice(6, 7), slice(-300, None), 24),
        ("ETTh2-7-600", "ETTh2", slice(0, 7), slice(9000, 9600), 24),
        ("ETTh2-HUFL-1500", "ETTh2", slice(0, 1), slice(-1500, None), 24),
        ("ETTm1-OT-1000", "ETTm1", slice(6, 7), slice(20000, 21000), 96),
        ("ETTm1-HULL-1000", "ETTm1", slice(1, 2), slice(-1000, None), 96),
        ("exchange-8-400", "exchange_rate", slice(0, 8), slice(0, 400), 7),
        ("exchange-8-tail200", "exchange_rate", slice(0, 8), slice(-200, None), 7),
        ("exchange-0-1500", "exchange_rate", slice(0, 1), slice(3000, 4500), 7),
        ("ili-7-300", "national_illness", slice(0, 7), slice(-300, None), 52),
        ("ili-OT-966", "national_illness", slice(6, 7), slice(None), 52),
        ("ili-0-500", "national_illness", slice(0, 1), slice(200, 700), 52),
        ("weather-T-1000", "weather", slice(1, 2), slice(30000, 31000), 144),
        ("weather-4-700", "weather", slice(1, 5), slice(-700, None), 144),
        ("ETTh1-HUFL-5000", "ETTh1", slice(0, 1), slice(0, 5000), 24),
        ("exchange-OT-7000", "exchange_rate", slice(7, 8), slice(0, 7000), 7),
        ("weather-p-5000", "weather", slice(0, 1), slice(0, 5000), 144),
        ("ETTh2-OT-6000", "ETTh2", slice(6, 7), slice(-6000, None), 24),
        ("ETTm1-LUFL-6000", "ETTm1", slice(4, 5), slice(40000, 46000), 96),
    ):
        found.append(
            Case(
                name,
                lambda s=source, c=columns, r=rows: public(s)[r, c],
                season,
            )
        )
    return found


# --- one table -----------------------------------------------------------------------------------


def ends(rows: int, h: int, how: str) -> tuple[int, int]:
    """Rows where the training split and the validation split end."""
    valid_end = rows - round(0.2 * rows) if how == "forecast" else rows
    return valid_end - max(h, round(0.2 * valid_end)), valid_end


def methods(
    case: Case, how: str, policy: str, seed: int, done: set[str]
) -> Iterator[dict[str, Any]]:
    """The result of each method, one line each; finished cells are skipped."""
    values, h = case.read(), case.horizon
    known, truth = values[:-h], values[-h:]
    split = ends(len(known), h, how)
    begin = time.process_time()
    training = {}
    if policy != "preset":
        epochs, patience = map(int, policy.split("/"))
        training = {"epochs": epochs, "patience": patience}
    model = ConvTimeNetForecaster(
        h, verbose=0, random_state=seed, device="cpu", training=training | FIRST_ONLY
    )
    model.fit(known, split=split)
    first_seconds = time.process_time() - begin
    config, settings, history = model.network_.config, model.train_config_, model.history_
    table, encoder = model.read(known), model.covariates_
    rows = np.array([len(known)])
    windows = training_windows(table, rows, rows, config, model.scaler_, encoder, CPU)[0]
    assert model.n_examples_ is not None
    fitted, size, best = model.n_examples_["fitted"], settings.batch_size, history.best_epoch
    ratio = fitted / len(windows)
    first, whole = (n // size if n // size >= 8 else -(-n // size) for n in (fitted, len(windows)))
    scale = np.abs(np.diff(known, axis=0)).mean(0)
    last, naive = known[-1:].repeat(h, 0), known[-case.season :]
    naive = np.tile(naive, (-(-h // len(naive)), 1))[:h]

    def line(method: str, forecast: np.ndarray, seconds: float, epochs: int) -> dict[str, Any]:
        def mae(other: np.ndarray) -> float:
            return float((np.abs(other - truth).mean(0) / np.maximum(scale, 1e-12)).mean())

        return {
            "table": case.name,
            "rows": len(known),
            "channels": values.shape[1],
            "h": h,
            "split": how,
            "seed": seed,
            "policy": policy,
            "method": method,
            "mase1": mae(forecast),  # in mean absolute steps of each channel
            "mae_units": float(np.abs(forecast - truth).mean()),
            "last": mae(last),
            "seasonal_naive": mae(naive),
            "seconds": round(seconds, 2),
            "epochs": epochs,
            "best_epoch": history.best_epoch,
            "first_epochs": len(history.epochs),
            "first_windows": fitted,
            "steps_to_best": best * first,
            "all_windows": len(windows),
            "context": config.context_length,
            "batch_size": settings.batch_size,
            "versions": versions(),
            "machine": platform.processor() or platform.machine(),
        }

    if "none" not in done:
        yield line("none", model.predict(known), first_seconds, len(history.epochs))
    weights = {name: tensor.clone() for name, tensor in model.network_.state_dict().items()}
    plans: list[tuple[str, int, float, bool]] = [
        ("retrain", best, 1.0, False),
        ("retrain-steps", max(1, round(best * ratio)), 1.0, False),
    ]
    for share, rate in CONTINUED_PLANS:
        name = f"continue-{share:g}-{rate:g}"
        plans.append((name, max(1, round(share * best * ratio)), rate, True))
    for steps in UNTIL:
        left = steps - best * first
        if left > 0:
            plans.append((f"until-{steps}", max(1, round(left / whole)), 1.0, True))
    for name, number, rate, goes_on in plans:
        if name in done:
            continue
        begin = time.process_time()
        again = replace(settings, epochs=number, patience=None, lr=settings.lr * rate)
        numbers = RandomNumbers(seed, CPU)
        with numbers.for_weights():
            network = ConvTimeNet(config)
        if goes_on:
            network.load_state_dict(weights)
        train(network, windows, None, again, device=CPU, numbers=numbers, verbose=0)
        model.network_, model.fused_ = network, fuse(network, settings.precision)
        yield line(name, model.predict(known), time.process_time() - begin, number)


def kept() -> list[dict[str, Any]]:
    """The cells so far."""
    if not CELLS.exists():
        return []
    return [json.loads(one) for one in CELLS.read_text(encoding="utf-8").splitlines()]


def run(only: str, most: int, splits: list[str], policies: list[str], seeds: list[int]) -> None:
    """Compute the missing cells."""
    torch.set_num_threads(1)
    CELLS.parent.mkdir(parents=True, exist_ok=True)
    names = {
        "none",
        "retrain",
        "retrain-steps",
        *(f"continue-{a:g}-{b:g}" for a, b in CONTINUED_PLANS),
    }
    for seed, how, policy, case in product(seeds, splits, policies, cases()):
        if not case.name.startswith(only) or len(case.read()) > most:
            continue
        same = {"table": case.name, "split": how, "seed": seed, "policy": policy}
        done = {one["method"] for one in kept() if {k: one[k] for k in same} == same}
        early = {
            f"until-{steps}"
            for steps in UNTIL
            if any(
                one["method"] == "none" and one.get("steps_to_best", 0) < steps
                for one in kept()
                if {k: one[k] for k in same} == same
            )
        }
        if names | early <= done:
            continue
        lines = list(methods(case, how, policy, seed, done))
        with CELLS.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(one) + "\n" for one in lines)
        shown = {one["method"]: round(one["mase1"], 3) for one in lines}
        seconds = sum(one["seconds"] for one in lines)
        print(*same.values(), lines[0]["rows"], f"{seconds:.0f}s", shown, flush=True)


def us_employment() -> None:
    """Forecast the last twelve months as on the command line, with several seeds."""
    frame = vega("us_employment")
    past, truth = frame[:-12], frame.iloc[-12:, 1:].to_numpy(float)
    values = past.iloc[:, 1:].to_numpy(float)

    def mae(forecast: np.ndarray) -> float:
        return float(np.abs(forecast - truth).mean())

    found: dict[str, Any] = {
        "last value": mae(np.repeat(values[-1:], 12, 0)),
        "seasonal naive": mae(values[-12:]),
        "seeds": {},
        "versions": versions(),
    }
    for seed in (2023, 1, 2):
        one: dict[str, float] = {}
        ways: list[tuple[str, dict[str, Any], float]] = [
            ("default", {}, 0.2),
            ("refit=False", {"refit": False}, 0.2),
            ("refit=True", {"refit": True}, 0.2),
            ("refit=True, no test split", {"refit": True}, 0.0),
        ]
        for name, settings, test in ways:
            fixed: dict[str, Any] = {"random_state": seed, "device": "cpu", "verbose": 0}
            model = ConvTimeNetForecaster(12, **fixed, **settings)
            forecast_table(model, model.read(past), test_fraction=test, dataset="us employment")
            one[name] = mae(model.predict(past).iloc[:, 1:].to_numpy(float))
        found["seeds"][str(seed)] = one
        print(seed, one, flush=True)
    US.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Compute cells, or US employment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="tables whose name starts with this")
    parser.add_argument("--most_rows", type=int, default=10**6, help="skip longer tables")
    parser.add_argument("--splits", nargs="+", default=["forecast"])
    parser.add_argument("--policies", nargs="+", default=["preset"], help="epochs/patience")
    parser.add_argument("--seeds", nargs="+", type=int, default=[2023])
    parser.add_argument("--us", action="store_true", help="the last year of US employment")
    given = parser.parse_args()
    if given.us:
        torch.set_num_threads(1)
        us_employment()
        return
    run(given.only, given.most_rows, given.splits, given.policies, given.seeds)


if __name__ == "__main__":
    main()
