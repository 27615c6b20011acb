"""benchmarks/speed.py: its records, its ratios and, where sktime is there, the comparison."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from convtimenet.config import ModelConfig

KEYS = {
    "case",
    "model",
    "phase",
    "precision",
    "path",
    "threads",
    "median_ms",
    "q25_ms",
    "q75_ms",
    "rounds",
    "ratio_to_authors",
    "peak_mb",
}
SIZES: dict[str, Any] = {
    "patch_size": 8,
    "patch_stride": 4,
    "d_model": 8,
    "d_ff": 16,
    "kernel_sizes": (5, 7),
}


@pytest.fixture(scope="module")
def speed() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "speed.py"
    spec = importlib.util.spec_from_file_location("benchmarks_speed", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def tiny(speed: ModuleType, head: str) -> Any:
    if head == "forecast":
        config = ModelConfig.forecasting(context_length=32, horizon=4, **SIZES)
    else:
        config = ModelConfig.classification(channels=2, context_length=32, n_classes=3, **SIZES)
    return speed.Case("tiny", config, batch=4, channels=2, lr=1e-3)


@pytest.mark.parametrize("head", ["forecast", "classify"])
def test_our_network_alone(speed: ModuleType, head: str) -> None:
    entries = [("convtimenet", "eager"), ("convtimenet", "fused")]
    threads = speed.torch.get_num_threads()
    found = speed.measure(tiny(speed, head), entries, threads=threads, rounds=2, warmup=1, turn=0.0)
    assert [(r.phase, r.path) for r in found] == [
        ("train", "eager"),
        ("eval", "eager"),
        ("eval", "fused"),
    ]
    for record in json.loads(json.dumps([asdict(r) for r in found])):
        assert set(record) == KEYS
        assert record["rounds"] == 2
        assert 0 < record["q25_ms"] <= record["median_ms"] <= record["q75_ms"]
        assert record["ratio_to_authors"] is None
        assert record["peak_mb"] is None


def test_ratio_is_the_median_of_the_rounds_ratios(speed: ModuleType) -> None:
    seconds = {
        ("convtimenet", "eager"): [0.001, 0.002, 0.004],
        ("authors", "eager"): [0.004, 0.006, 0.008],
    }
    ours, authors = speed.records(
        seconds,
        case="F1",
        phase="train",
        precision="fp32",
        threads=1,
        peaks={("convtimenet", "eager"): 12.0},
    )
    # ratios 4, 3 and 2; the ratio of the medians is 3 too, that of the means 2.57
    assert ours.ratio_to_authors == pytest.approx(3.0)
    assert authors.ratio_to_authors == pytest.approx(1.0)
    assert (ours.q25_ms, ours.median_ms, ours.q75_ms) == pytest.approx((1.5, 2.0, 3.0))
    assert (ours.peak_mb, authors.peak_mb) == (12.0, None)


def test_ratio_is_taken_round_by_round(speed: ModuleType) -> None:
    # The machine is slow in another round for each: ratios 2, 1 and 5, ratio of medians 4.
    seconds = {
        ("authors", "eager"): [0.008, 0.002, 0.010],
        ("convtimenet", "eager"): [0.004, 0.002, 0.002],
    }
    _, ours = speed.records(seconds, case="F1", phase="eval", precision="fp32", threads=1)
    assert ours.ratio_to_authors == pytest.approx(2.0)


def test_turns_are_interleaved(speed: ModuleType) -> None:
    turns: list[str] = []
    steps = {(name, "eager"): lambda name=name: turns.append(name) for name in "ABC"}
    seconds = speed.interleaved(steps, rounds=2, warmup=1, turn=0.0)
    assert turns == list("AABBCC" + "ABCABC")
    assert all(len(own) == 2 for own in seconds.values())


def test_cases_are_the_papers(speed: ModuleType) -> None:
    sizes = {
        name: (c.batch, c.channels, c.config.context_length) for name, c in speed.CASES.items()
    }
    assert sizes == {
        "F1": (256, 7, 336),
        "F2": (1, 862, 336),
        "C1": (32, 9, 144),
        "C2": (32, 6, 1197),
    }
    assert speed.CASES["F1"].tokens == 256 * 7 * 21
    assert speed.CASES["C2"].config.kernel_sizes == (19, 19, 29, 29, 37, 37)


def test_table_puts_ratios_first(speed: ModuleType) -> None:
    seconds = {("authors", "eager"): [0.004], ("convtimenet", "eager"): [0.001]}
    found = speed.records(seconds, case="C1", phase="train", precision="fp32", threads=1)
    rate = {"matmul_2048_gflops": 1.0, "pointwise_gflops": {"C1": 1.0}, "copy_gb_per_s": 1.0}
    table = speed.markdown(
        {
            "machine": speed.machine(),
            "versions": speed.versions(),
            "rates": {"before": rate},
            "records": [asdict(r) for r in found],
        }
    )
    assert "\n| 4.00 | C1 | train | convtimenet | eager | fp32 | 1 | 1.0 (1.0 to 1.0) |  |" in table


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("head", ["forecast", "classify"])
def test_authors_network_is_the_same_function(speed: ModuleType, head: str) -> None:
    pytest.importorskip("sktime")
    found = speed.same_function(tiny(speed, head))
    trained = {name: count["trained"] for name, count in found["parameters"].items()}
    assert trained["authors"] == trained["convtimenet"]
    assert found["max_output_difference"] <= speed.TOLERANCE * found["max_output"]
