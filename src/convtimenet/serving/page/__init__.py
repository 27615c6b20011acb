"""The files of the page, their policies, and the list of models that a server without training
shows instead."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from convtimenet.errors import MissingExtraError

_FOLDER = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""Only files of this server, and the styles that plotly.js adds to its plots."""
# It says how high the report is, and where a link in it leads. It comes before the report's own
# policy, which allows no other scripts than the report's.
_TALK = """
const tell = (what) => parent.postMessage(what, "*");
addEventListener("DOMContentLoaded", () => {
  const size = () => tell({ height: document.documentElement.scrollHeight });
  new ResizeObserver(size).observe(document.body);
  size();
});
addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='#']");
  const target = link && document.getElementById(link.hash.slice(1));
  if (!target) return;
  for (let one = target.closest("details"); one; one = one.parentElement.closest("details")) {
    one.open = true;
  }
  tell({ top: target.getBoundingClientRect().top + scrollY });
});
"""
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; frame-ancestors 'self'"
)
"""For a report in the page: an origin of its own, so that it reaches neither page nor server."""


def read(name: str) -> str:
    """A file of this folder."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def framed(report: str) -> str:
    """A report that tells the page around it how high it is."""
    return report.replace("<head>", f"<head><script>{_TALK}</script>", 1)


def routes(home: str | Callable[[Request], str]) -> APIRouter:
    """The page at ``/`` and its files."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def start(request: Request) -> Response:
        content = home if isinstance(home, str) else home(request)
        return Response(
            content, media_type="text/html", headers={"content-security-policy": POLICY}
        )

    @router.get("/page/app.css")
    def style() -> Response:
        return Response(read("app.css"), media_type="text/css")

    @router.get("/page/app.js")
    def script() -> Response:
        return Response(read("app.js"), media_type="text/javascript")

    @router.get("/page/chart.js")
    def charts() -> Response:
        return Response(read("chart.js"), media_type="text/javascript")

    @router.get("/page/plotly.js")
    def plotly() -> Response:
        return FileResponse(_plotly(), media_type="text/javascript")

    return router


def list_of(models: Sequence[tuple[str, str, int, bool]]) -> Callable[[Request], str]:
    """The page of a server with models of these names, tasks and channels (of cases), which may
    need covariates of the rows ahead: each with a line to call it."""

    def home(request: Request) -> str:
        address = f"http://{request.headers.get('host', '127.0.0.1')}"
        rows = ""
        for name, task, channels, ahead in models:
            if ahead:  # only JSON has a place for the rows ahead
                parts = "'table': open('table.csv').read(), 'future': open('future.csv').read()"
                line = (
                    f"python3 -c \"import json; print(json.dumps({{'model': '{name}', {parts}}}))\""
                )
                line += f" | curl --data-binary @- {address}/forecast"
            elif task == "forecast":
                line = "curl --data-binary @table.csv -H 'Content-Type: text/csv' "
                line += f"'{address}/forecast?model={name}'"
            else:
                case: list[Any] = [0.1, 0.5, 0.9, 0.4]
                case = case if channels == 1 else [case] * channels
                steps = json.dumps({"model": name, "cases": [case]})
                line = f"curl {address}/{task} -d '{steps}'"
            rows += f"<h2>{escape(name)}</h2><p>{task}</p>"
            rows += f'<pre tabindex="0">{escape(line)}</pre>'
        return read("models.html").replace("<!-- models -->", rows)

    return home


def _plotly() -> Path:
    spec = find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("plotly", "serve", "the page")
    return Path(spec.submodule_search_locations[0], "package_data", "plotly.min.js")
