"""Choosing, checking and loading the compiled kernels.

In this order: a library that came with the wheel and fits the processor; one compiled here before,
in the user's cache folder; one compiled now. Each is checked against its size and SHA-256 before
it is loaded, for a damaged one can kill the process. Without any, or with
``CONVTIMENET_NATIVE=0``, plain torch code does the same work more slowly.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from convtimenet.errors import ConvTimeNetError
from convtimenet.files import cache_folder, locked, write_whole
from convtimenet.network.kernels import build

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).with_name("built")
"""Where a wheel has its libraries."""


@dataclass(frozen=True)
class Kernels:
    """What computes on the CPU in this process.

    Attributes
    ----------
    level
        "amx", "avx512-vnni", "avx512" or "avx2": a library that came built for such processors.
        "native": one compiled here. None: plain torch.
    path
        The library.
    reason
        Why plain torch is used; else empty.
    """

    level: str | None
    path: Path | None = None
    reason: str = ""
    handle: ctypes.CDLL | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        if self.level is None:
            return f"plain torch: {self.reason}"
        return f"fused CPU kernels ({self.level}): {self.path}"


_used: Kernels | None = None
_choosing = threading.Lock()


def in_use() -> Kernels:
    """The kernels of this process, chosen at the first call; says once if there are none."""
    global _used
    if _used is None:
        with _choosing:
            if _used is None:
                _used = _choose()
    return _used


def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where they are switched off or cannot be had."""
    return in_use().handle


def warm_up() -> Kernels:
    """Load the fused CPU kernels now, and compile them if none came built for this processor.

    Otherwise the first `fit` or `predict` does it, and may have to wait for a compiler. A server
    calls this before it takes requests, an image of a container while it is built.

    Returns
    -------
    Kernels
        What is used from now on; its ``str`` is a line for a log. Never an error: where there are
        no kernels its `level` is None, and `reason` says why.

    Examples
    --------
    >>> import convtimenet
    >>> used = convtimenet.warm_up()
    >>> used.level in ("amx", "avx512-vnni", "avx512", "avx2", "native", None)
    True
    """
    return in_use()


def _choose() -> Kernels:
    if os.environ.get("CONVTIMENET_NATIVE", "1") == "0":
        return Kernels(None, reason="switched off by CONVTIMENET_NATIVE=0")
    _share_openmp()
    for level, path in _shipped():
        try:
            return Kernels(level, path, handle=_load(path))
        except build.BuildError as error:
            log.warning("the kernels of level %s are passed over: %s", level, error)
    try:
        path = _compiled_here()
        return Kernels("native", path, handle=_load(path))
    except (build.BuildError, ConvTimeNetError) as error:
        reason = str(error)
    except OSError as error:
        reason = (
            f"a file cannot be written or read ({error}); let XDG_CACHE_HOME (and TMPDIR for "
            "temporary files) name a folder on a disk with room that can be written to"
        )
    log.warning(
        "the fused CPU kernels are not used, plain torch does their work more slowly: %s "
        "(CONVTIMENET_NATIVE=0 chooses plain torch without this warning)",
        reason,
    )
    return Kernels(None, reason=reason)


def _load(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise build.BuildError(
            f"the library cannot be loaded ({error}); its folder may be mounted noexec, then let "
            "XDG_CACHE_HOME name another; or torch has another OpenMP library than GNU's"
        ) from error


def _share_openmp() -> None:
    """Let the libraries find torch's OpenMP functions, which they name no library for."""
    if os.name != "posix" or hasattr(ctypes.CDLL(None), "GOMP_parallel"):
        return
    beside = sorted((Path(torch.__file__).parent / "lib").glob("lib*omp*.so*"))
    for name in [*map(str, beside), "libgomp.so.1"]:
        try:
            if hasattr(ctypes.CDLL(name, ctypes.RTLD_GLOBAL), "GOMP_parallel"):
                return
        except OSError:
            continue


def _shipped() -> Iterator[tuple[str, Path]]:
    """Level and place of what came with the package, fits and is whole; best first."""
    if sys.platform != "linux" or not SHIPPED.is_dir():
        return
    manifest = _read_json(SHIPPED / build.MANIFEST)
    files = manifest.get("files")
    if manifest.get("sources") != build.sources_digest() or not isinstance(files, dict):
        log.warning(
            "the compiled kernels in %s are not of this version; install the package again", SHIPPED
        )
        return
    for level in build.fitting():
        path = SHIPPED / f"{level.name}.so"
        if build.intact(path, files.get(path.name)):
            yield level.name, path
        else:
            log.warning("%s is damaged and passed over; install the package again", path)


def _read_json(path: Path) -> dict[str, Any]:
    """An object in a file; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _compiled_here() -> Path:
    """The library of these sources and this processor; compiled if it is not there, or damaged.

    Of several processes one compiles, and the others wait for it.
    """
    key = hashlib.sha256((build.sources_digest() + _processor()).encode()).hexdigest()[:16]
    folder = cache_folder() / "native"
    target, note = folder / f"kernels-{key}.so", folder / f"kernels-{key}.json"
    if build.intact(target, _read_json(note)):
        return target
    compiler = build.compiler_words()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    log.warning(
        "%scompiling the fused CPU kernels for this processor, or waiting for a process that does; "
        "this takes 5 to 60 seconds, once; convtimenet.warm_up() does it beforehand",
        f"{target} is damaged and replaced; " if target.exists() else "",
    )
    # the other one's time begins before this one's
    with locked(folder / f"kernels-{key}.lock", wait=build.SECONDS) as holder:
        if holder is not None:
            raise build.BuildError(
                f"{holder} has been compiling them for {build.SECONDS:.0f} seconds; end it if it "
                "hangs, and start again"
            )
        if not build.intact(target, _read_json(note)):
            _compile(target, note, compiler)
    return target


def _compile(target: Path, note: Path, compiler: list[str]) -> None:
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="convtimenet-") as making:
        made = Path(making) / "kernels.so"
        build.compile_library(made, compiler, build.NATIVE)
        data = made.read_bytes()
    write_whole(target, data)
    write_whole(note, json.dumps(build.describe(data)).encode())
    log.info("compiled %s in %.1f s", target, time.monotonic() - start)


def _processor() -> str:
    """What code for "this processor" depends on."""
    try:
        lines = build.CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    return "".join(sorted({x for x in lines if x.startswith(("flags", "model name", "Features"))}))
