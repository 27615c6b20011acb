"""Windows of a wide or long table: their contexts, forecasts, series and time stamps.

A window is identified by the first row of the table that it forecasts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from convtimenet.data.agreement import Labels, match_ids
from convtimenet.data.table_rows import crop, select_series
from convtimenet.data.tables import Table
from convtimenet.data.time.timestamps import show_in
from convtimenet.data.windows import Scaler
from convtimenet.errors import DataError
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster


def series_of(table: Table, row: int) -> tuple[Table, int]:
    """The series of a row of a table, and the row's index in it."""
    if not table.long:
        return table, row
    number = int(np.searchsorted(table.bounds, row, side="right")) - 1
    return select_series(table, np.array([number])), row - int(table.bounds[number])


def name_of(table: Table, s: int, c: int) -> str:
    """The name of channel c of series s for readers."""
    if not table.long:
        return table.channels[c]
    own = str(table.ids[s])
    return f"{own}, {table.channels[c]}" if len(table.channels) > 1 else own


def scaler_of(model: ConvTimeNetForecaster, series: Table) -> Scaler:
    """The training scaler of a series, (C, 1)."""
    return model.scaler_ if model.scaler_.centre.ndim == 2 else _scalers(model, series)[0]


def _scalers(model: ConvTimeNetForecaster, table: Table) -> Scaler:
    """The training scalers of the series of a long table, (S, C, 1)."""
    numbers, _ = match_ids(table.ids, Labels(model.tail_.ids.tolist()), "the table")
    if (numbers < 0).any():
        raise DataError(
            "a report can only show series of the training table, found "
            f"{table.ids[numbers < 0][0]!r}; evaluate a table without it, and give that table and "
            "its evaluation"
        )
    return model.scaler_[numbers]


def scales_of(model: ConvTimeNetForecaster, table: Table, rows: np.ndarray) -> np.ndarray:
    """The training scale of the first channel (n,) in the series of each row."""
    if model.scaler_.centre.ndim == 2:
        return np.full(len(rows), model.scaler_.scale[0, 0])
    series = np.searchsorted(table.bounds, rows, side="right") - 1
    some, at = np.unique(series, return_inverse=True)
    return _scalers(model, select_series(table, some)).scale[at, 0, 0]


def context_of(model: ConvTimeNetForecaster, table: Table, now: int) -> Table:
    """The context of the window that forecasts from row `now`: at most L rows."""
    series, at = series_of(table, now)
    return crop(series, at - model.network_.config.context_length, at)


def ahead_of(model: ConvTimeNetForecaster, table: Table, now: int) -> Table | None:
    """The rows of its horizon, if the model reads covariates known ahead."""
    if not model.futr_exog:
        return None
    series, at = series_of(table, now)
    return crop(series, at, at + model.network_.config.outputs)


def window_answers(
    model: ConvTimeNetForecaster, table: Table, now: int, levels: Sequence[float] = ()
) -> np.ndarray:
    """The forecast from row `now` and its bounds, lowest to highest: (H, C, K) in the data's
    units."""
    context, ahead = context_of(model, table, now), ahead_of(model, table, now)
    found = model.forecast_table(context, level=levels or None, future=ahead)
    return found.reshape(model.network_.config.outputs, len(table.channels), -1)


def errors_by_channel(
    model: ConvTimeNetForecaster, table: Table, now: int, forecast: np.ndarray
) -> np.ndarray:
    """Each channel's share (C,) of the squared error of a forecast (H, C) from row `now`, in
    training standard deviations. What `Windows.batch` gives no weight has none: missing values, and
    channels without a known value in the context."""
    context, truth = context_of(model, table, now), table.values[now : now + len(forecast)]
    counted = np.isfinite(truth) & np.isfinite(context.values).any(0)
    scale = scaler_of(model, context).scale[:, 0]
    squares = np.where(counted, np.square((forecast - truth) / scale), 0)
    return squares.sum(0) / max(float(squares.sum()), np.finfo(float).tiny)


def whose(table: Table, row: int) -> str:
    """Text "of <id> " for a series of a long table, else empty."""
    return f"of {series_of(table, row)[0].ids[0]} " if table.long else ""


def rows_before(context: int, horizon: int) -> int:
    """Number of context rows drawn before a forecast."""
    return min(context, max(horizon, 24))


def when(table: Table, row: int) -> str:
    """A row's time stamp for readers; only the date if all stamps are at midnight."""
    stamp = show_in(table.times, table.times[row], table.time_zone).replace("T", " ")
    return re.sub(r"( \d\d:\d\d):00(?!\.)", r"\1", stamp)


def time_label(table: Table) -> str:
    """Label of the time axis."""
    return f"{table.time_name} ({table.time_zone})" if table.time_zone else table.time_name
