"""`tune`: what is searched, its result, and that no kill and no second process spoils it."""

import json
import logging
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from sklearn.base import clone

from convtimenet import (
    ConvTimeNetClassifier,
    ConvTimeNetForecaster,
    ConvTimeNetRegressor,
    TrainConfig,
    processes,
    tune,
)
from convtimenet.callbacks import AbandonTraining, TrainingProgress
from convtimenet.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MissingExtraError,
    ProcessError,
    TrainingError,
)
from convtimenet.estimators import base
from convtimenet.estimators.tuning import search, study
from convtimenet.estimators.tuning.problem import problem_of
from convtimenet.estimators.tuning.search import Search
from convtimenet.estimators.tuning.space import Facts, Range, Space, derived

TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,)}
WAVES = np.sin(np.arange(160)[:, None] / np.array([3.0, 5.0]))
WAVES += np.random.default_rng(1).normal(size=WAVES.shape) / 3
X = np.sin(np.arange(30) * np.linspace(0.2, 1, 40)[:, None])[:, None]
CLASSES = np.arange(40) // 20
LR: dict[str, Any] = {"training.lr": (1e-4, 1e-1)}


def forecaster(**settings: Any) -> ConvTimeNetForecaster:
    # without the linear stream, so that settings change the scores
    model = {**TINY, "linear": False}
    given = {"n_epochs": 2, "batch_size": 64, "model": model, "verbose": 0, **settings}
    return ConvTimeNetForecaster(4, 16, device="cpu", **given)


def labelled(kind: Any, **settings: Any) -> Any:
    model = {**TINY, "random_patches": 1}
    return kind(**{"n_epochs": 1, "model": model, "device": "cpu", "verbose": 0, **settings})


def facts(estimator: Any, table: Any, labels: Any = None) -> Facts:
    return problem_of(estimator, table, labels, {}).facts


def copy_of(model: Any) -> Any:
    return clone(model)


