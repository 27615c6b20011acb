"""The application: routes around models and their engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Response

from convtimenet.serving import page
from convtimenet.serving.engine import Engine
from convtimenet.serving.frame import new_app
from convtimenet.serving.guard import OPEN
from convtimenet.serving.metrics import Counting, Metrics
from convtimenet.serving.models import Models
from convtimenet.serving.protocols import kserve, listed, nixtla, oip, own
from convtimenet.serving.schemas import Error, completed, refusals
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
            app.state.notices = await warm(engine, models)
            yield
        finally:
            engine.close()

    app = new_app(settings, lifespan, description=_ABOUT)
    app.state.engine = engine
    app.include_router(page.routes("models"))
    app.include_router(listed.routes(models, settings.token is not None))
    for protocol in (own, kserve, oip, nixtla):
        app.include_router(protocol.routes(engine, models))

    @app.get(
        "/metrics",
        tags=["operation"],
        response_class=Response,
        responses=refusals(Error)
        | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def figures() -> Response:
        """Figures for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = completed(FastAPI.openapi(app), settings.token is not None, OPEN)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
    app.add_middleware(Counting, metrics=metrics)
    return app
