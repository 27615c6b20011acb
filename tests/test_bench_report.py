"""The report on a matrix: its numbers against hand computation, and its pages."""

from __future__ import annotations

import json
import math
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from scipy import stats

from convtimenet.bench.matrix import Cell, Matrix
from convtimenet.bench.report import write_report
from convtimenet.bench.report.costs import geometric_mean
from convtimenet.bench.report.document import Facts, Part, Table, as_html, as_markdown
from convtimenet.bench.report.pictures import cost_diagram, rank_diagram
from convtimenet.bench.report.published import read_published
from convtimenet.bench.report.ranks import critical_difference, mean_ranks, ranking
from convtimenet.bench.report.short import _cells, _duel, _sentence, duels
from convtimenet.bench.report.summary import Column, Results, best, columns_of, complete
from convtimenet.cli.main import main
from convtimenet.errors import ConfigError, DataError, MissingExtraError

MATRIX = """
title = "Ours & others"
published = "others.toml"
reference = "ridge"
ours = ["ours", "sorts"]
[models.naive]
entry = "own:naive"
title = "Naive"
deterministic = true
[models.ridge]
entry = "own:ridge"
title = "Ridge, closed form"
deterministic = true
[models.ours]
entry = "own:ours"
title = "Ours"
variants.paper = {}
variants.part = {}
[models.net]
entry = "own:net"
[models.sorts]
entry = "own:sorts"
[models.trees]
entry = "own:trees"
[sets]
A.path = "a.csv"
B.path = "b.csv"
X.path = "x"
Y.path = "y"
[sets.monthly]
entry = "own:series"
each = ["gas@1", "gas@2", "ice@1"]
[sets.daily]
entry = "own:series"
each = ["rain@1"]

[[runs]]
models = ["naive", "ridge"]
sets = ["A", "B"]
horizons = [24, 48]
[[runs]]
models = ["ours.paper"]
sets = ["A"]
horizons = [24, 48]
seeds = [1, 2, 3]
[[runs]]
models = ["ours.part"]
sets = ["B"]
horizons = [24, 48]
seeds = [1, 2]
[[runs]]
models = ["net"]
sets = ["A"]
horizons = [24, 48]
[[runs]]
models = ["ours.paper"]
sets = ["A"]
horizons = [24]
protocols = ["paper"]
seeds = [1, 2]
[[runs]]
models = ["sorts", "trees"]
sets = ["X", "Y"]
seeds = [1]
[[runs]]
models = ["naive", "net"]
sets = ["monthly", "daily"]
"""

OTHERS = """
[[tables]]
source = "Somebody 2020, table 3"
models = ["Peer", "Other"]
[[tables.rows]]
set = "A"
horizons = [24, 48]
mse = [0.35, nan]
[[tables.rows]]
set = "B"
horizons = [24, 48, 96]
mse = [9.75, 9.75]
[[tables.rows]]
set = "X"
accuracy = [0.125, 1]
"""

# MSE by seed; accuracy of X and Y
SCORES: dict[str, dict[int, float]] = {
    "naive:A-24:honest": {2023: 0.50},
    "naive:A-48:honest": {2023: 0.60},
    "naive:B-24:honest": {2023: 0.80},
    "naive:B-48:honest": {2023: 0.90},
    "ridge:A-24:honest": {2023: 0.40},
    "ridge:A-48:honest": {2023: 0.40},
    "ridge:B-24:honest": {2023: 0.80},
    "ridge:B-48:honest": {2023: 0.10},
    "ours.paper:A-24:honest": {1: 0.30, 2: 0.32, 3: 0.34},  # 0.32, sd 0.02
    "ours.paper:A-48:honest": {1: 0.30, 2: 0.32, 3: 0.34},
    "ours.part:B-24:honest": {1: 0.50},  # one of two seeds
    "ours.part:B-48:honest": {1: 0.2, 2: 0.4},  # 0.3, sd 0.1414
    "net:A-24:honest": {2023: 0.2799},  # leads by 0.0401 > 0.02 + 0.02 borrowed
    "ours.paper:A-24:paper": {1: 0.15, 2: 0.16},
    "sorts:X:honest": {1: 0.75},
    "sorts:Y:honest": {1: 0.5},
    "trees:X:honest": {1: 0.25},
}
SMALL = {  # MASE of net, and of the naive forecast
    "gas@1": (0.5, 1.0),
    "gas@2": (2.0, 1.0),
    "ice@1": (0.7, 0.0),  # naive is exact: no ratio
    "rain@1": (0.64, 1.0),
}


