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
    table = y.to_frame("0")
    core = Core(3, **given).fit(table[:-5])
    expected = {name: one.to_numpy()[:, None] for name, one in core.predict(level=[80]).items()}
    found = model.predict()
    assert found.index.tolist() == [index[-5], index[-3]]
    np.testing.assert_array_equal(found, expected["0"][[0, 2], 0])
    bounds = model.predict_interval(coverage=[0.8])
    np.testing.assert_array_equal(bounds["y"][0.8]["lower"], expected["0-lo-80"][[0, 2], 0])
    np.testing.assert_array_equal(bounds["y"][0.8]["upper"], expected["0-hi-80"][[0, 2], 0])
    later = model.update(y[-5:]).predict()
    np.testing.assert_array_equal(later, core.predict(table)["0"].iloc[[0, 2]])
    assert later.index[0] == index[-1] + 1
    # rows that overlap count once, rows left out are missing values, another step is refused
    again = ConvTimeNetForecaster(**given).fit(y[:-5], fh=[1, 3]).update(y[-40:]).predict()
    np.testing.assert_array_equal(again, later)
    gap = ConvTimeNetForecaster(**given).fit(y[:-5], fh=[1, 3]).update(y[-2:]).predict()
    left_out = table.drop(index[-5:-2])
    np.testing.assert_array_equal(gap, core.predict(left_out)["0"].iloc[[0, 2]])
    days = pd.date_range("2024-01-01", periods=60, freq="D")
    daily = ConvTimeNetForecaster(**given).fit(pd.Series(values[:60], days, name="y"), fh=[1])
    late = pd.date_range("2024-03-01 06:00", periods=3, freq="D")
    with pytest.raises(ValueError, match="not regular"):
        daily.update(pd.Series(values[:3], late, name="y"))


def _weekly(days: int) -> Any:
    """A season of seven days as a series without a frequency, from a Wednesday."""
    import numpy as np
    import pandas as pd

    index = pd.DatetimeIndex(pd.date_range("2024-01-03", periods=days).to_numpy())
    values = 100 + 10 * np.sin(np.arange(days) * 2 * np.pi / 7)
    return pd.Series(values, index, name="y")


def test_the_season_follows_from_the_time_stamps():
    import numpy as np
    import pandas as pd

    from convtimenet.adapters.sktime_forecaster import ConvTimeNetForecaster

    index = pd.period_range("2010-01", periods=72, freq="M")
    rise = np.arange(72) ** 1.5 / 20
    values = rise + (8 + rise / 4) * np.array([0, 3, 1, 7, 2, 9, 4, 0, 8, 2, 6, 1] * 6)
    y = pd.Series(values, index, name="unique_id")  # no role of a column
    model = ConvTimeNetForecaster(quality="fast", device="cpu").fit(y[:60], fh=np.arange(1, 13))
    assert model.model_.tail_.frequency.name == "1MS"
    error = np.abs(model.predict() - y[60:]).mean()
    assert error < 0.5 * np.abs(y.to_numpy()[48:60] - y.to_numpy()[60:]).mean()


def test_left_out_days_are_missing():
    import numpy as np
    import pandas as pd
    from sktime.forecasting.base import ForecastingHorizon

    from convtimenet.adapters.sktime_forecaster import ConvTimeNetForecaster

    y = _weekly(143)
    given = y[:140].drop(y.index[[60, 61, 100, 134, 135]])
    ahead = pd.DatetimeIndex(y.index[140:], freq="D")
    for fh in ([1, 2, 3], ForecastingHorizon(ahead, is_relative=False)):
        model = ConvTimeNetForecaster(quality="fast", device="cpu").fit(given, fh=fh)
        found = model.predict()
        assert found.index.tolist() == y.index[140:].tolist()
        np.testing.assert_allclose(found, y[140:], atol=4)
        intervals = model.predict_interval(coverage=[0.8])
        assert intervals.index.tolist() == y.index[140:].tolist()
    irregular = given.set_axis(given.index + pd.to_timedelta(np.arange(135) ** 2, "min"))
    with pytest.raises(ValueError, match="not regular"):
        ConvTimeNetForecaster(quality="fast", device="cpu").fit(irregular, fh=[1])


