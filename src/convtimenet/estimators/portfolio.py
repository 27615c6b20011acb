"""A portfolio: several networks trained one after the other, whose answers are averaged.

The candidates are changes of the preset, in the order of their training; the seed differs in each.
The weights of their answers are those of a greedy selection with replacement on the validation
split (Caruana et al., "Ensemble selection from libraries of models", ICML 2004), from a start that
holds every network once, where a pick is shared by those that the split cannot tell apart.
docs/design/portfolio.md says why.

Shape legend: `convtimenet._shapes`; M members, n held-out windows or cases.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.windows import Examples, Windows
from convtimenet.devices import autocast
from convtimenet.errors import ConfigError
from convtimenet.estimators.presets.derived import kernels_for
from convtimenet.estimators.pretrained import Pretrained
from convtimenet.network.ensemble import Ensemble
from convtimenet.network.inference import fuse
from convtimenet.network.reconstruction.network import SIZES
from convtimenet.training.history import History
from convtimenet.training.losses import Loss
from convtimenet.training.metrics import evaluate, outputs
from convtimenet.training.objectives import loss_of

__all__ = [
    "Member",
    "Plan",
    "Trained",
    "cases_members",
    "forecast_members",
    "of_member",
    "phase_of",
    "second_config",
    "started",
    "together",
    "weights_of",
]

PICKS = 20
"""Picks of the greedy selection, so that a network has a weight of at least 1 / (M + 20)."""
MESSAGES = 4
"""Messages through which channels read each other in one of the members."""
FEW_STEPS, ENOUGH_STEPS = 60, 200
"""If the best epoch of the first training comes before FEW_STEPS steps, "continue" trains on up to
ENOUGH_STEPS at the full learning rate, for at most twice the epochs (docs/refit.md)."""
CONTINUED, CONTINUED_RATE = 0.3, 0.1
"""Otherwise it trains for this fraction of the steps to the best epoch, at this fraction of the
learning rate."""
_MOST_ANSWERS = 2**22  # numbers per member that are held for the selection


@dataclass(frozen=True)
class Plan:
    """A network to train: settings and data."""

    config: ModelConfig
    train_config: TrainConfig
    examples: Examples
    valid: Examples | None
    all_examples: Examples | None
    """Both splits together, for the second training; None without one."""
    start: Pretrained | None = None
    """The encoder that it starts from."""

    @property
    def ready(self) -> bool:
        """Whether it keeps the weights of the package, which takes seconds."""
        return self.config.pretrained and not self.train_config.encoder_rate


@dataclass(frozen=True)
class Member:
    """How a network was trained."""

    train_config: TrainConfig
    history: History
    examples: int | None
    """Number of examples in its training split; None if it is not known."""

    @property
    def solved(self) -> bool:
        """Whether its answers are those of what is solved for without steps: of all of it, or of
        the streams of a network whose trained part does not count."""
        return not self.history.steps or not (self.history.granted or self.history.mixed)

    def again(self, all_examples: Examples) -> tuple[TrainConfig, float]:
        """Settings of its second training, on these examples, and the seconds it will take."""
        read = self.train_config.examples_per_epoch
        n = len(all_examples)
        ratio = read(n if self.examples is None else self.examples) / read(n)
        return second_config(self.train_config, self.history, ratio)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``."""
        train, history = self.train_config.to_dict(), self.history.to_dict()
        return {"train": train, "history": history, "examples": self.examples}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], changed: Mapping[str, Any]) -> Member:
        """Build from the output of `to_dict`, with these settings changed."""
        train = TrainConfig.from_dict({**values["train"], **changed})
        return cls(train, History.from_dict(values["history"]), int(values["examples"]))


@dataclass(frozen=True)
class Trained:
    """A trained network with its plan."""

    plan: Plan
    network: Any
    history: History

    @property
    def member(self) -> Member:
        """What is kept of its training."""
        return Member(self.plan.train_config, self.history, len(self.plan.examples))

    @property
    def seconds(self) -> float:
        """Seconds of its training and, if there will be one, of its second training."""
        after = 0.0
        if self.plan.train_config.refit and self.plan.all_examples is not None:
            after = self.member.again(self.plan.all_examples)[1]
        return self.history.seconds + after