def line(cell: Cell, scores: Mapping[str, Any], **found: Any) -> dict[str, Any]:
    return {
        "cell": vars(cell),
        "scores": scores,
        "naive": {"mse": 1.0, "mae": 1.0},
        "cpu_seconds": {"fit": 3.0, "predict": 1.0},
        "parameters": 1234,
        "macs": None,
        "peak_memory_mib": 400,
        "versions": {"convtimenet": "0.1.0", "torch": "2.9"},
        "commit": "abc",
        "machine": {"processor": "CPU 1", "threads": 1},
        "date": "2026-01-02T03:04Z",
        **found,
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Matrix, Path]:
    """The matrix, and its lines."""
    tmp_path = tmp_path_factory.mktemp("bench")
    (tmp_path / "try.toml").write_text(MATRIX, encoding="utf-8")
    (tmp_path / "others.toml").write_text(OTHERS, encoding="utf-8")
    matrix = Matrix.read(tmp_path / "try.toml")
    found: list[dict[str, Any]] = []
    for cell in matrix.cells:
        score = SCORES.get(f"{cell.who}:{cell.where}:{cell.protocol}", {}).get(cell.seed)
        if cell.dataset in SMALL:
            net, naive = SMALL[cell.dataset]
            mase = naive if cell.model == "naive" else net
            found.append(line(cell, {"mase": mase}, naive={"mase": naive}))
        elif cell.horizon is None and score is not None:
            found.append(line(cell, {"accuracy": score}))
        elif score is not None:
            found.append(line(cell, {"mse": score, "mae": 2 * score}))
    [bad] = matrix.only(["net:A-48"])
    found.append({"cell": vars(bad), "error": "ValueError: no | luck\nat all"})
    found[0]["commit"], found[0]["date"] = "def", "2026-01-01T00:00Z"
    found[0]["versions"] = {"convtimenet": "0.0.9", "torch": "2.9"}
    found.append(line(matrix.cells[0], {"mse": 0.50, "mae": 1.0}))  # newest: counts
    out = tmp_path / "lines.jsonl"
    out.write_text("".join(json.dumps(one) + "\n" for one in found), encoding="utf-8")
    return matrix, out


@pytest.fixture(scope="module")
def folder(made) -> Path:
    """With the pages of all cells."""
    matrix, out = made
    written = write_report(matrix, matrix.cells, out, out.parent / "new" / "page")
    assert {path for _, path in written} == {*(out.parent / "new" / "page").iterdir()}
    return out.parent / "new" / "page"


@pytest.fixture
def markdown(folder) -> str:
    return (folder / "try.md").read_text(encoding="utf-8")


