"""What only a forecasting page has: errors by window, step and channel, and its patches."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from convtimenet.errors import DataError
from convtimenet.forecaster import ConvTimeNetForecaster
from convtimenet.metrics import ForecastEvaluation
from convtimenet.report import _plots as plots
from convtimenet.report._html import (
    Section,
    card,
    count,
    figure,
    grid,
    number,
    score_table,
    span,
    tile,
)
from convtimenet.report._importance import forecast_importance_section
from convtimenet.report._network import middle, patches_section, sample
from convtimenet.tables import Table, crop, select_channels
from convtimenet.timestamps import show_time, to_local

_EACH = 3  # worst and best windows shown
_LONGEST_TABLE = 20


def forecast_sections(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> list[Section]:
    """The scores first."""
    table = select_channels(table, tuple(evaluation.mae_per_channel))
    config = model.network_.config
    needed = int(evaluation.starts.max()) + config.context_length + config.outputs
    if needed > len(table.times):
        raise DataError(
            f"the evaluation has windows up to row {needed}, the table {len(table.times)} rows; "
            "give the table that was evaluated"
        )
    return [
        _scores_section(model, evaluation),
        _windows_section(model, table, evaluation),
        _errors_section(model, table, evaluation),
        *_interval_sections(model, table, evaluation),
        _importance_section(model, table, evaluation),
        _patches_section(model, table, evaluation),
    ]


def _scores_section(model: ConvTimeNetForecaster, evaluation: ForecastEvaluation) -> Section:
    unit = "training standard deviations" if model.scale else "the data's units"
    tiles = []
    for key, name, what in (
        ("mse", "MSE", "Mean squared error, in squares of"),
        ("mae", "MAE", "Mean absolute error, in"),
    ):
        ours, naive = evaluation.scores[key], evaluation.naive[key]
        text = f"{what} {unit}. Repeating the last value gives {number(naive)}"
        if naive > 0:
            change = 100 * (ours / naive - 1)
            text += f": this model is {abs(change):.0f} % {'lower' if change < 0 else 'higher'}"
        tiles.append(tile(number(ours), name, text + "."))
    config = model.network_.config
    text = f"Each reads {count(config.context_length, 'step')} and forecasts the next "
    text += f"{count(config.outputs, 'step')} of "
    text += f"{count(len(evaluation.mae_per_channel), 'channel')}."
    tiles.append(tile(f"{evaluation.n_windows:,}", "Windows", text))
    return Section("scores", "Scores", grid(tiles, "tiles"))


# --- windows -------------------------------------------------------------------------------------


def pick_windows(mse: np.ndarray, starts: np.ndarray, apart: int) -> dict[str, list[int]]:
    """Numbers of the worst, the median and the best windows.

    Parameters
    ----------
    mse, starts
        (n,) each: error and first row of every window.
    apart
        Rows between the starts of two windows of one kind at least: nearer ones show one event.

    Returns
    -------
    Under "worst", "median" and "best"; the first is ``mse.argmax()``. No window appears twice, so
    of few windows some lists stay short.
    """
    picks: dict[str, list[int]] = {"worst": [], "median": [], "best": []}
    for kind, ranked in (
        ("worst", np.argsort(-mse, kind="stable").tolist()),
        ("median", [middle(mse)]),
        ("best", np.argsort(mse, kind="stable").tolist()),
    ):
        chosen = picks[kind]
        taken = {window for windows in picks.values() for window in windows}
        for window in ranked:
            far = all(abs(starts[window] - starts[other]) >= apart for other in chosen)
            if far and window not in taken:
                chosen.append(window)
            if len(chosen) == _EACH:
                break
    return picks


def _windows_section(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> Section:
    config = model.network_.config
    L, H = config.context_length, config.outputs
    mse, starts = evaluation.mse_per_window, evaluation.starts
    picks = pick_windows(mse, starts, H)
    cards = {
        kind: [_window_card(model, table, evaluation, kind, window) for window in windows]
        for kind, windows in picks.items()
    }
    overview = figure(
        plots.error_over_time(
            to_local(table.times[starts + L], table.time_zone),
            mse,
            picks,
            ylabel="MSE of the window",
            xlabel=_time_label(table),
        ),
        f"Error of {len(mse)} windows by the time they start to forecast: {span(mse)}, the worst "
        f"at {_when(table, int(starts[picks['worst'][0]]) + L)}.",
        "Each window's error, at the time its forecast starts; marked are the windows shown here.",
        "Errors over time",
    )
    words = "The largest, the median and the smallest errors, each on the channel with the largest "
    words += "share of it, in the data's units; shaded is what was to be forecast. "
    if evaluation.intervals:
        levels = ", ".join(f"{one.level:g}" for one in evaluation.intervals)
        words += f"Coloured bands: intervals of {levels} %. "
    words += f"Windows of one kind start at least {count(H, 'row')} apart, so as not to show one "
    words += "event twice."
    grids = (
        grid([overview, *cards["median"]])
        + grid(cards["worst"], "small")
        + grid(cards["best"], "small")
    )
    return Section("windows", "Worst, median and best windows", f"<p>{words}</p>{grids}")


def _window_card(
    model: ConvTimeNetForecaster,
    table: Table,
    evaluation: ForecastEvaluation,
    kind: str,
    window: int,
) -> str:
    """One window on its worst channel."""
    L, H = model.network_.config.context_length, model.network_.config.outputs
    first = int(evaluation.starts[window])
    now = first + L
    levels = [one.level for one in evaluation.intervals]
    answers = window_answers(model, table, first, levels)
    share = _errors_by_channel(model, table, first, answers[..., 0])
    c = int(share.argmax())
    channel, truth = table.channels[c], table.values[:, c]
    ours, *bounds = answers[:, c].T
    shown = slice(now - min(L, max(H, 24)), now + H)
    told = f"MSE {number(float(evaluation.mse_per_window[window]))} over all channels; shown is "
    told += f"{channel}, which has {100 * share[c]:.0f} % of this window's error"
    return figure(
        plots.forecast_window(
            to_local(table.times[shown], table.time_zone),
            truth[shown],
            ours,
            ylabel=channel,
            xlabel=_time_label(table),
            bands=[(bounds[k], bounds[-1 - k]) for k in range(len(levels))],
        ),
        f"{kind.capitalize()} window: {told}. Truth ranges over {span(truth[now : now + H])}, "
        f"forecast over {span(ours)}.",
        f"{told}.",
        f"{kind.capitalize()}: forecast from {_when(table, now)}",
    )


def window_answers(
    model: ConvTimeNetForecaster, table: Table, first: int, levels: Sequence[float] = ()
) -> np.ndarray:
    """Forecast of the window that starts at row `first`, with the covariates of its rows, and the
    bounds of intervals from the lowest to the highest: (H, C, K) in the data's units."""
    config = model.network_.config
    now = first + config.context_length
    ahead = crop(table, now, now + config.outputs) if model.futr_exog else None
    found = model.forecast_table(crop(table, first, now), level=levels or None, future=ahead)
    return found.reshape(config.outputs, len(table.channels), -1)


