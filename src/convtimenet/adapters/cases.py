"""What the sktime and aeon wrappers share: parameters and the wrapped estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from convtimenet.callbacks import Callback
from convtimenet.estimators.classifier import ConvTimeNetClassifier
from convtimenet.estimators.labelled import LabelledEstimator
from convtimenet.estimators.regressor import ConvTimeNetRegressor

__all__ = ["ClassifierWrapper", "RegressorWrapper", "small_settings"]


def small_settings() -> dict[str, Any]:
    """Settings for the libraries' test suites: a small network, one epoch."""
    sizes = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5), "random_patches": 1}
    return {"n_epochs": 1, "device": "cpu", "model": sizes, "training": {"refit": False}}


class _CasesWrapper:
    """Wrapper of one of our estimators; comes before the library's base class in the bases."""

    wrapped: ClassVar[type[LabelledEstimator]]
    estimator_: Any
    get_params: Any

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
        n_jobs: int | None = 1,
        verbose: int = 0,
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
        super().__init__()

    def _fit(self, X: Any, y: np.ndarray) -> Self:
        self.estimator_ = self.wrapped(**self.get_params(deep=False)).fit(X, y)
        return self

    def _predict(self, X: Any) -> np.ndarray:
        return self.estimator_.predict(X)


class RegressorWrapper(_CasesWrapper):
    """Wrapper of our regressor."""

    wrapped = ConvTimeNetRegressor


class ClassifierWrapper(_CasesWrapper):
    """Wrapper of our classifier."""

    wrapped = ConvTimeNetClassifier

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
        n_jobs: int | None = 1,
        verbose: int = 0,
        callbacks: Sequence[Callback] | None = None,
        init_from: Any = None,
    ):
        self.class_weight = class_weight
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

    def _predict_proba(self, X: Any) -> np.ndarray:
        return self.estimator_.predict_proba(X)