def table(markdown: str, caption: str) -> dict[str, list[str]]:
    """Rows of a table by their first cell; of several with the same one the last."""
    text = markdown.split(f"### {caption}\n\n")[1]
    rows = [row for row in text.split("\n\n")[0].splitlines() if not row.startswith("| ---")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    return {first: rest for first, *rest in cells}


# --- tables -----------------------------------------------------------------------------------


def test_scores_with_seeds_marks_and_gaps(markdown):
    assert table(markdown, "Forecasting, MSE") == {
        "Set": ["Naive", "Ridge, closed form", "Oursᵃ", "net"],
        # 0.32 - 0.2799 = 0.0401 > 0.02 + 0.02, which the one seed of net borrows
        "A-24": ["0.500", "0.400", "0.320 ± 0.020 (3)", "**0.280**"],
        "A-48": ["0.600", "0.400", "**0.320 ± 0.020 (3)**", "failed"],
        "B-24": ["0.800", "0.800", "0.500 (1 of 2)", ""],  # no deviation is known
        "B-48": ["0.900", "**0.100**", "0.300 ± 0.141 (2)", ""],  # 0.2 > 0 + 0.141
        # naive 3, 3, 2.5, 3; ridge 2, 2, 2.5, 1; ours 1, 1, 1, 2
        "Mean rank in 4 rows": ["2.88", "1.88", "1.25", ""],
    }
    assert table(markdown, "Forecasting, MAE")["A-24"] == [
        "1.000", "0.800", "0.640 ± 0.040 (3)", "**0.560**"
    ]  # fmt: skip
    assert "ᵃ ours.paper on A; ours.part on B." in markdown
    assert "for a deterministic one 0 (here: Naive; Ridge, closed form)" in markdown
    assert "failed: the reason is at the end of the page" in markdown
    assert table(markdown, "Classification, accuracy") == {
        "Set": ["sorts", "trees"],
        "X": ["0.750", "0.250"],
        "Y": ["0.500", "not run"],
        "Mean rank in 1 row": ["1.00", "2.00"],
    }


def test_published_figures_stand_only_beside_the_same_horizons(markdown):
    assert table(markdown, "MSE and published scores") == {
        "Set": ["Naive", "Ridge, closed form", "Oursᵃ", "Peer¹"],
        "A, mean of 2": ["0.550", "0.400", "0.320", "0.350"],
        "B, mean of 2": ["0.850", "0.450", "0.400", ""],
    }
    assert "9.75" not in markdown
    assert "Means are over horizons, if all of them have results. A, B: 24, 48." in markdown
    assert "¹ Somebody 2020, table 3." in markdown
    assert table(markdown, "Accuracy and published scores") == {
        "Set": ["sorts", "trees", "Peer¹", "Other¹"],
        "X": ["0.750", "0.250", "0.125", "1.000"],
    }


def test_protocols_compare_the_seeds_that_both_have(markdown):
    # honest (0.30 + 0.32) / 2, paper 0.155
    assert table(markdown, "Forecasting by protocol")["A-24"] == [
        "Ours", "0.310", "0.155", "-50.0 %", "0.620", "0.310", "-50.0 %", "2"
    ]  # fmt: skip


def test_small_series_relative_to_naive(markdown):
    rows = [row for row in markdown.splitlines() if re.match(r"\| (monthly|daily|All)", row)]
    assert rows == [
        "| monthly | 3 | 1.000 (0 %; 2) | 1.000 (50 %; 2) |",  # sqrt(0.5 * 2)
        "| daily | 1 | 1.000 (0 %) | 0.640 (100 %) |",
        f"| All groups | 4 | 1.000 (0 %; 3) | {0.64 ** (1 / 3):.3f} (67 %; 3) |",
    ]
    assert "gas@1" not in markdown
    assert "cells have run" not in markdown


def test_a_group_with_a_set_that_has_not_run_has_no_mean(made, tmp_path):
    matrix, out = made
    kept = [one for one in out.read_text().splitlines() if '"rain@1"' not in one]
    (tmp_path / "less.jsonl").write_text("\n".join(kept))
    write_report(matrix, matrix.cells, tmp_path / "less.jsonl", tmp_path)
    text = (tmp_path / "try.md").read_text(encoding="utf-8")
    found = table(text, "Relative MASE by group")
    assert found["monthly"] == ["3", "1.000 (0 %; 2)", "1.000 (50 %; 2)"]
    assert found["daily"] == ["1", "not run", "not run"]
    assert found["All groups"] == ["4", "not run", "not run"]
    assert "net: 3 of 4 cells have run" in text


def test_ours_beside_each_other_model(markdown):
    part = markdown.split("## In short\n\n")[1].split("\n\n## ")[0]
    # net: 0.32 / 0.2799; ridge: 0.8, 0.8, 0.625, 3; naive: 0.64, 0.5333, 0.625, 0.3333
    assert part.startswith(
        "Forecasting: on average the MSE of Ours is higher than that of net (by 14.3 %; ahead in "
        "0 of 1) and Ridge, closed form (by 4.7 %; ahead in 3 of 4), and lower than that of Naive "
        "(by 48.4 %; ahead in 4 of 4). Lower is better.\n\n"
        "Classification: on average the accuracy of sorts is higher than that of trees (by 50.0 "
        "points; ahead in 1 of 1). Higher is better.\n\n"
    )
    rows = [row for row in part.splitlines() if re.match(r"\| (Forec|Class)", row)]
    assert rows == [
        "| Forecasting, MSE | Ours | Naive | 4 | 4 | 0 | 0 | -48.4 % |",
        "| Forecasting, MSE | Ours | Ridge, closed form | 4 | 3 | 1 | 0 | +4.7 % |",
        "| Forecasting, MSE | Ours | net | 1 of 2 | 0 | 1 | 0 | +14.3 % |",
        "| Classification, accuracy | sorts | trees | 1 of 2 | 1 | 0 | 0 | +50.0 points |",
    ]


def test_ahead_behind_and_equal(made):
    matrix, out = made
    results = Results.read(matrix, matrix.cells, out)
    by_task = results.by_task()
    naive, *_ = duels(results.grid(by_task["forecasting"]), ["ridge"], "forecasting")
    assert (naive.peer.title, naive.named) == ("Naive", 4)
    assert (naive.ahead, naive.behind, naive.equal) == (3, 0, 1)  # 0.8 each on B-24
    assert naive.difference == pytest.approx(100 * ((0.8 / 1.5 / 9) ** 0.25 - 1))
    [small] = duels(results.grid(by_task["small series"]), ["net"], "small series")
    assert (small.named, small.ahead, small.behind, small.equal) == (4, 2, 1, 0)
    assert small.difference == pytest.approx(100 * (0.64 ** (1 / 3) - 1))


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(2.0, 2.0), (3.0, 3.0)], "equal to that of Peer. Lower is better."),
        ([(0.0, 0.0)], "equal to that of Peer. Lower is better."),
        ([(2.0, 1.0), (1.0, 2.0)], "equal to that of Peer. Lower is better."),
        ([(2.0, 2.0 + 1e-12)], "equal to that of Peer. Lower is better."),
        ([(1.0, 2.0)], "lower than that of Peer (by 50.0 %; ahead in 1 of 1). Lower is better."),
        ([(1.0, 0.0)], "not compared, as an error of 0 has no ratio. Lower is better."),
        ([], "not compared with any yet. Lower is better."),
    ],
)
def test_a_sentence_of_one_comparison(pairs, expected):
    ours, peer = (Column(one, one.lower(), ("",), False) for one in ("Ours", "Peer"))
    duel = _duel(ours, peer, 3, pairs, range(len(pairs)), less=True)
    found = _sentence(ours, [duel], "forecasting", "MSE")
    assert found == f"Forecasting: on average the MSE of Ours is {expected}"


