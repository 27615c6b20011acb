"""The files of two pages, and their policies: that which trains (`app`), and that on which a server
without training is tried (`models`)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Response
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


def routes(name: Literal["app", "models"]) -> APIRouter:
    """The page of this name at ``/``, and its files."""
    router = APIRouter(include_in_schema=False)

    @router.head("/")
    @router.get("/")
    def start() -> Response:
        return Response(
            read(f"{name}.html"),
            media_type="text/html",
            headers={"content-security-policy": POLICY},
        )

    @router.get("/page/app.css")
    def style() -> Response:
        return Response(read("app.css"), media_type="text/css")

    @router.get("/page/parts.js")
    def parts() -> Response:
        return Response(read("parts.js"), media_type="text/javascript")

    @router.get(f"/page/{name}.js")
    def script() -> Response:
        return Response(read(f"{name}.js"), media_type="text/javascript")

    @router.get("/page/chart.js")
    def charts() -> Response:
        return Response(read("chart.js"), media_type="text/javascript")

    @router.get("/page/plotly.js")
    def plotly() -> Response:
        return FileResponse(_plotly(), media_type="text/javascript")

    return router


def _plotly() -> Path:
    spec = find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("plotly", "serve", "the page")
    return Path(spec.submodule_search_locations[0], "package_data", "plotly.min.js")
