"""Arrays to batches: forecasting windows and labelled cases, both gathered on the device.

Either kind gives ``len(examples)`` and ``examples.batch(index) -> Batch``, which is all that
training and evaluation ask for. Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from convtimenet._shapes import Bool, Float, Int
from convtimenet.errors import DataError


class Batch(NamedTuple):
    """Examples drawn together, on the device that trains."""

    x: Tensor
    """(B, C, L), what the network reads."""
    y: Tensor
    """Targets: (B, C, H) values or (B,) class numbers."""
    weight: Tensor | None = None
    """What each target counts, broadcastable to `y` and not negative; None counts all alike."""
    known: Tensor | None = None
    """(B, C, L), False where a value of `x` is padding or missing; None where all are known."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the network is called with."""
        return (self.x,) if self.known is None else (self.x, self.known)


@runtime_checkable
class Examples(Protocol):
    """What training and evaluation need to know of the data."""

    def __len__(self) -> int: ...

    def batch(self, index: Tensor) -> Batch:
        """The examples numbered `index` (B,)."""
        ...


@dataclass(frozen=True)
class Scaler:
    """Standardisation, or scaling to [-1, 1], with statistics of the training data.

    Attributes
    ----------
    centre, scale
        (C, 1) each, float64: ``scaled = (x - centre) / scale``.
    """

    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def standard(cls, values: np.ndarray) -> Scaler:
        """Zero mean, unit deviation per channel of `values` (C, T); a constant channel keeps
        its unit (scale 1)."""
        deviation = values.std(axis=-1, keepdims=True)
        # rounding alone can give a constant channel a deviation above 0
        varies = (np.ptp(values, axis=-1, keepdims=True) > 0) & (deviation > 0)
        return cls(values.mean(axis=-1, keepdims=True), np.where(varies, deviation, 1.0))

    @classmethod
    def identity(cls) -> Scaler:
        """Leave values as they are, for any number of channels."""
        return cls(np.zeros((1, 1)), np.ones((1, 1)))

    @classmethod
    def minus_one_to_one(cls, cases: np.ndarray) -> Scaler:
        """Minimum to -1 and maximum to 1 per channel of `cases` (n, C, L), NaN ignored; the
        1e-4 is the authors' guard for constant channels."""
        lowest = np.nanmin(cases, axis=(0, 2))[:, None].astype(np.float64)
        highest = np.nanmax(cases, axis=(0, 2))[:, None].astype(np.float64)
        half = (highest - lowest + 1e-4) / 2
        return cls(lowest + half, half)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Scale (..., C, T)."""
        return (values - self.centre) / self.scale

    def invert(self, values: np.ndarray) -> np.ndarray:
        """Back to the data's units, (..., C, T)."""
        return values * self.scale + self.centre


class Windows:
    """Pairs of context and horizon cut from one table by index.

    The table stays one tensor on the device; a batch is one gather, whatever its size.

    Parameters
    ----------
    values
        (C, T), on the device that trains.
    starts
        First context step of every window.
    context_length, horizon
        L and H, time steps.
    """

    def __init__(
        self,
        values: Float[Tensor, "C T"],
        starts: Int[Tensor, " n"],
        context_length: int,
        horizon: int,
    ):
        self.starts, self.context_length, self.horizon = starts, context_length, horizon
        # a view: window s is column s, no window is copied before its batch
        self.all = values.unfold(1, context_length + horizon, 1)

    @classmethod
    def between(
        cls,
        values: Float[Tensor, "C T"],
        context_length: int,
        horizon: int,
        first_target: int,
        end: int,
    ) -> Windows:
        """Every window whose targets lie in rows [first_target, end); contexts may reach back.

        Raises
        ------
        DataError
            If no window fits.
        """
        first = max(first_target, context_length)
        if end - first < horizon:
            raise DataError(
                f"no window fits: a context of {context_length} and a horizon of {horizon} steps "
                f"need targets within rows {first} to {end}, which are {max(0, end - first)} "
                "steps; use a shorter context or horizon, or more rows"
            )
        starts = torch.arange(
            first - context_length, end - context_length - horizon + 1, device=values.device
        )
        return cls(values, starts, context_length, horizon)

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, index: Int[Tensor, " B"]) -> Batch:
        """Contexts and what followed them."""
        both = self.all[:, self.starts[index]].transpose(0, 1)
        return Batch(both[..., : self.context_length], both[..., self.context_length :])


class LabelledCases:
    """Cases with what is to be learnt of each, on the device that trains.

    Parameters
    ----------
    x
        NaN where a value is padding or missing.
    y
        Class numbers, or (n, 1) numbers of a regression.
    weight
        What each case counts, shaped to be broadcast to `y`; None counts all alike.
    """

    def __init__(self, x: Float[Tensor, "n C L"], y: Tensor, weight: Tensor | None = None):
        self.x, self.y, self.weight = x, y, weight
        self.complete = known_in(x) is None

    def __len__(self) -> int:
        return len(self.x)

    def subset(self, numbers: np.ndarray) -> LabelledCases:
        """The cases of these numbers."""
        index = torch.from_numpy(numbers).to(self.x.device)
        weight = None if self.weight is None else self.weight[index]
        return LabelledCases(self.x[index], self.y[index], weight)

    def batch(self, index: Int[Tensor, " B"]) -> Batch:
        """Cases, what is to be learnt of them, and which of their values are known."""
        x, weight = self.x[index], None if self.weight is None else self.weight[index]
        return Batch(x, self.y[index], weight, None if self.complete else ~x.isnan())


def known_in(x: Float[Tensor, "n C L"]) -> Bool[Tensor, "n C L"] | None:
    """Which values are known, not NaN; None where all are."""
    return ~x.isnan() if x.isnan().any() else None


def pad_cases(values: np.ndarray, scaler: Scaler, length: int, fill: float = np.nan) -> np.ndarray:
    """Scaled cases of exactly `length` steps.

    Parameters
    ----------
    values
        (n, C, L), NaN past each case's own length and where values are missing.
    length
        Steps of the result; longer cases lose their end.
    fill
        What stands for NaN: NaN itself for a mask, or zero, the paper's filling (SPEC section 5).

    Returns
    -------
    (n, C, length) float32.
    """
    padded = np.full((*values.shape[:2], length), fill, dtype=np.float32)
    kept = min(length, values.shape[2])
    scaled = scaler.apply(values[..., :kept])
    padded[..., :kept] = np.where(np.isnan(scaled), fill, scaled)
    return padded
