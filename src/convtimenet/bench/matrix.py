"""What is to be run: a matrix of models, data sets, horizons, protocols and seeds in a TOML file.

[models.ridge]
entry = "convtimenet.bench.models:ridge"     # package or module beside the file : function
[models.convtimenet]
entry = "convtimenet.bench.models:forecaster"
[models.convtimenet.variants.paper]          # keyword arguments of the function
preset = "paper"

[sets.mine]                                  # only for sets that are not registered
path = "data/mine.csv"

[[runs]]
models = ["ridge", "convtimenet.paper"]
sets = ["ETTh1", "mine"]
horizons = [96]
protocols = ["honest"]                       # the default
seeds = [2023]                               # the default
"""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from convtimenet.config import Protocol
from convtimenet.errors import ConfigError
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
        Of weights, batch order and dropout.
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
        """The cell's name, by which ``--only`` picks it: who:where:protocol:seed."""
        return f"{self.who}:{self.where}:{self.protocol}:{self.seed}"

    def fits(self, pattern: str) -> bool:
        """Whether a shell pattern fits the key; one that lacks the ending parts of a key stands for
        all of them: "ridge:ETTh1-96"."""
        return fnmatch.fnmatchcase(self.key, pattern + ":*" * (3 - pattern.count(":")))


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The cells of a file, and what their models and sets are.

    Attributes
    ----------
    path
        The TOML file; entries of modules beside it and relative paths are looked up there.
    title
        For the report.
    results
        The file of JSON lines.
    cells
        In the order they run.
    models, sets
        By name: entry, variants and titles; paths and entries of sets that are not registered.
    """

    path: Path
    title: str
    results: Path
    cells: tuple[Cell, ...]
    models: Mapping[str, Mapping[str, Any]]
    sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> Matrix:
        """Read a matrix file.

        Raises
        ------
        ConfigError
            If it is absent, no TOML, or names a model, variant or protocol that there is not.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                found = tomllib.load(file)
        except OSError as error:
            raise ConfigError(
                f"expected a matrix file, found none at {path} ({error.strerror}); check the path"
            ) from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}: expected TOML, found {error}; correct that line") from error
        _only(path, "the file", found, ("title", "results", "models", "sets", "runs"))
        models, given = found.get("models", {}), found.get("sets", {})
        groups = {name: own["each"] for name, own in given.items() if "each" in own}
        sets = {name: own for name, own in given.items() if name not in groups}
        for group, names in groups.items():
            shared = {key: value for key, value in given[group].items() if key != "each"}
            sets |= {name: {**shared, "group": group} for name in names}
        for name, model in models.items():
            _only(path, f"models.{name}", model, ("entry", "title", "variants"))
            if ":" not in str(model.get("entry", "")):
                raise ConfigError(
                    f'{path}: models.{name} needs entry = "module:function", found '
                    f"{model.get('entry')!r}"
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
        )

    def only(self, patterns: Sequence[str]) -> tuple[Cell, ...]:
        """The cells that one of the patterns fits (`Cell.fits`); all without patterns.

        Raises
        ------
        ConfigError
            If one of the patterns fits no cell.
        """
        if not patterns:
            return self.cells
        chosen = set()
        for pattern in patterns:
            fitting = [cell.key for cell in self.cells if cell.fits(pattern)]
            if not fitting:
                near = meant(pattern, [cell.key for cell in self.cells])
                raise ConfigError(
                    f"--only: no cell of {self.path} fits {pattern!r}"
                    + (f"; did you mean {near}?" if near else "; --dry_run lists them")
                )
            chosen.update(fitting)
        return tuple(cell for cell in self.cells if cell.key in chosen)

    def settings(self, cell: Cell) -> dict[str, Any]:
        """Keyword arguments of the cell's model."""
        return dict(self.models[cell.model].get("variants", {}).get(cell.variant, {}))


def _cells(
    path: Path, run: Mapping[str, Any], models: Mapping[str, Any], groups: Mapping[str, list[str]]
) -> Iterator[Cell]:
    """The cells of one entry of ``[[runs]]``."""
    _only(path, "[[runs]]", run, ("models", "sets", "horizons", "protocols", "seeds"))
    sets = [one for name in _some(path, run, "sets") for one in groups.get(name, [name])]
    for who, dataset, horizon, protocol, seed in product(
        _some(path, run, "models"),
        sets,
        run.get("horizons", [None]),
        run.get("protocols", ["honest"]),
        run.get("seeds", [2023]),
    ):
        model, _, variant = str(who).partition(".")
        if model not in models:
            raise ConfigError(
                f"{path}: [[runs]] names the model {model!r}, which [models] lacks; "
                f"expected one of {', '.join(models)}"
            )
        variants = models[model].get("variants", {})
        if variant not in variants and (variant or variants):
            raise ConfigError(
                f"{path}: [[runs]] names {who!r}; {model} has the variants "
                f"{', '.join(variants) or 'none'}: write {model}.VARIANT"
            )
        if protocol not in ("honest", "paper"):
            raise ConfigError(f"{path}: protocols are 'honest' and 'paper', found {protocol!r}")
        yield Cell(str(dataset), horizon, model, variant, protocol, int(seed))


def _some(path: Path, run: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = run.get(name)
    if not isinstance(found, list) or not found:
        raise ConfigError(f"{path}: [[runs]] needs {name} = [...], found {found!r}")
    return found


def _only(path: Path, where: str, found: Any, known: Sequence[str]) -> None:
    """Refuse settings that nothing reads."""
    if not isinstance(found, Mapping):
        raise ConfigError(f"{path}: {where} must be a table of settings, found {found!r}")
    for name in found:
        if name not in known:
            hint = meant(name, known)
            raise ConfigError(
                f"{path}: {where} has no setting {name!r}; "
                + (f"did you mean {hint}?" if hint else f"expected some of {', '.join(known)}")
            )
