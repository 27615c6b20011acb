"""Padding and missing values: what is not known changes nothing."""

import copy
import subprocess
import sys

import pytest
import torch
from common import randomised
from hypothesis import given, settings
from hypothesis import strategies as st

from convtimenet.config import ModelConfig
from convtimenet.network.inference import fuse
from convtimenet.network.layers import TokenBatchNorm
from convtimenet.network.model import ConvTimeNet, deformation
from convtimenet.network.revin import RevIN

SIZES = {
    "d_model": 6,
    "d_ff": 12,
    "kernel_sizes": (3, 5),
    "patch_size": 8,
    "patch_stride": 4,
    "dropout": 0.0,
    "predictor_init": "default",
}
CLASSES = [
    {},
    {"pooling": "mean"},
    {"norm": "layer"},
    {"deformable": False},
    {"embed_norm": False},
    {"padding": "repeat"},
    {"padding": "none"},
    {"patch_stride": 3},
    {"patch_size": 4, "patch_stride": 4},
    {"patch_size": 3, "patch_stride": 5},
    {"kernel_sizes": (4, 9)},
]
FORECASTS = [
    {},
    {"pooling": "max"},
    {"pooling": "mean"},
    {"padding": "zeros"},
    {"padding": "none"},
    {"revin": False},
    {"revin_subtract_last": True},
    {"revin_affine_channels": 3},
    {"embed_norm": True},
    {"deformable": False},
]
UNKNOWN = [0.0, float("nan"), 1e30, float("-inf")]


def classifier(**changes) -> ConvTimeNet:
    torch.manual_seed(0)
    given = {"channels": 3, "context_length": 30, "n_classes": 4, **SIZES, **changes}
    return randomised(ConvTimeNet(ModelConfig.classification(**given))).double()


def forecaster(**changes) -> ConvTimeNet:
    torch.manual_seed(0)
    given = {"context_length": 30, "horizon": 5, **SIZES, **changes}
    return randomised(ConvTimeNet(ModelConfig.forecasting(**given))).double()


