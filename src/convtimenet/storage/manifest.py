"""The manifest of a model folder, verified before any file is used. Works without torch.

``manifest.json`` lists every file of a folder with its size and SHA-256, and contains the SHA-256
of itself without that line. Only the exact bytes that `seal` writes are accepted, so any changed
byte in the folder is detected. This catches damage and accidental changes. A folder changed on
purpose can be sealed again, so loading limits what any folder can do: it runs no code, reads no
file outside the folder, and needs no more memory than the folder's size and `MAX_STEPS` imply.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

from convtimenet.config import ModelConfig
from convtimenet.errors import ArtefactError
from convtimenet.files import earlier_of

log = logging.getLogger(__name__)

FORMAT = 2
MANIFEST, DESCRIPTION = "manifest.json", "model.json"
MAX_STEPS = 2**24
"""Longest padded context that a loaded network may have."""
_MAX_JSON_BYTES, _MAX_DEPTH = 2**28, 32
"""Of model.json, which holds the ids of all series, about 40 bytes each."""
_TRIES = 10
"""Times to read a folder in which models are saved meanwhile."""
_AGAIN = "download or save the model again"


def seal(folder: str | os.PathLike[str]) -> None:
    """Write the manifest of a folder, when it is new or after an intended change.

    Raises
    ------
    ArtefactError
        If ``model.json`` is longer than `read_folder` accepts.

    Examples
    --------
    After editing a model card::

        python -c "from convtimenet.storage.manifest import seal; seal('model')"
    """
    path = Path(folder)
    described = path / DESCRIPTION
    size = described.stat().st_size if described.exists() else 0
    if size > _MAX_JSON_BYTES:
        raise ArtefactError(
            f"{DESCRIPTION} of the model has {size} bytes, expected at most {_MAX_JSON_BYTES}, so "
            "that it can be loaded; train on fewer series or with shorter ids"
        )
    files = {name: _facts((path / name).read_bytes()) for name in _names(path) - {MANIFEST}}
    text = _canonical({"format": FORMAT, "files": files})
    (path / MANIFEST).write_bytes(text)


def read_folder(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read and verify a folder; again if a model is saved in it meanwhile.

    Returns
    -------
    description
        The content of ``model.json``, migrated to the current format.
    files
        The content of every file by name. No file is read twice, so what is used is what was
        verified.

    Raises
    ------
    ArtefactError
        If the folder is missing, incomplete, damaged, in a newer format or may not be read; the
        message names the file.
    """
    path = Path(folder)
    for _ in range(_TRIES):
        before = _state(path)
        try:
            return _read(path)
        except (ArtefactError, OSError) as error:
            if _state(path) == before:
                if isinstance(error, PermissionError):
                    raise _unreadable(Path(error.filename or path)) from error
                raise
    raise ArtefactError(
        f"{path} was saved anew {_TRIES} times while it was read; save less often, or load a copy"
    )


def _unreadable(path: Path) -> ArtefactError:
    """The error for a file, or for the nearest folder above it that may be looked at."""
    for place in (path, *path.parents):
        try:
            found = place.stat()
        except OSError:
            continue
        return ArtefactError(
            f"{place}: no permission to read it; its permissions are "
            f"{stat.filemode(found.st_mode)}, its owner is user {found.st_uid}; have the owner "
            "allow it, as with chmod -R a+rX on the folder of the model"
        )
    return ArtefactError(f"{path}: no permission to read it; change its permissions")


def _state(path: Path) -> list[tuple[int, ...]]:
    """What changes when a model is saved in a folder."""
    found = []
    for place in (path, path / MANIFEST):
        try:
            facts = place.stat()
        except OSError:
            continue
        found.append((facts.st_ino, facts.st_mtime_ns, facts.st_size))
    return found


