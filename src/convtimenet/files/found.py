"""What is an address, and which files of a folder are its table, for whoever reads tables."""

from __future__ import annotations

import os
import re

__all__ = ["ARROW", "PARQUET", "address_path", "is_address", "is_held", "is_seen"]

PARQUET = (".parquet", ".pq")
ARROW = (".feather", ".arrow", ".ipc")
# drives of Windows have a single letter, and a Path leaves one slash
_ADDRESS = re.compile(r"(?:[a-z][\w+.-]*::)*[a-z][\w+.-]+:/", re.IGNORECASE)


def is_address(given: str | os.PathLike[str]) -> bool:
    """Whether this is an address such as s3://bucket/x, also one of those that fsspec chains, such
    as simplecache::s3://bucket/x; else it is a path."""
    return bool(_ADDRESS.match(os.fspath(given)))


def address_path(address: str) -> str:
    """What names the files in an address: of a chain, its first link with a path."""
    return next((link for link in address.split("::") if ":/" in link), address)


def is_seen(below: str) -> bool:
    """Whether a file is seen in a folder, by its path below it: names that begin with "." or "_"
    are no data, of files and of folders, as Spark and Hive have it."""
    parts = below.replace("\\", "/").strip("/").split("/")
    return not any(part.startswith((".", "_")) for part in parts)


def is_held(below: str) -> bool:
    """Whether a file is seen in a folder, and is a table of Parquet or Arrow by its ending."""
    return is_seen(below) and below.lower().endswith((*PARQUET, *ARROW))
