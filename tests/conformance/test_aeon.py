"""aeon's own suite of checks for estimators."""

import pytest

pytest.importorskip("aeon", reason="aeon is in the environment of `make conformance` only")

from aeon.testing.estimator_checking import (  # pyright: ignore[reportMissingImports]
    parametrize_with_checks,
)

from convtimenet.adapters.aeon import ConvTimeNetClassifier, ConvTimeNetRegressor

pytestmark = pytest.mark.conformance


@parametrize_with_checks([ConvTimeNetClassifier, ConvTimeNetRegressor])
def test_estimator(check):
    check()
