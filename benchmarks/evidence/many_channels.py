"""One channel of many that tells the classes apart: random patches with one and several sets of
channels in each group, and MiniRocket.

    python benchmarks/evidence/many_channels.py --json benchmarks/results/many-channels.json

Generated cases of 60 steps: noise in all channels, and in the first a sine of two or four periods,
by class. 60 cases to fit, 100 to score, ten draws. docs/design/random-patches.md quotes the result.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from aeon.classification.convolution_based import (  # pyright: ignore[reportMissingImports]
    MiniRocketClassifier,
)
from record import start_record, write_record

from convtimenet import ConvTimeNetClassifier

CHANNELS, DRAWS, FITTED, SCORED, STEPS = (10, 20, 50, 100, 200), 10, 60, 100, 60


def models(seed: int) -> dict[str, Any]:
    """Unfitted classifiers by name."""
    own = {"quality": "fast", "verbose": 0, "random_state": seed}
    return {
        "fast, one set": ConvTimeNetClassifier(**own, model={"channel_sets": 1}),
        "fast": ConvTimeNetClassifier(**own),
        "MiniRocket": MiniRocketClassifier(random_state=seed),
    }


def cases(n: int, channels: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Values (n, channels, STEPS) and two classes in turn."""
    y = np.arange(n) % 2
    values = draw.normal(scale=0.5, size=(n, channels, STEPS))
    periods, phase = 2 + 2 * y[:, None], draw.uniform(0, 2 * np.pi, size=(n, 1))
    values[:, 0] += np.sin(2 * np.pi * periods * np.linspace(0, 1, STEPS) + phase)
    return values, y


def main() -> None:
    """Measure and write."""
    path = start_record(__doc__)
    start = cases(FITTED, 2, np.random.default_rng(0))
    for model in models(0).values():  # compiled, imported
        model.fit(*start)
    found = []
    for channels in CHANNELS:
        scores: dict[str, list[float]] = {}
        seconds: dict[str, list[float]] = {}
        for seed in range(DRAWS):
            draw = np.random.default_rng([channels, seed])
            (x, y), (x_new, y_new) = cases(FITTED, channels, draw), cases(SCORED, channels, draw)
            for name, model in models(seed).items():
                begin = time.process_time()
                model.fit(x, y)
                seconds.setdefault(name, []).append(time.process_time() - begin)
                scores.setdefault(name, []).append(float(np.mean(model.predict(x_new) == y_new)))
        for name, own in scores.items():
            line = {"channels": channels, "model": name, "accuracy": round(float(np.mean(own)), 3)}
            line |= {"accuracies": own, "fit_cpu_s": round(float(np.median(seconds[name])), 3)}
            print({name: one for name, one in line.items() if name != "accuracies"}, flush=True)
            found.append(line)
    write_record(path, lines=found)


if __name__ == "__main__":
    main()
