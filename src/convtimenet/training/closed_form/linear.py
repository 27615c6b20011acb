"""The linear stream solved in closed form, and the shares of what a network and other channels add.

The map of the whole context is solved towards a classical forecast
(`convtimenet.training.closed_form.search`), or averaged with those of shorter ends of the context,
whichever predicts blocks of training windows better. Channels with maps of their own have them
solved towards the one of all channels, and keep that one where theirs predicts the blocks no
better.

Shape legend: `convtimenet._shapes`; n windows of one channel.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convtimenet.config import TrainConfig
from convtimenet.data.windows import Examples, Windows
from convtimenet.devices import autocast
from convtimenet.network.inference import fuse
from convtimenet.network.linear import LinearNetwork, LinearStream
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.revin import RevIN
from convtimenet.progress import showing
from convtimenet.training.closed_form.search import Search, Start, surely, views
from convtimenet.training.closed_form.sliding import series_of
from convtimenet.training.history import History
from convtimenet.training.interrupt import StopRequest
from convtimenet.training.metrics import outputs
from convtimenet.training.objectives import loss_of

__all__ = ["fit_linear", "granted", "solve_linear"]

_SHARES, _SHARES_TOLD = 20, 5
_MOST_LOSSES = 2**23  # of windows, channels and pairs of shares that are compared
_FOR_VIEWS = 2  # windows for each step of the context; fewer cannot tell one view from three


def fit_linear(
    network: LinearNetwork,
    windows: Windows,
    stop: StopRequest,
    *,
    verbose: int = 1,
    label: str = "training",
) -> History:
    """Solve for the only weights of a linear network, in place.

    Parameters
    ----------
    windows
        All training windows, of the network's context.
    stop
        Ends the work before it begins.

    Returns
    -------
    History
        One epoch, whose training loss is the mean squared error over the blocks; none if it was
        stopped.
    """
    device = str(windows.starts.device)
    if stop.signal:
        return History(device=device, stopped=f"stopped by {stop.name}")
    begin = time.monotonic()
    with showing(label, verbose) as task:
        starts = solve_linear(network.linear, network.embedding, windows, network.config.season)
        told = ", ".join(f"{one.name} ({one.context} steps)" for one in starts)
        task.say_alone(f"{label}: {len(windows):,} windows, in closed form from {told}")
    error = float(np.mean([start.error for start in starts]))
    return History.solved(error, device, time.monotonic() - begin)


def solve_linear(stream: LinearStream, revin: RevIN, windows: Windows, season: int) -> list[Start]:
    """Set the map of a stream to the solution for the whole context, or to the mean of those for
    its `views`, by their errors over the blocks; with few windows always the mean. Returns what
    they were solved towards.

    For gaps see `convtimenet.training.closed_form.sliding.Series`. If no window is left, every
    forecast is the centre of its context.
    """
    series, L = series_of(windows, season), windows.context_length
    search = Search(series, windows, season, revin.subtract_last)
    starts = [search.best(own) for own in views(L, season)]
    whole = search.solution(starts[-1]), starts[-1].maps
    mean = (
        search.mean([search.solution(start) for start in starts], L),
        [search.mean(maps, L) for maps in zip(*(start.maps for start in starts), strict=True)],
    )
    enough = len(windows) >= _FOR_VIEWS * L
    candidates = [mean, whole]
    told = enough and whole[1]  # without a known value nothing tells
    if told and search.errors_of(mean[1]).sum() >= starts[-1].error:
        candidates, starts = [whole, mean], starts[-1:]
    found = candidates[0][0]
    if stream.weight.dim() == 3:
        own = (Search([one], windows, season, revin.subtract_last) for one in series)
        found = _by_channel(found, [one.towards(L, candidates) for one in own])
    with torch.no_grad():
        stream.weight.copy_(torch.from_numpy(found).swapaxes(-1, -2))
    return starts


def _by_channel(
    shared: np.ndarray, own: Sequence[tuple[np.ndarray, np.ndarray] | None]
) -> np.ndarray:
    """Maps (C, L, H): each channel's own where it is better than the shared one. Where all channels
    together are surely better with maps of their own, less is asked of each."""
    gains = [gain for _, gain in filter(None, own)]
    asked = 0.5 if gains and surely(np.sum(gains, axis=0), 2.0) else 2.0
    return np.stack([shared if one is None or not surely(one[1], asked) else one[0] for one in own])


def granted(
    network: ConvTimeNet, valid: Examples, config: TrainConfig, device: torch.device
) -> tuple[float, float]:
    """Set the shares, from 0 to 1, of the head's forecast that is added to the linear one and of
    what each channel reads from others, to those with the smallest loss on the validation split;
    returns the former and the mean of the latter.

    A share is 0 unless the gain exceeds its standard error, as if only windows that do not overlap
    told anything new: a network that learnt nothing of use forecasts as its stream does, and a
    channel that reads nothing of use in others as it does alone. Without a linear stream the head
    keeps all; quantile heads keep all of both.
    """
    mixing = network.mixing
    if network.config.quantiles or (network.linear is None and mixing is None):
        return 1.0, 0.0 if mixing is None else 1.0
    loss = loss_of(network.config, config)
    heads = torch.linspace(0, 1, _SHARES + 1) if network.linear is not None else torch.ones(1)
    told = torch.linspace(0, 1, _SHARES_TOLD + 1) if mixing is not None else torch.zeros(1)
    some = valid
    if mixing is not None and isinstance(valid, Windows):
        each = len(heads) * len(told) * len(valid.values)
        some = valid.thinned(max(1, _MOST_LOSSES // each))
    horizon = network.config.outputs * len(some) / len(valid)
    parts, counts = [], []  # (heads, told, windows, C) and (windows, C)
    with autocast(device, config):
        for output, batch in outputs(_Parts(fuse(network)), some, config.batch_size, device):
            stream, whole, others = output.unbind(1)
            weight = torch.ones_like(batch.y) if batch.weight is None else batch.weight
            count = weight.sum(-1)
            errors = [
                [
                    (loss.values(one + share * others, batch.y, reduction="none") * weight).sum(-1)
                    for share in told.tolist()
                ]
                for one in (torch.lerp(stream, whole, float(own)) for own in heads)
            ]
            means = torch.stack([torch.stack(row) for row in errors]) / count.clamp(min=1)
            parts.append(means.cpu().double())
            counts.append(count.cpu() > 0)
    means, counted = torch.cat(parts, dim=2), torch.cat(counts)
    chosen = []  # (windows and channels,) of every share of the head, with the best shares told
    shares = []
    for row in means:
        best, of = [], []
        for c, seen in enumerate(counted.T):
            own = row[:, seen, c]
            number = int(own.mean(1).argmin()) if seen.any() else 0
            number = number if number and _gains(own[0], own[number], horizon) else 0
            best.append(own[number])
            of.append(told[number])
        chosen.append(torch.cat(best))
        shares.append(torch.stack(of))
    best = int(torch.stack([one.mean() for one in chosen]).argmin())
    if not _gains(chosen[0], chosen[best], horizon):
        best = 0
    if network.linear is not None:
        network.granted.fill_(float(heads[best]))
    if mixing is not None:
        mixing.granted.copy_(shares[best])
    return float(heads[best]), float(shares[best].mean())


def _gains(losses: Tensor, others: Tensor, horizon: float) -> bool:
    """Whether other losses of windows are smaller than these by more than the standard error of
    the difference, if every `horizon`-th window tells something new."""
    gain, apart = losses - others, losses.numel() / horizon
    return apart >= 2 and float(gain.mean()) > float(gain.std()) / apart**0.5


class _Parts(nn.Module):
    """Forecasts (B, 3, C, H) of a fused network: of its stream, with all of the head's share, and
    what others tell a channel by itself."""

    def __init__(self, network: ConvTimeNet):
        super().__init__()
        self.stream, self.whole = (_granting(network, share, 0.0) for share in (0.0, 1.0))
        self.told = None if network.mixing is None else _granting(network, 0.0, 1.0)

    def forward(self, *inputs: Any) -> Tensor:
        stream, whole = self.stream(*inputs), self.whole(*inputs)
        others = torch.zeros_like(stream) if self.told is None else self.told(*inputs) - stream
        return torch.stack([stream, whole, others], dim=1)


def _granting(network: ConvTimeNet, head: float, others: float) -> ConvTimeNet:
    """A copy with these shares."""
    found = copy.deepcopy(network)
    if found.linear is not None:
        found.granted.fill_(head)
    if found.mixing is not None:
        found.mixing.granted.fill_(others)
    return found
