"""Select, verify and load the compiled kernels.

Tried in this order: a library from the wheel that the processor supports; one compiled earlier, in
the user's cache folder; one compiled now. Each is checked against its size and SHA-256 before it is
loaded, because a damaged one can crash the process. Without any, or with ``CONVTIMENET_NATIVE=0``,
plain torch code computes the same more slowly.
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
"""Folder of the libraries in a wheel."""


@dataclass(frozen=True)
class Kernels:
    """The CPU kernels of this process.

    Attributes
    ----------
    level
        "amx", "avx512-vnni", "avx512" or "avx2": a library from the wheel for such processors.
        "native": one compiled on this machine. None: plain torch.
    path
        The library file.
    reason
        Why plain torch is used; empty otherwise.
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
_selection_lock = threading.Lock()


def in_use() -> Kernels:
    """The kernels of this process, selected at the first call; warns once if there are none."""
    global _used
    if _used is None:
        with _selection_lock:
            if _used is None:
                _used = _select()
    return _used


def library() -> ctypes.CDLL | None:
    """The compiled kernels; None if they are disabled or unavailable."""
    return in_use().handle


def warm_up() -> Kernels:
    """Load the fused CPU kernels now, compiling them if the wheel has none for this processor.

    Otherwise the first `fit` or `predict` does this, and may have to wait for the compiler. Call it
    before a server accepts requests, or while building a container image.

    Returns
    -------
    Kernels
        The kernels used from now on; ``str`` gives one line for a log. Never raises: if there are
        no kernels, `level` is None and `reason` says why.

    Examples
    --------
    >>> import convtimenet
    >>> used = convtimenet.warm_up()
    >>> used.level in ("amx", "avx512-vnni", "avx512", "avx2", "native", None)
    True
    """
    return in_use()


def _select() -> Kernels:
    if os.environ.get("CONVTIMENET_NATIVE", "1") == "0":
        return Kernels(None, reason="switched off by CONVTIMENET_NATIVE=0")
    _share_openmp()
    for level, path in _shipped():
        try:
            return Kernels(level, path, handle=_load(path))
        except build.BuildError as error:
            log.warning("skipping the kernels of level %s: %s", level, error)
    try:
        path = _compiled_here()
        return Kernels("native", path, handle=_load(path))
    except (build.BuildError, ConvTimeNetError) as error:
        reason = str(error)
    except OSError as error:
        reason = (
            f"a file cannot be written or read ({error}); set XDG_CACHE_HOME (and TMPDIR for "
            "temporary files) to a writable folder on a disk with free space"
        )
    log.warning(
        "the fused CPU kernels are not available, falling back to slower plain torch: %s "
        "(CONVTIMENET_NATIVE=0 selects plain torch without this warning)",
        reason,
    )
    return Kernels(None, reason=reason)


def _load(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise build.BuildError(
            f"the library cannot be loaded ({error}); if its folder is mounted noexec, set "
            "XDG_CACHE_HOME to another one; or torch may use an OpenMP library other than GNU's"
        ) from error


def _share_openmp() -> None:
    """Make torch's OpenMP functions visible to the kernels, which link no OpenMP library."""
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
    """Level and path of the intact libraries in the package for this processor, best first."""
    if sys.platform != "linux" or not SHIPPED.is_dir():
        return
    manifest = _read_json(SHIPPED / build.MANIFEST)
    files = manifest.get("files")
    if manifest.get("sources") != build.sources_digest() or not isinstance(files, dict):
        log.warning(
            "the compiled kernels in %s belong to another version; reinstall the package", SHIPPED
        )
        return
    for level in build.fitting():
        path = SHIPPED / f"{level.name}.so"
        if build.intact(path, files.get(path.name)):
            yield level.name, path
        else:
            log.warning("skipping %s, which is damaged; reinstall the package", path)


def _read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file; empty if that is not possible."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _compiled_here() -> Path:
    """The library for these sources and this processor, compiled if it is missing or damaged.

    If several processes need it, one compiles and the others wait.
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
        "this takes 5 to 60 seconds, once; call convtimenet.warm_up() to do it in advance",
        f"replacing {target}, which is damaged; " if target.exists() else "",
    )
    # the other process started first, so its own time limit ends before this wait
    with locked(folder / f"kernels-{key}.lock", wait=build.SECONDS) as holder:
        if holder is not None:
            raise build.BuildError(
                f"{holder} has been compiling them for {build.SECONDS:.0f} seconds; if it hangs, "
                "kill it and try again"
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
    """Description of the processor, as part of the cache key of compiled code."""
    try:
        lines = build.CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    return "".join(sorted({x for x in lines if x.startswith(("flags", "model name", "Features"))}))
