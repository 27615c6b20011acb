"""Computing activations again changes nothing but the memory."""

import copy
import logging

import pytest
import torch

from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.windows import Windows
from convtimenet.network import memory
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


MIB = 2**20


def group(folder, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


V2 = {"memory__max": "max", "memory__high": "max", "memory__current": 0}
V1 = {"memory__limit_in_bytes": 9223372036854771712, "memory__usage_in_bytes": 0}


@pytest.mark.parametrize(
    ("membership", "tree", "free"),
    [
        ("0::/\n", {"": {"memory__max": 90 * MIB, "memory__current": 30 * MIB}}, 60),
        ("0::/\n", {"": {"memory__high": 50 * MIB}}, 50),
        ("0::/\n", {"": {"memory__max": 90 * MIB, "memory__high": 80 * MIB}}, 80),
        # cached files are given back
        (
            "0::/\n",
            {
                "": {
                    "memory__max": 90 * MIB,
                    "memory__current": 80 * MIB,
                    "memory__stat": f"anon 7\ninactive_file {40 * MIB}\nactive_file 9",
                }
            },
            50,
        ),
        ("0::/\n", {"": {"memory__max": 9 * MIB, "memory__current": 10 * MIB}}, 0),
        ("0::/\n", {"": {"memory__max": 0}}, 0),
        # nested: the tightest of all
        (
            "0::/pod/box\n",
            {"pod": {"memory__max": 70 * MIB, "memory__current": 50 * MIB}, "pod/box": {}},
            20,
        ),
        (
            "0::/pod/box\n",
            {
                "pod": {"memory__max": 70 * MIB},
                "pod/box": {"memory__high": 40 * MIB, "memory__current": 5 * MIB},
                "pod/other": {"memory__max": MIB},
            },
            35,
        ),
        # from within, the path lies elsewhere: the mount's root is the group
        ("0::/docker/abc\n", {"": {"memory__max": 60 * MIB}}, 60),
        ("0::/../../other\n", {"": {"memory__max": 60 * MIB}}, 60),
        ("0::/a:b/c\n", {"a:b": {"memory__max": 60 * MIB}}, 60),
        # version 1
        (
            "5:cpu,cpuacct:/x\n4:memory:/a/b\n1:name=systemd:/y\n0::/\n",
            {
                "memory/a": {
                    "memory__limit_in_bytes": 64 * MIB,
                    "memory__usage_in_bytes": 32 * MIB,
                    "memory__stat": f"inactive_file 1\ntotal_inactive_file {8 * MIB}",
                },
                "memory/a/b": V1,
                "memory": V1,
            },
            40,
        ),
        ("4:memory:/gone\n", {"memory": V1 | {"memory__limit_in_bytes": 30 * MIB}}, 30),
        ("4:hugetlb,memory:/\n", {"memory": V1 | {"memory__limit_in_bytes": 30 * MIB}}, 30),
        ("0::/\n4:memory:/\n", {"memory": V1, "": V2 | {"memory__max": 20 * MIB}}, 20),
        # no limit
        ("0::/\n", {"": {}}, None),
        ("4:memory:/\n", {"memory": V1}, None),
        ("4:cpu:/\n", {}, None),
        ("", {}, None),
        ("no such line\n", {}, None),
        (None, {}, None),
    ],
)
def test_what_control_groups_allow(monkeypatch, tmp_path, membership, tree, free):
    """Containers and batch systems limit memory; the machine's own count does not know it."""
    for name, files in tree.items():
        group(tmp_path / "cgroup" / name, **(({} if "memory" in name else V2) | files))
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "membership")
    if membership is not None:
        (tmp_path / "membership").write_text(membership)
    found = available(torch.device("cpu"))
    if free is None:
        assert found > 100 * MIB
    else:
        assert found == free * MIB


def test_a_container_computes_again_where_the_machine_would_not(monkeypatch, tmp_path):
    """The budget of a training is what its container leaves."""
    _, history = trained(None)
    assert not history.recomputed
    limit = int(history.predicted_peak * 0.9 / 0.8)
    group(tmp_path, **(V2 | {"memory__max": limit}))
    (tmp_path / "membership").write_text("0::/\n")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "membership")
    _, saved = trained(None)
    assert saved.recomputed