class TestSpace:
    def test_of_a_long_table(self):
        hourly = np.random.default_rng(0).normal(size=(3000, 1))
        times = np.datetime64("2024-01-01T00", "h") + np.arange(3000)
        table = {"date": times.astype("datetime64[ns]"), "a": hourly[:, 0]}
        import polars

        found = derived(facts(ConvTimeNetForecaster(24, verbose=0), polars.DataFrame(table)), ())
        assert found == {
            "input_size": (336, 512, 720, 168, 96),
            "model.patch_size": (16, 24, 32),
            "relative_stride": (0.5, 1.0),
            "blocks": (3, 6, 9),
            "largest_kernel": (0.25, 0.5, 1.0),
            "model.d_model": (32, 64, 128),
            "model.dropout": Range(0.0, 0.5),
            "training.lr": Range(4e-5, 1e-3, log=True),
            "training.loss": ("mae", "mse", "huber"),
        }

    def test_of_cases(self):
        found = derived(facts(ConvTimeNetClassifier(verbose=0), X, CLASSES), ())
        assert found == {
            "model.patch_size": (2, 4),
            "relative_stride": (0.5, 1.0),
            "blocks": (2, 4, 6),
            "largest_kernel": (0.25, 0.5, 1.0),
            "model.d_model": (16, 32, 64),
            "model.dropout": Range(0.0, 0.5),
            "training.lr": Range(1e-3 / 5, 5e-3, log=True),
            "model.pooling": ("mean", "max"),
        }

    def test_the_default_is_told_to_the_sampler(self):
        given: dict[str, Any] = {
            "training.lr": (1e-5, 1.0),
            "model.dropout": [0.0, 0.1],  # not the default's
            "blocks": [3, 6],
            "input_size": [16, 32],
        }
        model = ConvTimeNetForecaster(4, lr=None, model={"d_model": 8}, verbose=0)
        with Search(model, WAVES, space=given) as made:
            assert made.study.space.default == {"training.lr": 2e-4, "blocks": 6}
            claimed = made.study.claim(1)
            assert claimed is not None
            assert claimed.settings == {}
            assert claimed._own.params == {"training.lr": 2e-4, "blocks": 6}

    def test_where_no_network_is_trained_only_the_context(self):
        found = derived(facts(ConvTimeNetForecaster(4, verbose=0), WAVES[:90]), ())
        assert found == {"input_size": (43, 21)}

    def test_without_what_the_user_has_set(self):
        quantiles = {"quantiles": (0.1, 0.5, 0.9), "kernel_sizes": (3, 5), "patch_stride": 4}
        model = ConvTimeNetForecaster(4, 32, lr=1e-3, model=quantiles, verbose=0)
        with Search(model, WAVES) as made:
            assert set(made.study.space.parameters) == {
                "model.patch_size",
                "model.d_model",
                "model.dropout",
            }

    def test_contexts_leave_the_same_series_a_validation_split(self):
        import polars

        lengths = [150, 120, 120, 90]
        panel = polars.DataFrame(
            {
                "unique_id": np.repeat(["a", "b", "c", "d"], lengths),
                "ds": np.concatenate([np.arange(n) for n in lengths]),
                "y": np.random.default_rng(0).normal(size=sum(lengths)),
            }
        )
        # a validation split of 24 rows leaves the second series 96: enough for 58 + 4, not for 100
        model = ConvTimeNetForecaster(4, model={"dropout": 0.1}, verbose=0)
        assert facts(model, panel).contexts == (58, 29)

    @pytest.mark.parametrize("context", [48, 96])
    def test_settings_suit_each_other(self, context):
        model = ConvTimeNetForecaster(4, context, model={"small_kernel": 5}, verbose=0)
        own = {"input_size": context, "model.small_kernel": 5}
        space = Space({}, facts(model, np.tile(WAVES, (4, 1))), own)
        values = {"model.patch_size": 8, "relative_stride": 1.0, "blocks": 3, "model.d_model": 32}
        patches = (context - 8) // 8 + 2
        largest = patches // 2 * 2 + 1
        found = space.settings({**values, "largest_kernel": 1.0, "training.lr": 0.01})
        assert found.pop("model.kernel_sizes")[-1] == max(7, largest)
        assert found == {
            "model.patch_size": 8,
            "model.patch_stride": 8,
            "model.d_model": 32,
            "model.d_ff": 128,
            "training.lr": 0.01,
        }
        kernels = space.settings({**values, "largest_kernel": 0.25})["model.kernel_sizes"]
        assert kernels == (5, 7, 7)
        assert space.settings({"training.lr": 0.01}) == {"training.lr": 0.01}

    @pytest.mark.parametrize(("value", "short"), [(1.2345, 1.2345), (1.6789, 1.68), (2.0, 1.9999)])
    def test_numbers_are_short_and_within_their_range(self, value, short):
        drawn: Any = SimpleNamespace(suggest_float=lambda *_, log: value)
        space = Space({"training.lr": Range(1.2345, 1.9999)}, facts(forecaster(), WAVES), {})
        assert space.suggest(drawn) == {"training.lr": short}

    @pytest.mark.parametrize(
        ("name", "values", "plain"),
        [
            ("training.lr", (np.float64(1e-4), np.float64(1e-2)), Range(1e-4, 1e-2, log=True)),
            ("training.lr", [np.float64(0.25), np.float32(0.5)], (0.25, 0.5)),
            ("model.d_model", (np.int64(8), np.int32(16)), Range(8, 16)),
            ("training.loss", [np.str_("mae")], ("mae",)),
            ("model.kernel_sizes", [np.array([3, 5]), [np.int64(3)]], ((3, 5), (3,))),
        ],
    )
    def test_numbers_of_numpy(self, name, values, plain):
        with Search(ConvTimeNetForecaster(4, 16, verbose=0), WAVES, space={name: values}) as made:
            assert repr(made.study.space.parameters) == repr({name: plain})  # of Python's types

    @pytest.mark.parametrize(
        ("space", "said"),
        [
            ({"lr": [1]}, "no parameter 'lr' to search; did you mean training.lr?"),
            ({"training.lr": 0.1}, r"training.lr: expected .* a pair \(low, high\), found 0.1"),
            ({"training.lr": (0.1, 0.01)}, "training.lr: expected a list of choices"),
            ({"training.epochs": [1, 2]}, "training.epochs is set on the estimator"),
            ({"blocks": [1, 2]}, "model.kernel_sizes is set on the estimator, so blocks"),
            ({"model.patch_stride": [1], "relative_stride": [1.0]}, "decide the same"),
            ({}, "space names no parameter"),
            ({"training.validation_fraction": [0.1, 0.4]}, "what is held out and scored, not how"),
            ({"training.protocol": ["paper"]}, "training.protocol cannot be searched"),
            ({"training.refit": [True, False]}, "training.refit cannot be searched"),
            ({"training.seed": [1, 2]}, "training.seed cannot be searched: it decides chance"),
            ({"training.device": ["cpu"]}, "training.device cannot be searched"),
            ({"training.memory_budget": [1.0]}, "training.memory_budget cannot be searched"),
            ({"training.checkpoint_seconds": (1, 9)}, "checkpoint_seconds cannot be searched"),
        ],
    )
    def test_a_space_that_makes_no_sense(self, space, said):
        with pytest.raises(ConfigError, match=said):
            tune(forecaster(), WAVES, space=space)


