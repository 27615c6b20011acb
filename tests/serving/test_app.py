"""`convtimenet app`: its page in a browser, what it lets in, what it leaves behind."""

from __future__ import annotations

import io
import json
import re
import shlex
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from browsing import App, app, drop, page, weekly
from served import shops

from convtimenet import ConvTimeNetForecaster
from convtimenet.cli.main import main
from convtimenet.serving.workbench import child, desk, recipe, tables
from convtimenet.serving.workbench.samples import SAMPLES

TINY: dict[str, Any] = {"model": {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,)}}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with app(tmp_path_factory.mktemp("app")) as one:
        yield one


def test_drop_a_table_train_download(running: App, tmp_path: Path, monkeypatch):
    """From a wrong file to a forecast; the lines that the page shows give the same numbers."""
    with page(running.address) as one:
        drop(one, "sales.pdf", "%PDF")
        one.wait_for_selector("#problem:not([hidden])")
        words = one.locator("#problem").text_content()
        assert words.startswith("sales.pdf: expected a file that ends in .csv")
        assert not one.locator("#check").is_visible()

        drop(one, "sales.csv", weekly(gap=40))
        one.wait_for_selector("#preview .main-svg", timeout=60_000)
        assert not one.locator("#problem").is_visible()
        assert one.locator("#summary").text_content() == (
            "160 rows from 2024-01-01 to 2024-06-08, a step of 1 day, 1 value missing."
        )
        assert "1 row is missing" in one.locator("#notices").text_content()
        assert one.locator("#h").input_value() == "14"
        one.locator("#h").fill("7")
        one.locator("#start").click()
        one.wait_for_selector("#result:not([hidden])", timeout=60_000)
        assert one.locator("#title").text_content() == "sales.csv: 7 steps ahead"
        one.wait_for_selector("#forecast .main-svg")
        one.locator("#forecast .legendtext", has_text="80 % interval").wait_for()
        report = one.frame_locator("#report")
        assert report.locator("h1").text_content() == "sales.csv, 7 steps ahead"
        one.evaluate("document.getElementById('report').scrollIntoView()")
        report.locator(".live .main-svg").first.wait_for()
        assert one.locator("#report").evaluate("frame => frame.offsetHeight") > 1500
        # the report's scripts have no way to the page
        inside = one.frames[1].evaluate("() => { try { return !!parent.document } catch { } }")
        assert inside is None
        with one.expect_download() as caught:
            one.get_by_role("link", name="Forecast (CSV)").click()
        assert caught.value.suggested_filename == "sales-forecast.csv"
        csv = Path(caught.value.path()).read_text(encoding="utf-8")
        python = one.locator("#python").text_content()
        command = one.locator("#command").text_content()
    assert csv.splitlines()[0] == "date,units,units-lo-80,units-hi-80"
    assert len(csv.splitlines()) == 8

    monkeypatch.chdir(tmp_path)
    Path("sales.csv").write_text(weekly(gap=40), encoding="utf-8")
    exec(python, {})
    assert Path("sales-forecast.csv").read_text(encoding="utf-8") == csv
    Path("sales-forecast.csv").unlink()
    assert main([*command.split()[1:], "--quiet"]) == 0
    assert Path("sales-forecast.csv").read_text(encoding="utf-8") == csv

    packed = running.http.get("/app/files/model.zip")
    assert packed.headers["content-disposition"] == 'attachment; filename="sales-model.zip"'
    zipfile.ZipFile(BytesIO(packed.content)).extractall("unpacked")
    assert ConvTimeNetForecaster.load("unpacked/model").h == 7
    policy = running.http.get("/app/report").headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts allow-downloads; default-src 'none'")
    assert running.http.get("/app/files/report.html").text.count("postMessage") == 0