@pytest.mark.parametrize("less", [True, False])
def test_the_interval_is_students_over_the_means_of_series(less):
    """Of series with as many rows each: those of one series count once."""
    rng = np.random.default_rng(1)
    logs = rng.normal(0.1, 0.2, (5, 1)) + rng.normal(0, 0.1, (5, 3))
    ours, peer = (Column(one, one.lower(), ("",), False) for one in ("Ours", "Peer"))
    series = np.repeat(list("abcde"), 3).tolist()
    pairs = [(value, 0.0) for value in logs.flat]
    pairs = [(math.exp(a), 1.0) for a, _ in pairs] if less else pairs
    means = logs.mean(1)
    expected = stats.t.interval(0.95, 4, means.mean(), stats.sem(means))
    found = _duel(ours, peer, 15, [*pairs, (math.nan, 1.0)], [*series, "f"], less=less)
    back = np.expm1 if less else np.asarray
    assert found.interval == pytest.approx(100 * back(expected))
    assert found.difference == pytest.approx(100 * back(means.mean()))
    of_two = _duel(ours, peer, 15, pairs[:6], series[:6], less=less)
    assert of_two.interval is None
    row = _cells(found, "forecasting" if less else "classification", "x")[-1]
    low, high = found.interval or (0.0, 0.0)
    unit = " %" if less else " points"
    assert row == f"{found.difference:+.1f}{unit} ({low:+.1f} to {high:+.1f})"


def test_rows_of_a_series_are_told_by_its_name(made):
    """gas@1, gas@2 and rain@1 are of two series; a set's horizons are of one set."""
    matrix, out = made
    results = Results.read(matrix, matrix.cells, out)
    found = [
        duel.interval
        for task, own in results.by_task().items()
        for duel in duels(results.grid(own), ["net", "ours", "sorts"], task)
    ]
    assert found == [None] * len(found)  # no three sets or series anywhere
    assert len(found) > 3


