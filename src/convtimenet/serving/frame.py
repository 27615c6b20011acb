"""An application with what all of ours have: the guard, and errors as JSON."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from convtimenet import __version__
from convtimenet.errors import ConvTimeNetError
from convtimenet.serving.guard import Guard
from convtimenet.serving.refusals import Refused, error_body, status_of
from convtimenet.serving.replies import JSON
from convtimenet.serving.schemas import problem
from convtimenet.serving.settings import ServeSettings


def new_app(settings: ServeSettings, lifespan: Any, **more: Any) -> FastAPI:
    """An application without routes."""
    app = FastAPI(
        title="convtimenet",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        **more,
    )
    for kind in (ConvTimeNetError, Refused, MemoryError, Exception):
        app.add_exception_handler(kind, _on_error)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_wrong)
    app.add_middleware(Guard, settings=settings)
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
