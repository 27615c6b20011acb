"""What every page tells of the network: training, patches, residual scales, kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from convtimenet.data.windows import known_in
from convtimenet.network.layers import Residual
from convtimenet.network.model import Block, ConvTimeNet, deformation
from convtimenet.report import _network_plots as network_plots
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
from convtimenet.training.history import History

_DEAD = 1e-3  # a residual scale below this adds next to nothing
_STILL = 1e-6  # time steps; a patch that moved less did not move
_SAMPLE_VALUES = 4_000_000  # values read for the histograms of patches, at most
_SAMPLE = 256  # windows or cases read for them, at most


def middle(values: np.ndarray) -> int:
    """Where the median of `values` (n,) stands; of two the smaller."""
    return int(np.argsort(values, kind="stable")[(len(values) - 1) // 2])


# --- training ------------------------------------------------------------------------------------


_LOSSES = {
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "huber": "Huber loss",
    "pinball": "pinball loss",
    "loss": "cross-entropy",
}


def training_section(history: History, loss_name: str) -> Section:
    """How training went; `loss_name` is the validation score that training minimised."""
    epochs, best = history.epochs, history.best_epoch
    nan = float("nan")
    loss = {"training": [epoch.train_loss for epoch in epochs]}
    if any(epoch.valid for epoch in epochs):
        loss["validation"] = [epoch.valid.get(loss_name, nan) for epoch in epochs]
    rates = [epoch.lr for epoch in epochs]
    during = count(len(epochs), "epoch")
    words = f"{during}, {count(history.steps, 'step')} on {escaped(history.device)}; ended "
    words += f"because: {escaped(history.stopped)}. "
    if history.refitted:
        words += f"A new network was then trained on all data for {count(best, 'epoch')} and kept. "
    elif best:
        words += f"The weights of epoch {best} were kept. "
    else:
        words += "No epoch gave a finite score: these are the initial weights. "
    words += f"Learning rate {rates[0]:.3g} at first, {rates[-1]:.3g} in the last epoch."
    ylabel = _LOSSES[loss_name]
    ends = "; ".join(f"{name} from {number(v[0])} to {number(v[-1])}" for name, v in loss.items())
    curves = figure(
        plots.by_epoch(loss, best, ylabel),
        f"{ylabel.capitalize()} over {during}: {ends}; best epoch {best}.",
        "Lower is better; validation rising while training falls would mean overfitting.",
        "Loss",
    )
    accuracy = [epoch.valid.get("accuracy", nan) for epoch in epochs]
    if np.isnan(accuracy).all():
        second = figure(
            plots.by_epoch({"learning rate": rates}, best, "learning rate", from_zero=True),
            f"Learning rate over {during}: {rates[0]:.3g} to {rates[-1]:.3g}.",
            "How large the steps of training were.",
            "Learning rate",
        )
    else:
        second = figure(
            plots.by_epoch({"validation": accuracy}, best, "validation accuracy"),
            f"Validation accuracy over {during}, {number(accuracy[-1])} at the end.",
            "Share of the held-back cases that were right after each epoch.",
            "Validation accuracy",
        )
    return Section("training", "Training", f"<p>{words}</p>{grid([curves, second])}")


# --- patches -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PatchMoves:
    """Where patches lie: (B, C / c, N) each, in time steps of the padded series; NaN for patches
    of which no value is known."""

    left: np.ndarray
    right: np.ndarray
    shift: np.ndarray
    """Of the middle; above 0 is later."""
    widening: np.ndarray


def patch_moves(network: ConvTimeNet, x: np.ndarray) -> PatchMoves:
    """Where the patches of scaled inputs (B, C, L) lie, NaN where a mask has nothing known."""
    inputs = torch.from_numpy(x.astype(np.float32)).to(next(network.parameters()).device)
    edges = deformation(network, inputs, known_in(inputs))
    left, right = (edge.cpu().double().numpy() for edge in edges)
    size, stride = network.config.patch_size, network.config.patch_stride
    anchor = np.arange(left.shape[-1]) * stride + (size - 1) / 2
    return PatchMoves(left, right, (left + right) / 2 - anchor, right - left - (size - 1))


def sample(n: int, values_each: int) -> np.ndarray:
    """Numbers of the windows or cases, evenly among all `n`, whose patches are looked at."""
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
    """How far patches moved over many inputs, and where they lie on one.

    Parameters
    ----------
    inputs, kind
        Scaled inputs (B, C, L) and what they are, "windows" or "cases".
    example
        One scaled input (C, L).
    values
        (C', n): what is drawn of the example, named by `ylabel` and `title`.
    row
        Which of its patches are drawn: the channel's, or 0 where channels are read together.
    """
    config = network.config
    size, stride = config.patch_size, config.patch_stride
    words = f"The network reads patches of {size} time steps, one every {stride}. "
    if not config.deformable:
        words += "Deformation is off in this model: the patches are uniform and cannot move."
        return Section("patches", "Patches", f"<p>{words}</p>")
    moves = patch_moves(network, inputs)
    there = ~np.isnan(moves.shift)
    shift, widening = moves.shift[there], moves.widening[there]
    many = f"{len(inputs)} {kind}"
    if max(np.abs(shift).max(), np.abs(widening).max()) < _STILL:
        words += f"Deformation is on, but no patch of {many} moved or changed its width: the "
        words += "patches are uniform, and the offset predictor adds nothing to this model."
        return Section("patches", "Deformable patches", f"<p>{words}</p>")
    far = 100 * float((np.abs(shift) > 0.5).mean())
    words += f"Over {many} the patches moved by {np.abs(shift).mean():.2f} time steps on "
    words += f"average, {far:.0f} % of them by more than half a step, and their width changed by "
    words += f"{widening.mean():+.2f} (range {span(widening)})."
    shown = patch_moves(network, example[None])
    left, right, moved = (edges[0, row] for edges in (shown.left, shown.right, shown.shift))
    there = ~np.isnan(left)
    last = int(np.flatnonzero(there)[-1]) + 1  # masked padding behind the end is not drawn
    left, right, moved, there = (each[:last] for each in (left, right, moved, there))
    cards = [
        figure(
            network_plots.patch_boxes(
                values,
                left,
                right,
                moved,
                stride=stride,
                patch_size=size,
                ylabel=ylabel,
            ),
            f"{title}: the series and its {there.sum()} patches, of lengths from "
            f"{span((right - left)[there])} time steps where undeformed patches span {size - 1}.",
            f"{title}. Each row is a patch: the faint bar is where it would lie undeformed, the "
            "coloured one where it was read. Hatched: padding.",
            "Where the patches lie",
        ),
        figure(
            network_plots.move_histograms(shift, widening),
            f"Histograms over {many}: shifts range over {span(shift)}, changes of width "
            f"over {span(widening)} time steps.",
            "All at 0 would be plain patching. Patches over padding count too.",
            f"Shift and width over {many}",
        ),
    ]
    return Section("patches", "Deformable patches", f"<p>{words}</p>{grid(cards)}")


# --- weights -------------------------------------------------------------------------------------


def weights_sections(network: ConvTimeNet) -> list[Section]:
    """What the blocks learned: residual scales and kernels."""
    blocks = [block for block in network.blocks if isinstance(block, Block)]
    sizes = network.config.kernel_sizes
    if network.config.residual == "plain":
        words = "<p>Residual branches are added as they are in this model: no scales to show.</p>"
        residuals = Section("residuals", "Residual scales", words)
    else:
        residuals = _residual_section(blocks, sizes)
    return [residuals, _kernel_section(blocks, sizes)]


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
    words = "Each block adds its branches scaled by a learned number a. "
    if dead:
        words += f"Below {_DEAD} in size, so adding next to nothing: {', '.join(dead)}. The paper "
        words += "counts scales that go to 0 among the signs of failure."
    else:
        words += f"None is below {_DEAD} in size."
    rows = [
        [str(i + 1), str(k), *(f"{values[i]:.3g}" for values in scales.values())]
        for i, k in enumerate(sizes)
    ]
    table = score_table("Residual scales", ["block", "kernel", *scales], rows, numbers=True)
    picture = figure(
        network_plots.residual_bars(scales, sizes),
        f"Residual scales of {count(len(blocks), 'block')}: {span(np.array([*scales.values()]))}; "
        f"{len(dead)} of them near 0.",
        "The longer a bar, the more of its branch is added to the tokens.",
        "Scale per block",
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
            )
        )
    words = "<p>What each block looks at: weights of the large kernel with the small one merged "
    words += "into it, against the distance in tokens. Each row is one token dimension's kernel, "
    words += "red above 0, blue below; the line is their mean size.</p>"
    return Section("kernels", "Kernels", words + grid(cards, "small"))
