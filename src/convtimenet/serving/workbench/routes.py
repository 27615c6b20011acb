"""The addresses of the page. Those below ``/app`` answer only its own scripts."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import FileResponse

from convtimenet.serving.page import REPORT_POLICY, framed
from convtimenet.serving.refusals import Refused
from convtimenet.serving.workbench.asked import Look, Train
from convtimenet.serving.workbench.desk import Desk
from convtimenet.serving.workbench.samples import SAMPLES


async def check_origin(request: Request) -> None:
    """Let in only what the page itself asks for.

    A page of another site can send requests to this machine, though it cannot read the answers;
    browsers say where a request comes from. (`Guard` has checked the host, which keeps out
    names of other sites that lead to this machine.)

    Raises
    ------
    Refused
        If a request comes from elsewhere, or changes something and does not say from where.
    """
    headers = request.headers
    site = headers.get("sec-fetch-site", "none")
    own = headers.get("origin") == f"http://{headers.get('host')}"
    changes = request.method not in ("GET", "HEAD")
    if site not in ("same-origin", "none") or (changes and not own):
        raise Refused(
            403, "expected a request of this server's own page, found another; open its address"
        )


async def _body(request: Request) -> bytes:
    return await request.body()


Body = Annotated[bytes, Depends(_body)]


def routes(desk: Desk) -> APIRouter:
    """The addresses for a desk. Each answers with the state of the page."""
    router = APIRouter(prefix="/app", dependencies=[Depends(check_origin)])

    @router.get("/state")
    def state() -> dict[str, Any]:
        return desk.snapshot()

    @router.put("/data")
    def data(name: str, body: Body) -> dict[str, Any]:
        desk.put("data", name, body)
        desk.look(Look())
        return desk.snapshot()

    @router.put("/ahead")
    def ahead(name: str, body: Body, given: int | None = None) -> dict[str, Any]:
        desk.put("ahead", name, body, given)
        return desk.snapshot()

    @router.put("/new")
    def new(name: str, body: Body, given: int | None = None) -> dict[str, Any]:
        desk.put("new", name, body, given)
        desk.label()
        return desk.snapshot()

    @router.post("/sample/{name}")
    def sample(name: str) -> dict[str, Any]:
        desk.sample(name)
        return desk.snapshot()

    @router.get("/sample-recordings.csv")
    def recordings() -> Response:
        more = SAMPLES["gestures"].more
        assert more is not None
        return _download(Response(more(), media_type="text/csv"), "new-gestures.csv")

    @router.post("/look")
    def look(asked: Look) -> dict[str, Any]:
        desk.look(asked)
        return desk.snapshot()

    @router.post("/train")
    def train(asked: Train) -> dict[str, Any]:
        desk.train(asked)
        return desk.snapshot()

    @router.post("/stop")
    def stop() -> dict[str, Any]:
        desk.stop()
        return desk.snapshot()

    @router.get("/report")
    def report() -> Response:
        path, _, kind = desk.output("report.html")
        content = framed(path.read_text(encoding="utf-8"))
        return Response(
            content, media_type=kind, headers={"content-security-policy": REPORT_POLICY}
        )

    @router.get("/series")
    def names() -> Response:
        return Response(desk.series(0), media_type="application/json")

    @router.get("/series/{number}")
    def series(number: Annotated[int, Path(ge=0)]) -> Response:
        return Response(desk.series(number + 1), media_type="application/json")

    @router.get("/files/{name}")
    def files(name: str) -> Response:
        path, shown, kind = desk.output(name)
        return _download(FileResponse(path, media_type=kind), shown)

    return router


def _download(response: Response, name: str) -> Response:
    """A response that is saved under this name, which is safe; as RFC 6266 says it."""
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    said = f'attachment; filename="{plain}"'
    if plain != name:
        said += f"; filename*=UTF-8''{quote(name, safe='')}"
    response.headers["content-disposition"] = said
    return response
