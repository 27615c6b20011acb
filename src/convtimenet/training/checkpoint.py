"""Checkpoints of an unfinished training run, to resume after a kill.

A checkpoint is one safetensors file, with the JSON values stored as a tensor of bytes. Its name
ends in the SHA-256 of its content, so a single rename publishes content and checksum together.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from convtimenet import processes
from convtimenet.errors import CheckpointError
from convtimenet.files import json_text, locked, write_whole
from convtimenet.wording import listing

log = logging.getLogger(__name__)

FORMAT = 1
KEPT = 2
"""Checkpoints kept of each run: the newest, and one to fall back to."""
_VALUES, _LOCK = "values.json", ".lock"
_ORPHANS = 60.0
"""Seconds to wait for a process whose parent has died, which ends after its current step."""
_OWN = re.compile(r"\..*|.+-\d{8}-[0-9a-f]{64}\.safetensors")
"""Names in a folder of checkpoints: they themselves, and hidden ones, as of locks."""
_AT_ONCE = 2**26  # bytes of data that are hashed
_FAILING: set[Path] = set()
"""Folders in which the last checkpoint could not be written, of all trainings of this process."""


@dataclass(frozen=True)
class Checkpoint:
    """State of a training run: tensors, and the rest as plain JSON values."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with a prefix, without it."""
        return {n.removeprefix(prefix): v for n, v in self.tensors.items() if n.startswith(prefix)}


class Checkpoints:
    """The checkpoints of one training run in a folder.

    Parameters
    ----------
    folder
        Created with its parents when training begins.
    phase
        Name of the run within the folder, which several may share.
    run
        Plain values that identify the run.
    seed
        Seed that the whole call started with, of which the seeds of its runs are made; by default
        that of the run.
    within
        The process that started this one holds the lock of the folder (`only_process`).

    Raises
    ------
    CheckpointError
        As `check_folder`.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        phase: str,
        run: Mapping[str, Any],
        seed: int | None = None,
        *,
        within: bool = False,
    ):
        self.folder, self.phase, self.seed, self.within = Path(folder), phase, seed, within
        self.run = json.loads(json_text({"format": FORMAT, **run}))
        check_folder(folder)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the folder, and in it this run, against other trainings until the block ends; the
        first of several processes does it for all.

        A run has a lock of its own because a process that trains for another one outlives a kill
        of that by a step: it is waited for.

        Raises
        ------
        CheckpointError
            If another process is using it, or the folder cannot be created or written to.
        """
        with ExitStack() as held:
            processes.bytes_of_first(partial(self._lock, held))
            yield

    def _lock(self, held: ExitStack) -> None:
        if not self.within:
            held.enter_context(only_process(self.folder))
        own = self.folder / f"{_LOCK}-{self.phase}"
        holder = held.enter_context(locked(own, wait=_ORPHANS))
        if holder is not None:
            raise _in_use(self.folder, holder)

    def newest(self) -> Checkpoint | None:
        """The newest undamaged checkpoint; None if there are no checkpoints. The first of several
        processes reads it for all.

        Raises
        ------
        CheckpointError
            If it belongs to another run, or every checkpoint is damaged.
        """
        data = processes.bytes_of_first(self._newest)
        return None if data is None else _unpacked(data)

    def _newest(self) -> bytes | None:
        files = self._files()
        for path in reversed(files):
            data = _read(path)
            if data is None:
                log.warning("the checkpoint %s is damaged; using the one before it", path)
                continue
            if different := _differences(_unpacked(data).values["run"], self.run):
                raise CheckpointError(
                    f"{self.folder} holds checkpoints of another run ({'; '.join(different)}); "
                    "use the settings and data it was started with, or another folder"
                )
            return data
        if files:
            raise CheckpointError(
                f"every checkpoint in {self.folder} is damaged; remove the folder to train from "
                "scratch"
            )
        return None

    def save(self, state: Checkpoint) -> None:
        """Write a checkpoint, and remove all but the newest `KEPT`; only the first of several
        processes does. Where it cannot be written, as on a full disk, training goes on without,
        which is told once until one can be."""
        if not processes.leads():
            return
        try:
            self._save(state)
        except OSError as error:
            if self.folder not in _FAILING:  # an error, because the command line shows no warnings
                log.error(
                    "no checkpoint could be written in %s (%s), so an interrupted training will "
                    "not resume from here; training goes on: make room there before it ends",
                    self.folder,
                    error.strerror or error,
                )
            _FAILING.add(self.folder)
        else:
            _FAILING.discard(self.folder)

    def _save(self, state: Checkpoint) -> None:
        text = json_text({**state.values, "run": self.run, "seed": self.seed})
        values = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        tensors = {name: t.detach().cpu().contiguous() for name, t in state.tensors.items()}
        data = save({**tensors, _VALUES: values})
        self.folder.mkdir(parents=True, exist_ok=True)
        files = self._files()
        number = 1 + (int(files[-1].name.split("-")[-2]) if files else 0)
        name = f"{self.phase}-{number:08d}-{hashlib.sha256(data).hexdigest()}.safetensors"
        write_whole(self.folder / name, data)
        for path in [*files[: 1 - KEPT], *self.folder.glob(f".{self.phase}-*.tmp")]:
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """Checkpoint files of this run, oldest first."""
        return sorted(self.folder.glob(f"{self.phase}-{'[0-9]' * 8}-*.safetensors"))


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Lock a folder of checkpoints, which is created, against other processes until the block ends.

    Raises
    ------
    CheckpointError
        As `Checkpoints.alone`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _LOCK).touch()
    except OSError as error:
        raise CheckpointError(
            f"resume must be a writable folder, found {folder} ({error}); choose another folder"
        ) from error
    with locked(folder / _LOCK) as holder:
        if holder is not None:
            raise _in_use(folder, holder)
        yield


