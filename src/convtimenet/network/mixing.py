"""Channels that read each other: messages through a few places that all channels share.

A message is a weighted sum of the channels' patch embeddings, and a channel adds what it reads in
the messages to its forecast. Weights and work grow linearly with the number of channels.
docs/design/channel-mixing.md says why it is built this way.

Shape legend: `convtimenet._shapes`; G messages of M numbers per patch, N' recent patches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convtimenet._shapes import Float
from convtimenet.config import ModelConfig

__all__ = ["MESSAGE_WIDTH", "RECENT", "ChannelMixing"]

MESSAGE_WIDTH = 16
"""M, numbers per message and patch."""
RECENT = 2
"""Last patches of a context that messages are made of; fewer for a shorter one."""
_PACE = 50.0  # an optimiser's step moves weights of channels this many times as far as others


class ChannelMixing(nn.Module):
    """What each channel reads in the messages of all: sum over g of hear[c, g] read[g] s_g, where
    message s_g is write[g] applied to the sum over c of speak[c, g] times c's patch embedding.

    `hear` starts at zero, so a new network forecasts as one without. Nothing has a bias, so a
    masked patch, which is zero, says nothing.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        C, G, M = config.mixed_channels, config.channel_mixing, MESSAGE_WIDTH
        D, N, H = config.d_model, min(RECENT, config.n_patches), config.outputs
        # kept as weight / _PACE: channels have to become selective within a short training
        self.speak = nn.Parameter(torch.empty(C, G))
        self.hear = nn.Parameter(torch.zeros(C, G))
        self.write = nn.Parameter(torch.empty(G, M, D))
        self.read = nn.Parameter(torch.empty(G, H, M * N))
        nn.init.normal_(self.speak, std=1 / (C**0.5 * _PACE))
        nn.init.normal_(self.write, std=1 / D**0.5)
        nn.init.normal_(self.read, std=1 / (M * N) ** 0.5)
        self.granted = nn.Buffer(torch.ones(C))
        """(C,) share of what each channel reads that is added to its forecast."""

    def forward(self, u: Float[Tensor, "D R N"]) -> Float[Tensor, "B C H"]:
        """What to add to normalised forecasts, from patch embeddings of R = B C series."""
        u = u.unflatten(1, (-1, len(self.speak)))[..., -RECENT:]
        said = torch.einsum("dbcn,cg->gdbn", u, self.speak * _PACE)
        messages = torch.einsum("gmd,gdbn->gbmn", self.write, said).flatten(2)
        heard = torch.einsum("gbf,ghf->gbh", messages, self.read)
        return torch.einsum("gbh,cg->bch", heard, self.hear * (_PACE * self.granted[:, None]))
