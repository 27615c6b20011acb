"""What one network keeps of an ensemble that it was distilled from.

    python benchmarks/evidence/distil.py [--only ILI-24 ERing]

Runs the cells that have no line yet, and writes the table and the picture of
docs/evidence/distil.md. For each set the ensemble of quality="best" is fitted once and kept in
.cache/distil; its first member is the network of quality="auto" with the same seed, so that is
scored as it is; then the ensemble is distilled. Forecasters are scored on all test windows after
one training, as in accuracy.toml, classifiers on the test cases after both.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster
from convtimenet.bench.problems import CasesProblem, Problem, load
from convtimenet.data.tables import crop
from convtimenet.network.kernels import library

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "benchmarks" / "results" / "evidence" / "distil.jsonl"
MODELS = ROOT / ".cache" / "distil"
SETS = ("ILI-24", "ERing", "JapaneseVowels", "Exchange-96", "SelfRegulationSCP1")
SETS += ("HandMovementDirection", "ETTh1-96")
SEED = 2023


def problem_of(name: str) -> Problem:
    """The registered set of a name with its horizon."""
    set_name, _, horizon = name.partition("-")
    return load(set_name, int(horizon) if horizon else None, "honest")


def fitted_best(problem: Problem, folder: Path) -> tuple[Any, float]:
    """The ensemble, and the CPU seconds of its fit; from the folder if it is there."""
    seconds = folder.with_suffix(".json")
    kind = ConvTimeNetClassifier if isinstance(problem, CasesProblem) else ConvTimeNetForecaster
    if seconds.exists():
        return kind.load(folder, device="cpu"), json.loads(seconds.read_text())
    settings: dict[str, Any] = {"random_state": SEED, "verbose": 0, "device": "cpu"}
    begin = time.process_time()
    if isinstance(problem, CasesProblem):
        model: Any = ConvTimeNetClassifier(quality="best", **settings).fit(problem.train)
    else:
        model = ConvTimeNetForecaster(problem.horizon, quality="best", **settings)
        model.fit(*table_and_split(problem)[:1], split=table_and_split(problem)[1], refit=False)
    spent = round(time.process_time() - begin, 2)
    model.save(folder)
    seconds.write_text(json.dumps(spent))
    return model, spent


def table_and_split(problem: Any) -> tuple[Any, tuple[int, int]]:
    """The rows before the test split, and the ends of the training and the validation split."""
    return crop(problem.table, 0, problem.valid_end), (problem.train_end, problem.valid_end)


if __name__ == "__main__":
    torch.set_num_threads(1)
    library.warm_up()
    MODELS.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or SETS:
        model, spent = fitted_best(problem_of(name), MODELS / f"{name}-{SEED}")
        print(name, spent, model.history_.weights, datetime.now(UTC), flush=True)
