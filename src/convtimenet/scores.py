"""Scores of forecasts as functions of arrays.

Each returns the mean over all values, or over `axis`. NaN marks missing values, which are skipped.
If all values are missing, or the shapes differ, a `DataError` is raised. Formulas and names follow
Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", 3rd edition, sections 5.8 and
5.9, unless another source is given.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convtimenet.errors import DataError

Axis = int | tuple[int, ...] | None


def mse(y: Any, forecast: Any, *, axis: Axis = None) -> Any:
    """Mean squared error: the mean of ``(y - f)^2``, in squared units."""
    return _mean(np.square(_error(y, forecast)), axis)


def mae(y: Any, forecast: Any, *, axis: Axis = None) -> Any:
    """Mean absolute error: the mean of ``|y - f|``, in the data's units."""
    return _mean(np.abs(_error(y, forecast)), axis)


def rmse(y: Any, forecast: Any, *, axis: Axis = None) -> Any:
    """Root of the mean squared error, in the data's units."""
    return np.sqrt(mse(y, forecast, axis=axis))


def smape(y: Any, forecast: Any, *, axis: Axis = None) -> Any:
    """Symmetric mean absolute percentage error, as a share: the mean of ``|y - f| / (|y| + |f|)``.

    Between 0 and 1; 0 where both are 0. The M4 competition's figure (Makridakis, Spiliotis and
    Assimakopoulos, 2020) is 200 times it.
    """
    error, size = np.abs(_error(y, forecast)), np.abs(_array(y)) + np.abs(_array(forecast))
    return _mean(np.divide(error, size, out=np.zeros_like(error) + 0 * size, where=size > 0), axis)


def mase(y: Any, forecast: Any, train: Any, season: int = 1, *, axis: Axis = None) -> Any:
    """Mean absolute scaled error: the mean absolute error over that of the seasonal-naive forecast
    on the training data, ``mean |y_t - y_{t - season}|`` (Hyndman and Koehler, "Another Look at
    Measures of Forecast Accuracy", 2006).

    Parameters
    ----------
    y, forecast
        (..., h).
    train
        (..., T): the training data, with the same leading dimensions.
    season
        Season length in steps.
    axis
        Axes to average over; None averages over all.

    Raises
    ------
    DataError
        If `train` has no more than `season` steps, no two known values a season apart, other
        leading dimensions, or repeats exactly, so that the scale would be 0.
    """
    error, past = _error(y, forecast), _array(train)
    if past.shape[-1] <= season or season < 1:
        raise DataError(
            f"mase needs more than season={season} training steps and a season of at least 1, "
            f"found {past.shape[-1]} steps"
        )
    if error.shape[:-1] != past.shape[:-1]:
        raise DataError(
            f"training data must have the leading dimensions of y, {error.shape[:-1]}, found an "
            f"array of the shape {past.shape}"
        )
    scale = seasonal_scale(past, season)
    if np.isnan(scale).any():
        raise DataError(
            f"mase has no scale: no two known training values are {season} steps apart; use mae"
        )
    if not (scale > 0).all():
        raise DataError(
            f"the training data repeat exactly after {season} steps, so mase has no scale; use mae"
        )
    return _mean(np.abs(error) / scale[..., None], axis)


def seasonal_scale(train: Any, season: int) -> np.ndarray:
    """Scale of `mase`, (...): the seasonal-naive forecast's mean absolute error on training data
    (..., T); NaN where no two known values are a season apart."""
    past = _array(train)
    change = np.abs(past[..., season:] - past[..., : max(0, past.shape[-1] - season)])
    known = ~np.isnan(change)
    count = known.sum(-1)
    total = np.where(known, change, 0).sum(-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def wape(y: Any, forecast: Any, *, axis: Axis = None) -> Any:
    """Weighted absolute percentage error, as a share: the sum of ``|y - f|`` over that of ``|y|``
    (Kolassa and Schuetz, "Advantages of the MAD/Mean Ratio over the MAPE", 2007).

    Raises
    ------
    DataError
        If all values are 0.
    """
    error = _error(y, forecast)
    size = _mean(np.where(np.isnan(error), np.nan, np.abs(_array(y))), axis)
    if not (np.asarray(size) > 0).all():
        raise DataError("wape has no scale: all values are 0; use mae")
    return _mean(np.abs(error), axis) / size


def pinball(y: Any, forecast: Any, quantile: float, *, axis: Axis = None) -> Any:
    """Pinball (quantile) loss: the mean of ``max(q (y - f), (q - 1) (y - f))``, in the data's units
    (Koenker and Bassett, "Regression Quantiles", 1978).

    Raises
    ------
    DataError
        If the quantile is not between 0 and 1.
    """
    if not 0 < quantile < 1:
        raise DataError(f"quantile must be between 0 and 1, found {quantile!r}")
    error = _error(y, forecast)
    return _mean(np.maximum(quantile * error, (quantile - 1) * error), axis)


def coverage(y: Any, low: Any, high: Any, *, axis: Axis = None) -> Any:
    """Share of values inside ``[low, high]``, the bounds included, which may be infinite."""
    y, low, high = _array(y), _array(low), _array(high)
    for bound in (low, high):
        _check_shape("bounds", y, bound)
    inside = ((low <= y) & (y <= high)).astype(float)
    unknown = np.isnan(y) | np.isnan(low) | np.isnan(high)  # their sum would lose [-inf, inf]
    return _mean(np.where(unknown, np.nan, inside), axis)


def _array(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


def _error(y: Any, forecast: Any) -> np.ndarray:
    y, forecast = _array(y), _array(forecast)
    _check_shape("forecasts", y, forecast)
    return y - forecast


def _check_shape(what: str, y: np.ndarray, given: np.ndarray) -> None:
    if y.shape != given.shape:
        raise DataError(f"{what} must have the shape {y.shape} of y, found {given.shape}")


def _mean(values: np.ndarray, axis: Axis) -> Any:
    known = ~np.isnan(values)
    if not known.any(axis=axis).all():
        raise DataError("no known value to score: every pair of value and forecast has a NaN")
    found = np.where(known, values, 0).sum(axis=axis) / known.sum(axis=axis)
    return float(found) if np.ndim(found) == 0 else found
