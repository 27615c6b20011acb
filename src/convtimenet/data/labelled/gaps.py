"""Missing values of cases: filled in, or left to a network that masks them."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from convtimenet.data.labelled.cases import Cases
from convtimenet.errors import DataError
from convtimenet.wording import advice

__all__ = ["filled", "gaps_left"]

log = logging.getLogger(__name__)


def filled(cases: Cases) -> Cases:
    """Fill missing values before the end of each case.

    Parameters
    ----------
    cases : Cases
        Not modified.

    Returns
    -------
    Cases
        NaN and infinite values before the end of a case are interpolated linearly along time, and
        at either end replaced by the nearest finite value. A notice, which is also logged, gives
        their number. Padding after the end stays NaN. Without missing values, `cases` itself.

    Raises
    ------
    DataError
        If a channel of a case has no finite value.
    """
    steps, missing = np.arange(cases.values.shape[2]), _missing(cases)
    if not missing.any():
        return cases
    unusable = np.argwhere(~np.isfinite(cases.values).any(axis=2))
    if len(unusable):
        i, c = unusable[0]
        raise DataError(
            f"every channel of every case needs a finite value to fill from; found none in channel "
            f"{c} of case {i} (all NaN; {len(unusable)} such channels in total); leave the case "
            + advice("or channel out, or use a network with masks=True", "out")
        )
    values = cases.values.copy()
    for i, c in np.argwhere(missing.any(axis=2)):
        gap = missing[i, c]
        known = np.isfinite(values[i, c])
        values[i, c, gap] = np.interp(steps[gap], steps[known], values[i, c, known])
    notice = f"{int(missing.sum())} missing or infinite values were interpolated along time"
    log.warning(notice)
    return replace(cases, values=values, notices=(*cases.notices, notice))


def gaps_left(cases: Cases) -> Cases:
    """Keep missing values, for a network that masks them.

    Returns
    -------
    Cases
        Infinite values become NaN, and a notice, which is also logged, gives the number of values
        missing before the end of their case. Without missing values, `cases` itself.
    """
    missing = int(_missing(cases).sum())
    if not missing:
        return cases
    values = cases.values.copy()
    values[np.isinf(values)] = np.nan
    notice = f"{missing} missing or infinite values are masked"
    log.warning(notice)
    return replace(cases, values=values, notices=(*cases.notices, notice))


def _missing(cases: Cases) -> np.ndarray:
    """Mask (n, C, L) of the NaN and infinite values before the end of their case."""
    inside = np.arange(cases.values.shape[2]) < cases.lengths[:, None, None]
    return ~np.isfinite(cases.values) & inside
