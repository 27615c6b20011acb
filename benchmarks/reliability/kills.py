"""Kill training runs with SIGKILL at random moments and compare them with uninterrupted runs.

Each attempt is a process that calls ``fit(resume=folder)``; it is killed once its checkpoints have
come to a random step, however quick the machine is, and a random moment after that, and the next
one resumes. At the end, weights and history (except times) must be bit-identical to those of an
uninterrupted run.

    python benchmarks/reliability/kills.py --kills 20 --json docs/reliability/kills.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import random
import sys
import tempfile
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

TASKS = ("forecast", "classify")
PRELOADED = (
    "convtimenet.estimators.forecasting.forecaster",
    "convtimenet.estimators.classifier",
    "torch._dynamo",
)
LOOK_EVERY = 0.01
"""Seconds between looks into the folder."""
LONGEST_WAIT = 0.05
LATEST = 0.8
"""Share of the steps up to which processes are killed."""
SMALL = {"d_model": 16, "d_ff": 32, "kernel_sizes": (3, 5), "dropout": 0.1}


def fit(task: str, epochs: int, folder: str | None, tell: Connection) -> None:
    """One attempt: report the start, train, report the result."""
    import torch

    from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster

    torch.set_num_threads(1)
    tell.send("begun")
    random_numbers = np.random.default_rng(1)
    settings: dict[str, Any] = {"model": SMALL, "n_epochs": epochs, "device": "cpu", "verbose": 0}
    often = {"checkpoint_seconds": 0.02, "patience": None}
    if task == "forecast":
        values = np.sin(np.arange(400)[:, None] / np.array([3.0, 7.0, 12.0]))
        values += 0.2 * random_numbers.normal(size=values.shape)
        training = {**often, "batch_size": 16}
        model = ConvTimeNetForecaster(h=12, input_size=48, training=training, **settings)
        model.fit(values, resume=folder)
    else:
        X = random_numbers.normal(size=(240, 2, 60))
        X[::2] += np.sin(np.arange(60) / 4)
        training = {**often, "batch_size": 16, "refit": True, "validation_fraction": 0.2}
        # one group of random patches: solving for 24 takes longer than a life, and keeps no steps
        settings["model"] = SMALL | {"random_patches": 1}
        model = ConvTimeNetClassifier(training=training, **settings)
        model.fit(X, np.arange(240) % 2, resume=folder)
    digest = hashlib.sha256()
    for name, value in model.network_.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    history = model.history_.to_dict()
    del history["seconds"]
    for epoch in history["epochs"]:
        del epoch["seconds"]
    tell.send({"weights": digest.hexdigest(), "history": history})


def live(
    task: str, epochs: int, folder: Path | None, step: int | None = None, wait: float = 0.0
) -> dict[str, Any] | None:
    """An attempt, killed so many seconds after its checkpoints have come to a step: its result,
    None if it was killed.

    Raises
    ------
    RuntimeError
        If it ended on its own without a result.
    """
    # a fork server that has imported everything starts each process quickly
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])
    hear, tell = context.Pipe(duplex=False)
    process = context.Process(
        target=fit, args=(task, epochs, None if folder is None else str(folder), tell)
    )
    process.start()
    tell.close()
    hear.recv()
    try:
        while folder is not None and step is not None:
            if hear.poll(LOOK_EVERY):
                break  # it has ended
            if steps_in(folder) >= step:
                if hear.poll(wait):
                    break
                process.kill()
                process.join()
                return None
        result = hear.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"a training ended with exit code {process.exitcode}") from None
    process.join()
    return result


def steps_in(folder: Path) -> int:
    """Number of steps in the newest checkpoints of a folder."""
    from safetensors.numpy import load

    steps = 0
    for phase in ("choose", "refit"):
        while states := sorted(folder.glob(f"{phase}-*.safetensors")):
            with suppress(FileNotFoundError):  # a newer one has taken its place
                values = load(states[-1].read_bytes())["values.json"].tobytes()
                steps += json.loads(values)["history"]["steps"]
                break
    return steps


def kill_often(task: str, kills: int, epochs: int, seed: int) -> dict[str, Any]:
    """Kill one training run repeatedly, and compare it with an uninterrupted one."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        whole = live(task, epochs, Path(folder))
        seconds = time.monotonic() - begin
        steps = steps_in(Path(folder))
    # the first may die before it has kept anything, the last must still find a running process
    at = sorted(draw.randrange(round(LATEST * steps)) for _ in range(kills))
    survived, before = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for step in at:
            wait = draw.uniform(0, LONGEST_WAIT)
            if live(task, epochs, Path(folder), step, wait) is not None:
                break
            before.append(steps_in(Path(folder)))
            survived += 1
        result = live(task, epochs, Path(folder))
    return {
        "task": task,
        "tried": len(before),
        "survived": survived,
        "identical": result == whole,
        "seconds_whole": round(seconds, 2),
        "steps_whole": steps,
        "steps_before_kills": before,
        "seed": seed,
        "epochs": epochs,
    }


def main() -> int:
    """Run the requested tasks; 0 if every killed run matches the uninterrupted one."""
    from convtimenet.runs.result import versions

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--task", choices=TASKS, help="both by default")
    parser.add_argument("--kills", type=int, default=20, help="kills per task")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="seed of the kill times")
    parser.add_argument("--json", type=Path, help="write the summary")
    flags = parser.parse_args()
    tasks = TASKS if flags.task is None else (flags.task,)
    runs = [kill_often(task, flags.kills, flags.epochs, flags.seed) for task in tasks]
    summary = {"versions": versions(), "runs": runs}
    print(json.dumps(summary, indent=1))
    if flags.json:
        flags.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    good = all(run["identical"] and run["tried"] == run["survived"] == flags.kills for run in runs)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
