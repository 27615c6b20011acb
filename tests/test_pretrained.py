"""The network that comes with its weights: what it reads, its forecasts, its place as a quality."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster
from convtimenet.cli.main import main
from convtimenet.config import ModelConfig
from convtimenet.data.forecast_tables import MODEL
from convtimenet.data.windows import Windows
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators import base
from convtimenet.export import Deployed, export
from convtimenet.network.reconstruction.network import SIZES, Reconstructor
from convtimenet.network.reconstruction.pretrained import (
    PretrainedForecaster,
    drift_of,
    reaches,
)
from convtimenet.network.reconstruction.seasons import (
    AVERAGED,
    CHANNELS,
    around_level,
    channels_of,
    continued,
    long_season,
)
from convtimenet.network.reconstruction.weights import WEIGHTS, load_pretrained
from convtimenet.pretraining import run
from convtimenet.pretraining.examples import GeneratedSeries
from convtimenet.pretraining.series import SEASONS, drawn_seasons, generated
from convtimenet.runtime import ForecastRuntime, load
from convtimenet.training.closed_form import solve
from convtimenet.training.closed_form.guard import fit_guard, posterior_shares
from convtimenet.training.interrupt import StopRequest


def plain_continued(x: np.ndarray, known: np.ndarray, season: int) -> tuple[np.ndarray, np.ndarray]:
    """`continued` of one series, step by step."""
    last, mean = np.zeros(len(x)), np.zeros(len(x))
    for t in range(len(x)):
        for before in range(t - season, -1, -season):
            if known[before]:
                last[t] = x[before]
                some = [before - season * k for k in range(AVERAGED)]
                some = [at for at in some if at >= 0 and known[at]]
                mean[t] = x[some].mean()
                break
    return last, mean


class TestChannels:
    @settings(max_examples=60)
    @given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**31))
    def test_continuations_step_by_step(self, T, season, seed):
        numbers = np.random.default_rng(seed)
        x, known = numbers.normal(size=T).astype(np.float32), numbers.random(T) < 0.7
        found = continued(torch.from_numpy(x)[None], torch.from_numpy(known)[None], season)
        for one, expected in zip(found, plain_continued(x, known, season), strict=True):
            np.testing.assert_allclose(one[0], expected, rtol=0, atol=1e-6)

    def test_a_line_with_a_season_goes_on(self):
        """Only the level with drift needs no correction."""
        t = torch.arange(96, dtype=torch.float32)
        x = (0.05 * t + torch.sin(2 * torch.pi * t / 12))[None]
        known = (t < 72)[None]
        flat, drifting = around_level(torch.where(known, x, 0.0), known, 12)
        assert (drifting - x)[:, 72:].abs().max() < 1e-3
        torch.testing.assert_close(
            (drifting - flat)[0, 72:], 0.05 * (t[72:] - 71), atol=1e-3, rtol=0
        )

    def test_nothing_behind_the_end_is_read(self):
        numbers = torch.Generator().manual_seed(0)
        x = torch.randn(3, 60, generator=numbers)
        known = (torch.arange(60) < 40).expand(3, -1)
        first = channels_of(torch.where(known, x, 0.0), known, (7, 28))
        x[:, 40:] = 99.0
        assert first.shape == (3, CHANNELS, 60)
        assert channels_of(torch.where(known, x, 0.0), known, (7, 28)).equal(first)

    @pytest.mark.parametrize(
        ("season", "long"), [(1, 1), (4, 4), (7, 364), (12, 12), (24, 168), (52, 52), (96, 672)]
    )
    def test_the_longer_season(self, season, long):
        assert long_season(season) == long


def forecaster(L: int = 100, H: int = 30, season: int = 12) -> PretrainedForecaster:
    config = ModelConfig.forecasting(context_length=L, horizon=H, season=season, **SIZES)
    network = PretrainedForecaster(config)
    load_pretrained(network.embedding)
    return network.eval()


def waves(n: int, T: int, season: int = 12, seed: int = 0) -> torch.Tensor:
    t, numbers = np.arange(T), np.random.default_rng(seed)
    phase, slope = numbers.uniform(0, 6, (n, 1)), numbers.normal(0, 0.02, (n, 1))
    noise = numbers.normal(0, 0.1, (n, T))
    return torch.from_numpy(np.sin(2 * np.pi * t / season + phase) + slope * t + noise).float()


class TestNetwork:
    def test_units_do_not_matter(self):
        network, x = forecaster(), waves(4, 100)[:, None]
        moved = network(1e4 + 250 * x)
        assert moved.shape == (4, 1, 9, 30)
        torch.testing.assert_close(moved, 1e4 + 250 * network(x), rtol=1e-4, atol=0.1)

    def test_quantiles_do_not_cross(self):
        assert (forecaster()(waves(8, 100)[:, None]).diff(dim=2) >= 0).all()

    def test_what_is_missing_is_not_read(self):
        network, x = forecaster(), waves(2, 100)[:, None]
        known = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.8
        filled = [network(torch.where(known, x, value), known) for value in (0.0, 1e3)]
        assert filled[0].equal(filled[1])

    def test_padding_in_front_changes_nothing(self):
        """Contexts of any length are padded to the one of the network, and to whole patches."""
        x = waves(3, 80)[:, None]
        alone = forecaster(80)(x)
        for extra in (3, 20, 64):
            padded = torch.nn.functional.pad(x, (extra, 0), value=7.0)
            known = torch.arange(padded.shape[-1]).expand_as(padded) >= extra
            found = forecaster(80 + extra)(padded, known)
            torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("logarithms", [0.0, 0.5, 1.0])
    def test_a_graph_reads_what_counts(self, logarithms, monkeypatch):
        """With the same answer; also of rows that have no logarithms."""
        network = forecaster()
        network.logarithms.fill_(logarithms)
        x = torch.cat([waves(3, 100) + 9.0, waves(1, 100)])[:, None]
        expected = network(x)
        assert network.counted == {0.0: [0], 0.5: [0, 2], 1.0: [2]}[logarithms]
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-5)
        plain = forecaster()(x)
        torch.testing.assert_close(expected[3:], plain[3:], rtol=1e-5, atol=1e-5)
        assert (expected[:3] - plain[:3]).abs().max() > 1e-3 or not logarithms

    @pytest.mark.parametrize(
        ("length", "season", "expected"),
        [
            (2048, 24, [2048, 1024, 512, 256, 128]),
            (378, 12, [378, 256, 128, 64]),
            (100, 4, [100, 64, 32]),
            (256, 7, [256, 128, 64, 32]),
            (30, 1, [30]),
            (90, 52, [90]),
        ],
    )
    def test_what_is_read_each_for_itself(self, length, season, expected):
        assert reaches(length, season) == expected

    def test_the_answer_is_the_mean_over_what_is_read(self):
        x = waves(3, 100)[:, None]
        found = [
            forecaster(reach)._of_reach(x[:, 0, -reach:], x[:, 0, -reach:] < 99)
            for reach in (100, 64)
        ]
        expected = torch.stack(found).mean(0)
        torch.testing.assert_close(forecaster()(x)[:, 0], expected, rtol=1e-5, atol=1e-5)

    def test_an_end_that_is_mostly_missing_is_not_read_for_itself(self):
        x = waves(3, 100)
        known = torch.ones_like(x, dtype=torch.bool)
        known[:, -64:-20] = False
        expected = forecaster()._of_reach(x, known)
        torch.testing.assert_close(forecaster().quantiles(x, known), expected)

    def test_drift_is_carried_on(self):
        """What is added to a series, rising by a fixed amount a step, is added to the forecast."""
        network, x = forecaster(), waves(4, 100)
        known, steps = torch.ones_like(x, dtype=torch.bool), torch.arange(130.0)
        known[:2, :30] = False
        plain = network.read(x, known, drift=True)
        rising = network.read(x + 0.3 * steps[:100], known, drift=True)
        expected = plain + 0.3 * steps[100:]
        torch.testing.assert_close(rising, expected, rtol=1e-4, atol=1e-3)

    def test_drift_between_halves(self):
        """Of whole seasons, where there are two; of what is known; none of a single value."""
        t = torch.arange(60.0)
        rows = torch.stack([0.5 * t + 10 * (t % 12), t.square(), t, t])
        known = torch.ones(4, 60, dtype=torch.bool)
        known[2, :57] = False
        known[3, :59] = False
        early, late = t[12:36].square().mean(), t[36:].square().mean()
        expected = torch.stack([torch.tensor(0.5), (late - early) / 24, *torch.tensor([1.0, 0.0])])
        torch.testing.assert_close(drift_of(rows, known, 12)[:, 0], expected)

    def test_constant_and_empty_contexts(self):
        network = forecaster()
        flat = network(torch.full((1, 1, 100), 5.0))
        torch.testing.assert_close(flat, torch.full_like(flat, 5.0), atol=0.01, rtol=0)
        nothing = network(torch.zeros(1, 1, 100), torch.zeros(1, 1, 100, dtype=torch.bool))
        assert nothing.isfinite().all()
        one = torch.arange(100)[None, None] == 99  # a value says nothing of the deviation
        first = network(torch.full((1, 1, 100), 5.0), one)
        assert 0.5 < (first[0, 0, -1] - first[0, 0, 0]).min() < 10

    def test_seasons_and_drift_are_carried_on(self):
        """Far closer than the last season, without training."""
        x = waves(16, 130)
        found = forecaster()(x[:, None, :100])[:, 0, 4]
        error = (found - x[:, 100:]).abs().mean()
        naive = (x[:, 88:100].repeat(1, 3)[:, :30] - x[:, 100:]).abs().mean()
        assert error < 0.8 * naive
        assert error < 0.2

    def test_the_weights_that_come_with_the_package(self):
        assert WEIGHTS.stat().st_size < 2 * 2**20
        stored = load_file(WEIGHTS)
        assert all(value.dtype == torch.float16 for value in stored.values())
        assert all(value.isfinite().all() for value in stored.values())
        assert 3e5 < sum(value.numel() for value in stored.values()) < 3e6


class TestGuard:
    def test_a_network_that_is_no_use_is_not_trusted(self, monkeypatch):
        """A season repeated exactly: the naive forecast is perfect."""
        t = torch.arange(300)
        numbers = torch.randn(12, generator=torch.Generator().manual_seed(0))
        values = numbers[t % 12][None]
        windows = Windows.between(values, 100, 30, 100, 300, masks=True)
        network = forecaster()
        fit_guard(network, windows, StopRequest(), verbose=0)
        assert network.trusted == 0
        found = network(values[None, :, :100])
        torch.testing.assert_close(found[0, 0, 4], values[0, 100:130], atol=1e-4, rtol=0)

    def test_a_useful_one_is(self):
        values = waves(1, 400)
        windows = Windows.between(values, 100, 30, 100, 400, masks=True)
        network = forecaster()
        fit_guard(network, windows, StopRequest(), verbose=0)
        assert network.trusted >= 0.75

    def test_what_could_not_be_tried_is_told(self):
        sparse = np.full(300, np.nan)
        sparse[[0, 100, 299]] = 1.0, 2.0, 0.5
        told = [
            [
                one
                for one in ConvTimeNetForecaster.pretrained(6, verbose=0).fit(X).notices_
                if "try" in one
            ]
            for X in (sparse, np.sin(np.arange(60) / 5))
        ]
        assert told == [
            [
                "no part of the table has enough known values to try the weights of the package "
                "on: they are trusted as far as on most tables"
            ],
            [],
        ]

    @pytest.mark.parametrize("logarithms", [False, True])
    def test_growth_is_read_as_it_is(self, logarithms):
        """By the same amount each year, or by the same share."""
        t = torch.arange(240.0)
        values = 20 + 0.5 * t + 3 * (t * 2 * torch.pi / 12).sin()
        values = torch.exp(values / 20) if logarithms else values
        windows = Windows.between(values[None], 100, 30, 100, 240, masks=True)
        network = forecaster()
        fit_guard(network, windows, StopRequest(), verbose=0)
        assert network.drift >= 0.5
        assert (network.logarithms >= 0.5) == logarithms

    def test_shares_are_posterior_means(self):
        """Those of the prior without windows; of many windows those with the smallest errors."""
        prior = 0.02 * 0.25 + 0.05 * 0.5 + 0.17 * 0.75 + 0.75
        nothing = torch.empty(0, dtype=torch.float64).expand(3, 3, 5, 0)
        assert posterior_shares(nothing, 1.0, False) == (0.5, 0.0, pytest.approx(prior))
        assert posterior_shares(nothing, 1.0, True) == (0.0, 0.0, pytest.approx(prior))
        errors = torch.ones(3, 3, 5, 60, dtype=torch.float64)
        errors[2, 1, 2] = 0.9
        assert posterior_shares(errors, 1.0, False) == (1.0, 0.5, pytest.approx(0.5, abs=1e-3))
        # one window in ten tells something of its own: 24 errors, each 1 / 0.9 times as likely
        odds = (1 / 0.9) ** 24 * 0.3 * 0.05 / 3
        share = odds / (1 - 0.3 * 0.05 / 3 + odds)
        own, others = 0.5, (prior - 0.5 * 0.3 * 0.05 / 3) / (1 - 0.3 * 0.05 / 3)
        found = posterior_shares(errors, 0.1, False)
        assert found == (0.5, 0.0, pytest.approx(share * own + (1 - share) * others))


def monthly(rows: int = 120, seed: int = 0) -> pd.DataFrame:
    values = 50 + 10 * waves(1, rows, seed=seed)[0].double().numpy()
    return pd.DataFrame(
        {"time": pd.date_range("2012-01-01", periods=rows, freq="MS"), "sales": values}
    )


def several(rows: int) -> pd.DataFrame:
    table = monthly(rows)
    return table.assign(more=table["sales"].to_numpy()[::-1])


@pytest.fixture(scope="module")
def saws() -> pd.DataFrame:
    """Saw-teeth with seasons of their own: the last year is a poor forecast."""
    t = np.arange(300)
    rows = [np.abs((t * step / 40 + start) % 2 - 1) for step, start in ((1, 0), (1.5, 0.7))]
    time = pd.date_range("2000-01-01", periods=300, freq="MS")
    return pd.DataFrame({"time": time, "a": rows[0], "b": rows[1]})


@pytest.fixture(scope="module")
def both(saws: pd.DataFrame) -> list[ConvTimeNetForecaster]:
    """Weights of the package, and fine-tuned ones."""
    return [
        ConvTimeNetForecaster(12, quality=quality, input_size=64, verbose=0).fit(saws)
        for quality in ("pretrained", "tuned")
    ]


class TestFineTuning:
    def test_what_is_learnt_is_kept_where_it_helps(self, both):
        plain, tuned = ((model.scores_ or {})[MODEL]["mae"] for model in both)
        assert both[1].history_.steps > 10
        assert both[1].history_.granted in (0.5, 1.0)
        assert tuned < 0.9 * plain

    def test_the_weights_are_new(self, both):
        plain, tuned = (model.network_.embedding.state_dict() for model in both)
        assert [name for name in plain if not plain[name].equal(tuned[name])]
        assert both[0].network_.trusted == both[1].network_.trusted

    def test_what_does_not_help_is_not_kept(self, saws):
        model = ConvTimeNetForecaster(
            12, quality="tuned", input_size=64, lr=0.3, n_epochs=2, training={"clip_norm": None},
            verbose=0,
        ).fit(saws)  # fmt: skip
        assert model.history_.granted == 0
        assert any("no better than those of the package" in one for one in model.notices_)
        first = load_file(WEIGHTS)
        state = model.network_.embedding.state_dict()
        assert all(state[name].equal(value.float()) for name, value in first.items())

    def test_of_few_rows_all_choose_how_far_what_was_learnt_counts(self, monkeypatch):
        monkeypatch.setattr(solve, "keep", lambda *_: None)
        model = ConvTimeNetForecaster(6, quality="tuned", n_epochs=1, verbose=0).fit(monthly(50))
        assert model.history_.steps == 10
        assert model.history_.refitted
        assert model.scored_ is not None
        tuned = model.scored_.network_.embedding.state_dict()
        state = model.network_.embedding.state_dict()
        assert all(state[name].equal(value) for name, value in tuned.items())
        first = load_file(WEIGHTS)
        assert not any(state[name].equal(first[name].float()) for name in state if "widen" in name)

    def test_without_a_validation_split_there_is_none(self):
        model = ConvTimeNetForecaster(6, quality="tuned", verbose=0).fit(monthly(14))
        assert model.history_.steps == 0
        assert any("are not fine-tuned" in one for one in model.notices_)

    def test_saved_and_loaded(self, both, tmp_path):
        both[1].save(tmp_path / "model")
        again = ConvTimeNetForecaster.load(tmp_path / "model")
        pd.testing.assert_frame_equal(again.predict(), both[1].predict())

    def test_one_end_of_the_context_a_step(self):
        network, x = forecaster(600), waves(2, 600)
        known = torch.ones_like(x, dtype=torch.bool)
        ends = [network._of_reach(x[:, -n:], known[:, -n:]) for n in (512, 256, 128, 64)]
        network.train()
        torch.manual_seed(0)
        drawn = [network.quantiles(x, known) for _ in range(24)]
        met = [sum(one.equal(end) for one in drawn) for end in ends]
        assert sum(met) == 24
        assert min(met) > 0

    @pytest.mark.parametrize("settings", [{"model": {"d_model": 64}}, {"preset": "ETTh1"}])
    def test_settings_of_another_network_are_refused(self, saws, settings):
        with pytest.raises(ConfigError, match="quality='tuned'"):
            ConvTimeNetForecaster(12, quality="tuned", verbose=0, **settings).fit(saws)


class TrainingBegins(Exception):
    """Instead of its first step, with the network."""


def first_network(model: ConvTimeNetForecaster, table: pd.DataFrame) -> ModelConfig:
    """What a fit would train first, or only choose shares of."""

    def train(network: Any, *_: Any, **__: Any) -> None:
        raise TrainingBegins(network.config)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(base, "train", train)
        with pytest.raises(TrainingBegins) as began:
            model.fit(table)
    return began.value.args[0]


class TestFewRows:
    @pytest.mark.parametrize("quality", ["auto", "best"])
    @pytest.mark.parametrize(
        ("table", "expected"),
        [
            (monthly(59), True),
            (monthly(60), False),
            (several(39), True),
            (several(40), False),
            (several(39).rename(columns={"more": "price"}), True),
        ],
    )
    def test_weights_of_the_package_are_the_default(self, table, expected, quality):
        model = ConvTimeNetForecaster(6, quality=quality, verbose=0)
        assert first_network(model, table).pretrained == expected

    @pytest.mark.parametrize(
        "given",
        [{"futr_exog": ["more"]}, {"calendar": True}, {"input_size": 12}, {"quality": "fast"}],
    )
    def test_not_if_something_else_is_asked_for(self, given):
        model = ConvTimeNetForecaster(6, target_cols=["sales"], verbose=0, **given)
        assert not first_network(model, several(50)).pretrained

    def test_the_final_shares_are_chosen_by_all_rows(self):
        model = ConvTimeNetForecaster(6, verbose=0).fit(monthly(50))
        assert model.scored_ is not None
        assert model.fitted_rows_ is not None
        assert model.fitted_rows_.last.max() == np.datetime64("2016-02-01")
        assert ConvTimeNetForecaster.pretrained(6, verbose=0).fit(monthly(70)).scored_ is None

    @pytest.mark.parametrize(("h", "split"), [(6, (44, 55)), (13, (10, 14))])
    def test_rows_behind_the_split_choose_nothing(self, h, split):
        """Neither the network nor its context, nor how far it is trusted, also where no whole
        horizon fits."""
        late = monthly(120)
        late.loc[split[1] :, "sales"] *= -7.0
        models = [
            ConvTimeNetForecaster(h, verbose=0).fit(table, split=split, refit=False)
            for table in (late[: split[1]], late)
        ]
        short, long = models
        assert short.network_.config.pretrained
        assert long.network_.config == short.network_.config
        for name in ("logarithms", "drift", "trusted"):
            assert getattr(long.network_, name) == getattr(short.network_, name)

    def test_fewest(self):
        with pytest.raises(DataError, match="expected at least 4 rows, found 3; give more rows"):
            ConvTimeNetForecaster(6, verbose=0).fit(monthly(3))
        assert len(ConvTimeNetForecaster(6, verbose=0).fit(monthly(4)).predict()) == 6

    @pytest.mark.parametrize("freq", ["W", "h"])
    def test_fewer_rows_than_a_season(self, freq):
        """A level that is a season earlier lies before the context."""
        table = monthly(14)
        table["time"] = pd.date_range("2024-01-01", periods=14, freq=freq)
        forecast = ConvTimeNetForecaster(3, verbose=0).fit(table).predict()
        assert np.isfinite(forecast["sales"]).all()

    def test_a_series_that_begins_late_needs_no_rows_before(self):
        table = monthly(20)
        table.loc[:9, "sales"] = np.nan
        model = ConvTimeNetForecaster(5, verbose=0).fit(table)
        alone = ConvTimeNetForecaster(5, verbose=0).fit(table[10:])
        assert model.scores_ is None
        ratio = model.predict()["sales"] / alone.predict()["sales"]
        assert ratio.between(0.9, 1.1).all()

    def test_rows_that_do_not_fill_a_horizon(self, tmp_path):
        """The steps that there are choose how far the weights are trusted; intervals are theirs."""
        model = ConvTimeNetForecaster(12, verbose=0).fit(monthly(14))
        notice = "intervals are the network's own: there are too few rows to calibrate them"
        assert notice in model.notices_
        assert model.scores_ is None
        answers: list[Any] = []
        model.fused_.register_forward_hook(lambda *one: answers.append(one[2]))
        forecast = model.predict(level=[40, 80])
        own = answers[0][0, 0].numpy() * model.scaler_.scale.item() + model.scaler_.centre.item()
        bounds = ["lo-80", "lo-40", "", "hi-40", "hi-80"]
        names = [f"sales-{one}" if one else "sales" for one in bounds]
        np.testing.assert_allclose(forecast[names].T, own[[0, 2, 4, 6, 8]], rtol=1e-5)
        model.save(tmp_path / "model")
        again = ConvTimeNetForecaster.load(tmp_path / "model").predict(level=[40, 80])
        pd.testing.assert_frame_equal(again, forecast)

    def test_intervals_although_a_fifth_of_the_rows_is_too_few(self):
        model = ConvTimeNetForecaster(6, verbose=0).fit(monthly(36))
        notices = [one for one in model.notices_ if one.startswith("only 2 validation windows")]
        assert len(notices) == 1
        assert model.calibration_ is not None
        assert model.calibration_.windows > 10
        forecast = model.predict(level=80)
        width = forecast["sales-hi-80"] - forecast["sales-lo-80"]
        assert 0.5 < width.mean() < 20  # the series moves between 40 and 60

    def test_intervals_of_a_network_that_is_not_trusted(self):
        """The median is the seasonal-naive forecast, with the spread of the network."""
        network, x = forecaster(), waves(4, 100)[:, None]
        whole = network(x)
        network.trusted.fill_(0.0)
        naive = network(x)
        torch.testing.assert_close(naive[..., 4, :], x[..., 88:].repeat(1, 1, 3)[..., :30])
        spread = whole - whole[..., [4], :]
        torch.testing.assert_close(naive - naive[..., [4], :], spread, rtol=1e-4, atol=1e-5)


class TestEstimator:
    def test_an_answer_at_once_is_that_of_fit(self):
        table = monthly()
        model = ConvTimeNetForecaster.pretrained(h=12)
        at_once = model.predict(table)
        assert not hasattr(model, "fused_")
        fitted = ConvTimeNetForecaster(12, quality="pretrained", verbose=0).fit(table)
        pd.testing.assert_frame_equal(at_once, fitted.predict())
        assert fitted.history_.steps == 0
        assert fitted.scores_ is not None
        assert fitted.scores_["ConvTimeNet"]["mase"] < fitted.scores_["SeasonalNaive"]["mase"]

    def test_a_saved_model_answers_alike(self, tmp_path):
        model = ConvTimeNetForecaster.pretrained(h=6, verbose=0).fit(monthly(60))
        model.save(tmp_path / "model")
        again = ConvTimeNetForecaster.load(tmp_path / "model")
        pd.testing.assert_frame_equal(again.predict(level=80), model.predict(level=80))

    @pytest.mark.parametrize("quality", ["pretrained", "fast"])
    def test_a_context_without_a_value_has_the_level_of_training(self, quality, tmp_path):
        """Networks that read values around 0 as those that read them around the mean."""
        table = monthly(60).assign(other=lambda f: 1000 + f["sales"])
        early = table.index < 15
        gone = table.assign(sales=table["sales"].where(early))
        model = ConvTimeNetForecaster(6, quality=quality, input_size=30, verbose=0)
        fitted = model.fit(gone, split=(40, 50))
        assert fitted.network_.config.any_length == (quality == "pretrained")
        found = fitted.predict()
        mean, deviation = table["sales"][early].mean(), table["sales"][early].std(ddof=0)
        assert np.abs(found["sales"] - mean).max() < 0.5 * deviation
        assert found["other"].sub(1050).abs().max() < 20
        again = fitted.predict(table)["other"]
        np.testing.assert_allclose(found["other"], again, rtol=1e-6)
        fitted.save(tmp_path / "model")
        loaded = ConvTimeNetForecaster.load(tmp_path / "model")
        np.testing.assert_array_equal(loaded.predict()["sales"], found["sales"])
        rows = loaded.forecast(gone[["sales", "other"]].to_numpy())
        np.testing.assert_allclose(rows, found[["sales", "other"]], rtol=1e-6)
        if quality == "pretrained":
            bounds = fitted.predict(level=80)
            width = bounds["sales-hi-80"] - bounds["sales-lo-80"]
            assert width.between(0.5 * deviation, 6 * deviation).all()

    def test_the_level_of_a_series_that_training_did_not_see(self):
        parts = [monthly(50, seed).assign(shop=seed) for seed in range(3)]
        table = pd.concat(parts, ignore_index=True)
        table["sales"] += 100 * table["shop"]
        model = ConvTimeNetForecaster.pretrained(h=6, input_size=30, verbose=0)
        model.set_params(id_col="shop", target_cols="sales").fit(table)
        means = [part["sales"].mean() for _, part in table.groupby("shop")]
        new = parts[0].assign(shop=9, sales=lambda f: 7000 + f["sales"])
        gone = pd.concat([table, new]).assign(row=lambda f: f.groupby("shop").cumcount())
        gone["sales"] = gone["sales"].where((gone["row"] < 20) | (gone["shop"] == 0))
        found = model.predict(gone.drop(columns="row")).groupby("shop")["ConvTimeNet"].mean()
        spread = table["sales"].groupby(table["shop"]).std().max()
        assert np.abs(found[[1, 2]] - means[1:]).max() < spread
        assert abs(found[9] - new["sales"][:20].mean()) < spread  # by its own earlier rows

    def test_a_channel_without_any_level_is_named(self):
        table = monthly(60).assign(other=lambda f: 1000 + f["sales"])
        late = table.assign(sales=table["sales"].where(table.index >= 45))
        model = ConvTimeNetForecaster.pretrained(h=6, input_size=30, verbose=0)
        model.fit(late, split=(40, 50))
        assert np.isfinite(model.predict()["sales"]).all()
        with pytest.raises(DataError, match="rows that the model reads of 'sales', found none"):
            model.predict(table.assign(sales=table["sales"].where(table.index < 1)))

    def test_what_is_exported_answers_alike(self):
        """Of a context without a known value too; the graph itself is a slow test."""
        table = monthly(60)
        model = ConvTimeNetForecaster.pretrained(h=6, verbose=0).fit(table)
        deployed, middle = Deployed(model).eval(), model.network_.config.quantiles.index(0.5)
        values = table.iloc[:, -1].to_numpy(dtype=float, copy=True)
        with torch.inference_mode():
            for x in (values, np.full(60, np.nan)):
                found = deployed(torch.from_numpy(x)[None, None])[0, 0, middle].numpy()
                np.testing.assert_allclose(found, model.forecast(x[:, None])[:, 0], rtol=1e-4)
            assert abs(found.mean() / values.mean() - 1) < 0.3

    @pytest.mark.slow
    def test_an_exported_model_answers_alike(self, tmp_path):
        """Half a minute; what a graph computes otherwise is compared in `TestNetwork`."""
        table = monthly(60)
        model = ConvTimeNetForecaster.pretrained(h=6, verbose=0).fit(table)
        expected = model.predict()
        export(model, tmp_path / "graph")
        graph = load(tmp_path / "graph")
        assert isinstance(graph, ForecastRuntime)
        found = graph.forecast(table[["sales"]].to_numpy())
        np.testing.assert_allclose(np.ravel(found), expected["sales"], rtol=1e-4)

    def test_a_series_that_is_constant_stays_so(self):
        """It was forecast with the noise of rounding: as -5e-08 where all values are 0."""
        t = np.arange(30)
        known = {
            "none": 0 * t,
            "tenth": 0.125 + 0 * t,
            "high": 1234.56 + 0 * t,
            "wave": 9 + np.sin(t),
        }
        days = pd.date_range("2024-01-01", periods=30, freq="D")
        rows = [pd.DataFrame({"unique_id": k, "ds": days, "y": y}) for k, y in known.items()]
        model = ConvTimeNetForecaster(6, quality="pretrained", device="cpu", verbose=0)
        found = model.fit(pd.concat(rows)).predict(level=[80]).set_index("unique_id")
        for name in ("none", "tenth", "high"):
            answers = found.loc[name, [MODEL, f"{MODEL}-lo-80", f"{MODEL}-hi-80"]]
            one = np.full((6, 3), known[name][0])
            np.testing.assert_allclose(answers.to_numpy(float), one, rtol=1e-7, atol=0)
        assert found.loc["wave", f"{MODEL}-lo-80"].lt(found.loc["wave", MODEL]).all()

    def test_series_of_a_panel_each_with_its_own_length(self):
        parts = [monthly(rows, seed).assign(shop=rows) for seed, rows in enumerate((40, 75, 120))]
        model = ConvTimeNetForecaster.pretrained(h=6, verbose=0)
        model.set_params(id_col="shop", target_cols="sales")
        together = model.predict(pd.concat(parts))
        assert together.groupby("shop").size().to_dict() == {40: 6, 75: 6, 120: 6}
        assert np.isfinite(together["ConvTimeNet"]).all()

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"model": {"d_model": 64}}, "use the weights that come with the package, so model"),
            ({"n_epochs": 3}, "n_epochs would have no effect; leave it out"),
            ({"calendar": True}, "quality='pretrained' reads no covariates"),
            ({"preset": "ETTh1"}, "preset would have no effect"),
        ],
    )
    def test_what_it_cannot_use_is_refused(self, given, said):
        with pytest.raises(ConfigError, match=said):
            ConvTimeNetForecaster.pretrained(6, verbose=0, **given).fit(monthly(60))

    def test_a_quality_of_forecasters_only(self):
        X = np.random.default_rng(0).normal(size=(20, 1, 30))
        with pytest.raises(ConfigError, match="quality must be one of 'fast', 'auto', 'best'"):
            ConvTimeNetClassifier(quality="pretrained", verbose=0).fit(X, np.arange(20) % 2)

    def test_command_line(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        monthly(60).to_csv("sales.csv", index=False)
        assert main(["forecast", "sales.csv", "--h=6", "--pretrained", "--save=model"]) == 0
        assert "pretrained" in capsys.readouterr().out
        found, model = pd.read_csv("sales-forecast.csv"), ConvTimeNetForecaster.load("model")
        assert model.network_.config.pretrained
        np.testing.assert_allclose(found["sales"], model.predict(monthly(60))["sales"], rtol=1e-5)


def again_with(seed: int, index: torch.Tensor) -> torch.Tensor:
    return GeneratedSeries(1000, seed, 16).batch(index).y[:, 0].std(-1)


class TestGeneratedSeries:
    def test_a_batch_is_a_function_of_its_numbers(self):
        index = torch.tensor([5, 900, 77, 3] * 8)
        first, again = (GeneratedSeries(1000, 3, 16).batch(index) for _ in range(2))
        for one, other in zip(first[:4], again[:4], strict=True):
            assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))
        assert not torch.equal(first.y[:, 0].std(-1), again_with(4, index))

    def test_what_is_hidden_is_weighed_and_not_shown(self):
        examples, order = GeneratedSeries(10**6, 0, 16), torch.Generator().manual_seed(0)
        for _ in range(12):
            batch = examples.batch(torch.randint(10**6, (32,), generator=order))
            assert batch.weight is not None
            assert batch.known is not None
            assert batch.x.shape[-1] % 16 == 0
            assert all(one.isfinite().all() for one in (batch.x, batch.y, batch.weight))
            hidden = batch.weight > 0
            seen = batch.x[:, 1:2] > 0
            assert not (hidden & seen).any()
            assert not batch.x[:, :1][hidden].any()
            assert torch.equal(batch.x[:, :1][seen], batch.y[seen])
            assert (hidden.flatten(1).any(-1)).float().mean() > 0.9
            assert not hidden[~batch.known].any()

    @pytest.mark.parametrize("season", [1, 7, 24])
    def test_series_are_finite_and_of_many_kinds(self, season):
        values = generated(np.random.default_rng(0), 200, 120, season, 7 * season)
        assert values.shape == (200, 120)
        assert np.isfinite(values).all()
        assert (values == np.round(values)).all(-1).any()  # counts, whole numbers
        assert (values > 0).all(-1).any()
        assert (values < 0).any()

    @given(st.integers(8, 2048), st.integers(0, 10**6))
    def test_seasons_fit_twice(self, longest, seed):
        season, long = drawn_seasons(np.random.default_rng(seed), longest)
        assert 1 <= season <= longest / 2 or season in SEASONS
        assert long >= season


def test_pretraining_goes_on_after_a_stop(tmp_path, monkeypatch):
    """The same weights as without; the log has a line for each epoch."""
    small = replace(run.pretraining_config(), d_model=8, d_ff=8, kernel_sizes=(3,))
    monkeypatch.setattr(run, "pretraining_config", lambda: small)
    monkeypatch.setattr(run, "EPOCH", 3)
    monkeypatch.setattr(run, "_BATCH", 16)
    monkeypatch.setattr(run, "_VALIDATION", 16)

    def command(name: str) -> list[str]:
        files = {"folder": name, "out": f"{name}.safetensors", "log": f"{name}.jsonl"}
        flags = [f"--{flag}={tmp_path / file}" for flag, file in files.items()]
        return [*flags, "--steps=9"]

    assert run.main(command("whole")) == 0
    log = run._Log.on_epoch_end

    def stopping(self, progress):
        log(self, progress)
        if progress.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(run._Log, "on_epoch_end", stopping)
    with pytest.raises(KeyboardInterrupt):
        run.main(command("parts"))
    assert not (tmp_path / "parts.safetensors").exists()
    monkeypatch.setattr(run._Log, "on_epoch_end", log)
    assert run.main(command("parts")) == 0
    whole, parts = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "parts"))
    assert all(parts[name].equal(value) for name, value in whole.items())
    Reconstructor(small).load_state_dict({n: value.float() for n, value in whole.items()})
