"""Losses: weights count targets; without weights they are torch's own."""

import pytest
import torch
import torch.nn.functional as F

from convtimenet.losses import cross_entropy, mse


def test_mse_without_weights_is_torchs():
    output, target = torch.randn(4, 3, 5), torch.randn(4, 3, 5)
    assert mse(output, target, None) == F.mse_loss(output, target)


def test_cross_entropy_without_weights_is_torchs():
    output, target = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    assert cross_entropy(output, target, None) == F.cross_entropy(output, target)


def test_a_weight_of_zero_leaves_a_value_out():
    output = torch.tensor([[[1.0, 5.0]], [[2.0, 9.0]]])
    target = torch.zeros_like(output)
    weight = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    assert mse(output, target, weight).item() == pytest.approx((1 + 4) / 2)


def test_a_whole_weight_counts_a_case_twice():
    output, target = torch.randn(3, 2), torch.tensor([0, 1, 1])
    weight = torch.tensor([1.0, 2.0, 1.0])
    twice = F.cross_entropy(output[[0, 1, 1, 2]], target[[0, 1, 1, 2]])
    torch.testing.assert_close(cross_entropy(output, target, weight), twice)
