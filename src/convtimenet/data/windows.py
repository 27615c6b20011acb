"""Batches of forecasting windows and of labelled cases, gathered on the device.

Both classes provide ``len(examples)`` and ``examples.batch(index) -> Batch``, which is all that
training and evaluation need. Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from convtimenet._shapes import Bool, Float, Int
from convtimenet.batch import Batch, Covariates, fill_contexts
from convtimenet.errors import DataError
from convtimenet.files.maps import ranges

LARGEST = 1e15
"""Largest scaled value: its square, summed over a context, still fits float32."""
FARTHEST = 1000.0
"""Largest distance of values from 0, in standard deviations: float32 still resolves a
ten-thousandth of a deviation there."""
RESOLVED = 2.0**17
"""Distance from 0, in deviations of the values themselves, at which float32 still resolves a
hundredth of one."""
_REVIN_FLOOR = 1e-5**0.5  # smallest standard deviation that RevIN divides by
_FAR = 64  # spreads from 0, from which a channel of cases is not rounded before scaling
_TINY, _UP = 2.0**-500, 2.0**600  # ranges below the first have squares that float64 may lose
_SMALLEST = 1e-30  # spread of a channel of cases that float32 still holds


@runtime_checkable
class Examples(Protocol):
    """The interface of data for training and evaluation."""

    def __len__(self) -> int: ...

    def batch(self, index: Tensor) -> Batch:
        """The examples at positions `index` (B,)."""
        ...


@dataclass(frozen=True)
class Scaler:
    """Standardisation or scaling to [-1, 1], with the statistics of the training data.

    Attributes
    ----------
    centre, scale
        (C, 1) each, or (S, C, 1) for one per series, float64: ``scaled = (x - centre) / scale``.
    """

    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def standard(cls, values: np.ndarray) -> Scaler:
        """Zero mean and unit standard deviation per channel of `values` (C, T), ignoring NaN. A
        constant channel has scale 1; a channel without an observed value is not changed.

        Raises
        ------
        DataError
            If values are so large that their squares overflow.
        """
        if np.isnan(values).any():
            return cls.per_series(values, np.array([0]))[0]
        with np.errstate(over="ignore", invalid="ignore"):
            deviation = values.std(axis=-1, keepdims=True)
        _check_squares(deviation, values)
        apart = np.ptp(values, axis=-1, keepdims=True)
        if (tiny := (apart > 0) & (apart < _TINY)).any():
            with np.errstate(over="ignore", invalid="ignore"):  # of other channels
                deviation[tiny] = (values * _UP).std(axis=-1, keepdims=True)[tiny] / _UP
        # rounding alone can give a constant channel a deviation above 0
        varies = (apart > 0) & (deviation > 0)
        return cls(values.mean(axis=-1, keepdims=True), np.where(varies, deviation, 1.0))

    @classmethod
    def per_series(cls, values: np.ndarray, starts: np.ndarray) -> Scaler:
        """`standard` for each of the series that start at columns `starts` (S,) of (C, T)."""
        known = ~np.isnan(values)
        lengths = np.diff(starts, append=values.shape[1])
        count = np.maximum(1, np.add.reduceat(known, starts, axis=1, dtype=np.int64))
        with np.errstate(over="ignore", invalid="ignore"):
            centre = np.add.reduceat(np.where(known, values, 0), starts, axis=1) / count
            off = np.where(known, values - np.repeat(centre, lengths, axis=1), 0)
            deviation = np.sqrt(np.add.reduceat(off * off, starts, axis=1) / count)
        _check_squares(deviation, values)
        lowest = np.minimum.reduceat(np.where(known, values, np.inf), starts, axis=1)
        highest = np.maximum.reduceat(np.where(known, values, -np.inf), starts, axis=1)
        varies = highest > lowest
        if (tiny := varies & (highest - np.where(varies, lowest, 0) < _TINY)).any():
            with np.errstate(over="ignore"):  # of other series
                squares = np.square(off * _UP)
            deviation[tiny] = np.sqrt(np.add.reduceat(squares, starts, axis=1) / count)[tiny] / _UP
        scale = np.where(varies & (deviation > 0), deviation, 1.0)
        return cls(centre.T[..., None], scale.T[..., None])

    def near(self, own: Scaler, silent: np.ndarray) -> Scaler:
        """The same scale with the centre moved to the values, for channels that lie so far from
        the current centre that float32 would lose their variation. Returns self if there are none.

        This is safe with RevIN, which subtracts a centre of its own and adds it back afterwards.

        Parameters
        ----------
        own, silent
            Statistics of the values, and True where a channel has no values: (C, 1) or (S, C, 1).
        """
        with np.errstate(over="ignore"):
            off = np.abs(own.centre - self.centre) / self.scale
            own_scale = own.scale / self.scale
            far = off > FARTHEST * np.hypot(own_scale, _REVIN_FLOOR)
            far = (far | (off > RESOLVED * own_scale)) & ~silent
        if not far.any():
            return self
        centre = np.where(far, own.centre, self.centre)
        return Scaler(centre, np.broadcast_to(self.scale, centre.shape).copy())

    def uncentred(self) -> Scaler:
        """The same scale for networks to which 0 means none."""
        return Scaler(np.zeros_like(self.centre), self.scale)

    def __getitem__(self, series: int | slice | np.ndarray) -> Scaler:
        """The statistics of one series, (C, 1), or of several, (n, C, 1)."""
        return Scaler(self.centre[series], self.scale[series])

    def along(self, lengths: np.ndarray) -> Scaler:
        """The statistics repeated for every row of the series, (C, T) each."""
        if self.centre.ndim == 2:
            return self
        return Scaler(*(np.repeat(s[..., 0], lengths, axis=0).T for s in (self.centre, self.scale)))

    @classmethod
    def identity(cls) -> Scaler:
        """A scaler that changes nothing, for any number of channels."""
        return cls(np.zeros((1, 1)), np.ones((1, 1)))

    @classmethod
    def minus_one_to_one(cls, cases: np.ndarray) -> Scaler:
        """Minimum to -1 and maximum to 1 per channel of `cases` (n, C, L), ignoring NaN.

        The 1e-4 is the authors' guard; what varies by less is scaled to [-1, 0]. What is constant
        stays -1 later: over 1e-4 the least change would outweigh all other channels.
        """
        lowest = np.nanmin(cases, axis=(0, 2))[:, None].astype(np.float64)
        highest = np.nanmax(cases, axis=(0, 2))[:, None].astype(np.float64)
        exact = cls._between(lowest, highest)
        return cls._between(exact.rounded(lowest), exact.rounded(highest))

    @classmethod
    def _between(cls, lowest: np.ndarray, highest: np.ndarray) -> Scaler:
        span = highest - lowest
        half = np.where(span > 0, (span + np.minimum(span, 1e-4)) / 2, 1e30)
        return cls(lowest + half, half)

    @property
    def rounds(self) -> np.ndarray:
        """Mask (C, 1) of the channels whose values are rounded to float32 before scaling.

        These channels lie near 0 relative to their spread, and rounding keeps them compatible with
        earlier models. Other channels would lose their shape: at 4.5e6, float32 values are 0.5
        apart.
        """
        return (np.abs(self.centre) < _FAR * self.scale) & (self.scale > _SMALLEST)

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """Values (..., C, L) of cases, with the channels in `rounds` rounded to float32."""
        if values.dtype == np.float32:
            return values
        with np.errstate(over="ignore"):
            return np.where(self.rounds, values.astype(np.float32), values)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Scale (..., C, T)."""
        return (values - self.centre) / self.scale

    def invert(self, values: np.ndarray) -> np.ndarray:
        """Undo the scaling of (..., C, T)."""
        return values * self.scale + self.centre


