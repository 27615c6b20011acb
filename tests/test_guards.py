"""Steps that are not finite are left out, and memory that runs out cuts batches into parts."""

import copy
import itertools
import logging
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch
from forked import Forked

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster
from convtimenet.batch import Batch
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.windows import LabelledCases, Windows
from convtimenet.errors import DataError, OutOfMemoryError
from convtimenet.network.layers import Residual
from convtimenet.network.memory import Parts, out_of_memory
from convtimenet.network.model import ConvTimeNet
from convtimenet.training.loop import train
from convtimenet.training.metrics import evaluate
from convtimenet.training.step import Step

CPU = torch.device("cpu")
SIZES = {"d_model": 4, "d_ff": 8, "kernel_sizes": (3,), "patch_size": 4, "patch_stride": 2}
TASKS = ("forecast", "classify")


def network(task: str, **settings) -> ConvTimeNet:
    torch.manual_seed(0)
    given = {**SIZES, **settings}
    if task == "forecast":
        return ConvTimeNet(ModelConfig.forecasting(context_length=12, horizon=3, **given))
    config = ModelConfig.classification(channels=2, context_length=12, n_classes=2, **given)
    return ConvTimeNet(config)


class Poisoned:
    """Examples of which some batches, counted from 0, hold a NaN."""

    def __init__(self, task: str, bad: set[int]):
        values = torch.randn(2, 80, generator=torch.Generator().manual_seed(9))
        x = torch.randn(64, 2, 12, generator=torch.Generator().manual_seed(9))
        self.clean = {
            "forecast": Windows.between(values, 12, 3, 0, 78),
            "classify": LabelledCases(x, torch.arange(64) % 2),
        }[task]
        self.bad, self.drawn = bad, itertools.count(-1)  # one batch is looked at before training

    def __len__(self) -> int:
        return len(self.clean)

    def batch(self, index: torch.Tensor) -> Batch:
        batch = self.clean.batch(index)
        x = batch.x.clone()
        if not torch.is_inference_mode_enabled() and next(self.drawn) in self.bad:
            x[0, 0, 5] = torch.nan
        return batch._replace(x=x)


def config_of(**given) -> TrainConfig:
    values = {"epochs": 3, "batch_size": 16, "lr": 1e-2, "device": "cpu", "patience": None}
    return TrainConfig(**{**values, **given})


def trained(task: str, examples, **settings):
    model = network(task)
    history = train(model, examples, None, config_of(**settings), device=CPU, verbose=0)
    return model, history


class TestSkippedSteps:
    @pytest.mark.parametrize("clip", [None, 1.0])
    @pytest.mark.parametrize("native", [True, False])
    @pytest.mark.parametrize("task", TASKS)
    def test_a_poisoned_batch_changes_nothing(self, task, native, clip):
        model = network(task)
        for block in model.blocks:
            block.native = native
        examples = Poisoned(task, {2})
        examples.drawn = itertools.count()
        step = Step(model.train(), examples, config_of(clip_norm=clip), CPU)
        index = torch.arange(16)
        step(index)
        step(index)
        before = {name: value.clone() for name, value in step.state().items()}
        step(index)
        after = step.state()
        assert before.keys() == after.keys()
        for name in ("model.blocks.0.norm_conv.running_var", "adam.0.exp_avg", "adam.0.step"):
            assert name in before
        assert all(torch.equal(value, before[name]) for name, value in after.items())
        assert step.counts.tolist() == [32, 1, 1]
        step(index)
        assert step.counts.tolist() == [48, 1, 0]
        assert not torch.equal(step.state()["adam.0.exp_avg"], before["adam.0.exp_avg"])

    @pytest.mark.parametrize("task", TASKS)
    def test_training_goes_on_and_says_so(self, task):
        examples = Poisoned(task, {1, 6})
        model, history = trained(task, examples)
        assert (history.skipped, history.steps, history.rollbacks) == (2, 12, 0)
        assert history.best_epoch == 3
        assert history.notes[0].startswith("2 of 12 training steps were skipped")
        assert all(np.isfinite(epoch.train_loss) for epoch in history.epochs)
        assert all(value.isfinite().all() for value in model.state_dict().values())

    def test_a_skipped_step_is_as_if_its_batch_were_not_there(self):
        """Without dropout: the same batches without the poisoned one give the same weights."""
        states = []
        for bad in ({1}, set()):
            model = network("forecast", dropout=0.0).train()
            examples = Poisoned("forecast", bad)
            examples.drawn = itertools.count()
            step = Step(model, examples, config_of(), CPU)
            for n in range(4):
                if n == 1 and not bad:
                    continue
                step(torch.arange(n * 10, n * 10 + 16))
            states.append(step.state())
        assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())

    def test_nan_offsets_and_infinite_statistics_are_seen(self):
        examples = Poisoned("forecast", set())
        model = network("forecast")
        step = Step(model.train(), examples, config_of(), CPU)
        with torch.no_grad():
            model.get_parameter("embedding.patch.predict.2.bias")[0] = torch.nan
        step(torch.arange(16))
        assert step.counts.tolist() == [0, 1, 1]
        model = network("forecast")
        step = Step(model.train(), examples, config_of(), CPU)
        with torch.no_grad():
            model.get_buffer("blocks.0.norm_conv.running_var")[0] = torch.inf
        step(torch.arange(16))
        assert step.counts.tolist() == [0, 1, 1]

    def test_rolls_back_with_half_the_rate_and_recovers(self, caplog):
        bad = set(range(6, 11))
        with caplog.at_level(logging.WARNING):
            _, history = trained("forecast", Poisoned("forecast", bad))
        assert (history.skipped, history.rollbacks) == (5, 1)
        assert [epoch.lr for epoch in history.epochs] == [1e-2, 1e-2, 5e-3]
        assert "rolled back to earlier weights and halved the learning rate" in caplog.text
        assert "rolled back to earlier weights 1 time(s)" in history.notes[0]

    def test_goes_back_to_the_weights_of_the_epochs_start(self):
        """What follows a roll-back at the last step of the first epoch has started anew."""
        examples = Poisoned("forecast", set(range(1, 6)))
        model = network("forecast", dropout=0.0)
        begin = copy.deepcopy(model.state_dict())
        train(model, examples, None, config_of(epochs=1, batch_size=11), device=CPU, verbose=0)
        assert all(torch.equal(value, begin[name]) for name, value in model.state_dict().items())

    def test_one_bad_batch_an_epoch_never_rolls_back(self):
        _, history = trained("classify", Poisoned("classify", set(range(0, 80, 4))), epochs=20)
        assert (history.skipped, history.rollbacks, history.best_epoch) == (20, 0, 20)


