"""Which network a table gets, and pre-training of its encoder on tables without a horizon to learn.

Shape legend: `convtimenet._shapes`; S series, T rows.
"""

from __future__ import annotations

from os import PathLike
from typing import Any, Literal, Self

import numpy as np

from convtimenet.data.split import hold_back, split_rows, typical_size
from convtimenet.data.table_rows import crop
from convtimenet.data.tables import Table
from convtimenet.data.time.inferred import season_of
from convtimenet.data.windows import Scaler
from convtimenet.devices import resolve_device
from convtimenet.estimators.forecasting.forecasts import check_steps
from convtimenet.estimators.forecasting.levels import near, statistics
from convtimenet.estimators.forecasting.panel import Panel
from convtimenet.estimators.forecasting.reading import (
    check_unscaled,
    scaling_notices,
)
from convtimenet.estimators.forecasting.ready import (
    few_rows,
    pretrained_forecast,
    ready_forecast,
    with_theta,
)
from convtimenet.estimators.forecasting.retraining import RetrainedForecaster
from convtimenet.estimators.forecasting.streams import linear_is_better
from convtimenet.estimators.presets.derived import (
    PRETRAINED,
    QUALITIES,
    TUNED,
    USED_IF_LINEAR,
    contexts_for,
    forecast_preset,
    smoothing_forecast,
    too_few,
)
from convtimenet.estimators.presets.paper import Preset
from convtimenet.estimators.pretraining import (
    anew,
    check_quality,
    encoder_config,
    pretrain_encoder,
    schedule,
)

__all__ = ["FitKind", "PretrainableForecaster"]

FitKind = Literal["weights", "tuned", "solved", "solved or network", "network"]
"""What `fit` does: reads with the weights of the package, or trains these on; solves in closed
form, a linear map or smoothing; trains a network, for short series only if a linear map is far
better than smoothing; or trains one, of quality "best" several, in any case."""


