"""One optimisation step: forward, loss, backward, clipping, Adam; skipped if not finite."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from convtimenet import processes
from convtimenet.batch import Batch
from convtimenet.config import TrainConfig
from convtimenet.data.windows import Examples
from convtimenet.devices import autocast, in_part
from convtimenet.errors import ConfigError, OutOfMemoryError
from convtimenet.network.layers import TokenBatchNorm
from convtimenet.network.memory import Parts, out_of_memory
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.other import OtherNetwork
from convtimenet.network.reconstruction.features import PretrainedCases
from convtimenet.network.reconstruction.pretrained import PretrainedForecaster
from convtimenet.training.batches import own_part
from convtimenet.training.cuda_graph import Graphed
from convtimenet.training.objectives import OBJECTIVES, loss_of
from convtimenet.training.taught import TaughtWindows


class Step:
    """Trains a network on one batch per call.

    A step whose loss, gradients or BatchNorm statistics are not finite is skipped: it leaves
    weights, optimiser and statistics unchanged and is counted. (An overflow in the gradient of a
    single weight, with everything before and after it finite, shows in the next loss.) On CUDA
    this needs no synchronisation: Adam's fused kernel reads the flag on the device, and a step of
    the usual batch size is captured once as a CUDA graph and replayed. If memory runs out, a batch
    is split into parts whose gradients add up to those of the whole (each part has its own
    BatchNorm statistics, as a smaller batch would). Processes that train together
    (`convtimenet.processes`) each compute a part of every batch, with common BatchNorm statistics.

    Parameters
    ----------
    model, device
        The network and its device, which must also be that of the examples.
    examples
        The examples to draw batches from.
    config
        Learning rate, clipping, number format and usual batch size.
    smallest
        Minimum number of examples in a part of a batch.

    Raises
    ------
    ConfigError
        If a point loss or augmentation is set and the task has none.
    """

    def __init__(
        self,
        model: ConvTimeNet | OtherNetwork,
        examples: Examples,
        config: TrainConfig,
        device: torch.device,
        smallest: int = 1,
    ):
        self.model, self.examples, self.config, self.device = model, examples, config, device
        self.smallest = smallest
        self.trained: nn.Module = model
        """The network, or with several processes what also adds up their gradients."""
        if processes.count() > 1:
            known = signature(DistributedDataParallel).parameters
            # the older name; the statistics are common without it
            synced = "forward_sync_buffers"
            options: dict[str, Any] = {
                synced if synced in known else "broadcast_buffers": False,
                "gradient_as_bucket_view": True,
            }
            self.trained = DistributedDataParallel(model, **options)
        self.loss = loss_of(model.config, config)
        self.changes = OBJECTIVES[model.config.head].changed_by(model.config, config)
        self.encoder = _encoder(model, config)
        """Parts of the network with a learning rate of their own."""
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        first = [p for p in model.embedding.parameters() if p.requires_grad]
        self.last_reached = first or self.parameters
        """Last parameters in the backward pass: any non-finite value reaches their gradients."""
        self.kept = [_Kept(buffers) for buffers in _by_dtype(model.buffers())]
        norms = [module for module in model.modules() if isinstance(module, TokenBatchNorm)]
        self.variances = [norm.running_var for norm in norms if norm.running_var is not None]
        self.parts = Parts("training", smallest)
        self.total = torch.zeros((), device=device)
        """Sum of the losses of this epoch's examples."""
        self.counts = torch.zeros(3, dtype=torch.int64, device=device)
        """Examples of this epoch, skipped steps so far, and how many of the latest in a row."""
        self.seen, self.skipped, self.run = self.counts.unbind()
        self.graphed: Graphed | None = None
        self.reads_back = device.type != "cuda"
        """Whether the host reads every step's flag: free on the CPU, a synchronisation on CUDA."""
        self.optimiser = self._adam()
        if not self.reads_back:
            self.leave_flag()
            alike = isinstance(model, ConvTimeNet) or model.alike
            if processes.count() == 1 and alike and not isinstance(examples, TaughtWindows):
                self.graphed = Graphed(config.batch_size, device)

    def leave_flag(self) -> None:
        """Keep the flag on the device, for Adam to read there. Call before the first step."""
        self.reads_back = False
        # The rates are tensors, so that they can change between replays of a graph.
        adam = self._adam(on_device=True)
        for group in adam.param_groups:
            group["lr"] = torch.full((), self.config.lr * group["factor"], device=self.device)
        self.unusable = torch.zeros((), device=self.device)
        adam.found_inf = self.unusable  # pyright: ignore[reportAttributeAccessIssue]
        # torch warns about steps outside a graph, as the first and odd-sized ones are
        adam._warned_capturable_if_run_uncaptured = True  # pyright: ignore[reportAttributeAccessIssue]
        self.optimiser = adam

    def _adam(self, on_device: bool = False) -> torch.optim.Optimizer:
        decay = self.config.weight_decay
        kind = torch.optim.AdamW if decay else torch.optim.Adam
        slow = {id(p) for part in self.encoder for p in part.parameters()}
        groups = [
            {"params": [p for p in self.parameters if (id(p) in slow) == own], "factor": factor}
            for own, factor in ((False, 1.0), (True, self.config.encoder_rate))
        ]
        optimiser = kind(
            [group for group in groups if group["params"]],
            lr=self.config.lr,
            weight_decay=decay,
            fused=on_device or None,
            capturable=on_device,
        )
        for group in optimiser.param_groups:
            group["lr"] = self.config.lr * group["factor"]
        return optimiser

    def set_rate(self, lr: float) -> None:
        """Set the learning rate."""
        for group in self.optimiser.param_groups:
            if self.reads_back:
                group["lr"] = lr * group["factor"]
            else:
                group["lr"].fill_(lr * group["factor"])

    def set_mode(self) -> None:
        """Put the network in training mode; frozen parts keep their statistics."""
        self.model.train()
        if not self.config.encoder_rate:
            for part in self.encoder:
                part.eval()

    def release(self) -> None:
        """Undo the freezing of parts, after the last step."""
        for part in self.encoder:
            part.requires_grad_(True)

    def __call__(self, index: Tensor) -> None:
        """Train on the examples at `index` (B,)."""
        if self.graphed is not None and self.parts.count == 1 and not self.model.recompute:
            try:
                if self.graphed(self._whole, index):
                    return
            except torch.OutOfMemoryError:
                self.graphed = None
                self._restore()
        self._careful(index)

    def _whole(self, index: Tensor) -> None:
        self._apply(self._gradients(index), len(index))

    def _careful(self, index: Tensor) -> None:
        """A step that is retried in smaller parts each time memory runs out."""
        while True:
            try:
                loss = self._gradients(index)
                break
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                if processes.count() > 1:  # the others wait within the same step
                    raise OutOfMemoryError(
                        f"memory ran out in a step with {len(index)} examples on "
                        f"{processes.count()} processes, {error}; use a smaller batch_size, more "
                        "processes or a memory_budget below which activations are recomputed"
                    ) from error
                self.optimiser.zero_grad()
                if self.graphed is None:
                    self.parts.double(len(index), error)
                self.graphed = None  # frees the graph's memory
            self._restore()
        self._apply(loss, len(index))

    def _gradients(self, index: Tensor) -> Tensor:
        """Compute the gradients of a batch, and return its loss."""
        for kept in self.kept:
            kept.take()
        self.optimiser.zero_grad()
        if processes.count() > 1:
            return self._together(index)
        n = self.parts.of(len(index))
        if n == 1:
            return self._backward(self._changed(self.examples.batch(index)), 1.0)
        batches = [self.examples.batch(part) for part in index.tensor_split(n)]
        weights = [_weight(batch) for batch in batches]
        whole = torch.stack(weights).sum().clamp(min=1e-12)
        losses = [
            self._backward(self._changed(batch), weight / whole)
            for batch, weight in zip(batches, weights, strict=True)
        ]
        return torch.stack(losses).sum()

    def _changed(self, batch: Batch) -> Batch:
        """The examples with random changes, if the objective or the settings ask for them."""
        return batch if self.changes is None else self.changes(batch, self.model.config)

    def _together(self, index: Tensor) -> Tensor:
        """The gradients with several processes, each with a part of the batch."""
        part, count = own_part(len(index), self.smallest), processes.count()
        if self.changes is not None:  # they are drawn for the whole batch
            batch = self.examples.batch(index)
            weight, batch = _weight(batch.part(part)), self._changed(batch).part(part)
        else:
            batch = self.examples.batch(index[part])
            weight = _weight(batch)
        whole = processes.add_up(weight.clone()).clamp(min=1e-12)
        with in_part(part, len(index)):
            # the gradients of the processes are averaged, and theirs are to be added
            loss = self._backward(batch, weight / whole * count)
        return processes.add_up(loss / count)

    def _backward(self, batch: Batch, share: Tensor | float) -> Tensor:
        with autocast(self.device, self.config):
            loss = self.loss(self.trained(*batch.inputs), batch.y, batch.weight) * share
        loss.backward()
        return loss.detach()

    @torch.no_grad()
    def _apply(self, loss: Tensor, n: int) -> None:
        """Update the weights if the loss of n examples, gradients and statistics are finite."""
        gradients = [p.grad.flatten() for p in self.last_reached if p.grad is not None]
        checked = loss + torch.cat([*gradients, *self.variances]).sum()
        if self.config.clip_norm is not None:
            checked += clip_grad_norm_(self.parameters, self.config.clip_norm)
        bad = ~torch.isfinite(checked)
        if not self.reads_back:
            self.unusable.copy_(bad)
            self.optimiser.step()
            for kept in self.kept:
                kept.give_back(bad)
        elif bad:
            self._restore()
        else:
            self.optimiser.step()
        self.total += torch.where(bad, torch.zeros_like(loss), loss * n)
        self.seen += n * ~bad
        self.skipped += bad
        self.run.add_(1).mul_(bad)

    def _restore(self) -> None:
        for kept in self.kept:
            kept.give_back()

    def begin_epoch(self) -> None:
        """Reset the epoch's loss sum and example count."""
        self.total.zero_()
        self.seen.zero_()

    def state(self) -> dict[str, Tensor]:
        """Weights and optimiser state, not copied."""
        adam = {
            f"adam.{number}.{name}": value
            for number, parameter in enumerate(self.parameters)
            for name, value in self.optimiser.state[parameter].items()
        }
        return {f"model.{name}": v for name, v in self.model.state_dict().items()} | adam

    def load(self, state: dict[str, Tensor]) -> None:
        """Load the output of `state` in place: a graph keeps the addresses it was captured with.

        Adam's values missing from a state saved before the first step become zero.
        """
        model = {n.removeprefix("model."): v for n, v in state.items() if n.startswith("model.")}
        self.model.load_state_dict(model)
        for values in self.optimiser.state.values():
            for value in values.values():
                value.zero_()
        for name, value in state.items():
            if name.startswith("adam."):
                _, number, key = name.split(".")
                mine = self.optimiser.state[self.parameters[int(number)]]
                if key in mine:
                    mine[key].copy_(value)
                else:  # Adam's step counter is on the CPU unless it is capturable
                    at = "cpu" if key == "step" and self.reads_back else self.device
                    mine[key] = value.detach().clone().to(at)