def _check_squares(deviation: np.ndarray, values: np.ndarray) -> None:
    if not np.isfinite(deviation).all():
        raise DataError(
            f"values as large as {np.nanmax(np.abs(values)):.3g} cannot be scaled: their squares "
            "overflow float64; rescale the series first"
        )


class Windows:
    """Pairs of context and horizon, cut by index from series stored one after the other.

    The series stay in one tensor on the device; a batch of any size is a single gather.

    Parameters
    ----------
    values
        (C, T), on the training device.
    starts
        First context step of every window.
    context_length, horizon
        L and H, time steps.
    known
        (C, T), False where a value is missing or padding, which gives targets weight 0; or None.
    exogenous
        Covariates of the series.
    mapped
        Whether what is computed for every row or window goes to temporary files.
    masks
        Pass the observed mask of each context to the network. If False, the network gets contexts
        filled by `fill_contexts`.
    """

    def __init__(
        self,
        values: Float[Tensor, "C T"],
        starts: Int[Tensor, " n"],
        context_length: int,
        horizon: int,
        known: Bool[Tensor, "C T"] | None = None,
        masks: bool = False,
        exogenous: Exogenous | None = None,
        mapped: bool = False,
    ):
        self.mapped = mapped
        self.starts, self.context_length, self.horizon = starts, context_length, horizon
        self.masks, self.exogenous = masks, exogenous
        self.values, self.mask = values, known
        # a view: window s is column s, no window is copied before its batch
        self.all = values.unfold(1, context_length + horizon, 1)
        self.known = None if known is None else known.unfold(1, context_length + horizon, 1)

    def __reduce__(self) -> tuple[Any, ...]:
        """For other processes: without the views, which hold the same values once more."""
        return Windows, self._of(self.starts, self.context_length)

    def _of(self, starts: Tensor, context_length: int) -> tuple[Any, ...]:
        given = self.values, starts, context_length, self.horizon, self.mask
        return *given, self.masks, self.exogenous, self.mapped

    @classmethod
    def between(
        cls,
        values: Float[Tensor, "C T"],
        context_length: int,
        horizon: int,
        first_target: int | np.ndarray,
        end: int | np.ndarray,
        begin: int | np.ndarray = 0,
        known: Bool[Tensor, "C T"] | None = None,
        masks: bool = False,
        exogenous: Exogenous | None = None,
        mapped: bool = False,
    ) -> Windows:
        """Every window whose targets lie in rows [first_target, end) and whose context starts at
        row `begin` or later; scalars for one series, or (S,) with one value per series.

        Raises
        ------
        DataError
            If no window fits.
        """
        first = np.atleast_1d(np.maximum(first_target, begin + np.int64(context_length)))
        last = np.atleast_1d(end) - horizon
        if (last < first).all():
            raise DataError(
                f"no window fits: {_room(first_target, begin, end, context_length, horizon)}; "
                "give more rows, or use a shorter context (input_size) or horizon (h)"
            )
        first = np.broadcast_to(first, last.shape) - context_length
        starts = ranges(first, np.maximum(first, last + 1 - context_length), mapped)
        on_device = torch.from_numpy(starts).to(values.device)
        return cls(values, on_device, context_length, horizon, known, masks, exogenous, mapped)

    def thinned(self, most: int) -> Windows:
        """At most `most` of the windows, evenly spaced."""
        found = copy(self)
        if len(self) > most:
            chosen = np.linspace(0, len(self) - 1, most).round().astype(np.int64)
            found.starts = self.starts[torch.from_numpy(chosen).to(self.starts.device)]
        return found

    def ends(self, context_length: int) -> Windows:
        """The same windows with the last steps of their contexts only."""
        later = self.context_length - context_length
        return Windows(*self._of(self.starts + later, context_length))

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, index: Int[Tensor, " B"]) -> Batch:
        """The contexts and horizons at positions `index`."""
        starts = self.starts[index]
        both = self.all[:, starts].transpose(0, 1)
        L = self.context_length
        x, y = both[..., :L], both[..., L:]
        covariates = self.covariates(index)
        if self.known is None:
            return Batch(x, y, covariates=covariates)
        context, targets = self.known[:, starts].transpose(0, 1).split([L, self.horizon], dim=-1)
        # a channel with no observed value in the context gets no weight
        weight = (targets & context.any(-1, keepdim=True)).to(x.dtype)
        # blocks are faster without a mask; on an accelerator this check would force a sync
        complete = context.device.type == "cpu" and bool(context.all())
        if not self.masks and not complete:
            x = fill_contexts(x, context)
        masked = self.masks and not complete
        return Batch(x, y, weight, context if masked else None, covariates)

    def any_target(self) -> bool:
        """Whether any target of any window has a weight above 0."""
        if self.known is None:
            return True
        L = self.context_length
        return any(
            bool((span[..., :L].any(-1) & span[..., L:].any(-1)).any())
            for span in (self.known[:, starts] for starts in self.starts.split(1024))
        )

    def covariates(self, index: Int[Tensor, " B"], ahead: int = 0) -> Covariates | None:
        """Covariates of the windows, shifted by `ahead` rows."""
        if self.exogenous is None:
            return None
        return self.exogenous.at(self.starts[index] + ahead, self.context_length, self.horizon)


