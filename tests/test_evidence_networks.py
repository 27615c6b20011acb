"""Networks of the evidence matrix that are written here: a peer from its paper, and ours with one
part replaced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from peers.formertime import FormerTime, ReductionAttention, formertime
from torch import nn

from convtimenet.bench.models import macs_of
from convtimenet.bench.problems import CasesProblem
from convtimenet.data.cases import Cases
from convtimenet.errors import ConfigError


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
    assert [len(stage) for stage in network.stages] == [2 + 6] * 3


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
    assert fitted.macs


def test_formertime_gives_the_same_again():
    def trained(seed: int) -> np.ndarray:
        network = {**SMALL, "dropout": 0.5}
        fitted = formertime(two_classes(), seed, network=network, n_epochs=2)
        return np.array(fitted.chosen["validation"])

    np.testing.assert_array_equal(trained(0), trained(0))
    assert (trained(0) != trained(1)).any()
