"""The parts of the network against plain twins, in float64 where values are compared."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convtimenet.network.layers import (
    DepthwiseConv,
    Dropout,
    PointwisePair,
    Residual,
    TokenBatchNorm,
    TokenLayerNorm,
    _block_length,
    banded_conv,
)
from convtimenet.network.patches import DeformablePatch, interpolate
from convtimenet.network.revin import RevIN


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def plain_conv(u: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """(D, R, N) by torch's own grouped convolution with 'same' zero padding."""
    k = weight.shape[1]
    padded = F.pad(u.transpose(0, 1), ((k - 1) // 2, k - 1 - (k - 1) // 2))
    return F.conv1d(padded, weight[:, None], bias, groups=len(weight)).transpose(0, 1)


def patches_of(**given_) -> DeformablePatch:
    values = {
        "channels": 1,
        "patch_size": 8,
        "patch_stride": 4,
        "padding": "repeat",
        "d_model": 5,
        "deformable": True,
        "predictor_init": "last_zero",
    }
    return DeformablePatch(**(values | given_)).double()


def last_bias(patch: DeformablePatch) -> torch.Tensor:
    """Shift and stretch of every patch while the rest of the predictor is zero."""
    assert patch.predict is not None
    bias = patch.predict[2].bias
    assert isinstance(bias, torch.Tensor)
    return bias


class TestBandedConv:
    @settings(deadline=None, max_examples=60)
    @given(st.integers(1, 300), st.integers(1, 60), st.integers(1, 3), st.integers(1, 3))
    def test_equals_conv1d_in_value_and_gradient(self, N, k, D, R):
        made = [random(D, R, N), random(D, k, seed=1), random(D, seed=2)]
        ours = [t.clone().requires_grad_() for t in made]
        plain = [t.clone().requires_grad_() for t in made]
        v, expected = banded_conv(*ours), plain_conv(*plain)
        torch.testing.assert_close(v, expected, rtol=1e-10, atol=1e-11)
        weights = random(*v.shape, seed=3)
        (v * weights).sum().backward()
        (expected * weights).sum().backward()
        for a, b in zip(ours, plain, strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize("k", [1, 2, 3, 8, 37, 40])
    def test_both_sides_of_the_block_boundary(self, k):
        edge = 2 * (max(32, k) + k)
        assert _block_length(edge, k) == edge
        assert _block_length(edge + 1, k) < edge + 1
        for N in (1, edge - 1, edge, edge + 1, edge + max(32, k)):
            u, weight, bias = random(2, 3, N), random(2, k, seed=1), random(2, seed=2)
            torch.testing.assert_close(
                banded_conv(u, weight, bias), plain_conv(u, weight, bias), rtol=1e-10, atol=1e-11
            )

    def test_odd_kernels_agree_with_torchs_own_same_padding(self):
        u, weight, bias = random(2, 3, 90), random(2, 9, seed=1), random(2, seed=2)
        same = F.conv1d(u.transpose(0, 1), weight[:, None], bias, padding="same", groups=2)
        torch.testing.assert_close(banded_conv(u, weight, bias), same.transpose(0, 1))


@pytest.mark.parametrize(("large", "small"), [(9, 3), (5, 5), (8, 3), (7, 4), (6, 2), (3, 1)])
def test_merged_kernels_equal_two_parallel_convolutions(large, small):
    conv = DepthwiseConv(4, large, small).double()
    u = random(4, 3, 50)
    assert conv.small_weight is not None
    assert conv.small_bias is not None
    # SPEC section 3: the small kernel sits at left = (k - small) // 2 of the large one
    left = (large - 1) // 2 - (small - 1) // 2
    assert conv.bias is not None
    weight = F.pad(conv.small_weight[:, 0], (left, large - small - left))
    two = plain_conv(u, conv.weight[:, 0], conv.bias) + plain_conv(u, weight, conv.small_bias)
    torch.testing.assert_close(conv(u), two)
    parallel = plain_conv(u, conv.weight[:, 0], conv.bias) + plain_conv(
        u, conv.small_weight[:, 0], conv.small_bias
    )
    torch.testing.assert_close(conv(u), parallel)


def test_without_small_kernel_the_large_one_works_alone():
    conv = DepthwiseConv(4, 7, 0).double()
    assert {name for name, _ in conv.named_parameters()} == {"weight", "bias"}
    u = random(4, 2, 20)
    assert conv.bias is not None
    torch.testing.assert_close(conv(u), plain_conv(u, conv.weight[:, 0], conv.bias))


class TestInterpolate:
    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 10_000), st.integers(2, 9), st.integers(1, 5), st.integers(1, 3))
    def test_equals_numpy_interp_per_channel(self, seed, P, S, C):
        N, R = 6, 2
        T = (N - 1) * S + P
        x = random(R, C, T, seed=seed)
        first = torch.arange(N) * S
        draw = np.random.default_rng(seed)
        edges = np.sort(draw.uniform(0, T - 1, size=(R, N, 2)))
        edges[0, 0] = 0, T - 1  # the whole series, both ends included
        left, right = torch.from_numpy(edges).unbind(-1)
        got = interpolate(x, left - first, right - first, P, S)
        for r in range(R):
            for i in range(N):
                at = np.linspace(edges[r, i, 0], edges[r, i, 1], P)
                for c in range(C):
                    expected = np.interp(at, np.arange(T), x[r, c].numpy())
                    np.testing.assert_allclose(got[r, i, :, c], expected, atol=1e-11)

    def test_float32_positions_stay_exact_on_a_million_steps(self):
        P, S, T = 32, 16, 1_000_000
        N = (T - P) // S + 1
        left = torch.full((1, N), 0.3)
        right = left + P - 1
        right[0, -1], left[0, -1] = P - 1, -0.7
        x = torch.sin(torch.arange(T, dtype=torch.float64) / 3)[None, None]
        fine = interpolate(x, left.double(), right.double(), P, S)
        coarse = interpolate(x.float(), left, right, P, S)
        error = (coarse.double() - fine).abs().max()
        assert error < 2e-6  # SPEC section 6: normalised positions are off by 1e-4 and more

    def test_gradients_reach_series_and_edges(self):
        x = random(2, 2, 20).requires_grad_()
        # away from whole steps, where linear interpolation has a kink
        left = torch.tensor([[0.31, -1.27], [0.73, 0.11]], dtype=torch.float64).requires_grad_()
        right = (left.detach() + 6.17).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda *args: interpolate(*args, patch_size=7, patch_stride=5), (x, left, right)
        )


