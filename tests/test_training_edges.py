"""Edges of training: batches without cases, compilers, second derivatives, bf16 on the CPU, files
of strict JSON, and a training that goes on with the seed it drew."""

import copy
import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from forked import Forked

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, ConvTimeNetRegressor
from convtimenet.batch import Covariates
from convtimenet.cli.outputs import write_json
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators import base
from convtimenet.files import json_text, plain
from convtimenet.network.inference import fuse
from convtimenet.network.kernels import native
from convtimenet.network.model import ConvTimeNet, deformation
from convtimenet.network.precision import precision_on
from convtimenet.storage.card import card
from convtimenet.training import loop
from convtimenet.training.history import Epoch, History
from convtimenet.training.step import Step

CPU = torch.device("cpu")
SMALL = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5), "dropout": 0.2}
needs_kernels = pytest.mark.skipif(native.library() is None, reason="no C++ compiler here")


def forecasting(**settings) -> ModelConfig:
    return ModelConfig.forecasting(context_length=32, horizon=5, **{**SMALL, **settings})


def classification(**settings) -> ModelConfig:
    return ModelConfig.classification(
        channels=2, context_length=40, n_classes=3, patch_size=8, patch_stride=4,
        **{**SMALL, **settings},
    )  # fmt: skip


NETWORKS = {
    "forecast": forecasting(),
    "quantiles": forecasting(quantiles=(0.1, 0.5, 0.9)),
    "affine": forecasting(revin_affine_channels=2),
    "last": forecasting(revin_subtract_last=True),
    "layer norm": forecasting(norm="layer"),
    "head dropout": forecasting(head_dropout=0.2),
    "rigid": forecasting(deformable=False, embed_norm=False),
    "long rows": forecasting(patch_size=2, patch_stride=1),
    "classes": classification(),
    "mean": classification(pooling="mean"),
    "flatten": classification(pooling="flatten"),
    "regress": ModelConfig.regression(channels=2, context_length=40, **SMALL),
}


def built(config: ModelConfig, mode: str, kernels: bool = True) -> ConvTimeNet:
    model = ConvTimeNet(config).train(mode == "train")
    if mode == "fused":
        model = fuse(model)
    if not kernels:
        for block in [model.blocks, *model.blocks]:
            block.native = False
    return model


class TestNoCases:
    @pytest.mark.parametrize("kernels", [True, False])
    @pytest.mark.parametrize("mode", ["train", "eval", "fused"])
    @pytest.mark.parametrize("name", NETWORKS)
    def test_the_output_has_the_shape_of_others(self, name, mode, kernels):
        config = NETWORKS[name]
        model = built(config, mode, kernels)
        before = copy.deepcopy(model.state_dict())
        L = config.context_length
        for known in (None, torch.ones(0, 2, L, dtype=torch.bool)):
            y = model(torch.empty(0, 2, L), known)
            assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
            full = model.eval()(torch.randn(3, 2, L))
            model.train(mode == "train")
            assert y.shape == (0, *full.shape[1:])
            assert y.dtype == full.dtype
            if mode != "fused":  # gradients of nothing are zero, as of torch's own layers
                model.zero_grad()
                y.sum().backward()
                gradients = [p.grad for p in model.parameters()]
                assert all(g is not None and not g.any() for g in gradients)

    def test_with_covariates(self):
        config = forecasting(hist_exog=1, futr_exog=2, stat_exog=1, stat_categories=(3,))
        for mode in ("train", "eval", "fused"):
            covariates = Covariates(
                torch.empty(0, 1, 32),
                torch.empty(0, 2, 37),
                torch.empty(0, 1),
                torch.empty(0, 1, dtype=torch.int64),
            )
            y = built(config, mode)(torch.empty(0, 3, 32), None, covariates)
            assert y.shape == (0, 3, 5)

    def test_where_patches_lie(self):
        left, right = deformation(ConvTimeNet(forecasting()), torch.empty(0, 3, 32))
        assert left.shape == right.shape
        assert left.shape[:2] == (0, 3)

    def test_channels_that_do_not_fit_are_not_mixed(self):
        """Two cases of three channels are not three cases of two."""
        with pytest.raises(RuntimeError, match="3"):
            ConvTimeNet(classification())(torch.randn(2, 3, 40))


