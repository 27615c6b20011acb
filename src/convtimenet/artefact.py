"""A trained model as a folder: weights and arrays (safetensors), the rest (JSON). No pickle."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
from safetensors import SafetensorError

from convtimenet import __version__
from convtimenet.config import ModelConfig
from convtimenet.errors import ArtefactError, ConfigError
from convtimenet.model import ConvTimeNet

FORMAT = 1
DESCRIPTION, WEIGHTS, ARRAYS = "model.json", "weights.safetensors", "data.safetensors"


def save(
    folder: str | os.PathLike[str],
    *,
    kind: str,
    model: ConvTimeNet,
    arrays: dict[str, np.ndarray],
    description: dict[str, Any],
) -> Path:
    """Write a model folder, whole or not at all.

    Parameters
    ----------
    folder
        Made, with its parents; an earlier model there is replaced, anything else is refused.
    kind
        Name of the estimator class.
    arrays
        What the estimator must remember of its data as numbers.
    description
        The rest, as plain JSON values.

    Raises
    ------
    ArtefactError
        If something that is not a model lies at `folder`.
    """
    target = Path(folder)
    if target.exists() and not (target / DESCRIPTION).is_file() and not _empty(target):
        raise ArtefactError(
            f"{target} exists and holds no saved model; give another folder or remove it first"
        )
    head = {"format": FORMAT, "kind": kind, "version": __version__, "model": model.config.to_dict()}
    text = json.dumps(head | description, indent=1)
    target.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
        safetensors.torch.save_file(state, making / WEIGHTS)
        safetensors.numpy.save_file(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()}, making / ARRAYS
        )
        (making / DESCRIPTION).write_text(text, encoding="utf-8")
        making.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        os.replace(making, target)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


def load(
    folder: str | os.PathLike[str], kind: str
) -> tuple[ConvTimeNet, dict[str, Any], dict[str, np.ndarray]]:
    """Read a model folder.

    Returns
    -------
    model, description, arrays
        As they were saved; the model on the CPU in evaluation mode.

    Raises
    ------
    ArtefactError
        If the folder is absent, incomplete, damaged, of a newer format or of another kind.
    """
    path = Path(folder)
    for name in (DESCRIPTION, WEIGHTS, ARRAYS):
        if not (path / name).is_file():
            raise ArtefactError(
                f"{path} is no complete model folder: expected the files {DESCRIPTION}, {WEIGHTS} "
                f"and {ARRAYS}; {name} is missing"
            )
    try:
        found = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtefactError(f"{path / DESCRIPTION} is damaged, it is not JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise ArtefactError(f"{path / DESCRIPTION} does not describe a ConvTimeNet model")
    if found["format"] > FORMAT:
        raise ArtefactError(
            f"{path} has format {found['format']}, this version ({__version__}) reads up to "
            f"format {FORMAT}; upgrade convtimenet"
        )
    if found.get("kind") != kind:
        raise ArtefactError(
            f"{path} holds a {found.get('kind')}, expected a {kind}; load it with its own class"
        )
    with damaged(path):
        model = ConvTimeNet(ModelConfig.from_dict(found["model"]))
        model.load_state_dict(safetensors.torch.load_file(path / WEIGHTS))
        arrays = safetensors.numpy.load_file(path / ARRAYS)
    return model.eval(), found, arrays


@contextmanager
def damaged(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Report whatever goes wrong while taking a model folder apart as damage to it."""
    try:
        yield
    except (ConfigError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, ArtefactError):
            raise
        raise ArtefactError(f"{folder} is damaged: {type(error).__name__}: {error}") from error


def _empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
