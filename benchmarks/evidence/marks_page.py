"""Write docs/evidence/marks.md: how far the default is from what it is measured by.

    python benchmarks/evidence/marks_page.py

Every figure comes from the lines of matrix.toml and small.toml, and so do the verdicts (marks.py);
marks_text.py says what was tried where a mark is missed.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from marks import (
    CLASSICAL,
    KINDS,
    NOT_RUN,
    ROCKETS,
    SETS,
    Lines,
    ahead_of,
    auto_fits,
    behind,
    between,
    by_group,
    cases_behind,
    class_sets,
    etth1,
    fast_fits,
    five_seconds,
    fresh_groups,
    fresh_to_better,
    groups_of,
    horizon_mean,
    longest,
    mean_of,
    more_than,
    near,
    on_the_mean,
    over_map,
    own_lines,
    paired,
    run_on,
    score,
    seconds,
    seeds,
    shown_mean,
    small_series,
    stream,
    to_better,
)
from marks_text import REASONS, TEXT

from convtimenet.bench import lines
from convtimenet.bench.matrix import Matrix
from convtimenet.bench.report.published import Published, read_published
from convtimenet.bench.report.short import listed

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "evidence" / "marks.md"
REGRESSION = HERE.parent / "results" / "regression-2026-11-29.json"
FRESH = HERE.parent / "results" / "fresh-series.json"
NONLINEAR = HERE.parent / "results" / "nonlinear.json"
QUALITIES = ("fast", "auto", "best")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page of the committed lines."""
    matrix, small = (Matrix.read(HERE / name) for name in ("matrix.toml", "small.toml"))
    found, _ = lines.of_matrix(matrix, lines.read(matrix.results))
    series, _ = lines.of_matrix(small, lines.read(small.results))
    return page_of(matrix, found, small, series)


def page_of(matrix: Matrix, found: Lines, small: Matrix, series: Lines) -> str:
    """The page of these lines."""
    names, published = class_sets(matrix), read_published(HERE / "published.toml")
    patchtst, duet = (
        next(one for one in published if one.model == model) for model in ("PatchTST", "DUET")
    )
    marks = {
        "mean_auto": on_the_mean(found, names, "classifier.auto"),
        "mean_best": on_the_mean(found, names, "classifier.best"),
        "behind": behind(found, names),
        "fast_fits": fast_fits(found, names),
        "auto_fits": auto_fits(found, names),
        "auto": ahead_of(more_than(found, "convtimenet.auto", patchtst)),
        "best": near(more_than(found, "convtimenet.best", duet)),
        "stream": stream(found),
        "etth1": etth1(found),
        "small": small_series(small, series),
        "five_seconds": five_seconds(small, series),
    }
    said = {
        "last": horizon_mean(found, "naive", "Exchange", "mse"),
        "trained": horizon_mean(found, "patchtst.small", "Exchange", "mse"),
        "chaotic": chaotic(),
    }
    ridge, mean = (regressed(peer) for peer in ("minirocket", "mean"))
    return TEXT.format(
        **marks,
        **{f"{name}_reasons": marks[name].reasons(name, **said) for name in REASONS},
        sets=len(names),
        classes=classes_table(found, names),
        best_classes=best_classes(found, names),
        behind_table=behind_table(found, names),
        fits_table=fits_table(found, names),
        auto_table=beside(found, "convtimenet.auto", patchtst),
        best_table=beside(found, "convtimenet.best", duet),
        best_forecasts=best_forecasts(found),
        stream_table=stream_table(found),
        etth1_seconds=etth1_seconds(found),
        small_table=small_table(small, series),
        **fresh(),
        over_mean=mean,
        over_ridge=ridge,
    )


# --- classes ------------------------------------------------------------------------------------


def classes_table(found: Lines, names: list[str]) -> str:
    """Mean accuracy over the sets."""
    ours = {f"classifier.{quality}": f"ConvTimeNet {quality}" for quality in QUALITIES}
    rows = []
    for model, title in {**ours, **ROCKETS}.items():
        cells = [f"{model}:{name}" for name in names]
        have = f"{len(run_on(found, names, model))} of {len(names)}"
        mean = shown_mean([score(found, what) for what in cells])
        rows.append([title, have, seeds(found, cells), mean])
    return table(["model", "sets that have run", "seeds", "mean accuracy"], rows)


