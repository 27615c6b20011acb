"""The training loop: schedule, batches, choice of the epoch, stopping, reproducibility."""

import itertools
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.windows import LabelledCases, Windows
from convtimenet.devices import RandomNumbers, resolve_device
from convtimenet.errors import ConfigError, TrainingError
from convtimenet.network.model import ConvTimeNet
from convtimenet.training import loop as training
from convtimenet.training.history import History
from convtimenet.training.loop import train, training_batches

CPU = torch.device("cpu")
SIZES = {"d_model": 4, "d_ff": 8, "kernel_sizes": (3,), "patch_size": 4, "patch_stride": 2}


def forecasting(seed: int = 0) -> tuple[ConvTimeNet, Windows, Windows]:
    torch.manual_seed(seed)
    model = ConvTimeNet(ModelConfig.forecasting(context_length=12, horizon=3, **SIZES))
    values = torch.randn(2, 80, generator=torch.Generator().manual_seed(9))
    return model, Windows.between(values, 12, 3, 0, 50), Windows.between(values, 12, 3, 50, 80)


def classification(seed: int = 0) -> tuple[ConvTimeNet, LabelledCases, LabelledCases]:
    torch.manual_seed(seed)
    config = ModelConfig.classification(channels=2, context_length=12, n_classes=2, **SIZES)
    x = torch.randn(30, 2, 12, generator=torch.Generator().manual_seed(9))
    y = torch.arange(30) % 2
    return ConvTimeNet(config), LabelledCases(x[:20], y[:20]), LabelledCases(x[20:], y[20:])


def config_of(**given_) -> TrainConfig:
    return TrainConfig(**({"epochs": 3, "batch_size": 16, "lr": 1e-2, "device": "cpu"} | given_))


