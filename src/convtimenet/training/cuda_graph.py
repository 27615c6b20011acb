"""A training step captured once as a CUDA graph and replayed.

A small network's step is hundreds of kernels of a few microseconds each, and launching them one by
one takes longer than running them. A graph launches them all at once. It replays the same kernels
on the same addresses, so everything a step reads and writes must stay in place: the example indices
are copied into a fixed buffer, and the rest belongs to the step.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

log = logging.getLogger(__name__)

_WARM_UP = 3  # steps before the capture, in which libraries allocate their persistent memory


@functools.cache
def _stream(device: torch.device, thread: int) -> torch.cuda.Stream:
    """Capture stream of a thread; cached because cuBLAS keeps memory for every stream used."""
    return torch.cuda.Stream(device)


class Graphed:
    """Runs a step for batches of one size: a few times eagerly, then as a graph.

    The first steps are ordinary training steps on the capture stream; the capture itself computes
    nothing and is followed by its first replay. So each batch is trained on exactly once, in order,
    with the same random numbers as without a graph. A graph holds the memory of a whole step until
    it is dropped.

    Parameters
    ----------
    size
        B, the batch size to capture.
    device
        A CUDA device.
    """

    def __init__(self, size: int, device: torch.device):
        self.device = device
        self.index = torch.zeros(size, dtype=torch.int64, device=device)
        self.stream = _stream(device, threading.get_ident())
        self.graph: torch.cuda.CUDAGraph | None = None
        self.warm = 0
        self.refused = False

    def __call__(self, step: Callable[[Tensor], None], index: Tensor) -> bool:
        """Run the step; False if it was not run, because of its size or a failed capture.

        Parameters
        ----------
        step
            Trains on the examples at the indices (size,), without synchronising; must be the same
            function at every call, because the graph replays what it captured.

        Raises
        ------
        torch.OutOfMemoryError
            In one of the first steps, before the weights have changed.
        """
        if self.refused or len(index) != len(self.index):
            return False
        self.index.copy_(index)
        if self.graph is None and self.warm == _WARM_UP:
            self._capture(step)
            if self.refused:
                return False
        if self.graph is None:
            self._first(step)
        else:
            self.graph.replay()
        return True

    def _first(self, step: Callable[[Tensor], None]) -> None:
        """Run a step eagerly on the capture stream."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        try:
            with torch.cuda.stream(self.stream):
                step(self.index)
        finally:
            torch.cuda.current_stream(self.device).wait_stream(self.stream)
        self.warm += 1

    def _capture(self, step: Callable[[Tensor], None]) -> None:
        graph = torch.cuda.CUDAGraph()
        outside = torch.cuda.current_stream(self.device)
        generator = torch.cuda.default_generators[self.index.device.index or 0]
        before = generator.clone_state()
        pool = torch.cuda.graph_pool_handle()
        try:
            # "thread_local": CUDA calls of other threads neither break the capture nor are broken
            # by it; autograd's own thread only launches kernels
            with torch.cuda.graph(graph, pool, self.stream, capture_error_mode="thread_local"):
                step(self.index)
        except RuntimeError as error:
            # If a call broke the capture, ending it fails too: torch then leaves the capture stream
            # current and generator and allocator in capture mode, and raises the error of the end,
            # with the original one as its context.
            torch.cuda.set_stream(outside)
            generator.graphsafe_set_state(before)
            with suppress(RuntimeError):  # raised if the allocator has already left the capture
                number = self.index.device.index or 0
                torch._C._cuda_endAllocateToPool(number, pool)
                torch._C._cuda_releasePool(number, pool)
            self.refused = True
            cause = error.__context__ or error
            log.warning("training runs without a CUDA graph: %s", str(cause).splitlines()[0])
            return
        self.graph = graph
