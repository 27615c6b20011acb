"""What a training did: its epochs, and what happened on the way."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from convtimenet.files import plain
from convtimenet.training.metrics import Scores


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training data gave."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    """Mean over the examples of all steps that were not skipped."""
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
    """Steps tried, skipped ones among them."""
    skipped: int = 0
    """Steps left out because the loss or its gradients were not finite."""
    rollbacks: int = 0
    """How often training went back to earlier weights with half the learning rate."""
    seconds: float = 0.0
    """Time it took, pauses between a kill and going on left out."""
    predicted_peak: int = 0
    """Bytes a training step was predicted to take, the data set itself left out."""
    recomputed: bool = False
    """Whether activations were computed again to stay within the memory budget."""
    parts: int = 1
    """Parts that each batch was cut into because memory ran out."""
    refitted: bool = False
    """Whether the weights come from a second training on all data for `best_epoch` epochs."""
    notes: list[str] = field(default_factory=list)
    """What a user should know of it."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dumps``; None where a number is not finite."""
        return plain(asdict(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> History:
        """Build from what `to_dict` gave."""
        epochs = []
        for epoch in values["epochs"]:
            valid = {name: _number(score) for name, score in epoch["valid"].items()}
            loss = _number(epoch["train_loss"])
            epochs.append(Epoch(**{**epoch, "valid": valid, "train_loss": loss}))
        return cls(**{**values, "epochs": epochs})


def _number(value: float | None) -> float:
    """A score; None was one that is not finite."""
    return float("nan") if value is None else value
