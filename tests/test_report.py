"""The HTML page of a run: right numbers, whole, self-contained, safe against any name."""

from __future__ import annotations

import copy
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from common import undrawn

from convtimenet.cli.main import main
from convtimenet.data.forecast_tables import future_table
from convtimenet.data.labelled.cases import Cases, as_cases
from convtimenet.data.tables import Table, read_table
from convtimenet.data.time.frequency import Frequency
from convtimenet.errors import DataError, MissingExtraError
from convtimenet.estimators.classifier import ConvTimeNetClassifier
from convtimenet.estimators.explain import CaseExplanation
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.estimators.regressor import ConvTimeNetRegressor
from convtimenet.report import _canvas as canvas
from convtimenet.report import _html as html
from convtimenet.report import _page as document
from convtimenet.report import _plots as plots
from convtimenet.report import cases_report, forecast_report
from convtimenet.report._cases import case_table
from convtimenet.report._classes import per_class, wilson
from convtimenet.report._forecast import pick_windows
from convtimenet.report._future import future_section
from convtimenet.report._html import Section, clean
from convtimenet.report._importance import case_importance_section
from convtimenet.report._network import patch_moves, training_section
from convtimenet.report._numbers import _worse
from convtimenet.report._page import page
from convtimenet.report._windows import (
    errors_by_channel,
    scaler_of,
    series_of,
    when,
    window_answers,
)
from convtimenet.report.network import pictures as network_plots
from convtimenet.runs.forecasting import forecast_table
from convtimenet.training.closed_form.smoothing import CHOSEN
from convtimenet.training.history import History
from convtimenet.training.metrics import ForecastEvaluation
from convtimenet.wording import share_text

EVIL = "<script>alert('x')</script> & $m$"
TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5), "patch_size": 8, "patch_stride": 4}
ONE = {"random_patches": 1}
VOID = {"meta", "img", "br", "link", "input"}
DATA = "application/json"
Forecast = tuple[ConvTimeNetForecaster, Table, ForecastEvaluation]
Classes = tuple[ConvTimeNetClassifier, Cases]


class Page(HTMLParser):
    """Checks that tags balance, and collects what the tests ask for."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append((self.tags[-1][1], data))
        elif self.open and self.open[-1] != "style":
            self.words.append(data)

    def figures(self) -> list[dict[str, Any]]:
        """The interactive plots, as read by the page's script."""
        return [json.loads(data) for attrs, data in self.scripts if attrs.get("class") == "figure"]

    @property
    def text(self) -> str:
        return " ".join(self.words).replace("\xa0", " ")

    def pictures(self) -> list[ElementTree.Element]:
        sources = [attrs["src"] or "" for tag, attrs in self.tags if tag == "img"]
        return [ElementTree.fromstring(unquote(s.split(",", 1)[1])) for s in sources]


@pytest.fixture(scope="module")
def forecast() -> Forecast:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    steps = np.arange(300)
    values = np.stack([np.sin(steps / 4), 10 * np.cos(steps / 7)], 1)
    values += 0.1 * rng.standard_normal(values.shape)
    values[250:255] += 30  # an event that makes a few windows far worse than the others
    start = np.datetime64("2024-01-01", "ns")
    table = replace(
        read_table(values), times=start + steps * np.timedelta64(1, "h"), channels=(EVIL, "水位")
    )
    model = ConvTimeNetForecaster(
        8, 32, n_epochs=2, verbose=0, device="cpu", model=TINY | {"predictor_init": "default"}
    ).fit(table)
    return model, table, model.evaluate(table, first_row=200)


@pytest.fixture(scope="module")
def classes() -> Classes:
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    time = np.arange(40)
    labels = np.array([EVIL, "slow", "none"] * 20)
    speed = {EVIL: 2.0, "slow": 6.0, "none": 1e9}
    X = np.stack([[np.sin(time / speed[k] + rng.uniform(0, 6))] * 2 for k in labels])
    X += 0.3 * rng.standard_normal(X.shape)
    X[5:9, :, 30:] = np.nan
    cases = as_cases(X, labels)
    model = ConvTimeNetClassifier(n_epochs=2, verbose=0, device="cpu", model=TINY | ONE)
    return model.fit(cases), cases


def write_forecast(folder: Path, forecast: Forecast, name: str = "page.html") -> str:
    path = forecast_report(
        folder / name,
        *forecast,
        title=f"Run {EVIL}",
        facts={"data set": EVIL, "seed": "2023"},
        published=[
            {"model": "ours (this run)", "MSE": "0.4"},
            {"model": "paper", "MSE": "0.368", "source": EVIL},
        ],
    )
    assert path == folder / name
    return path.read_text(encoding="utf-8")


def write_classes(folder: Path, classes: Classes) -> str:
    path = cases_report(
        folder / "page.html",
        *classes,
        title=f"Run {EVIL}",
        facts={"seed": "2023"},
        published=[{"model": "paper", "accuracy": "0.987"}],
        baseline={"accuracy": 0.271},
    )
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages(
    tmp_path_factory: pytest.TempPathFactory, forecast: Forecast, classes: Classes
) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("pages")
    return write_forecast(folder, forecast), write_classes(folder, classes)


def test_pages_are_well_formed_and_accessible(pages: tuple[str, str]):
    for text in pages:
        page = Page(text)
        assert len(text) < 2_600_000  # 1,956,996 of them for the plotting library
        images = [attrs for tag, attrs in page.tags if tag == "img"]
        assert len(images) >= 8
        assert all(len(attrs["alt"] or "") > 30 for attrs in images)
        assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.tags if tag == "th")
        assert [tag for tag, _ in page.tags if tag in ("h1", "h2")][:2] == ["h1", "h2"]
        anchors = {attrs["id"] for tag, attrs in page.tags if tag == "h2"}
        links = [attrs["href"] or "" for tag, attrs in page.tags if tag == "a"]
        assert links
        assert {link.removeprefix("#") for link in links} == anchors


