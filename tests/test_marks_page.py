"""docs/evidence/marks.md is what the committed lines say, and its verdicts follow other lines."""

from collections.abc import Mapping
from typing import Any

import marks_page
import pytest
from marks import SETS, class_sets, groups_of

from convtimenet.bench.matrix import Matrix

Lines = dict[str, dict[str, Any]]
MATRIX, SMALL = (Matrix.read(marks_page.HERE / name) for name in ("matrix.toml", "small.toml"))
CLASSES = class_sets(MATRIX)
CELLS = [f"{name}-{h}" for name, horizons in SETS.items() for h in horizons]


def line(fit: float = 1.0, **scores: float) -> dict[str, Any]:
    """A made-up line of a cell with 100 test cases."""
    return {
        "scores": scores,
        "naive": {"mase": 1.0},
        "cpu_seconds": {"fit": fit},
        "n_test": 100,
    }


def all_reached() -> tuple[Lines, Lines]:
    """Made-up lines of one seed, of matrix.toml and small.toml, by which every mark is reached."""
    found, series = {}, {}
    rockets = dict.fromkeys(("minirocket", "multirocket-hydra"), 0.8)
    ours = dict.fromkeys(("classifier.fast", "classifier.auto", "classifier.best"), 0.9)
    for model, accuracy in {**ours, **rockets}.items():
        found |= {f"{model}:{name}:honest:2023": line(accuracy=accuracy) for name in CLASSES}
    for quality in ("fast", "auto", "best"):
        found |= {
            f"convtimenet.{quality}:{cell}:honest:2023": line(mse=0.1, mae=0.1) for cell in CELLS
        }
    relative = {
        "convtimenet.fast": 0.5,
        "convtimenet.auto": 0.5,
        "auto-ets": 0.6,
        "auto-theta": 0.7,
    }
    for names in groups_of(SMALL).values():
        for model, mase in relative.items():
            series |= {f"{model}:{name}:honest:2023": line(mase=mase) for name in names}
    return found, series


def said(changes: Mapping[str, dict[str, Any] | None], *, seed: str = "2023") -> str:
    """The page of these lines after changes of some cells, in one line of text."""
    found, series = all_reached()
    for what, new in changes.items():
        own = series if f"{what}:honest:2023" in series else found
        if new is None:
            del own[f"{what}:honest:{seed}"]
        else:
            own[f"{what}:honest:{seed}"] = new
    return " ".join(marks_page.page_of(MATRIX, found, SMALL, series).split())


def errors(*cells: str, model: str, mse: float, mae: float = 0.1) -> dict[str, dict[str, Any]]:
    """Other errors of a model in some cells."""
    return {f"{model}:{cell}": line(mse=mse, mae=mae) for cell in cells}


ILI = [cell for cell in CELLS if cell.startswith("ILI")]
EXCHANGE = [cell for cell in CELLS if cell.startswith("Exchange")]
MEAN = "on the mean of 13 UEA sets:** "
BEHIND = "more than two cases behind MiniRocket:** "
FAST = "within five times MiniRocket's fit: "
AUTO = "on sets below 300 training cases: "
PATCHTST = "mean of four horizons, MSE and MAE:** "
DUET = "within 3 % on the others:** "
MAP = "behind its own linear map, MSE:** "
ETTH1 = "120 CPU seconds of fit on one core:** "
SERIES = "the better of AutoETS and AutoTheta:** "
FIVE = "A fit under five CPU seconds:** "


def test_the_page_is_what_make_results_writes():
    text = marks_page.PAGE.read_text(encoding="utf-8")
    assert text == marks_page.page(), "make results writes it anew"


