"""What a training shows of its progress, on standard error."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from convtimenet.network.memory import GIB
from convtimenet.training.history import History


class _Speed(ProgressColumn):
    """Steps per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.3g} steps/s" if task.speed else "", style="progress.data.speed")


class TrainingProgress(Progress):
    """A bar that counts steps, and lines that stay."""

    lines = False

    def epoch_done(self, task: TaskID, history: History) -> None:
        """Show the last epoch's scores beside the bar, and as a line where lines are wanted."""
        note = epoch_note(history)
        self.update(task, note=note)
        if self.lines:
            text = f"{self.tasks[task].description}, epoch {history.epochs[-1].epoch}: {note}"
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def progress_bar(verbose: int) -> TrainingProgress:
    """What a training shows on standard error.

    Parameters
    ----------
    verbose
        0 or False nothing; 1 or True a bar, where that is a terminal; 2 or more also a line an
        epoch, on a terminal or not.
    """
    console = Console(stderr=True)
    bar = TrainingProgress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=verbose < 1 or not console.is_terminal,
    )
    bar.lines = verbose > 1
    return bar


def epoch_note(history: History) -> str:
    """The last epoch's scores in one line."""
    last = history.epochs[-1]
    scores = {"train loss": last.train_loss} | {f"valid {k}": v for k, v in last.valid.items()}
    return "  ".join(f"{k} {v:.4g}" for k, v in scores.items()) + f"  best {history.best_epoch}"


def memory_note(history: History) -> str:
    """What a step was predicted to take."""
    again = ", activations computed again" if history.recomputed else ""
    return f"about {history.predicted_peak / GIB:.2f} GiB a training step{again}"
