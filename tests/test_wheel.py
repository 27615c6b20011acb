"""The wheel with compiled kernels, installed where there is no compiler."""

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convtimenet.network.kernels import build

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() != "x86_64", reason="wheels of Linux, x86-64"
    ),
    pytest.mark.skipif(importlib.util.find_spec("setuptools") is None, reason="no setuptools"),
]
ROOT = Path(__file__).parents[1]
LEVELS = ["amx", "avx512-vnni", "avx512", "avx2"]

WORK = """
import json, sys
import numpy as np
import convtimenet
from convtimenet import ConvTimeNetForecaster

used = convtimenet.warm_up()
waves = np.sin(np.arange(300)[:, None] / np.array([3.0, 5.0]))
model = ConvTimeNetForecaster(
    h=4, input_size=48, n_epochs=2, device="cpu", verbose=0, random_state=0,
    model={"d_model": 16, "d_ff": 32, "kernel_sizes": (3, 5), "patch_size": 8, "patch_stride": 4,
           "dropout": 0.0},
).fit(waves)
maps = open("/proc/self/maps").read().split()
print(json.dumps({
    "file": convtimenet.__file__, "level": used.level, "reason": used.reason,
    "openmp": sorted({x for x in maps if "libgomp" in x}),
    "loaded": sorted({x for x in maps if "/kernels/built/" in x or "/kernels-" in x}),
    "forecast": model.predict().tolist(),
}))
"""


def run(command: list[str], **environment: str) -> str:
    """What a program prints that finds no other program, and none of this process's settings."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(folder: Path, **environment: str) -> Path:
    """A wheel of a copy of the sources."""
    tree = folder / "tree"
    tree.mkdir(parents=True)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info", "built")
    shutil.copytree(ROOT / "src", tree / "src", ignore=skip)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    run([*command, "--no-index", "-w", str(folder), str(tree)], HOME=str(folder), **environment)
    [wheel] = folder.glob("*.whl")
    return wheel


class Installed:
    """An environment with a wheel and what it depends on, and nothing to compile with."""

    def __init__(self, folder: Path, wheel: Path):
        self.folder = folder
        venv.create(folder / "env", with_pip=False, symlinks=True)
        self.python = str(folder / "env" / "bin" / "python")
        [packages] = (folder / "env" / "lib").glob("python*/site-packages")
        self.package = packages / "convtimenet"
        # torch and the others, without what .pth files there add, such as this checkout
        dependencies = Path(torch.__file__).parents[1]
        (packages / "dependencies.pth").write_text(f"{dependencies}\n")
        command = [sys.executable, "-m", "pip", "--python", self.python, "install", "--no-deps"]
        run([*command, "--no-index", "--force-reinstall", str(wheel)], HOME=str(folder))

    def work(self, **environment: str) -> dict[str, Any]:
        found = run(
            [self.python, "-c", WORK], HOME=str(self.folder), PATH=str(self.folder / "empty"),
            XDG_CACHE_HOME=str(self.folder / "cache"), OMP_NUM_THREADS="1", **environment,
        )  # fmt: skip
        result = json.loads(found.splitlines()[-1])
        assert Path(result["file"]).parent == self.package
        assert not list(self.folder.glob("cache/**/*.so"))
        return result


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Installed:
    try:
        build.compiler_words()
    except build.BuildError:
        pytest.skip("no C++ compiler here")
    folder = tmp_path_factory.mktemp("wheel")
    wheel = built(folder, CONVTIMENET_WHEEL_KERNELS="1", PATH=os.environ["PATH"])
    assert wheel.name.endswith("-py3-none-linux_x86_64.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [tags] = [name for name in names if name.endswith(".dist-info/WHEEL")]
        assert "Root-Is-Purelib: false" in archive.read(tags).decode()
    libraries = {Path(name).stem for name in names if name.endswith(".so")}
    assert libraries == set(LEVELS)
    return Installed(folder, wheel)


def test_the_kernels_are_used_without_a_compiler(installed):
    fitting = [level.name for level in build.fitting()]
    if not fitting:
        pytest.skip("this processor has no AVX2")
    found, plain = installed.work(), installed.work(CONVTIMENET_NATIVE="0")
    assert found["level"] == fitting[0]
    [loaded] = found["loaded"]
    assert loaded.endswith(f"/kernels/built/{fitting[0]}.so")
    assert plain["level"] is None
    assert plain["loaded"] == []
    np.testing.assert_allclose(found["forecast"], plain["forecast"], rtol=0, atol=2e-4)
    # one pool of threads: nothing but what torch and scikit-learn bring themselves
    assert found["openmp"] == plain["openmp"]


def test_a_damaged_library_is_passed_over(installed):
    fitting = [level.name for level in build.fitting()]
    if len(fitting) < 2:
        pytest.skip("this processor fits one level at most")
    path = installed.package / "network" / "kernels" / "built" / f"{fitting[0]}.so"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        assert installed.work()["level"] == fitting[1]
    finally:
        path.write_bytes(whole)


def test_a_build_without_a_compiler_is_of_python_alone(tmp_path):
    wheel = built(tmp_path, PATH=str(tmp_path / "empty"))
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if "/built/" in name]
    found = Installed(tmp_path, wheel).work()
    assert found["level"] is None
    assert "no C++ compiler was found" in found["reason"]
    assert np.isfinite(found["forecast"]).all()


def test_kernels_asked_for_and_no_compiler(tmp_path):
    with pytest.raises(AssertionError, match=r"the kernels cannot be compiled: no C\+\+ compiler"):
        built(tmp_path, CONVTIMENET_WHEEL_KERNELS="1", PATH=str(tmp_path / "empty"))
