"""The cells to run: a matrix of models, data sets, horizons, protocols and seeds in a TOML file.

published = "published.toml"                 # optional: published scores for the report
reference = "ridge"                          # optional: the report shows errors relative to it
ours = ["convtimenet"]                       # optional: the report compares these with the others

[models.ridge]
entry = "convtimenet.bench.ridge:ridge"      # package, or module next to this file : function
title = "Ridge"                              # for the report
deterministic = true                         # its scores do not depend on the seed
[models.convtimenet]
entry = "convtimenet.bench.models:forecaster"
apart = ["best"]                             # optional: variants with a column of their own
[models.convtimenet.variants.best]
quality = "best"
[models.convtimenet.variants.paper]          # keyword arguments of the function
preset = "paper"
[[models.convtimenet.earlier.paper]]         # optional: older settings of a variant that mean the
                                             # same; results measured with them count

[sets.mine]                                  # only for sets that are not registered
path = "data/mine.csv"
[sets.monthly]                               # a group, which the report summarizes
entry = "small:problem"                      # a function; other settings are its keyword arguments
each = ["gas@1", "gas@2"]                    # the sets of the group

[[runs]]
models = ["ridge", "convtimenet.paper"]
sets = ["ETTh1", "mine"]
horizons = [96]
protocols = ["honest"]                       # the default
seeds = [2023]                               # the default
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

from convtimenet.bench.toml_file import check_names, read_toml
from convtimenet.config import Protocol
from convtimenet.errors import ConfigError
from convtimenet.files import json_text
from convtimenet.names import meant

__all__ = ["Cell", "Matrix"]


@dataclass(frozen=True, order=True)
class Cell:
    """One model on one data set.

    Attributes
    ----------
    model, variant
        A model of the matrix and its settings; "" for a model without variants.
    dataset, horizon
        A registered set or one of the matrix; the horizon is None for classification.
    protocol
        "honest" or "paper", as `TrainConfig.protocol`.
    seed
        Seed of weights, batch order and dropout.
    """

    dataset: str
    horizon: int | None
    model: str
    variant: str
    protocol: Protocol
    seed: int

    @property
    def who(self) -> str:
        """Model and variant."""
        return f"{self.model}.{self.variant}" if self.variant else self.model

    @property
    def where(self) -> str:
        """Data set and horizon."""
        return self.dataset if self.horizon is None else f"{self.dataset}-{self.horizon}"

    @property
    def key(self) -> str:
        """The cell's name, which ``--only`` matches: who:where:protocol:seed."""
        return f"{self.who}:{self.where}:{self.protocol}:{self.seed}"

    def fits(self, pattern: str) -> bool:
        """Whether a shell pattern matches the key.

        The last parts may be left out and then match anything: "ridge:ETTh1-96".
        """
        return fnmatch.fnmatchcase(self.key, pattern + ":*" * (3 - pattern.count(":")))


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The cells of a matrix file, with their models and sets.

    Attributes
    ----------
    path
        The TOML file; modules and relative paths are looked up in its folder.
    title
        Title of the report.
    results
        The JSON Lines file.
    cells
        In the order they run.
    models, sets
        By name: entry, variants and titles; paths and entries of sets that are not registered.
    published
        The file of published scores, or None.
    reference
        The model, or model.variant, that the report's errors are relative to, or None.
    ours
        The models that the report compares with each of the others.
    """

    path: Path
    title: str
    results: Path
    cells: tuple[Cell, ...]
    models: Mapping[str, Mapping[str, Any]]
    sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    published: Path | None = None
    reference: str | None = None
    ours: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> Matrix:
        """Read a matrix file.

        Raises
        ------
        ConfigError
            If it is missing, not TOML, or names an unknown model, variant or protocol.
        """
        path = Path(path)
        found = read_toml(path, "a matrix file")
        check_names(
            path,
            "the file",
            found,
            ("title", "results", "published", "reference", "ours", "models", "sets", "runs"),
        )
        models, given = found.get("models", {}), found.get("sets", {})
        for name, tables in (("models", models), ("sets", given)):
            if not isinstance(tables, Mapping):
                raise ConfigError(f"{path}: expected [{name}.NAME], found {name} = {tables!r}")
        for name, own in given.items():
            _check_set(path, name, own)
        groups = {name: own["each"] for name, own in given.items() if "each" in own}
        sets = {name: own for name, own in given.items() if name not in groups}
        for group, names in groups.items():
            shared = {key: value for key, value in given[group].items() if key != "each"}
            sets |= {name: {**shared, "group": group} for name in names}
        for name, model in models.items():
            _check_model(path, name, model)
        published, reference = found.get("published"), found.get("reference")
        if reference is not None:
            _check_who(path, "reference", reference, models)
        ours = found.get("ours", [])
        if not isinstance(ours, list) or any(name not in models for name in ours):
            raise ConfigError(
                f"{path}: ours = [...] names models of the file, without variants; expected some "
                f"of {', '.join(models)}, found {ours!r}"
            )
        cells: dict[str, Cell] = {}
        for run in found.get("runs", []):
            for cell in _cells(path, run, models, groups):
                cells.setdefault(cell.key, cell)
        if not cells:
            raise ConfigError(f"{path}: expected [[runs]] with models and sets, found none")
        return cls(
            path=path,
            title=str(found.get("title", path.stem)),
            results=path.parent / str(found.get("results", "results")) / f"{path.stem}.jsonl",
            cells=tuple(cells.values()),
            models=models,
            sets=sets,
            published=None if published is None else path.parent / str(published),
            reference=reference,
            ours=tuple(ours),
        )

    def only(self, patterns: Sequence[str]) -> tuple[Cell, ...]:
        """The cells that match one of the patterns (`Cell.fits`); all without patterns.

        Raises
        ------
        ConfigError
            If a pattern matches no cell.
        """
        if not patterns:
            return self.cells
        chosen = set()
        for pattern in patterns:
            fitting = [cell.key for cell in self.cells if cell.fits(pattern)]
            if not fitting:
                near = meant(pattern, [cell.key for cell in self.cells])
                raise ConfigError(
                    f"--only: no cell of {self.path} matches {pattern!r}"
                    + (f"; did you mean {near}?" if near else "; --dry_run lists them")
                )
            chosen.update(fitting)
        return tuple(cell for cell in self.cells if cell.key in chosen)

    def fingerprint(self, cell: Cell) -> dict[str, Any]:
        """The cell's model independent of its name in this matrix: entry and settings."""
        return {"entry": self.models[cell.model]["entry"], "settings": self.settings(cell)}

    def counts(self, cell: Cell, line: Mapping[str, Any]) -> bool:
        """Whether a line of results was measured with the cell's model and set as they are now: the
        model's entry and settings, or earlier ones that the matrix says mean the same, and the
        set's (`data`). Lines of versions that did not write them count."""
        own = self.fingerprint(cell)
        earlier = self.models[cell.model].get("earlier", {}).get(cell.variant, [])
        same = [own, *({**own, "settings": settings} for settings in earlier)]
        if "model" in line and line["model"] not in json.loads(json_text(same)):
            return False
        if "data" not in line:
            return True
        data = self.data(cell)
        gone = data is not None and "content" in data and data["content"] is None
        return gone or line["data"] == json.loads(json_text(data))

    def data(self, cell: Cell) -> dict[str, Any] | None:
        """What tells a set of the matrix from another of the same name: its settings, and for a
        path the content of the files there, None if there are none. Registered sets, which have
        checksums, have no such data."""
        own = self.sets.get(cell.dataset)
        if own is None:
            return None
        settings = {name: value for name, value in own.items() if name not in ("group", "path")}
        if "path" not in own:
            return settings
        path = self.path.parent / str(own["path"])
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        stats = [(file, file.stat()) for file in files if file.is_file()]
        stamps = tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in stats)
        return {**settings, "content": _content(stamps) if stamps else None}

    def settings(self, cell: Cell) -> dict[str, Any]:
        """Keyword arguments of the cell's model."""
        return dict(self.models[cell.model].get("variants", {}).get(cell.variant, {}))


