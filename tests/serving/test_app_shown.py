"""What `convtimenet app` shows, in a browser (`make app-test`): the forecast's chart, labelled
recordings from the file to the answers, kinds of tables, settings."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browsing import OTHER, App, app, drop, mislabelled, page, weekly

from convtimenet.serving.workbench.samples import SAMPLES

pytestmark = pytest.mark.app

NAMES = [f"a shop with a name of more than fifteen letters <i>{n}</i>, no. {n}" for n in range(5)]
# where a point of a line of the forecast's chart is on the screen
PLACE = """([line, point]) => {
  const box = document.getElementById("forecast");
  const { x, y } = box.data[charts.get(box).curves[line]];
  const { xaxis, yaxis } = box._fullLayout;
  const { left, top } = box.getBoundingClientRect();
  return [left + xaxis._offset + xaxis.d2p(x[point]), top + yaxis._offset + yaxis.d2p(y[point])];
}"""
DRAWN = """() => document.getElementById("forecast").data.map(({ name, line, fillcolor, x }) =>
  ({ name, colour: line.color, dash: line.dash, fill: fillcolor, n: x.length }))"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with app(tmp_path_factory.mktemp("app")) as one:
        yield one


def five_shops() -> str:
    days = np.datetime64("2024-01-01") + np.arange(90)
    rows = [
        f"{name.replace(',', ';')},{day},{1000 * n + 50 + 10 * ((i + n) % 7) + 3 * (i * i % 11)}"
        for n, name in enumerate(NAMES)
        for i, day in enumerate(days)
    ]
    return "shop,date,units\n" + "\n".join(rows) + "\n"


def ready(one: Any, name: str) -> None:
    """Wait until this file was read."""
    one.locator("#name", has_text=name).wait_for(timeout=60_000)
    one.locator("#busy:empty").wait_for(state="attached", timeout=60_000)


def told(text: str) -> tuple[str, list[float]]:
    """The words before the numbers of a hover text, and these."""
    words, date, rest = re.split(r"(\d{4}-\d\d-\d\d): ", text)
    numbers = re.findall(r"[\d,]+\.\d+", rest)
    return f"{words}{date}", [float(one.replace(",", "")) for one in numbers]


def lines_of(hover: Any) -> str:
    """The lines of a hover text, which are put together to one."""
    return " ".join(hover.locator("tspan.line").all_text_contents())