def test_a_whole_number_of_steps_of_the_index():
    import numpy as np
    import pandas as pd

    from convtimenet.adapters.sktime_forecaster import ConvTimeNetForecaster

    values = _weekly(140).to_numpy()
    quick: dict[str, Any] = {"quality": "fast", "device": "cpu"}
    expected = ConvTimeNetForecaster(**quick).fit(pd.Series(values), fh=[1, 3]).predict()
    double = pd.Series(values, index=2 * np.arange(140))
    model = ConvTimeNetForecaster(**quick).fit(double, fh=[2, 6])
    assert model.predict().index.tolist() == [280, 284]
    np.testing.assert_array_equal(model.predict(), expected)
    with pytest.raises(ValueError, match="horizon in steps of 2 after 278"):
        ConvTimeNetForecaster(**quick).fit(double, fh=[1, 2])
    months = pd.period_range("2000-01", periods=140, freq="2M")
    model = ConvTimeNetForecaster(**quick).fit(pd.Series(values, months), fh=[1, 3])
    np.testing.assert_array_equal(model._ahead(model.fh)[0], [1, 3])
    assert model.predict().index.tolist() == [months[-1] + 1, months[-1] + 3]
    fridays = pd.date_range("2000-01-01", periods=140, freq="WOM-3FRI")  # not a step of ours
    model = ConvTimeNetForecaster(**quick).fit(pd.Series(values, fridays), fh=[1, 3])
    np.testing.assert_array_equal(model.predict(), expected)


def test_small_coverages_and_quantiles_near_the_median():
    import numpy as np
    import pandas as pd

    from convtimenet.adapters.sktime_forecaster import ConvTimeNetForecaster

    y = pd.Series(np.random.default_rng(0).normal(size=90), name="y")
    model = ConvTimeNetForecaster(quality="fast", device="cpu").fit(y, fh=[1, 2])
    bounds = model.predict_interval(coverage=[0.004, 0.01])["y"]
    np.testing.assert_array_equal(bounds[0.004], bounds[0.01])  # where the grid of levels begins
    found = model.predict_quantiles(alpha=[0.498, 0.5, 0.505])["y"]
    np.testing.assert_array_equal(found[[0.498, 0.505]], bounds[0.01])


def test_forecasts_start_behind_the_cutoff():
    """Of a line the forecast is the time itself, so that a value says where it belongs."""
    import numpy as np
    import pandas as pd
    from sktime.forecasting.naive import NaiveForecaster
    from sktime.split import SlidingWindowSplitter

    from convtimenet.adapters.sktime_forecaster import ConvTimeNetForecaster

    days = pd.date_range("2024-01-01", periods=60, freq="D")
    backtest = SlidingWindowSplitter(fh=[1, 2], window_length=20, step_length=15)
    for index in (pd.RangeIndex(60), days):
        y = pd.Series(np.arange(60.0), index, name="y")
        model = ConvTimeNetForecaster(12, quality="fast", device="cpu").fit(y, fh=[1, 2])
        found = model.update_predict(y, backtest, update_params=False)
        naive = NaiveForecaster().fit(y, fh=[1, 2]).update_predict(y, backtest, update_params=False)
        pd.testing.assert_index_equal(found.index, naive.index)
        pd.testing.assert_index_equal(found.columns, naive.columns)
        expected = np.full((6, 3), np.nan)
        expected[range(6), [0, 0, 1, 1, 2, 2]] = [20, 21, 35, 36, 50, 51]
        np.testing.assert_allclose(found, expected, atol=0.01)
        old = model.update(y[20:30], update_params=False)
        np.testing.assert_allclose(old.predict(), [30, 31], atol=0.01)
        assert old.predict().index.tolist() == y.index[30:32].tolist()
        lower = old.predict_interval(coverage=[0.5])["y"][0.5]["lower"]
        np.testing.assert_allclose(lower, [30, 31], atol=0.1)
        np.testing.assert_allclose(old.update(y[55:], update_params=False).predict(), [60, 61])
        with pytest.raises(ValueError, match="at least 12 rows, found 5 up to the cutoff"):
            old.update(y[:5], update_params=False).predict()
