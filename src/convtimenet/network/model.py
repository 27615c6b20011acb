"""The ConvTimeNet network.

Paper: Cheng et al., "ConvTimeNet: A Deep Hierarchical Fully Convolutional Model for Multivariate
Time Series Analysis", WWW Companion 2025, arXiv:2403.01493. Implemented from the paper and checked
against numbers computed by the authors' code; docs/design/deviations.md lists deviations.

    series -> RevIN -> deformable patches -> blocks of growing kernels -> head -> inverse RevIN

One network serves all tasks. Forecasting treats each channel as a separate series, so channels are
folded into the rows; classification and regression patch all channels jointly. Nothing else depends
on the task except the config values and the head. Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from convtimenet._shapes import Bool, Float, Shaped
from convtimenet.batch import Covariates
from convtimenet.config import ModelConfig
from convtimenet.network.covariate_embedding import (
    CovariateEffects,
    CovariateEmbedding,
    effects_of,
)
from convtimenet.network.kernels import native
from convtimenet.network.layers import (
    DepthwiseConv,
    OwnDropout,
    PointwisePair,
    Residual,
    TokenBatchNorm,
    TokenLayerNorm,
    median_and_spread,
)
from convtimenet.network.linear import LinearStream
from convtimenet.network.memory import first_and_again
from convtimenet.network.mixing import ChannelMixing
from convtimenet.network.patches import DeformablePatch, Extent, spanned
from convtimenet.network.random_patches import RandomPatches
from convtimenet.network.revin import RevIN
from convtimenet.network.smoothing import SmoothingNetwork

PRIOR_SHARE = 1 / 3
"""Share of the head in a mixture with random patches before a validation split tells more."""


class Block(nn.Module):
    """One encoder block (paper section 3.3): depthwise convolution, then a pointwise feed-forward
    network, each followed by a learnable residual and a norm."""

    def __init__(self, config: ModelConfig, kernel_size: int):
        super().__init__()
        D = config.d_model
        norm = TokenBatchNorm if config.norm == "batch" else TokenLayerNorm
        init = config.residual_init if config.residual == "learnable" else None
        self.conv = DepthwiseConv(D, kernel_size, config.small_kernel)
        self.add_conv = Residual(config.dropout, init)
        self.norm_conv = norm(D)
        self.pointwise = PointwisePair(D, config.d_ff, config.dropout)
        self.add_pointwise = Residual(config.dropout, init)
        self.norm_pointwise = norm(D)
        self.native = config.norm == "batch"

    def forward(
        self, u: Float[Tensor, "D R N"], mask: Bool[Tensor, "R N"] | None = None
    ) -> Float[Tensor, "D R N"]:
        if self.training and self.native and native.usable(u):
            return self._in_kernels(u, mask)
        v = self.norm_conv(self.add_conv(u, F.gelu(self.conv(u))), mask)
        w = self.norm_pointwise(self.add_pointwise(v, self.pointwise(v)), mask)
        return w if mask is None else torch.where(mask, w, 0.0)

    def _in_kernels(self, u: Tensor, mask: Tensor | None) -> Tensor:
        """The same function computed by the fused CPU kernels."""
        norm1, norm2 = self.norm_conv, self.norm_pointwise
        assert isinstance(norm1, TokenBatchNorm)
        assert isinstance(norm2, TokenBatchNorm)
        widen, narrow = self.pointwise.widen, self.pointwise.narrow
        weights = native.TrainWeights(
            *self.conv.merged(), self.add_conv.scale, norm1.weight, norm1.bias,
            widen.weight, widen.bias, narrow.weight, narrow.bias,
            self.add_pointwise.scale, norm2.weight, norm2.bias,
        )  # fmt: skip
        w, seen1, seen2 = native.train_block(u, weights, self.pointwise.dropout.p, norm1.eps, mask)
        norm1.update(*seen1)
        norm2.update(*seen2)
        return w


class Blocks(nn.Sequential):
    """The encoder: a sequence of blocks."""

    def forward(
        self,
        input: Float[Tensor, "D R N"],
        mask: Bool[Tensor, "R N"] | None = None,
        again: bool = False,
    ) -> Float[Tensor, "D R N"]:
        """Encode tokens; those where `mask` is False are zero and stay zero.

        Parameters
        ----------
        again
            Activation checkpointing: keep only the tokens between blocks and recompute the rest in
            the backward pass.
        """
        u = input
        # a compiler decides for itself what to keep for the backward pass
        again = again and torch.is_grad_enabled() and not torch.compiler.is_compiling()
        for block in self:
            if again:
                u = checkpoint(
                    block,
                    u,
                    mask,
                    use_reentrant=False,
                    preserve_rng_state=False,  # it would save only torch's global state
                    context_fn=partial(first_and_again, u.device),
                )
            else:
                u = block(u, mask)
        return u


class Embedding(nn.Module):
    """Deformable patches, optionally with GELU and BatchNorm after the projection."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.patch = DeformablePatch(
            channels=config.channels,
            patch_size=config.patch_size,
            patch_stride=config.patch_stride,
            padding=config.padding,
            d_model=config.d_model,
            deformable=config.deformable,
            predictor_init=config.predictor_init,
        )
        self.activation: nn.Module | None = nn.GELU() if config.embed_norm else None
        self.norm: nn.Module | None = TokenBatchNorm(config.d_model) if config.embed_norm else None

    def forward(
        self, x: Float[Tensor, "R C L"], extent: Extent | None = None
    ) -> Float[Tensor, "D R N"]:
        u = self.patch(x, extent)
        mask = None if extent is None else extent.mask
        if self.activation is not None:
            u = self.activation(u)
        if self.norm is not None:
            u = self.norm(u, mask)
        return u if mask is None else torch.where(mask, u, 0.0)


