"""Exported graphs give the estimator's answers, with and without torch."""

import json
import logging
import re
import shutil
import subprocess
import sys
from functools import cache
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch

from convtimenet import (
    ConvTimeNet,
    ConvTimeNetClassifier,
    ConvTimeNetForecaster,
    ConvTimeNetRegressor,
    ModelConfig,
    fuse,
    runtime,
)
from convtimenet import export as exporting
from convtimenet.errors import ArtefactError, ConfigError, DataError
from convtimenet.export import Deployed, export, on_rows
from convtimenet.storage.manifest import seal

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
    estimator = ConvTimeNetClassifier(n_epochs=3, model=SMALL | {"random_patches": 1})
    return estimator.fit(named(X, ["speed", "load"]), y), X


def named(X, names) -> list[pd.DataFrame]:
    """Cases as frames whose columns are the channels."""
    return [pd.DataFrame(case.T, columns=names) for case in X]


@pytest.fixture(scope="module")
def regressor(classifier) -> tuple[ConvTimeNetRegressor, list[np.ndarray], np.ndarray]:
    _, X = classifier
    y = 1e4 + 50 * np.array([case.mean() for case in X])
    return ConvTimeNetRegressor(n_epochs=3, model=SMALL | {"random_patches": 1}).fit(X, y), X, y


# An export takes seconds, so tests that only read one share it.


@pytest.fixture(scope="module")
def exported(forecaster, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx") / "forecaster"
    return folder, export(forecaster, folder, "onnx", data=waves())


@pytest.fixture(scope="module")
def exported_classes(classifier, tmp_path_factory):
    estimator, X = classifier
    folder = tmp_path_factory.mktemp("onnx") / "classifier"
    return folder, export(estimator, folder, "onnx", data=X)


@pytest.fixture(scope="module")
def in_eight_bits(forecaster, tmp_path_factory):
    """With the weights of the estimator's network before."""
    before = {k: v.clone() for k, v in forecaster.fused_.state_dict().items()}
    folder = tmp_path_factory.mktemp("onnx-int8") / "forecaster"
    return folder, export(forecaster, folder, "onnx-int8", data=waves()), before


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


def test_classes_are_the_estimators(classifier, exported_classes):
    estimator, X = classifier
    folder, parity = exported_classes
    assert parity["same_class"] == 1.0
    model = runtime.load(folder)
    assert isinstance(model, runtime.ClassifyRuntime)
    np.testing.assert_allclose(model.predict_proba(X), estimator.predict_proba(X), atol=1e-5)
    assert model.predict(X).tolist() == estimator.predict(X).tolist()
    with pytest.raises(DataError, match="longest case has 60"):
        model.predict([np.zeros((2, 60))])
    with pytest.raises(DataError, match="2 channels, found 1"):
        model.predict([np.zeros((1, 20))])


def test_cases_unlike_those_of_training_are_told(classifier, exported_classes, caplog):
    estimator, X = classifier
    some = [1000 * X[0][:, :10], X[1]]
    graph = runtime.load(exported_classes[0], threads=1)
    assert isinstance(graph, runtime.ClassifyRuntime)
    said = []
    for model in (estimator, graph):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="convtimenet"):
            model.predict(some)
        said.append([one.getMessage() for one in caplog.records])
    assert said[0] == said[1]
    assert len(said[0]) == 2
    assert said[0][1].startswith("1 of 2 cases has values far from those of training")


def test_channels_are_matched_by_their_names(classifier, exported_classes):
    estimator, X = classifier
    graph = runtime.load(exported_classes[0], threads=1)
    assert isinstance(graph, runtime.ClassifyRuntime)
    assert graph.channels == estimator.channels_ == ("speed", "load")
    for model in (estimator, graph):
        expected = model.predict_proba(X)
        for names in (["speed", "load"], [0, 1]):  # only numbered: in the fitted order
            found = model.predict_proba(named(X, names))
            np.testing.assert_array_equal(found, expected)
        turned = [frame[["load", "speed"]] for frame in named(X, ["speed", "load"])]
        np.testing.assert_array_equal(model.predict_proba(turned), expected)
        for names in (["a", "b"], [1, 0]):
            other = f"fitted to cases with the channels speed, load; found {names[0]}, {names[1]}"
            with pytest.raises(DataError, match=other):
                model.predict(named(X, names))


