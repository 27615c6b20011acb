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
from convtimenet.data.tables import Table
from convtimenet.data.time.frequency import Frequency
from convtimenet.data.time.inferred import infer_shared_frequency
from convtimenet.errors import ConfigError, DataError, MissingExtraError
from convtimenet.estimators.forecasting.calibration import band_names, check_levels
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster as Core

try:
    import pandas as pd
    from sktime.forecasting.base import (  # pyright: ignore[reportMissingImports]
        BaseForecaster,
        ForecastingHorizon,
    )
except ImportError as error:
    raise MissingExtraError("sktime", "sktime", "the sktime forecaster") from error


def _times(index: pd.Index) -> np.ndarray:
    """Time stamps as datetime64 in UTC, of periods their starts; or whole numbers as int64."""
    if isinstance(index, pd.PeriodIndex):
        index = index.to_timestamp()
    if not isinstance(index, pd.DatetimeIndex):
        return index.to_numpy(np.int64)
    return (index if index.tz is None else index.tz_convert(None)).to_numpy("datetime64[ns]")


def _zone(index: pd.Index) -> str | None:
    zone = getattr(index, "tz", None)
    return None if zone is None else str(zone)


def _frequency_of(index: pd.Index, step: Any) -> Frequency | None:
    """The frequency of an index, whose own is `step` if it is not None; rows may be left out.

    None for a step that the package does not know, such as the third Friday of the month: then
    rows are only counted.

    Raises
    ------
    DataError
        If there are too few rows to infer it from.
    """
    times = _times(index)
    if times.dtype.kind == "i":
        return Frequency("step", int(np.gcd.reduce(np.diff(times))) or 1 if len(times) > 1 else 1)
    if step is None:
        return infer_shared_frequency(times, np.array([0, len(times)]), _zone(index))
    try:
        periods = isinstance(index, pd.PeriodIndex)
        return Frequency.asked(step, times, _zone(index), periods=periods)
    except (ConfigError, DataError):
        return None


