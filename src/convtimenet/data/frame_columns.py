"""One column of a frame, whatever library made it, as numpy: times, ids, numbers or text.

Columns are narwhals Series; an error names the column and the row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np

from convtimenet.data.csv_file import number_in
from convtimenet.data.timestamps import (
    FIRST_YEAR,
    LAST_YEAR,
    looks_like_date,
    offsets_in,
    parse_times,
)
from convtimenet.errors import DataError


def is_text(dtype: Any) -> bool:
    """Whether cells may be text."""
    import narwhals.stable.v2 as nw

    return isinstance(dtype, (nw.String, nw.Categorical, nw.Enum, nw.Object))


def holds_dates(series: Any) -> bool:
    """Whether it is of dates, or of text that reads as one."""
    import narwhals.stable.v2 as nw

    if isinstance(series.dtype, (nw.Datetime, nw.Date)):
        return True
    return is_text(series.dtype) and looks_like_date(str(series[0]))


def frame_times(series: Any, name: str) -> tuple[np.ndarray, str | None, tuple[str, ...]]:
    """Times (R,) as whole numbers or datetime64[ns], their zone and their UTC offsets."""
    import narwhals.stable.v2 as nw

    dtype = series.dtype
    missing = series.is_null().to_numpy()
    if missing.any():
        raise DataError(
            f"column {name!r}, row {int(np.argmax(missing))}: the time stamp is missing; every row "
            "needs one"
        )
    if dtype.is_integer():
        return series.to_numpy().astype(np.int64), None, ()
    if is_text(dtype):
        cells = [str(cell) for cell in series.to_list()]
        return text_times(cells, name, lambda i: f"row {i}")
    if isinstance(dtype, nw.Date):
        dtype, series = nw.Datetime("us"), series.cast(nw.Datetime("us"))
    if not isinstance(dtype, nw.Datetime):
        raise DataError(
            f"column {name!r}: expected dates or integers as times, found {_kind(series)}; convert "
            "it, in pandas with pd.to_datetime(column), or column.dt.to_timestamp() for periods"
        )
    if dtype.time_zone is not None:
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    stamps = series.to_numpy()
    years = stamps.astype("datetime64[Y]").astype(int) + 1970
    if years.min() < FIRST_YEAR or years.max() > LAST_YEAR:
        raise DataError(
            f"column {name!r}: expected years from {FIRST_YEAR} to {LAST_YEAR}, found "
            f"{years.min()} to {years.max()}"
        )
    return stamps.astype("datetime64[ns]"), dtype.time_zone, ()


def _kind(series: Any) -> str:
    """The type of a column for a message, its library's own where narwhals knows none."""
    import narwhals.stable.v2 as nw

    known = not isinstance(series.dtype, nw.Unknown)
    return str(series.dtype if known else series.to_native().dtype)


def text_times(
    cells: Sequence[str], name: str, place: Callable[[int], str]
) -> tuple[np.ndarray, str | None, tuple[str, ...]]:
    """Times, their zone and their UTC offsets. Each different text is read once: the series of a
    panel share their stamps."""
    of, texts = numbered(cells)
    firsts = np.unique(of, return_index=True)[1].tolist()
    times, zone = parse_times(texts.tolist(), [f"column {name!r}, {place(i)}" for i in firsts])
    return times[of], zone, () if zone is None else offsets_in(texts.tolist())


def numbered(labels: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Number each row's series (R,), in the order in which the S labels first occur, and those."""
    numbers: dict[Any, int] = {}
    series = [numbers.setdefault(label, len(numbers)) for label in labels]
    return np.array(series, dtype=np.int64), np.array([*numbers], dtype=object)


def frame_ids(series: Any, name: str) -> tuple[np.ndarray, np.ndarray, dict[Any, Any] | None]:
    """Number of each row's series (R,), the ids (S,) as text or whole numbers, and the caller's own
    by those where they are neither, such as booleans or UUIDs."""
    import narwhals.stable.v2 as nw

    missing = series.is_null().to_numpy()
    if missing.any():
        raise DataError(
            f"column {name!r}, row {int(np.argmax(missing))}: the id is missing; every row needs "
            "one"
        )
    dtype = series.dtype
    of, labels = numbered(series.to_list())
    own = labels.tolist()
    fractions = [one for one in own if isinstance(one, float) and not one.is_integer()]
    known = dtype.is_numeric() or is_text(dtype) or isinstance(dtype, (nw.Boolean, nw.Unknown))
    if not known or fractions:
        found = f"the number {fractions[0]}" if fractions else _kind(series)
        raise DataError(
            f"column {name!r}: expected ids as text or whole numbers, found {found}; convert it, "
            "in pandas with astype(int) or astype(str)"
        )
    if all(isinstance(one, (Integral, float)) and not isinstance(one, bool) for one in own):
        whole = list(map(int, own))
        if all(-(2**63) <= one < 2**63 for one in whole):
            return of, np.array(whole, dtype=np.int64), None
    texts = list(map(str, own))
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise DataError(
            f"column {name!r}: different ids read {twice!r} as text, such as a number and its "
            "text; write ids in one way"
        )
    plain = all(isinstance(one, str) for one in own)
    by_text = None if plain else dict(zip(texts, own, strict=True))
    return of, np.array(texts, dtype=object), by_text


def frame_any(series: Any, name: str) -> np.ndarray:
    """A covariate: numbers as float64 with NaN, text as objects with None."""
    cells = series.to_list() if is_text(series.dtype) else []
    if not any(isinstance(cell, str) for cell in cells):
        return frame_floats(series, name)
    missing = series.is_null().to_list()  # pandas has NaN among texts
    return np.array(
        [None if none else str(cell) for cell, none in zip(cells, missing, strict=True)], object
    )


def frame_floats(series: Any, name: str) -> np.ndarray:
    """Numbers (R,) as float64 with NaN."""
    import narwhals.stable.v2 as nw

    dtype = series.dtype
    if series.is_null().all():  # of no particular type in some libraries
        return np.full(len(series), np.nan)
    if dtype.is_numeric() or isinstance(dtype, nw.Boolean):
        return np.array(series.cast(nw.Float64).to_numpy(), dtype=np.float64)
    if not is_text(dtype):
        raise DataError(
            f"column {name!r}: expected numbers, found {_kind(series)}; convert it or leave it "
            "out with target_cols=[...]"
        )
    values = np.full(len(series), np.nan)
    cells = series.to_list()
    for i in np.flatnonzero(~series.is_null().to_numpy()):
        cell = cells[i]
        if isinstance(cell, (Real, Decimal, np.bool_)):
            values[i] = float(cell)
        else:  # a number may be written as text, as in a file
            values[i] = number_in(name, f"row {i}", str(cell))
    return values
