"""Hyper-parameters derived from the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from convtimenet.config import least_smoothed
from convtimenet.errors import ConfigError
from convtimenet.estimators.presets.paper import Preset, paper_preset

AUTO_TRAIN: dict[str, Any] = {
    "epochs": 40,
    "lr": 1e-3,
    "schedule": "cosine",
    "weight_decay": 0.05,
    "augment": True,
    "clip_norm": 4.0,
    "patience": None,
    "refit": "continue",
}
_STEPS, _FEWEST_STEPS, _PASSES = 50, 4, 15  # steps of an epoch; passes over many cases
_PER_PATCH, _PER_VALUE, _PER_STEP = 27e-6, 60e-9, 0.052  # seconds on one CPU core, as measured


def auto_forecast(
    rows: int,
    horizon: int,
    context_length: int | None = None,
    series: int = 1,
    season: int = 1,
    channels: int = 1,
    own_epochs: bool = False,
) -> Preset:
    """Settings for a table that is not in the paper, from its number of rows (of several series:
    `convtimenet.data.split.typical_size`).

    A network beside a linear stream. The context is the first of `contexts_for`, until the best
    one is known. The patch size shrinks with the context so that there are always several patches,
    and the batch size so that an epoch has at least 30 steps. An epoch reads at most 2,048 windows,
    for several series 32,768, drawn anew each time. Where it reads all of them, and soon, there are
    up to 40 epochs instead of 15, the first half at the full learning rate
    (docs/design/choosing-the-epoch.md), unless the user has epochs of their own (`own_epochs`).
    """
    if context_length is None:
        context_length = contexts_for(rows, horizon, season)[0]
    patch, stride = patch_for(context_length)
    windows = max(1, rows - context_length - horizon + 1) * series
    n_patches = (context_length - patch) // stride + 2
    epochs: dict[str, Any] = {"epochs": 15, "patience": 4}
    most = min(_MOST_EPOCHS, _SEQUENCES // (windows * channels))
    all_read = windows <= _EPOCH and windows * channels >= _FEWEST_SEQUENCES
    if all_read and most > epochs["epochs"] and not own_epochs:
        epochs = {"epochs": most, "patience": 10, "lr_hold": most // 2, "lr_decay": 0.85}
    return Preset(
        model={
            "patch_size": patch,
            "patch_stride": stride,
            "kernel_sizes": kernels_for(n_patches),
            "masks": True,
            "linear": True,
            "season": season,
        },
        train={
            **epochs,
            "batch_size": batch_for(windows, 256),
            "lr": 2e-4,
            "loss": "mae",
            "refit": "continue",
            "epoch_size": PANEL_EPOCH if series > 1 else _EPOCH,
        },
        context_length=context_length,
    )


def auto_classify(n_cases: int, channels: int, length: int, own_epochs: bool = False) -> Preset:
    """Settings for labelled cases that are not in the paper, from their number and size.

    About 50 half-overlapping patches per case, of 4 to 64 steps; kernels in the middle of the
    paper's range; random patches beside them. Training takes 2,000 steps, or 15 passes over the
    cases if those are more; fewer, at least 160, of cases so long or of so many channels that these
    would take more than about two minutes on one CPU core. With a number of epochs of the user's
    own (`own_epochs`), an epoch is one pass, in at least about 30 steps.
    """
    patch = 2
    while patch < 64 and length / patch > 25:
        patch *= 2
    patch = max(2, min(patch, length))
    stride = max(1, patch // 2)
    n_patches = max(1, (length - patch) // stride + 2)
    own = {"batch_size": batch_for(n_cases, 32)}
    size, passes = max(8, min(32, n_cases)), -(-_PASSES * n_cases // AUTO_TRAIN["epochs"])
    cost = size * (_PER_PATCH * n_patches + _PER_VALUE * channels * length)
    steps = max(_FEWEST_STEPS, min(_STEPS, int(_STEPS * _PER_STEP / cost)))
    counted = {"batch_size": size, "epoch_steps": steps, "epoch_size": max(size, passes)}
    return Preset(
        model={
            "patch_size": patch,
            "patch_stride": stride,
            "kernel_sizes": kernels_for(n_patches),
            "dropout": 0.2,
            "pooling": "mean",
            "masks": True,
            **patches_for(n_cases, channels),
        },
        train=AUTO_TRAIN | (own if own_epochs else counted),
    )


def forecast_preset(
    quality: object,
    preset: str,
    rows: int,
    horizon: int,
    context_length: int | None,
    series: int,
    channels: int,
    season: int,
    given: Mapping[str, Any],
    training: Mapping[str, Any],
) -> Preset:
    """The settings of a forecaster.

    Parameters
    ----------
    quality, preset, given, training
        As for `cases_preset`.
    rows, horizon, context_length, series, channels
        As for `auto_forecast`.
    season
        Steps of a season.

    Raises
    ------
    ConfigError
        As `cases_preset`.
    """
    if trains_nothing(quality, preset, given, training, USED_IF_LINEAR, FORECAST_QUALITIES):
        return fast_forecast(rows, horizon, context_length, season)
    if preset == "auto":
        own_epochs = given.get("n_epochs") is not None or bool({*training} & _HOW_LONG)
        size = rows, horizon, context_length, series, season, channels
        auto = auto_forecast(*size, own_epochs)
        return replace(auto, portfolio=quality == "best")
    return paper_preset(preset, "forecast")


def fast_forecast(
    rows: int, horizon: int, context_length: int | None = None, season: int = 1
) -> Preset:
    """The linear stream alone: seconds. The context is the first of `contexts_for`, until the
    best one is known."""
    return Preset(
        model={"linear": True, "season": season, "kernel_sizes": (), "masks": True},
        train={"epochs": 1, "batch_size": 256, "refit": True},
        context_length=context_length or contexts_for(rows, horizon, season)[0],
    )


def too_few(rows: int, series: int, channels: int, horizon: int) -> bool:
    """Whether so many series of `rows` training rows are too few for `quality="auto"` or "best" to
    train a network: a validation split of a fifth of them could not tell whether it helps."""
    return rows * series * channels < FEWEST_HORIZONS * horizon


def smoothing_forecast(rows: int, longest: int, horizon: int, season: int) -> Preset | None:
    """Exponential smoothing of whole series, up to 200 rows or six seasons; None for series too
    long to need it, or too short to choose its parameters from.

    Parameters
    ----------
    rows, longest
        Training rows of a typical series, and all rows of the longest.
    """
    preset = Preset(
        model={"smoothings": 8, "season": season, "kernel_sizes": (), "masks": True},
        train={"epochs": 1, "batch_size": 2048, "refit": True},
        context_length=min(longest, max(_SMOOTHED, 6 * season)),
    )
    least = least_smoothed(season) + horizon
    return preset if least <= rows <= min(_SHORT, _SHORT_HORIZONS * horizon) else None


def contexts_for(rows: int, horizon: int, season: int = 1) -> list[int]:
    """Contexts to choose from for series of that many rows, in the order of preference.

    For short series first as long a context as leaves as many windows as steps of it, because what
    is old can be discounted, and what is not read cannot be used; then four and two seasons.
    """
    room = max(2, (rows - horizon) // 2)
    long = [context for context in _CONTEXTS if context <= room]
    seasons = [4 * season, 2 * season] if season > 1 else []
    return long or [room, *(context for context in seasons if context < room)]


def next_context(contexts: Sequence[int], chosen: int) -> list[int]:
    """The context after the chosen one of `contexts_for`, or before it if it is the last; none if
    there is no other."""
    at = contexts.index(chosen)
    return [*contexts[at + 1 :], *contexts[:at][::-1]][:1]


def cases_preset(
    quality: object,
    preset: str,
    shape: tuple[int, int, int],
    given: Mapping[str, Any],
    training: Mapping[str, Any],
) -> Preset:
    """The settings of a classifier or regressor.

    Parameters
    ----------
    quality, preset
        Parameters of the estimator.
    shape
        (n, C, L) of the training cases.
    given
        What only a trained network uses, by name; None where it is not given.
    training
        The estimator's own settings of `TrainConfig`.

    Raises
    ------
    ConfigError
        If there is no such quality or preset, or a parameter would have no effect.
    """
    if from_package(given.get("init_from")):
        other = {} if quality == "auto" else {f"quality={quality!r}": quality}
        given = {**given, "init_from": None, **other}
        used, tuned = (*USED_IF_FAST, "encoder_rate"), bool(training.get("encoder_rate"))
        own_epochs = given.get("n_epochs") is not None or "epochs" in training
        if tuned:
            given = {**given, **dict.fromkeys(("n_epochs", "batch_size", "lr", "time_limit"))}
            used = tuple({*training} - _UNUSED_IF_TUNED)
        trains_nothing(PRETRAINED, preset, given, training, used, (PRETRAINED,))
        fast, own = fast_cases(*shape[:2]), dict(_CASES_TUNED) if tuned else {"encoder_rate": 0.0}
        if own_epochs:  # each is one pass
            own = {name: one for name, one in own.items() if name not in _OF_AN_EPOCH}
        return Preset(model={**fast.model, "pretrained": True}, train={**fast.train, **own})
    if trains_nothing(quality, preset, given, training, USED_IF_FAST, QUALITIES):
        return fast_cases(*shape[:2])
    if preset == "auto":
        own_epochs = given.get("n_epochs") is not None or "epochs" in training
        auto = auto_classify(*shape, own_epochs)
        return replace(auto, portfolio=quality == "best")
    return paper_preset(preset, "classify")


def trains_nothing(
    quality: object,
    preset: str,
    given: Mapping[str, Any],
    training: Mapping[str, Any],
    used: tuple[str, ...],
    qualities: tuple[str, ...],
) -> bool:
    """Whether the quality trains nothing ("fast", "pretrained"); refuses what would then have no
    effect, all but `used`, and a preset of the paper for "best"."""
    if quality not in qualities:
        raise ConfigError(
            f"quality must be one of {', '.join(map(repr, qualities))}, found {quality!r}"
        )
    if quality == "best" and preset != "auto":
        raise ConfigError(
            f"quality='best' trains networks of its own settings, so preset={preset!r} would have "
            "no effect; leave preset out or use quality='auto'"
        )
    if quality not in UNTRAINED:
        return False
    useless = [name for name, value in given.items() if value is not None]
    useless += [] if preset == "auto" else ["preset"]
    useless += [f"training={{{name!r}: ...}}" for name in training if name not in used]
    if useless:
        own = qualities == (PRETRAINED,)  # of cases, by another parameter
        how = "init_from='pretrained'" if own else f"quality={quality!r}"
        remedy = "init_from=None" if own else "quality='auto'"
        raise ConfigError(
            f"{how} {UNTRAINED[str(quality)]}, so "
            f"{', '.join(useless)} would have no effect; leave it out or use {remedy}"
        )
    return True


def from_package(init_from: object) -> bool:
    """Whether the parameter `init_from` of an estimator of cases means the package's weights."""
    return isinstance(init_from, str) and init_from == PRETRAINED


