"""One optimisation step: forward, loss, backward, clipping, Adam; left out where not finite."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from convtimenet.batch import Batch
from convtimenet.config import TrainConfig
from convtimenet.data.windows import Examples
from convtimenet.devices import autocast
from convtimenet.network.layers import TokenBatchNorm
from convtimenet.network.memory import Parts, out_of_memory
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.other import OtherNetwork
from convtimenet.training.cuda_graph import Graphed
from convtimenet.training.losses import loss_of


class Step:
    """Trains a network on one batch per call.

    A step whose loss, gradients or BatchNorm statistics are not finite leaves weights, optimiser
    and statistics as they were and is counted. (An overflow in the gradient of a single weight,
    with everything before and behind it finite, shows in the next loss.) On CUDA nothing is read
    back for that: Adam's fused kernel looks at the flag itself, and a step of the usual size is
    captured as a CUDA graph once and replayed. Where memory runs out, a batch is cut into parts
    whose gradients add up to those of the whole (each part has its own BatchNorm statistics, as a
    smaller batch would).

    Parameters
    ----------
    model, device
        The network and the device that it and the examples are on.
    examples
        Where batches come from.
    config
        Learning rate, clipping, number format and usual batch size.
    smallest
        Examples that a part of a batch has at least.
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
        self.loss = loss_of(model.config, config)
        self.parameters = list(model.parameters())
        self.last_reached = list(model.embedding.parameters())
        """Whatever is not finite on a gradient's way back from the loss ends up in theirs."""
        self.kept = [_Kept(buffers) for buffers in _by_dtype(model.buffers())]
        norms = [module for module in model.modules() if isinstance(module, TokenBatchNorm)]
        self.variances = [norm.running_var for norm in norms if norm.running_var is not None]
        self.parts = Parts("training", smallest)
        self.total = torch.zeros((), device=device)
        """Sum of the losses of this epoch's examples."""
        self.counts = torch.zeros(3, dtype=torch.int64, device=device)
        """Examples of this epoch, steps skipped so far, and how many of them in a row until now."""
        self.seen, self.skipped, self.run = self.counts.unbind()
        self.graphed: Graphed | None = None
        self.reads_back = device.type != "cuda"
        """Whether every step looks at its own flag: free on the CPU, a wait for the GPU on CUDA."""
        self.optimiser = torch.optim.Adam(self.parameters, lr=config.lr)
        if not self.reads_back:
            self.leave_flag()
            self.graphed = Graphed(config.batch_size, device)

    def leave_flag(self) -> None:
        """Have steps leave their flag on the device and Adam look at it there. Before the first."""
        self.reads_back = False
        # The rate is a tensor, so that it can change between replays of a graph.
        self.rate = torch.full((), self.config.lr, device=self.device)
        adam = torch.optim.Adam(self.parameters, lr=self.config.lr, fused=True, capturable=True)
        for group in adam.param_groups:
            group["lr"] = self.rate
        self.unusable = torch.zeros((), device=self.device)
        adam.found_inf = self.unusable  # pyright: ignore[reportAttributeAccessIssue]
        # torch warns of steps outside a graph; the first ones and those of other sizes are
        adam._warned_capturable_if_run_uncaptured = True  # pyright: ignore[reportAttributeAccessIssue]
        self.optimiser = adam

    def set_rate(self, lr: float) -> None:
        """Use this learning rate from now on."""
        if not self.reads_back:
            self.rate.fill_(lr)
            return
        for group in self.optimiser.param_groups:
            group["lr"] = lr

    def __call__(self, index: Tensor) -> None:
        """Train on the examples numbered `index` (B,)."""
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
        """A step in smaller parts each time memory runs out."""
        while True:
            try:
                loss = self._gradients(index)
                break
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                self.optimiser.zero_grad()
                if self.graphed is None:
                    self.parts.double(len(index), error)
                self.graphed = None  # its memory may be what is missing
            self._restore()
        self._apply(loss, len(index))

    def _gradients(self, index: Tensor) -> Tensor:
        """Compute the gradients of a batch, and return its loss."""
        for kept in self.kept:
            kept.take()
        self.optimiser.zero_grad()
        n = self.parts.of(len(index))
        if n == 1:
            return self._backward(self.examples.batch(index), 1.0)
        batches = [self.examples.batch(part) for part in index.tensor_split(n)]
        weights = [_weight(batch) for batch in batches]
        whole = torch.stack(weights).sum().clamp(min=1e-12)
        losses = [self._backward(b, w / whole) for b, w in zip(batches, weights, strict=True)]
        return torch.stack(losses).sum()

    def _backward(self, batch: Batch, share: Tensor | float) -> Tensor:
        with autocast(self.device, self.config):
            loss = self.loss(self.model(*batch.inputs), batch.y, batch.weight) * share
        loss.backward()
        return loss.detach()

    @torch.no_grad()
    def _apply(self, loss: Tensor, n: int) -> None:
        """Move the weights, if the loss of n examples and what came with it are finite."""
        watched = [p.grad.flatten() for p in self.last_reached if p.grad is not None]
        looked_at = loss + torch.cat([*watched, *self.variances]).sum()
        if self.config.clip_norm is not None:
            looked_at += clip_grad_norm_(self.parameters, self.config.clip_norm)
        bad = ~torch.isfinite(looked_at)
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
        """Forget the losses so far."""
        self.total.zero_()
        self.seen.zero_()

    def state(self) -> dict[str, Tensor]:
        """Weights and optimiser as they are, not copied."""
        adam = {
            f"adam.{number}.{name}": value
            for number, parameter in enumerate(self.parameters)
            for name, value in self.optimiser.state[parameter].items()
        }
        return {f"model.{name}": v for name, v in self.model.state_dict().items()} | adam

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave, in place: a graph keeps the addresses it was captured with.

        Adam's values that a state from before the first step lacks become zero, as they were.
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
                else:  # Adam counts its steps on the CPU unless they are captured
                    at = "cpu" if key == "step" and self.reads_back else self.device
                    mine[key] = value.detach().clone().to(at)


class _Kept:
    """Buffers of one type as they were before a step, in one piece: to keep and to give back are
    one or two kernels however many there are."""

    def __init__(self, buffers: list[Tensor]):
        self.buffers = [buffer.view(-1) for buffer in buffers]
        self.sizes = [buffer.numel() for buffer in buffers]
        self.before = torch.cat(self.buffers)

    def take(self) -> None:
        """Keep them as they are now."""
        torch.cat(self.buffers, out=self.before)

    def give_back(self, where: Tensor | None = None) -> None:
        """Bring them back to what they were, if `where` () says so on the device."""
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
    """What a batch counts in a mean over several."""
    if batch.weight is None:
        return torch.tensor(float(len(batch.y)), device=batch.y.device)
    return batch.weight.expand_as(batch.y).sum()
