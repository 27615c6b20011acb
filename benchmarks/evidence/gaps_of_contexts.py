"""Values of test contexts taken away from a model that was fitted to complete rows, with what its
linear stream reads in their places: docs/design/linear-stream.md.

    python benchmarks/evidence/gaps_of_contexts.py  # a minute; writes raw results

ETTh1, 96 steps ahead, `quality="fast"`, the split of the matrix, every seventh test window. The
mean of the context is what masked values are elsewhere, a line that of `fill_contexts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

import convtimenet
from convtimenet import ConvTimeNetForecaster
from convtimenet.batch import fill_contexts
from convtimenet.bench.problems import ForecastProblem, load
from convtimenet.data.table_rows import crop
from convtimenet.files import json_text, whole_file
from convtimenet.network.linear import LinearNetwork

RESULTS = Path(__file__).parents[1] / "results" / "gaps-of-contexts.json"
END, INSIDE, SHARES = (1, 3, 6, 12, 24, 48), ((7, 24), (1, 24), (24, 24)), (0.1, 0.3, 0.7)
"""Steps at the end, steps before the end and their number, shares at random."""


def gaps(x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """What is known of contexts (n, C, L), and what that is called."""
    step = torch.arange(x.shape[-1], 0, -1)
    yield "nothing is missing", torch.ones_like(x, dtype=torch.bool)
    for last in END:
        yield f"the last {last}", (step > last).expand_as(x)
    for after, number in INSIDE:
        inside = (step > after) & (step <= after + number)
        yield f"{number} before the last {after}", ~inside.expand_as(x)
    for share in SHARES:
        numbers = torch.Generator().manual_seed(0)
        yield f"{share:.0%} at random", torch.rand(x.shape, generator=numbers) >= share


def errors(network: LinearNetwork, x: Tensor, y: Tensor, known: Tensor) -> dict[str, float]:
    """Mean squared error with each way to read what is missing."""
    ways: dict[str, Callable[[Tensor], tuple[Tensor, Tensor | None]]] = {
        "as it is read": lambda x: (x, known),
        "the mean of the context": lambda x: (x, None),
        "a line, at the end the last value": lambda x: (fill_contexts(x, known), None),
    }
    found = {}
    with torch.inference_mode():
        for name, way in ways.items():
            scaled, statistics = network.embedding(torch.where(known, x, 0.0), known)
            answer = network.embedding.inverse(network.linear(*way(scaled)), statistics)
            found[name] = round(float((answer - y).double().square().mean()), 5)
    return found


def main() -> None:
    problem = load("ETTh1", 96, "honest")
    assert isinstance(problem, ForecastProblem)
    assert problem.train_end is not None
    model = ConvTimeNetForecaster(problem.horizon, quality="fast", verbose=0, refit=False)
    model.fit(
        crop(problem.table, 0, problem.valid_end), split=(problem.train_end, problem.valid_end)
    )
    network = model.network_
    assert isinstance(network, LinearNetwork)
    windows = problem.windows("test", network.config.context_length)
    batch = windows.batch(torch.arange(0, len(windows), 7))
    found = [
        {"missing": name, "mse": errors(network, batch.x, batch.y, known)}
        for name, known in gaps(batch.x)
    ]
    result = {
        "version": convtimenet.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "windows": len(batch.x),
        "context": network.config.context_length,
        "found": found,
    }
    with whole_file(RESULTS) as file:
        file.write(json_text(result, indent=1))
    for one in found:
        print(f"{one['missing']}: {one['mse']}")


if __name__ == "__main__":
    main()
