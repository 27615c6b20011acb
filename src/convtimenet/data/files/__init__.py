"""Files that hold a table: one module for each kind.

Nothing heavy is imported before a file is read, so that `check_path` answers at once.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from convtimenet.data.files.raw import COMPRESSED, check_text, read_bytes
from convtimenet.errors import DataError

if TYPE_CHECKING:
    from convtimenet.data.columns import Grid

__all__ = ["check_local", "check_path", "is_columnar", "read_columnar", "read_grid"]

Kind = Literal["delimited", "workbook", "columnar", "json", "monash"]

_KINDS: dict[str, Kind] = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), "delimited"),
    ".xlsx": "workbook",
    **dict.fromkeys((".parquet", ".feather", ".arrow", ".ipc"), "columnar"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "json"),
    ".tsf": "monash",
}
_ADDRESS = re.compile(r"\w{2,}:/")  # drives of Windows have one letter
_TEXT: tuple[Kind, ...] = ("delimited", "json", "monash")


def check_path(path: str | os.PathLike[str]) -> None:
    """Find out at once that a path cannot be read as a table.

    Raises
    ------
    DataError
        If there is no such file, it is a folder, or its ending is not known.
    """
    check_local(path)
    path = Path(path).expanduser()
    if is_columnar(path) and path.is_dir():
        return  # parts of one table
    if path.is_dir():
        raise DataError(
            f"{path}: expected a table in a {_known()}, found a folder; give one of the files in it"
        )
    if _kind(path.name) is None and path.suffix.lower() != ".zip":
        raise DataError(
            f"{path}: expected a table in a {_known()}, found the ending {path.suffix!r}; save it "
            "as one of them, such as .csv"
        )
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; check the path")


def check_local(path: str | os.PathLike[str]) -> None:
    """Refuse what is no path of this machine.

    Raises
    ------
    DataError
        If it is an address, or stands for standard input.
    """
    if _ADDRESS.match(str(path)):
        raise DataError(f"{path}: addresses are not fetched; download the file and give its path")
    if str(path) == "-":
        raise DataError("-: standard input is not read; write it to a file and give its path")


def is_columnar(path: Path) -> bool:
    """Whether pyarrow reads the file as a table of typed columns, or the folder as parts of one."""
    if path.is_dir():
        found = False
        for one in path.rglob("[!._]*"):
            if one.is_file() and one.suffix.lower() != ".parquet":
                return False
            found = found or one.is_file()
        return found
    return _kind(path.name) == "columnar"


def read_columnar(path: Path) -> Any:
    """A Parquet, Feather or Arrow file as a pyarrow table.

    Raises
    ------
    DataError
        If it is damaged.
    MissingExtraError
        If pyarrow is not installed.
    """
    from convtimenet.data.files.columnar import read_arrow_table

    return read_arrow_table(path)


def read_grid(path: Path) -> Grid:
    """A file of any other kind.

    Raises
    ------
    DataError
        If it cannot be read, saying where it is wrong.
    MissingExtraError
        If a package is needed for it and not installed.
    """
    if _kind(path.name) == "workbook":
        from convtimenet.data.files.workbook import read_workbook

        return read_workbook(path)
    content, name = read_bytes(path)
    kind = _kind(name)
    if kind not in _TEXT:
        raise DataError(
            f"{path}: expected a table in it, in a {_known()}, found {name!r}; unpack it and save "
            "it as .csv"
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
    """The kind of a file by the ending of its name, that of compression left out."""
    stem, ending = os.path.splitext(name.lower())
    if ending in COMPRESSED:
        kind = _KINDS.get(os.path.splitext(stem)[1])
        return kind if kind in _TEXT else None
    return _KINDS.get(ending)


def _known() -> str:
    *some, last = _KINDS
    return f"{', '.join(some)} or {last} file (text also with {', '.join(COMPRESSED)})"
