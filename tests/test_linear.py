"""The linear stream: its sums, its simple forecasts, the solution, and the forecaster with it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from common import DATA, needs_data
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from convtimenet import ConvTimeNet, ConvTimeNetForecaster, ModelConfig, fuse, processes, runtime
from convtimenet.bench.problems import ForecastProblem
from convtimenet.bench.problems import load as load_problem
from convtimenet.cli.main import main
from convtimenet.config import TrainConfig
from convtimenet.data.windows import Windows
from convtimenet.errors import ConfigError
from convtimenet.estimators.presets.derived import FEWEST_HORIZONS, contexts_for
from convtimenet.export import export
from convtimenet.network.linear import LinearNetwork
from convtimenet.network.model import count_parameters
from convtimenet.training.closed_form import search, sliding
from convtimenet.training.closed_form.classical import Smoothing, repeated, smoothed, smoothings
from convtimenet.training.closed_form.linear import granted, solve_linear
from convtimenet.training.closed_form.search import (
    PENALTIES,
    Search,
    best_start,
    surely,
    views,
)
from convtimenet.training.closed_form.sliding import series_of, sums_over

CPU = torch.device("cpu")


def windows_of(values: np.ndarray, L: int, H: int, known: np.ndarray | None = None) -> Windows:
    return Windows.between(
        torch.from_numpy(values),
        L,
        H,
        0,
        values.shape[1],
        known=None if known is None else torch.from_numpy(known),
        masks=True,
    )


def search_of(windows: Windows, last: bool = False) -> Search:
    return Search(series_of(windows, 1), windows, 1, last)


def network(L: int, H: int, season: int = 1, maps: int = 0) -> LinearNetwork:
    config = ModelConfig.forecasting(
        context_length=L, horizon=H, linear=True, season=season, kernel_sizes=(), masks=True,
        linear_channels=maps,
    )  # fmt: skip
    return LinearNetwork(config)


def waves(T: int, channels: int = 1, season: int = 6, noise: float = 0.1) -> np.ndarray:
    t, rng = np.arange(T), np.random.default_rng(0)
    rows = [np.sin(2 * np.pi * t / season + c) + 0.01 * c * t for c in range(channels)]
    return np.stack(rows) + noise * rng.normal(size=(channels, T))


class TestSums:
    """Sums, of windows of short series and running ones, against windows built here."""

    @pytest.fixture(params=["built", "running"], scope="class", autouse=True)
    @classmethod
    def _both_ways(cls, request):
        with pytest.MonkeyPatch.context() as patch:
            if request.param == "running":
                patch.setattr(sliding, "_FEW", 0)
            yield

    @settings(max_examples=40, deadline=None)
    @given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 5), st.integers(12, 40), st.data())
    def test_equal_the_products_of_built_windows(self, C, L, H, T, data):
        values = np.random.default_rng(T).normal(size=(C, T)) + 3
        known = np.ones((C, T), dtype=bool)
        if data.draw(st.booleans()):
            known[:, : data.draw(st.integers(0, 4))] = False
            known[0, -data.draw(st.integers(1, 4)) :] = False
        starts = np.array(
            sorted(data.draw(st.sets(st.integers(0, T - L - H), min_size=1, max_size=T)))
        )
        windows = Windows(
            torch.from_numpy(values), torch.arange(T - L - H + 1), L, H, torch.from_numpy(known)
        )
        found = sums_over(series_of(windows, 1), [starts, starts[:1]], L, H)
        for sums, some in zip(found, (starts, starts[:1]), strict=True):
            built = [
                values[c, s : s + L + H] for c in range(C) for s in some
                if known[c, s : s + L + H].all()
            ]  # fmt: skip
            assert sums.count == len(built)
            X = np.array(built).reshape(-1, L + H)
            assert_allclose(sums.products, X.T @ X, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("last", [False, True])
    def test_centred_and_shortened(self, last):
        values = waves(60, 2) + 40
        windows = windows_of(values, 8, 3)
        (sums,) = sums_over(series_of(windows, 1), [windows.starts.numpy()], 8, 3)
        steps = np.array([0, 2])
        weights = np.eye(5)[-1] if last else np.full(5, 1 / 5)
        square, cross, targets = sums.shortened(5).centred(weights, steps)
        X = values[:, np.arange(3, 8) + np.arange(50)[:, None]].reshape(-1, 5)
        Y = values[:, np.arange(8, 11) + np.arange(50)[:, None]].reshape(-1, 3)[:, steps]
        centre = X @ weights[:, None]
        X, Y = X - centre, Y - centre
        assert_allclose(square, X.T @ X, atol=1e-8)
        assert_allclose(cross, X.T @ Y, atol=1e-8)
        assert_allclose(targets, (Y**2).sum(0), atol=1e-8)

    def test_nothing_outside_the_rows_of_the_windows_is_read(self):
        """Values behind the windows' rows change neither gaps inside nor the sums."""
        values, known = waves(40), np.ones((1, 40), dtype=bool)
        known[0, 27:33] = False
        for_all = []
        for behind in (0.0, 1e6):
            values[0, 33:] = behind
            windows = Windows(
                torch.from_numpy(values), torch.arange(20), 6, 4, torch.from_numpy(known)
            )
            (sums,) = sums_over(series_of(windows, 1), [np.arange(20)], 6, 4)
            for_all.append(sums.products)
        assert_allclose(for_all[0], for_all[1], rtol=0, atol=0)

    def test_processes_share_the_lags(self, monkeypatch):
        """Each of three computes a third of the sums, and together they are those of one."""
        windows = windows_of(waves(60, 2), 7, 2)
        given = series_of(windows, 1), [windows.starts.numpy()], 7, 2
        (alone,) = sums_over(*given)
        monkeypatch.setattr(processes, "count", lambda: 3)
        monkeypatch.setattr(processes, "check_same", lambda what, found: None)
        monkeypatch.setattr(processes, "summed", lambda values: values)
        found = []
        for rank in range(3):
            monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
            found.append(sums_over(*given)[0].products)
            lags = {abs(i - j) for i, j in np.argwhere(found[-1]).tolist()}
            assert lags == {rank, rank + 3, rank + 6}
        assert_array_equal(sum(found), alone.products)

    def test_gaps_are_interpolated(self):
        values, known = np.arange(30.0)[None], np.ones((1, 30), dtype=bool)
        known[0, 10:14] = False
        wrong = np.where(known, values, 99.0)
        windows = Windows(torch.from_numpy(wrong), torch.arange(24), 4, 3, torch.from_numpy(known))
        (series,) = series_of(windows, 1)
        assert_allclose(series.values, values[0])
        later = np.where(known, values, 14.0)[0]
        assert_allclose(series.targets, later)
        (series,) = series_of(windows, 6)
        assert_allclose(series.targets[10:14], [16, 17, 18, 19])  # of the same phase
        assert_allclose(series.values, values[0])
        known[:] = np.arange(30) > 3  # a series that begins later has no gap
        (series,) = series_of(windows, 6)
        assert series.targets is series.values

    @settings(max_examples=40, deadline=None)
    @given(st.integers(1, 6), st.integers(1, 5), st.integers(14, 40), st.integers(1, 9), st.data())
    def test_contexts_end_with_a_known_value(self, L, H, T, season, data):
        """A context shows nothing of its targets, and targets that are missing are later values."""
        rng = np.random.default_rng(T)
        values, known = rng.normal(size=(1, T)) + 3, rng.random((1, T)) < data.draw(st.floats(0, 1))
        starts = np.arange(T - L - H + 1)
        windows = Windows(
            torch.from_numpy(np.where(known, values, 1e6)), torch.arange(len(starts)), L, H,
            torch.from_numpy(known),
        )  # fmt: skip
        (sums,) = sums_over(series_of(windows, season), [starts], L, H)
        rows = np.flatnonzero(known[0])
        X, Y = [], []
        for s in starts.tolist():
            inside = len(rows) and rows[0] <= s and s + L + H - 1 <= rows[-1]
            if not inside or not known[0, s + L - 1]:
                continue
            X.append(np.interp(np.arange(s, s + L), rows, values[0, rows]))
            target = []
            for t in range(s + L, s + L + H):
                later = rows[rows >= t]
                phase = later[(later - t) % season == 0]
                near = len(phase) and phase[0] <= later[0] + 2 * season and season > 1
                target.append(values[0, phase[0] if near else later[0]])
            Y.append(target)
        assert sums.count == len(X)
        X, Y = np.reshape(X, (-1, L)), np.reshape(Y, (-1, H))
        assert_allclose(sums.products[:L, :L], X.T @ X, atol=1e-8)
        assert_allclose(sums.products[:L, L:], X.T @ Y, atol=1e-8)
        assert_allclose(np.diag(sums.products)[L:], (Y**2).sum(0), atol=1e-8)

    def test_what_cannot_be_forecast_is_not_learnt_from_gaps(self):
        """Of noise with most values missing, neighbours on both sides of a gap tell nothing."""
        rng = np.random.default_rng(3)
        values, known = rng.normal(size=(1, 1500)), rng.random((1, 1500)) < 0.3
        start = search_of(windows_of(np.where(known, values, 0.0), 24, 6, known)).best(24)
        assert start.error > 0.9

    def test_errors_and_solutions_of_many_maps(self):
        rng = np.random.default_rng(5)
        L, H, n = 9, 4, 40
        values = rng.normal(size=(1, n)).cumsum(1)
        found = search_of(windows_of(values, L, H))
        centred = found._centred(found.total, L)
        rows = np.lib.stride_tricks.sliding_window_view(values[0], L + H)
        x, y = rows[:, :L], rows[:, L:]
        x, y = x - x.mean(1, keepdims=True), y - x.mean(1, keepdims=True)
        maps = [*rng.normal(size=(3, L, H))]
        assert_allclose(centred.errors(maps), [((x @ w - y) ** 2).sum() for w in maps])
        spectrum = np.linalg.eigh(centred.square)
        for penalty, one in centred.solutions(maps[0], [0.5, 30.0], spectrum).items():
            square = x.T @ x + penalty * np.eye(L)
            assert_allclose(square @ one, x.T @ y + penalty * maps[0])


