"""Train sktime's port of the authors' network in our loop, and score it on all test windows.

    python benchmarks/evidence/port_scores.py Exchange 96 --seed 2023

Same windows, batches, schedule, early stopping and scaling as `convtimenet evaluate` under the
honest protocol; only the network is theirs. This separates the effect of the network on the score
from that of the seed. Needs the `bench` extra; writes to docs/results/variants/.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from itertools import pairwise
from pathlib import Path

import torch
from timing.cases import Case
from timing.contestants import authors_network
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from convtimenet import datasets
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.windows import Scaler, Windows
from convtimenet.estimators.presets import paper_preset
from convtimenet.runs.result import versions
from convtimenet.training.loop import training_batches
from convtimenet.training.metrics import evaluate

CPU = torch.device("cpu")
VARIANTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "variants"


class ChannelsFirst(nn.Module):
    """Their network, which reads (B, L, C), with our axis order."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.transpose(1, 2)).transpose(1, 2)


def main() -> None:
    """Train once and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name")
    parser.add_argument("horizon", type=int)
    parser.add_argument("--seed", type=int, default=2023)
    given = parser.parse_args()
    data = datasets.load_forecasting(given.name)
    preset = paper_preset(given.name, "forecast")
    context = preset.context_length
    assert context is not None
    config = ModelConfig.forecasting(context_length=context, horizon=given.horizon, **preset.model)
    train = TrainConfig(**preset.train, seed=given.seed)
    values = data.values.T
    scaled = torch.from_numpy(Scaler.standard(values[:, : data.train_end]).apply(values)).float()
    bounds = (0, data.train_end, data.val_end, data.test_end)
    fitting, choosing, testing = (
        Windows.between(scaled, context, given.horizon, first, end)
        for first, end in pairwise(bounds)
    )
    case = Case("port", config, train.batch_size, len(values), train.lr)
    with torch.random.fork_rng([]):
        torch.manual_seed(given.seed)
        model = ChannelsFirst(authors_network(case))
        optimiser = torch.optim.Adam(model.parameters(), lr=train.lr)
        order = torch.Generator().manual_seed(given.seed)
        best, kept, waited, epochs = float("inf"), model, 0, []
        for epoch in range(1, train.epochs + 1):
            for group in optimiser.param_groups:
                group["lr"] = train.learning_rate(epoch)
            model.train()
            for index in training_batches(torch.randperm(len(fitting), generator=order), train):
                batch = fitting.batch(index)
                optimiser.zero_grad()
                mse_loss(model(batch.x), batch.y).backward()
                optimiser.step()
            scores = evaluate(model, choosing, "forecast", train.batch_size, CPU)
            epochs.append(scores)
            print(epoch, scores, file=sys.stderr, flush=True)
            if scores["mse"] < best:
                best, kept, waited = scores["mse"], copy.deepcopy(model), 0
            else:
                waited += 1
            if train.patience is not None and waited >= train.patience:
                break
    found = evaluate(kept, testing, "forecast", train.batch_size, CPU)
    result = {
        "command": f"python benchmarks/evidence/port_scores.py {given.name} {given.horizon} "
        f"--seed {given.seed}",
        "network": "sktime's port of the authors' network",
        "scores": found,
        "n_test": len(testing),
        "validation": epochs,
        "versions": versions(),
    }
    VARIANTS.mkdir(parents=True, exist_ok=True)
    path = VARIANTS / f"{given.name}-{given.horizon}-port-{given.seed}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(result["command"], found, file=sys.stderr)


if __name__ == "__main__":
    main()
