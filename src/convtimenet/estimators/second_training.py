"""Settings of the second training, on all data, after the first has chosen the epoch."""

from __future__ import annotations

from dataclasses import replace

from convtimenet.config import TrainConfig
from convtimenet.training.history import History

__all__ = ["second_config"]

FEW_STEPS, ENOUGH_STEPS = 60, 200
"""If the best epoch of the first training comes before FEW_STEPS steps, "continue" trains on up to
ENOUGH_STEPS at the full learning rate, for at most twice the epochs (docs/refit.md)."""
CONTINUED, CONTINUED_RATE = 0.3, 0.1
"""Otherwise it trains for this fraction of the steps to the best epoch, at this fraction of the
learning rate."""


def second_config(config: TrainConfig, history: History, ratio: float) -> tuple[TrainConfig, float]:
    """Settings of the second training, and the seconds that it will take; `ratio` is that of the
    examples per epoch of the first training to those of the second."""
    again = replace(config, epochs=history.best_epoch, patience=None, time_limit=None)
    if config.refit == "continue":
        steps = history.steps * history.best_epoch / len(history.epochs)
        few = steps < FEW_STEPS
        wanted = ENOUGH_STEPS - steps if few else CONTINUED * steps
        epochs = max(1, round(wanted / steps * history.best_epoch * ratio))
        epochs = min(epochs, 2 * config.epochs)
        again = replace(again, epochs=epochs, lr=config.lr * (1 if few else CONTINUED_RATE))
    if not history.granted and not history.mixed:  # what is trained does not count
        again = replace(again, epochs=1)
    return again, history.seconds * again.epochs / len(history.epochs) / ratio
