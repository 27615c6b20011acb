"""Where files are kept, and writing them whole or not at all."""

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

from convtimenet.errors import ConfigError, DataError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

log = logging.getLogger(__name__)

_LOCKED_BYTE = 2**30
"""Windows locks bytes, not files: one behind what is read."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
"""What a file system without locks answers."""


def cache_folder() -> Path:
    """The package's folder in the user's cache; it need not exist.

    Raises
    ------
    ConfigError
        If the user has no home folder, and no variable names another place.
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
    except RuntimeError as error:  # a container's user whom no list of users knows
        raise ConfigError(
            f"expected a home folder for the cache, found none; let {variable} name a folder"
        ) from error


def plain(value: Any, other: Callable[[Any], Any] | None = None) -> Any:
    """A value as strict JSON can hold it: a number that is not finite becomes None.

    Parameters
    ----------
    other
        Makes what is no JSON type into one.
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
    """Strict JSON, which every reader takes: null stands for what is not finite (`plain`)."""
    return json.dumps(plain(value, other), allow_nan=False, indent=indent)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Open a text file (UTF-8) that appears at `path` only when the block ends without an error.

    It is written beside its place and then moved there.

    Raises
    ------
    DataError
        If the folder does not exist.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise DataError(f"the folder {target.parent} does not exist; create it first")
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            yield file
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears at `path` with all its content on the disk, or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    if os.name == "posix":  # the new name is on the disk only when its folder is
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_writable(name: str, path: str | os.PathLike[str]) -> None:
    """Find out by trying whether something could be written to `path`; nothing stays there.

    Raises
    ------
    ConfigError
        If not; `name` is what the user calls it.
    """
    folder = Path(path).resolve().parent
    while not folder.exists():  # folders on the way are made when they are needed
        folder = folder.parent
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(
            f"{name}: nothing can be written to the folder {folder} ({error.strerror}); give "
            "another place, or change its permissions"
        ) from error


@contextmanager
def locked(path: Path, wait: float = 0.0) -> Iterator[str | None]:
    """Hold a lock on a file, which is made and stays, until the block ends.

    The lock is the system's own: it ends with its process, however that ends. On a file system that
    has no locks the block runs without one, and a warning says so.

    Parameters
    ----------
    wait
        Seconds to wait for another holder.

    Yields
    ------
    None; or if another holds the lock, who that is.

    Raises
    ------
    ConfigError
        If the system refuses a lock for another reason.
    """
    end = time.monotonic() + wait
    with path.open("a+", encoding="utf-8") as file:
        while not _lock(file.fileno(), path):
            if time.monotonic() >= end:
                file.seek(0)
                yield file.read() or "another process"
                return
            time.sleep(0.05)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield None


def _lock(descriptor: int, path: Path) -> bool:
    """Lock an open file until it is closed; False if it is locked already."""
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
                f"expected to lock {path}, found: {error.strerror}; use a folder on another disk"
            ) from error
        log.warning(
            "the file system of %s has no locks, so nothing keeps two processes from writing there "
            "at the same time; start only one, or use a folder on a local disk",
            path.parent,
        )
    return True


def earlier_of(folder: str | os.PathLike[str]) -> Path:
    """Where a folder lies while `whole_folder` puts another in its place, or after a kill then."""
    target = Path(folder).resolve()
    return target.with_name(f".{target.name}.earlier")


@contextmanager
def whole_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty folder to fill, which takes the place of `folder` when the block ends.

    If the block or the move fails, whatever lay at `folder` is there as before. A kill leaves it
    there too, or, between two renames, at `earlier_of`, from where the next call puts it back.
    """
    target, earlier = Path(folder).resolve(), earlier_of(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        if earlier.exists() and not target.exists():
            os.replace(earlier, target)
        yield making
        making.chmod(0o755)
        if target.exists():
            shutil.rmtree(earlier, ignore_errors=True)
            os.replace(target, earlier)
        os.replace(making, target)
        if earlier.exists():  # out of the way in one step, for it is no longer to be found
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
