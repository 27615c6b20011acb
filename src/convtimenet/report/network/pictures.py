"""Pictures of a network: patches, residual scales, kernels, explanations.

Each is a self-contained SVG text, see `_canvas`. Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from convtimenet.report._canvas import (
    BLUE,
    FAINT,
    GREY,
    INK,
    ORANGE,
    WIDTH,
    draw_series,
    drawing,
    short,
    svg,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MANY_PATCHES = 150  # boxes of more patches are rasterised


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
        (N,) edges and shift of the centre, in time steps of the padded series; NaN for a patch that
        is not drawn.
    stride, patch_size
        S and P: undeformed, patch i begins at i S and spans P points.
    """
    from matplotlib import cm, colormaps, colors

    with drawing(WIDTH, 5.0) as figure:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
        n, N = values.shape[1], len(left)
        draw_series(top, np.arange(n), values)
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
        whole_ticks(bottom.yaxis)
        bottom.set_ylabel("patch")
        bottom.set_xlabel("time step of the padded series")
        drawn = cm.ScalarMappable(norm, palette)
        bar = figure.colorbar(drawn, ax=bottom, orientation="horizontal", aspect=35, pad=0.02)
        bar.set_label("shift (time steps)")
        return svg(figure)


def move_histograms(shift: np.ndarray, widening: np.ndarray) -> str:
    """Histograms of the patches' shifts and changes of width, in time steps; any shape."""
    with drawing(WIDTH, 5.0) as figure:
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
        return svg(figure)


def _around(values: np.ndarray) -> tuple[float, float]:
    """A range of non-zero width that contains all values and zero."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    margin = max(0.03 * (high - low), 1e-6)
    return low - margin, high + margin


def residual_bars(scales: Mapping[str, Sequence[float]], kernel_sizes: Sequence[int]) -> str:
    """Learned residual scales, a pair of bars per block."""
    with drawing(WIDTH, 2.7) as figure:
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
        return svg(figure)


def kernel_map(weight: np.ndarray) -> str:
    """One block's kernels (D, k) as a heat map under their mean absolute profile."""
    with drawing(3.2, 3.4) as figure:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1, 3))
        k = weight.shape[1]
        offsets = np.arange(k) - (k - 1) // 2
        top.plot(offsets, np.abs(weight).mean(0), color=INK, marker="o" if k < 16 else None, ms=3)
        top.margins(y=0.15)
        top.set_ylim(bottom=0)
        top.set_ylabel("mean |w|")
        reach = max(float(np.abs(weight).max()), 1e-12)
        drawn = bottom.imshow(
            weight, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto",
            extent=(offsets[0] - 0.5, offsets[-1] + 0.5, len(weight) - 0.5, -0.5),
        )  # fmt: skip
        whole_ticks(bottom.xaxis)
        bottom.set_xlabel("offset (tokens)")
        bottom.set_ylabel("token dimension")
        bar = figure.colorbar(drawn, ax=bottom, aspect=18, pad=0.03)
        bar.set_label("weight w")
        return svg(figure)


def linear_map(weight: np.ndarray) -> str:
    """The linear stream (H, L) as a heat map."""
    H, L = weight.shape
    with drawing(7.0, 2.6) as figure:
        axes = figure.add_subplot()
        reach = max(float(np.quantile(np.abs(weight), 0.999)), 1e-12)
        drawn = axes.imshow(
            weight, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto",
            extent=(-L - 0.5, -0.5, H + 0.5, 0.5), interpolation="nearest",
        )  # fmt: skip
        whole_ticks(axes.xaxis)
        whole_ticks(axes.yaxis)
        axes.set_xlabel("step of the context")
        axes.set_ylabel("steps ahead")
        figure.colorbar(drawn, ax=axes, aspect=18, pad=0.02).set_label("weight")
        return svg(figure)


