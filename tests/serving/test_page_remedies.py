"""What the page says about a file can be done with its controls, and that works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from convtimenet.data.tables import read_table
from convtimenet.errors import DataError
from convtimenet.serving.workbench import filling, recordings, tables
from convtimenet.serving.workbench.asked import CaseRoles, Columns
from convtimenet.wording import written_for

PAGE = Path(tables.__file__).parents[1] / "page"
OPTION = re.compile(
    r"--\w|\w+=\.\.\.|[Pp]ass \w+|predict\(|_col\b|_exog\b|\bdayfirst|\w=\w|\bin pandas\b"
)
DAYS = [f"2024-01-{day:02d}" for day in range(1, 31)]


def rows(*columns: list[Any], head: str) -> str:
    return (
        "\n".join([head, *(";".join(map(str, row)) for row in zip(*columns, strict=True))]) + "\n"
    )


NUMBERS = list(range(30))
# a file, what is chosen, what is said to do, what is chosen then, or another file
UNREAD = {
    "decimal mark": (
        rows(DAYS, [f"{n + 1},000" for n in NUMBERS], head="date;y"),
        {},
        "choose 'comma' as the decimal mark for 1, 'point' for 1000",
        {"decimal": ","},
    ),
    "wrong decimal mark": (
        rows(DAYS, [f"{n + 1},5" for n in NUMBERS], head="date;y"),
        {"decimal": "."},
        "the decimal mark that is chosen; choose another, or 'as detected'",
        {"decimal": None},
    ),
    "order of dates": (
        rows([f"{n % 12 + 1:02d}/01/{2001 + n // 12}" for n in NUMBERS], NUMBERS, head="date;y"),
        {},
        "choose that 03/04/2024 is in April for",
        {"dayfirst": False},
    ),
    "wrong order of dates": (
        rows([f"01/{n + 1:02d}/2001" for n in NUMBERS], NUMBERS, head="date;y"),
        {"dayfirst": True},
        "as it is chosen; choose 'as detected' for 03/04/2024",
        {"dayfirst": None},
    ),
    "no values": (
        rows(DAYS, [""] * 30, NUMBERS, head="date;y;x"),
        {"target_cols": ["y", "x"]},
        "choose 'not used' for these columns",
        {"target_cols": ["x"]},
    ),
    "text": (
        rows(DAYS, ["north", "south"] * 15, NUMBERS, head="date;y;x"),
        {"target_cols": ["y", "x"]},
        "choose 'series' for 'y' if it holds series ids, otherwise 'not used'",
        {"target_cols": ["x"]},
    ),
    "a cell of text": (
        rows(DAYS, [*NUMBERS[:-1], "n/k"], NUMBERS, head="date;y;x"),
        {"target_cols": ["y", "x"]},
        "or choose 'not used' for 'y'",
        {"target_cols": ["x"]},
    ),
    "a gap": (
        rows(["1990-01-01", *DAYS[1:]], NUMBERS, head="date;y"),
        {},
        "leave out the rows before the gap",
        rows(DAYS[1:], NUMBERS[1:], head="date;y"),
    ),
    "steps that look like dates": (
        rows([*range(20240101, 20240130), 20240199], NUMBERS, head="time;y"),
        {},
        "enter 1 as the step if the numbers are steps",
        {"freq": "1"},
    ),
    "no column of times": (
        rows([f"n{n}" for n in NUMBERS], NUMBERS, NUMBERS, head="when;y;x"),
        {},
        "choose 'time' for the one that holds the times",
        {"time_col": "y", "target_cols": ["x"]},
    ),
    "no times": (
        rows([f"{n / 8}" for n in NUMBERS], NUMBERS, head="y;x"),
        {},
        "; if there are none, enter 1 as the step to number the rows 0, 1, 2, ...",
        {"freq": "1"},
    ),
    "a plain list": (
        rows([f"{n / 8}" for n in NUMBERS], head="0.5"),
        {},
        "the column names are numbers: add a header line if they are data; choose 'time' for",
        {"freq": "1"},
    ),
}


def chosen(**columns: Any) -> dict[str, Any]:
    return Columns(**columns).given()


@pytest.mark.parametrize("name", UNREAD)
def test_remedies_name_controls_and_work(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content, columns, says, then = UNREAD[name]
    Path("x.csv").write_text(content, encoding="utf-8")
    with written_for("page"):
        error = tables.look("x.csv", chosen(**columns))["error"]
        assert says in error
        assert not OPTION.search(error), error
        if isinstance(then, str):
            Path("x.csv").write_text(then, encoding="utf-8")
            then = {}
        found = tables.look("x.csv", chosen(**columns | then))
        # what is shown as chosen is sent with the next choice
        again = tables.look("x.csv", chosen(**columns | then) | found["chosen"])
    assert again.get("error") is None
    assert again["chart"] == found["chart"]
    assert "error" not in found, found["error"]
    assert not OPTION.search(" ".join(found["notices"]))


def test_rows_without_times_are_numbered(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(rows([f"{n / 8}" for n in NUMBERS], head="0.5"), encoding="utf-8")
    found = tables.look(str(path), chosen(freq="1"))
    assert (found["span"], found["step"], found["chosen"]["time_col"]) == (["0", "29"], "1", None)
    assert found["notices"] == [
        "no column holds times, so the rows are numbered 0, 1, 2, ...; the column names are "
        "numbers: add a header line if they are data"
    ]
    path.write_text(rows(["b", "a", "b"], [7, 8, 9], head="unique_id;y"), encoding="utf-8")
    table = read_table(path, frequency=1)
    assert (table.ids.tolist(), table.times.tolist()) == (["b", "a"], [0, 1, 0])
    assert table.values[:, 0].tolist() == [7, 9, 8]
    with pytest.raises(DataError, match=r"if there are none, pass freq=1 \(--freq 1\) to number"):
        read_table(path)


def test_notices_name_controls(tmp_path):
    path = tmp_path / "x.csv"
    years = rows([*range(1990, 2020)], [f"{n + 1}.000" for n in NUMBERS], head="time;y")
    path.write_text(years, encoding="utf-8")
    with written_for("page"):
        notices = " ".join(tables.look(str(path), chosen())["notices"])
        assert "enter a whole number as the step" in notices
        assert "choose 'comma' as the decimal mark if it is 1000" in notices
        assert not OPTION.search(notices)
        assert tables.look(str(path), chosen(freq="1", decimal=","))["step"] == "1"


def test_channels_without_values_cannot_be_filled(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(
        rows(DAYS * 2, ["a"] * 30 + ["b"] * 30, [1] * 30 + [""] * 30, head="ds;unique_id;y")
    )
    columns = {k: v for k, v in chosen().items() if not k.endswith("_exog")}
    with written_for("page"), pytest.raises(DataError) as error:
        filling.impute(str(path), "x", columns, [], None, "cpu", str(tmp_path / "out"))
    assert not OPTION.search(str(error.value))


@pytest.mark.parametrize(
    ("content", "says", "label"),
    [
        ("a,b,t0,t1\nx,y,1,2\nz,w,3,4\n", "choose the right one as the column of labels", None),
        ("t0,t1,t2\n1,n/k,2\n3,4,5\n", "if it is the label, choose it as such", None),
        ("t0,t1,name\n1,2,x\n3,4,z\n", "", "name"),
    ],
)
def test_recordings_name_the_choice_of_labels(tmp_path, content, says, label):
    path = tmp_path / "x.csv"
    path.write_text(content, encoding="utf-8")
    with written_for("page"):
        found = recordings.look(str(path), CaseRoles(label_col=label).model_dump())
    assert says in found.get("error", "")
    assert not OPTION.search(found.get("error", ""))
    assert ("error" in found) == (label is None)


def test_the_page_has_the_controls_that_messages_name():
    page = "".join((PAGE / name).read_text(encoding="utf-8") for name in ("app.html", "app.js"))
    for words in (
        "Decimal mark", "comma", "point", "as detected", "03/04/2024 is in", "April", "March",
        "Step", "not used", "series", "to forecast", '"time"', "known so far", "mean zero",
        "with labels in", "rows over time", "Values known ahead", 'id: "id"',
    ):  # fmt: skip
        assert words in page, words