class TestSimpleForecasts:
    """As maps of the context."""

    @pytest.mark.parametrize("seasonal", [False, True])
    @pytest.mark.parametrize("L", [12, 17])
    def test_smoothing_is_the_recursion_on_a_series(self, seasonal, L):
        m, ahead = 4, np.arange(7)
        x = np.random.default_rng(L).normal(size=L) + np.arange(L) / 3
        grid = smoothings(seasonal)
        found = np.einsum("l,plh->ph", x, smoothed(grid, L, ahead, m))
        for one, forecast in zip(grid, found, strict=True):
            assert_allclose(forecast, recursion(one, x, m, 7), atol=1e-9)

    def test_constants_stay(self):
        for seasonal in (False, True):
            maps = smoothed(smoothings(seasonal), 11, np.arange(5), 3)
            assert_allclose(maps.sum(1), 1, atol=1e-9)
        for kind in ("mean", "last", "season", "season mean"):
            assert_allclose(repeated(kind, 11, np.arange(5), 3).sum(0), 1)

    def test_repeated(self):
        x, ahead = np.arange(10.0), np.arange(5)
        assert_allclose(x @ repeated("last", 10, ahead, 3), [9] * 5)
        assert_allclose(x @ repeated("season", 10, ahead, 3), [7, 8, 9, 7, 8])
        assert_allclose(x @ repeated("season mean", 10, ahead, 3), [8] * 5)
        assert_allclose(x @ repeated("mean", 10, ahead, 3), [4.5] * 5)

    def test_a_line_goes_on_undamped(self):
        (one,) = smoothed([Smoothing(0.4, 0.2, 1.0, None)], 12, np.arange(4), 1)
        assert_allclose((np.arange(12.0) * 2 + 1) @ one, [25, 27, 29, 31])