class TestDeformablePatch:
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("padding", ["repeat", "zeros", "none"])
    @pytest.mark.parametrize("length", [8, 19, 64])
    def test_starts_as_plain_patching(self, channels, padding, length):
        for start in ("last_zero", "zero"):
            patch = patches_of(channels=channels, padding=padding, predictor_init=start)
            x = patch.pad(random(3, channels, length))
            plain = x.unfold(-1, 8, 4).permute(0, 2, 3, 1)
            torch.testing.assert_close(patch.sample(x), plain)

    def test_uniform_and_deformable_twins_share_their_output_at_the_start(self):
        deformable, uniform = patches_of(), patches_of(deformable=False)
        uniform.project.load_state_dict(deformable.project.state_dict())
        x = random(3, 1, 30)
        torch.testing.assert_close(deformable(x), uniform(x))

    def test_default_start_deforms(self):
        torch.manual_seed(0)
        patch = patches_of(predictor_init="default")
        x = patch.pad(random(2, 1, 30))
        left, right = patch.boxes(x)
        assert not torch.allclose(left, torch.zeros_like(left))
        assert not torch.allclose(right, torch.full_like(right, 7.0))

    def test_boxes_have_right_gradients(self):
        torch.manual_seed(1)
        patch = patches_of(patch_size=4, patch_stride=3, predictor_init="default", d_model=2)
        x = patch.pad(random(2, 1, 14)).requires_grad_()
        assert torch.autograd.gradcheck(patch.boxes, (x,))
        assert torch.autograd.gradcheck(patch, (random(2, 1, 14, seed=4).requires_grad_(),))

    @settings(deadline=None, max_examples=40)
    @given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.integers(1, 40))
    def test_boxes_stay_inside_the_series(self, shift, stretch, length):
        patch = patches_of()
        with torch.no_grad():
            last_bias(patch).copy_(torch.tensor([shift, stretch]))
        x = patch.pad(random(2, 1, length))
        T, N = x.shape[-1], x.unfold(-1, 8, 4).shape[2]
        left, right = (edge + torch.arange(N) * 4 for edge in patch.boxes(x))
        for edge in (left, right):
            assert edge.min() >= 0
            assert edge.max() <= T - 1
        assert (left <= right).all()
        sampled = patch.sample(x)
        assert sampled.min() >= x.min() - 1e-9
        assert sampled.max() <= x.max() + 1e-9

    def test_a_shift_of_one_step_reads_one_step_later(self):
        patch = patches_of()
        with torch.no_grad():
            last_bias(patch).copy_(torch.tensor([1.0, 0.0]))
        x = torch.arange(30, dtype=torch.float64)[None, None]
        torch.testing.assert_close(
            patch.sample(x)[0, 0, :, 0], torch.arange(1, 9, dtype=torch.float64)
        )

    def test_a_half_width_of_zero_reads_the_centre_only(self):
        patch = patches_of()
        with torch.no_grad():
            last_bias(patch).copy_(torch.tensor([0.0, -50.0]))
        x = torch.arange(30, dtype=torch.float64)[None, None]
        expected = torch.full((8,), 3.5, dtype=torch.float64)
        torch.testing.assert_close(patch.sample(x)[0, 0, :, 0], expected)

    def test_padding_values(self):
        x = torch.arange(1.0, 11.0).double()[None, None]  # 10 steps, P 8, S 4: to 12
        assert patches_of().pad(x)[0, 0, 10:].tolist() == [10, 10]
        assert patches_of(padding="zeros").pad(x)[0, 0, 10:].tolist() == [0, 0]
        assert patches_of(padding="none").pad(x) is x
        short = patches_of().pad(x[..., :3])
        assert short[0, 0].tolist() == [1, 2, 3, 3, 3, 3, 3, 3]

    def test_positions_stay_float32_under_autocast(self):
        torch.manual_seed(0)
        patch = patches_of(predictor_init="default").float()
        x = patch.pad(random(2, 1, 30).float())
        with torch.autocast("cpu", torch.bfloat16):
            sampled = patch.sample(x)
        assert sampled.dtype == torch.float32
        torch.testing.assert_close(sampled, patch.sample(x))