def test_pages_ask_for_nothing_outside(pages: tuple[str, str]):
    for text in pages:
        page = Page(text)
        kinds = [attrs.get("type") for attrs, _ in page.scripts]
        assert [kind for kind in kinds if kind != DATA] == ["application/gzip", None]
        assert all("src" not in attrs for attrs, _ in page.scripts)
        assert "url(" not in re.sub("src='[^']*'", "", text)  # pictures refer to their own parts
        for _, attrs in page.tags:
            assert (attrs.get("src") or "data:").startswith("data:image/svg+xml,") or (
                "src" not in attrs
            )
            assert (attrs.get("href") or "#").startswith(("#", "data:text/csv;base64,"))
        for picture in page.pictures():
            for element in picture.iter():
                assert "metadata" not in element.tag
                assert "script" not in element.tag
                for name, value in element.attrib.items():
                    if name.endswith("href"):
                        assert value.startswith(("#", "data:"))
                    assert "url(" not in value.replace("url(#", "")


def test_names_are_escaped_and_kept(pages: tuple[str, str]):
    for text in pages:
        page = Page(text)
        assert "<script>alert" not in text
        assert EVIL in page.text
        assert not any("<" in data for attrs, data in page.scripts if attrs.get("type") == DATA)
        drawn = "".join("".join(picture.itertext()) for picture in Page(text).pictures())
        assert "<script>" in drawn  # as text of the picture, its dollar signs too


def test_forecast_page_tells_the_scores(pages: tuple[str, str], forecast: Forecast):
    _, table, evaluation = forecast
    text = Page(pages[0]).text
    for scores in (evaluation.scores, evaluation.in_units, evaluation.naive_in_units):
        for name, value in scores.items():
            assert (share_text if name == "wape" else html.number)(value) in text
    assert evaluation.n_windows == 93
    found = Page(pages[0]).text
    assert "Explanation of a forecast" in found
    assert "The forecast changes most, by" in found
    assert "93" in text
    for name, mae in evaluation.mae_per_channel.items():
        assert f"{name} {mae:.3f}" in text
    worst = int(evaluation.mse_per_window.argmax())
    row = int(evaluation.starts[worst]) + 32
    stamp = str(table.times[row].astype("datetime64[m]")).replace("T", " ")
    first = text.index("Worst: forecast from")
    assert text[first:].startswith(f"Worst: forecast from {stamp}")
    own = '<tr class="own"><th scope="row">ours (this run)</th><td>0.4</td><td></td></tr>'
    assert pages[0].count(own) == pages[0].count('class="own"') == 1


def test_classification_page_tells_the_scores(pages: tuple[str, str], classes: Classes):
    model, cases = classes
    accuracy = model.score(cases)
    text = Page(pages[1]).text
    assert f"{100 * accuracy:.1f} %" in text
    assert f"{round(60 * accuracy)} cases correct" in text
    assert "Largest class 27.1 %" in text  # as given: of the training labels
    assert "without them its probability drops" in text
    given = model.predict(cases)
    right = set(given[given == cases.labels])
    assert len(re.findall(r"Case \d+: class .*?, correct", text)) == len(right)
    wrong = round(60 * (1 - accuracy))
    assert f"{wrong} of 60 cases are wrong" in text
    shown = min(wrong, 4) + min(wrong, 1)  # the surest again, with what it rests on
    assert len(re.findall(r"Case \d+: .*?, predicted as ", text)) == shown
    assert "predicted as class" in text


def test_same_run_gives_the_same_bytes(
    pages: tuple[str, str], forecast: Forecast, classes: Classes, tmp_path: Path
):
    assert write_classes(tmp_path, classes) == pages[1]
    with undrawn():  # the other page's pictures are drawn by the same means
        text = write_forecast(tmp_path, forecast)
    words = (re.sub("src='data:image/[^']*'", "", one) for one in (text, pages[0]))
    assert len(set(words)) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page.html"]


@pytest.mark.slow
def test_same_forecasts_are_drawn_in_the_same_bytes(pages, forecast: Forecast, tmp_path: Path):
    assert write_forecast(tmp_path, forecast) == pages[0]


def test_uniform_patches_plain_residuals_and_integer_times(tmp_path: Path):
    torch.set_num_threads(1)
    values = np.sin(np.arange(120) / 5)
    table = read_table(values)
    settings = TINY | {"deformable": False, "residual": "plain"}
    model = ConvTimeNetForecaster(
        1, 24, n_epochs=1, verbose=0, scale=False, device="cpu", model=settings
    ).fit(table)
    evaluation = model.evaluate(table, first_row=119)
    assert evaluation.n_windows == 1
    with undrawn():
        text = Page(write_forecast(tmp_path, (model, table, evaluation))).text
    assert "all patches are uniform" in text
    assert "without learned scales" in text
    assert (
        "Mean absolute error, in the data's units. Seasonal naive (repeating the last value) gives"
        in text
    )
    assert "Worst: forecast from 119" in text
    assert "Best: forecast" not in text


def test_patches_that_never_moved_are_told(tmp_path: Path, forecast: Forecast):
    model, table, evaluation = forecast
    assert model.scored_ is not None
    still = copy.deepcopy(model.scored_)  # the one that the evaluation is about
    predict = still.network_.embedding.patch.predict
    assert predict is not None
    for parameter in predict.parameters():
        torch.nn.init.zeros_(parameter)
    with undrawn():
        text = Page(write_forecast(tmp_path, (still, table, evaluation))).text
    assert "no patch of 93 windows has an offset" in text
    assert "Positions of the patches" not in text


def test_pick_windows():
    mse = np.array([5.0, 1, 2, 9, 8, 0.5, 3, 4])
    starts = np.arange(10, 18)
    assert pick_windows(mse, starts, 2) == {
        "worst": [3, 0, 7],  # not 4: it overlaps with 3
        "median": [6],  # sorted: 0.5 1 2 [3] 4 5 8 9
        "best": [5, 1],  # 2 overlaps with 1, the others are taken or overlap
    }
    assert pick_windows(np.array([1.0]), np.array([0]), 5) == {
        "worst": [0],
        "median": [],
        "best": [],
    }
    near = pick_windows(np.array([9.0, 8, 7, 1, 2]), np.arange(5), 2)
    assert near == {"worst": [0, 2], "median": [], "best": [3]}  # 4 is not among the worst
    unscored = np.array([np.nan, 5, 4, np.nan, 3, np.nan, 2, 1])
    picked = pick_windows(unscored, np.arange(8), 1)
    assert picked == {"worst": [1, 2, 4], "median": [], "best": [7, 6]}  # 4 is the median
    ties = pick_windows(np.ones(9), np.arange(9), 1)
    assert ties["worst"] == [0, 1, 2]
    assert len({window for windows in ties.values() for window in windows}) == 7