class PretrainableForecaster(RetrainedForecaster):
    """Base of `ConvTimeNetForecaster`; not used by itself."""

    h: int
    input_size: int | None
    quality: str

    def pretrain(
        self,
        X: Any,
        *,
        split: tuple[int | np.ndarray, int | np.ndarray] | None = None,
        n_epochs: int | None = None,
        resume: str | PathLike[str] | None = None,
    ) -> Self:
        """Train the network's encoder to reconstruct hidden spans of a table; the next `fit` starts
        from it.

        The table may be another one than that of `fit`: more series, other channels. The linear map
        beside the network does not learn from it.

        Parameters
        ----------
        X
            A table as for `fit`; covariates are not read.
        split
            As for `fit`: only the rows of the training split are read. By default all but the last
            fifth of each series.
        n_epochs
            Passes over all contexts; by default 40 epochs of 50 steps each.
        resume
            Folder for checkpoints, as for `fit`.

        Returns
        -------
        The estimator with `pretrained_`: not fitted, as there is no forecast to give yet.

        Raises
        ------
        DataError
            If the table cannot be used or is too short for one context.
        ConfigError
            If a setting is out of range, or the settings are of a model without a network.
        CheckpointError
            If `resume` holds the training of another run.
        """
        check_steps("h, the horizon,", self.h)
        check_quality(self.quality)
        with anew(self):
            table = self.read(X)
            train_end, _ = split_rows(split, table.lengths)
            rows, series = typical_size(train_end)
            preset = forecast_preset(
                self.quality,
                self.preset,
                rows,
                self.h,
                self.input_size,
                series,
                len(table.channels),
                season_of(table.frequency),
                self._network_settings(),
                self._settings("training"),
            )
            fitted = self._model_config(preset, len(table.channels))
            config = encoder_config(fitted, "reconstruct")
            train_config = schedule(self, preset.train, n_epochs, resume)
            device = resolve_device(train_config.device)
            if split is None:
                fraction = train_config.validation_fraction
                train_end, _ = hold_back(table, fraction, fitted.context_length, self.h)
            train_split = crop(table, 0, train_end)
            scaler, notices = Scaler.identity(), [*table.notices]
            if self.scale:
                scaler, unknown = statistics(train_split)
                notices += scaling_notices(table, unknown)
            else:
                notices += check_unscaled(train_split.values.T, table.channels, config.revin)
            if config.revin:
                scaler = near(scaler, *statistics(train_split), config)
            L = config.context_length
            least = L if table.long else 0
            panel = Panel(train_split, scaler, least, masks=True, device=device)
            examples = panel.windows(L, 0, 0, train_split.lengths)
            return pretrain_encoder(self, config, train_config, examples, device, resume, notices)

    def preset_for(
        self,
        rows: int,
        series: int,
        channels: int,
        season: int = 1,
        context: int | None = None,
    ) -> Preset:
        """The settings of the estimator's `quality` and `preset` for that many series of `rows`
        training rows each; its own `input_size`, if given, comes before `context`."""
        if self.quality in (PRETRAINED, TUNED):
            return ready_forecast(
                self.quality,
                self.preset,
                self.input_size or context or rows,
                self.h,
                channels,
                season,
                self._network_settings(),
                self._settings("training"),
            )
        few = too_few(rows, series, channels, self.h) and not self._asks_for_network()
        return forecast_preset(
            "fast" if few and self.quality in QUALITIES else self.quality,
            self.preset,
            rows,
            self.h,
            self.input_size or context,
            series,
            channels,
            season,
            self._network_settings(),
            self._settings("training"),
        )

    def _preset(
        self,
        table: Table,
        train_end: np.ndarray,
        valid_end: np.ndarray,
        holds_back: bool,
        season: int,
    ) -> Preset:
        """The settings of `preset_for`; or for few rows those of the weights of the package, and
        for more those of exponential smoothing, unless a linear map is better. Rows after
        `valid_end` (S,) do not count."""
        channels = len(table.channels)
        size = rows, _ = typical_size(train_end)
        longest = int(valid_end.max())
        if self.quality in (PRETRAINED, TUNED):
            preset = self.preset_for(*size, channels, season, longest)
            return with_theta(preset, longest, table.frequency)
        preset = self.preset_for(*size, channels, season)
        if self.is_ready_for(valid_end, channels):
            preset = pretrained_forecast(longest, season)
            return with_theta(preset, longest, table.frequency)
        short = smoothing_forecast(rows, longest, self.h, season)
        if short is None or self.decides():
            return preset
        config, train_config = (
            self._model_config(short, channels),
            self._train_config(short.train, None),
        )
        if holds_back:
            fraction = train_config.validation_fraction
            train_end, _ = hold_back(table, fraction, config.least_context, self.h)
        device = resolve_device(train_config.device)
        contexts = contexts_for(rows, self.h, season)
        few = too_few(*size, channels, self.h)
        encoder = self._encoder(crop(table, 0, train_end), table)
        config = self._with_covariates(config, encoder, channels)
        better = linear_is_better(table, train_end, config, encoder, device, contexts, few)
        return preset if better else short

    def is_ready_for(self, lengths: np.ndarray, channels: int) -> bool:
        """Whether series of these lengths (S,) are forecast with the weights of the package."""
        if self.quality in (PRETRAINED, TUNED):
            return True
        rows, series = typical_size(lengths)
        few = few_rows(rows, series * channels) and self.quality != "fast"
        return few and not (self.decides() or self.calendar or any(self.exog))

    def kind_of_fit(
        self, train_end: np.ndarray, valid_end: np.ndarray, channels: int, season: int
    ) -> FitKind:
        """What `fit` will do with series whose training and validation split end at these rows
        (S,), as far as that is known before any of them is read."""
        if self.quality != TUNED and self.is_ready_for(valid_end, channels):
            return "weights"
        rows, series = typical_size(train_end)
        preset = self.preset_for(rows, series, channels, season, int(valid_end.max()))
        if self.quality == TUNED:
            return "tuned" if "epoch_steps" in preset.train else "weights"
        if preset.model.get("kernel_sizes") == ():
            return "solved"
        short = smoothing_forecast(rows, int(valid_end.max()), self.h, season)
        return "network" if short is None or self.decides() else "solved or network"

    def decides(self) -> bool:
        """Whether the user's settings leave no choice of a network."""
        return bool(self.input_size or not self.scale or self._asks_for_network())

    def _asks_for_network(self) -> bool:
        """Whether a setting that only a trained network uses is given, or one of the network's."""
        training = {*self._settings("training")} - {*USED_IF_LINEAR}
        own = any(value is not None for value in self._network_settings().values())
        hist, _, stat = self.exog  # those known ahead have linear effects
        return self.preset != "auto" or bool(self.model or training or hist or stat or own)
