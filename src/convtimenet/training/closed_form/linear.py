"""The linear stream solved in closed form: ridge regression towards a classical forecast.

The map minimises the squared errors of the training windows plus a penalty on its distance from a
simple forecast: with little data it is that forecast (the last value, the last season, exponential
smoothing), with much data it is least squares. Simple forecast and penalty, if asked the length of
the context, and whether the map is averaged with those of shorter ends of the context, have the
smallest squared error over five blocks of windows, each predicted by a map fitted to the others
without their neighbours (Bergmeir, Hyndman and Koo, 2018, on why that is valid for autoregression).
Errors count in the units of the training loss.

Shape legend: `convtimenet._shapes`; n windows of one channel.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
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
from convtimenet.training.closed_form.classical import repeated, smoothed, smoothings
from convtimenet.training.closed_form.sliding import Sums, series_of, sums_over
from convtimenet.training.history import Epoch, History
from convtimenet.training.interrupt import StopRequest
from convtimenet.training.losses import loss_of
from convtimenet.training.metrics import outputs

__all__ = ["Start", "best_start", "fit_linear", "granted", "solve_linear", "views"]

PENALTIES = tuple(10.0**power for power in range(-1, 7))
_BLOCKS = 5
_STEPS = 24  # steps of the horizon that the choice is made by
_SHARES = 20
_FOR_VIEWS = 2  # windows for each step of the context; fewer cannot tell one view from three
_AVERAGED = 8  # of the best smoothing forecasts


@dataclass(frozen=True, eq=False)
class Start:
    """What the map is solved towards, and how firmly.

    Attributes
    ----------
    name
        Of the simple forecast.
    weight
        (L, H) its map.
    penalty
        On the squared distance; infinite for the simple forecast itself.
    error
        Mean squared error over the blocks, in the units of the training loss.
    context
        L
    maps
        The maps that predicted the blocks, each for some steps of the horizon.
    """

    name: str
    weight: np.ndarray
    penalty: float
    error: float
    context: int
    maps: list[np.ndarray]


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
        task.say(f"{label}: {len(windows):,} windows, in closed form from {told}")
    seconds = time.monotonic() - begin
    history = History(device=device, stopped="solved in closed form", seconds=seconds)
    error = float(np.mean([start.error for start in starts]))
    history.epochs.append(Epoch(1, error, {}, 0.0, seconds))
    history.best_epoch = 1
    return history


def solve_linear(stream: LinearStream, revin: RevIN, windows: Windows, season: int) -> list[Start]:
    """Set the map of a stream to the solution for the whole context, or to the mean of those for
    its `views`, by their errors over the blocks; with few windows always the mean. Returns what
    they were solved towards.

    Gaps inside a series are filled by interpolation for that, between values of the windows' rows.
    If no window is left, every forecast is the centre of its context.
    """
    search = _Search(windows, season, revin.subtract_last)
    L = windows.context_length
    starts = [search.best(own) for own in views(L, season)]
    enough = len(windows) >= _FOR_VIEWS * L
    if enough and search.error_of_mean(starts) >= starts[-1].error:
        starts = starts[-1:]
    found = search.mean([search.solution(start) for start in starts], L)
    with torch.no_grad():
        stream.weight.copy_(torch.from_numpy(found.T))
    return starts


def views(context: int, season: int) -> list[int]:
    """Ends of a context that a forecast may average over: a quarter and a half, but two and four
    seasons at least, and the whole."""
    short = (max(2 * season, context // 4), max(4 * season, context // 2), context)
    return sorted({max(1, min(context, own)) for own in short})


def best_start(
    windows: Windows, season: int, contexts: Sequence[int] = (), subtract_last: bool = False
) -> Start:
    """The simple forecast, the penalty and the context, of those given, with the smallest error
    over the blocks; all on the targets of the windows, whose context is the longest."""
    search = _Search(windows, season, subtract_last)
    found = [search.best(L) for L in contexts or [windows.context_length]]
    return min(found, key=lambda start: start.error)


class _Search:
    """The blocks of some windows, and what is solved from them."""

    def __init__(self, windows: Windows, season: int, subtract_last: bool):
        L, H = windows.context_length, windows.horizon
        self.horizon, self.season, self.subtract_last = H, season, subtract_last
        steps = np.linspace(0, H - 1, min(H, _STEPS)).round().astype(np.int64)
        self.steps = np.unique(steps)
        starts = windows.starts.cpu().numpy()
        parts = np.array_split(starts, min(_BLOCKS, len(starts)))
        borders = []
        for part in parts:
            near = (starts > part[0] - H) & (starts < part[-1] + H)
            borders.append(starts[near & ((starts < part[0]) | (starts > part[-1]))])
        found = sums_over(series_of(windows), [*parts, *borders], L, H)
        self.blocks, borders = found[: len(parts)], found[len(parts) :]
        self.total = sum(self.blocks[1:], start=self.blocks[0])
        others = [self.total - one - near for one, near in zip(self.blocks, borders, strict=True)]
        self.penalties = PENALTIES
        self.folds = list(zip(self.blocks, others, strict=True))
        """Each block, and what it is predicted from."""
        if any(one.count < 1 for one in others):  # too few to learn anything from
            self.folds, self.penalties = [(self.total, self.total)], ()

    def best(self, L: int) -> Start:
        """The best simple forecast and penalty for a context of L steps."""
        if not self.total.count:
            nothing = np.zeros((L, self.horizon))
            return Start("the mean of the context", nothing, np.inf, np.nan, L, [])
        grid = _smoothing_maps(L, self.steps, self.season)
        error: dict[tuple[str, float], float] = {}
        maps: dict[tuple[str, float], list[np.ndarray]] = {}
        for block, others in self.folds:
            known, scored = self._centred(others, L), self._centred(block, L)
            spectrum = np.linalg.eigh(known.square) if self.penalties else None
            for name, start in self._simple(L, self.steps, known.best_of(grid)).items():
                found = {np.inf: start}
                if spectrum is not None:
                    found |= known.solutions(start, self.penalties, spectrum)
                for penalty, one in found.items():
                    mean = float(scored.error(one)) / self.total.count / len(self.steps)
                    error[name, penalty] = error.get((name, penalty), 0.0) + mean
                    maps.setdefault((name, penalty), []).append(one)
        name, penalty = best = min(error, key=error.__getitem__)
        chosen = self._centred(self.total, L).best_of(grid)
        everything = self._simple(L, np.arange(self.horizon), chosen)[name]
        return Start(name, everything, penalty, error[best], L, maps[best])

    def error_of_mean(self, starts: Sequence[Start]) -> float:
        """Error over the blocks of the mean of several solutions; the last reads the most."""
        L, total = starts[-1].context, 0.0
        for number, (block, _) in enumerate(self.folds if starts[-1].maps else ()):
            found = self.mean([start.maps[number] for start in starts], L)
            total += float(self._centred(block, L).error(found))
        return total / max(1, self.total.count) / len(self.steps)

    def mean(self, maps: Sequence[np.ndarray], L: int) -> np.ndarray:
        """The mean of maps of ends of a context, as a map (L, n) of all of it."""
        total = np.zeros((L, maps[0].shape[1]))
        for one in maps:
            # the centre of an end is linear in it too: its weights make the sum 1
            raw = one + (1 - one.sum(0)) * self.centre(len(one))[:, None]
            total[L - len(one) :] += raw / len(maps)
        return total

    def solution(self, start: Start) -> np.ndarray:
        """The map (L, H) solved from all blocks."""
        if np.isinf(start.penalty):
            return start.weight
        sums = self._centred(self.total, start.context, np.arange(self.horizon))
        spectrum = np.linalg.eigh(sums.square)
        return sums.solutions(start.weight, [start.penalty], spectrum)[start.penalty]

    def _centred(self, sums: Sums, L: int, steps: np.ndarray | None = None) -> _Centred:
        steps = self.steps if steps is None else steps
        return _Centred(*sums.shortened(L).centred(self.centre(L), steps))

    def centre(self, L: int) -> np.ndarray:
        """Weights (L,) of the context's values in its centre."""
        return np.eye(L)[-1] if self.subtract_last else np.full(L, 1 / L)

    def _simple(self, L: int, ahead: np.ndarray, chosen: list[int]) -> dict[str, np.ndarray]:
        """The simple forecasts for some steps ahead, with those chosen from the grid."""
        found = {"the mean of the context": repeated("mean", L, ahead, 1)}
        found["the last value"] = repeated("last", L, ahead, 1)
        if 1 < self.season <= L:
            found["the last season"] = repeated("season", L, ahead, self.season)
            found["the mean of the last season"] = repeated("season mean", L, ahead, self.season)
        some = _smoothing_maps(L, ahead, self.season, chosen)
        found["exponential smoothing"] = some[0]
        found["a mean of exponential smoothings"] = some.mean(0)
        return found


