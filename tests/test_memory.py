"""Computing activations again changes nothing but the memory."""

import copy
import logging

import pytest
import torch

from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.windows import Windows
from convtimenet.network.memory import available, predicted_peak
from convtimenet.network.model import Block, ConvTimeNet
from convtimenet.training.loop import train

SMALL = {"d_model": 8, "d_ff": 24, "kernel_sizes": (3, 5, 7), "dropout": 0.3}


def forecasting() -> ModelConfig:
    return ModelConfig.forecasting(context_length=96, horizon=5, residual_init=0.4, **SMALL)


def classification() -> ModelConfig:
    return ModelConfig.classification(
        channels=2, context_length=60, n_classes=3, patch_size=8, patch_stride=4, **SMALL
    )


@pytest.mark.parametrize("config", [forecasting(), classification()], ids=["forecast", "classify"])
@pytest.mark.parametrize("native", [True, False])
def test_same_gradients_and_statistics(config, native):
    torch.manual_seed(1)
    kept = ConvTimeNet(config).train()
    for block in kept.blocks:
        assert isinstance(block, Block)
        block.native = native
    again = copy.deepcopy(kept)
    again.recompute = True
    x = torch.randn(6, 2, config.context_length)
    for model in (kept, again):
        torch.manual_seed(7)
        model(x).square().sum().backward()
    for (name, a), b in zip(kept.named_parameters(), again.parameters(), strict=True):
        assert a.grad is not None, name
        assert b.grad is not None, name
        assert torch.equal(a.grad, b.grad), name
    for (name, a), b in zip(kept.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(a, b), name


def trained(budget: float | None):
    torch.manual_seed(0)
    model = ConvTimeNet(forecasting())
    values = torch.sin(torch.arange(300.0))[None].repeat(2, 1)
    windows = Windows.between(values, 96, 5, 0, 250)
    config = TrainConfig(epochs=2, batch_size=16, memory_budget=budget, device="cpu")
    history = train(model, windows, None, config, device=torch.device("cpu"), verbose=0)
    return model, history


def test_a_small_budget_computes_again_and_trains_the_same(caplog):
    model, history = trained(None)
    assert not history.recomputed
    half = history.predicted_peak / 2**30 * 0.9
    again, saved = trained(half)
    assert saved.recomputed
    assert saved.predicted_peak < history.predicted_peak
    for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    with caplog.at_level(logging.WARNING):
        trained(1e-6)
    assert "use a smaller batch_size" in caplog.text


def test_prediction_grows_with_what_is_kept():
    config = forecasting()
    peaks = [
        predicted_peak(config, 100, parameters=1000, native=native, recompute=recompute, bf16=False)
        for native in (True, False)
        for recompute in (True, False)
    ]
    assert peaks == sorted(peaks)
    twice = predicted_peak(config, 200, parameters=0, native=True, recompute=False, bf16=False)
    assert twice == 2 * predicted_peak(
        config, 100, parameters=0, native=True, recompute=False, bf16=False
    )
    assert 2**20 < available(torch.device("cpu")) < 2**50
