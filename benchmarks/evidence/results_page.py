"""docs/results.md with its pictures, and the tables of README's Results, from the committed lines.

    python benchmarks/evidence/results_page.py  # also: make results

`convtimenet bench run benchmarks/evidence/matrix.toml`, and the same with small.toml, measures what
has no line yet. The page is the report of `convtimenet bench report` on both matrices together.
"""

from __future__ import annotations

import math
import re
import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path

import beyond

from convtimenet.bench.matrix import Matrix
from convtimenet.bench.report import parts_of
from convtimenet.bench.report.costs import processors
from convtimenet.bench.report.document import Facts, Part, Picture, as_markdown
from convtimenet.bench.report.scores import mean_text, over
from convtimenet.bench.report.short import Duel, between, duels, listed
from convtimenet.bench.report.summary import Column, Grid, Result, Results, Row, Task
from convtimenet.files import whole_file

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE, README = ROOT / "docs" / "results.md", ROOT / "README.md"
PICTURES = "img/results"  # the beginning of their names, beside the page
COMMAND = "make results"
BEGIN, END = f"<!-- results: written by `{COMMAND}` -->", "<!-- end of results -->"
FEW_CASES = 30
"""Test cases below which one of them moves the mean over the sets by a quarter of a point."""
COMPACT = ("convtimenet", "authors", "ridge", "patchtst", "dlinear", "naive")
"""The models of README's forecasting table."""
APART = "best"
"""A variant of ours that is left out there: the matrix does not have it on all of these sets."""
SMALL_SIZES = "small-part"
"""PatchTST's variant on Weather."""

HEAD = (
    f"Written by `{COMMAND}` from [one line per cell](../benchmarks/results/evidence/): settings, "
    "seed, versions, machine, seconds and a hash of the predictions of every fit. "
    "`convtimenet bench run` with [matrix.toml](../benchmarks/evidence/matrix.toml) or "
    "[small.toml](../benchmarks/evidence/small.toml) measures what has no line yet; "
    "[benchmarks/evidence/](../benchmarks/evidence/README.md) says more."
)


def main() -> None:
    """Write the page, its pictures and README's tables."""
    several = results()
    parts = page_parts(several)
    texts = {PAGE: page(parts), README: readme(several, README.read_text(encoding="utf-8"))}
    for block in (block for part in parts for block in part.blocks):
        if isinstance(block, Picture):
            texts[PAGE.parent / block.file(PICTURES)] = block.svg
    for path, text in texts.items():
        with whole_file(path) as file:
            file.write(text)
        print(path.relative_to(ROOT))


def results() -> list[Results]:
    """What has been measured of the two matrices."""
    matrices = [Matrix.read(HERE / name) for name in ("matrix.toml", "small.toml")]
    return [Results.read(matrix, matrix.cells, matrix.results) for matrix in matrices]


def page_parts(several: Sequence[Results]) -> list[Part]:
    """The parts of the report, and notes before the last one."""
    *parts, origin = parts_of(several, COMMAND)
    return [*parts, Part("notes", "Notes", [Facts(notes(several[0]))]), origin]


def page(parts: Sequence[Part]) -> str:
    """docs/results.md."""
    title, rest = as_markdown("Results", parts, PICTURES).split("\n\n", 1)
    return f"{title}\n\n{wrapped(HEAD)}\n\n{rest}"


def readme(several: Sequence[Results], text: str) -> str:
    """README with new tables between the two comments."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"expected {BEGIN} and {END} in README.md; put them back")
    return f"{before}{BEGIN}\n{tables(several)}\n{END}{after}"


# --- README -------------------------------------------------------------------------------------


def tables(several: Sequence[Results]) -> str:
    """What stands between the two comments."""
    main, small = several
    forecasts, classes = grid_of(main, "forecasting"), grid_of(main, "classification")
    sets = list(dict.fromkeys(row.dataset for row in classes.rows))
    blocks = [
        "Forecasting: MSE on all test windows, mean over horizons "
        f"({horizons_told(forecasts)}), lower is better.{parts_told(main, forecasts)}",
        forecast_rows(forecasts),
        f"Classification: mean accuracy over {len(sets)} UEA sets, higher is better; CPU seconds "
        'of fit and predict on one thread, median over the sets (least to most). "auto" is what '
        '`ConvTimeNetClassifier()` trains, "fast" is `quality="fast"`; the paper has settings for '
        f"seven of these sets. The larger sets are all but {few_cases(classes)}.",
        class_rows(classes),
        losses(forecasts, classes, main.matrix.ours),
        "Beyond these tables:",
        "\n".join(f"- {one}" for one in beyond.told(main, small, COMPACT)),
        small_told(small),
        beyond.protocols(main),
        "Honest protocol; scores are means over the seeds that have run, and a mean over horizons "
        "or sets needs a result in each. [docs/results.md](docs/results.md) has every set, "
        "horizon, number of seeds, deviation and published score. "
        f"`{COMMAND}` writes it, and this, from "
        "[the lines](benchmarks/results/evidence/); `convtimenet bench run "
        "benchmarks/evidence/matrix.toml` measures them, `make evidence` measures some again.",
    ]
    return "\n\n".join(
        block if block.startswith("|") else "\n".join(map(wrapped, block.split("\n")))
        for block in blocks
    )


def wrapped(text: str) -> str:
    """A paragraph, or an item of a list, in short lines."""
    text = re.sub("`[^`]+`", lambda code: code[0].replace(" ", "\0"), text)  # stays on one line
    indent = "  " if text.startswith("- ") else ""
    lines = textwrap.fill(
        text, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return lines.replace("\0", " ")


def grid_of(results: Results, task: Task) -> Grid:
    """Results of one task."""
    return results.grid(results.by_task()[task])


def compact(grid: Grid) -> list[Column]:
    """The columns of README's forecasting table."""
    found = [column for name in COMPACT for column in grid.columns if column.model == name]
    return [column for column in found if APART not in column.variants]


