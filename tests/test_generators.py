"""Every training has random numbers of its own: the seed alone decides, whatever other threads and
the caller draw meanwhile, and nothing of the caller's is changed."""

import copy
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from forked import Forked
from torch import nn

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, ConvTimeNetRegressor
from convtimenet import devices as devices_
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.windows import Windows
from convtimenet.devices import RandomNumbers, generator, random_state, set_random_state
from convtimenet.network.layers import Dropout, OwnDropout
from convtimenet.network.model import ConvTimeNet
from convtimenet.training.loop import train

CPU = torch.device("cpu")
SMALL = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,), "dropout": 0.3, "head_dropout": 0.2}
NUMBERS = np.random.default_rng(0)
X = NUMBERS.normal(size=(60, 2, 20)).astype(np.float32)
Y = np.arange(60) % 2
ROWS = np.sin(np.arange(90)[:, None] / np.array([2.0, 3.0])) + NUMBERS.normal(size=(90, 2)) / 9


def forecaster(**model):
    given = {"h": 3, "input_size": 12, "n_epochs": 2, "batch_size": 16, "device": "cpu"}
    sizes = {**SMALL, "patch_size": 4, "patch_stride": 2, **model}
    return ConvTimeNetForecaster(**given, verbose=0, model=sizes).fit(ROWS)


def plain_torch(**_):
    """LayerNorm keeps the blocks out of the fused kernels: their dropout is torch code."""
    return forecaster(norm="layer")


def recomputing(**_):
    given = {"h": 3, "input_size": 12, "n_epochs": 2, "batch_size": 16, "device": "cpu"}
    sizes = {**SMALL, "patch_size": 4, "patch_stride": 2}
    training = {"memory_budget": 1e-6}
    model = ConvTimeNetForecaster(**given, verbose=0, model=sizes, training=training).fit(ROWS)
    assert model.history_.recomputed
    return model


def classifier():
    given = {"n_epochs": 2, "batch_size": 16, "device": "cpu", "verbose": 0}
    given["model"] = SMALL | {"random_patches": 2}
    return ConvTimeNetClassifier(**given, training={"refit": True}).fit(X, Y)


def regressor():
    given = {"n_epochs": 2, "batch_size": 16, "device": "cpu", "verbose": 0}
    given["model"] = SMALL | {"random_patches": 2}
    return ConvTimeNetRegressor(**given).fit(X, X[:, 0, 0])


KINDS = (forecaster, plain_torch, recomputing, classifier, regressor)


def weights(model) -> bytes:
    return b"".join(v.numpy().tobytes() for v in model.network_.state_dict().values())


def globals_() -> tuple[bytes, str]:
    """What the caller's own draws depend on. (Python's `random` moves here by itself: the checks
    of types that run in tests draw from it.)"""
    return torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state())  # noqa: NPY002


class TestThreads:
    @pytest.mark.parametrize("build", KINDS)
    def test_four_fits_at_a_time_give_what_one_gives(self, build):
        alone, before = weights(build()), globals_()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: weights(build()), range(4)))
        assert found == [alone] * 4
        assert globals_() == before

    def test_a_caller_who_draws_meanwhile_disturbs_no_fit_and_is_not_disturbed(self):
        alone = weights(plain_torch())
        torch.manual_seed(3)
        expected = [torch.rand(2).tolist() for _ in range(400)]
        found, seen = [], []
        torch.manual_seed(3)
        worker = threading.Thread(target=lambda: found.append(weights(plain_torch())))
        worker.start()
        while worker.is_alive() or not seen:
            seen.append(torch.rand(2).tolist())
        seen += [torch.rand(2).tolist() for _ in range(400 - len(seen))]
        assert found == [alone]
        assert seen[:400] == expected

    def test_models_are_loaded_without_a_draw(self, tmp_path):
        model = forecaster()
        model.save(tmp_path / "m")
        before = globals_()
        with ThreadPoolExecutor(4) as pool:
            loaded = list(pool.map(lambda _: ConvTimeNetForecaster.load(tmp_path / "m"), range(8)))
        assert globals_() == before
        for again in loaded:
            np.testing.assert_array_equal(again.predict(), model.predict())


@pytest.mark.parametrize("build", KINDS)
def test_the_callers_numbers_stay_and_do_not_count(build):
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        before = globals_()
        model = build()
        model.predict(*([] if isinstance(model, ConvTimeNetForecaster) else [X]))
        assert globals_() == before
        found.append(weights(model))
    assert found[0] == found[1]


PYTHONS = """
import random
from test_generators import X, classifier, forecaster
before = random.getstate()
forecaster().predict()
classifier().predict(X)
assert random.getstate() == before
"""


def test_pythons_own_random_stays():
    process = Forked(PYTHONS)
    _, err = process.communicate()
    assert process.returncode == 0, err


def test_no_global_generator_is_seeded_on_any_device(monkeypatch):
    def refused(*_, **__):
        raise AssertionError("a global generator was touched")

    for owner, names in (
        (torch, ("manual_seed", "set_rng_state", "seed")),
        (torch.random, ("manual_seed", "set_rng_state", "seed")),
        (torch.cuda, ("manual_seed", "manual_seed_all", "set_rng_state", "get_rng_state")),
        (torch.mps, ("manual_seed", "set_rng_state", "get_rng_state")),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, refused)
    classifier()
    recomputing()


