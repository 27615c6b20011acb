"""ConvTimeNet: forecasting and classification of multivariate time series by deep convolution.

The names below are loaded when first used, so that importing the package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "ConvTimeNetClassifier": "classifier",
    "ConvTimeNetForecaster": "forecaster",
    "ConvTimeNetRegressor": "regressor",
    "ModelConfig": "config",
    "TrainConfig": "config",
    "ConvTimeNet": "model",
    "fuse": "inference",
    "from_original": "original",
}
__all__ = [
    "ConvTimeNet",
    "ConvTimeNetClassifier",
    "ConvTimeNetForecaster",
    "ConvTimeNetRegressor",
    "ModelConfig",
    "TrainConfig",
    "__version__",
    "from_original",
    "fuse",
]

if TYPE_CHECKING:
    from convtimenet.classifier import ConvTimeNetClassifier as ConvTimeNetClassifier
    from convtimenet.config import ModelConfig as ModelConfig
    from convtimenet.config import TrainConfig as TrainConfig
    from convtimenet.forecaster import ConvTimeNetForecaster as ConvTimeNetForecaster
    from convtimenet.inference import fuse as fuse
    from convtimenet.model import ConvTimeNet as ConvTimeNet
    from convtimenet.original import from_original as from_original
    from convtimenet.regressor import ConvTimeNetRegressor as ConvTimeNetRegressor


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
