"""Run of a forecaster: fit it to a table and score it on a test split."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.config import LEAST_PRETRAINED, TrainConfig
from convtimenet.data.covariates import Encoder, terms_of
from convtimenet.data.future import read_plan, rows_ahead
from convtimenet.data.split import Rows, hold_back, split_rows, typical_size
from convtimenet.data.tables import Table
from convtimenet.data.time.inferred import season_of
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.forecasting.calibration import check_levels, check_reach
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.estimators.forecasting.forecasts import check_steps
from convtimenet.estimators.forecasting.pretraining import FitKind
from convtimenet.estimators.forecasting.retraining import (
    LEAST_WINDOWS,
    MOST_FOLD_STEPS,
    fold_starts,
    fold_steps,
)
from convtimenet.estimators.presets.derived import PRETRAINED, TUNED
from convtimenet.runs.result import (
    Result,
    comparison,
    distillable,
    facts,
    plain_intervals,
    result_of,
    units,
)
from convtimenet.training.metrics import ForecastEvaluation
from convtimenet.wording import advice, listing


@dataclass(frozen=True, kw_only=True)
class ForecastRun:
    """A fitted forecaster with its table and its evaluation on the test split."""

    result: Result
    model: ConvTimeNetForecaster
    table: Table
    evaluation: ForecastEvaluation | None
    """None without a test split."""
    scored: ConvTimeNetForecaster | None = None
    """The forecaster that was scored, if `model` is the one after a second training."""
    future: Table | None = None
    """The forecast of the rows after the table, for the report; None if there is none."""

    def write_report(self, path: str | Path) -> Path:
        """Write the HTML report of this run.

        Raises
        ------
        DataError
            If there was no test split, and there is no forecast to show either.
        """
        from convtimenet.report import forecast_report

        result = self.result
        return forecast_report(
            path,
            self.scored or self.model,
            self.table,
            self.evaluation,
            title=f"{result.dataset}, {result.horizon} steps ahead",
            facts=facts(result),
            published=comparison(result) if self.evaluation and result.published else units(result),
            forecast_from=result.forecast_from,
            future=self.future,
        )


def fit_forecaster(
    model: ConvTimeNetForecaster,
    table: Table,
    split: tuple[Rows, Rows] | None,
    end: Rows,
    *,
    dataset: str,
    protocol: str = "honest",
    resume: str | Path | None = None,
    level: Any = None,
    forecasts: bool = False,
    distil: bool = False,
) -> ForecastRun:
    """Fit with `split` (train_end, valid_end), score every window with targets in [valid_end, end).

    Without a split the model is fitted to all rows and not scored. With `level`, in per cent, the
    result holds coverage and width of such intervals. If `forecasts`, the model will be used to
    forecast: after it has been scored it is trained again on all rows, if its settings say so. With
    `distil` the model of the run is one network that learns from the ensemble.

    Raises
    ------
    ConfigError
        If a level is not in per cent, or a long table has no validation split for intervals.
    DataError
        If there are too few rows for a level; the message names the largest possible one.
    """
    if level is not None:
        _check_calibration(model, table, split, check_levels(level))
    begin = time.perf_counter()
    again = split is None and forecasts
    ensemble = model.fit(table, split=split, resume=resume, refit=again and not distil)
    if distil := distil and distillable(model):
        model = ensemble.distil(table, split=split, resume=resume, refit=again)
    evaluation = scored = None
    if split is not None:
        evaluation = model.evaluate(table, first_row=split[1], end=end, level=level)
        if forecasts and model.train_config_.refit:
            model.retrain(table, resume=resume, ensemble=ensemble if distil else None)
            scored = model.scored_
    seconds = time.perf_counter() - begin
    result = result_of(
        model,
        dataset=dataset,
        task="forecasting",
        horizon=model.h,
        protocol=protocol,
        scores=evaluation.scores if evaluation else {},
        baseline=evaluation.naive if evaluation else {},
        scores_in_units=evaluation.in_units if evaluation else {},
        baseline_in_units=evaluation.naive_in_units if evaluation else {},
        season=evaluation.season if evaluation else None,
        forecast_from=model.forecasts_from,
        n_test=evaluation.n_windows if evaluation else 0,
        seconds=seconds,
        intervals=plain_intervals(evaluation.intervals if evaluation and level is not None else ()),
    )
    return ForecastRun(
        result=result, model=model, table=table, evaluation=evaluation, scored=scored
    )


def _check_calibration(
    model: ConvTimeNetForecaster,
    table: Table,
    split: tuple[Rows, Rows] | None,
    levels: tuple[float, ...],
) -> None:
    """Check before training that intervals of these levels can be calibrated."""
    channels, h, lengths = len(table.channels), model.h, table.lengths
    train_end, valid_end = split_rows(split, lengths)
    if model.is_ready_for(valid_end, channels):
        return
    L = _context(model, train_end, valid_end, channels)
    if split is None:
        fraction = (model.training or {}).get(
            "validation_fraction", TrainConfig.validation_fraction
        )
        train_end = hold_back(table, fraction, L, h)[0]
    windows = np.maximum(0, valid_end - train_end - h + 1)
    starts = fold_starts(valid_end, L, h)
    enough = int(windows.sum())
    if enough < LEAST_WINDOWS and starts is not None:
        if not _takes_long(model, valid_end, L, channels):
            enough = max(enough, int((starts[-1] - starts[0]).sum()))
        elif not enough:
            raise ConfigError(
                "intervals are calibrated on the validation split, and validation_fraction=0 "
                "leaves none; use a larger one"
            )
    check_reach(levels, enough, len(table.channels), h)


def _takes_long(model: ConvTimeNetForecaster, lengths: np.ndarray, L: int, channels: int) -> bool:
    """Whether a training is too long to be repeated on earlier rows to calibrate intervals."""
    preset = model.preset_for(*typical_size(lengths), channels).train
    own = {"epochs": model.n_epochs, "batch_size": model.batch_size}
    given = {name: number for name, number in own.items() if number is not None}
    config = TrainConfig.from_dict({**preset, **given, **(model.training or {})})
    return fold_steps(int(np.maximum(0, lengths - L - model.h + 1).sum()), config) > MOST_FOLD_STEPS


def _context(
    model: ConvTimeNetForecaster, train_end: np.ndarray, valid_end: np.ndarray, channels: int
) -> int:
    """Minimum context length of a model that is fitted to rows of each series with this split."""
    if model.is_ready_for(valid_end, channels):
        return LEAST_PRETRAINED
    usual = model.preset_for(*typical_size(train_end), channels).context_length or 0
    return model.input_size or max(2 * model.h, usual)


def forecast_table(
    model: ConvTimeNetForecaster,
    table: Table,
    *,
    test_fraction: float,
    dataset: str,
    resume: str | Path | None = None,
    level: Any = None,
    distil: bool = False,
) -> ForecastRun:
    """Fit a user's table and score the test split at its end.

    If the table is too short for a test split, or `test_fraction` is 0, all rows are used for
    training and nothing is scored. `level` and `distil` are as for `fit_forecaster`.

    Raises
    ------
    ConfigError
        If `test_fraction` is not at least 0 and below 1, the horizon is not a number of steps, or
        intervals of a level are not possible.
    """
    kept, split = test_split(model, table, test_fraction)
    T, h = table.lengths, model.h
    run = fit_forecaster(
        model,
        table,
        split if kept.any() else None,
        T,
        dataset=dataset,
        resume=resume,
        level=level,
        forecasts=True,
        distil=distil,
    )
    if not kept.all() and test_fraction:
        which = f"{T[0]} rows" if not table.long else f"the rows of {(~kept).sum()} series"
        notice = f"{which} are too few for a test split with a horizon of {h}: no scores"
        if test_fraction > 0.5 and (np.round(test_fraction * T) >= h).all() and not kept.any():
            notice = (
                f"a test split of {test_fraction:.0%} leaves too few rows to train on: trained on "
                "all rows, no scores; use a smaller test_fraction"
            )
        return replace(run, result=replace(run.result, notices=[*run.result.notices, notice]))
    return run


def test_split(
    model: ConvTimeNetForecaster, table: Table, test_fraction: float
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Which series (S,) have a test split at their end, and the rows (S,) at which the training
    and the validation split of each series end; series too short are trained on as a whole.

    Raises
    ------
    ConfigError
        If `test_fraction` is not at least 0 and below 1, or the horizon is not a number of steps.
    """
    if not 0 <= test_fraction < 1:
        raise ConfigError(f"test_fraction must be at least 0 and below 1, found {test_fraction}")
    check_steps("h, the horizon,", model.h)
    T, h = table.lengths, model.h
    test = np.round(test_fraction * T).astype(np.int64)
    valid_end = T - test
    fraction = (model.training or {}).get("validation_fraction", TrainConfig.validation_fraction)
    held = np.maximum(h, np.round(fraction * valid_end).astype(np.int64)) if fraction else 0
    train_end = valid_end - held
    context = _context(model, train_end, valid_end, len(table.channels))
    kept = (test >= h) & (train_end >= context + h)
    return kept, (np.where(kept, train_end, T), np.where(kept, valid_end, T))


