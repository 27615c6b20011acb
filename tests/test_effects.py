"""Linear effects of covariates known ahead: what is solved for, and what forecasts make of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from convtimenet import ConvTimeNetForecaster, ModelConfig
from convtimenet.batch import Covariates
from convtimenet.data.windows import Exogenous, Windows
from convtimenet.errors import ConfigError
from convtimenet.network.covariate_embedding import CovariateEffects
from convtimenet.network.inference import fuse
from convtimenet.network.linear import LinearNetwork
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.smoothing import SmoothingNetwork
from convtimenet.report._importance import _effects_card
from convtimenet.training.closed_form.effects import solve_effects, without_effects

NOISE = 0.5


def sales(rows: int = 134, seed: int = 0) -> pd.DataFrame:
    """A trend, a weekly season, 3 more on days of promotion, 1 less for each unit of price."""
    rng = np.random.default_rng(seed)
    promo, price = (rng.random(rows) < 0.3).astype(float), rng.normal(size=rows)
    steps = np.arange(rows)
    y = 20 + 0.01 * steps + 2 * np.sin(2 * np.pi * steps / 7) + 3 * promo - price
    y = y + rng.normal(scale=NOISE, size=rows)
    days = pd.date_range("2022-01-01", periods=rows, freq="D")
    return pd.DataFrame({"ds": days, "y": y, "promo": promo, "price": price})


def config(**settings: Any) -> ModelConfig:
    given = {"head": "forecast", "context_length": 28, "outputs": 14, "season": 7, "futr_exog": 2}
    return ModelConfig.from_dict(given | {"effects": 1, "kernel_sizes": ()} | settings)


def windows(frame: pd.DataFrame, end: int | None = None, known: np.ndarray | None = None):
    """Windows of 28 + 14 steps in the rows up to `end`."""
    futr = torch.tensor(frame[["promo", "price"]].to_numpy().T, dtype=torch.float32)
    T = len(frame)
    none = torch.zeros(1, 0)
    exogenous = Exogenous(torch.zeros(0, T), futr, none, none.long(), torch.tensor([0, T]))
    values = torch.tensor(frame["y"].to_numpy()[None], dtype=torch.float32)
    mask = None if known is None else torch.from_numpy(known[None])
    return Windows.between(values, 28, 14, 0, end or T, 0, mask, True, exogenous)


def solved(*args: Any, **kwargs: Any) -> np.ndarray:
    effects = CovariateEffects(config(linear=True))
    solve_effects(effects, windows(*args, **kwargs), 7)
    return effects.weight.numpy()[0]


class TestSolution:
    @pytest.mark.parametrize("seed", range(3))
    def test_effects_are_recovered(self, seed):
        assert_allclose(solved(sales(seed=seed)), [3, -1], atol=0.35)

    def test_it_is_the_least_squares_of_the_differences(self):
        frame = sales(400)
        x, y = frame[["promo", "price"]].to_numpy(), frame["y"].to_numpy()
        past = [np.roll(np.column_stack([y, x]), lag, 0)[21:] for lag in (14, 21)]
        apart = np.column_stack([y, x])[21:] - np.mean(past, 0)
        expected = np.linalg.lstsq(apart[:, 1:], apart[:, 0], rcond=None)[0]
        assert_allclose(solved(frame), expected, rtol=0.02)  # the first week has one season only

    def test_rows_of_no_window_are_not_read(self):
        frame = sales()
        changed = frame.assign(y=np.where(np.arange(134) < 100, frame["y"], -50.0))
        assert_allclose(solved(changed, 100), solved(frame, 100), rtol=0, atol=0)

    def test_missing_values_are_not_read(self):
        frame = sales()
        known = np.random.default_rng(3).random(134) > 0.2
        changed = frame.assign(y=np.where(known, frame["y"], 1e6))
        found = solved(changed, known=known)
        assert_allclose(found, solved(frame, known=known), rtol=0, atol=0)
        assert_allclose(found, [3, -1], atol=0.5)

    def test_differences_of_one_stretch_alone_are_not_enough(self):
        """Known are 26 rows in the first fifth, and the last one: 12 differences, in one block."""
        known = np.arange(134) < 26
        known[-1] = True
        assert solved(sales(134), known=known).tolist() == [0.0, 0.0]

    def test_series_are_not_compared_with_each_other(self):
        one, two = sales(134, 1), sales(134, 2)
        two["y"] += 500
        both = pd.concat([one, two], ignore_index=True)
        made = windows(both)
        assert made.exogenous is not None
        bounds = torch.tensor([0, 134, 268])
        own = made.exogenous
        apart = Exogenous(own.hist, own.futr, own.stat, own.categories, bounds)
        starts = torch.cat([torch.arange(93), torch.arange(134, 227)])
        effects = CovariateEffects(config(linear=True))
        solve_effects(effects, Windows(made.values, starts, 28, 14, exogenous=apart), 7)
        assert_allclose(effects.weight.numpy()[0], [3, -1], atol=0.25)

    def test_what_tells_nothing_has_no_effect(self):
        frame = sales(134, 5)
        rng = np.random.default_rng(6)
        frame["y"] = rng.normal(size=134)
        assert not solved(frame).any()

    def test_what_repeats_the_season_has_no_effect(self):
        frame = sales(140)
        steps = np.arange(140)
        frame["promo"], frame["price"] = (
            np.sin(2 * np.pi * steps / 7),
            np.cos(2 * np.pi * steps / 7),
        )
        assert np.abs(solved(frame)).max() < 1e-3

    def test_series_without_effects_and_effects_are_the_series(self):
        made = windows(sales())
        effects = CovariateEffects(config(linear=True))
        solve_effects(effects, made, 7)
        left = without_effects(effects, made)
        index = torch.arange(5)
        batch, bare = made.batch(index), left.batch(index)
        x, ahead = effects(batch.x, batch.covariates)
        torch.testing.assert_close(x, bare.x)
        torch.testing.assert_close(bare.y + ahead, batch.y)


class TestNetworks:
    @pytest.mark.parametrize("kind", ["linear", "smoothing", "trained"])
    def test_the_rest_is_forecast_as_without_covariates(self, kind):
        """Network with effects = network of the series without them, plus those of the horizon."""
        torch.manual_seed(0)
        own = {
            "linear": {"linear": True},
            "smoothing": {"smoothings": 4, "masks": True},
            "trained": {"linear": True, "kernel_sizes": (3,), "d_model": 8, "d_ff": 16},
        }[kind]
        make = {"linear": LinearNetwork, "smoothing": SmoothingNetwork, "trained": ConvTimeNet}
        network = make[kind](config(**own)).eval()
        with torch.no_grad():
            for one in network.parameters():
                one.copy_(torch.rand_like(one) * 0.3)
        assert network.effects is not None
        x, futr = torch.randn(3, 1, 28), torch.randn(3, 2, 42)
        effects = torch.einsum("ck,bkt->bct", network.effects.weight, futr)
        found = network(x, None, Covariates(futr=futr))
        with torch.no_grad():
            network.effects.weight.zero_()
        expected = network(x - effects[..., :28], None, Covariates(futr=futr)) + effects[..., 28:]
        torch.testing.assert_close(found, expected)

    def test_fused_networks_have_them(self):
        torch.manual_seed(0)
        network = ConvTimeNet(config(linear=True, kernel_sizes=(3,), d_model=8, d_ff=16)).eval()
        with torch.no_grad():
            for one in network.parameters():
                one.copy_(torch.rand_like(one) * 0.3)
        given = torch.randn(3, 1, 28), None, Covariates(futr=torch.randn(3, 2, 42))
        with torch.no_grad():
            torch.testing.assert_close(fuse(network)(*given), network(*given))

    def test_the_config_says_what_closed_forms_read(self):
        with pytest.raises(
            ConfigError, match="futr_exog must be 0 without kernel_sizes or effects"
        ):
            config(linear=True, effects=0)
        with pytest.raises(ConfigError, match="hist_exog"):
            config(linear=True, hist_exog=1)


class TestForecasts:
    def error(self, model: ConvTimeNetForecaster, frame: pd.DataFrame) -> float:
        ahead = frame.iloc[120:]
        given = {"future": ahead.drop(columns="y")} if model.futr_exog else {}
        return float(np.abs(model.predict(**given)["y"].to_numpy() - ahead["y"].to_numpy()).mean())

    def test_few_rows_tell_what_a_promotion_is_worth(self):
        """120 days, two seeds: errors are near those of the noise instead of the promotions'."""
        for seed in (0, 1):
            frame = sales(134, seed)
            known = frame.iloc[:120]
            alone = ConvTimeNetForecaster(14, verbose=0).fit(known[["ds", "y"]])
            told = ConvTimeNetForecaster(14, futr_exog=["promo", "price"], verbose=0).fit(known)
            assert isinstance(told.network_, SmoothingNetwork)
            assert self.error(told, frame) < 1.3 * NOISE * (2 / np.pi) ** 0.5
            assert self.error(alone, frame) > 2 * self.error(told, frame)

    def test_fast_reads_them_text_and_saves_them(self, tmp_path):
        frame = sales(134, 2)
        frame["kind"] = np.where(frame["promo"] > 0, "promotion", "none")
        model = ConvTimeNetForecaster(
            14, quality="fast", futr_exog=["kind", "price"], verbose=0
        ).fit(frame.iloc[:120])
        assert self.error(model, frame) < 0.6
        none, promotion, price = model.effects()
        assert (none.name, none.category, price.category) == ("kind", "none", None)
        assert promotion.values[0] - none.values[0] == pytest.approx(3, abs=0.3)
        assert price.values[0] == pytest.approx(-1, abs=0.2)
        model.save(tmp_path / "model")
        again = ConvTimeNetForecaster.load(tmp_path / "model")
        ahead = frame.iloc[120:].drop(columns="y")
        pd.testing.assert_frame_equal(again.predict(future=ahead), model.predict(future=ahead))

    def test_they_can_be_left_out(self):
        known = sales(134, 1).iloc[:120]
        model = ConvTimeNetForecaster(
            14, 28, futr_exog=["promo"], n_epochs=1, verbose=0,
            model={"effects": 0, "d_model": 8, "d_ff": 16, "kernel_sizes": (3,)},
        ).fit(known)  # fmt: skip
        assert model.network_.effects is None
        assert model.effects() == []

    def test_series_scaled_by_themselves_share_them(self):
        """Effects that grow with the level of a series are the same in its deviations."""
        one, two = sales(120, 1), sales(120, 2)
        table = pd.concat([one.assign(id="a"), two.assign(y=100 * two["y"], id="b")])
        model = ConvTimeNetForecaster(
            7, id_col="id", target_cols="y", futr_exog=["promo"], verbose=0
        ).fit(table)
        (effect,) = model.effects()
        assert effect.values[0] * one["y"].std() == pytest.approx(3, abs=0.5)

    def test_the_page_says_what_they_are(self, tmp_path):
        model = ConvTimeNetForecaster(7, futr_exog=["promo"], verbose=0).fit(sales(120))
        card = _effects_card(model.effects(), "y", 0, "the data's units")
        assert f"{model.effects()[0].values[0]:+.4g}" in card
        assert "adds to y, in the data&#x27;s units" in card

    def test_backtests_and_intervals_read_them(self):
        frame = sales(200, 3)
        model = ConvTimeNetForecaster(7, futr_exog=["promo", "price"], verbose=0)
        found = model.cross_validation(frame, n_windows=6, level=[80])
        error = np.abs(found["y"] - found["ConvTimeNet"])
        assert error.mean() < 0.6
        inside = found["y"].between(found["ConvTimeNet-lo-80"], found["ConvTimeNet-hi-80"])
        assert 0.6 < inside.mean() < 0.95
        assert (found["ConvTimeNet-hi-80"] - found["ConvTimeNet-lo-80"]).mean() < 2.5
