"""The marks of docs/evidence/marks.md: whether the lines that have run reach them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from marks_text import REASONS
from scipy.special import stdtrit

from convtimenet.bench.matrix import Matrix
from convtimenet.bench.report.published import Published
from convtimenet.bench.report.short import listed

SEEDS = ("2023", "1", "2")
HORIZONS = (96, 192, 336, 720)
SETS = {  # those of the forecasts, with their horizons
    **dict.fromkeys(("ETTh1", "ETTh2", "ETTm1", "Weather", "Exchange"), HORIZONS),
    "ILI": (24, 36, 48, 60),
}
KINDS = ("mse", "mae")
MANY_CASES = ("CharacterTrajectories", "FingerMovements")
"""Sets of 300 training cases and more."""
CLASSICAL = {"auto-ets": "AutoETS", "auto-theta": "AutoTheta"}
ROCKETS = {"minirocket": "MiniRocket", "multirocket-hydra": "MultiRocket-Hydra"}
Lines = Mapping[str, Mapping[str, Any]]
Logs = dict[str, dict[str, list[float]]]
FEW_ROWS = 119
NOT_RUN = "not run"


@dataclass
class Mark:
    """Whether a mark is reached, as far as the lines tell.

    Attributes
    ----------
    of, have
        How many sets (or other units) it speaks of, and how many of them have run.
    misses
        Where it is missed, and by how much.
    unit
        What is counted.
    """

    of: int
    have: int = 0
    misses: dict[str, str] = field(default_factory=dict)
    unit: str = "sets"

    def __str__(self) -> str:
        run = f"{self.have} of {self.of} {self.unit} have run"
        if self.misses:
            told = listed([f"{name} ({more})" for name, more in self.misses.items()])
            return f"missed on {told}" + (f"; {run}" if self.have < self.of else "")
        return "reached" if self.have == self.of else f"not known ({run})"

    def reasons(self, name: str, **said: str) -> str:
        """What bounds the mark of that name where it is missed, as a list after an empty line."""
        items = [
            f"- *{place}.* {text.format(**said)}\n"
            for place, text in REASONS[name].items()
            if any(missed.startswith(place) for missed in self.misses)
        ]
        return "".join(["\n", *items]) if items else ""


# --- lines ----------------------------------------------------------------------------------------


def own_lines(found: Lines, what: str) -> dict[str, Mapping[str, Any]]:
    """The lines of a model on a set by seed."""
    return {seed: found[key] for seed in SEEDS if (key := key_of(what, seed)) in found}


def score(found: Lines, what: str, name: str = "accuracy") -> float:
    """Mean over the seeds that have run of a model on a set; NaN without one."""
    return mean_of([line["scores"][name] for line in own_lines(found, what).values()])


def seconds(found: Lines, what: str) -> float:
    """CPU seconds of fit, the same way."""
    return mean_of([line["cpu_seconds"]["fit"] for line in own_lines(found, what).values()])


def seeds(found: Lines, cells: Iterable[str]) -> str:
    """How many seeds the cells have that have run."""
    return between(len(own_lines(found, what)) for what in cells)


def between(counts: Iterable[int]) -> str:
    """The least and the most of the counts above zero."""
    several = {count for count in counts if count}
    return " to ".join(map(str, sorted({min(several), max(several)}))) if several else "none"


def paired(found: Lines, ours: str, theirs: str, name: str) -> tuple[list[float], list[float]]:
    """The scores of two models on a set, on the seeds that both have."""
    one, other = own_lines(found, ours), own_lines(found, theirs)
    both = [seed for seed in SEEDS if seed in one and seed in other]
    return [one[s]["scores"][name] for s in both], [other[s]["scores"][name] for s in both]


def key_of(what: str, seed: str) -> str:
    """The key of a cell."""
    return f"{what}:honest:{seed}"


def mean_of(values: Sequence[float]) -> float:
    """The mean; NaN of none."""
    return statistics.fmean(values) if values else math.nan


# --- classes --------------------------------------------------------------------------------------


def class_sets(matrix: Matrix) -> list[str]:
    """The classification sets."""
    return sorted({cell.dataset for cell in matrix.cells if cell.model == "minirocket"})


def run_on(found: Lines, names: Iterable[str], *models: str) -> list[str]:
    """The sets that all these models have run on."""
    return [name for name in names if all(own_lines(found, f"{m}:{name}") for m in models)]


def on_the_mean(found: Lines, names: list[str], model: str) -> Mark:
    """Whether a model is ahead of both peers on the mean over all sets."""
    mark = Mark(len(names), len(run_on(found, names, model, *ROCKETS)))
    if mark.have == mark.of:
        ours = mean_of([score(found, f"{model}:{name}") for name in names])
        for peer, title in ROCKETS.items():
            theirs = mean_of([score(found, f"{peer}:{name}") for name in names])
            if round(ours, 3) <= round(theirs, 3):
                more = f"{100 * (theirs - ours):.1f} points behind"
                mark.misses[f"the mean beside {title}"] = more
    return mark


def cases_behind(found: Lines, names: list[str]) -> dict[str, float]:
    """How many cases fewer than MiniRocket auto answers right on each set that both have run on."""
    fewer = {}
    for name in run_on(found, names, "minirocket", "classifier.auto"):
        [line, *_] = own_lines(found, f"minirocket:{name}").values()
        theirs, ours = (score(found, f"{m}:{name}") for m in ("minirocket", "classifier.auto"))
        fewer[name] = round(line["n_test"] * (theirs - ours), 1)
    return fewer


def behind(found: Lines, names: list[str]) -> Mark:
    """Whether auto is nowhere more than two cases behind MiniRocket."""
    fewer = cases_behind(found, names)
    misses = {name: f"{cases:.1f} cases" for name, cases in fewer.items() if cases > 2}
    return Mark(len(names), len(fewer), misses)


def fast_fits(found: Lines, names: list[str]) -> Mark:
    """Whether fast takes at most five times the seconds of MiniRocket."""
    have = run_on(found, names, "minirocket", "classifier.fast")
    mark = Mark(len(names), len(have))
    for name in have:
        times = seconds(found, f"classifier.fast:{name}") / seconds(found, f"minirocket:{name}")
        if round(times, 1) > 5:
            mark.misses[name] = f"{times:.1f} times"
    return mark


def auto_fits(found: Lines, names: list[str]) -> Mark:
    """Whether auto takes less than 120 seconds on sets of few training cases."""
    few = [name for name in names if name not in MANY_CASES]
    have = run_on(found, few, "classifier.auto")
    taken = {name: seconds(found, f"classifier.auto:{name}") for name in have}
    misses = {name: f"{taken[name]:.0f} s" for name in have if taken[name] >= 120}
    return Mark(len(few), len(have), misses)


# --- forecasts ------------------------------------------------------------------------------------


def horizon_mean(found: Lines, model: str, name: str, kind: str) -> str:
    """Mean over the horizons of a set, as it is shown."""
    return shown_mean([score(found, f"{model}:{name}-{h}", kind) for h in SETS[name]])


def more_than(found: Lines, model: str, peer: Published) -> dict[str, dict[str, float]]:
    """By how many per cent the errors of a model are above published ones, on sets that have run.

    Returns
    -------
    dict
        By set and kind of error, of the means over four horizons.
    """
    more: dict[str, dict[str, float]] = {}
    for name, horizons in SETS.items():
        for kind in KINDS:
            ours = horizon_mean(found, model, name, kind)
            if ours != NOT_RUN:
                theirs = peer.scores[kind][name, horizons]
                more.setdefault(name, {})[kind] = 100 * (float(ours) / theirs - 1)
    return more


def above(
    more: Mapping[str, Mapping[str, float]], missed: Callable[[float], bool]
) -> dict[str, str]:
    """Where the per cents are those of a miss."""
    return {
        f"{name} {kind.upper()}": f"{by:+.1f} %"
        for name, kinds in more.items()
        for kind, by in kinds.items()
        if missed(by)
    }


def ahead_of(more: Mapping[str, Mapping[str, float]]) -> Mark:
    """Whether all errors are below those of the peer."""
    return Mark(len(SETS), len(more), above(more, lambda by: by >= 0))


def near(more: Mapping[str, Mapping[str, float]]) -> Mark:
    """Whether they are on half of the sets, and within 3 % on the others."""
    mark = Mark(len(SETS), len(more), above(more, lambda by: round(by, 1) > 3))
    ahead = sum(max(kinds.values()) < 0 for kinds in more.values())
    if len(more) - ahead > len(SETS) / 2:
        mark.misses["half of the sets"] = f"ahead on {ahead} of {len(more)}"
    return mark


def over_map(found: Lines) -> dict[str, float]:
    """By how many per cent the MSE of auto is above that of its linear map, by cell."""
    more = {}
    for cell in (f"{name}-{h}" for name, horizons in SETS.items() for h in horizons):
        fast, auto = (score(found, f"convtimenet.{q}:{cell}", "mse") for q in ("fast", "auto"))
        if not math.isnan(fast + auto):
            more[cell] = round(100 * (auto / fast - 1), 1)
    return more


def stream(found: Lines) -> Mark:
    """Whether auto is nowhere more than one per cent behind the linear map alone."""
    more = over_map(found)
    misses = {cell: f"{by:+.1f} %" for cell, by in more.items() if by > 1}
    return Mark(sum(map(len, SETS.values())), len(more), misses, "cells")


def etth1(found: Lines) -> Mark:
    """Whether the default fits ETTh1-96 in 120 seconds."""
    taken = seconds(found, "convtimenet.auto:ETTh1-96")
    misses = {"ETTh1-96": f"{taken:.0f} s"} if taken > 120 else {}
    return Mark(1, int(not math.isnan(taken)), misses, "cells")


# --- small series ---------------------------------------------------------------------------------


def groups_of(matrix: Matrix) -> dict[str, set[str]]:
    """The sets of each group of small series."""
    groups: dict[str, set[str]] = {}
    for cell in matrix.cells:
        groups.setdefault(matrix.sets[cell.dataset]["group"], set()).add(cell.dataset)
    return groups


def by_group(matrix: Matrix, found: Lines) -> dict[str, dict[str, float]]:
    """For each group, the geometric mean of each model's MASE relative to seasonal naive."""
    models = ("convtimenet.fast", "convtimenet.auto", *CLASSICAL)
    return {
        group: {
            model: statistics.geometric_mean(
                _ratios(found[key_of(f"{model}:{name}", SEEDS[0])] for name in sorted(names))
            )
            for model in models
        }
        for group, names in groups_of(matrix).items()
    }


