"""From parsed flags to parameters of the estimators."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from convtimenet.cli.outputs import note
from convtimenet.config import TrainConfig
from convtimenet.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from convtimenet.data.tables import Table
    from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster

__all__ = [
    "COLUMNS",
    "check_training",
    "columns_of",
    "covariates_of",
    "estimator_settings",
    "given",
    "names_of",
    "new_forecaster",
    "set_horizon",
    "verbose_of",
]

COLUMNS = (
    "time_col",
    "target_cols",
    "freq",
    "id_col",
    "fill",
    "time_format",
    "dayfirst",
    "decimal",
)
"""Flags about the columns of a table."""


def given(flags: Any, group: str) -> dict[str, Any]:
    """The given settings of a group; a --config file may hold anything under its name."""
    from jsonargparse import Namespace

    settings = flags.get(group, Namespace())
    if not isinstance(settings, Namespace):
        raise ConfigError(
            f"--config: {group} must be a mapping from setting to value, found {settings!r}; write "
            f"it as {{{group}: {{name: value}}}}"
        )
    return vars(settings)


def estimator_settings(flags: Any) -> dict[str, Any]:
    chosen = {group: dict(given(flags, group)) for group in ("model", "training")}
    return {
        **chosen,
        "precision": chosen["training"].pop("precision", "fp32"),
        "device": flags.device,
        "random_state": flags.seed,
        "n_jobs": flags.get("n_jobs"),
        "init_from": flags.get("init_from"),
        "verbose": verbose_of(flags),
    }


def verbose_of(flags: Any) -> int:
    return 0 if flags.quiet else 1


def check_training(flags: Any) -> None:
    """Check the training settings before any work starts."""
    if flags.get("distil") and flags.quality != "best":
        raise ConfigError(
            f"--distil makes one network of several, so it needs --quality best, found "
            f"{flags.quality or 'none'}; add it, or leave --distil out"
        )
    TrainConfig.from_dict({**given(flags, "training"), "seed": flags.seed})


def columns_of(flags: Any) -> dict[str, Any]:
    """How a table is read."""
    return {name: flags[name] for name in COLUMNS}


def names_of(flags: Any) -> dict[str, Any]:
    """Names of the scored and of the training cases, as `fit_labelled` takes them."""
    if flags.test is None:
        return {"dataset": Path(flags.data).name}
    return {"dataset": Path(flags.test).name, "trained_on": Path(flags.data).name}


def covariates_of(flags: Any) -> dict[str, Any]:
    """Covariates of a table."""
    return {
        "hist_exog": flags.hist_exog,
        "futr_exog": flags.futr_exog,
        "stat_exog": flags.stat_exog,
        "calendar": _calendar(flags.calendar),
    }


def new_forecaster(flags: Any, **more: Any) -> ConvTimeNetForecaster:
    """The forecaster of the flags and `more` parameters; `set_horizon` completes it."""
    from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster

    return ConvTimeNetForecaster(
        1 if flags.h is None else flags.h,
        flags.input_size,
        preset=flags.preset,
        **columns_of(flags),
        **covariates_of(flags),
        **estimator_settings(flags),
        **more,
    )


def set_horizon(console: Console, flags: Any, model: ConvTimeNetForecaster, table: Table) -> None:
    """Without --h, choose the horizon by the table and say so."""
    from convtimenet.runs.forecasting import default_horizon, horizon_reason

    if flags.h is None:
        model.set_params(h=default_horizon(table))
        note(console, f"--h is not given: {model.h} steps ({horizon_reason(table, model.h)})")


def _calendar(given: list[str] | bool | None) -> list[str] | bool:
    """The parameter `calendar` for the flag: names, or True to let the step decide."""
    if isinstance(given, list) and given in (["auto"], ["true"]):
        return True
    return False if given in (None, ["false"]) else given
