"""The paper's hyper-parameters, per data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from convtimenet.config import Head
from convtimenet.errors import ConfigError

__all__ = ["PAPER", "Preset", "paper_preset"]


@dataclass(frozen=True)
class Preset:
    """Settings that differ from the configs' defaults."""

    model: dict[str, Any]
    train: dict[str, Any]
    context_length: int | None = None
    """Forecasting only."""
    horizons: tuple[int, ...] = ()
    """Forecasting only: the horizons that the paper reports."""
    portfolio: bool = False
    """Whether these are the settings of the first of several networks
    (`convtimenet.estimators.portfolio`)."""


def _forecast(kernels: str, dropout: float, batch_size: int, lr: float, **model: Any) -> Preset:
    return Preset(
        model={"kernel_sizes": _sizes(kernels), "dropout": dropout} | model,
        train={"epochs": 10, "patience": 3, "batch_size": batch_size, "lr": lr},
        context_length=336,
        horizons=(96, 192, 336, 720),
    )


def _classify(patch: int, stride: int, kernels: str, lr_every: int = 5) -> Preset:
    sizes = {"patch_size": patch, "patch_stride": stride, "kernel_sizes": _sizes(kernels)}
    return Preset(sizes | {"dropout": 0.1}, CLASSIFY_TRAIN | {"lr_every": lr_every})


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split())


CLASSIFY_TRAIN: dict[str, Any] = {
    "epochs": 100,
    "batch_size": 32,
    "lr": 1e-3,
    "clip_norm": 4.0,
    "patience": None,
    "refit": True,
}

# SPEC section 5, after the authors' scripts.
PAPER: dict[str, Preset] = {
    "ETTh1": _forecast("9 11 15 21 29 39", 0.2, 256, 5e-4),
    "ETTh2": _forecast("5 7 9 11 13 15", 0.1, 256, 5e-4),
    "ETTm1": _forecast("9 11 15 21 29 39", 0.2, 256, 5e-4),
    "ETTm2": _forecast("11 15 19 25 33 43 55", 0.5, 256, 3e-4),
    "Weather": _forecast("9 11 15 19 25 33 43", 0.5, 256, 5e-3),
    "Electricity": _forecast("11 15 21 29 39 51", 0.1, 32, 4e-3, small_kernel=5),
    "Traffic": _forecast("15 17 21 27 35 55", 0.1, 32, 4e-3),
    "Exchange": _forecast("9 11 15 21 29 39", 0.4, 16, 1e-4),
    "ILI": Preset(
        model={"kernel_sizes": _sizes("9 11 15 21 29 39"), "dropout": 0.5},
        train={"epochs": 10, "patience": 3, "batch_size": 64, "lr": 5e-3},
        context_length=104,
        horizons=(24, 36, 48, 60),
    ),
    "ArticularyWordRecognition": _classify(32, 16, "19 19 29 29 37 37"),
    "Cricket": _classify(8, 4, "19 19 29 29 37 37", lr_every=20),
    "CharacterTrajectories": _classify(32, 16, "7 7 13 13 19 19"),
    "DuckDuckGeese": _classify(4, 2, "37 37 43 43 53 53"),
    "EthanolConcentration": _classify(32, 16, "19 19 29 29 37 37"),
    "Epilepsy": _classify(4, 2, "37 37 43 43 53 53"),
    "FingerMovements": _classify(64, 32, "7 7 13 13 19 19", lr_every=20),
    "JapaneseVowels": _classify(4, 2, "7 7 13 13 19 19"),
    "PEMS-SF": _classify(16, 8, "19 19 29 29 37 37", lr_every=20),
    "SelfRegulationSCP2": _classify(32, 16, "37 37 43 43 53 53", lr_every=20),
}


def paper_preset(name: str, head: Head) -> Preset:
    """The paper's hyper-parameters for a data set.

    Raises
    ------
    ConfigError
        If the paper has none for it, or the data set is for the other task.
    """
    known = [n for n, p in PAPER.items() if (p.context_length is None) == (head == "classify")]
    if name not in known:
        raise ConfigError(
            f"the paper has no hyper-parameters to {head} {name!r}; it has some for "
            f"{', '.join(known)}. Use preset='auto' for settings derived from the data"
        )
    return PAPER[name]
