"""Sections that every report has: training, patches, residual scales, kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from convtimenet.data.windows import known_in
from convtimenet.estimators.base import ConvTimeNetEstimator
from convtimenet.network.layers import Residual
from convtimenet.network.linear import LinearNetwork
from convtimenet.network.mixing import ChannelMixing
from convtimenet.network.model import Block, ConvTimeNet, deformation
from convtimenet.network.random_patches import POINTS, RandomPatches
from convtimenet.network.reconstruction.features import PretrainedCases
from convtimenet.network.reconstruction.pretrained import FEW_ROWS, PretrainedForecaster, reaches
from convtimenet.network.smoothing import SmoothingNetwork
from convtimenet.report import _interactive as interactive
from convtimenet.report import _plots as plots
from convtimenet.report._html import (
    Section,
    card,
    count,
    escaped,
    figure,
    grid,
    number,
    score_table,
    span,
)
from convtimenet.report._interactive import embedded
from convtimenet.report.network import interactive as interactive_network
from convtimenet.report.network import pictures as network_plots
from convtimenet.training.closed_form.smoothing import CHOSEN
from convtimenet.training.history import History
from convtimenet.training.objectives import loss_of

_DEAD = 1e-3  # a branch with a residual scale below this contributes next to nothing
_STILL = 1e-6  # time steps; a patch that moved less counts as not moved
_SAMPLE_VALUES = 4_000_000  # maximum values read for the histograms of patches
_SAMPLE = 256  # maximum windows or cases read for them


def middle(values: np.ndarray) -> int:
    """Index of the median of those `values` (n,) that are not NaN; of the smaller one if there are
    two."""
    return int(np.argsort(values, kind="stable")[(int((~np.isnan(values)).sum()) - 1) // 2])


# --- training ------------------------------------------------------------------------------------


_LOSSES = {
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "huber": "Huber loss",
    "pinball": "pinball loss",
    "loss": "cross-entropy",
}


def training_section(history: History, loss_name: str, unit: str) -> Section:
    """Epochs, losses and learning rates; `loss_name` is the score that training minimised, `unit`
    that of a forecaster's errors."""
    epochs, best = history.epochs, history.best_epoch
    if not history.steps:
        words = (
            f"{escaped(history.stopped).capitalize()} in {history.seconds:.1f} seconds, without "
        )
        if history.stopped == CHOSEN:
            words += f"epochs. Mean absolute error of the training windows, in {unit}"
        else:
            words += f"epochs. {_LOSSES[loss_name].capitalize()} of the training cases, each "
            words += "answered by a solution without it"
        words += f": {number(epochs[0].train_loss)}."
        return Section("training", "Training", f"<p>{words}</p>")
    nan = float("nan")
    loss = {"training": [epoch.train_loss for epoch in epochs]}
    if any(epoch.valid for epoch in epochs):
        loss["validation"] = [epoch.valid.get(loss_name, nan) for epoch in epochs]
    rates = [epoch.lr for epoch in epochs]
    during = count(len(epochs), "epoch")
    words = f"{during}, {count(history.steps, 'step')} on {escaped(history.device)}; end of "
    words += f"training: {escaped(history.stopped)}. "
    if history.refitted:
        second = history.second
        if second is not None and not second.epochs:
            words += f"The weights of epoch {best} were kept. The time limit left no time to train "
            words += "them further: what is solved in closed form was solved again, on all data. "
        elif second is None:
            words += "The network was then trained a second time, on all data. "
        else:
            how = "Its weights were trained further" if second.goes_on else "New ones were trained"
            words += f"The weights of epoch {best} were the best. {how}, on all data, for "
            words += f"{count(second.epochs, 'epoch')}. "
    elif best:
        words += f"The weights of epoch {best} were kept. "
    else:
        words += "No epoch had a finite score, so the initial weights were kept. "
    words += f"Learning rate: {rates[0]:.3g} in the first epoch, {rates[-1]:.3g} in the last."
    ylabel = _LOSSES[loss_name]
    ends = "; ".join(f"{name} from {number(v[0])} to {number(v[-1])}" for name, v in loss.items())
    curves = figure(
        plots.by_epoch(loss, best, ylabel),
        f"{ylabel.capitalize()} over {during}: {ends}; best epoch {best}.",
        "Lower is better. If validation rises while training falls, the model overfits.",
        "Loss",
        plot=embedded(interactive.by_epoch(loss, best, ylabel)),
    )
    accuracy = [epoch.valid.get("accuracy", nan) for epoch in epochs]
    if np.isnan(accuracy).all():
        second = figure(
            plots.by_epoch({"learning rate": rates}, best, "learning rate", from_zero=True),
            f"Learning rate over {during}: {rates[0]:.3g} to {rates[-1]:.3g}.",
            "The learning rate in each epoch.",
            "Learning rate",
            plot=embedded(interactive.by_epoch({"learning rate": rates}, best, "learning rate")),
        )
    else:
        second = figure(
            plots.by_epoch({"validation": accuracy}, best, "validation accuracy"),
            f"Validation accuracy over {during}, {number(accuracy[-1])} at the end.",
            "Share of validation cases that are correct after each epoch.",
            "Validation accuracy",
            plot=embedded(
                interactive.by_epoch({"validation": accuracy}, best, "validation accuracy")
            ),
        )
    return Section("training", "Training", f"<p>{words}</p>{grid([curves, second])}")


