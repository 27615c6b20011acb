"""How long the network of a small table should be trained, by its validation error.

    python benchmarks/evidence/longer.py --json benchmarks/results/longer-training.json

ILI, all horizons, two seeds. The validation rows choose; errors on the test rows are there to show
whether the choice holds. docs/design/choosing-the-epoch.md quotes the result.
"""

from __future__ import annotations

import time
from typing import Any

from record import start_record, write_record

from convtimenet.bench.models import forecaster
from convtimenet.bench.problems import ForecastProblem, load

RECIPES: dict[str, dict[str, Any]] = {
    "15 epochs, patience 4": {"epochs": 15, "patience": 4},
    "15 epochs": {"epochs": 15, "patience": 15},
    "40 epochs, half of them at the full rate, patience 10": {
        "epochs": 40, "patience": 10, "lr_hold": 20, "lr_decay": 0.85,
    },
    "40 epochs along a cosine": {"epochs": 40, "patience": None, "schedule": "cosine"},
}  # fmt: skip
HORIZONS, SEEDS = (24, 36, 48, 60), (2023, 1)


def main() -> None:
    """Measure and write."""
    path = start_record(__doc__)
    found: list[dict[str, Any]] = []
    for horizon in HORIZONS:
        problem = load("ILI", horizon, "honest", None)
        assert isinstance(problem, ForecastProblem)
        for seed in SEEDS:
            for name, training in RECIPES.items():
                begin = time.process_time()
                fitted = forecaster(problem, seed, preset="auto", training=training)
                seconds, chosen = time.process_time() - begin, fitted.chosen
                valid = chosen["validation"][chosen["best_epoch"] - 1]["mae"]
                line = {
                    "horizon": horizon,
                    "seed": seed,
                    "recipe": name,
                    "validation_mae": valid,
                    "best_epoch": chosen["best_epoch"],
                    "epochs": chosen["epochs"],
                    "granted": chosen["granted"],
                    "fit_cpu_s": round(seconds, 1),
                    "test": problem.scores(fitted.predict()),
                }
                print({one: line[one] for one in [*line][:6]}, flush=True)
                found.append(line)
    write_record(path, recipes=RECIPES, lines=found)


if __name__ == "__main__":
    main()
