"""The training loop, one for both tasks."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from torch import Tensor

from convtimenet.config import Head, TrainConfig
from convtimenet.errors import ConfigError, DataError, TrainingError
from convtimenet.inference import fuse
from convtimenet.losses import LOSSES
from convtimenet.memory import GIB, available, predicted_peak
from convtimenet.metrics import Scores, evaluate
from convtimenet.model import Block, ConvTimeNet, count_parameters
from convtimenet.native import usable
from convtimenet.windows import Examples

log = logging.getLogger(__name__)

# The validation score that chooses the epoch; smaller is better. The authors' classification
# script goes by accuracy; the loss says more about few cases.
CHOSEN_BY: dict[Head, str] = {"forecast": "mse", "classify": "loss", "regress": "mse"}


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training data gave."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    valid: Scores
    """Validation scores; empty where nothing was held back."""
    lr: float
    seconds: float


@dataclass
class History:
    """All epochs, which of them was kept, and why training ended."""

    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    stopped: str = ""
    device: str = ""
    steps: int = 0
    predicted_peak: int = 0
    """Bytes a training step was predicted to take, the data set itself left out."""
    recomputed: bool = False
    """Whether activations were computed again to stay within the memory budget."""
    refitted: bool = False
    """Whether the weights come from a second training on all data for `best_epoch` epochs."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dumps``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> History:
        """Build from what `to_dict` gave."""
        epochs = [Epoch(**epoch) for epoch in values["epochs"]]
        return cls(**{**values, "epochs": epochs})


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


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Fix torch's random numbers inside and give the caller's back afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def train(
    model: ConvTimeNet,
    examples: Examples,
    valid: Examples | None,
    config: TrainConfig,
    *,
    device: torch.device,
    verbose: int = 1,
    label: str = "training",
) -> History:
    """Train a network in place and leave the weights of its best epoch in it.

    Parameters
    ----------
    model, device
        The network and the device that it and the examples are on already.
    examples
        What the weights are fitted to.
    valid
        What chooses the epoch; None trains to the end.
    config
        Its schedule, clipping and stopping follow SPEC section 5.
    verbose
        1 shows a progress bar where standard error is a terminal; 0 shows nothing.
    label
        What the progress bar calls the work.

    Returns
    -------
    History

    Raises
    ------
    TrainingError
        If no epoch gave finite weights and scores.
    """
    head = model.config.head
    loss_of = LOSSES[head]
    paper = config.protocol == "paper"
    chosen_by = "accuracy" if paper and head == "classify" else CHOSEN_BY[head]
    worse = -1 if chosen_by == "accuracy" else 1  # what a larger score means
    drop_last = paper and head == "forecast"
    optimiser = torch.optim.Adam(model.parameters(), lr=config.lr)
    order = torch.Generator().manual_seed(config.seed)
    history = History(device=str(device))
    best_score, best_state, waited = float("inf"), _copy_state(model), 0
    begin = time.monotonic()
    steps = len(training_batches(torch.arange(len(examples)), config))

    def out_of_time() -> bool:
        return config.time_limit is not None and time.monotonic() - begin > config.time_limit

    _fit_memory(model, examples, config, device, history)
    with _progress(verbose) as bar:
        if not bar.disable:
            bar.console.print(_memory_note(history))
        task = bar.add_task(label, total=steps * config.epochs, note="")
        for epoch in range(1, config.epochs + 1):
            epoch_begin, lr = time.monotonic(), config.learning_rate(epoch)
            for group in optimiser.param_groups:
                group["lr"] = lr
            model.train()
            total, seen = torch.zeros((), device=device), 0
            shuffled = torch.randperm(len(examples), generator=order).to(device)
            for index in training_batches(shuffled, config):
                batch = examples.batch(index)
                with autocast(device, config):
                    loss = loss_of(model(*batch.inputs), batch.y, batch.weight)
                optimiser.zero_grad()
                loss.backward()
                if config.clip_norm is not None:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
                optimiser.step()
                total += loss.detach() * len(index)
                seen += len(index)
                history.steps += 1
                bar.advance(task)
                if out_of_time():
                    break
            scores: Scores = {}
            if valid is not None:
                with autocast(device, config):
                    scores = evaluate(
                        fuse(model), valid, head, config.batch_size, device, drop_last
                    )
            history.epochs.append(
                Epoch(epoch, float(total) / seen, scores, lr, time.monotonic() - epoch_begin)
            )
            if not torch.isfinite(total):
                history.stopped = f"the training loss became {float(total)} in epoch {epoch}"
                break
            # nothing held back: the last epoch is kept
            score = scores[chosen_by] * worse if scores else -epoch
            if score < best_score:
                best_score, best_state, waited = score, _copy_state(model), 0
                history.best_epoch = epoch
            else:
                waited += 1
            bar.update(task, note=_note(history))
            log.info("epoch %d: %s", epoch, _note(history))
            if out_of_time():
                history.stopped = f"time limit of {config.time_limit} s"
                break
            if config.patience is not None and waited >= config.patience:
                history.stopped = f"no better validation {chosen_by} for {waited} epochs"
                break
        else:
            history.stopped = f"all {config.epochs} epochs done"
    if not history.best_epoch or not all(v.isfinite().all() for v in best_state.values()):
        raise TrainingError(
            f"training did not converge: {history.stopped}, and no epoch before gave finite "
            f"weights and scores; expected a smaller lr than {config.lr:g} or a clip_norm "
            f"(found {config.clip_norm})"
        )
    model.load_state_dict(best_state)
    model.eval()
    return history


