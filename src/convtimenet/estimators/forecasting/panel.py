"""The series of a table as tensors: scaled, padded, cut into windows; forecasting and scoring them.

Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convtimenet import processes
from convtimenet._shapes import Float
from convtimenet.batch import Batch
from convtimenet.config import ModelConfig
from convtimenet.data.covariates import NO_COVARIATES, Encoder
from convtimenet.data.large.sharing import Sharing
from convtimenet.data.table_rows import pad_front, pieces, select_series
from convtimenet.data.tables import Table
from convtimenet.data.windows import Exogenous, Scaler, Windows, float32
from convtimenet.errors import DataError
from convtimenet.estimators.forecasting.intervals import Bands, IntervalSums, context_scale
from convtimenet.network.revin import last_known
from convtimenet.scores import seasonal_scale
from convtimenet.training.losses import point_forecast
from convtimenet.training.metrics import (
    ForecastEvaluation,
    ForecastSums,
    outputs,
    own_batches,
    wide,
)

__all__ = ["Panel", "evaluate_windows", "roll", "rows_for", "sorted_by_id"]


class Panel:
    """The S series of a table, scaled and concatenated on a device.

    Parameters
    ----------
    table
        The series; short ones are padded at the front.
    scaler
        Statistics per channel, or per series and channel.
    least
        Minimum rows of the series, or of each (S,); shorter series are padded to it.
    masks
        Whether the network reads a mask of known values (`ModelConfig.masks`).
    encoder
        Encoder of the covariates.
    device
        Where the tensors are.
    """

    def __init__(
        self,
        table: Table,
        scaler: Scaler,
        least: int | np.ndarray,
        *,
        masks: bool,
        encoder: Encoder = NO_COVARIATES,
        device: torch.device,
    ):
        lengths = np.maximum(table.lengths, least)
        self.table, self.scaler, self.masks = table, scaler, masks
        self.bounds = np.concatenate([[0], np.cumsum(lengths)])
        self.begin = self.bounds[:-1]
        # row of the tensors at which each series begins, after its padding
        self.origin = self.bounds[1:] - table.lengths

        sharing = Sharing(table.mapped)

        def rows(columns: int, dtype: Any) -> np.ndarray:
            return sharing.empty((columns, int(self.bounds[-1])), dtype)

        values, known = rows(len(table.channels), np.float32), None
        if table.known is not None or (lengths > table.lengths).any():
            known = rows(len(table.channels), bool)
        covariates = [rows(encoder.sizes[one], np.float32) for one in ("hist_exog", "futr_exog")]
        for of, piece in sharing.own(pieces(table)):
            padded = pad_front(piece, lengths[of])
            here = slice(self.bounds[:-1][of][0], self.bounds[1:][of][-1])
            own = scaler[of] if scaler.centre.ndim == 3 else scaler
            scaled = own.along(padded.lengths).apply(padded.values.T)
            if known is not None:
                known[:, here] = np.isfinite(padded.values.T)
                scaled = np.where(known[:, here], scaled, 0)  # NaN times a mask of 0 stays NaN
            values[:, here] = float32(scaled)
            if encoder.any:
                for whole, one in zip(covariates, encoder.rows(padded), strict=True):
                    whole[:, here] = one
        sharing.wait()
        self.values = torch.from_numpy(values).to(device)
        self.known = None if known is None else torch.from_numpy(known).to(device)
        self.exogenous: Exogenous | None = None
        if encoder.any:
            statics = [encoder.statics(piece) for _, piece in pieces(table)]
            numbers, categories = (np.concatenate(one) for one in zip(*statics, strict=True))
            parts = (*covariates, numbers.astype(np.float32), categories, self.bounds)
            self.exogenous = Exogenous(*(torch.from_numpy(part).to(device) for part in parts))

    def windows(
        self, context_length: int, horizon: int, first: int | np.ndarray, end: int | np.ndarray
    ) -> Windows:
        """All windows with targets in rows [first, end) of their series, without padding; numbers
        for all series, or arrays (S,)."""
        return Windows.between(
            self.values,
            context_length,
            horizon,
            self.origin + first,
            self.origin + end,
            self.begin,
            self.known,
            self.masks,
            self.exogenous,
            self.table.mapped,
        )

    def series_of(self, windows: Windows) -> np.ndarray:
        """The index of each window's series, (n,)."""
        last = windows.starts.cpu().numpy() + windows.context_length
        return np.searchsorted(self.bounds, last - 1, side="right") - 1

    def rows_of(self, windows: Windows) -> np.ndarray:
        """The row of the table, (n,), at which each window's context begins; in the padding before
        a series it is counted back from the series' first row."""
        starts = windows.starts.cpu().numpy()
        return starts - (self.origin - self.table.bounds[:-1])[self.series_of(windows)]

    def seasonal_naive(
        self, windows: Windows, index: Tensor, season: int, last: Tensor
    ) -> Float[Tensor, "B C H"]:
        """Seasonal-naive forecast of the windows `index`: the last season before the horizon,
        repeated. Steps of it that are missing or before the start of the series are replaced by
        `last` (B, C, 1), the last known value."""
        now = windows.starts[index] + windows.context_length
        ahead = torch.arange(windows.horizon, device=now.device) % season - season
        rows = now[:, None] + ahead
        first = torch.from_numpy(self.origin).to(now.device)
        series = torch.searchsorted(first, now, right=True) - 1
        there = (rows >= first[series][:, None]).expand(len(self.values), -1, -1)
        rows = rows.clamp(min=0)
        if self.known is not None:
            there = there & self.known[:, rows]
        values = self.values[:, rows]
        return torch.where(there.transpose(0, 1), values.transpose(0, 1), last)

    def seasonal_scale(self, targets: np.ndarray, season: int) -> Tensor:
        """(S, C) the denominator of MASE: the mean absolute seasonal difference in each series'
        rows before the first of the table rows `targets` (n,); NaN if there is none."""
        table = self.table
        found = np.full((len(table.lengths), len(table.channels)), np.nan)
        bounds = table.bounds
        series = np.searchsorted(bounds, targets, side="right") - 1
        first = np.full(len(found), np.iinfo(np.int64).max)
        np.minimum.at(first, series, targets)
        for s in np.unique(series):
            values = table.values[bounds[s] : first[s]].T
            found[s] = seasonal_scale(np.where(np.isfinite(values), values, np.nan), season)
        return torch.from_numpy(found)


