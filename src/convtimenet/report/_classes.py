"""Sections of a classification report: scores, confusion matrix, wrong cases, patches."""

from __future__ import annotations

import numpy as np

from convtimenet.data.labelled.cases import Cases
from convtimenet.errors import DataError
from convtimenet.estimators.classifier import ConvTimeNetClassifier
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
from convtimenet.report._html import (
    Section,
    card,
    count,
    figure,
    grid,
    percent,
    score_table,
    tile,
    warning,
)
from convtimenet.report._importance import case_importance_section
from convtimenet.report._interactive import embedded
from convtimenet.report._network import middle
from convtimenet.training.metrics import Scores, confusion

_WRONG_SHOWN = 4
_EXPLAINED = 4
_MISTAKES = 10
_Z = 1.959964  # standard normal quantile of a 95 % interval


def class_sections(
    model: ConvTimeNetClassifier, cases: Cases, baseline: Scores | None
) -> tuple[list[Section], list[Section]]:
    """All sections, scores first, and those about the network."""
    truth, names = _class_numbers(model, cases)
    cases = model.read(cases)
    probabilities = model.predict_proba(cases)
    counts = confusion(truth, probabilities.argmax(1), len(names))
    sections = [
        _scores_section(counts, baseline or {}),
        _classes_section(names, counts),
        _mistakes_section(names, counts),
        _wrong_section(model, cases, truth, names, probabilities),
        _importance_section(model, cases, truth, names, probabilities),
    ]
    return sections, [_patches_section(model, cases, truth, probabilities)]


def _class_numbers(model: ConvTimeNetClassifier, cases: Cases) -> tuple[np.ndarray, list[str]]:
    """The class index of every case, and all class names: the model's, then those unknown to it,
    which it cannot predict."""
    if cases.labels is None:
        raise DataError("expected a label for every case, found none; give labelled cases")
    classes, labels = model.classes_.tolist(), model.truth(cases.labels).tolist()
    unknown = sorted(set(labels) - set(classes), key=str)
    numbers = {label: i for i, label in enumerate([*classes, *unknown])}
    truth = np.array([numbers[label] for label in labels])
    if (truth >= len(classes)).all():
        found = ", ".join(map(str, unknown[:5]))
        raise DataError(
            f"expected labels the model was fitted to, found {found}; use the labels of training"
        )
    return truth, list(map(str, numbers))


# --- scores --------------------------------------------------------------------------------------


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % Wilson interval of a share `right` / `n`."""
    share, spread = right / n, _Z**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = _Z * np.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return float(centre - half), float(centre + half)


def per_class(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall (NaN where nothing was predicted or present) and support, (K,) each,
    of a confusion matrix (K, K) with a row per true class."""
    right, support, predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    with np.errstate(invalid="ignore"):
        return right / predicted, right / support, support


def f1_scores(counts: np.ndarray) -> np.ndarray:
    """F1 (K,) of every class; NaN where it was neither present nor predicted."""
    right = np.diag(counts)
    with np.errstate(invalid="ignore"):
        return 2 * right / (counts.sum(0) + counts.sum(1))


def _scores_section(counts: np.ndarray, baseline: Scores) -> Section:
    n, right = int(counts.sum()), int(np.trace(counts))
    low, high = wilson(right, n)
    _, recall, support = per_class(counts)
    interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f} % (Wilson)."
    tiles = [
        tile(percent(right / n), "Accuracy", f"{right:,} cases correct; {interval}"),
        tile(f"{n:,}", "Cases", f"From {int((support > 0).sum())} classes, all scored once."),
        tile(
            percent(float(np.nanmean(recall))),
            "Balanced accuracy",
            "Mean recall over the classes: every class counts equally.",
        ),
        tile(
            percent(float(np.nanmean(f1_scores(counts)[support > 0]))),
            "Macro F1",
            "Mean F1 over the classes that occur; F1 is the harmonic mean of precision and recall.",
        ),
    ]
    worse = ""
    if right / n < baseline.get("accuracy", 0):
        worse = warning(
            f"Worse than a constant: always predicting the most frequent training class has an "
            f"accuracy of {percent(baseline['accuracy'])}, this model of {percent(right / n)}."
        )
    if "accuracy" in baseline:
        what = "Baseline: accuracy of always predicting the most frequent training class."
        tiles.append(tile(percent(baseline["accuracy"]), "Largest class", what))
    heading = f"Scores on {count(n, 'test case')}"
    return Section("scores", heading, worse + grid(tiles, "tiles"), "Scores")


