"""Interactive versions of the pictures in `pictures`, see `report._interactive`.

Colours of heat maps are the scales "theme", from nothing to much, and "signed", from blue over
nothing to red; the numbers are told under the mouse. Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convtimenet.report._canvas import short
from convtimenet.report._interactive import Figure, form_of, label, numbers

_MOST_CELLS = (64, 128)  # rows and columns of a map of weights; of more the means are drawn


def patch_boxes(
    values: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    shift: np.ndarray,
    *,
    stride: int,
    patch_size: int,
    ylabel: str,
) -> Figure:
    """A series over the boxes of its patches, as `pictures.patch_boxes`."""
    there = np.flatnonzero(~np.isnan(left))
    n, end = values.shape[1], (len(left) - 1) * stride + patch_size - 1
    strong = 0.3 + 0.7 * np.abs(shift) / max(float(np.nanmax(np.abs(shift))), 1e-6)
    box = {"type": "bar", "orientation": "h", "yaxis": "y2"}
    boxes = [
        {
            **box,
            "y": (there + 1).tolist(),
            "base": (there * stride).tolist(),
            "x": [patch_size - 1] * len(there),
            "width": 0.9,
            "marker": {"color": "--line"},
            "hoverinfo": "skip",
        }
    ]
    for some, colour in ((there[shift[there] < 0], "--blue"), (there[shift[there] >= 0], "--red")):
        line = {"color": "--soft", "width": 0.5}
        boxes.append(
            {
                **box,
                "y": (some + 1).tolist(),
                "base": _cells(left[some]),
                "x": _cells((right - left)[some]),
                "width": 0.5,
                "marker": {"color": colour, "opacity": _cells(strong[some]), "line": line},
                "customdata": np.round(np.stack([left, right, shift], 1)[some], 2).tolist(),
                "hovertemplate": "patch %{y}: %{customdata[0]} to %{customdata[1]}<br>"
                "shift %{customdata[2]}<extra></extra>",
            }
        )
    padded = {"type": "rect", "x0": n - 1, "x1": max(end, n - 1), "yref": "paper", "y0": 0, "y1": 1}
    padded |= {"fillcolor": "--shade", "line": {"width": 0}, "layer": "below"}
    return _stacked(
        [*boxes, *_series(np.arange(n), values, ylabel)],
        ((2, ylabel), (3, "patch")),
        "time step of the padded series",
        barmode="overlay",
        yaxis2=_rows(len(left), 1) | {"showgrid": True},
        shapes=[padded],
        height=460,
    )


def move_histograms(shift: np.ndarray, widening: np.ndarray) -> Figure:
    """Histograms of shifts and changes of width, as `pictures.move_histograms`."""
    data, layout = [], {}
    names = ("shift (time steps; right of 0 is later)", "change of width (time steps)")
    panels = zip(("", "2"), (shift, widening), names, ("--blue", "--orange"), strict=True)
    for place, values, name, colour in panels:
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        high = max(high, low + 1e-6)
        counts, edges = np.histogram(values, bins=41, range=(low, high))
        bars = {"x": numbers((edges[:-1] + edges[1:]) / 2), "y": _cells(100 * counts / values.size)}
        data.append(
            {
                "type": "bar",
                "xaxis": f"x{place}",
                "yaxis": f"y{place}",
                **bars,
                "width": float(edges[1] - edges[0]),
                "marker": {"color": colour},
                "hovertemplate": "about %{x:.3~g}: %{y:.3~g} % of the patches<extra></extra>",
            }
        )
        layout[f"xaxis{place}"] = {"title": {"text": name}, "anchor": f"y{place}"}
        domain = [0, 0.38] if place else [0.62, 1]
        layout[f"yaxis{place}"] = {"title": {"text": "patches (%)"}, "domain": domain}
    layout |= {"hovermode": "closest", "showlegend": False, "height": 420}
    return {"data": data, "layout": layout}


def residual_bars(scales: Mapping[str, Sequence[float]], kernel_sizes: Sequence[int]) -> Figure:
    """Learned residual scales, a pair of bars per block."""
    blocks = list(range(1, len(kernel_sizes) + 1))
    data = [
        {
            "type": "bar",
            "x": blocks,
            "y": numbers(np.asarray(values)),
            "name": label(name),
            "marker": {"color": colour},
            "hovertemplate": "%{y:.3~g}",
        }
        for (name, values), colour in zip(scales.items(), ("--blue", "--orange"), strict=True)
    ]
    names = [f"{i}<br>{k}" for i, k in zip(blocks, kernel_sizes, strict=True)]
    xaxis = {"title": {"text": "block, and its kernel size"}}
    layout = {
        "xaxis": {**xaxis, "tickvals": blocks, "ticktext": names},
        "yaxis": {"title": {"text": "residual scale a"}},
        "barmode": "group",
        "hovermode": "x unified",
        "showlegend": True,
    }
    return {"data": data, "layout": layout}


def kernel_map(weight: np.ndarray) -> Figure:
    """One block's kernels (D, k) as a heat map under their mean absolute profile."""
    D, k = weight.shape
    offsets = np.arange(k) - (k - 1) // 2
    means, rows, columns = _blocks(weight)
    heat = _heat(
        means,
        _edges(columns, k, offsets[0]),
        _edges(rows, D),
        "offset %{x}, dimension %{y}: %{z}",
        yaxis="y2",
    )
    profile = {
        "type": "scatter",
        "mode": "lines+markers" if k < 16 else "lines",
        "x": offsets.tolist(),
        "y": numbers(np.abs(weight).mean(0)),
        "line": {"color": "--ink", "width": 1.6},
        "marker": {"color": "--ink", "size": 5},
        "hovertemplate": "offset %{x}: %{y:.3~g} on average<extra></extra>",
    }
    return _stacked(
        [heat, profile],
        ((1, "mean |w|"), (3, "token dimension")),
        "offset (tokens)",
        yaxis={"rangemode": "tozero"},
        xaxis={"dtick": 1} if k <= 8 else {},
        yaxis2=_rows(D),
        height=380,
    )


