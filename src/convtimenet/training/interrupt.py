"""Stopping a training on SIGINT or SIGTERM between two steps instead of in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# Handlers of the user's own stay in force: only Python's usual ones are replaced for a while.
_USUAL: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


class Terminated(SystemExit):
    """SIGTERM ended a training in good order; the process exits with 143 as after the signal."""

    def __init__(self, message: str):
        super().__init__(128 + signal.SIGTERM)
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass
class StopRequest:
    """The signal that asked for an end, 0 for none."""

    signal: int = 0

    @property
    def name(self) -> str:
        """What the signal is called."""
        return signal.Signals(self.signal).name

    def error(self, message: str) -> BaseException:
        """What the signal stands for as an exception."""
        return Terminated(message) if self.signal == signal.SIGTERM else KeyboardInterrupt(message)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Note SIGINT and SIGTERM inside instead of dying of them; the second one acts as usual.

    Outside the main thread, where Python handles no signals, nothing is changed.
    """
    request = StopRequest()

    def note(number: int, frame: Any) -> None:
        if request.signal:
            signal.signal(number, _USUAL[number])
            signal.raise_signal(number)
        request.signal = number

    ours: list[int] = []
    if threading.current_thread() is threading.main_thread():
        ours = [number for number, usual in _USUAL.items() if signal.getsignal(number) == usual]
    for number in ours:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number in ours:
            signal.signal(number, _USUAL[number])
