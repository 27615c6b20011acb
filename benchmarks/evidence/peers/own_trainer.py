"""Networks of neuralforecast trained by neuralforecast itself, on the same rows, scored on the same
test windows. Its loss, sampling of windows and early stopping are its own."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import pandas as pd

from convtimenet.bench.models import Fitted
from convtimenet.bench.problems import ForecastProblem


def neuralforecast(problem: ForecastProblem, seed: int, *, name: str, **settings: Any) -> Fitted:
    """A model of neuralforecast by its class name, with the settings of its constructor.

    The validation rows stop the training as its ``early_stop_patience_steps`` says; weights stay
    those of the last step, as its trainer leaves them.
    """
    from neuralforecast import NeuralForecast, models  # pyright: ignore[reportMissingImports]

    assert problem.train_end is not None
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    C, T = problem.scaled.shape
    stamps = pd.date_range("2000-01-01", periods=T, freq="h")  # only their order matters
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat([f"{c:04d}" for c in range(C)], T),
            "ds": np.tile(stamps, C),
            "y": problem.scaled.numpy().ravel(),
        }
    )
    quiet = {
        "enable_progress_bar": False, "logger": False, "enable_checkpointing": False,
        "enable_model_summary": False, "accelerator": "cpu",
    }  # fmt: skip
    model = getattr(models, name)(h=problem.horizon, random_seed=seed, **settings, **quiet)
    trainer = NeuralForecast(models=[model], freq="h")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = trainer.cross_validation(
            frame,
            val_size=problem.valid_end - problem.train_end,
            test_size=problem.test_end - problem.valid_end,
            n_windows=None,
        )
    found = found.sort_values(["cutoff", "unique_id", "ds"])
    shape = (-1, C, problem.horizon)
    assert np.array_equal(found["y"].to_numpy(np.float32).reshape(shape), problem.truth())
    predicted = found[name].to_numpy(np.float32).reshape(shape)
    return Fitted(
        predict=lambda: predicted,
        parameters=sum(p.numel() for p in trainer.models[0].parameters()),
        config={"model": name, **settings},
        chosen={"steps": int(trainer.models[0].trainer.global_step)},
    )