class Head(nn.Module):
    """Project the tokens of a row, flattened or pooled by maximum or mean, to its outputs.

    Masked tokens are already zero.
    """

    fills_gaps = False

    def __init__(self, config: ModelConfig):
        super().__init__()
        D, N = config.d_model, config.n_tokens
        self.config, self.pooling = config, config.pooling
        outputs = config.outputs * max(1, len(config.quantiles))
        self.project = nn.Linear(D * N if config.pooling == "flatten" else D, outputs)
        self.dropout = OwnDropout(config.head_dropout)

    def forward(
        self, w: Float[Tensor, "D R N"], mask: Bool[Tensor, "R N"] | None = None
    ) -> Float[Tensor, "R outputs"]:
        return self.dropout(self.project(self.pooled(w, mask)))

    def pooled(
        self, w: Float[Tensor, "D R N"], mask: Bool[Tensor, "R N"] | None = None
    ) -> Float[Tensor, "R features"]:
        """What is projected."""
        if self.pooling == "flatten":
            return w.transpose(0, 1).flatten(1)
        if mask is None:
            return (w.amax(-1) if self.pooling == "max" else w.mean(-1)).T
        if self.pooling == "mean":
            return (w.sum(-1) / mask.sum(-1).clamp(min=1)).T
        # a row without observed values gets zeros
        known = torch.where(mask, w, -torch.inf).amax(-1)
        return torch.where(mask.any(-1), known, 0.0).T

    def shape(self, channels: int | torch.SymInt) -> tuple[int | torch.SymInt, ...]:
        """Shape of the answer for an input of so many channels; a graph leaves them open."""
        config = self.config
        if config.quantiles:
            return channels, len(config.quantiles), config.outputs
        if config.head == "forecast":  # forecasts unfold the channels again
            return channels, config.outputs
        if config.head == "contrast":  # views of a case lie side by side, as channels
            return channels // config.channels, config.outputs
        return (config.outputs,)


