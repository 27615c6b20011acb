"""Record of a training run: its epochs and events."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from convtimenet.files import plain
from convtimenet.training.metrics import Scores
from convtimenet.wording import html_table

_SHOWN = 10  # epochs in a notebook


@dataclass(frozen=True)
class Epoch:
    """Results of one epoch."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    """Mean over the examples of all steps that were not skipped."""
    valid: Scores
    """Validation scores; empty without a validation split."""
    lr: float
    seconds: float


@dataclass(frozen=True)
class Second:
    """What the second training did, on all data."""

    goes_on: bool
    """Whether it trained the weights of the first one further, or new ones."""
    epochs: int
    """0 where the time limit left no time, and what is solved in closed form was solved again."""
    steps: int


@dataclass
class History:
    """All epochs, the selected one, and why training ended."""

    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    stopped: str = ""
    device: str = ""
    steps: int = 0
    """Steps attempted, including skipped steps."""
    skipped: int = 0
    """Steps skipped because the loss or its gradients were not finite."""
    rollbacks: int = 0
    """Number of rollbacks to earlier weights, each halving the learning rate."""
    seconds: float = 0.0
    """Training time, not counting pauses between a kill and resuming."""
    predicted_peak: int = 0
    """Predicted peak memory of a training step in bytes, excluding the data set."""
    recomputed: bool = False
    """Whether activations were recomputed to stay within the memory budget."""
    parts: int = 1
    """Parts each batch was split into because memory ran out."""
    refitted: bool = False
    """Whether weights that count come from a second training, on all data; the other facts are
    those of the first one."""
    second: Second | None = None
    """What that did, for the first network of several; None without one, and in models of versions
    up to 0.1."""
    granted: float = 1.0
    """How much of the trained part of the answers counts: of a forecast, what the validation split
    left beside the linear stream; of classes and numbers, its share beside random patches."""
    mixed: float = 0.0
    """How much counts of what channels tell each other; 0 for a network without channel mixing."""
    weights: list[float] = field(default_factory=list)
    """Weights of the networks whose answers are averaged, in the order of their training; empty for
    a single network."""
    notes: list[str] = field(default_factory=list)
    """Notices for the user."""

    @classmethod
    def solved(
        cls, loss: float, device: str, seconds: float, how: str = "solved in closed form"
    ) -> History:
        """The history of weights that were found without training: one epoch."""
        epochs = [Epoch(1, loss, {}, 0.0, seconds)]
        return cls(epochs, 1, how, device, seconds=seconds)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; non-finite numbers become None."""
        return plain(asdict(self))

    def _repr_html_(self) -> str:
        """The last epochs as a table, for notebooks."""
        scores = list(dict.fromkeys(name for epoch in self.epochs for name in epoch.valid))
        last = self.epochs[-_SHOWN:]
        rows = [
            [one.epoch, one.train_loss, *(one.valid.get(name, "") for name in scores), one.lr]
            for one in last
        ]
        caption = f"Training in {self.seconds:.1f} s on {self.device}: {self.stopped}. Best epoch: "
        caption += f"{self.best_epoch}; the last {len(last)} of {len(self.epochs)} are shown"
        columns = ["epoch", "training loss", *(f"validation {name}" for name in scores), "lr"]
        return html_table(caption, rows, columns)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> History:
        """Build from the output of `to_dict`."""
        epochs = []
        for epoch in values["epochs"]:
            valid = {name: _number(score) for name, score in epoch["valid"].items()}
            loss = _number(epoch["train_loss"])
            epochs.append(Epoch(**{**epoch, "valid": valid, "train_loss": loss}))
        second = values.get("second")
        second = None if second is None else Second(**second)
        return cls(**{**values, "epochs": epochs, "second": second})


def _number(value: float | None) -> float:
    """A score; None stands for a non-finite one."""
    return float("nan") if value is None else value
