"""What a series did at the same phase of earlier seasons, as channels beside it.

A convolution cannot know which lag to look at: it differs from table to table. So the network does
not read a series alone, but beside continuations of it by known lags: for each of several season
lengths the latest value of the same phase, and the mean of the latest four. A season of one step
gives the last values themselves. Two more know of levels: the usual season around the present
level, and that with the drift of late.

Shape legend: `convtimenet._shapes`; R rows, T steps of the context and of what is hidden.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from convtimenet._shapes import Bool, Float, Shaped

__all__ = ["CHANNELS", "SKIPS", "channels_of", "continued", "long_season"]

_WHOLE = 0.75  # of a season, known, that a value is taken from the level of
_DRIFT = 8  # steps, at least, between whose means the drift is taken
AVERAGED = 4
"""Seasons in a mean."""
CHANNELS = 11
"""The series, whether a value is known, its continuations by three seasons (the latest value and
the mean of each), the next value of the same phase, which only gaps have, and the season around the
present level, without and with drift."""
SKIPS = (2, 3, 4, 5, 6, 7, 8, 9, 10)
"""Channels that are answers by themselves."""


def long_season(season: int) -> int:
    """The second season of data with a season of so many steps: a week of days, a year of weeks;
    the same season where there is none."""
    if season in (5, 7):
        return 52 * season
    return 7 * season if season > 12 and season not in (24 * 7, 52) else season


def channels_of(
    x: Float[Tensor, "R T"], known: Bool[Tensor, "R T"], seasons: Sequence[int]
) -> Float[Tensor, "R channels T"]:
    """What the network reads of series whose unknown values are 0, in units in which the context
    has a mean of 0 and a deviation of 1.

    Parameters
    ----------
    seasons
        Two season lengths in steps.
    """
    season, long = seasons
    own = continued(x, known, season)
    other = own if long == season else continued(x, known, long)
    ahead = continued(x.flip(-1), known.flip(-1), season)[0].flip(-1)
    ahead = torch.where(ahead == 0, own[0], ahead)
    of_level = around_level(x, known, season)
    found = [x, known.to(x.dtype), *continued(x, known, 1), *own, *other, ahead, *of_level]
    return torch.stack(found, dim=1)


def continued(
    x: Float[Tensor, "R T"], known: Bool[Tensor, "R T"], season: int
) -> tuple[Float[Tensor, "R T"], Float[Tensor, "R T"]]:
    """The latest known value of the same phase before each step, and the mean of the latest
    `AVERAGED` seasons there; 0 where there is none."""
    v, there = _by_season(x, season), _by_season(known, season)
    value = torch.where(there, v, 0.0)
    sums, counts = [value], [there.to(x.dtype)]
    for back in range(1, min(AVERAGED, v.shape[1])):
        sums.append(F.pad(sums[0], (0, 0, back, -back)))
        counts.append(F.pad(counts[0], (0, 0, back, -back)))
    mean = torch.stack(sums).sum(0) / torch.stack(counts).sum(0).clamp(min=1)
    mean = torch.where(there, mean, 0.0)
    last, mean = _latest(torch.stack([value, mean]), there).flatten(2)[..., -x.shape[-1] :]
    return last, mean


def around_level(
    x: Float[Tensor, "R T"], known: Bool[Tensor, "R T"], season: int
) -> tuple[Float[Tensor, "R T"], Float[Tensor, "R T"]]:
    """The mean of the latest seasons, each taken from its own level, around the level before each
    step; and that with the drift of the levels carried on."""
    level, count = _trailing_mean(x, known, season)
    profile = continued(x - level, known & (count > _WHOLE * season), season)[1]
    reach = max(season, _DRIFT)
    mean, count = _trailing_mean(x, known, reach)
    earlier, enough = (F.pad(one, (reach, 0))[:, : x.shape[-1]] for one in (mean, count))
    slope = torch.where((count > 0) & (enough > 0), (mean - earlier) / reach, 0.0)
    steps = torch.arange(x.shape[-1], device=x.device, dtype=x.dtype).expand_as(x)
    now = torch.stack([level, slope, steps]).unsqueeze(-1)
    level, slope, at = _latest(torch.where(known[..., None], now, 0.0), known[..., None])[..., 0]
    return profile + level, profile + level + slope * (steps - at)


def _trailing_mean(
    x: Float[Tensor, "R T"], known: Bool[Tensor, "R T"], steps: int
) -> tuple[Float[Tensor, "R T"], Float[Tensor, "R T"]]:
    """Mean of the known values in so many steps up to each one, and their number."""
    sums = torch.where(known, x, 0.0).cumsum(-1)
    counts = known.to(x.dtype).cumsum(-1)
    sums, counts = (one - F.pad(one, (steps, 0))[:, : x.shape[-1]] for one in (sums, counts))
    return sums / counts.clamp(min=1), counts


def _by_season(x: Tensor, season: int) -> Shaped[Tensor, "R n season"]:
    """Whole seasons, counted from the end, so that the last one ends with the series."""
    return F.pad(x, (-x.shape[-1] % season, 0)).unflatten(-1, (-1, season))


def _latest(
    v: Float[Tensor, "k R n season"], there: Bool[Tensor, "R n season"]
) -> Float[Tensor, "k R n season"]:
    """For each step the values of the latest season before it in which they are there, 0 if there
    is none. Values that are not there must be 0. In steps of doubled reach, which a graph can
    hold."""
    n, reach = v.shape[2], 1
    while reach < n:
        v = torch.where(there, v, F.pad(v, (0, 0, reach, -reach)))
        there = there | F.pad(there, (0, 0, reach, -reach))
        reach *= 2
    return F.pad(v, (0, 0, 1, -1))
