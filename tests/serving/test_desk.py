"""The state behind the page of `convtimenet app`, and the process that works for it."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from fastapi import Response

from convtimenet import ConvTimeNetClassifier
from convtimenet.cli.main import _parsed, main
from convtimenet.data.forecast_tables import future_table
from convtimenet.data.tables import read_table
from convtimenet.serving.refusals import Refused
from convtimenet.serving.settings import ServeSettings
from convtimenet.serving.workbench import charts, recipe, recordings, tables
from convtimenet.serving.workbench.app import create_workbench
from convtimenet.serving.workbench.asked import CaseRoles, Columns, Look, Train
from convtimenet.serving.workbench.desk import Desk
from convtimenet.serving.workbench.routes import _download
from convtimenet.serving.workbench.worker import Ended, Worker
from convtimenet.wording import written_for

NO_ROLES = CaseRoles().model_dump()


class Slow:
    """A worker that does nothing, and is as slow as a test wants it to be."""

    def __init__(self, desk: Desk):
        self.folder, self.commands = desk.folder, []
        self.begun, self.released = threading.Event(), threading.Event()
        self.released.set()

    def ask(
        self,
        command: dict[str, Any],
        heard: Callable[[dict[str, Any]], None] | None = None,
        seconds: float | None = 1,
    ) -> dict[str, Any]:
        self.commands.append(command)
        self.begun.set()
        assert self.released.wait(60)
        if heard is None:
            return {"kind": "table"} if command["do"] == "kind" else {"chosen": {}}
        heard({"progress": {"name": command["do"], "share": 0.5, "times": "", "note": ""}})
        (self.folder / command["folder"]).mkdir()
        return {"kind": "recordings", "title": command["name"]}

    def start(self) -> None: ...

    def stop(self) -> None: ...

    close = stop


@pytest.fixture
def desk() -> Iterator[Desk]:
    one = Desk("cpu")
    one.worker = cast(Any, Slow(one))
    yield one
    one.close()


def slow(desk: Desk) -> Slow:
    return cast(Slow, desk.worker)


@pytest.mark.parametrize(
    "act",
    [
        lambda desk: desk.train(Train.model_validate({"h": 3})),
        lambda desk: desk.look(Look(columns=Columns(freq="W"))),
        lambda desk: desk.put("data", "b.csv", b"date,y\n"),
        lambda desk: desk.sample("meter"),
    ],
    ids=["train", "look", "put", "sample"],
)
def test_what_is_asked_while_a_file_is_read_waits_for_it(desk: Desk, act):
    """It came between the question and its answer: a run was lost, with its answer unread."""
    desk.put("data", "a.csv", b"date,y\n")
    desk.look(Look())
    worker = slow(desk)
    worker.begun.clear()
    worker.released.clear()
    first = threading.Thread(target=desk.look, args=(Look(columns=Columns(freq="D")),))
    first.start()
    assert worker.begun.wait(60)
    asked = len(worker.commands)
    second = threading.Thread(target=act, args=(desk,))
    second.start()
    second.join(0.2)
    before = desk.snapshot()
    assert second.is_alive()
    assert (len(worker.commands), before["job"]) == (asked, None)
    assert before["files"] == {"data": "a.csv"}
    (place,) = desk.folder.glob("data-*.csv")
    assert place.read_bytes() == b"date,y\n"
    worker.released.set()
    first.join()
    second.join()
    if desk._thread is not None:  # the run has the columns that were read before it
        desk._thread.join()
        assert worker.commands[-1]["columns"]["freq"] == "D"
        assert desk.snapshot()["job"]["state"] == "done"
        assert desk.snapshot()["result"]["title"] == "a.csv"


def test_a_run_that_was_stopped_has_ended_before_the_next_thing(desk: Desk):
    """It looked for its job when a look had taken it away."""
    desk.put("data", "a.csv", b"date,y\n")
    desk.look(Look())
    worker = slow(desk)
    worker.begun.clear()
    worker.released.clear()
    desk.train(Train.model_validate({"h": 3}))
    assert worker.begun.wait(60)
    run = desk._thread
    assert run is not None
    stopping = threading.Thread(target=desk.stop)
    stopping.start()
    while desk.snapshot()["job"]["state"] == "running":
        time.sleep(0.001)
    look = threading.Thread(target=desk.look, args=(Look(),))
    look.start()
    look.join(0.2)
    assert desk.snapshot()["job"]["state"] == "stopped"
    worker.released.set()
    for one in (stopping, look, run):
        one.join()
    assert (desk.snapshot()["job"], desk.snapshot()["result"]) == (None, None)


def test_a_label_column_counts_once_its_file_was_read(desk: Desk, monkeypatch):
    """A run after a refused look used the column of the look."""
    desk.put("data", "a.ts", b"x")
    desk.look(Look(kind="recordings", roles=CaseRoles(label_col="first")))

    def refuse(*_: Any) -> Any:
        raise Refused(422, "no")

    monkeypatch.setattr(desk.worker, "ask", refuse)
    with pytest.raises(Refused):
        desk.look(Look(kind="recordings", roles=CaseRoles(label_col="second")))
    assert desk._roles.label_col == "first"


@pytest.mark.parametrize(
    "name", ["a b, #2 (é).csv", "'quoted'.csv", "awk ward <i>.csv", "-x.csv", "../../b:c.csv"]
)
def test_a_run_has_the_users_own_name_of_the_file(desk: Desk, name: str):
    """Its lines named a file that there is none of."""
    desk.put("data", name, b"date,y\n")
    desk.look(Look())
    desk.train(Train.model_validate({"h": 3}))
    assert desk._thread is not None
    desk._thread.join()
    own = name.rpartition("/")[2]
    assert slow(desk).commands[-1]["name"] == own
    assert desk.snapshot()["result"]["title"] == own
    # one name for all that is shown; that of a download suits a header
    assert desk.snapshot()["files"]["data"] == own
    (desk.folder / "run" / "forecast.csv").touch()
    _, download, _ = desk.output("forecast.csv")
    assert download.endswith("-forecast.csv")
    assert re.fullmatch(r"[\w .()+-]+", download)


def test_the_file_at_fault_is_named(desk: Desk, monkeypatch):
    """A file called ahead.csv was named plan.csv, as places were replaced one after another."""
    desk.put("data", "ahead.csv", b"date,y\n")
    desk.put("ahead", "plan.csv", b"date,y\n")
    desk.put("new", "data-plan.csv", b"date,y\n")

    def refuse(command: dict[str, Any], *_: Any) -> Any:
        one, other, third = (
            next(desk.folder.glob(f"{n}-*")).name for n in ("data", "ahead", "new")
        )
        raise Refused(422, f"{one}: column 'data.csv' is not in {other}, nor in {third}.")

    monkeypatch.setattr(desk.worker, "ask", refuse)
    with pytest.raises(Refused) as refused:
        desk.look(Look(kind="table"))
    assert refused.value.message == (
        "ahead.csv: column 'data.csv' is not in plan.csv, nor in data-plan.csv."
    )


def test_a_result_goes_with_the_rows_ahead_that_it_is_of(desk: Desk):
    """It stayed beside the name of another file."""
    desk.put("data", "a.csv", b"date,y\n")
    desk.look(Look())
    desk.train(Train.model_validate({"h": 3}))
    assert desk._thread is not None
    desk._thread.join()
    assert desk.snapshot()["result"] is not None
    desk.put("ahead", "plan2.csv", b"date,y\n")
    after = desk.snapshot()
    assert (after["result"], after["job"], after["files"]["ahead"]) == (None, None, "plan2.csv")
    assert after["look"] is not None


def test_files_are_counted_so_that_the_page_knows_a_new_one(desk: Desk):
    counts = [desk.snapshot()["given"]]
    for slot in ("data", "ahead", "data"):
        desk.put(slot, "a.csv", b"date,y\n")
        counts.append(desk.snapshot()["given"])
    assert counts == [0, 1, 1, 2]
    # what belongs to another file is dropped with it
    desk.put("new", "b.csv", b"date,y\n")
    assert desk.snapshot()["files"] == {"data": "a.csv", "new": "b.csv"}
    desk.put("data", "c.csv", b"date,y\n")
    assert desk.snapshot()["files"] == {"data": "c.csv"}
    assert len([*desk.folder.iterdir()]) == 1


def test_downloads_keep_the_letters_of_their_names():
    """They were written as "_"."""
    said = _download(Response(), "sales-model.zip").headers["content-disposition"]
    assert said == 'attachment; filename="sales-model.zip"'
    said = _download(Response(), "Ums\u00e4tze (1)-forecast.csv").headers["content-disposition"]
    plain, own = said.removeprefix('attachment; filename="').split("\"; filename*=UTF-8''")
    assert plain == "Ums_tze (1)-forecast.csv"
    assert own == "Ums%C3%A4tze%20%281%29-forecast.csv"


def test_what_is_asked_of_what_another_tab_has_replaced_is_refused(desk: Desk):
    """A tab that showed another file ran on the new one, and gave it the columns of the old one."""

    def asked(shown: dict[str, Any]) -> Train:
        return Train.model_validate({"h": 3, "inputs": shown["inputs"]})

    desk.put("data", "a.csv", b"date,y\n")
    desk.look(Look())
    before = desk.snapshot()
    desk.put("data", "b.csv", b"date,y\n")
    desk.look(Look())
    now = desk.snapshot()
    for act in (
        lambda: desk.look(Look(columns=Columns(freq="D"), given=before["given"])),
        lambda: desk.train(asked(before)),
        lambda: desk.put("ahead", "plan.csv", b"date,x\n", before["given"]),
        lambda: desk.put("new", "new.csv", b"date,x\n", before["given"]),
    ):
        with pytest.raises(Refused, match="another tab has replaced it") as refused:
            act()
        assert refused.value.status == 409
    assert desk.snapshot() == now
    # also if the same file is read in another way, or has other rows ahead
    for change in (
        lambda: desk.look(Look(columns=Columns(freq="D"), given=now["given"])),
        lambda: desk.put("ahead", "plan.csv", b"date,x\n", now["given"]),
    ):
        shown = desk.snapshot()
        change()
        with pytest.raises(Refused, match="another tab"):
            desk.train(asked(shown))
    desk.train(asked(desk.snapshot()))
    assert desk._thread is not None
    desk._thread.join()
    assert desk.snapshot()["job"]["state"] == "done"


def test_answers_stay_until_a_run_succeeds(desk: Desk, monkeypatch):
    """Their table was empty after a run that was stopped, beside a link to its file."""
    desk.put("data", "a.ts", b"x")
    desk.look(Look(kind="recordings"))

    def run() -> str:
        desk.train(Train.model_validate({}))
        assert desk._thread is not None
        desk._thread.join()
        return desk.snapshot()["job"]["state"]

    assert run() == "done"
    desk.put("new", "new.ts", b"x")
    desk.label()
    answers = desk.snapshot()["answers"]
    assert answers["name"] == "new.ts"

    def refuse(*_: Any, **__: Any) -> Any:
        raise Refused(422, "no")

    with monkeypatch.context() as patched:
        patched.setattr(desk.worker, "ask", refuse)
        assert run() == "failed"
    assert desk.snapshot()["answers"] == answers
    assert run() == "done"
    assert desk.snapshot()["answers"] is None


def test_the_lines_name_the_file_of_the_rows_ahead(desk: Desk):
    """They named plan.csv, which may have been the table."""
    desk.put("data", "plan.csv", b"date,y,x\n")
    desk.look(Look(columns=Columns(futr_exog=["x"])))
    desk.put("ahead", "next 'x'.tsv", b"date,x\n")
    desk.train(Train.model_validate({"h": 3}))
    assert desk._thread is not None
    desk._thread.join()
    command = slow(desk).commands[-1]
    assert (command["name"], command["plan"]) == ("plan.csv", "next 'x'.tsv")
    assert command["future"].startswith("ahead-")
    columns = Columns(futr_exog=["x"]).given()
    for own, shown in ((command["plan"], "next 'x'.tsv"), ("plan.csv", "plan-ahead.csv")):
        made = recipe.of_table("plan.csv", columns, 2, [], "fast", own)
        flags = _parsed(shlex.split(made["command"])[1:]).forecast
        assert (flags.data, flags.future) == ("plan.csv", shown)
        assert f"model.predict(table, {shown!r})" in made["python"]


def test_the_lines_import_what_there_is():
    """They named modules that had moved."""
    none = Columns().given()
    for made in (
        recipe.of_table("a.csv", none, 2, [], "fast", None),
        recipe.of_filling("impute", "a.csv", none, {}, "filled"),
        recipe.of_recordings("a.csv", "classify", NO_ROLES, "fast"),
    ):
        imports = [line for line in made["python"].splitlines() if line.startswith("from ")]
        assert len(imports) >= 2
        exec("\n".join(imports), {})


def test_the_lines_of_a_series_are_those_of_the_last_forecast(desk: Desk):
    with pytest.raises(Refused, match="forecast first"):
        desk.series(0)
    (desk.folder / "run").mkdir()
    (desk.folder / "run" / "series.jsonl").write_text('["a", "b"]\n[1]\n[2]\n')
    assert [desk.series(line) for line in (0, 2)] == [b'["a", "b"]\n', b"[2]\n"]
    with pytest.raises(Refused) as refused:
        desk.series(3)
    assert refused.value.status == 404


# --- what is told of files -----------------------------------------------------------------------


def told(folder: Path, name: str, text: str, **columns: Any) -> dict[str, Any]:
    """What is said of a table."""
    (folder / name).write_text(text, encoding="utf-8")
    return tables.look(str(folder / name), Columns(**columns).given())


def test_the_first_rows_are_shown_with_their_empty_cells(tmp_path):
    """A value was shown beside the date of another row."""
    rows = ["2024-01-01,,x", "2024-01-02,2,", "2024-01-03,,y", "2024-01-04,4,z"]
    look = told(tmp_path, "a.csv", "\n".join(["date,units,note", *rows]) + "\n")
    cells = dict(look["columns"])
    assert cells["date"] == [f"2024-01-0{day}" for day in range(1, 5)]
    assert cells["units"] == ["", "2", "", "4"]
    assert cells["note"] == ["x", "", "y", "z"]
    assert look["chosen"]["target_cols"] == ["units"]
    frame = pd.read_csv(tmp_path / "a.csv", parse_dates=["date"])
    frame.to_parquet(tmp_path / "a.parquet")
    typed = dict(tables.look(str(tmp_path / "a.parquet"), Columns().given())["columns"])
    assert typed["units"] == ["", "2.0", "", "4.0"]
    assert typed["note"] == ["x", "", "y", "z"]


def test_columns_that_are_not_forecast_are_called_what_they_are(tmp_path):
    """The column of times was among those "that hold text or dates", and so were empty ones."""
    lines = [f"2024-01-{day:02d},rain,{day},," for day in range(1, 20)]
    look = told(tmp_path, "a.csv", "\n".join(["Date (local),note,units,empty,none", *lines]))
    assert look["chosen"]["time_col"] == "Date (local)"
    assert look["notices"][:2] == [
        "columns that hold text or dates are not forecast: 'note'",
        "columns that are empty are not forecast: 'empty', 'none'",
    ]
    lines = [line.replace("rain,", "") for line in lines]
    look = told(tmp_path, "b.csv", "\n".join(["Date (local),units,empty,none", *lines]))
    assert look["notices"][0] == "columns that are empty are not forecast: 'empty', 'none'"
    assert not [notice for notice in look["notices"] if "hold text" in notice]


def test_columns_that_are_not_shown_are_read(tmp_path):
    """Of a table with a column of text only the number columns among the first 200 were."""
    names = [f"s{i}" for i in range(250)]
    lines = [
        ",".join([f"2024-01-{day:02d}", "some text", *(str(day + i) for i in range(250))])
        for day in range(1, 20)
    ]
    look = told(tmp_path, "wide.csv", "\n".join([",".join(["date", "note", *names]), *lines]))
    assert look["chosen"]["target_cols"] == names
    assert len(look["columns"]) == 200


def test_columns_that_the_reader_takes_are_taken(desk: Desk, monkeypatch):
    """A long name beside a column of text was an error of the server."""
    names = ["date", "note", "u" * 5000]
    rows = [f"2024-01-{day:02d},some text,{day}" for day in range(1, 20)]
    desk.put("data", "a.csv", "\n".join([",".join(names), *rows]).encode())

    def look(command: dict[str, Any], *_: Any) -> dict[str, Any]:
        return tables.look(str(desk.folder / command["path"]), command["columns"])

    monkeypatch.setattr(slow(desk), "ask", look)
    desk.look(Look(kind="table"))
    chosen = desk.snapshot()["look"]["chosen"]
    assert chosen["target_cols"] == names[2:]
    body = {"kind": "table", "columns": {"target_cols": names[2:], "time_col": "date"}}
    desk.look(Look.model_validate(body))  # as the page sends it when something is chosen
    assert desk.snapshot()["look"]["rows"] == 19
    assert desk.snapshot()["look"]["kinds"][0][1]["auto"] == "weights"  # of the package


def test_rows_of_unequal_length_can_still_be_read_as_recordings(tmp_path):
    """The file was refused as a table before anything else could be chosen."""
    look = told(tmp_path, "a.csv", "t0,t1,t2\n1,2,3\n1,2\n")
    assert look["columns"] == []
    assert "expected" in look["error"]
    assert look["chosen"]["target_cols"] is None


def looked(desk: Desk, monkeypatch, name: str, text: str) -> dict[str, Any]:
    """What is shown of a file that is dropped, read in this process."""

    def ask(command: dict[str, Any], *_: Any) -> dict[str, Any]:
        path = str(desk.folder / command["path"])
        with written_for("page"):
            if command["do"] == "kind":
                return recordings.kind(path)
            if command["do"] == "look":
                return tables.look(path, command["columns"])
            return recordings.look(path, command["roles"])

    monkeypatch.setattr(desk.worker, "ask", ask)
    desk.put("data", name, text.encode())
    desk.look(Look())
    return desk.snapshot()["look"]


@pytest.mark.parametrize(("name", "head"), [("a.tsv", None), ("a.csv", "klasse"), ("a.csv", "t0")])
def test_a_file_that_only_reads_as_recordings_is_read_so(
    desk: Desk, monkeypatch, name: str, head: str | None
):
    """The advice was about a time column, and did not name the control."""
    cells = [[f"{'ab'[i % 2]}", *(f"{i + k / 4:g}" for k in range(6))] for i in range(8)]
    names = [head, *(f"t{k}" for k in range(6))] if head == "klasse" else None
    if head == "t0":  # no labels: neither reads
        cells, names = [row[:1] * 7 for row in cells], [f"t{k}" for k in range(7)]
    mark = "\t" if name.endswith("tsv") else ","
    lines = [mark.join(row) for row in ([names] if names else []) + cells]

    look = looked(desk, monkeypatch, name, "\n".join([*lines, ""]))
    if head == "t0":
        assert (look["kind"], "error" in look) == ("table", True)
        return
    assert (look["kind"], look.get("error")) == ("recordings", None)
    assert "choose that at 'These are'" in look["notices"][0]
    assert look["classes"] == [["a", 4], ["b", 4]]
    # what was chosen stays chosen
    desk.look(Look(kind="table"))
    assert desk.snapshot()["look"]["kind"] == "table"
    assert "error" in desk.snapshot()["look"]


@pytest.mark.parametrize("head", ["d,y", "d,y,z", "who,y"])
def test_rows_that_repeat_are_no_recordings(desk: Desk, monkeypatch, head: str):
    """Of repeated dates each was a class; what was wrong with the table was not said."""
    days = [f"2024-01-{day:02d}" for day in range(1, 29)] * 2
    firsts = [f"p{day % 7}" for day in range(56)] if head == "who,y" else days
    lines = [",".join([first, *"57"[: head.count(",")]]) for first in firsts]
    look = looked(desk, monkeypatch, "a.csv", "\n".join([head, *lines, ""]))
    assert look["kind"] == "table"
    said = "time column" if head == "who,y" else "duplicate time stamps"
    assert said in look["error"]


def test_classes_that_are_not_shown_are_counted(tmp_path):
    """The first twenty looked like all of them."""
    lines = [f"c{i % 28:02d},{i},{i + 1},{i * i}" for i in range(112)]
    (tmp_path / "a.csv").write_text("\n".join(["label,t0,t1,t2", *lines, ""]))
    look = recordings.look(str(tmp_path / "a.csv"), NO_ROLES)
    assert (look["cases"], look["classes"][-1], len(look["classes"])) == (112, ["c19", 4], 20)
    assert look["more_classes"] == 8


def test_columns_of_text_beside_several_series_are_told(tmp_path):
    """The activity was left out without a word."""
    rows = [
        f"{r},2024-01-{day:02d},{'sit' if r % 2 else 'walk'},{r + day}"
        for r in range(3)
        for day in range(1, 20)
    ]
    look = told(tmp_path, "a.csv", "\n".join(["recording,time,activity,x", *rows]))
    assert look["series"] == 3
    assert look["chosen"]["target_cols"] == ["x"]
    first, second, *_ = look["notices"]
    assert first == "time stamps repeat, so the rows are read as one series per 'recording'"
    assert second == "columns that hold text or dates are not forecast: 'activity'"


def test_the_chart_has_the_values_of_the_file(tmp_path):
    """They had six digits."""
    rows = [f"2024-01-{day:02d},{1234567.25 + day}" for day in range(1, 20)]
    look = told(tmp_path, "a.csv", "\n".join(["date,y", *rows]))
    assert look["chart"][0]["y"][:2] == [1234568.25, 1234569.25]
    lines = ["t0,t1,label", *(f"{1234567.25 + i},{i},{'ab'[i % 2]}" for i in range(8))]
    (tmp_path / "cases.csv").write_text("\n".join(lines), encoding="utf-8")
    chart = recordings.look(str(tmp_path / "cases.csv"), NO_ROLES)["chart"]
    assert [line["y"] for line in chart[:2]] == [[1234567.25, 0], [1234569.25, 2]]


def test_what_each_quality_will_do_is_told_with_the_file(tmp_path):
    """It was "a network, minutes" of tables that are solved in closed form, or need no training."""

    def kinds(rows: int, h: int, **columns: Any) -> dict[str, str]:
        days = np.datetime64("2020-01-01") + np.arange(rows)
        lines = [f"{day},{i % 7},{i % 5}" for i, day in enumerate(days)]
        text = "\n".join(["date,y,x", *lines])
        found = told(tmp_path, "a.csv", text, **{"target_cols": ["y"], **columns})["kinds"]
        assert found[0][0] == 1
        return [one for least, one in found if least <= h][-1]

    weights, network = "weights", "network"
    assert kinds(30, 6) == {
        "pretrained": weights, "tuned": weights, "fast": "solved", "auto": weights, "best": weights
    }  # fmt: skip
    found = kinds(160, 14)
    assert (found["tuned"], found["auto"], found["best"]) == ("tuned", "solved", "solved")
    assert kinds(160, 2)["auto"] == "solved or network"
    assert kinds(160, 1)["auto"] == network
    assert kinds(2500, 14)["auto"] == network
    assert kinds(160, 14, hist_exog=["x"])["auto"] == network
    assert kinds(30, 6, futr_exog=["x"])["auto"] == "solved"


def test_the_lines_of_all_series_are_written(tmp_path):
    """Only those of the first four could be seen, with one interval."""
    days = [f"2024-01-{day:02d}" for day in range(1, 13)]
    rows = [f"{s},{day},{100 * s + i}" for s in range(6) for i, day in enumerate(days)]
    (tmp_path / "a.csv").write_text("\n".join(["shop,date,y", *rows]), encoding="utf-8")
    table = read_table(tmp_path / "a.csv", id_col="shop")
    points = np.arange(12.0)[:, None]
    forecast = points + np.array([0, -20, -10, 10, 20])  # bounds from lowest to highest
    ahead = future_table(table, points)
    ahead = replace(ahead, values=forecast, channels=tuple("abcde"))
    path = tmp_path / "series.jsonl"
    shown = charts.write_lines(path, table, ahead, [95, 80])
    names, *series = [json.loads(line) for line in path.read_text().splitlines()]
    assert names == [f"{s}, y" for s in range(6)]
    assert shown == [line for lines in series[:4] for line in lines]
    assert series[5] == [
        {"name": "5, y", "x": days, "y": [500.0 + i for i in range(12)]},
        {
            "name": "5, y, forecast",
            "x": ["2024-01-13", "2024-01-14"],
            "y": [10.0, 11.0],
            "bounds": [
                {"level": 80, "lo": [0.0, 1.0], "hi": [20.0, 21.0]},
                {"level": 95, "lo": [-10.0, -9.0], "hi": [30.0, 31.0]},
            ],
            "ahead": True,
        },
    ]
    assert charts.drawn_words(table, pick=True) == (
        "Drawn: the first 4 of 6 series. Any can be picked."
    )


def test_series_that_are_not_drawn_are_told(tmp_path):
    """The chart showed the first four as if there were no others."""
    days = [f"2024-01-{day:02d}" for day in range(1, 13)]
    rows = [f"{s},{day},{i},{2 * i}" for s in range(10) for i, day in enumerate(days)]
    long = told(
        tmp_path, "a.csv", "\n".join(["shop,date,units,price", *rows]), target_cols=["units"]
    )
    assert (long["drawn"], len(long["chart"])) == ("Drawn: the first 4 of 10 series.", 4)
    both = told(tmp_path, "b.csv", "\n".join(["shop,date,units,price", *rows]))
    assert both["drawn"] == "Drawn: the first 1 of 2 columns of the first 4 of 10 series."
    wide = [",".join([day, *(str(i + k) for k in range(6))]) for i, day in enumerate(days)]
    look = told(tmp_path, "c.csv", "\n".join(["date,a,b,c,d,e,f", *wide]))
    assert (look["drawn"], len(look["chart"])) == ("Drawn: the first 4 of 6 columns.", 4)
    few = told(tmp_path, "d.csv", "\n".join(["date,y", *(f"{day},1" for day in days)]))
    assert few["drawn"] == ""
    assert few["step"] == "1 day"


@pytest.mark.parametrize(
    "head",
    ["category,date,units", "date,class,units", "date,units,classes", "case_id,date,units,label"],
)
def test_a_table_with_a_column_of_classes_is_a_table(tmp_path, head: str):
    """It was read as recordings, which failed with the command line as the way out."""
    cells = {"date": "2024-01-{0:02d}", "units": "{0}", "case_id": "1", "label": "a"}
    rows = [
        ",".join(cells.get(name, "ab"[day % 2]).format(day) for name in head.split(","))
        for day in range(1, 20)
    ]
    (tmp_path / "a.csv").write_text("\n".join([head, *rows]), encoding="utf-8")
    want = "recordings" if "case_id" in head else "table"  # which have a time column as well
    assert recordings.kind(str(tmp_path / "a.csv")) == {"kind": want}


def recordings_text(label: str, steps: int = 12) -> str:
    head = ",".join([*(f"t{t}" for t in range(steps)), label])
    rows = [",".join([*(str(i * t % 5) for t in range(steps)), "ab"[i % 2]]) for i in range(20)]
    return "\n".join([head, *rows]) + "\n"


@pytest.mark.parametrize(
    ("name", "label", "kind"),
    [
        ("a.csv", "label", "recordings"),
        ("a.csv.gz", "Label", "recordings"),
        ("a.tsv.bz2", '"class"', "recordings"),
        ("a.TXT.XZ", "label", "recordings"),
        ("a.csv.gz", "units", "table"),
        ("a.ts.gz", "units", "recordings"),
        ("a.npz", "units", "recordings"),
        ("a.xlsx", "label", "table"),
    ],
)
def test_packed_recordings_are_recordings(tmp_path, name: str, label: str, kind: str):
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    packed = pack.get(Path(name.lower()).suffix, bytes)
    (tmp_path / name).write_bytes(packed(recordings_text(label).encode()))
    assert recordings.kind(str(tmp_path / name)) == {"kind": kind}


@pytest.mark.parametrize("packed", [False, True])
def test_the_label_can_be_any_column(tmp_path, packed: bool):
    """Of a packed file none could be chosen, and the last of many was not offered."""
    text = recordings_text("gesture", 300).encode()
    path = tmp_path / ("a.csv.gz" if packed else "a.csv")
    path.write_bytes(gzip.compress(text) if packed else text)
    look = recordings.look(str(path), NO_ROLES | {"label_col": "gesture"})
    names = look["names"]
    assert (names[0], names[-1], len(names)) == ("t0", "gesture", 200)
    assert look["columns"] == [["gesture", list("ababab")]]  # those that are no steps
    assert look["classes"] == [["a", 10], ["b", 10]]


def test_recordings_with_columns_beside_steps_and_labels(tmp_path):
    """What the page shows, says and can do about a person, a room and a session number."""
    draw = np.random.default_rng(0)
    head = "who,room,nr," + ",".join(f"t{t}" for t in range(20))
    lines = [
        ",".join([f"P{i}", f"{i % 3}", f"{i}", *map(str, draw.normal(i % 2, 0.1, 20).round(3))])
        for i in range(20)
    ]
    path, new = tmp_path / "a.csv", tmp_path / "new.csv"
    labelled = [f"{line},{'ab'[i % 2]}" for i, line in enumerate(lines)]
    path.write_text("\n".join([f"{head},move", *labelled]) + "\n")
    with written_for("page"):
        look = recordings.look(str(path), NO_ROLES)
        assert [name for name, _ in look["columns"]] == ["who", "room", "nr", "move"]
        assert look["error"].endswith(
            "choose the right one as the column of labels, 'id' for one that names the recordings, "
            "and 'not used' for others"
        )
        roles = NO_ROLES | {"label_col": "move"}
        assert (
            "choose 'not used' for them, or 'id' for the one"
            in (recordings.look(str(path), roles)["error"])
        )
        roles = {"label_col": "move", "id_col": "who", "ignored_cols": ["room", "nr"]}
        look = recordings.look(str(path), roles)
        assert (look["cases"], look["lengths"], look["chosen"]) == (20, [20, 20], roles)
        made = recordings.train(
            str(path), "a.csv", "classify", roles, "fast", "cpu", str(tmp_path / "run"), []
        )
        new.write_text("\n".join([head, *lines[:3]]) + "\n")  # without the labels
        found = recordings.label(str(new), str(tmp_path / "run"), "cpu", roles)
    assert found["table"]["rows"][1][:2] == ["P1", "b"]
    assert found["notices"] == ["the column 'who' names the cases"]
    assert "'move', id_col='who', ignored_cols=['room', 'nr']" in made["python"]


def test_labels_of_new_recordings_have_the_names_of_the_file_to_download(tmp_path):
    values = np.random.default_rng(0).normal(size=(8, 20))
    model = ConvTimeNetClassifier(quality="fast", device="cpu", verbose=0)
    model.fit(values, np.array(["up", "down"] * 4)).save(tmp_path / "model")
    head = ",".join(f"t{t}" for t in range(20))
    lines = [",".join(map(str, one)) for one in values[:3].tolist()]
    named = "\n".join([f"id,{head}", *(f"Q{9 - i},{one}" for i, one in enumerate(lines))])
    for text, names in ((named, ["Q9", "Q8", "Q7"]), ("\n".join([head, *lines]), ["0", "1", "2"])):
        (tmp_path / "new.csv").write_text(text, encoding="utf-8")
        found = recordings.label(str(tmp_path / "new.csv"), str(tmp_path), "cpu", NO_ROLES)
        rows = found["table"]["rows"]
        assert [one for one in found["notices"] if "label" in one] == []
        written = (tmp_path / "answers.csv").read_text(encoding="utf-8").splitlines()[1:]
        assert [row[0] for row in rows] == names == [line.split(",")[0] for line in written]
        assert [row[1] for row in rows] == [line.split(",")[1] for line in written]


def test_the_command_means_what_was_chosen(tmp_path, monkeypatch):
    """Names with commas, or that begin with "-", were other names, or flags."""
    chosen = {
        "time_col": "--time",
        "target_cols": ["-a", "price, EUR"],
        "fill": 0.0,
        "dayfirst": False,
    }
    columns = Columns(**chosen).given()
    days = [f"01/{day}/2024" for day in range(13, 32)]
    rows = [f"{day},{i % 7},{i % 5},x" for i, day in enumerate(days)]
    text = '--time,-a,"price, EUR",note\n' + "\n".join(rows) + "\n"
    monkeypatch.chdir(tmp_path)
    name = "-my sales, 'Q1' #2 é.csv"
    Path(name).write_text(text, encoding="utf-8")
    made = recipe.of_table(name, columns, 2, [80.0], "pretrained", None)
    flags = _parsed(shlex.split(made["command"])[1:]).forecast
    assert {key: getattr(flags, key) for key in chosen} == chosen
    assert (flags.data, flags.out) == (f"./{name}", "-my sales, 'Q1' #2 é-forecast.csv")
    roles = {"label_col": "-label", "id_col": "who", "ignored_cols": ["age, years", "b"]}
    made = recipe.of_recordings(name, "classify", roles, "fast")
    flags = _parsed(shlex.split(made["command"])[1:]).classify
    assert {key: getattr(flags, key) for key in roles} == roles
    columns["fill"] = None
    made = recipe.of_filling("impute", name, columns, {"season": 7}, "filled")
    assert main([*shlex.split(made["command"])[1:], "--quiet"]) == 0
    written = Path("-my sales, 'Q1' #2 é-filled.csv")
    assert written.read_text(encoding="utf-8").splitlines()[0] == '--time,-a,"price, EUR"'
    exec(made["python"], {})


# --- the process ---------------------------------------------------------------------------------


def test_a_process_is_ended_if_its_answer_is_not_waited_for(tmp_path):
    """Its answer was read as that of the next command."""
    ended: list[str] = []

    def fails(said: dict[str, Any]) -> None:
        raise ZeroDivisionError

    worker = Worker(tmp_path)
    worker._process = cast(
        Any,
        SimpleNamespace(
            stdin=io.StringIO(),
            stdout=iter(['{"progress": 1}\n', '{"done": {}}\n']),
            kill=lambda: ended.append("kill"),
            wait=lambda: ended.append("wait"),
            poll=lambda: None,
        ),
    )
    with pytest.raises(ZeroDivisionError):
        worker.ask({"do": "look"}, fails)
    assert ended == ["kill", "wait"]
    assert not worker._busy.locked()


def test_the_process_is_told_how_much_a_file_may_hold(tmp_path, monkeypatch):
    made: list[list[str]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda line, **_: made.append(line))
    app = create_workbench(ServeSettings(most_bytes=1000), "cpu")
    app.state.desk.worker.start()
    app.state.desk.close()
    Worker(tmp_path).start()
    assert [line[line.index("-m") :] for line in made] == [
        ["-m", "convtimenet.serving.workbench.child", "4000"],
        ["-m", "convtimenet.serving.workbench.child"],
    ]


def test_one_process_however_many_start_it_and_none_once_closed(tmp_path, monkeypatch):
    made: list[Any] = []

    def popen(*_: Any, **__: Any) -> Any:
        time.sleep(0.05)  # long enough for all of them to be here
        made.append(SimpleNamespace(poll=lambda: None, kill=lambda: None, wait=lambda: -9))
        return made[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    worker = Worker(tmp_path)
    threads = [threading.Thread(target=worker.start) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(made) == 1
    made[0].poll = lambda: -9
    worker.close()
    worker.start()
    assert len(made) == 1
    closed = Worker(tmp_path)
    closed.close()
    with pytest.raises(Ended):
        closed.ask({"do": "look"})
