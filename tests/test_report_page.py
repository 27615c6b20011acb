"""The interactive page of a report: what its data say, its size, how it behaves in a browser."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common import undrawn

from convtimenet.data.forecast_tables import future_table, write_rows
from convtimenet.data.tables import Table, read_table
from convtimenet.data.time.frequency import Frequency
from convtimenet.data.time.words import step_note, steps
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.report import _future, forecast_report
from convtimenet.report import _interactive as interactive
from convtimenet.report._canvas import outline
from convtimenet.report._classes import f1_scores
from convtimenet.report._future import future_section
from convtimenet.report._html import Section, digits_for, rounded, score_table
from convtimenet.report._page import page
from convtimenet.report._words import compared, outlook
from convtimenet.report.network import interactive as network

EVIL = "</script><b>$x$ %{y}"
CHROMIUM = Path("/usr/bin/chromium")
PATIENCE = 300_000
"""Milliseconds that a page may take, also on a busy machine."""
FLAGS = ["disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
FLAGS += ["disable-component-update", "disable-sync"]


def monthly(values: np.ndarray, start: str = "2020-01", count: int = 1) -> Table:
    months = np.arange(len(values)) * count + np.datetime64(start, "M")
    table = read_table(np.asarray(values, float))
    names = tuple(f"shop {c}" for c in range(len(table.channels)))
    return replace(
        table,
        times=months.astype("M8[ns]"),
        frequency=Frequency.parse(f"{count}MS"),
        channels=names,
    )


def ahead(table: Table, forecast: list[float]) -> Table:
    return future_table(table, np.array(forecast, float)[:, None])


def told(known: list[float], forecast: list[float], **table: Any) -> str:
    shown = monthly(np.array(known), **table)
    return outlook(shown.values[:, 0], ahead(shown, forecast), 0, np.array(forecast)).words


# --- the forecast in words -----------------------------------------------------------------------


def test_changes_below_rounding_are_none():
    """ "-5.28e-08 on average, 5.28e-08 lower", of a series of zeros."""
    forecast, then = [-7.8e-08, 2.01e-08, -1e-08], "the same 3 months a season earlier"
    assert told([0.0] * 24, forecast) == f"Next 3 months: 0 on average, as in {then}."
    assert told([-1e6] * 24, [-1e6 + 0.1, -1e6 - 0.2, -1e6]) == (
        f"Next 3 months: -1,000,000 on average, as in {then}."
    )
    assert told([-1e-9] * 24, [-2e-9] * 3) == (
        f"Next 3 months: -2e-09 on average, 1e-09 lower than in {then}."
    )


def test_a_year_of_counts_has_a_sum_and_is_compared_with_the_year_before():
    known = [90.0] * 12 + [100.0] * 12
    forecast = [100.0] * 6 + [190, *[100.0] * 4, 60]
    assert told(known, forecast) == (
        "Next 12 months: 104 on average (1,250 in all), 4 % higher than in the 12 months before. "
        "Highest in July 2022 (190), lowest in December 2022 (60)."
    )


def test_numbers_that_are_no_counts_have_no_sum():
    words = told([10.5] * 24, [9.0] * 12)
    assert words == "Next 12 months: 9 on average, 14 % lower than in the 12 months before."


def test_negative_values_are_compared_by_difference():
    words = told([-3.0, 5.0] * 12, [2.5] * 12)
    assert words == "Next 12 months: 2.5 on average, 1.5 higher than in the 12 months before."
    assert "as in the 12 months before" in told([-3.0, 5.0] * 12, [1.0] * 12)


def test_large_changes_are_told_in_words_that_fit():
    step = Frequency.parse("1MS")

    def change(before: float, mean: float) -> tuple[str, int, str]:
        return compared(np.full(24, before), step, np.full(12, mean))

    than = "than in the 12 months before"
    assert change(100, 0) == ("-100 %", -1, f", 100 % lower {than}")
    assert change(100, 0.2) == ("< -99 %", -1, f", more than 99 % lower {than}")
    assert change(100, 0.6) == ("-99 %", -1, f", 99 % lower {than}")
    assert change(1, 11) == ("+1,000 %", 1, f", 1,000 % higher {than}")
    assert change(1, 1201) == ("+1,200", 1, f", 1,200 higher {than}")
    assert change(1e-12, 4.5) == ("+4.5", 1, f", 4.5 higher {than}")
    assert change(5e-324, 4.5) == ("+4.5", 1, f", 4.5 higher {than}")


def test_part_of_a_season_is_compared_with_the_same_part():
    """The six months before would show the season: they are 10, the six of last year 20."""
    words = told([20.0] * 6 + [10.0] * 6, [22.0] * 6)
    assert words.endswith("10 % higher than in the same 6 months a season earlier.")
    assert told([20.0] * 4, [22.0] * 6) == "Next 6 months: 22 on average (132 in all)."
    words = told([20.0] * 18 + [10.0] * 6, [22.0] * 18)
    assert words.endswith("10 % higher than in the same 18 months 2 seasons earlier.")


def test_missing_values_are_said_and_too_many_give_no_comparison():
    nan = float("nan")
    words = told([*[10.0] * 9, nan, nan, nan], [10.0] * 12)
    assert words.endswith("as in the 12 months before (3 of them missing).")
    assert told([*[10.0] * 5, *[nan] * 7], [11.0] * 12) == (
        "Next 12 months: 11 on average (132 in all)."
    )


def test_one_step_and_other_steps():
    words = told([10.0] * 12, [12.0], count=12)
    assert words == "Next step (in 2032): 12, 20 % higher than in the year before."
    names = {"15min": "4 steps of 15 minutes", "1h": "4 hours", "1D": "4 days", "1": "4 steps"}
    names |= {"3MS": "4 quarters", "1B": "4 business days", "7D": "4 weeks"}
    names |= {"6MS": "4 steps of 6 months", "12MS": "4 years", "90s": "4 steps of 90 seconds"}
    for name, words in names.items():
        assert steps(4, Frequency.parse(name)) == words
    notes = {"1D": "1 day", "12MS": "1 year", "15min": "15 minutes", "2B": "2 business days"}
    for name, words in notes.items():
        assert step_note(Frequency.parse(name)) == f" (1 step = {words})"
    assert step_note(Frequency.parse("1")) == ""


# --- data of the page ----------------------------------------------------------------------------


def test_no_name_leaves_a_script_and_plots_show_it_literally():
    text = interactive.embedded({"data": [{"name": EVIL}], "layout": {}})
    assert text.count("<") == 2
    inside = re.fullmatch(r"<script [^>]*>(.*)</script>", text)
    assert inside
    assert json.loads(inside[1]) == {"data": [{"name": EVIL}], "layout": {}}
    assert interactive.label(EVIL) == "&lt;/script&gt;&lt;b&gt;&#36;x&#36; %{y}"
    with pytest.raises(ValueError, match="not JSON compliant"):
        interactive.embedded({"data": [float("nan")]})


def test_times_and_numbers_are_short():
    days = np.datetime64("2024-01-30", "ns") + np.arange(3) * np.timedelta64(1, "D")

    def written(times: np.ndarray) -> list[Any]:
        return interactive.stamps(times, interactive.unit_of(times))

    assert written(days) == ["2024-01-30", "2024-01-31", "2024-02-01"]
    assert interactive.stamps(days[:1], "m") == ["2024-01-30T00:00"]
    assert written(days + np.timedelta64(90, "m"))[0] == "2024-01-30T01:30"
    assert written(days + np.timedelta64(90, "s"))[0] == "2024-01-30T00:01:30"
    assert written(days + np.timedelta64(5, "ns"))[0].endswith("T00:00:00.000000005")
    assert written(np.arange(2)) == [0, 1]
    found = interactive.numbers(np.array([[1 / 3, np.nan], [np.inf, 1234567.0]]))
    assert found == [[0.3333333, None], [None, 1234567.0]]
    assert interactive.numbers(np.array([[1 / 3, 2 / 3]])) == [[0.333333, 0.666667]]


def test_a_high_level_is_not_drawn_flat():
    values = 1e8 + np.arange(0, 60, 10) + 1 / 3
    drawn = [100000000.33, 100000010.33, 100000020.33, 100000030.33, 100000040.33, 100000050.33]
    assert interactive.numbers(values) == drawn
    assert interactive.form_of(values) == ",.11~r"
    assert interactive.form_of(values - 1e8) == ",.6~r"
    assert interactive.form_of(1e9 + np.array([0.0, 1])) == ".13~g"
    # a flat forecast has the digits of the plot that it lies in
    found, _ = interactive.forecast_values(values[:4], values[4:5, None], 4)
    assert found[-1] == drawn[4:5]
    texts = [rounded(value, digits_for(values)) for value in (*values[:2], np.nan)]
    assert texts == ["100,000,000.33", "100,000,010.33", ""]
    assert digits_for(np.array([45123456.0, 9, np.nan])) == 8
    assert digits_for(np.array([-1.7e308, 1.7e308])) == 6
    assert digits_for(np.array([0.1 + 0.2, 0.3])) == 15
    table = monthly(np.array([45123400.0, 45123450.0] * 12))
    body = future_section(table, ahead(table, [45123456.0, 45123412.5])).body
    assert '<td class="number">45,123,456</td>' in body
    assert '<td class="number">45,123,412.5</td>' in body


def test_numbers_are_aligned_to_the_right_and_names_to_the_left():
    columns = ["true class", "predicted", "cases", "share"]
    table = score_table("a", columns, [["up", "down", "3", "5 %"]], numbers=True)
    assert '<th scope="col">predicted</th><th scope="col" class="number">cases</th>' in table
    assert '<td>down</td><td class="number">3</td><td class="number">5 %</td>' in table
    assert '<th scope="col">share</th>' in score_table("a", columns, [], numbers=True)


def test_the_forecast_can_be_downloaded_and_read_without_scripts():
    table = monthly(np.arange(24.0)[:, None] * [1, 2])
    names = [f"shop {c}{end}" for c in range(2) for end in ("", "-lo-80", "-hi-80")]
    answers = np.arange(3.0)[:, None] + np.array([10, 5, 15, 20, 15, 25])
    body = future_section(table, future_table(table, answers, names)).body
    link = re.search(r'download="forecast.csv" href="data:text/csv;base64,([^"]*)"', body)
    assert link
    csv = base64.b64decode(link[1]).decode().splitlines()
    assert csv[0] == "time,shop 0,shop 0-lo-80,shop 0-hi-80,shop 1,shop 1-lo-80,shop 1-hi-80"
    assert csv[1] == "2022-01-01,10.0,5.0,15.0,20.0,15.0,25.0"
    row = '<tr><th scope="row">2022-03-01</th><td class="number">12</td>'
    assert f'{row}<td class="number">7</td><td class="number">17</td></tr>' in body
    assert '<th scope="row">shop 1</th><td class="number">21</td>' in body
    assert "80&nbsp;%" not in body  # the page joins them
    assert "Forecasts of 2 channels: 0 higher on average than before, 2 lower." in body


def long_forecast(h: int) -> tuple[Table, Table]:
    """A table of 30 hourly series, and a forecast of it with three levels."""
    rng, hours = np.random.default_rng(0), np.arange(1500 + h)
    values = 100 * np.sin(hours[:, None] / 12 * np.pi + np.arange(30)) + 300
    values += 10 * rng.standard_normal(values.shape)
    table = replace(
        read_table(values[:1500]),
        times=np.datetime64("2024-01-01", "ns") + hours[:1500] * np.timedelta64(1, "h"),
        frequency=Frequency.parse("1h"),
        channels=tuple(f"store {c}" for c in range(30)),
    )
    ends = ("", "-lo-95", "-lo-80", "-lo-50", "-hi-50", "-hi-80", "-hi-95")
    spread = np.array([0, -60, -40, -20, 20, 40, 60])
    answers = values[1500:, :, None] + spread * rng.uniform(0.8, 1.2, (h, 30, 1))
    names = [f"{name}{end}" for name in table.channels for end in ends]
    return table, future_table(table, answers.reshape(h, -1), names)


def test_an_outline_keeps_ends_extremes_and_gaps():
    values = np.zeros(1000)
    values[[17, 503, 980]] = 5, -7, np.nan
    kept = outline(values, 10)
    assert len(kept) <= 32
    assert {0, 17, 503, 980, 999} <= {*kept.tolist()}
    assert (np.diff(kept) > 0).all()
    assert outline(values[:30], 10).tolist() == [*range(30)]
    assert 0 < len(outline(np.full(100, np.nan), 10)) < 30


@pytest.mark.parametrize(("h", "shown"), [(168, 30), (720, 7)])
def test_long_forecasts_keep_the_page_small(h: int, shown: int):
    """Of 3 MB, half a MB is left for the sections that follow."""
    table, future = long_forecast(h)
    body = future_section(table, future).body
    assert len(page("stores", [Section("future", "The forecast", body)]).encode()) < 2_500_000
    link = re.search(
        r'download="forecast.csv.gz" href="data:application/gzip;base64,([^"]*)"', body
    )
    if shown == 30:
        assert link
        csv = gzip.decompress(base64.b64decode(link[1])).decode().splitlines()
        assert len(csv) == 1 + h
        last = [float(cell) for cell in csv[-1].split(",")[1:]]
        assert last == pytest.approx(future.values[-1], rel=1e-4)
        assert "left out" not in body
    else:
        assert not link
        assert "The forecast as CSV is left out: its 720 rows would make this page too la" in body
        assert f"Shown are the first {shown} of 30 channels." in body
    data = re.search(r'<script type="application/gzip" class="figure">(.*?)</script>', body)
    assert data
    plot = json.loads(gzip.decompress(base64.b64decode(data[1])))
    assert [one["name"] for one in plot["choices"]] == list(table.channels[:shown])
    assert plot["choices"][-1]["y"][-1] == pytest.approx(future.values[:, 7 * (shown - 1)], 1e-4)
    # without scripts there are pictures and a table
    assert body.count("<img") == 4
    assert body.count("<tr>") >= h


def test_the_directions_are_those_of_all_forecasts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_future, "PICKED", 2)
    table = monthly(np.full((24, 5), 10.0))
    with undrawn():
        section = future_section(table, future_table(table, np.full((3, 5), [11.0, 12, 9, 8, 10])))
    assert "Forecasts of 5 channels: 2 higher on average than before, 2 lower, 1 un" in section.body
    assert "Shown are the first 2 of 5 channels" in section.body


def test_levels_are_numbers_though_a_column_has_the_name_of_a_bound():
    table = replace(monthly(np.ones((24, 2))), channels=("y", "y-hi-80"))
    names = ["y", "y-lo-80", "y-hi-80_", "y-hi-80", "y-hi-80-lo-80", "y-hi-80-hi-80"]
    body = future_section(table, future_table(table, np.ones((3, 6)), names)).body
    assert "Bands: 80 % intervals." in body
    assert "80_ %" not in body


def test_a_forecast_plot_holds_the_numbers_of_its_bands():
    truth, answers = np.array([1.0, np.nan, 3, 4]), np.array([[5.0, 2, 4, 6, 8], [6, 3, 5, 7, 9]])
    figure = interactive.forecast_window(
        np.arange(6), truth, answers, ["80", "95"], ylabel=EVIL, xlabel="t"
    )
    known, join, low95, high95, low80, high80, forecast = figure["data"]
    assert figure["xs"] == [[0, 1, 2, 3], [3, 4], [4, 5]]
    assert (known["x"], known["y"]) == (0, [1, None, 3, 4])
    assert (join["x"], join["y"]) == (1, [4, 5])
    assert [one["y"] for one in (low95, high95, low80, high80)] == [[2, 3], [8, 9], [4, 5], [6, 7]]
    assert (high95["name"], high80["name"]) == ("95 % interval", "80 % interval")
    assert {one["x"] for one in (low95, high95, low80, high80)} == {2}
    assert (forecast["x"], forecast["y"]) == (2, [5, 6])
    (shade,) = figure["layout"]["shapes"]
    assert (shade["x0"], shade["x1"]) == (3, 5)
    assert figure["layout"]["yaxis"]["title"]["text"] == interactive.label(EVIL)


def test_plots_of_networks_lie_where_their_numbers_are():
    values, spans = np.array([[1.0, 2, 3, 4]]), np.array([[0, 2], [2, 4]])
    heat, edges = np.array([[0.5, np.nan], [-1.0, 0.25]]), np.array([0.5, np.nan, 2.0])
    labels = {"ylabel": EVIL, "rows_label": "steps ahead", "heat_label": "change"}
    bars = {"bars": np.array([0.75, np.nan]), "bars_label": "mean"}
    panels = network.importance_panels(
        values, spans, heat, edges, edges + 1, now=4, first_row=1, **labels, **bars
    )
    bar, cells, patches, line = panels["data"]
    assert (bar["x"], bar["width"], bar["y"]) == ([-3.5, -1.5], [2, 2], [0.75, None])
    assert bar["customdata"] == ["steps -4 to -3", "steps -2 to -1"]
    assert (cells["z"], cells["x"], cells["y"]) == (
        [[0.5, None], [-1, 0.25]], [-4.5, -2.5, -0.5], [0.5, 1.5, 2.5],
    )  # fmt: skip
    assert (cells["colorscale"], cells["zmin"], cells["zmax"]) == ("signed", -1, 1)
    assert (patches["x"], patches["y"]) == (
        [-3.5, -2.5, None, -2, -1, None],
        [0, 0, None, 2, 2, None],
    )
    assert (line["x"], line["y"]) == ([-4, -3, -2, -1], [1, 2, 3, 4])
    assert [one.get("yaxis", "y") for one in (bar, cells, patches, line)] == ["y2", "y3", "y4", "y"]
    assert panels["layout"]["yaxis"]["title"]["text"] == interactive.label(EVIL)
    assert panels["layout"]["yaxis3"]["tickvals"] == [1, 2]
    tops = [panels["layout"][f"yaxis{k}"]["domain"] for k in ("", 2, 3, 4)]
    assert tops[0][1] == 1
    assert all(above[0] > below[1] for above, below in pairwise(tops))
    assert tops[-1][0] == pytest.approx(0)

    boxes = {"stride": 2, "patch_size": 3, "ylabel": "y"}
    shift = np.array([-0.5, np.nan, 1.0])
    drawn = network.patch_boxes(values, edges, edges + 2, shift, **boxes)
    uniform, earlier, later, _ = drawn["data"]
    assert (uniform["y"], uniform["base"], uniform["x"]) == ([1, 3], [0, 4], [2, 2])
    assert (earlier["y"], earlier["base"], earlier["x"]) == ([1], [0.5], [2])
    assert (later["customdata"], later["marker"]["opacity"]) == ([[2, 4, 1]], [1])
    assert earlier["marker"]["opacity"] == [0.65]

    # of large maps the means of blocks are drawn
    weight = np.arange(100.0 * 300).reshape(100, 300)
    drawn = network.linear_map(weight)["data"][0]
    cells = np.array(drawn["z"])
    assert cells.shape == (64, 128)
    assert (drawn["x"][0], drawn["x"][-1]) == (-300.5, -0.5)
    assert (drawn["y"][0], drawn["y"][-1]) == (0.5, 100.5)
    rows, columns = np.diff(drawn["y"]), np.diff(drawn["x"])
    whole = rows @ cells @ columns
    assert whole == pytest.approx(weight.sum(), rel=1e-3)
    assert cells[0, 0] == weight[: int(rows[0]), : int(columns[0])].mean()
    small = network.kernel_map(np.array([[1.0, -2, 3]]))["data"]
    assert (small[0]["z"], small[0]["x"]) == ([[1, -2, 3]], [-1.5, -0.5, 0.5, 1.5])
    assert (small[1]["x"], small[1]["y"]) == ([-1, 0, 1], [1, 2, 3])
    counts = network.move_histograms(np.array([0.0, 1, 1, -1]), np.zeros(4))["data"]
    assert [sum(one["y"]) for one in counts] == [100, 100]


def test_plots_of_labelled_runs_hold_their_numbers():
    counts = np.array([[3, 1], [0, 0]])
    heat = interactive.confusion_matrix(counts, ["a", EVIL])["data"][0]
    assert heat["z"] == [[75, 25], [0, 0]]
    assert heat["customdata"][0][1] == ["a", interactive.label(EVIL), 1]
    assert heat["text"] == [["3", "1"], ["", ""]]
    equal, dots = interactive.predicted_against_true(np.array([1.0, 2]), np.array([0.0, 5]))["data"]
    assert equal["x"] == equal["y"] == [0, 5]
    assert (dots["x"], dots["y"], dots["customdata"]) == ([1, 2], [0, 5], [0, 1])
    np.testing.assert_allclose(f1_scores(np.array([[4, 1], [2, 3]])), [8 / 11, 6 / 9])


# --- in a browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on 30 channels with every section."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    days = np.arange(260)
    values = np.sin(days[:, None] / 3.5 * np.pi + np.arange(30)) + np.arange(30) + 3
    values += 0.1 * rng.standard_normal(values.shape)
    table = replace(
        read_table(values),
        times=np.datetime64("2024-01-01", "ns") + days * np.timedelta64(1, "D"),
        frequency=Frequency.parse("1D"),
        channels=(*(f"store {c}" for c in range(29)), EVIL),
    )
    model = ConvTimeNetForecaster(
        14, n_epochs=1, verbose=0, device="cpu", refit=False,
        model={"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5)},
    ).fit(table)  # fmt: skip
    future = future_table(
        table,
        model.forecast_table(table, level=[80, 95]).reshape(14, -1),
        [
            f"{name}{end}"
            for name in table.channels
            for end in ("", "-lo-95", "-lo-80", "-hi-80", "-hi-95")
        ],
    )
    return forecast_report(
        tmp_path_factory.mktemp("report") / "report.html",
        model,
        table,
        model.evaluate(table, first_row=210, level=[80, 95]),
        title="stores",
        facts={"seed": "2023"},
        future=future,
    )


def test_a_page_of_30_series_is_small(report: Path):
    text = report.read_text(encoding="utf-8")
    assert text.count('id="kernels"') == 1  # nothing was left out
    assert 2_000_000 < len(text.encode()) < 3_000_000


def until(page: Any, expression: str) -> None:
    """Wait for it; the page's policy lets Playwright's own loop evaluate nothing."""
    end = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


@contextmanager
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        flags = [f"--{flag}" for flag in FLAGS]
        chromium = started.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield chromium
        chromium.close()


def test_the_page_in_a_browser(report: Path):
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.set_default_timeout(PATIENCE)
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        page.wait_for_selector(".live .main-svg")
        box = page.locator(".plot").first
        hover = page.locator(".hoverlayer").first
        heading = page.locator(".ytitle").first

        # hover, by mouse and by keyboard, shows the values of the table
        first = page.locator("table.forecast tbody tr").first.locator("td").all_text_contents()
        box.focus()
        page.keyboard.press("ArrowRight")
        label = f"forecast : {float(first[0]):.5g}".rstrip("0")
        assert label in hover.text_content()
        at = box.bounding_box()
        page.mouse.move(at["x"] + 0.9 * at["width"], at["y"] + 0.5 * at["height"])
        until(page, "document.querySelector('.hoverlayer').textContent.includes('Sep')")
        assert "95 % interval : " in hover.text_content()

        # the picker finds a series whatever its name, and switches plot, words and table
        assert heading.text_content() == "store 0"
        page.locator("input[type=search]").fill("$X$")
        until(page, "document.querySelector('.ytitle').textContent.includes('script')")
        assert heading.text_content() == EVIL
        assert page.locator("output").text_content() == "1 of 30"
        assert page.locator(".outlook").inner_text().startswith(f"{EVIL}: Next 14 days: ")
        other = page.locator("table.forecast tbody tr").first.locator("td").all_text_contents()
        assert other != first
        page.locator("input[type=search]").fill("")
        # the rows of another series are in the order of time, whatever the order before
        own = page.locator("table.forecast")
        own.get_by_role("button", name="forecast").click()
        assert own.locator("[aria-sort]").count() == 1
        page.locator("select").select_option(label="store 3")
        stamps = own.locator("tbody th").all_text_contents()
        assert stamps == sorted(stamps)
        assert own.locator("[aria-sort]").count() == 0
        until(page, "document.querySelector('.ytitle').textContent === 'store 3'")

        # tables sort by number, and back
        table = page.get_by_role("table", name="All forecasts")
        button = table.get_by_role("button", name="mean of 14 days")
        cells = "rows => rows.map(row => parseFloat(row.cells[1].textContent))"
        for direction in ("ascending", "descending"):
            button.click()
            means = table.locator("tbody tr").evaluate_all(cells)
            assert len(means) == 30
            assert means == sorted(means, reverse=direction == "descending")
        assert table.locator("th[aria-sort=descending]").count() == 1

        # every figure of the page is a plot, also inside the network
        page.evaluate("document.querySelector('details').open = true")
        places = page.locator("main figure:not(.static figure)")
        for place in places.all():
            place.scroll_into_view_if_needed()
            place.locator(".main-svg").first.wait_for()
        assert places.count() >= 12
        assert page.locator("figure img:visible").count() == 0
        own = page.locator("section[aria-labelledby=importance] .plot").first
        own.focus()
        page.keyboard.press("ArrowRight")
        assert "step \N{MINUS SIGN}" in own.locator(".hoverlayer").text_content()

        # dark mode switches the colours of all of them
        titles = "[...document.querySelectorAll('.main-svg .xtitle, .main-svg .ytitle')]"
        fills = f"[...new Set({titles}.map(one => getComputedStyle(one).fill))]"
        assert page.evaluate(fills) == ["rgb(29, 33, 38)"]
        colour = "getComputedStyle(document.querySelector('.ytitle')).fill"
        light = page.evaluate(colour)
        page.emulate_media(color_scheme="dark")
        until(page, f"{colour} === 'rgb(232, 234, 237)'")
        assert light == "rgb(29, 33, 38)"
        until(page, f"{fills}.join() === 'rgb(232, 234, 237)'")

        # in print the pictures stand in for the plots
        page.emulate_media(media="print")
        assert not box.is_visible()
        assert page.locator("figure .static img").first.is_visible()
        assert said == []
        assert asked == [report.as_uri()]

        still = chromium.new_context(java_script_enabled=False).new_page()
        still.set_default_timeout(PATIENCE)
        still.goto(report.as_uri())
        pictures = still.locator("figure img:visible")
        assert pictures.count() >= 12
        assert all(image.evaluate("image => image.naturalWidth > 100") for image in pictures.all())
        assert still.locator(".plot:visible").count() == 0


def test_a_compressed_download_is_unpacked_in_the_page(tmp_path: Path):
    table, future = long_forecast(48)
    path = tmp_path / "page.html"
    text = page("stores", [future_section(table, future)])
    assert 'download="forecast.csv.gz"' in text
    path.write_text(text, encoding="utf-8")
    expected = io.StringIO()
    write_rows(expected, future, table)
    with browser() as chromium:
        one = chromium.new_page()
        one.set_default_timeout(PATIENCE)
        one.goto(path.as_uri())
        one.wait_for_selector("a[download='forecast.csv']")
        with one.expect_download() as caught:
            one.locator("a.button").click()
        assert caught.value.suggested_filename == "forecast.csv"
        assert Path(caught.value.path()).read_text(encoding="utf-8") == expected.getvalue()
        # what is compressed is drawn
        one.wait_for_selector(".live .main-svg")
        assert one.locator("output").text_content() == "30 of 30"
