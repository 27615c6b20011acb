"""Scores by hand, and what they have in common."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convtimenet import scores
from convtimenet.errors import DataError

Y, F = np.array([[2.0, 4.0], [0.0, -3.0]]), np.array([[1.0, 6.0], [0.0, -1.0]])


def test_by_hand():
    assert scores.mse(Y, F) == (1 + 4 + 0 + 4) / 4
    assert scores.mae(Y, F) == (1 + 2 + 0 + 2) / 4
    assert scores.rmse(Y, F) == 1.5
    assert scores.smape(Y, F) == pytest.approx((1 / 3 + 2 / 10 + 0 + 2 / 4) / 4)
    assert scores.pinball(Y, F, 0.9) == pytest.approx((0.9 * 1 + 0.1 * 2 + 0 + 0.1 * 2) / 4)
    train = np.array([[1.0, 2.0, 4.0, 3.0], [0.0, 5.0, 0.0, 5.0]])
    assert scores.mase(Y, F, train) == pytest.approx(np.mean([1, 2]) / (4 / 3) / 2 + 1 / 5 / 2)
    assert scores.mase(Y[:1], F[:1], train[:1], 2) == pytest.approx(1.5 / 2)
    assert scores.coverage(Y, Y, F) == 0.75  # 2 is not in [2, 1]
    assert scores.coverage(Y, Y - 1, Y + 1) == 1


def test_axes_stay_where_asked():
    assert scores.mae(Y, F, axis=1).tolist() == [1.5, 1.0]
    assert scores.coverage(Y, Y, Y + 1, axis=0).tolist() == [1, 1]


def test_unknown_values_do_not_count():
    gaps = Y.copy()
    gaps[0, 0] = np.nan
    assert scores.mse(gaps, F) == pytest.approx(8 / 3)
    assert scores.coverage(gaps, Y, Y) == 1
    with pytest.raises(DataError, match="no known value to score"):
        scores.mae(gaps, F * np.nan)


def test_infinite_bounds_hold_what_they_hold():
    y, low, high = [5.0, 5, 5, 50], [-np.inf, 0, 0, 0], [np.inf, 10, 10, 10]
    assert scores.coverage(y, low, high) == 0.75
    assert scores.coverage([1, 2], [-np.inf] * 2, [np.inf] * 2) == 1
    assert scores.pinball(y, low, 0.1) == np.inf


def test_refusals():
    with pytest.raises(DataError, match=r"shape \(2, 2\) of y, found \(1, 2\)"):
        scores.mse(Y, F[:1])
    with pytest.raises(DataError, match=r"bounds must have the shape \(3,\) .* found \(3, 1\)"):
        scores.coverage([1, 5, 9], [0, 4, 8], [[2], [6], [10]])
    with pytest.raises(DataError, match=r"leading dimensions of y, \(\), .* shape \(5, 3\)"):
        scores.mase([1, 2], [1, 3], np.ones((5, 3)))
    with pytest.raises(DataError, match="quantile must be between 0 and 1, found 1"):
        scores.pinball(Y, F, 1)
    with pytest.raises(DataError, match=r"more than season=24 training steps .* found 3 steps"):
        scores.mase(Y, F, np.ones(3), 24)
    with pytest.raises(DataError, match="repeat exactly after 2 steps"):
        scores.mase(Y, F, np.array([[1.0, 2, 1, 2], [1, 2, 1, 2]]), 2)


@given(
    st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 2), min_size=1, max_size=30), st.floats(0.01, 0.99)
)
def test_what_scores_have_in_common(pairs, q):
    y, forecast = np.array(pairs).T
    assert scores.mse(y, y) == scores.mae(y, y) == scores.smape(y, y) == 0
    assert 0 <= scores.smape(y, forecast) <= 1
    assert scores.mae(y, forecast) <= scores.rmse(y, forecast) * (1 + 1e-9) + 1e-12
    both = scores.pinball(y, forecast, q) + scores.pinball(y, forecast, 1 - q)
    assert both == pytest.approx(scores.mae(y, forecast), abs=1e-9)