def test_what_was_set_stays_when_the_file_is_read_again(running: App):
    """The number of steps, columns that are too many to be shown; and no run meanwhile."""
    names = [f"s{i}" for i in range(205)]
    days = [str(np.datetime64("2024-01-01") + day) for day in range(40)]
    rows = [
        ",".join([day, *(str((i * at) % 7) for i in range(205))]) for at, day in enumerate(days)
    ]
    table = "\n".join([",".join(["date", *names]), *rows]) + "\n"
    with page(running.address) as one:
        drop(one, "wide.csv", table)
        one.locator("#name", has_text="wide.csv").wait_for(timeout=60_000)  # not that of before
        one.locator("#busy:empty").wait_for(state="attached", timeout=60_000)
        usual = one.locator("#h").input_value()
        one.locator("#h").fill("5")
        disabled: list[bool] = []

        def held(route: Any) -> None:
            disabled.append(one.locator("#start").is_disabled())
            route.continue_()

        one.route("**/app/look", held)
        one.locator("#role-3").select_option("")  # its third column
        one.locator("#busy:empty").wait_for(state="attached", timeout=60_000)
        assert disabled == [True]
        assert not one.locator("#start").is_disabled()
        assert one.locator("#h").input_value() == "5"
        chosen = running.state()["look"]["chosen"]["target_cols"]
        assert chosen == [name for name in names if name != "s2"]
        drop(one, "wide.csv", table)  # a file of the same name is another file
        one.locator("#busy:empty").wait_for(state="attached", timeout=60_000)
        assert len(running.state()["look"]["chosen"]["target_cols"]) == 205
        assert one.locator("#h").input_value() == usual != "5"


def test_stop_ends_the_process_and_the_next_run_works(running: App):
    with page(running.address) as one:
        drop(one, "long.csv", weekly(4000))
        one.locator("#name", has_text="long.csv").wait_for()
        one.get_by_label("auto").check()
        one.locator("#start").click()
        one.wait_for_selector("#job:not([hidden])")
        assert running.put("other.csv", weekly()).status_code == 409
        one.locator("#stop").click()
        one.locator("#said", has_text="Stopped").wait_for()
        assert one.evaluate("document.activeElement.id") == "start"
    state = running.state()
    assert state["job"]["state"] == "stopped"
    assert state["result"] is None
    assert not [*running.files()[0].glob("next")]
    running.put("sales.csv", weekly())
    assert running.train(h=3)["job"]["state"] == "done"
    assert len(running.state()["result"]["table"]["rows"]) == 3


@pytest.mark.parametrize(
    ("settings", "file", "head"),
    [
        ({"task": "impute", "level": [80]}, "filled", "date,units,units-lo-80,units-hi-80"),
        (
            {"task": "detect", "alpha": 0.02, "season": 7},
            "anomalies",
            "date,units,units-score,units-p,units-anomaly",
        ),
    ],
)
def test_gaps_and_anomalies_and_their_lines(
    running: App, settings, file, head, tmp_path: Path, monkeypatch, capsys
):
    """What the page gives is what the Python and the command beside it give."""
    running.put("sales.csv", weekly(gap=40))
    state = running.train(**settings)
    assert state["job"]["state"] == "done", state["job"]
    result = state["result"]
    answer = running.http.get(f"/app/files/{file}.csv")
    assert answer.headers["content-disposition"] == f'attachment; filename="sales-{file}.csv"'
    csv = answer.text
    assert csv.splitlines()[0] == head
    assert len(csv.splitlines()) == 161
    assert "1 row is missing" in result["notices"][0]
    assert "<h1>sales.csv" in running.http.get("/app/report").text
    assert running.http.get("/app/files/model.zip").status_code == 404
    monkeypatch.chdir(tmp_path)
    Path("sales.csv").write_text(weekly(gap=40), encoding="utf-8")
    exec(result["python"], {})
    written = Path(f"sales-{file}.csv")
    assert written.read_text(encoding="utf-8") == csv
    written.unlink()
    assert main([*result["command"].split()[1:], "--quiet"]) == 0
    assert written.read_text(encoding="utf-8") == csv
    title = result["title"].removeprefix("sales.csv: ")
    assert f"{title}: sales-{file}.csv" in capsys.readouterr().out


