"""Where ours lose outside of README's tables: peers that ran on few sets, published scores, groups
of small series."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from marks import CLASSICAL, by_group

from convtimenet.bench.report.published import read_published
from convtimenet.bench.report.scores import over
from convtimenet.bench.report.short import duels, listed
from convtimenet.bench.report.summary import Column, Grid, Results
from convtimenet.config import Protocol

QUALITIES = ("fast", "auto")
PROTOCOLS: tuple[Protocol, Protocol] = ("honest", "paper")
PUBLISHED = Path(__file__).resolve().parent / "published.toml"
SOURCE = "DUET"
"""The first model of the source whose scores stand beside ours by set."""


def told(main: Results, small: Results, tabled: Sequence[str]) -> list[str]:
    """A list.

    Parameters
    ----------
    tabled
        Models that README's forecasting table shows.
    """
    by_task = main.by_task()
    forecasts, classes = (main.grid(by_task[task]) for task in ("forecasting", "classification"))
    return [
        *_few_sets(main, forecasts, tabled),
        *_published(forecasts),
        *_classes(main, classes),
        *_groups(small),
    ]


def protocols(main: Results) -> str:
    """How much better the paper's settings look under the paper's protocol."""
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for cell in main.cells:
        own, other = (main.lines.get(replace(cell, protocol=one).key) for one in PROTOCOLS)
        if cell.protocol == PROTOCOLS[0] and own is not None and other is not None:
            name = "mse" if "mse" in own["scores"] else "accuracy"
            both = own["scores"][name], other["scores"][name]
            pairs.setdefault((name, cell.where), []).append(both)
    means = {
        place: [*map(statistics.fmean, zip(*both, strict=True))] for place, both in pairs.items()
    }
    less = [100 * (1 - paper / own) for (name, _), (own, paper) in means.items() if name == "mse"]
    more = [100 * (paper - own) for (name, _), (own, paper) in means.items() if name != "mse"]
    return (
        "Under the paper's protocol, which chooses the epoch by the test split and drops windows, "
        f"the paper's settings have {min(less):.1f} to {max(less):.1f} % less MSE in {len(less)} "
        f"rows and {min(more):.1f} to {max(more):.1f} points more accuracy on {len(more)} sets "
        "than under the honest one ([by set](docs/results.md#forecasting-by-protocol))."
    )


def _ours(grid: Grid) -> list[Column]:
    """The columns of our qualities."""
    return [
        c
        for c in grid.columns
        if c.title.startswith("ConvTimeNet") and set(c.variants) & {*QUALITIES}
    ]


def _few_sets(results: Results, grid: Grid, tabled: Sequence[str]) -> list[str]:
    """Peers that are ahead on average, though not in the table."""
    found: dict[str, list[str]] = {}
    for duel in duels(grid, results.matrix.ours, "forecasting"):
        if duel.ours in _ours(grid) and duel.peer.model not in tabled and duel.difference > 0:
            rows = f"{duel.rows} cell{'s' if duel.rows > 1 else ''}"
            own = f"that of {duel.ours.title} by {duel.difference:.1f} % ({rows})"
            found.setdefault(duel.peer.title, []).append(own)
    return [f"The MSE of {peer} is below {listed(own)}." for peer, own in found.items()]


def _published(grid: Grid) -> list[str]:
    """Published models with lower means over the horizons."""
    every = read_published(PUBLISHED)
    first = next(one for one in every if one.model == SOURCE)
    models = [one for one in every if one.source == first.source]
    parts = []
    for own in _ours(grid):
        sets: list[str] = []
        for (name, horizons), _ in first.scores["mse"].items():
            mine = over(grid, name, horizons, own, "mse")
            if len(horizons) < 2 or not isinstance(mine, float):
                continue
            lower = [
                one.model for one in models if one.scores["mse"].get((name, horizons), mine) < mine
            ]
            if lower:
                sets.append(f"{name} {listed(lower)}")
        parts.append(
            f"Published mean MSE (other look-backs, see the results) below that of {own.title}: "
            f"{'; '.join(sets) or 'none'}."
        )
    return parts


def _classes(results: Results, grid: Grid) -> list[str]:
    """On how many sets a peer is ahead of ours, where ours is ahead on the mean."""
    return [
        f"{duel.ours.title} is ahead of {duel.peer.title} on {duel.ahead} sets and behind on "
        f"{duel.behind}, though its mean accuracy is {duel.difference:.1f} points higher."
        for duel in duels(grid, results.matrix.ours, "classification")
        if duel.ours in _ours(grid) and duel.difference > 0 and duel.behind > duel.ahead
    ]


def _groups(small: Results) -> list[str]:
    """Groups of small series in which a classical model has the lower mean."""
    parts = []
    for group, means in by_group(small.matrix, small.lines).items():
        ours = [means[f"convtimenet.{quality}"] for quality in QUALITIES]
        for model, title in CLASSICAL.items():
            if means[model] < min(ours):
                fast, auto = (f"{one:.3f}" for one in ours)
                parts.append(
                    f"On {group} series {title}'s relative MASE is {means[model]:.3f}, ours {fast} "
                    f"(fast) and {auto} (auto)."
                )
    return parts
