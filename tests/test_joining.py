"""How processes that train together find each other, and how they part."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from forked import Forked
from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]

from convtimenet import processes
from convtimenet.errors import ConfigError
from convtimenet.processes.meeting import attempt

SECONDS = timedelta(seconds=60)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def described(number: int, size: int = 2, port: int | None = None) -> dict[str, str]:
    """The environment of a process, as torchrun sets it."""
    found = {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(size)}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port or free_port())}
    return found | place | {"LOCAL_WORLD_SIZE": str(size)}


class TestAttempt:
    def all_of(self, store: HashStore, size: int) -> set[str]:
        with ThreadPoolExecutor(size) as pool:
            numbers = reversed(range(size))  # the first one asks last
            return set(pool.map(lambda number: attempt(store, number, size, SECONDS), numbers))

    def test_a_name_of_its_own_for_each(self):
        store, names = HashStore(), []
        for size in (1, 3, 2, 3):  # others each time, in the same store
            (name,) = self.all_of(store, size)
            names.append(name)
        assert len(set(names)) == 4

    def test_a_question_of_the_dead_is_answered_and_not_taken_for_one_of_the_living(self):
        store = HashStore()
        store.set("question of 1", "dead")
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(attempt, store, 0, 2, SECONDS)
            store.wait(["answer to dead"], SECONDS)
            assert not first.done()
            other = pool.submit(attempt, store, 1, 2, SECONDS)
        assert other.result() == first.result() == store.get("answer to dead").decode()

    def test_who_has_not_asked_is_named(self):
        store = HashStore()
        store.set("question of 1", "dead")
        with pytest.raises(TimeoutError, match=r"^no word from process 1, 2$"):
            attempt(store, 0, 3, timedelta(seconds=0))


JOIN = """
import sys, time
from datetime import timedelta
from convtimenet import processes
from convtimenet.errors import ConvTimeNetError
try:
    with processes.joined(timedelta(seconds=float(sys.argv[1]))):
        time.sleep(float(sys.argv[2]) if processes.leads() else 0)
        print("done")
except ConvTimeNetError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("number", "found"),
    [(0, "1/2 clients joined"), (1, "The client socket has timed out after 1000ms")],
)
def test_one_that_does_not_come_is_told(number, found):
    environment = described(number)
    port = environment["MASTER_PORT"]
    out, err = Forked(JOIN, 1, 0, **environment).communicate()
    start = (
        f"ProcessError process {number} of 2 expected to meet the others at 127.0.0.1:{port} "
        "within 1 s, found: "
    )
    assert out.startswith(start), (out, err)
    assert found in out
    assert "see that all 2 are started and have not ended" in out
    assert "Traceback" not in err


def test_an_environment_that_describes_no_group(monkeypatch):
    for name, value in described(0).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR")
    monkeypatch.delenv("MASTER_PORT")
    with (
        pytest.raises(ConfigError, match="found no MASTER_ADDR, MASTER_PORT; start the program"),
        processes.joined(),
    ):
        pass


SHORT = """
import torch
begin = torch.distributed.init_process_group
torch.distributed.init_process_group = lambda *given, **named: begin(
    *given, **named | {"timeout": timedelta(seconds=3)}
)
"""


def test_others_wait_for_the_first_beyond_the_limit():
    """A group waits for three seconds, the first process is busy for five."""
    port, code = free_port(), JOIN.replace("try:", SHORT + "try:")
    both = [Forked(code, 60, 5, **described(number, port=port)) for number in (0, 1)]
    said = [one.communicate() for one in both]
    assert [out for out, _ in said] == ["done\n", "done\n"], said
    assert [one.returncode for one in both] == [0, 0]


def children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii")
    return [int(child) for child in found.split()]


ATTEMPTS = """
import sys, time
from pathlib import Path
import torch
from convtimenet import processes
from convtimenet.errors import ProcessError
folder = Path(sys.argv[1])
try:
    with processes.joined():
        mine = processes.rank() + 1
        names = processes.text_of_first(lambda: f"attempt-{len(list(folder.glob('attempt-*')))}")
        if processes.leads():
            (folder / names).touch()
        while names == "attempt-0":
            time.sleep(0.05)
            processes.agreed(0)
        sums = processes.add_up(torch.tensor([mine]))
        (folder / f"sum-{processes.rank()}").write_text(str(int(sums)))
except ProcessError as error:
    (folder / f"failed-{processes.rank()}-{time.time_ns()}").write_text(str(error))
    raise
"""


@pytest.mark.slow
def test_several_machines_are_started_again_once(tmp_path):
    """Two of torchrun's agents, as on two machines, with one restart; one process is killed."""
    script, port = tmp_path / "script.py", free_port()
    script.write_text(ATTEMPTS, encoding="utf-8")
    start = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nnodes", "2"]
    start += ["--rdzv-backend", "c10d", "--rdzv-id", "x", "--rdzv-endpoint", f"localhost:{port}"]
    start += ["--max-restarts", "1", "--nproc-per-node", "1", str(script), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", None)
    with (
        subprocess.Popen(start, env=environment, stderr=subprocess.PIPE, text=True) as one,
        subprocess.Popen(start, env=environment, stderr=subprocess.PIPE, text=True) as other,
    ):
        while not (tmp_path / "attempt-0").exists():
            assert one.poll() is None
            assert other.poll() is None
            time.sleep(0.1)
        os.kill(children(other.pid)[0], signal.SIGKILL)
        said = one.communicate()[1] + other.communicate()[1]
    assert (one.returncode, other.returncode) == (0, 0), said
    assert [path.read_text() for path in sorted(tmp_path.glob("sum-*"))] == ["3", "3"]
    assert len(list(tmp_path.glob("attempt-*"))) == 2
    failed = [path.read_text() for path in tmp_path.glob("failed-*")]  # unless ended before
    assert len(failed) <= 1
    assert all(re.match("process . of 2 waited for another one", text) for text in failed)
    assert "connectFullMesh" not in said


ON_NCCL = """
import contextlib, json
import numpy as np
import torch
from convtimenet import ConvTimeNetForecaster, processes

y = np.sin(np.arange(200) / 3)[:, None] + np.random.default_rng(0).normal(0, 0.3, (200, 1))
found = {}
for name, group in (("alone", contextlib.nullcontext()), ("grouped", processes.joined())):
    with group:
        if name == "grouped":
            ones = torch.ones(3, device="cuda")
            torch.distributed.all_reduce(ones)
            found["backend"], found["ones"] = torch.distributed.get_backend(), ones.tolist()
            found["agreed"] = processes.all_of(torch.arange(2))[0].tolist()
        model = ConvTimeNetForecaster(
            h=4, input_size=16, freq=1, n_epochs=3, verbose=0, quality="auto", device="cuda",
            refit=False, model={"dropout": 0.0, "residual_init": 0.5},
        )
        found[name] = model.fit(y).predict(y).ravel().tolist()
print(json.dumps(found))
"""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_group_of_one_on_nccl_changes_nothing():
    out, err = Forked(ON_NCCL, **described(0, size=1)).communicate()
    found = json.loads(out or err)
    assert (found["backend"], found["ones"]) == ("nccl", [1.0, 1.0, 1.0])
    assert found["agreed"] == [0, 1]
    assert found["grouped"] == pytest.approx(found["alone"], rel=1e-4, abs=1e-4)
