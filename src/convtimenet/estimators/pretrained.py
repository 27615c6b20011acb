"""A pre-trained encoder, from which a network starts: the weights of its embedding and blocks."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.labelled.cases import Cases, in_channel_order
from convtimenet.devices import for_loading
from convtimenet.errors import ConfigError
from convtimenet.estimators.presets.derived import from_package
from convtimenet.network.ensemble import networks_in
from convtimenet.network.model import ConvTimeNet
from convtimenet.storage import model_folder
from convtimenet.training.history import History

__all__ = ["Pretrained", "again_from", "encoder_of"]

_PARTS = ("embedding.", "blocks.")
_ARCHITECTURE = (
    *("patch_size", "patch_stride", "deformable", "embed_norm", "d_model", "d_ff"),
    *("kernel_sizes", "small_kernel", "norm", "residual"),
)
"""Settings of a `ModelConfig` that an encoder's weights belong to, besides the channels."""


@dataclass(frozen=True, eq=False)
class Pretrained:
    """The encoder of a trained network.

    Attributes
    ----------
    config
        Of the network that it is part of.
    state
        All weights of that network, on the CPU.
    train_config, history
        Of its training.
    channels
        Names of the channels of the cases that it was trained on, in order; None without names.
    """

    config: ModelConfig
    state: dict[str, Tensor]
    train_config: TrainConfig
    history: History
    channels: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls,
        network: ConvTimeNet,
        train_config: TrainConfig,
        history: History,
        channels: tuple[str, ...] | None = None,
    ) -> Pretrained:
        """The encoder of a network."""
        state = {name: v.detach().cpu().clone() for name, v in network.state_dict().items()}
        return cls(network.config, state, train_config, history, channels)

    def __repr__(self) -> str:
        config = self.config
        return (
            f"<Pretrained: {config.channels} channel(s), patches of {config.patch_size}, "
            f"{len(config.kernel_sizes)} blocks of width {config.d_model}>"
        )

    @property
    def weights(self) -> dict[str, Tensor]:
        """The encoder's own weights, by their names in a `ConvTimeNet`."""
        return {name: one for name, one in self.state.items() if name.startswith(_PARTS)}

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write it to a folder, for the parameter `init_from` of an estimator.

        Raises
        ------
        ArtefactError
            If the folder holds something other than a model, or cannot be written.
        """
        with for_loading():
            network = ConvTimeNet(self.config)
        network.load_state_dict(self.state)
        description = {
            "parameters": {},
            "train": self.train_config.to_dict(),
            "history": self.history.to_dict(),
            "examples": None,
            "notices": self.history.notes,
            "data": {"channels": self.config.channels, "channel_names": self.channels},
        }
        kind = type(self).__name__
        return model_folder.save(
            folder, kind=kind, model=network, arrays={}, description=description
        )

    @property
    def architecture(self) -> dict[str, Any]:
        """The settings of a network that can start from it."""
        return {name: getattr(self.config, name) for name in _ARCHITECTURE}

    def differences(self, config: ModelConfig) -> list[str]:
        """What a network has that differs from the encoder, with both values."""
        return [
            f"{name} is {getattr(config, name)!r}, pre-trained with {getattr(self.config, name)!r}"
            for name in ("channels", *_ARCHITECTURE)
            if getattr(config, name) != getattr(self.config, name)
        ]

    def in_order(self, cases: Cases) -> Cases:
        """Cases with their channels in the order of the encoder's, if they are the same."""
        if self.channels and set(self.channels) == set(cases.channels or ()):
            return in_channel_order(cases, self.channels)
        return cases

    def check(self, config: ModelConfig) -> None:
        """Refuse a network that cannot start from it.

        Raises
        ------
        ConfigError
            If channels or architecture differ.
        """
        if not (found := self.differences(config)):
            return
        remedy = "leave these settings to the encoder: preset='auto', without them in model={...}"
        if config.channels != self.config.channels:
            remedy = "pre-train on data with the same channels"
        raise ConfigError(
            f"the network differs from its pre-trained encoder: {'; '.join(found)}; {remedy}"
        )

    def load_into(self, network: Any) -> None:
        """Replace a network's embedding and blocks by it.

        Raises
        ------
        ConfigError
            If it has none.
        """
        if not isinstance(network, ConvTimeNet):
            raise ConfigError(
                f"a {type(network).__name__} has no embedding and blocks that an encoder "
                "could replace; leave init_from and pretrain() out"
            )
        network.load_state_dict(self.weights, strict=False)


def encoder_of(given: Any) -> Pretrained:
    """The encoder that the parameter `init_from` stands for: of a saved model's folder, of a fitted
    or pre-trained estimator, or itself.

    Raises
    ------
    ConfigError
        If it is none of these, or has no encoder.
    ArtefactError
        If the folder cannot be read.
    """
    if isinstance(given, Pretrained):
        return given
    if from_package(given):
        raise ConfigError(
            "init_from='pretrained' is for fit() of classifiers and regressors, without tune(); to "
            "forecast with the package's weights use quality='pretrained'; a folder of that name "
            "is './pretrained'"
        )
    if isinstance(given, (str, PathLike)):
        network, description, _ = model_folder.load(given)
        with model_folder.damaged(given):
            train_config = TrainConfig.from_dict(description["train"])
            history = History.from_dict(description["history"])
            names = description.get("data", {}).get("channel_names")
        channels = None if names is None else tuple(map(str, names))
        return _of_any(network, train_config, history, channels, f"the model in {given}")
    name = type(given).__name__
    if hasattr(given, "fused_"):
        channels = getattr(given, "channels_", None) if hasattr(given, "n_channels_") else None
        own = given.network_, given.train_config_, given.history_, channels
        return _of_any(*own, f"the fitted {name}")
    if hasattr(given, "pretrained_"):
        return given.pretrained_
    if hasattr(given, "get_params"):
        raise ConfigError(
            f"init_from must be fitted or pre-trained, found a {name} that is neither (clones of "
            "scikit-learn forget what was trained); save the fitted one and give its folder, or "
            "give the pretrained_ of one that was pre-trained"
        )
    raise ConfigError(
        "init_from must be the folder of a saved model, a fitted or pre-trained estimator, or "
        f"None; found {given!r}"
    )


def again_from(
    start: Pretrained | None, network: Any, config: TrainConfig, history: History
) -> Pretrained | None:
    """The encoder that a second training starts from: a frozen one is that of the first."""
    if not config.encoder_rate and isinstance(network, ConvTimeNet):
        return Pretrained.of(network, config, history)
    return None if start is None or start.differences(network.config) else start


def _of_any(
    network: Any,
    train_config: TrainConfig,
    history: History,
    channels: tuple[str, ...] | None,
    name: str,
) -> Pretrained:
    """The encoder of the network, or of the first member that has one."""
    for one in networks_in(network):
        if isinstance(one, ConvTimeNet):
            return Pretrained.of(one, train_config, history, channels)
    raise ConfigError(
        f"init_from: {name} has no encoder that was trained; give one that was "
        "fitted with quality='auto', or pre-trained"
    )
