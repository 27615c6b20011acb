"""sktime's own suite of checks for estimators."""

import numpy as np
import pytest

pytest.importorskip("sktime", reason="sktime is in the environment of `make conformance` only")

from sktime.utils.estimator_checks import (  # pyright: ignore[reportMissingImports]
    check_estimator,
    parametrize_with_checks,
)

import convtimenet
from convtimenet.adapters.sktime import ConvTimeNetClassifier, ConvTimeNetRegressor

pytestmark = pytest.mark.conformance


@parametrize_with_checks([ConvTimeNetClassifier, ConvTimeNetRegressor], "estimator", "name")
def test_estimator(estimator, name):
    check_estimator(estimator, tests_to_run=name, raise_exceptions=True, verbose=False)


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
