"""`ConvTimeNetClassifier`: labelled series in, classes and probabilities out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight

from convtimenet.config import ModelConfig
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.labelled import LabelledEstimator
from convtimenet.storage.labels import described, restored


class ConvTimeNetClassifier(ClassifierMixin, LabelledEstimator):
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
    class_weight
        What the cases of a class count: "balanced" for all classes alike, a mapping from label to
        weight, or None for all cases alike.
    precision
        "fp32"; "bf16", for GPUs: where the fused CPU kernels run, they stay in float32 and a notice
        says so; or "int8": trained in float32, answers in eight bits on CPU.
    device
        "auto" or a torch device.
    random_state
        Seed of weights, batch order, dropout and the part held back for validation: a number (by
        default the paper's), a numpy `RandomState` to draw one from, or None for another each time.
    verbose
        0 or False shows no progress, 1 or True a bar on a terminal, 2 also a line an epoch.
        Notices about the data are warnings of the logger "convtimenet", whatever this is.

    Attributes
    ----------
    classes_
        Labels in sorted order, of the type they came in.
    n_channels_
        Channels of a case.
    n_features_in_, feature_names_in_
        Columns of the table, and their names, where it was fitted to an (n, L) array or frame.
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
        class_weight: str | Mapping[Any, float] | None = None,
        precision: str = "fp32",
        device: str = "auto",
        random_state: int | np.random.RandomState | None = 2023,
        verbose: int = 1,
    ):
        super().__init__(
            preset=preset,
            model=model,
            training=training,
            n_epochs=n_epochs,
            batch_size=batch_size,
            lr=lr,
            time_limit=time_limit,
            precision=precision,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def _learn(self, labels: np.ndarray) -> np.ndarray:
        try:
            classes = np.unique(labels)
        except TypeError as error:
            raise DataError(
                f"labels must be of one type, found several ({error}); make them all text, for "
                "example with map(str, y)"
            ) from error
        n = len(labels)
        if len(classes) < 2:
            raise DataError(
                f"classification needs at least two classes, found one class: "
                f"{classes.tolist()[0]!r} for all {n} cases"
            )
        fractions = classes.dtype.kind == "f" and (classes != np.floor(classes)).any()
        if fractions and len(classes) == n > 2:
            raise DataError(
                f"Unknown label type: continuous; expected classes, found {n} different numbers "
                f"for {n} cases; use ConvTimeNetRegressor to predict numbers"
            )
        return classes

    def _encode(self, labels: np.ndarray, learnt: np.ndarray) -> np.ndarray:
        if unknown := sorted(set(labels.tolist()) - set(learnt.tolist())):
            raise DataError(f"the validation cases have classes the training cases lack: {unknown}")
        return np.searchsorted(learnt, labels)

    def _config(self, learnt: np.ndarray, **settings: Any) -> ModelConfig:
        return ModelConfig.classification(n_classes=len(learnt), **settings)

    def _kept(self, learnt: np.ndarray) -> dict[str, Any]:
        return {"classes_": learnt}

    def _case_weights(self, labels: np.ndarray) -> np.ndarray | None:
        if self.class_weight is None:
            return None
        given: Any = self.class_weight
        try:
            weights = compute_sample_weight(given if given == "balanced" else dict(given), labels)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"class_weight must be 'balanced', a mapping from label to weight, or None; found "
                f"{given!r} ({error})"
            ) from error
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise ConfigError(f"weights of classes must be at least 0, found {given!r}")
        return weights

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities (n, K), columns in the order of `classes_`.

        Raises
        ------
        DataError
            If the cases have another number of channels than the fitted ones, or are longer where
            the network pools by "flatten".
        """
        return _probabilities(self._answers(X))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each case, (n,), with labels as they were given."""
        return self._said(self._answers(X))

    def _said(self, outputs: np.ndarray) -> np.ndarray:
        return self.classes_[_probabilities(outputs).argmax(axis=1)]

    def _explained(self, outputs: np.ndarray, answers: np.ndarray) -> np.ndarray:
        columns = np.searchsorted(self.classes_, answers)
        return _probabilities(outputs)[np.arange(len(outputs)), columns]

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Accuracy; `y` may be left out where `X` brings its own labels."""
        truth = self._labelled(X, y)[1]
        return float(np.average(self.predict(X) == truth, weights=sample_weight))

    def _remembered(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return described(self.classes_) | {"channels": self.n_channels_}, {}

    def _remember(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.classes_ = restored(values, self.network_.config.outputs)
        self.n_channels_ = self.network_.config.channels


def _probabilities(outputs: np.ndarray) -> np.ndarray:
    """Class probabilities (n, K) of the network's scores."""
    return torch.from_numpy(outputs).double().softmax(1).numpy()
