"""`ConvTimeNetClassifier`: labelled series in, classes and probabilities out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_is_fitted

from convtimenet.base import ConvTimeNetEstimator
from convtimenet.cases import Cases, as_cases, filled, gaps_left, read_cases
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.errors import DataError
from convtimenet.presets import auto_classify, paper_preset
from convtimenet.training import resolve_device
from convtimenet.windows import LabelledCases, Scaler, pad_cases


class ConvTimeNetClassifier(ClassifierMixin, ConvTimeNetEstimator):
    """Classify multivariate series, of equal or unequal length, with one ConvTimeNet.

    Under preset="auto" unequal lengths and missing values are carried by a mask: what is not known
    changes neither a prediction nor what is learnt. The paper's presets fill as the paper does;
    ``model={"masks": True}`` or False decides otherwise, and is saved with the model.

    Parameters
    ----------
    preset
        "auto" derives patches, kernels and batch size from the data; a data set's name such as
        "Epilepsy" takes the paper's hyper-parameters for it.
    model
        Settings of `ModelConfig` that replace the preset's.
    training
        Settings of `TrainConfig` that replace the preset's.
    n_epochs, batch_size, lr, time_limit
        The most used of them; None takes the preset's.
    precision
        "fp32" or "bf16".
    device
        "auto" or a torch device.
    random_state
        Seed of weights, batch order, dropout and the part held back for validation.
    verbose
        1 shows progress on a terminal, 0 is silent.

    Attributes
    ----------
    classes_
        Labels in sorted order, of the type they came in.
    n_channels_
        Channels of a case.
    network_, fused_, history_, scaler_, train_config_, notices_
        See `ConvTimeNetEstimator`.

    Examples
    --------
    >>> import numpy as np
    >>> from convtimenet import ConvTimeNetClassifier
    >>> time = np.arange(60)
    >>> X = np.stack([np.sin(time / (3 + i % 2 * 4) + i) for i in range(40)])[:, None]
    >>> y = np.array(["fast", "slow"] * 20)
    >>> model = ConvTimeNetClassifier(n_epochs=3).fit(X, y)
    >>> model.predict(X[:2]).shape
    (2,)
    """

    classes_: np.ndarray
    n_channels_: int

    def __init__(
        self,
        *,
        preset: str = "auto",
        model: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        n_epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        time_limit: float | None = None,
        precision: str = "fp32",
        device: str = "auto",
        random_state: int = 2023,
        verbose: int = 1,
    ):
        self.preset = preset
        self.model = model
        self.training = training
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.time_limit = time_limit
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, *, valid: tuple[Any, Any] | None = None) -> Self:
        """Train on labelled cases.

        Parameters
        ----------
        X
            (n, C, L) array, (n, L) array of single-channel cases, a list of (C, L_i) arrays of
            unequal length, a .ts or .npz path, or `Cases`.
        y
            (n,) labels of any type; left out where `X` brings its own.
        valid
            Cases and labels that choose the epoch, scaled with `X`'s statistics. By default a
            stratified part of the training cases is held back for it.

        Raises
        ------
        DataError
            If cases and labels cannot be used: counts differ, a single class, text in the values.
        ConfigError
            If a setting is out of range.
        """
        cases = self._labelled(X, y)
        assert cases.labels is not None
        n, C, L = cases.values.shape
        try:
            classes, numbers = np.unique(cases.labels, return_inverse=True)
        except TypeError as error:
            raise DataError(
                f"labels must be of one type, found several ({error}); make them all text, for "
                "example with map(str, y)"
            ) from error
        if len(classes) < 2:
            raise DataError(
                "classification needs at least two classes, found one: "
                f"{classes.tolist()[0]!r} for all {n} cases"
            )
        preset = (
            auto_classify(n, L) if self.preset == "auto" else paper_preset(self.preset, "classify")
        )
        config = ModelConfig.classification(
            channels=C,
            context_length=L,
            n_classes=len(classes),
            **self._model_settings(preset.model),
        )
        train_config = self._train_config(preset.train)
        device = resolve_device(train_config.device)
        cases = prepared(cases, config)
        if len(silent := np.flatnonzero(np.isnan(cases.values).all(axis=(0, 2)))):
            raise DataError(
                f"every channel needs a number in some case; found none in channel {silent[0]}; "
                "leave the channel out"
            )
        scaler = Scaler.minus_one_to_one(cases.values)
        notices = list(cases.notices)
        fitted, held_back, note = np.arange(n), np.arange(0), ""
        if valid is None:
            fitted, held_back, note = hold_back(numbers, train_config)
        if note:
            notices.append(note)
        x = torch.from_numpy(padded(cases, scaler, L, config)).to(device)
        labels = torch.from_numpy(numbers).to(device)
        examples = LabelledCases(x[fitted], labels[fitted])
        choosing = everything = None
        if len(held_back):
            choosing = LabelledCases(x[held_back], labels[held_back])
            everything = LabelledCases(x, labels)
        if valid is not None:
            choosing = self._choosing(*valid, classes, scaler, config, device)
        self._fit_network(config, train_config, examples, choosing, everything, device, notices)
        self.classes_, self.n_channels_, self.scaler_ = classes, C, scaler
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities (n, K), columns in the order of `classes_`.

        Raises
        ------
        DataError
            If the cases have another number of channels than the fitted ones, or are longer where
            the network pools by "flatten".
        """
        check_is_fitted(self, "fused_")
        config = self.network_.config
        cases = self.read(X)
        _check_like_training(cases, self.n_channels_, config)
        scores = np.empty((len(cases.values), len(self.classes_)), dtype=np.float32)
        # Cases longer than any training case are read whole, each at its own length, so that a
        # prediction never depends on the other cases beside it.
        lengths = np.maximum(cases.lengths, config.context_length)
        for length in np.unique(lengths):
            members = lengths == length
            some = replace(cases, values=cases.values[members])
            scores[members] = self._outputs(padded(some, self.scaler_, int(length), config))
        return torch.from_numpy(scores).double().softmax(1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each case, (n,), with labels as they were given."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Accuracy; `y` may be left out where `X` brings its own labels."""
        cases = self._labelled(X, y)
        assert cases.labels is not None
        right = self.predict(cases) == cases.labels
        return float(np.average(right, weights=sample_weight))

    def read(self, X: Any) -> Cases:
        """Cases as the fitted network reads them: missing values masked, or filled."""
        check_is_fitted(self, "fused_")
        return prepared(read(X), self.network_.config)

    def _labelled(self, X: Any, y: Any) -> Cases:
        cases = read(X, y)
        if cases.labels is None:
            raise DataError("expected a label for every case, found none; give them as y")
        return cases

    def _choosing(
        self,
        X: Any,
        y: Any,
        classes: np.ndarray,
        scaler: Scaler,
        config: ModelConfig,
        device: torch.device,
    ) -> LabelledCases:
        cases = self._labelled(X, y)
        assert cases.labels is not None
        if unknown := sorted(set(cases.labels.tolist()) - set(classes.tolist())):
            raise DataError(f"the validation cases have classes the training cases lack: {unknown}")
        _check_like_training(cases, config.channels, config)
        longest = max(config.context_length, cases.values.shape[2])
        x = padded(prepared(cases, config), scaler, longest, config)
        numbers = np.searchsorted(classes, cases.labels)
        return LabelledCases(torch.from_numpy(x).to(device), torch.from_numpy(numbers).to(device))

    def _remembered(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        kind = self.classes_.dtype
        return {
            "classes": self.classes_.tolist(),
            "dtype": kind.str,
            "channels": self.n_channels_,
        }, {}

    def _remember(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.classes_ = np.array(values["classes"], dtype=np.dtype(values["dtype"]))
        self.n_channels_ = int(values["channels"])


def hold_back(numbers: np.ndarray, config: TrainConfig) -> tuple[np.ndarray, np.ndarray, str]:
    """Choose a stratified part of the training cases for validation.

    Parameters
    ----------
    numbers
        (n,) class of each case.
    config
        Its `validation_fraction` and `seed` decide.

    Returns
    -------
    fitted, held_back
        Case numbers of each part; the second empty where every case is needed for training.
    note
        Why nothing was held back, or "".
    """
    everything, nothing = np.arange(len(numbers)), np.arange(0)
    if config.validation_fraction == 0:
        return everything, nothing, ""
    n_classes, smallest = len(np.unique(numbers)), int(np.bincount(numbers).min())
    size = max(n_classes, round(config.validation_fraction * len(numbers)))
    if smallest < 2 or size > len(numbers) - n_classes:
        note = (
            f"the smallest class has {smallest} case(s), too few to hold some back for validation"
        )
        return everything, nothing, note + ": training runs all its epochs"
    fitted, held_back = train_test_split(
        everything, test_size=size, stratify=numbers, random_state=config.seed
    )
    return np.sort(fitted), np.sort(held_back), ""


def _check_like_training(cases: Cases, channels: int, config: ModelConfig) -> None:
    _, found, length = cases.values.shape
    if found != channels:
        raise DataError(
            f"the model was fitted to cases of {channels} channels, found {found}; "
            "give the same channels in the same order"
        )
    if config.pooling == "flatten" and length > config.context_length:
        raise DataError(
            f"a network with pooling='flatten' reads cases of at most {config.context_length} "
            f"steps, as in training; found {length}; cut them, or train with pooling='max'"
        )


def read(X: Any, y: Any = None) -> Cases:
    """The cases that `fit` would see."""
    if isinstance(X, (str, Path)):
        X = read_cases(X)
    if isinstance(X, Cases):
        return X if y is None else as_cases(X.values, y)
    return as_cases(X, y)


def prepared(cases: Cases, config: ModelConfig) -> Cases:
    """Missing values masked or filled, as the network expects it."""
    return gaps_left(cases) if config.masks else filled(cases)


def padded(cases: Cases, scaler: Scaler, length: int, config: ModelConfig) -> np.ndarray:
    """Scaled values (n, C, length), behind the cases' ends what the network expects there."""
    return pad_cases(cases.values, scaler, length, np.nan if config.masks else 0.0)
