"""The child process as its parent sees it: commands and answers as lines of JSON over pipes.

It reads the files of strangers and trains, so that neither can take the server down and a stop is
a kill.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from convtimenet.serving.refusals import Refused

LOOKING = 120.0
"""Seconds that anything but training may take."""


class Ended(Exception):
    """The process ended before it answered."""


class Worker:
    """One child process, which does one thing at a time.

    Parameters
    ----------
    folder
        Its working folder; commands name files in it. The process removes it if the server dies.
    most_bytes
        How much a file may hold once it is unpacked; None for as much as on the command line.
    """

    def __init__(self, folder: Path, most_bytes: int | None = None):
        self.folder, self.most_bytes = folder, most_bytes
        self._busy = threading.Lock()
        self._starting = threading.Lock()
        self._closed = False
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the process if there is none, unless this is closed."""
        with self._starting:  # two at once would start two, and forget one
            if self._closed or (self._process is not None and self._process.poll() is None):
                return
            self._process = subprocess.Popen(
                # -P: modules of the folder, which holds files of users, are not imported
                [sys.executable, "-P", "-m", "convtimenet.serving.workbench.child"]
                + ([] if self.most_bytes is None else [str(self.most_bytes)]),
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is for the server, which ends it
            )

    def ask(
        self,
        command: dict[str, Any],
        heard: Callable[[dict[str, Any]], None] | None = None,
        seconds: float | None = LOOKING,
    ) -> dict[str, Any]:
        """The answer to a command; `heard` gets what the process says meanwhile.

        Raises
        ------
        Refused
            If it does something else for long, or finds the command wrong.
        Ended
            If it was stopped, took too long or crashed.
        """
        if not self._busy.acquire(timeout=LOOKING):
            raise Refused(409, "expected an idle program, found it at work; wait, or stop it")
        timer = threading.Timer(seconds, self.stop) if seconds is not None else None
        over = False
        try:
            self.start()
            process = self._process
            if process is None:
                raise Ended("the program stops")
            assert process.stdin is not None
            assert process.stdout is not None
            if timer is not None:
                timer.daemon = True
                timer.start()
            try:
                process.stdin.write(json.dumps(command) + "\n")
                process.stdin.flush()
            except OSError:  # it has ended; below says how
                pass
            for line in process.stdout:
                if not line.endswith("\n"):  # it died while it wrote
                    break
                said = json.loads(line)
                over = "error" in said or "done" in said
                if "error" in said:
                    raise Refused(422, said["error"])
                if "done" in said:
                    return said["done"]
                if heard is not None:
                    heard(said)
            code, over = process.wait(), True
            raise Ended(f"exit code {code}")
        finally:
            if timer is not None:
                timer.cancel()
            if not over:  # what it says later would be taken for the next answer
                self.stop()
            self._busy.release()

    def stop(self) -> None:
        """End the process at once; the next command starts another."""
        process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End the process for good."""
        with self._starting:
            self._closed = True
        self.stop()
