"""The windows that a forecaster's networks are trained and chosen on.

Shape legend: `convtimenet._shapes`; S series.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.covariates import Encoder
from convtimenet.data.table_rows import crop, extend
from convtimenet.data.tables import Table
from convtimenet.data.time.inferred import season_of
from convtimenet.data.windows import Scaler, Windows
from convtimenet.errors import DataError
from convtimenet.estimators.forecasting.levels import near, statistics
from convtimenet.estimators.forecasting.panel import Panel, rows_for, sorted_by_id
from convtimenet.estimators.portfolio import Plan
from convtimenet.estimators.presets.derived import PANEL_EPOCH
from convtimenet.network.inference import fuse
from convtimenet.settings import whole_number
from convtimenet.training.closed_form.guard import some_windows
from convtimenet.training.taught import TaughtWindows
from convtimenet.wording import advice

__all__ = [
    "naive_season",
    "scored_windows",
    "taught_plan",
    "taught_windows",
    "training_plans",
    "training_windows",
]

_FEWEST_SCORED, _TOKENS = 19, 2**15  # by which weights of the package are scored


def training_windows(
    table: Table,
    train_end: np.ndarray,
    valid_end: np.ndarray,
    config: ModelConfig,
    scaler: Scaler,
    encoder: Encoder,
    device: torch.device,
    spare: int = 0,
) -> tuple[Windows, Windows | None, Windows | None, list[str]]:
    """Windows of the training split, with targets in rows [0, train_end) of every series; of the
    validation split, in rows [train_end, valid_end), if there is one; of both together; and
    notices. With `spare` rows of padding before each series. For the weights of the package, of
    which little is chosen, those of both splits or of targets that go on behind the end will do.

    Raises
    ------
    DataError
        If the table is too short for one window.
    """
    found, H = int(np.max(table.lengths)), config.outputs
    least = config.least_context + (1 if config.pretrained else H)
    if config.any_length and found < least:
        horizon = "" if config.pretrained else f", {H} of them for the horizon"
        what = f"expected at least {least} rows{horizon}, found {found}"
        raise DataError(f"{what}; give more rows, or use a shorter horizon (h)")
    if not config.kernel_sizes:  # else the order of batches is the table's
        table, train_end, valid_end, scaler = sorted_by_id(table, train_end, valid_end, scaler)
    rest = scaler, encoder, device, spare
    if config.pretrained:
        for first in (train_end, valid_end):
            with suppress(DataError):
                return _windows(table, first, valid_end, config, *rest)
        end = valid_end + H - 1
        with suppress(DataError):
            return _windows(extend(crop(table, 0, valid_end), H - 1), end, end, config, *rest)
    return _windows(table, train_end, valid_end, config, *rest)


def _windows(
    table: Table,
    train_end: np.ndarray,
    valid_end: np.ndarray,
    config: ModelConfig,
    scaler: Scaler,
    encoder: Encoder,
    device: torch.device,
    spare: int,
) -> tuple[Windows, Windows | None, Windows | None, list[str]]:
    """`training_windows` of these splits."""
    L, H = config.context_length, config.outputs
    if config.revin:
        scaler = near(scaler, *statistics(table, train_end), config)
    rows = np.maximum(rows_for(table, config), table.lengths + spare)
    panel = Panel(table, scaler, rows, masks=config.masks, encoder=encoder, device=device)
    examples = panel.windows(L, H, 0, train_end)
    if not examples.any_target():
        raise DataError(
            f"no window to train on: no known value in the training rows has another known value "
            f"in the {L} rows before it; give a table with fewer gaps, "
            + advice(
                "a longer context (input_size), or fill them (fill=0 if a missing value means "
                "none)",
                "or fill them",
                "or choose that missing values mean zero",
            )
        )
    if not (valid_end > train_end).any():
        return examples, None, None, []
    valid = panel.windows(L, H, train_end, valid_end)
    all_windows, notices = panel.windows(L, H, 0, valid_end), []
    if not valid.any_target():
        notices.append(
            "no window in the validation split has a known context and target: training runs all "
            "its epochs, on all rows"
        )
        return all_windows, None, None, notices
    if len(table.lengths) > 1 and len(valid) > PANEL_EPOCH:
        notices.append(
            f"the epoch is chosen by {PANEL_EPOCH} of {len(valid)} validation windows, evenly "
            "spaced"
        )
        valid = valid.thinned(PANEL_EPOCH)
    return examples, scored_windows(valid, config), all_windows, notices


def scored_windows(windows: Windows, config: ModelConfig) -> Windows:
    """The windows of the validation split that a network is scored and calibrated on: all of them,
    or with the weights of the package, which read far, as many as take seconds."""
    return some_windows(windows, _FEWEST_SCORED, _TOKENS) if config.pretrained else windows


def naive_season(table: Table, season: Any) -> int:
    """The season of the seasonal-naive forecast in steps: the one that is given, or the usual one
    of the table's frequency.

    Raises
    ------
    ConfigError
        If it is no whole number of at least 1.
    """
    return season_of(table.frequency) if season is None else whole_number("season", season)


def training_plans(
    members: Sequence[tuple[ModelConfig, TrainConfig]],
    table: Table,
    train_end: np.ndarray,
    valid_end: np.ndarray,
    scaler: Scaler,
    encoder: Encoder,
    device: torch.device,
) -> tuple[list[Plan], list[str]]:
    """The networks to train, with the `training_windows` of their contexts, and notices. Those that
    would have no held-out windows where the first has some are left out: nothing could weigh them.
    """
    configs = {config.context_length: config for config, _ in reversed(members)}
    windows = {
        context: training_windows(table, train_end, valid_end, config, scaler, encoder, device)
        for context, config in configs.items()
    }
    plans = [Plan(*one, *windows[one[0].context_length][:3]) for one in members]
    weighed = [plan for plan in plans if (plan.valid is None) == (plans[0].valid is None)]
    return weighed, windows[plans[0].config.context_length][3]


# --- of a network that is distilled from an ensemble ----------------------------------------------


def taught_plan(
    plan: Plan,
    ensemble: Any,
    table: Table,
    train_end: np.ndarray,
    valid_end: np.ndarray,
    scaler: Scaler,
    encoder: Encoder,
    device: torch.device,
) -> Plan:
    """The plan of a network that learns from an ensemble: in the first training from the one that
    did not see the validation split, in the second from the final one.

    Raises
    ------
    DataError
        If the table is too short to train a network.
    """
    if not plan.config.kernel_sizes:
        raise DataError(
            f"the table has too few rows to train a network: expected those that the ensemble was "
            f"fitted to, found {int(table.lengths.max())}; give the table of fit"
        )
    given = table, scaler, encoder, device
    L, again = plan.config.context_length, plan.all_examples is not None
    first = ensemble.scored_ or ensemble
    return replace(
        plan,
        examples=taught_windows(first, L, train_end if again else valid_end, *given),
        all_examples=taught_windows(ensemble, L, valid_end, *given) if again else None,
    )


def taught_windows(
    ensemble: Any,
    context_length: int,
    end: np.ndarray,
    table: Table,
    scaler: Scaler,
    encoder: Encoder,
    device: torch.device,
) -> TaughtWindows:
    """All windows with targets in rows before `end` (S,), for a network that reads so many steps.
    What the ensemble would read before a series begins is padding to it."""
    config = ensemble.network_.config
    spare = config.context_length - context_length
    whole = training_windows(table, end, end, config, scaler, encoder, device, spare)[0]
    return TaughtWindows(whole, context_length, fuse(ensemble.network_).to(device))
