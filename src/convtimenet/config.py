"""Model and training settings: two frozen dataclasses, validated on construction.

Both are saved as JSON next to the weights, and the command line's flags are generated from them.
One file, because the settings of a run are looked up together; a third of it describes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import cos, pi
from typing import Any, Literal, Self, get_args

from convtimenet.settings import Settings, is_number, require, require_choice, require_whole

Head = Literal["forecast", "classify", "regress", "reconstruct", "contrast"]
Padding = Literal["repeat", "zeros", "none"]
PredictorInit = Literal["last_zero", "zero", "default"]
Norm = Literal["batch", "layer"]
Residual = Literal["learnable", "plain"]
Pooling = Literal["flatten", "max", "mean"]
Precision = Literal["fp32", "bf16", "int8"]
Protocol = Literal["honest", "paper"]
PointLoss = Literal["mse", "mae", "huber"]
Schedule = Literal["decay", "cosine"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Settings):
    """Architecture settings: one class for all tasks, which differ only in their values.

    `forecasting` and `classification` give the paper's settings for each.
    """

    head: Head
    """"forecast": one row of `outputs` steps per series; "classify": `outputs` class scores per
    case; "regress": `outputs` numbers per case. For pre-training without labels: "reconstruct", the
    `outputs` steps of the context itself; "contrast", `outputs` numbers per case to compare."""
    context_length: int
    """L, length of the context in time steps."""
    outputs: int
    """H, the horizon, or K, the number of classes; L to reconstruct the context."""
    channels: int = 1
    """Channels patched jointly; 1 treats every channel as a separate series."""

    patch_size: int = 32
    """P, patch length in time steps."""
    patch_stride: int = 16
    """S, time steps from one patch to the next."""
    padding: Padding = "repeat"
    """Padding of the end to a whole patch: the last value, zeros, or none."""
    deformable: bool = True
    """Shift and stretch each patch by predicted offsets; False keeps the patches uniform."""
    predictor_init: PredictorInit = "last_zero"
    """Initialisation of the offset predictor: last layer zero (starts from uniform patches and can
    learn), all zero (the authors' forecasting code: all patches share one offset, whatever the
    data), or torch's default."""
    embed_norm: bool = False
    """GELU and BatchNorm after the patch projection."""

    d_model: int = 64
    """D, token width."""
    d_ff: int = 256
    """F, hidden width of the feed-forward network."""
    kernel_sizes: tuple[int, ...] = (9, 11, 15, 21, 29, 39)
    """Depthwise kernel sizes, one encoder block each; usually growing with depth."""
    small_kernel: int = 3
    """Small kernel trained in parallel with each large one and merged into it; 0 for none."""
    norm: Norm = "batch"
    """Normalisation inside the blocks."""
    residual: Residual = "learnable"
    """Scale residual branches by a learnable number ("learnable"), or add them unscaled."""
    residual_init: float = 1e-8
    """Initial value of the learnable residual scales."""
    dropout: float = 0.2
    """Dropout probability inside the blocks."""
    head_dropout: float = 0.0
    """Dropout probability after the head's projection."""
    pooling: Pooling = "flatten"
    """How tokens are passed to the head: flattened, or their maximum or mean over N."""
    quantiles: tuple[float, ...] = ()
    """Quantiles the forecasting head predicts, in increasing order and including 0.5; empty for a
    point forecast. With quantiles, the median is the point forecast."""

    random_patches: int = 0
    """Groups of 64 random patches and one linear map, solved in closed form, whose scores are mixed
    with the head's; without kernel_sizes they are the whole network (classification and
    regression). 0 for the paper's network."""
    channel_sets: int = 1
    """Sets of channels in each group of random patches. One is read by all 64 patches; each of
    several by 16 of its own, so that more of many channels are read."""
    linear: bool = False
    """Add a linear map of the normalised context, solved in closed form, to the head's forecast;
    without kernel_sizes it is the whole network (forecasting)."""
    linear_channels: int = 0
    """Channels with a linear map of their own; 0 for one that serves all. If set, the network
    accepts exactly that many channels."""
    smoothings: int = 0
    """Exponential smoothings of each kind, whose mean is the whole network, without kernel_sizes
    and linear (forecasting)."""
    season: int = 1
    """Steps of a season, for smoothing and for the simple forecasts that the linear map is solved
    towards."""

    pretrained: bool = False
    """Use weights that were trained on generated series and come with the package: to forecast by
    quantiles of every patch (`convtimenet.network.reconstruction`), or with random_patches for
    features of cases beside them."""
    theta: float = 0.0
    """Share of a Theta line in the median of these quantiles, where a series has one."""

    effects: int = 0
    """Channels that linear effects of the covariates known ahead, solved in closed form, are added
    to and taken out of the context; 0 for none. If set, the network accepts exactly that many
    channels."""

    channel_mixing: int = 0
    """Messages through which channels read each other (forecasting); 0 for the paper's network,
    which forecasts each channel from itself alone."""
    mixed_channels: int = 0
    """Channels that read each other. If set, the network accepts exactly that many channels."""

    masks: bool = False
    """Mask padding and missing values inside the network. Without masks they are filled as in the
    paper: zeros after the end of a case, interpolation inside cases and in tables."""

    hist_exog: int = 0
    """Number of covariates known only up to the end of the context (forecasting)."""
    futr_exog: int = 0
    """Number of covariates known in advance; their patches over the horizon add tokens."""
    stat_exog: int = 0
    """Number of numeric static covariates."""
    stat_categories: tuple[int, ...] = ()
    """Number of categories of each categorical static covariate."""

    revin: bool = True
    """Instance normalisation of the context, reversed after the head (forecasting)."""
    revin_subtract_last: bool = False
    """Subtract the last value instead of the mean."""
    revin_affine_channels: int = 0
    """Channels with a learnable scale and shift in RevIN; 0 for none. If set, the network
    accepts exactly that many channels."""

    members: tuple[ModelConfig, ...] = ()
    """Networks whose answers are averaged, each with a config of its own; the other settings are
    then those that all of them share, and the first one's. Empty for a single network."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel_sizes", tuple(self.kernel_sizes))
        object.__setattr__(self, "stat_categories", tuple(self.stat_categories))
        object.__setattr__(self, "quantiles", tuple(self.quantiles))
        require_choice("head", self.head, get_args(Head))
        require_choice("padding", self.padding, ("repeat", "zeros", "none"))
        require_choice("predictor_init", self.predictor_init, ("last_zero", "zero", "default"))
        require_choice("norm", self.norm, ("batch", "layer"))
        require_choice("residual", self.residual, ("learnable", "plain"))
        require_choice("pooling", self.pooling, ("flatten", "max", "mean"))
        for name, minimum in _WHOLE.items():
            require_whole(self, name, minimum)
        for name in ("dropout", "head_dropout"):
            value = getattr(self, name)
            require(is_number(value) and 0 <= value < 1, name, "at least 0 and below 1", value)
        start = self.residual_init
        finite = is_number(start) and abs(start) < float("inf")
        require(finite, "residual_init", "a finite number", start)
        small = self.small_kernel
        groups = self.random_patches
        labels = self.head in ("classify", "regress")
        require(labels or not groups, "random_patches", f"0 to {self.head}", groups)
        if self.kernel_sizes or not (self.linear or groups or self.smoothings):
            require(
                len(self.kernel_sizes) > 0
                and all(isinstance(k, int) and k >= max(1, small) for k in self.kernel_sizes),
                "kernel_sizes",
                f"one or more whole numbers, none below small_kernel={small}",
                self.kernel_sizes,
            )
        whole = all(isinstance(n, int) and n >= 0 for n in self.stat_categories)
        require(whole, "stat_categories", "whole numbers of at least 0", self.stat_categories)
        if self.padding == "none":
            require(
                self.context_length >= self.patch_size,
                "context_length",
                f"at least patch_size={self.patch_size} when padding is 'none'",
                self.context_length,
            )
        increasing = all(is_number(q) and 0 < q < 1 for q in self.quantiles) and all(
            low < high for low, high in pairwise(self.quantiles)
        )
        require(
            not self.quantiles or (increasing and 0.5 in self.quantiles),
            "quantiles",
            "empty, or increasing numbers between 0 and 1 that include 0.5",
            self.quantiles,
        )
        if self.head != "forecast":
            head, kinds = f"the head {self.head!r}", "hist_exog to stat_categories"
            found = self.hist_exog, self.futr_exog, self.stat_exog, self.stat_categories
            require(not self.covariates, kinds, f"0 and empty for {head}", found)
            require(not self.quantiles, "quantiles", f"empty for {head}", self.quantiles)
        if self.linear:
            self._check_linear()
        if self.smoothings:
            require(self.head == "forecast", "smoothings", f"0 for the head {self.head!r}", True)
            whole = not (self.kernel_sizes or self.linear)
            require(whole, "smoothings", "0 with kernel_sizes or linear", self.smoothings)
            self._check_alone("with smoothings")
        if self.pretrained:
            self._check_pretrained()
        share, own = self.theta, self.pretrained and bool(self.quantiles)
        fits = is_number(share) and (0 <= share <= 1 if own else share == 0)
        require(fits, "theta", "0 to 1, 0 without pretrained and quantiles", share)
        self._check_mixing()
        self._check_members()
        own = self.linear_channels
        require(self.linear or not own, "linear_channels", "0 without linear", own)
        if self.head == "forecast":
            require(self.channels == 1, "channels", "1 for the forecasting head", self.channels)
        elif self.head == "reconstruct":
            require(self.masks, "masks", "True to reconstruct what is hidden", self.masks)
            L, own = self.context_length, self.outputs
            require(own == L, "outputs", f"context_length={L} to reconstruct it", own)
        else:
            require(not self.revin, "revin", f"False for the head {self.head!r}", self.revin)
        if self.revin_affine_channels:
            require(self.revin, "revin", "True when revin_affine_channels is set", self.revin)

    def _check_linear(self) -> None:
        """The linear map works on normalised contexts; alone it reads and gives nothing else."""
        require(self.head == "forecast", "linear", f"False for the head {self.head!r}", True)
        require(self.revin, "revin", "True with linear", self.revin)
        affine = self.revin_affine_channels
        require(not affine, "revin_affine_channels", "0 with linear", affine)
        if not self.kernel_sizes:
            self._check_alone("without kernel_sizes")

    def _check_alone(self, when: str) -> None:
        """What is solved in closed form gives nothing but series, and reads nothing else but
        covariates that it has effects of."""
        require(not self.quantiles, "quantiles", f"empty {when}", self.quantiles)
        found = self.hist_exog, self.stat_exog, self.stat_categories
        require(not any(found), "hist_exog to stat_categories", f"0 and empty {when}", found)
        futr = self.futr_exog
        require(bool(self.effects) or not futr, "futr_exog", f"0 {when} or effects", futr)

    def _check_pretrained(self) -> None:
        """The weights are those of quantiles of series, read without anything else."""
        if self.head in ("classify", "regress"):
            groups, kernels = self.random_patches, self.kernel_sizes
            require(groups > 0, "random_patches", "at least 1 with pretrained", groups)
            require(not kernels, "kernel_sizes", "empty with pretrained", kernels)
            return
        require(self.head == "forecast", "pretrained", f"False for the head {self.head!r}", True)
        kinds = self.linear, self.smoothings, self.effects, self.channel_mixing, self.covariates
        names = "linear, smoothings, effects, channel_mixing and covariates"
        require(not any(kinds), names, "unset with pretrained", kinds)

    def _check_mixing(self) -> None:
        """Channels tell each other of their patches; to classify, a patch holds all channels."""
        groups, channels = self.channel_mixing, self.mixed_channels
        if not groups:
            require(not channels, "mixed_channels", "0 without channel_mixing", channels)
            return
        together = f"0 for the head {self.head!r}, which reads all channels together"
        require(self.head == "forecast", "channel_mixing", together, groups)
        require(bool(self.kernel_sizes), "channel_mixing", "0 without kernel_sizes", groups)
        require(channels > 1, "mixed_channels", "at least 2 with channel_mixing", channels)
        for name in ("revin_affine_channels", "linear_channels"):
            own = getattr(self, name)
            require(own in (0, channels), name, f"0 or mixed_channels={channels}", own)

    def _check_members(self) -> None:
        """Members read the same series and answer in the same form; to forecast, their contexts are
        the ends of this one."""
        found = self.members
        listed = isinstance(found, (list, tuple))
        listed = listed and all(isinstance(one, (ModelConfig, Mapping)) for one in found)
        require(listed, "members", "configs of networks", found)
        configs = [one if isinstance(one, ModelConfig) else self.from_dict(one) for one in found]
        object.__setattr__(self, "members", tuple(configs))
        for n, one in enumerate(configs, 1):
            require(not one.members, f"members of member {n}", "empty", "members")
            for name in _SHARED:
                own, ours = getattr(one, name), getattr(self, name)
                require(own == ours, f"{name} of member {n}", repr(ours), own)
            own, whole = one.context_length, self.context_length
            fits = own <= whole if self.head == "forecast" else own == whole
            least = "at most " if self.head == "forecast" else ""
            require(fits, f"context_length of member {n}", f"{least}{whole}", own)
            fixed, own = self.fixed_channels, one.fixed_channels
            require(own in (0, fixed), f"channels of member {n}", f"{fixed}", own)

    def to_dict(self) -> dict[str, Any]:
        """As `Settings.to_dict`; a single network's config has no entry for members, and
        one without a Theta line none for that."""
        values = super().to_dict()
        for one in (values, *values["members"]):
            for name in ("members", "theta"):
                if not one[name]:
                    del one[name]
        return values

    def patches_in(self, length: int) -> int:
        """Number of patches in a series of `length` steps."""
        whole = (length - self.patch_size) // self.patch_stride
        return max(1, whole + (1 if self.padding == "none" else 2))

    @property
    def n_patches(self) -> int:
        """N, the number of patches in the context."""
        return self.patches_in(self.context_length)

    @property
    def n_tokens(self) -> int:
        """Tokens per series: patches of the context, and of future covariates over the horizon."""
        if not self.futr_exog:
            return self.n_patches
        return max(self.n_patches, self.patches_in(self.context_length + self.outputs))

    @property
    def fixed_channels(self) -> int:
        """Channels that a forecasting network accepts; 0 for any number."""
        kinds = ("revin_affine_channels", "linear_channels", "mixed_channels", "effects")
        return max(getattr(one, kind) for one in self.networks for kind in kinds)

    @property
    def covariates(self) -> bool:
        """Whether the network uses any covariates."""
        kinds = (self.hist_exog, self.futr_exog, self.stat_exog, self.stat_categories)
        return any(kinds)

    @property
    def padded_length(self) -> int:
        """Length of the context after padding, in time steps."""
        if self.padding == "none":
            return self.context_length
        return (self.n_patches - 1) * self.patch_stride + self.patch_size

    @property
    def least_context(self) -> int:
        """Steps of a context that must lie within its series; what is before them may be
        padding."""
        if not self.any_length:
            return self.context_length
        least = LEAST_PRETRAINED if self.pretrained else least_smoothed(self.season)
        return min(least, self.context_length)

    @property
    def any_length(self) -> bool:
        """Whether contexts may be shorter than `context_length`, as whole series are, and 0 means
        none, as logarithms need."""
        return bool(self.smoothings) or self.pretrained

    @property
    def networks(self) -> tuple[ModelConfig, ...]:
        """The configs of the members, or this one for a single network."""
        return self.members or (self,)

    @classmethod
    def forecasting(cls, *, context_length: int, horizon: int, **settings: Any) -> Self:
        """The paper's forecasting network: channel-independent, RevIN, repeat padding, residual
        scales initialised to 1e-8 (SPEC sections 1 to 4)."""
        fixed = {"head": "forecast", "context_length": context_length, "outputs": horizon}
        return cls.from_dict({**settings, **fixed})

    @classmethod
    def classification(
        cls, *, channels: int, context_length: int, n_classes: int, **settings: Any
    ) -> Self:
        """The paper's classification network: channels patched jointly, zero padding, GELU and
        BatchNorm after the projection, residual scales initialised to 0.5, max pooling."""
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
        """The classification network with a single real-valued output per case."""
        config = cls.classification(
            channels=channels, context_length=context_length, n_classes=1, **settings
        )
        return replace(config, head="regress")


LEAST_PRETRAINED = 3
"""Steps that the pre-trained network forecasts from."""


def least_smoothed(season: int) -> int:
    """Steps that exponential smoothing starts from: two seasons."""
    return max(2 * season, 3)


_WHOLE = (
    dict.fromkeys(("context_length", "outputs", "channels", "d_model", "d_ff"), 1)
    | {"patch_size": 2, "patch_stride": 1, "season": 1, "channel_sets": 1}
    | dict.fromkeys(("hist_exog", "futr_exog", "stat_exog", "small_kernel", "random_patches"), 0)
    | dict.fromkeys(("linear_channels", "mixed_channels", "revin_affine_channels"), 0)
    | dict.fromkeys(("smoothings", "channel_mixing", "effects"), 0)
)
"""Settings of a `ModelConfig` that are whole numbers, and the least of each."""
_SHARED = (
    *("head", "outputs", "channels", "masks", "quantiles", "revin"),
    *("hist_exog", "futr_exog", "stat_exog", "stat_categories"),
)
"""Settings that the members of a `ModelConfig` have in common with it."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """Training settings, the same for all tasks."""

    protocol: Protocol = "honest"
    """"honest": the epoch is selected on a validation split and every test window is scored;
    "paper": as in the authors' scripts (classification: selected on the test set; forecasting:
    incomplete last batches dropped)."""
    epochs: int = 10
    """Maximum number of passes over the training data."""
    batch_size: int = 256
    """Batch size, in windows (with all their channels) or cases."""
    epoch_size: int | None = None
    """Maximum number of examples per epoch, resampled every epoch; None uses all of them."""
    epoch_steps: int = 0
    """Minimum number of steps per epoch: where one pass has fewer, the examples are passed over
    again, each time in a new order; 0 for no minimum."""
    augment: bool = False
    """Change labelled cases at random in every step: warp their time, add noise, and mix them and
    their labels in pairs (classification and regression)."""
    loss: PointLoss | None = None
    """Loss of a point forecast: "mse" (also None), "mae" or "huber". The same loss on the
    validation split selects the epoch. Quantile heads train with the pinball loss, classifiers
    with cross-entropy."""
    huber_delta: float = 1.0
    """Error above which the Huber loss is linear, in the units the network sees: training
    standard deviations, unless `scale` is off."""
    lr: float = 5e-4
    """Initial learning rate of Adam."""
    encoder_rate: float = 1.0
    """Factor on the learning rate of the encoder (embedding and blocks), for one that starts from
    pre-trained weights; 0 keeps them as they are."""
    schedule: Schedule = "decay"
    """"decay": the rate falls by steps, and the validation split selects the epoch; "cosine": it
    falls to 0 along half a cosine over all epochs, whose last one is kept."""
    lr_hold: int = 3
    """Epochs before the learning rate starts to decay."""
    lr_decay: float = 0.9
    """Factor of each decay step."""
    lr_every: int = 1
    """Epochs between decay steps."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW), times the learning rate in each step; 0 for plain Adam."""
    clip_norm: float | None = None
    """Maximum gradient norm; None disables clipping."""
    patience: int | None = 3
    """Epochs without a better validation score before stopping; None disables early stopping."""
    validation_fraction: float = 0.2
    """Fraction of the training data used as the validation split where there is no official one."""
    refit: bool | Literal["continue"] = False
    """Train again on all training data, including the validation split: True from new weights for
    the selected number of epochs, "continue" from the best weights for some more steps."""
    time_limit: float | None = None
    """Seconds after which training stops and keeps the best epoch so far; None for no limit."""
    memory_budget: float | None = None
    """GiB a training step may use before activations are recomputed instead of kept; None for
    80 % of the device's free memory."""
    checkpoint_seconds: float = 60.0
    """Seconds between training checkpoints; none are saved without a checkpoint folder."""
    precision: Precision = "fp32"
    """Number format of the matrix products: "fp32"; "bf16", which estimators replace by "fp32"
    where the fused CPU kernels run (with a notice); or "int8", which trains in float32 and predicts
    with 8-bit pointwise products on CPU."""
    device: str = "auto"
    """"auto" (CUDA, then Apple's MPS, then CPU) or a torch device such as "cuda:1"."""
    seed: int = 2023
    """Random seed for the initial weights, batch order and dropout."""

    def __post_init__(self) -> None:
        require_choice("protocol", self.protocol, ("honest", "paper"))
        require_choice("precision", self.precision, ("fp32", "bf16", "int8"))
        require_choice("schedule", self.schedule, ("decay", "cosine"))
        for name in ("epochs", "batch_size", "lr_every"):
            require_whole(self, name, 1)
        for name in ("epoch_steps", "lr_hold", "seed"):
            require_whole(self, name, 0)
        if self.epoch_size is not None:
            require_whole(self, "epoch_size", 1)
        require(self.seed < 2**32, "seed", "a whole number below 2**32", self.seed)
        require(isinstance(self.device, str), "device", "a name such as 'cpu'", self.device)
        lr, decay, fraction = self.lr, self.lr_decay, self.validation_fraction
        require(is_number(lr) and 0 < lr < float("inf"), "lr", "above 0", lr)
        valid = is_number(decay) and 0 < decay <= 1
        require(valid, "lr_decay", "above 0 and at most 1", decay)
        require_choice("loss", self.loss, (None, "mse", "mae", "huber"))
        require_choice("refit", self.refit, (False, True, "continue"))
        for name in ("weight_decay", "checkpoint_seconds", "encoder_rate"):
            value = getattr(self, name)
            require(is_number(value) and value >= 0, name, "at least 0", value)
        require(isinstance(self.augment, bool), "augment", "True or False", self.augment)
        delta = self.huber_delta
        require(is_number(delta) and 0 < delta < float("inf"), "huber_delta", "above 0", delta)
        valid = is_number(fraction) and 0 <= fraction < 1
        require(valid, "validation_fraction", "at least 0 and below 1", fraction)
        for name in ("clip_norm", "memory_budget", "patience", "time_limit"):
            value = getattr(self, name)
            valid = value is None or (is_number(value) and value > 0)
            require(valid, name, "above 0, or None", value)
        early = self.schedule == "cosine" and self.patience is not None
        remedy = "None with schedule='cosine' (use schedule='decay' to stop early)"
        require(not early, "patience", remedy, self.patience)

    def learning_rate(self, epoch: int) -> float:
        """Learning rate of a 1-based epoch (SPEC section 5)."""
        if self.schedule == "cosine":
            return self.lr * (1 + cos(pi * (epoch - 1) / self.epochs)) / 2
        return self.lr * self.lr_decay ** (max(0, epoch - self.lr_hold) // self.lr_every)

    def examples_per_epoch(self, n: int) -> int:
        """Examples that an epoch reads of n; some more than once if it is above n."""
        return max(min(n, self.epoch_size or n), self.epoch_steps * self.batch_size)
