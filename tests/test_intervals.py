"""Intervals: quantiles that never cross, calibration that covers, bounds in the caller's units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convtimenet import ConvTimeNetForecaster
from convtimenet.config import ModelConfig
from convtimenet.data.windows import Windows
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.forecasting.backtest import SeasonalNaive
from convtimenet.estimators.forecasting.calibration import Calibration, check_levels, check_reach
from convtimenet.estimators.forecasting.intervals import Bands, context_scale, distances
from convtimenet.network.inference import fuse
from convtimenet.network.layers import median_and_spread
from convtimenet.network.linear import LinearNetwork
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.smoothing import SmoothingNetwork

QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)
SIZES: dict[str, Any] = {
    "d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5), "patch_size": 8, "patch_stride": 4,
}  # fmt: skip


def forecaster(**given_) -> ConvTimeNetForecaster:
    model = SIZES | given_.pop("model", {})
    fixed = {"h": 4, "input_size": 24, "n_epochs": 1, "device": "cpu", "verbose": 0}
    fixed |= {"refit": False}  # another file is about the second training
    return ConvTimeNetForecaster(**(fixed | given_), model=model)


def waves(T: int = 400, C: int = 2, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(T, C))
    return 50 + 10 * np.sin(np.arange(T)[:, None] / (2 + np.arange(C))) + 3 * noise


def hourly(values: np.ndarray) -> pd.DataFrame:
    times = pd.date_range("2024-01-01", periods=len(values), freq="h", name="date")
    columns = {f"c{i}": values[:, i] for i in range(values.shape[1])}
    return pd.DataFrame({"date": times, **columns})


@given(st.integers(1, 260), st.integers(1, 3), st.integers(1, 12), st.floats(1, 99.9))
def test_what_a_calibration_will_reach_is_known_before(windows, channels, horizon, level):
    made = Calibration.of(np.random.default_rng(0).random((windows, channels, horizon)))
    made = made.extended()[0]
    if made.reaches(level):
        check_reach([level], windows, channels, horizon)
    else:
        with pytest.raises(DataError, match=f"and {windows} held-out windows give fewer"):
            check_reach([level], windows, channels, horizon)


def test_the_number_that_is_needed_is_that_of_the_level_which_is_calibrated():
    with pytest.raises(DataError, match=r"96.5 % needs at least 33 .*and 30 .* level is 96;"):
        check_reach([96.5], 30, 1, 14)
    check_reach([96.0], 30, 1, 14)


class TestQuantileHead:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**16), st.sampled_from([1e-3, 1.0, 1e4]), st.sampled_from([0, 3]))
    def test_quantiles_never_cross_whatever_the_weights(self, seed, size, affine):
        torch.manual_seed(seed)
        config = ModelConfig.forecasting(
            context_length=24, horizon=4, quantiles=QUANTILES, revin_affine_channels=affine, **SIZES
        )
        network = ConvTimeNet(config).eval()
        with torch.no_grad():
            for parameter in network.head.parameters():
                parameter.normal_(std=size)
            if (
                network.revin is not None and affine
            ):  # the learnt weight may turn negative or vanish
                network.revin.weight.copy_(torch.tensor([[-1.0], [0.0], [2.0]]))
            x = 100 * torch.randn(2, 3, 24)
            x[0, 0] = 7  # a constant context
            y = network(x)
        assert y.shape == (2, 3, 5, 4)
        assert y.isfinite().all()
        assert (y.diff(dim=2) >= 0).all()

    def test_the_median_is_the_heads_own_row_and_steps_add_up(self):
        y = torch.tensor([[-1.0], [0.0], [3.0], [2.0]]).view(1, 1, 4, 1)
        median, spread = median_and_spread(y, 2)
        steps = torch.nn.functional.softplus(y.flatten())
        assert median.item() == 3
        expected = [-(steps[0] + steps[1]), -steps[1], 0, steps[3]]
        assert spread.flatten().tolist() == pytest.approx([float(e) for e in expected])

    def test_without_quantiles_the_network_is_the_same(self):
        torch.manual_seed(0)
        plain = ConvTimeNet(ModelConfig.forecasting(context_length=24, horizon=4, **SIZES))
        assert plain.head.project.out_features == 4
        assert plain(torch.randn(2, 3, 24)).shape == (2, 3, 4)

    def test_the_fused_copy_and_the_compiled_graph_agree(self):
        torch.manual_seed(1)
        config = ModelConfig.forecasting(context_length=24, horizon=4, quantiles=QUANTILES, **SIZES)
        network = ConvTimeNet(config).eval()
        x = torch.randn(3, 2, 24)
        with torch.no_grad():
            expected = network(x)
            torch.testing.assert_close(fuse(network)(x), expected, rtol=1e-4, atol=1e-5)
            program = torch.export.export(fuse(network), (x,))
            torch.testing.assert_close(program.module()(x), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("quantiles", [(0.1, 0.9), (0.5, 0.1), (0, 0.5), (0.5, 0.5), ("a",)])
    def test_unusable_quantiles_are_refused(self, quantiles):
        message = r"quantiles must be empty, or increasing .* that include 0\.5"
        with pytest.raises(ConfigError, match=message):
            ModelConfig.forecasting(context_length=24, horizon=4, quantiles=quantiles)

    def test_classification_has_none(self):
        with pytest.raises(ConfigError, match="quantiles must be empty for the head 'classify'"):
            ModelConfig.classification(channels=1, context_length=8, n_classes=2, quantiles=(0.5,))

    def test_training_learns_the_noise(self):
        """Of pure noise the quantiles are the normal distribution's."""
        noise = np.random.default_rng(0).normal(size=(3000, 1))
        model = forecaster(
            h=1, n_epochs=6, lr=3e-3, model={"quantiles": (0.1, 0.5, 0.9)}, batch_size=64
        ).fit(noise, split=(2400, 2700))
        windows = np.lib.stride_tricks.sliding_window_view(noise[2676:, 0], 24)[:-1, None]
        low, _, high = model._outputs(model.scaler_.apply(windows))[:, 0, :, 0].T
        truth = model.scaler_.apply(noise[2700:, 0])[0]
        assert 0.72 < np.mean((low < truth) & (truth < high)) < 0.88
        assert set(model.history_.epochs[0].valid) == {"mse", "mae", "pinball"}