def linear_map(weight: np.ndarray) -> Figure:
    """The linear stream (H, L) as a heat map."""
    H, L = weight.shape
    means, rows, columns = _blocks(weight)
    told = "step %{x} of the context, %{y} ahead: %{z}"
    heat = _heat(means, _edges(columns, L, -L), _edges(rows, H, 1), told)
    reach = max(float(np.quantile(np.abs(means), 0.999)), 1e-12)
    heat |= {"zmin": -reach, "zmax": reach, "colorscale": "signed"}
    return _stacked([heat], ((1, "steps ahead"),), "step of the context", yaxis=_rows(H, 1))


def importance_panels(
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
) -> Figure:
    """A series, the importance of its spans, which follow each other, and its patches, as
    `pictures.importance_panels`."""
    n, there = values.shape[1], np.flatnonzero(~np.isnan(left))
    parts, data = [(2.0, ylabel)], []
    named = [f"steps {first} to {end - 1}" for first, end in (spans - now).tolist()]
    if bars is not None:
        parts.append((1.0, bars_label))
        data.append(
            {
                "type": "bar",
                "yaxis": "y2",
                "x": (spans.mean(1) - now - 0.5).tolist(),
                "width": (spans[:, 1] - spans[:, 0]).tolist(),
                "y": numbers(bars),
                "customdata": named,
                "marker": {"color": "--blue"},
                "hovertemplate": f"%{{customdata}}: %{{y:{form_of(bars)}}}<extra></extra>",
            }
        )
    parts.append((2.0, rows_label))
    axis = f"y{len(parts)}"
    told = f"{label(rows_label)} %{{y}}, around step %{{x}}<br>{label(heat_label)} %{{z}}"
    edges = np.append(spans[:, 0], spans[-1, 1]) - now - 0.5
    rows = np.arange(len(heat) + 1) + first_row - 0.5
    data.append(_heat(heat, edges.tolist(), rows.tolist(), told, yaxis=axis))
    unknown = {"type": "rect", "x0": edges[0], "x1": edges[-1], "yref": axis, "y0": rows[0]}
    unknown |= {"y1": rows[-1], "fillcolor": "--line", "line": {"width": 0}, "layer": "below"}
    if len(there):
        parts.append((0.9, "patches"))
        lanes = there % 3  # neighbours overlap
        ends = np.stack([left, right], 1)[there] - now
        gap = [None] * len(there)
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "yaxis": f"y{len(parts)}",
                "x": [one for pair in zip(*_cells(ends.T), gap, strict=True) for one in pair],
                "y": [one for lane in lanes.tolist() for one in (lane, lane, None)],
                "line": {"color": "--ink", "width": 2},
                "hovertemplate": "edge of a patch at %{x}<extra></extra>",
            }
        )
    return _stacked(
        [*data, *_series(np.arange(n) - now, values, ylabel)],
        parts,
        "time step before the forecast" if now else "time step",
        xaxis={"range": [-0.5 - now, n - 0.5 - now]},
        shapes=[unknown],
        height=130 + 75 * int(sum(height for height, _ in parts)),
        **{f"yaxis{axis[1:]}": _rows(len(heat), first_row)},
        **({f"yaxis{len(parts)}": {"visible": False}} if len(there) else {}),
    )


