"""Networks of the evidence matrix that are written here: a peer from its paper, and ours with one
part replaced."""

from __future__ import annotations

import copy
import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from common import in_turn
from peers import networks
from peers.formertime import EncoderLayer, FormerTime, ReductionAttention, formertime
from torch import nn
from variants import (
    Kind,
    Positions,
    TransformerBlock,
    offsets_zeroed,
    placed,
    residual,
    scale_residuals,
    transformer_block,
    without_offsets,
)

from convtimenet import ConvTimeNetForecaster
from convtimenet.bench.models import Fitted, classifier, forecaster, macs_of
from convtimenet.bench.problems import CasesProblem, ForecastProblem, forecast_problem
from convtimenet.config import ModelConfig
from convtimenet.data.labelled.cases import Cases
from convtimenet.errors import ConfigError
from convtimenet.network.inference import fuse
from convtimenet.network.model import Blocks, ConvTimeNet


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def cases(n: int, seed: int, length: int = 48) -> Cases:
    """Two classes: channel 1 has a bump up or down in its middle."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, 2, length))
    up = np.arange(n) % 2 == 0
    bump = 2 * np.sin(np.arange(16) / 16 * np.pi)
    values[:, 1, 16:32] += np.where(up, 1, -1)[:, None] * bump
    lengths = np.full(n, length)
    return Cases(values=values, lengths=lengths, labels=np.where(up, "up", "down"), notices=())


def two_classes() -> CasesProblem:
    return CasesProblem(name="bumps", protocol="honest", train=cases(64, 0), test=cases(40, 1))


def test_peers_have_their_own_recipe_and_not_ours():
    """Squared errors and whole epochs, unless the matrix says otherwise. Our default has short
    epochs of mean absolute errors, with which a peer scored 5 % worse."""

    def build(config: ModelConfig, channels: int, seed: int) -> nn.Module:
        return nn.Linear(config.context_length, config.outputs)

    def trained(**training: Any) -> dict[str, Any]:
        settings = {"input_size": 24, "n_epochs": 1, "batch_size": 64, "training": training}
        return networks._trained("Peer", build, waves(), 0, settings).config["training"]

    own = trained(lr=0.01)
    assert (own["loss"], own["epoch_size"], own["lr"], own["epochs"]) == ("mse", None, 0.01, 1)
    assert trained(epoch_size=96)["epoch_size"] == 96
    default = ConvTimeNetForecaster(6).preset_for(1000, 1, 2).train
    assert default["loss"] == "mae"
    assert default["epoch_size"] is not None


# --- FormerTime -----------------------------------------------------------------------------------

SMALL: dict[str, Any] = {
    "slices": (8, 2),
    "strides": (4, 2),
    "widths": (8, 16),
    "layers": (1, 2),
    "rates": (2, 1),
}


def test_formertime_has_fewer_and_wider_tokens_from_stage_to_stage():
    network = FormerTime(3, 5, **SMALL)
    x = torch.randn(2, 3, 48)
    assert [tuple(tokens.shape) for tokens in network.tokens(x)] == [(2, 11, 8), (2, 5, 16)]
    assert network(x).shape == (2, 5)


def test_formertime_in_the_sizes_of_its_repository():
    network = FormerTime(6, 2)
    assert [tokens.shape[1] for tokens in network.tokens(torch.randn(1, 6, 1000))] == [124, 62, 31]
    assert sum(isinstance(module, EncoderLayer) for module in network.modules()) == 18


def test_formertime_reads_series_shorter_than_its_slices_and_gaps_as_zeros():
    network = FormerTime(1, 2, **SMALL).eval()
    x = torch.randn(1, 1, 5)
    assert [tokens.shape[1] for tokens in network.tokens(x)] == [1, 1]
    x[0, 0, 2] = torch.nan
    torch.testing.assert_close(network(x), network(x.nan_to_num(0.0)), rtol=0, atol=0)


def test_attention_without_reduction_is_plain_attention():
    ours = ReductionAttention(16, 4, 1, 0.0)
    plain = nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        plain.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        plain.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
    plain.out_proj.load_state_dict(ours.join.state_dict())
    u = torch.randn(2, 7, 16)
    torch.testing.assert_close(ours(u), plain(u, u, u)[0])


def test_attention_with_an_identity_for_its_reduction_is_plain_attention():
    ours, plain = ReductionAttention(16, 4, 2, 0.0), ReductionAttention(16, 4, 1, 0.0)
    plain.load_state_dict({k: v for k, v in ours.state_dict().items() if "reduce" not in k})
    u = torch.randn(2, 7, 16)
    assert ours.reduce(u).shape == (2, 4, 16)
    assert not torch.allclose(ours(u), plain(u))
    ours.reduce = nn.Identity()
    torch.testing.assert_close(ours(u), plain(u), rtol=0, atol=0)


def test_the_multiply_adds_of_attention_are_counted():
    N, D, M = 12, 16, 6
    counted = macs_of(ReductionAttention(D, 4, 2, 0.0), torch.zeros(1, N, D))
    assert counted == 2 * N * D * D + 2 * M * D * D + 2 * D * D * M + 2 * N * M * D


def test_formertime_needs_an_entry_for_each_stage():
    with pytest.raises(ConfigError, match="one entry for each stage"):
        FormerTime(3, 5, slices=(16, 2))
    with pytest.raises(ConfigError, match="multiples of the number of heads"):
        FormerTime(3, 5, heads=5)


def test_formertime_learns_classes():
    fitted = formertime(two_classes(), 0, network=SMALL, n_epochs=12, batch_size=8, lr=5e-3)
    assert two_classes().scores(fitted.predict())["accuracy"] > 0.9
    assert fitted.config["estimator"] == "FormerTime"
    assert fitted.parameters == sum(p.numel() for p in FormerTime(2, 2, **SMALL).parameters())
    assert fitted.macs()


def test_formertime_gives_the_same_again():
    def trained(seed: int) -> np.ndarray:
        network = {**SMALL, "dropout": 0.5}
        fitted = formertime(two_classes(), seed, network=network, n_epochs=1)
        return np.array(fitted.chosen["validation"])

    np.testing.assert_array_equal(trained(0), trained(0))
    assert (trained(0) != trained(1)).any()


# --- ours with one part replaced ------------------------------------------------------------------

TINY: dict[str, Any] = {
    "d_model": 8,
    "d_ff": 16,
    "kernel_sizes": (3, 5),
    "patch_size": 8,
    "patch_stride": 4,
}
QUICK: dict[str, Any] = {"preset": "auto", "n_epochs": 2, "model": TINY}
OF_CASES: dict[str, Any] = QUICK | {
    "model": TINY | {"random_patches": 1},
    "training": {"refit": False},
}


def quick(problem: ForecastProblem | CasesProblem) -> dict[str, Any]:
    """Settings of the problem."""
    return QUICK if isinstance(problem, ForecastProblem) else OF_CASES


def waves(rows: int = 360, train_end: int = 240, valid_end: int = 290) -> ForecastProblem:
    """Two channels of waves and noise, an hour a step."""
    rng = np.random.default_rng(3)
    steps = np.arange(rows)
    values = np.sin(steps[:, None] * [0.5, 0.2]) + 0.3 * rng.standard_normal((rows, 2))
    frame = pd.DataFrame(values, pd.date_range("2024-01-01", periods=rows, freq="h"), ["a", "b"])
    table = ConvTimeNetForecaster(1).read(frame)
    return forecast_problem("waves", 6, "honest", table, train_end, valid_end, rows)


def uneven(n: int, seed: int) -> Cases:
    """The cases above, each with its own length and a gap."""
    found = cases(n, seed)
    lengths = np.random.default_rng(seed).integers(36, 49, n)
    lengths[0] = 48
    values = np.where(np.arange(48) < lengths[:, None, None], found.values, np.nan)
    values[:, 0, 5:9] = np.nan
    return dataclasses.replace(found, values=values, lengths=lengths)


def uneven_classes() -> CasesProblem:
    return CasesProblem(name="uneven", protocol="honest", train=uneven(64, 0), test=uneven(40, 1))


PROBLEMS: dict[str, Any] = {"waves": waves, "bumps": two_classes, "uneven": uneven_classes}


@pytest.fixture(params=PROBLEMS)
def problem(request: pytest.FixtureRequest) -> ForecastProblem | CasesProblem:
    return PROBLEMS[request.param]()


def ours(problem: ForecastProblem | CasesProblem, **settings: Any) -> Fitted:
    settings = {**quick(problem), **settings}
    if isinstance(problem, ForecastProblem):
        return forecaster(problem, 0, **settings)
    return classifier(problem, 0, **settings)


@cache
def unchanged(problem: str) -> Fitted:
    """Ours, fitted once for all tests that compare with it."""
    return ours(PROBLEMS[problem]())


@cache
def learnable(problem: str) -> Fitted:
    """The same with its residual scales replaced by equal ones."""
    made = PROBLEMS[problem]()
    return residual(made, 0, kind="learnable", **quick(made))


def same(one: Fitted, other: Fitted) -> None:
    assert one.chosen["validation"] == other.chosen["validation"]
    np.testing.assert_array_equal(one.predict(), other.predict())
    assert (one.parameters, one.macs()) == (other.parameters, other.macs())


def test_the_learnable_residual_is_ours(problem: ForecastProblem | CasesProblem):
    same(learnable(problem.name), unchanged(problem.name))


def test_the_plain_residual_is_the_models_own(problem: ForecastProblem | CasesProblem):
    found = residual(problem, 0, kind="plain", **quick(problem))
    same(found, ours(problem, model={**quick(problem)["model"], "residual": "plain"}))
    assert found.chosen["scales"] == {"add_conv": [1.0, 1.0], "add_pointwise": [1.0, 1.0]}


def test_a_fixed_scale_stays_where_it_is():
    found = residual(two_classes(), 0, kind="fixed", **OF_CASES)
    assert found.chosen["scales"] == {"add_conv": [0.5, 0.5], "add_pointwise": [0.5, 0.5]}
    ours = learnable("bumps")
    assert found.parameters is not None
    assert ours.parameters == found.parameters + 4
    assert ours.chosen["scales"]["add_conv"] != [0.5, 0.5]
    assert ours.chosen["validation"] != found.chosen["validation"]


def test_layerscale_has_a_scale_for_every_width(problem: ForecastProblem | CasesProblem):
    found = residual(problem, 0, kind="layerscale", **quick(problem))
    ours = learnable(problem.name)
    assert found.parameters is not None
    assert ours.parameters is not None
    assert found.parameters - ours.parameters == 4 * (8 - 1)
    assert all(scale > 1e-4 for scale in found.chosen["scales"]["add_conv"])
    assert np.isfinite(
        problem.scores(found.predict())["mse" if problem.name == "waves" else "accuracy"]
    )


def test_rezero_starts_at_zero_and_moves():
    found = residual(waves(600, 400, 480), 0, kind="rezero", **QUICK)
    assert all(scale > 1e-4 for branch in found.chosen["scales"].values() for scale in branch)
    assert found.config["variant"] == {"kind": "rezero", "init": None}


def test_residuals_that_there_are_not():
    with pytest.raises(ConfigError, match="kind must be one of learnable, plain"):
        residual(waves(), 0, kind="other", **QUICK)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="the plain residual has no scale"):
        residual(waves(), 0, kind="plain", init=0.5, **QUICK)


def network(**settings: Any) -> ConvTimeNet:
    config = ModelConfig.classification(
        channels=2, context_length=48, n_classes=3, **{**TINY, **settings}
    )
    return ConvTimeNet(config)


def used(net: ConvTimeNet) -> ConvTimeNet:
    """After some training batches, so that its norms and scales are not those of the start."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for _ in range(3):
            net.train()(torch.randn(16, 2, 48))
    return net.eval()


