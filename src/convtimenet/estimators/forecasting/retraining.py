"""Second training of a forecaster, on all rows, after the first one has been scored.

If there are too few rows for a validation split, intervals are cross-calibrated: the errors come
from trainings on earlier rows. Shape legend: `convtimenet._shapes`; S series, T rows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import replace
from itertools import pairwise
from os import PathLike
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.covariates import Encoder
from convtimenet.data.split import FittedRows, Rows
from convtimenet.data.table_rows import crop, in_memory
from convtimenet.data.tables import Table
from convtimenet.data.time.timestamps import show_in
from convtimenet.data.windows import Windows
from convtimenet.devices import autocast
from convtimenet.errors import TrainingError
from convtimenet.estimators.forecasting.calibration import DEFAULT_LEVELS, Calibration
from convtimenet.estimators.forecasting.fitted_forecaster import FittedForecaster
from convtimenet.estimators.forecasting.intervals import distances
from convtimenet.estimators.forecasting.levels import near, statistics
from convtimenet.estimators.forecasting.panel import Panel, rows_for, sorted_by_id
from convtimenet.estimators.forecasting.plans import taught_windows
from convtimenet.estimators.portfolio import phase_of
from convtimenet.estimators.trainings import Training
from convtimenet.network.ensemble import like
from convtimenet.network.inference import fuse
from convtimenet.progress import showing
from convtimenet.storage.remembered import check_fits, from_remembered, remembered, scaler_of
from convtimenet.training.interrupt import stop_requests
from convtimenet.training.metrics import ForecastEvaluation, Scores

__all__ = [
    "ENOUGH_WINDOWS",
    "LEAST_WINDOWS",
    "MOST_FOLD_STEPS",
    "RetrainedForecaster",
    "fold_starts",
    "fold_steps",
]

log = logging.getLogger(__name__)

FOLDS = 3
LEAST_WINDOWS, ENOUGH_WINDOWS = 4, 19
"""Held-out windows with which intervals of up to 80 %, and of up to 95 %, can be calibrated."""
MOST_FOLD_STEPS = 1000
"""Intervals are not cross-calibrated if a training takes more steps than this."""
_FOLD_WINDOWS = 30  # scored windows per series, if it has as many; the last fifth of longer series
_SCORED, _FIRST, _FITTED, _SCALER = "scored.", "first.", "fitted.", "scaler."


class RetrainedForecaster(FittedForecaster):
    """Base of `ConvTimeNetForecaster` with its second training; not used by itself."""

    scores_: dict[str, Scores] | None
    """Scores on the validation split, of the first training and of the seasonal-naive forecast."""
    scored_: Self | None
    """The forecaster before its second training."""

    @property
    def forecasts_from(self) -> str | None:
        """A sentence for users about the second training; None if there was none."""
        if self.scored_ is None or self.fitted_rows_ is None:
            return None
        last = show_in(self.tail_.times, self.fitted_rows_.last.max(), self.tail_.time_zone)
        second = self.history_.second
        how = "trained" if second is None or second.epochs else "solved for in closed form"
        return (
            f"{how} a second time, on all rows up to {last}; scores and intervals come from the "
            "first training, which did not see the held-out rows"
        )

    def retrain(
        self,
        X: Any,
        *,
        resume: str | PathLike[str] | None = None,
        ensemble: Self | None = None,
    ) -> Self:
        """Train again on all rows of a table, as `TrainConfig.refit` says ("continue" if off),
        and forecast with that network. Scores, intervals and the scaling of known series remain
        those of the first training, which is kept as `scored_`.

        Parameters
        ----------
        X
            A table as for `fit`, usually the same one; all of its rows are trained on.
        resume
            As for `fit`; the same folder can be used for both.
        ensemble
            What this forecaster was distilled from (`distil`), to learn from its forecasts again;
            by default from the rows alone.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        DataError
            If the table cannot be used, or no window of the fitted context and horizon fits.
        KeyboardInterrupt, Terminated
            If SIGINT or SIGTERM stopped training. The estimator is not changed.
        """
        check_is_fitted(self, "fused_")
        again = copy(self if self.scored_ is None else self.scored_)
        table = again.adapt(X)
        if not again.train_config_.refit:
            again.train_config_ = replace(again.train_config_, refit="continue")
        again.members_ = tuple(
            member
            if member.train_config.refit
            else replace(member, train_config=replace(member.train_config, refit="continue"))
            for member in again.members_
        )
        reader = again._reader
        if ensemble is None:
            windows = [
                replace(reader, config=config).training(table) for config in reader.config.networks
            ]
        else:
            given = table, again.scaler_for(table), again.covariates_, reader.device
            L = reader.config.context_length
            windows = [taught_windows(ensemble, L, table.lengths, *given)]
        again._retrain(windows, table, table.lengths, resume)
        vars(self).update(vars(again))
        return self

    def _evaluated(
        self, table: Table, first_row: Rows | None, end: Rows | None, *given: Any, **options: Any
    ) -> ForecastEvaluation:
        scored = self.asked_about(table, first_row)
        if scored is not self:
            log.info("the second training saw rows to score: the first one's weights are scored")
            scored.verbose = self.verbose
        return super(RetrainedForecaster, scored)._evaluated(
            table, first_row, end, *given, **options
        )

    def asked_about(self, table: Table, first_row: Rows | None) -> Self:
        """The forecaster that `evaluate` scores: `scored_` if the second training saw rows of the
        table from `first_row` on, else this one."""
        first = 0 if first_row is None else first_row
        if self.scored_ is None or self.fitted_rows_ is None:
            return self
        return self.scored_ if self.fitted_rows_.reach(table, first) else self

    def _retrain(
        self,
        all_windows: Sequence[Windows],
        table: Table,
        end: np.ndarray,
        resume: str | PathLike[str] | None,
    ) -> None:
        """Second training, on all windows in rows before `end` (S,) of every series, of the context
        of each network."""
        first = copy(self)
        if not self._train_again(all_windows, all_windows[0].starts.device, resume):
            return
        L = self.network_.config.context_length
        self.scored_, self.scaler_ = first, first.scaler_for(table)
        last = crop(table, table.lengths - L, table.lengths)
        self.tail_ = replace(in_memory(last), notices=())
        self.fitted_rows_ = FittedRows.of(table, end)
        log.info("forecasts come from %s", self.forecasts_from)

    def _cross_calibrated(
        self,
        table: Table,
        end: np.ndarray,
        device: torch.device,
        resume: str | PathLike[str] | None,
        held_out: int,
    ) -> Calibration | None:
        """Cross-calibrate intervals on rows before `end` (S,): errors of trainings on earlier rows,
        each with as many epochs as the main training. None if that is impossible or takes long.

        Parameters
        ----------
        held_out
            Windows of the validation split, too few to calibrate on.
        """
        config, train_config, members = self.network_.config, self.train_config_, self._trained()
        folds = self._folds(crop(table, 0, end), config, device)
        limit, needed = train_config.time_limit, (1 + FOLDS) * self.history_.seconds
        steps = max(fold_steps(one.examples or 0, one.train_config) for one in members)
        if not folds or steps > MOST_FOLD_STEPS or (limit is not None and needed > limit):
            return None
        found = []
        with stop_requests() as stop, showing("calibrating intervals", self.verbose):
            for number, (trained, scored) in enumerate(folds, 1):
                networks = []
                try:
                    for n, (own, member) in enumerate(
                        zip(config.networks, members, strict=True), 1
                    ):
                        again = replace(
                            member.train_config,
                            epochs=member.history.best_epoch,
                            patience=None,
                            time_limit=None,
                            refit=False,
                            # new weights, as pre-training may have seen the fold; not as
                            # generated series
                            encoder_rate=0.0 if own.pretrained else 1.0,
                        )
                        fold = f"fold{number}"
                        training = Training(
                            own, again, trained.ends(own.context_length), None, device,
                            *phase_of(fold, fold, n, len(members)), train_config.seed,
                        )  # fmt: skip
                        network, _ = self._train_network(training, resume, stop)
                        networks.append(network)
                        if stop.signal:
                            break
                except TrainingError:
                    return None
                if stop.signal:
                    message = f"{stop.name} stopped the calibration of intervals: the model is kept"
                    log.warning(message)
                    raise stop.error(message)
                with autocast(device, train_config):
                    fused = fuse(like(self.network_, networks), train_config.precision)
                    size = train_config.batch_size
                    found.append(distances(fused, scored, config.quantiles, size, device, True))
        every, told = (np.concatenate(one) for one in zip(*found, strict=True))
        if not np.isfinite(every).any():
            return None
        calibration = Calibration.of(every, told, shared=not self.scale)
        if config.pretrained and not calibration.reaches(DEFAULT_LEVELS[0]):
            return None
        few = f"only {held_out} validation window{'s' if held_out > 1 else ''}"  # not of the test
        split = few if held_out else "no validation split"
        notice = (
            f"{split}: intervals are calibrated with the errors of {len(found)} "
            "trainings on earlier rows"
            + (", with the weights as they come with the package" if config.pretrained else "")
        )
        self.notices_ = (*self.notices_, notice)
        log.info(notice)
        return calibration

    def _folds(
        self, table: Table, config: ModelConfig, device: torch.device
    ) -> list[tuple[Windows, Windows]]:
        """Windows to train on and windows to score, per fold. Values from the fold's start on are
        masked in the former, so that windows reaching beyond it can still be used."""
        L, H, scaler = config.context_length, config.outputs, self.scaler_
        if not config.kernel_sizes:
            table, scaler = sorted_by_id(table, scaler)
        starts = fold_starts(table.lengths, config.least_context, H)
        if not config.masks or starts is None:
            return []
        rows = rows_for(table, config)
        if config.revin:  # a level that float32 cannot hold would leave errors of rounding
            scaler = near(scaler, *statistics(table), config)
        panel = Panel(table, scaler, rows, masks=True, encoder=self.covariates_, device=device)
        known = panel.known
        if known is None:
            known = torch.ones_like(panel.values, dtype=torch.bool)
        at = torch.arange(known.shape[1], device=device)
        folds = []
        for begin, end in pairwise(starts):
            if not (begin < end).any():
                continue
            # series without scored windows are trained on as a whole
            hidden = np.where(begin < end, begin, table.lengths)
            cut = torch.from_numpy(np.repeat(panel.origin + hidden, np.diff(panel.bounds)))
            panel.known = known & (at < cut.to(device))
            trained = panel.windows(L, H, 0, np.minimum(hidden + H - 1, table.lengths))
            panel.known = known
            folds.append((trained, panel.windows(L, H, begin, end + H - 1)))
        return folds

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        values, arrays = self._state()
        first = self.scored_
        if first is None:
            return values, arrays
        kept_values, kept = first._state()
        fitted = {name: one for name, one in kept.items() if name.startswith(_FITTED)}
        if values != kept_values or not _same(first._scaled(kept), self._scaled(arrays)):
            # the second training had other series, channels or rows
            values, fitted = values | {"first": kept_values}, first._scaled(kept) | fitted
        weights = first.network_.state_dict()
        own = {f"{_SCORED}{name}": one.detach().cpu().numpy() for name, one in weights.items()}
        return values, arrays | own | {f"{_FIRST}{name}": one for name, one in fitted.items()}

    def _scaled(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays of `_state` with those of the scaler in place of the fitted rows'."""
        others = {name: one for name, one in arrays.items() if not name.startswith(_FITTED)}
        scaler = self.scaler_
        return others | {f"{_SCALER}centre": scaler.centre, f"{_SCALER}scale": scaler.scale}

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """`_saved_state` without the first training."""
        values, arrays = remembered(self.tail_)
        values["covariates"] = self.covariates_.to_dict()
        if self.fitted_rows_ is not None:
            arrays |= self.fitted_rows_.to_arrays()
        if self.calibration_ is not None:
            values["calibration_windows"] = self.calibration_.windows
            arrays["calibration.radii"] = self.calibration_.radii
        values["scores"] = self.scores_
        return values, arrays

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self._restore(values, arrays)
        self._restore_first_training(values.get("first"), arrays)

    def _restore(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Inverse of `_state`, given the scaler and the network."""
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

    def _restore_first_training(
        self, values: dict[str, Any] | None, arrays: dict[str, np.ndarray]
    ) -> None:
        """Restore `scored_`, given the values saved for it if they are not those of this one."""
        self.scored_ = None
        weights = _below(_SCORED, arrays)
        if not weights:
            return
        first, kept = copy(self), _below(_FIRST, arrays)
        first.history_ = replace(self.history_, refitted=False, second=None)
        if values is None:
            first.fitted_rows_ = FittedRows.from_arrays(kept, self.tail_)
        else:
            first.scaler_ = scaler_of(kept.pop(f"{_SCALER}centre"), kept.pop(f"{_SCALER}scale"))
            first._restore(values, kept)
        first.network_ = deepcopy(self.network_)
        first.network_.load_state_dict(
            {name: torch.from_numpy(one) for name, one in weights.items()}
        )
        first.fused_ = fuse(first.network_, self.train_config_.precision)
        self.scored_ = first


def _below(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with a prefix, without it."""
    return {n.removeprefix(prefix): one for n, one in arrays.items() if n.startswith(prefix)}


def _same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether arrays are equal, bit for bit."""
    return one.keys() == other.keys() and all(
        (array.shape, array.dtype) == (other[name].shape, other[name].dtype)
        and array.tobytes() == other[name].tobytes()
        for name, array in one.items()
    )


def fold_steps(windows: int, config: TrainConfig) -> int:
    """Steps of a training on so many windows; no fold takes more."""
    return config.epochs * -(-config.examples_per_epoch(windows) // config.batch_size)


def fold_starts(lengths: np.ndarray, L: int, H: int) -> list[np.ndarray] | None:
    """Rows (S,) at which the targets of each fold's scored windows begin, and the end of the last
    fold; None if there is no window to train on before the first.

    The folds divide the last fifth of the rows, or more if that is fewer than 30 windows; at least
    half of the windows lie before them.
    """
    last = lengths - H  # the last row at which the targets of a window can begin
    half = L + (last - L + 1) // 2
    first = np.minimum(lengths - np.round(0.2 * lengths).astype(np.int64), last + 1 - _FOLD_WINDOWS)
    first = np.maximum(np.maximum(half, first), L + 1)
    first = np.minimum(first, last + 1)
    if not (first <= last).any():
        return None
    return [first + (last + 1 - first) * k // FOLDS for k in range(FOLDS + 1)]