def recursion(one: Smoothing, x: np.ndarray, m: int, H: int) -> list[float]:
    """Holt-Winters in its error form (Hyndman et al., 2008, table 2.1), step by step."""
    seasonal = one.season is not None
    if seasonal:
        away = np.arange(2 * m) - (2 * m - 1) / 2
        slope = (x[m : 2 * m].mean() - x[:m].mean()) / m
        index = (x[: 2 * m] - x[: 2 * m].mean() - away * slope).reshape(2, m).mean(0)
        level = x[: 2 * m].mean() - slope * ((2 * m - 1) / 2 + 1)
        flat = x[:m].mean()
    else:
        m, slope = 1, (x[4] - x[0]) / 4
        index, level, flat = np.zeros(1), x[0] - slope, x[0]
    trend = slope if one.trend is not None else 0.0
    level = level if one.trend is not None else flat
    index = index.copy()
    for t, value in enumerate(x):
        expected = level + one.damping * trend
        error = value - expected - index[t % m]
        level = expected + one.level * error
        trend = one.damping * trend + one.level * (one.trend or 0) * error
        index[t % m] += (one.season or 0) * (1 - one.level) * error
    damped = np.cumsum([one.damping**k for k in range(1, H + 1)])
    return [level + damped[h] * trend + index[(len(x) + h) % m] for h in range(H)]