def test_without_ours_there_is_no_such_part(made, tmp_path):
    matrix, out = made
    plain = replace(matrix, ours=())
    write_report(plain, plain.cells, out, tmp_path)
    text = (tmp_path / "try.md").read_text(encoding="utf-8")
    assert text.startswith("# Ours & others\n\n## Forecasting\n")


def test_costs_failures_and_origin(markdown):
    assert table(markdown, "Cost of forecasting")["Ours"] == [
        "9", "4.00", "1.23 k", "not counted", "400"
    ]  # fmt: skip
    assert table(markdown, "Forecasting, CPU seconds of fit")["A-48"] == [
        "3.00", "3.00", "3.00", "failed"
    ]  # fmt: skip
    assert table(markdown, "Classification, CPU seconds of fit")["Y"] == ["3.00", "not run"]
    assert table(markdown, "Cells without a result") == {
        "Cell": ["Result"],
        "net:A-48:honest:2023": [r"failed: ValueError: no \| luck at all"],
    }
    foot = markdown.split("## How this was measured")[1].strip().splitlines()
    assert foot == [
        "- Matrix: try.toml",
        "- Cells with a result: 31 of 34",
        "- Measured: 2026-01-02T03:04Z to 2026-01-02T03:04Z",
        "- Versions: convtimenet 0.1.0, torch 2.9",
        "- Commits: abc (31 cells)",
        "- Machines: CPU 1, 1 thread per cell (31 cells)",
        "- This page: convtimenet bench report try.toml --out lines.jsonl",
    ]


def test_seconds_of_different_processors_are_told_apart(made, markdown, tmp_path):
    matrix, out = made
    told = "CPU seconds were measured on different processors"
    assert told not in markdown
    changed = [json.loads(one) for one in out.read_text(encoding="utf-8").splitlines()]
    for one in changed:
        if one["cell"]["model"] == "ridge" and one["cell"]["horizon"] == 24:
            one["machine"]["processor"] = "CPU 2"
    (tmp_path / "two.jsonl").write_text("\n".join(map(json.dumps, changed)))
    write_report(matrix, matrix.cells, tmp_path / "two.jsonl", tmp_path)
    text = (tmp_path / "try.md").read_text(encoding="utf-8")
    assert text.count(told) == 1  # below the costs of forecasting, not of classification
    assert text.count("Processors: as for the table above.") == 1
    assert (
        "CPU 1: Naive (4 cells), Ridge, closed form (2 cells), Ours (9 cells), net (1 cell). "
        "CPU 2: Ridge, closed form (2 cells)." in text
    )


def test_a_seed_that_is_not_finite_is_said(made, tmp_path):
    matrix, out = made
    [cell] = matrix.only(["net:A-48"])
    more = json.dumps(line(cell, {"mse": None, "mae": None}))
    (tmp_path / "more.jsonl").write_text(f"{out.read_text()}{more}\n")
    write_report(matrix, matrix.cells, tmp_path / "more.jsonl", tmp_path)
    text = (tmp_path / "try.md").read_text(encoding="utf-8")
    assert table(text, "Forecasting, MSE")["A-48"][3] == "not finite"
    assert "failed" not in text


# --- marks and blocks -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("means", "spreads", "fixed", "less", "expected"),
    [
        ([1.0, 2.0], [0.4, 0.5], [False, False], True, 0),
        ([1.0, 2.0], [0.5, 0.5], [False, False], True, None),  # not more than their sum
        ([1.0, 2.0], [0.4, 0.5], [False, False], False, 1),
        ([1.0, 2.0, 9.0], [0.1, None, 0.8], [False, False, False], True, 0),  # borrows 0.8
        ([1.0, 2.0, 9.0], [0.1, None, 1.0], [False, False, False], True, None),  # borrows 1.0
        ([1.0, 1.5, 9.0], [None, 0.4, None], [True, False, True], True, 0),  # 0 + 0.4
        ([1.0, 2.0], [None, None], [True, True], True, None),  # no deviation is known
        ([1.0, math.nan, 3.0], [0.1, 9.0, 0.1], [False, False, False], True, 0),
        ([1.0, math.nan], [0.1, None], [False, False], True, None),  # nothing beside it
    ],
)
def test_best(means, spreads, fixed, less, expected):
    assert best(means, spreads, fixed, less=less) == expected


