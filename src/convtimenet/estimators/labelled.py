"""What the classifier and the regressor share: cases in, one answer for each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils import Tags
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from convtimenet.config import ModelConfig
from convtimenet.data.case_frames import frame_of
from convtimenet.data.cases import Cases
from convtimenet.data.files.case_file import Task
from convtimenet.data.windows import LabelledCases, Scaler
from convtimenet.devices import autocast, device_of, resolve_device
from convtimenet.errors import DataError
from convtimenet.estimators.base import ConvTimeNetEstimator
from convtimenet.estimators.case_input import (
    check_like_training,
    check_task,
    examples_of,
    hold_back,
    in_channel_order,
    is_table,
    padded,
    prepared,
    read,
    table_columns,
)
from convtimenet.estimators.presets import auto_classify, paper_preset
from convtimenet.progress import counted, showing

if TYPE_CHECKING:
    from convtimenet.estimators.explain import CaseExplanation


@dataclass(frozen=True)
class _Learnt:
    """What is learnt of training cases before the network sees them."""

    scaler: Scaler
    labels: Any
    counted: np.ndarray
    """Labels of the cases learnt from, (m,)."""


class LabelledEstimator(ConvTimeNetEstimator):
    """Base of the estimators that learn one label per case; not used by itself.

    A subclass says what its labels become for the network (`_learn`, `_encode`, `_config`) and what
    the network's outputs mean (`predict`).
    """

    task: ClassVar[Task]
    """What its labels are."""

    n_channels_: int
    """Channels of a case."""
    channels_: tuple[str, ...]
    """Their names; absent where the training cases had none."""
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
    def check_labels(self, labels: np.ndarray) -> None:
        """Refuse training labels (n,) that cannot be learnt, or not saved.

        Raises
        ------
        DataError
            If there are such.
        """

    @abstractmethod
    def truth(self, labels: np.ndarray) -> np.ndarray:
        """Labels (n,) as the fitted estimator's answers write them, to compare them with."""

    @abstractmethod
    def _learn(self, labels: np.ndarray) -> Any:
        """What must be remembered of training labels (n,)."""

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

    def _label_weights(self, labels: np.ndarray, counted: np.ndarray) -> np.ndarray | None:
        """What cases (n,) count by their label, where those of the labels `counted` (m,) train;
        None where all count alike."""
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
        self.check_labels(labels)
        cases, labels, weight = self._counted(cases, labels, sample_weight)
        n, C, L = cases.values.shape
        preset = (
            auto_classify(n, L) if self.preset == "auto" else paper_preset(self.preset, "classify")
        )
        settings = self._model_settings(preset.model)
        config = self._config(self._learn(labels), channels=C, context_length=L, **settings)
        train_config = self._train_config(preset.train, resume)
        device = resolve_device(train_config.device)
        cases = prepared(cases, config)
        known = np.asarray(np.isfinite(cases.values).any(axis=2))
        if len(silent := np.flatnonzero(~known.any(axis=0))):
            raise DataError(
                f"every channel needs a number in some case; found none in channel {silent[0]}; "
                "leave the channel out"
            )
        everyone = np.arange(n)
        fitted, held_back, note = everyone, np.arange(0), ""
        if valid is None:
            strata = labels if self.task == "classify" else None
            fitted, held_back, note = hold_back(n, strata, train_config, known)

        def learnt_of(some: np.ndarray) -> _Learnt:
            scaler = Scaler.minus_one_to_one(cases.values[some])
            return _Learnt(scaler, self._learn(labels[some]), labels[some])

        def examples(some: np.ndarray, learnt: _Learnt) -> LabelledCases:
            counts = self._label_weights(labels, learnt.counted)
            if weight is not None:
                counts = weight if counts is None else weight * counts
            targets = self._encode(labels[some], learnt.labels)
            part = None if counts is None else _near_one(counts)[some]
            return examples_of(cases.subset(some), targets, part, learnt.scaler, config, device)

        # what is held back must not be known to what it judges
        learnt = learnt_of(fitted)
        choosing = everything = refitted = None
        if len(held_back):
            choosing, whole = examples(held_back, learnt), learnt_of(everyone)
            everything, refitted = examples(everyone, whole), self._attributes(whole)
        if valid is not None:
            choosing = self._choosing(*valid, learnt, cases.channels, config, device)
        if cases.channels is not None:
            columns["channels_"] = cases.channels
        self._fit_network(
            config,
            train_config,
            examples(fitted, learnt),
            choosing,
            everything,
            device,
            cases.notices,
            [note] if note else [],
            resume=resume,
            refitted=refitted,
            n_channels_=C,
            **self._attributes(learnt),
            **columns,
        )
        return self

    def _counted(
        self, cases: Cases, labels: np.ndarray, sample_weight: Any
    ) -> tuple[Cases, np.ndarray, np.ndarray | None]:
        """The cases that count, their labels and their own weights."""
        weight = None
        if sample_weight is not None:
            try:
                weight = _check_sample_weight(sample_weight, labels, ensure_non_negative=True)
            except (TypeError, ValueError) as error:
                raise DataError(
                    f"sample_weight must be a finite number of at least 0 for each of the "
                    f"{len(labels)} cases, and above 0 for some: {error}; correct it, or leave it "
                    "out to count all cases alike"
                ) from error
        for by_label in (False, True):  # what weighs nothing is no case of its class either
            counts = self._label_weights(labels, labels) if by_label else weight
            if counts is not None:
                if not counts.any():
                    raise DataError("some case must count; found sample weights of 0 only")
                cases, labels = cases.subset(counts > 0), labels[counts > 0]
                weight = None if weight is None else weight[counts > 0]
        return cases, labels, weight

    def _attributes(self, learnt: _Learnt) -> dict[str, Any]:
        return {"scaler_": learnt.scaler, **self._kept(learnt.labels)}

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
        channels = getattr(self, "channels_", None)
        frame = None if channels is None else frame_of(X)
        if frame is not None and tuple(map(str, frame.columns)) == channels and is_table(X):
            raise DataError(
                f"expected a list of frames, one for each case, found one frame of the fitted "
                f"channels {', '.join(channels or ())}; give [frame] for a single case"
            )
        return prepared(in_channel_order(read(X), channels), self.network_.config)

    def _answers(self, X: Any) -> np.ndarray:
        """What the network gives for every case, (n, outputs) float32."""
        cases = self.read(X)
        config = self.network_.config
        check_like_training(cases, self.n_channels_, config)
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
        config, device = self.network_.config, device_of(self.fused_)
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
            channels=getattr(self, "channels_", tuple(map(str, range(self.n_channels_)))),
            answers=answers,
            explained=explained,
            measure="probability" if config.head == "classify" else "number",
            lengths=cases.lengths,
        )

    def _labelled(self, X: Any, y: Any) -> tuple[Cases, np.ndarray]:
        if y is not None and not (isinstance(y, (list, tuple)) and np.ndim(y[:1]) == 1):
            y = np.asarray(y)
            if y.ndim == 2 and y.shape[1] == 1:
                y = column_or_1d(y, warn=True)
        cases = read(X, y)
        if cases.labels is None:
            raise DataError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: "
                "expected a label for every case, found none; give them as y"
            )
        check_task(cases, self.task)
        return cases, cases.labels

    def _choosing(
        self,
        X: Any,
        y: Any,
        learnt: _Learnt,
        channels: tuple[str, ...] | None,
        config: ModelConfig,
        device: torch.device,
    ) -> LabelledCases:
        cases, labels = self._labelled(X, y)
        targets = self._encode(labels, learnt.labels)
        cases = in_channel_order(cases, channels)
        check_like_training(cases, config.channels, config)
        return examples_of(prepared(cases, config), targets, None, learnt.scaler, config, device)

    def _remembered(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        names = getattr(self, "channels_", None)
        own = {} if names is None else {"channel_names": list(names)}
        return {"channels": self.n_channels_, **own}, {}

    def _remember(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.n_channels_ = self.network_.config.channels
        if "channel_names" in values:
            self.channels_ = tuple(map(str, values["channel_names"]))
            if len(self.channels_) != self.n_channels_:
                raise ValueError(f"{len(self.channels_)} names of {self.n_channels_} channels")


def _near_one(weights: np.ndarray) -> np.ndarray:
    """Weights (n,) by a power of two, so that float32 holds them and a loss, their mean, stays."""
    return np.ldexp(weights, 1 - int(np.frexp(weights.max())[1]))