@dataclass(frozen=True, eq=False)
class _Centred:
    """`Sums.centred`."""

    square: np.ndarray
    cross: np.ndarray
    targets: np.ndarray

    def error(self, weight: np.ndarray) -> np.ndarray:
        """Sums of squared errors of maps (..., L, n)."""
        fitted = (weight * (self.square @ weight - 2 * self.cross)).sum((-2, -1))
        return np.maximum(fitted + self.targets.sum(), 0.0)

    def best_of(self, grid: np.ndarray) -> list[int]:
        """The best few maps of a grid (P, L, n)."""
        return np.argsort(self.error(grid), kind="stable")[:_AVERAGED].tolist()

    def solutions(
        self, start: np.ndarray, penalties: Sequence[float], spectrum: tuple[np.ndarray, np.ndarray]
    ) -> dict[float, np.ndarray]:
        """The maps that minimise the squared errors plus each penalty on the distance from
        `start`, from the eigenvalues and eigenvectors of `square`."""
        values, vectors = spectrum
        left = vectors.T @ (self.cross - self.square @ start)
        values = values.clip(min=0)[:, None]
        return {one: start + vectors @ (left / (values + one)) for one in penalties}


def granted(
    network: ConvTimeNet, valid: Examples, config: TrainConfig, device: torch.device
) -> float:
    """Set the share of the head's forecast that is added to the linear one, from 0 to 1, to that
    with the smallest loss on the validation split; returns it.

    It is 0 unless the gain exceeds its standard error, as if only windows that do not overlap told
    anything new: a network that learnt nothing of use forecasts as its stream does. Quantile heads
    keep all.
    """
    if network.linear is None or network.config.quantiles:
        return 1.0
    loss = loss_of(network.config, config)
    shares = torch.linspace(0, 1, _SHARES + 1)
    both = _Both(fuse(network))
    parts = []  # (shares, windows and channels)
    with autocast(device, config):
        for output, batch in outputs(both, valid, config.batch_size, device):
            whole, stream = output.unbind(1)
            weight = torch.ones_like(batch.y) if batch.weight is None else batch.weight
            count = weight.sum(-1)
            errors = [
                loss.values(torch.lerp(stream, whole, float(share)), batch.y, reduction="none")
                for share in shares
            ]
            means = torch.stack([(e * weight).sum(-1) / count.clamp(min=1) for e in errors])
            parts.append(means[:, count > 0].cpu().double())
    means = torch.cat(parts, dim=1)
    best = int(means.mean(1).argmin())
    gain = means[0] - means[best]
    apart = gain.numel() / network.config.outputs
    if apart < 2 or float(gain.mean()) <= float(gain.std()) / apart**0.5:
        best = 0
    share = float(shares[best])
    network.granted.fill_(share)
    return share


class _Both(nn.Module):
    """Forecasts (B, 2, C, H) of a fused network: all of the head's share, and none."""

    def __init__(self, network: ConvTimeNet):
        super().__init__()
        self.whole, self.stream = network, copy.deepcopy(network)
        self.whole.granted.fill_(1.0)
        self.stream.granted.fill_(0.0)

    def forward(self, *inputs: Any) -> Tensor:
        return torch.stack([self.whole(*inputs), self.stream(*inputs)], dim=1)


def _smoothing_maps(
    L: int, ahead: np.ndarray, season: int, chosen: list[int] | None = None
) -> np.ndarray:
    """(P, L, n) the exponential smoothing forecasts of the grid, or those chosen from it."""
    kinds = [smoothings(False)] + ([smoothings(True)] if season > 1 and 2 * season <= L else [])
    numbers = range(sum(map(len, kinds))) if chosen is None else chosen
    found: dict[int, np.ndarray] = {}
    first = 0
    for grid in kinds:
        own = [number for number in numbers if first <= number < first + len(grid)]
        if own:
            maps = smoothed([grid[number - first] for number in own], L, ahead, season)
            found |= dict(zip(own, maps, strict=True))
        first += len(grid)
    return np.stack([found[number] for number in numbers])
