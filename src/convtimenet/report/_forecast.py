"""Sections of a forecasting report: scores, errors by window, step and channel, patches."""

from __future__ import annotations

import numpy as np

from convtimenet.data.table_rows import pad_front, select_channels
from convtimenet.data.tables import Table
from convtimenet.data.time.timestamps import to_local
from convtimenet.data.time.words import step_note
from convtimenet.data.windows import filled_contexts
from convtimenet.errors import DataError
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.report import _interactive as interactive
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
    warning,
)
from convtimenet.report._importance import forecast_importance_section
from convtimenet.report._interactive import embedded
from convtimenet.report._network import members_section, middle, patches_section, sample
from convtimenet.report._windows import (
    ahead_of,
    context_of,
    errors_by_channel,
    rows_before,
    scaler_of,
    scales_of,
    series_of,
    time_label,
    when,
    whose,
    window_answers,
)
from convtimenet.training.metrics import ForecastEvaluation
from convtimenet.wording import share_text

_EACH = 3  # worst and best windows shown
_LONGEST_TABLE = 20
_WORSE = 1.01  # a mean absolute error this much above seasonal naive's is said first


def forecast_sections(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> tuple[list[Section], list[Section]]:
    """All sections, scores first, and those about the network."""
    table = select_channels(table, tuple(evaluation.mae_per_channel))
    config = model.network_.config
    needed = int(evaluation.starts.max()) + config.context_length + config.outputs
    if needed > len(table.times):
        raise DataError(
            f"the evaluation has windows up to row {needed}, the table has {len(table.times)} "
            "rows; give the table that was evaluated"
        )
    sections = [
        _scores_section(model, table, evaluation),
        _windows_section(model, table, evaluation),
        _errors_section(model, table, evaluation),
        *_interval_sections(model, table, evaluation),
        _importance_section(model, table, evaluation),
    ]
    if config.members:
        return sections, [members_section(model)]
    trained = config.kernel_sizes and not config.pretrained
    inside = [_patches_section(model, table, evaluation)] if trained else []
    return sections, inside


def evaluated(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> ConvTimeNetForecaster:
    """The forecaster that an evaluation scored, see `asked_about`."""
    rows = evaluation.starts + model.network_.config.context_length
    series = np.searchsorted(table.bounds, rows, side="right") - 1
    first = table.lengths.copy()
    if rows.max() < len(table.times):  # else another table was evaluated: `forecast_sections` fails
        np.minimum.at(first, series, rows - table.bounds[series])
    return model.asked_about(table, first)


def _scores_section(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> Section:
    tiles, worse = [], ""
    naive = "the last value"
    if evaluation.season > 1:
        naive = f"the last season of {count(evaluation.season, 'step')}"
    for key, name, what in (
        ("mae", "MAE", "Mean absolute error, in the data's units"),
        ("rmse", "RMSE", "Root of the mean squared error, in the data's units"),
        ("mase", "MASE", "Mean absolute error, relative to that of seasonal naive in earlier rows"),
        ("wape", "WAPE", "Sum of absolute errors, relative to the sum of absolute values"),
    ):
        if key not in evaluation.in_units:
            continue
        ours, theirs = evaluation.in_units[key], evaluation.naive_in_units[key]
        shown = share_text if key == "wape" else number
        text = f"{what}. Seasonal naive (repeating {naive}) gives {shown(theirs)}"
        if theirs > 0:
            change = 100 * (ours / theirs - 1)
            text += f": this model is {abs(change):.0f} % {'lower' if change < 0 else 'higher'}"
        if key == "mae" and ours > _WORSE * theirs:
            worse = f"Worse than seasonal naive: repeating {naive} has a mean absolute error of "
            worse += f"{number(theirs)}, this model of {number(ours)}."
        tiles.append(tile(shown(ours), name, text + "."))
    if model.scale:
        mse, mae = (number(evaluation.scores[name]) for name in ("mse", "mae"))
        text = f"In training standard deviations, as papers report it; mean absolute error {mae}."
        tiles.append(tile(mse, "Standardised MSE", text))
    config = model.network_.config
    text = f"Each reads {count(config.context_length, 'step')} and forecasts the next "
    text += f"{count(config.outputs, 'step')} of "
    text += f"{count(len(evaluation.mae_per_channel), 'channel')}."
    tiles.append(tile(f"{evaluation.n_windows:,}", "Windows", text))
    first = evaluation.starts + config.context_length
    times = np.concatenate([table.times[first], table.times[first + config.outputs - 1]])
    begin, end = (int(np.flatnonzero(table.times == t)[0]) for t in (times.min(), times.max()))
    heading = f"Scores on the rows from {when(table, begin)} to {when(table, end)}"
    body = (warning(worse) if worse else "") + grid(tiles, "tiles")
    return Section("scores", heading, body, "Scores")


def _errors(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> tuple[np.ndarray, np.ndarray, str]:
    """Root mean squared errors of the windows (n,) and of the steps (H,) as they are shown, and
    their unit: that of the data, unless several channels have units of their own."""
    rmse = np.sqrt(evaluation.mse_per_window)
    if len(table.channels) > 1:
        unit = "training standard deviations" if model.scale else "the data's units"
        return rmse, np.sqrt(evaluation.mse_per_step), unit
    scale = scales_of(model, table, evaluation.starts + model.network_.config.context_length)
    return scale * rmse, evaluation.rmse_per_step_in_units, "the data's units"


# --- windows -------------------------------------------------------------------------------------


def pick_windows(error: np.ndarray, starts: np.ndarray, apart: int) -> dict[str, list[int]]:
    """Indices of the worst, the median and the best windows.

    Parameters
    ----------
    error, starts
        (n,) each: error, NaN if there is none, and first row of every window.
    apart
        Minimum rows between the starts of two windows of one kind: closer ones show the same event.

    Returns
    -------
    Lists under "worst", "median" and "best"; the first is ``np.nanargmax(error)``. No window
    appears twice, none is without an error, and none of the worst is below the median or of the
    best above it, so with few windows some lists are short.
    """
    half = error[middle(error)]
    picks: dict[str, list[int]] = {"worst": [], "median": [], "best": []}
    for kind, ranked in (
        ("worst", np.argsort(-error, kind="stable").tolist()),
        ("median", [middle(error)]),
        ("best", np.argsort(error, kind="stable").tolist()),
    ):
        chosen = picks[kind]
        taken = {window for windows in picks.values() for window in windows}
        for window in ranked[: int((~np.isnan(error)).sum())]:  # NaN come last
            far = all(abs(starts[window] - starts[other]) >= apart for other in chosen)
            wrong = {"worst": error[window] < half, "best": error[window] > half}.get(kind, False)
            if far and not wrong and window not in taken:
                chosen.append(window)
            if len(chosen) == _EACH:
                break
    return picks


def _windows_section(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> Section:
    config = model.network_.config
    L, H = config.context_length, config.outputs
    starts = evaluation.starts
    rmse, _, unit = _errors(model, table, evaluation)
    picks = pick_windows(rmse, starts, H)
    cards = {
        kind: [
            _window_card(model, table, evaluation, kind, window, float(rmse[window]), unit)
            for window in windows
        ]
        for kind, windows in picks.items()
    }
    times = to_local(table.times[starts + L], table.time_zone)
    labels = {"ylabel": f"RMSE in {unit}", "xlabel": time_label(table)}
    joined = not table.long
    overview = figure(
        plots.error_over_time(times, rmse, picks, **labels, joined=joined),
        f"Error of {evaluation.n_windows} windows by the start of their forecast: {span(rmse)} in "
        f"{unit}, "
        f"the worst at {when(table, int(starts[picks['worst'][0]]) + L)}.",
        f"Root mean squared error (RMSE) of each window, in {unit}, at the start of its forecast; "
        "the windows shown here are marked.",
        "Errors over time",
        plot=embedded(interactive.error_over_time(times, rmse, picks, **labels, joined=joined)),
    )
    words = (
        "Windows with the largest, the median and the smallest errors, each on the channel with "
    )
    words += "the largest share of the error, drawn in the data's units; the horizon is shaded. "
    if evaluation.intervals:
        levels = ", ".join(f"{one.level:g}" for one in evaluation.intervals)
        words += f"Coloured bands: {levels} % intervals. "
    words += f"Windows of one kind {'and series ' if table.long else ''}start at least "
    words += f"{count(H, 'row')} apart, so that no event is shown twice."
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
    rmse: float,
    unit: str,
) -> str:
    """One window on its worst channel, with its error in a unit."""
    L, H = model.network_.config.context_length, model.network_.config.outputs
    now = int(evaluation.starts[window]) + L
    levels = sorted(one.level for one in evaluation.intervals)
    answers = window_answers(model, table, now, levels)
    share = errors_by_channel(model, table, now, answers[..., 0])
    c = int(share.argmax())
    channel, (one, at) = table.channels[c], series_of(table, now)
    shown = slice(max(0, at - rows_before(L, H)), at + H)
    truth = one.values[shown, c]
    caption = f"RMSE {number(rmse)} in {unit}"
    if len(table.channels) > 1:
        caption += f" over all channels; shown is {channel}, with {100 * share[c]:.0f} % of the "
        caption += "window's squared error"
    times = to_local(one.times[shown], table.time_zone)
    drawn = times, truth, answers[:, c], [f"{level:g}" for level in levels]
    labels = {"ylabel": channel, "xlabel": time_label(table)}
    return figure(
        plots.forecast_window(*drawn, **labels),
        f"{kind.capitalize()} window: {caption}. Actual values range from {span(truth[-H:])}, the "
        f"forecast from {span(answers[:, c, 0])}.",
        f"{caption}.",
        f"{kind.capitalize()}: forecast {whose(table, now)}from {when(table, now)}",
        plot=embedded(interactive.forecast_window(*drawn, **labels)),
    )


# --- steps, channels, patches --------------------------------------------------------------------


def _errors_section(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> Section:
    _, steps, unit = _errors(model, table, evaluation)
    over = "windows and channels" if len(table.channels) > 1 else "windows"
    labels = {"ylabel": f"RMSE in {unit}", "xlabel": f"steps ahead{step_note(table.frequency)}"}
    picture = figure(
        plots.error_by_step(steps, **labels),
        f"Root mean squared error by step ahead: {number(steps[0])} at step 1, "
        f"{number(steps[-1])} at step {len(steps)}, in {unit}.",
        f"Root mean squared error (RMSE) per step ahead over all {over}, in {unit}.",
        "Error by step ahead",
        plot=embedded(interactive.error_by_step(steps, **labels)),
    )
    cards = [picture, _channels_card(model, table, evaluation)]
    if table.long:
        cards.append(_series_card(model, table, evaluation))
    return Section("errors", "Where the errors are", grid(cards))


def _channels_card(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> str:
    """Errors of the channels; also in standard deviations if all series share one scale."""
    mae = np.array([*evaluation.mae_per_channel.values()])
    relative = mae if table.long else mae / model.scaler_.scale[:, 0]
    hardest = np.argsort(-relative, kind="stable")[:_LONGEST_TABLE].tolist()
    naive = [*evaluation.naive_mae_per_channel.values()]
    columns, rows = (
        ["channel", "MAE", "seasonal naive"],
        [[table.channels[c], number(float(mae[c])), number(naive[c])] for c in hardest],
    )
    note = "Mean absolute error of this model and of seasonal naive, in each channel's units"
    if model.scale and not table.long:
        columns.append("in standard deviations")
        rows = [[*row, number(float(relative[c]))] for row, c in zip(rows, hardest, strict=True)]
        note += ", and of this model divided by the channel's standard deviation in training"
    note += "; largest first."
    if len(mae) > len(hardest):
        note += f" The {len(hardest)} largest of {len(mae)} channels are shown."
    return card(
        score_table("Mean absolute error per channel", columns, rows, numbers=True)
        + f'<p class="soft">{note}</p>',
        "Error by channel",
    )


def _series_card(model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation) -> str:
    """Errors of the series of a long table."""
    now = evaluation.starts + model.network_.config.context_length
    series = np.searchsorted(table.bounds, now, side="right") - 1
    scored = ~np.isnan(evaluation.mse_per_window)
    errors, _, unit = _errors(model, table, evaluation)
    series, errors = series[scored], errors[scored] ** 2
    windows = np.bincount(series, minlength=len(table.lengths))
    sums = np.bincount(series, errors, minlength=len(table.lengths))
    rmse = np.sqrt(sums / np.maximum(windows, 1))
    hardest = np.argsort(-rmse, kind="stable")[:_LONGEST_TABLE]
    rows = [
        [str(table.ids[k]), number(float(rmse[k])), f"{windows[k]:,}"]
        for k in hardest.tolist()
        if windows[k]
    ]
    note = f"Root mean squared error (RMSE) of the series' windows, in {unit}; largest first."
    if (windows > 0).sum() > len(rows):
        note += f" The {len(rows)} largest of {(windows > 0).sum():,} series are shown."
    return card(
        score_table("Error per series", ["series", "RMSE", "windows"], rows, numbers=True)
        + f'<p class="soft">{note}</p>',
        "Error by series",
    )


def _interval_sections(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> list[Section]:
    """Coverage of the intervals; empty if there are none."""
    if not evaluation.intervals:
        return []
    caption = "; ".join(
        f"{one.level:g} % intervals contain {100 * one.coverage:.1f} % of the values, from "
        f"{100 * np.nanmin(one.coverage_per_step):.1f} to "
        f"{100 * np.nanmax(one.coverage_per_step):.1f} % by step"
        for one in evaluation.intervals
    )
    shares = {one.level: one.coverage_per_step for one in evaluation.intervals}
    label = f"steps ahead{step_note(table.frequency)}"
    picture = figure(
        plots.coverage_by_step(shares, xlabel=label),
        f"Coverage of the intervals by step ahead: {caption}.",
        "Share of actual values inside the intervals; the nominal level is dashed.",
        "Coverage by step ahead",
        plot=embedded(interactive.coverage_by_step(shares, xlabel=label)),
    )
    unit = "training standard deviations" if model.scale else "the data's units"
    rows = [
        [
            f"{one.level:g} %",
            f"{100 * one.coverage:.1f} %",
            number(one.width_in_units),
            number(one.interval_score),
        ]
        for one in evaluation.intervals
    ]
    scores = card(
        score_table(
            "Intervals", ["level", "coverage", "width", "interval score"], rows, numbers=True
        )
        + f'<p class="soft">Mean width in the data\'s units, interval score in {unit}. Intervals '
        "are calibrated with errors on rows that the weights were not fitted to.</p>",
        "Coverage and width",
    )
    return [Section("intervals", "Coverage of the intervals", grid([picture, scores]))]


def _typical(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> tuple[int, int]:
    """First forecast row of the window with the median error, and its channel with the largest
    share of the error."""
    first = int(evaluation.starts[middle(evaluation.mse_per_window)])
    now = first + model.network_.config.context_length
    forecast = window_answers(model, table, now)[..., 0]
    return now, int(errors_by_channel(model, table, now, forecast).argmax())


def _importance_section(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> Section:
    now, c = _typical(model, table, evaluation)
    context = context_of(model, table, now)
    return forecast_importance_section(
        model.explain(context, ahead_of(model, table, now)),
        np.broadcast_to(scaler_of(model, context).scale[:, 0], len(table.channels)),
        c,
        f"the window with the median error, whose forecast {whose(table, now)}starts at "
        f"{when(table, now)}",
        model.effects(),
        "the data's units" if model.scaler_.scale.ndim == 2 else "deviations of the series",
    )


def _patches_section(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> Section:
    config, starts = model.network_.config, evaluation.starts
    L = config.context_length
    sampled = starts[sample(len(starts), len(table.channels) * L)] + L

    def scaled(context: Table) -> np.ndarray:
        values = scaler_of(model, context).apply(context.values.T)
        return values if config.masks else np.nan_to_num(filled_contexts(values), copy=False)

    def read(now: int) -> Table:
        return pad_front(context_of(model, table, now), L)

    now, c = _typical(model, table, evaluation)
    channel, typical = table.channels[c], read(now)
    begin = now - len(context_of(model, table, now).times)
    return patches_section(
        model.network_,
        np.stack([scaled(read(int(one))) for one in sampled]),
        "windows",
        scaled(typical),
        typical.values[None, :, c],
        row=c,
        ylabel=channel,
        title=f"Channel {channel} of the window with the median error, {whose(table, now)}from "
        f"{when(table, begin)}",
    )
