"""A trained network mixed with random patches: the mixture, the share, and all that carries it."""

import re
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from test_random_patches import cases, labels

from convtimenet import ConvTimeNetClassifier, ConvTimeNetRegressor, ModelConfig, fuse, runtime
from convtimenet.config import TrainConfig
from convtimenet.data.labelled.cases import as_cases
from convtimenet.data.windows import LabelledCases
from convtimenet.export import export
from convtimenet.network.model import PRIOR_SHARE, ConvTimeNet, count_parameters
from convtimenet.network.random_patches import RandomPatches
from convtimenet.report import cases_report
from convtimenet.training.closed_form.patches import fit_patches, posterior_share
from convtimenet.training.interrupt import StopRequest
from convtimenet.training.loop import train

CPU = torch.device("cpu")
SIZES = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,), "random_patches": 2}


def network(**settings: Any) -> Any:
    torch.manual_seed(0)
    given = {"channels": 2, "context_length": 40, "n_classes": 3, **SIZES, "masks": True}
    return ConvTimeNet(ModelConfig.classification(**{**given, **settings}))


def examples(n: int = 36) -> LabelledCases:
    return LabelledCases(torch.from_numpy(cases(n)).float(), torch.arange(n) % 3)


def mixture(kind: Any = ConvTimeNetClassifier, **settings: Any) -> Any:
    given = {"model": SIZES, "n_epochs": 2, "device": "cpu", "verbose": 0}
    return kind(**{**given, **settings})


@cache
def fitted(kind: Any = ConvTimeNetClassifier) -> Any:
    """To unequal cases with a gap."""
    return mixture(kind).fit(
        unequal(), labels() if kind is ConvTimeNetClassifier else np.arange(36.0)
    )


def unequal() -> list[np.ndarray]:
    found = [case[:, : 30 + i % 8] for i, case in enumerate(cases())]
    found[3][:, 4:7] = np.nan
    return found


class TestNetwork:
    @pytest.mark.parametrize("fused", [False, True])
    def test_scores_are_mixed_by_the_share(self, fused):
        model = network()
        fit_patches(model.patches, examples(), 0, StopRequest(), verbose=0)
        x = examples(9).x
        known = torch.rand(x.shape) < 0.9
        model.eval()
        with torch.no_grad():
            stream = model.patches(x, known)
            assert stream.abs().max() > 0.1
            model.granted.fill_(1.0)
            head = model(x, known)
            for share in (0.0, 0.3):
                model.granted.fill_(share)
                answers = (fuse(model) if fused else model)(x, known)
                torch.testing.assert_close(answers, share * head + (1 - share) * stream)

    def test_in_training_the_head_answers_alone(self):
        model = network(dropout=0.0).train()
        x = examples(9).x
        before = model(x)
        fit_patches(model.patches, examples(), 0, StopRequest(), verbose=0)
        model.granted.fill_(0.5)
        assert torch.equal(model(x), before)

    def test_its_weights_are_those_of_a_network_without(self):
        """The stream is drawn last, so that a seed gives the same network."""
        weights = network().state_dict()
        for name, value in network(random_patches=0).state_dict().items():
            assert torch.equal(weights[name], value)

    def test_parameters_solved_for_count(self):
        model = network()
        alone = count_parameters(network(random_patches=0))
        assert count_parameters(model) == alone + 3 * (2 * 320 + 1)
        assert count_parameters(fuse(model).patches) == 3 * (2 * 320 + 1)

    def test_the_stream_does_not_change_in_training(self):
        model = network()
        settings = {"schedule": "cosine", "patience": None, "augment": True, "weight_decay": 0.1}
        config = TrainConfig(epochs=2, batch_size=9, lr=1e-2, device="cpu", **settings)
        history = train(model, examples(), examples(9), config, device=CPU, verbose=0)
        other = network().patches
        fit_patches(other, examples(), config.seed, StopRequest(), verbose=0)
        for name, value in other.state_dict().items():
            assert torch.equal(model.patches.state_dict()[name], value)
        assert history.granted == float(model.granted)


