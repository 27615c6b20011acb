"""Several processes train one network together and end with what one process ends with."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import together
import torch
from forked import Forked
from safetensors import safe_open
from torch import Tensor

from convtimenet import processes
from convtimenet.config import TrainConfig
from convtimenet.errors import ProcessError
from convtimenet.training.batches import own_part

SCRIPT = Path(together.__file__)
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "JAXTYPING_DISABLE": "1"}


def command(number: int, *arguments: object, restarts: int = 0) -> list[str]:
    """Start `number` processes with torchrun."""
    start = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    many = ["--nproc-per-node", str(number), "--max-restarts", str(restarts)]
    return [*start, *many, *map(str, arguments)]


def results(folder: Path, task: str, number: int) -> tuple[dict[str, Tensor], dict]:
    """Tensors and facts that process `number` has written."""
    with safe_open(folder / f"{task}-{number}.safetensors", "pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return found, json.loads(file.metadata()["facts"])


def distance(found: dict[str, Tensor], expected: dict[str, Tensor]) -> tuple[float, float]:
    """Of all weights together, relative to their norm; of the answers, to the largest."""
    names = [n for n in expected if n.startswith("weights.") and expected[n].is_floating_point()]
    assert found.keys() == expected.keys()
    ours, theirs = (
        torch.cat([one[n].double().flatten() for n in names]) for one in (found, expected)
    )
    answers, right = found["answers"], expected["answers"]
    off = (answers - right).abs().max() / right.abs().max()
    return float((ours - theirs).norm() / theirs.norm()), float(off)


@pytest.fixture(scope="module")
def alone() -> dict[str, tuple[dict[str, Tensor], dict]]:
    """What one process ends with, by task."""
    return {task: together.train(task, None) for task in together.TASKS}


TOGETHER = """
import sys
from pathlib import Path
from together import main
main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
"""


def begun(number: int, code: str, *arguments: object) -> list[Forked]:
    """As torchrun would on one machine: its process and theirs take seconds to import torch."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = {"WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number)}
    found |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = map(str, range(number))
    return [Forked(code, *arguments, RANK=one, LOCAL_RANK=one, **found) for one in ranks]


def run_together(number: int, *arguments: object) -> None:
    all_ = begun(number, TOGETHER, *arguments)
    said = [one.communicate() for one in all_]
    assert [one.returncode for one in all_] == [0] * number, said


LOST = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
import together
from convtimenet import ConvTimeNetForecaster, processes
from convtimenet.data.large import parts
from convtimenet.errors import ConvTimeNetError, DataError
from convtimenet.estimators.forecasting import fitted_forecaster
from convtimenet.training.closed_form import search

where, done = sys.argv[1], Path(sys.argv[3])
fails = os.environ["RANK"] == sys.argv[2]

def end(*given, **named):
    if where == "an error":
        raise DataError("the disk is full")
    os.kill(os.getpid(), signal.SIGKILL)

if fails and where == "the choice of the context":
    search.sums_over = end
elif fails and where == "the calibration":
    fitted_forecaster.calibrate = end
elif fails and where == "its files":
    parts.Parts.some = end
try:
    with processes.joined():
        if where == "its files":
            together.read_in_parts()
            model = ConvTimeNetForecaster(h=3, quality="fast", device="cpu", verbose=0)
            model.fit(done.with_name("parts"))
        elif where not in ("the end", "an error"):
            model = ConvTimeNetForecaster(h=3, quality="fast", freq=1, device="cpu", verbose=0)
            model.fit(np.sin(np.arange(120.0)[:, None] / 3))
        elif fails:
            while not done.exists():
                time.sleep(0.01)
            end()
        else:
            done.touch()