class TestSolution:
    """What is solved from the windows."""

    def test_is_the_ridge_towards_the_start(self):
        values = waves(80, 2)
        windows = windows_of(values, 8, 3)
        net = network(8, 3, season=6)
        (start,) = solve_linear(net.linear, net.embedding, windows, 6)
        assert start.penalty in (*PENALTIES, np.inf)
        batch = windows.batch(torch.arange(len(windows)))
        x, y = batch.x.numpy(), batch.y.numpy()
        centre = x.mean(-1, keepdims=True)
        X, Y = (x - centre).reshape(-1, 8), (y - centre).reshape(-1, 3)
        W = net.linear.weight.T.double().numpy()
        if np.isinf(start.penalty):
            assert_allclose(W, start.weight, atol=1e-6)
        else:  # the gradient of the penalised squared error is zero
            slope = X.T @ (X @ W - Y) + start.penalty * (W - start.weight)
            assert np.abs(slope).max() < 1e-3 * np.abs(X.T @ Y).max()

    def test_enough_data_find_an_autoregression(self):
        rng = np.random.default_rng(1)
        x = np.zeros(4000)
        for t in range(3, len(x)):
            x[t] = 0.6 * x[t - 1] - 0.5 * x[t - 3] + rng.normal()
        net = network(16, 1)
        windows = windows_of(x[None], 16, 1)
        (start,) = solve_linear(net.linear, net.embedding, windows, 8)  # two seasons: one view
        assert start.penalty < 1e3
        wanted = np.zeros(16)
        wanted[[-1, -3]] = 0.6, -0.5
        found = net.linear.weight[0].numpy()
        found = found + (1 - found.sum()) / 16  # the mean of the context is added back
        # the coefficients add up to 1, for a level stays: what is left spreads over the context
        assert_allclose(found, wanted + (1 - 0.1) / 16, atol=0.05)

    def test_a_random_walk_repeats_its_last_value(self):
        x = np.random.default_rng(2).normal(size=300).cumsum()
        start = best_start([windows_of(x[None], 20, 5)], 1)
        assert abs(start.weight[-1].mean() - 1) < 0.3
        assert start.penalty > 1

    def test_error_is_that_of_predicting_blocks_from_the_others(self):
        """Blocks, their neighbours and the choice by hand, for the last value alone."""
        values = waves(90, 1, noise=1.0)
        start = best_start([windows_of(values, 6, 2)], 1)
        x = np.lib.stride_tricks.sliding_window_view(values[0], 8)
        X = x[:, :6] - x[:, :6].mean(1, keepdims=True)
        Y = x[:, 6:] - x[:, :6].mean(1, keepdims=True)
        naive = np.mean((Y - X[:, -1:]) ** 2)
        assert start.error <= naive + 1e-12

    def test_the_context_that_helps_is_found(self):
        """A value that returns after 30 steps needs a context of 30."""
        x = np.random.default_rng(3).normal(size=900)
        x[30:] += 3 * np.resize(np.random.default_rng(4).normal(size=30), 870)
        windows = [windows_of(x[None], L, 4) for L in (5, 60)]
        assert best_start(windows, 1).context == 60
        assert best_start(windows[::-1], 1).context == 60

    def test_a_longer_context_must_be_surely_better(self):
        """A random walk needs its last value alone: the first context of those given stays."""
        x = np.random.default_rng(6).normal(size=600).cumsum()
        windows = [windows_of(x[None], L, 4) for L in (12, 24)]
        assert best_start(windows, 1).context == 12
        assert best_start(windows[::-1], 1).context == 24

    @pytest.mark.parametrize(
        ("rows", "channels", "asked"), [(96, 1, []), (96, 4, [1.0]), (140, 1, [0.5])]
    )
    def test_few_horizons_in_time_ask_for_a_surer_gain(self, monkeypatch, rows, channels, asked):
        """Channels of one table err together: four of them are not four times as many horizons.
        With too few of all channels the first context stays unasked."""
        found = []
        monkeypatch.setattr(search, "surely", lambda _, errors: bool(found.append(errors)))
        values = waves(rows, channels, noise=1.0)
        windows = [windows_of(values, L, 10) for L in (12, 24)]
        assert len(windows[1]) == rows - 33
        assert best_start(windows, 1).context == 12
        assert found == asked

    def test_surely(self):
        gains = np.array([1.0, 0.0, 2.0, 1.0])  # sum 4, deviation 0.707, of the sum 1.414
        assert surely(gains, 2.8)
        assert not surely(gains, 2.9)
        assert not surely(np.zeros(4), 0.0)

    def test_early_windows_help_a_shorter_context(self):
        """Blocks of the longest context's targets, predicted from all windows of the shorter one
        that do not overlap them; here rebuilt one by one."""
        values, L, longest, H = waves(150, 2), 8, 40, 3
        windows, own = windows_of(values, longest, H), windows_of(values, L, H)
        search = search_of(windows)
        targets = own.starts.numpy() + L
        steps = np.array([0, 1, 2])
        for number, (block, others) in enumerate(search._folds(L, own)):
            first, last = search.targets[number]
            inside = np.arange(first, last + 1)
            far = (targets <= inside[0] - H) | (targets >= inside[-1] + H)
            for sums, some in ((block, inside), (others, targets[far])):
                x = np.concatenate([[one[t - L : t + H] for t in some] for one in values])
                x = x - x[:, :L].mean(1, keepdims=True)
                found = sums.centred(np.full(L, 1 / L), steps)
                assert_allclose(found[0], x[:, :L].T @ x[:, :L], atol=1e-8)
                assert_allclose(found[1], x[:, :L].T @ x[:, L:], atol=1e-8)

    def test_views(self):
        assert views(40, 6) == [12, 24, 40]
        assert views(400, 12) == [100, 200, 400]
        assert views(10, 12) == [10]

    @pytest.mark.parametrize("last", [False, True])
    def test_the_mean_of_maps_forecasts_the_mean_of_their_forecasts(self, last):
        windows = windows_of(waves(90), 20, 3)
        search = search_of(windows, last)
        rng = np.random.default_rng(1)
        maps, x = [rng.normal(size=(L, 3)) for L in (5, 20)], rng.normal(size=20) + 7

        def forecast(one: np.ndarray) -> np.ndarray:
            end = x[-len(one) :]
            centre = end[-1] if last else end.mean()
            return centre + (end - centre) @ one

        expected = np.mean([forecast(one) for one in maps], axis=0)
        assert_allclose(forecast(search.mean(maps, 20)), expected)

    def test_views_are_averaged_where_that_predicts_the_blocks_better(self):
        """The error of the mean is that of its forecasts of blocks, and it decides."""
        for T, season in ((90, 6), (900, 24), (200, 6)):
            windows = windows_of(waves(T, 2, season), 40, 3)
            search = search_of(windows)
            starts = [search.best(L) for L in views(40, 1)]
            assert [start.context for start in starts] == [10, 20, 40]
            assert_allclose(search.errors_of(starts[-1].maps), starts[-1].errors, rtol=1e-6)
            maps = [search.mean(one, 40) for one in zip(*(s.maps for s in starts), strict=True)]
            averaged = T < 100 or search.errors_of(maps).sum() < starts[-1].error
            net = network(40, 3)
            found = solve_linear(net.linear, net.embedding, windows, 1)
            assert len(found) == (3 if averaged else 1)
            parts = [search.solution(start) for start in found]
            expected = search.mean(parts, 40)
            assert_allclose(net.linear.weight.T.numpy(), expected, atol=1e-6)

    def test_channels_of_one_kind_share_a_map(self):
        x = np.random.default_rng(8).normal(size=(3, 900)).cumsum(1)
        net = network(12, 4, maps=3)
        shared = network(12, 4)
        for one in (net, shared):
            solve_linear(one.linear, one.embedding, windows_of(x, 12, 4), 1)
        for weight in net.linear.weight:
            assert torch.equal(weight, shared.linear.weight)

    def test_channels_of_different_kinds_have_maps_of_their_own(self):
        """One channel repeats its last value, the other turns it around: together they are noise,
        each alone is known."""
        rng = np.random.default_rng(9)
        x = np.zeros((2, 1200))
        for t in range(1, 1200):
            x[:, t] = np.array([0.95, -0.95]) * x[:, t - 1] + rng.normal(size=2)
        net, shared = network(8, 1, maps=2), network(8, 1)
        windows = windows_of(x, 8, 1)
        for one in (net, shared):
            solve_linear(one.linear, one.embedding, windows, 1)
        batch = windows.batch(torch.arange(len(windows)))
        errors = [(one(batch.x) - batch.y).square().mean().item() for one in (net, shared)]
        assert errors[0] < 1.1  # of noise of variance 1
        assert errors[1] > 1.5
        # each is what the channel gives alone
        for c in range(2):
            alone = network(8, 1)
            solve_linear(alone.linear, alone.embedding, windows_of(x[c : c + 1], 8, 1), 1)
            assert_allclose(net.linear.weight[c], alone.linear.weight, atol=0.05)

    def test_a_channel_without_values_has_the_shared_map(self):
        x, known = waves(300, 2), np.ones((2, 300), dtype=bool)
        known[1] = False
        net, shared = network(8, 2, maps=2), network(8, 2)
        for one in (net, shared):
            solve_linear(one.linear, one.embedding, windows_of(x, 8, 2, known), 1)
        assert torch.equal(net.linear.weight[1], shared.linear.weight)

    def test_a_single_window(self):
        net = network(6, 2)
        for start in solve_linear(net.linear, net.embedding, windows_of(waves(8), 6, 2), 1):
            assert np.isinf(start.penalty)
        assert torch.isfinite(net.linear.weight).all()

    def test_no_known_value(self):
        known = np.zeros((1, 30), dtype=bool)
        net = network(6, 2)
        solve_linear(net.linear, net.embedding, windows_of(waves(30), 6, 2, known), 3)
        x = torch.randn(3, 1, 6)
        assert torch.allclose(net(x), x.mean(-1, keepdim=True).expand(-1, -1, 2), atol=1e-6)

    def test_level_and_scale_follow_the_series(self):
        values = waves(120)
        found = []
        for factor, level in ((1.0, 0.0), (7.0, 50.0)):
            model = ConvTimeNetForecaster(5, quality="fast", verbose=0)
            found.append((model.fit(values.T * factor + level).predict() - level) / factor)
        assert_allclose(found[0], found[1], atol=1e-4)


