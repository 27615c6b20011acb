"""Files and folders by path or address, such as s3://bucket/folder, through pyarrow's file systems.

An address that pyarrow does not know is opened with fsspec, which torch brings along.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname
from uuid import uuid4

from convtimenet.errors import DataError, MissingExtraError
from convtimenet.files import write_whole

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

__all__ = [
    "child",
    "exists",
    "file_system",
    "is_local",
    "local",
    "make_folder",
    "names_in",
    "parquet_files",
    "parquet_module",
    "read_bytes",
    "remove",
    "would_read",
    "write_bytes",
]

_ENDINGS = (".parquet", ".pq")
_MAGIC = re.compile(r"[*?\[]")


def parquet_module() -> Any:
    """``pyarrow.parquet``.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", "forecasting from Parquet files") from error
    return parquet


def is_local(place: str) -> bool:
    """Whether a place is a path and not an address."""
    return "://" not in place


def local(place: str) -> str:
    """A place with an address of this machine, file:///folder, as a path."""
    if place.lower().startswith("file://"):
        return url2pathname(urlsplit(place).path)
    return place


@lru_cache(maxsize=64)
def _system(root: str) -> tuple[FileSystem, str]:
    """The file system of an address and the path in it."""
    import pyarrow as pa
    from pyarrow import fs

    try:
        return fs.FileSystem.from_uri(root)
    except pa.ArrowInvalid as unknown:
        import fsspec

        try:
            system, path = fsspec.core.url_to_fs(root)
        except (ImportError, ValueError) as error:
            raise DataError(
                f"{root}: expected a path, or an address that pyarrow or fsspec opens ({unknown}); "
                f"found: {error}"
            ) from error
        return fs.PyFileSystem(fs.FSSpecHandler(system)), path


def file_system(place: str) -> tuple[FileSystem, str]:
    """The file system that a place is in, and its path there.

    Raises
    ------
    DataError
        If there is none for such an address.
    """
    if is_local(place):
        from pyarrow import fs

        return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(place))
    return _system(place)


def child(folder: str, name: str) -> str:
    """The place of a file in a folder."""
    return os.path.join(folder, name) if is_local(folder) else f"{folder.rstrip('/')}/{name}"


def exists(place: str) -> bool:
    """Whether there is a file or a folder."""
    from pyarrow import fs

    system, path = file_system(place)
    return system.get_file_info(path).type != fs.FileType.NotFound


def make_folder(place: str) -> None:
    """Create a folder with its parents."""
    system, path = file_system(place)
    system.create_dir(path, recursive=True)


def names_in(folder: str) -> list[str]:
    """Names of the files in a folder, in order; none if there is no folder."""
    from pyarrow import fs

    system, path = file_system(folder)
    found = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(one.base_name for one in found if one.type == fs.FileType.File)


def read_bytes(place: str) -> bytes:
    """The content of a file."""
    system, path = file_system(place)
    with system.open_input_file(path) as file:
        return file.read()


def remove(place: str) -> None:
    """Remove a file, if it is there."""
    if exists(place):
        system, path = file_system(place)
        system.delete_file(path)


def write_bytes(place: str, content: bytes) -> None:
    """Write a file that is complete or absent, however the writer ends."""
    system, path = file_system(place)
    if is_local(place):
        write_whole(Path(path), content)
        return
    folder, _, name = path.rpartition("/")
    partial = f"{folder}/.{name}.{uuid4().hex}.tmp"
    with system.open_output_stream(partial) as file:
        file.write(content)
    system.move(partial, path)


def parquet_files(source: str) -> list[tuple[Any, dict[str, str]]]:
    """The Parquet files of a source, ordered by path.

    Parameters
    ----------
    source
        A file, a folder, or a pattern with ``*``, ``?``, ``[...]`` and ``**`` for any folders; a
        folder that fits it stands for its files. Names that begin with "." or "_" are left out, as
        Spark and Hive do.

    Returns
    -------
    list of (pyarrow.fs.FileInfo, dict)
        Each file, and the columns in the names of all its folders: ``region=eu/a.parquet`` has the
        column region.

    Raises
    ------
    DataError
        If there are none.
    """
    from pyarrow import fs

    system, path = file_system(source)
    base, wanted = _base(system, path)
    info = system.get_file_info(base)
    if info.type == fs.FileType.NotFound:
        raise DataError(f"{source}: there is no such file or folder; check the path")
    if info.type == fs.FileType.File:
        return [(info, _columns(info.path))]
    found = [
        (one, _columns(one.path))
        for one in system.get_file_info(fs.FileSelector(base, recursive=True))
        if one.type == fs.FileType.File and _reads(base, wanted, one.path)
    ]
    if not found:
        raise DataError(
            f"{source}: expected Parquet files (names that end in .parquet), found none; check the "
            "path"
        )
    return sorted(found, key=lambda one: one[0].path)


def would_read(source: str, place: str) -> bool:
    """Whether `parquet_files` of a source would give a file at `place`, if it were there."""
    system, path = file_system(source)
    other, target = file_system(place)
    if system != other:
        return False
    base, wanted = _base(system, path)
    names = [(base, path, target)]
    if is_local(source):  # also through links
        real = os.path.realpath(base)
        names.append((real, real + path[len(base) :], os.path.realpath(target)))
    return any(
        _reads(base, wanted and re.compile(_expression(path)), target)
        for base, path, target in names
    )


def _base(system: FileSystem, path: str) -> tuple[str, re.Pattern[str] | None]:
    """The folder or file in which the files of a source are, and its pattern."""
    from pyarrow import fs

    named = system.get_file_info(path).type != fs.FileType.NotFound  # also with brackets in it
    magic = None if named else _MAGIC.search(path)
    if magic is None:
        return path, None
    return path[: magic.start()].rpartition("/")[0] or "/", re.compile(_expression(path))


def _reads(base: str, wanted: re.Pattern[str] | None, path: str) -> bool:
    """Whether a path below a folder, if it is a file, is one of its Parquet files, or one that a
    pattern wants."""
    top = base.rstrip("/") + "/"
    if not path.startswith(top):
        return False
    below = path[len(top) :].split("/")
    if any(part.startswith((".", "_")) for part in below):
        return False
    if wanted is not None and wanted.fullmatch(path):
        return True
    folders = ["/".join((base.rstrip("/"), *below[:n])) for n in range(1, len(below))]
    inside = wanted is None or any(map(wanted.fullmatch, folders))
    return inside and path.lower().endswith(_ENDINGS)


def _columns(path: str) -> dict[str, str]:
    """The columns in the names of a file's folders."""
    pairs = [part.partition("=") for part in path.split("/")[:-1]]
    return {unquote(key): unquote(value) for key, eq, value in pairs if key and eq}


def _expression(pattern: str) -> str:
    """A pattern of paths as a regular expression."""
    kinds = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    words = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+\])", pattern)
    return "".join(
        kinds.get(word) or (word.replace("[!", "[^") if word[:1] == "[" else re.escape(word))
        for word in words
    )
