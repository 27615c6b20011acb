"""Tables of a forecaster: read for `fit`, and checked against its training table afterwards."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from convtimenet.config import ModelConfig
from convtimenet.data.agreement import Terms, match_ids, unseen_ids
from convtimenet.data.covariates import Encoder, agreed, calendar_names, terms_of
from convtimenet.data.future import read_plan, rows_ahead
from convtimenet.data.sources.by_role import Wanted
from convtimenet.data.split import Rows, scored_rows
from convtimenet.data.table_rows import crop, select_channels
from convtimenet.data.tables import Table, read_table
from convtimenet.data.text.reading import TimeReading
from convtimenet.data.time.steps import frequency_name
from convtimenet.data.windows import Scaler, Windows
from convtimenet.devices import device_of
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.base import ConvTimeNetEstimator
from convtimenet.estimators.forecasting.levels import Levelled
from convtimenet.estimators.forecasting.panel import Panel
from convtimenet.estimators.forecasting.reading import Reader, check_mixing, gap_notices
from convtimenet.estimators.forecasting.ready import refuse_sizes
from convtimenet.estimators.presets.derived import MOST_MAPS
from convtimenet.estimators.presets.paper import Preset
from convtimenet.progress import is_quiet, reading, showing
from convtimenet.wording import advice, column_names, listing

__all__ = ["TableReader"]

log = logging.getLogger(__name__)


class TableReader(ConvTimeNetEstimator):
    """Base of `FittedForecaster`; not used by itself."""

    h: int
    input_size: int | None
    quality: str
    scale: bool
    time_col: str | None
    target_cols: str | Sequence[str] | None
    freq: Any
    id_col: str | None
    time_format: str | None
    dayfirst: bool | None
    decimal: str | None
    fill: float | None
    hist_exog: str | Sequence[str] | None
    futr_exog: str | Sequence[str] | None
    stat_exog: str | Sequence[str] | None
    calendar: bool | str | Sequence[str]

    channels_: tuple[str, ...]
    """Channel names, in order."""
    covariates_: Encoder
    """Encoder of the covariates."""
    tail_: Table
    """The last rows of every training series; `predict` starts from them by default."""

    def read(self, X: Any) -> Table:
        """The table that `fit` reads from `X`.

        Raises
        ------
        ConfigError
            If `X` is a `Table` of other channels or another id column than the parameters name.
            The others say how to read later tables, and contradict nothing.
        """
        if not isinstance(X, Table):
            return self._read(X)
        targets = column_names("target_cols", self.target_cols)
        if targets and {*targets} != {*X.channels}:
            raise ConfigError(
                f"target_cols are {listing(targets)}, but the Table given has been read with the "
                f"channels {listing(X.channels)}; give target_cols to read_table too"
            )
        if self.id_col is not None and str(self.id_col) != X.id_name:
            read = "no id column" if X.id_name is None else f"the id column {X.id_name!r}"
            raise ConfigError(
                f"id_col is {self.id_col!r}, but the Table given has been read with {read}; give "
                "id_col to read_table too"
            )
        return X

    def adapt(self, X: Any) -> Table:
        """Read a table for the fitted network: checks that it agrees with the training table and,
        if channels are scaled, selects the fitted ones in their order. The notices of the table
        say what becomes of its missing values, and which of its series training did not see.

        Raises
        ------
        DataError
            If it does not agree, or channels are missing.
        """
        table = self._agreeing(X)
        if is_quiet():  # names that are alike take long to find
            return table
        notices = gap_notices(table, self.network_.config.masks, learns=False)
        if self.scaler_.centre.ndim == 3:
            notices += self._unseen(table)
        new = [notice for notice in notices if notice not in table.notices]
        for notice in new:
            log.warning(notice)
        return replace(table, notices=(*table.notices, *new))

    def _agreeing(self, X: Any) -> Table:
        """The same without the notices."""
        hint = ""
        if self.covariates_.futr:
            hint = "; covariates of the rows ahead go into " + advice(
                "predict(future=...)", '"future"', "a file of their own"
            )
        if isinstance(X, Table):
            table = agreed(X, self.terms)
        else:
            # of an array all columns, to see whether there are more
            numbered = isinstance(X, np.ndarray) and all(map(str.isdecimal, self.channels_))
            named = self.scale and not numbered
            table = self._read(X, self.channels_ if named else None, self.terms, hint)
        fixed = self.network_.config.fixed_channels
        if self.scale:
            self._check_number(table)
            table = select_channels(table, self.channels_)
        elif fixed and len(table.channels) != fixed:
            raise DataError(
                f"the model was fitted with weights for each of {fixed} channels, the table has "
                f"{len(table.channels)}; give the same channels"
                + advice(" or fit without revin_affine_channels and linear_channels", "")
            )
        return table

    def _check_number(self, table: Table) -> None:
        """Refuse an array of more columns than the fitted one had: nothing but their number tells
        whether they are the same. Other tables may have further columns, since theirs have names.
        """
        found, fitted = len(table.channels), len(self.channels_)
        if table.origin.kind == "numpy" and self.target_cols is None and found > fitted:
            raise DataError(
                f"expected an array of as many columns as the fitted one, {fitted}, found {found}; "
                "give the same columns in the same order, or fit to a frame, whose columns have "
                "names"
            )

    def _read(
        self,
        X: Any,
        channels: Sequence[str] | None = None,
        terms: Terms | None = None,
        hint: str | None = None,
    ) -> Table:
        names = [name for of in self.exog for name in of]
        with showing(reading(X), self.verbose, busy=True):
            return read_table(
                X,
                time_col=self.time_col,
                target_cols=self.target_cols if channels is None else channels,
                frequency=self.freq,
                id_col=self.id_col,
                covariates=list(dict.fromkeys(names)),
                time_format=self.time_format,
                dayfirst=self.dayfirst,
                decimal=self.decimal,
                fill=self.fill,
                terms=terms,
                hint=hint,
            )

    def _unseen(self, table: Table) -> list[str]:
        """Notices about series that training did not see, or whose ids it saw in another
        spelling."""
        if not table.long:
            return [
                "the table has no ids: its series is scaled by its own values, not as in training"
            ]
        labels = self._reader.labels
        seen, notices = match_ids(table.ids, labels, "the table")
        return [*notices, *unseen_ids(table.ids, seen, labels)]

    @property
    def exog(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """The names in `hist_exog`, `futr_exog` and `stat_exog`."""
        hist = column_names("hist_exog", self.hist_exog)
        futr = column_names("futr_exog", self.futr_exog)
        return hist, futr, column_names("stat_exog", self.stat_exog)

    def _encoder(self, table: Table, every: Table) -> Encoder:
        """The covariate encoder, fitted to the training rows of a table, see `Encoder.fit`."""
        return Encoder.fit(table, *self.exog, calendar_names(self.calendar, table), every)

    def _model_config(self, preset: Preset, channels: int) -> ModelConfig:
        context = preset.context_length if self.input_size is None else self.input_size
        assert context is not None
        settings = self._model_settings(preset.model)
        if settings.get("pretrained"):
            refuse_sizes(self._settings("model"))
        if settings.get("revin") is False or settings.get("revin_affine_channels"):
            # the linear stream needs RevIN, without weights of its own
            settings["linear"] = self._settings("model").get("linear", False)
        if settings.get("linear") and self.scale and 1 < channels <= MOST_MAPS:
            settings.setdefault("linear_channels", channels)
        if settings.get("channel_mixing"):
            settings["mixed_channels"] = check_mixing(channels, self.scale)
        config = ModelConfig.forecasting(context_length=context, horizon=self.h, **settings)
        if config.fixed_channels not in (0, channels):
            name = "revin_affine_channels" if config.revin_affine_channels else "linear_channels"
            found = f"{name} is {config.fixed_channels}, the table has {channels} channels"
            raise ConfigError(f"{found}; they must be equal")
        return config

    def _with_covariates(self, config: ModelConfig, encoder: Encoder, channels: int) -> ModelConfig:
        """A config with the sizes of the covariates; by default those known ahead have effects."""
        if encoder.any and config.pretrained:
            raise ConfigError(
                advice(f"quality={self.quality!r}", f"quality {self.quality}")
                + " reads no covariates; leave them out, or use "
                + advice(
                    "quality='fast' for those known ahead, or quality='auto'",
                    "fast for those known ahead, or auto",
                )
            )
        if (encoder.hist or encoder.stat) and not config.kernel_sizes:
            raise ConfigError(
                advice(
                    "quality='fast' reads only covariates known ahead: leave out hist_exog and "
                    "stat_exog, or use quality='auto'",
                    "quality fast reads only covariates known ahead: choose no column as known "
                    "so far, or quality auto",
                )
            )
        sizes = encoder.sizes
        if self.preset == "auto" and sizes["futr_exog"]:
            sizes["effects"] = self._settings("model").get("effects", channels)
        return replace(config, **sizes)

    @property
    def terms(self) -> Terms:
        """Properties of the training table that later tables must share."""
        return terms_of(self.tail_, self.covariates_)

    def _plan(
        self, table: Table, future: Any, steps: int
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        """Covariates (S, ahead) of the rows after a table's end, and notices about them."""
        names = tuple(column.name for column in self.covariates_.futr)
        if not names:
            if future is None:
                return {}, []
            raise ConfigError(
                advice(
                    "future=... is given, but the model has no futr_exog; leave it out",
                    '"future" is given, but the model reads no covariates of the rows ahead; leave '
                    "it out",
                )
            )
        given = read_plan(future, table, self.wanted_ahead(table, self.terms))
        ahead = self._reader.ahead(steps)
        plan, notices = rows_ahead(table, steps, ahead, given, names, self.terms)
        notices += self.covariates_.unlike(plan)
        for notice in notices:
            log.warning(notice)
        return plan, notices

    def wanted_ahead(self, table: Table, terms: Terms) -> Wanted:
        """How to read the covariates known ahead for a table, for a model with these terms."""
        steps = table.frequency.unit == "step"
        return Wanted(
            time=self.time_col,
            targets=(),
            id=self.id_col,
            covariates=column_names("futr_exog", self.futr_exog),
            texts=terms.texts,
            usual_time=table.time_name,
            reading=TimeReading(
                format=self.time_format,
                dayfirst=self.dayfirst,
                steps=steps,
                usual=terms.origin.dayfirst,
            ),
            decimal=self.decimal,
        )

    def description(self, values: dict[str, Any] | None = None) -> dict[str, Any]:
        """As `ConvTimeNetEstimator.description`, with `freq` as text and column names always as
        lists."""
        described = super().description(values)
        parameters = described["parameters"]
        if parameters["freq"] is not None:
            parameters["freq"] = frequency_name(parameters["freq"])
        for name in ("target_cols", "hist_exog", "futr_exog", "stat_exog", "calendar"):
            if isinstance(parameters[name], np.bool_):
                parameters[name] = bool(parameters[name])
            elif not isinstance(parameters[name], (bool, str, type(None))):
                parameters[name] = list(column_names(name, parameters[name]))
        return described

    def _scaler_arrays(self) -> dict[str, np.ndarray]:
        level = {"scaler.level": self.scaler_.level} if isinstance(self.scaler_, Levelled) else {}
        return super()._scaler_arrays() | level

    @classmethod
    def _scaler_of(cls, arrays: dict[str, np.ndarray]) -> Scaler:
        scaler, level = super()._scaler_of(arrays), arrays.pop("scaler.level", None)
        # models of earlier versions have none
        return scaler if level is None else Levelled.restored(scaler, level)

    def _said_of(self, table: Table, intervals: bool, steps: int) -> list[str]:
        """Notices of a table to forecast for so many steps, logged."""
        notices = self._reader.notices(table, intervals)
        L, H = self.network_.config.context_length, self.network_.config.outputs
        if self.covariates_.any:
            read = crop(table, table.lengths - L, table.lengths)
            notices += self.covariates_.missing(read) + self.covariates_.unlike(read.covariates)
        if steps > H and self.covariates_.hist:
            names = listing([column.name for column in self.covariates_.hist])
            notices.append(
                f"hist_exog are not known behind the end of the table: where steps {H + 1} to "
                f"{steps} read {names} there, numbers are their mean in training, texts no category"
            )
        for notice in notices:
            log.warning(notice)
        return notices

    def _to_score(self, X: Any, first: Rows | None, end: Rows | None) -> Table:
        """A table for the fitted network, as `adapt` reads it, whose rows [first, end) are to be
        forecast; covariates of the rows that are read for that are told of in the log if they are
        missing or unlike those of training."""
        table = self.adapt(X)
        if self.covariates_.any:
            first, end = scored_rows(table, first, end)
            begin = np.subtract(first, self.network_.config.context_length)
            read = crop(table, np.minimum(begin, np.subtract(end, 1)), np.maximum(end, 1))
            encoder = self.covariates_
            for notice in encoder.missing(read) + encoder.unlike(read.covariates):
                log.warning(notice)
        return table

    def scaler_for(self, table: Table) -> Scaler:
        """The scaler of the series of a table."""
        return self._reader.scaler_for(table)

    def windows(self, table: Table, first: Rows | None, end: Rows | None) -> tuple[Panel, Windows]:
        """What the fitted network reads of a table that `adapt` returned, to forecast its rows
        [first, end); as `Reader.windows`."""
        return self._reader.windows(table, first, end)

    @property
    def _reader(self) -> Reader:
        """Turns tables into windows for the fitted network."""
        device = device_of(self.fused_)
        config, ids = self.network_.config, self.tail_.ids
        return Reader(config, self.scaler_, self.covariates_, ids, device)
