"""Exponential smoothing as a network, and its place as the default for short series."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from common import needs_data
from hypothesis import given, settings
from hypothesis import strategies as st

from convtimenet import ConvTimeNetForecaster, export
from convtimenet.config import ModelConfig
from convtimenet.data.windows import Windows
from convtimenet.errors import DataError
from convtimenet.estimators.presets import derived as presets
from convtimenet.network.model import count_parameters
from convtimenet.network.smoothing import Kind, SmoothingNetwork, forecasts, kinds_of, smooth
from convtimenet.report._network import smoothing_section
from convtimenet.runtime import ForecastRuntime, load
from convtimenet.training.closed_form import smoothing as closed_form
from convtimenet.training.closed_form.classical import Smoothing, smoothed
from convtimenet.training.closed_form.smoothing import fit_smoothing
from convtimenet.training.interrupt import StopRequest

SOME = torch.tensor([[0.4, -1.0, 0.15, 1.0], [0.2, 0.05, 0.4, 0.95], [0.7, 0.2, 0.0, 0.85]])
"""Level, trend, season, damping of three smoothings; the first has no trend."""


def config(season: int = 4, context: int = 24, horizon: int = 6) -> ModelConfig:
    return ModelConfig(
        head="forecast",
        context_length=context,
        outputs=horizon,
        season=season,
        smoothings=8,
        kernel_sizes=(),
        masks=True,
    )


def series(rows: int, seed: int = 0, low: float = 5.0) -> torch.Tensor:
    steps = np.arange(rows)
    noise = np.random.default_rng(seed).normal(scale=0.3, size=rows)
    return torch.tensor(low + 0.05 * steps + np.sin(steps * np.pi / 2) + noise, dtype=torch.float32)


def monthly(values: np.ndarray) -> pd.DataFrame:
    times = pd.date_range("2015-01-01", periods=len(values), freq="MS")
    return pd.DataFrame({"time": times, "sales": values})


def sales(rows: int = 72, seed: int = 1) -> np.ndarray:
    steps = np.arange(rows)
    noise = np.random.default_rng(seed).normal(size=rows)
    return (50 + 0.5 * steps) * (1 + 0.3 * np.sin(2 * np.pi * steps / 12)) + noise


class TestRecursion:
    @pytest.mark.parametrize("season", [1, 4])
    def test_additive_smoothing_is_the_matrix_of_the_linear_stream(self, season):
        x = torch.stack([series(24, 1), series(24, 2)])
        own = SOME.clone()
        own[:, 2] *= season > 1
        found = smooth(x, torch.ones_like(x, dtype=torch.bool), own, season, 6)
        grid = [
            Smoothing(a, None if b < 0 else b, phi, g if season > 1 else None)
            for a, b, g, phi in SOME.tolist()
        ]
        maps = torch.tensor(smoothed(grid, 24, np.arange(6), season), dtype=torch.float32)
        torch.testing.assert_close(
            found, torch.einsum("rl,plh->rph", x, maps), rtol=1e-4, atol=1e-4
        )

    def test_a_multiplied_season_follows_the_textbook(self):
        x = series(24, 3).double().numpy()
        found = smooth(
            torch.tensor(x)[None].float(), torch.ones(1, 24, dtype=torch.bool), SOME, 4, 6, True
        )
        for n, (alpha, beta, gamma, phi) in enumerate(SOME.tolist()):
            first, second = x[:4].mean(), x[4:8].mean()
            slope = (second - first) / 4
            line = (first + second) / 2 + slope * (np.arange(8) - 3.5)
            season = (x[:8] / line).reshape(2, 4).mean(0)
            level, trend = (first, 0.0) if beta < 0 else (line[0] - slope, slope)
            beta = max(0.0, beta)
            for t, value in enumerate(x):
                expected, now = level + phi * trend, season[t % 4]
                error = value / now - expected
                season[t % 4] = now + gamma * (1 - alpha) * (value / expected - now)
                level, trend = expected + alpha * error, phi * trend + alpha * beta * error
            path = level + trend * np.cumsum(phi ** np.arange(1, 7))
            np.testing.assert_allclose(found[0, n], path * season[np.arange(6) % 4], rtol=1e-4)

    def test_smoothing_of_logarithms_is_the_exponential_of_additive_smoothing(self):
        x = torch.stack([series(24, 4), series(24, 5)])
        known = torch.ones_like(x, dtype=torch.bool)
        found, fits = forecasts(Kind(True, logarithms=True), x, known, SOME, config())
        torch.testing.assert_close(found, smooth(x.log(), known, SOME, 4, 6).exp())
        assert fits.all()

    @given(
        pad=st.integers(1, 9), season=st.sampled_from([1, 4]), multiplies=st.booleans(),
        gap=st.integers(8, 20),
    )  # fmt: skip
    @settings(max_examples=25, deadline=None)
    def test_padding_in_front_changes_nothing(self, pad, season, multiplies, gap):
        x = series(24, 6)[None]
        known = torch.ones_like(x, dtype=torch.bool)
        known[0, gap] = False
        x = torch.where(known, x, 0.0)
        longer = torch.cat([torch.zeros(1, pad), x], 1)
        seen = torch.cat([torch.zeros(1, pad, dtype=torch.bool), known], 1)
        torch.testing.assert_close(
            smooth(longer, seen, SOME, season, 6, multiplies),
            smooth(x, known, SOME, season, 6, multiplies),
        )

    @pytest.mark.parametrize("multiplies", [False, True])
    def test_whole_rows_beside_late_ones_and_gaps_are_forecast_as_alone(self, multiplies):
        known = torch.ones(3, 20, dtype=torch.bool)
        known[1, :3], known[2, 9] = False, False
        x = torch.where(known, torch.stack([series(20, seed) for seed in (1, 2, 3)]), 0.0)
        alone = [smooth(x[r, None], known[r, None], SOME, 4, 6, multiplies) for r in range(3)]
        together = smooth(x, known, SOME, 4, 6, multiplies)
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("multiplies", [False, True])
    def test_a_missing_value_is_what_was_expected(self, multiplies):
        x = series(20, 7)
        for n in range(len(SOME)):
            own = SOME[n : n + 1]
            all_known = torch.ones(1, 20, dtype=torch.bool)
            nexts = smooth(x[None], all_known, own, 4, 1, multiplies)[0, 0]
            expected = torch.cat([x, nexts, torch.tensor([7.0])])[None]
            missing = torch.tensor([[True] * 20 + [False, True]])
            torch.testing.assert_close(
                smooth(torch.where(missing, expected, 0.0), missing, own, 4, 6, multiplies),
                smooth(expected, torch.ones_like(missing), own, 4, 6, multiplies),
            )

    @pytest.mark.parametrize(("low", "high"), [(3.0, 12.0), (12.0, 3.0)])
    def test_a_multiplied_season_survives_a_shift_between_the_first_two(self, low, high):
        x = torch.full((1, 72), high)
        x[0, :12] = low
        known = torch.ones_like(x, dtype=torch.bool)
        kind = Kind(True, multiplies=True)
        found, fits = forecasts(kind, x, known, SOME, config(season=12, context=72))
        assert fits.all()
        assert ((found > high / 3) & (found < 3 * high)).all()


class TestNetwork:
    def fitted(self, x: torch.Tensor, known: torch.Tensor | None = None) -> SmoothingNetwork:
        network = SmoothingNetwork(config())
        windows = Windows.between(x, 24, 6, 0, x.shape[1], 0, known, True)
        history = fit_smoothing(network, windows, StopRequest(), verbose=0)
        assert history.best_epoch == 1
        return network

    def test_each_form_has_a_third_of_the_shares(self):
        network = self.fitted(torch.stack([series(60, 1), series(60, 2)]))
        by_kind = dict(zip(network.kinds, network.shares.sum(1).tolist(), strict=True))
        assert by_kind.pop(Kind(False, True)) + by_kind.pop(Kind(True, True)) == 4
        assert sum(by_kind.values()) == 8

    def test_a_page_lists_what_has_a_share(self):
        network = self.fitted(series(60, 1)[None])
        (section,) = smoothing_section(network)
        assert section.body.count("<tr") == 1 + int((network.shares > 0).sum())
        assert count_parameters(network) == sum(one.numel() for one in network.parameters())

    def test_forecasts_scale_with_the_series(self):
        x = torch.stack([series(60, 1), series(60, 2)])
        network, context = self.fitted(x), x[None, :, -24:]
        torch.testing.assert_close(
            network(100 * context), 100 * network(context), rtol=1e-4, atol=0
        )

    def test_values_of_both_signs_are_smoothed_additively(self):
        network = self.fitted(series(60, 1)[None])
        context = series(24, 3, low=-1.0)[None]
        assert context.min() < 0 < context.max()
        known = torch.ones_like(context, dtype=torch.bool)
        parts, shares = [], []
        for kind, own, share in zip(
            network.kinds, network.parameters_of, network.shares, strict=True
        ):
            if not (kind.logarithms or kind.multiplies):
                season = 4 if kind.seasonal else 1
                parts.append((smooth(context, known, own, season, 6) * share[:, None]).sum(1))
                shares.append(share.sum())
        expected = torch.stack(parts).sum(0) / torch.stack(shares).sum()
        torch.testing.assert_close(network(context[None])[0], expected)

    def test_of_a_context_without_a_known_value_the_mean_of_all_is_forecast(self):
        x = series(60, 1)[None]
        network = self.fitted(x)
        known = torch.zeros(1, 1, 24, dtype=torch.bool)
        found = network(torch.full((1, 1, 24), 99.0), known)
        torch.testing.assert_close(found, torch.full_like(found, float(network.usual)))
        assert abs(float(network.usual) - float(x.mean())) < 0.5

    def test_without_two_seasons_the_season_is_left_out(self):
        context = torch.cat([torch.zeros(18), series(6, 1)])[None]
        known = torch.arange(24)[None] >= 18
        for kind in kinds_of(config()):
            assert bool(forecasts(kind, context, known, SOME, config())[1]) != kind.seasonal

    def test_the_choice_reads_the_rows_behind_the_last_whole_horizon(self):
        """A level shift in the last steps must speak for a smoothing that follows at once."""
        x = torch.full((1, 40), 5.0) + 0.01 * series(40, 2)[None]
        x[0, -5:] += 4
        stays = torch.cat([x[:, :-5], x[:, -10:-5]], 1)
        moved, calm = self.fitted(x), self.fitted(stays)
        level = [
            float((n.parameters_of[..., 0] * n.shares).sum() / n.shares.sum())
            for n in (moved, calm)
        ]
        assert level[0] > level[1]

    def test_kinds_of_a_form_are_compared_over_the_same_contexts(self):
        """Values below 0, which a multiplied season cannot read, must not speak for no season."""
        steps = torch.arange(60)
        season = 1 + 0.4 * torch.sin(steps * np.pi / 2)
        noise = torch.tensor(np.random.default_rng(1).normal(scale=0.9, size=60))
        x = torch.stack([5 * season + noise.float(), torch.full((60,), -5.0)])
        network = self.fitted(x)
        shares = dict(zip(network.kinds, network.shares.sum(1).tolist(), strict=True))
        alone = self.fitted(x[:1])
        assert shares[Kind(True, multiplies=True)] == 4
        assert shares[Kind(True, multiplies=True)] == float(alone.shares[2].sum())

    def test_with_many_windows_part_of_the_grid_is_left_out_early(self, monkeypatch):
        """What is chosen of series with a clear pattern is what all windows would choose."""
        x = torch.stack([series(120, seed) for seed in range(4)])
        raced = self.fitted(x)
        counted = []
        real = closed_form.forecasts

        def counts(kind: Kind, x: torch.Tensor, known: torch.Tensor, grid: torch.Tensor, *rest):
            counted.append(len(x) * len(grid))
            return real(kind, x, known, grid, *rest)

        monkeypatch.setattr(closed_form, "forecasts", counts)
        self.fitted(x)
        work = sum(counted)
        monkeypatch.setattr(closed_form, "_MANY", 10**9)
        counted.clear()
        whole = self.fitted(x)
        assert work < 0.5 * sum(counted)
        context = x[None, :, -24:]
        torch.testing.assert_close(raced(context), whole(context), rtol=0.01, atol=0)

    def test_smoothings_without_a_share_cost_nothing_and_change_nothing(self):
        network = self.fitted(series(60, 1)[None])
        context = series(24, 3)[None, None]
        expected = network(context)
        with torch.no_grad():
            network.parameters_of[network.shares == 0] = torch.nan
        torch.testing.assert_close(network(context), expected, rtol=0, atol=0)


class TestDefault:
    def test_a_short_table_is_smoothed_over_all_its_rows(self):
        model = ConvTimeNetForecaster(h=12, verbose=0).fit(monthly(sales()))
        assert isinstance(model.network_, SmoothingNetwork)
        assert model.network_.config.context_length == 72
        steps = np.arange(72, 84)
        truth = (50 + 0.5 * steps) * (1 + 0.3 * np.sin(2 * np.pi * steps / 12))
        found = model.predict(level=[50])
        assert np.abs(found["sales"] - truth).mean() < 1.5
        assert (found["sales-lo-50"] < found["sales"]).all()
        assert model.scores_ is not None
        assert model.scores_["ConvTimeNet"]["mae"] < 0.5 * model.scores_["SeasonalNaive"]["mae"]

    def test_it_reads_tables_of_two_seasons_and_refuses_shorter_ones(self):
        model = ConvTimeNetForecaster(h=12, verbose=0).fit(monthly(sales()))
        whole = model.predict(monthly(sales())[24:])
        assert np.isfinite(whole["sales"]).all()
        with pytest.raises(DataError, match="context of at least 24 rows, the table has 23"):
            model.predict(monthly(sales())[:23])

    def test_a_panel_shares_its_parameters(self):
        frames = [
            monthly(scale * sales(60, seed)).assign(unique_id=f"s{seed}")
            for seed, scale in ((1, 1.0), (2, 1000.0), (3, 0.001))
        ]
        model = ConvTimeNetForecaster(h=12, verbose=0).fit(pd.concat(frames))
        assert isinstance(model.network_, SmoothingNetwork)
        found = model.predict()
        means = found.groupby("unique_id")["ConvTimeNet"].mean()
        small, large = means["s3"], means["s2"]
        assert large / small == pytest.approx(1e6, rel=0.1)

    def test_a_new_series_is_forecast_as_a_known_one(self):
        known = [monthly(sales(60, n)).assign(unique_id=f"s{n}") for n in (1, 2, 3)]
        model = ConvTimeNetForecaster(h=12, verbose=0).fit(pd.concat(known))
        expected = model.predict(known[1])["ConvTimeNet"]
        found = model.predict(known[1].assign(unique_id="new"))["ConvTimeNet"]
        np.testing.assert_allclose(found, expected, rtol=1e-3)

    def test_a_short_series_of_a_panel_is_scored(self):
        frames = [monthly(sales(rows, rows)).assign(unique_id=f"s{rows}") for rows in (72, 60, 40)]
        model = ConvTimeNetForecaster(h=12, verbose=0).fit(pd.concat(frames))
        assert model.evaluate(frames[2]).n_windows == 5
        assert model.evaluate(frames[2].tail(20)).n_windows == 1

    def test_far_from_zero_no_value_counts_as_positive(self):
        """Whole windows may lie above the centre that is subtracted for precision."""
        values = 1e7 + np.random.default_rng(0).normal(size=(300, 1)).cumsum(0) * 0.01
        model = ConvTimeNetForecaster(h=4, verbose=0, refit=False).fit(values)
        network = model.network_
        assert isinstance(network, SmoothingNetwork)
        assert {kind.logarithms for kind in network.kinds} == {False, True}
        shares = dict(zip(network.kinds, network.shares.sum(1).tolist(), strict=True))
        assert shares[Kind(False, True)] == 0
        last = model.evaluate(values, first_row=296)
        error = np.abs(model.forecast(values[:-4]) - values[-4:]).mean() / model.scaler_.scale
        assert last.scores["mae"] == pytest.approx(float(error.mean()), rel=1e-3)

    def test_backtests_of_short_tables_have_intervals(self):
        model = ConvTimeNetForecaster(h=6, verbose=0)
        found = model.cross_validation(monthly(sales(60)), n_windows=2, level=[50])
        assert (found["SeasonalNaive-lo-50"] < found["SeasonalNaive-hi-50"]).all()

    def test_saved_and_exported_models_answer_alike(self, tmp_path):
        # the graph has a part for every step of the context, all rows
        values = np.random.default_rng(0).normal(size=(24, 2)).cumsum(0) + 20
        values[18, 1] = np.nan
        model = ConvTimeNetForecaster(h=4, quality="fast", verbose=0).fit(values)
        assert isinstance(model.network_, SmoothingNetwork)
        expected = model.forecast(values)
        again = ConvTimeNetForecaster.load(model.save(tmp_path / "model"))
        np.testing.assert_array_equal(again.forecast(values), expected)
        parity = export.export(model, tmp_path / "graph")
        assert parity["max_difference"] < 1e-4
        graph = load(tmp_path / "graph")
        assert isinstance(graph, ForecastRuntime)
        np.testing.assert_allclose(graph.forecast(values), expected, rtol=1e-5)
        short = values[-12:]
        np.testing.assert_allclose(graph.forecast(short), model.forecast(short), rtol=1e-5)

    def test_a_linear_map_stays_where_it_is_far_better(self, monkeypatch):
        """Two waves of no common season: a regression sees them, smoothing cannot."""
        usual = presets.auto_forecast

        def quick(*given: Any) -> presets.Preset:  # what is trained beside the map does not matter
            preset = usual(*given)
            small = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,)}
            train = preset.train | {"epochs": 1, "refit": False}
            return replace(preset, model=preset.model | small, train=train)

        monkeypatch.setattr(presets, "auto_forecast", quick)
        steps = np.arange(400)
        x = np.sin(steps / 2.3) + np.sin(steps / 3.7)
        model = ConvTimeNetForecaster(h=8, verbose=0).fit(x)
        assert model.network_.config.linear

    @pytest.mark.parametrize(
        "given",
        [{"input_size": 24}, {"scale": False}, {"model": {"masks": False}}, {"calendar": "month"}],
        ids=str,
    )
    def test_settings_of_other_networks_are_kept(self, given):
        epochs = 1 if "calendar" in given or "model" in given else None
        model = ConvTimeNetForecaster(h=12, verbose=0, n_epochs=epochs, **given)
        assert not isinstance(model.fit(monthly(sales())).network_, SmoothingNetwork)


@needs_data
def test_a_table_of_related_channels_keeps_its_network():
    from convtimenet.runs.evaluation import registered_table

    data, table = registered_table("ILI")
    model = ConvTimeNetForecaster(h=60, verbose=0)
    ends = np.array([data.train_end])
    assert model._preset(table, ends, ends, False, 52).model["linear"]
