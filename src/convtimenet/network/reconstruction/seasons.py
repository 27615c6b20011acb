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

from convtimenet._shapes import Bool, Float

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
    found = [x, known.to(x.dtype)]
    for season in (1, *seasons):
        found += continued(x, known, season)
    backwards = continued(x.flip(-1), known.flip(-1), seasons[0])[0].flip(-1)
    found.append(torch.where(backwards == 0, found[4], backwards))
    found += around_level(x, known, seasons[0])
    return torch.stack(found, dim=1)


def continued(
    x: Float[Tensor, "R T"], known: Bool[Tensor, "R T"], season: int
) -> tuple[Float[Tensor, "R T"], Float[Tensor, "R T"]]:
    """The latest known value of the same phase before each step, and the mean of the latest
    `AVERAGED` seasons there; 0 where there is none."""
    R, T = x.shape
    n = -(-T // season)
    extra = n * season - T
    # counted from the end, so that a whole number of seasons ends with the series
    v = F.pad(x, (extra, 0)).view(R, n, season)
    there = F.pad(known, (extra, 0)).view(R, n, season)
    value = torch.where(there, v, 0.0)
    total, count = value, there.to(x.dtype)
    sums, counts = [total], [count]
    for back in range(1, min(AVERAGED, n)):
        sums.append(_shifted(total, back))
        counts.append(_shifted(count, back))
    mean = torch.stack(sums).sum(0) / torch.stack(counts).sum(0).clamp(min=1)
    filled = _filled_forward(torch.stack([value, torch.where(there, mean, 0.0)], -1), there)
    before = F.pad(filled, (0, 0, 0, 0, 1, -1)).flatten(1, 2)[:, extra:]
    return before[..., 0], before[..., 1]


def around_level(
    x: Float[Tensor, "R T"], known: Bool[Tensor, "R T"], season: int
) -> tuple[Float[Tensor, "R T"], Float[Tensor, "R T"]]:
    """The mean of the latest seasons, each taken from its own level, around the level before each
    step; and that with the drift of the levels carried on."""
    level, count = _trailing_mean(x, known, season)
    profile = continued(x - level, known & (count > _WHOLE * season), season)[1]
    flat = profile + continued(level, known, 1)[0]
    reach = max(season, _DRIFT)
    mean, count = _trailing_mean(x, known, reach)
    earlier, enough = (F.pad(one, (reach, -reach)) for one in (mean, count))
    slope = torch.where((count > 0) & (enough > 0), (mean - earlier) / reach, 0.0)
    steps = torch.arange(x.shape[-1], device=x.device, dtype=x.dtype).expand_as(x)
    age = steps - continued(steps, known, 1)[0]
    return flat, flat + continued(slope, known, 1)[0] * age


def _trailing_mean(
    x: Float[Tensor, "R T"], known: Bool[Tensor, "R T"], steps: int
) -> tuple[Float[Tensor, "R T"], Float[Tensor, "R T"]]:
    """Mean of the known values in so many steps up to each one, and their number."""
    sums = torch.where(known, x, 0.0).cumsum(-1)
    counts = known.to(x.dtype).cumsum(-1)
    sums, counts = (one - F.pad(one, (steps, 0))[:, : x.shape[-1]] for one in (sums, counts))
    return sums / counts.clamp(min=1), counts


def _shifted(v: Float[Tensor, "R n season"], back: int) -> Float[Tensor, "R n season"]:
    return F.pad(v, (0, 0, back, -back))


def _filled_forward(
    v: Float[Tensor, "R n season k"], there: Bool[Tensor, "R n season"]
) -> Float[Tensor, "R n season k"]:
    """Values where they are there, else the latest one before; in steps of doubled reach, which a
    graph can hold."""
    n, reach = v.shape[1], 1
    while reach < n:
        earlier = F.pad(v, (0, 0, 0, 0, reach, -reach))
        there_earlier = F.pad(there, (0, 0, reach, -reach))
        v = torch.where(there[..., None], v, earlier)
        there = there | there_earlier
        reach *= 2
    return torch.where(there[..., None], v, 0.0)
