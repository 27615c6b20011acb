"""Train the weights that come with the package: ``python -m convtimenet.pretraining.run``.

Goes on where it was stopped or killed, as every training with a folder of checkpoints does.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save

from convtimenet.callbacks import TrainingProgress
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.devices import resolve_device
from convtimenet.files import write_whole
from convtimenet.network.model import count_parameters
from convtimenet.network.reconstruction.network import SIZES, Reconstructor
from convtimenet.pretraining.examples import GeneratedSeries
from convtimenet.training.checkpoint import Checkpoints, data_hash
from convtimenet.training.interrupt import stop_requests
from convtimenet.training.loop import train

__all__ = ["main", "pretraining_config"]

EPOCH = 500
"""Steps between two lines of the log."""
_SERIES = 2**21
_VALIDATION = 512
_BATCH = 64


def pretraining_config() -> ModelConfig:
    """The network whose weights come with the package."""
    return ModelConfig.forecasting(context_length=2048, horizon=720, **SIZES)


class _Log:
    """A line of JSON after every epoch."""

    def __init__(self, path: Path):
        self.path = path

    def on_epoch_end(self, progress: TrainingProgress) -> None:
        """Append the line."""
        line = {
            "step": progress.steps,
            "loss": round(progress.train_loss, 5),
            **{name: round(score, 5) for name, score in progress.valid.items()},
            "seconds": round(progress.seconds, 1),
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Train, and write weights and a log; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m convtimenet.pretraining.run")
    parser.add_argument("--steps", type=int, default=22_000, help="training steps")
    parser.add_argument("--folder", type=Path, required=True, help="checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="the weights, in half precision")
    parser.add_argument("--log", type=Path, required=True, help="a line of JSON every 500 steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--device", default="cpu")
    flags = parser.parse_args(arguments)
    config = pretraining_config()
    training = TrainConfig(
        epochs=max(1, flags.steps // EPOCH),
        epoch_size=EPOCH * _BATCH,
        batch_size=_BATCH,
        lr=flags.lr,
        schedule="cosine",
        weight_decay=0.01,
        clip_norm=1.0,
        patience=None,
        seed=flags.seed,
        device=flags.device,
        checkpoint_seconds=120.0,
    )
    device = resolve_device(flags.device)
    torch.manual_seed(flags.seed)
    network = Reconstructor(config).to(device)
    examples = GeneratedSeries(_SERIES, flags.seed, config.patch_size)
    valid = GeneratedSeries(_VALIDATION, flags.seed + 1, config.patch_size)
    run = {
        "model": config.to_dict(),
        "training": training.to_dict(),
        "training data": data_hash(examples),
        "validation data": data_hash(valid),
    }
    checkpoints = Checkpoints(flags.folder, "pretrain", run, flags.seed)
    with stop_requests() as stop:
        train(
            network,
            examples,
            valid,
            training,
            device=device,
            label="pre-training",
            checkpoints=checkpoints,
            stop=stop,
            callbacks=[_Log(flags.log)],
        )
        if stop.signal:
            sys.stderr.write("stopped; the same command goes on\n")
            return 1
    weights = {n: value.half().contiguous() for n, value in network.state_dict().items()}
    write_whole(flags.out, save(weights))
    sys.stderr.write(f"{count_parameters(network):,} weights written to {flags.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
