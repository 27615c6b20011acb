"""Published scores, from the TOML file that the matrix names.

[[tables]]
source = "the source, and how its setup differs from ours"
models = ["DLinear", "PatchTST"]
[[tables.rows]]
set = "ETTh1"
horizons = [96, 192]        # scores are means over these; omit for classification
mse = [0.425, nan]          # in the order of the models; nan if there is none
mae = [0.439, nan]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convtimenet.bench.report.summary import SCORES
from convtimenet.bench.toml_file import check_names, read_toml
from convtimenet.errors import ConfigError

__all__ = ["Place", "Published", "read_published"]

Place = tuple[str, tuple[int, ...]]
"""A set and its horizons, () for classification."""


@dataclass(frozen=True)
class Published:
    """One model of one source.

    Attributes
    ----------
    model, source
        As in the file.
    scores
        Score name to values by set and horizons.
    """

    model: str
    source: str
    scores: Mapping[str, Mapping[Place, float]]


def read_published(path: Path) -> tuple[Published, ...]:
    """All models of a file.

    Raises
    ------
    ConfigError
        If the file is missing or not of this form.
    """
    found = read_toml(path, "a file of published scores")
    check_names(path, "the file", found, ("tables",))
    models: list[Published] = []
    for table in found.get("tables", []):
        check_names(path, "[[tables]]", table, ("source", "models", "rows"))
        names = table.get("models")
        if not isinstance(names, list) or not names or not table.get("source"):
            raise ConfigError(
                f"{path}: [[tables]] needs source = TEXT and models = [...], found "
                f"{table.get('source')!r} and {names!r}"
            )
        scores: list[dict[str, dict[Place, float]]] = [{} for _ in names]
        for row in table.get("rows", []):
            place = _place(path, row)
            for score in SCORES:
                for own, figure in zip(scores, _figures(path, row, score, len(names)), strict=True):
                    if not math.isnan(figure):
                        own.setdefault(score, {})[place] = figure
        models += [
            Published(str(name), str(table["source"]), own)
            for name, own in zip(names, scores, strict=True)
        ]
    return tuple(models)


def _place(path: Path, row: Any) -> Place:
    check_names(path, "[[tables.rows]]", row, ("set", "horizons", *SCORES))
    horizons = row.get("horizons", [])
    if not isinstance(row.get("set"), str) or not isinstance(horizons, list):
        raise ConfigError(
            f"{path}: [[tables.rows]] needs set = TEXT, and horizons = [...] for forecasting; "
            f"found {row!r}"
        )
    return row["set"], tuple(horizons)


def _figures(path: Path, row: Mapping[str, Any], score: str, count: int) -> list[float]:
    found = row.get(score, [math.nan] * count)
    right = isinstance(found, list) and len(found) == count
    if not right or not all(isinstance(figure, (int, float)) for figure in found):
        raise ConfigError(
            f"{path}: the row of {row['set']} needs {score} = [...] with a number for each of "
            f"{count} models (nan if there is none), found {found!r}"
        )
    return [float(figure) for figure in found]
