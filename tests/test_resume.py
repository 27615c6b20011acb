"""Training that is stopped or killed goes on as if nothing had happened."""

import itertools
import json
import logging
import os
import signal
import sys
import threading
from typing import Any

import kills
import numpy as np
import pytest
import torch
from common import full_disk
from forked import Forked
from sklearn.exceptions import NotFittedError
from torch import nn

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster
from convtimenet.config import TrainConfig
from convtimenet.data.windows import Windows
from convtimenet.errors import CheckpointError
from convtimenet.network.other import OtherNetwork
from convtimenet.training import loop as training
from convtimenet.training.checkpoint import Checkpoint, Checkpoints, data_hash
from convtimenet.training.interrupt import Terminated, stop_requests
from convtimenet.training.step import Step

SMALL = {"d_model": 4, "d_ff": 8, "kernel_sizes": (3,), "dropout": 0.2}
EVERY_STEP = {"checkpoint_seconds": 0.0, "batch_size": 16, "lr": 1e-2}


def forecaster(**training) -> tuple[ConvTimeNetForecaster, tuple]:
    given = {"h": 3, "input_size": 12, "device": "cpu", "verbose": 0}
    given["n_epochs"] = training.pop("epochs", 3)
    model = {**SMALL, "patch_size": 4, "patch_stride": 2}
    values = np.sin(np.arange(70)[:, None] / np.array([2.0, 3.0]))
    estimator = ConvTimeNetForecaster(**given, model=model, training={**EVERY_STEP, **training})
    return estimator, (values,)


def classifier(**training) -> tuple[ConvTimeNetClassifier, tuple]:
    X = np.random.default_rng(0).normal(size=(50, 2, 20))
    X[::2] += 1
    epochs = training.pop("epochs", 3)
    settings = {**EVERY_STEP, "refit": True, "validation_fraction": 0.2, **training}
    given = {"n_epochs": epochs, "device": "cpu", "verbose": 0, "training": settings}
    model = SMALL | {"random_patches": 1}
    return ConvTimeNetClassifier(**given, model=model), (X, np.arange(50) % 2)


class OfAnotherLibrary(ConvTimeNetForecaster):
    """Its dropout draws from torch's own generator."""

    def _new_network(self, config):
        layers = nn.Linear(config.context_length, 8), nn.Dropout(0.5), nn.Linear(8, config.outputs)
        return OtherNetwork(nn.Sequential(*layers), config)


def other_network(**training) -> tuple[ConvTimeNetForecaster, tuple]:
    estimator, data = forecaster(**training)
    torch.manual_seed(5)
    return OfAnotherLibrary(**estimator.get_params()), data


def facts(estimator) -> tuple[dict, dict]:
    """Weights, and a history without the clock."""
    history = estimator.history_.to_dict()
    history.pop("seconds")
    for epoch in history["epochs"]:
        epoch.pop("seconds")
    return estimator.network_.state_dict(), history


def assert_same(estimator, other) -> None:
    (weights, history), (expected, said) = facts(estimator), facts(other)
    assert history == said
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())


@pytest.fixture
def stop_after(monkeypatch):
    """Send this process a signal in the n-th training step from now."""
    whole = Step.__call__

    def after(n: int, number: int = signal.SIGINT) -> None:
        left = iter(range(1, 10_000))

        def step(self, index):
            whole(self, index)
            if next(left) == n:
                signal.raise_signal(number)

        monkeypatch.setattr(Step, "__call__", step)

    return after


