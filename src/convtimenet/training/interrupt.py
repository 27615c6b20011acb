"""Stop training on SIGINT or SIGTERM between two steps rather than in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from convtimenet import processes

# Only Python's default handlers are replaced temporarily; a user's own handlers stay in force.
_DEFAULT_HANDLERS: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


class Terminated(SystemExit):
    """SIGTERM ended training cleanly; the process exits with 143, as after the signal."""

    def __init__(self, message: str):
        super().__init__(128 + signal.SIGTERM)
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass
class StopRequest:
    """The signal that requested a stop, 0 for none."""

    signal: int = 0
    received: int = 0
    """The same in this process alone: several that train together stop at the same step."""

    @property
    def name(self) -> str:
        """Name of the signal."""
        return signal.Signals(self.signal).name

    def agree(self) -> None:
        """Take over a signal that any of the processes has received."""
        (self.signal,) = processes.agreed(max(self.signal, self.received))

    def error(self, message: str) -> BaseException:
        """The exception that corresponds to the signal."""
        return Terminated(message) if self.signal == signal.SIGTERM else KeyboardInterrupt(message)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Record SIGINT and SIGTERM instead of acting on them; a second signal acts as usual.

    Does nothing outside the main thread, where Python handles no signals.
    """
    request = StopRequest()

    def note(number: int, frame: Any) -> None:
        if request.received:
            signal.signal(number, _DEFAULT_HANDLERS[number])
            signal.raise_signal(number)
        request.received = number
        if processes.count() == 1:
            request.signal = number

    replaced: list[int] = []
    if threading.current_thread() is threading.main_thread():
        replaced = [n for n, usual in _DEFAULT_HANDLERS.items() if signal.getsignal(n) == usual]
    for number in replaced:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number in replaced:
            signal.signal(number, _DEFAULT_HANDLERS[number])