def test_numbers_may_be_names_too(classifier):
    frames = named(classifier[1], [0, 1])
    tiny = SMALL | {"random_patches": 1}
    model = ConvTimeNetClassifier(n_epochs=1, model=tiny).fit(frames, ["a", "b", "c"] * 12)
    turned = model.predict_proba([frame[[1, 0]] for frame in frames])
    np.testing.assert_array_equal(turned, model.predict_proba(frames))


# A regressor's graph is quickly tested in tests/test_labelled_training.py.
@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "onnx-int8", "torch-export"])
def test_numbers_are_the_estimators(regressor, tmp_path, format):
    estimator, X, y = regressor
    gaps = [case.copy() for case in X]
    gaps[0][:, 4:9] = np.nan
    parity = export(estimator, tmp_path / "r", format, data=gaps)
    assert "same_class" not in parity
    expected, spread = estimator.predict(gaps), np.ptp(y)
    close = 0.02 * spread if format == "onnx-int8" else 1e-4 * spread
    assert parity["max_difference"] < close
    assert np.ptp(expected) > 0.1 * spread
    if format == "torch-export":
        program = torch.export.load(tmp_path / "r" / "model.pt2").module()
        padded = np.full((len(gaps), 2, estimator.network_.config.context_length), np.nan)
        for row, case in zip(padded, gaps, strict=True):
            row[:, : case.shape[1]] = case
        found = program(torch.from_numpy(padded).float()).numpy()[:, 0]
    else:
        model = runtime.load(tmp_path / "r")
        assert isinstance(model, runtime.RegressRuntime)
        found = model.predict(gaps)
        with pytest.raises(DataError, match="2 channels, found 1"):
            model.predict([np.zeros((1, 20))])
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=close)


def test_any_number_of_channels_without_fitted_scaling(compared_with_gaps):
    estimator, folder, _ = compared_with_gaps("torch-export", False, ())
    program = torch.export.load(folder / "model.pt2").module()
    x = torch.from_numpy(waves(48, channels=7).T.copy())[None]
    expected = Deployed(estimator)(x)
    assert (program(x) - expected).abs().max() < 1e-3
    assert program(x).shape == (1, 7, 6)
    far = (x + 1e9).numpy()
    found = program(torch.from_numpy(far))[0].numpy().T
    np.testing.assert_allclose(found, estimator.forecast(far[0].T), rtol=0, atol=1e-3)
    assert np.abs(found - 1e9).max() < 2000


def test_any_number_of_channels_without_torch_too(compared_with_gaps):
    estimator, folder, _ = compared_with_gaps("onnx", False, (0.1, 0.5, 0.9))
    model = runtime.load(folder)
    assert isinstance(model, runtime.ForecastRuntime)
    table = waves(60, channels=7)
    for level in (0.0, 1e9 + np.arange(7)):
        far = table + level
        expected = estimator.forecast(far)
        np.testing.assert_allclose(model.forecast(far), expected, rtol=0, atol=1e-3)
        assert np.abs(expected - level).max() < 2000


@pytest.mark.parametrize("block", [{}, {"norm": "layer"}, {"deformable": False}])
def test_constants_on_the_right_are_the_same_function(block):
    config = ModelConfig.forecasting(context_length=48, horizon=6, **SMALL, **block)
    network = fuse(ConvTimeNet(config).double())
    x = torch.randn(3, 2, 48, dtype=torch.float64)
    assert (on_rows(network)(x) - network(x)).abs().max() < 1e-12


def products(folder) -> dict[str, str]:
    """Kind of product of every named constant that a graph multiplies with."""
    graph = onnx.load(folder / "model.onnx").graph
    return {
        name.removeprefix("network.").split("_Transposed")[0].split("_quantized")[0]: node.op_type
        for node in graph.node
        if node.op_type.startswith("MatMul")
        for name in node.input[1:2]
        if "weight" in name
    }


