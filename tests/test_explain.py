"""Importance by hiding parts: it equals predictions on data with the part missing, and finds what a
planted answer rests on."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
import torch

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, ConvTimeNetRegressor, plot
from convtimenet.errors import ConfigError, DataError, MissingExtraError
from convtimenet.estimators.explain import spans_of
from convtimenet.network.model import deformation

TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5), "patch_size": 8, "patch_stride": 4}
OF_CASES = TINY | {"random_patches": 2}
QUICK = {"n_epochs": 1, "verbose": 0, "device": "cpu"}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def planted(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, in which only channel 1 between steps 32 and 48 tells the class."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3, 64))
    up = rng.integers(0, 2, n)
    X[:, 1, 32:48] += np.where(up, 2, -2)[:, None] * np.sin(np.arange(16) / 16 * np.pi)
    return X, np.array(["down", "up"])[up]


def noise(n: int = 12, length: int = 40) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((n, 2, length)).cumsum(-1)


def hidden(X: np.ndarray, channel: int, first: int, end: int, by: float = np.nan) -> np.ndarray:
    X = X.copy()
    X[..., channel, first:end] = by
    return X


def test_a_planted_class_is_found():
    model = ConvTimeNetClassifier(n_epochs=12, verbose=0, device="cpu", model=OF_CASES)
    model.fit(*planted(160, 0))
    X, y = planted(40, 1)
    found = model.explain(X, spans=4)
    assert found.importance.shape == (40, 3, 4)
    right = found.answers == y
    assert right.mean() > 0.9
    mean = found.importance[right].mean(0)
    assert np.unravel_index(mean.argmax(), mean.shape) == (1, 2)
    others = np.delete(mean.ravel(), 1 * 4 + 2)
    assert mean[1, 2] > 5 * np.abs(others).max()
    assert mean[1, 2] > 0


def test_the_most_recent_past_of_a_random_walk_matters_most():
    walk = np.random.default_rng(2).standard_normal(700).cumsum()
    model = ConvTimeNetForecaster(
        2, 32, n_epochs=20, lr=3e-3, verbose=0, device="cpu", model=TINY
    ).fit(walk)
    found = model.explain(spans=8)
    assert found.importance.shape == (1, 1, 8)
    importance = found.importance[0, 0]
    assert importance.argmax() == 7
    assert importance[7] > 2 * importance[:7].max()


def test_masked_parts_are_missing_ones():
    X, y = noise(), np.array(["a", "b", "c"] * 4)
    model = ConvTimeNetClassifier(model=OF_CASES, **QUICK).fit(X, y)
    found = model.explain(X, spans=[(0, 5), (30, 40), (3, 33)])
    assert found.hidden_by == "mask"
    before = model.predict_proba(X)
    best = before.argmax(1)
    np.testing.assert_array_equal(found.answers, model.predict(X))
    np.testing.assert_allclose(found.explained, before.max(1), atol=1e-6)
    for c in range(2):
        for m, (first, end) in enumerate(found.spans):
            after = model.predict_proba(hidden(X, c, first, end))
            plain = (before - after)[np.arange(12), best]
            np.testing.assert_allclose(found.importance[:, c, m], plain, atol=2e-6)
    assert np.abs(found.importance).max() > 1e-4


def test_without_masks_parts_become_zero_after_scaling():
    X = noise()
    model = ConvTimeNetRegressor(model=OF_CASES | {"masks": False}, **QUICK).fit(X, X.mean((1, 2)))
    found = model.explain(X, spans=5)
    assert found.hidden_by == "zero"
    assert found.measure == "number"
    before = model.predict(X)
    for c, centre in enumerate(model.scaler_.centre[:, 0]):
        plain = before - model.predict(hidden(X, c, 8, 16, centre))
        np.testing.assert_allclose(found.importance[:, c, 1], plain, atol=1e-5)
    assert np.abs(found.importance).max() > 1e-4


def test_cases_of_other_lengths_are_explained_as_they_are_predicted():
    X = noise(12, 40)
    X[::2, :, 30:] = np.nan
    X[3, 1, 2:7] = np.nan
    model = ConvTimeNetClassifier(model=OF_CASES, **QUICK).fit(X, ["a", "b"] * 6)
    longer = [X[0, :, :30], X[3], noise(1, 64)[0]]
    found = model.explain(longer, spans=8)
    assert found.spans[-1].tolist() == [56, 64]
    assert np.isnan(found.importance[0, :, 4:]).all()  # steps 32 on, where the case has ended
    assert not np.isnan(found.importance[0, :, :4]).any()
    assert not np.isnan(found.importance[1, 1, 0])
    for case in range(3):
        alone = model.explain([longer[case]], spans=found.spans[: (4, 5, 8)[case]].clip(max=30)[:3])
        expected = found.importance[case, :, :3]
        np.testing.assert_allclose(alone.importance[0], expected, atol=2e-6)
    x = torch.from_numpy(model.scaler_.apply(noise(1, 64)).astype(np.float32))
    left, right = deformation(model.network_, x)
    np.testing.assert_allclose(found.left[2], left[0], atol=1e-5)
    np.testing.assert_allclose(found.right[2], right[0], atol=1e-5)


@pytest.mark.parametrize("masks", [True, False])
def test_forecasts_without_a_span_and_only_of_its_channel(masks: bool):
    values = noise(1, 200)[0].T * [1, 100] + [0, 1e4]
    settings = TINY | {"masks": masks, "predictor_init": "default"}
    model = ConvTimeNetForecaster(6, 32, model=settings, **QUICK).fit(values)
    found = model.explain(spans=4)
    assert found.hidden_by == ("mask" if masks else "mean")
    assert found.change.shape == (1, 2, 4, 6)
    np.testing.assert_array_equal(found.times[0], np.arange(168, 200))
    np.testing.assert_array_equal(found.values[0].T, values[-32:])
    before = model.predict()
    np.testing.assert_allclose(found.forecast[0].T, before, rtol=1e-6)
    for c in range(2):
        context = values[-32:].copy()
        context[8:16, c] = np.nan if masks else context[:, c].mean()
        change = before - model.forecast(context)
        change /= model.scaler_.scale[:, 0]
        scaled = found.change[0, c, 1] / model.scaler_.scale[c]
        np.testing.assert_allclose(scaled, change[:, c], atol=1e-5)
        assert np.abs(change[:, 1 - c]).max() < 1e-5
        assert np.abs(change[:, c]).max() > 1e-3
    np.testing.assert_array_equal(found.importance, np.abs(found.change).mean(-1))


def panel() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frames = []
    for name, n in (("a", 150), ("b", 90), ("short", 12)):
        promo, idle = rng.integers(0, 2, n), rng.standard_normal(n)
        y = 5.0 * promo + 0.1 * rng.standard_normal(n)
        days = pd.date_range("2024-01-01", periods=n, freq="D")
        columns = {"ds": days, "y": y, "promo": promo, "idle": idle}
        frames.append(pd.DataFrame({"unique_id": name, **columns}))
    return pd.concat(frames, ignore_index=True)


def test_chosen_series_of_a_long_table_and_covariates():
    table = panel()
    past = table.groupby("unique_id").head(1000)
    model = ConvTimeNetForecaster(
        4,
        16,
        futr_exog=["promo", "idle"],
        verbose=0,
        device="cpu",
        n_epochs=25,
        model=TINY,
        lr=3e-3,
    ).fit(past)
    days = {one: part["ds"].max() for one, part in past.groupby("unique_id")}
    ahead = pd.concat(
        pd.DataFrame(
            {
                "unique_id": one,
                "ds": pd.date_range(last, periods=5, freq="D")[1:],
                "promo": [1, 0, 1, 1],
                "idle": 0.5,
            }
        )
        for one, last in days.items()
    )
    with pytest.raises(DataError, match="the table holds 3 series"):
        model.explain(future=ahead)
    with pytest.raises(DataError, match="lacks the series 'c'; it has"):
        model.explain(future=ahead, series=["a", "c"])
    with pytest.raises(DataError, match="promo"):
        model.explain(series="a")
    found = model.explain(future=ahead, series=["short", "a"], spans=4)
    assert found.ids.tolist() == ["short", "a"]
    assert found.covariates == ("promo", "idle")
    forecast = model.predict(future=ahead).set_index("unique_id")["ConvTimeNet"]
    for i, one in enumerate(found.ids):
        np.testing.assert_allclose(found.forecast[i, 0], forecast[one], rtol=1e-4, atol=1e-4)
    assert np.isnan(found.importance[0, 0, 0])  # 12 rows of 16: the first four are not there
    assert np.isfinite(found.importance[0, 0, 1:]).all()
    promo, idle = found.covariate_importance[1, :, 0]
    assert promo > 5 * idle
    # hiding a covariate is giving its training mean everywhere
    column = model.covariates_.futr[0]
    blank = past[past["unique_id"] == "a"].assign(promo=column.centre)
    without = model.predict(blank, ahead[ahead["unique_id"] == "a"].assign(promo=column.centre))
    plain = np.abs(found.forecast[1, 0] - without["ConvTimeNet"].to_numpy()).mean()
    assert promo == pytest.approx(plain, rel=1e-3)


def test_spans():
    assert spans_of(3, 10).tolist() == [[0, 3], [3, 7], [7, 10]]
    assert len(spans_of(None, 100)) == 24
    assert spans_of(None, 3).tolist() == [[0, 1], [1, 2], [2, 3]]
    assert spans_of([(2, 4), (0, 10)], 10).tolist() == [[2, 4], [0, 10]]
    for wrong in (0, 11, True, [(4, 4)], [(0, 11)], [(-1, 2)], [1, 2, 3], [(0.5, 2)], "all", []):
        with pytest.raises(ConfigError, match="spans must be"):
            spans_of(wrong, 10)


def test_pictures_and_input_stay_whole(monkeypatch: pytest.MonkeyPatch):
    values = noise(1, 120)[0].T
    kept = values.copy()
    model = ConvTimeNetForecaster(6, 32, model=TINY, **QUICK).fit(values)
    with pytest.raises(ConfigError, match="no ids"):
        model.explain(values, series="a")
    figure = plot(model.explain(values), channel=1)
    np.testing.assert_array_equal(values, kept)
    assert [axes.get_ylabel() for axes in figure.axes[:4]] == [
        "1",
        "mean |change|",
        "steps ahead",
        "patches",
    ]
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"convtimenet\[report\]"):
        plot(model.explain(values))