def filled_contexts(values: np.ndarray) -> np.ndarray:
    """`fill_contexts` for an array (..., L), NaN where missing and where no value is observed."""
    x = torch.from_numpy(np.ascontiguousarray(values))
    return fill_contexts(x, ~x.isnan()).numpy()


@dataclass(frozen=True)
class Exogenous:
    """Covariates of series stored one after the other, on the training device."""

    hist: Tensor  # (K, T)
    futr: Tensor  # (K, T)
    stat: Tensor  # (S, K)
    categories: Tensor  # (S, K) int64
    bounds: Tensor  # (S + 1,), the first row of each series, and T

    def at(self, starts: Int[Tensor, " B"], L: int, H: int) -> Covariates:
        """The covariates of windows whose contexts start at rows `starts`."""
        hist = futr = stat = categories = None
        if len(self.hist):
            hist = self.hist.unfold(1, L, 1)[:, starts].transpose(0, 1)
        if len(self.futr):
            futr = self.futr.unfold(1, L + H, 1)[:, starts].transpose(0, 1)
        series = torch.searchsorted(self.bounds, starts, right=True) - 1
        if self.stat.shape[1]:
            stat = self.stat[series]
        if self.categories.shape[1]:
            categories = self.categories[series]
        return Covariates(hist, futr, stat, categories)


