"""What one network keeps of an ensemble that it was distilled from.

    python benchmarks/evidence/distil.py [--only ILI-24 ERing] [--seeds 2023 1]

Runs the cells that have no line yet, and writes table and picture of docs/evidence/distil.md;
--no_run writes the page alone. For each set the ensemble of quality="best" is fitted once and kept
in .cache/distil. Its first member is the network of quality="auto" with the same seed, bit for bit,
so that one is scored as "auto". Then the ensemble is distilled. Forecasters are scored on all test
windows after one training, classifiers on the test cases after both, as in matrix.toml.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster
from convtimenet.bench.machine import commit_of_package, processor
from convtimenet.bench.models import forecasts_of
from convtimenet.bench.problems import CasesProblem, Problem, load
from convtimenet.data.table_rows import crop
from convtimenet.network.ensemble import networks_in
from convtimenet.network.inference import fuse
from convtimenet.network.kernels import library
from convtimenet.network.model import count_parameters
from convtimenet.report._canvas import BLUE, FAINT, ORANGE, drawing, svg
from convtimenet.runs.result import versions

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "benchmarks" / "results" / "evidence" / "distil.jsonl"
MODELS = ROOT / ".cache" / "distil"
PAGE = ROOT / "docs" / "evidence" / "distil.md"
SETS = ("ILI-24", "ILI-48", "Exchange-96", "ETTh1-96")
SETS += ("ERing", "JapaneseVowels", "SelfRegulationSCP1", "HandMovementDirection")


def problem_of(name: str) -> Problem:
    """The registered set of a name with its horizon."""
    set_name, _, horizon = name.partition("-")
    return load(set_name, int(horizon) if horizon else None, "honest")


def known(problem: Any) -> dict[str, Any]:
    """What `fit` and `distil` are given."""
    if isinstance(problem, CasesProblem):
        return {"X": problem.train}
    split = problem.train_end, problem.valid_end
    return {"X": crop(problem.table, 0, problem.valid_end), "split": split, "refit": False}


def fitted_best(problem: Problem, folder: Path, seed: int) -> tuple[Any, float]:
    """The ensemble, and the CPU seconds of its fit; from the folder if it is there."""
    seconds = folder.with_suffix(".json")
    kind = ConvTimeNetClassifier if isinstance(problem, CasesProblem) else ConvTimeNetForecaster
    settings: dict[str, Any] = {"random_state": seed, "verbose": 0, "device": "cpu"}
    if seconds.exists():
        model = kind.load(folder, device="cpu")
        return model.set_params(**settings), json.loads(seconds.read_text())
    if not isinstance(problem, CasesProblem):
        settings["h"] = problem.horizon
    begin = time.process_time()
    model = kind(quality="best", **settings).fit(**known(problem))
    spent = round(time.process_time() - begin, 2)
    model.save(folder)
    seconds.write_text(json.dumps(spent))
    return model, spent


def first_of(best: Any) -> Any:
    """The model of quality="auto": the first network alone."""
    model = copy(best)
    model.network_, model.members_ = networks_in(best.network_)[0], ()
    model.fused_ = fuse(model.network_)
    return model


def answers(model: Any, problem: Problem) -> tuple[np.ndarray, float]:
    """Forecasts (n, C, H) of the test windows, or class probabilities (n, K); CPU seconds."""
    begin = time.process_time()
    if isinstance(problem, CasesProblem):
        found = model.predict_proba(problem.test)
    else:
        found = forecasts_of(model, problem)
    return found, round(time.process_time() - begin, 3)


def line_of(
    name: str, seed: int, which: str, model: Any, problem: Problem, best: np.ndarray | None
) -> tuple[dict[str, Any], np.ndarray]:
    """Scores, size and time of a prediction, and how far the answers are from the ensemble's."""
    found, seconds = answers(model, problem)
    given: Any = found
    if isinstance(problem, CasesProblem):
        given = model.classes_[found.argmax(1)]
    off = None if best is None else np.abs(found - best)
    with tempfile.TemporaryDirectory() as folder:
        saved = model.save(Path(folder) / "model")
        size = sum(path.stat().st_size for path in saved.rglob("*") if path.is_file())
    line = {
        "set": name,
        "seed": seed,
        "model": which,
        "scores": problem.scores(given),
        "apart": None if off is None else float(off.mean()),
        "n_test": len(found),
        "predict_cpu_seconds": seconds,
        "parameters": count_parameters(model.network_),
        "bytes": size,
        "granted": model.history_.granted,
        "weights": model.history_.weights,
        "epochs": len(model.history_.epochs),
        "best_epoch": model.history_.best_epoch,
        "commit": commit_of_package(),
        "machine": {"processor": processor(), "threads": 1},
        "versions": versions(),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
    }
    return line, found


