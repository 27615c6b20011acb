"""The matrix file and the file of lines: what they name, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convtimenet.bench import lines
from convtimenet.bench.matrix import Cell, Matrix
from convtimenet.errors import ConfigError

WHOLE = """
title = "Try"
results = "found"
published = "others.toml"
reference = "ours.small"
[models.ridge]
entry = "own:ridge"
title = "Ridge"
deterministic = true
[models.ours]
entry = "own:ours"
variants.small = { width = 8 }
variants.large = { width = 64 }
[sets.mine]
path = "mine.csv"
[sets.monthly]
entry = "own:series"
kind = "m"
each = ["gas@1", "gas@2"]
[[runs]]
models = ["ridge", "ours.small"]
sets = ["mine", "ETTh1"]
horizons = [96, 192]
seeds = [1, 2]
[[runs]]
models = ["ridge"]
sets = ["mine", "monthly"]
[[runs]]
models = ["ridge"]
sets = ["mine"]
horizons = [96]
protocols = ["honest", "paper"]
seeds = [1]
"""


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Matrix]:
    def write(text: str = WHOLE, old: str = "", new: str = "") -> Matrix:
        assert old in text
        path = tmp_path / "try.toml"
        (tmp_path / "others.toml").touch()
        path.write_text(text.replace(old, new, 1) if old else text, encoding="utf-8")
        return Matrix.read(path)

    return write


def test_a_matrix_names_each_cell_once_in_the_order_of_its_runs(read, tmp_path):
    matrix = read()
    keys = [cell.key for cell in matrix.cells]
    assert keys[:4] == [
        "ridge:mine-96:honest:1",
        "ridge:mine-96:honest:2",
        "ridge:mine-192:honest:1",
        "ridge:mine-192:honest:2",
    ]
    assert keys[16:] == [
        "ridge:mine:honest:2023",
        "ridge:gas@1:honest:2023",
        "ridge:gas@2:honest:2023",
        "ridge:mine-96:paper:1",  # its honest twin stands above already
    ]
    assert len(keys) == len({*keys})
    assert (matrix.title, matrix.reference) == ("Try", "ours.small")
    assert matrix.results == tmp_path / "found" / "try.jsonl"
    assert matrix.published == tmp_path / "others.toml"
    assert matrix.sets == {
        "mine": {"path": "mine.csv"},
        "gas@1": {"entry": "own:series", "kind": "m", "group": "monthly"},
        "gas@2": {"entry": "own:series", "kind": "m", "group": "monthly"},
    }
    assert matrix.settings(matrix.cells[-1]) == {}
    [cell] = matrix.only(["ours.small:ETTh1-96:honest:2"])
    assert cell == Cell("ETTh1", 96, "ours", "small", "honest", 2)
    assert matrix.settings(cell) == {"width": 8}


def test_what_a_file_leaves_out(read, tmp_path):
    text = '[models.a]\nentry = "own:a"\n[[runs]]\nmodels = ["a"]\nsets = ["ERing"]\n'
    matrix = read(text)
    assert [cell.key for cell in matrix.cells] == ["a:ERing:honest:2023"]
    assert (matrix.title, matrix.published, matrix.reference) == ("try", None, None)
    assert matrix.ours == ()
    assert matrix.results == tmp_path / "results" / "try.jsonl"


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ((), 20),
        (("ridge",), 12),
        (("ridge:mine*",), 6),
        (("ridge:mine-96",), 3),
        (("ridge:mine-96:honest:1",), 1),
        (("*:*:*:2",), 8),
        (("ours.*", "ridge:gas@?"), 10),
        (("ridge:mine-96", "ridge:*:paper"), 3),
    ],
)
def test_only(read, patterns, expected):
    matrix = read()
    chosen = matrix.only(patterns)
    assert len(chosen) == expected
    assert chosen == tuple(cell for cell in matrix.cells if cell in chosen)


def test_only_refuses_a_pattern_that_fits_nothing(read):
    with pytest.raises(ConfigError, match=r"matches 'ridge:mine-96:honest:3'; did you mean ridge:"):
        read().only(["ridge", "ridge:mine-96:honest:3"])
    with pytest.raises(ConfigError, match=r"matches 'zzz'; --dry_run lists them"):
        read().only(["zzz"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title", "titel", r"the file has no setting 'titel'; did you mean title\?"),
        ('reference = "ours.small"', 'reference = "our"', r"reference names the model 'our'"),
        ('reference = "ours.small"', 'ours = ["our"]', r"ours = .* without variants; .*\['our'\]"),
        ('reference = "ours.small"', 'ours = "ours"', r"ours = .* found 'ours'"),
        ('reference = "ours.small"', 'reference = "ours"', r"the variants small, large: write"),
        ("deterministic = true", 'deterministic = "yes"', r"true or false, found 'yes'"),
        (
            "{ width = 8 }",
            '{ deterministic = "yes" }',
            r"models.ours.variants.small needs deterministic = true or false, found 'yes'",
        ),
        ("deterministic", "determinstic", r"did you mean deterministic\?"),
        (
            "[models.ridge]",
            "[models.ridge]\nearlier.old = [{ a = 1 }]",
            r"earlier.VARIANT = \[{...}\], .* variants \(none\), found {'old'",
        ),
        ('entry = "own:ridge"', 'entry = "own"', r"models.ridge needs entry = .*found 'own'"),
        ("[models.ridge]", "[model.ridge]", r"the file has no setting 'model'; did you mean"),
        ('path = "mine.csv"', 'pth = "mine.csv"', r"sets.mine needs path = .*a registered set"),
        ('title = "Try"', "title = 3", r'the file needs title = "TEXT", found 3'),
        ('results = "found"', "results = []", r'the file needs results = "TEXT", found \[\]'),
        ("others.toml", "absent.toml", r"published names the file 'absent.toml', found none there"),
        ('published = "others.toml"', "published = true", r'needs published = "TEXT", found True'),
        ('reference = "ours.small"', "reference = 3", r'needs reference = "TEXT", found 3'),
        ('reference = "ours.small"', "ours = [[1]]", r"ours = \[...\] names models .*\[\[1\]\]"),
        ('title = "Ridge"', "title = 3", r'models.ridge needs title = "TEXT", found 3'),
        ('entry = "own:ridge"', "entry = 3", r'needs entry = "module:function", found 3'),
        ('entry = "own:ridge"', 'entry = "own:"', r'needs entry = "module:function", found \'own:'),
        ("[models.ridge]", "[models.ridge]\nvariants = 3", r"variants.NAME\] .* variants = 3"),
        ("[models.ridge]", "[models.ridge]\nvariants.x = 3", r"ridge.variants.x must be a table"),
        ("[models.ridge]", "[models.ridge]\napart = [[1]]", r"apart = .* \(none\), found \[\[1"),
        ("[models.ridge]", "[models.ridge]\nearlier = 3", r"earlier.VARIANT = .*found 3"),
        (
            "[models.ridge]",
            '[models."a.b"]\nentry = "own:ridge"\n[models.ridge]',
            r"models.a.b: expected a name without '.' or ':', .* found 'a.b'; rename it",
        ),
        ("variants.small =", '"variants"."a:b" = {}\nvariants.small =', r"variants.a:b: .*rename"),
        ("[sets.mine]", '[sets."a:b"]\npath = "m"\n[sets.mine]', r"sets.a:b: .*; rename it"),
        ('path = "mine.csv"', "path = 3", r'sets.mine needs path = "TEXT", found 3'),
        ('entry = "own:series"', "entry = 3", r'sets.monthly needs entry = "module:function", fou'),
        ('"gas@1", "gas@2"', '"gas@1", "mine"', r"sets.monthly.each names 'mine', which sets.mine"),
        ('"gas@1", "gas@2"', '"gas@1", "gas@1"', r"names 'gas@1', which sets.monthly names too"),
        ('"gas@1", "gas@2"', '"gas@1", 3', r"sets.monthly needs each = .*found \['gas@1', 3\]"),
        (
            'sets = ["mine", "ETTh1"]',
            "sets = [3]",
            r"the set 3, which is neither registered nor in",
        ),
        ('"mine", "ETTh1"', '"ETTh9"', r"the set 'ETTh9', which is neither .*; did you mean ETTh"),
        ('"mine", "ETTh1"', '"mnie"', r"the set 'mnie', which is neither .*did you mean mine\?"),
        ('"mine", "ETTh1"', '"ERing"', r"set ERing with the horizon 96; move it to \[\[runs\]\] w"),
        ('"mine", "monthly"', '"ETTh1"', r"forecasting set ETTh1 without a horizon; add horizons"),
        ("seeds = [1, 2]", "seeds = [-1]", r"seeds are whole numbers from 0 .*found -1"),
        ("seeds = [1, 2]", "seeds = [true]", r"seeds are whole numbers .*found True"),
        (
            'models = ["ridge", "ours.small"]',
            "models = [3]",
            r"the model '3', which \[models\] does",
        ),
        ('path = "mine.csv"', 'path = "m"\nkind = 1', r"sets.mine has no setting 'kind'"),
        ('each = ["gas@1", "gas@2"]', 'each = "gas@1"', r"sets.monthly needs each = "),
        ('models = ["ridge", "ours.small"]', "", r"needs models = \[...\], found None"),
        ("horizons = [96, 192]", "horizons = 96", r"needs horizons = \[...\], found 96"),
        ("horizons = [96, 192]", "horizons = [0]", r"whole numbers from 1, found 0"),
        ("seeds = [1, 2]", "seeds = [1.5]", r"seeds are whole numbers from 0 .*found 1.5"),
        ("seeds = [1, 2]", "seed = [1]", r"\[\[runs\]\] has no setting 'seed'; did you mean seeds"),
        (
            '"ridge", "ours.small"',
            '"rigde"',
            r"'rigde', which \[models\] does not have; .* ridge, ours",
        ),
        ('"ridge", "ours.small"', '"ours.tiny"', r"variants small, large: write ours.VARIANT"),
        ('"ridge", "ours.small"', '"ridge.x"', r"ridge has the variants none: write ridge$"),
        ('["honest", "paper"]', '["honset"]', r"'honest' and 'paper', found 'honset'"),
        ("[[runs]]", "[[runs", r"expected TOML, found .*; correct that line"),
    ],
)
def test_refusals(read, old, new, message):
    with pytest.raises(ConfigError, match=message):
        read(WHOLE, old, new)


def test_a_file_without_cells_and_no_file(read, tmp_path):
    with pytest.raises(ConfigError, match=r"expected \[\[runs\]\] with models and sets"):
        read('title = "none"\n')
    with pytest.raises(ConfigError, match=r"expected \[models.NAME\], found models = 3"):
        read("models = 3\n")
    with pytest.raises(ConfigError, match=r"expected \[\[runs\]\] with .*found runs = 3"):
        read("runs = 3\n")
    with pytest.raises(ConfigError, match=r"\[\[runs\]\] must be a table of settings, found 3"):
        read("runs = [3]\n")
    with pytest.raises(ConfigError, match=r"a matrix file, found none at .*absent.toml"):
        Matrix.read(tmp_path / "absent.toml")


def test_a_path_tells_the_task_of_its_set(read, tmp_path):
    """A folder holds cases, a file a table; where there is nothing, nothing is known."""
    assert len(read().cells) == 20
    (tmp_path / "mine.csv").mkdir()
    with pytest.raises(ConfigError, match="classification set mine with the horizon 96"):
        read()
    (tmp_path / "mine.csv").rmdir()
    (tmp_path / "mine.csv").touch()
    with pytest.raises(ConfigError, match="forecasting set mine without a horizon"):
        read()


def test_what_cannot_run_is_refused_before_a_cell_runs(read, tmp_path, monkeypatch):
    matrix = read(WHOLE.replace("own:", "own_of_checks:"))
    (tmp_path / "own_of_checks.py").write_text("def ridge(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    on_mine, on_etth1 = matrix.only(["ridge:mine-96"]), matrix.only(["ridge:ETTh1-96"])
    matrix.check_runnable(on_etth1)
    with pytest.raises(ConfigError, match=r"sets.mine has path = 'mine.csv', found nothing there"):
        matrix.check_runnable(on_mine)
    (tmp_path / "mine.csv").touch()  # the remedy
    matrix.check_runnable(on_mine)
    with pytest.raises(
        ConfigError, match=r"cannot import own_of_checks:series: .*has no attribute"
    ):
        matrix.check_runnable(matrix.only(["ridge:gas@1"]))
    with pytest.raises(ConfigError, match=r"cannot import own_of_checks:ours: .*correct the entry"):
        matrix.check_runnable(matrix.only(["ours.small:ETTh1-96"]))


# --- lines ------------------------------------------------------------------------------------


def line(seed: int, **found: Any) -> dict[str, Any]:
    cell = {"dataset": "a", "horizon": 1, "model": "m", "variant": "", "protocol": "honest"}
    return {"cell": {**cell, "seed": seed}, **found}


def test_a_last_line_that_was_cut_short_is_left_out_and_goes(tmp_path):
    path = tmp_path / "r.jsonl"
    assert lines.read(path) == []
    lines.add(path, line(1, scores={"mse": 1.0}))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"cell": {"dataset"')
    assert [one["cell"]["seed"] for one in lines.read(path)] == [1]
    lines.add(path, line(2, scores={"mse": 2.0}))
    assert [one["cell"]["seed"] for one in lines.read(path)] == [1, 2]
    assert path.read_bytes().startswith(whole)
    assert path.read_bytes().count(b"\n") == 2


def test_only_a_cut_line_stands_in_the_file(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"cell"')
    assert lines.read(path) == []
    lines.add(path, line(1, scores={}))
    assert len(lines.read(path)) == 1


@pytest.mark.parametrize("wrong", ["no json", '{"scores": {}}', '{"cell": {"name": "a"}}', "[1]"])
def test_another_line_that_is_no_result_is_refused(tmp_path, wrong):
    path = tmp_path / "r.jsonl"
    path.write_text(f"{wrong}\n{json.dumps(line(1))}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"r.jsonl, line 1: expected a result as JSON.*remove"):
        lines.read(path)
    path.write_text(path.read_text().partition("\n")[2])  # the remedy
    assert len(lines.read(path)) == 1


def test_the_newest_result_counts_and_errors_do_not(tmp_path):
    found = [
        line(1, error="first"),
        line(1, scores={"mse": 1.0}),
        line(1, scores={"mse": 3.0}),
        line(1, error="later"),
        line(2, error="only"),
    ]
    by_key = lines.by_key(found)
    assert {key: one["scores"]["mse"] for key, one in by_key.items()} == {"m:a-1:honest:1": 3.0}


def test_what_is_not_finite_becomes_null(tmp_path):
    path = tmp_path / "r.jsonl"
    lines.add(path, line(1, scores={"mse": float("nan"), "mae": float("inf")}))
    assert lines.read(path)[0]["scores"] == {"mse": None, "mae": None}


def test_a_file_is_held_by_one_run(tmp_path):
    path = tmp_path / "new" / "r.jsonl"
    with lines.alone(path):
        message = r"is being written by process \d+.*another --out"
        with pytest.raises(ConfigError, match=message), lines.alone(path):
            raise AssertionError
        with lines.alone(tmp_path / "other.jsonl"):
            pass
    with lines.alone(path):
        pass
