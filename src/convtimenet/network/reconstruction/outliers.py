"""Which values of a context are errors rather than values, so that none is read.

One value ten times as large as the others would be all that a deviation tells of; the others, in
its units, are a constant.

Shape legend: `convtimenet._shapes`; R rows.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from convtimenet._shapes import Bool, Float

__all__ = ["outliers"]

_MOST = 3  # outliers of a row
_FEWEST = 30  # known values; of fewer none is far from the others
_FAR, _OF_SIZE = 20.0, 0.01  # ranges of the others, each at least this part of their size
_CUTS = sorted((cut for cut in product(range(4), repeat=2) if 0 < sum(cut) <= _MOST), key=sum)
"""How many of the lowest and of the highest values are left out, the fewest first."""


def outliers(rows: Float[Tensor, "R L"], known: Bool[Tensor, "R L"]) -> Bool[Tensor, "R L"]:
    """Up to three known values of each row that lie further from every other one than twenty times
    the range of these without them.

    So peaks that recur and a level of several rows are none, as they lie near each other, and what
    follows one of them at once is none either: growth may begin so. Of counts that are 0 but for a
    few the others have no range.
    """
    if rows.shape[-1] < _FEWEST:
        return torch.zeros_like(known)
    ends = torch.stack([torch.where(known, one, torch.inf) for one in (rows, -rows)])
    ends = ends.topk(_MOST + 1, largest=False).values  # (2, R, 4): from each end inwards
    gaps, unit = ends.diff(), torch.full_like(ends[0, :, 0], torch.inf)
    for cut in _CUTS:
        inner = torch.stack([ends[side, :, n] for side, n in enumerate(cut)])
        size = -inner.sum(0)
        least = torch.where(size > 0, size.maximum(_OF_SIZE * inner.abs().amax(0)), torch.inf)
        beside = torch.stack([gaps[side, :, n - 1] for side, n in enumerate(cut) if n]).amin(0)
        unit = torch.where(unit.isinf() & (beside > _FAR * least), least, unit)
    unit = torch.where(known.sum(-1) < _FEWEST, torch.inf, unit)[:, None]
    apart = gaps > _FAR * unit
    alone = apart & F.pad(apart[..., :-1], (1, 0), value=True)  # on both sides
    values = torch.cat([ends[0, :, :_MOST], -ends[1, :, :_MOST]], dim=-1)
    same = rows[..., None] == values[:, None]
    far = known & (same & alone.transpose(0, 1).flatten(1)[:, None]).any(-1)
    beside = F.pad(far, (1, 1))
    return far & ~(beside[:, 2:] | beside[:, :-2])
