"""Numbers that are hardly values: told of, and left as they are.

Codes such as -999 stand for missing values; a few numbers far from all others of their series may
be errors, such as a decimal point that was lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from convtimenet.data.time.timestamps import show_in

__all__ = ["code_notices", "far_notices"]

_NINES = re.compile(r"99+(\.9+)?")
_FEWEST = 8  # other values; among fewer anything is far from all others
_LEAST, _MOST_FAR = 30, 3  # known values of a series, and how many of them may be far
_FAR, _OF_SIZE = 100.0, 0.01  # ranges of the others, each at least this part of their size
_SHOWN = 3


def code_notices(named: Mapping[str, np.ndarray]) -> list[str]:
    """Notices of numbers of nines that repeat far from all others of their column.

    Parameters
    ----------
    named
        What each column is called in a notice, and its values; NaN where missing. Columns of other
        types than numbers are left out.
    """
    found = []
    for name, values in named.items():
        if values.dtype.kind not in "fi":
            continue
        codes = [_written(code, values) for code in _codes(values)]
        if codes:
            repeat = f"{' and '.join(codes)} repeat{'' if codes[1:] else 's'}"
            found.append(
                f"{name}: {repeat} far from all other values, as codes of missing values do; "
                "if so, leave these cells empty"
            )
    return found


def far_notices(
    channels: Mapping[str, np.ndarray],
    times: np.ndarray,
    bounds: np.ndarray,
    ids: np.ndarray | None,
    zone: str | None,
) -> list[str]:
    """Notices of up to three values of a series that lie further from its others than a hundred
    times the range of these, which spikes and levels that change do not. Codes are left out.

    Parameters
    ----------
    channels
        The values (T,) of each channel, NaN where missing.
    times, bounds
        Time stamps (T,), and the first row of each series and T.
    ids, zone
        The ids of the series, None for a single one, and the time zone.
    """
    found = []
    for name, values in channels.items():
        known = np.isfinite(values)
        if codes := _codes(values):
            known &= ~np.isin(values, codes)
        far = []
        for s in _suspects(np.where(known, values, 0.0), known, bounds):
            rows = bounds[s] + np.flatnonzero(known[bounds[s] : bounds[s + 1]])
            far += [(s, row) for row in rows[_far(values[rows])].tolist()]
        if not far:
            continue
        told = [
            f"{_written(float(values[row]), values)} at {show_in(times, stamp, zone)}"
            + ("" if ids is None else f" of {str(ids[s])!r}")
            for (s, row), stamp in zip(far[:_SHOWN], times[[row for _, row in far]], strict=False)
        ]
        more = f" and {len(far) - _SHOWN:,} more" if len(far) > _SHOWN else ""
        lie, each = ("lies", "the cell") if len(far) == 1 else ("lie", "these cells")
        found.append(
            f"channel {name!r}: {', '.join(told)}{more} {lie} far from all other values"
            f"{'' if ids is None else ' of the series'}; leave {each} empty if this is an error"
        )
    return found


def _suspects(values: np.ndarray, known: np.ndarray, bounds: np.ndarray) -> list[int]:
    """The series (S,) that may have values far from the others: these lie several standard
    deviations from the mean. Values are 0 where they are not known."""
    starts = bounds[:-1]
    n = np.add.reduceat(known, starts, dtype=np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.add.reduceat(values, starts) / np.maximum(n, 1)
        off = np.where(known, np.abs(values - np.repeat(mean, np.diff(bounds))), 0.0)
        most, squares = np.maximum.reduceat(off, starts), np.add.reduceat(off * off, starts)
        # of n values of which 3 are far on one side, these are sqrt((n - 3) / 3) deviations away
        outside = (most > 0) & (most * most * n > (_LEAST - _MOST_FAR) / _MOST_FAR * 0.9 * squares)
    return np.flatnonzero(outside & (n >= _LEAST) & np.isfinite(squares)).tolist()


def _far(values: np.ndarray) -> np.ndarray:
    """Which of the known values (n,) of a series are far from the others, as few as possible."""
    order, n = np.argsort(values, kind="stable"), len(values)
    ranked = values[order]
    cuts = ((low, total - low) for total in range(1, _MOST_FAR + 1) for low in range(total + 1))
    for low, high in cuts:
        rest = ranked[low : n - high]
        unit = max(rest[-1] - rest[0], _OF_SIZE * max(-rest[0], rest[-1]))
        below = rest[0] - ranked[low - 1] if low else np.inf
        above = ranked[n - high] - rest[-1] if high else np.inf
        if rest[-1] > rest[0] and min(below, above) > _FAR * unit:
            return np.sort(np.concatenate([order[:low], order[n - high :]]))
    return order[:0]


def _codes(values: np.ndarray) -> list[float]:
    """The numbers that stand for missing values."""
    found = []
    while (code := _code(values)) is not None:
        found.append(code)
        values = values[values != code]
    return found


def _code(values: np.ndarray) -> float | None:
    """The least or greatest of the numbers if it is written in nines, repeats, and is further from
    the others than they are apart, or alone negative."""
    for extreme in (np.fmin, np.fmax):
        code = float(extreme.reduce(values, axis=None))
        if not _NINES.fullmatch(_written(abs(code), values)):
            continue
        others = values[np.isfinite(values) & (values != code)]
        if len(others) < _FEWEST or np.count_nonzero(values == code) < 2:
            continue
        apart = float(np.ptp(others))
        away = float(np.abs(others - code).min())
        if apart and (away > apart or code < 0 <= others.min()):
            return code
    return None


def _written(code: float, values: np.ndarray) -> str:
    return f"{code:.{6 if values.dtype == np.float32 else 15}g}"
