"""What `make evidence` calls the same result as the committed one."""

from __future__ import annotations

from typing import Any

import pytest
from recheck import compared, tolerance

from convtimenet.bench.matrix import Cell

CELL = Cell("Epilepsy", None, "classifier", "fast", "honest", 0)


def kept(name: str, *scores: float, n_test: int = 100) -> dict[str, dict[str, Any]]:
    """Lines of seeds, and one of another set, which tells nothing."""
    cells = [Cell("Epilepsy", None, "classifier", "fast", "honest", i) for i in range(len(scores))]
    cells.append(Cell("ERing", None, "classifier", "fast", "honest", 0))
    found = {}
    for cell, score in zip(cells, [*scores, 0.1], strict=True):
        line = {"cell": vars(cell), "scores": {name: score}, "n_test": n_test}
        found[cell.key] = line | {"predictions": "as before"}
    return found


@pytest.mark.parametrize(
    ("name", "scores", "allowed", "why"),
    [
        ("accuracy", (0.9, 0.9, 0.9), 0.02, "2 test cases"),
        ("accuracy", (0.9, 0.92, 0.94), 0.06, "3 deviations of 3 seeds"),
        ("accuracy", (0.9, 0.5), 0.027, "3 %, fewer than 3 seeds"),
        ("accuracy", (0.1,), 0.02, "2 test cases"),
        ("mse", (0.4, 0.4, 0.4), 0.0004, "0.1 %"),
        ("mse", (0.4, 0.5, 0.6), 0.3, "3 deviations of 3 seeds"),
        ("mse", (0.4,), 0.012, "3 %, fewer than 3 seeds"),
    ],
)
def test_the_tolerance_and_what_it_is(name, scores, allowed, why):
    found, told = tolerance(CELL, kept(name, *scores))
    assert (found, told) == (pytest.approx(allowed), why)


@pytest.mark.parametrize(
    ("score", "predictions", "agrees", "said"),
    [
        (0.1, "as before", True, "accuracy 0.1000, the same predictions"),
        (0.88, "others", True, "committed 0.9000: within 0.0200 (2 test cases)"),
        (0.92, "others", True, "within"),
        (0.87, "others", False, "BEYOND 0.0200 (2 test cases)"),
    ],
)
def test_equal_seeds_allow_two_cases(score, predictions, agrees, said):
    again = {"scores": {"accuracy": score}, "predictions": predictions}
    found, told = compared(CELL, kept("accuracy", 0.9, 0.9, 0.9), again)
    assert found is agrees
    assert said in told
