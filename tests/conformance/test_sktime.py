"""sktime's own suite of checks for estimators."""

import pytest

pytest.importorskip("sktime", reason="sktime is in the environment of `make conformance` only")

from sktime.utils.estimator_checks import (  # pyright: ignore[reportMissingImports]
    check_estimator,
    parametrize_with_checks,
)

from convtimenet.adapters.sktime import ConvTimeNetClassifier, ConvTimeNetRegressor

pytestmark = pytest.mark.conformance


@parametrize_with_checks([ConvTimeNetClassifier, ConvTimeNetRegressor], "estimator", "name")
def test_estimator(estimator, name):
    check_estimator(estimator, tests_to_run=name, raise_exceptions=True, verbose=False)