def _fit_memory(
    model: ConvTimeNet,
    examples: Examples,
    config: TrainConfig,
    device: torch.device,
    history: History,
) -> None:
    """Predict the peak, and have activations computed again where it exceeds the budget."""
    one = examples.batch(torch.zeros(1, dtype=torch.int64, device=device))
    x = one.x
    rows = model.rows(x).shape[0] * min(config.batch_size, len(examples))
    if rows * model.config.n_patches < 2 and model.config.norm == "batch":
        raise DataError(
            "a training batch holds one patch of one series, and BatchNorm needs two; use more "
            "data, a larger batch_size, smaller patches, or norm='layer'"
        )
    native = one.known is None and any(
        block.native and usable(x) for block in model.blocks if isinstance(block, Block)
    )
    budget = (config.memory_budget or 0.8 * available(device) / GIB) * GIB
    for recompute in (False, True):
        model.recompute = recompute
        history.predicted_peak = predicted_peak(
            model.config,
            rows,
            parameters=count_parameters(model),
            native=native and config.precision == "fp32",
            recompute=recompute,
        )
        if history.predicted_peak <= budget:
            break
    else:
        log.warning(
            "a training step may take %.1f GiB, more than the budget of %.1f GiB; use a smaller "
            "batch_size",
            history.predicted_peak / GIB,
            budget / GIB,
        )
    history.recomputed = model.recompute
    log.info(_memory_note(history))


def _memory_note(history: History) -> str:
    again = ", activations computed again" if history.recomputed else ""
    return f"about {history.predicted_peak / GIB:.2f} GiB a training step{again}"


def training_batches(order: Tensor, config: TrainConfig) -> tuple[Tensor, ...]:
    """Cut an epoch's order (n,) into batches.

    An incomplete last batch is left out where at least eight full ones stand beside it (always,
    as in the authors' scripts, under the paper protocol): steps stay alike, and the order is drawn
    anew each epoch, so no example is left out for good. Elsewhere it is kept, and a last single
    example joins the batch before it, because BatchNorm cannot learn from one value.
    """
    n, size = len(order), config.batch_size
    full = n // size
    if full >= (1 if config.protocol == "paper" else 8):
        return order[: full * size].split(size)
    cuts = list(range(size, n, size))
    if cuts and n - cuts[-1] == 1:
        cuts.pop()
    return order.tensor_split(cuts)


def autocast(device: torch.device, config: TrainConfig) -> torch.autocast:
    """Matrix products in the configured number format."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")


def _copy_state(model: ConvTimeNet) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _note(history: History) -> str:
    last = history.epochs[-1]
    scores = {"train loss": last.train_loss} | {f"valid {k}": v for k, v in last.valid.items()}
    return "  ".join(f"{k} {v:.4g}" for k, v in scores.items()) + f"  best {history.best_epoch}"


class _Speed(ProgressColumn):
    """Steps per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.3g} steps/s" if task.speed else "", style="progress.data.speed")


def _progress(verbose: int) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=verbose == 0 or not console.is_terminal,
    )