class TestStops:
    @pytest.mark.parametrize("build", [forecaster, classifier, other_network])
    def test_stopped_anywhere_and_gone_on_gives_the_same_bits(self, build, tmp_path, stop_after):
        given: Any = {"epochs": 2}  # the first, another one, and the second training
        estimator, data = build(**given)
        whole = estimator.fit(*data)
        total = whole.history_.steps
        for n in range(1, total + 1, 2):
            stop_after(n)
            again, _ = build(**given)
            with pytest.raises(KeyboardInterrupt, match="SIGINT stopped the training"):
                again.fit(*data, resume=tmp_path / str(n))
            stop_after(0)
            assert_same(build(**given)[0].fit(*data, resume=tmp_path / str(n)), whole)

    @pytest.mark.parametrize("build", [forecaster, classifier])
    def test_stopped_after_every_few_steps(self, build, tmp_path, stop_after):
        settings = {"patience": 2, "schedule": "decay"}
        estimator, data = build(**settings)
        whole, stops = estimator.fit(*data), 0
        while True:
            stop_after(2)
            try:
                again = build(**settings)[0].fit(*data, resume=tmp_path)
                break
            except KeyboardInterrupt:
                stops += 1
        assert stops >= whole.history_.steps // 2
        assert_same(again, whole)

    def test_checkpoints_change_nothing(self, tmp_path):
        estimator, data = classifier()
        whole = estimator.fit(*data)
        assert_same(classifier()[0].fit(*data, resume=tmp_path / "a"), whole)
        rarely, _ = classifier(checkpoint_seconds=1e6)
        assert_same(rarely.fit(*data, resume=tmp_path / "b"), whole)

    def test_a_stop_after_an_epoch_leaves_its_model(self, tmp_path, stop_after):
        estimator, data = forecaster()
        steps = estimator.fit(*data).history_.steps // 3
        stopped, _ = forecaster()
        stop_after(steps + 1)
        with pytest.raises(KeyboardInterrupt, match=r"weights of epoch 1.*resume='.*resumes"):
            stopped.fit(*data, resume=tmp_path)
        assert stopped.history_.stopped == "stopped by SIGINT"
        assert len(stopped.history_.epochs) == 1
        stop_after(0)
        one, _ = forecaster(epochs=1, refit=False)
        np.testing.assert_array_equal(stopped.predict(), one.fit(*data).predict())

    def test_a_stop_before_any_epoch_leaves_none(self, stop_after):
        estimator, data = forecaster()
        stop_after(1)
        with pytest.raises(KeyboardInterrupt, match=r"no epoch was finished.*give a folder"):
            estimator.fit(*data)
        with pytest.raises(NotFittedError):
            estimator.predict()

    def test_sigterm_exits_with_143(self, stop_after):
        estimator, data = classifier()
        stop_after(4, signal.SIGTERM)
        with pytest.raises(Terminated, match="SIGTERM stopped the training") as stopped:
            estimator.fit(*data)
        assert stopped.value.code == 143
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    def test_handlers_come_back_and_own_ones_stay(self):
        before = signal.getsignal(signal.SIGINT)
        with stop_requests() as stop:
            assert signal.getsignal(signal.SIGINT) != before
            signal.raise_signal(signal.SIGINT)
            assert stop.signal == signal.SIGINT
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == before
        noted = []
        signal.signal(signal.SIGINT, lambda *_: noted.append(1))
        try:
            with stop_requests() as stop:
                signal.raise_signal(signal.SIGINT)
            assert (noted, stop.signal) == ([1], 0)
        finally:
            signal.signal(signal.SIGINT, before)

    def test_another_thread_trains_without_handlers(self):
        estimator, data = forecaster()
        worker = threading.Thread(target=estimator.fit, args=data)
        worker.start()
        worker.join()
        assert estimator.history_.best_epoch


