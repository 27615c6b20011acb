"""Checks of a matrix file: every value has the type, and names what there is, before a cell runs.

What costs an import, and files that a report can do without, are checked by `check_runnable`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convtimenet import datasets
from convtimenet.bench.toml_file import check_names
from convtimenet.datasets.registry import ForecastingInfo
from convtimenet.errors import ConfigError, DatasetError
from convtimenet.names import did_you_mean

__all__ = ["check_file", "check_horizon", "check_runnable", "check_who", "imported", "some"]

_MODEL = ("entry", "title", "deterministic", "variants", "apart", "earlier")
_FILE = ("title", "results", "published", "reference", "ours", "models", "sets", "runs")


def check_file(path: Path, found: Mapping[str, Any]) -> None:
    """Check all of a file but its runs' cells.

    Raises
    ------
    ConfigError
        If a value has the wrong type, or names what the file or its folder does not have.
    """
    check_names(path, "the file", found, _FILE)
    for name in ("title", "results", "published", "reference"):
        _text(path, "the file", name, found)
    models, sets, runs = found.get("models", {}), found.get("sets", {}), found.get("runs", [])
    for name, tables in (("models", models), ("sets", sets)):
        if not isinstance(tables, Mapping):
            raise ConfigError(f"{path}: expected [{name}.NAME], found {name} = {tables!r}")
    if not isinstance(runs, list):
        raise ConfigError(f"{path}: expected [[runs]] with models and sets, found runs = {runs!r}")
    for name, model in models.items():
        _check_model(path, name, model)
    _check_sets(path, sets)
    if "reference" in found:
        check_who(path, "reference", found["reference"], models)
    ours = found.get("ours", [])
    if not _are_texts(ours) or any(name not in models for name in ours):
        raise ConfigError(
            f"{path}: ours = [...] names models of the file, without variants; expected some "
            f"of {', '.join(models)}, found {ours!r}"
        )
    if "published" in found and not (path.parent / found["published"]).is_file():
        raise ConfigError(
            f"{path}: published names the file {found['published']!r}, found none there; correct "
            "the path (relative to this file), or leave it out"
        )


def check_who(path: Path, where: str, who: Any, models: Mapping[str, Any]) -> tuple[str, str]:
    """Model and variant of a name as "model.variant"."""
    model, _, variant = str(who).partition(".")
    if model not in models:
        raise ConfigError(
            f"{path}: {where} names the model {model!r}, which [models] does not have; "
            f"expected one of {', '.join(models)}"
        )
    variants = models[model].get("variants", {})
    if variant not in variants and (variant or variants):
        raise ConfigError(
            f"{path}: {where} names {who!r}; {model} has the variants "
            f"{', '.join(variants) or 'none'}: write {model}" + (".VARIANT" if variants else "")
        )
    return model, variant


def check_horizon(
    path: Path, dataset: Any, horizon: int | None, sets: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse an unknown set, a forecasting set without a horizon, and a classification set with
    one. Functions that make a set read the horizon themselves; `sets` are those of the file."""
    own = sets.get(dataset) if isinstance(dataset, str) else None
    if own is not None:
        if "entry" in own or not (path.parent / own["path"]).exists():
            return
        forecasts = not (path.parent / own["path"]).is_dir()
    else:
        try:
            forecasts = isinstance(datasets.info(dataset), ForecastingInfo)
        except (AttributeError, DatasetError) as error:
            hint = did_you_mean(str(dataset), [*sets, *datasets.names()])
            raise ConfigError(
                f"{path}: [[runs]] names the set {dataset!r}, which is neither registered "
                f"nor in [sets]; {hint}"
            ) from error
    if forecasts and horizon is None:
        raise ConfigError(
            f"{path}: [[runs]] names the forecasting set {dataset} without a horizon; add "
            "horizons = [...]"
        )
    if not forecasts and horizon is not None:
        raise ConfigError(
            f"{path}: [[runs]] names the classification set {dataset} with the horizon {horizon}; "
            "move it to [[runs]] without horizons"
        )


