"""Processes of this machine that work on the parts of a job.

Each is a pool of its own, so that the part that ends a process is known. Such a part is tried again
when no other process takes memory; if it ends that one, too, it has failed, and the rest goes on.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from convtimenet.bulk.parts import Part
from convtimenet.bulk.work import Outcome, Work
from convtimenet.errors import ConfigError

__all__ = ["map_parts"]

log = logging.getLogger(__name__)

_TRIES = 3
"""Parts that end their process before any is done, after which the job ends."""
_LOOK = 0.5
"""Seconds between looks at who started a process."""


def map_parts(
    work: Work,
    parts: Sequence[Part],
    workers: int | None,
    address: str | None,
    tick: Callable[[float], None],
) -> list[Outcome]:
    """Work on every part in this process, or in several.

    Raises
    ------
    ConfigError
        If parts end their processes and none is done.
    """
    found: list[Outcome] = []

    def keep(outcome: Outcome) -> None:
        found.append(outcome)
        tick(1)

    if workers in (None, 1):
        for part in parts:
            keep(work(part))
        return found
    todo, killed = deque(parts), 0
    while todo:
        for part in _together(work, todo, workers, keep):
            if killed == len(found) and killed >= _TRIES:
                raise ConfigError(
                    f"each of the first {killed} parts ended its process, maybe for its memory, "
                    f"also without others beside it; {len(parts) - killed} parts are left: go on "
                    "with more memory, or in another folder with fewer rows_per_part"
                )
            outcome, ended = _alone(work, part)
            killed += ended
            keep(outcome)
    return found


def _together(
    work: Work, todo: deque[Part], workers: int, keep: Callable[[Outcome], None]
) -> list[Part]:
    """Take parts from the left until there are none, or so many have ended their processes that
    there may be too many of these; returns those parts."""
    idle = [_process() for _ in range(min(workers, len(todo)))]
    busy: dict[Any, tuple[Any, Part]] = {}
    lost: list[Part] = []
    try:
        while busy or (todo and len(lost) < max(_TRIES, workers)):
            while idle and todo and len(lost) < max(_TRIES, workers):
                pool, part = idle.pop(), todo.popleft()
                try:
                    future = pool.submit(work, part)
                except BrokenProcessPool:  # killed while it had nothing to do
                    pool.shutdown()
                    pool = _process()
                    future = pool.submit(work, part)
                busy[future] = pool, part
            for future in wait(busy, return_when=FIRST_COMPLETED).done:
                pool, part = busy.pop(future)
                idle.append(pool)
                try:
                    keep(future.result())
                except BrokenProcessPool:
                    log.warning("%s: its process was killed; it is tried again alone", part.name)
                    lost.append(part)
                    idle.pop().shutdown()
                    idle.append(_process())
    finally:
        for pool in [*idle, *(pool for pool, _ in busy.values())]:
            pool.shutdown()
    return lost


def _alone(work: Work, part: Part) -> tuple[Outcome, bool]:
    """What becomes of a part without others beside it, and whether it ended its process."""
    pool = _process()
    try:
        return pool.submit(work, part).result(), False
    except BrokenProcessPool as error:
        ended = re.search(r"\{(.+?)\}", str(error))
        return work.lost(part, "no exit code" if ended is None else ended[1]), True
    finally:
        pool.shutdown()


def _process() -> Any:
    """A process that does not run the caller's script again, so that this needs no guard."""
    from joblib.externals.loky import ProcessPoolExecutor

    return ProcessPoolExecutor(1, initializer=_begin, initargs=(os.getpid(),))


def _begin(parent: int) -> None:
    """In a process: leave Ctrl-C to the one that started it, which lets parts end, and end with it
    if it is killed, also before this."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