def test_a_channel_that_is_not_scored_is_not_the_worst(forecast: Forecast):
    model, table, _ = forecast
    values = table.values.copy()
    values[218:250, 0] = np.nan  # a whole context
    values[251, 1] = np.nan
    gaps = replace(table, values=values)
    away = values[250:258] + np.array([100.0, 1.0])
    assert errors_by_channel(model, gaps, 250, away).tolist() == [0, 1]
    shares = errors_by_channel(model, table, 250, table.values[250:258] + model.scaler_.scale[:, 0])
    assert shares == pytest.approx([0.5, 0.5])


def test_wilson_interval():
    # 81 of 263: the example of Newcombe (1998), Statistics in Medicine 17, table I
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(20, 20)[1] == pytest.approx(1.0)


def test_per_class_numbers():
    counts = np.array([[4, 1, 0], [2, 3, 0], [0, 0, 0]])
    precision, recall, support = per_class(counts)
    np.testing.assert_allclose(precision, [4 / 6, 3 / 4, np.nan])
    np.testing.assert_allclose(recall, [4 / 5, 3 / 5, np.nan])
    np.testing.assert_array_equal(support, [5, 5, 0])


def test_patch_moves_by_hand(forecast: Forecast):
    network = forecast[0].network_
    moves = patch_moves(network, np.random.default_rng(2).standard_normal((3, 2, 32)))
    assert moves.left.shape == (3, 2, network.config.n_patches)
    assert np.abs(moves.shift).max() > 1e-6
    middle = (moves.left[1, 0, 2] + moves.right[1, 0, 2]) / 2
    assert moves.shift[1, 0, 2] == pytest.approx(middle - (2 * 4 + 3.5))
    width = moves.right[1, 0, 2] - moves.left[1, 0, 2]
    assert moves.widening[1, 0, 2] == pytest.approx(width - 7)


def test_clean_and_short():
    assert clean("a\x00b\ud800c\n") == "a\ufffdb\ufffdc\n"
    assert canvas.short("a\n  b") == "a b"
    assert canvas.short("abcdefgh", 6) == "abc…gh"


@pytest.mark.parametrize("n_classes", [2, 25, 40])
def test_confusion_matrix_names_every_class(n_classes: int):
    labels = [f"class {k}" for k in range(n_classes)]
    counts = np.eye(n_classes, dtype=int) * 7
    counts[0, 1] = 1234
    drawn = ElementTree.fromstring(plots.confusion_matrix(counts, labels))
    words = [text.strip() for text in drawn.itertext() if text.strip()]
    assert all(words.count(label) == 2 for label in labels)
    assert ("1234" in words) == (n_classes <= 25)


def test_matplotlib_missing(tmp_path: Path, forecast: Forecast, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"convtimenet\[report\]"):
        write_forecast(tmp_path, forecast)
    assert list(tmp_path.iterdir()) == []


