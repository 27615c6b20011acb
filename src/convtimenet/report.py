"""One HTML page per run: scores, training, good and bad examples, patches, kernels.

The page needs nothing but itself: pictures are part of it, it runs no script and asks nothing of
any network. `convtimenet.plots` draws; here the numbers are chosen and put into words.
Needs matplotlib (extra ``report``). Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from convtimenet import plots
from convtimenet.base import ConvTimeNetEstimator
from convtimenet.cases import Cases, filled
from convtimenet.classifier import ConvTimeNetClassifier
from convtimenet.errors import DataError
from convtimenet.files import whole_file
from convtimenet.forecaster import ConvTimeNetForecaster, ForecastEvaluation
from convtimenet.metrics import confusion
from convtimenet.model import Block, ConvTimeNet, deformation
from convtimenet.tables import Table, select_channels
from convtimenet.timestamps import show_time, to_local
from convtimenet.windows import fill_cases

__all__ = ["classification_report", "forecast_report"]

_DEAD = 1e-3  # a residual scale below this adds next to nothing
_STILL = 1e-6  # time steps; a patch that moved less did not move
_LONGEST_TABLE = 20
_WRONG_SHOWN = 4
_SAMPLE_VALUES = 4_000_000  # values read for the histograms of patches, at most
_SAMPLE = 256  # windows or cases read for them, at most
_Z = 1.959964  # standard normal quantile of a 95 % interval

_CSS = """
:root{color-scheme:light dark;--ink:#1d2126;--soft:#59616b;--page:#f6f7f9;--card:#fff;
--line:#dfe3e8;--accent:#0072b2}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a9b1bb;--page:#15181c;
--card:#1f242a;--line:#363d46;--accent:#6cb8ea}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);overflow-wrap:anywhere;
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
header,main,footer{max-width:72rem;margin:0 auto;padding:0 1rem}
h1{font-size:1.7rem;line-height:1.2;margin:1.6rem 0 .4rem}
h2{font-size:1.25rem;margin:2.4rem 0 .6rem;padding-top:.8rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:0 0 .4rem}
p{max-width:46rem;margin:.4rem 0 .9rem}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;padding:0;margin:.6rem 0}
a{color:var(--accent)}
.soft,figcaption,footer{color:var(--soft);font-size:.9rem}
.grid{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr))}
.small{grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr))}
.tiles{grid-template-columns:repeat(auto-fit,minmax(min(100%,15rem),1fr))}
.card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1rem;
min-width:0}
.grid+.grid,section>.card+.card{margin-top:1rem}
.tile b{display:block;font-size:2rem;line-height:1.2;color:var(--accent);
font-variant-numeric:tabular-nums}
.tile p{margin:.2rem 0 0}
figure{margin:0}
figure img{display:block;width:100%;height:auto;background:#fff;border-radius:.4rem;padding:.3rem}
figcaption{margin-top:.5rem}
.wide{max-width:58rem}
.fit{width:fit-content;max-width:100%}
.scroll{overflow-x:auto}
.wide img{min-width:38rem}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums;
overflow-wrap:normal}
th,td{text-align:left;padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--line);
vertical-align:top}
thead th{color:var(--soft);font-weight:600}
.number{text-align:right;white-space:nowrap}
th.number{white-space:normal}
.own th,.own td{font-weight:700;color:var(--accent)}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr));
gap:.6rem 1.2rem;margin:0}
dt{color:var(--soft);font-size:.85rem}
dd{margin:0;overflow-wrap:anywhere}
footer{padding:2rem 1rem}
@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--page:#fff;--card:#fff;--line:#bbb;
--accent:#005a8d}nav{display:none}body{font-size:11pt}.card,tr,p{break-inside:avoid}
h2,h3,section>p{break-after:avoid}.grid{grid-template-columns:1fr 1fr}.wide img{min-width:0}
.small,.tiles{grid-template-columns:1fr 1fr 1fr}.scroll{overflow:visible}table{font-size:8pt}
th,td{padding-right:.5rem}}
"""


@dataclass(frozen=True)
class _Section:
    """A heading with what stands below it, as HTML."""

    anchor: str
    heading: str
    body: str


@dataclass(frozen=True)
class PatchMoves:
    """Where patches lie: (B, C / c, N) each, in time steps of the padded series."""

    left: np.ndarray
    right: np.ndarray
    shift: np.ndarray
    """Of the middle; above 0 is later."""
    widening: np.ndarray

    @property
    def still(self) -> bool:
        """Whether every patch lies where it would without deformation."""
        return bool(max(np.abs(self.shift).max(), np.abs(self.widening).max()) < _STILL)


def forecast_report(
    path: str | PathLike[str],
    model: ConvTimeNetForecaster,
    table: Table,
    evaluation: ForecastEvaluation,
    *,
    title: str,
    facts: Mapping[str, str],
    published: Sequence[Mapping[str, str]] = (),
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

    Returns
    -------
    Path
        The file.

    Raises
    ------
    DataError
        If the folder does not exist, or `evaluation` was made of another table.
    MissingExtraError
        If matplotlib is not installed.
    sklearn.exceptions.NotFittedError
        Before ``fit``.
    """
    check_is_fitted(model)
    plots.require_matplotlib()
    with whole_file(path) as file:  # first, so that a wrong folder costs no work
        file.write(_forecast_page(model, table, evaluation, title, facts, published))
    return Path(path)


