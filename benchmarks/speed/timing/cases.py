"""What is timed: network sizes with a batch, and the phases of a timing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from convtimenet.config import ModelConfig
from convtimenet.estimators import presets

Phase = Literal["train", "eval", "latency", "fit"]


@dataclass(frozen=True)
class Case:
    """One network size with one batch."""

    name: str
    config: ModelConfig
    batch: int
    channels: int
    lr: float
    fitted_set: str | None = None
    """Registered data set whose whole fit is timed too."""

    @property
    def rows(self) -> int:
        """Series that one pass of our network reads."""
        return self.batch * self.channels // self.config.channels

    @property
    def tokens(self) -> int:
        """Tokens of a batch: columns of the pointwise products."""
        return self.rows * self.config.n_patches

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Latency is that of a batch of one, and none of its own where the batch is one."""
        found: list[Phase] = ["train", "eval"]
        if self.batch > 1:
            found.append("latency")
        if self.fitted_set:
            found.append("fit")
        return tuple(found)

    def in_phase(self, phase: Phase) -> Self:
        """The case with the batch that a phase reads."""
        return replace(self, batch=1) if phase == "latency" else self

    def data(self) -> tuple[Tensor, Tensor]:
        """Series (B, C, L) with their targets: (B, C, H), or class indices (B,)."""
        noise = torch.Generator().manual_seed(0)
        x = torch.randn(self.batch, self.channels, self.config.context_length, generator=noise)
        outputs = self.config.outputs
        if self.config.head == "forecast":
            return x, torch.randn(self.batch, self.channels, outputs, generator=noise)
        return x, torch.randint(outputs, (self.batch,), generator=noise)


def forecast_case(
    name: str, preset: str, batch: int, channels: int, context_length: int | None = None
) -> Case:
    """A forecasting network of the paper; another context than the paper's where given."""
    paper = presets.PAPER[preset]
    length = context_length or paper.context_length
    assert length is not None
    config = ModelConfig.forecasting(
        context_length=length, horizon=paper.horizons[0], **paper.model
    )
    return Case(name, config, batch, channels, paper.train["lr"])


def _classify(
    name: str, preset: str, channels: int, length: int, n_classes: int, *, fit: bool = False
) -> Case:
    paper = presets.PAPER[preset]
    config = ModelConfig.classification(
        channels=channels, context_length=length, n_classes=n_classes, **paper.model
    )
    batch, lr = paper.train["batch_size"], paper.train["lr"]
    return Case(name, config, batch, channels, lr, preset if fit else None)


# "small" is for a look in seconds, F2x32 for a GPU; "all" leaves them out on the CPU.
CASES: dict[str, Case] = {
    case.name: case
    for case in (
        forecast_case("F1", "ETTh1", batch=256, channels=7),
        forecast_case("F2", "Traffic", batch=1, channels=862),
        forecast_case("F2x32", "Traffic", batch=32, channels=862),
        _classify("C1", "ArticularyWordRecognition", 9, 144, 25, fit=True),
        _classify("C2", "Cricket", 6, 1197, 12),
        forecast_case("small", "ETTh1", batch=4, channels=7),
    )
}
