"""A forecaster fitted to a table, and scored on the part of it that training did not see."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.config import TrainConfig
from convtimenet.data.covariates import Encoder, terms_of
from convtimenet.data.future import read_plan, rows_ahead
from convtimenet.data.split import Rows, hold_back
from convtimenet.data.tables import Table
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.forecaster import ConvTimeNetForecaster
from convtimenet.estimators.forecasts import check_steps
from convtimenet.estimators.intervals import check_levels, check_reach
from convtimenet.runs.result import Result, comparison, facts, plain_intervals, result_of
from convtimenet.training.metrics import ForecastEvaluation
from convtimenet.wording import listing


@dataclass(frozen=True, kw_only=True)
class ForecastRun:
    """A fitted forecaster with the table and test it was scored on."""

    result: Result
    model: ConvTimeNetForecaster
    table: Table
    evaluation: ForecastEvaluation | None
    """None where no rows were kept for a test."""
    future: Table | None = None
    """The forecast of the rows after the table, for the page; None where none was made."""

    def write_report(self, path: str | Path) -> Path:
        """Write the HTML page of this run.

        Raises
        ------
        DataError
            If no rows were kept for a test.
        """
        from convtimenet.report import forecast_report

        if self.evaluation is None:
            raise DataError("no rows were kept for a test, so there is nothing to report")
        result = self.result
        return forecast_report(
            path,
            self.model,
            self.table,
            self.evaluation,
            title=f"{result.dataset}, {result.horizon} steps ahead",
            facts=facts(result),
            published=comparison(result),
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
) -> ForecastRun:
    """Fit on the rows before `split`, score every window with targets in [split[1], end).

    Without a split the model has all rows and nothing is scored. With `level`, per cents, the
    result holds coverage and width of such intervals.

    Raises
    ------
    ConfigError
        If a level is no per cent, or no rows are held back to calibrate intervals with.
    DataError
        If those are too few for a level.
    """
    if level is not None:
        _check_calibration(model, table, split, check_levels(level))
    begin = time.perf_counter()
    model.fit(table, split=split, resume=resume)
    seconds = time.perf_counter() - begin
    evaluation = None
    if split is not None:
        evaluation = model.evaluate(table, first_row=split[1], end=end, level=level)
    result = result_of(
        model,
        dataset=dataset,
        task="forecasting",
        horizon=model.h,
        protocol=protocol,
        scores=evaluation.scores if evaluation else {},
        baseline=evaluation.naive if evaluation else {},
        n_test=evaluation.n_windows if evaluation else 0,
        seconds=seconds,
        intervals=plain_intervals(evaluation.intervals if evaluation and level is not None else ()),
    )
    return ForecastRun(result=result, model=model, table=table, evaluation=evaluation)


def _check_calibration(
    model: ConvTimeNetForecaster,
    table: Table,
    split: tuple[Rows, Rows] | None,
    levels: tuple[float, ...],
) -> None:
    """Find out before training that intervals of these levels could not be calibrated."""
    training = model.training or {}
    fraction = training.get("validation_fraction", TrainConfig.validation_fraction)
    if split is None and not fraction:
        why = "a validation_fraction of 0 holds no rows back; give it another"
    elif training.get("refit", TrainConfig.refit):
        why = "refit trains on the rows held back too; leave it out"
    else:
        why = ""
    if why:
        raise ConfigError(f"intervals come from the errors on rows held back, and {why}")
    if split is None:
        train_end, _ = hold_back(table, fraction, _context(model, table.lengths), model.h)
        split = train_end, table.lengths
    windows = np.maximum(0, np.subtract(split[1], split[0]) - model.h + 1)
    check_reach(levels, int(windows.sum()), len(table.channels), model.h)


def _context(model: ConvTimeNetForecaster, rows: np.ndarray) -> int:
    """Steps that a model will read when it trains on so many rows of each series, at least."""
    usual = model.preset_for(max(1, int(np.median(rows))), len(rows)).context_length or 0
    return model.input_size or max(2 * model.h, usual)


def forecast_table(
    model: ConvTimeNetForecaster,
    table: Table,
    *,
    test_fraction: float,
    dataset: str,
    resume: str | Path | None = None,
    level: Any = None,
) -> ForecastRun:
    """Fit a user's own table and score its last part, which training does not see.

    A table too short for that, or a `test_fraction` of 0, is trained on whole and not scored.
    `level` is as for `fit_forecaster`.

    Raises
    ------
    ConfigError
        If `test_fraction` is not at least 0 and below 1, the horizon no number of steps, or
        intervals of a level cannot be had.
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
    kept = (test >= h) & (train_end >= _context(model, train_end) + h)
    # series without room for a test part train whole
    split = (np.where(kept, train_end, T), np.where(kept, valid_end, T))
    run = fit_forecaster(
        model,
        table,
        split if kept.any() else None,
        T,
        dataset=dataset,
        resume=resume,
        level=level,
    )
    if not kept.all() and test_fraction:
        which = f"{T[0]} rows" if not table.long else f"the rows of {(~kept).sum()} series"
        notice = f"{which} are too few to keep a test part for a horizon of {h}: no scores"
        if test_fraction > 0.5 and (test >= h).all() and not kept.any():
            notice = (
                f"a test part of {test_fraction:.0%} leaves too few rows to train on: no scores, "
                "trained on all rows; use a smaller test_fraction"
            )
        return replace(run, result=replace(run.result, notices=[*run.result.notices, notice]))
    return run


def check_future(model: ConvTimeNetForecaster, table: Table, future: str | Path | None) -> None:
    """Find out before training that covariates known ahead are not known for the rows to forecast.

    Raises
    ------
    ConfigError
        If there is a file of them and the model reads none, or the horizon is no number of steps.
    DataError
        If there is none, it cannot be read, or rows or values are missing.
    """
    names = model.exog[1]
    if not names:
        if future is not None:
            raise ConfigError(
                "--future holds covariates known ahead, and the model reads none; name its columns "
                "with --futr_exog while training, or leave --future out"
            )
        return
    check_steps("h, the horizon,", model.h)
    if future is None:
        raise DataError(
            f"the model reads {listing(names)} ahead: expected the values of the {model.h} steps "
            "after the table's end, found none; give a file of them with --future"
        )
    given = read_plan(future, table, model.wanted_ahead(table))
    if hasattr(model, "tail_"):
        terms = model.terms
    else:
        terms = terms_of(table, Encoder.fit(table, (), names, (), ()))
    try:
        rows_ahead(table, model.h, model.h, given, names, terms)
    except DataError as error:
        # the estimator's words for it, in the command line's
        said = str(error).replace("predict(future=...)", "--future")
        raise DataError(f"{future}: {said}") from error
