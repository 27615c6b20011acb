"""Coverage and width of calibrated intervals, compared with a seasonal-naive forecaster's.

    python benchmarks/evidence/interval_coverage.py ETTh1 96  # point forecasts
    python benchmarks/evidence/interval_coverage.py ETTh1 96 --head quantiles  # a quantile head
    python benchmarks/evidence/interval_coverage.py ETTh1 96 --calibrate apart  # separate rows
    python benchmarks/evidence/interval_coverage.py ETTh1 96 --load FOLDER  # a saved model
    python benchmarks/evidence/interval_coverage.py --table  # tables for docs/intervals.md

A network is trained with the paper's hyper-parameters under the honest protocol, calibrated on the
validation split and scored on the test split. The seasonal-naive forecaster repeats the last season
of the context and is calibrated in the same way on the same windows. "choices" are the units of the
errors, compared on the validation split alone: its first half calibrates, its second half is
scored. ``convtimenet evaluate ETTh1 --h 96 --save FOLDER`` saves such a model. Writes
docs/results/intervals/<set>-<h>-<head>-<calibrate>-<seed>.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convtimenet import ConvTimeNetForecaster, datasets
from convtimenet.data.windows import Windows
from convtimenet.estimators.forecasting.backtest import SeasonalNaive
from convtimenet.estimators.forecasting.calibration import Calibration
from convtimenet.estimators.forecasting.intervals import (
    Bands,
    IntervalSums,
    calibrate,
    context_scale,
)
from convtimenet.files import whole_file
from convtimenet.runs.result import versions
from convtimenet.training.metrics import IntervalScores, evaluate, outputs
from convtimenet.training.objectives import loss_of

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "intervals"
LEVELS = (80.0, 95.0)
HEADS = {"point": (), "quantiles": (0.025, 0.1, 0.5, 0.9, 0.975)}
UNITS = {
    "training deviation": torch.ones_like,
    "root of the context's deviation": torch.sqrt,
    "context's deviation": torch.clone,
}


def scored(
    network: nn.Module,
    calibration: Calibration,
    windows: Windows,
    quantiles: tuple[float, ...],
    channels: tuple[str, ...],
) -> tuple[IntervalScores, ...]:
    """Coverage and width on windows."""
    sums = [IntervalSums(one, calibration.radius(one), len(channels), CPU) for one in LEVELS]
    count = torch.zeros(len(channels), windows.horizon)
    for output, batch in outputs(network, windows, 256, CPU):
        count += len(output)
        for one in sums:
            one.add(Bands(output, context_scale(batch.x), quantiles), batch.y, None)
    return tuple(one.scores(count, channels) for one in sums)


def choices(network: nn.Module, valid: Windows, test: Windows) -> list[dict[str, Any]]:
    """Coverage of a point forecast's intervals for each unit of the errors and for shared or
    per-channel radii: on the second half of `valid`, calibrated on the first, and for reference on
    `test`, calibrated on all of `valid`."""
    errors, scales = errors_of(network, valid)
    half, gap = len(errors) // 2, valid.horizon - 1  # no target of the later half is in the earlier
    parts = [
        ((errors[: half - gap], scales[: half - gap]), (errors[half:], scales[half:])),
        ((errors, scales), errors_of(network, test)),
    ]
    rows = []
    for (name, unit), shared, level in product(UNITS.items(), (True, False), LEVELS):
        row: dict[str, Any] = {"unit": name, "radii": "shared" if shared else "per channel"}
        row["level"] = level
        for where, (known, new) in zip(("", "test_"), parts, strict=True):
            distances = (known[0] / unit(known[1])).numpy()
            channels = [distances.reshape(-1, 1, valid.horizon)]
            if not shared:
                channels = np.split(distances, distances.shape[1], axis=1)
            radius = np.concatenate([ranked(one, level) for one in channels])
            scale = unit(new[1]).numpy()
            row[f"{where}coverage"] = float((new[0].numpy() <= radius * scale).mean())
            row[f"{where}width"] = float((2 * radius * scale).mean())
        rows.append(row)
    return rows


def errors_of(network: nn.Module, windows: Windows) -> tuple[Tensor, Tensor]:
    """Absolute errors (n, C, H) and the contexts' deviations (n, C, 1)."""
    found = [
        ((output - batch.y).abs(), context_scale(batch.x))
        for output, batch in outputs(network, windows, 256, CPU)
    ]
    errors, scales = (torch.cat(part) for part in zip(*found, strict=True))
    return errors, scales


def ranked(distances: np.ndarray, level: float) -> np.ndarray:
    """The finite-sample quantile (1, H) of distances (n, 1, H)."""
    n = len(distances)
    rank = int(np.ceil((n + 1) * level / 100))
    return np.partition(distances[:, 0], rank - 1, axis=0)[rank - 1][None]


CPU = torch.device("cpu")


