"""Tables of scores: by set, next to published scores, and by protocol."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from convtimenet.bench.matrix import Cell
from convtimenet.bench.report.document import Table
from convtimenet.bench.report.published import Place, Published
from convtimenet.bench.report.ranks import mean_ranks
from convtimenet.bench.report.summary import (
    SCORES,
    Column,
    Grid,
    Line,
    Result,
    Row,
    best,
    complete,
)
from convtimenet.datasets.published import published
from convtimenet.report._html import count

__all__ = [
    "mean_text",
    "over",
    "protocol_table",
    "published_tables",
    "registered_table",
    "score_tables",
]

_LETTERS = "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ"
_DIGITS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

RULE = (
    "Bold: the best of a row, if its lead over the second is larger than the sum of their "
    "standard deviations over seeds. For a model with one seed the largest deviation of the row "
    "is used; for a deterministic one 0{names}. No score is bold in a row without deviations."
)


def score_tables(grid: Grid, scores: Sequence[str], task: str) -> list[Table]:
    """A table per score, by row and model, with mean ranks; common notes are below the last."""
    tables, notes = [], [_cells_note(grid), _rule(grid)]
    heads, variants = _heads(grid)
    for score in scores:
        name, less = SCORES[score]
        means = grid.means(score)
        rows, bold = [], set()
        for i, row in enumerate(grid.rows):
            results = [grid.results.get((row, column)) for column in grid.columns]
            rows.append([row.label, *(_shown(result, score) for result in results)])
            spreads = [None if result is None else result.sd(score) for result in results]
            fixed = [column.deterministic for column in grid.columns]
            if (first := best(means[i].tolist(), spreads, fixed, less=less)) is not None:
                bold.add((i, first + 1))
        block, kept = complete(np.isfinite(means))
        if len(kept) > 1:
            ranks = dict(zip(kept, mean_ranks(means[np.ix_(block, kept)], less=less), strict=True))
            cells = [f"{ranks[i]:.2f}" if i in ranks else "" for i in range(len(grid.columns))]
            rows.append([f"Mean rank in {count(len(block), 'row')}", *cells])
        tables.append(
            Table(
                caption=f"{task.capitalize()}, {name}",
                columns=["Set", *heads],
                rows=rows,
                bold=frozenset(bold),
            )
        )
    if any(table.rows[-1][0].startswith("Mean rank") for table in tables):
        notes.append(
            "Mean ranks are over the rows in which every ranked model has a result; 1 is the best. "
            "Models with fewer rows are not ranked."
        )
    return [*tables[:-1], replace(tables[-1], notes=[*notes, *variants])]


def published_tables(
    grid: Grid, scores: Sequence[str], published: Sequence[Published]
) -> list[Table]:
    """A table per score: means over horizons and single horizons, next to published ones.

    Common notes are below the last table. Empty if the matrix has no such row.
    """
    sources = list(
        dict.fromkeys(other.source for other in published if {*scores} & {*other.scores})
    )
    found = [_published(grid, score, published, sources) for score in scores]
    tables = [table for table, _ in found if table is not None]
    if not tables:
        return []
    used = {number for _, numbers in found for number in numbers}
    notes = [f"{_number(i + 1)} {sources[i]}." for i in sorted(used)]
    if used:
        notes.insert(
            0, "Columns with a superscript number are published scores, the others are our own."
        )
    if over := _means_note(
        [place for score in scores for place in _places(grid, score, published)]
    ):
        notes.insert(0, over)
    return [*tables[:-1], replace(tables[-1], notes=[*notes, *_heads(grid)[1]])]


def registered_table(grid: Grid, scores: Sequence[str], task: str) -> Table | None:
    """The scores that the registry of data sets knows for rows of the grid; None without any."""
    rows = [
        [
            row.label,
            other.model,
            other.counted,
            other.source,
            *(_as_published(other.scores[score]) for score in scores),
        ]
        for row in grid.rows
        for other in published(row.dataset, row.horizon)
    ]
    if not rows:
        return None
    names = [SCORES[score][0] for score in scores]
    return Table(
        caption=f"{task.capitalize()}: single published scores",
        columns=["Set", "Model", "Computed on", "Source", *(n[0].upper() + n[1:] for n in names)],
        rows=rows,
        texts=4,
    )


def _as_published(value: float) -> str:
    """All digits, at least three behind the point."""
    text = f"{value:.3f}"
    return text if float(text) == value else f"{value:g}"


def _means_note(places: Sequence[Place]) -> str:
    """The note that says which horizons the means are over."""
    sets: dict[tuple[int, ...], dict[str, None]] = {}
    for dataset, horizons in places:
        if len(horizons) > 1:
            sets.setdefault(horizons, {})[dataset] = None
    told = "; ".join(f"{', '.join(own)}: {', '.join(map(str, h))}" for h, own in sets.items())
    return f"Means are over horizons, if all of them have results. {told}." if told else ""


def _published(
    grid: Grid, score: str, published: Sequence[Published], sources: Sequence[str]
) -> tuple[Table | None, set[int]]:
    """The table, and the indices of the sources that it uses."""
    places = _places(grid, score, published)
    ours = [
        [over(grid, dataset, horizons, column, score) for column in grid.columns]
        for dataset, horizons in places
    ]
    figures = [
        [other.scores.get(score, {}).get(place, math.nan) for other in published]
        for place in places
    ]
    kept = [j for j in range(len(grid.columns)) if any(isinstance(row[j], float) for row in ours)]
    others = [j for j in range(len(published)) if np.isfinite([row[j] for row in figures]).any()]
    if not kept or not places:
        return None, set()
    used = [sources.index(published[j].source) for j in others]
    own_heads = _heads(grid)[0]
    heads = [
        *(own_heads[j] for j in kept),
        *(published[j].model + _number(i + 1) for j, i in zip(others, used, strict=True)),
    ]
    rows = [
        [
            _place_label(dataset, horizons),
            *(mean_text(own[j]) for j in kept),
            *(_number_or_empty(other[j]) for j in others),
        ]
        for (dataset, horizons), own, other in zip(places, ours, figures, strict=True)
    ]
    name = SCORES[score][0]
    caption = f"{name[0].upper()}{name[1:]} and published scores"
    return Table(caption=caption, columns=["Set", *heads], rows=rows), {*used}


def protocol_table(
    columns: Sequence[Column],
    cells: Sequence[Cell],
    lines: Mapping[str, Line],
    scores: Sequence[str],
    task: str,
) -> Table | None:
    """Scores under both protocols, over the seeds that have both; None if no cell has both."""
    seeds = {
        (cell.who, cell.where, cell.seed, cell.protocol) for cell in cells if cell.key in lines
    }
    both = [
        cell
        for cell in cells
        if all((cell.who, cell.where, cell.seed, one) in seeds for one in ("honest", "paper"))
    ]
    if not both:
        return None
    honest = Grid.of(columns, both, lines)
    paper = Grid.of(columns, both, lines, protocol="paper")
    rows = []
    for row in honest.rows:
        for column in honest.columns:
            if (one := honest.results.get((row, column))) is None:
                continue
            other = paper.results[row, column]
            cells_ = [row.label, column.title]
            for score in scores:
                cells_ += _gap(one.mean(score), other.mean(score), SCORES[score][1])
            rows.append([*cells_, str(len(one.lines))])
    heads = [
        head.format(SCORES[score][0][0].upper() + SCORES[score][0][1:])
        for score in scores
        for head in ("{}, honest", "{}, paper", "Gap")
    ]
    return Table(
        caption=f"{task.capitalize()} by protocol",
        columns=["Set", "Model", *heads, "Seeds"],
        rows=rows,
        texts=2,
        notes=[
            "Gap: difference of the paper's protocol to the honest one, in per cent of the honest "
            "error, or in percentage points of accuracy."
        ],
    )


def _gap(honest: float, paper: float, relative: bool) -> list[str]:
    gap = 100 * (paper / honest - 1) if relative and honest else 100 * (paper - honest)
    text = f"{gap:+.1f}" + (" %" if relative else "")
    return [_number_or_empty(honest), _number_or_empty(paper), text if math.isfinite(gap) else ""]


def _shown(result: Result | None, score: str) -> str:
    if result is None:
        return ""
    if not result.lines:
        return result.missing
    if not math.isfinite(mean := result.mean(score)):
        return "not finite"
    text, sd, ran = f"{mean:.3f}", result.sd(score), len(result.lines)
    if sd is not None:
        text += f" ± {sd:.3f}" if sd >= 0.0005 or sd == 0 else f" ± {sd:.1g}"
    if ran < result.named:
        return f"{text} ({ran} of {result.named})"
    return f"{text} ({ran})" if ran > 1 else text


def _cells_note(grid: Grid) -> str:
    text = "Mean"
    if any(result.named > 1 for result in grid.results.values()):
        text += " ± standard deviation over seeds (number of seeds)"
    else:
        text += " of one seed" if grid.results else ""
    missing = [result for result in grid.results.values() if not result.lines]
    if not all(result.failed for result in missing):
        text += "; not run: no result yet"
    if any(result.failed for result in missing):
        text += "; failed: the reason is at the end of the page"
    return text + "; empty: not part of the matrix."


def _rule(grid: Grid) -> str:
    fixed = "; ".join(column.title for column in grid.columns if column.deterministic)
    return RULE.format(names=f" (here: {fixed})" if fixed else "")


def _heads(grid: Grid) -> tuple[list[str], list[str]]:
    """Titles of the columns, and footnotes on which variant was used on which sets."""
    heads, notes = [], []
    for column in grid.columns:
        where: dict[str, dict[str, None]] = {}
        for row in grid.rows:
            if (result := grid.results.get((row, column))) is not None:
                where.setdefault(result.variant, {})[row.dataset] = None
        if len(where) < 2:
            heads.append(column.title)
            continue
        letter = _LETTERS[len(notes) % len(_LETTERS)]
        heads.append(f"{column.title}{letter}")
        told = "; ".join(
            f"{column.model}.{variant} on {', '.join(sets)}" for variant, sets in where.items()
        )
        notes.append(f"{letter} {told}.")
    return heads, notes


def _places(grid: Grid, score: str, published: Sequence[Published]) -> list[Place]:
    """Sets with all their horizons, then the sets and horizons of published scores."""
    named: dict[str, list[int]] = {}
    for row in grid.rows:
        own = named.setdefault(row.dataset, [])
        if row.horizon is not None:
            own.append(row.horizon)
    figures = [place for other in published for place in other.scores.get(score, {})]
    several = [(dataset, tuple(own)) for dataset, own in named.items() if len(own) > 1]
    found = [
        (dataset, horizons)
        for dataset, own in named.items()
        for name, horizons in figures
        if name == dataset and set(horizons) <= set(own) and bool(horizons) == bool(own)
    ]
    return list(dict.fromkeys([*several, *sorted(found, key=lambda place: len(place[1]) < 2)]))


def over(
    grid: Grid, dataset: str, horizons: tuple[int, ...], column: Column, score: str
) -> float | str:
    """Mean over horizons, () for none; without a result for each of them, what to show instead."""
    places: Iterable[Row] = (Row(dataset, horizon) for horizon in horizons or (None,))
    found = [grid.results.get((row, column)) for row in places]
    if missing := [one for one in found if one is not None and not one.lines]:
        return max((one.missing for one in missing), key="failed".__eq__)
    if any(one is None for one in found):
        return ""
    mean = float(np.mean([one.mean(score) for one in found if one is not None]))
    return mean if math.isfinite(mean) else "not finite"


def _place_label(dataset: str, horizons: tuple[int, ...]) -> str:
    if len(horizons) > 1:
        return f"{dataset}, mean of {len(horizons)}"
    return Row(dataset, horizons[0] if horizons else None).label


def mean_text(mean: float | str) -> str:
    """A mean of `over` in a table."""
    return mean if isinstance(mean, str) else f"{mean:.3f}"


def _number_or_empty(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else ""


def _number(value: int) -> str:
    return str(value).translate(_DIGITS)
