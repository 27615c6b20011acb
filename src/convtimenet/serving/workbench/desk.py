"""What the page works on: one file, what it holds, one run, kept in a temporary folder."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from convtimenet.data.files.raw import unpacked_name
from convtimenet.serving.refusals import Refused
from convtimenet.serving.workbench.asked import SERIES, TASKS, CaseRoles, Columns, Look, Train
from convtimenet.serving.workbench.recipe import stem_of
from convtimenet.serving.workbench.samples import SAMPLES
from convtimenet.serving.workbench.worker import LOOKING, Ended, Worker

TABLES = (".csv", ".tsv", ".txt", ".xlsx", ".parquet", ".pq", ".feather", ".arrow", ".ipc",
          ".jsonl", ".ndjson", ".json", ".tsf")  # fmt: skip
RECORDINGS = (".ts", ".arff", ".npz")
_SWITCHED = (
    "this file cannot be read as rows over time, so it is read as labelled recordings; if it holds "
    "rows over time, choose that at 'These are'"
)
_UNSAFE = re.compile(r"[^\w .()+-]")

Slot = Literal["data", "ahead", "new"]
"""The file to train on, the rows ahead of it, new recordings."""
OUTPUTS = {
    "report.html": ("report", "text/html"),
    "forecast.csv": ("forecast", "text/csv"),
    "filled.csv": ("filled", "text/csv"),
    "anomalies.csv": ("anomalies", "text/csv"),
    "answers.csv": ("answers", "text/csv"),
    "model.zip": ("model", "application/zip"),
}
"""Files that can be downloaded: the end of their name, and their type."""


class Desk:
    """The state of the page; all of its methods may be called from any thread.

    Parameters
    ----------
    device
        What trains, as for the estimators.
    most_bytes
        How much a file may hold, see `Worker`.
    """

    def __init__(self, device: str = "auto", most_bytes: int | None = None):
        self.device = device
        self._temporary = tempfile.TemporaryDirectory(
            prefix="convtimenet-app-", ignore_cleanup_errors=True
        )
        self.folder = Path(self._temporary.name)
        self.worker = Worker(self.folder, most_bytes)
        self._turns = threading.RLock()
        self._lock = threading.RLock()
        self._files: dict[Slot, tuple[str, str]] = {}  # what users call it, and where it is
        self._mark = secrets.token_hex(8)  # in the names of places, so that no user has such a name
        self._given = self._inputs = 0
        self._columns = Columns()
        self._roles = CaseRoles()
        self._version = 0
        self._state: dict[str, Any] = {"look": None, "job": None, "result": None, "answers": None}
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Start the child process, which takes some seconds."""
        self.worker.start()

    def close(self) -> None:
        """End what runs, and remove all files."""
        self.stop()
        self.worker.close()
        self._temporary.cleanup()

    def snapshot(self) -> dict[str, Any]:
        """Everything that the page shows; "version" changes with all but the progress, "given" with
        the file, "inputs" also with how it is read and with the rows ahead."""
        with self._lock:
            files = {slot: name for slot, (name, _) in self._files.items()}
            counts = {"version": self._version, "given": self._given, "inputs": self._inputs}
            return {**self._state, "files": files, **counts}

    def put(self, slot: Slot, name: str, content: bytes, given: int | None = None) -> None:
        """Take a file; for rows ahead and new recordings, `given` is that of the file they belong
        to.

        Raises
        ------
        Refused
            If it is empty, its ending is unknown, they belong to another file, or a run is under
            way.
        """
        shown = Path(name.replace("\\", "/")).name[-255:] or "data"
        ending = _ending(shown)
        if not content:
            raise Refused(422, f"{shown}: expected a file with rows, found an empty one")
        with self._turn(given=given), self._lock:
            # every file has one place, whatever it is called
            place = f"{slot}-{self._mark}{ending}"
            if slot in self._files:
                (self.folder / self._files[slot][1]).unlink(missing_ok=True)
            (self.folder / place).write_bytes(content)
            self._files[slot] = shown, place
            self._inputs += slot != "new"
            if slot == "data":
                self._given += 1
                self._drop("ahead")
                self._drop("new")
                self._change(look=None, job=None, result=None, answers=None)
            elif slot == "ahead":  # what was forecast with other rows is no result of these
                self._change(job=None, result=None, answers=None)
            else:
                self._change()

    def sample(self, name: str) -> None:
        """Take one of the samples, and the file of its next step.

        Raises
        ------
        Refused
            If there is none of this name.
        """
        if name not in SAMPLES:
            raise Refused(404, f"there is no sample {name[:40]!r}; expected one of {[*SAMPLES]}")
        one = SAMPLES[name]
        known = Columns(target_cols=[*one.targets], futr_exog=[*one.known])
        with self._turn():
            self.put("data", one.file, one.content().encode())
            if one.known and one.more is not None:
                self.put("ahead", "rows-ahead.csv", one.more().encode())
            self.look(Look(columns=known))

    def look(self, asked: Look) -> None:
        """Read the file as asked.

        Raises
        ------
        Refused
            If it cannot be read at all, or another file was given since.
        """
        with self._turn(given=asked.given):
            path, own = self._place("data"), asked.roles.model_dump()
            kind = asked.kind or self._ask("kind", path=path)["kind"]
            columns, roles, found = self._columns, self._roles, {}
            if kind == "table":
                given = asked.columns.given()
                found = self._ask("look", path=path, columns=given)
                # what was detected stays detected, so that the settings shown are those needed
                columns = Columns.model_construct(**found.pop("needed", given))
            if kind == "recordings" or (asked.kind is None and "error" in found):
                roles, cases = asked.roles, self._ask("look at recordings", path=path, roles=own)
                if kind == "recordings":
                    found = cases
                elif "error" not in cases and not cases["doubtful"]:  # else the table's is of use
                    kind, found = "recordings", cases | {"notices": [_SWITCHED, *cases["notices"]]}
            with self._lock:
                self._columns, self._roles = columns, roles
                self._inputs += 1
                self._change(look={"kind": kind, **found}, job=None, result=None, answers=None)

    def train(self, asked: Train) -> None:
        """Start a run.

        Raises
        ------
        Refused
            If another one is under way, there is nothing to work on, it has changed since, or the
            task is not one of it.
        """
        with self._turn(inputs=asked.inputs), self._lock:
            look = self._state["look"]
            if look is None or "error" in look:
                raise Refused(409, "expected a file that could be read, found none; give one first")
            tasks = TASKS[look["kind"]]
            task = asked.task or tasks[0]
            if task not in tasks:
                raise Refused(
                    422,
                    f"expected a task for {look['kind']} ({', '.join(tasks)}), found {task}; "
                    "choose one of them",
                )
            asked = asked.model_copy(update={"task": task})
            command = self._command(asked, look)
            progress = {"name": "starting", "share": None, "times": "", "note": ""}
            settings = asked.model_dump(exclude={"inputs"})
            job = {"state": "running", "settings": settings, "losses": []}
            self._change(job={**job, "progress": progress})
            self._thread = threading.Thread(target=self._run, args=(command, job), daemon=True)
            self._thread.start()

    def _command(self, asked: Train, look: dict[str, Any]) -> dict[str, Any]:
        """What the child process is told to do."""
        command = {"path": self._place("data"), "folder": "next", "name": self._files["data"][0]}
        command |= {"do": asked.task, "device": self.device}
        if look["kind"] == "recordings":
            own = {"task": asked.task, "quality": asked.quality}
            own["roles"] = self._roles.model_dump()
            return command | {"do": "train on recordings", **own}
        columns = self._columns.given()
        if asked.task == "forecast":
            ahead = self._place("ahead") if columns["futr_exog"] else None
            own = {"h": asked.h, "level": asked.level, "quality": asked.quality}
            plan = self._files["ahead"][0] if ahead else None
            return command | {"columns": columns, "future": ahead, "plan": plan, **own}
        covariates = columns.pop("futr_exog"), columns.pop("hist_exog")
        if any(covariates):  # not read: only what would be forecast is looked at
            columns["target_cols"] = look["chosen"]["target_cols"]
        command |= {"columns": columns, "season": asked.season}
        if asked.task == "detect":
            return command | {"alpha": asked.alpha, "method": asked.method}
        if columns.pop("fill") is not None:
            raise Refused(
                422,
                "expected missing values that are unknown, found that they mean zero, so that "
                "there are no gaps; choose 'are unknown' below 'Dates, numbers, gaps'",
            )
        return command | {"level": asked.level}

    def stop(self) -> None:
        """End a run at once; an earlier result stays."""
        with self._lock:
            job = self._state["job"]
            if job is None or job["state"] != "running":
                return
            self._change(job={**job, "state": "stopped"})
            self.worker.stop()
        if self._thread is not None:
            self._thread.join()

    def label(self) -> None:
        """Answer the new recordings with the model of the last run.

        Raises
        ------
        Refused
            If there is no such model, or the recordings do not suit it.
        """
        with self._turn():
            result = self._state["result"]
            if result is None or result["kind"] != "recordings":
                raise Refused(
                    409, "expected a model trained on recordings, found none; train one first"
                )
            roles = self._roles.model_dump()
            command = {"path": self._place("new"), "folder": "run", "device": self.device}
            found = self._ask("label", **command, roles=roles)
            with self._lock:
                self._change(answers={"name": self._files["new"][0], **found})

    def output(self, name: str) -> tuple[Path, str, str]:
        """Path, name for the user and type of a file to download.

        Raises
        ------
        Refused
            If there is none.
        """
        path = self.folder / "run" / name
        if name not in OUTPUTS or self._state["result"] is None or not path.is_file():
            raise Refused(404, "expected the result of a run, found none; train first")
        end, kind = OUTPUTS[name]
        name = f"{stem_of(self._files['data'][0])}-{end}{path.suffix}"
        return path, _UNSAFE.sub("_", name)[-100:], kind

    def series(self, line: int) -> bytes:
        """A line of the file of all series of a forecast (`charts.write_lines`).

        Raises
        ------
        Refused
            If there is none.
        """
        with suppress(FileNotFoundError), (self.folder / "run" / SERIES).open("rb") as file:
            for found in islice(file, line, None):
                return found
        raise Refused(404, "expected a series of a forecast, found none; forecast first")

    def _run(self, command: dict[str, Any], job: dict[str, Any]) -> None:
        def heard(said: dict[str, Any]) -> None:
            with self._lock:
                now = self._state["job"]
                if now["state"] != "running":
                    return
                if "epoch" in said:
                    job["losses"] = with_epoch(job["losses"], said["epoch"])
                    self._state["job"] = {**now, "losses": job["losses"]}
                    return
                progress = said["progress"]
                progress["name"] = self._named(progress["name"])
                self._state["job"] = {**now, "progress": progress}

        state, result = "failed", None
        try:
            result = self.worker.ask(command, heard, seconds=None)
            state, error = "done", None
        except Refused as refused:
            error = self._named(refused.message)
        except Ended as ended:
            error = (
                f"the training process ended ({ended}), expected a result; there may be too little "
                "memory: take fewer rows or quality fast"
            )
        with self._lock:
            if self._state["job"]["state"] != "running":  # stopped
                shutil.rmtree(self.folder / "next", ignore_errors=True)
            elif result is None:
                shutil.rmtree(self.folder / "next", ignore_errors=True)
                self._change(job={**job, "state": state, "error": error})
            else:
                shutil.rmtree(self.folder / "run", ignore_errors=True)
                (self.folder / "next").rename(self.folder / "run")
                self._change(job={**job, "state": state}, result=result, answers=None)
        self.worker.start()

    def _ask(self, do: str, **command: Any) -> dict[str, Any]:
        try:
            found = self.worker.ask({"do": do, **command})
        except Refused as refused:
            raise Refused(refused.status, self._named(refused.message)) from None
        except Ended as ended:
            self.worker.start()
            raise Refused(
                422,
                f"reading the file was ended ({ended}), expected it to be read within two minutes; "
                "give a smaller file",
            ) from None
        if "error" in found:
            found["error"] = self._named(found["error"])
        return found

    def _place(self, slot: Slot) -> str:
        if slot not in self._files:
            what = {"data": "a file", "ahead": "the rows ahead", "new": "new recordings"}[slot]
            hint = "; give their file, or choose no column as known ahead" * (slot == "ahead")
            raise Refused(422, f"expected {what}, found none{hint or '; give a file first'}")
        return self._files[slot][1]

    def _named(self, message: str) -> str:
        """A message with files named as users do."""
        shown = {place: name for name, place in self._files.values()}
        places = "|".join(map(re.escape, shown))
        return re.sub(places, lambda found: shown[found[0]], message) if places else message

    def _drop(self, slot: Slot) -> None:
        if slot in self._files:
            (self.folder / self._files.pop(slot)[1]).unlink(missing_ok=True)

    def _change(self, **state: Any) -> None:
        self._state.update(state)
        self._version += 1

    @contextmanager
    def _turn(self, given: int | None = None, inputs: int | None = None) -> Iterator[None]:
        """What reads or changes the file, or begins a run, does so alone: others wait until the
        state is that of the file again. `given` and `inputs` are those of the state that was shown
        where this is asked.

        Raises
        ------
        Refused
            If a run is under way, a turn takes too long, or something else was given since.
        """
        if not self._turns.acquire(timeout=LOOKING):
            raise Refused(409, "expected an idle program, found it at work; wait, or stop it")
        try:
            with self._lock:
                job = self._state["job"]
                if job is not None and job["state"] == "running":
                    raise Refused(
                        409, "expected no training under way, found one; wait, or stop it first"
                    )
            if self._thread is not None:
                self._thread.join()  # a run that has ended, or was stopped, is clearing up
            with self._lock:
                if given not in (None, self._given) or inputs not in (None, self._inputs):
                    raise Refused(
                        409,
                        "expected the file as this tab showed it, found that another tab has "
                        "replaced it or changed how it is read; look at what is shown now, and "
                        "try again",
                    )
            yield
        finally:
            self._turns.release()


def with_epoch(losses: list[dict[str, Any]], said: dict[str, Any]) -> list[dict[str, Any]]:
    """The losses of each training of a run, epoch by epoch, with those of one more epoch."""
    before, last = losses[:-1], losses[-1] if losses else None
    if last is None or last["training"] != said["training"]:
        before, last = losses, {"training": said["training"], "train": [], "valid": []}
    last = {**last, "epochs": said["epochs"]}
    return [*before, last | {key: [*last[key], said[key]] for key in ("train", "valid")}]


def _ending(name: str) -> str:
    """The known ending of a name.

    Raises
    ------
    Refused
        If there is none.
    """
    inner = unpacked_name(name)
    packed = name.lower().removeprefix(inner)
    kind = next((one for one in (*TABLES, *RECORDINGS) if inner.endswith(one)), "")
    if kind or packed == ".zip":
        return kind + packed
    raise Refused(
        422,
        f"{name}: expected a file that ends in {', '.join((*TABLES, *RECORDINGS))}, found another "
        "ending; save it as one of them, such as .csv",
    )
