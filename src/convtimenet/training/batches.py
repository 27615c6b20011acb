"""The order of an epoch's examples, its batches, and the part of each that a process trains on.

Processes that train together (`convtimenet.processes`) draw the same order and split each batch.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from convtimenet import processes
from convtimenet._shapes import Int
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.tables import Table
from convtimenet.data.windows import Examples
from convtimenet.files.maps import blocks
from convtimenet.training.checkpoint import data_hash

__all__ = ["check_alike", "check_same_table", "epoch_order", "own_part", "training_batches"]


def epoch_order(n: int, config: TrainConfig, numbers: torch.Generator) -> Int[Tensor, " size"]:
    """Positions of the examples of an epoch, drawn from n; more than n in several passes."""
    size = config.examples_per_epoch(n)
    passes = [torch.randperm(n, generator=numbers) for _ in range(-(-size // n))]
    return torch.cat(passes)[:size]


def training_batches(order: Int[Tensor, " size"], config: TrainConfig) -> tuple[Tensor, ...]:
    """Split an epoch's order into batches.

    An incomplete last batch is dropped if there are at least eight full ones (under the paper
    protocol at least one, as in the authors' scripts): all steps then have the same size, and the
    data are reshuffled every epoch, so no example is dropped for good. Otherwise it is kept, and a
    single last example joins the batch before it, because BatchNorm cannot train on one value.
    """
    n, size = len(order), config.batch_size
    full = n // size
    if full >= (1 if config.protocol == "paper" else 8):
        return order[: full * size].split(size)
    cuts = list(range(size, n, size))
    if cuts and n - cuts[-1] == 1:
        cuts.pop()
    return order.tensor_split(cuts)


def own_part(size: int, smallest: int) -> slice:
    """The examples of a batch that this process trains on: all of them where parts would have fewer
    than `smallest`, so that every process takes part in every step."""
    several, number = processes.count(), processes.rank()
    if size < several * smallest:
        return slice(0, size)
    each, more = divmod(size, several)
    first = number * each + min(number, more)
    return slice(first, first + each + (number < more))


def check_alike(
    network: ModelConfig, examples: Examples, valid: Examples | None, training: TrainConfig
) -> None:
    """Compare what processes are about to train together, with all values of the examples that
    they train and are scored on.

    Raises
    ------
    ProcessError
        If they differ.
    """
    if processes.count() == 1:
        return
    own = ("device", "memory_budget", "checkpoint_seconds")
    settings = {name: value for name, value in training.to_dict().items() if name not in own}
    data = {"training data": data_hash(examples), "validation data": data_hash(valid)}
    found = {"network": network.to_dict(), "training": settings, **data}
    processes.check_same("the data or the settings", found)


def check_same_table(table: Table) -> None:
    """Compare the values of a table, its series and channels, whose context processes are about to
    choose together, which is before `check_alike`.

    Raises
    ------
    ProcessError
        If they differ.
    """
    if processes.count() == 1:
        return
    digest = hashlib.sha256(np.ascontiguousarray(table.lengths).data)
    for rows in blocks(len(table.values)):
        digest.update(np.ascontiguousarray(table.values[rows]).data)
    found = {"channels": list(table.channels), "values": digest.hexdigest()}
    processes.check_same("the data or the settings", found)