def test_the_chart_of_a_forecast(running: App):
    """By mouse, by keyboard, on a phone in dark mode; any series can be picked."""
    names = [f"{name.replace(',', ';')}, units" for name in NAMES]
    with page(running.address) as one:
        drop(one, "shops.csv", five_shops())
        ready(one, "shops.csv")
        one.locator("#h").fill("3")
        one.get_by_label("95 %").check()
        one.get_by_role("button", name="Forecast").click()
        one.locator("#picker").wait_for(timeout=120_000)
        csv = pd.read_csv(io.StringIO(running.http.get("/app/files/forecast.csv").text))
        assert one.locator("#forecast-words").text_content() == (
            "Dashed: the forecast; shaded: its intervals of 80 and 95 %. "
            "Drawn: the first 4 of 5 series. Any can be picked."
        )
        # a series has one colour: what is known, two bands of two lines each, the forecast
        drawn = one.evaluate(DRAWN)
        assert len(drawn) == 24
        colours = [drawn[6 * n]["colour"] for n in range(4)]
        assert len(set(colours)) == 4
        for n, colour in enumerate(colours):
            known, _, wide, _, narrow, ahead = drawn[6 * n : 6 * n + 6]
            assert (known["n"], ahead["n"], ahead["dash"]) == (90, 3, "dash")
            assert {part["colour"] for part in (wide, narrow, ahead)} == {colour}
            assert [wide["fill"], narrow["fill"]] == [f"{colour}33", f"{colour}55"]
            assert [wide["name"], narrow["name"]] == ["95 % interval", "80 % interval"]

        # the mouse on the second step of the third series
        hover = one.locator("#forecast .hovertext")
        one.locator("#forecast").scroll_into_view_if_needed()

        def pointed(line: int, point: int) -> tuple[str, list[float]]:
            one.mouse.move(*one.evaluate(PLACE, [line, point]))
            hover.wait_for()
            return told(lines_of(hover))

        def row(series: int, step: int) -> tuple[str, list[float]]:
            one = csv.iloc[3 * series + step]
            ends = ("", "-lo-80", "-hi-80", "-lo-95", "-hi-95")
            return one["date"], [one[f"ConvTimeNet{end}"] for end in ends]

        words, numbers = pointed(5, 1)
        date, expected = row(2, 1)
        assert words.replace(" ", "") == f"{names[2]}, forecast{date}".replace(" ", "")
        assert numbers == pytest.approx(expected, rel=1e-5)

        # the fifth series, which is not drawn, by the list
        assert one.locator("#found").text_content() == "5 of 5"
        options = one.locator("#picked option").all_text_contents()
        assert options == ["the first 4 together", *names]
        one.get_by_label("Series to show").select_option(names[4])
        one.locator("#forecast .legendtext", has_text="no. 4").wait_for()
        legend = one.locator("#forecast .legendtext").all_text_contents()
        assert legend == [names[4], "95 % interval", "80 % interval", "forecast"]
        one.mouse.move(0, 0)
        assert pointed(1, 2)[1] == pytest.approx(row(4, 2)[1], rel=1e-5)
        assert "Drawn" not in one.locator("#forecast-words").text_content()
        # and the fourth by a search
        one.get_by_label("Search for a series").fill("NO. 3")
        one.locator("#forecast .legendtext", has_text="no. 3").wait_for()
        assert one.locator("#found").text_content() == "1 of 5"
        assert one.locator("#picked option").all_text_contents() == [names[3]]
        one.get_by_label("Search for a series").fill("")
        assert one.locator("#picked option:checked").text_content() == names[3]

    size = {"width": 390, "height": 900}
    with page(running.address, viewport=size, color_scheme="dark") as one:
        one.locator("#picker").wait_for()
        one.locator("#picked").focus()
        one.keyboard.press("Tab")
        assert one.evaluate("document.activeElement.id") == "search"
        one.keyboard.press("Tab")
        assert one.evaluate("document.activeElement.id") == "forecast"
        hover, said = one.locator("#forecast .hovertext"), one.locator("#pointed")
        for key, series, step in (
            ("ArrowRight", 0, 0), ("ArrowRight", 0, 1), ("ArrowDown", 1, 1), ("ArrowUp", 0, 1),
            ("ArrowRight", 0, 2), ("ArrowRight", 0, 2),
        ):  # fmt: skip
            one.keyboard.press(key)
            date, expected = row(series, step)
            words, numbers = told(said.text_content())
            assert words == f"{names[series]}, forecast, {date}"
            assert numbers == pytest.approx(expected, rel=1e-5)
            end = said.text_content().rsplit(maxsplit=1)[1]
            # Plotly draws it a little later
            App.wait_for(lambda end=end: lines_of(hover).endswith(end))
            assert told(lines_of(hover))[1] == numbers
        # the label is whole, and in the colours of the page
        inside, whole = hover.bounding_box(), one.locator("#forecast").bounding_box()
        assert whole["x"] <= inside["x"]
        assert inside["x"] + inside["width"] <= whole["x"] + whole["width"]
        card = one.evaluate("getComputedStyle(document.querySelector('section')).backgroundColor")
        shape = "getComputedStyle(document.querySelector('#forecast .hovertext path')).fill"
        assert one.evaluate(shape) == card == "rgb(31, 36, 42)"
        assert one.evaluate("document.documentElement.scrollWidth") == 390
        one.keyboard.press("Escape")
        hover.wait_for(state="detached")
        assert said.text_content() == ""


def test_recordings_from_a_dropped_file_to_the_answers(running: App, tmp_path: Path):
    """A few labels are wrong, so that there are mistakes to read of in the report."""
    text, wrong = mislabelled()
    with page(running.address) as one:
        drop(one, "gestures.csv", text)
        ready(one, "gestures.csv")
        assert one.locator("#summary").text_content().startswith("120 recordings of 48 steps, 1")
        assert one.locator("#kind-auto").text_content() == "a network, minutes"
        assert one.locator("#kind-fast").text_content() == "solved in closed form, seconds"
        assert one.get_by_label("fast").is_checked()
        # two recordings of each class, in its colour
        lines = "document.getElementById('preview').data"
        drawn = one.evaluate(f"{lines}.map(({{ name, line }}) => [name, line.color])")
        assert [name for name, _ in drawn] == ["lift"] * 2 + ["shake"] * 2 + ["swipe"] * 2
        assert drawn[::2] == drawn[1::2]
        assert len({colour for _, colour in drawn}) == 3
        legend = one.locator("#preview .legendtext").all_text_contents()
        assert legend == ["lift", "shake", "swipe"]
        one.get_by_role("button", name="Train").click()
        one.locator("#title", has_text="gestures.csv: classes").wait_for(timeout=120_000)
        assert one.locator("#scores-box h3").text_content() == "Scores on recordings held back"
        accuracy = float(one.locator("#scores tbody td").nth(1).text_content())

        report = one.frame_locator("#report")
        one.evaluate("document.getElementById('report').scrollIntoView()")
        report.get_by_role("link", name="Classes").click()  # which scrolls the page around it
        cells = report.locator("section:has(#classes) .heatmap-label")
        cells.first.wait_for()
        plot = "document.querySelector('section:has(#classes) .plot').data[0].text"
        matrix = one.frames[1].evaluate(plot)
        counts = np.array([[int(n or 0) for n in row] for row in matrix])
        drawn = [int(text) for text in cells.all_text_contents() if text]
        assert sorted(drawn) == sorted(n for n in counts.ravel() if n)
        assert counts.sum() == 24  # a fifth
        assert np.trace(counts) / 24 == pytest.approx(accuracy, abs=5e-4)
        mistakes = 24 - np.trace(counts)
        assert mistakes >= 2
        section = report.locator("section:has(#wrong)")
        words = section.locator("p").first.text_content()
        assert words.startswith(f"{mistakes} of 24 cases are wrong.")
        heads = section.locator("h3", has_text="predicted as").all_text_contents()
        assert len(heads) == min(4, mistakes)
        for text in heads:  # such as "Case 7: swipe, predicted as shake"
            found = re.fullmatch(r"\D*(\d+): (\w+), predicted as (\w+)", text)
            assert found is not None, text
            assert int(found[1]) in wrong
            assert found[2] == OTHER[found[3]]

        new = SAMPLES["gestures"].more
        assert new is not None
        drop(one, "new.csv", new(), "#drop-new")
        one.locator("#new-said", has_text="new.csv: 3 recordings.").wait_for(timeout=60_000)
        answers = [row.split("\t") for row in one.locator("#answers").inner_text().splitlines()]
        assert answers[0] == ["recording", "class", "probability"]
        assert [row[:2] for row in answers[1:]] == [["0", "shake"], ["1", "swipe"], ["2", "lift"]]
        with one.expect_download() as caught:
            one.get_by_role("link", name="Answers (CSV)").click()
        assert caught.value.suggested_filename == "gestures-answers.csv"
        table = pd.read_csv(caught.value.path())
        assert table.columns.tolist() == ["case", "class", "p_lift", "p_shake", "p_swipe"]
        assert table["class"].tolist() == ["shake", "swipe", "lift"]
        shares = [f"{100 * p:.1f} %" for p in table.iloc[:, 2:].max(axis=1)]
        assert [row[2] for row in answers[1:]] == shares


