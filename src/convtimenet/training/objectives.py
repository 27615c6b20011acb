"""What a network is trained for: one entry per head, looked up by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from convtimenet.batch import Batch
from convtimenet.config import Head, ModelConfig, TrainConfig
from convtimenet.errors import ConfigError
from convtimenet.training.augment import augmented, two_views
from convtimenet.training.hiding import with_hidden_spans
from convtimenet.training.losses import (
    Loss,
    between_classes,
    between_numbers,
    class_sums,
    cross_entropy,
    huber,
    mae,
    mse,
    no_sums,
    nt_xent,
    number_sums,
    pinball,
)

__all__ = ["OBJECTIVES", "Objective", "loss_of"]

Changes = Callable[[Batch, ModelConfig], Batch]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """How a head is trained and scored.

    Attributes
    ----------
    loss
        The loss for a network's and a training's settings; also selects the epoch.
    sums
        Sums over a batch ``(output, target, weight)`` whose means are the scores.
    changes
        Random changes of every batch, from which the network learns.
    augment
        Random changes of every batch if `TrainConfig.augment` asks for them; None if there are
        none.
    taught
        ``taught(answers, y)``: targets of a network that also learns from the answers of another
        one, which distils it (`convtimenet.training.taught`); None if it does not answer.
    views
        Times that a case is read in a step.
    paper_score
        Name of the score that selects the epoch under the paper protocol, higher is better; None
        for the loss.
    paper_drops_last
        Whether the paper protocol leaves an incomplete last batch out of the scores.
    """

    loss: Callable[[ModelConfig, TrainConfig], Loss]
    sums: Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]
    changes: Changes | None = None
    augment: Changes | None = None
    taught: Callable[[Tensor, Tensor], Tensor] | None = None
    views: int = 1
    paper_score: str | None = None
    paper_drops_last: bool = False

    def changed_by(self, model: ModelConfig, training: TrainConfig) -> Changes | None:
        """What changes every batch.

        Raises
        ------
        ConfigError
            If augmentation is asked for and there is none.
        """
        if training.augment and self.augment is None:
            raise ConfigError(f"augment must be False to {model.head}, found True; leave it out")
        return self.augment if training.augment else self.changes


def _of_forecasts(model: ModelConfig, training: TrainConfig) -> Loss:
    if model.quantiles:
        return pinball(model.quantiles)
    return {"mse": mse, "mae": mae, "huber": huber(training.huber_delta)}[training.loss or "mse"]


OBJECTIVES: dict[Head, Objective] = {
    "forecast": Objective(
        loss=_of_forecasts, sums=number_sums, taught=between_numbers, paper_drops_last=True
    ),
    "classify": Objective(
        loss=lambda *_: cross_entropy,
        sums=class_sums,
        augment=augmented,
        taught=between_classes,
        paper_score="accuracy",
    ),
    "regress": Objective(
        loss=lambda *_: mse, sums=number_sums, augment=augmented, taught=between_numbers
    ),
    "reconstruct": Objective(loss=lambda *_: mse, sums=number_sums, changes=with_hidden_spans),
    "contrast": Objective(loss=lambda *_: nt_xent, sums=no_sums, changes=two_views, views=2),
}


def loss_of(model: ModelConfig, training: TrainConfig) -> Loss:
    """The training loss for a model's head.

    Raises
    ------
    ConfigError
        If a point loss is set and the network does not make point forecasts.
    """
    if training.loss is not None and (model.head != "forecast" or model.quantiles):
        kind = "quantile heads train with the pinball loss"
        if model.head != "forecast":
            kind = f"the head {model.head!r} has a loss of its own"
        raise ConfigError(
            f"loss={training.loss!r} is for point forecasts, and {kind}; leave loss out"
        )
    return OBJECTIVES[model.head].loss(model, training)
