"""Predict with an exported model without torch: numpy and onnxruntime only.

from convtimenet.runtime import load
model = load("exported")
model.forecast(values)        # a forecaster's folder: (T, C) -> (h, C), units kept
model.predict_proba(X)        # a classifier's folder: cases -> (n, K)
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.cases import as_cases, filled, gaps_left
from convtimenet.errors import ArtefactError, DataError, MissingExtraError

FORMAT = 1


class Runtime:
    """A graph with what its inputs and answers mean.

    Attributes
    ----------
    description
        The folder's ``model.json``.
    context_length
        L, steps the graph reads.
    """

    def __init__(self, session: Any, description: dict[str, Any]):
        self.session = session
        self.description = description
        self.context_length = int(description["model"]["context_length"])

    def run(self, x: np.ndarray) -> np.ndarray:
        """The graph's answers to inputs (B, C, L)."""
        return np.asarray(self.session.run(None, {"x": x})[0])


class ForecastRuntime(Runtime):
    """An exported `ConvTimeNetForecaster`."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Fitted channel names, in order."""
        return tuple(self.description["data"]["channels"])

    def forecast(self, values: Any) -> np.ndarray:
        """Forecast from the last L rows of (T, C) values, or of (B, T, C) at once.

        Returns
        -------
        (h, C), or (B, h, C), float64 in the units of `values`; of a quantile head the median.

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
        if quantiles := self.description["model"].get("quantiles"):
            answers = answers[:, :, quantiles.index(0.5)]
        return np.swapaxes(answers.reshape(*array.shape[:-2], *answers.shape[-2:]), -1, -2)


class ClassifyRuntime(Runtime):
    """An exported `ConvTimeNetClassifier`."""

    @property
    def classes(self) -> np.ndarray:
        """Labels in the order of the probabilities."""
        remembered = self.description["data"]
        return np.array(remembered["classes"], dtype=np.dtype(remembered["dtype"]))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities (n, K) of cases as `convtimenet.cases.as_cases` takes them.

        Raises
        ------
        DataError
            If cases are longer than the graph reads or have other channels.
        """
        masks = self.description["model"].get("masks", False)
        cases = gaps_left(as_cases(X)) if masks else filled(as_cases(X))
        L, channels = self.context_length, int(self.description["data"]["channels"])
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
        If the folder is incomplete, of a newer format, or holds no ONNX graph.
    MissingExtraError
        If onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "runtime", "the torch-free runtime") from error
    path = Path(folder)
    try:
        found = json.loads((path / "model.json").read_text(encoding="utf-8"))
        exported = found["export"]["file"]
        format, kind = int(found["format"]), found["kind"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(
            f"{path} holds no exported model (model.json with an export): {error}"
        ) from error
    if format > FORMAT:
        raise ArtefactError(f"{path} has format {format}, this version reads up to {FORMAT}")
    if exported != "model.onnx" or not (path / exported).is_file():
        raise ArtefactError(
            f"{path} holds no ONNX graph (found {exported!r}); export with format='onnx'"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(path / exported), options, providers=["CPUExecutionProvider"]
    )
    kinds = {"ConvTimeNetForecaster": ForecastRuntime, "ConvTimeNetClassifier": ClassifyRuntime}
    if kind not in kinds:
        raise ArtefactError(f"{path} holds a {kind!r}, expected one of {', '.join(kinds)}")
    return kinds[kind](session, found)