def test_plotly_missing(tmp_path: Path, forecast: Forecast, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(document, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"plotly.*convtimenet\[report\]"):
        write_forecast(tmp_path, forecast)
    assert list(tmp_path.iterdir()) == []


def test_missing_folder(tmp_path: Path, forecast: Forecast, classes: Classes):
    with pytest.raises(DataError, match="does not exist; create it first"):
        write_forecast(tmp_path / "absent", forecast)
    with pytest.raises(DataError, match="does not exist; create it first"):
        write_classes(tmp_path / "absent", classes)


def test_failure_leaves_the_old_page(
    tmp_path: Path, forecast: Forecast, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "page.html").write_text("old")

    def fail(weight: np.ndarray) -> str:
        raise RuntimeError("no ink")

    monkeypatch.setattr(network_plots, "kernel_map", fail)
    with undrawn(), pytest.raises(RuntimeError, match="no ink"):
        write_forecast(tmp_path, forecast)
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text() == "old"


def test_unusable_inputs(tmp_path: Path, forecast: Forecast, classes: Classes):
    model, table, evaluation = forecast
    shorter = replace(table, times=table.times[:250], values=table.values[:250])
    with pytest.raises(DataError, match="the table that was evaluated"):
        write_forecast(tmp_path, (model, shorter, evaluation))
    classifier, cases = classes
    with pytest.raises(DataError, match="found none"):
        write_classes(tmp_path, (classifier, replace(cases, labels=None)))
    with pytest.raises(DataError, match=re.escape("found other")):
        write_classes(tmp_path, (classifier, replace(cases, labels=np.array(["other"] * 60))))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("unit", ["s", "m", "h", "D", "M"])
def test_a_time_axis_fits_any_span(unit):
    """matplotlib warns, and leaves labels to chance, where it knows no interval that fits."""
    with canvas.drawing(4, 2) as figure:
        axes = figure.add_subplot()
        for n in range(2, 80):
            times = (np.datetime64("2024-01-01", unit) + np.arange(n)).astype("datetime64[ns]")
            x = canvas.time_axis(axes, times)
            axes.set_xlim(x[0], x[-1])
            ticks = [tick for tick in axes.get_xticks() if x[0] <= tick <= x[-1]]
            assert len(ticks) <= 7
            assert ticks or n < 5


def test_intervals_are_told_and_drawn(forecast, pages, tmp_path):
    model, table, evaluation = forecast
    assert [one.level for one in evaluation.intervals] == [80, 95]
    page = Page(pages[0])
    assert "Coverage of the intervals" in page.text
    for one in evaluation.intervals:
        assert f"{100 * one.coverage:.1f} %" in page.text
    without = replace(evaluation, intervals=())
    with undrawn():
        plain = Page(write_forecast(tmp_path, (model, table, without)))
    assert "Coverage of the intervals" not in plain.text
    assert len(plain.pictures()) == len(page.pictures()) - 1


def check_wrong_cases(text: str, model: ConvTimeNetClassifier, cases: Cases) -> None:
    """All of them are in the table, also those without a picture."""
    assert cases.labels is not None
    shares, given = model.predict_proba(cases), model.predict(cases)
    table = re.search(
        r'aria-label="Wrong cases, the most confident first"><thead>.*?</table>', text
    )
    assert table is not None
    cells = r'row">(.*?)</th><td.*?>(.*?)</td><td.*?>(.*?)</td><td.*?>(.*?)<'
    rows = re.findall(cells, table[0])
    wrong = np.flatnonzero(given != cases.labels)
    assert len(wrong) > 4
    assert sorted(int(case) for case, *_ in rows) == wrong.tolist()
    assert [float(p) for *_, p in rows] == sorted((float(p) for *_, p in rows), reverse=True)
    for case, true, predicted, chance in rows:
        assert (unescape(true), unescape(predicted)) == (cases.labels[int(case)], given[int(case)])
        assert chance == f"{shares[int(case)].max():.2f}"


def test_a_classification_page_counts_classes_that_training_lacked(classes, tmp_path: Path):
    model, cases = classes
    assert cases.labels is not None
    labels = np.array(["new", "a third", *cases.labels[2:]], dtype=object)
    labels[[11, 24, 32, 47]] = "slow", "none", "slow", "slow"
    assert (labels != cases.labels).sum() == 6
    other = replace(cases, labels=labels)
    with undrawn():
        page = Page(text := write_classes(tmp_path, (model, other)))
    check_wrong_cases(text, model, other)
    predicted, right = model.predict(cases), model.predict(cases) == labels
    own = [right[labels == one].mean() for one in sorted(set(labels))]
    assert f"{100 * right.mean():.1f} %" in page.text
    assert f"{100 * np.mean(own):.1f} %" in page.text
    assert "From 5 classes, all scored once." in page.text
    for name in ("new", "a third"):
        assert re.search(rf"{name}\s+none\s+0.0 %\s+0.0 %\s+1\b", page.text)
    # one wrong case alone, so that it is shown
    alone = cases.subset(np.array([0, *np.flatnonzero(predicted == cases.labels)[:6]]))
    assert alone.labels is not None
    lonely = replace(
        alone,
        labels=np.array(["new", *alone.labels[1:]], dtype=object),
        ids=tuple(f"P{number}" for number in range(len(alone.labels))),
    )
    with undrawn():
        page = Page(write_classes(tmp_path, (model, lonely)))
    assert f"Case P0: new, predicted as {predicted[0]}" in page.text
    assert "none for the true class new, which was not in the training data" in page.text
    with pytest.raises(DataError, match="fitted to, found new; use the labels of training"):
        write_classes(tmp_path, (model, replace(cases, labels=np.array(["new"] * 60))))


@pytest.fixture(scope="module")
def numbers() -> tuple[ConvTimeNetRegressor, Cases]:
    torch.set_num_threads(1)
    rng = np.random.default_rng(2)
    pace = rng.uniform(0.2, 1.2, 50)
    X = np.sin(np.arange(40) * pace[:, None, None] + rng.uniform(0, 6, (50, 2, 1)))
    X[3, :, 30:] = np.nan
    cases = as_cases(X, 100 * pace)
    model = ConvTimeNetRegressor(n_epochs=3, verbose=0, device="cpu", model=TINY | ONE)
    return model.fit(cases), cases


def write_numbers(folder: Path, numbers: tuple[ConvTimeNetRegressor, Cases], **given) -> str:
    path = cases_report(
        folder / "page.html", *numbers, title=f"Run {EVIL}", facts={"seed": "2023"}, **given
    )
    return path.read_text(encoding="utf-8")


def test_a_regression_page_tells_the_scores(numbers, tmp_path: Path):
    model, cases = numbers
    text = write_numbers(tmp_path, numbers, baseline={"mse": 1000.0, "mae": 50.0, "r2": -0.1})
    page = Page(text)
    assert cases.labels is not None
    off = model.predict(cases) - cases.labels
    mse = float(np.square(off).mean())
    for value in (mse, float(np.abs(off).mean()), model.score(cases)):
        assert f"{value:.3f}" in page.text
    assert "training mean gives 1,000: this model is" in page.text
    assert f"{abs(100 * (mse / 1000 - 1)):.0f} % {'lower' if mse < 1000 else 'higher'}" in page.text
    side = "high" if off.mean() > 0 else "low"
    assert f"Predictions are {abs(off.mean()):.3f} too {side} on average" in page.text
    worst = int(np.abs(off).argmax())
    assert re.search(rf"as the network reads it\.\s+Case {worst}\s+Predicted", page.text)
    assert re.search(rf"Case {worst}: .* \(largest error\)", page.text)
    assert "Red parts raise the predicted number" in page.text
    listed = re.search(r'aria-label="Cases, the largest error first"><thead>.*?</table>', text)
    assert listed is not None
    rows = re.findall(r'row">(.*?)</th><td.*?>.*?</td><td.*?>.*?</td><td.*?>(.*?)<', listed[0])
    assert [int(case) for case, _ in rows] == np.argsort(-np.abs(off), kind="stable").tolist()
    assert float(rows[0][1]) == pytest.approx(off[worst], abs=5e-4)
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(images) >= 2 + 2 + 4 + 4 + 2 + 1
    assert all(len(attrs["alt"] or "") > 30 for attrs in images)
    with undrawn():
        assert "training mean" not in Page(write_numbers(tmp_path, numbers)).text


@pytest.mark.parametrize(
    ("predicted", "baseline", "says"),
    [
        ([0.0, 1, 2, 5], {"mse": 9.0, "mae": 0.4}, "Worse than the mean: always predicting the "
         "training mean has a mean absolute error of 0.400, this model of 0.500."),
        ([0.0, 0, 0, 9], {"mse": 90.0, "mae": 9.0}, "Worse than the mean: R2 is -7.200, that of "
         "always predicting the mean of these cases is 0."),
        ([3.0, 2, 1, 0], {"mse": 1.0, "mae": 9.0}, "predicting the training mean has a mean "
         "squared error of 1.000, this model of 5.000; R2 is -3.000,"),
        ([3.0, 2, 1, 0], {}, "always predicting the mean of these cases has a mean squared error "
         "of 1.250, this model of 5.000; always predicting the mean of these cases has a mean "
         "absolute error of 1.000, this model of 2.000; R2 is -3.000,"),
        ([0.0, 1, 2, 2], {"mse": 1.0, "mae": 1.0}, ""),
    ],
)  # fmt: skip
def test_a_result_worse_than_the_mean_in_any_measure_is_said(predicted, baseline, says):
    said = _worse(np.arange(4.0), np.array(predicted), baseline)
    assert says in said
    assert bool(said) == bool(says)


def test_a_long_table_of_cases_says_how_many_are_left_out():
    made = case_table("Wrong", ["case", "true"], [["P1", "a"], ["P2", "b"]], 1302)
    assert made.count("<tr>") == 3
    assert "and 1,300 more." in made
    assert "more" not in case_table("Wrong", ["case", "true"], [["P1", "a"]], 1)


def test_dots_lie_where_the_numbers_are():
    """The diagonal's ends are the axes' ends, so equal numbers lie on it."""
    truth, predicted = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    drawn = ElementTree.fromstring(plots.predicted_against_true(truth, predicted))
    marks = [e.attrib for e in drawn.iter("{http://www.w3.org/2000/svg}use") if "x" in e.attrib]
    dots = [(float(m["x"]), float(m["y"])) for m in marks if "0072b2" in m.get("style", "").lower()]
    assert len(dots) == 3
    (x1, y1), (x2, y2), (x3, y3) = dots
    assert x2 - x1 == pytest.approx(x3 - x2)
    assert (y1 - y2, y1 - y3) == pytest.approx(
        (x3 - x1, x2 - x1), abs=3e-3
    )  # upward is less in SVG


def test_a_regression_page_of_unusable_cases(numbers, tmp_path: Path):
    model, cases = numbers
    with pytest.raises(DataError, match="expected a target for every case, found none"):
        write_numbers(tmp_path, (model, replace(cases, labels=None)))
    with pytest.raises(DataError, match="targets must be numbers"):
        write_numbers(tmp_path, (model, replace(cases, labels=np.array(["a"] * 50))))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "covariates",
    [
        {"futr_exog": ["promo"], "hist_exog": ["load"]},
        {"calendar": ["hour"]},
        {"stat_exog": ["kind"]},
    ],
)
def test_covariates_are_read_where_they_lie(covariates, tmp_path: Path):
    """The windows drawn are those that were scored: with the covariates of their own rows."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    steps = np.arange(160)
    table = replace(
        read_table(
            np.stack([np.sin(steps / 4), np.cos(steps / 7)], 1) + 0.1 * rng.normal(size=(160, 2))
        ),
        times=np.datetime64("2024-01-01", "ns") + steps * np.timedelta64(1, "h"),
        frequency=Frequency.parse("1h"),
        covariates={
            "promo": rng.integers(0, 2, 160).astype(float),
            "load": rng.normal(size=160),
            "kind": np.array(["pump"] * 160, dtype=object),
        },
    )
    model = ConvTimeNetForecaster(
        8, 32, n_epochs=1, refit=False, verbose=0, device="cpu", model=TINY, **covariates
    ).fit(table, split=(100, 130))
    evaluation = model.evaluate(table, first_row=130, level=[80])
    window = int(evaluation.mse_per_window.argmax())
    first = int(evaluation.starts[window])
    answers = window_answers(model, table, first + 32, [80])
    assert answers.shape == (8, 2, 3)
    scaled = (answers[..., 0] - table.values[first + 32 : first + 40]) / model.scaler_.scale[:, 0]
    assert np.square(scaled).mean() == pytest.approx(evaluation.mse_per_window[window], rel=1e-4)
    with undrawn():
        text = Page(write_forecast(tmp_path, (model, table, evaluation))).text
    assert "Coloured bands: 80 % intervals" in text
    for names in covariates.values():
        assert all(re.search(rf"\b{name} \d", text) for name in names)


def test_windows_of_a_long_table_are_those_of_their_series(tmp_path: Path):
    """Also of a series shorter than a context, which is padded in front."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    rows = np.array([120, 30, 90])
    table = Table(
        times=np.concatenate([np.arange(n) for n in rows]),
        values=rng.normal(size=(240, 1)) * np.repeat([1.0, 100.0, 5.0], rows)[:, None],
        channels=("y",),
        time_name="ds",
        frequency=Frequency.parse("1"),
        id_name="shop",
        ids=np.array(["7", EVIL, "c"], dtype=object),
        rows=rows,
        covariates={"promo": rng.normal(size=240)},
    )
    settings: dict = {"n_epochs": 1, "verbose": 0, "device": "cpu", "model": TINY}
    model = ConvTimeNetForecaster(8, 32, futr_exog=["promo"], **settings)
    model.fit(table, split=(rows - 20, rows - 10))
    table.values[-9:] = np.nan  # of the last three windows only the first has a value to score
    evaluation = model.evaluate(table, first_row=rows - 10, level=[50])
    of = np.array([0, 0, 0, 1, 2, 2, 2])  # the short series has its last window only
    scored = ~np.isnan(evaluation.mse_per_window)
    assert scored.tolist() == [True] * 5 + [False] * 2
    assert evaluation.n_windows == 5
    for window, start in enumerate(evaluation.starts.tolist()):
        now, scale = start + 32, model.scaler_.scale[of[window], 0, 0]
        off = (window_answers(model, table, now)[:, 0, 0] - table.values[now : now + 8, 0]) / scale
        mse = np.square(off[np.isfinite(off)]).mean() if scored[window] else np.nan
        given = evaluation.mse_per_window[window]
        assert mse == pytest.approx(given, rel=1e-4, nan_ok=True)
    with undrawn():
        page = Page(write_forecast(tmp_path, (model, table, evaluation)))
    text = page.text
    # one channel has one unit, and each series a scale of its own
    names, unit = ("7", EVIL, "c"), "in the data's units"
    rmse = model.scaler_.scale[of, 0, 0] * np.sqrt(evaluation.mse_per_window)
    for number, name in enumerate(names):
        own = rmse[scored & (of == number)]
        assert f"{name} {np.sqrt(np.square(own).mean()):.3f} {len(own)}" in text
    assert f"Root mean squared error (RMSE) of the series' windows, {unit}; largest" in text
    worst = names[of[np.nanargmax(rmse)]]
    assert f"Worst: forecast of {worst} from" in text
    ahead = np.stack(
        [window_answers(model, table, start + 32)[:, 0, 0] for start in evaluation.starts.tolist()]
    )
    truth = np.stack([table.values[start + 32 :][:8, 0] for start in evaluation.starts.tolist()])
    steps = np.sqrt(np.nanmean(np.square(ahead - truth), axis=0))
    np.testing.assert_allclose(evaluation.rmse_per_step_in_units, steps, rtol=1e-4)
    drawn = {
        one["layout"]["xaxis"]["title"]["text"]: one["data"][0]["y"]
        for one in page.figures()
        if one["layout"]["yaxis"]["title"]["text"] == f"RMSE {unit}"
    }
    assert drawn["steps ahead"] == pytest.approx(steps.tolist(), rel=1e-4)
    own = sorted(y for y in drawn["ds"] if y is not None)
    assert own == pytest.approx(np.sort(rmse[scored]).tolist(), rel=1e-4)
    spelled = replace(table, ids=np.array([7, EVIL, "c"], dtype=object))  # as `evaluate` takes it
    own = scaler_of(model, series_of(spelled, 0)[0])
    np.testing.assert_array_equal(own.scale, model.scaler_.scale[0])
    other = replace(table, ids=np.array(["7", "new", "c"], dtype=object))
    with pytest.raises(DataError, match="found 'new'; evaluate a table without it"):
        write_forecast(tmp_path, (model, other, evaluation))