def _room(
    first_target: int | np.ndarray, begin: int | np.ndarray, end: int | np.ndarray, L: int, H: int
) -> str:
    """The expected and found number of rows, the latter of the longest series."""
    rows, targets = (int(np.max(end - np.asarray(start))) for start in (begin, first_target))
    of = f" in the longest of {np.size(end)} series" if np.size(end) > 1 else ""
    if rows < L + H:
        return f"expected {L + H} rows, a context of {L} and a horizon of {H}, found {rows}{of}"
    return f"expected {H} rows to forecast after a context of {L}, found {max(0, targets)}{of}"


class LabelledCases:
    """Cases with their targets, on the training device.

    Parameters
    ----------
    x
        NaN where a value is padding or missing.
    y
        Class numbers (n,), or (n, 1) regression targets.
    weight
        Weight of each case, broadcastable to `y`; None weights all equally.
    """

    def __init__(self, x: Float[Tensor, "n C L"], y: Tensor, weight: Tensor | None = None):
        self.x, self.y, self.weight = x, y, weight
        self.complete = known_in(x) is None

    def __len__(self) -> int:
        return len(self.x)

    def subset(self, numbers: np.ndarray) -> LabelledCases:
        """The cases with these numbers."""
        index = torch.from_numpy(numbers).to(self.x.device)
        weight = None if self.weight is None else self.weight[index]
        return LabelledCases(self.x[index], self.y[index], weight)

    def batch(self, index: Int[Tensor, " B"]) -> Batch:
        """The cases at positions `index`, with targets, weights and observed mask."""
        x, weight = self.x[index], None if self.weight is None else self.weight[index]
        return Batch(x, self.y[index], weight, None if self.complete else ~x.isnan())


def known_in(x: Float[Tensor, "n C L"]) -> Bool[Tensor, "n C L"] | None:
    """The observed mask, False where NaN; None if there is no NaN."""
    return ~x.isnan() if x.isnan().any() else None


def float32(scaled: np.ndarray) -> np.ndarray:
    """Scaled values, NaN where missing, as float32 for the network.

    Raises
    ------
    DataError
        If they are too large for sums of squares in float32.
    """
    largest = np.nanmax(np.abs(scaled), initial=0.0)
    if largest > LARGEST:
        raise DataError(
            f"scaled values must be at most {LARGEST:g}, found {largest:.3g}: they are far from "
            "the training data, or not scaled at all; rescale them"
        )
    return np.ascontiguousarray(scaled, dtype=np.float32)


def pad_cases(values: np.ndarray, scaler: Scaler, length: int, fill: float = np.nan) -> np.ndarray:
    """Scaled cases of exactly `length` steps.

    Parameters
    ----------
    values
        (n, C, L), NaN after the end of each case and where values are missing. They are scaled
        in float64: far from 0, float32 would lose most of the differences between cases.
    length
        Steps of the result; longer cases are truncated at the end.
    fill
        Replaces NaN: NaN itself with a mask, or zero as in the paper (SPEC section 5).

    Returns
    -------
    (n, C, length) float32.
    """
    padded = np.full((*values.shape[:2], length), fill, dtype=np.float32)
    kept = min(length, values.shape[2])
    scaled = float32(scaler.apply(scaler.rounded(values[..., :kept])))
    padded[..., :kept] = np.where(np.isnan(scaled), fill, scaled)
    return padded