class TestResult:
    def test_the_best_settings_give_the_best_score(self):
        model = forecaster()
        found = tune(model, WAVES, trials=4, space=LR)
        scores = [row["score"] for row in found.trials]
        assert found.default == scores[0]
        assert found.score == min(scores) < found.default
        assert [row["trial"] for row in found.trials] == [0, 1, 2, 3]
        best = found.trials[scores.index(found.score)]
        assert found.best == {"training.lr": best["training.lr"]}
        assert found.trials[0]["training.lr"] is None
        again = copy_of(model)
        again.set_params(**found.settings)
        once = copy_of(again).fit(WAVES, refit=False)
        assert once.scores_["ConvTimeNet"]["mase"] == found.score
        assert (again.fit(WAVES).predict() == found.model.predict()).all()
        assert found.model.history_.refitted
        default = copy_of(model).fit(WAVES, refit=False)
        assert default.scores_["ConvTimeNet"]["mase"] == found.default
        shown = repr(found)
        assert f"mase on the validation split: {found.score:.4g}; default settings" in shown
        assert "4 trials: 4 complete" in shown
        assert f"training.lr: {best['training.lr']}" in shown

    @pytest.mark.parametrize(
        ("kind", "metric"), [(ConvTimeNetClassifier, "loss"), (ConvTimeNetRegressor, "mse")]
    )
    def test_of_labelled_cases(self, kind, metric):
        model = labelled(kind)
        found = tune(model, X, CLASSES, trials=2, space={"model.pooling": ["max"]})
        assert found.metric == metric
        once = copy_of(model).set_params(training={"refit": False})
        assert once.fit(X, CLASSES).scores_[metric] == found.default
        assert found.trials[1]["model.pooling"] == "max"
        assert found.score == min(row["score"] for row in found.trials)
        assert found.model.predict(X).shape == (40,)
        assert model.training is None
        assert not hasattr(model, "network_")

    def test_the_same_seed_gives_the_same_trials(self):
        first, second, other = (
            [row["training.lr"] for row in tune(forecaster(n_epochs=1), WAVES, trials=3, space=LR,
                                                seed=seed).trials]
            for seed in (1, 1, 2)
        )  # fmt: skip
        assert first == second != other

    def test_trials_see_no_rows_behind_the_split(self):
        changed = WAVES.copy()
        changed[120:] = 99
        rows = [
            tune(forecaster(), table, trials=2, space=LR, split=(90, 120)).trials
            for table in (WAVES, changed)
        ]
        assert [one["score"] for one in rows[0]] == [one["score"] for one in rows[1]]

    def test_settings_that_were_tried_are_not_trained_again(self):
        found = tune(forecaster(n_epochs=1), WAVES, trials=4, space={"training.loss": ["mse"]})
        seconds = [row["seconds"] for row in found.trials]
        assert len({row["score"] for row in found.trials[1:]}) == 1
        assert min(seconds[:2]) > 0
        assert seconds[2:] == [0, 0]

    def test_a_table_of_trials_as_csv(self, tmp_path):
        found = tune(
            forecaster(n_epochs=1, model={"linear": False, "d_model": 8}),
            WAVES,
            trials=2,
            space={"model.kernel_sizes": [[3, 5]]},
        )
        found.write_csv(tmp_path / "trials.csv")
        head, default, other = (tmp_path / "trials.csv").read_text().splitlines()
        assert head == "trial,state,score,epochs,seconds,model.kernel_sizes,error"
        assert default.startswith(f"0,complete,{found.default},1,")
        assert default.endswith(",,")
        assert other.endswith(",3-5,")


