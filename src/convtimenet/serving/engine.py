"""One thread that computes: requests that arrive while it works are answered together.

Reading a request and writing its answer is Python, which several threads would only take turns at;
so one thread takes all requests that wait, reads them, computes those of the same kind in one batch
of the network, and writes the answers. A request that arrives at an idle server waits for nothing.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from convtimenet.serving.metrics import Metrics
from convtimenet.serving.models import Served
from convtimenet.serving.refusals import Refused
from convtimenet.serving.settings import ServeSettings
from convtimenet.wording import written_for

_TOGETHER = 64  # most requests that are computed in one batch

Prepare = Callable[[], tuple[Served, Any]]
"""Reads a request: the model, and what it is asked."""
Finish = Callable[[Any, Any], Any]
"""Writes an answer, from what was asked and what the model found."""


class _Job:
    def __init__(self, prepare: Prepare, finish: Finish, loop: asyncio.AbstractEventLoop):
        self.prepare, self.finish, self.loop = prepare, finish, loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.served: Any = None
        self.asked: Any = None

    def read(self) -> bool:
        """Read the request; False if that failed or nobody waits for it any more."""
        if self.future.cancelled():
            return False
        try:
            self.served, self.asked = self.prepare()
        except Exception as error:  # noqa: BLE001 - the handler that waits for it says what it is
            self.fail(error)
            return False
        return True

    def answer(self, found: Any) -> None:
        try:
            answer = self.finish(self.asked, found)
        except Exception as error:  # noqa: BLE001 - as above
            self.fail(error)
        else:
            self._tell(lambda: self.future.set_result(answer))

    def fail(self, error: Exception) -> None:
        self._tell(lambda: self.future.set_exception(error))

    def _tell(self, set_it: Callable[[], None]) -> None:
        def tell() -> None:
            if not self.future.done():
                set_it()

        self.loop.call_soon_threadsafe(tell)


class Engine:
    """The thread and the requests that wait for it."""

    def __init__(self, settings: ServeSettings, metrics: Metrics):
        self.settings, self.metrics = settings, metrics
        self.waiting: deque[_Job] = deque()
        """Requests that nobody has begun to compute."""
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="convtimenet-serve", daemon=True)

    @property
    def ready(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Answer what waits, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    async def run(self, prepare: Prepare, finish: Finish, timed: bool = True) -> Any:
        """The answer to a request; if not `timed`, after any time.

        Raises
        ------
        Refused
            If too many requests wait, or the time is over.
        ConvTimeNetError
            If the request cannot be answered as it is.
        """
        job = _Job(prepare, finish, asyncio.get_running_loop())
        with self._changed:
            if len(self.waiting) >= self.settings.queue:
                raise Refused(
                    429,
                    f"{len(self.waiting)} requests are waiting, the most that this server takes; "
                    "try again in a second",
                    {"retry-after": "1"},
                )
            self.waiting.append(job)
            self.metrics.waiting.set(len(self.waiting))
            self._changed.notify()
        try:
            async with asyncio.timeout(self.settings.seconds if timed else None):
                return await job.future
        except TimeoutError:
            raise Refused(
                504,
                f"expected an answer within {self.settings.seconds:g} s, found none; send less at "
                "a time, or try again later",
            ) from None
        finally:
            self._leave(job)

    def _leave(self, job: _Job) -> None:
        """Keep no place for a request that nobody waits for any more."""
        with self._changed:
            if job in self.waiting:
                self.waiting.remove(job)
                self.metrics.waiting.set(len(self.waiting))

    def _work(self) -> None:
        with written_for("client"):
            while jobs := self._take():
                self._compute(jobs)

    def _compute(self, jobs: Sequence[_Job]) -> None:
        groups: dict[Any, list[_Job]] = {}
        for job in jobs:
            if job.read():
                key = job.served.name, job.served.kind(job.asked)
                groups.setdefault(key, []).append(job)
        for group in groups.values():
            try:
                self._answer(group)
            except Exception as error:  # noqa: BLE001 - the thread must outlive any request
                for job in group:
                    job.fail(error)

    def _take(self) -> list[_Job]:
        """The requests that wait, at least one; none once the engine is closed."""
        with self._changed:
            while not self.waiting and not self._closed:
                self._changed.wait()
            few = min(_TOGETHER, len(self.waiting))
            jobs = [self.waiting.popleft() for _ in range(few)]
            self.metrics.waiting.set(len(self.waiting))
            return jobs

    def _answer(self, group: Sequence[_Job]) -> None:
        """Compute requests of one kind together; or each alone, if one of them is at fault."""
        served = group[0].served
        try:
            found = served.answers([job.asked for job in group])
        except Exception as error:  # noqa: BLE001 - the handlers that wait say what it is
            if len(group) == 1:
                group[0].fail(error)
                return
            for job in group:
                self._answer([job])
            return
        self.metrics.batches.labels(served.name).observe(len(group))
        for job, one in zip(group, found, strict=True):
            job.answer(one)
