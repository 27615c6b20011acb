"""Input of the classifier and the regressor: cases are read, checked, split and scaled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight, validate_data

from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.files.case_file import Task
from convtimenet.data.labelled.cases import Cases, as_cases, read_cases
from convtimenet.data.labelled.frames import frame_of, is_nested, values_of
from convtimenet.data.labelled.gaps import filled, gaps_left
from convtimenet.data.labelled.labels import label_vector
from convtimenet.data.split import split_cases
from convtimenet.data.windows import LabelledCases, Scaler, pad_cases
from convtimenet.errors import DataError
from convtimenet.wording import advice

__all__ = [
    "Preprocessing",
    "check_channels",
    "check_columns",
    "check_like_training",
    "check_task",
    "examples_of",
    "hold_back",
    "is_table",
    "normalised",
    "padded",
    "prepared",
    "read",
    "table_columns",
    "weighted",
]


@dataclass(frozen=True)
class Preprocessing:
    """Scaling and label encoding fitted to the training cases."""

    scaler: Scaler
    encoding: Any
    """The classes, or the scaler of the targets."""
    labels: np.ndarray
    """(m,) labels of the cases it was fitted to."""


def read(X: Any, y: Any = None, *, labelled: bool = False) -> Cases:
    """The cases that `fit` would see; `labelled` is whether a file should hold labels."""
    if isinstance(X, (str, Path)):
        X = read_cases(X, labelled=labelled)
    if not isinstance(X, Cases):
        return as_cases(X, y)
    return X if y is None else replace(X, labels=label_vector(y, len(X.values)), task=None)


def check_task(cases: Cases, task: Task) -> None:
    """Refuse a file whose header says that its labels are of the other task.

    Raises
    ------
    DataError
        If it declares numbers for classification, or classes for regression.
    """
    if cases.task in (None, task):
        return
    if task == "classify":
        raise DataError(
            "the file says that its labels are numbers to predict, expected classes; "
            + advice(
                "use convtimenet regress, or ConvTimeNetRegressor",
                "predict numbers",
            )
        )
    raise DataError(
        "the file says that its labels are classes, expected numbers to predict; "
        + advice("use convtimenet classify, or ConvTimeNetClassifier", "predict classes")
        + " (if they are numbers, its header must say so: "
        "@targetLabel true in .ts, numeric in .arff)"
    )


def check_like_training(cases: Cases, channels: int, config: ModelConfig) -> None:
    """Refuse cases that the network of a fitted estimator cannot read.

    Raises
    ------
    DataError
        If the number of channels differs, or they are too long for pooling="flatten".
    """
    _, found, length = cases.values.shape
    if found != channels:
        raise DataError(
            f"the model was fitted to cases with {channels} channels, found {found}; "
            "give the same channels in the same order"
        )
    if config.pooling == "flatten" and length > config.context_length:
        raise DataError(
            advice("a network with pooling='flatten'", "the model")
            + f" reads cases of at most {config.context_length} steps, as in training; found "
            f"{length}; cut them" + advice(", or train with pooling='max'", "")
        )


def table_columns(X: Any) -> dict[str, Any]:
    """scikit-learn's ``n_features_in_`` of a table (n, L), and ``feature_names_in_`` of a frame;
    empty for other kinds of input."""
    table = values_of(X)
    if not is_table(table):
        return {}
    holder = BaseEstimator()
    validate_data(holder, table, skip_check_array=True)
    return vars(holder)


def check_columns(estimator: Any, X: Any) -> None:
    """Refuse a table (n, L) with other columns than a fitted classifier or regressor saw, and a
    frame with its channels, which would be read as cases.

    Raises
    ------
    ValueError
        If the number or the names of the columns differ.
    DataError
        If it is one frame with the fitted channels.
    """
    table = values_of(X)
    if not is_table(table):
        return
    channels: Any = getattr(estimator, "channels_", None)
    if hasattr(estimator, "n_features_in_"):
        validate_data(estimator, table, reset=False, skip_check_array=True)
    frame = frame_of(table)
    if frame is not None and tuple(map(str, frame.columns)) == channels:
        raise DataError(
            f"expected a list of frames, one per case, found one frame with the fitted channels "
            f"{', '.join(channels)}; "
            + advice("give [frame] for a single case", "send a row for each case, of lists")
        )


def is_table(X: Any) -> bool:
    """Whether the input is rows and columns: an array or frame (n, L), or lists of equal length."""
    if isinstance(X, (list, tuple)):
        rows = all(isinstance(row, (list, tuple)) for row in X)
        numbers = rows and not any(hasattr(cell, "__len__") for row in X[:1] for cell in row)
        return numbers and len({len(row) for row in X}) == 1
    if (frame := frame_of(X)) is not None:
        return len(frame.columns) > 0 and not is_nested(frame)
    return getattr(X, "ndim", None) == 2 and len(np.shape(X)) == 2 and X.shape[1] > 0


def prepared(cases: Cases, config: ModelConfig) -> Cases:
    """Cases with missing values masked or filled, as the network expects them."""
    return gaps_left(cases) if config.masks else filled(cases)


def check_channels(cases: Cases) -> np.ndarray:
    """Whether each case has a known value in each channel, (n, C).

    Raises
    ------
    DataError
        If a channel has none in any case.
    """
    known = np.asarray(np.isfinite(cases.values).any(axis=2))
    if len(unknown := np.flatnonzero(~known.any(axis=0))):
        raise DataError(
            "every channel needs at least one known value; found none in channel "
            f"{unknown[0]}; leave the channel out"
        )
    return known


def padded(cases: Cases, scaler: Scaler, length: int, config: ModelConfig) -> np.ndarray:
    """Scaled values (n, C, length); padding is NaN for a network with masks, else 0."""
    return pad_cases(cases.values, scaler, length, np.nan if config.masks else 0.0)


def examples_of(
    cases: Cases,
    targets: np.ndarray,
    weight: np.ndarray | None,
    scaler: Scaler,
    config: ModelConfig,
    device: torch.device,
) -> LabelledCases:
    """Scaled cases on the device, padded to at least the context length."""
    length = max(config.context_length, cases.values.shape[2])
    x = torch.from_numpy(padded(cases, scaler, length, config)).to(device)
    y = torch.from_numpy(targets).to(device)
    weights = None
    if weight is not None:
        weights = torch.from_numpy(weight.astype(np.float32)).to(device).view_as(y)
    return LabelledCases(x, y, weights)


def hold_back(
    n: int, strata: np.ndarray | None, config: TrainConfig, known: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, str]:
    """Draw a validation split from the training cases.

    Parameters
    ----------
    n
        Number of cases.
    strata
        (n,) class of each case, for a stratified split; None draws without strata.
    config
        Its `validation_fraction` and `seed` are used.
    known
        (n, C), whether a case has any known value in a channel; the training split gets some of
        every channel.

    Returns
    -------
    fitted, held_back
        Case numbers of the training and the validation split; the latter is empty if every case
        is needed for training.
    note
        A notice about the split, or "".
    """
    everything, nothing = np.arange(n), np.arange(0)
    if config.validation_fraction == 0:
        return everything, nothing, ""
    parts = split_cases(n, strata, config.validation_fraction, config.seed, known)
    if parts is not None:
        return parts
    few = f"{n} case(s) are "
    if strata is not None:
        smallest = np.unique(strata, return_counts=True)[1].min()
        few = f"the smallest class has {smallest} case(s), "
    note = f"{few}too few for a validation split: training runs all its epochs"
    return everything, nothing, note


def weighted(
    cases: Cases,
    labels: np.ndarray,
    sample_weight: Any,
    by_label: Callable[[np.ndarray, np.ndarray], np.ndarray | None],
) -> tuple[Cases, np.ndarray, np.ndarray | None]:
    """The cases with a weight above 0, their labels and their sample weights.

    Parameters
    ----------
    by_label
        Weights of labels given the labels of the training cases; None if all are equal.

    Raises
    ------
    DataError
        If weights cannot be used.
    """
    weight = None
    if sample_weight is not None:
        try:
            weight = _check_sample_weight(sample_weight, labels, ensure_non_negative=True)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"sample_weight must be a finite number of at least 0 for each of the "
                f"{len(labels)} cases, and above 0 for some: {error}; correct it, or leave it "
                "out to weight all cases equally"
            ) from error
    # sample weights first: cases of weight 0 must not affect the weights of their class
    for of_class in (False, True):
        weights = by_label(labels, labels) if of_class else weight
        if weights is not None:
            if not weights.any():
                raise DataError(
                    "at least one case needs a weight above 0, found weights of 0 only; "
                    "correct sample_weight or class_weight"
                )
            cases, labels = cases.subset(weights > 0), labels[weights > 0]
            weight = None if weight is None else weight[weights > 0]
    return cases, labels, weight


def normalised(weights: np.ndarray) -> np.ndarray:
    """Weights (n,) divided by a power of two, which brings them into the range of float32 and
    leaves the loss, a weighted mean, unchanged."""
    return np.ldexp(weights, 1 - int(np.frexp(weights.max())[1]))