def sorted_by_id(table: Table, *own: Any) -> tuple[Any, ...]:
    """A table with its series in the order of their ids, and what is `own` to each, as arrays (S,)
    or a scaler, in the same order. What is chosen from few of many windows, or by blocks of them,
    then does not depend on the order in which the series are stored."""
    ids: list[Any] = table.ids.tolist()
    series = range(len(ids))
    order = np.array(sorted(series, key=lambda s: (isinstance(ids[s], str), ids[s])))
    if (order == series).all():
        return table, *own
    moved = (one if isinstance(one, Scaler) and one.centre.ndim == 2 else one[order] for one in own)
    return select_series(table, order), *moved


def rows_for(table: Table, config: ModelConfig) -> int | np.ndarray:
    """Rows to which each series of a table is padded for the network's windows: all of a series
    whose contexts may begin before it, or one window of a short one among others."""
    spare = config.context_length - config.least_context
    whole = config.context_length + config.outputs if table.long else 0
    return np.maximum(table.lengths + spare, whole) if spare else whole


def roll(
    network: nn.Module,
    windows: Windows,
    index: Tensor,
    h: int,
    quantiles: tuple[float, ...] = (),
) -> Tensor:
    """Forecast h steps (B, C, h) from the contexts of the windows `index`. Beyond the trained
    horizon the network reads its own forecasts, and covariates known ahead. With quantiles the
    median is returned."""
    batch = windows.batch(index)
    L, x, known = windows.context_length, batch.x, batch.known
    parts = [point_forecast(network(*batch.inputs).float(), quantiles)]
    done = H = parts[0].shape[-1]
    while done < h:
        x = torch.cat([x, parts[-1]], dim=-1)[..., -L:]
        if known is not None:
            known = torch.cat([known, torch.ones_like(parts[-1], dtype=torch.bool)], dim=-1)
            known = known[..., -L:]
        batch = Batch(x, x, None, known, windows.covariates(index, done))
        parts.append(point_forecast(network(*batch.inputs).float(), quantiles))
        done += H
    return torch.cat(parts, dim=-1)[..., :h]