def test_eight_bit_weights_are_all_but_the_offset_predictors(forecaster, in_eight_bits):
    folder, parity, _ = in_eight_bits
    found = products(folder)
    patch, blocks = "embedding.patch.patch.", ("blocks.0.block.", "blocks.1.block.")
    assert found == {
        f"{patch}predict.0.weight": "MatMul",
        f"{patch}predict.2.weight": "MatMul",
        f"{patch}project.weight": "MatMulInteger",
        **{
            f"{block}{name}_weight": "MatMulInteger"
            for block in blocks
            for name in ("widen", "narrow")
        },
        "head.project.weight": "MatMulInteger",
    }
    assert parity == json.loads((folder / "parity.json").read_text())
    spread = np.ptp(waves())
    assert 0 < parity["mean_difference"] < 0.01 * spread
    assert parity["mean_difference"] < parity["max_difference"] < 0.05 * spread
    model = runtime.load(folder)
    assert isinstance(model, runtime.ForecastRuntime)
    assert np.abs(model.forecast(waves()) - forecaster.forecast(waves())).max() < 0.05 * spread


def test_logging_is_left_as_it_was(exported, tmp_path, monkeypatch, capfd):
    path = shutil.copy(exported[0] / "model.onnx", tmp_path / "model.onnx")
    monkeypatch.setattr(exporting, "eight_bit_products", lambda _: ["node_linear"])  # is enough
    root = logging.getLogger()
    with monkeypatch.context() as patched:
        patched.setattr(root, "handlers", [])  # as in a process of a user, without pytest's
        exporting.quantise(path)
        assert (root.handlers, root.level) == ([], logging.WARNING)
    assert capfd.readouterr() == ("", "")


# tests/test_mixture.py has the quick test of a classifier in eight bits.
@pytest.mark.slow
def test_eight_bit_classes(classifier, tmp_path):
    estimator, X = classifier
    parity = export(estimator, tmp_path / "q", "onnx-int8", data=X)
    kinds = list(products(tmp_path / "q").values())
    assert kinds.count("MatMulInteger") == 6  # projection, two pairs, head
    model = runtime.load(tmp_path / "q")
    assert isinstance(model, runtime.ClassifyRuntime)
    found, expected = model.predict_proba(X), estimator.predict_proba(X)
    assert 0 < np.abs(found - expected).max() < 0.05
    assert parity["same_class"] == (found.argmax(1) == expected.argmax(1)).mean()


def test_many_windows_are_answered_in_parts(exported):
    model = runtime.load(exported[0])
    assert isinstance(model, runtime.ForecastRuntime)
    sizes = []
    answer = model.session.run
    model.session = SimpleNamespace(
        run=lambda names, feed: sizes.append(len(feed["x"])) or answer(names, feed),
        get_inputs=model.session.get_inputs,
    )
    windows = np.lib.stride_tricks.sliding_window_view(waves(), 48, axis=0).swapaxes(1, 2)
    found = model.forecast(windows)
    assert sum(sizes) == len(windows) == 213
    assert len(sizes) > 1
    assert max(sizes) * 3 * 7 <= 2048  # 3 channels of about 7 patches
    last = model.forecast(waves())
    np.testing.assert_allclose(found[-1], last, rtol=1e-6)


def test_the_estimator_keeps_its_network(forecaster, in_eight_bits):
    before = in_eight_bits[2]
    after = forecaster.fused_.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(("format", "inputs"), [("onnx", 213), ("torch-export", 153)])
def test_parity_lies_beside_every_export(exported, compared_with_gaps, format, inputs):
    folder, parity = exported
    if format != "onnx":
        _, folder, parity = compared_with_gaps(format, False, ())
    assert parity == json.loads((folder / "parity.json").read_text())
    assert parity["format"] == format
    assert parity["inputs"] == inputs
    assert 0 < parity["mean_difference"] < parity["max_difference"] < 1e-3
    assert 1000 < parity["largest_answer"] < 1100


