"""Windows with the forecasts of an ensemble, for a network that is distilled from it.

Shape legend: `convtimenet._shapes`; S series.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from convtimenet.data.covariates import Encoder
from convtimenet.data.tables import Table
from convtimenet.data.windows import Scaler
from convtimenet.errors import DataError
from convtimenet.estimators.forecasting.plans import training_windows
from convtimenet.estimators.portfolio import Plan
from convtimenet.network.inference import fuse
from convtimenet.training.taught import TaughtWindows

__all__ = ["taught_plan", "taught_windows"]


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
