"""Random patches: features against a plain twin, the solution against refits, the estimators."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from common import DATA, needs_data
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from convtimenet import ConvTimeNetClassifier, ConvTimeNetRegressor, ModelConfig, fuse, runtime
from convtimenet.cli.main import main
from convtimenet.config import TrainConfig
from convtimenet.data.labelled.cases import as_cases
from convtimenet.data.windows import LabelledCases
from convtimenet.datasets import load_classification
from convtimenet.errors import ConfigError
from convtimenet.estimators.presets.derived import fast_cases
from convtimenet.export import export
from convtimenet.network.kernels import native
from convtimenet.network.random_patches import (
    POINTS,
    PatchFeatures,
    RandomPatches,
    plans,
)
from convtimenet.report import cases_report
from convtimenet.training.closed_form.patches import PENALTIES, fit_patches
from convtimenet.training.interrupt import StopRequest

ONE = {"random_patches": 1}


def config(groups: int = 8, channels: int = 2, length: int = 40, **settings) -> ModelConfig:
    return ModelConfig.classification(
        channels=channels, context_length=length, n_classes=3, random_patches=groups,
        kernel_sizes=(), masks=True, **settings,
    )  # fmt: skip


def features_of(settings: ModelConfig, x: torch.Tensor) -> PatchFeatures:
    torch.manual_seed(0)
    found = PatchFeatures(settings)
    found.draw_levels(x, None, torch.Generator().manual_seed(1))
    return found


def plain(module: PatchFeatures, *inputs) -> torch.Tensor:
    """By torch, without the kernel."""
    module.native = False
    with torch.no_grad():
        found = module(*inputs)
    module.native = True
    return found


def cases(n: int = 36, C: int = 2, L: int = 40, seed: int = 0) -> np.ndarray:
    """Three speeds in turn."""
    draw = np.random.default_rng(seed)
    speed = np.array([0.3, 0.7, 1.5])[np.arange(n) % 3, None, None]
    phase = draw.uniform(0, 6, size=(n, C, 1))
    return np.sin(np.arange(L) * speed + phase) + draw.normal(scale=0.3, size=(n, C, L))


def labels(n: int = 36) -> np.ndarray:
    return np.array(["slow", "middle", "quick"])[np.arange(n) % 3]


def fast(kind: Any = ConvTimeNetClassifier, **settings: Any) -> Any:
    return kind(quality="fast", device="cpu", verbose=0, **settings)


class TestPlans:
    @given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 2000))
    def test_patches_fit(self, groups, channels, length):
        for plan in plans(groups, channels, length):
            assert 1 <= plan.channels <= min(channels, 9)
            assert plan.stretch == 1 or (POINTS - 1) * plan.stretch <= length - 1

    def test_they_cover_lengths_channels_and_kinds(self):
        found = plans(24, 9, 1000)
        stretches = np.log2([plan.stretch for plan in found])
        # as many in each third of the scale, up to one step of the sequence
        assert np.histogram(stretches, bins=3, range=(0, np.log2(125)))[0].min() >= 6
        assert {plan.channels for plan in found} == set(range(1, 10)) - {8} or len(
            {plan.channels for plan in found}
        ) >= 6
        kinds = [(plan.edges, plan.changes) for plan in found]
        assert {kinds.count((a, b)) for a in (False, True) for b in (False, True)} == {6}


class TestFeatures:
    @pytest.mark.parametrize("sets", [1, 3])
    def test_they_are_those_of_the_plain_twin(self, sets):
        """Every response as a sum over the points that a stretched patch samples."""
        settings = config(channels=3, length=30, channel_sets=sets)
        x = torch.randn(4, 3, 30, dtype=torch.float32)
        module = features_of(settings, torch.randn(20, 3, 30))  # no response equals a level
        each = 64 if sets == 1 else 16
        found = module(x).view(4, -1)
        at = 0
        for (g, plan), n in itertools.product(enumerate(module.plans), range(sets)):
            mine = slice(n * each, (n + 1) * each)
            weight = module.get_buffer(f"weight_{g}").double().numpy()[mine]
            channels = module.get_buffer(f"channels_{g}").view(sets, -1)[n].tolist()
            assert channels == sorted(set(channels))
            source = x.double().numpy()[:, channels]
            source = np.diff(source) if plan.changes else source
            T, reach = source.shape[2], (POINTS - 1) * plan.stretch
            first, places = (-(reach // 2), T) if plan.edges or reach >= T else (0, T - reach)
            y = np.zeros((4, each, places))
            for place, point in itertools.product(range(places), range(POINTS)):
                step = first + place + point * plan.stretch
                if 0 <= step < T:
                    y[:, :, place] += source[:, :, step] @ weight[:, :, point].T
            levels = module.levels[g].double().numpy()[:, mine]
            shares = (y[:, None] > levels[:, :, None]).mean(-1).reshape(4, -1)
            expected = np.concatenate([shares, y.max(-1), np.abs(y).mean(-1)], axis=1)
            own = found[:, at : at + 5 * each].double().numpy()
            at += 5 * each
            # a response within rounding of a level may fall on its other side
            assert (np.abs(own - expected) < 1e-5).mean() > 0.999
        assert at == found.shape[1]

    @given(
        st.integers(1, 5), st.integers(1, 12), st.integers(1, 130), st.integers(1, 5),
        st.integers(1, 3), st.booleans(), st.integers(0, 99),
    )  # fmt: skip
    def test_the_kernel_computes_the_same(self, B, C, L, groups, sets, masked, seed):
        settings = config(groups, C, L, channel_sets=sets)
        numbers = torch.Generator().manual_seed(seed)
        x = torch.randn(B, C, L, generator=numbers)
        module = features_of(settings, torch.randn(6, C, L, generator=numbers))
        known = None
        if masked:
            end = torch.randint(0, L + 1, (B, 1, 1), generator=numbers)
            known = (torch.arange(L) < end) & (torch.rand(x.shape, generator=numbers) < 0.9)
        expected = plain(module, x, known)
        with torch.no_grad():
            off = (module(x, known) - expected).abs()
        # a response within rounding of a level may fall on its other side
        assert float((off > 1e-5).float().mean()) < 0.002
        assert native.library() is None or off.shape == (B, groups * {1: 320, 2: 160, 3: 240}[sets])

    def test_gradients_reach_the_series(self):
        module = features_of(config(), torch.randn(20, 2, 40))
        x = torch.randn(3, 2, 40, requires_grad=True)
        (slope,) = torch.autograd.grad(module(x).sum(), x)
        assert slope.abs().sum() > 0

    def test_weights_have_no_level_and_unit_size(self):
        module = features_of(config(), torch.randn(3, 2, 40))
        for g in range(8):
            weight = module.get_buffer(f"weight_{g}")
            torch.testing.assert_close(weight.sum(-1), torch.zeros_like(weight[..., 0]))
            torch.testing.assert_close(weight.abs().sum((1, 2)), torch.ones(64))

    def test_levels_split_the_responses_of_the_cases_in_parts(self):
        x = torch.randn(30, 2, 40)
        shares = features_of(config(), x)(x).mean(0).view(8, -1)[:, : 3 * 64]
        low, middle, high = shares.reshape(8, 3, -1).unbind(1)
        assert (low > middle).all()
        assert (middle > high).all()
        assert abs(float(middle.mean()) - 0.5) < 0.02

    def test_padding_changes_nothing(self):
        x = torch.randn(5, 2, 40)
        module = features_of(config(), x)
        long = torch.cat([x, torch.full((5, 2, 33), torch.nan)], dim=2)
        torch.testing.assert_close(module(long, ~long.isnan()), module(x), rtol=1e-5, atol=1e-6)
        known = torch.ones_like(x, dtype=torch.bool)
        torch.testing.assert_close(module(x, known), module(x), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("length", [1, 2, 8, 9, 10, 17])
    def test_short_cases_among_longer_ones(self, length):
        x = torch.randn(5, 2, 40)
        module = features_of(config(), torch.randn(20, 2, 40))
        short = x.clone()
        short[0, :, length:] = torch.nan
        found = module(short, ~short.isnan())
        assert found.isfinite().all()
        torch.testing.assert_close(found[1:], module(x)[1:], rtol=1e-5, atol=1e-6)
        alone = module(short[:1], ~short[:1].isnan())
        torch.testing.assert_close(found[:1], alone, rtol=1e-5, atol=1e-6)

    def test_a_gap_reads_as_zero(self):
        x = torch.randn(3, 2, 40)
        module = features_of(config(), x)
        gap, zero = x.clone(), x.clone()
        gap[:, 0, 10:15], zero[:, 0, 10:15] = torch.nan, 0.0
        torch.testing.assert_close(module(gap, ~gap.isnan()), module(zero), rtol=1e-5, atol=1e-6)
        empty = torch.full((1, 2, 40), torch.nan)
        assert module(empty, ~empty.isnan()).isfinite().all()


class TestSolution:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_the_loss_is_that_of_refits_without_each_case(self, weighted):
        """And the penalty is the best of all by the squared error of those answers."""
        settings = config(groups=2)
        x = torch.from_numpy(cases(21)).float()
        y = torch.arange(21) % 3
        weight = torch.rand(21) + 0.5 if weighted else None
        torch.manual_seed(0)
        network = RandomPatches(settings)
        history = fit_patches(network, LabelledCases(x, y, weight), 3, StopRequest(), verbose=0)
        features = network.embedding(x).double().numpy()
        features = (features - features.mean(0)) / np.where(features.std(0) > 0, features.std(0), 1)
        targets = 2.0 * np.eye(3)[y.numpy()] - 1
        shares = None if weight is None else weight.double().numpy()

        def left_out(penalty: float) -> np.ndarray:
            answers = np.zeros((21, 3))
            for i in range(21):
                rest = np.arange(21) != i
                own = None if shares is None else shares[rest]
                model = Ridge(penalty).fit(features[rest], targets[rest], own)
                answers[i] = model.predict(features[i : i + 1])
            return answers

        penalties = PENALTIES * features.shape[1] / 100
        found = [left_out(penalty) for penalty in penalties]
        best = found[int(np.argmin([np.square(one - targets).mean() for one in found]))]
        smooth = np.where(np.eye(3)[y.numpy()] > 0, 1 - 1 / 9, 1 / 18)  # 7 cases a class
        losses = []
        for factor in 2.0 ** np.arange(-2, 8, 0.25):
            scores = best * factor
            log_sum = np.log(np.exp(scores - scores.max(1, keepdims=True)).sum(1))
            log_sum += scores.max(1)
            losses.append(np.average(log_sum - (smooth * scores).sum(1), weights=shares))
        assert history.epochs[0].train_loss == pytest.approx(min(losses), rel=0.02)
        assert history.stopped == "solved in closed form"

    def test_answers_are_the_ridges(self):
        x = torch.from_numpy(cases(21)).float()
        targets = torch.randn(21, 1)
        torch.manual_seed(0)
        network = RandomPatches(
            ModelConfig.regression(
                channels=2, context_length=40, random_patches=2, kernel_sizes=(), masks=True
            )
        )
        fit_patches(network, LabelledCases(x, targets), 3, StopRequest(), verbose=0)
        features = network.embedding(x).double().numpy()
        spread = features.std(0)
        features = (features - features.mean(0)) / np.where(spread > 0, spread, 1)
        answers = [
            Ridge(penalty * features.shape[1] / 100).fit(features, targets).predict(features)
            for penalty in PENALTIES
        ]
        off = [np.abs(network(x).detach().numpy() - one.reshape(-1, 1)).max() for one in answers]
        assert min(off) < 1e-3

    def test_one_case_and_equal_cases(self):
        for n in (1, 4):
            network = RandomPatches(config(groups=2))
            x = torch.from_numpy(cases(1)).float().repeat(n, 1, 1)
            fit_patches(network, LabelledCases(x, torch.arange(n) % 3), 0, StopRequest(), verbose=0)
            assert network(x).isfinite().all()
        assert network(x).argmax(1)[0] == 0  # two of the four cases have the first class


class TestEstimators:
    def test_learns_what_is_easy_in_no_epochs(self):
        model = fast().fit(cases(), labels())
        assert model.score(cases(60, seed=1), labels(60)) > 0.95
        assert isinstance(model.network_, RandomPatches)
        assert model.history_.steps == 0
        assert model.n_examples_ == {"fitted": 36, "held_back": 0}
        probabilities = model.predict_proba(cases(60, seed=1))
        np.testing.assert_allclose(probabilities.sum(1), 1)
        assert probabilities.max(1).mean() > 0.6

    @pytest.mark.parametrize("constant", [0.0, 5.0, -1e6])
    def test_a_channel_that_was_constant_says_nothing_later(self, constant, tmp_path):
        """Nothing could be learnt of it; scaled by next to nothing it outweighed all others."""

        def with_it(X, values):
            return np.concatenate([X, values], 1)

        X, new = cases(), cases(60, seed=1)
        still = np.full((60, 1, 40), constant)
        moved = still + np.random.default_rng(3).normal(size=still.shape)
        classes = fast().fit(with_it(X, still[:36]), labels())
        numbers = fast(ConvTimeNetRegressor).fit(with_it(X, still[:36]), np.arange(36) % 3.0)
        for model in (classes, numbers):
            answers = model.predict(with_it(new, still))
            for other in (moved, still + 1e-3, still + 100):
                np.testing.assert_array_equal(model.predict(with_it(new, other)), answers)
        assert classes.score(with_it(new, moved), labels(60)) > 0.95
        loaded = ConvTimeNetClassifier.load(classes.save(tmp_path / "model"))
        probabilities = classes.predict_proba(with_it(new, still))
        np.testing.assert_array_equal(loaded.predict_proba(with_it(new, moved)), probabilities)

    def test_probabilities_know_what_is_hard(self):
        """Of labels drawn at random nothing can be learnt, and none is told with confidence."""
        y = np.random.default_rng(0).permutation(labels(60))
        model = fast().fit(cases(60), y)
        assert model.predict_proba(cases(60, seed=1)).max(1).mean() < 0.55

    def test_numbers_in_their_unit(self):
        pace = np.random.default_rng(0).uniform(0.3, 1.2, size=80)
        X = np.sin(np.arange(50) * pace[:, None])[:, None]
        model = fast(ConvTimeNetRegressor).fit(X[:60], 1e6 + 1e4 * pace[:60])
        assert model.score(X[60:], 1e6 + 1e4 * pace[60:]) > 0.9

    def test_same_seed_same_answers_other_seed_others(self):
        def answers(seed):
            return fast(random_state=seed).fit(cases(), labels()).predict_proba(cases(9, seed=2))

        np.testing.assert_array_equal(answers(1), answers(1))
        assert np.abs(answers(1) - answers(2)).max() > 1e-3

    def test_global_generators_are_left_alone(self):
        torch.manual_seed(5)
        before = torch.get_rng_state(), np.random.get_state(legacy=False)  # noqa: NPY002
        fast().fit(cases(), labels()).predict(cases(3))
        torch.testing.assert_close(torch.get_rng_state(), before[0])
        np.testing.assert_equal(np.random.get_state(legacy=False), before[1])  # noqa: NPY002

    def test_saved_and_loaded(self, tmp_path):
        for kind, y in ((ConvTimeNetClassifier, labels()), (ConvTimeNetRegressor, np.arange(36.0))):
            model = fast(kind).fit(cases(), y)
            again = kind.load(model.save(tmp_path / kind.__name__))
            np.testing.assert_array_equal(again.predict(cases(9)), model.predict(cases(9)))
            assert again.get_params() == model.get_params()
            assert again.network_.config == model.network_.config
            card = (tmp_path / kind.__name__ / "README.md").read_text()
            assert "- protocol: honest, seed 2023, solved in closed form" in card
            assert "- quality: fast" in card

    @pytest.mark.parametrize(
        "format", ["onnx", pytest.param("torch-export", marks=pytest.mark.slow)]
    )
    def test_exported(self, tmp_path, format):
        X = [case[:, : 30 + i % 8] for i, case in enumerate(cases())]
        X[3][:, 4:7] = np.nan
        # all kinds of patches; for the second format, which is traced alike, one will do
        kinds = (
            {"random_patches": 4, "channel_sets": 2} if format == "onnx" else {"random_patches": 1}
        )
        model = fast(model=kinds).fit(X, labels())
        parity = export(model, tmp_path / "m", format, data=X)
        assert parity["same_class"] == 1.0
        assert parity["max_difference"] < 1e-3
        with pytest.raises(ConfigError, match="has none; export it as 'onnx'"):
            export(model, tmp_path / "q", "onnx-int8", data=X)
        if format == "onnx":
            found = runtime.load(tmp_path / "m")
            assert isinstance(found, runtime.ClassifyRuntime)
            np.testing.assert_allclose(found.predict_proba(X), model.predict_proba(X), atol=1e-3)

    def test_unequal_cases_each_by_itself(self):
        X = [case[:, : 25 + i % 9] for i, case in enumerate(cases())]
        model = fast().fit(X, labels())
        together = model.predict_proba([*X, cases(1, L=90)[0]])
        alone = np.concatenate([model.predict_proba([case]) for case in [*X, cases(1, L=90)[0]]])
        np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)

    def test_weights_of_0_leave_cases_out(self):
        X, y = cases(), labels()
        weight = np.ones(36)
        weight[-6:] = 0
        whole = fast().fit(X[:-6], y[:-6]).predict_proba(X)
        np.testing.assert_array_equal(fast().fit(X, y, weight).predict_proba(X), whole)
        balanced = fast(class_weight={"slow": 9.0, "middle": 1.0, "quick": 1.0}).fit(X, y)
        shift = balanced.predict_proba(X)[:, 2] - fast().fit(X, y).predict_proba(X)[:, 2]
        assert shift.mean() > 0

    def test_what_trains_no_network_takes_no_settings_of_training(self):
        for name, value in (("n_epochs", 3), ("lr", 0.1), ("batch_size", 8), ("time_limit", 5)):
            message = f"quality='fast'.*{name}.*quality='auto'"
            with pytest.raises(ConfigError, match=message):
                fast(**{name: value}).fit(cases(), labels())
        for name, value in (("epochs", 3), ("refit", "continue"), ("validation_fraction", 0.2)):
            with pytest.raises(ConfigError, match=f"quality='fast'.*training=.*{name}"):
                fast(training={name: value}).fit(cases(), labels())
        with pytest.raises(ConfigError, match=r"quality='fast'.*precision"):
            fast(precision="int8").fit(cases(), labels())
        with pytest.raises(ConfigError, match=r"quality='fast'.*preset"):
            fast(preset="Epilepsy").fit(cases(), labels())
        with pytest.raises(ConfigError, match="quality must be one of 'fast', 'auto'"):
            ConvTimeNetClassifier(quality="most").fit(cases(), labels())
        with pytest.raises(ConfigError, match=r"quality='fast'.*kernel_sizes.*quality='auto'"):
            fast(model={"kernel_sizes": (3,)}).fit(cases(), labels())
        with pytest.raises(ConfigError, match="random_patches must be 0 to forecast"):
            ModelConfig.forecasting(context_length=8, horizon=2, random_patches=2, kernel_sizes=())

    def test_finished_work_is_not_repeated(self, tmp_path, monkeypatch):
        model = fast(random_state=None).fit(cases(), labels(), resume=tmp_path / "states")
        monkeypatch.setattr("convtimenet.training.closed_form.solve._fitted", None)
        again = fast(random_state=None).fit(cases(), labels(), resume=tmp_path / "states")
        np.testing.assert_array_equal(again.predict_proba(cases(9)), model.predict_proba(cases(9)))
        assert again.history_.to_dict() == model.history_.to_dict()

    def test_given_cases_are_scored(self):
        model = fast().fit(cases(), labels(), valid=(cases(30, seed=4), labels(30)))
        found = model.history_.epochs[0].valid
        assert found["accuracy"] == model.score(cases(30, seed=4), labels(30))
        truth = np.searchsorted(model.classes_, labels(30))
        told = model.predict_proba(cases(30, seed=4))[np.arange(30), truth]
        assert found["loss"] == pytest.approx(-np.log(told).mean(), rel=1e-4)
        assert model.n_examples_ == {"fitted": 36, "held_back": 30}

    def test_a_stop_between_batches(self):
        network = RandomPatches(config(groups=2))
        x, y = torch.from_numpy(cases(90)).float(), torch.arange(90) % 3
        request = StopRequest()
        request.signal = 2
        history = fit_patches(network, LabelledCases(x, y), 0, request, verbose=0)
        assert history.best_epoch == 0
        assert history.stopped == "stopped by SIGINT"

    def test_what_is_hidden_is_missed(self):
        X = np.random.default_rng(0).normal(scale=0.1, size=(40, 2, 60))
        y = np.arange(40) % 2
        X[y == 1, 0, 20:30] += 2.0
        found = fast().fit(X, y).explain(X[:8], spans=6)
        assert np.isfinite(found.importance).all()
        strongest = np.abs(found.importance).reshape(8, -1).argmax(1)
        assert (strongest == 2).mean() > 0.7  # the third span of the first channel
        assert np.isnan(found.left).all()

    def test_the_report_tells_of_random_patches(self, tmp_path):
        numbers = np.arange(36.0)
        for model, y in (
            (fast().fit(cases(), labels()), labels()),
            (fast(ConvTimeNetRegressor).fit(cases(), numbers), numbers),
        ):
            path = tmp_path / "r.html"
            cases_report(path, model, as_cases(cases(), y), title="t", facts={})
            text = re.sub(r"<[^>]*>", " ", path.read_text())
            assert "24 groups of 64 random patches of 9 points" in text
            assert "Solved in closed form" in text
            assert "Residual scales" not in text
            assert "lines below" not in text
            drawn = [unquote(one) for one in re.findall(r"svg\+xml,([^']+)", path.read_text())]
            assert any("drop in probability" in one or ">change<" in one for one in drawn)
            assert not any(">patches<" in one for one in drawn)

    @pytest.mark.parametrize(
        ("cases", "channels", "groups", "sets"),
        [
            (100, 1, 24, 1), (100, 16, 24, 1), (10_000, 2, 12, 1), (10**6, 2, 4, 1),
            (100, 17, 24, 5), (100, 28, 24, 7), (100, 90, 24, 23), (100, 1000, 24, 24),
            (2000, 1000, 24, 10), (10_000, 1000, 12, 4), (10**6, 1000, 4, 4),
        ],
    )  # fmt: skip
    def test_numbers_follow_from_cases_and_channels(self, cases, channels, groups, sets):
        found = fast_cases(cases, channels).model
        assert (found["random_patches"], found["channel_sets"]) == (groups, sets)

    def test_many_channels_are_all_read(self):
        torch.manual_seed(0)
        for channels in (17, 60, 400):
            settings = config(
                24, channels, channel_sets=fast_cases(100, channels).model["channel_sets"]
            )
            module = PatchFeatures(settings)
            read = torch.cat([module.get_buffer(f"channels_{g}") for g in range(24)]).bincount()
            assert len(read) == channels
            assert (read > 0).float().mean() > 0.98

    def test_one_channel_of_many_that_tells(self):
        """About .9 with five sets of channels in each group; .7 with one."""
        scores = []
        for seed in range(3):
            draw = np.random.default_rng(seed)
            y = np.arange(160) % 2
            X = draw.normal(scale=0.5, size=(160, 20, 60))
            phase = draw.uniform(0, 6, size=(160, 1))
            X[:, 0] += np.sin(np.linspace(0, 1, 60) * 2 * np.pi * (2 + 2 * y[:, None]) + phase)
            model = fast(random_state=seed).fit(X[:60], y[:60])
            assert model.network_.config.channel_sets == 5
            scores.append(model.score(X[60:], y[60:]))
        assert np.mean(scores) > 0.82

    def test_fused_is_the_same(self):
        model = fast().fit(cases(), labels())
        x = torch.randn(3, 2, 40)
        torch.testing.assert_close(fuse(model.network_)(x), model.network_(x), rtol=0, atol=0)
        assert TrainConfig.from_dict(model.train_config_.to_dict()) == model.train_config_


@needs_data
@pytest.mark.parametrize(("name", "least"), [("ERing", 0.97), ("JapaneseVowels", 0.97)])
def test_real_sets(name, least, monkeypatch):
    monkeypatch.setenv("CONVTIMENET_DATA", str(DATA))
    train, test = load_classification(name)
    assert fast().fit(train).score(test) > least


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("train.npz", X=cases(), y=labels())
    np.savez("test.npz", X=cases(12, seed=3), y=labels(12))
    outputs = ["--report=r.html", "--json=r.json", "--save=model", "--quiet"]
    assert main(["classify", "train.npz", "test.npz", "--quality=fast", *outputs]) == 0
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["preset"] == "fast"
    shown = capsys.readouterr().out
    assert "solved in closed form" in shown
    assert "epoch" not in shown
    assert main(["classify", "test.npz", "--load=model", "--out=again.csv", "--quiet"]) == 0
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "test-classes.csv").read_bytes()
    assert main(["classify", "test.npz", "--load=model", "--quality=fast", "--quiet"]) == 2
    assert "quality" in capsys.readouterr().err
