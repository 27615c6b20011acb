"""Pictures and sections of explanations, see `convtimenet.estimators.explain`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convtimenet.estimators.explain import CaseExplanation, Explanation, ForecastExplanation
from convtimenet.report._canvas import WIDTH, drawing, require_matplotlib, svg
from convtimenet.report._html import Section, card, escaped, figure, grid, number, score_table
from convtimenet.report._interactive import embedded
from convtimenet.report.network import interactive as interactive_network
from convtimenet.report.network import pictures as network_plots
from convtimenet.training.closed_form.effects import Effect

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CHANNELS = 20  # shown in a heat map, at most
_HIDDEN = {
    "mask": "masked as missing",
    "mean": "set to the mean of the context",
    "zero": "set to zero after scaling, the middle of the training range",
}


def forecast_importance(explanation: ForecastExplanation, n: int, c: int) -> Figure:
    """Figure of channel `c` of series `n`."""
    require_matplotlib()
    with drawing(WIDTH, 6.2) as drawn:
        network_plots.importance_panels(drawn, **_forecast_panels(explanation, n, c))
    return drawn


def _forecast_panels(explanation: ForecastExplanation, n: int, c: int) -> dict[str, Any]:
    return {
        "values": explanation.values[n, c][None],
        "spans": explanation.spans,
        "heat": explanation.change[n, c].T,
        "left": explanation.left[n, c],
        "right": explanation.right[n, c],
        "now": explanation.values.shape[-1],
        "ylabel": explanation.channels[c],
        "rows_label": "steps ahead",
        "first_row": 1,
        "heat_label": "change",
        "bars": explanation.importance[n, c],
        "bars_label": "mean |change|",
    }


def case_importance(explanation: CaseExplanation, n: int) -> Figure:
    """Figure of case `n`."""
    require_matplotlib()
    with drawing(WIDTH, 4.8) as drawn:
        network_plots.importance_panels(drawn, **_case_panels(explanation, n))
    return drawn


def _case_panels(explanation: CaseExplanation, n: int) -> dict[str, Any]:
    return {
        "values": explanation.values[n, :, : explanation.lengths[n]],
        "spans": explanation.spans,
        "heat": explanation.importance[n],
        "left": explanation.left[n, 0],
        "right": explanation.right[n, 0],
        "now": 0,
        "ylabel": "value",
        "rows_label": "channel",
        "first_row": 0,
        "heat_label": "drop in probability" if explanation.measure == "probability" else "change",
    }


def _picture(drawn: Figure) -> str:
    with drawing(1, 1):  # the style also applies when the figure is saved
        return svg(drawn)


def _plot(panels: dict[str, Any]) -> str:
    return embedded(interactive_network.importance_panels(**panels))


def _words(explanation: Explanation, answer: str, moved: str) -> str:
    return (
        f"<p>Each span of each channel is hidden in turn "
        f"({_HIDDEN[explanation.hidden_by]}), and {answer}. {moved} Importance describes this "
        "model on these series; it is not causal. Importances do not add up: if two parts carry "
        "the same information, hiding one of them changes little. A model that saw no such gaps in "
        "training also reacts to the gap itself.</p>"
    )


def forecast_importance_section(
    explanation: ForecastExplanation,
    scale: np.ndarray,
    c: int,
    window: str,
    effects: Sequence[Effect],
    units: str,
) -> Section:
    """Explanation of the forecast of one window, drawn for channel `c`.

    Parameters
    ----------
    scale
        (C,) divisor of the importance, to compare channels.
    window
        Description of the window.
    effects, units
        Linear effects of covariates known ahead, and their unit.
    """
    importance, spans = explanation.importance[0], explanation.spans
    channel, L = explanation.channels[c], explanation.values.shape[-1]
    top = _most(importance[c], spans - L)
    patches = not np.isnan(explanation.left[0, c]).all()
    cards = [
        figure(
            _picture(forecast_importance(explanation, 0, c)),
            f"Channel {channel} of {window}: the context, the mean absolute change of the forecast "
            "when a span of it is hidden, and the change by step ahead"
            f"{', and the patches' * patches}. {top}",
            f"Channel {channel} of {window}, in the data's units. {top} Bars: mean absolute change "
            "of the forecast when the span is hidden. Colours: change by step ahead, red where the "
            "span raises the forecast, blue where it lowers it."
            f"{' Lines: extent of each patch.' * patches}",
            "Importance of each span",
            plot=_plot(_forecast_panels(explanation, 0, c)),
        )
    ]
    if len(importance) > 1:
        relative = importance / scale[:, None]
        order = np.argsort(-np.nan_to_num(relative).sum(1), kind="stable")[:_CHANNELS]
        names = [explanation.channels[i] for i in order]
        alone = "channels are forecast independently."
        if explanation.channel_importance.any():
            alone = "what it reads in other channels is left as it is."
        most = "" if len(order) == len(relative) else f" Shown are the {_CHANNELS} largest sums."
        drawn = relative[order], spans - L, names, "standard deviations"
        cards.append(
            figure(
                network_plots.channel_importance(*drawn),
                f"Importance of every span for {len(names)} channels, between "
                f"{number(float(np.nanmin(relative)))} and {number(float(np.nanmax(relative)))} "
                "standard deviations.",
                "Mean absolute change of each channel's own forecast, in its standard deviations; "
                f"{alone}{most}",
                "All channels",
                plot=embedded(interactive_network.channel_importance(*drawn)),
            )
        )
    if explanation.covariates:
        cards.append(_covariates_card(explanation, c))
    if effects:
        cards.append(_effects_card(effects, channel, c, units))
    words = _words(
        explanation,
        "the forecast is repeated",
        "The further it moves, the more important is that part.",
    )
    return Section("importance", "Explanation of a forecast", words + grid(cards))


def _effects_card(effects: Sequence[Effect], channel: str, c: int, units: str) -> str:
    names = [
        one.name if one.category is None else f"{one.name} = {one.category}" for one in effects
    ]
    values = [f"{one.values[c]:+.4g}" for one in effects]
    rows = [[*row] for row in zip(names, values, strict=True)]
    table = score_table("Linear effects of covariates", ["covariate", "effect"], rows, numbers=True)
    note = f"What one more unit of a covariate known ahead, or the category, adds to {channel}, in "
    note += f"{units}: the linear effect, fitted to the rows of the training. 0: no effect that "
    note += "predicts other rows better than none."
    return card(f'{table}<p class="soft">{escaped(note)}</p>', "Linear effects")


def _covariates_card(explanation: ForecastExplanation, c: int) -> str:
    values = explanation.covariate_importance[0, :, c]
    rows = [
        [explanation.covariates[k], number(float(values[k]))]
        for k in np.argsort(-values, kind="stable")
    ]
    table = score_table("Importance of covariates", ["covariate", "change"], rows, numbers=True)
    note = f"Mean absolute change of the forecast of {explanation.channels[c]} when the covariate "
    note += "is hidden completely, including the horizon if it is known ahead."
    return card(f'{table}<p class="soft">{escaped(note)}</p>', "Covariates")


def case_importance_section(explanation: CaseExplanation, names: Sequence[str]) -> Section:
    """Explanations of the predictions for a few cases, with these names."""
    cards = []
    for n, name in enumerate(names):
        importance = explanation.importance[n]
        size = np.abs(importance) if explanation.measure == "number" else importance
        at = np.unravel_index(int(np.nanargmax(size)), importance.shape)
        first, end = explanation.spans[at[1]]
        end = min(end, explanation.lengths[n])
        part = f"channel {at[0]} in steps {first} to {end - 1}"
        if explanation.measure == "number":
            caption = f"Predicted {number(float(explanation.explained[n]))}. It changes most, by "
            caption += f"{-importance[at]:+.3g}, without {part}."
        else:
            caption = f"Probability {explanation.explained[n]:.2f}. "
            if 0 < importance[at] < 0.005:  # two decimals would show 0.00
                caption += "It drops by less than 0.005, whichever part is hidden."
            elif importance[at] > 0:
                caption += f"It drops most, by {importance[at]:.2f}, without {part}."
            else:
                caption += "It does not drop, whichever part is hidden."
        cards.append(
            figure(
                _picture(case_importance(explanation, n)),
                f"{name}: its channels, the importance of their spans and the patches. {caption}",
                caption,
                name,
                plot=_plot(_case_panels(explanation, n)),
            )
        )
    legend = "Red parts support the predicted class: without them its probability drops. Blue "
    legend += "parts count against it."
    if explanation.measure == "number":
        legend = "Red parts raise the predicted number, blue parts lower it."
    legend += " Grey parts have no known values."
    if not np.isnan(explanation.left).all():
        legend += " The lines below are the patches."
    words = _words(explanation, "the prediction is repeated", legend)
    return Section("importance", "Explanation of predictions", words + grid(cards))


def _most(importance: np.ndarray, spans: np.ndarray) -> str:
    if np.isnan(importance).all():
        return "All of its values are missing."
    at = int(np.nanargmax(importance))
    first, end = spans[at]
    return (
        f"The forecast changes most, by {number(float(importance[at]))} on average, without steps "
        f"{first} to {end - 1}."
    )