def _in_use(folder: Path, holder: str) -> CheckpointError:
    return CheckpointError(
        f"{folder} is in use: {holder} is training there; wait for it to finish, "
        "stop it, or choose another folder"
    )


def seed_of(folder: str | PathLike[str]) -> int | None:
    """Seed that the call whose checkpoints are in a folder started with; None if there is no
    undamaged one."""
    for path in sorted(Path(folder).glob("*-*.safetensors")):
        if (data := _read(path)) is not None:
            values = _unpacked(data).values
            seed = values.get("seed")  # None in those of earlier versions
            return values["run"]["training"]["seed"] if seed is None else seed
    return None


def check_folder(folder: str | PathLike[str]) -> None:
    """Reject a path that cannot be a checkpoint folder.

    Raises
    ------
    CheckpointError
        If it is a file, or a folder with anything but checkpoints, such as a saved model, which
        would no longer be one with checkpoints in it.
    """
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise CheckpointError(f"resume must be a folder for checkpoints, {folder} is a file")
    if not path.exists():
        return
    others = sorted(one.name for one in path.iterdir() if not _OWN.fullmatch(one.name))
    if others:
        raise CheckpointError(
            f"resume must be a new or empty folder, or one of checkpoints only; {folder} holds "
            f"{listing(others, 3)}; name another folder"
        )


def _read(path: Path) -> bytes | None:
    """Content of a checkpoint file; None if it does not match the hash in its name."""
    data = path.read_bytes()
    return data if hashlib.sha256(data).hexdigest() == path.stem.split("-")[-1] else None


def _unpacked(data: bytes) -> Checkpoint:
    tensors = load(data)
    values = tensors.pop(_VALUES)
    return Checkpoint(tensors, json.loads(values.numpy().tobytes()))


def _differences(theirs: Any, ours: Any, name: str = "") -> list[str]:
    """Differences between two descriptions of a run."""
    if theirs == ours:
        return []
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return [
            text
            for key in dict.fromkeys([*theirs, *ours])
            for text in _differences(theirs.get(key), ours.get(key), f"{name}.{key}".lstrip("."))
        ]
    if name.endswith("data"):
        return [f"its {name} differs"]
    return [f"its {name} is {theirs!r}, here {ours!r}"]


def data_hash(value: Any) -> str:
    """SHA-256 of all tensors and plain values in an object that holds data.

    A view is hashed with its whole storage, so overlapping windows cost no more than the table they
    are taken from.
    """
    digest = hashlib.sha256()
    _add(digest, value)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        facts = (value.dtype, tuple(value.shape), value.stride(), value.storage_offset())
        digest.update(repr(facts).encode())
        memory = torch.empty(0, dtype=torch.uint8, device=value.device).set_(
            value.untyped_storage()  # type: ignore[arg-type]
        )
        for part in memory.split(_AT_ONCE):
            digest.update(part.cpu().numpy())
    elif isinstance(value, torch.nn.Module):
        _add(digest, value.state_dict())
    elif isinstance(value, Mapping):
        for key in value:
            digest.update(str(key).encode())
            _add(digest, value[key])
    elif value is None or isinstance(value, (str, bool, int, float)):
        digest.update(f"{type(value).__name__} {value!r};".encode())
    else:  # one of our own objects: windows, cases
        digest.update(type(value).__name__.encode())
        # where the values lie makes no difference
        _add(digest, {name: one for name, one in vars(value).items() if name != "mapped"})
