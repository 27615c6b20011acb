"""What a forecaster answers once its network is fitted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from convtimenet.data.covariates import Encoder, columns_of
from convtimenet.data.frequency import season_of
from convtimenet.data.sources import Columns, Wanted, read_source
from convtimenet.data.tables import Table, read_table, select_channels
from convtimenet.data.windows import Scaler, Windows
from convtimenet.devices import autocast
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.base import ConvTimeNetEstimator, finite
from convtimenet.estimators.forecasts import as_given, check_steps, forecast_series
from convtimenet.estimators.intervals import (
    DEFAULT_LEVELS,
    Calibration,
    IntervalSums,
    calibrate,
    check_levels,
)
from convtimenet.estimators.panel import evaluate_windows, roll
from convtimenet.estimators.reading import Reader, gap_notices
from convtimenet.training.metrics import ForecastEvaluation

if TYPE_CHECKING:
    from convtimenet.estimators.explain import ForecastExplanation

__all__ = ["FittedForecaster"]

log = logging.getLogger(__name__)


class FittedForecaster(ConvTimeNetEstimator):
    """Base of `ConvTimeNetForecaster`, which adds the constructor and ``fit``; not used by itself.

    Forecasts, intervals, explanations and scores of the tables that the estimator is given.
    """

    scale: bool
    time_col: str | None
    target_cols: Sequence[str] | None
    freq: str | None
    id_col: str | None
    hist_exog: Sequence[str] | None
    futr_exog: Sequence[str] | None
    stat_exog: Sequence[str] | None

    channels_: tuple[str, ...]
    """Channel names, in order."""
    covariates_: Encoder
    """How covariates become numbers."""
    tail_: Table
    """The last rows of every training series, from which `predict` without data starts."""
    calibration_: Calibration | None
    """What intervals are made from; None where no rows were held back for it."""

    def calibrate(
        self,
        X: Any,
        *,
        first_row: int | np.ndarray | None = None,
        end: int | np.ndarray | None = None,
    ) -> Self:
        """Make the intervals anew, from the errors on windows of a table.

        `fit` has done so with the rows that chose the epoch. Rows that chose nothing are better
        still; give them here, or newer ones.

        Parameters
        ----------
        X, first_row, end
            As for `evaluate`: windows with targets in rows [first_row, end), none of which the
            weights were fitted to.

        Raises
        ------
        DataError
            If no window fits or no value in them is known.
        """
        check_is_fitted(self, "fused_")
        table = self._fitted_table(X)
        self.calibration_ = self._calibrate(self._reader.windows(table, first_row, end)[1])
        return self

    def predict(
        self,
        X: Any = None,
        future: Any = None,
        *,
        h: int | None = None,
        level: Any = None,
    ) -> Any:
        """Forecast the steps after the end of every series of a table.

        Parameters
        ----------
        X
            A table with at least `input_size` rows; by default the one the model was fitted to. A
            long one may hold series that training did not see, of any length.
        future
            The `futr_exog` columns for the rows after the end of every series, in the same form as
            the table, or a `Table`: at least as many whole horizons as `h` reaches.
        h
            Steps to forecast, by default the trained horizon. Fewer are cut from it; for more the
            model reads its own forecasts. A notice says so, and frames mark those steps in a column
            "rolled".
        level
            Per cents that intervals shall cover, such as ``[80, 95]``; none by default. See
            `convtimenet.estimators.intervals` and ``calibrate``.

        Returns
        -------
        The same kind of object as the table, in its form, in the data's units: future time stamps
        and one column per channel of a wide table, (h, C) for a numpy array; ids, future time
        stamps and the column "ConvTimeNet" of a long one, "ConvTimeNet-<channel>" for each of
        several channels. With `level` the bounds follow each such column: ``<column>-lo-95``,
        ``<column>-lo-80``, ``<column>-hi-80``, ``<column>-hi-95``; for an array the answer is a
        dict of arrays (h, C): "forecast", "lo-95" and so on.

        Raises
        ------
        DataError
            If rows are too few, channels differ from the fitted ones where that matters, a
            covariate of the rows ahead is missing (naming the columns, the first stamp and series),
            or intervals are asked for and the calibration is absent or too small.
        ConfigError
            If `h` is no such number, or intervals are asked for beyond the trained horizon.
        """
        check_is_fitted(self, "fused_")
        table = self.tail_ if X is None else self._fitted_table(X)
        values = self.forecast_table(table, h, level, future)
        return as_given(table, values, h, self.network_.config.outputs, level)

    def forecast(self, values: np.ndarray, h: int | None = None) -> np.ndarray:
        """Forecast from the last `input_size` rows of (T, C) values of one series to (h, C), units
        kept. NaN is a missing value where the network takes masks.

        Raises
        ------
        DataError
            If rows are too few or too large, or the model reads covariates.
        """
        check_is_fitted(self, "fused_")
        if self.covariates_.any:
            raise DataError("the model reads covariates, which values lack; use predict")
        windows, scaler = self._reader.context_of(values)
        steps, device = self._steps(h), windows.starts.device
        with torch.inference_mode(), autocast(device, self.train_config_):
            one = torch.zeros_like(windows.starts)
            found = roll(self.fused_, windows, one, steps, self.network_.config.quantiles)
        return finite(scaler.invert(found[0].cpu().double().numpy()).T)

    def forecast_table(
        self, table: Table, h: int | None = None, level: Any = None, future: Any = None
    ) -> np.ndarray:
        """Forecast every series of a `Table` as `read` and `adapt` give it.

        Returns
        -------
        ndarray, shape (S h, C), or (S h, C K) with `level`
            One series after the other, in the data's units; the K columns of a channel are its
            forecast and then the bounds, see `convtimenet.estimators.intervals.band_names`.

        Raises
        ------
        DataError, ConfigError
            As `predict`.
        """
        check_is_fitted(self, "fused_")
        steps, H = self._steps(h), self.network_.config.outputs
        given = self._given(table, future)
        levels = () if level is None else check_levels(level)
        radii = [self._calibrated().radius(one) for one in levels]
        if radii and steps > H:
            raise ConfigError(
                f"intervals reach the trained horizon of {H} steps, "
                f"found h={steps}; ask for fewer steps, for no level, or train with a longer h"
            )
        found = forecast_series(
            self.fused_, self._reader, self.train_config_, table, steps, radii, given
        )
        return found.reshape(len(table.lengths) * steps, -1)

    def explain(
        self, X: Any = None, future: Any = None, *, series: Any = None, spans: Any = None
    ) -> ForecastExplanation:
        """Find what the forecast of every channel rests on: hide one span of its context after the
        other and see how far the forecast moves.

        Parameters
        ----------
        X, future
            As for `predict`.
        series
            Id or ids of the series of a long table; needed where it holds several.
        spans
            How many spans of equal length the context is cut into, by default 24 (or as many as it
            has steps); or pairs (first step, step behind the last) within the context.

        Raises
        ------
        DataError
            As `predict`, or if a series is not in the table or none of several is chosen.
        ConfigError
            If spans lie outside the context, or `series` is given for a table without ids.

        Notes
        -----
        `convtimenet.estimators.explain` says how parts are hidden, and what importance is not.
        """
        from convtimenet.estimators.explain import (
            ForecastExplanation,
            chosen,
            explain_windows,
            spans_of,
        )

        check_is_fitted(self, "fused_")
        config, reader = self.network_.config, self._reader
        ahead = config.outputs if self.covariates_.any else 0
        steps = spans_of(spans, config.context_length)
        table = chosen(self.tail_ if X is None else self._fitted_table(X), series)
        given = self._given(table, future)
        with torch.inference_mode(), autocast(reader.device, self.train_config_):
            windows, scaler = reader.contexts(table, ahead, given)
            values, times = reader.context_values(table)
            found = explain_windows(
                self.network_,
                self.fused_,
                windows,
                scaler,
                values,
                steps,
                self.train_config_.batch_size,
                self.covariates_.places,
            )
        return ForecastExplanation(
            **found,
            spans=steps,
            values=values,
            channels=table.channels,
            times=times,
            ids=table.ids,
        )

    def evaluate(
        self,
        X: Any,
        *,
        first_row: int | np.ndarray | None = None,
        end: int | np.ndarray | None = None,
        level: Any = None,
        season: int | None = None,
    ) -> ForecastEvaluation:
        """Forecast every window of a table and compare with what followed.

        After a second training (`refit`) rows that it saw are asked of the first one, `scored_`;
        time stamps tell which they are.

        Parameters
        ----------
        X
            A table, as for `predict`.
        first_row, end
            Score only targets in rows [first_row, end), of each series for a long table, as numbers
            or arrays (S,); contexts may reach back before it. By default every row that has a whole
            context before it, and the last rows of series that are too short for one.
        level
            Per cents of the intervals to score; by default 80 and 95, as far as the calibration
            reaches.
        season
            Steps that the seasonal-naive forecast repeats; by default those of a day, week or year,
            as the step suggests.
        """
        check_is_fitted(self, "fused_")
        return self._evaluated(self._fitted_table(X), first_row, end, level, season)

    def _evaluated(
        self, table: Table, first_row: Any, end: Any, level: Any, season: int | None
    ) -> ForecastEvaluation:
        """`evaluate` of a table that is read and adapted."""
        panel, windows = self._reader.windows(table, first_row, end)
        intervals = self._interval_sums(level, len(table.channels), panel.values.device)
        with autocast(panel.values.device, self.train_config_):
            return evaluate_windows(
                self.fused_,
                panel,
                windows,
                self.train_config_.batch_size,
                season=season_of(table.frequency) if season is None else season,
                drop_last=self.train_config_.protocol == "paper",
                quantiles=self.network_.config.quantiles,
                intervals=intervals,
            )

    def score(self, X: Any, y: None = None) -> float:
        """Minus the mean squared error over every window, in training standard deviations: greater
        is better, as scikit-learn expects."""
        return -self.evaluate(X).scores["mse"]

    def read(self, X: Any) -> Table:
        """The table that `fit` would see."""
        if isinstance(X, Table):
            return X
        return read_table(
            X,
            time_col=self.time_col,
            target_cols=self.target_cols,
            frequency=self.freq,
            id_col=self.id_col,
            covariates=[*(self.hist_exog or ()), *(self.futr_exog or ()), *(self.stat_exog or ())],
        )

    def _fitted_table(self, X: Any) -> Table:
        table = self.adapt(self.read(X))
        for notice in gap_notices(table, self.network_.config.masks, learns=False):
            log.warning(notice)
        return table

    def adapt(self, table: Table) -> Table:
        """The table with the fitted channels in their order, where they matter.

        Raises
        ------
        DataError
            If channels are missing.
        """
        affine = self.network_.config.revin_affine_channels
        if self.scale:
            return select_channels(table, self.channels_)
        if affine and len(table.channels) != affine:
            raise DataError(
                f"the model was fitted with RevIN weights for {affine} channels, the table has "
                f"{len(table.channels)}; give the same channels or fit without "
                "revin_affine_channels"
            )
        return table

    def _given(self, table: Table, future: Any) -> Columns | None:
        """What is given of the covariates ahead; no rows where it is nothing."""
        names = self.futr_exog or ()
        if future is None:
            return Columns.without_rows(table.times, names) if names else None
        if not names:
            raise ConfigError("future=... is given, but the model has no futr_exog; leave it out")
        if isinstance(future, Table):
            return columns_of(future)
        wanted = Wanted(time=self.time_col, targets=(), id=self.id_col, covariates=names)
        return read_source(future, wanted)

    def scaler_for(self, table: Table) -> Scaler:
        """How the series of a table are scaled before the network reads them."""
        return self._reader.scaler_for(table)

    @property
    def _reader(self) -> Reader:
        """How the network reads tables."""
        device = next(self.fused_.buffers()).device
        config, ids = self.network_.config, self.tail_.ids
        return Reader(config, self.scaler_, self.covariates_, ids, device)

    def _steps(self, h: int | None) -> int:
        """Steps to forecast."""
        if h is None:
            return self.network_.config.outputs
        check_steps("h, the steps to forecast,", h)
        return int(h)

    def _calibrate(self, windows: Windows) -> Calibration:
        device = next(self.fused_.buffers()).device
        with autocast(device, self.train_config_):
            return calibrate(
                self.fused_,
                windows,
                self.network_.config.quantiles,
                self.train_config_.batch_size,
                device,
                shared=not self.scale,  # such a model forecasts any number of channels
            )

    def _calibrated(self) -> Calibration:
        if self.calibration_ is None:
            raise DataError(
                "intervals need rows that the weights were not fitted to, and fit held none back; "
                "call calibrate with such rows"
            )
        return self.calibration_

    def _interval_sums(self, level: Any, channels: int, device: torch.device) -> list[IntervalSums]:
        known = self.calibration_
        if level is None:
            levels = [one for one in DEFAULT_LEVELS if known is not None and known.reaches(one)]
        else:
            levels = list(check_levels(level))
        return [
            IntervalSums(one, self._calibrated().radius(one), channels, device) for one in levels
        ]
