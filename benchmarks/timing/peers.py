"""Other forecasting networks: neuralforecast's modules, called as plain torch modules.

Both are univariate like ours: every channel is a series of its own. Their sizes are
neuralforecast's defaults (PatchTST: 3 layers of width 128, 16 heads, patches of 16 steps, 8 apart;
TimesNet: 2 layers of width 64, 5 periods, 6 kernels).
"""

from __future__ import annotations

import logging
import warnings

from torch import Tensor, nn

from .cases import Case, Phase
from .contestants import PASSES, NotRun, Timed, contestant, network_step

# TimesNet needs about 0.3 s per series and training step; the rest of the batch is its like.
TIMESNET_SERIES = 8


class Univariate(nn.Module):
    """A neuralforecast module on series (B, L, 1)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network({"insample_y": x, "futr_exog": None})


@contestant("PatchTST", "eager", phases=PASSES, heads=("forecast",), precisions=("fp32", "bf16"))
def patchtst(case: Case, phase: Phase, precision: str) -> Timed:
    return _timed("PatchTST", case, phase, precision, case.rows)


@contestant("TimesNet", "eager", phases=PASSES, heads=("forecast",))
def timesnet(case: Case, phase: Phase, precision: str) -> Timed:
    return _timed("TimesNet", case, phase, precision, min(case.rows, TIMESNET_SERIES))


def _timed(name: str, case: Case, phase: Phase, precision: str, series: int) -> Timed:
    """The first `series` of the batch; what was left out is stated and counted."""
    network = _network(name, case.config.context_length, case.config.outputs)
    x, y = (part.flatten(0, 1)[:series, :, None].contiguous() for part in case.data())
    step = network_step(Univariate(network), x, y, case, phase, precision).step
    if series == case.rows:
        return Timed(step)
    return Timed(step, share=series / case.rows, note=f"{series} of {case.rows} series")


def _network(name: str, context_length: int, horizon: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from neuralforecast import models  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise NotRun(f"neuralforecast is not there: {error}") from error
        for noisy in ("lightning", "lightning_fabric", "pytorch_lightning"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        return getattr(models, name)(h=horizon, input_size=context_length, max_steps=1)
