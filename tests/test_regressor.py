"""`ConvTimeNetRegressor`: one number per case."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from convtimenet import ConvTimeNetRegressor
from convtimenet.errors import DataError

TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5), "random_patches": 1}


def regressor(**settings) -> ConvTimeNetRegressor:
    given = {"model": TINY, "n_epochs": 1, "device": "cpu", "verbose": 0, **settings}
    return ConvTimeNetRegressor(**given)


def waves(n: int = 40, L: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cases (n, 2, L) and their pace."""
    draw = np.random.default_rng(seed)
    pace = draw.uniform(0.2, 1.2, size=n)
    phase = draw.uniform(0, 6, size=(n, 2, 1))
    return np.sin(np.arange(L) * pace[:, None, None] + phase), pace


def test_learns_what_is_easy_in_any_unit():
    X, pace = waves(80)
    model = regressor(n_epochs=40, lr=1e-2, training={"refit": False}).fit(X, pace)
    other, truth = waves(40, seed=1)
    assert model.score(other, truth) > 0.8
    assert model.score(other, truth) == r2_score(truth, model.predict(other))
    few, scaled = (
        regressor(n_epochs=4, lr=1e-2).fit(X, y).predict(other) for y in (pace, 1e6 + 1e4 * pace)
    )
    assert np.ptp(scaled) > 1000
    np.testing.assert_allclose(scaled, 1e6 + 1e4 * few, rtol=1e-3, atol=10)


def test_constant_targets_come_back():
    X, _ = waves(10)
    model = regressor(n_epochs=3).fit(X, np.full(10, 7))
    np.testing.assert_allclose(model.predict(X), 7, atol=1)
    assert model.target_scaler_.scale == 1


def test_conduct(tmp_path):
    X, y = waves(20)
    model = regressor()
    with pytest.raises(NotFittedError):
        model.predict(X)
    names = set(vars(model))
    assert model.fit(X, y) is model
    assert all(name.endswith("_") for name in set(vars(model)) - names)
    again = clone(model)
    assert isinstance(again, ConvTimeNetRegressor)
    assert again.get_params() == model.get_params()
    assert cross_val_score(make_pipeline(regressor()), X, y, cv=2).shape == (2,)
    for again in (
        pickle.loads(pickle.dumps(model)),
        ConvTimeNetRegressor.load(model.save(tmp_path / "m")),
    ):
        np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_unequal_lengths_and_gaps():
    X, y = waves(20)
    varied = [case[:, : 20 + i] for i, case in enumerate(X)]
    varied[3][1] = np.nan
    varied[5][0, 4:9] = np.inf
    model = regressor().fit(varied, y)
    together = model.predict(varied)
    assert np.isfinite(together).all()
    for i in (0, 3, 5, 19):
        np.testing.assert_allclose(model.predict([varied[i]])[0], together[i], rtol=1e-5)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a"] * 20, "targets must be numbers.*ConvTimeNetClassifier"),
        ([1.0] * 19 + [np.inf], "finite target for every case, found inf for case 19"),
        ([1.0] * 19 + [np.nan], "every case needs a label; found none for case 19"),
        (None, "expected a label for every case, found none"),
    ],
)
def test_targets_that_cannot_be_used(y, message):
    with pytest.raises(DataError, match=message):
        regressor().fit(waves(20)[0], y)


def test_a_weight_of_0_leaves_a_case_out():
    X, y = waves(24)
    odd = y.copy()
    odd[20:] = 1e9
    weight = np.where(np.arange(24) < 20, 1.0, 0.0)
    one = regressor().fit(X, odd, sample_weight=weight)
    two = regressor().fit(X[:20], y[:20], sample_weight=np.ones(20))
    assert one.target_scaler_.centre == two.target_scaler_.centre
    np.testing.assert_array_equal(one.predict(X), two.predict(X))
