"""Other networks, taken from kept libraries and trained by our loop on the same windows or cases.

Split, scaling, batches, validation, choice of the epoch and scoring are those of our estimators;
only the network differs, and the training settings that the matrix gives.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster
from convtimenet.bench.models import Fitted, fitted_classifier, fitted_forecaster
from convtimenet.bench.problems import CasesProblem, ForecastProblem
from convtimenet.config import ModelConfig
from convtimenet.network.other import OtherNetwork

Build = Callable[[ModelConfig, int, int], nn.Module]
"""A network from what was decided, the number of channels, and the seed."""


_PLAIN = {"loss": "mse", "epoch_size": None}
"""As in the networks' repositories: squared errors, and every window in every epoch. Else our own
recipe would hold, of mean absolute errors and short epochs."""


def forecaster_of(name: str, build: Build, channels: int) -> type[ConvTimeNetForecaster]:
    """Our forecaster with another network."""

    def new_network(self: ConvTimeNetForecaster, config: ModelConfig) -> OtherNetwork:
        return OtherNetwork(build(config, channels, _seed(self)), config)

    return type(name, (ConvTimeNetForecaster,), {"_new_network": new_network})


def classifier_of(name: str, build: Build) -> type[ConvTimeNetClassifier]:
    """Our classifier with another network."""

    def new_network(self: ConvTimeNetClassifier, config: ModelConfig) -> OtherNetwork:
        return OtherNetwork(build(config, config.channels, _seed(self)), config)

    return type(name, (ConvTimeNetClassifier,), {"_new_network": new_network})


def _seed(model: ConvTimeNetForecaster | ConvTimeNetClassifier) -> int:
    assert isinstance(model.random_state, int)
    return model.random_state


class Nixtla(nn.Module):
    """A network of neuralforecast behind (B, C, L) -> (B, C, H).

    Parameters
    ----------
    model
        Reads (rows, L, 1), or (B, L, C) where it mixes channels.
    normal
        Take mean and deviation of each context off and put them back, for networks that leave that
        to their trainer.
    """

    def __init__(self, model: nn.Module, *, mixes: bool = False, normal: bool = False):
        super().__init__()
        self.model, self.mixes, self.normal = model, mixes, normal

    def forward(self, x: Tensor) -> Tensor:
        """Forecasts of every channel."""
        mean = deviation = None
        if self.normal:
            mean = x.mean(-1, keepdim=True)
            deviation = (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
            x = (x - mean) / deviation
        rows = x.transpose(1, 2) if self.mixes else x.flatten(0, 1)[..., None]
        y = self.model({"insample_y": rows, "futr_exog": None})
        y = y.transpose(1, 2) if self.mixes else y[..., 0].unflatten(0, x.shape[:2])
        return y if mean is None else y * deviation + mean


def _nixtla(
    name: str, network: dict[str, Any], *, mixes: bool = False, normal: bool = False
) -> Build:
    def build(config: ModelConfig, channels: int, seed: int) -> nn.Module:
        from neuralforecast import models  # pyright: ignore[reportMissingImports]

        own = {"n_series": channels} if mixes else {}
        model = getattr(models, name)(
            h=config.outputs, input_size=config.context_length, random_seed=seed, **own, **network
        )
        return Nixtla(model, mixes=mixes, normal=normal)

    return build


def _trained(
    name: str, build: Build, problem: ForecastProblem, seed: int, settings: dict[str, Any]
) -> Fitted:
    kind = forecaster_of(name, build, len(problem.scaled))
    settings["training"] = _PLAIN | settings.get("training", {})
    return fitted_forecaster(kind, problem, seed, preset="auto", **settings)


def patchtst(
    problem: ForecastProblem, seed: int, *, network: dict[str, Any], **settings: Any
) -> Fitted:
    """PatchTST (Nie et al., ICLR 2023); RevIN as in its repository, without subtracting the last
    value."""
    build = _nixtla("PatchTST", {"revin_subtract_last": False, **network})
    return _trained("PatchTST", build, problem, seed, settings)


def dlinear(
    problem: ForecastProblem, seed: int, *, network: dict[str, Any] | None = None, **settings: Any
) -> Fitted:
    """DLinear (Zeng et al., AAAI 2023), one pair of matrices for all channels."""
    return _trained("DLinear", _nixtla("DLinear", network or {}), problem, seed, settings)


def itransformer(
    problem: ForecastProblem, seed: int, *, network: dict[str, Any], **settings: Any
) -> Fitted:
    """iTransformer (Liu et al., ICLR 2024): channels are the tokens."""
    build = _nixtla("iTransformer", network, mixes=True)
    return _trained("iTransformer", build, problem, seed, settings)


def timesnet(
    problem: ForecastProblem, seed: int, *, network: dict[str, Any], **settings: Any
) -> Fitted:
    """TimesNet (Wu et al., ICLR 2023). neuralforecast gives it one channel at a time; here all of a
    window enter together, as in the paper, through an embedding and a projection of that width."""

    def build(config: ModelConfig, channels: int, seed: int) -> nn.Module:
        from neuralforecast.common._modules import (  # pyright: ignore[reportMissingImports]
            DataEmbedding,
        )
        from neuralforecast.models import TimesNet  # pyright: ignore[reportMissingImports]

        sizes = {"h": config.outputs, "input_size": config.context_length}
        model = TimesNet(**sizes, random_seed=seed, **network)
        width = network["hidden_size"]
        model.enc_embedding = DataEmbedding(
            c_in=channels, exog_input_size=0, hidden_size=width, pos_embedding=True, dropout=0.1
        )
        model.projection = nn.Linear(width, channels)
        return Nixtla(model, mixes=True, normal=True)

    return _trained("TimesNet", build, problem, seed, settings)


# --- the authors' network, from sktime -----------------------------------------------------------


class ChannelsLast(nn.Module):
    """A network that reads (B, L, C) behind our axis order; forecasts come back in it too.

    Parameters
    ----------
    length
        Zeros at the end bring shorter inputs to so many steps.
    """

    def __init__(self, network: nn.Module, *, forecasts: bool, length: int = 0):
        super().__init__()
        self.network, self.forecasts, self.length = network, forecasts, length

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H) or (B, K)."""
        x = F.pad(x.nan_to_num(0.0), (0, max(0, self.length - x.shape[-1])))
        y = self.network(x.transpose(1, 2))
        return y.transpose(1, 2) if self.forecasts else y