class TestSigns:
    def test_dead_residuals_and_blown_statistics_are_noted(self):
        model = network("forecast")
        with torch.no_grad():
            model.get_buffer("blocks.0.norm_pointwise.running_var").fill_(1e12)
        history = train(
            model, Poisoned("forecast", set()), None, config_of(lr=1e-12), device=CPU, verbose=0
        )
        assert history.notes[0].startswith("2 of 2 residual scales ended near 0")
        assert "variance of blocks.0.norm_pointwise grew to" in history.notes[1]

    def test_a_usual_training_has_none(self):
        for task in TASKS:
            model, history = trained(task, Poisoned(task, set()))
            assert history.notes == []
            scales = [m.scale for m in model.modules() if isinstance(m, Residual)]
            assert all(scale is not None and scale.abs() > 1e-4 for scale in scales)


def forecaster(**given) -> ConvTimeNetForecaster:
    model = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,)}
    settings = {"h": 4, "input_size": 24, "n_epochs": 3, "device": "cpu", "verbose": 0}
    return ConvTimeNetForecaster(**{**settings, "model": model, **given})


def classifier(**given) -> ConvTimeNetClassifier:
    model = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,), "dropout": 0.0, "random_patches": 1}
    settings = {"n_epochs": 8, "lr": 1e-2, "device": "cpu", "verbose": 0, "model": model}
    settings |= {"training": {"refit": False}}  # another file is about the second training
    return ConvTimeNetClassifier(**{**settings, **given})


WAVES = np.sin(np.arange(160)[:, None] / np.array([2.0, 3.0]))


def cases() -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).normal(size=(40, 2, 30))
    X[::2] += 2
    return X, np.arange(40) % 2


@cache
def usual_forecast() -> np.ndarray:
    return forecaster().fit(WAVES).predict()