CONFIGS = {
    "forecast": ModelConfig.forecasting(context_length=12, horizon=3, **SMALL),
    "options": ModelConfig.forecasting(
        context_length=12, horizon=3, revin_affine_channels=2, quantiles=(0.1, 0.5, 0.9),
        small_kernel=3, predictor_init="default", **SMALL,
    ),
    "covariates": ModelConfig.forecasting(
        context_length=12, horizon=3, hist_exog=1, futr_exog=2, stat_exog=1,
        stat_categories=(3, 4), **SMALL,
    ),
    "classify": ModelConfig.classification(channels=2, context_length=20, n_classes=3, **SMALL),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_weights_are_those_of_torchs_seed_and_leave_it_alone(name):
    torch.manual_seed(11)
    expected = ConvTimeNet(CONFIGS[name]).state_dict()
    before = globals_()
    with RandomNumbers(11, CPU).for_weights():
        found = ConvTimeNet(CONFIGS[name]).state_dict()
    assert globals_() == before
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("kind", [Dropout, OwnDropout])
def test_dropout_draws_what_the_same_seed_would_globally(kind):
    layer, x = kind(0.3).train(), torch.randn(7, 13)
    torch.manual_seed(4)
    expected = [layer(x), layer(x)]
    before, numbers = globals_(), RandomNumbers(4, CPU)
    with numbers.in_use():
        found = [layer(x), layer(x)]
    assert globals_() == before
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert not torch.equal(*found)
    assert generator() is None


def test_a_training_goes_on_from_its_state():
    numbers, layer, x = RandomNumbers(4, CPU), Dropout(0.5).train(), torch.ones(64)
    with numbers.in_use():
        layer(x)
    state = numbers.state().clone()
    with numbers.in_use():
        expected = layer(x)
    again = RandomNumbers(99, CPU)
    again.go_on_from(state)
    with again.in_use():
        assert torch.equal(layer(x), expected)


def test_without_a_training_torchs_generator_counts():
    torch.manual_seed(5)
    state = random_state(CPU)
    first = torch.rand(2)
    set_random_state(CPU, state)
    assert torch.equal(torch.rand(2), first)


class TestOtherDevices:
    """Their dropout draws from the device's default generator, played by one on the CPU."""

    @pytest.fixture
    def default(self, monkeypatch):
        default = torch.Generator().manual_seed(77)

        class Module:
            get_rng_state = staticmethod(lambda *_: default.get_state())
            set_rng_state = staticmethod(lambda state, *_: default.set_state(state))

        whole = torch.Generator
        monkeypatch.setattr(devices_.torch, "get_device_module", lambda _: Module)
        monkeypatch.setattr(devices_.torch, "Generator", lambda *_: whole())
        return default

    @pytest.mark.parametrize("kind", ["cuda", "mps"])
    def test_the_default_generator_is_ours_for_a_step_alone(self, default, kind):
        device = torch.device(kind)
        seeded = torch.Generator().manual_seed(3)
        expected = [torch.rand(1, generator=seeded).item() for _ in range(4)]
        one, other = RandomNumbers(3, device), RandomNumbers(3, device)
        before, found = default.get_state(), {one: [], other: []}
        for numbers in (one, one, other, one, other, other, other, one):
            with numbers.in_use():
                found[numbers].append(torch.rand(1, generator=default).item())
            assert torch.equal(default.get_state(), before)
        assert found == {one: expected, other: expected}

    def test_it_comes_back_after_an_error(self, default):
        numbers, before = RandomNumbers(3, torch.device("cuda")), default.get_state()

        def fails():
            with numbers.in_use():
                torch.rand(1, generator=default)
                raise MemoryError

        with pytest.raises(MemoryError):
            fails()
        assert torch.equal(default.get_state(), before)
        with numbers.in_use():  # and is free for the next
            pass

    def test_one_training_at_a_time_has_it(self, default):
        device = torch.device("cuda")
        alone = RandomNumbers(3, device)
        expected = []
        for _ in range(50):
            with alone.in_use():
                expected.append(torch.rand(1, generator=default).item())

        def draw(_):
            numbers, found = RandomNumbers(3, device), []
            for _ in range(50):
                with numbers.in_use():
                    found.append(torch.rand(1, generator=default).item())
            return found

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(draw, range(4))) == [expected] * 4


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_recomputed_blocks_draw_what_they_drew_first(norm):
    """With a generator of the training's own, which torch.utils.checkpoint knows nothing of."""
    settings = {**SMALL, "norm": norm, "patch_size": 4, "patch_stride": 2, "kernel_sizes": (3, 5)}
    config = ModelConfig.forecasting(context_length=12, horizon=3, **settings)
    torch.manual_seed(0)
    kept = ConvTimeNet(config).train()
    again = copy.deepcopy(kept)
    again.recompute = True
    x = torch.randn(6, 2, 12)
    states = []
    for model in (kept, again):
        numbers = RandomNumbers(8, CPU)
        for _ in range(2):
            with numbers.in_use():
                model(x).square().sum().backward()
        states.append(numbers.state())
    assert torch.equal(*states)
    for a, b in zip(kept.parameters(), again.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)


def test_a_network_keeps_nothing_of_its_training():
    """No generator hangs on it: it is copied, and draws as any network does."""
    values = torch.sin(torch.arange(80.0))[None]
    windows = Windows.between(values, 12, 3, 0, 80)
    config = TrainConfig(epochs=1, batch_size=16, device="cpu")
    torch.manual_seed(0)
    model = ConvTimeNet(CONFIGS["forecast"])
    train(model, windows, None, config, device=CPU, verbose=0)
    attributes = itertools.chain.from_iterable(vars(m).values() for m in model.modules())
    assert not any(isinstance(value, torch.Generator) for value in attributes)
    assert isinstance(model.head.dropout, nn.Dropout)
