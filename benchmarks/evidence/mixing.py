"""Channels that read each other, for mixing.toml: generated tables in which one channel leads
another, and our forecaster telling what of it the led channel knows.

    python benchmarks/evidence/mixing.py   # CPU time of a training step by number of channels
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convtimenet import ConvTimeNetForecaster, __version__
from convtimenet.bench.machine import processor
from convtimenet.bench.matrix import Matrix
from convtimenet.bench.models import Fitted, fitted_forecaster, macs_of
from convtimenet.bench.problems import ForecastProblem, forecast_problem
from convtimenet.bench.report.document import Table
from convtimenet.config import ModelConfig, Protocol
from convtimenet.data.tables import read_table
from convtimenet.files import json_text, whole_file
from convtimenet.network.kernels import library
from convtimenet.network.model import ConvTimeNet, count_parameters

RESULTS = Path(__file__).resolve().parents[1] / "results" / "evidence" / "mixing-cost.json"
LEAD = 5
"""Steps by which the first channel leads the second."""
_ROWS, _SPLIT = 4000, (2800, 3400)
_CHANNELS = (8, 32, 128)


def leading(
    name: str, horizon: int | None, protocol: Protocol, group: str, channels: int
) -> ForecastProblem:
    """A table whose second channel is its first one, `LEAD` steps later, with a little noise; the
    number behind the name's @ is the seed.

    Every channel is an autoregressive process of order 1 (coefficient 0.5), so the last value says
    little about the next five; nothing but the first channel says more about the second one.
    """
    draw = np.random.default_rng(int(name.rpartition("@")[2]))
    noise = draw.normal(size=(_ROWS + 100, channels))
    values = np.zeros_like(noise)
    for t in range(1, len(values)):
        values[t] = 0.5 * values[t - 1] + noise[t]
    values[LEAD:, 1] = values[:-LEAD, 0] + 0.1 * noise[LEAD:, 1]
    table = read_table(values[100:])
    return forecast_problem(name, horizon, protocol, table, *_SPLIT, _ROWS)


def forecaster(problem: ForecastProblem, seed: int, **settings: Any) -> Fitted:
    """Our forecaster, whose `chosen` has the squared error of each channel over the first `LEAD`
    steps, and the share of what it reads in others that the validation split left each."""
    kept: list[ConvTimeNetForecaster] = []

    class Kept(ConvTimeNetForecaster):
        def _new_network(self, config: ModelConfig) -> Any:
            kept[:] = [self]
            return super()._new_network(config)

    fitted = fitted_forecaster(Kept, problem, seed, preset="auto", **settings)
    network = kept[0].network_
    found: dict[str, Any] = {"mixed": kept[0].history_.mixed}
    if isinstance(network, ConvTimeNet) and network.mixing is not None:
        found["mixed_by_channel"] = network.mixing.granted.tolist()

    def predict() -> np.ndarray:
        answers = fitted.predict()
        error = np.square(answers - problem.truth())[..., :LEAD]
        found["first_steps"] = error.mean((0, 2)).tolist()
        return answers

    return dataclasses.replace(fitted, chosen={**fitted.chosen, "mixing": found}, predict=predict)


def led(matrix: Matrix, found: Mapping[str, Mapping[str, Any]]) -> Table:
    """Squared error of the led channel over the first steps, by generated table."""
    rows, ratios = [], []
    for place in dict.fromkeys(cell.where for cell in matrix.cells if "@" in cell.dataset):
        by = {
            cell.variant: found[cell.key]["chosen"]["mixing"]["first_steps"]
            for cell in matrix.cells
            if cell.where == place and cell.key in found
        }
        if len(by) < 2:
            rows.append([place, *["not run"] * 4])
            continue
        alone, mixed = by["alone-96"], by["mixed-96"]
        ratios.append(alone[1] / mixed[1])
        others = np.mean(np.delete(mixed, 1)) / np.mean(np.delete(alone, 1))
        rows.append(
            [place, f"{alone[1]:.3f}", f"{mixed[1]:.3f}", f"{ratios[-1]:.1f}", f"{others:.3f}"]
        )
    return Table(
        caption=f"The led channel, first {LEAD} steps",
        columns=["table", "alone", "mixed", "times less", "others, mixed to alone"],
        rows=rows,
        notes=[
            "MSE in training standard deviations, mean over all test windows. 0.008 is what the "
            "noise on the led channel leaves. The last column is the ratio of the MSE of the other "
            "five channels, which nothing leads."
        ],
    )


def costs(matrix: Matrix, found: Mapping[str, Mapping[str, Any]]) -> Table:
    """What mixing costs, by number of channels."""
    told = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = [
        [
            str(row["channels"]),
            f"{row['seconds_alone']:.2f}",
            f"{row['seconds_mixed']:.2f}",
            f"{row['seconds_mixed'] / row['seconds_alone']:.2f}",
            f"{row['macs_alone'] / 1e6:,.0f}",
            f"{(row['macs_mixed'] - row['macs_alone']) / 1e6:.2f}",
            f"{row['weights_mixed'] - row['weights_alone']:,}",
        ]
        for row in told["rows"]
    ]
    return Table(
        caption="Cost by number of channels",
        columns=[
            "channels", "step alone, CPU s", "step mixed, CPU s", "ratio",
            "forecast alone, million multiply-adds", "mixing adds, million", "mixing adds, weights",
        ],
        rows=rows,
        notes=[
            f"The default network, context 336, horizon 96, {told['messages']} messages; forward "
            f"and backward of {told['batch']} windows, median of five, interleaved in one process, "
            f"one thread, {told['machine']['processor']}. Command: {told['command']}, seed "
            f"{told['seed']}, convtimenet {told['versions']['convtimenet']}, torch "
            f"{told['versions']['torch']}; raw: benchmarks/results/evidence/mixing-cost.json."
        ],
    )  # fmt: skip


def warm_up(model: str) -> None:
    """As `convtimenet.bench.models.warm_up`."""
    library.warm_up()


# --- cost ----------------------------------------------------------------------------------------


def cost(channels: int, messages: int) -> dict[str, float]:
    """CPU seconds of a training step, weights and multiply-adds of the default network with so many
    channels, with and without channel mixing."""
    torch.set_num_threads(1)
    alone = ModelConfig.forecasting(context_length=336, horizon=96)
    mixed = replace(alone, channel_mixing=messages, mixed_channels=channels)
    found: dict[str, float] = {"channels": channels}
    networks = {"alone": ConvTimeNet(alone), "mixed": ConvTimeNet(mixed)}
    x, y = torch.randn(8, channels, 336), torch.randn(8, channels, 96)
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(6):
        for name, network in networks.items():
            begin = time.process_time()
            (network(x) - y).square().mean().backward()
            if turn:  # the first one warms up
                seconds[name].append(time.process_time() - begin)
    for name, network in networks.items():
        found[f"seconds_{name}"] = float(np.median(seconds[name]))
        found[f"weights_{name}"] = count_parameters(network)
        found[f"macs_{name}"] = macs_of(network.eval(), x[:1])
    return found


def main() -> None:
    """Write the cost by number of channels."""
    library.warm_up()
    torch.manual_seed(0)
    messages = 4
    values = {
        "command": "python benchmarks/evidence/mixing.py",
        "messages": messages,
        "seed": 0,
        "batch": 8,
        "rows": [cost(channels, messages) for channels in _CHANNELS],
        "versions": {"convtimenet": __version__, "torch": torch.__version__},
        "machine": {"processor": processor(), "threads": 1},
    }
    with whole_file(RESULTS) as file:
        file.write(json_text(values, indent=1))


if __name__ == "__main__":
    main()
