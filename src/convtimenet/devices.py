"""Devices, number formats and random numbers of a computation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convtimenet.config import TrainConfig
from convtimenet.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """The device a setting means: "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises
    ------
    ConfigError
        If torch does not know the device or this machine lacks it.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"device must be 'auto' or a torch device of this machine, found {name!r} "
            f"({str(error).splitlines()[0]}); use device='auto'"
        ) from error
    return device


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights lie."""
    return next(chain(network.parameters(), network.buffers())).device


_running: ContextVar[torch.Generator | None] = ContextVar("running", default=None)
_exchange = threading.Lock()
"""Held while a device's default generator carries the state of a training."""


class RandomNumbers:
    """The random numbers of one training: neither those of other threads nor the caller's.

    What draws on the CPU is given a generator (`generator`). The kernels of other devices know
    only torch's default generator of the device, which carries this training's state while one of
    its steps is launched, one training at a time.

    Parameters
    ----------
    seed
        The numbers are those that ``torch.manual_seed(seed)`` would give.
    device
        What the training computes on.
    """

    def __init__(self, seed: int, device: torch.device):
        self.device = device
        self._weights = torch.Generator().manual_seed(seed)
        self._drawn = self._weights
        if device.type != "cpu":
            self._drawn = torch.Generator(device).manual_seed(seed)

    def for_weights(self) -> AbstractContextManager[Any]:
        """Draw the weights of networks that are built inside."""
        return _Drawing(self._weights)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let a training step draw from them."""
        if self.device.type == "cpu":
            token = _running.set(self._drawn)
            try:
                yield
            finally:
                _running.reset(token)
            return
        with _exchange:
            before = random_state(self.device)
            set_random_state(self.device, self._drawn.get_state())
            try:
                yield
            finally:
                self._drawn.set_state(random_state(self.device))
                set_random_state(self.device, before)

    def state(self) -> Tensor:
        """Where they stand, as bytes."""
        return self._drawn.get_state()

    def go_on_from(self, state: Tensor) -> None:
        """Draw what followed when `state` was taken."""
        self._drawn.set_state(state)


class _Drawing(TorchFunctionMode):
    """Fills tensors from a generator where torch's initialisers ask for the global one.

    Other than ``torch.random.fork_rng`` it changes nothing outside its thread.
    """

    def __init__(self, generator: torch.Generator):
        self.generator = generator

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if "generator" in given or func in (Tensor.uniform_, Tensor.normal_):
            given = {**given, "generator": self.generator}
        return func(*args, **given)


def generator() -> torch.Generator | None:
    """What the running training step draws from on the CPU; None stands for torch's own."""
    return _running.get()


def random_state(device: torch.device) -> Tensor:
    """State of the generator that a step on this device draws from now."""
    if device.type == "cpu":
        return (_running.get() or torch.default_generator).get_state()
    return torch.get_device_module(device).get_rng_state(*_number(device))


def set_random_state(device: torch.device, state: Tensor) -> None:
    """Bring the generator that a step on this device draws from to a state."""
    if device.type == "cpu":
        (_running.get() or torch.default_generator).set_state(state)
    else:
        torch.get_device_module(device).set_rng_state(state, *_number(device))


def _number(device: torch.device) -> tuple[torch.device, ...]:
    """Which device is meant, for the modules of those of which there can be several."""
    return () if device.type == "mps" else (device,)


def autocast(device: torch.device, config: TrainConfig) -> torch.autocast:
    """Matrix products in the configured number format.

    A forward pass reads each weight once, so weights in that format are not kept: kept ones would
    outlive an optimisation step inside a user's own autocast.
    """
    enabled = config.precision == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)
