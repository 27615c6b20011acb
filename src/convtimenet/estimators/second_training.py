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


def second_config(
    config: TrainConfig, history: History, ratio: float
) -> tuple[TrainConfig | None, str]:
    """Settings of the second training, or None and the reason; `ratio` is the result of
    `_epoch_ratio`."""
    again = replace(config, epochs=history.best_epoch, patience=None, time_limit=None)
    if config.refit == "continue":
        steps = history.steps * history.best_epoch / len(history.epochs)
        few = steps < FEW_STEPS
        wanted = ENOUGH_STEPS - steps if few else CONTINUED * steps
        epochs = max(1, round(wanted / steps * history.best_epoch * ratio))
        epochs = min(epochs, 2 * config.epochs)
        again = replace(again, epochs=epochs, lr=config.lr * (1 if few else CONTINUED_RATE))
    if not history.granted:  # what the blocks add does not count
        again = replace(again, epochs=1)
    needed = history.seconds * again.epochs / len(history.epochs) / ratio
    if config.time_limit is not None and history.seconds + needed > config.time_limit:
        return None, "the time limit left no time to train again on all data"
    return again, ""
