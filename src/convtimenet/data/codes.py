"""Numbers such as -999 that stand for missing values: told of, and left as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

__all__ = ["code_notices"]

_NINES = re.compile(r"99+(\.9+)?")
_FEWEST = 8  # other values; among fewer anything is far from all others


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
        codes = []
        while (code := _code(values)) is not None:
            codes.append(_written(code, values))
            values = values[values != code]
        if codes:
            repeat = f"{' and '.join(codes)} repeat{'' if codes[1:] else 's'}"
            found.append(
                f"{name}: {repeat} far from all other values, as codes of missing values do; "
                "if so, leave these cells empty"
            )
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
