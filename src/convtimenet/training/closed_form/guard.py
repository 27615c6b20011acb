"""How far a network that was trained on other series is trusted, from forecasts of these.

Shape legend: `convtimenet._shapes`; n windows.
"""

from __future__ import annotations

import time
from copy import copy

import torch

from convtimenet.data.windows import Windows
from convtimenet.network.reconstruction.pretrained import PretrainedForecaster
from convtimenet.network.reconstruction.weights import load_pretrained
from convtimenet.progress import showing
from convtimenet.training.history import History
from convtimenet.training.interrupt import StopRequest

__all__ = ["GUARDED", "fit_guard"]

GUARDED = "weights of the package, trusted as far as forecasts of this table allow"
"""How training ended."""
_SHARES = torch.linspace(0, 1, 5)
_TOKENS, _FEWEST, _MOST = 2**15, 16, 512  # that the share is chosen by; windows and channels
_AT_ONCE = 64
_LEAST = 1e-6


def fit_guard(
    network: PretrainedForecaster,
    windows: Windows,
    stop: StopRequest,
    *,
    verbose: int = 1,
    label: str = "training",
) -> History:
    """Load the weights of the package, and choose the share of their forecast beside the
    seasonal-naive one, in place: the one with the smallest error over windows of the table,
    relative to that of the naive forecast in each of them; of equals the largest.

    Arguments and result as those of `convtimenet.training.closed_form.linear.fit_linear`; the
    training loss is the mean absolute error, in the units the network sees.
    """
    device = str(windows.starts.device)
    if stop.signal:
        return History(device=device, stopped=f"stopped by {stop.name}")
    begin = time.monotonic()
    load_pretrained(network.embedding)
    network.eval()
    config = network.config
    rows = _TOKENS * config.patch_size // (config.context_length + config.outputs)
    rows = max(_FEWEST, min(_MOST, rows))
    some = copy(windows).thinned(max(1, rows // len(windows.values)))
    total = torch.zeros(len(_SHARES), dtype=torch.float64)
    error = count = 0.0
    with showing(label, verbose) as task, torch.inference_mode():
        for index in torch.arange(len(some), device=windows.starts.device).split(_AT_ONCE):
            batch = some.batch(index)
            x, y = batch.x.flatten(0, 1).float(), batch.y.flatten(0, 1).float()
            known = torch.ones_like(x, dtype=torch.bool)
            known = known if batch.known is None else batch.known.flatten(0, 1)
            weight = torch.ones_like(y) if batch.weight is None else batch.weight.flatten(0, 1)
            quantiles, naive = network.filled(x, known)
            median = quantiles[:, config.quantiles.index(0.5)]
            shares = _SHARES.to(x)[:, None, None]
            away = ((naive + shares * (median - naive)) - y).abs() * weight
            each = away.sum(-1).double()  # (shares, R)
            unit = each[0] + _LEAST * weight.sum(-1)
            some_known = weight.sum(-1) > 0
            relative = torch.where(some_known, each / unit.clamp(min=1e-30), 0.0)
            total += relative.clamp(max=10.0).sum(-1).cpu()
            error += float(each[-1].sum())
            count += float(weight.sum())
        best = len(_SHARES) - 1 - int(total.flip(0).argmin())
        network.trusted.fill_(float(_SHARES[best]))
        task.say(
            f"{label}: weights of the package, trusted by {float(_SHARES[best]):.0%} beside the "
            f"seasonal-naive forecast in {len(some):,} windows"
        )
    return History.solved(error / max(1.0, count), device, time.monotonic() - begin, GUARDED)