def answer(model: torch.nn.Module) -> torch.Tensor:
    """To a fixed input, without dropout."""
    x = torch.randn(6, 2, 12, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        return model.eval()(x)


@pytest.fixture
def scripted(monkeypatch):
    """Let validation give these scores, and note what the network they are of answers."""

    def script(scores: list[float], name: str = "mse"):
        left, seen = iter(scores), []

        def evaluate(model, *_, **__):
            seen.append(answer(model))
            return {name: next(left)}

        monkeypatch.setattr(training, "evaluate", evaluate)
        return seen

    return script


class TestSchedule:
    def test_forecasting_holds_3_epochs_and_then_falls_every_epoch(self):
        """SPEC section 5: constant for 3 epochs, then x 0.9 each epoch."""
        rates = [TrainConfig(lr=1.0).learning_rate(epoch) for epoch in range(1, 8)]
        assert rates == pytest.approx([1, 1, 1, 0.9, 0.81, 0.729, 0.6561])

    @pytest.mark.parametrize("every", [5, 20])
    def test_classification_falls_every_so_many_epochs(self, every):
        config = TrainConfig(lr=1.0, lr_every=every)
        rates = [config.learning_rate(epoch) for epoch in range(1, 101)]
        falls = [epoch + 1 for epoch in range(1, 100) if rates[epoch] < rates[epoch - 1]]
        assert falls == list(range(3 + every, 101, every))
        assert rates[-1] == pytest.approx(0.9 ** len(falls))

    def test_the_optimiser_follows_it(self):
        model, examples, valid = forecasting()
        config = config_of(epochs=5, patience=None)
        history = train(model, examples, valid, config, device=CPU, verbose=0)
        assert [e.lr for e in history.epochs] == [config.learning_rate(e) for e in range(1, 6)]
        assert [e.lr for e in history.epochs] == pytest.approx([1e-2] * 3 + [9e-3, 8.1e-3])


class TestBatches:
    @settings(max_examples=300)
    @given(st.integers(1, 400), st.integers(2, 70))
    def test_each_example_at_most_once_and_never_one_alone(self, n, size):
        batches = training_batches(torch.randperm(n), config_of(batch_size=size))
        used = torch.cat(batches).tolist()
        assert len(used) == len(set(used))
        assert set(used) <= set(range(n))
        lengths = [len(batch) for batch in batches]
        assert all(length > 1 for length in lengths) or n == 1
        if n // size >= 8:
            assert lengths == [size] * (n // size)
        else:
            assert len(used) == n
            assert all(length == size for length in lengths[:-1])
            assert lengths[-1] <= size + 1

    @given(st.integers(1, 400), st.integers(1, 70))
    def test_the_paper_protocol_drops_every_incomplete_last_batch(self, n, size):
        batches = training_batches(torch.arange(n), config_of(batch_size=size, protocol="paper"))
        lengths = [len(batch) for batch in batches]
        assert lengths == ([size] * (n // size) if n >= size else [n])

    def test_the_order_is_kept(self):
        order = torch.randperm(40)
        batches = training_batches(order, config_of(batch_size=16))
        assert torch.equal(torch.cat(batches), order)

    def test_every_epoch_is_shuffled_anew_and_sees_every_example(self, monkeypatch):
        model, examples, valid = forecasting()
        seen = []

        def noted(order, config):
            seen.append(order.tolist())
            return training_batches(order, config)

        monkeypatch.setattr(training, "training_batches", noted)
        train(model, examples, valid, config_of(), device=CPU, verbose=0)
        epochs = seen[1:]  # the first call only counts the steps
        assert len(epochs) == 3
        assert all(sorted(order) == list(range(len(examples))) for order in epochs)
        assert all(a != b for a, b in itertools.pairwise(epochs))


class TestChoiceOfTheEpoch:
    @pytest.mark.parametrize("best", [1, 2, 4])
    def test_the_best_epochs_weights_stay(self, scripted, best):
        scores = [9.0, 8.0, 7.0, 6.0]
        scores[best - 1] = 1.0
        model, examples, valid = forecasting()
        seen = scripted(scores)
        config = config_of(epochs=4, patience=None)
        history = train(model, examples, valid, config, device=CPU, verbose=0)
        assert history.best_epoch == best
        torch.testing.assert_close(answer(model), seen[best - 1])
        for other in set(range(4)) - {best - 1}:
            assert (answer(model) - seen[other]).abs().max() > 1e-3
        assert not model.training

    def test_classes_go_by_loss_or_under_the_paper_protocol_by_accuracy(self, monkeypatch):
        scores = [{"loss": 1.0, "accuracy": 0.1}, {"loss": 2.0, "accuracy": 0.9}]
        for protocol, best in (("honest", 1), ("paper", 2)):
            left = iter(scores)
            monkeypatch.setattr(training, "evaluate", lambda *_, left=left, **__: next(left))
            model, examples, valid = classification()
            config = config_of(epochs=2, protocol=protocol)
            history = train(model, examples, valid, config, device=CPU, verbose=0)
            assert history.best_epoch == best

    def test_stops_after_so_many_epochs_without_a_better_score(self, scripted):
        model, examples, valid = forecasting()
        scripted([5.0, 3.0, 4.0, 3.0, 3.5])
        config = config_of(epochs=20, patience=3)
        history = train(model, examples, valid, config, device=CPU, verbose=0)
        assert len(history.epochs) == 5
        assert history.best_epoch == 2
        assert history.stopped == "no better validation mse for 3 epochs"

    def test_without_validation_the_last_epoch_is_kept(self):
        model, examples, _ = forecasting()
        history = train(model, examples, None, config_of(patience=1), device=CPU, verbose=0)
        assert history.best_epoch == 3
        assert history.stopped == "all 3 epochs done"
        assert all(epoch.valid == {} for epoch in history.epochs)

    def test_nan_scores_are_never_the_best(self, scripted):
        model, examples, valid = forecasting()
        scripted([float("nan"), 2.0, float("nan")])
        history = train(model, examples, valid, config_of(), device=CPU, verbose=0)
        assert history.best_epoch == 2


class TestTimeLimit:
    def test_stops_and_keeps_the_best_epoch(self, monkeypatch, scripted):
        model, examples, valid = forecasting()
        seen = scripted([1.0, 2.0, 3.0, 4.0])
        # every look at the clock takes a second
        monkeypatch.setattr(training.time, "monotonic", itertools.count(0.0).__next__)
        config = config_of(epochs=100, time_limit=15.0, patience=None)
        history = train(model, examples, valid, config, device=CPU, verbose=0)
        assert history.stopped == "time limit of 15.0 s"
        assert 1 <= len(history.epochs) < 5
        assert history.best_epoch == 1
        torch.testing.assert_close(answer(model), seen[0])

    def test_a_limit_within_the_first_epoch_still_gives_a_scored_model(self):
        model, examples, valid = forecasting()
        config = config_of(epochs=100, time_limit=1e-9)
        history = train(model, examples, valid, config, device=CPU, verbose=0)
        assert history.steps == 1
        assert history.best_epoch == 1
        assert set(history.epochs[0].valid) == {"mse", "mae"}


class TestDivergence:
    def test_nothing_good_found_is_an_error_that_says_what_to_do(self):
        model, examples, valid = forecasting()
        with pytest.raises(TrainingError, match=r"did not converge.*use an lr below"):
            train(model, examples, valid, config_of(lr=1e30), device=CPU, verbose=0)

    def test_nothing_good_found_without_validation(self):
        """The only step of an epoch may be finite and the weights after it useless."""
        model, _, _ = forecasting()
        few = Windows.between(torch.randn(1, 17), 12, 3, 0, 17)
        with pytest.raises(TrainingError, match="did not converge"):
            train(model, few, None, config_of(lr=1e30), device=CPU, verbose=0)
        with torch.no_grad():
            model.head.project.bias.fill_(float("nan"))
        message = "not finite in 5 steps in a row from the first step on"
        with pytest.raises(TrainingError, match=message):
            train(model, few, None, config_of(epochs=9, patience=None), device=CPU, verbose=0)

    def test_a_later_bad_epoch_ends_training_with_the_best_weights(self, monkeypatch):
        model, examples, valid = forecasting()
        monkeypatch.setattr(TrainConfig, "learning_rate", lambda _, n: 1e-3 if n < 3 else 1e30)
        config = config_of(epochs=50, patience=None)
        history = train(model, examples, valid, config, device=CPU, verbose=0)
        assert history.stopped.startswith("the loss or its gradients were not finite in 5 steps")
        assert history.stopped.endswith(
            "for the 4th time, although the learning rate was halved each time"
        )
        assert history.rollbacks == 3
        assert history.best_epoch in (1, 2)
        assert all(torch.isfinite(p).all() for p in model.state_dict().values())


class TestReproducibility:
    @pytest.mark.parametrize("build", [forecasting, classification])
    def test_same_seed_same_bits_and_another_seed_others(self, build):
        results = []
        for seed in (1, 1, 2):
            numbers, (model, examples, valid) = RandomNumbers(seed, CPU), build(seed)
            with numbers.for_weights():
                model = ConvTimeNet(model.config)
            given = config_of(seed=seed)
            train(model, examples, valid, given, device=CPU, numbers=numbers, verbose=0)
            results.append(model.state_dict())
        assert all(torch.equal(results[0][k], v) for k, v in results[1].items())
        assert not all(torch.equal(results[0][k], v) for k, v in results[2].items())


class TestHistory:
    def test_says_what_happened(self):
        model, examples, valid = forecasting()
        history = train(model, examples, valid, config_of(), device=CPU, verbose=0)
        assert [epoch.epoch for epoch in history.epochs] == [1, 2, 3]
        assert history.steps == 3 * -(-len(examples) // 16)
        assert history.device == "cpu"
        best = min(history.epochs, key=lambda epoch: epoch.valid["mse"])
        assert history.best_epoch == best.epoch
        assert all(epoch.train_loss > 0 and epoch.seconds >= 0 for epoch in history.epochs)

    def test_survives_json(self):
        model, examples, valid = forecasting()
        history = train(model, examples, valid, config_of(), device=CPU, verbose=0)
        assert History.from_dict(history.to_dict()) == history

    def test_the_kept_score_is_that_of_the_kept_weights(self):
        model, examples, valid = forecasting()
        history = train(model, examples, valid, config_of(), device=CPU, verbose=0)
        again = training.evaluate(model, valid, "forecast", 16, CPU)
        kept = history.epochs[history.best_epoch - 1].valid
        assert again == pytest.approx(kept, rel=1e-5)

    def test_learns(self):
        """A sine is learnt to a fraction of its variance: the loop does optimise."""
        torch.manual_seed(0)
        config = ModelConfig.forecasting(context_length=12, horizon=3, **SIZES, dropout=0.0)
        wave = torch.sin(torch.arange(200.0) / 2)[None]
        examples = Windows.between(wave, 12, 3, 0, 200)
        given_ = config_of(epochs=15, lr=2e-2)
        history = train(ConvTimeNet(config), examples, None, given_, device=CPU, verbose=0)
        assert history.epochs[-1].train_loss < 0.2 * history.epochs[0].train_loss


class TestClipping:
    def test_gradients_are_clipped_to_the_norm(self, monkeypatch):
        norms = []

        class Watching(torch.optim.SGD):
            def __init__(self, parameters, lr, **_):
                super().__init__(parameters, lr=lr)

            def step(self, closure=None):
                gradients = [p.grad for g in self.param_groups for p in g["params"]]
                norms.append(torch.cat([g.flatten() for g in gradients]).norm().item())
                return super().step(closure)

        monkeypatch.setattr(torch.optim, "Adam", Watching)
        for clip in (None, 1e-3):
            model, examples, valid = forecasting()
            config = config_of(clip_norm=clip, epochs=1)
            train(model, examples, valid, config, device=CPU, verbose=0)
        free, clipped = norms[: len(norms) // 2], norms[len(norms) // 2 :]
        assert min(free) > 1e-3
        assert clipped == pytest.approx([1e-3] * len(clipped), rel=1e-3)


@pytest.mark.parametrize("name", ["warp", "cuda:99", "meta", ""])
def test_unknown_devices_are_refused(name):
    with pytest.raises(ConfigError, match=r"device must be 'auto' or .* use device='auto'"):
        resolve_device(name)


def test_auto_is_a_device_of_this_machine():
    assert torch.empty(1, device=resolve_device("auto")).device.type in ("cpu", "cuda", "mps")


class TestProgress:
    """What is shown of a training, on standard error."""

    def shown(self, capfd, verbose) -> str:
        model, examples, valid = forecasting()
        train(model, examples, valid, config_of(epochs=2), device=CPU, verbose=verbose)
        out, err = capfd.readouterr()
        assert out == ""
        return err

    @pytest.mark.parametrize("verbose", [0, False])
    def test_none_of_it(self, capfd, monkeypatch, verbose):
        monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
        assert self.shown(capfd, verbose) == ""

    @pytest.mark.parametrize("verbose", [1, True])
    def test_a_bar_on_a_terminal(self, capfd, monkeypatch, verbose):
        monkeypatch.setenv("FORCE_COLOR", "1")
        shown = " ".join(self.shown(capfd, verbose).split())
        assert "training" in shown
        assert "MiB a training step" in shown
        assert "epoch 1:" not in shown

    @pytest.mark.parametrize("verbose", [1, True])
    def test_the_start_and_the_end_where_there_is_no_terminal(self, capfd, verbose):
        first, last = self.shown(capfd, verbose).splitlines()
        assert re.fullmatch(
            r"training: \d+ windows, at most 2 epochs of \d steps; about \d+ MiB a training step",
            first,
        )
        assert re.fullmatch(
            r"training: 2 epochs in 0:\d\d, the (last one|best one, epoch 1,) is kept "
            r"\(valid mse [\d.]+\); all 2 epochs done",
            last,
        )

    def test_a_line_an_epoch_where_there_is_no_terminal(self, capfd):
        _, first, second, _ = self.shown(capfd, 2).splitlines()
        number = r"\d+(\.\d+)?(e-\d+)?"
        scores = rf"train loss {number}, valid mse {number}, valid mae {number}"
        assert re.fullmatch(f"training, epoch 1: {scores}", first)  # the best so far, of course
        assert re.fullmatch(f"training, epoch 2: {scores}(, best epoch 1)?", second)

    def test_lines_above_the_bar(self, capfd, monkeypatch):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "200")
        shown = self.shown(capfd, 2)
        assert "training, epoch 1: train loss" in shown
        assert "training, epoch 2: train loss" in shown
        assert "MiB a training step" in shown
