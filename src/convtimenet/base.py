"""What the forecaster and the classifier share: settings, training, saving."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from convtimenet import artefact
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.errors import ConfigError
from convtimenet.inference import fuse
from convtimenet.model import ConvTimeNet
from convtimenet.training import History, autocast, resolve_device, seeded, train
from convtimenet.windows import Examples, Scaler, known_in

log = logging.getLogger(__name__)

EXOGENOUS = frozenset({"hist_exog", "futr_exog", "stat_exog", "stat_categories"})
# settings of `ModelConfig` that the data and the estimator's own parameters decide
DECIDED = frozenset({"head", "context_length", "outputs", "channels"}) | EXOGENOUS


class ConvTimeNetEstimator(BaseEstimator):
    """Base of the estimators; not used by itself.

    A subclass has the constructor parameters below, sets up its data in ``fit`` and calls
    `_fit_network`.
    """

    preset: str
    model: Mapping[str, Any] | None
    training: Mapping[str, Any] | None
    n_epochs: int | None
    batch_size: int | None
    lr: float | None
    time_limit: float | None
    precision: str
    device: str
    random_state: int
    verbose: int

    network_: ConvTimeNet
    """The trained network with its best weights."""
    fused_: ConvTimeNet
    """Its inference form, which predictions use."""
    train_config_: TrainConfig
    """How it was trained, preset and own settings together."""
    history_: History
    """Scores of every epoch."""
    scaler_: Scaler
    """Scaling fitted to the training data."""
    notices_: tuple[str, ...]
    """What was changed or decided about the data on the way."""

    def _train_config(self, preset: Mapping[str, Any]) -> TrainConfig:
        """The preset's training settings with the estimator's own on top."""
        own = {
            "epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "time_limit": self.time_limit,
        }
        fixed = {"precision": self.precision, "device": self.device, "seed": self.random_state}
        given = {name: value for name, value in own.items() if value is not None}
        return TrainConfig.from_dict({**preset, **fixed, **given, **(self.training or {})})

    def _model_settings(self, preset: Mapping[str, Any]) -> dict[str, Any]:
        """The preset's network settings with the estimator's own on top."""
        decided = DECIDED & set(self.model or {})
        if decided:
            raise ConfigError(
                f"model={{...}} holds {', '.join(sorted(decided))}, which the data and the "
                "estimator's own parameters decide; leave it out"
            )
        return {**preset, **(self.model or {})}

    def _fit_network(
        self,
        config: ModelConfig,
        train_config: TrainConfig,
        examples: Examples,
        valid: Examples | None,
        everything: Examples | None,
        device: torch.device,
        notices: Sequence[str],
    ) -> None:
        """Build and train the network; no attribute changes before that has worked.

        Parameters
        ----------
        examples, valid
            What the weights are fitted to, and what chooses the epoch, if anything does.
        everything
            Both together, for `TrainConfig.refit`; None where that makes no sense.
        notices
            What was changed or decided about the data.
        """
        begin = time.monotonic()
        with seeded(train_config.seed, device):
            network = ConvTimeNet(config).to(device)
            history = train(
                network, examples, valid, train_config, device=device, verbose=self.verbose
            )
        if train_config.refit and everything is not None and history.best_epoch:
            again, reason = _refit_config(train_config, history, time.monotonic() - begin)
            if again is None:
                notices = [*notices, reason]
            else:
                with seeded(again.seed, device):
                    network = ConvTimeNet(config).to(device)
                    label = "training on all data"
                    train(
                        network,
                        everything,
                        None,
                        again,
                        device=device,
                        verbose=self.verbose,
                        label=label,
                    )
                history.refitted = True
        self.network_, self.train_config_, self.history_ = network, train_config, history
        self.fused_, self.notices_ = fuse(network), tuple(notices)
        for notice in self.notices_:
            log.warning(notice)

    def _outputs(self, x: np.ndarray) -> np.ndarray:
        """What the inference network gives for scaled inputs (n, C, L), NaN where unknown:
        (n, C, H) or (n, K)."""
        device = next(self.fused_.buffers()).device
        results = []
        with torch.inference_mode(), autocast(device, self.train_config_):
            for part in torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).split(
                self.train_config_.batch_size
            ):
                part = part.to(device)
                results.append(self.fused_(part, known_in(part)).float().cpu())
        return torch.cat(results).numpy()

    def _remembered(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What a saved model must know of its data: JSON values and arrays."""
        raise NotImplementedError

    def _remember(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Inverse of `_remembered`."""
        raise NotImplementedError

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write the fitted model to a folder: safetensors and JSON, no pickle.

        Parameters
        ----------
        folder
            Made with its parents. A model already there is replaced, anything else refused.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before ``fit``.
        ArtefactError
            If something that is no model lies there.
        """
        check_is_fitted(self, "fused_")
        values, arrays = self._remembered()
        return artefact.save(
            folder,
            kind=type(self).__name__,
            model=self.network_,
            arrays={
                "scaler.centre": self.scaler_.centre,
                "scaler.scale": self.scaler_.scale,
                **arrays,
            },
            description=self.description(values),
        )

    def description(self, values: dict[str, Any] | None = None) -> dict[str, Any]:
        """Everything about the fitted model that is not numbers, as plain JSON values."""
        return {
            "parameters": self.get_params(),
            "train": self.train_config_.to_dict(),
            "history": self.history_.to_dict(),
            "notices": list(self.notices_),
            "data": self._remembered()[0] if values is None else values,
        }

    @classmethod
    def load(cls, folder: str | PathLike[str], device: str = "auto") -> Self:
        """Read a saved model; it predicts exactly as before it was saved.

        Parameters
        ----------
        folder
            Where `save` put it.
        device
            Where it shall run, whatever it was trained on.

        Raises
        ------
        ArtefactError
            If the folder is absent, incomplete, damaged, of a newer format or of another kind.
        """
        runs_on = resolve_device(device)
        network, description, arrays = artefact.load(folder, cls.__name__)
        with artefact.damaged(folder):
            estimator = cls(**description["parameters"])
            estimator.network_ = network.to(runs_on)
            estimator.train_config_ = TrainConfig.from_dict(description["train"])
            estimator.history_ = History.from_dict(description["history"])
            estimator.notices_ = tuple(description["notices"])
            estimator.scaler_ = Scaler(arrays.pop("scaler.centre"), arrays.pop("scaler.scale"))
            estimator._remember(description["data"], arrays)
        estimator.fused_ = fuse(estimator.network_)
        return estimator


def _refit_config(
    config: TrainConfig, history: History, seconds: float
) -> tuple[TrainConfig | None, str]:
    """How to train again on all data, or None and why not."""
    again = replace(config, epochs=history.best_epoch, patience=None, time_limit=None)
    needed = seconds * history.best_epoch / len(history.epochs)
    if config.time_limit is not None and seconds + needed > config.time_limit:
        return None, "the time limit left no time to train again on all data"
    return again, ""
