"""Corrupt every byte of saved models, and count how many changes loading rejects.

    python benchmarks/reliability/flips.py                    # every byte; minutes
    python benchmarks/reliability/flips.py --n 1000  # at most 1000 bytes and lengths of each file

A forecaster, a classifier and an ONNX export, each with the smallest network. Every byte of every
file is changed (one random bit, then all bits), every file is truncated to every shorter length,
then left out, and an extra file is added. Each change goes through the verification at the start of
loading, and every hundredth through the full load. --json writes the counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, runtime
from convtimenet.errors import ArtefactError
from convtimenet.export import export
from convtimenet.runs.result import versions
from convtimenet.storage.manifest import read_folder

TINY = {"d_model": 2, "d_ff": 2, "kernel_sizes": (3,), "patch_size": 4, "patch_stride": 2}
FIXED = {"model": TINY, "n_epochs": 1, "device": "cpu", "verbose": 0}
WHOLE_LOAD = 100  # every 100th change goes through the full load


def main() -> None:
    """Create the models, corrupt them, write the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, help="maximum bytes and lengths per file")
    parser.add_argument("--seed", type=int, default=2023)
    parser.add_argument("--json", type=Path, help="write the counts to this file")
    given = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = [
            report(kind, path, load, np.random.default_rng(given.seed), given.n)
            for kind, path, load in models(Path(folder))
        ]
    tried = sum(sum(one["tried"].values()) for one in found)
    missed = [change for one in found for change in one["missed"]]
    result = {
        "command": " ".join(["python", "benchmarks/reliability/flips.py", *sys.argv[1:]]),
        "seed": given.seed,
        "versions": versions(),
        "tried": tried,
        "detected": tried - len(missed),
        "models": found,
        "seconds": round(time.monotonic() - begin),
    }
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{tried} changes, {tried - len(missed)} detected")
    sys.exit(bool(missed))


def models(folder: Path) -> Iterator[tuple[str, Path, Callable[[Path], object]]]:
    """One small model of each kind, with its load function."""
    t = np.arange(60)[:, None]
    forecaster = ConvTimeNetForecaster(h=2, input_size=8, **FIXED).fit(np.sin(t / [2.0, 3.0]))
    X, y = np.random.default_rng(0).normal(size=(12, 2, 10)), np.array(["a", "b"] * 6)
    classifier = ConvTimeNetClassifier(**FIXED).fit(X, y)
    export(forecaster, folder / "export", "onnx")
    yield "forecaster", forecaster.save(folder / "forecaster"), ConvTimeNetForecaster.load
    yield "classifier", classifier.save(folder / "classifier"), ConvTimeNetClassifier.load
    yield "export", folder / "export", runtime.load


def report(
    kind: str,
    folder: Path,
    load: Callable[[Path], object],
    random: np.random.Generator,
    most: int | None,
) -> dict[str, Any]:
    """Counts for one folder, which is restored afterwards."""
    load(folder)  # accepted when intact
    tried, missed, loads = Counter[str](), list[str](), 0
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    def refused(what: str, where: str) -> None:
        nonlocal loads
        whole = sum(tried.values()) % WHOLE_LOAD == 0 or what in ("file left out", "file added")
        loads += whole
        tried[what] += 1
        try:
            (load if whole else read_folder)(folder)
        except ArtefactError as error:
            if str(folder) in str(error):
                return
        missed.append(f"{kind}: {what}: {where}")

    for name, content in contents.items():
        path, size = folder / name, len(content)
        step = 1 if most is None else max(1, -(-size // most))
        changed = bytearray(content)
        with path.open("r+b", buffering=0) as file:
            for at in range(0, size, step):
                for what, mask in (("one bit", 1 << int(random.integers(8))), ("all bits", 0xFF)):
                    changed[at] = content[at] ^ mask
                    file.seek(at)
                    file.write(changed[at : at + 1])
                    refused(f"byte changed, {what}", f"{name} byte {at}")
                changed[at] = content[at]
                file.seek(at)
                file.write(changed[at : at + 1])
            for kept in range(size - 1, -1, -step):
                file.truncate(kept)
                refused("file cut", f"{name} after {kept} bytes")
        path.unlink()
        refused("file left out", name)
        path.write_bytes(content)
    for name in ("model.py", "MANIFEST.json", ".hidden"):
        (folder / name).write_bytes(b"")
        refused("file added", name)
        (folder / name).unlink()
    load(folder)
    sizes = {name: len(content) for name, content in contents.items()}
    return {"kind": kind, "bytes": sizes, "tried": tried, "whole_loads": loads, "missed": missed}


if __name__ == "__main__":
    main()