def fast_cases(n_cases: int, channels: int) -> Preset:
    """Random patches and a linear map in closed form: seconds, and no validation split."""
    return Preset(
        model={"kernel_sizes": (), "masks": True, **patches_for(n_cases, channels)},
        train={"epochs": 1, "batch_size": 64, "validation_fraction": 0.0, "refit": False},
    )


def patches_for(n_cases: int, channels: int) -> dict[str, int]:
    """24 groups of random patches; of more than 16 channels, one set of channels in each group for
    every 4 of them, 4 to 24. Fewer sets, then fewer groups, for cases so many that the features
    would take more than about 300 MB (5,000 of few channels)."""
    room, sets, each = _FEATURE_ROOM // n_cases, 1, 4 * _OF_SET
    if channels > _READ_BY_ALL:
        wanted = min(_MOST_SETS, -(-channels // 4), room // (_GROUPS * _OF_SET))
        sets = max(_FEWEST_SETS, wanted)
        each = sets * _OF_SET
    groups = max(_FEWEST_GROUPS, min(_GROUPS, room // each))
    return {"random_patches": groups, "channel_sets": sets}


def patch_for(context_length: int) -> tuple[int, int]:
    """Patch size and stride: 32 and 16 as in the paper, smaller for short contexts."""
    patch = max(2, min(32, context_length // 4 // 2 * 2))
    return patch, patch // 2


def kernels_for(n_patches: int, blocks: int = 6, span: float = 1.0) -> tuple[int, ...]:
    """A kernel size for each block, growing with depth; the largest, 7 to 37, spans about all
    patches, or that fraction of them."""
    largest = max(7, min(37, round(span * n_patches) // 2 * 2 + 1))
    shares = (_GROWTH[3 * block // blocks] for block in range(blocks))
    return tuple(round(3 + (largest - 3) * share) // 2 * 2 + 1 for share in shares)


PANEL_EPOCH = 2**15  # 128 steps of 256 windows
QUALITIES = ("fast", "auto", "best")
PRETRAINED = "pretrained"
TUNED = "tuned"
"""Qualities of forecasters only."""
FORECAST_QUALITIES = (*QUALITIES, PRETRAINED, TUNED)
UNTRAINED = {
    "fast": "solves for its weights and trains no network",
    PRETRAINED: "uses the weights that come with the package",
}
"""Qualities that train nothing, and why."""
UNUSED_IF_FAST = ("n_epochs", "batch_size", "lr", "time_limit", "precision")
_GROUPS, _FEWEST_GROUPS = 24, 4
_FEWEST_SETS, _MOST_SETS, _OF_SET = 4, 24, 80  # and features of one of several sets
_READ_BY_ALL = 16  # channels that one set in each group is enough for
_EPOCH = 2048
_MOST_EPOCHS, _SEQUENCES, _FEWEST_SEQUENCES = 40, 2**18, 1000
"""Epochs of windows that are all read in each; contexts of one channel that they read together, at
most; and contexts in an epoch below which more of it do not help."""
_HOW_LONG = {"epochs", "patience", "lr_hold", "lr_decay", "lr_every", "schedule"}
_SHORT, _SMOOTHED = 2000, 200  # rows
_SHORT_HORIZONS = 100
_CONTEXTS = (336, 512, 720)
FEWEST_HORIZONS = 50
"""Horizons in the training rows of all channels for a network, see `too_few`."""
MOST_MAPS = 64
"""Channels up to which each may have a linear map of its own."""
USED_IF_FAST = ("protocol", "seed", "device", "checkpoint_seconds")
"""Settings of `TrainConfig` that closed forms use."""
USED_IF_LINEAR = (*USED_IF_FAST, "validation_fraction", "refit")
"""The same for the linear stream alone."""
_FEATURE_ROOM = 4 * 10**7  # numbers
_CASES_TUNED = {
    "lr": 5e-4,
    "schedule": "cosine",
    "weight_decay": 0.01,
    "clip_norm": 1.0,
    "patience": None,
    "batch_size": 32,
    "epoch_size": 128,
    "epoch_steps": 4,
    "epochs": 10,
    "augment": True,
}
"""Fine-tuning of the package's weights below the map of their features: 40 steps."""
_OF_AN_EPOCH = ("epoch_size", "epoch_steps")
_UNUSED_IF_TUNED = {"validation_fraction", "refit", "precision", "loss", "huber_delta"}
_GROWTH = (0.4, 0.7, 1.0)


def batch_for(n_examples: int, most: int) -> int:
    """Batch size for at least about 30 steps an epoch, from 8 to `most`."""
    size = most
    while size > 8 and n_examples / size < 30:
        size //= 2
    return size