def channel_importance(
    importance: np.ndarray, spans: np.ndarray, names: Sequence[str], units: str
) -> Figure:
    """Importance (C, M) of every channel's spans, as `pictures.channel_importance`."""
    edges = (np.append(spans[:, 0], spans[-1, 1]) - 0.5).tolist()
    rows = (np.arange(len(names) + 1) - 0.5).tolist()
    told = f"%{{customdata}}, around step %{{x}}<br>%{{z}} {label(units)}"
    shown = [label(short(one, 14)) for one in names]
    more = {"customdata": [[one] * len(spans) for one in shown]}
    ticks = {"tickvals": list(range(len(shown))), "ticktext": shown}
    return _stacked(
        [_heat(importance, edges, rows, told, **more)],
        ((1, ""),),
        "time step before the forecast",
        yaxis=_rows(len(shown)) | ticks,
        height=110 + 22 * len(shown),
    )


# --- parts ---------------------------------------------------------------------------------------


def _rows(n: int, first: int = 0) -> Figure:
    """The axis of n rows from the top, numbered from `first`, with ticks at whole numbers."""
    ticks = list(range(first, first + n, max(1, -(-n // 8))))
    return {"autorange": "reversed", "showgrid": False, "zeroline": False, "tickvals": ticks}


def _cells(values: np.ndarray) -> list[Any]:
    """Values of any shape with three digits, so that the page stays small; None where they are not
    finite."""
    if values.ndim > 1:
        return [_cells(row) for row in values]
    return [float(f"{v:.3g}") if np.isfinite(v) else None for v in values.tolist()]


def _heat(
    values: np.ndarray, x: Sequence[float], y: Sequence[float], told: str, **more: Any
) -> Figure:
    """A heat map of values (rows, columns) between the edges y (rows + 1,) and x (columns + 1,);
    `told` is under the mouse."""
    reach = max(float(np.nanmax(np.abs(values), initial=0)), 1e-12)
    signed = bool(np.nanmin(values, initial=0) < 0)
    return {
        "type": "heatmap",
        "z": _cells(values),
        "x": x,
        "y": y,
        "zmin": -reach if signed else 0,
        "zmax": reach,
        "colorscale": "signed" if signed else "theme",
        "showscale": False,
        "hovertemplate": f"{told}<extra></extra>",
        **more,
    }


def _blocks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of blocks of values (rows, columns), and the first row and column of each block."""
    starts = [
        np.linspace(0, n, min(n, most), endpoint=False).astype(int)
        for n, most in zip(values.shape, _MOST_CELLS, strict=True)
    ]
    for axis, start in enumerate(starts):
        sizes = np.diff(start, append=values.shape[axis])
        shape = (-1, 1) if axis == 0 else (1, -1)
        values = np.add.reduceat(values, start, axis) / sizes.reshape(shape)
    return values, *starts


def _edges(starts: np.ndarray, n: int, first: int = 0) -> list[float]:
    """Edges of blocks of n rows or columns, which are counted from `first`."""
    return (np.append(starts, n) + first - 0.5).tolist()


def _series(x: np.ndarray, values: np.ndarray, name: str) -> list[Figure]:
    """Channels (C, n) as lines of the first plot, behind the others, where the keyboard walks."""
    form = form_of(values)
    names = [label(name)] if len(values) == 1 else [f"channel {c}" for c in range(len(values))]
    return [
        {
            "type": "scatter",
            "mode": "lines" if len(x) > 1 else "markers",
            "x": x.tolist(),
            "y": numbers(row),
            "line": {"color": f"--c{c % 8}", "width": 1.4},
            "marker": {"color": f"--c{c % 8}"},
            "hovertemplate": f"{one}<br>step %{{x}}: %{{y:{form}}}<extra></extra>",
        }
        for c, (one, row) in enumerate(zip(names, values, strict=True))
    ]


def _stacked(
    data: list[Figure], parts: Sequence[tuple[float, str]], xlabel: str, **more: Any
) -> Figure:
    """Plots below each other on one x axis: from the top, the height of each and the title of its
    y axis. Traces belong to "y", "y2" and so on."""
    gap, total = 0.05, sum(height for height, _ in parts)
    unit, top = (1 - gap * (len(parts) - 1)) / total, 1.0
    last = "" if len(parts) == 1 else str(len(parts))
    layout: Figure = {"xaxis": {"title": {"text": xlabel}, "anchor": f"y{last}"}}
    for place, (height, title) in enumerate(parts, start=1):
        bottom = max(0.0, top - unit * height)
        # small, as long titles of low plots would meet
        named = {"text": label(title), "font": {"size": 12}}
        axis = {"title": named, "domain": [bottom, top]}
        layout[f"yaxis{'' if place == 1 else place}"] = axis
        top = bottom - gap
    layout |= {"hovermode": "closest", "showlegend": False}
    for name, own in more.items():
        layout[name] = {**layout[name], **own} if isinstance(own, dict) else own
    return {"data": data, "layout": layout}
