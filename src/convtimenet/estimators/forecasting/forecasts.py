"""Forecasts and bounds after the end of every series, in the data's units and format.

Shape legend: `convtimenet._shapes`; S series, h steps to forecast, K columns of a channel: its
forecast and its bounds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convtimenet.config import TrainConfig
from convtimenet.data.future import forecast_names, free_names, future_frame, key_names
from convtimenet.data.tables import Table, select_series
from convtimenet.data.windows import Windows
from convtimenet.devices import autocast
from convtimenet.errors import ConfigError
from convtimenet.estimators.base import finite
from convtimenet.estimators.forecasting.intervals import (
    Bands,
    band_names,
    check_levels,
    context_scale,
)
from convtimenet.estimators.forecasting.panel import roll
from convtimenet.estimators.forecasting.reading import Reader
from convtimenet.network.memory import Parts
from convtimenet.progress import counted

__all__ = ["as_given", "check_steps", "forecast_series"]

log = logging.getLogger(__name__)

_CHUNK = 4096  # series on the device at a time


def check_steps(what: str, steps: Any) -> None:
    """Check a number of steps.

    Raises
    ------
    ConfigError
        If it is not an integer of at least 1.
    """
    if not isinstance(steps, (int, np.integer)) or isinstance(steps, bool) or steps < 1:
        raise ConfigError(f"{what} must be a whole number of at least 1, found {steps!r}")


def forecast_series(
    network: nn.Module,
    reader: Reader,
    settings: TrainConfig,
    table: Table,
    steps: int,
    radii: Sequence[np.ndarray],
    plan: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Forecasts and bounds (S, h, C, K) of every series of a table, in the data's units.

    Parameters
    ----------
    network
        Fused for inference.
    radii
        (G, H) per level, ascending; see `convtimenet.estimators.forecasting.intervals`.
    plan
        Covariates (S, ahead) of the rows ahead, see `Reader.contexts`.
    """
    config, S = reader.config, len(table.lengths)
    ahead = reader.ahead(steps)
    found = np.empty((S, steps, len(table.channels), 1 + 2 * len(radii)))
    parts = Parts("predicting")

    def compute(windows: Windows, index: Tensor) -> Callable[[slice], Tensor]:
        def some(part: slice) -> Tensor:
            answers = _scaled_forecasts(
                network, windows, index[part], steps, radii, config.quantiles
            )
            return answers.double().cpu()

        return some

    with torch.inference_mode(), autocast(reader.device, settings):
        for first in counted(range(0, S, _CHUNK)):
            numbers = np.arange(first, min(S, first + _CHUNK))
            known = {name: rows[numbers] for name, rows in plan.items()}
            windows, scaler = reader.contexts(select_series(table, numbers), ahead, known)
            order = torch.arange(len(windows), device=reader.device)
            scaled = [
                answer
                for index in counted(order.split(settings.batch_size))
                for answer in parts.run(len(index), compute(windows, index))
            ]
            for k, answers in enumerate(torch.cat(scaled, dim=1).numpy()):
                found[numbers, ..., k] = scaler.invert(answers).swapaxes(1, 2)
    return finite(found)


def _scaled_forecasts(
    network: nn.Module,
    windows: Windows,
    index: Tensor,
    steps: int,
    radii: Sequence[np.ndarray],
    quantiles: tuple[float, ...],
) -> Tensor:
    """Forecasts and bounds (K, B, C, h) of the windows `index`, in scaled units."""
    if not radii:
        return roll(network, windows, index, steps, quantiles)[None]
    batch = windows.batch(index)
    # in float64, so that rounding cannot put bounds of different levels in the wrong order
    scale = context_scale(batch.x.double(), batch.known)
    bands = Bands(network(*batch.inputs).double(), scale, quantiles)
    sides = [bands.bounds(radius) for radius in radii]
    low, high = [side[0] for side in reversed(sides)], [side[1] for side in sides]
    return torch.stack([bands.point, *low, *high])[..., :steps]


def as_given(
    table: Table,
    values: np.ndarray,
    h: int | None,
    horizon: int,
    level: Any,
    notices: Sequence[str] = (),
) -> Any:
    """Forecasts and bounds (S h, C K) in the format of the table they belong to.

    Parameters
    ----------
    h
        Steps to forecast as the user gave them, None for the trained `horizon`.
    level
        Levels in per cent, None for forecasts without intervals.
    notices
        Earlier notices, kept if the result is a `Table`.
    """
    bounds = () if level is None else band_names(check_levels(level))[1:]
    if bounds and table.origin.kind == "numpy":
        parts = np.moveaxis(values.reshape(len(values), -1, 1 + len(bounds)), -1, 0)
        return dict(zip(["forecast", *bounds], parts, strict=True))
    new_notices: list[str] = []
    columns, rolled = forecast_names(table), {}
    if bounds:
        made = [f"{one}-{bound}" for one in columns for bound in bounds]
        free, new_notices = free_names(made, [*key_names(table), *columns])
        G = len(bounds)
        columns = [
            name for i, one in enumerate(columns) for name in (one, *free[i * G : (i + 1) * G])
        ]
    elif h is not None and h > horizon:
        new_notices.append(
            f"steps {horizon + 1} to {h} are forecast from the model's own forecasts of earlier "
            "steps"
        )
        if table.origin.kind not in ("file", "numpy"):
            (name,), renamed = free_names(["rolled"], [*key_names(table), *columns])
            rolled[name] = np.arange(h) >= horizon
            new_notices += renamed
    for notice in new_notices:
        log.warning(notice)
    found = future_frame(table, values, columns, rolled=rolled)
    return replace(found, notices=(*notices, *new_notices)) if isinstance(found, Table) else found