except ConvTimeNetError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("where", "fails", "told"),
    [
        ("the choice of the context", 1, "0 of 2 waited for another one that has ended"),
        ("the calibration", 1, "0 of 2 waited for another one that has ended"),
        ("its files", 1, "0 of 2 waited for another one that has ended"),
        ("the end", 0, "1 of 2 has done its part; another one"),
        ("an error", 0, "1 of 2 has done its part; another one"),
    ],
)
def test_a_process_that_is_gone_ends_the_others(where, fails, told, tmp_path) -> None:
    """Outside of the steps of a training, with a message and at once."""
    if where == "its files":
        together.write_parts(tmp_path / "parts")
    both = begun(2, LOST, where, fails, tmp_path / "done")
    said = [one.communicate() for one in both]
    assert said[1 - fails][0].startswith(f"ProcessError process {told}"), said
    assert "its own output says why" in said[1 - fails][0]
    assert both[1 - fails].returncode == 0
    if where == "an error":
        assert said[fails][0] == "DataError the disk is full\n"
    else:
        assert both[fails].returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_same_weights_and_answers(number, alone, tmp_path) -> None:
    tasks = ",".join([*together.TASKS, together.SOLVED, "refused", together.SHARED])
    together.write_parts(tmp_path / "parts")
    for fault in together.FAULTS:
        together.write_parts(tmp_path / fault, fault)
    if number == 2:
        run_together(number, tmp_path, tasks)
    else:
        subprocess.run(command(number, SCRIPT, tmp_path, tasks), check=True, env=ENVIRONMENT)
    for task, (expected, said) in alone.items():
        found, facts = results(tmp_path, task, 0)
        assert facts == said
        assert facts["steps"] == together.STEPS
        weights, answers = distance(found, expected)
        assert weights < 1e-6
        assert answers < 1e-5
        for other in range(1, number):  # BatchNorm's statistics too
            same, _ = results(tmp_path, task, other)
            assert all(same[name].equal(value) for name, value in found.items())
    expected, scores = together.train(together.SOLVED, None)
    for process in range(number):  # what is shared out is put together as it was
        found, facts = results(tmp_path, together.SOLVED, process)
        assert all(found[name].equal(value) for name, value in expected.items())
        assert facts == pytest.approx(scores, rel=1e-12)
        others = ", ".join(map(str, range(1, number)))
        for what in together.DIFFERENT:
            said = (tmp_path / f"refused-{what}-{process}.txt").read_text(encoding="utf-8")
            assert (
                f"the data or the settings of process {others} differs from that of process 0"
                in said
            ), what
    files_are_shared_out(number, tmp_path)


@pytest.mark.slow
def test_how_far_the_usual_first_scale_of_the_residuals_leads(tmp_path) -> None:
    """Rounding moves weights that do not count yet (docs/design/processes.md)."""
    expected, said = together.train(together.FIRST_SCALE, None)
    run_together(2, tmp_path, together.FIRST_SCALE)
    found, facts = results(tmp_path, together.FIRST_SCALE, 0)
    assert facts == said
    weights, answers = distance(found, expected)
    assert weights < 3e-4
    assert answers < 1e-5


