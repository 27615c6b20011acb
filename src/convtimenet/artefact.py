"""A trained model as a folder: weights and arrays (safetensors), the rest (JSON). No pickle."""

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
from safetensors import SafetensorError

from convtimenet import __version__
from convtimenet.config import ModelConfig
from convtimenet.errors import ArtefactError, ConfigError
from convtimenet.files import whole_folder
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
    check_target(folder)
    head = head_of(kind, model.config)
    text = json.dumps(head | description, indent=1, default=_plain)
    with whole_folder(folder) as making:
        state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
        safetensors.torch.save_file(state, making / WEIGHTS)
        safetensors.numpy.save_file(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()}, making / ARRAYS
        )
        (making / DESCRIPTION).write_text(text, encoding="utf-8")
    return Path(folder)


def head_of(kind: str, config: ModelConfig) -> dict[str, Any]:
    """What every model folder's description begins with."""
    return {"format": FORMAT, "kind": kind, "version": __version__, "model": config.to_dict()}


def check_target(
    folder: str | os.PathLike[str], known: frozenset[str] = frozenset({WEIGHTS, ARRAYS})
) -> None:
    """Refuse a folder that would not be written to.

    Parameters
    ----------
    known
        Files that a model there may consist of, beside its description.

    Raises
    ------
    ArtefactError
        If something that is not a model, or not only a model, lies there.
    """
    target = Path(folder)
    if not target.exists():
        return
    found = {path.name for path in target.iterdir()} if target.is_dir() else {target.name}
    if found and not (DESCRIPTION in found and found <= known | {DESCRIPTION}):
        raise ArtefactError(
            f"{target} exists and holds something other than a saved model; give another folder "
            "or remove it first"
        )


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
    except (
        ConfigError,
        SafetensorError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        AttributeError,
        IndexError,
    ) as error:
        if isinstance(error, ArtefactError):
            raise
        raise ArtefactError(f"{folder} is damaged: {type(error).__name__}: {error}") from error


def _plain(value: Any) -> Any:
    """What a parameter may hold beside JSON's own types: numpy's numbers, other mappings."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise ArtefactError(
        f"{value!r} cannot be saved: expected text, numbers, lists or mappings of them, found "
        f"{type(value).__name__}; convert it before fit"
    )