def second_config(config: TrainConfig, history: History, ratio: float) -> tuple[TrainConfig, float]:
    """Settings of the second training, and the seconds that it will take; `ratio` is that of the
    examples per epoch of the first training to those of the second."""
    again = replace(config, epochs=history.best_epoch, patience=None, time_limit=None)
    if not history.steps:  # solved, and will be again
        return replace(again, epochs=1), history.seconds / ratio
    if config.refit == "continue":
        steps = history.steps * history.best_epoch / len(history.epochs)
        few = steps < FEW_STEPS
        wanted = ENOUGH_STEPS - steps if few else CONTINUED * steps
        epochs = max(1, round(wanted / steps * history.best_epoch * ratio))
        epochs = min(epochs, 2 * config.epochs)
        again = replace(again, epochs=epochs, lr=config.lr * (1 if few else CONTINUED_RATE))
    if not history.granted and not history.mixed:  # what is trained does not count
        again = replace(again, epochs=1)
    return again, history.seconds * again.epochs / len(history.epochs) / ratio


# --- candidates ----------------------------------------------------------------------------------


def forecast_members(
    config: ModelConfig,
    train: TrainConfig,
    other: ModelConfig | None,
    fixed: Collection[str],
    mixed: int = 1,
) -> list[tuple[ModelConfig, TrainConfig]]:
    """Settings of the members of a forecaster: the preset, another context, another loss, smaller
    patches, channels that read each other (another seed, where they cannot), smaller kernels; and
    second the weights of the package, which are ready in seconds.

    Parameters
    ----------
    config, train
        The preset's, with the user's own on top.
    other
        The same for another context, if there is one to choose.
    fixed
        Settings of the user's own, which hold for all members.
    mixed
        Number of channels that may read each other; 1 if they may not.
    """
    found: list[tuple[ModelConfig, dict[str, Any]]] = [(config, {})]
    if config.kernel_sizes:
        found += [] if other is None else [(other, {})]
        if "loss" not in fixed and not config.quantiles:
            found.append((config, {"loss": "mae" if train.loss == "mse" else "mse"}))
        found += _with_patches(config, config.patch_size // 2, fixed)
        if mixed > 1 and "channel_mixing" not in fixed:
            found.append((replace(config, channel_mixing=MESSAGES, mixed_channels=mixed), {}))
        else:
            found += _with_another_seed(config, fixed)
        found += _with_kernels(config, 0.5, fixed)
    members = _seeded(found, train, fixed)
    longest = max(own.context_length for own, _ in members)
    own = {*fixed} & {field.name for field in fields(ModelConfig)}
    reads_else = config.quantiles or config.covariates or own
    if config.kernel_sizes and longest >= SIZES["patch_size"] and not reads_else:
        members.insert(1, _ready(config, train, longest))
    return members


def _ready(
    config: ModelConfig, train: TrainConfig, context_length: int
) -> tuple[ModelConfig, TrainConfig]:
    """The weights of the package as one of several networks: they answer with their median."""
    own = {**SIZES, "quantiles": (), "masks": config.masks, "season": config.season}
    horizon = config.outputs
    ready = ModelConfig.forecasting(context_length=context_length, horizon=horizon, **own)
    once = replace(train, epochs=1, encoder_rate=0.0, refit=bool(train.refit))
    return replace(ready, revin=config.revin), once


def cases_members(
    config: ModelConfig, train: TrainConfig, fixed: Collection[str]
) -> list[tuple[ModelConfig, TrainConfig]]:
    """Settings of the members of a classifier or regressor: the preset, another pooling, larger
    patches, another seed, smaller patches, larger kernels. Arguments as for `forecast_members`."""
    found: list[tuple[ModelConfig, dict[str, Any]]] = [(config, {})]
    if config.kernel_sizes:
        if "pooling" not in fixed:
            found.append((replace(config, pooling="max"), {}))
        found += _with_patches(config, config.patch_size * 2, fixed)
        found += _with_another_seed(config, fixed)
        found += _with_patches(config, config.patch_size // 2, fixed)
        found += _with_kernels(config, 1.5, fixed)
    return _seeded(found, train, fixed)


def _with_another_seed(
    config: ModelConfig, fixed: Collection[str]
) -> list[tuple[ModelConfig, dict[str, Any]]]:
    return [] if "seed" in fixed else [(config, {})]


def _with_patches(
    config: ModelConfig, size: int, fixed: Collection[str]
) -> list[tuple[ModelConfig, dict[str, Any]]]:
    """The config with half-overlapping patches of another size, and kernels that suit them."""
    if {"patch_size", "patch_stride"} & {*fixed} or not 2 <= size <= config.context_length:
        return []
    changed = replace(config, patch_size=size, patch_stride=size // 2)
    if "kernel_sizes" not in fixed:
        sizes = (max(k, config.small_kernel) for k in kernels_for(changed.n_patches))
        changed = replace(changed, kernel_sizes=tuple(sizes))
    return [(changed, {})]


def _with_kernels(
    config: ModelConfig, factor: float, fixed: Collection[str]
) -> list[tuple[ModelConfig, dict[str, Any]]]:
    least = max(3, config.small_kernel)
    sizes = tuple(max(least, round(k * factor) // 2 * 2 + 1) for k in config.kernel_sizes)
    if "kernel_sizes" in fixed or sizes == config.kernel_sizes:
        return []
    return [(replace(config, kernel_sizes=sizes), {})]


def _seeded(
    found: Iterable[tuple[ModelConfig, dict[str, Any]]], train: TrainConfig, fixed: Collection[str]
) -> list[tuple[ModelConfig, TrainConfig]]:
    """The training settings of each config, with a seed of its own."""
    step = 0 if "seed" in fixed else 1
    return [
        (config, replace(train, **changes, seed=(train.seed + step * n) % 2**32))
        for n, (config, changes) in enumerate(found)
    ]


def started(plans: Sequence[Plan], start: Pretrained | None) -> tuple[list[Plan], list[str]]:
    """The networks with the pre-trained encoder that they start from, and notices. Members after
    the first whose encoder differs start from new weights, which are trained at the full rate.

    Raises
    ------
    ConfigError
        If the first one cannot start from it, or there is none and new weights would be frozen.
    """
    first = plans[0]
    if start is None:
        new = first.config.kernel_sizes and not first.config.pretrained
        if new and not first.train_config.encoder_rate:
            raise ConfigError(
                "encoder_rate=0 would keep new weights as they are drawn; call pretrain() or give "
                "init_from first, or leave encoder_rate out"
            )
        return list(plans), []
    start.check(first.config)
    found, others = [], []
    for number, plan in enumerate(plans, 1):
        if plan.config.pretrained:
            pass
        elif start.differences(plan.config):
            others.append(str(number))
            plan = replace(plan, train_config=replace(plan.train_config, encoder_rate=1.0))
        else:
            plan = replace(plan, start=start)
        found.append(plan)
    if not others:
        return found, []
    return found, [
        f"member(s) {', '.join(others)} of {len(plans)} have another encoder than the pre-trained "
        "one, and start from new weights"
    ]


# --- the ensemble --------------------------------------------------------------------------------


def together(
    done: list[Trained], device: torch.device
) -> tuple[list[Trained], Any, History, list[str]]:
    """The ensemble of trained networks, weighted on the validation split, and the history of the
    first one with the ensemble's scores in its best epoch; the network itself if there is one.

    Returns
    -------
    Its members, the ensemble, the history, and notices about networks that are left out: those
    whose answers or losses are not finite there, unless that holds for all.
    """
    first = done[0]
    if len(done) == 1:
        return done, first.network, first.history, []
    ensemble = Ensemble.of([one.network for one in done]).to(device).eval()
    config, train = ensemble.config, first.plan.train_config
    # windows of the longest context hold those of the others
    whole = next(one for one in done if one.plan.config.context_length == config.context_length)
    valid, epochs = whole.plan.valid, first.history.epochs
    weights = torch.full((len(done),), 1 / len(done))
    if valid is not None:
        losses = [loss_of(one.plan.config, one.plan.train_config) for one in done]
        with autocast(device, train):
            fused = fuse(ensemble)
            held_out = _answers(fused, valid, train.batch_size, device)
            apart = len(valid) / (config.outputs if config.head == "forecast" else 1)
            different = [*{loss.name: loss for loss in losses}.values()]
            usable = _usable(*held_out, different)
            if any(usable) and not all(usable):
                kept = [one for one, good in zip(done, usable, strict=True) if good]
                return *together(kept, device)[:3], [
                    f"member {n} of {len(done)} is left out: its answers to the validation split "
                    "are not finite, or too large"
                    for n, good in enumerate(usable, 1)
                    if not good
                ]
            weights = weights_of(*held_out, different, apart)
            for one in (ensemble, fused):
                one.weights.copy_(weights)
            paper = train.protocol == "paper" and config.head == "forecast"
            scores = evaluate(fused, valid, config.head, train.batch_size, device, paper, losses[0])
        best = first.history.best_epoch
        epochs = [replace(e, valid=scores) if e.epoch == best else e for e in epochs]
    history = replace(
        first.history,
        epochs=epochs,
        seconds=sum(one.history.seconds for one in done),
        weights=weights.tolist(),
        notes=[note for n, one in enumerate(done, 1) for note in of_member(n, one.history.notes)],
    )
    return done, ensemble, history, []


def phase_of(name: str, label: str, number: int, members: int) -> tuple[str, str]:
    """The name of a training in its checkpoints and its label in progress, which tell the member
    if there are several."""
    if members == 1:
        return name, label
    return f"member{number}-{name}", f"{label}, member {number} of {members}"


def of_member(number: int, notes: Iterable[str]) -> list[str]:
    """Notices about one member, which name it."""
    return [f"member {number}: {note}" for note in notes]


def weights_of(
    answers: Tensor, y: Tensor, weight: Tensor, losses: Sequence[Loss], apart: float
) -> Tensor:
    """Weights (M,) of members by their answers (M, n, ...) to held-out targets y; equal ones if no
    answer is finite.

    Each pick takes the member that, added to those already picked, has the smallest loss of their
    mean. Members that are worse by no more than the standard error of the difference share it: few
    windows or cases cannot tell them apart. Several losses are added up, each relative to that of
    the first member.

    Parameters
    ----------
    apart
        Number of windows that do not overlap, or of cases.
    """
    units = [max(float(loss(answers[0], y, weight)), 1e-12) for loss in losses]
    part = weight / weight.mean()

    def each(mean: Tensor) -> Tensor:
        """Losses (n,) whose mean is the loss."""
        found = [
            (loss.values(mean, y, reduction="none") * part).reshape(len(y), -1).mean(1) / unit
            for loss, unit in zip(losses, units, strict=True)
        ]
        return torch.stack(found).sum(0).double().cpu()

    counts, total = torch.ones(len(answers), dtype=torch.float64), answers.sum(0)
    for _ in range(PICKS):
        picked = float(counts.sum()) + 1
        found = torch.stack([each((total + one) / picked) for one in answers])
        gap = found - found[found.mean(1).nan_to_num(nan=torch.inf).argmin()]
        unsure = gap.std(1) / apart**0.5 if len(y) > 1 and apart >= 2 else torch.inf
        best = (gap.mean(1) <= unsure).double()
        if not best.any():  # no answer is finite
            break
        share = best / best.sum()
        counts += share
        total = total + torch.tensordot(share.to(total), answers, dims=1)
    return counts / counts.sum()


def _usable(answers: Tensor, y: Tensor, weight: Tensor, losses: Sequence[Loss]) -> list[bool]:
    """Whether the answers and the losses of each member are finite; arguments as `weights_of`."""
    return [
        bool(one.isfinite().all()) and all(isfinite(float(loss(one, y, weight))) for loss in losses)
        for one in answers
    ]


def _answers(
    ensemble: Ensemble, valid: Examples, batch_size: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Answers (M, n, ...) of the members, targets and their weights; of many windows those evenly
    spaced."""
    if isinstance(valid, Windows):
        config = ensemble.config
        each = len(valid.values) * config.outputs * max(1, len(config.quantiles))
        valid = valid.thinned(_MOST_ANSWERS // each + 1)
    answers, targets, weights = [], [], []
    for output, batch in outputs(_Members(ensemble), valid, batch_size, device):
        weight = torch.ones(batch.y.shape, device=device)
        answers.append(output)
        targets.append(batch.y)
        weights.append(weight if batch.weight is None else weight * batch.weight)
    return torch.cat(answers).transpose(0, 1), torch.cat(targets), torch.cat(weights)


class _Members(nn.Module):
    """Answers (B, M, ...) of the members of an ensemble."""

    def __init__(self, ensemble: Ensemble):
        super().__init__()
        self.ensemble = ensemble

    def forward(self, *inputs: Any) -> Tensor:
        return self.ensemble.answers(*inputs).transpose(0, 1)
