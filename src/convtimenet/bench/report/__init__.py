"""The report on a matrix, as a Markdown page with pictures and as one HTML file.

`summary` groups the result lines, `scores` and `costs` make the tables, `comparisons` the pictures
(drawn by `pictures`, with the statistics of `ranks`); `document` writes Markdown and HTML.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from convtimenet.bench import lines
from convtimenet.bench.matrix import Cell, Matrix
from convtimenet.bench.report.comparisons import against_cost, over_sets
from convtimenet.bench.report.costs import cost_table, small_series_table
from convtimenet.bench.report.document import Facts, Part, Picture, Table, as_html, as_markdown
from convtimenet.bench.report.published import Published, read_published
from convtimenet.bench.report.scores import protocol_table, published_tables, score_tables
from convtimenet.bench.report.summary import Grid, Line, Task, columns_of, tasks
from convtimenet.errors import DataError
from convtimenet.files import whole_file
from convtimenet.report._canvas import require_matplotlib
from convtimenet.report._html import count

__all__ = ["write_report"]

Blocks = list[str | Table | Picture | Facts]
_TASKS: tuple[tuple[Task, tuple[str, ...]], ...] = (
    ("forecasting", ("mse", "mae")),
    ("classification", ("accuracy",)),
)


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
    every = lines.read(out)
    keys = {cell.key for cell in cells}
    found = {key: line for key, line in lines.by_key(every).items() if key in keys}
    failed = {
        key: str(line["error"])
        for line in every
        if "error" in line and (key := Cell(**line["cell"]).key) in keys and key not in found
    }
    if not found and not failed:
        raise DataError(
            f"expected results in {out}, found none for the {len(cells)} cells; run some first: "
            f"convtimenet bench run {matrix.path}"
        )
    published = () if matrix.published is None else read_published(matrix.published)
    parts = _parts(matrix, cells, found, failed, published)
    parts.append(_foot(matrix, cells, out, found))
    return _written(matrix, folder, parts)


def _parts(
    matrix: Matrix,
    cells: Sequence[Cell],
    found: Mapping[str, Line],
    failed: Mapping[str, str],
    published: Sequence[Published],
) -> list[Part]:
    parts: list[Part] = []
    with_published: Blocks = []
    ranks: Blocks = []
    costs: Blocks = []
    by_protocol: Blocks = []
    by_task = tasks(matrix, cells, found)
    for task, scores in _TASKS:
        own = by_task.get(task, [])
        columns = columns_of(matrix, own)
        if protocols := protocol_table(columns, own, found, scores, task):
            by_protocol.append(protocols)
        grid = Grid.of(columns, own, found, failed)
        if not grid.rows:
            continue
        tables = score_tables(grid, scores, task)
        parts.append(Part(task, task.capitalize(), [_told(task), *tables]))
        with_published += published_tables(grid, scores, published)
        ranks += over_sets(grid, scores[0], task)
        costs += against_cost(matrix, grid, task)
        costs.append(cost_table(grid, f"Cost of {task}"))
    if small := by_task.get("small series"):
        grid = Grid.of(columns_of(matrix, small), small, found, failed)
        groups = {name: str(own.get("group")) for name, own in matrix.sets.items()}
        parts.append(Part("small", "Small series", [small_series_table(grid, groups)]))
        costs.append(cost_table(grid, "Cost of small series"))
    for anchor, heading, blocks in (
        ("published", "Comparison with published scores", with_published),
        ("ranks", "Mean ranks", ranks),
        ("cost", "Cost", costs),
        ("protocols", "The paper's protocol", by_protocol),
    ):
        if blocks:
            parts.append(Part(anchor, heading, blocks))
    if failed:
        rows = [[key, f"failed: {error}"] for key, error in failed.items()]
        table = Table(
            caption="Cells without a result", columns=["Cell", "Result"], rows=rows, texts=2
        )
        parts.append(Part("failed", "Failed", [table]))
    return parts


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


def _foot(matrix: Matrix, cells: Sequence[Cell], out: Path, found: Mapping[str, Line]) -> Part:
    """How the numbers were measured."""
    dates = sorted(str(line["date"]) for line in found.values())
    versions: dict[str, dict[str, None]] = {}
    for line in found.values():
        for package, version in line["versions"].items():
            versions.setdefault(package, {})[version] = None
    commits = _counts(str(line["commit"] or "unknown") for line in found.values())
    machines = _counts(
        f"{line['machine']['processor']}, {line['machine']['threads']} "
        f"thread{'' if line['machine']['threads'] == 1 else 's'} per cell"
        for line in found.values()
    )
    command = f"convtimenet bench report {matrix.path.name}"
    if out.resolve() != matrix.results.resolve():
        command += f" --out {out.name}"
    shown = f"{len(found)} of {len(cells)}"
    if len(cells) < len(matrix.cells):
        shown += f"; {len(matrix.cells) - len(cells)} other cells of the matrix were not selected"
    facts = {
        "Cells with a result": shown,
        "Measured": f"{dates[0]} to {dates[-1]}" if dates else "nothing",
        "Versions": ", ".join(f"{name} {' and '.join(own)}" for name, own in versions.items()),
        "Commits": commits,
        "Machines": machines,
        "This page": command,
    }
    return Part("origin", "How this was measured", [Facts(facts)])


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
