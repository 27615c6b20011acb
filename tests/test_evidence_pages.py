"""The pages of docs/evidence/ are what the committed lines and the answers say."""

import json

import numpy as np
import pytest
import questions
from answers import QUESTIONS

from convtimenet.bench import lines
from convtimenet.bench.matrix import Cell, Matrix


@pytest.fixture(autouse=True)
def not_drawn(monkeypatch):
    """Drawing takes longer than all the rest."""
    monkeypatch.setattr(questions, "forest", lambda *given: "<svg/>")
    monkeypatch.setattr("question_tables.svg", lambda figure: "<svg/>")


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_page_is_what_its_script_writes(name):
    text, pictures = questions.page(QUESTIONS[name], name)
    again = f"python benchmarks/evidence/questions.py {name} writes it anew"
    assert (questions.PAGES / f"{name}.md").read_text(encoding="utf-8") == text, again
    for file in pictures:
        assert (questions.PAGES / file).read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_answer_was_read_again_after_the_last_run(name):
    matrix = Matrix.read(questions.HERE / f"{name}.toml")
    found, _ = lines.of_matrix(matrix, lines.read(matrix.results))
    have = sum(cell.key in found for cell in matrix.cells)
    assert QUESTIONS[name].cells == have, "read the answer again, then count these cells"


def test_equal_differences_have_no_interval():
    assert str(questions.Difference.of([-0.5, -0.5, -0.5])) == "-0.5"
    one = questions.Difference.of([1.0, 2.0, 3.0])
    half = 4.302653 / 3**0.5
    assert (one.mean, one.low, one.high) == pytest.approx((2, 2 - half, 2 + half))


def test_sets_near_chance_are_told_from_others():
    cell = Cell("made", None, "classifier", "", "honest", 1)

    def near(accuracy: float, n: int) -> bool:
        line = {"scores": {"accuracy": accuracy}, "naive": {"accuracy": 0.5}, "n_test": n}
        return questions.near_chance([cell], {cell.key: line}, "made")

    assert near(0.59, 100)  # two standard errors are 0.1
    assert not near(0.61, 100)
    assert not near(0.59, 400)


def test_lines_tell_how_many_tokens_were_read():
    path = questions.HERE.parent / "results" / "evidence" / "hierarchy.jsonl"
    told = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    cell = Cell(**told["cell"])
    assert (told["config"]["model"]["patch_size"], cell.dataset) == (64, "FingerMovements")
    assert questions.tokens_told([cell], {cell.key: told}, cell.where) == " (1 token)"
    assert np.isnan(questions.Difference.of([1.0]).low)
