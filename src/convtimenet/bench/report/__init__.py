"""The report on a matrix, as a Markdown page with pictures and as one HTML file.

`summary` groups the result lines, `short` compares our models with each other one, `scores` and
`costs` make the tables, `comparisons` the pictures (drawn by `pictures`, with the statistics of
`ranks`); `document` writes Markdown and HTML.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from convtimenet.bench.matrix import Cell, Matrix
from convtimenet.bench.report.comparisons import against_cost, over_sets
from convtimenet.bench.report.costs import cost_table, fit_table, small_series_table
from convtimenet.bench.report.document import Facts, Part, Picture, Table, as_html, as_markdown
from convtimenet.bench.report.published import read_published
from convtimenet.bench.report.scores import (
    protocol_table,
    published_tables,
    registered_table,
    score_tables,
)
from convtimenet.bench.report.short import in_short
from convtimenet.bench.report.summary import Results, Task, columns_of
from convtimenet.files import whole_file
from convtimenet.report._canvas import require_matplotlib
from convtimenet.report._html import count

__all__ = ["parts_of", "write_report"]

Blocks = list[str | Table | Picture | Facts]
_TASKS: tuple[tuple[Task, tuple[str, ...]], ...] = (
    ("forecasting", ("mse", "mae")),
    ("classification", ("accuracy",)),
)
_HEADINGS = {
    "short": "In short",
    "forecasting": "Forecasting",
    "classification": "Classification",
    "small": "Small series",
    "published": "Comparison with published scores",
    "ranks": "Mean ranks",
    "cost": "Cost",
    "protocols": "The paper's protocol",
    "failed": "Failed",
    "origin": "How this was measured",
}


def write_report(
    matrix: Matrix, cells: Sequence[Cell], out: Path, folder: Path
) -> list[tuple[str, Path]]:
    """Write NAME.md, its pictures and NAME.html, where NAME is that of the matrix file.

    Parameters
    ----------
    cells
        The cells of the matrix to show.
    out
        The JSON Lines file.
    folder
        The output folder; created if missing.

    Returns
    -------
    list
        Description and path of each file.

    Raises
    ------
    ConfigError
        If `out` or the published scores cannot be read.
    DataError
        If there is no result or error for any of the cells.
    MissingExtraError
        If matplotlib is not installed.
    """
    require_matplotlib()
    results = Results.read(matrix, cells, out)
    command = f"convtimenet bench report {matrix.path.name}"
    if out.resolve() != matrix.results.resolve():
        command += f" --out {out.name}"
    return _written(matrix, folder, parts_of([results], command))


def parts_of(several: Sequence[Results], command: str) -> list[Part]:
    """The parts of one page on the results of one or more matrices, written by `command`."""
    blocks: dict[str, Blocks] = {anchor: [] for anchor in _HEADINGS}
    blocks["short"] += in_short(several)
    for results in several:
        _add(blocks, results)
        blocks["origin"].append(_origin(results, command))
    return [Part(anchor, _HEADINGS[anchor], own) for anchor, own in blocks.items() if own]


def _add(blocks: dict[str, Blocks], results: Results) -> None:
    """Add the tables and pictures of one matrix."""
    matrix, by_task = results.matrix, results.by_task()
    published = () if matrix.published is None else read_published(matrix.published)
    for task, scores in _TASKS:
        own = by_task.get(task, [])
        protocols = protocol_table(columns_of(matrix, own), own, results.lines, scores, task)
        if protocols:
            blocks["protocols"].append(protocols)
        grid = results.grid(own)
        if not grid.rows:
            continue
        blocks[task] += [_told(task), *score_tables(grid, scores, task)]
        blocks["published"] += published_tables(grid, scores, published)
        if registered := registered_table(grid, scores, task):
            blocks["published"].append(registered)
        blocks["ranks"] += over_sets(grid, scores[0], task)
        blocks["cost"] += against_cost(matrix, grid, task)
        blocks["cost"] += [
            cost_table(grid, f"Cost of {task}"),
            fit_table(grid, f"{task.capitalize()}, CPU seconds of fit"),
        ]
    if small := by_task.get("small series"):
        grid = results.grid(small)
        groups = {name: str(own.get("group")) for name, own in matrix.sets.items()}
        blocks["small"].append(small_series_table(grid, groups))
        blocks["cost"].append(cost_table(grid, "Cost of small series"))
    if results.failed:
        rows = [[key, f"failed: {error}"] for key, error in results.failed.items()]
        blocks["failed"].append(
            Table(caption="Cells without a result", columns=["Cell", "Result"], rows=rows, texts=2)
        )


def _told(task: str) -> str:
    if task == "forecasting":
        return (
            "Errors are means over all test windows, channels and steps, in training standard "
            "deviations; lower is better. Honest protocol: nothing is selected on the test split."
        )
    return (
        "Accuracy on the test cases; higher is better. Honest protocol: nothing is selected on "
        "them."
    )


def _origin(results: Results, command: str) -> Facts:
    """How the numbers were measured."""
    matrix, lines = results.matrix, results.lines.values()
    dates = sorted(str(line["date"]) for line in lines)
    versions: dict[str, dict[str, None]] = {}
    for line in lines:
        for package, version in line["versions"].items():
            versions.setdefault(package, {})[version] = None
    commits = _counts(str(line["commit"] or "unknown") for line in lines)
    machines = _counts(
        f"{line['machine']['processor']}, {line['machine']['threads']} "
        f"thread{'' if line['machine']['threads'] == 1 else 's'} per cell"
        for line in lines
    )
    shown = f"{len(results.lines)} of {len(results.cells)}"
    if len(results.cells) < len(matrix.cells):
        others = len(matrix.cells) - len(results.cells)
        shown += f"; {others} other cells of the matrix were not selected"
    outdated = {}
    if results.outdated:
        outdated["Left out"] = (
            "results with other settings or data than the matrix has now, of "
            + ", ".join(results.outdated)
        )
    return Facts(
        {
            "Matrix": matrix.path.name,
            "Cells with a result": shown,
            **outdated,
            "Measured": f"{dates[0]} to {dates[-1]}" if dates else "nothing",
            "Versions": ", ".join(f"{name} {' and '.join(own)}" for name, own in versions.items()),
            "Commits": commits,
            "Machines": machines,
            "This page": command,
        }
    )


def _counts(values: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return "; ".join(f"{value} ({count(n, 'cell')})" for value, n in counts.items())


def _written(matrix: Matrix, folder: Path, parts: Sequence[Part]) -> list[tuple[str, Path]]:
    stem = matrix.path.stem
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"page as Markdown": (f"{stem}.md", as_markdown(matrix.title, parts, stem))}
    for block in (block for part in parts for block in part.blocks):
        if isinstance(block, Picture):
            texts[f"picture {block.name}"] = block.file(stem), block.svg
    texts["page as HTML"] = f"{stem}.html", as_html(matrix.title, parts)
    written = []
    for what, (name, text) in texts.items():
        with whole_file(folder / name) as file:
            file.write(text)
        written.append((what, folder / name))
    return written
