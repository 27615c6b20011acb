"""The application: routes, errors and middlewares around models and their engine.

A page may be mounted at ``/`` later: no route here lies directly below it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from convtimenet import __version__
from convtimenet.errors import ConvTimeNetError
from convtimenet.serving.engine import Engine
from convtimenet.serving.guard import Guard
from convtimenet.serving.metrics import Counting, Metrics
from convtimenet.serving.models import Models
from convtimenet.serving.protocols import kserve, nixtla, oip, own
from convtimenet.serving.refusals import Refused, error_body, status_of
from convtimenet.serving.replies import JSON
from convtimenet.serving.schemas import problem, with_models
from convtimenet.serving.settings import ServeSettings
from convtimenet.serving.warm import warm

_ABOUT = """Forecasts and classes of saved models. Tables and cases as JSON, CSV or Arrow; also the
protocols of KServe (time series, and the Open Inference Protocol) and of Nixtla's client."""


def create_app(models: Models, settings: ServeSettings | None = None) -> FastAPI:
    """The application for these models.

    Its lifespan computes a first answer of every model, and ends when all requests are answered.
    """
    settings = settings or ServeSettings()
    metrics = Metrics()
    engine = Engine(settings, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine.start()
        try:
            await warm(engine, models)
            yield
        finally:
            engine.close()

    app = FastAPI(
        title="convtimenet",
        version=__version__,
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.engine = engine
    for protocol in (own, kserve, oip, nixtla):
        app.include_router(protocol.routes(engine, models))

    @app.get("/metrics", tags=["operation"], response_class=Response)
    async def figures() -> Response:
        """Figures for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = with_models(FastAPI.openapi(app))
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
    for kind in (ConvTimeNetError, Refused, MemoryError, Exception):
        app.add_exception_handler(kind, _on_error)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_wrong)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Counting, metrics=metrics)
    return app


def _response(request: Request, status: int, message: str, headers: Any = None) -> Response:
    body = error_body(request.url.path, status, message)
    return Response(body, status, headers, JSON)


async def _on_error(request: Request, error: Exception) -> Response:
    status, message = status_of(error)
    headers = error.headers if isinstance(error, Refused) else None
    return _response(request, status, message, headers)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = str(error.detail)
    if error.status_code == 404:
        message = "there is nothing at this address; /openapi.json lists what there is"
    elif error.status_code == 405:
        message = f"expected another method than {request.method}; see /openapi.json"
    return _response(request, error.status_code, message, error.headers)


async def _on_wrong(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _response(request, 422, problem(error.errors()))