class TestRevIN:
    @pytest.mark.parametrize("subtract_last", [False, True])
    @pytest.mark.parametrize("affine", [0, 3])
    def test_inverse_undoes_it(self, subtract_last, affine):
        layer = RevIN(subtract_last, affine).double()
        if affine:
            with torch.no_grad():
                layer.weight.uniform_(0.5, 2)
                layer.bias.uniform_(-1, 1)
        x = random(4, 3, 20) * 50 + 1000
        normalised, statistics = layer(x)
        torch.testing.assert_close(layer.inverse(normalised, statistics), x, rtol=1e-8, atol=1e-6)

    def test_context_has_mean_0_and_deviation_1(self):
        normalised, _ = RevIN()(random(4, 3, 50) * 7 + 3)
        torch.testing.assert_close(normalised.mean(-1), torch.zeros(4, 3).double())
        deviation = normalised.std(-1, correction=0)
        torch.testing.assert_close(deviation, torch.ones(4, 3).double(), rtol=1e-5, atol=1e-5)

    def test_last_value_becomes_zero(self):
        normalised, _ = RevIN(subtract_last=True)(random(4, 3, 50))
        assert (normalised[..., -1] == 0).all()

    def test_constant_series_stay_finite_and_come_back(self):
        x = torch.full((1, 1, 9), 4.0)
        layer = RevIN()
        normalised, statistics = layer(x)
        assert (normalised == 0).all()
        assert (layer.inverse(normalised, statistics) == 4).all()


