"""Hidden spans of series, which a network learns to reconstruct from what is around them.

Spans are drawn from the training run's random state, without a synchronisation. What is hidden is
masked like a missing value, so that it affects nothing. Errors count at hidden known steps only, in
standard deviations of each series.

Shape legend: `convtimenet._shapes`; G groups of channels that are patched jointly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from convtimenet._shapes import Bool
from convtimenet.batch import Batch
from convtimenet.config import ModelConfig
from convtimenet.devices import generator
from convtimenet.network.patches import spanned
from convtimenet.network.revin import known_moments

__all__ = ["hidden_spans", "with_hidden_spans"]

HIDDEN = 0.4
"""Share of the steps that are hidden."""


def with_hidden_spans(batch: Batch, config: ModelConfig) -> Batch:
    """A batch whose targets are its own series, normalised, and whose known steps are hidden in
    spans.

    A network with RevIN reads normalised series, as it would have made them itself; any other one
    reads them as they are. What is hidden before the first visible step or after the last one has
    no tokens, and does not count.
    """
    known = torch.ones_like(batch.x, dtype=torch.bool) if batch.known is None else batch.known
    x = torch.where(known, batch.x, 0.0)
    mean, variance = known_moments(x, known)
    normal = torch.where(known, (x - mean) / (variance + 1e-5).sqrt(), 0.0)
    visible = known & ~hidden_spans(x, config)
    groups = visible.unflatten(1, (-1, config.channels))
    within = spanned(groups.any(2, keepdim=True)).expand_as(groups).flatten(1, 2)
    weight = (known & ~visible & within).to(x.dtype)
    return Batch(normal if config.revin else x, normal, weight, visible)


def hidden_spans(x: Tensor, config: ModelConfig) -> Bool[Tensor, "B C L"]:
    """Random spans, the same in channels that are patched jointly: `HIDDEN` of the patch strides in
    L steps.

    They are those with the largest means of random numbers over a window that is two patches long,
    so that most spans hide whole patches.
    """
    B, C, L = x.shape
    S = config.patch_stride
    n, window = -(-L // S), 2 * -(-config.patch_size // S) + 1
    drawn = torch.empty(B, C // config.channels, n + window - 1, dtype=x.dtype, device=x.device)
    smooth = drawn.uniform_(generator=generator()).unfold(-1, window, 1).mean(-1)
    rank = smooth.argsort(-1).argsort(-1)
    hidden = rank >= n - min(n - 1, max(1, round(HIDDEN * n)))
    steps = hidden.repeat_interleave(S, -1)[..., :L]
    return steps.repeat_interleave(config.channels, 1)
