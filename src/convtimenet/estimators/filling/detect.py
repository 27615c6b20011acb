"""`detect`: values of a table that the others do not let expect.

Shape legend: `convtimenet._shapes`; R rows as in `convtimenet.estimators.filling.answers`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from convtimenet.data.tables import Table
from convtimenet.devices import resolve_device
from convtimenet.errors import ConfigError
from convtimenet.estimators.filling.answers import (
    Scaled,
    as_given,
    check_season,
    read,
    scaled_rows,
)
from convtimenet.estimators.filling.hiding import Hidden, Shares, alike, digest, predicted
from convtimenet.progress import counted, showing
from convtimenet.wording import advice, listing

__all__ = ["METHODS", "check_alpha", "detect", "p_values"]

log = logging.getLogger(__name__)

METHODS = ("reconstruction", "forecast")
_GROUPS = {1: 6}  # of hidden spans of a length, one group at a time
_OTHER_GROUPS = 4
_SEASONS, _SHORTEST, _LONGEST = (1, 3), (8, 16), (48, 144)  # lengths of spans, and their limits
_FEWEST_SPANS = 8
_AHEAD = 8  # steps of a forecast
_FEWEST, _SHORTEST_CONTEXT, _LONGEST_CONTEXT = 16, 256, 1024  # known and read before them
_UNDOUBTED = 0.99  # share of a row that others are predicted from
_USUAL = 0.9  # quantile of the distances of a row that becomes 1
_LEAST_SPREAD = 0.3  # of the median one of a row
_TINY = 1e-9


def detect(
    X: Any,
    *,
    alpha: float = 0.01,
    method: str = "reconstruction",
    season: int | None = None,
    time_col: str | None = None,
    target_cols: str | Sequence[str] | None = None,
    freq: Any = None,
    id_col: str | None = None,
    time_format: str | None = None,
    dayfirst: bool | None = None,
    decimal: str | None = None,
    fill: float | None = None,
    device: str = "auto",
    verbose: int = 1,
) -> Any:
    """Score every known value of a table by what the others let expect, and flag those far off.

    Nothing is trained: weights that come with the package predict each value. The score is its
    distance from the prediction in units of the predicted spread, such that one value in ten of a
    channel and series is farther off than 1. The p-value is the share of the values of that channel
    and series with such a score, ``(1 + #{others >= own}) / (n + 1)`` for n others. Values with
    ``p <= alpha`` are flagged, so alpha is the share of values to look at, whether anything is
    wrong with them or not (docs/detect.md).

    Parameters
    ----------
    X
        What `convtimenet.data.tables.read_table` takes, as for `impute`.
    alpha
        Above 0 and below 1.
    method
        "reconstruction" predicts each value from those on both sides: it is hidden by itself, and
        in spans of about one and three seasons, and the three distances are combined by their root
        mean square; then once more, without the hundredth that is farthest off, beside which other
        values look wrong. "forecast" reads earlier values only, up to eight steps ahead, and the
        first values have no score; but how far the network is trusted beside the last value, and
        which spread and distance are usual, all values of the channel and series decide.
    season
        As for `impute`.
    time_col, target_cols, freq, id_col, time_format, dayfirst, decimal, fill
        As for `ConvTimeNetForecaster`; needed only if they cannot be inferred, and not with a
        `Table`, which `read_table` has read with its own.
    device
        "auto" or a torch device.
    verbose
        0 or False shows no progress.

    Returns
    -------
    A frame of the same library and form, with the time, the ids, the channels and for each of them
    the columns "<channel>-score", "<channel>-p" and "<channel>-anomaly" (True or False; a missing
    value has neither score nor p-value). For an array a dictionary of arrays (T, C), "score", "p",
    "anomaly"; for a file or a `Table` a `Table` with 1 and 0 in the last column, NaN where there is
    no score.

    Raises
    ------
    DataError
        If the table cannot be read, or a channel of a series has no known value.
    ConfigError
        If a parameter is not valid, or one about columns is given with a `Table`.

    Examples
    --------
    >>> import numpy as np
    >>> from convtimenet import detect
    >>> wave = np.sin(np.arange(300) * 2 * np.pi / 24)
    >>> wave[100] = 3
    >>> int(detect(wave, season=24, alpha=0.004)["anomaly"][:, 0].argmax())
    100
    """
    check_alpha(alpha)
    if method not in METHODS:
        raise ConfigError(f"method must be one of {listing(METHODS)}, found {method!r}")
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
        fill=fill,
    )
    steps, notices = check_season(season, table)
    rows = scaled_rows(table)
    order = sorted(range(len(rows)), key=lambda n: digest(rows[n].values, rows[n].known))
    scores = _ahead if method == "forecast" else _around
    with showing("looking for anomalies", verbose):
        ordered = scores([rows[n] for n in order], steps, place)
    found = [ordered[n] for n in np.argsort(order)]
    score, p = _columns(table, found), _columns(table, [p_values(one) for one in found])
    flagged = p <= alpha
    notices += _too_few(table, found, alpha)
    for notice in notices:
        log.warning(notice)
    if table.origin.kind == "numpy":
        return {"score": score, "p": p, "anomaly": flagged}
    table = replace(table, notices=(*table.notices, *notices))
    flags = np.where(np.isnan(p), np.nan, flagged)
    parts = {"": table.values, "score": score, "p": p, "anomaly": flags}
    return as_given(table, parts, flags=("anomaly",))


def check_alpha(alpha: Any) -> None:
    """Check the share of values to flag.

    Raises
    ------
    ConfigError
        If it is not between 0 and 1.
    """
    number = isinstance(alpha, (int, float, np.number)) and not isinstance(alpha, bool)
    if not number or not 0 < alpha < 1:
        hint = f"; did you mean {alpha / 100:g}?" if number and 1 <= alpha < 100 else ""
        raise ConfigError(
            f"alpha must be a share above 0 and below 1, such as 0.01, found {alpha!r}{hint}"
        )


def p_values(scores: np.ndarray) -> np.ndarray:
    """Conformal p-values (T,) of scores (T,), each against all the others: the share of scores that
    are at least as large, its own among them; NaN where there is no score."""
    known = np.isfinite(scores)
    ranked = np.sort(scores[known])
    found = np.full(len(scores), np.nan)
    found[known] = (len(ranked) - np.searchsorted(ranked, scores[known])) / max(1, len(ranked))
    return found


def _columns(table: Table, rows: Sequence[np.ndarray]) -> np.ndarray:
    """(T, C) of rows, channel by channel of each series."""
    C = len(table.channels)
    series = [np.stack(rows[at : at + C], axis=1) for at in range(0, len(rows), C)]
    return np.concatenate(series)


def _too_few(table: Table, scores: Sequence[np.ndarray], alpha: float) -> list[str]:
    """A notice about rows with too few values for one to be flagged."""
    counts = np.array([np.isfinite(one).sum() for one in scores])
    few = counts * alpha < 1 - _TINY
    if not few.any():
        return []
    C = len(table.channels)
    names = [
        f"{table.channels[n % C]} of {table.ids.tolist()[n // C]}"
        if table.long
        else table.channels[n % C]
        for n in np.flatnonzero(few)
    ]
    least = max(1, int(counts[few].min()))
    enough = np.ceil(1e4 / least) / 1e4
    return [
        f"no value of {listing(names, 3)} can be flagged: of n scores the smallest p-value is 1/n, "
        f"and n is down to {least} there; flag at least {100 * enough:g} %"
        + advice(f" (alpha={enough:g})", "")
    ]


def _around(rows: Sequence[Scaled], season: int, device: torch.device) -> list[np.ndarray]:
    """Scores of each row by what is on both sides, the second time without the values that were
    farthest off the first time: beside one of them others look wrong."""
    lengths = [1]
    for seasons, shortest, longest in zip(_SEASONS, _SHORTEST, _LONGEST, strict=True):
        lengths.append(int(np.clip(seasons * season, shortest, longest)))
    found = [np.zeros(len(row.values)) for row in rows]
    for _ in counted(range(2)):
        read = [_undoubted(*pair) for pair in zip(rows, found, strict=True)]
        squares = [np.zeros(len(row.values)) for row in rows]
        for length in counted(lengths):
            hidden = [one for n, row in enumerate(rows) for one in _spans(n, row, read[n], length)]
            for total, one in zip(squares, _distances(rows, hidden, season, device), strict=True):
                total += np.square(one) / len(lengths)
        found = [np.sqrt(one) for one in squares]
    # the root mean square of three such distances is no such distance
    return [one / _usual(one[row.known]) for one, row in zip(found, rows, strict=True)]


def _undoubted(row: Scaled, scores: np.ndarray) -> np.ndarray:
    """(T,) the known values that others are predicted from."""
    if row.known.sum() < _FEWEST:
        return row.known
    return row.known & ~(scores > np.nanquantile(scores, _UNDOUBTED))


def _spans(
    number: int, row: Scaled, read: np.ndarray, length: int
) -> Iterator[tuple[Hidden, np.ndarray]]:
    """A row, of which some values are read, with every sixth or fourth span hidden, in turn, and
    the steps."""
    if not row.scale:
        return
    count = int(row.known.sum())
    groups = _GROUPS.get(length, _OTHER_GROUPS)
    length = max(1, min(length, count // _FEWEST_SPANS))
    group = np.where(row.known, (row.known.cumsum() - 1) // length % groups, -1)
    for which in range(min(groups, -(-count // length))):
        asked = group == which
        yield Hidden(number, row.values, read & ~asked, asked), np.flatnonzero(asked)


def _ahead(rows: Sequence[Scaled], season: int, device: torch.device) -> list[np.ndarray]:
    """Scores of each row by what was before."""
    context = int(np.clip(4 * season, _SHORTEST_CONTEXT, _LONGEST_CONTEXT))
    hidden = []
    for number, row in enumerate(rows):
        T = len(row.values)
        enough = np.flatnonzero(row.known.cumsum() >= max(_FEWEST, season))
        for end in range(int(enough[0]) + 1 if len(enough) and row.scale else T, T, _AHEAD):
            here = slice(max(0, end - context), min(T, end + _AHEAD))
            known = row.known[here].copy()
            asked = known & (np.arange(len(known)) >= end - here.start)
            known &= ~asked
            if asked.any() and known.any():
                steps = here.start + np.flatnonzero(asked)
                hidden.append((Hidden(number, row.values[here], known, asked), steps))
    return _distances(rows, hidden, season, device)


def _distances(
    rows: Sequence[Scaled],
    hidden: Sequence[tuple[Hidden, np.ndarray]],
    season: int,
    device: torch.device,
) -> list[np.ndarray]:
    """Distances of known values from their predictions, such that one in ten of a row is above 1;
    0 in rows that are constant, NaN where nothing is known or predicted."""
    found = [np.where(row.known & (row.scale == 0), 0.0, np.nan) for row in rows]
    if not hidden:
        return found
    answers = predicted([one for one, _ in hidden], season, device)
    truth = np.concatenate([one.values[one.asked] for one, _ in hidden])
    bands = answers.bands(Shares.chosen(answers, truth, len(rows)).of(answers))
    error = np.abs(truth - bands.point[0, 0].numpy())
    spread = answers.offsets[:, -1] - answers.offsets[:, 0]
    steps = np.concatenate([at for _, at in hidden])
    for number, own in alike(answers.row):
        distance = error[own] / (spread[own] + _LEAST_SPREAD * np.median(spread[own]) + _TINY)
        found[number][steps[own]] = distance / _usual(distance)
    return found


def _usual(distances: np.ndarray) -> float:
    """What becomes 1 of the distances of a row."""
    return max(float(np.quantile(distances, _USUAL)), _TINY)
