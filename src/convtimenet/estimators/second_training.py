"""How an estimator trains again on all data, once the first training has chosen."""

from __future__ import annotations

from dataclasses import replace

from convtimenet.config import TrainConfig
from convtimenet.training.history import History

__all__ = ["second_config"]

FEW_STEPS, ENOUGH_STEPS = 60, 200
"""A first training with a best epoch before the former has hardly begun: "continue" goes on to the
latter at the full learning rate, in at most twice the epochs (docs/refit.md)."""
CONTINUED, CONTINUED_RATE = 0.3, 0.1
"""Otherwise it goes on for this share of the steps to the best epoch, at this share of the rate."""


def second_config(
    config: TrainConfig, history: History, share: float
) -> tuple[TrainConfig | None, str]:
    """How to train again on all data, or None and why not; `share` is what `_share` gives."""
    again = replace(config, epochs=history.best_epoch, patience=None, time_limit=None)
    if config.refit == "continue":
        steps = history.steps * history.best_epoch / len(history.epochs)
        few = steps < FEW_STEPS
        wanted = ENOUGH_STEPS - steps if few else CONTINUED * steps
        epochs = max(1, round(wanted / steps * history.best_epoch * share))
        epochs = min(epochs, 2 * config.epochs)
        again = replace(again, epochs=epochs, lr=config.lr * (1 if few else CONTINUED_RATE))
    needed = history.seconds * again.epochs / len(history.epochs) / share
    if config.time_limit is not None and history.seconds + needed > config.time_limit:
        return None, "the time limit left no time to train again on all data"
    return again, ""
