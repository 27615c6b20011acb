"""Interactive versions of the pictures in `_plots`, as plain dicts in Plotly's JSON form.

Colours are names of CSS variables, which `page.js` looks up, so that plots follow dark mode. Shape
legend: `convtimenet._shapes`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from convtimenet.report._canvas import beside
from convtimenet.report._html import LONG, clean, digits_for, packed

Figure = dict[str, Any]
"""A figure in Plotly's JSON form: ``data`` and ``layout``. With ``xs``, the ``x`` of a trace
is an index of these, so that equal time axes are held once, and its ``customdata`` are indices of
the traces whose values its hover label shows."""

_COLOURS = ("--blue", "--orange", "--green", "--soft")
_MANY_DOTS = 2000  # of more dots an evenly spaced sample is drawn


def embedded(figure: Figure) -> str:
    """A figure as a script element, which no name in it can leave; a long one is compressed."""
    text = json.dumps(figure, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if len(text) > LONG:
        return f'<script type="application/gzip" class="figure">{packed(text.encode())}</script>'
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f'<script type="application/json" class="figure">{text}</script>'


def label(name: str) -> str:
    """A name as Plotly shows it literally: Plotly reads a subset of HTML, and dollars as TeX."""
    return escape(" ".join(clean(name).split()), quote=False).replace("$", "&#36;")


def numbers(values: np.ndarray, among: np.ndarray | None = None) -> list[Any]:
    """Values of any shape, with the digits that tell those apart `among` which they are drawn; None
    where they are not finite."""
    among = values if among is None else among
    if values.ndim > 1:
        return [numbers(row, among) for row in values]
    digits = digits_for(among)
    return [float(f"{v:.{digits}g}") if np.isfinite(v) else None for v in values.tolist()]


def unit_of(times: np.ndarray) -> str:
    """NumPy's code of the largest unit, of those in which times are written, of which local times
    (n,) are whole numbers; empty for integers."""
    if times.dtype.kind != "M":
        return ""
    units = ("D", "m", "s")
    return next((one for one in units if (times.astype(f"M8[{one}]") == times).all()), "ns")


def stamps(times: np.ndarray, unit: str) -> list[Any]:
    """Local times (n,) as ISO text in a unit of `unit_of`, or integers as they are."""
    if times.dtype.kind != "M":
        return times.tolist()
    return times.astype(f"M8[{unit}]").astype(str).tolist()


def form_of(values: np.ndarray) -> str:
    """The d3 format of numbers like these in hover labels."""
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if len(finite) else 0.0
    digits = digits_for(values)
    return f",.{digits}~r" if largest == 0 or 1e-3 <= largest < 1e9 else f".{digits}~g"


def _figure(
    data: list[Figure], x: str, y: str, *, values: np.ndarray, hover: str = "x unified", **more: Any
) -> Figure:
    axis = {"hoverformat": form_of(values), "separatethousands": True}
    layout = {
        "xaxis": {"title": {"text": label(x)}},
        "yaxis": {"title": {"text": label(y)}, **axis},
        "hovermode": hover,
        "showlegend": sum(one.get("showlegend", True) for one in data) > 1,
    }
    for name, own in more.items():
        layout[name] = {**layout[name], **own} if isinstance(layout.get(name), dict) else own
    return {"data": data, "layout": layout}


def _line(x: Any, y: np.ndarray, name: str, colour: str, **more: Any) -> Figure:
    few = len(y) <= 60
    return {
        "type": "scatter",
        "mode": "lines+markers" if few else "lines",
        "x": x,
        "y": numbers(y),
        "name": label(name),
        "line": {"color": colour, "width": 2},
        "marker": {"size": 5, "color": colour},
        **more,
    }


def by_epoch(curves: Mapping[str, Sequence[float]], best: int, ylabel: str) -> Figure:
    """Lines over epochs, as `_plots.by_epoch`."""
    data = [
        _line(list(range(1, len(values) + 1)), np.asarray(values, float), name, colour)
        for (name, values), colour in zip(curves.items(), _COLOURS, strict=False)
    ]
    shapes = [_upright(best)] if best else []
    every = np.concatenate([np.asarray(v, float) for v in curves.values()])
    return _figure(data, "epoch", ylabel, values=every, shapes=shapes)


def _upright(x: Any) -> Figure:
    line = {"color": "--soft", "width": 1, "dash": "dash"}
    return {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": line}


def forecast_traces(levels: Sequence[str], form: str, few: bool) -> list[Figure]:
    """Traces of a forecast without their values: the known values, the join to the forecast, the
    lower and upper bound of each level (widest first), the forecast."""
    mode = "lines+markers" if few else "lines"
    known = {"line": {"color": "--ink", "width": 1.6}, "marker": {"color": "--ink", "size": 4}}
    own = {"line": {"color": "--orange", "width": 2.4}, "marker": {"color": "--orange", "size": 5}}
    silent = {"mode": "lines", "hoverinfo": "skip", "showlegend": False}
    bands = []
    for number, level in enumerate(reversed(levels)):
        bands += [
            {**silent, "line": {"width": 0, "color": "--orange"}},
            {
                "mode": "lines",
                "line": {"width": 0, "color": "--orange"},
                "fill": "tonexty",
                "fillcolor": "--band-inner" if number else "--band",
                "name": f"{level} % interval",
                "hovertemplate": f"%{{customdata[0]:{form}}} to %{{y:{form}}}",
                "customdata": [2 + 2 * number],  # the lower bound
            },
        ]
    return [
        {"type": "scatter", **trace}
        for trace in (
            {"mode": mode, "name": "actual", **known},
            {**silent, "line": {"color": "--orange", "width": 2, "dash": "dot"}},
            *bands,
            {"mode": mode, "name": "forecast", **own},
        )
    ]


def forecast_values(
    known: np.ndarray, answers: np.ndarray, before: int
) -> tuple[list[list[Any]], int]:
    """Values of `forecast_traces`, and the index of the last known value before the forecast.

    Parameters
    ----------
    known
        (n,) NaN where missing.
    answers
        (H, K): the forecast, then its bounds from lowest to highest.
    before
        Number of values of `known` before the forecast.
    """
    at = np.flatnonzero(np.isfinite(known[:before]))
    last = int(at[-1]) if len(at) else before - 1
    forecast, *bounds = answers.T
    values = [known, np.array([known[last], forecast[0]])]
    for k in range(len(bounds) // 2):
        values += [bounds[k], bounds[-1 - k]]
    among = np.append(known, answers)
    return [numbers(one, among) for one in (*values, forecast)], last


def forecast_layout(xlabel: str, ylabel: str, values: np.ndarray, now: Any, end: Any) -> Figure:
    """Layout of a forecast from `now` to `end`, whose horizon is shaded."""
    shapes = [_shade(now, end)]
    return _figure([], xlabel, ylabel, values=values, shapes=shapes, showlegend=True)["layout"]


def _shade(first: Any, last: Any) -> Figure:
    shade = {"type": "rect", "x0": first, "x1": last, "yref": "paper", "y0": 0, "y1": 1}
    return shade | {"fillcolor": "--shade", "line": {"width": 0}, "layer": "below"}


def forecast_window(
    times: np.ndarray,
    truth: np.ndarray,
    answers: np.ndarray,
    levels: Sequence[str],
    *,
    ylabel: str,
    xlabel: str,
) -> Figure:
    """A forecast with the values before it and, if known, the actual ones."""
    H, x = len(answers), stamps(times, unit_of(times))
    before = len(times) - H
    every = np.concatenate([truth, answers.ravel()])
    values, last = forecast_values(truth, answers, before)
    axes = [x[: len(truth)], [x[last], x[before]], x[before:]]
    traces = forecast_traces(levels, form_of(every), len(times) <= 60)
    for number, (trace, y) in enumerate(zip(traces, values, strict=True)):
        trace |= {"x": min(number, 2), "y": y}
    layout = forecast_layout(xlabel, ylabel, every, x[last], x[-1])
    return {"data": traces, "layout": layout, "xs": axes}


def gap_traces(levels: Sequence[str], form: str) -> list[Figure]:
    """Traces of filled gaps without their values, as `forecast_traces`."""
    traces = forecast_traces(levels, form, few=True)
    known, _, *bands, own = traces
    known |= {"mode": "lines", "name": "known"}
    own |= {"name": "filled", "marker": {"color": "--orange", "size": 4}}
    for one in bands:
        one |= {"hoverinfo": "skip"}
        one.pop("customdata", None)
        one.pop("hovertemplate", None)
    if levels:
        L = len(levels)
        own["customdata"] = [2 + at for k in range(L) for at in (2 * (L - 1 - k), 2 * (L - k) - 1)]
        told = [
            f"{level} %: %{{customdata[{2 * k}]:{form}}} to %{{customdata[{2 * k + 1}]:{form}}}"
            for k, level in enumerate(levels)
        ]
        own["hovertemplate"] = f"%{{y:{form}}} ({', '.join(told)})"
    return traces


def gap_values(answers: np.ndarray, missing: np.ndarray) -> list[list[Any]]:
    """Values of `gap_traces`.

    Parameters
    ----------
    answers
        (n, K): the values without gaps, then their bounds from lowest to highest; those of a known
        value are the value, so that bands have no width there.
    missing
        (n,) True where a value was filled.
    """
    filled, *bounds = answers.T
    values = [np.where(missing, np.nan, filled), np.where(beside(missing), filled, np.nan)]
    for k in range(len(bounds) // 2):
        values += [bounds[k], bounds[-1 - k]]
    return [numbers(one, answers) for one in (*values, np.where(missing, filled, np.nan))]


def score_traces(form: str) -> list[Figure]:
    """Traces of scored values without these: the values, the flagged ones, and below them the score
    from which values are flagged, and the scores."""
    line = {"type": "scatter", "mode": "lines"}
    below = {**line, "yaxis": "y2"}
    flagged = {"color": "--orange", "size": 9, "line": {"color": "--card", "width": 1}}
    dashed = {"color": "--orange", "width": 1, "dash": "dash"}
    return [
        {**line, "name": "value", "line": {"color": "--ink", "width": 1.4}},
        {
            **line,
            "mode": "markers",
            "name": "flagged",
            "marker": flagged,
            "customdata": [3],
            "hovertemplate": f"%{{y:{form}}} (score %{{customdata[0]:.3g}})",
        },
        {**below, "name": "flagged from", "line": dashed, "hoverinfo": "skip", "showlegend": False},
        {**below, "name": "score", "line": {"color": "--blue", "width": 1.4}},
    ]


def score_values(
    values: np.ndarray, scores: np.ndarray, flagged: np.ndarray, limit: np.ndarray
) -> list[list[Any]]:
    """Values of `score_traces` from (n,) each; `limit` is the smallest score that is flagged."""
    own = [numbers(one, values) for one in (values, np.where(flagged, values, np.nan))]
    return [*own, *(numbers(one, scores) for one in (limit, scores))]


def marked_layout(
    xlabel: str, ylabel: str, values: np.ndarray, spans: Sequence[Sequence[Any]], below: str = ""
) -> Figure:
    """Layout of filled gaps or scored values, with `spans` shaded; a name of what is drawn `below`
    makes a second plot on the same time axis."""
    more: dict[str, Any] = {"shapes": [_shade(*span) for span in spans], "showlegend": True}
    if below:
        second = {"title": {"text": below}, "domain": [0, 0.27], "rangemode": "tozero"}
        more |= {"yaxis2": {**second, "hoverformat": ".3~g"}, "yaxis": {"domain": [0.35, 1]}}
        more |= {"xaxis": {"anchor": "y2"}, "hoversubplots": "axis", "height": 420}
    return _figure([], xlabel, ylabel, values=values, **more)["layout"]


def error_over_time(
    times: np.ndarray,
    errors: np.ndarray,
    marks: Mapping[str, Sequence[int]],
    *,
    ylabel: str,
    xlabel: str,
    joined: bool = True,
) -> Figure:
    """Errors of windows, as `_plots.error_over_time`."""
    every = np.unique(np.linspace(0, len(errors) - 1, min(len(errors), _MANY_DOTS)).astype(int))
    x = stamps(times, unit_of(times))
    data = [
        _line([x[k] for k in every], errors[every], "error", "--soft", showlegend=False)
        | {"mode": "lines" if joined else "markers"}
    ]
    shapes = (("triangle-up", "--orange"), ("circle", "--green"), ("triangle-down", "--blue"))
    for (name, windows), (shape, colour) in zip(marks.items(), shapes, strict=True):
        one = _line([x[k] for k in windows], errors[list(windows)], name, colour)
        marker = {"symbol": shape, "size": 10, "color": colour}
        data.append(one | {"mode": "markers", "marker": marker})
    return _figure(
        data, xlabel, ylabel, values=errors, hover="closest", yaxis={"rangemode": "tozero"},
        showlegend=True,
    )  # fmt: skip


def error_by_step(errors: np.ndarray, *, ylabel: str, xlabel: str) -> Figure:
    """Error (H,) by step ahead."""
    line = _line(list(range(1, len(errors) + 1)), errors, "error", "--blue")
    return _figure([line], xlabel, ylabel, values=errors, yaxis={"rangemode": "tozero"})


def coverage_by_step(curves: Mapping[float, np.ndarray], *, xlabel: str) -> Figure:
    """Coverage (H,) of intervals by step ahead; the nominal level is dashed."""
    data, nominal = [], []
    for number, (level, share) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        steps = list(range(1, len(share) + 1))
        data.append(_line(steps, 100 * share, f"{level:g} % interval", colour))
        line = {"color": colour, "width": 1, "dash": "dash"}
        nominal.append(
            {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level}
            | {"line": line}
        )
    every = np.concatenate(list(curves.values()))
    return _figure(data, xlabel, "coverage (%)", values=every, shapes=nominal, showlegend=True)


def confusion_matrix(counts: np.ndarray, labels: Sequence[str]) -> Figure:
    """Counts (K, K), a row per true class, coloured by their share of the row."""
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    K, names = len(labels), [label(one) for one in labels]
    short = [one if len(one) <= 16 else f"{one[:8]}…{one[-6:]}" for one in map(clean, labels)]
    plain = {"showgrid": False, "zeroline": False}
    ticks = {"tickvals": list(range(K)), "ticktext": [label(one) for one in short]}
    heat = {
        "type": "heatmap",
        "z": numbers(100 * share),
        "customdata": [
            [[names[i], names[j], int(counts[i, j])] for j in range(K)] for i in range(K)
        ],
        "colorscale": "theme",
        "zmin": 0,
        "zmax": 100,
        "xgap": 1,
        "ygap": 1,
        "showscale": False,
        "hovertemplate": "true %{customdata[0]}<br>predicted %{customdata[1]}<br>"
        "%{customdata[2]:,} cases, %{z:.1f} % of the true class<extra></extra>",
    }
    if K <= 25:
        text = [[str(n or "") for n in row] for row in counts.tolist()]
        heat |= {"texttemplate": "%{text}", "text": text}
    return _figure(
        [heat],
        "predicted class",
        "true class",
        values=counts,
        hover="closest",
        height=min(180 + 30 * K, 900),
        xaxis={**ticks, **plain},
        yaxis={**ticks, **plain, "autorange": "reversed"},
    )


def predicted_against_true(truth: np.ndarray, predicted: np.ndarray) -> Figure:
    """A dot per case, (n,), and the line of equality."""
    every = np.concatenate([truth, predicted])
    ends = np.array([every.min(), every.max()])
    equal = _line(numbers(ends), ends, "equal", "--soft", hoverinfo="skip", showlegend=False)
    equal |= {"mode": "lines", "line": {"color": "--soft", "dash": "dash", "width": 1}}
    return _dots(truth, predicted, "true", "predicted", [equal])


def residuals(predicted: np.ndarray, residual: np.ndarray) -> Figure:
    """Residuals (n,) against predictions (n,), and their histogram on the right."""
    figure = _dots(predicted, residual, "predicted", "predicted minus true", [])
    counts, edges = np.histogram(residual, bins=int(np.clip(np.sqrt(len(residual)), 5, 41)))
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": counts.tolist(),
        "y": numbers((edges[:-1] + edges[1:]) / 2),
        "width": numbers(np.diff(edges), edges),
        "xaxis": "x2",
        "marker": {"color": "--blue"},
        "hovertemplate": "%{x:,} cases<extra></extra>",
        "showlegend": False,
    }
    figure["data"].insert(0, bars)  # the keyboard walks over the last trace
    figure["layout"]["xaxis"]["domain"] = [0, 0.72]
    figure["layout"]["xaxis2"] = {"domain": [0.78, 1], "title": {"text": "cases"}, "nticks": 3}
    return figure


def _dots(x: np.ndarray, y: np.ndarray, xlabel: str, ylabel: str, others: list[Figure]) -> Figure:
    shown = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MANY_DOTS)).astype(int))
    form = form_of(np.concatenate([x, y]))
    dots = _line(numbers(x[shown]), y[shown], "cases", "--blue", showlegend=False)
    dots |= {
        "mode": "markers",
        "marker": {"color": "--blue", "size": 7, "opacity": 0.6},
        "customdata": shown.tolist(),
        "hovertemplate": f"case %{{customdata}}<br>{xlabel} %{{x:{form}}}<br>{ylabel} %{{y:{form}}}"
        "<extra></extra>",
    }
    values = np.concatenate([x, y])
    return _figure([*others, dots], xlabel, ylabel, values=values, hover="closest", height=380)


def case_lines(values: np.ndarray, channels: Sequence[str]) -> Figure:
    """All channels (C, n) of one case, scaled."""
    steps = list(range(values.shape[1]))
    data = [
        _line(steps, row, name, f"--c{k % 8}", line={"color": f"--c{k % 8}", "width": 1.4})
        | {"mode": "lines" if len(steps) > 1 else "markers"}
        for k, (row, name) in enumerate(zip(values, channels, strict=True))
    ]
    hover = "x unified" if len(values) <= 10 else "closest"
    return _figure(data, "time step", "scaled value", values=values, hover=hover)
