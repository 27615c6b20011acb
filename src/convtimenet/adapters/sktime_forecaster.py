"""The forecaster as an sktime forecaster (extra ``sktime``).

from convtimenet.adapters.sktime_forecaster import ConvTimeNetForecaster
model = ConvTimeNetForecaster().fit(y, fh=[1, 2, 3])
model.predict_interval(coverage=[0.8, 0.95])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, ClassVar, Self

import numpy as np

from convtimenet.callbacks import Callback
from convtimenet.errors import DataError, MissingExtraError
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster as Core

try:
    import pandas as pd
    from sktime.forecasting.base import (  # pyright: ignore[reportMissingImports]
        BaseForecaster,
        ForecastingHorizon,
    )
except ImportError as error:
    raise MissingExtraError("sktime", "sktime", "the sktime forecaster") from error


def _infer_step(index: pd.Index) -> Any:
    """The time step of an index; None if it has none."""
    if isinstance(index, pd.PeriodIndex):
        return index.freq
    if isinstance(index, pd.DatetimeIndex):
        return index.freq or (pd.infer_freq(index) if len(index) > 2 else None)
    return int(np.gcd.reduce(np.diff(index.to_numpy()))) or 1 if len(index) > 1 else 1


def _on_grid(y: pd.DataFrame, step: Any) -> pd.DataFrame:
    """Reindex to a regular grid: rows that are left out become missing values.

    Raises
    ------
    DataError
        If the index is not regular with this step.
    """
    index = y.index
    if step is None or len(index) < 2:
        return y
    first, last = index[0], index[-1]
    if isinstance(index, pd.PeriodIndex):
        grid: pd.Index = pd.period_range(first, last, freq=step)
    elif isinstance(index, pd.DatetimeIndex):
        grid = pd.date_range(first, last, freq=step)
    else:
        grid = pd.Index(np.arange(first, last + 1, step))
    if not index.isin(grid).all():
        raise DataError(
            f"expected an index in steps of {step}, as the model was fitted to, found "
            f"{index[~index.isin(grid)][0]} after {first}; resample the series"
        )
    return y if len(grid) == len(index) else y.reindex(grid)


_SIDES = (("lower", "lo", -np.inf), ("upper", "hi", np.inf))


class ConvTimeNetForecaster(BaseForecaster):
    """ConvTimeNet as an sktime forecaster; one network for all columns of `y`.

    The horizon is the last step of `fh`. Intervals are conformal, calibrated on the validation
    split (`convtimenet.estimators.forecasting.intervals`); if that has too few windows for a level
    they are infinitely wide. `update` makes forecasts start from newer values and does not change
    the weights. Rows that the index leaves out are missing values; if `update` gets a row again,
    the newer one replaces it.

    Parameters
    ----------
    input_size, quality, preset, scale, model, training, n_epochs, batch_size, lr, time_limit, \
