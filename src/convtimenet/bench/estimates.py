"""What a cell will cost, estimated from cells that have run."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from convtimenet.bench.matrix import Cell

__all__ = ["Costs"]

_PENALTY = 0.1
_WEIGHT_BESIDE = 0.05

Trait = tuple[str, object]


class Costs:
    """CPU seconds as a product of what the model and the data set cost: a least-squares fit to the
    logarithms of measured ones, with a small penalty so that what ran once tells little.

    Parameters
    ----------
    own
        Results of the matrix.
    beside
        Results of other matrices, with a small weight: they know sets that have not run here.
    """

    def __init__(self, own: Iterable[Mapping[str, Any]], beside: Iterable[Mapping[str, Any]]):
        self._known: dict[str, float] = {}
        rows: list[tuple[list[Trait], float, float]] = []
        for weight, results in ((1.0, own), (_WEIGHT_BESIDE, beside)):
            seconds: dict[str, list[float]] = defaultdict(list)
            traits: dict[str, list[Trait]] = {}
            for line in results:
                cell = Cell(**line["cell"])
                model = line.get("model") or {"entry": cell.model, "settings": cell.variant}
                key = _key(cell, model)
                seconds[key].append(sum(line["cpu_seconds"].values()))
                traits[key] = _traits(cell, model)
            middle = {key: statistics.median(one) for key, one in seconds.items()}
            self._known = {**middle, **self._known}
            rows += [(traits[key], math.log(max(one, 0.01)), weight) for key, one in middle.items()]
        self._effects = _fit(rows)

    def of(self, cell: Cell, model: Mapping[str, Any]) -> float | None:
        """Estimated CPU seconds of a cell; None if its model ran nowhere.

        Parameters
        ----------
        model
            Its entry and settings, as `Matrix.fingerprint`.
        """
        key, traits = _key(cell, model), _traits(cell, model)
        if key in self._known:
            return self._known[key]
        if traits[0] not in self._effects:
            return None
        return math.exp(sum(self._effects.get(trait, 0.0) for trait in traits))


def _key(cell: Cell, model: Mapping[str, Any]) -> str:
    return json.dumps([model["entry"], model["settings"], cell.where], sort_keys=True)


def _traits(cell: Cell, model: Mapping[str, Any]) -> list[Trait]:
    """What makes a cell dear or cheap; the first is what any estimate needs to know."""
    task = cell.horizon is None
    return [
        ("entry", (task, model["entry"])),
        ("settings", json.dumps([model["entry"], model["settings"]], sort_keys=True)),
        ("set", cell.dataset),
        ("where", cell.where),
        ("task", task),
    ]


def _fit(rows: list[tuple[list[Trait], float, float]]) -> dict[Trait, float]:
    """Effects of traits whose sums are nearest to the values, given each with its weight."""
    number: dict[Trait, int] = {}
    for traits, _, _ in rows:
        for trait in traits:
            number.setdefault(trait, len(number))
    x = np.zeros((len(rows), len(number)))
    for row, (traits, _, _) in enumerate(rows):
        x[row, [number[trait] for trait in traits]] = 1.0
    y = np.array([value for _, value, _ in rows])
    weights = np.array([weight for _, _, weight in rows])[:, None]
    # the level of a task is no deviation from anything, so nothing pulls it to zero
    penalty = [1e-6 if kind == "task" else _PENALTY for kind, _ in number]
    effects = np.linalg.solve(x.T @ (weights * x) + np.diag(penalty), x.T @ (weights[:, 0] * y))
    return dict(zip(number, effects.tolist(), strict=True))
