"""Scaling of time with the number of channels, the context length and the number of series.

F1's network with one of these increasing. At every point all contestants take turns. One that would
take longer than its budget, or more memory than is free, is skipped from there on, and its points
give the reason.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from convtimenet.network.memory import available

from .cases import Case, Phase, forecast_case
from .contestants import AUTHORS, OURS, Entry, NotRun, Step, build
from .machine import high_water, seconds_per_call
from .measure import interleaved

MEMORY_SHARE = 0.6  # largest fraction of the free memory that a step may be predicted to take
CHUNK = 1000  # series per pass when forecasting many


@dataclass(frozen=True)
class Axis:
    """A scaling axis, and how to build a case of size n."""

    name: str
    sizes: tuple[int, ...]
    phases: tuple[Phase, ...]
    case: Callable[[int], Case]
    what: str


def _channels(n: int) -> Case:
    return forecast_case("channels", "ETTh1", batch=4, channels=n)


def _length(n: int) -> Case:
    return forecast_case("length", "ETTh1", batch=8, channels=7, context_length=n)


def _series(n: int) -> Case:
    return forecast_case("series", "ETTh1", batch=n, channels=1)


# Lengths are on the authors' grid: a whole number of strides after the first patch.
AXES: dict[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis(
            "channels",
            (1, 3, 10, 30, 100, 300, 1000),
            ("train", "eval"),
            _channels,
            "4 windows, context 336",
        ),
        Axis(
            "length",
            (96, 192, 336, 720, 1440, 2880, 5760, 10000),
            ("train", "eval"),
            _length,
            "8 windows of 7 channels",
        ),
        Axis(
            "series",
            (10, 100, 1000, 10_000, 100_000),
            ("eval",),
            _series,
            f"context 336, at most {CHUNK} at a time",
        ),
    )
}
OTHERS = (Entry(AUTHORS, "eager", "fp32"), Entry("PatchTST", "eager", "fp32"))


def contenders(phase: Phase) -> tuple[Entry, ...]:
    """Ours on the package's default path, and the others."""
    return (Entry(OURS, "eager" if phase == "train" else "fused", "fp32"), *OTHERS)


@dataclass(frozen=True)
class Point:
    """One contestant at one size."""

    axis: str
    phase: Phase
    model: str
    path: str
    n: int
    median_ms: float | None
    q25_ms: float | None
    q75_ms: float | None
    rounds: int
    not_run: str | None


def scale(
    axis: Axis, phase: Phase, *, rounds: int, budget: float, sizes: Sequence[int] | None = None
) -> Iterator[Point]:
    """Time one axis; `budget` is in seconds per call."""
    out: dict[Entry, str] = {}
    seen: dict[Entry, list[tuple[int, float, float]]] = {entry: [] for entry in contenders(phase)}
    for n in sizes or axis.sizes:
        steps: dict[Entry, Step] = {}
        bytes_taken: dict[Entry, float] = {}
        slowest = 0.0
        for entry in contenders(phase):
            reason = out.get(entry) or too_much(seen[entry], n, budget)
            if reason is None:
                try:
                    steps[entry] = _step(axis, entry, n, phase)
                except NotRun as error:
                    reason = str(error)
            if reason is not None:
                out[entry] = reason
                continue
            before = high_water(reset=True)
            slowest = max(slowest, seconds_per_call(steps[entry], 1))
            bytes_taken[entry] = max(1.0, high_water() - before)
        # a call that is long enough is not repeated within a turn
        turn = 0.2 if slowest < 1 else 0.0
        for entry, seconds in interleaved(steps, rounds=rounds, warmup=0, turn=turn).items():
            seen[entry].append((n, min(seconds), bytes_taken[entry]))
            q25, median, q75 = (float(ms) for ms in np.percentile(seconds, [25, 50, 75]) * 1e3)
            who = entry.model, entry.path
            yield Point(axis.name, phase, *who, n, median, q25, q75, rounds, None)
        for entry, reason in out.items():
            yield Point(axis.name, phase, entry.model, entry.path, n, None, None, None, 0, reason)
        steps.clear()
        gc.collect()


def _step(axis: Axis, entry: Entry, n: int, phase: Phase) -> Step:
    """A step at size n; many series are the same chunk repeated."""
    case = axis.case(n)
    if axis.name != "series" or n <= CHUNK:
        return build(entry, case, phase).step
    assert n % CHUNK == 0
    chunk = build(entry, replace(case, batch=CHUNK), phase).step

    def whole() -> None:
        for _ in range(n // CHUNK):
            chunk()

    return whole


def too_much(seen: Sequence[tuple[int, float, float]], n: int, budget: float) -> str | None:
    """Why size n is skipped, from (size, seconds, bytes) of the smaller sizes."""
    if not seen:
        return None
    seconds = _expected([(size, value) for size, value, _ in seen], n)
    if seconds > budget:
        return f"would take about {seconds:.0f} s a call, the budget is {budget:g} s"
    memory, free = _expected([(s, m) for s, _, m in seen], n), available(torch.device("cpu"))
    if memory > MEMORY_SHARE * free:
        return f"would take about {memory / 1e9:.0f} GB, {free / 1e9:.0f} GB are free"
    return None


def _expected(seen: Sequence[tuple[int, float]], n: int) -> float:
    """Value at n, extrapolated with the exponent of the last two sizes, clipped to 1 to 2."""
    power = 1.0
    if len(seen) > 1:
        power = min(2.0, max(1.0, slope(seen[-2:])))
    size, value = seen[-1]
    return value * (n / size) ** power


def slope(points: Sequence[tuple[int, float]]) -> float:
    """Exponent of n by least squares on the logarithms: 1 is linear growth."""
    sizes, values = np.log(np.array(points, dtype=float)).T
    return float(np.polyfit(sizes, values, 1)[0])


def slopes(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Exponent over all sizes, and over the upper half, where fixed costs no longer show."""
    groups: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    for p in points:
        if p["median_ms"] is not None:
            key = (p["axis"], p["phase"], p["model"])
            groups.setdefault(key, []).append((p["n"], p["median_ms"]))
    return [
        {
            "axis": axis,
            "phase": phase,
            "model": model,
            "slope": slope(found),
            "slope_upper_half": slope(found[-max(2, (len(found) + 1) // 2) :]),
            "from": found[0][0],
            "to": found[-1][0],
        }
        for (axis, phase, model), found in groups.items()
        if len(found) > 1
    ]


def all_axes(*, rounds: int, budget: float, names: Sequence[str]) -> dict[str, Any]:
    """Every axis and phase: points, exponents, and a description of each axis."""
    points = [
        asdict(point)
        for name in names
        for phase in AXES[name].phases
        for point in scale(AXES[name], phase, rounds=rounds, budget=budget)
    ]
    return {
        "axes": {name: AXES[name].what for name in names},
        "budget_s": budget,
        "points": points,
        "slopes": slopes(points),
    }
