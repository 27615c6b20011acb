"""Scaling of tables, and their windows for the predictions of a fitted network.

Shape legend: `convtimenet._shapes`; S series, T rows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch

from convtimenet.config import ModelConfig
from convtimenet.data.agreement import Labels, match_ids
from convtimenet.data.covariates import Encoder
from convtimenet.data.split import Rows, scored_rows
from convtimenet.data.table_rows import crop, extend, pad_front
from convtimenet.data.tables import Table
from convtimenet.data.time.timestamps import show_in
from convtimenet.data.windows import FARTHEST, LARGEST, Scaler, Windows, filled_contexts, float32
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.forecasting.levels import (
    Levelled,
    around_level,
    either,
    known_counts,
    near,
    silent_rows,
    statistics,
    uncentred,
)
from convtimenet.estimators.forecasting.panel import Panel, rows_for, sorted_by_id
from convtimenet.files.maps import blocks
from convtimenet.network.revin import FEW
from convtimenet.wording import listing

__all__ = [
    "Reader",
    "check_mixing",
    "check_unscaled",
    "gap_notices",
    "scaling_notices",
    "unseen_notices",
]

log = logging.getLogger(__name__)

_MONSTROUS = 10_000
_CHANCES = 3  # seasons


def scaling_notices(table: Table, unknown: np.ndarray) -> list[str]:
    """Notices about channels without a known training value, given `unknown` of `statistics`, and
    of wide tables about values that can only be errors."""
    if not unknown.any():
        return [] if table.long else _monstrous(table)
    of_channel = unknown[..., 0].reshape(-1, len(table.channels))
    channels = listing([table.channels[c] for c in np.flatnonzero(of_channel.any(0))])
    text = f"{channels}: all values in the training rows are missing"
    if not table.long:
        return [f"{text}; not scaled"]
    series = table.ids[of_channel.any(1)].tolist()
    return [
        f"{text} in {len(series)} series ({listing(series, 3)}); scaled by the median of the others"
    ]


def _monstrous(table: Table) -> list[str]:
    """Notices about values that are so far off that the scale of their channel is theirs alone."""
    found = []
    for name, values in zip(table.channels, table.values.T, strict=True):
        some = values[np.isfinite(values)]
        low, middle, high = np.quantile(some[:: 1 + len(some) // 10**5], (0.05, 0.5, 0.95))
        far = np.abs(values - middle) > _MONSTROUS * (high - low)
        if high > low and far.any():
            at, several = int(far.argmax()), "s are" if far.sum() > 1 else " is"
            found.append(
                f"channel {name!r}: {int(far.sum())} value{several} more than {_MONSTROUS:,} times "
                f"as far off as nine in ten of the others, first {values[at]:.3g}, and forecasts "
                "and scores are in that scale; if it is an error, leave the cell empty"
            )
    return found


def gap_notices(table: Table, masks: bool, learns: bool = True) -> list[str]:
    """Notices about how missing values are handled; none if the table has no missing values.

    Parameters
    ----------
    masks
        Whether the network reads a mask of known values (`ModelConfig.masks`).
    learns
        Whether it is trained on the table, or only predicts from it.
    """
    if table.known is None:
        return []
    if masks:
        what = "neither read nor trained on" if learns else "not read"
        return [f"missing values are masked: they are {what}"]
    what = "; they are not trained on" if learns else ""
    return [
        "missing values are filled from the known ones of the same context, at its end by the "
        f"last known one{what}"
    ]


def unseen_notices(table: Table, season: int) -> list[str]:
    """A notice if at some steps of the season no value is known, though a series has had three
    chances: hours or days on which nothing is recorded."""
    if table.known is None or season == 1:
        return []
    unseen = np.zeros((len(table.lengths), len(table.channels)), int)
    at = None
    for number, (first, end) in enumerate(pairwise(table.bounds.tolist())):
        whole = (end - first) // season * season
        seen = table.known[first : first + whole].reshape(-1, season, len(table.channels))
        often = seen.any((0, 1)) & (len(seen) >= _CHANCES)  # (C,)
        steps = ~seen.any(0) & often  # (season, C)
        unseen[number] = steps.sum(0)
        if at is None and steps.any():
            row = int(first + np.argwhere(steps)[0, 0])
            at = show_in(table.times, table.times[row], table.time_zone)
    if at is None:
        return []
    return [
        f"{listing(_named(table, unseen > 0), 3)}: no value is known at {unseen.max()} of {season} "
        f"steps of the season (first at {at}), so what is forecast for those steps is a guess; "
        "leave them out of what you use"
    ]


def _named(table: Table, which: np.ndarray) -> list[str]:
    """The series, channels or both where `which` (S, C) holds."""
    if not table.long:
        return [table.channels[c] for c in np.flatnonzero(which[0])]
    several = len(table.channels) > 1
    return [
        f"{table.ids[s]}, {table.channels[c]}" if several else str(table.ids[s])
        for s, c in np.argwhere(which).tolist()
    ]


def check_mixing(channels: int, scale: bool) -> int:
    """The number of channels that are to read each other.

    Raises
    ------
    ConfigError
        If they cannot.
    """
    if channels == 1:
        raise ConfigError(
            "channel_mixing needs two or more channels that can read each other, found 1; leave "
            "channel_mixing out"
        )
    if not scale:
        raise ConfigError(
            "channel_mixing has weights for each channel, but with scale=False a model can read "
            "tables with other channels; use scale=True, or leave channel_mixing out"
        )
    return channels


def check_unscaled(values: np.ndarray, channels: Sequence[str], revin: bool) -> list[str]:
    """Check that values (C, T) can be forecast without scaling; returns notices.

    Parameters
    ----------
    revin
        Whether the network has RevIN, which subtracts the level of every context.

    Raises
    ------
    DataError
        If squared errors would overflow float32, or float32 cannot resolve the variation of the
        values around their level.
    """
    own = Scaler.standard(values)
    deviation, level = own.scale[:, 0], np.abs(own.centre[:, 0])
    if deviation.max() > LARGEST:
        raise DataError(
            f"channel {channels[int(deviation.argmax())]!r} has a standard deviation of "
            f"{deviation.max():.1e}, and squared errors of that size overflow; use scale=True or "
            "rescale the series"
        )
    varies = np.nanmax(values, 1, initial=-np.inf) > np.nanmin(values, 1, initial=np.inf)
    if not revin and (varies & (level > FARTHEST * deviation)).any():
        worst = int((varies * level / deviation).argmax())
        raise DataError(
            f"channel {channels[worst]!r} has a standard deviation of {deviation[worst]:.1e} "
            f"around {own.centre[worst, 0]:.1e}, which float32 cannot resolve without RevIN; use "
            "scale=True, or leave revin on"
        )
    small = [name for name, size in zip(channels, deviation, strict=True) if size < 0.03]
    if not small:
        return []
    return [
        f"channel(s) {', '.join(small[:5])} have a standard deviation below 0.03: the 1e-5 that "
        "RevIN adds to every variance is not negligible; scale=True avoids that"
    ]


@dataclass(frozen=True, eq=False)
class Reader:
    """Turns tables into windows for a fitted network, scaled and encoded as in training."""

    config: ModelConfig
    scaler: Scaler
    """Statistics of the training rows, for all series together or for each."""
    encoder: Encoder
    ids: np.ndarray
    """(S,) ids of the series in `scaler`."""
    device: torch.device

    def windows(self, table: Table, first: Rows | None, end: Rows | None) -> tuple[Panel, Windows]:
        """A table on the device, and its windows with targets in rows [first, end) of every series;
        by default in all rows.

        Raises
        ------
        DataError
            If first > end or rows are out of range, or no window fits.
        """
        L, H = self.config.context_length, self.config.outputs
        first, end = scored_rows(table, first, end)
        # skip the first context, if there are enough rows
        least = self.config.least_context
        before = np.maximum(first, np.minimum(least, table.lengths - H).clip(min=0))
        scaler = self._near(self.scaler_for(table, before), table, before)
        panel = self._panel(table, scaler, rows_for(table, self.config))
        return panel, panel.windows(L, H, first, end)

    def training(self, table: Table) -> Windows:
        """All windows of a table to train on: nothing of it is to be kept from the scaling.

        Raises
        ------
        DataError
            If no window fits.
        """
        table = table if self.config.kernel_sizes else sorted_by_id(table)[0]
        scaler = self._near(self.scaler_for(table), table)
        panel = self._panel(table, scaler, rows_for(table, self.config))
        return panel.windows(self.config.context_length, self.config.outputs, 0, table.lengths)

    def ahead(self, steps: int) -> int:
        """Rows after the end of a series whose covariates a forecast of `steps` steps reads: whole
        horizons, or 0 without covariates."""
        H = self.config.outputs
        return -(-steps // H) * H if self.encoder.any else 0

    def contexts(
        self, table: Table, ahead: int, plan: Mapping[str, np.ndarray]
    ) -> tuple[Windows, Scaler]:
        """The last context of every series, with covariates of `ahead` rows after it, and its
        scaler.

        Parameters
        ----------
        plan
            Covariates (S, ahead) of the rows after the end.

        Raises
        ------
        DataError
            If a wide table has too few rows, or nothing tells the level of a channel
            (`around_level`).
        """
        L, H = self.config.context_length, self.config.outputs
        self.check_rows(table)
        part = crop(table, table.lengths - L, table.lengths)
        fitted, now = self.scaler_for(table), part.lengths
        scaler = self._near(fitted, part)
        if self.config.pretrained and part.known is not None:
            silent = silent_rows(part)
            scaler = around_level(scaler, fitted, silent, part.channels, part.ids.tolist())
        if ahead:
            part = extend(part, ahead)
        after_end = np.arange(len(part.times)) >= np.repeat(part.bounds[:-1] + now, part.lengths)
        for name, rows in plan.items():
            part.covariates[name][after_end] = rows.reshape(-1)
        panel = self._panel(part, scaler, L + ahead)
        return panel.windows(L, min(ahead, H), now, now + min(ahead, H)), scaler

    def context_of(self, values: np.ndarray) -> tuple[Windows, Scaler]:
        """The last context of the values (T, C) of one series, NaN where missing, and its scaler.

        Raises
        ------
        DataError
            If there are too few rows, or they are not those of the fitted channels.
        """
        L, values = self.config.context_length, np.asarray(values, dtype=np.float64)
        fixed = self.scaler.centre.shape[-2] if self.usual_scale else self.config.fixed_channels
        if values.ndim != 2 or fixed not in (0, values.shape[1]):
            raise DataError(
                f"expected values (T, {fixed or 'C'}), a column for each channel, found an array "
                f"of the shape {values.shape}; give the fitted channels in their order"
            )
        self._enough(len(values))
        recent = values[-L:].T
        if (spare := L - recent.shape[1]) > 0:
            recent = np.pad(recent, ((0, 0), (spare, 0)), constant_values=np.nan)
        missing: np.ndarray = np.isnan(recent)
        fitted = self.scaler
        unknown, scaler = np.asarray(missing.all(1))[:, None], fitted
        if fitted.centre.ndim == 3 or self._shifts(recent):
            own = Scaler.standard(recent)
            if fitted.centre.ndim == 3:
                few = (~missing).sum(1, keepdims=True) < FEW
                fitted = scaler = self._unseen(own, unknown, few)
            scaler = near(scaler, own, unknown, self.config) if self.config.revin else scaler
        if self.config.pretrained:
            names = [str(number) for number in range(len(recent))]
            scaler = around_level(scaler, fitted, unknown, names, ())
        scaled = np.where(missing, 0, scaler.apply(recent))
        scaled = torch.from_numpy(float32(scaled)).to(self.device)
        known = torch.from_numpy(~missing).to(self.device) if missing.any() else None
        start = torch.zeros(1, dtype=torch.int64, device=self.device)
        return Windows(scaled, start, L, 0, known, self.config.masks), scaler

    def context_values(self, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """Values (S, C, L) of the last contexts in the data's units, NaN where masked, and their
        time stamps (S, L)."""
        L = self.config.context_length
        context = pad_front(crop(table, table.lengths - L, table.lengths), L)
        series = context.values.reshape(-1, L, len(table.channels)).swapaxes(1, 2)
        if not self.config.masks:
            series = filled_contexts(series)
        return series, context.times.reshape(-1, L)

    def scaler_for(self, table: Table, before: Rows | None = None) -> Scaler:
        """Scaler of the series of a table: as in training for series that it saw; else by their own
        values in rows [0, before), by default all rows; by the median of the training series if
        those are all missing."""
        if self.scaler.centre.ndim == 2:
            return self.scaler
        seen, _ = match_ids(table.ids, self.labels, "the table")
        if (seen >= 0).all():
            return self.scaler[seen]
        as_long = replace(table, id_name=table.id_name or "", rows=table.lengths)
        (own, unknown), ours = statistics(as_long, before), self.scaler[seen]
        own = self._unseen(own, unknown, known_counts(table)[..., None] < FEW)
        new = (seen < 0)[:, None, None]
        if len(lone := np.flatnonzero(unknown.any((1, 2)) & (seen < 0))):
            log.warning(
                "series not seen in training and without a known value to scale by: %s; scaled by "
                "the median of the training series",
                listing(table.ids[lone].tolist(), 3),
            )
        return either(new, own, ours)

    def _unseen(self, own: Scaler, unknown: np.ndarray, few: np.ndarray) -> Scaler:
        """Scaler of series that training did not see: by their own statistics, or the median of the
        training series if they have no known value, or of their deviations if they have a few."""
        own = uncentred(own, self.config)
        parts = [self.scaler.centre, self.scaler.scale]
        if isinstance(self.scaler, Levelled):
            parts.append(self.scaler.level)
        usual = type(self.scaler)(*(np.median(one, axis=0) for one in parts))
        found = either(unknown, usual, own)
        return replace(found, scale=np.where(few, usual.scale, found.scale))

    @cached_property
    def usual_scale(self) -> float:
        """The deviation of a series of which little is known, in scaled units; 0 where values are
        not scaled."""
        return 1.0 if (self.scaler.scale != 1).any() or self.scaler.centre.any() else 0.0

    @cached_property
    def labels(self) -> Labels:
        """`ids`, matched in any spelling (1, 1.0 and "1")."""
        return Labels(self.ids.tolist())

    def _panel(self, table: Table, scaler: Scaler, least: int | np.ndarray) -> Panel:
        masks, encoder = self.config.masks, self.encoder
        return Panel(table, scaler, least, masks=masks, encoder=encoder, device=self.device)

    def _near(self, scaler: Scaler, table: Table, end: Rows | None = None) -> Scaler:
        """`Scaler.near` the rows [0, end) of a table, if `_shifts`; else the scaler unchanged."""
        if not self._shifts(table.values):
            return scaler
        return near(scaler, *statistics(table, end), self.config)

    def _shifts(self, values: np.ndarray) -> bool:
        """Whether the level of values may be subtracted; not if their squares overflow, which
        `float32` refuses later."""
        return self.config.revin and all(
            np.nanmax(np.abs(values[one]), initial=0) < 1e150 for one in blocks(len(values))
        )

    def notices(self, table: Table, intervals: bool) -> list[str]:
        """Notices about series whose contexts say little or nothing of them, given whether there
        will be intervals, whose width is that of the context."""
        L, least = self.config.context_length, table.lengths.min()
        intervals = intervals and not self.config.quantiles
        if table.known is None and (least >= FEW or not intervals):
            return []
        part = crop(table, table.lengths - L, table.lengths)
        counts, found = known_counts(part), []
        if len(none := _named(table, counts == 0)):
            found.append(
                f"no known value in the {L} rows that a forecast reads: {listing(none, 3)}; what "
                "is forecast there is a usual level, which says nothing of the present one"
            )
        if intervals and len(few := _named(table, (counts > 0) & (counts < FEW))):
            found.append(
                f"fewer than {FEW} known values to forecast from: {listing(few, 3)}; intervals "
                "there "
                + ("are those of a usual deviation" if self.usual_scale else "are too narrow")
            )
        return found

    def check_rows(self, table: Table) -> None:
        """Check that a wide table has a whole context; series of long ones may be short.

        Raises
        ------
        DataError
            If it has not.
        """
        if not table.long:
            self._enough(len(table.times))

    def _enough(self, rows: int) -> None:
        least = self.config.least_context
        open_ended = "at least " if self.config.any_length else ""
        if rows < least:
            raise DataError(
                f"the model reads a context of {open_ended}{least} rows, the table has {rows}; "
                f"give at least {least} rows"
            )
