"""Default and tuned settings on the validation and the test split of registered sets.

    OMP_NUM_THREADS=1 python benchmarks/evidence/tuning.py ILI-24 JapaneseVowels
    python benchmarks/evidence/tuning.py --table  # the table of docs/tune.md

Each search has 20 trials on the official training and validation splits (of a classification set
the validation split drawn from its training cases). The default and the best settings are then
trained once each and scored on the test split, which no trial has seen. Trials of the
classification set take 400 steps instead of 2,000, and so do both trainings after them. Each set is
written to benchmarks/results/tuning-<date>.json, beside those that are there.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date
from pathlib import Path
from typing import Any

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, datasets
from convtimenet.bench.machine import commit_of_package
from convtimenet.estimators.tuning.search import Search
from convtimenet.files import json_text, whole_file
from convtimenet.runs.evaluation import registered_table
from convtimenet.runs.forecasting import fit_forecaster
from convtimenet.runs.labelled import fit_labelled
from convtimenet.runs.result import versions

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
SHORT = {"epoch_steps": 10}  # 400 steps


def forecasting(name: str, h: int, trials: int, seed: int) -> dict[str, Any]:
    """Search and scores of a forecasting set."""
    data, table = registered_table(name)
    split = data.train_end, data.val_end

    def model(**settings: Any) -> ConvTimeNetForecaster:
        return ConvTimeNetForecaster(h, device="cpu", random_state=seed, verbose=0, **settings)

    def test(settings: dict[str, Any]) -> dict[str, float]:
        run = fit_forecaster(model(**settings), table, split, data.test_end, dataset=name)
        return run.result.scores

    found = searched(model(), (table,), {"split": split}, trials, seed)
    return found | {"test": {"default": test({}), "tuned": test(found["settings"])}}


def classification(name: str, trials: int, seed: int) -> dict[str, Any]:
    """Search and scores of a classification set."""
    train, test = datasets.load_classification(name)

    def model(**settings: Any) -> ConvTimeNetClassifier:
        given = {**settings, "training": SHORT | settings.get("training", {})}
        return ConvTimeNetClassifier(device="cpu", random_state=seed, verbose=0, **given)

    def scores(settings: dict[str, Any]) -> dict[str, float]:
        return fit_labelled(model(**settings), train, test, dataset=name).result.scores

    found = searched(model(), (train,), {}, trials, seed)
    return found | {"test": {"default": scores({}), "tuned": scores(found["settings"])}}


def searched(model: Any, data: Any, fit: Any, trials: int, seed: int) -> dict[str, Any]:
    """The result of a search, as plain values."""
    begin = time.process_time()
    with Search(model, *data, seed=seed, fit=fit) as search:
        search.run(trials)
        result = search.result()
    return {
        "metric": result.metric,
        "validation": {"default": result.default, "tuned": result.score},
        "settings": result.settings,
        "trials": result.trials,
        "search_cpu_seconds": round(time.process_time() - begin, 1),
    }


def table_of(results: dict[str, Any]) -> str:
    """The scores as a Markdown table."""
    lines = ["| set | split, score | default | tuned |", "|---|---|---:|---:|"]
    for name, one in results["sets"].items():
        valid = one["validation"]
        cells = f"{valid['default']:.4f} | {valid['tuned']:.4f}"
        lines.append(f"| {name} | validation, {one['metric']} | {cells} |")
        default, tuned = one["test"]["default"], one["test"]["tuned"]
        for score in default:
            lines.append(f"| {name} | test, {score} | {default[score]:.4f} | {tuned[score]:.4f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", help="as ILI-24 or JapaneseVowels")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=2023)
    parser.add_argument("--table", action="store_true", help="print the newest result instead")
    given = parser.parse_args()
    if given.table:
        newest = max(RESULTS.glob("tuning-*.json"))
        print(table_of(json.loads(newest.read_text(encoding="utf-8"))))
        return
    path = RESULTS / f"tuning-{date.today()}.json"
    results: dict[str, Any] = {"seed": given.seed, "versions": versions(), "sets": {}}
    if path.exists():
        results = json.loads(path.read_text(encoding="utf-8"))
    for name in given.sets:
        begin = time.process_time()
        base, _, h = name.partition("-")
        if h:
            found = forecasting(base, int(h), given.trials, given.seed)
        else:
            found = classification(base, given.trials, given.seed)
        found["commit"] = commit_of_package()
        found["cpu_seconds"] = round(time.process_time() - begin, 1)
        results["sets"][name] = found
        with whole_file(path) as file:
            file.write(json_text(results, indent=1))
        print(name, found["validation"], found["test"], found["cpu_seconds"], flush=True)


if __name__ == "__main__":
    main()
