"""Check before training that a step fits in the available memory."""

from __future__ import annotations

import logging

import torch

from convtimenet import processes
from convtimenet.config import TrainConfig
from convtimenet.data.windows import Examples
from convtimenet.errors import DataError
from convtimenet.network.kernels.native import usable
from convtimenet.network.memory import GIB, available, predicted_peak
from convtimenet.network.model import Block, ConvTimeNet, count_parameters
from convtimenet.network.other import OtherNetwork
from convtimenet.training.history import History
from convtimenet.training.objectives import OBJECTIVES
from convtimenet.training.progress import memory_note
from convtimenet.wording import advice

log = logging.getLogger(__name__)


def fit_memory(
    model: ConvTimeNet | OtherNetwork,
    examples: Examples,
    config: TrainConfig,
    device: torch.device,
    history: History,
) -> int:
    """Predict the peak memory, and recompute activations if it exceeds the budget.

    Returns
    -------
    Minimum number of examples in a batch for BatchNorm to train on it. For an `OtherNetwork` it is
    1, and no peak is predicted.

    Raises
    ------
    DataError
        If no batch can have that many.
    """
    if isinstance(model, OtherNetwork):
        return 1
    x = examples.batch(torch.zeros(1, dtype=torch.int64, device=device)).x
    each = model.rows(x).shape[0] * OBJECTIVES[model.config.head].views
    rows = each * -(-min(config.batch_size, len(examples)) // processes.count())
    if rows * model.config.n_patches < 2 and model.config.norm == "batch":
        raise DataError(
            "a training batch holds one patch of one series, and BatchNorm needs two; use more data"
            + advice(", a larger batch_size, smaller patches, or norm='layer'", "")
        )
    native = any(block.native and usable(x) for block in model.blocks if isinstance(block, Block))
    sharing = 1 if device.type == "cuda" else processes.on_this_machine()
    budget = (config.memory_budget or 0.8 * available(device) / sharing / GIB) * GIB
    for recompute in (False, True):
        model.recompute = recompute
        history.predicted_peak = predicted_peak(
            model.config,
            rows,
            parameters=count_parameters(model),
            native=native and config.precision != "bf16",
            recompute=recompute,
            bf16=config.precision == "bf16",
        )
        if history.predicted_peak <= budget:
            break
    else:
        log.warning(
            "a training step may take %.1f GiB, more than the budget of %.1f GiB; use a smaller "
            "batch_size",
            history.predicted_peak / GIB,
            budget / GIB,
        )
    # all processes need the same graph
    model.recompute = history.recomputed = bool(*processes.agreed(model.recompute))
    log.info(memory_note(history))
    return 1 if each * model.config.n_patches > 1 or model.config.norm == "layer" else 2
