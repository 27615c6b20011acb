"""Pictures of a matrix: mean ranks with the critical difference, and scores against cost."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from convtimenet.bench.report.ranks import Ranking
from convtimenet.report._canvas import BLUE, FAINT, GREY, INK, drawing, short, svg
from convtimenet.report._html import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

_WIDTH = 7.2  # inches
_LETTERS = 34  # on a line of a name, at most
_LETTER = 0.068  # width of a letter in inches


def rank_diagram(ranking: Ranking, names: Sequence[str]) -> str:
    """Demsar's critical difference diagram.

    An axis of mean ranks with the best on the left, names below it on both sides, and bars that
    join models without a significant difference.
    """
    order: list[int] = np.argsort(ranking.ranks, kind="stable").tolist()
    k, bars = len(order), len(ranking.alike)
    half = (k + 1) // 2
    texts = [f"{_on_lines(names[model])} {ranking.ranks[model]:.2f}" for model in order]
    step = 0.62 if all("\n" not in text for text in texts) else 1.0
    first = 0.55 + 0.22 * bars  # lines below the axis, where the names begin
    depth = first + step * (half - 1) + 0.4
    with drawing(_WIDTH, 0.95 + 0.38 * depth) as figure:
        axes = figure.add_subplot()
        axes.set_axis_off()
        span = k - 1.0
        widths = [max(map(len, text.split("\n"))) for text in texts]
        sides = [max(widths[:half]), max(widths[half:])]
        left_room, right_room = (0.25 + _LETTER * letters for letters in sides)
        scale = span / (_WIDTH - left_room - right_room)  # ranks per inch
        axes.set_xlim(1 - left_room * scale, k + right_room * scale)
        axes.set_ylim(depth, -1.5)
        axes.plot([1, k], [0, 0], color=INK, linewidth=1)
        for rank in range(1, k + 1):
            axes.plot([rank, rank], [-0.12, 0], color=INK, linewidth=1)
            axes.text(rank, -0.2, str(rank), ha="center", va="bottom", fontsize=8)
        longer = ranking.difference > span  # than the axis: no two can differ significantly
        ends = [1, k if longer else 1 + ranking.difference]
        axes.plot(ends, [-1.0, -1.0], color=GREY, linewidth=1.2, linestyle=":" if longer else "-")
        for end in ends:
            axes.plot([end, end], [-1.1, -0.9], color=GREY, linewidth=1.2)
        text = f"critical difference {ranking.difference:.2f}"
        text += ", longer than the axis" if longer else ""
        axes.text(1, -1.18, text, ha="left", va="bottom", color=GREY, fontsize=8)
        for position, model in enumerate(order):
            on_left = position < half
            height = first + step * (position if on_left else k - 1 - position)
            edge = 1 - 0.15 * scale if on_left else k + 0.15 * scale
            rank = float(ranking.ranks[model])
            axes.plot([rank, rank, edge], [0, height, height], color=INK, linewidth=0.8)
            axes.text(
                edge + (-0.04 if on_left else 0.04) * scale, height, texts[position],
                ha="right" if on_left else "left", va="center", fontsize=8.5,
            )  # fmt: skip
        for bar, run in enumerate(ranking.alike):
            ends = ranking.ranks[[run[0], run[-1]]] + np.array([-0.03, 0.03]) * scale
            height = 0.28 + 0.22 * bar
            axes.plot(
                ends, [height, height], color=BLUE, linewidth=3.2, solid_capstyle="round", zorder=3
            )
        return svg(figure)


def cost_diagram(
    seconds: np.ndarray, scores: np.ndarray, names: Sequence[str], *, ylabel: str, xlabel: str
) -> str:
    """One dot per model: score (k,) against CPU seconds (k,) on a logarithmic axis."""
    from matplotlib.ticker import NullFormatter

    with drawing(_WIDTH, 4.0) as figure:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        x = np.maximum(seconds, 1e-3)
        axes.plot(x, scores, "o", color=BLUE, markersize=6)
        axes.grid(True, color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        low, high = np.log10(x.min()), np.log10(x.max())
        room = max(0.12 * (high - low), 0.3)
        axes.set_xlim(
            10 ** (low - room), 10 ** (high + 1.5 * room)
        )  # room for the names on the right
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(y=0.14)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # keep the dots in place while names are added
        _name_dots(axes, x, scores, names)
        return svg(figure)


def _on_lines(name: str) -> str:
    """A name on one line, or on two."""
    text = " ".join(clean(name).split())
    first = next(iter(textwrap.wrap(text, _LETTERS, break_on_hyphens=False)), "")
    return f"{first}\n{short(text[len(first) :], _LETTERS)}".strip()


def _name_dots(axes: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> None:
    """Label the dots, each on the side with the least overlap with others and the edge."""
    dots = axes.transData.transform(np.column_stack([x, y]))
    inside = axes.get_window_extent()
    sides = [
        (8, 0, "left", "center"), (-8, 0, "right", "center"),
        (0, 7, "center", "bottom"), (0, -7, "center", "top"),
        (6, 6, "left", "bottom"), (-6, 6, "right", "bottom"),
        (6, -6, "left", "top"), (-6, -6, "right", "top"),
        (14, 18, "left", "bottom"), (-14, 18, "right", "bottom"),
        (14, -18, "left", "top"), (-14, -18, "right", "top"),
    ]  # fmt: skip
    taken = [(px - 5, py - 5, px + 5, py + 5) for px, py in dots]
    for i, name in enumerate(names):
        places: list[tuple[float, Annotation]] = []
        for across, up, ha, va in sides:
            text = axes.annotate(
                _on_lines(name), (x[i], y[i]), (across, up), textcoords="offset points",
                ha=ha, va=va, fontsize=8.5, zorder=1.5,  # above the grid, below the dots
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
            box = text.get_window_extent()
            edges = (box.x0, box.y0, box.x1, box.y1)
            covered = sum(_shared(edges, other) for j, other in enumerate(taken) if j != i)
            outside = max(0.0, inside.x0 - box.x0) + max(0.0, box.x1 - inside.x1)
            outside += max(0.0, inside.y0 - box.y0) + max(0.0, box.y1 - inside.y1)
            places.append((covered + 100 * outside, text))
        least = min(cost for cost, _ in places)
        chosen = next(text for cost, text in places if cost == least)
        for _, text in places:
            if text is not chosen:
                text.remove()
        if abs(chosen.xyann[1]) > 10:  # far from its dot
            line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
            axes.annotate(
                "", (x[i], y[i]), chosen.xyann, textcoords="offset points", arrowprops=line
            )
        box = chosen.get_window_extent()
        taken.append((box.x0, box.y0, box.x1, box.y1))


def _shared(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """The area that two boxes have in common."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)
