"""Tables and pictures of single pages of docs/evidence/, beside the comparisons of all of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from convtimenet.bench.matrix import Matrix
from convtimenet.bench.report.document import Picture, Table
from convtimenet.report._canvas import BLUE, FAINT, GREEN, ORANGE, drawing, svg

Line = Mapping[str, Any]
RULES = {"best": BLUE, "patience": ORANGE, "last": GREEN}
"""Stopping rules, and the colours of their lines."""


def spread(scores: Sequence[float]) -> str:
    """Mean and standard deviation, with the number of runs."""
    if not scores:
        return "not run"
    text = f" ± {np.std(scores, ddof=1):.1f}" if len(scores) > 1 else ""
    return f"{np.mean(scores):.1f}{text} x{len(scores)}"


# --- few cases ----------------------------------------------------------------------------------


def _runs(matrix: Matrix, found: Mapping[str, Line]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Each run: its set, share, dropout, rule and seed, and its accuracy in per cent."""
    for cell in matrix.cells:
        if cell.key in found:
            share, dropout, rule = cell.variant.split("-")
            place = (cell.dataset, share, f"{int(dropout[1:]) / 10:g}", rule, str(cell.seed))
            yield place, 100 * found[cell.key]["scores"]["accuracy"]


def _by(matrix: Matrix, found: Mapping[str, Line], part: int, name: str, title: str) -> Table:
    """Accuracy by share and one more part of a run."""
    runs = [*_runs(matrix, found)]
    shares = sorted({place[1] for place, _ in runs}, key=int)
    rows = []
    for dataset in dict.fromkeys(place[0] for place, _ in runs):
        for kind in dict.fromkeys(place[part] for place, _ in runs):
            row = [dataset, kind]
            for share in shares:
                own = [
                    value
                    for place, value in runs
                    if (place[0], place[1], place[part]) == (dataset, share, kind)
                ]
                row.append(spread(own))
            rows.append(row)
    missing = sorted({cell.dataset for cell in matrix.cells if cell.key not in found})
    return Table(
        caption=title,
        columns=["set", name, *(f"{share} %" for share in shares)],
        rows=rows,
        texts=2,
        notes=[
            "Per cent, mean and standard deviation over all other settings and seeds (the number "
            "of runs behind x).",
            *([f"Not run in full: {', '.join(missing)}."] if missing else []),
        ],
    )


def few_cases(matrix: Matrix, found: Mapping[str, Line]) -> Table:
    """Accuracy by share of the training cases and stopping rule."""
    return _by(matrix, found, 3, "stopping rule", "Accuracy by share of cases and stopping rule")


def dropouts(matrix: Matrix, found: Mapping[str, Line]) -> Table:
    """Accuracy by share of the training cases and dropout."""
    return _by(matrix, found, 2, "dropout", "Accuracy by share of cases and dropout")