def test_many_levels_are_all_drawn():
    curves = {float(level): np.full(4, level / 100) for level in (10, 30, 50, 70, 90)}
    words = "".join(ElementTree.fromstring(plots.coverage_by_step(curves, xlabel="x")).itertext())
    assert all(f"{level:g} %" in words for level in curves)


def test_steps_without_a_scored_value_are_left_out(forecast: Forecast, tmp_path: Path):
    """In a short test split, a missing value may leave a step ahead without any."""
    model, table, evaluation = forecast
    rmse = np.sqrt(evaluation.mse_per_step[0])
    steps = np.where(np.arange(8) == 7, np.nan, evaluation.mse_per_step)
    shares = np.array([np.nan, 0.5, 0.25, 0.75, 0.5, 0.5, 0.5, np.nan])
    bands = tuple(replace(one, coverage_per_step=shares) for one in evaluation.intervals)
    mae = {EVIL: 0.5, "水位": np.nan}
    few = replace(
        evaluation,
        mse_per_step=steps,
        intervals=bands,
        mae_per_channel=mae,
        naive_mae_per_channel=mae,
    )
    with undrawn():
        page = Page(write_forecast(tmp_path, (model, table, few)))
    alts = " ".join(attrs["alt"] or "" for tag, attrs in page.tags if tag == "img")
    alts = alts.replace("\xa0", " ")
    assert alts.count("from 25.0 to 75.0 % by step") == len(bands)
    told = f"{rmse:.3f} at step 1, none at step 8, in training standard deviations"
    assert told in alts
    axes = [one["layout"]["yaxis"]["title"]["text"] for one in page.figures()]
    assert axes.count("RMSE in training standard deviations") == 2
    assert "水位 none none none" in page.text
    drawn = [json.dumps(one["data"][0].get("y")) for one in page.figures()]
    assert f"[null, {', '.join(['50.0', '25.0', '75.0', *['50.0'] * 3])}, null]" in drawn


