"""The forecast of the network that comes with the package, in the units of the series.

Shape legend: `convtimenet._shapes`; R rows, T steps of context and horizon.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convtimenet._shapes import Bool, Float
from convtimenet.config import ModelConfig
from convtimenet.devices import generator
from convtimenet.network.other import OtherNetwork
from convtimenet.network.reconstruction.network import QUANTILES, Reconstructor
from convtimenet.network.reconstruction.outliers import outliers
from convtimenet.network.reconstruction.seasons import channels_of, continued, long_season
from convtimenet.network.reconstruction.theta import straight_line, theta_line
from convtimenet.network.reconstruction.weights import load_pretrained
from convtimenet.network.revin import FEW, known_moments

__all__ = ["FEW_ROWS", "MEDIAN", "WAYS", "PretrainedForecaster", "drift_of", "reaches"]

MEDIAN = QUANTILES.index(0.5)

FEW_ROWS = 60
"""Steps of a context, of fewer of which a line takes part."""
_FARTHEST = 30.0  # deviations from the mean that are read
_BEYOND = 3.0  # how far outside the logarithms of the context those of a forecast may lie
WAYS = tuple(product((False, True), repeat=2))
"""Whether logarithms are read, and whether the drift is taken out."""
_FARTHEST_TRAINED = 512  # steps: the mean reads farther, but what is learnt is in what is near
_FEWEST_SEASONS, _SHORTEST = 4, 32  # of a context that is read beside longer ones


def reaches(context_length: int, season: int) -> list[int]:
    """The ends of a context that are read each for itself: all of it, and its powers of two down to
    four seasons. Far values help where the present is like the past, and hinder where it is not; a
    few windows of a table cannot tell which serves it, and their errors differ."""
    least = max(_FEWEST_SEASONS * season, _SHORTEST)
    powers = (2**power for power in range(context_length.bit_length(), 0, -1))
    return [context_length, *(one for one in powers if least <= one < context_length)]


class PretrainedForecaster(OtherNetwork):
    """Quantiles (B, C, Q, H) of contexts (B, C, L), each channel for itself, by the weights that
    come with the package; without quantiles in the config, as a member of an ensemble, their median
    (B, C, H). Those of a constant are that constant.

    The network reads a context in up to four ways: as it is or as logarithms, with its drift or
    without; their answer is what is fine-tuned. `logarithms` and `drift` are the shares of the
    second ones, and `trusted` is that of their median beside the seasonal-naive forecast. Of few
    rows a line is beside both: a Theta line, where the config has a share of it, or a straight one
    where the values lie on one. Outliers are not read.
    """

    embedding: Reconstructor
    effects = None
    """It reads no covariates."""
    alike = False

    def __init__(self, config: ModelConfig):
        assert config.quantiles in ((), QUANTILES)
        super().__init__(Reconstructor(config), config)
        self.trusted = nn.Buffer(torch.ones(()))
        self.logarithms = nn.Buffer(torch.zeros(()))
        self.drift = nn.Buffer(torch.zeros(()))
        if not self.trusted.is_meta:  # as in a saved model, which brings its own
            load_pretrained(self.embedding)
        self.counted = [0]
        """The `WAYS` with a share in the latest answer, which are those of a graph too."""

    def forward(
        self,
        x: Float[Tensor, "B C L"],
        known: Bool[Tensor, "B C L"] | None = None,
        *_: object,
    ) -> Float[Tensor, "B C ..."]:
        rows = x.flatten(0, 1).float()
        there = torch.ones_like(rows, dtype=torch.bool) if known is None else known.flatten(0, 1)
        there = there & ~outliers(rows, there)
        shares = self._shares()
        if not torch.compiler.is_exporting():
            self.counted = [number for number, share in enumerate(shares.tolist()) if share > 0]
        found = torch.zeros((), device=x.device)
        for number in self.counted:
            found = found + shares[number] * self.read(rows, there, *WAYS[number])
        if not self.training:
            # the spread is the network's: of the naive forecast nothing says how far it errs
            median = found[:, [MEDIAN]]
            blended = self.naive(rows, there)[:, None].lerp(median, self.trusted)
            if rows.shape[-1] < FEW_ROWS:
                blended = self._with_line(blended, rows, there)
            found = _steady(blended + (found - median), rows, there)
        found = found if self.config.quantiles else found[:, MEDIAN]
        return found.unflatten(0, x.shape[:2])

    @property
    def positive(self) -> bool:
        """Whether zero means none in what it reads, so that logarithms may be read: it does unless
        the network shares its input with others, which is standardised."""
        return bool(self.config.quantiles)

    def _shares(self) -> Tensor:
        """(4,) how much counts of each of the `WAYS`."""
        logged = torch.stack([1 - self.logarithms, self.logarithms])
        drifting = torch.stack([1 - self.drift, self.drift])
        return (logged[:, None] * drifting).flatten()

    def read(
        self,
        rows: Float[Tensor, "R L"],
        known: Bool[Tensor, "R L"],
        logarithms: bool = False,
        drift: bool = False,
    ) -> Float[Tensor, "R Q H"]:
        """The network's quantiles.

        Parameters
        ----------
        logarithms
            Read logarithms, except of rows with a value that has none.
        drift
            Take out the drift between the halves of the context, and carry it on.
        """
        x, L = rows, rows.shape[-1]
        fits = (known.any(-1) & ((rows > 0) | ~known).all(-1))[:, None]
        if logarithms:
            x = torch.where(fits, torch.where(known, rows, 1.0).log(), rows)
        slope = drift_of(x, known, self.config.season) if drift else torch.zeros_like(x[:, :1])
        steps = torch.arange(1 - L, 1 + self.config.outputs, device=x.device, dtype=x.dtype)
        found = self.quantiles(x - slope * steps[:L], known) + (slope * steps[L:])[:, None]
        if logarithms:
            low = torch.where(known, x, torch.inf).amin(-1)[:, None, None] - _BEYOND
            high = torch.where(known, x, -torch.inf).amax(-1)[:, None, None] + _BEYOND
            found = torch.where(fits[..., None], found.clamp(low, high).exp(), found)
        return found

    def quantiles(
        self, rows: Float[Tensor, "R L"], known: Bool[Tensor, "R L"]
    ) -> Float[Tensor, "R Q H"]:
        """The mean of the network's answers to the `reaches` of a context; while it is trained, the
        answer to one of them, drawn anew in each step."""
        L = rows.shape[-1]
        others = reaches(L, self.config.season)[1:]
        if self.training:
            near = [L, *others] if L <= _FARTHEST_TRAINED else others
            near = [reach for reach in near if reach <= _FARTHEST_TRAINED] or [L]
            own = {"generator": generator(), "device": rows.device}  # of the training run
            reach = near[int(torch.randint(len(near), (), **own))]
            return self._of_reach(rows[:, -reach:], known[:, -reach:])
        total = self._of_reach(rows, known)
        weight = torch.ones_like(total[:, :1, :1])
        for reach in others:
            near, before = known[:, -reach:], known[:, : L - reach]
            # what lies behind padding is the whole context; where half is missing, little is said
            counts = before.any(-1) & (2 * near.sum(-1) >= reach)
            counts = counts.to(weight)[:, None, None]
            total = total + counts * self._of_reach(rows[:, -reach:], near)
            weight = weight + counts
        return total / weight

    def naive(self, rows: Float[Tensor, "R L"], known: Bool[Tensor, "R L"]) -> Float[Tensor, "R H"]:
        """The seasonal-naive forecast; the mean of the context where a phase has no value."""
        centre = known_moments(rows[:, None], known[:, None])[0][:, 0]
        ahead = 0, self.config.outputs
        around = F.pad(torch.where(known, rows - centre, 0.0), ahead)
        found = continued(around, F.pad(known, ahead), self.config.season)[0]
        return found[:, rows.shape[-1] :] + centre

    def _with_line(
        self, median: Float[Tensor, "R 1 H"], rows: Float[Tensor, "R L"], known: Bool[Tensor, "R L"]
    ) -> Float[Tensor, "R 1 H"]:
        """The median and a Theta line by the share of the config, where a row has one, or a
        straight line where it is one."""
        season, steps = self.config.season, self.config.outputs
        line, share = straight_line(rows, known, season, steps)
        if self.config.theta:
            whole, fits = theta_line(rows, known, season, steps)
            line = torch.where(fits[:, None], whole, line)
            share = torch.where(fits, self.config.theta, share)
        return median.lerp(line[:, None].to(median), share[:, None, None].to(median))

    def _of_reach(
        self, rows: Float[Tensor, "R T"], known: Bool[Tensor, "R T"]
    ) -> Float[Tensor, "R Q H"]:
        """The network's answer to a context of any length."""
        L, H, P = rows.shape[-1], self.config.outputs, self.config.patch_size
        before, behind = -L % P, -H % P
        mean, variance = known_moments(rows[:, None], known[:, None])
        centre, scale = mean[:, 0], (variance[:, 0] + 1e-10).sqrt()
        if not self.training:  # nothing is learnt from nothing
            few = known.sum(-1, keepdim=True) < FEW
            scale = torch.where(few, scale.clamp(min=1.0), scale)  # that of the fitted rows
        scaled = ((rows - centre) / scale).clamp(-_FARTHEST, _FARTHEST)
        around = before, H + behind
        scaled, seen = F.pad(torch.where(known, scaled, 0.0), around), F.pad(known, around)
        steps = torch.arange(scaled.shape[-1], device=rows.device)
        first = torch.where(seen, steps, steps[-1]).amin(-1, keepdim=True)
        season = self.config.season
        x = channels_of(scaled, seen, (season, long_season(season)))
        found = self.embedding(x, (steps >= first)[:, None])[:, 0]
        return found[..., before + L : before + L + H] * scale[:, None] + centre[:, None]


