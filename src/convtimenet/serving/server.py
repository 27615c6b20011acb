"""Run the application with uvicorn: addresses, slow headers, and a stop that finishes its work."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from convtimenet.errors import ConfigError
from convtimenet.serving.settings import ServeSettings

_HEADERS = 16 * 2**10  # bytes of all headers
_CONNECTIONS = 1024
_IDLE = 5  # seconds that a connection without a request is kept


@contextmanager
def taken(settings: ServeSettings) -> Iterator[list[socket.socket]]:
    """Take host and port, before anything is loaded for a server that could not listen; connections
    are refused until it does.

    Raises
    ------
    ConfigError
        If the port is taken or not allowed, or the host is no address of this machine.
    """
    sockets: list[socket.socket] = []
    try:
        try:
            _bind(settings, sockets)
        except OSError as error:
            raise ConfigError(_not_taken(settings, error)) from error
        yield sockets
    finally:
        for one in sockets:
            one.close()


def _bind(settings: ServeSettings, sockets: list[socket.socket]) -> None:
    """Add a socket for every address of the host."""
    known = socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    for family, *_, address in known:
        one = socket.socket(family, socket.SOCK_STREAM)
        sockets.append(one)
        if os.name == "posix":  # a port whose server has just ended is free
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # IPv4 has a socket of its own
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)


def _not_taken(settings: ServeSettings, error: OSError) -> str:
    """Message for an address that cannot be taken."""
    host, port = settings.host, settings.port
    if error.errno == errno.EADDRINUSE:
        return (
            f"expected a free port, found that {port} of {host} is taken, perhaps by another "
            "convtimenet; stop that one, or give another --port (0 takes a free one)"
        )
    if isinstance(error, PermissionError):
        return f"expected a port that you may take, found {port}; give a --port above 1023"
    return (
        f"--host: expected an address of this machine, found {host} ({error}); give 127.0.0.1, or "
        "0.0.0.0 for all of its addresses"
    )


def serve(
    app: FastAPI,
    settings: ServeSettings,
    sockets: list[socket.socket],
    started: Callable[[str], None] | None = None,
) -> None:
    """Answer requests until SIGINT or SIGTERM, then finish those that have begun.

    Parameters
    ----------
    sockets
        Those of `taken`.
    started
        Called with the address once the server listens.
    """
    Server(config_of(app, settings), started).run(sockets)


def config_of(app: FastAPI, settings: ServeSettings) -> uvicorn.Config:
    """uvicorn's configuration for an application."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        ws="none",
        lifespan="on",
        h11_max_incomplete_event_size=_HEADERS,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_IDLE,
        timeout_graceful_shutdown=int(settings.seconds) + 1,
        server_header=False,
        access_log=False,
        log_level="warning",
    )


class Protocol(H11Protocol):
    """Ends connections that uvicorn would wait for: without the end of their headers, or of a body
    that was answered before it came, or with an answer that nobody reads."""

    seconds = 10.0
    """Time for the headers of a request, and for what is left of a body once it was answered."""
    reading = 60.0
    """Time to read an answer."""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.seconds, transport.abort)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._answered_early:
            return  # data, a byte at a time, would put off uvicorn's own timer for ever
        if self.conn.their_state is not h11.IDLE:
            self._stop_timer()
        elif self._timer is None and data:  # the next request of a connection has begun
            self._timer = self.loop.call_later(self.seconds, self.transport.abort)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._answered_early and not self.transport.is_closing():
            self._stop_timer()
            self._timer = self.loop.call_later(self.seconds, self.transport.abort)
        if not self.transport.is_closing() and self.transport.get_write_buffer_size():
            self.loop.call_later(self.reading, self._end_unread)

    @property
    def _answered_early(self) -> bool:
        """Whether the answer is sent, such as a refusal, and the body still comes."""
        return self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY

    def _end_unread(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Server(uvicorn.Server):
    """Says when it listens, and ends normally after a signal."""

    def __init__(self, config: uvicorn.Config, started: Callable[[str], None] | None):
        super().__init__(config)
        self.say = started

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started and self.say is not None:
            address = self.servers[0].sockets[0].getsockname()
            host = f"[{address[0]}]" if ":" in address[0] else address[0]
            self.say(f"http://{host}:{address[1]}")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {one: signal.signal(one, self.handle_exit) for one in signals}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)