class TestCalibration:
    def test_the_radius_is_the_finite_sample_quantile(self):
        distances = np.random.default_rng(0).permutation(99).astype(float)[:, None, None] + 1
        found = Calibration.of(distances)
        assert found.radius(80)[0, 0] == 80  # ceil(100 * 0.8)
        assert found.radius(95)[0, 0] == 95
        assert found.radius(99)[0, 0] == 99
        assert found.radius(79.5)[0, 0] == 80  # the next level of the grid
        with pytest.raises(DataError, match=r"99\.5 % needs at least 199 calibration values"):
            found.radius(99.5)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(5, 300), st.sampled_from([50, 80, 90, 95]), st.integers(0, 999))
    def test_ranks_by_hand_and_values_that_do_not_count(self, n, level, seed):
        rng = np.random.default_rng(seed)
        values = rng.exponential(size=(n, 1, 1))
        gaps = rng.random((n, 1, 1)) < 0.2
        counted = np.sort(values[~gaps])
        rank = -(-(len(counted) + 1) * level // 100)  # ceil, in whole numbers
        found = Calibration.of(np.where(gaps, np.nan, values))
        if rank > len(counted):
            assert not found.reaches(level)
        else:
            assert found.radius(level)[0, 0] == np.float32(counted[rank - 1])

    def test_channels_share_radii_unless_windows_are_many(self):
        rng = np.random.default_rng(0)
        assert Calibration.of(rng.random((199, 3, 2))).radius(80).shape == (1, 2)
        assert Calibration.of(rng.random((200, 3, 2))).radius(80).shape == (3, 2)
        assert Calibration.of(rng.random((200, 3, 11))).radius(80).shape == (1, 11)

    @pytest.mark.parametrize("every", [0, 25], ids=["never known", "seldom known"])
    def test_a_channel_that_is_known_seldom_has_the_radii_of_all(self, every):
        rng = np.random.default_rng(0)
        distances = rng.random((300, 3, 2)) * [[1], [10], [100]]
        whole = Calibration.of(distances)
        hidden = np.arange(300) % every != 0 if every else slice(None)
        distances[hidden, 1] = np.nan
        found, pooled = Calibration.of(distances), Calibration.of(distances, shared=True)
        assert found.reaches(99)
        np.testing.assert_array_equal(found.radius(95)[[0, 2]], whole.radius(95)[[0, 2]])
        np.testing.assert_array_equal(found.radius(95)[1], pooled.radius(95)[0])
        assert found.radius(95).shape == (3, 2)
        found.check(channels=3, horizon=2)

    def test_exchangeable_values_are_covered_as_promised(self):
        """The mean coverage over many draws lies between a and a + 1 / (n + 1)."""
        rng = np.random.default_rng(3)
        n, draws, fresh = 30, 3000, 50
        inside = [
            np.mean(rng.normal(size=fresh) ** 2 <= Calibration.of(
                rng.normal(size=(n, 1, 1)) ** 2).radius(80)[0, 0])
            for _ in range(draws)
        ]  # fmt: skip
        spread = 4 * np.std(inside) / math.sqrt(draws)
        assert 0.8 - spread < np.mean(inside) < 0.8 + 1 / (n + 1) + spread

    def test_beyond_what_can_be_calibrated_a_head_has_its_own_quantiles(self):
        """The radius of a level is where a standard normal distribution has its quantile."""
        own, (notice,) = Calibration.with_own(None, 3)
        assert own.windows == 0
        np.testing.assert_allclose(own.radius(80), np.full((1, 3), 1.2815516), rtol=1e-6)
        assert notice == "intervals are the network's own: there are too few rows to calibrate them"
        few = Calibration.of(np.full((9, 1, 3), 2.5))
        whole, (notice,) = Calibration.with_own(few, 3)
        assert notice.startswith("intervals above 90 % are the network's own")
        np.testing.assert_array_equal(whole.radius(90), few.radius(90))
        np.testing.assert_array_equal(whole.radius(95), np.full((1, 3), np.float32(2.5)))
        assert whole.radius(99.9)[0, 0] == np.float32(3.2905267)
        assert Calibration.with_own(Calibration.of(np.ones((3, 1, 3))), 3)[0].windows == 0
        many = Calibration.of(np.ones((40, 1, 3)))
        assert Calibration.with_own(many, 3)[1] == []

    def test_of_few_windows_the_usual_levels_are_extrapolated(self):
        """As for normal errors, from the highest level that could be calibrated."""
        few = Calibration.of(np.arange(1.0, 10)[:, None, None] * [[[1.0, 2.0]]])
        whole, (notice,) = few.extended()
        assert notice == (
            "intervals above 90 % are extrapolated from these as for normal errors: there are only "
            "9 windows to calibrate them with"
        )
        np.testing.assert_array_equal(whole.radii[:90], few.radii[:90])
        z95, z90 = 1.959963985, 1.644853627
        np.testing.assert_allclose(whole.radius(95), [[9 * z95 / z90, 18 * z95 / z90]], rtol=1e-6)
        assert not whole.reaches(96)
        whole.check(1, 2)
        for many in (19, 3):  # enough, or too few for the lowest usual level
            found = Calibration.of(np.ones((many, 1, 2)))
            assert found.extended() == (found, [])

    def test_a_channel_with_more_windows_keeps_what_was_calibrated(self):
        distances = np.random.default_rng(0).random((230, 2, 2))
        distances[218:, 0], distances[:218, 1] = np.nan, np.nan
        distances[:, 1] /= 100
        found = Calibration.of(distances)
        found.radii[90:, 1] = np.inf  # as of a channel known in 10 windows
        whole, _ = found.extended()
        np.testing.assert_array_equal(whole.radii[:, 0], found.radii[:, 0])
        np.testing.assert_allclose(
            whole.radius(95)[1], found.radius(90)[1] * (1.959963985 / 1.644853627), rtol=1e-6
        )

    @pytest.mark.parametrize("level", [0, 100, -5, "80", [80, 101], [True], None])
    def test_levels_that_are_none(self, level):
        with pytest.raises(ConfigError, match="level must be in per cent, between 0 and 100"):
            check_levels(level)

    def test_levels_rise_and_repeat_once(self):
        assert check_levels([95, 80, 80.0]) == (80, 95)
        assert check_levels(90) == (90,)
        assert check_levels(np.array([50])) == (50,)


class TestBands:
    def bands(self, seed: int, quantiles: tuple[float, ...]) -> tuple[Bands, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        output = torch.randn(6, 2, len(quantiles) or 1, 3, generator=generator).double()
        output = output.sort(2).values if quantiles else output[:, :, 0]
        scale = torch.rand(6, 2, 1, generator=generator).double() + 0.1
        truth = 2 * torch.randn(6, 2, 3, generator=generator).double()
        return Bands(output, scale, quantiles), truth

    @given(st.integers(0, 9999), st.sampled_from([(), QUANTILES, (0.5, 0.9), (0.3, 0.5)]))
    def test_a_truth_lies_on_the_bound_at_its_own_distance(self, seed, quantiles):
        bands, truth = self.bands(seed, quantiles)
        distance = bands.distance(truth)
        assert (distance >= 0).all()
        for i, j, k in np.ndindex(*truth.shape):
            low, high = bands.bounds(np.full((1, 3), distance[i, j, k].item()))
            on = torch.stack([low[i, j, k], high[i, j, k]]) - truth[i, j, k]
            assert on.abs().min() < 1e-6
            break

    @given(st.integers(0, 9999), st.sampled_from([(), QUANTILES, (0.5, 0.9), (0.3, 0.5)]))
    def test_intervals_are_nested_around_the_forecast(self, seed, quantiles):
        bands, _ = self.bands(seed, quantiles)
        inner, outer = (bands.bounds(np.full((1, 3), r)) for r in (0.4, 1.7))
        assert (outer[0] <= inner[0]).all()
        assert (inner[0] <= bands.point).all()
        assert (bands.point <= inner[1]).all()
        assert (inner[1] <= outer[1]).all()

    def test_a_heads_quantiles_are_the_marks(self):
        """At the normal distribution's distance of a quantile the bound is the quantile."""
        output = torch.tensor([-3.0, -1.0, 0.0, 2.0, 7.0]).view(1, 1, 5, 1).double()
        bands = Bands(output, torch.ones(1, 1, 1).double(), QUANTILES)
        for radius, low, high in ((1.2815515655, -1, 2), (1.9599639845, -3, 7)):
            found = bands.bounds(np.array([[radius]]))
            assert [f.item() for f in found] == pytest.approx([low, high])

    def test_a_point_forecast_is_measured_in_its_contexts_deviation(self):
        x = torch.tensor([[[0.0, 2.0, 0.0, 2.0]]])
        scale = context_scale(x)
        assert scale.item() == pytest.approx(1, rel=1e-4)
        bands = Bands(torch.tensor([[[5.0]]]), 3 * scale, ())
        assert bands.distance(torch.tensor([[[-1.0]]])).item() == pytest.approx(2, rel=1e-4)


class TestForecaster:
    @pytest.mark.parametrize("quantiles", [(), (0.1, 0.5, 0.9)])
    def test_intervals_cover_new_data_of_the_same_kind(self, quantiles):
        """Errors of noise alone are exchangeable, so the coverage is what was asked for."""
        values = waves(3000)
        model = forecaster(n_epochs=3, lr=3e-3, model={"quantiles": quantiles})
        model.fit(values, split=(1500, 2200))
        found = model.evaluate(values, first_row=2200, level=[50, 80, 95])
        assert [one.level for one in found.intervals] == [50, 80, 95]
        for one in found.intervals:
            assert abs(100 * one.coverage - one.level) < 5
            assert one.coverage_per_step.shape == one.width_per_step.shape == (4,)
            assert one.coverage_per_step.mean() == pytest.approx(one.coverage)
            assert one.width_per_step.mean() == pytest.approx(one.width)
        widths = [one.width for one in found.intervals]
        assert widths == sorted(widths)

    def test_scores_are_those_of_one_forecast_at_a_time(self):
        values = waves(200)
        model = forecaster().fit(values, split=(120, 160))
        one = model.evaluate(values, first_row=180, level=80).intervals[0]
        inside, widths, outside = [], [], []
        for t in range(180, 200 - 4 + 1):
            bands = model.predict(values[:t], level=80)
            low, high, truth = bands["lo-80"], bands["hi-80"], values[t : t + 4]
            inside.append((low <= truth) & (truth <= high))
            widths.append((high - low) / model.scaler_.scale[:, 0])
            beyond = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
            outside.append(beyond / model.scaler_.scale[:, 0])
        assert one.coverage == pytest.approx(np.mean(inside))
        assert one.width == pytest.approx(np.mean(widths), rel=1e-5)
        score = np.mean(widths) + 2 / 0.2 * np.mean(outside)
        assert one.interval_score == pytest.approx(score, rel=1e-5)
        np.testing.assert_allclose(one.coverage_per_step, np.mean(inside, axis=(0, 2)))
        by_channel = list(one.coverage_per_channel.values())
        np.testing.assert_allclose(by_channel, np.mean(inside, axis=(0, 1)))

    def test_the_point_forecast_stays_and_units_are_the_datas(self):
        values = waves()
        plain = forecaster().fit(values)
        scaled = forecaster().fit(1000 * values - 7)
        bands = plain.predict(level=[80])
        assert list(bands) == ["forecast", "lo-80", "hi-80"]
        np.testing.assert_array_equal(bands["forecast"], plain.predict())
        for name, found in scaled.predict(level=[80]).items():
            np.testing.assert_allclose(found, 1000 * bands[name] - 7, rtol=1e-3)

    def test_columns_of_a_wide_frame(self):
        model = forecaster().fit(hourly(waves()))
        found = model.predict(level=[95, 80])
        expected = ["c0", "c0-lo-95", "c0-lo-80", "c0-hi-80", "c0-hi-95"]
        assert list(found.columns) == [
            "date",
            *expected,
            *(n.replace("c0", "c1") for n in expected),
        ]
        for channel in ("c0", "c1"):
            names = [f"{channel}-lo-95", f"{channel}-lo-80", channel, f"{channel}-hi-80",
                     f"{channel}-hi-95"]  # fmt: skip
            assert (found[names].diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
        plain = model.predict()
        pd.testing.assert_frame_equal(found[["date", "c0", "c1"]], plain)

    def test_levels_with_a_fraction(self):
        assert list(forecaster().fit(waves()).predict(level=97.5)) == [
            "forecast", "lo-97.5", "hi-97.5",
        ]  # fmt: skip

    @pytest.mark.parametrize("quantiles", [(), (0.1, 0.5, 0.9)])
    def test_a_loaded_model_gives_the_same_intervals(self, tmp_path, quantiles):
        model = forecaster(model={"quantiles": quantiles}).fit(waves())
        loaded = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
        for name, found in loaded.predict(level=[80, 95]).items():
            np.testing.assert_array_equal(found, model.predict(level=[80, 95])[name])

    def test_a_channel_that_ends_before_the_held_out_rows_has_intervals_as_the_others(self):
        values = waves(500)
        values[250:, 1] = np.nan
        model = forecaster().fit(values, split=(250, 500))
        assert np.isfinite(list(model.predict(level=80).values())).all()
        scored = model.evaluate(values, first_row=250).intervals
        assert [found.level for found in scored] == [80, 95]
        for found in scored:  # the rows that it was calibrated with
            assert found.coverage_per_channel["0"] == pytest.approx(found.level / 100, abs=0.01)

    def test_nothing_held_back_means_no_intervals(self, tmp_path):
        model = forecaster(training={"validation_fraction": 0, "time_limit": 1e-9})
        again = ConvTimeNetForecaster.load(model.fit(waves()).save(tmp_path / "m"), device="cpu")
        for one in (model, again):
            assert one.calibration_ is None
            assert one.evaluate(waves()).intervals == ()
            with pytest.raises(DataError, match="no validation split; call calibrate with such"):
                one.predict(level=[80])
            with pytest.raises(DataError, match="no validation split; call calibrate with such"):
                one.evaluate(waves(), level=80)
        assert model.calibrate(waves(seed=1)).predict(level=[80])["lo-80"].shape == (4, 2)

    def test_calibrating_on_other_rows_changes_the_intervals_alone(self):
        """On the calibration rows themselves the coverage is the rank over the number."""
        values = waves(600)
        model = forecaster().fit(values, split=(300, 400))
        before = model.predict(values[:400], level=[80])
        after = model.calibrate(values, first_row=500).predict(values[:400], level=[80])
        np.testing.assert_array_equal(after["forecast"], before["forecast"])
        assert (after["lo-80"] != before["lo-80"]).all()
        n = 2 * (100 - 4 + 1)
        steps = model.evaluate(values, first_row=500, level=80).intervals[0].coverage_per_step
        np.testing.assert_allclose(steps, math.ceil(0.8 * (n + 1)) / n, atol=1.5 / n)

    def test_too_few_windows_for_a_level(self):
        model = forecaster(h=2, input_size=8).fit(waves(60, 1))
        assert [one.level for one in model.evaluate(waves(60, 1)).intervals] == [80, 95]
        assert model.notices_[-1].startswith("intervals above 91 % are extrapolated from these")
        with pytest.raises(DataError, match=r"96 % needs at least 24 calibration values per step"):
            model.predict(level=[96])

    @pytest.mark.parametrize(
        ("freq", "h", "network"), [("MS", 12, SmoothingNetwork), ("W-SUN", 13, LinearNetwork)]
    )
    def test_short_tables_have_intervals_of_the_usual_levels(self, freq, h, network):
        """Of five years of months, or of sixty weeks, too little is held out for them."""
        times = pd.date_range("2019-01-01", periods=60, freq=freq)
        frame = pd.DataFrame({"ds": times, "y": waves(60, 1)[:, 0]})
        model = ConvTimeNetForecaster(h=h, verbose=0).fit(frame)
        assert isinstance(model.network_, network)
        found = model.predict(level=[80, 95])
        width = {n: found[f"y-hi-{n}"] - found[f"y-lo-{n}"] for n in (80, 95)}
        assert (width[95] > width[80]).all()
        assert (width[80] > 0).all()
        folds, beyond = model.notices_[-2:]
        assert folds.startswith("only ")
        assert folds.endswith("calibrated with the errors of 3 trainings on earlier rows")
        assert beyond.endswith("windows to calibrate them with")

    def test_missing_values_do_not_calibrate(self):
        values = waves(600)
        values[420:440, 0] = np.nan
        model = forecaster().fit(values[:400], split=(300, 400))
        wild = np.where(np.isnan(values), np.inf, values)
        tame, same = (
            model.calibrate(one, first_row=380, end=440).calibration_ for one in (values, wild)
        )
        assert tame is not None
        assert np.isfinite(tame.radii[:90]).all()
        assert tame is not None
        assert same is not None
        np.testing.assert_array_equal(same.radii, tame.radii)


class TestContextsThatTellNoUnit:
    """Of zeros before the first sale, any error is millions of deviations."""

    def test_they_do_not_count_unless_there_are_no_others(self):
        far = np.arange(40.0).reshape(40, 1, 1)
        told = np.arange(40)[:, None] < 20
        found = Calibration.of(np.where(told[..., None], far, 1e6), told)
        np.testing.assert_array_equal(found.radius(80), [[16]])
        whole = Calibration.of(far).radius(80)
        np.testing.assert_array_equal(Calibration.of(far, told & False).radius(80), whole)

    def test_which_they_are(self):
        x = torch.zeros(4, 1, 6)
        x[1:] = torch.arange(6.0)
        known = torch.ones(4, 1, 6, dtype=torch.bool)
        known[2, :, 3:], known[3, :, :2] = False, False
        ahead = torch.full((4, 1, 2), 5.0)
        values, mask = torch.cat([x, ahead], -1), torch.cat([known, known[..., :2] | True], -1)
        windows = Windows(
            values.flatten()[None], 8 * torch.arange(4), 6, 2, mask.flatten()[None], masks=True
        )
        cpu = torch.device("cpu")
        found, told = distances(SeasonalNaive(1, 2), windows, (), 4, cpu)
        assert told[:, 0].tolist() == [False, True, False, True]
        assert found[0].min() > 1000

    def test_the_default_forecaster_of_a_series_with_a_late_start(self):
        noise = 3 * np.random.default_rng(0).normal(size=16)
        given = np.concatenate([np.zeros(24), 20 + noise])
        found = ConvTimeNetForecaster(h=4, device="cpu", verbose=0).fit(given).predict(level=[80])
        assert 0 < found["lo-80"].min() < found["hi-80"].max() < 40
