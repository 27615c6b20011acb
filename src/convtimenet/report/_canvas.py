"""What all pictures of a report share: style, axes, series as lines, rendering to SVG.

Uses matplotlib's object interface only: no pyplot, no window, the caller's settings do not change.
The same numbers give the same bytes. Colours are from Okabe and Ito's palette, which is safe for
colour-blind readers. Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from convtimenet.errors import MissingExtraError
from convtimenet.report._html import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK, GREY, FAINT = "#222222", "#6e6e6e", "#d9d9d9"
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
MANY_POINTS = 6000  # with more, a picture is rasterised: vector paths would make the page large
WIDTH = 4.4  # inches; at this width 9 pt text stays readable on a phone

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
    """One line of at most `most` characters, cut in the middle: names often differ at the end."""
    text = " ".join(clean(text).split())
    kept = most - 1
    return text if len(text) <= most else f"{text[: kept - kept // 2]}…{text[-(kept // 2) :]}"


def beside(marked: np.ndarray) -> np.ndarray:
    """Marked rows (n,) and those before and behind, to which lines through them are joined."""
    found = marked.copy()
    found[1:] |= marked[:-1]
    found[:-1] |= marked[1:]
    return found


def outline(values: np.ndarray, spans: int = 100) -> np.ndarray:
    """Indices of the values (n,) that give the line of a small picture its shape: the first and
    the last, and of equal spans the lowest, the highest and a missing one; all of a short line."""
    n = len(values)
    if n <= 3 * spans:
        return np.arange(n)
    kept = {0, n - 1}
    for rows in np.array_split(np.arange(n), spans):
        part = values[rows]
        missing = np.isnan(part)
        kept |= {*rows[missing][:1].tolist()}
        if not missing.all():
            kept |= {int(rows[np.nanargmin(part)]), int(rows[np.nanargmax(part)])}
    return np.array(sorted(kept))


def require_matplotlib() -> None:
    """Raise `MissingExtraError` if it is not installed, before work starts."""
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report", "the report") from error


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of this size in inches, in the report's style."""
    import matplotlib as mpl

    from convtimenet.report._figure import ShownFigure

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The browser chooses the font, which has more glyphs than matplotlib's.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield ShownFigure(figsize=(width, height), layout="constrained")


def svg(figure: Figure) -> str:
    target = StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(target, format="svg", dpi=120, metadata=nothing)
    text = target.getvalue()
    # Without the prologue, which refers to a DTD on another server.
    return text[text.index("<svg") :]


def whole_ticks(axis: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))


def time_axis(axes: Axes, times: np.ndarray) -> np.ndarray:
    """Set up the x axis for `times` (n,), datetime64 or integers; returns the positions to plot."""
    import matplotlib.dates as mdates

    if times.dtype.kind != "M":
        whole_ticks(axes.xaxis)
        return times
    locator = mdates.AutoDateLocator(minticks=3, maxticks=6)
    # without these matplotlib finds no interval for some ranges, such as 70 hours or 35 months
    for unit, longest in (("MONTHLY", 12), ("HOURLY", 24), ("MINUTELY", 60), ("SECONDLY", 60)):
        intervals = locator.intervald[getattr(mdates, unit)]
        locator.intervald[getattr(mdates, unit)] = [*intervals, longest]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    return np.asarray(mdates.date2num(times))


def label_ends(axes: Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    """Label lines in the right margin without overlap: (y in data units, text, colour) each."""
    low, high = axes.get_ylim()
    wanted = sorted(((y - low) / (high - low), text, colour) for y, text, colour in labels)
    heights: list[float] = []
    for height, _, _ in wanted:
        heights.append(max(height, heights[-1] + 0.09) if heights else height)
    excess = max(0.0, heights[-1] - 1.0)
    for height, (_, text, colour) in zip(heights, wanted, strict=True):
        axes.text(1.02, height - excess, text, color=colour, transform=axes.transAxes, va="center")


def draw_series(axes: Axes, x: np.ndarray, values: np.ndarray) -> None:
    """All channels (C, n) of a series as lines; several channels are thin lines with a colour
    bar."""
    from matplotlib import cm, colormaps, colors

    C = len(values)
    if values.size > MANY_POINTS:
        axes.set_rasterization_zorder(0)
    colours = [BLUE] if C == 1 else colormaps["viridis"](np.linspace(0, 0.8, C))
    width, alpha = (1.2, 1.0) if C == 1 else (0.8, 0.8)
    dot = "." if values.shape[1] == 1 else None
    for row, colour in zip(values, colours, strict=True):
        axes.plot(x, row, color=colour, linewidth=width, alpha=alpha, marker=dot, zorder=-1)
    if C > 1:
        norm = colors.BoundaryNorm(np.arange(C + 1) - 0.5, C)
        drawn = cm.ScalarMappable(norm, colors.ListedColormap(colours))
        assert axes.figure is not None
        key = axes.figure.colorbar(drawn, ax=axes, aspect=12, pad=0.02)
        key.set_label("channel")
        key.outline.set_visible(False)  # type: ignore[operator]
        key.ax.tick_params(length=0)
        key.ax.minorticks_off()
        whole_ticks(key.ax.yaxis)
        key.ax.invert_yaxis()