@pytest.mark.parametrize("state", [None, np.random.RandomState(3)])
def test_without_a_number_as_seed_trials_share_the_searchs(state, tmp_path):
    model = labelled(ConvTimeNetClassifier, random_state=state)
    given: Any = {"space": {"model.pooling": ["max"]}, "seed": 5, "storage": tmp_path / "s.log"}
    first = tune(model, X, CLASSES, trials=1, **given)
    fixed = labelled(ConvTimeNetClassifier, random_state=5, training={"refit": False})
    assert first.default == fixed.fit(X, CLASSES).scores_["loss"]
    again = tune(model, X, CLASSES, trials=2, **given)
    assert again.trials[0]["seconds"] == first.trials[0]["seconds"]  # it is not repeated


class Raising:
    """Raises an exception in the second and the third training."""

    trainings = 0

    def __init__(self, error: BaseException):
        self.error = error

    def on_epoch_end(self, progress: TrainingProgress) -> None:
        Raising.trainings += progress.epoch == 1
        if Raising.trainings in (2, 3):
            raise self.error


@pytest.fixture(autouse=True)
def _no_trainings():
    Raising.trainings = 0


class TestTrialsThatEndEarly:
    def test_a_pruned_trial_leaves_nothing(self, monkeypatch, tmp_path):
        asked = []

        def should_prune(trial: study.Trial, score: float, epoch: int) -> bool:
            asked.append((trial.number, epoch))
            trial._own.report(score, epoch)
            return True

        monkeypatch.setattr(study.Trial, "report", should_prune)
        found = tune(forecaster(n_epochs=3), WAVES, trials=3, space=LR, storage=tmp_path / "s.log")
        # the default is never pruned, and no trial is after its last epoch
        assert asked == [(0, 1), (0, 2), (0, 3), (1, 1), (2, 1)]
        assert [row["state"] for row in found.trials] == ["complete", "pruned", "pruned"]
        assert [row["epochs"] for row in found.trials] == [3, 1, 1]
        assert found.trials[1]["score"] is None
        assert found.best == {}
        assert sorted(path.name for path in tmp_path.rglob("*")) == [
            "claim",
            "journal",
            "s.log",
            "s.log.locks",
        ]

    def test_what_is_worse_than_the_median_is_pruned(self):
        good, bad = [0.01 + i / 1e4 for i in range(8)], [1e-9, 2e-9, 3e-9, 4e-9]
        model = forecaster(n_epochs=9, lr=None, training={"patience": None})
        found = tune(model, WAVES, trials=12, space={"training.lr": [*good, *bad]})
        pruned = [row for row in found.trials if row["state"] == "pruned"]
        assert len(pruned) < len(found.trials) - 5
        assert set(bad) & {row["training.lr"] for row in pruned}
        assert min(row["epochs"] for row in pruned) == 3  # a quarter of nine, and more

    def test_time_that_is_over_leaves_the_default(self):
        found = tune(forecaster(), WAVES, trials=5, time_limit=0, space=LR)
        assert [row["trial"] for row in found.trials] == [0]

    def test_a_trial_that_runs_out_of_time_is_given_back(self, monkeypatch, tmp_path):
        clock = [0.0]
        monkeypatch.setattr(search.time, "monotonic", lambda: clock[0])

        class Late:
            def on_epoch_end(self, progress: TrainingProgress) -> None:
                clock[0] += 10

        given: Any = {"space": LR, "storage": tmp_path / "s.log"}
        model = forecaster(callbacks=[Late()])
        found = tune(model, WAVES, trials=3, time_limit=25, **given)
        assert [row["trial"] for row in found.trials] == [0]  # two epochs; then one of the next
        found = tune(model, WAVES, trials=3, **given)
        assert [row["trial"] for row in found.trials] == [0, 2, 3]

    @pytest.mark.parametrize("error", [TrainingError("it diverged"), AbandonTraining("no")])
    def test_a_failed_trial_is_one_of_the_trials(self, error, caplog):
        caplog.set_level(logging.ERROR)
        found = tune(forecaster(callbacks=[Raising(error)]), WAVES, trials=3, space=LR)
        assert [row["state"] for row in found.trials] == ["complete", "failed", "failed"]
        assert {row["error"] for row in found.trials[1:]} == {str(error)}
        assert f"trial 1 failed: {error}" in caplog.text

    def test_an_error_of_a_group_of_processes_is_no_result_of_a_trial(self, tmp_path):
        given: Any = {"trials": 2, "space": LR, "storage": tmp_path / "s.log"}
        lost = Raising(ProcessError("another process is gone"))
        with pytest.raises(ProcessError, match="another process is gone"):
            tune(forecaster(n_epochs=1, callbacks=[lost]), WAVES, **given)
        found = tune(forecaster(n_epochs=1), WAVES, **given)
        assert [(row["trial"], row["state"]) for row in found.trials] == [
            (0, "complete"),
            (2, "complete"),
        ]

    def test_default_settings_that_fail_are_an_error(self):
        Raising.trainings = 1
        with pytest.raises(TrainingError, match="it diverged"):
            tune(forecaster(callbacks=[Raising(TrainingError("it diverged"))]), WAVES, space=LR)

    def test_a_stop_gives_the_trial_back(self, monkeypatch, tmp_path):
        train, calls = base.train, []

        def stopping(*values: Any, **given: Any) -> Any:
            calls.append(values[3].lr)
            if len(calls) == 2:
                signal.raise_signal(signal.SIGINT)
            return train(*values, **given)

        monkeypatch.setattr(base, "train", stopping)
        given: Any = {"trials": 3, "space": LR, "storage": tmp_path / "s.log"}
        with pytest.raises(KeyboardInterrupt, match=r"SIGINT stopped .* 1 trials are kept in .*s"):
            tune(forecaster(), WAVES, **given)
        found = tune(forecaster(), WAVES, **given)
        assert [row["trial"] for row in found.trials] == [0, 2, 3]
        assert calls[2] == calls[1] == found.trials[1]["training.lr"]