def _forecast_page(
    model: ConvTimeNetForecaster,
    table: Table,
    evaluation: ForecastEvaluation,
    title: str,
    facts: Mapping[str, str],
    published: Sequence[Mapping[str, str]],
) -> str:
    table = select_channels(table, tuple(evaluation.mae_per_channel))
    config = model.network_.config
    needed = int(evaluation.starts.max()) + config.context_length + config.outputs
    if needed > len(table.times):
        raise DataError(
            f"the evaluation has windows up to row {needed}, the table {len(table.times)} rows; "
            "give the table that was evaluated"
        )
    sections = [
        _Section("scores", "Scores", _forecast_tiles(model, evaluation)),
        *_facts_sections(facts, published),
        _training_section(model),
        _windows_section(model, table, evaluation),
        _errors_section(model, table, evaluation),
        _forecast_patches(model, table, evaluation),
        *_weights_sections(model.network_),
    ]
    return _page(title, sections)


def classification_report(
    path: str | PathLike[str],
    model: ConvTimeNetClassifier,
    cases: Cases,
    *,
    title: str,
    facts: Mapping[str, str],
    published: Sequence[Mapping[str, str]] = (),
) -> Path:
    """Write the page of a classification run.

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

    Returns
    -------
    Path
        The file.

    Raises
    ------
    DataError
        If the folder does not exist, or cases have no labels or labels that the model lacks.
    MissingExtraError
        If matplotlib is not installed.
    sklearn.exceptions.NotFittedError
        Before ``fit``.
    """
    check_is_fitted(model)
    plots.require_matplotlib()
    with whole_file(path) as file:
        file.write(_classification_page(model, cases, title, facts, published))
    return Path(path)


def _classification_page(
    model: ConvTimeNetClassifier,
    cases: Cases,
    title: str,
    facts: Mapping[str, str],
    published: Sequence[Mapping[str, str]],
) -> str:
    truth = _class_numbers(cases, model.classes_)
    cases = filled(cases)
    probabilities = model.predict_proba(cases)
    predicted = probabilities.argmax(1)
    counts = confusion(truth, predicted, len(model.classes_))
    sections = [
        _Section("scores", "Scores", _class_tiles(counts)),
        *_facts_sections(facts, published),
        _training_section(model),
        _classes_section(model, counts),
        _wrong_section(model, cases, truth, probabilities),
        _case_patches(model, cases, truth, probabilities),
        *_weights_sections(model.network_),
    ]
    return _page(title, sections)


# --- numbers -------------------------------------------------------------------------------------


