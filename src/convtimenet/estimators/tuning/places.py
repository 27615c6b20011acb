"""Where the trials of a search are kept, and how its processes are kept apart there.

- In memory: one process.
- In a file, Optuna's journal or SQLite. Operating system locks stand around it, which end with
  their process: "claim" is held while a process looks for work, so that no two take the same trial;
  "journal" while a line is written, instead of Optuna's own lock, whose file would outlive a killed
  process; and each process holds one of its own as long as it searches.
- On a server, by URL: a database, or Optuna's gRPC proxy of one. There is no lock that all of them
  have. A running trial beats: its process counts up an attribute. One that has been silent for
  `SILENT` seconds by the clock of the process that looks has died, so clocks need not agree.
"""

from __future__ import annotations

import re
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    closing,
    contextmanager,
    nullcontext,
    suppress,
)
from os import SEEK_END, PathLike
from pathlib import Path
from typing import Any, Protocol

from convtimenet.errors import CheckpointError, ConfigError, MissingExtraError
from convtimenet.files import locked

__all__ = ["Place", "is_url", "place_of", "reached"]

NAME = "convtimenet"
"""Name of a study, unless a URL ends in another one."""
BEAT = 5.0
"""Seconds between two beats of a trial."""
SILENT = 60.0
"""Seconds without a beat after which a trial's process is taken for dead."""
_PATIENCE = 60.0  # seconds to wait for a lock, which is held for fractions of one
_REACHED = 10.0  # seconds to wait for a proxy
_SQLITE = "sqlite:///"
_PROXY = "grpc://"


class Place(Protocol):
    """Where trials are kept."""

    shown: str | None
    """For messages, without a password; None in memory."""
    study_name: str
    awaited: bool
    """Whether another process may be about to write what is searched."""

    def open(self) -> Any:
        """Optuna's storage; None in memory."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Keep other processes from claiming trials, where there are locks."""
        ...

    def begin(self, worker: str) -> None:
        """This process, named `worker`, begins to search."""
        ...

    def claimed(self, own: Any) -> None:
        """It has claimed a trial, Optuna's; or, with None, has none now."""
        ...

    def alive(self, one: Any) -> bool:
        """Whether the process of a running trial still searches."""
        ...

    def close(self) -> None:
        """This process ends its search."""
        ...


def is_url(storage: object) -> bool:
    """Whether trials are kept at a URL rather than in a journal file."""
    return isinstance(storage, str) and "://" in storage


def place_of(storage: str | PathLike[str] | None) -> Place:
    """The place that `storage` names: None, a file or a URL.

    Raises
    ------
    CheckpointError
        If the file holds something else.
    """
    if storage is None:
        return _Memory()
    if not isinstance(storage, str) or not is_url(storage):
        return _Files(Path(storage))
    url, _, name = storage.partition("#")
    if url.startswith(_SQLITE):
        return _Files(Path(url.removeprefix(_SQLITE)), url, name or NAME)
    return _Server(url, name or NAME)


class _Memory:
    """In the memory of this process."""

    shown: str | None = None
    study_name = NAME
    awaited = False
    worker = ""

    def open(self) -> Any:
        return None

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()

    def begin(self, worker: str) -> None:
        self.worker = worker

    def claimed(self, own: Any) -> None:
        """Nobody else looks."""

    def alive(self, one: Any) -> bool:
        return one.user_attrs.get("worker") == self.worker

    def close(self) -> None:
        """Nothing is held."""


class _Files(_Memory):
    """In a file, which several processes may share, also of several machines whose common file
    system has locks."""

    def __init__(self, path: Path, url: str | None = None, study_name: str = NAME):
        self.path, self.url, self.study_name = path, url, study_name
        self.shown: str | None = str(path)
        self._held = ExitStack()
        _check_file(path, b'{"op_code":' if url is None else b"SQLite format 3")

    def open(self) -> Any:
        if self.url is None:
            return _journal(self.path, self._lock_file("journal"))
        return self._held.enter_context(_database(self.url, connect_args={"timeout": _PATIENCE}))

    @contextmanager
    def alone(self) -> Iterator[None]:
        with ExitStack() as stack:
            _take(stack, self._lock_file("claim"))
            yield

    def begin(self, worker: str) -> None:
        self.worker = worker
        self._held.enter_context(locked(self._lock_file(worker)))

    def alive(self, one: Any) -> bool:
        worker = one.user_attrs.get("worker")
        if (
            worker is None or worker == self.worker
        ):  # without a name it died as it claimed the trial
            return worker is not None
        file = self._lock_file(worker)
        with locked(file) as holder:
            alive = holder is not None
        if not alive:
            with suppress(OSError):
                file.unlink()
        return alive

    def close(self) -> None:
        self._held.close()
        if self.worker:
            self._lock_file(self.worker).unlink(missing_ok=True)

    def _lock_file(self, name: str) -> Path:
        folder = self.path.with_name(f"{self.path.name}.locks")
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name


