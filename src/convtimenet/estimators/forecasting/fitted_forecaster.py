"""What a fitted forecaster does: predict, calibrate, explain, evaluate."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from convtimenet.data.split import FittedRows, Rows
from convtimenet.data.tables import Table
from convtimenet.data.windows import Windows
from convtimenet.devices import autocast, device_of
from convtimenet.errors import DataError
from convtimenet.estimators.base import finite
from convtimenet.estimators.forecasting.calibration import (
    DEFAULT_LEVELS,
    Calibration,
    check_horizon,
    check_levels,
)
from convtimenet.estimators.forecasting.forecasts import (
    Request,
    as_given,
    check_steps,
    forecast_series,
)
from convtimenet.estimators.forecasting.intervals import IntervalSums, calibrate
from convtimenet.estimators.forecasting.panel import evaluate_windows, roll
from convtimenet.estimators.forecasting.plans import naive_season, scored_windows
from convtimenet.estimators.forecasting.table_reader import TableReader
from convtimenet.estimators.parameters import unfitted
from convtimenet.estimators.presets.derived import PRETRAINED
from convtimenet.progress import showing
from convtimenet.training.closed_form.effects import Effect, covariate_effects
from convtimenet.training.metrics import ForecastEvaluation

if TYPE_CHECKING:
    from convtimenet.estimators.explain import ForecastExplanation

__all__ = ["FittedForecaster"]

log = logging.getLogger(__name__)


class FittedForecaster(TableReader):
    """Base of `ConvTimeNetForecaster`, which adds the constructor and ``fit``; not used by itself.

    Forecasts, intervals, explanations and scores of tables.
    """

    calibration_: Calibration | None
    """Calibration of the intervals; None if there were no rows for it."""
    fitted_rows_: FittedRows | None
    """The last row that the weights were fitted to, per series; None for a model saved by an
    earlier version that did not record it."""

    def calibrate(
        self,
        X: Any,
        *,
        first_row: int | np.ndarray | None = None,
        end: int | np.ndarray | None = None,
    ) -> Self:
        """Recalibrate the intervals with the errors on windows of a table.

        `fit` calibrates on the validation split. Rows that were not used to choose the epoch are
        better; pass them here, or newer ones.

        Parameters
        ----------
        X, first_row, end
            As for `evaluate`: windows with targets in rows [first_row, end). Rows that the weights
            were fitted to, found by series and time stamp, are left out, and a notice says how
            many. Rows without time stamps, as in an array, are found by their values.

        Raises
        ------
        DataError
            If the weights were fitted to all of the rows, no window fits, or all values in them
            are missing.
        """
        check_is_fitted(self, "fused_")
        table = self._to_score(X, first_row, end)
        if self.fitted_rows_ is None:
            log.warning(
                "the model was saved by an earlier version, which did not record the rows that its "
                "weights were fitted to; make sure to calibrate on other rows"
            )
        # with scale=False a table may hold other channels at the same times
        elif {*table.channels} & {*self.channels_}:
            first_row, notices = self.fitted_rows_.behind(table, first_row, end)
            for notice in notices:
                log.warning(notice)
        self.calibration_ = self._calibrate(self.windows(table, first_row, end)[1])
        return self

    @classmethod
    def pretrained(cls, h: int = 96, **parameters: Any) -> Self:
        """A forecaster that needs no training, ``quality="pretrained"``: `predict` answers for any
        table at once, which it then does not remember; `fit` keeps one as usual, and scores it.

        Parameters
        ----------
        h
            Horizon.
        parameters
            As for the class.
        """
        kind: Any = cls
        return kind(h, quality=PRETRAINED, **parameters)

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
            long table may hold series that training did not see, of any length. It must agree with
            the table of `fit`: the same step (assumed if the table is too short to have one), and a
            time zone if that had one. Time stamps in another zone are converted; ids and texts
            match in any spelling (1, 1.0 and "1"); a notice says what was converted.
        future
            The `futr_exog` columns for the `h` rows after the end of every series, in the same
            format as the table, or a `Table`. Other rows and columns are ignored. The network reads
            whole horizons, and any step may depend on all of them: rows after the first `h` are
            used if given, else treated as missing (numbers as their training mean, texts as no
            category), with a notice.
        h
            Steps to forecast, by default the trained horizon. A shorter forecast is cut from it; a
            longer one is autoregressive: the model reads its own forecasts. A notice says so, and
            frames mark these steps in a column "rolled".
        level
            Levels of the intervals in per cent, such as ``[80, 95]``; none by default. See
            `convtimenet.estimators.forecasting.intervals` and ``calibrate``.

        Returns
        -------
        The same kind of object as the table, in the data's units. For a wide table: future time
        stamps and one column per channel, or (h, C) for a numpy array. For a long table: ids,
        future time stamps and the column "ConvTimeNet", or "ConvTimeNet-<channel>" for each of
        several channels. With `level`, each such column is followed by its bounds:
        ``<column>-lo-95``, ``<column>-lo-80``, ``<column>-hi-80``, ``<column>-hi-95``; for an array
        the result is a dict of arrays (h, C): "forecast", "lo-95" and so on.

        Raises
        ------
        DataError
            If there are too few rows, channels differ from training where that matters, the table
            or `future` does not agree with the training table (step, time zone, ids, text instead
            of numbers), a covariate is missing in the rows ahead (naming the columns, the first
            time stamp and series) or given twice, or the calibration is missing or too small for
            `level`.
        ConfigError
            If `h` is not a number of steps, or `level` is given for more than the trained horizon.
        """
        if X is not None and self.quality == PRETRAINED and not hasattr(self, "fused_"):
            fitted = unfitted(self)
            fitted._fit(X, scored=level is not None)
            return fitted.predict(future=future, h=h, level=level)
        check_is_fitted(self, "fused_")
        table = self.tail_ if X is None else self.adapt(X)
        return self.predict_requests([self.request(table, h, level, future)])[0]

    def request(
        self, table: Table, h: int | None = None, level: Any = None, future: Any = None
    ) -> Request:
        """Check what `predict` is given, for `predict_requests`; `table` is one that `adapt`
        returned.

        Raises
        ------
        DataError, ConfigError
            As `predict`.
        """
        steps, H = self._steps(h), self.network_.config.outputs
        levels = () if level is None else check_levels(level)
        radii = tuple(self._calibrated().radius(one) for one in levels)
        if radii:
            check_horizon(steps, H)
        self._reader.check_rows(table)
        plan, notices = self._plan(table, future, steps)
        notices = (*notices, *self._said_of(table, bool(levels), steps))
        return Request(
            table=table, steps=steps, levels=levels, radii=radii, plan=plan, notices=notices
        )

    def predict_requests(self, requests: Sequence[Request]) -> list[Any]:
        """What `predict` returns for each of several requests of the same `Request.kind`, computed
        in common batches.

        Raises
        ------
        DataError
            If a forecast is not finite.
        """
        H = self.network_.config.outputs
        return [
            as_given(one.table, values, one.steps, H, one.levels, one.notices)
            for one, values in zip(requests, self._forecasts(requests), strict=True)
        ]

    def forecast(self, values: np.ndarray, h: int | None = None) -> np.ndarray:
        """Forecast one series: from the last `input_size` rows of values (T, C) to (h, C), in the
        same units. NaN is a missing value.

        Raises
        ------
        DataError
            If there are too few rows, values are too large, or the model reads covariates.
        """
        check_is_fitted(self, "fused_")
        if self.covariates_.any:
            raise DataError(
                "the model reads covariates, which forecast does not take; use predict with a table"
            )
        windows, scaler = self._reader.context_of(values)
        steps, device = self._steps(h), windows.starts.device
        with torch.inference_mode(), autocast(device, self.train_config_):
            one = torch.zeros_like(windows.starts)
            found = roll(self.fused_, windows, one, steps, self.network_.config.quantiles)
        return finite(scaler.invert(found[0].cpu().double().numpy()).T)

    def forecast_table(
        self, table: Table, h: int | None = None, level: Any = None, future: Any = None
    ) -> np.ndarray:
        """Forecast every series of a `Table` that `adapt` returned.

        Returns
        -------
        ndarray, shape (S h, C), or (S h, C K) with `level`
            The series in order, in the data's units; the K columns of a channel are its forecast
            and its bounds (`band_names` of `forecasting.calibration`).

        Raises
        ------
        DataError, ConfigError
            As `predict`.
        """
        check_is_fitted(self, "fused_")
        return self._forecasts([self.request(table, h, level, future)])[0]

    def _forecasts(self, requests: Sequence[Request]) -> list[np.ndarray]:
        """(S h, C K) for each request."""
        with showing("forecasting", self.verbose):
            found = forecast_series(self.fused_, self._reader, self.train_config_, requests)
        return [values.reshape(len(values) * values.shape[1], -1) for values in found]

    def effects(self) -> list[Effect]:
        """What each covariate known ahead adds to the forecast, linearly
        (`convtimenet.training.closed_form.effects`); empty without any."""
        check_is_fitted(self, "fused_")
        return covariate_effects(self.network_, self.covariates_, self.scaler_)

    def explain(
        self, X: Any = None, future: Any = None, *, series: Any = None, spans: Any = None
    ) -> ForecastExplanation:
        """Explain forecasts by occlusion: hide one span of the context at a time and measure how
        far each channel's forecast moves.

        Parameters
        ----------
        X, future
            As for `predict`.
        series
            Id or ids of the series of a long table; required if it holds several.
        spans
            Number of spans of equal length that the context is cut into, by default 24 (or its
            number of steps if that is smaller); or pairs (first step, last step + 1).

        Raises
        ------
        DataError
            As `predict`, or if a series is not in the table or `series` is missing.
        ConfigError
            If spans lie outside the context, or `series` is given for a table without ids.

        Notes
        -----
        `convtimenet.estimators.explain` says how spans are hidden, and the limits of the method.
        """
        from convtimenet.estimators.explain import (
            ForecastExplanation,
            chosen_series,
            explain_windows,
            spans_of,
        )

        check_is_fitted(self, "fused_")
        config, reader = self.network_.config, self._reader
        steps = spans_of(spans, config.context_length)
        table = chosen_series(self.tail_ if X is None else self.adapt(X), series)
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
        """Forecast every window of a table and score the forecasts.

        After a second training (`refit`), rows that it saw (by time stamp) are scored with the
        first training's forecaster, `scored_`. Rows that those weights were fitted to are scored
        too, and a notice says how many.

        Parameters
        ----------
        X
            A table, as for `predict`.
        first_row, end
            Score only targets in rows [first_row, end), as numbers or, for a long table, arrays
            (S,) with one per series; contexts may start earlier. By default all rows after the
            first context, and the last rows of series that are too short for one. Series that
            training did not see are scaled by the rows before the first scored one.
        level
            Levels of the intervals to score, in per cent; by default 80 and 95 if the calibration
            suffices.
        season
            Season of the seasonal-naive forecast in steps; by default a day, week or year,
            depending on the step.
        """
        check_is_fitted(self, "fused_")
        return self._evaluated(self._to_score(X, first_row, end), first_row, end, level, season)

    def _evaluated(
        self,
        table: Table,
        first_row: Rows | None,
        end: Rows | None,
        level: Any,
        season: int | None,
        *,
        quick: bool = False,
    ) -> ForecastEvaluation:
        """`evaluate` for a table that `adapt` returned; a `quick` one, which `fit` asks for, scores
        `scored_windows` of rows that the weights were not fitted to."""
        season = naive_season(table, season)
        # with scale=False a table may hold other channels at the same times
        seen = 0
        fitted = None if quick else self.fitted_rows_
        if fitted is not None and {*table.channels} & {*self.channels_}:
            seen = fitted.seen(table, first_row, end)
        if seen:
            log.warning(
                "the weights were fitted to %d of the rows to score: expect smaller errors there "
                "than on new rows",
                seen,
            )
        panel, windows = self.windows(table, first_row, end)
        windows = scored_windows(windows, self.network_.config) if quick else windows
        intervals = self._interval_sums(level, len(table.channels), panel.values.device)
        with showing("scoring", self.verbose), autocast(panel.values.device, self.train_config_):
            return evaluate_windows(
                self.fused_,
                panel,
                windows,
                self.train_config_.batch_size,
                season=season,
                drop_last=self.train_config_.protocol == "paper",
                quantiles=self.network_.config.quantiles,
                usual=self._reader.usual_scale,
                intervals=intervals,
                together=quick,
            )

    def score(self, X: Any, y: None = None) -> float:
        """Negative mean squared error over all windows, in training standard deviations: greater
        is better, as scikit-learn expects."""
        return -self.evaluate(X).scores["mse"]

    def _steps(self, h: int | None) -> int:
        """Steps to forecast: `h`, or the trained horizon."""
        if h is None:
            return self.network_.config.outputs
        check_steps("h, the steps to forecast,", h)
        return int(h)

    def _calibrate(self, windows: Windows, together: bool = False) -> Calibration:
        device = device_of(self.fused_)
        with showing("calibrating intervals", self.verbose), autocast(device, self.train_config_):
            return calibrate(
                self.fused_,
                windows,
                self.network_.config.quantiles,
                self.train_config_.batch_size,
                device,
                shared=not self.scale,  # without scaling the number of channels may change
                together=together,
            )

    def _calibrated(self) -> Calibration:
        if self.calibration_ is None:
            raise DataError(
                "intervals need rows that the weights were not fitted to, and fit had no "
                "validation split; call calibrate with such rows"
            )
        return self.calibration_

    def _interval_sums(self, level: Any, channels: int, device: torch.device) -> list[IntervalSums]:
        found = self.calibration_
        if level is None:
            levels = [one for one in DEFAULT_LEVELS if found is not None and found.reaches(one)]
        else:
            levels = list(check_levels(level))
        return [
            IntervalSums(one, self._calibrated().radius(one), channels, device) for one in levels
        ]
