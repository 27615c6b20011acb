"""Devices, number formats and random number generators."""

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
    """Resolve a device setting: "auto" selects CUDA, then Apple's MPS, then the CPU.

    Raises
    ------
    ConfigError
        If torch does not know the device or this machine does not have it.
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
    """The device of a network's weights."""
    return next(chain(network.parameters(), network.buffers())).device


_running: ContextVar[torch.Generator | None] = ContextVar("running", default=None)
_default_generator_lock = threading.Lock()
"""Held while a device's default generator holds the state of a training run."""


_STRIDE = 0x9E3779B97F4A7C15  # between the seeds of processes that train together


class RandomNumbers:
    """Random state of one training run, isolated from other threads and from the caller.

    Sampling on the CPU uses an explicit generator (`generator`). Kernels of other devices can only
    use torch's default generator of the device; it holds this run's state while one of its steps
    is launched, one run at a time.

    Parameters
    ----------
    seed
        Gives the same numbers as ``torch.manual_seed(seed)``.
    device
        Device of the training run.
    """

    def __init__(self, seed: int, device: torch.device):
        self.seed, self.device = seed, device
        self._weights = torch.Generator().manual_seed(seed)
        self._drawn = self._weights
        if device.type != "cpu":
            self._drawn = torch.Generator(device).manual_seed(seed)

    def for_weights(self) -> AbstractContextManager[Any]:
        """Initialise networks built inside the block from this state."""
        return _Drawing(self._weights)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Use this state for a training step."""
        if self.device.type == "cpu":
            token = _running.set(self._drawn)
            try:
                yield
            finally:
                _running.reset(token)
            return
        with _default_generator_lock:
            before = random_state(self.device)
            set_random_state(self.device, self._drawn.get_state())
            try:
                yield
            finally:
                self._drawn.set_state(random_state(self.device))
                set_random_state(self.device, before)

    def apart(self, process: int) -> None:
        """Draw other numbers than the first of several processes that train together, where numbers
        cannot be drawn for a whole batch in each of them."""
        if process and not self.common:
            drawn = torch.Generator(self.device)
            self._drawn = drawn.manual_seed((self.seed + process * _STRIDE) % 2**63)

    @property
    def common(self) -> bool:
        """Whether processes that train together draw the same numbers."""
        return self.device.type == "cpu"

    def state(self) -> Tensor:
        """The generator state, as bytes."""
        return self._drawn.get_state()

    def go_on_from(self, state: Tensor) -> None:
        """Restore a generator state."""
        self._drawn.set_state(state)


def for_loading() -> AbstractContextManager[Any]:
    """Build networks whose weights are loaded afterwards: keeps the caller's random state."""
    return RandomNumbers(0, torch.device("cpu")).for_weights()


class _Drawing(TorchFunctionMode):
    """Makes torch's initialisers use a given generator instead of the global one.

    Unlike ``torch.random.fork_rng`` it changes nothing outside its thread.
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
    """CPU generator of the current training step; None means torch's default."""
    return _running.get()


_part: ContextVar[tuple[slice, int] | None] = ContextVar("part", default=None)


@contextmanager
def in_part(part: slice, whole: int) -> Iterator[None]:
    """Draw the numbers of a part of a batch of `whole` examples as if drawn for all of them."""
    token = _part.set((part, whole))
    try:
        yield
    finally:
        _part.reset(token)


def part_of(size: int) -> tuple[slice, int]:
    """Where `size` values of the current part of a batch, several an example, lie among those of
    the whole batch, and how many these are."""
    found = _part.get()
    if found is None:
        return slice(0, size), size
    part, whole = found
    each = size // (part.stop - part.start)
    return slice(part.start * each, part.stop * each), whole * each


def random_state(device: torch.device) -> Tensor:
    """State of the generator currently used on this device."""
    if device.type == "cpu":
        return (_running.get() or torch.default_generator).get_state()
    return torch.get_device_module(device).get_rng_state(*_number(device))


def set_random_state(device: torch.device, state: Tensor) -> None:
    """Set the state of the generator currently used on this device."""
    if device.type == "cpu":
        (_running.get() or torch.default_generator).set_state(state)
    else:
        torch.get_device_module(device).set_rng_state(state, *_number(device))


def _number(device: torch.device) -> tuple[torch.device, ...]:
    """The device argument, for backends that take one."""
    return () if device.type == "mps" else (device,)


def autocast(device: torch.device, config: TrainConfig) -> torch.autocast:
    """Matrix products in the configured number format.

    The weight cache is off: a forward pass reads each weight only once, and inside a user's own
    autocast the cached weights would outlive an optimisation step.
    """
    enabled = config.precision == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)
