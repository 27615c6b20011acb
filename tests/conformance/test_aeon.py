"""aeon's own suite of checks for estimators."""

import numpy as np
import pytest

pytest.importorskip("aeon", reason="aeon is in the environment of `make conformance` only")

from aeon.testing.estimator_checking import (  # pyright: ignore[reportMissingImports]
    parametrize_with_checks,
)

import convtimenet
from convtimenet.adapters.aeon import ConvTimeNetClassifier, ConvTimeNetRegressor

pytestmark = pytest.mark.conformance


@parametrize_with_checks([ConvTimeNetClassifier, ConvTimeNetRegressor])
def test_estimator(check):
    check()


def test_answers_are_the_estimators_own():
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(20, 2, 30)), np.arange(20) % 2
    quick = {"n_epochs": 1, "device": "cpu", "verbose": 0, "random_state": 5}
    own = convtimenet.ConvTimeNetClassifier(**quick).fit(X, y)
    found = ConvTimeNetClassifier(**quick).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(found, own.predict_proba(X))
    numbers = convtimenet.ConvTimeNetRegressor(**quick).fit(X, X[:, 0, 0])
    found = ConvTimeNetRegressor(**quick).fit(X, X[:, 0, 0]).predict(X)
    np.testing.assert_allclose(found, numbers.predict(X), rtol=1e-6)
