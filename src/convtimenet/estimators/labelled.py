"""What the classifier and the regressor share: fit, explain and read labelled cases."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, column_or_1d

from convtimenet.callbacks import Callback
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.files.case_file import Task
from convtimenet.data.labelled.cases import Cases, in_channel_order
from convtimenet.data.labelled.trained import Lengths, Ranges, like_trained, seen_in
from convtimenet.data.windows import LabelledCases, Scaler
from convtimenet.devices import autocast, device_of, resolve_device
from convtimenet.errors import DataError
from convtimenet.estimators.case_input import (
    Preprocessing,
    check_channels,
    check_columns,
    check_like_training,
    check_task,
    examples_of,
    hold_back,
    normalised,
    padded,
    prepared,
    read,
    table_columns,
    weighted,
)
from convtimenet.estimators.distilling import DistillableCases, taught_notice
from convtimenet.estimators.portfolio import Plan, cases_members
from convtimenet.estimators.presets.derived import cases_preset, from_package
from convtimenet.progress import counted, showing
from convtimenet.training.metrics import Scores, evaluate
from convtimenet.training.taught import TaughtCases

if TYPE_CHECKING:
    from convtimenet.estimators.explain import CaseExplanation

_KEPT = {
    "n_features_in_": int,
    "feature_names_in_": lambda names: np.array(names, object),
    "lengths_": tuple,
    "ranges_": lambda ranges: tuple(map(tuple, ranges)),  # older models lack these two
}
"""What a saved model keeps if it has it, and what turns its JSON back."""


class LabelledEstimator(DistillableCases):
    """Base of the classifier and the regressor; not used by itself.

    A subclass defines how labels are encoded for the network (`_label_encoding`, `_encode`,
    `_config`) and how the network's outputs are decoded (`_predictions`).
    """

    task: ClassVar[Task]
    """Whether labels are classes or numbers."""

    n_channels_: int
    """Number of channels of a case."""
    channels_: tuple[str, ...]
    """Channel names; absent if the training cases had none."""
    n_features_in_: int
    """Columns of the table it was fitted to; absent if it was not fitted to a table."""
    lengths_: Lengths
    ranges_: Ranges
    """Of the training cases: time steps of the shortest and longest, range of each channel."""
    scores_: Scores | None
    """Scores on the validation split; see the subclass."""

    def __init__(
        self,
        *,
        quality: str = "auto",
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
        n_jobs: int | None = None,
        verbose: int = 1,
        callbacks: Sequence[Callback] | None = None,
        init_from: Any = None,
    ):
        self.quality = quality
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
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.callbacks = callbacks
        self.init_from = init_from

    @abstractmethod
    def check_labels(self, labels: np.ndarray) -> None:
        """Refuse training labels (n,) that cannot be trained on or saved.

        Raises
        ------
        DataError
            If there are any.
        """

    @abstractmethod
    def truth(self, labels: np.ndarray) -> np.ndarray:
        """Labels (n,) converted to the type of the predictions, for comparison with them."""

    @abstractmethod
    def _label_encoding(self, labels: np.ndarray) -> Any:
        """The encoding of training labels (n,): the classes, or the scaler of the targets."""

    @abstractmethod
    def _encode(self, labels: np.ndarray, encoding: Any) -> np.ndarray:
        """Training targets for labels (n,): class indices (n,) or scaled numbers (n, 1)."""

    @abstractmethod
    def _taught(self, ensemble: Any, outputs: np.ndarray, encoding: Any) -> np.ndarray:
        """Outputs (n, K) of an ensemble's network as they would be of this one."""

    @abstractmethod
    def _config(self, encoding: Any, **settings: Any) -> ModelConfig:
        """The network's config for such labels."""

    @abstractmethod
    def _label_attributes(self, encoding: Any) -> dict[str, Any]:
        """The encoding as fitted attributes of the estimator."""

    @abstractmethod
    def _scores_in_units(self, scores: Scores, encoding: Any) -> Scores:
        """Scores of the network, with errors of numbers in the unit of the labels."""

    @abstractmethod
    def _predictions(self, outputs: np.ndarray) -> np.ndarray:
        """Predictions (n,), classes or numbers, from outputs (n, K) of the network."""

    @abstractmethod
    def _explained_value(self, outputs: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """(n,) the probability of the given classes `answers` (n,) in outputs (n, K), or the
        predicted numbers."""

    def _label_weights(self, labels: np.ndarray, trained: np.ndarray) -> np.ndarray | None:
        """Weights (n,) of cases by their class, given the labels of the training cases `trained`
        (m,); None if all weights are equal."""
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
            (n,) labels; may be left out if `X` holds them.
        sample_weight
            (n,) weights of the cases in training and validation; cases of weight 0 are left out.
        valid
            Cases and labels of the validation split, scaled with `X`'s statistics. By default it
            is drawn from the training cases.
        resume
            Folder for checkpoints. After an interruption the same call resumes from it; once
            training has finished it returns the same model.

        Raises
        ------
        DataError
            If cases or labels cannot be used: their numbers differ, there is a single class, or
            values are text.
        ConfigError
            If a setting is out of range.
        CheckpointError
            If `resume` holds the training of another run.
        """
        return self._fit(X, y, sample_weight, valid, resume)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        valid: tuple[Any, Any] | None,
        resume: str | PathLike[str] | None,
        ensemble: Any = None,
    ) -> Self:
        columns = table_columns(X)
        cases, labels = self._labelled(X, y)
        self.check_labels(labels)
        cases, labels, weight = weighted(cases, labels, sample_weight, self._label_weights)
        n, C, L = cases.values.shape
        own, training = self._network_settings(), self._settings("training")
        preset = cases_preset(self.quality, self.preset, (n, C, L), own, training)
        settings = self._model_settings(preset.model)
        encoding = self._label_encoding(labels)
        config = self._config(encoding, channels=C, context_length=L, **settings)
        train_config = self._train_config(preset.train, resume)
        device = resolve_device(train_config.device)
        if not from_package(self.init_from) and (start := self._start()) is not None:
            cases = start.in_order(cases)
        answers = None if ensemble is None else ensemble._network_outputs(cases)
        cases = prepared(cases, config)
        known = check_channels(cases)
        columns |= seen_in(cases)
        all_cases = np.arange(n)
        fitted, held_back, note = all_cases, np.arange(0), ""
        if valid is None:
            strata = labels if self.task == "classify" else None
            fitted, held_back, note = hold_back(n, strata, train_config, known)

        def preprocessing_of(some: np.ndarray) -> Preprocessing:
            scaler = Scaler.minus_one_to_one(cases.values[some])
            return Preprocessing(scaler, self._label_encoding(labels[some]), labels[some])

        def examples(some: np.ndarray, fitted_to: Preprocessing) -> LabelledCases:
            weights = self._label_weights(labels, fitted_to.labels)
            if weight is not None:
                weights = weight if weights is None else weight * weights
            targets = self._encode(labels[some], fitted_to.encoding)
            part = None if weights is None else normalised(weights)[some]
            return examples_of(cases.subset(some), targets, part, fitted_to.scaler, config, device)

        def trained_on(some: np.ndarray, fitted_to: Preprocessing) -> LabelledCases:
            found = examples(some, fitted_to)
            if ensemble is None or answers is None:
                return found
            taught = self._taught(ensemble, answers[some], fitted_to.encoding)
            return TaughtCases(found, torch.from_numpy(taught).to(device), config.head)

        # fitted without the validation split, which must not leak into training
        preprocessing = preprocessing_of(fitted)
        valid_examples = all_examples = refitted = None
        if len(held_back):
            valid_examples = examples(held_back, preprocessing)
            # weights that are trained further keep the scaling they were trained with
            whole = replace(preprocessing, labels=labels)
            if train_config.refit != "continue":
                whole = preprocessing_of(all_cases)
            all_examples, refitted = trained_on(all_cases, whole), self._attributes(whole)
        if valid is not None:
            valid_examples = self._validation_examples(
                *valid, preprocessing, cases.channels, config, device
            )
        if cases.channels is not None:
            columns["channels_"] = cases.channels
        members = [(config, train_config)]
        if preset.portfolio:
            members = cases_members(config, train_config, self._fixed())
        notices = [note] if note else []
        if ensemble is not None:
            notices.append(taught_notice(ensemble, ensemble.history_.refitted and valid is None))
        first = trained_on(fitted, preprocessing)
        attributes = {"n_channels_": C, **self._attributes(preprocessing), **columns}

        def attributes_of(fused: Any, settings: TrainConfig) -> dict[str, Any]:
            scores = None
            if valid_examples is not None:
                with autocast(device, settings):
                    size = settings.batch_size
                    found = evaluate(fused, valid_examples, config.head, size, device)
                scores = self._scores_in_units(found, preprocessing.encoding)
            return {**attributes, "scores_": scores}

        self._fit_network(
            [Plan(*one, first, valid_examples, all_examples) for one in members],
            device,
            cases.notices,
            notices,
            attributes_of,
            resume=resume,
            refitted=refitted,
        )
        return self

    def _attributes(self, fitted: Preprocessing) -> dict[str, Any]:
        return {"scaler_": fitted.scaler, **self._label_attributes(fitted.encoding)}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags

    def read(self, X: Any) -> Cases:
        """Cases as the fitted network takes them: missing values masked or filled; with notices
        about those unlike all training cases in length or range."""
        check_is_fitted(self, "fused_")
        check_columns(self, X)
        cases = in_channel_order(read(X), getattr(self, "channels_", None))
        cases = like_trained(cases, *(vars(self).get(one) for one in ("lengths_", "ranges_")))
        return prepared(cases, self.network_.config)

    def _network_outputs(self, X: Any, answer: Any = None) -> np.ndarray:
        """Outputs (n, outputs) float32 of the network, or of `answer`, for every case."""
        cases = self.read(X)
        config = self.network_.config
        check_like_training(cases, self.n_channels_, config)
        answers: Any = None
        # Cases longer than all training cases are read at their own length, so that a prediction
        # never depends on the other cases of the call.
        lengths = np.maximum(cases.lengths, config.context_length)
        with showing("predicting", self.verbose):
            for length in counted(np.unique(lengths).tolist()):
                members = lengths == length
                found = self._outputs(
                    cases.values[members],
                    lambda part, length=length: padded(
                        replace(cases, values=part), self.scaler_, length, config
                    ),
                    answer,
                )
                if answers is None:
                    answers = np.empty((len(cases.values), found.shape[1]), dtype=np.float32)
                answers[members] = found
        return answers

    def explain(self, X: Any, *, spans: Any = None) -> CaseExplanation:
        """Explain predictions by occlusion: hide one span of one channel at a time and measure how
        the probability of the predicted class, or the predicted number, changes.

        Parameters
        ----------
        X
            Cases, as for `predict`; each is predicted once per channel and span.
        spans
            Number of spans of equal length that the longest case is cut into, by default 24 (or
            its number of steps if that is smaller); or pairs (first step, last step + 1).

        Raises
        ------
        DataError
            As `predict`.
        ConfigError
            If spans lie outside the cases.

        Notes
        -----
        `convtimenet.estimators.explain` says how spans are hidden, and the limits of the method.
        """
        from convtimenet.estimators.explain import CaseExplanation, explain_cases, spans_of

        cases = self.read(X)
        steps = spans_of(spans, cases.values.shape[2])
        config, device = self.network_.config, device_of(self.fused_)
        outputs = self._network_outputs(cases)
        answers = self._predictions(outputs)
        explained = self._explained_value(outputs, answers)
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
                lambda output, at: self._explained_value(output, answers[at]),
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
        cases = read(X, y, labelled=y is None)
        if cases.labels is None:
            raise DataError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: "
                "expected a label for every case, found none; pass the labels as y"
            )
        check_task(cases, self.task)
        return cases, cases.labels

    def _validation_examples(
        self,
        X: Any,
        y: Any,
        preprocessing: Preprocessing,
        channels: tuple[str, ...] | None,
        config: ModelConfig,
        device: torch.device,
    ) -> LabelledCases:
        cases, labels = self._labelled(X, y)
        targets = self._encode(labels, preprocessing.encoding)
        if self.task == "classify":  # in the kind of the training labels
            labels = preprocessing.encoding[targets]
        weights = self._label_weights(labels, preprocessing.labels)
        weights = None if weights is None else normalised(weights)
        cases = in_channel_order(cases, channels)
        check_like_training(cases, config.channels, config)
        cases = prepared(cases, config)
        return examples_of(cases, targets, weights, preprocessing.scaler, config, device)

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        names = getattr(self, "channels_", None)
        own: dict[str, Any] = {} if names is None else {"channel_names": list(names)}
        own |= {n: np.asarray(vars(self)[n]).tolist() for n in _KEPT if hasattr(self, n)}
        return {"channels": self.n_channels_, "scores": self.scores_, **own}, {}

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.n_channels_ = self.network_.config.channels
        self.scores_ = values.get("scores")
        vars(self).update({n: of(values[n]) for n, of in _KEPT.items() if n in values})
        if "channel_names" in values:
            self.channels_ = tuple(map(str, values["channel_names"]))
            if len(self.channels_) != self.n_channels_:
                raise ValueError(f"{len(self.channels_)} names of {self.n_channels_} channels")
