"""docs/results.md and README's tables are what the committed lines say."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import results_page

from convtimenet.bench.report import comparisons
from convtimenet.bench.report.document import Part, Picture
from convtimenet.bench.report.summary import Results


@pytest.fixture(scope="module")
def several() -> list[Results]:
    return results_page.results()


@pytest.fixture(scope="module")
def parts(several) -> list[Part]:
    """Without the pictures: drawing takes longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("cost_diagram", "rank_diagram"):
            patch.setattr(comparisons, name, lambda *given, **named: "")
        return results_page.page_parts(several)


@pytest.fixture
def without(several) -> Callable[[str], Results]:
    """The main matrix without the lines of some cells."""

    def left(pattern: str) -> Results:
        [main, _] = several
        gone = {cell.key for cell in main.matrix.only([pattern])}
        return replace(main, lines={k: v for k, v in main.lines.items() if k not in gone})

    return left


@pytest.fixture
def changed(several) -> Callable[..., Results]:
    """The main matrix with other scores of some cells."""

    def made(pattern: str, **scores: float | None) -> Results:
        [main, _] = several
        chosen = {cell.key for cell in main.matrix.only([pattern])}
        lines = {
            key: {**line, "scores": scores} if key in chosen else line
            for key, line in main.lines.items()
        }
        return replace(main, lines=lines)

    return made


def test_the_pages_are_what_make_results_writes(several, parts):
    page = results_page.PAGE.read_text(encoding="utf-8")
    assert page == results_page.page(parts), "make results writes it anew"
    readme = results_page.README.read_text(encoding="utf-8")
    assert readme == results_page.readme(several, readme), "make results writes it anew"


def test_the_pictures_of_the_page_are_there(parts):
    folder = results_page.PAGE.parent
    pictures = [block for part in parts for block in part.blocks if isinstance(block, Picture)]
    assert pictures
    for picture in pictures:
        path = folder / picture.file(results_page.PICTURES)
        assert path.read_text(encoding="utf-8").startswith("<svg")


def test_published_scores_of_the_registry(parts):
    page = results_page.page(parts)
    assert (
        "| Exchange-96 | ConvTimeNet (authors) | all 1,422 windows | authors' code, run with seed "
        "2023 | 0.0848 | 0.204 |" in page
    )


def test_no_mean_over_horizons_with_one_missing(several, without):
    def ridge(results: Results) -> str:
        rows = results_page.forecast_rows(results_page.grid_of(results, "forecasting"))
        [heads] = [row for row in rows.splitlines() if row.startswith("| set")]
        [ili] = [row for row in rows.splitlines() if row.startswith("| ILI")]
        return dict(zip(heads.split(" | "), ili.split(" | "), strict=True))["Ridge, closed form"]

    main = several[0]
    scores = [main.lines[f"ridge:ILI-{h}:honest:2023"]["scores"]["mse"] for h in (24, 36, 48, 60)]
    assert ridge(main) == f"{sum(scores) / 4:.3f}"
    assert ridge(without("ridge:ILI-48")) == "not run"


def test_no_mean_over_sets_with_one_missing(several, without):
    def rows(results: Results) -> str:
        return results_page.class_rows(results_page.grid_of(results, "classification"))

    assert "MiniRocket" in rows(several[0])
    assert "MiniRocket" not in rows(without("minirocket:Epilepsy"))


def test_seconds_of_one_processor_need_no_note(several):
    [main, _] = several
    note = "Seconds are of different processors"
    assert note in results_page.class_rows(results_page.grid_of(main, "classification"))
    same = {key: {**one, "machine": {"processor": "one"}} for key, one in main.lines.items()}
    alike = results_page.grid_of(replace(main, lines=same), "classification")
    assert note not in results_page.class_rows(alike)


def test_intervals_of_small_series_are_told(several):
    [_, small] = several
    found = results_page.small_told(small)
    assert found.count("95 % interval -") == 6


def test_a_deterministic_column_needs_no_second_seed(several):
    [main, _] = several

    def told(deterministic: bool) -> set[str]:
        ours = main.matrix.models["convtimenet"]
        fast = {**ours["variants"]["fast"], "deterministic": deterministic}
        changed = {"convtimenet": {**ours, "variants": {**ours["variants"], "fast": fast}}}
        matrix = replace(main.matrix, models={**main.matrix.models, **changed})
        found = results_page.notes(replace(main, matrix=matrix))
        return {key for key in found if key.endswith("has one seed only")}

    assert told(False) - told(True) == {"ConvTimeNet (fast) has one seed only"}


def test_who_is_better_is_said(several, changed):
    def told(results: Results) -> str:
        forecasts = results_page.grid_of(results, "forecasting")
        classes = results_page.grid_of(results, "classification")
        return results_page.losses(forecasts, classes, results.matrix.ours)

    assert "Ridge, closed form (ETTh1, ETTh2, Exchange, ILI" in told(changed("ridge", mse=1e-6))
    assert "Ridge" not in told(changed("ridge", mse=1e6))
    grid = results_page.grid_of(several[0], "classification")
    ours = [column for column in grid.columns if column.model == "classifier"]
    means = {own.title: results_page.mean_accuracy(grid, own) for own in ours}
    best = {c.key for c in several[0].matrix.only(["classifier.best"]) if c.seed == 2023}
    # the paper has settings for seven of the sets
    assert {title: mean is None for title, mean in means.items()} == {
        "ConvTimeNet (fast)": False,
        "ConvTimeNet (paper)": True,
        "ConvTimeNet (auto)": False,
        "ConvTimeNet (best)": not best <= several[0].lines.keys(),
    }
    says = told(changed("quant", accuracy=1.0))
    for title, mean in means.items():
        assert (f"accuracy of {title} is below that of" in says) == (mean is not None)
        assert mean is None or f"QUANT (by {100 * (1 - mean):.1f} points)" in says
    assert "QUANT" not in told(changed("quant", accuracy=0.0))
    assert "QUANT" not in told(changed("quant:Epilepsy", accuracy=None))


def test_a_readme_without_the_comments_is_refused(several):
    with pytest.raises(ValueError, match=r"results: written by .* put them back"):
        results_page.readme(several, "# convtimenet\n")