def small_series(matrix: Matrix, found: Lines) -> Mark:
    """Whether the MASE of auto is at most that of the better classical model in each group."""
    means = by_group(matrix, found)
    mark = Mark(len(means), len(means), unit="groups")
    for group, names in groups_of(matrix).items():
        auto, *peers = (means[group][model] for model in ("convtimenet.auto", *CLASSICAL))
        if round(auto, 3) > round(min(peers), 3):
            low, ratio, high = to_better(found, names)
            mark.misses[group] = f"{ratio:.2f} times, 95 % interval {low:.2f} to {high:.2f}"
    return mark


def to_better(found: Lines, names: Iterable[str]) -> tuple[float, float, float]:
    """How many times the better one's MASE that of auto is, between the ends of its interval over
    series."""
    logs: Logs = {}
    for name in sorted(names):
        for peer in CLASSICAL:
            ours, theirs = (
                found[key_of(f"{model}:{name}", SEEDS[0])]["scores"]["mase"]
                for model in ("convtimenet.auto", peer)
            )
            series = logs.setdefault(peer, {}).setdefault(name.partition("@")[0], [])
            series.append(math.log(ours / theirs))
    return beside_better(logs)


def beside_better(logs: Logs) -> tuple[float, float, float]:
    """The ratio to the better peer, between the ends of its interval over series, from logarithms
    of ratios by peer and series."""
    means = max(
        ([statistics.fmean(own) for own in series.values()] for series in logs.values()),
        key=statistics.fmean,
    )
    middle, error = statistics.fmean(means), statistics.stdev(means) / len(means) ** 0.5
    half = error * float(stdtrit(len(means) - 1, 0.975))
    return math.exp(middle - half), math.exp(middle), math.exp(middle + half)


