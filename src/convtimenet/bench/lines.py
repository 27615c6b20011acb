"""The results of a matrix: a JSON Lines file with one line per cell, written as cells finish."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convtimenet.bench.matrix import Cell, Matrix
from convtimenet.errors import ConfigError
from convtimenet.files import json_text, locked

__all__ = ["add", "alone", "by_key", "of_matrix", "read"]


def read(path: Path) -> list[dict[str, Any]]:
    """All lines; none if there is no file. An incomplete last line is ignored.

    Raises
    ------
    ConfigError
        If another line is not a result.
    """
    if not path.exists():
        return []
    found: list[dict[str, Any]] = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            one = json.loads(line)
            Cell(**one["cell"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                continue
            raise ConfigError(
                f"{path}, line {number}: expected a result as JSON, found {error}; remove the line"
            ) from error
        found.append(one)
    return found


def by_key(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The newest result of each cell that has scores."""
    return {Cell(**line["cell"]).key: line for line in lines if "scores" in line}


def of_matrix(
    matrix: Matrix, lines: list[dict[str, Any]]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The newest result of each cell that counts (`Matrix.counts`), and the cells of the matrix
    that have only results of other settings."""
    cells = {cell.key: cell for cell in matrix.cells}

    def counts(line: dict[str, Any]) -> bool:
        cell = cells.get(Cell(**line["cell"]).key)
        return cell is None or matrix.counts(cell, line)

    found = by_key([line for line in lines if counts(line)])
    return found, sorted(by_key(lines).keys() - found.keys())


def add(path: Path, line: Mapping[str, Any]) -> None:
    """Append one line and flush it to disk; an incomplete last line is removed first."""
    data = json_text(line).encode() + b"\n"
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Lock the results for this run; two runs at once would run the same cells.

    Raises
    ------
    ConfigError
        If another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock")) as holder:
        if holder is not None:
            raise ConfigError(
                f"{path} is being written by {holder}; wait for it, or give another --out"
            )
        yield