def _classes_section(labels: list[str], counts: np.ndarray) -> Section:
    precision, recall, support = per_class(counts)
    off = counts - np.diag(np.diag(counts))
    i, j = np.unravel_index(int(off.argmax()), off.shape)
    many = len(labels) > 9  # too many for half a page
    worst = "No confusion occurred twice." if off.any() else "All cases are correct."
    if off[i, j] > 1:
        worst = f"Most frequent: {off[i, j]} cases of class {labels[i]} predicted as {labels[j]}."
    picture = figure(
        plots.confusion_matrix(counts, labels),
        f"Confusion matrix of {len(labels)} classes, {np.trace(counts)} of {counts.sum()} cases on "
        f"the diagonal. {worst}",
        f"Rows are true classes, columns predicted ones; errors are off the diagonal. {worst}",
        "Confusion matrix",
        wide=many,
        plot=embedded(interactive.confusion_matrix(counts, labels)),
    )
    f1 = f1_scores(counts)
    rows = [
        [label, percent(precision[k]), percent(recall[k]), percent(f1[k]), f"{support[k]:,}"]
        for k, label in enumerate(labels)
    ]
    columns = ["class", "precision", "recall", "F1", "cases"]
    note = "Precision: share of the cases predicted as this class that belong to it. Recall: share "
    note += "of the cases of this class that were predicted as it."
    note += " F1: their harmonic mean."
    table = score_table("Precision, recall and F1 per class", columns, rows, numbers=True)
    scores = card(f'{table}<p class="soft">{note}</p>', "Per class", fit=many)
    body = picture + scores if many else grid([picture, scores])
    return Section("classes", "Classes", body)


def _mistakes_section(labels: list[str], counts: np.ndarray) -> Section:
    """The pairs of true and predicted class with the most cases."""
    off = counts - np.diag(np.diag(counts))
    order = np.argsort(-off, axis=None, kind="stable")[:_MISTAKES]
    pairs = [divmod(int(at), len(labels)) for at in order]
    rows = [
        [labels[i], labels[j], f"{off[i, j]:,}", percent(off[i, j] / counts[i].sum())]
        for i, j in pairs
        if off[i, j]
    ]
    if not rows:
        return Section("mistakes", "Most frequent mistakes", "<p>No case was mistaken.</p>")
    columns = ["true class", "predicted", "cases", "share of the true class"]
    table = score_table("Most frequent mistakes", columns, rows, numbers=True)
    return Section("mistakes", "Most frequent mistakes", card(table, fit=True))


# --- cases ---------------------------------------------------------------------------------------


def _confidently_wrong(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Indices of the wrong cases, the most confident first."""
    wrong = np.flatnonzero(probabilities.argmax(1) != truth)
    return wrong[np.argsort(-probabilities.max(1)[wrong], kind="stable")]


def _importance_section(
    model: ConvTimeNetClassifier,
    cases: Cases,
    truth: np.ndarray,
    labels: list[str],
    probabilities: np.ndarray,
) -> Section:
    """A correct case of median confidence for each of the first classes, and the most confident
    wrong one."""
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = _confidently_wrong(truth, probabilities)[:1].tolist()
    shown = []
    for k in range(len(model.classes_)):
        right = np.flatnonzero((predicted == truth) & (truth == k))
        if len(right) and len(shown) < _EXPLAINED - len(wrong):
            shown.append(int(right[middle(confidence[right])]))
    names = [
        f"{called(cases, case)}: class {model.classes_[predicted[case]]}, correct" for case in shown
    ]
    for case in wrong:
        own, given = (labels[k[case]] for k in (truth, predicted))
        names.append(f"{called(cases, case)}: {own}, predicted as {given}")
    return case_importance_section(model.explain(cases.subset(np.array(shown + wrong))), names)


def _wrong_section(
    model: ConvTimeNetClassifier,
    cases: Cases,
    truth: np.ndarray,
    labels: list[str],
    probabilities: np.ndarray,
) -> Section:
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = _confidently_wrong(truth, probabilities)
    order = wrong[:_WRONG_SHOWN].tolist()

    def chance(case: int) -> str:
        return f"{confidence[case]:.2f}"

    words = f"{len(wrong):,} of {len(truth):,} cases are wrong. "
    if not order:
        return Section("wrong", "Wrong cases", f"<p>{words}</p>")
    rows = [
        [name_of(cases, case), labels[truth[case]], labels[predicted[case]], chance(case)]
        for case in wrong[:LISTED].tolist()
    ]
    columns = ["case", "true class", "predicted", "probability"]
    table = case_table("Wrong cases, the most confident first", columns, rows, len(wrong))
    seen = "These are wrong with the highest confidence; check whether they are mislabelled. One "
    seen += "line per channel, as the network reads it."
    cards = []
    for case in order:
        own, given = (labels[k] for k in (truth[case], predicted[case]))
        caption = f"Probability {chance(case)} for class {given}, "
        if truth[case] < probabilities.shape[1]:
            caption += f"{probabilities[case, truth[case]]:.2f} for the true class {own}."
        else:
            caption += f"none for the true class {own}, which was not in the training data."
        heading = f"{called(cases, case)}: {own}, predicted as {given}"
        cards.append(case_card(model, cases, case, caption, heading))
    body = f"<p>{words}</p>{table}<p>{seen}</p>{grid(cards)}"
    return Section("wrong", "Wrong cases", body)


def _patches_section(
    model: ConvTimeNetClassifier, cases: Cases, truth: np.ndarray, probabilities: np.ndarray
) -> Section:
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    right = predicted == truth
    among = np.flatnonzero(right if right.any() else ~right)
    case = int(among[middle(confidence[among])])
    verdict = "correctly" if right[case] else "wrongly"
    label = model.classes_[predicted[case]]
    title = f"{called(cases, case)}, {verdict} predicted as class {label}"
    return case_patches_section(model, cases, case, title)