def test_the_lines_of_a_forecast_without_training():
    lines = recipe.of_table("a.csv", {"freq": "1D"}, 3, [], "pretrained", None)
    assert "ConvTimeNetForecaster(3, quality='pretrained', freq='1D')" in lines["python"]
    assert lines["command"].startswith("convtimenet forecast a.csv --h 3 --pretrained --freq=1D ")


def test_losses_of_each_training_reach_the_page():
    """From a training's callback through the line of JSON to the state that the page shows."""
    sent = io.StringIO()
    model = ConvTimeNetForecaster(
        2, input_size=8, n_epochs=2, **TINY, verbose=0, callbacks=[child.Losses(child.Said(sent))]
    )
    model.fit(np.sin(np.arange(60.0))[:, None])
    losses: list[dict[str, Any]] = []
    for line in sent.getvalue().splitlines():
        losses = desk.with_epoch(losses, json.loads(line)["epoch"])
    first, second = losses
    assert model.scored_ is not None
    epochs = model.scored_.history_.epochs
    assert first == {
        "training": "training",
        "epochs": 2,
        "train": [one.train_loss for one in epochs],
        "valid": [one.valid["mae"] for one in epochs],
    }
    assert second["training"] == "training on all data"
    assert second["valid"] == [None] * len(second["train"])


def test_what_a_task_cannot_do(running: App):
    running.put("sales.csv", "date,units,promo\n2024-01-01,1,0\n2024-01-02,,1\n2024-01-03,2,0\n")
    asked: dict[str, Any] = {"columns": {"futr_exog": ["promo"], "fill": 0}}
    running.http.post("/app/look", json=asked).raise_for_status()
    for task, said in (
        ("impute", "they mean zero, so that there are no gaps"),
        ("classify", "expected a task for table (forecast, impute, detect), found classify"),
    ):
        answer = running.http.post("/app/train", json={"task": task})
        assert answer.status_code == 422
        assert said in answer.text
    asked["columns"]["fill"] = None
    running.http.post("/app/look", json=asked).raise_for_status()
    result = running.train(task="impute")["result"]
    assert "read_table('sales.csv', target_cols=['units'])" in result["python"]
    assert running.http.get("/app/files/filled.csv").text.splitlines()[0] == "date,units"


@pytest.mark.parametrize(
    ("headers", "changing", "reading"),
    [
        ({}, 403, 200),  # a program may read, but must say what it is to change something
        ({"origin": "http://evil.example"}, 403, 200),
        ({"origin": "http://localhost:1"}, 403, 200),
        ({"origin": "null"}, 403, 200),
        ({"origin": "OWN", "sec-fetch-site": "cross-site"}, 403, 403),
        ({"origin": "OWN", "sec-fetch-site": "same-site"}, 403, 403),
        ({"origin": "http://evil.example", "host": "evil.example"}, 403, 403),
        ({"origin": "OWN", "sec-fetch-site": "same-origin"}, 200, 200),
    ],
)
def test_only_the_page_itself_changes_something(running: App, headers, changing, reading):
    given = {k: v.replace("OWN", running.address) for k, v in headers.items()}
    assert httpx.post(f"{running.address}/app/stop", headers=given).status_code == changing
    answer = httpx.get(f"{running.address}/app/state", headers=given)
    assert answer.status_code == reading
    assert "access-control-allow-origin" not in answer.headers


def test_policies_and_names(running: App):
    start = running.http.get("/")
    policy = start.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; " in policy
    assert "frame-ancestors 'none'" in policy
    for path in ("/app/files/..%2fdata.csv", "/app/files/data.csv", "/page/..%2fapp.py", "/docs"):
        assert running.http.get(path).status_code == 404
    assert running.put("../../up/sales.csv", weekly()).json()["files"]["data"] == "sales.csv"
    (folder,) = running.files()
    names = {re.sub(r"-[0-9a-f]{16}\b", "", one.name) for one in folder.iterdir()}
    assert names <= {"data.csv", "ahead.csv", "new.csv", "run"}
    large = running.put("x.csv", bytes(65 * 2**20))
    assert large.status_code == 413
    assert running.http.post("/app/train", json={"h": 3, "path": "/etc"}).status_code == 422