def _on_grid(y: pd.DataFrame, step: Any) -> pd.DataFrame:
    """Reindex to a regular grid of rows that are only counted; those left out become missing.

    Raises
    ------
    DataError
        If the index is not regular with this step.
    """
    index = y.index
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
    they are infinitely wide. `update` makes forecasts start behind the last row that it is given,
    from all rows up to there, also if later ones are known; it does not change the weights. Time
    stamps are read as `convtimenet.ConvTimeNetForecaster` reads them: the season follows from their
    step, which is that of the index or of `fh`, else inferred. Steps of an index of whole numbers
    are their greatest common divisor. Rows that the index leaves out are missing values; if
    `update` gets a row again, the newer one replaces it.

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
        self._step = getattr(y.index, "freq", None) or fh.freq
        self._frequency = found = _frequency_of(y.index, self._step)
        self._calendar = found is not None and found.unit != "step"
        if found is not None and not self._calendar:
            self._step = found.count
        freq = found.name if found is not None and self._calendar else None
        steps, _ = self._ahead(fh)
        self.model_ = Core(int(steps.max()), freq=freq, **self.get_params(deep=False))
        self.model_.fit(self._table(y))
        self._rows = y
        return self

    def _predict(self, fh: ForecastingHorizon, X: Any) -> pd.DataFrame:
        return self._frame(self._bands([])[""], fh)

    def _predict_interval(
        self, fh: ForecastingHorizon, X: Any, coverage: list[float]
    ) -> pd.DataFrame:
        calibration = self.model_.calibration_
        # levels below 1 % are rounded up to it, as all are to the grid
        levels = {one: max(1.0, 100 * one) for one in coverage if one > 0}
        possible = {
            one: level
            for one, level in levels.items()
            if calibration is not None and calibration.reaches(level)
        }
        bands = self._bands(list(possible.values()))
        columns = pd.MultiIndex.from_product([self._get_varnames(), coverage, ["lower", "upper"]])
        found = pd.DataFrame(index=self._ahead(fh)[1], columns=columns, dtype=float)
        for one, (side, name, beyond) in product(coverage, _SIDES):
            if one in levels and one not in possible:
                found.loc[:, (slice(None), one, side)] = beyond
                continue
            # an interval with coverage 0 is the forecast itself
            bound = bands[f"{name}-{levels[one]:g}" if one in levels else ""]
            for variable, values in self._frame(bound, fh).items():
                found[(variable, one, side)] = values
        return found

    def _update(self, y: pd.DataFrame, X: Any = None, update_params: bool = True) -> Self:
        rows = self._rows
        newer = y.set_axis(rows.columns, axis=1) if y.shape[1] == 1 else y.loc[:, rows.columns]
        before = rows.loc[~rows.index.isin(newer.index)]
        joined = pd.DataFrame(pd.concat([before, newer])).sort_index()
        self._context(joined)  # refuses rows between the steps
        self._rows = joined
        return self

    def _context(self, rows: pd.DataFrame) -> Table:
        """The last rows up to the cutoff, enough for one context; a backtest sets it back."""
        past = rows.loc[rows.index <= self.cutoff[0]]
        config = self.model_.network_.config
        return self.model_.adapt(self._table(past.iloc[-config.context_length :]))

    def _table(self, y: pd.DataFrame) -> Any:
        """Rows as the wrapped forecaster reads them: by their time stamps if it knows their step,
        else as an array, with NaN for the rows left out. Channels are named by number: a name must
        not make a column one of times or ids."""
        if not self._calendar:
            return _on_grid(y, self._step).to_numpy(dtype=np.float64)
        numbers = y.set_axis([str(i) for i in range(y.shape[1])], axis=1)
        return numbers.astype(np.float64).rename_axis(index=None, columns=None)

    def _bands(self, levels: list[float]) -> dict[str, np.ndarray]:
        """The forecast (h, C), named "", and its bounds.

        Raises
        ------
        DataError
            If there are too few rows up to the cutoff.
        """
        table, least = self._context(self._rows), self.model_.network_.config.least_context
        if len(table.times) < least:
            raise DataError(
                f"a forecast reads at least {least} rows, found {len(table.times)} up to the "
                f"cutoff {self.cutoff[0]}; start a backtest later, or update with earlier rows too"
            )
        values = self.model_.forecast_table(table, level=levels or None)
        values = values.reshape(len(values), len(table.channels), -1)
        return {name: values[:, :, i] for i, name in enumerate(band_names(check_levels(levels)))}

    def _ahead(self, fh: ForecastingHorizon) -> tuple[np.ndarray, pd.Index]:
        """The steps of `fh` after the cutoff (n,), from 1, and their time stamps.

        Raises
        ------
        DataError
            If one is not a whole number of steps after the cutoff.
        """
        cutoff, frequency = self.cutoff, self._frequency
        if frequency is None:
            return fh.to_relative(cutoff).to_numpy().astype(int), fh.to_absolute_index(cutoff)
        given = fh.to_pandas()
        known = fh.freq is not None or getattr(cutoff, "freq", None) is not None
        last, zone = _times(cutoff), _zone(cutoff)
        if fh.is_relative and not known and self._calendar and given.dtype.kind == "i":
            steps = given.to_numpy(np.int64)
            later = pd.DatetimeIndex(frequency.after(last, int(steps.max()), zone)[0][steps - 1])
            return steps, later if zone is None else later.tz_localize("UTC").tz_convert(zone)
        index = fh.to_absolute_index(cutoff)
        steps = frequency.steps(last, _times(index), zone)
        if len(wrong := np.flatnonzero(steps < 1)):
            raise DataError(
                f"expected a horizon in steps of {frequency.name} after {cutoff[0]}, as the rows "
                f"are, found {index[wrong[0]]}; leave it out of fh"
            )
        return steps, index

    def _frame(self, values: np.ndarray, fh: ForecastingHorizon) -> pd.DataFrame:
        """The forecasts (h, C) for the steps of `fh`, indexed by its time stamps."""
        steps, index = self._ahead(fh)
        return pd.DataFrame(values[steps - 1], index=index, columns=self._get_varnames())

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
