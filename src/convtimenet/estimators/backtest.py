"""Backtests: forecasts from several cut-off times in the past, beside a seasonal-naive model's.

The result has Nixtla's form, one row per series, cut-off and time step, so that their
``utilsforecast.evaluation.evaluate`` takes it as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor, nn

from convtimenet import scores
from convtimenet.config import TrainConfig
from convtimenet.data.frequency import season_of
from convtimenet.data.split import hold_back
from convtimenet.data.tables import MODEL, NAIVE, Table, crop, pad_front, stamps
from convtimenet.data.windows import Scaler
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.intervals import (
    Bands,
    Calibration,
    band_names,
    calibrate,
    check_levels,
    context_scale,
)
from convtimenet.estimators.panel import Panel
from convtimenet.network.model import ConvTimeNet


class Forecaster(Protocol):
    """What a backtest needs of an estimator."""

    h: int
    scale: bool
    futr_exog: Sequence[str] | None
    network_: ConvTimeNet
    train_config_: TrainConfig

    def fit(self, X: Any) -> Any: ...

    def read(self, X: Any) -> Table: ...

    def adapt(self, table: Table) -> Table: ...

    def scaler_for(self, table: Table) -> Scaler: ...

    def forecast_table(
        self, table: Table, h: int | None = None, level: Any = None, future: Any = None
    ) -> np.ndarray: ...


class SeasonalNaive(nn.Module):
    """Repeats the last `season` steps of a context (B, C, L) over a horizon (B, C, H)."""

    def __init__(self, season: int, horizon: int):
        super().__init__()
        self.season, self.horizon = season, horizon

    def forward(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        whole = -(-self.horizon // self.season)
        return x[..., -self.season :].repeat(1, 1, whole)[..., : self.horizon]


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """Forecasts of the past and their scores.

    Attributes
    ----------
    frame
        One row per series, cut-off and step: id, time, "cutoff", the truth, "ConvTimeNet" and
        "SeasonalNaive", each followed by its bounds where levels were given. A frame of the
        caller's library; for a file or an array a dict of columns.
    summary
        For "ConvTimeNet" and "SeasonalNaive": "mse", "mae", "rmse", "smape", "mase", and with
        levels "coverage-80" and "width-80" for each and "pinball", the mean over all bounds. Over
        all known values; "mase" is the mean over the series that do not repeat themselves exactly.
    season
        Steps that the seasonal-naive forecaster repeats.
    """

    frame: Any
    summary: dict[str, dict[str, float]]
    season: int


def backtest(
    model: Forecaster,
    X: Any,
    *,
    n_windows: int = 1,
    step_size: int | None = None,
    refit: bool | int = False,
    level: Any = None,
    season: int | None = None,
) -> Backtest:
    """Forecast the end of every series as if it were not known yet.

    Parameters
    ----------
    model
        Its settings are used; a copy is fitted, `model` stays as it is.
    X
        A table, as for ``fit``. Series of a long table keep their ids, with "/<channel>" behind
        them where there are several channels; of a wide table each channel is a series, with
        "unique_id", "ds" and "y" as columns.
    n_windows
        Cut-offs: the last one lies a horizon before the end of each series.
    step_size
        Steps from one cut-off to the next; by default the horizon.
    refit
        False fits once, to what lies before the first cut-off; True before every cut-off, a number
        before every so many.
    level
        Per cents of intervals, such as ``[80, 95]``.
    season
        Steps that the seasonal-naive forecaster repeats; by default those of a day, week or year,
        as the step suggests (`season_of`).

    Raises
    ------
    ConfigError
        If a number is out of range.
    DataError
        If the table is too short for the windows, or cannot be used.
    """
    table = model.read(X)
    for what, number in (("n_windows", n_windows), ("step_size", step_size), ("season", season)):
        if number is not None and (isinstance(number, bool) or number != int(number) or number < 1):
            raise ConfigError(f"{what} must be a whole number of at least 1, found {number!r}")
    if int(refit) < 0:
        raise ConfigError(f"refit must be True, False or a number of windows, found {refit!r}")
    h, every = model.h, int(refit)
    step = h if step_size is None else step_size
    season = season_of(table.frequency) if season is None else season
    levels = None if level is None else check_levels(level)
    past = table.lengths - h - (n_windows - 1) * step
    if (past < 2).any():
        raise DataError(
            f"{n_windows} windows of {h} steps, {step} apart, take {h + (n_windows - 1) * step} "
            f"rows of each series and leave none to learn from: the shortest has "
            f"{table.lengths.min()}; ask for fewer windows or leave short series out"
        )
    fitted: Any = clone(model)
    naive = None
    parts = []
    for number in range(n_windows):
        end = past + number * step
        known = crop(table, 0, end)
        if number == 0 or (every and number % every == 0):
            fitted.fit(known)
            naive = _Naive(fitted, known, season, levels or ())
        assert naive is not None
        # what was known ahead stands in the rows behind the cut-off
        future = table if fitted.futr_exog else None
        ours = fitted.forecast_table(fitted.adapt(known), level=levels, future=future)
        parts.append(_Part(end, ours, naive.forecast(known)))
    columns = _columns(table, h, levels, parts)
    return Backtest(
        frame=_frame(table, columns),
        summary=_summary(table, past, columns, levels or (), season),
        season=season,
    )


@dataclass(frozen=True)
class _Part:
    """One cut-off: its row (S,) in each series, and forecasts (S h, C K) of both models."""

    end: np.ndarray
    ours: np.ndarray
    naive: np.ndarray


class _Naive:
    """The seasonal-naive forecaster, with intervals from the rows that the network's come from."""

    def __init__(
        self,
        fitted: Forecaster,
        table: Table,
        season: int,
        levels: Sequence[float],
    ):
        self.fitted, self.levels = fitted, levels
        self.network = SeasonalNaive(season, fitted.h)
        L = fitted.network_.config.context_length
        self.reads = max(season, L)
        self.calibration: Calibration | None = None
        if levels:
            fraction = fitted.train_config_.validation_fraction
            held_back, _ = hold_back(table, fraction, L, fitted.h)
            least = self.reads + fitted.h if table.long else 0
            scaler, cpu = fitted.scaler_for(table), torch.device("cpu")
            panel = Panel(table, scaler, least, masks=False, device=cpu)
            windows = panel.windows(self.reads, fitted.h, held_back, table.lengths)
            self.calibration = calibrate(
                self.network, windows, (), 1024, cpu, shared=not fitted.scale
            )

    def forecast(self, table: Table) -> np.ndarray:
        """(S h, C K) as `Forecaster.forecast_table` gives it."""
        S, C = len(table.lengths), len(table.channels)
        recent = pad_front(crop(table, table.lengths - self.reads, table.lengths), self.reads)
        x = recent.values.reshape(S, self.reads, C).swapaxes(1, 2)
        scaler = self.fitted.scaler_for(table)
        scale = context_scale(torch.from_numpy(scaler.apply(x))) * torch.from_numpy(scaler.scale)
        bands = Bands(self.network(torch.from_numpy(x)), scale, ())
        found = [bands.point]
        if self.calibration is not None:
            sides = [bands.bounds(self.calibration.radius(one)) for one in self.levels]
            found += [low for low, _ in reversed(sides)] + [high for _, high in sides]
        return torch.stack(found, -1).numpy().swapaxes(1, 2).reshape(-1, C * len(found))


