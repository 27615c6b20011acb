"""Progress messages of a training run; displayed by `convtimenet.progress`."""

from __future__ import annotations

from convtimenet.config import TrainConfig
from convtimenet.network.memory import GIB
from convtimenet.progress import clock
from convtimenet.training.history import History


def start_note(label: str, examples: str, steps: int, config: TrainConfig, history: History) -> str:
    """One-line summary before training starts."""
    epochs = f"at most {config.epochs} epochs" if config.epochs > 1 else "1 epoch"
    each = "1 step" if steps == 1 else f"{steps:,} steps"
    return f"{label}: {examples}, {epochs} of {each}; {memory_note(history)}"


def epoch_note(history: History) -> str:
    """The last epoch's scores in one line."""
    last = history.epochs[-1]
    scores = {"train loss": last.train_loss} | {f"valid {k}": v for k, v in last.valid.items()}
    earlier = last.valid and history.best_epoch != last.epoch
    best = f", best epoch {history.best_epoch}" if earlier else ""
    return ", ".join(f"{k} {v:.4g}" for k, v in scores.items()) + best


def end_note(label: str, history: History) -> str:
    """One-line summary after training ends."""
    n = len(history.epochs)
    done = f"{label}: {n} epoch{'s' if n != 1 else ''} in {clock(history.seconds)}"
    best = next((e for e in history.epochs if e.epoch == history.best_epoch), None)
    if best is not None and best.valid:
        name, score = next(iter(best.valid.items()))
        kept = "the last one" if best.epoch == n else f"the best one, epoch {best.epoch},"
        done += f", {kept} is kept (valid {name} {score:.4g})"
    return f"{done}; {history.stopped}"


def memory_note(history: History) -> str:
    """Predicted memory of a training step."""
    again = ", activations computed again" if history.recomputed else ""
    peak = history.predicted_peak / GIB
    size = f"{peak:.2f} GiB" if peak >= 0.1 else f"{max(1, round(peak * 1024))} MiB"
    return f"about {size} a training step{again}"