class TestNetworks:
    """The stream alone, and in the network."""

    def test_gaps_are_what_is_known_around_them(self):
        """A plain loop over the steps of each row; what a stream of one map does for all."""
        torch.manual_seed(0)
        L, H = 12, 3
        for maps in (0, 2):
            stream = network(L, H, maps=maps).linear
            stream.weight.copy_(torch.randn_like(stream.weight))
            x, known = (
                torch.randn(9, 2, L),
                torch.rand(9, 2, L) < torch.linspace(0, 1, 9)[:, None, None],
            )
            x = torch.where(known, x, 0.0)
            found = stream(x, known)
            for row, channel in np.ndindex(9, 2):
                weight = stream.weight[channel] if maps else stream.weight
                values, seen = x[row, channel].clone(), known[row, channel].tolist()
                at = [t for t in range(L) if seen[t]]
                for t in range(L):
                    if at and at[0] < t < at[-1] and not seen[t]:
                        low, high = max(i for i in at if i < t), min(i for i in at if i > t)
                        line = x[row, channel, low].lerp(
                            x[row, channel, high], (t - low) / (high - low)
                        )
                        values[t] = line * max(0, 1 - (min(t - low, high - t) - 1) / 2)
                last = at[-1] if at else -1
                moved = torch.cat([torch.zeros(L - 1 - last), values[: last + 1]])
                forecast = weight @ moved
                for t in range(last + 1, L):
                    values[t] = forecast[min(t - last - 1, H - 1)]
                torch.testing.assert_close(found[row, channel], weight @ values)

    def test_without_the_newest_values_the_forecast_stays_near_the_last_known_one(self):
        """At the mean of the context it would be far off."""
        walk = 100 + np.random.default_rng(1).normal(size=1500).cumsum()
        model = ConvTimeNetForecaster(h=6, quality="fast", verbose=0).fit(walk)
        assert isinstance(model.network_, LinearNetwork)
        for missing in (1, 3, 10):
            late = np.where(np.arange(1500) < 1500 - missing, walk, np.nan)
            whole, gone = model.predict(walk[:-missing]), model.predict(late)
            assert np.abs(gone - whole[5]).max() < 1.0
            assert abs(walk[-336:].mean() - whole[5]) > 3.0

    def test_reads_the_known_values_only(self):
        net = network(8, 3)
        net.linear.weight.data = torch.randn(3, 8)
        x, known = torch.randn(2, 1, 8), torch.ones(2, 1, 8, dtype=torch.bool)
        known[0, 0, :3] = False
        other = torch.where(known, x, 1e6)
        assert torch.equal(net(x, known), net(other, known))

    def test_maps_of_channels(self):
        net, x = network(8, 3, maps=2), torch.randn(5, 2, 8)
        net.linear.weight.data = torch.randn(2, 3, 8)
        for c in range(2):
            one = network(8, 3)
            one.linear.weight.data = net.linear.weight.data[c]
            assert torch.allclose(net(x)[:, c : c + 1], one(x[:, c : c + 1]), atol=1e-6)
        assert count_parameters(net) == 2 * 3 * 8

    def test_is_added_to_the_head(self):
        torch.manual_seed(0)
        config = ModelConfig.forecasting(
            context_length=32, horizon=4, linear=True, d_model=8, d_ff=16, kernel_sizes=(3, 5),
            patch_size=8, patch_stride=4,
        )  # fmt: skip
        net = ConvTimeNet(config).eval()
        alone = LinearNetwork(ModelConfig.from_dict({**config.to_dict(), "kernel_sizes": ()}))
        assert net.linear is not None
        net.linear.weight.data = alone.linear.weight.data = torch.randn(4, 32)
        x = torch.randn(3, 2, 32)
        assert torch.allclose(net(x), alone(x), atol=1e-6)  # the head starts at zero
        torch.nn.init.normal_(net.head.project.weight)
        plain = ConvTimeNet(ModelConfig.from_dict({**config.to_dict(), "linear": False})).eval()
        own = {"linear.weight", "granted"}
        plain.load_state_dict({k: v for k, v in net.state_dict().items() if k not in own})
        mean = x.mean(-1, keepdim=True)
        assert torch.allclose(net(x) - mean, plain(x) - mean + alone(x) - mean, atol=1e-5)
        assert torch.allclose(fuse(net)(x), net(x), atol=1e-5)

    def test_training_leaves_it_as_it_is(self):
        model = ConvTimeNetForecaster(
            4, 24, n_epochs=2, model={"d_model": 8, "d_ff": 16, "kernel_sizes": (3,)}, verbose=0
        )
        model.fit(waves(160).T)
        first = model.scored_ or model
        windows = Windows.between(
            torch.from_numpy(first.scaler_.apply(waves(160))).float(), 24, 4, 0, 128
        )
        net = network(24, 4)
        solve_linear(net.linear, net.embedding, windows, 1)
        assert first.network_.linear is not None
        assert_allclose(first.network_.linear.weight, net.linear.weight, atol=1e-5)
        assert first.history_.steps > 0

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"revin": False}, "revin must be True with linear"),
            ({"revin_affine_channels": 2}, "revin_affine_channels must be 0 with linear"),
            ({"kernel_sizes": (), "quantiles": (0.1, 0.5)}, "quantiles must be empty without"),
            ({"kernel_sizes": (), "hist_exog": 1}, "must be 0 and empty without kernel_sizes"),
            ({"kernel_sizes": (), "linear": False}, "kernel_sizes must be one or more"),
            ({"linear": False, "linear_channels": 2}, "linear_channels must be 0 without linear"),
        ],
    )
    def test_configs_that_make_no_sense(self, wrong, message):
        with pytest.raises(ConfigError, match=message):
            ModelConfig.forecasting(context_length=8, horizon=2, **{"linear": True, **wrong})


