"""Pre-training: an encoder is trained on series without labels, for a later `fit` to start from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from typing import Any, Literal, Self, get_args

import numpy as np
import torch

from convtimenet.callbacks import checked
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.windows import Examples, Scaler
from convtimenet.devices import resolve_device
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.base import ConvTimeNetEstimator
from convtimenet.estimators.case_input import check_channels, examples_of, prepared, read
from convtimenet.estimators.embeddings import CaseEmbeddings
from convtimenet.estimators.presets.derived import (
    PRETRAINED,
    TUNED,
    UNTRAINED,
    cases_preset,
    from_package,
)
from convtimenet.estimators.pretrained import Pretrained
from convtimenet.estimators.trainings import Training
from convtimenet.network.precision import precision_on
from convtimenet.settings import require, require_choice
from convtimenet.training.interrupt import stop_requests

__all__ = [
    "PretrainableCases",
    "anew",
    "check_quality",
    "encoder_config",
    "pretrain_encoder",
    "schedule",
]

log = logging.getLogger(__name__)

Objective = Literal["reconstruct", "contrast"]
LR, EPOCHS, STEPS = 1e-3, 40, 50
"""Learning rate, epochs, and steps of each, unless the user says otherwise."""
_FEWEST_PATCHES = 3
_SERIES_ONLY: dict[str, Any] = {
    **dict.fromkeys(("random_patches", "linear_channels", "smoothings", "effects"), 0),
    **dict.fromkeys(("channel_mixing", "mixed_channels", "revin_affine_channels"), 0),
    **dict.fromkeys(("hist_exog", "futr_exog", "stat_exog"), 0),
    "channel_sets": 1,
    "linear": False,
    "quantiles": (),
    "stat_categories": (),
    "masks": True,
}


class PretrainableCases(CaseEmbeddings, ConvTimeNetEstimator):
    """Base of the classifier and the regressor; not used by itself."""

    quality: str

    def _start(self) -> Pretrained | None:
        return None if from_package(self.init_from) else super()._start()

    def pretrain(
        self,
        X: Any,
        *,
        objective: Objective = "reconstruct",
        n_epochs: int | None = None,
        resume: str | PathLike[str] | None = None,
    ) -> Self:
        """Train the network's encoder on cases without labels; the next `fit` starts from it.

        Only the network learns from them; random patches and the other parts of a model that are
        solved in closed form do not.

        Parameters
        ----------
        X
            Cases as for `fit`. Labels are not read, if there are any.
        objective
            "reconstruct": hidden spans of each case from what is around them; "contrast": which two
            randomly changed copies are of the same case.
        n_epochs
            Passes over the cases; by default 40 epochs of 50 steps each.
        resume
            Folder for checkpoints, as for `fit`.

        Returns
        -------
        The estimator with `pretrained_`: not fitted, as there is no answer to give yet.

        Raises
        ------
        DataError
            If the cases cannot be used.
        ConfigError
            If a setting is out of range, or the settings are of a model without a network.
        CheckpointError
            If `resume` holds the training of another run.
        """
        require_choice("objective", objective, get_args(Objective))
        check_quality(self.quality)
        if from_package(self.init_from):
            raise ConfigError(
                f"init_from={PRETRAINED!r} {UNTRAINED[PRETRAINED]} and trains no network, so "
                "pretrain() would have no effect; leave init_from out"
            )
        cases = read(X)
        n, C, L = cases.values.shape
        if objective == "contrast" and n < 2:
            raise DataError(f"to contrast cases there must be at least 2, found {n}; add some")
        with anew(self):
            own, training = self._network_settings(), self._settings("training")
            preset = cases_preset(self.quality, self.preset, (n, C, L), own, training)
            settings = self._model_settings(preset.model)
            config = encoder_config(
                ModelConfig.classification(channels=C, context_length=L, n_classes=1, **settings),
                objective,
            )
            train_config = schedule(self, preset.train, n_epochs, resume)
            device = resolve_device(train_config.device)
            cases = prepared(cases, config)
            check_channels(cases)
            no_labels = np.zeros(n, np.float32)
            scaler = Scaler.minus_one_to_one(cases.values)
            examples = examples_of(cases, no_labels, None, scaler, config, device)
            given = device, resume, cases.notices, cases.channels
            return pretrain_encoder(self, config, train_config, examples, *given)


@contextmanager
def anew(estimator: Any) -> Iterator[None]:
    """Pre-train without the encoder of an earlier call, which stays if this one gives none."""
    earlier = vars(estimator).pop("pretrained_", None)
    try:
        yield
    finally:
        if earlier is not None and not hasattr(estimator, "pretrained_"):
            estimator.pretrained_ = earlier


def check_quality(quality: object) -> None:
    """Refuse a model without a network that is trained.

    Raises
    ------
    ConfigError
        If the quality is one of those.
    """
    why = {**UNTRAINED, TUNED: "fine-tunes the weights that come with the package"}
    if quality in why:
        raise ConfigError(
            f"quality={quality!r} {why[str(quality)]}, so it has no encoder that could be "
            "pre-trained; use quality='auto'"
        )


def encoder_config(config: ModelConfig, objective: Objective) -> ModelConfig:
    """The network that pre-trains the encoder of another: the same one with another head, and
    without what is not trained or not read.

    Raises
    ------
    ConfigError
        If it has no blocks, or there is nothing to hide in its patches.
    """
    require(bool(config.kernel_sizes), "kernel_sizes", "given to pre-train a network", ())
    patches = config.n_patches
    if objective == "reconstruct" and patches < _FEWEST_PATCHES:
        raise ConfigError(
            f"the {config.context_length} steps of a series are {patches} patch(es) of "
            f"{config.patch_size}, expected {_FEWEST_PATCHES} or more, to hide one between others; "
            "use smaller patches: model={'patch_size': ..., 'patch_stride': ...}"
        )
    outputs = config.context_length if objective == "reconstruct" else config.d_model
    return replace(config, **_SERIES_ONLY, head=objective, outputs=outputs)


def schedule(
    estimator: ConvTimeNetEstimator,
    preset: Mapping[str, Any],
    n_epochs: int | None,
    resume: str | PathLike[str] | None,
) -> TrainConfig:
    """The training settings: the estimator's own, but for what only labels or a validation split
    decide; all steps along a cosine."""
    own = estimator._train_config({**preset, "lr": LR}, resume)
    size = {"epochs": EPOCHS, "epoch_steps": STEPS, "epoch_size": STEPS * own.batch_size}
    if n_epochs is not None:
        size = {"epochs": n_epochs, "epoch_steps": 0}
    return replace(
        own,
        **size,
        protocol="honest",
        schedule="cosine",
        patience=None,
        augment=False,
        loss=None,
        refit=False,
        encoder_rate=1.0,
    )


def pretrain_encoder(
    estimator: Any,
    config: ModelConfig,
    train_config: TrainConfig,
    examples: Examples,
    device: torch.device,
    resume: str | PathLike[str] | None,
    notices: Sequence[str] = (),
    channels: tuple[str, ...] | None = None,
) -> Any:
    """Train a network with the estimator's loop, from the encoder of `init_from` if there is one,
    and keep its encoder as `pretrained_`. Returns the estimator.

    Raises
    ------
    KeyboardInterrupt, Terminated
        If SIGINT or SIGTERM stopped training. The encoder so far is kept, if an epoch was finished.
    """
    checked(estimator.callbacks)
    precision, notice = precision_on(device, train_config.precision, config)
    train_config = replace(train_config, precision=precision)
    for text in (*notices, *([notice] if notice else [])):
        log.warning(text)
    start = estimator._start()
    if start is not None:
        start.check(config)
    training = Training(
        config, train_config, examples, None, device,
        "pretrain", "pre-training", train_config.seed, start=start,
    )  # fmt: skip
    with stop_requests() as stop:
        network, history = estimator._train_network(training, resume, stop)
    if history.best_epoch:
        estimator.pretrained_ = Pretrained.of(network, train_config, history, channels)
    if stop.signal:
        estimator._stop(stop, history, train_config, resume)
    return estimator
