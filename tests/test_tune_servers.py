"""A search whose trials are in a database or behind Optuna's proxy: real servers and processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

optuna = pytest.importorskip("optuna")
from test_tune import LR, WAVES, forecaster  # noqa: E402

from convtimenet.errors import CheckpointError, ConfigError  # noqa: E402
from convtimenet.estimators.tuning import places  # noqa: E402
from convtimenet.estimators.tuning.places import place_of  # noqa: E402
from convtimenet.estimators.tuning.search import Search, tune  # noqa: E402


class TestNames:
    @pytest.mark.parametrize(
        ("storage", "shown", "name"),
        [
            (None, None, "convtimenet"),
            ("a/b.log", "a/b.log", "convtimenet"),
            ("sqlite:///a.db#sales", "a.db", "sales"),
            ("sqlite:////tmp/a.db", "/tmp/a.db", "convtimenet"),
            ("postgresql://me:secret@host/db#x", "postgresql://me:***@host/db", "x"),
            ("grpc://host:13000", "grpc://host:13000", "convtimenet"),
        ],
    )
    def test_of_places(self, storage, shown, name):
        place = place_of(storage)
        assert (place.shown, place.study_name) == (shown, name)

    def test_a_driver_or_url_that_is_none(self):
        with pytest.raises(ConfigError, match="expected a file, or a URL such as postgresql"):
            tune(forecaster(), WAVES, space=LR, storage="nonsense://x")


class TestSilence:
    def test_who_does_not_beat_has_died(self, monkeypatch):
        clock = SimpleNamespace(monotonic=lambda: now[0])
        monkeypatch.setattr(places, "time", clock)
        now, place = [0.0], place_of("postgresql://host/db")
        vars(place)["worker"] = "me"

        def trial(number: int, **attributes: Any) -> Any:
            return SimpleNamespace(number=number, user_attrs=attributes)

        assert place.alive(trial(1, worker="me"))
        for now[0], beat, alive in (
            (0, 1, True), (59, 1, True), (60, 1, False), (61, 2, True), (120, 2, True),
            (121, 2, False),
        ):  # fmt: skip
            assert place.alive(trial(2, worker="other", beat=beat)) == alive, now
        # taken, but not named yet
        assert place.alive(trial(3))
        now[0] += 61
        assert not place.alive(trial(3))


def test_sqlite_goes_on(tmp_path):
    url = f"sqlite:///{tmp_path}/trials.db#waves"
    first = tune(forecaster(n_epochs=1), WAVES, trials=1, space=LR, storage=url)
    again = tune(forecaster(n_epochs=1), WAVES, trials=2, space=LR, storage=url)
    assert again.trials[0]["score"] == first.trials[0]["score"]
    assert [row["state"] for row in again.trials] == ["complete"] * 2
    (tmp_path / "text.db").write_text("no database at all")
    with pytest.raises(CheckpointError, match="not the file of a search"):
        tune(forecaster(), WAVES, space=LR, storage=f"sqlite:///{tmp_path}/text.db")
    assert not (tmp_path / "text.db.locks").exists()


# --- servers -------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def listening(port: int, process: subprocess.Popen[Any]) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nothing listens on {port}")


@contextmanager
def ended(command: list[Any], **given: Any) -> Iterator[subprocess.Popen[Any]]:
    with subprocess.Popen([str(one) for one in command], **given) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs of each version, out of PATH."""


def program(name: str, versions: Path = DEBIAN) -> str | None:
    """The path of a program of PostgreSQL: the one on PATH, else of the newest version."""
    found = [path for path in versions.glob(f"*/bin/{name}") if path.parts[-3].isdecimal()]
    newest = max(found, key=lambda path: int(path.parts[-3]), default=None)
    return shutil.which(name) or (None if newest is None else str(newest))


def test_programs_are_found_out_of_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert program("initdb", tmp_path) is None
    for folder in ("9/bin", "16/bin", "old/bin", "bin"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "initdb").touch(mode=0o755)
    assert program("initdb", tmp_path) == str(tmp_path / "bin" / "initdb")
    (tmp_path / "bin" / "initdb").unlink()
    assert program("initdb", tmp_path) == str(tmp_path / "16" / "bin" / "initdb")
    assert program("postgres", tmp_path) is None


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """URL of a database of its own."""
    pytest.importorskip("psycopg")
    initdb, postgres = program("initdb"), program("postgres")
    if initdb is None or postgres is None:
        pytest.skip("NOT RUN: needs PostgreSQL, on Debian: apt-get install postgresql")
    port = free_port()
    who: dict[str, Any] = {"stdout": subprocess.DEVNULL}
    with tempfile.TemporaryDirectory() as folder:
        if os.getuid() == 0:  # the server refuses to run as root
            who["user"] = "postgres"
            shutil.chown(folder, "postgres")
        data = Path(folder) / "data"
        subprocess.run([initdb, "-U", "tester", "-A", "trust", "-D", data], check=True, **who)
        command = [postgres, "-D", data, "-p", port, "-k", folder, "-h", "127.0.0.1"]
        with ended(command, **who, stderr=subprocess.DEVNULL) as process:
            listening(port, process)
            time.sleep(1)
            yield f"postgresql://tester@127.0.0.1:{port}/postgres"


