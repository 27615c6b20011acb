"""What a forecaster answers once its network is fitted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from convtimenet.data.frequency import season_of
from convtimenet.data.split import FittedRows, Rows
from convtimenet.data.tables import Table
from convtimenet.data.windows import Windows
from convtimenet.devices import autocast, device_of
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.base import finite
from convtimenet.estimators.forecasting.forecasts import as_given, check_steps, forecast_series
from convtimenet.estimators.forecasting.intervals import (
    DEFAULT_LEVELS,
    Calibration,
    IntervalSums,
    calibrate,
    check_levels,
)
from convtimenet.estimators.forecasting.panel import evaluate_windows, roll
from convtimenet.estimators.forecasting.table_reader import TableReader
from convtimenet.progress import showing
from convtimenet.training.metrics import ForecastEvaluation

if TYPE_CHECKING:
    from convtimenet.estimators.explain import ForecastExplanation

__all__ = ["FittedForecaster"]

log = logging.getLogger(__name__)


class FittedForecaster(TableReader):
    """Base of `ConvTimeNetForecaster`, which adds the constructor and ``fit``; not used by itself.

    Forecasts, intervals, explanations and scores of the tables that the estimator is given.
    """

    calibration_: Calibration | None
    """What intervals are made from; None where no rows were held back for it."""
    fitted_rows_: FittedRows | None
    """Up to where the weights were fitted; None where an earlier version's folder does not tell."""

    def calibrate(
        self,
        X: Any,
        *,
        first_row: int | np.ndarray | None = None,
        end: int | np.ndarray | None = None,
    ) -> Self:
        """Make the intervals anew, from the errors on windows of a table.

        `fit` has done so with the validation rows. Rows that chose nothing are better
        still; give them here, or newer ones.

        Parameters
        ----------
        X, first_row, end
            As for `evaluate`: windows with targets in rows [first_row, end). Those that the weights
            were fitted to, by their series and time stamps, are left out, and a notice says how
            many. Rows without stamps, as of an array, are known by their values.

        Raises
        ------
        DataError
            If the weights were fitted to all of the rows, no window fits or no value in them is
            known.
        """
        check_is_fitted(self, "fused_")
        table = self.adapt(X)
        if self.fitted_rows_ is None:
            log.warning(
                "the model's folder is of an earlier version and does not tell which rows its "
                "weights were fitted to; see that none of them are given to calibrate with"
            )
        # without scaling a table may hold other channels, of the same times
        elif {*table.channels} & {*self.channels_}:
            first_row, notices = self.fitted_rows_.behind(table, first_row, end)
            for notice in notices:
                log.warning(notice)
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
            long one may hold series that training did not see, of any length. It must agree with
            the table of `fit`: the same step (one too short to have a step has the model's), a time
            zone where that had one. Stamps in another zone are read as the same instants, ids and
            texts under any of their writings (1, 1.0 and "1"); a notice says what was converted.
        future
            A plan: the `futr_exog` columns for the `h` rows after the end of every series, in the
            same form as the table, or a `Table`. Other rows and columns are left aside. The network
            reads whole horizons, and any step may depend on all of them: rows behind the first `h`
            are read where the plan has them, and are missing where it does not (numbers as their
            mean in training, texts as none of the categories), which a notice says.
        h
            Steps to forecast, by default the trained horizon. Fewer are cut from it; for more the
            model reads its own forecasts. A notice says so, and frames mark those steps in a column
            "rolled".
        level
            Per cents that intervals shall cover, such as ``[80, 95]``; none by default. See
            `convtimenet.estimators.forecasting.intervals` and ``calibrate``.

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
            If rows are too few, channels differ from the fitted ones where that matters, the table
            or the plan does not agree with what the model was fitted to (step, time zone, ids, text
            for numbers), a covariate of the rows ahead is missing (naming the columns, the first
            stamp and series) or there twice, or intervals are asked for and the calibration is
            absent or too small.
        ConfigError
            If `h` is no such number, or intervals are asked for beyond the trained horizon.
        """
        check_is_fitted(self, "fused_")
        table = self.tail_ if X is None else self.adapt(X)
        values, notices = self._forecast(table, h, level, future)
        return as_given(table, values, h, self.network_.config.outputs, level, notices)

    def forecast(self, values: np.ndarray, h: int | None = None) -> np.ndarray:
        """Forecast from the last `input_size` rows of (T, C) values of one series to (h, C), units
        kept. NaN is a missing value.

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
        """Forecast every series of a `Table` as `adapt` gives it.

        Returns
        -------
        ndarray, shape (S h, C), or (S h, C K) with `level`
            One series after the other, in the data's units; the K columns of a channel are its
            forecast and then the bounds (`band_names` of `forecasting.intervals`).

        Raises
        ------
        DataError, ConfigError
            As `predict`.
        """
        check_is_fitted(self, "fused_")
        return self._forecast(table, h, level, future)[0]

    def _forecast(
        self, table: Table, h: int | None, level: Any, future: Any
    ) -> tuple[np.ndarray, list[str]]:
        """What `forecast_table` gives, and notices about the plan."""
        steps, H = self._steps(h), self.network_.config.outputs
        levels = () if level is None else check_levels(level)
        radii = [self._calibrated().radius(one) for one in levels]
        if radii and steps > H:
            raise ConfigError(
                f"intervals reach the trained horizon of {H} steps, "
                f"found h={steps}; ask for fewer steps, for no level, or train with a longer h"
            )
        plan, notices = self._plan(table, future, steps)
        with showing("forecasting", self.verbose):
            found = forecast_series(
                self.fused_, self._reader, self.train_config_, table, steps, radii, plan
            )
        return found.reshape(len(table.lengths) * steps, -1), notices

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
        steps = spans_of(spans, config.context_length)
        table = chosen(self.tail_ if X is None else self.adapt(X), series)
        plan, _ = self._plan(table, future, config.outputs)
        with (
            showing("explaining", self.verbose),
            torch.inference_mode(),
            autocast(reader.device, self.train_config_),
        ):
            windows, scaler = reader.contexts(table, reader.ahead(config.outputs), plan)
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
        time stamps tell which they are. Rows that those weights were fitted to are scored as well,
        and a notice says how many.

        Parameters
        ----------
        X
            A table, as for `predict`.
        first_row, end
            Score only targets in rows [first_row, end), of each series for a long table, as numbers
            or arrays (S,); contexts may reach back before it. By default every row that has a whole
            context before it, and the last rows of series that are too short for one. Series that
            training did not see are scaled by the rows before the first scored one.
        level
            Per cents of the intervals to score; by default 80 and 95, as far as the calibration
            reaches.
        season
            Steps that the seasonal-naive forecast repeats; by default those of a day, week or year,
            as the step suggests.
        """
        check_is_fitted(self, "fused_")
        return self._evaluated(self.adapt(X), first_row, end, level, season)

    def _evaluated(
        self, table: Table, first_row: Rows | None, end: Rows | None, level: Any, season: int | None
    ) -> ForecastEvaluation:
        """`evaluate` of a table that is read and adapted."""
        # without scaling a table may hold other channels, of the same times
        seen = 0
        if self.fitted_rows_ is not None and {*table.channels} & {*self.channels_}:
            seen = self.fitted_rows_.seen(table, first_row, end)
        if seen:
            log.warning(
                "the weights were fitted to %d of the rows to score: errors there are smaller than "
                "on new rows",
                seen,
            )
        panel, windows = self._reader.windows(table, first_row, end)
        intervals = self._interval_sums(level, len(table.channels), panel.values.device)
        device = panel.values.device
        with showing("scoring", self.verbose), autocast(device, self.train_config_):
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

    def _steps(self, h: int | None) -> int:
        """Steps to forecast."""
        if h is None:
            return self.network_.config.outputs
        check_steps("h, the steps to forecast,", h)
        return int(h)

    def _calibrate(self, windows: Windows) -> Calibration:
        device = device_of(self.fused_)
        with showing("calibrating intervals", self.verbose), autocast(device, self.train_config_):
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
