"""What a page says about what answers rest on, see `convtimenet.estimators.explain`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from convtimenet.estimators.explain import CaseExplanation, Explanation, ForecastExplanation
from convtimenet.report import _network_plots as network_plots
from convtimenet.report._canvas import WIDTH, drawing, require_matplotlib, svg
from convtimenet.report._html import Section, card, escaped, figure, grid, number, score_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CHANNELS = 20  # shown in a heat map, at most
_HIDDEN = {
    "mask": "the network is told that it is missing",
    "mean": "it is set to the mean of the context",
    "zero": "it is set to zero after scaling, the middle of what training saw",
}


def plot(explanation: Explanation, number: int = 0, channel: int = 0) -> Figure:
    """Draw what `model.explain` found: a series or case, what each span of it is worth, and where
    its patches lie.

    Parameters
    ----------
    explanation
        Of a forecaster, a classifier or a regressor.
    number
        Which of the n series or cases.
    channel
        Of a forecast, which channel; a case shows all of its channels.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed (extra ``report``).
    """
    if isinstance(explanation, ForecastExplanation):
        return forecast_importance(explanation, number, channel)
    assert isinstance(explanation, CaseExplanation)
    return case_importance(explanation, number)


def forecast_importance(explanation: ForecastExplanation, n: int, c: int) -> Figure:
    """Channel `c` of series `n`, drawn."""
    require_matplotlib()
    with drawing(WIDTH, 6.2) as drawn:
        network_plots.importance_panels(
            drawn,
            explanation.values[n, c][None],
            explanation.spans,
            explanation.change[n, c].T,
            explanation.left[n, c],
            explanation.right[n, c],
            now=explanation.values.shape[-1],
            ylabel=explanation.channels[c],
            rows_label="steps ahead",
            first_row=1,
            heat_label="change",
            bars=explanation.importance[n, c],
            bars_label="mean |change|",
        )
    return drawn


def case_importance(explanation: CaseExplanation, n: int) -> Figure:
    """Case `n`, drawn."""
    require_matplotlib()
    with drawing(WIDTH, 4.8) as drawn:
        network_plots.importance_panels(
            drawn,
            explanation.values[n, :, : explanation.lengths[n]],
            explanation.spans,
            explanation.importance[n],
            explanation.left[n, 0],
            explanation.right[n, 0],
            now=0,
            ylabel="value",
            rows_label="channel",
            first_row=0,
            heat_label="loss of probability" if explanation.measure == "probability" else "change",
        )
    return drawn


def _picture(drawn: Figure) -> str:
    with drawing(1, 1):  # its style counts when text is written too
        return svg(drawn)


def _words(explanation: Explanation, answer: str, moved: str) -> str:
    return (
        f"<p>One part of a series after the other, a span of one channel, is hidden from the "
        f"network ({_HIDDEN[explanation.hidden_by]}), and {answer}. {moved} This shows what this "
        "model reads in these series. It does not show what causes what; and the values do not add "
        "up, for where two parts say the same, hiding one of them changes little. A model that "
        "saw no such part missing in training also answers to the gap itself.</p>"
    )


def forecast_importance_section(
    explanation: ForecastExplanation, scale: np.ndarray, c: int, window: str
) -> Section:
    """What the forecast of one window rests on, drawn for channel `c`.

    Parameters
    ----------
    scale
        (C,) what importance is divided by where channels stand beside one another.
    window
        Which window, in words.
    """
    importance, spans = explanation.importance[0], explanation.spans
    channel, L = explanation.channels[c], explanation.values.shape[-1]
    top = _most(importance[c], spans - L)
    cards = [
        figure(
            _picture(forecast_importance(explanation, 0, c)),
            f"Channel {channel} of {window}: the context, the mean absolute change of the forecast "
            f"when a span of it is hidden, the change by step ahead, and the patches. {top}",
            f"Channel {channel} of {window}, in the data's units. {top} Bars: how far hiding the "
            "span moves the forecast, on average over the horizon. Colours: by step ahead, red "
            "where the span raises the forecast, blue where it lowers it. Lines: from where to "
            "where each patch reads.",
            "What each span is worth",
        )
    ]
    if len(importance) > 1:
        relative = importance / scale[:, None]
        order = np.argsort(-np.nan_to_num(relative).sum(1), kind="stable")[:_CHANNELS]
        names = [explanation.channels[i] for i in order]
        most = "" if len(order) == len(relative) else f" The {_CHANNELS} with the largest sum."
        cards.append(
            figure(
                network_plots.channel_importance(
                    relative[order], spans - L, names, "standard deviations"
                ),
                f"Importance of every span for {len(names)} channels, between "
                f"{number(float(np.nanmin(relative)))} and {number(float(np.nanmax(relative)))} "
                "standard deviations.",
                "Mean absolute change of each channel's own forecast, in its standard deviations: "
                f"no channel reads another.{most}",
                "All channels",
            )
        )
    if explanation.covariates:
        cards.append(_covariates_card(explanation, c))
    words = _words(
        explanation,
        "the forecast is made again",
        "The further the forecast moves, the more it rests on that part.",
    )
    return Section("importance", "What the forecast rests on", words + grid(cards))


def _covariates_card(explanation: ForecastExplanation, c: int) -> str:
    values = explanation.covariate_importance[0, :, c]
    rows = [
        [explanation.covariates[k], number(float(values[k]))]
        for k in np.argsort(-values, kind="stable")
    ]
    table = score_table("Importance of covariates", ["covariate", "change"], rows, numbers=True)
    note = f"Mean absolute change of the forecast of {explanation.channels[c]} when the covariate "
    note += "is hidden altogether, over the horizon too where it is known ahead."
    return card(f'{table}<p class="soft">{escaped(note)}</p>', "Covariates")


def case_importance_section(explanation: CaseExplanation, names: Sequence[str]) -> Section:
    """What the answers to a few cases, with these names, rest on."""
    cards = []
    for n, name in enumerate(names):
        importance = explanation.importance[n]
        size = np.abs(importance) if explanation.measure == "number" else importance
        at = np.unravel_index(int(np.nanargmax(size)), importance.shape)
        first, end = explanation.spans[at[1]]
        end = min(end, explanation.lengths[n])
        part = f"channel {at[0]} in steps {first} to {end - 1}"
        if explanation.measure == "number":
            told = f"Predicted {number(float(explanation.explained[n]))}. It moves most, by "
            told += f"{-importance[at]:+.3g}, without {part}."
        else:
            told = f"Probability {explanation.explained[n]:.2f}. "
            if 0 < importance[at] < 0.005:  # two decimals would say 0.00
                told += "It hardly falls at all (below 0.005), whichever part is hidden."
            elif importance[at] > 0:
                told += f"It falls most, by {importance[at]:.2f}, without {part}."
            else:
                told += "It does not fall, whichever part is hidden."
        cards.append(
            figure(
                _picture(case_importance(explanation, n)),
                f"{name}: its channels, the importance of their spans and the patches. {told}",
                told,
                name,
            )
        )
    meant = "Red parts speak for the class that was predicted: without them its probability falls. "
    meant += "Blue ones speak against it."
    if explanation.measure == "number":
        meant = (
            "Red parts make the number greater: without them it would be smaller. Blue ones make "
        )
        meant += "it smaller."
    words = _words(
        explanation,
        "the answer asked for again",
        f"{meant} Grey: nothing there. The lines below are the patches.",
    )
    return Section("importance", "What the answers rest on", words + grid(cards))


def _most(importance: np.ndarray, spans: np.ndarray) -> str:
    if np.isnan(importance).all():
        return "Nothing of it is known."
    at = int(np.nanargmax(importance))
    first, end = spans[at]
    return (
        f"The forecast moves most, by {number(float(importance[at]))} on average, without steps "
        f"{first} to {end - 1}."
    )