PROXY = """
import sys
from optuna.storages import RDBStorage, run_grpc_proxy_server
url = sys.argv[1].replace("postgresql:", "postgresql+psycopg:")
run_grpc_proxy_server(RDBStorage(url), host="127.0.0.1", port=int(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def grpc(postgresql) -> Iterator[str]:
    """URL of Optuna's proxy of the same database."""
    pytest.importorskip("grpc")
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-c", PROXY, postgresql, port]
    with ended(command, stderr=subprocess.DEVNULL) as process:
        listening(port, process)
        yield f"grpc://127.0.0.1:{port}"


@pytest.fixture(params=["postgresql", "grpc"])
def server(request) -> str:
    return request.getfixturevalue(request.param)


WORKER = """
import logging, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_tune import LR, WAVES, forecaster
from convtimenet.estimators.tuning import places
from convtimenet.estimators.tuning.search import tune

places.BEAT, places.SILENT = 0.5, 8.0
logging.basicConfig(level=logging.WARNING)

class Hanging:
    def on_epoch_end(self, progress):
        Path(sys.argv[3]).touch()
        time.sleep(1e6)

hangs = [] if sys.argv[3] == "no" else [Hanging()]
model = forecaster(n_epochs=1, callbacks=hangs)
found = tune(model, WAVES, trials=5, space=LR, storage=sys.argv[2])
print(found.counts)
"""


@pytest.mark.scale
class TestServers:
    def test_a_killed_process_is_noticed_and_its_trial_repeated(self, server, tmp_path):
        url, hung = f"{server}#{tmp_path.name}", tmp_path / "hung"
        command = [sys.executable, "-W", "ignore", "-c", WORKER, Path(__file__).parent, url]
        with subprocess.Popen([*map(str, command), str(hung)]) as first:
            while not hung.exists():
                assert first.poll() is None
                time.sleep(0.1)
            with subprocess.Popen(
                [*map(str, command), "no"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as second:
                try:
                    kept = self.trials(url)
                    while sum(one.state.name == "COMPLETE" for one in kept) < 2:
                        assert second.poll() is None, second.communicate()
                        time.sleep(0.2)
                        kept = self.trials(url)
                    # the first one beats, so it is left alone
                    assert kept[0].state.name == "RUNNING"
                    assert kept[0].user_attrs["beat"] > 0
                finally:
                    first.kill()
                said, log = second.communicate(timeout=300)
        assert first.returncode == -signal.SIGKILL
        assert said == "5 trials: 5 complete\n"
        assert "trial 0 died with its process and is repeated" in log
        found = self.trials(url)
        assert [one.state.name for one in found] == ["FAIL"] + ["COMPLETE"] * 5
        settings = [str(one.user_attrs["settings"]) for one in found[1:]]
        assert len(set(settings)) == 5
        assert sum(one.user_attrs.get("default", False) for one in found[1:]) == 1

    def test_many_at_once_make_exactly_so_many_trials(self, server, tmp_path):
        url = f"{server}#{tmp_path.name}"
        searches = [Search(forecaster(), WAVES, space=LR, storage=url) for _ in range(4)]
        errors = []

        def work(search: Search) -> None:
            try:
                while True:
                    trial = search.study.claim(24)
                    if trial is not None:
                        time.sleep(0.01)
                        search.study.complete(trial, 1.0, metric="mase", epochs=1)
                    elif not search.study.others:
                        return
            except BaseException as error:
                errors.append(error)
                raise

        threads = [threading.Thread(target=work, args=(one,)) for one in searches]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert not errors
        found = searches[0].study.finished
        for one in searches:
            one.study.close()
        assert len(found) == 24
        assert len({one.user_attrs["worker"] for one in found}) > 1
        assert sum(one.user_attrs.get("default", False) for one in found) == 1
        left = [one for one in self.trials(url) if one.number not in {f.number for f in found}]
        assert {one.state.name for one in left} <= {"FAIL"}

    def test_another_search_and_a_server_that_is_away(self, server, tmp_path):
        url = f"{server}#{tmp_path.name}"
        with Search(forecaster(), WAVES, space=LR, storage=url):
            pass
        with pytest.raises(CheckpointError, match=r"holds a search with other data; give"):
            Search(forecaster(), WAVES + 1, space=LR, storage=url)
        nowhere = url.replace(url.rpartition(":")[2].split("#")[0].split("/")[0], "9")
        with pytest.raises(CheckpointError, match="cannot be read or written"):
            Search(forecaster(), WAVES, space=LR, storage=nowhere)

    @staticmethod
    def trials(url: str) -> list[Any]:
        place = place_of(url)
        try:
            return optuna.load_study(study_name=place.study_name, storage=place.open()).trials
        except KeyError:  # not created yet
            return []
        finally:
            place.close()
