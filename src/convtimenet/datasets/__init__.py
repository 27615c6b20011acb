"""The registered benchmark data sets: facts, local files, download and loading."""

from convtimenet.datasets.home import (
    ForecastData,
    data_home,
    fetch,
    info,
    is_local,
    load_classification,
    load_forecasting,
    names,
    verify,
)

__all__ = [
    "ForecastData",
    "data_home",
    "fetch",
    "info",
    "is_local",
    "load_classification",
    "load_forecasting",
    "names",
    "verify",
]