def test_a_model_without_patches_on_one_channel_far_from_zero(tmp_path: Path):
    """Errors of windows and steps were squared deviations beside "the data's units", two per cents
    of very small errors were equal, and words were about a network and its patches."""
    rng, days = np.random.default_rng(3), np.arange(160)
    values = 1e5 + 10 * np.sin(2 * np.pi * days / 7) + rng.normal(0, 1, 160)
    table = Table(
        times=np.datetime64("2024-01-01", "ns") + days * np.timedelta64(1, "D"),
        values=values[:, None],
        channels=("units",),
        time_name="ds",
        frequency=Frequency.parse("1D"),
    )
    model = ConvTimeNetForecaster(4, quality="fast", verbose=0, device="cpu")
    run = forecast_table(model, table, test_fraction=0.2, dataset="a.csv")
    with undrawn():
        page = Page(run.write_report(tmp_path / "page.html").read_text(encoding="utf-8"))
    evaluation, text = run.evaluation, page.text
    assert evaluation is not None
    factor = evaluation.in_units["rmse"] / np.sqrt(evaluation.scores["mse"])
    errors = factor * np.sqrt(np.sort(evaluation.mse_per_window))
    for worst in errors[-1], errors[0]:
        assert f"RMSE {worst:.3f} in the data's units" in text
    drawn = {
        one["layout"]["xaxis"]["title"]["text"]: one["data"][0]["y"]
        for one in page.figures()
        if one["layout"]["yaxis"]["title"]["text"] == "RMSE in the data's units"
    }
    steps = factor * np.sqrt(evaluation.mse_per_step)
    assert drawn["steps ahead (1 step = 1 day)"] == pytest.approx(steps.tolist(), rel=1e-4)
    assert sorted(drawn["ds"]) == pytest.approx(errors.tolist(), rel=1e-4)
    ours, naive = (one["wape"] for one in (evaluation.in_units, evaluation.naive_in_units))
    assert ours < naive < 1e-4
    assert len({share_text(ours), share_text(naive)}) == 2
    assert f"gives {share_text(naive)}: this model is" in text
    assert "Inside the model" in text
    assert "extent of each patch" not in text
    assert "is hidden in turn" in text
    assert re.search(r"\d s in all on cpu, scoring included; ", text)


