"""Memory of a training step: its prediction, recomputation of activations and splitting of batches.

Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path

import torch
from torch import Tensor

from convtimenet.config import ModelConfig
from convtimenet.devices import random_state, set_random_state
from convtimenet.errors import OutOfMemoryError
from convtimenet.network.mixing import MESSAGE_WIDTH, RECENT

log = logging.getLogger(__name__)

GIB = 2**30
_recomputing: ContextVar[bool] = ContextVar("recomputing", default=False)


def recomputing() -> bool:
    """Whether a block is being recomputed for its gradients: BatchNorm's running statistics already
    include this batch."""
    return not torch.compiler.is_compiling() and _recomputing.get()


@contextmanager
def _again(device: torch.device, first: Tensor) -> Iterator[None]:
    token = _recomputing.set(True)
    state = random_state(device)
    set_random_state(device, first)
    try:
        yield
    finally:
        set_random_state(device, state)
        _recomputing.reset(token)


def first_and_again(
    device: torch.device,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of a block's forward and recomputation, for ``torch.utils.checkpoint``: both use the
    same random numbers."""
    return nullcontext(), _again(device, random_state(device))


def predicted_peak(
    config: ModelConfig, rows: int, *, parameters: int, native: bool, recompute: bool, bf16: bool
) -> int:
    """Predicted peak memory of a training step in bytes, excluding the data set.

    Parameters
    ----------
    rows
        R, series in a batch: windows x channels for forecasting, cases for classification.
    parameters
        Number of trainable parameters: each has a gradient and two values of Adam's state.
    native
        Whether blocks run in the fused CPU kernels, which keep four values per token and channel
        and no hidden values; plain torch keeps every intermediate result.
    recompute
        Whether only the tokens between blocks are kept.
    bf16
        Whether tokens take two bytes per value instead of four; patches and weights take four.
    """
    D, F, N = config.d_model, config.d_ff, config.n_tokens
    depth, points = len(config.kernel_sizes), config.channels * config.patch_size
    # uniform and sampled patches and their slope; the predictor's hidden layer twice; projection
    patches, embedding = 3 * points, 2 * 64 + (4 if config.embed_norm else 2) * D
    block = 4 * D if native else 13 * D + 4 * F
    second = 4 * D if native else 8 * D + 8 * F  # recomputation of a block during its backward pass
    kept = depth * D + block + second if recompute else depth * block
    working = 2 * D if native else 2 * D + 2 * F
    tokens = rows * N
    outputs = config.outputs * max(1, len(config.quantiles))
    series = 2 * rows * (config.channels * config.padded_length + outputs)
    head = rows * D * N * (2 if config.pooling == "flatten" else 0)
    if config.channel_mixing:  # sums of patches and messages, with their slopes
        windows = rows // config.mixed_channels
        said = min(RECENT, N) * (D + MESSAGE_WIDTH) + config.outputs
        series += 2 * windows * config.channel_mixing * said
    of_tokens = tokens * (embedding + kept + working) + head
    return (2 if bf16 else 4) * of_tokens + 4 * (tokens * patches + series + 4 * parameters)


def available(device: torch.device) -> int:
    """Free memory of the device in bytes; on Linux, within the limits of the control groups."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration):
        pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**21
        free = pages * 4096
    return min([free, *_group_memory()])


_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def _group_memory() -> Iterator[int]:
    """Bytes left in each control group of this process: its limits minus the memory in use.

    Containers and batch systems limit memory this way; /proc/meminfo only describes the machine.
    The file cache does not count as in use, because the system drops it first.
    """
    try:
        lines = _MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        controllers, _, name = line.partition(":")[2].partition(":")
        if not controllers:  # version 2
            mount, limits = _CGROUPS, ("memory.max", "memory.high")
            usage, cached = "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            mount, limits = _CGROUPS / "memory", ("memory.limit_in_bytes",)
            usage, cached = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        # inside a container the path may lie outside the mount, whose root is then the group
        parts = [] if ".." in name.split("/") else name.strip("/").split("/")
        for depth in range(len(parts), -1, -1):
            group = mount.joinpath(*parts[:depth])
            used = _number(group / usage)
            for limit in (_number(group / limit) for limit in limits):
                if limit is not None and used is not None:
                    yield max(0, limit - max(0, used - _cached(group, cached)))


def _number(path: Path) -> int | None:
    """Number in a control group file; None for "max", or if there is no such file."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _cached(group: Path, key: str) -> int:
    try:
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        return next(int(value) for name, value in map(str.split, lines) if name == key)
    except (OSError, ValueError, StopIteration):
        return 0


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means out of memory; torch has no exception type for it on CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = ("DefaultCPUAllocator", "out of memory", "bad_alloc")
    words += ("could not create a primitive", "could not create a memory")  # from oneDNN
    words += ("STATUS_ALLOC_FAILED",)  # from cuBLAS and cuDNN
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


class Parts:
    """Number of parts a batch is split into: 1, doubled each time memory runs out.

    Parameters
    ----------
    work
        Name of the computation, for messages.
    smallest
        Minimum number of examples in a part.
    """

    def __init__(self, work: str, smallest: int = 1):
        self.work, self.smallest, self.count = work, smallest, 1

    def of(self, n: int) -> int:
        """Number of parts for a batch of n examples."""
        return max(1, min(self.count, n // self.smallest))

    def double(self, n: int, error: BaseException) -> None:
        """Split batches of n examples into twice as many parts from now on.

        Raises
        ------
        OutOfMemoryError
            If they cannot be split further.
        """
        if n // (2 * self.of(n)) < self.smallest:
            raise OutOfMemoryError(
                f"not enough memory for {self.work} with {-(-n // self.of(n))} example(s) at a "
                "time; use a smaller network, shorter series or a device with more memory"
            ) from error
        self.count = 2 * self.of(n)
        log.warning("memory ran out: %s continues with batches in %d parts", self.work, self.count)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def run(self, n: int, compute: Callable[[slice], Tensor]) -> list[Tensor]:
        """Results of `compute` for all parts of n examples, in order."""
        done: list[Tensor] = []
        first = 0
        while first < n or not done:
            part = slice(first, min(n, first + -(-n // self.of(n))))
            try:
                done.append(compute(part))
                first = part.stop
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                self.double(n, error)
        return done