DAYS = [f"{day:02d}" for day in range(1, 31)]
# a table, how many series and rows it has, the lines that are drawn, the first values
TABLES: dict[str, tuple[str, str, int, list[float]]] = {
    "long.csv": (five_shops(), "5 series, 450 rows from 2024-01-01 to 2024-03-30", 4, [50, 63]),
    "wide.csv": (
        "date,a,b\n" + "".join(f"2024-01-{d},{d},7\n" for d in DAYS),
        "30 rows from 2024-01-01 to 2024-01-30",
        2,
        [1, 2],
    ),
    "german.csv": (
        "Datum;Umsatz\n" + "".join(f"{d}.01.2024;1.0{d},5\n" for d in DAYS),
        "30 rows from 2024-01-01 to 2024-01-30",
        1,
        [1001.5, 1002.5],
    ),
    "tabs.csv": (
        weekly(30).replace(",", "\t"),
        "30 rows from 2024-01-01 to 2024-01-30",
        1,
        [50, 57.92],
    ),
}


def test_tables_of_all_kinds_are_dropped(running: App):
    with page(running.address) as one:
        for name, (text, summary, lines, first) in TABLES.items():
            drop(one, name, text)
            ready(one, name)
            assert one.locator("#summary").text_content() == f"{summary}, a step of 1 day, no gaps."
            drawn = one.evaluate("document.getElementById('preview').data.map(({ y }) => y)")
            assert len(drawn) == lines, name
            assert drawn[0][:2] == first, name


def test_settings_follow_the_file_until_they_are_edited(running: App):
    """Gestures after a table that was run with "auto" were trained for minutes."""
    quality = "[name=quality]:checked"
    with page(running.address) as one:
        drop(one, "awk ward <i>.csv", weekly(30))
        ready(one, "awk ward <i>.csv")
        assert one.locator(quality).get_attribute("value") == "pretrained"
        kinds = [one.locator(f"#kind-{q}").text_content() for q in ("tuned", "auto", "best")]
        few = "few rows: the same as pretrained, seconds"
        assert kinds == ["too few rows to train on: the same as pretrained", few, few]
        one.get_by_label("auto").check()
        one.get_by_role("button", name="Forecast").click()
        one.locator("#title", has_text="6 steps ahead").wait_for(timeout=120_000)
        # one name, above and below
        assert one.locator("#name").text_content() == "awk ward <i>.csv"
        assert one.locator("#title").text_content() == "awk ward <i>.csv: 6 steps ahead"
        assert one.locator("#curve-box").is_hidden()  # no network was trained
        one.get_by_role("button", name="Labelled gestures").click()
        ready(one, "gestures.csv")
        assert one.locator(quality).get_attribute("value") == "fast"
        drop(one, "days.csv", weekly())
        ready(one, "days.csv")
        assert one.locator(quality).get_attribute("value") == "fast"
        # what a quality does may depend on the number of steps
        auto = one.locator("#kind-auto")
        assert auto.text_content() == "few rows: the same as fast, seconds"
        one.locator("#h").fill("1")
        assert auto.text_content() == "a network, minutes"