@pytest.mark.parametrize(
    ("present", "must", "expected"),
    [
        (["111", "111"], None, ([0, 1], [0, 1, 2])),
        (["1110", "1111", "1110", "1110"], None, ([0, 1, 2, 3], [0, 1, 2])),
        (["1110", "1111", "1110", "1110"], 3, ([1], [0, 1, 2, 3])),
        (["1101", "1111", "0111"], None, ([0, 1], [0, 1, 3])),
        (["10", "01"], None, ([], [])),
        ([""], None, ([], [])),
    ],
)
def test_the_largest_block_without_gaps(present, must, expected):
    array = np.array([[mark == "1" for mark in row] for row in present], dtype=bool)
    assert complete(array.reshape(len(present), -1), must) == expected


def cell(who: str, dataset: str, protocol: Any = "honest") -> Cell:
    model, _, variant = who.partition(".")
    return Cell(dataset, 1, model, variant, protocol, 1)


def test_a_column_is_deterministic_if_all_its_variants_are(made):
    matrix, _ = made
    cells = [cell("ours.paper", "A"), cell("ours.part", "B")]

    def column(model: bool | None = None, **variants: bool) -> bool:
        own = {**matrix.models["ours"]} | ({} if model is None else {"deterministic": model})
        own["variants"] = {
            name: {"deterministic": variants[name]} if name in variants else {}
            for name in ("paper", "part")
        }
        changed = replace(matrix, models={**matrix.models, "ours": own})
        assert changed.settings(cells[0]) == {}
        assert changed.fingerprint(cells[0]) == matrix.fingerprint(cells[0])
        [found] = columns_of(changed, cells)
        return found.deterministic

    assert not column()
    assert not column(paper=True)
    assert column(paper=True, part=True)
    assert column(model=True)
    assert not column(model=True, part=False)


def test_variants_share_a_column_until_they_meet(made):
    matrix, _ = made
    apart = [cell("ours.paper", "A"), cell("ours.part", "B"), cell("naive", "A")]
    assert [(c.title, c.variants) for c in columns_of(matrix, apart)] == [
        ("Naive", ("",)),
        ("Ours", ("paper", "part")),
    ]
    matrix.models["ours"]["apart"] = ["part"]
    assert [c.variants for c in columns_of(matrix, apart)] == [("",), ("paper",), ("part",)]
    del matrix.models["ours"]["apart"]
    other_protocol = cell("ours.part", "A", "paper")
    assert len(columns_of(matrix, [*apart, other_protocol])) == 2
    assert [c.title for c in columns_of(matrix, [*apart, cell("ours.part", "A")])] == [
        "Naive",
        "Ours (paper)",
        "Ours (part)",
    ]


# --- statistics -------------------------------------------------------------------------------


def test_mean_ranks_by_hand():
    scores = np.array([[0.1, 0.2, 0.3], [0.2, 0.2, 0.1], [0.5, 0.4, 0.6]])
    # 1 2 3; 2.5 2.5 1; 2 1 3
    assert mean_ranks(scores, less=True) == pytest.approx([5.5 / 3, 5.5 / 3, 7 / 3])
    assert mean_ranks(scores, less=False) == pytest.approx([6.5 / 3, 6.5 / 3, 5 / 3])


def test_critical_difference_is_that_of_the_paper():
    # Demsar 2006, table 5: 2.343 for 3 models, 2.569 for 4; his example has 14 sets
    assert critical_difference(4, 14) == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), 1e-3)
    assert critical_difference(3, 10) == pytest.approx(2.343 * math.sqrt(3 * 4 / 60), 1e-3)


def test_ranking_against_scipy_and_runs_of_models_alike():
    rng = np.random.default_rng(0)
    scores = np.arange(5.0) * 0.8 + rng.standard_normal((12, 5))
    found = ranking(scores, less=True)
    assert found.p == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue)
    assert found.p < 0.05
    assert found.ranks == pytest.approx(stats.rankdata(scores, axis=1).mean(axis=0))
    order = np.argsort(found.ranks)
    alike = {(a, b) for run in found.alike for a in run for b in run}
    for a in order:
        for b in order:
            if a != b:
                near = abs(found.ranks[a] - found.ranks[b]) < found.difference
                assert ((a, b) in alike) == near
    assert not any({*one} < {*other} for one in found.alike for other in found.alike)