@lru_cache
def _content(stamps: tuple[tuple[Path, int, int], ...]) -> str:
    """SHA-256 of files' names and contents; size and time tell when to read them again."""
    digest = hashlib.sha256()
    for file, size, _ in stamps:
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _cells(
    path: Path, run: Mapping[str, Any], models: Mapping[str, Any], groups: Mapping[str, list[str]]
) -> Iterator[Cell]:
    """The cells of one entry of ``[[runs]]``."""
    check_names(path, "[[runs]]", run, ("models", "sets", "horizons", "protocols", "seeds"))
    sets = [one for name in _some(path, run, "sets") for one in groups.get(name, [name])]
    for who, dataset, horizon, protocol, seed in product(
        _some(path, run, "models"),
        sets,
        _some(path, run, "horizons", [None]),
        _some(path, run, "protocols", ["honest"]),
        _some(path, run, "seeds", [2023]),
    ):
        model, variant = _check_who(path, "[[runs]]", who, models)
        if protocol not in ("honest", "paper"):
            raise ConfigError(f"{path}: protocols are 'honest' and 'paper', found {protocol!r}")
        if horizon is not None and (type(horizon) is not int or horizon < 1):
            raise ConfigError(f"{path}: horizons are whole numbers from 1, found {horizon!r}")
        if type(seed) is not int:
            raise ConfigError(f"{path}: seeds are whole numbers, found {seed!r}")
        yield Cell(str(dataset), horizon, model, variant, protocol, seed)


