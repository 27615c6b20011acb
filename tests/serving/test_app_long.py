"""`convtimenet app` at length (`make app-test`): other files, reload, keyboard, a killed server,
and the pictures of docs/app.md."""

from __future__ import annotations

import gzip
import io
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browsing import App, app, drop, mislabelled, page, weekly
from PIL import Image

pytestmark = pytest.mark.app

PICTURES = Path(__file__).parents[2] / "docs" / "img"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with app(tmp_path_factory.mktemp("app")) as one:
        yield one


def frame(rows: int = 120) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(weekly(rows)), parse_dates=["date"])


def written(name: str) -> bytes:
    """The same table as a file of this name."""
    table, file = frame(), io.BytesIO()
    if name.endswith(".xlsx"):
        table.to_excel(file, index=False)
    elif name.endswith(".parquet"):
        table.to_parquet(file, index=False)
    elif name.endswith(".jsonl"):
        table.assign(date=table["date"].astype(str)).to_json(file, orient="records", lines=True)
    elif name.endswith(".gz"):
        return gzip.compress(weekly(120).encode())
    elif name == "german.csv":
        table.to_csv(file, index=False, sep=";", decimal=",", date_format="%d.%m.%Y")
    elif name == "utf16.tsv":
        return weekly(120).replace(",", "\t").encode("utf-16")
    return file.getvalue()


@pytest.mark.parametrize(
    "name",
    ["a.xlsx", "a.parquet", "a.jsonl", "a.csv.gz", "german.csv", "utf16.tsv"],
)
def test_other_files_give_the_same_forecast(running: App, name: str):
    def forecast() -> str:
        assert running.train(h=3)["job"]["state"] == "done"
        return running.http.get("/app/files/forecast.csv").text

    look = running.put(name, written(name)).json()["look"]
    assert (look["step"], look["rows"], look["missing"]) == ("1 day", 120, 0)
    found = forecast()
    running.put("plain.csv", weekly(120))
    numbers = [pd.read_csv(io.StringIO(text))["units"] for text in (found, forecast())]
    np.testing.assert_allclose(numbers[0], numbers[1])


def test_many_series_and_a_column_changed_by_hand(running: App):
    with page(running.address) as one:
        one.get_by_role("button", name="Four shops").click()
        one.locator("#summary", has_text="4 series").wait_for()
        one.get_by_role("combobox", name="units").select_option("not used")
        one.get_by_role("combobox", name="units").select_option("to forecast")
        one.locator("#summary", has_text="1680 rows").wait_for()
        one.get_by_label("80 %").check()  # the settings of the last run are kept
        one.get_by_role("button", name="Forecast").click()
        one.locator("#title", has_text="four-shops.csv").wait_for(timeout=120_000)
        one.get_by_text("Forecast as a table").click()
        head = one.locator("#rows th").all_text_contents()
        assert head == ["shop", "date", *(f"ConvTimeNet{end}" for end in ("", "-lo-80", "-hi-80"))]


def test_the_page_shows_what_the_server_holds(running: App):
    """After a refusal, beside another tab, of a file of the same content as the last one."""
    days = np.datetime64("2024-01-01") + np.arange(30)
    ten = [f"s{k},{day},{(i * k) % 9}" for k in range(10) for i, day in enumerate(days)]
    two = [f"{line},{i % 5}" for i, line in enumerate(weekly(4000).splitlines()[1:])]
    with page(running.address) as one:

        def shows(name: str) -> None:
            one.locator("#name", has_text=name).wait_for(timeout=60_000)
            one.locator("#busy:empty").wait_for(state="attached", timeout=60_000)

        drop(one, "ten.csv", "shop,date,units\n" + "\n".join(ten) + "\n")
        shows("ten.csv")
        assert one.locator("#drawn").text_content() == "Drawn: the first 4 of 10 series."
        words = one.locator("#preview").get_attribute("aria-label")
        assert words.startswith(
            "Preview of the data. s0, units, from 2024-01-01 to 2024-01-30: 0 to"
        )

        # the number of steps is that of the file until it is set by hand
        reason = one.locator("#reason")
        drop(one, "one.csv", weekly())
        shows("one.csv")
        assert reason.text_content() == "chosen: two seasons of 7"
        one.locator("#h").fill("3")
        assert reason.text_content() == "by default 14: two seasons of 7"
        drop(one, "same.csv", weekly())
        shows("same.csv")
        assert (one.locator("#h").input_value(), reason.text_content()) == (
            "14",
            "chosen: two seasons of 7",
        )

        # another tab gives a file: this one does not run on it
        running.put("other.csv", "\n".join(["date,units,price", *two]) + "\n")
        one.get_by_role("button", name="Forecast").click()
        one.locator("#problem", has_text="another tab has replaced it").wait_for()
        shows("other.csv")
        assert running.state()["job"] is None

        # and starts a run: a choice that is refused does not stay
        running.http.post("/app/train", json={"h": 7, "quality": "auto"})
        one.locator("#role-2").select_option("")
        one.locator("#problem", has_text="expected no training under way").wait_for()
        one.locator("#stop").wait_for()
        assert one.locator("#role-2").input_value() == "target"
        assert one.locator("#role-2").is_disabled()
        one.locator("#stop").click()
        one.locator("#said", has_text="Stopped").wait_for()
        assert not one.locator("#role-2").is_disabled()

        # which is seen when the window comes to the front
        running.put("last.csv", weekly())
        one.evaluate("dispatchEvent(new Event('focus'))")
        shows("last.csv")


