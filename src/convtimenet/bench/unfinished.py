"""Cells that a kill interrupted: their checkpoints, and the time that they had taken.

Beside the results lies a folder for each long cell that runs. The cell's line has its place once it
is written; until then the folder is kept, so that the next run goes on from it.
"""

from __future__ import annotations

import hashlib
import json
import re
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convtimenet import __version__
from convtimenet.bench.machine import commit_of_package
from convtimenet.bench.matrix import Cell, Matrix
from convtimenet.files import json_text, write_whole

__all__ = ["Spent", "folder_of", "remove"]

_LONG = 600.0
"""Estimated CPU seconds from which a cell is kept; below, running it again costs little, and no
checkpoint is written between its clocks."""
_EVERY = 5.0
"""Seconds between two notes of the time taken."""
_NOTE = "spent.json"


def folder_of(out: Path, matrix: Matrix, cell: Cell, estimated: float | None) -> Path | None:
    """Where a cell is kept while it runs; None if it is not.

    The name stands for what would be computed: model, data, version and commit. Changes that are
    not committed have no name, so nothing can go on from what they computed.
    """
    if estimated is not None and estimated < _LONG:
        return None
    commit = commit_of_package()
    if (commit or "").endswith("+"):
        return None
    what = [matrix.fingerprint(cell), matrix.data(cell), __version__, commit]
    digest = hashlib.sha256(json_text(what).encode()).hexdigest()[:16]
    return _all(out) / f"{_name(cell)}-{digest}"


def remove(out: Path, cell: Cell) -> None:
    """Remove all that is kept of a cell, also by earlier settings."""
    every = _all(out)
    for folder in every.glob(f"{_name(cell)}-{'[0-9a-f]' * 16}"):
        shutil.rmtree(folder)
    if every.exists() and not any(every.iterdir()):
        every.rmdir()


def _all(out: Path) -> Path:
    return out.with_name(f"{out.name}.unfinished")


def _name(cell: Cell) -> str:
    """The cell's name with only letters that every file system takes and no pattern reads."""
    return re.sub(r"[^\w.-]", "_", cell.key)


class Spent:
    """CPU and wall seconds of a cell since it began, those before a kill included.

    Parameters
    ----------
    folder
        Where the time is noted while the cell runs; None notes nothing.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        found: dict[str, Any] = {}
        if folder is not None and (folder / _NOTE).exists():
            found = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
        self.before = found.get("cpu", 0.0), found.get("wall", 0.0)
        self.memory: int = found.get("memory", 0)
        self.kills: int = found.get("starts", 0)
        """Number of times that the cell had been started before."""
        self.begin = (0.0, 0.0)

    @property
    def checkpoints(self) -> Path | None:
        """Folder for the checkpoints of the cell's training."""
        return None if self.folder is None else self.folder / "checkpoints"

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Start the clocks, and note the time every few seconds until the block ends."""
        self.begin = _now()
        if self.folder is None:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        ended = threading.Event()
        thread = threading.Thread(target=self._note, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _note(self, ended: threading.Event) -> None:
        assert self.folder is not None
        while True:
            cpu, wall = self.clocks()
            found = {"cpu": cpu, "wall": wall, "memory": self.peak(), "starts": self.kills + 1}
            write_whole(self.folder / _NOTE, json_text(found).encode())
            if ended.wait(_EVERY):
                return

    def clocks(self) -> tuple[float, float]:
        """CPU seconds of this process and its children, and wall seconds, since `noted` began,
        after those before a kill."""
        cpu, wall = _now()
        return cpu - self.begin[0] + self.before[0], wall - self.begin[1] + self.before[1]

    def peak(self) -> int:
        """The largest memory so far, in MiB."""
        own = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return max(own, self.memory)


def _now() -> tuple[float, float]:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime, time.perf_counter()