def files_are_shared_out(number: int, out: Path) -> None:
    """Each process reads its own series of files that are read in parts, and all have what one
    process has from them, to the last bit."""
    found = [results(out, together.SHARED, process) for process in range(number)]
    said = [
        (out / f"{fault}-{n}.txt").read_text() for fault in together.FAULTS for n in range(number)
    ]
    run_together(1, out, together.SHARED)
    expected, facts = results(out, together.SHARED, 0)
    read = facts.pop("read")
    assert len(read) == 7
    for process, (values, own) in enumerate(found):
        assert all(values[name].equal(value) for name, value in expected.items())
        first, end = (len(read) * one // number for one in (process, process + 1))
        assert own.pop("read") == [*read[: min(first, 1)], *read[first:end]]
        assert own == pytest.approx(facts, rel=1e-12)
    alone = [(out / f"{fault}-0.txt").read_text() for fault in together.FAULTS]
    assert said == [one for one in alone for _ in range(number)]
    assert alone[0].startswith("DataError duplicate time stamps: 2024-04-19T00:00:00")
    assert "the rows of the series 's00' lie apart" in alone[1]


DECIDED = """
import json, sys
from pathlib import Path
import numpy as np
import torch
from convtimenet import ConvTimeNetForecaster, processes
from convtimenet.training import loop
from convtimenet.training.step import Step

bad, calls, backward, evaluate = {3, 4, *range(8, 13)}, [0, 0], Step._backward, loop.evaluate

def infinite(self, batch, share):
    calls[0] += 1
    if calls[0] in bad and processes.rank() == processes.count() - 1:
        batch.y.fill_(np.inf)
    return backward(self, batch, share)

def better_in_the_second(*given, **named):
    calls[1] += 1
    scores = evaluate(*given, **named)
    return dict.fromkeys(scores, 1 - 1e-9 * processes.rank() * calls[1])

def facts():
    y = np.sin(np.arange(140) / 3)[:, None] + np.random.default_rng(0).normal(0, 0.3, (140, 1))
    model = ConvTimeNetForecaster(
        h=4, input_size=16, freq=1, n_epochs=5, verbose=0, quality="auto", batch_size=16,
        device="cpu", lr=1e-3, refit=False, training={"patience": 2},
        model={"d_model": 4, "d_ff": 8, "kernel_sizes": (3,), "patch_size": 4, "patch_stride": 4,
               "dropout": 0.0, "linear": False, "effects": 0, "residual_init": 0.5},
    )
    history = model.fit(y).history_.to_dict()
    found = {name: history[name] for name in names}
    epochs = history["epochs"]
    found["losses"] = [epoch["train_loss"] for epoch in epochs]
    return found | {"rate": epochs[-1]["lr"]}

names = "steps", "skipped", "rollbacks", "best_epoch", "stopped"
with processes.joined():
    torch.set_num_threads(1)
    Step._backward = infinite
    found = [facts()]
    Step._backward, loop.evaluate = backward, better_in_the_second
    found.append(facts())
    (Path(sys.argv[1]) / f"{processes.count()}-{processes.rank()}").write_text(json.dumps(found))
"""


def test_skipped_steps_rollbacks_and_the_end_are_decided_together(tmp_path) -> None:
    """Steps are not finite in the last process alone; scores fall in the second alone."""
    for number in (1, 2):
        all_ = begun(number, DECIDED, tmp_path)
        said = [one.communicate() for one in all_]
        assert [one.returncode for one in all_] == [0] * number, said
    one, first, second = (json.loads((tmp_path / n).read_text()) for n in ("1-0", "2-0", "2-1"))
    assert first == second
    for ours, theirs in zip(first, one, strict=True):
        assert ours.pop("losses") == pytest.approx(theirs.pop("losses"), rel=1e-5)
    assert first == one
    skipped, ended = first
    assert (skipped["skipped"], skipped["rollbacks"]) == (7, 1)
    assert skipped["rate"] == pytest.approx(8.1e-4 / 2)  # of the last epoch, halved
    assert (ended["skipped"], ended["rollbacks"], ended["best_epoch"]) == (0, 0, 1)
    assert ended["stopped"] == "no better validation mae for 2 epochs"


KILLED = """
import json, os, signal, sys
from pathlib import Path
import together
from convtimenet.training import checkpoint, loop
from convtimenet.training.step import Step

out, task, checkpoints, victim, moment = sys.argv[1:]
training, step, passed = 0, 0, []

def here(where):
    passed.append((f"{training} {step}", where))
    if os.environ["RANK"] == victim and " ".join(passed[-1]) == moment:
        os.kill(os.getpid(), signal.SIGKILL)

def hook(owner, name, before="", after=""):
    call = getattr(owner, name)

    def hooked(*given):
        global training, step
        if name == "__init__":
            training, step = training + 1, 0
        elif name == "_one_step":
            step = given[0].history.steps + 1
        last = " the last" if name == "save" and given[1].values["done"] else ""
        if before:
            here(before + last)
        found = call(*given)
        if name in ("_one_step", "save"):
            with open(Path(out) / f"done-{os.environ['RANK']}.txt", "a") as done:
                print(name + last, training, step, file=done)
        if after:
            here(after + last)
        return found

    setattr(owner, name, hooked)

here("start")
hook(loop._Training, "__init__", "begin")
hook(loop._Training, "_one_step", "step")
hook(Step, "_backward", after="gradients")
hook(checkpoint.Checkpoints, "save", "save", "saved")
hook(together, "save_file", "write")
together.main(Path(out), task, checkpoints)
(Path(out) / f"moments-{os.environ['RANK']}.json").write_text(json.dumps(passed))
"""


@pytest.mark.parametrize(
    ("task", "kills"),
    [("streams", 3), *(pytest.param(t, 10, marks=pytest.mark.slow) for t in together.TASKS)],
)
def test_killed_and_started_again(task, kills, alone, tmp_path) -> None:
    """Any of the processes, as it starts, saves for the last time, and at moments drawn from all of
    an unbroken run; another number of processes goes on each time."""
    chance = random.Random(3)
    everything = begun(1, KILLED, tmp_path, task, tmp_path / "unbroken", "", "")
    assert everything[0].communicate()[0] == ""
    steps_done(tmp_path)
    kept = (1, 0)  # training and step that are saved
    last: dict[int, int] = {}  # step of each training
    moments: dict[str, list[str]] = {}  # by training and step, as a kill may lose the latter
    for at, where in json.loads((tmp_path / "moments-0.json").read_text()):
        moments.setdefault(at, []).append(where)
        training, step = map(int, at.split())
        last[training] = step
    steps = list(moments)
    assert [sum(at.startswith(f"{n} ") for at in steps) for n in (1, 2)] == STEPS_OF[task]
    drawn = sorted(chance.sample(range(1, len(steps) - 1), kills - 2))
    chosen = [f"{steps[n]} {chance.choice(moments[steps[n]])}" for n in drawn]
    for moment in [f"{steps[0]} start", *chosen, f"{steps[-1]} save the last"]:
        number = chance.choice([2, 3]) if kills > 3 else 2
        victim = chance.randrange(number)
        all_ = begun(number, KILLED, tmp_path, task, tmp_path / "killed", victim, moment)
        all_[victim].join()
        if moment.endswith("start"):  # the others wait for it, and torchrun ends them
            for one in all_:
                one.send_signal(signal.SIGTERM)
        said = [one.communicate() for one in all_]
        codes = [one.returncode for one in all_]
        assert codes.pop(victim) == -signal.SIGKILL, (moment, said)
        assert all(codes), (moment, said)
        first, saved = steps_done(tmp_path)
        assert first in (None, following(kept, last)), (moment, kept)
        kept = saved or kept
    assert kept >= (max(last), 2)
    all_ = begun(3 if kills > 3 else 1, KILLED, tmp_path, task, tmp_path / "killed", "", "")
    said = [one.communicate() for one in all_]
    assert [one.returncode for one in all_] == [0] * len(all_), said
    assert steps_done(tmp_path)[0] in (None, following(kept, last))
    weights, answers = distance(results(tmp_path, task, 0)[0], alone[task][0])
    assert weights < 1e-6
    assert answers < 1e-5


def steps_done(out: Path) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Training and step of the first one that a run did, and of the last one that it saved; None
    for none."""
    path = out / "done-0.txt"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    path.unlink(missing_ok=True)
    did = [(int(one[-2]), int(one[-1])) for one in lines if one[0] == "_one_step"]
    saved = [(int(one[-2]), int(one[-1])) for one in lines if one[0] == "save"]
    return did[0] if did else None, saved[-1] if saved else None


def following(kept: tuple[int, int], last: dict[int, int]) -> tuple[int, int]:
    """The training and step that come after a saved one, given the last step of each training."""
    training, step = kept
    return (training, step + 1) if step < last[training] else (training + 1, 1)


STEPS_OF = {"forecast": [51, 0], "streams": [51, 41], "classify": [51, 121]}
"""Of the first training and of a second, on all cases or for intervals, each with its beginning."""


def workers(parent: int) -> list[int]:
    """Processes that torchrun has started."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii")
    return [int(child) for child in children.split()]


