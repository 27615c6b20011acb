"""An ensemble: several networks whose answers are averaged.

Shape legend: `convtimenet._shapes`; M members.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from convtimenet._shapes import Bool, Float
from convtimenet.batch import Covariates
from convtimenet.config import ModelConfig
from convtimenet.network.other import OtherNetwork

__all__ = ["Ensemble", "like", "networks_in"]


class Ensemble(OtherNetwork):
    """The weighted mean of the answers of its members: of forecasts in the units of the input, of
    class scores (logits), of numbers.

    Input and output are those of `ConvTimeNet`. To forecast, a member reads the end of the context
    that is as long as its own; where all of a channel is missing there, the others answer.

    Parameters
    ----------
    config
        With the config of every member.
    members
        Their networks.
    """

    embedding: nn.ModuleList

    def __init__(self, config: ModelConfig, members: Sequence[nn.Module]):
        super().__init__(nn.ModuleList(members), config)
        M = len(members)
        self.weights = nn.Buffer(torch.full((M,), 1 / M))
        """(M,) of sum 1."""
        L = config.context_length
        self.skipped = [L - one.context_length for one in config.members]
        """Steps of the context before that of each member; 0 for cases, read as a whole."""

    @classmethod
    def of(cls, networks: Sequence[Any]) -> Self:
        """The ensemble of networks with configs, of equal weights; it reads the longest of their
        contexts."""
        members = tuple(one.config for one in networks)
        longest = max(one.context_length for one in members)
        return cls(replace(members[0], context_length=longest, members=members), networks)

    @property
    def members(self) -> nn.ModuleList:
        """The M networks."""
        return self.embedding

    def forward(
        self,
        x: Float[Tensor, "B C L"],
        known: Bool[Tensor, "B C L"] | None = None,
        covariates: Covariates | None = None,
        *_: object,
    ) -> Float[Tensor, "B ..."]:
        answers = self.answers(x, known, covariates)
        weights = self.weights.view(-1, 1, 1)
        if known is not None and any(self.skipped):
            seen = torch.stack([known[..., skipped:].any(-1) for skipped in self.skipped])
            total = (weights * seen).sum(0)
            weights = torch.where(total > 0, weights * seen / total.clamp(min=1e-12), weights)
        weights = weights.view(*weights.shape, *[1] * (answers.dim() - 3))
        return (weights * answers).sum(0)

    def embed(
        self, x: Float[Tensor, "B C L"], known: Bool[Tensor, "B C L"] | None = None
    ) -> Float[Tensor, "B features"]:
        """The embeddings of cases by the members side by side."""
        return torch.cat([one.embed(x, known) for one in networks_in(self)], dim=1)

    @property
    def embedded(self) -> int:
        """Numbers of an embedding."""
        return sum(one.embedded for one in networks_in(self))

    def answers(
        self,
        x: Float[Tensor, "B C L"],
        known: Bool[Tensor, "B C L"] | None = None,
        covariates: Covariates | None = None,
    ) -> Float[Tensor, "M B ..."]:
        """The answer of each member, in float32."""
        found = []
        for member, skipped in zip(self.members, self.skipped, strict=True):
            found.append(member(*_without_first(skipped, x, known, covariates)).float())
        return torch.stack(found)


def networks_in(network: Any) -> list[Any]:
    """The members of an ensemble, or the network itself."""
    return list(network.members) if isinstance(network, Ensemble) else [network]


def like(network: Any, others: Sequence[Any]) -> Any:
    """The ensemble of other networks with the weights of the given one; the only other network if
    that is no ensemble."""
    if not isinstance(network, Ensemble):
        return others[0]
    found = Ensemble.of(others).to(network.weights.device).eval()
    found.weights.copy_(network.weights)
    return found


def _without_first(
    skipped: int, x: Tensor, known: Tensor | None, covariates: Covariates | None
) -> tuple[Tensor, Tensor | None, Covariates | None]:
    """The inputs of a network without so many first steps of the context."""
    if not skipped:
        return x, known, covariates
    if covariates is not None:
        hist, futr = (None if v is None else v[..., skipped:] for v in covariates[:2])
        covariates = covariates._replace(hist=hist, futr=futr)
    return x[..., skipped:], None if known is None else known[..., skipped:], covariates
