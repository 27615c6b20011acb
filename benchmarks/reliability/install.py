"""Install built distributions, each in an empty environment; then import, help, a forecast."""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import venv
from pathlib import Path

ROWS = "".join(f"2024-{1 + i // 28:02}-{1 + i % 28:02},{i % 7}\n" for i in range(28))


def check(built: Path, constraints: Path) -> None:
    """Raises CalledProcessError or AssertionError if the distribution does not work."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "env", with_pip=True)
        bin_ = folder / "env" / "bin"
        install = [bin_ / "python", "-m", "pip", "install", "-q", "-c", constraints]
        subprocess.run([*install, f"{built}[cli]"], check=True, cwd=folder)
        subprocess.run(
            [bin_ / "python", "-W", "error", "-c", "import convtimenet"], check=True, cwd=folder
        )
        program = bin_ / "convtimenet"
        subprocess.run([program, "--help"], check=True, cwd=folder, stdout=subprocess.DEVNULL)
        (folder / "sales.csv").write_text("day,sales\n" + ROWS, encoding="utf-8")
        forecast = [program, "forecast", "sales.csv", "--h", "3", "--quality", "fast"]
        subprocess.run([*forecast, "--out", "out.csv"], check=True, cwd=folder)
        lines = (folder / "out.csv").read_text(encoding="utf-8").splitlines()
        assert len(lines) == 4, lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-c", dest="constraints", type=Path, required=True)
    parser.add_argument("built", type=Path, nargs="+")
    given = parser.parse_args()
    for path in given.built:
        check(path.resolve(), given.constraints.resolve())