def best_classes(found: Lines, names: list[str]) -> str:
    """Accuracy of best and auto on the seeds that both have."""
    rows, means = [], []
    for name in names:
        best, auto = paired(found, f"classifier.best:{name}", f"classifier.auto:{name}", "accuracy")
        if best:
            means.append((mean_of(best), mean_of(auto)))
            rows.append([name, str(len(best)), *_points(*means[-1])])
    if len(rows) > 1:
        one, other = map(statistics.fmean, zip(*means, strict=True))
        rows.append([f"mean of {len(rows)}", "", *_points(one, other)])
    return table(["set", "seeds", "best", "auto", "points more"], rows)


def _points(one: float, other: float) -> list[str]:
    return [f"{one:.3f}", f"{other:.3f}", f"{100 * (one - other):+.1f}"]


def behind_table(found: Lines, names: list[str]) -> str:
    """Sets on which auto answers fewer cases right than MiniRocket."""
    rows = []
    for name, fewer in cases_behind(found, names).items():
        if fewer > 0:
            both = [f"{model}:{name}" for model in ("classifier.auto", "minirocket")]
            [line, *_] = own_lines(found, both[1]).values()
            shown = (f"{score(found, what):.3f} ({seeds(found, [what])})" for what in both)
            rows.append([name, str(line["n_test"]), *shown, f"{fewer:.1f}"])
    heads = ["set", "test cases", "ConvTimeNet auto (seeds)", "MiniRocket (seeds)"]
    return table([*heads, "cases fewer right"], rows)


def fits_table(found: Lines, names: list[str]) -> str:
    """CPU seconds of fit by set."""
    models, rows = ("minirocket", "classifier.fast", "classifier.auto"), []
    for name in run_on(found, names, *models):
        cells = [f"{model}:{name}" for model in models]
        theirs, fast, auto = (seconds(found, what) for what in cells)
        shown = [f"{theirs:.2f}", f"{fast:.2f}", f"{fast / theirs:.1f}", f"{auto:.0f}"]
        rows.append([name, *shown, ", ".join(seeds(found, [what]) for what in cells)])
    return table(["set", "MiniRocket", "fast", "fast / MiniRocket", "auto", "seeds of each"], rows)


# --- forecasts ----------------------------------------------------------------------------------


def beside(found: Lines, model: str, peer: Published) -> str:
    """Means over four horizons beside published ones."""
    more, rows = more_than(found, model, peer), []
    for name, horizons in SETS.items():
        cells = [f"{model}:{name}-{h}" for h in horizons]
        have = sum(bool(own_lines(found, cell)) for cell in cells)
        part = f" ({have} of {len(cells)} horizons)" if 0 < have < len(cells) else ""
        row = [name, f"{seeds(found, cells)}{part}"]
        for kind in KINDS:
            by = f"{more[name][kind]:+.1f} %" if name in more else ""
            ours, theirs = horizon_mean(found, model, name, kind), peer.scores[kind][name, horizons]
            row += [ours, f"{theirs:.3f}", by]
        rows.append(row)
    heads = ["MSE", peer.model, "more", "MAE", peer.model, "more"]
    return table(["set", "seeds", *heads], rows)


def best_forecasts(found: Lines) -> str:
    """Errors of best and auto, on the horizons and seeds that both have."""
    rows = []
    for name, horizons in SETS.items():
        row: list[str] = []
        for kind in KINDS:
            both = []
            for cell in (f"{name}-{h}" for h in horizons):
                pair = paired(found, f"convtimenet.best:{cell}", f"convtimenet.auto:{cell}", kind)
                both += [pair] if pair[0] else []
            if both:
                told = between(len(best) for best, _ in both)
                row = row or [name, f"{len(both)} of {len(horizons)}", told]
                best, auto = (
                    statistics.fmean(map(mean_of, side)) for side in zip(*both, strict=True)
                )
                row += [f"{best:.3f}", f"{auto:.3f}", f"{100 * (best / auto - 1):+.1f} %"]
        rows += [row] if row else []
    heads = ["MSE, best", "auto", "more", "MAE, best", "auto", "more"]
    return table(["set", "horizons", "seeds", *heads], rows)


