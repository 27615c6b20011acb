"""Models that forecast without training, from packages that ship their weights."""

from __future__ import annotations

import numpy as np
import torch

from convtimenet.bench.models import Fitted
from convtimenet.bench.problems import ForecastProblem

_AT_ONCE = 64  # windows


def fracast(problem: ForecastProblem, seed: int) -> Fitted:
    """Fracast-0, its median. It reads up to 2,048 steps and answers in blocks of 48. Its training
    data are public collections, ETT among them."""
    from fracast import FracastModel  # pyright: ignore[reportMissingImports]

    model = FracastModel.from_pretrained(weights="fp32")
    middle = model.quantiles.index(0.5)

    def of_rows(rows: np.ndarray) -> np.ndarray:
        return model.forecast_batch(rows, horizon=problem.horizon)[..., middle]

    def predict() -> np.ndarray:
        windows = problem.windows("test", min(model.context_length, problem.valid_end))
        found = []
        for index in torch.arange(len(windows)).split(_AT_ONCE):
            x = windows.batch(index).x
            found.append(of_rows(x.flatten(0, 1).numpy()).reshape(*x.shape[:2], -1))
        return np.concatenate(found)

    parameters = sum(p.numel() for part in (model.core, model.head) for p in part.parameters())
    return Fitted(predict=predict, parameters=parameters, config={"model": "fracast 0.1.0 fp32"})


def warm_up(model: str) -> None:
    """Import the package before the clock runs."""
    import fracast  # noqa: F401  # pyright: ignore[reportMissingImports]
