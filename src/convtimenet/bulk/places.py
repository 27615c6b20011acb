"""Files and folders by path or address, such as s3://bucket/folder, through pyarrow's file systems.

An address that pyarrow does not know is opened with fsspec, which torch brings along. No address is
ever made of a path that was found: what is found is reached through the address that was given.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import uuid4

from convtimenet.errors import DataError, MissingExtraError
from convtimenet.files import write_whole
from convtimenet.files.found import (
    ARROW,
    NO_FILE,
    expression,
    files_of,
    is_address,
    is_held,
    is_seen,
    other_names,
    own_path,
)

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

__all__ = [
    "Place",
    "Stored",
    "check_unchanged",
    "child",
    "exists",
    "file_system",
    "has_footer",
    "make_folder",
    "names_in",
    "parquet_files",
    "parquet_module",
    "place_of",
    "read_bytes",
    "remove",
    "seen_below",
    "would_read",
    "write_bytes",
]

_MAGIC = re.compile(r"[*?\[]")
_MISSING = "__HIVE_DEFAULT_PARTITION__"
"""A missing value in the name of a folder, as Spark, Hive and pyarrow write it."""
_TAGS = ("ETag", "etag", "md5Hash", "Content-MD5", "generation", "sha", "created")
"""What tells the state of a file's content, among what fsspec's file systems know of it. Their
`checksum` is of all they know, also of what differs from call to call, such as signed links."""


@dataclass(frozen=True)
class Place:
    """A file or folder: a file system, and a path in it."""

    root: str = field(repr=False)
    """The address from which the file system is opened, with its login and options; "" for this
    machine's."""
    path: str

    @property
    def local(self) -> bool:
        """Whether it is a path of this machine."""
        return not self.root

    def __str__(self) -> str:
        """For messages: without the login and options of the address."""
        if self.local or "://" in self.path:
            return self.path
        return f"{self.root.partition('://')[0]}://{self.path.lstrip('/')}"


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


@dataclass(frozen=True)
class Stored:
    """A file as it was when it was found."""

    place: Place
    size: int
    """In bytes."""
    changed: int | str
    """Time of change in ns; where the file system has none, a tag of its content, or the SHA-256 of
    the Parquet footer."""

    def __str__(self) -> str:
        return str(self.place)


def has_footer(place: Place) -> bool:
    """Whether a file ends as a Parquet file does; only its end is read."""
    import pyarrow as pa

    try:
        with file_system(place).open_input_file(place.path) as file:
            parquet_module().read_metadata(file)
    except (pa.ArrowException, OSError):
        return False
    return True


def place_of(given: str) -> Place:
    """The place of a path or address; one of this machine, file:///folder, is a path.

    Raises
    ------
    DataError
        If there is no file system for such an address.
    """
    given = own_path(given)
    if not is_address(given):
        return Place("", os.path.abspath(os.path.expanduser(given)))
    return Place(given, _system(given)[1])


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


def file_system(place: Place) -> FileSystem:
    """The file system that a place is in."""
    if place.local:
        from pyarrow import fs

        return fs.LocalFileSystem()
    return _system(place.root)[0]


def child(folder: Place, name: str) -> Place:
    """The place of a file in a folder."""
    if folder.local:
        return Place("", os.path.join(folder.path, name))
    top = f"{folder.path.rstrip('/')}/" if folder.path else ""
    return Place(folder.root, top + name)


def exists(place: Place) -> bool:
    """Whether there is a file or a folder."""
    from pyarrow import fs

    return file_system(place).get_file_info(place.path).type != fs.FileType.NotFound


def make_folder(place: Place) -> None:
    """Create a folder with its parents."""
    file_system(place).create_dir(place.path, recursive=True)


def names_in(folder: Place) -> list[str]:
    """Names of the files in a folder, in order; none if there is no folder."""
    from pyarrow import fs

    wanted = fs.FileSelector(folder.path, allow_not_found=True)
    found = file_system(folder).get_file_info(wanted)
    return sorted(one.base_name for one in found if one.type == fs.FileType.File)


