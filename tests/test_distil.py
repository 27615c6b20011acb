"""Distillation: targets between truth and answers, and one network that answers like several."""

from __future__ import annotations

import json
import os
import signal
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from convtimenet import (
    ConvTimeNetClassifier,
    ConvTimeNetForecaster,
    ConvTimeNetRegressor,
    ModelConfig,
    fuse,
)
from convtimenet.cli.main import main
from convtimenet.data.windows import LabelledCases, Windows
from convtimenet.errors import CheckpointError, ConfigError, DataError
from convtimenet.estimators.forecasting import plans
from convtimenet.network.ensemble import Ensemble, networks_in
from convtimenet.training.augment import augmented
from convtimenet.training.checkpoint import data_hash
from convtimenet.training.losses import TAUGHT, cross_entropy, pinball
from convtimenet.training.objectives import OBJECTIVES
from convtimenet.training.taught import TaughtCases, TaughtWindows

SMALL = {"d_model": 4, "d_ff": 8, "kernel_sizes": (3,), "patch_size": 8, "patch_stride": 4}
SETTINGS: dict[str, Any] = {
    "quality": "best", "batch_size": 32, "device": "cpu", "verbose": 0,
}  # fmt: skip
EVERY_STEP = {"schedule": "cosine", "patience": None, "refit": False, "checkpoint_seconds": 0.0}


def table(rows: int = 130) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    values = np.sin(np.arange(rows)[:, None] * 2 * np.pi / 7 + np.arange(2))
    values += draw.normal(scale=0.3, size=values.shape)
    frame = pd.DataFrame(values, columns=["a", "b"])
    frame.insert(0, "ds", pd.date_range("2024-01-01", periods=rows, freq="D"))
    return frame


def forecaster(**settings: Any) -> ConvTimeNetForecaster:
    """One whose ensemble has two members, in one of which channels read each other, without a
    linear stream."""
    given = {"h": 3, "model": {**SMALL, "linear": False}, "lr": 5e-2, "n_epochs": 20}
    given |= {"training": {**EVERY_STEP, "loss": "mae", "seed": 3}}
    return ConvTimeNetForecaster(**{**SETTINGS, **given, **settings})


