"""Networks of quality="best" that train at the same time: the same bits as one after the other."""

from __future__ import annotations

import os
import pickle
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import Forked
from joblib import parallel_config
from pages import blocks
from test_portfolio import FIXED, cases, forecaster, labelled, stopped_at, table

from convtimenet.cli.main import _parsed
from convtimenet.data.windows import Exogenous, Windows
from convtimenet.errors import CheckpointError, ConfigError, TrainingError
from convtimenet.estimators import base
from convtimenet.estimators.trainings import _signal_from, at_once, in_waves
from convtimenet.files import locked
from convtimenet.training.checkpoint import data_hash, only_process, seed_of

THREE = {name: FIXED[name] for name in FIXED if name not in ("pooling", "random_patches")}
"""Settings that leave three members."""


def three(**settings: Any) -> Any:
    return forecaster(**{"model": THREE, "training": {"loss": "mae"}, **settings})


@pytest.fixture(scope="module")
def alone() -> Any:
    """Three members, trained one after the other."""
    return three().fit(table())


def assert_same(model: Any, other: Any) -> None:
    weights, expected = model.network_.state_dict(), other.network_.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    assert model.history_.weights == other.history_.weights
    assert model.notices_ == other.notices_
    found, known = ([one.to_dict() for one in each.members_] for each in (model, other))
    for each in (*found, *known):
        each["history"].pop("seconds")
        each["history"]["epochs"] = [{**e, "seconds": 0} for e in each["history"]["epochs"]]
    assert found == known


class TestSame:
    def test_in_processes(self, alone):
        model = three(n_jobs=2).fit(table())
        assert_same(model, alone)
        assert model.scores_ == alone.scores_
        found, expected = model.predict(level=80), alone.predict(level=80)
        np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())

    def test_with_the_backend_of_a_context(self, monkeypatch):
        X, y = cases()
        expected = labelled(model=FIXED).fit(X, y)
        threads, whole = [], base.train

        def seen(*given: Any, **settings: Any) -> Any:
            threads.append(torch.get_num_threads())
            return whole(*given, **settings)

        monkeypatch.setattr(base, "train", seen)
        before = torch.get_num_threads()
        with parallel_config("threading", n_jobs=3):
            model = labelled(model=FIXED, verbose=0).fit(X, y)
        assert_same(model, expected)
        assert threads[:2] == [1, 1]
        assert torch.get_num_threads() == before

    def test_progress_is_that_of_all(self, capsys):
        with parallel_config("threading"):
            three(n_jobs=2, verbose=1, refit=False).fit(table())
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == "training: 3 networks, 2 at a time"
        assert all(line.startswith("training: ") for line in lines)


class TestTimeAndErrors:
    def test_with_a_limit_so_many_begin_together(self, monkeypatch):
        whole = base.train

        def slow(*given: Any, **settings: Any) -> Any:
            history = whole(*given, **settings)
            history.seconds = 10.0
            return history

        monkeypatch.setattr(base, "train", slow)
        with parallel_config("threading"):
            model = forecaster(time_limit=25.0, refit=False, n_jobs=2).fit(table())
        # two waves of 10 s; one after the other there is time for two networks
        assert len(model.members_) == 4
        told = "4 of 5 networks were trained: the time limit of 25 s left none for another"
        assert told in model.notices_

    def test_duration_of_waves(self):
        assert in_waves([3, 4, 5, 1, 2], 1) == 15
        assert in_waves([3, 4, 5, 1, 2], 2) == 4 + 5 + 2
        assert in_waves([], 2) == 0

    @pytest.mark.parametrize("failing", [1, 3])
    def test_a_member_that_fails(self, monkeypatch, failing):
        whole = base.train

        def fails(*given: Any, **settings: Any) -> Any:
            if settings["label"] == f"training, member {failing} of 3":
                raise TrainingError("training did not converge")
            return whole(*given, **settings)

        monkeypatch.setattr(base, "train", fails)
        with parallel_config("threading", n_jobs=2):
            if failing == 1:
                with pytest.raises(TrainingError, match="did not converge"):
                    three().fit(table())
                return
            model = three(refit=False).fit(table())
        assert model.notices_[0] == "member 3 of 3 is left out: training did not converge"
        assert len(model.members_) == 2

    @pytest.mark.parametrize("n_jobs", [0, 1.5, True, "all"])
    def test_wrong_numbers_are_refused(self, n_jobs):
        with pytest.raises(ConfigError, match="n_jobs must"):
            at_once(n_jobs, 5)

    def test_numbers(self):
        assert [at_once(n, 5) for n in (None, 1, 2, 9)] == [1, 1, 2, 5]
        assert at_once(2, 1) == 1
        with parallel_config(n_jobs=3):
            assert at_once(None, 5) == 3


