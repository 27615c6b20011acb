"""A Theta line of a short series: its season, a smoothed level, and half of its linear trend.

Assimakopoulos and Nikolopoulos, "The theta model: a decomposition approach to forecasting", 2000;
Hyndman and Billah, "Unmasking the Theta method", 2003. Its errors differ from the network's, so
that of few rows the mean of both forecasts better than either (docs/design/pretrained.md). Of a
handful of values, too few to know a season by, a line takes part as far as they lie on one.

Shape legend: `convtimenet._shapes`; R rows, A rates of smoothing, m steps of a season.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from convtimenet._shapes import Bool, Float

__all__ = ["straight_line", "theta_line"]

_RATES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)
"""What the level takes up of an error."""
_FEWEST = 4  # values without a season
_TREND = 0.5  # of the linear trend
_SMALLEST = 1e-12  # sum of squared errors
_MOST = 24  # values of a line that knows no season
_STRAIGHT, _WHOLE = 0.7, 0.9  # of the variance lies on the line: it begins to count, counts fully
_TRENDING = 0.8  # and its trend begins to be carried on
_SHARE = 0.75  # of a line that counts fully


def theta_line(
    rows: Float[Tensor, "R L"], known: Bool[Tensor, "R L"], season: int, steps: int
) -> tuple[Float[Tensor, "R H"], Bool[Tensor, " R"]]:
    """The forecast of each row, and which rows have one: those whose known values run without a gap
    from the first one to the end, over more than two seasons. Others are finite, of no meaning.

    The season multiplies the level where all values are positive, else it is added. The rates of
    smoothing count by their errors one step ahead, as the likelihoods of a normal distribution.

    Parameters
    ----------
    season
        m, 1 for none.
    steps
        H.
    """
    L, m = rows.shape[-1], season
    if least_known(m) > L:
        return torch.zeros_like(rows[:, :1]).expand(-1, steps), torch.zeros_like(known[:, 0])
    at = torch.arange(L, device=rows.device)
    first = torch.where(known, at, L - 1).amin(-1, keepdim=True)
    inside = at >= first
    n = (L - first).to(rows.dtype)
    fits = (known == inside).all(-1) & (n[:, 0] >= least_known(m))
    x = torch.where(known, rows, 0.0)
    # padding in front holds the first value, from which smoothing starts
    x = torch.where(inside, x, x.gather(-1, first))
    positive = (fits & (x > 0).all(-1))[:, None]
    ahead = torch.arange(steps, device=rows.device)
    if m == 1:
        return _smoothed(x, first, n, ahead, _TREND), fits
    factors, terms = _seasons(x, inside, positive, m)
    phase = (at - L) % m
    x = torch.where(positive, x / factors[:, phase], x - terms[:, phase])
    x = torch.where(inside, x, x.gather(-1, first))
    found, phase = _smoothed(x, first, n, ahead, _TREND), ahead % m
    found = torch.where(positive, found * factors[:, phase], found + terms[:, phase])
    return found, fits


def straight_line(
    rows: Float[Tensor, "R L"], known: Bool[Tensor, "R L"], season: int, steps: int
) -> tuple[Float[Tensor, "R H"], Float[Tensor, " R"]]:
    """The line without a season of rows too few to know it by, and its share of each forecast.

    What a season does within a few steps looks like a trend: so the share and the part of the
    trend that is carried on grow with the part of the variance that lies on a straight line. A row
    needs 4 to 24 known values without a gap from its first one to the end, and no more than two
    seasons; the share of others is 0.

    Parameters
    ----------
    season, steps
        As for `theta_line`.
    """
    near, there = rows[:, -_MOST:], known[:, -_MOST:]
    L = near.shape[-1]
    at = torch.arange(L, device=rows.device)
    first = torch.where(there, at, L - 1).amin(-1, keepdim=True)
    inside = at >= first
    n = (L - first).to(rows.dtype)
    most = min(_MOST, least_known(season) - 1) if season > 1 else _MOST
    fits = (there == inside).all(-1) & (n[:, 0] >= _FEWEST) & (n[:, 0] <= most)
    fits = fits & ~known[:, :-_MOST].any(-1)
    x = torch.where(there, near, 0.0)
    x = torch.where(inside, x, x.gather(-1, first))
    slope, away = _slope(x - x.gather(-1, first), inside, n)
    off = torch.where(inside, x - (x * inside).sum(-1, keepdim=True) / n, 0.0)
    whole = off.square().sum(-1, keepdim=True)
    on_line = (slope * away).square().sum(-1, keepdim=True) / torch.where(whole > 0, whole, 1.0)
    trend = ((on_line - _TRENDING) / (1 - _TRENDING)).clamp(0.0, 1.0)
    share = _SHARE * ((on_line[:, 0] - _STRAIGHT) / (_WHOLE - _STRAIGHT)).clamp(0.0, 1.0)
    ahead = torch.arange(steps, device=rows.device)
    return _smoothed(x, first, n, ahead, trend), torch.where(fits, share, 0.0)


def least_known(season: int) -> int:
    """Values that a line needs."""
    return 2 * season + 1 if season > 1 else _FEWEST


def _seasons(
    x: Float[Tensor, "R L"], inside: Bool[Tensor, "R L"], positive: Bool[Tensor, "R 1"], m: int
) -> tuple[Float[Tensor, "R m"], Float[Tensor, "R m"]]:
    """By how much each phase, counted from the end, lies above the mean over a whole season around
    it: as a factor, 1 where values are not positive, and as a term."""
    L = x.shape[-1]
    weights = torch.full((m + 1 - m % 2,), 1 / m, dtype=x.dtype, device=x.device)
    if m % 2 == 0:  # half of both ends, which have the same phase
        weights[0] = weights[-1] = 1 / (2 * m)
    K = len(weights)
    mean = F.conv1d(x[:, None], weights[None, None])[:, 0]
    begin = (K - 1) // 2
    middle, there = x[:, begin : begin + L - K + 1], inside[:, : L - K + 1]
    phase = (torch.arange(begin, begin + L - K + 1, device=x.device) - L) % m
    of_phase = (phase[:, None] == torch.arange(m, device=x.device)).to(x.dtype)
    count = (there.to(x.dtype) @ of_phase).clamp(min=1)
    ratio = middle / torch.where(positive, mean, 1.0)
    factors, terms = (
        torch.where(there, one, 0.0) @ of_phase / count for one in (ratio, middle - mean)
    )
    factors = torch.where(positive, factors, 1.0)
    return factors / factors.mean(-1, keepdim=True), terms - terms.mean(-1, keepdim=True)


def _slope(
    x: Float[Tensor, "R L"], inside: Bool[Tensor, "R L"], n: Float[Tensor, "R 1"]
) -> tuple[Float[Tensor, "R 1"], Float[Tensor, "R L"]]:
    """The linear trend a step, and how far each step is from the middle of its row, 0 in the
    padding."""
    L = x.shape[-1]
    at = torch.arange(L, device=x.device)
    away = (at - L + (n + 1) / 2) * inside.to(x.dtype)
    return (away * x).sum(-1, keepdim=True) / away.square().sum(-1, keepdim=True).clamp(min=1), away


def _smoothed(
    x: Float[Tensor, "R L"],
    first: Tensor,
    n: Float[Tensor, "R 1"],
    ahead: Tensor,
    trend: float | Float[Tensor, "R 1"],
) -> Float[Tensor, "R H"]:
    """Level and a part of the trend of series without a season, whose padding in front repeats the
    first value."""
    L = x.shape[-1]
    at = torch.arange(L, device=x.device)
    start = x.gather(-1, first)
    x = x - start
    rates = torch.tensor(_RATES, dtype=x.dtype, device=x.device)
    back = at[:, None] - at
    weights = rates[:, None, None] * (1 - rates)[:, None, None] ** back.clamp(min=0)
    weights = torch.where(back >= 0, weights, 0.0)  # (A, L, L): the level after each step
    levels = torch.einsum("atl,rl->rat", weights, x)
    errors = x[:, None, 1:] - levels[..., :-1]
    squares = errors.square().sum(-1) + _SMALLEST
    squares = squares / squares.amin(-1, keepdim=True)
    shares = (-0.5 * (n - 1) * squares.log()).softmax(-1)
    slope = trend * _slope(x, at >= first, n)[0]
    lag = (1 - (1 - rates) ** n) / rates  # steps that smoothing is behind a line
    line = (levels[..., -1] + slope * lag) * shares
    return start + line.sum(-1, keepdim=True) + slope * ahead
