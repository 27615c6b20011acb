"""Pictures that compare models over the sets that they have in common."""

from __future__ import annotations

import numpy as np

from convtimenet.bench.matrix import Matrix
from convtimenet.bench.report.costs import geometric_mean
from convtimenet.bench.report.document import Picture
from convtimenet.bench.report.pictures import cost_diagram, rank_diagram
from convtimenet.bench.report.ranks import LEVEL, ranking
from convtimenet.bench.report.summary import SCORES, Grid, complete
from convtimenet.report._html import number

__all__ = ["against_cost", "over_sets"]


def over_sets(grid: Grid, score: str, task: str) -> list[str | Picture]:
    """Mean ranks over sets; a set counts once, since its horizons share the same data."""
    name, less = SCORES[score]
    means = grid.means(score)
    rows, kept = complete(np.isfinite(means))
    sets = list(dict.fromkeys(grid.rows[i].dataset for i in rows))
    if len(kept) < 3 or len(sets) < 2:
        return [
            f"{task.capitalize()}: no rank diagram; it needs three models with results on the same "
            "two sets."
        ]
    chosen = means[np.ix_(rows, kept)]
    of_set = np.array([sets.index(grid.rows[i].dataset) for i in rows])
    averaged = np.stack([chosen[of_set == i].mean(axis=0) for i in range(len(sets))])
    found = ranking(averaged, less=less)
    names = [grid.columns[i].title for i in kept]
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.3f}"
    caption = (
        f"Mean ranks of {name} over {len(sets)} sets ({', '.join(sets)}), seeds averaged first"
    )
    if len(rows) > len(sets):
        caption += f"; a set counts once, with its mean over {len(rows)} set-horizons in all"
    caption += f". Friedman test: {p}. "
    if found.p < LEVEL:
        caption += "Bars join models that do not differ significantly (Nemenyi test, 5 %)."
    else:
        caption += "No significant difference at 5 %, so one bar joins all models."
    out = [column.title for i, column in enumerate(grid.columns) if i not in kept]
    if out:
        caption += f" Left out because of missing results: {'; '.join(out)}."
    order = np.argsort(found.ranks, kind="stable")
    told = ", ".join(f"{names[i]} {found.ranks[i]:.2f}" for i in order)
    return [
        Picture(
            name=f"ranks-{task}",
            svg=rank_diagram(found, names),
            heading=f"{task.capitalize()}: mean ranks",
            caption=caption,
            alt=f"Mean ranks from the best: {told}; critical difference {found.difference:.2f}.",
        )
    ]


def against_cost(matrix: Matrix, grid: Grid, task: str) -> list[str | Picture]:
    """Score against CPU seconds, over the results that all shown models have in common."""
    forecasting = task == "forecasting"
    means = grid.means("mse" if forecasting else "accuracy")
    reference = None
    if forecasting:
        reference = next(
            (
                i
                for i, c in enumerate(grid.columns)
                if matrix.reference and c.holds(matrix.reference)
            ),
            None,
        )
        if reference is None:
            return [
                "Forecasting: no picture of error against cost, because the matrix names no "
                "reference model among these cells."
            ]
    rows, kept = complete(np.isfinite(means), reference)
    if len(kept) < 2 or not rows:
        return [
            f"{task.capitalize()}: no picture of score against cost, because no two models have a "
            "set in common."
        ]
    chosen = means[np.ix_(rows, kept)]
    if reference is None:
        scores = chosen.mean(axis=0)
        what, ylabel = "accuracy", "mean accuracy (higher is better)"
        said = f"Mean accuracy over {len(rows)} sets"
    else:
        ratios = chosen / means[rows, reference][:, None]
        scores = np.array([geometric_mean(column) for column in ratios.T])
        title = grid.columns[reference].title
        what, ylabel = f"MSE relative to {title}", "relative MSE (lower is better)"
        said = f"MSE relative to {title}, geometric mean over {len(rows)} set-horizons"
    seconds = grid.cpu_seconds()[np.ix_(rows, kept)].mean(axis=0)
    names = [grid.columns[i].title for i in kept]
    said += " with results of all shown models, against the mean CPU seconds of fit and predict."
    out = [column.title for i, column in enumerate(grid.columns) if i not in kept]
    if out:
        said += f" Left out because of missing results: {'; '.join(out)}."
    told = zip(names, scores, seconds, strict=True)
    points = "; ".join(f"{name} {score:.3f} in {number(time)} s" for name, score, time in told)
    return [
        Picture(
            name=f"cost-{task}",
            svg=cost_diagram(
                seconds, scores, names, ylabel=ylabel, xlabel="CPU seconds of fit and predict, mean"
            ),
            heading=f"{task.capitalize()}: score against cost",
            caption=said,
            alt=f"{what[0].upper()}{what[1:]} and CPU seconds: {points}.",
        )
    ]
