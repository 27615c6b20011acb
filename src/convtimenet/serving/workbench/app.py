"""The application of `convtimenet app`: the page, and nothing to call from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from convtimenet.serving import page
from convtimenet.serving.frame import new_app
from convtimenet.serving.settings import ServeSettings
from convtimenet.serving.workbench.desk import Desk
from convtimenet.serving.workbench.routes import routes

_UNPACKED = 4
"""How many times the largest upload a file may hold once it is unpacked: text is packed to about a
quarter, and reading it takes some six times its size in memory."""


def create_workbench(settings: ServeSettings, device: str = "auto") -> FastAPI:
    """The application; its lifespan starts the child process, and removes all files at the end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        desk.open()
        try:
            yield
        finally:
            await asyncio.to_thread(desk.close)

    desk = Desk(device, _UNPACKED * settings.most_bytes)
    app = new_app(settings, lifespan, openapi_url=None)
    app.state.desk = desk
    app.include_router(routes(desk))
    app.include_router(page.routes("app"))
    return app
