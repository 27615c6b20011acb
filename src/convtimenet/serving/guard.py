"""What every request passes first: token, host, size and time of the body, decompression.

A plain ASGI middleware, because limits must hold while a body arrives, not after.
"""

from __future__ import annotations

import asyncio
import hmac
import threading
import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextlib import suppress
from typing import Any

import zstandard

from convtimenet.serving.refusals import Refused, error_body
from convtimenet.serving.settings import ServeSettings, is_loopback

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/v2/health/live", "/v2/health/ready"})
"""Paths without a token: they tell a container's supervisor nothing but that the server runs."""
_PAGE = frozenset(
    {"/", *(f"/page/{n}" for n in ("app.css", "parts.js", "chart.js", "models.js", "plotly.js"))}
)
"""And the page, the same for every server: what models there are it asks for with the token."""
_BODIES = 8  # full bodies that may be in memory at the same time
_PIECE = 2**16
_WINDOW = 2**23  # the largest zstd window that HTTP allows (RFC 9659)
_FEW = 128
"""Bytes of zstd data unpacked at a time: a block of 4 bytes can become 128 KiB."""
_DISCARDED = 2**27
"""Bytes of a body that is too large that are read and discarded after the answer."""
_LINGER = 5.0
"""Seconds that they may take."""
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """Checks a request and reads its body before the application sees it."""

    def __init__(self, app: App, settings: ServeSettings):
        self.app, self.settings = app, settings
        self.held = 0
        """Bytes of bodies in memory."""
        self.counting = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        headers = {name.lower(): value for name, value in scope["headers"]}
        room, ended = Room(self), b"expect" in headers  # such a client sends no body unasked

        async def received() -> MutableMapping[str, Any]:
            nonlocal ended
            message = await receive()
            ended = not message.get("more_body")
            return message

        try:
            try:
                self._check_caller(scope["path"], headers)
                body = await self._body(headers, _encodings(scope["headers"]), received, room)
            except Refused as refused:
                closing = refused.headers.get("connection") == "close" and not ended
                await _answer(with_headers, scope, refused, received if closing else None)
                return
            scope["headers"] = [
                (name, value)
                for name, value in scope["headers"]
                if name.lower() not in (b"content-encoding", b"content-length")
            ]
            await self.app(scope, _replayed(body, receive), with_headers)
        finally:
            room.leave()

    def _check_caller(self, path: str, headers: dict[bytes, bytes]) -> None:
        token = self.settings.token
        if token is None:
            if self.settings.loopback and not _local(headers.get(b"host", b"")):
                # a page of another site may not reach this server through a name of its own
                raise Refused(
                    403,
                    "expected a Host header that names this machine, such as localhost, found "
                    "another name; call it by its address, or start the server with a token",
                )
            return
        if path in OPEN | _PAGE and not _has_body(headers):
            return  # nobody without the token takes of the memory that bodies may
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if not hmac.compare_digest(given.strip(), token.encode()) or scheme.lower() != b"bearer":
            raise Refused(
                401,
                "expected the server's token, found none or another one; send the header "
                "Authorization: Bearer TOKEN",
                {"www-authenticate": "Bearer"},
            )

    def _check_size(self, headers: dict[bytes, bytes]) -> None:
        size = headers.get(b"content-length", b"0")
        if not size.isdigit() or len(size) > 18:
            raise Refused(400, "expected a number of bytes as Content-Length; correct the header")
        if int(size) > self.settings.most_bytes:
            raise self._too_large(f"{int(size)} bytes")

    async def _body(
        self, headers: dict[bytes, bytes], encoding: str, receive: Receive, room: Room
    ) -> bytes:
        """The body, decompressed.

        Raises
        ------
        Refused
            If it is too large, too slow, damaged, or in another encoding.
        """
        self._check_size(headers)
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.settings.seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "the connection ended before the body")
                    parts.append(message.get("body", b""))
                    room.take(len(parts[-1]))
                    size += len(parts[-1])
                    if size > self.settings.most_bytes:
                        raise self._too_large(f"more than {self.settings.most_bytes} bytes")
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            raise Refused(
                408,
                f"expected the whole body within {self.settings.seconds:g} s, found it incomplete; "
                "send it faster or in parts",
            ) from None
        raw = b"".join(parts)
        if not encoding:
            return raw
        # in a thread: many members that hold nothing take long, and others are to be heard
        return await asyncio.to_thread(self._unpacked, raw, encoding, room)

    def _unpacked(self, raw: bytes, encoding: str, room: Room) -> bytes:
        found, total = [], 0
        for piece in _decompressed(raw, encoding):
            total += len(piece)
            if total > self.settings.most_bytes:
                raise self._too_large(f"more than {self.settings.most_bytes} bytes unpacked")
            room.take(len(piece))
            found.append(piece)
        return b"".join(found)

    def _too_large(self, found: str) -> Refused:
        return Refused(
            413,
            f"expected a body of at most {self.settings.most_bytes} bytes, found {found}; send it "
            "in parts, or ask whoever runs the server for a larger limit",
            {"connection": "close"},
        )


