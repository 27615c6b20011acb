"""The pictures of a report, each as one SVG text that stands alone.

Drawn with matplotlib's objects only: no pyplot, no window, the caller's settings stay as they are.
The same numbers give the same bytes. Colours are Okabe and Ito's, which colour-blind readers tell
apart. Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from convtimenet.report._html import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK, GREY, FAINT = "#222222", "#6e6e6e", "#d9d9d9"
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
_MANY_POINTS = 6000  # a picture with more is drawn as pixels; as paths it would swell the page
_MANY_PATCHES = 150  # the same for the boxes of patches
_NUMBERED_CLASSES = 25  # counts of more classes do not fit their cells
_WIDTH = 4.4  # inches; at this width 9 pt letters stay readable on a phone

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "convtimenet",
    "text.parse_math": False,  # names may hold dollar signs
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "lines.linewidth": 1.4,
    "axes.formatter.limits": (-4, 5),
}


def short(text: str, most: int = 24) -> str:
    """One line of at most `most` characters; the middle goes, for names often differ at the end."""
    text = " ".join(clean(text).split())
    kept = most - 1
    return text if len(text) <= most else f"{text[: kept - kept // 2]}…{text[-(kept // 2) :]}"


@contextmanager
def _drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of that many inches under the report's style."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The reader's browser chooses the font, and has more letters than matplotlib's own.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure) -> str:
    target = StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(target, format="svg", dpi=120, metadata=nothing)
    text = target.getvalue()
    # Without the prologue, which names a document type at an outside address.
    return text[text.index("<svg") :]


def _whole_ticks(axis: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))


def _time_axis(axes: Axes, times: np.ndarray) -> np.ndarray:
    """Dress the x axis for `times` (n,), datetime64 or integers; gives the positions to plot at."""
    import matplotlib.dates as mdates

    if times.dtype.kind != "M":
        _whole_ticks(axes.xaxis)
        return times
    locator = mdates.AutoDateLocator(minticks=3, maxticks=6)
    # without these some spans, such as 70 hours or 35 months, have no interval that fits
    for unit, longest in (("MONTHLY", 12), ("HOURLY", 24), ("MINUTELY", 60), ("SECONDLY", 60)):
        intervals = locator.intervald[getattr(mdates, unit)]
        locator.intervald[getattr(mdates, unit)] = [*intervals, longest]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    return np.asarray(mdates.date2num(times))


def _label_ends(axes: Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    """Name lines in the right margin: (height in data units, text, colour) each, kept apart."""
    low, high = axes.get_ylim()
    wanted = sorted(((y - low) / (high - low), text, colour) for y, text, colour in labels)
    heights: list[float] = []
    for height, _, _ in wanted:
        heights.append(max(height, heights[-1] + 0.09) if heights else height)
    excess = max(0.0, heights[-1] - 1.0)
    for height, (_, text, colour) in zip(heights, wanted, strict=True):
        axes.text(1.02, height - excess, text, color=colour, transform=axes.transAxes, va="center")


def by_epoch(
    curves: Mapping[str, Sequence[float]], best: int, ylabel: str, *, from_zero: bool = False
) -> str:
    """Lines over epochs 1, 2, ...; the best epoch is marked.

    Parameters
    ----------
    curves
        Name to values, one per epoch; NaN where there is none.
    best
        Number of the epoch to mark; 0 for none.
    """
    with _drawing(_WIDTH, 2.7) as figure:
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
        _whole_ticks(axes.xaxis)
        axes.set_xlabel("epoch")
        axes.set_ylabel(ylabel)
        count = max(map(len, curves.values()))
        room = max(0.03 * count, 0.2)
        axes.set_xlim(1 - room, count + room)
        if len(curves) > 1 and ends:
            _label_ends(axes, ends)
        return _svg(figure)


def forecast_window(
    times: np.ndarray,
    truth: np.ndarray,
    forecast: np.ndarray,
    *,
    ylabel: str,
    xlabel: str,
    bands: Sequence[tuple[np.ndarray, np.ndarray]] = (),
) -> str:
    """The end of a context, what followed it, and the forecast.

    Parameters
    ----------
    times
        (n,) datetime64 or integers: context and horizon.
    truth
        (n,) in the data's units.
    forecast
        (H,) for the last H of `times`.
    bands
        Lower and upper bounds (H,) of intervals.
    """
    with _drawing(_WIDTH, 2.7) as figure:
        axes = figure.add_subplot()
        x = _time_axis(axes, times)
        n, H = len(times), len(forecast)
        for low, high in bands:
            last = truth[n - H - 1 : n - H]
            low, high = np.concatenate([last, low]), np.concatenate([last, high])
            axes.fill_between(x[n - H - 1 :], low, high, color=ORANGE, alpha=0.18, linewidth=0)
        dots = "o" if n <= 40 else None
        axes.axvspan(x[n - H - 1], x[-1], color="#f3f3f3", linewidth=0, zorder=0)
        axes.plot(x, truth, color=INK, marker=dots, markersize=2.2, linewidth=1.1)
        # joined to the last known value, so that a horizon of one step shows too
        joined = np.concatenate([truth[n - H - 1 : n - H], forecast])
        axes.plot(x[n - H - 1 :], joined, color=ORANGE, marker=dots, markersize=2.2)
        axes.set_xlim(x[0], x[-1])
        axes.set_ylabel(short(ylabel, 34))
        axes.set_xlabel(short(xlabel, 40), loc="left")  # right: the date
        _label_ends(
            axes, [(float(truth[-1]), "truth", INK), (float(forecast[-1]), "forecast", ORANGE)]
        )
        return _svg(figure)


def error_over_time(
    times: np.ndarray,
    errors: np.ndarray,
    marks: Mapping[str, Sequence[int]],
    *,
    ylabel: str,
    xlabel: str,
) -> str:
    """Error (n,) of every window against `times` (n,), when it was forecast.

    Parameters
    ----------
    marks
        Name to the numbers of the windows to mark.
    """
    with _drawing(_WIDTH, 2.7) as figure:
        axes = figure.add_subplot()
        x = _time_axis(axes, times)
        axes.plot(x, errors, color=GREY, linewidth=0.8, rasterized=len(x) > _MANY_POINTS)
        shapes = (("^", ORANGE), ("o", GREEN), ("v", BLUE))
        for (name, windows), (shape, colour) in zip(marks.items(), shapes, strict=True):
            at = list(windows)
            axes.plot(x[at], errors[at], shape, color=colour, markersize=6, label=name)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(short(xlabel, 40), loc="left")  # right: the date
        axes.set_ylabel(ylabel)
        figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
        return _svg(figure)


def error_by_step(errors: np.ndarray, *, ylabel: str, xlabel: str) -> str:
    """Error (H,) against the number of steps ahead."""
    with _drawing(_WIDTH, 2.7) as figure:
        axes = figure.add_subplot()
        steps = np.arange(1, len(errors) + 1)
        axes.plot(
            steps, errors, color=BLUE, marker="o" if len(errors) <= 40 else None, markersize=3
        )
        axes.set_ylim(0, max(float(errors.max()) * 1.08, 1e-12))
        axes.set_xlim(0, len(errors) + 0.5)
        axes.yaxis.grid(True, color=FAINT, linewidth=0.6)
        _whole_ticks(axes.xaxis)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        return _svg(figure)


def coverage_by_step(curves: Mapping[float, np.ndarray], *, xlabel: str) -> str:
    """Share (H,) of truths inside intervals by steps ahead, one line per level in per cent; dashed
    is what was asked for."""
    with _drawing(_WIDTH, 2.7) as figure:
        axes = figure.add_subplot()
        lowest, ends, H = 100.0, [], 1
        for (level, share), colour in zip(curves.items(), (BLUE, GREEN, ORANGE), strict=False):
            H = len(share)
            dots = "o" if H <= 40 else None
            axes.plot(np.arange(1, H + 1), 100 * share, color=colour, marker=dots, markersize=3)
            axes.axhline(level, color=colour, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
            lowest = min(lowest, level, 100 * float(share.min()))
            ends.append((100 * float(share[-1]), f"{level:g} %", colour))
        axes.set_ylim(max(0.0, lowest - 5), 101)
        axes.set_xlim(0, H + 0.5)
        axes.yaxis.grid(True, color=FAINT, linewidth=0.6)
        _whole_ticks(axes.xaxis)
        axes.set_xlabel(xlabel)
        axes.set_ylabel("truths inside (%)")
        _label_ends(axes, ends)
        return _svg(figure)


def confusion_matrix(counts: np.ndarray, labels: Sequence[str]) -> str:
    """Counts (K, K), a row per true class, coloured by the share of its row."""
    K = len(labels)
    size = min(max(_WIDTH, 1.4 + 0.34 * K), 12.0)
    with _drawing(size, size * 0.92) as figure:
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
        return _svg(figure)


def _draw_series(axes: Axes, x: np.ndarray, values: np.ndarray) -> None:
    """All channels (C, n) of a series as lines; thin and many-coloured where they are many."""
    from matplotlib import colormaps

    C = len(values)
    if values.size > _MANY_POINTS:
        axes.set_rasterization_zorder(0)
    colours = [BLUE] if C == 1 else colormaps["viridis"](np.linspace(0, 0.9, C))
    width, alpha = (1.2, 1.0) if C == 1 else (0.8, 0.8)
    dot = "." if values.shape[1] == 1 else None
    for row, colour in zip(values, colours, strict=True):
        axes.plot(x, row, color=colour, linewidth=width, alpha=alpha, marker=dot, zorder=-1)


def case_lines(values: np.ndarray) -> str:
    """Every channel of one case, scaled (C, n)."""
    with _drawing(_WIDTH, 2.4) as figure:
        axes = figure.add_subplot()
        _draw_series(axes, np.arange(values.shape[1]), values)
        axes.margins(x=0.01)
        axes.set_xlabel("time step")
        axes.set_ylabel("scaled value")
        _whole_ticks(axes.xaxis)
        return _svg(figure)


def patch_boxes(
    values: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    shift: np.ndarray,
    *,
    stride: int,
    patch_size: int,
    ylabel: str,
) -> str:
    """A series over the boxes of its patches, one row per patch.

    Parameters
    ----------
    values
        (C, n), n time steps without padding.
    left, right, shift
        (N,) edges, and how far the middle moved, in time steps of the padded series; NaN for a
        patch that is not drawn.
    stride, patch_size
        S and P: patch i starts out at i S and spans P points.
    """
    from matplotlib import cm, colormaps, colors

    with _drawing(_WIDTH, 5.0) as figure:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
        n, N = values.shape[1], len(left)
        _draw_series(top, np.arange(n), values)
        top.set_ylabel(short(ylabel, 30))
        rows, anchor = np.arange(1, N + 1), np.arange(N) * stride
        reach = max(float(np.nanmax(np.abs(shift))), 1e-6)
        norm, palette = colors.Normalize(-reach, reach), colormaps["PuOr"]
        if N > _MANY_PATCHES:
            bottom.set_rasterization_zorder(0)
        bottom.barh(rows, patch_size - 1, left=anchor, height=0.9, color="#ececec", zorder=-2)
        bottom.barh(
            rows, right - left, left=left, height=0.45, color=palette(norm(shift)),
            edgecolor=GREY, linewidth=0.3, zorder=-1,
        )  # fmt: skip
        bottom.set_ylim(N + 0.8, 0.2)
        end = anchor[-1] + patch_size - 1
        bottom.set_xlim(-0.01 * end, 1.01 * end)
        if end > n - 1:
            for axes in (top, bottom):
                axes.axvspan(
                    n - 1, 1.01 * end, facecolor="none", edgecolor=FAINT, hatch="///", linewidth=0,
                    zorder=-3,
                )  # fmt: skip
        _whole_ticks(bottom.yaxis)
        bottom.set_ylabel("patch")
        bottom.set_xlabel("time step of the padded series")
        drawn = cm.ScalarMappable(norm, palette)
        bar = figure.colorbar(drawn, ax=bottom, orientation="horizontal", aspect=35, pad=0.02)
        bar.set_label("shift (time steps)")
        return _svg(figure)


def move_histograms(shift: np.ndarray, widening: np.ndarray) -> str:
    """How far patches moved and how much wider they became, in time steps; any shape."""
    with _drawing(_WIDTH, 5.0) as figure:
        panels = (
            (shift, "shift (time steps; right of 0 is later)", BLUE),
            (widening, "change of width (time steps)", ORANGE),
        )
        for axes, (values, xlabel, colour) in zip(
            np.ravel(figure.subplots(2, 1)), panels, strict=True
        ):
            counts, edges = np.histogram(values, bins=41, range=_around(values))
            axes.stairs(100 * counts / values.size, edges, fill=True, color=colour)
            axes.axvline(0, color=INK, linewidth=0.8)
            axes.set_xlabel(xlabel)
            axes.set_ylabel("patches (%)")
        return _svg(figure)


def _around(values: np.ndarray) -> tuple[float, float]:
    """A range that holds all values and zero, not of width nought."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    margin = max(0.03 * (high - low), 1e-6)
    return low - margin, high + margin


