"""Statistical forecasters of single series, from statsforecast."""

from __future__ import annotations

from typing import Any

import numpy as np

from convtimenet.bench.models import Fitted
from convtimenet.bench.problems import ForecastProblem


def auto_ets(problem: ForecastProblem, seed: int) -> Fitted:
    """Exponential smoothing, its form chosen by AICc."""
    return _each("AutoETS", problem)


def auto_theta(problem: ForecastProblem, seed: int) -> Fitted:
    """The Theta method, its form chosen by AICc."""
    return _each("AutoTheta", problem)


def _each(name: str, problem: ForecastProblem) -> Fitted:
    """One model for each channel, fitted to the rows before the horizon."""
    from statsforecast import models  # pyright: ignore[reportMissingImports]

    rows = problem.table.values[: problem.valid_end].T
    season = problem.season if problem.season < rows.shape[1] // 2 else 1
    fitted: list[Any] = [getattr(models, name)(season_length=season).fit(y) for y in rows]

    def predict() -> np.ndarray:
        found = np.stack([one.predict(problem.horizon)["mean"] for one in fitted])
        return problem.scaler.apply(found)[None]

    return Fitted(predict=predict, config={"model": name, "season_length": season})


def warm_up(model: str) -> None:
    """Have numba compile before the clock runs."""
    from statsforecast import models  # pyright: ignore[reportMissingImports]

    y = np.random.default_rng(0).standard_normal(60) + 10
    for name in ("AutoETS", "AutoTheta"):
        getattr(models, name)(season_length=4).fit(y).predict(4)
