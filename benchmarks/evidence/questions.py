"""The pages of docs/evidence/, one a question, from the committed results.

    python benchmarks/evidence/questions.py           # all of them
    python benchmarks/evidence/questions.py offsets   # one

Each variant stands beside a reference on the same sets with the same seeds. A difference is the
mean over seeds of paired differences, with a 95 % interval (Student's t over seeds); over sets it
is the mean of the sets' differences, with the interval over sets. Sets near chance are left out of
that mean, and of pictures. What was not run says so.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from answers import QUESTIONS, Comparison, Question
from scipy import stats

from convtimenet.bench import lines
from convtimenet.bench.matrix import Cell, Matrix
from convtimenet.bench.report.document import Part, Picture, Table, as_markdown
from convtimenet.config import ModelConfig
from convtimenet.files import whole_file
from convtimenet.report._canvas import BLUE, FAINT, GREEN, GREY, ORANGE, drawing, svg

HERE = Path(__file__).resolve().parent
PAGES = HERE.parents[1] / "docs" / "evidence"
COLOURS = (BLUE, ORANGE, GREEN, GREY, "#CC79A7", "#E69F00")
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """A variant less its reference, in points of accuracy or per cent of MSE."""

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Difference:
        """Mean and its 95 % interval; one value has no interval, nor have equal ones: accuracies
        of few cases are often equal by chance."""
        found = np.asarray(values, dtype=float)
        mean = float(found.mean())
        if len(found) < 2 or np.allclose(found, mean):
            return cls(mean, np.nan, np.nan, len(found))
        half = float(stats.t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / len(found) ** 0.5)
        return cls(mean, mean - half, mean + half, len(found))

    def __str__(self) -> str:
        if np.isnan(self.low):
            return f"{self.mean:+.1f}"
        return f"{self.mean:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


def main() -> None:
    """Write the pages that were asked for."""
    PAGES.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or QUESTIONS:
        write(QUESTIONS[name], name)


def write(question: Question, name: str) -> None:
    """One page and its pictures."""
    text, pictures = page(question, name)
    for path, one in {f"{name}.md": text, **pictures}.items():
        with whole_file(PAGES / path) as file:
            file.write(one)


def page(question: Question, name: str) -> tuple[str, dict[str, str]]:
    """Its text, and its pictures by file."""
    matrix = Matrix.read(HERE / f"{name}.toml")
    found, _ = lines.of_matrix(matrix, lines.read(matrix.results))
    blocks: list[Any] = []
    for comparison in question.comparisons:
        blocks += compared(matrix, comparison, found)
    blocks += [shown(matrix, found) for shown in question.shown]
    missing = sum(cell.key not in found for cell in matrix.cells)
    made = f"{len(matrix.cells) - missing} of {len(matrix.cells)} cells have run"
    if missing:
        made += f"; {missing} are not run yet, and the answer rests on the others"
    parts = [
        Part("question", "Question", [question.question]),
        Part("answer", "Answer", list(question.answer)),
        Part("measured", "Measured", blocks),
        Part(
            "again",
            "Run it again",
            [
                f"{made}. Commands: convtimenet bench run benchmarks/evidence/{name}.toml, then "
                f"python benchmarks/evidence/questions.py {name}. Raw results: "
                f"benchmarks/results/evidence/{name}.jsonl, one line a cell with settings, seed, "
                "versions, machine and CPU seconds."
            ],
        ),
    ]
    pictures = {block.file(name): block.svg for block in blocks if isinstance(block, Picture)}
    return as_markdown(question.title, parts, name), pictures


def compared(matrix: Matrix, comparison: Comparison, found: Mapping[str, Line]) -> list[Any]:
    """Scores, differences and a picture of some variants beside a reference."""
    everybody = (comparison.reference, *comparison.others)
    cells = [
        cell
        for cell in matrix.cells
        if cell.who in everybody and (cell.horizon is not None) == comparison.forecasts
    ]
    places = list(dict.fromkeys(cell.where for cell in cells))
    results = {
        (who, place): scores_by_seed(cells, found, who, place)
        for who in everybody
        for place in places
    }
    rows = []
    by_other: dict[str, dict[str, Difference]] = {who: {} for who in comparison.others}
    chance = [place for place in places if near_chance(cells, found, place)]
    for place in places:
        row = [place + (tokens_told(cells, found, place) if comparison.tokens else "")]
        for who in everybody:
            row.append(shown(list(results[who, place].values())))
        for who in comparison.others:
            first, second = results[comparison.reference, place], results[who, place]
            seeds = sorted(set(first) & set(second))
            if seeds:
                values = [difference(first[seed], second[seed]) for seed in seeds]
                by_other[who][place] = Difference.of(values)
            row.append(str(by_other[who][place]) if seeds else "not run")
        rows.append(row)
    last = ["all sets", *[""] * len(everybody)]
    for who in comparison.others:
        over = [one.mean for place, one in by_other[who].items() if place not in chance]
        last.append(str(Difference.of(over)) if over else "not run")
    names = comparison.names
    unit, score = "points of accuracy, more is better", "Accuracy in per cent"
    if comparison.forecasts:
        unit, score = "per cent of MSE, less is better", "MSE"
    table = Table(
        caption=comparison.title,
        columns=[
            "set",
            *(names[who] for who in everybody),
            *(f"{names[who]} less {names[comparison.reference]}" for who in comparison.others),
        ],
        rows=[*rows, last],
        notes=[
            f"{score}, mean and standard deviation over seeds (their number behind x); differences "
            f"in {unit}, paired by seed, with 95 % intervals over seeds, where two or more differ: "
            "other test rows or cases would add to them. The last row averages the sets, with an "
            "interval over them.",
            *([f"Near chance, and left out of it: {', '.join(chance)}."] if chance else []),
        ],
    )
    known = [place for place in places if place not in chance]
    shown_in = {
        who: {place: one for place, one in found.items() if place in known}
        for who, found in by_other.items()
    }
    shown_in = {who: found for who, found in shown_in.items() if found}
    if not shown_in:
        return [table]
    measured = [place for place in known if any(place in found for found in shown_in.values())]
    single = all(np.isnan(one.low) for found in shown_in.values() for one in found.values())
    picture = Picture(
        name=comparison.name,
        svg=forest(
            shown_in, measured, names, f"difference to {names[comparison.reference]}, {unit}"
        ),
        heading=f"{comparison.title}: differences",
        caption=f"Differences to {names[comparison.reference]}"
        + (", of one seed each." if single else " with 95 % intervals over seeds."),
        alt=f"Differences of {', '.join(names[who] for who in shown_in)} by set",
    )
    return [table, picture]


def near_chance(cells: Sequence[Cell], found: Mapping[str, Line], place: str) -> bool:
    """Whether the mean accuracy of all variants is within two standard errors of the answer that
    the largest training class is always right."""
    own = [found[cell.key] for cell in cells if cell.where == place and cell.key in found]
    if not own or "accuracy" not in own[0]["scores"]:
        return False
    share, n = own[0]["naive"]["accuracy"], own[0]["n_test"]
    mean = np.mean([line["scores"]["accuracy"] for line in own])
    return bool(mean < share + 2 * (share * (1 - share) / n) ** 0.5)


def tokens_told(cells: Sequence[Cell], found: Mapping[str, Line], place: str) -> str:
    """How many tokens the blocks read, behind the name of a set."""
    for cell in cells:
        if cell.where == place and cell.key in found:
            n = ModelConfig.from_dict(found[cell.key]["config"]["model"]).n_tokens
            return f" ({n} token{'s' if n > 1 else ''})"
    return ""


def scores_by_seed(
    cells: Sequence[Cell], found: Mapping[str, Line], who: str, place: str
) -> dict[int, float]:
    """MSE, or accuracy in per cent, by seed; negative for accuracy, so that less is better."""
    values = {}
    for cell in cells:
        if (cell.who, cell.where) == (who, place) and cell.key in found:
            scores = found[cell.key]["scores"]
            values[cell.seed] = scores["mse"] if "mse" in scores else -100 * scores["accuracy"]
    return values


def difference(reference: float, other: float) -> float:
    """In points of accuracy, or in per cent of the reference's MSE."""
    if reference < 0 or other < 0:
        return reference - other
    return 100 * (other / reference - 1)


