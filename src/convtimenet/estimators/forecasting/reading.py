"""How a forecaster reads tables: the windows that train it, and those a fitted network answers.

Shape legend: `convtimenet._shapes`; S series, T rows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from convtimenet.config import ModelConfig
from convtimenet.data.agreement import Labels, match_ids
from convtimenet.data.covariates import Encoder
from convtimenet.data.split import Rows, scored_rows
from convtimenet.data.tables import Table, crop, extend, pad_front
from convtimenet.data.windows import (
    FARTHEST,
    LARGEST,
    Scaler,
    Windows,
    filled_contexts,
    float32,
)
from convtimenet.errors import DataError
from convtimenet.estimators.forecasting.panel import Panel
from convtimenet.estimators.presets import PANEL_EPOCH
from convtimenet.wording import listing

__all__ = [
    "Reader",
    "check_unscaled",
    "gap_notices",
    "scaling_notices",
    "statistics",
    "training_windows",
]

log = logging.getLogger(__name__)


def statistics(table: Table, end: Rows | None = None) -> tuple[Scaler, np.ndarray]:
    """Scaling by the known values in rows [0, end) of a table, of each of its series if it is long;
    by all of them by default.

    Returns
    -------
    scaler
        What has no known value there is scaled as the median of the channel's other series, or
        stays as it is where there is none.
    silent
        Which those are, (C, 1) or (S, C, 1).
    """
    values, starts = table.values.T, table.bounds[:-1]
    if end is not None:
        lengths = table.lengths
        row = np.arange(len(table.times)) - np.repeat(starts, lengths)
        seen = row < np.repeat(np.broadcast_to(end, lengths.shape), lengths)
        values = np.where(seen, values, np.nan)
    known = np.add.reduceat(np.isfinite(values), starts, axis=1, dtype=np.int64) > 0
    if not table.long:
        return Scaler.standard(values), ~known
    scaler, silent = Scaler.per_series(values, starts), ~known.T[..., None]
    for c in np.flatnonzero(silent.any(0) & known.T[..., None].any(0)):
        for one in (scaler.centre, scaler.scale):
            one[silent[:, c, 0], c] = np.median(one[known[c], c])
    return scaler, silent


def scaling_notices(table: Table, silent: np.ndarray) -> list[str]:
    """What is told of channels without a known training value, by `silent` of `statistics`."""
    if not silent.any():
        return []
    of_channel = silent[..., 0].reshape(-1, len(table.channels))
    channels = listing([table.channels[c] for c in np.flatnonzero(of_channel.any(0))])
    told = f"{channels}: no value in the training rows is known"
    if not table.long:
        return [f"{told}; read without scaling"]
    series = table.ids[of_channel.any(1)].tolist()
    return [
        f"{told} in {len(series)} series ({listing(series, 3)}); scaled as the median of the others"
    ]


def gap_notices(table: Table, masks: bool, learns: bool = True) -> list[str]:
    """What becomes of a table's missing values; nothing where there are none.

    Parameters
    ----------
    masks
        Whether the network takes them by a mask (`ModelConfig.masks`).
    learns
        Whether it is fitted to the table, or only reads it.
    """
    if table.known is None:
        return []
    if masks:
        what = "neither reads nor learns" if learns else "does not read"
        return [f"missing values are masked: the network {what} them"]
    what = "; it learns none of them" if learns else ""
    return [
        "the network reads missing values as filled from the known ones of the same context, at "
        f"its end by the last{what}"
    ]


def check_unscaled(values: np.ndarray, channels: Sequence[str], revin: bool) -> list[str]:
    """What a user who forecasts (C, T) values without scaling should know, as notices.

    Parameters
    ----------
    revin
        Whether the network takes a level off every context.

    Raises
    ------
    DataError
        If squared errors in the values' own units would overflow float32, or its fraction does not
        hold what the values vary by.
    """
    own = Scaler.standard(values)
    deviation, level = own.scale[:, 0], np.abs(own.centre[:, 0])
    if deviation.max() > LARGEST:
        raise DataError(
            f"channel {channels[int(deviation.argmax())]!r} varies by {deviation.max():.1e}, and "
            "squared errors of that size overflow; use scale=True or rescale the series"
        )
    varies = np.nanmax(values, 1, initial=-np.inf) > np.nanmin(values, 1, initial=np.inf)
    if not revin and (varies & (level > FARTHEST * deviation)).any():
        worst = int((varies * level / deviation).argmax())
        raise DataError(
            f"channel {channels[worst]!r} varies by {deviation[worst]:.1e} about "
            f"{own.centre[worst, 0]:.1e}, which a network without RevIN cannot tell apart in "
            "float32; use scale=True, or leave revin on"
        )
    small = [name for name, size in zip(channels, deviation, strict=True) if size < 0.03]
    if not small:
        return []
    return [
        f"channel(s) {', '.join(small[:5])} vary by less than 0.03: the 1e-5 that RevIN adds to "
        "every variance is not small beside theirs; scale=True avoids that"
    ]


def training_windows(
    table: Table,
    train_end: np.ndarray,
    valid_end: np.ndarray,
    config: ModelConfig,
    scaler: Scaler,
    encoder: Encoder,
    device: torch.device,
) -> tuple[Windows, Windows | None, Windows | None, list[str]]:
    """Windows with targets in rows [0, train_end) of every series, those in rows [train_end,
    valid_end) that choose the epoch, if any, and both together; and what to say about them.

    Raises
    ------
    DataError
        If the table is too short for one window.
    """
    L, H = config.context_length, config.outputs
    least = L + H if table.long else 0
    if config.revin:
        scaler = scaler.near(*statistics(table, train_end))
    panel = Panel(table, scaler, least, masks=config.masks, encoder=encoder, device=device)
    examples = panel.windows(L, H, 0, train_end)
    if not examples.any_target():
        raise DataError(
            f"no known value to learn from: none in the training rows has a known one in the {L} "
            "rows before it; give a table with fewer gaps, a longer context (input_size), or fill "
            "them (fill=0 where no value means none)"
        )
    if not (valid_end > train_end).any():
        return examples, None, None, []
    valid = panel.windows(L, H, train_end, valid_end)
    everything, notices = panel.windows(L, H, 0, valid_end), []
    if not valid.any_target():
        notices.append(
            "no value of the rows held back to choose the epoch is known: training runs all its "
            "epochs, on all rows"
        )
        return everything, None, None, notices
    if len(table.lengths) > 1 and len(valid) > PANEL_EPOCH:
        notices.append(
            f"{PANEL_EPOCH} of {len(valid)} held-back windows, evenly spaced, choose the epoch"
        )
        valid = valid.thinned(PANEL_EPOCH)
    return examples, valid, everything, notices


@dataclass(frozen=True, eq=False)
class Reader:
    """How tables become windows for a fitted network: scaled and encoded as in training."""

    config: ModelConfig
    scaler: Scaler
    """Statistics of the training rows, one for all series or one for each."""
    encoder: Encoder
    ids: np.ndarray
    """(S,) the series that `scaler` has statistics of."""
    device: torch.device

    def windows(self, table: Table, first: Rows | None, end: Rows | None) -> tuple[Panel, Windows]:
        """A table on the device, and its windows with targets in rows [first, end) of every series;
        by default in all rows.

        Raises
        ------
        DataError
            If the rows do not lie in that order, or no window fits.
        """
        L, H = self.config.context_length, self.config.outputs
        first, end = scored_rows(table, first, end)
        # the first targets have a context before them, as far as there are rows
        before = np.maximum(first, np.minimum(L, table.lengths - H).clip(min=0))
        scaler = self._near(self.scaler_for(table, before), table, before)
        panel = self._panel(table, scaler, L + H if table.long else 0)
        return panel, panel.windows(L, H, first, end)

    def ahead(self, steps: int) -> int:
        """Rows behind the end of a series that a forecast of so many steps reads: whole horizons,
        where covariates go on over them."""
        H = self.config.outputs
        return -(-steps // H) * H if self.encoder.any else 0

    def contexts(
        self, table: Table, ahead: int, plan: Mapping[str, np.ndarray]
    ) -> tuple[Windows, Scaler]:
        """The last context of every series, with covariates of so many rows behind it, and what it
        was scaled with.

        Parameters
        ----------
        plan
            Covariates (S, ahead) known of the rows behind the end.

        Raises
        ------
        DataError
            If a wide table has too few rows.
        """
        L, H = self.config.context_length, self.config.outputs
        if not table.long:
            self._check_rows(len(table.times))
        part = crop(table, table.lengths - L, table.lengths)
        scaler, now = self._near(self.scaler_for(table), part), part.lengths
        if ahead:
            part = extend(part, ahead)
        behind = np.arange(len(part.times)) >= np.repeat(part.bounds[:-1] + now, part.lengths)
        for name, rows in plan.items():
            part.covariates[name][behind] = rows.reshape(-1)
        panel = self._panel(part, scaler, L + ahead)
        return panel.windows(L, min(ahead, H), now, now + min(ahead, H)), scaler

    def context_of(self, values: np.ndarray) -> tuple[Windows, Scaler]:
        """The same of the values (T, C) of one series, NaN where missing.

        Raises
        ------
        DataError
            If there are too few rows.
        """
        L = self.config.context_length
        self._check_rows(len(values))
        recent = np.asarray(values, dtype=np.float64)[-L:].T
        missing, scaler = np.isnan(recent), self.scaler
        if scaler.centre.ndim == 3 or self._shifts(recent):
            own = Scaler.standard(recent)
            silent = missing.sum(1, keepdims=True) == missing.shape[1]
            if scaler.centre.ndim == 3:
                scaler = self._unseen(own, silent)
            scaler = scaler.near(own, silent) if self.config.revin else scaler
        scaled = np.where(missing, 0, scaler.apply(recent))
        scaled = torch.from_numpy(float32(scaled)).to(self.device)
        known = torch.from_numpy(~missing).to(self.device) if missing.any() else None
        start = torch.zeros(1, dtype=torch.int64, device=self.device)
        return Windows(scaled, start, L, 0, known, self.config.masks), scaler

    def context_values(self, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """Values (S, C, L) of the last contexts in the data's units, NaN where the network is told
        that they are missing, and their time stamps (S, L)."""
        L = self.config.context_length
        context = pad_front(crop(table, table.lengths - L, table.lengths), L)
        series = context.values.reshape(-1, L, len(table.channels)).swapaxes(1, 2)
        if not self.config.masks:
            series = filled_contexts(series)
        return series, context.times.reshape(-1, L)

    def scaler_for(self, table: Table, before: Rows | None = None) -> Scaler:
        """Scaling of the series of a table: as in training where it saw them; else by their own
        values in rows [0, before), all of them by default, and as the median of the training series
        where none of those is known."""
        if self.scaler.centre.ndim == 2:
            return self.scaler
        seen, _ = match_ids(table.ids, self.labels, "the table")
        if (seen >= 0).all():
            return self.scaler[seen]
        as_long = replace(table, id_name=table.id_name or "", rows=table.lengths)
        (own, silent), ours = statistics(as_long, before), self.scaler[seen]
        own, new = self._unseen(own, silent), (seen < 0)[:, None, None]
        if len(lone := np.flatnonzero(silent.any((1, 2)) & (seen < 0))):
            log.warning(
                "series that training did not see and of which no value to scale by is known: %s; "
                "scaled as the median of the training series",
                listing(table.ids[lone].tolist(), 3),
            )
        return Scaler(np.where(new, own.centre, ours.centre), np.where(new, own.scale, ours.scale))

    def _unseen(self, own: Scaler, silent: np.ndarray) -> Scaler:
        """Scaling of series that training did not see: by their own statistics, as the median of
        the training series where those are of no value."""
        centre, scale = (np.median(one, axis=0) for one in (self.scaler.centre, self.scaler.scale))
        return Scaler(np.where(silent, centre, own.centre), np.where(silent, scale, own.scale))

    @cached_property
    def labels(self) -> Labels:
        """`ids`, to be found under any of their writings."""
        return Labels(self.ids.tolist())

    def _panel(self, table: Table, scaler: Scaler, least: int) -> Panel:
        masks, encoder = self.config.masks, self.encoder
        return Panel(table, scaler, least, masks=masks, encoder=encoder, device=self.device)

    def _near(self, scaler: Scaler, table: Table, end: Rows | None = None) -> Scaler:
        """`Scaler.near` the rows [0, end) of a table, where the network takes levels off."""
        return scaler.near(*statistics(table, end)) if self._shifts(table.values) else scaler

    def _shifts(self, values: np.ndarray) -> bool:
        """Whether the level of values may be taken off; not of some whose squares overflow, which
        `float32` refuses."""
        return self.config.revin and np.nanmax(np.abs(values), initial=0) < 1e150

    def _check_rows(self, rows: int) -> None:
        L = self.config.context_length
        if rows < L:
            raise DataError(
                f"the model reads a context of {L} rows, the table has {rows}; give at least {L} "
                "rows"
            )
