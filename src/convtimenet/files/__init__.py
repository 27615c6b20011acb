"""The cache folder, atomic writes of files and folders, and file locks."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

from convtimenet.errors import ConfigError, DataError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

log = logging.getLogger(__name__)

_LOCKED_BYTE = 2**30
"""Windows locks bytes, not files: this one lies past the content."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
"""Error codes of file systems that do not support locks."""


def cache_folder() -> Path:
    """The package's folder in the user's cache; it may not exist yet.

    Raises
    ------
    ConfigError
        If the user has no home folder and no environment variable sets the location.
    """
    if sys.platform == "win32":
        cache = os.environ.get("LOCALAPPDATA") or _home("LOCALAPPDATA") / "AppData" / "Local"
    elif sys.platform == "darwin":
        cache = _home("HOME") / "Library" / "Caches"
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or _home("XDG_CACHE_HOME") / ".cache"
    return Path(cache) / "convtimenet"


def _home(variable: str) -> Path:
    try:
        return Path.home()
    except RuntimeError as error:  # e.g. a container user without a passwd entry
        raise ConfigError(
            f"expected a home folder for the cache, found none; set {variable} to a folder"
        ) from error


def plain(value: Any, other: Callable[[Any], Any] | None = None) -> Any:
    """Convert a value to strict JSON types: a non-finite number becomes None.

    Parameters
    ----------
    other
        Converts other types to a JSON type.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: plain(inner, other) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner, other) for inner in value]
    if other is None or value is None or isinstance(value, (str, int)):
        return value
    return plain(other(value), other)


def json_text(
    value: Any, other: Callable[[Any], Any] | None = None, indent: int | None = None
) -> str:
    """Strict JSON text, which every parser accepts; non-finite numbers become null (`plain`)."""
    return json.dumps(plain(value, other), allow_nan=False, indent=indent)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Open a UTF-8 text file that appears at `path` only if the block ends without an error.

    It is written to a temporary file in the same folder and then moved.

    Raises
    ------
    DataError
        If the folder does not exist.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise DataError(f"the folder {target.parent} does not exist; create it first")
    partial = _partial(target)
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            yield file
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: at `path` it is complete and synced to disk, or absent."""
    partial = _partial(path)
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    if os.name == "posix":  # the rename is durable only once its folder is synced
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _partial(path: Path) -> Path:
    """A name beside a file that no other writer has; process ids repeat between containers."""
    return path.with_name(f".{path.name}.{uuid4().hex}.tmp")


def check_writable(name: str, path: str | os.PathLike[str]) -> None:
    """Check that `path` can be written to, by creating and removing a temporary file.

    Raises
    ------
    ConfigError
        If not; `name` is the name of the setting in the message.
    """
    folder = Path(path).resolve().parent
    while not folder.exists():  # missing parents are created later, on writing
        folder = folder.parent
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(
            f"{name}: the folder {folder} is not writable ({error.strerror}); choose another "
            "folder, or change its permissions"
        ) from error


@contextmanager
def locked(path: Path, wait: float = 0.0) -> Iterator[str | None]:
    """Hold a lock on a file until the block ends; the file is created and not removed.

    This is an operating system lock: it is released when the process ends, however it ends. On a
    file system without locks the block runs without one, with a warning.

    Parameters
    ----------
    wait
        Seconds to wait for the lock.

    Yields
    ------
    None, or a description of the process that holds the lock.

    Raises
    ------
    ConfigError
        If locking fails for any other reason.
    """
    end = time.monotonic() + wait
    with path.open("a+", encoding="utf-8") as file:
        while not _lock(file.fileno(), path):
            if time.monotonic() >= end:
                file.seek(0)
                yield file.read() or "another process"
                return
            time.sleep(0.05)
        with suppress(OSError):  # a full disk takes the lock, but not the holder's name
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), f"process {os.getpid()} on {platform.node()}".encode())
        yield None


def _lock(descriptor: int, path: Path) -> bool:
    """Lock an open file until it is closed; False if it is already locked."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise ConfigError(
                f"cannot lock {path}: {error.strerror}; use a folder on another disk"
            ) from error
        log.warning(
            "the file system of %s does not support locks, so two processes could write there at "
            "the same time; run only one, or use a folder on a local disk",
            path.parent,
        )
    return True


def earlier_of(folder: str | os.PathLike[str]) -> Path:
    """Backup path of a folder while `whole_folder` replaces it; a kill may leave it there."""
    target = Path(folder).resolve()
    return target.with_name(f".{target.name}.earlier")


@contextmanager
def whole_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder to fill, which replaces `folder` when the block ends.

    If the block or the move fails, the previous content of `folder` is kept. A kill keeps it too,
    or, between the two renames, leaves it at `earlier_of`, from where the next call restores it.
    """
    target, earlier = Path(folder).resolve(), earlier_of(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    making = target.with_name(f".{target.name}-{uuid4().hex}")
    making.mkdir()  # with the permissions that the umask leaves, as its files
    try:
        if earlier.exists() and not target.exists():
            os.replace(earlier, target)
        yield making
        if target.exists():
            shutil.rmtree(earlier, ignore_errors=True)
            os.replace(target, earlier)
        os.replace(making, target)
        if earlier.exists():  # hide it in one step, so that no later call restores it
            with suppress(OSError):
                os.replace(earlier, making)
    except BaseException:
        if earlier.exists() and not target.exists():
            os.replace(earlier, target)
        raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
        if target.exists():
            shutil.rmtree(earlier, ignore_errors=True)