class TestDropout:
    def test_kept_fraction_and_scale(self):
        torch.manual_seed(0)
        n, p = 400_000, 0.3
        out = Dropout(p)(torch.ones(n))
        kept = out != 0
        drawn = round(p * 2**16) / 2**16
        assert set(out[kept].tolist()) == {torch.tensor(1 / (1 - drawn)).item()}
        # 5 standard deviations of the binomial
        assert abs(kept.double().mean() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / n)

    def test_neighbouring_values_are_dropped_independently(self):
        torch.manual_seed(0)
        kept = (Dropout(0.5)(torch.ones(400_000)) != 0).double().view(-1, 4)
        correlation = torch.corrcoef(kept.T) - torch.eye(4)
        assert correlation.abs().max() < 5 / math.sqrt(100_000)

    def test_same_seed_same_mask(self):
        x, layer = random(7, 11, 3), Dropout(0.4)
        masks = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            masks.append(layer(x))
        assert torch.equal(masks[0], masks[1])
        assert not torch.equal(masks[0], masks[2])

    def test_is_identity_in_evaluation_and_at_0(self):
        x = random(3, 5)
        assert torch.equal(Dropout(0.5).eval()(x), x)
        assert torch.equal(Dropout(0.0)(x), x)

    @pytest.mark.parametrize("shape", [(1,), (3,), (4,), (2, 3, 5)])
    def test_shape_and_gradient_follow_the_mask(self, shape):
        torch.manual_seed(0)
        x = torch.ones(shape, dtype=torch.float64, requires_grad=True)
        out = Dropout(0.5)(x)
        out.sum().backward()
        assert x.grad is not None
        assert torch.equal(x.grad, out.detach())

    def test_probability_next_to_1_leaves_numbers(self):
        assert torch.isfinite(Dropout(0.999999)(torch.ones(1000))).all()


class TestNorms:
    def test_batch_norm_equals_torchs_on_the_transposed_tensor(self):
        ours, plain = TokenBatchNorm(5).double(), nn.BatchNorm1d(5).double()
        with torch.no_grad():
            ours.weight.uniform_(0.5, 2)
            ours.bias.uniform_(-1, 1)
        plain.load_state_dict(ours.state_dict())
        for seed in (0, 1):
            u = random(5, 4, 7, seed=seed) * 3 + 1
            torch.testing.assert_close(ours(u), plain(u.transpose(0, 1)).transpose(0, 1))
        torch.testing.assert_close(ours.running_mean, plain.running_mean)
        torch.testing.assert_close(ours.running_var, plain.running_var)
        u = random(5, 4, 7, seed=2)
        ours.eval()
        plain.eval()
        torch.testing.assert_close(ours(u), plain(u.transpose(0, 1)).transpose(0, 1))

    def test_layer_norm_equals_torchs_per_token(self):
        layer = TokenLayerNorm(5).double()
        with torch.no_grad():
            layer.weight.uniform_(0.5, 2)
        u = random(5, 4, 7) * 3 + 1
        expected = F.layer_norm(u.permute(1, 2, 0), (5,), layer.weight, layer.bias)
        torch.testing.assert_close(layer(u), expected.permute(2, 0, 1))


def test_pointwise_pair_equals_linear_layers_on_every_token():
    pair = PointwisePair(5, 11, 0.3).double().eval()
    v = random(5, 4, 7)
    expected = pair.narrow(F.gelu(pair.widen(v.permute(1, 2, 0)))).permute(2, 0, 1)
    torch.testing.assert_close(pair(v), expected)


def test_residual_scales_the_branch():
    u, branch = random(2, 3, 4), random(2, 3, 4, seed=1)
    torch.testing.assert_close(Residual(0.0, 0.5)(u, branch), u + 0.5 * branch)
    plain = Residual(0.0, None)
    torch.testing.assert_close(plain(u, branch), u + branch)
    assert list(plain.parameters()) == []
