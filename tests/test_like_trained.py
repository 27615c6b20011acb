"""A model says which cases are unlike all that it was trained on: in length or in range."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from convtimenet import ConvTimeNetClassifier, ConvTimeNetRegressor
from convtimenet.data.labelled.cases import as_cases, joined, read_cases
from convtimenet.data.labelled.trained import like_trained, seen_in
from convtimenet.errors import DataError
from convtimenet.runs.labelled import fit_labelled
from convtimenet.wording import written_for

SMALL = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,)}
SETTINGS = {"model": SMALL, "n_epochs": 1, "verbose": 0, "device": "cpu"}
FEW = (
    "3 of 5 cases have 3 steps; training cases had 24 steps: answers for other lengths may be wrong"
)


def waves(*lengths: int) -> list[np.ndarray]:
    return [np.sin(np.arange(L) / (2 + i % 2) + i)[None] + 0.1 * i for i, L in enumerate(lengths)]


@pytest.fixture(scope="module")
def model() -> ConvTimeNetClassifier:
    return ConvTimeNetClassifier(**SETTINGS).fit(waves(*[24] * 12), ["up", "down"] * 6)


@pytest.mark.parametrize(
    ("trained", "found", "said"),
    [
        ((24, 24), (24, 3, 24, 3, 3), FEW),
        ((24, 24), (30,), "the case has 30 steps; training cases had 24 steps"),
        ((20, 24), (19, 20, 25), "2 of 3 cases have 19 to 25 steps; training cases had 20 to 24"),
        ((20, 24), (20, 24, 22), None),
        ((1, 9), (1, 1), None),
        ((24, 24), (1,), "the case has 1 step; training cases had 24 steps"),
        ((1, 1), (2, 1), "1 of 2 cases has 2 steps; training cases had 1 step: "),
        (None, (3, 99), None),
    ],
)
def test_cases_outside_of_training_are_counted(trained, found, said):
    noted = like_trained(cases := as_cases(waves(*found)), trained)
    assert noted.notices[:1] == noted.notices
    assert " ".join(noted.notices).startswith(said or "")
    assert bool(noted.notices) == (said is not None)
    assert like_trained(noted, trained) is noted  # said once
    assert joined([noted, noted]).notices == noted.notices
    np.testing.assert_array_equal(noted.values, cases.values)


def test_a_fitted_model_remembers_and_says_it_once(model, caplog, tmp_path: Path):
    assert model.lengths_ == (24, 24)
    again = ConvTimeNetClassifier.load(model.save(tmp_path / "m"), "cpu")
    assert again.lengths_ == (24, 24)
    some = waves(24, 3, 24, 3, 3)
    with caplog.at_level(logging.WARNING, logger="convtimenet"):
        for act in (
            again.predict,
            again.predict_proba,
            again.explain,
            lambda X: again.score(X, ["up"] * 5),
        ):
            caplog.clear()
            act(some)
            assert [one.getMessage() for one in caplog.records] == [FEW]
        caplog.clear()
        read = again.read(some)
        again.predict(read)
        again.predict_proba(read.subset(np.array([0, 1])))
        assert read.notices == (FEW,)
        assert [one.getMessage() for one in caplog.records] == [FEW]
        caplog.clear()
        again.predict(waves(24, 24))
        del again.lengths_  # a model of an older version
        again.predict(some)
        again.predict(waves(1, 1))
        assert caplog.records == []


def test_a_recording_written_as_a_column_is_refused(model, tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_text("x\n" + "\n".join(f"{v:.3f}" for v in waves(24)[0][0]) + "\n")
    column = read_cases(path)
    assert column.values.shape == (24, 1, 1)
    says = (
        "expected cases of 24 steps, as in training; found 24 cases of one step each, which looks "
        "like one recording written as a column; write it as a row, its values beside each other"
    )
    for X in (path, column, np.ones((24, 1, 1))):
        with pytest.raises(DataError) as error:
            model.predict(X)
        assert str(error.value) == f"{says}, or give an array (1, C, L)"
    with written_for("page"), pytest.raises(DataError) as error:
        model.read(column)
    assert str(error.value) == says
    row = tmp_path / "row.csv"
    row.write_text(
        ",".join(f"t{i}" for i in range(24)) + "\n" + ",".join(path.read_text().split()[1:]) + "\n"
    )
    np.testing.assert_array_equal(read_cases(row).values[0, 0], column.values[:, 0, 0])
    assert model.predict(row).shape == (1,)


def test_the_test_cases_of_a_run_are_told():
    train = as_cases(waves(*[12] * 10), np.arange(10.0))
    test = as_cases(waves(12, 12, 15), np.arange(3.0))
    run = fit_labelled(ConvTimeNetRegressor(**SETTINGS), train, test, dataset="x")
    assert run.model.lengths_ == (12, 12)
    assert [one for one in run.result.notices if "steps" in one] == [
        "test: 1 of 3 cases has 15 steps; training cases had 12 steps: answers for other lengths "
        "may be wrong"
    ]


def test_values_far_from_training_are_told(caplog, tmp_path: Path):
    """Volts for millivolts, channels in another order."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(20, 2, 12)) * np.array([[1.0], [300.0]]) + np.array([[5.0], [0.0]])
    model = ConvTimeNetClassifier(**SETTINGS).fit(X, ["a", "b"] * 10)
    low, high = X.min((0, 2)), X.max((0, 2))
    assert model.ranges_ == tuple(zip(low, high, strict=True))
    again = ConvTimeNetClassifier.load(model.save(tmp_path / "m"), "cpu")
    assert again.ranges_ == model.ranges_
    with caplog.at_level(logging.WARNING, logger="convtimenet"):
        usual = draw.normal(size=(500, 2, 12)) * np.array([[1.0], [300.0]]) + [[5.0], [0.0]]
        again.predict(usual)
        assert caplog.records == []
        some = X[:3].copy()
        some[1, 1] *= 1000
        read = again.read(some)
        again.predict(read)
    step = np.abs(some[1, 1]).argmax()
    assert read.notices == (
        f"1 of 3 cases has values far from those of training, such as {some[1, 1, step]:.4g} in "
        f"channel 1; training cases had {low[1]:.4g} to {high[1]:.4g} there: answers may be wrong, "
        "check the units and the order of the channels",
    )
    assert [one.getMessage() for one in caplog.records] == [*read.notices]
    (swapped,) = again.read(X[:, ::-1]).notices
    assert swapped.startswith("20 of 20 cases have values far from those of training")
    del again.ranges_  # a model of an older version
    assert again.read(some).notices == ()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_channel_that_is_no_longer_constant_is_told(kind):
    X = np.random.default_rng(1).normal(size=(12, 3, 10))
    X[:, 1:] = 0.1
    seen = seen_in(as_cases(X))
    old = seen["lengths_"], seen["ranges_"]
    same = as_cases(X.astype(kind))
    assert like_trained(same, *old) is same
    X[:4, 2, 5] += 0.01
    (notice,) = like_trained(as_cases(X.astype(kind)), *old).notices
    assert notice == (
        "4 of 12 cases have other values in channel 2; training cases all had 0.1 there, so the "
        "model does not read it"
    )
    X[:, 1] = np.nan
    notice = like_trained(as_cases(X), *old).notices[-1]
    assert "channel 2;" in notice
    X[0, 1] = 7.0
    notice = like_trained(as_cases(X), *old).notices[-1]
    assert "in channel 1 and others; training" in notice