def test_the_runtime_needs_no_torch(exported, tmp_path):
    folder, _ = exported
    np.save(tmp_path / "x.npy", waves())
    code = (
        "import sys, numpy as np; from convtimenet.runtime import load;"
        f"y = load({str(folder)!r}).forecast(np.load({str(tmp_path / 'x.npy')!r}));"
        "heavy = {'torch', 'sklearn', 'narwhals', 'pandas', 'onnx', 'rich', 'safetensors'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); print(y.shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(6, 3)"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros((10, 3)), r"T >= 48 .*, found \(10, 3\)"),
        (np.zeros(60), r"found \(60,\)"),
        (np.zeros((0, 60, 3)), r"no empty dimension, found \(0, 60, 3\)"),
        (np.zeros((60, 0)), r"no empty dimension, found \(60, 0\)"),
        ([["today", "1", "2"]] * 60, "array of numbers, found list"),
        ([[1, 2], [3]], "array of numbers"),
        (np.zeros((60, 5)), "expected 3 channels, found 5"),
        (np.full((60, 3), np.inf), "or NaN where missing, .* found 144 infinite, .* column 0"),
    ],
)
def test_runtime_refuses(exported, values, says):
    model = runtime.load(exported[0])
    assert isinstance(model, runtime.ForecastRuntime)
    with pytest.raises(DataError, match=says):
        model.forecast(values)


def with_gaps() -> np.ndarray:
    """Waves whose last 48 rows lack single ones, some at the end, the first and a channel."""
    values = waves()
    values[np.random.default_rng(0).random(values.shape) < 0.1] = np.nan
    values[-5:, 0], values[-48:-24, 1], values[-48:, 2] = np.nan, np.nan, np.nan
    return values


@pytest.fixture(scope="module")
def compared_with_gaps(forecaster, exported, tmp_path_factory):
    """Fit and export once per format, scaling and quantiles."""

    @cache
    def made(format, scale, quantiles):
        if (format, scale, quantiles) == ("onnx", True, ()):
            return forecaster, *exported
        estimator = ConvTimeNetForecaster(
            h=6, input_size=48, n_epochs=2, scale=scale,
            model=SMALL | {"quantiles": quantiles, "linear": bool(quantiles)},
        ).fit(waves())  # fmt: skip
        folder = tmp_path_factory.mktemp(format) / "forecaster"
        return estimator, folder, export(estimator, folder, format, data=with_gaps()[:200])

    return made


def answers_of(folder, format, x: np.ndarray) -> np.ndarray:
    """A graph's answers to windows (B, C, L), without the package's runtime."""
    if format == "torch-export":
        program = torch.export.load(folder / "model.pt2").module()
        return program(torch.from_numpy(x)).numpy()
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize(
    ("format", "scale", "quantiles"),
    [
        ("onnx", True, ()),
        ("onnx", False, (0.1, 0.5, 0.9)),
        pytest.param("torch-export", True, (0.1, 0.5, 0.9), marks=pytest.mark.slow),
        ("torch-export", False, ()),
    ],
)
def test_gaps_are_masked_as_the_estimator_masks_them(compared_with_gaps, format, scale, quantiles):
    estimator, folder, parity = compared_with_gaps(format, scale, quantiles)
    values = with_gaps()
    assert 0 < parity["max_difference"] < 1e-3
    whole = waves()[-48:].T
    x = np.stack([whole, values[-48:].T, np.where(np.arange(48) < 30, np.nan, whole)])
    found = answers_of(folder, format, x)
    if quantiles:
        assert (np.diff(found, axis=2) > 0).all()
        found = found[:, :, 1]
    for answer, window in zip(found, x, strict=True):
        np.testing.assert_allclose(answer.T, estimator.forecast(window.T), atol=1e-3)
    # a value that is told as missing is not one that was filled
    filled = np.where(np.isnan(x[1]), np.nanmean(x[1, :2]), x[1])
    assert np.abs(estimator.forecast(filled.T) - found[1].T).max() > 1


def test_gaps_without_torch(forecaster, exported):
    model = runtime.load(exported[0])
    assert isinstance(model, runtime.ForecastRuntime)
    assert model.gaps
    values = with_gaps()
    given = values.copy()
    np.testing.assert_allclose(model.forecast(values), forecaster.forecast(values), atol=1e-3)
    np.testing.assert_array_equal(values, given)
    table = np.column_stack([values[:, :2], waves()[:, 2]])  # a table needs a value per channel
    np.testing.assert_allclose(model.forecast(table), forecaster.predict(table), atol=1e-3)
    # what lies beside a window does not change its answer
    both = np.stack([values, waves()])
    np.testing.assert_allclose(model.forecast(both)[1], model.forecast(waves()), rtol=1e-6)


