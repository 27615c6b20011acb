"""``convtimenet serve``: load models and answer requests until a signal stops it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from convtimenet.cli.outputs import check_model, make_console
from convtimenet.errors import ConfigError, MissingExtraError

TOKEN = "CONVTIMENET_TOKEN"


def run_serve(flags: Any) -> None:
    """Serve models."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
        import zstandard  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(error.name or "fastapi", "serve", "the server") from error
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
    from convtimenet.serving.models import load_models
    from convtimenet.serving.server import serve

    console = make_console()
    models = load_models(flags.models, flags.device)
    for served in models:
        console.print(f"{served.name}: {served.task}", markup=False, soft_wrap=True)

    def started(address: str) -> None:
        console.print(f"listening on {address}; stop with Ctrl-C", soft_wrap=True)
        console.file.flush()  # a log or a supervisor waits for this line

    serve(models, settings, started)
    console.print("stopped")


def _token(path: str | None) -> str | None:
    """The token, from a file or the environment.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    if path is None:
        return os.environ.get(TOKEN) or None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--token_file: expected a text file with the token, found {path} ({error}); create "
            f"it with: openssl rand -hex 32 > {path}"
        ) from error
