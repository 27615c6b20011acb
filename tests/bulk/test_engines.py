"""The command with Ray, Spark and Dask, where `make scale` has made their environments."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("engine", ["ray", "spark", "dask"])
def test_the_command_writes_the_same_bytes(engine: str) -> None:
    """All else that they are tested for is in `make scale`."""
    folder = ROOT / ".cache" / f"{engine}-venv"
    if not (folder / ".installed").exists():
        pytest.skip(f"there is no .cache/{engine}-venv, which `make scale` makes")
    command = [folder / "bin" / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-m", "scale", "-W", "default", "--disable-warnings"]
    command += [f"tests/bulk/test_{engine}.py::test_the_command"]
    given = {"OMP_NUM_THREADS": "1", "JAXTYPING_DISABLE": "1", "PYTHONPATH": str(ROOT / "src")}
    found = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **given}, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.splitlines()[-1].startswith("1 passed")