class TestStorage:
    def test_a_search_goes_on_where_it_ended(self, tmp_path):
        storage = tmp_path / "s.log"
        first = tune(forecaster(n_epochs=1), WAVES, trials=2, space=LR, storage=storage)
        again = tune(forecaster(n_epochs=1), WAVES, trials=3, space=LR, storage=storage)
        whole = tune(forecaster(n_epochs=1), WAVES, trials=3, space=LR)
        assert again.trials[:2] == first.trials
        assert [row["training.lr"] for row in again.trials] == [
            row["training.lr"] for row in whole.trials
        ]

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"table": WAVES + 1}, "with other data;"),
            ({"split": (90, 130)}, "with other data;"),
            ({"model": forecaster(n_epochs=2)}, "with other settings;"),
            ({"space": {"training.lr": (1e-4, 1e-2)}}, "with other space;"),
        ],
    )
    def test_of_another_search_is_refused(self, change, said, tmp_path):
        given = {"model": forecaster(n_epochs=1), "table": WAVES, "space": LR, "trials": 1}
        given["storage"] = tmp_path / "s.log"
        for changed in ({}, {"model": forecaster(n_epochs=1, verbose=False)}):
            now: Any = given | changed
            tune(now.pop("model"), now.pop("table"), **now)
        now = given | change
        with pytest.raises(CheckpointError, match=said):
            tune(now.pop("model"), now.pop("table"), **now)

    @pytest.mark.parametrize("kind", ["path", "text", "frame", "list"])
    def test_cases_to_validate_on_are_known_by_their_values(self, kind, tmp_path):
        def with_valid(changed: float) -> str:
            longer = np.tile(X[:8], 100)
            longer[0, 0, 1500] = changed
            np.savez(tmp_path / "valid.npz", X=longer, y=CLASSES[16:24])
            given = {
                "path": tmp_path / "valid.npz",
                "text": str(tmp_path / "valid.npz"),
                "frame": pd.DataFrame({"a": [pd.Series(one[0]) for one in longer]}),
                "list": [*longer],
            }
            of_file = kind in ("path", "text")
            valid = given[kind], None if of_file else CLASSES[16:24]
            return problem_of(labelled(ConvTimeNetClassifier), X, CLASSES, {"valid": valid}).data

        assert with_valid(0) == with_valid(0) != with_valid(1)

    @pytest.mark.parametrize("text", ["a,b\n1,2\n", "no line end", '{"op": 1}'])
    def test_another_file_is_refused_and_stays(self, text, tmp_path):
        file = tmp_path / "data.csv"
        file.write_text(text)
        with pytest.raises(CheckpointError, match="not the file of a search"):
            tune(forecaster(), WAVES, space=LR, storage=file)
        assert file.read_text() == text
        assert [*tmp_path.iterdir()] == [file]

    def test_a_line_cut_off_by_a_kill_is_dropped(self, tmp_path):
        file = tmp_path / "s.log"
        first = tune(forecaster(n_epochs=1), WAVES, trials=1, space=LR, storage=file)
        whole = file.read_bytes()
        file.write_bytes(whole + b'{"op_code":4,"wor')
        again = tune(forecaster(n_epochs=1), WAVES, trials=2, space=LR, storage=file)
        assert again.trials[0]["score"] == first.score
        lines = file.read_text().splitlines()
        assert [json.loads(line)["op_code"] for line in lines]
        assert len(lines) > len(whole.splitlines())