COMPILED = """
import copy, torch
from convtimenet.config import ModelConfig
from convtimenet.network.model import ConvTimeNet
small = dict(d_model=8, d_ff=16, kernel_sizes=(3,), dropout=0.5)
forecast = dict(context_length=32, horizon=5, **small)
classify = dict(channels=2, context_length=40, n_classes=3, patch_size=8, patch_stride=4, **small)
configs = [
    ModelConfig.forecasting(**forecast, head_dropout=0.2, quantiles=(0.1, 0.5, 0.9)),
    ModelConfig.classification(**classify),
]

def slopes(model):
    found = [p.grad for p in model.parameters()]
    assert all(g is not None and g.isfinite().all() for g in found)
    assert any(g.any() for g in found)

def compiled(module):
    torch._dynamo.reset()
    return torch.compile(module, fullgraph=True, backend="aot_eager")

for config in configs:
    model = ConvTimeNet(config).train()
    model.recompute = True  # as a fit within little memory leaves it
    x = torch.randn(4, 2, config.context_length)
    compiled(model)(x, torch.rand_like(x) > 0.1).square().mean().backward()
    slopes(model)
# the same without masks and dropout, whose answers are those of the plain network; two blocks
forecast |= dict(dropout=0.0, kernel_sizes=(3, 5))
model = ConvTimeNet(ModelConfig.forecasting(**forecast)).train()
twin, x = copy.deepcopy(model), torch.randn(4, 2, 32)
found = compiled(twin)(x)
found.square().mean().backward()
slopes(twin)
torch.testing.assert_close(found, model(x), rtol=1e-4, atol=1e-5)
for layer in (ConvTimeNet(configs[0]).blocks[0].add_conv, ConvTimeNet(configs[0]).head):
    layer, p = layer.dropout.train(), layer.dropout.p
    y = compiled(layer)(torch.ones(100, 100))
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, 1 / (1 - p)]))
    assert abs(y.mean() - 1) < 0.05
print("compiled")
"""


def test_training_is_compiled_as_one_graph():
    # a process of its own: the shape checks of the tests cannot be traced
    out, err = Forked(COMPILED).communicate()
    assert out == "compiled\n", err[-2000:]


TWICE = """
import torch
from convtimenet.config import ModelConfig
from convtimenet.network.model import ConvTimeNet
torch.manual_seed(0)
config = ModelConfig.forecasting(
    context_length=32, horizon=5, d_model=8, d_ff=16, kernel_sizes=(3,), dropout=0.0)
model = ConvTimeNet(config).train()
x = torch.randn(4, 2, 32, requires_grad=True)
(slope,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
slope.square().sum().backward()
assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
print("twice")
"""


