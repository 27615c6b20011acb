"""`ConvTimeNetForecaster`: fit, predict and backtest."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from convtimenet import processes
from convtimenet.callbacks import Callback
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.forecast_tables import MODEL, NAIVE
from convtimenet.data.split import FittedRows, hold_back, split_rows, typical_size
from convtimenet.data.table_rows import crop, in_memory
from convtimenet.data.time.inferred import season_of
from convtimenet.data.windows import Scaler, Windows
from convtimenet.devices import resolve_device
from convtimenet.estimators.distilling import taught_notice
from convtimenet.estimators.forecasting.calibration import Calibration
from convtimenet.estimators.forecasting.distilling import DistillableForecaster
from convtimenet.estimators.forecasting.forecasts import check_steps
from convtimenet.estimators.forecasting.levels import statistics, uncentred
from convtimenet.estimators.forecasting.panel import sorted_by_id
from convtimenet.estimators.forecasting.plans import taught_plan, training_plans
from convtimenet.estimators.forecasting.reading import (
    check_unscaled,
    gap_notices,
    scaling_notices,
    unseen_notices,
)
from convtimenet.estimators.forecasting.retraining import ENOUGH_WINDOWS, LEAST_WINDOWS
from convtimenet.estimators.forecasting.streams import best_context
from convtimenet.estimators.portfolio import forecast_members
from convtimenet.estimators.presets.derived import TUNED, contexts_for, next_context
from convtimenet.progress import showing
from convtimenet.training.batches import check_same_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)


class ConvTimeNetForecaster(DistillableForecaster):
    """Forecast every channel of every series of a table with one ConvTimeNet network.

    A wide table is one series, with a column per channel. A long table holds many series, of any
    lengths and start times, and one network is trained on all of them.

    Parameters
    ----------
    h
        Horizon: steps to forecast.
    input_size
        Context: steps that are read. By default 336, 512 or 720, by the error of the linear map on
        the training rows; for short tables half the rows, or four or two seasons, where a map or
        a network reads them; exponential smoothing reads the last 200 rows or six seasons, the
        pre-trained network 2,048. The paper's presets have their own.
    quality
        "fast" solves a linear map of the context in closed form, for each channel of a wide table
        where that is better, and linear effects of covariates known ahead, in seconds. "auto"
        trains a network beside that, in minutes, which adds what the validation split grants; for
        tables with few rows it is "fast", unless other covariates or settings of a network are
        given. For series of up to 2,000 rows all three smooth exponentially, unless the map is far
        better. "best" trains up to six networks (other contexts, losses, patches, kernels; in one,
        channels read each other) while `time_limit` lasts, and averages their forecasts and that
        of the pre-trained one, which may take some seconds beyond it, with weights from the
        validation split. "pretrained" trains nothing:
        it reads up to 2,048 rows with weights that come with the package (docs/pretrained.md),
        blended with the seasonal naive forecast as far as the table's own rows ask for it; no
        covariates, a few seconds.
        "tuned" fine-tunes these weights in some seconds more, and keeps what helps on the
        validation split. Below 60 rows "auto" and "best" are "pretrained".
    preset
        "auto" derives patches, kernels and batch size from the data; a data set's name such as
        "ETTh1" takes the paper's hyper-parameters for it.
    scale
        Standardise each channel with the statistics of the training split (in a long table, of each
        series); a series that training did not see is standardised with its own values. If False, a
        model fitted to a wide table can forecast tables with other channels.
    time_col, target_cols, freq, id_col
        The time column, the columns to forecast, the time step, and the column with the series ids
        of a long table. Needed only if they cannot be inferred from the table (see
        `convtimenet.data.tables.read_table`).
    fill
        A number to fill missing values and missing rows with, such as 0 for sales tables without
        rows for days without sales. By default they are masked.
    time_format, dayfirst, decimal
        Format of times and numbers, needed only if it cannot be inferred (see `read_table`).
    hist_exog, futr_exog, stat_exog
        Covariate columns, numbers or text; one name or several: known up to the present, known
        ahead, and static (one value per series). For those known ahead, `predict` needs the rows
        of the horizon.
    calendar
        Calendar features of the time stamps, used as covariates known ahead: one or several names
        such as "hour", "dayofweek" and "month" (`convtimenet.data.covariates.CALENDAR`), or True or
        "auto" for those that suit the step. They use the time zone of the training table.
    model
        Settings of `ModelConfig` that replace the preset's.
    training
        Settings of `TrainConfig` that replace the preset's.
    n_epochs, batch_size, lr, time_limit
        The most common of these settings; None takes the preset's.
    refit
        Train a second time, on all rows, and forecast with that network: True starts from new
        weights, "continue" from the best ones (`TrainConfig.refit`), False trains only once. None
        takes the preset's: "continue" for "auto", False for the paper's. Scores and intervals come
        from the first training, which did not see the validation split; it is kept as `scored_`.
    precision
        "fp32"; "bf16", for GPUs (the fused CPU kernels stay in float32, with a notice); or "int8",
        trained in float32, predicts in eight bits on CPU.
    device
        "auto" or a torch device.
    random_state
        Seed of the initial weights, batch order and dropout. Beside the default 2023, or None,
        ``training={"seed": ...}`` counts; beside any other it is an error if it differs.
    n_jobs
        How many networks of quality="best" are trained at the same time, each by a process with
        one thread: None is 1, or what a surrounding `joblib.parallel_config` says, which may name
        a cluster; -1 is one per core. The weights are the same (docs/design/portfolio.md).
    verbose
        0 or False shows no progress; 1 or True a bar on a terminal or in a notebook, and a line
        every ten seconds in a log; 2 also a line per epoch. All of it goes to standard error.
        Notices about the data are always logged as warnings of the logger "convtimenet".
    callbacks
        Objects told of every epoch, which may end training: loggers such as
        `convtimenet.callbacks.TensorBoard`, or your own (`convtimenet.callbacks.Callback`). They
        are not saved with the model. `tune` and a backtest tell the same objects; processes of
        `n_jobs` tell copies.
    init_from
        Where the network's encoder starts from: the folder of a saved model, a fitted or
        pre-trained estimator, or its `pretrained_`, which unlike an estimator survives
        scikit-learn's `clone`. With preset="auto" the network takes on its architecture. None
        starts from `pretrain`, if that was called, else from new weights.

    Attributes
    ----------
    channels_
        Channel names, in order.
    calibration_
        Calibration of the intervals: errors of the first training on the validation split or, if
        there were too few rows for one, errors of trainings on earlier rows (cross-calibration).
        None if neither was possible.
    fitted_rows_
        The last row that the weights were fitted to, per series and by time stamp.
    scores_
        "mae", "rmse", "mase" and "wape" on the validation split, in the data's units, of the first
        training ("ConvTimeNet") and of the seasonal-naive forecast ("SeasonalNaive"). The same rows
        chose the epoch. None without a validation split.
    pretrained_
        The encoder of `pretrain`, which `fit` starts from. Clones have none.
    scored_
        The forecaster before its second training; `scores_` and intervals are its own, and
        `evaluate` uses it for rows that the second training saw. None without a second training.
    network_, fused_, members_, history_, scaler_, train_config_, notices_, parameters_
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
        quality: str = "auto",
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
        n_jobs: int | None = None,
        verbose: int = 1,
        callbacks: Sequence[Callback] | None = None,
        init_from: Any = None,
    ):
        self.h = h
        self.input_size = input_size
        self.quality = quality
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
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.callbacks = callbacks
        self.init_from = init_from

    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        split: tuple[int | np.ndarray, int | np.ndarray] | None = None,
        resume: str | PathLike[str] | None = None,
        refit: bool = True,
    ) -> Self:
        """Train on a table: first on its training split, then, depending on `refit`, on all rows.

        Parameters
        ----------
        X
            What `convtimenet.data.tables.read_table` takes: the path of a file; a folder, glob
            pattern or URL of Parquet or Arrow files, which may be larger than memory; a wide or
            long pandas, polars or pyarrow frame; a series; an array (T,) or (T, C); or a `Table`.
        y
            Ignored; for scikit-learn.
        split
            Rows (train_end, valid_end), as numbers or, for a long table, arrays (S,) with one per
            series: rows before train_end are the training split, rows up to valid_end the
            validation split, later rows are not used. By default the last fifth of each series is
            the validation split. Series too short for that are in the training split as a whole; in
            a long table so are those shorter than a context and a horizon.
        resume
            Folder for checkpoints. After an interruption the same call resumes from it; once
            training has finished it returns the same model.
        refit
            False postpones the second training, if the settings ask for one, to a later call of
            `retrain`, which can include the rows after the split once they have been scored.

        Raises
        ------
        DataError
            If the table cannot be used or is too short for one window.
        ConfigError
            If a setting is out of range.
        CheckpointError
            If `resume` holds checkpoints of another run.
        """
        with processes.in_step():
            return self._fit(X, split, resume, refit)

    def _fit(
        self,
        X: Any,
        split: tuple[int | np.ndarray, int | np.ndarray] | None = None,
        resume: str | PathLike[str] | None = None,
        refit: bool = True,
        *,
        scored: bool = True,
        ensemble: Any = None,
    ) -> Self:
        check_steps("h, the horizon,", self.h)
        if self.input_size is not None:
            check_steps("input_size, the context,", self.input_size)
        table = self.read(X)
        check_same_table(table)
        lengths = table.lengths
        train_end, valid_end = split_rows(split, lengths)
        season = season_of(table.frequency)
        size = *typical_size(train_end), len(table.channels)
        preset = self._preset(table, train_end, valid_end, split is None, season)
        config = self._model_config(preset, len(table.channels))
        loss = {"loss": None} if config.quantiles else {}  # quantile heads have one of their own
        train_config = self._train_config({**preset.train, **loss}, resume)
        device = resolve_device(train_config.device)
        L, H = config.context_length, config.outputs
        notices: list[str] = []
        if split is None:
            fraction = train_config.validation_fraction
            train_end, notice = hold_back(table, fraction, config.least_context, H)
            notices += notice
        notices += gap_notices(table, config.masks) + unseen_notices(table, season)
        train_split = crop(table, 0, train_end)
        scaler = Scaler.identity()
        if self.scale:
            scaler, unknown = statistics(train_split)
            scaler = uncentred(scaler, config, unknown)
            notices += scaling_notices(table, unknown)
        encoder = self._encoder(train_split, table)
        if ensemble is not None:  # both read the same numbers
            scaler, encoder = ensemble.scaler_for(table), ensemble.covariates_
        config = self._with_covariates(config, encoder, len(table.channels))
        notices += encoder.notices(table)

        def config_of(context: int) -> ModelConfig:
            config = self._model_config(self.preset_for(*size, season, context), size[-1])
            return self._with_covariates(config, encoder, size[-1])

        contexts = [L]
        if config.linear and self.input_size is None and self.preset == "auto":
            contexts = contexts_for(size[0], H, season)
            L = best_context(table, train_end, config, scaler, encoder, device, contexts)
            config = config_of(L)
        members = [(config, train_config)]
        if preset.portfolio:
            others = [one for one in next_context(contexts, L) if one >= config.patch_size]
            other = config_of(others[0]) if others else None
            mixed = len(table.channels) if self.scale else 1
            members = forecast_members(config, train_config, other, self._fixed(), mixed)
        if not self.scale:
            notices += check_unscaled(train_split.values.T, table.channels, config.revin)
        plans, notice = training_plans(
            members, table, train_end, valid_end, scaler, encoder, device
        )
        notices += notice
        if self.quality == TUNED and (plans[0].valid is None or not train_config.encoder_rate):
            asked = "encoder_rate" in self._settings("training")
            why = "encoder_rate is 0" if asked and plans[0].valid is not None else "too few rows"
            notices.append(f"{why}: the weights of the package are not fine-tuned")
        if ensemble is not None:
            given = table, train_end, valid_end, scaler, encoder, device
            plans = [taught_plan(plans[0], ensemble, *given)]
            notices.append(taught_notice(ensemble, saw_validation=False))
        log.info("%d windows of %d + %d steps to train on", len(plans[0].examples), L, H)
        fitted_to = valid_end if plans[0].valid is None else train_end

        def fitted(fused: Any, _: TrainConfig) -> dict[str, Any]:
            last = in_memory(crop(table, lengths - fused.config.context_length, lengths))
            return {
                "scaler_": scaler,
                "channels_": table.channels,
                "covariates_": encoder,
                "tail_": replace(last, notices=()),
                "calibration_": None,
                "fitted_rows_": FittedRows.of(table, fitted_to),
                "scores_": None,
                "scored_": None,
            }

        plans = self._fit_network(plans, device, table.notices, notices, fitted, resume=resume)
        longest = max(plans, key=lambda plan: plan.config.context_length)
        valid = longest.valid
        held_out = len(valid) if isinstance(valid, Windows) else 0
        # what is solved for is soon solved for again
        solved = not self.network_.config.kernel_sizes or self.network_.config.any_length
        if scored and held_out < (ENOUGH_WINDOWS if solved else LEAST_WINDOWS):
            self.calibration_ = self._cross_calibrated(table, valid_end, device, resume, held_out)
        if scored and isinstance(valid, Windows):
            if self.calibration_ is None:
                self.calibration_ = self._calibrate(valid, together=True)
            scored_rows = sorted_by_id(table, train_end, valid_end)
            found = self._evaluated(*scored_rows, (), None, quick=True)
            self.scores_ = {MODEL: found.in_units, NAIVE: found.naive_in_units}
        notice = []
        if scored and self.network_.config.pretrained:
            self.calibration_, notice = Calibration.with_own(self.calibration_, H)
        elif self.calibration_ is not None:
            self.calibration_, notice = self.calibration_.extended()
        self.notices_ = (*self.notices_, *notice)
        if refit and train_config.refit and isinstance(valid, Windows):
            everything = [
                one.all_examples for one in plans if isinstance(one.all_examples, Windows)
            ]
            self._retrain(everything, table, valid_end, resume)
        return self

    def plot(
        self, number: int | str = 0, channel: int = 0, *, level: Any = None, future: Any = None
    ) -> Figure:
        """Draw the last rows of the training table and the forecast after them: as
        `convtimenet.plot` of this model."""
        from convtimenet import plot

        return plot(self, number, channel, level=level, future=future)

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
        """Backtest on the last windows of every series, in Nixtla's format: ids, times, "cutoff",
        the actual values, "ConvTimeNet" and "SeasonalNaive", each with its bounds.

        The estimator itself is not changed. For the parameters, the format of wide tables and a
        summary of scores see `convtimenet.estimators.forecasting.backtest.backtest`.
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
