"""Backtests: forecasts from several cutoffs in the past, with a seasonal-naive baseline.

The result has Nixtla's format, one row per series, cutoff and time step, as
``utilsforecast.evaluation.evaluate`` takes it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from convtimenet import scores
from convtimenet.config import TrainConfig
from convtimenet.data.forecast_tables import MODEL, NAIVE, free_names, id_series, stamps
from convtimenet.data.frame_columns import labelled
from convtimenet.data.split import hold_back
from convtimenet.data.table_rows import crop, pad_front
from convtimenet.data.tables import Table
from convtimenet.data.windows import Scaler
from convtimenet.errors import DataError
from convtimenet.estimators.forecasting.calibration import Calibration, band_names, check_levels
from convtimenet.estimators.forecasting.intervals import Bands, calibrate, context_scale
from convtimenet.estimators.forecasting.levels import near, statistics
from convtimenet.estimators.forecasting.panel import Panel
from convtimenet.estimators.forecasting.plans import naive_season
from convtimenet.estimators.parameters import unfitted
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.revin import last_known
from convtimenet.progress import counted
from convtimenet.settings import is_whole, require, whole_number
from convtimenet.wording import html_table, listing

log = logging.getLogger(__name__)

_SEEN = (
    "the encoder starts from pretrain, which may have read rows that are forecast here: if it read "
    "this table after the first cutoff, the scores may be too good"
)


class Forecaster(Protocol):
    """The methods and attributes of an estimator that a backtest uses."""

    h: int
    scale: bool
    network_: ConvTimeNet
    train_config_: TrainConfig

    @property
    def exog(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]: ...

    def fit(self, X: Any) -> Any: ...

    def read(self, X: Any) -> Table: ...

    def adapt(self, X: Any) -> Table: ...

    def scaler_for(self, table: Table) -> Scaler: ...

    def forecast_table(
        self, table: Table, h: int | None = None, level: Any = None, future: Any = None
    ) -> np.ndarray: ...


class SeasonalNaive(nn.Module):
    """Repeats the last `season` steps of a context (B, C, L) over a horizon (B, C, H).

    A missing step is replaced by the latest known one whole seasons earlier, else by the last
    known value.
    """

    def __init__(self, season: int, horizon: int):
        super().__init__()
        self.season, self.horizon = season, horizon

    def forward(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        last = x[..., -self.season :]
        if known is not None:
            front, seasons = (-x.shape[-1] % self.season, 0), (*x.shape[:-1], -1, self.season)
            there, values = (nn.functional.pad(one, front).view(seasons) for one in (known, x))
            number = torch.arange(there.shape[-2], device=x.device)[:, None]
            newest = torch.where(there, number, 0).amax(-2, keepdim=True)
            last = values.gather(-2, newest)[..., 0, :]
            last = torch.where(there.any(-2), last, last_known(x, known))
        whole = -(-self.horizon // self.season)
        return last.repeat(1, 1, whole)[..., : self.horizon]


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """Forecasts of the past and their scores.

    Attributes
    ----------
    frame
        One row per series, cutoff and step: id, time, "cutoff", the actual value, "ConvTimeNet" and
        "SeasonalNaive", each followed by its bounds if levels were given. A frame of the caller's
        library; for a file or an array a dict of columns. Where even all known rows are too few to
        calibrate the seasonal-naive forecast, its bounds are NaN, with a notice.
    summary
        For "ConvTimeNet" and "SeasonalNaive": "mse", "mae", "rmse", "smape", "mase" and, with
        levels, "coverage-80" and "width-80" for each level, and "pinball", the mean over all
        bounds. Scores are over all known values; "mase" is the mean over the series whose seasonal
        differences are not all 0. Scores of bounds that are NaN are NaN.
    season
        Season of the seasonal-naive forecaster, in steps.
    """

    frame: Any
    summary: dict[str, dict[str, float]]
    season: int

    def _repr_html_(self) -> str:
        """The summary as a table, for notebooks."""
        rows = [[name, *scores.values()] for name, scores in self.summary.items()]
        caption = f"Backtest against seasonal naive with a season of {self.season}"
        return html_table(caption, rows, ["model", *self.summary[MODEL]])


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
    """Backtest a forecaster on the last windows of every series.

    Parameters
    ----------
    model
        A copy with the same settings is fitted; `model` itself is not changed. The copy starts from
        the encoder of `pretrain`, if that was called, with a notice: it may have read the rows that
        are forecast.
    X
        A table, as for ``fit``. Series of a long table keep their ids, followed by "/<channel>" if
        there are several channels; each channel of a wide table becomes a series, with the columns
        "unique_id", "ds" and "y".
    n_windows
        Number of cutoffs; the last one lies a horizon before the end of each series.
    step_size
        Steps from one cutoff to the next; by default the horizon.
    refit
        False fits once, before the first cutoff; True before every cutoff; a number n before every
        n-th.
    level
        Levels of intervals in per cent, such as ``[80, 95]``.
    season
        Season of the seasonal-naive forecaster in steps; by default a day, week or year, depending
        on the step (`naive_season`).

    Raises
    ------
    ConfigError
        If a number is out of range.
    DataError
        If the table is too short for the windows, or cannot be used.
    """
    table = model.read(X)
    n_windows = whole_number("n_windows", n_windows)
    step = model.h if step_size is None else whole_number("step_size", step_size)
    season = naive_season(table, season)
    often = isinstance(refit, (bool, np.bool_)) or is_whole(refit, 0)
    require(often, "refit", "True, False or a number of windows", refit)
    h, every = model.h, int(refit)
    levels = None if level is None else check_levels(level)
    past = table.lengths - h - (n_windows - 1) * step
    if (past < 2).any():
        raise DataError(
            f"{n_windows} windows of {h} steps, {step} apart, take {h + (n_windows - 1) * step} "
            f"rows of each series and leave none to train on: the shortest has "
            f"{table.lengths.min()}; use fewer windows or leave short series out"
        )
    _check_known(table, past, n_windows)
    fitted = unfitted(model)
    naive, begun = None, hasattr(fitted, "pretrained_")
    parts = []
    for number in counted(range(n_windows)):
        end = past + number * step
        known = crop(table, 0, end)
        if number == 0 or (every and number % every == 0):
            fitted.fit(known)
            if number == 0 and begun and fitted.network_.config.kernel_sizes:
                log.warning(_SEEN)
            naive = _Naive(fitted, known, season, levels or ())
        assert naive is not None
        # covariates known ahead are read from the rows after the cutoff
        future = table if fitted.exog[1] else None
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
    """One cutoff: its row (S,) in each series, and forecasts (S h, C K) of both models."""

    end: np.ndarray
    ours: np.ndarray
    naive: np.ndarray


class _Naive:
    """The seasonal-naive forecaster, with intervals from the same rows as the network's, or from
    all rows where those are too few."""

    def __init__(
        self,
        fitted: Forecaster,
        table: Table,
        season: int,
        levels: Sequence[float],
    ):
        self.fitted, self.levels = fitted, levels
        self.network = SeasonalNaive(season, fitted.h)
        L = fitted.network_.config.least_context
        self.reads = max(season, L)
        self.calibration: Calibration | None = None
        if levels:
            self.calibration = self._calibrated(table)
            missing = [f"{one:g}" for one in levels if np.isnan(self._radius(one)).any()]
            if missing:
                log.warning(
                    "the seasonal-naive forecast has no intervals of %s %%: there are too few rows "
                    "to calibrate them, and its bounds are NaN",
                    " and ".join(missing),
                )

    def _calibrated(self, table: Table) -> Calibration | None:
        """Calibration on the held-out windows; on all windows, as nothing is fitted to them, if
        those are too few; None if no window fits."""
        fitted, config = self.fitted, self.fitted.network_.config
        fraction = fitted.train_config_.validation_fraction
        held_back, _ = hold_back(table, fraction, config.least_context, fitted.h)
        least = self.reads + fitted.h if table.long else 0
        scaler, cpu = fitted.scaler_for(table), torch.device("cpu")
        if config.revin:
            scaler = near(scaler, *statistics(table), config)
        panel = Panel(table, scaler, least, masks=True, device=cpu)
        found = None
        for first in (held_back, np.zeros_like(held_back)):
            begin = np.maximum(panel.origin + first, panel.begin + self.reads)
            if (begin > panel.origin + table.lengths - fitted.h).all():
                continue
            windows = panel.windows(self.reads, fitted.h, first, table.lengths)
            if windows.any_target():
                shared = not fitted.scale
                found = calibrate(self.network, windows, (), 1024, cpu, shared=shared)
                if all(found.reaches(one) for one in self.levels):
                    break
        return found

    def _radius(self, level: float) -> np.ndarray:
        """Radii (G, h) of a level; NaN if there are too few windows for it."""
        if self.calibration is None or not self.calibration.reaches(level):
            return np.full((1, self.fitted.h), np.nan)
        return self.calibration.radius(level)

    def forecast(self, table: Table) -> np.ndarray:
        """(S h, C K) as `Forecaster.forecast_table` returns it."""
        S, C = len(table.lengths), len(table.channels)
        recent = pad_front(crop(table, table.lengths - self.reads, table.lengths), self.reads)
        x = recent.values.reshape(S, self.reads, C).swapaxes(1, 2).copy()
        unknown = np.isnan(x).all(-1)
        x[unknown, -1] = _last_known(table)[unknown]
        missing = np.isnan(x)
        known = torch.from_numpy(~missing) if missing.any() else None
        x, scaler = np.where(missing, 0, x), self.fitted.scaler_for(table)
        scaled, unit = torch.from_numpy(scaler.apply(x)), torch.from_numpy(scaler.scale)
        point = self.network(torch.from_numpy(x), known)
        # around 0 in scaled units, so that bounds have no least width in those of the data
        bands = Bands(torch.zeros_like(point), context_scale(scaled, known), ())
        sides = [bands.bounds(self._radius(one)) for one in self.levels]
        lengths = [low for low, _ in reversed(sides)] + [high for _, high in sides]
        found = [point, *(point + length * unit for length in lengths)]
        return torch.stack(found, -1).numpy().swapaxes(1, 2).reshape(-1, C * len(found))


def _last_known(table: Table) -> np.ndarray:
    """The last known value of every series and channel, (S, C); NaN if there is none."""
    rows = np.arange(len(table.times))[:, None]
    known = np.isfinite(table.values)
    last = np.maximum.reduceat(np.where(known, rows, -1), table.bounds[:-1], axis=0)
    return np.where(last < 0, np.nan, np.take_along_axis(table.values, last.clip(min=0), axis=0))


def _check_known(table: Table, past: np.ndarray, n_windows: int) -> None:
    """Check that every series has a known value in rows [0, past), (S,), and the table one after
    them."""
    if np.isnan(crop(table, past, table.lengths).values).all():
        raise DataError(
            f"all values after the first of {n_windows} cutoffs are missing, so there is nothing "
            "to score; leave out the empty rows at the end"
        )
    unknown = np.isnan(_last_known(crop(table, 0, past)))
    if unknown.any():
        channels = [table.channels[c] for c in np.flatnonzero(unknown.any(0))]
        where = f" in the series {listing(table.ids[unknown.any(1)].tolist(), 3)}"
        raise DataError(
            f"all values of {listing(channels)}{where if table.long else ''} before the first of "
            f"{n_windows} cutoffs are missing; use fewer windows or leave "
            f"{'such series' if table.long else 'it'} out"
        )


def _columns(
    table: Table, h: int, levels: Sequence[float] | None, parts: Sequence[_Part]
) -> dict[str, np.ndarray]:
    """The columns of the result by name, each (S, C, windows, h)."""
    S, C, W = len(table.lengths), len(table.channels), len(parts)
    names = band_names(levels or ())
    shape = (S, C, W, h)
    ids = np.empty((S, C), dtype=object)
    for s, c in np.ndindex(S, C):
        ids[s, c] = table.ids[s] if table.long else table.channels[c]
        if table.long and C > 1:
            ids[s, c] = f"{table.ids[s]}/{table.channels[c]}"
    if len(set(ids.ravel().tolist())) < S * C:
        # else series "a/b" with channel "c" would equal series "a" with channel "b/c"
        for s, c in np.ndindex(S, C):
            ids[s, c] = f"{str(table.ids[s])!r}/{table.channels[c]!r}"
        log.warning(
            f"ids and channels joined by '/' would not be unique: written as {ids[0, 0]} instead"
        )
    at = np.stack([part.end for part in parts], 1) + table.bounds[:-1, None]  # (S, W)
    rows = at[..., None] + np.arange(h)
    truth = table.values[rows]
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
    """The columns as a frame of the caller's library; a long table keeps its column names."""
    id_name, time_name = table.id_name or "unique_id", table.time_name if table.long else "ds"
    own = {id_name: "id", time_name: "time"}
    as_given = table.long and len(table.channels) == 1
    if as_given:
        own[table.channels[0]] = "y"
    made = [name for name in columns if name not in own.values()]
    free, notices = free_names(made, list(own))
    for notice in notices:
        log.warning(notice)
    given = {old: new for new, old in own.items()} | dict(zip(made, free, strict=True))
    flat: dict[str, Any] = {given[name]: one.reshape(-1) for name, one in columns.items()}
    if table.origin.kind in ("file", "numpy"):
        return flat
    import narwhals.stable.v2 as nw

    backend: Any = table.origin.kind
    for name in (given["time"], given["cutoff"]):
        flat[name] = stamps(table, name, flat[name])
    ids = flat[id_name]
    # of a wide table the channels are series; an unnamed one keeps the name given in the table
    wide = () if table.long else table.origin.labels
    labels = {name: label for name, label in wide if label not in (None, "")}
    flat[id_name] = (
        id_series(table, id_name, ids)
        if as_given
        else nw.new_series(id_name, [labels.get(one, one) for one in ids], backend=backend)
    )
    series = {name: one for name, one in flat.items() if isinstance(one, nw.Series)}
    numbers = {name: one for name, one in flat.items() if name not in series}
    frame = nw.from_dict(numbers, backend=backend).with_columns(*series.values())
    found = frame.select(*flat).to_native()
    return labelled(found, table.origin) if as_given else found


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
            varies = len(train) > season and np.nansum(np.abs(train[season:] - train[:-season])) > 0
            if varies and np.isfinite(y[s, c] - forecast[s, c]).any():
                scaled.append(scores.mase(y[s, c].ravel(), forecast[s, c].ravel(), train, season))
        if scaled:
            one["mase"] = float(np.mean(scaled))
        losses = []
        for level in levels:
            low, high = (columns[f"{model}-{side}-{level:g}"] for side in ("lo", "hi"))
            absent = np.isnan(low).all()
            one[f"coverage-{level:g}"] = np.nan if absent else scores.coverage(y, low, high)
            one[f"width-{level:g}"] = float(np.mean(high - low))
            for bound, q in ((low, (1 - level / 100) / 2), (high, (1 + level / 100) / 2)):
                losses.append(np.nan if absent else scores.pinball(y, bound, q))
        if losses:
            one["pinball"] = float(np.mean(losses))
        found[model] = one
    return found