def kind_of_run(model: ConvTimeNetForecaster, table: Table, test_fraction: float) -> FitKind:
    """What `forecast_table` will do, as far as that is known before the table's values are read."""
    _, (train_end, valid_end) = test_split(model, table, test_fraction)
    season = season_of(table.frequency)
    return model.kind_of_fit(train_end, valid_end, len(table.channels), season)


def default_horizon(table: Table) -> int:
    """Default horizon: two seasons (`season_of`), or 12 steps if the step has no season; at most 96
    steps and a fifth of the rows of a typical series."""
    season = season_of(table.frequency)
    wanted = min(96, 2 * season if season > 1 else 12)
    return max(1, min(wanted, typical_size(table.lengths)[0] // 5))


def horizon_reason(table: Table, h: int) -> str:
    """The reason for `default_horizon`, for display."""
    season = season_of(table.frequency)
    if season > 1 and h == 2 * season:
        return f"two seasons of {season}"
    if h == max(1, typical_size(table.lengths)[0] // 5):
        return "a fifth of the rows"
    return f"two seasons of {season} are more than 96" if season > 1 else "the step has no season"


def check_future(model: ConvTimeNetForecaster, table: Table, future: str | Path | None) -> None:
    """Check before training that the covariates known ahead are given for the rows to forecast.

    Raises
    ------
    ConfigError
        If a file is given and the model reads none, or the horizon is not a number of steps.
    DataError
        If the file is missing or cannot be read, or lacks rows or values.
    """
    names = model.exog[1]
    if names and model.quality in (PRETRAINED, TUNED):  # fit refuses all covariates
        return
    if not names:
        if future is not None:
            raise ConfigError(
                "--future is given, but the model reads no covariates known ahead; name its "
                "columns with --futr_exog when training, or leave --future out"
            )
        return
    check_steps("h, the horizon,", model.h)
    if future is None:
        raise DataError(
            f"the model reads the covariates {listing(names)} ahead: expected their values for the "
            f"{model.h} steps after the table's end, found none; "
            + advice("give a file with --future", "give a file of them")
        )
    if hasattr(model, "tail_"):
        terms = model.terms
    else:
        terms = terms_of(table, Encoder.fit(table, (), names, (), ()))
    given = read_plan(future, table, model.wanted_ahead(table, terms))
    try:
        rows_ahead(table, model.h, model.h, given, names, terms)
    except DataError as error:
        # the message names the parameter; users of the command line need the flag
        text = str(error).replace("predict(future=...)", "--future")
        raise DataError(f"{future}: {text}") from error