def series(B: int, L: int, C: int = 3, seed: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(B, C, L, generator=generator, dtype=torch.float64) * 2 + 3


def padded(
    cases: list[torch.Tensor], length: int, unknown: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cases (C, L_i) with `unknown` behind their ends, and which values are known."""
    x = torch.full((len(cases), len(cases[0]), length), unknown, dtype=torch.float64)
    known = torch.zeros(x.shape, dtype=torch.bool)
    for i, case in enumerate(cases):
        x[i, :, : case.shape[1]] = case
        known[i, :, : case.shape[1]] = True
    return x, known


def learnt(model: ConvTimeNet, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """A training step's output, gradients and running statistics, on a copy."""
    model = copy.deepcopy(model).train()
    output = model(*inputs)
    generator = torch.Generator().manual_seed(5)
    target = torch.randn(output.shape, generator=generator, dtype=output.dtype)
    (output - target).square().mean().backward()
    found = {"output": output.detach()}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        found[name] = parameter.grad
    return found | {name: buffer.clone() for name, buffer in model.named_buffers()}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-8, atol=1e-10, msg=name)


def both_forms(model: ConvTimeNet) -> list[ConvTimeNet]:
    return [copy.deepcopy(model).eval(), fuse(model)]


@pytest.mark.parametrize("changes", CLASSES)
class TestPaddedCases:
    def test_a_case_in_a_batch_gives_what_it_gives_alone(self, changes):
        least = 8 if changes.get("padding") == "none" else 1
        cases = [series(1, T, seed=T)[0] for T in range(least, 31)]
        model = classifier(**changes)
        for form in both_forms(model):
            with torch.no_grad():
                together = form(*padded(cases, 47, 1e30))
                alone = torch.cat([form(case[None]) for case in cases])
            assert alone.std() > 1e-3
            torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("unknown", UNKNOWN)
    def test_more_padding_changes_nothing_that_is_learnt(self, changes, unknown):
        lengths = (23, 12, 30, 17)
        cases = [series(1, T, seed=T)[0] for T in lengths]
        model = classifier(**changes)
        assert_same(
            learnt(model, *padded(cases, 53, unknown)), learnt(model, *padded(cases, 30, 0.0))
        )

    def test_equal_lengths_learn_the_same_with_padding_as_without(self, changes):
        cases, model = series(4, 22), classifier(**changes)
        plain = learnt(model, cases)
        assert_same(learnt(model, *padded(list(cases), 41, float("nan"))), plain)
        assert_same(learnt(model, cases, torch.ones(cases.shape, dtype=torch.bool)), plain)

    def test_values_at_gaps_do_not_matter(self, changes):
        x, known = series(4, 30), torch.rand(4, 3, 30) < 0.6
        known[0, :, 9:20] = False  # whole tokens in the middle
        known[1, 1] = False  # a whole channel
        known[2, :, :9] = False  # at the start
        model = classifier(**changes)
        results = [learnt(model, torch.where(known, x, value), known) for value in UNKNOWN]
        for other in results[1:]:
            assert_same(other, results[0])
        for form in both_forms(model):
            with torch.no_grad():
                outputs = [form(torch.where(known, x, value), known) for value in UNKNOWN]
            for other in outputs[1:]:
                assert torch.equal(other, outputs[0])


@pytest.mark.parametrize("changes", FORECASTS)
class TestShortContexts:
    @pytest.mark.parametrize("unknown", UNKNOWN)
    def test_what_lies_before_the_first_value_does_not_matter(self, changes, unknown):
        x, model = series(4, 30), forecaster(**changes)
        known = torch.arange(30) >= torch.tensor([0, 7, 13, 28])[:, None, None]
        known = known.expand(x.shape)
        zero, other = (torch.where(known, x, value) for value in (0.0, unknown))
        assert_same(learnt(model, other, known), learnt(model, zero, known))
        for form in both_forms(model):
            with torch.no_grad():
                assert torch.equal(form(other, known), form(zero, known))

    def test_all_known_is_the_same_as_no_mask(self, changes):
        x, model = series(4, 30), forecaster(**changes)
        known = torch.ones(x.shape, dtype=torch.bool)
        assert_same(learnt(model, x, known), learnt(model, x))
        for form in both_forms(model):
            with torch.no_grad():
                torch.testing.assert_close(form(x, known), form(x), rtol=1e-9, atol=1e-9)

    def test_a_series_of_which_nothing_is_known_stays_apart(self, changes):
        """Its own forecast is finite, and the others and what is learnt do not change."""
        x, model = series(4, 30), forecaster(**changes)
        known = torch.ones(x.shape, dtype=torch.bool)
        known[2] = False
        others = torch.tensor([0, 1, 3])
        for form in both_forms(model):
            with torch.no_grad():
                output = form(x * torch.where(known, 1.0, torch.nan), known)
                assert output.isfinite().all()
                torch.testing.assert_close(output[others], form(x[others]), rtol=1e-9, atol=1e-9)
        trained, fewer = copy.deepcopy(model).train(), copy.deepcopy(model).train()
        trained(x, known)
        fewer(x[others])
        statistics = dict(fewer.named_buffers())
        for name, value in trained.named_buffers():
            torch.testing.assert_close(value, statistics[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_whole_strides_before_a_series_change_nothing(pooling):
    """Where the head does not count tokens, a forecast does not depend on how far back the
    unknown reaches."""
    model = forecaster(pooling=pooling)
    results = []
    for before in (10, 22):
        x = torch.full((4, 3, 30 + before), 1e30, dtype=torch.float64)
        x[..., before:] = series(4, 30)
        known = (torch.arange(30 + before) >= before).expand(x.shape)
        results.append(learnt(model, x, known))
    assert_same(results[1], results[0])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=4),
    st.integers(2, 9),
    st.integers(1, 9),
    st.sampled_from(["zeros", "repeat"]),
    st.integers(0, 20),
)
def test_a_case_alone_and_in_a_batch_for_any_sizes(lengths, patch, stride, padding, more):
    model = classifier(patch_size=patch, patch_stride=stride, padding=padding).eval()
    cases = [series(1, T, seed=T)[0] for T in lengths]
    x, known = padded(cases, max(lengths) + more, float("nan"))
    counted = model.embedding.patch.extent(known).mask
    assert counted.sum(-1).tolist() == [model.config.patches_in(T) for T in lengths]
    with torch.no_grad():
        alone = torch.cat([model(case[None]) for case in cases])
        torch.testing.assert_close(model(x, known), alone, rtol=1e-9, atol=1e-9)


def test_float32_through_the_kernels_and_beside_them():
    """A case alone takes the fused kernels where they are built, a padded one plain torch."""
    model = classifier().float()
    cases = [series(1, T, seed=T)[0] for T in (11, 19, 30)]
    x, known = padded(cases, 64, float("nan"))
    for form in both_forms(model):
        with torch.no_grad():
            together = form(x.float(), known)
            alone = torch.cat([form(case[None].float()) for case in cases])
        torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-6)