def pick_windows(
    mse: np.ndarray, starts: np.ndarray, apart: int, each: int = 3
) -> list[tuple[str, int]]:
    """The worst, the median and the best windows.

    Parameters
    ----------
    mse, starts
        (n,) each: error and first row of every window.
    apart
        Rows between the starts of two windows of one kind at least: nearer ones show one event.
    each
        Worst and best windows at most.

    Returns
    -------
    Pairs (kind, window number), kind "worst", "median" or "best"; the first is ``mse.argmax()``.
    No window appears twice, so few windows give fewer pairs.
    """
    order = np.argsort(mse, kind="stable")
    picks: list[tuple[str, int]] = []
    for kind, ranked in (
        ("worst", np.argsort(-mse, kind="stable")),
        ("median", order[(len(order) - 1) // 2 :][:1]),
        ("best", order),
    ):
        chosen: list[int] = []
        taken = {window for _, window in picks}
        for window in ranked.tolist():
            far = all(abs(starts[window] - starts[other]) >= apart for other in chosen)
            if far and window not in taken:
                chosen.append(window)
            if len(chosen) == each:
                break
        picks += [(kind, window) for window in chosen]
    return picks


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % Wilson interval of a share `right` / `n`."""
    share, spread = right / n, _Z**2 / n
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * np.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return float(middle - half), float(middle + half)


def per_class(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall (NaN where nothing was predicted or present) and support, (K,) each,
    of a confusion matrix (K, K) with a row per true class."""
    right, support, predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    with np.errstate(invalid="ignore"):
        return right / predicted, right / support, support


def patch_moves(network: ConvTimeNet, x: np.ndarray) -> PatchMoves:
    """Where the patches of scaled inputs (B, C, L) lie."""
    device = next(network.parameters()).device
    edges = deformation(network, torch.from_numpy(x.astype(np.float32)).to(device))
    left, right = (edge.cpu().double().numpy() for edge in edges)
    size, stride = network.config.patch_size, network.config.patch_stride
    anchor = np.arange(left.shape[-1]) * stride + (size - 1) / 2
    return PatchMoves(left, right, (left + right) / 2 - anchor, right - left - (size - 1))


def _class_numbers(cases: Cases, classes: np.ndarray) -> np.ndarray:
    if cases.labels is None:
        raise DataError("expected a label for every case, found none; give labelled cases")
    numbers = {label: i for i, label in enumerate(classes.tolist())}
    labels = cases.labels.tolist()
    if unknown := sorted({str(label) for label in labels if label not in numbers}):
        raise DataError(
            f"expected labels the model was fitted to, found {', '.join(unknown[:5])}; "
            "leave such cases out"
        )
    return np.array([numbers[label] for label in labels])


# --- sections ------------------------------------------------------------------------------------


def _forecast_tiles(model: ConvTimeNetForecaster, evaluation: ForecastEvaluation) -> str:
    unit = "training standard deviations" if model.scale else "the data's units"
    tiles = []
    for key, name, what in (
        ("mse", "MSE", "Mean squared error, in squares of"),
        ("mae", "MAE", "Mean absolute error, in"),
    ):
        ours, naive = evaluation.scores[key], evaluation.naive[key]
        text = f"{what} {unit}. Repeating the last value gives {_number(naive)}"
        if naive > 0:
            change = 100 * (ours / naive - 1)
            text += f": this model is {abs(change):.0f} % {'lower' if change < 0 else 'higher'}"
        tiles.append(_tile(_number(ours), name, text + "."))
    config = model.network_.config
    text = f"Each reads {_count(config.context_length, 'step')} and forecasts the next "
    text += f"{_count(config.outputs, 'step')} of "
    text += f"{_count(len(evaluation.mae_per_channel), 'channel')}."
    tiles.append(_tile(f"{evaluation.n_windows:,}", "Windows", text))
    return _grid(tiles, "tiles")


def _class_tiles(counts: np.ndarray) -> str:
    n, right, support = int(counts.sum()), int(np.trace(counts)), counts.sum(1)
    low, high = wilson(right, n)
    recall = per_class(counts)[1]
    interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f} % (Wilson)."
    return _grid(
        [
            _tile(f"{100 * right / n:.1f} %", "Accuracy", f"{right:,} cases right; {interval}"),
            _tile(f"{n:,}", "Cases", f"Of {int((support > 0).sum())} classes, all scored once."),
            _tile(
                f"{100 * np.nanmean(recall):.1f} %",
                "Balanced accuracy",
                "Mean of the classes' own accuracies: every class counts alike.",
            ),
            _tile(
                f"{100 * support.max() / n:.1f} %",
                "Majority class",
                "What one would get by giving every case the label that is most frequent here.",
            ),
        ],
        "tiles",
    )


def _facts_sections(
    facts: Mapping[str, str], published: Sequence[Mapping[str, str]]
) -> list[_Section]:
    rows = "".join(
        f"<div><dt>{_text(label)}</dt><dd>{_text(value)}</dd></div>"
        for label, value in facts.items()
    )
    sections = [_Section("facts", "This run", f'<div class="card"><dl>{rows}</dl></div>')]
    if published:
        columns = list(dict.fromkeys(key for row in published for key in row))
        cells = [[row.get(column, "") for column in columns] for row in published]
        table = _table("This run and published results", columns, cells)
        note = '<p class="soft">In colour: this run. Numbers compare only where data, split and '
        note += "scored windows or cases are the same.</p>"
        card = _card(table, fit=True)
        sections.append(_Section("published", "Beside published results", card + note))
    return sections


def _training_section(model: ConvTimeNetEstimator) -> _Section:
    history = model.history_
    score = "mse" if model.network_.config.head == "forecast" else "loss"
    nan = float("nan")
    loss = {"training": [epoch.train_loss for epoch in history.epochs]}
    accuracy = [epoch.valid.get("accuracy", nan) for epoch in history.epochs]
    validated = any(epoch.valid for epoch in history.epochs)
    if validated:
        loss["validation"] = [epoch.valid.get(score, nan) for epoch in history.epochs]
    best, count = history.best_epoch, len(history.epochs)
    epochs = _count(count, "epoch")
    words = f"{epochs}, {_count(history.steps, 'step')} on "
    words += f"{_text(history.device)}; ended because: {_text(history.stopped)}. "
    if history.refitted:
        words += (
            f"A new network was then trained on all data for {_count(best, 'epoch')} and kept. "
        )
    elif best:
        words += f"The weights of epoch {best} were kept. "
    else:
        words += "No epoch gave a finite score: these are the initial weights. "
    rates = [epoch.lr for epoch in history.epochs]
    words += f"Learning rate {rates[0]:.3g} at first, {rates[-1]:.3g} in the last epoch."
    ylabel = "mean squared error" if score == "mse" else "cross-entropy"
    ends = "; ".join(f"{name} from {_number(v[0])} to {_number(v[-1])}" for name, v in loss.items())
    cards = [
        _figure(
            plots.by_epoch(loss, best, ylabel),
            f"{ylabel.capitalize()} over {epochs}: {ends}; best epoch {best}.",
            "Lower is better; validation rising while training falls would mean overfitting.",
            "Loss",
        )
    ]
    if not all(np.isnan(accuracy)):
        cards.append(
            _figure(
                plots.by_epoch({"validation": accuracy}, best, "validation accuracy"),
                f"Validation accuracy over {epochs}, {_number(accuracy[-1])} at the end.",
                "Share of the held-back cases that were right after each epoch.",
                "Validation accuracy",
            )
        )
    else:
        cards.append(
            _figure(
                plots.by_epoch({"learning rate": rates}, best, "learning rate", from_zero=True),
                f"Learning rate over {epochs}: {rates[0]:.3g} to {rates[-1]:.3g}.",
                "How large the steps of training were: they shrink so that it can settle.",
                "Learning rate",
            )
        )
    return _Section("training", "Training", f"<p>{words}</p>{_grid(cards)}")


def _windows_section(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> _Section:
    config = model.network_.config
    L, H = config.context_length, config.outputs
    mse, starts = evaluation.mse_per_window, evaluation.starts
    if table.times.dtype.kind == "M":
        clocks = to_local(table.times, table.time_zone)
    else:
        clocks = table.times
    xlabel = f"{table.time_name} ({table.time_zone})" if table.time_zone else table.time_name
    picks = pick_windows(mse, starts, H)
    marks = {kind: [w for k, w in picks if k == kind] for kind in ("worst", "median", "best")}
    cards = {
        kind: [
            _window_card(model, table, kind, int(starts[w]), float(mse[w]), clocks, xlabel)
            for w in windows
        ]
        for kind, windows in marks.items()
    }
    overview = _figure(
        plots.error_over_time(
            clocks[starts + L], mse, marks, ylabel="MSE of the window", xlabel=xlabel
        ),
        f"Error of {len(mse)} windows by the time they start to forecast: {_span(mse)}, the worst "
        f"at {_when(table, int(starts[picks[0][1]]) + L)}.",
        "Each window's error, at the time its forecast starts; marked are the windows shown here.",
        "Errors over time",
    )
    words = "The windows with the largest and the smallest errors, and the one in the middle, each "
    words += "on the channel with the largest share of its error, in the data's units. Windows of "
    words += f"one kind start at least {_count(H, 'row')} apart, so that they are not one event "
    words += "seen twice."
    grids = (
        _grid([overview, *cards["median"]])
        + _grid(cards["worst"], "small")
        + _grid(cards["best"], "small")
    )
    return _Section("windows", "Worst, median and best windows", f"<p>{words}</p>{grids}")


def _window_card(
    model: ConvTimeNetForecaster,
    table: Table,
    kind: str,
    first: int,
    mse: float,
    clocks: np.ndarray,
    xlabel: str,
) -> str:
    """The window whose context starts at row `first`, on its worst channel."""
    L, H = model.network_.config.context_length, model.network_.config.outputs
    now = first + L
    forecast, share = _window_errors(model, table, first)
    c = int(share.argmax())
    channel, truth, ours = table.channels[c], table.values[:, c], forecast[:, c]
    shown = slice(now - min(L, max(H, 24)), now + H)
    told = f"MSE {_number(mse)} over all channels; shown is {channel}, which has "
    told += f"{100 * share[c]:.0f} % of this window's error"
    return _figure(
        plots.forecast_window(clocks[shown], truth[shown], ours, ylabel=channel, xlabel=xlabel),
        f"{kind.capitalize()} window: {told}. Truth ranges over {_span(truth[now : now + H])}, "
        f"forecast over {_span(ours)}.",
        f"{told}. Shaded: what was to be forecast.",
        f"{kind.capitalize()}: forecast from {_when(table, now)}",
    )


def _when(table: Table, row: int) -> str:
    stamp = show_time(table.times[row], table.time_zone).replace("T", " ")
    return re.sub(r"( \d\d:\d\d):00(?!\.)", r"\1", stamp)


def _window_errors(
    model: ConvTimeNetForecaster, table: Table, first: int
) -> tuple[np.ndarray, np.ndarray]:
    """Forecast (H, C) of the window that starts at row `first`, in the data's units, and each
    channel's share (C,) of the squared error as training weighs it."""
    config = model.network_.config
    now = first + config.context_length
    forecast = model.forecast(table.values[first:now])
    error = (forecast - table.values[now : now + config.outputs]) / model.scaler_.scale[:, 0]
    squares = np.square(error).sum(0)
    return forecast, squares / max(float(squares.sum()), np.finfo(float).tiny)


def _errors_section(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> _Section:
    steps = evaluation.mse_per_step
    step = "" if table.frequency.unit == "step" else f" (1 step = {table.frequency.name})"
    picture = _figure(
        plots.error_by_step(steps, ylabel="mean squared error", xlabel=f"steps ahead{step}"),
        f"Mean squared error by step ahead: {_number(steps[0])} at step 1, {_number(steps[-1])} "
        f"at step {len(steps)}.",
        "How the error grows with the distance of the forecast, over all windows and channels.",
        "Error by step ahead",
    )
    channels = list(evaluation.mae_per_channel)
    mae = np.array([*evaluation.mae_per_channel.values()])
    weight = mae / model.scaler_.scale[:, 0]
    shown = np.argsort(-weight, kind="stable")[:_LONGEST_TABLE].tolist()
    columns, rows = ["channel", "MAE"], [[channels[c], _number(float(mae[c]))] for c in shown]
    if model.scale:
        columns.append("in standard deviations")
        rows = [[*row, _number(float(weight[c]))] for row, c in zip(rows, shown, strict=True)]
    note = "Mean absolute error in each channel's own units"
    note += ", and divided by its standard deviation in training" if model.scale else ""
    note += "; hardest first."
    if len(channels) > len(shown):
        note += f" The {len(shown)} largest of {len(channels)} channels are shown."
    table_card = _card(
        _table("Mean absolute error per channel", columns, rows, numbers=True)
        + f'<p class="soft">{note}</p>',
        "Error by channel",
    )
    return _Section("errors", "Where the errors are", _grid([picture, table_card]))


def _classes_section(model: ConvTimeNetClassifier, counts: np.ndarray) -> _Section:
    labels = [str(label) for label in model.classes_.tolist()]
    precision, recall, support = per_class(counts)
    off = counts - np.diag(np.diag(counts))
    i, j = np.unravel_index(int(off.argmax()), off.shape)
    many = len(labels) > 9  # too many for half a page
    worst = "No mistake was made twice."
    if off[i, j] > 1:
        worst = f"Most frequent mistake: {off[i, j]} of class {labels[i]} taken for {labels[j]}."
    picture = _figure(
        plots.confusion_matrix(counts, labels),
        f"Confusion matrix of {len(labels)} classes, {np.trace(counts)} of {counts.sum()} cases on "
        f"the diagonal. {worst}",
        "Rows are true classes, columns predictions; numbers count cases, and everything off the "
        f"diagonal is a mistake. {worst}",
        "Confusion matrix",
        wide=many,
    )
    rows = [
        [label, _percent(precision[k]), _percent(recall[k]), f"{support[k]:,}"]
        for k, label in enumerate(labels)
    ]
    columns = ["class", "precision", "recall", "cases"]
    note = "Precision: share of the cases given this label that deserve it. Recall: share of the "
    note += "cases of this class that were found."
    table = _table("Precision and recall per class", columns, rows, numbers=True)
    card = _card(f'{table}<p class="soft">{note}</p>', "Per class", fit=many)
    body = picture + card if many else _grid([picture, card])
    return _Section("classes", "Classes", body)


def _wrong_section(
    model: ConvTimeNetClassifier, cases: Cases, truth: np.ndarray, probabilities: np.ndarray
) -> _Section:
    predicted, sure = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predicted != truth)
    order = wrong[np.argsort(-sure[wrong], kind="stable")][:_WRONG_SHOWN].tolist()
    words = f"{len(wrong):,} of {len(truth):,} cases are wrong. "
    if order:
        words += "Those below were wrong with the greatest confidence: mislabelled, or truly hard?"
    cards = []
    for case in order:
        own, given = (str(model.classes_[k]) for k in (truth[case], predicted[case]))
        told = f"True class {own}; predicted {given} with probability {sure[case]:.2f}"
        told += f" (the true one got {probabilities[case, truth[case]]:.2f})"
        scaled = model.scaler_.apply(cases.values[case, :, : cases.lengths[case]])
        cards.append(
            _figure(
                plots.case_lines(scaled, "scaled value"),
                f"Case {case}, {_count(len(scaled), 'channel')}, "
                f"{_count(int(cases.lengths[case]), 'time step')}. {told}.",
                f"{told}. One line per channel, scaled to -1 to 1 as the network reads it.",
                f"Case {case}: {own}, taken for {given}",
            )
        )
    return _Section("wrong", "Confidently wrong", f"<p>{words}</p>{_grid(cards) if cards else ''}")


def _forecast_patches(
    model: ConvTimeNetForecaster, table: Table, evaluation: ForecastEvaluation
) -> _Section:
    L = model.network_.config.context_length
    mse, starts = evaluation.mse_per_window, evaluation.starts
    typical = int(starts[np.argsort(mse, kind="stable")[(len(mse) - 1) // 2]])
    scaled = model.scaler_.apply(table.values.T)
    size = _sample_size(len(table.channels) * L)
    sampled = starts[np.unique(np.linspace(0, len(starts) - 1, size).round().astype(int))]
    moves = patch_moves(model.network_, np.stack([scaled[:, s : s + L] for s in sampled]))
    shown = patch_moves(model.network_, scaled[None, :, typical : typical + L])
    c = int(_window_errors(model, table, typical)[1].argmax())
    channel = table.channels[c]
    when = _when(table, typical)
    what = f"channel {channel} of the window with the median error, from {when}"
    values = table.values[typical : typical + L, c][None]
    drawn = (values, shown.left[0, c], shown.right[0, c])
    return _patches_section(model.network_, moves, drawn, what, channel, f"{len(sampled)} windows")


def _case_patches(
    model: ConvTimeNetClassifier, cases: Cases, truth: np.ndarray, probabilities: np.ndarray
) -> _Section:
    L = model.network_.config.context_length
    predicted, sure = probabilities.argmax(1), probabilities.max(1)
    # where nothing is right, any case shows the patches
    right = predicted == truth
    among = np.flatnonzero(right if right.any() else ~right)
    case = int(among[np.argsort(sure[among], kind="stable")[(len(among) - 1) // 2]])
    size = _sample_size(cases.values.shape[1] * L)
    sampled = np.unique(np.linspace(0, len(truth) - 1, size).round().astype(int))
    moves = patch_moves(model.network_, fill_cases(cases.values[sampled], model.scaler_, L))
    length = int(cases.lengths[case])
    one = cases.values[case : case + 1]
    shown = patch_moves(model.network_, fill_cases(one, model.scaler_, max(L, length)))
    verdict = "rightly" if right[case] else "wrongly"
    what = f"case {case}, {verdict} taken for class {model.classes_[predicted[case]]}"
    values = model.scaler_.apply(one[0, :, :length])
    drawn = (values, shown.left[0, 0], shown.right[0, 0])
    return _patches_section(
        model.network_, moves, drawn, what, "scaled value", f"{len(sampled)} cases"
    )


def _sample_size(values_each: int) -> int:
    return max(1, min(_SAMPLE, _SAMPLE_VALUES // values_each))


def _patches_section(
    network: ConvTimeNet,
    moves: PatchMoves,
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray],
    what: str,
    ylabel: str,
    sample: str,
) -> _Section:
    """`drawn`: a series (C, n) and the left and right edges (N,) of its patches."""
    config = network.config
    size, stride = config.patch_size, config.patch_stride
    words = f"The network reads patches of {size} time steps, one every {stride}. "
    if not config.deformable:
        words += "Deformation is off in this model: the patches are uniform and cannot move."
        return _Section("patches", "Patches", f"<p>{words}</p>")
    if moves.still:
        words += f"Deformation is on, but no patch of {sample} moved or changed its width: the "
        words += "patches are uniform, and the offset predictor adds nothing to this model."
        return _Section("patches", "Deformable patches", f"<p>{words}</p>")
    far = 100 * float((np.abs(moves.shift) > 0.5).mean())
    words += f"Over {sample} the patches moved by {np.abs(moves.shift).mean():.2f} time steps on "
    words += f"average, {far:.0f} % of them by more than half a step, and their width changed by "
    words += f"{moves.widening.mean():+.2f} (range {_span(moves.widening)})."
    values, left, right = drawn
    cards = [
        _figure(
            plots.patch_boxes(values, left, right, stride=stride, patch_size=size, ylabel=ylabel),
            f"Series and its {len(left)} patches: {what}. Lengths from {_span(right - left)} time "
            f"steps where undeformed patches span {size - 1}.",
            f"{what[0].upper()}{what[1:]}. Each row is a patch: the faint bar is where it would "
            "lie undeformed, the coloured one where it was read. Hatched: padding.",
            "Where the patches lie",
        ),
        _figure(
            plots.move_histograms(moves.shift, moves.widening),
            f"Histograms over {sample}: shifts range over {_span(moves.shift)}, changes of width "
            f"over {_span(moves.widening)} time steps.",
            "How far patches moved and how much wider they became; all at 0 would be plain "
            "patching. Patches over padding count too.",
            f"Shift and width over {sample}",
        ),
    ]
    return _Section("patches", "Deformable patches", f"<p>{words}</p>{_grid(cards)}")


def _weights_sections(network: ConvTimeNet) -> list[_Section]:
    blocks = [block for block in network.blocks if isinstance(block, Block)]
    sizes = network.config.kernel_sizes
    sections = []
    if network.config.residual == "plain":
        words = "<p>Residual branches are added as they are in this model: no scales to show.</p>"
        sections.append(_Section("residuals", "Residual scales", words))
    else:
        sections.append(_residual_section(blocks, sizes))
    cards = []
    for number, (block, k) in enumerate(zip(blocks, sizes, strict=True), start=1):
        weight = block.conv.merged()[0].detach().cpu().double().numpy()
        peak = int(np.abs(weight).mean(0).argmax()) - (k - 1) // 2
        cards.append(
            _figure(
                plots.kernel_map(weight),
                f"Kernels of block {number}: {len(weight)} rows of {k} weights between "
                f"{_span(weight)}; largest on average at offset {peak}.",
                "Each row is one token dimension's kernel, red above 0, blue below; the line is "
                "their mean size.",
                f"Block {number}, kernel of {k} tokens",
            )
        )
    words = "<p>What each block looks at: weights of the large kernel with the small one merged "
    words += "into it, against the distance in tokens. Later blocks reach further.</p>"
    sections.append(_Section("kernels", "Kernels", words + _grid(cards, "small")))
    return sections


def _residual_section(blocks: Sequence[Block], sizes: Sequence[int]) -> _Section:
    scales: dict[str, list[float]] = {"a1 (convolution)": [], "a2 (pointwise pair)": []}
    for block in blocks:
        for values, residual in zip(
            scales.values(), (block.add_conv, block.add_pointwise), strict=True
        ):
            assert residual.scale is not None
            values.append(float(residual.scale.detach()))
    dead = [
        f"{name[:2]} of block {i + 1}"
        for name, values in scales.items()
        for i, value in enumerate(values)
        if abs(value) < _DEAD
    ]
    words = "Each block adds its branches scaled by a learned number a. "
    if dead:
        words += (
            f"Below {_DEAD} in size, so adding next to nothing: {', '.join(dead)}. By the paper, "
        )
        words += "scales that stay near 0 are the sign of blocks that failed to help."
    else:
        words += f"None is below {_DEAD} in size: every block contributes."
    rows = [
        [str(i + 1), str(k), *(f"{values[i]:.3g}" for values in scales.values())]
        for i, k in enumerate(sizes)
    ]
    table = _table("Residual scales", ["block", "kernel", *scales], rows, numbers=True)
    all_values = np.array([*scales.values()])
    picture = _figure(
        plots.residual_bars(scales, sizes),
        f"Residual scales of {_count(len(blocks), 'block')}: {_span(all_values)}; {len(dead)} of "
        "them near 0.",
        "The longer a bar, the more its block changes the tokens that pass through it.",
        "Scale per block",
    )
    cards = _grid([picture, _card(table, "Values")])
    return _Section("residuals", "Residual scales", f"<p>{words}</p>{cards}")


# --- HTML ----------------------------------------------------------------------------------------


def _text(value: object) -> str:
    return escape(plots.clean(str(value)))


def _number(value: float) -> str:
    if 1000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.3f}" if 0.01 <= abs(value) < 1000 else f"{value:.3g}"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _percent(share: float) -> str:
    return "none" if np.isnan(share) else f"{100 * share:.1f} %"


def _span(values: np.ndarray) -> str:
    return f"{float(values.min()):.3g} to {float(values.max()):.3g}"


def _tile(figure: str, name: str, sentence: str) -> str:
    return (
        f'<div class="card tile"><h3>{_text(name)}</h3><b>{_text(figure)}</b>'
        f'<p class="soft">{_text(sentence)}</p></div>'
    )


def _card(body: str, heading: str = "", fit: bool = False) -> str:
    """Anything on a card; `fit` makes it no wider than that."""
    top = f"<h3>{_text(heading)}</h3>" if heading else ""
    return f'<div class="card{" fit" if fit else ""}">{top}<div class="scroll">{body}</div></div>'


def _grid(cards: Iterable[str], kind: str = "") -> str:
    return f'<div class="grid {kind}">{"".join(cards)}</div>'


def _figure(svg: str, alt: str, caption: str, heading: str, wide: bool = False) -> str:
    data = base64.b64encode(svg.encode()).decode()
    image = f'<img alt="{_text(alt)}" src="data:image/svg+xml;base64,{data}">'
    if wide:  # wider than a phone: scrolls by finger and by keyboard
        label = _text(heading)
        image = f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{image}</div>'
    return (
        f'<div class="card{" wide" if wide else ""}"><h3>{_text(heading)}</h3><figure>{image}'
        f"<figcaption>{_text(caption)}</figcaption></figure></div>"
    )


def _table(
    caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = False
) -> str:
    """The first cell of a row heads it; with "this run" in it, the row is marked. `numbers`
    aligns every other column to the right."""
    kind = ' class="number"' if numbers else ""
    head = "".join(
        f'<th scope="col"{kind if i else ""}>{_text(name)}</th>' for i, name in enumerate(columns)
    )
    body = ""
    for first, *rest in rows:
        cells = "".join(f"<td{kind}>{_text(cell)}</td>" for cell in rest)
        mark = ' class="own"' if "this run" in first else ""
        body += f'<tr{mark}><th scope="row">{_text(first)}</th>{cells}</tr>'
    return (
        f'<table aria-label="{_text(caption)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _page(title: str, sections: Sequence[_Section]) -> str:
    links = "".join(f'<li><a href="#{s.anchor}">{_text(s.heading)}</a></li>' for s in sections)
    body = "".join(
        f'<section aria-labelledby="{s.anchor}"><h2 id="{s.anchor}">{_text(s.heading)}</h2>'
        f"{s.body}</section>\n"
        for s in sections
    )
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_CSS}</style></head>\n<body><header>"
        f'<h1>{_text(title)}</h1><nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f"<main>{body}</main><footer>Written by convtimenet.</footer></body></html>\n"
    )
