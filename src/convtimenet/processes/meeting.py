"""How processes find each other before they train together."""

from __future__ import annotations

import os
import time
import uuid
from datetime import timedelta
from typing import Any

from convtimenet.errors import ConfigError, ProcessError

_DESCRIBED = "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"
"""Variables of the environment that torchrun sets."""


def check_described() -> None:
    """Refuse to join what the environment does not describe.

    Raises
    ------
    ConfigError
        If a variable is missing.
    """
    missing = [name for name in _DESCRIBED if name not in os.environ]
    if missing:
        raise ConfigError(
            f"joined() expects the variables {', '.join(_DESCRIBED)}, found no "
            f"{', '.join(missing)}; start the program with torchrun, which sets them"
        )


def meet(backend: str, timeout: timedelta) -> None:
    """Connect this process with the others that the environment describes.

    Raises
    ------
    ProcessError
        If one of them cannot be reached, or they cannot reach each other.
    """
    import torch
    from torch.distributed.rendezvous import rendezvous

    try:
        store, number, size = next(rendezvous("env://", timeout=timeout))
        store = torch.distributed.PrefixStore(  # pyright: ignore[reportPrivateImportUsage]
            attempt(store, number, size, timeout), store
        )
        torch.distributed.init_process_group(
            backend, store=store, rank=number, world_size=size, timeout=timeout
        )
    except (RuntimeError, ValueError, TimeoutError) as error:
        number, size, address, port = (os.environ[name] for name in _DESCRIBED)
        raise ProcessError(
            f"process {number} of {size} expected to meet the others at {address}:{port} within "
            f"{timeout.total_seconds():g} s, found: {str(error).splitlines()[0]}; see that all "
            f"{size} are started and have not ended (their own output says why), that {address} is "
            "the machine of process 0, and that the machines reach each other (GLOO_SOCKET_IFNAME "
            "names the network); torchrun --max-restarts N tries again by itself"
        ) from error


def attempt(store: Any, number: int, size: int, timeout: timedelta) -> str:
    """A new name that the processes which join now agree on.

    torchrun keeps the store when it starts processes again, with what ended ones have written to
    it, and counts restarts for each machine by itself. What is in the store may be old, so each
    process asks under a name of its own, and the first answers until each says that it has heard.

    Parameters
    ----------
    store
        A ``torch.distributed.Store`` that all of them reach.

    Raises
    ------
    TimeoutError
        In the first, if others have not asked.
    """
    own = uuid.uuid4().hex
    if number:
        store.set(f"question of {number}", own)
        name = store.get(f"answer to {own}").decode()
        store.set(f"{name} {number}", "heard")
        return name
    end, silent = time.monotonic() + timeout.total_seconds(), list(range(1, size))
    while silent:
        for other in silent:
            if store.check([f"question of {other}"]):
                store.set(f"answer to {store.get(f'question of {other}').decode()}", own)
        silent = [other for other in silent if not store.check([f"{own} {other}"])]
        if silent and time.monotonic() > end:
            raise TimeoutError(f"no word from process {', '.join(map(str, silent))}")
        time.sleep(0.02)
    return own
