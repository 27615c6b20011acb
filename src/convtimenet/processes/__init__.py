"""Training by several processes: who this process is, and what all of them agree on.

Processes that have joined a group of ``torch.distributed`` (``torchrun`` starts them, the command
line or the caller joins) train one network together. All of them run the same program and take the
same decisions: what could differ between them (a signal, the time, a file of the first process) is
agreed here. Without a group, or in a group of one, every function is the identity.

Tensors of the training travel through the default group (gloo or nccl), decisions through a gloo
group of their own, so that they never wait for a GPU.
"""

from __future__ import annotations

import gc
import hashlib
import os
import shlex
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from convtimenet.errors import ConfigError, ProcessError
from convtimenet.files import json_text
from convtimenet.processes.meeting import check_described, meet

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_LOST = (
    "gloo",
    "NCCL",
    "Connection closed",
    "Connection reset",
    "Broken pipe",
    "ime out",
    "imed out",
)
"""What the messages of torch.distributed's errors hold when another process is gone."""


def _group() -> Any:
    """``torch.distributed`` if this process has joined a group; others import torch."""
    found = sys.modules.get("torch.distributed")
    return found if found is not None and found.is_available() and found.is_initialized() else None


def cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def count() -> int:
    """Number of processes that train together."""
    group = _group()
    return 1 if group is None else group.get_world_size()


def rank() -> int:
    """Number of this process, from 0."""
    group = _group()
    return 0 if group is None else group.get_rank()


def leads() -> bool:
    """Whether this process reports progress and writes files."""
    return rank() == 0


def check_alone(what: str) -> None:
    """Refuse what several processes cannot do together, before anything is written.

    Raises
    ------
    ConfigError
        If this process is one of several that train together.
    """
    if count() > 1:
        raise ConfigError(
            f"{what} expects a process of its own, found one of {count()} that train one network "
            "together; start it outside of the group (without torchrun, or before joining), once "
            "for each worker"
        )


def on_this_machine() -> int:
    """Number of them on this machine, if torchrun has started them."""
    return min(count(), int(os.environ.get("LOCAL_WORLD_SIZE", count())))


