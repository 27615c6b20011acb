"""Forecasts and bounds after the end of every series, in the data's units and format.

Shape legend: `convtimenet._shapes`; S series, h steps to forecast, K columns of a channel: its
forecast and its bounds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convtimenet.config import TrainConfig
from convtimenet.data.forecast_tables import forecast_names, free_names, future_frame, key_names
from convtimenet.data.table_rows import select_series
from convtimenet.data.tables import Table
from convtimenet.data.windows import Exogenous, Windows
from convtimenet.devices import autocast
from convtimenet.errors import ConfigError
from convtimenet.estimators.base import finite
from convtimenet.estimators.forecasting.calibration import band_names
from convtimenet.estimators.forecasting.intervals import Bands, context_scale
from convtimenet.estimators.forecasting.panel import roll
from convtimenet.estimators.forecasting.reading import Reader
from convtimenet.network.memory import Parts
from convtimenet.progress import counted

__all__ = ["Request", "as_given", "check_steps", "forecast_series"]

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """A table to forecast, read and checked."""

    table: Table
    steps: int
    """Steps to forecast."""
    levels: tuple[float, ...] = ()
    """Levels of the intervals in per cent, ascending."""
    radii: tuple[np.ndarray, ...] = ()
    """(G, H) per level; see `convtimenet.estimators.forecasting.intervals`."""
    plan: Mapping[str, np.ndarray]
    """Covariates (S, ahead) of the rows ahead, see `Reader.contexts`."""
    notices: tuple[str, ...] = ()

    @property
    def kind(self) -> tuple[int, tuple[float, ...], int]:
        """What requests must share to be computed together: steps, levels, number of channels."""
        return self.steps, self.levels, len(self.table.channels)


def forecast_series(
    network: nn.Module, reader: Reader, settings: TrainConfig, requests: Sequence[Request]
) -> list[np.ndarray]:
    """Forecasts and bounds (S, h, C, K) of every series of each request, in the data's units. The
    network reads the series of all requests in common batches.

    Parameters
    ----------
    network
        Fused for inference.
    requests
        All of the same `Request.kind`.
    """
    steps, levels, C = requests[0].kind
    ahead, radii = reader.ahead(steps), requests[0].radii
    shape = (steps, C, 1 + 2 * len(levels))
    found = [np.empty((len(one.table.lengths), *shape)) for one in requests]
    parts = Parts("predicting")

    def compute(windows: Windows, index: Tensor) -> Callable[[slice], Tensor]:
        def some(part: slice) -> Tensor:
            answers = _scaled_forecasts(network, windows, index[part], steps, radii, reader)
            return answers.double().cpu()

        return some

    with torch.inference_mode(), autocast(reader.device, settings):
        for chunk in counted(list(_chunks(requests))):
            read = []
            for one, numbers in chunk:
                known = {name: rows[numbers] for name, rows in requests[one].plan.items()}
                table = select_series(requests[one].table, numbers)
                read.append(reader.contexts(table, ahead, known))
            windows = _joined([own for own, _ in read])
            order = torch.arange(len(windows), device=reader.device)
            scaled = [
                answer
                for index in counted(order.split(settings.batch_size))
                for answer in parts.run(len(index), compute(windows, index))
            ]
            sizes = [len(numbers) for _, numbers in chunk]
            answers = np.split(torch.cat(scaled, dim=1).numpy(), np.cumsum(sizes)[:-1], axis=1)
            for (one, numbers), (_, scaler), own in zip(chunk, read, answers, strict=True):
                for k, answer in enumerate(own):
                    found[one][numbers, ..., k] = scaler.invert(answer).swapaxes(1, 2)
    return [finite(one) for one in found]


def _chunks(requests: Sequence[Request]) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Numbers of requests and of their series, for at most `_CHUNK` series at a time."""
    chunk, left = [], _CHUNK
    for one, request in enumerate(requests):
        first, S = 0, len(request.table.lengths)
        while first < S:
            numbers = np.arange(first, min(S, first + left))
            chunk.append((one, numbers))
            first, left = first + len(numbers), left - len(numbers)
            if not left:
                yield chunk
                chunk, left = [], _CHUNK
    if chunk:
        yield chunk


def _joined(parts: Sequence[Windows]) -> Windows:
    """The windows of several tables, one after the other."""
    if len(parts) == 1:
        return parts[0]
    first, sizes = parts[0], [one.values.shape[1] for one in parts]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    known = None
    if any(one.mask is not None for one in parts):
        masks = [one.values.new_ones((), dtype=torch.bool).expand_as(one.values)
                 if one.mask is None else one.mask for one in parts]  # fmt: skip
        known = torch.cat(masks, dim=1)
    exogenous = None
    if others := [one.exogenous for one in parts if one.exogenous is not None]:
        ends = [one.bounds[1:] + at for one, at in zip(others, offsets[:-1], strict=True)]
        exogenous = Exogenous(
            hist=torch.cat([one.hist for one in others], dim=1),
            futr=torch.cat([one.futr for one in others], dim=1),
            stat=torch.cat([one.stat for one in others]),
            categories=torch.cat([one.categories for one in others]),
            bounds=torch.cat([others[0].bounds[:1], *ends]),
        )
    return Windows(
        torch.cat([one.values for one in parts], dim=1),
        torch.cat([one.starts + at for one, at in zip(parts, offsets[:-1], strict=True)]),
        first.context_length,
        first.horizon,
        known,
        first.masks,
        exogenous,
    )


def _scaled_forecasts(
    network: nn.Module,
    windows: Windows,
    index: Tensor,
    steps: int,
    radii: Sequence[np.ndarray],
    reader: Reader,
) -> Tensor:
    """Forecasts and bounds (K, B, C, h) of the windows `index`, in scaled units."""
    quantiles = reader.config.quantiles
    if not radii:
        return roll(network, windows, index, steps, quantiles)[None]
    batch = windows.batch(index)
    # in float64, so that rounding cannot put bounds of different levels in the wrong order
    scale = context_scale(batch.x.double(), batch.known, reader.usual_scale)
    bands = Bands(network(*batch.inputs).double(), scale, quantiles)
    sides = [bands.bounds(radius) for radius in radii]
    low, high = [side[0] for side in reversed(sides)], [side[1] for side in sides]
    return torch.stack([bands.point, *low, *high])[..., :steps]


def as_given(
    table: Table,
    values: np.ndarray,
    h: int,
    horizon: int,
    levels: Sequence[float],
    notices: Sequence[str] = (),
) -> Any:
    """Forecasts and bounds (S h, C K) in the format of the table they belong to.

    Parameters
    ----------
    h, horizon
        Steps forecast, and steps that the network was trained for.
    levels
        Levels of the intervals in per cent, ascending.
    notices
        Earlier notices, kept if the result is a `Table`.
    """
    bounds = band_names(levels)[1:]
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
    elif h > horizon:
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
