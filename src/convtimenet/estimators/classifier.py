"""`ConvTimeNetClassifier`: classes and probabilities of time series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from convtimenet.callbacks import Callback
from convtimenet.config import ModelConfig
from convtimenet.data.files.case_file import Task
from convtimenet.data.labelled.labels import in_the_kind_of
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.labelled import LabelledEstimator
from convtimenet.storage.labels import check_savable, described, restored
from convtimenet.training.metrics import Scores
from convtimenet.wording import listing

_FEW = 20
"""With fewer cases than this, integers that nearly all differ may still be classes."""


class ConvTimeNetClassifier(ClassifierMixin, LabelledEstimator):
    """Classify multivariate series of equal or unequal length with ConvTimeNet.

    With preset="auto", padding and missing values are masked: they affect neither training nor
    predictions. The paper's presets fill them as the paper does. ``model={"masks": ...}``
    overrides both, and is saved with the model.

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
        hyper-parameters for it.
    model
        Settings of `ModelConfig` that replace the preset's.
    training
        Settings of `TrainConfig` that replace the preset's.
    n_epochs, batch_size, lr, time_limit
        The most common of these settings; None takes the preset's. With n_epochs, an epoch is one
        pass over the cases.
    class_weight
        Weights of the classes: "balanced", a mapping from label to weight, or None for equal
        weights of all cases.
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
    classes_
        Class labels in sorted order, of the type that was given.
    n_channels_, channels_
        Number of channels, and their names if fitted to frames with named columns.
    lengths_, ranges_
        Time steps of the shortest and the longest training case, and the lowest and the highest
        value of each channel in them; absent from models of older versions. Answers to cases
        outside the one, or far outside the other, come with a notice.
    n_features_in_, feature_names_in_
        Number of columns, and their names, if fitted to an (n, L) array or frame.
    scores_
        "loss" (cross-entropy) and "accuracy" on the validation split, of the first training. The
        same cases chose the share of the trained network in the answers, and with the paper's
        presets the epoch. None without a validation split.
    pretrained_
        The encoder of `pretrain`, which `fit` starts from. Clones have none.
    network_, fused_, members_, history_, scaler_, train_config_, notices_, parameters_
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

    task: ClassVar[Task] = "classify"
    classes_: np.ndarray

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
        class_weight: str | Mapping[Any, float] | None = None,
        precision: str = "fp32",
        device: str = "auto",
        random_state: int | np.random.RandomState | None = 2023,
        n_jobs: int | None = None,
        verbose: int = 1,
        callbacks: Sequence[Callback] | None = None,
        init_from: Any = None,
    ):
        super().__init__(
            quality=quality,
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
            n_jobs=n_jobs,
            verbose=verbose,
            callbacks=callbacks,
            init_from=init_from,
        )
        self.class_weight = class_weight

    def check_labels(self, labels: np.ndarray) -> None:
        check_savable(labels)
        classes, n = np.unique(labels), len(labels)
        if _continuous(classes, n):
            raise DataError(
                f"Unknown label type: continuous; expected classes, found {len(classes)} different "
                f"numbers for {n} cases; use ConvTimeNetRegressor to predict numbers (on the "
                "command line convtimenet regress)"
            )

    def truth(self, labels: np.ndarray) -> np.ndarray:
        return in_the_kind_of(labels, self.classes_)

    def _label_encoding(self, labels: np.ndarray) -> np.ndarray:
        classes = np.unique(labels)
        if len(classes) < 2:
            raise DataError(
                f"classification needs at least two classes, found one class: "
                f"{classes.tolist()[0]!r} for all {len(labels)} cases"
            )
        return classes

    def _encode(self, labels: np.ndarray, encoding: np.ndarray) -> np.ndarray:
        labels = in_the_kind_of(labels, encoding)
        if unknown := sorted(set(labels.tolist()) - set(encoding.tolist()), key=str):
            raise DataError(f"the validation cases have classes the training cases lack: {unknown}")
        return np.searchsorted(encoding, labels)

    def _taught(self, ensemble: Any, outputs: np.ndarray, encoding: np.ndarray) -> np.ndarray:
        if not np.array_equal(encoding, ensemble.classes_):
            raise DataError(
                f"the ensemble knows the classes {listing(ensemble.classes_.tolist())}, found "
                f"{listing(encoding.tolist())}; give cases of the same classes as to fit"
            )
        return outputs

    def _config(self, encoding: np.ndarray, **settings: Any) -> ModelConfig:
        return ModelConfig.classification(n_classes=len(encoding), **settings)

    def _label_attributes(self, encoding: np.ndarray) -> dict[str, Any]:
        return {"classes_": encoding}

    def _label_weights(self, labels: np.ndarray, trained: np.ndarray) -> np.ndarray | None:
        given: Any = self.class_weight
        if given is None:
            return None
        try:
            if isinstance(given, str):
                classes = np.unique(trained)
                shares = compute_class_weight(given, classes=classes, y=trained)
                weights = shares[np.searchsorted(classes, labels)]
            else:
                keys = in_the_kind_of(np.array(list(dict(given))), np.unique(labels)).tolist()
                by_label = dict(zip(keys, dict(given).values(), strict=True))
                weights = compute_sample_weight(by_label, labels)
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
            If the number of channels differs from training, or cases are too long for
            pooling="flatten".
        """
        return _probabilities(self._network_outputs(X))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each case, (n,), as a label of the training cases."""
        return self._predictions(self._network_outputs(X))

    def _scores_in_units(self, scores: Scores, encoding: np.ndarray) -> Scores:
        return scores

    def _predictions(self, outputs: np.ndarray) -> np.ndarray:
        return self.classes_[_probabilities(outputs).argmax(axis=1)]

    def _explained_value(self, outputs: np.ndarray, answers: np.ndarray) -> np.ndarray:
        columns = np.searchsorted(self.classes_, answers)
        return _probabilities(outputs)[np.arange(len(outputs)), columns]

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Accuracy; `y` may be left out if `X` holds labels."""
        truth = self.truth(self._labelled(X, y)[1])
        return float(np.average(self.predict(X) == truth, weights=sample_weight))

    def description(self, values: dict[str, Any] | None = None) -> dict[str, Any]:
        found = super().description(values)
        weights = found["parameters"]["class_weight"]
        if isinstance(weights, Mapping):  # keys of JSON objects are strings
            found["parameters"]["class_weight"] = {
                str(label): float(weight) for label, weight in weights.items()
            }
        return found

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        values, arrays = super()._saved_state()
        return described(self.classes_) | values, arrays

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        super()._restore_state(values, arrays)
        self.classes_ = restored(values, self.network_.config.outputs)


def _continuous(classes: np.ndarray, n: int) -> bool:
    """Whether the labels of n cases, of which `classes` are the distinct ones, look like a
    continuous target rather than classes."""
    try:
        numbers = np.unique(classes.astype(np.float64))
    except (TypeError, ValueError):
        return False
    most = len(numbers) > max(2, n / 2)
    fractions = bool((numbers != np.floor(numbers)).any())
    return most and classes.dtype.kind != "b" and (fractions or n >= _FEW)


def _probabilities(outputs: np.ndarray) -> np.ndarray:
    """Class probabilities (n, K) from the network's logits."""
    return torch.from_numpy(outputs).double().softmax(1).numpy()