class TestShare:
    def test_it_is_the_posterior_mean(self):
        """By numerical integration of prior times likelihood."""
        numbers = np.random.default_rng(0)
        head, stream = numbers.normal(size=(2, 12, 3))
        y, weight = numbers.integers(3, size=12), numbers.uniform(0.5, 2, size=12)
        effective = weight.sum() ** 2 / (weight**2).sum()
        grid = (np.arange(2000) + 0.5) / 2000
        scores = (1 - grid[:, None, None]) * stream + grid[:, None, None] * head
        told = np.take_along_axis(scores, np.broadcast_to(y[:, None], (2000, 12, 1)), 2)[..., 0]
        losses = np.log(np.exp(scores).sum(2)) - told
        density = grid * (1 - grid) ** 3 * np.exp(-effective * (losses @ weight) / weight.sum())
        tensors = [torch.from_numpy(one) for one in (head, stream, y, weight)]
        found = posterior_share("classify", *tensors)
        assert found == pytest.approx((grid * density).sum() / density.sum(), abs=1e-3)

        target = numbers.normal(size=(12, 1))
        errors = np.square(scores[:, :, :1] - target)[..., 0] @ weight / weight.sum()
        density = grid * (1 - grid) ** 3 * errors ** (-effective / 2)
        tensors = [torch.from_numpy(one) for one in (head[:, :1], stream[:, :1], target, weight)]
        found = posterior_share("regress", *tensors)
        assert found == pytest.approx((grid * density).sum() / density.sum(), abs=1e-3)

    def test_few_cases_leave_a_third_and_many_choose(self):
        y = torch.arange(600) % 3
        right = 4.0 * torch.eye(3, dtype=torch.float64)[y]
        nothing = torch.zeros_like(right)
        for n, low, high in ((1, 0.3, 0.5), (600, 0.9, 1.0)):
            one = torch.ones(n, dtype=torch.float64)
            share = posterior_share("classify", right[:n], nothing[:n], y[:n], one)
            assert low < share < high
            same = posterior_share("classify", right[:n], right[:n], y[:n], one)
            assert same == pytest.approx(PRIOR_SHARE, abs=1e-3)
        wrong = right.roll(1, 1)
        every = torch.ones(600, dtype=torch.float64)
        share = posterior_share("classify", wrong, right, y, every)
        assert share < 0.05

    def test_it_is_chosen_on_the_validation_split(self):
        model = fitted()
        assert model.history_.granted == float(model.network_.granted)
        assert abs(model.history_.granted - PRIOR_SHARE) > 1e-4
        every = mixture(training={"validation_fraction": 0.0}).fit(cases(), labels())
        assert every.history_.granted == pytest.approx(PRIOR_SHARE)

    def test_a_second_training_solves_the_stream_on_all_cases(self):
        X, y = cases(), labels()
        model = mixture().fit(X, y)
        first = mixture(training={"refit": False}).fit(X, y)
        assert model.history_.refitted
        assert model.history_.granted == first.history_.granted
        scaled = LabelledCases(
            torch.from_numpy(model.scaler_.apply(X.astype(np.float32))).float(),
            torch.from_numpy(np.searchsorted(model.classes_, y)),
        )
        other = RandomPatches(model.network_.config)
        other.load_state_dict(first.network_.patches.state_dict())
        fit_patches(other, scaled, 2023, StopRequest(), verbose=0)
        torch.testing.assert_close(
            other.project.weight, model.network_.patches.project.weight, rtol=1e-3, atol=1e-4
        )


class TestCarried:
    @pytest.mark.parametrize("kind", [ConvTimeNetClassifier, ConvTimeNetRegressor])
    def test_saved_and_loaded(self, tmp_path, kind):
        model = fitted(kind)
        again = kind.load(model.save(tmp_path / "m"))
        np.testing.assert_array_equal(again.predict(unequal()), model.predict(unequal()))
        assert float(again.network_.granted) == model.history_.granted == again.history_.granted

    def test_exported_with_the_map_of_the_stream_in_float(self, tmp_path):
        model, X = fitted(), unequal()
        parity = export(model, tmp_path / "m", "onnx-int8", data=X)
        assert parity["max_difference"] < 0.02
        found = runtime.load(tmp_path / "m")
        assert isinstance(found, runtime.ClassifyRuntime)
        expected, answers = model.predict_proba(X), found.predict_proba(X)
        np.testing.assert_allclose(answers, expected, atol=0.02)
        assert parity["same_class"] == (answers.argmax(1) == expected.argmax(1)).mean()
        graph = onnx.load(tmp_path / "m" / "model.onnx").graph
        kept = [one for one in graph.initializer if "patches.project.weight" in one.name]
        assert [one.data_type for one in kept] == [onnx.TensorProto.FLOAT]
        small = [one.name for one in graph.initializer if one.data_type == onnx.TensorProto.INT8]
        assert any("head.project.weight" in name for name in small)

    def test_each_case_by_itself_also_longer_ones(self):
        model = fitted()
        X = [*unequal(), cases(1, L=90)[0]]
        alone = np.concatenate([model.predict_proba([case]) for case in X])
        np.testing.assert_allclose(model.predict_proba(X), alone, rtol=1e-4, atol=1e-5)

    def test_explained_and_told_in_the_report(self, tmp_path):
        model, X = fitted(), as_cases(unequal(), labels())
        found = model.explain(X, spans=4)
        assert np.isfinite(found.importance[~np.isnan(found.importance)]).all()
        assert np.isfinite(found.left).any()  # of the trained patches
        cases_report(tmp_path / "r.html", model, X, title="t", facts={})
        text = re.sub(r"<[^>]*>", " ", (tmp_path / "r.html").read_text()).replace("&nbsp;", " ")
        assert "2 groups of 64 random patches of 9 points" in text
        assert f"whose share is {100 * model.history_.granted:.0f} %" in text
        assert "Deformable patches" in text
