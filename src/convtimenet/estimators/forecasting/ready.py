"""Settings of forecasts with the weights that come with the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from convtimenet.data.time.frequency import Frequency
from convtimenet.errors import ConfigError
from convtimenet.estimators.presets.derived import (
    FORECAST_QUALITIES,
    TUNED,
    USED_IF_LINEAR,
    trains_nothing,
)
from convtimenet.estimators.presets.paper import Preset
from convtimenet.network.reconstruction.network import SIZES
from convtimenet.network.reconstruction.pretrained import FEW_ROWS

__all__ = ["few_rows", "pretrained_forecast", "ready_forecast", "refuse_sizes", "with_theta"]

_CONTEXT = 2048
_TUNED_ROWS, _TUNED_CONTEXT, _TUNED_TOKENS = 32, 512, 75_000  # of a step, and of all steps
_TUNED_EPOCHS, _FEWEST_STEPS, _MOST_STEPS = 6, 2, 60  # steps of an epoch at least, of all at most
_FEW_ROWS = 40  # of several series or channels
_THETA, _THETA_MONTHS = 0.5, (1, 3, 12)  # share of a Theta line, and months of a step with one


def ready_forecast(
    quality: str,
    preset: str,
    context_length: int,
    horizon: int,
    channels: int,
    season: int,
    given: Mapping[str, Any],
    training: Mapping[str, Any],
) -> Preset:
    """The settings of the qualities "pretrained" and "tuned".

    Parameters
    ----------
    quality, preset, given, training
        As for `convtimenet.estimators.presets.derived.cases_preset`.

    Raises
    ------
    ConfigError
        If there is no such preset, or a parameter would have no effect.
    """
    if trains_nothing(quality, preset, given, training, USED_IF_LINEAR, FORECAST_QUALITIES):
        return pretrained_forecast(context_length, season)
    if preset != "auto":
        raise ConfigError(
            f"quality={TUNED!r} fine-tunes the weights that come with the package, so preset="
            f"{preset!r} would have no effect; leave preset out or use quality='auto'"
        )
    for name in ("init_from", "pretrain()"):
        if given.get(name) is not None:
            raise ConfigError(
                f"quality={TUNED!r} starts from the weights that come with the package, so {name} "
                "would have no effect; leave it out or use quality='auto'"
            )
    return _tuned(context_length, horizon, channels, season)


def few_rows(rows: int, series: int) -> bool:
    """Whether so many series (or channels) of so many rows tell less than the weights of the
    package know: what has to be chosen from them would be chosen by chance."""
    return rows < (_FEW_ROWS if series > 1 else FEW_ROWS)


def pretrained_forecast(context_length: int, season: int = 1) -> Preset:
    """The network whose weights come with the package (`convtimenet.pretraining.run`). Of few rows
    all are needed to choose how far it is trusted."""
    few = context_length < FEW_ROWS
    context_length = max(SIZES["patch_size"], min(_CONTEXT, context_length))
    return Preset(
        model={**SIZES, "season": season},
        train={"epochs": 1, "batch_size": 64, "refit": few, "encoder_rate": 0.0},
        context_length=context_length,
    )


def with_theta(preset: Preset, rows: int, frequency: Frequency) -> Preset:
    """The same settings; of few months, quarters or years with a Theta line, which made forecasts
    of days and hours worse (docs/design/pretrained.md)."""
    months = frequency.unit == "month" and frequency.count in _THETA_MONTHS
    if rows >= FEW_ROWS or not months:
        return preset
    return replace(preset, model={**preset.model, "theta": _THETA})


def _tuned(context_length: int, horizon: int, channels: int, season: int) -> Preset:
    """The same weights, fine-tuned on the table in seconds: fewer steps where they are dear, none
    where the few rows held back would keep what helps by chance."""
    preset = pretrained_forecast(context_length, season)
    if context_length < _FEW_ROWS:
        return preset
    P, batch = SIZES["patch_size"], max(1, _TUNED_ROWS // channels)
    tokens = -(-(min(context_length, _TUNED_CONTEXT) + horizon) // P) * batch * channels
    steps = max(_FEWEST_STEPS, min(_MOST_STEPS, _TUNED_TOKENS // tokens) // _TUNED_EPOCHS)
    return replace(
        preset,
        train={
            "epochs": _TUNED_EPOCHS,
            "epoch_steps": steps,
            "epoch_size": batch * steps,
            "batch_size": batch,
            "lr": 2e-4,
            "schedule": "cosine",
            "patience": None,
            "weight_decay": 0.01,
            "clip_norm": 1.0,
            # not of the weights, but of how far they are trusted
            "refit": "continue" if preset.train["refit"] else False,
        },
    )


def refuse_sizes(own: Mapping[str, Any]) -> None:
    """Refuse settings of a network whose weights are given."""
    if own:
        found = ", ".join(map(repr, own))
        raise ConfigError(
            "quality='pretrained' and quality='tuned' use the weights that come with the package, "
            f"so model={{{found}: ...}} cannot be set; leave it out or use quality='auto'"
        )