def fresh_groups(
    lines: Sequence[Mapping[str, Any]],
) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Lines of fresh_series.py by group."""
    single = [line for line in lines if line["channels"] == 1]
    return {
        f"up to {FEW_ROWS} rows": [line for line in single if line["rows"] <= FEW_ROWS],
        "longer": [line for line in single if line["rows"] > FEW_ROWS],
        "panels": [line for line in lines if line["channels"] > 1],
    }


def fresh_to_better(own: Sequence[Mapping[str, Any]]) -> tuple[float, float, float]:
    """`to_better` of lines of fresh_series.py."""
    logs: Logs = {}
    for line in own:
        for peer in CLASSICAL.values():
            series = logs.setdefault(peer, {}).setdefault(line["series"], [])
            series.append(math.log(line["auto"]["mase"] / line[peer]["mase"]))
    return beside_better(logs)


def _ratios(own: Iterable[Mapping[str, Any]]) -> list[float]:
    return [line["scores"]["mase"] / line["naive"]["mase"] for line in own]


def longest(found: Lines, names: Iterable[str]) -> dict[str, float]:
    """The longest fit of fast and auto, in CPU seconds."""
    return {
        quality: round(max(seconds(found, f"convtimenet.{quality}:{name}") for name in names), 1)
        for quality in ("fast", "auto")
    }


def five_seconds(matrix: Matrix, found: Lines) -> Mark:
    """Whether all fits take less than five seconds."""
    groups = groups_of(matrix)
    mark = Mark(len(groups), len(groups), unit="groups")
    for group, names in groups.items():
        most = {quality: taken for quality, taken in longest(found, names).items() if taken >= 5}
        if most:
            told = (f"`{quality}` up to {taken:.1f} s" for quality, taken in most.items())
            mark.misses[group] = ", ".join(told)
    return mark


def shown_mean(values: Iterable[float]) -> str:
    mean = statistics.fmean(values)
    return NOT_RUN if math.isnan(mean) else f"{mean:.3f}"