def test_no_difference_joins_all():
    scores = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 3.0, 2.0]])
    found = ranking(scores, less=True)
    assert found.p > 0.05
    assert [sorted(run) for run in found.alike] == [[0, 1, 2]]
    equal = ranking(np.ones((4, 3)), less=True)
    assert (equal.p, equal.ranks.tolist()) == (1.0, [2.0, 2.0, 2.0])


def test_geometric_mean():
    assert geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)
    assert geometric_mean([0.0, 2.0]) == 0.0


# --- pages ------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Checks that tags balance, and keeps them."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_pages_hold_the_same_and_need_nothing_else(made, folder):
    matrix, out = made
    assert {path.name for path in folder.iterdir()} == {
        "try.md", "try.html", "try-ranks-forecasting.svg", "try-cost-forecasting.svg",
        "try-cost-classification.svg",
    }  # fmt: skip
    markdown = (folder / "try.md").read_text(encoding="utf-8")
    html = (folder / "try.html").read_text(encoding="utf-8")
    page = Page(html)
    sources = [attrs["src"] or "" for tag, attrs in page.tags if tag == "img"]
    pictures = [unquote(source.partition(",")[2]).encode() for source in sources]
    names = re.findall(r"!\[[^]]+\]\((.*?)\)", markdown)
    files = [(folder / name).read_bytes() for name in names]
    assert [re.sub(rb"(\d\.\d{2})\d+", rb"\1", file) for file in files] == pictures
    for picture in pictures:
        assert ElementTree.fromstring(picture).tag.endswith("svg")
        assert b"mathdefault" not in picture
    for tag, attrs in page.tags:
        assert tag not in ("script", "link", "iframe")
        assert not (attrs.get("href") or "#").startswith("http")
    assert html.count("<strong>") == markdown.count("**") // 2 == 6
    assert "<title>Ours &amp; others</title>" in html
    for text in ("0.320 ± 0.020 (3)", "Somebody 2020, table 3", "no | luck", "0.500 (1 of 2)"):
        assert text in html
    assert markdown.startswith("# Ours & others\n\n## In short\n")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_report(matrix, matrix.cells, out, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_pictures_say_what_they_show(folder, markdown):
    # ranks by set, with means over its horizons: A .55 .4 .32; B .85 .45 .4
    assert "Mean ranks from the best: Ours 1.00, Ridge, closed form 2.00, Naive 3.00;" in markdown
    assert "Mean ranks of MSE over 2 sets (A, B), seeds averaged first; a set counts" in markdown
    assert "over 4 set-horizons in all" in markdown
    assert markdown.count("Left out because of missing results: net.") == 2
    relative = {
        "Naive": geometric_mean([0.5 / 0.4, 0.6 / 0.4, 1.0, 9.0]),
        "Ours": geometric_mean([0.8, 0.8, 0.5 / 0.8, 3.0]),
    }
    for name, value in relative.items():
        assert f"{name} {value:.3f} in 4.000 s" in markdown
    assert "Classification: no rank diagram; it needs three models" in markdown
    drawn = (folder / "try-ranks-forecasting.svg").read_text(encoding="utf-8")
    for text in ("Ours 1.00", "Ridge, closed form 2.00", "Naive 3.00", "longer than the axis"):
        assert text in drawn
    cost = (folder / "try-cost-forecasting.svg").read_text(encoding="utf-8")
    for text in ("Ours", "Ridge, closed form", "Naive", "relative MSE (lower is better)"):
        assert text in cost


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("Ridge, closed form", ["Ridge, closed form"]),
        (
            "InceptionTime, one network, 100 epochs (not 1,500)",
            ["InceptionTime, one network, 100", "epochs (not 1,500)"],
        ),
        ("a" * 80, ["a" * 34, f"{'a' * 17}…{'a' * 16}"]),
    ],
)
def test_a_long_name_stands_on_two_lines(name, lines):
    scores = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]])
    found = ranking(scores, less=True)
    for drawn in (
        rank_diagram(found, [name, "b", "c"]),
        cost_diagram(np.arange(1, 4), scores[0], [name, "b", "c"], ylabel="y", xlabel="x"),
    ):
        texts = {(one.text or "").strip() for one in ElementTree.fromstring(drawn).iter()}
        assert {re.sub(r" 1\.00$", "", text) for text in texts} >= {*lines}


