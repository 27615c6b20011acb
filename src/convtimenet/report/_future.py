"""Section of the forecast after the end of the table: in words, as a plot, as tables and CSV."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import islice, product
from typing import TYPE_CHECKING, Any

import numpy as np

from convtimenet.data.forecast_tables import forecast_names, future_table, write_rows
from convtimenet.data.tables import Table
from convtimenet.data.time.inferred import season_of
from convtimenet.data.time.timestamps import to_local
from convtimenet.data.time.words import steps
from convtimenet.errors import DataError
from convtimenet.estimators.forecasting.calibration import check_levels
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.report import _interactive as interactive
from convtimenet.report import _plots as plots
from convtimenet.report._canvas import WIDTH, drawing, require_matplotlib, short
from convtimenet.report._html import (
    LONG,
    Section,
    clean,
    count,
    digits_for,
    escaped,
    figure,
    grid,
    live,
    long_card,
    packed,
    picked,
    rounded,
    score_table,
    span,
)
from convtimenet.report._windows import name_of, time_label, when
from convtimenet.report._words import Outlook, compared, outlook

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCORED = "the model scored below, which was not trained on the test split"
_DRAWN = 4  # static pictures
PICKED = 200
"""Most series or channels to pick from."""
_MOST_VALUES = 45_000
"""Most values in the plots of all that can be picked, so that the page stays small."""
_MOST_DOWNLOAD = 200_000
"""Most characters of the embedded forecast."""
_MOST_ROWS = 1000  # before a forecast


@dataclass(frozen=True)
class _Forecast:
    """The forecast of one channel of one series."""

    name: str
    channel: str
    known: np.ndarray
    """(n,) the values drawn before the forecast."""
    times: np.ndarray
    """(n + h,) in local time."""
    stamps: tuple[str, ...]
    """(h,) times of the forecast for readers."""
    answers: np.ndarray
    """(h, K): the forecast, then its bounds from lowest to highest."""
    outlook: Outlook


def future_section(table: Table, future: Table, forecast_from: str | None = None) -> Section:
    """The forecast of every series and channel, with the last rows before it.

    Parameters
    ----------
    table
        The table given to ``predict``.
    future
        The result of ``predict``: h rows per series, per channel the forecast and its bounds.
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
    most = max(1, _MOST_VALUES // (_rows_before(table, h) + h * K))
    found = [
        _forecast(table, future, s, c, answers[s, :, c])
        for s, c in islice(product(range(S), range(C)), min(PICKED, most))
    ]
    levels = _levels(future.channels[:K])
    whole = "each series" if table.long else "the table"
    note = f"Forecast of the {steps(h, table.frequency)} after the end of {whole} (shaded), in the "
    note += "data's units. "
    if levels:
        note += f"Bands: {', '.join(levels)} % intervals. "
    each = f" with {count(C, 'channel')} each" if C > 1 else ""
    among = f"{S:,} series{each}" if table.long else count(C, "channel")
    download = _download(table, future)
    if len(found) < S * C:
        note += f"Shown are the first {len(found)} of {among}"
        note += "; the download holds all. " if download.startswith("<a") else ". "
    made = f"was {forecast_from}" if forecast_from else f"is {_SCORED}"
    note += f"The forecasting model {made}."
    words = f'<p class="outlook"><span>{escaped(found[0].outlook.words)}</span></p>'
    if len(found) > 1:
        words = picked(_overall(table, answers, among), found[0].name, found[0].outlook.words)
    picture = _picture(table, found, levels)
    tables = grid(
        [_forecast_card(found[0], levels, table.time_name), *_overview_card(found, h, table)]
    )
    body = f'{words}{picture}<p>{download}</p>{tables}<p class="soft">'
    return Section("future", "The forecast", f"{body}{escaped(note)}</p>")


def _levels(columns: tuple[str, ...]) -> list[str]:
    """Levels of the intervals, ascending, from the column names of a forecast and its bounds."""
    above = columns[len(columns) // 2 + 1 :]
    # "_" ends a name that another column of the table has
    return [name.removeprefix(f"{columns[0]}-hi-").rstrip("_") for name in above]


def _rows_before(table: Table, h: int) -> int:
    """Rows to draw before a forecast, if there are as many."""
    season = season_of(table.frequency)
    return min(max(3 * season, h) if season > 1 else max(3 * h, 24), _MOST_ROWS)


def _forecast(table: Table, future: Table, s: int, c: int, answers: np.ndarray) -> _Forecast:
    h, begin, end = len(answers), int(table.bounds[s]), int(table.bounds[s + 1])
    first = max(begin, end - _rows_before(table, h))
    ahead = slice(s * h, (s + 1) * h)
    channel = table.channels[c]
    times = np.concatenate([table.times[first:end], future.times[ahead]])
    return _Forecast(
        name=name_of(table, s, c),
        channel=channel,
        known=table.values[first:end, c],
        times=to_local(times, table.time_zone),
        stamps=tuple(when(future, row) for row in range(ahead.start, ahead.stop)),
        answers=answers,
        outlook=outlook(table.values[begin:end, c], future, ahead.start, answers[:, 0]),
    )


def forecast_figure(
    model: ConvTimeNetForecaster, number: int, channel: int, level: Any, future: Any
) -> Figure:
    """Figure of the forecast after the training table, for one series and channel."""
    require_matplotlib()
    table = model.tail_
    levels = () if level is None else check_levels(level)
    found = model.forecast_table(table, level=level, future=future)
    S, C = len(table.lengths), len(table.channels)
    answers = found.reshape(S, -1, C, 1 + 2 * len(levels))
    points = future_table(table, answers[..., 0].reshape(-1, C))
    one = _forecast(table, points, number, channel, answers[number, :, channel])
    with drawing(2 * WIDTH, 3.2) as drawn:
        draw = one.times, one.known, one.answers, [f"{level:g}" for level in levels]
        axes = drawn.add_subplot()
        plots.draw_window(axes, *draw, one.channel, time_label(table))
        axes.set_title(short(one.name, 60))
    return drawn


def columns_of(table: Table) -> list[tuple[str, int, int]]:
    """The columns of a table that are no bounds of another: name, place, and the number of columns
    up to the next one, its bounds with it."""
    found: list[tuple[str, int, int]] = []
    for place, name in enumerate(table.channels):
        if found and name.startswith((f"{found[-1][0]}-lo-", f"{found[-1][0]}-hi-")):
            found[-1] = (*found[-1][:2], found[-1][2] + 1)
        else:
            found.append((name, place, 1))
    return found


def table_figure(table: Table, number: int, channel: int) -> Figure:
    """Figure of the rows of a table, such as a forecast, for one series and column, with the
    intervals of that."""
    require_matplotlib()
    name, first, K = columns_of(table)[channel]
    rows = slice(*table.bounds[number : number + 2].tolist())
    levels = _levels(table.channels[first : first + K])
    times = to_local(table.times[rows], table.time_zone)
    with drawing(2 * WIDTH, 3.2) as drawn:
        axes = drawn.add_subplot()
        answers = table.values[rows, first : first + K]
        plots.draw_rows(axes, times, answers, levels, name, time_label(table))
        axes.set_title(short(f"{table.ids[number]}, {name}" if table.long else name, 60))
    return drawn


# --- parts of the section ------------------------------------------------------------------------


def _overall(table: Table, answers: np.ndarray, among: str) -> str:
    """The directions of all forecasts (S, h, C, K), also of those not shown; no sums, since units
    may differ."""
    S, _, C, _ = answers.shape
    changes = (
        compared(
            table.values[table.bounds[s] : table.bounds[s + 1], c],
            table.frequency,
            answers[s, :, c, 0],
        )
        for s, c in product(range(S), range(C))
    )
    signs = [direction for change, direction, _ in changes if change]
    up, down = signs.count(1), signs.count(-1)
    told = f"Forecasts of {among}"
    if not signs:
        return f"{told}."
    told += f": {up} higher on average than before, {down} lower"
    same = len(signs) - up - down
    return f"{told}{f', {same} unchanged' if same else ''}."


def _picture(table: Table, found: Sequence[_Forecast], levels: Sequence[str]) -> str:
    """The static pictures of the first forecasts, and the plot of all that can be picked."""
    pictures = []
    for one in found[:_DRAWN]:
        n, begin, last = len(one.known), one.stamps[0], one.stamps[-1]
        pictures.append(
            figure(
                plots.forecast_window(
                    one.times,
                    one.known,
                    one.answers,
                    levels,
                    ylabel=one.channel,
                    xlabel=time_label(table),
                ),
                f"Forecast of {one.name} from {begin} to {last}: it ranges from "
                f"{span(one.answers[:, 0])}, the {count(n, 'row')} before it from "
                f"{span(one.known)}.",
                f"From {begin} to {last}, after the last {count(n, 'row')} of the table.",
                one.name,
            )
        )
    static = grid(pictures, "static")
    name = "Forecast of the series shown, with the rows before it"
    plot = interactive.embedded(_plot(table, found, levels))
    return f'<figure class="card">{live(static, name, plot)}</figure>'


def _plot(table: Table, found: Sequence[_Forecast], levels: Sequence[str]) -> interactive.Figure:
    """The plot of every forecast: one set of traces, and per choice its values. Equal time axes are
    held once, in ``xs``."""
    xs: dict[tuple, int] = {}

    def shared(values: Sequence) -> int:
        return xs.setdefault(tuple(values), len(xs))

    every = np.concatenate([np.append(one.known, one.answers) for one in found])
    form = interactive.form_of(every)
    choices = []
    for one in found:
        x = interactive.stamps(one.times, interactive.unit_of(one.times))
        n = len(one.known)
        values, last = interactive.forecast_values(one.known, one.answers, n)
        ahead = shared(x[n:])
        choices.append(
            {
                "name": clean(one.name),
                "unit": interactive.label(one.channel),
                "words": clean(one.outlook.words),
                "x": [shared(x[:n]), shared([x[last], x[n]]), *[ahead] * (len(values) - 2)],
                "y": values,
                "stamps": shared(one.stamps),
                "spans": [[x[last], x[-1]]],
            }
        )
    L = len(levels)
    bounds = [2 + 2 * (L - 1 - k) + side for k in range(L) for side in (0, 1)]
    few = max(len(one.times) for one in found) <= 60
    first = choices[0]
    layout = interactive.forecast_layout(
        time_label(table), found[0].channel, every, *first["spans"][0]
    )
    return {
        "data": interactive.forecast_traces(levels, form, few),
        "layout": {**layout, "height": 380},
        "choices": choices,
        "xs": [list(x) for x in xs],
        "columns": [2 + 2 * L, *bounds],
    }


def _forecast_card(one: _Forecast, levels: Sequence[str], time_name: str) -> str:
    """The table of one forecast; the picker replaces its rows."""
    K = one.answers.shape[1]
    order = [0, *(at for k in range(len(levels)) for at in (len(levels) - k, K - len(levels) + k))]
    columns = [time_name, "forecast"]
    columns += [f"{level} % {side}" for level in levels for side in ("from", "to")]
    digits = digits_for(np.append(one.known, one.answers))
    rows = [
        [stamp, *(rounded(value, digits) for value in answers[order].tolist())]
        for stamp, answers in zip(one.stamps, one.answers, strict=True)
    ]
    table = score_table("Forecast", columns, rows, numbers=True, kind="forecast")
    return long_card(table, "Forecast of ", one.name)


def _overview_card(found: Sequence[_Forecast], h: int, table: Table) -> list[str]:
    """A row per forecast, if there are several."""
    if len(found) == 1:
        return []
    rows = [
        [
            one.name,
            rounded(one.outlook.mean, digits_for(np.append(one.known, one.answers))),
            one.outlook.change,
            one.outlook.highest,
        ]
        for one in found
    ]
    columns = ["series", f"mean of {steps(h, table.frequency)}", "change", "highest"]
    shown = score_table("All forecasts", columns, rows, numbers=True)
    return [long_card(shown, f"All {len(found)} forecasts")]


def _download(table: Table, future: Table) -> str:
    """A link that holds the forecast as CSV, a long one compressed, or why there is none."""
    kind, name, data = "text/csv", "forecast.csv", ""
    if future.values.size <= _MOST_DOWNLOAD:  # of more, no compressed form is short enough
        file = StringIO()
        write_rows(file, future, table)
        text = file.getvalue().encode(errors="replace")
        data = base64.b64encode(text).decode()
        if len(text) > LONG:  # the page's script unpacks it
            kind, name, data = "application/gzip", f"{name}.gz", packed(text)
    if not data or len(data) > _MOST_DOWNLOAD:
        return (
            f"The forecast as CSV is left out: its {count(len(future.times), 'row')} would make "
            "this page too large. Take the file that the forecast was written to."
        )
    return (
        f'<a class="button" download="{name}" href="data:{kind};base64,{data}">'
        "Download the forecast (CSV)</a>"
    )
