"""Fit and score registered data sets, save the raw results and write docs/results.md from them.

    python benchmarks/evidence/results.py  # all local data sets, one seed
    python benchmarks/evidence/results.py ETTh1:96 Epilepsy     # some of them
    python benchmarks/evidence/results.py --table  # only the page, from the saved results

Each run writes docs/results/<set>[-<h>]-<preset>-<protocol>-<seed>.json: scores, settings,
history, versions and the command. Sets without hyper-parameters in the paper use preset "auto".
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from convtimenet import datasets
from convtimenet.config import Protocol
from convtimenet.estimators.presets import PAPER
from convtimenet.runs.evaluation import evaluate_dataset

ROOT = Path(__file__).resolve().parents[2]
RESULTS, PAGE = ROOT / "docs" / "results", ROOT / "docs" / "results.md"
FORECASTS = ("ILI:24", "ETTh1:96", "ETTh2:96", "Exchange:96")

HEAD = """# Results

One seed each (2023), on a CPU; some data sets are repeated with several seeds below. Protocol
*honest*: a validation split selects the epoch, the test split is evaluated once, and scores include
every test window or case. For classification the network is then retrained on all training cases
for the selected number of epochs. Hyper-parameters come from the paper where it gives them
("paper"); otherwise the package derives them from the length and number of series ("auto"). The
JSON files in [results/](results/) hold the raw results, with all settings and the history of each
epoch.

Reproduce all of them with

```
make results
```

or a single one with the command in the last column. Data sets are read from the folder set in
`CONVTIMENET_DATA`.
"""


def main() -> None:
    """Run the requested tasks, then write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", help="NAME or NAME:HORIZON; all by default")
    parser.add_argument("--seed", type=int, default=2023)
    parser.add_argument("--protocol", choices=("honest", "paper"), default="honest")
    parser.add_argument("--table", action="store_true", help="only write the page")
    given = parser.parse_args()
    if not given.table:
        local = [name for name in datasets.names("classification") if datasets.is_local(name)]
        for task in given.tasks or (*FORECASTS, *local):
            run(task, given.seed, given.protocol)
    PAGE.write_text(page(), encoding="utf-8")


def run(task: str, seed: int, protocol: Protocol) -> None:
    """Fit, score and write the result file."""
    name, _, horizon = task.partition(":")
    name = datasets.info(name).name
    preset = "paper" if name in PAPER else "auto"
    command = f"convtimenet evaluate {name}" + (f" --h {horizon}" if horizon else "")
    command += f" --preset {preset} --protocol {protocol} --seed {seed}"
    result = evaluate_dataset(
        name,
        h=int(horizon) if horizon else None,
        preset=preset,
        protocol=protocol,
        settings={"random_state": seed},
    ).result
    stem = "-".join(filter(None, (name, horizon, preset, protocol, str(seed))))
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"command": command} | result.to_dict(), indent=1)
    (RESULTS / f"{stem}.json").write_text(text + "\n", encoding="utf-8")
    print(command, result.scores, f"{result.train_seconds:.0f} s", file=sys.stderr, flush=True)


def page() -> str:
    """docs/results.md, from the saved results."""
    files = sorted(RESULTS.glob("*.json"))
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    found = [result for result in kept if result["seed"] == 2023]
    forecasts = [r for r in found if r["task"] == "forecasting"]
    classes = [r for r in found if r["task"] == "classification"]
    lines = [HEAD, "## Forecasting", ""]
    lines += table(
        "| set | h | protocol | seed | MSE | MAE | test windows | naive forecast, MSE | "
        "authors' code, same windows | best epoch | command |",
        [
            f"| {r['dataset']} | {r['horizon']} | {r['protocol']} | {r['seed']} "
            f"| **{r['scores']['mse']:.4f}** | **{r['scores']['mae']:.4f}** | {r['n_test']:,} "
            f"| {naive(r)} | {theirs(r)} | {r['best_epoch']} of {r['epochs']} "
            f"| `{r['command']}` |"
            for r in forecasts
        ],
    )
    lines += ["", "## Classification", ""]
    lines += table(
        "| set | preset | protocol | seed | accuracy | balanced | test cases | largest class | "
        "authors' code, last epoch | epochs | command |",
        [
            f"| {r['dataset']} | {preset(r)} | {r['protocol']} | {r['seed']} "
            f"| **{r['scores']['accuracy']:.4f}** | {r['scores']['balanced_accuracy']:.4f} "
            f"| {r['n_test']:,} | {r['baseline']['accuracy']:.3f} | {theirs(r)} "
            f"| {r['best_epoch']} | `{r['command']}` |"
            for r in classes
        ],
    )
    lines += ["", "## Over seeds", "", SPREAD, "", *spread(kept)]
    lines += ["", "## Notes", "", NOTES]
    lines += ["", "## Published scores", "", published(found)]
    return "\n".join(lines).rstrip() + "\n"