@pytest.mark.parametrize("kind", ["learnable", "plain", "rezero", "layerscale", "fixed"])
@torch.no_grad()
def test_answers_agree_with_training_for_every_residual(kind: Kind):
    net = network()
    scale_residuals(net, kind)
    used(net)
    x = torch.randn(4, 2, 48)
    known = torch.rand_like(x) > 0.2
    fused = fuse(net)
    torch.testing.assert_close(fused(x), net(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fused(x, known), net(x, known), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_layerscale_of_equal_entries_is_a_learnable_scale():
    net = network(dropout=0.0)
    scaled = copy.deepcopy(net)
    scale_residuals(net, "learnable", 0.3)
    scale_residuals(scaled, "layerscale", 0.3)
    assert [tuple(p.shape) for n, p in scaled.named_parameters() if n.endswith("scale")] == [
        (8,)
    ] * 4
    x = torch.randn(16, 2, 48)
    torch.testing.assert_close(scaled.train()(x), net.train()(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("positions", "name"), in_turn([False, True], PROBLEMS))
def test_transformer_blocks_learn(name: str, positions: bool):
    problem = PROBLEMS[name]()
    epochs = 2 if isinstance(problem, ForecastProblem) else 6
    settings = {**quick(problem), "n_epochs": epochs, "lr": 5e-3}
    found = transformer_block(problem, 0, heads=4, positions=positions, **settings)
    scores = problem.scores(found.predict())
    if isinstance(problem, ForecastProblem):
        assert scores["mse"] < 0.5 * problem.scores(problem.naive())["mse"]
    else:
        assert scores["accuracy"] > 0.85
    assert found.config["variant"] == {"heads": 4, "positions": positions}
    assert found.macs()


@torch.no_grad()
def test_answers_agree_with_training_for_transformer_blocks():
    net = network()
    net.blocks = Blocks(Positions(8, 12), TransformerBlock(net.config, 4))
    used(net)
    x = torch.randn(4, 2, 48)
    known = torch.rand_like(x) > 0.2
    known[0] = False
    fused = fuse(net.train())
    assert not any(module.training for module in fused.modules())
    net.eval()
    torch.testing.assert_close(fused(x), net(x), rtol=0, atol=0)
    torch.testing.assert_close(fused(x, known), net(x, known), rtol=0, atol=0)


def test_the_parameters_and_multiply_adds_of_transformer_blocks():
    D, F, N = 8, 16, 12
    block = TransformerBlock(network().config, 4)
    assert (
        sum(p.numel() for p in block.parameters()) == 4 * D * (D + 1) + D * (2 * F + 1) + F + 4 * D
    )
    expected = N * (4 * D * D + 2 * D * F) + 2 * N * N * D
    assert macs_of(block.eval(), torch.zeros(D, 1, N)) == expected


@torch.no_grad()
def test_tokens_that_do_not_count_change_no_other():
    blocks = Blocks(
        Positions(8, 6), *(TransformerBlock(network().config, 2) for _ in range(2))
    ).eval()
    u = torch.randn(8, 3, 6)
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[0, 4:] = mask[1] = False
    full = blocks(u.where(mask, 0.0), mask)
    assert torch.isfinite(full).all()
    assert (full[:, ~mask] == 0).all()
    alone = blocks(u[:, :1, :4], torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(full[:, :1, :4], alone)
    torch.testing.assert_close(full[:, 2], blocks(u[:, 2:], None)[:, 0])
    longer = blocks(torch.randn(8, 1, 9))  # behind the last place the last one's vector
    assert longer.shape == (8, 1, 9)


@torch.no_grad()
def test_attention_knows_the_order_by_positions_only():
    config = network().config
    block = TransformerBlock(config, 2).eval()
    u, order = torch.randn(8, 2, 6), torch.randperm(6)
    torch.testing.assert_close(block(u[..., order]), block(u)[..., order])
    placed_first = Blocks(Positions(8, 6), block).eval()
    assert not torch.allclose(placed_first(u[..., order]), placed_first(u)[..., order])


def test_dropout_of_transformer_blocks_follows_the_seed():
    def trained(seed: int) -> list[Any]:
        settings = {**OF_CASES, "n_epochs": 1, "model": OF_CASES["model"] | {"dropout": 0.5}}
        return transformer_block(two_classes(), seed, heads=2, **settings).chosen["validation"]

    assert trained(0) == trained(0)
    assert trained(0) != trained(1)


def test_zeroed_offsets_are_plain_patches():
    net = used(network())
    plain = network(deformable=False).eval()
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if "predict" not in k})
    x = torch.randn(4, 2, 48)
    with torch.no_grad():
        expected = plain(x)
        assert not torch.allclose(net(x), expected, rtol=1e-2)
        torch.testing.assert_close(without_offsets(net)(x), expected, rtol=1e-5, atol=1e-5)
        fused = fuse(net)
        torch.testing.assert_close(without_offsets(fused)(x), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(fused(x), net(x), rtol=1e-5, atol=1e-5)


def test_what_zeroed_offsets_change(problem: ForecastProblem | CasesProblem):
    found, trained = offsets_zeroed(problem, 0, **quick(problem)), unchanged(problem.name)
    zeroed, answers = found.predict(), trained.predict()
    told = found.chosen["offsets"]
    assert told["as_trained"] == problem.scores(answers)
    if isinstance(problem, ForecastProblem):
        ratio = problem.scores(zeroed)["mse"] / problem.scores(answers)["mse"]
        assert told["mse_change"] == pytest.approx(ratio - 1)
    else:
        assert told["answers_changed"] == (zeroed != answers).mean()
    assert told["plain_width"] == 7
    assert 0 < told["moved"]["mean"] < told["moved"]["p95"] < 5
    assert told["width"]["mean"] == pytest.approx(7, abs=2)
    np.testing.assert_array_equal(found.predict(), zeroed)


def test_how_patches_lie():
    config = network().config  # patches of 8 steps, 4 apart: anchors at 3.5 and 7.5
    left = np.array([[[0.0, 6.0, np.nan]]])
    right = np.array([[[7.0, 15.0, np.nan]]])
    told = placed(left, right, config)
    assert told["moved"] == {"mean": 1.5, "sd": 1.5, "p95": pytest.approx(2.85)}
    assert told["width"] == {"mean": 8.0, "sd": 1.0, "p95": pytest.approx(8.9)}


def test_offsets_that_there_are_not():
    with pytest.raises(ConfigError, match="needs deformable patches"):
        offsets_zeroed(waves(), 0, preset="auto", model={**TINY, "deformable": False})


@pytest.mark.parametrize(
    ("length", "stride", "longest", "padded"),
    [(26, 2, 29, 29), (26, 2, 28, 28), (26, 2, 27, 0), (180, 8, 182, 0), (180, 8, 188, 188)],
)
def test_the_port_is_padded_where_a_case_has_more_patches_than_it(length, stride, longest, padded):
    assert networks.padded_to(length, stride, longest) == padded
    patches = (length - 4) // stride + 2  # of 4 steps, as the port counts them
    added = (patches - 1) * stride + 4 - length
    found = torch.zeros(longest + added).unfold(0, 4, stride)
    assert (len(found) > patches) == (padded > 0)


def test_cases_are_padded_with_zeros_at_the_end():
    class Kept(nn.Module):
        def forward(self, x):
            return x

    for length, steps in ((5, 5), (0, 3), (2, 3)):
        padded = networks.ChannelsLast(Kept(), forecasts=True, length=length)(torch.ones(1, 1, 3))
        assert padded.shape == (1, 1, steps)
        assert padded[0, 0, :3].tolist() == [1.0, 1.0, 1.0]
        assert padded[0, 0, 3:].tolist() == [0.0] * (steps - 3)
