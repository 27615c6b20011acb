"""The step of a build that pyproject.toml cannot say: compiling the fused CPU kernels into a wheel.

``CONVTIMENET_WHEEL_KERNELS=1`` asks for it (`make wheel` does), and needs a C++ compiler. Any other
build is of Python alone, and compiles the kernels at first use where a compiler is at hand.
"""

import os
import platform
import shutil
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

KERNELS = os.environ.get("CONVTIMENET_WHEEL_KERNELS", "0") == "1"


class BinaryDistribution(Distribution):
    """Keeps what it builds apart from what a build without the kernels leaves."""

    def has_ext_modules(self) -> bool:
        return KERNELS


class BuildKernels(build_py):
    """Compiles every level, with a manifest, beside the sources."""

    def run(self) -> None:
        super().run()
        if not KERNELS or self.editable_mode:
            return
        if sys.platform != "linux" or platform.machine() != "x86_64":
            raise SystemExit("the kernels of a wheel are for Linux on x86-64; build without them")
        sys.path.insert(0, str(Path(__file__).parent / "src"))
        from convtimenet.network.kernels import build

        folder = Path(self.build_lib) / "convtimenet" / "network" / "kernels" / "built"
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier build
        try:
            sizes = build.build_levels(folder)
        except build.BuildError as error:
            raise SystemExit(f"the kernels cannot be compiled: {error}") from None
        for name, size in sizes.items():
            self.announce(f"kernels of level {name}: {size / 1024:.0f} KiB", level=2)


class PlatformWheel(bdist_wheel):
    """Any Python 3 will do: ctypes loads the kernels, they know nothing of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, system = super().get_tag()
        return ("py3", "none", system) if KERNELS else (python, abi, system)


setup(
    distclass=BinaryDistribution,
    cmdclass={"build_py": BuildKernels, "bdist_wheel": PlatformWheel},
)
