"""The machine that a cell was measured on."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["processor"]

_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "asimd")


def processor() -> str:
    """The processor's name, family and model, and its instruction sets that affect speed."""
    name = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return name
    pairs = [line.split(":", 1) for line in text.split("\n\n")[0].splitlines()]
    of = {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}
    known = of.get("flags", of.get("Features", "")).split()
    number = f"family {of['cpu family']} model {of['model']}" if "cpu family" in of else ""
    return " ".join(
        part
        for part in (of.get("model name", name), number, *(f for f in _INSTRUCTIONS if f in known))
        if part
    )
