"""sktime's own suite of checks for the forecaster adapter."""

# pyright: reportMissingImports=false
from __future__ import annotations

import warnings
from typing import Any

import pytest

pytest.importorskip("sktime", reason="needs the extra 'sktime'; run by `make conformance`")
pytestmark = [
    pytest.mark.conformance,
    pytest.mark.filterwarnings("default"),  # theirs
]


@pytest.mark.parametrize("part", range(4))
def test_check_estimator(part):
    """Every check that sktime has for forecasters; none is left out. Three parts have a third of
    those for forecasters only, the first also all others."""
    from sktime.forecasting.tests.test_all_forecasters import TestAllForecasters
    from sktime.utils.estimator_checks import check_estimator

    from convtimenet.adapters.sktime_forecaster import ConvTimeNetForecaster

    own = [name for name in dir(TestAllForecasters) if name.startswith("test")]
    parts = {"tests_to_run": own[part - 1 :: 3]} if part else {"tests_to_exclude": own}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_estimator(ConvTimeNetForecaster, verbose=False, **parts)
    failed = {name: result for name, result in found.items() if result != "PASSED"}
    print(f"sktime forecaster: {len(found)} checks, {len(failed)} failed")  # noqa: T201
    assert not failed
    assert len(found) > 100


def test_forecasts_and_intervals_are_the_estimators():
    import numpy as np
    import pandas as pd

    from convtimenet import ConvTimeNetForecaster as Core
    from convtimenet.adapters.sktime_forecaster import ConvTimeNetForecaster

    index = pd.period_range("2010-01", periods=240, freq="M")
    values = np.sin(np.arange(240)) + 0.1 * np.arange(240)
    y = pd.Series(values, index=index, name="y")
    given: dict[str, Any] = {"input_size": 12, "n_epochs": 1, "device": "cpu", "verbose": 0}
    model = ConvTimeNetForecaster(**given).fit(y[:-5], fh=[1, 3])
    core = Core(3, **given).fit(values[:-5])
    expected = core.predict(level=[80])
    found = model.predict()
    assert found.index.tolist() == [index[-5], index[-3]]
    np.testing.assert_array_equal(found, expected["forecast"][[0, 2], 0])
    bounds = model.predict_interval(coverage=[0.8])
    np.testing.assert_array_equal(bounds["y"][0.8]["lower"], expected["lo-80"][[0, 2], 0])
    np.testing.assert_array_equal(bounds["y"][0.8]["upper"], expected["hi-80"][[0, 2], 0])
    later = model.update(y[-5:]).predict()
    np.testing.assert_array_equal(later, core.predict(values)[[0, 2], 0])
    assert later.index[0] == index[-1] + 1
    # rows that overlap count once, rows left out are missing values, another step is refused
    again = ConvTimeNetForecaster(**given).fit(y[:-5], fh=[1, 3]).update(y[-40:]).predict()
    np.testing.assert_array_equal(again, later)
    gap = ConvTimeNetForecaster(**given).fit(y[:-5], fh=[1, 3]).update(y[-2:]).predict()
    values[-5:-2] = np.nan
    np.testing.assert_array_equal(gap, core.predict(values)[[0, 2], 0])
    days = pd.date_range("2024-01-01", periods=60, freq="D")
    daily = ConvTimeNetForecaster(**given).fit(pd.Series(values[:60], days, name="y"), fh=[1])
    late = pd.date_range("2024-03-01 06:00", periods=3, freq="D")
    with pytest.raises(ValueError, match="in steps of <Day>"):
        daily.update(pd.Series(values[:3], late, name="y"))
