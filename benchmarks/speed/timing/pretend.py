"""A fake accelerator that counts the operations launched and the bytes moved.

Tensors have a shape, a type and a device but no values. We use torch's "lazy" device, because torch
takes the same paths for it as for CUDA and can compute gradients without its library. Reading
values back and copying between devices raise. So does anything that prevents CUDA graph capture,
as far as that can be known without a real device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import optimizer  # pyright: ignore[reportAttributeAccessIssue]
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from convtimenet.config import TrainConfig
from convtimenet.data.windows import LabelledCases, Windows
from convtimenet.network.inference import fuse
from convtimenet.network.model import ConvTimeNet, count_parameters
from convtimenet.training.step import Step

from . import work
from .cases import Case, Phase
from .contestants import NotRun, authors_network

DEVICE = torch.device("lazy", 0)
# Operations that only create views or allocate memory.
FREE = {
    *("alias", "detach", "view", "_unsafe_view", "t", "transpose", "permute", "slice", "select"),
    *("squeeze", "unsqueeze", "expand", "unfold", "unbind", "split", "split_with_sizes"),
    *("as_strided", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
    *("device", "lift_fresh", "_record_function_enter_new", "_record_function_exit"),
}


class DeviceError(Exception):
    """A host tensor was combined with one on the accelerator, which would force a wait."""


class Kernels(TorchDispatchMode):
    """Counts operations on the accelerator, each once: most are one kernel.

    Bytes are those of all tensors that an operation reads and writes. A matmul with a broadcast
    addend first writes and reads it in full, because cuBLAS needs it expanded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.split("::")[1]
        # fake tensors do not know Adam's kernel, which returns nothing
        out = None if name == "_fused_adam_" else func(*args, **(kwargs or {}))
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        made = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        kinds = {t.device.type for t in (*given, *made)}
        if kinds == {"cpu", DEVICE.type}:
            raise DeviceError(f"{name} of tensors on the host and on the accelerator")
        if DEVICE.type in kinds and name not in FREE:
            self.calls[name] += 1
            self.bytes[name] += sum(t.numel() * t.element_size() for t in (*given, *made))
            added = args[0] if name in ("addmm", "baddbmm") else None
            if added is not None and added.dim() > 1 and added.numel() < made[0].numel():
                self.bytes[name] += 2 * made[0].numel() * made[0].element_size()
        return out


@contextmanager
def accelerator() -> Iterator[None]:
    """Context in which `DEVICE` can be used, in float32."""
    fused = [*optimizer._get_fused_kernels_supported_devices(), DEVICE.type]
    with (
        FakeTensorMode(),
        mock.patch.object(optimizer, "_get_fused_kernels_supported_devices", return_value=fused),
        # copies of a network stay in the same mode
        mock.patch.object(FakeTensorMode, "__deepcopy__", lambda mode, _: mode, create=True),
        mock.patch.object(torch, "autocast", return_value=nullcontext()),
        torch.autograd.set_multithreading_enabled(False),
    ):
        yield


def counted(case: Case, phase: Phase) -> Kernels:
    """One training step as the package does it, or one evaluation of the fused network.

    A batch is gathered from a table first, or from cases.
    """
    config, (B, C, L) = case.config, (case.batch, case.channels, case.config.context_length)
    with accelerator():
        with DEVICE:
            network = ConvTimeNet(config).train()
            index = torch.arange(B)
            if config.head == "forecast":
                starts = torch.arange(4 * B)
                rows = L + config.outputs + len(starts) - 1
                examples = Windows(torch.empty(C, rows), starts, L, config.outputs)
            else:
                examples = AllKnown(torch.empty(B, C, L), torch.empty(B, dtype=torch.int64))
        kernels = Kernels()
        if phase == "train":
            training = TrainConfig(batch_size=B, lr=case.lr, device="cpu")
            step = Step(network, examples, training, DEVICE)
            step.leave_flag()
            with Kernels():
                step._whole(index)  # the first step creates Adam's state
            with kernels:
                step._whole(index)
        else:
            network = fuse(network)
            with kernels, torch.no_grad():
                network(*examples.batch(index).inputs)
    return kernels


def counted_of_authors(case: Case, phase: Phase) -> Kernels:
    """The same for the authors' network: forward, loss, backward and the same Adam, or forward.

    What it copies from the host in every pass is created on the device here.

    Raises
    ------
    NotRun
        If the network is not installed.
    """
    config = case.config
    with accelerator(), DEVICE:
        network = authors_network(case, DEVICE).train(phase == "train")
        for module in network.modules():  # some are always created on the host
            for name, buffer in module.named_buffers(recurse=False):
                module.register_buffer(name, torch.empty_like(buffer, device=DEVICE))
        x = torch.empty(case.batch, config.context_length, case.channels)
        if config.head == "forecast":
            loss_of, y = F.mse_loss, torch.empty(case.batch, config.outputs, case.channels)
        else:
            loss_of, y = F.cross_entropy, torch.empty(case.batch, dtype=torch.int64)
        optimiser = torch.optim.Adam(network.parameters(), lr=case.lr, fused=True)

        def step() -> None:
            optimiser.zero_grad()
            loss_of(network(x), y).backward()
            optimiser.step()

        kernels = Kernels()
        if phase == "train":
            with Kernels():
                step()  # the first step creates Adam's state
            with kernels:
                step()
        else:
            with kernels, torch.no_grad():
                network(x)
    return kernels


class AllKnown(LabelledCases):
    """Cases without gaps; looking for gaps would read values."""

    def __init__(self, x: Tensor, y: Tensor):
        self.x, self.y, self.weight, self.complete = x, y, None, True


def table(cases: Sequence[Case]) -> list[str]:
    """Operations and bytes of each case in plain torch and float32 as Markdown, with the authors'
    for comparison if sktime is installed."""
    lines = [
        "| case | phase | operations | GB moved | GB with everything fused | Gflop "
        "| authors: operations | GB moved |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for case in cases:
        parameters = count_parameters(ConvTimeNet(case.config))
        phases: tuple[Phase, ...] = ("train", "eval")
        for phase, need in zip(phases, (work.step, work.forward), strict=True):
            kernels, least = counted(case, phase), need(case.config, case.rows, parameters)
            try:
                theirs = counted_of_authors(case, phase)
                authors = f"{theirs.calls.total()} | {theirs.bytes.total() / 1e9:.3g}"
            except NotRun:
                authors = " | "
            lines.append(
                f"| {case.name} | {phase} | {kernels.calls.total()} "
                f"| {kernels.bytes.total() / 1e9:.3g} | {least.bytes / 1e9:.2g} "
                f"| {least.flops / 1e9:.3g} | {authors} |"
            )
    return lines
