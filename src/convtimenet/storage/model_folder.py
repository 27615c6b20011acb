"""Save and load a trained model as a folder of safetensors and JSON files, without pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from convtimenet import __version__
from convtimenet.config import ModelConfig
from convtimenet.devices import for_loading
from convtimenet.errors import ArtefactError, ConfigError
from convtimenet.files import json_text, whole_folder
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.networks import network_of
from convtimenet.network.other import OtherNetwork
from convtimenet.storage.card import card, scores_of
from convtimenet.storage.manifest import (
    DESCRIPTION,
    FORMAT,
    MANIFEST,
    needed,
    network_config,
    read_folder,
    seal,
)

WEIGHTS, ARRAYS, METRICS, CARD = (
    "weights.safetensors",
    "data.safetensors",
    "metrics.json",
    "README.md",
)


def save(
    folder: str | os.PathLike[str],
    *,
    kind: str,
    model: ConvTimeNet | OtherNetwork,
    arrays: dict[str, np.ndarray],
    description: dict[str, Any],
) -> Path:
    """Write a model folder atomically.

    Parameters
    ----------
    folder
        Created with its parents; an earlier model there is replaced, anything else is rejected.
    kind
        Name of the estimator class.
    arrays
        Numeric data of the estimator.
    description
        The rest, as plain JSON values.

    Raises
    ------
    ArtefactError
        If `folder` exists and is not a model folder, or cannot be written.
    """
    check_target(folder)
    head = head_of(kind, model.config)
    text = json_text(head | description, plain_value, indent=1)
    held = [*model.state_dict().values(), *arrays.values()]
    with _room(folder, len(text) + sum(one.nbytes for one in held)), whole_folder(folder) as making:
        state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
        plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        safetensors.torch.save_file(state, making / WEIGHTS)
        safetensors.numpy.save_file(plain, making / ARRAYS)
        for name in (WEIGHTS, ARRAYS):  # made for their owner alone; the folder is as the umask is
            (making / name).chmod(making.stat().st_mode & 0o666)
        (making / DESCRIPTION).write_text(text, encoding="utf-8")
        described = json.loads(text)
        scores = json_text(scores_of(described), indent=1)
        (making / METRICS).write_text(scores + "\n", encoding="utf-8")
        (making / CARD).write_text(card(described), encoding="utf-8")
        seal(making)
    return Path(folder)


def head_of(kind: str, config: ModelConfig) -> dict[str, Any]:
    """Common first entries of every model folder's description."""
    return {"format": FORMAT, "kind": kind, "version": __version__, "model": config.to_dict()}


def check_target(
    folder: str | os.PathLike[str],
    known: frozenset[str] = frozenset({WEIGHTS, ARRAYS, METRICS, CARD}),
) -> None:
    """Reject a folder that must not be overwritten.

    Parameters
    ----------
    known
        File names allowed in a model folder, besides its description and manifest.

    Raises
    ------
    ArtefactError
        If the folder contains anything other than a model.
    """
    target = Path(folder)
    if not target.exists():
        return
    found = {path.name for path in target.iterdir()} if target.is_dir() else {target.name}
    if found and not (DESCRIPTION in found and found <= known | {DESCRIPTION, MANIFEST}):
        raise ArtefactError(
            f"{target} exists and holds something other than a saved model; choose another folder "
            "or remove it first"
        )


def load(
    folder: str | os.PathLike[str], kind: str | None = None
) -> tuple[ConvTimeNet | OtherNetwork, dict[str, Any], dict[str, np.ndarray]]:
    """Read a model folder and verify all its files (`convtimenet.storage.manifest`).

    Parameters
    ----------
    kind
        Name of the estimator class that is expected; None for any.

    Returns
    -------
    model, description, arrays
        As saved; the model on the CPU in evaluation mode.

    Raises
    ------
    ArtefactError
        If the folder is missing, incomplete, damaged, in a newer format or of another kind.
    """
    path = Path(folder)
    found, files = read_folder(path)
    if kind is not None and found.get("kind") != kind:
        raise ArtefactError(
            f"{path} holds a {found.get('kind')}, expected a {kind}; load it with its own class"
        )
    with damaged(path):
        config = network_config(path, found)
        weights = safetensors.torch.load(needed(path, files, WEIGHTS))
        arrays = safetensors.numpy.load(needed(path, files, ARRAYS))
        _check_shapes(path, config, weights)
        with for_loading():
            model = network_of(config)
        model.load_state_dict(weights)
    return model.eval(), found, arrays


def _check_shapes(path: Path, config: ModelConfig, weights: dict[str, Tensor]) -> None:
    """Compare the shapes implied by the config with the weights, before allocating memory."""
    parts = sum(
        1 + one.random_patches + len(one.kernel_sizes) + len(one.stat_categories)
        for one in config.networks
    )
    fits = parts <= len(weights)
    if fits:
        with torch.device("meta"):
            asked = {k: (v.shape, v.dtype) for k, v in network_of(config).state_dict().items()}
        fits = asked == {k: (v.shape, v.dtype) for k, v in weights.items()}
    if not fits:
        raise ArtefactError(
            f"{path / WEIGHTS} does not hold the weights of the network that {DESCRIPTION} "
            "describes; download or save the model again"
        )


@contextmanager
def _room(folder: str | os.PathLike[str], size: int) -> Iterator[None]:
    """Report any error while writing a model folder of about `size` bytes, safetensors' included,
    which are no OSError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ArtefactError(
            f"{folder}: expected room for a model of {size:,} bytes, found: {reason}; make room, "
            "or save it to another folder"
        ) from error


@contextmanager
def damaged(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Report any error while reading a model folder as damage to it."""
    try:
        yield
    except (
        ConfigError,
        SafetensorError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        OverflowError,
        AttributeError,
        IndexError,
    ) as error:
        if isinstance(error, ArtefactError):
            raise
        raise ArtefactError(f"{folder} is damaged: {type(error).__name__}: {error}") from error


def plain_value(value: Any) -> Any:
    """Convert parameter values that are not JSON types: NumPy values and other mappings."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise ArtefactError(
        f"{value!r} cannot be saved: expected text, numbers, lists or mappings of them, found "
        f"{type(value).__name__}; convert it before fit"
    )