def test_every_mark_can_be_reached():
    text = said({})
    marks = (BEHIND, FAST, AUTO, PATCHTST, DUET, MAP, ETTH1, SERIES, FIVE)
    assert [mark for mark in marks if f"{mark}reached." not in text] == []
    assert f"{MEAN}- `auto`: reached. - `best`: reached." in text
    assert "| ConvTimeNet best | 13 of 13 | 1 | 0.900 |" in text
    assert "missed" not in text.partition("## Classes")[2]
    assert "- *" not in text  # no reason is left


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        (
            {f"classifier.auto:{name}": line(accuracy=0.795) for name in CLASSES},
            f"{MEAN}- `auto`: missed on the mean beside MiniRocket (0.5 points behind) and the "
            "mean beside MultiRocket-Hydra (0.5 points behind). - `best`: reached.",
            "",
        ),
        (
            {f"classifier.best:{name}": line(accuracy=0.8) for name in CLASSES},
            "- `best`: missed on the mean beside MiniRocket (0.0 points behind)",
            "",
        ),
        (
            {"classifier.auto:SelfRegulationSCP2": line(accuracy=0.77)},
            f"{BEHIND}missed on SelfRegulationSCP2 (3.0 cases).",
            "- *SelfRegulationSCP2.* Nobody is far from chance",
        ),
        (
            {"classifier.auto:Epilepsy": line(accuracy=0.77)},
            f"{BEHIND}missed on Epilepsy (3.0 cases).",
            "",
        ),
        (
            {"classifier.fast:ERing": line(5.2, accuracy=0.9)},
            f"{FAST}missed on ERing (5.2 times).",
            "",
        ),
        (
            {"classifier.auto:ERing": line(121.0, accuracy=0.9)},
            f"{AUTO}missed on ERing (121 s).",
            "",
        ),
        (
            errors(*EXCHANGE, model="convtimenet.auto", mse=0.322, mae=0.3),
            f"{PATCHTST}missed on Exchange MSE (+0.0 %).",
            "- *Exchange.* No choice on validation rows",
        ),
        (
            errors(*ILI, model="convtimenet.best", mse=1.844, mae=0.8),
            f"{DUET}missed on ILI MSE (+14.1 %).",
            "",
        ),
        (
            errors("ETTh2-96", model="convtimenet.auto", mse=0.103),
            f"{MAP}missed on ETTh2-96 (+3.0 %).",
            "- *ETTh2.* The network is granted",
        ),
        (
            errors("ETTh1-96", model="convtimenet.auto", mse=0.103),
            f"{MAP}missed on ETTh1-96 (+3.0 %).",
            "",
        ),
        (
            {"convtimenet.auto:ETTh1-96": line(130.0, mse=0.1, mae=0.1)},
            f"{ETTH1}missed on ETTh1-96 (130 s).",
            "",
        ),
        (
            {f"convtimenet.auto:us_gasoline@{i}": line(mase=6.0) for i in (1, 2, 3)},
            f"{SERIES}missed on weekly (1.91 times, 95 % interval ",
            "- *weekly.* There are three series.",
        ),
        (
            {
                "convtimenet.fast:DAX@2": line(5.7, mase=0.5),
                "convtimenet.auto:DAX@1": line(13.9, mase=0.5),
            },
            f"{FIVE}missed on daily (`fast` up to 5.7 s, `auto` up to 13.9 s).",
            "- *daily.* Series of 1,500 rows",
        ),
    ],
)
def test_a_mark_that_is_missed_says_where(changes, verdict, reason):
    text = said(changes)
    assert verdict in text
    assert text.count("- *") == bool(reason)
    assert reason in text


@pytest.mark.parametrize(
    ("gone", "verdict"),
    [
        ("classifier.best:ERing", f"{MEAN}- `auto`: reached. - `best`: not known (12 of 13 sets"),
        ("multirocket-hydra:ERing", "- `auto`: not known (12 of 13 sets have run)."),
        ("classifier.auto:Cricket", f"{BEHIND}not known (12 of 13 sets have run)."),
        ("classifier.auto:Cricket", f"{AUTO}not known (10 of 11 sets have run)."),
        ("classifier.fast:Cricket", f"{FAST}not known (12 of 13 sets have run)."),
        ("convtimenet.auto:Weather-720", f"{PATCHTST}not known (5 of 6 sets have run)."),
        ("convtimenet.auto:Weather-720", f"{MAP}not known (23 of 24 cells have run)."),
        ("convtimenet.auto:ETTh1-96", f"{ETTH1}not known (0 of 1 cells have run)."),
        ("convtimenet.best:ILI-24", f"{DUET}not known (5 of 6 sets have run)."),
    ],
)
def test_a_mark_is_not_known_before_all_have_run(gone, verdict):
    assert verdict in said({gone: None})


def test_a_miss_is_known_before_all_have_run():
    missed = errors(*ILI, model="convtimenet.best", mse=1.844)
    verdict = f"{DUET}missed on ILI MSE (+14.1 %); 5 of 6 sets have run."
    assert verdict in said({**missed, "convtimenet.best:Weather-96": None})


def test_half_of_the_sets_have_to_be_ahead():
    level = {"ETTh1": (0.398, 0.4), "ETTh2": (0.334, 0.3), "ETTm1": (0.338, 0.3)}
    changes = {}
    for name, (mse, mae) in level.items():
        own = [cell for cell in CELLS if cell.startswith(name)]
        changes |= errors(*own, model="convtimenet.best", mse=mse, mae=mae)
    assert f"{DUET}reached." in said(changes)
    changes |= errors(*ILI, model="convtimenet.best", mse=1.616, mae=0.7)
    assert f"{DUET}missed on half of the sets (ahead on 2 of 6)." in said(changes)


def test_best_is_compared_with_auto_on_the_seeds_of_both():
    further = {
        **errors(*ILI, model="convtimenet.auto", mse=9.0, mae=9.0),
        "classifier.auto:ERing": line(accuracy=0.5),
    }
    text = said(further, seed="1")  # which best does not have
    assert "| ILI | 4 of 4 | 1 | 0.100 | 0.100 | +0.0 % | 0.100 | 0.100 | +0.0 % |" in text
    assert "| ERing | 1 | 0.900 | 0.900 | +0.0 |" in text
    assert "| ILI | 2 | 4.550 | 1.902 |" in text  # auto's own row: both seeds