def _port(config: ModelConfig, channels: int, seed: int, longest: int = 0) -> nn.Module:
    """sktime's port of the authors' network in the sizes of ours, for cases of up to `longest`
    steps."""
    sys.path.append(str(Path(__file__).resolve().parents[2] / "speed"))
    from timing.cases import Case
    from timing.contestants import authors_network

    length = padded_to(config.context_length, config.patch_stride, longest)
    own = replace(config, context_length=length or config.context_length)
    network = authors_network(Case("port", own, batch=1, channels=channels, lr=0.0))
    return ChannelsLast(network, forecasts=config.head == "forecast", length=length)


def padded_to(length: int, stride: int, longest: int) -> int:
    """To how many steps the port's cases are padded; 0 if they are not.

    Its number of patches is that of the training cases' `length`, and it fails on a longer case
    that has more of them. Then it is built for the `longest` case and all are padded to that, as
    the authors' loader pads the cases of both splits.
    """
    return longest if longest - length >= stride else 0


def authors(problem: ForecastProblem | CasesProblem, seed: int, **settings: Any) -> Fitted:
    """The authors' network (sktime's port) with the paper's settings for the set, or our defaults
    where the paper has none."""
    if isinstance(problem, ForecastProblem):
        kind = forecaster_of("AuthorsNetwork", _port, len(problem.scaled))
        return fitted_forecaster(kind, problem, seed, preset=problem.name, **settings)
    longest = problem.test.values.shape[2]
    kind = classifier_of("AuthorsNetwork", partial(_port, longest=longest))
    fitted = fitted_classifier(kind, problem, seed, **{"preset": problem.name, **settings})
    own = fitted.config["model"]
    padded = padded_to(own["context_length"], own["patch_stride"], longest)
    return replace(fitted, config={**fitted.config, "padded_to": padded}) if padded else fitted


# --- classifiers ---------------------------------------------------------------------------------


def inceptiontime(problem: CasesProblem, seed: int, **settings: Any) -> Fitted:
    """One InceptionTime network (Fawaz et al., 2020; the published classifier is an ensemble of
    five), as sktime has it in torch, with the activations of its repository."""

    def build(config: ModelConfig, channels: int, seed: int) -> nn.Module:
        from sktime.networks.inceptiontime._inceptiontime_torch import (  # pyright: ignore[reportMissingImports]
            InceptionTimeNetworkTorch,
        )

        network = InceptionTimeNetworkTorch(
            channels, config.outputs, activation_hidden=nn.ReLU(), random_state=seed
        )
        return ChannelsLast(network, forecasts=False)

    kind = classifier_of("InceptionTime", build)
    return fitted_classifier(kind, problem, seed, preset="auto", **settings)
