"""HTML report of a run on one page: scores, training, good and bad examples, patches, kernels.

The page is self-contained and loads nothing: pictures are embedded, and plotly.js with the data of
the interactive plots, which replace the pictures where scripts run. The sections come from
`_forecast`, `_classes` and `_numbers` per task, `filling` for filled gaps and scored values,
`_future` for the forecast after the table (`_words` describes it), and `_network` for any network.
`_plots` and `network.pictures` draw on a `_canvas`, `_interactive` and `network.interactive` build
the plots, `_html` renders parts and `_page` the whole. Needs matplotlib and plotly (extra
``report``). Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.utils.validation import check_is_fitted

from convtimenet.data.labelled.cases import Cases
from convtimenet.data.tables import Table
from convtimenet.errors import DataError
from convtimenet.estimators.base import ConvTimeNetEstimator
from convtimenet.estimators.classifier import ConvTimeNetClassifier
from convtimenet.estimators.explain import CaseExplanation, Explanation, ForecastExplanation
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.estimators.regressor import ConvTimeNetRegressor
from convtimenet.files import whole_file
from convtimenet.network.linear import LinearNetwork
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.reconstruction.pretrained import PretrainedForecaster
from convtimenet.network.smoothing import SmoothingNetwork
from convtimenet.report._canvas import require_matplotlib
from convtimenet.report._classes import class_sections
from convtimenet.report._forecast import evaluated, forecast_sections
from convtimenet.report._future import columns_of, forecast_figure, future_section, table_figure
from convtimenet.report._html import Section, card, escaped, score_table
from convtimenet.report._importance import case_importance, forecast_importance
from convtimenet.report._network import (
    linear_section,
    mixing_section,
    pretrained_section,
    random_patches_section,
    smoothing_section,
    training_section,
    weights_sections,
)
from convtimenet.report._numbers import number_sections
from convtimenet.report._page import page, plotly_script
from convtimenet.report.filling.gaps import impute_sections
from convtimenet.report.filling.scores import detect_sections
from convtimenet.settings import is_whole, require
from convtimenet.training.metrics import ForecastEvaluation, Scores
from convtimenet.training.objectives import loss_of
from convtimenet.wording import listing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "cases_report",
    "detect_report",
    "forecast_report",
    "impute_report",
    "plot",
]


def plot(
    shown: Explanation | ConvTimeNetForecaster | Table,
    number: int | str = 0,
    channel: int = 0,
    *,
    level: Any = None,
    future: Any = None,
) -> Figure:
    """Draw the forecast of a fitted forecaster, a table such as a forecast, or an explanation.

    Parameters
    ----------
    shown
        A forecaster: its forecast after the table it was fitted to, with the last rows before it.
        A table, such as the forecast of a file: its rows, with the bounds of intervals as bands.
        Or an explanation from `model.explain`: the series or case, the importance of its spans, and
        its patches.
    number
        Index of the series or case; of the series of a long table also its id, as text.
    channel
        Index of the channel, for forecasts and tables, where bounds of intervals do not count; the
        explanation of a case shows all of its channels.
    level, future
        For the forecast of a forecaster, as for its ``predict``.

    Raises
    ------
    DataError, ConfigError
        As ``predict``; also if there is no such series, case or channel, or `shown` is something
        else.
    MissingExtraError
        If matplotlib is not installed (extra ``report``).
    sklearn.exceptions.NotFittedError
        If the forecaster is not fitted.
    """
    if isinstance(shown, CaseExplanation):
        return case_importance(shown, _index("number", number, len(shown.importance), "case"))
    if isinstance(shown, ForecastExplanation):
        n, channels = len(shown.importance), shown.channels
    elif isinstance(shown, ConvTimeNetForecaster):
        check_is_fitted(shown)
        table = shown.tail_
        n, channels, number = len(table.lengths), table.channels, _number(number, table)
    elif isinstance(shown, Table):
        n, channels, number = len(shown.lengths), columns_of(shown), _number(number, shown)
    else:
        raise DataError(
            "expected what can be drawn: a fitted ConvTimeNetForecaster, a table (its forecast of "
            "a file is one), or an explanation of a model's `explain`; found "
            f"{type(shown).__name__}; of a data frame draw its columns, or the model"
        )
    at = _index("number", number, n, "series"), _index("channel", channel, len(channels), "channel")
    if isinstance(shown, ForecastExplanation):
        return forecast_importance(shown, *at)
    if isinstance(shown, Table):
        return table_figure(shown, *at)
    return forecast_figure(shown, *at, level, future)


def _number(number: Any, table: Table) -> Any:
    """The index of the series with this id, if it is one of a long table."""
    if not (table.long and isinstance(number, str)):
        return number
    ids = table.ids.tolist()
    if number not in ids:
        raise DataError(
            f"there is no series {number!r}; give its index, or one of the ids {listing(ids)}"
        )
    return ids.index(number)


def _index(name: str, value: Any, n: int, what: str) -> int:
    """The index of one of n things to draw, checked."""
    expected = f"0, as there is one {what}"
    if n > 1:
        expected = f"the index of a {what}, a whole number from 0 to {n - 1:,}"
    require(is_whole(value, 0) and value < n, name, expected, value)
    return int(value)


def forecast_report(
    path: str | PathLike[str],
    model: ConvTimeNetForecaster,
    table: Table,
    evaluation: ForecastEvaluation | None,
    *,
    title: str,
    facts: Mapping[str, str],
    published: Sequence[Mapping[str, str]] = (),
    future: Table | None = None,
    forecast_from: str | None = None,
) -> Path:
    """Write the report of a forecasting run.

    Parameters
    ----------
    path
        The HTML file; written completely or not at all.
    model
        Fitted.
    table, evaluation
        The table given to ``model.evaluate``, and its result; None if nothing was scored, for a
        page about `future`.
    title
        Heading of the page.
    facts
        Label to text, shown in this order: data set, protocol, seed, versions and so on.
    published
        Rows of the comparison, keys as columns. Rows with "this run" in the first column are
        highlighted.
    future
        The forecast after the end of `table`, with or without bounds, as ``model.predict`` returns
        it for a file; shown first.
    forecast_from
        Describes the model of that forecast, if a second training made it and `model` is the first.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    DataError
        If the folder does not exist, or `evaluation` or `future` belongs to another table, or
        there is neither.
    MissingExtraError
        If matplotlib or plotly is not installed.
    sklearn.exceptions.NotFittedError
        Before ``fit``.
    """
    check_is_fitted(model)
    if evaluation is None and future is None:
        raise DataError(
            "there was no test split, so there are no scores to report; give more rows, a "
            "test_fraction above 0, or a forecast"
        )
    require_matplotlib()
    plotly_script()
    forecast_from = forecast_from or model.forecasts_from
    with whole_file(path) as file:  # first, so that a wrong folder fails at once
        own: tuple[list[Section], list[Section]] = ([], [])
        if evaluation is None:
            forecast_from = "trained on all rows; nothing was scored"
        else:
            model = evaluated(model, table, evaluation)
            own = forecast_sections(model, table, evaluation)
        sections, inside = _sections(model, facts, published, own)
        if future is not None:
            sections.insert(0, future_section(table, future, forecast_from))
        plain = isinstance(model.network_, (LinearNetwork, SmoothingNetwork))
        file.write(page(title, sections, inside, "model" if plain else "network"))
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
    """Write the report of a classification or regression run.

    Parameters
    ----------
    path
        The HTML file; written completely or not at all.
    model
        Fitted.
    cases
        Labelled test cases.
    title, facts, published
        As for `forecast_report`.
    baseline
        Scores of always predicting the largest training class, or the mean training target.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    DataError
        If the folder does not exist, or cases have no labels, only labels unknown to the
        classifier, or targets that are not numbers.
    MissingExtraError
        If matplotlib or plotly is not installed.
    sklearn.exceptions.NotFittedError
        Before ``fit``.
    """
    check_is_fitted(model)
    require_matplotlib()
    plotly_script()
    with whole_file(path) as file:
        if isinstance(model, ConvTimeNetClassifier):
            own = class_sections(model, cases, baseline)
        else:
            own = number_sections(model, cases, baseline)
        file.write(page(title, *_sections(model, facts, published, own)))
    return Path(path)


def impute_report(
    path: str | PathLike[str],
    table: Table,
    filled: Table,
    *,
    title: str,
    facts: Mapping[str, str],
) -> Path:
    """Write the report of filled gaps.

    Parameters
    ----------
    path
        The HTML file; written completely or not at all.
    table, filled
        The table given to `impute`, and its result.
    title, facts
        As for `forecast_report`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    DataError
        If the folder does not exist, or `filled` belongs to another table.
    MissingExtraError
        If matplotlib or plotly is not installed.
    """
    return _written(path, title, facts, lambda: impute_sections(table, filled))


def detect_report(
    path: str | PathLike[str],
    table: Table,
    scored: Table,
    *,
    title: str,
    facts: Mapping[str, str],
) -> Path:
    """Write the report of scored values: as `impute_report`, with the result of `detect`."""
    return _written(path, title, facts, lambda: detect_sections(table, scored))


def _written(
    path: str | PathLike[str],
    title: str,
    facts: Mapping[str, str],
    sections: Callable[[], list[Section]],
) -> Path:
    require_matplotlib()
    plotly_script()
    with whole_file(path) as file:  # first, so that a wrong folder fails at once
        file.write(page(title, [*sections(), *_facts_sections(facts, ())]))
    return Path(path)


def _sections(
    model: ConvTimeNetEstimator,
    facts: Mapping[str, str],
    published: Sequence[Mapping[str, str]],
    own: tuple[list[Section], list[Section]],
) -> tuple[list[Section], list[Section]]:
    """All sections in order, and those about the network; `own` are both of the task, scores
    first if there are any."""
    found, patches = own
    network, history = model.network_, model.history_
    is_linear = isinstance(network, (ConvTimeNet, LinearNetwork))
    mixed = network.patches if isinstance(network, ConvTimeNet) else None
    mixing = []
    if isinstance(network, ConvTimeNet) and network.mixing is not None:
        assert isinstance(model, ConvTimeNetForecaster)
        mixing = [mixing_section(network.mixing, model.channels_)]
    loss_name = loss_of(network.config, model.train_config_).name
    kept = history.granted if history.steps else None
    raw = isinstance(model, ConvTimeNetForecaster) and not model.scale
    unit = "the data's units" if raw else "training standard deviations"
    inside = [
        training_section(history, loss_name, unit),
        *patches,
        *(linear_section(network, history.granted) if is_linear else ()),
        *(smoothing_section(network) if isinstance(network, SmoothingNetwork) else ()),
        *(pretrained_section(network, kept) if isinstance(network, PretrainedForecaster) else ()),
        *mixing,
        *([random_patches_section(mixed, history.granted)] if mixed is not None else ()),
        *(weights_sections(network) if isinstance(network, ConvTimeNet) else ()),
    ]
    facts_section, *comparison = _facts_sections(facts, published)
    return [*found[:1], *comparison, *found[1:], facts_section], inside


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
        note = '<p class="soft">This run is highlighted. Scores are comparable only if data, split '
        note += "and scored windows or cases are the same.</p>"
        # ours and the baseline come first
        others = "published results" if len(published) > 2 else "the baseline"
        sections.append(Section("published", f"Comparison with {others}", table + note))
    return sections
