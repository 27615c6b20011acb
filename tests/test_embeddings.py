"""Features of cases by the package's weights, and what estimators of cases give as embeddings."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, ConvTimeNetRegressor
from convtimenet.config import ModelConfig
from convtimenet.data.windows import LabelledCases, pad_cases
from convtimenet.errors import ConfigError
from convtimenet.export import export
from convtimenet.network.reconstruction.features import (
    LENGTHS,
    PretrainedCases,
    PretrainedFeatures,
    resampled,
)
from convtimenet.network.reconstruction.seasons import channels_of
from convtimenet.network.reconstruction.weights import load_pretrained
from convtimenet.training.closed_form.patches import fit_patches
from convtimenet.training.interrupt import StopRequest
from convtimenet.training.loop import _Training

ONE = {"model": {"random_patches": 1}, "verbose": 0, "device": "cpu"}
TINY = {
    "model": {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,), "random_patches": 0},
    "n_epochs": 1,
    "verbose": 0,
    "device": "cpu",
}


def waves(n: int = 24, C: int = 2, L: int = 40) -> tuple[np.ndarray, np.ndarray]:
    numbers, t = np.random.default_rng(0), np.arange(L)
    slow = np.arange(n) % 2
    period = 6.0 + 5 * slow[:, None, None] + numbers.random((n, C, 1))
    X = np.sin(2 * np.pi * t / period + 6 * numbers.random((n, C, 1)))
    return X.astype(np.float32), np.array(["fast", "slow"])[slow]


@pytest.fixture(scope="module")
def fitted() -> ConvTimeNetClassifier:
    return ConvTimeNetClassifier(init_from="pretrained", **ONE).fit(*waves())


def features(C: int, groups: int = 1, L: int = 40) -> PretrainedFeatures:
    torch.manual_seed(0)
    config = ModelConfig.classification(
        channels=C, context_length=L, n_classes=2, random_patches=groups, kernel_sizes=(),
        masks=True, pretrained=True,
    )  # fmt: skip
    found = PretrainedFeatures(config)
    load_pretrained(found.network)
    return found.eval()


class TestFeatures:
    def test_resampled_is_linear_interpolation_up_to_the_last_known_value(self):
        x = torch.from_numpy(waves(3)[0])
        known = torch.ones_like(x, dtype=torch.bool)
        known[1, :, 30:] = False
        known[2, 0, 5] = False
        values, seen = resampled(x, known, 64)
        for case, end in ((0, 40), (1, 30), (2, 40)):
            at = np.linspace(0, end - 1, 64)
            for c in range(2):
                expected = np.interp(at, np.arange(end), x[case, c, :end].numpy())
                there = np.ones(64, dtype=bool)
                if (case, c) == (2, 0):
                    there = (np.floor(at) != 5) & (np.floor(at) != 4)
                    there |= at == 4
                np.testing.assert_array_equal(seen[case, c].numpy(), there)
                expected = np.where(there, expected, 0)
                np.testing.assert_allclose(values[case, c], expected, atol=1e-5, rtol=0)

    def test_as_computed_plainly(self):
        """One case after the other, one view after the other, one channel after the other."""
        module, (x, _) = features(2, groups=6), waves(2)
        found = module(torch.from_numpy(x))[:, module.patches.outputs :].detach().numpy()
        for case, answer in zip(x, found, strict=True):
            expected = []
            for values in case:
                for length in LENGTHS:
                    at = np.linspace(0, len(values) - 1, length)
                    view = 2 * np.interp(at, np.arange(len(values)), values)[None]
                    view = torch.from_numpy(view).float()
                    read = channels_of(view, torch.ones_like(view, dtype=torch.bool), (1, 1))
                    tokens = [module.network.embedding(module.network.read(read))]
                    for block in module.network.blocks:
                        tokens.append(block(tokens[-1]))
                    for w in (tokens[0], tokens[2], tokens[4], tokens[6]):
                        w = w[:, 0].detach().numpy()
                        expected += [w.mean(1), w.max(1), w.std(1)]
            np.testing.assert_allclose(answer, np.concatenate(expected), atol=2e-4, rtol=1e-3)

    def test_neither_batch_nor_padding_changes_them(self):
        module, x = features(3, groups=9), torch.from_numpy(waves(4, 3)[0])
        whole = module(x)
        one = torch.cat([module(x[i : i + 1]) for i in range(4)])
        torch.testing.assert_close(one, whole, rtol=1e-4, atol=1e-4)
        known = torch.ones(4, 3, 57, dtype=torch.bool)
        known[..., 40:] = False
        padded = torch.nn.functional.pad(x, (0, 17), value=9.0)
        torch.testing.assert_close(module(padded, known), whole, rtol=1e-4, atol=1e-4)

    def test_many_channels_are_added_up_with_signs(self):
        module = features(11, groups=24)
        assert module.sums.shape == (8, 11)
        assert module.sums.abs().sum(0).tolist() == [1.0] * 11
        assert features(11, groups=4).sums.shape == (1, 11)
        few = features(5, groups=24)
        assert few.sums.equal(torch.eye(5))
        n = few.patches.outputs
        # patches and tokens have the same share in the variance of all
        np.testing.assert_allclose((few.emphasis[:n] ** 2).sum(), few.outputs / 2)
        np.testing.assert_allclose((few.emphasis[n:] ** 2).sum(), few.outputs / 2)


class TestPretrainedCases:
    def test_learns_from_few(self, fitted):
        X, y = waves(40)
        assert isinstance(fitted.network_, PretrainedCases)
        assert fitted.history_.stopped == "solved in closed form"
        assert fitted.score(X, y) >= 0.95

    def test_saved_and_loaded(self, fitted, tmp_path):
        X, _ = waves(6)
        fitted.save(tmp_path / "model")
        loaded = ConvTimeNetClassifier.load(tmp_path / "model")
        assert loaded.init_from == "pretrained"
        np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
        np.testing.assert_array_equal(loaded.transform(X), fitted.transform(X))

    def test_same_seed_same_answers(self, fitted):
        X, y = waves()
        again: Any = clone(fitted)
        again.fit(X, y)
        np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))

    def test_unequal_lengths_and_gaps(self):
        X, y = waves()
        some = [case[:, : 20 + i % 20].copy() for i, case in enumerate(X)]
        some[3][0, 4:9] = np.nan
        model = ConvTimeNetRegressor(init_from="pretrained", **ONE)
        model.fit(some, (y == "slow").astype(float))
        alone = np.concatenate([model.predict([case]) for case in some[:4]])
        np.testing.assert_allclose(model.predict(some)[:4], alone, atol=1e-4)

    @pytest.mark.parametrize(
        ("settings", "named"),
        [
            ({"quality": "fast"}, "quality='fast'"),
            ({"n_epochs": 3}, "n_epochs"),
            ({"preset": "Epilepsy"}, "preset"),
        ],
    )
    def test_what_would_have_no_effect_is_refused(self, settings, named):
        model = ConvTimeNetClassifier(init_from="pretrained", verbose=0, **settings)
        with pytest.raises(ConfigError, match=rf"init_from='pretrained' uses .*{named}"):
            model.fit(*waves())

    def test_refused_elsewhere(self):
        with pytest.raises(ConfigError, match=r"pretrain\(\) would have no effect"):
            ConvTimeNetClassifier(init_from="pretrained", verbose=0).pretrain(waves()[0])
        with pytest.raises(ConfigError, match="use quality='pretrained'"):
            ConvTimeNetForecaster(2, init_from="pretrained", verbose=0).fit(np.arange(200.0))

    def test_a_setting_of_training_needs_a_rate(self):
        given: dict[str, Any] = {"training": {"weight_decay": 0.1}}
        with pytest.raises(ConfigError, match="weight_decay"):
            ConvTimeNetClassifier(init_from="pretrained", verbose=0, **given).fit(*waves())

    @pytest.mark.slow
    def test_exported(self, fitted, tmp_path):
        parity = export(fitted, tmp_path / "graph", "torch-export", data=waves(4)[0])
        assert parity["same_class"] == 1
        assert parity["max_difference"] < 1e-4


TUNED = {**ONE, "training": {"encoder_rate": 1.0, "epoch_size": 8}, "n_epochs": 2, "batch_size": 4}


def encoder(model: Any) -> torch.Tensor:
    network = model.network_.embedding.network
    return torch.cat([value.flatten() for value in network.state_dict().values()])


@pytest.fixture(scope="module")
def tuned() -> ConvTimeNetClassifier:
    return ConvTimeNetClassifier(init_from="pretrained", **TUNED).fit(*waves())


class TestFineTuned:
    def test_the_weights_move_and_the_map_is_solved_on_them(self, tuned, fitted):
        moved = (encoder(tuned) - encoder(fitted)).abs()
        # two epochs of two steps, each at most about the rate: 5e-4, and half of it
        assert 1e-4 < float(moved.max()) < 4 * 5e-4
        assert tuned.history_.stopped == "all 2 epochs done"
        X, y = waves(40)
        assert tuned.score(X, y) >= 0.95
        X, y = waves()
        x = torch.from_numpy(pad_cases(X, tuned.scaler_, X.shape[-1]))
        cases = LabelledCases(x, torch.from_numpy(np.where(y == "slow", 1, 0)))
        solved = tuned.network_.project.weight.clone()
        fit_patches(tuned.network_, cases, 2023, StopRequest(), verbose=0)
        torch.testing.assert_close(tuned.network_.project.weight, solved, rtol=1e-4, atol=1e-6)

    def test_saved_and_loaded(self, tuned, tmp_path):
        X, _ = waves(6)
        tuned.save(tmp_path / "model")
        loaded = ConvTimeNetClassifier.load(tmp_path / "model")
        np.testing.assert_array_equal(loaded.predict_proba(X), tuned.predict_proba(X))

    def test_stopped_and_resumed_to_the_same_bits(self, tuned, tmp_path, monkeypatch):
        whole, steps = _Training._one_step, []

        def stopping(self: _Training, index: torch.Tensor) -> None:
            steps.append(0)
            if len(steps) == 2:
                signal.raise_signal(signal.SIGINT)
            whole(self, index)

        monkeypatch.setattr(_Training, "_one_step", stopping)
        model = ConvTimeNetClassifier(init_from="pretrained", **TUNED)
        with pytest.raises(KeyboardInterrupt):
            model.fit(*waves(), resume=tmp_path)
        model.fit(*waves(), resume=tmp_path)
        assert len(steps) == 4
        assert torch.equal(encoder(model), encoder(tuned))
        X, _ = waves(6)
        np.testing.assert_array_equal(model.predict_proba(X), tuned.predict_proba(X))

    def test_numbers_of_many_channels(self):
        X, y = waves(C=9)  # more than are read each for itself
        model = ConvTimeNetRegressor(init_from="pretrained", **TUNED)
        model.fit(X, (y == "slow").astype(float))
        assert model.score(X, (y == "slow").astype(float)) > 0.8


class TestTransform:
    def test_features_with_names(self, fitted):
        X, _ = waves(5)
        found = fitted.transform(X)
        size = fitted.network_.embedding.outputs
        assert found.dtype == np.float32
        assert found.shape == (5, size)
        names = fitted.get_feature_names_out()
        assert names.tolist() == [f"convtimenetclassifier{i}" for i in range(size)]

    def test_the_head_reads_them(self):
        X, y = waves()
        model = ConvTimeNetClassifier(**TINY).fit(X, y)
        found = model.transform(X)
        assert found.shape == (24, 8)
        with torch.no_grad():
            outputs = model.fused_.head.project(torch.from_numpy(found)).double()
        np.testing.assert_allclose(outputs.softmax(1), model.predict_proba(X), atol=1e-6)

    def test_members_side_by_side(self):
        X, y = waves()
        model = ConvTimeNetClassifier(**{**TINY, "quality": "best"}, time_limit=0.01).fit(X, y)
        assert model.transform(X[:3]).shape == (3, 8 * max(1, len(model.members_)))

    def test_in_a_pipeline(self):
        X, y = waves()
        fast = ConvTimeNetClassifier(quality="fast", **ONE)
        pipeline = make_pipeline(fast, LogisticRegression(max_iter=200)).fit(X[:16], y[:16])
        assert pipeline.score(X[16:], y[16:]) >= 0.75
        frame = fast.set_output(transform="pandas").transform(X[:2])
        assert list(frame.columns[:2]) == ["convtimenetclassifier0", "convtimenetclassifier1"]

    def test_needs_a_fit(self):
        with pytest.raises(NotFittedError):
            ConvTimeNetClassifier(init_from="pretrained").transform(waves()[0])
