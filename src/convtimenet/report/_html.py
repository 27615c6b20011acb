"""HTML of a report: style, escaping, number formats, cards, tables.

All functions except `clean` take plain text and escape it; arguments named `body` are HTML.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

_CSS = """
:root{color-scheme:light dark;--ink:#1d2126;--soft:#59616b;--page:#f6f7f9;--card:#fff;
--line:#dfe3e8;--accent:#0072b2}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a9b1bb;--page:#15181c;
--card:#1f242a;--line:#363d46;--accent:#6cb8ea}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);overflow-wrap:anywhere;
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
header,main,footer{max-width:72rem;margin:0 auto;padding:0 1rem}
h1{font-size:1.7rem;line-height:1.2;margin:1.6rem 0 .4rem}
h2{font-size:1.25rem;margin:2.4rem 0 .6rem;padding-top:.8rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:0 0 .4rem}
p{max-width:46rem;margin:.4rem 0 .9rem}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;padding:0;margin:.6rem 0}
a{color:var(--accent)}
.soft,figcaption,footer{color:var(--soft);font-size:.9rem}
.grid{display:flex;flex-wrap:wrap;gap:1rem}
.grid>*{flex:1 1 min(100%,24rem)}
.small>*{flex-basis:min(100%,18rem)}
.tiles>*{flex-basis:min(100%,13.5rem)}
.small h3{font-size:.9rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1rem;
min-width:0}
.grid+.grid,section>.card+.card{margin-top:1rem}
.tile b{display:block;font-size:2rem;line-height:1.2;color:var(--accent);
font-variant-numeric:tabular-nums}
.tile p{margin:.2rem 0 0}
figure{margin:0}
figure img{display:block;width:100%;max-width:46rem;height:auto;margin:0 auto;
background:#fff;border-radius:.4rem;padding:.3rem}
figcaption{margin-top:.5rem}
.wide{max-width:58rem}
.fit{width:fit-content;max-width:100%}
.scroll{overflow-x:auto}
.wide img{min-width:38rem;max-width:none}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums;
overflow-wrap:normal}
th,td{text-align:left;padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--line);
vertical-align:top}
.many{font-size:.78rem}
.many th,.many td{padding-right:.45rem}
thead th{color:var(--soft);font-weight:600}
.number{text-align:right;white-space:nowrap}
th.number{white-space:normal}
.own th,.own td{font-weight:700;color:var(--accent)}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr));
gap:.6rem 1.2rem;margin:0}
dt{color:var(--soft);font-size:.85rem}
dd{margin:0}
footer{padding:2rem 1rem}
@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--page:#fff;--card:#fff;--line:#bbb;
--accent:#005a8d}nav{display:none}body{font-size:11pt}.card,tr,p{break-inside:avoid}
h2,h3,section>p{break-after:avoid}.grid>*{flex-basis:40%}.wide img{min-width:0}
.small>*,.tiles>*{flex-basis:30%}.scroll{overflow:visible}table{font-size:8pt}
th,td{padding-right:.5rem}}
"""


@dataclass(frozen=True)
class Section:
    """A heading and the HTML below it."""

    anchor: str
    heading: str
    body: str


def clean(text: str) -> str:
    """Text without the characters that are not allowed in HTML and SVG."""
    return re.sub(
        "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]",
        "\N{REPLACEMENT CHARACTER}",
        text,
    )


def escaped(value: object) -> str:
    """The value as escaped HTML text."""
    return escape(clean(str(value)))


def number(value: float) -> str:
    """A score with three or four digits."""
    if 1000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.3f}" if 0.01 <= abs(value) < 1000 else f"{value:.3g}"


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
    """A card around `body`; with `fit` it is only as wide as its content."""
    top = f"<h3>{escaped(heading)}</h3>" if heading else ""
    return f'<div class="card{" fit" if fit else ""}">{top}<div class="scroll">{body}</div></div>'


def grid(cards: Iterable[str], kind: str = "") -> str:
    """Cards side by side; `kind` "small" or "tiles" for narrower ones."""
    return f'<div class="grid {kind}">{"".join(cards)}</div>'


def figure(svg: str, alt: str, caption: str, heading: str, wide: bool = False) -> str:
    """A picture on a card; a `wide` one scrolls on narrow screens."""
    data = base64.b64encode(svg.encode()).decode()
    image = f'<img alt="{escaped(alt)}" src="data:image/svg+xml;base64,{data}">'
    if wide:  # tabindex, so that it scrolls by keyboard too
        label = escaped(heading)
        image = f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{image}</div>'
    return (
        f'<div class="card{" wide" if wide else ""}"><h3>{escaped(heading)}</h3><figure>{image}'
        f"<figcaption>{escaped(caption)}</figcaption></figure></div>"
    )


def score_table(
    caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = False
) -> str:
    """A table whose first column holds row headers; rows with "this run" there are highlighted.
    `numbers` aligns the other columns to the right."""
    kind = ' class="number"' if numbers else ""
    head = "".join(
        f'<th scope="col"{kind if i else ""}>{escaped(name)}</th>' for i, name in enumerate(columns)
    )
    body = ""
    for first, *rest in rows:
        cells = "".join(f"<td{kind}>{escaped(cell)}</td>" for cell in rest)
        mark = ' class="own"' if "this run" in first else ""
        body += f'<tr{mark}><th scope="row">{escaped(first)}</th>{cells}</tr>'
    return (
        f'<table aria-label="{escaped(caption)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def page(title: str, sections: Sequence[Section]) -> str:
    """The complete HTML document."""
    links = "".join(f'<li><a href="#{s.anchor}">{escaped(s.heading)}</a></li>' for s in sections)
    body = "".join(
        f'<section aria-labelledby="{s.anchor}"><h2 id="{s.anchor}">{escaped(s.heading)}</h2>'
        f"{s.body}</section>\n"
        for s in sections
    )
    body = re.sub(r"(?<=\d) %", "&nbsp;%", body)  # no line break before a per cent sign
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(title)}</title><style>{_CSS}</style></head>\n<body><header>"
        f'<h1>{escaped(title)}</h1><nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f"<main>{body}</main><footer>Written by convtimenet.</footer></body></html>\n"
    )