def test_the_error_of_a_grid_has_its_unit():
    for unit in ("training standard deviations", "the data's units"):
        body = training_section(History.solved(0.25, "cpu", 0.71, CHOSEN), "mae", unit).body
        assert body == (
            "<p>Chosen from a grid in 0.7 seconds, without epochs. Mean absolute error of the "
            f"training windows, in {unit}: 0.250.</p>"
        )


def test_a_share_is_told_with_the_digits_that_tell_it_apart():
    given = {0.0005123: "0.0512 %", 0.000841: "0.0841 %", 0.1234567: "12.35 %", 0.0: "0 %"}
    assert {share: share_text(share) for share in given} == given


SVG = "{http://www.w3.org/2000/svg}"


def dots_of(drawn: ElementTree.Element, colour: str) -> np.ndarray:
    """Places (n, 2) of the markers of that colour."""
    marks = [e.attrib for e in drawn.iter(f"{SVG}use") if "x" in e.attrib]
    return np.array(
        [
            (float(m["x"]), float(m["y"]))
            for m in marks
            if f"fill: {colour};" in f"{m['style'].lower()};" and "opacity" not in m["style"]
        ]
    )


@pytest.mark.parametrize("known", [6, 9])
def test_a_forecast_lies_where_its_numbers_are(known: int):
    truth = np.array([3.0, 1, 4, 1, 5, 9, 2, 6, 5])[:known]
    forecast = np.array([4.0, 7, 8])
    answers = np.stack([forecast, forecast - 2, forecast - 1, forecast + 1, forecast + 2], 1)
    text = plots.forecast_window(np.arange(9), truth, answers, ylabel="y", xlabel="x")
    drawn = ElementTree.fromstring(text)
    black, orange = (dots_of(drawn, c.lower()) for c in (canvas.INK, canvas.ORANGE))
    assert (len(black), len(orange)) == (known, 4)
    per_step, begin = np.polyfit(np.arange(known), black[:, 0], 1)
    per_unit, zero = np.polyfit(truth, black[:, 1], 1)
    at = begin + per_step * np.arange(5, 9)  # from the last known value on
    np.testing.assert_allclose(orange[:, 0], at, atol=3e-3)
    np.testing.assert_allclose(orange[:, 1], zero + per_unit * np.array([9, 4, 7, 8]), atol=3e-3)
    bands = [g for g in drawn.iter(f"{SVG}g") if g.get("id", "").startswith("FillBetween")]
    for band, values in zip(bands, ([2, 5, 6, 9, 10], [3, 5, 6, 7, 8, 9]), strict=True):
        (path,), (use,) = band.iter(f"{SVG}path"), band.iter(f"{SVG}use")
        shift = float(use.attrib["y"])
        heights = {float(y) + shift for y in re.findall(r"[ML] \S+ (\S+)", path.attrib["d"])}
        expected = sorted(zero + per_unit * value for value in values)
        np.testing.assert_allclose(sorted(heights), expected, atol=3e-3)
    assert ("truth" in "".join(drawn.itertext())) == (known == 9)


def alts(body: str) -> list[str]:
    return [attrs["alt"] or "" for tag, attrs in Page(body).tags if tag == "img"]


def test_the_first_channels_are_forecast_on_the_page():
    values = np.arange(180.0).reshape(30, 6)
    table = replace(
        read_table(values),
        times=np.datetime64("2024-01-01", "ns") + np.arange(30) * np.timedelta64(1, "D"),
        frequency=Frequency.parse("1D"),
        channels=("north", EVIL, "e", "w", "u", "v"),
    )
    answers = 1000.0 + np.arange(5)[:, None] + 10 * np.arange(6)
    section = future_section(table, future_table(table, answers))
    found = alts(section.body)
    assert found == [
        f"Forecast of {name} from 2024-01-31 to 2024-02-04: it ranges from {first:.3g} to "
        f"{first + 4:.3g}, the 21 rows before it from {values[9, c]:.3g} to {values[29, c]:.3g}."
        for c, (name, first) in enumerate(zip(table.channels, answers[0], strict=True))
        if c < 4
    ]
    text = Page(section.body).text
    assert "Bands" not in text
    (figure,) = Page(section.body).figures()
    names = [one["name"] for one in figure["choices"]]
    assert names == list(table.channels)  # all of them can be picked
    for c, one in enumerate(figure["choices"]):
        assert one["y"] == [
            values[9:, c].tolist(),
            [values[29, c], answers[0, c]],
            answers[:, c].tolist(),
        ]
        assert one["x"] == [1, 2, 0]
        assert one["spans"] == [["2024-01-30", "2024-02-04"]]
    assert figure["xs"][0] == [f"2024-0{day}" for day in ("1-31", "2-01", "2-02", "2-03", "2-04")]
    names = [f"{name}{end}" for name in table.channels for end in ("", "-lo-90", "-hi-90")]
    wide = np.repeat(answers, 3, axis=1) + np.tile([0.0, -500, 500], 6)
    banded = future_section(table, future_table(table, wide, names))
    assert "Bands: 90 % intervals." in Page(banded.body).text
    assert alts(banded.body) == found
    with pytest.raises(DataError, match="other series or channels"):
        future_section(table, future_table(table, answers, list("abcdef")))


def test_the_first_series_are_forecast_on_the_page():
    rows = np.array([5, 40, 9])
    table = Table(
        times=np.concatenate([np.arange(n) for n in rows]),
        values=np.arange(108.0).reshape(54, 2),
        channels=("y", "z"),
        time_name="ds",
        frequency=Frequency.parse("1"),
        id_name="shop",
        ids=np.array(["a", EVIL, "c"], dtype=object),
        rows=rows,
    )
    future = future_table(table, -np.arange(12.0).reshape(6, 2))
    section = future_section(table, future)
    assert alts(section.body) == [
        "Forecast of a, y from 5 to 6: it ranges from -2 to -0, the 5 rows before it from 0 to 8.",
        "Forecast of a, z from 5 to 6: it ranges from -3 to -1, the 5 rows before it from 1 to 9.",
        f"Forecast of {EVIL}, y from 40 to 41: it ranges from -6 to -4, the 24 rows before it from "
        "42 to 88.",
        f"Forecast of {EVIL}, z from 40 to 41: it ranges from -7 to -5, the 24 rows before it from "
        "43 to 89.",
    ]
    (figure,) = Page(section.body).figures()
    assert [one["name"] for one in figure["choices"]] == [
        f"{name}, {channel}" for name in ("a", EVIL, "c") for channel in "yz"
    ]
    text = Page(section.body).text
    assert "Forecasts of 3 series with 2 channels each: 0 higher on average than before, 6" in text
    other = replace(future, ids=np.array(["a", "b", "c"], dtype=object))
    with pytest.raises(DataError, match="other series or channels"):
        future_section(table, other)