def test_gaps_in_eight_bits(forecaster, in_eight_bits):
    model = runtime.load(in_eight_bits[0])
    assert isinstance(model, runtime.ForecastRuntime)
    off = model.forecast(with_gaps()) - forecaster.forecast(with_gaps())
    assert np.abs(off).max() < 0.05 * np.ptp(waves())


def refuses_gaps(folder) -> None:
    values = waves()
    values[-20, 1] = np.nan
    model = runtime.load(folder)
    assert isinstance(model, runtime.ForecastRuntime)
    with pytest.raises(DataError, match=r"found 1 NaN .* in column 1; fill them first.*masks"):
        model.forecast(values)
    with pytest.raises(DataError, match=r"found 144 NaN or infinite, .*fill them first$"):
        model.forecast(np.full((60, 3), np.inf))


def test_gaps_that_an_older_graph_has_no_mask_for(exported, tmp_path):
    refuses_gaps(damaged(exported, tmp_path, lambda d: d["export"].pop("gaps")))


# The graph in tests/test_cli.py is of such a network too.
@pytest.mark.slow
def test_gaps_that_a_graph_has_no_mask_for(tmp_path):
    model = SMALL | {"masks": False, "kernel_sizes": (3,), "linear": False}
    without = ConvTimeNetForecaster(h=4, input_size=48, n_epochs=1, model=model)
    export(without.fit(waves()), tmp_path / "m")
    refuses_gaps(tmp_path / "m")


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
    with pytest.raises(ArtefactError, match="not a regular file"):
        runtime.load(tmp_path)