def seen_below(folder: Place) -> list[str]:
    """What a reader of a folder would see: the files below it, without names that begin with "."
    or "_", as paths below it; none if there is no folder."""
    if not exists(folder):
        return []
    top = len(child(folder, "").path)
    return sorted(one.path[top:] for one, _ in _files(folder, folder.path, None))


def read_bytes(place: Place) -> bytes:
    """The content of a file."""
    with file_system(place).open_input_file(place.path) as file:
        return file.read()


def remove(place: Place) -> None:
    """Remove a file, if it is there."""
    if not exists(place):
        return
    system = file_system(place)
    behind = _behind(system)
    if behind is None:
        system.delete_file(place.path)
    else:
        behind.rm_file(place.path)


def write_bytes(place: Place, content: bytes) -> None:
    """Write a file that is complete or absent, however the writer ends."""
    if place.local:
        write_whole(Path(place.path), content)
        return
    system = file_system(place)
    folder, slash, name = place.path.rpartition("/")
    partial = f"{folder}{slash}.{name}.{uuid4().hex}.tmp"
    with system.open_output_stream(partial) as file:
        file.write(content)
    behind = _behind(system)
    if behind is None or type(behind).mv is not _own_move():
        system.move(partial, place.path)
    else:
        behind.cp_file(partial, place.path)
        behind.rm_file(partial)


def _behind(system: FileSystem) -> Any:
    """fsspec's file system behind one of pyarrow's, None for another. Its functions for single
    files take a name as it is; those that pyarrow calls, `rm` and `mv`, take brackets in one for a
    pattern."""
    from pyarrow import fs

    return system.handler.fs if isinstance(system, fs.PyFileSystem) else None


def _own_move() -> Any:
    """How fsspec moves where a file system cannot: by patterns, and as a copy."""
    import fsspec

    return fsspec.AbstractFileSystem.mv


def check_unchanged(file: Stored) -> None:
    """Check that a file is the one that was found.

    Raises
    ------
    DataError
        If not.
    """
    from pyarrow import fs

    system = file_system(file.place)
    behind = _behind(system)
    if behind is not None:
        behind.invalidate_cache()  # of listings
    info = system.get_file_info(file.place.path)
    if info.type == fs.FileType.NotFound or _stored(file.place, info) != file:
        raise DataError(
            f"{file.place}: expected the file that was found when the job began, found "
            f"{'none' if info.type == fs.FileType.NotFound else 'another'}; leave the files as "
            "they are while a job runs, and begin again in another folder after a change"
        )


def _stored(place: Place, info: Any) -> Stored:
    return Stored(place, info.size, _tag(place) if info.mtime_ns is None else info.mtime_ns)


def _tag(place: Place) -> str:
    """What stands in for the time of change of a file."""
    system = file_system(place)
    behind = _behind(system)
    known = {} if behind is None else behind.info(place.path)
    for name in _TAGS:
        if known.get(name) is not None:
            return f"{name} {known[name]}"
    with system.open_input_file(place.path) as file:
        size = file.size()
        file.seek(max(size - 8, 0))
        (footer,) = struct.unpack("<I", file.read(8)[:4].ljust(4, b"\0"))
        file.seek(max(size - 8 - footer, 0))
        return f"footer {hashlib.sha256(file.read()).hexdigest()}"


