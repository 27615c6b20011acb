"""The complete HTML document: style and scripts from this folder, the plotting library, sections.

Everything is in the file; its content security policy allows nothing else. The library, plotly.js
(MIT licence), and long data are embedded compressed and unpacked by the browser.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from convtimenet.errors import MissingExtraError
from convtimenet.report._html import Section, escaped, packed

_FOLDER = Path(__file__).parent


def plotly_script() -> Path:
    """Path of plotly.js, found without importing plotly, which takes a while.

    Raises
    ------
    MissingExtraError
        If plotly is not installed.
    """
    spec = find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("plotly", "report", "the report")
    return Path(spec.submodule_search_locations[0], "package_data", "plotly.min.js")


@cache
def _packed(path: Path) -> tuple[str, str]:
    """A script compressed as base64 text, and its hash for the policy."""
    code = path.read_bytes()
    return packed(code), _hash(code)


def _hash(code: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(code).digest()).decode()}'"


def _joined(body: str) -> str:
    """No line break before a per cent sign, in text; data and pictures stay as they are."""
    parts = re.split(r"(<script.*?</script>|src='[^']*')", body, flags=re.DOTALL)
    parts[::2] = [re.sub(r"(?<=\d) %", "&nbsp;%", part) for part in parts[::2]]
    return "".join(parts)


def page(
    title: str, sections: Sequence[Section], inside: Sequence[Section] = (), model: str = "network"
) -> str:
    """The complete HTML document; the sections `inside` are about the `model` and closed at
    first. A page without interactive plots has no scripts."""
    shown = [(one.anchor, one.link or one.heading) for one in sections]
    body = "".join(
        f'<section aria-labelledby="{s.anchor}"><h2 id="{s.anchor}">{escaped(s.heading)}</h2>'
        f"{s.body}</section>\n"
        for s in sections
    )
    if inside:
        shown.append(("inside", f"Inside the {model}"))
        body += f'<details><summary><h2 id="inside">Inside the {model}</h2></summary>'
        body += "".join(
            f'<section aria-labelledby="{s.anchor}"><h3 id="{s.anchor}" class="part">'
            f"{escaped(s.heading)}</h3>{s.body}</section>\n"
            for s in inside
        )
        body += "</details>\n"
    body = _joined(body)
    links = "".join(f'<li><a href="#{at}">{escaped(heading)}</a></li>' for at, heading in shown)
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'"
    scripts, made = "", "Written by convtimenet."
    if 'class="figure">' in body:
        script = (_FOLDER / "page.js").read_text(encoding="utf-8")
        library, library_hash = _packed(plotly_script())
        policy += f"; script-src {_hash(script.encode())} {library_hash}"
        made += " Plots: plotly.js."
        scripts = f'<script type="application/gzip" id="plotly">{library}</script>\n'
        scripts += f"<script>{script}</script>"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(title)}</title><style>{style}</style></head>\n<body><header>"
        f'<h1>{escaped(title)}</h1><nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f"<main>{body}</main><footer>{made}</footer>\n{scripts}</body></html>\n"
    )
