"""What a fitted forecaster's linear effects of covariates known ahead are, in the data's units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convtimenet.data.covariates import Encoder
from convtimenet.data.windows import Scaler
from convtimenet.network.ensemble import Ensemble, networks_in

__all__ = ["Effect", "covariate_effects"]


@dataclass(frozen=True)
class Effect:
    """A linear effect of a covariate known ahead.

    Attributes
    ----------
    name
        Of the covariate.
    category
        For text, the category; None for a number.
    values
        (C,) what one unit of the number, or the category, adds to each channel: in the data's
        units, or for series that are scaled by themselves in standard deviations of the series.
    """

    name: str
    category: str | None
    values: np.ndarray


def covariate_effects(network: Any, encoder: Encoder, scaler: Scaler) -> list[Effect]:
    """The effects of a fitted network, in the order of the covariates; empty without any. Calendar
    features, which go round, are left out. What a trained network makes of covariates comes on
    top."""
    shares = network.weights.tolist() if isinstance(network, Ensemble) else [1.0]
    found = [
        share * one.effects.weight.double().cpu().numpy()
        for one, share in zip(networks_in(network), shares, strict=True)
        if one.effects is not None
    ]
    if not found:
        return []
    scale = scaler.scale if scaler.scale.ndim == 2 else np.ones((1, 1))
    weight = np.asarray(np.stack(found).sum(0) * scale)  # (C, K)
    effects, at = [], 0
    for column in encoder.futr:
        if column.categories is None:
            effects.append(Effect(column.name, None, weight[:, at] / column.scale))
        else:
            effects += [
                Effect(column.name, category, weight[:, at + k])
                for k, category in enumerate(column.categories)
            ]
        at += column.width
    return effects
