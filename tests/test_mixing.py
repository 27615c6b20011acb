"""Channels that read each other: the block, its shares, and everything that a network supports."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from common import randomised
from hypothesis import given, settings
from hypothesis import strategies as st

from convtimenet import ConvTimeNet, ConvTimeNetForecaster, ModelConfig, fuse, runtime
from convtimenet.config import TrainConfig
from convtimenet.data.windows import Windows
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.portfolio import MESSAGES, forecast_members
from convtimenet.export import export
from convtimenet.network.ensemble import Ensemble
from convtimenet.network.inference import FusedBlock
from convtimenet.network.memory import predicted_peak
from convtimenet.network.mixing import RECENT, ChannelMixing
from convtimenet.network.model import count_parameters
from convtimenet.report import forecast_report
from convtimenet.training.closed_form.linear import granted
from convtimenet.training.loop import _Training

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "d_model": 8, "d_ff": 8, "kernel_sizes": (3,), "patch_size": 8, "patch_stride": 4,
    "masks": True,
}  # fmt: skip


def config(channels: int = 3, **changes: Any) -> ModelConfig:
    alone = ModelConfig.forecasting(context_length=24, horizon=4, **SMALL)
    return replace(alone, **{"channel_mixing": 2, "mixed_channels": channels, **changes})


def network(channels: int = 3, **changes: Any) -> ConvTimeNet:
    """As if trained."""
    torch.manual_seed(2)
    model = randomised(ConvTimeNet(config(channels, **changes)))
    for weight in (of(model).speak, of(model).hear):
        weight.data /= 50
    return model


def of(model: Any) -> ChannelMixing:
    """The block of a network that has one."""
    assert isinstance(model.mixing, ChannelMixing)
    return model.mixing


def series(B: int = 4, C: int = 3, L: int = 24, seed: int = 0) -> torch.Tensor:
    return torch.randn(B, C, L, generator=torch.Generator().manual_seed(seed))


def led(rows: int = 360, channels: int = 3) -> np.ndarray:
    """Noise; the second channel is the first one two steps later."""
    values = np.random.default_rng(0).normal(size=(rows, channels))
    values[2:, 1] = values[:-2, 0] + 0.05 * values[2:, 1]
    return values


SETTINGS: dict[str, Any] = {
    "input_size": 24, "n_epochs": 5, "batch_size": 16, "lr": 2e-3, "device": "cpu", "verbose": 0,
    "model": {**SMALL, "channel_mixing": 2}, "refit": False,
}  # fmt: skip


def forecaster(**changes: Any) -> ConvTimeNetForecaster:
    return ConvTimeNetForecaster(2, **{**SETTINGS, **changes})


@pytest.fixture(scope="module")
def fitted() -> ConvTimeNetForecaster:
    return forecaster().fit(led())


class TestBlock:
    @pytest.mark.parametrize("linear", [False, True])
    @pytest.mark.parametrize("quantiles", [(), (0.1, 0.5, 0.9)])
    def test_a_new_network_forecasts_as_one_without(self, linear, quantiles):
        torch.manual_seed(4)
        mixed = ConvTimeNet(config(linear=linear, quantiles=quantiles))
        torch.manual_seed(4)
        alone = ConvTimeNet(
            config(linear=linear, quantiles=quantiles, channel_mixing=0, mixed_channels=0)
        )
        x, found = series(), []
        for model in (mixed, alone):
            torch.manual_seed(5)  # of the dropout
            found.append((model(x), model.eval()(x)))
        assert torch.equal(found[0][0], found[1][0])
        assert torch.equal(found[0][1], found[1][1])

    def test_every_weight_learns(self):
        model = network().train()
        model(series()).square().sum().backward()
        for name, weight in of(model).named_parameters():
            assert weight.grad is not None, name
            assert (weight.grad != 0).any(), name

    def test_at_the_start_only_what_is_heard_learns(self):
        model = ConvTimeNet(config())
        model(series()).square().sum().backward()
        moves = {
            name: w.grad is not None and bool(w.grad.any())
            for name, w in of(model).named_parameters()
        }
        assert moves == {"speak": False, "hear": True, "write": False, "read": False}

    def test_it_is_the_sum_that_it_says(self):
        mixing = of(network())
        mixing.granted.copy_(torch.tensor([1.0, 0.5, 0.0]))
        u = torch.randn(8, 6, 5)
        found = mixing(u)
        speak, hear = 50 * mixing.speak, 50 * mixing.hear
        for b in range(2):
            own = u[:, 3 * b : 3 * b + 3, -RECENT:]
            for c in range(3):
                expected = torch.zeros(4)
                for g in range(2):
                    said = sum(speak[d, g] * own[:, d] for d in range(3))
                    message = (mixing.write[g] @ said).flatten()
                    expected = expected + hear[c, g] * mixing.read[g] @ message
                share = (1.0, 0.5, 0.0)[c]
                torch.testing.assert_close(found[b, c], share * expected, rtol=1e-4, atol=1e-4)

    def test_a_channel_hears_the_others_recent_patches_only(self):
        model, x = network(), series()
        early, late = x.clone(), x.clone()
        early[:, 0, :8] += 1
        late[:, 0, -3:] += 1
        model.revin = None  # its statistics carry every step of a channel into its patches
        u, v, w = (model.embedding(model.rows(one)) for one in (x, early, late))
        assert torch.equal(of(model)(u), of(model)(v))
        assert not torch.isclose(of(model)(u), of(model)(w)).any()

    def test_channels_in_another_order(self):
        model, x, order = network(4), series(C=4), torch.tensor([2, 0, 3, 1])
        other = network(4)
        with torch.no_grad():
            for name in ("speak", "hear", "granted"):
                one = getattr(of(other), name)
                one.copy_(one[order])
            torch.testing.assert_close(other(x[:, order]), model(x)[:, order])

    def test_weights_are_linear_in_channels(self):
        counts = [count_parameters(network(C)) for C in (2, 12, 22)]
        assert counts[1] - counts[0] == counts[2] - counts[1] == 10 * 2 * 2

    def test_a_context_of_one_patch(self):
        short = replace(config(), context_length=8, padding="none")
        model = randomised(ConvTimeNet(short))
        assert short.n_patches == 1
        x = series(L=8)
        other = x.clone()
        other[:, 0] = series(L=8, seed=5)[:, 0]
        assert (model(x) != model(other))[:, 1].all()


class TestMissing:
    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 2), st.integers(0, 23), st.integers(0, 10**6))
    def test_values_at_gaps_reach_no_channel(self, channel, first, seed):
        model, x = network(), series(seed=seed)
        known = torch.ones_like(x, dtype=torch.bool)
        known[:, channel, first:] = False
        other = x.clone()
        other[:, channel, first:] = 1e3
        assert torch.equal(model(x, known), model(other, known))

    def test_a_channel_of_which_nothing_is_known_says_nothing(self):
        model, x = network(), series()
        known = torch.ones_like(x, dtype=torch.bool)
        known[:, 0] = False
        silent = network()
        of(silent).speak.data[0] = 0
        found, expected = model(x, known), silent(x, known)
        assert torch.equal(found, expected)
        assert (model(x) != found)[:, 1:].any()

    def test_masked_patches_say_nothing(self):
        model = network()
        u = torch.randn(8, 3, 5)
        u[:, 0] = 0  # as `Embedding` leaves a masked patch
        others = network()
        of(others).speak.data[0] = 7
        assert torch.equal(of(model)(u), of(others)(u))


class TestGranted:
    """The share that the validation split leaves each channel."""

    def windows(self, hears: float) -> tuple[ConvTimeNet, Windows]:
        """A network in which both channels hear the same, and windows apart from each other in
        which only the second channel's target is what it hears times `hears`."""
        model = network(2, linear=True)
        model.head.project.weight.data.zero_()
        model.head.project.bias.data.zero_()
        assert model.linear is not None
        model.linear.weight.data.zero_()
        values = torch.randn(2, 40 * 28, generator=torch.Generator().manual_seed(6))
        windows = Windows(values, torch.arange(40) * 28, 24, 4)
        with torch.no_grad():
            x = windows.batch(torch.arange(40)).x
            y = x.mean(-1, keepdim=True) + hears * (model(x) - x.mean(-1, keepdim=True))
        for n in range(40):
            values[1, 28 * n + 24 : 28 * n + 28] = y[n, 1]
        return model, windows

    def test_each_channel_has_its_own(self):
        model, windows = self.windows(0.6)
        head, mean = granted(model, windows, TrainConfig(), CPU)
        assert head == 0
        assert mean == pytest.approx(0.3)
        assert of(model).granted.tolist() == pytest.approx([0, 0.6])

    def test_nothing_where_others_tell_nothing(self):
        model, windows = self.windows(-1.0)
        assert granted(model, windows, TrainConfig(), CPU) == (0, 0)
        assert of(model).granted.tolist() == [0, 0]

    def test_without_a_linear_stream_the_head_keeps_all(self):
        model, windows = self.windows(1.0)
        alone = network(2)
        alone.load_state_dict(model.state_dict(), strict=False)
        head, mean = granted(alone, windows, TrainConfig(), CPU)
        assert (head, mean) == (1.0, 0.5)

    def test_many_windows_are_thinned_alike(self, monkeypatch):
        from convtimenet.training.closed_form import linear

        model, windows = self.windows(0.6)
        monkeypatch.setattr(linear, "_MOST_LOSSES", 20 * 2 * 21 * 6)
        assert granted(model, windows, TrainConfig(), CPU) == (0, pytest.approx(0.3))
        assert len(windows) == 40


