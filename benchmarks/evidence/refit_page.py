"""Write docs/refit.md from the results of benchmarks/evidence/refit.py.

python benchmarks/evidence/refit_page.py
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from refit import CONTINUED_PLANS, DOCS, UNTIL, US, cases, kept

from convtimenet.estimators.portfolio import (
    CONTINUED,
    CONTINUED_RATE,
    ENOUGH_STEPS,
    FEW_STEPS,
)

PAGE = DOCS / "refit.md"


def half(name: str) -> str:
    """Half that a table belongs to: all of US employment is in the development half."""
    if name.startswith("us-"):
        return "development"
    others = sorted(one.name for one in cases() if not one.name.startswith("us-"))
    return ("development", "confirmation")[others.index(name) % 2]


def chosen(one: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The run that matches the default rule, `TrainConfig.refit` "continue"."""
    few = one["none"]["steps_to_best"] < FEW_STEPS
    return one.get(f"until-{ENOUGH_STEPS}" if few else f"continue-{CONTINUED:g}-{CONTINUED_RATE:g}")


def summary(tables: list[dict[str, dict[str, Any]]], method: str) -> list[str]:
    """Number of tables, geometric mean error ratio, tables better and worse, relative time."""
    pairs = [
        (one["none"], chosen(one) if method == "default" else one.get(method)) for one in tables
    ]
    ratios = [(new["mase1"] / old["mase1"], old, new) for old, new in pairs if new is not None]
    if not ratios:
        return ["0", "-", "-", "-"]
    values = np.array([ratio for ratio, _, _ in ratios])
    seconds = sum(new["seconds"] for *_, new in ratios) / sum(
        old["seconds"] for _, old, _ in ratios
    )
    return [
        str(len(values)),
        f"{np.exp(np.log(values).mean()):.3f}",
        f"{(values < 0.995).sum()} / {(values > 1.005).sum()}",
        f"{seconds:.2f}",
    ]