class _Server:
    """On a server, which processes of several machines may share."""

    awaited = True

    def __init__(self, url: str, study_name: str):
        self.url, self.study_name = url, study_name
        self.shown: str | None = _without_password(url)
        self._own: Any = None
        self._held = ExitStack()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen: dict[int, tuple[Any, float]] = {}

    def open(self) -> Any:
        if self.url.startswith(_PROXY):
            return self._held.enter_context(closing(_proxy(self.url)))
        return self._held.enter_context(_database(self.url, pool_pre_ping=True))

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()

    def begin(self, worker: str) -> None:
        self.worker = worker
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def claimed(self, own: Any) -> None:
        self._own = own

    def alive(self, one: Any) -> bool:
        attributes = one.user_attrs
        if attributes.get("worker") == self.worker:
            return True
        beat, now = (attributes.get("worker"), attributes.get("beat")), time.monotonic()
        before, since = self._seen.get(one.number, (None, now))
        if beat != before:
            self._seen[one.number] = beat, now
            return True
        return now - since < SILENT

    def close(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._held.close()

    def _beat(self) -> None:
        from optuna.exceptions import OptunaError

        beats = 0
        while not self._over.wait(BEAT):
            own = self._own
            if own is not None:
                beats += 1
                # once it is ended there is nothing to say; a server that is away may come back
                with suppress(OptunaError, KeyError, OSError, *_server_errors()):
                    own.set_user_attr("beat", beats)


def _without_password(url: str) -> str:
    return re.sub(r"(//[^:/@]*):[^@]*@", r"\1:***@", url)


def _server_errors() -> tuple[type[Exception], ...]:
    """What the libraries that are loaded raise where a server cannot be reached."""
    found: list[type[Exception]] = []
    for module, name in (("sqlalchemy.exc", "SQLAlchemyError"), ("grpc", "RpcError")):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)


@contextmanager
def reached(shown: str | None) -> Iterator[None]:
    """Raise `CheckpointError` where the storage cannot be used."""
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except (StorageInternalError, ConnectionError, *_server_errors()) as error:
        why = (str(error.__cause__ or "") or str(error)).partition("\n")[0]
        raise CheckpointError(
            f"the trials at {shown} cannot be read or written ({why}); see that the server runs "
            "and allows it, then give the same command again"
        ) from error


@contextmanager
def _database(url: str, **engine: Any) -> Iterator[Any]:
    """Optuna's storage in a database, whose connections are closed when the block ends."""
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import ArgumentError

    if url.startswith("postgresql:"):  # the driver of the extra, whichever is SQLAlchemy's default
        url = url.replace("postgresql:", "postgresql+psycopg:", 1)
    try:
        storage = RDBStorage(url, engine_kwargs=engine)
    except ImportError as error:
        if url.startswith("postgresql"):
            raise MissingExtraError("psycopg", "database", "a search in PostgreSQL") from error
        raise ConfigError(f"{url.partition(':')[0]} needs its Python driver: {error}") from error
    except (ValueError, ArgumentError) as error:
        raise ConfigError(
            f"expected a file, or a URL such as postgresql://user@host/database, found "
            f"{_without_password(url)!r} ({error})"
        ) from error
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _proxy(url: str) -> Any:
    """Optuna's storage behind its gRPC proxy."""
    try:
        import grpc  # noqa: F401  # pyright: ignore[reportMissingImports]
        from optuna.exceptions import ExperimentalWarning
        from optuna.storages import GrpcStorageProxy
    except ImportError as error:
        raise MissingExtraError("grpcio", "database", "a search through a gRPC proxy") from error
    host, _, port = url.removeprefix(_PROXY).rstrip("/").rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"expected the proxy as grpc://host:port, found {url!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        found = GrpcStorageProxy(host=host, port=int(port))
    found.wait_server_ready(timeout=_REACHED)
    return found


def _journal(path: Path, lock: Path) -> Any:
    """Optuna's journal in a file."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    own: Any = _JournalLock(path, lock)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=own))


def _check_file(path: Path, first: bytes) -> None:
    """Refuse a file of something else, before anything is written to it or beside it."""
    if path.exists():
        if path.is_file():
            with path.open("rb") as file:
                if file.read(len(first)) in (b"", first):
                    return
        raise CheckpointError(f"{path} is not the file of a search; name another file")


class _JournalLock:
    """Lock of the journal, in the form that Optuna uses; also mends the file after a kill."""

    def __init__(self, path: Path, lock: Path):
        self.path, self.lock = path, lock
        self._stack = ExitStack()

    def acquire(self) -> bool:
        _take(self._stack, self.lock)
        with self.path.open("rb+") as file:
            size = file.seek(0, SEEK_END)
            file.seek(max(0, size - 1))
            if size and file.read(1) != b"\n":  # a line that was cut off by a kill
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self._stack.close()


def _take(stack: ExitStack, lock: Path) -> None:
    holder = stack.enter_context(locked(lock, wait=_PATIENCE))
    if holder is not None:
        stack.close()
        raise CheckpointError(
            f"{lock} has been locked by {holder} for {_PATIENCE:.0f} s; end that process"
        )
