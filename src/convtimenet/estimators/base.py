"""What all estimators share: settings, training, saving."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn, Self, cast

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from convtimenet.config import ModelConfig, Precision, TrainConfig
from convtimenet.data.windows import Examples, Scaler, known_in
from convtimenet.devices import RandomNumbers, autocast, device_of, resolve_device
from convtimenet.errors import ConfigError, DataError, TrainingError
from convtimenet.estimators.parameters import DECIDED, NamedParameters
from convtimenet.estimators.second_training import second_config
from convtimenet.network.inference import fuse
from convtimenet.network.memory import Parts
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.networks import network_of
from convtimenet.network.other import OtherNetwork
from convtimenet.network.precision import precision_on
from convtimenet.progress import counted
from convtimenet.storage import model_folder
from convtimenet.storage.remembered import scaler_of
from convtimenet.training.checkpoint import Checkpoints, data_hash, seed_of
from convtimenet.training.history import History
from convtimenet.training.interrupt import StopRequest, stop_requests
from convtimenet.training.loop import train

log = logging.getLogger(__name__)

_LABELS = {"choose": "training", "refit": "training on all data"}


class ConvTimeNetEstimator(NamedParameters):
    """Base of the estimators; not used by itself.

    A subclass has the parameters below, sets up its data in ``fit`` and calls `_fit_network`.
    """

    preset: str
    n_epochs: int | None
    batch_size: int | None
    lr: float | None
    time_limit: float | None
    precision: str
    device: str
    random_state: int | np.random.RandomState | None
    verbose: int

    network_: ConvTimeNet
    """The trained network, with the weights of the best epoch."""
    fused_: ConvTimeNet
    """The same network fused for inference; predictions use it."""
    train_config_: TrainConfig
    """Training settings in effect: the preset's with the estimator's own on top."""
    history_: History
    """Scores of every epoch."""
    scaler_: Scaler
    """Scaler fitted to the training data."""
    n_examples_: dict[str, int] | None
    """Number of windows or cases in the training split ("fitted") and in the validation split
    ("held_back"); None for a model saved in format 1, which does not record them."""
    notices_: tuple[str, ...]
    """Notices: how the data were cleaned or interpreted, and what happened during training."""

    def _train_config(
        self, preset: Mapping[str, Any], resume: str | PathLike[str] | None
    ) -> TrainConfig:
        """The preset's training settings with the estimator's own on top."""
        own = {
            "epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "time_limit": self.time_limit,
        }
        fixed = {"precision": self.precision, "device": self.device, "seed": self._seed(resume)}
        given = {name: value for name, value in own.items() if value is not None}
        return TrainConfig.from_dict({**preset, **fixed, **given, **self._settings("training")})

    def _seed(self, resume: str | PathLike[str] | None) -> Any:
        """`random_state` as an integer seed, drawn if it is a `RandomState` or None; a resumed
        training keeps the seed it started with."""
        given = self.random_state
        if given is None and resume is not None and (started := seed_of(resume)) is not None:
            return started
        if given is None or isinstance(given, np.random.RandomState):
            return int(check_random_state(given).randint(2**31))
        return given

    def _model_settings(self, preset: Mapping[str, Any]) -> dict[str, Any]:
        """The preset's network settings with the estimator's own on top."""
        own = self._settings("model")
        decided = DECIDED & set(own)
        if decided:
            raise ConfigError(
                f"model={{...}} holds {', '.join(sorted(decided))}, which the data and the "
                "estimator's parameters determine; leave it out"
            )
        return {**preset, **own}

    def _fit_network(
        self,
        config: ModelConfig,
        train_config: TrainConfig,
        examples: Examples,
        valid: Examples | None,
        all_examples: Examples | None,
        device: torch.device,
        read_notices: Sequence[str],
        notices: Sequence[str],
        *,
        resume: str | PathLike[str] | None = None,
        refitted: Mapping[str, Any] | None = None,
        **fitted: Any,
    ) -> None:
        """Build and train the network. Attributes are set only after training has succeeded, and
        those of an earlier fit are removed then.

        Parameters
        ----------
        examples, valid
            Training split, and validation split or None.
        all_examples
            Both splits together, for `TrainConfig.refit`; None without a second training, or if
            the caller runs it later.
        read_notices
            Notices from reading the data, already logged.
        notices
            Later notices about the data, logged here.
        resume
            Folder of checkpoints to resume from and to write.
        refitted
            Attributes that replace those in `fitted` after a second training on `all_examples`.
        fitted
            Further attributes, set together with those of the network.

        Raises
        ------
        KeyboardInterrupt, Terminated
            If SIGINT or SIGTERM stopped training. The best weights so far are kept, if any.
        """
        precision, notice = precision_on(device, train_config.precision, config)
        train_config = replace(train_config, precision=precision)
        notices = [*notices, notice] if notice else notices
        for notice in notices:
            log.warning(notice)
        with stop_requests() as stop:
            network, history = self._train_network(
                config, train_config, examples, valid, device, resume, stop, "choose"
            )
        if history.best_epoch:
            fused = fuse(network, train_config.precision)
            for name in [n for n in vars(self) if n.endswith("_") and n[0] != "_"]:
                delattr(self, name)
            vars(self).update(fitted)
            self.network_, self.train_config_, self.history_ = network, train_config, history
            self.fused_ = fused
            self.notices_ = (*read_notices, *notices, *history.notes)
            self.n_examples_ = {
                "fitted": len(examples),
                "held_back": 0 if valid is None else len(valid),
            }
            for note in history.notes:
                log.warning(note)
        if stop.signal:
            self._stop(stop, history, train_config, resume)
        to_refit = all_examples if train_config.refit else None
        if to_refit is not None and self._train_again(to_refit, device, resume):
            vars(self).update(refitted or {})

    def _train_again(
        self, all_examples: Examples, device: torch.device, resume: str | PathLike[str] | None
    ) -> bool:
        """Second training, on all examples, as `TrainConfig.refit` says; predictions use its
        weights from then on. Returns False, with a notice saying why, if the first training's
        weights are kept.

        Raises
        ------
        KeyboardInterrupt, Terminated
            If SIGINT or SIGTERM stopped training. The first training's weights are kept.
        """
        train_config, history = self.train_config_, self.history_
        again, reason = second_config(train_config, history, self._epoch_ratio(all_examples))
        if again is not None:
            start = self.network_.state_dict() if train_config.refit == "continue" else None
            config = self.network_.config
            with stop_requests() as stop:
                try:
                    network, second = self._train_network(
                        config, again, all_examples, None, device, resume, stop, "refit", start
                    )
                except TrainingError as error:
                    network, second, reason = None, None, f"the second training failed: {error}"
            if stop.signal:
                self._stop(stop, history, train_config, resume)
            if network is not None and second is not None:
                kept = [
                    one for one in self.notices_ if start is not None or one not in history.notes
                ]
                new = [one for one in second.notes if one not in kept]
                self.network_, self.fused_ = network, fuse(network, train_config.precision)
                self.history_, self.notices_ = replace(history, refitted=True), (*kept, *new)
                for note in new:
                    log.warning(note)
                return True
        self.notices_ = (*self.notices_, reason)
        log.warning(reason)
        return False

    def _stop(
        self,
        stop: StopRequest,
        history: History,
        train_config: TrainConfig,
        resume: str | PathLike[str] | None,
    ) -> NoReturn:
        """Log what is kept, and raise the signal's exception."""
        drawn = isinstance(self.random_state, np.random.RandomState)
        seed = train_config.seed if drawn else None
        message = _stopped_message(stop, history, resume, seed)
        log.warning(message)
        raise stop.error(message)

    def _epoch_ratio(self, all_examples: Examples) -> float:
        """Examples per epoch of the first training, divided by those of the second."""
        sizes, read = self.n_examples_, self.train_config_.examples_per_epoch
        fitted = len(all_examples) if sizes is None else sizes["fitted"]
        return read(fitted) / read(len(all_examples))

    def _train_network(
        self,
        config: ModelConfig,
        train_config: TrainConfig,
        examples: Examples,
        valid: Examples | None,
        device: torch.device,
        resume: str | PathLike[str] | None,
        stop: StopRequest,
        phase: str,
        start: Mapping[str, torch.Tensor] | None = None,
    ) -> tuple[ConvTimeNet, History]:
        """Train a network from new weights, or from those of `start`; resumes from a checkpoint
        in the folder `resume`."""
        checkpoints = None
        if resume is not None:
            # these change neither weights nor history and may differ when resuming
            free = ("checkpoint_seconds", "memory_budget", "device")
            settings = {k: v for k, v in train_config.to_dict().items() if k not in free}
            run = {
                "estimator": type(self).__name__,
                "device": device.type,
                "model": config.to_dict(),
                "training": settings,
                "training data": data_hash(examples),
                "validation data": data_hash(valid),
            }
            checkpoints = Checkpoints(resume, phase, run)
        numbers = RandomNumbers(train_config.seed, device)
        with numbers.for_weights():
            network = cast(ConvTimeNet, self._new_network(config))
        if start is not None:
            network.load_state_dict(start)
        elif phase == "refit" and hasattr(network, "granted"):
            network.granted.copy_(self.network_.granted)
        history = train(
            network.to(device),
            examples,
            valid,
            train_config,
            device=device,
            numbers=numbers,
            verbose=self.verbose,
            label=_LABELS.get(phase, phase),
            checkpoints=checkpoints,
            stop=stop,
        )
        return network, history

    def _new_network(self, config: ModelConfig) -> ConvTimeNet | OtherNetwork:
        """The network to train, with new weights; overridden for another network."""
        return network_of(config)

    def _outputs(
        self, x: np.ndarray, prepare: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> np.ndarray:
        """Outputs of the inference network, (n, C, H) or (n, K), for inputs (n, C, L) with NaN
        where missing.

        Parameters
        ----------
        prepare
            Scales inputs, a batch at a time, so that the whole input is never copied.
        """
        device = device_of(self.fused_)
        size, parts = self.train_config_.batch_size, Parts("predicting")
        result: np.ndarray | None = None

        def compute(part: np.ndarray) -> torch.Tensor:
            scaled = part if prepare is None else prepare(part)
            inputs = torch.from_numpy(np.ascontiguousarray(scaled, dtype=np.float32)).to(device)
            return self.fused_(inputs, known_in(inputs)).float().cpu()

        with torch.inference_mode(), autocast(device, self.train_config_):
            for first in counted(range(0, max(1, len(x)), size)):
                chunk, done = x[first : first + size], first
                for output in parts.run(len(chunk), lambda part, chunk=chunk: compute(chunk[part])):
                    if result is None:
                        result = np.empty((len(x), *output.shape[1:]), dtype=np.float32)
                    result[done : done + len(output)] = output.numpy()
                    done += len(output)
        assert result is not None
        return finite(result)

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What a saved model keeps about its data: JSON values and arrays."""
        raise NotImplementedError

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Inverse of `_saved_state`."""
        raise NotImplementedError

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write the fitted model to a folder: safetensors and JSON, no pickle; a model card to
        fill in; and a manifest against which every file is verified on loading.

        Parameters
        ----------
        folder
            Created with its parents. A model already there is replaced; anything else is an error.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before ``fit``.
        ArtefactError
            If the folder holds something other than a model.
        """
        check_is_fitted(self, "fused_")
        values, arrays = self._saved_state()
        return model_folder.save(
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
        """Everything about the fitted model except its arrays, as plain JSON values."""
        return {
            "parameters": self.get_params() | {"random_state": self.train_config_.seed},
            "train": self.train_config_.to_dict(),
            "history": self.history_.to_dict(),
            "examples": self.n_examples_,
            "notices": list(self.notices_),
            "data": self._saved_state()[0] if values is None else values,
        }

    @classmethod
    def load(
        cls,
        folder: str | PathLike[str],
        device: str = "auto",
        *,
        precision: Precision | None = None,
    ) -> Self:
        """Load a saved model; it predicts exactly as it did before it was saved.

        Parameters
        ----------
        folder
            The folder that `save` wrote.
        device
            Device to run on, whatever it was trained on.
        precision
            Precision of predictions: "fp32", "bf16" or "int8"; by default that of training.

        Raises
        ------
        ArtefactError
            If the folder is missing, incomplete, damaged, of a newer format or of another
            estimator.
        ConfigError
            If there is no such device or precision.
        """
        runs_on = resolve_device(device)
        changed: dict[str, Any] = {} if precision is None else {"precision": precision}
        TrainConfig.from_dict(changed)  # a wrong precision fails before any file is read
        network, description, arrays = model_folder.load(folder, cls.__name__)
        with model_folder.damaged(folder):
            estimator = cls(**description["parameters"] | changed)
            estimator.network_ = cast(ConvTimeNet, network.to(runs_on))
            estimator.train_config_ = TrainConfig.from_dict(description["train"] | changed)
            estimator.history_ = History.from_dict(description["history"])
            estimator.notices_ = tuple(map(str, description["notices"]))
            estimator.n_examples_ = description["examples"]
            estimator.scaler_ = scaler_of(arrays.pop("scaler.centre"), arrays.pop("scaler.scale"))
            estimator._restore_state(description["data"], arrays)
        config = estimator.train_config_
        used, notice = precision_on(runs_on, config.precision, estimator.network_.config)
        if notice:
            log.warning(notice)
        estimator.train_config_ = replace(config, precision=used)
        estimator.fused_ = fuse(estimator.network_, used)
        return estimator


def finite(answers: np.ndarray) -> np.ndarray:
    """Return `answers` unchanged if they are all finite.

    Raises
    ------
    DataError
        If one of them is not.
    """
    if not np.isfinite(answers).all():
        raise DataError(
            "the network's output for these values is not finite; expected values like those "
            "it was fitted to, or a model trained with a smaller lr"
        )
    return answers


def _stopped_message(
    stop: StopRequest, history: History, resume: str | PathLike[str] | None, seed: int | None
) -> str:
    """What is kept after a stop, and how to resume; `seed` if a repeated call would draw anew."""
    if history.best_epoch:
        kept = f"the weights of epoch {history.best_epoch}, the best so far, are kept"
    else:
        kept = "no epoch was finished, so there is no model"
    if resume is None:
        how = "to make training resumable, give a folder as resume="
    else:
        how = "" if seed is None else f"random_state={seed} and "
        how = f"the same call with {how}resume={str(resume)!r} resumes from here"
    return f"{stop.name} stopped the training: {kept}; {how}"
