"""One covariate of a model: the statistics of a number, or the categories of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convtimenet.data.agreement import Labels, category_of, spelling
from convtimenet.errors import DataError
from convtimenet.files.maps import blocks, empty, is_mapped

__all__ = ["Column"]

_CONSTANT = 1e30
"""Scale of numbers that do not vary in training: another one later changes nothing, as what it
would change was not learnt."""
_FAR = 2.5
"""Ranges of training beyond it that are far away."""
_USUAL, _SAMPLE = (0.1, 0.9), 2**16  # quantiles that scaling should keep apart, of so many values


@dataclass(frozen=True, kw_only=True)
class Column:
    """One covariate: the statistics of a number, or the categories of a text."""

    name: str
    centre: float = 0.0
    scale: float = 1.0
    categories: tuple[str, ...] | None = None
    low: float | None = None
    """Lowest and highest number in training; None for text, and in models of older versions."""
    high: float | None = None

    @classmethod
    def fit(cls, name: str, values: np.ndarray) -> Column:
        """Learn the statistics or categories from the training rows.

        Raises
        ------
        DataError
            If every number is missing, or their squares overflow.
        """
        if values.dtype == object:
            written = sorted({value for value in values if value is not None}, reverse=True)
            # if a label has several spellings, keep the first
            one = {spelling(text): text for text in written}
            return cls(name=name, categories=tuple(sorted(one.values())))
        known = _known(values)
        if not len(known):
            raise DataError(f"covariate {name!r}: every value is missing; leave it out")
        with np.errstate(over="ignore", invalid="ignore"):
            centre, low, high = (float(of(known)) for of in (np.mean, np.min, np.max))
            squares = empty(known.shape, np.float64, is_mapped(known))  # as numpy's std makes them
            for one in blocks(len(known)):
                away = known[one] - centre
                squares[one] = away * away
            deviation = float(np.sqrt(squares.mean())) if high > low else _CONSTANT
        if not np.isfinite([centre, deviation]).all():
            raise DataError(
                f"covariate {name!r}: values as large as {np.abs(known).max():.3g} cannot be "
                "scaled: their squares overflow float64; correct them or leave them empty"
            )
        return cls(name=name, centre=centre, scale=deviation or 1.0, low=low, high=high)

    @property
    def constant(self) -> bool:
        """Whether training had one number, so that its effect is not known."""
        return self.low is not None and self.low == self.high

    def unlike(self, values: np.ndarray) -> str:
        """A notice about numbers to forecast from (NaN where missing) that are far from those of
        training, or unlike the only one there; "" if there are none."""
        if self.low is None or self.high is None:
            return ""
        beyond = np.fmax(values - self.high, self.low - values)
        if self.constant:
            if not (other := int((beyond > 1e-6 * abs(self.low)).sum())):
                return ""
            return (
                f"covariate {self.name!r}: {other} values are not {self.low:.4g}, which all of "
                "training were; what they change is not known, and they change nothing"
            )
        if not (far := int((beyond > _FAR * (self.high - self.low)).sum())):
            return ""
        such = values.flat[int(np.nanargmax(beyond))]
        return (
            f"covariate {self.name!r}: {far} values are far from those of training, such as "
            f"{such:.4g} where they were {self.low:.4g} to {self.high:.4g}: forecasts may be "
            "wrong, check the units"
        )

    def drowns(self, values: np.ndarray) -> bool:
        """Whether the usual numbers, unlike each other, are all the same once scaled to float32, as
        where a few far larger ones make the scale."""
        some = values[:: 1 + len(values) // _SAMPLE]
        some = some[np.isfinite(some)]
        if not len(some):
            return False
        low, high = np.quantile(some, _USUAL, method="nearest")
        scaled = ((np.array([low, high]) - self.centre) / self.scale).astype(np.float32)
        return bool(low < high and scaled[0] == scaled[1])

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """Standardised numbers (T,), 0 where missing; for text the category numbers, from 1, and 0
        where missing or new.

        Raises
        ------
        DataError
            If the values are text and training had numbers.
        """
        if self.categories is not None:
            labels = Labels(self.categories)
            number: dict[Any, int] = {None: 0}
            for value in set(values.tolist()) - {None}:
                found = None if value != value else category_of(labels, value, self.name)
                number[value] = 0 if found is None else found + 1
            return np.array([number.get(value, 0) for value in values.tolist()], dtype=np.int64)
        if values.dtype == object:
            raise DataError(
                f"covariate {self.name!r}: expected numbers as in training, found text; convert it"
            )
        return np.where(np.isfinite(values), (values - self.centre) / self.scale, 0.0)

    def rows(self, values: np.ndarray) -> np.ndarray:
        """The encoding of a covariate that varies over time, (columns, T)."""
        numbers = self.numbers(values)
        if self.categories is None:
            return numbers[None]
        return (numbers == np.arange(1, len(self.categories) + 1)[:, None]).astype(np.float64)

    @property
    def width(self) -> int:
        """Number of columns of `rows`."""
        return 1 if self.categories is None else len(self.categories)


def _known(values: np.ndarray) -> np.ndarray:
    """The numbers of (T,) that are not missing."""
    rows = [(one, np.isfinite(values[one])) for one in blocks(len(values))]
    counts = np.cumsum([int(known.sum()) for _, known in rows])
    found = empty((int(counts[-1]) if len(counts) else 0,), np.float64, is_mapped(values))
    for (one, known), end in zip(rows, counts.tolist(), strict=True):
        found[end - int(known.sum()) : end] = values[one][known]
    return found
