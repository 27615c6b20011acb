"""Our network with one part replaced, trained by our loop with our network's settings.

Each is a model of the matrix that takes the settings of `convtimenet.bench.models.forecaster` and
`classifier`, and its own:

- `transformer_block`: Transformer encoder layers in place of the convolutional blocks;
- `residual`: another scale on the blocks' residual branches;
- `offsets_zeroed`: trained as it is, and then asked with every patch at its anchor.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster
from convtimenet.bench.models import Fitted, fitted_classifier, fitted_forecaster
from convtimenet.bench.problems import ForecastProblem, Problem
from convtimenet.config import ModelConfig
from convtimenet.devices import generator
from convtimenet.errors import ConfigError
from convtimenet.network.layers import Dropout, Residual
from convtimenet.network.model import Block, Blocks, ConvTimeNet, deformation

Change = Callable[[ConvTimeNet], None]
"""Replaces a part of a network with new weights."""
Ours = ConvTimeNetForecaster | ConvTimeNetClassifier


def _fit(
    name: str,
    change: Change,
    problem: Problem,
    seed: int,
    settings: dict[str, Any],
) -> tuple[Fitted, Ours]:
    """Our estimator with a changed network, fitted to a problem, and the estimator itself."""
    kept: list[Ours] = []

    def new_network(self: Ours, config: ModelConfig) -> ConvTimeNet:
        kept[:] = [self]
        network = ConvTimeNet(config)
        change(network)
        return network

    hook = {"_new_network": new_network}
    preset = settings.get("preset", "paper")
    settings = {**settings, "preset": problem.name if preset == "paper" else preset}
    if isinstance(problem, ForecastProblem):
        kind = type(name, (ConvTimeNetForecaster,), hook)
        fitted = fitted_forecaster(kind, problem, seed, **settings)
    else:
        kind = type(name, (ConvTimeNetClassifier,), hook)
        fitted = fitted_classifier(kind, problem, seed, **settings)
    return fitted, kept[0]


def _telling(fitted: Fitted, settings: dict[str, Any], found: dict[str, Any]) -> Fitted:
    """The same model, telling the variant's own settings and findings too."""
    return dataclasses.replace(
        fitted,
        config={**fitted.config, "variant": settings},
        chosen={**fitted.chosen, **found},
    )


# --- a Transformer's layers for blocks ------------------------------------------------------------


class TransformerBlock(nn.Module):
    """torch's encoder layer (self-attention, D -> F -> D, LayerNorm behind each) on our tokens."""

    def __init__(self, config: ModelConfig, heads: int):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            config.d_model, heads, config.d_ff, config.dropout, "gelu", batch_first=True
        )

    def forward(self, u: Tensor, mask: Tensor | None = None) -> Tensor:
        """(D, R, N) to the same; tokens that do not count are seen by none and stay zero."""
        hidden = None
        if mask is not None:  # a row without tokens has to look at something
            hidden = ~(mask | ~mask.any(-1, keepdim=True))
        w = self._layer(u.permute(1, 2, 0), hidden).permute(2, 0, 1)
        return w if mask is None else torch.where(mask, w, 0.0)

    def _layer(self, tokens: Tensor, hidden: Tensor | None) -> Tensor:
        # fused operations are not counted as multiply-adds
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with sdpa_kernel(SDPBackend.MATH):
                if not self.training:
                    return self.layer(tokens, src_key_padding_mask=hidden)
                # its dropout knows only torch's own generator
                number = torch.randint(2**62, (1,), generator=generator())
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(int(number))
                    return self.layer(tokens, src_key_padding_mask=hidden)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


class Positions(nn.Module):
    """A learnt vector for every place, added to the token there; places behind those of a training
    case share the last one's."""

    def __init__(self, width: int, n_tokens: int):
        super().__init__()
        self.table = nn.Parameter(0.02 * torch.randn(width, n_tokens))

    def forward(self, u: Tensor, mask: Tensor | None = None) -> Tensor:
        """(D, R, N) to the same."""
        places = torch.arange(u.shape[-1], device=u.device).clamp(max=self.table.shape[1] - 1)
        v = u + self.table[:, None, places]
        return v if mask is None else torch.where(mask, v, 0.0)


def transformer_block(
    problem: Problem, seed: int, *, heads: int = 8, positions: bool = False, **settings: Any
) -> Fitted:
    """Every block a Transformer encoder layer of the same widths and dropout; with `positions` a
    position embedding before them, since attention does not know the order of its tokens."""

    def change(network: ConvTimeNet) -> None:
        config = network.config
        if config.d_model % heads:
            raise ConfigError(
                f"d_model must be a multiple of heads, found {config.d_model} and {heads}; change "
                "one of them"
            )
        first = [Positions(config.d_model, config.n_tokens)] if positions else []
        layers = [TransformerBlock(config, heads) for _ in config.kernel_sizes]
        network.blocks = Blocks(*first, *layers)

    fitted, _ = _fit("TransformerBlocks", change, problem, seed, settings)
    return _telling(fitted, {"heads": heads, "positions": positions}, {})


# --- residual scales ------------------------------------------------------------------------------

Kind = Literal["learnable", "plain", "rezero", "layerscale", "fixed"]
_BRANCHES = "add_conv", "add_pointwise"
_INIT = {"rezero": 0.0, "layerscale": 1e-4, "fixed": 0.5}


