"""A training step captured once as a CUDA graph and replayed.

A small network's step is hundreds of kernels of a few microseconds each, and launching them one by
one takes longer than running them. A graph launches them all at once. It replays the same kernels
on the same addresses, so all that a step reads and writes must stay where it is: the numbers of the
examples are copied into one buffer, everything else is the step's own.
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

_WARM_UP = 3  # steps before the capture, in which libraries allocate what they keep


@functools.cache
def _stream(device: torch.device, thread: int) -> torch.cuda.Stream:
    """The stream that a thread captures on: cuBLAS keeps memory for every stream it has seen."""
    return torch.cuda.Stream(device)


class Graphed:
    """Runs a step for batches of one size: a few times as it is, then as a graph.

    The first steps are real ones on the stream that captures; the capture itself computes nothing
    and is followed by its first replay. So each batch is trained on once, in order, with the random
    numbers of its turn. A graph keeps the memory of a whole step until it is dropped.

    Parameters
    ----------
    size
        B, the batch size that is captured.
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
        """Do the step; False if it was not done, because of its size or a failed capture.

        Parameters
        ----------
        step
            Trains on the examples numbered by a tensor (size,), without reading anything back; the
            same one at every call, for the graph repeats what it captured.

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
        """A step as it is, on the stream of the capture."""
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
            # "thread_local": what other threads of the program do meanwhile neither breaks the
            # capture nor is broken by it; autograd's own thread only launches kernels
            with torch.cuda.graph(graph, pool, self.stream, capture_error_mode="thread_local"):
                step(self.index)
        except RuntimeError as error:
            # Where a call broke the capture, ending it fails too: then torch leaves the capture's
            # stream current, generator and allocator waiting for the end, and the error is that of
            # the end; the call's own stands behind it.
            torch.cuda.set_stream(outside)
            generator.graphsafe_set_state(before)
            with suppress(RuntimeError):  # where the allocator was told of the end
                number = self.index.device.index or 0
                torch._C._cuda_endAllocateToPool(number, pool)
                torch._C._cuda_releasePool(number, pool)
            self.refused = True
            cause = error.__context__ or error
            log.warning("training runs without a CUDA graph: %s", str(cause).splitlines()[0])
            return
        self.graph = graph