def _errors_by_channel(
    model: ConvTimeNetForecaster, table: Table, first: int, forecast: np.ndarray
) -> np.ndarray:
    """Each channel's share (C,) of the squared error of a window's forecast (H, C), as training
    weighs it."""
    now = first + model.network_.config.context_length
    truth = table.values[now : now + len(forecast)]
    squares = np.square((forecast - truth) / model.scaler_.scale[:, 0])
    if table.known is not None:
        squares *= table.known[now : now + len(forecast)]
    return squares.sum(0) / max(float(squares.sum()), np.finfo(float).tiny)


def _when(table: Table, row: int) -> str:
    stamp = show_time(table.times[row], table.time_zone).replace("T", " ")
    return re.sub(r"( \d\d:\d\d):00(?!\.)", r"\1", stamp)


def _time_label(table: Table) -> str:
    return f"{table.time_name} ({table.time_zone})" if table.time_zone else table.time_name


# --- steps, channels, patches --------------------------------------------------------------------


def _errors_section(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> Section:
    steps = evaluation.mse_per_step
    step = "" if table.frequency.unit == "step" else f" (1 step = {table.frequency.name})"
    picture = figure(
        plots.error_by_step(steps, ylabel="mean squared error", xlabel=f"steps ahead{step}"),
        f"Mean squared error by step ahead: {number(steps[0])} at step 1, {number(steps[-1])} "
        f"at step {len(steps)}.",
        "The error against the distance of the forecast, over all windows and channels.",
        "Error by step ahead",
    )
    mae = np.array([*evaluation.mae_per_channel.values()])
    scaled = mae / model.scaler_.scale[:, 0]
    hardest = np.argsort(-scaled, kind="stable")[:_LONGEST_TABLE].tolist()
    columns, rows = (
        ["channel", "MAE"],
        [[table.channels[c], number(float(mae[c]))] for c in hardest],
    )
    note = "Mean absolute error in each channel's own units"
    if model.scale:
        columns.append("in standard deviations")
        rows = [[*row, number(float(scaled[c]))] for row, c in zip(rows, hardest, strict=True)]
        note += ", and divided by its standard deviation in training"
    note += "; hardest first."
    if len(mae) > len(hardest):
        note += f" The {len(hardest)} largest of {len(mae)} channels are shown."
    channels = card(
        score_table("Mean absolute error per channel", columns, rows, numbers=True)
        + f'<p class="soft">{note}</p>',
        "Error by channel",
    )
    return Section("errors", "Where the errors are", grid([picture, channels]))


def _interval_sections(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> list[Section]:
    """How often intervals held the truth; nothing where there are none."""
    if not evaluation.intervals:
        return []
    step = "" if table.frequency.unit == "step" else f" (1 step = {table.frequency.name})"
    told = "; ".join(
        f"of {one.level:g} % intervals {100 * one.coverage:.1f} % of the truths, from "
        f"{100 * one.coverage_per_step.min():.1f} to {100 * one.coverage_per_step.max():.1f} % by "
        "step"
        for one in evaluation.intervals
    )
    picture = figure(
        plots.coverage_by_step(
            {one.level: one.coverage_per_step for one in evaluation.intervals},
            xlabel=f"steps ahead{step}",
        ),
        f"Truths inside the intervals by step ahead: {told}.",
        "Share of truths inside the intervals; dashed is the share that was asked for.",
        "Coverage by step ahead",
    )
    unit = "training standard deviations" if model.scale else "the data's units"
    rows = [
        [
            f"{one.level:g} %",
            f"{100 * one.coverage:.1f} %",
            number(one.width),
            number(one.interval_score),
        ]
        for one in evaluation.intervals
    ]
    scores = card(
        score_table(
            "Intervals", ["asked for", "inside", "width", "interval score"], rows, numbers=True
        )
        + f'<p class="soft">Mean width and interval score in {unit}. The intervals come from the '
        "errors on rows that the weights were not fitted to.</p>",
        "Coverage and width",
    )
    return [Section("intervals", "How often the intervals hold", grid([picture, scores]))]


def _typical(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> tuple[int, int]:
    """First row of the window with the median error, and the channel with most of it."""
    first = int(evaluation.starts[middle(evaluation.mse_per_window)])
    forecast = window_answers(model, table, first)[..., 0]
    return first, int(_errors_by_channel(model, table, first, forecast).argmax())


def _importance_section(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> Section:
    first, c = _typical(model, table, evaluation)
    now = first + model.network_.config.context_length
    ahead = crop(table, now, now + model.network_.config.outputs) if model.futr_exog else None
    return forecast_importance_section(
        model.explain(crop(table, first, now), ahead),
        np.broadcast_to(model.scaler_.scale[:, 0], len(table.channels)),
        c,
        f"the window with the median error, whose forecast starts at {_when(table, now)}",
    )


def _patches_section(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> Section:
    L, starts = model.network_.config.context_length, evaluation.starts
    scaled = model.scaler_.apply(table.values.T)
    sampled = starts[sample(len(starts), len(table.channels) * L)]
    typical, c = _typical(model, table, evaluation)
    channel, context = table.channels[c], slice(typical, typical + L)
    return patches_section(
        model.network_,
        np.stack([scaled[:, first : first + L] for first in sampled]),
        "windows",
        scaled[:, context],
        table.values[None, context, c],
        row=c,
        ylabel=channel,
        title=f"Channel {channel} of the window with the median error, from "
        f"{_when(table, typical)}",
    )