def _columns(
    table: Table, h: int, levels: Sequence[float] | None, parts: Sequence[_Part]
) -> dict[str, np.ndarray]:
    """Rows by series, channel, cut-off and step: each column (S, C, windows, h)."""
    S, C, W = len(table.lengths), len(table.channels), len(parts)
    names = band_names(levels or ())
    shape = (S, C, W, h)
    ids = np.empty((S, C), dtype=object)
    for s, c in np.ndindex(S, C):
        ids[s, c] = table.ids[s] if table.long else table.channels[c]
        if table.long and C > 1:
            ids[s, c] = f"{table.ids[s]}/{table.channels[c]}"
    at = np.stack([part.end for part in parts], 1) + table.bounds[:-1, None]  # (S, W)
    rows = at[..., None] + np.arange(h)
    truth = table.values[rows]
    if table.known is not None:
        truth = np.where(table.known[rows], truth, np.nan)
    found = {
        "id": np.broadcast_to(ids[:, :, None, None], shape),
        "time": np.broadcast_to(table.times[rows][:, None], shape),
        "cutoff": np.broadcast_to(table.times[at - 1][:, None, :, None], shape),
        "y": truth.transpose(0, 3, 1, 2),
    }
    for model in ("ours", "naive"):
        stacked = np.stack([getattr(part, model).reshape(S, h, C, -1) for part in parts])
        for k, name in enumerate(names):
            label = {"ours": MODEL, "naive": NAIVE}[model]
            found[f"{label}-{name}" if name else label] = stacked[..., k].transpose(1, 3, 0, 2)
    return found