def measure(
    name: str, horizon: int, head: str, rows: str, season: int, seed: int, folder: str | None
) -> Path:
    """Fit, calibrate and score; write the raw result as JSON."""
    data = datasets.load_forecasting(name)
    middle = (data.train_end + data.val_end) // 2
    chosen_by = middle if rows == "apart" else data.val_end
    if folder is None:
        model = ConvTimeNetForecaster(
            horizon,
            preset=name,
            model={"quantiles": HEADS[head]},
            random_state=seed,
            device="cpu",
            verbose=0,
        )
        model.fit(data.values[: data.test_end], split=(data.train_end, chosen_by))
    else:
        model = ConvTimeNetForecaster.load(folder, device="cpu")
        seed, head = (
            model.train_config_.seed,
            "quantiles" if model.network_.config.quantiles else "point",
        )
    config = model.network_.config
    context, quantiles = config.context_length, config.quantiles
    values = torch.from_numpy(model.scaler_.apply(data.values.T)).float()
    first = middle if rows == "apart" else data.train_end
    valid, test = (
        Windows.between(values, context, horizon, *part)
        for part in ((first, data.val_end), (data.val_end, data.test_end))
    )
    loss = loss_of(config, model.train_config_)
    result: dict[str, Any] = {
        "dataset": name,
        "horizon": horizon,
        "head": head,
        "calibrated_on": rows,
        "season": season,
        "seed": seed,
        "calibration_windows": len(valid),
        "test_windows": len(test),
        "scores": evaluate(model.fused_, test, "forecast", 256, CPU, loss=loss),
        "best_epoch": model.history_.best_epoch,
        "versions": versions(),
        "model": model.network_.config.to_dict(),
        "training": model.train_config_.to_dict(),
        "history": model.history_.to_dict(),
        "intervals": {},
    }
    naive = SeasonalNaive(season, horizon)
    for label, network, own in (
        ("ConvTimeNet", model.fused_, quantiles),
        ("SeasonalNaive", naive, ()),
    ):
        calibration = calibrate(network, valid, own, 256, CPU)
        found = scored(network, calibration, test, own, data.names)
        result["intervals"][label] = [plain(one) for one in found]
    if not quantiles and rows == "validation":
        result["choices"] = choices(model.fused_, valid, test)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}-{horizon}-{head}-{rows}-{seed}.json"
    with whole_file(path) as file:
        json.dump(result, file, indent=1)
    return path


def plain(scores: IntervalScores) -> dict[str, Any]:
    """Values for JSON."""
    return {
        name: [round(float(v), 5) for v in value] if isinstance(value, np.ndarray) else value
        for name, value in asdict(scores).items()
    }


def table() -> None:
    """Print the kept results as Markdown."""
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    columns = "set | h | head | calibrated on | seed | level | coverage | lowest / highest by step"
    columns += " | mean width | seasonal-naive coverage | seasonal-naive width | ratio of widths"
    print(f"| {columns} |\n|{'---|' * (columns.count('|') + 1)}")
    for one in kept:
        pairs = zip(*one["intervals"].values(), strict=True)
        for ours, naive in pairs:
            steps = ours["coverage_per_step"]
            cells = [one["dataset"], one["horizon"], one["head"], one["calibrated_on"], one["seed"]]
            cells += [f"{ours['level']:g} %", f"**{100 * ours['coverage']:.1f} %**"]
            cells += [f"{100 * min(steps):.1f} / {100 * max(steps):.1f}", f"{ours['width']:.3f}"]
            cells += [f"{100 * naive['coverage']:.1f} %", f"{naive['width']:.3f}"]
            cells += [f"{ours['width'] / naive['width']:.2f}"]
            print(f"| {' | '.join(map(str, cells))} |")
    for one in kept:
        if one["calibrated_on"] == "validation" and "choices" in one:
            print(f"\n{one['dataset']}, {one['calibrated_on']}: choices on the validation split\n")
            print("| unit | radii | level | coverage | mean width | test coverage, for reference |")
            print("|---|---|---|---|---|---|")
            for row in one["choices"]:
                cells = [row["unit"], row["radii"], f"{row['level']:g} %"]
                cells += [f"{100 * row['coverage']:.1f} %", f"{row['width']:.3f}"]
                cells += [f"{100 * row['test_coverage']:.1f} %"]
                print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Train one model and write its result file, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", nargs="?", default="ETTh1")
    parser.add_argument("horizon", nargs="?", type=int, default=96)
    parser.add_argument("--head", choices=HEADS, default="point")
    parser.add_argument("--calibrate", choices=("validation", "apart"), default="validation")
    parser.add_argument("--season", type=int, default=24)
    parser.add_argument("--seed", type=int, default=2023)
    parser.add_argument("--load", help="use this saved model instead of training one")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        table()
        return
    torch.set_num_threads(1)
    rows, season, seed = given.calibrate, given.season, given.seed
    print(measure(given.name, given.horizon, given.head, rows, season, seed, given.load))


if __name__ == "__main__":
    main()
