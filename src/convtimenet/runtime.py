"""Predict with an exported model without torch: numpy and onnxruntime only.

from convtimenet.runtime import load
model = load("exported")
model.forecast(values)        # forecaster: (T, C) -> (h, C), in the same units
model.predict_proba(X)        # classifier: cases -> (n, K)
model.predict(X)              # classifier or regressor: cases -> (n,)
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.config import ModelConfig
from convtimenet.data.labelled.cases import as_cases, in_channel_order
from convtimenet.data.labelled.gaps import filled, gaps_left
from convtimenet.data.labelled.trained import Lengths, Ranges, like_trained
from convtimenet.errors import ArtefactError, DataError, MissingExtraError
from convtimenet.storage.labels import restored
from convtimenet.storage.manifest import DESCRIPTION, needed, network_config, read_folder

GRAPH = "model.onnx"
_TOKENS = 2048  # per batch: their hidden values fit a core's cache; larger batches are slower


class Runtime:
    """An ONNX graph with the description of its inputs and outputs.

    Attributes
    ----------
    description
        Contents of the folder's ``model.json``.
    context_length
        L, steps that the graph reads.
    """

    def __init__(self, session: Any, config: ModelConfig, description: dict[str, Any]):
        self.session, self.config, self.description = session, config, description
        self.context_length = config.context_length

    def shapes(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Expected data type and sizes of the graph's input and output without the batch dimension;
        0 for a dynamic size."""
        raise NotImplementedError

    def run(self, x: np.ndarray) -> np.ndarray:
        """The graph's outputs for inputs (B, C, L), B >= 1, in batches that fit the cache."""
        rows = x.shape[1] // self.config.channels
        tokens = rows * self.config.n_patches
        step = max(1, _TOKENS // tokens)
        parts = (x[i : i + step] for i in range(0, len(x), step))
        return np.concatenate([self.session.run(None, {"x": part})[0] for part in parts])


class ForecastRuntime(Runtime):
    """An exported `ConvTimeNetForecaster`."""

    def __init__(self, session: Any, config: ModelConfig, description: dict[str, Any]):
        super().__init__(session, config, description)
        self.channels: tuple[str, ...] = tuple(map(str, description["data"]["channels"]))
        """Fitted channel names, in order."""
        self.gaps = description["export"].get("gaps") is True
        """Whether the graph masks NaN as missing; False for exports of earlier versions."""

    def shapes(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        dynamic_channels = not isinstance(self.session.get_inputs()[0].shape[1], int)
        C = 0 if dynamic_channels else len(self.channels)
        quantiles = (len(self.config.quantiles),) if self.config.quantiles else ()
        answer = ("double", C, *quantiles, self.config.outputs)
        return ("double", C, self.context_length), answer

    def forecast(self, values: Any) -> np.ndarray:
        """Forecast from the last L rows of values (T, C), or (B, T, C) for a batch.

        Returns
        -------
        (h, C), or (B, h, C), float64 in the units of `values`; the median for a quantile head. NaN
        is a missing value, as in `ConvTimeNetForecaster.forecast`.

        Raises
        ------
        DataError
            If the array is empty or not numeric, has too few rows or another number of channels, or
            holds infinite values, or missing ones if the network has no masks.
        """
        try:
            array = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"expected an array of numbers, found {type(values).__name__} ({error}); leave "
                "time stamps and text out"
            ) from error
        L, least = self.context_length, self.config.least_context
        if array.ndim not in (2, 3) or 0 in array.shape or array.shape[-2] < least:
            raise DataError(
                f"expected the shape (T, C) or (B, T, C) with T >= {least} and no empty dimension, "
                f"found {array.shape}; give at least {least} rows"
            )
        expected = self.session.get_inputs()[0].shape[1]
        if isinstance(expected, int) and array.shape[-1] != expected:
            raise DataError(
                f"expected {expected} channels, found {array.shape[-1]}; give those that "
                "`channels` lists, in that order"
            )
        recent = np.ascontiguousarray(np.swapaxes(array[..., -L:, :], -1, -2))
        if (spare := L - recent.shape[-1]) > 0:
            recent = np.pad(
                recent, (*[(0, 0)] * (recent.ndim - 1), (spare, 0)), constant_values=np.nan
            )
        unusable = np.argwhere(np.isinf(recent) if self.gaps else ~np.isfinite(recent))
        if len(unusable):
            wanted, kinds, remedy = "finite values", "NaN or infinite", "fill them first"
            if self.gaps:
                wanted, kinds = "finite values, or NaN where missing,", "infinite"
            elif np.isnan(recent).any():
                remedy += ", or export a forecaster fitted with model={'masks': True}"
            raise DataError(
                f"expected {wanted} in the last {L} rows, found {len(unusable)} {kinds}, the first "
                f"in column {unusable[0][-2]}; {remedy}"
            )
        answers = self.run(recent.reshape(-1, *recent.shape[-2:]))
        if quantiles := self.description["model"].get("quantiles"):
            answers = answers[:, :, quantiles.index(0.5)]
        return np.swapaxes(answers.reshape(*array.shape[:-2], *answers.shape[-2:]), -1, -2)


class CasesRuntime(Runtime):
    """An exported classifier or regressor."""

    def __init__(self, session: Any, config: ModelConfig, description: dict[str, Any]):
        super().__init__(session, config, description)
        names = description["data"].get("channel_names")
        self.channels: tuple[str, ...] | None = None if names is None else tuple(map(str, names))
        """Fitted channel names, in order; None if the training cases had none."""
        if self.channels is not None and len(self.channels) != config.channels:
            raise ValueError(f"{len(self.channels)} names of {config.channels} channels")
        lengths = description["data"].get("lengths_")
        self.lengths: Lengths | None = None if lengths is None else (lengths[0], lengths[1])
        """Time steps of the shortest and the longest training case; None if they are unknown."""
        ranges = description["data"].get("ranges_")
        self.ranges: Ranges | None = None if ranges is None else tuple(map(tuple, ranges))
        """The lowest and the highest training value of each channel; None if they are unknown."""

    @property
    def kind(self) -> str:
        """Data type of the graph's input; "float" for exports of earlier versions."""
        return "double" if self.description["export"].get("input") == "double" else "float"

    def answers(self, X: Any) -> np.ndarray:
        """The graph's outputs for cases, which may be anything that
        `convtimenet.data.labelled.cases.as_cases` takes. Named channels are put in the fitted
        order; cases unlike those of training in length or range get a notice in the log.

        Raises
        ------
        DataError
            If cases are longer than the graph reads, or have another number of channels or others.
        """
        cases = in_channel_order(as_cases(X), self.channels)
        cases = like_trained(cases, self.lengths, self.ranges)
        cases = gaps_left(cases) if self.config.masks else filled(cases)
        L, channels = self.context_length, self.config.channels
        n, C, longest = cases.values.shape
        if channels != C:
            raise DataError(
                f"expected cases with {channels} channels, found {C}; give the fitted channels in "
                "their order"
            )
        if longest > L:
            raise DataError(
                f"the graph reads up to {L} steps, the longest case has {longest}; shorten it or "
                "predict with the estimator itself"
            )
        padded = np.full((n, C, L), np.nan, np.float64 if self.kind == "double" else np.float32)
        padded[..., :longest] = cases.values
        return self.run(padded)


class ClassifyRuntime(CasesRuntime):
    """An exported `ConvTimeNetClassifier`."""

    def __init__(self, session: Any, config: ModelConfig, description: dict[str, Any]):
        super().__init__(session, config, description)
        self.classes = restored(description["data"], config.outputs)
        """Class labels in the order of the probabilities."""

    def shapes(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return (self.kind, self.config.channels, self.context_length), ("float", len(self.classes))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities (n, K); cases and errors as for `answers`."""
        return self.answers(X)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each case, (n,)."""
        return self.classes[self.answers(X).argmax(axis=1)]


class RegressRuntime(CasesRuntime):
    """An exported `ConvTimeNetRegressor`."""

    def shapes(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return (self.kind, self.config.channels, self.context_length), ("double", 1)

    def predict(self, X: Any) -> np.ndarray:
        """The predicted number of each case, (n,) float64; cases and errors as for `answers`."""
        return self.answers(X)[:, 0]


def load(
    folder: str | os.PathLike[str], threads: int = 0
) -> ForecastRuntime | ClassifyRuntime | RegressRuntime:
    """Load a folder that `convtimenet.export.export` wrote in an ONNX format.

    Parameters
    ----------
    folder
        The folder.
    threads
        Threads per call; 0 lets onnxruntime choose.

    Raises
    ------
    ArtefactError
        If the folder is incomplete, damaged, of a newer format or of an unknown estimator, holds no
        ONNX graph, or one that does not match its description.
    MissingExtraError
        If onnxruntime is not installed.
    """
    path = Path(folder)
    found, files = read_folder(path)
    export, kind = found.get("export"), found.get("kind")
    exported = export.get("file") if isinstance(export, dict) else None
    if exported != GRAPH:
        raise ArtefactError(
            f"{path} holds no ONNX graph (expected {GRAPH}, its description says {exported!r}); "
            "create one with convtimenet export, or export(..., format='onnx')"
        )
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ArtefactError(f"{path} holds a {kind!r}, expected one of {', '.join(_KINDS)}")
    try:
        config = network_config(path, found)
        session = session_of(needed(path, files, GRAPH), str(path / GRAPH), threads)
        runtime = _KINDS[kind](session, config, found)
        expected = runtime.shapes()
    except ArtefactError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ArtefactError(
            f"{path / DESCRIPTION} is damaged: {type(error).__name__}: {error}; export again"
        ) from error
    if (actual := _shapes_of(session)) != expected:
        raise ArtefactError(
            f"{path / GRAPH} does not match {DESCRIPTION}: expected {expected[0]} to "
            f"{expected[1]}, found {actual[0]} to {actual[1]}; export again"
        )
    return runtime


_KINDS: dict[str, type[ForecastRuntime] | type[ClassifyRuntime] | type[RegressRuntime]] = {
    "ConvTimeNetForecaster": ForecastRuntime,
    "ConvTimeNetClassifier": ClassifyRuntime,
    "ConvTimeNetRegressor": RegressRuntime,
}


def session_of(graph: bytes, name: str, threads: int = 0) -> Any:
    """Open an ONNX graph on the CPU; `name` identifies it in errors.

    Raises
    ------
    ArtefactError
        If onnxruntime cannot read it.
    MissingExtraError
        If onnxruntime is not installed.
    """
    try:
        import onnxruntime
        from onnxruntime.capi import (
            onnxruntime_pybind11_state as failures,  # pyright: ignore[reportAttributeAccessIssue]
        )
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "runtime", "the torch-free runtime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # a damaged graph is reported by the error below
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except (
        failures.Fail,
        failures.InvalidArgument,
        failures.InvalidGraph,
        failures.InvalidProtobuf,
        failures.NotImplemented,
        failures.RuntimeException,
    ) as error:
        raise ArtefactError(
            f"{name} is damaged or needs a newer onnxruntime: {error}; export the model again"
        ) from error


def _shapes_of(session: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Data type and sizes of a graph's input x and its output without the batch dimension; 0 for a
    dynamic size. Empty for a graph with other inputs.
    """
    if [i.name for i in session.get_inputs()] != ["x"] or len(session.get_outputs()) != 1:
        return (), ()
    ends = session.get_inputs()[0], session.get_outputs()[0]
    x, y = (
        (
            end.type.removeprefix("tensor(").removesuffix(")"),
            *(size if isinstance(size, int) else 0 for size in end.shape[1:]),
        )
        for end in ends
    )
    return x, y
