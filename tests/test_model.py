"""The network: shapes, channel independence, live gradients, and its inference form."""

import copy

import pytest
import torch
from common import randomised
from torch import nn

import convtimenet
from convtimenet.config import ModelConfig
from convtimenet.network.inference import FusedBlock, FusedGELU, fuse
from convtimenet.network.layers import DepthwiseConv
from convtimenet.network.model import ConvTimeNet, count_parameters, deformation

SIZES = {
    "d_model": 8,
    "d_ff": 16,
    "kernel_sizes": (3, 5),
    "patch_size": 8,
    "patch_stride": 4,
}


def forecaster(**settings) -> ConvTimeNet:
    torch.manual_seed(0)
    given = {"context_length": 40, "horizon": 6, **SIZES, **settings}
    return ConvTimeNet(ModelConfig.forecasting(**given))


def classifier(**settings) -> ConvTimeNet:
    torch.manual_seed(0)
    given = {"channels": 3, "context_length": 40, "n_classes": 4, **SIZES, **settings}
    return ConvTimeNet(ModelConfig.classification(**given))


def batch(model: ConvTimeNet, B: int = 5) -> torch.Tensor:
    C = model.config.channels if model.config.head == "classify" else 3
    C = model.config.revin_affine_channels or C
    generator = torch.Generator().manual_seed(2)
    return torch.randn(B, C, model.config.context_length, generator=generator) * 2 + 5


VARIANTS = [
    (forecaster, {}),
    (forecaster, {"deformable": False}),
    (forecaster, {"padding": "none"}),
    (forecaster, {"padding": "zeros", "predictor_init": "default"}),
    (forecaster, {"context_length": 5}),
    (forecaster, {"context_length": 1, "horizon": 1}),
    (forecaster, {"pooling": "mean"}),
    (forecaster, {"pooling": "max"}),
    (forecaster, {"norm": "layer"}),
    (forecaster, {"residual": "plain"}),
    (forecaster, {"small_kernel": 0}),
    (forecaster, {"revin": False}),
    (forecaster, {"revin_subtract_last": True}),
    (forecaster, {"revin_affine_channels": 2}),
    (forecaster, {"embed_norm": True}),
    (forecaster, {"context_length": 400, "kernel_sizes": (4, 9)}),
    (classifier, {}),
    (classifier, {"context_length": 5}),
    (classifier, {"pooling": "flatten"}),
    (classifier, {"pooling": "mean", "norm": "layer"}),
    (classifier, {"embed_norm": False, "deformable": False}),
    (classifier, {"channels": 1}),
]


@pytest.mark.parametrize(("build", "settings"), VARIANTS)
class TestEveryVariant:
    def test_gives_gradients_to_every_weight(self, build, settings):
        model = build(**settings).train()
        x = batch(model)
        output = model(x)
        for _ in range(2):  # from the second step on, zero-started layers pass gradients back
            model.zero_grad()
            output = model(x)
            output.square().mean().backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    assert parameter.grad is not None
                    assert torch.isfinite(parameter.grad).all()
                    parameter -= 0.01 * parameter.grad
        last = 2 if model.config.head == "classify" else 3
        assert output.ndim == last
        assert output.shape[0] == 5
        assert output.shape[-1] == model.config.outputs

    def test_fused_form_is_the_same_function(self, build, settings):
        model = randomised(build(**settings))
        x = batch(model)
        with torch.no_grad():
            expected, got = model(x), fuse(model)(x)
        assert expected.std() > 1e-3
        scale = expected.abs().max()
        assert (got - expected).abs().max() <= 1e-5 * scale

    def test_fusing_leaves_the_original_alone(self, build, settings):
        model = randomised(build(**settings)).train()
        before = copy.deepcopy(model.state_dict())
        fused = fuse(model)
        assert model.training
        assert not fused.training
        assert list(model.state_dict()) == list(before)
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        with torch.no_grad():
            for buffer in fused.buffers():
                buffer.zero_()
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_fused_form_has_no_kernels_left_to_merge_and_cannot_be_trained():
    fused = fuse(classifier())
    assert all(isinstance(block, FusedBlock) for block in fused.blocks)
    assert isinstance(fused.embedding.activation, FusedGELU)
    assert not any(isinstance(m, (DepthwiseConv, nn.BatchNorm1d)) for m in fused.modules())
    assert not any(p.requires_grad for p in fused.parameters())


def test_fusing_twice_is_fusing_once():
    model = randomised(classifier())
    x = batch(model)
    once = fuse(model)
    with torch.no_grad():
        assert torch.equal(fuse(once)(x), once(x))


def test_evaluation_never_merges_kernels_in_the_fused_form(monkeypatch):
    model = randomised(forecaster())
    fused = fuse(model)

    def refuse(self):
        raise AssertionError("kernels merged in forward")

    monkeypatch.setattr(DepthwiseConv, "merged", refuse)
    with torch.no_grad():
        fused(batch(model))
        with pytest.raises(AssertionError, match="kernels merged in forward"):
            model(batch(model))


