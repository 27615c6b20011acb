"""Models that need only this package: ConvTimeNet and the naive forecast.

A model is a function ``(problem, seed, **settings) -> Fitted``. The ridge is in
`convtimenet.bench.ridge`, models of other packages are in benchmarks/evidence/peers. None of them
reads test targets.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convtimenet.bench.problems import CasesProblem, ForecastProblem
from convtimenet.data.table_rows import crop
from convtimenet.estimators.base import ConvTimeNetEstimator
from convtimenet.estimators.classifier import ConvTimeNetClassifier
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.network.kernels import library
from convtimenet.network.model import Block, count_parameters
from convtimenet.network.random_patches import PatchFeatures
from convtimenet.training.losses import point_forecast
from convtimenet.training.metrics import outputs

__all__ = [
    "Fitted",
    "classifier",
    "fitted_classifier",
    "fitted_forecaster",
    "forecaster",
    "forecasts_of",
    "macs_of",
    "seasonal_naive",
    "warm_up",
]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A fitted model.

    Attributes
    ----------
    predict
        Returns the forecasts of all test windows (n, C, H) in scaled units, or the labels of all
        test cases (n,).
    parameters
        Number of fitted parameters; None if not counted.
    macs
        Counts the multiply-adds of one forecast of all channels, or of one case; gives None if they
        are not counted. Called when the clocks have stopped.
    config
        Every setting, as plain JSON values.
    chosen
        What was selected on the validation split, such as the epoch or a penalty.
    notices
        Notices of the model.
    """

    predict: Callable[[], np.ndarray]
    parameters: int | None = None
    macs: Callable[[], int | None] = lambda: None
    config: Mapping[str, Any] = field(default_factory=dict)
    chosen: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def warm_up(model: str) -> None:
    """Do what only the first fit of a process does: load the fused CPU kernels, compile them if no
    built ones are installed, and import packages that are imported where they are used."""
    library.warm_up()
    cases = np.random.default_rng(0).standard_normal((8, 2, 40))
    fast: dict[str, Any] = {"quality": "fast", "random_state": 0, "verbose": 0}
    ConvTimeNetClassifier(**fast).fit(cases, np.repeat(["a", "b"], 4))
    ConvTimeNetForecaster(4, **fast).fit(cases[0].T)


def seasonal_naive(problem: ForecastProblem, seed: int) -> Fitted:
    """Repeat the last season."""
    return Fitted(
        predict=problem.naive, parameters=0, macs=lambda: 0, config={"season": problem.season}
    )


def forecaster(
    problem: ForecastProblem, seed: int, *, preset: str = "paper", **settings: Any
) -> Fitted:
    """`ConvTimeNetForecaster` with the paper's settings for the set ("paper") or its defaults."""
    preset = problem.name if preset == "paper" else preset
    return fitted_forecaster(ConvTimeNetForecaster, problem, seed, preset=preset, **settings)


def classifier(
    problem: CasesProblem, seed: int, *, preset: str = "paper", **settings: Any
) -> Fitted:
    """`ConvTimeNetClassifier` with the paper's settings for the set ("paper") or its defaults."""
    preset = problem.name if preset == "paper" else preset
    return fitted_classifier(ConvTimeNetClassifier, problem, seed, preset=preset, **settings)


def fitted_forecaster(
    kind: type[ConvTimeNetForecaster], problem: ForecastProblem, seed: int, **settings: Any
) -> Fitted:
    """Fit our forecaster, or one of another network, to a problem.

    If the problem has a split, validation selects the epoch, and that network forecasts the test
    windows without a refit. Without a split, the forecaster is fitted with its default behaviour
    to the rows before the horizon and forecasts once.
    """
    model = kind(problem.horizon, random_state=seed, verbose=0, **_with_protocol(problem, settings))
    known = crop(problem.table, 0, problem.valid_end)
    if problem.train_end is None:
        model.fit(known, resume=problem.checkpoints)

        def once() -> np.ndarray:
            return problem.scaler.apply(model.predict(known).values.T)[None]

        return _fitted(model, once)
    split = problem.train_end, problem.valid_end
    model.fit(known, split=split, resume=problem.checkpoints, refit=False)
    return _fitted(model, lambda: forecasts_of(model, problem))


def forecasts_of(model: ConvTimeNetForecaster, problem: ForecastProblem) -> np.ndarray:
    """(n, C, H) the forecasts of the test windows in the problem's units, each read as `evaluate`
    reads it: networks may read values that are scaled otherwise than those of the problem."""
    panel, windows = model.windows(problem.table, problem.valid_end, problem.test_end)
    windows.starts = windows.starts[: len(problem.windows("test", 1))]  # under the paper protocol
    found = outputs(model.fused_, windows, model.train_config_.batch_size, windows.starts.device)
    quantiles = model.network_.config.quantiles
    points = torch.cat([point_forecast(output, quantiles) for output, _ in found]).cpu().numpy()
    own, scored = panel.scaler, problem.scaler
    # exactly the same numbers where both are scaled alike
    found = points * (own.scale / scored.scale) + (own.centre - scored.centre) / scored.scale
    return found.astype(np.float32)


def fitted_classifier(
    kind: type[ConvTimeNetClassifier], problem: CasesProblem, seed: int, **settings: Any
) -> Fitted:
    """Fit our classifier, or one of another network, to a problem.

    A stratified validation split of the training cases selects the number of epochs, for which all
    of them are then trained. Under the paper protocol the test cases select the epoch (SPEC
    section 6).
    """
    model = kind(random_state=seed, verbose=0, **_with_protocol(problem, settings))
    valid = (problem.test, problem.test.labels) if problem.protocol == "paper" else None
    model.fit(problem.train, valid=valid, resume=problem.checkpoints)
    return _fitted(model, lambda: model.predict(problem.test))


def _with_protocol(
    problem: ForecastProblem | CasesProblem, settings: Mapping[str, Any]
) -> dict[str, Any]:
    training = {**settings.get("training", {}), "protocol": problem.protocol}
    return {**settings, "training": training, "device": "cpu"}


def _fitted(model: ConvTimeNetEstimator, predict: Callable[[], np.ndarray]) -> Fitted:
    config, history = model.network_.config, model.history_
    # of a forecaster the config has none: each channel is forecast alone
    channels = len(model.channels_) if isinstance(model, ConvTimeNetForecaster) else config.channels

    def macs() -> int:
        network = copy.deepcopy(model.network_).eval()
        return macs_of(network, torch.zeros(1, channels, config.context_length))

    return Fitted(
        predict=predict,
        parameters=count_parameters(model.network_),
        macs=macs,
        config={
            "estimator": type(model).__name__,
            "model": config.to_dict(),
            "training": model.train_config_.to_dict(),
        },
        chosen={
            "best_epoch": history.best_epoch,
            "epochs": len(history.epochs),
            "stopped": history.stopped,
            "granted": history.granted,
            "validation": [epoch.valid for epoch in history.epochs],
            **({"weights": history.weights} if history.weights else {}),
        },
        notices=model.notices_,
    )


def macs_of(network: nn.Module, *inputs: torch.Tensor) -> int:
    """Multiply-adds of one call as torch counts them, without our fused CPU kernels.

    Our depthwise convolutions count as the banded matrix products that compute them.
    """
    for module in network.modules():
        if isinstance(module, (Block, PatchFeatures)):
            module.native = False
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(*inputs)
    return counter.get_total_flops() // 2
