"""The machine: hardware, installed versions, and current compute and copy rates."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from .cases import Case

FLAGS = ("fma", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "asimd")
LIBRARIES = ("ATEN", "DNNL", "GLIBC", "GOMP", "KMP", "LD", "MALLOC", "MKL", "OMP", "ONEDNN", "THP")
VARIABLES = (*(f"{library}_" for library in LIBRARIES), "CONVTIMENET_NATIVE")
PACKAGES = (
    *("convtimenet", "torch", "numpy", "onnxruntime", "sktime", "neuralforecast", "aeon"),
    "tensorflow",
)
SIZES = (512, 1024, 2048)  # of square matmuls


_device = torch.device("cpu")


def use(name: str) -> None:
    """Run everything from here on on this device."""
    global _device
    if name != "cpu" and not torch.cuda.is_available():
        raise SystemExit(f"--device {name} needs a CUDA device, and torch finds none here")
    _device = torch.device(name)


def device() -> torch.device:
    """The device that networks are timed on."""
    return _device


def seconds_per_call(step: Callable[[], object], calls: int) -> float:
    """On CUDA between two events, so that launches and execution overlap as in normal use."""
    if device().type == "cuda":
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        first.record()
        for _ in range(calls):
            step()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) / calls / 1e3
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls


def rates(cases: Iterable[Case], precisions: Iterable[str]) -> dict[str, Any]:
    """Matmul and copy rates with the current number of threads; medians of five calls."""

    def median_seconds(step: Callable[[], object]) -> float:
        seconds_per_call(step, 1)
        return statistics.median(seconds_per_call(step, 1) for _ in range(5))

    def gflops(rows: int, inner: int, columns: int, dtype: torch.dtype = torch.float32) -> float:
        on = device()
        a, b = torch.randn(rows, inner, device=on), torch.randn(inner, columns, device=on)
        a, b = a.to(dtype), b.to(dtype)
        out = torch.empty(rows, columns, dtype=dtype, device=on)
        return 2e-9 * rows * inner * columns / median_seconds(lambda: torch.mm(a, b, out=out))

    dtypes = {"fp32": torch.float32}
    if "bf16" in precisions and bf16_missing() is None:
        dtypes["bf16"] = torch.bfloat16
    sizes = SIZES if device().type == "cpu" else (*SIZES, 8192)
    source = torch.ones(2**27, device=device())  # half a gigabyte, larger than any cache
    target = torch.empty_like(source)
    moved = 2 * source.numel() * source.element_size()
    return {
        # square matmuls by size
        "matmul_gflops": {
            name: {str(n): gflops(n, n, n, dtype) for n in sizes} for name, dtype in dtypes.items()
        },
        # d_ff x d_model times d_model x tokens
        "pointwise_gflops": {
            case.name: gflops(case.config.d_ff, case.config.d_model, case.tokens) for case in cases
        },
        # bytes read plus written
        "copy_gb_per_s": moved / median_seconds(lambda: target.copy_(source)) / 1e9,
    }


@functools.cache
def processor() -> tuple[str, tuple[str, ...]]:
    """Name of the processor and its instructions that matter here."""
    name, flags = platform.processor() or platform.machine(), ""
    if sys.platform == "linux":
        lines = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines()]
        fields = {line[0].strip(): line[1].strip() for line in lines if len(line) == 2}
        name = fields.get("model name", name)
        flags = fields.get("flags", fields.get("Features", ""))
    return name, tuple(flag for flag in FLAGS if flag in flags.split())


def bf16_missing() -> str | None:
    """Why bf16 is not measured here; None if it is."""
    if device().type == "cuda":
        return None if torch.cuda.is_bf16_supported(False) else "this GPU has no bf16 instructions"
    if {"avx512_bf16", "amx_bf16"} & set(processor()[1]):
        return None
    return "this processor has no bf16 instructions"


def machine() -> dict[str, Any]:
    """Processor, memory, system, initial load and environment variables that affect speed."""
    name, flags = processor()
    ram = load = None
    if sys.platform != "win32":
        ram = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
        load = round(os.getloadavg()[0], 2)
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "ram_gb": ram,
        "flags": list(flags),
        "gpu": gpu(),
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
        "os": platform.platform(),
        "load_average": load,
        "environment": {k: v for k, v in os.environ.items() if k.startswith(VARIABLES)},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def gpu() -> dict[str, Any] | None:
    """The GPU, if one is timed."""
    if device().type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device())
    return {
        "name": properties.name,
        "memory_gb": round(properties.total_memory / 1e9, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "processors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "fp32_products": torch.get_float32_matmul_precision(),
    }


def versions() -> dict[str, str | None]:
    """Python, the packages, and the commit of this checkout."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None
    return found | {"commit": commit}


def high_water(reset: bool = False) -> int:
    """Peak memory of this process in bytes, on Linux since the last reset. On CUDA, the peak of
    torch's tensors on the device.

    Linux's ru_maxrss also counts the parent process before exec, hence /proc.
    """
    if device().type == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated()
    if sys.platform == "linux":
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def file_pages() -> int:
    """Bytes of file-backed memory, such as library code, in this process; 0 where the peak is not
    that of a Linux process."""
    if sys.platform != "linux" or device().type == "cuda":
        return 0
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssFile:")[1].split()[0]) * 1024