@pytest.mark.slow
def test_restarted_by_torchrun(alone, tmp_path) -> None:
    """A process is killed once; torchrun starts all again, which go on from the checkpoint."""
    checkpoints, script = tmp_path / "checkpoints", tmp_path / "noting.py"
    script.write_text(KILLED, encoding="utf-8")
    start = command(2, script, tmp_path, "classify", checkpoints, "", "", restarts=1)
    paths = [str(Path(__file__).parent), *filter(None, [ENVIRONMENT.get("PYTHONPATH")])]
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)}
    with subprocess.Popen(start, env=environment, stderr=subprocess.PIPE, text=True) as run:
        while not list(checkpoints.glob("*.safetensors")):
            time.sleep(0.02)
        os.kill(workers(run.pid)[1], signal.SIGKILL)
        said = run.communicate()[1]
    assert run.returncode == 0, said
    assert distance(results(tmp_path, "classify", 0)[0], alone["classify"][0])[0] < 1e-6
    # of both lives: a step is repeated at most where it was not saved any more
    did = (tmp_path / "done-0.txt").read_text().splitlines()
    steps = [one for one in did if one.startswith("_one_step")]
    assert steps.count("_one_step 1 1") == 1
    assert len(set(steps)) <= len(steps) <= len(set(steps)) + 1