class TestSecondDerivative:
    @needs_kernels
    @pytest.mark.parametrize("wanted", ["weights", "input"])
    def test_the_kernels_say_that_they_have_none(self, wanted):
        model = ConvTimeNet(forecasting()).train()
        x = torch.randn(4, 2, 32, requires_grad=wanted == "input")
        loss = model(x).square().sum()
        of = x if wanted == "input" else model.get_parameter("blocks.0.conv.weight")
        with pytest.raises(ConfigError, match=r"no second derivative.*CONVTIMENET_NATIVE=0"):
            torch.autograd.grad(loss, of, create_graph=True)

    def test_a_first_derivative_is_as_before(self):
        model = ConvTimeNet(forecasting()).train()
        loss = model(torch.randn(4, 2, 32)).square().sum()
        loss.backward(retain_graph=True)
        loss.backward()

    def test_the_remedy_works(self):
        out, err = Forked(TWICE, CONVTIMENET_NATIVE="0").communicate()
        assert out == "twice\n", err

    def test_where_no_kernel_runs_it_is_there(self):
        # RevIN takes mean and deviation for constants, which finite differences do not
        config = forecasting(norm="layer", dropout=0.0, revin=False)
        model = ConvTimeNet(config).double().train()
        x = torch.randn(2, 1, 32, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradgradcheck(model, x, atol=1e-4)


def strict(text: str):
    """JSON as other languages read it."""

    def refused(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refused)


NAN, INF = float("nan"), float("inf")


class TestStrictJson:
    def test_what_is_not_finite_is_null(self):
        value = {"a": [NAN, 1.5, (INF, -INF)], "b": np.float64("nan"), "c": True, "d": None, "e": 3}
        expected = {"a": [None, 1.5, [None, None]], "b": None, "c": True, "d": None, "e": 3}
        assert plain(value) == expected
        assert strict(json_text(value)) == expected
        arrays = {"x": np.array([1.0, np.nan])}
        assert strict(json_text(arrays, lambda v: v.tolist())) == {"x": [1.0, None]}
        with pytest.raises(TypeError):
            json_text({"x": object()})

    def test_a_history_comes_back(self):
        history = History(epochs=[Epoch(1, NAN, {"mse": INF, "mae": 0.5}, 1e-3, 0.1)], best_epoch=0)
        text = json.dumps(history.to_dict(), allow_nan=False)
        again = History.from_dict(strict(text)).epochs[0]
        assert np.isnan(again.train_loss)
        assert np.isnan(again.valid["mse"])
        assert again.valid["mae"] == 0.5

    def test_a_history_of_an_earlier_version(self):
        """It holds NaN as Python's JSON spells it."""
        epoch = {"epoch": 1, "train_loss": NAN, "valid": {"mse": NAN}, "lr": 1e-3, "seconds": 0.1}
        values = json.loads(json.dumps(History().to_dict() | {"epochs": [epoch]}))
        assert np.isnan(History.from_dict(values).epochs[0].train_loss)

    @pytest.mark.parametrize("name", ["time_limit", "clip_norm", "memory_budget", "patience"])
    def test_settings_without_bound(self, name):
        config = TrainConfig.from_dict({name: INF})
        again = TrainConfig.from_dict(strict(json.dumps(config.to_dict(), allow_nan=False)))
        assert getattr(again, name) == sys.float_info.max
        assert again.to_dict() == config.to_dict()
        assert TrainConfig.from_dict({**config.to_dict(), name: INF}) == config  # earlier files

    def test_a_start_that_is_no_number_is_refused(self):
        for value in (NAN, INF):
            with pytest.raises(ConfigError, match="residual_init must be a finite number"):
                forecasting(residual_init=value)

    def test_every_file_of_a_model_whose_scores_are_not_finite(self, monkeypatch, tmp_path):
        monkeypatch.setattr(loop, "evaluate", lambda *_, **__: {"mse": 1.0, "mae": NAN})
        values = np.sin(np.arange(80)[:, None] / np.array([2.0, 3.0]))
        model = ConvTimeNetForecaster(
            h=3, input_size=12, n_epochs=2, device="cpu", verbose=0, model=SMALL,
            training={"checkpoint_seconds": 0.0, "time_limit": INF, "loss": "mse"},
        )  # fmt: skip
        model.fit(values, resume=tmp_path / "states")
        model.save(tmp_path / "m")
        found = {path.name: path.read_text() for path in (tmp_path / "m").glob("*.json")}
        assert {"model.json", "manifest.json", "metrics.json"} <= found.keys()
        for text in found.values():
            strict(text)
        assert strict(found["model.json"])["history"]["epochs"][0]["valid"]["mae"] is None
        assert model.scores_ is not None
        model.scores_["ConvTimeNet"]["mase"] = NAN
        metrics = strict((model.save(tmp_path / "m") / "metrics.json").read_text())
        assert metrics["scores"]["ConvTimeNet"]["mase"] is None
        assert "| mase | not finite |" in (tmp_path / "m" / "README.md").read_text()
        again = ConvTimeNetForecaster.load(tmp_path / "m")
        assert np.isnan(again.history_.epochs[0].valid["mae"])
        np.testing.assert_array_equal(again.predict(), model.predict())
        again.save(tmp_path / "n")
        for path in (tmp_path / "states").glob("*.safetensors"):
            for name in (b"NaN", b"Infinity"):
                assert name not in path.read_bytes()[-20_000:]

    def test_answers_of_the_command_line(self, tmp_path):
        write_json(str(tmp_path / "a.json"), {"scores": {"r2": NAN}})
        assert strict((tmp_path / "a.json").read_text()) == {"scores": {"r2": None}}

    def test_a_card_of_scores_that_are_not_there(self):
        described = {
            "kind": "ConvTimeNetRegressor",
            "history": {
                "epochs": [{"epoch": 1, "valid": {}}],
                "best_epoch": 1,
                "steps": 0,
                "refitted": False,
            },
            "data": {"channels": 2, "scores": {"mse": None, "mae": 0.25}},
            "model": {"context_length": 4, "head": "regress"},
            "train": {"protocol": "honest", "seed": 1},
            "examples": None,
            "parameters": {"preset": "auto"},
        }
        assert "| mse | not finite |\n| mae | 0.25 |" in card(described)

    def test_a_stop_before_the_first_epoch_goes_on(self, tmp_path, monkeypatch):
        """The best score so far is infinite then, and null in the checkpoint."""
        values = np.sin(np.arange(70)[:, None] / np.array([2.0, 3.0]))
        given = {"h": 3, "input_size": 12, "n_epochs": 2, "batch_size": 16, "device": "cpu"}
        model = {"verbose": 0, "model": SMALL}
        whole, data = Step.__call__, ConvTimeNetForecaster(**given, **model).fit(values)

        def fails(self, index):
            whole(self, index)
            if len(calls) == 1:
                raise KeyboardInterrupt
            calls.append(1)

        calls = []
        again = ConvTimeNetForecaster(**given, **model, training={"checkpoint_seconds": 0.0})
        with monkeypatch.context() as patched:
            patched.setattr(Step, "__call__", fails)
            with pytest.raises(KeyboardInterrupt):
                again.fit(values, resume=tmp_path)
        assert list(tmp_path.glob("*.safetensors"))
        again.fit(values, resume=tmp_path)
        np.testing.assert_array_equal(again.predict(), data.predict())


class TestHalfPrecisionOnTheCpu:
    VALUES = np.sin(np.arange(90)[:, None] / np.array([2.0, 3.0]))
    SAID = "precision='bf16' is replaced by 'fp32' on this CPU"

    def model(self, **settings):
        given = {"h": 3, "input_size": 12, "n_epochs": 1, "device": "cpu", "verbose": 0}
        return ConvTimeNetForecaster(**given, **{"model": SMALL, **settings})

    @needs_kernels
    def test_the_kernels_stay_in_use_and_it_is_said_once(self, caplog, tmp_path):
        full = self.model().fit(self.VALUES)
        with caplog.at_level(logging.WARNING, "convtimenet"):
            half = self.model(precision="bf16").fit(self.VALUES)
            answers = half.predict()
        assert [m.startswith(self.SAID) for m in caplog.messages] == [True]
        assert [n for n in half.notices_ if n.startswith(self.SAID)] == [*half.notices_]
        np.testing.assert_array_equal(answers, full.predict())
        assert half.train_config_.precision == "fp32"
        assert half.get_params()["precision"] == "bf16"
        assert half.history_.predicted_peak == full.history_.predicted_peak
        half.save(tmp_path / "m")
        caplog.clear()
        loaded = ConvTimeNetForecaster.load(tmp_path / "m", device="cpu")
        assert caplog.messages == []
        np.testing.assert_array_equal(loaded.predict(), answers)

    @needs_kernels
    def test_a_model_loaded_for_it(self, caplog, tmp_path):
        full = self.model().fit(self.VALUES)
        full.save(tmp_path / "m")
        loaded = ConvTimeNetForecaster.load(tmp_path / "m", device="cpu", precision="bf16")
        assert [m.startswith(self.SAID) for m in caplog.messages] == [True]
        np.testing.assert_array_equal(loaded.predict(), full.predict())

    def test_where_no_kernel_runs_it_is_used(self, caplog, monkeypatch):
        config = forecasting()
        layer = forecasting(norm="layer")
        assert precision_on(CPU, "bf16", layer) == ("bf16", "")
        assert precision_on(torch.device("cuda"), "bf16", config) == ("bf16", "")
        for other in ("fp32", "int8"):
            assert precision_on(CPU, other, config) == (other, "")
        monkeypatch.setattr(native, "library", lambda: None)
        assert precision_on(CPU, "bf16", config) == ("bf16", "")
        layers = {**SMALL, "norm": "layer", "linear": False}
        model = self.model(precision="bf16", model=layers)
        model.fit(self.VALUES)
        assert model.train_config_.precision == "bf16"
        assert caplog.messages == []
        full = self.model(model=layers).fit(self.VALUES).predict()
        assert not np.array_equal(model.predict(), full)
        np.testing.assert_allclose(model.predict(), full, atol=0.1)


PEAK = """
import ctypes, itertools, json, os, sys, torch
import torch._dynamo  # as optimisers do; here once for all cases
from convtimenet.batch import Batch
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.network.memory import predicted_peak
from convtimenet.network.model import ConvTimeNet, count_parameters
from convtimenet.training.step import Step
torch.set_num_threads(1)

def share_of_prediction(norm, precision, recompute):
    config = ModelConfig.forecasting(
        context_length=336, horizon=24, d_model=64, d_ff=256, norm=norm)
    model = ConvTimeNet(config).train()
    model.recompute = recompute
    x, y = torch.randn(48, 7, 336), torch.randn(48, 7, 24)
    class All:
        def __len__(self): return len(x)
        def batch(self, index): return Batch(x[index], y[index])
    given = TrainConfig(precision=precision, batch_size=48)
    first = Step(model, All(), given, torch.device("cpu"))
    first(torch.arange(2))
    model.zero_grad()
    resident = lambda name: next(
        int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))
    before = resident("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")
    first(torch.arange(48))
    predicted = predicted_peak(config, 48 * 7, parameters=count_parameters(model),
        native=norm == "batch" and precision == "fp32", recompute=recompute,
        bf16=precision == "bf16")
    return (resident("VmHWM") - before) / predicted

ctypes.CDLL(None).malloc_trim(0)  # what the imports freed would hold a part of a step
cases = itertools.product(("batch", "layer"), ("fp32", "bf16"), (False, True))
for number, case in enumerate(cases):
    if sys.argv[1] == "half" and number.bit_count() % 2:
        continue
    child = os.fork()
    if not child:  # in memory that no case before has used
        print(json.dumps([case, share_of_prediction(*case)]), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@needs_kernels
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("share", "n"), [("half", 4), pytest.param("all", 8, marks=pytest.mark.slow)]
)
def test_the_predicted_peak_is_within_half_of_the_real_one(share, n):
    """With either norm, in either precision, with and without recomputing: every pair of them in
    half of the cases, which take seconds each."""
    command = [sys.executable, "-c", PEAK, share]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    shares = [json.loads(line) for line in found.stdout.splitlines()]
    assert len(shares) == n
    assert [one for one in shares if not 1 / 1.5 < one[1] < 1.5] == []


class TestDrawnSeed:
    X = np.random.default_rng(0).normal(size=(50, 2, 20))
    Y = np.arange(50) % 2

    def model(self, random_state, kind=ConvTimeNetClassifier):
        settings = {"checkpoint_seconds": 0.0, "batch_size": 16, "validation_fraction": 0.2}
        sizes = {"d_model": 4, "d_ff": 8, "kernel_sizes": (3,), "dropout": 0.2}
        sizes["random_patches"] = 1
        return kind(
            n_epochs=3, device="cpu", verbose=0, model=sizes, training=settings,
            random_state=random_state,
        )  # fmt: skip

    def stopped(self, monkeypatch, model, folder, *data):
        """Stopped in the fourth step, between two of them."""
        whole, left = Step.__call__, iter(range(1, 99))
        request = []

        def step(this, index):
            whole(this, index)
            if next(left) == 4:
                request[0].signal = 2

        class Requests:
            def __enter__(self):
                request.append(base.StopRequest())
                return request[0]

            def __exit__(self, *_):
                return None

        with monkeypatch.context() as patched:
            patched.setattr(Step, "__call__", step)
            patched.setattr(base, "stop_requests", Requests)
            with pytest.raises(KeyboardInterrupt) as caught:
                model.fit(*data, resume=folder)
        return str(caught.value)

    @pytest.mark.parametrize("kind", [ConvTimeNetClassifier, ConvTimeNetRegressor])
    def test_none_goes_on_with_the_seed_it_drew(self, kind, tmp_path, monkeypatch):
        data = self.X, self.Y if kind is ConvTimeNetClassifier else self.X[:, 0, 0]
        message = self.stopped(monkeypatch, self.model(None, kind), tmp_path, *data)
        assert message.endswith(f"the same call with resume={str(tmp_path)!r} resumes from here")
        again = self.model(None, kind).fit(*data, resume=tmp_path)
        seed = again.train_config_.seed
        whole = self.model(seed, kind).fit(*data)
        expected, found = whole.network_.state_dict(), again.network_.state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
        finished = self.model(None, kind).fit(*data, resume=tmp_path)
        assert finished.train_config_.seed == seed
        elsewhere = self.model(None, kind).fit(*data, resume=tmp_path / "other")
        assert elsewhere.train_config_.seed != seed

    def test_a_drawn_one_is_named(self, tmp_path, monkeypatch):
        """A RandomState draws another number at the same call."""
        model = self.model(np.random.RandomState(4))
        message = self.stopped(monkeypatch, model, tmp_path, self.X, self.Y)
        drawn = int(np.random.RandomState(4).randint(2**31))
        assert f"the same call with random_state={drawn} and resume=" in message
        again = self.model(drawn).fit(self.X, self.Y, resume=tmp_path)
        assert again.history_.best_epoch

    def test_a_damaged_folder_is_not_read_for_it(self, tmp_path, monkeypatch):
        self.stopped(monkeypatch, self.model(None), tmp_path, self.X, self.Y)
        newest = max(tmp_path.glob("*.safetensors"))
        newest.write_bytes(b"")
        assert self.model(None).fit(self.X, self.Y, resume=tmp_path).history_.best_epoch


class TestFailedFit:
    def test_the_model_before_stays_whole(self, monkeypatch):
        X = np.random.default_rng(0).normal(size=(40, 30))
        y = np.arange(40) % 2
        sizes = {"d_model": 4, "d_ff": 8, "kernel_sizes": (3,)}
        model = ConvTimeNetClassifier(n_epochs=1, device="cpu", verbose=0, model=sizes).fit(X, y)
        before, answers = dict(vars(model)), model.predict_proba(X)

        def fails(*_, **__):
            raise MemoryError

        for change in ("data", "training", "fuse"):
            with monkeypatch.context() as patched:
                given, error = (X[:, :20], y), MemoryError
                if change == "data":
                    given, error = (X * 1e300, y), DataError
                elif change == "training":
                    patched.setattr(base, "train", fails)
                else:
                    patched.setattr(base, "fuse", fails)
                with pytest.raises(error):
                    model.fit(*given)
            assert vars(model) == before
            assert model.n_features_in_ == 30
            np.testing.assert_array_equal(model.predict_proba(X), answers)
        model.fit(X[:, None, :].repeat(2, 1), y)
        assert not hasattr(model, "n_features_in_")