class LayerScale(nn.Module):
    """u + dropout(a * branch) with one learnable a for each of the D widths (Touvron et al.,
    "Going deeper with Image Transformers", ICCV 2021)."""

    def __init__(self, width: int, dropout: float, init: float):
        super().__init__()
        self.dropout = Dropout(dropout)
        self.scale = nn.Parameter(torch.full((width,), init))

    def forward(self, u: Tensor, branch: Tensor) -> Tensor:
        """(D, R, N) to the same."""
        return u + self.dropout(self.scale[:, None, None] * branch)


def scale_residuals(network: ConvTimeNet, kind: Kind, init: float | None = None) -> None:
    """Give both residual branches of every block another scale, see `residual`."""
    config = network.config
    start = _INIT.get(kind, config.residual_init) if init is None else init
    for block in network.blocks:
        assert isinstance(block, Block)
        for branch in _BRANCHES:
            if kind == "layerscale":
                scaled = LayerScale(config.d_model, config.dropout, start)
                block.native = False  # the fused kernels know one scale for all widths
            else:
                scaled = Residual(config.dropout, None if kind == "plain" else start)
                if kind == "fixed":
                    scaled.requires_grad_(False)
            setattr(block, branch, scaled)


def residual(
    problem: Problem, seed: int, *, kind: Kind, init: float | None = None, **settings: Any
) -> Fitted:
    """Another scale a in u + a branch(u), on both branches of every block.

    Parameters
    ----------
    kind
        "learnable": ours, one number from the task's `residual_init`. "plain": 1. "rezero": one
        number from 0 (Bachlechner et al., UAI 2021). "layerscale": one for each width, from 1e-4.
        "fixed": 0.5, not learnt.
    init
        Where the scales start instead.
    """
    if kind not in get_args(Kind):
        raise ConfigError(f"kind must be one of {', '.join(get_args(Kind))}, found {kind!r}")
    if kind == "plain" and init is not None:
        raise ConfigError(f"the plain residual has no scale, found init={init}; leave init out")
    fitted, model = _fit(
        f"Residual_{kind}",
        lambda network: scale_residuals(network, kind, init),
        problem,
        seed,
        settings,
    )
    scales = {
        branch: [_mean_size(getattr(block, branch).scale) for block in model.network_.blocks]
        for branch in _BRANCHES
    }
    return _telling(fitted, {"kind": kind, "init": init}, {"scales": scales})


def _mean_size(scale: Tensor | None) -> float:
    return 1.0 if scale is None else float(scale.detach().abs().mean())


# --- patch offsets --------------------------------------------------------------------------------


def offsets_zeroed(problem: Problem, seed: int, **settings: Any) -> Fitted:
    """Our network as it is trained, whose answers then read every patch at its anchor.

    `Fitted.chosen["offsets"]` has, once the test inputs are answered for, the scores with the
    offsets as trained; what zeroing them changes, as the share of other answers or the relative
    change of the MSE; and how patches lay, see `placed`.
    """
    if not settings.get("model", {}).get("deformable", True):
        raise ConfigError(
            "offsets_zeroed needs deformable patches, found deformable=False; leave it out"
        )
    fitted, model = _fit("OffsetsZeroed", lambda network: None, problem, seed, settings)
    found: dict[str, Any] = {}

    def predict() -> np.ndarray:
        answers, trained = fitted.predict(), model.fused_
        model.fused_ = without_offsets(trained)
        try:
            zeroed = fitted.predict()
        finally:
            model.fused_ = trained
        before, after = problem.scores(answers), problem.scores(zeroed)
        found["as_trained"] = before
        if isinstance(problem, ForecastProblem):
            found["mse_change"] = after["mse"] / before["mse"] - 1
        else:
            found["answers_changed"] = float((answers != zeroed).mean())
        found.update(placed(*_edges(model, problem), model.network_.config))
        return zeroed

    return dataclasses.replace(_telling(fitted, {}, {"offsets": found}), predict=predict)


def without_offsets(network: ConvTimeNet) -> ConvTimeNet:
    """A copy whose offset predictor always gives zeros."""
    network = copy.deepcopy(network)
    predict = network.embedding.patch.predict
    assert predict is not None
    with torch.no_grad():
        for parameter in predict[-1].parameters():
            parameter.zero_()
    return network


def placed(left: np.ndarray, right: np.ndarray, config: ModelConfig) -> dict[str, Any]:
    """How patches with these edges (..., N) lie, NaN for those that do not count: mean, standard
    deviation and 95th percentile, in time steps, of the distance of their centres from the anchors
    and of their widths, which is `plain_width` without offsets. Edges are as the network reads
    them, clamped to the series."""
    anchors = np.arange(left.shape[-1]) * config.patch_stride + (config.patch_size - 1) / 2
    there = ~np.isnan(left)
    return {
        "moved": _summary(np.abs((left + right) / 2 - anchors)[there]),
        "width": _summary((right - left)[there]),
        "plain_width": config.patch_size - 1,
    }


def _summary(values: np.ndarray) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "sd": float(values.std()),
        "p95": float(np.percentile(values, 95)),
    }


def _edges(model: Ours, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Edges (n, c, N) of all patches of the test inputs."""
    if not isinstance(problem, ForecastProblem):
        assert isinstance(model, ConvTimeNetClassifier)
        explained = model.explain(problem.test, spans=1)
        return explained.left, explained.right
    windows = problem.windows("test", model.network_.config.context_length)
    batches = map(windows.batch, torch.arange(len(windows)).split(model.train_config_.batch_size))
    left, right = zip(*(deformation(model.network_, b.x, b.known) for b in batches), strict=True)
    return torch.cat(left).double().numpy(), torch.cat(right).double().numpy()
