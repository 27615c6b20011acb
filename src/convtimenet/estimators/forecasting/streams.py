"""Which closed form forecasts a table: a linear map, of which context, or exponential smoothing.

Shape legend: `convtimenet._shapes`; S series.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from convtimenet.config import ModelConfig
from convtimenet.data.covariates import Encoder
from convtimenet.data.tables import Table
from convtimenet.data.windows import Scaler, Windows
from convtimenet.estimators.forecasting.levels import near, statistics
from convtimenet.estimators.forecasting.panel import Panel, rows_for, sorted_by_id
from convtimenet.files.maps import among, blocks
from convtimenet.network.covariate_embedding import CovariateEffects
from convtimenet.network.smoothing import SmoothingNetwork
from convtimenet.training.closed_form.effects import solve_effects, without_effects
from convtimenet.training.closed_form.search import best_start
from convtimenet.training.closed_form.smoothing import fit_smoothing
from convtimenet.training.interrupt import StopRequest
from convtimenet.training.metrics import outputs

__all__ = ["best_context", "linear_is_better"]

_MARGIN, _MARGIN_OF_FEW = 0.8, 0.6  # of the error of smoothing
_MOST, _FEWEST, _AT_ONCE = 1024, 64, 1024  # windows and channels that smoothing is scored by


def best_context(
    table: Table,
    train_end: np.ndarray,
    config: ModelConfig,
    scaler: Scaler,
    encoder: Encoder,
    device: torch.device,
    contexts: Sequence[int],
) -> int:
    """The context, of those given in the order of preference, with which a linear map predicts the
    training split best (`convtimenet.training.closed_form.search`)."""
    if len(contexts) == 1:
        return contexts[0]
    longest, H = max(contexts), config.outputs
    table, train_end, scaler = sorted_by_id(table, train_end, scaler)
    scaler = scaler.near(*statistics(table, train_end))
    least = longest + H if table.long else 0
    panel = Panel(table, scaler, least, masks=config.masks, encoder=encoder, device=device)
    windows = [panel.windows(context, H, context, train_end) for context in contexts]
    windows = _without_effects(windows, config)
    return best_start(windows, config.season, config.revin_subtract_last).context


def linear_is_better(
    table: Table,
    train_end: np.ndarray,
    config: ModelConfig,
    encoder: Encoder,
    device: torch.device,
    contexts: Sequence[int],
    few: bool,
) -> bool:
    """Whether a linear map of one of the contexts is far better than exponential smoothing with
    `config`, by the squared error over blocks of the training split. With short series a small
    difference tells little, and smoothing goes on where a series leaves the values that it had.

    Parameters
    ----------
    few
        Whether the table has too few rows for a network, which would add to a linear map.
    """
    longest, L, H = max(contexts), config.context_length, config.outputs
    if longest + H > train_end.max():
        return False
    table, train_end = sorted_by_id(table, train_end)
    scaler, unknown = statistics(table, train_end)
    panel = Panel(
        table,
        near(scaler.uncentred(), scaler, unknown, config),
        rows_for(table, config),
        masks=config.masks,
        encoder=encoder,
        device=device,
    )
    windows = [panel.windows(context, H, context, train_end) for context in contexts]
    windows = _without_effects([*windows, panel.windows(L, H, 0, train_end)], config)
    own = windows.pop()
    linear = best_start(windows, config.season)
    of_map = windows[contexts.index(longest)].starts.cpu().numpy()
    network = SmoothingNetwork(config).to(device)
    fit_smoothing(network, own, StopRequest(), verbose=0)
    starts = own.starts.cpu().numpy()  # of targets that the map has too
    kept = [starts[one][among(starts[one] + (L - longest), of_map)] for one in blocks(len(starts))]
    own.starts = torch.from_numpy(np.concatenate(kept)).to(device)
    error = _squared_error(network, own.thinned(max(_FEWEST, _MOST // len(own.values))))
    return linear.error < (_MARGIN_OF_FEW if few else _MARGIN) * error


def _squared_error(network: SmoothingNetwork, windows: Windows) -> float:
    """Over the contexts that end with a known value, as a map is scored by those."""
    total, count = 0.0, 0.0
    for output, batch in outputs(network, windows, _AT_ONCE, windows.starts.device):
        weight = torch.ones_like(batch.y) if batch.weight is None else batch.weight
        if batch.known is not None:
            weight = weight * batch.known[..., -1:]
        total += float(((output - batch.y).double() ** 2 * weight).sum())
        count += float(weight.double().sum())
    return total / count if count else float("nan")


def _without_effects(windows: Sequence[Windows], config: ModelConfig) -> list[Windows]:
    """Windows of the same series without the effects of covariates known ahead."""
    if not (config.effects and config.futr_exog):
        return [*windows]
    effects = CovariateEffects(config)
    solve_effects(effects, max(windows, key=len), config.season)
    return [without_effects(effects, own) for own in windows]
