"""Exponential smoothing as a network: the forecast of short tables.

Level, damped trend and season (Holt 1957, Winters 1960, Gardner and McKenzie 1985; Hyndman et al.,
"Forecasting with exponential smoothing", 2008), also with a season that multiplies the level, and
on logarithms. The forecast is a weighted mean of several such smoothings; their parameters and
shares are the network's weights, the same for all series, chosen by
`convtimenet.training.closed_form.smoothing`.

A linear map needs many more windows than it has steps to read. Smoothing needs few, so it can read
all rows of a short series.

Shape legend: `convtimenet._shapes`; P smoothings of a kind, m steps of a season.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from convtimenet._shapes import Bool, Float
from convtimenet.batch import Covariates
from convtimenet.config import ModelConfig
from convtimenet.network.covariate_embedding import effects_of
from convtimenet.network.other import OtherNetwork
from convtimenet.network.revin import last_known

__all__ = ["Kind", "SmoothingNetwork", "forecasts", "kinds_of"]


class Kind(NamedTuple):
    """What a group of smoothings has in common."""

    seasonal: bool
    logarithms: bool = False
    """Smooths logarithms; needs positive values."""
    multiplies: bool = False
    """The season multiplies the level; needs positive values."""


KINDS = (
    Kind(False), Kind(True), Kind(True, multiplies=True), Kind(False, True), Kind(True, True)
)  # fmt: skip
PARAMETERS = 4
"""Of a smoothing, each from 0 to 1: the shares of an error that the level, the trend and the season
take up, and the factor by which the trend shrinks each step. A trend below 0 means none."""
Gains = tuple[Tensor, Tensor, Tensor, Tensor]
"""What level, trend and season take up of an error, and the factor of the trend; each (P,)."""
_FIRST = 5  # steps that a trend without a season starts from
_SMALLEST = 1e-3  # the least that a multiplicative level or season is divided by
_LOWEST = 0.25  # of the mean: the least of the line that multiplicative seasons start from
_LEAST_SHARE = 1e-6
_FARTHEST = 3.0  # how far outside the logarithms of the context those of a forecast may lie


def smooth(
    x: Float[Tensor, "R L"],
    known: Bool[Tensor, "R L"],
    parameters: Float[Tensor, "P 4"],
    season: int,
    horizon: int,
    multiplies: bool = False,
) -> Float[Tensor, "R P H"]:
    """Forecasts of exponential smoothings.

    The states start from the first two seasons behind the first known value. A missing value is
    taken to be what was expected.

    Parameters
    ----------
    x
        0 where it is not known.
    season
        m, 1 for none.
    multiplies
        The season multiplies the level and its trend instead of being added to them.
    """
    trended = parameters[:, 1] >= 0
    L = x.shape[-1]
    steps = torch.arange(L, device=x.device)
    first = torch.where(known, steps, L).amin(-1, keepdim=True)
    flat, level, trend, seasons = _start(x, known, first, season, multiplies)
    level = torch.where(trended, level, flat)
    trend = torch.where(trended, trend, 0.0)
    states = [one.expand_as(level) for one in seasons]
    inputs = x.T[..., None], known.T[..., None], (steps >= first).T[..., None]
    # tensors of their own, as a graph's loop takes no views of the same one
    alpha, beta, gamma, phi = (one.clone() for one in parameters.unbind(-1))
    gains = alpha, alpha * beta.clamp(min=0), gamma * (1 - alpha), phi
    run = _scanned if torch.compiler.is_exporting() else _looped
    level, trend, states = run(level, trend, states, inputs, gains, multiplies)
    ahead = torch.arange(1, horizon + 1, device=x.device)
    path = level[..., None] + trend[..., None] * (parameters[:, 3:] ** ahead).cumsum(-1)
    again = torch.stack([states[step % season] for step in range(horizon)], dim=-1)
    return path * again if multiplies else path + again


def _looped(
    level: Tensor,
    trend: Tensor,
    states: list[Tensor],
    inputs: tuple[Tensor, Tensor, Tensor],
    gains: Gains,
    multiplies: bool,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The states after all steps. The seasons are counted from the end of the context, so that all
    rows agree on them.

    For few rows the time goes into calls rather than numbers, so that masks are passed only to the
    steps that need them.
    """
    x, known, on = inputs
    L, states = len(x), [*states]
    whole = [masks.flatten(1).all(1).tolist() for masks in (known, on)]
    begun = on.flatten(1).any(1).tolist()
    for t, (value, here, begins, all_here, all_on) in enumerate(
        zip(x, known, on, *whole, strict=True)
    ):
        if not begun[t]:
            continue
        at = (t - L) % len(states)
        masks = None if all_here else here, None if all_on else begins
        level, trend, states[at] = _step(level, trend, states[at], value, *masks, gains, multiplies)
    return level, trend, states