def stream_table(found: Lines) -> str:
    """Cells in which it is behind."""
    rows = []
    for cell, by in over_map(found).items():
        if by > 0:
            both = [f"convtimenet.{quality}:{cell}" for quality in ("fast", "auto")]
            shown = (f"{score(found, what, 'mse'):.3f}" for what in both)
            rows.append([cell, seeds(found, both[1:]), *shown, f"{by:+.1f} %"])
    return table(["set", "seeds of auto", "map alone (fast)", "auto", "more"], rows)


def etth1_seconds(found: Lines) -> str:
    """Seconds of its fits."""
    own = own_lines(found, "convtimenet.auto:ETTh1-96")
    taken = [f"{line['cpu_seconds']['fit']:.0f}" for line in own.values()]
    return f"{listed(taken)} s by seed" if taken else NOT_RUN


# --- small series and regression ----------------------------------------------------------------


def small_table(matrix: Matrix, found: Lines) -> str:
    """Geometric means of MASE relative to the seasonal-naive forecast's, and seconds of fit."""
    means, rows = by_group(matrix, found), []
    for group, names in groups_of(matrix).items():
        row = [f"{group} ({len(names)})", *(f"{mean:.3f}" for mean in means[group].values())]
        fits = (f"{most:.1f}" for most in longest(found, names).values())
        low, ratio, high = to_better(found, names)
        rows.append([*row, f"{ratio:.2f} ({low:.2f} to {high:.2f})", *fits])
    heads = ["fast", "auto", *CLASSICAL.values(), "auto / better"]
    fits = [f"longest fit of {quality}, CPU s" for quality in ("fast", "auto")]
    return table(["series (cut-offs)", *heads, *fits], rows)


def fresh() -> dict[str, str]:
    """The table of series that no choice has seen, and what it is said of."""
    kept, rows = json.loads(FRESH.read_text(encoding="utf-8")), []
    for group, own in fresh_groups(kept["lines"]).items():
        models = ("fast", "auto", *CLASSICAL.values())
        ratios = [[line[model]["mase"] / line["naive"] for line in own] for model in models]
        low, ratio, high = fresh_to_better(own)
        fits = (max(line[model]["fit_cpu_s"] for line in own) for model in ("fast", "auto"))
        row = [
            f"{group} ({len({line['series'] for line in own})}; {len(own)})",
            *(f"{statistics.geometric_mean(each):.3f}" for each in ratios),
            f"{ratio:.2f} ({low:.2f} to {high:.2f})",
            *(f"{most:.1f}" for most in fits),
        ]
        rows.append(row)
    heads = ["fast", "auto", *CLASSICAL.values(), "auto / better"]
    fits = [f"longest fit of {quality}, CPU s" for quality in ("fast", "auto")]
    return {
        "fresh_table": table(["series (their number; cut-offs)", *heads, *fits], rows),
        "fresh_run": f"`{kept['command']}`, {kept['date']}, commit {kept['commit']}, one thread",
        "fresh_machine": kept["processor"],
    }


def chaotic() -> str:
    """What the network leaves of the map's error on the long chaotic series of nonlinear.py."""
    lines = json.loads(NONLINEAR.read_text(encoding="utf-8"))["lines"]
    long = [one for one in lines if one["series"] == "chaotic" and one["rows"] == 1500]
    shares = sorted(100 * one["auto"]["mae"] / one["fast"]["mae"] for one in long)
    return f"{shares[0]:.0f} to {shares[-1]:.0f} %"


def regressed(peer: str) -> str:
    """The sets on which the mean error of auto is below that of a peer."""
    errors: dict[tuple[str, str], list[float]] = {}
    for line in json.loads(REGRESSION.read_text(encoding="utf-8")):
        errors.setdefault((line["set"], line["model"]), []).append(line["rmse"])
    names = list(dict.fromkeys(name for name, _ in errors))
    lower = [n for n in names if mean_of(errors[n, "auto"]) < mean_of(errors[n, peer])]
    return f"{len(lower)} of {len(names)} sets ({listed(lower or ['none'])})"


# --- text ---------------------------------------------------------------------------------------


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    rules = ["---", *("---:" for _ in heads[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rules, *rows))


if __name__ == "__main__":
    main()