def _read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read and verify a folder once."""
    if not path.exists() and earlier_of(path).is_dir():
        log.warning("saving to %s was interrupted; loading the model saved there before", path)
        path = earlier_of(path)
    if not path.is_dir():
        raise ArtefactError(
            f"there is no model folder at {path}, {DESCRIPTION} is missing; check the path"
        )
    names = _names(path)
    if MANIFEST in names:
        files = _verified(path, names)
    else:  # format 1 had no manifest
        files = {name: (path / name).read_bytes() for name in names}
    if DESCRIPTION not in files:
        raise ArtefactError(
            f"{path} is not a complete model folder: {DESCRIPTION} is missing; {_AGAIN}"
        )
    described = _parsed(path / DESCRIPTION, files[DESCRIPTION])
    found = _format(path / DESCRIPTION, described)
    if found > 1 and MANIFEST not in names:
        raise ArtefactError(
            f"{path} is not a complete model folder: {MANIFEST} is missing; {_AGAIN}"
        )
    if MANIFEST in names and found != FORMAT:
        raise ArtefactError(
            f"{path / DESCRIPTION} is damaged: expected format {FORMAT} as in the manifest, found "
            f"{found}; {_AGAIN}"
        )
    for step in _MIGRATIONS[found - 1 :]:
        described = step(described)
    return described, files


def network_config(path: str | os.PathLike[str], description: dict[str, Any]) -> ModelConfig:
    """The model config, with a limit on the length of the context.

    Raises
    ------
    ArtefactError, ConfigError, KeyError, TypeError
        If settings are missing or out of range.
    """
    config = ModelConfig.from_dict(description["model"])
    if (longest := max(one.padded_length for one in config.networks)) > MAX_STEPS:
        raise ArtefactError(
            f"{Path(path) / DESCRIPTION} asks for series of {longest} steps, expected "
            f"at most {MAX_STEPS}; do not use this folder"
        )
    return config


def needed(path: str | os.PathLike[str], files: dict[str, bytes], name: str) -> bytes:
    """The content of one file.

    Raises
    ------
    ArtefactError
        If the folder does not contain it.
    """
    if name not in files:
        raise ArtefactError(f"{path} is not a complete model folder: {name} is missing; {_AGAIN}")
    return files[name]


def _1_to_2(description: dict[str, Any]) -> dict[str, Any]:
    """Format 2 adds the number of training examples, the dtype "python" for object labels, and a
    forecaster's covariates."""
    data = description.get("data")
    if isinstance(data, dict) and data.get("dtype") == "|O":
        data = data | {"dtype": "python"}
    if isinstance(data, dict) and description.get("kind") == "ConvTimeNetForecaster":
        data = data | {"covariates": {"hist": [], "futr": [], "stat": [], "calendar": []}}
    return description | {"format": 2, "examples": None, "data": data}


_MIGRATIONS = (_1_to_2,)
"""Step n migrates format n to n + 1."""


def _names(path: Path) -> set[str]:
    """Names of the folder's files; links are followed."""
    names = set()
    for entry in path.iterdir():
        if not entry.is_file():
            raise ArtefactError(f"{entry} is not a regular file of a saved model; remove it")
        names.add(entry.name)
    return names


def _verified(path: Path, names: set[str]) -> dict[str, bytes]:
    """Content of the files, which must be exactly those in the manifest and match it."""
    listed = _listed(path / MANIFEST)
    if missing := sorted(listed.keys() - names):
        raise ArtefactError(
            f"{path} is not a complete model folder: {', '.join(missing)} is missing; {_AGAIN}"
        )
    if extra := sorted(names - listed.keys() - {MANIFEST}):
        raise ArtefactError(
            f"{path / extra[0]} is not in the manifest and not part of the model; remove it"
        )
    files = {}
    for name, facts in listed.items():
        size = (path / name).stat().st_size
        if size != facts["size"]:
            raise ArtefactError(
                f"{path / name} is damaged: expected {facts['size']} bytes, found {size}; {_AGAIN}"
            )
        files[name] = (path / name).read_bytes()
        if _facts(files[name]) != facts:
            raise ArtefactError(
                f"{path / name} is damaged or was changed: its SHA-256 differs from the manifest; "
                f"{_AGAIN}"
            )
    return files


def _listed(path: Path) -> dict[str, dict[str, Any]]:
    """File names with size and SHA-256, from a verified manifest."""
    content = path.read_bytes()
    manifest = _parsed(path, content)
    format, files = _format(path, manifest), manifest.get("files")
    plain = isinstance(files, dict) and all(isinstance(facts, dict) for facts in files.values())
    if not plain or content != _canonical({"format": format, "files": files}):
        raise ArtefactError(
            f"{path} is damaged or was changed: its content does not match its digest; {_AGAIN}"
        )
    assert isinstance(files, dict)
    if any(facts.keys() != {"sha256", "size"} for facts in files.values()):
        raise ArtefactError(
            f"{path} is damaged: expected a size and SHA-256 for every file; {_AGAIN}"
        )
    return files


def _canonical(content: dict[str, Any]) -> bytes:
    """Canonical bytes of a manifest: sorted, indented, with its own digest."""
    digest = hashlib.sha256(_json(content)).hexdigest()
    return _json({**content, "own_sha256": digest})


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def _facts(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    """A JSON object of bounded size and depth."""
    if len(content) > _MAX_JSON_BYTES:
        raise ArtefactError(
            f"{path} has {len(content)} bytes, expected at most {_MAX_JSON_BYTES}; {_AGAIN}"
        )
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is damaged, it is not JSON: {error}; {_AGAIN}") from error
    level, depth = [value], 0
    while level:
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        depth += 1
        if depth > _MAX_DEPTH:
            raise ArtefactError(f"{path} is nested deeper than {_MAX_DEPTH} levels; {_AGAIN}")
    if not isinstance(value, dict):
        raise ArtefactError(f"{path} does not describe a ConvTimeNet model; {_AGAIN}")
    return value


def _format(path: Path, described: dict[str, Any]) -> int:
    found = described.get("format")
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise ArtefactError(f"{path} does not describe a ConvTimeNet model; {_AGAIN}")
    if found > FORMAT:
        raise ArtefactError(
            f"{path} has format {found}, this version of convtimenet reads up to format {FORMAT}; "
            "upgrade convtimenet"
        )
    return found
