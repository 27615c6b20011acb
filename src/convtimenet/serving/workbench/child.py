"""The child process: reads commands from standard input, one line of JSON each, and answers.

It runs in the folder of uploads. When standard input ends, the server is gone: the process removes
the folder and ends, even in the middle of training.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import shutil
import sys
import threading
import traceback
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from convtimenet.callbacks import TrainingProgress
from convtimenet.data.files.raw import reading_at_most
from convtimenet.errors import ConvTimeNetError
from convtimenet.progress import Display, shown_on
from convtimenet.wording import written_for

_EVERY = 0.25  # seconds between messages about progress


class Said:
    """The channel to the server."""

    def __init__(self, file: TextIO):
        self.file, self.lock = file, threading.Lock()

    def __call__(self, **message: Any) -> None:
        with self.lock:
            self.file.write(json.dumps(message) + "\n")
            self.file.flush()


class Screen:
    """Sends what a progress display shows."""

    def __init__(self, said: Said):
        self.said, self.over = said, threading.Event()

    def open(self, display: Display) -> None:
        self.thread = threading.Thread(target=self._tell, args=(display,), daemon=True)
        self.thread.start()

    def _tell(self, display: Display) -> None:
        while True:
            task = display.task
            if task is not None:
                self.said(
                    progress={
                        "name": task.name,
                        "share": task.share,
                        "times": task.times().strip(),
                        "note": task.note,
                    }
                )
            if self.over.wait(_EVERY):
                return

    def moved(self, display: Display) -> None:
        """Nothing to do: a thread samples the task."""

    def say(self, line: str) -> None:
        self.said(progress={"name": line, "share": None, "times": "", "note": ""})

    def close(self, display: Display, last: str) -> None:
        self.over.set()
        self.thread.join()
        self.say("working")


class Losses:
    """Sends the losses of every epoch."""

    def __init__(self, said: Said):
        self.said = said

    def on_epoch_end(self, progress: TrainingProgress) -> None:
        losses = {"train": progress.train_loss, "valid": progress.valid.get(progress.loss)}
        self.said(
            epoch={
                "training": progress.training,
                "epochs": progress.epochs,
                **{key: loss if _finite(loss) else None for key, loss in losses.items()},
            }
        )


def _finite(loss: float | None) -> bool:
    return loss is not None and math.isfinite(loss)


def main(most_bytes: int | None = None) -> None:
    """Answer until standard input ends. Files hold at most `most_bytes` once they are unpacked."""
    said = Said(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)  # what libraries print is no answer
    commands: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(commands, Path.cwd()), daemon=True).start()
    logging.getLogger("convtimenet").setLevel(logging.ERROR)  # notices are shown on the page
    from convtimenet.serving.workbench import filling, recordings, tables

    callbacks = [Losses(said)]
    tasks = {
        "kind": recordings.kind,
        "look": tables.look,
        "forecast": partial(tables.forecast, callbacks=callbacks),
        "impute": filling.impute,
        "detect": filling.detect,
        "look at recordings": recordings.look,
        "train on recordings": partial(recordings.train, callbacks=callbacks),
        "label": recordings.label,
    }
    while True:
        command = commands.get()
        do = tasks[command.pop("do")]
        try:
            screen = shown_on(lambda: Screen(said))
            with written_for("page"), reading_at_most(most_bytes), screen:
                answer = do(**command)
        except ConvTimeNetError as error:
            said(error=str(error))
        except OSError as error:
            said(error=f"expected to read and write files, found: {error.strerror}; free some disk")
        except Exception as error:  # noqa: BLE001 - the page must hear of it
            traceback.print_exc()
            said(
                error=f"an error in the program ({type(error).__name__}), which its terminal "
                "describes; report it with your settings"
            )
        else:
            said(done=answer)


def _listen(commands: queue.Queue[dict[str, Any]], folder: Path) -> None:
    for line in sys.stdin:
        commands.put(json.loads(line))
    while folder.exists():  # training may write to it meanwhile
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
