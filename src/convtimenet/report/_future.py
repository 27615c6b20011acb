"""Section of the forecast after the end of the table."""

from __future__ import annotations

from itertools import islice, product

import numpy as np

from convtimenet.data.future import forecast_names
from convtimenet.data.tables import Table
from convtimenet.data.timestamps import to_local
from convtimenet.errors import DataError
from convtimenet.report import _plots as plots
from convtimenet.report._html import Section, count, escaped, figure, grid, span
from convtimenet.report._windows import rows_before, time_label, when

_SCORED = "the model scored below, which was not trained on the test split"
_SHOWN = 4  # channels of a wide table, series of a long one


def future_section(
    table: Table, future: Table, context_length: int, forecast_from: str | None = None
) -> Section:
    """Forecasts of the first series or channels, each with the last rows before it.

    Parameters
    ----------
    table
        The table given to ``predict``.
    future
        The result of ``predict``: h rows per series, per channel the forecast and its bounds.
    context_length
        L.
    forecast_from
        Describes the model of the forecast, if it is not the one of the report.

    Raises
    ------
    DataError
        If `future` belongs to another table.
    """
    S, C = len(table.lengths), len(table.channels)
    K = max(1, len(future.channels) // C)
    if future.channels[::K] != forecast_names(table) or future.ids.tolist() != table.ids.tolist():
        raise DataError(
            "the forecast has other series or channels than the table; give the forecast of this "
            "table"
        )
    h = len(future.times) // S
    answers = future.values.reshape(S, h, C, K)
    cards = [
        _card(table, future, s, c, answers[s, :, c], context_length)
        for s, c in islice(product(range(S), range(C)), _SHOWN)
    ]
    whole = "each series" if table.long else "the table"
    words = f"Forecast of the {count(h, 'step')} after the end of {whole} (shaded), in the data's "
    words += "units. "
    if levels := _levels(future.channels[:K]):
        words += f"Coloured bands: {', '.join(levels)} % intervals. "
    if len(cards) < S * C:
        each = f" with {count(C, 'channel')} each" if C > 1 else ""
        among = f"{S:,} series{each}" if table.long else count(C, "channel")
        words += f"Shown are the first {len(cards)} of {among}. "
    made = f"was {forecast_from}" if forecast_from else f"is {_SCORED}"
    words += f"The forecasting model {made}."
    return Section("future", "The forecast", f"<p>{escaped(words)}</p>{grid(cards)}")


def _levels(columns: tuple[str, ...]) -> list[str]:
    """Levels of the intervals, ascending, from the column names of a forecast and its bounds."""
    return [name.removeprefix(f"{columns[0]}-hi-") for name in columns[len(columns) // 2 + 1 :]]


def _card(
    table: Table, future: Table, s: int, c: int, answers: np.ndarray, context_length: int
) -> str:
    h, end = len(answers), int(table.bounds[s + 1])
    first = max(int(table.bounds[s]), end - rows_before(context_length, h))
    ahead = slice(s * h, (s + 1) * h)
    channel, known = table.channels[c], table.values[first:end, c]
    name = channel if not table.long else str(table.ids[s])
    if table.long and len(table.channels) > 1:
        name += f", {channel}"
    begin, last = when(future, ahead.start), when(future, ahead.stop - 1)
    times = np.concatenate([table.times[first:end], future.times[ahead]])
    return figure(
        plots.forecast_window(
            to_local(times, table.time_zone),
            known,
            answers,
            ylabel=channel,
            xlabel=time_label(table),
        ),
        f"Forecast of {name} from {begin} to {last}: it ranges from {span(answers[:, 0])}, the "
        f"{count(len(known), 'row')} before it from {span(known)}.",
        f"From {begin} to {last}, after the last {count(len(known), 'row')} of the table.",
        name,
    )