def _scanned(
    level: Tensor,
    trend: Tensor,
    states: list[Tensor],
    inputs: tuple[Tensor, Tensor, Tensor],
    gains: Gains,
    multiplies: bool,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The same in a graph, as one node: the season of each step is at the front of a queue."""
    from torch._higher_order_ops.scan import scan

    def once(carry: list[Tensor], row: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        level, trend, queue = carry
        value, here, on = row
        level, trend, now = _step(level, trend, queue[0], value, here, on, gains, multiplies)
        return [level, trend, torch.cat([queue[1:], now[None]])], level.clone()

    first = -len(inputs[0]) % len(states)
    queue = torch.stack(states[first:] + states[:first])
    (level, trend, queue), _ = scan(once, [level, trend, queue], list(inputs))
    return level, trend, list(queue.unbind(0))


def _step(
    level: Tensor,
    trend: Tensor,
    now: Tensor,
    value: Tensor,
    here: Tensor | None,
    on: Tensor | None,
    gains: Gains,
    multiplies: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Level, trend and season of this step (R, P) after a value (R, 1), which may not be `here`;
    before the first one, which is `on` from then on, nothing changes. None: all are."""
    of_level, of_trend, of_season, phi = gains
    carried = phi * trend
    expected = level + carried
    if on is not None:
        expected, carried = torch.where(on, expected, level), torch.where(on, carried, trend)
    if multiplies:
        error = value / now.clamp(min=_SMALLEST) - expected
        turn = value / expected.clamp(min=_SMALLEST) - now
    else:
        error = turn = value - expected - now
    if here is not None:
        error, turn = torch.where(here, error, 0.0), torch.where(here, turn, 0.0)
    level = torch.addcmul(expected, of_level, error)
    return level, torch.addcmul(carried, of_trend, error), torch.addcmul(now, of_season, turn)


def _start(
    x: Tensor, known: Tensor, first: Tensor, season: int, multiplies: bool
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """The states before the first known step: the level without and with a trend, and the trend
    (R, 1); the seasons, m of (R, 1), counted from the end of the context."""
    L = x.shape[-1]
    n = 2 * season if season > 1 else _FIRST
    at = first + torch.arange(n, device=x.device)
    there = at < L
    at = at.clamp(max=L - 1)
    there = there & known.gather(-1, at)
    v = x.gather(-1, at)
    if season == 1:
        steps = torch.arange(n, device=x.device)
        last = torch.where(there, steps, 0).amax(-1, keepdim=True)
        slope = (v.gather(-1, last) - v[:, :1]) / last.clamp(min=1)
        return v[:, :1], v[:, :1] - slope, slope, [torch.full_like(slope, float(multiplies))]
    one, two = (_mean(v[:, half], there[:, half]) for half in (slice(season), slice(season, None)))
    both = there[:, season:].any(-1, keepdim=True)
    slope = torch.where(both, two - one, 0.0) / season
    middle = torch.where(both, (one + two) / 2, one)
    centre = torch.where(both, (n - 1) / 2, (season - 1) / 2)
    line = middle + slope * (torch.arange(n, device=x.device) - centre)
    if multiplies:  # what is divided by must stay above 0: a shift is no trend
        shift = slope.abs() * (centre + 1) > (1 - _LOWEST) * middle
        slope, middle = torch.where(shift, 0.0, slope), torch.where(shift, one, middle)
        own = torch.cat([one, torch.where(both, two, one)], -1).repeat_interleave(season, -1)
        line = torch.where(shift, own, line)
    away = v / line if multiplies else v - line
    away, there = away.unflatten(-1, (2, season)), there.unflatten(-1, (2, season))
    found = torch.where(there.any(1), _mean(away, there, 1)[:, 0], float(multiplies))
    phase = (torch.arange(season, device=x.device) + L - first) % season
    seasons = found.gather(-1, phase).split(1, dim=-1)
    return one, middle - slope * (centre + 1), slope, list(seasons)


def _mean(v: Tensor, there: Tensor, dim: int = -1) -> Tensor:
    """The mean of the values that are there; 0 if there are none."""
    count = there.sum(dim, keepdim=True).clamp(min=1)
    return torch.where(there, v, 0.0).sum(dim, keepdim=True) / count


def forecasts(
    kind: Kind,
    x: Float[Tensor, "R L"],
    known: Bool[Tensor, "R L"],
    parameters: Float[Tensor, "P 4"],
    config: ModelConfig,
) -> tuple[Float[Tensor, "R P H"], Bool[Tensor, " R"]]:
    """The forecasts of a kind, and the contexts that it fits: those with values that it can read,
    and with two seasons if it has any. Other contexts have forecasts of no meaning."""
    x = torch.where(known, x, 0.0)
    fits = known.any(-1)
    season = config.season if kind.seasonal else 1
    if kind.seasonal:
        fits = known[:, : max(1, x.shape[-1] + 1 - 2 * season)].any(-1)
    if not (kind.logarithms or kind.multiplies):
        return smooth(x, known, parameters, season, config.outputs), fits
    fits = fits & (x > 0).logical_or(~known).all(-1)
    low = torch.where(fits, torch.where(known, x, torch.inf).amin(-1), 1.0)
    high = torch.where(fits, torch.where(known, x, 0.0).amax(-1), 1.0)
    least, most = low.log() - _FARTHEST, high.log() + _FARTHEST
    x = torch.where(fits[:, None] & known, x, 1.0)
    if kind.logarithms:
        found = smooth(x.log(), known, parameters, season, config.outputs)
        found = found.clamp(least[:, None, None], most[:, None, None]).exp()
    else:
        found = smooth(x, known, parameters, season, config.outputs, True)
        found = found.clamp(least.exp()[:, None, None], most.exp()[:, None, None])
    return found, fits


class SmoothingNetwork(OtherNetwork):
    """A weighted mean of exponential smoothings of the context.

    Input (B, C, L), in units in which 0 means none, and output (B, C, H) as those of
    `ConvTimeNet`. Kinds that do not fit a context are left out for it, and the shares of the others
    scaled to a sum of 1; if none is left, the last value is repeated.
    """

    def __init__(self, config: ModelConfig):
        super().__init__(nn.Identity(), config)
        self.kinds = kinds_of(config)
        sizes = len(self.kinds), config.smoothings
        self.parameters_of = nn.Parameter(torch.zeros(*sizes, PARAMETERS), requires_grad=False)
        self.shares = nn.Parameter(torch.zeros(sizes), requires_grad=False)
        self.usual = nn.Parameter(torch.zeros(()), requires_grad=False)
        """The forecast of a context without a known value."""
        self.effects = effects_of(config)

    def forward(
        self,
        x: Float[Tensor, "B C L"],
        known: Bool[Tensor, "B C L"] | None = None,
        covariates: Covariates | None = None,
        *_: object,
    ) -> Float[Tensor, "B C H"]:
        """The forecast, in the units of the input."""
        x, ahead = (x, 0.0) if self.effects is None else self.effects(x, covariates)
        rows = x.flatten(0, 1).float()
        there = torch.ones_like(rows, dtype=torch.bool) if known is None else known.flatten(0, 1)
        none = torch.where(there.any(-1), 0.0, self.usual)
        last = last_known(rows[:, None], there[:, None])[:, 0] * there.any(-1, keepdim=True)
        total, weight = torch.zeros_like(last), torch.zeros_like(last)
        for kind, parameters, shares in zip(
            self.kinds, self.parameters_of, self.shares, strict=True
        ):
            if not torch.compiler.is_exporting():  # a graph's shapes cannot depend on shares
                parameters, shares = parameters[shares > 0], shares[shares > 0]
                if not len(shares):
                    continue
            found, fits = forecasts(kind, rows, there, parameters, self.config)
            own = torch.where(fits[:, None], shares, 0.0)
            total = total + torch.where(fits[:, None], (found * own[..., None]).sum(1), 0.0)
            weight = weight + own.sum(-1, keepdim=True)
        mean = torch.where(weight > 0, total / weight.clamp(min=_LEAST_SHARE), last)
        return (mean + none[:, None]).unflatten(0, x.shape[:2]) + ahead


def kinds_of(config: ModelConfig) -> list[Kind]:
    """The kinds that a network smooths with: those with a season only if there is one."""
    return [kind for kind in KINDS if config.season > 1 or not kind.seasonal]
