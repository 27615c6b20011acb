"""The cells to run: a matrix of models, data sets, horizons, protocols and seeds in a TOML file.

published = "published.toml"                 # optional: published scores for the report
reference = "ridge"                          # optional: the report shows errors relative to it
ours = ["convtimenet"]                       # optional: the report compares these with the others

[models.ridge]
entry = "convtimenet.bench.ridge:ridge"      # package, or module next to this file : function
title = "Ridge"                              # for the report
deterministic = true                         # its scores do not depend on the seed; also in a
                                             # variant, where it is no keyword argument
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

from convtimenet.bench.checks import check_file, check_horizon, check_runnable, check_who, some
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
            If it is missing or not TOML, or if a value has the wrong type or names what there is
            not (`convtimenet.bench.checks`).
        """
        path = Path(path)
        found = read_toml(path, "a matrix file")
        check_file(path, found)
        models, given = found.get("models", {}), found.get("sets", {})
        groups = {name: own["each"] for name, own in given.items() if "each" in own}
        sets = {name: own for name, own in given.items() if name not in groups}
        for group, names in groups.items():
            shared = {key: value for key, value in given[group].items() if key != "each"}
            sets |= {name: {**shared, "group": group} for name in names}
        cells: dict[str, Cell] = {}
        for run in found.get("runs", []):
            for cell in _cells(path, run, models, sets, groups):
                cells.setdefault(cell.key, cell)
        if not cells:
            raise ConfigError(f"{path}: expected [[runs]] with models and sets, found none")
        published = found.get("published")
        return cls(
            path=path,
            title=found.get("title", path.stem),
            results=path.parent / found.get("results", "results") / f"{path.stem}.jsonl",
            cells=tuple(cells.values()),
            models=models,
            sets=sets,
            published=None if published is None else path.parent / published,
            reference=found.get("reference"),
            ours=tuple(found.get("ours", [])),
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

    def check_runnable(self, cells: Sequence[Cell]) -> None:
        """Refuse cells whose function or data cannot be found, before one of them runs.

        Raises
        ------
        ConfigError
            If a function cannot be imported, or the files of a set are not there.
        """
        own = {cell.dataset: self.sets[cell.dataset] for cell in cells if cell.dataset in self.sets}
        check_runnable(self.path, [self.models[cell.model]["entry"] for cell in cells], own)

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
        own = self.models[cell.model].get("variants", {}).get(cell.variant, {})
        return {name: value for name, value in own.items() if name != "deterministic"}


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
    path: Path,
    run: Any,
    models: Mapping[str, Any],
    own: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, list[str]],
) -> Iterator[Cell]:
    """The cells of one entry of ``[[runs]]``; `own` are the file's sets by name."""
    check_names(path, "[[runs]]", run, ("models", "sets", "horizons", "protocols", "seeds"))
    names = some(path, run, "sets")
    sets = [one for name in names for one in groups.get(str(name), [name])]
    for who, dataset, horizon, protocol, seed in product(
        some(path, run, "models"),
        sets,
        some(path, run, "horizons", [None]),
        some(path, run, "protocols", ["honest"]),
        some(path, run, "seeds", [2023]),
    ):
        model, variant = check_who(path, "[[runs]]", who, models)
        if protocol not in ("honest", "paper"):
            raise ConfigError(f"{path}: protocols are 'honest' and 'paper', found {protocol!r}")
        if horizon is not None and (type(horizon) is not int or horizon < 1):
            raise ConfigError(f"{path}: horizons are whole numbers from 1, found {horizon!r}")
        if type(seed) is not int or seed not in range(2**32):
            raise ConfigError(
                f"{path}: seeds are whole numbers from 0 to 2**32 - 1, found {seed!r}"
            )
        check_horizon(path, dataset, horizon, own)
        yield Cell(dataset, horizon, model, variant, protocol, seed)
