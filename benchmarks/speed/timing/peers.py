"""Other forecasting networks: neuralforecast's modules, called as plain torch modules.

Both are univariate like ours: every channel is a separate series. PatchTST is timed in
neuralforecast's default sizes, which are those of its authors' script for Traffic, and in the much
smaller ones of their script for ETTh1; TimesNet in the sizes of its authors' script for ETTh1.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

from torch import Tensor, nn

from .cases import Case, Phase
from .contestants import PASSES, NotRun, Timed, contestant, network_step

# Series in one TimesNet step, whose cost per series is many times ours.
TIMESNET_SERIES = 16
PATCHTST_SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "n_heads": 4,
    "linear_hidden_size": 128,
    "dropout": 0.3,
    "fc_dropout": 0.3,
}
TIMESNET: dict[str, Any] = {"hidden_size": 16, "conv_hidden_size": 32, "top_k": 5}


class Univariate(nn.Module):
    """A neuralforecast module on series (B, L, 1)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network({"insample_y": x, "futr_exog": None})


@contestant("PatchTST", "eager", phases=PASSES, heads=("forecast",), precisions=("fp32", "bf16"))
def patchtst(case: Case, phase: Phase, precision: str) -> Timed:
    return _timed("PatchTST", {}, case, phase, precision, case.rows)


@contestant("PatchTST-d16", "eager", phases=PASSES, heads=("forecast",))
def patchtst_small(case: Case, phase: Phase, precision: str) -> Timed:
    return _timed("PatchTST", PATCHTST_SMALL, case, phase, precision, case.rows)


@contestant("TimesNet-d16", "eager", phases=PASSES, heads=("forecast",))
def timesnet(case: Case, phase: Phase, precision: str) -> Timed:
    series = min(case.rows, TIMESNET_SERIES)
    return _timed("TimesNet", TIMESNET, case, phase, precision, series)


def _timed(
    name: str, sizes: dict[str, Any], case: Case, phase: Phase, precision: str, series: int
) -> Timed:
    """A step on the first `series` of the batch; note and share record the fraction."""
    network = Univariate(_network(name, sizes, case.config.context_length, case.config.outputs))
    x, y = (part.flatten(0, 1)[:series, :, None].contiguous() for part in case.data())
    step = network_step(network, x, y, case, phase, precision).step
    if series == case.rows:
        return Timed(step)
    return Timed(step, share=series / case.rows, note=f"{series} of {case.rows} series")


def _network(name: str, sizes: dict[str, Any], context_length: int, horizon: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from neuralforecast import models  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise NotRun(f"neuralforecast is not there: {error}") from error
        for noisy in ("lightning", "lightning_fabric", "pytorch_lightning"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        model = getattr(models, name)
        return model(h=horizon, input_size=context_length, max_steps=1, **sizes)
