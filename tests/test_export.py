"""Exported graphs give the estimator's answers, with and without torch."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, runtime
from convtimenet.errors import ArtefactError, ConfigError, DataError
from convtimenet.export import Deployed, export

SMALL = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5)}


def waves(rows=260, channels=3) -> np.ndarray:
    time = np.arange(rows)[:, None]
    return 1000 + 50 * np.sin(time / np.arange(3, 3 + channels)) + 1e-3 * time


@pytest.fixture(scope="module")
def forecaster() -> ConvTimeNetForecaster:
    return ConvTimeNetForecaster(h=6, input_size=48, n_epochs=1, model=SMALL).fit(waves())


@pytest.fixture(scope="module")
def classifier() -> tuple[ConvTimeNetClassifier, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(2, 30 + i % 7)) + (i % 3) for i in range(36)]
    y = np.array(["a", "b", "c"] * 12)
    return ConvTimeNetClassifier(n_epochs=3, model=SMALL).fit(X, y), X


@pytest.fixture(scope="module")
def exported(forecaster, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx") / "forecaster"
    return folder, export(forecaster, folder, "onnx", data=waves())


def test_forecasts_are_the_estimators(forecaster, exported):
    folder, parity = exported
    model = runtime.load(folder, threads=1)
    assert isinstance(model, runtime.ForecastRuntime)
    expected = forecaster.forecast(waves())
    found = model.forecast(waves())
    assert found.shape == (6, 3)
    assert np.abs(found - expected).max() < 1e-3  # of values about 1000
    many = np.stack([waves()[: 200 + i] [-48:] for i in range(5)])  # fmt: skip
    one_by_one = np.stack([model.forecast(table) for table in many])
    np.testing.assert_allclose(model.forecast(many), one_by_one, rtol=1e-6)
    assert model.channels == ("0", "1", "2")
    assert parity["inputs"] > 100
    assert 0 <= parity["mean_difference"] <= parity["max_difference"] < 1e-3
    assert parity == json.loads((folder / "parity.json").read_text())


def test_classes_are_the_estimators(classifier, tmp_path):
    estimator, X = classifier
    parity = export(estimator, tmp_path / "c", "onnx", data=X)
    assert parity["same_class"] == 1.0
    model = runtime.load(tmp_path / "c")
    assert isinstance(model, runtime.ClassifyRuntime)
    np.testing.assert_allclose(model.predict_proba(X), estimator.predict_proba(X), atol=1e-5)
    assert model.predict(X).tolist() == estimator.predict(X).tolist()
    with pytest.raises(DataError, match="longest case has 60"):
        model.predict([np.zeros((2, 60))])
    with pytest.raises(DataError, match="2 channels, found 1"):
        model.predict([np.zeros((1, 20))])


def test_any_number_of_channels_without_fitted_scaling(tmp_path):
    estimator = ConvTimeNetForecaster(h=4, input_size=32, scale=False, n_epochs=1, model=SMALL).fit(
        waves(200)
    )
    export(estimator, tmp_path / "m", "torch-export")
    program = torch.export.load(tmp_path / "m" / "model.pt2").module()
    x = torch.from_numpy(waves(32, channels=7).T.copy())[None]
    expected = Deployed(estimator)(x)
    assert (program(x) - expected).abs().max() < 1e-3
    assert program(x).shape == (1, 7, 4)


def test_eight_bit_weights_stay_close(forecaster, tmp_path):
    parity = export(forecaster, tmp_path / "q", "onnx-int8", data=waves())
    assert 0 < parity["max_difference"] < 0.05 * np.ptp(waves())
    assert (tmp_path / "q" / "model.onnx").is_file()


def test_the_runtime_needs_no_torch(exported, tmp_path):
    folder, _ = exported
    np.save(tmp_path / "x.npy", waves())
    code = (
        "import sys, numpy as np; from convtimenet.runtime import load;"
        f"y = load({str(folder)!r}).forecast(np.load({str(tmp_path / 'x.npy')!r}));"
        "assert 'torch' not in sys.modules and 'sklearn' not in sys.modules; print(y.shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(6, 3)"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros((10, 3)), r"T >= 48, found \(10, 3\)"),
        (np.zeros((60, 5)), "expected 3 channels, found 5"),
        (np.full((60, 3), np.nan), "finite"),
    ],
)
def test_runtime_refuses(exported, values, says):
    model = runtime.load(exported[0])
    assert isinstance(model, runtime.ForecastRuntime)
    with pytest.raises(DataError, match=says):
        model.forecast(values)


def test_refusals_leave_nothing_behind(forecaster, classifier, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="onnx-int8"):
        export(forecaster, tmp_path / "x", "onyx")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="data="):
        export(classifier[0], tmp_path / "x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep")
    with pytest.raises(ArtefactError, match="something other"):
        export(forecaster, tmp_path / "mine")
    monkeypatch.setattr(torch.export, "export", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(forecaster, tmp_path / "x", "torch-export")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(ArtefactError, match="no exported model"):
        runtime.load(tmp_path)


def test_a_newer_format_is_refused(exported, tmp_path):
    description = json.loads((exported[0] / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(description | {"format": 99}))
    with pytest.raises(ArtefactError, match="format 99"):
        runtime.load(tmp_path)


@pytest.mark.slow
def test_compiled_package(forecaster, tmp_path):
    parity = export(forecaster, tmp_path / "a", "aoti", data=waves())
    assert parity["max_difference"] < 1e-3


COMPILE = """
import torch
from convtimenet import ConvTimeNet, ModelConfig, fuse
small = dict(d_model=8, d_ff=16, kernel_sizes=(3, 5))
forecast = ModelConfig.forecasting(context_length=48, horizon=6, **small)
classify = ModelConfig.classification(
    channels=2, context_length=36, n_classes=3, patch_size=8, patch_stride=4, **small
)
for config, shape in ((forecast, (3, 2, 48)), (classify, (4, 2, 36))):
    for model in (ConvTimeNet(config).eval(), fuse(ConvTimeNet(config))):
        x = torch.randn(*shape)
        with torch.no_grad():
            compiled = torch.compile(model, fullgraph=True, dynamic=True)
            assert (compiled(x) - model(x)).abs().max() < 1e-4
            assert (compiled(x[:2]) - model(x[:2])).abs().max() < 1e-4
print("compiled")
"""


@pytest.mark.slow
def test_compiles_whole():
    # a process of its own: the shape checks of the tests cannot be traced
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True)
    assert done.stdout == "compiled\n", done.stderr[-2000:]


def test_a_quantile_heads_graph_gives_its_median(tmp_path):
    values = waves(160, 2)
    model = ConvTimeNetForecaster(
        h=4, input_size=24, n_epochs=1, device="cpu", verbose=0,
        model={"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5), "quantiles": (0.1, 0.5, 0.9)},
    ).fit(values)  # fmt: skip
    export(model, tmp_path / "m")
    loaded = runtime.load(tmp_path / "m")
    assert isinstance(loaded, runtime.ForecastRuntime)
    np.testing.assert_allclose(loaded.forecast(values), model.forecast(values), rtol=1e-4)
    assert loaded.run(values[None, -24:].swapaxes(1, 2)).shape == (1, 2, 3, 4)
