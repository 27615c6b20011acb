"""`ConvTimeNetForecaster`: tables in, forecasts out in the data's own units."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, Self

import numpy as np

from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.covariates import Encoder, calendar_names
from convtimenet.data.future import MODEL, NAIVE
from convtimenet.data.split import FittedRows, hold_back, split_rows
from convtimenet.data.tables import Table, crop
from convtimenet.data.windows import Scaler
from convtimenet.devices import resolve_device
from convtimenet.errors import ConfigError
from convtimenet.estimators.forecasting.forecasts import check_steps
from convtimenet.estimators.forecasting.intervals import Calibration
from convtimenet.estimators.forecasting.reading import (
    check_unscaled,
    gap_notices,
    scaling_notices,
    statistics,
    training_windows,
)
from convtimenet.estimators.forecasting.retraining import RetrainedForecaster
from convtimenet.estimators.presets import Preset, auto_forecast, paper_preset
from convtimenet.progress import showing
from convtimenet.storage.remembered import check_fits, from_remembered, remembered
from convtimenet.wording import column_names

log = logging.getLogger(__name__)


class ConvTimeNetForecaster(RetrainedForecaster):
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
        Standardise each channel with the training split's statistics, those of its own series in a
        long table; a series that training did not see is standardised with its own values. Without
        it a model fitted to a wide table forecasts any number and names of channels.
    time_col, target_cols, freq, id_col
        Which column holds the time, which are to be forecast, the step, and which column tells the
        series of a long table apart, where they cannot be found from the table (see
        `convtimenet.data.tables.read_table`).
    fill
        The number that missing values stand for: 0 for sales, where no row means that nothing was
        sold. By default a missing value is unknown, and masked.
    time_format, dayfirst, decimal
        How times and numbers are written, where their cells do not decide it (see there).
    hist_exog, futr_exog, stat_exog
        Columns of covariates, numbers or text: known up to now, known ahead, and one value for a
        whole series; one name, or several. For what is known ahead `predict` needs the rows of the
        horizon.
    calendar
        Read the time stamps too, as covariates known ahead: names such as "hour", "dayofweek" and
        "month" (`convtimenet.data.covariates.CALENDAR`), one or several, or True or "auto" for
        those that the step asks for. They follow the clock of the training table's time zone.
    model
        Settings of `ModelConfig` that replace the preset's.
    training
        Settings of `TrainConfig` that replace the preset's.
    n_epochs, batch_size, lr, time_limit
        The most used of them; None takes the preset's.
    refit
        Train a second time, on all rows, and forecast from that: True from new weights, "continue"
        from the best ones (`TrainConfig.refit`), False not at all. None takes the preset's:
        "continue" for "auto", False for the paper's. Scores and intervals come from the first
        training, which did not see the rows held back; it stays as `scored_`.
    precision
        "fp32"; "bf16", for GPUs: where the fused CPU kernels run, they stay in float32 and a notice
        says so; or "int8": trained in float32, answers in eight bits on CPU.
    device
        "auto" or a torch device.
    random_state
        Seed of weights, batch order and dropout.
    verbose
        0 or False shows no progress; 1 or True a bar on a terminal or in a notebook, and a line
        every ten seconds in a log; 2 also a line an epoch. All of it goes to standard error.
        Notices about the data are warnings of the logger "convtimenet", whatever this is.

    Attributes
    ----------
    channels_
        Channel names, in order.
    calibration_
        What intervals are made from: the first training's errors on the rows held back, or, where
        rows were too few to hold any back, those of short trainings on earlier rows. None where
        neither could be had.
    fitted_rows_
        Up to where the weights were fitted, by series and time stamp.
    scores_
        "mae", "rmse", "mase" and "wape" of the rows held back, in the data's units, of the first
        training ("ConvTimeNet") and of the seasonal-naive forecast ("SeasonalNaive"). The rows also
        chose the epoch. None where none were held back.
    scored_
        The forecaster before its second training, which `scores_` and intervals speak of and which
        `evaluate` asks about rows that the second one saw; None where there was none.
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

    def __init__(
        self,
        h: int = 96,
        input_size: int | None = None,
        *,
        preset: str = "auto",
        scale: bool = True,
        time_col: str | None = None,
        target_cols: str | Sequence[str] | None = None,
        freq: Any = None,
        id_col: str | None = None,
        time_format: str | None = None,
        dayfirst: bool | None = None,
        decimal: str | None = None,
        fill: float | None = None,
        hist_exog: str | Sequence[str] | None = None,
        futr_exog: str | Sequence[str] | None = None,
        stat_exog: str | Sequence[str] | None = None,
        calendar: bool | str | Sequence[str] = False,
        model: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        n_epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        time_limit: float | None = None,
        refit: bool | str | None = None,
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
        self.fill = fill
        self.time_format = time_format
        self.dayfirst = dayfirst
        self.decimal = decimal
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
        self.refit = refit
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
        refit: bool = True,
    ) -> Self:
        """Train on a table: once to score the rows held back, then, if `refit` says so, on all.

        Parameters
        ----------
        X
            What `convtimenet.data.tables.read_table` takes: the path of a file, a pandas, polars or
            pyarrow frame, wide or long, or a series, a numpy array (T,) or (T, C); or a `Table`.
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
        refit
            False leaves the second training, where settings ask for one, to a later `retrain`: on
            the rows behind the split too, once those have been scored.

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
        train_config = self._train_config(preset.train, resume)
        device = resolve_device(train_config.device)
        L, H = config.context_length, config.outputs
        notices: list[str] = []
        if split is None:
            train_end, notice = hold_back(table, train_config.validation_fraction, L, H)
            notices += notice
        notices += gap_notices(table, config.masks)
        trains = crop(table, 0, train_end)
        scaler = Scaler.identity()
        if self.scale:
            scaler, silent = statistics(trains)
            notices += scaling_notices(table, silent)
        encoder = self._encoder(trains)
        config = replace(config, **encoder.sizes)
        notices += encoder.notices(table)
        if not self.scale:
            notices += check_unscaled(trains.values.T, table.channels, config.revin)
        examples, valid, everything, notice = training_windows(
            table, train_end, valid_end, config, scaler, encoder, device
        )
        notices += notice
        log.info("%d windows of %d + %d steps to train on", len(examples), L, H)
        self._fit_network(
            config,
            train_config,
            examples,
            valid,
            None,
            device,
            table.notices,
            notices,
            resume=resume,
            scaler_=scaler,
            channels_=table.channels,
            covariates_=encoder,
            tail_=replace(crop(table, lengths - L, lengths), notices=()),
            calibration_=None,
            fitted_rows_=FittedRows.of(table, valid_end if valid is None else train_end),
            scores_=None,
            scored_=None,
        )
        if valid is None:
            self.calibration_ = self._cross_calibrated(table, valid_end, device, resume)
            return self
        self.calibration_ = self._calibrate(valid)
        found = self._evaluated(table, train_end, valid_end, (), None)
        self.scores_ = {MODEL: found.in_units, NAIVE: found.naive_in_units}
        if refit and train_config.refit and everything is not None:
            self._retrain(everything, table, valid_end, resume)
        return self

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
        scores: `convtimenet.estimators.forecasting.backtest.backtest`.
        """
        from convtimenet.estimators.forecasting.backtest import backtest

        with showing("backtest", self.verbose):
            return backtest(
                self,
                X,
                n_windows=n_windows,
                step_size=step_size,
                refit=refit,
                level=level,
                season=season,
            ).frame

    def _train_config(
        self, preset: Mapping[str, Any], resume: str | PathLike[str] | None
    ) -> TrainConfig:
        found = super()._train_config(preset, resume)
        return found if self.refit is None else replace(found, refit=self.refit)

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

    def _encoder(self, table: Table) -> Encoder:
        """Covariates by the values of a table."""
        return Encoder.fit(table, *self.exog, calendar_names(self.calendar, table))

    def description(self, values: dict[str, Any] | None = None) -> dict[str, Any]:
        """As `ConvTimeNetEstimator.description`; names of columns, however given, as a list."""
        described = super().description(values)
        parameters = described["parameters"]
        for name in ("target_cols", "hist_exog", "futr_exog", "stat_exog", "calendar"):
            if isinstance(parameters[name], np.bool_):
                parameters[name] = bool(parameters[name])
            elif not isinstance(parameters[name], (bool, str, type(None))):
                parameters[name] = list(column_names(name, parameters[name]))
        return described

    def _remembered(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        values, arrays = remembered(self.tail_)
        values["covariates"] = self.covariates_.to_dict()
        if self.fitted_rows_ is not None:
            arrays |= self.fitted_rows_.to_arrays()
        if self.calibration_ is not None:
            values["calibration_windows"] = self.calibration_.windows
            arrays["calibration.radii"] = self.calibration_.radii
        values["scores"] = self.scores_
        return values, arrays | self._first_remembered()

    def _remember(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.tail_ = from_remembered(values, arrays)
        self.channels_ = self.tail_.channels
        self.covariates_ = Encoder.from_dict(values["covariates"], self.tail_.time_zone)
        config = self.network_.config
        check_fits(self.tail_, self.scaler_, self.covariates_, config)
        self.fitted_rows_ = FittedRows.from_arrays(arrays, self.tail_)
        radii = arrays.get("calibration.radii")
        self.calibration_ = None
        if radii is not None:
            self.calibration_ = Calibration(radii, values["calibration_windows"])
            self.calibration_.check(len(self.channels_), config.outputs)
        self.scores_ = values.get("scores")
        self._remember_first(arrays)