def _frame(table: Table, columns: dict[str, np.ndarray]) -> Any:
    """Columns as the caller's kind of frame, under the caller's names for a long table."""
    id_name, time_name = table.id_name or "unique_id", table.time_name if table.long else "ds"
    y = table.channels[0] if table.long and len(table.channels) == 1 else "y"
    named = {id_name: "id", time_name: "time", "cutoff": "cutoff", y: "y"}
    flat: dict[str, Any] = {new: columns[old].reshape(-1) for new, old in named.items()}
    flat |= {name: c.reshape(-1) for name, c in columns.items() if name not in named.values()}
    if table.origin.kind in ("file", "numpy"):
        return flat
    import narwhals.stable.v2 as nw

    backend: Any = table.origin.kind
    for name in (time_name, "cutoff"):
        flat[name] = stamps(table, name, flat[name])
    as_given = table.long and len(table.channels) == 1
    kind = table.origin.id_dtype if as_given else None
    ids = flat[id_name] if as_given else flat[id_name].astype(str)
    flat[id_name] = nw.new_series(id_name, ids.tolist(), kind, backend=backend)
    series = {name: one for name, one in flat.items() if isinstance(one, nw.Series)}
    numbers = {name: one for name, one in flat.items() if name not in series}
    frame = nw.from_dict(numbers, backend=backend).with_columns(*series.values())
    return frame.select(*flat).to_native()


def _summary(
    table: Table,
    past: np.ndarray,
    columns: dict[str, np.ndarray],
    levels: Sequence[float],
    season: int,
) -> dict[str, dict[str, float]]:
    y = columns["y"]
    found = {}
    for model in (MODEL, NAIVE):
        forecast = columns[model]
        one = {
            "mse": scores.mse(y, forecast),
            "mae": scores.mae(y, forecast),
            "rmse": scores.rmse(y, forecast),
            "smape": scores.smape(y, forecast),
        }
        scaled = []
        for s, c in np.ndindex(*y.shape[:2]):
            first = table.bounds[s]
            train = table.values[first : first + past[s], c]
            varies = len(train) > season and (train[season:] != train[:-season]).any()
            if varies and np.isfinite(y[s, c] - forecast[s, c]).any():
                scaled.append(scores.mase(y[s, c].ravel(), forecast[s, c].ravel(), train, season))
        if scaled:
            one["mase"] = float(np.mean(scaled))
        losses = []
        for level in levels:
            low, high = (columns[f"{model}-{side}-{level:g}"] for side in ("lo", "hi"))
            losses.append(scores.pinball(y, low, (1 - level / 100) / 2))
            losses.append(scores.pinball(y, high, (1 + level / 100) / 2))
            one[f"coverage-{level:g}"] = scores.coverage(y, low, high)
            one[f"width-{level:g}"] = float(np.mean(high - low))
        if losses:
            one["pinball"] = float(np.mean(losses))
        found[model] = one
    return found