def test_words_that_markdown_and_html_would_take_as_their_own():
    evil = "<b>*a*|`b`_c_ a_b\n# [x]"
    part = Part(
        "p", evil, [evil, Table(caption=evil, columns=[evil], rows=[[evil]]), Facts({"k": evil})]
    )
    text = as_markdown(evil, [part], "stem")
    safe = r"\<b>\*a\*\|\`b\`\_c\_ a_b # \[x\]"
    assert text.splitlines()[0] == f"# {safe}"
    assert text.count(safe) == 7
    html = as_html(evil, [part])
    Page(html)
    assert "<b>*" not in html


def test_only_some_cells(made, tmp_path, capsys):
    matrix, out = made
    where = str(tmp_path / "some")
    arguments = ["bench", "report", str(matrix.path), "--out", str(out)]
    main([*arguments, "--report", where, "--only", "ridge:A-*", "ours.*:A-*"])
    assert "try.md" in capsys.readouterr().out
    text = (tmp_path / "some" / "try.md").read_text(encoding="utf-8")
    assert {*table(text, "Forecasting, MSE")} >= {"A-24", "A-48"}
    assert "B-24" not in text
    assert "- Cells with a result: 10 of 10; 24 other cells of the matrix were not selected" in text


def test_nothing_to_report(made, tmp_path):
    matrix, _ = made
    with pytest.raises(DataError, match=r"found none for the 34 cells; .*convtimenet bench run"):
        write_report(matrix, matrix.cells, tmp_path / "absent.jsonl", tmp_path)


def test_without_matplotlib(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"convtimenet\[report\]"):
        write_report(made[0], made[0].cells, made[1], tmp_path / "page")
    assert not (tmp_path / "page").exists()


# --- published scores ------------------------------------------------------------------------


@pytest.fixture
def others(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(old: str, new: str) -> Path:
        assert old in OTHERS
        path = tmp_path / "others.toml"
        path.write_text(OTHERS.replace(old, new, 1), encoding="utf-8")
        return path

    return write


def test_published_figures_by_model(others):
    peer, other = read_published(others("A", "A"))
    assert (peer.model, other.source) == ("Peer", "Somebody 2020, table 3")
    assert peer.scores == {
        "mse": {("A", (24, 48)): 0.35, ("B", (24, 48, 96)): 9.75},
        "accuracy": {("X", ()): 0.125},
    }
    assert other.scores == {"mse": {("B", (24, 48, 96)): 9.75}, "accuracy": {("X", ()): 1.0}}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[[tables]]", "[[table]]", r"the file has no setting 'table"),
        ('source = "Somebody 2020, table 3"', "", r"needs source = TEXT and models"),
        ('models = ["Peer", "Other"]', "models = []", r"needs source = TEXT and models"),
        ("mse = [0.35, nan]", "mse = [0.35]", r"row of A needs mse = .* each of 2 models"),
        ("mse = [0.35, nan]", 'mse = [0.35, "-"]', r"nan if there is none"),
        ("mse = [0.35, nan]", "mze = [0.35, nan]", r"no setting 'mze'; expected some of set"),
        ('set = "A"\n', "", r"\[\[tables.rows\]\] needs set = TEXT"),
        ("horizons = [24, 48]", "horizons = 24", r"horizons = \[...\] for forecasting"),
    ],
)
def test_published_refusals(others, old, new, message):
    with pytest.raises(ConfigError, match=message):
        read_published(others(old, new))


def test_the_file_of_published_figures_that_ships():
    path = Path(__file__).parents[1] / "benchmarks" / "evidence" / "published.toml"
    found = {one.model: one for one in read_published(path)}
    assert found["DUET"].scores["mse"]["ILI", (24, 36, 48, 60)] == 1.616
    assert found["PatchTST"].scores["mae"]["ETTh1", (96,)] == 0.397
    assert found["TimesNet"].scores["mse"].keys() == found["DLinear"].scores["mse"].keys()
    assert len(found["TimesNet"].scores["mse"]) == 9
    assert found["HC2"].scores["accuracy"]["EthanolConcentration", ()] == 0.719
