"""Where the series of a table lie: their scalers, moved to the values of a context, or around 0.

Networks to which 0 means none read values that are scaled and not centred. Of a context without a
known value only training knows where the series lies. Smoothing has learnt a usual level for that;
the weights that come with the package have not, so their scaler keeps the level of each series.

Shape legend: `convtimenet._shapes`; S series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convtimenet.config import ModelConfig
from convtimenet.data.large.sharing import Sharing
from convtimenet.data.split import Rows
from convtimenet.data.table_rows import pieces
from convtimenet.data.tables import Table
from convtimenet.data.windows import Scaler
from convtimenet.errors import DataError
from convtimenet.wording import advice, listing

__all__ = [
    "Levelled",
    "around_level",
    "either",
    "known_counts",
    "near",
    "silent_rows",
    "statistics",
    "uncentred",
]

_BELOW = 100.0  # standard deviations


def statistics(table: Table, end: Rows | None = None) -> tuple[Scaler, np.ndarray]:
    """A scaler fitted to the known values in rows [0, end) of a table, per series if it is long; to
    all rows by default.

    Returns
    -------
    scaler
        A channel without a known value there is scaled by the median statistics of its other
        series, or not at all if there are none.
    unknown
        Whether a channel has no known value there, (C, 1) or (S, C, 1).
    """
    lengths = table.lengths
    end = lengths if end is None else np.broadcast_to(end, lengths.shape)
    if not table.long:
        scaler, known = _statistics(table, end)
        return scaler, ~known
    sharing, shape = Sharing(table.mapped), (len(lengths), len(table.channels), 1)
    centre, scale = (sharing.empty(shape, np.float64) for _ in range(2))
    known = sharing.empty((len(table.channels), len(lengths)), bool)
    for of, piece in sharing.own(pieces(table)):
        own, known[:, of] = _statistics(piece, end[of])
        centre[of], scale[of] = own.centre, own.scale
    sharing.wait()
    scaler, known = Scaler(np.array(centre), np.array(scale)), np.array(known)
    unknown = ~known.T[..., None]
    for c in np.flatnonzero(unknown.any(0) & known.T[..., None].any(0)):
        for one in (scaler.centre, scaler.scale):
            one[unknown[:, c, 0], c] = np.median(one[known[c], c])
    return scaler, unknown


def _statistics(table: Table, end: np.ndarray) -> tuple[Scaler, np.ndarray]:
    """The scaler of the rows before `end` (S,), and whether a channel is known there, (C, S)."""
    values, starts, lengths = table.values.T, table.bounds[:-1], table.lengths
    if (end < lengths).any():
        row = np.arange(len(table.times)) - np.repeat(starts, lengths)
        values = np.where(row < np.repeat(end, lengths), values, np.nan)
    known = np.add.reduceat(np.isfinite(values), starts, axis=1, dtype=np.int64) > 0
    if not table.long:
        return Scaler.standard(values), known
    return Scaler.per_series(values, starts), known


def near(scaler: Scaler, own: Scaler, unknown: np.ndarray, config: ModelConfig) -> Scaler:
    """`Scaler.near` for a network. Where the level moves for one that may take logarithms, it moves
    below 0, so that no value is taken for a positive one."""
    if config.any_length:
        own = Scaler(own.centre + _BELOW * own.scale, own.scale)
    return scaler.near(own, unknown)


@dataclass(frozen=True)
class Levelled(Scaler):
    """A scaler around 0, with the mean that it leaves.

    Attributes
    ----------
    level
        As `centre`, in the data's units; NaN where training had no known value.
    """

    level: np.ndarray

    @classmethod
    def restored(cls, scaler: Scaler, level: np.ndarray) -> Levelled:
        """From a file.

        Raises
        ------
        ValueError
            If the level does not fit the scaler.
        """
        if level.shape != scaler.centre.shape or np.isinf(level).any():
            raise ValueError(f"a level of the shape {level.shape} for {scaler.centre.shape}")
        return cls(scaler.centre, scaler.scale, level)

    def __getitem__(self, series: int | slice | np.ndarray) -> Levelled:
        return Levelled(self.centre[series], self.scale[series], self.level[series])


def uncentred(scaler: Scaler, config: ModelConfig, unknown: np.ndarray | None = None) -> Scaler:
    """The scaler of a network with this config: the same, or around 0.

    Parameters
    ----------
    unknown
        Where training had no known value, (C, 1) or (S, C, 1); the mean of a series is then that of
        the others (`statistics`), if these have one.
    """
    if not config.any_length:
        return scaler
    around = scaler.uncentred()
    if not config.pretrained:
        return around
    level = scaler.centre
    if unknown is not None:
        nowhere = unknown if unknown.ndim == 2 else unknown.all(0)
        level = np.where(nowhere, np.nan, level)
    return Levelled(around.centre, around.scale, level)


def either(first: np.ndarray, one: Scaler, other: Scaler) -> Scaler:
    """One scaler where `first` is True, and the other one elsewhere."""
    centre, scale = (
        np.where(first, *pair) for pair in ((one.centre, other.centre), (one.scale, other.scale))
    )
    if not (isinstance(one, Levelled) and isinstance(other, Levelled)):
        return Scaler(centre, scale)
    return Levelled(centre, scale, np.where(first, one.level, other.level))


def around_level(
    scaler: Scaler, fitted: Scaler, silent: np.ndarray, names: Sequence[str], ids: Sequence[object]
) -> Scaler:
    """The scaler with its centre at the level of training where a context has no known value.

    Parameters
    ----------
    fitted
        The one before its centre was moved to the values (`Scaler.near`).
    silent
        Where there is none, (C, 1) or (S, C, 1).
    names, ids
        Of the channels, and of the series if there are several.

    Raises
    ------
    DataError
        If the level is not known either; the message names the channels.
    """
    if not silent.any() or (fitted.centre.any() and not isinstance(fitted, Levelled)):
        return scaler  # around the level already, as that of an ensemble is
    level = fitted.level if isinstance(fitted, Levelled) else np.full_like(fitted.centre, np.nan)
    level, lacking = np.where(silent, level, 0.0), silent & np.isnan(level)
    if lacking.any():
        of = [
            names[at[-1]] if len(at) < 2 else f"{names[at[-1]]} of {ids[at[0]]}"
            for at in np.argwhere(lacking[..., 0]).tolist()
        ]
        raise DataError(
            f"expected a known value in the rows that the model reads of {listing(of, 3)}, found "
            "none, and the model keeps no mean of its training rows; give rows with values"
            + advice(
                ", leave the channel out, or fit the model to rows that have some (scale=True)", ""
            )
        )
    centre = np.where(silent, level, scaler.centre)
    return Scaler(centre, np.broadcast_to(scaler.scale, centre.shape).copy())


def silent_rows(table: Table) -> np.ndarray:
    """Where a channel has no known value in a table, (C, 1) or (S, C, 1) for a long one."""
    silent = known_counts(table) == 0
    return silent[..., None] if table.long else silent[0][:, None]


def known_counts(table: Table) -> np.ndarray:
    """(S, C) known values of each series."""
    return np.add.reduceat(np.isfinite(table.values), table.bounds[:-1], axis=0, dtype=np.int64)