def _encoder(model: ConvTimeNet | OtherNetwork, config: TrainConfig) -> list[nn.Module]:
    """The parts of a network with another learning rate than the rest, frozen if it is 0."""
    if config.encoder_rate == 1:
        return []
    if isinstance(model, (PretrainedForecaster, PretrainedCases)):
        return [model.embedding]
    if not isinstance(model, ConvTimeNet):
        raise ConfigError(
            f"encoder_rate must be 1 for a {type(model).__name__}, which has no embedding and "
            f"blocks, found {config.encoder_rate:g}; leave it out"
        )
    found = [model.embedding, model.blocks]
    for part in found:
        part.requires_grad_(config.encoder_rate > 0)
    return found


class _Kept:
    """Backup of buffers of one dtype from before a step, as one flat tensor: saving and restoring
    take one or two kernels however many buffers there are."""

    def __init__(self, buffers: list[Tensor]):
        self.buffers = [buffer.view(-1) for buffer in buffers]
        self.sizes = [buffer.numel() for buffer in buffers]
        self.before = torch.cat(self.buffers)

    def take(self) -> None:
        """Save the current values."""
        torch.cat(self.buffers, out=self.before)

    def give_back(self, where: Tensor | None = None) -> None:
        """Restore the saved values; with a device flag `where` (), only if it is true."""
        values = self.before
        if where is not None:
            values = torch.where(where, values, torch.cat(self.buffers))
        torch._foreach_copy_(self.buffers, values.split(self.sizes))  # pyright: ignore[reportPrivateImportUsage]


def _by_dtype(buffers: Iterable[Tensor]) -> list[list[Tensor]]:
    groups: dict[torch.dtype, list[Tensor]] = {}
    for buffer in buffers:
        groups.setdefault(buffer.dtype, []).append(buffer)
    return list(groups.values())


def _weight(batch: Batch) -> Tensor:
    """Weight of a batch in a mean over several; by examples, if its targets are not drawn yet."""
    if batch.weight is None or not batch.y.numel():
        return torch.tensor(float(len(batch.y)), device=batch.y.device)
    if batch.weight.dim() < batch.y.dim():  # one for all shares or quantiles of a target
        return batch.weight.sum()
    return batch.weight.expand_as(batch.y).sum()
