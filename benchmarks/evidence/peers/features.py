"""Classifiers that train no network, from aeon; cases are filled with zeros to equal length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convtimenet.bench.models import Fitted
from convtimenet.bench.problems import CasesProblem
from convtimenet.data.labelled.cases import Cases


def _fitted(classifier: Any, problem: CasesProblem) -> Fitted:
    values, labels = problem.filled("train")
    classifier.fit(values, labels)
    config = {"estimator": type(classifier).__name__} | {
        name: value
        for name, value in classifier.get_params(deep=False).items()
        if value is None or isinstance(value, (bool, int, float, str))
    }
    return Fitted(predict=lambda: classifier.predict(problem.filled("test")[0]), config=config)


def warm_up(model: str) -> None:
    """Have numba compile what a model needs, on eight cases of noise."""
    rng = np.random.default_rng(0)
    cases = Cases(
        values=rng.standard_normal((8, 2, 40)),
        lengths=np.full(8, 40),
        labels=np.repeat(["a", "b"], 4),
        notices=(),
    )
    problem = CasesProblem(name="noise", protocol="honest", train=cases, test=cases)
    MODELS[model](problem, 0).predict()


def minirocket(problem: CasesProblem, seed: int) -> Fitted:
    """MiniRocket (Dempster et al., KDD 2021) with its ridge classifier."""
    from aeon.classification.convolution_based import (  # pyright: ignore[reportMissingImports]
        MiniRocketClassifier,
    )

    return _fitted(MiniRocketClassifier(random_state=seed, n_jobs=1), problem)


def multirocket_hydra(problem: CasesProblem, seed: int) -> Fitted:
    """MultiRocket-Hydra (Dempster et al., 2023)."""
    from aeon.classification.convolution_based import (  # pyright: ignore[reportMissingImports]
        MultiRocketHydraClassifier,
    )

    return _fitted(MultiRocketHydraClassifier(random_state=seed, n_jobs=1), problem)


def quant(problem: CasesProblem, seed: int) -> Fitted:
    """QUANT (Dempster et al., 2024)."""
    from aeon.classification.interval_based import (  # pyright: ignore[reportMissingImports]
        QUANTClassifier,
    )

    return _fitted(QUANTClassifier(random_state=seed), problem)


def nearest_neighbour_dtw(problem: CasesProblem, seed: int) -> Fitted:
    """The nearest training case by dynamic time warping, all channels together, window 10 %."""
    from aeon.classification.distance_based import (  # pyright: ignore[reportMissingImports]
        KNeighborsTimeSeriesClassifier,
    )

    classifier = KNeighborsTimeSeriesClassifier(
        n_neighbors=1, distance="dtw", distance_params={"window": 0.1}, n_jobs=1
    )
    return _fitted(classifier, problem)


MODELS: dict[str, Callable[[CasesProblem, int], Fitted]] = {
    "minirocket": minirocket,
    "multirocket-hydra": multirocket_hydra,
    "quant": quant,
    "dtw": nearest_neighbour_dtw,
}
