"""What the server refuses, with the HTTP status that says so."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from convtimenet.errors import ConvTimeNetError, MissingExtraError, OutOfMemoryError

NIXTLA = (
    "forecast",
    "cross_validation",
    "anomaly_detection",
    "online_anomaly_detection",
    "finetune",
    "finetuned_models",
)
"""What the client of Nixtla's API asks for below ``/v2``."""
OIP = re.compile(rf"/v2(?!/({'|'.join(NIXTLA)})(/|$))(/.*)?", re.DOTALL)
"""All other paths below it are of the Open Inference Protocol, whose errors are one text."""


class Refused(Exception):
    """A request that is not answered.

    Parameters
    ----------
    status
        HTTP status.
    message
        Expected, found, remedy.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


def status_of(error: Exception) -> tuple[int, str]:
    """HTTP status and message for an error; the message of another library reaches no client."""
    if isinstance(error, Refused):
        return error.status, error.message
    if isinstance(error, (OutOfMemoryError, MemoryError)):
        return 413, "there is not enough memory for this request; send it in parts"
    if isinstance(error, MissingExtraError):
        return 415, str(error)
    if isinstance(error, ConvTimeNetError):
        return 422, str(error)
    return 500, "an error in the server, which its log describes; report it with the request"


def error_body(path: str, status: int, message: str) -> bytes:
    """The JSON of an error, in the form that clients of the path expect."""
    kinds = {401: "unauthorized", 404: "not_found", 429: "busy", 504: "timeout"}
    kind = kinds.get(status, "invalid_request" if status < 500 else "server_error")
    error: Any = {"code": str(status), "message": message, "param": None, "type": kind}
    return json.dumps({"error": message if OIP.fullmatch(path) else error}).encode()
