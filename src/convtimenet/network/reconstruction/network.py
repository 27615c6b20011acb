"""Hidden values of a series from its known ones: the paper's encoder with one answer per patch.

A forecast is what is hidden behind the end, a gap what is hidden in the middle. Patches of the
series and of its continuations (`convtimenet.network.reconstruction.seasons`) become tokens, hidden
ones too; the blocks pass what is known on to what is not; each token answers for its own steps. So
the weights depend on neither context nor horizon, and one set of them serves any table.

Shape legend: `convtimenet._shapes`; T steps of context and horizon, Q quantiles.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from convtimenet._shapes import Bool, Float
from convtimenet.config import ModelConfig
from convtimenet.network.layers import median_and_spread
from convtimenet.network.model import Block, Blocks, Embedding
from convtimenet.network.other import OtherNetwork
from convtimenet.network.reconstruction.seasons import CHANNELS, SKIPS

__all__ = ["QUANTILES", "SIZES", "Reconstructor"]

QUANTILES = tuple(number / 10 for number in range(1, 10))
"""Those that the weights answer with."""

SIZES: dict[str, Any] = {
    "patch_size": 16,
    "patch_stride": 16,
    "padding": "none",
    "d_model": 128,
    "d_ff": 256,
    "kernel_sizes": (9, 11, 15, 21, 29, 39),
    "norm": "layer",
    "dropout": 0.0,
    "quantiles": QUANTILES,
    "masks": True,
    "pretrained": True,
}
"""Settings of the network whose weights come with the package. Each token is normalised by itself:
batches of short and of long series have statistics of their own, which a single table has not."""


class Reconstructor(OtherNetwork):
    """From channels (R, 11, T) and the range of each row (R, 1, T), without which all of it counts,
    to quantiles (R, 1, Q, T) of every step. T is a whole number of patches.

    The median is a mixture of the continuations, whose shares each token decides, plus a
    correction for each step: the network starts from seasonal forecasts and learns what they miss.
    """

    embedding: Embedding

    def __init__(self, config: ModelConfig):
        P, D, Q = config.patch_size, config.d_model, len(QUANTILES)
        whole = {"patch_stride": P, "padding": "none", "channels": CHANNELS, "revin": False}
        none = {"quantiles": (), "members": (), "pretrained": False, "theta": 0.0}
        inner = replace(config, head="regress", outputs=1, **none, **whole)
        super().__init__(Embedding(inner), config)
        self.blocks = Blocks(*(Block(inner, k) for k in config.kernel_sizes))
        self.mixture = nn.Linear(D, len(SKIPS) + 1)
        self.correction = nn.Linear(D, Q * P)
        nn.init.zeros_(self.correction.weight)

    def forward(
        self,
        x: Float[Tensor, "R C T"],
        known: Bool[Tensor, "R 1 T"] | None = None,
        *_: object,
    ) -> Float[Tensor, "R 1 Q T"]:
        Q, P = len(QUANTILES), self.config.patch_size
        extent = None if known is None else self.embedding.patch.extent(known)
        u = self.embedding(self.read(x), extent)
        w = self.blocks(u, None if extent is None else extent.mask).movedim(0, -1)
        shares = self.mixture(w).softmax(-1)[..., : len(SKIPS)]
        # the last share is that of the mean of the context, which is 0
        base = torch.einsum("rns,rsnp->rnp", shares, x[:, SKIPS].unflatten(-1, (-1, P)))
        found = self.correction(w).unflatten(-1, (Q, P)).permute(0, 2, 1, 3).flatten(2)[:, None]
        median, spread = median_and_spread(found, QUANTILES.index(0.5))
        return (median + base.flatten(1)[:, None]).unsqueeze(-2) + spread

    def read(self, x: Float[Tensor, "R C T"]) -> Float[Tensor, "R C T"]:
        """The channels as the patches read them."""
        return torch.cat([x[:, :1].asinh(), x[:, 1:2], x[:, 2:].asinh()], dim=1)
