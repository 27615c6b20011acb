"""`ConvTimeNetRegressor`: series with one number each in, numbers for others out."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from convtimenet.config import ModelConfig
from convtimenet.data.files.case_file import Task
from convtimenet.data.windows import Scaler, float32
from convtimenet.errors import DataError
from convtimenet.estimators.labelled import LabelledEstimator


class ConvTimeNetRegressor(RegressorMixin, LabelledEstimator):
    """Predict one number per multivariate series (extrinsic regression) with one ConvTimeNet.

    The network is the classifier's with one output; targets are standardised by the mean and the
    deviation of the training targets, and answers put back into their unit. Unequal lengths and
    missing values are treated as in `ConvTimeNetClassifier`.

    Parameters
    ----------
    preset
        "auto" derives patches, kernels and batch size from the data; a data set's name such as
        "Epilepsy" takes the paper's hyper-parameters for classifying it.
    model
        Settings of `ModelConfig` that replace the preset's.
    training
        Settings of `TrainConfig` that replace the preset's.
    n_epochs, batch_size, lr, time_limit
        The most used of them; None takes the preset's.
    precision
        "fp32"; "bf16", for GPUs: where the fused CPU kernels run, they stay in float32 and a notice
        says so; or "int8": trained in float32, answers in eight bits on CPU.
    device
        "auto" or a torch device.
    random_state
        Seed of weights, batch order, dropout and the part held back for validation: a number (by
        default the paper's), a numpy `RandomState` to draw one from, or None for another each time.
    verbose
        0 or False shows no progress; 1 or True a bar on a terminal or in a notebook, and a line
        every ten seconds in a log; 2 also a line an epoch. All of it goes to standard error.
        Notices about the data are warnings of the logger "convtimenet", whatever this is.

    Attributes
    ----------
    target_scaler_
        Mean and deviation of the training targets.
    n_channels_, channels_
        Channels of a case, and their names where it was fitted to frames with named columns.
    n_features_in_, feature_names_in_
        Columns of the table, and their names, where it was fitted to an (n, L) array or frame.
    network_, fused_, history_, scaler_, train_config_, notices_
        See `ConvTimeNetEstimator`.

    Examples
    --------
    >>> import numpy as np
    >>> from convtimenet import ConvTimeNetRegressor
    >>> pace = np.linspace(0.1, 0.9, 40)
    >>> X = np.sin(np.arange(60) * pace[:, None])[:, None]
    >>> model = ConvTimeNetRegressor(n_epochs=3).fit(X, pace)
    >>> model.predict(X[:2]).shape
    (2,)
    """

    task: ClassVar[Task] = "regress"
    target_scaler_: Scaler

    def check_labels(self, labels: np.ndarray) -> None:
        numeric_targets(labels)

    def truth(self, labels: np.ndarray) -> np.ndarray:
        return numeric_targets(labels)

    def _learn(self, labels: np.ndarray) -> Scaler:
        return Scaler.standard(numeric_targets(labels)[None])

    def _encode(self, labels: np.ndarray, learnt: Scaler) -> np.ndarray:
        return float32(learnt.apply(numeric_targets(labels)[None])).T

    def _config(self, learnt: Scaler, **settings: Any) -> ModelConfig:
        return ModelConfig.regression(**settings)

    def _kept(self, learnt: Scaler) -> dict[str, Any]:
        return {"target_scaler_": learnt}

    def predict(self, X: Any) -> np.ndarray:
        """The number of each case, (n,) float64, in the unit of the training targets.

        Raises
        ------
        DataError
            If the cases have another number of channels than the fitted ones, or are longer where
            the network pools by "flatten".
        """
        return self._said(self._answers(X))

    def _said(self, outputs: np.ndarray) -> np.ndarray:
        return self.target_scaler_.invert(outputs.astype(np.float64).T)[0]

    def _explained(self, outputs: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return self._said(outputs)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """R2, the share of the targets' variance that the answers explain; `y` may be left out
        where `X` brings its own."""
        truth = self.truth(self._labelled(X, y)[1])
        return float(r2_score(truth, self.predict(X), sample_weight=sample_weight))

    def _remembered(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        scaler = self.target_scaler_
        arrays = {"target.centre": scaler.centre, "target.scale": scaler.scale}
        return super()._remembered()[0], arrays

    def _remember(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        super()._remember(values, arrays)
        self.target_scaler_ = Scaler(arrays["target.centre"], arrays["target.scale"])


def numeric_targets(labels: np.ndarray) -> np.ndarray:
    """Targets (n,) as float64.

    Raises
    ------
    DataError
        If one is no number, or not finite.
    """
    try:
        if labels.dtype.kind in "mMc":  # numpy would make some number of them
            raise TypeError
        numbers = labels.astype(np.float64)
    except (TypeError, ValueError):
        other = _first_other(labels)
        remedy = "make them numbers, dates for example the days since the first of them"
        if isinstance(other, str):
            remedy = (
                "use ConvTimeNetClassifier to predict classes (on the command line convtimenet "
                "classify)"
            )
        raise DataError(f"targets must be numbers, found {other!r}; {remedy}") from None
    if not np.isfinite(numbers).all():
        raise DataError(
            f"Input y contains NaN or infinity: expected a finite target for every case, found "
            f"{numbers[~np.isfinite(numbers)][0]} for case {int(np.argmin(np.isfinite(numbers)))}; "
            "leave the case out"
        )
    return numbers


def _first_other(labels: np.ndarray) -> Any:
    """The first label that is no number, as a user wrote it."""
    for label in labels.tolist():
        try:
            float(label)
        except (TypeError, ValueError):
            return label
    return labels[0]