def importance_panels(
    figure: Figure,
    values: np.ndarray,
    spans: np.ndarray,
    heat: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    *,
    now: int,
    ylabel: str,
    rows_label: str,
    first_row: int,
    heat_label: str,
    bars: np.ndarray | None = None,
    bars_label: str = "",
) -> None:
    """A series, the importance of its spans, and its patches, one below the other.

    Parameters
    ----------
    values
        (C, n).
    spans
        (M, 2), first step and last step + 1.
    heat
        (rows, M), with colours centred at zero; NaN is grey. Rows are numbered from `first_row`.
    left, right
        (N,) edges of the patches; NaN for a patch that is not drawn. Without any, there is no row
        of patches.
    now
        The time step that the axis calls 0.
    bars
        (M,) importance, drawn as bars above the heat map.
    """
    n = values.shape[1]
    there = np.flatnonzero(~np.isnan(left))
    heights = [2.0, *([] if bars is None else [1.0]), 2.0, *([0.9] if len(there) else [])]
    panels = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights))
    bottom = panels[-1]
    patches = panels.pop() if len(there) else None
    top, *middle, heated = panels
    draw_series(top, np.arange(n) - now, values)
    top.set_ylabel(short(ylabel, 26))
    for axes in middle:
        assert bars is not None
        for (first, end), value in zip(spans - now - 0.5, bars, strict=True):
            axes.fill_between((first, end), (value, value), color=BLUE, linewidth=0)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(bars_label)
    heat_map(figure, heated, spans - now, heat, rows_label, first_row, heat_label)
    if patches is not None:
        for lane in range(3):  # in three lanes, because neighbours overlap
            some = there[there % 3 == lane]
            edges = left[some] - now, right[some] - now
            patches.hlines(np.full(len(some), lane), *edges, color=INK, linewidth=1.6)
        patches.set_ylim(2.6, -0.6)
        patches.set_yticks([])
        patches.set_ylabel("patches")
    bottom.set_xlim(-0.5 - now, n - 0.5 - now)
    whole_ticks(bottom.xaxis)
    bottom.set_xlabel("time step before the forecast" if now else "time step")


def heat_map(
    figure: Figure,
    axes: Axes,
    spans: np.ndarray,
    heat: np.ndarray,
    rows_label: str,
    first_row: int,
    label: str,
) -> None:
    """Heat map of (rows, M) over spans (M, 2): red above 0, blue below; shades of blue if no value
    is negative."""
    from matplotlib import cm, colormaps, colors

    reach = max(float(np.nanmax(np.abs(heat), initial=0)), 1e-12)
    signed = bool(np.nanmin(heat, initial=0) < 0)
    norm = colors.Normalize(-reach if signed else 0, reach)
    palette = colormaps["RdBu_r" if signed else "Blues"]
    edges = np.arange(len(heat) + 1) + first_row - 0.5
    axes.set_facecolor(FAINT)
    for (first, end), column in zip(spans, heat.T, strict=True):
        axes.pcolormesh(
            (first - 0.5, end - 0.5), edges, column[:, None], norm=norm, cmap=palette,
            rasterized=True,
        )  # fmt: skip
    axes.set_ylim(edges[-1], edges[0])
    whole_ticks(axes.yaxis)
    axes.set_ylabel(rows_label)
    bar = figure.colorbar(cm.ScalarMappable(norm, palette), ax=axes, aspect=12, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)  # type: ignore[operator]


def channel_importance(
    importance: np.ndarray, spans: np.ndarray, names: Sequence[str], label: str
) -> str:
    """Importance (C, M) of every channel's spans for its forecast; steps count back from it."""
    with drawing(WIDTH, min(1.4 + 0.24 * len(names), 6.0)) as figure:
        axes = figure.add_subplot()
        heat_map(figure, axes, spans, importance, "", 0, label)
        axes.set_yticks(range(len(names)), [short(name, 14) for name in names])
        axes.tick_params(axis="y", length=0)
        whole_ticks(axes.xaxis)
        axes.set_xlabel("time step before the forecast")
        return svg(figure)
