"""Callbacks: what each training of a call reports, and how they end it."""

import copy
import logging
import math
import pickle
import sys
import threading
import types
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, ConvTimeNetRegressor, tune
from convtimenet.callbacks import (
    AbandonTraining,
    Callback,
    MLflow,
    StopTraining,
    TensorBoard,
    TrainingProgress,
)
from convtimenet.errors import ConfigError, MissingExtraError

TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,)}
WAVES = np.sin(np.arange(200)[:, None] / np.array([3.0, 5.0]))
X = np.sin(np.arange(30) * np.linspace(0.2, 1, 40)[:, None])[:, None]
CLASSES = np.arange(40) // 20


class Seen:
    """Keeps what it is told; raises `error` after epoch `at` of the training `of`."""

    def __init__(self, error: Exception | None = None, at: int = 2, of: str = "training"):
        self.told: list[TrainingProgress] = []
        self.error, self.at, self.of = error, at, of

    def on_epoch_end(self, progress: TrainingProgress) -> None:
        self.told.append(progress)
        if self.error is not None and (progress.training, progress.epoch) == (self.of, self.at):
            raise self.error

    @property
    def epochs(self) -> list[tuple[str, int]]:
        return [(one.training, one.epoch) for one in self.told]


def forecaster(*callbacks: Callback, **settings: Any) -> ConvTimeNetForecaster:
    given = {"input_size": 16, "n_epochs": 3, "refit": False, "batch_size": 64, **settings}
    return ConvTimeNetForecaster(
        4, model=TINY, device="cpu", verbose=0, callbacks=list(callbacks), **given
    )


def labelled(kind: Any, *callbacks: Callback, **settings: Any) -> Any:
    model = {**TINY, "random_patches": 1}
    given = {"n_epochs": 3, "training": {"refit": True}, **settings}
    return kind(model=model, device="cpu", verbose=0, callbacks=list(callbacks), **given)