class TestPredictor:
    def gradients_after(self, start: str) -> dict[str, torch.Tensor]:
        model = forecaster(predictor_init=start, dropout=0.0).train()
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        x = torch.randn(16, 2, 40, generator=torch.Generator().manual_seed(3))
        y = torch.randn(16, 2, 6, generator=torch.Generator().manual_seed(4))
        for _ in range(3):
            optimiser.zero_grad()
            (model(x) - y).square().mean().backward()
            optimiser.step()
        predict = model.embedding.patch.predict
        assert predict is not None
        return {name: p.grad for name, p in predict.named_parameters() if p.grad is not None}

    def test_is_alive_when_only_its_last_layer_starts_at_zero(self):
        gradients = self.gradients_after("last_zero")
        assert set(gradients) == {"0.weight", "0.bias", "2.weight", "2.bias"}
        for name, gradient in gradients.items():
            assert (gradient != 0).any(), name
        assert (gradients["2.weight"] != 0).all()

    def test_is_dead_but_for_the_last_bias_when_all_of_it_starts_at_zero(self):
        """SPEC section 6: the authors' form."""
        gradients = self.gradients_after("zero")
        for name in ("0.weight", "0.bias", "2.weight"):
            assert (gradients[name] == 0).all(), name
        assert (gradients["2.bias"] != 0).any()


class TestChannels:
    def test_any_number_of_channels_is_forecast(self):
        model = randomised(forecaster())
        for C in (1, 2, 7):
            assert model(torch.randn(2, C, 40)).shape == (2, C, 6)

    def test_channels_are_independent(self):
        model = randomised(forecaster()).double()
        x = torch.randn(4, 5, 40, dtype=torch.float64)
        with torch.no_grad():
            y = model(x)
            order = torch.tensor([3, 0, 4, 1, 2])
            torch.testing.assert_close(model(x[:, order]), y[:, order])
            torch.testing.assert_close(model(x[:, 1:3]), y[:, 1:3])
            changed = x.clone()
            changed[:, 0] += torch.randn(4, 40, dtype=torch.float64)
            torch.testing.assert_close(model(changed)[:, 1:], y[:, 1:])
            assert not torch.allclose(model(changed)[:, 0], y[:, 0])

    def test_forecasts_follow_shift_and_scale_of_the_context(self):
        model = randomised(forecaster()).double()
        x = torch.randn(4, 2, 40, dtype=torch.float64) * 100
        with torch.no_grad():
            torch.testing.assert_close(model(x * 3 + 50), model(x) * 3 + 50, rtol=1e-6, atol=1e-3)

    def test_affine_revin_serves_its_own_number_of_channels_only(self):
        model = randomised(forecaster(revin_affine_channels=2))
        assert model(torch.randn(3, 2, 40)).shape == (3, 2, 6)
        with pytest.raises(RuntimeError, match="size"):
            model(torch.randn(3, 4, 40))

    def test_a_classifier_reads_all_channels_jointly(self):
        model = randomised(classifier())
        x = torch.randn(4, 3, 40)
        with torch.no_grad():
            assert not torch.allclose(model(x), model(x[:, [1, 0, 2]]))

    def test_longer_cases_are_classified_whole(self):
        model = randomised(classifier())
        x = torch.randn(2, 3, 100)
        with torch.no_grad():
            assert model(x).shape == (2, 4)
            assert not torch.allclose(model(x), model(x[..., :40]))


def test_rows_do_not_influence_each_other_in_evaluation():
    model = randomised(classifier()).double()
    x = torch.randn(6, 3, 40, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(model(x)[2:3], model(x[2:3]))


def test_parameters_of_the_papers_network():
    """By hand from SPEC sections 2 to 4: context 336, horizon 96, paper sizes."""
    D, F, P, H = 64, 256, 32, 96
    N = (336 - P) // 16 + 2
    predictor = (P * 64 + 64) + (64 * 2 + 2)
    blocks = sum(
        D * k + D + D * 3 + D + 2 + 2 * 2 * D + (D * F + F) + (F * D + D)
        for k in (9, 11, 15, 21, 29, 39)
    )
    expected = predictor + (P * D + D) + blocks + D * N * H + H
    model = ConvTimeNet(ModelConfig.forecasting(context_length=336, horizon=96))
    assert count_parameters(model) == expected


class TestDeformation:
    def test_plain_patches_lie_at_their_anchors(self):
        for model in (forecaster(), forecaster(deformable=False)):
            left, right = deformation(model, torch.randn(2, 3, 40))
            N = model.config.n_patches
            assert left.shape == (2, 3, N)
            torch.testing.assert_close(left[1, 2], torch.arange(N) * 4.0)
            torch.testing.assert_close(right, left + 7)

    def test_joint_channels_share_their_patches(self):
        left, right = deformation(randomised(classifier()), torch.randn(2, 3, 40))
        assert left.shape == (2, 1, 10)
        assert (left <= right).all()
        assert left.min() >= 0
        assert right.max() <= 43


def test_public_names_are_what_they_say():
    for name in convtimenet.__all__:
        assert getattr(convtimenet, name) is not None
    assert convtimenet.ConvTimeNet is ConvTimeNet
    with pytest.raises(AttributeError, match="no attribute 'ConvTimeNets'"):
        _ = convtimenet.ConvTimeNets  # pyright: ignore[reportAttributeAccessIssue]
