"""Processes that begin in a moment: a server that has imported what a training needs forks them.

An interpreter of its own takes seconds of the processor to come as far. What depends on the
environment of a fresh one (hashes, the allocator, what is imported by whom) needs one all the same.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

PRELOADED = [
    "convtimenet.estimators.forecasting.forecaster",
    "convtimenet.estimators.classifier",
    "pandas",
    "torch._dynamo",
]


class Forked:
    """``python -c code arguments`` in the present folder, with one thread; its outputs as text.

    Attributes
    ----------
    returncode
        As of `subprocess.Popen`, set by `communicate`.
    """

    def __init__(self, code: str, *arguments: object, **environment: str):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self._outputs = tempfile.TemporaryDirectory()
        given = ["-c", *map(str, arguments)], environment, self._outputs.name
        self._process = context.Process(target=_run, args=(code, *given))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self.returncode: int | None = None

    def running(self) -> bool:
        return self._process.is_alive()

    def send_signal(self, number: int) -> None:
        if self.running():
            os.kill(self.pid, number)

    def join(self) -> None:
        self._process.join()

    def first_line(self, timeout: float = 300) -> str:
        """Wait for the first line of its output."""
        path, end = Path(self._outputs.name) / "1", time.monotonic() + timeout
        while not (path.exists() and "\n" in (text := path.read_text(encoding="utf-8"))):
            assert self.running(), self.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.01)
        return text.partition("\n")[0]

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for its end; it is killed if that takes longer. Returns what it wrote."""
        self._process.join(timeout)
        late = self.running()
        if late:
            self._process.kill()
            self._process.join()
        self.returncode = self._process.exitcode
        paths = [Path(self._outputs.name) / number for number in "12"]
        out, err = (one.read_text(encoding="utf-8") if one.exists() else "" for one in paths)
        self._outputs.cleanup()
        assert not late, f"no end within {timeout} s: {out}{err}"
        return out, err


def _run(code: str, arguments: list[str], environment: dict[str, str], outputs: str) -> None:
    import torch

    sys.stdout.flush()
    sys.stderr.flush()
    for number in (1, 2):
        path = os.path.join(outputs, str(number))
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ |= environment
    sys.argv = arguments
    torch.set_num_threads(1)
    exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})