def evaluate_windows(
    network: nn.Module,
    panel: Panel,
    windows: Windows,
    batch_size: int,
    *,
    season: int,
    drop_last: bool,
    quantiles: tuple[float, ...] = (),
    usual: float = 0.0,
    intervals: Sequence[IntervalSums] = (),
    together: bool = False,
) -> ForecastEvaluation:
    """Forecast the windows and score the forecasts.

    Parameters
    ----------
    season
        Season of the seasonal-naive baseline, in steps.
    drop_last
        Leave out an incomplete last batch, as the authors' loader does.
    quantiles
        Quantiles that the network outputs; empty for a point forecast.
    usual
        See `context_scale`.
    intervals
        Intervals to score.
    together
        Share the batches among the processes that train together, of which all must ask.

    Raises
    ------
    DataError
        If all target values are missing.
    """
    channels, device = panel.table.channels, panel.values.device
    keep = len(windows)
    if drop_last:
        keep = max(keep // batch_size * batch_size, min(keep, batch_size))
    dtype, of = wide(device), torch.from_numpy(panel.series_of(windows)).to(device)
    per_series = panel.scaler.centre.ndim == 3
    centre, scale = (
        torch.from_numpy(one).to(device, dtype) for one in (panel.scaler.centre, panel.scaler.scale)
    )
    sums = ForecastSums(len(panel.table.lengths), len(channels), windows.horizon, device)
    done = min(len(windows), keep)
    per_window = torch.zeros(done, device=device, dtype=dtype)
    which = own_batches(len(windows), batch_size) if together else slice(None)
    firsts = range(0, len(windows), batch_size)[which]
    found = outputs(network, windows, batch_size, device, which)
    for first, (output, batch) in zip(firsts, found, strict=True):
        if first >= keep:
            break
        numbers = torch.arange(first, first + len(output), device=device)
        series = of[numbers]
        middle, unit = (centre[series], scale[series]) if per_series else (centre, scale)
        bands = Bands(output, context_scale(batch.x, batch.known, usual), quantiles)
        for one in intervals:
            one.add(bands, batch.y, batch.weight, unit)
        naive = panel.seasonal_naive(windows, numbers, season, last_known(batch.x, batch.known))
        per_window[first : first + len(output)] = sums.add(
            bands.point, naive, batch.y, batch.weight, middle, unit, series
        )
    if which != slice(None):
        for one in (per_window, *sums.tensors(), *(own.sums for own in intervals)):
            processes.add_up(one)
    if not float(sums.count.sum()):
        raise DataError("no value to score: all of them are missing; give rows with known values")
    values, steps, by_channel = sums.count.sum(), sums.count.sum(0), sums.count.sum(1)
    ours, naive = (
        (one.in_units.sum(0) / by_channel).cpu().tolist() for one in (sums.ours, sums.naive)
    )
    starts = panel.rows_of(windows)[:done]
    past = panel.seasonal_scale(starts + windows.context_length, season).to(device, dtype)
    in_units = (sums.by_series, sums.size, past)
    return ForecastEvaluation(
        scores=sums.ours.scores(values),
        naive=sums.naive.scores(values),
        in_units=sums.ours.scores_in_units(*in_units),
        naive_in_units=sums.naive.scores_in_units(*in_units),
        season=season,
        n_windows=int((~per_window.isnan()).sum()),
        n_values=int(values),
        mse_per_window=per_window.cpu().numpy(),
        starts=starts,
        mse_per_step=(sums.ours.squared.sum(0) / steps).cpu().numpy(),
        rmse_per_step_in_units=(sums.ours.squared_in_units / steps).sqrt().cpu().numpy(),
        mae_per_channel=dict(zip(channels, ours, strict=True)),
        naive_mae_per_channel=dict(zip(channels, naive, strict=True)),
        intervals=tuple(one.scores(sums.count, channels) for one in intervals),
    )
