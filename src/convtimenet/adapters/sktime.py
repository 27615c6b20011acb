# pyright: reportMissingImports=false
"""ConvTimeNet as sktime estimators: thin wrappers of the package's own.

    from convtimenet.adapters.sktime import ConvTimeNetClassifier

Parameters are those of `convtimenet.ConvTimeNetClassifier` and `convtimenet.ConvTimeNetRegressor`,
but by default `verbose` is 0, and `n_jobs` 1, which means the same as None; the fitted estimator is
in ``estimator_``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from convtimenet.adapters.cases import ClassifierWrapper, RegressorWrapper, small_settings
from convtimenet.errors import MissingExtraError

try:
    from sktime.classification.base import BaseClassifier
    from sktime.regression.base import BaseRegressor
except ImportError as error:
    raise MissingExtraError("sktime", "sktime", "the sktime adapter") from error

_TAGS = {
    "X_inner_mtype": ["df-list", "numpy3D"],
    "y_inner_mtype": "numpy1D",
    "capability:multivariate": True,
    "capability:unequal_length": True,
    "capability:missing_values": True,
    "capability:random_state": True,
    "authors": ["The convtimenet developers"],
    "python_dependencies": "torch",
}


class ConvTimeNetClassifier(ClassifierWrapper, BaseClassifier):
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
        **_TAGS,
        "capability:predict_proba": True,
        "capability:class_weight": True,
    }

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Settings for sktime's test suite: a small network, one epoch."""
        return [small_settings(), small_settings() | {"preset": "Epilepsy", "random_state": 1}]


class ConvTimeNetRegressor(RegressorWrapper, BaseRegressor):
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

    _tags: ClassVar = _TAGS

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Settings for sktime's test suite: a small network, one epoch."""
        return [small_settings(), small_settings() | {"preset": "Epilepsy", "random_state": 1}]
