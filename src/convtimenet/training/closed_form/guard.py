"""How far a network that was trained on other series is trusted, from forecasts of these.

Shape legend: `convtimenet._shapes`; n windows.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from convtimenet._shapes import Float
from convtimenet.config import TrainConfig
from convtimenet.data.windows import Windows
from convtimenet.network.reconstruction.network import SIZES
from convtimenet.network.reconstruction.outliers import outliers
from convtimenet.network.reconstruction.pretrained import MEDIAN, WAYS, PretrainedForecaster
from convtimenet.network.reconstruction.weights import load_pretrained
from convtimenet.progress import showing
from convtimenet.training.history import History
from convtimenet.training.interrupt import StopRequest
from convtimenet.training.metrics import evaluate
from convtimenet.training.objectives import loss_of

__all__ = ["CHEAP", "GUARDED", "fit_guard", "keep", "posterior_shares", "some_windows"]

GUARDED = "weights of the package, trusted as far as forecasts of this table allow"
"""How training ended."""
_SHARES, _PARTS = torch.linspace(0, 1, 5), torch.linspace(0, 1, 3)
_PRIOR = (1 / 3, 1 / 3, 1 / 3), (0.6, 0.3, 0.1), (0.01, 0.02, 0.05, 0.17, 0.75)
"""Of `_PARTS` of logarithms, of drift, and of `_SHARES`: on short series one choice for all of them
forecasts better than what is best in a few windows of each."""
CHEAP = 512
"""Most steps of a context that is read in several ways."""
_COUNTS = 4.0  # independent errors in a window; docs/design/pretrained.md says how it was chosen
_TOKENS, _FEWEST, _MOST = 2**14, 16, 512  # that the share is chosen by; windows and channels
_AT_ONCE = 64
_ENOUGH = 8  # known steps of a context


def fit_guard(
    network: PretrainedForecaster,
    windows: Windows,
    stop: StopRequest,
    *,
    verbose: int = 1,
    label: str = "training",
) -> History:
    """Choose the share of the network's forecast beside the seasonal-naive one, and in it those of
    logarithms and of drift, in place: their posterior means given its errors over windows of the
    table.

    Arguments and result as those of `convtimenet.training.closed_form.linear.fit_linear`; the
    training loss is the mean absolute error, in the units the network sees.
    """
    device = str(windows.starts.device)
    if stop.signal:
        return History(device=device, stopped=f"stopped by {stop.name}")
    begin = time.monotonic()
    with showing(label, verbose) as task:
        some = some_windows(windows)
        errors = _errors_by_shares(network, some)
        span = float(some.starts.max() - some.starts.min())
        apart = min(1.0, (1 + span / some.horizon) / len(some))
        means = posterior_shares(errors, apart, network.config.context_length > CHEAP)
        for share, mean in zip(
            (network.logarithms, network.drift, network.trusted), means, strict=True
        ):
            share.fill_(mean)
        task.say_alone(
            f"{label}: weights of the package, trusted by {float(network.trusted):.0%} beside the "
            f"seasonal-naive forecast in {len(some):,} windows"
        )
    places = (_nearest(of, one) for of, one in zip((_PARTS, _PARTS, _SHARES), means, strict=True))
    error = float(errors[tuple(places)].mean())
    history = History.solved(error, device, time.monotonic() - begin, GUARDED)
    if not errors.shape[-1]:
        history.notes.append(
            "no part of the table has enough known values to try the weights of the package on: "
            "they are trusted as far as on most tables"
        )
    return history


def keep(
    network: PretrainedForecaster,
    valid: Windows,
    config: TrainConfig,
    device: torch.device,
    history: History,
) -> None:
    """Keep as much of what fine-tuning changed, in place, as has the smallest loss on the
    validation split: weights between those of the package and the tuned ones (Wortsman et al.,
    "Robust fine-tuning of zero-shot models", CVPR 2022), which forecast no worse there."""
    tuned = {name: one.clone() for name, one in network.embedding.state_dict().items()}
    load_pretrained(network.embedding)
    first = {name: one.clone() for name, one in network.embedding.state_dict().items()}
    loss, some = loss_of(network.config, config), some_windows(valid)
    found = []
    for share in _PARTS.tolist():
        network.embedding.load_state_dict(
            {name: one.lerp(tuned[name], share) for name, one in first.items()}
        )
        found.append(evaluate(network, some, "forecast", config.batch_size, device, False, loss))
    best = min(range(len(found)), key=lambda number: found[number][loss.name])
    share = history.granted = float(_PARTS[best])
    network.embedding.load_state_dict(
        {name: one.lerp(tuned[name], share) for name, one in first.items()}
    )
    history.epochs = [
        replace(one, valid=found[best]) if one.epoch == history.best_epoch else one
        for one in history.epochs
    ]
    if not share:
        history.notes.append(
            "on the validation split the fine-tuned weights are no better than those of the "
            "package, which forecast"
        )


def some_windows(windows: Windows, fewest: int = 1, tokens: int = _TOKENS) -> Windows:
    """Windows evenly spaced over those given, as many as are read within a second or two: a stated
    number of tokens, of at least `_FEWEST` windows and channels and `fewest` windows."""
    rows = tokens * SIZES["patch_size"] // (windows.context_length + windows.horizon)
    rows = max(_FEWEST, min(_MOST, rows))
    return windows.thinned(max(fewest, rows // len(windows.values)))


@torch.inference_mode()
def _errors_by_shares(
    network: PretrainedForecaster, windows: Windows
) -> Float[Tensor, "logarithms drift shares n"]:
    """Mean absolute error of each window and channel that says anything, in the units the network
    sees, deviations of the series' training rows (in those of the window flat stretches would count
    most), with each share of logarithms and of drift in the network's answer, and of that beside
    the seasonal-naive one. Outliers are neither read nor forecast."""
    network.eval()
    config = network.config
    # what is forecast from fewer steps says little, but where there are no others
    enough = min(max(config.season, _ENOUGH), config.context_length // 2)
    errors = []
    for index in torch.arange(len(windows), device=windows.starts.device).split(_AT_ONCE):
        batch = windows.batch(index)
        x, y = batch.x.flatten(0, 1).float(), batch.y.flatten(0, 1).float()
        known, weight = torch.ones_like(x, dtype=torch.bool), torch.ones_like(y)
        known = known if batch.known is None else batch.known.flatten(0, 1)
        weight = weight if batch.weight is None else batch.weight.flatten(0, 1)
        both = outliers(torch.cat([x, y], dim=-1), torch.cat([known, weight > 0], dim=-1))
        weight = weight * ~both[:, x.shape[-1] :]
        known = known & ~outliers(x, known)
        there = (weight.sum(-1) > 0) & (known.sum(-1) >= enough)
        x, y, known, weight = x[there], y[there], known[there], weight[there]
        ways = torch.stack([network.read(x, known, *way)[:, MEDIAN] for way in WAYS])
        ways, parts = ways.unflatten(0, (2, 2)), _PARTS.to(x)[:, None, None]
        found = ways[:, 0, None].lerp(ways[:, 1, None], parts)  # (2, drift, R, H)
        found = found[0].lerp(found[1], parts[:, None])[:, :, None]
        found = network.naive(x, known).lerp(found, _SHARES.to(x)[:, None, None])
        each = ((found - y).abs() * weight).sum(-1) / weight.sum(-1)
        errors.append(each.double().cpu())
    found = torch.cat(errors, dim=-1)
    # of values below 0 there are no logarithms to read
    return found if network.positive and not found[0].equal(found[-1]) else found[:1]


def posterior_shares(
    errors: Float[Tensor, "logarithms drift shares n"], apart: float, long: bool
) -> tuple[float, float, float]:
    """Posterior means of the three shares given errors; those of logarithms and of drift as all,
    half or nothing, of a `long` context all or nothing, because each way to read takes its time.

    Parameters
    ----------
    apart
        Part of the windows that do not overlap; the others tell nothing of their own.
    """
    n = errors.shape[-1]
    logs, drift, trust = (torch.tensor(one, dtype=torch.float64) for one in _PRIOR)
    found = (logs[: len(errors), None, None] * drift[:, None] * trust).log()
    if n:
        found -= _COUNTS * apart * n * errors.mean(-1).clamp(min=1e-9).log()
    found = found.flatten().softmax(0).view(found.shape)
    means = [
        float(found.sum(others) @ of[: found.shape[place]].double())
        for place, (others, of) in enumerate(
            (((1, 2), _PARTS), ((0, 2), _PARTS), ((0, 1), _SHARES))
        )
    ]
    logarithms, drifting = (
        1.0 if one > 2 / 3 else 0.0 if long or one < 1 / 3 else 0.5 for one in means[:2]
    )
    return logarithms, drifting, means[2]


def _nearest(of: Tensor, share: float) -> int:
    return int((of - share).abs().argmin())
