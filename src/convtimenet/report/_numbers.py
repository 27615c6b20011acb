"""Sections of a regression report: scores, predicted against true, residuals, largest errors."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import r2_score

from convtimenet import scores
from convtimenet.data.labelled.cases import Cases
from convtimenet.errors import DataError
from convtimenet.estimators.regressor import ConvTimeNetRegressor, numeric_targets
from convtimenet.report import _interactive as interactive
from convtimenet.report import _plots as plots
from convtimenet.report._cases import (
    LISTED,
    called,
    case_card,
    case_patches_section,
    case_table,
    name_of,
)
from convtimenet.report._html import Section, count, figure, grid, number, span, tile, warning
from convtimenet.report._importance import case_importance_section
from convtimenet.report._interactive import embedded
from convtimenet.report._network import middle
from convtimenet.training.metrics import Scores

_LARGEST_SHOWN = 4


def number_sections(
    model: ConvTimeNetRegressor, cases: Cases, baseline: Scores | None
) -> tuple[list[Section], list[Section]]:
    """All sections, scores first, and those about the network."""
    if cases.labels is None:
        raise DataError("expected a target for every case, found none; give labelled cases")
    truth = numeric_targets(cases.labels)
    cases = model.read(cases)
    predicted = model.predict(cases)
    typical = middle(np.abs(predicted - truth))
    title = f"{called(cases, typical)}, {_true_and_predicted(truth, predicted, typical)}"
    sections = [
        _scores_section(truth, predicted, baseline or {}),
        _fit_section(truth, predicted),
        _largest_section(model, cases, truth, predicted),
        _importance_section(model, cases, truth, predicted),
    ]
    return sections, [case_patches_section(model, cases, typical, title)]


def _true_and_predicted(truth: np.ndarray, predicted: np.ndarray, case: int) -> str:
    return f"{number(float(truth[case]))}, predicted {number(float(predicted[case]))}"


def _scores_section(truth: np.ndarray, predicted: np.ndarray, baseline: Scores) -> Section:
    tiles = []
    for key, name, score, what in (
        ("mse", "MSE", scores.mse, "Mean squared error, in the squared unit of the targets."),
        ("mae", "MAE", scores.mae, "Mean absolute error, in the targets' unit."),
    ):
        ours, constant = score(truth, predicted), baseline.get(key)
        if constant is not None:
            what += f" Always predicting the training mean gives {number(constant)}"
            if constant > 0:
                change = 100 * (ours / constant - 1)
                what += f": this model is {abs(change):.0f} % {'lower' if change < 0 else 'higher'}"
            what += "."
        tiles.append(tile(number(ours), name, what))
    if len(truth) > 1:
        what = "Share of the targets' variance that the predictions explain: 1 is exact, 0 is as "
        what += "good as predicting their mean."
        tiles.append(tile(f"{r2_score(truth, predicted):.3f}", "R2", what))
    what = f"All scored once. Targets range from {span(truth)}, predictions from {span(predicted)}."
    tiles.append(tile(f"{len(truth):,}", "Cases", what))
    heading = f"Scores on {count(len(truth), 'test case')}"
    body = _worse(truth, predicted, baseline) + grid(tiles, "tiles")
    return Section("scores", heading, body, "Scores")


def _worse(truth: np.ndarray, predicted: np.ndarray, baseline: Scores) -> str:
    """A warning if the mean would have been better, by any of the scores; empty if not."""
    if len(truth) < 2:
        return ""
    mean, found = np.full_like(truth, truth.mean()), []
    for key, name, score in (
        ("mse", "mean squared error", scores.mse),
        ("mae", "mean absolute error", scores.mae),
    ):
        ours, whose, constant = score(truth, predicted), "training mean", baseline.get(key)
        if constant is None:
            whose, constant = "mean of these cases", score(truth, mean)
        if ours > constant:
            found.append(
                f"always predicting the {whose} has a {name} of {number(constant)}, this model "
                f"of {number(ours)}"
            )
    r2 = float(r2_score(truth, predicted))
    if r2 < 0:
        found.append(f"R2 is {number(r2)}, that of always predicting the mean of these cases is 0")
    return warning(f"Worse than the mean: {'; '.join(found)}.") if found else ""


def _fit_section(truth: np.ndarray, predicted: np.ndarray) -> Section:
    residual = predicted - truth
    bias = float(residual.mean())
    side = "high" if bias > 0 else "low"
    words = f"Predictions are {number(abs(bias))} too {side} on average; the median absolute error "
    words += f"is {number(float(np.median(np.abs(residual))))}."
    cards = [
        figure(
            plots.predicted_against_true(truth, predicted),
            f"Predicted against true numbers of {len(truth)} cases: true from {span(truth)}, "
            f"predicted from {span(predicted)}.",
            "One dot per case; predictions on the line are exact, above it too high.",
            "Predicted and true",
            plot=embedded(interactive.predicted_against_true(truth, predicted)),
        ),
        figure(
            plots.residuals(predicted, residual),
            f"Residuals of {len(truth)} cases against the predictions, and their histogram: "
            f"they range from {span(residual)}.",
            "Predicted minus true against predicted, and the histogram. A slope or a funnel means "
            "that errors depend on the predicted number.",
            "Residuals",
            plot=embedded(interactive.residuals(predicted, residual)),
        ),
    ]
    return Section("fit", "Predicted and true", f"<p>{words}</p>{grid(cards)}")


def _largest_section(
    model: ConvTimeNetRegressor, cases: Cases, truth: np.ndarray, predicted: np.ndarray
) -> Section:
    off = predicted - truth
    order = np.argsort(-np.abs(off), kind="stable")[:LISTED].tolist()
    rows = [
        [name_of(cases, case), *(number(float(one[case])) for one in (truth, predicted, off))]
        for case in order
    ]
    columns = ["case", "true", "predicted", "predicted minus true"]
    table = case_table("Cases, the largest error first", columns, rows, len(off))
    cards = []
    for case in order[:_LARGEST_SHOWN]:
        caption = (
            f"Predicted {number(float(predicted[case]))}, {number(abs(float(off[case])))} too "
        )
        caption += f"{'high' if off[case] > 0 else 'low'}: the true number is "
        caption += f"{number(float(truth[case]))}."
        cards.append(case_card(model, cases, case, caption, called(cases, case)))
    words = "Check whether the targets of these cases are correct. One line per channel, as the "
    words += "network reads it."
    body = f"{table}<p>{words}</p>{grid(cards)}"
    return Section("largest", "Largest errors", body)


def _importance_section(
    model: ConvTimeNetRegressor, cases: Cases, truth: np.ndarray, predicted: np.ndarray
) -> Section:
    """The cases with the smallest, the median and the largest prediction and the largest error."""
    order = np.argsort(predicted, kind="stable")
    named = {
        int(order[0]): "smallest prediction",
        int(order[-1]): "largest prediction",
        int(order[(len(order) - 1) // 2]): "median prediction",
        int(np.abs(predicted - truth).argmax()): "largest error",
    }
    names = [
        f"{called(cases, case)}: {_true_and_predicted(truth, predicted, case)} ({what})"
        for case, what in named.items()
    ]
    return case_importance_section(model.explain(cases.subset(np.array([*named]))), names)
