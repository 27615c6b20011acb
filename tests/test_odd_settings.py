"""Combinations of settings that are rarely asked for: what is asked for is done, or refused."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster
from convtimenet.errors import ConfigError
from convtimenet.estimators.tuning import search as search_module
from convtimenet.network.reconstruction.weights import load_pretrained

TUNED = {"training": {"encoder_rate": 1.0}, "n_epochs": 1, "verbose": 0, "device": "cpu"}


def monthly(rows: int = 70, offset: float = 0.0) -> pd.DataFrame:
    stamps = pd.date_range("2015-01-01", periods=rows, freq="MS")
    noise = np.random.default_rng(0).normal(0, 0.3, rows)
    y = np.sin(np.arange(rows) * 2 * np.pi / 12) + noise + offset
    return pd.DataFrame({"ds": stamps, "y": y})


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        ({"quality": "fast", "refit": "continue"}, 70),
        ({"refit": "continue"}, 70),
        ({"quality": "pretrained", "refit": "continue"}, 70),
        ({"quality": "tuned", "training": {"encoder_rate": 0.0}}, 55),
    ],
)
def test_what_is_solved_is_solved_again_where_training_would_go_on(settings, rows):
    """A solution has no steps that a second training could be counted from."""
    model = ConvTimeNetForecaster(h=6, verbose=0, **settings).fit(monthly(rows))
    assert model.history_.refitted


@pytest.mark.parametrize("quality", ["fast", "pretrained"])
def test_solved_again_on_newer_rows(quality):
    model = ConvTimeNetForecaster(h=6, quality=quality, refit=False, verbose=0)
    model.fit(monthly(70)).retrain(monthly(90))
    assert np.isfinite(model.predict(monthly(90))["y"]).all()


@pytest.mark.parametrize("quality", ["fast", "pretrained"])
def test_intervals_do_not_depend_on_the_level(quality):
    widths = []
    for offset in (0.0, 1e8):
        model = ConvTimeNetForecaster(h=6, quality=quality, verbose=0).fit(monthly(70, offset))
        bands = model.predict(monthly(70, offset), level=[80])
        widths.append((bands["y-hi-80"] - bands["y-lo-80"]).to_numpy())
    # logarithms are taken of neither: sines cross 0, and what is far off is shifted below it
    np.testing.assert_allclose(widths[0], widths[1], rtol=0.15)


class TestTuned:
    def test_by_its_seed_alone(self):
        forecasts = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            state = torch.get_rng_state()
            model = ConvTimeNetForecaster(h=6, quality="tuned", verbose=0, **FEW)
            forecasts.append(model.fit(monthly(80)).predict(monthly(80))["y"].to_numpy())
            assert torch.equal(torch.get_rng_state(), state)
        np.testing.assert_array_equal(*forecasts)

    def test_a_second_training_goes_on(self):
        model = ConvTimeNetForecaster(h=6, quality="tuned", refit=True, verbose=0, **FEW)
        model.fit(monthly(80))
        scored = model.scored_
        assert scored is not None
        network, first = (cast(Any, one.network_.embedding) for one in (model, scored))
        for own, one in zip(network.parameters(), first.parameters(), strict=True):
            torch.testing.assert_close(own, one)
        load_pretrained(first)
        moved = [
            not torch.equal(a, b)
            for a, b in zip(network.parameters(), first.parameters(), strict=True)
        ]
        assert any(moved) == bool(model.history_.granted)

    def test_starts_from_the_packages_weights_alone(self):
        model = ConvTimeNetForecaster(h=6, quality="tuned", verbose=0)
        with pytest.raises(ConfigError, match=r"fine-tunes the weights .*no encoder that could be"):
            model.pretrain(monthly())
        auto = ConvTimeNetForecaster(h=6, verbose=0)
        with pytest.raises(ConfigError, match="so init_from would have no effect"):
            ConvTimeNetForecaster(h=6, quality="tuned", init_from=auto, verbose=0).fit(monthly())


FEW: dict[str, Any] = {
    "training": {"epoch_steps": 1, "epoch_size": 8, "epochs": 2, "batch_size": 8}
}


@pytest.mark.parametrize("quality", ["pretrained", "tuned", "fast", "best"])
def test_nothing_to_search(quality):
    with pytest.raises(ConfigError, match=f"quality='{quality}' .*use quality='auto'"):
        search_module._check_quality(ConvTimeNetForecaster(h=6, quality=quality))


def cases(n: int = 12, C: int = 2) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).normal(size=(n, C, 32)).astype(np.float32)
    y = np.arange(n) % 2
    X[y == 1] += np.sin(np.arange(32) / 2)
    return X, y


class TestCases:
    @pytest.mark.parametrize("how", ["a case", "half the steps"])
    def test_fine_tuned_with_a_channel_that_says_nothing(self, how):
        X, y = cases()
        if how == "a case":
            X[3, 1] = np.nan
        else:
            X[:, 1, 1::2] = np.nan
        model = ConvTimeNetClassifier(
            init_from="pretrained", model={"random_patches": 1}, **TUNED
        ).fit(X, y)
        assert model.history_.skipped == 0
        assert np.isfinite(model.predict_proba(X)).all()

    def test_an_epoch_of_ones_own_is_one_pass(self):
        X, y = cases(40)
        model = ConvTimeNetClassifier(
            init_from="pretrained", model={"random_patches": 1}, batch_size=8, **TUNED
        ).fit(X, y)
        assert model.history_.steps == 5

    def test_package_weights_are_no_setting_of_the_network(self):
        with pytest.raises(ConfigError, match="pretrained"):
            ConvTimeNetClassifier(quality="fast", model={"pretrained": True}).fit(*cases())

    def test_columns_are_remembered(self, tmp_path):
        X, y = cases(C=1)
        frame = pd.DataFrame(X[:, 0], columns=[f"t{i}" for i in range(32)])
        model = ConvTimeNetClassifier(quality="fast", model={"random_patches": 1}, verbose=0)
        model.fit(frame, y).save(tmp_path / "model")
        loaded = ConvTimeNetClassifier.load(tmp_path / "model")
        assert loaded.n_features_in_ == 32
        assert vars(loaded)["feature_names_in_"].tolist() == list(frame.columns)
        for one in (model, loaded):
            with pytest.raises(ValueError, match="feature names"):
                one.predict(frame[frame.columns[::-1]])
