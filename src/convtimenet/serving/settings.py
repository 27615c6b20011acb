"""Settings of the server, checked before a model is loaded."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from convtimenet.errors import ConfigError

MOST_CELLS = 2_000_000
"""Cells of a request or an answer: rows times columns, or cases times channels times steps."""
MOST_COLUMNS = 5_000
"""Columns of a table."""
MOST_HORIZONS = 64
"""Trained horizons in a forecast; each one is a pass of the network."""
LEAST_TOKEN = 16


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Where the server listens, and what it allows.

    Attributes
    ----------
    host, port
        Address and port; port 0 takes a free one.
    token
        What clients send as ``Authorization: Bearer TOKEN``; None for none.
    public
        Allow an address that is not loopback without a token.
    most_bytes
        Largest body of a request, before and after decompression.
    queue
        Requests that may wait; more are answered with 429.
    seconds
        Time for an answer, and for the arrival of a body; later ones get 504 and 408.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    public: bool = False
    most_bytes: int = 16 * 2**20
    queue: int = 256
    seconds: float = 30.0

    def __post_init__(self) -> None:
        for name, of in (("most_bytes", "--max_mb, in bytes,"), ("queue", "--queue")):
            if getattr(self, name) < 1:
                raise ConfigError(f"{of} must be at least 1, found {getattr(self, name)}")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port must be from 0 to 65535, found {self.port}")
        if not 0 < self.seconds < float("inf"):
            raise ConfigError(f"seconds must be a number above 0, found {self.seconds}")
        if self.token is not None and not (
            len(self.token) >= LEAST_TOKEN and self.token.isascii() and self.token.isprintable()
        ):
            raise ConfigError(
                f"expected a token of at least {LEAST_TOKEN} ASCII characters, found "
                f"{len(self.token)} characters; create one with: openssl rand -hex 32"
            )
        if self.token is None and not self.public and not self.loopback:
            raise ConfigError(
                f"--host {self.host} can be reached from other machines and needs a token, found "
                "none; give --token_file FILE or the environment variable CONVTIMENET_TOKEN, or "
                "--no_token to let everyone in"
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the address."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a name or address is that of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
