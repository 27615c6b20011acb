"""HTML of a report: escaping, number formats, cards, tables, figures.

All functions except `clean` take plain text and escape it; arguments named `body` are HTML.
"""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10
from urllib.parse import quote

import numpy as np

_PLAIN = ' <>="/:;,()!*@$&+?'
"""Characters that need no percent encoding in the data of an image."""

_DIGITS = 6

LONG = 20_000
"""Of longer texts for the page's script, the compressed form is embedded."""


@dataclass(frozen=True)
class Section:
    """A heading and the HTML below it."""

    anchor: str
    heading: str
    body: str
    link: str = ""
    """The text of the link to it; by default the heading."""


def clean(text: str) -> str:
    """Text without the characters that are not allowed in HTML and SVG."""
    return re.sub(
        "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]",
        "\N{REPLACEMENT CHARACTER}",
        text,
    )


def packed(text: bytes) -> str:
    """Bytes for the page's script, compressed (gzip), as base64 text."""
    return base64.b64encode(gzip.compress(text, 9, mtime=0)).decode()


def escaped(value: object) -> str:
    """The value as escaped HTML text."""
    return escape(clean(str(value)))


def number(value: float) -> str:
    """A score with three or four digits; "none" for NaN, the score of nothing."""
    if np.isnan(value):
        return "none"
    if 1000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.3f}" if 0.01 <= abs(value) < 1000 else f"{value:.3g}"


def digits_for(values: np.ndarray) -> int:
    """Significant digits, at least six, that tell values of any shape apart to a thousandth of
    their range; below 1e9 they include all before the decimal point."""
    finite = values[np.isfinite(values)].astype(float)
    largest = float(np.abs(finite).max(initial=0))
    if not largest:
        return _DIGITS
    whole = floor(log10(largest)) + 1
    found = max(_DIGITS, whole if whole <= 9 else 0)
    low, high = float(finite.min()), float(finite.max())
    if low < high:  # halves, because the range may overflow
        found = max(found, whole + 3 - floor(log10(high / 2 - low / 2) + log10(2)))
    return min(found, 15)  # of a float64


def rounded(value: float, digits: int) -> str:
    """A value of the data for readers, with separators of thousands; empty if it is not finite."""
    return f"{float(f'{value:.{digits}g}'):,.15g}" if np.isfinite(value) else ""


def count(n: int, what: str) -> str:
    """A number with its noun: "1 step" or "2 steps"."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def percent(share: float) -> str:
    """A fraction in per cent; "none" for NaN, the fraction of nothing."""
    return "none" if np.isnan(share) else f"{100 * share:.1f} %"


def span(values: np.ndarray) -> str:
    """The range of the known values, as "0.1 to 2"."""
    values = values[np.isfinite(values)]
    if not len(values):
        return "unknown values"
    return f"{float(values.min()):.3g} to {float(values.max()):.3g}"


def tile(figure: str, name: str, sentence: str) -> str:
    """A large number with its name and an explanation."""
    return (
        f'<div class="card tile"><h3>{escaped(name)}</h3><b>{escaped(figure)}</b>'
        f'<p class="soft">{escaped(sentence)}</p></div>'
    )


def card(body: str, heading: str = "", fit: bool = False) -> str:
    """A card around `body`, which scrolls if it is wide; with `fit` the card is only as wide as its
    content."""
    top = f"<h3>{escaped(heading)}</h3>" if heading else ""
    return f'<div class="card{" fit" if fit else ""}">{top}<div class="scroll">{body}</div></div>'


def long_card(table: str, heading: str, name: str = "") -> str:
    """A card around a long table, which scrolls; the page's script writes the `name` of the series
    shown behind the heading."""
    label = escaped(heading)
    own = f'<span data-name="">{escaped(name)}</span>' if name else ""
    return (
        f'<div class="card"><h3>{label}{own}</h3><div class="scroll tall" tabindex="0" '
        f'role="region" aria-label="{label}">{table}</div></div>'
    )


def grid(cards: Iterable[str], kind: str = "") -> str:
    """Cards side by side; `kind` "small" or "tiles" for narrower ones."""
    return f'<div class="grid {kind}">{"".join(cards)}</div>'


def image(svg: str, alt: str) -> str:
    """A picture as an image. Pictures are a large part of a page: percent encoding takes a quarter
    less space than base64, and two decimals are a fiftieth of a pixel."""
    rounded = re.sub(r"(\d\.\d{2})\d+", r"\1", svg)
    data = quote(rounded, safe=_PLAIN).replace("&", "&amp;")
    return f"<img alt=\"{escaped(alt)}\" src='data:image/svg+xml,{data}'>"


def live(static: str, alt: str, figure: str) -> str:
    """A place for the interactive plot of an embedded `figure`, which replaces the `static` body
    where scripts run, but not in print."""
    plot = f'<div class="plot" tabindex="0" role="img" aria-label="{escaped(alt)}"></div>'
    return f"{plot}{static}{figure}"


def figure(
    svg: str, alt: str, caption: str, heading: str, wide: bool = False, plot: str = ""
) -> str:
    """A picture on a card; a `wide` one scrolls on narrow screens. `plot` is the embedded figure of
    its interactive version (`_interactive.embedded`)."""
    body = image(svg, alt)
    if wide:  # tabindex, so that it scrolls by keyboard too
        label = escaped(heading)
        body = f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{body}</div>'
    if plot:
        body = live(f'<div class="static">{body}</div>', alt, plot)
    return (
        f'<div class="card{" wide" if wide else ""}"><h3>{escaped(heading)}</h3><figure>{body}'
        f"<figcaption>{escaped(caption)}</figcaption></figure></div>"
    )


_PICKER = (
    '<form class="picker" hidden><label>Show <select aria-label="Series to show"></select></label>'
    '<label>Search <input type="search" aria-label="Search for a series"></label>'
    '<output class="soft"></output></form>'
)


def picked(overall: str, name: str, words: str) -> str:
    """A sentence about all series, the picker, which the page's script fills, and the `words` about
    the series shown."""
    own = f'<b data-name="">{escaped(name)}</b>: <span>{escaped(words)}</span>'
    return f'<p>{escaped(overall)}</p>{_PICKER}<p class="outlook">{own}</p>'


def warning(text: str) -> str:
    """A paragraph in a warning colour."""
    return f'<p class="warning" role="note">{escaped(text)}</p>'


def score_table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: bool = False,
    kind: str = "",
) -> str:
    """A table whose first column holds row headers; rows with "this run" there are highlighted.
    `numbers` aligns the other columns to the right, but those of names; `kind` is its CSS class."""
    of = [*zip(*rows, strict=True)] or [()] * len(columns)
    named = [all(cell[:1].isalpha() for cell in cells) for cells in of]
    right = [' class="number"' if numbers and not one else "" for one in named]
    own = f' class="{kind}"' if kind else ""
    head = "".join(
        f'<th scope="col"{at if i else ""}>{escaped(name)}</th>'
        for i, (name, at) in enumerate(zip(columns, right, strict=True))
    )
    body = ""
    for first, *rest in rows:
        cells = "".join(
            f"<td{at}>{escaped(cell)}</td>" for at, cell in zip(right[1:], rest, strict=True)
        )
        mark = ' class="own"' if "this run" in first else ""
        body += f'<tr{mark}><th scope="row">{escaped(first)}</th>{cells}</tr>'
    return (
        f'<table{own} aria-label="{escaped(caption)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )
