"""Exponential smoothing for short tables: its parameters chosen from a grid.

Shape legend: `convtimenet._shapes`; P smoothings, n windows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from convtimenet._shapes import Bool, Float
from convtimenet.config import ModelConfig
from convtimenet.data.windows import Windows
from convtimenet.network.smoothing import Kind, SmoothingNetwork, forecasts
from convtimenet.progress import showing
from convtimenet.training.closed_form.classical import smoothings
from convtimenet.training.closed_form.sliding import runs_of
from convtimenet.training.history import History
from convtimenet.training.interrupt import StopRequest

__all__ = ["CHOSEN", "fit_smoothing"]

CHOSEN = "chosen from a grid"
"""How training ended."""
_REPEATED = (0.0, -1.0, 1.0, 1.0)  # the last season, repeated
_MOST = 1024  # windows and channels that parameters are chosen by
_FEWEST = 16  # windows, of tables with many channels; and smoothings of a kind that stay
_MANY = 256  # windows and channels from which most of the grid sees only a part
_DROPPED = 4  # that part, and the part of the grid that sees all
_QUICK = (0.0, 0.05, 0.2, 0.5, 0.9)  # trends of series with few rows
_FEW_ROWS = 120
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
        task.say_alone(f"{label}: {len(windows):,} windows, exponential smoothings from a grid")
    return History.solved(error, device, time.monotonic() - begin, CHOSEN)


class _Candidates:
    """The smoothings of a kind that are compared, and their errors."""

    def __init__(self, grid: Tensor, kind: Kind, forms: int):
        self.grid, self.kind = grid, kind
        """Parameters (P, 4), and what they have in common."""
        self.sums = torch.zeros(forms + 1, len(self.grid), dtype=torch.float64)
        """Absolute errors over the contexts that fit all kinds of a form; last, over those that fit
        this kind."""
        self.counts = torch.zeros(forms + 1, dtype=torch.float64)

    def drop(self) -> None:
        """Go on with the best part of the grid."""
        best = self.sums[-1].argsort(stable=True)[: max(_FEWEST, len(self.grid) // _DROPPED)]
        best = best.sort().values  # of equals the first in the grid wins
        self.grid, self.sums = self.grid[best], self.sums[:, best]

    def errors(self, form: int, together: bool) -> Tensor:
        """(P,) mean absolute errors, infinite if no context fits."""
        at = form if together else -1
        if not self.counts[at] > 0:
            return torch.full((len(self.grid),), torch.inf, dtype=torch.float64)
        return self.sums[at] / self.counts[at]


def _choose(network: SmoothingNetwork, windows: Windows) -> float:
    """Set parameters and shares: the mean over forms, additive, on logarithms and multiplicative,
    of those with the smallest mean absolute error. Windows near the end count with the steps of
    their horizons that are there. Returns the mean error of those chosen."""
    kinds, config = network.kinds, network.config
    forms = _forms(kinds)
    few = config.context_length < _FEW_ROWS
    candidates = [_Candidates(_grid(kind, few), kind, len(forms)) for kind in kinds]
    most = max(_FEWEST, _MOST // len(windows.values))
    total = known_values = 0.0
    with torch.inference_mode():
        for number, some in enumerate(_examples(windows, most)):
            for one in candidates if number else ():
                one.drop()
            for x, known, y, weight in some:
                total += float(x[known].double().sum())
                known_values += int(known.sum())
                _score(candidates, forms, config, x, known, y, weight)
    parameters, shares = torch.zeros_like(network.parameters_of), torch.zeros_like(network.shares)
    chosen = []
    for number, form in enumerate(forms):
        together = any(candidates[n].counts[number] > 0 for n in form)
        every = torch.cat([candidates[n].errors(number, together) for n in form])
        owners = [(n, p) for n in form for p in range(len(candidates[n].grid))]
        for best in every.argsort(stable=True)[: network.shares.shape[1] // 2].tolist():
            if every[best].isinf():
                break
            n, p = owners[best]
            own = candidates[n].grid[p].to(parameters)
            same = (parameters[n] == own).all(-1) & (shares[n] > 0)
            slot = int(same.int().argmax()) if same.any() else int((shares[n] > 0).sum())
            parameters[n, slot] = own
            shares[n, slot] += 1
            chosen.append(float(every[best]))
    with torch.no_grad():
        network.parameters_of.copy_(parameters)
        network.shares.copy_(shares)
        network.usual.fill_(total / max(1.0, known_values))
    return float(np.mean(chosen)) if chosen else float("nan")


def _score(
    candidates: Sequence[_Candidates],
    forms: Sequence[Sequence[int]],
    config: ModelConfig,
    x: Float[Tensor, "R L"],
    known: Bool[Tensor, "R L"],
    y: Float[Tensor, "R H"],
    weight: Bool[Tensor, "R H"],
) -> None:
    """Add the errors of all candidates."""
    errors, fitting = [], []
    for one in candidates:
        found, fits = forecasts(one.kind, x, known, one.grid.to(x), config)
        away = torch.where(weight[:, None], (found - y[:, None]).abs(), 0.0)
        errors.append(away.sum(-1).double())
        fitting.append(fits)
    steps = weight.sum(-1).double()
    for number, form in enumerate([*forms, None]):
        for n in range(len(candidates)) if form is None else form:
            kinds = [n] if form is None else form
            fits = torch.stack([fitting[kind] for kind in kinds]).all(0)
            own = torch.where(fits[:, None], errors[n], 0.0).sum(0)
            candidates[n].sums[number] += own.cpu()
            candidates[n].counts[number] += float(steps[fits].sum())


def _grid(kind: Kind, few: bool) -> Tensor:
    """(P, 4) the parameters that are searched, in series of few rows also quick trends."""
    found = [
        (one.level, -1.0 if one.trend is None else one.trend, one.season or 0.0, one.damping)
        for one in (smoothings(kind.seasonal, _QUICK) if few else smoothings(kind.seasonal))
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


def _examples(windows: Windows, most: int) -> Iterator[Iterator[tuple[Tensor, ...]]]:
    """Contexts (R, L), whether they are known, targets (R, H), and whether they are known, of the
    windows and of those behind the last ones whose horizons are there in part; at most so many
    windows, evenly spaced: first, if there are many, every fourth of them, then the rest."""
    L, H = windows.context_length, windows.horizon
    starts = windows.starts
    if bool((starts[1:] < starts[:-1]).any()):
        starts = starts.sort().values
    lasts = torch.from_numpy(runs_of(starts.cpu().numpy())[1]).to(starts.device)
    ends = lasts + L + H  # of the runs of windows
    count = len(starts) + len(lasts) * (H - 1)  # windows, and those whose horizons are there partly
    chosen = torch.linspace(0, count - 1, min(count, most), device=starts.device).round().long()
    chosen = chosen.clamp(max=count - 1)  # float32 rounds large numbers
    whole = starts[chosen.clamp(max=len(starts) - 1)]
    run = (chosen - len(starts)).clamp(min=0) // max(1, H - 1)
    behind = lasts[run] + 1 + (chosen - len(starts)) % max(1, H - 1)
    of = torch.where(chosen < len(starts), torch.searchsorted(ends, whole + L), run)
    starts, end = torch.where(chosen < len(starts), whole, behind), ends[of]
    if len(chosen) * len(windows.values) < _MANY:
        yield _parts(windows, starts, end)
        return
    first = torch.arange(len(chosen), device=starts.device) % _DROPPED == 0
    yield _parts(windows, starts[first], end[first])
    yield _parts(windows, starts[~first], end[~first])


def _parts(windows: Windows, starts: Tensor, end: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The examples at these starts, a bounded number at once; their rows end before `end`."""
    L, H, T = windows.context_length, windows.horizon, windows.values.shape[1]
    everything = windows.mask
    size = max(1, _AT_ONCE // len(windows.values))
    for some, until in zip(starts.split(size), end.split(size), strict=True):
        rows = some[:, None] + torch.arange(L + H, device=starts.device)
        there = (rows < until[:, None]).expand(len(windows.values), -1, -1)
        rows = rows.clamp(max=T - 1)
        if everything is not None:
            there = there & everything[:, rows]
        values = torch.where(there, windows.values[:, rows], 0.0).flatten(0, 1)
        x, y = values.split([L, H], dim=-1)
        known, weight = there.flatten(0, 1).split([L, H], dim=-1)
        yield x, known, y, weight
