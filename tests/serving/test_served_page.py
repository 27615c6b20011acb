"""The page of `convtimenet serve`: what it shows of an answer, and what without the token."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from browsing import drop, page
from served import shops

TOKEN = "0123456789abcdef-secret"
KNOWN = "() => models !== null"
SHUT = "() => !document.getElementById('enter').hidden"
FILES = (
    "/",
    "/page/app.css",
    "/page/parts.js",
    "/page/chart.js",
    "/page/models.js",
    "/page/plotly.js",
)


@pytest.fixture(scope="module")
def behind_token(started, models) -> str:
    return started(models, token=TOKEN)


def downloaded(one: Any) -> tuple[str, list[list[str]]]:
    """Name and rows of the answer as a file."""
    with one.expect_download() as caught:
        one.locator("#download").click()
    text = Path(caught.value.path()).read_text(encoding="utf-8")
    return caught.value.suggested_filename, [*csv.reader(io.StringIO(text))]


def traces(one: Any) -> dict[str, Any]:
    """What is drawn, by name."""
    one.wait_for_selector("#chart .main-svg")
    found = one.evaluate(
        "document.getElementById('chart').data.map(({x, y, name}) => [name, x, y])"
    )
    return {name: (x, y) for name, x, y in found}


def test_the_page_is_open_and_says_nothing_without_the_token(behind_token, started, models):
    with httpx.Client(base_url=behind_token) as web:
        for path in FILES:
            answer = web.get(path)
            assert answer.status_code == 200, path
            for name in ("hourly", "monthly", "visitors", "promo"):
                assert name not in answer.text or path == "/page/plotly.js", (path, name)
        policy = web.get("/").headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "frame-ancestors 'none'" in policy
        for path in ("/models", "/page/app.js", "/page/", "/page/../models", "/openapi.json"):
            assert web.get(path).status_code == 401, path
        # what is open takes no bodies, which would take of the memory for those of others
        assert web.request("GET", "/", content=b"x").status_code == 401
        assert web.post("/v2/health/live", content=iter([b"x"])).status_code == 401
        for path in ("/", "/v2/health/live", "/v2/health/ready"):
            answer = web.head(path)
            assert (answer.status_code, answer.content) == (200, b"")
            assert answer.headers["content-length"] == str(len(web.get(path).content))
        web.headers["authorization"] = f"Bearer {TOKEN}"
        assert web.get("/page/app.js").status_code == 404
        named = {one["name"]: one for one in web.get("/models").json()["models"]}
    assert 'curl -H "Authorization: Bearer $CONVTIMENET_TOKEN" ' in named["hourly"]["call"]
    assert named["shops"] == {
        "name": "shops",
        "call": named["shops"]["call"],
        "task": "forecast",
        "h": 4,
        "step": "1 day",
        "time": "ds",
        "id": "unique_id",
        "channels": ["y"],
        "known_ahead": ["promo"],
        "known_so_far": ["visitors"],
        "fixed": [],
    }
    assert (named["gestures"]["channels"], named["gestures"]["classes"]) == (2, ["down", "up"])
    assert (named["sizes"]["task"], named["sizes"]["classes"]) == ("regress", [])


@pytest.mark.app
def test_drop_a_table_see_the_forecast_and_download_it(documented):
    """Without a token; and of a model with known rows ahead and several series, below."""
    address, folder = documented
    sales = (folder / "sales.csv").read_text()
    with page(address, KNOWN) as one:
        assert not one.locator("#enter").is_visible()
        assert "a row every day: times" in one.locator("#reads").text_content()
        assert one.locator("#calls pre").all_text_contents()[0] == (
            "curl --data-binary @table.csv -H 'Content-Type: text/csv' "
            f"'{address}/forecast?model=sales'"
        )
        drop(one, "text.csv", "date,units\n2024-01-01,many\n")
        one.wait_for_selector("#problem:not([hidden])")
        refusal = one.locator("#problem").text_content()
        sent = {"content": "date,units\n2024-01-01,many\n", "headers": {"content-type": "text/csv"}}
        said = httpx.post(f"{address}/forecast?h=6&level=80&model=sales", **sent).json()["error"]
        assert refusal == said["message"]

        one.locator("#levels input[value='95']").check()
        drop(one, "sales.csv", sales)
        drawn = traces(one)
        assert not one.locator("#problem").is_visible()
        assert one.locator("#title").text_content() == "sales.csv: forecast with sales"
        assert one.locator("#drawn").text_content() == ""
        assert one.evaluate("document.activeElement.id") == "h-result"
        name, (head, *rows) = downloaded(one)
        assert name == "sales-forecast.csv"
        want = httpx.post(
            f"{address}/forecast?level=80&level=95",
            content=sales,
            headers={"content-type": "text/csv"},
        )
        assert [head, *rows] == [*csv.reader(io.StringIO(want.text))]
        times = [row[0] for row in rows]
        assert times[0] == "2024-04-10"
        values = np.array([row[1:] for row in rows], float)
        assert drawn["forecast"] == (times, values[:, 0].tolist())
        assert drawn["95 % interval"][1] == values[:, head.index("units-hi-95") - 1].tolist()
        known = [line.split(",") for line in sales.splitlines()[-60:]]
        assert drawn["known"] == ([day for day, _ in known], [float(y) for _, y in known])
        shown = one.locator("#rows tbody tr").all_text_contents()
        assert shown == ["".join(row) for row in rows]
        assert (
            one.locator("#chart")
            .get_attribute("aria-label")
            .startswith("The forecast after the end of the file. known, from ")
        )

        one.locator("#model").select_option("gestures")
        assert "the classes “down”, “up”" in one.locator("#reads").text_content()
        drop(one, "sales.csv", sales)
        one.locator("#problem", has_text="sales.csv: found a time column 'date'").wait_for()
        assert "choose a forecasting model" in one.locator("#problem").text_content()
        cases = "id," + ",".join(f"t{t}" for t in range(8)) + "\n"
        cases += "\n".join(
            f"c{i}," + ",".join(f"{np.sin(t / (1 + i)):.4f}" for t in range(8)) for i in (0, 1)
        )
        drop(one, "new.csv", cases)
        one.locator("#title", has_text="new.csv: 2 recordings with gestures").wait_for()
        assert not one.locator("#chart").is_visible()
        name, (head, *rows) = downloaded(one)
        assert (name, head) == ("new-answers.csv", ["case", "class", "p_down", "p_up"])
        assert [row[0] for row in rows] == ["c0", "c1"]
        assert sum(map(float, rows[0][2:])) == pytest.approx(1, abs=1e-5)


@pytest.mark.app
def test_with_a_token_by_keyboard_and_with_rows_ahead(behind_token, by_name):
    with page(behind_token, SHUT, viewport={"width": 390, "height": 844}) as one:
        assert not one.locator("#try").is_visible()
        assert not one.locator("#problem").is_visible()
        assert one.evaluate("document.activeElement.id") == "token"
        one.keyboard.type("a wrong token, as it is")
        one.keyboard.press("Enter")
        one.wait_for_selector("#problem:not([hidden])")
        assert (
            one.locator("#problem").text_content().startswith("expected the server's token, found")
        )
        assert not one.locator("#try").is_visible()
        one.locator("#token").fill(TOKEN)
        one.keyboard.press("Enter")
        one.wait_for_function(KNOWN)
        assert not one.locator("#enter").is_visible()
        assert (
            one.evaluate("Object.keys(localStorage).length + Object.keys(sessionStorage).length")
            == 0
        )
        assert TOKEN not in one.content() + one.url
        assert one.evaluate("document.documentElement.scrollWidth") <= 390

        one.locator("#model").select_option("shops")
        one.locator("#h").fill("3")
        drop(one, "shops.csv", shops().to_csv(index=False))
        one.locator("#busy", has_text="Give the values known ahead as well.").wait_for()
        plan = shops(h=4)[["unique_id", "ds", "promo"]]
        drop(one, "plan.csv", plan.groupby("unique_id").head(3).to_csv(index=False), "#ahead-box")
        first = traces(one)
        want = by_name["shops"].predict(shops(), plan.groupby("unique_id").head(3), h=3, level=[80])
        assert one.locator("#shown option").all_text_contents() == ["north", "south", "west"]
        assert first["forecast"][1] == pytest.approx(want["ConvTimeNet"][:3].tolist(), abs=1e-4)
        one.locator("#shown").select_option(label="west")
        assert traces(one)["forecast"][1] == pytest.approx(
            want["ConvTimeNet"][6:].tolist(), abs=1e-4
        )
        assert traces(one)["80 % interval"][1] == pytest.approx(
            want["ConvTimeNet-hi-80"][6:].tolist(), abs=1e-4
        )
        assert traces(one)["known"][1] == pytest.approx(shops()["y"][120:].tolist(), abs=1e-4)
        assert len(downloaded(one)[1]) == 10
        one.reload()  # the token is gone with the page
        one.wait_for_function(SHUT)
        assert not one.locator("#try").is_visible()