def residual_bars(scales: Mapping[str, Sequence[float]], kernel_sizes: Sequence[int]) -> str:
    """Learnable residual scales, a pair of bars per block."""
    with _drawing(_WIDTH, 2.7) as figure:
        axes = figure.add_subplot()
        blocks = np.arange(len(kernel_sizes))
        everything = np.array([*scales.values()])
        low, high = _around(everything)
        axes.set_ylim(1.15 * low, 1.15 * high)
        for at, (name, values) in enumerate(scales.items()):
            axes.bar(
                blocks + (at - 0.5) * 0.38, values, width=0.36, color=(BLUE, ORANGE)[at], label=name
            )
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_xticks(blocks, [f"{i + 1}\n{k}" for i, k in enumerate(kernel_sizes)])
        axes.set_xlabel("block, and its kernel size in tokens")
        axes.set_ylabel("residual scale a")
        if np.abs(everything).max() < 1e-3:
            axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
        return _svg(figure)


def kernel_map(weight: np.ndarray) -> str:
    """One block's kernels (D, k) as a heat map under their mean absolute profile."""
    with _drawing(3.2, 3.4) as figure:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1, 3))
        k = weight.shape[1]
        offsets = np.arange(k) - (k - 1) // 2
        top.plot(offsets, np.abs(weight).mean(0), color=INK, marker="o" if k < 16 else None, ms=3)
        top.set_ylim(bottom=0)
        top.set_ylabel("mean |w|")
        reach = max(float(np.abs(weight).max()), 1e-12)
        drawn = bottom.imshow(
            weight, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto",
            extent=(offsets[0] - 0.5, offsets[-1] + 0.5, len(weight) - 0.5, -0.5),
        )  # fmt: skip
        _whole_ticks(bottom.xaxis)
        bottom.set_xlabel("offset (tokens)")
        bottom.set_ylabel("token dimension")
        bar = figure.colorbar(drawn, ax=bottom, aspect=18, pad=0.03)
        bar.set_label("weight w")
        return _svg(figure)