def test_gaps_and_oddities_of_a_meter(running: App):
    """Settings follow the task; each result has its report, and its task after a reload."""
    with page(running.address, viewport={"width": 390, "height": 900}) as one:
        one.get_by_role("button", name="A meter with gaps").click()
        one.locator("#name", has_text="heat-meter.csv").wait_for()
        report = one.frame_locator("#report")
        for label, shown, title, legend in (
            (
                "Fill gaps",
                ["season", "levels"],
                "50 values in 6 gaps filled",
                ["filled", "80 % interval", "known"],
            ),
            (
                "Find oddities",
                ["alpha", "method", "season"],
                "11 of 1,150 values flagged",
                ["value", "flagged", "score"],
            ),
        ):
            one.get_by_role("radio", name=label).check()
            for name in ("h", "alpha", "method", "season", "levels", "quality"):
                assert one.locator(f"#{name}").is_visible() == (name in shown), name
            if "levels" in shown:
                one.get_by_label("80 %").check()
            one.get_by_role("button", name=label).click()
            one.locator("#title", has_text=title).wait_for(timeout=120_000)
            assert not one.locator("#forecast-box").is_visible()
            assert not one.locator("#scores-box").is_visible()
            one.evaluate("document.getElementById('report').scrollIntoView()")
            report.locator(".live .main-svg").first.wait_for()
            names = report.locator(".live").first.locator(".legendtext").all_text_contents()
            assert sorted(names) == sorted(legend)
            assert one.evaluate("document.documentElement.scrollWidth") == 390
        one.reload()
        one.locator("#title", has_text=title).wait_for()
        assert one.locator("[name=task]:checked").get_attribute("value") == "detect"
        assert (
            one.get_by_role("combobox", name="kW").locator(":checked").text_content()
            == "to look at"
        )
        one.get_by_role("radio", name="Forecast").check()
        assert (
            one.get_by_role("combobox", name="kW").locator(":checked").text_content()
            == "to forecast"
        )
        one.get_by_label("pretrained").check()
        one.locator("#h").fill("3")
        one.get_by_role("button", name="Forecast").click()
        one.locator("#title", has_text="heat-meter.csv: 3 steps ahead").wait_for(timeout=120_000)
        assert "--pretrained" in one.locator("#command").text_content()
        one.get_by_label("tuned").check()
        one.get_by_role("button", name="Forecast").click()
        one.locator("#command", has_text="--quality tuned").wait_for(
            state="attached", timeout=120_000
        )
        one.get_by_role("button", name="Labelled gestures").click()
        one.locator("#name", has_text="gestures.csv").wait_for()
        assert not one.locator("#pretrained").is_visible()
        assert not one.locator("#tuned").is_visible()
        assert one.get_by_label("fast").is_checked()
        assert one.locator("#start").text_content() == "Train"


def test_recordings_are_classified_and_new_ones_too(running: App):
    found = running.http.post("/app/sample/gestures").json()
    assert found["look"]["task"] == "classify"
    assert found["look"]["classes"] == [["lift", 40], ["shake", 40], ["swipe", 40]]
    state = running.train()
    assert state["result"]["scores"][0]["Accuracy"] == "1"
    more = running.http.get("/app/sample-recordings.csv").content
    answers = running.put("new.csv", more, "new").json()["answers"]
    assert [row[1] for row in answers["table"]["rows"]] == ["shake", "swipe", "lift"]
    assert answers["notices"] == []
    assert running.http.get("/app/files/answers.csv").text.startswith("case,class,p_lift,p_shake")
    wrong = running.put("new.csv", "a,b\nx,y\n", "new")
    assert wrong.status_code == 422