def _check_model(path: Path, name: str, model: Any) -> None:
    check_names(
        path,
        f"models.{name}",
        model,
        ("entry", "title", "deterministic", "variants", "apart", "earlier"),
    )
    if ":" not in str(model.get("entry", "")):
        raise ConfigError(
            f'{path}: models.{name} needs entry = "module:function", found {model.get("entry")!r}'
        )
    if not isinstance(model.get("deterministic", False), bool):
        raise ConfigError(
            f"{path}: models.{name} needs deterministic = true or false, found "
            f"{model['deterministic']!r}"
        )
    earlier, variants = model.get("earlier", {}), model.get("variants", {})
    apart = model.get("apart", [])
    if not isinstance(apart, list) or any(one not in variants for one in apart):
        raise ConfigError(
            f"{path}: models.{name} needs apart = [...], some of its variants "
            f"{', '.join(variants) or '(none)'}, found {apart!r}"
        )
    if not isinstance(earlier, Mapping) or not all(
        variant in variants and isinstance(own, list) and all(isinstance(one, dict) for one in own)
        for variant, own in earlier.items()
    ):
        raise ConfigError(
            f"{path}: models.{name} needs earlier.VARIANT = [{{...}}], older settings of its "
            f"variants {', '.join(variants) or '(none)'}, found {earlier!r}"
        )


def _check_set(path: Path, name: str, own: Any) -> None:
    if not isinstance(own, Mapping) or not {"path", "entry"} & {*own}:
        raise ConfigError(
            f'{path}: sets.{name} needs path = "FILE" or entry = "module:function", found {own!r}; '
            "a registered set needs no entry here"
        )
    if "entry" not in own:
        check_names(path, f"sets.{name}", own, ("path",))
    each = own.get("each", ["one"])
    if not isinstance(each, list) or not each or not all(isinstance(one, str) for one in each):
        raise ConfigError(
            f'{path}: sets.{name} needs each = ["NAME", ...], the names of its sets; found {each!r}'
        )


def _check_who(path: Path, where: str, who: Any, models: Mapping[str, Any]) -> tuple[str, str]:
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


def _some(
    path: Path, run: Mapping[str, Any], name: str, default: Sequence[Any] | None = None
) -> Sequence[Any]:
    found = run.get(name, default)
    if not isinstance(found, list) or not found:
        raise ConfigError(f"{path}: [[runs]] needs {name} = [...], found {found!r}")
    return found