class Stuck:
    """Never ends the second epoch of the second training of its process."""

    trainings = 0

    def on_epoch_end(self, progress: TrainingProgress) -> None:
        Stuck.trainings += progress.epoch == 1
        if Stuck.trainings == 2 and progress.epoch == 2:
            time.sleep(600)


class Together:
    """Waits in the first training of a process until another process trains as well."""

    def __init__(self, folder: Path):
        self.folder = folder

    def on_epoch_end(self, progress: TrainingProgress) -> None:
        (self.folder / str(os.getpid())).touch()
        end = time.monotonic() + 120
        while len(list(self.folder.iterdir())) < 2 and time.monotonic() < end:
            time.sleep(0.02)


def start(model: Any, storage: Path, trials: int) -> Any:
    """Another process that searches."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["convtimenet.estimators.tuning.search", "optuna"])
    given = {"trials": trials, "space": LR, "storage": storage}
    process = context.Process(target=tune, args=(model, WAVES), kwargs=given)
    process.start()
    return process


def trials_in(storage: Path) -> list[Any]:
    """Optuna's own record of all trials."""
    if not storage.exists():
        return []
    try:
        journal = JournalStorage(JournalFileBackend(str(storage)))
        return optuna.load_study(study_name=None, storage=journal).trials
    except (KeyError, ValueError):  # not written yet
        return []


needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="needs a fork server")


@needs_fork
class TestProcesses:
    def test_two_share_the_trials(self, tmp_path):
        storage, folder = tmp_path / "s.log", tmp_path / "started"
        folder.mkdir()
        model = forecaster(n_epochs=1, callbacks=[Together(folder)])
        both = [start(model, storage, trials=5) for _ in range(2)]
        for one in both:
            one.join(300)
        assert [one.exitcode for one in both] == [0, 0]
        found = trials_in(storage)
        assert [one.state.name for one in found] == ["COMPLETE"] * 5
        assert len({one.user_attrs["worker"] for one in found}) == 2
        assert len({one.user_attrs["settings"].get("training.lr") for one in found}) == 5
        assert [one.user_attrs.get("default", False) for one in found] == [True] + [False] * 4

    def test_a_trial_that_was_killed_is_repeated(self, tmp_path, caplog):
        storage = tmp_path / "s.log"
        process = start(forecaster(callbacks=[Stuck()]), storage, trials=3)
        end = time.monotonic() + 300
        running = None
        while time.monotonic() < end and running is None:
            states = trials_in(storage)
            running = next((one for one in states[1:] if one.intermediate_values), None)
            time.sleep(0.05)
        assert running is not None
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        before = trials_in(storage)
        assert [one.state.name for one in before] == ["COMPLETE", "RUNNING"]
        found = tune(forecaster(), WAVES, trials=3, space=LR, storage=storage)
        assert "trial 1 died with its process and is repeated" in caplog.text
        after = trials_in(storage)
        assert after[0] == before[0]
        assert [one.state.name for one in after] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
        assert after[2].params == before[1].params
        assert [row["trial"] for row in found.trials] == [0, 2, 3]

    def test_the_default_that_was_killed_is_still_the_default(self, tmp_path):
        storage = tmp_path / "s.log"
        with Search(forecaster(n_epochs=1), WAVES, space=LR, storage=storage) as first:
            claimed = first.study.claim(2)
            assert claimed is not None
            assert claimed.default
        found = tune(forecaster(n_epochs=1), WAVES, trials=2, space=LR, storage=storage)
        assert [row["trial"] for row in found.trials] == [1, 2]
        assert found.default == found.trials[0]["score"]
        assert found.trials[0]["training.lr"] is None