def grid(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


SIZES = (("up to 150", 0, 150), ("151 to 800", 151, 800), ("801 to 2,000", 801, 2000),
         ("more than 2,000", 2001, 10**9))  # fmt: skip


def page() -> None:
    """Write docs/refit.md."""
    runs: dict[tuple[str, str, int, str], dict[str, dict[str, Any]]] = {}
    for cell in kept():
        key = (cell["policy"], cell["split"], cell["seed"], cell["table"])
        runs.setdefault(key, {})[cell["method"]] = cell
    first = [(k[3], one) for k, one in runs.items() if k[:3] == ("preset", "forecast", 2023)]
    methods = ["retrain", "retrain-steps"]
    methods += [f"continue-{share:g}-{rate:g}" for share, rate in CONTINUED_PLANS]
    methods += [f"until-{steps}" for steps in UNTIL]
    columns = ["method", "tables", "mean ratio", "better / worse", "time"]
    tables = [one for _, one in first]
    few = [one for one in tables if one["none"]["steps_to_best"] < FEW_STEPS]
    rest = [one for one in tables if one["none"]["steps_to_best"] >= FEW_STEPS]
    parts = [_INTRO.format(tables=len(tables), cells=len(kept()))]
    parts += ["## By size\n", "Number of rows before the held-out ones; seed 2023.\n"]
    for name, low, high in SIZES:
        some = [one for one in tables if low <= one["none"]["rows"] <= high]
        parts.append(f"{name[0].upper()}{name[1:]} rows:\n")
        parts.append(grid(columns, [[m, *summary(some, m)] for m in methods]))
    parts.append(_STEPS)
    for name, some in (
        (f"Fewer than {FEW_STEPS} steps", few),
        (f"{FEW_STEPS} steps or more", rest),
    ):
        parts.append(f"{name} to the best epoch:\n")
        parts.append(grid(columns, [[m, *summary(some, m)] for m in methods]))
    parts.append(_DECIDED)
    rows = []
    for where in ("development", "confirmation"):
        for name, some in (("fewer than 60", few), ("60 or more", rest), ("all", tables)):
            mine = [one for one in some if half(one["none"]["table"]) == where]
            rows.append([where, name, *summary(mine, "default")])
    parts.append(grid(["half", "steps", *columns[1:]], rows))
    others = []
    for key in sorted({k[:3] for k in runs} - {("preset", "forecast", 2023)}, key=str):
        some = [one for k, one in runs.items() if k[:3] == key and "none" in one]
        if sum(chosen(one) is not None for one in some) < 5:
            continue
        others.append([*map(str, key), *summary(some, "default"), *summary(some, "retrain")[1:3]])
    if others:
        parts.append(_OTHERS)
        names = ["epochs / patience", "split", "seed", *columns[1:], "retrain: ratio", "retrain"]
        parts.append(grid(names, others))
    worst = sorted(
        ((found["mase1"] / one["none"]["mase1"], one["none"], found)
         for one in tables if (found := chosen(one)) is not None),
        key=lambda row: -row[0],
    )  # fmt: skip
    parts.append(_LOSSES)
    shown = [*worst[:6], *worst[-6:]]
    parts.append(
        grid(
            ["table", "rows", "first run", "default", "ratio", "seasonal naive"],
            [
                [
                    old["table"],
                    f"{old['rows']:,}",
                    f"{old['mase1']:.3g}",
                    f"{new['mase1']:.3g}",
                    f"{ratio:.2f}",
                    f"{old['seasonal_naive']:.3g}",
                ]
                for ratio, old, new in shown
            ],
        )
    )
    us_found = json.loads(US.read_text(encoding="utf-8"))
    names = list(next(iter(us_found["seeds"].values())))
    parts.append(_US.format(last=us_found["last value"], naive=us_found["seasonal naive"]))
    rows = [
        [seed, *(f"{one[name]:.0f}" for name in names)] for seed, one in us_found["seeds"].items()
    ]
    parts.append(grid(["seed", *names], rows))
    parts.append(_LIMITS)
    PAGE.write_text("\n".join(parts), encoding="utf-8")


_INTRO = """# Refitting on all rows

`fit` and `convtimenet forecast` train twice. The first run holds out some rows to select the
epoch, calibrate the intervals and compute the scores. The second run uses all rows and makes the
forecasts. `refit=False` and `--no-refit` skip it; `refit=True` trains a new network instead of
continuing. This page explains what the second run does by default and why. It is generated by
`python benchmarks/evidence/refit_page.py` from
[results/refit/cells.jsonl](results/refit/cells.jsonl) ({cells} measurements), made before the
default had a [linear stream](design/linear-stream.md), which both runs solve anew.

## Method

{tables} tables of real data: parts of ETTh1, ETTh2, ETTm1, Exchange, ILI and Weather, and the
local data sets of the package vega-datasets (US employment without its last twelve months, stock
prices, Seattle weather, hourly temperatures of two cities, wheat prices), with one or more channels
and 45 to 7,000 rows. The last H rows of each table (two seasons, at most a fifth of the rows and 96
steps) are held out completely and score one forecast. Of the rows before, a fifth is held out
for scores, and a fifth of the rest selects the epoch, as in `convtimenet forecast`. Networks, batch
sizes, learning rates and epochs are those of the default preset; rows are capped so that each
measurement takes seconds. A single forecast from one origin is noisy: look at the means, not at
single tables.

Methods, all starting from the same first run:

- *retrain*: train a new network on all rows, up to the first run's best epoch;
- *retrain-steps*: the same, for the same number of steps;
- *continue-a-b*: continue from the best weights on all rows, for `a` times the steps to the best
  epoch at `b` times the learning rate;
- *until-n*: continue from the best weights on all rows at the full learning rate, until both runs
  together have taken `n` steps.

The error of a channel is its mean absolute error divided by its mean absolute step. "Mean ratio" is
the geometric mean over tables of the error divided by that of the first run's weights; below 1 is
better. "Better / worse" counts tables that differ by more than 0.5 %. "Time" is CPU time relative
to the first run.
"""
_STEPS = """## By steps of the first run

Table size matters mainly through the number of steps to the best epoch of the first run. With few
rows there are few steps, and the network has hardly begun to learn.
"""
_DECIDED = f"""## The default

The default preset uses `refit="continue"`. If the best epoch came before {FEW_STEPS} steps,
training continues on all rows up to {ENOUGH_STEPS} steps at the full learning rate, for at most
twice the first run's maximum number of epochs (the measurements have no such limit). Otherwise it
continues for {CONTINUED:.0%} of the steps to the best epoch at {CONTINUED_RATE:.0%} of the learning
rate. On average this gains nothing, but the model has seen the newest rows, it is seldom worse, and
it costs a fifth of the first run. Retraining from scratch costs as much as the first run and is not
better.

The rule was chosen on one half of the tables (all of US employment, and every other one of the
rest in alphabetical order) and then evaluated on the other half:
"""
_OTHERS = """The same rule in other settings: other seeds (short tables), and the split of `fit`
(tables of up to 800 rows):
"""
_LOSSES = """## Best and worst cases

The tables where the default is worst and best, seed 2023; errors in mean absolute steps:
"""
_US = """## US employment

The table that prompted this work: 23 monthly series with 108 months to learn from and the last
twelve held out. Mean absolute error in thousands of jobs is {last:.0f} for repeating the last
value and {naive:.0f} for repeating the last year. The table below compares the default, the first
run alone (what version 0.1 used), and two ways of retraining. None of the measurements above uses
these twelve months. However, we looked at them alongside the development half while designing the
rule: seed 2023 gave 108 with continue-2-1, 112 with until-100 and 85 with until-200, roughly the
same order as on the development half (up to 150 rows, above), so the result for that seed is
slightly optimistic.
"""
_LIMITS = """## Limitations

Random walks (exchange rates, stock prices) can get worse: there is nothing to learn, and the last
value is hard to beat. Tables of more than 7,000 rows and panels of many series were not measured.
Intervals come from the errors of the first run and are not narrowed for the second.
"""


if __name__ == "__main__":
    page()