def started_by_torchrun() -> bool:
    """Whether the environment is that of one of several processes that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


@contextmanager
def joined(timeout: timedelta = timedelta(minutes=30)) -> Iterator[None]:
    """Join the group that torchrun describes for the duration of the block, with one GPU a process
    if the machine has enough, and the machine's cores divided among its processes.

    At the end all wait for each other as long as it takes: the first may have files to write.

    Parameters
    ----------
    timeout
        How long a process waits for the others to join, and within the block.

    Raises
    ------
    ConfigError
        If the environment describes no group.
    ProcessError
        If another process cannot be reached, or ends inside the block.
    """
    import torch

    check_described()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    backend = "gloo"
    if torch.cuda.is_available() and torch.cuda.device_count() >= here:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "nccl"
    torch.set_num_threads(max(1, cores() // here))
    meet(backend, timeout)
    with watched():
        _for_decisions()
        yield
    # after an error the other processes may be gone, and taking leave of them would wait
    with watched(
        "has done its part; another one, which may have had files to write, has failed or ended "
        "before that"
    ):
        _wait_for_all()
        torch.distributed.barrier()  # a process that still listens aborts where another has gone
    # DistributedDataParallel lives in cycles and holds the group, whose threads have to end now:
    # one that lets go of a tensor while the interpreter ends aborts the process
    global _machine
    _machine = None
    gc.collect()
    torch.distributed.destroy_process_group()


_NO_LIMIT = timedelta(days=365)


def _wait_for_all() -> None:
    """A barrier that only the end of a process ends; a group's own has the group's limit."""
    import torch

    word, group = torch.zeros(1), _for_decisions()
    others = range(1, count()) if leads() else [0]
    hear, tell = torch.distributed.irecv, torch.distributed.isend
    for pass_on in (hear, tell) if leads() else (tell, hear):
        for other in others:
            passed = pass_on(word, other, group)
            assert passed is not None
            passed.wait(_NO_LIMIT)


@contextmanager
def watched(
    what: str = "waited for another one that has ended or cannot be reached",
) -> Iterator[None]:
    """Turn the failure of another process into an error that says what to do.

    Parameters
    ----------
    what
        What this process did meanwhile, and what became of the other one.

    Raises
    ------
    ProcessError
        If this process waited for another one that is gone.
    """
    try:
        yield
    except RuntimeError as error:
        if count() == 1 or not any(word in str(error) for word in _LOST):
            raise
        raise ProcessError(
            f"process {rank()} of {count()} {what} ({str(error).splitlines()[0]}); its own output "
            "says why. The same command with a folder for checkpoints (resume) goes on from the "
            "newest one, and torchrun --max-restarts N does so by itself"
        ) from error


# --- sums of tensors -----------------------------------------------------------------------------


def add_up(values: Tensor) -> Tensor:
    """Sum a tensor over all processes, in place."""
    group = _group()
    if group is not None and group.get_world_size() > 1:
        group.all_reduce(values)
    return values


def summed(values: np.ndarray) -> np.ndarray:
    """The sum of an array over all processes, which is computed on the CPU.

    Raises
    ------
    ProcessError
        If another process is gone.
    """
    if count() == 1:
        return values
    import torch

    with watched():
        together = torch.from_numpy(values)
        torch.distributed.all_reduce(together, group=_for_decisions())
    return together.numpy()


# --- decisions -----------------------------------------------------------------------------------

_decisions: tuple[Any, Any] | None = None
"""The default group, and the one that decisions travel through."""


def _for_decisions() -> Any:
    """A gloo group; all processes ask for it first at the same point of the program."""
    global _decisions
    group = _group()
    whole = group.group.WORLD
    if _decisions is None or _decisions[0] is not whole:
        own = whole if group.get_backend() == "gloo" else group.new_group(backend="gloo")
        _decisions = whole, own
    return _decisions[1]


def agreed(*values: int) -> tuple[int, ...]:
    """The largest of each value over all processes."""
    if count() == 1:
        return values
    import torch

    together = torch.tensor(values, dtype=torch.int64)
    torch.distributed.all_reduce(together, torch.distributed.ReduceOp.MAX, group=_for_decisions())
    return tuple(together.tolist())


def of_first(value: float) -> float:
    """A number of the first process."""
    if count() == 1:
        return value
    import torch

    told = torch.tensor([value], dtype=torch.float64)
    torch.distributed.broadcast(told, 0, group=_for_decisions())
    return float(told)


def bytes_of_first(make: Callable[[], bytes | None]) -> bytes | None:
    """What `make` returns in the first process, which alone calls it.

    Raises
    ------
    ProcessError
        In the other processes, if it raised an error there.
    """
    if count() == 1:
        return make()
    import torch

    broadcast, group = torch.distributed.broadcast, _for_decisions()
    size, found = torch.tensor([_FAILED]), None
    if leads():
        try:
            found = make()
            size.fill_(_NOTHING if found is None else len(found))
        finally:  # the others wait, also if there is an error
            broadcast(size, 0, group=group)
    else:
        broadcast(size, 0, group=group)
    if size == _FAILED:
        raise ProcessError(
            f"process {rank()} ends because process 0 has failed; its message says why"
        )
    if size == _NOTHING:
        return None
    told = torch.empty(int(size), dtype=torch.uint8)
    if found:
        told = torch.frombuffer(bytearray(found), dtype=torch.uint8)
    if len(told):
        broadcast(told, 0, group=group)
    return told.numpy().tobytes()


_FAILED, _NOTHING = -2, -1
_COMMAND = 400
"""Bytes of a command in a message, at most."""


def text_of_first(make: Callable[[], str]) -> str:
    """`bytes_of_first` for text."""
    return (bytes_of_first(lambda: make().encode()) or b"").decode()


def all_of(values: Tensor) -> list[Tensor]:
    """A CPU tensor of every process, in the order of the processes."""
    if count() == 1:
        return [values]
    import torch

    found = [torch.empty_like(values) for _ in range(count())]
    torch.distributed.all_gather(found, values, group=_for_decisions())
    return found


def check_same(what: str, description: Any) -> None:
    """Compare plain values between all processes.

    Raises
    ------
    ProcessError
        If a process has other ones than the first; with the commands, if they differ.
    """
    if count() == 1:
        return
    import torch

    digest = hashlib.sha256(json_text(description).encode()).digest()
    found = all_of(torch.frombuffer(bytearray(digest), dtype=torch.uint8))
    other = [str(number) for number, one in enumerate(found) if not one.equal(found[0])]
    if other:
        own = f"{shlex.join(sys.argv)} in {os.getcwd()}".encode()[:_COMMAND].ljust(_COMMAND, b"\0")
        told = all_of(torch.frombuffer(bytearray(own), dtype=torch.uint8))
        commands = [bytes(one.tolist()).rstrip(b"\0").decode(errors="replace") for one in told]
        first = int(other[0])
        raise ProcessError(
            f"all processes that train together need the same data and settings, and {what} of "
            f"process {', '.join(other)} differs from that of process 0; start all of them with "
            "the same command and the same files"
            + (
                f" (process 0: {commands[0]}; process {first}: {commands[first]})"
                if commands[first] != commands[0]
                else ""
            )
        )


# --- what the processes of a machine share out ---------------------------------------------------

_in_step = 0
_machine: tuple[Any, list[int], Any] | None = None
"""The default group, and the numbers and the group of the processes of this machine."""


@contextmanager
def in_step() -> Iterator[None]:
    """All processes run this block, and everything in it in the same order: those of one machine
    may then share out what each would else read or compute for itself."""
    global _in_step
    _in_step += 1
    try:
        yield
    finally:
        _in_step -= 1


def share() -> tuple[int, int]:
    """The number of this process among those that share out work, and how many they are: those that
    see the same folder for temporary files, inside of `in_step`; (0, 1) outside of it."""
    if not _in_step or count() == 1:
        return 0, 1
    _, ranks, _ = _of_machine()
    return ranks.index(rank()), len(ranks)


def told(data: bytes) -> list[bytes]:
    """What each process of `share` tells the others, in their order; none goes on before all have.

    Raises
    ------
    ProcessError
        If one of them is gone.
    """
    if share()[1] == 1:
        return [data]
    import torch

    _, ranks, group = _of_machine()
    gather = torch.distributed.all_gather
    with watched():
        sizes = [torch.empty(1, dtype=torch.int64) for _ in ranks]
        gather(sizes, torch.tensor([len(data)]), group=group)
        longest = max(int(size) for size in sizes)
        if not longest:
            return [b""] * len(ranks)
        own = torch.frombuffer(bytearray(data.ljust(longest, b"\0")), dtype=torch.uint8)
        found = [torch.empty_like(own) for _ in ranks]
        gather(found, own, group=group)
    return [one[:size].numpy().tobytes() for one, size in zip(found, sizes, strict=True)]


def _of_machine() -> tuple[Any, list[int], Any]:
    global _machine
    group = _group()
    whole = group.group.WORLD
    if _machine is None or _machine[0] is not whole:
        import torch

        folder = os.stat(tempfile.gettempdir())
        name = f"{socket.gethostname()} {folder.st_dev} {folder.st_ino}"
        digest = hashlib.sha256(name.encode()).digest()
        with watched():
            names = all_of(torch.frombuffer(bytearray(digest), dtype=torch.uint8))
            names = [one.numpy().tobytes() for one in names]
            for one in dict.fromkeys(names):  # each asks for the group of every machine
                ranks = [number for number, other in enumerate(names) if other == one]
                made = group.new_group(ranks, backend="gloo")
                if rank() in ranks:
                    _machine = whole, ranks, made
    assert _machine is not None
    return _machine