class TestTheDefaultElsewhere:
    """The default settings are still trained by another process, here another `Search`."""

    @pytest.fixture
    def shared(self, tmp_path) -> Iterator[tuple[Search, Any, Search]]:
        given: Any = {"space": LR, "storage": tmp_path / "s.log"}
        model = forecaster(n_epochs=1)
        with Search(model, WAVES, **given) as other, Search(model, WAVES, **given) as own:
            default = other.study.claim(4)
            assert default is not None
            assert default.default
            yield other, default, own

    def test_a_result_without_its_score(self, shared):
        other, default, own = shared
        trial = own.study.claim(4)
        own._one(trial, None)
        own.run(4, time_limit=0)
        found = own.result()
        assert np.isnan(found.default)
        assert found.score == own.best.value
        assert "; default settings have no score\n1 trial: 1 complete" in repr(found)
        other._one(default, None)
        assert own.result().default == other.study.finished[0].value

    def test_time_that_is_over_starts_nothing_and_waits_for_it(self, shared, monkeypatch):
        other, default, own = shared
        waited = []

        def finish(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 3:
                other._one(default, None)

        monkeypatch.setattr(search.time, "sleep", finish)
        own.run(4, time_limit=0)
        assert len(waited) == 3
        assert [one.state.name for one in own.study._all()] == ["COMPLETE"]
        assert own.result().score == own.result().default

    def test_only_the_default_is_taken_out_of_the_queue(self, shared):
        other, default, own = shared
        behind = own.study.claim(4)
        for one in (behind, default):  # so the default is the last one in the queue
            own.study.give_back(one)
        own.run(4, time_limit=0)
        assert [one.user_attrs["default"] for one in own.study.finished] == [True]
        again = other.study.claim(4)
        assert again._own.params == behind._own.params

    def test_time_that_is_over_ends_a_search_whose_default_has_no_score(self, shared):
        other, default, own = shared
        other.study.complete(default, np.nan)
        own.run(4, time_limit=0)
        assert [one.state.name for one in own.study._all()] == ["FAIL"]
        with pytest.raises(DataError, match="no trial has ended with a score"):
            own.result()


class TestAsked:
    @pytest.mark.parametrize("quality", ["fast", "best"])
    def test_qualities_without_a_search(self, quality):
        with pytest.raises(ConfigError, match="use quality='auto'"):
            tune(ConvTimeNetForecaster(4, quality=quality, verbose=0), WAVES)

    @pytest.mark.parametrize(
        ("given", "error", "said"),
        [
            ({"trials": 0}, ConfigError, "trials must be at least 1"),
            ({"time_limit": -5}, ConfigError, "time_limit must be at least 0, or None, found -5"),
            ({"time_limit": float("nan")}, ConfigError, "time_limit must be at least 0"),
            ({"resume": "x"}, ConfigError, "continued with storage="),
            ({"split": (160, 160)}, DataError, "needs a validation split, and there are too few"),
        ],
    )
    def test_arguments_that_make_no_sense(self, given, error, said):
        with pytest.raises(error, match=said):
            tune(forecaster(n_epochs=1), WAVES, space=LR, **given)

    def test_something_else_than_an_estimator(self):
        with pytest.raises(ConfigError, match="found TrainConfig"):
            tune(TrainConfig(), WAVES)

    def test_several_processes_that_train_together(self, monkeypatch, tmp_path):
        monkeypatch.setattr(processes, "count", lambda: 2)
        with pytest.raises(ConfigError, match=r"one of 2 that train .* once for each worker"):
            tune(forecaster(), WAVES, space=LR, storage=tmp_path / "s.log")
        assert not [*tmp_path.iterdir()]

    def test_nothing_to_search(self):
        model = ConvTimeNetForecaster(4, 16, quality="auto", verbose=0)
        with pytest.raises(ConfigError, match="there is nothing to search"):
            tune(model, WAVES[:90])

    def test_without_optuna_the_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "optuna", None)
        with pytest.raises(MissingExtraError, match=r"convtimenet\[tune\]"):
            tune(forecaster(), WAVES, space=LR)

    def test_optuna_says_nothing_and_keeps_its_settings(self, capfd):
        optuna.logging.set_verbosity(optuna.logging.DEBUG)
        tune(forecaster(n_epochs=1), WAVES, trials=2, space=LR)
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
        optuna.logging.set_verbosity(optuna.logging.INFO)
        assert capfd.readouterr() == ("", "")

    def test_progress_counts_trials(self, capfd, monkeypatch):
        monkeypatch.setattr("convtimenet.progress.LINE_EVERY", 1e-3)
        tune(forecaster(n_epochs=1, verbose=1), WAVES, trials=2, space=LR)
        shown = capfd.readouterr().err
        assert re.search(r"search, \d:\d\d left, trial 2/2, training, epoch 1/1", shown)
        assert re.search(r"^trial 0: mase \d\.\d+, default settings$", shown, re.MULTILINE)
        assert "trial 3/2" not in shown