def test_recomputed_activations_learn_the_same():
    x, known = padded([series(1, T, seed=T)[0] for T in (23, 12, 30, 17)], 30, 0.0)
    model = classifier()
    kept = learnt(model, x, known)
    model.recompute = True
    assert_same(learnt(model, x, known), kept)


def test_norm_equals_torchs_over_the_tokens_that_count():
    torch.manual_seed(0)
    ours, plain = TokenBatchNorm(5).double(), torch.nn.BatchNorm1d(5).double()
    counted = torch.rand(4, 7) < 0.5
    u = torch.randn(5, 4, 7, dtype=torch.float64) * 3 + 1
    found = ours(u, counted)[:, counted]
    torch.testing.assert_close(found.T, plain(u[:, counted].T))
    torch.testing.assert_close(ours.running_mean, plain.running_mean)
    torch.testing.assert_close(ours.running_var, plain.running_var)


@pytest.mark.parametrize("subtract_last", [False, True])
def test_instance_statistics_are_those_of_the_known_values(subtract_last):
    x = series(2, 20)
    known = torch.ones(x.shape, dtype=torch.bool)
    known[0, 1, [3, 19]] = False
    normalised, (centre, scale) = RevIN(subtract_last)(x, known)
    here = x[0, 1][known[0, 1]]
    expected = x[0, 1, 18] if subtract_last else here.mean()
    torch.testing.assert_close(centre[0, 1, 0], expected)
    torch.testing.assert_close(scale[0, 1, 0], (here.var(correction=0) + 1e-5).sqrt())
    assert (normalised[~known] == 0).all()


def test_patches_of_padding_lie_nowhere():
    model = classifier()
    x, known = padded([series(1, T, seed=T)[0] for T in (11, 30)], 30, 0.0)
    left, right = deformation(model, x, known)
    for T, row in zip((11, 30), (0, 1), strict=True):
        n = model.config.patches_in(T)
        for edge in (left, right):
            assert edge[row, 0, :n].isfinite().all()
            assert edge[row, 0, n:].isnan().all()
        assert left[row, 0, :n].min() >= 0
        assert right[row, 0, :n].max() <= (n - 1) * 4 + 7


TRACED = """
import torch
from convtimenet import ConvTimeNet, ModelConfig, fuse
small = dict(d_model=8, d_ff=16, kernel_sizes=(3, 5), patch_size=8, patch_stride=4)
forecast = ModelConfig.forecasting(context_length=48, horizon=6, **small)
classify = ModelConfig.classification(channels=2, context_length=36, n_classes=3, **small)
batch = torch.export.Dim("batch", min=1)
for config, shape in ((forecast, (3, 2, 48)), (classify, (4, 2, 36))):
    for model in (ConvTimeNet(config).eval(), fuse(ConvTimeNet(config))):
        x = torch.randn(*shape)
        known = torch.rand(shape) < 0.8
        with torch.no_grad():
            expected = model(x, known)
            compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
            program = torch.export.export(
                model, (x, known), dynamic_shapes=({0: batch}, {0: batch})
            ).module()
            for traced in (compiled, program):
                assert (traced(x, known) - expected).abs().max() < 1e-4
                assert (traced(x[:2], known[:2]) - expected[:2]).abs().max() < 1e-4
print("traced")
"""


@pytest.mark.slow
def test_is_traced_whole():
    # a process of its own: the shape checks of the tests cannot be traced
    done = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True)
    assert done.stdout == "traced\n", done.stderr[-2000:]
