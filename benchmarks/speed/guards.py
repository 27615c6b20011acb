"""Cost of checking that each step is finite, and of writing a checkpoint.

OMP_NUM_THREADS=1 python benchmarks/speed/guards.py --json docs/reliability/guards.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.windows import Examples, LabelledCases, Windows
from convtimenet.devices import RandomNumbers
from convtimenet.network.model import ConvTimeNet
from convtimenet.runs.result import versions
from convtimenet.training.checkpoint import Checkpoints
from convtimenet.training.interrupt import StopRequest
from convtimenet.training.loop import _Training
from convtimenet.training.step import Step

BATCH = 32
CPU = torch.device("cpu")


def cases() -> dict[str, tuple[ModelConfig, Examples]]:
    """Networks and random data of the paper's sizes."""
    labels = torch.arange(BATCH) % 25
    return {
        "ArticularyWordRecognition": (
            ModelConfig.classification(channels=9, context_length=144, n_classes=25),
            LabelledCases(torch.randn(BATCH, 9, 144), labels),
        ),
        "ETTh1": (
            ModelConfig.forecasting(context_length=336, horizon=96),
            Windows.between(torch.randn(7, 1000), 336, 96, 0, 1000),
        ),
    }


def median(work: Callable[[], None], rounds: int, clock: Callable[[], float]) -> float:
    """Milliseconds of `work`."""
    work()
    times = []
    for _ in range(rounds):
        begin = clock()
        work()
        times.append(1000 * (clock() - begin))
    return statistics.median(times)


@torch.no_grad()
def look(step: Step) -> None:
    """Everything that `Step` does only to check that a step is finite."""
    for kept in step.kept:
        kept.take()
    watched = [p.grad.flatten() for p in step.last_reached if p.grad is not None]
    looked_at = step.total + torch.cat([*watched, *step.variances]).sum()
    bad = ~torch.isfinite(looked_at)
    if bad:
        raise AssertionError
    torch.where(bad, torch.zeros_like(looked_at), looked_at)
    step.seen += 0 * ~bad
    step.skipped += bad
    step.run.add_(1).mul_(bad)


def measure(model_config: ModelConfig, examples: Examples) -> dict[str, float]:
    """Milliseconds: CPU time of a step and of the checks, wall time of a checkpoint."""
    torch.manual_seed(0)
    model = ConvTimeNet(model_config).train()
    config = TrainConfig(batch_size=BATCH, device="cpu")
    index = torch.arange(BATCH)
    with tempfile.TemporaryDirectory() as folder:
        store = Checkpoints(folder, "choose", {})
        run = _Training(
            model, examples, None, config, CPU, RandomNumbers(0, CPU), store, StopRequest()
        )
        run._one_step(index)
        step = median(lambda: run.step(index), 9, time.process_time)
        looking = median(lambda: look(run.step), 101, time.process_time)
        writing = median(run._save_state, 9, time.perf_counter)
        size = max(path.stat().st_size for path in Path(folder).iterdir())
    return {
        "step_ms": round(step, 2),
        "look_ms": round(looking, 3),
        "look_share": round(looking / step, 5),
        "checkpoint_ms": round(writing, 1),
        "checkpoint_mib": round(size / 2**20, 2),
        "checkpoint_share_at_one_a_minute": round(writing / 60_000, 5),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="write the result")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    found = {"versions": versions(), "batch": BATCH}
    text = json.dumps(found | {name: measure(*case) for name, case in cases().items()}, indent=1)
    print(text)
    if flags.json:
        flags.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
