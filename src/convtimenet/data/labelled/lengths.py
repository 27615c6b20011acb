"""Cases that are shorter or longer than all that a model was trained on."""

from __future__ import annotations

import logging
from dataclasses import replace

from convtimenet.data.labelled.cases import Cases
from convtimenet.errors import DataError
from convtimenet.wording import advice

__all__ = ["Lengths", "lengths_of", "like_trained"]

log = logging.getLogger(__name__)

Lengths = tuple[int, int]
"""Time steps of the shortest and of the longest case."""


def lengths_of(cases: Cases) -> Lengths:
    """The shortest and the longest length of some cases."""
    return int(cases.lengths.min()), int(cases.lengths.max())


def like_trained(cases: Cases, trained: Lengths | None) -> Cases:
    """Compare the lengths of new cases with those of the training cases.

    Parameters
    ----------
    cases : Cases
        Not modified.
    trained : (int, int) or None
        Lengths of the training cases; None if they are unknown, as in models of older versions.

    Returns
    -------
    Cases
        If some are shorter or longer than all of training, a notice, which is also logged, gives
        their number, unless they already have it.

    Raises
    ------
    DataError
        If there are several cases and all have one step, where all of training had more.
    """
    if trained is None:
        return cases
    (low, high), n = trained, len(cases.lengths)
    if low > 1 and n > 1 and lengths_of(cases) == (1, 1):
        remedy = "write it as a row, its values beside each other"
        raise DataError(
            f"expected cases of {_steps(low, high)}, as in training; found {n} cases of one step "
            "each, which looks like one recording written as a column; "
            + advice(f"{remedy}, or give an array (1, C, L)", remedy)
        )
    outside = cases.lengths[(cases.lengths < low) | (cases.lengths > high)]
    known = f"; training cases had {_steps(low, high)}: answers for other lengths may be wrong"
    if not len(outside) or any(one.endswith(known) for one in cases.notices):
        return cases
    who = f"{len(outside)} of {n} cases {'has' if len(outside) == 1 else 'have'}"
    who = "the case has" if n == 1 else who
    notice = f"{who} {_steps(int(outside.min()), int(outside.max()))}{known}"
    log.warning(notice)
    return replace(cases, notices=(*cases.notices, notice))


def _steps(low: int, high: int) -> str:
    """A range of lengths in words."""
    if low == high:
        return f"{low} step{'' if low == 1 else 's'}"
    return f"{low} to {high} steps"