def _steady(
    found: Float[Tensor, "R Q H"], rows: Float[Tensor, "R L"], known: Bool[Tensor, "R L"]
) -> Float[Tensor, "R Q H"]:
    """The constant of each row that is one, to which the network adds what its smallest scale
    leaves; else what was found. A few values are no constant yet."""
    low = torch.where(known, rows, torch.inf).amin(-1)
    high = torch.where(known, rows, -torch.inf).amax(-1)
    constant = (low == high) & (known.sum(-1) >= FEW)
    return torch.where(constant[:, None, None], low[:, None, None], found)


def drift_of(
    rows: Float[Tensor, "R L"], known: Bool[Tensor, "R L"], season: int
) -> Float[Tensor, "R 1"]:
    """The change per step between the known values of the halves of each row behind its first one,
    of whole seasons where there are two; 0 if a half has none."""
    L = rows.shape[-1]
    steps = torch.arange(L, device=rows.device)
    first = torch.where(known, steps, L).amin(-1, keepdim=True)
    half = (L - first) // 2
    seasons = half // season * season
    half = torch.where(seasons > 0, seasons, half).clamp(min=1)
    late, early = known & (steps >= L - half), known & (steps < L - half) & (steps >= L - 2 * half)
    change, apart = (
        _mean(of, late) - _mean(of, early) for of in (rows, steps.to(rows.dtype).expand_as(rows))
    )
    both = late.any(-1, keepdim=True) & early.any(-1, keepdim=True)
    return torch.where(both, change / apart.clamp(min=1.0), 0.0)


def _mean(rows: Float[Tensor, "R L"], part: Bool[Tensor, "R L"]) -> Float[Tensor, "R 1"]:
    """Over a part of each row, 0 where there is none."""
    count = part.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(part, rows, 0.0).sum(-1, keepdim=True) / count
