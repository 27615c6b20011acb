"""Closed-form ridge regression on instance-normalised contexts: a strong linear baseline.

Each window of each channel is one case. Its normalised context times one matrix (L + 1, H), shared
by all channels, gives the normalised forecast. The matrix minimises the squared errors of the
training windows in scaled units (with mean and deviation restored), plus a penalty on its squares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from convtimenet.bench.models import Fitted
from convtimenet.bench.problems import ForecastProblem
from convtimenet.data.windows import Windows
from convtimenet.errors import DataError

__all__ = ["ridge"]

CONTEXTS = (336, 512, 720)
SHORT = (36, 52, 104)
"""Contexts for tables with fewer training rows than ten times the shortest of `CONTEXTS`."""
PENALTIES = tuple(10.0**power for power in range(-4, 6))
"""Multiplied by the number of cases / 1000."""
_FLOOR = 1e-5
_BATCH = 256  # windows


def ridge(
    problem: ForecastProblem,
    seed: int,
    *,
    contexts: Sequence[int] = (),
    penalties: Sequence[float] = PENALTIES,
) -> Fitted:
    """Fit a ridge whose context and penalty minimise the squared error on the validation windows.

    Raises
    ------
    DataError
        If there are too few training rows for a window of the shortest context.
    """
    if problem.train_end is None:
        raise DataError(
            "expected a training and a validation split for the ridge, found none; give a split"
        )
    short = problem.train_end < 10 * CONTEXTS[0]
    contexts = [
        context
        for context in contexts or (SHORT if short else CONTEXTS)
        if context + problem.horizon <= problem.train_end
    ]
    if not contexts:
        raise DataError(
            f"{problem.train_end} training rows are too few for a window; give shorter contexts"
        )
    found = [_best(problem, context, penalties) for context in contexts]
    _, penalty, weights = min(found, key=lambda one: one[0])
    L = len(weights) - 1

    def predict() -> np.ndarray:
        return np.concatenate(
            [
                (normal(x) @ weights * deviation + mean).float().numpy()
                for x, _, mean, deviation in _cases(problem.windows("test", L))
            ]
        )

    return Fitted(
        predict=predict,
        parameters=weights.numel(),
        macs=lambda: weights.numel() * len(problem.scaled),
        config={"contexts": list(contexts), "penalties": list(penalties)},
        chosen={
            "context": L,
            "penalty": penalty,
            "validation": {str(len(w) - 1): e for e, _, w in found},
        },
    )


def normal(x: torch.Tensor) -> torch.Tensor:
    """Append a one to the contexts, for the intercept."""
    return torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)


def _best(
    problem: ForecastProblem, context: int, penalties: Sequence[float]
) -> tuple[float, float, torch.Tensor]:
    """Validation error, penalty and weights (L + 1, H) of the best penalty."""
    square = torch.zeros(context + 1, context + 1, dtype=torch.float64)
    cross = torch.zeros(context + 1, problem.horizon, dtype=torch.float64)
    count = 0
    for x, y, mean, deviation in _cases(problem.windows("train", context)):
        inputs = (normal(x) * deviation).flatten(0, 1)
        square += inputs.T @ inputs
        cross += inputs.T @ (y - mean).flatten(0, 1)
        count += len(inputs)
    values, vectors = torch.linalg.eigh(square)
    turned = vectors.T @ cross
    candidates = [
        vectors @ (turned / (values.clamp(min=0) + penalty * count / 1000)[:, None])
        for penalty in penalties
    ]
    errors = torch.zeros(len(penalties), dtype=torch.float64)
    seen = 0
    for x, y, mean, deviation in _cases(problem.windows("validation", context)):
        inputs = normal(x)
        for number, weights in enumerate(candidates):
            errors[number] += (inputs @ weights * deviation + mean - y).square().sum()
        seen += y.numel()
    best = int(errors.argmin())
    return float(errors[best] / seen), float(penalties[best]), candidates[best]


def _cases(windows: Windows) -> Iterator[tuple[torch.Tensor, ...]]:
    """Normalised contexts (B, C, L) and targets (B, C, H) in float64, mean and deviation of the
    contexts (B, C, 1)."""
    for index in torch.arange(len(windows)).split(_BATCH):
        batch = windows.batch(index)
        x, y = batch.x.double(), batch.y.double()
        mean = x.mean(-1, keepdim=True)
        deviation = (x.var(-1, keepdim=True, unbiased=False) + _FLOOR).sqrt()
        yield (x - mean) / deviation, y, mean, deviation
