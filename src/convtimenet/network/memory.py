"""How much memory a training step takes, and what is done to take less: activations computed
again, batches cut into parts.

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

log = logging.getLogger(__name__)

GIB = 2**30
_recomputing: ContextVar[bool] = ContextVar("recomputing", default=False)


def recomputing() -> bool:
    """Whether a block runs a second time, for its gradients: BatchNorm's running statistics have
    seen this batch already."""
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
    """Contexts of a block's first and second run, for ``torch.utils.checkpoint``: the second draws
    the random numbers that the first drew."""
    return nullcontext(), _again(device, random_state(device))


def predicted_peak(
    config: ModelConfig, rows: int, *, parameters: int, native: bool, recompute: bool, bf16: bool
) -> int:
    """Bytes that a training step holds at its peak, the data set itself left out.

    Parameters
    ----------
    rows
        R, series in a batch: windows x channels for forecasting, cases for classification.
    parameters
        Trainable values: each has a gradient and two values of Adam's.
    native
        Whether blocks run in the fused CPU kernels, which keep four values per token and width and
        no hidden values; plain torch keeps every step's result.
    recompute
        Whether only the tokens between blocks are kept.
    bf16
        Whether tokens have two bytes a value instead of four; patches and weights keep four.
    """
    D, F, N = config.d_model, config.d_ff, config.n_tokens
    depth, points = len(config.kernel_sizes), config.channels * config.patch_size
    # plain patches, sampled ones and their slope; the predictor's layer twice; the projection
    patches, embedding = 3 * points, 2 * 64 + (4 if config.embed_norm else 2) * D
    block = 4 * D if native else 13 * D + 4 * F
    second = 4 * D if native else 8 * D + 8 * F  # a block's second run beside its gradients
    kept = depth * D + block + second if recompute else depth * block
    working = 2 * D if native else 2 * D + 2 * F
    tokens = rows * N
    outputs = config.outputs * max(1, len(config.quantiles))
    series = 2 * rows * (config.channels * config.padded_length + outputs)
    head = rows * D * N * (2 if config.pooling == "flatten" else 0)
    of_tokens = tokens * (embedding + kept + working) + head
    return (2 if bf16 else 4) * of_tokens + 4 * (tokens * patches + series + 4 * parameters)


def available(device: torch.device) -> int:
    """Bytes that the device has free now; on Linux, what the process's control groups allow."""
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
    """Bytes that each control group around this process leaves: its limits less what is used.

    A container or a batch system limits memory so; /proc/meminfo knows only the machine. Files that
    are merely cached do not count as used, because the system drops them first.
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
        # inside a container the path may lie outside the mount: its root is the group then
        parts = [] if ".." in name.split("/") else name.strip("/").split("/")
        for depth in range(len(parts), -1, -1):
            group = mount.joinpath(*parts[:depth])
            used = _number(group / usage)
            for limit in (_number(group / limit) for limit in limits):
                if limit is not None and used is not None:
                    yield max(0, limit - max(0, used - _cached(group, cached)))


def _number(path: Path) -> int | None:
    """What a file of a control group holds; None for "max", or where there is no such file."""
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
    """Whether an error says that memory ran out; torch has no type of its own for it on CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = ("DefaultCPUAllocator", "out of memory", "bad_alloc")
    words += ("could not create a primitive", "could not create a memory")  # oneDNN's way to say it
    words += ("STATUS_ALLOC_FAILED",)  # cuBLAS's and cuDNN's
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


class Parts:
    """Into how many parts a batch is cut: 1, and twice as many each time memory runs out.

    Parameters
    ----------
    work
        What the parts are for, in the warning.
    smallest
        Examples that a part has at least.
    """

    def __init__(self, work: str, smallest: int = 1):
        self.work, self.smallest, self.count = work, smallest, 1

    def of(self, n: int) -> int:
        """Parts of a batch of n examples."""
        return max(1, min(self.count, n // self.smallest))

    def double(self, n: int, error: BaseException) -> None:
        """Cut a batch of n examples smaller from now on.

        Raises
        ------
        OutOfMemoryError
            If it cannot be cut further.
        """
        if n // (2 * self.of(n)) < self.smallest:
            raise OutOfMemoryError(
                f"memory does not suffice for {self.work} with {-(-n // self.of(n))} example(s) at "
                "a time; use a smaller network or shorter series, or a device with more memory"
            ) from error
        self.count = 2 * self.of(n)
        log.warning("memory ran out: %s goes on with each batch in %d parts", self.work, self.count)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def run(self, n: int, compute: Callable[[slice], Tensor]) -> list[Tensor]:
        """What `compute` gives for all parts of n examples, in order."""
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