# --- patches -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PatchMoves:
    """Positions of patches, (B, C / c, N) each, in time steps of the padded series; NaN for patches
    without a known value."""

    left: np.ndarray
    right: np.ndarray
    shift: np.ndarray
    """Offset of the centre; positive is later."""
    widening: np.ndarray


def patch_moves(network: ConvTimeNet, x: np.ndarray) -> PatchMoves:
    """Positions of the patches of scaled inputs (B, C, L), NaN where missing."""
    inputs = torch.from_numpy(x.astype(np.float32)).to(next(network.parameters()).device)
    edges = deformation(network, inputs, known_in(inputs))
    left, right = (edge.cpu().double().numpy() for edge in edges)
    size, stride = network.config.patch_size, network.config.patch_stride
    anchor = np.arange(left.shape[-1]) * stride + (size - 1) / 2
    return PatchMoves(left, right, (left + right) / 2 - anchor, right - left - (size - 1))


def sample(n: int, values_each: int) -> np.ndarray:
    """Indices of an evenly spaced sample of `n` windows or cases, for statistics of patches."""
    size = max(1, min(_SAMPLE, _SAMPLE_VALUES // values_each))
    return np.unique(np.linspace(0, n - 1, size).round().astype(int))


def patches_section(
    network: ConvTimeNet,
    inputs: np.ndarray,
    kind: str,
    example: np.ndarray,
    values: np.ndarray,
    *,
    row: int,
    ylabel: str,
    title: str,
) -> Section:
    """Patch offsets over many inputs, and the patches of one of them.

    Parameters
    ----------
    inputs, kind
        Scaled inputs (B, C, L), and whether they are "windows" or "cases".
    example
        One scaled input (C, L).
    values
        (C', n): the values of the example to draw, with `ylabel` and `title`.
    row
        Index of the patches to draw: the channel, or 0 if channels are read together.
    """
    config = network.config
    size, stride = config.patch_size, config.patch_stride
    words = f"The network reads patches of {size} time steps, one every {stride}. "
    if not config.deformable:
        words += "Deformation is off in this model: all patches are uniform."
        return Section("patches", "Patches", f"<p>{words}</p>")
    moves = patch_moves(network, inputs)
    there = ~np.isnan(moves.shift)
    shift, widening = moves.shift[there], moves.widening[there]
    many = f"{len(inputs)} {kind}"
    if max(np.abs(shift).max(), np.abs(widening).max()) < _STILL:
        words += f"Deformation is on, but no patch of {many} has an offset or another width: the "
        words += "patches are uniform, and the offset predictor has no effect in this model."
        return Section("patches", "Deformable patches", f"<p>{words}</p>")
    far = 100 * float((np.abs(shift) > 0.5).mean())
    words += f"Over {many} the patches are shifted by {np.abs(shift).mean():.2f} time steps on "
    words += f"average, {far:.0f} % of them by more than half a step; their width changes by "
    words += f"{widening.mean():+.2f} on average (range {span(widening)})."
    shown = patch_moves(network, example[None])
    left, right, moved = (edges[0, row] for edges in (shown.left, shown.right, shown.shift))
    there = ~np.isnan(left)
    last = int(np.flatnonzero(there)[-1]) + 1  # masked padding after the end is not drawn
    left, right, moved, there = (each[:last] for each in (left, right, moved, there))
    boxes, sizes = (values, left, right, moved), {"stride": stride, "patch_size": size}
    cards = [
        figure(
            network_plots.patch_boxes(*boxes, **sizes, ylabel=ylabel),
            f"{title}: the series and its {there.sum()} patches, of lengths from "
            f"{span((right - left)[there])} time steps; undeformed patches span {size - 1}.",
            f"{title}. Each row is a patch: the faint bar is its undeformed position, the coloured "
            "one its actual position. Hatched or shaded: padding.",
            "Positions of the patches",
            plot=embedded(interactive_network.patch_boxes(*boxes, **sizes, ylabel=ylabel)),
        ),
        figure(
            network_plots.move_histograms(shift, widening),
            f"Histograms over {many}: shifts range from {span(shift)}, changes of width from "
            f"{span(widening)} time steps.",
            "Uniform patches would all be at 0. Patches over padding are included.",
            f"Shift and width over {many}",
            plot=embedded(interactive_network.move_histograms(shift, widening)),
        ),
    ]
    return Section("patches", "Deformable patches", f"<p>{words}</p>{grid(cards)}")


# --- weights -------------------------------------------------------------------------------------


def weights_sections(network: ConvTimeNet) -> list[Section]:
    """Sections about the trained blocks: residual scales and kernels."""
    blocks = [block for block in network.blocks if isinstance(block, Block)]
    sizes = network.config.kernel_sizes
    if network.config.residual == "plain":
        words = "<p>This model has plain residual connections without learned scales.</p>"
        residuals = Section("residuals", "Residual scales", words)
    else:
        residuals = _residual_section(blocks, sizes)
    return [residuals, _kernel_section(blocks, sizes)]


def random_patches_section(network: RandomPatches, granted: float | None = None) -> Section:
    """Random patches: the whole network, or mixed with a head whose share is `granted`."""
    pretrained = isinstance(network, PretrainedCases)
    patches = network.embedding.patches if pretrained else network.embedding
    stretches = sorted({plan.stretch for plan in patches.plans})
    words = f"{len(patches.plans)} groups of {patches.each} random patches of {POINTS} points, "
    words += (
        f"at every time step, stretched by factors from {stretches[0]} to {stretches[-1]}. Their "
    )
    words += "weights were drawn; only the linear map of their features was fitted."
    if pretrained:
        words += " It also reads features of the network that comes with its weights."
    if granted is not None:
        words += " Its answers are mixed with those of the trained network, whose share is "
        words += f"{100 * granted:.0f} %."
    return Section("random", "Random patches", f"<p>{words}</p>")


def members_section(model: ConvTimeNetEstimator) -> Section:
    """The networks of an ensemble: weights, settings and validation losses."""
    members, weights = model.members_, model.history_.weights
    words = f"The answers of {count(len(members), 'network')} are averaged with the weights below. "
    words += "The training above is that of the first; the scores of its best epoch are those of "
    words += "all together. Pictures of patches and weights are for a model of one network."
    rows = []
    for n, (member, config) in enumerate(
        zip(members, model.network_.config.members, strict=True), start=1
    ):
        own, name = member.history, loss_of(config, member.train_config).name
        scored = [
            e.valid[name] for e in own.epochs if e.epoch == own.best_epoch and name in e.valid
        ]
        score = f"{number(scored[0])} ({_LOSSES[name]})" if scored else "none"
        kernels = ", ".join(map(str, config.kernel_sizes))
        sizes = [str(config.context_length), str(config.patch_size), kernels, config.pooling]
        sizes.append("yes" if config.channel_mixing else "no")
        rows.append([str(n), f"{weights[n - 1]:.2f}", *sizes, score])
    columns = ["member", "weight", "context", "patch", "kernels", "pooling", "mixing", "validation"]
    table = card(score_table("Networks", columns, rows), fit=True)
    return Section("members", "Networks", f"<p>{words}</p>{table}")


def linear_section(network: ConvTimeNet | LinearNetwork, granted: float) -> list[Section]:
    """The linear stream, if the network has one."""
    if network.linear is None:
        return []
    weight = network.linear.weight.detach().cpu().double().numpy()
    different, channels = len(np.unique(weight.reshape(-1, *weight.shape[-2:]), axis=0)), ""
    if different > 1:
        channels = f" {count(len(weight), 'channel')} have {different} different maps; the picture "
        channels += "is their mean."
    weight = weight.reshape(-1, *weight.shape[-2:]).mean(0)
    H, L = weight.shape
    words = "The forecast is this linear map of the normalised context, solved in closed form. "
    if isinstance(network, ConvTimeNet):
        words = "A linear map of the normalised context, solved in closed form, gives the forecast "
        words += "that the blocks add to. The validation split left "
        words += f"{100 * granted:.0f} % of what they add."
    words += channels + " Colours end at the 99.9 % quantile of the absolute weights."
    picture = figure(
        network_plots.linear_map(weight),
        f"Weights of {count(L, 'step')} of the context for {count(H, 'step')} ahead, between "
        f"{span(weight)}.",
        "Red: a value above the mean of the context raises the forecast; blue: it lowers it.",
        "What each step ahead reads",
        plot=embedded(interactive_network.linear_map(weight)),
    )
    return [Section("linear", "Linear stream", f"<p>{words}</p>{grid([picture])}")]


def pretrained_section(network: PretrainedForecaster, kept: float | None) -> list[Section]:
    """How much the network that comes with its weights reads of a context, and counts.

    Parameters
    ----------
    kept
        How much of what fine-tuning changed is kept; None without fine-tuning.
    """
    trusted, logarithms = float(network.trusted), float(network.logarithms)
    drift, L = float(network.drift), network.config.context_length
    words = "The weights come with the package and were not trained on this table. "
    if kept is not None:
        words = "The weights come with the package and were fine-tuned on this table; "
        words += f"{kept:.0%} of what that changed is kept, as held-out rows ask for. "
    words += "They read the "
    lengths = ", ".join(count(reach, "step") for reach in reaches(L, network.config.season))
    words += f"last {lengths}, each for itself, and the mean is their answer. Their "
    words += f"share of the forecast is {trusted:.0%}, that of the seasonal-naive one "
    words += f"{1 - trusted:.0%}"
    words += f"; {logarithms:.0%} of theirs read logarithms" if trusted and logarithms else ""
    words += f"; {drift:.0%} of theirs carry on the drift" if trusted and drift else ""
    words += ". The shares were chosen by forecasts of the training rows."
    if theta := network.config.theta:
        words += f" Of series without gaps {theta:.0%} of the median is a Theta line: their "
        words += "season, smoothed level and half of their linear trend."
    if L < FEW_ROWS:
        words += " Of a handful of rows that lie on a straight line up to 75% of it is that line."
    return [Section("pretrained", "Pre-trained network", f"<p>{words}</p>")]


def smoothing_section(network: SmoothingNetwork) -> list[Section]:
    """What the exponential smoothings of a network are, largest share first."""
    total, found = float(network.shares.sum()), []
    for kind, parameters, shares in zip(
        network.kinds, network.parameters_of.tolist(), network.shares.tolist(), strict=True
    ):
        for (level, trend, season, damping), share in zip(parameters, shares, strict=True):
            trended = [f"{trend:g}", f"{damping:g}"] if trend >= 0 else ["none", ""]
            own = f"{season:g}" if kind.seasonal else "none"
            form = "logarithms" if kind.logarithms else "values"
            form = "multiplied season" if kind.multiplies else form
            cells = [f"{share / total:.0%}", form, f"{level:g}", *trended, own] if share else []
            found.append((share, cells))
    rows = [cells for share, cells in sorted(found, key=lambda one: -one[0]) if share]
    words = "The forecast is a mean of exponential smoothings of the whole context, which were "
    words += "chosen from a grid by their absolute error on the training rows. The numbers say how "
    words += "much of each error level, trend and season take up."
    columns = ["share", "of", "level", "trend", "damping", "season"]
    table = card(score_table("Smoothings", columns, rows), fit=True)
    return [Section("smoothings", "Exponential smoothing", f"<p>{words}</p>{table}")]


def mixing_section(mixing: ChannelMixing, channels: Sequence[str]) -> Section:
    """What the validation split left each channel of what it reads in others."""
    C, messages = mixing.speak.shape
    words = f"{count(C, 'channel')} read each other through {count(messages, 'message')} about "
    words += "their latest patches, and add what they read to their forecasts. The validation "
    words += "split left each channel the share below of that; 0 % forecasts it from itself alone."
    rows = [
        [name, f"{100 * share:.0f} %"]
        for name, share in zip(channels, mixing.granted.tolist(), strict=True)
    ]
    table = card(score_table("Shares", ["channel", "share"], rows), fit=True)
    return Section("mixing", "Channels that read each other", f"<p>{words}</p>{table}")


def _residual_section(blocks: Sequence[Block], sizes: Sequence[int]) -> Section:
    scales = {
        "a1 (convolution)": [_scale(block.add_conv) for block in blocks],
        "a2 (pointwise pair)": [_scale(block.add_pointwise) for block in blocks],
    }
    dead = [
        f"{name[:2]} of block {i}"
        for name, values in scales.items()
        for i, value in enumerate(values, start=1)
        if abs(value) < _DEAD
    ]
    words = "Each block adds its branches, multiplied by a learned scale a. "
    if dead:
        words += f"Scales with an absolute value below {_DEAD}, whose branches contribute next to "
        words += f"nothing: {', '.join(dead)}. The paper takes scales near 0 as a sign of failure."
    else:
        words += f"No scale has an absolute value below {_DEAD}."
    rows = [
        [str(i + 1), str(k), *(f"{values[i]:.3g}" for values in scales.values())]
        for i, k in enumerate(sizes)
    ]
    table = score_table("Residual scales", ["block", "kernel", *scales], rows, numbers=True)
    picture = figure(
        network_plots.residual_bars(scales, sizes),
        f"Residual scales of {count(len(blocks), 'block')}: {span(np.array([*scales.values()]))}; "
        f"{len(dead)} of them near 0.",
        "The longer a bar, the larger the contribution of its branch.",
        "Scale per block",
        plot=embedded(interactive_network.residual_bars(scales, sizes)),
    )
    cards = grid([picture, card(table, "Values")])
    return Section("residuals", "Residual scales", f"<p>{words}</p>{cards}")


def _scale(residual: Residual) -> float:
    assert residual.scale is not None
    return float(residual.scale.detach())


def _kernel_section(blocks: Sequence[Block], sizes: Sequence[int]) -> Section:
    cards = []
    for i, (block, k) in enumerate(zip(blocks, sizes, strict=True), start=1):
        weight = block.conv.merged()[0].detach().cpu().double().numpy()
        peak = int(np.abs(weight).mean(0).argmax()) - (k - 1) // 2
        cards.append(
            figure(
                network_plots.kernel_map(weight),
                f"Kernels of block {i}: {len(weight)} rows of {k} weights between "
                f"{span(weight)}; largest on average at offset {peak}.",
                f"Largest on average at offset {peak}.",
                f"Block {i}, kernel of {k} tokens",
                plot=embedded(interactive_network.kernel_map(weight)),
            )
        )
    words = "<p>Weights of each block's large kernel, with the small one merged into it, by offset "
    words += "in tokens. Each row is the kernel of one token dimension, red above 0, blue below; "
    words += "the line is the mean absolute weight.</p>"
    return Section("kernels", "Kernels", words + grid(cards, "small"))