class TestReports:
    def test_of_a_forecaster_both_trainings(self):
        seen = Seen()
        model = forecaster(seen, refit="continue").fit(WAVES)
        first = [one for one in seen.told if one.training == "training"]
        again = [one for one in seen.told if one.training == "training on all data"]
        assert seen.told == [*first, *again]
        assert len(first) == len(model.history_.epochs) == 3
        for one, epoch in zip(first, model.history_.epochs, strict=True):
            assert (one.epoch, one.epochs) == (epoch.epoch, 3)
            assert (one.train_loss, one.valid) == (epoch.train_loss, epoch.valid)
            assert (one.lr, one.seconds, one.loss) == (epoch.lr, epoch.seconds, "mae")
        assert [one.steps for one in first] == [model.history_.steps * n // 3 for n in (1, 2, 3)]
        best = [one.valid["mae"] for one in first].index(min(one.valid["mae"] for one in first))
        assert first[-1].best_epoch == best + 1
        assert [one.epoch for one in again] == list(range(1, len(again) + 1))
        assert again
        assert {len(one.valid) for one in again} == {0}

    @pytest.mark.parametrize("kind", [ConvTimeNetClassifier, ConvTimeNetRegressor])
    def test_of_labelled_cases_both_trainings(self, kind):
        seen = Seen()
        labelled(kind, seen).fit(X, CLASSES)
        first = [("training", n) for n in (1, 2, 3)]
        assert seen.epochs == [*first, *(("training on all data", n) for n in (1, 2, 3))]
        names = {"loss", "accuracy"} if kind is ConvTimeNetClassifier else {"mse", "mae"}
        assert [set(one.valid) for one in seen.told] == [names] * 3 + [set()] * 3
        assert {one.loss for one in seen.told} <= names

    def test_of_a_portfolio_every_member(self):
        seen = Seen()
        model = forecaster(seen, quality="best", input_size=None, n_epochs=1, refit="continue").fit(
            WAVES
        )
        n = len(model.members_)
        assert n > 1
        trainings = [name for name, epoch in seen.epochs if epoch == 1]
        assert trainings == [
            f"{name}, member {number} of {n}"
            for name in ("training", "training on all data")
            for number in range(1, n + 1)
        ]

    def test_nothing_where_no_network_is_trained(self):
        seen = Seen()
        ConvTimeNetForecaster(4, quality="fast", callbacks=[seen], verbose=0).fit(WAVES)
        assert seen.told == []

    def test_trainings_that_calibrate_intervals_have_names_of_their_own(self):
        seen = Seen()
        forecaster(seen, n_epochs=1, training={"validation_fraction": 0}).fit(WAVES)
        assert seen.epochs == [(name, 1) for name in ("training", "fold1", "fold2", "fold3")]

    def test_a_resumed_training_goes_on_with_its_next_epoch(self, tmp_path):
        first, second = Seen(AbandonTraining()), Seen()
        settings: dict[str, Any] = {"training": {"checkpoint_seconds": 1e-9}}
        with pytest.raises(AbandonTraining):
            forecaster(first, **settings).fit(WAVES, resume=tmp_path / "run")
        forecaster(second, **settings).fit(WAVES, resume=tmp_path / "run")
        assert first.epochs == [("training", 1), ("training", 2)]
        assert second.epochs == [("training", 3)]


class TestEnding:
    def test_stopping_keeps_the_best_epoch(self):
        seen, after = Seen(StopTraining("enough")), Seen()
        model = forecaster(seen, after).fit(WAVES)
        assert seen.epochs == after.epochs == [("training", 1), ("training", 2)]
        assert model.history_.stopped == "stopped by Seen: enough"
        whole = forecaster(n_epochs=2).fit(WAVES)
        assert model.history_.best_epoch == whole.history_.best_epoch
        assert (model.predict() == whole.predict()).all()

    def test_stopping_one_training_leaves_the_others(self):
        seen = Seen(StopTraining(), at=1)
        labelled(ConvTimeNetClassifier, seen).fit(X, CLASSES)
        assert seen.epochs[:2] == [("training", 1), ("training on all data", 1)]

    @pytest.mark.parametrize("error", [AbandonTraining("worse"), RuntimeError("a bug")])
    @pytest.mark.parametrize("kind", [ConvTimeNetForecaster, ConvTimeNetClassifier])
    def test_abandoning_leaves_the_estimator_as_it_was(self, kind, error):
        data: Any = (WAVES,) if kind is ConvTimeNetForecaster else (X, CLASSES)
        make = forecaster if kind is ConvTimeNetForecaster else lambda c: labelled(kind, c)
        seen = Seen(error)
        model = make(seen)
        with pytest.raises(type(error)) as found:
            model.fit(*data)
        assert found.value is error
        assert not hasattr(model, "network_")
        seen.error = None
        before = vars(model.fit(*data)).copy()
        seen.error = error
        with pytest.raises(type(error)):
            model.fit(*data)
        assert all(vars(model)[name] is value for name, value in before.items())

    def test_abandoning_the_second_training_keeps_the_first(self):
        seen = Seen(AbandonTraining(), at=1, of="training on all data")
        model = labelled(ConvTimeNetClassifier, seen)
        with pytest.raises(AbandonTraining):
            model.fit(X, CLASSES)
        assert not model.history_.refitted
        once = labelled(ConvTimeNetClassifier, training={"refit": False}).fit(X, CLASSES)
        assert (model.predict_proba(X) == once.predict_proba(X)).all()


class TestParameter:
    def test_callbacks_change_no_result_and_are_not_saved(self, tmp_path):
        model = forecaster(Seen()).fit(WAVES)
        assert (model.predict() == forecaster().fit(WAVES).predict()).all()
        loaded = ConvTimeNetForecaster.load(model.save(tmp_path / "model"))
        assert loaded.callbacks is None
        assert (loaded.predict() == model.predict()).all()

    def test_clones_have_callbacks_of_their_own(self):
        model = labelled(ConvTimeNetClassifier, Seen())
        again: Any = clone(model)
        again.fit(X, CLASSES)
        assert model.callbacks[0].told == []
        assert len(again.callbacks[0].told) == 6

    def test_a_search_and_a_backtest_tell_those_that_were_given(self):
        seen: Any = Seen()
        seen.lock = threading.Lock()  # which cannot be copied
        model = forecaster(seen, n_epochs=1)
        tune(model, WAVES, trials=2, space={"training.lr": [1e-2]})
        assert seen.epochs == [("training", 1)] * 3
        model.cross_validation(WAVES, n_windows=2, refit=True)
        assert len(seen.told) == 5
        assert model.callbacks == [seen]

    @pytest.mark.parametrize("wrong", [Seen(), [Seen], [print], "TensorBoard", [None]])
    def test_what_is_no_list_of_callbacks(self, wrong):
        with pytest.raises(ConfigError, match=r"a list of objects with .*on_epoch_end\(progress\)"):
            ConvTimeNetForecaster(4, verbose=0, callbacks=wrong).fit(WAVES)


def progress(epoch: int, training: str = "training", **valid: float) -> TrainingProgress:
    return TrainingProgress(
        training=training,
        epoch=epoch,
        epochs=5,
        steps=7 * epoch,
        train_loss=1 / epoch,
        valid=valid,
        loss="mae",
        lr=0.1,
        seconds=1.0,
        best_epoch=epoch,
    )


class Writer:
    """The methods of torch's SummaryWriter that are used."""

    def __init__(self, log_dir: str):
        self.log_dir, self.scalars, self.on_disk, self.closed = log_dir, [], 0, False
        made.append(self)

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        self.scalars.append((tag, scalar_value, global_step))

    def flush(self) -> None:
        self.on_disk = len(self.scalars)

    def close(self) -> None:
        self.closed = True

    def __reduce__(self):
        raise TypeError("it holds a thread")


made: list[Writer] = []


@pytest.fixture
def _tensorboard(monkeypatch):
    module: Any = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    made.clear()


class TestTensorBoard:
    @pytest.mark.usefixtures("_tensorboard")
    def test_each_training_is_a_run(self, tmp_path):
        logger = TensorBoard(tmp_path / "logs")
        assert not (tmp_path / "logs").exists()
        again = "training on all data, member 2 of 6"
        for one in progress(1, mae=0.5), progress(2, mae=0.25), progress(1, again):
            logger.on_epoch_end(one)
        first, second = made
        assert first.log_dir == str(tmp_path / "logs" / "training")
        assert first.scalars == [
            ("train/loss", 1.0, 1),
            ("valid/mae", 0.5, 1),
            ("lr", 0.1, 1),
            ("train/loss", 0.5, 2),
            ("valid/mae", 0.25, 2),
            ("lr", 0.1, 2),
        ]
        assert first.on_disk == 6
        assert second.log_dir == str(tmp_path / "logs" / "training-on-all-data-member-2-of-6")
        logger.on_epoch_end(progress(1))  # another fit
        assert first.closed
        assert made[2].log_dir == str(tmp_path / "logs" / "training-2")
        logger.close()
        assert all(one.closed for one in made)

    @pytest.mark.usefixtures("_tensorboard")
    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
    def test_copies_write_runs_of_their_own(self, copied, tmp_path):
        logger = TensorBoard(tmp_path)
        logger.on_epoch_end(progress(1))
        copied(logger).on_epoch_end(progress(2))
        assert [one.log_dir for one in made] == [
            str(tmp_path / "training"),
            str(tmp_path / "training-2"),
        ]

    def test_without_the_package_the_extra_is_named(self, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        with pytest.raises(MissingExtraError, match=r"convtimenet\[tensorboard\]"):
            forecaster(TensorBoard(tmp_path)).fit(WAVES)


class TestMLflow:
    def test_scores_go_to_the_active_run(self, monkeypatch):
        logged: list[tuple[dict[str, float], int]] = []
        module: Any = types.ModuleType("mlflow")
        module.log_metrics = lambda metrics, step: logged.append((metrics, step))
        monkeypatch.setitem(sys.modules, "mlflow", module)
        model = forecaster(MLflow(), n_epochs=1).fit(WAVES)
        epoch = model.history_.epochs[0]
        assert logged == [
            (
                {
                    "training/train loss": epoch.train_loss,
                    "training/valid mse": epoch.valid["mse"],
                    "training/valid mae": epoch.valid["mae"],
                    "training/lr": epoch.lr,
                },
                1,
            )
        ]

    def test_without_the_package_the_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "mlflow", None)
        with pytest.raises(MissingExtraError, match=r"convtimenet\[mlflow\]"):
            MLflow().on_epoch_end(progress(1))


class TestValidationScores:
    """`scores_` of classifier and regressor: of the finished model, on the validation split."""

    def test_of_classes(self, tmp_path):
        model = labelled(ConvTimeNetClassifier, training={"refit": False})
        model.fit(X[::2], CLASSES[::2], valid=(X[1::2], CLASSES[1::2]))
        truth = CLASSES[1::2]
        chances = model.predict_proba(X[1::2])[np.arange(20), truth]
        assert model.scores_["accuracy"] == pytest.approx(model.score(X[1::2], truth))
        assert model.scores_["loss"] == pytest.approx(-np.log(chances).mean(), rel=1e-5)
        loaded = ConvTimeNetClassifier.load(model.save(tmp_path / "model"))
        assert loaded.scores_ == model.scores_

    def test_of_numbers_in_their_unit(self):
        numbers = 1000 * np.linspace(0.2, 1, 40)
        model = labelled(ConvTimeNetRegressor, training={"refit": False})
        model.fit(X[::2], numbers[::2], valid=(X[1::2], numbers[1::2]))
        error = model.predict(X[1::2]) - numbers[1::2]
        assert model.scores_["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-4)
        assert model.scores_["mse"] == pytest.approx(np.square(error).mean(), rel=1e-4)

    def test_none_without_a_validation_split(self, caplog):
        caplog.set_level(logging.ERROR)
        model = labelled(ConvTimeNetClassifier, n_epochs=1, training={"validation_fraction": 0})
        assert model.fit(X, CLASSES).scores_ is None
        assert not math.isnan(model.score(X, CLASSES))
