"""Exponential smoothing for short tables: its parameters chosen from a grid.

Shape legend: `convtimenet._shapes`; P smoothings, n windows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from convtimenet.data.windows import Windows
from convtimenet.network.smoothing import Kind, SmoothingNetwork, forecasts
from convtimenet.progress import showing
from convtimenet.training.closed_form.classical import smoothings
from convtimenet.training.history import History
from convtimenet.training.interrupt import StopRequest

__all__ = ["CHOSEN", "fit_smoothing"]

CHOSEN = "chosen from a grid"
"""How training ended."""
_REPEATED = (0.0, -1.0, 1.0, 1.0)  # the last season, repeated
_MOST = 1024  # windows and channels that parameters are chosen by
_FEWEST = 16  # windows, of tables with many channels
_AT_ONCE = 256


def fit_smoothing(
    network: SmoothingNetwork,
    windows: Windows,
    stop: StopRequest,
    *,
    verbose: int = 1,
    label: str = "training",
) -> History:
    """Choose the weights of a smoothing network, in place.

    Arguments and result as those of `convtimenet.training.closed_form.linear.fit_linear`; the
    training loss is the mean absolute error of the smoothings chosen.
    """
    device = str(windows.starts.device)
    if stop.signal:
        return History(device=device, stopped=f"stopped by {stop.name}")
    begin = time.monotonic()
    with showing(label, verbose) as task:
        error = _choose(network, windows)
        task.say(f"{label}: {len(windows):,} windows, exponential smoothings from a grid")
    return History.solved(error, device, time.monotonic() - begin, CHOSEN)


def _choose(network: SmoothingNetwork, windows: Windows) -> float:
    """Set parameters and shares: the mean over forms, additive, on logarithms and multiplicative,
    of those with the smallest mean absolute error. Windows near the end count with the steps of
    their horizons that are there. Returns the mean error of those chosen."""
    kinds, config = network.kinds, network.config
    grids = [_grid(kind) for kind in kinds]
    sums = [torch.zeros(len(one), dtype=torch.float64) for one in grids]
    counts = torch.zeros(len(kinds), dtype=torch.float64)
    total = known_values = 0.0
    most = max(_FEWEST, _MOST // len(windows.values))
    with torch.inference_mode():
        for x, known, y, weight in _examples(windows, most):
            total += float(x[known].double().sum())
            known_values += int(known.sum())
            for n, kind in enumerate(kinds):
                found, fits = forecasts(kind, x, known, grids[n].to(x), config)
                own = weight & fits[:, None]
                errors = torch.where(own[:, None], (found - y[:, None]).abs(), 0.0)
                sums[n] += errors.sum((0, 2)).double().cpu()
                counts[n] += int(own.sum())
    errors = [one / count for one, count in zip(sums, counts, strict=True)]
    parameters, shares = torch.zeros_like(network.parameters_of), torch.zeros_like(network.shares)
    chosen = []
    for form in _forms(kinds):
        every = torch.cat([errors[n] for n in form if counts[n] > 0] or [torch.zeros(0)])
        owners = [(n, p) for n in form if counts[n] > 0 for p in range(len(grids[n]))]
        for best in every.argsort(stable=True)[: network.shares.shape[1] // 2].tolist():
            n, p = owners[best]
            same = (parameters[n] == grids[n][p].to(parameters)).all(-1) & (shares[n] > 0)
            slot = int(same.int().argmax()) if same.any() else int((shares[n] > 0).sum())
            parameters[n, slot] = grids[n][p]
            shares[n, slot] += 1
            chosen.append(float(every[best]))
    with torch.no_grad():
        network.parameters_of.copy_(parameters)
        network.shares.copy_(shares)
        network.usual.fill_(total / max(1.0, known_values))
    return float(np.mean(chosen)) if chosen else float("nan")


def _grid(kind: Kind) -> Tensor:
    """(P, 4) the parameters that are searched."""
    found = [
        (one.level, -1.0 if one.trend is None else one.trend, one.season or 0.0, one.damping)
        for one in smoothings(kind.seasonal)
    ]
    if kind.seasonal and not kind.multiplies:
        found.append(_REPEATED)
    return torch.tensor(found)


def _forms(kinds: Sequence[Kind]) -> list[list[int]]:
    """The numbers of the kinds that compete in each form."""
    logarithms = [n for n, kind in enumerate(kinds) if kind.logarithms]
    additive = [n for n, kind in enumerate(kinds) if not (kind.logarithms or kind.multiplies)]
    multiplied = [n for n, kind in enumerate(kinds) if kind.multiplies]
    flat = [n for n in additive if not kinds[n].seasonal]
    return [additive, logarithms, *([flat + multiplied] if multiplied else [])]


def _examples(windows: Windows, most: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Contexts (R, L), whether they are known, targets (R, H), and whether they are known, of the
    windows and of those behind the last ones whose horizons are there in part; at most so many
    windows, evenly spaced."""
    L, H, T = windows.context_length, windows.horizon, windows.values.shape[1]
    starts = windows.starts.sort().values
    last = torch.ones_like(starts, dtype=torch.bool)
    last[:-1] = starts.diff() > 1
    ends = starts[last] + L + H  # of the runs of windows
    ahead = torch.arange(1, H, device=starts.device)
    partly = (starts[last][:, None] + ahead).flatten()
    end = torch.cat([ends[torch.searchsorted(ends, starts + L)], ends.repeat_interleave(H - 1)])
    starts = torch.cat([starts, partly])
    chosen = torch.linspace(0, len(starts) - 1, min(len(starts), most), device=starts.device)
    chosen = chosen.round().long()
    everything = windows.mask
    for part in chosen.split(max(1, _AT_ONCE // len(windows.values))):
        rows = starts[part][:, None] + torch.arange(L + H, device=starts.device)
        there = (rows < end[part][:, None]).expand(len(windows.values), -1, -1)
        rows = rows.clamp(max=T - 1)
        if everything is not None:
            there = there & everything[:, rows]
        values = torch.where(there, windows.values[:, rows], 0.0).flatten(0, 1)
        x, y = values.split([L, H], dim=-1)
        known, weight = there.flatten(0, 1).split([L, H], dim=-1)
        yield x, known, y, weight