def check_runnable(
    path: Path, entries: Sequence[str], sets: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse functions that cannot be imported and files of sets that are not there.

    Parameters
    ----------
    entries, sets
        Those of the models and data of the cells that are to run.

    Raises
    ------
    ConfigError
        That names the first of them.
    """
    for name, own in sets.items():
        if "path" in own and not (path.parent / own["path"]).exists():
            raise ConfigError(
                f"{path}: sets.{name} has path = {own['path']!r}, found nothing there; correct the "
                "path (relative to this file), or put the data there"
            )
    for entry in dict.fromkeys(
        [*entries, *(own["entry"] for own in sets.values() if "entry" in own)]
    ):
        imported(path, entry)


def imported(path: Path, entry: str) -> Callable[..., Any]:
    """A function by ``module:name``, of a package or of a module next to the matrix file."""
    module, _, name = entry.partition(":")
    with _import_from_folder_of(path):
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"{path}: cannot import {entry}: {error}; correct the entry, or install "
                "the missing package"
            ) from error


def some(
    path: Path, run: Mapping[str, Any], name: str, default: Sequence[Any] | None = None
) -> Sequence[Any]:
    """A list of ``[[runs]]`` with at least one value."""
    found = run.get(name, default)
    if not isinstance(found, list) or not found:
        raise ConfigError(f"{path}: [[runs]] needs {name} = [...], found {found!r}")
    return found


@contextmanager
def _import_from_folder_of(path: Path) -> Iterator[None]:
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _check_model(path: Path, name: str, model: Any) -> None:
    where = f"models.{name}"
    _check_name(path, where, name, ".:")
    check_names(path, where, model, _MODEL)
    _check_entry(path, where, model)
    _text(path, where, "title", model)
    _check_deterministic(path, where, model)
    variants, earlier = model.get("variants", {}), model.get("earlier", {})
    if not isinstance(variants, Mapping):
        raise ConfigError(
            f"{path}: {where} needs [{where}.variants.NAME] with settings, found variants = "
            f"{variants!r}"
        )
    for variant, settings in variants.items():
        own = f"{where}.variants.{variant}"
        _check_name(path, own, variant, ":")
        if not isinstance(settings, Mapping):
            raise ConfigError(f"{path}: {own} must be a table of settings, found {settings!r}")
        _check_deterministic(path, own, settings)
    names = ", ".join(variants) or "(none)"
    apart = model.get("apart", [])
    if not _are_texts(apart) or any(one not in variants for one in apart):
        raise ConfigError(
            f"{path}: {where} needs apart = [...], some of its variants {names}, found {apart!r}"
        )
    if not isinstance(earlier, Mapping) or not all(
        variant in variants and isinstance(own, list) and all(isinstance(one, dict) for one in own)
        for variant, own in earlier.items()
    ):
        raise ConfigError(
            f"{path}: {where} needs earlier.VARIANT = [{{...}}], older settings of its variants "
            f"{names}, found {earlier!r}"
        )


def _check_sets(path: Path, sets: Mapping[str, Any]) -> None:
    taken: dict[str, str] = {name: name for name in sets}
    for name, own in sets.items():
        where = f"sets.{name}"
        _check_name(path, where, name, ":")
        if not isinstance(own, Mapping) or not {"path", "entry"} & {*own}:
            raise ConfigError(
                f'{path}: {where} needs path = "FILE" or entry = "module:function", found {own!r}; '
                "a registered set needs no entry here"
            )
        if "entry" in own:
            _check_entry(path, where, own)
        else:
            check_names(path, where, own, ("path",))
            _text(path, where, "path", own)
        each = own.get("each", ["one"])
        if not _are_texts(each) or not each:
            raise ConfigError(
                f'{path}: {where} needs each = ["NAME", ...], the names of its sets; found {each!r}'
            )
        for one in own.get("each", []):
            _check_name(path, f"{where}.each", one, ":")
            if one in taken:
                raise ConfigError(
                    f"{path}: {where}.each names {one!r}, which sets.{taken[one]} names too; give "
                    "each set a name of its own"
                )
            taken[one] = name


def _check_name(path: Path, where: str, name: str, without: str) -> None:
    """Names are parts of "model.variant:set-horizon:protocol:seed"."""
    if not name or any(letter in name for letter in without):
        letters = " or ".join(map(repr, without))
        raise ConfigError(
            f"{path}: {where}: expected a name without {letters}, which stand between the parts of "
            f"a cell's name; found {name!r}; rename it"
        )


def _check_entry(path: Path, where: str, own: Mapping[str, Any]) -> None:
    entry = own.get("entry")
    module, _, name = entry.partition(":") if isinstance(entry, str) else ("", "", "")
    if not module or not name:
        raise ConfigError(f'{path}: {where} needs entry = "module:function", found {entry!r}')


def _check_deterministic(path: Path, where: str, own: Mapping[str, Any]) -> None:
    if not isinstance(own.get("deterministic", False), bool):
        raise ConfigError(
            f"{path}: {where} needs deterministic = true or false, found {own['deterministic']!r}"
        )


def _text(path: Path, where: str, name: str, found: Mapping[str, Any]) -> None:
    """Refuse a setting that is there and no text."""
    if name in found and (not isinstance(found[name], str) or not found[name]):
        raise ConfigError(f'{path}: {where} needs {name} = "TEXT", found {found[name]!r}')


def _are_texts(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(one, str) for one in found)
