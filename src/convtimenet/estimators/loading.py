"""Load a saved model of any task."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

from convtimenet.estimators.classifier import ConvTimeNetClassifier
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.estimators.regressor import ConvTimeNetRegressor
from convtimenet.storage.manifest import DESCRIPTION

__all__ = ["AnyModel", "kind_of", "load_model"]

AnyModel = ConvTimeNetForecaster | ConvTimeNetClassifier | ConvTimeNetRegressor
_KINDS: dict[str, type[AnyModel]] = {
    kind.__name__: kind
    for kind in (ConvTimeNetForecaster, ConvTimeNetClassifier, ConvTimeNetRegressor)
}


def kind_of(folder: str | PathLike[str]) -> type[AnyModel]:
    """The estimator that a folder says it holds; that is not verified before it is loaded. For a
    folder that says nothing, the forecaster, whose `load` reports what is wrong."""
    try:
        found = json.loads((Path(folder) / DESCRIPTION).read_text(encoding="utf-8"))
        return _KINDS[found["kind"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ConvTimeNetForecaster


def load_model(folder: str | PathLike[str], device: str = "auto") -> AnyModel:
    """Load a saved forecaster, classifier or regressor.

    Raises
    ------
    ArtefactError
        If the folder holds none, is incomplete or damaged.
    ConfigError
        If there is no such device.
    """
    return kind_of(folder).load(folder, device=device)
