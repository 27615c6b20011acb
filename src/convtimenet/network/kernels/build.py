"""Compile the fused CPU kernels, at several levels for a wheel or for the current processor.

Uses only the standard library, because `setup.py` needs it before anything is installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_NAMES = ("kernels.cpp", "encode.cpp", "patches.cpp")
SOURCES = tuple(Path(__file__).with_name(name) for name in _NAMES)
HEADERS = (Path(__file__).with_name("vectors.h"),)
# No errno, no traps, fused multiply-adds; but not -ffast-math: infinities and NaN must propagate.
FLAGS = (
    *("-O3", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
    *("-fopenmp", "-fPIC"),
)
NATIVE = ("-march=native",)
CPUINFO = Path("/proc/cpuinfo")
SECONDS = 300.0
"""Time limit for the compiler."""

MANIFEST = "manifest.json"
"""File next to the libraries in a wheel: digest of the sources, size and digest of each file."""


@dataclass(frozen=True)
class Level:
    """A class of processors that run the same code.

    Attributes
    ----------
    flags
        Compiler flags.
    needs
        Required processor flags, as named in Linux's ``/proc/cpuinfo``.
    """

    name: str
    flags: tuple[str, ...]
    needs: frozenset[str]


# The flags of x86-64-v2, -v3 and -v4.
_V2 = frozenset({"pni", "ssse3", "sse4_1", "sse4_2", "popcnt", "cx16", "lahf_lm"})
_V3 = _V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_AMX = {"avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"}

LEVELS = (
    # `encode.cpp` uses VNNI for its 8-bit products. Nothing in the sources uses AMX yet: that level
    # is the VNNI code, tuned for these processors.
    Level(
        "amx",
        (
            *("-march=x86-64-v4", "-mavx512vnni", "-mavx512bf16", "-mamx-tile", "-mamx-int8"),
            *("-mamx-bf16", "-mtune=sapphirerapids"),
        ),
        _V4 | _AMX | {"avx512_vnni"},
    ),
    Level("avx512-vnni", ("-march=x86-64-v4", "-mavx512vnni"), _V4 | {"avx512_vnni"}),
    Level("avx512", ("-march=x86-64-v4",), _V4),
    Level("avx2", ("-march=x86-64-v3",), _V3),
)
"""The levels of a wheel, best first."""


class BuildError(Exception):
    """No library could be built or loaded; the message says why and what to do about it."""


def fitting(levels: Sequence[Level] = LEVELS) -> list[Level]:
    """The levels this processor supports, best first; empty if that cannot be determined."""
    has = _processor_flags()
    return [level for level in levels if level.needs <= has]


def _processor_flags() -> frozenset[str]:
    """Flags common to all cores of this machine."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return frozenset()
    cores = [line.partition(":")[2].split() for line in lines if line.startswith("flags")]
    return frozenset(cores[0]).intersection(*cores[1:]) if cores else frozenset()


def sources_digest() -> str:
    """SHA-256 of the source files and compiler flags."""
    source = b"".join(path.read_bytes() for path in (*SOURCES, *HEADERS))
    return hashlib.sha256(source + " ".join(FLAGS).encode()).hexdigest()


def describe(data: bytes) -> dict[str, object]:
    """Size and digest that a file is checked against before it is loaded."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def intact(path: Path, expected: object) -> bool:
    """Whether a file can be read and matches its `describe` entry.

    A truncated or modified library may crash the process that loads it.
    """
    try:
        return describe(path.read_bytes()) == expected
    except OSError:
        return False


def compiler_words(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The C++ compiler command: ``CXX``, which may be several words (``ccache g++``), or ``c++``.

    Raises
    ------
    BuildError
        If there is no compiler.
    """
    named = environment.get("CXX", "").strip() or "c++"
    try:
        words = [named] if shutil.which(named) else shlex.split(named)
    except ValueError:  # unbalanced quotes
        words = [named]
    found = shutil.which(words[0])
    if found is None:
        raise BuildError(
            f"no C++ compiler was found (looked for {words[0]!r}); install one (g++ 9 or newer), "
            "set CXX to it, or install a wheel with prebuilt kernels (`make wheel`)"
        )
    return [found, *words[1:]]


def compile_library(target: Path, compiler: Sequence[str], flags: Sequence[str]) -> None:
    """Compile the kernels into a shared library.

    On Linux it links no OpenMP library: it uses the one that torch has loaded, so that there is a
    single thread pool and nothing to install. Clang calls functions of its own OpenMP library,
    which is linked.

    Raises
    ------
    BuildError
        If the compiler fails, or takes longer than `SECONDS`.
    """
    deadline = time.monotonic() + SECONDS
    with tempfile.TemporaryDirectory(prefix="convtimenet-") as folder:
        objects = [str(Path(folder) / f"{source.stem}.o") for source in SOURCES]
        for source, made in zip(SOURCES, objects, strict=True):
            _run([*compiler, *FLAGS, *flags, "-c", str(source), "-o", made], deadline)
        clang = "clang" in _run([*compiler, "--version"], deadline)
        own = ["-fopenmp"] if clang or sys.platform != "linux" else []
        _run([*compiler, "-shared", *objects, *own, "-o", str(target)], deadline)
    if not target.is_file():
        raise BuildError(f"the compiler {compiler[0]} wrote no file; set CXX to another one")


def _run(command: Sequence[str], deadline: float) -> str:
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, stdin=subprocess.DEVNULL,
            timeout=max(0.1, deadline - time.monotonic()),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BuildError(
            f"the compiler {command[0]} did not finish within {SECONDS:.0f} seconds; try again on "
            "a less busy machine, or set CXX to another compiler"
        ) from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        wrong = next((line for line in said if "error" in line), said[-1] if said else "no output")
        wrong = wrong.strip()[:300]
        raise BuildError(
            f"the compiler {command[0]} failed with status {error.returncode}: {wrong}; "
            "set CXX to another one (g++ 9 or newer)"
        ) from error
    except OSError as error:
        raise BuildError(
            f"the compiler {command[0]} cannot be run ({error.strerror}); set CXX to another one"
        ) from error
    return done.stdout.decode(errors="replace")


def build_levels(folder: Path, levels: Sequence[Level] = LEVELS) -> dict[str, int]:
    """Compile the levels of a wheel into a folder, with a manifest; return sizes in bytes by name.

    Raises
    ------
    BuildError
        If any of them fails to compile.
    """
    compiler = compiler_words()
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, object] = {}
    sizes: dict[str, int] = {}
    for level in levels:
        target = folder / f"{level.name}.so"
        compile_library(target, compiler, level.flags)
        data = target.read_bytes()
        files[target.name], sizes[level.name] = describe(data), len(data)
    manifest = {"sources": sources_digest(), "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return sizes
