"""What a network is made of and how it is trained: two frozen dataclasses, validated once.

Both are saved as JSON beside the weights, and the command line's flags are made from them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, Literal, Self, TypeGuard

from convtimenet.errors import ConfigError
from convtimenet.names import did_you_mean

Head = Literal["forecast", "classify", "regress"]
Padding = Literal["repeat", "zeros", "none"]
PredictorInit = Literal["last_zero", "zero", "default"]
Norm = Literal["batch", "layer"]
Residual = Literal["learnable", "plain"]
Pooling = Literal["flatten", "max", "mean"]
Precision = Literal["fp32", "bf16", "int8"]
Protocol = Literal["honest", "paper"]
PointLoss = Literal["mse", "mae", "huber"]


def _require(holds: bool, setting: str, expected: str, found: object) -> None:
    if not holds:
        raise ConfigError(f"{setting} must be {expected}, found {found!r}")


def _require_whole(settings: Any, name: str, least: int) -> None:
    """Check a setting, and keep numpy's whole numbers as Python's."""
    value = getattr(settings, name)
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    _require(whole and int(value) >= least, name, f"a whole number of at least {least}", value)
    object.__setattr__(settings, name, int(value))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool)


def _require_choice(setting: str, found: object, choices: tuple[object, ...]) -> None:
    _require(found in choices, setting, "one of " + ", ".join(map(repr, choices)), found)


class _Json:
    """JSON in and out, refusing settings this version does not know."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dumps``; the largest number stands for infinity."""
        text = json.dumps(asdict(self))  # type: ignore[call-overload]
        return json.loads(text, parse_constant=lambda _: sys.float_info.max)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from what `to_dict` gave.

        Raises
        ------
        ConfigError
            If a setting is unknown, absent though it has no default, or out of range.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"{cls.__name__} needs a mapping from setting to value, found "
                f"{type(values).__name__}"
            )
        known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
        for name in values:
            if name not in known:
                hint = did_you_mean(str(name), known)
                raise ConfigError(f"{cls.__name__} has no setting {name!r}; {hint}")
        try:
            return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
        except TypeError as error:
            raise ConfigError(f"{cls.__name__}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class ModelConfig(_Json):
    """The network, SPEC-complete: one class for both tasks, which differ by value only.

    `forecasting` and `classification` give the paper's two settings.
    """

    head: Head
    """"forecast": one row of `outputs` steps per series; "classify": `outputs` class scores per
    case; "regress": `outputs` numbers per case."""
    context_length: int
    """L, time steps the network reads."""
    outputs: int
    """H, the horizon, or K, the number of classes."""
    channels: int = 1
    """Channels that one patch reads together: 1 keeps every channel a series of its own."""

    patch_size: int = 32
    """P, time steps in a patch."""
    patch_stride: int = 16
    """S, time steps from one patch to the next."""
    padding: Padding = "repeat"
    """What fills the end up to a whole patch: the last value, zeros, or nothing (no padding)."""
    deformable: bool = True
    """Move and stretch each patch by predicted offsets; False keeps the patches uniform."""
    predictor_init: PredictorInit = "last_zero"
    """Offset predictor at the start: last layer zero (plain patches, alive), all zero (the
    authors' forecasting code: every patch keeps one common shift, whatever the data), or torch's
    default."""
    embed_norm: bool = False
    """GELU and BatchNorm after the patch projection."""

    d_model: int = 64
    """D, width of a token."""
    d_ff: int = 256
    """F, hidden width of the pointwise pair."""
    kernel_sizes: tuple[int, ...] = (9, 11, 15, 21, 29, 39)
    """One encoder block per entry, growing with depth: the hierarchy."""
    small_kernel: int = 3
    """Kernel merged into each large one while training; 0 trains the large one alone."""
    norm: Norm = "batch"
    """Normalisation inside the blocks."""
    residual: Residual = "learnable"
    """Residual branches scaled by a learnable number, or added as they are."""
    residual_init: float = 1e-8
    """Where the learnable residual scales start."""
    dropout: float = 0.2
    """Dropout probability inside the blocks."""
    head_dropout: float = 0.0
    """Dropout probability after the head's projection."""
    pooling: Pooling = "flatten"
    """How the tokens reach the head: all of them, their maximum or their mean over N."""
    quantiles: tuple[float, ...] = ()
    """Quantiles that the forecasting head gives, rising, 0.5 among them; none for a point
    forecast. With them the median is the point forecast."""

    masks: bool = False
    """Leave padding and missing values out of the network by a mask. Without, they are filled as in
    the paper: zeros behind a case's end, interpolated values inside it; tables by interpolation."""

    hist_exog: int = 0
    """Columns of covariates known up to now (forecasting)."""
    futr_exog: int = 0
    """Columns of covariates known ahead; their patches over the horizon become further tokens."""
    stat_exog: int = 0
    """Numbers that hold for a whole series."""
    stat_categories: tuple[int, ...] = ()
    """Categories of each text that does."""

    revin: bool = True
    """Instance normalisation of the context, undone after the head (forecasting)."""
    revin_subtract_last: bool = False
    """Subtract the last value instead of the mean."""
    revin_affine_channels: int = 0
    """Channels with a learnable scale and shift in RevIN; 0 for none. When set, the network
    serves exactly that many channels."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel_sizes", tuple(self.kernel_sizes))
        object.__setattr__(self, "stat_categories", tuple(self.stat_categories))
        object.__setattr__(self, "quantiles", tuple(self.quantiles))
        _require_choice("head", self.head, ("forecast", "classify", "regress"))
        _require_choice("padding", self.padding, ("repeat", "zeros", "none"))
        _require_choice("predictor_init", self.predictor_init, ("last_zero", "zero", "default"))
        _require_choice("norm", self.norm, ("batch", "layer"))
        _require_choice("residual", self.residual, ("learnable", "plain"))
        _require_choice("pooling", self.pooling, ("flatten", "max", "mean"))
        for name, least in (
            ("context_length", 1),
            ("outputs", 1),
            ("channels", 1),
            ("patch_size", 2),
            ("patch_stride", 1),
            ("d_model", 1),
            ("d_ff", 1),
            ("small_kernel", 0),
            ("revin_affine_channels", 0),
            ("hist_exog", 0),
            ("futr_exog", 0),
            ("stat_exog", 0),
        ):
            _require_whole(self, name, least)
        for name in ("dropout", "head_dropout"):
            value = getattr(self, name)
            _require(_is_number(value) and 0 <= value < 1, name, "at least 0 and below 1", value)
        start = self.residual_init
        finite = _is_number(start) and abs(start) < float("inf")
        _require(finite, "residual_init", "a finite number", start)
        small = self.small_kernel
        _require(
            len(self.kernel_sizes) > 0
            and all(isinstance(k, int) and k >= max(1, small) for k in self.kernel_sizes),
            "kernel_sizes",
            f"one or more whole numbers, none below small_kernel={small}",
            self.kernel_sizes,
        )
        whole = all(isinstance(n, int) and n >= 0 for n in self.stat_categories)
        _require(whole, "stat_categories", "whole numbers of at least 0", self.stat_categories)
        if self.padding == "none":
            _require(
                self.context_length >= self.patch_size,
                "context_length",
                f"at least patch_size={self.patch_size} when padding is 'none'",
                self.context_length,
            )
        rising = all(_is_number(q) and 0 < q < 1 for q in self.quantiles) and all(
            low < high for low, high in pairwise(self.quantiles)
        )
        _require(
            not self.quantiles or (rising and 0.5 in self.quantiles),
            "quantiles",
            "empty, or rising numbers between 0 and 1 with 0.5 among them",
            self.quantiles,
        )
        if self.head != "forecast":
            head, kinds = f"the head {self.head!r}", "hist_exog to stat_categories"
            found = self.hist_exog, self.futr_exog, self.stat_exog, self.stat_categories
            _require(not self.covariates, kinds, f"0 and empty for {head}", found)
            _require(not self.quantiles, "quantiles", f"empty for {head}", self.quantiles)
        if self.head == "forecast":
            _require(self.channels == 1, "channels", "1 for the forecasting head", self.channels)
        else:
            _require(not self.revin, "revin", f"False for the head {self.head!r}", self.revin)
        if self.revin_affine_channels:
            _require(self.revin, "revin", "True when revin_affine_channels is set", self.revin)

    def patches_in(self, length: int) -> int:
        """Number of patches of a series of `length` steps."""
        whole = (length - self.patch_size) // self.patch_stride
        return max(1, whole + (1 if self.padding == "none" else 2))

    @property
    def n_patches(self) -> int:
        """N, the number of patches of a context."""
        return self.patches_in(self.context_length)

    @property
    def n_tokens(self) -> int:
        """Tokens of a series: its patches, and those of known covariates over the horizon."""
        if not self.futr_exog:
            return self.n_patches
        return max(self.n_patches, self.patches_in(self.context_length + self.outputs))

    @property
    def covariates(self) -> bool:
        """Whether the network reads any."""
        kinds = (self.hist_exog, self.futr_exog, self.stat_exog, self.stat_categories)
        return any(kinds)

    @property
    def padded_length(self) -> int:
        """Time steps of a context after padding."""
        if self.padding == "none":
            return self.context_length
        return (self.n_patches - 1) * self.patch_stride + self.patch_size

    @classmethod
    def forecasting(cls, *, context_length: int, horizon: int, **settings: Any) -> Self:
        """The paper's forecasting network: every channel a series of its own, RevIN, repeat
        padding, residual scales from 1e-8 (SPEC sections 1 to 4)."""
        fixed = {"head": "forecast", "context_length": context_length, "outputs": horizon}
        return cls.from_dict({**settings, **fixed})

    @classmethod
    def classification(
        cls, *, channels: int, context_length: int, n_classes: int, **settings: Any
    ) -> Self:
        """The paper's classification network: channels patched jointly, zero padding, GELU and
        BatchNorm after the projection, residual scales from 0.5, maximum over the patches."""
        values: dict[str, Any] = {
            "padding": "zeros",
            "predictor_init": "default",
            "embed_norm": True,
            "residual_init": 0.5,
            "pooling": "max",
            "revin": False,
            "dropout": 0.1,
        }
        fixed = {
            "head": "classify",
            "channels": channels,
            "context_length": context_length,
            "outputs": n_classes,
        }
        return cls.from_dict({**values, **settings, **fixed})

    @classmethod
    def regression(cls, *, channels: int, context_length: int, **settings: Any) -> Self:
        """The classification network with one output: a number per case."""
        config = cls.classification(
            channels=channels, context_length=context_length, n_classes=1, **settings
        )
        return replace(config, head="regress")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(_Json):
    """How a network is trained; the same settings for both tasks."""

    protocol: Protocol = "honest"
    """"honest": a part of the training data chooses the epoch and every test window counts;
    "paper": as the authors' scripts (classes: the test set chooses; forecasts: incomplete last
    batches dropped)."""
    epochs: int = 10
    """Passes over the training data at most."""
    batch_size: int = 256
    """Windows (all channels each) or cases per step."""
    epoch_size: int | None = None
    """Examples that an epoch reads at most, drawn anew each time; None reads all of them."""
    loss: PointLoss | None = None
    """Loss of a point forecast: "mse" (also None), "mae" or "huber". The same score on the part
    held back chooses the epoch. Quantile heads train with the pinball loss, classes with
    cross-entropy."""
    huber_delta: float = 1.0
    """Error above which the Huber loss is linear, in the units the network sees: training
    standard deviations, unless `scale` is off."""
    lr: float = 5e-4
    """Adam's learning rate at the start."""
    lr_hold: int = 3
    """Epochs before the learning rate starts to fall."""
    lr_decay: float = 0.9
    """Factor of each fall."""
    lr_every: int = 1
    """Epochs from one fall to the next."""
    clip_norm: float | None = None
    """Largest gradient norm; None leaves gradients as they are."""
    patience: int | None = 3
    """Epochs without a better validation score before stopping; None trains to the end."""
    validation_fraction: float = 0.2
    """Part of the training data that chooses the epoch where no official part exists."""
    refit: bool | Literal["continue"] = False
    """Train again on all training data, the part held back too: True from new weights, for as many
    epochs as that part chose; "continue" goes on from the best weights for some more steps."""
    time_limit: float | None = None
    """Seconds after which training stops and keeps the best epoch so far; None for no limit."""
    memory_budget: float | None = None
    """GiB that a training step may take before activations are computed again instead of kept;
    None for four fifths of what the device has free."""
    checkpoint_seconds: float = 60.0
    """Seconds from one saved state of the training to the next; none is saved without a folder."""
    precision: Precision = "fp32"
    """Number format of the matrix products: "fp32"; "bf16", which estimators take for "fp32" where
    the fused CPU kernels run (a notice says so); or "int8", which trains in float32 and answers
    with the pointwise products in eight bits on CPU."""
    device: str = "auto"
    """"auto" (CUDA, then Apple's MPS, then CPU) or a torch device such as "cuda:1"."""
    seed: int = 2023
    """Seed of initial weights, batch order and dropout."""

    def __post_init__(self) -> None:
        _require_choice("protocol", self.protocol, ("honest", "paper"))
        _require_choice("precision", self.precision, ("fp32", "bf16", "int8"))
        for name, least in (("epochs", 1), ("batch_size", 1), ("lr_every", 1), ("lr_hold", 0)):
            _require_whole(self, name, least)
        _require_whole(self, "seed", 0)
        if self.epoch_size is not None:
            _require_whole(self, "epoch_size", 1)
        _require(self.seed < 2**32, "seed", "a whole number below 2**32", self.seed)
        _require(isinstance(self.device, str), "device", "a name such as 'cpu'", self.device)
        lr, decay, fraction = self.lr, self.lr_decay, self.validation_fraction
        _require(_is_number(lr) and 0 < lr < float("inf"), "lr", "above 0", lr)
        falls = _is_number(decay) and 0 < decay <= 1
        _require(falls, "lr_decay", "above 0 and at most 1", decay)
        _require_choice("loss", self.loss, (None, "mse", "mae", "huber"))
        _require_choice("refit", self.refit, (False, True, "continue"))
        delta = self.huber_delta
        _require(_is_number(delta) and 0 < delta < float("inf"), "huber_delta", "above 0", delta)
        holds = _is_number(fraction) and 0 <= fraction < 1
        _require(holds, "validation_fraction", "at least 0 and below 1", fraction)
        often = self.checkpoint_seconds
        rests = _is_number(often) and often >= 0
        _require(rests, "checkpoint_seconds", "at least 0", often)
        for name in ("clip_norm", "memory_budget", "patience", "time_limit"):
            value = getattr(self, name)
            above = value is None or (_is_number(value) and value > 0)
            _require(above, name, "above 0, or None", value)

    def learning_rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 1 (SPEC section 5)."""
        return self.lr * self.lr_decay ** (max(0, epoch - self.lr_hold) // self.lr_every)