def test_the_forecast_comes_first(forecast: Forecast, pages: tuple[str, str], tmp_path: Path):
    model, table, evaluation = forecast
    table = replace(table, frequency=Frequency.parse("1h"))
    future = future_table(table, model.forecast_table(table).reshape(8, 2))
    with undrawn():
        path = forecast_report(
            tmp_path / "r.html", model, table, evaluation, title="t", facts={}, future=future
        )
    page = Page(path.read_text(encoding="utf-8"))
    headings = [attrs["id"] for tag, attrs in page.tags if tag == "h2"]
    assert headings[:2] == ["future", "scores"]
    assert len(page.pictures()) == len(Page(pages[0]).pictures()) + 2
    assert 'id="future"' not in pages[0]


def test_the_command_draws_what_it_writes(tmp_path: Path):
    days = np.datetime64("2024-01-01") + np.arange(120)
    lines = [f"{day},{np.sin(k / 3):.6f}" for k, day in enumerate(days)]
    (tmp_path / "sales.csv").write_text("\n".join(["date,sales", *lines]))
    small = [f"--model.{name}={value}" for name, value in TINY.items() if "kernel" not in name]
    small += ["--model.kernel_sizes=[3,5]"]
    flags = ["--h=6", "--input_size=24", "--level=80", "--training.epochs=1", "--quiet", *small]
    files = [f"--out={tmp_path / 'f.csv'}", f"--report={tmp_path / 'r.html'}", "--device=cpu"]
    with undrawn():
        assert main(["forecast", str(tmp_path / "sales.csv"), *flags, *files]) == 0
    written = read_table(tmp_path / "f.csv")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    sales = written.values[:, 0]
    told = f"it ranges from {sales.min():.3g} to {sales.max():.3g}, the 21 rows before it from"
    assert alts(text)[0].startswith(f"Forecast of sales from 2024-04-30 to 2024-05-05: {told}")
    assert "Bands: 80 % intervals." in Page(text).text


def test_midnight_is_left_out_where_all_stamps_are_at_midnight():
    start = np.datetime64("2024-03-30", "ns")
    days = replace(read_table(np.arange(3.0)), times=start + np.arange(3) * np.timedelta64(1, "D"))
    assert when(days, 1) == "2024-03-31"
    assert when(replace(days, time_zone="UTC"), 1) == "2024-03-31"
    hours = replace(days, times=start + np.arange(3) * np.timedelta64(12, "h"))
    assert [when(hours, k) for k in range(3)] == [
        "2024-03-30 00:00",
        "2024-03-30 12:00",
        "2024-03-31 00:00",
    ]
    # midnights of Berlin, over the change to summer time, in UTC
    berlin = np.array(["2024-03-30T23", "2024-03-31T22", "2024-04-01T22"], dtype="M8[ns]")
    assert when(replace(days, times=berlin, time_zone="Europe/Berlin"), 1) == "2024-04-01"
    assert when(replace(days, time_zone="Europe/Berlin"), 0) == "2024-03-30 01:00+01:00"
    assert when(replace(days, times=np.arange(3)), 2) == "2"


@pytest.fixture(scope="module")
def explained(classes: Classes) -> CaseExplanation:
    model, cases = classes
    return model.explain(cases.subset(np.array([0])))


@pytest.mark.parametrize(
    ("drop", "words"),
    [
        (0.006, "It drops most, by 0.01, without channel 1 in steps"),
        (0.004, "It drops by less than 0.005, whichever part is hidden."),
        (0.0, "It does not drop, whichever part is hidden."),
        (-0.1, "It does not drop, whichever part is hidden."),
    ],
)
def test_a_drop_that_rounds_to_nothing_is_said_plainly(explained: CaseExplanation, drop, words):
    importance = np.full_like(explained.importance, min(drop, 0) - 0.2)
    importance[0, 1, 2] = drop
    with undrawn():
        told = case_importance_section(replace(explained, importance=importance), ["one"]).body
    assert words in Page(told).text
    assert "by 0.00," not in told


def test_per_cents_stay_with_their_numbers(pages: tuple[str, str]):
    assert "70&nbsp;% of it" in page("t", [Section("a", "A", "<p>70 % of it</p>")])
    for text in pages:
        assert re.search(r"\d&nbsp;%", text)
        data = "<(script|style).*?</|src='[^']*'"
        assert not re.search(r"\d %", re.sub(data, "", text, flags=re.DOTALL))


@pytest.mark.parametrize("channels", [2, 12, 40])
def test_a_key_says_which_line_is_which_channel(channels: int):
    from matplotlib.colors import to_rgba

    values = np.arange(5.0) + np.arange(channels)[:, None]
    with canvas.drawing(4, 2) as figure:
        axes = figure.add_subplot()
        canvas.draw_series(axes, np.arange(5), values)
        figure.draw_without_rendering()
        _, key = figure.axes
        (bar,) = [one for one in key.collections if one.get_array() is not None]
        lines = [to_rgba(line.get_color()) for line in axes.lines]
        np.testing.assert_allclose(bar.cmap(bar.norm(np.arange(channels))), lines, atol=0.003)
        ticks = [tick for tick in key.get_yticks() if 0 <= tick < channels]
        assert ticks[0] == 0
        assert all(tick == round(tick) for tick in ticks)
        assert min(channels, 4) <= len(ticks) <= 9 or channels == 2
        assert key.get_ylabel() == "channel"
        assert axes.get_window_extent().x1 < key.get_window_extent().x0  # not over the data
    assert "channel" not in plots.case_lines(values[:1])
