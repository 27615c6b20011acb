"""The series of a table on the device that trains: scaled, padded, cut into windows, scored.

Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from convtimenet.batch import Batch
from convtimenet.data.covariates import NO_COVARIATES, Encoder
from convtimenet.data.tables import Table, pad_front
from convtimenet.data.windows import Exogenous, Scaler, Windows, float32
from convtimenet.errors import DataError
from convtimenet.estimators.intervals import Bands, IntervalSums, context_scale
from convtimenet.network.revin import last_known
from convtimenet.training.losses import point_forecast
from convtimenet.training.metrics import ForecastEvaluation, ForecastSums, outputs

__all__ = ["Panel", "evaluate_windows", "roll"]


class Panel:
    """A table's S series end to end on a device.

    Parameters
    ----------
    table
        Its series; short ones are padded in front.
    scaler
        Statistics of its channels, or of each of its series.
    least
        Rows that every series shall have.
    masks
        Whether the network takes what is missing by a mask (`ModelConfig.masks`).
    encoder
        Its covariates.
    device
        Where it shall lie.
    """

    def __init__(
        self,
        table: Table,
        scaler: Scaler,
        least: int,
        *,
        masks: bool,
        encoder: Encoder = NO_COVARIATES,
        device: torch.device,
    ):
        padded = pad_front(table, least)
        self.table, self.scaler, self.masks = table, scaler, masks
        self.begin, self.bounds = padded.bounds[:-1], padded.bounds
        # what row 0 of a series of the table is here
        self.origin = self.bounds[1:] - table.lengths
        scaled = scaler.along(padded.lengths).apply(padded.values.T)
        self.known: Tensor | None = None
        if padded.known is not None:
            scaled = np.where(padded.known.T, scaled, 0)  # no NaN, which times 0 is none
            self.known = torch.from_numpy(padded.known.T.copy()).to(device)
        self.values = torch.from_numpy(float32(scaled)).to(device)
        self.exogenous: Exogenous | None = None
        if encoder.any:
            hist, futr = (torch.from_numpy(one).float() for one in encoder.rows(padded))
            numbers, categories = (torch.from_numpy(one) for one in encoder.statics(table))
            parts = (hist, futr, numbers.float(), categories, torch.from_numpy(self.bounds))
            self.exogenous = Exogenous(*(part.to(device) for part in parts))

    def windows(
        self, context_length: int, horizon: int, first: int | np.ndarray, end: int | np.ndarray
    ) -> Windows:
        """Every window with targets in rows [first, end) of its series, as numbered in the table;
        one number for all series, or (S,)."""
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
        )

    def series_of(self, windows: Windows) -> np.ndarray:
        """The number of each window's series, (n,)."""
        last = windows.starts.cpu().numpy() + windows.context_length
        return np.searchsorted(self.bounds, last - 1, side="right") - 1

    def rows_of(self, windows: Windows) -> np.ndarray:
        """The row of the table, (n,), that each window's context begins at; rows that padding put
        before a series' first one are counted back from it."""
        starts = windows.starts.cpu().numpy()
        return starts - (self.origin - self.table.bounds[:-1])[self.series_of(windows)]


def roll(
    network: nn.Module,
    windows: Windows,
    index: Tensor,
    h: int,
    quantiles: tuple[float, ...] = (),
) -> Tensor:
    """Forecast h steps (B, C, h) from the contexts of numbered windows: the horizon that the
    network was trained for, and beyond it from its own forecasts and covariates known ahead; of
    quantiles the median."""
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
    drop_last: bool,
    quantiles: tuple[float, ...] = (),
    intervals: Sequence[IntervalSums] = (),
) -> ForecastEvaluation:
    """Forecast the windows and compare with what followed.

    Parameters
    ----------
    drop_last
        Leave out an incomplete last batch, as the authors' loader does.
    quantiles
        What the network gives, none for a point forecast.
    intervals
        Intervals to score.

    Raises
    ------
    DataError
        If no known value is left to score.
    """
    channels, device = panel.table.channels, panel.values.device
    keep = len(windows)
    if drop_last:
        keep = max(keep // batch_size * batch_size, min(keep, batch_size))
    per_series = panel.scaler.centre.ndim == 3
    scale = torch.from_numpy(panel.scaler.scale)
    of = torch.from_numpy(panel.series_of(windows))
    sums = ForecastSums(len(channels), windows.horizon, device)
    per_window, done = [], 0
    for output, batch in outputs(network, windows, batch_size, device):
        if done >= keep:
            break
        numbers = slice(done, done + len(output))
        last = last_known(batch.x, batch.known)
        unit = scale[of[numbers]] if per_series else scale
        unit = unit.to(device, sums.squared.dtype)
        bands = Bands(output, context_scale(batch.x, batch.known), quantiles)
        for one in intervals:
            one.add(bands, batch.y, batch.weight)
        per_window.append(sums.add(bands.point, batch.y, last, batch.weight, unit))
        done += len(output)
    if not float(sums.count.sum()):
        raise DataError("no known value is left to score: all of them are missing")
    values, off = sums.count.sum(), sums.naive.cpu()
    steps, by_channel = sums.count.sum(0), sums.count.sum(1)
    units = (sums.in_units / by_channel).cpu().tolist()
    return ForecastEvaluation(
        scores={
            "mse": float(sums.squared.sum() / values),
            "mae": float(sums.absolute.sum() / values),
        },
        naive={"mse": float(off[0] / values), "mae": float(off[1] / values)},
        n_windows=done,
        n_values=int(values),
        mse_per_window=torch.cat(per_window).cpu().numpy(),
        starts=panel.rows_of(windows)[:done],
        mse_per_step=(sums.squared.sum(0) / steps).cpu().numpy(),
        mae_per_channel=dict(zip(channels, units, strict=True)),
        intervals=tuple(one.scores(sums.count, channels) for one in intervals),
    )