class Room:
    """The memory that a request's body takes of what all bodies may; used from any thread."""

    def __init__(self, guard: Guard):
        self.guard, self.taken, self.left = guard, 0, False

    def take(self, size: int) -> None:
        """Take more bytes.

        Raises
        ------
        Refused
            If the bodies of all requests would be too large together, or the request has gone.
        """
        with self.guard.counting:
            if self.left:
                raise Refused(400, "the connection ended before the body was unpacked")
            if self.guard.held + size > _BODIES * self.guard.settings.most_bytes:
                raise Refused(
                    429,
                    "too many large bodies at the same time; try again in a second",
                    {"retry-after": "1"},
                )
            self.taken += size
            self.guard.held += size

    def leave(self) -> None:
        """Give all of it back."""
        with self.guard.counting:
            self.guard.held -= self.taken
            self.taken, self.left = 0, True


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


def _encodings(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """What all Content-Encoding headers of a request name together, without "identity"."""
    given = b",".join(value for name, value in headers if name.lower() == b"content-encoding")
    found = [one.strip() for one in given.decode("latin-1").lower().split(",")]
    return ", ".join(one for one in found if one not in ("", "identity"))


def _decompressed(raw: bytes, encoding: str) -> Iterator[bytes]:
    """Pieces of a compressed body, made one at a time, so that the caller can stop."""
    if encoding not in _DECODERS:
        raise Refused(
            415,
            f"expected a Content-Encoding of gzip, deflate or zstd, or none, found "
            f"{encoding[:40]!r}; send the body without it",
        )
    try:
        yield from _DECODERS[encoding](raw)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise Refused(
            400, f"the body is not complete {encoding} data; pack it again, or send it unpacked"
        ) from error


def _inflated(raw: bytes) -> Iterator[bytes]:
    return _members(raw, lambda: zlib.decompressobj(wbits=47))  # zlib or gzip, by its first bytes


def _unzstd(raw: bytes) -> Iterator[bytes]:
    packed = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    return _members(raw, packed.decompressobj)


def _members(raw: bytes, new: Callable[[], Any]) -> Iterator[bytes]:
    """The content of all members (frames) of a body, of which there may be several, with zeros
    behind them, to which some writers pad."""
    one = new()
    for at in range(0, len(raw), _FEW):
        left = raw[at : at + _FEW]
        while left := left.lstrip(b"\0") if one.eof else left:
            if one.eof:
                one = new()
            if isinstance(one, _Inflating):
                yield one.decompress(left, _PIECE)
                while one.unconsumed_tail:
                    yield one.decompress(one.unconsumed_tail, _PIECE)
            else:
                yield one.decompress(left)
            left = one.unused_data if one.eof else b""
    if not one.eof:
        raise EOFError


_Inflating = type(zlib.decompressobj())
_DECODERS = {"gzip": _inflated, "x-gzip": _inflated, "deflate": _inflated, "zstd": _unzstd}


def _local(host: bytes) -> bool:
    """Whether a Host header names this machine."""
    name = host.decode("latin-1").strip().lower()
    ends = (1, "]") if name.startswith("[") else (0, ":")
    return is_loopback(name[ends[0] :].partition(ends[1])[0])


def _replayed(body: bytes, receive: Receive) -> Receive:
    """`receive` of a request whose body was read; waits for the disconnect after it."""
    sent = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _answer(
    send: Send, scope: Scope, refused: Refused, receive: Receive | None = None
) -> None:
    """Send an error; with `receive` read some of what is left of the body before the connection is
    closed: a client that writes all of it before it reads would see a reset, and no answer."""
    body = error_body(scope["path"], refused.status, refused.message)
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    headers |= refused.headers
    await send(
        {
            "type": "http.response.start",
            "status": refused.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    more = receive is not None
    await send({"type": "http.response.body", "body": body, "more_body": more})
    if receive is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                left = _DISCARDED
                while left > 0 and (message := await receive()).get("more_body"):
                    left -= len(message.get("body", b""))
        await send({"type": "http.response.body", "body": b""})
