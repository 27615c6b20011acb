"""ConvTimeNet: forecasting and classification of multivariate time series by deep convolution.

The names below are loaded when first used, so that importing the package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "BulkForecaster": "bulk.predictor",
    "ConvTimeNetClassifier": "estimators.classifier",
    "ConvTimeNetForecaster": "estimators.forecasting.forecaster",
    "ConvTimeNetRegressor": "estimators.regressor",
    "ModelConfig": "config",
    "TrainConfig": "config",
    "ConvTimeNet": "network.model",
    "detect": "estimators.filling.detect",
    "fuse": "network.inference",
    "from_original": "network.original",
    "impute": "estimators.filling.impute",
    "plot": "report",
    "predict_parquet": "bulk.job",
    "tune": "estimators.tuning.search",
    "warm_up": "network.kernels.library",
}
__all__ = [
    "BulkForecaster",
    "ConvTimeNet",
    "ConvTimeNetClassifier",
    "ConvTimeNetForecaster",
    "ConvTimeNetRegressor",
    "ModelConfig",
    "TrainConfig",
    "__version__",
    "detect",
    "from_original",
    "fuse",
    "impute",
    "plot",
    "predict_parquet",
    "tune",
    "warm_up",
]

if TYPE_CHECKING:
    from convtimenet.bulk.job import predict_parquet as predict_parquet
    from convtimenet.bulk.predictor import BulkForecaster as BulkForecaster
    from convtimenet.config import ModelConfig as ModelConfig
    from convtimenet.config import TrainConfig as TrainConfig
    from convtimenet.estimators.classifier import ConvTimeNetClassifier as ConvTimeNetClassifier
    from convtimenet.estimators.filling.detect import detect as detect
    from convtimenet.estimators.filling.impute import impute as impute
    from convtimenet.estimators.forecasting.forecaster import (
        ConvTimeNetForecaster as ConvTimeNetForecaster,
    )
    from convtimenet.estimators.regressor import ConvTimeNetRegressor as ConvTimeNetRegressor
    from convtimenet.estimators.tuning.search import tune as tune
    from convtimenet.network.inference import fuse as fuse
    from convtimenet.network.kernels.library import warm_up as warm_up
    from convtimenet.network.model import ConvTimeNet as ConvTimeNet
    from convtimenet.network.original import from_original as from_original
    from convtimenet.report import plot as plot


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