class Reconstruction(nn.Module):
    """Project every token to the values of its patch; where patches overlap, their mean."""

    fills_gaps = True
    """Whether gaps between known steps have tokens, which the blocks fill from their neighbours."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.project = nn.Linear(config.d_model, config.channels * config.patch_size)

    def forward(
        self, w: Float[Tensor, "D R N"], mask: Bool[Tensor, "R N"] | None = None
    ) -> Float[Tensor, "R C L"]:
        patches = self.project(w.permute(1, 2, 0)).float()
        return self._added(patches) / self._added(torch.ones_like(patches[:1])).clamp(min=1)

    def _added(self, patches: Float[Tensor, "R N points"]) -> Float[Tensor, "R C L"]:
        """The sum of the patches at their places; what is behind the last one is 0."""
        config = self.config
        P, S = config.patch_size, config.patch_stride
        whole = (patches.shape[1] - 1) * S + P
        added = F.fold(patches.transpose(1, 2), (1, whole), (1, P), stride=(1, S))[:, :, 0]
        return F.pad(added, (0, config.outputs - whole))

    def shape(self, channels: int | torch.SymInt) -> tuple[int | torch.SymInt, ...]:
        """Shape of the answer for an input of so many channels; a graph leaves them open."""
        return channels, self.config.outputs


class ConvTimeNet(nn.Module):
    """The ConvTimeNet network.

    Parameters
    ----------
    config
        Sizes and options; see `ModelConfig.forecasting` and `ModelConfig.classification`.

    Notes
    -----
    Input (B, C, L). Output (B, C, H) for forecasting, in the units of the input; (B, C, Q, H) with
    quantiles, which never cross; (B, K) class scores (logits) for classification; the context
    itself (B, C, L), gaps filled, for reconstruction. A forecasting network accepts any number of
    channels unless the config fixes it (`fixed_channels`).

    `known` (B, C, L) is the observed mask, False where a value is padded or missing. Masked values
    affect neither outputs nor gradients nor BatchNorm's statistics, and a case padded at its end
    gives the same output as without the padding (except with pooling="flatten", where the number of
    tokens is fixed). A series shorter than the context of a forecasting network is padded before
    its first value.

    `covariates` must match the config, see `convtimenet.network.covariate_embedding`. A network
    without covariates is the paper's.

    Four streams are not part of the paper: `linear` adds the forecast of a linear one
    (`convtimenet.network.linear`); `effects` the linear effects of covariates known ahead, without
    which the rest reads the contexts; `mixing` what channels read in each other's patches
    (`convtimenet.network.mixing`); `random_patches` mixes the scores of drawn patches with the
    head's (`convtimenet.network.random_patches`), but in training mode, where the head answers
    alone.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.revin = (
            RevIN(config.revin_subtract_last, config.revin_affine_channels)
            if config.revin
            else None
        )
        self.embedding = Embedding(config)
        self.blocks = Blocks(*(Block(config, k) for k in config.kernel_sizes))
        self.head = Reconstruction(config) if config.head == "reconstruct" else Head(config)
        self.covariates = CovariateEmbedding(config) if config.covariates else None
        self.linear = LinearStream(config) if config.linear else None
        if self.linear is not None:  # training starts from the linear forecast
            nn.init.zeros_(self.head.project.weight)
            nn.init.zeros_(self.head.project.bias)
            self.granted = nn.Buffer(torch.ones(()))
            """Share of the head's forecast that is added to the linear one."""
        self.effects = effects_of(config)
        self.mixing = ChannelMixing(config) if config.channel_mixing else None
        self.patches = None
        if config.random_patches:
            self.patches = RandomPatches(config).requires_grad_(False)
            self.granted = nn.Buffer(torch.tensor(PRIOR_SHARE))
            """Share of the head in the mixture with the random patches."""
        self.recompute = False
        """Activation checkpointing in training: keep only the tokens between blocks."""

    def forward(
        self,
        x: Float[Tensor, "B C L"],
        known: Bool[Tensor, "B C L"] | None = None,
        covariates: Covariates | None = None,
    ) -> Float[Tensor, "B ..."]:
        """The output for an input: shapes, masks and covariates as in the notes of the class."""
        statistics = extent = mask = None
        x, ahead = (x, 0.0) if self.effects is None else self.effects(x, covariates)
        if known is not None:
            x = torch.where(known, x, 0.0)
            extent = self.embedding.patch.extent(self.rows(known))
            mask = self._token_mask(extent)
        if self.revin is not None:
            x, statistics = self.revin(x, known)
        u = self.embedding(self.rows(x), extent)
        y = self.head(self.tokens(u, extent, covariates), mask)
        y = y.view(x.shape[0], *self.head.shape(x.shape[1]))
        spread = None
        if self.config.quantiles:
            y, spread = median_and_spread(y, self.config.quantiles.index(0.5))
        if self.linear is not None:
            y = torch.addcmul(self.linear(x, known), y, self.granted)
        if self.mixing is not None:
            y = y + self.mixing(u)
        if self.patches is not None and not self.training:
            y = torch.lerp(self.patches(x, known), y.float(), self.granted)
        if self.revin is not None and statistics is not None:
            y = self.revin.inverse(y, statistics)
            # scale only: a learned affine weight may be negative and would reverse the order
            spread = None if spread is None else spread * statistics[1].unsqueeze(-2)
        if self.effects is not None:
            y = y + ahead
        return y if spread is None else y.unsqueeze(-2) + spread

    def tokens(
        self,
        u: Float[Tensor, "D R N"],
        extent: Extent | None = None,
        covariates: Covariates | None = None,
    ) -> Float[Tensor, "D R tokens"]:
        """Encode the embedded patches into the tokens that the head reads."""
        mask = self._token_mask(extent)
        if self.covariates is not None:
            u = self.covariates(u, covariates or Covariates(), mask)
        return self.blocks(u, mask, self.recompute and self.training)

    def embed(
        self, x: Float[Tensor, "B C L"], known: Bool[Tensor, "B C L"] | None = None
    ) -> Float[Tensor, "B features"]:
        """The pooled tokens of cases, which the head reads."""
        assert isinstance(self.head, Head)
        extent = None
        if known is not None:
            x, extent = torch.where(known, x, 0.0), self.embedding.patch.extent(known)
        w = self.tokens(self.embedding(x, extent), extent)
        return self.head.pooled(w, self._token_mask(extent))

    @property
    def embedded(self) -> int:
        """Numbers of an embedding."""
        return self.head.project.in_features

    def _token_mask(self, extent: Extent | None) -> Bool[Tensor, "R N"] | None:
        """The token mask, None if no token is masked."""
        mask = None if extent is None else extent.mask
        if mask is not None and self.head.fills_gaps:
            mask = spanned(mask)
        return mask if self.covariates is None else self.covariates.mask(mask)

    def rows(self, x: Shaped[Tensor, "B C L"]) -> Shaped[Tensor, "R c L"]:
        """Fold channels that are not patched jointly into the batch."""
        return x.unflatten(1, (-1, self.config.channels)).flatten(0, 1)


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, trained or solved for."""
    kinds = LinearStream, RandomPatches, SmoothingNetwork, CovariateEffects
    streams = [m for m in model.modules() if isinstance(m, kinds)]
    solved = {id(p) for stream in streams for p in stream.parameters()}
    return sum(p.numel() for p in model.parameters() if p.requires_grad or id(p) in solved)


def deformation(
    model: ConvTimeNet, x: Float[Tensor, "B C L"], known: Bool[Tensor, "B C L"] | None = None
) -> tuple[Tensor, Tensor]:
    """Edges of the deformed patches of a batch, in time steps of the padded series.

    Returns
    -------
    left, right
        (B, C / c, N) each, for c channels patched jointly; NaN for masked patches.
    """
    patch = model.embedding.patch
    with torch.no_grad():
        extent = None
        if known is not None:
            x, extent = torch.where(known, x, 0.0), patch.extent(model.rows(known))
        if model.revin is not None:
            x, _ = model.revin(x, known)
        rows = patch.pad(model.rows(x), extent)
        N = patch.uniform(rows).shape[-2]
        first = torch.arange(N, device=x.device) * patch.patch_stride
        if patch.predict is None:
            left = first.expand(len(rows), -1).to(x.dtype)
            right = left + patch.patch_size - 1
        else:
            left, right = (edge + first for edge in patch.boxes(rows, extent))
        if extent is not None:
            left, right = (edge.where(extent.mask, torch.nan) for edge in (left, right))
    per_case = x.shape[0], x.shape[1] // model.config.channels, N
    return left.reshape(per_case), right.reshape(per_case)