def few_cases_drawn(matrix: Matrix, found: Mapping[str, Line]) -> Picture:
    """Every run's accuracy by share, a colour for each rule."""
    runs = [*_runs(matrix, found)]
    sets = list(dict.fromkeys(place[0] for place, _ in runs))
    shares = sorted({place[1] for place, _ in runs}, key=int)
    with drawing(7.0, 1.9 * ((len(sets) + 1) // 2)) as figure:
        axes = figure.subplots((len(sets) + 1) // 2, 2, sharex=True, squeeze=False)
        for dataset, own in zip(sets, axes.flat, strict=False):
            own.set_title(dataset, fontsize=9)
            for number, (rule, colour) in enumerate(RULES.items()):
                points = [
                    [value for place, value in runs if (*place[:2], place[3]) == (dataset, s, rule)]
                    for s in shares
                ]
                for x, values in enumerate(points):
                    at = np.full(len(values), x + 0.16 * (number - 1))
                    own.plot(at, values, "o", color=colour, markersize=3, alpha=0.6)
                means = [float(np.mean(values)) if values else np.nan for values in points]
                own.plot(range(len(means)), means, color=colour, label=rule, linewidth=1.2)
            own.set_xticks(range(len(shares)), labels=[f"{share} %" for share in shares])
            own.grid(axis="y", color=FAINT)
        for own in axes[:, 0]:
            own.set_ylabel("accuracy, %", fontsize=8)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", frameon=False, ncols=3, fontsize=8)
        drawn = svg(figure)
    return Picture(
        name="rules",
        svg=drawn,
        heading="Every run",
        caption="A point is a run (three dropouts, three seeds), a line joins the means.",
        alt="Accuracy by share of the training cases, for each set and stopping rule",
    )


# --- pre-training -------------------------------------------------------------------------------


def by_start(matrix: Matrix, found: Mapping[str, Line]) -> Table:
    """Accuracy by set, share of labels and what the network starts from."""
    starts = {
        "scratch": "new weights",
        "tuned": "reconstruction, trained on",
        "frozen": "reconstruction, kept",
        "contrast": "contrast, trained on",
    }
    cells = [cell for cell in matrix.cells if cell.horizon is None]
    shares = dict.fromkeys(cell.variant.partition("-")[2] for cell in cells)
    rows, missing = [], []
    for place in dict.fromkeys(cell.dataset for cell in cells):
        for share in shares:
            row = [place, share]
            for start in starts:
                scores = [
                    100 * found[cell.key]["scores"]["accuracy"]
                    for cell in cells
                    if (cell.dataset, cell.variant) == (place, f"{start}-{share}")
                    and cell.key in found
                ]
                row.append(spread(scores))
            if set(row[2:]) == {"not run"}:
                missing.append(f"{place} {share} %")
            else:
                rows.append(row)
    return Table(
        caption="Accuracy by share of labels and start",
        columns=["set", "labels, per cent", *starts.values()],
        rows=rows,
        notes=[
            "Per cent, mean and standard deviation over seeds (their number behind x).",
            *([f"Not run: {', '.join(missing)}."] if missing else []),
        ],
    )


# --- movement -----------------------------------------------------------------------------------


def _moved(
    matrix: Matrix, found: Mapping[str, Line]
) -> Iterator[tuple[str, list[dict[str, float]]]]:
    """For each set or horizon, what each seed's patches do and what zeroed offsets change."""
    for place in dict.fromkeys(cell.where for cell in matrix.cells):
        seeds = []
        for cell in matrix.cells:
            if cell.where != place or cell.key not in found:
                continue
            line = found[cell.key]
            one, plain = line["chosen"]["offsets"], line["chosen"]["offsets"]["plain_width"]
            before, after = one["as_trained"], line["scores"]
            forecasts = "mse" in before
            changed = (
                100 * (after["mse"] / before["mse"] - 1)
                if forecasts
                else 100 * (after["accuracy"] - before["accuracy"])
            )
            seeds.append(
                {
                    "patch": plain + 1,
                    "moved": one["moved"]["mean"],
                    "p95": one["moved"]["p95"],
                    "wider": 100 * (one["width"]["mean"] / plain - 1),
                    "answers": math.nan if forecasts else 100 * one["answers_changed"],
                    "score": before["mse"] if forecasts else 100 * before["accuracy"],
                    "changed": changed,
                }
            )
        yield place, seeds


def movement(matrix: Matrix, found: Mapping[str, Line]) -> Table:
    """How far patches lie from their anchors, and what zeroing the offsets changes."""
    rows = []
    for place, seeds in _moved(matrix, found):
        if not seeds:
            rows.append([place, *["not run"] * 8])
            continue
        forecasts = math.isnan(seeds[0]["answers"])
        rows.append(
            [
                place,
                str(len(seeds)),
                f"{seeds[0]['patch']:g}",
                f"{np.mean([one['moved'] for one in seeds]):.2f}",
                f"{np.mean([one['p95'] for one in seeds]):.2f}",
                _range([one["wider"] for one in seeds], 1),
                f"{np.mean([one['score'] for one in seeds]):.{4 if forecasts else 1}f}",
                _range([one["changed"] for one in seeds], 1),
                "" if forecasts else _range([one["answers"] for one in seeds], 1, sign=False),
            ]
        )
    return Table(
        caption="Patches on the test inputs",
        columns=[
            "set", "seeds", "patch size, steps", "moved, mean steps", "moved, 95th percentile",
            "wider by, per cent", "score as trained", "changed by zeroed offsets",
            "answers changed, per cent",
        ],
        rows=rows,
        notes=[
            "Mean over seeds, and the least and the largest of them in brackets. Moved: how far a "
            "patch's centre lies from its anchor. The score is accuracy in per cent for classes, "
            "MSE for forecasts (names with a horizon); it changes by points of accuracy or per "
            "cent of MSE."
        ],
    )  # fmt: skip


def _range(values: Sequence[float], digits: int, *, sign: bool = True) -> str:
    shape = f"{'+' if sign else ''}.{digits}f"
    text = f"{np.mean(values):{shape}}"
    return f"{text} ({min(values):{shape}} to {max(values):{shape}})" if len(values) > 1 else text


def movement_drawn(matrix: Matrix, found: Mapping[str, Line]) -> Picture:
    """Two panels with a point for each seed."""
    places = [(place, seeds) for place, seeds in _moved(matrix, found) if seeds]
    with drawing(7.0, 0.8 + 0.22 * len(places)) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        for row, (_, seeds) in enumerate(places):
            shares = [100 * one["moved"] / one["patch"] for one in seeds]
            left.plot(shares, [row] * len(seeds), "o", color=BLUE, markersize=4, alpha=0.7)
            colour = ORANGE if math.isnan(seeds[0]["answers"]) else BLUE
            changes = [one["changed"] for one in seeds]
            right.plot(changes, [row] * len(seeds), "o", color=colour, markersize=4, alpha=0.7)
        left.set_yticks(range(len(places)), labels=[place for place, _ in places])
        left.set_ylim(len(places) - 0.4, -0.6)
        left.set_xlim(left=0)
        right.axvline(0, color=FAINT, linewidth=1.2, zorder=1)
        left.set_xlabel("moved, per cent of the patch")
        right.set_xlabel("points of accuracy, or % of MSE (orange)")
        drawn = svg(figure)
    return Picture(
        name="seeds",
        svg=drawn,
        heading="Each seed",
        caption="Left: how far patches lie from their anchors. Right: what zeroed offsets change.",
        alt="Movement of patches, and change of the score with zeroed offsets, by set and seed",
    )
