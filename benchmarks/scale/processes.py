"""How long a training step takes with one process and with two, and what they tell each other.

One step on a batch of the paper's ETTh1 network (256 windows of 7 channels), by turns in the same
two processes: one process with one thread, one with two threads, two that each compute half of the
batch without the other ("apart", the compute of their step), and two that train together. What the
last takes longer than the one before is communication and waiting. From the bytes and operations
of a step follows what more devices would give.

    python benchmarks/scale/processes.py --rounds 7 --json benchmarks/results/scale-processes.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).parents[1] / "speed"))
from timing.cases import CASES
from timing.work import step as work_of

from convtimenet import processes
from convtimenet.bench.machine import commit_of_package, processor
from convtimenet.config import TrainConfig
from convtimenet.data.windows import Windows
from convtimenet.devices import RandomNumbers
from convtimenet.network.model import ConvTimeNet, count_parameters
from convtimenet.processes import cores
from convtimenet.training.step import Step

CPU = torch.device("cpu")
MODES = "one process, 1 thread", "one process, 2 threads", "two apart", "two together"
GPU = {"flops": 40e12, "link": 300e9, "latency": 20e-6}
"""Assumed for the estimate: operations a second that such a network reaches on a large GPU, bytes a
second between GPUs of one machine, and seconds that a sum over all of them takes to begin."""


@contextmanager
def alone() -> Iterator[None]:
    """Compute as if there were no other process."""
    count, rank = processes.count, processes.rank
    processes.count, processes.rank = (lambda: 1), (lambda: 0)
    try:
        yield
    finally:
        processes.count, processes.rank = count, rank


class Sums:
    """Counts what is summed over the processes besides the gradients."""

    def __init__(self) -> None:
        self.bytes = self.calls = 0
        self.seconds = 0.0
        self.plain = processes.add_up
        processes.add_up = self

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        begin = time.perf_counter()
        found = self.plain(values)
        self.seconds += time.perf_counter() - begin
        self.bytes += values.numel() * values.element_size()
        self.calls += 1
        return found


def a_step(case: Any) -> tuple[Step, ConvTimeNet]:
    """A training step of the case's network, without the linear stream, from the same weights."""
    numbers = RandomNumbers(0, CPU)
    with numbers.for_weights():
        network = ConvTimeNet(case.config).train()
    L, H = case.config.context_length, case.config.outputs
    rows = torch.randn(case.channels, L + H + case.batch - 1, generator=torch.Generator())
    config = TrainConfig(batch_size=case.batch, lr=case.lr)
    return Step(network, Windows(rows, torch.arange(case.batch), L, H), config, CPU), network


def worker(rounds: int, steps: int) -> dict[str, Any] | None:
    """Time all modes by turns; the result in the first process."""
    case, sums = CASES["F1"], Sums()
    with alone():
        own, network = a_step(case)
    shared, _ = a_step(case)
    whole = torch.arange(case.batch)
    half = whole.tensor_split(2)[processes.rank()]
    first = processes.leads()

    def timed(mode: str) -> float:
        torch.set_num_threads(2 if mode == MODES[1] else 1)
        processes.agreed(0)  # both begin at the same time
        run: Callable[[], None]
        if mode == MODES[3]:
            run = lambda: shared(whole)  # noqa: E731
        elif mode == MODES[2] or first:
            index = half if mode == MODES[2] else whole
            run = lambda: own(index)  # noqa: E731
        else:
            return 0.0
        begin = time.perf_counter()
        for _ in range(steps):
            if mode == MODES[3]:
                run()
            else:
                with alone():
                    run()
        return (time.perf_counter() - begin) / steps

    for mode in MODES:
        timed(mode)
    sums.bytes, sums.calls, sums.seconds = 0, 0, 0.0
    found = {mode: [] for mode in MODES}
    for turn in range(rounds):
        for mode in MODES[turn % 4 :] + MODES[: turn % 4]:
            found[mode].append(timed(mode))
    together = rounds * steps
    if not first:
        return None
    parameters = count_parameters(network)
    return {
        "case": "F1",
        "seconds_per_step": found,
        "gradient_bytes": 4 * parameters,
        "sum_bytes": sums.bytes / together,
        "sums": sums.calls / together,
        "seconds_in_sums": sums.seconds / together,
        "flops": work_of(case.config, case.rows, parameters).flops,
    }


def estimate(found: dict[str, Any], devices: int, batch: int = 1) -> float:
    """Speed-up on paper of GPUs of one machine, for a batch `batch` times as large."""
    compute = batch * found["flops"] / GPU["flops"]
    moved = found["gradient_bytes"] + found["sum_bytes"]
    ring = 2 * (devices - 1) / devices * moved / GPU["link"]
    waits = (found["sums"] + 1) * GPU["latency"]
    return compute / (compute / devices + ring + waits)


def main() -> None:
    """Start the two processes, and write what they measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4, help="of each mode a round")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        with processes.joined():
            found = worker(given.rounds, given.steps)
        if found is not None:
            given.worker.write_text(json.dumps(found), encoding="utf-8")
        return
    out = Path(f".scale-{os.getpid()}.json").absolute()
    flags = ["--rounds", str(given.rounds), "--steps", str(given.steps), "--worker", str(out)]
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    try:
        subprocess.run([*start, __file__, *flags], check=True)
        found = json.loads(out.read_text(encoding="utf-8"))
    finally:
        out.unlink(missing_ok=True)
    median = {mode: statistics.median(each) for mode, each in found["seconds_per_step"].items()}
    reference = found["seconds_per_step"][MODES[0]]
    for mode, each in found["seconds_per_step"].items():
        ratios = [a / b for a, b in zip(reference, each, strict=True)]
        print(
            f"{mode:24s} {median[mode]:.3f} s a step, {statistics.median(ratios):.2f} times as fast"
        )
    apart = found["seconds_per_step"][MODES[2]]
    waited = [a - b for a, b in zip(found["seconds_per_step"][MODES[3]], apart, strict=True)]
    print(
        f"communication and waiting {statistics.median(waited):.3f} s, of it in the norms' sums "
        f"{found['seconds_in_sums']:.3f} s; {found['gradient_bytes']:,} bytes of gradients and "
        f"{found['sums']:.0f} sums of {found['sum_bytes']:,.0f} bytes in all"
    )
    found["on_paper"] = {
        f"{n} GPUs, batch x {b}": round(estimate(found, n, b), 2)
        for b in (1, 8, 64)
        for n in (2, 8)
    }
    print("on paper:", found["on_paper"])
    if given.json:
        found |= {
            "machine": f"{processor()}, {cores()} cores",
            "date": datetime.now(UTC).date().isoformat(),
            "commit": commit_of_package(),
            "command": " ".join(["python", *sys.argv]),
            "gpu": GPU,
        }
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
