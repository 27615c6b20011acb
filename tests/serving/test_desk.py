"""The state behind the page of `convtimenet app`, and the process that works for it."""

from __future__ import annotations

import io
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from convtimenet.serving.refusals import Refused
from convtimenet.serving.workbench.asked import Columns, Look, Train
from convtimenet.serving.workbench.desk import Desk
from convtimenet.serving.workbench.worker import Ended, Worker


class Slow:
    """A worker that does nothing, and is as slow as a test wants it to be."""

    def __init__(self, desk: Desk):
        self.folder, self.commands = desk.folder, []
        self.begun, self.released = threading.Event(), threading.Event()
        self.released.set()

    def ask(
        self,
        command: dict[str, Any],
        heard: Callable[[dict[str, Any]], None] | None = None,
        seconds: float | None = 1,
    ) -> dict[str, Any]:
        self.commands.append(command)
        self.begun.set()
        assert self.released.wait(60)
        if heard is None:
            return {"chosen": {}}
        heard({"progress": {"name": command["do"], "share": 0.5, "times": "", "note": ""}})
        (self.folder / command["folder"]).mkdir()
        return {"kind": "recordings", "title": command["name"]}

    def start(self) -> None: ...

    def stop(self) -> None: ...

    close = stop


@pytest.fixture
def desk() -> Iterator[Desk]:
    one = Desk("cpu")
    one.worker = cast(Any, Slow(one))
    yield one
    one.close()


def slow(desk: Desk) -> Slow:
    return cast(Slow, desk.worker)


@pytest.mark.parametrize(
    "act",
    [
        lambda desk: desk.train(Train(h=3)),
        lambda desk: desk.look(Look(columns=Columns(freq="W"))),
        lambda desk: desk.put("data", "b.csv", b"date,y\n"),
        lambda desk: desk.sample("meter"),
    ],
    ids=["train", "look", "put", "sample"],
)
def test_what_is_asked_while_a_file_is_read_waits_for_it(desk: Desk, act):
    """It came between the question and its answer: a run was lost, with its answer unread."""
    desk.put("data", "a.csv", b"date,y\n")
    desk.look(Look())
    worker = slow(desk)
    worker.begun.clear()
    worker.released.clear()
    first = threading.Thread(target=desk.look, args=(Look(columns=Columns(freq="D")),))
    first.start()
    assert worker.begun.wait(60)
    asked = len(worker.commands)
    second = threading.Thread(target=act, args=(desk,))
    second.start()
    second.join(0.2)
    before = desk.snapshot()
    assert second.is_alive()
    assert (len(worker.commands), before["job"]) == (asked, None)
    assert before["files"] == {"data": "a.csv"}
    assert (desk.folder / "data.csv").read_bytes() == b"date,y\n"
    worker.released.set()
    first.join()
    second.join()
    if desk._thread is not None:  # the run has the columns that were read before it
        desk._thread.join()
        assert worker.commands[-1]["columns"]["freq"] == "D"
        assert desk.snapshot()["job"]["state"] == "done"
        assert desk.snapshot()["result"]["title"] == "a.csv"


def test_a_run_that_was_stopped_has_ended_before_the_next_thing(desk: Desk):
    """It looked for its job when a look had taken it away."""
    desk.put("data", "a.csv", b"date,y\n")
    desk.look(Look())
    worker = slow(desk)
    worker.begun.clear()
    worker.released.clear()
    desk.train(Train(h=3))
    assert worker.begun.wait(60)
    run = desk._thread
    assert run is not None
    stopping = threading.Thread(target=desk.stop)
    stopping.start()
    while desk.snapshot()["job"]["state"] == "running":
        time.sleep(0.001)
    look = threading.Thread(target=desk.look, args=(Look(),))
    look.start()
    look.join(0.2)
    assert desk.snapshot()["job"]["state"] == "stopped"
    worker.released.set()
    for one in (stopping, look, run):
        one.join()
    assert (desk.snapshot()["job"], desk.snapshot()["result"]) == (None, None)


def test_a_label_column_counts_once_its_file_was_read(desk: Desk, monkeypatch):
    """A run after a refused look used the column of the look."""
    desk.put("data", "a.ts", b"x")
    desk.look(Look(label_col="first"))

    def refuse(*_: Any) -> Any:
        raise Refused(422, "no")

    monkeypatch.setattr(desk.worker, "ask", refuse)
    with pytest.raises(Refused):
        desk.look(Look(label_col="second"))
    assert desk._label == "first"


# --- the process ---------------------------------------------------------------------------------


def test_a_process_is_ended_if_its_answer_is_not_waited_for(tmp_path):
    """Its answer was read as that of the next command."""
    ended: list[str] = []
    worker = Worker(tmp_path)
    worker._process = cast(
        Any,
        SimpleNamespace(
            stdin=io.StringIO(),
            stdout=iter(['{"progress": 1}\n', '{"done": {}}\n']),
            kill=lambda: ended.append("kill"),
            wait=lambda: ended.append("wait"),
            poll=lambda: None,
        ),
    )
    with pytest.raises(ZeroDivisionError):
        worker.ask({"do": "look"}, lambda said: 1 / 0)
    assert ended == ["kill", "wait"]
    assert not worker._busy.locked()


def test_one_process_however_many_start_it_and_none_once_closed(tmp_path, monkeypatch):
    made: list[Any] = []

    def popen(*_: Any, **__: Any) -> Any:
        time.sleep(0.05)  # long enough for all of them to be here
        made.append(SimpleNamespace(poll=lambda: None, kill=lambda: None, wait=lambda: -9))
        return made[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    worker = Worker(tmp_path)
    threads = [threading.Thread(target=worker.start) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(made) == 1
    made[0].poll = lambda: -9
    worker.close()
    worker.start()
    assert len(made) == 1
    closed = Worker(tmp_path)
    closed.close()
    with pytest.raises(Ended):
        closed.ask({"do": "look"})