class TestEverything:
    """What a network supports."""

    def test_a_led_channel_is_forecast_from_its_leader(self, fitted):
        alone = forecaster(model=SMALL).fit(led())
        fresh = led(660)[360:]
        errors = [
            np.square(
                [model.forecast(fresh[:n])[:, 1] - fresh[n : n + 2, 1] for n in range(30, 298, 2)]
            ).mean()
            for model in (fitted, alone)
        ]
        assert errors[0] < errors[1] / 3
        assert of(fitted.network_).granted[1] > 0.5
        assert fitted.history_.mixed == pytest.approx(float(of(fitted.network_).granted.mean()))

    @pytest.mark.parametrize("precision", ["fp32", "int8"])
    def test_the_inference_copy(self, precision):
        model, x = network(), series()
        known = torch.rand(x.shape, generator=torch.Generator().manual_seed(3)) > 0.2
        fused = fuse(model, precision)
        assert isinstance(fused.blocks[0], FusedBlock)
        tolerance = 1e-4 if precision == "fp32" else 0.2
        with torch.no_grad():
            for inputs in ((x,), (x, known)):
                torch.testing.assert_close(
                    fused(*inputs), model(*inputs), rtol=tolerance, atol=tolerance
                )

    def test_saved_and_loaded(self, fitted, tmp_path):
        fitted.save(tmp_path / "model")
        again = ConvTimeNetForecaster.load(tmp_path / "model")
        assert again.network_.config == fitted.network_.config
        assert again.history_.mixed == fitted.history_.mixed
        np.testing.assert_array_equal(again.predict(), fitted.predict())

    def test_exported(self, fitted, tmp_path):
        assert export(fitted, tmp_path / "graph")["max_difference"] < 1e-5
        graph = runtime.load(tmp_path / "graph")
        assert isinstance(graph, runtime.ForecastRuntime)
        batch = np.stack([led()[:24], led()[40:64], led()[70:94]])
        batch[1, :, 0] = np.nan
        expected = np.stack([fitted.forecast(one) for one in batch])
        np.testing.assert_allclose(graph.forecast(batch), expected, rtol=0, atol=1e-4)
        with pytest.raises(DataError, match="expected 3 channels, found 2"):
            graph.forecast(batch[..., :2])

    def test_stopped_and_resumed_to_the_same_bits(self, fitted, tmp_path, monkeypatch):
        whole, steps = _Training._one_step, []

        def stopping(self: _Training, index: torch.Tensor) -> None:
            steps.append(0)
            if len(steps) == 25:
                signal.raise_signal(signal.SIGINT)
            whole(self, index)

        monkeypatch.setattr(_Training, "_one_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            forecaster().fit(led(), resume=tmp_path)
        again = forecaster().fit(led(), resume=tmp_path)
        assert len(steps) > 25
        for name, value in fitted.network_.state_dict().items():
            assert torch.equal(again.network_.state_dict()[name], value), name

    @pytest.mark.parametrize("refit", ["continue", True])
    def test_a_second_training_keeps_the_shares(self, refit):
        model = forecaster(refit=refit, n_epochs=3).fit(led(300))
        assert model.scored_ is not None
        first, second = (of(one.network_) for one in (model.scored_, model))
        assert torch.equal(first.granted, second.granted)
        assert not torch.equal(first.hear, second.hear)

    def test_explained_by_who_leads(self, fitted, tmp_path):
        found = fitted.explain(spans=[(0, 8), (8, 24)])
        assert found.channel_importance.shape == (1, 3, 3)
        by = found.channel_importance[0]
        assert (by.diagonal() == 0).all()
        assert by[0, 1] == by.max() > 0.1
        alone = forecaster(model={**SMALL, "channel_mixing": 0}, n_epochs=1).fit(led(150))
        assert (alone.explain(spans=2).channel_importance == 0).all()
        # a channel's own span is hidden while it can still read the others
        x = torch.from_numpy(led()[-24:].T.astype(np.float32))[None]
        hidden = fitted.explain(spans=[(20, 24)]).change[0, 0, 0]
        known = torch.ones_like(x, dtype=torch.bool)
        known[0, 0, 20:] = False
        scaler = fitted.scaler_
        scaled = ((x.double().numpy() - scaler.centre) / scaler.scale).astype(np.float32)
        with torch.no_grad():
            both = [
                fitted.fused_(torch.from_numpy(scaled), mask).double().numpy() * scaler.scale
                for mask in (None, known)
            ]
        np.testing.assert_allclose(hidden, (both[0] - both[1])[0, 0], atol=1e-5)
        table = fitted.adapt(led())
        scored = fitted.evaluate(table, first_row=300)
        path = forecast_report(tmp_path / "page.html", fitted, table, scored, title="", facts={})
        assert "Channels that read each other" in path.read_text()

    def test_intervals_and_a_backtest(self, fitted):
        # of normal noise 80 % lie within 1.28; the errors of the led channel are next to none
        radii = fitted.calibration_.radius(80.0)
        assert radii.shape == (1, 2)
        assert (radii > 0.8).all()
        assert (radii < 1.2).all()
        scored = fitted.cross_validation(led(), n_windows=2)
        assert np.isfinite(scored["ConvTimeNet"]).all()

    def test_quantiles_move_together(self):
        model, x = network(quantiles=(0.1, 0.5, 0.9)), series()
        silent = network(quantiles=(0.1, 0.5, 0.9))
        of(silent).granted.zero_()
        with torch.no_grad():
            found, alone = model(x), silent(x)
        moved = found - alone
        torch.testing.assert_close(moved[:, :, 0], moved[:, :, 2], rtol=1e-3, atol=1e-4)
        assert (found.diff(dim=2) > 0).all()

    def test_memory_of_a_step_grows_with_messages(self):
        peaks = [
            predicted_peak(one, 96, parameters=1000, native=True, recompute=False, bf16=False)
            for one in (config(channel_mixing=0, mixed_channels=0), config())
        ]
        # two messages of 32 windows: sums of two patches, 16 numbers each, and 4 steps; twice
        assert peaks[1] - peaks[0] == 4 * 2 * 32 * 2 * (2 * (8 + 16) + 4)


class TestBest:
    def test_one_member_has_it(self):
        base = ModelConfig.forecasting(context_length=24, horizon=4, linear=True, **SMALL)
        found = forecast_members(base, TrainConfig(seed=5), None, (), 3)
        mixed = [one for one, _ in found if one.channel_mixing]
        assert mixed == [replace(base, channel_mixing=MESSAGES, mixed_channels=3)]
        assert len(found) == len(forecast_members(base, TrainConfig(seed=5), None, (), 1))
        trained = [train.seed for one, train in found if not one.pretrained]
        assert len({*trained}) == len(trained)
        fixed = forecast_members(base, TrainConfig(), None, {"channel_mixing"}, 3)
        assert not any(one.channel_mixing for one, _ in fixed)

    def test_beside_members_that_accept_any_channels(self):
        alone = config(channel_mixing=0, mixed_channels=0)
        members = Ensemble.of([network(), randomised(ConvTimeNet(alone))])
        assert members.config.fixed_channels == 3
        x = series()
        with torch.no_grad():
            each = members.answers(x)
            torch.testing.assert_close(members.eval()(x), each.mean(0))
        with pytest.raises(ConfigError, match="channels of member 2 must be 3, found 2"):
            replace(config(), members=(config(), config(2)))


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"channel_mixing": -1}, "channel_mixing must be a whole number of at least 0"),
            ({"mixed_channels": 1}, "mixed_channels must be at least 2 with channel_mixing"),
            ({"channel_mixing": 0}, "mixed_channels must be 0 without channel_mixing, found 3"),
            ({"kernel_sizes": (), "linear": True}, "channel_mixing must be 0 without kernel_sizes"),
            ({"linear": True, "linear_channels": 2}, "linear_channels must be 0 or mixed_channels"),
            ({"revin_affine_channels": 4}, "revin_affine_channels must be 0 or mixed_channels=3"),
        ],
    )
    def test_by_the_config(self, changes, message):
        with pytest.raises(ConfigError, match=message):
            config(**changes)

    def test_to_classify(self):
        with pytest.raises(ConfigError, match="reads all channels together, found 2"):
            ModelConfig.classification(
                channels=3, context_length=24, n_classes=2, channel_mixing=2, mixed_channels=3
            )

    @pytest.mark.parametrize(
        ("changes", "channels", "message"),
        [
            ({}, 1, "needs two or more channels .* found 1; leave channel_mixing out"),
            ({"scale": False}, 3, "use scale=True, or leave channel_mixing out"),
            ({"model": {"mixed_channels": 3}}, 3, "mixed_channels, which the data"),
        ],
    )
    def test_by_the_forecaster(self, changes, channels, message):
        with pytest.raises(ConfigError, match=message):
            forecaster(**changes).fit(led(120, 3)[:, :channels])

    def test_another_number_of_channels(self, fitted):
        with pytest.raises(DataError):
            fitted.predict(led()[:, :2])


def test_an_old_description_has_none():
    values = ModelConfig.forecasting(context_length=24, horizon=4).to_dict()
    del values["channel_mixing"], values["mixed_channels"]
    found = ModelConfig.from_dict(values)
    assert (found.channel_mixing, found.mixed_channels) == (0, 0)
    assert ConvTimeNet(found).mixing is None
