"""Predict with an exported model without torch: numpy and onnxruntime only.

from convtimenet.runtime import load
model = load("exported")
model.forecast(values)        # a forecaster's folder: (T, C) -> (h, C), units kept
model.predict_proba(X)        # a classifier's folder: cases -> (n, K)
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.cases import as_cases, filled
from convtimenet.config import ModelConfig
from convtimenet.errors import ArtefactError, DataError, MissingExtraError
from convtimenet.labels import restored
from convtimenet.manifest import needed, network_config, read_folder

GRAPH = "model.onnx"


class Runtime:
    """A graph with what its inputs and answers mean.

    Attributes
    ----------
    description
        The folder's ``model.json``.
    context_length
        L, steps the graph reads.
    """

    def __init__(self, session: Any, config: ModelConfig, description: dict[str, Any]):
        self.session = session
        self.description = description
        self.context_length = config.context_length
        inputs, outputs = session.get_inputs(), session.get_outputs()
        fits = [i.name for i in inputs] == ["x"] and len(outputs) == 1
        if not fits or len(inputs[0].shape) != 3 or inputs[0].shape[2] != config.context_length:
            raise ValueError(
                f"expected a graph of one input x (B, C, {config.context_length}), found "
                f"{[(i.name, i.shape) for i in inputs]}"
            )

    def run(self, x: np.ndarray) -> np.ndarray:
        """The graph's answers to inputs (B, C, L)."""
        return np.asarray(self.session.run(None, {"x": x})[0])


class ForecastRuntime(Runtime):
    """An exported `ConvTimeNetForecaster`."""

    def __init__(self, session: Any, config: ModelConfig, description: dict[str, Any]):
        super().__init__(session, config, description)
        self.channels: tuple[str, ...] = tuple(map(str, description["data"]["channels"]))
        """Fitted channel names, in order."""

    def forecast(self, values: Any) -> np.ndarray:
        """Forecast from the last L rows of (T, C) values, or of (B, T, C) at once.

        Returns
        -------
        (h, C), or (B, h, C), float64 in the units of `values`.

        Raises
        ------
        DataError
            If rows are too few, channels too many or values missing.
        """
        array = np.asarray(values, dtype=np.float64)
        L = self.context_length
        if array.ndim not in (2, 3) or array.shape[-2] < L:
            raise DataError(f"expected (T, C) or (B, T, C) with T >= {L}, found {array.shape}")
        expected = self.session.get_inputs()[0].shape[1]
        if isinstance(expected, int) and array.shape[-1] != expected:
            raise DataError(f"expected {expected} channels, found {array.shape[-1]}")
        if not np.isfinite(array[..., -L:, :]).all():
            raise DataError("expected finite values, found NaN or infinity; fill them first")
        recent = np.ascontiguousarray(np.swapaxes(array[..., -L:, :], -1, -2))
        answers = self.run(recent.reshape(-1, *recent.shape[-2:]))
        return np.swapaxes(answers.reshape(*array.shape[:-2], *answers.shape[-2:]), -1, -2)


class ClassifyRuntime(Runtime):
    """An exported `ConvTimeNetClassifier`."""

    def __init__(self, session: Any, config: ModelConfig, description: dict[str, Any]):
        super().__init__(session, config, description)
        self.n_channels = config.channels
        self.classes = restored(description["data"], config.outputs)
        """Labels in the order of the probabilities."""

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities (n, K) of cases as `convtimenet.cases.as_cases` takes them.

        Raises
        ------
        DataError
            If cases are longer than the graph reads or have other channels.
        """
        cases = filled(as_cases(X))
        L, channels = self.context_length, self.n_channels
        n, C, longest = cases.values.shape
        if channels != C:
            raise DataError(f"expected cases of {channels} channels, found {C}")
        if longest > L:
            raise DataError(
                f"the graph reads up to {L} steps, the longest case has {longest}; shorten it or "
                "predict with the estimator itself"
            )
        padded = np.full((n, C, L), np.nan, dtype=np.float32)
        padded[..., :longest] = cases.values
        return self.run(padded)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each case, (n,)."""
        probabilities = self.predict_proba(X)
        return self.classes[probabilities.argmax(axis=1)]


def load(folder: str | os.PathLike[str], threads: int = 0) -> ForecastRuntime | ClassifyRuntime:
    """Open a folder that `convtimenet.export.export` wrote in an ONNX format.

    Parameters
    ----------
    threads
        Threads of one answer; 0 leaves it to onnxruntime.

    Raises
    ------
    ArtefactError
        If the folder is incomplete, damaged, of a newer format, or holds no ONNX graph.
    MissingExtraError
        If onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "runtime", "the torch-free runtime") from error
    path = Path(folder)
    found, files = read_folder(path)
    export, kind = found.get("export"), found.get("kind")
    graph = export.get("file") if isinstance(export, dict) else None
    if graph != GRAPH:
        raise ArtefactError(
            f"{path} holds no exported model that runs here (found {graph!r}, expected {GRAPH}); "
            "export with format='onnx'"
        )
    if kind not in _KINDS:
        raise ArtefactError(f"{path} holds a {kind!r}, expected one of {', '.join(_KINDS)}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # a damaged graph is told by the error below
    content = needed(path, files, GRAPH)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return _KINDS[kind](session, network_config(path, found), found)
    except _unreadable() as error:
        if isinstance(error, ArtefactError):
            raise
        raise ArtefactError(
            f"{path} is damaged: {type(error).__name__}: {error}; export the model again"
        ) from error


_KINDS: dict[str, type[ForecastRuntime] | type[ClassifyRuntime]] = {
    "ConvTimeNetForecaster": ForecastRuntime,
    "ConvTimeNetClassifier": ClassifyRuntime,
}


def _unreadable() -> tuple[type[Exception], ...]:
    """What goes wrong with a folder that was changed on purpose and sealed again."""
    state: Any = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    graphs = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf)
    others = (state.NotImplemented, state.RuntimeException, state.NoSuchFile)
    return (*graphs, *others, KeyError, TypeError, ValueError, OverflowError, RuntimeError)