class TestStops:
    @pytest.mark.parametrize("n_jobs", [1, 2])
    def test_it_goes_on_to_the_same_bits(self, alone, monkeypatch, tmp_path, n_jobs):
        """A stopped run goes on with any number of processes."""
        with monkeypatch.context() as patched, parallel_config("threading"):
            patched.setattr(base, "train", stopped_at("training, member 3 of 3", base.train))
            model = three(n_jobs=2)
            with pytest.raises(KeyboardInterrupt, match="SIGINT stopped the training"):
                model.fit(table(), resume=tmp_path)
        assert model.predict().shape == (3, 3)
        assert not list(tmp_path.glob(".running-*"))
        with parallel_config("threading"):
            assert_same(three(n_jobs=n_jobs).fit(table(), resume=tmp_path), alone)

    @pytest.mark.parametrize("n_jobs", [1, 2])
    def test_what_a_killed_parent_left_is_removed(self, tmp_path, n_jobs):
        """Its processes may have been killed with it. What a living one holds stays."""
        killed = Forked(HOLDING, tmp_path)
        left = Path(killed.first_line())
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert left.parent == tmp_path
        assert (left / "parent").read_text() == f"process {killed.pid} on {platform.node()}"
        living = tmp_path / ".running-living"
        living.mkdir()
        with locked(living / "parent"), parallel_config("threading"):
            three(n_jobs=n_jobs, refit=False).fit(table(), resume=tmp_path)
            assert list(tmp_path.glob(".running-*")) == [living]

    def test_a_folder_in_use_is_refused_at_once(self, tmp_path):
        with (
            only_process(tmp_path),
            parallel_config("threading"),
            pytest.raises(CheckpointError, match=f"in use: process {os.getpid()} on"),
        ):
            three(n_jobs=2).fit(table(), resume=tmp_path)

    def test_the_seed_is_that_of_the_call(self, tmp_path):
        """Whichever member's checkpoint is there."""
        three().fit(table(), resume=tmp_path)
        for path in tmp_path.glob("member1-*"):
            path.unlink()
        assert seed_of(tmp_path) == 2023

    def test_what_a_parent_tells(self, tmp_path):
        parent = tmp_path / "running" / "parent"
        parent.parent.mkdir()
        with locked(parent):
            assert _signal_from(parent, locks=True) == 0
            parent.write_text("SIGINT")
            assert _signal_from(parent, locks=True) == signal.SIGINT
        parent.write_text("process 1 on this machine")
        assert _signal_from(parent, locks=False) == 0
        assert _signal_from(parent, locks=True) == signal.SIGTERM  # it has died
        assert not parent.parent.exists()
        assert _signal_from(parent, locks=True) == signal.SIGTERM


def test_windows_travel_without_their_views():
    values = torch.arange(3000.0).view(3, 1000)
    none = torch.zeros(0, 1000), torch.zeros(0, 1000), torch.zeros(1, 0), torch.zeros(1, 0)
    exogenous = Exogenous(*none, torch.tensor([0, 1000]))
    for known in (None, values > 4):
        windows = Windows.between(values, 96, 24, 0, 1000, known=known, exogenous=exogenous)
        text = pickle.dumps(windows)
        assert len(text) < 1.6 * values.nbytes + windows.starts.nbytes
        again = pickle.loads(text)
        assert data_hash(again) == data_hash(windows)
        assert torch.equal(again.batch(torch.arange(5)).y, windows.batch(torch.arange(5)).y)


def test_on_the_command_line():
    flags = _parsed(["forecast", "a.csv", "--quality", "best", "--n_jobs", "3"])
    assert flags.forecast.n_jobs == 3


HOLDING = """
import sys, time
from pathlib import Path
from convtimenet.estimators.trainings import _folder
with _folder(Path(sys.argv[1])) as (folder, locks):
    print(folder, flush=True)
    time.sleep(600)
"""

KILLED = """
import sys
from test_parallel import long
from test_portfolio import table
long(n_jobs=2).fit(table(), resume=sys.argv[1])
"""


def long(**settings: Any) -> Any:
    """Members whose training takes seconds."""
    training = {"loss": "mae", "checkpoint_seconds": 0.0, "patience": None}
    return three(n_epochs=150, refit=False, training=training, **settings)


@pytest.mark.slow
def test_after_a_kill_it_goes_on_to_the_same_bits(tmp_path):
    """SIGKILL ends only the parent: its processes end by themselves."""
    command = [sys.executable, "-c", KILLED, tmp_path]
    modules = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=modules) as process:
        while len({path.name[:7] for path in tmp_path.glob("*-choose-*.safetensors")}) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    assert list(tmp_path.glob("*.safetensors"))  # which its processes may replace until they end
    model = long(n_jobs=1).fit(table(), resume=tmp_path)
    assert_same(model, long().fit(table()))
    assert not list(tmp_path.glob(".running-*"))


@pytest.mark.scale
def test_on_ray(alone, tmp_path):
    """The lines of docs/design/portfolio.md, with a small table and network: more jobs than
    networks or cores, and a folder."""
    ray = pytest.importorskip("ray")
    models = []

    def small(**given: Any) -> Any:
        assert given == {"h": 24, "quality": "best"}
        models.append(three())
        return models[-1]

    text = (Path(__file__).parents[1] / "docs" / "design" / "portfolio.md").read_text()
    (lines,) = [one.code for one in blocks(text) if "register_ray" in one.code]
    assert lines.count("/shared/ckpt") == 1
    try:
        exec(
            lines.replace("/shared/ckpt", str(tmp_path)),
            {"ConvTimeNetForecaster": small, "sales": table()},
        )
    finally:
        ray.shutdown()
    assert_same(models[0], alone)
    assert {path.name.split("-")[0] for path in tmp_path.glob("*.safetensors")} == {
        "member1", "member2", "member3",
    }  # fmt: skip
    assert not list(tmp_path.glob(".running-*"))


@pytest.mark.scale
def test_on_dask(alone):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        with distributed.get_task_stream(client) as done, parallel_config("dask", n_jobs=2):
            model = three().fit(table())
        workers = {one["worker"] for one in done.data}
    assert_same(model, alone)
    assert len(workers) == 2
