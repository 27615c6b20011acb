"""``convtimenet serve``: load models and answer requests until a signal stops it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from convtimenet.cli.outputs import check_model, make_console, note
from convtimenet.errors import ConfigError, MissingExtraError

TOKEN = "CONVTIMENET_TOKEN"


def check_extra() -> None:
    """Check that the packages of the server are there.

    Raises
    ------
    MissingExtraError
        If one is missing.
    """
    for package in ("fastapi", "prometheus_client", "uvicorn", "zstandard", "plotly"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "serve", "the server")


def run_serve(flags: Any) -> None:
    """Serve models."""
    check_extra()
    from convtimenet.serving.settings import ServeSettings

    settings = ServeSettings(
        host=flags.host,
        port=flags.port,
        token=_token(flags.token_file),
        public=flags.no_token,
        most_bytes=int(flags.max_mb * 2**20),
        queue=flags.queue,
        seconds=flags.seconds,
    )
    if settings.token is not None and flags.no_token:
        raise ConfigError("--no_token contradicts the token that is given; leave one of them out")
    for one in flags.models:
        check_model(one.partition("=")[2] or one)
    from convtimenet.serving.app import create_app
    from convtimenet.serving.models import load_models
    from convtimenet.serving.server import serve, taken

    console = make_console()
    with taken(settings) as sockets:
        models = load_models(flags.models, flags.device)
        for served in models:
            console.print(f"{served.name}: {served.task}", soft_wrap=True)
        app = create_app(models, settings)

        def started(address: str) -> None:
            for notice in app.state.notices:
                note(console, notice)
            console.print(f"listening on {address}; stop with Ctrl-C", soft_wrap=True)
            console.file.flush()  # a log or a supervisor waits for this line

        serve(app, settings, sockets, started)
    console.print("stopped")


def _token(path: str | None) -> str | None:
    """The token, from a file or the environment.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    if path is None:
        given = os.environ.get(TOKEN)
        return given.strip() if given else None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--token_file: expected a text file with the token, found {path} ({error}); create "
            f"it with: openssl rand -hex 32 > {path}"
        ) from error