def cases(n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    X = draw.normal(size=(n, 2, 20))
    X[::2] += np.sin(np.arange(20))
    return X, np.array(["wave", "noise"] * (n // 2))


def labelled(kind: Any = ConvTimeNetClassifier, **settings: Any) -> Any:
    """One whose ensemble has two members of different seeds, without random patches."""
    model = {**SMALL, "pooling": "mean", "random_patches": 0}
    given = {"model": model, "lr": 0.1, "n_epochs": 12, "batch_size": 8, "training": EVERY_STEP}
    return kind(**{**SETTINGS, **given, **settings})


def moved(model: Any, bias: list[float]) -> Any:
    """The ensemble with other biases of its heads, so that it answers far from the truth."""
    with torch.no_grad():
        for network in networks_in(model.network_):
            network.head.project.bias += torch.tensor(bias)
    model.fused_ = fuse(model.network_)
    return model


@pytest.fixture(scope="module")
def forecasts() -> ConvTimeNetForecaster:
    """An ensemble whose forecasts are a standard deviation too high."""
    return moved(forecaster().fit(table()), [1.0])


@pytest.fixture(scope="module")
def small(forecasts: ConvTimeNetForecaster) -> ConvTimeNetForecaster:
    return forecasts.distil(table())


@pytest.fixture(scope="module")
def classes() -> ConvTimeNetClassifier:
    """An ensemble that takes most cases for waves."""
    return moved(labelled().fit(*cases()), [-3.0, 3.0])


class Ahead(nn.Module):
    """Forecasts 10 plus the first H values that it reads."""

    def __init__(self, horizon: int):
        super().__init__()
        self.offset, self.horizon = nn.Buffer(torch.tensor(10.0)), horizon

    def forward(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        return x[..., : self.horizon] + self.offset


class TestTargets:
    def test_numbers_lie_between_truth_and_answers(self):
        y, answers = torch.zeros(2, 3, 4), torch.ones(2, 3, 4)
        taught = OBJECTIVES["forecast"].taught
        assert taught is not None
        torch.testing.assert_close(taught(answers, y), torch.full((2, 3, 4), TAUGHT))

    def test_classes_lie_between_label_and_probabilities(self):
        taught = OBJECTIVES["classify"].taught
        assert taught is not None
        found = taught(torch.tensor([[0.0, 0.0], [100.0, 0.0]]), torch.tensor([1, 1]))
        expected = torch.tensor([[TAUGHT / 2, 1 - TAUGHT / 2], [TAUGHT, 1 - TAUGHT]])
        torch.testing.assert_close(found, expected)

    def test_each_quantile_has_a_target_of_its_own(self):
        loss, taught = pinball((0.1, 0.5, 0.9)), OBJECTIVES["forecast"].taught
        assert taught is not None
        y, answers = torch.randn(2, 1, 4), torch.randn(2, 1, 3, 4)
        target = taught(answers, y)
        torch.testing.assert_close(target, (1 - TAUGHT) * y[:, :, None] + TAUGHT * answers)
        assert float(loss(target, target, None)) == 0
        found = loss.values(target + 1, target, reduction="none")
        torch.testing.assert_close(found, torch.full((2, 1, 4), (0.9 + 0.5 + 0.1) / 3))

    def test_to_reconstruct_or_to_contrast_is_not_to_answer(self):
        assert OBJECTIVES["reconstruct"].taught is OBJECTIVES["contrast"].taught is None


class TestExamples:
    def test_a_network_of_a_longer_context_teaches_one_of_a_shorter(self):
        values = torch.arange(40.0)[None]
        whole = Windows.between(values, 10, 3, 0, 40)
        taught = TaughtWindows(whole, 6, Ahead(3))
        assert (len(taught), taught.context_length) == (len(whole), 6)
        batch = taught.batch(torch.tensor([0, 5]))
        torch.testing.assert_close(batch.x[:, 0, 0], torch.tensor([4.0, 9.0]))
        truth, answers = torch.arange(10.0, 13), torch.arange(10.0, 13)
        for n, start in enumerate((0, 5)):
            expected = (1 - TAUGHT) * (truth + start) + TAUGHT * (answers + start)
            torch.testing.assert_close(batch.y[n, 0], expected)
        some = taught.thinned(2).batch(torch.tensor([1]))
        torch.testing.assert_close(some.y[0, 0], torch.arange(37.0, 40))

    def test_missing_targets_keep_their_weight_of_0(self):
        values, known = torch.arange(40.0)[None], torch.ones(1, 40, dtype=torch.bool)
        known[0, 11] = False
        whole = Windows.between(values, 10, 3, 0, 40, known=known, masks=True)
        weight = TaughtWindows(whole, 6, Ahead(3)).batch(torch.tensor([0])).weight
        assert weight is not None
        assert weight.tolist() == [[[1, 0, 1]]]

    def test_another_teacher_is_another_training(self):
        whole = Windows.between(torch.arange(40.0)[None], 10, 3, 0, 40)
        first, second = Ahead(3), Ahead(3)
        assert data_hash(TaughtWindows(whole, 6, first)) == data_hash(
            TaughtWindows(whole, 6, second)
        )
        second.offset.add_(1)
        assert data_hash(TaughtWindows(whole, 6, first)) != data_hash(
            TaughtWindows(whole, 6, second)
        )

    def test_cases_are_mixed_with_their_shares(self):
        config = ModelConfig.classification(channels=1, context_length=12, n_classes=2)
        x, y = torch.randn(8, 1, 12), torch.tensor([0, 1] * 4)
        plain = LabelledCases(x, y, torch.ones(8))
        taught = TaughtCases(plain, torch.zeros(8, 2), "classify")
        batch = augmented(taught.batch(torch.arange(8)), config)
        torch.testing.assert_close(batch.y.sum(1), torch.ones(8))
        assert (batch.y >= (TAUGHT / 2 - 1e-6)).all()
        torch.testing.assert_close(taught.y, y)  # what closed forms read
        loss = cross_entropy(torch.zeros(8, 2), batch.y, batch.weight)
        torch.testing.assert_close(loss, torch.tensor(np.log(2), dtype=torch.float32))


def distance(model: Any, ensemble: Any) -> float:
    """Mean absolute difference of forecasts, probabilities or numbers."""
    if isinstance(model, ConvTimeNetForecaster):
        ends = range(80, 131, 5)  # one forecast of six numbers would say little
        found = [
            np.concatenate([np.asarray(one.predict(table()[:end]))[:, 1:] for end in ends])
            for one in (model, ensemble)
        ]
    elif isinstance(model, ConvTimeNetClassifier):
        found = [one.predict_proba(cases()[0]) for one in (model, ensemble)]
    else:
        found = [one.predict(cases()[0]) for one in (model, ensemble)]
    return float(np.abs(found[0] - found[1]).astype(float).mean())


class TestForecaster:
    def test_it_answers_like_the_ensemble(self, forecasts, small):
        alone = forecaster(quality="auto").fit(table())
        assert distance(small, forecasts) < 0.5 * distance(alone, forecasts)

    def test_it_is_a_single_network_with_a_notice(self, forecasts, small):
        assert isinstance(forecasts.network_, Ensemble)
        assert not isinstance(small.network_, Ensemble)
        assert small.members_ == ()
        n = len(forecasts.members_)
        told = f"distilled: one network that learns from the answers of {n}"
        assert told in small.notices_

    def test_intervals_and_scores_are_those_of_its_own_errors(self, forecasts, small):
        assert small.scores_["ConvTimeNet"] != forecasts.scores_["ConvTimeNet"]
        assert small.calibration_.windows == forecasts.calibration_.windows
        assert not np.array_equal(small.calibration_.radii, forecasts.calibration_.radii)
        assert {*small.predict(level=80)} > {"a-lo-80", "a-hi-80"}

    def test_saved_and_loaded_it_answers_the_same(self, small, tmp_path):
        loaded = ConvTimeNetForecaster.load(small.save(tmp_path / "model"), device="cpu")
        pd.testing.assert_frame_equal(loaded.predict(level=80), small.predict(level=80))
        assert loaded.notices_ == small.notices_

    def test_it_goes_on_to_the_same_bits_after_a_stop(self, forecasts, small, tmp_path):
        class Stop:
            def on_epoch_end(self, progress: Any) -> None:
                if progress.epoch == 2:
                    os.kill(os.getpid(), signal.SIGINT)

        stopped = ConvTimeNetForecaster.load(forecasts.save(tmp_path / "best"), device="cpu")
        stopped.set_params(verbose=0, callbacks=[Stop()])
        with pytest.raises(KeyboardInterrupt, match="weights of epoch 2"):
            stopped.distil(table(), resume=tmp_path / "resume")
        again = forecasts.distil(table(), resume=tmp_path / "resume")
        for name, tensor in small.network_.state_dict().items():
            assert torch.equal(tensor, again.network_.state_dict()[name]), name
        with pytest.raises(CheckpointError, match="its training data differs"):
            moved(stopped, [1.0]).distil(table(), resume=tmp_path / "resume")

    def test_each_training_learns_from_the_ensemble_of_the_same_rows(self, monkeypatch):
        model = forecaster(n_epochs=1, refit=True).fit(table())
        taught, by = plans.taught_windows, []

        def told(ensemble: Any, *given: Any) -> Any:
            windows = taught(ensemble, *given)
            by.append((ensemble, len(windows)))
            return windows

        monkeypatch.setattr(plans, "taught_windows", told)
        found = model.distil(table())
        assert [one for one, _ in by] == [model.scored_, model]
        assert by[0][1] < by[1][1]
        assert found.forecasts_from == model.forecasts_from

    def test_a_later_second_training_can_learn_from_it_again(self, forecasts, small):
        taught, alone = copy(small), copy(small)
        taught.retrain(table(), ensemble=forecasts)
        alone.retrain(table())
        assert distance(taught, forecasts) < 0.5 * distance(alone, forecasts)

    def test_windows_at_the_beginning_are_learnt_from_too(self):
        model = forecaster(model={**SMALL, "linear": True}, n_epochs=1).fit(table())
        contexts = {one.context_length for one in model.network_.config.members}
        assert len(contexts) == 2
        assert model.distil(table()).n_examples_ == model.n_examples_

    def test_errors_say_what_to_do(self, forecasts, small):
        with pytest.raises(ConfigError, match=r"a single network .*fit with quality='best' first"):
            small.distil(table())
        with pytest.raises(DataError, match="lacks the channels 'a'; it has 'z', 'b'"):
            forecasts.distil(table().rename(columns={"a": "z"}))
        with pytest.raises(DataError, match="no window fits"):
            forecasts.distil(table(30))


class TestCases:
    def test_a_classifier_answers_like_the_ensemble(self, classes):
        found, alone = classes.distil(*cases()), labelled(quality="auto").fit(*cases())
        assert distance(found, classes) < 0.6 * distance(alone, classes)
        assert found.members_ == ()
        assert found.classes_.tolist() == ["noise", "wave"]

    def test_a_regressor_answers_like_the_ensemble(self):
        X, _ = cases()
        y = X[:, 0].mean(1) * 100
        ensemble = moved(labelled(ConvTimeNetRegressor).fit(X, y), [2.0])
        found, alone = ensemble.distil(X, y), labelled(ConvTimeNetRegressor, quality="auto")
        assert distance(found, ensemble) < 0.6 * distance(alone.fit(X, y), ensemble)

    def test_a_notice_says_that_the_ensemble_saw_the_validation_split(self):
        training = {**EVERY_STEP, "refit": "continue"}
        ensemble = labelled(n_epochs=1, training=training).fit(*cases())
        found = ensemble.distil(*cases())
        assert found.history_.refitted
        assert any("its scores there are optimistic" in one for one in found.notices_)
        weighted = ensemble.distil(*cases(), sample_weight=np.linspace(0.5, 2, 24))
        assert np.isfinite(weighted.predict_proba(cases()[0])).all()

    def test_errors_say_what_to_do(self, classes):
        X, y = cases()
        with pytest.raises(DataError, match="the classes 'noise', 'wave', found 'sea', 'wave'"):
            classes.distil(X, np.where(y == "noise", "sea", y))
        with pytest.raises(DataError, match="fitted to cases with 2 channels, found 1"):
            classes.distil(X[:, :1], y)


def test_on_the_command_line(tmp_path, capsys):
    data = tmp_path / "table.csv"
    table().to_csv(data, index=False)
    command = ["forecast", str(data), "--h", "3", "--quiet", "--distil"]
    assert main(command) == 2
    assert (
        "--distil makes one network of several, so it needs --quality best, found auto"
        in " ".join(capsys.readouterr().err.split())
    )
    command += ["--quality", "best", "--training.epochs", "1", "--model.d_model", "4"]
    command += ["--model.kernel_sizes", "[3]", "--model.patch_size", "8", "--model.d_ff", "8"]
    command += ["--model.patch_stride", "4", "--training.batch_size", "64", "--device", "cpu"]
    command += ["--training.loss", "mae", "--out", str(tmp_path / "out.csv")]
    command += ["--json", str(tmp_path / "result.json"), "--save", str(tmp_path / "model")]
    assert main(command) == 0
    result = json.loads(Path(tmp_path / "result.json").read_text())
    assert result["history"]["weights"] == []
    assert result["notices"][0].startswith("distilled: one network that learns from the answers of")
    saved = ConvTimeNetForecaster.load(tmp_path / "model", device="cpu")
    assert not isinstance(saved.network_, Ensemble)
    assert saved.scored_ is not None
