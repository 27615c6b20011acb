"""States of an unfinished training on disk, so that it can go on after a kill.

A state is one file: safetensors, with the JSON values as a tensor of bytes. Its name ends in the
SHA-256 of its content, so one rename makes state and checksum appear together.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from convtimenet.errors import CheckpointError
from convtimenet.files import json_text, locked, write_whole

log = logging.getLogger(__name__)

FORMAT = 1
KEPT = 2
"""States kept of each training: the newest, and one to fall back to."""
_VALUES, _LOCK = "values.json", ".lock"


@dataclass(frozen=True)
class Checkpoint:
    """A state: tensors, and the rest as plain JSON values."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


class Checkpoints:
    """The states of one training in a folder.

    Parameters
    ----------
    folder
        Made with its parents when training begins.
    phase
        Name of the training: several may share a folder.
    run
        What tells this training from others, as plain values (`fingerprint`).

    Raises
    ------
    CheckpointError
        If the folder is a file.
    """

    def __init__(self, folder: str | PathLike[str], phase: str, run: Mapping[str, Any]):
        self.folder, self.phase = Path(folder), phase
        self.run = json.loads(json_text({"format": FORMAT, **run}))
        check_folder(folder)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other training out of the folder while the block runs.

        Raises
        ------
        CheckpointError
            If one is in it, or the folder cannot be made or written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / _LOCK).touch()
        except OSError as error:
            raise CheckpointError(
                f"resume must be a folder that can be written to, found {self.folder} ({error}); "
                "give another folder"
            ) from error
        with locked(self.folder / _LOCK) as holder:
            if holder is not None:
                raise CheckpointError(
                    f"{self.folder} is in use: {holder} is training into it; wait for that to end "
                    "or stop it, or give another folder"
                )
            yield

    def newest(self) -> Checkpoint | None:
        """The newest undamaged state; None where there is none at all.

        Raises
        ------
        CheckpointError
            If it is of another run, or every state is damaged.
        """
        files = self._files()
        for path in reversed(files):
            found = _read(path)
            if found is None:
                log.warning("the checkpoint %s is damaged; the one before it is taken", path)
                continue
            if different := _differences(found.values["run"], self.run):
                raise CheckpointError(
                    f"{self.folder} holds the training of another run ({'; '.join(different)}); "
                    "give the settings and data it was started with, or another folder"
                )
            return found
        if files:
            raise CheckpointError(
                f"every checkpoint in {self.folder} is damaged; remove the folder to train from "
                "the start"
            )
        return None

    def save(self, state: Checkpoint) -> None:
        """Write a state, and remove what is older than the last `KEPT`."""
        text = json_text({**state.values, "run": self.run})
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
        """State files of this training, oldest first."""
        return sorted(self.folder.glob(f"{self.phase}-{'[0-9]' * 8}-*.safetensors"))


def seed_of(folder: str | PathLike[str]) -> int | None:
    """Seed of the training whose states lie in a folder; None where there is no undamaged one."""
    for path in sorted(Path(folder).glob("*-*.safetensors"), reverse=True):
        if (found := _read(path)) is not None:
            return found.values["run"]["training"]["seed"]
    return None


def check_folder(folder: str | PathLike[str]) -> None:
    """Refuse what cannot be a folder of checkpoints.

    Raises
    ------
    CheckpointError
        If it is a file.
    """
    if Path(folder).exists() and not Path(folder).is_dir():
        raise CheckpointError(f"resume must be a folder for checkpoints, {folder} is a file")


def _read(path: Path) -> Checkpoint | None:
    """The state in a file; None if its content is not what its name promises."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != path.stem.split("-")[-1]:
        return None
    tensors = load(data)
    values = tensors.pop(_VALUES)
    return Checkpoint(tensors, json.loads(values.numpy().tobytes()))


def _differences(theirs: Any, ours: Any, name: str = "") -> list[str]:
    """Where two descriptions of a run differ."""
    if theirs == ours:
        return []
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return [
            text
            for key in dict.fromkeys([*theirs, *ours])
            for text in _differences(theirs.get(key), ours.get(key), f"{name}.{key}".lstrip("."))
        ]
    if name.endswith("data"):
        return [f"its {name} is other"]
    return [f"its {name} is {theirs!r}, here {ours!r}"]


def data_hash(value: Any) -> str:
    """SHA-256 over everything in an object that holds data: tensors and plain values.

    A view counts with all the memory it looks at, so that overlapping windows cost no more than
    the table they are cut from.
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
        digest.update(memory.cpu().numpy())
    elif isinstance(value, Mapping):
        for key in value:
            digest.update(str(key).encode())
            _add(digest, value[key])
    elif value is None or isinstance(value, (str, bool, int, float)):
        digest.update(f"{type(value).__name__} {value!r};".encode())
    else:  # an object of ours: windows, cases
        digest.update(type(value).__name__.encode())
        _add(digest, vars(value))
