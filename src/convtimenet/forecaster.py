"""`ConvTimeNetForecaster`: tables in, forecasts out in the data's own units."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from convtimenet.base import ConvTimeNetEstimator, finite
from convtimenet.config import ModelConfig
from convtimenet.covariates import Encoder, columns_of, fill_future, usual_calendar
from convtimenet.devices import autocast, resolve_device
from convtimenet.errors import ConfigError, DataError
from convtimenet.intervals import (
    DEFAULT_LEVELS,
    Bands,
    Calibration,
    IntervalSums,
    band_names,
    calibrate,
    check_levels,
    context_scale,
)
from convtimenet.memory import Parts
from convtimenet.metrics import ForecastEvaluation
from convtimenet.panel import Panel, evaluate_windows, roll
from convtimenet.parts import hold_back, scored_rows, split_rows
from convtimenet.presets import PANEL_EPOCH, Preset, auto_forecast, paper_preset
from convtimenet.remembered import check_fits, from_remembered, remembered
from convtimenet.sources import Columns, Wanted, read_source
from convtimenet.tables import (
    Table,
    crop,
    extend,
    forecast_names,
    future_frame,
    pad_front,
    read_table,
    select_channels,
    select_series,
)
from convtimenet.windows import Scaler, Windows, check_unscaled, float32

if TYPE_CHECKING:
    from convtimenet.explain import ForecastExplanation

log = logging.getLogger(__name__)

_CHUNK = 4096  # series that a forecast holds on the device together


class ConvTimeNetForecaster(ConvTimeNetEstimator):
    """Forecast every channel of every series of a table with one ConvTimeNet.

    A wide table is one series; a long one holds many, of any lengths and beginnings, and one
    network learns from all of them.

    Parameters
    ----------
    h
        Horizon: steps to forecast.
    input_size
        Context: steps the network reads. By default the preset's: 336, less for short tables.
    preset
        "auto" derives patches, kernels and batch size from the data; a data set's name such as
        "ETTh1" takes the paper's hyper-parameters for it.
    scale
        Standardise each channel with the training part's statistics, those of its own series in a
        long table; a series that training did not see is standardised with its own values. Without
        it a model fitted to a wide table forecasts any number and names of channels.
    time_col, target_cols, freq, id_col
        Which column holds the time, which are to be forecast, the step, and which column tells the
        series of a long table apart, where they cannot be found from the table (see
        `convtimenet.tables.read_table`).
    hist_exog, futr_exog, stat_exog
        Columns of covariates, numbers or text: known up to now, known ahead, and one value for a
        whole series. For what is known ahead `predict` needs the rows of the horizon.
    calendar
        Read the time stamps too, as covariates known ahead: names such as "hour", "dayofweek" and
        "month" (`convtimenet.covariates.CALENDAR`), or True for those that the step asks for.
    model
        Settings of `ModelConfig` that replace the preset's.
    training
        Settings of `TrainConfig` that replace the preset's.
    n_epochs, batch_size, lr, time_limit
        The most used of them; None takes the preset's.
    precision
        "fp32" or "bf16".
    device
        "auto" or a torch device.
    random_state
        Seed of weights, batch order and dropout.
    verbose
        1 shows progress on a terminal, 0 is silent.

    Attributes
    ----------
    channels_
        Channel names, in order.
    calibration_
        What intervals are made from; None where no rows were held back for it.
    network_, fused_, history_, scaler_, train_config_, notices_
        See `ConvTimeNetEstimator`.

    Examples
    --------
    >>> import numpy as np
    >>> from convtimenet import ConvTimeNetForecaster
    >>> waves = np.sin(np.arange(300)[:, None] / np.array([3.0, 5.0]))
    >>> model = ConvTimeNetForecaster(h=12, n_epochs=1).fit(waves)
    >>> model.predict().shape
    (12, 2)
    """

    channels_: tuple[str, ...]
    covariates_: Encoder
    """How covariates become numbers."""
    tail_: Table
    """The last rows of every training series, from which `predict` without data starts."""
    calibration_: Calibration | None

    def __init__(
        self,
        h: int = 96,
        input_size: int | None = None,
        *,
        preset: str = "auto",
        scale: bool = True,
        time_col: str | None = None,
        target_cols: Sequence[str] | None = None,
        freq: str | None = None,
        id_col: str | None = None,
        hist_exog: Sequence[str] | None = None,
        futr_exog: Sequence[str] | None = None,
        stat_exog: Sequence[str] | None = None,
        calendar: bool | Sequence[str] = False,
        model: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        n_epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        time_limit: float | None = None,
        precision: str = "fp32",
        device: str = "auto",
        random_state: int = 2023,
        verbose: int = 1,
    ):
        self.h = h
        self.input_size = input_size
        self.preset = preset
        self.scale = scale
        self.time_col = time_col
        self.target_cols = target_cols
        self.freq = freq
        self.id_col = id_col
        self.hist_exog = hist_exog
        self.futr_exog = futr_exog
        self.stat_exog = stat_exog
        self.calendar = calendar
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

    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        split: tuple[int | np.ndarray, int | np.ndarray] | None = None,
        resume: str | PathLike[str] | None = None,
    ) -> Self:
        """Train on a table.

        Parameters
        ----------
        X
            What `convtimenet.tables.read_table` takes: a CSV or Parquet path, a pandas, polars or
            pyarrow frame, wide or long, a numpy array (T,) or (T, C); or a `Table`.
        y
            Ignored; for scikit-learn.
        split
            Rows (train_end, valid_end), of each series for a long table, as numbers or arrays (S,):
            rows before the first train, those up to the second choose the epoch, later ones are not
            looked at. By default the last fifth of each series chooses. Series too short for that
            train whole; of a long table also those shorter than a context and a horizon.
        resume
            Folder in which training leaves its state now and then. The same call goes on from it
            after a kill, and returns the same model once training has ended there.

        Raises
        ------
        DataError
            If the table cannot be used or is too short for one window.
        ConfigError
            If a setting is out of range.
        CheckpointError
            If `resume` holds the training of another run.
        """
        check_steps("h, the horizon,", self.h)
        if self.input_size is not None:
            check_steps("input_size, the context,", self.input_size)
        table = self.read(X)
        lengths = table.lengths
        train_end, valid_end = split_rows(split, lengths)
        preset = self.preset_for(int(np.median(train_end)), len(lengths))
        config = self._model_config(preset, len(table.channels))
        train_config = self._train_config(preset.train)
        device = resolve_device(train_config.device)
        L, H = config.context_length, config.outputs
        notices = list(table.notices)
        if split is None:
            train_end, notice = hold_back(table, train_config.validation_fraction, L, H)
            notices += notice
        if config.masks and table.known is not None:
            notices.append("missing values are masked: the network neither reads nor learns them")
        trains = crop(table, 0, train_end)
        scaler, encoder = self._statistics(trains, config.masks), self._encoder(trains)
        config = replace(config, **encoder.sizes)
        notices += encoder.notices(table)
        if not self.scale:
            notices += check_unscaled(trains.values.T, table.channels)
        # filled values train as any other where the paper's network is asked for
        seen = table if config.masks else replace(table, known=None)
        least = L + H if table.long else 0
        panel = Panel(seen, scaler, least, masks=config.masks, encoder=encoder, device=device)
        examples = panel.windows(L, H, 0, train_end)
        valid = everything = None
        if (valid_end > train_end).any():
            valid = panel.windows(L, H, train_end, valid_end)
            everything = panel.windows(L, H, 0, valid_end)
            if len(lengths) > 1 and len(valid) > PANEL_EPOCH:
                notices.append(
                    f"{PANEL_EPOCH} of {len(valid)} held-back windows, evenly spaced, choose the "
                    "epoch"
                )
                valid = valid.thinned(PANEL_EPOCH)
        log.info("%d windows of %d + %d steps to train on", len(examples), L, H)
        self._fit_network(
            config,
            train_config,
            examples,
            valid,
            everything,
            device,
            notices,
            resume=resume,
            scaler_=scaler,
            channels_=table.channels,
            covariates_=encoder,
            tail_=replace(crop(table, lengths - L, lengths), notices=()),
            calibration_=None,
        )
        # weights fitted to the held-back rows too leave none to calibrate with
        held_back = None if self.history_.refitted else valid
        self.calibration_ = None if held_back is None else self._calibrate(held_back)
        return self

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
        self.calibration_ = self._calibrate(self._cut(self._fitted_table(X), first_row, end)[1])
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
            `convtimenet.intervals` and ``calibrate``.

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
        H = self.network_.config.outputs
        if level is not None:
            names = band_names(check_levels(level))
            if table.origin.kind == "numpy":
                parts = np.moveaxis(values.reshape(len(values), -1, len(names)), -1, 0)
                return dict(zip(["forecast", *names[1:]], parts, strict=True))
            columns = [f"{one}-{n}" if n else one for one in forecast_names(table) for n in names]
            return future_frame(table, values, columns)
        if h is None or h <= H:
            return future_frame(table, values)
        notice = f"steps {H + 1} to {h} rest on the model's own forecasts of the {H} before them"
        log.warning(notice)
        found = future_frame(table, values, rolled=np.arange(h) >= H)
        return replace(found, notices=(notice,)) if isinstance(found, Table) else found

    def forecast(self, values: np.ndarray, h: int | None = None) -> np.ndarray:
        """Forecast from the last `input_size` rows of (T, C) values of one series to (h, C), units
        kept. NaN is a missing value where the network takes masks."""
        check_is_fitted(self, "fused_")
        self._check_rows(len(values))
        if self.covariates_.any:
            raise DataError("the model reads covariates, which values lack; use predict")
        config = self.network_.config
        recent = values[-config.context_length :].T
        missing = np.isnan(recent)
        scaler = self.scaler_
        if scaler.centre.ndim == 3:
            scaler = Scaler.standard(recent, ~missing)
        device = next(self.fused_.buffers()).device
        scaled = torch.from_numpy(float32(scaler.apply(recent))).to(device)
        known = torch.from_numpy(~missing).to(device) if missing.any() else None
        one = torch.zeros(1, dtype=torch.int64, device=device)
        windows = Windows(scaled, one, config.context_length, 0, known, config.masks)
        with torch.inference_mode(), autocast(device, self.train_config_):
            found = roll(self.fused_, windows, one, self._steps(h), config.quantiles)
        return finite(scaler.invert(found[0].cpu().double().numpy()).T)

    def forecast_table(
        self, table: Table, h: int | None = None, level: Any = None, future: Any = None
    ) -> np.ndarray:
        """Forecast every series of a `Table` as `read` and `adapt` give it.

        Returns
        -------
        ndarray, shape (S h, C), or (S h, C K) with `level`
            One series after the other, in the data's units; the K columns of a channel are its
            forecast and then the bounds, see `convtimenet.intervals.band_names`.
        """
        check_is_fitted(self, "fused_")
        steps, H = self._steps(h), self.network_.config.outputs
        ahead = -(-steps // H) * H if self.covariates_.any else 0
        given = self._given(table, future)
        levels = () if level is None else check_levels(level)
        radii = [self._calibrated().radius(one) for one in levels]
        if radii and steps > H:
            raise ConfigError(
                f"intervals reach the trained horizon of {H} steps, "
                f"found h={steps}; ask for fewer steps, for no level, or train with a longer h"
            )
        K = 1 + 2 * len(radii)
        if not table.long:
            self._check_rows(len(table.times))
        device = next(self.fused_.buffers()).device
        found = np.empty((len(table.lengths), steps, len(table.channels), K))
        parts = Parts("predicting")

        def compute(windows: Windows, index: Tensor) -> Callable[[slice], Tensor]:
            return lambda part: self._answers(windows, index[part], steps, radii).double().cpu()

        with torch.inference_mode(), autocast(device, self.train_config_):
            for numbers in _chunks(len(table.lengths)):
                part = select_series(table, numbers)
                windows, scaler = self._contexts(part, ahead, given, device)
                order = torch.arange(len(windows), device=device)
                scaled = [
                    answer
                    for index in order.split(self.train_config_.batch_size)
                    for answer in parts.run(len(index), compute(windows, index))
                ]
                answers = torch.cat(scaled, dim=1).numpy()
                for k in range(K):
                    found[numbers, ..., k] = scaler.invert(answers[k]).swapaxes(1, 2)
        return finite(found.reshape(-1, len(table.channels) * K))

    def _contexts(
        self, table: Table, ahead: int, given: Columns | None, device: torch.device
    ) -> tuple[Windows, Scaler]:
        """The last context of every series, with covariates of so many rows behind it; and what it
        was scaled with."""
        config, scaler = self.network_.config, self._scaler_for(table)
        L, H = config.context_length, config.outputs
        part = crop(table, table.lengths - L, table.lengths)
        now = part.lengths
        if ahead:
            part = extend(part, ahead)
        if given is not None:
            part = fill_future(part, now, given, self.futr_exog or ())
        panel = Panel(
            part,
            scaler,
            L + ahead,
            masks=config.masks,
            encoder=self.covariates_,
            device=device,
        )
        return panel.windows(L, min(ahead, H), now, now + min(ahead, H)), scaler

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
        See `convtimenet.explain` for how parts are hidden, and for what importance is not.
        """
        from convtimenet.explain import ForecastExplanation, chosen, explain_windows, spans_of

        check_is_fitted(self, "fused_")
        config = self.network_.config
        L, ahead = config.context_length, config.outputs if self.covariates_.any else 0
        steps = spans_of(spans, L)
        table = chosen(self.tail_ if X is None else self._fitted_table(X), series)
        if not table.long:
            self._check_rows(len(table.times))
        context = pad_front(crop(table, table.lengths - L, table.lengths), L)
        values = context.values
        if context.known is not None and config.masks:
            values = np.where(context.known, values, np.nan)
        values = values.reshape(-1, L, len(table.channels)).swapaxes(1, 2)
        device = next(self.fused_.buffers()).device
        with torch.inference_mode(), autocast(device, self.train_config_):
            windows, scaler = self._contexts(table, ahead, self._given(table, future), device)
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
            times=context.times.reshape(-1, L),
            ids=table.ids,
        )

    def _answers(
        self, windows: Windows, index: Tensor, steps: int, radii: Sequence[np.ndarray]
    ) -> Tensor:
        """Forecasts and bounds (K, B, C, steps) of numbered windows, scaled as they are."""
        quantiles = self.network_.config.quantiles
        if not radii:
            return roll(self.fused_, windows, index, steps, quantiles)[None]
        batch = windows.batch(index)
        # in float64, so that bounds of rising levels cannot round past one another
        scale = context_scale(batch.x.double(), batch.known)
        bands = Bands(self.fused_(*batch.inputs).double(), scale, quantiles)
        sides = [bands.bounds(radius) for radius in radii]
        low, high = [side[0] for side in reversed(sides)], [side[1] for side in sides]
        return torch.stack([bands.point, *low, *high])[..., :steps]

    def evaluate(
        self,
        X: Any,
        *,
        first_row: int | np.ndarray | None = None,
        end: int | np.ndarray | None = None,
        level: Any = None,
    ) -> ForecastEvaluation:
        """Forecast every window of a table and compare with what followed.

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
        """
        check_is_fitted(self, "fused_")
        table = self._fitted_table(X)
        panel, windows = self._cut(table, first_row, end)
        intervals = self._interval_sums(level, len(table.channels), panel.values.device)
        with autocast(panel.values.device, self.train_config_):
            return evaluate_windows(
                self.fused_,
                panel,
                windows,
                self.train_config_.batch_size,
                drop_last=self.train_config_.protocol == "paper",
                quantiles=self.network_.config.quantiles,
                intervals=intervals,
            )

    def _cut(
        self, table: Table, first_row: int | np.ndarray | None, end: int | np.ndarray | None
    ) -> tuple[Panel, Windows]:
        """The table on the device, and its windows with targets in rows [first_row, end)."""
        config = self.network_.config
        L, H = config.context_length, config.outputs
        device = next(self.fused_.buffers()).device
        first, last = scored_rows(table, first_row, end)
        panel = Panel(
            table,
            self._scaler_for(table),
            L + H if table.long else 0,
            masks=config.masks,
            encoder=self.covariates_,
            device=device,
        )
        return panel, panel.windows(L, H, first, last)

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

    def cross_validation(
        self,
        X: Any,
        *,
        n_windows: int = 1,
        step_size: int | None = None,
        refit: bool | int = False,
        level: Any = None,
        season: int | None = None,
    ) -> Any:
        """Forecast the end of every series as if it were not known yet, in Nixtla's form: ids,
        times, "cutoff", the truth, "ConvTimeNet" and "SeasonalNaive", each with its bounds.

        The estimator itself stays as it is. Parameters, the form of wide tables and a summary of
        scores: `convtimenet.backtest.backtest`.
        """
        from convtimenet.backtest import backtest

        return backtest(
            self,
            X,
            n_windows=n_windows,
            step_size=step_size,
            refit=refit,
            level=level,
            season=season,
        ).frame

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
        return self.adapt(self.read(X))

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

    def preset_for(self, rows: int, series: int = 1) -> Preset:
        """The settings that the estimator's `preset` means for that many series of so many
        training rows."""
        if self.preset == "auto":
            return auto_forecast(rows, self.h, self.input_size, series)
        return paper_preset(self.preset, "forecast")

    def _model_config(self, preset: Preset, channels: int) -> ModelConfig:
        context = preset.context_length if self.input_size is None else self.input_size
        assert context is not None
        config = ModelConfig.forecasting(
            context_length=context, horizon=self.h, **self._model_settings(preset.model)
        )
        if config.revin_affine_channels not in (0, channels):
            raise ConfigError(
                f"revin_affine_channels is {config.revin_affine_channels}, the table has "
                f"{channels} channels; they must be equal"
            )
        return config

    def _statistics(self, table: Table, masks: bool) -> Scaler:
        """Scaling by the values of a table, without the filled ones where there are masks."""
        if not self.scale:
            return Scaler.identity()
        known = None if table.known is None or not masks else table.known.T
        if table.long:
            return Scaler.per_series(table.values.T, known, table.bounds[:-1])
        return Scaler.standard(table.values.T, known)

    def _scaler_for(self, table: Table) -> Scaler:
        """Scaling of the series of a table: as in training where it saw them."""
        if self.scaler_.centre.ndim == 2:
            return self.scaler_
        number = {one: i for i, one in enumerate(self.tail_.ids.tolist())}
        seen = np.array([number.get(one, -1) for one in table.ids.tolist()])
        if (seen >= 0).all():
            return self.scaler_[seen]
        as_long = replace(table, id_name=table.id_name or "", rows=table.lengths)
        own = self._statistics(as_long, self.network_.config.masks)
        return Scaler(
            *(
                np.where((seen >= 0)[:, None, None], of[seen], new)
                for of, new in (
                    (self.scaler_.centre, own.centre),
                    (self.scaler_.scale, own.scale),
                )
            )
        )

    def _encoder(self, table: Table) -> Encoder:
        """Covariates by the values of a table."""
        calendar = usual_calendar(table) if self.calendar is True else self.calendar or ()
        kinds = (self.hist_exog or (), self.futr_exog or (), self.stat_exog or ())
        return Encoder.fit(table, *kinds, calendar)

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

    def _steps(self, h: int | None) -> int:
        """Steps to forecast."""
        if h is None:
            return self.network_.config.outputs
        check_steps("h, the steps to forecast,", h)
        return int(h)

    def _check_rows(self, rows: int) -> None:
        L = self.network_.config.context_length
        if rows < L:
            raise DataError(
                f"the model reads a context of {L} rows, the table has {rows}; give at least {L} "
                "rows"
            )

    def _remembered(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        values, arrays = remembered(self.tail_)
        values["covariates"] = self.covariates_.to_dict()
        if self.calibration_ is not None:
            values["calibration_windows"] = self.calibration_.windows
            arrays["calibration.radii"] = self.calibration_.radii
        return values, arrays

    def _remember(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.tail_ = from_remembered(values, arrays)
        self.channels_ = self.tail_.channels
        self.covariates_ = Encoder.from_dict(values["covariates"])
        config = self.network_.config
        check_fits(self.tail_, self.scaler_, self.covariates_, config)
        radii = arrays.get("calibration.radii")
        self.calibration_ = None
        if radii is not None:
            self.calibration_ = Calibration(radii, values["calibration_windows"])
            self.calibration_.check(len(self.channels_), config.outputs)


def _chunks(n: int) -> Iterator[np.ndarray]:
    for first in range(0, n, _CHUNK):
        yield np.arange(first, min(n, first + _CHUNK))


def check_steps(what: str, steps: Any) -> None:
    """Refuse what is no number of steps.

    Raises
    ------
    ConfigError
        If it is not a whole number of at least 1.
    """
    if not isinstance(steps, (int, np.integer)) or isinstance(steps, bool) or steps < 1:
        raise ConfigError(f"{what} must be a whole number of at least 1, found {steps!r}")