def test_columns_of_recordings_are_given_their_roles(running: App):
    """An id column ended it: what the message said could only be done in the file."""
    draw = np.random.default_rng(0)
    head = "who,room," + ",".join(f"t{t}" for t in range(20)) + ",move"
    values = draw.normal(np.arange(20)[:, None] % 2, 0.1, (20, 20)).round(3)
    cells = [",".join(map(str, row)) for row in values]
    lines = [f"P{i},{i % 3},{row},{'ab'[i % 2]}" for i, row in enumerate(cells)]
    with page(running.address) as one:
        one.locator("#paste-box summary").click()
        one.locator("#paste").fill("\n".join([head, *lines]))
        one.get_by_role("button", name="Use this text").click()
        one.locator("#name", has_text="pasted.csv").wait_for()
        one.locator("#kind").select_option("recordings")
        one.locator("#unread", has_text="and 'not used' for others").wait_for()
        labels = one.locator("#columns th").all_text_contents()
        assert labels == ["who", "room", "move"]
        one.get_by_label("move", exact=True).select_option("label")
        one.locator("#unread", has_text="'id' for the one that names").wait_for()
        assert one.locator("#label-col").input_value() == "move"
        one.get_by_label("who", exact=True).select_option("id")
        one.locator("#unread", has_text="the columns 'room' are not numbered").wait_for()
        one.get_by_label("room", exact=True).select_option("not used")
        one.locator("#summary", has_text="20 recordings of 20 steps, 1 channel: a (10)").wait_for()
        assert running.state()["look"]["chosen"] == {
            "label_col": "move", "id_col": "who", "ignored_cols": ["room"],
        }  # fmt: skip
        one.locator("#label-col").select_option("")
        one.locator("#notices", has_text="the column 'move' is used as the label").wait_for()
        assert one.get_by_label("move", exact=True).input_value() == ""
        one.get_by_label("who", exact=True).select_option("")
        one.locator("#unread", has_text="'who', 'move' may be the label").wait_for()


def test_the_server_outlives_its_process(running: App):
    """A crash in training is told, and the next request starts another process."""
    running.put("long.csv", weekly(4000))
    running.http.post("/app/train", json={"h": 7, "quality": "auto"})
    listed = subprocess.run(["pgrep", "-P", str(running.process.pid)], capture_output=True)
    subprocess.run(["kill", "-9", *listed.stdout.decode().split()], check=True)
    running.wait_for(lambda: running.state()["job"]["state"] != "running")
    job = running.state()["job"]
    assert job["state"] == "failed"
    assert "the training process ended (exit code -9)" in job["error"]
    assert running.put("sales.csv", weekly()).status_code == 200


def test_numbers_are_predicted_for_new_recordings(running: App):
    random = np.random.default_rng(1)
    slopes = random.uniform(-1, 1, 60)
    rows = slopes[:, None] * np.arange(20) + random.normal(0, 0.1, (60, 20))
    head = ",".join(f"t{t}" for t in range(20))
    labelled = [f"{s:.3f}," + ",".join(map(str, r)) for s, r in zip(slopes, rows, strict=True)]
    look = running.put("slopes.csv", f"label,{head}\n" + "\n".join(labelled)).json()["look"]
    assert look["task"] == "regress"
    result = running.train(task="regress")["result"]
    assert float(result["scores"][0]["R2"]) > 0.9
    new = ",".join(str(0.5 * t) for t in range(20))
    answers = running.put("new.csv", f"{head}\n{new}\n", "new").json()["answers"]
    assert float(answers["table"]["rows"][0][1]) == pytest.approx(0.5, abs=0.1)


def test_the_curve_of_a_training_grows_and_survives_a_reload(running: App):
    """Also on a phone, in dark mode; in words as well."""
    size = {"width": 390, "height": 900}
    with page(running.address, viewport=size, color_scheme="dark") as one:
        drop(one, "long.csv", weekly(2000))
        one.locator("#name", has_text="long.csv").wait_for()
        one.get_by_label("auto").check()
        one.locator("#h").fill("9")
        one.get_by_label("80 %").uncheck()
        one.get_by_label("95 %").check()
        one.get_by_role("button", name="Forecast").click()
        one.locator("#job").wait_for()
        one.reload()
        one.locator("#job").wait_for()
        assert one.locator("#name").text_content() == "long.csv"
        assert one.locator("#start").is_disabled()
        assert one.get_by_label("auto").is_checked()
        assert one.locator("#h").input_value() == "9"
        assert one.locator("#levels :checked").get_attribute("value") == "95"
        one.locator("#progress", has_text="%").wait_for(timeout=60_000)
        drawn = one.locator("#curve .scatterlayer .trace")
        one.locator("#curve-words", has_text="epoch 2 of at most").wait_for(timeout=120_000)
        assert [drawn.nth(at).locator(".point").count() for at in range(2)] == [2, 2]
        one.reload()
        one.locator("#curve .main-svg").first.wait_for()
        assert one.locator("#curve .legendtext").all_text_contents() == ["training", "validation"]
        words = one.locator("#curve-words").text_content()
        assert re.fullmatch(
            r"Training, epoch \d+ of at most \d+: training loss [\d.]+, "
            r"validation loss [\d.]+, its lowest [\d.]+ in epoch \d+\.",
            words,
        )
        assert one.get_by_role("img", name=words).count() == 1
        assert one.evaluate("document.documentElement.scrollWidth") == 390
        one.get_by_role("button", name="Stop").click()
        one.locator("#said", has_text="Stopped").wait_for()
        assert one.locator("#curve-box").is_visible()
    running.put("other.csv", weekly())
    assert running.state()["job"] is None