NOTES = """\
- Exchange, h 96: repeating the last value beats both this network and the authors' (MSE 0.081).
  With seed 2023 our score is 3.8 % above the single known run of the authors' script; with seeds 1
  and 4 it is within 1 %, and on average over five seeds 2.2 % above. The difference comes from the
  seed, not the network: sktime's port of the authors' network, trained in the same loop on the same
  batches (now `authors.paper:Exchange-96` of `benchmarks/evidence/matrix.toml`), gives 0.0886 and
  0.0861 for seeds 2023 and 1. Ours gives 0.0880 and 0.0854, and ours with the authors' inactive
  offset predictor (`--model.predictor_init zero`) gives 0.0882 and 0.0856. Raw results:
  [variants/](results/variants/).
- ILI, h 24: 170 test windows of a series whose level shifts; the standard deviation over seeds is
  3 %.
- AtrialFibrillation, HandMovementDirection, SelfRegulationSCP2 and StandWalkJump are near chance.
  They have 12 to 200 training cases, and the validation split selected one of the first epochs.
- AWR (ArticularyWordRecognition): 0.980 is 294 of 300 cases; the authors' 0.987 is 296."""

SPREAD = """\
Variation between seeds: mean, standard deviation and range over all saved seeds, with otherwise
identical settings."""


def spread(results: list[dict[str, Any]]) -> list[str]:
    """Scores over seeds, for tasks with more than one."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for r in results:
        key = (r["dataset"], r["horizon"], preset(r), r["protocol"])
        groups.setdefault(key, []).append(r)
    rows = []
    for (name, horizon, chosen, protocol), members in groups.items():
        if len(members) > 1:
            score = "mse" if horizon else "accuracy"
            values = [r["scores"][score] for r in members]
            seeds = " ".join(str(r["seed"]) for r in sorted(members, key=lambda r: r["seed"]))
            rows.append(
                f"| {name} | {horizon or ''} | {chosen} | {protocol} | {score} "
                f"| {statistics.mean(values):.4f} | {statistics.stdev(values):.4f} "
                f"| {min(values):.4f} to {max(values):.4f} | {theirs(members[0])} | {seeds} |"
            )
    return table(
        "| set | h | preset | protocol | score | mean | sd | range | authors' code, one seed "
        "| seeds |",
        rows,
    )


def preset(result: dict[str, Any]) -> str:
    """ "paper" or "auto"."""
    return "auto" if result["preset"] == "auto" else "paper"


def naive(r: dict[str, Any]) -> str:
    """The naive forecast's score and what it repeats; before version 0.2, the last value."""
    season = r.get("season") or 1
    repeats = "last value" if season == 1 else f"last {season} steps"
    return f"{r['baseline']['mse']:.3f} ({repeats})"


def theirs(result: dict[str, Any]) -> str:
    """The authors' scores on the same windows or cases, if known."""
    for other in result["published"]:
        if other["model"] == "ConvTimeNet (authors)":
            return " / ".join(f"{value:g}" for value in other["scores"].values())
    return ""


def table(head: str, rows: list[str]) -> list[str]:
    """Markdown lines."""
    return [head, "|" + "---|" * (head.count("|") - 1), *rows]


def published(results: list[dict[str, Any]]) -> str:
    """All other known scores, each with what it was computed on and its source."""
    rows = []
    for result in results:
        name = result["dataset"] + (f", h {result['horizon']}" if result["horizon"] else "")
        for other in result["published"]:
            scores = " / ".join(f"{value:g}" for value in other["scores"].values())
            rows.append(
                f"| {name} | {other['model']} | {scores} | {other['counted']} | {other['source']} |"
            )
    return "\n".join(table("| set | model | MSE / MAE or accuracy | computed on | source |", rows))


if __name__ == "__main__":
    main()