@pytest.mark.parametrize("same", [True, False])
def test_processes_with_other_commands_are_told_of_both(monkeypatch, same) -> None:
    """A file of another name on one of them."""
    asked = []

    def all_of(values: torch.Tensor) -> list[torch.Tensor]:
        asked.append(None)
        other = values.clone()
        if len(asked) == 1:
            other[0] ^= 1
        elif not same:
            at = bytes(values.tolist()).index(b"sales")
            other[at : at + 5] = torch.tensor([*b"other"], dtype=torch.uint8)
        return [values, values, other]

    monkeypatch.setattr(processes, "count", lambda: 3)
    monkeypatch.setattr(processes, "all_of", all_of)
    monkeypatch.setattr(sys, "argv", ["convtimenet", "forecast", "sales.csv", "--h", "24"])
    place = f"--h 24 in {os.getcwd()}"
    with pytest.raises(ProcessError, match="the data of process 2 differs from that") as error:
        processes.check_same("the data", {"rows": 7})
    assert str(error.value).endswith(
        "the same files"
        if same
        else f" (process 0: convtimenet forecast sales.csv {place}; process 2: convtimenet "
        f"forecast other.csv {place})"
    )


def test_parts_of_a_batch(monkeypatch) -> None:
    for number in (1, 2, 3, 7):
        monkeypatch.setattr(processes, "count", lambda number=number: number)
        for size in (1, 2, 6, 7, 8, 20):
            parts = []
            for rank in range(number):
                monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
                parts.append(own_part(size, 1))
            if size < number:  # each computes the whole
                assert parts == [slice(0, size)] * number
                continue
            assert [i for part in parts for i in range(size)[part]] == list(range(size))
            lengths = [part.stop - part.start for part in parts]
            assert max(lengths) - min(lengths) <= 1


def test_alone_nothing_is_asked() -> None:
    assert (processes.count(), processes.rank(), processes.leads()) == (1, 0, True)
    assert processes.agreed(3, False) == (3, False)
    assert processes.bytes_of_first(lambda: b"x") == b"x"
    assert processes.text_of_first(str) == ""
    processes.check_same("nothing", {"a": TrainConfig().to_dict()})


class TestCommand:
    @pytest.mark.slow
    def test_one_process_writes(self, tmp_path) -> None:
        rows = ["time,y"] + [f"2024-01-{d:02d},{d % 7}" for d in range(1, 32)]
        rows += [f"2024-{m:02d}-{d:02d},{d % 7}" for m in (2, 3) for d in range(1, 29)]
        (tmp_path / "x.csv").write_text("\n".join(rows[:60]), encoding="utf-8")
        flags = ["x.csv", "--h", "3", "--input_size", "12", "--save", "m", "--test_fraction", "0"]
        small = ["--model.linear", "false", "--training.epochs", "1", "--fill", "0"]
        start = command(2, "-m", "convtimenet", "forecast", *flags, *small)
        run = subprocess.run(start, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert run.stdout.count("forecast of 3 steps: x-forecast.csv") == 1
        assert len((tmp_path / "x-forecast.csv").read_text(encoding="utf-8").splitlines()) == 4
        assert (tmp_path / "m").is_dir()

    def test_other_commands_are_refused(self, monkeypatch, capsys) -> None:
        from convtimenet.cli.main import main

        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "1")
        assert main(["datasets", "list"]) == 2
        said = capsys.readouterr().err
        assert said.startswith("convtimenet, process 1 of 2: torchrun starts several processes")
        assert "start it without torchrun" in said
