"""The progress bar of a training, on standard error where that is a terminal."""

from __future__ import annotations

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

from convtimenet.history import History
from convtimenet.memory import GIB


class _Speed(ProgressColumn):
    """Steps per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.3g} steps/s" if task.speed else "", style="progress.data.speed")


def progress_bar(verbose: int) -> Progress:
    """A bar that counts steps and shows the field `note`."""
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


def epoch_note(history: History) -> str:
    """The last epoch's scores in one line."""
    last = history.epochs[-1]
    scores = {"train loss": last.train_loss} | {f"valid {k}": v for k, v in last.valid.items()}
    return "  ".join(f"{k} {v:.4g}" for k, v in scores.items()) + f"  best {history.best_epoch}"


def memory_note(history: History) -> str:
    """What a step was predicted to take."""
    again = ", activations computed again" if history.recomputed else ""
    return f"about {history.predicted_peak / GIB:.2f} GiB a training step{again}"
