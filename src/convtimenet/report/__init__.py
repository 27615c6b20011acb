"""One HTML page per run: scores, training, good and bad examples, patches, kernels.

The page needs nothing but itself: pictures are part of it, it runs no script and asks nothing of
any network. `_forecast`, `_classes` and `_numbers` choose what to say of a task and say it,
`_future` that of the forecast itself, `_network` those of any network; `_plots` and
`_network_plots` draw on a `_canvas`, `_html` frames.
Needs matplotlib (extra ``report``). Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from sklearn.utils.validation import check_is_fitted

from convtimenet.data.cases import Cases
from convtimenet.data.tables import Table
from convtimenet.estimators.base import ConvTimeNetEstimator
from convtimenet.estimators.classifier import ConvTimeNetClassifier
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.estimators.regressor import ConvTimeNetRegressor
from convtimenet.files import whole_file
from convtimenet.report._canvas import require_matplotlib
from convtimenet.report._classes import class_sections
from convtimenet.report._forecast import evaluated, forecast_sections
from convtimenet.report._future import future_section
from convtimenet.report._html import Section, card, escaped, page, score_table
from convtimenet.report._importance import plot
from convtimenet.report._network import training_section, weights_sections
from convtimenet.report._numbers import number_sections
from convtimenet.training.losses import loss_of
from convtimenet.training.metrics import ForecastEvaluation, Scores

__all__ = [
    "cases_report",
    "forecast_report",
    "plot",
]


def forecast_report(
    path: str | PathLike[str],
    model: ConvTimeNetForecaster,
    table: Table,
    evaluation: ForecastEvaluation,
    *,
    title: str,
    facts: Mapping[str, str],
    published: Sequence[Mapping[str, str]] = (),
    future: Table | None = None,
    forecast_from: str | None = None,
) -> Path:
    """Write the page of a forecasting run.

    Parameters
    ----------
    path
        The HTML file; replaced as a whole or not at all.
    model
        Fitted.
    table, evaluation
        What ``model.evaluate`` read, and what it gave.
    title
        Heading of the page.
    facts
        Label to text, shown in this order: data set, protocol, seed, versions and so on.
    published
        Rows of the comparison, keys as columns. Those with "this run" in the first column are
        marked.
    future
        The forecast of what follows `table`, with or without bounds, as ``model.predict`` gives it
        for files: drawn first.
    forecast_from
        What that forecast comes from, where a second training made it and `model` is the first.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    DataError
        If the folder does not exist, or `evaluation` or `future` was made of another table.
    MissingExtraError
        If matplotlib is not installed.
    sklearn.exceptions.NotFittedError
        Before ``fit``.
    """
    check_is_fitted(model)
    require_matplotlib()
    forecast_from = forecast_from or model.forecasts_from
    with whole_file(path) as file:  # first, so that a wrong folder costs no work
        model = evaluated(model, table, evaluation)
        own = forecast_sections(model, table, evaluation)
        sections = _sections(model, facts, published, own)
        if future is not None:
            context = model.network_.config.context_length
            sections.insert(0, future_section(table, future, context, forecast_from))
        file.write(page(title, sections))
    return Path(path)


def cases_report(
    path: str | PathLike[str],
    model: ConvTimeNetClassifier | ConvTimeNetRegressor,
    cases: Cases,
    *,
    title: str,
    facts: Mapping[str, str],
    published: Sequence[Mapping[str, str]] = (),
    baseline: Scores | None = None,
) -> Path:
    """Write the page of a classification or regression run.

    Parameters
    ----------
    path
        The HTML file; replaced as a whole or not at all.
    model
        Fitted.
    cases
        Labelled test cases.
    title, facts, published
        As for `forecast_report`.
    baseline
        Scores of always answering the largest class, or the mean, of training.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    DataError
        If the folder does not exist, or cases have no labels, only labels that the classifier
        lacks, or targets that are no numbers.
    MissingExtraError
        If matplotlib is not installed.
    sklearn.exceptions.NotFittedError
        Before ``fit``.
    """
    check_is_fitted(model)
    require_matplotlib()
    with whole_file(path) as file:
        if isinstance(model, ConvTimeNetClassifier):
            own = class_sections(model, cases, baseline)
        else:
            own = number_sections(model, cases, baseline)
        file.write(page(title, _sections(model, facts, published, own)))
    return Path(path)


def _sections(
    model: ConvTimeNetEstimator,
    facts: Mapping[str, str],
    published: Sequence[Mapping[str, str]],
    own: Sequence[Section],
) -> list[Section]:
    """All sections in order; `own` are the task's, scores first."""
    scores, *rest = own
    loss_name = loss_of(model.network_.config, model.train_config_).name
    return [
        scores,
        *_facts_sections(facts, published),
        training_section(model.history_, loss_name),
        *rest,
        *weights_sections(model.network_),
    ]


def _facts_sections(
    facts: Mapping[str, str], published: Sequence[Mapping[str, str]]
) -> list[Section]:
    rows = "".join(
        f"<div><dt>{escaped(label)}</dt><dd>{escaped(value)}</dd></div>"
        for label, value in facts.items()
    )
    sections = [Section("facts", "This run", f'<div class="card"><dl>{rows}</dl></div>')]
    if published:
        columns = list(dict.fromkeys(key for row in published for key in row))
        cells = [[row.get(column, "") for column in columns] for row in published]
        table = card(score_table("This run and other results", columns, cells), fit=True)
        note = '<p class="soft">In colour: this run. Numbers compare only where data, split and '
        note += "scored windows or cases are the same.</p>"
        # ours and the baseline come first
        beside = "published results" if len(published) > 2 else "the simplest answer"
        sections.append(Section("published", f"Beside {beside}", table + note))
    return sections
