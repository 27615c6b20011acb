"""The layout: folders and modules of a size that a person can hold in mind, imports one way."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORECASTER = "convtimenet.estimators.forecasting.forecaster"
PACKAGE = ROOT / "src" / "convtimenet"
MODULES = sorted(PACKAGE.rglob("*.py"))


def test_no_folder_holds_more_than_16_modules():
    counts = {
        folder: len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        for folder in {path.parent for path in MODULES}
    }
    assert {str(folder): n for folder, n in counts.items() if n > 16} == {}


def test_a_module_over_450_lines_says_why_in_its_first_lines():
    for path in MODULES:
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > 450:
            assert any("One file, because" in line for line in lines[:12]), path


def lint(package: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("lint-imports")
    if not command.is_file():
        pytest.skip("import-linter belongs to the extra 'dev'")
    return subprocess.run(
        [command, "--no-cache", ROOT / "pyproject.toml"],
        cwd=package.parent,
        env={"PYTHONPATH": str(package.parent), "PATH": "", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("errors", "", None),
        ("data/windows", "from convtimenet.training import losses", "Stages import downwards"),
        ("network/revin", "from convtimenet.data import windows", "Stages import downwards"),
        (
            "estimators/presets/derived",
            "import convtimenet.estimators.forecasting.forecaster",
            "No circle",
        ),
        ("new_stage/thing", "from convtimenet import errors", "must be declared as a layer"),
    ],
    ids=["as it is", "upward", "sideways", "circle", "a folder nobody placed"],
)
def test_lint_fails_on_an_upward_import_and_on_a_circle(tmp_path, module, line, broken):
    package = tmp_path / "convtimenet"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    path = package / f"{module}.py"
    if not path.exists():
        path.parent.mkdir()
        (path.parent / "__init__.py").touch()
        path.touch()
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    found = lint(package)
    assert (found.returncode == 0) == (broken is None), found.stdout + found.stderr
    if broken is not None:
        assert broken in found.stdout