def run(sets: list[str], seeds: list[int]) -> None:
    """All cells without a line."""
    torch.set_num_threads(1)
    library.warm_up()
    MODELS.mkdir(parents=True, exist_ok=True)
    have = {(one["set"], one["seed"]) for one in read()}
    for name, seed in [(name, seed) for name in sets for seed in seeds]:
        if (name, seed) in have:
            continue
        problem = problem_of(name)
        best, spent = fitted_best(problem, MODELS / f"{name}-{seed}", seed)
        lines = []
        line, theirs = line_of(name, seed, "best", best, problem, None)
        lines.append({**line, "fit_cpu_seconds": spent})
        lines.append(line_of(name, seed, "auto", first_of(best), problem, theirs)[0])
        begin = time.process_time()
        small = best.distil(**known(problem))
        spent = round(time.process_time() - begin, 2)
        line, _ = line_of(name, seed, "distilled", small, problem, theirs)
        lines.append({**line, "fit_cpu_seconds": spent})
        with OUT.open("a") as file:
            file.writelines(json.dumps(one) + "\n" for one in lines)
        for one in lines:
            sys.stderr.write(f"{name} {seed} {one['model']}: {one['scores']}, {one['apart']}\n")


def read() -> list[dict[str, Any]]:
    """The committed lines."""
    return [json.loads(text) for text in OUT.read_text().splitlines()] if OUT.exists() else []


def kept(by: dict[str, dict[str, Any]]) -> str:
    """What the distilled network keeps of the ensemble's gain over the default, in per cent."""
    auto, small, best = (goodness(by[one]) for one in ("auto", "distilled", "best"))
    return f"{100 * (small - auto) / (best - auto):.0f} %" if best > auto else "no gain to keep"


def goodness(line: dict[str, Any]) -> float:
    """A score that is better if it is higher: accuracy, or the negative MSE."""
    scores = line["scores"]
    return scores["accuracy"] if "accuracy" in scores else -scores["mse"]


def by_cell() -> dict[tuple[str, int], dict[str, dict[str, Any]]]:
    """The newest line of each model by set and seed, in the order of `SETS`."""
    found: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for one in read():
        found.setdefault((one["set"], one["seed"]), {})[one["model"]] = one
    return dict(sorted(found.items(), key=lambda one: (SETS.index(one[0][0]), one[0][1])))


def tables() -> str:
    """Scores, and what they cost."""
    scores = [
        "| set | seed | auto | best | distilled | kept of the gain | apart: auto | distilled |"
    ]
    scores.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    costs = ["| set | parameters: best | distilled | KiB saved: best | distilled |"]
    costs[0] += " fit, CPU s: best | distilled | predict, CPU s: best | distilled |"
    costs.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for (name, seed), by in by_cell().items():
        models = [by[one] for one in ("auto", "best", "distilled")]
        shown = [f"{abs(goodness(one)):.4f}" for one in models]
        apart = [f"{by[one]['apart']:.4f}" for one in ("auto", "distilled")]
        scores.append(f"| {' | '.join([name, str(seed), *shown, kept(by), *apart])} |")
        pair = by["best"], by["distilled"]
        cells = [f"{one['parameters']:,}" for one in pair]
        cells += [f"{one['bytes'] / 1024:,.0f}" for one in pair]
        cells += [f"{one['fit_cpu_seconds']:,.0f}" for one in pair]
        cells += [f"{one['predict_cpu_seconds']:.2f}" for one in pair]
        if seed == min(own for other, own in by_cell() if other == name):
            costs.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join([*scores, "", *costs])


def picture() -> str:
    """How much better than auto are best and distilled: MSE in per cent, accuracy in points."""
    cells = by_cell()
    kinds = {
        "MSE below that of auto, per cent": [one for one in cells if "-" in one[0]],
        "accuracy above that of auto, points": [one for one in cells if "-" not in one[0]],
    }
    kinds = {xlabel: rows for xlabel, rows in kinds.items() if rows}
    sizes = [len(rows) for rows in kinds.values()]
    with drawing(7.0, 0.6 + sum(0.6 + 0.42 * n for n in sizes)) as figure:
        panels = figure.subplots(len(kinds), squeeze=False, height_ratios=sizes)[:, 0]
        for panel, (axes, (xlabel, rows)) in enumerate(zip(panels, kinds.items(), strict=True)):
            axes.axvline(0, color=FAINT, linewidth=1.2, zorder=1)
            for number, (which, colour) in enumerate((("best", BLUE), ("distilled", ORANGE))):
                for row, cell in enumerate(rows):
                    one, auto = goodness(cells[cell][which]), goodness(cells[cell]["auto"])
                    gain = 100 * ((one - auto) / -auto if auto < 0 else one - auto)
                    label = None if row or panel else which
                    y = row + 0.36 * (number - 0.5)
                    axes.barh(y, gain, 0.3, color=colour, label=label, zorder=2)
            axes.set_yticks(
                range(len(rows)), labels=[f"{name}, seed {seed}" for name, seed in rows]
            )
            axes.set_ylim(len(rows) - 0.4, -0.6)
            axes.set_xlabel(xlabel)
        figure.legend(loc="outside upper left", frameon=False, ncols=2, fontsize=8)
        return svg(figure)


def write_page() -> None:
    """Put tables and picture into the page."""
    start, end = "<!-- tables -->\n", "<!-- end of tables -->"
    text = PAGE.read_text()
    before, after = text.split(start)[0], text.split(end)[1]
    PAGE.write_text(f"{before}{start}\n{tables()}\n\n{end}{after}")
    PAGE.with_suffix(".svg").write_text(picture())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=list(SETS), help="sets to run")
    parser.add_argument("--seeds", nargs="+", type=int, default=[2023])
    parser.add_argument("--no_run", action="store_true", help="write the page from the lines")
    flags = parser.parse_args()
    if not flags.no_run:
        run(flags.only, flags.seeds)
    write_page()


if __name__ == "__main__":
    main()
