"""`ConvTimeNetRegressor`: one number per time series."""

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
from convtimenet.training.metrics import Scores


class ConvTimeNetRegressor(RegressorMixin, LabelledEstimator):
    """Predict one number per multivariate series (extrinsic regression) with ConvTimeNet.

    The network is the classifier's with one output. Targets are standardised by the mean and
    standard deviation of the training targets (without the validation split, unless a new network
    is trained after it), and predictions are scaled back to their unit.
    Unequal lengths and missing values are treated as in `ConvTimeNetClassifier`.

    Parameters
    ----------
    quality
        "fast": random patches and a linear map solved in closed form, in seconds; "auto": their
        answers mixed with those of the network, trained, in minutes; "best": up to six such
        networks of other seeds, patches, kernels and pooling, trained while `time_limit` lasts,
        and averaged with weights from the validation split.
    preset
        "auto" derives patches, kernels and batch size from the data, and trains 2,000 steps with
        augmentation; a data set's name such as "Epilepsy" takes the paper's network and
        hyper-parameters for its classification.
    model
        Settings of `ModelConfig` that replace the preset's.
    training
        Settings of `TrainConfig` that replace the preset's.
    n_epochs, batch_size, lr, time_limit
        The most common of these settings; None takes the preset's. With n_epochs, an epoch is one
        pass over the cases.
    precision
        "fp32"; "bf16", for GPUs (the fused CPU kernels stay in float32, with a notice); or "int8",
        trained in float32, predicts in eight bits on CPU.
    device
        "auto" or a torch device.
    random_state
        Seed of the initial weights, batch order, dropout and validation split: an integer (by
        default the paper's), a numpy `RandomState` to draw one from, or None for a random one.
        Beside the default 2023, or None, ``training={"seed": ...}`` counts; beside any other it is
        an error if it differs.
    n_jobs
        How many networks of quality="best" are trained at the same time, each by a process with
        one thread: None is 1, or what a surrounding `joblib.parallel_config` says, which may name
        a cluster; -1 is one per core. The weights are the same (docs/design/portfolio.md).
    verbose
        0 or False shows no progress; 1 or True a bar on a terminal or in a notebook, and a line
        every ten seconds in a log; 2 also a line per epoch. All of it goes to standard error.
        Notices about the data are always logged as warnings of the logger "convtimenet".
    callbacks
        Objects told of every epoch, which may end training: loggers such as
        `convtimenet.callbacks.TensorBoard`, or your own (`convtimenet.callbacks.Callback`). They
        are not saved with the model. `tune` and a backtest tell the same objects; processes of
        `n_jobs` tell copies.
    init_from
        Where the network's encoder starts from: the folder of a saved model, a fitted or
        pre-trained estimator, or its `pretrained_`, which unlike an estimator survives
        scikit-learn's `clone`. With preset="auto" the network takes on its architecture. None
        starts from `pretrain`, if that was called, else from new weights. "pretrained" trains no
        network: random patches as for quality="fast", beside features of the weights that come with
        the package, for few labelled cases; with ``training={"encoder_rate": 1.0}`` these weights
        are fine-tuned.

    Attributes
    ----------
    target_scaler_
        Centre and scale of the targets.
    n_channels_, channels_
        Number of channels, and their names if fitted to frames with named columns.
    lengths_, ranges_
        Time steps of the shortest and the longest training case, and the lowest and the highest
        value of each channel in them; absent from models of older versions. Answers to cases
        outside the one, or far outside the other, come with a notice.
    n_features_in_, feature_names_in_
        Number of columns, and their names, if fitted to an (n, L) array or frame.
    scores_
        "mse" and "mae" on the validation split, in the unit of the targets, of the first training.
        The same cases chose the share of the trained network in the answers, and with the paper's
        presets the epoch. None without a validation split.
    pretrained_
        The encoder of `pretrain`, which `fit` starts from. Clones have none.
    network_, fused_, members_, history_, scaler_, train_config_, notices_, parameters_
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

    def _label_encoding(self, labels: np.ndarray) -> Scaler:
        return Scaler.standard(numeric_targets(labels)[None])

    def _encode(self, labels: np.ndarray, encoding: Scaler) -> np.ndarray:
        return float32(encoding.apply(numeric_targets(labels)[None])).T

    def _taught(self, ensemble: Any, outputs: np.ndarray, encoding: Scaler) -> np.ndarray:
        return self._encode(ensemble._predictions(outputs), encoding)

    def _config(self, encoding: Scaler, **settings: Any) -> ModelConfig:
        return ModelConfig.regression(**settings)

    def _label_attributes(self, encoding: Scaler) -> dict[str, Any]:
        return {"target_scaler_": encoding}

    def _scores_in_units(self, scores: Scores, encoding: Scaler) -> Scores:
        unit = float(encoding.scale[0, 0])
        return {"mse": scores["mse"] * unit**2, "mae": scores["mae"] * unit}

    def predict(self, X: Any) -> np.ndarray:
        """The predicted number of each case, (n,) float64, in the unit of the training targets.

        Raises
        ------
        DataError
            If the number of channels differs from training, or cases are too long for
            pooling="flatten".
        """
        return self._predictions(self._network_outputs(X))

    def _predictions(self, outputs: np.ndarray) -> np.ndarray:
        return self.target_scaler_.invert(outputs.astype(np.float64).T)[0]

    def _explained_value(self, outputs: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return self._predictions(outputs)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """R2, the share of the targets' variance that the predictions explain; `y` may be left
        out if `X` holds the targets."""
        truth = self.truth(self._labelled(X, y)[1])
        return float(r2_score(truth, self.predict(X), sample_weight=sample_weight))

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        scaler = self.target_scaler_
        arrays = {"target.centre": scaler.centre, "target.scale": scaler.scale}
        return super()._saved_state()[0], arrays

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        super()._restore_state(values, arrays)
        self.target_scaler_ = Scaler(arrays["target.centre"], arrays["target.scale"])


def numeric_targets(labels: np.ndarray) -> np.ndarray:
    """Targets (n,) as float64.

    Raises
    ------
    DataError
        If one is not a number, or not finite.
    """
    try:
        if labels.dtype.kind in "mMc":  # numpy would convert these silently
            raise TypeError
        numbers = labels.astype(np.float64)
    except (TypeError, ValueError):
        other = _first_non_number(labels)
        remedy = "convert them to numbers (dates, for example, to days since the first one)"
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


def _first_non_number(labels: np.ndarray) -> Any:
    """The first label that is not a number, as the user wrote it."""
    for label in labels.tolist():
        try:
            float(label)
        except (TypeError, ValueError):
            return label
    return labels[0]
