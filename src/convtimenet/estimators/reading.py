"""How a forecaster reads tables: the windows that train it, and those a fitted network answers.

Shape legend: `convtimenet._shapes`; S series, T rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from convtimenet.config import ModelConfig
from convtimenet.data.agreement import Labels, match_ids
from convtimenet.data.covariates import Encoder
from convtimenet.data.split import Rows, scored_rows
from convtimenet.data.tables import Table, crop, extend, pad_front
from convtimenet.data.windows import Scaler, Windows, float32
from convtimenet.errors import DataError
from convtimenet.estimators.panel import Panel
from convtimenet.estimators.presets import PANEL_EPOCH

__all__ = ["Reader", "gap_notices", "statistics", "training_windows"]


def statistics(table: Table, masks: bool) -> Scaler:
    """Scaling by the values of a table, of each of its series if it is long; without the filled
    values where the network takes masks."""
    known = None if table.known is None or not masks else table.known.T
    if table.long:
        return Scaler.per_series(table.values.T, known, table.bounds[:-1])
    return Scaler.standard(table.values.T, known)


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
    what = "reads and learns" if learns else "reads"
    return [
        f"missing values are filled by interpolation in time: the network {what} them as any others"
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
    # filled values train as any other where the paper's network is asked for
    seen = table if config.masks else replace(table, known=None)
    least = L + H if table.long else 0
    panel = Panel(seen, scaler, least, masks=config.masks, encoder=encoder, device=device)
    examples = panel.windows(L, H, 0, train_end)
    if not (valid_end > train_end).any():
        return examples, None, None, []
    valid = panel.windows(L, H, train_end, valid_end)
    everything, notices = panel.windows(L, H, 0, valid_end), []
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
        panel = self._panel(table, self.scaler_for(table), L + H if table.long else 0)
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
        scaler = self.scaler_for(table)
        part = crop(table, table.lengths - L, table.lengths)
        now = part.lengths
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
        recent = values[-L:].T
        missing, scaler = np.isnan(recent), self.scaler
        if scaler.centre.ndim == 3:
            scaler = Scaler.standard(recent, ~missing)
        scaled = torch.from_numpy(float32(scaler.apply(recent))).to(self.device)
        known = torch.from_numpy(~missing).to(self.device) if missing.any() else None
        start = torch.zeros(1, dtype=torch.int64, device=self.device)
        return Windows(scaled, start, L, 0, known, self.config.masks), scaler

    def context_values(self, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """Values (S, C, L) of the last contexts in the data's units, NaN where the network is told
        that they are missing, and their time stamps (S, L)."""
        L = self.config.context_length
        context = pad_front(crop(table, table.lengths - L, table.lengths), L)
        values = context.values
        if context.known is not None and self.config.masks:
            values = np.where(context.known, values, np.nan)
        series = values.reshape(-1, L, len(table.channels)).swapaxes(1, 2)
        return series, context.times.reshape(-1, L)

    def scaler_for(self, table: Table) -> Scaler:
        """Scaling of the series of a table: as in training where it saw them, by their own values
        else."""
        if self.scaler.centre.ndim == 2:
            return self.scaler
        seen, _ = match_ids(table.ids, self.labels, "the table")
        if (seen >= 0).all():
            return self.scaler[seen]
        as_long = replace(table, id_name=table.id_name or "", rows=table.lengths)
        own, ours = statistics(as_long, self.config.masks), self.scaler[seen]
        trained = (seen >= 0)[:, None, None]
        return Scaler(
            np.where(trained, ours.centre, own.centre), np.where(trained, ours.scale, own.scale)
        )

    @cached_property
    def labels(self) -> Labels:
        """`ids`, to be found under any of their writings."""
        return Labels(self.ids.tolist())

    def _panel(self, table: Table, scaler: Scaler, least: int) -> Panel:
        masks, encoder = self.config.masks, self.encoder
        return Panel(table, scaler, least, masks=masks, encoder=encoder, device=self.device)

    def _check_rows(self, rows: int) -> None:
        L = self.config.context_length
        if rows < L:
            raise DataError(
                f"the model reads a context of {L} rows, the table has {rows}; give at least {L} "
                "rows"
            )