def parquet_files(source: Place) -> list[tuple[Stored, dict[str, str | None]]]:
    """The Parquet files of a source, ordered by path.

    Parameters
    ----------
    source
        A file, a folder, or a pattern with ``*``, ``?``, ``[...]`` and ``**`` for any folders; a
        folder that fits it stands for its files. Of a folder, files with another ending are left
        out, and so are names that begin with "." or "_". Links are followed
        (`convtimenet.files.found`).

    Returns
    -------
    list of (Stored, dict)
        Each file, and the columns in the names of all its folders: ``region=eu/a.parquet`` has the
        column region; None for Hive's name of a missing value.

    Raises
    ------
    DataError
        If there are none, files of Arrow among them, or a link that is not followed.
    """
    from pyarrow import fs

    system = file_system(source)
    base, wanted = _base(system, source.path)
    info = system.get_file_info(base)
    if info.type == fs.FileType.NotFound:
        raise DataError(f"{source}: there is no such file or folder; check the path")
    if info.type == fs.FileType.File:
        return [(_stored(source, info), _columns(source.path))]
    found = [
        (_stored(Place(source.root, one.path), one), _columns(one.path))
        for one, named in _files(source, base, wanted)
        if named or is_held(one.path[len(base) :])
    ]
    other = next((one for one, _ in found if one.place.path.lower().endswith(ARROW)), None)
    if other is not None:
        raise DataError(
            f"{source}: expected Parquet files, found {other}; convert it to Parquet, or give a "
            "pattern such as folder/*.parquet"
        )
    if not found:
        raise DataError(
            f"{source}: expected Parquet files (names that end in .parquet), found none; check the "
            "path"
        )
    return sorted(found, key=lambda one: one[0].place.path)


def _files(source: Place, base: str, wanted: re.Pattern[str] | None) -> list[tuple[Any, bool]]:
    """What pyarrow tells of the files that a source reads or might read, and whether a pattern
    names the file itself, in no order.

    Raises
    ------
    DataError
        If there is a link that is not followed.
    """
    from pyarrow import fs

    system = file_system(source)
    if source.local:
        found = files_of(source.path)[1]
        told: Any = system.get_file_info([*found])
        return [*zip(told, found.values(), strict=True)]
    files = []
    for one in system.get_file_info(fs.FileSelector(base, recursive=True)):
        if one.type == fs.FileType.Directory or not is_seen(one.path[len(base) :]):
            continue
        if one.type != fs.FileType.File:
            raise DataError(NO_FILE.format(Place(source.root, one.path)))
        named = bool(wanted and wanted.fullmatch(one.path))
        if wanted is None or named or _reads(base, wanted, one.path):
            files.append((one, named))
    return files


def would_read(source: Place, place: Place) -> bool:
    """Whether `parquet_files` of a source would give a file at `place`, if it were there."""
    system, path, target = file_system(source), source.path, place.path
    if system != file_system(place):
        return False
    base, wanted = _base(system, path)
    others = other_names(path, target) if source.local else []
    return any(_reads(base, wanted, one) for one in (target, *others))


def _base(system: FileSystem, path: str) -> tuple[str, re.Pattern[str] | None]:
    """The folder or file in which the files of a source are, and its pattern."""
    from pyarrow import fs

    named = system.get_file_info(path).type != fs.FileType.NotFound  # also with brackets in it
    magic = None if named else _MAGIC.search(path)
    if magic is None:
        return path, None
    return path[: magic.start()].rpartition("/")[0] or "/", expression(path)


def _reads(base: str, wanted: re.Pattern[str] | None, path: str) -> bool:
    """Whether a path below a folder, if it is a file, is one of its Parquet files, or one that a
    pattern wants."""
    top = base.rstrip("/") + "/"
    if not path.startswith(top):
        return False
    below = path[len(top) :]
    if wanted is not None and wanted.fullmatch(path):
        return is_seen(below)
    parts = below.split("/")
    folders = ["/".join((base.rstrip("/"), *parts[:n])) for n in range(1, len(parts))]
    return (wanted is None or any(map(wanted.fullmatch, folders))) and is_held(below)


def _columns(path: str) -> dict[str, str | None]:
    """The columns in the names of a file's folders."""
    pairs = [part.partition("=") for part in path.split("/")[:-1]]
    return {
        unquote(key): None if value == _MISSING else unquote(value)
        for key, eq, value in pairs
        if key and eq
    }