class TestGranted:
    """The share of the trained part that the validation split leaves."""

    def trained(self, bias: float) -> tuple[ConvTimeNet, Windows]:
        """A network whose head adds `bias` deviations of the context to a stream of zeros, and
        windows apart from each other whose targets lie 0.4 deviations above the mean."""
        config = ModelConfig.forecasting(
            context_length=16, horizon=2, linear=True, d_model=4, d_ff=8, kernel_sizes=(3,),
            patch_size=4, patch_stride=2,
        )  # fmt: skip
        net = ConvTimeNet(config).eval()
        net.head.project.bias.data[:] = bias
        values = np.random.default_rng(5).normal(size=(50, 18))
        context = values[:, :16]
        values[:, 16:] = (context.mean(1) + 0.4 * context.std(1))[:, None]
        series = torch.from_numpy(values.reshape(1, -1)).float()
        return net, Windows(series, torch.arange(50) * 18, 16, 2)

    @pytest.mark.parametrize("bias", [-1.0, 100.0])
    def test_nothing_for_what_does_not_help(self, bias):
        net, windows = self.trained(bias)
        assert granted(net, windows, TrainConfig(), CPU) == (0.0, 0.0)
        x = windows.batch(torch.arange(3)).x
        assert torch.allclose(net(x), x.mean(-1, keepdim=True).expand(-1, -1, 2), atol=1e-6)

    def test_the_share_with_the_smallest_loss(self):
        net, windows = self.trained(1.0)
        assert granted(net, windows, TrainConfig(), CPU) == pytest.approx((0.4, 0.0))
        batch = windows.batch(torch.arange(50))
        assert torch.allclose(net(batch.x), batch.y, atol=1e-5)

    def test_nothing_where_a_gain_may_be_chance(self):
        """The same gain on average, but every other window gains and the others lose."""
        net, windows = self.trained(0.05)
        for number, start in enumerate(windows.starts.tolist()):
            windows.values[0, start + 16 : start + 18] += 5 if number % 2 else -5
        assert granted(net, windows, TrainConfig(), CPU) == (0.0, 0.0)

    def test_networks_without_a_stream_are_left_alone(self):
        net, windows = self.trained(3.0)
        net.linear = None
        assert granted(net, windows, TrainConfig(), CPU) == (1.0, 0.0)
        assert net.head.project.bias.all()


