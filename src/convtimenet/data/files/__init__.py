"""Read table files, with one module per format.

Heavy packages are only imported when a file is read, so `check_path` is fast.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from convtimenet.data.files.raw import COMPRESSED, check_text, read_bytes
from convtimenet.errors import DataError
from convtimenet.files.found import (
    ARROW,
    PARQUET,
    address_path,
    entries_below,
    is_address,
    is_held,
)

if TYPE_CHECKING:
    from convtimenet.data.columns import Grid
    from convtimenet.data.files.columnar import Needed

__all__ = ["check_local", "check_path", "is_columnar", "is_several", "read_columnar", "read_grid"]

Kind = Literal["delimited", "workbook", "columnar", "json", "monash"]

_KINDS: dict[str, Kind] = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), "delimited"),
    ".xlsx": "workbook",
    **dict.fromkeys((*PARQUET, *ARROW), "columnar"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "json"),
    ".tsf": "monash",
}
_PATTERN = re.compile(r"[*?\[]")
_TEXT: tuple[Kind, ...] = ("delimited", "json", "monash")


def check_path(path: str | os.PathLike[str]) -> None:
    """Check early that a path may be a table, without reading it.

    Raises
    ------
    DataError
        If there is no such file, it is a folder without tables, or its extension is unknown.
    """
    if is_columnar(path) and is_several(path):
        return  # a partitioned table; whether there is one at an address, reading it tells
    check_local(path)
    path = Path(path).expanduser()
    if path.is_dir():
        raise DataError(
            f"{path}: expected a table in a {_known()}, found a folder; give one of the files in it"
        )
    if _kind(path.name) is None and path.suffix.lower() != ".zip":
        raise DataError(
            f"{path}: expected a table in a {_known()}, found the extension {path.suffix!r}; save "
            "it as one of them, such as .csv"
        )
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; check the path")


def check_local(path: str | os.PathLike[str]) -> None:
    """Reject anything but a local path.

    Raises
    ------
    DataError
        If it is a URL or "-" for standard input.
    """
    if is_address(path):
        raise DataError(
            f"{path}: expected a path, found a URL; download the file and give its path"
        )
    if str(path) == "-":
        raise DataError("-: standard input is not supported; write it to a file and give its path")


def is_several(path: str | os.PathLike[str]) -> bool:
    """Whether this is a folder, a glob pattern or a URL, which may stand for several files."""
    local = Path(path).expanduser()
    return is_address(path) or local.is_dir() or _is_pattern(local)


def _is_pattern(path: Path) -> bool:
    return bool(_PATTERN.search(str(path))) and not path.exists()


def is_columnar(path: str | os.PathLike[str]) -> bool:
    """Whether this is a file with typed columns that pyarrow reads, or a folder, a glob pattern or
    a URL of such files."""
    if is_address(path) or _is_pattern(Path(path).expanduser()):
        name = os.path.basename(address_path(os.fspath(path)))
        return _kind(name) in (None, "columnar") and not name.lower().endswith((".zip", ".html"))
    path = Path(path).expanduser()
    if path.is_dir():
        found = False
        for below, one in entries_below(str(path)):
            if one.is_file():
                found = is_held(below)
                if not found:
                    return False
        return found
    return _kind(path.name) == "columnar"


def read_columnar(path: str | os.PathLike[str], needed: Needed | None = None) -> Any:
    """Read what `is_columnar` as a pyarrow table.

    Parameters
    ----------
    needed
        As for `convtimenet.data.files.columnar.open_dataset`.

    Raises
    ------
    DataError
        If the file is damaged.
    MissingExtraError
        If pyarrow is not installed.
    """
    from convtimenet.data.files.columnar import read_arrow_table

    several = is_several(path)
    given = os.fspath(path) if several else Path(path).expanduser()
    return read_arrow_table(given, several, needed)


def read_grid(path: Path) -> Grid:
    """Read a file of any other format.

    Raises
    ------
    DataError
        If it cannot be read; the message gives the position of the error.
    MissingExtraError
        If it needs a package that is not installed.
    """
    if _kind(path.name) == "workbook":
        from convtimenet.data.files.workbook import read_workbook

        return read_workbook(path)
    content, name = read_bytes(path)
    kind = _kind(name)
    if kind not in _TEXT:
        raise DataError(
            f"{path}: expected it to contain a {_known()}, found {name!r}; unpack it and save it "
            "as .csv"
        )
    check_text(path, content)
    if kind == "json":
        from convtimenet.data.files.json_records import read_json

        return read_json(path, content)
    if kind == "monash":
        from convtimenet.data.files.monash import read_tsf

        return read_tsf(path, content)
    from convtimenet.data.files.delimited import read_delimited

    return read_delimited(path, content)


def _kind(name: str) -> Kind | None:
    """The kind of a file by its extension, ignoring one for compression."""
    stem, ending = os.path.splitext(name.lower())
    if ending in COMPRESSED:
        kind = _KINDS.get(os.path.splitext(stem)[1])
        return kind if kind in _TEXT else None
    return _KINDS.get(ending)


def _known() -> str:
    *some, last = _KINDS
    return f"{', '.join(some)} or {last} file (text also with {', '.join(COMPRESSED)})"
