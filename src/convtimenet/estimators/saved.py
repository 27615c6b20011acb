"""What a fitted estimator knows of its training; save it to a folder, and load it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from sklearn.utils.validation import check_is_fitted

from convtimenet.config import Precision, TrainConfig
from convtimenet.data.windows import Scaler
from convtimenet.devices import resolve_device
from convtimenet.estimators.parameters import NamedParameters
from convtimenet.estimators.portfolio import Member
from convtimenet.estimators.presets.derived import from_package
from convtimenet.network.inference import fuse
from convtimenet.network.model import ConvTimeNet, count_parameters
from convtimenet.network.precision import precision_on
from convtimenet.storage import model_folder
from convtimenet.storage.remembered import scaler_of
from convtimenet.training.history import History
from convtimenet.wording import html_table

__all__ = ["SavedEstimator"]

log = logging.getLogger(__name__)


class SavedEstimator(NamedParameters):
    """Base of `ConvTimeNetEstimator`, which adds training; not used by itself."""

    network_: ConvTimeNet
    """The trained network, with the weights of the best epoch; with quality="best" an `Ensemble`
    of several."""
    fused_: ConvTimeNet
    """The same network fused for inference; predictions use it."""
    train_config_: TrainConfig
    """Training settings in effect: the preset's with the estimator's own on top."""
    history_: History
    """Scores of every epoch; of the first member of an ensemble, but in the best epoch those of all
    together."""
    members_: tuple[Member, ...]
    """How each member of an ensemble was trained; empty for a single network."""
    scaler_: Scaler
    """Scaler fitted to the training data."""
    n_examples_: dict[str, int] | None
    """Number of windows or cases in the training split ("fitted") and in the validation split
    ("held_back"); None for a model saved in format 1, which does not record them."""
    notices_: tuple[str, ...]
    """Notices: how the data were cleaned or interpreted, and what happened during training."""
    parameters_: dict[str, Any]
    """Parameters of the fit, which a saved model keeps, whatever `set_params` has changed since;
    without callbacks and what it started from."""

    @property
    def _repr_html_(self) -> Callable[[], str]:
        """For notebooks; scikit-learn's diagram needs scripts and says nothing about the fit."""
        return self._summary_html

    def _summary_html(self) -> str:
        rows = [["settings", repr(self)]]
        if hasattr(self, "fused_"):
            config, history = self.network_.config, self.history_
            rows += [
                ["reads", f"{config.context_length} time steps"],
                ["network", f"{count_parameters(self.network_):,} parameters"],
                ["training", f"{history.seconds:.1f} s on {history.device}: {history.stopped}"],
            ]
            rows += [["notice", notice] for notice in self.notices_]
        state = "fitted" if len(rows) > 1 else "not fitted"
        return html_table(f"{type(self).__name__}, {state}", rows)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._summary_html()}

    def _trained(self) -> tuple[Member, ...]:
        """How the network, or each member of an ensemble, was trained."""
        sizes = self.n_examples_
        fitted = None if sizes is None else sizes["fitted"]
        return self.members_ or (Member(self.train_config_, self.history_, fitted),)

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What a saved model keeps about its data: JSON values and arrays."""
        raise NotImplementedError

    def _restore_state(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Inverse of `_saved_state`."""
        raise NotImplementedError

    def _scaler_arrays(self) -> dict[str, np.ndarray]:
        """The scaler, as a saved model keeps it."""
        return {"scaler.centre": self.scaler_.centre, "scaler.scale": self.scaler_.scale}

    @classmethod
    def _scaler_of(cls, arrays: dict[str, np.ndarray]) -> Scaler:
        """Inverse of `_scaler_arrays`, whose arrays are taken out."""
        return scaler_of(arrays.pop("scaler.centre"), arrays.pop("scaler.scale"))

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write the fitted model to a folder: safetensors and JSON, no pickle; a model card to
        fill in; and a manifest against which every file is verified on loading. The parameters
        in it are those of the fit, whatever `set_params` has changed since.

        Parameters
        ----------
        folder
            Created with its parents. A model already there is replaced; anything else is an error.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before ``fit``.
        ArtefactError
            If the folder holds something other than a model, or cannot be written.
        """
        check_is_fitted(self, "fused_")
        values, arrays = self._saved_state()
        return model_folder.save(
            folder,
            kind=type(self).__name__,
            model=self.network_,
            arrays=self._scaler_arrays() | arrays,
            description=self.description(values),
        )

    def _keep_parameters(self) -> None:
        """Set `parameters_` at the end of a fit."""
        given = self.get_params(deep=False) | {"random_state": self.train_config_.seed}
        del given["callbacks"]
        if not from_package(given["init_from"]):
            del given["init_from"]
        self.parameters_ = given

    def description(self, values: dict[str, Any] | None = None) -> dict[str, Any]:
        """Everything about the fitted model except its arrays, callbacks and what it started from,
        as plain JSON values."""
        return {
            "parameters": dict(self.parameters_),
            "train": self.train_config_.to_dict(),
            "history": self.history_.to_dict(),
            **({"members": [one.to_dict() for one in self.members_]} if self.members_ else {}),
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
            estimator._keep_parameters()
            estimator.history_ = History.from_dict(description["history"])
            estimator.members_ = tuple(
                Member.from_dict(one, changed) for one in description.get("members", ())
            )
            estimator.notices_ = tuple(map(str, description["notices"]))
            estimator.n_examples_ = description["examples"]
            estimator.scaler_ = cls._scaler_of(arrays)
            estimator._restore_state(description["data"], arrays)
        config = estimator.train_config_
        used, notice = precision_on(runs_on, config.precision, estimator.network_.config)
        if notice:
            log.warning(notice)
        estimator.train_config_ = replace(config, precision=used)
        estimator.fused_ = fuse(estimator.network_, used)
        return estimator