def test_what_cannot_be_read_as_it_is_can_be_corrected(running: App):
    lines = ["day,y,note", *(f"{i % 12 + 1:02d}/01/2024,{i},some text" for i in range(12))]
    look = running.put("days.csv", "\n".join(lines)).json()["look"]
    assert "all time stamps are ambiguous; choose that 03/04/2024 is in April for" in look["error"]
    asked: dict[str, Any] = {"kind": "table", "columns": {"dayfirst": True}}
    look = running.http.post("/app/look", json=asked).json()["look"]
    assert look["step"] == "1 day"
    assert look["chosen"]["target_cols"] == ["y"]
    assert look["notices"][0].startswith("columns that hold text or dates are not forecast")


def test_samples_are_the_same_every_time(tmp_path: Path):
    for name, sample in SAMPLES.items():
        assert sample.content() == sample.content(), name
    path = tmp_path / "shops.csv"
    path.write_text(SAMPLES["shops"].content(), encoding="utf-8")
    none = dict.fromkeys(
        ("time_col", "id_col", "target_cols", "futr_exog", "hist_exog", "freq", "dayfirst"),
    )
    look = tables.look(str(path), {**none, "decimal": None, "fill": None})
    assert (look["series"], look["rows"], look["chosen"]["id_col"]) == (4, 1680, "shop")
    path.write_text(SAMPLES["meter"].content(), encoding="utf-8")
    look = tables.look(str(path), {**none, "decimal": None, "fill": None})
    assert (look["missing"], look["season"]) == (50, 24)
    rows = SAMPLES["sales"].content().splitlines()[1:]
    promoted = np.array([line.split(",")[1:] for line in rows], float)
    by = [promoted[promoted[:, 1] == flag, 0].mean() for flag in (0, 1)]
    assert by[1] - by[0] == pytest.approx(45, abs=3)


def test_a_server_of_models_lists_them(client):
    lines = {one["name"]: one["call"] for one in client.get("/models").json()["models"]}
    assert lines["hourly"].endswith("/forecast?model=hourly'")
    (body,) = re.findall(r"/classify -d '(.*?)'$", lines["gestures"])
    assert client.post("/classify", json=json.loads(body)).status_code == 200
    assert client.get("/app/state").status_code == 404


def test_the_line_of_a_model_with_covariates_known_ahead(client, by_name, tmp_path):
    """It was a CSV body, which has no place for the rows ahead."""
    (text,) = (o["call"] for o in client.get("/models").json()["models"] if o["name"] == "shops")
    (line,) = re.findall(r"python3 (-c .*?) \| curl --data-binary @- http://[^/ ]*/forecast$", text)
    shops(h=4).drop(columns=["y", "visitors"]).to_csv(tmp_path / "future.csv", index=False)
    shops().to_csv(tmp_path / "table.csv", index=False)
    made = [sys.executable, *shlex.split(line)]
    body = subprocess.run(made, cwd=tmp_path, capture_output=True, check=True).stdout
    form = {"content-type": "application/x-www-form-urlencoded"}  # as curl says
    answer = client.post("/forecast", content=body, headers=form)
    assert answer.status_code == 200, answer.text
    rows = answer.json()["forecast"].splitlines()
    want = by_name["shops"].predict(shops(), shops(h=4)[["unique_id", "ds", "promo"]])
    found = [float(row.split(",")[-1]) for row in rows[1:]]
    assert found == pytest.approx(want["ConvTimeNet"].tolist(), abs=1e-4)


def test_flags_are_checked(capsys):
    assert main(["app", "--port", "70000"]) == 2
    assert "port must be from 0 to 65535" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["app", "--no_browser", "--port", str(port)]) == 2
    assert f"found that {port} of 127.0.0.1 is taken" in capsys.readouterr().err
