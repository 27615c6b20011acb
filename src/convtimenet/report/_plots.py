"""Pictures of a run: training curves, forecasts, errors, confusion matrix, residuals, cases.

Each is a self-contained SVG text, see `_canvas`. Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convtimenet.report._canvas import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    MANY_POINTS,
    ORANGE,
    WIDTH,
    beside,
    draw_series,
    drawing,
    label_ends,
    outline,
    short,
    svg,
    time_axis,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NUMBERED_CLASSES = 25  # with more classes the counts do not fit into the cells


def by_epoch(
    curves: Mapping[str, Sequence[float]], best: int, ylabel: str, *, from_zero: bool = False
) -> str:
    """Lines over epochs 1, 2, ...; the best epoch is marked.

    Parameters
    ----------
    curves
        Name to values, one per epoch; NaN if there is none.
    best
        Number of the epoch to mark; 0 for none.
    """
    with drawing(WIDTH, 2.7) as figure:
        axes = figure.add_subplot()
        ends = []
        for (name, values), colour in zip(curves.items(), (BLUE, ORANGE), strict=False):
            epochs = np.arange(1, len(values) + 1)
            dots = "o" if len(values) <= 30 else None
            axes.plot(epochs, values, color=colour, marker=dots, markersize=3)
            finite = np.asarray(values)[np.isfinite(values)]
            if len(finite):
                ends.append((float(finite[-1]), name, colour))
        if from_zero:
            axes.set_ylim(bottom=0)
        if best:
            axes.axvline(best, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
            axes.annotate(
                f"best: {best}", (best, 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
                textcoords="offset points", ha="center", color=GREY, fontsize=8,
            )  # fmt: skip
        whole_ticks(axes.xaxis)
        axes.set_xlabel("epoch")
        axes.set_ylabel(ylabel)
        count = max(map(len, curves.values()))
        room = max(0.03 * count, 0.2)
        axes.set_xlim(1 - room, count + room)
        if len(curves) > 1 and ends:
            label_ends(axes, ends)
        return svg(figure)


def forecast_window(
    times: np.ndarray,
    truth: np.ndarray,
    answers: np.ndarray,
    levels: Sequence[str] = (),
    *,
    ylabel: str,
    xlabel: str,
) -> str:
    """The end of a context, the forecast, and the actual values if they are known.

    Parameters
    ----------
    times
        (n,) datetime64 or integers: context and horizon.
    truth
        (n,) in the data's units, NaN where missing; or (n - H,) if the horizon is in the future.
    answers
        (H, K) for the last H of `times`: the forecast, then the bounds of intervals from lowest to
        highest.
    levels
        Levels of the intervals in per cent, ascending, to label the bands with.
    """
    with drawing(WIDTH, 2.7) as figure:
        draw_window(figure.add_subplot(), times, truth, answers, levels, ylabel, xlabel)
        return svg(figure)


def draw_window(
    axes: Axes,
    times: np.ndarray,
    truth: np.ndarray,
    answers: np.ndarray,
    levels: Sequence[str],
    ylabel: str,
    xlabel: str,
) -> None:
    """What `forecast_window` shows."""
    forecast, *bounds = answers.T
    x = time_axis(axes, times)
    n, H = len(times), len(forecast)
    known = np.flatnonzero(np.isfinite(truth[: n - H]))
    now = int(known[-1]) if len(known) else n - H  # at the last known value, if there is one
    last, ahead = truth[now : n - H][:1], np.r_[now : n - H][:1]
    ahead = x[np.append(ahead, np.arange(n - H, n))]
    axes.axvspan(x[now], x[-1], color="#f3f3f3", linewidth=0, zorder=-3)
    for k in range(len(bounds) // 2):
        low, high = (np.concatenate([last, bounds[at]]) for at in (k, -1 - k))
        at = np.union1d(outline(low, 30), outline(high, 30))
        band = {"color": ORANGE, "alpha": 0.18, "linewidth": 0, "zorder": -2}
        axes.fill_between(ahead[at], low[at], high[at], **band)
    lines = {"marker": "o" if n <= 40 else None, "markersize": 2.2, "zorder": -1}
    at = outline(truth)
    axes.plot(x[at], truth[at], color=INK, linewidth=1.1, **lines)
    # joined to the last known value, so that a horizon of one step is visible too
    joined = np.concatenate([last, forecast])
    at = outline(joined)
    axes.plot(ahead[at], joined[at], color=ORANGE, **lines)
    _named(axes, x, ylabel, xlabel)
    ends = [(float(forecast[-1]), "forecast", ORANGE)]
    if len(truth) == n and len(found := truth[np.isfinite(truth)]):
        ends.append((float(found[-1]), "truth", INK))
    for level, bound in zip(levels, bounds[len(levels) :], strict=False):
        ends.append((float(bound[-1]), f"{level} %", ORANGE))
    label_ends(axes, ends)


def draw_rows(
    axes: Axes,
    times: np.ndarray,
    answers: np.ndarray,
    levels: Sequence[str],
    ylabel: str,
    xlabel: str,
) -> None:
    """Values (n, K) with their bounds, if there are any, as `draw_window` has them."""
    values, *bounds = answers.T
    x = time_axis(axes, times)
    for k in range(len(bounds) // 2):
        axes.fill_between(x, bounds[k], bounds[-1 - k], color=ORANGE, alpha=0.18, linewidth=0)
    axes.plot(x, values, color=INK, marker="o" if len(x) <= 40 else None, markersize=2.2)
    _named(axes, x, ylabel, xlabel)
    upper = zip(levels, bounds[len(levels) :], strict=True)
    known = [(level, bound[np.isfinite(bound)]) for level, bound in upper]
    if ends := [(float(bound[-1]), f"{level} %", ORANGE) for level, bound in known if len(bound)]:
        label_ends(axes, ends)


def filled_gaps(
    times: np.ndarray,
    answers: np.ndarray,
    missing: np.ndarray,
    *,
    ylabel: str,
    xlabel: str,
) -> str:
    """Values, those filled with the bands of their intervals.

    Parameters
    ----------
    times
        (n,) datetime64 or integers.
    answers
        (n, K): the values without gaps, then their bounds from lowest to highest; those of a known
        value are the value.
    missing
        (n,) True where a value was filled.
    """
    filled, *bounds = answers.T
    with drawing(WIDTH, 2.7) as figure:
        axes = figure.add_subplot()
        x = time_axis(axes, times)
        for k in range(len(bounds) // 2):
            axes.fill_between(x, bounds[k], bounds[-1 - k], color=ORANGE, alpha=0.22, linewidth=0)
        known = np.where(missing, np.nan, filled)
        axes.plot(x, known, color=INK, linewidth=1.1, label="known")
        joined = np.where(beside(missing), filled, np.nan)
        axes.plot(x, joined, color=ORANGE, linewidth=1.1)
        axes.plot(x[missing], filled[missing], ".", color=ORANGE, markersize=4, label="filled")
        _named(axes, x, ylabel, xlabel)
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
        return svg(figure)


def scored_values(
    times: np.ndarray,
    values: np.ndarray,
    scores: np.ndarray,
    flagged: np.ndarray,
    limit: np.ndarray,
    *,
    ylabel: str,
    xlabel: str,
) -> str:
    """Values (n,), the flagged ones marked, and their scores (n,) below; the smallest score that is
    flagged, `limit` (n,), is dashed."""
    with drawing(WIDTH, 3.6) as figure:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        x = time_axis(below, times)
        axes.plot(x, values, color=INK, linewidth=1.1, label="value", zorder=1)
        axes.plot(x[flagged], values[flagged], "o", color=ORANGE, markersize=4, label="flagged")
        below.plot(x, scores, color=BLUE, linewidth=1.0)
        below.plot(x, limit, color=ORANGE, linewidth=0.8, linestyle=(0, (4, 3)))
        below.set_ylim(bottom=0)
        _named(below, x, "score", xlabel)
        axes.set_ylabel(short(ylabel, 34))
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
        return svg(figure)


def _named(axes: Axes, x: np.ndarray, ylabel: str, xlabel: str) -> None:
    """Labels of a plot over time, and its limits."""
    if len(x) > 1:
        axes.set_xlim(x[0], x[-1])
    axes.set_ylabel(short(ylabel, 34))
    axes.set_xlabel(short(xlabel, 40), loc="left")  # matplotlib puts the date on the right


def error_over_time(
    times: np.ndarray,
    errors: np.ndarray,
    marks: Mapping[str, Sequence[int]],
    *,
    ylabel: str,
    xlabel: str,
    joined: bool = True,
) -> str:
    """Error (n,) of every window by the start of its forecast, `times` (n,).

    Parameters
    ----------
    marks
        Name to the indices of the windows to mark.
    joined
        Draw a line, for windows of one series; else dots.
    """
    with drawing(WIDTH, 2.7) as figure:
        axes = figure.add_subplot()
        x = time_axis(axes, times)
        axes.plot(
            x, errors, "-" if joined else ".", color=GREY, linewidth=0.8, markersize=3,
            rasterized=len(x) > MANY_POINTS,
        )  # fmt: skip
        shapes = (("^", ORANGE), ("o", GREEN), ("v", BLUE))
        for (name, windows), (shape, colour) in zip(marks.items(), shapes, strict=True):
            at = list(windows)
            axes.plot(x[at], errors[at], shape, color=colour, markersize=6, label=name)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(short(xlabel, 40), loc="left")  # matplotlib puts the date on the right
        axes.set_ylabel(ylabel)
        figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
        return svg(figure)


def error_by_step(errors: np.ndarray, *, ylabel: str, xlabel: str) -> str:
    """Error (H,) by step ahead; NaN where no value was scored."""
    with drawing(WIDTH, 2.7) as figure:
        axes = figure.add_subplot()
        steps = np.arange(1, len(errors) + 1)
        axes.plot(
            steps, errors, color=BLUE, marker="o" if len(errors) <= 40 else None, markersize=3
        )
        axes.set_ylim(0, max(float(np.nanmax(errors)) * 1.08, 1e-12))
        axes.set_xlim(0, len(errors) + 0.5)
        axes.yaxis.grid(True, color=FAINT, linewidth=0.6)
        whole_ticks(axes.xaxis)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        return svg(figure)


def coverage_by_step(curves: Mapping[float, np.ndarray], *, xlabel: str) -> str:
    """Coverage (H,) of intervals by step ahead, one line per level in per cent, NaN where no
    value was scored; the nominal level is dashed."""
    from matplotlib import colormaps

    with drawing(WIDTH, 2.7) as figure:
        axes = figure.add_subplot()
        lowest, ends, H = 100.0, [], 1
        colours: Any = (BLUE, GREEN, ORANGE)
        if len(curves) > len(colours):
            colours = colormaps["viridis"](np.linspace(0, 0.8, len(curves)))
        for (level, share), colour in zip(curves.items(), colours, strict=False):
            H = len(share)
            dots = "o" if H <= 40 else None
            axes.plot(np.arange(1, H + 1), 100 * share, color=colour, marker=dots, markersize=3)
            axes.axhline(level, color=colour, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
            lowest = min(lowest, level, 100 * float(np.nanmin(share)))
            ends.append((100 * float(share[~np.isnan(share)][-1]), f"{level:g} %", colour))
        axes.set_ylim(max(0.0, lowest - 5), 101)
        axes.set_xlim(0, H + 0.5)
        axes.yaxis.grid(True, color=FAINT, linewidth=0.6)
        whole_ticks(axes.xaxis)
        axes.set_xlabel(xlabel)
        axes.set_ylabel("coverage (%)")
        label_ends(axes, ends)
        return svg(figure)


def confusion_matrix(counts: np.ndarray, labels: Sequence[str]) -> str:
    """Counts (K, K), a row per true class, coloured by their share of the row."""
    K = len(labels)
    size = min(max(WIDTH, 1.4 + 0.34 * K), 12.0)
    with drawing(size, size * 0.92) as figure:
        axes = figure.add_subplot()
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        drawn = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        axes.spines[:].set_visible(False)
        names = [short(label) for label in labels]
        upright = max(map(len, names)) * K > 45
        axes.set_xticks(range(K), names, rotation=90 if upright else 0)
        axes.set_yticks(range(K), names)
        axes.tick_params(length=0)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        if K <= _NUMBERED_CLASSES:
            letters = 9 if K <= 12 else 7.5
            for i, j in np.argwhere(counts):
                axes.text(
                    j, i, str(counts[i, j]), ha="center", va="center", fontsize=letters,
                    color="white" if share[i, j] > 0.55 else INK,
                )  # fmt: skip
        bar = figure.colorbar(drawn, ax=axes, shrink=0.6, aspect=25, pad=0.02)
        bar.set_label("share of the true class")
        bar.outline.set_visible(False)  # type: ignore[operator]
        return svg(figure)


def predicted_against_true(truth: np.ndarray, predicted: np.ndarray) -> str:
    """A dot per case, (n,), and the line of equality."""
    with drawing(WIDTH, WIDTH * 0.92) as figure:
        axes = figure.add_subplot()
        ends = np.array([min(truth.min(), predicted.min()), max(truth.max(), predicted.max())])
        ends += np.array([-0.04, 0.04]) * max(float(np.ptp(ends)), 1e-12)
        axes.plot(ends, ends, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        _dots(axes, truth, predicted)
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        axes.set_aspect("equal")
        axes.set_xlabel("true")
        axes.set_ylabel("predicted")
        return svg(figure)


def residuals(predicted: np.ndarray, residual: np.ndarray) -> str:
    """Residuals (n,) against predictions (n,), and their histogram."""
    with drawing(WIDTH, WIDTH * 0.92) as figure:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
        _dots(left, predicted, residual)
        for axes in (left, right):
            axes.axhline(0, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        left.set_xlabel("predicted")
        left.set_ylabel("predicted minus true")
        bins = int(np.clip(np.sqrt(len(residual)), 5, 41))
        counts, edges = np.histogram(residual, bins=bins)
        right.stairs(counts, edges, orientation="horizontal", fill=True, color=BLUE)
        right.set_xlabel("cases")
        right.set_xticks([0, counts.max()])
        return svg(figure)


def _dots(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    many = len(x) > 300
    axes.plot(
        x, y, "o", color=BLUE, alpha=0.35 if many else 0.7, markersize=2.5 if many else 4,
        markeredgewidth=0, rasterized=len(x) > MANY_POINTS,
    )  # fmt: skip


def case_lines(values: np.ndarray) -> str:
    """All channels (C, n) of one case, scaled."""
    with drawing(WIDTH, 2.4) as figure:
        axes = figure.add_subplot()
        draw_series(axes, np.arange(values.shape[1]), values)
        axes.margins(x=0.01)
        axes.set_xlabel("time step")
        axes.set_ylabel("scaled value")
        whole_ticks(axes.xaxis)
        return svg(figure)