class TestFolder:
    @pytest.mark.parametrize("build", [forecaster, classifier])
    def test_a_finished_training_is_not_done_again(self, build, tmp_path, monkeypatch):
        estimator, data = build()
        first = estimator.fit(*data, resume=tmp_path)
        monkeypatch.setattr(Step, "__call__", None)
        again = build()[0].fit(*data, resume=tmp_path)
        assert_same(again, first)
        assert again.history_.seconds == first.history_.seconds

    def test_a_finished_first_training_is_not_done_again(self, tmp_path, stop_after, monkeypatch):
        estimator, data = classifier()
        first_steps = estimator.fit(*data).history_.steps
        stop_after(first_steps + 1)
        with pytest.raises(KeyboardInterrupt):
            classifier()[0].fit(*data, resume=tmp_path)
        seen = []
        stop_after(0)
        whole = Step.__call__
        monkeypatch.setattr(Step, "__call__", lambda s, i: (seen.append(1), whole(s, i))[1])
        again = classifier()[0].fit(*data, resume=tmp_path)
        assert_same(again, estimator)
        # the second training, on all 50 cases, is short of the one step done before
        assert len(seen) == 4 * again.history_.best_epoch - 1

    def test_few_files_are_kept(self, tmp_path):
        estimator, data = classifier()
        estimator.fit(*data, resume=tmp_path / "made" / "here")
        names = sorted(
            path.name.split("-")[0] for path in (tmp_path / "made/here").glob("*.safetensors")
        )
        assert names == ["choose", "choose", "refit", "refit"]

    def test_on_a_full_disk_training_goes_on_without(self, tmp_path, caplog):
        estimator, data = forecaster()
        with full_disk():
            estimator.fit(*data, resume=tmp_path / "full")
        assert [*(tmp_path / "full").glob("*.safetensors")] == []
        said = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
        assert len(said) == 1
        assert said[0].startswith(f"no checkpoint could be written in {tmp_path / 'full'} (File to")
        assert_same(estimator, forecaster()[0].fit(*data))

    def test_what_a_killed_write_left_is_removed(self, tmp_path):
        left = tmp_path / ".choose-00000003-ab.safetensors.77.tmp"
        left.write_bytes(b"half")
        estimator, data = forecaster()
        estimator.fit(*data, resume=tmp_path)
        assert not left.exists()

    @pytest.mark.parametrize("how", ["flipped", "cut", "empty"])
    def test_a_damaged_newest_falls_back(self, tmp_path, stop_after, caplog, how):
        estimator, data = forecaster()
        whole = estimator.fit(*data)
        stop_after(5)
        with pytest.raises(KeyboardInterrupt):
            forecaster()[0].fit(*data, resume=tmp_path)
        stop_after(0)
        newest = max(tmp_path.iterdir())
        content = bytearray(newest.read_bytes())
        content[len(content) // 2] ^= 1
        newest.write_bytes({"flipped": content, "cut": content[:-1], "empty": b""}[how])
        with caplog.at_level(logging.WARNING):
            again = forecaster()[0].fit(*data, resume=tmp_path)
        assert "is damaged; using the one before it" in caplog.text
        assert_same(again, whole)

    def test_nothing_undamaged_is_an_error(self, tmp_path):
        estimator, data = forecaster()
        estimator.fit(*data, resume=tmp_path)
        for path in tmp_path.iterdir():
            path.write_bytes(b"")
        with pytest.raises(CheckpointError, match=r"every checkpoint in .* is damaged; remove"):
            forecaster()[0].fit(*data, resume=tmp_path)

    def test_another_run_is_refused(self, tmp_path):
        estimator, (values,) = forecaster()
        estimator.fit(values, resume=tmp_path)
        kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
        message = r"another run \(its training.lr is 0.01, here 0.5\); use the settings"
        with pytest.raises(CheckpointError, match=message):
            forecaster(lr=0.5)[0].fit(values, resume=tmp_path)
        other = values.copy()
        other[40, 1] += 1e-6
        with pytest.raises(CheckpointError, match="its training data differs"):
            forecaster()[0].fit(other, resume=tmp_path)
        estimator, data = classifier()
        with pytest.raises(CheckpointError, match=r"its estimator is 'ConvTimeNetForecaster'"):
            estimator.fit(*data, resume=tmp_path)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept

    def test_how_often_is_no_other_run(self, tmp_path):
        estimator, data = forecaster()
        estimator.fit(*data, resume=tmp_path)
        other, _ = forecaster(checkpoint_seconds=30.0, memory_budget=3.0)
        assert_same(other.fit(*data, resume=tmp_path), estimator)

    def test_a_newer_format_is_refused(self, tmp_path):
        Checkpoints(tmp_path, "choose", {"format": 99}).save(Checkpoint({}, {}))
        with pytest.raises(CheckpointError, match="its format is 99, here 1"):
            Checkpoints(tmp_path, "choose", {}).newest()

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").touch()
        estimator, data = forecaster()
        with pytest.raises(CheckpointError, match=r"a writable folder, found .*; choose another"):
            estimator.fit(*data, resume=tmp_path / "file" / "inner")

    def test_a_file_is_no_folder(self, tmp_path):
        path = tmp_path / "file"
        path.write_text("")
        estimator, data = forecaster()
        with pytest.raises(CheckpointError, match="must be a folder"):
            estimator.fit(*data, resume=path)

    def test_a_saved_model_is_no_folder_and_stays_one(self, tmp_path):
        estimator, data = forecaster()
        folder = estimator.set_params(n_epochs=1).fit(*data).save(tmp_path / "m")
        before = {path.name for path in folder.iterdir()}
        message = r"m holds 'README.md', 'data.safetensors', 'manifest.json' and 3 more; name"
        for again in (estimator.fit, estimator.pretrain):
            with pytest.raises(CheckpointError, match=message):
                again(*data, resume=folder)
        assert {path.name for path in folder.iterdir()} == before
        assert ConvTimeNetForecaster.load(folder).h == 3


WAITING = """
import signal, sys
from test_resume import forecaster
from convtimenet.training.step import Step

whole, left = Step.__call__, iter(range(5, 0, -1))

def step(self, index):
    if next(left) == 1:
        print("in the middle", flush=True)
        signal.pause()
    whole(self, index)

Step.__call__ = step
estimator, data = forecaster()
estimator.fit(*data, resume=sys.argv[1])
"""


class TestOneAtATime:
    @pytest.fixture
    def other(self, tmp_path):
        """A process in the middle of a training into the folder."""
        process = Forked(WAITING, tmp_path)
        assert process.first_line() == "in the middle"
        yield process
        process.send_signal(signal.SIGKILL)
        process.communicate()

    def test_a_second_process_is_refused_until_the_first_is_killed(self, tmp_path, other):
        """Also while the first is stopped."""
        estimator, data = forecaster()
        kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
        message = rf"{tmp_path} is in use: process {other.pid} on .* choose another folder"
        for _ in range(2):
            with pytest.raises(CheckpointError, match=message):
                estimator.fit(*data, resume=tmp_path)
        other.send_signal(signal.SIGSTOP)
        with pytest.raises(CheckpointError, match=message):
            estimator.fit(*data, resume=tmp_path)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept
        other.send_signal(signal.SIGKILL)
        other.join()
        seen = forecaster()[0].fit(*data, resume=tmp_path)
        assert_same(seen, forecaster()[0].fit(*data))

    def test_threads_of_one_process_are_kept_apart_too(self, tmp_path, monkeypatch):
        whole, data = Step.__call__, forecaster()[1]
        inside, go_on = threading.Event(), threading.Event()

        def step(self, index):
            inside.set()
            go_on.wait()
            whole(self, index)

        monkeypatch.setattr(Step, "__call__", step)
        estimator, _ = forecaster()
        worker = threading.Thread(target=estimator.fit, args=data, kwargs={"resume": tmp_path})
        worker.start()
        inside.wait()
        with pytest.raises(CheckpointError, match=f"process {os.getpid()} on"):
            forecaster()[0].fit(*data, resume=tmp_path)
        go_on.set()
        worker.join()
        assert estimator.history_.best_epoch
        assert_same(forecaster()[0].fit(*data, resume=tmp_path), estimator)  # free again

    def test_a_refused_run_leaves_the_folder_free(self, tmp_path):
        estimator, data = forecaster()
        estimator.fit(*data, resume=tmp_path)
        for _ in range(2):
            with pytest.raises(CheckpointError, match="another run"):
                forecaster(lr=0.5)[0].fit(*data, resume=tmp_path)
        assert_same(forecaster()[0].fit(*data, resume=tmp_path), estimator)


def test_time_before_a_stop_counts(tmp_path, monkeypatch, stop_after):
    estimator, data = forecaster(time_limit=500.0)
    stop_after(1)
    with monkeypatch.context() as patched:
        # every look at the clock takes 200 seconds
        patched.setattr(training.time, "monotonic", itertools.count(0.0, 200.0).__next__)
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(*data, resume=tmp_path)
    stop_after(0)
    again = forecaster(time_limit=500.0)[0].fit(*data, resume=tmp_path)
    assert again.history_.stopped == "time limit of 500.0 s"
    assert again.history_.steps == 2
    assert 500 < again.history_.seconds < 1000


def test_the_hash_sees_every_value_of_overlapping_windows():
    values = torch.arange(40.0).view(2, 20)
    first = data_hash(Windows.between(values, 6, 2, 0, 20))
    assert data_hash(Windows.between(values.clone(), 6, 2, 0, 20)) == first
    assert data_hash(Windows.between(values, 6, 2, 0, 19)) != first
    assert data_hash(None) != first
    for place in range(40):
        changed = values.clone()
        changed.view(-1)[place] += 0.5
        assert data_hash(Windows.between(changed, 6, 2, 0, 20)) != first


def test_killed_processes_go_on(tmp_path, monkeypatch):
    """SIGKILL at random moments; `make kills` does the same more often."""
    flags = ["--kills", "3", "--seed", "7", "--epochs", "6", "--json", tmp_path / "summary.json"]
    monkeypatch.setattr(sys, "argv", ["kills.py", *map(str, flags)])
    assert kills.main() == 0
    runs = json.loads((tmp_path / "summary.json").read_text())["runs"]
    assert [run["task"] for run in runs] == ["forecast", "classify"]
    for run in runs:
        assert (run["tried"], run["survived"], run["identical"]) == (3, 3, True)
        assert run["steps_before_kills"][-1] > 0


def test_seconds_between_checkpoints_are_checked():
    assert TrainConfig(checkpoint_seconds=0).checkpoint_seconds == 0
    with pytest.raises(ValueError, match="checkpoint_seconds must be at least 0"):
        TrainConfig(checkpoint_seconds=-1)
