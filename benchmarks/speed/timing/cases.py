"""The cases to time (network sizes with a batch) and their phases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from convtimenet.config import ModelConfig
from convtimenet.estimators.presets.paper import PAPER

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
    """Registered data set whose full fit is also timed."""

    @property
    def rows(self) -> int:
        """Series in one pass of our network."""
        return self.batch * self.channels // self.config.channels

    @property
    def tokens(self) -> int:
        """Tokens of a batch: columns of the pointwise products."""
        return self.rows * self.config.n_patches

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Latency uses a batch of one, and is omitted if the batch is already one."""
        found: list[Phase] = ["train", "eval"]
        if self.batch > 1:
            found.append("latency")
        if self.fitted_set:
            found.append("fit")
        return tuple(found)

    def in_phase(self, phase: Phase) -> Self:
        """The case with the batch size of a phase."""
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
    """A forecasting network of the paper, optionally with a different context."""
    paper = PAPER[preset]
    length = context_length or paper.context_length
    assert length is not None
    config = ModelConfig.forecasting(
        context_length=length, horizon=paper.horizons[0], **paper.model
    )
    return Case(name, config, batch, channels, paper.train["lr"])


def _classify(
    name: str, preset: str, channels: int, length: int, n_classes: int, *, fit: bool = False
) -> Case:
    paper = PAPER[preset]
    config = ModelConfig.classification(
        channels=channels, context_length=length, n_classes=n_classes, **paper.model
    )
    batch, lr = paper.train["batch_size"], paper.train["lr"]
    return Case(name, config, batch, channels, lr, preset if fit else None)


# "small" is a quick check, F2x32 is for a GPU; "all" omits both on the CPU.
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