def test_a_newer_format_is_refused(exported, tmp_path):
    described = json.loads((exported[0] / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(described | {"format": 99}))
    with pytest.raises(ArtefactError, match="format 99"):
        runtime.load(tmp_path)


def damaged(exported, tmp_path, change=None, graph=None):
    folder = shutil.copytree(exported[0], tmp_path / "damaged")
    if change is not None:
        description = json.loads((folder / "model.json").read_text())
        change(description)
        (folder / "model.json").write_text(json.dumps(description))
    if graph is not None:
        (folder / "model.onnx").write_bytes(graph)
    seal(folder)
    return folder


DAMAGE = {
    "another kind": (lambda d: d.update(kind="ConvTimeNetBaker"), "holds a 'ConvTimeNetBaker'"),
    "a list for a kind": (lambda d: d.update(kind=[]), r"holds a \[\], expected"),
    "no export": (lambda d: d.pop("export"), "no ONNX graph .*its description says None"),
    "no sizes": (lambda d: d.pop("model"), "damaged: KeyError: 'model'"),
    "no channels": (lambda d: d["data"].pop("channels"), "damaged: KeyError: 'channels'"),
    "other context": (
        lambda d: d["model"].update(context_length=47),
        "does not match model.json.*47.*48",
    ),
    "other channels": (lambda d: d["data"].update(channels=["a"]), "does not match model.json"),
    "other horizon": (lambda d: d["model"].update(outputs=5), "does not match model.json"),
    "a torch program": (lambda d: d["export"].update(file="model.pt2"), "says 'model.pt2'"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_descriptions_that_do_not_fit_are_refused(damage, exported, tmp_path):
    change, says = DAMAGE[damage]
    with pytest.raises(ArtefactError, match=says):
        runtime.load(damaged(exported, tmp_path, change))


def test_another_models_graph_is_refused(exported, exported_classes, tmp_path):
    graph = (exported_classes[0] / "model.onnx").read_bytes()
    with pytest.raises(ArtefactError, match=r"expected .*'double', 3, 48.* found .*'float', 2, 36"):
        runtime.load(damaged(exported, tmp_path, graph=graph))


def test_damaged_and_absent_graphs_are_refused(exported, tmp_path):
    whole = (exported[0] / "model.onnx").read_bytes()
    for number, graph in enumerate((b"", b"not a graph", whole[: len(whole) // 2])):
        with pytest.raises(ArtefactError, match=r"model\.onnx is damaged"):
            runtime.load(damaged(exported, tmp_path / str(number), graph=graph))
    folder = damaged(exported, tmp_path)
    (folder / "model.onnx").unlink()
    with pytest.raises(ArtefactError, match=r"model\.onnx is missing"):
        runtime.load(folder)


def test_saved_models_are_not_overwritten(forecaster, tmp_path):
    forecaster.save(tmp_path / "m")
    before = {p.name: p.read_bytes() for p in (tmp_path / "m").iterdir()}
    with pytest.raises(ArtefactError, match="holds a saved model; give the export"):
        export(forecaster, tmp_path / "m")
    assert {p.name: p.read_bytes() for p in (tmp_path / "m").iterdir()} == before


def test_compiling_needs_a_compiler(forecaster, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler .* found none"):
        export(forecaster, tmp_path / "a", "aoti")
    assert not list(tmp_path.iterdir())


def test_comparison_data_that_do_not_fit(forecaster, classifier, tmp_path):
    for estimator, data, says in (
        (forecaster, waves(30), "at least 48 rows, found 30"),
        (forecaster, waves(channels=2), "2"),
        (classifier[0], [np.zeros((2, 60))], "up to 36 steps"),
        (classifier[0], [np.zeros((3, 20))], "cases with 2 channels, found 3"),
    ):
        with pytest.raises(DataError, match=says):
            export(estimator, tmp_path / "x", data=data)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def copied(exported, tmp_path):
    return shutil.copytree(exported[0], tmp_path / "copy")


@pytest.mark.parametrize("name", ["model.json", "model.onnx", "parity.json", "manifest.json"])
def test_changed_files_are_refused(copied, name):
    path = copied / name
    whole = path.read_bytes()
    for at in range(0, len(whole), max(97, len(whole) // 20)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with pytest.raises(ArtefactError, match=re.escape(str(path))):
            runtime.load(copied)
    path.unlink()
    with pytest.raises(ArtefactError, match=f"{re.escape(name)} is missing"):
        runtime.load(copied)


@pytest.mark.parametrize("content", [b"", b"\x00", b"graph", b"\x08\x09"])
def test_graphs_that_are_none(copied, content):
    (copied / "model.onnx").write_bytes(content)
    seal(copied)
    with pytest.raises(ArtefactError, match="is damaged"):
        runtime.load(copied)


@pytest.mark.parametrize(
    "change",
    [
        {"export": None},
        {"export": {"file": "../model.onnx"}},
        {"kind": "Other"},
        {"kind": "ConvTimeNetClassifier"},
        {"data": {}},
        {"data": None},
        {"model": {}},
    ],
)
def test_descriptions_of_other_things(copied, change):
    described = json.loads((copied / "model.json").read_text())
    (copied / "model.json").write_text(json.dumps(described | change))
    seal(copied)
    with pytest.raises(ArtefactError, match=re.escape(str(copied))):
        runtime.load(copied)


def test_exports_of_format_1(copied, forecaster):
    described = json.loads((copied / "model.json").read_text()) | {"format": 1}
    del described["examples"]
    (copied / "model.json").write_text(json.dumps(described))
    (copied / "manifest.json").unlink()
    model = runtime.load(copied)
    assert isinstance(model, runtime.ForecastRuntime)
    assert np.abs(model.forecast(waves()) - forecaster.forecast(waves())).max() < 1e-3


@pytest.mark.slow
def test_compiled_package(forecaster, tmp_path):
    parity = export(forecaster, tmp_path / "a", "aoti", data=with_gaps()[:200])
    assert 0 < parity["mean_difference"] < parity["max_difference"] < 1e-3
    assert parity == json.loads((tmp_path / "a" / "parity.json").read_text())


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


def test_a_quantile_heads_graph_gives_its_median(compared_with_gaps):
    estimator, folder, _ = compared_with_gaps("onnx", False, (0.1, 0.5, 0.9))
    values = waves()
    loaded = runtime.load(folder)
    assert isinstance(loaded, runtime.ForecastRuntime)
    np.testing.assert_allclose(loaded.forecast(values), estimator.forecast(values), rtol=1e-4)
    assert loaded.run(values[None, -48:].swapaxes(1, 2)).shape == (1, 3, 3, 6)
