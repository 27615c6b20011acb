# pyright: reportMissingImports=false
"""ConvTimeNet as sktime estimators: thin shells around the package's own.

    from convtimenet.adapters.sktime import ConvTimeNetClassifier

Parameters are those of `convtimenet.ConvTimeNetClassifier` and `convtimenet.ConvTimeNetRegressor`,
which do the work and are kept fitted in ``estimator_``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from convtimenet.classifier import ConvTimeNetClassifier as _Classifier
from convtimenet.errors import MissingExtraError
from convtimenet.regressor import ConvTimeNetRegressor as _Regressor

try:
    from sktime.classification.base import BaseClassifier
    from sktime.regression.base import BaseRegressor
except ImportError as error:
    raise MissingExtraError("sktime", "sktime", "the sktime adapter") from error


def _arrays(X: Any) -> Any:
    """Frames (T, C) of the cases as arrays (C, T)."""
    return X if isinstance(X, np.ndarray) else [frame.to_numpy().T for frame in X]


class ConvTimeNetClassifier(BaseClassifier):
    """`convtimenet.ConvTimeNetClassifier` for sktime.

    Examples
    --------
    >>> import numpy as np
    >>> from convtimenet.adapters.sktime import ConvTimeNetClassifier
    >>> time = np.arange(60)
    >>> X = np.stack([np.sin(time / (3 + i % 2 * 4) + i) for i in range(40)])[:, None]
    >>> y = np.array(["fast", "slow"] * 20)
    >>> ConvTimeNetClassifier(n_epochs=3).fit(X, y).predict(X[:2]).shape
    (2,)
    """

    _tags: ClassVar = {
        "X_inner_mtype": ["df-list", "numpy3D"],
        "y_inner_mtype": "numpy1D",
        "capability:multivariate": True,
        "capability:unequal_length": True,
        "capability:missing_values": True,
        "capability:random_state": True,
        "capability:predict_proba": True,
        "capability:class_weight": True,
        "authors": ["The convtimenet developers"],
        "python_dependencies": "torch",
    }

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
        verbose: int = 0,
    ):
        self.preset = preset
        self.model = model
        self.training = training
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.time_limit = time_limit
        self.class_weight = class_weight
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        super().__init__()

    def _fit(self, X: Any, y: np.ndarray) -> ConvTimeNetClassifier:
        self.estimator_ = _Classifier(**self.get_params(deep=False)).fit(_arrays(X), y)
        return self

    def _predict(self, X: Any) -> np.ndarray:
        return self.estimator_.predict(_arrays(X))

    def _predict_proba(self, X: Any) -> np.ndarray:
        return self.estimator_.predict_proba(_arrays(X))

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Settings for sktime's checks: quick ones."""
        sizes = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5)}
        small = {"n_epochs": 1, "device": "cpu", "model": sizes, "training": {"refit": False}}
        return [small, small | {"preset": "Epilepsy", "random_state": 1}]


class ConvTimeNetRegressor(BaseRegressor):
    """`convtimenet.ConvTimeNetRegressor` for sktime.

    Examples
    --------
    >>> import numpy as np
    >>> from convtimenet.adapters.sktime import ConvTimeNetRegressor
    >>> time = np.arange(60)
    >>> X = np.stack([np.sin(time / (3 + i % 2 * 4) + i) for i in range(40)])[:, None]
    >>> y = np.array([3.0, 7.0] * 20)
    >>> ConvTimeNetRegressor(n_epochs=3).fit(X, y).predict(X[:2]).shape
    (2,)
    """

    _tags: ClassVar = {
        "X_inner_mtype": ["df-list", "numpy3D"],
        "y_inner_mtype": "numpy1D",
        "capability:multivariate": True,
        "capability:unequal_length": True,
        "capability:missing_values": True,
        "capability:random_state": True,
        "authors": ["The convtimenet developers"],
        "python_dependencies": "torch",
    }

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
        verbose: int = 0,
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
        super().__init__()

    def _fit(self, X: Any, y: np.ndarray) -> ConvTimeNetRegressor:
        self.estimator_ = _Regressor(**self.get_params(deep=False)).fit(_arrays(X), y)
        return self

    def _predict(self, X: Any) -> np.ndarray:
        return self.estimator_.predict(_arrays(X))

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Settings for sktime's checks: quick ones."""
        sizes = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5)}
        small = {"n_epochs": 1, "device": "cpu", "model": sizes, "training": {"refit": False}}
        return [small, small | {"preset": "Epilepsy", "random_state": 1}]