def shown(values: Sequence[float]) -> str:
    """Mean and deviation over seeds."""
    if not values:
        return "not run"
    accuracy = values[0] <= 0
    size = np.abs(values)
    text = f"{size.mean():.1f}" if accuracy else f"{size.mean():.4f}"
    if len(size) > 1:
        text += f" ± {size.std(ddof=1):.1f}" if accuracy else f" ± {size.std(ddof=1):.4f}"
        text += f" x{len(size)}"
    return text


def forest(
    differences: Mapping[str, Mapping[str, Difference]],
    places: Sequence[str],
    names: Mapping[str, str],
    xlabel: str,
) -> str:
    """A row per set, a mark per variant with its interval."""
    many = len(differences)
    with drawing(7.0, 0.9 + len(places) * (0.22 + 0.13 * many)) as figure:
        axes = figure.add_subplot()
        axes.axvline(0, color=FAINT, linewidth=1.2, zorder=1)
        for number, (who, by_place) in enumerate(differences.items()):
            colour = COLOURS[number % len(COLOURS)]
            for row, place in enumerate(places):
                if place not in by_place:
                    continue
                one = by_place[place]
                y = row + 0.62 * ((number + 0.5) / many - 0.5)
                label = names[who] if place == next(iter(by_place)) else None
                axes.plot(one.mean, y, "o", color=colour, markersize=5, label=label, zorder=3)
                if not np.isnan(one.low):
                    axes.plot([one.low, one.high], [y, y], color=colour, linewidth=1.4, zorder=2)
        axes.set_yticks(range(len(places)), labels=places)
        axes.set_ylim(len(places) - 0.4, -0.6)
        axes.set_xlabel(xlabel)
        figure.legend(loc="outside upper left", frameon=False, ncols=min(many, 4), fontsize=8)
        return svg(figure)


if __name__ == "__main__":
    main()