class TestForecaster:
    """`quality` of the forecaster."""

    def test_contexts(self):
        assert contexts_for(10_000, 96) == [336, 512, 720]
        assert contexts_for(1_200, 96) == [336, 512]
        assert contexts_for(1_200, 96, 24) == [336, 512]
        assert contexts_for(132, 12) == [60]
        assert contexts_for(132, 12, 12) == [60, 48, 24]
        assert contexts_for(60, 12, 12) == [24]
        assert contexts_for(3, 2) == [2]

    def test_maps_of_channels_by_default(self):
        """Each channel of a wide table may have a map of its own, unless the table may be another
        one; a setting decides otherwise."""
        table = waves(150, 3).T
        cases: list[tuple[dict[str, Any], int]] = [
            ({}, 3),
            ({"scale": False}, 0),
            ({"model": {"linear_channels": 0}}, 0),
        ]
        for settings_, maps in cases:
            model = ConvTimeNetForecaster(5, quality="fast", verbose=0, **settings_).fit(table)
            assert model.network_.config.linear_channels == maps
            assert model.predict().shape == (5, 3)
        with pytest.raises(ConfigError, match="linear_channels is 2, the table has 3 channels"):
            ConvTimeNetForecaster(5, quality="fast", verbose=0, model={"linear_channels": 2}).fit(
                table
            )

    def test_fast_is_saved_and_loaded(self, tmp_path):
        frame = pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=150), "y": waves(150)[0]})
        model = ConvTimeNetForecaster(7, quality="fast", verbose=0).fit(frame)
        assert isinstance(model.network_, LinearNetwork)
        assert model.network_.config.season == 7
        assert model.history_.stopped == "solved in closed form"
        assert model.scored_ is not None
        expected = model.predict(level=[80])
        again = ConvTimeNetForecaster.load(model.save(tmp_path / "model"))
        pd.testing.assert_frame_equal(again.predict(level=[80]), expected)

    def test_few_rows_train_no_network(self):
        rows = FEWEST_HORIZONS * 4
        few = ConvTimeNetForecaster(5, verbose=0).fit(waves(rows).T)
        assert isinstance(few.network_, LinearNetwork)
        asked = ConvTimeNetForecaster(5, n_epochs=1, verbose=0).fit(waves(rows).T)
        assert isinstance(asked.network_, ConvTimeNet)
        assert asked.network_.linear is not None

    @pytest.mark.parametrize("used", [{"validation_fraction": 0.3}, {"refit": False}])
    def test_settings_that_a_stream_uses_ask_for_no_network(self, used):
        model = ConvTimeNetForecaster(5, training=used, verbose=0)
        assert isinstance(model.fit(waves(100).T).network_, LinearNetwork)

    def test_a_preset_of_the_paper_keeps_its_context_with_a_stream(self):
        model = ConvTimeNetForecaster(
            4, preset="ETTh1", n_epochs=1, verbose=0, refit=False,
            model={"linear": True, "d_model": 8, "d_ff": 16, "kernel_sizes": (3,)},
        ).fit(waves(1200).T)  # fmt: skip
        assert model.network_.config.context_length == 336
        assert model.predict().shape == (4, 1)

    def test_the_paper_has_none(self):
        model = ConvTimeNetForecaster(4, 32, preset="ETTh1", n_epochs=1, verbose=0)
        assert model.fit(waves(200).T).network_.linear is None

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (
                {"quality": "most"},
                "quality must be one of 'fast', 'auto', 'best', 'pretrained', 'tuned', "
                "found 'most'",
            ),
            ({"quality": "fast", "lr": 0.1}, "so lr would have no effect"),
            ({"quality": "fast", "preset": "ETTh1"}, "so preset would have no effect"),
            ({"quality": "fast", "model": {"kernel_sizes": (3,)}}, "kernel_sizes.* no effect"),
            ({"quality": "fast", "hist_exog": "load"}, "reads only covariates known ahead"),
        ],
    )
    def test_settings_without_effect_are_refused(self, wrong, message):
        frame = pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=90), "y": waves(90)[0]})
        frame["load"] = np.arange(90.0)
        with pytest.raises(ConfigError, match=message):
            ConvTimeNetForecaster(4, verbose=0, **wrong).fit(frame)

    def test_resumes(self, tmp_path):
        model = ConvTimeNetForecaster(4, quality="fast", verbose=0)
        first = model.fit(waves(120).T, resume=tmp_path / "run").predict()
        again = ConvTimeNetForecaster(4, quality="fast", verbose=0)
        assert_allclose(again.fit(waves(120).T, resume=tmp_path / "run").predict(), first)

    def test_gaps_and_short_series(self):
        frames = [
            pd.DataFrame({
                "unique_id": f"s{i}", "ds": pd.date_range("2020-01-01", periods=n),
                "y": waves(n, season=7)[0] + i,
            })
            for i, n in enumerate((90, 70, 12))
        ]  # fmt: skip
        table = pd.concat(frames, ignore_index=True)
        table.loc[[20, 21, 40, 100], "y"] = np.nan
        model = ConvTimeNetForecaster(6, quality="fast", verbose=0).fit(table)
        found = model.predict()
        assert len(found) == 18
        assert np.isfinite(found["ConvTimeNet"]).all()

    def test_exports(self, tmp_path):
        pytest.importorskip("onnxruntime")
        model = ConvTimeNetForecaster(5, quality="fast", verbose=0).fit(waves(120, 2).T)
        compared = export(model, tmp_path / "graph", format="onnx")
        assert compared["max_difference"] < 1e-5
        served = runtime.load(tmp_path / "graph")
        assert isinstance(served, runtime.ForecastRuntime)
        assert_allclose(served.forecast(waves(120, 2).T), model.predict(), atol=1e-5)
        with pytest.raises(ConfigError, match="onnx-int8"):
            export(model, tmp_path / "eight", format="onnx-int8")

    def test_explains_without_patches(self):
        model = ConvTimeNetForecaster(5, quality="fast", verbose=0).fit(waves(150).T)
        found = model.explain()
        assert np.isfinite(found.importance).all()
        assert np.isnan(found.left).all()

    def test_command_line(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        frame = pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=150), "y": waves(150)[0]})
        frame.to_csv("sales.csv", index=False)
        command = "forecast sales.csv --h 7 --quality fast --json run.json --report page.html"
        assert main(command.split()) in (None, 0)
        result = json.loads((tmp_path / "run.json").read_text())
        assert result["model"]["kernel_sizes"] == []
        assert result["preset"] == "fast"
        assert "linear" in (tmp_path / "page.html").read_text().lower()

    @needs_data
    def test_etth1(self, monkeypatch):
        """Within 3 % of the ridge that is searched on all windows by the validation split, whose
        line is committed (MSE 0.367)."""
        monkeypatch.setenv("CONVTIMENET_DATA", str(DATA))
        problem = load_problem("ETTh1", 96, "honest")
        assert isinstance(problem, ForecastProblem)
        assert problem.train_end is not None
        model = ConvTimeNetForecaster(96, 336, quality="fast", verbose=0)
        model.fit(problem.table, split=(problem.train_end, problem.valid_end), refit=False)
        L = model.network_.config.context_length
        windows = problem.windows("test", L)
        with torch.no_grad():
            found = model.fused_(windows.batch(torch.arange(0, len(windows), 8)).x).numpy()
        error = found - problem.truth()[::8]
        assert np.square(error).mean() < 1.03 * 0.367
