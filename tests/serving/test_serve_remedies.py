"""Refusals over HTTP say what a request can do about it, and that works."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from served import hourly, monthly, shops

CSV = {"content-type": "text/csv"}
OPTION = re.compile(
    r"--\w|\w+=\.\.\.|[Pp]ass \w+|predict\(|_col\b|_exog\b|\bdayfirst|\bin pandas\b"
)


def columns_of(frame: pd.DataFrame) -> dict[str, list[Any]]:
    return {
        str(name): [one.isoformat(" ") if isinstance(one, pd.Timestamp) else one for one in column]
        for name, column in frame.items()
    }


HOURS, MONTHS, SHOPS = columns_of(hourly(40)), columns_of(monthly(24)), columns_of(shops(40))
AHEAD = columns_of(shops(40, 4).drop(columns=["y", "visitors"]))
DAYS = [*range(20240301, 20240331), *range(20240401, 20240411)]


def table(model: str, columns: dict[str, list[Any]], **others: Any) -> tuple[str, dict[str, Any]]:
    return "/forecast", {"json": {"model": model, "table": columns, **others}}


def with_cell(cell: Any, row: int = 3) -> dict[str, list[Any]]:
    """The hourly table with another cell."""
    return {**HOURS, "a": [*HOURS["a"][:row], cell, *HOURS["a"][row + 1 :]]}


def text(path: str, *lines: str) -> tuple[str, dict[str, Any]]:
    return path, {"content": "\n".join(lines).encode(), "headers": CSV}


def marked(cell: Callable[[float], str]) -> tuple[str, dict[str, Any]]:
    """The monthly table with other numbers, in a file with semicolons."""
    rows = [f"{m};{cell(y)}" for m, y in zip(MONTHS["month"], MONTHS["y"], strict=True)]
    return text("/forecast?model=monthly", "month;y", *rows)


def stamped(form: str, model: str = "monthly", name: str = "month") -> tuple[str, dict[str, Any]]:
    """The monthly values with stamps in another form."""
    stamps = pd.date_range("2010-01-01", periods=24, freq="MS").strftime(form)
    return table(model, {name: stamps.tolist(), "y": MONTHS["y"]})


def two(name: str) -> tuple[str, dict[str, Any]]:
    """Two series for a model of one."""
    columns = {key: [*of, *of] for key, of in MONTHS.items()}
    return table("monthly", {name: ["x"] * 24 + ["z"] * 24, **columns})


def kserve(start: str, series: list[Any], *quantiles: float) -> tuple[str, dict[str, Any]]:
    one = {"type": "univariate_time_series", "name": "s", "series": series, "frequency": "M"}
    options = {"horizon": 2, "quantiles": [*quantiles]}
    body = {
        "model": "monthly",
        "inputs": [{**one, "start_timestamp": start}],
        "options": options,
    }
    return "/v1/timeseries/forecast", {"json": body}


def nixtla(model: str, freq: str, **others: Any) -> tuple[str, dict[str, Any]]:
    y = MONTHS["y"]
    series = {"y": y, "sizes": [len(y)]}
    return "/v2/forecast", {
        "json": {"model": model, "freq": freq, "h": 2, "series": series, **others}
    }


def cases(value: Any, model: str = "sizes") -> tuple[str, dict[str, Any]]:
    return "/regress", {"json": {"model": model, "cases": value}}


STEPS = "t0,t1,t2,t3"
# what is sent, what is said to do, what is sent then
REFUSED = {
    "a channel without values": (
        table("hourly", {**HOURS, "b": [None] * 40}),
        "send rows in which they have values",
        table("hourly", {**HOURS, "b": [None] * 20 + HOURS["b"][20:]}),
    ),
    "a cell of text": (
        table("hourly", with_cell("n/k")),
        "an empty one is missing, and so is null in JSON",
        table("hourly", with_cell(None)),
    ),
    "units": (
        table("hourly", {**HOURS, "a": [f"{v:.3f} kg" for v in HOURS["a"]]}),
        "write numbers without a unit",
        table("hourly", {**HOURS, "a": [f"{v:.4f}" for v in HOURS["a"]]}),
    ),
    "text in all cells": (
        table("hourly", {**HOURS, "a": ["north"] * 40}),
        "write numbers, or leave the column out if it is none of the model's",
        table("hourly", HOURS),
    ),
    "a comma that may separate thousands": (
        marked(lambda y: f"{y:.0f},000"),
        "write 20 or 20000, with a decimal point",
        marked(lambda y: f"{y:.0f}000"),
    ),
    "dates in either order": (
        stamped("%d/%m/%Y"),
        "write dates as 2024-01-31",
        stamped("%Y-%m-%d"),
    ),
    "quarters or months": (
        table("monthly", {"month": [f"{y}-0{q}" for y in range(2001, 2007) for q in (1, 2, 3, 4)],
                          "y": MONTHS["y"]}),
        "or months with their first day, as 2024-01-01",
        stamped("%Y-%m-01"),
    ),
    "no time stamp": (
        table("monthly", {**MONTHS, "month": [*MONTHS["month"][:-1], "total"]}),
        "remove the row if it is a total or a remark",
        table("monthly", {key: of[:-1] for key, of in MONTHS.items()}),
    ),
    "no column of times": (
        stamped("%B", name="when"),
        "name the column of times 'time'",
        stamped("%Y-%m-%d", name="time"),
    ),
    "several series": (
        two("shop"),
        "rename the column to 'unique_id', or send each series in a request of its own",
        two("unique_id"),
    ),
    "one row": (
        table("hourly", {key: of[:1] for key, of in HOURS.items()}),
        "give at least 16 rows",
        table("hourly", {key: of[:16] for key, of in HOURS.items()}),
    ),
    "a large gap": (
        table("hourly", {**HOURS, "date": ["1990-01-01 00:00", *HOURS["date"][1:]]}),
        "leave out the rows before the gap",
        table("hourly", {key: of[1:] for key, of in HOURS.items()}),
    ),
    "half an hour": (
        table("shops", {**SHOPS, "ds": ["2024-03-01 00:30", *SHOPS["ds"][1:]]}, future=AHEAD),
        "resample the series",
        table("shops", SHOPS, future=AHEAD),
    ),
    "no plan": (
        table("shops", SHOPS),
        'send them as "future" in the JSON body',
        table("shops", SHOPS, future=AHEAD),
    ),
    "a plan for a model without covariates": (
        table("hourly", HOURS, future=HOURS),
        "leave it out",
        table("hourly", HOURS),
    ),
    "a channel that is not there": (
        table("hourly", {"date": HOURS["date"], "a": HOURS["a"]}),
        "the table lacks the channels 'b'",
        table("hourly", HOURS),
    ),
    "a zone": (
        table("hourly", {**HOURS, "date": [f"{one}Z" for one in HOURS["date"]]}),
        "writing them without Z or UTC offset",
        table("hourly", HOURS),
    ),
    "intervals beyond the horizon": (
        table("hourly", HOURS, h=9, level=[80]),
        "ask for fewer, or for no intervals",
        table("hourly", HOURS, h=4, level=[80]),
    ),
    "too high a level": (
        table("hourly", HOURS, level=[99.9]),
        "the largest possible level is 97 (quantiles 0.015 and 0.985); use that",
        table("hourly", HOURS, level=[97]),
    ),
    "a start off the grid": (
        kserve("2024-01-15T00:00:00Z", MONTHS["y"]),
        "to be 2024-01-01T00:00:00, found 2024-01-15T00:00:00; send time stamps that fit it",
        kserve("2024-01-01T00:00:00Z", MONTHS["y"]),
    ),
    "a quantile beside the median": (
        kserve("2024-01-01T00:00:00Z", MONTHS["y"], 0.504),
        "quantiles: expected 0.5, or numbers that are at least 0.005 from it",
        kserve("2024-01-01T00:00:00Z", MONTHS["y"], 0.505),
    ),
    "KServe without values": (
        kserve("2024-01-01T00:00:00Z", [None] * 24),
        "leave the series out",
        None,
    ),
    "a single variable for two": (
        nixtla("hourly", "h"),
        "POST a table to /forecast",
        table("hourly", HOURS),
    ),
    "an unknown frequency": (
        nixtla("monthly", "fortnight"),
        "expected an optional count followed by one of",
        nixtla("monthly", "MS"),
    ),
    "no cases": (cases([]), "add what is missing", cases([[1, 2, 3, 4]])),
    "a case without values": (cases([[None, None]]), "leave them out", None),
    "a cell of text among steps": (
        text("/regress", STEPS, "1,n/k,2,9", "1,2,3,4"),
        "line 2, column 't1': expected a number, found 'n/k'; correct it, or leave it empty",
        text("/regress", STEPS, "1,,2,9", "1,2,3,4"),
    ),
    "no header": (
        text("/regress", "1,2,3,4.5", "2,3,4,5.5"),
        "write a header line such as t0,t1,t2,... above the cases",
        text("/regress", STEPS, "1,2,3,4.5", "2,3,4,5.5"),
    ),
    "no header above text": (
        text("/regress", "1,2,3,4", "n/k,2,3,4"),
        "write a header line such as t0,t1,t2,... above the cases",
        text("/regress", STEPS, "1,2,3,4", ",2,3,4"),
    ),
    "a header that names no step": (
        text("/regress", "n/k,2,3,4", "1,2,3,4"),
        "if the first line is a case, write a header line such as t0,t1,t2,... above the cases",
        text("/regress", STEPS, ",2,3,4", "1,2,3,4"),
    ),
    "columns that may be labels": (
        text("/regress", "a,b,t0,t1", "x,y,1,2"),
        "leave out what is no value",
        text("/regress", "t0,t1", "1,2"),
    ),
    "stamps of cases": (
        text("/regress", "time,x", "1,2"),
        "POST it to /forecast",
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_remedies_are_for_requests_and_work(client, name):
    (path, sent), says, then = REFUSED[name]
    answer = client.post(path, **sent)
    assert answer.status_code == 422, answer.text
    message = answer.json()["error"]["message"]
    assert says in message
    assert not OPTION.search(message), message
    if then is not None:
        path, sent = then
        answer = client.post(path, **sent)
        assert answer.status_code == 200, answer.text
        assert not OPTION.search(answer.headers.get("convtimenet-notices", "")), answer.headers
        if "json" in answer.headers["content-type"]:
            assert not OPTION.search(" ".join(answer.json().get("notices", ())))


def test_notices_are_for_requests(client):
    columns = {**SHOPS, "ds": DAYS * 3}
    future = {**AHEAD, "ds": [*range(20240411, 20240415)] * 3}
    found = client.post("/forecast", json={"model": "shops", "table": columns, "future": future})
    assert "number the rows from 0 if they are integer steps" in str(found.json()["notices"])
    assert not OPTION.search(" ".join(found.json()["notices"]))


def test_points_that_may_separate_thousands_are_told_of_without_options(client):
    path, sent = marked(lambda y: f"{y:.0f}.000")
    answer = client.post(path, **sent)
    assert "write 20000 if the point separates thousands" in answer.headers["convtimenet-notices"]


def test_every_column_without_a_header_is_a_step(client, by_name):
    answer = client.post("/regress", content=b"1.5,2,3.5\n2.5,3,4.5", headers=CSV)
    assert "so every column is a step" in answer.headers["convtimenet-notices"]
    want = by_name["sizes"].predict([[[1.5, 2, 3.5]], [[2.5, 3, 4.5]]])
    got = [float(line.split(",")[1]) for line in answer.text.splitlines()[1:]]
    assert got == pytest.approx(want, rel=1e-4)
