"""Cases unlike all that a model was trained on: shorter, longer, or of other values."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np

from convtimenet.data.labelled.cases import Cases
from convtimenet.errors import DataError
from convtimenet.wording import advice

__all__ = ["Lengths", "Ranges", "like_trained", "seen_in"]

log = logging.getLogger(__name__)

Lengths = tuple[int, int]
"""Time steps of the shortest and of the longest case."""
Ranges = tuple[tuple[float, float], ...]
"""The lowest and the highest value of each channel."""
_FAR = 5.0
"""Half ranges beyond a range. Test cases of 13 UEA sets stay within 1.5."""


def seen_in(cases: Cases) -> dict[str, Any]:
    """What a model keeps of its training cases: ``lengths_`` and ``ranges_``. Every channel has a
    known value."""
    low, high = _extremes(cases)
    lowest, highest = np.fmin.reduce(low).tolist(), np.fmax.reduce(high).tolist()
    return {"lengths_": _lengths(cases), "ranges_": tuple(zip(lowest, highest, strict=True))}


def like_trained(cases: Cases, trained: Lengths | None, ranges: Ranges | None = None) -> Cases:
    """Compare the lengths and the values of new cases with those of the training cases.

    Parameters
    ----------
    cases : Cases
        Not modified.
    trained : (int, int) or None
        Lengths of the training cases; None if they are unknown, as in models of older versions.
    ranges : pairs of float, or None
        Ranges of the channels in the training cases, likewise. Cases with another number of
        channels are not compared.

    Returns
    -------
    Cases
        If some are shorter or longer than all of training, or have values far outside the ranges,
        notices, which are also logged, give their number, unless they already have them.

    Raises
    ------
    DataError
        If there are several cases and all have one step, where all of training had more.
    """
    found = [_other_lengths(cases, trained)] if trained is not None else []
    if ranges is not None and len(ranges) == cases.values.shape[1]:
        found += _other_values(cases, ranges)
    said = {one.rpartition("; training")[2] for one in cases.notices}
    new = [one for one in found if one and one.rpartition("; training")[2] not in said]
    for notice in new:
        log.warning(notice)
    return replace(cases, notices=(*cases.notices, *new)) if new else cases


def _other_lengths(cases: Cases, trained: Lengths) -> str:
    low, high = trained
    n = len(cases.lengths)
    if low > 1 and n > 1 and _lengths(cases) == (1, 1):
        remedy = "write it as a row, its values beside each other"
        raise DataError(
            f"expected cases of {_steps(low, high)}, as in training; found {n} cases of one step "
            "each, which looks like one recording written as a column; "
            + advice(f"{remedy}, or give an array (1, C, L)", remedy)
        )
    outside = (cases.lengths < low) | (cases.lengths > high)
    if not outside.any():
        return ""
    steps = _steps(int(cases.lengths[outside].min()), int(cases.lengths[outside].max()))
    return (
        f"{_who(outside)} {steps}; training cases had {_steps(low, high)}: answers for other "
        "lengths may be wrong"
    )


def _other_values(cases: Cases, ranges: Ranges) -> list[str]:
    """Notices about values that may be in other units or in the wrong channel, and about channels
    that tell the model nothing because training had one value of them."""
    low, high = _extremes(cases)
    lowest, highest = np.array(ranges).T
    half = (highest - lowest) / 2
    found = []
    beyond = np.fmax(high - highest, lowest - low) / np.where(half > 0, half, np.inf)
    far = beyond > _FAR
    if far.any():
        case, channel = np.unravel_index(int(np.nanargmax(beyond)), beyond.shape)
        up = high[case, channel] > highest[channel]
        found.append(
            f"{_who(far.any(1))} values far from those of training, such as "
            f"{(high if up else low)[case, channel]:.4g} in channel {_name(cases, int(channel))}; "
            f"training cases had {lowest[channel]:.4g} to {highest[channel]:.4g} there: answers "
            "may be wrong, check the units and the order of the channels"
        )
    apart = np.fmax(high - lowest, lowest - low) > 1e-6 * np.abs(lowest)
    other = (half == 0) & apart
    if other.any():
        channels = np.flatnonzero(other.any(0))
        several = " and others" if len(channels) > 1 else ""
        found.append(
            f"{_who(other.any(1))} other values in channel {_name(cases, int(channels[0]))}"
            f"{several}; training cases all had {lowest[channels[0]]:.4g} there, so the model "
            "does not read it"
        )
    return found


def _extremes(cases: Cases) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest value of each case and channel, (n, C) each; NaN without any."""
    low, high = (of.reduce(cases.values, axis=2) for of in (np.fmin, np.fmax))
    return low.astype(np.float64), high.astype(np.float64)


def _lengths(cases: Cases) -> Lengths:
    return int(cases.lengths.min()), int(cases.lengths.max())


def _who(some: np.ndarray) -> str:
    """Subject and verb for the cases of a mask (n,)."""
    n, count = len(some), int(some.sum())
    return "the case has" if n == 1 else f"{count} of {n} cases {'has' if count == 1 else 'have'}"


def _name(cases: Cases, channel: int) -> str:
    return str(channel) if cases.channels is None else repr(cases.channels[channel])


def _steps(low: int, high: int) -> str:
    """A range of lengths in words."""
    if low == high:
        return f"{low} step{'' if low == 1 else 's'}"
    return f"{low} to {high} steps"
