"""The registered benchmark sets: which there are, where they lie, how they are fetched and read."""

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
