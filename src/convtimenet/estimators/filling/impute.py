"""`impute`: the missing values of a table, from the known ones on both sides.

Shape legend: `convtimenet._shapes`; R rows as in `convtimenet.estimators.filling.answers`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import torch

from convtimenet.data.tables import Table
from convtimenet.devices import resolve_device
from convtimenet.estimators.filling.answers import (
    Scaled,
    as_given,
    check_season,
    read,
    scaled_rows,
)
from convtimenet.estimators.filling.hiding import (
    EDGE,
    KINDS,
    Hidden,
    Predicted,
    Shares,
    alike,
    better,
    beyond,
    digest,
    drifting,
    kinds_of,
    predicted,
)
from convtimenet.estimators.filling.windows import LONGEST, REACH
from convtimenet.estimators.forecasting.calibration import Calibration, band_names, check_levels
from convtimenet.progress import showing

__all__ = ["impute"]

log = logging.getLogger(__name__)

_TRIALS, _MOST = 512, 8  # of all rows, and of each row
_HIDDEN = 0.1  # of the known values, in a trial
_PARTS = 4  # as long as the longest span that is hidden is what is read around it
_OWN = 100  # trials of a row and kind of gap from which intervals are its own
_FEWEST = 8  # known values that tell of a drift
_LEAST_SPREAD = 1e-3  # of a trial, in deviations of its row: what it read was not constant


def impute(
    X: Any,
    *,
    level: Any = None,
    season: int | None = None,
    time_col: str | None = None,
    target_cols: str | Sequence[str] | None = None,
    freq: Any = None,
    id_col: str | None = None,
    time_format: str | None = None,
    dayfirst: bool | None = None,
    decimal: str | None = None,
    device: str = "auto",
    verbose: int = 1,
) -> Any:
    """Fill the missing values of a table; known ones stay as they are, to the bit.

    Nothing is trained: weights that come with the package read the values on both sides of a gap,
    up to 2,048 steps at once; in the middle of longer gaps the season goes on. How far they are
    trusted beside linear interpolation is decided for each channel of each series by known values
    that are hidden for trial, in gaps as long as its own (docs/impute.md).

    Parameters
    ----------
    X
        What `convtimenet.data.tables.read_table` takes: the path of a file, a wide or long frame, a
        series, an array (T,) or (T, C), or a `Table`. Empty cells, NaN, infinite values and rows
        missing from the regular steps are the gaps. Those at the end are forecast.
    level
        Levels of intervals in per cent, such as 80 or [80, 95]: their bounds become columns. The
        bounds of a known value are the value.
    season
        Season in steps, such as 24 for a day of hours; by default that of the time step. One that
        is longer than 2,048 steps is read as none, with a notice.
    time_col, target_cols, freq, id_col, time_format, dayfirst, decimal
        As for `ConvTimeNetForecaster`; needed only if they cannot be inferred, and not with a
        `Table`, which `read_table` has read with its own.
    device
        "auto" or a torch device.
    verbose
        0 or False shows no progress.

    Returns
    -------
    A frame of the same library and form, with the time, the ids and the channels, as floating-point
    numbers, and for each level the columns "<channel>-lo-80" and "<channel>-hi-80"; for a series
    without levels a series; for an array an array (T, C), or with levels a dictionary of arrays as
    from `predict`, "filled", "lo-80", "hi-80"; for a file or a `Table` a `Table`
    (`convtimenet.data.forecast_tables.write_csv` writes it). Rows that were added are there.

    Raises
    ------
    DataError
        If the table cannot be read, or a channel of a series has no known value.
    ConfigError
        If a parameter is not valid, or one about columns is given with a `Table`.

    Examples
    --------
    >>> import numpy as np
    >>> from convtimenet import impute
    >>> wave = np.sin(np.arange(200) * 2 * np.pi / 24)
    >>> wave[60:70] = np.nan
    >>> np.isnan(impute(wave, season=24)).any()
    np.False_
    """
    levels = () if level is None else check_levels(level)
    place = resolve_device(device)
    table = read(
        X,
        verbose,
        time_col=time_col,
        target_cols=target_cols,
        freq=freq,
        id_col=id_col,
        time_format=time_format,
        dayfirst=dayfirst,
        decimal=decimal,
    )
    steps, notices = check_season(season, table)
    for notice in notices:
        log.warning(notice)
    with showing("filling gaps", verbose):
        found = _filled(table, levels, steps, place)
    if table.origin.kind == "numpy":
        parts = dict(zip(["filled", *band_names(levels)[1:]], found, strict=True))
        return parts if levels else parts["filled"]
    table = replace(table, notices=(*table.notices, *notices))
    return as_given(table, dict(zip(band_names(levels), found, strict=True)))


def _filled(
    table: Table, levels: Sequence[float], season: int, device: torch.device
) -> list[np.ndarray]:
    """The values (T, C) without gaps, and their bounds."""
    K, C, bounds = 1 + 2 * len(levels), len(table.channels), table.bounds
    values = np.array(table.values)
    found = [values, *(values.copy() for _ in range(K - 1))]
    rows = scaled_rows(table)
    asked = [n for n, row in enumerate(rows) if row.scale and not row.known.all()]
    asked.sort(key=lambda n: digest(rows[n].values, rows[n].known))
    gaps = [
        Hidden(place, rows[n].values, rows[n].known, ~rows[n].known)
        for place, n in enumerate(asked)
    ]
    answers: dict[int, np.ndarray] = {}
    if gaps:
        most = int(np.clip(_TRIALS // len(gaps), 1, _MOST))
        tried = [trial for one in gaps for trial in _trials(one, most)]
        all_of_them = _answers(gaps, tried, levels, season, device)
        ends = np.cumsum([one.asked.sum() for one in gaps])
        answers = dict(zip(asked, np.split(all_of_them, ends[:-1]), strict=True))
    for number, row in enumerate(rows):
        s, c = divmod(number, C)
        here = bounds[s] + np.flatnonzero(~row.known)
        if not len(here):
            continue
        if not row.scale:
            for one in found:
                one[here, c] = row.centre
            continue
        own = _unscaled(row, answers[number])
        for k, one in enumerate(found):
            one[here, c] = own[:, k]
    return found


def _unscaled(row: Scaled, answers: np.ndarray) -> np.ndarray:
    return answers * row.scale + row.centre


def _answers(
    gaps: Sequence[Hidden],
    tried: Sequence[Hidden],
    levels: Sequence[float],
    season: int,
    device: torch.device,
) -> np.ndarray:
    """What is missing in all gaps and its bounds, (n, 1 + 2 levels), scaled."""
    rows = len(gaps)
    wanted = predicted(gaps, season, device)
    shares, tests, truth = Shares(np.zeros((rows, KINDS, 2))), None, np.empty(0)
    if tried:
        tests = predicted(tried, season, device)
        truth = np.concatenate([one.values[one.asked] for one in tried])
        shares = Shares.chosen(tests, truth, rows)
        if EDGE in tests.kind:
            wanted, tests = _with_drift(gaps, tried, wanted, tests, shares, truth, season, device)
    bands = wanted.bands(shares.of(wanted))
    low, high, inner = [], [], np.zeros(len(wanted.row))
    for level in levels:
        nominal = NormalDist().inv_cdf((1 + level / 100) / 2)
        radius = np.full(len(wanted.row), nominal)
        if tests is not None:
            distance = tests.bands(shares.of(tests)).distance(torch.from_numpy(truth)[None, None])
            spread = tests.offsets[:, -1] - tests.offsets[:, 0]
            # of a spread of nothing, any error is millions
            told = np.where(spread > _LEAST_SPREAD, distance[0, 0].numpy(), np.nan)
            radius = _radii(tests, told, wanted, level, nominal)
        inner = np.maximum(radius, inner)  # few trials may tell of one level and not of the next
        below, above = bands.bounds(inner[None])
        low.insert(0, below[0, 0].numpy())
        high.append(above[0, 0].numpy())
    return np.stack([bands.point[0, 0].numpy(), *low, *high], axis=-1)


def _with_drift(
    gaps: Sequence[Hidden],
    tried: Sequence[Hidden],
    wanted: Predicted,
    tests: Predicted,
    shares: Shares,
    truth: np.ndarray,
    season: int,
    device: torch.device,
) -> tuple[Predicted, Predicted]:
    """What is wanted and tried, with the drift carried on beyond the ends of the rows whose trials
    that fills better, and the shares of these, in place. The spread stays that of the series with
    its drift: of a line without it there is none."""
    at, rows = tests.kind == EDGE, len(gaps)
    plain, target = tests.some(at), truth[at]
    found = drifting([one for one in tried if beyond(one)], season, device)
    own = Shares.chosen(found, target, rows)
    errors = own.errors(found, target), shares.errors(plain, target)
    told = np.array([one.known.sum() >= _FEWEST for one in gaps])
    drift = better(*errors, found.row, rows) & told
    if not drift.any():
        return wanted, tests
    shares.values[drift, EDGE] = own.values[drift, EDGE]
    ends = drifting([gaps[n] for n in np.flatnonzero(drift).tolist()], season, device)
    there, mine = (wanted.kind == EDGE) & drift[wanted.row], drift[found.row]
    return (
        wanted.moved(there, ends),
        tests.moved(np.flatnonzero(at)[mine], found.some(mine)),
    )


def _radii(
    tests: Predicted, distance: np.ndarray, wanted: Predicted, level: float, nominal: float
) -> np.ndarray:
    """(n,) how far the bounds of a level are, from the trials of the same row and kind of gap; of
    the kind, if they are few; the network's own quantiles, if these are too few. Distances that are
    NaN do not count."""
    cells = dict(alike(tests.row * KINDS + tests.kind))
    kinds = dict(alike(tests.kind))
    of_kinds = {kind: _radius(distance[at], level, nominal) for kind, at in kinds.items()}
    found = np.full(len(wanted.row), nominal)
    for cell, at in alike(wanted.row * KINDS + wanted.kind):
        own = cells.get(cell, np.empty(0, dtype=int))
        few = np.isfinite(distance[own]).sum() < _OWN
        of_kind = of_kinds.get(cell % KINDS, nominal)
        found[at] = of_kind if few else _radius(distance[own], level, nominal)
    return found


def _radius(distance: np.ndarray, level: float, nominal: float) -> float:
    calibration = Calibration.of(distance[:, None, None])
    return float(calibration.radius(level)[0, 0]) if calibration.reaches(level) else nominal


# --- trials --------------------------------------------------------------------------------------


def _trials(one: Hidden, most: int) -> list[Hidden]:
    """Parts of a series with known values hidden in gaps as long as its own."""
    rng = np.random.default_rng(digest(one.values, one.known))
    first, end, kind = kinds_of(~one.known)
    lengths = (end - first)[kind != EDGE]
    found = []
    if len(lengths):
        found += [_inside(one, lengths, rng) for _ in range(most)]
    for side in (first[(first == 0) & (kind == EDGE)], end[(end == len(one.known)) & (first > 0)]):
        if len(side):
            ahead = side[0] == len(one.known)
            length = int((end - first)[-1 if ahead else 0])
            found += [_outside(one, length, bool(ahead), rng) for _ in range(most)]
    return [trial for trial in found if trial.asked.any() and trial.known.any()]


def _inside(one: Hidden, lengths: np.ndarray, rng: np.random.Generator) -> Hidden:
    """A part of the series with spans in it hidden."""
    T, most = len(one.values), max(LONGEST, _PARTS * int(lengths.max()))
    start = int(rng.integers(0, max(1, T - most + 1)))
    here = slice(start, min(T, start + most))
    values, known = one.values[here], one.known[here].copy()
    longest, wanted = max(1, len(values) // _PARTS), max(1, int(_HIDDEN * known.sum()))
    asked, free = np.zeros(len(values), dtype=bool), known.copy()
    for length in rng.choice(lengths, 2 * wanted).clip(max=longest):
        first = int(rng.integers(1, max(2, len(values) - length)))
        span = slice(first, first + int(length))
        around = free[first - 1 : span.stop + 1]
        if len(around) < length + 2 or not (around[0] and around[-1]) or asked[span].any():
            continue
        asked[span] = known[span]
        free[span] = False
        if asked.sum() >= wanted:
            break
    return Hidden(one.row, values, known & ~asked, asked)


def _outside(one: Hidden, length: int, ahead: bool, rng: np.random.Generator) -> Hidden:
    """A part of the series with its end, or its beginning, hidden."""
    values, known = (one.values, one.known) if ahead else (one.values[::-1], one.known[::-1])
    last = int(np.flatnonzero(known)[-1]) + 1
    length = max(1, min(length, last // 3))
    cut = int(rng.integers(max(1, last // 2), max(2, last - length + 1)))
    here = slice(max(0, cut + min(length, REACH) - LONGEST), cut + length)
    values, known = values[here], known[here]
    before = np.arange(len(values)) < len(values) - length
    parts = values, known & before, known & ~before
    return Hidden(one.row, *(parts if ahead else tuple(part[::-1].copy() for part in parts)))
