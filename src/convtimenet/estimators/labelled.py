"""What the classifier and the regressor share: cases in, one answer for each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.cases import Cases, as_cases, filled, gaps_left, read_cases
from convtimenet.data.windows import LabelledCases, Scaler, pad_cases
from convtimenet.devices import autocast, resolve_device
from convtimenet.errors import DataError
from convtimenet.estimators.base import ConvTimeNetEstimator
from convtimenet.estimators.presets import auto_classify, paper_preset
from convtimenet.progress import counted, showing

if TYPE_CHECKING:
    from convtimenet.estimators.explain import CaseExplanation


class LabelledEstimator(ConvTimeNetEstimator):
    """Base of the estimators that learn one label per case; not used by itself.

    A subclass says what its labels become for the network (`_learn`, `_encode`, `_config`) and what
    the network's outputs mean (`predict`).
    """

    n_channels_: int
    """Channels of a case."""
    n_features_in_: int
    """Columns of the table it was fitted to; absent where that was none."""

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
        random_state: int | np.random.RandomState | None = 2023,
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

    @abstractmethod
    def _learn(self, labels: np.ndarray) -> Any:
        """What must be remembered of all training labels (n,)."""

    @abstractmethod
    def _encode(self, labels: np.ndarray, learnt: Any) -> np.ndarray:
        """What the network shall give for labels (n,): class numbers (n,) or numbers (n, 1)."""

    @abstractmethod
    def _config(self, learnt: Any, **settings: Any) -> ModelConfig:
        """The network for such labels."""

    @abstractmethod
    def _kept(self, learnt: Any) -> dict[str, Any]:
        """What was learnt of the labels, as attributes."""

    @abstractmethod
    def _said(self, outputs: np.ndarray) -> np.ndarray:
        """The labels (n,) that outputs (n, K) of the network stand for."""

    @abstractmethod
    def _explained(self, outputs: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """How strongly outputs (n, K) speak for given answers (n,), or how large they are."""

    def _case_weights(self, labels: np.ndarray) -> np.ndarray | None:
        """What cases (n,) count by their label; None where all count alike."""
        return None

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        valid: tuple[Any, Any] | None = None,
        resume: str | PathLike[str] | None = None,
    ) -> Self:
        """Train on labelled cases.

        Parameters
        ----------
        X
            (n, C, L) array, (n, L) array or frame of single-channel cases, a list of (C, L_i)
            arrays of unequal length, a .ts or .npz path, or `Cases`.
        y
            (n,) labels; left out where `X` brings its own.
        sample_weight
            (n,) what each case counts while training and while choosing the epoch; a case of
            weight 0 is left out.
        valid
            Cases and labels that choose the epoch, scaled with `X`'s statistics. By default a part
            of the training cases is held back for it.
        resume
            Folder in which training leaves its state now and then. The same call goes on from it
            after a kill, and returns the same model once training has ended there.

        Raises
        ------
        DataError
            If cases and labels cannot be used: counts differ, a single class, text in the values.
        ConfigError
            If a setting is out of range.
        CheckpointError
            If `resume` holds the training of another run.
        """
        columns = table_columns(X)
        cases, labels = self._labelled(X, y)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, labels, ensure_non_negative=True)
        if (by_label := self._case_weights(labels)) is not None:
            weight = by_label if weight is None else weight * by_label
        if weight is not None:
            if not weight.any():
                raise DataError("some case must count; found sample weights of 0 only")
            cases, labels, weight = cases.subset(weight > 0), labels[weight > 0], weight[weight > 0]
        learnt = self._learn(labels)
        n, C, L = cases.values.shape
        preset = (
            auto_classify(n, L) if self.preset == "auto" else paper_preset(self.preset, "classify")
        )
        settings = self._model_settings(preset.model)
        config = self._config(learnt, channels=C, context_length=L, **settings)
        train_config = self._train_config(preset.train)
        device = resolve_device(train_config.device)
        cases = prepared(cases, config)
        if len(silent := np.flatnonzero(np.isnan(cases.values).all(axis=(0, 2)))):
            raise DataError(
                f"every channel needs a number in some case; found none in channel {silent[0]}; "
                "leave the channel out"
            )
        scaler = Scaler.minus_one_to_one(cases.values)
        targets = self._encode(labels, learnt)
        fitted, held_back, note = np.arange(n), np.arange(0), ""
        if valid is None:
            strata = targets if config.head == "classify" else None
            fitted, held_back, note = hold_back(n, strata, train_config)
        whole = _examples(cases, targets, weight, scaler, config, device)
        choosing = everything = None
        if len(held_back):
            choosing, everything = whole.subset(held_back), whole
        if valid is not None:
            choosing = self._choosing(*valid, learnt, scaler, config, device)
        examples = whole.subset(fitted) if len(held_back) else whole
        for name in ("n_features_in_", "feature_names_in_"):
            vars(self).pop(name, None)
        self._fit_network(
            config,
            train_config,
            examples,
            choosing,
            everything,
            device,
            cases.notices,
            [note] if note else [],
            resume=resume,
            n_channels_=C,
            scaler_=scaler,
            **self._kept(learnt),
            **columns,
        )
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags

    def read(self, X: Any) -> Cases:
        """Cases as the fitted network reads them: missing values masked, or filled."""
        check_is_fitted(self, "fused_")
        if hasattr(self, "n_features_in_") and is_table(X):
            validate_data(self, X, reset=False, skip_check_array=True)
        return prepared(read(X), self.network_.config)

    def _answers(self, X: Any) -> np.ndarray:
        """What the network gives for every case, (n, outputs) float32."""
        cases = self.read(X)
        config = self.network_.config
        _check_like_training(cases, self.n_channels_, config)
        answers = np.empty((len(cases.values), config.outputs), dtype=np.float32)
        # Cases longer than any training case are read whole, each at its own length, so that a
        # prediction never depends on the other cases beside it.
        lengths = np.maximum(cases.lengths, config.context_length)
        with showing("predicting", self.verbose):
            for length in counted(np.unique(lengths).tolist()):
                members = lengths == length
                answers[members] = self._outputs(
                    cases.values[members],
                    lambda part, length=length: padded(
                        replace(cases, values=part), self.scaler_, length, config
                    ),
                )
        return answers

    def explain(self, X: Any, *, spans: Any = None) -> CaseExplanation:
        """Find what the answer to every case rests on: hide one span of one channel after the
        other and see how the probability of the predicted class, or the number, changes.

        Parameters
        ----------
        X
            Cases, as for `predict`; each is read once for every channel and span.
        spans
            How many spans of equal length the longest of the cases is cut into, by default 24 (or
            as many as it has steps); or pairs (first step, step behind the last) within it.

        Raises
        ------
        DataError
            As `predict`.
        ConfigError
            If spans lie outside the cases.

        Notes
        -----
        `convtimenet.estimators.explain` says how parts are hidden, and what importance is not.
        """
        from convtimenet.estimators.explain import CaseExplanation, explain_cases, spans_of

        cases = self.read(X)
        steps = spans_of(spans, cases.values.shape[2])
        config, device = self.network_.config, next(self.fused_.buffers()).device
        outputs = self._answers(cases)
        answers = self._said(outputs)
        explained = self._explained(outputs, answers)
        with (
            showing("explaining", self.verbose),
            torch.inference_mode(),
            autocast(device, self.train_config_),
        ):
            found = explain_cases(
                self.network_,
                self.fused_,
                cases,
                explained,
                lambda some, length: padded(some, self.scaler_, length, config),
                lambda output, at: self._explained(output, answers[at]),
                steps,
                self.train_config_.batch_size,
                device,
            )
        return CaseExplanation(
            **found,
            spans=steps,
            values=cases.values,
            channels=tuple(map(str, range(self.n_channels_))),
            answers=answers,
            explained=explained,
            measure="probability" if config.head == "classify" else "number",
            lengths=cases.lengths,
        )

    def _labelled(self, X: Any, y: Any) -> tuple[Cases, np.ndarray]:
        y = None if y is None else np.asarray(y)
        if y is not None and y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        cases = read(X, y)
        if cases.labels is None:
            raise DataError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: "
                "expected a label for every case, found none; give them as y"
            )
        return cases, cases.labels

    def _choosing(
        self,
        X: Any,
        y: Any,
        learnt: Any,
        scaler: Scaler,
        config: ModelConfig,
        device: torch.device,
    ) -> LabelledCases:
        cases, labels = self._labelled(X, y)
        targets = self._encode(labels, learnt)
        _check_like_training(cases, config.channels, config)
        return _examples(prepared(cases, config), targets, None, scaler, config, device)


def hold_back(
    n: int, strata: np.ndarray | None, config: TrainConfig
) -> tuple[np.ndarray, np.ndarray, str]:
    """Choose a part of the training cases for validation.

    Parameters
    ----------
    n
        Number of cases.
    strata
        (n,) class of each case, whose shares the part keeps; None draws from all alike.
    config
        Its `validation_fraction` and `seed` decide.

    Returns
    -------
    fitted, held_back
        Case numbers of each part; the second empty where every case is needed for training.
    note
        Why nothing was held back, or "".
    """
    everything, nothing = np.arange(n), np.arange(0)
    if config.validation_fraction == 0:
        return everything, nothing, ""
    counts = np.array([n]) if strata is None else np.unique(strata, return_counts=True)[1]
    size = max(len(counts), round(config.validation_fraction * n))
    if counts.min() < 2 or size > n - len(counts):
        few = f"{n} case(s) are" if strata is None else f"the smallest class has {counts.min()} "
        few += " " if strata is None else "case(s), "
        note = f"{few}too few to hold some back for validation"
        return everything, nothing, note + ": training runs all its epochs"
    fitted, held_back = train_test_split(
        everything, test_size=size, stratify=strata, random_state=config.seed
    )
    return np.sort(fitted), np.sort(held_back), ""


def _examples(
    cases: Cases,
    targets: np.ndarray,
    weight: np.ndarray | None,
    scaler: Scaler,
    config: ModelConfig,
    device: torch.device,
) -> LabelledCases:
    """Cases on the device, of the network's length or longer."""
    length = max(config.context_length, cases.values.shape[2])
    x = torch.from_numpy(padded(cases, scaler, length, config)).to(device)
    y = torch.from_numpy(targets).to(device)
    counts = None
    if weight is not None:
        counts = torch.from_numpy(weight.astype(np.float32)).to(device).view_as(y)
    return LabelledCases(x, y, counts)


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


def table_columns(X: Any) -> dict[str, Any]:
    """What scikit-learn wants remembered of a table (n, L): ``n_features_in_``, and
    ``feature_names_in_`` of a frame; nothing for other kinds of input."""
    if not is_table(X):
        return {}
    asked = BaseEstimator()
    validate_data(asked, X, skip_check_array=True)
    return vars(asked)


def is_table(X: Any) -> bool:
    """Whether the input is rows and columns: an array or frame (n, L), or lists of equal length."""
    if isinstance(X, (list, tuple)):
        rows = all(isinstance(row, (list, tuple)) for row in X)
        return rows and len({len(row) for row in X}) == 1 and np.ndim(X[0]) == 1
    return getattr(X, "ndim", None) == 2 and len(np.shape(X)) == 2 and X.shape[1] > 0


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