precision, device, random_state, verbose, callbacks
        As in `convtimenet.ConvTimeNetForecaster`.

    Examples
    --------
    >>> from convtimenet.adapters.sktime_forecaster import ConvTimeNetForecaster
    >>> from sktime.datasets import load_airline
    >>> model = ConvTimeNetForecaster(n_epochs=1).fit(load_airline(), fh=[1, 2, 3])
    >>> len(model.predict())
    3
    """

    _tags: ClassVar[dict[str, Any]] = {
        "authors": "convtimenet",
        "maintainers": "convtimenet",
        "python_dependencies": ["torch"],
        "capability:multivariate": True,
        "capability:exogenous": False,
        "capability:insample": False,
        "capability:pred_int": True,
        "capability:pred_int:insample": False,
        "capability:missing_values": True,
        "capability:update": True,
        "capability:random_state": True,
        "property:randomness": "derandomized",
        "requires-fh-in-fit": True,
        "y_inner_mtype": "pd.DataFrame",
        "X_inner_mtype": "pd.DataFrame",
    }

    def __init__(
        self,
        input_size: int | None = None,
        *,
        quality: str = "auto",
        preset: str = "auto",
        scale: bool = True,
        model: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        n_epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        time_limit: float | None = None,
        precision: str = "fp32",
        device: str = "auto",
        random_state: int = 2023,
        verbose: int = 0,
        callbacks: Sequence[Callback] | None = None,
    ):
        self.input_size = input_size
        self.quality = quality
        self.preset = preset
        self.scale = scale
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
        self.callbacks = callbacks
        super().__init__()

    def _fit(self, y: pd.DataFrame, X: Any, fh: ForecastingHorizon) -> Self:
        steps = fh.to_relative(self.cutoff).to_numpy()
        self.model_ = Core(int(steps.max()), **self.get_params(deep=False))
        self._step = _infer_step(y.index)
        y = _on_grid(y, self._step)
        self.model_.fit(y.to_numpy(dtype=np.float64))
        self._recent = self._last_rows(y)
        return self

    def _predict(self, fh: ForecastingHorizon, X: Any) -> pd.DataFrame:
        return self._frame(self.model_.predict(self._values), fh)

    def _predict_interval(
        self, fh: ForecastingHorizon, X: Any, coverage: list[float]
    ) -> pd.DataFrame:
        calibration = self.model_.calibration_
        levels = {one: 100 * one for one in coverage if one > 0}
        possible = {
            one: level
            for one, level in levels.items()
            if calibration is not None and calibration.reaches(level)
        }
        bands = self.model_.predict(self._values, level=list(possible.values()))
        columns = pd.MultiIndex.from_product([self._get_varnames(), coverage, ["lower", "upper"]])
        found = pd.DataFrame(index=fh.to_absolute_index(self.cutoff), columns=columns, dtype=float)
        for one, (side, name, beyond) in product(coverage, _SIDES):
            if one in levels and one not in possible:
                found.loc[:, (slice(None), one, side)] = beyond
                continue
            # an interval with coverage 0 is the forecast itself
            bound = bands[f"{name}-{levels[one]:g}" if one in levels else "forecast"]
            for variable, values in self._frame(bound, fh).items():
                found[(variable, one, side)] = values
        return found

    def _update(self, y: pd.DataFrame, X: Any = None, update_params: bool = True) -> Self:
        recent = self._recent
        newer = y.set_axis(recent.columns, axis=1) if y.shape[1] == 1 else y.loc[:, recent.columns]
        before = recent.loc[~recent.index.isin(newer.index)]
        joined = pd.DataFrame(pd.concat([before, newer])).sort_index()
        self._recent = self._last_rows(_on_grid(joined, self._step))
        return self

    def _last_rows(self, y: pd.DataFrame) -> pd.DataFrame:
        """The last rows, of one context; at least two, so that their step can be inferred."""
        return y.iloc[-max(2, self.model_.network_.config.context_length) :]

    @property
    def _values(self) -> np.ndarray:
        return self._recent.to_numpy(dtype=np.float64)

    def _frame(self, values: np.ndarray, fh: ForecastingHorizon) -> pd.DataFrame:
        """The forecasts (h, C) for the steps of `fh`, indexed by its time stamps."""
        steps = fh.to_relative(self.cutoff).to_numpy().astype(int)
        return pd.DataFrame(
            values[steps - 1],
            index=fh.to_absolute_index(self.cutoff),
            columns=self._get_varnames(),
        )

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Settings for sktime's test suite: small networks, few epochs."""
        small = {"d_model": 4, "d_ff": 8, "kernel_sizes": (3,), "patch_size": 2, "patch_stride": 1}
        quantiles = small | {"quantiles": (0.1, 0.5, 0.9)}
        common = {"input_size": 4, "n_epochs": 1, "device": "cpu", "model": small}
        return [
            common,
            common | {"scale": False, "training": {"refit": False}, "model": quantiles},
            {"input_size": 4, "quality": "fast", "device": "cpu"},
        ]