class TestSizes:
    @pytest.mark.parametrize("unit", [1e-30, 1e-5, 1e30])
    def test_forecasts_scale_with_the_data(self, unit):
        found = forecaster().fit(WAVES * unit).predict()
        np.testing.assert_allclose(found, usual_forecast() * unit, rtol=1e-3)

    @pytest.mark.parametrize("unit", [1e-30, 1e-5, 1, 1e30])
    def test_classes_do_not_depend_on_the_unit(self, unit):
        X, y = cases()
        assert classifier().fit(X * unit, y).score(X * unit, y) > 0.9

    def test_values_beyond_every_number_format_are_refused(self):
        X, y = cases()
        with pytest.raises(DataError, match="rescale the series"):
            classifier().fit(X * 1e300, y)
        with pytest.raises(DataError, match=r"as large as 1e.200 .* rescale the series"):
            forecaster().fit(WAVES * 1e200)

    def test_without_scaling_extreme_units_are_named(self):
        with pytest.raises(
            DataError, match=r"channel '\d' has a standard deviation of .*e\+29.*scale=True"
        ):
            forecaster(scale=False).fit(WAVES * 1e30)
        model = forecaster(scale=False, n_epochs=1).fit(WAVES * [1e-30, 1])
        assert model.notices_[0].startswith("channel(s) 0 have a standard deviation below 0.03")
        assert "scale=True" in model.notices_[0]
        assert np.isfinite(model.predict()).all()
        usual = forecaster(scale=False, n_epochs=1).fit(WAVES)
        assert usual.notices_ == ()

    def test_constant_series(self):
        values = np.concatenate([np.full((160, 1), 5.0), WAVES], axis=1)
        forecast = forecaster().fit(values).predict()
        np.testing.assert_allclose(forecast[:, 0], 5.0, atol=0.05)
        assert np.isfinite(forecaster().fit(np.zeros((160, 1))).predict()).all()
        X, y = cases()
        X[:, 1] = 7.0
        assert classifier(n_epochs=20).fit(X, y).score(X, y) > 0.9

    def test_batches_of_one(self):
        X, y = cases()
        model = classifier(batch_size=1, n_epochs=2).fit(X, y)
        assert np.isfinite(model.predict_proba(X)).all()
        assert model.history_.skipped == 0
        model = forecaster(batch_size=1, n_epochs=1).fit(WAVES[:90, :1])
        assert np.isfinite(model.predict()).all()
        assert model.history_.skipped == 0

    def test_batches_of_equal_labels(self):
        """Batches of the first class, then of the second: nothing but a hard order to learn."""
        x = torch.from_numpy(cases()[0]).float()[..., :12]
        sorted_ = LabelledCases(torch.cat([x[::2], x[1::2]]), torch.arange(40) // 20)
        step = Step(network("classify").train(), sorted_, config_of(), CPU)
        for first in (0, 10, 20, 30):
            step(torch.arange(first, first + 10))
        assert step.counts.tolist() == [40, 0, 0]
        assert all(value.isfinite().all() for value in step.state().values())


MESSAGES = (
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("could not create a primitive"),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
)


@pytest.fixture
def small_memory(monkeypatch):
    """Let the network fail for more than so many examples at once; gives the sizes it saw."""

    whole = ConvTimeNet.forward

    def limit(most: int, error: BaseException = MESSAGES[0]) -> list[int]:
        sizes: list[int] = []

        def forward(self, x, *further):
            if len(x) > most:
                raise error
            sizes.append(len(x))
            return whole(self, x, *further)

        monkeypatch.setattr(ConvTimeNet, "forward", forward)
        return sizes

    return limit


class TestMemory:
    @pytest.mark.parametrize("error", MESSAGES, ids=lambda error: type(error).__name__)
    def test_training_in_parts_takes_the_same_steps(self, small_memory, caplog, error):
        """With LayerNorm, which sees each token alone, parts add up to the whole batch."""
        results = []
        for task in TASKS:
            for most in (100, 5):
                sizes = small_memory(most, error)
                model = network(task, norm="layer", dropout=0.0, embed_norm=False)
                examples = Poisoned(task, set())
                with caplog.at_level(logging.WARNING):
                    history = train(model, examples, None, config_of(), device=CPU, verbose=0)
                assert history.parts == (1 if most == 100 else 4)
                assert max(sizes) == (16 if most == 100 else 4)
                results.append((model.state_dict(), history))
        assert "memory ran out: training continues with batches in 4 parts" in caplog.text
        for (whole, one), (parts, other) in (results[:2], results[2:]):
            assert other.notes[0].startswith("memory ran out, so each batch was split into 4 parts")
            for name, value in whole.items():
                torch.testing.assert_close(parts[name], value, rtol=1e-3, atol=1e-5)
            for a, b in zip(one.epochs, other.epochs, strict=True):
                assert a.train_loss == pytest.approx(b.train_loss, rel=1e-5)

    def test_parts_of_weighted_examples_add_up(self, small_memory):
        class Weighted(Poisoned):
            def batch(self, index):
                batch = super().batch(index)
                return batch._replace(weight=(index.float() % 3)[:, None, None])

        states = []
        for most in (100, 7):
            small_memory(most)
            model = network("forecast", norm="layer", dropout=0.0)
            step = Step(model.train(), Weighted("forecast", set()), config_of(), CPU)
            step(torch.arange(17))
            gradients = {name: p.grad for name, p in model.named_parameters()}
            states.append({name: g.clone() for name, g in gradients.items() if g is not None})
        for name, value in states[0].items():
            torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-7)

    def test_a_failed_try_leaves_batch_norm_as_it_was(self, small_memory, monkeypatch):
        model = network("forecast", dropout=0.0)
        step = Step(model.train(), Poisoned("forecast", set()), config_of(), CPU)
        whole, calls = ConvTimeNet.forward, itertools.count()

        def forward(self, x):
            y = whole(self, x)
            if next(calls) == 0:
                raise MemoryError
            return y

        monkeypatch.setattr(ConvTimeNet, "forward", forward)
        step(torch.arange(16))
        tracked = [v for name, v in model.named_buffers() if name.endswith("num_batches_tracked")]
        assert {int(value) for value in tracked} == {2}  # one for each part, none for the first try

    def test_the_smallest_part_is_an_error(self, small_memory):
        small_memory(0)
        message = "not enough memory for training with 1 example"
        with pytest.raises(OutOfMemoryError, match=message):
            trained("forecast", Poisoned("forecast", set()))
        model = forecaster()
        with pytest.raises(MemoryError, match="use a smaller network"):
            model.fit(WAVES)

    def test_other_errors_are_not_swallowed(self, small_memory):
        small_memory(3, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        with pytest.raises(RuntimeError, match="mat1"):
            trained("forecast", Poisoned("forecast", set()))
        assert not out_of_memory(ValueError("out of memory"))

    def test_scores_in_parts_are_the_same(self, small_memory):
        model, examples = network("forecast").eval(), Poisoned("forecast", set())
        for drop_last in (False, True):
            results = []
            for most in (100, 5):
                sizes = small_memory(most)
                results.append(evaluate(model, examples, "forecast", 16, CPU, drop_last))
                assert max(sizes) == (16 if most == 100 else 4)
            assert results[0] == pytest.approx(results[1], rel=1e-6)

    def test_predictions_in_parts_are_the_same(self, small_memory):
        X, y = cases()
        model = classifier(n_epochs=1).fit(X, y)
        whole = model.predict_proba(X)
        sizes = small_memory(3)
        np.testing.assert_allclose(model.predict_proba(X), whole, rtol=1e-5)
        assert max(sizes) <= 3
        assert sum(sizes) == len(X)

    def test_parts_halve_until_they_fit(self):
        parts, seen = Parts("testing"), []

        def compute(part: slice) -> torch.Tensor:
            if part.stop - part.start > 6:
                raise MemoryError
            seen.append((part.start, part.stop))
            return torch.arange(part.start, part.stop)

        assert torch.equal(torch.cat(parts.run(25, compute)), torch.arange(25))
        assert parts.count == 8
        assert seen == [(0, 4), (4, 8), (8, 12), (12, 16), (16, 20), (20, 24), (24, 25)]
        assert len(parts.run(0, compute)) == 1


MANY = """
import resource, numpy as np, torch
from convtimenet import ConvTimeNetForecaster
torch.set_num_threads(1)
settings = dict(h=4, input_size=24, n_epochs=1, device="cpu", verbose=0, batch_size=256)
small = {"d_model": 4, "d_ff": 8, "kernel_sizes": (3,)}
model = ConvTimeNetForecaster(model=small, refit=False, **settings).fit(np.sin(np.arange(100.0)))
# as many series as there are, without memory of their own
one = np.sin(np.arange(24.0))[None, None]
model._outputs(np.broadcast_to(one, (1000, 1, 24)), model.scaler_.apply)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
many = np.broadcast_to(one, (100_000, 1, 24))
result = model._outputs(many, model.scaler_.apply)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
alone = model._outputs(one, model.scaler_.apply)
assert result.shape == (100_000, 1, 4)
np.testing.assert_allclose(result, np.broadcast_to(alone, result.shape), rtol=1e-5)
print(grown)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read in Linux's units")
def test_predicting_100_000_series_takes_their_results_memory_only():
    """The result is 1.5 MiB; all scaled inputs at once would be 18 MiB in float64."""
    process = Forked(MANY)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert float(out) < 6


LITTLE = """
import resource, sys, numpy as np, torch
from convtimenet import ConvTimeNetForecaster
torch.set_num_threads(1)
values = np.sin(np.arange(1200)[:, None] / (2.0 + np.arange(8)))
settings = dict(h=4, input_size=96, n_epochs=1, device="cpu", verbose=0, batch_size=512)
small = {"d_model": 32, "d_ff": 64, "kernel_sizes": (3, 5)}
def fit(limit):
    model = ConvTimeNetForecaster(model=small, training={"memory_budget": 64.0}, **settings)
    if limit:
        pages = int(open("/proc/self/statm").read().split()[0])
        most = pages * 4096 + limit * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    return model.fit(values)
ConvTimeNetForecaster(model=small, **{**settings, "batch_size": 8}).fit(values[:150])
model = fit(int(sys.argv[1]))
print(model.history_.parts, model.history_.predicted_peak // 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS")
@pytest.mark.slow
def test_a_real_shortage_of_memory_is_survived():
    found = subprocess.run(
        [sys.executable, "-c", LITTLE, "72"], capture_output=True, text=True, check=True
    )
    parts, predicted = map(int, found.stdout.split())
    assert parts > 1
    assert predicted > 72
