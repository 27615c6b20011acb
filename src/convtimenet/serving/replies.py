"""Responses as bytes, made in the computing thread."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from convtimenet.serving.json_body import written

JSON = "application/json"
CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
_MOST_NOTICES = 4000  # bytes of a header


@dataclass(frozen=True)
class Reply:
    """The body of an answer, its type, and further headers."""

    body: bytes
    kind: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


def json_reply(value: Any) -> Reply:
    """A value as JSON."""
    return Reply(written(value))


def with_notices(body: bytes, kind: str, notices: Sequence[str]) -> Reply:
    """An answer in a format that has no place for notices; they go into a header, as JSON."""
    text = json.dumps(list(notices))
    kept = list(notices)
    while kept and len(text) > _MOST_NOTICES:
        kept.pop()
        text = json.dumps([*kept, "..."])
    return Reply(body, kind, {"convtimenet-notices": text} if notices else {})


def csv_bytes(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Rows as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return file.getvalue().encode()