def horizons_of(grid: Grid) -> dict[str, tuple[int, ...]]:
    """The horizons of each set that all columns of README's table are to have."""
    found: dict[str, tuple[int, ...]] = {}
    for row in grid.rows:
        if row.horizon is not None and all((row, one) in grid.results for one in compact(grid)):
            found[row.dataset] = (*found.get(row.dataset, ()), row.horizon)
    return found


def horizons_told(grid: Grid) -> str:
    """Horizons with the sets that have them."""
    sets: dict[tuple[int, ...], list[str]] = {}
    for name, own in horizons_of(grid).items():
        sets.setdefault(own, []).append(name)
    return "; ".join(f"{listed(own)}: {listed([*map(str, h)])}" for h, own in sets.items())


def parts_told(results: Results, grid: Grid) -> str:
    """Which models see only a part of every epoch, on which sets, and which are of other sizes than
    their repository has for a set."""
    sets: dict[str, None] = {}
    models: dict[str, None] = {}
    for cell in results.cells:
        own = [column for column in grid.columns if column.holds(cell.who)]
        training = results.matrix.settings(cell).get("training", {})
        if cell.model in COMPACT and "epoch_size" in training:
            sets[cell.dataset] = None
            models |= {column.title: None for column in own}
    if not sets:
        return ""
    text = f" On {listed([*sets])}, {listed([*models])} train on a part of every epoch."
    if any(SMALL_SIZES in column.variants for column in compact(grid)):
        text += " On Weather, PatchTST/42 has the smaller sizes that its repository has for ETTh1."
    return text


def forecast_rows(grid: Grid) -> str:
    """Means over horizons by set."""
    columns = compact(grid)
    rows = [
        [name, *(mean_text(over(grid, name, h, column, "mse")) for column in columns)]
        for name, h in horizons_of(grid).items()
    ]
    return markdown(["set", *(column.title for column in columns)], rows)


def class_rows(grid: Grid) -> str:
    """Our models, and the others that have run on every set."""
    rows = []
    for column in grid.columns:
        if (mean := mean_accuracy(grid, column)) is None:
            continue
        seconds = [
            statistics.fmean(sum(line["cpu_seconds"].values()) for line in result.lines)
            for result in in_column(grid, column)
        ]
        low, middle, high = map(two, (min(seconds), statistics.median(seconds), max(seconds)))
        larger = mean_accuracy(grid, column, FEW_CASES)
        assert larger is not None
        rows.append([column.title, f"{mean:.3f}", f"{larger:.3f}", f"{middle} ({low} to {high})"])
    table = markdown(["model", "accuracy", "on the larger sets", "CPU seconds"], rows)
    if len(processors(grid)) < 2:
        return table
    return f"{table}\n\nSeconds are of different processors: see [costs](docs/results.md#cost)."


def two(value: float) -> str:
    """Two significant digits."""
    return f"{float(f'{value:.2g}'):g}"


def in_rows(grid: Grid, column: Column) -> list[Row]:
    """The rows in which a model has a result."""
    return [row for row in grid.rows if (row, column) in grid.results]


def in_column(grid: Grid, column: Column) -> list[Result]:
    """The results of a model, without the rows that the matrix does not name for it."""
    return [grid.results[row, column] for row in in_rows(grid, column)]


def mean_accuracy(grid: Grid, column: Column, least: int = 0) -> float | None:
    """Over the sets of at least so many test cases; None if one of all sets has no result."""
    own = in_column(grid, column)
    values = [result.mean("accuracy") for result in own]
    complete = len(own) == len(grid.rows) and all(map(math.isfinite, values))
    large = [
        value
        for value, result in zip(values, own, strict=True)
        if result.lines and result.lines[0]["n_test"] >= least
    ]
    return statistics.fmean(large) if complete else None


def few_cases(grid: Grid) -> str:
    """The sets of fewer test cases than `FEW_CASES`."""
    found = {
        row.label: result.lines[0]["n_test"]
        for (row, _), result in grid.results.items()
        if result.lines and result.lines[0]["n_test"] < FEW_CASES
    }
    return listed([f"{label} ({n} test cases)" for label, n in sorted(found.items())])