def test_keyboard_alone(running: App):
    with page(running.address) as one:
        one.keyboard.press("Tab")
        assert one.evaluate("document.activeElement.id") == "file"

        def tab_to(words: str) -> None:
            for _ in range(60):
                if words in one.evaluate(
                    "(document.activeElement.id + ' ' + document.activeElement.textContent).trim()"
                ):
                    break
                one.keyboard.press("Tab")
            else:
                raise AssertionError(words)
            style = "getComputedStyle(document.activeElement).outlineStyle"
            assert one.evaluate(style) == "solid"

        tab_to("Daily sales")
        one.keyboard.press("Enter")
        one.locator("#name", has_text="daily-sales.csv").wait_for()
        assert one.evaluate("document.activeElement.id") == "h-check"
        one.keyboard.press("Tab")
        tab_to("role-2")
        one.keyboard.press("End")  # not used: the last of the choices
        one.locator("#ahead-box").wait_for(state="hidden")
        assert one.evaluate("document.activeElement.id") == "role-2"
        tab_to("h")
        one.keyboard.press("Tab")
        tab_to("start")
        one.keyboard.press("Enter")
        one.locator("#job").wait_for()
        one.get_by_role("button", name="Stop").focus()
        one.keyboard.press("Enter")
        one.locator("#said", has_text="Stopped").wait_for()


def test_nothing_is_left_of_a_server_that_was_killed(tmp_path: Path):
    with app(tmp_path) as one:
        one.put("long.csv", weekly(4000))
        one.http.post("/app/train", json={"h": 7, "quality": "auto"})
        assert len(one.files()) == 1
        one.process.send_signal(signal.SIGKILL)
        one.process.wait(10)
        one.wait_for(lambda: not one.files(), 20)


def shot(one: Any, section: str, name: str) -> None:
    """A picture of the page from a section on, with 256 colours, for docs/img."""
    one.evaluate(f"document.getElementById('{section}').scrollIntoView()")
    image = Image.open(io.BytesIO(one.screenshot())).convert("RGB")
    plain = image.quantize(256, dither=Image.Dither.NONE)
    plain.save(PICTURES / f"{name}.png", optimize=True)
    assert (PICTURES / f"{name}.png").stat().st_size < 100_000


def test_pictures(running: App):
    """A forecast with a promotion known ahead, and gestures with a few wrong labels: the results at
    both sizes, in both modes, and what was read; written to docs/img."""
    running.http.post("/app/sample/sales").raise_for_status()
    state = running.train(h=14, level=[80], quality="auto")
    assert state["job"]["state"] == "done"
    rows = pd.read_csv(io.StringIO(running.http.get("/app/files/forecast.csv").text))
    assert len(rows) == 14
    sizes = ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark"))

    def pictures(name: str, drawn: str, in_report: str) -> None:
        for width, scheme in sizes:
            size = {"width": width, "height": 900}
            with page(running.address, viewport=size, color_scheme=scheme) as one:
                one.locator(drawn).first.wait_for()
                assert one.evaluate("document.documentElement.scrollWidth") == width
                one.evaluate("document.getElementById('report').scrollIntoView()")
                one.frame_locator("#report").locator(in_report).first.wait_for()
                shot(one, "result", f"{name}-{width}-{scheme}")
                if (width, scheme) == sizes[0]:
                    shot(one, "check", f"{name}-read")

    pictures("app", "#forecast .main-svg", ".live .main-svg")
    text, _ = mislabelled()
    running.put("gestures.csv", text).raise_for_status()
    assert running.train()["job"]["state"] == "done"
    new = running.http.get("/app/sample-recordings.csv").content
    running.put("new-gestures.csv", new, "new").raise_for_status()
    pictures("app-classes", "#answers td", ".tile")