def losses(forecasts: Grid, classes: Grid, ours: Sequence[str]) -> str:
    """Which of the others are better than ours, where."""
    told = []
    columns = compact(forecasts)
    for own in (column for column in columns if column.model == COMPACT[0]):
        better = []
        for column in (column for column in columns if column.model != COMPACT[0]):
            worse = []
            for name, horizons in horizons_of(forecasts).items():
                mine = over(forecasts, name, horizons, own, "mse")
                other = over(forecasts, name, horizons, column, "mse")
                if isinstance(mine, float) and isinstance(other, float) and clear(mine, other):
                    worse.append(name)
            if worse:
                better.append(f"{column.title} ({', '.join(worse)})")
        told.append(
            f"the mean MSE of {own.title} is above that of {listed(better or ['none of these'])}"
        )
    text = f"Where ours lose: {'; '.join(told)}"
    for column in (column for column in classes.columns if column.model in ours):
        mean = mean_accuracy(classes, column)
        if mean is None:
            continue
        others = [c for c in classes.columns if c.model not in ours]
        for least, where in ((0, ""), (FEW_CASES, " on the larger sets")):
            mine = mean_accuracy(classes, column, least)
            assert mine is not None
            better = [
                f"{other.title} (by {100 * (one - mine):.1f} points)"
                for other in others
                if (one := mean_accuracy(classes, other, least)) is not None and clear(one, mine)
            ]
            text += (
                f", and{where} that of "
                if where
                else f"; the accuracy of {column.title} is below that of "
            )
            text += listed(better or ["none of these"])
    return f"{text}."


def clear(one: float, other: float) -> bool:
    """Whether the table shows one as the larger."""
    return round(one, 3) > round(other, 3)


def small_told(results: Results) -> str:
    """Ours beside the others on small series."""
    found = duels(grid_of(results, "small series"), results.matrix.ours, "small series")
    told = []
    for own in dict.fromkeys(duel.ours for duel in found):
        each = [
            f"{abs(duel.difference):.1f} % {'above' if duel.difference > 0 else 'below'} that of "
            f"{duel.peer.title} ({interval_told(duel)}better in {duel.ahead} of {duel.rows})"
            for duel in found
            if duel.ours == own and duel.rows == duel.named
        ]
        told.append(f"{own.title} {listed(each or ['not known yet'])}")
    return (
        "On small series (single series and panels, three cut-offs each) the MASE is on average, "
        f"for {'; for '.join(told)}."
    )


def interval_told(duel: Duel) -> str:
    """The interval of a difference, if there is one."""
    return f"95 % interval {between(duel.interval)} %, " if duel.interval else ""


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    rules = ["---", *("---:" for _ in heads[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, rules, *rows))


# --- notes --------------------------------------------------------------------------------------


def notes(results: Results) -> dict[str, str]:
    """What the tables do not say at a glance."""
    forecasts, classes = grid_of(results, "forecasting"), grid_of(results, "classification")
    owns = [column for column in forecasts.columns if column.model == COMPACT[0]]
    [naive] = [column for column in forecasts.columns if column.model == "naive"]
    found: dict[str, str] = {}
    for own in owns:
        rows = {row: forecasts.results[row, own] for row in in_rows(forecasts, own)}
        worse = [
            row.label
            for row, result in rows.items()
            if result.mean("mse") > mean(forecasts, row, naive, "mse")
        ]
        if worse:
            found[f"{naive.title} has a lower MSE than {own.title}"] = ", ".join(worse)
        spreads = [
            (100 * sd / result.mean("mse"), row.label)
            for row, result in rows.items()
            if (sd := result.sd("mse")) is not None
        ]
        if spreads:
            several = sorted(spreads, reverse=True)
            told = ", ".join(f"{label} {share:.1f} %" for share, label in several)
            found[f"Standard deviation of {own.title}'s MSE over seeds, of the mean"] = told
        single = [row.label for row, result in rows.items() if len(result.lines) == 1]
        if single and not own.deterministic:
            found[f"{own.title} has one seed only"] = ", ".join(single)
    if near := chance(classes, results.matrix.ours):
        found[
            "Sets on which none of our classifiers is two standard errors above the largest class, "
            "so that their order there says little"
        ] = near
    return found


def mean(grid: Grid, row: Row, column: Column, score: str) -> float:
    """NaN without a result."""
    result = grid.results.get((row, column))
    return math.nan if result is None else result.mean(score)


def chance(grid: Grid, ours: Sequence[str]) -> str:
    """Sets whose test cases are too few to tell our accuracy from that of the largest class."""
    told = []
    for row in grid.rows:
        own = [
            result
            for column in grid.columns
            if column.model in ours
            and (result := grid.results.get((row, column))) is not None
            and result.lines
        ]
        if not own:
            continue
        line = own[0].lines[0]
        share, n = line["naive"]["accuracy"], line["n_test"]
        best = max(result.mean("accuracy") for result in own)
        if best < share + 2 * math.sqrt(share * (1 - share) / n):
            told.append(f"{row.label} (at best {best:.3f}, largest class {share:.3f}, {n} cases)")
    return ", ".join(told)


if __name__ == "__main__":
    main()
